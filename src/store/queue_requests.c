/* See queue.h: what each request about one call does, or about those that run next; queue_many.c
 * has the others. Each reads the rows it concerns, decides, moves them with the functions of
 * queue_engine.c and writes its answer.
 *
 * A call whose content does not open (the key file is another one, or somebody changed the row) is
 * shown without it; leasing one ends it as dead, because nobody can run it. */
#include "base/limits.h"
#include "store/queue_engine_impl.h"

#include <stdlib.h>

bool queue_refuse(const queue_asked *a, store_kind kind, const char *why)
{
    buf_clear(a->out);
    store_message_begin(a->out, a->m->id, kind, a->m->store);
    store_message_item(a->out, str_from(why), NULL);
    return true;
}

static bool absent(const queue_asked *a)
{
    return queue_refuse(a, QUEUE_ABSENT, "no call has this id, or it is not kept any more");
}

queue_state queue_state_of(unsigned phase)
{
    return phase <= PHASE_READY_LAST ? QUEUE_WAITING : QUEUE_LEASED + (phase - PHASE_LEASED);
}

/* --- finding ---------------------------------------------------------------------------------- */

/* The call of an id, of that tenant and app (0: of any), as long as it is kept. */
static bool find(queue_engine *q, const queue_id *id, uint64_t tenant, uint64_t app,
                 bool for_change, queue_row *ret, bool *ret_found, err *e)
{
    uint64_t seq, nonce;
    queue_row row;
    bool found;
    queue_id_open(q->keys, id, &seq, &nonce);
    if (seq > INT64_MAX) {
        *ret_found = false;
        return true;
    }
    if (!q->ops->get(q->rows, seq, for_change, &row, &found, e))
        return false;
    *ret_found = found && row.nonce == nonce && (!tenant || row.terms.tenant == tenant) &&
                 (!app || row.terms.app == app) && !queue_is_over(q, &row);
    if (*ret_found)
        *ret = row;
    return true;
}

/* The call of a lease. Where it is not found or leased any more, *ret_held is false and the answer
 * says so. */
static bool find_held(const queue_asked *a, const queue_held *held, queue_row *ret, bool *ret_held,
                      err *e)
{
    bool found;
    *ret_held = false;
    if (!find(a->q, &held->id, 0, 0, true, ret, &found, e))
        return false;
    if (!found)
        return absent(a);
    *ret_held = ret->phase == PHASE_LEASED && ret->attempts == held->attempt;
    return *ret_held ||
           queue_refuse(a, QUEUE_CONFLICT, "the call is not leased under this number any more");
}

/* --- showing ---------------------------------------------------------------------------------- */

queue_info queue_info_of(queue_engine *q, const queue_row *row)
{
    bool ready = row->phase >= PHASE_READY && row->phase <= PHASE_READY_LAST;
    return (queue_info){
        .id = queue_id_make(q->keys, row->seq, row->nonce),
        .terms = row->terms,
        .state = queue_state_of(row->phase),
        .attempts = row->attempts,
        .excused = row->excused,
        .accepted_ms = row->accepted_ms,
        .next_ms = ready ? row->terms.start_ms : row->at_ms,
        .begun_ms = row->begun_ms,
        .ended_ms = row->ended_ms,
        .holder = row->holder,
        .bytes = row->bytes,
        .use = row->use,
    };
}

/* Opens what was sealed; what does not open stays empty, and *opens says so. */
static void part_open(queue_engine *q, const queue_row *row, queue_part part, bytes sealed,
                      bytes *ret, bool *opens)
{
    err ignored;
    if (!queue_unseal(q->keys, row, part, sealed, &q->a, ret, &ignored)) {
        *ret = (bytes){0};
        *opens = false;
    }
}

