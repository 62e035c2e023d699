/* ebb-flatten IN.wasm OUTPREFIX: flattens a component; writes OUTPREFIX.<unit>.wasm and
 * OUTPREFIX.plan, and prints what it did. For tests that compare with other implementations, and
 * for whoever works on this room; users have `ebb inspect`.
 *
 * ebb-flatten --modules OUTPREFIX NAME=A.wasm NAME=B.wasm ...: the same for core modules that
 * import from each other by name (core_link.h). */
#include "component/core_link.h"
#include "component/flatten.h"

#include "base/clock.h"
#include "base/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static int fail(const err *e)
{
    fprintf(stderr, "error: %s\n", e->text);
    return 1;
}

static bytes file_read(const char *path)
{
    bytes b = {NULL, 0};
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0) {
        perror(path);
        exit(2);
    }
    long n = ftell(f);
    uint8_t *p = n >= 0 ? malloc((size_t)n + 1) : NULL;
    rewind(f);
    if (p)
        b = (bytes){p, fread(p, 1, (size_t)n, f)};
    fclose(f);
    return b;
}

static void file_write(const char *prefix, const char *suffix, bytes b)
{
    char path[4096];
    snprintf(path, sizeof path, "%s.%s", prefix, suffix);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(b.p, 1, b.n, f) != b.n || fclose(f) != 0) {
        perror(path);
        exit(2);
    }
}

static void unit_print(const plan_unit *u, uint32_t i)
{
    printf("unit %u: %u imports, %u lifts, %u memories, %u reallocs, %u globals%s%s%s\n", i,
           u->imports_count, u->lifts_count, u->memories_count, u->reallocs_count, u->globals_count,
           u->has_start ? ", start" : "", u->mutates_tables ? ", mutates tables" : "",
           u->passive_segments ? ", passive segments" : "");
    printf("  %u core modules, %u functions, %u shims removed, %u segments merged, "
           "%u constants folded\n",
           u->core_modules, u->core_functions, u->shims_removed, u->segments_merged,
           u->constants_folded);
    printf("  %llu bytes of core modules became %llu; memory %llu to %llu bytes\n",
           (unsigned long long)u->module_bytes_before, (unsigned long long)u->module_bytes,
           (unsigned long long)u->memory_bytes_min, (unsigned long long)u->memory_bytes_max);
    for (uint32_t k = 0; k < u->lifts_count; k++)
        printf("  f%u %.*s\n", k, STR(u->lifts[k].label));
}

/* What workers will read must be what was written. */
static bool plan_survives(bytes encoded, err *e)
{
    _cleanup_(arena_fini) arena a;
    _cleanup_(buf_fini) buf again;
    plan p;
    arena_init(&a, COMPONENT_ARENA_BYTES_MAX);
    buf_init(&again, encoded.n);
    if (!plan_decode(&a, encoded, &p, e))
        return false;
    if (!plan_encode(&p, &again, e) || again.n != encoded.n ||
        memcmp(again.p, encoded.p, encoded.n) != 0)
        return err_set(e, ERR_INTERNAL, "the plan changes when it is read and written");
    return true;
}

static int write_all(const char *prefix, const plan *p, buf *modules, ns begun)
{
    _cleanup_(buf_fini) buf encoded;
    err e = {0};
    char suffix[32];
    struct rusage usage;
    buf_init(&encoded, 256 * MIB);
    ns took = clock_mono() - begun;
    if (!plan_encode(p, &encoded, &e) || !plan_survives(buf_bytes(&encoded), &e))
        return fail(&e);
    for (uint32_t i = 0; i < p->units_count; i++) {
        snprintf(suffix, sizeof suffix, "%u.wasm", i);
        file_write(prefix, suffix, buf_bytes(&modules[i]));
        unit_print(&p->units[i], i);
    }
    file_write(prefix, "plan", buf_bytes(&encoded));
    getrusage(RUSAGE_SELF, &usage);
    printf("plan of %zu bytes; took %llu us; %ld kB at most\n", encoded.n,
           (unsigned long long)(took / NS_PER_US), usage.ru_maxrss);
    return 0;
}

static int component_main(const char *in, const char *prefix)
{
    _cleanup_(arena_fini) arena a;
    err e = {0};
    plan p;
    buf *modules;
    arena_init(&a, COMPONENT_ARENA_BYTES_MAX);
    bytes component = file_read(in);
    ns begun = clock_mono();
    if (!flatten_component(&a, component, &p, &modules, &e))
        return fail(&e);
    int status = write_all(prefix, &p, modules, begun);
    flatten_free(modules, p.units_count);
    free((void *)(uintptr_t)component.p);
    return status;
}

static int modules_main(const char *prefix, char **args, uint32_t n)
{
    _cleanup_(arena_fini) arena a;
    err e = {0};
    link_plan l;
    plan_unit unit;
    buf module;
    arena_init(&a, COMPONENT_ARENA_BYTES_MAX);
    core_source *sources = ARENA_ARRAY(&a, core_source, n);
    for (uint32_t i = 0; sources && i < n; i++) {
        str path = str_from(args[i]);
        sources[i].name = str_cut(&path, '=');
        sources[i].module = file_read(path.p ? path.p : "");
    }
    ns begun = clock_mono();
    buf_init(&module, 1 * GIB);
    if (!sources || !core_link(&a, sources, n, &l, &e) ||
        !flatten_unit(&a, &l, 0, &module, &unit, &e))
        return fail(&e);
    plan p = {.units = &unit, .units_count = 1};
    int status = write_all(prefix, &p, &module, begun);
    buf_fini(&module);
    for (uint32_t i = 0; i < n; i++)
        free((void *)(uintptr_t)sources[i].module.p);
    return status;
}

int main(int argc, char **argv)
{
    if (argc > 3 && strcmp(argv[1], "--modules") == 0)
        return modules_main(argv[2], argv + 3, (uint32_t)argc - 3);
    if (argc == 3)
        return component_main(argv[1], argv[2]);
    fprintf(stderr, "usage: ebb-flatten IN.wasm OUTPREFIX\n"
                    "       ebb-flatten --modules OUTPREFIX NAME=A.wasm...\n");
    return 2;
}
