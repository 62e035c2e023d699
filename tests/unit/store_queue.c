/* The durable queue: what each request does, over a file; over PostgreSQL where EBB_QUEUE_URL names
 * a database (tests/integration/test_queue.py). The clock is the test's. */
#include "unit.h"

#include "base/limits.h"
#include "store/queue_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TENANT = 7, APP = 70, DAY = 86400000 };

static char dir[] = "/tmp/ebb-queue-XXXXXX";
static char path[64];
static seal_key key = {{1, 2, 3}};
static queue_engine *q;
static buf ask, out;
static int64_t now;
static err e;

static void engine_open(void)
{
    queue_rows *rows;
    const char *url = getenv("EBB_QUEUE_URL");
    bool ok = url ? queue_pg_open(url, &rows, &e) : queue_sqlite_open(path, &rows, &e);
    if (!ok || !queue_engine_new_take(rows, &key, &q, &e))
        fail_msg("%s", e.text);
}

/* --- asking: a transaction each --------------------------------------------------------------- */

static store_kind kind_asked;

static buf *asking(store_kind kind)
{
    kind_asked = kind;
    buf_clear(&ask);
    store_message_begin(&ask, 42, kind, 0);
    return &ask;
}

static void apply(void)
{
    store_message m;
    store_message_end(&ask);
    assert_true(store_message_read(buf_bytes(&ask), false, &m, &e));
    if (!queue_apply(q, m, &out, &e))
        fail_msg("%s", e.text);
}

static void commit(void)
{
    bool unsure;
    if (!queue_commit(q, &unsure, &e))
        fail_msg("%s", e.text);
}

static void transaction(void)
{
    if (!queue_begin(q, now, &e))
        fail_msg("%s", e.text);
}

static store_message *answer(void)
{
    static store_message m;
    assert_true(store_message_read(buf_bytes(&out), false, &m, &e));
    assert_int_equal(m.id, 42);
    return &m;
}

static store_message *answered(void)
{
    transaction();
    apply();
    commit();
    return answer();
}

static queue_offer offer_of(const char *request)
{
    return (queue_offer){
        .head = {.terms = {.tenant = TENANT,
                           .app = APP,
                           .revision = 3,
                           .attempts_max = 3,
                           .criticality = 1,
                           .deadline_ms = now + DAY,
                           .keep_ms = 1000,
                           .cpu_ns = 5000000,
                           .intensity_g_per_kwh = 321.5}},
        .about = {(const uint8_t *)"GET /", 5},
        .request = {(const uint8_t *)request, strlen(request)},
    };
}

static queue_accepted put(const queue_offer *p)
{
    queue_accepted a;
    queue_offer_write(asking(QUEUE_PUT), p);
    if (!queue_accepted_read(answered(), &a, &e))
        fail_msg("%s", e.text);
    return a;
}

static void put_refused(const queue_offer *p, err_code why)
{
    queue_accepted a;
    queue_offer_write(asking(QUEUE_PUT), p);
    assert_false(queue_accepted_read(answered(), &a, &e));
    assert_int_equal(e.code, why);
}

static queue_id put_due(const char *request, int64_t deadline_ms)
{
    queue_offer p = offer_of(request);
    p.head.terms.deadline_ms = deadline_ms;
    return put(&p).id;
}

/* The requests of what is leased, in order, with commas. */
static char leased[1024];
static queue_held held[16];
static size_t held_n;

static const char *lease(queue_lease l)
{
    queue_call c;
    if (!l.holder)
        l.holder = 5;
    l.lease_ms = l.lease_ms ? l.lease_ms : 10000;
    l.count = l.count ? l.count : 1;
    queue_lease_write(asking(QUEUE_LEASE), &l);
    store_message *m = answered();
    if (!queue_answer_ok(m, &e))
        return e.text;
    leased[0] = 0;
    held_n = 0;
    while (queue_call_next(m, &c)) {
        size_t n = strlen(leased);
        assert_int_equal(c.info.state, QUEUE_LEASED);
        assert_true(c.has_request);
        snprintf(leased + n, sizeof leased - n, "%s%.*s", n ? "," : "", (int)c.request.n,
                 (const char *)c.request.p);
        if (held_n < 16)
            held[held_n++] = (queue_held){.id = c.info.id, .attempt = c.info.attempts};
    }
    assert_int_equal(m->count, 0);
    return leased;
}

static queue_call got;

static queue_info get(queue_id id)
{
    queue_one_write(
        asking(QUEUE_GET),
        &(queue_one){.id = id, .tenant = TENANT, .with = QUEUE_WITH_REQUEST | QUEUE_WITH_RESULT});
    if (!queue_call_read(answered(), &got, &e))
        fail_msg("%s", e.text);
    return got.info;
}

static bool end_with(queue_held h, queue_state state, const char *note, const char *result)
{
    queue_end_write(asking(QUEUE_END),
                    &(queue_end){.held = h, .state = state, .use = {.cpu_ns = 10, .energy_nj = 20}},
                    str_from(note),
                    result ? (bytes){(const uint8_t *)result, strlen(result)} : (bytes){0});
    return queue_answer_ok(answered(), &e);
}

static queue_state retry(queue_held h, int64_t at, bool counts, const char *note)
{
    queue_state s;
    queue_retry_write(asking(QUEUE_RETRY), &(queue_retry){.held = h, .at_ms = at, .counts = counts},
                      str_from(note));
    if (!queue_retry_read(answered(), &s, &e))
        return QUEUE_ANY;
    return s;
}

