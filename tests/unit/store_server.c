/* The store's server and a worker's client on one loop, over a real channel. */
#include "folder_kit.h"
#include "workers_kit.h"

#include "base/limits.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

static char path[72];

static void server_start(void)
{
    static const str initial[] = {{"greeting", 8}, {"hello", 5}, {"empty", 5}, {"", 0}};
    kv_store stores[] = {{S("default"), str_from(path)},
                         {S("memory"), {0}, .initial = initial, .initial_count = 4}};
    server_new(&(store_config){.stores = stores, .stores_count = 2});
}

static int open_all(void **state)
{
    if (!folder_make("/tmp/ebb-server") || !workers_make())
        return -1;
    snprintf(path, sizeof path, "%s/kv.db", dir);
    server_start();
    connect_client(client);
    connect_client(second);
    return 0;
}

static int close_all(void **state)
{
    workers_end();
    unlink(path);
    return rmdir(dir);
}

static store_call *ask(store_client *c, store_kind kind, uint16_t store, const char *key,
                       bytes *value)
{
    store_call *k = store_call_new(c, kind, store);
    store_call_item(k, str_from(key), value);
    if (!store_call_send(k, on_done, NULL, &e))
        fail_msg("%s", e.text);
    return k;
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

/* From the first request on; one in a file has none. */
static void test_a_store_in_memory_begins_with_its_values(void **state)
{
    static const char *const keys[] = {"greeting", "empty", "other"};
    static const char *const values[] = {"hello", "", NULL};
    for (int k = 0; k < 3; k++) {
        store_item i;
        store_call *get = ask(client, KV_GET, 1, keys[k], NULL);
        wait_done(k + 1);
        bool found = store_message_next(answer(get, STORE_OK), &i) && i.has_value;
        assert_int_equal(found, values[k] != NULL);
        if (found)
            assert_true(str_eq((str){(const char *)i.value.p, i.value.n}, str_from(values[k])));
        store_call_free(get);
    }
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

static void large_value(size_t n)
{
    uint8_t *p = malloc(n);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 7 >> 3);
    bytes v = {p, n};
    store_item i;
    store_call *set = ask(client, KV_SET, 1, "big", &v);
    wait_done(done + 1);
    answer(set, STORE_OK);
    store_call *get = ask(client, KV_GET, 1, "big", NULL);
    wait_done(done + 1);
    assert_true(store_message_next(answer(get, STORE_OK), &i));
    assert_int_equal(i.value.n, n);
    assert_memory_equal(i.value.p, p, n);
    store_call_free(set);
    store_call_free(get);
    free(p);
}

/* About what fits a datagram, and more. */
static void test_large_values(void **state)
{
    static const size_t sizes[] = {STORE_INLINE_BYTES_MAX - 100, STORE_INLINE_BYTES_MAX - 24,
                                   STORE_INLINE_BYTES_MAX + 1, 5 * MIB};
    size_t before = entries("/proc/self/fd");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        large_value(sizes[i]);
    assert_int_equal(entries("/proc/self/fd"), before);
}

/* A descriptor of a file that the store process has open; -1: it gives none. */
static int lend(uint16_t store, const uint8_t *part, size_t n)
{
    store_call *k = store_call_new(client, KV_LEND, store);
    bytes b = {part, n};
    store_call_item(k, S(""), &b);
    assert_true(store_call_send(k, on_done, NULL, &e));
    wait_done(done + 1);
    int fd = store_call_fd_take(k);
    assert_int_equal(store_call_fd_take(k), -1);
    assert_int_equal(store_call_answer(k)->kind, fd >= 0 ? STORE_OK : STORE_FAILED);
    assert_int_equal(store_call_answer(k)->count, 0);
    store_call_free(k);
    return fd;
}

static void test_lent_files(void **state)
{
    static const uint8_t parts[] = {0, 1, 2, 3, 255};
    char head[16], moved[80];
    bytes v = {(const uint8_t *)"x", 1};
    assert_int_equal(lend(0, parts, 1), -1); /* it is not open */
    for (uint16_t store = 0; store < 2; store++) {
        store_call_free(ask(client, KV_SET, store, "k", &v));
        store_call *get = ask(client, KV_GET, store, "k", NULL);
        wait_done(done + 1);
        store_call_free(get);
    }
    size_t before = entries("/proc/self/fd");
    for (int i = 0; i < 3; i++) {
        int fd = lend(0, parts + i, 1);
        assert_true(fd >= 0);
        if (i == 0) {
            assert_int_equal(read(fd, head, sizeof head), sizeof head);
            assert_memory_equal(head, "SQLite format 3", sizeof head);
        }
        assert_int_equal(write(fd, "x", 1), -1); /* to read only */
        close(fd);
    }
    assert_int_equal(entries("/proc/self/fd"), before + 3); /* the server's own */
    assert_int_equal(lend(0, parts + 3, 1), -1);
    assert_int_equal(lend(0, parts + 4, 1), -1);
    assert_int_equal(lend(0, parts, 2), -1);
    assert_int_equal(lend(1, parts, 1), -1); /* in memory */
    assert_int_equal(lend(9, parts, 1), -1);
    store_call *k = store_call_new(client, KV_LEND, 0); /* nobody takes it */
    store_call_item(k, S(""), &(bytes){parts, 1});
    assert_true(store_call_send(k, on_done, NULL, &e));
    wait_done(done + 1);
    store_call_free(k);
    assert_int_equal(entries("/proc/self/fd"), before + 3);
    snprintf(moved, sizeof moved, "%s.moved", path); /* another file will be there */
    assert_int_equal(rename(path, moved), 0);
    assert_int_equal(lend(0, parts, 1), -1);
    assert_int_equal(rename(moved, path), 0);
}

/* A process without an input has the number 0 for others. */
static void test_descriptor_zero(void **state)
{
    static const uint8_t part;
    bytes v = {(const uint8_t *)"x", 1};
    store_call *set = ask(client, KV_SET, 0, "k", &v);
    wait_done(1);
    store_call_free(set);
    close(lend(0, &part, 1));
    int was = dup(STDIN_FILENO);
    close(STDIN_FILENO);
    large_value(100000);
    assert_int_equal(lend(0, &part, 1), STDIN_FILENO);
    dup2(was, STDIN_FILENO);
    close(was);
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

/* Those that wait for a place are given up, too, wherever in the line; the others come in order. */
static void test_given_up_in_line(void **state)
{
    enum { N = STORE_IN_FLIGHT_MAX + 4 };
    store_call *calls[N];
    int64_t one = 1, sum;
    bytes delta = {(const uint8_t *)&one, 8};
    ns before = clock_mono();
    for (int i = 0; i < N; i++)
        calls[i] = ask(client, KV_INCREMENT, 0, "n", &delta);
    assert_true(store_call_sent_at(calls[0]) <= clock_mono() &&
                store_call_sent_at(calls[0]) + NS_PER_S > before);
    store_call_free(calls[N - 3]);
    store_call_free(calls[N - 1]);
    calls[N - 1] = ask(client, KV_INCREMENT, 0, "n", &delta);
    wait_done(N - 1);
    for (int i = 0; i < N; i++) {
        store_item item;
        if (i == N - 3)
            continue;
        assert_true(store_message_next(answer(calls[i], STORE_OK), &item));
        memcpy(&sum, item.value.p, 8);
        assert_int_equal(sum, i < N - 3 ? i + 1 : i);
        store_call_free(calls[i]);
    }
}

static void test_unknown_stores(void **state)
{
    static const uint16_t stores[] = {2, 3, 64, UINT16_MAX};
    store_item i;
    for (int n = 0; n < 4; n++) {
        store_call *k = ask(client, KV_GET, stores[n], "k", NULL);
        wait_done(done + 1);
        assert_true(store_message_next(answer(k, STORE_FAILED), &i));
        assert_str(i.key, "there is no such store");
        store_call_free(k);
    }
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

static int raw_worker(void)
{
    int fds[2];
    assert_true(channel_pair(fds, &e));
    assert_true(store_server_add_take(server, fds[0], &e));
    return fds[1];
}

static bytes received(int fd)
{
    static uint8_t space[64 * KIB];
    ssize_t n;
    while ((n = recv(fd, space, sizeof space, MSG_DONTWAIT)) < 0)
        loop_turn(l, 1000);
    return (bytes){space, (size_t)n};
}

/* Each answer is sent once; those of a turn are one datagram. */
static void test_answers_of_a_turn(void **state)
{
    int fd = raw_worker();
    store_message m;
    bytes one;
    for (int n = 1; n <= 3; n++) {
        for (int i = 0; i < n; i++)
            tell(fd, KV_GET, "k", NULL);
        bytes all = received(fd);
        for (int i = 0; i < n; i++) {
            assert_true(store_message_take(&all, &one));
            assert_true(store_message_read(one, false, &m, &e));
            assert_true(m.kind == STORE_OK && m.count == 1);
        }
        assert_int_equal(all.n, 0);
    }
    close(fd);
}

static int fewer;

static void on_fewer(void *user) { fewer++; }

/* The bytes as they are, and a descriptor if it is not -1, which stays the caller's. */
static void tell_bytes(int fd, const void *p, size_t n, int passed)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
                          .cmsg_level = SOL_SOCKET,
                          .cmsg_type = SCM_RIGHTS}};
    struct iovec whole = {(void *)(uintptr_t)p, n};
    struct msghdr m = {.msg_iov = &whole, .msg_iovlen = 1};
    memcpy(CMSG_DATA(&control.head), &passed, sizeof passed);
    if (passed >= 0) {
        m.msg_control = &control;
        m.msg_controllen = sizeof control;
    }
    assert_int_equal(sendmsg(fd, &m, 0), n);
}

