/* The queue's rows in one SQLite file; see queue_rows.h.
 *
 * WAL with synchronous=FULL: a commit appends the changed pages and fsyncs the log, once for all
 * requests of the group. The log is folded in at every 32 MB: pages of the index that many groups
 * have changed are then written once. Bodies and outcomes are tables of their own, so that a call
 * moves from phase to phase by writing a row of 150 bytes, and lists read no bodies.
 *
 * One process has the file open for writing, so rows need no locks: `for_change` means nothing
 * here. `sqlite3` on the command line may read while ebb runs; what calls say is sealed. */
#include "store/queue_rows.h"
#include "store/sql_memory.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUSY_MS = 2000, CACHE_KIB = 2048, LOG_PAGES = 8192, VERSION = 1 };

static const char tables[] =
    "CREATE TABLE call (seq INTEGER PRIMARY KEY, nonce INTEGER NOT NULL, phase INTEGER NOT NULL,"
    " attempts INTEGER NOT NULL, excused INTEGER NOT NULL, at_ms INTEGER NOT NULL, tenant INTEGER "
    "NOT NULL,"
    " app INTEGER NOT NULL, revision INTEGER NOT NULL, attempts_max INTEGER NOT NULL,"
    " class INTEGER NOT NULL, criticality INTEGER NOT NULL, source INTEGER NOT NULL,"
    " start_ms INTEGER NOT NULL, deadline_ms INTEGER NOT NULL, keep_ms INTEGER NOT NULL,"
    " cpu_ns INTEGER NOT NULL, intensity REAL NOT NULL, accepted_ms INTEGER NOT NULL,"
    " begun_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL, holder INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL, used_cpu_ns INTEGER NOT NULL, used_wall_ns INTEGER NOT NULL,"
    " used_nj INTEGER NOT NULL, used_intensity REAL NOT NULL, key_hash BLOB, same_hash BLOB);"
    "CREATE INDEX call_step ON call (phase, at_ms);"
    "CREATE INDEX call_tenant ON call (tenant);"
    "CREATE UNIQUE INDEX call_key ON call (key_hash) WHERE key_hash IS NOT NULL;"
    "CREATE TABLE body (seq INTEGER PRIMARY KEY, about BLOB NOT NULL, request BLOB NOT NULL);"
    "CREATE TABLE outcome (seq INTEGER PRIMARY KEY, note BLOB NOT NULL, result BLOB);"
    "CREATE TABLE tally (kind INTEGER NOT NULL, key INTEGER NOT NULL, n INTEGER NOT NULL,"
    " v INTEGER NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID;"
    "PRAGMA user_version = 1;";

typedef enum {
    BEGIN,
    COMMIT,
    ROLLBACK,
    ADD,
    ADD_BODY,
    GET,
    FIND,
    PUT,
    REMOVE,
    REMOVE_BODY,
    REMOVE_OUTCOME,
    TAKE,
    TAKE_HELD,
    SHIFT,
    FIRST,
    SCAN,
    SCAN_TENANT,
    ABOUT,
    BODY,
    NOTE,
    OUTCOME,
    OUTCOME_SET,
    TALLY_ADD,
    TALLY_FORGET,
    TALLIES,
    TALLIES_KEY,
    STATEMENTS
} statement;