/* What the rows have of a call, opened. */
static bool call_read(queue_engine *q, const queue_row *row, unsigned with, queue_call *ret,
                      bool *ret_opens, err *e)
{
    queue_body body;
    bytes note, result;
    bool opens = true;
    *ret = (queue_call){.info = queue_info_of(q, row)};
    if (!q->ops->body(q->rows, row->seq, with & QUEUE_WITH_REQUEST, &body, e))
        return false;
    part_open(q, row, QUEUE_PART_ABOUT, body.about, &ret->about, &opens);
    ret->has_request = with & QUEUE_WITH_REQUEST;
    if (ret->has_request)
        part_open(q, row, QUEUE_PART_REQUEST, body.request, &ret->request, &opens);
    *ret_opens = opens;
    if (!opens)
        ret->note = S("what it says does not open: the key file is another, or it is damaged");
    if (!q->ops->outcome(q->rows, row->seq, with & QUEUE_WITH_RESULT, &note, &result, e))
        return false;
    if (note.n && opens) {
        part_open(q, row, QUEUE_PART_NOTE, note, &note, &opens);
        ret->note = (str){(const char *)note.p, note.n};
    }
    ret->has_result = (with & QUEUE_WITH_RESULT) && result.p;
    if (ret->has_result)
        part_open(q, row, QUEUE_PART_RESULT, result, &ret->result, &opens);
    return true;
}

bool queue_show(queue_engine *q, const queue_row *row, unsigned with, buf *out, err *e)
{
    queue_call c;
    bool opens;
    if (!call_read(q, row, with, &c, &opens, e))
        return false;
    queue_call_write(out, &c);
    return true;
}

/* --- PUT -------------------------------------------------------------------------------------- */

static bool accepted(const queue_asked *a, const queue_row *row, bool existed)
{
    queue_accepted r = {.id = queue_id_make(a->q->keys, row->seq, row->nonce),
                        .state = queue_state_of(row->phase),
                        .existed = existed,
                        .attempt = row->phase == PHASE_LEASED ? row->attempts : 0};
    queue_item_write(a->out, &r, sizeof r);
    return true;
}

/* The key's call is there already: the same request is answered as the first one was. Builds before
 * this one kept the digest as it was given. */
static bool accepted_before(const queue_asked *a, const queue_row *new, const queue_row *first)
{
    if (memcmp(first->same, new->same, sizeof first->same) != 0 &&
        memcmp(first->same, a->r->offer.head.same, sizeof first->same) != 0)
        return queue_refuse(a, QUEUE_CONFLICT,
                            "the idempotency key was used with another request; use a new key");
    return accepted(a, first, true);
}

/* The key's call is not kept any more: it goes now, if nobody has deleted it yet. */
static bool key_free(queue_engine *q, const queue_row *first, err *e)
{
    queue_row row;
    bool found;
    return q->ops->get(q->rows, first->seq, true, &row, &found, e) &&
           (!found || !queue_is_over(q, &row) || queue_forget(q, &row, e));
}

static void row_fill(const queue_engine *q, const queue_offer *p, queue_row *row)
{
    const queue_terms *t = &p->head.terms;
    row->terms = *t;
    row->accepted_ms = q->now_ms;
    row->bytes = p->about.n + p->request.n;
    if (p->head.holder) {
        row->phase = PHASE_LEASED;
        row->at_ms = q->now_ms + p->head.lease_ms;
        row->holder = p->head.holder;
        row->attempts = 1;
        row->begun_ms = q->now_ms;
    } else if (t->start_ms > q->now_ms) {
        row->phase = PHASE_LATER;
        row->at_ms = t->start_ms;
    } else {
        row->phase = PHASE_READY + t->criticality;
        row->at_ms = t->deadline_ms;
    }
}

/* One more call that waits, of so many bytes. Over the quota: the answer says what is. */
static bool quota_check(const queue_asked *a, const queue_row *row, uint64_t calls_max,
                        uint64_t bytes_max, bool *ret_ok, err *e)
{
    *ret_ok = true;
    if (!calls_max && !bytes_max)
        return true;
    const queue_quota *has = queue_quota_of(a->q, row->terms.tenant, e);
    if (!has)
        return false;
    uint64_t calls = has->calls > 0 ? (uint64_t)has->calls : 0;
    uint64_t held = has->bytes > 0 ? (uint64_t)has->bytes : 0;
    if (calls_max && calls >= calls_max) {
        *ret_ok = false;
        return queue_refuse(a, QUEUE_QUOTA, "the tenant has as many calls waiting as it may");
    }
    if (bytes_max && row->bytes + held > bytes_max) {
        *ret_ok = false;
        return queue_refuse(a, QUEUE_QUOTA,
                            "the tenant's waiting calls have as many bytes as they may");
    }
    return true;
}

