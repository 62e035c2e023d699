/* SQL in the store process: what one connection does with a statement, and sessions of guests over
 * the server: locks, threads, limits, files that are idle or moved. The clock is the test's. */
#include "folder_kit.h"
#include "workers_kit.h"

#include "base/limits.h"
#include "store/sql_connection.h"
#include "store/sql_memory.h"

#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>

enum { FILE_DB, MEMORY_DB, SCRIPTED_DB, DATABASES };

static char path[80];
static sql_connection *c;
static buf asked, out;

static atomic_llong ahead_s;

int clock_gettime(clockid_t id, struct timespec *ret)
{
    int code = (int)syscall(SYS_clock_gettime, id, ret);
    ret->tv_sec += id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE ? ahead_s : 0;
    return code;
}

/* --- what an answer says ---------------------------------------------------------------------- */

static sql_result result;
static char names[256];

static void value_write(char *to, size_t size, const store_item *i)
{
    int64_t n = 0;
    double d = 0;
    assert_int_equal(i->key.n, 1);
    if (i->key.p[0] == SQL_INTEGER || i->key.p[0] == SQL_REAL) {
        assert_int_equal(i->value.n, 8);
        memcpy(&n, i->value.p, 8);
        memcpy(&d, i->value.p, 8);
    }
    if (i->key.p[0] == SQL_INTEGER)
        snprintf(to, size, "%lld", (long long)n);
    else if (i->key.p[0] == SQL_REAL)
        snprintf(to, size, "%g", d);
    else if (i->key.p[0] == SQL_NULL)
        snprintf(to, size, "%s", i->has_value ? "?" : "null");
    else
        snprintf(to, size, "%s'%.*s'", i->key.p[0] == SQL_BLOB ? "b" : "", (int)i->value.n,
                 (const char *)i->value.p);
}

/* Rows with ';', their values with ','; or "! " and why it failed. Names of columns go to `names`,
 * what else is known to `result`. */
static const char *said(store_message m)
{
    static char text[1024];
    size_t n = 0;
    store_item i;
    names[0] = text[0] = 0;
    result = (sql_result){0};
    assert_true(store_message_next(&m, &i));
    if (m.kind != STORE_OK) {
        assert_int_equal(m.kind, STORE_FAILED);
        assert_int_equal(m.count, 0);
        snprintf(text, sizeof text, "! %.*s", STR(i.key));
        return text;
    }
    assert_int_equal(i.value.n, sizeof result);
    memcpy(&result, i.value.p, sizeof result);
    for (uint64_t k = 0; k < result.columns; k++) {
        size_t at = strlen(names);
        assert_true(store_message_next(&m, &i) && !i.has_value);
        snprintf(names + at, sizeof names - at, "%s%.*s", at ? "," : "", STR(i.key));
    }
    for (uint64_t k = 0; k < result.rows * result.columns; k++) {
        assert_true(store_message_next(&m, &i) && n + 2 < sizeof text);
        if (k)
            text[n++] = k % result.columns ? ',' : ';';
        value_write(text + n, sizeof text - n, &i);
        n += strlen(text + n);
    }
    assert_int_equal(m.count, 0);
    return text;
}

static void assert_said(const char *got, const char *want)
{
    if (strncmp(got, want, strlen(want)) != 0 || (*want != '!' && strcmp(got, want) != 0))
        fail_msg("'%s' where '%s' was wanted", got, want);
}

/* --- one connection --------------------------------------------------------------------------- */

static sql_connection *another(const char *at, const char *name)
{
    sql_connection *x = NULL;
    sql_location where = {.path = at, .name = name};
    if (!sql_connection_open(&where, &x, &e))
        fail_msg("%s", e.text);
    return x;
}

static int open_one(void **state)
{
    if (!folder_make("/tmp/ebb-sql"))
        return -1;
    snprintf(path, sizeof path, "%s/a.db", dir);
    buf_init(&asked, STORE_MESSAGE_BYTES_MAX);
    buf_init(&out, STORE_MESSAGE_BYTES_MAX);
    c = another(path, NULL);
    return 0;
}

static int close_one(void **state)
{
    sql_connection_close(c);
    buf_fini(&asked);
    buf_fini(&out);
    return folder_remove(dir);
}

static void statement(const char *text)
{
    buf_clear(&asked);
    store_message_begin(&asked, 7, SQL_EXECUTE, 3);
    store_message_item(&asked, str_from(text), NULL);
}

static void parameter(char kind, const void *p, size_t n)
{
    bytes b = {p, n};
    store_message_item(&asked, (str){&kind, 1}, kind == SQL_NULL ? NULL : &b);
}

static sql_outcome run_it(sql_connection *on, bool is_short)
{
    store_message m;
    sql_budget budget = {.deadline = clock_mono() + 60 * NS_PER_S, .is_short = is_short};
    store_message_end(&asked);
    assert_true(store_message_read(buf_bytes(&asked), false, &m, &e));
    return sql_connection_run(on, m, budget, &out);
}

static const char *say(void)
{
    store_message m;
    assert_true(store_message_read(buf_bytes(&out), false, &m, &e));
    assert_true(m.id == 7 && m.store == 3);
    return said(m);
}

