/* Settings of a worker as JSON: {"app": <locked app>, "components": [...], settings...}. The app is
 * in the shape that registries hold too; what exists on this machine only (artifacts, folders,
 * resolved variables) is beside it. Both ends are the same binary, so nothing is versioned. */
#include "platform/config.h"

#include "app/locked.h"
#include "base/limits.h"

#include <jansson.h>

#define _cleanup_json_ __attribute__((cleanup(json_free)))
static void json_free(json_t **j) { json_decref(*j); }

static json_t *json_of(str s) { return json_stringn(s.n ? s.p : "", s.n); }

static json_t *pairs_json(const app_pairs *pairs)
{
    json_t *list = json_array();
    for (size_t i = 0; i < pairs->n; i++) {
        json_t *pair = json_array();
        json_array_append_new(pair, json_of(pairs->at[i].key));
        json_array_append_new(pair, json_of(pairs->at[i].value));
        json_array_append_new(list, pair);
    }
    return list;
}

static json_t *component_json(const config_component *c)
{
    json_t *j = json_object(), *hosts = json_array();
    json_object_set_new(j, "artifact", json_of(c->artifact));
    json_object_set_new(j, "mounts", pairs_json(&c->mounts));
    json_object_set_new(j, "follow", json_boolean(c->follow));
    json_object_set_new(j, "variables", pairs_json(&c->variables));
    for (size_t i = 0; i < c->outbound.n; i++)
        json_array_append_new(hosts, json_of(c->outbound.at[i]));
    json_object_set_new(j, "outbound", hosts);
    return j;
}

static json_t *strs_json(const str *at, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_of(at[i]));
    return list;
}

static json_t *stores_json(const worker_config *c)
{
    json_t *list = json_array();
    for (size_t i = 0; i < c->stores_count; i++) {
        const kv_store *s = &c->stores[i];
        json_t *j = json_object();
        json_object_set_new(j, "label", json_of(s->label));
        json_object_set_new(j, "path", json_of(s->path));
        json_object_set_new(j, "initial", strs_json(s->initial, s->initial_count));
        json_array_append_new(list, j);
    }
    return list;
}

static json_t *databases_json(const worker_config *c)
{
    json_t *list = json_array();
    for (size_t i = 0; i < c->databases_count; i++) {
        const sql_database *d = &c->databases[i];
        json_t *j = json_object();
        json_object_set_new(j, "label", json_of(d->label));
        json_object_set_new(j, "path", json_of(d->path));
        json_object_set_new(j, "attach_files", json_boolean(d->attach_files));
        json_object_set_new(j, "scripts", strs_json(d->scripts, d->scripts_count));
        json_array_append_new(list, j);
    }
    return list;
}

static json_t *providers_json(const provider_list *list)
{
    json_t *all = json_array();
    for (size_t i = 0; i < list->n; i++) {
        const provider *p = &list->at[i];
        json_t *j = json_object();
        json_object_set_new(j, "values", pairs_json(&p->values));
        if (p->is_vault) {
            str vault[] = {p->url, p->token, p->mount, p->prefix};
            json_object_set_new(j, "vault", strs_json(vault, 4));
        }
        json_array_append_new(all, j);
    }
    return all;
}

static int dump(const char *p, size_t n, void *out) { return buf_put(out, p, n) ? 0 : -1; }

bool worker_config_write(const worker_config *c, buf *out, err *e)
{
    _cleanup_(buf_fini) buf locked;
    buf_init(&locked, 256 * MIB);
    if (!locked_write(c->app, (str){0}, &locked, e))
        return false;
    json_error_t je;
    _cleanup_json_ json_t *j = json_object();
    json_t *app_json = json_loadb((const char *)locked.p, locked.n, JSON_ALLOW_NUL, &je);
    json_t *components = json_array();
    if (!j || !app_json || !components)
        return err_set(e, ERR_INTERNAL, "settings of the worker: %s", je.text);
    json_object_set_new(j, "app", app_json);
    for (size_t i = 0; i < c->app->components_count; i++)
        json_array_append_new(components, component_json(&c->components[i]));
    json_object_set_new(j, "components", components);
    json_object_set_new(j, "providers", providers_json(&c->providers));
    json_object_set_new(j, "stores", stores_json(c));
    json_object_set_new(j, "databases", databases_json(c));
    json_object_set_new(j, "log_json", json_boolean(c->log_format == LOG_JSON));
    json_object_set_new(j, "log_dir", json_of(c->log_dir));
    json_object_set_new(j, "transient_write", json_boolean(c->allow_transient_write));
    json_object_set_new(j, "unmetered", json_boolean(c->unmetered));
    json_object_set_new(j, "stub_imports", json_boolean(c->stub_imports));
    json_object_set_new(j, "restoring", json_of(c->restoring));
    json_object_set_new(j, "no_landlock", json_boolean(c->no_landlock));
    json_object_set_new(j, "instances_max", json_integer(c->instances_max));
    json_object_set_new(j, "network", network_json(&c->network));
    return json_dump_callback(j, dump, out, JSON_COMPACT) == 0 ? true : err_no_memory(e);
}

