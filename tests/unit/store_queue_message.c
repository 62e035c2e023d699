/* The queue's messages: what is written is read, what is damaged is refused. */
#include "unit.h"

#include "base/limits.h"
#include "store/queue_message.h"

static buf out;
static err e;

static int begin(void **state)
{
    buf_init(&out, STORE_MESSAGE_BYTES_MAX);
    return 0;
}

static int end(void **state)
{
    buf_fini(&out);
    return 0;
}

static store_message message(store_kind kind)
{
    store_message m;
    assert_false(out.failed);
    store_message_end(&out);
    assert_true(store_message_read(buf_bytes(&out), false, &m, &e));
    assert_int_equal(m.kind, kind);
    return m;
}

static queue_offer an_offer(void)
{
    return (queue_offer){
        .head = {.terms = {.tenant = 1, .app = 2, .criticality = 1, .deadline_ms = 1000}},
        .key = S("once"),
        .about = {(const uint8_t *)"about", 5},
        .request = {(const uint8_t *)"request", 7},
    };
}

static const char *problem_of(store_kind kind)
{
    queue_request r;
    const char *problem = NULL;
    if (queue_request_read(message(kind), &r, &problem))
        return NULL;
    return problem;
}

static void test_ids_and_states(void **state)
{
    queue_id id, again;
    char text[QUEUE_ID_TEXT + 1];
    for (int i = 0; i < QUEUE_ID_BYTES; i++)
        id.bytes[i] = (uint8_t)(i * 17);
    queue_id_text(&id, text);
    assert_string_equal(text, "00112233445566778899aabbccddeeff");
    assert_true(queue_id_parse(S("00112233445566778899AABBCCDDEEFF"), &again));
    assert_memory_equal(&id, &again, sizeof id);
    assert_false(queue_id_parse(S("00112233445566778899AABBCCDDEEF"), &again));
    assert_false(queue_id_parse(S("00112233445566778899AABBCCDDEEFG"), &again));
    for (unsigned s = 0; s < QUEUE_STATES; s++)
        assert_int_equal(queue_state_named(str_from(queue_state_name(s))), s);
    assert_int_equal(queue_state_named(S("lost")), QUEUE_STATES);
}

static void test_an_offer_is_read_as_written(void **state)
{
    queue_offer p = an_offer();
    queue_request r;
    const char *problem;
    store_message_begin(&out, 7, QUEUE_PUT, 0);
    queue_offer_write(&out, &p);
    assert_true(queue_request_read(message(QUEUE_PUT), &r, &problem));
    assert_memory_equal(&r.offer.head, &p.head, sizeof p.head);
    assert_str(r.offer.key, "once");
    assert_int_equal(r.offer.about.n, 5);
    assert_memory_equal(r.offer.request.p, "request", 7);
}

static void offer_refused(const queue_offer *p, const char *why)
{
    buf_clear(&out);
    store_message_begin(&out, 7, QUEUE_PUT, 0);
    queue_offer_write(&out, p);
    const char *problem = problem_of(QUEUE_PUT);
    assert_non_null(problem);
    if (!strstr(problem, why))
        fail_msg("'%s' does not say '%s'", problem, why);
}

static void test_offers_that_mean_nothing(void **state)
{
    static char big[QUEUE_ABOUT_BYTES_MAX + 1];
    queue_offer p = an_offer();
    p.head.terms.criticality = 3;
    offer_refused(&p, "terms");
    p = an_offer();
    p.head.terms.deadline_ms = -1;
    offer_refused(&p, "terms");
    p = an_offer();
    p.head.terms.tenant = 0;
    offer_refused(&p, "terms");
    p = an_offer();
    p.key = (str){big, QUEUE_KEY_BYTES_MAX + 1};
    offer_refused(&p, "255");
    p = an_offer();
    p.about = (bytes){(const uint8_t *)big, sizeof big};
    offer_refused(&p, "16 KiB");
}

static void test_leases_and_their_extension(void **state)
{
    queue_held held[2] = {{.attempt = 3}, {.attempt = 4}};
    queue_lease q = {.holder = 9, .lease_ms = 100, .count = 1};
    queue_request r;
    const char *problem;
    store_message_begin(&out, 1, QUEUE_LEASE, 0);
    queue_lease_write(&out, &q);
    assert_true(queue_request_read(message(QUEUE_LEASE), &r, &problem));
    assert_memory_equal(&r.lease, &q, sizeof q);
    buf_clear(&out);
    q.holder = 0;
    store_message_begin(&out, 1, QUEUE_LEASE, 0);
    queue_lease_write(&out, &q);
    assert_non_null(problem_of(QUEUE_LEASE));
    buf_clear(&out);
    store_message_begin(&out, 1, QUEUE_EXTEND, 0);
    queue_extend_write(&out, 500, held, 2);
    assert_true(queue_request_read(message(QUEUE_EXTEND), &r, &problem));
    assert_int_equal(r.extend.lease_ms, 500);
    assert_int_equal(r.extend.n, 2);
    assert_memory_equal(r.extend.held, held, sizeof held);
}

/* As many leases as one worker may have. */
static void test_extensions_are_bounded(void **state)
{
    enum { MAX = DEFER_RUNNING_MAX + DEFER_WAITING_MAX };
    static queue_held held[MAX + 1];
    queue_request r;
    const char *problem;
    store_message_begin(&out, 1, QUEUE_EXTEND, 0);
    queue_extend_write(&out, 500, held, MAX);
    assert_true(queue_request_read(message(QUEUE_EXTEND), &r, &problem));
    assert_int_equal(r.extend.n, MAX);
    buf_clear(&out);
    store_message_begin(&out, 1, QUEUE_EXTEND, 0);
    queue_extend_write(&out, 500, held, MAX + 1);
    assert_non_null(problem_of(QUEUE_EXTEND));
}