/* See queue_statement_write. */
static const char *const texts[STATEMENTS] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [ADD] = "INSERT INTO call (%c) VALUES (%p)"
            " ON CONFLICT (key_hash) WHERE key_hash IS NOT NULL DO NOTHING",
    [ADD_BODY] = "INSERT INTO body VALUES (?1, ?2, ?3)",
    [GET] = "SELECT seq, %c FROM call WHERE seq = ?1",
    [FIND] = "SELECT seq, %c FROM call WHERE key_hash = ?1",
    [PUT] = "UPDATE call SET %a WHERE seq = ?1",
    [REMOVE] = "DELETE FROM call WHERE seq = ?1",
    [REMOVE_BODY] = "DELETE FROM body WHERE seq = ?1",
    [REMOVE_OUTCOME] = "DELETE FROM outcome WHERE seq = ?1",
    [TAKE] = "SELECT seq, %c FROM call WHERE phase = ?1 AND at_ms <= ?2 ORDER BY at_ms LIMIT ?3",
    [TAKE_HELD] = "SELECT seq, %c FROM call WHERE phase = ?1 AND at_ms <= ?2 AND holder = ?4"
                  " ORDER BY at_ms LIMIT ?3",
    /* 0: PHASE_LATER */
    [SHIFT] = "UPDATE call SET at_ms = iif(phase = 0, min(at_ms, max(at_ms + ?2, start_ms)),"
              " at_ms + ?2) WHERE phase = ?1 AND attempts > 0",
    [FIRST] = "SELECT at_ms FROM call WHERE phase = ?1 ORDER BY at_ms LIMIT 1",
    [SCAN] = "SELECT seq, %c FROM call WHERE seq < ?1 ORDER BY seq DESC",
    [SCAN_TENANT] = "SELECT seq, %c FROM call WHERE tenant = ?2 AND seq < ?1 ORDER BY seq DESC",
    [ABOUT] = "SELECT about FROM body WHERE seq = ?1",
    [BODY] = "SELECT about, request FROM body WHERE seq = ?1",
    [NOTE] = "SELECT note FROM outcome WHERE seq = ?1",
    [OUTCOME] = "SELECT note, result FROM outcome WHERE seq = ?1",
    [OUTCOME_SET] = "INSERT OR REPLACE INTO outcome VALUES (?1, ?2, ?3)",
    [TALLY_ADD] = "INSERT INTO tally VALUES (?1, ?2, ?3, ?4) ON CONFLICT (kind, key) DO UPDATE"
                  " SET n = n + excluded.n, v = v + excluded.v",
    [TALLY_FORGET] = "DELETE FROM tally WHERE kind = ?1 AND key = ?2 AND n = 0 AND v = 0",
    [TALLIES] = "SELECT kind, key, n, v FROM tally WHERE kind BETWEEN ?1 AND ?2"
                " ORDER BY kind, key",
    [TALLIES_KEY] = "SELECT kind, key, n, v FROM tally WHERE kind BETWEEN ?1 AND ?2 AND key = ?3"
                    " ORDER BY kind",
};

typedef struct {
    queue_rows base;
    sqlite3 *db;
    sqlite3_stmt *at[STATEMENTS];
    sqlite3_stmt *lent; /* what was read last is borrowed from it */
} rows;

static rows *of(queue_rows *r) { return (rows *)r; }

static bool fail(const rows *r, err *e)
{
    return err_set(e, ERR_IO, "the queue's file: %s (SQLite %d)", sqlite3_errmsg(r->db),
                   sqlite3_extended_errcode(r->db));
}

/* Gives back what was lent, too: nothing keeps a page of the file in use for long. */
static void done(sqlite3_stmt *s)
{
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
}

static void unlend(rows *r)
{
    if (r->lent)
        done(r->lent);
    r->lent = NULL;
}

/* The statement with its first numbers bound. */
static sqlite3_stmt *ready(rows *r, statement which, int n, const int64_t *numbers)
{
    sqlite3_stmt *s = r->at[which];
    unlend(r);
    for (int i = 0; i < n; i++)
        sqlite3_bind_int64(s, i + 1, numbers[i]);
    return s;
}

#define READY(r, which, ...)                                                                       \
    ready(r, which, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (int64_t[]){__VA_ARGS__})

static bool run(rows *r, sqlite3_stmt *s, err *e)
{
    int code = sqlite3_step(s);
    bool ok = code == SQLITE_DONE || code == SQLITE_ROW || fail(r, e);
    done(s);
    return ok;
}

/* --- rows ------------------------------------------------------------------------------------- */

static void field_bind(sqlite3_stmt *s, int place, const queue_field *f, const queue_row *row)
{
    int64_t v = f->kind == FIELD_HASH ? 0 : queue_field_get(f, row);
    double d;
    if (f->kind == FIELD_HASH) {
        sqlite3_bind_blob(s, place, queue_field_hash(f, row).p, QUEUE_HASH_BYTES, SQLITE_STATIC);
    } else if (f->kind == FIELD_F64) {
        memcpy(&d, &v, sizeof d);
        sqlite3_bind_double(s, place, d);
    } else {
        sqlite3_bind_int64(s, place, v);
    }
}

