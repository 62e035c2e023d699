/* Key-value stores in Redis: what a URL has to be, each request as Redis' protocol (RESP) has it,
 * each answer, and servers that refuse, say nonsense, nothing, or go. The server is the test. */
#include "unit.h"

#include "base/limits.h"
#include "loop/channel.h"
#include "store/client.h"
#include "store/kv_redis.h"
#include "store/server.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static loop *l;
static store_server *server;
static store_client *client;
static int listener, peer, done;
static char heard[8192], url[128];
static size_t heard_n;
static err e;

static int64_t ahead_s;

int clock_gettime(clockid_t id, struct timespec *ret)
{
    int code = (int)syscall(SYS_clock_gettime, id, ret);
    ret->tv_sec += id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE ? ahead_s : 0;
    return code;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_in at;
    socklen_t n = sizeof at;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    return ntohs(at.sin_port);
}

static void start(const char *format)
{
    int fds[2];
    snprintf(url, sizeof url, format, port_of(listener));
    kv_store stores[] = {{.label = S("default"), .url = str_from(url)}};
    if (!store_server_new(l, &(store_config){.stores = stores, .stores_count = 1}, &server, &e))
        fail_msg("%s", e.text);
    assert_true(store_client_new(l, &client, &e) && channel_pair(fds, &e) &&
                store_server_add_take(server, fds[0], &e));
    store_client_connect_take(client, fds[1]);
}

static int open_all(void **state)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, 8) < 0 ||
        !loop_new(&l, &e))
        return -1;
    peer = -1;
    done = 0;
    heard_n = 0;
    return 0;
}

static int close_all(void **state)
{
    store_client_free(client);
    store_server_free(server);
    client = NULL;
    server = NULL;
    loop_free(l);
    if (peer >= 0)
        close(peer);
    return close(listener);
}

/* --- the server ------------------------------------------------------------------------------- */

/* A turn: takes a connection and what was said. */
static void turn(void)
{
    loop_turn(l, 5);
    if (peer < 0)
        peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (peer < 0)
        return;
    ssize_t n = recv(peer, heard + heard_n, sizeof heard - heard_n - 1, 0);
    heard_n += n > 0 ? (size_t)n : 0;
    heard[heard_n] = 0;
}

static void hears(const char *want)
{
    for (int i = 0; i < 1000 && heard_n < strlen(want); i++)
        turn();
    heard[heard_n] = 0;
    assert_string_equal(heard, want);
    heard_n = 0;
}

