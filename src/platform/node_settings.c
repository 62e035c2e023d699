/* See node_settings.h. Numbers are whole; sizes are bytes; a text may be empty where that has a
 * meaning of its own. A value out of its range is refused with the range. */
#include "platform/node_settings.h"

#include "app/manifest_reader.h"
#include "base/limits.h"

#include <jansson.h>
#include <stddef.h>

typedef enum { TEXT, NUMBER, FLAG } row_kind;

typedef struct {
    const char *table, *key;
    row_kind kind;
    size_t at;
    const char *usual; /* the default, as it is written */
    uint64_t min, max;
    const char *help;
} row;

#define AT(field) offsetof(node_settings, field)
#define ANY       UINT64_C(1) << 53

static const row rows[] = {
    {"http", "listen", TEXT, AT(listen), "127.0.0.1:3000", 0, 0,
     "Where apps answer. \":80\" is every address of this machine, IPv4 and IPv6."},
    {"http", "domain", TEXT, AT(domain), "localhost", 0, 0,
     "An app is at <app>-<tenant>.<domain>. Browsers find every name below localhost on this\n"
     "# machine; for the world, point a wildcard record *.apps.example.com here."},
    {"http", "public_port", TEXT, AT(public_port), "", 0, 0,
     "The port in URLs that are shown, where something in front has another than listen."},
    {"http", "trusted_proxies", TEXT, AT(trusted_proxies), "", 0, 0,
     "Addresses or networks, with commas, that are believed in x-forwarded-for and\n"
     "# x-forwarded-proto: \"10.0.0.0/8, 2001:db8::1\"."},
    {"tls", "folder", TEXT, AT(tls_folder), "", 0, 0,
     "Certificates by name: NAME.crt with NAME.key, or NAME/fullchain.pem with NAME/privkey.pem.\n"
     "# With one of these, [http] listen speaks HTTPS. Files that change are read again."},
    {"tls", "certificate", TEXT, AT(tls_certificate), "", 0, 0,
     "Or one certificate for every name (PEM, with its chain)"},
    {"tls", "key", TEXT, AT(tls_key), "", 0, 0, "and its private key."},
    {"admin", "listen", TEXT, AT(admin_listen), "127.0.0.1:3001", 0, 0,
     "Where this node is administered, an origin of its own. Empty: only by admin.sock, which\n"
     "# belongs to whoever may read this folder."},
    {"admin", "host", TEXT, AT(admin_host), "", 0, 0,
     "A name by which a proxy with TLS brings people here; others than loopback are refused."},
    {"node", "workers", NUMBER, AT(workers), "0", 0, 64, "Worker processes. 0: one a core."},
    {"node", "instances", NUMBER, AT(instances), "0", 0, 10000,
     "Sandboxes at once in each worker. 0: 1,000."},
    {"node", "jobs", NUMBER, AT(jobs), "2", 1, 64, "Components compiled at the same time."},
    {"node", "log_json", FLAG, AT(log_json), "false", 0, 0, "Write the log of ebb as JSON."},
    {"node", "carbon", TEXT, AT(carbon), "", 0, 0,
     "A file about the grid and the power of this machine (docs/carbon.md)."},
    {"apps", "revisions_kept", NUMBER, AT(revisions_kept), "5", 1, 1000,
     "Revisions of an app that are kept for a rollback, the live one included."},
    {"apps", "held", NUMBER, AT(apps_held), "10000", 1, 1000000,
     "Apps that a worker holds at once; the least recently used ones go."},
    {"apps", "modules_held", NUMBER, AT(modules_held), "10000", 1, 1000000,
     "Mapped modules of a worker, one a component: some five mappings and a descriptor each, and\n"
     "# never more than this machine allows (vm.max_map_count, ulimit -n)."},
    {"apps", "bytes_held", NUMBER, AT(bytes_held), "536870912", 1048576, ANY,
     "Memory of a worker for settings and linked code of the apps that it holds."},
    {"apps", "idle_s", NUMBER, AT(idle_s), "300", 1, 86400,
     "Seconds without a request, then a worker lets go of an app though there is room."},
    {"egress", "allow", TEXT, AT(egress_allow), "", 0, 0,
     "Networks that apps may reach though they are not on the Internet, as \"10.1.0.0/16, ...\".\n"
     "# Loopback, private networks and this machine's own addresses are closed otherwise."},
    {"traces", "url", TEXT, AT(traces_url), "", 0, 0,
     "Where a collector takes traces by OTLP/HTTP: \"http://127.0.0.1:4318/v1/traces\"."},
    {"traces", "one_in", NUMBER, AT(traces_one_in), "100", 1, 1000000000,
     "Of so many requests that are in no trace yet one is sampled; the others do as theirs says."},
    {"queue", "url", TEXT, AT(queue_url), "", 0, 0,
     "Deferred calls in PostgreSQL instead of a file (postgresql://user:password@host/database):\n"
     "# nodes made from a backup of this one may share it (docs/state.md)."},
    {"quota", "apps", NUMBER, AT(quota_apps), "100", 0, ANY,
     "Quotas of a new tenant; 0: no limit. Apps:"},
    {"quota", "memory_bytes", NUMBER, AT(quota_memory_bytes), "2147483648", 0, ANY,
     "Memory of all its running sandboxes."},
    {"quota", "concurrency", NUMBER, AT(quota_concurrency), "200", 0, 1000000, "Requests at once."},
    {"quota", "cpu_percent", NUMBER, AT(quota_cpu_percent), "0", 0, 100000,
     "CPU, where 100 is one core."},
    {"quota", "cpu_weight", NUMBER, AT(quota_cpu_weight), "100", 1, 10000,
     "Its part of the CPU beside other tenants that are busy, in proportion to theirs."},
    {"quota", "requests_per_s", NUMBER, AT(quota_requests_per_s), "0", 0, 10000000,
     "Requests a second."},
    {"quota", "storage_bytes", NUMBER, AT(quota_storage_bytes), "10737418240", 0, ANY,
     "Blobs and state."},
    {"quota", "connections", NUMBER, AT(quota_connections), "200", 0, 1000000,
     "Outgoing connections at once."},
    {"quota", "log_bytes_per_s", NUMBER, AT(quota_log_bytes_per_s), "1048576", 0, ANY,
     "What its apps may log in a second."},
    {"quota", "deferred_calls", NUMBER, AT(quota_deferred_calls), "100000", 0, ANY,
     "Deferred calls that wait or run (docs/defer.md),"},
    {"quota", "deferred_bytes", NUMBER, AT(quota_deferred_bytes), "1073741824", 0, ANY,
     "and the bytes of their requests."},
};
enum { ROWS = sizeof rows / sizeof *rows, TABLES_MAX = 9 };

