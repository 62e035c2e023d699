/* See queue_engine.h. How a call moves from phase to phase is here and nowhere else: one function
 * enters a phase, and books the call out of the sums of the phase that it leaves and into those of
 * the one it enters. Sums are gathered in memory and added to the rows before the commit, so that a
 * group of many calls of one tenant changes its sums once.
 *
 * Time: a lease is a span, not a moment. Who sees that the wall clock was set shifts the leases
 * with it (queue_server.c), and the next attempts if it was set back: set forward it may be right
 * for the first time since the machine started, and they were made by one that was. Where the rows
 * are shared, the database's clock counts. */
#include "base/limits.h"
#include "base/must.h"
#include "store/queue_engine_impl.h"

#include <openssl/crypto.h>
#include <stdlib.h>

enum { FAR_MS = 2 * 3600 * 1000, FAR_GRAIN_MS = 60 * 1000 };
enum { LOOK_MAX = 1000, SCRATCH_KEPT = 256 * 1024 };

bool queue_engine_new_take(queue_rows *rows, const seal_key *key, queue_engine **ret, err *e)
{
    uint8_t mark[QUEUE_HASH_BYTES];
    queue_engine *q = calloc(1, sizeof *q);
    if (!q || !queue_keys_new(key, &q->keys, e)) {
        rows->ops->close(rows);
        if (!q)
            err_no_memory(e);
        free(q);
        return false;
    }
    q->rows = rows;
    q->ops = rows->ops;
    arena_init(&q->a, 512 * MIB);
    buf_init(&q->first, QUEUE_REQUEST_BYTES_MAX + SEAL_OVERHEAD);
    buf_init(&q->second, QUEUE_REQUEST_BYTES_MAX + SEAL_OVERHEAD);
    queue_mark_of(q->keys, mark);
    if (q->ops->claim && !q->ops->claim(rows, mark, e)) {
        queue_engine_free(q);
        return false;
    }
    *ret = q;
    return true;
}

void queue_engine_free(queue_engine *q)
{
    if (!q)
        return;
    q->ops->close(q->rows);
    queue_keys_free(q->keys);
    arena_fini(&q->a);
    buf_fini(&q->first);
    buf_fini(&q->second);
    free(q->sums);
    free(q->quotas);
    free(q);
}

queue_row *queue_rows_new(queue_engine *q, size_t n, err *e)
{
    queue_row *rows = arena_alloc(&q->a, n * sizeof *rows);
    if (!rows)
        err_no_memory(e);
    return rows;
}

/* --- sums ------------------------------------------------------------------------------------- */

static bool sum(queue_engine *q, unsigned kind, int64_t key, int64_t n, int64_t v, err *e)
{
    if (q->sums_n == q->sums_size) {
        size_t size = q->sums_size ? 2 * q->sums_size : 64;
        queue_tally *grown = realloc(q->sums, size * sizeof *grown);
        if (!grown)
            return err_no_memory(e);
        q->sums = grown;
        q->sums_size = size;
    }
    q->sums[q->sums_n++] = (queue_tally){kind, key, n, v};
    return true;
}

static bool phase_waits(unsigned phase) { return phase <= PHASE_READY_LAST; }
static bool phase_is_open(unsigned phase) { return phase <= PHASE_LEASED; }

/* Deadlines that were far away when the call was accepted are counted by the minute they are in, so
 * that fewer sums change. */
static int64_t deadline_key(const queue_row *row)
{
    int64_t deadline = row->terms.deadline_ms;
    int64_t grain = deadline - row->accepted_ms > FAR_MS ? FAR_GRAIN_MS : QUEUE_GRAIN_MS;
    return deadline / grain * grain / QUEUE_GRAIN_MS;
}

