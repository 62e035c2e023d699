/* A worker's read-only view of a key-value file; the store's server is another process, as ever. */
#include "unit.h"

#include "base/limits.h"
#include "loop/channel.h"
#include "store/kv_view.h"
#include "store/server.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char dir[] = "/tmp/ebb-view-XXXXXX";
static char path[64], wal[72];
static loop *l;
static store_client *client;
static kv_view *view;
static pid_t store, next;
static int next_fd;
static int done;
static err e;

static const str label = {"default", 7};

/* The clock of this process, which tests may set; the store process has its own. */
static int64_t ahead_s;

int clock_gettime(clockid_t id, struct timespec *ret)
{
    int code = (int)syscall(SYS_clock_gettime, id, ret);
    ret->tv_sec += id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE ? ahead_s : 0;
    return code;
}

/* A store process: ends when its only connection does. */
static void store_run(int fd)
{
    loop *own;
    store_server *s;
    kv_store stores[] = {{label, str_from(path)}, {S("memory"), {0}}};
    if (!loop_new(&own, &e) ||
        !store_server_new(own, &(store_config){.stores = stores, .stores_count = 2}, &s, &e) ||
        !store_server_add_take(s, fd, &e))
        _exit(1);
    while (store_server_connections(s))
        loop_turn(own, 1000);
    store_server_free(s);
    loop_free(own);
    _exit(0);
}

/* Forked before this process opens any file: a child would inherit what SQLite has open. */
static pid_t store_fork(int *ret_fd)
{
    int fds[2];
    assert_true(channel_pair(fds, &e));
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fds[1]);
        store_run(fds[0]);
    }
    close(fds[0]);
    *ret_fd = fds[1];
    return pid;
}

static int open_all(void **state)
{
    strcpy(dir + sizeof dir - 7, "XXXXXX");
    if (!mkdtemp(dir) || !loop_new(&l, &e) || !store_client_new(l, &client, &e))
        return -1;
    snprintf(path, sizeof path, "%s/kv.db", dir);
    snprintf(wal, sizeof wal, "%s-wal", path);
    int fd;
    next = store_fork(&next_fd);
    store = store_fork(&fd);
    store_client_connect_take(client, fd);
    view = kv_view_take(client, 0, str_from(path));
    return view ? 0 : -1;
}

static int close_all(void **state)
{
    int status;
    kv_view_give(view);
    store_client_free(client);
    loop_free(l);
    if (next_fd >= 0)
        close(next_fd);
    waitpid(next, &status, 0);
    if (store)
        waitpid(store, &status, 0);
    bool folded = access(wal, F_OK) < 0;
    unlink(path);
    return rmdir(dir) || status || !folded;
}

static void on_done(void *user) { done++; }

/* Asks the store process; the answer's first item goes to *ret. */
static store_call *ask(store_kind kind, const char *key, const bytes *value, store_item *ret)
{
    store_call *k = store_call_new(client, kind, 0);
    store_call_item(k, str_from(key), value);
    done = 0;
    assert_true(store_call_send(k, on_done, NULL, &e));
    while (!done)
        loop_turn(l, 1000);
    store_message *m = store_call_answer(k);
    assert_int_equal(m->kind, STORE_OK);
    if (ret)
        assert_true(store_message_next(m, ret));
    return k;
}

static void set(const char *key, const char *value)
{
    bytes v = {(const uint8_t *)value, strlen(value)};
    store_call_free(ask(KV_SET, key, &v, NULL));
}

/* A get through the store process, which tells the view. */
static void get_asked(const char *key)
{
    store_item i;
    store_call_free(ask(KV_GET, key, NULL, &i));
    kv_view_answered(view);
}

static kv_read look(const char *key, bytes *ret)
{
    return kv_view_get(view, label, str_from(key), ret);
}

