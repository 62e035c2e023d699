/* Targets are catalogue names ("spin-up:3.2"), or files and URLs with an environment definition:
 *
 *     [triggers]
 *     http = { worlds = ["spin:up/http-trigger@3.2.0"], capabilities = ["local_service_chaining"] }
 *
 * ebb has no catalogue to download: the worlds that Spin has released are in a table here, by the
 * interfaces that they import. A definition that names other worlds (in a registry or a WIT folder)
 * is refused by name. Interfaces are compared by name and version track, not function by function:
 * the functions of one track only ever grow. */
#include "cli/target.h"

#include "app/outbound.h"
#include "app/toml.h"
#include "base/limits.h"
#include "component/type.h"
#include "platform/artifact.h"
#include "platform/fetch.h"

enum { DEFINITION_BYTES_MAX = 1 << 20, WORLDS_MAX = 16 };

typedef struct {
    const char *name;
    const char *include;     /* another world, or NULL */
    const char *handler;     /* what a component for it exports */
    const char *imports[16]; /* with versions; a star stands for every interface of a package */
} world;

static const char handler_02[] = "wasi:http/incoming-handler@0.2.0";

static const world worlds[] = {
    {"fermyon:spin/http-trigger@2.0.0",
     NULL,
     handler_02,
     {"wasi:io/*@0.2.0", "wasi:clocks/*@0.2.0", "wasi:random/*@0.2.0", "wasi:cli/*@0.2.0",
      "wasi:filesystem/*@0.2.0", "wasi:sockets/*@0.2.0", "wasi:http/types@0.2.0",
      "wasi:http/outgoing-handler@0.2.0", "fermyon:spin/*@2.0.0"}},
    {"fermyon:spin/http-trigger-rc20231018@2.0.0",
     NULL,
     "wasi:http/incoming-handler@0.2.0-rc-2023-10-18",
     {"wasi:io/*@0.2.0-rc-2023-10-18", "wasi:clocks/*@0.2.0-rc-2023-10-18",
      "wasi:random/*@0.2.0-rc-2023-10-18", "wasi:cli/*@0.2.0-rc-2023-10-18",
      "wasi:filesystem/*@0.2.0-rc-2023-10-18", "wasi:sockets/*@0.2.0-rc-2023-10-18",
      "wasi:http/*@0.2.0-rc-2023-10-18", "fermyon:spin/*@2.0.0"}},
    {"fermyon:spin/http-trigger@3.0.0",
     "fermyon:spin/http-trigger@2.0.0",
     handler_02,
     {"wasi:keyvalue/*@0.2.0-draft2", "spin:postgres/postgres@3.0.0",
      "wasi:config/store@0.2.0-draft-2024-09-27"}},
    {"spin:up/http-trigger@3.2.0",
     "fermyon:spin/http-trigger@3.0.0",
     handler_02,
     {"spin:sqlite/sqlite@3.0.0"}},
    {"spin:up/http-trigger-rc20231018@3.2.0",
     "fermyon:spin/http-trigger-rc20231018@2.0.0",
     "wasi:http/incoming-handler@0.2.0-rc-2023-10-18",
     {NULL}},
    {"spin:up/http-trigger@3.4.0",
     "spin:up/http-trigger@3.2.0",
     handler_02,
     {"spin:postgres/postgres@4.0.0"}},
    {"spin:up/http-trigger@4.0.0",
     "fermyon:spin/http-trigger@3.0.0",
     "wasi:http/handler@0.3.0-rc-2026-03-15",
     {"wasi:clocks/*@0.3.0-rc-2026-03-15", "wasi:random/*@0.3.0-rc-2026-03-15",
      "wasi:cli/*@0.3.0-rc-2026-03-15", "wasi:filesystem/*@0.3.0-rc-2026-03-15",
      "wasi:sockets/*@0.3.0-rc-2026-03-15", "wasi:http/*@0.3.0-rc-2026-03-15",
      "spin:key-value/key-value@3.0.0", "spin:mqtt/mqtt@3.0.0", "spin:mysql/mysql@3.0.0",
      "spin:postgres/postgres@4.2.0", "spin:redis/redis@3.0.0", "spin:sqlite/sqlite@3.1.0",
      "spin:variables/variables@3.0.0"}},
};