static const char *runs(sql_connection *on, const char *text)
{
    statement(text);
    assert_int_equal(run_it(on, false), SQL_DONE);
    return say();
}

static void values_both_ways(void **state)
{
    int64_t n = INT64_MIN;
    double d = -0.5;
    statement("select ?1 a, ?2 b, ?3 c, ?4 d, ?5 e, ?6 f, ?7 g");
    parameter(SQL_INTEGER, &n, 8);
    parameter(SQL_REAL, &d, 8);
    parameter(SQL_TEXT, "t", 1);
    parameter(SQL_BLOB, "zy", 2);
    parameter(SQL_NULL, NULL, 0);
    parameter(SQL_TEXT, NULL, 0);
    parameter(SQL_BLOB, NULL, 0);
    assert_int_equal(run_it(c, false), SQL_DONE);
    assert_said(say(), "-9223372036854775808,-0.5,'t',b'zy',null,'',b''");
    assert_string_equal(names, "a,b,c,d,e,f,g");
    assert_true(result.rows == 1 && result.columns == 7 && !result.held);
    statement("select ?, ?"); /* no eight bytes: zero */
    parameter(SQL_INTEGER, "four", 4);
    parameter(SQL_REAL, "nine bytes", 9);
    assert_int_equal(run_it(c, false), SQL_DONE);
    assert_said(say(), "0,0");
    assert_said(runs(c, "select 1 a, 2 b union all select 3, 4"), "1,2;3,4");
    assert_said(runs(c, "select 1 a where 0"), "");
    assert_true(result.columns == 1 && result.rows == 0);
    assert_said(runs(c, "-- nothing"), "");
    assert_true(result.columns == 0 && !result.held);
    assert_said(runs(c, ""), "");
    assert_said(runs(c, "select 1; select 2"), "1");
    assert_said(runs(c, "select cast(x'ff' as text)"), "! the result has a text that is not UTF-8");
}

static void parameters_that_do_not_fit(void **state)
{
    statement("select ?, ?");
    parameter(SQL_TEXT, "x", 1);
    assert_int_equal(run_it(c, false), SQL_DONE);
    assert_said(say(), "! Wrong number of parameters passed to query. Got 1, needed 2");
    statement("select 1");
    parameter(SQL_TEXT, "x", 1);
    assert_int_equal(run_it(c, false), SQL_DONE);
    assert_said(say(), "! Wrong number of parameters passed to query. Got 1, needed 0");
    for (int k = 0; k < 2; k++) {
        statement("select ?");
        store_message_item(&asked, k ? S("tt") : S(""), NULL);
        assert_int_equal(run_it(c, false), SQL_DONE);
        assert_said(say(), "! ");
    }
    buf_clear(&asked);
    store_message_begin(&asked, 7, SQL_EXECUTE, 3); /* no statement */
    assert_int_equal(run_it(c, false), SQL_DONE);
    assert_said(say(), "! a damaged request");
    assert_said(runs(c, "selekt"), "! near \"selekt\": syntax error");
    assert_said(runs(c, "select 1"), "1");
}

static void what_is_left_of_a_session(void **state)
{
    static const struct {
        const char *text;
        bool held, again; /* the connection may be another's after it */
    } at[] = {
        {"select 1", false, true},
        {"create table t (a)", false, true},
        {"insert into t values (1), (2)", true, true},
        {"update t set a = 3", true, true},
        {"delete from t where a = 9", true, true},
        {"pragma foreign_keys", false, true},
        {"pragma foreign_keys = on", true, false},
        {"create temp table x (a)", true, false},
        {"create temp view y as select 1", true, false},
        {"create temp trigger z after insert on t begin select 1; end", true, false},
        {"attach ':memory:' as m", true, false},
        {"begin", true, true},
    };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        if (runs(c, at[i].text)[0] == '!')
            fail_msg("'%s' fails", at[i].text);
        if (result.held != at[i].held)
            fail_msg("after '%s' it is %sheld", at[i].text, result.held ? "" : "not ");
        assert_int_equal(sql_connection_let_go(c), !result.held);
        if (sql_connection_recycle(c) != at[i].again)
            fail_msg("after '%s'", at[i].text);
        assert_false(sql_connection_in_transaction(c));
        if (!at[i].again) {
            sql_connection_close(c);
            c = another(path, NULL);
        }
        if (i == 0)
            continue;
        assert_said(runs(c, "select last_insert_rowid()"), "0");
        sql_connection_recycle(c);
    }
}

/* How many rows the last statement changed, and no statement of another session. */
static void changes_are_the_sessions_own(void **state)
{
    assert_said(runs(c, "create table t (a integer primary key)"), "");
    assert_said(runs(c, "insert into t values (5), (7), (9)"), "");
    assert_true(result.changes == 3 && result.last_insert_rowid == 9);
    assert_said(runs(c, "select changes()"), "3");
    assert_true(result.changes == 3);
    assert_said(runs(c, "delete from t where a > 5"), "");
    assert_true(result.changes == 2);
    assert_true(sql_connection_recycle(c));
    statement("select changes()");
    assert_int_equal(run_it(c, true), SQL_STALE);
    assert_said(runs(c, "select 1"), "1");
    assert_true(result.changes == 0 && result.last_insert_rowid == 0);
    assert_said(runs(c, "update t set a = 6"), "");
    assert_true(result.changes == 1);
    assert_said(runs(c, "select total_changes() > 0"), "1"); /* it has some of its own */
    sql_connection *fresh = another(path, NULL);
    assert_said(runs(fresh, "select changes(), total_changes()"), "0,0");
    sql_connection_close(fresh);
}

