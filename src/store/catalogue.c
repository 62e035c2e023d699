/* See catalogue.h. Here: the file, its two connections, the group of jobs, finding by host. The
 * tables are written in catalogue_tenant.c and catalogue_app.c.
 *
 * A revision's row has the number (app << 20 | revision), so that one integer key gives it. WAL
 * with synchronous=FULL: one fsync of the log a transaction; writing the log back happens on the
 * work thread too. */
#include "store/catalogue_impl.h"

#include "base/must.h"
#include "loop/work.h"
#include "store/sqlite_copy.h"

#include <stdarg.h>
#include <stdlib.h>

enum { SCHEMA_VERSION = 3, BUSY_MS = 10000, GROUP_MAX = 256 };

static const char schema[] =
    "CREATE TABLE tenants (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,"
    " quota TEXT NOT NULL, made_s INTEGER NOT NULL, egress TEXT NOT NULL DEFAULT '');"
    "CREATE TABLE tokens (id INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB NOT NULL UNIQUE,"
    " tenant INTEGER NOT NULL, role INTEGER NOT NULL, name TEXT NOT NULL, made_s INTEGER NOT NULL,"
    " expires_s INTEGER NOT NULL);"
    "CREATE TABLE apps (id INTEGER PRIMARY KEY AUTOINCREMENT, tenant INTEGER NOT NULL,"
    " name TEXT NOT NULL, revision INTEGER NOT NULL, UNIQUE (tenant, name));"
    "CREATE TABLE revisions (id INTEGER PRIMARY KEY, made_s INTEGER NOT NULL,"
    " settings BLOB NOT NULL, holds_s INTEGER NOT NULL DEFAULT 0,"
    " left_s INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE needs (revision INTEGER NOT NULL, digest BLOB NOT NULL,"
    " PRIMARY KEY (revision, digest)) WITHOUT ROWID;"
    "CREATE TABLE hosts (host TEXT PRIMARY KEY, app INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX hosts_app ON hosts (app);"
    "CREATE TABLE variables (app INTEGER NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL,"
    " PRIMARY KEY (app, name)) WITHOUT ROWID;"
    "CREATE TABLE blobs (tenant INTEGER NOT NULL, digest BLOB NOT NULL, bytes INTEGER NOT NULL,"
    " made_s INTEGER NOT NULL, PRIMARY KEY (tenant, digest)) WITHOUT ROWID;"
    "CREATE TABLE audit (id INTEGER PRIMARY KEY AUTOINCREMENT, t_s INTEGER NOT NULL,"
    " tenant INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, subject TEXT NOT NULL);"
    "CREATE INDEX audit_tenant ON audit (tenant, id);"
    "PRAGMA user_version = 3;";

/* From version 1, from version 2, ...
 * Calls may wait for a revision whose settings nobody has read for that: it stays for as long as
 * one that defers (keeper_deploy.c), from now on. Those of apps with an odd number had been left
 * behind when their app was deleted. */
static const char *const schema_later[SCHEMA_VERSION - 1] = {
    "ALTER TABLE tenants ADD COLUMN egress TEXT NOT NULL DEFAULT '';"
    "PRAGMA user_version = 2;",
    "ALTER TABLE revisions ADD COLUMN holds_s INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE revisions ADD COLUMN left_s INTEGER NOT NULL DEFAULT 0;"
    "DELETE FROM revisions WHERE id >> 20 NOT IN (SELECT id FROM apps);"
    "DELETE FROM needs WHERE revision >> 20 NOT IN (SELECT id FROM apps);"
    "UPDATE revisions SET holds_s = 8 * 86400, left_s = strftime('%s', 'now');"
    "PRAGMA user_version = 3;"};

struct catalogue {
    loop *l;
    catalogue_db *reading, *writing;
    char domain[256];
    catalogue_job *head, *tail; /* submitted, not yet in a batch */
    catalogue_job *batch;       /* on the work thread, or its done are being called */
    bool running;
    loop_timer again; /* no thread could be started */
};

/* --- statements ------------------------------------------------------------------------------- */

static bool fail(const catalogue_db *db, err *e)
{
    int code = sqlite3_extended_errcode(db->db);
    return err_set(e, ERR_IO, "the catalogue: %s (SQLite %d)", sqlite3_errmsg(db->db), code);
}

