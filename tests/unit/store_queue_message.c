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
    assert_false(queue_id_parse(S("00112233445566778899AABBCCDDEEGF"), &again));
    assert_false(queue_id_parse(S("0011223344556677889900AABBCCDDEEFF"), &again));
    assert_memory_equal(&id, &again, sizeof id); /* untouched */
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

/* --- every bound of every request ------------------------------------------------------------- */

static const int64_t time_max = INT64_C(1) << 48;

/* NULL: the offer is read. */
static const char *offer_problem(const queue_offer *p)
{
    buf_clear(&out);
    store_message_begin(&out, 7, QUEUE_PUT, 0);
    queue_offer_write(&out, p);
    return problem_of(QUEUE_PUT);
}

static void test_bounds_of_offers(void **state)
{
    static const char bad[] = "a call whose terms mean nothing";
    static char big[QUEUE_REQUEST_BYTES_MAX + 1];
    queue_offer p = an_offer();
    queue_terms *t = &p.head.terms;
    int64_t *const times[] = {&t->start_ms, &t->deadline_ms, &t->keep_ms, &p.head.lease_ms};
    assert_null(offer_problem(&p));
    for (size_t i = 0; i < 4; i++) {
        int64_t was = *times[i];
        *times[i] = time_max;
        assert_null(offer_problem(&p));
        *times[i] = 0;
        assert_null(offer_problem(&p));
        *times[i] = time_max + 1;
        assert_string_equal(offer_problem(&p), bad);
        *times[i] = -1;
        assert_string_equal(offer_problem(&p), bad);
        *times[i] = was;
    }
    t->criticality = QUEUE_CRITICALITY_MAX;
    t->cpu_ns = QUEUE_CPU_NS_MAX;
    p.key = (str){big, QUEUE_KEY_BYTES_MAX};
    p.about = (bytes){(const uint8_t *)big, QUEUE_ABOUT_BYTES_MAX};
    assert_null(offer_problem(&p));
    t->cpu_ns++;
    assert_string_equal(offer_problem(&p), bad);
    t->cpu_ns = 0;
    t->app = 0;
    assert_string_equal(offer_problem(&p), bad);
    t->app = 1;
    p.about.n = 0;
    p.request = (bytes){(const uint8_t *)big, QUEUE_REQUEST_BYTES_MAX};
    assert_null(offer_problem(&p));
    p.request.n++;
    assert_string_equal(offer_problem(&p), "a call has more than 16.25 MiB");
    for (int k = 0; k < 4; k++) { /* what it says has to be there */
        static const bytes some = {(const uint8_t *)"x", 1};
        buf_clear(&out);
        store_message_begin(&out, 7, QUEUE_PUT, 0);
        queue_item_write(&out, &p.head, sizeof p.head - (k == 3));
        if (k)
            store_message_item(&out, S(""), k == 1 ? NULL : &some);
        if (k)
            store_message_item(&out, S(""), k == 2 ? NULL : &some);
        assert_string_equal(problem_of(QUEUE_PUT), "a damaged request");
    }
}

static const char *lease_problem(queue_lease q)
{
    buf_clear(&out);
    store_message_begin(&out, 1, QUEUE_LEASE, 0);
    queue_lease_write(&out, &q);
    return problem_of(QUEUE_LEASE);
}

static void test_bounds_of_leases(void **state)
{
    static const char bad[] = "a lease without a holder, of no call or of too many";
    const queue_lease good = {.holder = 1, .count = 1};
    queue_lease q = good;
    q.count = QUEUE_PAGE_MAX;
    q.lease_ms = q.deadline_max_ms = time_max;
    assert_null(lease_problem(good));
    assert_null(lease_problem(q));
    for (int i = 0; i < 6; i++) {
        q = good;
        q.count = i == 0 ? 0 : i == 1 ? QUEUE_PAGE_MAX + 1 : 1;
        q.lease_ms = i == 2 ? -1 : i == 3 ? time_max + 1 : 0;
        q.deadline_max_ms = i == 4 ? -1 : i == 5 ? time_max + 1 : 0;
        assert_string_equal(lease_problem(q), bad);
    }
}

