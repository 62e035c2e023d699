/* A store process that has a folder of states: what the numbers of workers mean, where the files of
 * an app are, and when they go. */
#include "folder_kit.h"
#include "workers_kit.h"

#include "base/limits.h"

#include <sys/socket.h>

static void server_start(const char *folder)
{
    server_new(&(store_config){.state_dir = str_from(folder)});
}

static int open_all(void **state)
{
    if (!folder_make("/tmp/ebb-state") || !workers_make())
        return -1;
    server_start(dir);
    connect_client(client);
    connect_client(second);
    return 0;
}

static int close_all(void **state)
{
    workers_end();
    return folder_remove(dir);
}

static uint16_t name(store_client *c, uint64_t app, str label, bool is_database)
{
    uint16_t n = 0;
    if (!store_client_name(c, app, label, is_database, &n, &e))
        fail_msg("%s", e.text);
    return n;
}

static store_call *sent(store_call *k)
{
    assert_true(store_call_send(k, on_done, NULL, &e));
    return k;
}

/* The value of the answer's first item, or "! " and why there is none. */
static const char *answered(store_call *k)
{
    static char text[256];
    store_item i = {0};
    while (!store_call_is_done(k))
        loop_turn(l, 1000);
    store_message *m = store_call_answer(k);
    bool one = store_message_next(m, &i);
    if (m->kind != STORE_OK)
        snprintf(text, sizeof text, "! %.*s", STR(i.key));
    else
        snprintf(text, sizeof text, "%.*s", one ? (int)i.value.n : 0, (const char *)i.value.p);
    store_call_free(k);
    return text;
}

static const char *set(store_client *c, uint16_t store, const char *value)
{
    store_call *k = store_call_new(c, KV_SET, store);
    store_call_item(k, S("k"), &(bytes){(const uint8_t *)value, strlen(value)});
    return answered(sent(k));
}

static store_call *get_sent(store_client *c, uint16_t store)
{
    store_call *k = store_call_new(c, KV_GET, store);
    store_call_item(k, S("k"), NULL);
    return sent(k);
}

static const char *get(store_client *c, uint16_t store) { return answered(get_sent(c, store)); }

/* NULL: it has run. */
static const char *sql(store_client *c, uint16_t db, const char *text)
{
    static const sql_ask ask = {1, 0};
    store_call *k = store_call_new(c, SQL_EXECUTE, db);
    store_call_item(k, str_from(text), &(bytes){(const uint8_t *)&ask, sizeof ask});
    const char *got = answered(sent(k));
    return got[0] == '!' ? got : NULL;
}

static mode_t mode_of(const char *rest)
{
    char path[512];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", dir, rest);
    return stat(path, &st) == 0 ? st.st_mode : 0;
}

static void each_app_has_a_folder(void **state)
{
    uint16_t one = name(client, 7, S("default"), false), two = name(client, 8, S("default"), false),
             other = name(client, 7, S("other"), false);
    for (int i = 0; i < 3; i++)
        loop_turn(l, 1);
    assert_int_equal(mode_of("7"), 0); /* a name alone makes nothing */
    assert_string_equal(set(client, one, "seven"), "");
    assert_true(mode_of("7") == (S_IFDIR | 0700) && S_ISREG(mode_of("7/kv.db")));
    assert_int_equal(mode_of("8"), 0);
    assert_string_equal(set(client, two, "eight"), "");
    assert_true(S_ISREG(mode_of("8/kv.db")));
    assert_string_equal(get(client, one), "seven");
    assert_string_equal(get(client, two), "eight");
    assert_string_equal(get(client, other), ""); /* another store of the same file */
    assert_string_equal(set(client, other, "theirs"), "");
    assert_string_equal(get(client, one), "seven");
    assert_int_equal(store_server_files_open(server), 2);
    /* Another worker has its own numbers for the same things. */
    name(second, 9, S("default"), false);
    uint16_t same = name(second, 7, S("default"), false);
    assert_string_equal(get(second, same), "seven");
    assert_int_equal(store_server_files_open(server), 2);
}

static void names_of_databases(void **state)
{
    static char hundred[101];
    static const struct {
        const char *label, *file;
    } at[] = {
        {"main", "7/sql_main.db"},   {"az-09", "7/sql_az-09.db"},    {"A", "7/sqlx_41.db"},
        {"a b", "7/sqlx_612062.db"}, {"`", "7/sqlx_60.db"},          {"{", "7/sqlx_7b.db"},
        {"/", "7/sqlx_2f.db"},       {":", "7/sqlx_3a.db"},          {"..", "7/sqlx_2e2e.db"},
        {"", "7/sqlx_.db"},          {"\xc3\xa4", "7/sqlx_c3a4.db"},
    };
    char path[400];
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        uint16_t db = name(client, 7, str_from(at[i].label), true);
        assert_int_equal(mode_of(at[i].file), 0);
        assert_null(sql(client, db, "create table t (a)"));
        if (!S_ISREG(mode_of(at[i].file)))
            fail_msg("no file %s", at[i].file);
    }
    memset(hundred, 'L', sizeof hundred);
    uint16_t longest = name(client, 7, (str){hundred, 100}, true);
    assert_null(sql(client, longest, "create table t (a)"));
    size_t n = (size_t)snprintf(path, sizeof path, "7/sqlx_");
    for (int i = 0; i < 100; i++)
        n += (size_t)snprintf(path + n, sizeof path - n, "4c");
    snprintf(path + n, sizeof path - n, ".db");
    assert_true(S_ISREG(mode_of(path)));
    uint16_t longer = name(client, 7, (str){hundred, 101}, true);
    assert_string_equal(sql(client, longer, "select 1"), "! a damaged request");
    assert_string_equal(get(client, longest), "! there is no such store"); /* a database */
    uint16_t store = name(client, 7, S("default"), false);
    assert_string_equal(sql(client, store, "select 1"), "! a damaged request");
    /* One file, whoever has it open. */
    assert_null(sql(second, name(second, 7, S("main"), true), "insert into t values (1)"));
}