static void row_read(sqlite3_stmt *s, queue_row *ret)
{
    *ret = (queue_row){.seq = (uint64_t)sqlite3_column_int64(s, 0)};
    for (int i = 0; i < QUEUE_FIELDS; i++) {
        const queue_field *f = &queue_fields[i];
        uint8_t *at = (uint8_t *)ret + f->offset;
        if (f->kind == FIELD_F64)
            memcpy(at, &(double){sqlite3_column_double(s, i + 1)}, sizeof(double));
        else if (f->kind != FIELD_HASH)
            queue_field_set(f, ret, sqlite3_column_int64(s, i + 1));
        else if (sqlite3_column_bytes(s, i + 1) == QUEUE_HASH_BYTES)
            memcpy(at, sqlite3_column_blob(s, i + 1), QUEUE_HASH_BYTES);
    }
}

/* The rows of a statement, at most max. */
static bool rows_read(rows *r, sqlite3_stmt *s, size_t max, queue_row *ret, size_t *ret_n, err *e)
{
    size_t n = 0;
    int code = SQLITE_DONE;
    while (n < max && (code = sqlite3_step(s)) == SQLITE_ROW)
        row_read(s, &ret[n++]);
    bool ok = code == SQLITE_ROW || code == SQLITE_DONE || fail(r, e);
    done(s);
    *ret_n = n;
    return ok;
}

static bool row_one(rows *r, sqlite3_stmt *s, queue_row *ret, bool *ret_found, err *e)
{
    size_t n;
    if (!rows_read(r, s, 1, ret, &n, e))
        return false;
    *ret_found = n == 1;
    return true;
}

static bool rows_begin(queue_rows *q, int64_t *now_ms, err *e)
{
    if (!*now_ms)
        *now_ms = (int64_t)(clock_wall() / NS_PER_MS);
    return run(of(q), ready(of(q), BEGIN, 0, NULL), e);
}

/* A log that could not be synced may be found whole by the next one who opens it. */
static bool rows_commit(queue_rows *q, bool *ret_unsure, err *e)
{
    rows *r = of(q);
    bool ok = run(r, ready(r, COMMIT, 0, NULL), e);
    *ret_unsure = !ok && (sqlite3_errcode(r->db) & 0xff) == SQLITE_IOERR;
    return ok;
}

static void rows_rollback(queue_rows *q)
{
    rows *r = of(q);
    unlend(r);
    if (!sqlite3_get_autocommit(r->db))
        run(r, r->at[ROLLBACK], NULL);
}

static bool rows_find(queue_rows *q, const uint8_t key[QUEUE_HASH_BYTES], queue_row *ret,
                      bool *ret_found, err *e)
{
    sqlite3_stmt *s = ready(of(q), FIND, 0, NULL);
    sqlite3_bind_blob(s, 1, key, QUEUE_HASH_BYTES, SQLITE_STATIC);
    return row_one(of(q), s, ret, ret_found, e);
}

static bool rows_add(queue_rows *q, queue_row *row, const queue_body *body, bool *ret_exists,
                     err *e)
{
    rows *r = of(q);
    sqlite3_stmt *s = ready(r, ADD, 0, NULL);
    for (int i = 0; i < QUEUE_FIELDS; i++)
        field_bind(s, i + 1, &queue_fields[i], row);
    if (!run(r, s, e))
        return false;
    *ret_exists = sqlite3_changes(r->db) == 0;
    if (*ret_exists)
        return true;
    row->seq = (uint64_t)sqlite3_last_insert_rowid(r->db);
    s = READY(r, ADD_BODY, (int64_t)row->seq);
    sqlite3_bind_blob64(s, 2, body->about.p, body->about.n, SQLITE_STATIC);
    sqlite3_bind_blob64(s, 3, body->request.p, body->request.n, SQLITE_STATIC);
    return run(r, s, e);
}

static bool rows_get(queue_rows *q, uint64_t seq, bool for_change, queue_row *ret, bool *ret_found,
                     err *e)
{
    return row_one(of(q), READY(of(q), GET, (int64_t)seq), ret, ret_found, e);
}

static bool rows_put(queue_rows *q, const queue_row *row, err *e)
{
    sqlite3_stmt *s = READY(of(q), PUT, (int64_t)row->seq);
    int place = 2;
    for (int i = 0; i < QUEUE_FIELDS; i++)
        if (queue_fields[i].changes)
            field_bind(s, place++, &queue_fields[i], row);
    return run(of(q), s, e);
}

static bool rows_remove(queue_rows *q, uint64_t seq, err *e)
{
    rows *r = of(q);
    return run(r, READY(r, REMOVE, (int64_t)seq), e) &&
           run(r, READY(r, REMOVE_BODY, (int64_t)seq), e) &&
           run(r, READY(r, REMOVE_OUTCOME, (int64_t)seq), e);
}