static void test_bounds_of_extensions(void **state)
{
    static const queue_held held[2];
    const struct {
        int64_t lease_ms;
        size_t n;
        int less;
        const char *problem;
    } at[] = {{0, 0, 0, NULL},
              {time_max, 1, 0, NULL},
              {0, 0, 1, "a damaged request"},
              {0, 1, 1, "a damaged request"},
              {0, 2, (int)sizeof *held - 1, "a damaged request"},
              {-1, 1, 0, "leases extended for too long, or too many"},
              {time_max + 1, 1, 0, "leases extended for too long, or too many"}};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        uint8_t item[8 + sizeof held];
        memcpy(item, &at[i].lease_ms, 8);
        memcpy(item + 8, held, sizeof held);
        buf_clear(&out);
        store_message_begin(&out, 1, QUEUE_EXTEND, 0);
        queue_item_write(&out, item, 8 + at[i].n * sizeof *held - (size_t)at[i].less);
        const char *problem = problem_of(QUEUE_EXTEND);
        assert_int_equal(problem == NULL, at[i].problem == NULL);
        if (problem)
            assert_string_equal(problem, at[i].problem);
    }
}

static const char *end_problem(unsigned state, size_t note, size_t result)
{
    static char big[QUEUE_RESULT_BYTES_MAX + 1];
    buf_clear(&out);
    store_message_begin(&out, 1, QUEUE_END, 0);
    queue_end_write(&out, &(queue_end){.state = state}, (str){big, note},
                    (bytes){(const uint8_t *)big, result});
    return problem_of(QUEUE_END);
}

static void test_bounds_of_ends(void **state)
{
    for (unsigned s = 0; s <= QUEUE_STATES; s++) {
        const char *problem = end_problem(s, 0, 0);
        if (s == QUEUE_DONE || s == QUEUE_FAILED || s == QUEUE_DEAD)
            assert_null(problem);
        else
            assert_string_equal(problem, "an end that is none");
    }
    assert_null(end_problem(QUEUE_DONE, QUEUE_NOTE_BYTES_MAX, QUEUE_RESULT_BYTES_MAX));
    assert_string_equal(end_problem(QUEUE_DONE, QUEUE_NOTE_BYTES_MAX + 1, 0),
                        "a note has more than 4 KiB");
    assert_string_equal(end_problem(QUEUE_DONE, 0, QUEUE_RESULT_BYTES_MAX + 1),
                        "a result has more than 16.25 MiB");
    for (int k = 0; k < 2; k++) {
        static const queue_end end = {.state = QUEUE_DONE};
        buf_clear(&out);
        store_message_begin(&out, 1, QUEUE_END, 0);
        queue_item_write(&out, &end, sizeof end - (size_t)k);
        if (k)
            queue_item_write(&out, "", 0);
        assert_string_equal(problem_of(QUEUE_END), "a damaged request");
    }
}

/* Of one structure each, good and not; what is said of those that are not. */
static void test_bounds_of_the_others(void **state)
{
    const queue_retry retries[] = {{.at_ms = 0}, {.at_ms = time_max}, {.at_ms = -1}};
    const queue_one ones[] = {
        {.deadline_ms = 0}, {.deadline_ms = time_max}, {.deadline_ms = time_max + 1}};
    const queue_list lists[] = {{.count = 1},
                                {.count = QUEUE_PAGE_MAX, .state = QUEUE_STATES - 1},
                                {.count = 0},
                                {.count = QUEUE_PAGE_MAX + 1},
                                {.count = 1, .state = QUEUE_STATES}};
    const queue_backlog_ask slots[] = {{QUEUE_GRAIN_MS}, {time_max}, {QUEUE_GRAIN_MS - 1},
                                       {time_max + 1},   {0},        {-1}};
    const queue_app_gone gone[] = {{.tenant = 1}, {.tenant = 0, .app = 1}};
    const uint64_t numbers[] = {0, UINT64_MAX};
    const struct {
        store_kind kind;
        const void *p;
        size_t each, n, good;
        const char *problem;
    } at[] = {
        {QUEUE_RETRY, retries, sizeof *retries, 3, 2, "a next attempt at no time"},
        {QUEUE_CANCEL, ones, sizeof *ones, 3, 2, "a deadline at no time"},
        {QUEUE_REVIVE, ones, sizeof *ones, 3, 2, "a deadline at no time"},
        {QUEUE_GET, ones, sizeof *ones, 3, 2, "a deadline at no time"},
        {QUEUE_LIST, lists, sizeof *lists, 5, 2, "a list of no call, of too many or of no state"},
        {QUEUE_BACKLOG, slots, sizeof *slots, 6, 2, "slots shorter than 5 s"},
        {QUEUE_APP_GONE, gone, sizeof *gone, 2, 1, "calls of no tenant"},
        {QUEUE_GIVE_BACK, numbers, 8, 2, 2, NULL},
        {QUEUE_COUNT, numbers, 8, 2, 2, NULL},
        {QUEUE_SECRET, numbers, 8, 2, 2, NULL},
        {QUEUE_ROTATE, numbers, 8, 2, 2, NULL},
    };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++)
        for (size_t k = 0; k <= at[i].n + 1; k++) { /* two more: too short, and none */
            const char *want = k < at[i].good ? NULL
                               : k < at[i].n  ? at[i].problem
                                              : "a damaged request";
            buf_clear(&out);
            store_message_begin(&out, 1, at[i].kind, 0);
            if (k <= at[i].n)
                queue_item_write(&out, (const uint8_t *)at[i].p + k % at[i].n * at[i].each,
                                 at[i].each - (k == at[i].n));
            const char *problem = problem_of(at[i].kind);
            if ((problem == NULL) != (want == NULL) || (want && strcmp(want, problem) != 0))
                fail_msg("kind %d, %zu: %s", at[i].kind, k, problem ? problem : "is read");
        }
    for (int more = 0; more < 2; more++)
        for (store_kind kind = QUEUE_PURGE; kind; kind = kind == QUEUE_PURGE ? QUEUE_NEWS : 0) {
            buf_clear(&out);
            store_message_begin(&out, 1, kind, 0);
            if (more)
                queue_number_write(&out, 1);
            const char *problem = problem_of(kind);
            assert_int_equal(problem != NULL, more);
        }
    buf_clear(&out);
    store_message_begin(&out, 1, STORE_OK, 0);
    assert_string_equal(problem_of(STORE_OK), "an unknown request");
}

