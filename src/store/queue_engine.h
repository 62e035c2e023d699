/* The queue of deferred calls, in the store process: carries out the requests of queue.h on rows
 * (queue_rows.h), whatever keeps those.
 *
 *     queue_begin -> queue_apply... -> queue_commit        one fsync for all
 *
 * Invariants
 * - A request is answered only after the commit that holds it; queue_apply writes what is said
 * then.
 * - What a request may not do (no such call, ended, quota) is its answer, and the transaction goes
 *   on, without a trace of it. What the database can't do comes back as false: roll back; nothing
 *   of the transaction has happened.
 * - Sums (tallies) are changed in the transaction that changes what they count.
 * One thread at a time. Calls block. */
#pragma once

#include "store/queue_message.h"
#include "store/queue_rows.h"
#include "store/seal.h"

typedef struct queue_engine queue_engine;

/* Takes the rows, also on failure. */
bool queue_engine_new_take(queue_rows *rows, const seal_key *key, queue_engine **ret, err *e);
/* NULL is allowed. */
void queue_engine_free(queue_engine *q);

/* now_ms: of all that happens in this transaction; 0: by the queue's clock. */
bool queue_begin(queue_engine *q, int64_t now_ms, err *e);
/* The clock was set by that much: leases keep their length, and no next attempt waits for longer.
 * Where it is not this machine's clock that counts, nothing happens. */
bool queue_clock_set(queue_engine *q, int64_t by_ms, err *e);
/* False: as after rollback, or (*ret_unsure) nobody knows whether it happened. */
bool queue_commit(queue_engine *q, bool *ret_unsure, err *e);
void queue_rollback(queue_engine *q);
/* Where the rows are shared: readable when others may have changed calls; -1: they are not. */
int queue_news_fd(queue_engine *q);
/* Between transactions. *ret_news: others have, since it was asked last. False: nobody tells any
 * more. */
bool queue_news(queue_engine *q, bool *ret_news, err *e);
/* Carries out one request; its answer, a whole message with the request's id, goes to out (emptied
 * first). */
bool queue_apply(queue_engine *q, store_message request, buf *out, err *e);