static void settings_that_are_ours(void **state)
{
    static const char *const ours[] = {
        "busy_timeout = 7",
        "checkpoint_fullfsync = 1",
        "fullfsync = 1",
        "journal_mode = off",
        "locking_mode = exclusive",
        "mmap_size = 1000000",
        "synchronous = off",
        "main.synchronous = off",
        "SYNCHRONOUS = OFF",
        "temp_store = 1",
        "threads = 4",
        "trusted_schema = on",
        "writable_schema = on",
        "wal_autocheckpoint = 1",
        "journal_size_limit = 5",
        "wal_checkpoint",
        "incremental_vacuum",
    };
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        char text[80];
        snprintf(text, sizeof text, "pragma %s", ours[i]);
        assert_said(runs(c, text), "");
        if (result.held || result.columns)
            fail_msg("'%s' did something", text);
    }
    assert_said(runs(c, "pragma journal_mode"), "'wal'");
    assert_said(runs(c, "pragma synchronous"), "1"); /* NORMAL: we sync */
    assert_said(runs(c, "pragma locking_mode"), "'normal'");
    assert_said(runs(c, "pragma temp_store"), "2");
    assert_said(runs(c, "pragma cache_size"), "-2048");
    assert_said(runs(c, "pragma trusted_schema"), "0");
    sql_connection *memory = another(NULL, "x"), *same = another(NULL, "x"),
                   *other = another(NULL, "y");
    assert_said(runs(memory, "pragma synchronous"), "0");
    assert_said(runs(memory, "create table t (a)"), "");
    assert_said(runs(same, "select count(*) from t"), "0");
    assert_said(runs(other, "select count(*) from t"), "! no such table: t");
    assert_false(sql_connection_moved(memory));
    assert_false(sql_connection_sync(memory, &e));
    assert_int_equal(e.code, ERR_INTERNAL);
    sql_connection_close(memory);
    sql_connection_close(same);
    sql_connection_close(other);
}

static void what_is_not_allowed(void **state)
{
    char text[200];
    static const char *const files[] = {"file:x?vfs=memdb", "FILE:x", "x.db", ":memory:x"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(text, sizeof text, "attach '%s' as o", files[i]);
        assert_said(runs(c, text), "! not authorized");
    }
    assert_said(runs(c, "attach ? as o"), "! ");
    assert_false(sql_connection_is_heavy(c));
    assert_said(runs(c, "attach '' as o"), "");
    assert_said(runs(c, "attach ':memory:' as p"), "");
    assert_true(sql_connection_is_heavy(c));
    assert_said(runs(c, "select load_extension('x')"), "! not authorized");
    assert_said(runs(c, "select Fts3_Tokenizer('x')"), "! ");
    sql_location where = {.path = path, .attach_files = true};
    sql_connection *may;
    assert_true(sql_connection_open(&where, &may, &e));
    snprintf(text, sizeof text, "attach '%s/b.db' as o", dir);
    assert_said(runs(may, text), "");
    assert_said(runs(may, "attach 'file:x?vfs=memdb' as p"), "! not authorized");
    sql_connection_close(may);
}

static void limits(void **state)
{
    static char text[STORE_SQL_TEXT_BYTES_MAX + 2];
    memset(text, ' ', sizeof text - 1);
    memcpy(text, "select 1", 8);
    assert_said(runs(c, text), "! ");
    text[STORE_SQL_TEXT_BYTES_MAX] = 0;
    assert_said(runs(c, text), "1");
    assert_said(runs(c, "select length(zeroblob(134217728))"), "134217728");
    assert_said(runs(c, "select zeroblob(134217729)"), "! string or blob too big");
    assert_said(runs(c, "select 'x' like printf('%.*c', 1000, 'y')"), "0");
    assert_said(runs(c, "select 'x' like printf('%.*c', 1001, 'y')"), "! ");
    assert_said(runs(c, "with recursive n(i) as (select 1 union all select i + 1 from n limit"
                        " 3000) select zeroblob(100000) from n"),
                "! query result exceeds limit of 134217728 bytes");
    assert_said(runs(c, "with recursive n(i) as (select 1 union all select i + 1 from n limit"
                        " 3000000) select i from n order by hex(randomblob(50))"),
                "! the statement needs more memory than a connection may have (64 MiB)");
    assert_said(runs(c, "pragma recursive_triggers = on"), "");
    assert_said(runs(c, "create table t (a)"), "");
    assert_said(runs(c, "create trigger r after insert on t when new.a < 99 begin"
                        " insert into t values (new.a + 1); end"),
                "");
    assert_said(runs(c, "insert into t values (1)"), "");
    assert_said(runs(c, "insert into t values (-10)"), "! too many levels of trigger recursion");
}

