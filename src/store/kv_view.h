/* What a worker sees of a key-value file without asking the store process: small values, through a
 * read-only connection (kv_reader.h) that the store process lends it and may be used for a while.
 *
 * Invariants
 * - One view a file and worker. It is opened once the file is asked for twice within
 *   STORE_LEASE_NS, and only after the store process answered: a cold app pays nothing.
 * - A read is allowed for STORE_LEASE_NS after an answer of the store process. Then one has to ask
 *   again, which keeps the file open there; an unused view is closed before the store process
 *   closes the file, so that the last to close it is who may write.
 * - If anything is wrong with the view, the store process is asked. */
#pragma once

#include "store/client.h"
#include "store/kv_reader.h"

typedef struct kv_view kv_view;

/* The view of the file that store number `store` is in; path is its name, not opened here, and
 * copied. NULL: no memory. Every take has a give, before store_client_free. */
kv_view *kv_view_take(store_client *c, uint16_t store, str path);
/* NULL is allowed. */
void kv_view_give(kv_view *v);

/* As kv_reader_get; `label` is the store's. NULL: KV_READ_ASK. kv_view_done after KV_READ_VALUE or
 * _NONE, before anything else is read. */
kv_read kv_view_get(kv_view *v, str label, str key, bytes *ret);
void kv_view_done(kv_view *v);
/* The store process answered a request that named this file. NULL is allowed. */
void kv_view_answered(kv_view *v);