/* Two gets make it hot; then descriptors come. */
static void make_hot(void)
{
    bytes v;
    get_asked("k");
    get_asked("k");
    kv_read r;
    for (int i = 0; (r = look("k", &v)) == KV_READ_ASK && i < 1000; i++)
        loop_turn(l, 10);
    assert_int_not_equal(r, KV_READ_ASK);
    kv_view_done(view);
}

static void assert_seen(const char *key, const char *want)
{
    bytes v;
    assert_int_equal(look(key, &v), KV_READ_VALUE);
    assert_int_equal(v.n, strlen(want));
    assert_memory_equal(v.p, want, v.n);
    kv_view_done(view);
}

static void test_cold_files_are_asked_for(void **state)
{
    bytes v;
    set("k", "one");
    assert_int_equal(look("k", &v), KV_READ_ASK);
    get_asked("k");
    loop_turn(l, 0);
    assert_int_equal(look("k", &v), KV_READ_ASK);
}

static void test_reads_what_was_answered(void **state)
{
    char value[16];
    bytes v;
    set("k", "one");
    make_hot();
    assert_seen("k", "one");
    assert_int_equal(look("other", &v), KV_READ_NONE);
    kv_view_done(view);
    for (int i = 0; i < 500; i++) { /* in one turn and over several, and over checkpoints */
        snprintf(value, sizeof value, "%d", i);
        set("k", value);
        kv_view_answered(view); /* its lease is short for a slow disk */
        assert_seen("k", value);
        assert_seen("k", value);
    }
    store_call_free(ask(KV_DELETE, "k", NULL, NULL));
    assert_int_equal(look("k", &v), KV_READ_NONE);
    kv_view_done(view);
    set("k", "");
    assert_seen("k", "");
}

/* A commit that happens in the middle of a turn is seen by the next read of that turn. */
static void test_commit_within_a_turn(void **state)
{
    bytes two = {(const uint8_t *)"two", 3}, v;
    set("k", "one");
    make_hot();
    kill(store, SIGSTOP);
    store_call *k = store_call_new(client, KV_SET, 0);
    store_call_item(k, S("k"), &two);
    assert_true(store_call_send(k, on_done, NULL, &e));
    loop_turn(l, 0);
    assert_seen("k", "one");
    kill(store, SIGCONT);
    ns give_up = clock_mono() + 20 * NS_PER_S;
    bool new = false;
    while (!new && clock_mono() < give_up) {
        assert_int_equal(look("k", &v), KV_READ_VALUE);
        new = memcmp(v.p, two.p, two.n) == 0;
        kv_view_done(view);
    }
    assert_seen("k", "two");
    store_call_free(k);
}

/* The log grows and is written back under a reader that never rests for long. */
static void test_reads_over_checkpoints(void **state)
{
    static uint8_t big[40 << 10];
    bytes v = {big, sizeof big}, got;
    set("k", "one");
    make_hot();
    for (int i = 0; i < 400; i++) {
        memset(big, i, sizeof big);
        store_call_free(ask(KV_SET, "big", &v, NULL));
        kv_view_answered(view);
        assert_int_equal(look("big", &got), KV_READ_VALUE);
        assert_int_equal(got.n, sizeof big);
        assert_memory_equal(got.p, big, sizeof big);
        kv_view_done(view);
    }
}

static void test_long_values_are_asked_for(void **state)
{
    static uint8_t big[STORE_READ_BYTES_MAX + 1];
    bytes v = {big, sizeof big};
    make_hot();
    store_call_free(ask(KV_SET, "long", &v, NULL));
    assert_int_equal(look("long", &v), KV_READ_ASK);
    set("k", "one");
    assert_seen("k", "one");
}

/* Whoever deletes the file is seen; the store process makes a new one, which is read then. */
static void test_deleted_file(void **state)
{
    bytes v;
    set("k", "one");
    make_hot();
    unlink(path);
    loop_turn(l, 0);
    assert_int_equal(look("k", &v), KV_READ_ASK);
    set("k", "two");
    make_hot();
    assert_seen("k", "two");
}

