/* Every function of every version of the interfaces to state (spin.md 3.6) succeeds once and fails
 * once, as a component calls it, with the store's server on the same loop. What became of each call
 * is written down by host_kit.h and checked against the interfaces by tools/store_functions.py.
 *
 * Failures come from a label that was granted and that the store process knows nothing of, where a
 * function has no nearer one. */
#include "host_kit.h"

#include "loop/channel.h"
#include "store/client.h"
#include "store/server.h"

enum { AT = 1024, LIST = 2048, RESULT = 512 }; /* in guest memory */

static store_server *server;
static store_client *client;
static err e;
static const http_field variables[] = {{{"greeting", 8}, {"hello", 5}}};

static bool provider_fails(const void *user, str name, arena *a, str *ret_value, err *pe)
{
    return err_set(pe, ERR_IO, "the provider is away");
}

static int open_all(void **state)
{
    static const struct host_store stores[] = {{{"default", 7}, 0, NULL}, {{"gone", 4}, 7, NULL}};
    int fds[2];
    kv_store kv[] = {{S("default"), {0}}};
    sql_database sql[] = {{.label = S("default")}};
    store_config config = {.stores = kv, .stores_count = 1, .databases = sql, .databases_count = 1};
    assert_true(store_client_new(hk.l, &client, &e) &&
                store_server_new(hk.l, &config, &server, &e) && channel_pair(fds, &e) &&
                store_server_add_take(server, fds[0], &e));
    store_client_connect_take(client, fds[1]);
    hk.component = (host_component){.key_value_stores = stores,
                                    .key_value_stores_count = 2,
                                    .sql_databases = stores,
                                    .sql_databases_count = 2,
                                    .variables = variables,
                                    .variables_count = 1,
                                    .store = client};
    hk_open();
    return 0;
}

static int close_all(void **state)
{
    hk_close();
    store_client_free(client);
    store_server_free(server);
    return 0;
}

/* Turns the loop until the function that waits has ended. */
static void finish(engine_status s)
{
    while (s == ENGINE_WAIT) {
        int before = hk.wakes;
        while (hk.wakes == before)
            loop_turn(hk.l, 1000);
        s = kit_run(hk.in);
    }
    if (s != ENGINE_DONE)
        fail_msg("%s", engine_instance_trap(hk.in)->text);
}

#define call(interface, name, ...) finish(hk_start(hk_find(interface, name), HK_ARGS(__VA_ARGS__)))
/* The last argument is where the result goes. */
#define ok(interface, name, ...)                                                                   \
    do {                                                                                           \
        call(interface, name, __VA_ARGS__, RESULT);                                                \
        assert_int_equal(hk_u8(RESULT), 0);                                                        \
    } while (0)
#define fails(interface, name, error, ...)                                                         \
    do {                                                                                           \
        call(interface, name, __VA_ARGS__, RESULT);                                                \
        assert_int_equal(hk_u8(RESULT), 1);                                                        \
        assert_int_equal(hk_u8(RESULT + 4), error);                                                \
    } while (0)
#define KEY   AT, hk_put(AT, "key")
#define VALUE AT + 100, hk_put(AT + 100, "value")

static uint32_t open_label(const char *interface, const char *name, const char *label)
{
    ok(interface, name, AT, hk_put(AT, label));
    return hk_u32(RESULT + 4);
}

/* --- key-value -------------------------------------------------------------------------------- */

#define KV1 "fermyon:spin/key-value"
#define KV2 "fermyon:spin/key-value@2.0.0"

