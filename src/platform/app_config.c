/* Settings of an app as JSON: {"app": <locked app>, "components": [...], ...}. The app is in the
 * shape that registries hold too; what exists on this machine only (artifacts, folders, resolved
 * variables) is beside it. */
#include "platform/app_config.h"

#include "app/locked.h"
#include "base/hex.h"
#include "base/limits.h"
#include "platform/config_json.h"

#include <string.h>

/* --- writing ---------------------------------------------------------------------------------- */

static json_t *component_json(const config_component *c)
{
    json_t *j = json_object();
    json_object_set_new(j, "artifact", json_of(c->artifact));
    json_object_set_new(j, "mounts", json_of_pairs(&c->mounts));
    json_object_set_new(j, "follow", json_boolean(c->follow));
    json_object_set_new(j, "variables", json_of_pairs(&c->variables));
    json_object_set_new(j, "outbound", json_of_strs(c->outbound.at, c->outbound.n));
    return j;
}

/* URLs have passwords in them: for the store process only. */
static json_t *stores_json(const app_config *c, bool with_urls)
{
    json_t *list = json_array();
    for (size_t i = 0; i < c->stores_count; i++) {
        const kv_store *s = &c->stores[i];
        json_t *j = json_object();
        json_object_set_new(j, "label", json_of(s->label));
        json_object_set_new(j, "path", json_of(s->path));
        json_object_set_new(j, "url", json_of(with_urls ? s->url : S("")));
        json_object_set_new(j, "initial", json_of_strs(s->initial, s->initial_count));
        json_array_append_new(list, j);
    }
    return list;
}

static json_t *databases_json(const app_config *c, bool with_urls)
{
    json_t *list = json_array();
    for (size_t i = 0; i < c->databases_count; i++) {
        const sql_database *d = &c->databases[i];
        json_t *j = json_object();
        json_object_set_new(j, "label", json_of(d->label));
        json_object_set_new(j, "path", json_of(d->path));
        json_object_set_new(j, "attach_files", json_boolean(d->attach_files));
        json_object_set_new(j, "url", json_of(with_urls ? d->url : S("")));
        json_object_set_new(j, "token", json_of(with_urls ? d->token : S("")));
        json_object_set_new(j, "scripts", json_of_strs(d->scripts, d->scripts_count));
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
        json_object_set_new(j, "values", json_of_pairs(&p->values));
        if (p->is_vault) {
            str vault[] = {p->url, p->token, p->mount, p->prefix};
            json_object_set_new(j, "vault", json_of_strs(vault, 4));
        }
        json_array_append_new(all, j);
    }
    return all;
}

bool app_config_write(const app_config *c, buf *out, err *e)
{
    _cleanup_(buf_fini) buf locked;
    buf_init(&locked, APP_LOCKED_BYTES_MAX);
    if (!locked_write(c->app, (str){0}, &locked, e))
        return false;
    _cleanup_json_ json_t *j = json_object();
    json_t *app_json = json_get(buf_bytes(&locked), "an app", e), *components = json_array();
    if (!app_json)
        return false;
    if (!j || !components)
        return err_no_memory(e);
    json_object_set_new(j, "app", app_json);
    for (size_t i = 0; i < c->app->components_count; i++)
        json_array_append_new(components, component_json(&c->components[i]));
    json_object_set_new(j, "components", components);
    json_object_set_new(j, "providers", providers_json(&c->providers));
    json_object_set_new(j, "stores", stores_json(c, false));
    json_object_set_new(j, "databases", databases_json(c, false));
    json_object_set_new(j, "log_dir", json_of(c->log_dir));
    json_object_set_new(j, "transient_write", json_boolean(c->allow_transient_write));
    return json_put(j, out, e);
}

/* The key is for the store process alone: the text goes to it in an anonymous file. */
static json_t *queue_json(const store_queue *q)
{
    char key[2 * SEAL_KEY_BYTES + 1];
    hex_write((bytes){q->key.bytes, SEAL_KEY_BYTES}, key);
    json_t *j =
        json_pack("{s:o, s:o, s:s}", "path", json_of(q->path), "url", json_of(q->url), "key", key);
    explicit_bzero(key, sizeof key);
    return j;
}

bool store_config_write(const app_config *c, str state_dir, const store_queue *queue, bool log_json,
                        buf *out, err *e)
{
    _cleanup_json_ json_t *j = json_object();
    if (!j)
        return err_no_memory(e);
    json_object_set_new(j, "stores", stores_json(c, true));
    json_object_set_new(j, "databases", databases_json(c, true));
    json_object_set_new(j, "log_json", json_boolean(log_json));
    json_object_set_new(j, "state_dir", json_of(state_dir));
    if (queue && queue->path.n + queue->url.n)
        json_object_set_new(j, "queue", queue_json(queue));
    return json_put(j, out, e);
}

/* --- reading; false: no memory ---------------------------------------------------------------- */

static bool stores_read(arena *a, const json_t *list, const kv_store **ret, size_t *ret_count)
{
    size_t n = json_array_size(list);
    kv_store *stores = ARENA_ARRAY(a, kv_store, n);
    for (size_t i = 0; stores && i < n; i++) {
        const json_t *j = json_array_get(list, i);
        kv_store *s = &stores[i];
        s->label = json_str(a, json_object_get(j, "label"));
        s->path = json_str(a, json_object_get(j, "path"));
        s->url = json_str(a, json_object_get(j, "url"));
        s->initial = json_strs(a, json_object_get(j, "initial"), &s->initial_count);
        if (!s->label.p || !s->path.p || !s->url.p || !s->initial)
            return false;
    }
    *ret = stores;
    *ret_count = n;
    return stores != NULL;
}