bool queue_sums_count(queue_engine *q, const queue_row *row, int64_t by, err *e)
{
    const queue_terms *t = &row->terms;
    for (size_t i = 0; phase_is_open(row->phase) && i < q->quotas_n; i++)
        if (q->quotas[i].tenant == t->tenant) {
            q->quotas[i].calls += by;
            q->quotas[i].bytes += by * (int64_t)row->bytes;
        }
    if (!sum(q, row->phase, (int64_t)t->tenant, by, by * (int64_t)row->bytes, e))
        return false;
    return !phase_waits(row->phase) || sum(q, row->phase == PHASE_LATER ? TALLY_LATER : TALLY_READY,
                                           deadline_key(row), by, by * (int64_t)t->cpu_ns, e);
}

static int sum_cmp(const void *a, const void *b)
{
    const queue_tally *x = a, *y = b;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    return x->key < y->key ? -1 : x->key > y->key;
}

bool queue_sums_flush(queue_engine *q, err *e)
{
    size_t n = q->sums_n;
    if (n)
        qsort(q->sums, n, sizeof *q->sums, sum_cmp);
    for (size_t i = 0, next; i < n; i = next) {
        queue_tally t = q->sums[i];
        for (next = i + 1; next < n && sum_cmp(&t, &q->sums[next]) == 0; next++) {
            t.n += q->sums[next].n;
            t.v += q->sums[next].v;
        }
        if ((t.n || t.v) && !q->ops->tally_add(q->rows, &t, e))
            return false;
    }
    q->sums_n = 0;
    return true;
}

static void quota_add(void *user, const queue_tally *t)
{
    queue_quota *to = user;
    to->calls += t->n;
    to->bytes += t->v;
}

queue_quota *queue_quota_of(queue_engine *q, uint64_t tenant, err *e)
{
    int64_t key = (int64_t)tenant;
    for (size_t i = 0; i < q->quotas_n; i++)
        if (q->quotas[i].tenant == tenant)
            return &q->quotas[i];
    if (q->quotas_n == q->quotas_size) {
        size_t size = q->quotas_size ? 2 * q->quotas_size : 16;
        queue_quota *grown = realloc(q->quotas, size * sizeof *grown);
        if (!grown) {
            err_no_memory(e);
            return NULL;
        }
        q->quotas = grown;
        q->quotas_size = size;
    }
    queue_quota *new = &q->quotas[q->quotas_n];
    *new = (queue_quota){.tenant = tenant};
    if (!queue_sums_flush(q, e) ||
        !q->ops->tally_each(q->rows, PHASE_LATER, PHASE_LEASED, &key, quota_add, new, e))
        return NULL;
    q->quotas_n++;
    return new;
}

/* --- how a call moves ------------------------------------------------------------------------- */

bool queue_enter(queue_engine *q, queue_row *row, queue_phase phase, int64_t at_ms, err *e)
{
    if (!queue_sums_count(q, row, -1, e))
        return false;
    row->phase = phase;
    row->at_ms = at_ms;
    return queue_sums_count(q, row, 1, e);
}

bool queue_wait(queue_engine *q, queue_row *row, int64_t at_ms, err *e)
{
    bool ok = at_ms > q->now_ms ? queue_enter(q, row, PHASE_LATER, at_ms, e)
                                : queue_enter(q, row, PHASE_READY + row->terms.criticality,
                                              row->terms.deadline_ms, e);
    return ok && q->ops->put(q->rows, row, e);
}

/* What is said of it from now on. */
static bool outcome_set(queue_engine *q, queue_row *row, str note, bytes result, err *e)
{
    bytes text = {(const uint8_t *)note.p, note.n};
    buf_clear(&q->first);
    buf_clear(&q->second);
    return queue_seal(q->keys, row, QUEUE_PART_NOTE, text, &q->first, e) &&
           (!result.p || queue_seal(q->keys, row, QUEUE_PART_RESULT, result, &q->second, e)) &&
           q->ops->outcome_set(q->rows, row->seq, buf_bytes(&q->first),
                               result.p ? buf_bytes(&q->second) : (bytes){0}, e);
}

static void rotated_add(void *user, const queue_tally *t) { *(uint64_t *)user += (uint64_t)t->n; }

