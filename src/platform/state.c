/* See state.h. Only what some used component may open is set up, so an app without state makes no
 * folder. Statements and keys of the command line are for files executed here, before any process
 * is started that owns them; for stores in memory the store process does it whenever it starts. */
#include "platform/state.h"

#include "base/limits.h"
#include "platform/artifact.h"
#include "platform/spawn.h"
#include "store/kv_file.h"
#include "store/kv_redis.h"
#include "store/sql_connection.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SCRIPT_BYTES_MAX = 64 << 20 };

typedef struct {
    arena *a;
    const state_options *o;
    const app *of;
    str dir; /* the state folder, once it was made */
} maker;

/* --- folders ---------------------------------------------------------------------------------- */

static bool folder_make(str dir, err *e)
{
    if (mkdir(dir.p, 0700) < 0 && errno != EEXIST)
        return err_set_errno(e, "the folder %.*s", STR(dir));
    return true;
}

/* Where a file in it is to be durable, its own entry is first. */
static void parent_sync(arena *a, str path)
{
    str parent = arena_str(a, str_head(path, str_rfind(path, '/')));
    dir_sync(parent.n ? parent.p : "/");
}

static bool absolute(arena *a, str path, str *ret, err *e)
{
    char *full = realpath(path.p, NULL);
    if (!full)
        return err_set_errno(e, "%.*s", STR(path));
    *ret = arena_str(a, str_from(full));
    free(full);
    return ret->p ? true : err_no_memory(e);
}

static bool in_memory_only(const maker *m) { return m->o->state_dir && !*m->o->state_dir; }

/* The state folder, absolute; made when something will be stored in it. */
static bool state_dir(maker *m, err *e)
{
    str dir = m->o->state_dir ? str_from(m->o->state_dir) : m->o->config->state_dir;
    if (m->dir.n)
        return true;
    if (!dir.n)
        dir = arena_printf(m->a, "%.*s/.spin", STR(m->o->app_dir));
    if (!dir.p)
        return err_no_memory(e);
    if (!folder_make(dir, e) || !absolute(m->a, dir, &m->dir, e))
        return err_wrap(e, "the state folder (--state-dir)");
    parent_sync(m->a, m->dir);
    return true;
}

/* The absolute path of a configured file: `path`, from `base` on. Its folder is made. */
static bool file_place(maker *m, str base, str path, str *ret, err *e)
{
    str full = path.p[0] == '/' || !base.n ? arena_str(m->a, path)
                                           : arena_printf(m->a, "%.*s/%.*s", STR(base), STR(path));
    size_t slash = str_rfind(full, '/');
    str dir = slash < full.n ? arena_str(m->a, str_head(full, slash ? slash : 1)) : S(".");
    str name = slash < full.n ? str_skip(full, slash + 1) : full, real;
    if (!full.p || !dir.p)
        return err_no_memory(e);
    if (!folder_make(dir, e) || !absolute(m->a, dir, &real, e))
        return false;
    parent_sync(m->a, real);
    *ret = arena_printf(m->a, "%.*s/%.*s", STR(real), STR(name));
    return ret->p ? true : err_no_memory(e);
}

static bool default_file(maker *m, const char *name, const char *what, str *ret, err *e)
{
    *ret = S("");
    if (in_memory_only(m))
        return true;
    if (!state_dir(m, e))
        return false;
    *ret = arena_printf(m->a, "%.*s/%s", STR(m->dir), name);
    if (!ret->p)
        return err_no_memory(e);
    if (m->o->progress)
        fprintf(m->o->progress, "Storing default %s data to \"%.*s\".\n", what, STR(*ret));
    return true;
}

/* --- labels ----------------------------------------------------------------------------------- */

/* Each label that used components ask for, once. */
static bool labels_of(maker *m, size_t list_offset, str_list *ret, err *e)
{
    for (size_t i = 0; i < m->of->components_count; i++) {
        const app_component *c = &m->of->components[i];
        const str_list *labels = (const str_list *)(const void *)((const char *)c + list_offset);
        for (size_t k = 0; c->is_used && k < labels->n; k++) {
            bool there = false;
            for (size_t j = 0; j < ret->n && !there; j++)
                there = str_eq(ret->at[j], labels->at[k]);
            if (!there && !str_list_add(m->a, ret, labels->at[k]))
                return err_no_memory(e);
        }
    }
    return true;
}