static void numbers_come_and_go(void **state)
{
    uint16_t one = name(client, 1, S("default"), false);
    assert_string_equal(set(client, one, "one"), "");
    store_call *under_way = get_sent(client, one);
    store_client_unname(client, one);
    assert_string_equal(answered(under_way), "one"); /* sent before */
    assert_string_equal(get(client, one), "! there is no such store");
    assert_string_equal(sql(client, one, "select 1"), "! a damaged request");
    assert_int_equal(store_server_files_open(server), 0); /* nobody has it */
    uint16_t again = name(client, 1, S("default"), false);
    assert_int_not_equal(again, one); /* as late as possible */
    assert_string_equal(get(client, again), "one");
    assert_string_equal(get(client, 63), "! there is no such store");
    assert_string_equal(get(client, 64), "! there is no such store");
    assert_string_equal(get(client, UINT16_MAX), "! there is no such store");
}

/* More than the first table holds; each means what it was said to, also to the next process. */
static void many_numbers(void **state)
{
    enum { N = 150 };
    uint16_t numbers[N];
    char value[16];
    for (int i = 0; i < N; i++) {
        numbers[i] = name(client, (uint64_t)i + 1, S("default"), false);
        for (int k = 0; k < i; k++)
            assert_int_not_equal(numbers[k], numbers[i]);
    }
    for (int i = 0; i < N; i += 7) {
        snprintf(value, sizeof value, "v%d", i);
        assert_string_equal(set(client, numbers[i], value), "");
    }
    store_client_unname(client, numbers[14]);
    store_server_free(server);
    server_start(dir);
    while (store_client_connected(client))
        loop_turn(l, 1000);
    uint16_t late = name(client, 1000, S("default"), false); /* while there is no process */
    store_call *waits = get_sent(client, numbers[7]);
    connect_client(client);
    assert_string_equal(answered(waits), "v7");
    for (int i = 0; i < N; i += 7) {
        snprintf(value, sizeof value, "v%d", i);
        assert_string_equal(get(client, numbers[i]), i == 14 ? "! there is no such store" : value);
    }
    assert_string_equal(set(client, late, "late"), "");
    assert_string_equal(get(client, late), "late");
    assert_true(S_ISREG(mode_of("1000/kv.db")));
}

static void a_name_that_is_none(void **state)
{
    static const size_t sizes[] = {0, 15, 17};
    static const store_naming naming = {.app = 7};
    char space[64];
    for (int i = 0; i < 4; i++) {
        int fds[2];
        buf b;
        bytes value = {(const uint8_t *)&naming, i < 3 ? sizes[i] : sizeof naming};
        uint8_t longer[17] = {0};
        if (value.n > sizeof naming)
            value.p = longer;
        buf_init(&b, 1024);
        assert_true(channel_pair(fds, &e) && store_server_add_take(server, fds[0], &e));
        store_message_begin(&b, 0, STORE_NAME, 5);
        if (i < 3)
            store_message_item(&b, S("default"), &value);
        store_message_end(&b);
        assert_int_equal(send(fds[1], b.p, b.n, 0), b.n);
        while (store_server_connections(server) > 2)
            loop_turn(l, 1000);
        assert_int_equal(recv(fds[1], space, sizeof space, 0), 0);
        close(fds[1]);
        buf_fini(&b);
    }
}

/* A folder whose name leaves no room for those of files, and one that just does: SQLite says what
 * it thinks of it. */
static void long_folders(void **state)
{
    static char at[4096];
    for (size_t longer = 0; longer < 2; longer++) {
        size_t n = 4096 - 4 * STORE_LABEL_BYTES_MAX - 3 + longer; /* "/7" follows */
        memset(at, 'f', n);
        memcpy(at, dir, strlen(dir));
        at[strlen(dir)] = '/';
        at[n] = 0;
        store_server_free(server);
        server_start(at);
        while (store_client_connected(client))
            loop_turn(l, 1000);
        connect_client(client);
        uint16_t store = name(client, 7, S("default"), false);
        assert_string_equal(get(client, store),
                            longer ? "! there is no such store"
                                   : "! the store's file: unable to open database file "
                                     "(SQLite 14)");
        store_client_unname(client, store);
    }
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, open_all, close_all)
    const struct CMUnitTest tests[] = {
        CASE(each_app_has_a_folder), CASE(names_of_databases),  CASE(numbers_come_and_go),
        CASE(many_numbers),          CASE(a_name_that_is_none), CASE(long_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
