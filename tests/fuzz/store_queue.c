/* Any bytes as requests of the queue, one after the other: each is answered with a message that is
 * whole, and the sums stay what the calls say. An id of zeros and a number stands for an id that
 * the queue gave, so that calls can be reached. */
#include "base/arena.h"
#include "base/limits.h"
#include "base/must.h"
#include "store/queue_engine.h"

enum { IDS = 8, REQUESTS = 64 };

static queue_engine *q;
static queue_id ids[IDS];
static size_t ids_n;
static int64_t now = 1000;

static void id_put(uint8_t *at)
{
    static const uint8_t zeros[QUEUE_ID_BYTES - 1];
    if (ids_n && memcmp(at, zeros, sizeof zeros) == 0 && at[QUEUE_ID_BYTES - 1])
        memcpy(at, &ids[at[QUEUE_ID_BYTES - 1] % ids_n], QUEUE_ID_BYTES);
}

/* Where structures have their ids. */
static void ids_put(store_message m)
{
    size_t at = m.kind == QUEUE_LEASE    ? offsetof(queue_lease, id)
                : m.kind == QUEUE_LIST   ? offsetof(queue_list, after)
                : m.kind == QUEUE_EXTEND ? 8
                                         : 0;
    store_item i;
    if (store_message_next(&m, &i) && i.value.n >= at + QUEUE_ID_BYTES)
        id_put((uint8_t *)i.value.p + at);
}

static void answer_check(store_message m, const buf *out)
{
    store_message answer;
    store_item i;
    queue_accepted a;
    err e;
    must(store_message_read(buf_bytes(out), false, &answer, &e));
    must(answer.id == m.id && answer.kind >= STORE_OK && answer.kind < STORE_ANSWERS_END);
    if (m.kind == QUEUE_PUT && answer.kind == STORE_OK) {
        store_message copy = answer;
        must(queue_accepted_read(&copy, &a, &e));
        ids[ids_n < IDS ? ids_n++ : 0] = a.id;
    }
    while (store_message_next(&answer, &i))
        must(i.key.n <= STORE_MESSAGE_BYTES_MAX);
    must(answer.count == 0 && answer.items.n == 0);
}

static void ask(bytes one, buf *out)
{
    store_message m;
    err e;
    if (!store_message_read(one, false, &m, &e))
        return;
    ids_put(m);
    must(queue_apply(q, m, out, &e));
    answer_check(m, out);
}

/* Waiting calls by tenant are as many as those by deadline. */
static void sums_check(buf *out)
{
    _cleanup_(buf_fini) buf b;
    store_message m;
    queue_count c;
    queue_backlog log;
    const uint8_t *slots;
    size_t n;
    err e;
    buf_init(&b, STORE_MESSAGE_BYTES_MAX);
    store_message_begin(&b, 1, QUEUE_BACKLOG, 0);
    queue_backlog_write(&b, INT64_C(1) << 40);
    store_message_end(&b);
    must(store_message_read(buf_bytes(&b), false, &m, &e) && queue_apply(q, m, out, &e));
    must(store_message_read(buf_bytes(out), false, &m, &e));
    must(queue_backlog_read(&m, &log, &slots, &n, &e));
    buf_clear(&b);
    store_message_begin(&b, 1, QUEUE_COUNT, 0);
    queue_number_write(&b, 0);
    store_message_end(&b);
    must(store_message_read(buf_bytes(&b), false, &m, &e) && queue_apply(q, m, out, &e));
    must(store_message_read(buf_bytes(out), false, &m, &e) && queue_count_read(&m, &c, &e));
    must(c.calls[QUEUE_WAITING] == log.waiting && c.calls[QUEUE_LEASED] == log.leased);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t copy[1 << 16];
    _cleanup_(buf_fini) buf out;
    queue_rows *rows;
    seal_key key = {{0}};
    err e;
    bytes rest = {copy, size < sizeof copy ? size : sizeof copy}, one;
    buf_init(&out, STORE_MESSAGE_BYTES_MAX);
    if (!q)
        must(queue_sqlite_open(NULL, &rows, &e) && queue_engine_new_take(rows, &key, &q, &e));
    memcpy(copy, data, rest.n);
    ids_n = 0;
    must(queue_begin(q, now, &e));
    for (int i = 0; i < REQUESTS && store_message_take(&rest, &one); i++)
        ask(one, &out);
    sums_check(&out);
    queue_rollback(q);
    return 0;
}