static bool one(store_kind kind, queue_id id, uint64_t tenant)
{
    queue_one_write(asking(kind), &(queue_one){.id = id, .tenant = tenant, .deadline_ms = now + 5});
    return queue_call_read(answered(), &got, &e);
}

static queue_count counts(uint64_t tenant)
{
    queue_count c;
    queue_number_write(asking(QUEUE_COUNT), tenant);
    if (!queue_count_read(answered(), &c, &e))
        fail_msg("%s", e.text);
    return c;
}

static queue_backlog backlog(int64_t slot_ms, queue_slot *ret, size_t max, size_t *ret_n)
{
    queue_backlog b;
    const uint8_t *at;
    queue_backlog_write(asking(QUEUE_BACKLOG), slot_ms);
    if (!queue_backlog_read(answered(), &b, &at, ret_n, &e))
        fail_msg("%s", e.text);
    assert_true(*ret_n <= max);
    for (size_t i = 0; i < *ret_n; i++)
        ret[i] = queue_slot_at(at, i);
    return b;
}

static queue_swept swept(void)
{
    queue_swept s;
    if (!queue_swept_read(answered(), &s, &e))
        fail_msg("%s", e.text);
    return s;
}

static int begin(void **state)
{
    strcpy(dir + sizeof dir - 7, "XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(path, sizeof path, "%s/queue.db", dir);
    buf_init(&ask, STORE_MESSAGE_BYTES_MAX);
    buf_init(&out, STORE_MESSAGE_BYTES_MAX);
    now = 1000000;
    engine_open();
    return 0;
}

/* A database is left as it was found; files go. */
static void forget_all(void)
{
    for (uint64_t tenant = TENANT; tenant < TENANT + 3; tenant++) {
        queue_app_gone gone = {.tenant = tenant == TENANT + 2 ? 99 : tenant, .forget = 1};
        queue_swept s = {0};
        do {
            gone.from = s.next;
            queue_app_gone_write(asking(QUEUE_APP_GONE), &gone, S(""));
            s = swept();
        } while (s.next);
    }
    assert_int_equal(counts(0).calls[QUEUE_ANY], 0);
}

static int end(void **state)
{
    forget_all();
    queue_engine_free(q);
    buf_fini(&ask);
    buf_fini(&out);
    unlink(path);
    return rmdir(dir);
}

/* --- the life of a call ----------------------------------------------------------------------- */

static void test_accepted_leased_done(void **state)
{
    queue_offer p = offer_of("body");
    queue_accepted a = put(&p);
    assert_int_equal(a.state, QUEUE_WAITING);
    assert_int_equal(a.existed, 0);
    queue_info i = get(a.id);
    assert_memory_equal(&i.terms, &p.head.terms, sizeof i.terms);
    assert_int_equal(i.accepted_ms, now);
    assert_int_equal(i.bytes, 9);
    assert_memory_equal(got.about.p, "GET /", 5);
    assert_memory_equal(got.request.p, "body", 4);
    now += 50;
    assert_string_equal(lease((queue_lease){.holder = 11, .lease_ms = 100}), "body");
    i = get(a.id);
    assert_int_equal(i.state, QUEUE_LEASED);
    assert_int_equal(i.holder, 11);
    assert_int_equal(i.next_ms, now + 100);
    assert_int_equal(i.begun_ms, now);
    assert_string_equal(lease((queue_lease){0}), ""); /* nobody else gets it */
    now += 20;
    assert_true(end_with(held[0], QUEUE_DONE, "200", "answer"));
    i = get(a.id);
    assert_int_equal(i.state, QUEUE_DONE);
    assert_int_equal(i.ended_ms, now);
    assert_int_equal(i.next_ms, now + 1000);
    assert_int_equal(i.use.cpu_ns, 10);
    assert_int_equal(i.use.energy_nj, 20);
    assert_str(got.note, "200");
    assert_true(got.has_result);
    assert_memory_equal(got.result.p, "answer", 6);
    assert_false(end_with(held[0], QUEUE_DONE, "", NULL)); /* once */
    assert_int_equal(e.code, ERR_CONFLICT);
}

static void test_the_order_of_leases(void **state)
{
    put_due("b", now + 20);
    put_due("c", now + 30);
    put_due("a", now + 10);
    queue_offer p = offer_of("critical");
    p.head.terms.criticality = 2;
    p.head.terms.deadline_ms = now + 25;
    put(&p);
    p = offer_of("low");
    p.head.terms.criticality = 0;
    p.head.terms.deadline_ms = now + 1;
    put(&p);
    assert_string_equal(lease((queue_lease){.count = 2, .shortage = 1}), "critical,a");
    assert_string_equal(lease((queue_lease){.count = 2}), "low,b");
    assert_string_equal(lease((queue_lease){.count = 10, .deadline_max_ms = now + 29}), "");
    assert_string_equal(lease((queue_lease){.count = 10, .deadline_max_ms = now + 30}), "c");
}

static void test_leases_stop_at_a_sum_of_cpu_time(void **state)
{
    for (int i = 0; i < 5; i++)
        put_due((char[]){(char)('a' + i), 0}, now + 10 + i);
    assert_string_equal(lease((queue_lease){.count = 10, .cpu_max_ns = 10000000}), "a,b");
    assert_string_equal(lease((queue_lease){.count = 10, .cpu_max_ns = 1}), "c");
}

static void test_nothing_before_its_start(void **state)
{
    queue_slot s[4];
    size_t n;
    queue_offer p = offer_of("later");
    p.head.terms.start_ms = now + 500;
    queue_id id = put(&p).id;
    assert_string_equal(lease((queue_lease){0}), "");
    queue_backlog b = backlog(60000, s, 4, &n);
    assert_int_equal(b.next_start_ms, now + 500);
    assert_int_equal(b.waiting, 1);
    assert_int_equal(n, 1);
    assert_int_equal(s[0].later_count, 1);
    assert_int_equal(s[0].ready_count, 0);
    assert_int_equal(get(id).next_ms, now + 500);
    now += 500;
    assert_string_equal(lease((queue_lease){0}), "later");
    assert_int_equal(backlog(60000, s, 4, &n).next_start_ms, 0);
}

static void test_one_by_its_id(void **state)
{
    queue_offer p = offer_of("later");
    p.head.terms.start_ms = now + 500;
    queue_id id = put(&p).id;
    assert_string_equal(lease((queue_lease){.id = id}), "later");
    lease((queue_lease){.id = id});
    assert_int_equal(e.code, ERR_CONFLICT);
    id.bytes[3] ^= 1;
    lease((queue_lease){.id = id});
    assert_int_equal(e.code, ERR_NOT_FOUND);
}

static void test_leased_as_it_is_accepted(void **state)
{
    queue_offer p = offer_of("now");
    p.head.holder = 9;
    p.head.lease_ms = 100;
    queue_accepted a = put(&p);
    assert_int_equal(a.state, QUEUE_LEASED);
    assert_int_equal(a.attempt, 1);
    assert_string_equal(lease((queue_lease){0}), "");
    assert_true(end_with((queue_held){.id = a.id, .attempt = 1}, QUEUE_FAILED, "404", NULL));
    assert_int_equal(get(a.id).state, QUEUE_FAILED);
}

/* --- attempts --------------------------------------------------------------------------------- */

static void test_an_expired_lease_is_given_to_another(void **state)
{
    queue_id id = put_due("x", now + 1000);
    lease((queue_lease){.holder = 1, .lease_ms = 100});
    queue_held first = held[0];
    now += 99;
    assert_string_equal(lease((queue_lease){.holder = 2}), "");
    now += 1;
    assert_string_equal(lease((queue_lease){.holder = 2}), "x");
    assert_int_equal(held[0].attempt, 2);
    assert_int_equal(get(id).holder, 2);
    assert_false(end_with(first, QUEUE_DONE, "", NULL)); /* too late */
    assert_int_equal(e.code, ERR_CONFLICT);
    assert_true(end_with(held[0], QUEUE_DONE, "", NULL));
}

static void test_a_late_end_counts_while_nobody_else_has_it(void **state)
{
    put_due("x", now + 1000);
    lease((queue_lease){.lease_ms = 100});
    now += 200;
    assert_true(end_with(held[0], QUEUE_DONE, "", NULL));
}

static void test_extended(void **state)
{
    const uint8_t *says;
    queue_id id = put_due("x", now + 1000), other = put_due("y", now + 2000);
    lease((queue_lease){.lease_ms = 100, .count = 2});
    assert_true(one(QUEUE_CANCEL, other, TENANT));
    queue_extend_write(asking(QUEUE_EXTEND), 500, held, 2);
    assert_true(queue_extend_read(answered(), 2, &says, &e));
    assert_int_equal(says[0], 1);
    assert_int_equal(says[1], 0);
    assert_int_equal(get(id).next_ms, now + 500);
    now += 400;
    assert_string_equal(lease((queue_lease){0}), "");
}

static void test_attempts_are_used_up(void **state)
{
    queue_id id = put_due("x", now + 1000);
    for (int i = 1; i <= 3; i++) {
        assert_string_equal(lease((queue_lease){.lease_ms = 100}), "x");
        assert_int_equal(held[0].attempt, i);
        now += 100;
    }
    assert_string_equal(lease((queue_lease){0}), "");
    assert_int_equal(get(id).state, QUEUE_DEAD);
    assert_true(got.note.n > 0);
    assert_true(one(QUEUE_REVIVE, id, TENANT));
    assert_int_equal(got.info.terms.deadline_ms, now + 5);
    for (int i = 4; i <= 6; i++) {
        assert_string_equal(lease((queue_lease){0}), "x");
        assert_int_equal(retry(held[0], now, true, "busy"), i < 6 ? QUEUE_WAITING : QUEUE_DEAD);
    }
    get(id);
    assert_str(got.note, "busy");
}

static void test_tried_again_later(void **state)
{
    queue_id id = put_due("x", now + 1000);
    lease((queue_lease){0});
    assert_int_equal(retry(held[0], now + 300, true, "503"), QUEUE_WAITING);
    assert_int_equal(get(id).next_ms, now + 300);
    assert_str(got.note, "503");
    assert_string_equal(lease((queue_lease){0}), "");
    assert_int_equal(retry(held[0], now, true, ""), QUEUE_ANY); /* not leased any more */
    assert_int_equal(e.code, ERR_CONFLICT);
    now += 300;
    for (int i = 0; i < 10; i++) { /* what was not tried does not count */
        assert_string_equal(lease((queue_lease){0}), "x");
        assert_int_equal(retry(held[0], now, false, ""), QUEUE_WAITING);
    }
    assert_int_equal(get(id).attempts, 11);
}

static void test_a_dead_worker_gives_back(void **state)
{
    uint64_t n;
    put_due("a", now + 1);
    put_due("b", now + 2);
    put_due("c", now + 3);
    lease((queue_lease){.holder = 1, .count = 2});
    lease((queue_lease){.holder = 2});
    queue_number_write(asking(QUEUE_GIVE_BACK), 1);
    assert_true(queue_given_back_read(answered(), &n, &e));
    assert_int_equal(n, 2);
    assert_string_equal(lease((queue_lease){.holder = 3, .count = 5}), "a,b");
}

/* --- people ----------------------------------------------------------------------------------- */

static void test_cancelled(void **state)
{
    queue_id id = put_due("x", now + 1000), running = put_due("y", now + 2000);
    assert_false(one(QUEUE_CANCEL, id, TENANT + 1)); /* another tenant's */
    assert_int_equal(e.code, ERR_NOT_FOUND);
    queue_one of = {.id = id, .tenant = TENANT, .app = APP + 1}; /* another app's */
    queue_one_write(asking(QUEUE_CANCEL), &of);
    assert_false(queue_call_read(answered(), &got, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_int_equal(get(id).state, QUEUE_WAITING);
    of.app = APP;
    queue_one_write(asking(QUEUE_GET), &of);
    assert_true(queue_call_read(answered(), &got, &e));
    assert_true(one(QUEUE_CANCEL, id, TENANT));
    assert_int_equal(got.info.state, QUEUE_CANCELLED);
    assert_false(one(QUEUE_CANCEL, id, TENANT));
    assert_int_equal(e.code, ERR_CONFLICT);
    assert_string_equal(lease((queue_lease){0}), "y");
    assert_true(one(QUEUE_CANCEL, running, 0));
    assert_false(end_with(held[0], QUEUE_DONE, "", NULL));
    assert_int_equal(get(running).state, QUEUE_CANCELLED);
}

static void test_only_what_failed_is_revived(void **state)
{
    queue_id id = put_due("x", now + 1000);
    assert_false(one(QUEUE_REVIVE, id, TENANT));
    assert_int_equal(e.code, ERR_CONFLICT);
    lease((queue_lease){0});
    end_with(held[0], QUEUE_DONE, "", NULL);
    assert_false(one(QUEUE_REVIVE, id, TENANT));
    assert_int_equal(e.code, ERR_CONFLICT);
}

static void test_ids_are_not_guessed(void **state)
{
    queue_id id = put_due("x", now + 1000);
    for (int bit = 0; bit < 128; bit++) {
        queue_id other = id;
        other.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(one(QUEUE_GET, other, 0));
        assert_int_equal(e.code, ERR_NOT_FOUND);
    }
    queue_id none = {{0}};
    assert_false(one(QUEUE_GET, none, 0));
}

/* A call that waits again is one more that waits. */
static void test_revived_within_the_quota(void **state)
{
    static const struct {
        uint64_t calls, bytes;
        bool fits;
    } quotas[] = {{1, 0, false}, {0, 11, false}, {2, 11, false}, {1, 12, false}, {2, 12, true}};
    queue_id id = put_due("x", now + 1000);
    assert_true(one(QUEUE_CANCEL, id, TENANT));
    put_due("y", now + 1000); /* "GET /" and a byte each */
    for (size_t i = 0; i < sizeof quotas / sizeof *quotas; i++) {
        queue_one of = {.id = id,
                        .tenant = TENANT,
                        .deadline_ms = now + 1000,
                        .calls_max = quotas[i].calls,
                        .bytes_max = quotas[i].bytes};
        queue_one_write(asking(QUEUE_REVIVE), &of);
        assert_int_equal(queue_call_read(answered(), &got, &e), quotas[i].fits);
        assert_true(quotas[i].fits || e.code == ERR_LIMIT);
        assert_int_equal(get(id).state, quotas[i].fits ? QUEUE_WAITING : QUEUE_CANCELLED);
    }
    assert_int_equal(counts(TENANT).calls[QUEUE_WAITING], 2);
}

static void test_idempotency_keys(void **state)
{
    queue_offer p = offer_of("x");
    p.key = S("order-1");
    p.head.same[0] = 1;
    queue_accepted first = put(&p), again;
    assert_int_equal(first.existed, 0);
    again = put(&p);
    assert_int_equal(again.existed, 1);
    assert_memory_equal(&first.id, &again.id, sizeof first.id);
    p.head.same[0] = 2;
    put_refused(&p, ERR_CONFLICT);
    p.head.terms.app++; /* another app's keys are its own */
    assert_int_equal(put(&p).existed, 0);
    assert_int_equal(counts(TENANT).calls[QUEUE_ANY], 2);
    p.head.terms.app--;
    p.head.same[0] = 1;
    lease((queue_lease){.count = 2});
    end_with(held[0], QUEUE_DONE, "", NULL);
    end_with(held[1], QUEUE_DONE, "", NULL);
    again = put(&p);
    assert_int_equal(again.state, QUEUE_DONE); /* while it is kept */
    now += 999;
    assert_int_equal(put(&p).existed, 1);
    now++; /* not any more, though nobody has purged it */
    again = put(&p);
    assert_int_equal(again.existed, 0);
    assert_memory_not_equal(&first.id, &again.id, sizeof first.id);
    assert_int_equal(counts(TENANT).calls[QUEUE_ANY], 2);
    asking(QUEUE_PURGE);
    assert_int_equal(swept().calls, 1);
    assert_int_equal(put(&p).existed, 1);
}

static void test_two_of_a_key_in_one_group(void **state)
{
    queue_offer p = offer_of("x");
    queue_accepted a, b;
    p.key = S("k");
    transaction();
    queue_offer_write(asking(QUEUE_PUT), &p);
    apply();
    assert_true(queue_accepted_read(answer(), &a, &e));
    queue_offer_write(asking(QUEUE_PUT), &p);
    apply();
    assert_true(queue_accepted_read(answer(), &b, &e));
    commit();
    assert_true(!a.existed && b.existed);
    assert_memory_equal(&a.id, &b.id, sizeof a.id);
}

static void test_quota(void **state)
{
    queue_offer p = offer_of("12345"); /* 10 bytes with what it is about */
    p.head.calls_max = 2;
    put(&p);
    queue_id id = put(&p).id;
    put_refused(&p, ERR_LIMIT);
    assert_non_null(strstr(e.text, "as many calls"));
    p.head.terms.tenant++;
    put(&p); /* another tenant has its own */
    p.head.terms.tenant--;
    assert_true(one(QUEUE_CANCEL, id, TENANT));
    put(&p);
    p.head.calls_max = 0;
    p.head.bytes_max = 29;
    put_refused(&p, ERR_LIMIT);
    assert_non_null(strstr(e.text, "bytes"));
    p.head.bytes_max = 30;
    put(&p);
    lease((queue_lease){.count = 3}); /* what runs counts still */
    put_refused(&p, ERR_LIMIT);
    /* In one group, those before count too. */
    p.head.bytes_max = 50;
    transaction();
    for (int i = 0; i < 3; i++) {
        queue_accepted a;
        queue_offer_write(asking(QUEUE_PUT), &p);
        apply();
        assert_int_equal(queue_accepted_read(answer(), &a, &e), i < 2);
    }
    commit();
    assert_int_equal(counts(TENANT).bytes, 50);
}

/* --- many ------------------------------------------------------------------------------------- */

static size_t list(queue_list l, queue_id *ret_after, char *ret)
{
    queue_call c;
    size_t n = 0;
    queue_list_write(asking(QUEUE_LIST), &l);
    store_message *m = answered();
    if (!queue_page_read(m, ret_after, &e))
        fail_msg("%s", e.text);
    for (; queue_call_next(m, &c); n++)
        ret[n] = (char)c.about.p[0];
    assert_int_equal(m->count, 0);
    ret[n] = 0;
    return n;
}

static void test_listed_by_pages(void **state)
{
    static const queue_id none;
    queue_id after = none;
    char names[16], all[64] = "";
    for (int i = 0; i < 5; i++) {
        queue_offer p = offer_of("x");
        p.about = (bytes){(const uint8_t *)"abcde" + i, 1};
        p.head.terms.app = (uint64_t)(APP + i % 2);
        put(&p);
        p.head.terms.tenant = 99;
        p.about = (bytes){(const uint8_t *)"vwxyz" + i, 1};
        put(&p);
    }
    do {
        list((queue_list){.tenant = TENANT, .count = 2, .after = after}, &after, names);
        strcat(all, names);
    } while (memcmp(&after, &none, sizeof none));
    assert_string_equal(all, "edcba");
    list((queue_list){.tenant = TENANT, .app = APP, .count = 10}, &after, names);
    assert_string_equal(names, "eca");
    assert_int_equal(list((queue_list){.count = 10}, &after, names), 10);
    lease((queue_lease){.count = 3});
    list((queue_list){.tenant = TENANT, .state = QUEUE_LEASED, .count = 9}, &after, names);
    assert_int_equal(strlen(names), counts(TENANT).calls[QUEUE_LEASED]);
    one(QUEUE_CANCEL, held[0].id, 0);
    list((queue_list){.state = QUEUE_CANCELLED, .count = 9}, &after, names);
    assert_int_equal(strlen(names), 1);
}

static void test_backlog(void **state)
{
    queue_slot s[8];
    size_t n;
    now = 1000 * 60000;
    put_due("a", now + 60000);
    put_due("b", now + 61000);
    put_due("c", now + 119000);
    put_due("d", now + 3 * 60000);
    queue_offer p = offer_of("later");
    p.head.terms.deadline_ms = now + 61000;
    p.head.terms.start_ms = now + 30000;
    put(&p);
    queue_backlog b = backlog(60000, s, 8, &n);
    assert_int_equal(n, 2);
    assert_int_equal(b.waiting, 5);
    assert_int_equal(b.leased, 0);
    assert_int_equal(b.now_ms, now);
    assert_int_equal(b.next_deadline_ms, now + 60000);
    assert_int_equal(s[0].slot, 1001);
    assert_int_equal(s[0].ready_count, 3);
    assert_int_equal(s[0].ready_cpu_ns, 15000000);
    assert_int_equal(s[0].later_count, 1);
    assert_int_equal(s[0].later_cpu_ns, 5000000);
    assert_int_equal(s[1].slot, 1003);
    assert_int_equal(s[1].ready_count, 1);
    lease((queue_lease){.lease_ms = 700, .count = 2});
    b = backlog(5000, s, 8, &n);
    assert_int_equal(b.leased, 2);
    assert_int_equal(b.waiting, 3);
    assert_int_equal(b.next_expiry_ms, now + 700);
    now += 30000; /* the lease has expired, the start has come */
    b = backlog(600000, s, 8, &n);
    assert_int_equal(n, 1);
    assert_int_equal(s[0].ready_count, 5);
    assert_int_equal(b.next_start_ms, 0);
}

static void test_counts(void **state)
{
    put_due("a", now + 1);
    queue_id b = put_due("b", now + 2);
    put_due("c", now + 3);
    lease((queue_lease){0});
    one(QUEUE_CANCEL, b, TENANT);
    queue_count c = counts(TENANT);
    assert_int_equal(c.calls[QUEUE_ANY], 3);
    assert_int_equal(c.calls[QUEUE_WAITING], 1);
    assert_int_equal(c.calls[QUEUE_LEASED], 1);
    assert_int_equal(c.calls[QUEUE_CANCELLED], 1);
    assert_int_equal(c.bytes, 12);
    assert_int_equal(counts(TENANT + 1).calls[QUEUE_ANY], 0);
    assert_int_equal(counts(0).calls[QUEUE_ANY], 3);
}

static void test_what_is_over_goes(void **state)
{
    queue_slot s[8];
    size_t n;
    queue_id id = put_due("x", now + 1000), second;
    put_due("y", now + 2000);
    assert_int_equal(backlog(60000, s, 8, &n).next_over_ms, 0);
    lease((queue_lease){0});
    end_with(held[0], QUEUE_DONE, "", "result");
    now += 10;
    second = put_due("z", now + 1000);
    assert_true(one(QUEUE_CANCEL, second, 0));
    assert_int_equal(backlog(60000, s, 8, &n).next_over_ms, now + 990);
    now += 989;
    asking(QUEUE_PURGE);
    assert_int_equal(swept().calls, 0);
    assert_true(one(QUEUE_GET, id, 0));
    now++; /* it is found by nobody, before and after it has gone */
    for (int i = 0; i < 2; i++) {
        assert_false(one(QUEUE_GET, id, 0));
        assert_int_equal(e.code, ERR_NOT_FOUND);
        assert_false(one(QUEUE_REVIVE, id, 0));
        assert_int_equal(e.code, ERR_NOT_FOUND);
        assert_false(end_with(held[0], QUEUE_DONE, "", NULL));
        asking(QUEUE_PURGE);
        assert_int_equal(swept().calls, !i);
    }
    assert_int_equal(counts(TENANT).calls[QUEUE_ANY], 2);
    assert_int_equal(backlog(60000, s, 8, &n).next_over_ms, now + 10);
    assert_true(one(QUEUE_REVIVE, second, 0));
    assert_int_equal(backlog(60000, s, 8, &n).next_over_ms, 0);
}

static void test_an_app_goes(void **state)
{
    queue_swept s;
    queue_offer p = offer_of("other");
    queue_id id = put_due("x", now + 1000);
    p.head.terms.app++;
    queue_id other = put(&p).id;
    queue_app_gone gone = {.tenant = TENANT, .app = APP};
    queue_app_gone_write(asking(QUEUE_APP_GONE), &gone, S("the app was deleted"));
    s = swept();
    assert_true(s.calls == 1 && s.next == 0);
    assert_int_equal(get(id).state, QUEUE_DEAD);
    assert_str(got.note, "the app was deleted");
    assert_int_equal(get(other).state, QUEUE_WAITING);
    gone = (queue_app_gone){.tenant = TENANT, .forget = 1};
    queue_app_gone_write(asking(QUEUE_APP_GONE), &gone, S(""));
    assert_int_equal(swept().calls, 2);
    assert_true(!counts(0).calls[QUEUE_ANY] && !counts(0).bytes);
}

/* Its end, whatever it is, makes one call that tells of it, and whose own end makes none. */
static void test_an_end_is_told(void **state)
{
    enum { DONE, DIES, CANCELLED, EXPIRES };
    static const queue_state ends[] = {QUEUE_DONE, QUEUE_DEAD, QUEUE_CANCELLED, QUEUE_DEAD};
    uint8_t secret[QUEUE_SECRET_BYTES], other[sizeof secret], before[sizeof secret];
    queue_number_write(asking(QUEUE_SECRET), APP + 1);
    assert_true(queue_secret_read(answered(), other, &e));
    queue_number_write(asking(QUEUE_SECRET), APP);
    assert_true(queue_secret_read(answered(), secret, &e));
    assert_memory_not_equal(secret, other, sizeof secret);
    memcpy(before, secret, sizeof before);
    queue_number_write(asking(QUEUE_ROTATE), APP);
    assert_true(queue_secret_read(answered(), secret, &e));
    assert_memory_not_equal(secret, before, sizeof secret);
    for (int how = DONE; how <= EXPIRES; how++) {
        queue_offer p = offer_of("told");
        p.head.terms.trigger = 1 | QUEUE_TELLS;
        p.head.terms.attempts_max = how == EXPIRES ? 1 : 3;
        queue_id id = put(&p).id;
        assert_string_equal(lease((queue_lease){.count = 2}), "told");
        if (how == CANCELLED)
            assert_true(one(QUEUE_CANCEL, id, TENANT));
        else if (how == EXPIRES)
            now += 10001;
        else
            assert_true(end_with(held[0], ends[how], "so", "result"));
        queue_call c;
        queue_told told;
        queue_lease_write(asking(QUEUE_LEASE),
                          &(queue_lease){.holder = 5, .lease_ms = 10000, .count = 9});
        store_message *m = answered();
        assert_true(queue_answer_ok(m, &e));
        assert_true(queue_call_next(m, &c));
        assert_int_equal(m->count, 0);
        assert_int_equal(c.info.terms.trigger, QUEUE_TELLING);
        assert_int_equal(c.info.terms.app, APP);
        assert_int_equal(c.info.terms.revision, 3);
        assert_int_equal(c.about.n, p.about.n);
        assert_memory_equal(c.about.p, p.about.p, p.about.n);
        assert_int_equal(c.request.n, sizeof told);
        memcpy(&told, c.request.p, sizeof told);
        assert_memory_equal(&told.info.id, &id, sizeof id);
        assert_int_equal(told.info.state, ends[how]);
        assert_int_equal(told.info.ended_ms, now);
        assert_memory_equal(told.secret, secret, sizeof secret);
        assert_memory_equal(told.before, before, sizeof before);
        assert_int_equal(get(id).state, ends[how]);
        assert_true(end_with((queue_held){c.info.id, 1, 0}, QUEUE_DONE, "", NULL));
        assert_string_equal(lease((queue_lease){.count = 9}), "");
    }
    assert_int_equal(counts(TENANT).calls[QUEUE_ANY], 8);
    /* Of an app that is gone nobody is told. */
    queue_offer p = offer_of("gone");
    p.head.terms.trigger = 1 | QUEUE_TELLS;
    put(&p);
    queue_app_gone gone = {.tenant = TENANT, .app = APP};
    queue_app_gone_write(asking(QUEUE_APP_GONE), &gone, S("gone"));
    assert_int_equal(swept().calls, 1);
    assert_int_equal(counts(TENANT).calls[QUEUE_ANY], 9);
    assert_int_equal(counts(TENANT).calls[QUEUE_WAITING], 0);
}

/* More than one request looks at. */
static void test_a_large_app_goes_in_pieces(void **state)
{
    enum { N = 1200 };
    queue_swept s = {0};
    uint64_t calls = 0;
    queue_offer p = offer_of("x");
    transaction();
    for (int i = 0; i < N; i++) {
        queue_offer_write(asking(QUEUE_PUT), &p);
        apply();
        assert_int_equal(answer()->kind, STORE_OK);
    }
    commit();
    do {
        queue_app_gone gone = {.tenant = TENANT, .app = APP, .from = s.next};
        queue_app_gone_write(asking(QUEUE_APP_GONE), &gone, S("gone"));
        s = swept();
        calls += s.calls;
    } while (s.next);
    assert_int_equal(calls, N);
    assert_int_equal(counts(TENANT).calls[QUEUE_DEAD], N);
    now += DAY;
    calls = 0;
    do {
        asking(QUEUE_PURGE);
        s = swept();
        calls += s.calls;
    } while (s.next);
    assert_int_equal(calls, N);
}

/* --- at rest ---------------------------------------------------------------------------------- */

static void test_it_is_there_after_opening_anew(void **state)
{
    queue_id id = put_due("x", now + 1000);
    queue_engine_free(q);
    engine_open();
    assert_int_equal(get(id).state, QUEUE_WAITING);
    assert_memory_equal(got.request.p, "x", 1);
    assert_int_equal(counts(TENANT).calls[QUEUE_WAITING], 1);
}

static void test_what_was_rolled_back_is_not(void **state)
{
    queue_offer p = offer_of("x");
    transaction();
    queue_offer_write(asking(QUEUE_PUT), &p);
    apply();
    queue_rollback(q);
    assert_int_equal(counts(0).calls[QUEUE_ANY], 0);
    assert_string_equal(lease((queue_lease){0}), "");
}

/* Another key opens no content; what nobody can run is not run. */
static void test_another_key(void **state)
{
    queue_id id = put_due("secret", now + 1000);
    const char *url = getenv("EBB_QUEUE_URL");
    queue_engine *other;
    queue_rows *rows;
    key.bytes[0] ^= 1;
    if (url) { /* other nodes have the first one: what they accepted is not touched */
        assert_true(queue_pg_open(url, &rows, &e));
        assert_false(queue_engine_new_take(rows, &key, &other, &e));
        assert_int_equal(e.code, ERR_DENIED);
        key.bytes[0] ^= 1;
        assert_int_equal(get(id).state, QUEUE_WAITING);
        return;
    }
    queue_engine_free(q);
    engine_open();
    assert_false(one(QUEUE_GET, id, 0)); /* an id is of its key */
    assert_string_equal(lease((queue_lease){0}), "");
    assert_int_equal(counts(TENANT).calls[QUEUE_DEAD], 1);
    key.bytes[0] ^= 1;
}

/* Random requests; then the sums are what the calls say. */
static void test_sums_follow(void **state)
{
    uint64_t seed = 12345;
    queue_id ids[300];
    size_t n = 0, slots_n;
    queue_slot s[64];
    for (int i = 0; i < 1500; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        unsigned r = (unsigned)(seed >> 33);
        now += r % 7;
        if (r % 5 < 2 && n < 300) {
            queue_offer p = offer_of("x");
            p.head.terms.criticality = (uint8_t)(r % 3);
            p.head.terms.start_ms = r % 11 ? 0 : now + r % 300;
            p.head.terms.deadline_ms = now + r % 100000;
            p.head.terms.keep_ms = r % 500;
            ids[n++] = put(&p).id;
        } else if (r % 5 == 2) {
            lease((queue_lease){.count = 1 + r % 3, .lease_ms = 1 + r % 200});
            for (size_t k = 0; k < held_n; k++)
                if (r % 3 == 0)
                    end_with(held[k], QUEUE_DONE + r % 3, "", NULL);
                else if (r % 3 == 1)
                    retry(held[k], now + r % 100, r % 2, "");
        } else if (r % 5 == 3 && n) {
            one(r % 2 ? QUEUE_CANCEL : QUEUE_REVIVE, ids[r % n], 0);
        } else if (r % 50 == 4) {
            asking(QUEUE_PURGE);
            swept();
        }
    }
    asking(QUEUE_PURGE); /* what is over is not found */
    swept();
    queue_count c = counts(TENANT), told = {0};
    for (size_t i = 0; i < n; i++)
        if (one(QUEUE_GET, ids[i], 0)) {
            told.calls[got.info.state]++;
            told.calls[QUEUE_ANY]++;
            told.bytes += got.info.state <= QUEUE_LEASED ? got.info.bytes : 0;
        }
    assert_memory_equal(&c, &told, sizeof c);
    assert_true(c.calls[QUEUE_WAITING] > 0 && c.calls[QUEUE_DONE] + c.calls[QUEUE_DEAD] > 0);
    uint64_t waiting = 0;
    queue_backlog b = backlog(DAY, s, 64, &slots_n);
    for (size_t i = 0; i < slots_n; i++) {
        waiting += s[i].ready_count + s[i].later_count;
        assert_int_equal(s[i].ready_cpu_ns, s[i].ready_count * 5000000);
    }
    assert_int_equal(waiting, b.waiting);
}

static queue_state lacks(queue_held h)
{
    queue_state s = QUEUE_ANY;
    queue_retry_write(asking(QUEUE_RETRY), &(queue_retry){.held = h, .at_ms = now, .lacks = 1},
                      S("not here"));
    assert_true(queue_retry_read(answered(), &s, &e));
    return s;
}

/* What a node lacks waits for others, and costs no attempt; this one is not given it again for a
 * while, where there are others. */
static void test_what_a_node_lacks_is_left_to_others(void **state)
{
    queue_offer p = offer_of("elsewhere");
    p.head.terms.revision = UINT64_MAX >> 1;
    p.head.terms.attempts_max = 1;
    queue_id id = put(&p).id;
    put_due("here", p.head.terms.deadline_ms + 1);
    assert_string_equal(lease((queue_lease){0}), "elsewhere");
    assert_int_equal(lacks(held[0]), QUEUE_WAITING);
    queue_info i = get(id);
    assert_true(i.attempts == 1 && i.excused == 1 && i.terms.revision == p.head.terms.revision);
    assert_str(got.note, "not here");
    if (getenv("EBB_QUEUE_URL")) {
        assert_string_equal(lease((queue_lease){.count = 5}), "here");
        now += QUEUE_LACK_MS - 1;
        assert_string_equal(lease((queue_lease){.count = 5, .lease_ms = DAY}), "here");
        now += 1;
    }
    now += QUEUE_LACK_DEAD_MS + DAY + 1; /* so late that nobody will come */
    assert_string_equal(lease((queue_lease){0}), "elsewhere");
    assert_int_equal(lacks(held[0]), QUEUE_DEAD);
}

static void test_damaged_requests(void **state)
{
    asking(QUEUE_LEASE);
    assert_false(queue_answer_ok(answered(), &e));
    assert_int_equal(e.code, ERR_IO);
    assert_string_equal(lease((queue_lease){0}), ""); /* it goes on */
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_accepted_leased_done),
        CASE(test_the_order_of_leases),
        CASE(test_leases_stop_at_a_sum_of_cpu_time),
        CASE(test_nothing_before_its_start),
        CASE(test_one_by_its_id),
        CASE(test_leased_as_it_is_accepted),
        CASE(test_an_expired_lease_is_given_to_another),
        CASE(test_a_late_end_counts_while_nobody_else_has_it),
        CASE(test_extended),
        CASE(test_attempts_are_used_up),
        CASE(test_tried_again_later),
        CASE(test_a_dead_worker_gives_back),
        CASE(test_cancelled),
        CASE(test_only_what_failed_is_revived),
        CASE(test_ids_are_not_guessed),
        CASE(test_revived_within_the_quota),
        CASE(test_idempotency_keys),
        CASE(test_two_of_a_key_in_one_group),
        CASE(test_quota),
        CASE(test_listed_by_pages),
        CASE(test_backlog),
        CASE(test_counts),
        CASE(test_what_is_over_goes),
        CASE(test_an_app_goes),
        CASE(test_an_end_is_told),
        CASE(test_a_large_app_goes_in_pieces),
        CASE(test_it_is_there_after_opening_anew),
        CASE(test_what_was_rolled_back_is_not),
        CASE(test_another_key),
        CASE(test_sums_follow),
        CASE(test_what_a_node_lacks_is_left_to_others),
        CASE(test_damaged_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