static void test_key_value_1(void **state)
{
    enum { NO_SUCH_KEY = 4, IO = 5 };
    uint32_t s = open_label(KV1, "open", "default"), gone = open_label(KV1, "open", "gone");
    fails(KV1, "open", 2, AT, hk_put(AT, "secret"));
    ok(KV1, "set", s, KEY, VALUE);
    ok(KV1, "get", s, KEY);
    hk_assert_str(RESULT + 4, "value");
    fails(KV1, "get", NO_SUCH_KEY, s, AT, hk_put(AT, "absent"));
    ok(KV1, "exists", s, KEY);
    assert_int_equal(hk_u8(RESULT + 4), 1);
    ok(KV1, "get-keys", s);
    assert_int_equal(hk_u32(RESULT + 8), 1);
    ok(KV1, "delete", s, KEY);
    ok(KV1, "exists", s, KEY);
    assert_int_equal(hk_u8(RESULT + 4), 0);
    fails(KV1, "set", IO, gone, KEY, VALUE);
    fails(KV1, "get", IO, gone, KEY);
    fails(KV1, "exists", IO, gone, KEY);
    fails(KV1, "get-keys", IO, gone);
    fails(KV1, "delete", IO, gone, KEY);
    call(KV1, "close", gone);
    fails(KV1, "get", 3, gone, KEY); /* invalid-store */
}

static void test_key_value_2(void **state)
{
    enum { OTHER = 3 };
    uint32_t s = open_label(KV2, "[static]store.open", "default");
    uint32_t gone = open_label(KV2, "[static]store.open", "gone");
    fails(KV2, "[static]store.open", 2, AT, hk_put(AT, "secret"));
    ok(KV2, "[method]store.set", s, KEY, VALUE);
    ok(KV2, "[method]store.get", s, KEY);
    assert_int_equal(hk_u8(RESULT + 4), 1);
    hk_assert_str(RESULT + 8, "value");
    ok(KV2, "[method]store.exists", s, KEY);
    assert_int_equal(hk_u8(RESULT + 4), 1);
    ok(KV2, "[method]store.get-keys", s);
    assert_int_equal(hk_u32(RESULT + 8), 1);
    ok(KV2, "[method]store.delete", s, KEY);
    ok(KV2, "[method]store.get", s, KEY);
    assert_int_equal(hk_u8(RESULT + 4), 0);
    fails(KV2, "[method]store.set", OTHER, gone, KEY, VALUE);
    fails(KV2, "[method]store.get", OTHER, gone, KEY);
    fails(KV2, "[method]store.exists", OTHER, gone, KEY);
    fails(KV2, "[method]store.get-keys", OTHER, gone);
    fails(KV2, "[method]store.delete", OTHER, gone, KEY);
}

#define STORE "wasi:keyvalue/store"
#define BATCH "wasi:keyvalue/batch"
#define CAS   "wasi:keyvalue/atomics"

enum { WASI_OTHER = 2 };

static void test_wasi_store(void **state)
{
    uint32_t s = open_label(STORE, "open", "default"), gone = open_label(STORE, "open", "gone");
    fails(STORE, "open", 1, AT, hk_put(AT, "secret"));
    ok(STORE, "[method]bucket.set", s, KEY, VALUE);
    ok(STORE, "[method]bucket.get", s, KEY);
    assert_int_equal(hk_u8(RESULT + 4), 1);
    hk_assert_str(RESULT + 8, "value");
    ok(STORE, "[method]bucket.exists", s, KEY);
    assert_int_equal(hk_u8(RESULT + 4), 1);
    ok(STORE, "[method]bucket.list-keys", s, 0, 0, 0);
    assert_int_equal(hk_u32(RESULT + 8), 1);
    fails(STORE, "[method]bucket.list-keys", WASI_OTHER, s, 1, AT, 1); /* a cursor */
    ok(STORE, "[method]bucket.delete", s, KEY);
    ok(STORE, "[method]bucket.exists", s, KEY);
    assert_int_equal(hk_u8(RESULT + 4), 0);
    fails(STORE, "[method]bucket.set", WASI_OTHER, gone, KEY, VALUE);
    fails(STORE, "[method]bucket.get", WASI_OTHER, gone, KEY);
    fails(STORE, "[method]bucket.exists", WASI_OTHER, gone, KEY);
    fails(STORE, "[method]bucket.delete", WASI_OTHER, gone, KEY);
}

