/* The runtime configuration file, read with the manifest's means (manifest_reader.h): typed fields,
 * unknown keys refused with a suggestion. An empty string is as good as an absent one. */
#include "app/runtime_config.h"

#include "app/manifest_reader.h"

void runtime_config_default(runtime_config *ret)
{
    *ret = (runtime_config){.socket_connections_max = UINT64_MAX,
                            .total_connections_max = UINT64_MAX,
                            .http_connection_pooling = true,
                            .http_connections_max = UINT64_MAX,
                            .redis_connections_max = UINT64_MAX,
                            .pg_connections_max = UINT64_MAX,
                            .mysql_connections_max = UINT64_MAX,
                            .mqtt_connections_max = UINT64_MAX,
                            .mqtt_payload_bytes_max = UINT64_MAX};
}

static bool read_u64(reader *r, const toml_table *t, const char *key, uint64_t *ret)
{
    const toml_value *v;
    if (!read_kind(r, t, key, TOML_INTEGER, &v))
        return false;
    if (v && v->integer < 0)
        return read_fail(r, v->pos, "%s can't be negative", key);
    if (v)
        *ret = (uint64_t)v->integer;
    return true;
}

/* The index of `type` in the NULL-terminated list. */
static bool type_read(reader *r, const toml_table *t, toml_pos at, const char *where,
                      const char *const *kinds, size_t *ret)
{
    str type, all[8];
    size_t n = 0;
    if (!read_required(r, t, "type", at, where, &type))
        return false;
    for (; kinds[n]; n++) {
        all[n] = str_from(kinds[n]);
        if (str_eq(type, all[n])) {
            *ret = n;
            return true;
        }
    }
    return read_fail(r, read_get(t, "type")->pos, "unknown type '%.*s' of %s%s", STR(type), where,
                     read_hint(r, type, all, n));
}

/* Fields that are only passed on: strings and booleans. */
static bool others_read(reader *r, const toml_table *t, const char *const *keys, app_pairs *ret)
{
    for (; *keys; keys++) {
        const toml_value *v = read_get(t, *keys);
        str s;
        if (!v || str_eq(str_from(*keys), S("type")))
            continue;
        if (v->kind != TOML_STRING && v->kind != TOML_BOOL)
            return read_fail(r, v->pos, "%s must be a string or a boolean, not %s", *keys,
                             toml_kind_name(v->kind));
        s = v->kind == TOML_STRING ? v->string : v->boolean ? S("true") : S("false");
        if (!app_pairs_add(r->a, ret, str_from(*keys), s))
            return read_no_memory(r);
    }
    return true;
}

static bool others_required(reader *r, const toml_table *t, toml_pos at, const char *where,
                            const char *const *keys)
{
    str ignored;
    for (; *keys; keys++)
        if (!read_required(r, t, *keys, at, where, &ignored))
            return false;
    return true;
}

/* ---- stores and databases ---- */

static bool store_read(reader *r, const toml_entry *x, config_store *s)
{
    static const char *const kinds[] = {"spin", "redis", "azure_cosmos", "aws_dynamo", NULL};
    static const char *const fields[][8] = {
        {"type", "path", NULL},
        {"type", "url", NULL},
        {"type", "account", "database", "container", "key", NULL},
        {"type", "region", "table", "access_key", "secret_key", "token", "consistent_read", NULL}};
    static const char *const cosmos[] = {"account", "database", "container", NULL};
    static const char *const dynamo[] = {"region", "table", NULL};
    size_t kind;
    if (!read_is(r, &x->value, TOML_TABLE, "a key_value_store"))
        return false;
    const toml_table *t = x->value.table;
    if (!type_read(r, t, x->pos, "a key_value_store", kinds, &kind) ||
        !read_known(r, t, "a key_value_store of this type", fields[kind]))
        return false;
    *s = (config_store){.label = x->key, .kind = (config_store_kind)kind, .pos = x->pos};
    switch (s->kind) {
    case STORE_SPIN:
        return read_str(r, t, "path", &s->path);
    case STORE_REDIS:
        return read_required(r, t, "url", x->pos, "a redis store", &s->url);
    case STORE_COSMOS:
        return others_required(r, t, x->pos, "an azure_cosmos store", cosmos) &&
               others_read(r, t, fields[kind], &s->other);
    case STORE_DYNAMO:
        return others_required(r, t, x->pos, "an aws_dynamo store", dynamo) &&
               others_read(r, t, fields[kind], &s->other);
    }
    return false;
}

