/* See queue.h: requests about many calls. Lists look at a bounded number of rows; the backlog and
 * counts are read from sums, never from calls; sweeps move or delete a bounded number at a time. */
#include "store/queue_engine_impl.h"

#include <openssl/crypto.h>
#include <stdlib.h>

enum { SCAN_LOOKS = 10000, SWEEP_MAX = 500, SWEEP_LOOKS = 5000 };

/* Phases of a state, inclusive. */
static void phases_of(queue_state s, queue_phase *ret_from, queue_phase *ret_to)
{
    *ret_from = *ret_to = PHASE_LEASED + (s - QUEUE_LEASED);
    if (s == QUEUE_ANY || s == QUEUE_WAITING)
        *ret_from = PHASE_LATER;
    if (s == QUEUE_ANY)
        *ret_to = PHASES - 1;
    if (s == QUEUE_WAITING)
        *ret_to = PHASE_READY_LAST;
}

bool queue_on_list(const queue_asked *a, err *e)
{
    static const queue_id newest;
    const queue_list *list = &a->r->list;
    queue_engine *q = a->q;
    uint64_t before = INT64_MAX, nonce, next;
    queue_phase from, to;
    size_t n;
    queue_row *rows = queue_rows_new(q, list->count, e);
    if (memcmp(&list->after, &newest, sizeof newest))
        queue_id_open(q->keys, &list->after, &before, &nonce);
    phases_of(list->state, &from, &to);
    if (before > INT64_MAX)
        before = 0;
    if (!rows || !q->ops->scan(q->rows, list, from, to, before, SCAN_LOOKS, rows, &n, &next, e))
        return false;
    queue_id after = next ? queue_id_make(q->keys, next, 0) : newest;
    queue_item_write(a->out, &after, sizeof after);
    for (size_t i = 0; i < n; i++)
        if (!queue_show(q, &rows[i], 0, a->out, e))
            return false;
    return true;
}

typedef struct {
    int64_t slot_ms;
    queue_slot *at;
    size_t n, size;
    queue_backlog b;
    bool failed;
} slots;

/* Sums come in the order of deadlines, the ready ones first. */
static void slot_add(void *user, const queue_tally *t)
{
    slots *s = user;
    bool ready = t->kind == TALLY_READY;
    int64_t slot = t->key * QUEUE_GRAIN_MS / s->slot_ms;
    uint64_t n = t->n > 0 ? (uint64_t)t->n : 0, cpu = t->v > 0 ? (uint64_t)t->v : 0;
    if (t->kind == PHASE_LEASED)
        s->b.leased += n;
    if (t->kind == PHASE_LEASED || !n)
        return;
    s->b.waiting += n;
    queue_slot *at = s->n ? &s->at[s->n - 1] : NULL;
    if (!at || at->slot != slot || (!ready && at->ready_count)) {
        size_t size = s->n < s->size ? s->size : 2 * s->size + 64;
        queue_slot *grown = size == s->size ? s->at : realloc(s->at, size * sizeof *grown);
        if (!grown) {
            s->failed = true;
            return;
        }
        s->at = grown;
        s->size = size;
        at = &s->at[s->n++];
        *at = (queue_slot){.slot = slot};
    }
    *(ready ? &at->ready_count : &at->later_count) += n;
    *(ready ? &at->ready_cpu_ns : &at->later_cpu_ns) += cpu;
}

static int by_slot(const void *a, const void *b)
{
    const queue_slot *x = a, *y = b;
    return x->slot < y->slot ? -1 : x->slot > y->slot;
}

/* Ready and later ones of a slot become one. */
static void slots_join(slots *s)
{
    size_t to = 0;
    if (s->n)
        qsort(s->at, s->n, sizeof *s->at, by_slot);
    for (size_t i = 0; i < s->n; i++) {
        if (to && s->at[to - 1].slot == s->at[i].slot) {
            s->at[to - 1].ready_count += s->at[i].ready_count;
            s->at[to - 1].ready_cpu_ns += s->at[i].ready_cpu_ns;
            s->at[to - 1].later_count += s->at[i].later_count;
            s->at[to - 1].later_cpu_ns += s->at[i].later_cpu_ns;
        } else {
            s->at[to++] = s->at[i];
        }
    }
    s->n = to;
}

/* Of several phases. */
static bool first(queue_engine *q, unsigned from, unsigned to, int64_t *ret_at_ms, err *e)
{
    int64_t at;
    *ret_at_ms = 0;
    for (unsigned phase = from; phase <= to; phase++) {
        if (!q->ops->first(q->rows, phase, &at, e))
            return false;
        if (at && (!*ret_at_ms || at < *ret_at_ms))
            *ret_at_ms = at;
    }
    return true;
}

static bool moments_read(queue_engine *q, queue_backlog *b, err *e)
{
    if (!first(q, PHASE_READY, PHASE_READY_LAST, &b->next_deadline_ms, e) ||
        !first(q, PHASE_DONE, PHASES - 1, &b->next_over_ms, e))
        return false;
    if (!q->ops->first(q->rows, PHASE_LATER, &b->next_start_ms, e) ||
        !q->ops->first(q->rows, PHASE_LEASED, &b->next_expiry_ms, e))
        return false;
    /* Those of a revision that is left to others: it may be here by then. */
    int64_t lacked = q->lacks.n ? q->lacks.until_ms[0] : 0;
    if (lacked && (!b->next_start_ms || lacked < b->next_start_ms))
        b->next_start_ms = lacked;
    return true;
}