/* Catalogue names and the worlds that they allow for http; all of them chain services. */
static const struct {
    const char *name;
    const char *worlds[5];
} catalogue[] = {
    {"spin-up:3.2",
     {"spin:up/http-trigger@3.2.0", "spin:up/http-trigger-rc20231018@3.2.0",
      "fermyon:spin/http-trigger@3.0.0"}},
    {"spin-up:3.3",
     {"spin:up/http-trigger@3.2.0", "spin:up/http-trigger-rc20231018@3.2.0",
      "fermyon:spin/http-trigger@3.0.0"}},
    {"spin-up:3.4",
     {"spin:up/http-trigger@3.4.0", "spin:up/http-trigger-rc20231018@3.2.0",
      "spin:up/http-trigger@3.2.0"}},
    {"spin-up:3.5", {"spin:up/http-trigger@3.4.0", "spin:up/http-trigger-rc20231018@3.2.0"}},
    {"spin-up:3.6", {"spin:up/http-trigger@3.4.0", "spin:up/http-trigger-rc20231018@3.2.0"}},
    {"spin-up:4.0",
     {"spin:up/http-trigger@4.0.0", "spin:up/http-trigger@3.4.0",
      "spin:up/http-trigger-rc20231018@3.2.0"}},
};

typedef struct {
    str name; /* as the manifest has it */
    const world *worlds[WORLDS_MAX];
    size_t worlds_count;
    bool chains; /* local_service_chaining */
} target;

static const world *world_find(str name)
{
    for (size_t i = 0; i < sizeof worlds / sizeof *worlds; i++)
        if (str_eq(str_from(worlds[i].name), name))
            return &worlds[i];
    return NULL;
}

static bool import_fits(const char *offered, str wanted)
{
    str pattern = str_from(offered);
    size_t star = str_find(pattern, '*');
    if (star == pattern.n)
        return interface_compatible(pattern, wanted);
    interface_name n = interface_name_parse(wanted);
    if (!str_starts(n.path, str_head(pattern, star)))
        return false;
    /* Compare as if the interface were the offered one. */
    char a[128], b[128];
    int la = snprintf(a, sizeof a, "x:y/z%.*s", STR(str_skip(pattern, star + 1)));
    int lb = snprintf(b, sizeof b, "x:y/z%s%.*s", n.version.n ? "@" : "", STR(n.version));
    return la > 0 && lb > 0 && lb < (int)sizeof b &&
           interface_compatible((str){a, (size_t)la}, (str){b, (size_t)lb});
}

static bool world_offers(const world *w, str interface)
{
    for (; w; w = w->include ? world_find(str_from(w->include)) : NULL)
        for (size_t i = 0; i < sizeof w->imports / sizeof *w->imports && w->imports[i]; i++)
            if (import_fits(w->imports[i], interface))
                return true;
    return false;
}

/* --- what a target is ------------------------------------------------------------------------- */

static bool catalogue_find(str name, target *ret, err *e)
{
    for (size_t i = 0; i < sizeof catalogue / sizeof *catalogue; i++) {
        if (!str_eq(str_from(catalogue[i].name), name))
            continue;
        ret->chains = true;
        for (size_t k = 0; k < 5 && catalogue[i].worlds[k]; k++)
            ret->worlds[ret->worlds_count++] = world_find(str_from(catalogue[i].worlds[k]));
        return true;
    }
    return err_set(e, ERR_NOT_FOUND,
                   "target '%.*s' is not one that ebb knows (spin-up:3.2 to 3.6, spin-up:4.0); "
                   "build with --skip-target-checks",
                   STR(name));
}

