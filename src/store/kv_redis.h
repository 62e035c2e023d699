/* A key-value store in a Redis server, asked by the store process over its loop (hiredis). Keys and
 * values are the server's own, as Spin keeps them there: no prefix, and increment's numbers are
 * decimal text (INCRBY).
 *
 * Invariants
 * - Every request that was taken is answered once, by the server's reply or by a reason; nothing
 *   waits longer than STORE_REDIS_NS without a sign of the server.
 * - Writes of several keys, increment and swap are one command each, so they are atomic. What is
 *   acknowledged is as durable as the server is configured to make it.
 * - The connection is opened by the first request and closed STORE_IDLE_NS after the last one.
 * - Neither errors nor the log show the URL, which may have a password in it. */
#pragma once

#include "store/server_impl.h"

typedef struct kv_redis kv_redis;

/* Is it "redis://[[user]:password@]host[:port][/number]"? ERR_INVALID says what is not. */
bool kv_redis_url_check(str url, err *e);
/* The URL was checked; copied. */
bool kv_redis_new(loop *l, str url, kv_redis **ret, err *e);
/* Takes a request of a KV_* kind; its items are in memory (p->items if not in the message). */
void kv_redis_take(kv_redis *r, pending *p);
/* That worker has gone: nobody wants its answers. */
void kv_redis_forget(kv_redis *r, const store_connection *c);
bool kv_redis_is_open(const kv_redis *r);
/* Refuses what is under way. NULL is allowed. */
void kv_redis_free(kv_redis *r);
