/* Key-value requests against a file and in memory, without processes. */
#include "unit.h"

#include "base/limits.h"
#include "store/kv_file.h"

#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/ebb-store-XXXXXX";
static char path[64];
static kv_file *f;
static buf request, answer;
static err e;

static int begin(void **state)
{
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/kv.db", dir);
    buf_init(&request, STORE_MESSAGE_BYTES_MAX);
    buf_init(&answer, STORE_MESSAGE_BYTES_MAX);
    return 0;
}

static int end(void **state)
{
    buf_fini(&request);
    buf_fini(&answer);
    return rmdir(dir);
}

static void reopen(void)
{
    kv_file_close(f);
    f = NULL;
    if (!kv_file_open(path, &f, &e))
        fail_msg("%s", e.text);
}

static int test_open(void **state)
{
    reopen();
    return 0;
}

static int test_close(void **state)
{
    kv_file_close(f);
    f = NULL;
    return unlink(path);
}

static void ask(store_kind kind)
{
    buf_clear(&request);
    store_message_begin(&request, 7, kind, 3);
}

static void item(const char *key, const char *value)
{
    bytes v = {(const uint8_t *)value, value ? strlen(value) : 0};
    store_message_item(&request, str_from(key), value ? &v : NULL);
}

/* Sends what was asked; checks the kind of the answer and gives its items. */
static store_message get_answer(store_kind want)
{
    store_message m, a;
    store_message_end(&request);
    assert_true(store_message_read(buf_bytes(&request), false, &m, &e));
    if (!kv_file_apply(f, S("default"), m, &answer, &e))
        fail_msg("%s", e.text);
    assert_true(store_message_read(buf_bytes(&answer), false, &a, &e));
    assert_int_equal(a.id, 7);
    assert_int_equal(a.store, 3);
    assert_int_equal(a.kind, want);
    return a;
}

static void put(const char *key, const char *value)
{
    ask(KV_SET);
    item(key, value);
    assert_int_equal(get_answer(STORE_OK).count, 0);
}

static void has(const char *key, const char *value)
{
    store_item i;
    ask(KV_GET);
    item(key, NULL);
    store_message a = get_answer(STORE_OK);
    assert_true(store_message_next(&a, &i));
    assert_true(str_eq(i.key, str_from(key)));
    assert_int_equal(i.has_value, value != NULL);
    if (value)
        assert_true(str_eq((str){(const char *)i.value.p, i.value.n}, str_from(value)));
}

static int64_t add(const char *key, int64_t delta)
{
    store_item i;
    int64_t sum;
    bytes d = {(const uint8_t *)&delta, sizeof delta};
    ask(KV_INCREMENT);
    store_message_item(&request, str_from(key), &d);
    store_message a = get_answer(STORE_OK);
    assert_true(store_message_next(&a, &i) && i.value.n == sizeof sum);
    memcpy(&sum, i.value.p, sizeof sum);
    return sum;
}

static void begins(void) { assert_true(kv_file_begin(f, &e)); }
static void commits(void)
{
    if (!kv_file_commit(f, &e))
        fail_msg("%s", e.text);
}

static void test_get_set_delete(void **state)
{
    begins();
    has("a", NULL);
    put("a", "1");
    put("", "empty key");
    put("b", "");
    has("a", "1");
    has("", "empty key");
    has("b", "");
    put("a", "22");
    has("a", "22");
    ask(KV_DELETE);
    item("a", NULL);
    item("never", NULL);
    get_answer(STORE_OK);
    has("a", NULL);
    commits();
}

static void test_exists(void **state)
{
    store_item i;
    begins();
    put("here", "x");
    for (int k = 0; k < 2; k++) {
        ask(KV_EXISTS);
        item(k ? "gone" : "here", NULL);
        store_message a = get_answer(STORE_OK);
        assert_true(store_message_next(&a, &i));
        assert_int_equal(i.has_value, k == 0);
    }
    commits();
}

static void test_keys_are_of_one_store(void **state)
{
    store_item i;
    store_message m;
    begins();
    put("one", "1");
    put("two", "2");
    ask(KV_SET);
    item("three", "3");
    store_message_end(&request);
    assert_true(store_message_read(buf_bytes(&request), false, &m, &e));
    assert_true(kv_file_apply(f, S("other"), m, &answer, &e));
    ask(KV_KEYS);
    store_message a = get_answer(STORE_OK);
    unsigned seen = 0;
    while (store_message_next(&a, &i))
        seen |= str_eq(i.key, S("one")) ? 1u : str_eq(i.key, S("two")) ? 2u : 4u;
    assert_int_equal(a.count, 0);
    assert_int_equal(seen, 3);
    has("three", NULL);
    commits();
}