bool queue_rotated(queue_engine *q, uint64_t app, uint64_t *ret, err *e)
{
    int64_t key = (int64_t)app;
    *ret = 0;
    return q->ops->tally_each(q->rows, TALLY_ROTATED, TALLY_ROTATED, &key, rotated_add, ret, e);
}

bool queue_rotate(queue_engine *q, uint64_t app, err *e)
{
    return sum(q, TALLY_ROTATED, (int64_t)app, 1, 0, e) && queue_sums_flush(q, e);
}

static bool secrets_of(queue_engine *q, uint64_t app, queue_told *ret, err *e)
{
    uint64_t n;
    return queue_rotated(q, app, &n, e) && queue_secret_of(q->keys, app, n, ret->secret, e) &&
           (!n || queue_secret_of(q->keys, app, n - 1, ret->before, e));
}

/* It has ended, and another call tells of it: what carries that out need know nothing of the first
 * one any more. */
static bool tell(queue_engine *q, const queue_row *of, err *e)
{
    queue_told told = {.info = queue_info_of(q, of)};
    queue_row row = {.terms = of->terms, .accepted_ms = q->now_ms};
    queue_body body;
    bytes about;
    bool exists;
    err ignored;
    if (!q->ops->body(q->rows, of->seq, false, &body, e))
        return false;
    if (!queue_unseal(q->keys, of, QUEUE_PART_ABOUT, body.about, &q->a, &about, &ignored))
        return true; /* nobody knows whom to tell */
    row.terms.trigger = QUEUE_TELLING;
    row.terms.attempts_max = QUEUE_TELLING_ATTEMPTS;
    row.terms.start_ms = 0;
    row.terms.deadline_ms = q->now_ms;
    row.terms.cpu_ns = NS_PER_MS;
    row.phase = PHASE_READY + row.terms.criticality;
    row.at_ms = row.terms.deadline_ms;
    row.bytes = about.n + sizeof told;
    buf_clear(&q->first);
    buf_clear(&q->second);
    bool ok = secrets_of(q, of->terms.app, &told, e) && queue_nonce(&row.nonce, e) &&
              queue_seal(q->keys, &row, QUEUE_PART_ABOUT, about, &q->first, e) &&
              queue_seal(q->keys, &row, QUEUE_PART_REQUEST,
                         (bytes){(const uint8_t *)&told, sizeof told}, &q->second, e);
    OPENSSL_cleanse(&told, sizeof told);
    return ok &&
           q->ops->add(q->rows, &row, &(queue_body){buf_bytes(&q->first), buf_bytes(&q->second)},
                       &exists, e) &&
           queue_sums_count(q, &row, 1, e);
}

bool queue_finish(queue_engine *q, queue_row *row, queue_phase phase, str note, bytes result,
                  err *e)
{
    must(!phase_is_open(phase));
    row->ended_ms = q->now_ms;
    return queue_enter(q, row, phase, q->now_ms + row->terms.keep_ms, e) &&
           q->ops->put(q->rows, row, e) && outcome_set(q, row, note, result, e) &&
           (!(row->terms.trigger & QUEUE_TELLS) || tell(q, row, e));
}

bool queue_again(queue_engine *q, queue_row *row, int64_t at_ms, str note, err *e)
{
    if (row->terms.attempts_max && row->attempts - row->excused >= row->terms.attempts_max)
        return queue_finish(q, row, PHASE_DEAD, note, (bytes){0}, e);
    return queue_wait(q, row, at_ms, e) && (!note.n || outcome_set(q, row, note, (bytes){0}, e));
}

bool queue_forget(queue_engine *q, const queue_row *row, err *e)
{
    return queue_sums_count(q, row, -1, e) && q->ops->remove(q->rows, row->seq, e);
}

bool queue_look(queue_engine *q, err *e)
{
    size_t n;
    queue_row *rows = queue_rows_new(q, LOOK_MAX, e);
    if (!rows || !q->ops->take(q->rows, PHASE_LEASED, q->now_ms, 0, LOOK_MAX, rows, &n, e))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!queue_again(q, &rows[i], q->now_ms,
                         S("the lease expired: whoever ran it has not said how it ended"), e))
            return false;
    if (!q->ops->take(q->rows, PHASE_LATER, q->now_ms, 0, LOOK_MAX, rows, &n, e))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!queue_wait(q, &rows[i], q->now_ms, e))
            return false;
    return true;
}

