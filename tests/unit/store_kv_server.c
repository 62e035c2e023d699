/* The store's server and a worker's client on one loop, over a real channel. */
#include "unit.h"

#include "base/limits.h"
#include "loop/channel.h"
#include "store/kv_client.h"
#include "store/kv_server.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static char dir[] = "/tmp/ebb-server-XXXXXX";
static char path[64];
static loop *l;
static kv_server *server;
static kv_client *client, *second;
static int done;
static err e;

static void connect_client(kv_client *c)
{
    int fds[2];
    assert_true(channel_pair(fds, &e));
    assert_true(kv_server_add_take(server, fds[0], &e));
    kv_client_connect_take(c, fds[1]);
}

static void server_start(void)
{
    kv_store stores[] = {{S("default"), str_from(path)}, {S("memory"), {0}}};
    assert_true(kv_server_new(l, stores, 2, &server, &e));
}

static int open_all(void **state)
{
    strcpy(dir + sizeof dir - 7, "XXXXXX");
    if (!mkdtemp(dir) || !loop_new(&l, &e))
        return -1;
    snprintf(path, sizeof path, "%s/kv.db", dir);
    server_start();
    assert_true(kv_client_new(l, &client, &e) && kv_client_new(l, &second, &e));
    connect_client(client);
    connect_client(second);
    done = 0;
    return 0;
}

static int close_all(void **state)
{
    kv_client_free(client);
    kv_client_free(second);
    kv_server_free(server);
    loop_free(l);
    unlink(path);
    return rmdir(dir);
}

static void on_done(void *user) { done++; }

static kv_call *ask(kv_client *c, kv_kind kind, uint16_t store, const char *key, bytes *value)
{
    kv_call *k = kv_call_new(c, kind, store);
    kv_call_item(k, str_from(key), value);
    if (!kv_call_send(k, on_done, NULL, &e))
        fail_msg("%s", e.text);
    return k;
}

static void wait_done(int n)
{
    while (done < n)
        loop_turn(l, 1000);
    assert_int_equal(done, n);
}

static kv_message *answer(kv_call *k, kv_kind want)
{
    assert_true(kv_call_is_done(k));
    kv_message *m = kv_call_answer(k);
    kv_item i;
    if (m->kind != want && kv_message_next(m, &i))
        fail_msg("%.*s", STR(i.key));
    assert_int_equal(m->kind, want);
    return m;
}

static void test_set_here_get_there(void **state)
{
    bytes v = {(const uint8_t *)"value", 5};
    kv_item i;
    assert_int_equal(kv_server_files_open(server), 0); /* opened on use */
    kv_call *set = ask(client, KV_SET, 0, "key", &v);
    assert_int_equal(done, 0);
    wait_done(1);
    answer(set, KV_OK);
    assert_int_equal(kv_server_files_open(server), 1);
    kv_call *get = ask(second, KV_GET, 0, "key", NULL);
    wait_done(2);
    assert_true(kv_message_next(answer(get, KV_OK), &i));
    assert_str(i.key, "key");
    assert_int_equal(i.value.n, 5);
    kv_call_free(set);
    kv_call_free(get);
}

/* More requests than places, from two clients: each is answered, and the sum is right. */
static void test_many_increments(void **state)
{
    enum { N = 1000 };
    static kv_call *calls[N];
    int64_t one = 1, sum = 0;
    bytes delta = {(const uint8_t *)&one, 8};
    for (int i = 0; i < N; i++)
        calls[i] = ask(i % 2 ? client : second, KV_INCREMENT, 0, "n", &delta);
    wait_done(N);
    static bool seen[N + 1];
    for (int i = 0; i < N; i++) {
        kv_item item;
        assert_true(kv_message_next(answer(calls[i], KV_OK), &item));
        memcpy(&sum, item.value.p, 8);
        assert_in_range(sum, 1, N);
        assert_false(seen[sum]);
        seen[sum] = true;
        kv_call_free(calls[i]);
    }
}

static void test_large_values(void **state)
{
    size_t n = 5 * MIB;
    uint8_t *p = malloc(n);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 7 >> 3);
    bytes v = {p, n};
    kv_item i;
    kv_call *set = ask(client, KV_SET, 1, "big", &v);
    wait_done(1);
    answer(set, KV_OK);
    kv_call *get = ask(client, KV_GET, 1, "big", NULL);
    wait_done(2);
    assert_true(kv_message_next(answer(get, KV_OK), &i));
    assert_int_equal(i.value.n, n);
    assert_memory_equal(i.value.p, p, n);
    kv_call_free(set);
    kv_call_free(get);
    free(p);
}