static bool rows_take(queue_rows *q, queue_phase phase, int64_t at_max_ms, uint64_t holder,
                      size_t max, queue_row *ret, size_t *ret_n, err *e)
{
    rows *r = of(q);
    sqlite3_stmt *s = READY(r, holder ? TAKE_HELD : TAKE, (int64_t)phase, at_max_ms, (int64_t)max);
    if (holder)
        sqlite3_bind_int64(s, 4, (int64_t)holder);
    return rows_read(r, s, max, ret, ret_n, e);
}

static bool rows_shift(queue_rows *q, queue_phase phase, int64_t by_ms, err *e)
{
    return run(of(q), READY(of(q), SHIFT, (int64_t)phase, by_ms), e);
}

static bool rows_first(queue_rows *q, queue_phase phase, int64_t *ret_at_ms, err *e)
{
    rows *r = of(q);
    sqlite3_stmt *s = READY(r, FIRST, (int64_t)phase);
    int code = sqlite3_step(s);
    bool ok = code == SQLITE_ROW || code == SQLITE_DONE || fail(r, e);
    *ret_at_ms = code == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    done(s);
    return ok;
}

static bool rows_scan(queue_rows *q, const queue_list *list, queue_phase from, queue_phase to,
                      uint64_t before, size_t looks, queue_row *ret, size_t *ret_n,
                      uint64_t *ret_next, err *e)
{
    rows *r = of(q);
    sqlite3_stmt *s = list->tenant ? READY(r, SCAN_TENANT, (int64_t)before, (int64_t)list->tenant)
                                   : READY(r, SCAN, (int64_t)before);
    size_t n = 0;
    int code = SQLITE_ROW;
    uint64_t last = 0;
    for (; n < list->count && looks && (code = sqlite3_step(s)) == SQLITE_ROW; looks--) {
        row_read(s, &ret[n]);
        last = ret[n].seq;
        n += (!list->app || ret[n].terms.app == list->app) && ret[n].phase >= from &&
             ret[n].phase <= to;
    }
    bool ok = code == SQLITE_ROW || code == SQLITE_DONE || fail(r, e);
    done(s);
    *ret_n = n;
    *ret_next = code == SQLITE_ROW ? last : 0;
    return ok;
}

/* --- bodies and outcomes ---------------------------------------------------------------------- */

static bytes column(sqlite3_stmt *s, int i)
{
    const void *p = sqlite3_column_blob(s, i);
    return (bytes){p, (size_t)sqlite3_column_bytes(s, i)};
}

/* One row of up to two columns; the statement stays where it is until the next one. */
static bool lend(rows *r, sqlite3_stmt *s, bytes *ret_first, bytes *ret_second, err *e)
{
    int code = sqlite3_step(s);
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        fail(r, e);
        done(s);
        return false;
    }
    *ret_first = code == SQLITE_ROW ? column(s, 0) : (bytes){0};
    *ret_second = code == SQLITE_ROW && sqlite3_column_count(s) > 1 ? column(s, 1) : (bytes){0};
    r->lent = s;
    return true;
}

static bool rows_body(queue_rows *q, uint64_t seq, bool with_request, queue_body *ret, err *e)
{
    sqlite3_stmt *s = READY(of(q), with_request ? BODY : ABOUT, (int64_t)seq);
    return lend(of(q), s, &ret->about, &ret->request, e);
}

static bool rows_outcome(queue_rows *q, uint64_t seq, bool with_result, bytes *ret_note,
                         bytes *ret_result, err *e)
{
    sqlite3_stmt *s = READY(of(q), with_result ? OUTCOME : NOTE, (int64_t)seq);
    return lend(of(q), s, ret_note, ret_result, e);
}

static bool rows_outcome_set(queue_rows *q, uint64_t seq, bytes note, bytes result, err *e)
{
    sqlite3_stmt *s = READY(of(q), OUTCOME_SET, (int64_t)seq);
    sqlite3_bind_blob64(s, 2, note.p, note.n, SQLITE_STATIC);
    if (result.p)
        sqlite3_bind_blob64(s, 3, result.p, result.n, SQLITE_STATIC);
    return run(of(q), s, e);
}

/* --- sums ------------------------------------------------------------------------------------- */

