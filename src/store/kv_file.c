/* See kv_file.h. Eight prepared statements, made when the file is opened.
 *
 * WAL with synchronous=FULL: a commit appends the changed pages and fsyncs the log, once; the file
 * itself is written at checkpoints. A rollback journal would need two to three fsyncs a commit.
 * The WAL is folded in and removed when the file is closed, so what Spin finds is one plain file.
 * Locks stay SQLite's normal ones: `sqlite3` on the command line may read while ebb runs.
 *
 * Values are compared and counted in here, inside the transaction of the only writer: that is what
 * makes increment and compare-and-swap atomic across workers. */
#include "store/kv_file.h"

#include "base/limits.h"
#include "store/kv_reader.h"
#include "store/sql_memory.h"

#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BUSY_MS = 2000, CACHE_KIB = 2048, SQLITE_LENGTH_MAX = 140 << 20 };

enum { GET, SET, DELETE, EXISTS, KEYS, STATEMENTS };
static const char *const statements[STATEMENTS] = {
    [GET] = "SELECT value FROM spin_key_value WHERE store = ?1 AND key = ?2",
    [SET] = "INSERT INTO spin_key_value (store, key, value) VALUES (?1, ?2, ?3) "
            "ON CONFLICT (store, key) DO UPDATE SET value = excluded.value",
    [DELETE] = "DELETE FROM spin_key_value WHERE store = ?1 AND key = ?2",
    [EXISTS] = "SELECT 1 FROM spin_key_value WHERE store = ?1 AND key = ?2",
    [KEYS] = "SELECT key FROM spin_key_value WHERE store = ?1",
};

struct kv_file {
    sqlite3 *db;
    char *path; /* NULL: in memory */
    sqlite3_stmt *at[STATEMENTS];
    int lent[KV_PARTS]; /* -1: not yet */
};

static const char *what_to_do(int code)
{
    switch (code & 0xff) {
    case SQLITE_FULL:
        return "; free some space: writes go on by themselves";
    case SQLITE_READONLY:
        return "; make it and its folder writable";
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return "; restore it from a backup, or 'sqlite3 FILE .recover' saves what is readable";
    case SQLITE_BUSY:
        return "; another process keeps it locked";
    default:
        return "";
    }
}

static bool fail(const kv_file *f, err *e)
{
    int code = sqlite3_extended_errcode(f->db);
    return err_set(e, ERR_IO, "the store's file: %s (SQLite %d)%s", sqlite3_errmsg(f->db), code,
                   what_to_do(code));
}

static bool run(kv_file *f, const char *sql, err *e)
{
    return sqlite3_exec(f->db, sql, NULL, NULL, NULL) == SQLITE_OK || fail(f, e);
}

static bool prepare(kv_file *f, err *e)
{
    for (int i = 0; i < STATEMENTS; i++)
        if (sqlite3_prepare_v3(f->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &f->at[i],
                               NULL) != SQLITE_OK)
            return fail(f, e);
    return true;
}