/* What a short run must not begin, and what ends it. */
static void budgets(void **state)
{
    static const char endless[] = "with recursive n(i) as (select 1 union all select i + 1 from n)"
                                  " select count(*) from n";
    atomic_bool cancel = false;
    store_message m;
    assert_said(runs(c, "create table t (a)"), "");
    statement("insert into t values (1)");
    assert_int_equal(run_it(c, true), SQL_DONE);
    assert_said(runs(c, "begin"), "");
    statement("insert into t values (2)");
    assert_int_equal(run_it(c, true), SQL_STOPPED); /* it would roll back what was before */
    statement("select count(*) from t");
    assert_int_equal(run_it(c, true), SQL_DONE);
    assert_said(say(), "1");
    assert_said(runs(c, "commit"), "");
    statement(endless);
    store_message_end(&asked);
    assert_true(store_message_read(buf_bytes(&asked), false, &m, &e));
    sql_budget over = {.deadline = clock_mono()};
    assert_int_equal(sql_connection_run(c, m, over, &out), SQL_STOPPED);
    sql_budget cancelled = {.deadline = UINT64_MAX, .cancel = &cancel};
    cancel = true;
    assert_int_equal(sql_connection_run(c, m, cancelled, &out), SQL_STOPPED);
    assert_said(runs(c, "select count(*) from t"), "1");
    statement("attach ':memory:' as m");
    assert_int_equal(run_it(c, true), SQL_STOPPED);
    assert_said(runs(c, "select count(*) from pragma_database_list"), "1");
}

/* A statement that had its time just when it was over has run: once, whoever asks again. SQLite
 * asks every few hundred of its own steps, which the same statement collects. */
static void what_is_over_is_not_stopped(void **state)
{
    enum { ROUNDS = 1000 };
    static const char *const each[] = {"update t set a = a + 1 where rowid = 1", "begin immediate",
                                       "update t set a = a + 1 where rowid = 1", "commit"};
    char all[16];
    assert_said(runs(c, "create table t (a)"), "");
    assert_said(runs(c, "insert into t values (0)"), "");
    for (int i = 0; i < ROUNDS * 4; i++) {
        store_message m;
        sql_budget over = {.deadline = clock_mono()};
        statement(each[i % 4]);
        store_message_end(&asked);
        assert_true(store_message_read(buf_bytes(&asked), false, &m, &e));
        if (sql_connection_run(c, m, over, &out) == SQL_STOPPED)
            assert_said(runs(c, each[i % 4]), "");
        else
            assert_said(say(), "");
    }
    snprintf(all, sizeof all, "%d", 2 * ROUNDS);
    assert_said(runs(c, "select a from t"), all);
}

static void locks_and_commits(void **state)
{
    unsigned pages = 77;
    sql_connection *other = another(path, NULL);
    assert_false(sql_connection_committed(c, &pages));
    assert_said(runs(c, "create table t (a)"), "");
    assert_true(sql_connection_committed(c, &pages));
    assert_true(pages > 0 && pages < 10);
    assert_false(sql_connection_committed(c, &pages));
    assert_said(runs(c, "begin immediate"), "");
    assert_true(sql_connection_in_transaction(c));
    statement("insert into t values (1)");
    assert_int_equal(run_it(other, false), SQL_BUSY);
    assert_said(runs(other, "select count(*) from t"), "0");
    assert_said(runs(c, "insert into t values (2)"), "");
    assert_false(sql_connection_committed(c, &pages)); /* not yet */
    assert_said(runs(c, "commit"), "");
    assert_true(sql_connection_committed(c, &pages));
    assert_true(sql_connection_sync(c, &e));
    /* Who has read and then wants to write what another one has changed cannot go on. */
    assert_said(runs(other, "begin"), "");
    assert_said(runs(other, "select count(*) from t"), "1");
    assert_said(runs(c, "insert into t values (3)"), "");
    assert_said(runs(other, "insert into t values (4)"), "! database is locked");
    assert_said(runs(other, "rollback"), "");
    assert_said(runs(other, "insert into t values (4)"), "");
    assert_said(runs(c, "select count(*) from t"), "3");
    assert_true(sql_connection_checkpoint(c, &e));
    sql_connection_close(other);
}

/* Short selects of a turn see one state of the file; then what was committed. */
static void views(void **state)
{
    sql_connection *other = another(path, NULL);
    static const char count[] = "select count(*) from t";
    assert_said(runs(c, "create table t (a)"), "");
    assert_true(sql_connection_recycle(c));
    for (int i = 0; i < 2; i++) {
        statement(count);
        assert_int_equal(run_it(c, true), SQL_DONE);
        assert_said(say(), i ? "1" : "0");
        assert_said(runs(other, "insert into t values (1)"), "");
        statement(count);
        assert_int_equal(run_it(c, true), SQL_DONE);
        assert_said(say(), i ? "1" : "0");
        sql_connection_view_end(c);
        sql_connection_view_end(c);
    }
    statement(count);
    assert_int_equal(run_it(c, true), SQL_DONE);
    assert_said(say(), "2");
    assert_said(runs(other, "insert into t values (1)"), "");
    assert_said(runs(c, "insert into t values (1)"), ""); /* whatever writes sees the newest */
    assert_said(runs(c, count), "4");
    statement(count);
    assert_int_equal(run_it(c, true), SQL_DONE);
    assert_said(runs(other, "insert into t values (1)"), "");
    assert_said(runs(c, "select changes()"), "1"); /* a session that holds something: no view */
    assert_said(runs(c, count), "5");
    sql_connection_close(other);
}

