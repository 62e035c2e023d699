/* Deferred calls through the store's server: requests of several workers, over channels, share
 * commits; the file is there again after the server has gone. */
#include "folder_kit.h"
#include "workers_kit.h"

#include "base/limits.h"
#include "store/queue_client.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>

static char path[80];

static void server_start(const char *queue)
{
    server_new(&(store_config){.queue = {.path = str_from(queue), .key = {{7}}}});
    connect_client(client);
    connect_client(second);
}

static int begin(void **state)
{
    if (!folder_make("/tmp/ebb-queued") || !workers_make())
        return -1;
    snprintf(path, sizeof path, "%s/queue.db", dir);
    server_start(path);
    return 0;
}

static int end(void **state)
{
    workers_end();
    return folder_remove(dir);
}

static store_call *sent(store_call *k)
{
    if (!k || !store_call_send(k, on_done, NULL, &e))
        fail_msg("%s", k ? e.text : "no memory");
    return k;
}

static queue_offer offer_of(bytes request, str key)
{
    return (queue_offer){.head = {.terms = {.tenant = 1, .app = 2, .deadline_ms = INT64_C(1) << 47},
                                  .same = "sesame, a digest of the request"},
                         .key = key,
                         .request = request};
}

static store_call *put(store_client *c, bytes request, str key)
{
    queue_offer p = offer_of(request, key);
    return sent(queue_ask_put(c, &p));
}

static queue_accepted accepted(store_call *k)
{
    queue_accepted a;
    if (!queue_accepted_read(store_call_answer(k), &a, &e))
        fail_msg("%s", e.text);
    store_call_free(k);
    return a;
}

static void test_many_of_two_workers(void **state)
{
    enum { N = 500 };
    static store_call *puts[N];
    static queue_accepted ids[N];
    for (int i = 0; i < N; i++)
        puts[i] = put(i % 2 ? client : second, (bytes){(const uint8_t *)"r", 1}, S(""));
    assert_int_equal(store_server_files_open(server), 0); /* opened on use */
    wait_done(N);
    assert_int_equal(store_server_files_open(server), 1);
    for (int i = 0; i < N; i++) {
        ids[i] = accepted(puts[i]);
        for (int k = 0; k < i; k++)
            assert_memory_not_equal(&ids[i].id, &ids[k].id, sizeof ids[i].id);
    }
    queue_count c;
    store_call *k = sent(queue_ask_count(client, 1));
    wait_done(N + 1);
    assert_true(queue_count_read(store_call_answer(k), &c, &e));
    assert_int_equal(c.calls[QUEUE_WAITING], N);
    store_call_free(k);
}

static void test_a_large_call(void **state)
{
    size_t n = 3 * MIB;
    uint8_t *body = malloc(n);
    queue_call c;
    for (size_t i = 0; i < n; i++)
        body[i] = (uint8_t)(i * 7 >> 3);
    store_call *k = put(client, (bytes){body, n}, S(""));
    wait_done(1);
    queue_accepted a = accepted(k);
    queue_one one = {.id = a.id, .with = QUEUE_WITH_REQUEST};
    k = sent(queue_ask_one(second, QUEUE_GET, &one));
    wait_done(2);
    assert_true(queue_call_read(store_call_answer(k), &c, &e));
    assert_int_equal(c.request.n, n);
    assert_memory_equal(c.request.p, body, n);
    store_call_free(k);
    free(body);
}

/* More answers than may be held at once: the group is cut, and each is answered nevertheless. */
static void test_many_large_answers(void **state)
{
    enum { N = 6 };
    size_t n = 15 * MIB;
    uint8_t *body = calloc(1, n);
    store_call *k = put(client, (bytes){body, n}, S("")), *gets[N];
    wait_done(1);
    queue_one one = {.id = accepted(k).id, .with = QUEUE_WITH_REQUEST};
    for (int i = 0; i < N; i++)
        gets[i] = sent(queue_ask_one(i % 2 ? client : second, QUEUE_GET, &one));
    wait_done(1 + N);
    for (int i = 0; i < N; i++) {
        queue_call c;
        if (!queue_call_read(store_call_answer(gets[i]), &c, &e))
            fail_msg("%s", e.text);
        assert_int_equal(c.request.n, n);
        store_call_free(gets[i]);
    }
    free(body);
}