/* Reads go on while there is no store process; the next one's commits are seen. */
static void test_store_process_dies(void **state)
{
    set("k", "one");
    make_hot();
    kill(store, SIGKILL);
    waitpid(store, NULL, 0);
    store = 0;
    while (store_client_connected(client))
        loop_turn(l, 1000);
    assert_seen("k", "one");
    store_client_connect_take(client, next_fd);
    next_fd = -1;
    set("k", "two");
    make_hot();
    assert_seen("k", "two");
}

/* --- killed at any moment --------------------------------------------------------------------- */

static void spin(ns for_ns)
{
    ns end = clock_mono() + for_ns;
    while (clock_mono() < end)
        ;
}

/* What the view shows, or -1: it has to be asked. */
static long look_number(void)
{
    bytes v;
    char text[16] = "";
    if (look("k", &v) != KV_READ_VALUE)
        return -1;
    assert_in_range(v.n, 1, sizeof text - 1);
    memcpy(text, v.p, v.n);
    kv_view_done(view);
    return strtol(text, NULL, 10);
}

static long ask_number(void)
{
    char text[16] = "";
    store_item i;
    store_call *k = ask(KV_GET, "k", NULL, &i);
    assert_in_range(i.value.n, 1, sizeof text - 1);
    memcpy(text, i.value.p, i.value.n);
    store_call_free(k);
    kv_view_answered(view);
    return strtol(text, NULL, 10);
}

/* The store process dies while it commits, sooner or later after it was asked to; the view was open
 * before (0), is opened by descriptors of a dead process (1), or is not there (2). Whatever the
 * view shows without a store process is not taken back by the next one, and then both show the
 * same. */
static void test_killed_at_any_moment(void **state)
{
    enum { LIVES = 36 };
    int fds[LIVES + 1], status;
    pid_t pids[LIVES + 1];
    char text[16];
    for (int i = 0; i <= LIVES; i++) /* before any file is opened here */
        pids[i] = store_fork(&fds[i]);
    store_client_connect_take(client, fds[0]);
    for (int i = 0; i < LIVES; i++) {
        if (i % 3) {
            kv_view_give(view);
            view = kv_view_take(client, 0, str_from(path));
        }
        snprintf(text, sizeof text, "%d", 2 * i);
        set("k", text);
        if (i % 3 == 0)
            make_hot();
        snprintf(text, sizeof text, "%d", 2 * i + 1);
        bytes v = {(const uint8_t *)text, strlen(text)};
        store_call *k = store_call_new(client, KV_SET, 0);
        store_call_item(k, S("k"), &v);
        if (i % 3 == 1) {
            get_asked("k");
            get_asked("k"); /* lends are sent with what follows */
        }
        assert_true(store_call_send(k, on_done, NULL, &e));
        loop_turn(l, 0);
        if (i % 3 == 1 && !store_call_is_done(k)) /* a quick one has answered in that turn */
            assert_int_equal(poll(&(struct pollfd){fds[i], POLLIN, 0}, 1, 10000), 1);
        spin((ns)i * 15 * NS_PER_US);
        assert_int_equal(kill(pids[i], SIGKILL), 0);
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        while (store_client_connected(client))
            loop_turn(l, 1000);
        store_call_free(k);
        long shown = look_number();
        assert_true(shown == -1 || shown == 2 * i || shown == 2 * i + 1);
        store_client_connect_take(client, fds[i + 1]);
        long kept = ask_number();
        assert_true(kept == 2 * i || kept == 2 * i + 1);
        assert_true(kept >= shown);
        shown = look_number();
        assert_true(shown == -1 || shown == kept);
    }
    store_client_connect_take(client, next_fd);
    next_fd = -1;
    assert_int_equal(waitpid(pids[LIVES], &status, 0), pids[LIVES]);
}

