/* A queue for each test, asked as a worker asks: over a file, or over PostgreSQL where
 * EBB_QUEUE_URL names a database (tests/integration/test_queue.py). The clock is the test's. */
#pragma once

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

static inline void engine_open(void)
{
    queue_rows *rows;
    const char *url = getenv("EBB_QUEUE_URL");
    bool ok = url ? queue_pg_open(url, &rows, &e) : queue_sqlite_open(path, &rows, &e);
    if (!ok || !queue_engine_new_take(rows, &key, &q, &e))
        fail_msg("%s", e.text);
}

/* --- asking: a transaction each --------------------------------------------------------------- */

static store_kind kind_asked;

static inline buf *asking(store_kind kind)
{
    kind_asked = kind;
    buf_clear(&ask);
    store_message_begin(&ask, 42, kind, 0);
    return &ask;
}

static inline void apply(void)
{
    store_message m;
    store_message_end(&ask);
    assert_true(store_message_read(buf_bytes(&ask), false, &m, &e));
    if (!queue_apply(q, m, &out, &e))
        fail_msg("%s", e.text);
}

static inline void commit(void)
{
    bool unsure;
    if (!queue_commit(q, &unsure, &e))
        fail_msg("%s", e.text);
}

static inline void transaction(void)
{
    if (!queue_begin(q, now, &e))
        fail_msg("%s", e.text);
}

static inline store_message *answer(void)
{
    static store_message m;
    assert_true(store_message_read(buf_bytes(&out), false, &m, &e));
    assert_int_equal(m.id, 42);
    return &m;
}

static inline store_message *answered(void)
{
    transaction();
    apply();
    commit();
    return answer();
}

static inline queue_offer offer_of(const char *request)
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

static inline queue_accepted put(const queue_offer *p)
{
    queue_accepted a;
    queue_offer_write(asking(QUEUE_PUT), p);
    if (!queue_accepted_read(answered(), &a, &e))
        fail_msg("%s", e.text);
    return a;
}

static inline void put_refused(const queue_offer *p, err_code why)
{
    queue_accepted a;
    queue_offer_write(asking(QUEUE_PUT), p);
    assert_false(queue_accepted_read(answered(), &a, &e));
    assert_int_equal(e.code, why);
}

static inline queue_id put_due(const char *request, int64_t deadline_ms)
{
    queue_offer p = offer_of(request);
    p.head.terms.deadline_ms = deadline_ms;
    return put(&p).id;
}

/* The requests of what is leased, in order, with commas. */
static char leased[1024];
static queue_held held[16];
static size_t held_n;

static inline const char *lease(queue_lease l)
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

static inline queue_info get(queue_id id)
{
    queue_one_write(
        asking(QUEUE_GET),
        &(queue_one){.id = id, .tenant = TENANT, .with = QUEUE_WITH_REQUEST | QUEUE_WITH_RESULT});
    if (!queue_call_read(answered(), &got, &e))
        fail_msg("%s", e.text);
    return got.info;
}

static inline bool end_with(queue_held h, queue_state state, const char *note, const char *result)
{
    queue_end_write(asking(QUEUE_END),
                    &(queue_end){.held = h, .state = state, .use = {.cpu_ns = 10, .energy_nj = 20}},
                    str_from(note),
                    result ? (bytes){(const uint8_t *)result, strlen(result)} : (bytes){0});
    return queue_answer_ok(answered(), &e);
}

static inline queue_state retry(queue_held h, int64_t at, bool counts, const char *note)
{
    queue_state s;
    queue_retry_write(asking(QUEUE_RETRY), &(queue_retry){.held = h, .at_ms = at, .counts = counts},
                      str_from(note));
    if (!queue_retry_read(answered(), &s, &e))
        return QUEUE_ANY;
    return s;
}

static inline bool one(store_kind kind, queue_id id, uint64_t tenant)
{
    queue_one_write(asking(kind), &(queue_one){.id = id, .tenant = tenant, .deadline_ms = now + 5});
    return queue_call_read(answered(), &got, &e);
}

static inline queue_count counts(uint64_t tenant)
{
    queue_count c;
    queue_number_write(asking(QUEUE_COUNT), tenant);
    if (!queue_count_read(answered(), &c, &e))
        fail_msg("%s", e.text);
    return c;
}

static inline queue_backlog backlog(int64_t slot_ms, queue_slot *ret, size_t max, size_t *ret_n)
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

static inline queue_swept swept(void)
{
    queue_swept s;
    if (!queue_swept_read(answered(), &s, &e))
        fail_msg("%s", e.text);
    return s;
}

static inline int begin(void **state)
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
static inline void forget_all(void)
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

static inline int end(void **state)
{
    forget_all();
    queue_engine_free(q);
    buf_fini(&ask);
    buf_fini(&out);
    unlink(path);
    return rmdir(dir);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