/* A worker that says what is no request has no connection any more; others are served. */
static void test_what_is_no_request(void **state)
{
    static const struct {
        store_kind kind;
        size_t less, more; /* bytes at its end */
        bool in_file;
    } at[] = {
        {KV_GET, 1, 0, false},     {KV_GET, 0, 3, false},     {STORE_OK, 0, 0, false},
        {STORE_NAME, 0, 0, false}, {STORE_NAME, 24, 0, true}, {KV_LEND, 24, 0, true},
        {STORE_OK, 24, 0, true},   {KV_GET, 23, 0, true},
    };
    size_t before = entries("/proc/self/fd");
    fewer = 0;
    store_server_on_fewer(server, on_fewer, NULL);
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        int fd = raw_worker(), passed = -1;
        buf b;
        bytes v = {(const uint8_t *)"0123456789abc", 13};
        buf_init(&b, 1024);
        store_message_begin(&b, 0, at[i].kind, 0);
        store_message_item(&b, S("key"), &v);
        store_message_end(&b);
        buf_put(&b, "xyz", at[i].more);
        if (at[i].in_file)
            assert_true(store_items_write((bytes){b.p + 24, b.n - 24}, &passed, &e));
        assert_int_equal(store_server_connections(server), 3);
        tell_bytes(fd, b.p, b.n - at[i].less, passed);
        assert_int_equal(received(fd).n, 0);
        assert_int_equal(store_server_connections(server), 2);
        assert_int_equal(fewer, i + 1);
        close(fd);
        if (passed >= 0)
            close(passed);
        buf_fini(&b);
    }
    store_call *get = ask(client, KV_GET, 0, "k", NULL);
    wait_done(1);
    answer(get, STORE_OK);
    store_call_free(get);
    for (int i = 0; i < 3; i++) /* sockets are closed a turn later */
        loop_turn(l, 0);
    assert_in_range(entries("/proc/self/fd"), before, before + 3); /* the store's file is open */
}