static void test_too_large(void **state)
{
    bytes v = {calloc(1, STORE_MESSAGE_BYTES_MAX), STORE_MESSAGE_BYTES_MAX};
    kv_call *k = kv_call_new(client, KV_SET, 0);
    kv_call_item(k, S("k"), &v);
    assert_false(kv_call_send(k, on_done, NULL, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    kv_call_free(k);
    free((void *)(uintptr_t)v.p);
}

static void test_given_up(void **state)
{
    bytes v = {(const uint8_t *)"x", 1};
    for (int i = 0; i < 3 * STORE_IN_FLIGHT_MAX; i++) /* places come back all the same */
        kv_call_free(ask(client, KV_SET, 0, "k", &v));
    kv_call *get = ask(client, KV_GET, 0, "k", NULL);
    wait_done(1);
    answer(get, KV_OK);
    kv_call_free(get);
}

static void test_server_ends(void **state)
{
    bytes v = {(const uint8_t *)"x", 1};
    kv_call *lost = ask(client, KV_SET, 0, "k", &v);
    kv_call *more[STORE_IN_FLIGHT_MAX];
    for (int i = 0; i < STORE_IN_FLIGHT_MAX; i++)
        more[i] = ask(client, KV_SET, 0, "k", &v); /* the last one waits in the client */
    kv_server_free(server);
    wait_done(STORE_IN_FLIGHT_MAX);
    answer(lost, KV_FAILED);
    assert_false(kv_call_is_done(more[STORE_IN_FLIGHT_MAX - 1]));
    assert_false(kv_client_connected(client));
    server_start();
    connect_client(client);
    wait_done(STORE_IN_FLIGHT_MAX + 1);
    answer(more[STORE_IN_FLIGHT_MAX - 1], KV_OK);
    kv_call_free(lost);
    for (int i = 0; i < STORE_IN_FLIGHT_MAX; i++)
        kv_call_free(more[i]);
}

/* A limit on the size of files stands for a full disk: the large write fails with the file's own
 * words, the small one of the same group is done, and all works again when there is room. */
static void test_no_room(void **state)
{
    struct rlimit before, small = {300 * KIB, RLIM_INFINITY};
    uint8_t *p = calloc(1, 2 * MIB);
    bytes big = {p, 2 * MIB}, little = {(const uint8_t *)"x", 1};
    kv_item i;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    kv_call *first = ask(client, KV_SET, 0, "before", &little);
    wait_done(1);
    /* The request travels in an anonymous file, so the limit comes after it was written. */
    kv_call *huge = ask(client, KV_SET, 0, "big", &big);
    kv_call *tiny = ask(client, KV_SET, 0, "tiny", &little);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    wait_done(3);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(kv_message_next(answer(huge, KV_FAILED), &i));
    char text[600];
    snprintf(text, sizeof text, "%.*s", STR(i.key));
    assert_non_null(strstr(text, "SQLite"));
    answer(tiny, KV_OK);
    kv_call *again = ask(client, KV_SET, 0, "big", &big);
    kv_call *get = ask(client, KV_GET, 0, "tiny", NULL);
    wait_done(5);
    answer(again, KV_OK);
    assert_true(kv_message_next(answer(get, KV_OK), &i));
    assert_true(i.has_value);
    kv_call *all[] = {first, huge, tiny, again, get};
    for (int k = 0; k < 5; k++)
        kv_call_free(all[k]);
    free(p);
}

static void test_deleted_file_is_made_again(void **state)
{
    bytes v = {(const uint8_t *)"x", 1};
    kv_item i;
    kv_call *set = ask(client, KV_SET, 0, "k", &v);
    wait_done(1);
    unlink(path);
    kv_call *get = ask(client, KV_GET, 0, "k", NULL);
    wait_done(2);
    assert_true(kv_message_next(answer(get, KV_OK), &i));
    assert_false(i.has_value);
    assert_int_equal(access(path, R_OK), 0);
    kv_call_free(set);
    kv_call_free(get);
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, open_all, close_all)
    const struct CMUnitTest tests[] = {
        T(test_set_here_get_there),
        T(test_many_increments),
        T(test_large_values),
        T(test_too_large),
        T(test_given_up),
        T(test_server_ends),
        T(test_no_room),
        T(test_deleted_file_is_made_again),
    };
    signal(SIGXFSZ, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