static sqlite3_stmt *statement(catalogue_db *db, const char *sql, err *e)
{
    for (size_t i = 0; i < db->count; i++)
        if (db->texts[i] == sql) {
            sqlite3_reset(db->statements[i]);
            return db->statements[i];
        }
    must(db->count < CATALOGUE_STATEMENTS_MAX);
    sqlite3_stmt *s;
    if (sqlite3_prepare_v3(db->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s, NULL) != SQLITE_OK)
        return fail(db, e), NULL;
    db->texts[db->count] = sql;
    db->statements[db->count++] = s;
    return s;
}

static sqlite3_stmt *query(catalogue_db *db, err *e, const char *sql, const char *types, va_list ap)
{
    sqlite3_stmt *s = statement(db, sql, e);
    int code = SQLITE_OK;
    for (int i = 1; s && code == SQLITE_OK && types[i - 1]; i++) {
        if (types[i - 1] == 'i') {
            code = sqlite3_bind_int64(s, i, va_arg(ap, int64_t));
        } else if (types[i - 1] == 't') {
            str t = va_arg(ap, str);
            code = sqlite3_bind_text64(s, i, t.p ? t.p : "", t.n, SQLITE_TRANSIENT, SQLITE_UTF8);
        } else {
            bytes b = va_arg(ap, bytes);
            code = sqlite3_bind_blob64(s, i, b.p ? (const void *)b.p : "", b.n, SQLITE_TRANSIENT);
        }
    }
    return code == SQLITE_OK ? s : (fail(db, e), NULL);
}

sqlite3_stmt *db_query(catalogue_db *db, err *e, const char *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    sqlite3_stmt *s = query(db, e, sql, types, ap);
    va_end(ap);
    return s;
}

int db_next(catalogue_db *db, sqlite3_stmt *s, err *e)
{
    int code = sqlite3_step(s);
    if (code == SQLITE_ROW)
        return 1;
    if (code != SQLITE_DONE)
        fail(db, e);
    sqlite3_reset(s);
    return code == SQLITE_DONE ? 0 : -1;
}

bool db_run(catalogue_db *db, err *e, const char *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    sqlite3_stmt *s = query(db, e, sql, types, ap);
    va_end(ap);
    int more = s ? 1 : -1;
    while (more > 0)
        more = db_next(db, s, e);
    return more == 0;
}

bool db_number(catalogue_db *db, err *e, int64_t *ret, const char *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    sqlite3_stmt *s = query(db, e, sql, types, ap);
    va_end(ap);
    int more = s ? db_next(db, s, e) : -1;
    if (more > 0) {
        *ret = sqlite3_column_int64(s, 0);
        db_end(s);
    }
    return more >= 0;
}

str db_text(arena *a, sqlite3_stmt *s, int column)
{
    const char *p = (const char *)sqlite3_column_text(s, column);
    return arena_str(a, (str){p ? p : "", (size_t)sqlite3_column_bytes(s, column)});
}

bytes db_blob(sqlite3_stmt *s, int column)
{
    const void *p = sqlite3_column_blob(s, column);
    return (bytes){p, (size_t)sqlite3_column_bytes(s, column)};
}

/* --- connections ------------------------------------------------------------------------------ */

static bool exec(catalogue_db *db, const char *sql, err *e)
{
    return sqlite3_exec(db->db, sql, NULL, NULL, NULL) == SQLITE_OK || fail(db, e);
}