/* --- what this node lacks --------------------------------------------------------------------- */

static void lack_remove(queue_lacks *l, size_t i)
{
    l->n--;
    memmove(l->revisions + i, l->revisions + i + 1, (l->n - i) * sizeof *l->revisions);
    memmove(l->until_ms + i, l->until_ms + i + 1, (l->n - i) * sizeof *l->until_ms);
}

/* If more are lacked than fit, the oldest is asked for again: that costs a lease, no more. */
bool queue_lack(queue_engine *q, uint64_t revision, err *e)
{
    queue_lacks *l = &q->lacks;
    if (!q->ops->lack)
        return true;
    for (size_t i = 0; i < l->n; i++)
        if (l->revisions[i] == revision)
            lack_remove(l, i--);
    if (l->n == QUEUE_LACKS_MAX)
        lack_remove(l, 0);
    l->revisions[l->n] = revision;
    l->until_ms[l->n++] = q->now_ms + QUEUE_LACK_MS;
    return q->ops->lack(q->rows, l->revisions, l->n, e);
}

/* After a while it is looked whether they are there now. */
static bool lacks_look(queue_engine *q, err *e)
{
    queue_lacks *l = &q->lacks;
    size_t before = l->n;
    while (l->n && l->until_ms[0] <= q->now_ms)
        lack_remove(l, 0);
    return l->n == before || q->ops->lack(q->rows, l->revisions, l->n, e);
}

/* --- transactions ----------------------------------------------------------------------------- */

bool queue_begin(queue_engine *q, int64_t now_ms, err *e)
{
    q->now_ms = now_ms;
    q->sums_n = q->quotas_n = 0;
    q->tidy = false;
    arena_reset(&q->a);
    return q->ops->begin(q->rows, &q->now_ms, e) && lacks_look(q, e);
}

bool queue_clock_set(queue_engine *q, int64_t by_ms, err *e)
{
    return !q->ops->shift || (q->ops->shift(q->rows, PHASE_LEASED, by_ms, e) &&
                              q->ops->shift(q->rows, PHASE_LATER, by_ms, e));
}

bool queue_commit(queue_engine *q, bool *ret_unsure, err *e)
{
    *ret_unsure = false;
    if (!queue_sums_flush(q, e)) {
        queue_rollback(q);
        return false;
    }
    if (!q->ops->commit(q->rows, ret_unsure, e)) {
        queue_rollback(q);
        return false;
    }
    err ignored; /* it is only tidying */
    if (q->tidy)
        q->ops->tidy(q->rows, &ignored);
    return true;
}

void queue_rollback(queue_engine *q) { q->ops->rollback(q->rows); }

int queue_news_fd(queue_engine *q) { return q->ops->news_fd ? q->ops->news_fd(q->rows) : -1; }

bool queue_news(queue_engine *q, bool *ret_news, err *e)
{
    *ret_news = false;
    return !q->ops->news || q->ops->news(q->rows, ret_news, e);
}

static void answer_failed(buf *out, const store_message *m, const char *why)
{
    buf_clear(out);
    store_message_begin(out, m->id, STORE_FAILED, m->store);
    store_message_item(out, str_from(why), NULL);
}

bool queue_apply(queue_engine *q, store_message m, buf *out, err *e)
{
    queue_request r;
    const char *problem;
    buf_clear(out);
    store_message_begin(out, m.id, STORE_OK, m.store);
    if (!queue_request_read(m, &r, &problem))
        answer_failed(out, &m, problem);
    else if (!queue_request_run(q, &m, &r, out, e))
        return false;
    if (q->a.used_bytes > SCRATCH_KEPT)
        arena_fini(&q->a);
    else
        arena_reset(&q->a);
    if (out->failed)
        return err_no_memory(e);
    store_message_end(out);
    return true;
}
