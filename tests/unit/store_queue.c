/* The durable queue: the life of a call, its attempts, and what people ask about it. */
#include "queue_kit.h"

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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