/* Of more texts than are kept each does what it says, the long ones too. */
static void statements_that_are_kept(void **state)
{
    char text[64];
    static char long_text[9000];
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 20; i++) {
            snprintf(text, sizeof text, "select %d", i);
            char want[8];
            snprintf(want, sizeof want, "%d", i);
            assert_said(runs(c, text), want);
        }
    memset(long_text, ' ', sizeof long_text - 1);
    memcpy(long_text, "select 8", 8);
    for (int i = 0; i < 2; i++)
        assert_said(runs(c, long_text), "8");
}

/* A statement that is kept gives the columns that there are when it runs. */
static void tables_that_change(void **state)
{
    sql_connection *other = another(path, NULL);
    assert_said(runs(c, "create table t (a)"), "");
    assert_said(runs(c, "insert into t values (1)"), "");
    assert_said(runs(c, "select * from t"), "1");
    assert_said(runs(c, "alter table t add column b default 2"), "");
    assert_said(runs(c, "select * from t"), "1,2");
    assert_string_equal(names, "a,b");
    assert_said(runs(other, "alter table t drop column a"), "");
    assert_said(runs(c, "select * from t"), "2");
    assert_string_equal(names, "b");
    assert_said(runs(other, "drop table t"), "");
    assert_said(runs(c, "select * from t"), "! no such table: t");
    sql_connection_close(other);
}