static bool databases_read(arena *a, const json_t *list, const sql_database **ret,
                           size_t *ret_count)
{
    size_t n = json_array_size(list);
    sql_database *databases = ARENA_ARRAY(a, sql_database, n);
    for (size_t i = 0; databases && i < n; i++) {
        const json_t *j = json_array_get(list, i);
        sql_database *d = &databases[i];
        d->label = json_str(a, json_object_get(j, "label"));
        d->path = json_str(a, json_object_get(j, "path"));
        d->attach_files = json_is_true(json_object_get(j, "attach_files"));
        d->url = json_str(a, json_object_get(j, "url"));
        d->token = json_str(a, json_object_get(j, "token"));
        d->scripts = json_strs(a, json_object_get(j, "scripts"), &d->scripts_count);
        if (!d->label.p || !d->path.p || !d->scripts)
            return false;
    }
    *ret = databases;
    *ret_count = n;
    return databases != NULL;
}

static bool providers_read(arena *a, const json_t *list, provider_list *ret)
{
    provider *at = ARENA_ARRAY(a, provider, json_array_size(list));
    *ret = (provider_list){.at = at, .n = json_array_size(list)};
    for (size_t i = 0; at && i < ret->n; i++) {
        const json_t *j = json_array_get(list, i), *vault = json_object_get(j, "vault");
        size_t n;
        const str *v = json_strs(a, vault, &n);
        if (!v || !json_pairs(a, json_object_get(j, "values"), &at[i].values))
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
    const str *hosts = json_strs(a, json_object_get(j, "outbound"), &ret->outbound.n);
    ret->outbound.at = (str *)(uintptr_t)hosts;
    ret->artifact = json_str(a, json_object_get(j, "artifact"));
    ret->follow = json_is_true(json_object_get(j, "follow"));
    return hosts && ret->artifact.p && json_pairs(a, json_object_get(j, "mounts"), &ret->mounts) &&
           json_pairs(a, json_object_get(j, "variables"), &ret->variables);
}

static bool components_read(arena *a, const json_t *list, size_t count,
                            const config_component **ret)
{
    config_component *components = ARENA_ARRAY(a, config_component, count);
    for (size_t i = 0; components && i < count; i++)
        if (!component_read(a, json_array_get(list, i), &components[i]))
            return false;
    *ret = components;
    return components != NULL;
}

static bool locked_part_read(arena *a, const json_t *j, const app **ret, err *e)
{
    app *got = NULL;
    bool ok = locked_read_value(a, j, &got, e);
    *ret = got;
    return ok;
}

bool app_config_read(arena *a, bytes text, app_config *ret, err *e)
{
    app_config c = {0};
    _cleanup_json_ json_t *j = json_get(text, "an app", e);
    if (!j || !locked_part_read(a, json_object_get(j, "app"), &c.app, e))
        return false;
    const json_t *list = json_object_get(j, "components");
    if (json_array_size(list) != c.app->components_count)
        return err_set(e, ERR_INTERNAL, "settings of an app: components differ");
    c.allow_transient_write = json_is_true(json_object_get(j, "transient_write"));
    c.log_dir = json_str(a, json_object_get(j, "log_dir"));
    if (!c.log_dir.p || !components_read(a, list, c.app->components_count, &c.components) ||
        !stores_read(a, json_object_get(j, "stores"), &c.stores, &c.stores_count) ||
        !providers_read(a, json_object_get(j, "providers"), &c.providers) ||
        !databases_read(a, json_object_get(j, "databases"), &c.databases, &c.databases_count))
        return err_no_memory(e);
    *ret = c;
    return true;
}

static bool queue_read(arena *a, const json_t *j, store_queue *ret, err *e)
{
    str key = json_str(a, json_object_get(j, "key"));
    *ret = (store_queue){.path = json_str(a, json_object_get(j, "path")),
                         .url = json_str(a, json_object_get(j, "url"))};
    if (!key.p || !ret->path.p || !ret->url.p)
        return err_no_memory(e);
    if (!j)
        return true;
    for (size_t i = 0; i < SEAL_KEY_BYTES; i++) {
        int high = key.n == 2 * SEAL_KEY_BYTES ? hex_digit(key.p[2 * i]) : -1;
        int low = high < 0 ? -1 : hex_digit(key.p[2 * i + 1]);
        if (low < 0)
            return err_set(e, ERR_INVALID, "settings of the store process: the queue has no key");
        ret->key.bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

bool store_config_read(arena *a, bytes text, store_config *ret, bool *ret_log_json, err *e)
{
    store_config c;
    _cleanup_json_ json_t *j = json_get(text, "the store process", e);
    if (!j)
        return false;
    if (!stores_read(a, json_object_get(j, "stores"), &c.stores, &c.stores_count) ||
        !databases_read(a, json_object_get(j, "databases"), &c.databases, &c.databases_count))
        return err_no_memory(e);
    c.state_dir = json_str(a, json_object_get(j, "state_dir"));
    if (!c.state_dir.p)
        return err_no_memory(e);
    if (!queue_read(a, json_object_get(j, "queue"), &c.queue, e))
        return false;
    *ret = c;
    *ret_log_json = json_is_true(json_object_get(j, "log_json"));
    return true;
}