static void test_increment(void **state)
{
    begins();
    assert_int_equal(add("n", 5), 5);
    assert_int_equal(add("n", -7), -2);
    assert_int_equal(add("max", INT64_MAX), INT64_MAX);
    int64_t one = 1;
    bytes d = {(const uint8_t *)&one, sizeof one};
    ask(KV_INCREMENT);
    store_message_item(&request, S("max"), &d);
    get_answer(STORE_FAILED);
    assert_int_equal(add("max", 0), INT64_MAX);
    assert_int_equal(add("min", INT64_MIN), INT64_MIN);
    assert_int_equal(add("min", INT64_MAX), -1);
    for (int n = 7; n <= 9; n += 2) { /* no eight bytes */
        bytes near = {(const uint8_t *)"123456789", (size_t)n};
        ask(KV_SET);
        store_message_item(&request, S("near"), &near);
        get_answer(STORE_OK);
        ask(KV_INCREMENT);
        store_message_item(&request, S("near"), &d);
        get_answer(STORE_FAILED);
    }
    put("text", "no number");
    ask(KV_INCREMENT);
    store_message_item(&request, S("text"), &d);
    get_answer(STORE_FAILED);
    has("text", "no number");
    commits();
}

static void swap(const char *key, const char *old, const char *new, store_kind want,
                 const char *now)
{
    store_item i;
    ask(KV_SWAP);
    item(key, new);
    item("", old);
    store_message a = get_answer(want);
    if (want != KV_CHANGED)
        return;
    assert_true(store_message_next(&a, &i));
    assert_int_equal(i.has_value, now != NULL);
    if (now)
        assert_true(str_eq((str){(const char *)i.value.p, i.value.n}, str_from(now)));
}

/* Its items: k: a key; v: with a value; 8: with a number. */
static store_message request_of(store_kind kind, const char *items)
{
    store_message m;
    ask(kind);
    for (const char *p = items; *p; p++)
        item("key", *p == 'k' ? NULL : *p == 'v' ? "value" : "12345678");
    store_message_end(&request);
    assert_true(store_message_read(buf_bytes(&request), false, &m, &e));
    return m;
}

/* Another program has dropped the table: every request fails, and says why. */
static void a_file_without_its_table(void **state)
{
    static const struct {
        store_kind kind;
        const char *items;
    } at[] = {{KV_GET, "k"},   {KV_EXISTS, "k"}, {KV_KEYS, ""},
              {KV_SET, "v"},   {KV_SET, "vv"},   {KV_DELETE, "k"},
              {KV_SWAP, "vk"}, {KV_SWAP, "vv"},  {KV_INCREMENT, "8"}};
    sqlite3 *db;
    put("key", "value");
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "drop table spin_key_value", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        store_message m = request_of(at[i].kind, at[i].items);
        e = (err){0};
        assert_false(kv_file_apply(f, S("default"), m, &answer, &e));
        if (!strstr(e.text, "no such table"))
            fail_msg("%zu: %s", i, e.text);
    }
}

static void test_swap(void **state)
{
    begins();
    swap("k", "old", "new", KV_CHANGED, NULL);
    swap("k", NULL, "first", STORE_OK, NULL);
    swap("k", NULL, "second", KV_CHANGED, "first");
    swap("k", "firs", "second", KV_CHANGED, "first");
    swap("k", "fiRst", "second", KV_CHANGED, "first"); /* as long */
    swap("k", "first", "second", STORE_OK, NULL);
    has("k", "second");
    swap("k", "", "third", KV_CHANGED, "second");
    swap("gone", "", "x", KV_CHANGED, NULL);
    put("empty", "");
    swap("empty", NULL, "x", KV_CHANGED, "");
    swap("empty", "", "x", STORE_OK, NULL);
    commits();
}

static void test_committed_is_there_after_reopening_and_the_rest_is_not(void **state)
{
    begins();
    put("kept", "1");
    commits();
    begins();
    put("lost", "1");
    reopen(); /* closes without commit */
    has("kept", "1");
    has("lost", NULL);
    begins();
    put("back", "1");
    kv_file_rollback(f);
    has("back", NULL);
    assert_int_equal(access(path, R_OK), 0);
}

