/* The store's server and a worker's client on one loop, over a real channel. */
#include "unit.h"

#include "base/limits.h"
#include "loop/channel.h"
#include "store/client.h"
#include "store/server.h"

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static char dir[] = "/tmp/ebb-server-XXXXXX";
static char path[64];
static loop *l;
static store_server *server;
static store_client *client, *second;
static int done;
static err e;

static void connect_client(store_client *c)
{
    int fds[2];
    assert_true(channel_pair(fds, &e));
    assert_true(store_server_add_take(server, fds[0], &e));
    store_client_connect_take(c, fds[1]);
}

static void server_start(void)
{
    kv_store stores[] = {{S("default"), str_from(path)}, {S("memory"), {0}}};
    assert_true(
        store_server_new(l, &(store_config){.stores = stores, .stores_count = 2}, &server, &e));
}

static int open_all(void **state)
{
    strcpy(dir + sizeof dir - 7, "XXXXXX");
    if (!mkdtemp(dir) || !loop_new(&l, &e))
        return -1;
    snprintf(path, sizeof path, "%s/kv.db", dir);
    server_start();
    assert_true(store_client_new(l, &client, &e) && store_client_new(l, &second, &e));
    connect_client(client);
    connect_client(second);
    done = 0;
    return 0;
}

static int close_all(void **state)
{
    store_client_free(client);
    store_client_free(second);
    store_server_free(server);
    loop_free(l);
    unlink(path);
    return rmdir(dir);
}

static void on_done(void *user) { done++; }

static store_call *ask(store_client *c, store_kind kind, uint16_t store, const char *key,
                       bytes *value)
{
    store_call *k = store_call_new(c, kind, store);
    store_call_item(k, str_from(key), value);
    if (!store_call_send(k, on_done, NULL, &e))
        fail_msg("%s", e.text);
    return k;
}

static void wait_done(int n)
{
    while (done < n)
        loop_turn(l, 1000);
    assert_int_equal(done, n);
}

static store_message *answer(store_call *k, store_kind want)
{
    assert_true(store_call_is_done(k));
    store_message *m = store_call_answer(k);
    store_item i;
    if (m->kind != want && store_message_next(m, &i))
        fail_msg("%.*s", STR(i.key));
    assert_int_equal(m->kind, want);
    return m;
}

static void test_set_here_get_there(void **state)
{
    bytes v = {(const uint8_t *)"value", 5};
    store_item i;
    assert_int_equal(store_server_files_open(server), 0); /* opened on use */
    store_call *set = ask(client, KV_SET, 0, "key", &v);
    assert_int_equal(done, 0);
    wait_done(1);
    answer(set, STORE_OK);
    assert_int_equal(store_server_files_open(server), 1);
    store_call *get = ask(second, KV_GET, 0, "key", NULL);
    wait_done(2);
    assert_true(store_message_next(answer(get, STORE_OK), &i));
    assert_str(i.key, "key");
    assert_int_equal(i.value.n, 5);
    store_call_free(set);
    store_call_free(get);
}

/* More requests than places, from two clients: each is answered, and the sum is right. */
static void test_many_increments(void **state)
{
    enum { N = 1000 };
    static store_call *calls[N];
    int64_t one = 1, sum = 0;
    bytes delta = {(const uint8_t *)&one, 8};
    for (int i = 0; i < N; i++)
        calls[i] = ask(i % 2 ? client : second, KV_INCREMENT, 0, "n", &delta);
    wait_done(N);
    static bool seen[N + 1];
    for (int i = 0; i < N; i++) {
        store_item item;
        assert_true(store_message_next(answer(calls[i], STORE_OK), &item));
        memcpy(&sum, item.value.p, 8);
        assert_in_range(sum, 1, N);
        assert_false(seen[sum]);
        seen[sum] = true;
        store_call_free(calls[i]);
    }
}

static void test_large_values(void **state)
{
    size_t n = 5 * MIB;
    uint8_t *p = malloc(n);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 7 >> 3);
    bytes v = {p, n};
    store_item i;
    store_call *set = ask(client, KV_SET, 1, "big", &v);
    wait_done(1);
    answer(set, STORE_OK);
    store_call *get = ask(client, KV_GET, 1, "big", NULL);
    wait_done(2);
    assert_true(store_message_next(answer(get, STORE_OK), &i));
    assert_int_equal(i.value.n, n);
    assert_memory_equal(i.value.p, p, n);
    store_call_free(set);
    store_call_free(get);
    free(p);
}