/* Lists of one key, and of one pair. */
static void list_put(void)
{
    hk_put_u32(LIST, AT);
    hk_put_u32(LIST + 4, hk_put(AT, "key"));
    hk_put_u32(LIST + 8, AT + 100);
    hk_put_u32(LIST + 12, hk_put(AT + 100, "value"));
}

static void test_wasi_batch(void **state)
{
    uint32_t s = open_label(STORE, "open", "default"), gone = open_label(STORE, "open", "gone");
    list_put();
    ok(BATCH, "set-many", s, LIST, 1);
    ok(BATCH, "get-many", s, LIST, 1);
    assert_int_equal(hk_u32(RESULT + 8), 1);
    hk_assert_str(hk_u32(RESULT + 4), "key");
    hk_assert_str(hk_u32(RESULT + 4) + 12, "value");
    ok(BATCH, "delete-many", s, LIST, 1);
    ok(BATCH, "get-many", s, LIST, 1);
    assert_int_equal(hk_memory()[hk_u32(RESULT + 4) + 8], 0); /* none */
    fails(BATCH, "set-many", WASI_OTHER, gone, LIST, 1);
    fails(BATCH, "get-many", WASI_OTHER, gone, LIST, 1);
    fails(BATCH, "delete-many", WASI_OTHER, gone, LIST, 1);
}

static void test_wasi_atomics(void **state)
{
    uint32_t s = open_label(STORE, "open", "default"), gone = open_label(STORE, "open", "gone");
    ok(CAS, "increment", s, KEY, 5);
    call(CAS, "increment", s, KEY, (uint64_t)-7, RESULT);
    assert_int_equal((int64_t)hk_u64(RESULT + 8), -2);
    call(CAS, "increment", gone, KEY, 1, RESULT);
    assert_int_equal(hk_u8(RESULT), 1);
    assert_int_equal(hk_u8(RESULT + 8), WASI_OTHER);
    fails(CAS, "[static]cas.new", WASI_OTHER, gone, KEY);
    ok(CAS, "[static]cas.new", s, AT, hk_put(AT, "cas"));
    uint32_t cas = hk_u32(RESULT + 4);
    ok(CAS, "[method]cas.current", cas);
    assert_int_equal(hk_u8(RESULT + 4), 0); /* none yet */
    ok(CAS, "swap", cas, VALUE);
    ok(CAS, "[static]cas.new", s, AT, hk_put(AT, "cas"));
    cas = hk_u32(RESULT + 4);
    ok(CAS, "[method]cas.current", cas);
    assert_int_equal(hk_u8(RESULT + 4), 1);
    hk_assert_str(RESULT + 8, "value");
    ok(STORE, "[method]bucket.set", s, AT, hk_put(AT, "cas"), AT + 8, hk_put(AT + 8, "other"));
    fails(CAS, "swap", 1, cas, VALUE); /* cas-failed, with another handle */
    hk_wait(CAS, "[method]cas.current", hk_u32(RESULT + 8), RESULT);
    store_server_free(server);
    server = NULL;
    finish(ENGINE_WAIT);
    assert_int_equal(hk_u8(RESULT), 1);
    assert_int_equal(hk_u8(RESULT + 4), WASI_OTHER);
}

/* --- SQL -------------------------------------------------------------------------------------- */

#define SQL1 "fermyon:spin/sqlite"
#define SQL2 "fermyon:spin/sqlite@2.0.0"
#define SQL3 "spin:sqlite/sqlite@3.0.0"

enum { SQL_IO = 4 };
#define TEXT(sql) AT, hk_put(AT, sql), LIST, 0

/* One row with one integer: the 7 of "select 7". */
static void assert_seven(void)
{
    uint32_t columns = hk_u32(RESULT + 8), rows = hk_u32(RESULT + 16);
    assert_int_equal(columns, 1);
    assert_int_equal(rows, 1);
    uint32_t values = hk_u32(hk_u32(RESULT + 12));
    assert_int_equal(hk_u8(values), 0);
    assert_int_equal(hk_u64(values + 8), 7);
}

