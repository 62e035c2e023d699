/* Asking the queue, from a worker or from the keeper: a request of queue.h as a store_call
 * (client.h), to be sent, answered and freed like any other:
 *
 *     store_call *k = queue_ask_put(client, &put);
 *     if (!k || !store_call_send(k, on_done, user, &e)) ...
 *     on_done: queue_accepted_read(store_call_answer(k), &accepted, &e) ... store_call_free(k)
 *
 * Each function returns NULL if memory is short; what it is given is copied. Answers are read with
 * the functions of queue_message.h.
 *
 * If the store process dies, what was with it fails with ERR_IO: it may or may not have happened. A
 * PUT with an idempotency key may be sent again, and so may all others: END and RETRY that happened
 * are refused the second time (QUEUE_CONFLICT). store_call_send_again does that. */
#pragma once

#include "store/client.h"
#include "store/queue_message.h"

store_call *queue_ask_put(store_client *c, const queue_offer *p);
store_call *queue_ask_lease(store_client *c, const queue_lease *q);
store_call *queue_ask_extend(store_client *c, int64_t lease_ms, const queue_held *held, size_t n);
/* result.p NULL: there is none. */
store_call *queue_ask_end(store_client *c, const queue_end *q, str note, bytes result);
store_call *queue_ask_retry(store_client *c, const queue_retry *q, str note);
store_call *queue_ask_give_back(store_client *c, uint64_t holder);
/* kind: QUEUE_CANCEL, QUEUE_REVIVE or QUEUE_GET. */
store_call *queue_ask_one(store_client *c, store_kind kind, const queue_one *q);
store_call *queue_ask_list(store_client *c, const queue_list *q);
store_call *queue_ask_backlog(store_client *c, int64_t slot_ms);
store_call *queue_ask_count(store_client *c, uint64_t tenant);
store_call *queue_ask_app_gone(store_client *c, const queue_app_gone *q, str note);
store_call *queue_ask_purge(store_client *c);
store_call *queue_ask_news(store_client *c);
/* anew: QUEUE_ROTATE. */
store_call *queue_ask_secret(store_client *c, uint64_t app, bool anew);
