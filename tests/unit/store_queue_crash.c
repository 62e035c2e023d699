/* kill -9 of the store process while it accepts, leases and ends calls: whatever was acknowledged
 * is there in the next one, and no call is leased twice while its lease lasts. */
#include "unit.h"

#include "base/limits.h"
#include "loop/channel.h"
#include "store/queue_client.h"
#include "store/server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KILLS = 20, IN_FLIGHT = 32, CALLS_MAX = 20000 };

typedef enum { NOTHING, PUT, LEASE, END } asked;

typedef struct {
    queue_id id;
    uint32_t attempt;
    bool leased, end_sent, ended;
} known;

typedef struct {
    asked what;
    store_call *call;
    size_t of; /* END: which */
} flight;

static char dir[] = "/tmp/ebb-crash-XXXXXX";
static char path[64];
static loop *l;
static store_client *client;
static pid_t store;
static err e;
static flight flights[IN_FLIGHT];
static known calls[CALLS_MAX];
static size_t calls_n, answers;
static uint64_t seed = 7;

static unsigned chance(unsigned n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % n;
}

static void on_fewer(void *user) { loop_stop(user); }

/* The child has the parent's channels open, and closes none: it sees its end by its own. */
static void store_start(void)
{
    int fds[2];
    assert_true(channel_pair(fds, &e));
    store = fork();
    if (store == 0) {
        loop *own;
        store_server *server;
        store_config c = {.queue = {.path = str_from(path), .key = {{1}}}};
        close(fds[1]);
        if (!loop_new(&own, &e) || !store_server_new(own, &c, &server, &e) ||
            !store_server_add_take(server, fds[0], &e))
            _exit(1);
        store_server_on_fewer(server, on_fewer, own);
        loop_run(own, &e);
        _exit(0);
    }
    close(fds[0]);
    store_client_connect_take(client, fds[1]);
}

static void on_done(void *user) { answers++; }

static void send(flight *f, asked what, store_call *k)
{
    f->what = what;
    f->call = k;
    if (!k || !store_call_send(k, on_done, NULL, &e))
        fail_msg("%s", k ? e.text : "no memory");
}

static void ask(flight *f)
{
    unsigned r = chance(4);
    size_t end = chance((unsigned)calls_n + 1);
    if (r == 0) {
        queue_lease lease = {.holder = 1, .lease_ms = 3600000, .count = 1 + chance(4)};
        send(f, LEASE, queue_ask_lease(client, &lease));
    } else if (r == 1 && end < calls_n && calls[end].leased && !calls[end].end_sent) {
        queue_end q = {.held = {.id = calls[end].id, .attempt = calls[end].attempt},
                       .state = QUEUE_DONE};
        calls[end].end_sent = true;
        f->of = end;
        send(f, END, queue_ask_end(client, &q, S(""), (bytes){0}));
    } else {
        queue_offer p = {.head.terms = {.tenant = 1,
                                        .app = 1,
                                        .attempts_max = 1,
                                        .deadline_ms = 1 + chance(1000),
                                        .keep_ms = INT64_C(1) << 40},
                         .request = {(const uint8_t *)"r", 1}};
        send(f, PUT, queue_ask_put(client, &p));
    }
}

/* One that was never acknowledged may be leased: it is known from then on. */
static known *known_of(const queue_id *id)
{
    for (size_t i = 0; i < calls_n; i++)
        if (memcmp(&calls[i].id, id, sizeof *id) == 0)
            return &calls[i];
    assert_true(calls_n < CALLS_MAX);
    calls[calls_n] = (known){.id = *id};
    return &calls[calls_n++];
}

static void leases_note(store_message *m)
{
    queue_call c;
    while (queue_call_next(m, &c)) {
        known *k = known_of(&c.info.id);
        if (k->leased)
            fail_msg("a call was leased twice");
        k->leased = true;
        k->attempt = c.info.attempts;
        assert_int_equal(c.info.attempts, 1);
    }
}

/* An answer that says nothing happened (the process has died) proves nothing. */
static void answered(flight *f)
{
    store_message *m = store_call_answer(f->call);
    queue_accepted a;
    if (m->kind == STORE_OK && f->what == PUT) {
        assert_true(queue_accepted_read(m, &a, &e));
        known_of(&a.id);
    } else if (m->kind == STORE_OK && f->what == LEASE) {
        leases_note(m);
    } else if (m->kind == STORE_OK) {
        calls[f->of].ended = true;
    } else {
        assert_int_equal(m->kind, STORE_FAILED);
    }
    store_call_free(f->call);
    *f = (flight){0};
}

static void turn(bool more)
{
    for (int i = 0; i < IN_FLIGHT; i++) {
        if (flights[i].what && store_call_is_done(flights[i].call))
            answered(&flights[i]);
        if (!flights[i].what && more)
            ask(&flights[i]);
    }
    loop_turn(l, 1000);
}

static bool any_in_flight(void)
{
    for (int i = 0; i < IN_FLIGHT; i++)
        if (flights[i].what)
            return true;
    return false;
}

static void store_kill(void)
{
    int status;
    kill(store, SIGKILL);
    waitpid(store, &status, 0);
    assert_true(WIFSIGNALED(status));
}

static void verify(void)
{
    for (size_t i = 0; i < calls_n; i++) {
        size_t before = answers;
        queue_one one = {.id = calls[i].id};
        store_call *k = queue_ask_one(client, QUEUE_GET, &one);
        queue_call c;
        send(&(flight){0}, NOTHING, k);
        while (answers == before)
            loop_turn(l, 1000);
        if (!queue_call_read(store_call_answer(k), &c, &e))
            fail_msg("an acknowledged call is lost: %s", e.text);
        if (calls[i].ended)
            assert_int_equal(c.info.state, QUEUE_DONE);
        else if (calls[i].leased)
            assert_true(c.info.state == QUEUE_LEASED ||
                        (calls[i].end_sent && c.info.state == QUEUE_DONE));
        store_call_free(k);
    }
}

static void test_killed(void **state)
{
    size_t leased = 0, ended = 0;
    for (int i = 0; i < KILLS; i++) {
        size_t until = answers + 20 + chance(300);
        store_start();
        while (answers < until)
            turn(true);
        store_kill();
        while (any_in_flight())
            turn(false);
    }
    store_start();
    verify();
    store_kill();
    for (size_t i = 0; i < calls_n; i++) {
        leased += calls[i].leased;
        ended += calls[i].ended;
    }
    assert_true(calls_n > 500 && leased > 100 && ended > 50);
}

static int begin(void **state)
{
    if (!mkdtemp(dir) || !loop_new(&l, &e) || !store_client_new(l, &client, &e))
        return -1;
    snprintf(path, sizeof path, "%s/queue.db", dir);
    return 0;
}

static int end(void **state)
{
    char name[80];
    store_client_free(client);
    loop_free(l);
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s%s", path, (const char *[]){"", "-wal", "-shm"}[i]);
        unlink(name);
    }
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_killed, begin, end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