static bool stores_read(reader *r, const toml_table *root, runtime_config *c)
{
    const toml_value *v;
    if (!read_kind(r, root, "key_value_store", TOML_TABLE, &v))
        return false;
    if (!v)
        return true;
    c->stores = ARENA_ARRAY(r->a, config_store, v->table->n);
    if (!c->stores)
        return read_no_memory(r);
    for (const toml_entry *x = v->table->first; x; x = x->next)
        if (!store_read(r, x, &c->stores[c->stores_count++]))
            return false;
    return true;
}

static bool database_read(reader *r, const toml_entry *x, config_database *d)
{
    static const char *const kinds[] = {"spin", "libsql", NULL};
    static const char *const fields[][4] = {{"type", "path", "allow_attach_file", NULL},
                                            {"type", "url", "token", NULL}};
    size_t kind;
    if (!read_is(r, &x->value, TOML_TABLE, "a sqlite_database"))
        return false;
    const toml_table *t = x->value.table;
    if (!type_read(r, t, x->pos, "a sqlite_database", kinds, &kind) ||
        !read_known(r, t, "a sqlite_database of this type", fields[kind]))
        return false;
    *d = (config_database){.label = x->key, .kind = (config_database_kind)kind, .pos = x->pos};
    if (d->kind == DATABASE_SPIN)
        return read_str(r, t, "path", &d->path) &&
               read_bool(r, t, "allow_attach_file", &d->allow_attach_file);
    if (!read_required(r, t, "url", x->pos, "a libsql database", &d->url) ||
        !read_required(r, t, "token", x->pos, "a libsql database", &d->token))
        return false;
    return str_starts(d->url, S("http://")) || str_starts(d->url, S("https://")) ||
           read_fail(r, read_get(t, "url")->pos, "url must begin with http:// or https://");
}

static bool databases_read(reader *r, const toml_table *root, runtime_config *c)
{
    const toml_value *v;
    if (!read_kind(r, root, "sqlite_database", TOML_TABLE, &v))
        return false;
    if (!v)
        return true;
    c->databases = ARENA_ARRAY(r->a, config_database, v->table->n);
    if (!c->databases)
        return read_no_memory(r);
    for (const toml_entry *x = v->table->first; x; x = x->next)
        if (!database_read(r, x, &c->databases[c->databases_count++]))
            return false;
    return true;
}

/* ---- variables providers ---- */

static bool provider_read(reader *r, const toml_value *v, config_provider *p)
{
    static const char *const kinds[] = {"env", "static", "vault", "azure_key_vault", NULL};
    static const char *const fields[][8] = {
        {"type", "prefix", "dotenv_path", NULL},
        {"type", "values", NULL},
        {"type", "url", "token", "mount", "prefix", NULL},
        {"type", "vault_url", "client_id", "client_secret", "tenant_id", "authority_host", NULL}};
    size_t kind;
    const toml_table *t = v->table;
    if (!read_is(r, v, TOML_TABLE, "a variables_provider") ||
        !type_read(r, t, v->pos, "a variables_provider", kinds, &kind) ||
        !read_known(r, t, "a variables_provider of this type", fields[kind]))
        return false;
    *p = (config_provider){.kind = (config_provider_kind)kind, .pos = v->pos};
    if (!read_str(r, t, "prefix", &p->prefix))
        return false;
    switch (p->kind) {
    case PROVIDER_ENV:
        if (!p->prefix.n)
            p->prefix = S("SPIN_VARIABLE");
        return read_str(r, t, "dotenv_path", &p->dotenv_path);
    case PROVIDER_STATIC:
        return read_pairs(r, t, "values", &p->values);
    case PROVIDER_VAULT:
        return read_required(r, t, "url", v->pos, "a vault provider", &p->url) &&
               read_required(r, t, "token", v->pos, "a vault provider", &p->token) &&
               read_required(r, t, "mount", v->pos, "a vault provider", &p->mount);
    case PROVIDER_AZURE:
        return read_required(r, t, "vault_url", v->pos, "an azure_key_vault provider", &p->url) &&
               others_read(r, t, fields[kind], &p->other);
    }
    return false;
}

static bool providers_read(reader *r, const toml_table *root, runtime_config *c)
{
    const toml_value *v, *old;
    if (!read_kind(r, root, "variables_provider", TOML_ARRAY, &v) ||
        !read_kind(r, root, "config_provider", TOML_ARRAY, &old))
        return false;
    if (v && old)
        return read_fail(r, old->pos,
                         "'config_provider' is the old name of 'variables_provider'; "
                         "use one of them");
    if (!v && !(v = old))
        return true;
    c->providers = ARENA_ARRAY(r->a, config_provider, v->array.n);
    if (!c->providers)
        return read_no_memory(r);
    for (size_t i = 0; i < v->array.n; i++)
        if (!provider_read(r, &v->array.at[i], &c->providers[c->providers_count++]))
            return false;
    return true;
}

