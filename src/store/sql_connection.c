/* See sql_connection.h.
 *
 * Durability: WAL with synchronous=NORMAL, where a commit appends to the log and does not wait for
 * the disk. sql_connection_sync then fsyncs the log once for all connections' commits: it asks
 * SQLite for the file object of its log and calls the same method that synchronous=FULL would call
 * at each commit. Checkpoints fsync by themselves (NORMAL does), so the file is never ahead of its
 * log. The connection that syncs is opened first and closed last: it made the log, so that its
 * first fsync is also the one of the folder.
 *
 * Views: a short SELECT outside a transaction leaves its connection at the state of the file that
 * it saw, until sql_connection_view_end: what follows in the same turn need not lock the log again.
 * Of what others commit in between nobody was told yet.
 *
 * The authorizer ignores settings that are ours (a guest's PRAGMA journal_mode does nothing), and
 * remembers what a statement leaves behind in its connection: with temporary tables, attached
 * databases or settings it is not given to another session. */
#include "store/sql_connection.h"

#include "base/limits.h"
#include "store/sql_memory.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

enum { STATEMENTS_MAX = 8, STATEMENT_KEPT_BYTES_MAX = 8 << 10, PROGRESS_OPS = 500 };

/* What a statement does to its connection. */
enum { MARK_STAYS = 1, MARK_CHANGES = 2, MARK_COUNTERS = 4, MARK_ATTACH = 8 };

typedef struct {
    char *sql;
    size_t n;
    sqlite3_stmt *s;
    unsigned marks;
    bool selects;
    uint64_t used;
} statement;

struct sql_connection {
    sqlite3 *db;
    sql_account *account;
    bool in_memory, attach_files, script;
    sqlite3_stmt *view; /* while it stands at its first row the log stays locked; NULL: no log */
    bool viewing;
    statement kept[STATEMENTS_MAX];
    uint64_t clock; /* for statement.used */
    /* of this session */
    unsigned marks; /* all that ran */
    uint64_t changes;
    bool fresh; /* no session had it before */
    /* of the running statement */
    sqlite3_stmt *running;
    unsigned running_marks;
    const sql_budget *budget;
    bool stopped;
    bool let_go; /* its answer said that the session holds nothing */
    /* since sql_connection_committed */
    bool committed;
    unsigned log_pages;
};

/* --- what statements may do ------------------------------------------------------------------- */

static bool is_one_of(const char *name, const char *const *list)
{
    for (; name && *list; list++)
        if (sqlite3_stricmp(name, *list) == 0)
            return true;
    return false;
}

/* Setting these does nothing: they are ours. */
static const char *const our_settings[] = {"busy_timeout",
                                           "checkpoint_fullfsync",
                                           "data_store_directory",
                                           "fullfsync",
                                           "hard_heap_limit",
                                           "journal_mode",
                                           "locking_mode",
                                           "mmap_size",
                                           "soft_heap_limit",
                                           "synchronous",
                                           "temp_store",
                                           "temp_store_directory",
                                           "threads",
                                           "trusted_schema",
                                           "wal_autocheckpoint",
                                           "writable_schema",
                                           "journal_size_limit",
                                           NULL};

static int authorize_pragma(sql_connection *c, const char *name, const char *value)
{
    static const char *const never[] = {"wal_checkpoint", "incremental_vacuum", NULL};
    if ((value && is_one_of(name, our_settings)) || is_one_of(name, never))
        return SQLITE_IGNORE;
    if (value)
        c->running_marks |= MARK_STAYS;
    return SQLITE_OK;
}

static int authorize_attach(sql_connection *c, const char *file)
{
    c->running_marks |= MARK_STAYS | MARK_ATTACH;
    bool nowhere = file && (!*file || strcmp(file, ":memory:") == 0);
    bool is_uri = file && sqlite3_strnicmp(file, "file:", 5) == 0;
    return nowhere || (c->attach_files && file && !is_uri) ? SQLITE_OK : SQLITE_DENY;
}

