/* The key-value functions as a component calls them, with the store's server on the same loop. */
#include "host_kit.h"

#include "base/limits.h"
#include "loop/channel.h"
#include "store/client.h"
#include "store/server.h"

#define V1    "fermyon:spin/key-value"
#define V2    "fermyon:spin/key-value@2.0.0"
#define STORE "wasi:keyvalue/store"
#define BATCH "wasi:keyvalue/batch"
#define CAS   "wasi:keyvalue/atomics"

enum { AT = 1024, RESULT = 512 }; /* in guest memory */

static store_server *server;
static store_client *client;
static err e;

static void server_start(void)
{
    int fds[2];
    kv_store stores[] = {{S("default"), {0}}};
    assert_true(
        store_server_new(hk.l, &(store_config){.stores = stores, .stores_count = 1}, &server, &e) &&
        channel_pair(fds, &e) && store_server_add_take(server, fds[0], &e));
    store_client_connect_take(client, fds[1]);
}

static int open_all(void **state)
{
    static const struct host_store granted[] = {{{"default", 7}, 0},
                                                {{"nowhere", 7}, HOST_STORE_NONE}};
    assert_true(store_client_new(hk.l, &client, &e));
    hk.component =
        (host_component){.key_value_stores = granted, .key_value_stores_count = 2, .store = client};
    server_start();
    hk_open();
    return 0;
}

static int close_all(void **state)
{
    hk_close();
    store_client_free(client);
    store_server_free(server);
    server = NULL;
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

static uint32_t open_store(const char *interface, const char *name)
{
    call(interface, name, AT, hk_put(AT, "default"), RESULT);
    assert_int_equal(hk_u8(RESULT), 0);
    return hk_u32(RESULT + 4);
}

static void set(uint32_t store, const char *key, const char *value)
{
    uint32_t k = hk_put(AT, key), v = hk_put(AT + 100, value);
    call(V2, "[method]store.set", store, AT, k, AT + 100, v, RESULT);
    assert_int_equal(hk_u8(RESULT), 0);
}

static void test_labels(void **state)
{
    uint32_t n = hk_put(AT, "secret");
    call(V2, "[static]store.open", AT, n, RESULT);
    assert_int_equal(hk_u8(RESULT), 1);
    assert_int_equal(hk_u8(RESULT + 4), 2); /* access-denied */
    call(STORE, "open", AT, n, RESULT);
    assert_int_equal(hk_u8(RESULT + 4), 1);
    n = hk_put(AT, "nowhere");
    call(V2, "[static]store.open", AT, n, RESULT);
    assert_int_equal(hk_u8(RESULT), 1);
    assert_int_equal(hk_u8(RESULT + 4), 1); /* no-such-store */
    call(STORE, "open", AT, n, RESULT);
    assert_int_equal(hk_u8(RESULT + 4), 0);
}

static void test_waits_and_answers(void **state)
{
    uint32_t store = open_store(V2, "[static]store.open");
    set(store, "k", "v");
    hk_wait(V2, "[method]store.get", store, AT, 1, RESULT);
    finish(ENGINE_WAIT);
    assert_int_equal(hk_u8(RESULT), 0);
    assert_int_equal(hk_u8(RESULT + 4), 1);
    hk_assert_str(RESULT + 8, "v");
}

/* The guest goes while it waits: the answer finds nobody, and the next guest is not confused. */
static void test_guest_goes(void **state)
{
    uint32_t store = open_store(V2, "[static]store.open");
    hk_wait(V2, "[method]store.set", store, AT, hk_put(AT, "k"), AT, 1, RESULT);
    hk_close();
    hk_open();
    store = open_store(V2, "[static]store.open");
    set(store, "other", "x");
    call(V2, "[method]store.exists", store, AT, hk_put(AT, "k"), RESULT);
    assert_int_equal(hk_u8(RESULT), 0);
    assert_int_equal(hk_u8(RESULT + 4), 1); /* the write was on its way and happened */
}

static void test_store_process_goes(void **state)
{
    uint32_t store = open_store(V2, "[static]store.open");
    hk_wait(V2, "[method]store.set", store, AT, hk_put(AT, "k"), AT, 1, RESULT);
    store_server_free(server); /* answers what it has read; it has read nothing */
    finish(ENGINE_WAIT);
    assert_int_equal(hk_u8(RESULT), 1);
    assert_int_equal(hk_u8(RESULT + 4), 3); /* other */
    /* Without a connection it waits for one. */
    hk_wait(V2, "[method]store.set", store, AT, 1, AT, 1, RESULT);
    server_start();
    finish(ENGINE_WAIT);
    assert_int_equal(hk_u8(RESULT), 0);
}

static void test_hostile_pointers(void **state)
{
    uint32_t store = open_store(V2, "[static]store.open");
    hk_trap("out of bounds", V2, "[method]store.get", store, 64 * 65536 - 1, 2, RESULT);
    store = open_store(V2, "[static]store.open");
    hk_trap("unknown handle", V2, "[method]store.get", store + 1, AT, 1, RESULT);
    store = open_store(STORE, "open");
    hk_put_u32(AT, UINT32_MAX - 3);
    hk_put_u32(AT + 4, 100);
    hk_trap("out of bounds", BATCH, "get-many", store, AT, 1, RESULT);
    store = open_store(STORE, "open");
    hk_trap("out of bounds", BATCH, "set-many", store, AT, 1000000, RESULT);
    store = open_store(STORE, "open");
    hk_trap("wrong type", V2, "[method]store.get", store, AT, 1, RESULT);
    store = open_store(V2, "[static]store.open");
    hk_trap("not aligned", V2, "[method]store.get", store, AT, 1, RESULT + 1);
}

static void test_cas_handles(void **state)
{
    uint32_t bucket = open_store(STORE, "open");
    call(CAS, "[static]cas.new", bucket, AT, hk_put(AT, "c"), RESULT);
    uint32_t cas = hk_u32(RESULT + 4);
    call(STORE, "[method]bucket.set", bucket, AT, 1, AT + 8, hk_put(AT + 8, "changed"), RESULT);
    call(CAS, "swap", cas, AT + 8, 3, RESULT);
    assert_int_equal(hk_u8(RESULT), 1);
    assert_int_equal(hk_u8(RESULT + 4), 1); /* cas-failed, with another handle */
    uint32_t fresh = hk_u32(RESULT + 8);
    call(CAS, "swap", fresh, AT + 8, 3, RESULT);
    assert_int_equal(hk_u8(RESULT), 0);
    hk_trap("unknown handle", CAS, "swap", fresh, AT, 1, RESULT); /* it was consumed */
}

static void test_v1_table(void **state)
{
    uint32_t first = open_store(V1, "open");
    for (int i = 1; i < STORE_OPEN_MAX; i++)
        assert_int_not_equal(open_store(V1, "open"), first);
    call(V1, "open", AT, 7, RESULT);
    assert_int_equal(hk_u8(RESULT), 1);
    assert_int_equal(hk_u8(RESULT + 4), 0); /* store-table-full */
    call(V1, "close", first);
    assert_int_equal(open_store(V1, "open"), first);
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, open_all, close_all)
    const struct CMUnitTest tests[] = {
        T(test_labels),           T(test_waits_and_answers),
        T(test_guest_goes),       T(test_store_process_goes),
        T(test_hostile_pointers), T(test_cas_handles),
        T(test_v1_table),
    };
    return cmocka_run_group_tests(tests, hk_begin, hk_end);
}