/* ---- connections ---- */

static bool blocks_read(reader *r, const toml_table *t, outbound_blocks *b)
{
    str_list nets = {0};
    const toml_value *v = read_get(t, "block_networks");
    if (!read_str_list(r, t, "block_networks", &nets))
        return false;
    b->at = ARENA_ARRAY(r->a, outbound_net, nets.n);
    if (!b->at)
        return read_no_memory(r);
    for (size_t i = 0; i < nets.n; i++) {
        if (str_eq(nets.at[i], S("private")))
            b->has_private = true;
        else if (!outbound_net_parse(nets.at[i], &b->at[b->n++]))
            return read_fail(r, v->array.at[i].pos,
                             "'%.*s' is not a network such as "
                             "'10.0.0.0/8', nor 'private'",
                             STR(nets.at[i]));
    }
    return true;
}

static bool networking_read(reader *r, const toml_table *t, runtime_config *c)
{
    static const char *const known[] = {"block_networks", "max_socket_connections",
                                        "max_total_connections", NULL};
    return read_known(r, t, "[outbound_networking]", known) && blocks_read(r, t, &c->blocks) &&
           read_u64(r, t, "max_socket_connections", &c->socket_connections_max) &&
           read_u64(r, t, "max_total_connections", &c->total_connections_max);
}

static bool http_read(reader *r, const toml_table *t, runtime_config *c)
{
    static const char *const known[] = {"connection_pooling", "max_connections",
                                        "max_concurrent_requests", NULL};
    const toml_entry *old = toml_get(t, S("max_concurrent_requests"));
    c->http_connection_pooling = false;
    if (old && toml_get(t, S("max_connections")))
        return read_fail(r, old->pos,
                         "max_concurrent_requests and max_connections exclude each other; keep "
                         "max_connections");
    if (old && !read_warn(r, old->pos,
                          "max_concurrent_requests is deprecated; use max_connections (which is "
                          "one more: here 0 allows one connection)"))
        return false;
    if (!read_known(r, t, "[outbound_http]", known) ||
        !read_bool(r, t, "connection_pooling", &c->http_connection_pooling) ||
        !read_u64(r, t, "max_concurrent_requests", &c->http_connections_max) ||
        !read_u64(r, t, "max_connections", &c->http_connections_max))
        return false;
    if (old && c->http_connections_max < UINT64_MAX)
        c->http_connections_max++; /* as in Spin */
    return true;
}

static bool mqtt_read(reader *r, const toml_table *t, runtime_config *c)
{
    static const char *const known[] = {"max_connections", "max_payload_size_bytes", NULL};
    return read_known(r, t, "[outbound_mqtt]", known) &&
           read_u64(r, t, "max_connections", &c->mqtt_connections_max) &&
           read_u64(r, t, "max_payload_size_bytes", &c->mqtt_payload_bytes_max);
}

static bool connections_read(reader *r, const toml_table *root, runtime_config *c)
{
    static const char *const known[] = {"max_connections", NULL};
    const struct {
        const char *key;
        uint64_t *max;
    } simple[] = {{"outbound_redis", &c->redis_connections_max},
                  {"outbound_pg", &c->pg_connections_max},
                  {"outbound_mysql", &c->mysql_connections_max}};
    const toml_value *v;
    for (size_t i = 0; i < 3; i++)
        if (!read_kind(r, root, simple[i].key, TOML_TABLE, &v) ||
            (v && (!read_known(r, v->table, simple[i].key, known) ||
                   !read_u64(r, v->table, "max_connections", simple[i].max))))
            return false;
    return read_kind(r, root, "outbound_networking", TOML_TABLE, &v) &&
           (!v || networking_read(r, v->table, c)) &&
           read_kind(r, root, "outbound_http", TOML_TABLE, &v) &&
           (!v || http_read(r, v->table, c)) &&
           read_kind(r, root, "outbound_mqtt", TOML_TABLE, &v) && (!v || mqtt_read(r, v->table, c));
}