/* Spin opens the file with this schema and default settings. */
static void test_file_is_spins(void **state)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    begins();
    put("k", "v");
    commits();
    kv_file_close(f);
    f = NULL;
    char wal[80];
    snprintf(wal, sizeof wal, "%s-wal", path);
    assert_int_not_equal(access(wal, F_OK), 0);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db,
                                        "SELECT typeof(store), store, typeof(key), key, "
                                        "typeof(value), value FROM spin_key_value",
                                        -1, &s, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    const char *want[] = {"text", "default", "text", "k", "blob", "v"};
    for (int i = 0; i < 6; i++)
        assert_string_equal((const char *)sqlite3_column_text(s, i), want[i]);
    sqlite3_finalize(s);
    assert_int_equal(sqlite3_exec(db, "INSERT INTO spin_key_value VALUES('default','by','spin')",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    reopen();
    has("by", "spin");
}

static void test_limits(void **state)
{
    static char long_key[STORE_KEY_BYTES_MAX + 2];
    begins();
    memset(long_key, 'k', STORE_KEY_BYTES_MAX);
    put(long_key, "fits");
    has(long_key, "fits");
    long_key[STORE_KEY_BYTES_MAX] = 'k';
    ask(KV_SET);
    item(long_key, "x");
    get_answer(STORE_FAILED);
    ask(KV_SET);
    item("\xff", "x");
    get_answer(STORE_FAILED);
    ask(KV_SET); /* all or nothing */
    item("good", "x");
    item("bad\xff", "x");
    get_answer(STORE_FAILED);
    has("good", NULL);
    ask(KV_SET);
    item("no value", NULL);
    get_answer(STORE_FAILED);
    buf small;
    buf_init(&small, 200);
    put("big", "0123456789012345678901234567890123456789012345678901234567890123456789"
               "0123456789012345678901234567890123456789012345678901234567890123456789"
               "0123456789012345678901234567890123456789012345678901234567890123456789");
    store_message m, a;
    ask(KV_GET);
    item("big", NULL);
    store_message_end(&request);
    assert_true(store_message_read(buf_bytes(&request), false, &m, &e));
    assert_true(kv_file_apply(f, S("default"), m, &small, &e));
    assert_true(store_message_read(buf_bytes(&small), false, &a, &e));
    assert_int_equal(a.kind, STORE_FAILED);
    buf_fini(&small);
    commits();
}

/* What the items of each kind have to be. */
static void test_shapes_of_requests(void **state)
{
    static const struct {
        store_kind kind;
        const char *items; /* 'k': a key, 'v': with a value, '8': of eight bytes */
        const char *problem;
    } at[] = {
        {KV_GET, "", NULL},
        {KV_GET, "kvk", NULL},
        {KV_DELETE, "", NULL},
        {KV_SET, "", NULL},
        {KV_SET, "vk", "a request without its value"},
        {KV_EXISTS, "k", NULL},
        {KV_EXISTS, "", "a request with the wrong number of keys"},
        {KV_EXISTS, "kk", "a request with the wrong number of keys"},
        {KV_KEYS, "", NULL},
        {KV_KEYS, "k", "a request with the wrong number of keys"},
        {KV_INCREMENT, "8", NULL},
        {KV_INCREMENT, "k", "no delta"},
        {KV_INCREMENT, "v", "no delta"},
        {KV_INCREMENT, "", "no delta"},
        {KV_INCREMENT, "88", "no delta"},
        {KV_SWAP, "vk", NULL},
        {KV_SWAP, "vv", NULL},
        {KV_SWAP, "kv", "no value to swap in"},
        {KV_SWAP, "v", "no value to swap in"},
        {KV_SWAP, "vvv", "no value to swap in"},
        {KV_LEND, "v", "an unknown request"},
        {SQL_EXECUTE, "", "an unknown request"},
    };
    begins();
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        store_item said, first[2];
        store_message m = request_of(at[i].kind, at[i].items);
        const char *problem = kv_request_problem(m, first);
        if ((problem == NULL) != (at[i].problem == NULL) ||
            (problem && strcmp(problem, at[i].problem) != 0))
            fail_msg("%d '%s': %s", at[i].kind, at[i].items, problem ? problem : "is one");
        assert_true(kv_file_apply(f, S("default"), m, &answer, &e));
        assert_true(store_message_read(buf_bytes(&answer), false, &m, &e));
        if (!problem)
            continue;
        assert_true(m.kind == STORE_FAILED && store_message_next(&m, &said));
        assert_true(str_eq(said.key, str_from(problem)));
    }
    commits();
}