static bool set_up(kv_file *f, err *e)
{
    char cache[64];
    snprintf(cache, sizeof cache, "PRAGMA cache_size = -%d", CACHE_KIB);
    sqlite3_busy_timeout(f->db, BUSY_MS);
    sqlite3_limit(f->db, SQLITE_LIMIT_LENGTH, SQLITE_LENGTH_MAX);
    sqlite3_limit(f->db, SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_db_config(f->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(f->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    if (!run(f, "PRAGMA synchronous = FULL", e) || !run(f, cache, e))
        return false;
    /* A file on a read-only disk can be read though not switched to WAL. */
    if (f->path && !sqlite3_db_readonly(f->db, "main") && !run(f, "PRAGMA journal_mode = WAL", e))
        return false;
    if (!sqlite3_db_readonly(f->db, "main") &&
        !run(f,
             "CREATE TABLE IF NOT EXISTS spin_key_value (store TEXT NOT NULL, key TEXT NOT NULL, "
             "value BLOB NOT NULL, PRIMARY KEY (store, key))",
             e))
        return false;
    return prepare(f, e);
}

bool kv_file_open(const char *path, kv_file **ret, err *e)
{
    int flags =
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    kv_file *f = sql_memory_init(e) ? calloc(1, sizeof *f) : NULL;
    if (!f)
        return err_no_memory(e);
    memset(f->lent, -1, sizeof f->lent);
    if (path && !(f->path = strdup(path))) {
        free(f);
        return err_no_memory(e);
    }
    bool ok = sqlite3_open_v2(path ? path : ":memory:", &f->db, flags, NULL) == SQLITE_OK;
    if (!ok && !f->db)
        err_no_memory(e);
    else if (!ok)
        fail(f, e);
    if (!ok || !set_up(f, e)) {
        kv_file_close(f);
        return false;
    }
    *ret = f;
    return true;
}

void kv_file_close(kv_file *f)
{
    if (!f)
        return;
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(f->at[i]);
    sqlite3_close(f->db);
    for (int i = 0; i < KV_PARTS; i++)
        if (f->lent[i] >= 0)
            close(f->lent[i]);
    free(f->path);
    free(f);
}

bool kv_file_moved(kv_file *f)
{
    int moved = 0;
    return f->path &&
           sqlite3_file_control(f->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
           moved;
}

int kv_file_lend(kv_file *f, unsigned part)
{
    static const char *const ends[KV_PARTS] = {"", "-wal", "-shm"};
    char name[PATH_MAX];
    if (part >= KV_PARTS || !f->path || kv_file_moved(f))
        return -1;
    if (f->lent[part] < 0 &&
        snprintf(name, sizeof name, "%s%s", f->path, ends[part]) < (int)sizeof name)
        f->lent[part] = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return f->lent[part];
}

/* The lock comes first: during an upgrade two processes write, and one that has read and then wants
 * to write what the other has changed would be refused. */
bool kv_file_begin(kv_file *f, err *e)
{
    return run(f, sqlite3_db_readonly(f->db, "main") ? "BEGIN" : "BEGIN IMMEDIATE", e);
}

void kv_file_rollback(kv_file *f)
{
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_reset(f->at[i]);
    if (!sqlite3_get_autocommit(f->db))
        sqlite3_exec(f->db, "ROLLBACK", NULL, NULL, NULL);
}

bool kv_file_commit(kv_file *f, err *e)
{
    if (run(f, "COMMIT", e))
        return true;
    kv_file_rollback(f);
    return false;
}

/* --- statements ------------------------------------------------------------------------------- */

/* Binds store and key to a statement. The texts live until done(). */
static sqlite3_stmt *ready(kv_file *f, int which, str store, const str *key)
{
    sqlite3_stmt *s = f->at[which];
    sqlite3_bind_text64(s, 1, store.p, store.n, SQLITE_STATIC, SQLITE_UTF8);
    if (key)
        sqlite3_bind_text64(s, 2, key->n ? key->p : "", key->n, SQLITE_STATIC, SQLITE_UTF8);
    return s;
}

static void done(sqlite3_stmt *s)
{
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
}

/* A statement that gives no rows. */
static bool done_after(kv_file *f, sqlite3_stmt *s, err *e)
{
    bool ok = sqlite3_step(s) == SQLITE_DONE || fail(f, e);
    done(s);
    return ok;
}

/* *ret_value is valid until done(*ret_s), which the caller calls where true is returned. */
static bool get(kv_file *f, str store, str key, sqlite3_stmt **ret_s, bool *ret_found,
                bytes *ret_value, err *e)
{
    sqlite3_stmt *s = ready(f, GET, store, &key);
    int r = sqlite3_step(s);
    if (r != SQLITE_ROW && r != SQLITE_DONE) {
        fail(f, e);
        done(s);
        return false;
    }
    *ret_s = s;
    *ret_found = r == SQLITE_ROW;
    *ret_value = (bytes){0};
    if (*ret_found) {
        ret_value->p = sqlite3_column_blob(s, 0);
        ret_value->n = (size_t)sqlite3_column_bytes(s, 0);
    }
    return true;
}

static bool set(kv_file *f, str store, str key, bytes value, err *e)
{
    sqlite3_stmt *s = ready(f, SET, store, &key);
    sqlite3_bind_blob64(s, 3, value.n ? (const void *)value.p : "", value.n, SQLITE_STATIC);
    return done_after(f, s, e);
}

/* --- requests --------------------------------------------------------------------------------- */

static void answer_failed(buf *out, const store_message *m, str reason)
{
    buf_clear(out);
    store_message_begin(out, m->id, STORE_FAILED, m->store);
    store_message_item(out, reason, NULL);
}

static bool apply_get(kv_file *f, str store, store_message m, buf *out, err *e)
{
    store_item i;
    while (store_message_next(&m, &i)) {
        sqlite3_stmt *s;
        bool found;
        bytes value;
        if (!get(f, store, i.key, &s, &found, &value, e))
            return false;
        store_message_item(out, i.key, found ? &value : NULL);
        done(s);
        if (out->failed)
            return true;
    }
    return true;
}

static bool apply_exists(kv_file *f, str store, str key, buf *out, err *e)
{
    static const bytes nothing = {0};
    sqlite3_stmt *s = ready(f, EXISTS, store, &key);
    int r = sqlite3_step(s);
    bool ok = r == SQLITE_ROW || r == SQLITE_DONE || fail(f, e);
    done(s);
    if (ok)
        store_message_item(out, (str){0}, r == SQLITE_ROW ? &nothing : NULL);
    return ok;
}

static bool apply_keys(kv_file *f, str store, buf *out, err *e)
{
    sqlite3_stmt *s = ready(f, KEYS, store, NULL);
    int r;
    while ((r = sqlite3_step(s)) == SQLITE_ROW && !out->failed) {
        const char *p = (const char *)sqlite3_column_text(s, 0);
        str key = {p, (size_t)sqlite3_column_bytes(s, 0)};
        if (str_is_utf8(key)) /* other programs may have written something else */
            store_message_item(out, key, NULL);
    }
    bool ok = r == SQLITE_ROW || r == SQLITE_DONE || fail(f, e);
    done(s);
    return ok;
}

static bool apply_write(kv_file *f, str store, store_message m, err *e)
{
    store_item i;
    bool several = m.count > 1;
    if (several && !run(f, "SAVEPOINT request", e))
        return false;
    while (store_message_next(&m, &i)) {
        bool ok = m.kind == KV_SET ? set(f, store, i.key, i.value, e)
                                   : done_after(f, ready(f, DELETE, store, &i.key), e);
        if (!ok)
            return false; /* the whole transaction goes */
    }
    return !several || run(f, "RELEASE request", e);
}

static bool apply_increment(kv_file *f, str store, const store_message *m, store_item i, buf *out,
                            err *e)
{
    sqlite3_stmt *s;
    bool found;
    bytes old;
    int64_t now = 0, delta, sum;
    if (!get(f, store, i.key, &s, &found, &old, e))
        return false;
    bool number = !found || old.n == sizeof now;
    if (found && number)
        memcpy(&now, old.p, sizeof now); /* little-endian, as Spin keeps it */
    done(s);
    if (!number) {
        answer_failed(out, m, S("the value is no number: it has to be 8 bytes, little-endian"));
        return true;
    }
    memcpy(&delta, i.value.p, sizeof delta);
    if (__builtin_add_overflow(now, delta, &sum)) {
        answer_failed(out, m, S("the number would leave the range of s64"));
        return true;
    }
    bytes value = {(const uint8_t *)&sum, sizeof sum};
    if (!set(f, store, i.key, value, e))
        return false;
    store_message_item(out, (str){0}, &value);
    return true;
}

static bool apply_swap(kv_file *f, str store, const store_message *m, const store_item *i, buf *out,
                       err *e)
{
    sqlite3_stmt *s;
    bool found;
    bytes now;
    const store_item *want = &i[1];
    if (!get(f, store, i[0].key, &s, &found, &now, e))
        return false;
    bool same = found == want->has_value &&
                (!found ||
                 (now.n == want->value.n && (!now.n || memcmp(now.p, want->value.p, now.n) == 0)));
    if (!same) {
        buf_clear(out);
        store_message_begin(out, m->id, KV_CHANGED, m->store);
        store_message_item(out, (str){0}, found ? &now : NULL);
    }
    done(s);
    return !same || set(f, store, i[0].key, i[0].value, e);
}

const char *kv_request_problem(store_message m, store_item first[2])
{
    store_item i;
    uint32_t n = 0;
    for (; store_message_next(&m, &i); n++) {
        if (i.key.n > STORE_KEY_BYTES_MAX)
            return "a key has more than 64 KiB";
        if (!str_is_utf8(i.key))
            return "a key is not UTF-8";
        if (m.kind == KV_SET && !i.has_value)
            return "a request without its value";
        if (n < 2)
            first[n] = i;
    }
    if (m.count)
        return "a damaged request";
    switch (m.kind) {
    case KV_GET:
    case KV_SET:
    case KV_DELETE:
        return NULL;
    case KV_EXISTS:
        return n == 1 ? NULL : "a request with the wrong number of keys";
    case KV_KEYS:
        return n == 0 ? NULL : "a request with the wrong number of keys";
    case KV_INCREMENT:
        return n == 1 && first[0].has_value && first[0].value.n == 8 ? NULL : "no delta";
    case KV_SWAP:
        return n == 2 && first[0].has_value ? NULL : "no value to swap in";
    default:
        return "an unknown request";
    }
}

static bool apply(kv_file *f, str store, store_message m, const store_item *first, buf *out, err *e)
{
    switch (m.kind) {
    case KV_GET:
        return apply_get(f, store, m, out, e);
    case KV_SET:
    case KV_DELETE:
        return apply_write(f, store, m, e);
    case KV_EXISTS:
        return apply_exists(f, store, first[0].key, out, e);
    case KV_KEYS:
        return apply_keys(f, store, out, e);
    case KV_INCREMENT:
        return apply_increment(f, store, &m, first[0], out, e);
    default:
        return apply_swap(f, store, &m, first, out, e);
    }
}

bool kv_file_apply(kv_file *f, str store, store_message m, buf *out, err *e)
{
    store_item first[2] = {0};
    const char *problem = kv_request_problem(m, first);
    buf_clear(out);
    store_message_begin(out, m.id, STORE_OK, m.store);
    if (problem)
        answer_failed(out, &m, str_from(problem));
    else if (!apply(f, store, m, first, out, e))
        return false;
    if (out->failed)
        answer_failed(out, &m, S("the result exceeds the limit of 134217728 bytes"));
    if (out->failed)
        return err_no_memory(e);
    store_message_end(out);
    return true;
}

bool kv_file_preset(kv_file *f, str store, const str *pairs, size_t count, err *e)
{
    if (!kv_file_begin(f, e))
        return false;
    for (size_t i = 0; i + 1 < count; i += 2)
        if (!set(f, store, pairs[i], (bytes){(const uint8_t *)pairs[i + 1].p, pairs[i + 1].n}, e)) {
            kv_file_rollback(f);
            return false;
        }
    return kv_file_commit(f, e);
}