static void test_sqlite_1(void **state)
{
    uint32_t c = open_label(SQL1, "open", "default");
    fails(SQL1, "open", 1, AT, hk_put(AT, "secret"));
    ok(SQL1, "execute", c, TEXT("select 7"));
    assert_seven();
    fails(SQL1, "execute", SQL_IO, c, TEXT("selekt"));
    call(SQL1, "close", c);
    fails(SQL1, "execute", 2, c, TEXT("select 7")); /* invalid-connection */
}

static void test_sqlite_2(void **state)
{
    uint32_t c = open_label(SQL2, "[static]connection.open", "default");
    fails(SQL2, "[static]connection.open", 1, AT, hk_put(AT, "secret"));
    ok(SQL2, "[method]connection.execute", c, TEXT("select 7"));
    assert_seven();
    fails(SQL2, "[method]connection.execute", SQL_IO, c, TEXT("selekt"));
}

static void test_sqlite_3(void **state)
{
    uint32_t c = open_label(SQL3, "[static]connection.open", "default");
    fails(SQL3, "[static]connection.open", 1, AT, hk_put(AT, "secret"));
    ok(SQL3, "[method]connection.execute", c, TEXT("select 7"));
    assert_seven();
    ok(SQL3, "[method]connection.execute", c, TEXT("create table t (a)"));
    ok(SQL3, "[method]connection.execute", c, TEXT("insert into t values (1), (2)"));
    call(SQL3, "[method]connection.changes", c);
    assert_int_equal(hk_slots[0].u64, 2);
    call(SQL3, "[method]connection.last-insert-rowid", c);
    assert_int_equal(hk_slots[0].u64, 2);
    fails(SQL3, "[method]connection.execute", SQL_IO, c, TEXT("selekt"));
    hk_trap("unknown handle", SQL3, "[method]connection.changes", c + 1);
    hk_trap("unknown handle", SQL3, "[method]connection.last-insert-rowid", c + 1);
}

/* --- variables -------------------------------------------------------------------------------- */

#define VARIABLES "fermyon:spin/variables@2.0.0"
#define CONFIG1   "fermyon:spin/config"
#define CONFIG    "wasi:config/store"

/* Parameters of each kind go there, and come back as they were. */
static void test_sqlite_parameters(void **state)
{
    enum { SIZE = 16, KINDS = 5 };
    static const int64_t number = -5;
    static const double real = 0.5;
    uint32_t c = open_label(SQL2, "[static]connection.open", "default"), rows, values;
    uint8_t *at = hk_memory() + LIST;
    memset(at, 0, SIZE * (KINDS + 1));
    for (uint8_t k = 0; k < KINDS; k++)
        at[SIZE * k] = k;
    memcpy(at + 8, &number, 8);
    memcpy(at + SIZE + 8, &real, 8);
    hk_put_u32(LIST + 2 * SIZE + 8, AT + 100);
    hk_put_u32(LIST + 2 * SIZE + 12, hk_put(AT + 100, "text"));
    hk_put_u32(LIST + 3 * SIZE + 8, AT + 200);
    hk_put_u32(LIST + 3 * SIZE + 12, hk_put(AT + 200, "blob"));
    ok(SQL2, "[method]connection.execute", c, AT,
       hk_put(AT, "select ?1 a, ?2 b, ?3 c, ?4 d, ?5 e union all select ?5, ?4, ?3, ?2, ?1"), LIST,
       KINDS);
    assert_int_equal(hk_u32(RESULT + 8), KINDS);
    assert_int_equal(hk_u32(RESULT + 16), 2);
    for (uint32_t k = 0; k < KINDS; k++)
        hk_assert_str(hk_u32(RESULT + 4) + 8 * k, &"a\0b\0c\0d\0e"[2 * k]);
    rows = hk_u32(RESULT + 12);
    for (uint32_t row = 0; row < 2; row++) {
        values = hk_u32(rows + 8 * row);
        assert_int_equal(hk_u32(rows + 8 * row + 4), KINDS);
        for (uint32_t k = 0; k < KINDS; k++) {
            uint32_t v = values + SIZE * (row ? KINDS - 1 - k : k);
            assert_int_equal(hk_u8(v), k);
            if (k < 2)
                assert_memory_equal(hk_memory() + v + 8, k ? (const void *)&real : &number, 8);
            else if (k < 4)
                hk_assert_str(v + 8, k == 2 ? "text" : "blob");
        }
    }
    fails(SQL2, "[method]connection.execute", SQL_IO, c, AT, hk_put(AT, "select ?1"), LIST, 2);
    hk_memory()[LIST] = KINDS;
    hk_trap("a parameter is no case of value: 5", SQL2, "[method]connection.execute", c, AT,
            hk_put(AT, "select ?1"), LIST, 1, RESULT);
}