static void test_requests_with_notes(void **state)
{
    queue_request r;
    const char *problem;
    store_message_begin(&out, 1, QUEUE_RETRY, 0);
    queue_retry_write(&out, &(queue_retry){.at_ms = 5, .counts = 1}, S("busy"));
    assert_true(queue_request_read(message(QUEUE_RETRY), &r, &problem));
    assert_true(r.kind == QUEUE_RETRY && r.retry.at_ms == 5 && r.retry.counts == 1);
    assert_str(r.note, "busy");
    buf_clear(&out);
    store_message_begin(&out, 1, QUEUE_APP_GONE, 0);
    queue_app_gone_write(&out, &(queue_app_gone){.tenant = 4, .from = 6}, S("gone"));
    assert_true(queue_request_read(message(QUEUE_APP_GONE), &r, &problem));
    assert_true(r.gone.tenant == 4 && r.gone.from == 6);
    assert_str(r.note, "gone");
    buf_clear(&out);
    store_message_begin(&out, 1, QUEUE_END, 0);
    queue_end_write(&out, &(queue_end){.state = QUEUE_FAILED}, S("n"),
                    (bytes){(const uint8_t *)"result", 6});
    assert_true(queue_request_read(message(QUEUE_END), &r, &problem));
    assert_true(r.result.n == 6 && memcmp(r.result.p, "result", 6) == 0);
}

/* --- answers ---------------------------------------------------------------------------------- */

static store_message answer_of(const void *p, size_t n)
{
    buf_clear(&out);
    store_message_begin(&out, 1, STORE_OK, 0);
    if (p)
        queue_item_write(&out, p, n);
    return message(STORE_OK);
}

/* One structure each: what was written is read; a byte less, one more and nothing are refused. */
static void test_answers_of_one_structure(void **state)
{
    static uint8_t full[sizeof(queue_count) + sizeof(queue_backlog) + 1];
    static const size_t sizes[] = {
        sizeof(queue_accepted), sizeof(queue_id),  4, 8, sizeof(queue_count),
        sizeof(queue_swept),    QUEUE_SECRET_BYTES};
    union {
        queue_accepted accepted;
        queue_id id;
        queue_state state;
        uint64_t number;
        queue_count count;
        queue_swept swept;
        uint8_t secret[QUEUE_SECRET_BYTES];
    } got;
    memset(full, 1, sizeof full);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int how = 0; how < 4; how++) {
            uint32_t dead = QUEUE_DEAD;
            const uint8_t *p = i == 2 ? (const uint8_t *)&dead : full;
            size_t n = how == 1 ? sizes[i] - 1 : how == 2 && i != 2 ? sizes[i] + 1 : sizes[i];
            store_message m = answer_of(how == 3 ? NULL : p, n);
            memset(&got, 7, sizeof got);
            bool ok = i == 0   ? queue_accepted_read(&m, &got.accepted, &e)
                      : i == 1 ? queue_page_read(&m, &got.id, &e)
                      : i == 2 ? queue_retry_read(&m, &got.state, &e)
                      : i == 3 ? queue_given_back_read(&m, &got.number, &e)
                      : i == 4 ? queue_count_read(&m, &got.count, &e)
                      : i == 5 ? queue_swept_read(&m, &got.swept, &e)
                               : queue_secret_read(&m, got.secret, &e);
            assert_int_equal(ok, how == 0 || (how == 2 && i == 2));
            if (ok)
                assert_memory_equal(&got, p, sizes[i]);
            else
                assert_int_equal(e.code, ERR_INTERNAL);
            if (!ok)
                assert_string_equal(e.text, "an answer of the queue is damaged");
        }
    uint32_t none = QUEUE_STATES;
    store_message m = answer_of(&none, sizeof none);
    assert_false(queue_retry_read(&m, &got.state, &e));
    assert_int_equal(e.code, ERR_INTERNAL);
}