static bool connect(catalogue_db *db, const char *path, int flags, err *e)
{
    if (sqlite3_open_v2(path, &db->db, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        return err_set(e, ERR_IO, "%s", db->db ? sqlite3_errmsg(db->db) : "no memory");
    sqlite3_busy_timeout(db->db, BUSY_MS);
    return true;
}

static bool version_is_known(int64_t version, err *e)
{
    return version <= SCHEMA_VERSION ||
           err_set(e, ERR_UNSUPPORTED, "it was made by a newer ebb (schema %d)", (int)version);
}

static bool schema_ensure(catalogue_db *db, err *e)
{
    int64_t version = 0;
    /* Nothing temporary in a file: the keeper's sandbox has no place for one. */
    if (!exec(db,
              "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;"
              "BEGIN IMMEDIATE",
              e) ||
        !db_number(db, e, &version, "PRAGMA user_version", ""))
        return false;
    if (!version_is_known(version, e)) {
        exec(db, "ROLLBACK", NULL);
        return false;
    }
    bool ok = version > 0 || exec(db, schema, e);
    for (int64_t v = version; v > 0 && v < SCHEMA_VERSION; v++)
        ok = ok && exec(db, schema_later[v - 1], e);
    return ok && exec(db, "COMMIT", e);
}

bool catalogue_db_open(const char *path, const seal_key *key, catalogue_db **ret, err *e)
{
    catalogue_db *db = calloc(1, sizeof *db);
    if (!db)
        return err_no_memory(e);
    db->key = *key;
    sqlite_file_make(path);
    if (!connect(db, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, e) ||
        !schema_ensure(db, e)) {
        catalogue_db_close(db);
        return err_wrap(e, "%s", path);
    }
    *ret = db;
    return true;
}

void catalogue_db_close(catalogue_db *db)
{
    if (!db)
        return;
    for (size_t i = 0; i < db->count; i++)
        sqlite3_finalize(db->statements[i]);
    sqlite3_close(db->db);
    explicit_bzero(&db->key, sizeof db->key);
    free(db);
}

bool catalogue_schema_check(const char *path, err *e)
{
    catalogue_db *db = calloc(1, sizeof *db);
    int64_t version = 0;
    if (!db)
        return err_no_memory(e);
    bool ok = connect(db, path, SQLITE_OPEN_READONLY, e) &&
              db_number(db, e, &version, "PRAGMA user_version", "") && version_is_known(version, e);
    catalogue_db_close(db);
    return ok || err_wrap(e, "%s", path);
}

bool catalogue_open(loop *l, const char *path, str domain, const seal_key *key, catalogue **ret,
                    err *e)
{
    catalogue *c = calloc(1, sizeof *c);
    if (!c)
        return err_no_memory(e);
    c->l = l;
    must(domain.n < sizeof c->domain);
    memcpy(c->domain, domain.p, domain.n);
    if (!catalogue_db_open(path, key, &c->writing, e) ||
        !catalogue_db_open(path, key, &c->reading, e)) {
        catalogue_close(c);
        return false;
    }
    *ret = c;
    return true;
}

void catalogue_close(catalogue *c)
{
    if (!c)
        return;
    while (c->running || c->head)
        loop_turn(c->l, 100);
    loop_timer_stop(&c->again);
    catalogue_db_close(c->reading);
    catalogue_db_close(c->writing);
    free(c);
}

catalogue_db *catalogue_reading(catalogue *c) { return c->reading; }

/* --- jobs ------------------------------------------------------------------------------------- */

static bool job_apply(catalogue_db *db, catalogue_job *j)
{
    if (!db_run(db, &j->e, "SAVEPOINT job", ""))
        return false;
    j->ok = j->apply(j, db, &j->e);
    err ignored;
    if (!j->ok)
        db_run(db, &ignored, "ROLLBACK TO job", "");
    return db_run(db, &ignored, "RELEASE job", "");
}

static void batch_fail(catalogue_job *j, const err *e)
{
    for (; j; j = j->next)
        if (j->ok) {
            j->ok = false;
            j->e = *e;
        }
}

static void batch_apply(catalogue_db *db, catalogue_job *batch)
{
    err e;
    bool ok = db_run(db, &e, "BEGIN IMMEDIATE", "");
    for (catalogue_job *j = batch; j; j = j->next) {
        j->ok = true;
        ok = ok && job_apply(db, j);
    }
    ok = ok && db_run(db, &e, "COMMIT", "");
    if (ok)
        return;
    if (!sqlite3_get_autocommit(db->db)) {
        err ignored;
        db_run(db, &ignored, "ROLLBACK", "");
    }
    batch_fail(batch, &e);
}

bool catalogue_apply(catalogue_db *db, catalogue_job *j)
{
    j->next = NULL;
    batch_apply(db, j);
    return j->ok;
}

static void batch_work(void *user)
{
    catalogue *c = user;
    batch_apply(c->writing, c->batch);
}

static void batch_start(catalogue *c);

static void batch_done(void *user)
{
    catalogue *c = user;
    catalogue_job *next, *j = c->batch;
    c->batch = NULL;
    c->running = false;
    if (c->head)
        batch_start(c);
    for (; j; j = next) {
        next = j->next;
        j->done(j);
    }
}

static void batch_start(catalogue *c)
{
    catalogue_job **end = &c->head;
    err e;
    for (size_t n = 0; *end && n < GROUP_MAX; n++)
        end = &(*end)->next;
    catalogue_job *rest = *end;
    *end = NULL;
    c->batch = c->head;
    c->head = rest;
    c->running = true;
    if (loop_work_start(c->l, batch_work, batch_done, c, &e))
        return;
    batch_fail(c->batch, &e);
    loop_timer_start(c->l, &c->again, 0, batch_done, c);
}

void catalogue_submit(catalogue *c, catalogue_job *j)
{
    j->next = NULL;
    j->ok = true;
    if (c->head)
        c->tail->next = j;
    else
        c->head = j;
    c->tail = j;
    if (!c->running)
        batch_start(c);
}

/* --- finding ---------------------------------------------------------------------------------- */

#define FOUND "SELECT a.id, a.tenant, a.revision, a.name, t.name, t.quota, r.settings, t.egress"
#define FOUND_JOIN " JOIN revisions r ON r.id = (a.id << 20) | a.revision"

static bool found_take(catalogue *c, sqlite3_stmt *s, arena *a, catalogue_found *ret, err *e)
{
    int more = s ? db_next(c->reading, s, e) : -1;
    if (more <= 0)
        return more == 0;
    catalogue_found f = {.app = (uint64_t)sqlite3_column_int64(s, 0),
                         .tenant = (uint64_t)sqlite3_column_int64(s, 1),
                         .revision = (uint32_t)sqlite3_column_int64(s, 2),
                         .app_name = db_text(a, s, 3),
                         .tenant_name = db_text(a, s, 4),
                         .quota = db_text(a, s, 5),
                         .egress = db_text(a, s, 7)};
    char place[64];
    bool ok = seal_open(&c->reading->key, catalogue_settings_place(place, f.app), db_blob(s, 6), a,
                        &f.settings, e);
    db_end(s);
    if (ok && (!f.app_name.p || !f.tenant_name.p || !f.quota.p || !f.egress.p))
        return err_no_memory(e);
    if (ok)
        *ret = f;
    return ok;
}

static bool find_default(catalogue *c, str label, arena *a, catalogue_found *ret, err *e)
{
    size_t dash = str_rfind(label, '-');
    if (dash == label.n)
        return true;
    sqlite3_stmt *s =
        db_query(c->reading, e,
                 FOUND " FROM tenants t JOIN apps a ON a.tenant = t.id AND a.name = ?2" FOUND_JOIN
                       " WHERE t.name = ?1",
                 "tt", str_skip(label, dash + 1), str_head(label, dash));
    return found_take(c, s, a, ret, e);
}

static bool find_host(catalogue *c, str host, arena *a, catalogue_found *ret, err *e)
{
    sqlite3_stmt *s = db_query(c->reading, e,
                               FOUND " FROM hosts h JOIN apps a ON a.id = h.app" FOUND_JOIN
                                     " JOIN tenants t ON t.id = a.tenant WHERE h.host = ?1",
                               "t", host);
    return found_take(c, s, a, ret, e);
}

bool catalogue_find_revision(catalogue *c, uint64_t app, uint32_t revision, arena *a,
                             catalogue_found *ret, err *e)
{
    *ret = (catalogue_found){0};
    sqlite3_stmt *s =
        db_query(c->reading, e,
                 "SELECT a.id, a.tenant, r.id & 1048575, a.name, t.name, t.quota, r.settings,"
                 " t.egress FROM apps a JOIN tenants t ON t.id = a.tenant JOIN revisions r"
                 " ON r.id = (a.id << 20) | iif(?2, ?2, a.revision) WHERE a.id = ?1",
                 "ii", (int64_t)app, (int64_t)revision);
    return found_take(c, s, a, ret, e);
}

/* Lower case, without port and final dot. */
static str host_plain(str host, char place[256])
{
    size_t colon = str_rfind(host, ':');
    if (colon < host.n && str_find(str_skip(host, colon), ']') == host.n - colon)
        host = str_head(host, colon);
    if (host.n && host.p[host.n - 1] == '.')
        host.n--;
    if (host.n > 255)
        return (str){0};
    for (size_t i = 0; i < host.n; i++)
        place[i] = (char)(host.p[i] >= 'A' && host.p[i] <= 'Z' ? host.p[i] | 0x20 : host.p[i]);
    return (str){place, host.n};
}

bool catalogue_find(catalogue *c, str host, arena *a, catalogue_found *ret, err *e)
{
    char place[256], wildcard[258];
    str h = host_plain(host, place), domain = str_from(c->domain);
    size_t dot = str_find(h, '.');
    catalogue_found f = {0};
    if (dot < h.n && str_eq(str_skip(h, dot + 1), domain) &&
        !find_default(c, str_head(h, dot), a, &f, e))
        return false;
    if (!f.app && h.n && !find_host(c, h, a, &f, e))
        return false;
    if (!f.app && dot < h.n) {
        int n = snprintf(wildcard, sizeof wildcard, "*%.*s", STR(str_skip(h, dot)));
        if (!find_host(c, (str){wildcard, (size_t)n}, a, &f, e))
            return false;
    }
    *ret = f;
    return true;
}