/* Its items are fewer than its head says. */
static void test_a_large_request_that_lies(void **state)
{
    int fd = raw_worker(), passed;
    for (uint16_t store = 0; store < 2; store++) {
        buf b;
        store_message m;
        store_item i;
        bytes v = {(const uint8_t *)"0123456789abc", 13};
        buf_init(&b, 1024);
        store_message_begin(&b, 5, KV_SET, store);
        store_message_item(&b, S("key"), &v);
        store_message_end(&b);
        assert_true(store_items_write((bytes){b.p + 24, b.n - 25}, &passed, &e));
        tell_bytes(fd, b.p, 24, passed);
        assert_true(store_message_read(received(fd), false, &m, &e));
        assert_true(m.kind == STORE_FAILED && m.id == 5 && m.store == store);
        assert_true(store_message_next(&m, &i));
        assert_str(i.key, "a large request arrived incomplete");
        close(passed);
        buf_fini(&b);
    }
    close(fd);
}

/* What came with a descriptor before its worker died is not begun, and the descriptor goes. */
static void test_a_large_request_of_the_dead(void **state)
{
    int passed;
    uint8_t items[24 + 20];
    store_item i;
    buf b;
    bytes v = {(const uint8_t *)"old", 3};
    size_t before = entries("/proc/self/fd");
    buf_init(&b, 1024);
    store_message_begin(&b, 0, KV_SET, 1);
    store_message_item(&b, S("k"), &v);
    store_message_end(&b);
    assert_true(b.n <= sizeof items);
    assert_true(store_items_write((bytes){b.p + 24, b.n - 24}, &passed, &e));
    int fd = raw_worker();
    tell_bytes(fd, b.p, 24, passed);
    close(fd);
    close(passed);
    buf_fini(&b);
    while (store_server_connections(server) > 2)
        loop_turn(l, 1000);
    assert_int_equal(entries("/proc/self/fd"), before);
    store_call *get = ask(client, KV_GET, 1, "k", NULL);
    wait_done(1);
    assert_true(store_message_next(answer(get, STORE_OK), &i));
    assert_false(i.has_value);
    store_call_free(get);
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

/* The clock of this program, which tests may set: libuv's too. */
static int64_t ahead_s;

int clock_gettime(clockid_t id, struct timespec *ret)
{
    int code = (int)syscall(SYS_clock_gettime, id, ret);
    ret->tv_sec += id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE ? ahead_s : 0;
    return code;
}

static unsigned open_after(int64_t s)
{
    ahead_s += s;
    for (int i = 0; i < 3; i++)
        loop_turn(l, 1);
    return store_server_files_open(server);
}

/* Files are closed when nobody used them for 10 s, and their logs are folded in; what is in memory
 * stays; then nothing wakes the process up. */
static void test_idle_files_are_closed(void **state)
{
    char wal[80];
    bytes v = {(const uint8_t *)"x", 1};
    store_item i;
    snprintf(wal, sizeof wal, "%s-wal", path);
    store_call *set = ask(client, KV_SET, 0, "k", &v), *other = ask(client, KV_SET, 1, "k", &v);
    wait_done(2);
    assert_int_equal(store_server_files_open(server), 2);
    assert_int_equal(open_after(9), 2);
    store_call *get = ask(client, KV_GET, 0, "k", NULL);
    wait_done(3);
    assert_int_equal(open_after(2), 2);
    assert_int_equal(open_after(7), 2);
    assert_int_equal(access(wal, F_OK), 0);
    assert_int_equal(open_after(1), 1);
    assert_int_not_equal(access(wal, F_OK), 0);
    store_call *in_memory = ask(client, KV_GET, 1, "k", NULL);
    wait_done(4);
    assert_true(store_message_next(answer(in_memory, STORE_OK), &i) && i.has_value);
    assert_int_equal(open_after(11), 1);
    ahead_s += 3600;
    ns before = clock_mono();
    loop_turn(l, 20);
    assert_true(clock_mono() - before >= 10 * NS_PER_MS); /* it slept */
    store_call *again = ask(client, KV_GET, 0, "k", NULL);
    wait_done(5);
    assert_true(store_message_next(answer(again, STORE_OK), &i) && i.has_value);
    assert_int_equal(store_server_files_open(server), 2);
    assert_int_equal(open_after(11), 1); /* closed as the first time */
    store_call *all[] = {set, other, get, in_memory, again};
    for (int k = 0; k < 5; k++)
        store_call_free(all[k]);
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

/* More is asked at once than may be under way: all of it is answered. */
static void test_asked_faster_than_read(void **state)
{
    enum { MANY = 3000 };
    static store_call *calls[MANY];
    char text[1000], key[16];
    bytes v = {(const uint8_t *)text, sizeof text};
    memset(text, 'v', sizeof text);
    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "k%d", i);
        calls[i] = ask(client, KV_SET, 0, key, &v);
    }
    wait_done(MANY);
    for (int i = 0; i < MANY; i++) {
        answer(calls[i], STORE_OK);
        store_call_free(calls[i]);
    }
    store_item i;
    store_call *last = ask(client, KV_GET, 0, key, NULL);
    wait_done(MANY + 1);
    assert_true(store_message_next(answer(last, STORE_OK), &i));
    assert_true(i.has_value && i.value.n == sizeof text);
    store_call_free(last);
}

int main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, open_all, close_all)
    const struct CMUnitTest tests[] = {
        T(test_set_here_get_there),
        T(test_a_store_in_memory_begins_with_its_values),
        T(test_many_increments),
        T(test_large_values),
        T(test_asked_faster_than_read),
        T(test_lent_files),
        T(test_descriptor_zero),
        T(test_too_large),
        T(test_given_up),
        T(test_given_up_in_line),
        T(test_unknown_stores),
        T(test_server_ends),
        T(test_answers_of_a_turn),
        T(test_what_is_no_request),
        T(test_a_large_request_that_lies),
        T(test_a_large_request_of_the_dead),
        T(test_idle_files_are_closed),
        T(test_no_write_after_the_worker),
        T(test_no_room),
        T(test_deleted_file_is_made_again),
    };
    signal(SIGXFSZ, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