static bool rows_tally_add(queue_rows *q, const queue_tally *t, err *e)
{
    rows *r = of(q);
    return run(r, READY(r, TALLY_ADD, (int64_t)t->kind, t->key, t->n, t->v), e) &&
           (t->n >= 0 || run(r, READY(r, TALLY_FORGET, (int64_t)t->kind, t->key), e));
}

static bool rows_tally_each(queue_rows *q, unsigned from, unsigned to, const int64_t *key,
                            void (*each)(void *user, const queue_tally *t), void *user, err *e)
{
    rows *r = of(q);
    sqlite3_stmt *s = key ? READY(r, TALLIES_KEY, (int64_t)from, (int64_t)to, *key)
                          : READY(r, TALLIES, (int64_t)from, (int64_t)to);
    int code;
    while ((code = sqlite3_step(s)) == SQLITE_ROW)
        each(user, &(queue_tally){(uint32_t)sqlite3_column_int(s, 0), sqlite3_column_int64(s, 1),
                                  sqlite3_column_int64(s, 2), sqlite3_column_int64(s, 3)});
    bool ok = code == SQLITE_DONE || fail(r, e);
    done(s);
    return ok;
}

/* --- opening ---------------------------------------------------------------------------------- */

static bool rows_tidy(queue_rows *q, err *e) { return true; } /* sums of nothing go at once */

static void rows_close(queue_rows *q)
{
    rows *r = of(q);
    if (!r)
        return;
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(r->at[i]);
    sqlite3_close(r->db);
    free(r);
}

static bool prepare(rows *r, err *e)
{
    for (int i = 0; i < STATEMENTS; i++) {
        _cleanup_(buf_fini) buf text;
        buf_init(&text, 4096);
        queue_statement_write(&text, texts[i], '?');
        if (text.failed)
            return err_no_memory(e);
        if (sqlite3_prepare_v3(r->db, (const char *)text.p, (int)text.n, SQLITE_PREPARE_PERSISTENT,
                               &r->at[i], NULL) != SQLITE_OK)
            return fail(r, e);
    }
    return true;
}

static bool exec(rows *r, const char *sql, err *e)
{
    return sqlite3_exec(r->db, sql, NULL, NULL, NULL) == SQLITE_OK || fail(r, e);
}

static int on_version(void *user, int n, char **values, char **names)
{
    *(int *)user = (int)strtol(values[0] ? values[0] : "0", NULL, 10);
    return 0;
}

static bool set_up(rows *r, err *e)
{
    char settings[256];
    int version = 0;
    snprintf(settings, sizeof settings,
             "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -%d;"
             "PRAGMA wal_autocheckpoint = %d",
             CACHE_KIB, LOG_PAGES);
    sqlite3_busy_timeout(r->db, BUSY_MS);
    sqlite3_db_config(r->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    if (!exec(r, settings, e))
        return false;
    if (sqlite3_exec(r->db, "PRAGMA user_version", on_version, &version, NULL) != SQLITE_OK)
        return fail(r, e);
    if (version > VERSION)
        return err_set(e, ERR_UNSUPPORTED,
                       "the queue's file was made by a newer ebb (version %d; this one knows %d)",
                       version, VERSION);
    if (version == 0 && (!exec(r, "BEGIN", e) || !exec(r, tables, e) || !exec(r, "COMMIT", e)))
        return false;
    return prepare(r, e);
}

bool queue_sqlite_open(const char *path, queue_rows **ret, err *e)
{
    static const queue_rows_ops ops = {
        rows_begin,
        rows_commit,
        rows_rollback,
        rows_add,
        rows_get,
        rows_find,
        rows_put,
        rows_remove,
        rows_take,
        NULL,
        NULL,
        rows_shift,
        rows_first,
        rows_scan,
        rows_body,
        rows_outcome,
        rows_outcome_set,
        rows_tally_add,
        rows_tally_each,
        rows_tidy,
        NULL,
        NULL,
        rows_close,
    };
    int flags =
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    rows *r = sql_memory_init(e) ? calloc(1, sizeof *r) : NULL;
    if (!r)
        return err_no_memory(e);
    r->base.ops = &ops;
    bool ok = sqlite3_open_v2(path ? path : ":memory:", &r->db, flags, NULL) == SQLITE_OK;
    if (!ok && !r->db)
        err_no_memory(e);
    else if (!ok)
        fail(r, e);
    if (!ok || !set_up(r, e)) {
        rows_close(&r->base);
        return false;
    }
    *ret = &r->base;
    return true;
}