static str str_of(arena *a, const json_t *j)
{
    return arena_str(a, (str){json_string_value(j), json_string_length(j)});
}

/* NULL: no memory. */
static const str *strs_read(arena *a, const json_t *list, size_t *ret_count)
{
    size_t n = json_array_size(list);
    str *at = ARENA_ARRAY(a, str, n + 1);
    for (size_t i = 0; at && i < n; i++)
        if (!(at[i] = str_of(a, json_array_get(list, i))).p)
            return NULL;
    *ret_count = n;
    return at;
}

static bool stores_read(arena *a, const json_t *list, kv_store **ret, size_t *ret_count)
{
    size_t n = json_array_size(list);
    kv_store *stores = ARENA_ARRAY(a, kv_store, n + 1);
    for (size_t i = 0; stores && i < n; i++) {
        const json_t *j = json_array_get(list, i);
        kv_store *s = &stores[i];
        s->label = str_of(a, json_object_get(j, "label"));
        s->path = str_of(a, json_object_get(j, "path"));
        s->initial = strs_read(a, json_object_get(j, "initial"), &s->initial_count);
        if (!s->label.p || !s->path.p || !s->initial)
            return false;
    }
    *ret = stores;
    *ret_count = n;
    return stores != NULL;
}

static bool databases_read(arena *a, const json_t *list, sql_database **ret, size_t *ret_count)
{
    size_t n = json_array_size(list);
    sql_database *databases = ARENA_ARRAY(a, sql_database, n + 1);
    for (size_t i = 0; databases && i < n; i++) {
        const json_t *j = json_array_get(list, i);
        sql_database *d = &databases[i];
        d->label = str_of(a, json_object_get(j, "label"));
        d->path = str_of(a, json_object_get(j, "path"));
        d->attach_files = json_is_true(json_object_get(j, "attach_files"));
        d->scripts = strs_read(a, json_object_get(j, "scripts"), &d->scripts_count);
        if (!d->label.p || !d->path.p || !d->scripts)
            return false;
    }
    *ret = databases;
    *ret_count = n;
    return databases != NULL;
}

static bool pairs_read(arena *a, const json_t *list, app_pairs *ret)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *pair = json_array_get(list, i);
        if (!app_pairs_add(a, ret, str_of(a, json_array_get(pair, 0)),
                           str_of(a, json_array_get(pair, 1))))
            return false;
    }
    return true;
}

static bool providers_read(arena *a, const json_t *list, provider_list *ret)
{
    provider *at = ARENA_ARRAY(a, provider, json_array_size(list) + 1);
    *ret = (provider_list){.at = at, .n = json_array_size(list)};
    for (size_t i = 0; at && i < ret->n; i++) {
        const json_t *j = json_array_get(list, i), *vault = json_object_get(j, "vault");
        size_t n;
        const str *v = strs_read(a, vault, &n);
        if (!v || !pairs_read(a, json_object_get(j, "values"), &at[i].values))
            return false;
        if (n == 4) {
            at[i].is_vault = ret->ask_again = true;
            at[i].url = v[0];
            at[i].token = v[1];
            at[i].mount = v[2];
            at[i].prefix = v[3];
        }
    }
    return at != NULL;
}