static int authorize(void *user, int action, const char *first, const char *second,
                     const char *database, const char *trigger)
{
    static const char *const counters[] = {"changes", "total_changes", NULL};
    static const char *const refused[] = {"load_extension", "fts3_tokenizer", NULL};
    sql_connection *c = user;
    if (c->script)
        return SQLITE_OK;
    switch (action) {
    case SQLITE_ATTACH:
        return authorize_attach(c, first);
    case SQLITE_DETACH:
    case SQLITE_CREATE_TEMP_INDEX:
    case SQLITE_CREATE_TEMP_TABLE:
    case SQLITE_CREATE_TEMP_TRIGGER:
    case SQLITE_CREATE_TEMP_VIEW:
        c->running_marks |= MARK_STAYS;
        return SQLITE_OK;
    case SQLITE_PRAGMA:
        return authorize_pragma(c, first, second);
    case SQLITE_INSERT:
    case SQLITE_UPDATE:
    case SQLITE_DELETE:
        if (first && sqlite3_strnicmp(first, "sqlite_", 7) != 0)
            c->running_marks |= MARK_CHANGES;
        return SQLITE_OK;
    case SQLITE_FUNCTION:
        if (is_one_of(second, counters))
            c->running_marks |= MARK_COUNTERS;
        return is_one_of(second, refused) ? SQLITE_DENY : SQLITE_OK;
    default:
        return SQLITE_OK;
    }
}

/* SQLite asks once more when a statement is over and its transaction committed. Stopped then, it
 * would be said not to have run, and run again. */
static int progress(void *user)
{
    sql_connection *c = user;
    const sql_budget *b = c->budget;
    if (!b || (c->running && !sqlite3_stmt_busy(c->running)))
        return 0;
    c->stopped = (b->cancel && atomic_load(b->cancel)) || clock_mono() >= b->deadline;
    return c->stopped;
}

static int on_commit(void *user, sqlite3 *db, const char *database, int pages)
{
    sql_connection *c = user;
    if (strcmp(database, "main") == 0) { /* attached files are synced by SQLite itself */
        c->committed = true;
        c->log_pages = (unsigned)pages;
    }
    return SQLITE_OK;
}

/* --- opening ---------------------------------------------------------------------------------- */

static bool fail(const sql_connection *c, err *e)
{
    return err_set(e, ERR_IO, "%s (SQLite %d)", sqlite3_errmsg(c->db),
                   sqlite3_extended_errcode(c->db));
}

static bool run(sql_connection *c, const char *sql, err *e)
{
    return sqlite3_exec(c->db, sql, NULL, NULL, NULL) == SQLITE_OK || fail(c, e);
}

static int first_text(void *user, int n, char **values, char **names)
{
    snprintf(user, 16, "%s", n && values[0] ? values[0] : "");
    return 0;
}

/* Commits may be left to sql_connection_sync only where there is a log to sync. */
static bool durability_set(sql_connection *c, err *e)
{
    char mode[16] = "";
    if (c->in_memory)
        return run(c, "PRAGMA synchronous = OFF", e);
    if (!sqlite3_db_readonly(c->db, "main") &&
        sqlite3_exec(c->db, "PRAGMA journal_mode = WAL", first_text, mode, NULL) != SQLITE_OK)
        return fail(c, e);
    if (strcmp(mode, "wal") != 0)
        return run(c, "PRAGMA main.synchronous = FULL", e);
    return run(c, "PRAGMA main.synchronous = NORMAL", e) &&
           (sqlite3_prepare_v3(c->db, "SELECT 1 UNION ALL SELECT rowid FROM sqlite_schema", -1,
                               SQLITE_PREPARE_PERSISTENT, &c->view, NULL) == SQLITE_OK ||
            fail(c, e));
}

