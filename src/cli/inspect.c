/* `ebb inspect FILE`: what a component exports and imports, which imports the host offers, what
 * flattening made of it, how large and how long. The component goes the same way as for serving:
 * decode process, compile process, cache. */
#include "cli/commands.h"
#include "cli/options.h"

#include "base/json.h"
#include "base/limits.h"
#include "engine/engine.h"
#include "host/host.h"
#include "platform/artifact.h"

#include <stdio.h>
#include <sys/stat.h>

typedef struct {
    artifact item;
    plan plan;
    const host_missing *missing;
    size_t missing_count;
    ns decode_ns, compile_ns;
    uint64_t artifact_bytes;
} inspection;

static const host_missing *missing_of(const inspection *i, str interface, str name)
{
    for (size_t k = 0; k < i->missing_count; k++)
        if (str_eq(i->missing[k].interface, interface) && str_eq(i->missing[k].name, name))
            return &i->missing[k];
    return NULL;
}

static void print_names(const inspection *i, const plan_name *names, uint32_t count, bool imports)
{
    for (uint32_t k = 0; k < count; k++) {
        str interface = names[k].interface, before = k ? names[k - 1].interface : (str){0};
        if (k == 0 || !str_eq(interface, before)) {
            unsigned functions = 0;
            for (uint32_t j = k; j < count && str_eq(names[j].interface, interface); j++)
                functions += names[j].name.n > 0;
            printf("  %.*s  (%u function%s)\n", STR(interface.n ? interface : names[k].name),
                   functions, functions == 1 ? "" : "s");
        }
        const host_missing *m = imports ? missing_of(i, interface, names[k].name) : NULL;
        if (m)
            printf("    missing: %.*s: %.*s\n", STR(m->name), STR(m->reason));
    }
}

static void print_text(const inspection *i)
{
    printf("%.*s\n  %.2f MB, sha256:%.*s\n", STR(i->item.source),
           (double)i->item.source_bytes / 1e6, STR(i->item.digest));
    printf("\nExports\n");
    print_names(i, i->plan.exports, i->plan.exports_count, false);
    printf("\nImports: %u functions, %zu not offered by this host\n", i->plan.imports_count,
           i->missing_count);
    print_names(i, i->plan.imports, i->plan.imports_count, true);
    printf("\nFlattened: %u component instance%s with code\n", i->plan.units_count,
           i->plan.units_count == 1 ? "" : "s");
    for (uint32_t k = 0; k < i->plan.units_count; k++) {
        const plan_unit *u = &i->plan.units[k];
        printf("  %u core modules -> 1: %.2f MB -> %.2f MB; %u functions, %u host functions used\n"
               "  %u shims removed, %u data segments merged, %u constants folded\n",
               u->core_modules, (double)u->module_bytes_before / 1e6, (double)u->module_bytes / 1e6,
               u->core_functions, u->imports_count, u->shims_removed, u->segments_merged,
               u->constants_folded);
    }
    printf("\nCompiled: %.2f MB of machine code and data\n"
           "  read and flattened in %.0f ms, compiled in %.0f ms%s\n",
           (double)i->artifact_bytes / 1e6, (double)i->decode_ns / 1e6, (double)i->compile_ns / 1e6,
           i->item.made ? "" : " (earlier; from the cache)");
}

static json_t *names_json(const inspection *i, const plan_name *names, uint32_t count, bool imports)
{
    json_t *list = json_array();
    for (uint32_t k = 0; k < count; k++) {
        json_t *j = json_object();
        json_object_set_new(j, "interface", json_of(names[k].interface));
        json_object_set_new(j, "name", json_of(names[k].name));
        if (imports) {
            const host_missing *m = missing_of(i, names[k].interface, names[k].name);
            json_object_set_new(j, "offered", json_boolean(!m));
            if (m)
                json_object_set_new(j, "reason", json_of(m->reason));
        }
        json_array_append_new(list, j);
    }
    return list;
}