static void test_leased_by_one_of_two(void **state)
{
    store_call *p = put(client, (bytes){(const uint8_t *)"body", 4}, S(""));
    wait_done(1);
    queue_accepted a = accepted(p);
    queue_lease lease = {.holder = 1, .lease_ms = 60000, .count = 10};
    store_call *one = sent(queue_ask_lease(client, &lease));
    lease.holder = 2;
    store_call *two = sent(queue_ask_lease(second, &lease));
    wait_done(3);
    queue_call c;
    int got = 0;
    for (int i = 0; i < 2; i++) {
        store_message *m = store_call_answer(i ? two : one);
        assert_true(queue_answer_ok(m, &e));
        if (queue_call_next(m, &c)) {
            got++;
            assert_memory_equal(&c.info.id, &a.id, sizeof a.id);
            assert_memory_equal(c.request.p, "body", 4);
        }
    }
    assert_int_equal(got, 1);
    store_call_free(one);
    store_call_free(two);
}

/* ERR_NONE: it is answered as accepted. */
static err_code answered(const queue_offer *p, queue_accepted *ret)
{
    store_call *k = sent(queue_ask_put(client, p));
    wait_done(done + 1);
    bool ok = queue_accepted_read(store_call_answer(k), ret, &e);
    store_call_free(k);
    return ok ? ERR_NONE : e.code;
}

/* What would be refused asks whether it was accepted before, and is not accepted by that. */
static void test_only_what_a_key_has_made(void **state)
{
    queue_offer p = offer_of((bytes){0}, S("k"));
    queue_accepted first, again;
    p.head.only_known = 1;
    assert_int_equal(answered(&p, &again), ERR_NOT_FOUND);
    store_call *k = put(second, (bytes){(const uint8_t *)"r", 1}, S("k"));
    wait_done(2);
    first = accepted(k);
    p.head.calls_max = 1; /* the quota is for what is new */
    p.head.terms.deadline_ms = 0;
    assert_int_equal(answered(&p, &again), ERR_NONE);
    assert_true(again.existed);
    assert_memory_equal(&first.id, &again.id, sizeof first.id);
    p.head.same[0]++;
    assert_int_equal(answered(&p, &again), ERR_CONFLICT);
    p.key = (str){0};
    assert_int_equal(answered(&p, &again), ERR_NOT_FOUND);
}

static void test_the_server_goes_and_comes(void **state)
{
    store_call *p = put(client, (bytes){(const uint8_t *)"r", 1}, S("k"));
    wait_done(1);
    queue_accepted a = accepted(p);
    store_server_free(server);
    server_start(path);
    p = put(second, (bytes){(const uint8_t *)"r", 1}, S("k"));
    wait_done(2);
    queue_accepted b = accepted(p);
    assert_true(b.existed);
    assert_memory_equal(&a.id, &b.id, sizeof a.id);
}

/* A server that went with the end of a call is followed by one that is told again; what had
 * happened is refused. */