/* A request of several items is all or nothing, and so is a transaction of several requests. */
static void test_failures_of_the_file(void **state)
{
    sqlite3 *db;
    store_message m;
    begins();
    put("before", "1");
    commits();
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "CREATE TRIGGER no BEFORE INSERT ON spin_key_value WHEN "
                                  "new.key = 'never' BEGIN SELECT RAISE(ABORT, 'no'); END",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    begins();
    put("first", "1");
    ask(KV_SET);
    item("good", "x");
    item("never", "x");
    item("late", "x");
    store_message_end(&request);
    assert_true(store_message_read(buf_bytes(&request), false, &m, &e));
    assert_false(kv_file_apply(f, S("default"), m, &answer, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_string_equal(e.text, "the store's file: no (SQLite 1811)");
    kv_file_rollback(f);
    kv_file_rollback(f);
    begins();
    has("first", NULL);
    has("good", NULL);
    has("before", "1");
    commits();
    assert_false(kv_file_commit(f, &e)); /* none was begun */
    assert_int_equal(e.code, ERR_IO);
    const str pairs[] = {S("a"), S("1"), S("never"), S("2")};
    assert_false(kv_file_preset(f, S("default"), pairs, 4, &e));
    begins();
    has("a", NULL);
    assert_int_equal(sqlite3_exec(db, "DROP TABLE spin_key_value", NULL, NULL, NULL), SQLITE_BUSY);
    kv_file_rollback(f);
    assert_int_equal(sqlite3_exec(db, "DROP TABLE spin_key_value", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    static const store_kind kinds[] = {KV_GET, KV_EXISTS, KV_DELETE};
    begins();
    for (int i = 0; i < 4; i++) {
        ask(i < 3 ? kinds[i] : KV_KEYS);
        if (i < 3)
            item("k", NULL);
        store_message_end(&request);
        assert_true(store_message_read(buf_bytes(&request), false, &m, &e));
        assert_false(kv_file_apply(f, S("default"), m, &answer, &e));
        assert_non_null(strstr(e.text, "no such table"));
    }
    kv_file_rollback(f);
}

static void test_preset(void **state)
{
    const str pairs[] = {S("a"), S("1"), S(""), S(""), S("odd")};
    begins();
    put("a", "before");
    commits();
    assert_true(kv_file_preset(f, S("default"), NULL, 0, &e));
    assert_true(kv_file_preset(f, S("default"), pairs, 5, &e)); /* the last one has no value */
    begins();
    has("a", "1");
    has("", "");
    has("odd", NULL);
    assert_false(kv_file_preset(f, S("default"), pairs, 2, &e)); /* in a transaction */
    commits();
}

/* Of a file, its log and its index; none of what is in memory, has moved, or is no part. */
static void test_lent_parts(void **state)
{
    char moved[80], head[16];
    int fds[3];
    kv_file *memory;
    begins();
    put("k", "v");
    commits();
    for (unsigned part = 0; part < 3; part++) {
        fds[part] = kv_file_lend(f, part);
        assert_true(fds[part] >= 0);
        assert_int_equal(kv_file_lend(f, part), fds[part]); /* one of each */
        for (unsigned k = 0; k < part; k++)
            assert_int_not_equal(fds[part], fds[k]);
    }
    assert_int_equal(pread(fds[0], head, 16, 0), 16);
    assert_string_equal(head, "SQLite format 3");
    assert_int_equal(kv_file_lend(f, 3), -1);
    assert_int_equal(kv_file_lend(f, 1u << 31), -1);
    assert_true(kv_file_open(NULL, &memory, &e));
    assert_int_equal(kv_file_lend(memory, 0), -1);
    kv_file_close(memory);
    snprintf(moved, sizeof moved, "%s.moved", path);
    assert_int_equal(rename(path, moved), 0);
    assert_int_equal(kv_file_lend(f, 0), -1);
    assert_int_equal(rename(moved, path), 0);
    assert_int_equal(kv_file_lend(f, 0), fds[0]);
    kv_file_close(f);
    f = NULL;
    for (int i = 0; i < 3; i++)
        assert_int_equal(read(fds[i], head, 1), -1); /* they went with it */
    kv_file_close(NULL);
}

/* Keys that another program wrote and nobody can be given are left out; one store sees no other's.
 */
static void test_keys_of_other_programs(void **state)
{
    sqlite3 *db;
    store_item i;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "INSERT INTO spin_key_value VALUES ('default', cast(x'ff' as "
                                  "text), x'00'), ('default', 'good', x'0102'), ('Default', 'k', "
                                  "x'00')",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    begins();
    ask(KV_KEYS);
    store_message a = get_answer(STORE_OK);
    assert_int_equal(a.count, 1);
    assert_true(store_message_next(&a, &i));
    assert_str(i.key, "good");
    has("good", "\1\2");
    commits();
}

static void test_damaged_messages(void **state)
{
    store_message m;
    begins();
    ask(KV_SET);
    item("key", "value");
    store_message_end(&request);
    for (size_t n = 0; n < request.n; n++)
        assert_false(store_message_read((bytes){request.p, n}, false, &m, &e));
    for (size_t at = STORE_HEAD_BYTES; at < STORE_HEAD_BYTES + 4; at++) { /* the key's length */
        request.p[at] ^= 0x55;
        assert_true(store_message_read(buf_bytes(&request), false, &m, &e));
        assert_true(kv_file_apply(f, S("default"), m, &answer, &e));
        assert_true(store_message_read(buf_bytes(&answer), false, &m, &e));
        assert_int_equal(m.kind, STORE_FAILED);
        request.p[at] ^= 0x55;
    }
    request.p[8] = 99;
    assert_false(store_message_read(buf_bytes(&request), false, &m, &e));
    commits();
}

/* The largest value, rolled back. */
static void test_largest_value(void **state)
{
    store_message m;
    begins();
    put("before", "1");
    commits();
    reopen();
    buf_clear(&request);
    store_message_begin(&request, 7, KV_SET, 3);
    assert_true(buf_reserve(&request, 127 * MIB));
    bytes huge = {calloc(1, 127 * MIB), 127 * MIB};
    store_message_item(&request, S("huge"), &huge);
    free((void *)(uintptr_t)huge.p);
    store_message_end(&request);
    begins();
    assert_true(store_message_read(buf_bytes(&request), false, &m, &e));
    assert_true(kv_file_apply(f, S("default"), m, &answer, &e));
    kv_file_rollback(f);
    has("huge", NULL);
    has("before", "1");
}

static void test_not_a_database(void **state)
{
    kv_file *other = NULL;
    char name[80];
    snprintf(name, sizeof name, "%s/text", dir);
    FILE *t = fopen(name, "w");
    for (int i = 0; i < 1000; i++)
        fputs("this is no database, as anybody can see\n", t);
    fclose(t);
    assert_false(kv_file_open(name, &other, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_null(strstr(e.text, name)); /* guests see the text */
    assert_non_null(strstr(e.text, "backup"));
    assert_null(other);
    unlink(name);
    assert_false(kv_file_open("/nowhere/at/all.db", &other, &e));
    assert_int_equal(e.code, ERR_IO);
}

static void test_moved(void **state)
{
    assert_false(kv_file_moved(f));
    unlink(path);
    assert_true(kv_file_moved(f));
    reopen();
    assert_false(kv_file_moved(f));
}

static void test_memory(void **state)
{
    kv_file_close(f);
    f = NULL;
    assert_true(kv_file_open(NULL, &f, &e));
    begins();
    put("a", "1");
    commits();
    has("a", "1");
    assert_false(kv_file_moved(f));
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, test_open, test_close)
    const struct CMUnitTest tests[] = {
        T(test_get_set_delete),
        T(test_exists),
        T(test_keys_are_of_one_store),
        T(test_increment),
        T(a_file_without_its_table),
        T(test_swap),
        T(test_committed_is_there_after_reopening_and_the_rest_is_not),
        T(test_file_is_spins),
        T(test_limits),
        T(test_shapes_of_requests),
        T(test_failures_of_the_file),
        T(test_preset),
        T(test_lent_parts),
        T(test_keys_of_other_programs),
        T(test_damaged_messages),
        T(test_largest_value),
        T(test_not_a_database),
        T(test_moved),
        T(test_memory),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