static const config_store *store_configured(const runtime_config *c, str label)
{
    for (size_t i = 0; i < c->stores_count; i++)
        if (str_eq(c->stores[i].label, label))
            return &c->stores[i];
    return NULL;
}

static const config_database *database_configured(const runtime_config *c, str label)
{
    for (size_t i = 0; i < c->databases_count; i++)
        if (str_eq(c->databases[i].label, label))
            return &c->databases[i];
    return NULL;
}

static bool label_unknown(const char *what, const char *section, str label, err *e)
{
    return err_set(e, ERR_NOT_FOUND,
                   "unknown %s label '%.*s'; there is \"default\", and others are given in "
                   "[%s.%.*s] of a --runtime-config-file",
                   what, STR(label), section, STR(label));
}

static bool store_make(maker *m, str label, kv_store *ret, err *e)
{
    const config_store *c = store_configured(m->o->config, label);
    *ret = (kv_store){.label = label, .path = S(""), .url = S("")};
    if (!c && !str_eq(label, S("default")))
        return label_unknown("key_value_stores", "key_value_store", label, e);
    if (!c)
        return default_file(m, "sqlite_key_value.db", "key-value", &ret->path, e);
    if (c->kind == STORE_REDIS) {
        ret->url = c->url;
        return kv_redis_url_check(c->url, e) || err_wrap(e, "[key_value_store.%.*s]", STR(label));
    }
    if (c->kind != STORE_SPIN)
        return err_set(e, ERR_UNSUPPORTED,
                       "[key_value_store.%.*s]: ebb does not serve stores of type \"%s\"; it "
                       "serves \"spin\" and \"redis\"",
                       STR(label), c->kind == STORE_COSMOS ? "azure_cosmos" : "aws_dynamo");
    return !c->path.n || file_place(m, m->o->config_dir, c->path, &ret->path, e);
}

static bool database_make(maker *m, str label, sql_database *ret, err *e)
{
    const config_database *c = database_configured(m->o->config, label);
    *ret = (sql_database){.label = label, .path = S("")};
    if (!c && !str_eq(label, S("default")))
        return label_unknown("sqlite_databases", "sqlite_database", label, e);
    if (!c)
        return default_file(m, "sqlite_db.db", "SQLite", &ret->path, e);
    if (c->kind == DATABASE_LIBSQL) {
        ret->url = c->url;
        ret->token = c->token;
        return true;
    }
    ret->attach_files = c->allow_attach_file;
    return !c->path.n || file_place(m, (str){0}, c->path, &ret->path, e);
}

/* --- --key-value and --sqlite ----------------------------------------------------------------- */

static bool key_values_take(maker *m, kv_store *stores, size_t count, err *e)
{
    size_t n = m->o->key_values_count;
    kv_store *to = NULL;
    kv_file *f = NULL;
    if (!n)
        return true;
    for (size_t i = 0; i < count; i++)
        if (str_eq(stores[i].label, S("default")))
            to = &stores[i];
    if (!to)
        return err_set(e, ERR_NOT_FOUND,
                       "--key-value: no component has \"default\" in its key_value_stores");
    str *pairs = ARENA_ARRAY(m->a, str, 2 * n);
    if (!pairs)
        return err_no_memory(e);
    for (size_t i = 0; i < n; i++) {
        str value = str_from(m->o->key_values[i]), key = str_cut(&value, '=');
        if (!value.p)
            return err_set(e, ERR_INVALID, "--key-value '%.*s': write KEY=VALUE", STR(key));
        pairs[2 * i] = key;
        pairs[2 * i + 1] = value;
    }
    if (to->url.n)
        return err_set(e, ERR_UNSUPPORTED,
                       "--key-value: the store \"default\" is in Redis; set its keys there");
    to->initial = pairs;
    to->initial_count = 2 * n;
    if (!to->path.n)
        return true;
    bool ok = kv_file_open(to->path.p, &f, e) && kv_file_preset(f, to->label, pairs, 2 * n, e);
    kv_file_close(f);
    return ok || err_wrap(e, "--key-value: %.*s", STR(to->path));
}

