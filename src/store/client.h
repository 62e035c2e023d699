/* A worker's side of the store: requests to the store process, without ever waiting in place.
 *
 *     store_call_new -> store_call_item... -> store_call_send
 *     on_done, later: store_call_answer -> store_call_free
 *
 * Invariants
 * - At most STORE_IN_FLIGHT_MAX requests are with the store process; others wait here in order.
 * - Requests of one turn are sent together at its end.
 * - on_done is called once, from the event loop, never inside store_call_send (or _again); after
 *   store_call_free it is not called any more (the request may be carried out nevertheless).
 * - If the store process dies, requests that were with it fail: a write may or may not have
 *   happened. Those that waited here go to the next one. */
#pragma once

#include "loop/loop.h"
#include "store/message.h"

typedef struct store_client store_client;
typedef struct store_call store_call;

bool store_client_new(loop *l, store_client **ret, err *e);
/* The calls were freed before. NULL is allowed. */
void store_client_free(store_client *c);
/* A channel to the store process; takes fd. Replaces the one there was. */
void store_client_connect_take(store_client *c, int fd);
struct loop *store_client_loop(const store_client *c);
/* The list of its views (kv_view.h), which own themselves. */
struct kv_view **store_client_views(store_client *c);
bool store_client_connected(const store_client *c);

/* A number for an app's key-value store or database, where the store process has a folder of states
 * (server.h): told to it, and to the next one, before any request that uses it. ERR_LIMIT,
 * ERR_NO_MEMORY. */
bool store_client_name(store_client *c, uint64_t app, str label, bool is_database, uint16_t *ret,
                       err *e);
void store_client_unname(store_client *c, uint16_t number);

/* NULL: no memory. */
store_call *store_call_new(store_client *c, store_kind kind, uint16_t store);
void store_call_item(store_call *k, str key, const bytes *value);
/* The message that it becomes, for who writes items themselves (queue_client.h). */
buf *store_call_message(store_call *k);
/* ERR_LIMIT: more than STORE_MESSAGE_BYTES_MAX. */
bool store_call_send(store_call *k, void (*on_done)(void *user), void *user, err *e);
/* Before it is sent: the request is kept until its answer is used, so that it may be sent again. */
void store_call_keep(store_call *k);
/* It was kept and is done: once more, to the store process that is there or to the next one. It is
 * as one that was not done; the answer is gone. Not kept any more. */
void store_call_send_again(store_call *k);
bool store_call_is_done(const store_call *k);
/* Since store_call_send; CLOCK_MONOTONIC. */
ns store_call_sent_at(const store_call *k);
/* The answer, to be read with store_message_next; borrowed from the call. It must be done. */
store_message *store_call_answer(store_call *k);
/* Of a KV_LEND that is done: the descriptor, now the caller's; -1: there is none. */
int store_call_fd_take(store_call *k);
/* Gives the request up, wherever it is. NULL is allowed. */
void store_call_free(store_call *k);
/* Sends a request that has no answer (SQL_CLOSE); takes the call. */
void store_call_send_and_forget_take(store_call *k);