static bool set_up(sql_connection *c, err *e)
{
    static const struct {
        int what, value;
    } limits[] = {{SQLITE_LIMIT_LENGTH, STORE_SQL_VALUE_BYTES_MAX},
                  {SQLITE_LIMIT_SQL_LENGTH, STORE_SQL_TEXT_BYTES_MAX},
                  {SQLITE_LIMIT_LIKE_PATTERN_LENGTH, STORE_SQL_PATTERN_BYTES_MAX},
                  {SQLITE_LIMIT_TRIGGER_DEPTH, STORE_SQL_TRIGGER_DEPTH_MAX},
                  {SQLITE_LIMIT_WORKER_THREADS, 0}};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        sqlite3_limit(c->db, limits[i].what, limits[i].value);
    sqlite3_db_config(c->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(c->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(c->db, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
    if (!run(c, "PRAGMA temp_store = MEMORY", e) || !run(c, "PRAGMA cache_size = -2048", e) ||
        !durability_set(c, e))
        return false;
    sqlite3_wal_hook(c->db, on_commit, c);
    sqlite3_set_authorizer(c->db, authorize, c);
    sqlite3_progress_handler(c->db, PROGRESS_OPS, progress, c);
    /* The log is opened and made by the first look into the file. */
    return run(c, "SELECT 1 FROM sqlite_schema LIMIT 1", e);
}

bool sql_connection_open(const sql_location *where, sql_connection **ret, err *e)
{
    char memory[128];
    int flags =
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    sql_connection *c = calloc(1, sizeof *c);
    if (!sql_memory_init(e) || !c || !(c->account = sql_account_new(STORE_SQL_MEMORY_BYTES_MAX))) {
        free(c);
        return err_no_memory(e);
    }
    c->attach_files = where->attach_files;
    c->in_memory = !where->path;
    c->fresh = true;
    snprintf(memory, sizeof memory, "file:/%s?vfs=memdb", where->name ? where->name : "");
    sql_account *before = sql_account_use(c->account);
    bool ok = sqlite3_open_v2(where->path ? where->path : memory, &c->db,
                              flags | (where->path ? 0 : SQLITE_OPEN_URI), NULL) == SQLITE_OK;
    if (!ok && !c->db)
        err_no_memory(e);
    else if (!ok)
        fail(c, e);
    ok = ok && set_up(c, e);
    sql_account_use(before);
    if (ok)
        *ret = c;
    else
        sql_connection_close(c);
    return ok;
}

static void statement_drop(statement *s)
{
    sqlite3_finalize(s->s);
    free(s->sql);
    *s = (statement){0};
}

void sql_connection_close(sql_connection *c)
{
    if (!c)
        return;
    sql_account *before = sql_account_use(c->account);
    for (int i = 0; i < STATEMENTS_MAX; i++)
        statement_drop(&c->kept[i]);
    sqlite3_finalize(c->view);
    sqlite3_close_v2(c->db);
    sql_account_use(before);
    sql_account_give_up(c->account);
    free(c);
}

bool sql_connection_recycle(sql_connection *c)
{
    sql_account *before = sql_account_use(c->account);
    if (!sqlite3_get_autocommit(c->db))
        sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
    bool ok = sqlite3_get_autocommit(c->db) && !(c->marks & MARK_STAYS);
    sqlite3_set_last_insert_rowid(c->db, 0);
    sql_account_use(before);
    c->marks = 0;
    c->changes = 0;
    c->fresh = false;
    return ok;
}

/* --- running ---------------------------------------------------------------------------------- */

static void view_begin(sql_connection *c)
{
    if (c->view && !c->viewing)
        c->viewing = sqlite3_step(c->view) == SQLITE_ROW || (sqlite3_reset(c->view), false);
}

static void view_end(sql_connection *c)
{
    if (c->viewing)
        sqlite3_reset(c->view);
    c->viewing = false;
}

/* A refusal is an answer. */
static void answer_failed(buf *out, const store_message *m, store_kind kind, str reason)
{
    buf_clear(out);
    store_message_begin(out, m->id, kind, m->store);
    store_message_item(out, reason, NULL);
}

static void answer_error(const sql_connection *c, buf *out, const store_message *m)
{
    int code = sqlite3_extended_errcode(c->db);
    const char *text = sqlite3_errmsg(c->db);
    if ((code & 0xff) == SQLITE_NOMEM)
        text = "the statement needs more memory than a connection may have (64 MiB)";
    answer_failed(out, m, (code & 0xff) == SQLITE_FULL ? STORE_FULL : STORE_FAILED, str_from(text));
}

static statement *statement_find(sql_connection *c, str sql)
{
    for (int i = 0; i < STATEMENTS_MAX; i++)
        if (c->kept[i].s && str_eq((str){c->kept[i].sql, c->kept[i].n}, sql))
            return &c->kept[i];
    return NULL;
}

/* The place of the statement used longest ago, emptied. */
static statement *statement_place(sql_connection *c)
{
    statement *oldest = &c->kept[0];
    for (int i = 1; i < STATEMENTS_MAX; i++)
        if (c->kept[i].used < oldest->used)
            oldest = &c->kept[i];
    statement_drop(oldest);
    return oldest;
}

/* False: it cannot be prepared. *ret is NULL for a text without a statement. */
static bool prepare(sql_connection *c, str sql, statement *own, statement **ret)
{
    statement *s = statement_find(c, sql);
    if (!s) {
        char *copy = sql.n <= STATEMENT_KEPT_BYTES_MAX ? malloc(sql.n + 1) : NULL;
        s = copy ? statement_place(c) : own;
        if (sqlite3_prepare_v3(c->db, sql.n ? sql.p : "", (int)sql.n, SQLITE_PREPARE_PERSISTENT,
                               &s->s, NULL) != SQLITE_OK) {
            free(copy);
            return false;
        }
        s->marks = c->running_marks;
        s->selects = s->s && sql.n > 6 && sqlite3_strnicmp(sql.p, "select", 6) == 0 &&
                     sqlite3_stmt_readonly(s->s);
        s->sql = copy;
        s->n = sql.n;
        if (copy)
            memcpy(copy, sql.p ? sql.p : "", sql.n);
        if (!s->s) {
            statement_drop(s);
            s = NULL;
        }
    }
    if (s)
        s->used = ++c->clock;
    *ret = s;
    return true;
}

static int bind_value(sqlite3_stmt *s, int at, const store_item *i)
{
    int64_t number = 0;
    double real;
    if ((i->key.p[0] == SQL_INTEGER || i->key.p[0] == SQL_REAL) && i->value.n == sizeof number)
        memcpy(&number, i->value.p, sizeof number);
    switch (i->key.p[0]) {
    case SQL_INTEGER:
        return sqlite3_bind_int64(s, at, number);
    case SQL_REAL:
        memcpy(&real, &number, sizeof real);
        return sqlite3_bind_double(s, at, real);
    case SQL_TEXT:
        return sqlite3_bind_text64(s, at, i->value.n ? (const char *)i->value.p : "", i->value.n,
                                   SQLITE_STATIC, SQLITE_UTF8);
    case SQL_BLOB:
        return sqlite3_bind_blob64(s, at, i->value.n ? (const void *)i->value.p : "", i->value.n,
                                   SQLITE_STATIC);
    default:
        return sqlite3_bind_null(s, at);
    }
}

/* The parameters are borrowed from the message until the statement is reset. */
static bool bind(sql_connection *c, sqlite3_stmt *s, store_message m, buf *out)
{
    char text[96];
    int want = sqlite3_bind_parameter_count(s);
    store_item i;
    if (m.count != (uint32_t)want) {
        snprintf(text, sizeof text, "Wrong number of parameters passed to query. Got %u, needed %d",
                 m.count, want);
        answer_failed(out, &m, STORE_FAILED, str_from(text));
        return false;
    }
    for (int at = 1; store_message_next(&m, &i); at++)
        if (i.key.n != 1 || bind_value(s, at, &i) != SQLITE_OK) {
            answer_error(c, out, &m);
            return false;
        }
    if (m.count)
        answer_failed(out, &m, STORE_FAILED, S("a damaged request"));
    return m.count == 0;
}

/* False: a text that is no UTF-8, which no guest can be given. */
static bool put_value(sqlite3_stmt *s, int at, buf *out)
{
    char kind[1];
    int64_t number;
    double real;
    bytes b = {(const uint8_t *)&number, sizeof number};
    switch (sqlite3_column_type(s, at)) {
    case SQLITE_INTEGER:
        kind[0] = SQL_INTEGER;
        number = sqlite3_column_int64(s, at);
        break;
    case SQLITE_FLOAT:
        kind[0] = SQL_REAL;
        real = sqlite3_column_double(s, at);
        memcpy(&number, &real, sizeof number);
        break;
    case SQLITE_TEXT:
        kind[0] = SQL_TEXT;
        b.p = sqlite3_column_text(s, at);
        b.n = (size_t)sqlite3_column_bytes(s, at);
        if (!str_is_utf8((str){(const char *)b.p, b.n}))
            return false;
        break;
    case SQLITE_BLOB:
        kind[0] = SQL_BLOB;
        b.p = sqlite3_column_blob(s, at);
        b.n = (size_t)sqlite3_column_bytes(s, at);
        break;
    default:
        kind[0] = SQL_NULL;
        store_message_item(out, (str){kind, 1}, NULL);
        return true;
    }
    store_message_item(out, (str){kind, 1}, &b);
    return true;
}

static void answer_begin(buf *out, const store_message *m, sqlite3_stmt *s, int columns)
{
    static const sql_result nothing;
    bytes head = {(const uint8_t *)&nothing, sizeof nothing};
    store_message_begin(out, m->id, STORE_OK, m->store);
    store_message_item(out, (str){0}, &head);
    for (int i = 0; i < columns; i++)
        store_message_item(out, str_from(sqlite3_column_name(s, i)), NULL);
}

/* The numbers that are known at the end, in the place that answer_begin left. */
static void answer_end(sql_connection *c, buf *out, uint64_t rows, uint64_t columns)
{
    c->let_go = sqlite3_get_autocommit(c->db) && !c->marks && !c->running_marks;
    sql_result r = {.rows = rows,
                    .columns = columns,
                    .held = !c->let_go,
                    .last_insert_rowid = sqlite3_last_insert_rowid(c->db),
                    .changes = c->changes};
    size_t at = STORE_HEAD_BYTES + 2 * sizeof(uint32_t);
    if (!out->failed)
        memcpy(out->p + at, &r, sizeof r);
}

/* Columns are those after the first step, which prepares the statement anew where a table has
 * changed. */
static sql_outcome step_all(sql_connection *c, sqlite3_stmt *s, const store_message *m, buf *out)
{
    int r = sqlite3_step(s), columns = sqlite3_column_count(s);
    uint64_t rows = 0;
    bool utf8 = true;
    answer_begin(out, m, s, columns);
    for (; !out->failed && utf8 && r == SQLITE_ROW; rows++) {
        for (int i = 0; i < columns && utf8; i++)
            utf8 = put_value(s, i, out);
        if (!out->failed && utf8)
            r = sqlite3_step(s);
    }
    if (r == SQLITE_ROW) {
        if (!utf8)
            answer_failed(out, m, STORE_FAILED, S("the result has a text that is not UTF-8"));
        else
            answer_failed(out, m, STORE_FAILED, S("query result exceeds limit of 134217728 bytes"));
        return SQL_DONE;
    }
    if (r == SQLITE_DONE) {
        if (c->running_marks & MARK_CHANGES)
            c->changes = (uint64_t)sqlite3_changes64(c->db);
        answer_end(c, out, rows, (uint64_t)columns);
        return SQL_DONE;
    }
    if (c->stopped)
        return SQL_STOPPED;
    if ((r & 0xff) == SQLITE_BUSY && r != SQLITE_BUSY_SNAPSHOT)
        return SQL_BUSY;
    answer_error(c, out, m);
    return SQL_DONE;
}

static sql_outcome statement_run(sql_connection *c, statement *s, const sql_budget *b,
                                 const store_message *m, buf *out)
{
    bool writes_inside = !sqlite3_get_autocommit(c->db) && !sqlite3_stmt_readonly(s->s);
    c->running_marks |= s->marks;
    if ((c->running_marks & MARK_COUNTERS) && !c->fresh && !c->marks)
        return SQL_STALE;
    if (b->is_short && (writes_inside || (c->running_marks & MARK_ATTACH)))
        return SQL_STOPPED; /* an interrupt would roll the guest's transaction back */
    sql_outcome outcome = SQL_DONE;
    if (b->is_short && s->selects && !c->marks && !c->running_marks &&
        sqlite3_get_autocommit(c->db))
        view_begin(c);
    else
        view_end(c);
    if (bind(c, s->s, *m, out)) {
        buf_clear(out);
        c->running = s->s;
        outcome = step_all(c, s->s, m, out);
        c->running = NULL;
    }
    s->marks |= c->running_marks;
    if (outcome == SQL_DONE)
        c->marks |= c->running_marks;
    sqlite3_reset(s->s);
    sqlite3_clear_bindings(s->s);
    return outcome;
}

static sql_outcome run_message(sql_connection *c, store_message m, const sql_budget *b, buf *out)
{
    statement own = {0}, *s;
    store_item text;
    sql_outcome outcome = SQL_DONE;
    if (!store_message_next(&m, &text)) {
        answer_failed(out, &m, STORE_FAILED, S("a damaged request"));
        return SQL_DONE;
    }
    if (!prepare(c, text.key, &own, &s)) {
        int code = sqlite3_errcode(c->db);
        if (c->stopped || code == SQLITE_BUSY)
            return c->stopped ? SQL_STOPPED : SQL_BUSY;
        answer_error(c, out, &m);
    } else if (!s) {
        answer_begin(out, &m, NULL, 0);
        answer_end(c, out, 0, 0);
    } else {
        outcome = statement_run(c, s, b, &m, out);
    }
    statement_drop(&own);
    return outcome;
}

sql_outcome sql_connection_run(sql_connection *c, store_message m, sql_budget b, buf *out)
{
    sql_account *before = sql_account_use(c->account);
    c->budget = &b;
    c->stopped = c->let_go = false;
    c->running_marks = 0;
    buf_clear(out);
    sql_outcome outcome = run_message(c, m, &b, out);
    c->budget = NULL;
    c->let_go = c->let_go && !out->failed;
    if (outcome != SQL_DONE || !c->let_go)
        view_end(c);
    if (outcome == SQL_DONE && out->failed)
        answer_failed(out, &m, STORE_FAILED, S("query result exceeds limit of 134217728 bytes"));
    if (outcome == SQL_DONE && !out->failed)
        store_message_end(out);
    sql_account_use(before);
    return outcome;
}

bool sql_connection_script(sql_connection *c, str text, err *e)
{
    char *sql = malloc(text.n + 1);
    if (!sql)
        return err_no_memory(e);
    memcpy(sql, text.p ? text.p : "", text.n);
    sql[text.n] = 0;
    c->script = true;
    bool ok = sqlite3_exec(c->db, sql, NULL, NULL, NULL) == SQLITE_OK ||
              err_set(e, ERR_INVALID, "%s", sqlite3_errmsg(c->db));
    if (!sqlite3_get_autocommit(c->db))
        sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
    c->script = false;
    free(sql);
    return ok;
}

/* --- what others need to know ----------------------------------------------------------------- */

bool sql_connection_committed(sql_connection *c, unsigned *ret_log_pages)
{
    bool committed = c->committed;
    c->committed = false;
    *ret_log_pages = c->log_pages;
    return committed;
}

void sql_connection_view_end(sql_connection *c)
{
    if (!c->viewing)
        return;
    sql_account *before = sql_account_use(c->account);
    view_end(c);
    sql_account_use(before);
}

bool sql_connection_let_go(const sql_connection *c) { return c->let_go; }

bool sql_connection_in_transaction(const sql_connection *c)
{
    return !sqlite3_get_autocommit(c->db);
}

bool sql_connection_is_heavy(const sql_connection *c) { return c->marks & MARK_ATTACH; }

bool sql_connection_moved(const sql_connection *c)
{
    int moved = 0;
    return !c->in_memory &&
           sqlite3_file_control(c->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
           moved;
}

bool sql_connection_sync(sql_connection *c, err *e)
{
    sqlite3_file *log = NULL;
    if (sqlite3_file_control(c->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log) != SQLITE_OK ||
        !log || !log->pMethods)
        return err_set(e, ERR_INTERNAL, "the database has no log to sync");
    int r = log->pMethods->xSync(log, SQLITE_SYNC_NORMAL);
    return r == SQLITE_OK || err_set(e, ERR_IO, "fsync of the log failed (SQLite %d)", r);
}

bool sql_connection_checkpoint(sql_connection *c, err *e)
{
    int r = sqlite3_wal_checkpoint_v2(c->db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    return r == SQLITE_OK || (r & 0xff) == SQLITE_BUSY || fail(c, e);
}