static void test_sent_again(void **state)
{
    static uint8_t result[MIB];
    static const size_t sizes[] = {3, sizeof result};
    for (int i = 0; i < 2; i++) {
        int fds[2], before = done;
        queue_call c;
        queue_offer p = {.head = {.terms = {.tenant = 1, .app = 2, .keep_ms = 3600000},
                                  .holder = 1,
                                  .lease_ms = 60000},
                         .request = {(const uint8_t *)"r", 1}};
        store_call *k = sent(queue_ask_put(second, &p));
        wait_done(before + 1);
        queue_accepted a = accepted(k);
        queue_end ends = {.held = {.id = a.id, .attempt = a.attempt}, .state = QUEUE_DONE};
        assert_true(channel_pair(fds, &e));
        store_client_connect_take(client, fds[1]); /* there nobody reads */
        k = queue_ask_end(client, &ends, S("a note"), (bytes){result, sizes[i]});
        store_call_keep(k);
        sent(k);
        loop_turn(l, 0);
        close(fds[0]);
        wait_done(before + 2);
        assert_false(queue_answer_ok(store_call_answer(k), &e));
        assert_int_equal(e.code, ERR_IO);
        store_call_send_again(k);
        store_server_free(server);
        server_start(path);
        wait_done(before + 3);
        assert_true(queue_answer_ok(store_call_answer(k), &e));
        store_call_free(k);
        k = sent(
            queue_ask_one(client, QUEUE_GET, &(queue_one){.id = a.id, .with = QUEUE_WITH_RESULT}));
        wait_done(before + 4);
        assert_true(queue_call_read(store_call_answer(k), &c, &e));
        assert_int_equal(c.info.state, QUEUE_DONE);
        assert_int_equal(c.result.n, sizes[i]);
        store_call_free(k);
        k = sent(queue_ask_end(client, &ends, S(""), (bytes){0}));
        wait_done(before + 5);
        assert_false(queue_answer_ok(store_call_answer(k), &e));
        assert_int_equal(e.code, ERR_CONFLICT);
        store_call_free(k);
    }
}

/* What calls say is nowhere in the file. */
static void test_sealed_at_rest(void **state)
{
    static char file[4 << 20];
    store_call *p = put(client, (bytes){(const uint8_t *)"sesame, open", 12}, S("sesame-key"));
    wait_done(1);
    accepted(p);
    store_server_free(server);
    server_start(path);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(file, 1, sizeof file, f);
    fclose(f);
    assert_true(n > 4096);
    assert_null(memmem(file, n, "sesame", 6));
}

/* Those kept the digest of a request as it is. */
static void test_keys_of_builds_before(void **state)
{
    sqlite3 *db;
    store_call *p = put(client, (bytes){(const uint8_t *)"r", 1}, S("key"));
    wait_done(1);
    assert_int_equal(accepted(p).existed, 0);
    store_server_free(server);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "UPDATE call SET same_hash = CAST('sesame, a digest' AS BLOB)",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_changes(db), 1);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    server_start(path);
    p = put(client, (bytes){(const uint8_t *)"r", 1}, S("key"));
    wait_done(2);
    assert_int_equal(accepted(p).existed, 1);
}

static void refused(store_call *k, const char *why)
{
    queue_accepted a;
    assert_false(queue_accepted_read(store_call_answer(k), &a, &e));
    assert_int_equal(e.code, ERR_IO);
    if (!strstr(e.text, why))
        fail_msg("'%s' does not say '%s'", e.text, why);
    store_call_free(k);
}

static void test_no_queue(void **state)
{
    store_server_free(server);
    server_start("");
    store_call *p = put(client, (bytes){(const uint8_t *)"r", 1}, S(""));
    wait_done(1);
    refused(p, "no queue");
}

/* A file that can't be written refuses, each by itself, and works again once it can. */
static void test_a_locked_file(void **state)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    store_call *p = put(client, (bytes){(const uint8_t *)"r", 1}, S(""));
    wait_done(1);
    refused(p, "locked");
    sqlite3_close(db);
    p = put(client, (bytes){(const uint8_t *)"r", 1}, S(""));
    wait_done(2);
    accepted(p);
}

/* The clocks of this program, which tests may set: libuv's too. */
static int64_t wall_ahead_s, mono_ahead_s;

int clock_gettime(clockid_t id, struct timespec *ret)
{
    int code = (int)syscall(SYS_clock_gettime, id, ret);
    ret->tv_sec += id == CLOCK_REALTIME                                    ? wall_ahead_s
                   : id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE ? mono_ahead_s
                                                                           : 0;
    return code;
}

static queue_count counts(void)
{
    queue_count c;
    store_call *k = sent(queue_ask_count(client, 1));
    wait_done(done + 1);
    assert_true(queue_count_read(store_call_answer(k), &c, &e));
    store_call_free(k);
    return c;
}

