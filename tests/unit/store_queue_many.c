/* The durable queue: lists, counts, what goes, and what lies in the file. */
#include "queue_kit.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