static void test_answers_of_lists(void **state)
{
    struct {
        queue_backlog b;
        queue_slot slots[2];
    } all = {.b = {.now_ms = 5, .waiting = 3}, .slots = {{.slot = 1}, {.slot = 2}}};
    queue_backlog b;
    const uint8_t *at, *says;
    size_t n;
    for (size_t k = 0; k <= sizeof all; k++) {
        store_message m = answer_of(&all, k);
        bool good = k >= sizeof b && (k - sizeof b) % sizeof(queue_slot) == 0;
        assert_int_equal(queue_backlog_read(&m, &b, &at, &n, &e), good);
        if (!good)
            continue;
        assert_int_equal(n, (k - sizeof b) / sizeof(queue_slot));
        assert_true(b.now_ms == 5 && b.waiting == 3);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(queue_slot_at(at, i).slot, i + 1);
    }
    store_message m = answer_of("\0\1", 2);
    assert_true(queue_extend_read(&m, 2, &says, &e));
    assert_true(says[0] == 0 && says[1] == 1);
    for (size_t wrong = 1; wrong <= 3; wrong += 2) {
        m = answer_of("\0\1", 2);
        assert_false(queue_extend_read(&m, wrong, &says, &e));
        assert_int_equal(e.code, ERR_INTERNAL);
    }
    m = answer_of(NULL, 0);
    assert_false(queue_extend_read(&m, 0, &says, &e));
    buf_clear(&out);
    store_message_begin(&out, 1, QUEUE_ABSENT, 0); /* no reason */
    for (int k = 0; k < 3; k++) {
        m = message(QUEUE_ABSENT);
        assert_false(k == 0   ? queue_extend_read(&m, 2, &says, &e)
                     : k == 1 ? queue_backlog_read(&m, &b, &at, &n, &e)
                              : queue_answer_ok(&m, &e));
        assert_int_equal(e.code, ERR_NOT_FOUND);
        assert_string_equal(e.text, "the store process gave no reason");
    }
}

/* What is there of a call and what is not; states that none has. */
static void test_calls_in_answers(void **state)
{
    for (int has = 0; has < 4; has++) {
        queue_call c = {.info = {.state = QUEUE_WAITING},
                        .about = {(const uint8_t *)"about", 5},
                        .request = {(const uint8_t *)"request", 7},
                        .result = {(const uint8_t *)"re", 2},
                        .has_request = has & 1,
                        .has_result = has & 2},
                   got;
        buf_clear(&out);
        store_message_begin(&out, 1, STORE_OK, 0);
        queue_call_write(&out, &c);
        store_message m = message(STORE_OK);
        assert_true(queue_call_next(&m, &got));
        assert_true(got.has_request == (has & 1) && got.has_result == (has >> 1));
        assert_int_equal(got.request.n, has & 1 ? 7 : 0);
        assert_int_equal(got.result.n, has & 2 ? 2 : 0);
        assert_true(got.about.n == 5 && got.note.n == 0);
    }
    for (unsigned s = 0; s <= QUEUE_STATES; s++) {
        queue_call c = {.info = {.state = s}}, got;
        buf_clear(&out);
        store_message_begin(&out, 1, STORE_OK, 0);
        queue_call_write(&out, &c);
        store_message m = message(STORE_OK);
        assert_int_equal(queue_call_next(&m, &got), s > QUEUE_ANY && s < QUEUE_STATES);
        assert_int_equal(m.count, s > QUEUE_ANY && s < QUEUE_STATES ? 0 : 4);
    }
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
        cmocka_unit_test_setup_teardown(test_bounds_of_offers, begin, end),
        cmocka_unit_test_setup_teardown(test_bounds_of_leases, begin, end),
        cmocka_unit_test_setup_teardown(test_bounds_of_extensions, begin, end),
        cmocka_unit_test_setup_teardown(test_bounds_of_ends, begin, end),
        cmocka_unit_test_setup_teardown(test_bounds_of_the_others, begin, end),
        cmocka_unit_test_setup_teardown(test_requests_with_notes, begin, end),
        cmocka_unit_test_setup_teardown(test_answers_of_one_structure, begin, end),
        cmocka_unit_test_setup_teardown(test_answers_of_lists, begin, end),
        cmocka_unit_test_setup_teardown(test_calls_in_answers, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