static const toml_value *value_of(const toml_table *t, const char *key)
{
    toml_entry *x = t ? toml_get(t, str_from(key)) : NULL;
    return x ? &x->value : NULL;
}

static bool world_add(const toml_value *v, target *ret, err *e)
{
    const toml_value *name = v->kind == TOML_TABLE ? value_of(v->table, "world") : v;
    if (!name || name->kind != TOML_STRING)
        return err_set(e, ERR_INVALID,
                       "target %.*s: %u:%u: a world must be a name, or a table "
                       "with 'world'",
                       STR(ret->name), v->pos.line, v->pos.column);
    const world *w = world_find(name->string);
    if (!w)
        return err_set(e, ERR_UNSUPPORTED,
                       "target %.*s: world '%.*s' is not one that ebb knows; build with "
                       "--skip-target-checks",
                       STR(ret->name), STR(name->string));
    if (ret->worlds_count == WORLDS_MAX)
        return err_set(e, ERR_LIMIT, "target %.*s: more than %d worlds", STR(ret->name),
                       WORLDS_MAX);
    ret->worlds[ret->worlds_count++] = w;
    return true;
}

static bool definition_read(arena *a, bytes text, target *ret, err *e)
{
    toml_table *root;
    if (!toml_parse(a, ret->name, (str){(const char *)text.p, text.n}, &root, e))
        return false;
    const toml_value *triggers = value_of(root, "triggers");
    const toml_value *http =
        triggers && triggers->kind == TOML_TABLE ? value_of(triggers->table, "http") : NULL;
    if (!http)
        http = value_of(root, "default");
    const toml_value *list =
        http && http->kind == TOML_TABLE ? value_of(http->table, "worlds") : NULL;
    if (!list || list->kind != TOML_ARRAY)
        return err_set(e, ERR_INVALID,
                       "target %.*s: no worlds for http triggers; a definition has "
                       "[triggers] http = { worlds = [\"ns:pkg/world@1.0.0\"] }",
                       STR(ret->name));
    for (size_t i = 0; i < list->array.n; i++)
        if (!world_add(&list->array.at[i], ret, e))
            return false;
    const toml_value *capabilities = value_of(http->table, "capabilities");
    for (size_t i = 0;
         capabilities && capabilities->kind == TOML_ARRAY && i < capabilities->array.n; i++) {
        const toml_value *c = &capabilities->array.at[i];
        ret->chains |= c->kind == TOML_STRING && str_eq(c->string, S("local_service_chaining"));
    }
    return true;
}

static bool target_open(arena *a, const localapp_place *at, const app_target *t, target *ret,
                        err *e)
{
    bytes text;
    *ret = (target){.name = t->catalogue.n ? t->catalogue : t->url.n ? t->url : t->path};
    if (t->catalogue.n)
        return catalogue_find(t->catalogue, ret, e);
    if (t->url.n)
        return fetch_text(a, t->url, DEFINITION_BYTES_MAX, false, &text, e) &&
               definition_read(a, text, ret, e);
    bool absolute = str_starts(t->path, S("/"));
    str path =
        absolute ? arena_str(a, t->path) : arena_printf(a, "%.*s/%.*s", STR(at->dir), STR(t->path));
    if (!path.p)
        return err_no_memory(e);
    if (!file_load(a, path.p, DEFINITION_BYTES_MAX, &text, e))
        return err_wrap(e, "target");
    return definition_read(a, text, ret, e);
}

/* --- does a component fit? -------------------------------------------------------------------- */

static bool exports_handler(const plan *p, const char *handler)
{
    for (uint32_t i = 0; i < p->exports_count; i++)
        if (interface_compatible(str_from(handler), p->exports[i].interface))
            return true;
    return false;
}

/* The first interface that w lacks; n == 0: none. */
static str world_lacks(const world *w, const plan *p)
{
    for (uint32_t i = 0; i < p->imports_count; i++)
        if (p->imports[i].interface.n && !world_offers(w, p->imports[i].interface))
            return p->imports[i].interface;
    return exports_handler(p, w->handler) ? (str){0} : str_from(w->handler);
}