static bool statement_run(const sql_database *d, str text, err *e)
{
    sql_connection *c;
    sql_location where = {.path = d->path.n ? d->path.p : NULL, .name = "checked"};
    if (!sql_connection_open(&where, &c, e))
        return false;
    bool ok = sql_connection_script(c, text, e) && (!d->path.n || sql_connection_sync(c, e));
    sql_connection_close(c);
    return ok;
}

/* "statement", "@file" or "@file:label". */
static bool statement_take(maker *m, str text, sql_database *at, size_t count, err *e)
{
    str label = S("default"), path = str_skip(text, 1), script = text;
    sql_database *d = NULL;
    if (str_starts(text, S("@"))) {
        bytes file;
        size_t colon = str_rfind(path, ':');
        if (colon < path.n) {
            label = str_skip(path, colon + 1);
            path = str_head(path, colon);
        }
        path = arena_str(m->a, path);
        if (!path.p || !file_load(m->a, path.p, SCRIPT_BYTES_MAX, &file, e))
            return path.p ? err_wrap(e, "--sqlite") : err_no_memory(e);
        script = (str){(const char *)file.p, file.n};
    }
    for (size_t i = 0; i < count; i++)
        if (str_eq(at[i].label, label))
            d = &at[i];
    if (!d)
        return err_set(e, ERR_NOT_FOUND,
                       "--sqlite: no component has \"%.*s\" in its sqlite_databases", STR(label));
    if (d->url.n)
        return err_set(e, ERR_UNSUPPORTED,
                       "--sqlite: \"%.*s\" is at a libSQL server, which only components ask; run "
                       "the statements there",
                       STR(label));
    str *grown = arena_grow(m->a, (void *)(uintptr_t)d->scripts, d->scripts_count,
                            d->scripts_count + 1, sizeof *grown);
    if (!grown)
        return err_no_memory(e);
    grown[d->scripts_count++] = script;
    d->scripts = grown;
    return d->path.n ? statement_run(d, script, e) || err_wrap(e, "--sqlite '%.*s'", STR(text))
                     : true;
}

/* Those for memory are tried on a database of their own, so that a mistake shows at once. */
static bool scripts_check(const sql_database *d, err *e)
{
    sql_connection *c = NULL;
    sql_location where = {.name = "checked"};
    if (d->path.n || !d->scripts_count)
        return true;
    bool ok = sql_connection_open(&where, &c, e);
    for (size_t i = 0; ok && i < d->scripts_count; i++)
        ok = sql_connection_script(c, d->scripts[i], e) || err_wrap(e, "--sqlite");
    sql_connection_close(c);
    return ok;
}

/* --- all of it -------------------------------------------------------------------------------- */

bool state_make(arena *a, const state_options *o, const app *of, app_config *c, str *ret_dir,
                err *e)
{
    maker m = {.a = a, .o = o, .of = of};
    str_list kv = {0}, sql = {0};
    if (!labels_of(&m, offsetof(app_component, key_value_stores), &kv, e) ||
        !labels_of(&m, offsetof(app_component, sqlite_databases), &sql, e))
        return false;
    kv_store *stores = ARENA_ARRAY(a, kv_store, kv.n + 1);
    sql_database *databases = ARENA_ARRAY(a, sql_database, sql.n + 1);
    if (!stores || !databases)
        return err_no_memory(e);
    for (size_t i = 0; i < kv.n; i++)
        if (!store_make(&m, kv.at[i], &stores[i], e))
            return false;
    for (size_t i = 0; i < sql.n; i++)
        if (!database_make(&m, sql.at[i], &databases[i], e))
            return false;
    if (!key_values_take(&m, stores, kv.n, e))
        return false;
    for (size_t i = 0; i < o->statements_count; i++)
        if (!statement_take(&m, str_from(o->statements[i]), databases, sql.n, e))
            return false;
    for (size_t i = 0; i < sql.n; i++)
        if (!scripts_check(&databases[i], e))
            return false;
    c->stores = stores;
    c->stores_count = kv.n;
    c->databases = databases;
    c->databases_count = sql.n;
    err none;
    if (o->keeps && !in_memory_only(&m))
        state_dir(&m, &none);
    *ret_dir = m.dir;
    return true;
}