bool queue_on_backlog(const queue_asked *a, err *e)
{
    queue_engine *q = a->q;
    slots s = {.slot_ms = a->r->backlog.slot_ms, .b.now_ms = q->now_ms};
    bool ok = queue_look(q, e) && queue_sums_flush(q, e) &&
              q->ops->tally_each(q->rows, PHASE_LEASED, PHASE_LEASED, NULL, slot_add, &s, e) &&
              q->ops->tally_each(q->rows, TALLY_READY, TALLY_LATER, NULL, slot_add, &s, e) &&
              moments_read(q, &s.b, e);
    if (ok && s.failed)
        ok = err_no_memory(e);
    slots_join(&s);
    buf_clear(&q->first);
    if (ok &&
        (!buf_put(&q->first, &s.b, sizeof s.b) || !buf_put(&q->first, s.at, s.n * sizeof *s.at)))
        ok = err_no_memory(e);
    if (ok)
        queue_item_write(a->out, q->first.p, q->first.n);
    free(s.at);
    return ok;
}

static void count_add(void *user, const queue_tally *t)
{
    queue_count *c = user;
    uint64_t n = t->n > 0 ? (uint64_t)t->n : 0;
    c->calls[queue_state_of(t->kind)] += n;
    c->calls[QUEUE_ANY] += n;
    if (t->kind <= PHASE_LEASED && t->v > 0)
        c->bytes += (uint64_t)t->v;
}

bool queue_on_count(const queue_asked *a, err *e)
{
    queue_engine *q = a->q;
    int64_t tenant = (int64_t)a->r->number;
    queue_count c = {0};
    if (!queue_sums_flush(q, e) || !q->ops->tally_each(q->rows, PHASE_LATER, PHASES - 1,
                                                       tenant ? &tenant : NULL, count_add, &c, e))
        return false;
    queue_item_write(a->out, &c, sizeof c);
    return true;
}

bool queue_on_app_gone(const queue_asked *a, err *e)
{
    const queue_app_gone *gone = &a->r->gone;
    queue_engine *q = a->q;
    queue_list list = {.tenant = gone->tenant, .app = gone->app, .count = SWEEP_MAX};
    queue_swept swept = {0};
    uint64_t before = gone->from && gone->from <= INT64_MAX ? gone->from : INT64_MAX;
    queue_phase to = gone->forget ? PHASES - 1 : PHASE_LEASED;
    queue_row *rows = queue_rows_new(q, SWEEP_MAX, e);
    size_t n;
    if (!rows || !q->ops->scan(q->rows, &list, PHASE_LATER, to, before, SWEEP_LOOKS, rows, &n,
                               &swept.next, e))
        return false;
    for (size_t i = 0; i < n; i++) {
        bool found; /* again, for change: somebody else may have moved it */
        if (!q->ops->get(q->rows, rows[i].seq, true, &rows[i], &found, e))
            return false;
        if (!found || rows[i].phase > to)
            continue;
        rows[i].terms.trigger &= (uint8_t)~QUEUE_TELLS; /* of these nobody is told */
        if (gone->forget ? !queue_forget(q, &rows[i], e)
                         : !queue_finish(q, &rows[i], PHASE_DEAD, a->r->note, (bytes){0}, e))
            return false;
        swept.calls++;
    }
    queue_item_write(a->out, &swept, sizeof swept);
    return true;
}

bool queue_on_purge(const queue_asked *a, err *e)
{
    queue_engine *q = a->q;
    queue_swept swept = {0};
    queue_row *rows = queue_rows_new(q, SWEEP_MAX, e);
    if (!rows)
        return false;
    for (unsigned phase = PHASE_DONE; phase < PHASES && swept.calls < SWEEP_MAX; phase++) {
        size_t n;
        if (!q->ops->take(q->rows, phase, q->now_ms, 0, SWEEP_MAX - swept.calls, rows, &n, e))
            return false;
        for (size_t i = 0; i < n; i++)
            if (!queue_forget(q, &rows[i], e))
                return false;
        swept.calls += n;
    }
    swept.next = swept.calls == SWEEP_MAX;
    q->tidy = !swept.next;
    queue_item_write(a->out, &swept, sizeof swept);
    return true;
}

bool queue_on_secret(const queue_asked *a, err *e)
{
    uint8_t secret[QUEUE_SECRET_BYTES];
    uint64_t app = a->r->number, n;
    if ((a->m->kind == QUEUE_ROTATE && !queue_rotate(a->q, app, e)) ||
        !queue_rotated(a->q, app, &n, e) || !queue_secret_of(a->q->keys, app, n, secret, e))
        return false;
    queue_item_write(a->out, secret, sizeof secret);
    OPENSSL_cleanse(secret, sizeof secret);
    return true;
}