static bool component_read(arena *a, const json_t *j, config_component *ret)
{
    size_t i;
    json_t *item;
    ret->artifact = str_of(a, json_object_get(j, "artifact"));
    ret->follow = json_is_true(json_object_get(j, "follow"));
    if (!pairs_read(a, json_object_get(j, "mounts"), &ret->mounts) ||
        !pairs_read(a, json_object_get(j, "variables"), &ret->variables))
        return false;
    json_array_foreach(json_object_get(j, "outbound"), i,
                       item) if (!str_list_add(a, &ret->outbound, str_of(a, item))) return false;
    return true;
}

bool worker_config_read(arena *a, bytes text, worker_config *ret, err *e)
{
    json_error_t je;
    _cleanup_json_ json_t *j = json_loadb((const char *)text.p, text.n, JSON_ALLOW_NUL, &je);
    if (!j)
        return err_set(e, ERR_INTERNAL, "settings of the worker: %s", je.text);
    char *locked = json_dumps(json_object_get(j, "app"), JSON_COMPACT);
    app *got = NULL;
    bool ok = locked ? locked_read(a, (bytes){(uint8_t *)locked, strlen(locked)}, &got, e)
                     : err_no_memory(e);
    free(locked);
    if (!ok)
        return false;
    const json_t *list = json_object_get(j, "components");
    if (json_array_size(list) != got->components_count)
        return err_set(e, ERR_INTERNAL, "settings of the worker: components differ");
    config_component *components =
        ARENA_ARRAY(a, config_component, got->components_count ? got->components_count : 1);
    if (!components)
        return err_no_memory(e);
    for (size_t i = 0; i < got->components_count; i++)
        if (!component_read(a, json_array_get(list, i), &components[i]))
            return err_no_memory(e);
    kv_store *stores;
    sql_database *databases;
    size_t stores_count, databases_count;
    provider_list providers;
    if (!stores_read(a, json_object_get(j, "stores"), &stores, &stores_count) ||
        !providers_read(a, json_object_get(j, "providers"), &providers) ||
        !databases_read(a, json_object_get(j, "databases"), &databases, &databases_count))
        return err_no_memory(e);
    network_config network;
    if (!network_from_json(a, json_object_get(j, "network"), &network))
        return err_no_memory(e);
    *ret = (worker_config){
        .app = got,
        .network = network,
        .providers = providers,
        .stores = stores,
        .stores_count = stores_count,
        .databases = databases,
        .databases_count = databases_count,
        .components = components,
        .log_format = json_is_true(json_object_get(j, "log_json")) ? LOG_JSON : LOG_TEXT,
        .log_dir = str_of(a, json_object_get(j, "log_dir")),
        .allow_transient_write = json_is_true(json_object_get(j, "transient_write")),
        .unmetered = json_is_true(json_object_get(j, "unmetered")),
        .stub_imports = json_is_true(json_object_get(j, "stub_imports")),
        .restoring = str_of(a, json_object_get(j, "restoring")),
        .no_landlock = json_is_true(json_object_get(j, "no_landlock")),
        .instances_max = (uint32_t)json_integer_value(json_object_get(j, "instances_max")),
    };
    return true;
}

bool store_config_write(const worker_config *c, buf *out, err *e)
{
    _cleanup_json_ json_t *j = json_object();
    if (!j)
        return err_no_memory(e);
    json_object_set_new(j, "stores", stores_json(c));
    json_object_set_new(j, "databases", databases_json(c));
    json_object_set_new(j, "log_json", json_boolean(c->log_format == LOG_JSON));
    return json_dump_callback(j, dump, out, JSON_COMPACT) == 0 ? true : err_no_memory(e);
}

bool store_config_read(arena *a, bytes text, store_config *ret, log_format *ret_format, err *e)
{
    json_error_t je;
    kv_store *stores;
    sql_database *databases;
    store_config c;
    _cleanup_json_ json_t *j = json_loadb((const char *)text.p, text.n, JSON_ALLOW_NUL, &je);
    if (!j)
        return err_set(e, ERR_INTERNAL, "settings of the store process: %s", je.text);
    if (!stores_read(a, json_object_get(j, "stores"), &stores, &c.stores_count) ||
        !databases_read(a, json_object_get(j, "databases"), &databases, &c.databases_count))
        return err_no_memory(e);
    c.stores = stores;
    c.databases = databases;
    *ret = c;
    *ret_format = json_is_true(json_object_get(j, "log_json")) ? LOG_JSON : LOG_TEXT;
    return true;
}