static bool tls_read(reader *r, const toml_value *v, config_client_tls *tls)
{
    static const char *const known[] = {"component_ids",           "hosts",
                                        "ca_use_platform_roots",   "ca_use_webpki_roots",
                                        "ca_roots_file",           "client_cert_file",
                                        "client_private_key_file", NULL};
    const toml_table *t = v->table;
    if (!read_is(r, v, TOML_TABLE, "client_tls") || !read_known(r, t, "[[client_tls]]", known))
        return false;
    *tls = (config_client_tls){.pos = v->pos};
    if (!read_str_list(r, t, "component_ids", &tls->component_ids) ||
        !read_str_list(r, t, "hosts", &tls->hosts) ||
        !read_str(r, t, "ca_roots_file", &tls->ca_roots_file) ||
        !read_str(r, t, "client_cert_file", &tls->client_cert_file) ||
        !read_str(r, t, "client_private_key_file", &tls->client_private_key_file) ||
        !read_bool(r, t, "ca_use_webpki_roots", &tls->ca_use_webpki_roots))
        return false;
    tls->ca_use_platform_roots = !tls->ca_roots_file.n && !tls->ca_use_webpki_roots;
    if (!tls->component_ids.n || !tls->hosts.n)
        return read_fail(r, v->pos, "[[client_tls]] needs 'component_ids' and 'hosts'");
    for (size_t i = 0; i < tls->hosts.n; i++)
        if (str_find(tls->hosts.at[i], ':') < tls->hosts.at[i].n)
            return read_fail(r, read_get(t, "hosts")->array.at[i].pos,
                             "'%.*s' must be a host without a port", STR(tls->hosts.at[i]));
    if (!tls->client_cert_file.n != !tls->client_private_key_file.n)
        return read_fail(r, v->pos,
                         "'client_cert_file' and 'client_private_key_file' need each "
                         "other");
    return read_bool(r, t, "ca_use_platform_roots", &tls->ca_use_platform_roots);
}

static bool tls_list_read(reader *r, const toml_table *root, runtime_config *c)
{
    const toml_value *v;
    if (!read_kind(r, root, "client_tls", TOML_ARRAY, &v))
        return false;
    if (!v)
        return true;
    c->client_tls = ARENA_ARRAY(r->a, config_client_tls, v->array.n);
    if (!c->client_tls)
        return read_no_memory(r);
    for (size_t i = 0; i < v->array.n; i++)
        if (!tls_read(r, &v->array.at[i], &c->client_tls[c->client_tls_count++]))
            return false;
    return true;
}

static bool llm_read(reader *r, const toml_table *root, runtime_config *c)
{
    static const char *const kinds[] = {"spin", "remote_http", NULL};
    static const char *const fields[][5] = {{"type", NULL},
                                            {"type", "url", "auth_token", "api_type", NULL}};
    const toml_value *v;
    size_t kind;
    if (!read_kind(r, root, "llm_compute", TOML_TABLE, &v))
        return false;
    if (!v)
        return true;
    const toml_table *t = v->table;
    if (!type_read(r, t, v->pos, "llm_compute", kinds, &kind) ||
        !read_known(r, t, "llm_compute of this type", fields[kind]))
        return false;
    c->llm = kind ? LLM_REMOTE_HTTP : LLM_SPIN;
    if (!kind)
        return true;
    c->llm_api_type = S("default");
    if (!read_required(r, t, "url", v->pos, "llm_compute", &c->llm_url) ||
        !read_required(r, t, "auth_token", v->pos, "llm_compute", &c->llm_auth_token) ||
        !read_str(r, t, "api_type", &c->llm_api_type))
        return false;
    return str_eq(c->llm_api_type, S("default")) || str_eq(c->llm_api_type, S("open_ai")) ||
           read_fail(r, read_get(t, "api_type")->pos, "api_type is 'default' or 'open_ai'");
}

bool runtime_config_read(arena *a, str file, str text, runtime_config *ret, err *e)
{
    static const char *const known[] = {
        "state_dir",           "log_dir",        "max_instance_memory", "key_value_store",
        "sqlite_database",     "llm_compute",    "variables_provider",  "config_provider",
        "outbound_networking", "client_tls",     "outbound_http",       "outbound_redis",
        "outbound_pg",         "outbound_mysql", "outbound_mqtt",       NULL};
    toml_table *root;
    runtime_config c;
    app warnings = {0};
    reader r = {.a = a, .file = arena_str(a, file), .out = &warnings, .e = e};
    runtime_config_default(&c);
    if (!r.file.p)
        return err_no_memory(e);
    if (!toml_parse(a, file, text, &root, e) ||
        !read_known(&r, root, "the runtime config", known) ||
        !read_str(&r, root, "state_dir", &c.state_dir) ||
        !read_str(&r, root, "log_dir", &c.log_dir) ||
        !read_u64(&r, root, "max_instance_memory", &c.memory_bytes_max) ||
        !stores_read(&r, root, &c) || !databases_read(&r, root, &c) ||
        !providers_read(&r, root, &c) || !connections_read(&r, root, &c) ||
        !tls_list_read(&r, root, &c) || !llm_read(&r, root, &c))
        return false;
    c.warnings = warnings.warnings;
    *ret = c;
    return true;
}