static void usual_set(node_settings *s, const row *r)
{
    char *at = (char *)s + r->at;
    uint64_t n = 0;
    if (r->kind == TEXT)
        *(str *)(void *)at = str_from(r->usual);
    else if (r->kind == FLAG)
        *(bool *)at = strcmp(r->usual, "true") == 0;
    else if (str_to_u64(str_from(r->usual), UINT64_MAX, &n))
        *(uint64_t *)(void *)at = n;
}

node_settings node_settings_default(void)
{
    node_settings s = {0};
    for (size_t i = 0; i < ROWS; i++)
        usual_set(&s, &rows[i]);
    return s;
}

static size_t keys_of(const char *table, const char *ret[ROWS + 1])
{
    size_t n = 0;
    for (size_t i = 0; i < ROWS; i++)
        if (strcmp(rows[i].table, table) == 0)
            ret[n++] = rows[i].key;
    ret[n] = NULL;
    return n;
}

static void tables_of(const char *ret[TABLES_MAX + 1])
{
    size_t n = 0;
    for (size_t i = 0; i < ROWS; i++)
        if (!i || strcmp(rows[i - 1].table, rows[i].table) != 0)
            ret[n++] = rows[i].table;
    ret[n] = NULL;
}

static bool row_read(reader *r, const toml_table *t, const row *x, node_settings *s)
{
    const toml_value *v;
    char *at = (char *)s + x->at;
    if (x->kind == TEXT)
        return read_str(r, t, x->key, (str *)(void *)at);
    if (x->kind == FLAG)
        return read_bool(r, t, x->key, (bool *)at);
    if (!read_kind(r, t, x->key, TOML_INTEGER, &v))
        return false;
    if (!v)
        return true;
    if (v->integer < 0 || (uint64_t)v->integer < x->min || (uint64_t)v->integer > x->max)
        return read_fail(r, v->pos, "%s is a number from %llu to %llu", x->key,
                         (unsigned long long)x->min, (unsigned long long)x->max);
    *(uint64_t *)(void *)at = (uint64_t)v->integer;
    return true;
}