static void print_json(const inspection *i)
{
    json_t *j = json_object(), *units = json_array();
    json_object_set_new(j, "file", json_of(i->item.source));
    json_object_set_new(j, "bytes", json_integer((json_int_t)i->item.source_bytes));
    json_object_set_new(j, "sha256", json_of(i->item.digest));
    json_object_set_new(j, "exports", names_json(i, i->plan.exports, i->plan.exports_count, false));
    json_object_set_new(j, "imports", names_json(i, i->plan.imports, i->plan.imports_count, true));
    for (uint32_t k = 0; k < i->plan.units_count; k++) {
        const plan_unit *u = &i->plan.units[k];
        json_array_append_new(units, json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "core_modules",
                                               (json_int_t)u->core_modules, "functions",
                                               (json_int_t)u->core_functions, "host_functions",
                                               (json_int_t)u->imports_count, "shims_removed",
                                               (json_int_t)u->shims_removed, "segments_merged",
                                               (json_int_t)u->segments_merged, "constants_folded",
                                               (json_int_t)u->constants_folded, "module_bytes",
                                               (json_int_t)u->module_bytes, "module_bytes_before",
                                               (json_int_t)u->module_bytes_before));
    }
    json_object_set_new(j, "units", units);
    json_object_set_new(j, "artifact_bytes", json_integer((json_int_t)i->artifact_bytes));
    json_object_set_new(j, "decode_ns", json_integer((json_int_t)i->decode_ns));
    json_object_set_new(j, "compile_ns", json_integer((json_int_t)i->compile_ns));
    json_object_set_new(j, "cached", json_boolean(!i->item.made));
    json_dumpf(j, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(j);
}

static bool inspect(arena *a, const options *o, err *e)
{
    inspection i = {.item = {.label = S("component"), .source = str_from(o->positionals[0])}};
    str cache;
    engine *en;
    host_binding *binding;
    engine_config config = engine_config_default();
    config.compiler = true;
    if (!artifact_cache_dir(a, options_get(o, "cache-dir")->got, &cache, e) || !host_init(e) ||
        !engine_new(&config, &en, e))
        return false;
    bool ok = artifact_ensure_all(a, cache, engine_fingerprint(en), &i.item, 1, 1, stderr, e);
    engine_free(en);
    if (!ok || !artifact_plan(a, i.item.dir, &i.plan, e) ||
        !artifact_times(i.item.dir, &i.decode_ns, &i.compile_ns, e) ||
        !host_bind(a, &i.plan, &binding, &i.missing, &i.missing_count, e))
        return false;
    for (uint32_t k = 0; k < i.plan.units_count; k++) {
        struct stat st;
        str path = artifact_module_path(a, i.item.dir, k);
        if (path.p && stat(path.p, &st) == 0)
            i.artifact_bytes += (uint64_t)st.st_size;
    }
    if (options_get(o, "json")->given)
        print_json(&i);
    else
        print_text(&i);
    return true;
}

int cli_inspect(int argc, char **argv)
{
    option rows[] = {
        {"json", 0, OPTION_FLAG, NULL, "print JSON"},
        {"cache-dir", 0, OPTION_VALUE, "DIR", "where compiled code is kept"},
        {0},
    };
    options o = {.command = "inspect",
                 .positional = "FILE",
                 .options = rows,
                 .summary = "Shows what a component needs and what ebb makes of it."};
    err e;
    _cleanup_(arena_fini) arena a;
    arena_init(&a, 2 * GIB);
    if (!options_parse(&a, &o, argc, argv, &e))
        return cli_fail(&e), 2;
    if (o.help)
        return 0;
    if (o.positionals_count != 1) {
        err_set(&e, ERR_INVALID, "give one component: ebb inspect app.wasm");
        return cli_fail(&e), 2;
    }
    return inspect(&a, &o, &e) ? 0 : cli_fail(&e);
}