static void test_too_large(void **state)
{
    bytes v = {calloc(1, STORE_MESSAGE_BYTES_MAX), STORE_MESSAGE_BYTES_MAX};
    store_call *k = store_call_new(client, KV_SET, 0);
    store_call_item(k, S("k"), &v);
    assert_false(store_call_send(k, on_done, NULL, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    store_call_free(k);
    free((void *)(uintptr_t)v.p);
}

static void test_given_up(void **state)
{
    bytes v = {(const uint8_t *)"x", 1};
    for (int i = 0; i < 3 * STORE_IN_FLIGHT_MAX; i++) /* places come back all the same */
        store_call_free(ask(client, KV_SET, 0, "k", &v));
    store_call *get = ask(client, KV_GET, 0, "k", NULL);
    wait_done(1);
    answer(get, STORE_OK);
    store_call_free(get);
}

static void test_server_ends(void **state)
{
    bytes v = {(const uint8_t *)"x", 1};
    store_call *lost = ask(client, KV_SET, 0, "k", &v);
    store_call *more[STORE_IN_FLIGHT_MAX];
    for (int i = 0; i < STORE_IN_FLIGHT_MAX; i++)
        more[i] = ask(client, KV_SET, 0, "k", &v); /* the last one waits in the client */
    store_server_free(server);
    wait_done(STORE_IN_FLIGHT_MAX);
    answer(lost, STORE_FAILED);
    assert_false(store_call_is_done(more[STORE_IN_FLIGHT_MAX - 1]));
    assert_false(store_client_connected(client));
    server_start();
    connect_client(client);
    wait_done(STORE_IN_FLIGHT_MAX + 1);
    answer(more[STORE_IN_FLIGHT_MAX - 1], STORE_OK);
    store_call_free(lost);
    for (int i = 0; i < STORE_IN_FLIGHT_MAX; i++)
        store_call_free(more[i]);
}

/* A message of a worker by hand, at once. */
static void tell(int fd, store_kind kind, const char *key, const char *value)
{
    buf b;
    bytes v = {(const uint8_t *)value, value ? strlen(value) : 0};
    buf_init(&b, 1024);
    store_message_begin(&b, 0, kind, 0);
    store_message_item(&b, str_from(key), value ? &v : NULL);
    store_message_end(&b);
    assert_int_equal(send(fd, b.p, b.n, 0), b.n);
    buf_fini(&b);
}

/* Whoever lost their answer because a worker died asks another one, with a newer value: what the
 * dead one had asked for must not happen after that. */
static void test_no_write_after_the_worker(void **state)
{
    int dead[2], lives[2];
    char space[256];
    store_item i;
    assert_true(channel_pair(dead, &e) && channel_pair(lives, &e));
    assert_true(store_server_add_take(server, lives[0], &e)); /* it is looked at first */
    assert_true(store_server_add_take(server, dead[0], &e));
    tell(lives[1], KV_GET, "k", NULL);
    tell(dead[1], KV_SET, "k", "old");
    close(dead[1]);
    tell(lives[1], KV_SET, "k", "new");
    while (recv(lives[1], space, sizeof space, MSG_DONTWAIT) < 0)
        loop_turn(l, 1000);
    store_call *get = ask(client, KV_GET, 0, "k", NULL);
    wait_done(1);
    assert_true(store_message_next(answer(get, STORE_OK), &i));
    assert_int_equal(i.value.n, 3);
    assert_memory_equal(i.value.p, "new", 3);
    store_call_free(get);
    close(lives[1]);
}

/* A limit on the size of files stands for a full disk: the large write fails with the file's own
 * words, the small one of the same group is done, and all works again when there is room. */
static void test_no_room(void **state)
{
    struct rlimit before, small = {300 * KIB, RLIM_INFINITY};
    uint8_t *p = calloc(1, 2 * MIB);
    bytes big = {p, 2 * MIB}, little = {(const uint8_t *)"x", 1};
    store_item i;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    store_call *first = ask(client, KV_SET, 0, "before", &little);
    wait_done(1);
    /* The request travels in an anonymous file, so the limit comes after it was written. */
    store_call *huge = ask(client, KV_SET, 0, "big", &big);
    store_call *tiny = ask(client, KV_SET, 0, "tiny", &little);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    wait_done(3);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(store_message_next(answer(huge, STORE_FAILED), &i));
    char text[600];
    snprintf(text, sizeof text, "%.*s", STR(i.key));
    assert_non_null(strstr(text, "SQLite"));
    answer(tiny, STORE_OK);
    store_call *again = ask(client, KV_SET, 0, "big", &big);
    store_call *get = ask(client, KV_GET, 0, "tiny", NULL);
    wait_done(5);
    answer(again, STORE_OK);
    assert_true(store_message_next(answer(get, STORE_OK), &i));
    assert_true(i.has_value);
    store_call *all[] = {first, huge, tiny, again, get};
    for (int k = 0; k < 5; k++)
        store_call_free(all[k]);
    free(p);
}

static void test_deleted_file_is_made_again(void **state)
{
    bytes v = {(const uint8_t *)"x", 1};
    store_item i;
    store_call *set = ask(client, KV_SET, 0, "k", &v);
    wait_done(1);
    unlink(path);
    store_call *get = ask(client, KV_GET, 0, "k", NULL);
    wait_done(2);
    assert_true(store_message_next(answer(get, STORE_OK), &i));
    assert_false(i.has_value);
    assert_int_equal(access(path, R_OK), 0);
    store_call_free(set);
    store_call_free(get);
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
        T(test_no_write_after_the_worker),
        T(test_no_room),
        T(test_deleted_file_is_made_again),
    };
    signal(SIGXFSZ, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