static bool on_put(const queue_asked *a, err *e)
{
    queue_engine *q = a->q;
    const queue_offer *p = &a->r->offer;
    queue_row row = {0}, first;
    bool exists = false, ok;
    str same = {(const char *)p->head.same, sizeof p->head.same};
    row_fill(q, p, &row);
    if (p->key.n && (!queue_key_hash(q->keys, row.terms.app, p->key, row.key, e) ||
                     !queue_key_hash(q->keys, row.terms.app, same, row.same, e) ||
                     !q->ops->find(q->rows, row.key, &first, &exists, e)))
        return false;
    if (exists && !queue_is_over(q, &first))
        return accepted_before(a, &row, &first);
    if (p->head.only_known)
        return absent(a);
    if (exists && !key_free(q, &first, e))
        return false;
    if (!quota_check(a, &row, p->head.calls_max, p->head.bytes_max, &ok, e))
        return false;
    if (!ok)
        return true;
    buf_clear(&q->first);
    buf_clear(&q->second);
    if (!queue_nonce(&row.nonce, e) ||
        !queue_seal(q->keys, &row, QUEUE_PART_ABOUT, p->about, &q->first, e) ||
        !queue_seal(q->keys, &row, QUEUE_PART_REQUEST, p->request, &q->second, e) ||
        !q->ops->add(q->rows, &row, &(queue_body){buf_bytes(&q->first), buf_bytes(&q->second)},
                     &exists, e))
        return false;
    if (!exists)
        return queue_sums_count(q, &row, 1, e) && accepted(a, &row, false);
    /* Somebody else has added it meanwhile. */
    if (!q->ops->find(q->rows, row.key, &first, &exists, e))
        return false;
    return exists ? accepted_before(a, &row, &first)
                  : queue_refuse(a, QUEUE_CONFLICT,
                                 "the call of this idempotency key is being deleted");
}

/* --- LEASE ------------------------------------------------------------------------------------ */

/* Leases the row and writes the call; one that nobody can run ends instead. */
static bool lease_one(const queue_asked *a, queue_row *row, bool *ret_leased, err *e)
{
    queue_engine *q = a->q;
    const queue_lease *l = &a->r->lease;
    queue_call c;
    bool opens;
    if (!call_read(q, row, QUEUE_WITH_REQUEST, &c, &opens, e))
        return false;
    *ret_leased = opens;
    if (!opens)
        return queue_finish(q, row, PHASE_DEAD, c.note, (bytes){0}, e);
    row->attempts++;
    row->holder = l->holder;
    row->begun_ms = q->now_ms;
    if (!queue_enter(q, row, PHASE_LEASED, q->now_ms + l->lease_ms, e) ||
        !q->ops->put(q->rows, row, e))
        return false;
    c.info = queue_info_of(q, row);
    queue_call_write(a->out, &c);
    return true;
}