/* A queue in a file has no others who could change it. */
static void test_no_news(void **state)
{
    store_call *k = sent(queue_ask_news(client));
    wait_done(done + 1);
    assert_false(queue_answer_ok(store_call_answer(k), &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    store_call_free(k);
}

/* Asks for what has expired, and says how many leases there are. */
static uint64_t leased(void)
{
    queue_backlog b;
    const uint8_t *slots;
    size_t n;
    store_call *k = sent(queue_ask_backlog(client, 60000));
    wait_done(done + 1);
    assert_true(queue_backlog_read(store_call_answer(k), &b, &slots, &n, &e));
    store_call_free(k);
    assert_int_equal(b.leased, counts().calls[QUEUE_LEASED]);
    return b.leased;
}

/* The wall clock is set while nobody uses the queue, which is closed then: more leases than one
 * look sees keep their length. */
static void test_leases_follow_the_clock(void **state)
{
    enum { N = 1200, LEASE_S = 60, PAUSE_S = 11, HOUR_S = 3600 };
    static store_call *puts[N];
    queue_offer p = {.head = {.terms = {.tenant = 1, .app = 2, .deadline_ms = INT64_C(1) << 47},
                              .holder = 1,
                              .lease_ms = LEASE_S * 1000},
                     .request = {(const uint8_t *)"r", 1}};
    for (int i = 0; i < N; i++)
        puts[i] = sent(queue_ask_put(client, &p));
    wait_done(N);
    for (int i = 0; i < N; i++)
        assert_int_equal(accepted(puts[i]).state, QUEUE_LEASED);
    for (int sign = 1; sign >= -1; sign -= 2) {
        wall_ahead_s += PAUSE_S;
        mono_ahead_s += PAUSE_S;
        while (store_server_files_open(server))
            loop_turn(l, 1000);
        wall_ahead_s += sign * HOUR_S;
        assert_int_equal(leased(), N);
    }
    wall_ahead_s += LEASE_S;
    mono_ahead_s += LEASE_S;
    assert_int_equal(leased(), N - 1000); /* so many at a time */
    assert_int_equal(leased(), 0);
}

/* A call is tried again after ten seconds, whatever the clock says then. */
static void test_next_attempts_follow_the_clock(void **state)
{
    queue_offer p = {.head = {.terms = {.tenant = 1, .app = 2, .deadline_ms = INT64_C(1) << 47},
                              .holder = 1,
                              .lease_ms = 60000},
                     .request = {(const uint8_t *)"r", 1}};
    store_call *k = sent(queue_ask_put(client, &p));
    wait_done(done + 1);
    queue_accepted a = accepted(k);
    assert_int_equal(a.state, QUEUE_LEASED);
    queue_retry again = {.held = {.id = a.id, .attempt = a.attempt},
                         .at_ms = (int64_t)(clock_wall() / NS_PER_MS) + 10000,
                         .counts = 1};
    k = sent(queue_ask_retry(client, &again, S("")));
    wait_done(done + 1);
    assert_true(queue_answer_ok(store_call_answer(k), &e));
    store_call_free(k);
    wall_ahead_s -= 3600;
    for (int i = 0; i < 2; i++) { /* not yet; now */
        k = sent(
            queue_ask_lease(client, &(queue_lease){.holder = 1, .lease_ms = 60000, .count = 1}));
        wait_done(done + 1);
        store_call_free(k);
        assert_int_equal(leased(), i);
        wall_ahead_s += 11;
        mono_ahead_s += 11;
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_many_of_two_workers),
        CASE(test_a_large_call),
        CASE(test_many_large_answers),
        CASE(test_leased_by_one_of_two),
        CASE(test_only_what_a_key_has_made),
        CASE(test_the_server_goes_and_comes),
        CASE(test_sent_again),
        CASE(test_sealed_at_rest),
        CASE(test_keys_of_builds_before),
        CASE(test_no_queue),
        CASE(test_a_locked_file),
        CASE(test_leases_follow_the_clock),
        CASE(test_next_attempts_follow_the_clock),
        CASE(test_no_news),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