static bool chains_services(arena *a, const app_component *c)
{
    for (size_t i = 0; i < c->allowed_outbound_hosts.n; i++) {
        outbound_rule rule;
        if (outbound_rule_parse(a, c->allowed_outbound_hosts.at[i], &rule, NULL) &&
            rule.kind == OUTBOUND_NAME && outbound_chained_component(rule.name).p)
            return true;
    }
    return false;
}

static bool component_fits(arena *a, const app_component *c, const plan *p, const target *t, err *e)
{
    str lacks = {0};
    const world *nearest = NULL;
    for (size_t i = 0; i < t->worlds_count && (!nearest || lacks.n); i++) {
        str missing = world_lacks(t->worlds[i], p);
        if (!nearest || !missing.n) {
            nearest = t->worlds[i];
            lacks = missing;
        }
    }
    if (!nearest)
        return err_set(e, ERR_INVALID, "target %.*s has no world for http", STR(t->name));
    if (lacks.n)
        return err_set(e, ERR_INVALID,
                       "component '%.*s' cannot run in target '%.*s': %s '%.*s', which world %s "
                       "%s",
                       STR(c->id), STR(t->name),
                       lacks.p == nearest->handler ? "it does not export" : "it imports",
                       STR(lacks), nearest->name,
                       lacks.p == nearest->handler ? "wants" : "does not offer");
    if (!t->chains && chains_services(a, c))
        return err_set(e, ERR_INVALID,
                       "component '%.*s' cannot run in target '%.*s': it calls other components "
                       "(spin.internal), and the target has no local_service_chaining",
                       STR(c->id), STR(t->name));
    return true;
}

static bool one_check(arena *a, const localapp_place *at, const app *x, const app_component *c,
                      str dir, size_t *failures, err *e)
{
    const app_targets *list = c->targets.n ? &c->targets : &x->targets;
    plan p;
    if (!artifact_plan(a, dir, &p, e))
        return false;
    for (size_t i = 0; i < list->n; i++) {
        target t;
        err why;
        if (!target_open(a, at, &list->at[i], &t, e))
            return false;
        if (!component_fits(a, c, &p, &t, &why)) {
            fprintf(stderr, "ebb: %s\n", why.text);
            ++*failures;
        }
    }
    return true;
}

static bool is_checked(const app *x, size_t index, const char *const *ids, size_t n)
{
    const app_component *c = &x->components[index];
    bool named = n == 0;
    for (size_t i = 0; i < n; i++)
        named |= str_eq(str_from(ids[i]), c->id);
    return named && c->is_used && app_trigger_of_component(x, (int)index) &&
           (c->targets.n || x->targets.n);
}

bool targets_check(arena *a, const localapp_place *at, app *x, const char *const *ids, size_t n,
                   const char *cache_dir, err *e)
{
    size_t failures = 0, checked = 0;
    str *dirs = ARENA_ARRAY(a, str, x->components_count + 1);
    bool *used = ARENA_ARRAY(a, bool, x->components_count + 1);
    if (!dirs || !used)
        return err_no_memory(e);
    for (size_t i = 0; i < x->components_count; i++) {
        used[i] = is_checked(x, i, ids, n);
        checked += used[i];
    }
    if (!checked)
        return true;
    for (size_t i = 0; i < x->components_count; i++)
        x->components[i].is_used &= used[i];
    localapp_options lo = {.cache_dir = cache_dir, .jobs = 2, .progress = stderr};
    if (!localapp_artifacts(a, &lo, at, x, dirs, e))
        return false;
    for (size_t i = 0; i < x->components_count; i++)
        if (used[i] && !one_check(a, at, x, &x->components[i], dirs[i], &failures, e))
            return false;
    return !failures || err_set(e, ERR_INVALID,
                                "All components built successfully, but one or more was "
                                "incompatible with one or more of the deployment targets.");
}
