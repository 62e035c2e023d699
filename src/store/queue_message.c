/* See queue_message.h. Structures of fixed size are items' values; reading one demands exactly its
 * size. What an enumeration or a count may be is checked here, so that whoever carries a request
 * out finds only numbers that mean something. */
#include "store/queue_message.h"

#include "base/arena.h"
#include "base/hex.h"
#include "base/limits.h"
#include "base/must.h"

#include <stddef.h>

_Static_assert(sizeof(queue_terms) == 72 && sizeof(queue_info) == 184 && sizeof(queue_lease) == 56,
               "structures that travel have no padding");

/* --- ids and states --------------------------------------------------------------------------- */

bool queue_id_parse(str text, queue_id *ret)
{
    queue_id id;
    if (text.n != QUEUE_ID_TEXT)
        return false;
    for (size_t i = 0; i < QUEUE_ID_BYTES; i++) {
        int high = hex_digit(text.p[2 * i]), low = hex_digit(text.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        id.bytes[i] = (uint8_t)(high << 4 | low);
    }
    *ret = id;
    return true;
}

void queue_id_text(const queue_id *id, char ret[QUEUE_ID_TEXT + 1])
{
    hex_write((bytes){id->bytes, QUEUE_ID_BYTES}, ret);
    ret[QUEUE_ID_TEXT] = 0;
}

static const char *const names[QUEUE_STATES] = {"any",    "waiting", "leased",   "done",
                                                "failed", "dead",    "cancelled"};

const char *queue_state_name(queue_state s)
{
    must(s < QUEUE_STATES);
    return names[s];
}

queue_state queue_state_named(str name)
{
    unsigned s = 0;
    while (s < QUEUE_STATES && !str_eq(name, str_from(names[s])))
        s++;
    return s;
}

/* Then the revision was where its first half is now and attempts_max behind it, what follows those
 * began 4 bytes earlier, and nothing was said of excused attempts, nor of
 * a secret before. */
bool queue_told_read(bytes b, queue_told *ret)
{
    enum { REVISION = 32, LEVELS = 40, EXCUSED = 96, OLD = offsetof(queue_told, before) - 8 };
    _Static_assert((int)offsetof(queue_told, info.excused) == EXCUSED, "as it was written");
    uint32_t old[2];
    queue_terms *t = &ret->info.terms;
    if (b.n == sizeof *ret) {
        memcpy(ret, b.p, sizeof *ret);
        return true;
    }
    if (b.n != OLD)
        return false;
    memcpy(ret, b.p, EXCUSED);
    memcpy((uint8_t *)ret + EXCUSED + 8, b.p + EXCUSED, OLD - EXCUSED);
    memcpy(old, b.p + REVISION, sizeof old);
    ret->info.excused = ret->info.unused = 0;
    memset(ret->before, 0, sizeof ret->before);
    t->revision = old[0];
    t->attempts_max = old[1];
    t->class = b.p[LEVELS];
    t->criticality = b.p[LEVELS + 1];
    t->trigger = b.p[LEVELS + 2];
    t->unused = 0;
    return true;
}

/* --- writing ---------------------------------------------------------------------------------- */

static void put_struct(buf *out, str key, const void *p, size_t n)
{
    store_message_item(out, key, &(bytes){p, n});
}

void queue_item_write(buf *out, const void *p, size_t n) { put_struct(out, (str){0}, p, n); }

void queue_offer_write(buf *out, const queue_offer *p)
{
    put_struct(out, p->key, &p->head, sizeof p->head);
    store_message_item(out, (str){0}, &p->about);
    store_message_item(out, (str){0}, &p->request);
}

void queue_lease_write(buf *out, const queue_lease *q) { queue_item_write(out, q, sizeof *q); }

void queue_extend_write(buf *out, int64_t lease_ms, const queue_held *held, size_t n)
{
    _cleanup_(buf_fini) buf b;
    buf_init(&b, sizeof lease_ms + n * sizeof *held);
    buf_put(&b, &lease_ms, sizeof lease_ms);
    buf_put(&b, held, n * sizeof *held);
    out->failed |= b.failed;
    queue_item_write(out, b.p, b.n);
}

void queue_end_write(buf *out, const queue_end *q, str note, bytes result)
{
    put_struct(out, note, q, sizeof *q);
    store_message_item(out, (str){0}, result.p ? &result : NULL);
}

void queue_retry_write(buf *out, const queue_retry *q, str note)
{
    put_struct(out, note, q, sizeof *q);
}

void queue_number_write(buf *out, uint64_t number) { queue_item_write(out, &number, 8); }

void queue_one_write(buf *out, const queue_one *q) { queue_item_write(out, q, sizeof *q); }

void queue_list_write(buf *out, const queue_list *q) { queue_item_write(out, q, sizeof *q); }

void queue_backlog_write(buf *out, int64_t slot_ms)
{
    queue_item_write(out, &(queue_backlog_ask){slot_ms}, sizeof(queue_backlog_ask));
}

void queue_app_gone_write(buf *out, const queue_app_gone *q, str note)
{
    put_struct(out, note, q, sizeof *q);
}

void queue_call_write(buf *out, const queue_call *c)
{
    queue_item_write(out, &c->info, sizeof c->info);
    store_message_item(out, (str){0}, &c->about);
    store_message_item(out, (str){0}, c->has_request ? &c->request : NULL);
    store_message_item(out, c->note, c->has_result ? &c->result : NULL);
}

/* --- reading answers -------------------------------------------------------------------------- */

bool queue_answer_ok(store_message *m, err *e)
{
    store_item why;
    err_code code = m->kind == QUEUE_ABSENT     ? ERR_NOT_FOUND
                    : m->kind == QUEUE_CONFLICT ? ERR_CONFLICT
                    : m->kind == QUEUE_QUOTA    ? ERR_LIMIT
                                                : ERR_IO;
    if (m->kind == STORE_OK)
        return true;
    if (!store_message_next(m, &why))
        return err_set(e, code, "the store process gave no reason");
    return err_set(e, code, "%.*s", STR(why.key));
}

/* The next item, whose value has exactly n bytes. */
static bool next_struct(store_message *m, void *ret, size_t n, str *ret_key)
{
    store_item i;
    if (!store_message_next(m, &i) || !i.has_value || i.value.n != n)
        return false;
    memcpy(ret, i.value.p, n);
    if (ret_key)
        *ret_key = i.key;
    return true;
}

static bool damaged(err *e)
{
    return err_set(e, ERR_INTERNAL, "an answer of the queue is damaged");
}

/* The whole answer is one structure. */
static bool answer_struct(store_message *m, void *ret, size_t n, err *e)
{
    return queue_answer_ok(m, e) && (next_struct(m, ret, n, NULL) || damaged(e));
}

bool queue_accepted_read(store_message *m, queue_accepted *ret, err *e)
{
    return answer_struct(m, ret, sizeof *ret, e);
}

bool queue_page_read(store_message *m, queue_id *ret_after, err *e)
{
    return answer_struct(m, ret_after, sizeof *ret_after, e);
}

bool queue_call_next(store_message *m, queue_call *ret)
{
    queue_call c;
    store_item about, request, result;
    store_message at = *m;
    if (!next_struct(&at, &c.info, sizeof c.info, NULL) || c.info.state == QUEUE_ANY ||
        c.info.state >= QUEUE_STATES || !store_message_next(&at, &about) ||
        !store_message_next(&at, &request) || !store_message_next(&at, &result))
        return false;
    c.about = about.value;
    c.request = request.value;
    c.has_request = request.has_value;
    c.note = result.key;
    c.result = result.value;
    c.has_result = result.has_value;
    *ret = c;
    *m = at;
    return true;
}

bool queue_call_read(store_message *m, queue_call *ret, err *e)
{
    return queue_answer_ok(m, e) && (queue_call_next(m, ret) || damaged(e));
}

bool queue_extend_read(store_message *m, size_t n, const uint8_t **ret, err *e)
{
    store_item i;
    if (!queue_answer_ok(m, e))
        return false;
    if (!store_message_next(m, &i) || i.value.n != n)
        return damaged(e);
    *ret = i.value.p;
    return true;
}

bool queue_retry_read(store_message *m, queue_state *ret, err *e)
{
    uint32_t state;
    if (!answer_struct(m, &state, sizeof state, e))
        return false;
    if (state >= QUEUE_STATES)
        return damaged(e);
    *ret = state;
    return true;
}

bool queue_given_back_read(store_message *m, uint64_t *ret, err *e)
{
    return answer_struct(m, ret, sizeof *ret, e);
}

bool queue_backlog_read(store_message *m, queue_backlog *ret, const uint8_t **ret_slots,
                        size_t *ret_n, err *e)
{
    store_item i;
    if (!queue_answer_ok(m, e))
        return false;
    if (!store_message_next(m, &i) || i.value.n < sizeof *ret ||
        (i.value.n - sizeof *ret) % sizeof(queue_slot))
        return damaged(e);
    memcpy(ret, i.value.p, sizeof *ret);
    *ret_slots = i.value.p + sizeof *ret;
    *ret_n = (i.value.n - sizeof *ret) / sizeof(queue_slot);
    return true;
}

queue_slot queue_slot_at(const uint8_t *slots, size_t i)
{
    queue_slot s;
    memcpy(&s, slots + i * sizeof s, sizeof s);
    return s;
}

bool queue_count_read(store_message *m, queue_count *ret, err *e)
{
    return answer_struct(m, ret, sizeof *ret, e);
}

bool queue_swept_read(store_message *m, queue_swept *ret, err *e)
{
    return answer_struct(m, ret, sizeof *ret, e);
}

bool queue_secret_read(store_message *m, uint8_t ret[QUEUE_SECRET_BYTES], err *e)
{
    return answer_struct(m, ret, QUEUE_SECRET_BYTES, e);
}

/* --- reading requests ------------------------------------------------------------------------- */

#define TIME_MAX_MS (INT64_C(1) << 48) /* 10,000 years: sums of a few do not overflow */

static bool time_ok(int64_t ms) { return ms >= 0 && ms <= TIME_MAX_MS; }

static const char *put_read(store_message *m, queue_request *r)
{
    store_item about, request;
    queue_offer *p = &r->offer;
    const queue_terms *t = &p->head.terms;
    if (!next_struct(m, &p->head, sizeof p->head, &p->key) || !store_message_next(m, &about) ||
        !store_message_next(m, &request) || !about.has_value || !request.has_value)
        return "a damaged request";
    p->about = about.value;
    p->request = request.value;
    if (p->key.n > QUEUE_KEY_BYTES_MAX)
        return "an idempotency key has more than 255 bytes";
    if (p->about.n > QUEUE_ABOUT_BYTES_MAX)
        return "the description of a call has more than 16 KiB";
    if (p->request.n > QUEUE_REQUEST_BYTES_MAX)
        return "a call has more than 16.25 MiB";
    if (!t->tenant || !t->app || t->criticality > QUEUE_CRITICALITY_MAX || !time_ok(t->start_ms) ||
        !time_ok(t->deadline_ms) || !time_ok(t->keep_ms) || !time_ok(p->head.lease_ms) ||
        t->cpu_ns > QUEUE_CPU_NS_MAX)
        return "a call whose terms mean nothing";
    return NULL;
}

static const char *lease_read(store_message *m, queue_request *r)
{
    queue_lease *q = &r->lease;
    if (!next_struct(m, q, sizeof *q, NULL))
        return "a damaged request";
    if (!q->holder || !q->count || q->count > QUEUE_PAGE_MAX || !time_ok(q->lease_ms) ||
        !time_ok(q->deadline_max_ms))
        return "a lease without a holder, of no call or of too many";
    return NULL;
}

static const char *extend_read(store_message *m, queue_request *r)
{
    store_item i;
    if (!store_message_next(m, &i) || i.value.n < sizeof r->extend.lease_ms ||
        (i.value.n - sizeof r->extend.lease_ms) % sizeof(queue_held))
        return "a damaged request";
    memcpy(&r->extend.lease_ms, i.value.p, sizeof r->extend.lease_ms);
    r->extend.held = i.value.p + sizeof r->extend.lease_ms;
    r->extend.n = (i.value.n - sizeof r->extend.lease_ms) / sizeof(queue_held);
    if (!time_ok(r->extend.lease_ms) || r->extend.n > QUEUE_EXTEND_MAX)
        return "leases extended for too long, or too many";
    return NULL;
}

static const char *end_read(store_message *m, queue_request *r)
{
    store_item result;
    queue_end *q = &r->end;
    if (!next_struct(m, q, sizeof *q, &r->note) || !store_message_next(m, &result))
        return "a damaged request";
    r->result = result.value;
    if (q->state != QUEUE_DONE && q->state != QUEUE_FAILED && q->state != QUEUE_DEAD)
        return "an end that is none";
    if (r->result.n > QUEUE_RESULT_BYTES_MAX)
        return "a result has more than 16.25 MiB";
    return NULL;
}

static const char *retry_read(store_message *m, queue_request *r)
{
    if (!next_struct(m, &r->retry, sizeof r->retry, &r->note))
        return "a damaged request";
    return time_ok(r->retry.at_ms) ? NULL : "a next attempt at no time";
}

static const char *one_read(store_message *m, queue_request *r)
{
    if (!next_struct(m, &r->one, sizeof r->one, NULL))
        return "a damaged request";
    return time_ok(r->one.deadline_ms) ? NULL : "a deadline at no time";
}

static const char *list_read(store_message *m, queue_request *r)
{
    if (!next_struct(m, &r->list, sizeof r->list, NULL))
        return "a damaged request";
    if (!r->list.count || r->list.count > QUEUE_PAGE_MAX || r->list.state >= QUEUE_STATES)
        return "a list of no call, of too many or of no state";
    return NULL;
}

static const char *backlog_read(store_message *m, queue_request *r)
{
    if (!next_struct(m, &r->backlog, sizeof r->backlog, NULL))
        return "a damaged request";
    if (r->backlog.slot_ms < QUEUE_GRAIN_MS || !time_ok(r->backlog.slot_ms))
        return "slots shorter than 5 s";
    return NULL;
}

static const char *any_read(store_message *m, queue_request *r)
{
    switch (m->kind) {
    case QUEUE_PUT:
        return put_read(m, r);
    case QUEUE_LEASE:
        return lease_read(m, r);
    case QUEUE_EXTEND:
        return extend_read(m, r);
    case QUEUE_END:
        return end_read(m, r);
    case QUEUE_RETRY:
        return retry_read(m, r);
    case QUEUE_CANCEL:
    case QUEUE_REVIVE:
    case QUEUE_GET:
        return one_read(m, r);
    case QUEUE_LIST:
        return list_read(m, r);
    case QUEUE_BACKLOG:
        return backlog_read(m, r);
    case QUEUE_GIVE_BACK:
    case QUEUE_COUNT:
    case QUEUE_SECRET:
    case QUEUE_ROTATE:
        return next_struct(m, &r->number, sizeof r->number, NULL) ? NULL : "a damaged request";
    case QUEUE_APP_GONE:
        return !next_struct(m, &r->gone, sizeof r->gone, &r->note) ? "a damaged request"
               : r->gone.tenant                                    ? NULL
                                                                   : "calls of no tenant";
    case QUEUE_PURGE:
    case QUEUE_NEWS:
        return NULL;
    default:
        return "an unknown request";
    }
}

bool queue_request_read(store_message m, queue_request *ret, const char **ret_problem)
{
    queue_request r = {.kind = m.kind};
    const char *problem = any_read(&m, &r);
    if (!problem && (m.count || m.items.n))
        problem = "a damaged request";
    if (!problem && r.note.n > QUEUE_NOTE_BYTES_MAX)
        problem = "a note has more than 4 KiB";
    if (problem) {
        *ret_problem = problem;
        return false;
    }
    *ret = r;
    return true;
}
