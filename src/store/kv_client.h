/* A worker's side of key-value: requests to the store process, without ever waiting in place.
 *
 *     kv_call_new -> kv_call_item... -> kv_call_send -> on_done, later -> kv_call_answer -> free
 *
 * Invariants
 * - At most STORE_IN_FLIGHT_MAX requests are with the store process; others wait here in order.
 * - on_done is called once, from the event loop, never inside kv_call_send; after kv_call_free it
 * is not called any more (the request may be carried out nevertheless).
 * - If the store process dies, requests that were with it fail: a write may or may not have
 *   happened. Those that waited here go to the next one. */
#pragma once

#include "loop/loop.h"
#include "store/kv_message.h"

typedef struct kv_client kv_client;
typedef struct kv_call kv_call;

bool kv_client_new(loop *l, kv_client **ret, err *e);
/* The calls were freed before. NULL is allowed. */
void kv_client_free(kv_client *c);
/* A channel to the store process; takes fd. Replaces the one there was. */
void kv_client_connect_take(kv_client *c, int fd);
bool kv_client_connected(const kv_client *c);

/* NULL: no memory. */
kv_call *kv_call_new(kv_client *c, kv_kind kind, uint16_t store);
void kv_call_item(kv_call *k, str key, const bytes *value);
/* ERR_LIMIT: more than STORE_MESSAGE_BYTES_MAX. */
bool kv_call_send(kv_call *k, void (*on_done)(void *user), void *user, err *e);
bool kv_call_is_done(const kv_call *k);
/* Since kv_call_send; CLOCK_MONOTONIC. */
ns kv_call_sent_at(const kv_call *k);
/* The answer, to be read with kv_message_next; borrowed from the call. It must be done. */
kv_message *kv_call_answer(kv_call *k);
/* Gives the request up, wherever it is. NULL is allowed. */
void kv_call_free(kv_call *k);