static void test_shared_and_given_back(void **state)
{
    kv_view *same = kv_view_take(client, 1, str_from(path));
    assert_ptr_equal(same, view);
    kv_view_give(same);
    make_hot();
    kv_view *other = kv_view_take(client, 1, S("/nowhere"));
    assert_ptr_not_equal(other, view);
    kv_view_give(other); /* with its lends under way */
}

static size_t descriptors(void)
{
    for (int i = 0; i < 3; i++)
        loop_turn(l, 1);
    return entries("/proc/self/fd");
}

/* It may be read for 3 s after an answer; 2 s later it is closed, and comes back by two answers. */
static void test_leases_end(void **state)
{
    bytes v;
    size_t before = descriptors();
    set("k", "one");
    make_hot();
    assert_true(descriptors() >= before + 3);
    ahead_s += 2;
    loop_turn(l, 1);
    assert_seen("k", "one");
    ahead_s += 2;
    loop_turn(l, 1);
    assert_int_equal(look("k", &v), KV_READ_ASK);
    get_asked("k");
    assert_seen("k", "one"); /* it was still open */
    ahead_s += 4;
    assert_true(descriptors() >= before + 3);
    ahead_s += 2;
    assert_int_equal(descriptors(), before);
    get_asked("k");
    loop_turn(l, 1);
    assert_int_equal(look("k", &v), KV_READ_ASK); /* one answer is not enough */
    make_hot();
    assert_seen("k", "one");
    ahead_s += 60;
    assert_int_equal(descriptors(), before);
}

/* What cannot be read is asked for, and the view is not used any more. */
static void test_a_damaged_log(void **state)
{
    static char value[2000];
    static uint8_t damage[64 << 10];
    char key[16];
    bytes v;
    memset(value, 'v', sizeof value - 1);
    memset(damage, 0xee, sizeof damage);
    for (int i = 0; i < 60; i++) {
        snprintf(key, sizeof key, "key%02d", i);
        set(key, value);
    }
    set("k", "one");
    make_hot();
    assert_seen("k", "one");
    int fd = open(wal, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    off_t n = lseek(fd, 0, SEEK_END);
    for (off_t at = 4096; at < n; at += (off_t)sizeof damage)
        assert_true(pwrite(fd, damage,
                           sizeof damage < (size_t)(n - at) ? sizeof damage : (size_t)(n - at),
                           at) > 0);
    close(fd);
    assert_seen("k", "one"); /* its page is in memory */
    assert_int_equal(look("key00", &v), KV_READ_ASK);
    assert_int_equal(look("k", &v), KV_READ_ASK);
}

/* A view that is given back while it is being lent leaves no descriptor. */
static void test_given_back_while_it_is_lent(void **state)
{
    size_t before = descriptors();
    set("k", "one");
    for (int turns = 0; turns < 4; turns++) {
        get_asked("k");
        get_asked("k");
        for (int i = 0; i < turns; i++)
            loop_turn(l, 10);
        kv_view_give(view);
        assert_null(*store_client_views(client));
        view = kv_view_take(client, 0, str_from(path));
        assert_non_null(view);
    }
    set("k", "two");
    set("k", "two"); /* whatever was lent has come */
    assert_int_equal(descriptors(), before);
    kv_view_give(NULL);
    kv_view_answered(NULL);
    bytes v;
    assert_int_equal(kv_view_get(NULL, label, S("k"), &v), KV_READ_ASK);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, open_all, close_all)
    const struct CMUnitTest tests[] = {
        CASE(test_cold_files_are_asked_for),
        CASE(test_reads_what_was_answered),
        CASE(test_commit_within_a_turn),
        CASE(test_reads_over_checkpoints),
        CASE(test_long_values_are_asked_for),
        CASE(test_deleted_file),
        CASE(test_store_process_dies),
        CASE(test_killed_at_any_moment),
        CASE(test_shared_and_given_back),
        CASE(test_leases_end),
        CASE(test_a_damaged_log),
        CASE(test_given_back_while_it_is_lent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