static void scripts_of_ours(void **state)
{
    assert_true(sql_connection_script(c, S("create table t (a); insert into t values (1)"), &e));
    assert_said(runs(c, "select a from t"), "1");
    assert_false(sql_connection_script(c, S("begin; delete from t; creat"), &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_string_equal(e.text, "near \"creat\": syntax error");
    assert_false(sql_connection_in_transaction(c));
    assert_said(runs(c, "select a from t"), "1");
    assert_true(sql_connection_script(c, (str){0}, &e));
    assert_true(sql_connection_script(c, S("begin; delete from t"), &e)); /* left open: no more */
    assert_said(runs(c, "select a from t"), "1");
}

static void files_that_do_not_open(void **state)
{
    sql_connection *x = NULL;
    char name[96];
    sql_location where = {.path = "/nowhere/at/all.db"};
    assert_false(sql_connection_open(&where, &x, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_string_equal(e.text, "unable to open database file (SQLite 14)");
    snprintf(name, sizeof name, "%s/text", dir);
    FILE *f = fopen(name, "w");
    for (int i = 0; i < 100; i++)
        fputs("this is no database, as anybody can see\n", f);
    fclose(f);
    where.path = name;
    assert_false(sql_connection_open(&where, &x, &e));
    assert_string_equal(e.text, "file is not a database (SQLite 26)");
    assert_null(x);
    assert_false(sql_connection_moved(c));
    snprintf(name, sizeof name, "%s/moved", dir);
    assert_int_equal(rename(path, name), 0);
    assert_true(sql_connection_moved(c));
    sql_connection_close(NULL);
}

static void memory_of_an_account(void **state)
{
    sql_account *a = sql_account_new(10000), *before = sql_account_use(a);
    char *p = sqlite3_malloc(100);
    assert_non_null(p);
    assert_int_equal(sqlite3_msize(p), 100);
    assert_int_equal(sql_account_bytes(a), 100);
    p = sqlite3_realloc(p, 9000);
    assert_int_equal(sql_account_bytes(a), 9000);
    assert_null(sqlite3_malloc(1001));
    assert_null(sqlite3_realloc(p, 10001));
    assert_int_equal(sql_account_bytes(a), 9000);
    char *rest = sqlite3_malloc(1000);
    assert_non_null(rest);
    assert_int_equal(sql_account_bytes(a), 10000);
    assert_null(sqlite3_malloc(1));
    p = sqlite3_realloc(p, 8);
    assert_int_equal(sql_account_bytes(a), 1008);
    assert_ptr_equal(sql_account_use(before), a);
    char *none = sqlite3_malloc(20000); /* nobody's */
    assert_non_null(none);
    assert_int_equal(sql_account_bytes(a), 1008);
    sqlite3_free(none);
    sqlite3_free(rest); /* whoever frees it, it is given back to its account */
    assert_int_equal(sql_account_bytes(a), 8);
    sql_account_give_up(a);
    sqlite3_free(p); /* the account goes with its last block */
    sqlite3_free(NULL);
    sql_account_give_up(NULL);
}

/* --- sessions over the server ----------------------------------------------------------------- */

static void server_start(void)
{
    static const str scripts[] = {{"create table s (a)", 18}, {"insert into s values (7)", 24}};
    sql_database databases[DATABASES] = {
        [FILE_DB] = {.label = S("file"), .path = str_from(path)},
        [MEMORY_DB] = {.label = S("memory")},
        [SCRIPTED_DB] = {.label = S("scripted"), .scripts = scripts, .scripts_count = 2}};
    server_new(&(store_config){.databases = databases, .databases_count = DATABASES});
}

static int open_all(void **state)
{
    if (!folder_make("/tmp/ebb-sql") || !workers_make())
        return -1;
    snprintf(path, sizeof path, "%s/a.db", dir);
    server_start();
    connect_client(client);
    connect_client(second);
    return 0;
}

static int close_all(void **state)
{
    workers_end();
    return folder_remove(dir);
}

static store_call *ask_of(store_client *x, store_kind kind, uint16_t db, sql_ask ask,
                          const char *text)
{
    store_call *k = store_call_new(x, kind, db);
    store_call_item(k, str_from(text), &(bytes){(const uint8_t *)&ask, sizeof ask});
    if (kind == SQL_CLOSE)
        store_call_send_and_forget_take(k);
    else
        assert_true(store_call_send(k, on_done, NULL, &e));
    return k;
}

static store_call *ask(uint64_t session, const char *text)
{
    return ask_of(client, SQL_EXECUTE, FILE_DB, (sql_ask){session, 0}, text);
}

static const char *answer(store_call *k)
{
    while (!store_call_is_done(k))
        loop_turn(l, 1000);
    const char *text = said(*store_call_answer(k));
    store_call_free(k);
    return text;
}

static const char *asks(uint64_t session, const char *text) { return answer(ask(session, text)); }

static const char *asks_of(uint16_t db, const char *text)
{
    return answer(ask_of(client, SQL_EXECUTE, db, (sql_ask){1, 0}, text));
}

static void close_session(uint64_t session)
{
    ask_of(client, SQL_CLOSE, FILE_DB, (sql_ask){session, 1}, "");
}

static void sessions(void **state)
{
    assert_int_equal(store_server_files_open(server), 0);
    assert_said(asks(1, "create table t (a)"), "");
    assert_int_equal(store_server_files_open(server), 1);
    assert_said(asks(1, "begin"), "");
    assert_said(asks(1, "insert into t values (1)"), "");
    assert_said(asks(1, "select count(*) from t"), "1");
    assert_said(asks(2, "select count(*) from t"), "0");
    assert_said(
        answer(ask_of(second, SQL_EXECUTE, FILE_DB, (sql_ask){1, 0}, "select count(*) from t")),
        "0"); /* numbers are each worker's own */
    close_session(1);
    assert_said(asks(2, "select count(*) from t"), "0");
    assert_said(answer(ask_of(client, SQL_EXECUTE, FILE_DB, (sql_ask){1, 1}, "select 1")),
                "! the connection was lost when the store process ended; a transaction in it was "
                "rolled back. Open another one");
    assert_said(asks(3, "create temp table x (a)"), "");
    assert_said(
        answer(ask_of(client, SQL_EXECUTE, FILE_DB, (sql_ask){3, 1}, "select count(*) from x")),
        "0");
    assert_said(asks(4, "select count(*) from x"), "! no such table: x");
    close_session(3);
    close_session(99);
    assert_said(asks(3, "select count(*) from x"), "! no such table: x");
    for (int i = 0; i < 4; i++) { /* used before, telling nothing of it */
        assert_said(asks(10 + (uint64_t)i, "select changes(), last_insert_rowid()"), "0,0");
        close_session(10 + (uint64_t)i);
    }
}

static void requests_that_are_none(void **state)
{
    assert_said(answer(ask_of(client, SQL_EXECUTE, DATABASES, (sql_ask){1, 0}, "select 1")),
                "! a damaged request");
    store_call *k = store_call_new(client, SQL_EXECUTE, FILE_DB);
    store_call_item(k, S("select 1"), &(bytes){(const uint8_t *)"short", 5});
    assert_true(store_call_send(k, on_done, NULL, &e));
    assert_said(answer(k), "! a damaged request");
    k = store_call_new(client, SQL_EXECUTE, FILE_DB);
    assert_true(store_call_send(k, on_done, NULL, &e));
    assert_said(answer(k), "! a damaged request");
    assert_said(asks(1, "begin"), "");
    assert_said(answer(ask_of(client, SQL_EXECUTE, MEMORY_DB, (sql_ask){1, 1}, "select 1")),
                "! a damaged request"); /* a session is of one database */
    assert_said(asks(1, "commit"), "");
    static char big[40000];
    memset(big, ' ', sizeof big - 1);
    memcpy(big, "select 5", 8);
    assert_said(asks(1, big), "5");
}

static void databases_in_memory(void **state)
{
    assert_said(asks_of(SCRIPTED_DB, "select a from s"), "7");
    assert_said(asks_of(MEMORY_DB, "select a from s"), "! no such table: s");
    assert_said(asks_of(MEMORY_DB, "create table t (a)"), "");
    ask_of(client, SQL_CLOSE, MEMORY_DB, (sql_ask){1, 1}, "");
    for (int i = 0; i < 3; i++)
        loop_turn(l, 1);
    ahead_s += 60; /* in memory they stay */
    for (int i = 0; i < 3; i++)
        loop_turn(l, 1);
    assert_int_equal(store_server_files_open(server), 2);
    assert_said(asks_of(MEMORY_DB, "select count(*) from t"), "0");
}

/* Who finds the file locked waits for the transaction's end, be it a commit or its session's. */
static void a_writer_is_waited_for(void **state)
{
    assert_said(asks(1, "create table t (a)"), "");
    for (int closes = 0; closes < 2; closes++) {
        assert_said(asks(1, "begin immediate"), "");
        assert_said(asks(1, "insert into t values (1)"), "");
        store_call *waits = ask(2, "insert into t values (2)");
        assert_said(asks(3, "select count(*) from t"), closes ? "2" : "0");
        assert_false(store_call_is_done(waits));
        if (closes)
            close_session(1);
        else
            assert_said(asks(1, "commit"), "");
        assert_said(answer(waits), "");
        close_session(2);
    }
    assert_said(asks(3, "select count(*) from t"), "3");
}

static void waiting_ends(void **state)
{
    assert_said(asks(1, "create table t (a)"), "");
    assert_said(asks(1, "begin immediate"), "");
    store_call *waits = ask(2, "insert into t values (2)"), *closed = ask(3, "delete from t");
    assert_said(asks(4, "select 1"), "1");
    ahead_s += 4;
    assert_said(asks(4, "select 1"), "1");
    assert_false(store_call_is_done(waits));
    close_session(3);
    assert_said(answer(closed), "! the connection was closed");
    assert_false(store_call_is_done(waits));
    ahead_s += 2;
    assert_said(answer(waits), "! database is locked");
    store_call *other = ask(2, "insert into t values (2)");
    assert_said(asks(1, "commit"), "");
    assert_said(answer(other), "");
}

static const char slow[] = "with recursive n(i) as (select 1 union all select i + 1 from n limit"
                           " 200000) select count(*) from n";
static const char endless[] =
    "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";

/* What takes longer than a millisecond, or may, is carried out beside others. */
static void long_statements(void **state)
{
    assert_said(asks(1, "create table t (a)"), "");
    store_call *long_one = ask(1, slow);
    assert_said(asks(2, "select 1"), "1");
    assert_said(answer(long_one), "200000");
    assert_said(asks(1, "begin"), "");
    assert_said(asks(1, "insert into t values (1)"), "");
    assert_said(asks(1, "commit"), "");
    assert_said(asks(3, "attach ':memory:' as m"), "");
    assert_said(asks(3, "create table m.x (a)"), "");
    assert_said(asks(3, "select count(*) from m.x"), "0");
    close_session(3);
    assert_said(asks(4, "select count(*) from m.x"), "! no such table: m.x");
    assert_said(asks(2, "select count(*) from t"), "1");
}

/* Four at a time; others wait; each ends after 10 s, or with its session. */
static void endless_statements(void **state)
{
    enum { N = 6 };
    store_call *all[N];
    for (uint64_t i = 0; i < N; i++)
        all[i] = ask(1 + i, endless);
    assert_said(asks(20, "select 1"), "1");
    for (int i = 0; i < 5; i++)
        loop_turn(l, 5);
    for (int i = 0; i < N; i++)
        assert_false(store_call_is_done(all[i]));
    close_session(N); /* it waits */
    assert_said(answer(all[N - 1]), "! the connection was closed");
    close_session(1); /* it runs */
    assert_said(answer(all[0]), "! the connection was closed");
    for (int i = 1; i < N - 1; i++) {
        while (!store_call_is_done(all[i])) {
            ahead_s += 11;
            loop_turn(l, 5);
        }
        assert_said(answer(all[i]),
                    "! the statement ran for 10 s, which is the limit, and was stopped");
    }
    assert_said(asks(20, "select 1"), "1");
}

/* A worker that ends takes along what it had open and what it runs. */
static void a_worker_ends(void **state)
{
    assert_said(asks(1, "create table t (a)"), "");
    sql_ask one = {1, 0}, two = {2, 0}, three = {3, 0};
    store_call *begins = ask_of(second, SQL_EXECUTE, FILE_DB, one, "begin immediate");
    assert_said(answer(begins), "");
    store_call *runs_on = ask_of(second, SQL_EXECUTE, FILE_DB, two, endless);
    store_call *locked = ask_of(second, SQL_EXECUTE, FILE_DB, three, "delete from t");
    store_call *waits = ask(1, "insert into t values (1)");
    for (int i = 0; i < 5; i++)
        loop_turn(l, 5);
    store_call_free(runs_on);
    store_call_free(locked);
    store_client_free(second);
    second = NULL;
    assert_said(answer(waits), "");
    assert_said(asks(2, "select count(*) from t"), "1");
    assert_int_equal(store_server_connections(server), 1);
}

static void idle_and_moved_files(void **state)
{
    char wal[96], moved[96];
    snprintf(wal, sizeof wal, "%s-wal", path);
    snprintf(moved, sizeof moved, "%s.moved", path);
    assert_said(asks(1, "create table t (a)"), "");
    assert_said(asks(1, "begin"), "");
    ahead_s += 60; /* a session keeps it */
    for (int i = 0; i < 3; i++)
        loop_turn(l, 1);
    assert_int_equal(store_server_files_open(server), 1);
    close_session(1);
    for (int i = 0; i < 3; i++)
        loop_turn(l, 1);
    ahead_s += 8;
    for (int i = 0; i < 3; i++)
        loop_turn(l, 1);
    assert_int_equal(store_server_files_open(server), 1);
    assert_said(asks(2, "select count(*) from t"), "0");
    ahead_s += 8;
    for (int i = 0; i < 3; i++)
        loop_turn(l, 1);
    assert_int_equal(store_server_files_open(server), 1);
    ahead_s += 3;
    for (int i = 0; i < 3; i++)
        loop_turn(l, 1);
    assert_int_equal(store_server_files_open(server), 0);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_not_equal(access(wal, F_OK), 0);
    assert_said(asks(2, "select count(*) from t"), "0");
    assert_int_equal(rename(path, moved), 0); /* the next one opens what is there then: nothing */
    loop_turn(l, 1);
    assert_said(asks(2, "select count(*) from t"), "! no such table: t");
    assert_int_equal(access(path, F_OK), 0);
}

/* A log that has become long is written back while others go on. */
static void a_long_log_is_written_back(void **state)
{
    struct stat st;
    assert_said(asks(1, "create table t (a)"), "");
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size < 100000);
    assert_said(asks(1, "insert into t values (zeroblob(5000000))"), "");
    ns give_up = clock_mono() + 30 * NS_PER_S;
    while (stat(path, &st) == 0 && st.st_size < 5000000 && clock_mono() < give_up)
        loop_turn(l, 5);
    assert_true(st.st_size >= 5000000);
    assert_said(asks(1, "select length(a) from t"), "5000000");
}

/* Many at once, of two workers: each commit is there, and nobody is forgotten. */
static void many_sessions(void **state)
{
    enum { N = 300 };
    static store_call *all[N];
    assert_said(asks(1, "create table t (a integer primary key)"), "");
    for (uint64_t i = 0; i < N; i++) {
        char text[64];
        snprintf(text, sizeof text, "insert into t values (%d)", (int)i);
        all[i] = ask_of(i % 2 ? client : second, SQL_EXECUTE, FILE_DB, (sql_ask){2 + i, 0}, text);
    }
    for (int i = 0; i < N; i++)
        assert_said(answer(all[i]), "");
    for (uint64_t i = 0; i < N; i++)
        ask_of(i % 2 ? client : second, SQL_CLOSE, FILE_DB, (sql_ask){2 + i, 1}, "");
    assert_said(asks(1, "select count(*), sum(a) from t"), "300,44850");
    store_server_free(server);
    server_start();
    connect_client(client);
    connect_client(second);
    assert_said(asks(1, "select count(*), sum(a) from t"), "300,44850");
}

/* The server goes while statements wait and run. */
static void the_server_ends(void **state)
{
    assert_said(asks(1, "create table t (a)"), "");
    assert_said(asks(1, "begin immediate"), "");
    store_call *locked = ask(2, "insert into t values (1)"), *runs_on = ask(3, endless);
    for (int i = 0; i < 5; i++)
        loop_turn(l, 5);
    store_server_free(server);
    server = NULL;
    assert_said(answer(locked), "! the ");
    assert_said(answer(runs_on), "! the ");
    server_start();
    connect_client(client);
    assert_said(asks(1, "select count(*) from t"), "0");
}

static void a_damaged_file(void **state)
{
    FILE *f = fopen(path, "w");
    for (int i = 0; i < 100; i++)
        fputs("this is no database, as anybody can see\n", f);
    fclose(f);
    for (int i = 0; i < 2; i++)
        assert_said(asks(1, "select 1"), "! file is not a database (SQLite 26)");
    assert_int_equal(store_server_files_open(server), 0);
    unlink(path);
    assert_said(asks(1, "select 1"), "1");
}

int main(void)
{
#define ONE(f) cmocka_unit_test_setup_teardown(f, open_one, close_one)
#define ALL(f) cmocka_unit_test_setup_teardown(f, open_all, close_all)
    const struct CMUnitTest tests[] = {
        ONE(values_both_ways),
        ONE(parameters_that_do_not_fit),
        ONE(what_is_left_of_a_session),
        ONE(changes_are_the_sessions_own),
        ONE(settings_that_are_ours),
        ONE(what_is_not_allowed),
        ONE(limits),
        ONE(budgets),
        ONE(what_is_over_is_not_stopped),
        ONE(locks_and_commits),
        ONE(views),
        ONE(statements_that_are_kept),
        ONE(tables_that_change),
        ONE(scripts_of_ours),
        ONE(files_that_do_not_open),
        ONE(memory_of_an_account),
        ALL(sessions),
        ALL(requests_that_are_none),
        ALL(databases_in_memory),
        ALL(a_writer_is_waited_for),
        ALL(waiting_ends),
        ALL(long_statements),
        ALL(endless_statements),
        ALL(a_worker_ends),
        ALL(idle_and_moved_files),
        ALL(a_long_log_is_written_back),
        ALL(many_sessions),
        ALL(the_server_ends),
        ALL(a_damaged_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