/* First a letter, then letters, digits and single underscores; what is none is told apart from what
 * is not there. */
static void test_names_of_variables(void **state)
{
    static const char *const names[] = {"a", "z", "a_b", "a1", "a9_z0", "az_9"};
    static const char *const none[] = {"",   "1a", "_a", "a_", "a__b", "a-b", "aB", "A",
                                       "a{", "a`", "{",  "`",  "a/",   "a:",  "a b"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        fails(VARIABLES, "get", 1, AT, hk_put(AT, names[i]));
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        fails(VARIABLES, "get", 0, AT, hk_put(AT, none[i]));
}

static void test_variables(void **state)
{
    ok(VARIABLES, "get", AT, hk_put(AT, "greeting"));
    hk_assert_str(RESULT + 4, "hello");
    fails(VARIABLES, "get", 1, AT, hk_put(AT, "nothing"));
    fails(VARIABLES, "get", 0, AT, hk_put(AT, "No-Name"));
    ok(CONFIG1, "get-config", AT, hk_put(AT, "greeting"));
    hk_assert_str(RESULT + 4, "hello");
    fails(CONFIG1, "get-config", 0, AT, hk_put(AT, "nothing"));
    fails(CONFIG1, "get-config", 1, AT, hk_put(AT, "No-Name"));
}

/* An unknown name is none, whatever its shape; only a provider can fail. */
static void test_wasi_config(void **state)
{
    ok(CONFIG, "get", AT, hk_put(AT, "greeting"));
    assert_int_equal(hk_u8(RESULT + 4), 1);
    hk_assert_str(RESULT + 8, "hello");
    ok(CONFIG, "get", AT, hk_put(AT, "No-Name"));
    assert_int_equal(hk_u8(RESULT + 4), 0);
    call(CONFIG, "get-all", RESULT);
    assert_int_equal(hk_u8(RESULT), 0);
    assert_int_equal(hk_u32(RESULT + 8), 1);
    hk_assert_str(hk_u32(RESULT + 4), "greeting");
    hk_assert_str(hk_u32(RESULT + 4) + 8, "hello");
    hk.component.variable_get = provider_fails;
    call(CONFIG, "get", AT, hk_put(AT, "greeting"), RESULT);
    assert_int_equal(hk_u8(RESULT), 1);
    assert_int_equal(hk_u8(RESULT + 4), 0); /* upstream */
    hk_assert_str(RESULT + 8, "the provider is away");
    call(CONFIG, "get-all", RESULT);
    assert_int_equal(hk_u8(RESULT), 1);
    assert_int_equal(hk_u8(RESULT + 4), 0);
    fails(VARIABLES, "get", 2, AT, hk_put(AT, "greeting"));
    fails(CONFIG1, "get-config", 0, AT, hk_put(AT, "greeting"));
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, open_all, close_all)
    const struct CMUnitTest tests[] = {
        T(test_key_value_1),        T(test_key_value_2),  T(test_wasi_store),
        T(test_wasi_batch),         T(test_wasi_atomics), T(test_sqlite_1),
        T(test_sqlite_2),           T(test_sqlite_3),     T(test_sqlite_parameters),
        T(test_names_of_variables), T(test_variables),    T(test_wasi_config),
    };
    return cmocka_run_group_tests(tests, hk_begin, hk_end);
}