bool node_settings_read(arena *a, str file, str text, node_settings *ret, err *e)
{
    toml_table *root;
    node_settings s = node_settings_default();
    reader r = {.a = a, .file = file, .e = e};
    const char *tables[TABLES_MAX + 1], *keys[ROWS + 1];
    tables_of(tables);
    if (!toml_parse(a, file, text, &root, e) || !read_known(&r, root, "ebb.toml", tables))
        return false;
    for (size_t i = 0; tables[i]; i++) {
        const toml_value *v;
        char where[32];
        snprintf(where, sizeof where, "[%s]", tables[i]);
        keys_of(tables[i], keys);
        if (!read_kind(&r, root, tables[i], TOML_TABLE, &v) ||
            (v && !read_known(&r, v->table, where, keys)))
            return false;
        for (size_t k = 0; v && k < ROWS; k++)
            if (strcmp(rows[k].table, tables[i]) == 0 && !row_read(&r, v->table, &rows[k], &s))
                return false;
    }
    *ret = s;
    return true;
}

bool node_settings_template(buf *out)
{
    buf_put_str(out, S("# Settings of this ebb node; 'ebb serve' reads them when it starts. What "
                       "is commented out\n# is the default. Unknown keys are refused.\n"));
    for (size_t i = 0; i < ROWS; i++) {
        const row *r = &rows[i];
        const char *quote = r->kind == TEXT ? "\"" : "";
        if (!i || strcmp(rows[i - 1].table, r->table) != 0)
            buf_printf(out, "\n[%s]\n", r->table);
        buf_printf(out, "# %s\n# %s = %s%s%s\n", r->help, r->key, quote, r->usual, quote);
    }
    return !out->failed;
}

/* --- quotas ----------------------------------------------------------------------------------- */

bool quota_write(const quota *q, buf *out)
{
    const char *comma = "";
    buf_put_str(out, S("{"));
#define X(name)                                                                                    \
    buf_printf(out, "%s\"" #name "\":%llu", comma, (unsigned long long)q->name);                   \
    comma = ",";
    QUOTA_NAMES(X)
#undef X
    buf_put_str(out, S("}"));
    return !out->failed; /* of any of them */
}

static uint64_t *quota_at(quota *q, const char *key)
{
#define X(name)                                                                                    \
    if (strcmp(key, #name) == 0)                                                                   \
        return &q->name;
    QUOTA_NAMES(X)
#undef X
    return NULL;
}

static bool quota_members(const json_t *j, quota *q, err *e)
{
    const char *key;
    json_t *v;
    if (!json_is_object(j))
        return err_set(e, ERR_INVALID, "a quota is an object of numbers");
    json_object_foreach((json_t *)(uintptr_t)j, key, v)
    {
        uint64_t *at = quota_at(q, key);
        if (!at)
            return err_set(e, ERR_INVALID,
                           "there is no quota '%.60s'; there are apps, memory_bytes, concurrency, "
                           "cpu_percent, cpu_weight, requests_per_s, storage_bytes, connections, "
                           "log_bytes_per_s, deferred_calls and deferred_bytes",
                           key);
        if (!json_is_integer(v) || json_integer_value(v) < 0)
            return err_set(e, ERR_INVALID, "quota %s is a number; 0 means no limit", key);
        *at = (uint64_t)json_integer_value(v);
    }
    return true;
}

bool quota_read(str json, quota *q, err *e)
{
    json_error_t je;
    json_t *j = json_loadb(json.p, json.n, 0, &je);
    if (!j)
        return err_set(e, ERR_INVALID, "a quota: %s", je.text);
    bool ok = quota_members(j, q, e);
    json_decref(j);
    return ok;
}

quota node_settings_quota(const node_settings *s)
{
    return (quota){
#define X(name) .name = s->quota_##name,
        QUOTA_NAMES(X)
#undef X
    };
}