static void test_more_or_less_than_a_request(void **state)
{
    queue_one one = {.tenant = 1};
    store_message_begin(&out, 1, QUEUE_GET, 0);
    queue_one_write(&out, &one);
    queue_one_write(&out, &one);
    assert_non_null(problem_of(QUEUE_GET));
    buf_clear(&out);
    store_message_begin(&out, 1, QUEUE_GET, 0);
    queue_item_write(&out, &one, sizeof one - 1);
    assert_non_null(problem_of(QUEUE_GET));
    buf_clear(&out);
    store_message_begin(&out, 1, QUEUE_END, 0);
    queue_end_write(&out, &(queue_end){.state = QUEUE_WAITING}, S(""), (bytes){0});
    assert_non_null(problem_of(QUEUE_END));
    buf_clear(&out);
    store_message_begin(&out, 1, KV_GET, 0);
    assert_non_null(problem_of(KV_GET));
}

static void test_answers(void **state)
{
    queue_call c = {.info = {.state = QUEUE_DONE, .attempts = 2},
                    .about = {(const uint8_t *)"a", 1},
                    .note = S("well"),
                    .result = {(const uint8_t *)"r", 1},
                    .has_result = true},
               got;
    store_message_begin(&out, 1, STORE_OK, 0);
    queue_call_write(&out, &c);
    store_message m = message(STORE_OK), copy = m;
    assert_true(queue_call_read(&m, &got, &e));
    assert_int_equal(got.info.attempts, 2);
    assert_true(got.has_result && !got.has_request);
    assert_str(got.note, "well");
    assert_false(queue_call_next(&m, &got));
    assert_int_equal(m.count, 0);
    copy.count = 3; /* damaged: the last item is missing */
    assert_false(queue_call_read(&copy, &got, &e));
    assert_int_equal(e.code, ERR_INTERNAL);
}

static void test_reasons(void **state)
{
    static const struct {
        store_kind kind;
        err_code code;
    } all[] = {{QUEUE_ABSENT, ERR_NOT_FOUND},
               {QUEUE_CONFLICT, ERR_CONFLICT},
               {QUEUE_QUOTA, ERR_LIMIT},
               {STORE_FAILED, ERR_IO}};
    queue_accepted a;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        buf_clear(&out);
        store_message_begin(&out, 1, all[i].kind, 0);
        store_message_item(&out, S("because"), NULL);
        store_message m = message(all[i].kind);
        assert_false(queue_accepted_read(&m, &a, &e));
        assert_int_equal(e.code, all[i].code);
        assert_string_equal(e.text, "because");
    }
}

/* As builds wrote it whose revisions had 32 bits. */
typedef struct {
    queue_id id;
    uint64_t tenant, app;
    uint32_t revision, attempts_max;
    uint8_t class, criticality, trigger, unused[5];
    int64_t start_ms, deadline_ms, keep_ms;
    uint64_t cpu_ns;
    double intensity_g_per_kwh;
    uint32_t state, attempts;
    int64_t accepted_ms, next_ms, begun_ms, ended_ms;
    uint64_t holder, bytes;
    queue_use use;
    uint8_t secret[QUEUE_SECRET_BYTES];
} old_told;

static void test_tellings_of_builds_before(void **state)
{
    queue_told got = {.before = {99}}, same;
    old_told old = {.id = {{1, 2}},
                    .tenant = 3,
                    .app = 4,
                    .revision = 5,
                    .attempts_max = 6,
                    .class = 1,
                    .criticality = 2,
                    .trigger = QUEUE_TELLS | 1,
                    .start_ms = 7,
                    .deadline_ms = 8,
                    .intensity_g_per_kwh = 9,
                    .state = QUEUE_DEAD,
                    .attempts = 10,
                    .accepted_ms = 11,
                    .bytes = 12,
                    .use = {.cpu_ns = 13},
                    .secret = {14}};
    bytes b = {(const uint8_t *)&old, sizeof old};
    assert_true(queue_told_read(b, &got));
    const queue_terms *t = &got.info.terms;
    assert_true(got.info.id.bytes[1] == 2 && t->tenant == 3 && t->app == 4 && t->revision == 5);
    assert_true(t->attempts_max == 6 && t->class == 1 && t->criticality == 2);
    assert_true(t->trigger == (QUEUE_TELLS | 1) && t->start_ms == 7 && t->deadline_ms == 8);
    assert_true(t->intensity_g_per_kwh == 9 && got.info.state == QUEUE_DEAD);
    assert_true(got.info.attempts == 10 && got.info.excused == 0 && got.info.accepted_ms == 11);
    assert_true(got.info.bytes == 12 && got.info.use.cpu_ns == 13);
    assert_true(got.secret[0] == 14 && got.before[0] == 0);
    assert_true(queue_told_read((bytes){(const uint8_t *)&got, sizeof got}, &same));
    assert_memory_equal(&got, &same, sizeof got);
    b.n--;
    assert_false(queue_told_read(b, &got));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ids_and_states, begin, end),
        cmocka_unit_test_setup_teardown(test_an_offer_is_read_as_written, begin, end),
        cmocka_unit_test_setup_teardown(test_offers_that_mean_nothing, begin, end),
        cmocka_unit_test_setup_teardown(test_leases_and_their_extension, begin, end),
        cmocka_unit_test_setup_teardown(test_extensions_are_bounded, begin, end),
        cmocka_unit_test_setup_teardown(test_more_or_less_than_a_request, begin, end),
        cmocka_unit_test_setup_teardown(test_answers, begin, end),
        cmocka_unit_test_setup_teardown(test_reasons, begin, end),
        cmocka_unit_test(test_tellings_of_builds_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