static int by_deadline(const void *a, const void *b)
{
    const queue_row *x = a, *y = b;
    if (x->at_ms != y->at_ms)
        return x->at_ms < y->at_ms ? -1 : 1;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* Those that may run, the best first: by deadline, or by criticality and then deadline. */
static bool candidates(const queue_asked *a, queue_row *rows, size_t *ret_n, err *e)
{
    const queue_lease *l = &a->r->lease;
    int64_t due = l->deadline_max_ms ? l->deadline_max_ms : INT64_MAX;
    size_t n = 0, got;
    for (unsigned phase = PHASE_READY_LAST; phase >= PHASE_READY; phase--) {
        if (l->shortage && n >= l->count)
            break;
        if (!a->q->ops->take(a->q->rows, phase, due, 0, l->count, rows + n, &got, e))
            return false;
        n += got;
    }
    if (!l->shortage)
        qsort(rows, n, sizeof *rows, by_deadline);
    *ret_n = n;
    return true;
}

static bool lease_best(const queue_asked *a, err *e)
{
    const queue_lease *l = &a->r->lease;
    queue_row *rows = queue_rows_new(a->q, 3 * (size_t)l->count, e);
    size_t n, leased = 0;
    uint64_t cpu_ns = 0;
    if (!rows || !queue_look(a->q, e) || !candidates(a, rows, &n, e))
        return false;
    for (size_t i = 0; i < n && leased < l->count; i++) {
        bool is_leased;
        if (leased && (a->out->n > QUEUE_LEASE_BYTES || (l->cpu_max_ns && cpu_ns >= l->cpu_max_ns)))
            break;
        if (!lease_one(a, &rows[i], &is_leased, e))
            return false;
        leased += is_leased;
        cpu_ns += is_leased ? rows[i].terms.cpu_ns : 0;
    }
    return true;
}

static bool lease_id(const queue_asked *a, err *e)
{
    queue_row row;
    bool found, leased;
    if (!queue_look(a->q, e) || !find(a->q, &a->r->lease.id, 0, 0, true, &row, &found, e))
        return false;
    if (!found)
        return absent(a);
    if (queue_state_of(row.phase) != QUEUE_WAITING)
        return queue_refuse(a, QUEUE_CONFLICT, "the call does not wait: it runs, or has ended");
    return lease_one(a, &row, &leased, e);
}

static bool on_lease(const queue_asked *a, err *e)
{
    static const queue_id any;
    return memcmp(&a->r->lease.id, &any, sizeof any) ? lease_id(a, e) : lease_best(a, e);
}

/* --- of a lease ------------------------------------------------------------------------------- */

static bool on_extend(const queue_asked *a, err *e)
{
    queue_engine *q = a->q;
    size_t n = a->r->extend.n;
    uint8_t *says = arena_zalloc(&q->a, n + 1);
    if (!says)
        return err_no_memory(e);
    for (size_t i = 0; i < n; i++) {
        queue_held held;
        queue_row row;
        bool found;
        memcpy(&held, a->r->extend.held + i * sizeof held, sizeof held);
        if (!find(q, &held.id, 0, 0, true, &row, &found, e))
            return false;
        if (!found || row.phase != PHASE_LEASED || row.attempts != held.attempt)
            continue;
        row.at_ms = q->now_ms + a->r->extend.lease_ms;
        if (!q->ops->put(q->rows, &row, e))
            return false;
        says[i] = 1;
    }
    queue_item_write(a->out, says, n);
    return true;
}

static void use_add(queue_use *to, const queue_use *more)
{
    to->cpu_ns += more->cpu_ns;
    to->wall_ns += more->wall_ns;
    to->energy_nj += more->energy_nj;
    to->intensity_g_per_kwh = more->intensity_g_per_kwh;
}

static bool on_end(const queue_asked *a, err *e)
{
    const queue_end *end = &a->r->end;
    queue_row row;
    bool held;
    if (!find_held(a, &end->held, &row, &held, e))
        return false;
    if (!held)
        return true;
    use_add(&row.use, &end->use);
    return queue_finish(a->q, &row, PHASE_LEASED + (end->state - QUEUE_LEASED), a->r->note,
                        a->r->result, e);
}

/* Others get it: at once, unless it is so late that nobody will come. */
static bool leave_to_others(queue_engine *q, queue_row *row, str note, err *e)
{
    if (!queue_lack(q, row->terms.revision, e))
        return false;
    return q->now_ms - row->terms.deadline_ms > QUEUE_LACK_DEAD_MS
               ? queue_finish(q, row, PHASE_DEAD, note, (bytes){0}, e)
               : queue_again(q, row, q->now_ms, note, e);
}

static bool on_retry(const queue_asked *a, err *e)
{
    const queue_retry *retry = &a->r->retry;
    queue_row row;
    bool held;
    if (!find_held(a, &retry->held, &row, &held, e))
        return false;
    if (!held)
        return true;
    use_add(&row.use, &retry->use);
    row.excused += !retry->counts;
    if (!(retry->lacks ? leave_to_others(a->q, &row, a->r->note, e)
                       : queue_again(a->q, &row, retry->at_ms, a->r->note, e)))
        return false;
    uint32_t state = queue_state_of(row.phase);
    queue_item_write(a->out, &state, sizeof state);
    return true;
}

static bool on_give_back(const queue_asked *a, err *e)
{
    queue_engine *q = a->q;
    uint64_t count = 0;
    size_t n = QUEUE_PAGE_MAX;
    queue_row *rows = queue_rows_new(q, QUEUE_PAGE_MAX, e);
    if (!rows)
        return false;
    while (a->r->number && n == QUEUE_PAGE_MAX) {
        if (!q->ops->take(q->rows, PHASE_LEASED, INT64_MAX, a->r->number, QUEUE_PAGE_MAX, rows, &n,
                          e))
            return false;
        for (size_t i = 0; i < n; i++)
            if (!queue_again(q, &rows[i], q->now_ms, S("the worker that ran it has died"), e))
                return false;
        count += n;
    }
    queue_item_write(a->out, &count, sizeof count);
    return true;
}

/* --- one call --------------------------------------------------------------------------------- */

static bool on_one(const queue_asked *a, err *e)
{
    const queue_one *one = &a->r->one;
    queue_engine *q = a->q;
    queue_row row;
    bool found, ok, change = a->m->kind != QUEUE_GET;
    if (!find(q, &one->id, one->tenant, one->app, change, &row, &found, e))
        return false;
    if (!found)
        return absent(a);
    if (a->m->kind == QUEUE_CANCEL) {
        if (row.phase > PHASE_LEASED)
            return queue_refuse(a, QUEUE_CONFLICT, "the call has ended");
        if (!queue_finish(q, &row, PHASE_CANCELLED, S(""), (bytes){0}, e))
            return false;
    } else if (a->m->kind == QUEUE_REVIVE) {
        if (row.phase <= PHASE_DONE)
            return queue_refuse(a, QUEUE_CONFLICT,
                                "the call has not failed: it waits, runs or is done");
        if (!quota_check(a, &row, one->calls_max, one->bytes_max, &ok, e))
            return false;
        if (!ok)
            return true;
        row.terms.deadline_ms = one->deadline_ms;
        row.excused = row.attempts;
        row.ended_ms = 0;
        if (!queue_wait(q, &row, q->now_ms, e))
            return false;
    }
    return queue_show(q, &row, one->with, a->out, e);
}

bool queue_request_run(queue_engine *q, const store_message *m, const queue_request *r, buf *out,
                       err *e)
{
    queue_asked a = {q, m, r, out};
    switch (r->kind) {
    case QUEUE_PUT:
        return on_put(&a, e);
    case QUEUE_LEASE:
        return on_lease(&a, e);
    case QUEUE_EXTEND:
        return on_extend(&a, e);
    case QUEUE_END:
        return on_end(&a, e);
    case QUEUE_RETRY:
        return on_retry(&a, e);
    case QUEUE_GIVE_BACK:
        return on_give_back(&a, e);
    case QUEUE_LIST:
        return queue_on_list(&a, e);
    case QUEUE_BACKLOG:
        return queue_on_backlog(&a, e);
    case QUEUE_COUNT:
        return queue_on_count(&a, e);
    case QUEUE_APP_GONE:
        return queue_on_app_gone(&a, e);
    case QUEUE_PURGE:
        return queue_on_purge(&a, e);
    case QUEUE_SECRET:
    case QUEUE_ROTATE:
        return queue_on_secret(&a, e);
    case QUEUE_NEWS: /* queue_server.c keeps the answer until there are */
        return queue_news_fd(q) >= 0 ||
               queue_refuse(&a, QUEUE_ABSENT, "the queue is this node's alone");
    default:
        return on_one(&a, e);
    }
}