static void replies(const char *text)
{
    assert_int_equal(send(peer, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* --- the worker ------------------------------------------------------------------------------- */

static void on_done(void *user) { done++; }

/* Items: texts in turn, key and value, until NULL; "-" has no value. */
static store_call *asks(store_kind kind, ...)
{
    va_list ap;
    const char *key, *value;
    store_call *k = store_call_new(client, kind, 0);
    va_start(ap, kind);
    while ((key = va_arg(ap, const char *))) {
        value = va_arg(ap, const char *);
        bytes v = {(const uint8_t *)value, strlen(value)};
        store_call_item(k, str_from(key), strcmp(value, "-") == 0 ? NULL : &v);
    }
    va_end(ap);
    assert_true(store_call_send(k, on_done, NULL, &e));
    return k;
}

/* Items as "key=value", "key" without one, with commas; "! " and the reason; "~ " of KV_CHANGED. */
static const char *answer(store_call *k)
{
    static char text[512];
    store_item i;
    size_t n = 0;
    for (int turns = 0; turns < 1000 && !store_call_is_done(k); turns++)
        turn();
    assert_true(store_call_is_done(k));
    store_message *m = store_call_answer(k);
    n = (size_t)snprintf(text, sizeof text, "%s",
                         m->kind == STORE_OK     ? ""
                         : m->kind == KV_CHANGED ? "~ "
                                                 : "! ");
    for (bool first = true; store_message_next(m, &i); first = false)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%.*s%s%.*s", first ? "" : ",",
                              STR(i.key), i.has_value ? "=" : "", (int)i.value.n,
                              (const char *)i.value.p);
    assert_int_equal(m->count, 0);
    store_call_free(k);
    return text;
}

/* --- tests ------------------------------------------------------------------------------------ */

static void urls(void **state)
{
    static const struct {
        const char *url;
        bool good;
    } at[] = {
        {"redis://h", true},         {"redis://h:1", true},
        {"redis://h:65535/0", true}, {"redis://h/15", true},
        {"redis://:p@h", true},      {"redis://u:p@h:6379/4294967295", true},
        {"redis://u:p@q@h", true},   {"redis://h/", true},
        {"redis://", false},         {"redis://:1", false},
        {"redis://h:0", false},      {"redis://h:", false},
        {"redis://h:65536", false},  {"redis://h:6x", false},
        {"redis://h:/", false},      {"redis://h:99999999999999999999999", false},
        {"redis://h/x", false},      {"redis://h/:", false},
        {"redis://h/1/", false},     {"http://h", false},
    };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        if (kv_redis_url_check(str_from(at[i].url), &e) != at[i].good)
            fail_msg("'%s'", at[i].url);
        if (!at[i].good)
            assert_int_equal(e.code, ERR_INVALID);
    }
    assert_false(kv_redis_url_check(S("rediss://h"), &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    char text[300] = "redis://";
    memset(text + 8, 'h', 254);
    assert_true(kv_redis_url_check((str){text, 8 + 253}, &e));
    assert_false(kv_redis_url_check((str){text, 8 + 254}, &e));
    kv_store stores[] = {{.label = S("default"), .url = S("redis://h:0")}};
    assert_false(
        store_server_new(l, &(store_config){.stores = stores, .stores_count = 1}, &server, &e));
    assert_int_equal(e.code, ERR_INVALID);
}

static void each_request(void **state)
{
    static const int64_t delta = -7;
    bytes d = {(const uint8_t *)&delta, 8};
    start("redis://127.0.0.1:%u");
    store_call *k = asks(KV_GET, "a", "-", "b", "-", "c", "-", NULL);
    hears("*4\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    replies("*3\r\n$3\r\none\r\n$-1\r\n$0\r\n\r\n");
    assert_string_equal(answer(k), "a=one,b,c=");
    k = asks(KV_SET, "a", "1", "", "", NULL);
    hears("*5\r\n$4\r\nMSET\r\n$1\r\na\r\n$1\r\n1\r\n$0\r\n\r\n$0\r\n\r\n");
    replies("+OK\r\n");
    assert_string_equal(answer(k), "");
    k = asks(KV_DELETE, "a", "-", "b", "-", NULL);
    hears("*3\r\n$3\r\nDEL\r\n$1\r\na\r\n$1\r\nb\r\n");
    replies(":1\r\n");
    assert_string_equal(answer(k), "");
    for (int there = 1; there >= 0; there--) {
        k = asks(KV_EXISTS, "a", "-", NULL);
        hears("*2\r\n$6\r\nEXISTS\r\n$1\r\na\r\n");
        replies(there ? ":1\r\n" : ":0\r\n");
        assert_string_equal(answer(k), there ? "=" : "");
    }
    k = asks(KV_KEYS, NULL);
    hears("*2\r\n$4\r\nKEYS\r\n$1\r\n*\r\n");
    replies("*3\r\n$1\r\na\r\n$1\r\n\xff\r\n$2\r\nbb\r\n"); /* what is no UTF-8 is left out */
    assert_string_equal(answer(k), "a,bb");
    k = store_call_new(client, KV_INCREMENT, 0);
    store_call_item(k, S("n"), &d);
    assert_true(store_call_send(k, on_done, NULL, &e));
    hears("*3\r\n$6\r\nINCRBY\r\n$1\r\nn\r\n$2\r\n-7\r\n");
    replies(":3544668469065756977\r\n"); /* the bytes of eight digits */
    assert_string_equal(answer(k), "=11111111");
    static const struct {
        const char *reply, *answer;
    } swaps[] = {{":1\r\n", ""},
                 {"*1\r\n$3\r\nnow\r\n", "~ =now"},
                 {"*1\r\n$-1\r\n", "~ "},
                 {"*0\r\n", "~ "},
                 {"+OK\r\n", "! the Redis server gave an answer of another kind"}};
    for (size_t i = 0; i < sizeof swaps / sizeof *swaps; i++) {
        k = asks(KV_SWAP, "k", "new", "", i % 2 ? "-" : "old", NULL);
        while (heard_n < 4 || strcmp(heard + heard_n - 4, "ew\r\n") != 0)
            turn();
        assert_memory_equal(heard, "*7\r\n$4\r\nEVAL\r\n$", 15);
        const char *tail = i % 2 ? "$1\r\n1\r\n$1\r\nk\r\n$1\r\n0\r\n$0\r\n\r\n$3\r\nnew\r\n"
                                 : "$1\r\n1\r\n$1\r\nk\r\n$1\r\n1\r\n$3\r\nold\r\n$3\r\nnew\r\n";
        assert_string_equal(heard + heard_n - strlen(tail), tail);
        heard_n = 0;
        replies(swaps[i].reply);
        assert_string_equal(answer(k), swaps[i].answer);
    }
}

static void answers_of_another_kind(void **state)
{
    static const char other[] = "! the Redis server gave an answer of another kind";
    static const struct {
        store_kind kind;
        const char *reply, *answer;
    } at[] = {
        {KV_GET, "*2\r\n$1\r\na\r\n$1\r\nb\r\n", other},
        {KV_GET, "*0\r\n", other},
        {KV_GET, "$1\r\na\r\n", other},
        {KV_GET, "*1\r\n:5\r\n", "k"},
        {KV_GET, "-ERR so\r\n", "! ERR so"},
        {KV_EXISTS, "+OK\r\n", other},
        {KV_EXISTS, "-WRONGTYPE x\r\n", "! WRONGTYPE x"},
        {KV_DELETE, "-NO\r\n", "! NO"},
        {KV_DELETE, "+whatever\r\n", ""},
    };
    start("redis://127.0.0.1:%u");
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        store_call *k = asks(at[i].kind, "k", "-", NULL);
        while (heard_n < 4 || strcmp(heard + heard_n - 4, "\nk\r\n") != 0)
            turn();
        heard_n = 0;
        replies(at[i].reply);
        assert_string_equal(answer(k), at[i].answer);
    }
    store_call *k = asks(KV_KEYS, NULL);
    hears("*2\r\n$4\r\nKEYS\r\n$1\r\n*\r\n");
    replies("+OK\r\n");
    assert_string_equal(answer(k), other);
}

/* Requests do not wait for each other's replies, which come in their order. */
static void greetings_and_a_line_of_requests(void **state)
{
    start("redis://us%%65r:p%%40ss@127.0.0.1:%u/3");
    store_call *first = asks(KV_EXISTS, "a", "-", NULL), *second = asks(KV_EXISTS, "b", "-", NULL);
    assert_int_equal(store_server_files_open(server), 0);
    hears("*3\r\n$4\r\nAUTH\r\n$4\r\nuser\r\n$4\r\np@ss\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"
          "*2\r\n$6\r\nEXISTS\r\n$1\r\na\r\n*2\r\n$6\r\nEXISTS\r\n$1\r\nb\r\n");
    assert_int_equal(store_server_files_open(server), 1);
    replies("+OK\r\n+OK\r\n:1\r\n");
    assert_string_equal(answer(first), "=");
    assert_false(store_call_is_done(second));
    store_call *third = asks(KV_EXISTS, "c", "-", NULL);
    hears("*2\r\n$6\r\nEXISTS\r\n$1\r\nc\r\n"); /* greeted once */
    replies(":0\r\n:1\r\n");
    assert_string_equal(answer(second), "");
    assert_string_equal(answer(third), "=");
}

static void a_password_alone(void **state)
{
    start("redis://:secret@127.0.0.1:%u");
    store_call *k = asks(KV_EXISTS, "a", "-", NULL);
    hears("*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n*2\r\n$6\r\nEXISTS\r\n$1\r\na\r\n");
    replies("-WRONGPASS no\r\n");
    assert_string_equal(answer(k), "! WRONGPASS no; a write may or may not have happened");
    assert_int_equal(store_server_files_open(server), 0);
    close(peer);
    peer = -1;
    k = asks(KV_EXISTS, "a", "-", NULL); /* another connection, greeted anew */
    hears("*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n*2\r\n$6\r\nEXISTS\r\n$1\r\na\r\n");
    replies("+OK\r\n:1\r\n");
    assert_string_equal(answer(k), "=");
}

/* What cannot be, and what is nothing, is answered without the server. */
static void answered_without_asking(void **state)
{
    static char longer[STORE_KEY_BYTES_MAX + 2];
    memset(longer, 'k', sizeof longer - 1);
    start("redis://127.0.0.1:%u");
    assert_string_equal(answer(asks(KV_GET, longer, "-", NULL)), "! a key has more than 64 KiB");
    assert_string_equal(answer(asks(KV_SET, "\xff", "x", NULL)), "! a key is not UTF-8");
    assert_string_equal(answer(asks(KV_EXISTS, NULL)), "! a request with the wrong number of keys");
    assert_string_equal(answer(asks(KV_GET, NULL)), "");
    assert_string_equal(answer(asks(KV_SET, NULL)), "");
    assert_string_equal(answer(asks(KV_DELETE, NULL)), "");
    assert_int_equal(store_server_files_open(server), 0);
    assert_int_equal(peer, -1);
}

static void a_server_that_goes(void **state)
{
    start("redis://127.0.0.1:%u");
    store_call *k = asks(KV_SET, "a", "1", NULL);
    hears("*3\r\n$4\r\nMSET\r\n$1\r\na\r\n$1\r\n1\r\n");
    close(peer);
    peer = -1;
    assert_string_equal(answer(k), "! the Redis server closed the connection: Server closed the "
                                   "connection; a write may or may not have happened");
    assert_int_equal(store_server_files_open(server), 0);
    k = asks(KV_SET, "a", "1", NULL);
    hears("*3\r\n$4\r\nMSET\r\n$1\r\na\r\n$1\r\n1\r\n");
    replies("what?\r\n");
    assert_memory_equal(answer(k), "! the Redis server closed the connection: Protocol error", 56);
    close(peer);
    close(listener);
    peer = -1;
    k = asks(KV_SET, "a", "1", NULL);
    assert_memory_equal(answer(k), "! cannot connect to the Redis server: ", 38);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static void a_server_that_says_nothing(void **state)
{
    start("redis://127.0.0.1:%u");
    store_call *k = asks(KV_EXISTS, "a", "-", NULL), *other;
    hears("*2\r\n$6\r\nEXISTS\r\n$1\r\na\r\n");
    ahead_s += 3;
    turn();
    other = asks(KV_EXISTS, "b", "-", NULL);
    hears("*2\r\n$6\r\nEXISTS\r\n$1\r\nb\r\n");
    ahead_s += 1;
    turn();
    assert_false(store_call_is_done(k));
    replies(":1\r\n"); /* a sign of life: five more seconds */
    assert_string_equal(answer(k), "=");
    ahead_s += 4;
    turn();
    turn();
    assert_false(store_call_is_done(other));
    ahead_s += 2;
    assert_string_equal(answer(other), "! the Redis server does not answer; a write may or may not "
                                       "have happened");
    assert_int_equal(store_server_files_open(server), 0);
}

static void an_idle_connection_is_closed(void **state)
{
    char byte;
    start("redis://127.0.0.1:%u");
    store_call *k = asks(KV_EXISTS, "a", "-", NULL);
    hears("*2\r\n$6\r\nEXISTS\r\n$1\r\na\r\n");
    replies(":1\r\n");
    assert_string_equal(answer(k), "=");
    for (int i = 0; i < 3; i++) {
        ahead_s += 3;
        turn();
        turn();
        assert_int_equal(store_server_files_open(server), 1);
    }
    ahead_s += 2;
    for (int i = 0; i < 100 && store_server_files_open(server); i++)
        turn();
    assert_int_equal(store_server_files_open(server), 0);
    assert_int_equal(recv(peer, &byte, 1, 0), 0);
    close(peer);
    peer = -1;
    k = asks(KV_EXISTS, "a", "-", NULL);
    hears("*2\r\n$6\r\nEXISTS\r\n$1\r\na\r\n");
    replies(":0\r\n");
    assert_string_equal(answer(k), "");
}

/* Replies to a worker that has gone are nobody's, and the next worker's come all the same. */
static void a_worker_that_goes(void **state)
{
    int fds[2];
    start("redis://127.0.0.1:%u");
    store_call *k = asks(KV_EXISTS, "a", "-", NULL);
    hears("*2\r\n$6\r\nEXISTS\r\n$1\r\na\r\n");
    store_call_free(k);
    store_client_free(client);
    while (store_server_connections(server))
        turn();
    assert_true(store_client_new(l, &client, &e) && channel_pair(fds, &e) &&
                store_server_add_take(server, fds[0], &e));
    store_client_connect_take(client, fds[1]);
    k = asks(KV_EXISTS, "b", "-", NULL);
    hears("*2\r\n$6\r\nEXISTS\r\n$1\r\nb\r\n");
    replies(":0\r\n:1\r\n");
    assert_string_equal(answer(k), "=");
    k = asks(KV_EXISTS, "c", "-", NULL); /* the server ends while it waits */
    hears("*2\r\n$6\r\nEXISTS\r\n$1\r\nc\r\n");
    store_server_free(server);
    server = NULL;
    assert_memory_equal(answer(k), "! the store process ended", 25);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, open_all, close_all)
    const struct CMUnitTest tests[] = {
        CASE(urls),
        CASE(each_request),
        CASE(answers_of_another_kind),
        CASE(greetings_and_a_line_of_requests),
        CASE(a_password_alone),
        CASE(answered_without_asking),
        CASE(a_server_that_goes),
        CASE(a_server_that_says_nothing),
        CASE(an_idle_connection_is_closed),
        CASE(a_worker_that_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
