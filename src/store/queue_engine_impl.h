/* Shared by the files of the engine: queue_engine.c (transactions, sums, how a call moves),
 * queue_requests.c and queue_many.c (what may be asked). */
#pragma once

#include "store/queue_engine.h"
#include "store/queue_seal.h"

/* What a tenant has waiting or running, as this transaction sees it. */
typedef struct {
    uint64_t tenant;
    int64_t calls, bytes;
} queue_quota;

/* Revisions that this node was found to lack, and until when they are left to others. */
enum { QUEUE_LACKS_MAX = 64 };
typedef struct {
    uint64_t revisions[QUEUE_LACKS_MAX];
    int64_t until_ms[QUEUE_LACKS_MAX]; /* the earliest first */
    size_t n;
} queue_lacks;

struct queue_engine {
    queue_rows *rows;
    queue_lacks lacks;
    const queue_rows_ops *ops;
    queue_keys *keys;
    int64_t now_ms;
    arena a;           /* of a request */
    buf first, second; /* what is being sealed */
    /* of the transaction */
    queue_tally *sums; /* not yet added to the rows */
    size_t sums_n, sums_size;
    queue_quota *quotas;
    size_t quotas_n, quotas_size;
    bool tidy; /* when it is over */
};

/* Rows for a request; NULL, and *e: no memory. */
queue_row *queue_rows_new(queue_engine *q, size_t n, err *e);

/* The call enters a phase, looked at again at at_ms, and its sums follow; not yet written. */
bool queue_enter(queue_engine *q, queue_row *row, queue_phase phase, int64_t at_ms, err *e);
/* It waits, not before at_ms; written. */
bool queue_wait(queue_engine *q, queue_row *row, int64_t at_ms, err *e);
/* It ends, with a note and a result (p NULL: none); written. */
bool queue_finish(queue_engine *q, queue_row *row, queue_phase phase, str note, bytes result,
                  err *e);
/* Its attempt came to nothing: it waits again, or is dead with that note. */
bool queue_again(queue_engine *q, queue_row *row, int64_t at_ms, str note, err *e);
/* It has ended and its time of keeping is over: nobody finds it, and PURGE deletes it. */
static inline bool queue_is_over(const queue_engine *q, const queue_row *row)
{
    return row->phase > PHASE_LEASED && row->at_ms <= q->now_ms;
}
/* Deletes it. */
bool queue_forget(queue_engine *q, const queue_row *row, err *e);
/* How often the secret of an app was made anew. */
bool queue_rotated(queue_engine *q, uint64_t app, uint64_t *ret, err *e);
/* Once more. */
bool queue_rotate(queue_engine *q, uint64_t app, err *e);
/* Rows are shared, and this node lacks that revision. */
bool queue_lack(queue_engine *q, uint64_t revision, err *e);
/* A row comes (1) into the sums or leaves them (-1). */
bool queue_sums_count(queue_engine *q, const queue_row *row, int64_t by, err *e);
/* Adds them to the rows. */
bool queue_sums_flush(queue_engine *q, err *e);
/* What the tenant has; borrowed until the next call. NULL: *e. */
queue_quota *queue_quota_of(queue_engine *q, uint64_t tenant, err *e);
/* Leases that have expired, and starts that have come. */
bool queue_look(queue_engine *q, err *e);

/* --- queue_requests.c; out was begun with STORE_OK -------------------------------------------- */

typedef struct {
    queue_engine *q;
    const store_message *m;
    const queue_request *r;
    buf *out;
} queue_asked;

bool queue_request_run(queue_engine *q, const store_message *m, const queue_request *r, buf *out,
                       err *e);
/* The answer becomes a refusal. */
bool queue_refuse(const queue_asked *a, store_kind kind, const char *why);
queue_state queue_state_of(unsigned phase);
queue_info queue_info_of(queue_engine *q, const queue_row *row);
/* Writes a call of an answer; with: QUEUE_WITH_... */
bool queue_show(queue_engine *q, const queue_row *row, unsigned with, buf *out, err *e);

/* --- queue_many.c ----------------------------------------------------------------------------- */

bool queue_on_list(const queue_asked *a, err *e);
bool queue_on_backlog(const queue_asked *a, err *e);
bool queue_on_count(const queue_asked *a, err *e);
bool queue_on_app_gone(const queue_asked *a, err *e);
bool queue_on_purge(const queue_asked *a, err *e);
bool queue_on_secret(const queue_asked *a, err *e);
