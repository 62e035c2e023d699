/* The host memory of one guest: what its handles, header fields and buffers take.
 *
 * Invariants: blocks up to POOL_CLASS_BYTES_MAX come from one arena and are recycled by size, so
 * that a request that makes and drops a thousand pollables takes the memory of one; larger blocks
 * are allocated one by one. Never more than the maximum in all. pool_reset gives everything back
 * but keeps a little for the next guest. */
#pragma once

#include "base/arena.h"

enum { POOL_CLASSES = 12, POOL_CLASS_BYTES_MIN = 32, POOL_CLASS_BYTES_MAX = 64 << 10 };

typedef struct pool_large pool_large;
typedef struct pool_free_block pool_free_block;

typedef struct {
    arena blocks;
    pool_free_block *free[POOL_CLASSES];
    pool_large *large;
    size_t large_bytes, bytes_max;
    bool closing; /* pool_give does nothing: everything goes at once */
} pool;

void pool_init(pool *p, size_t bytes_max);
void pool_fini(pool *p);
/* Forgets everything. */
void pool_reset(pool *p);
/* n bytes, not zeroed, aligned for any type; NULL: no memory or the maximum. */
void *pool_take(pool *p, size_t n);
/* Gives back what pool_take(p, n) gave. NULL is allowed. */
void pool_give(pool *p, void *block, size_t n);

/* A byte queue in pool memory: append behind, take from the front.
 * Invariants: the content is at[first..n); first == n only when both are 0. */
typedef struct {
    uint8_t *at;
    size_t first, n, cap;
} queue;

static inline size_t queue_bytes(const queue *q) { return q->n - q->first; }
/* False: no memory, nothing was appended. from NULL appends zeroes. */
bool queue_put(pool *p, queue *q, const void *from, size_t n);
static inline const uint8_t *queue_front(const queue *q) { return q->at + q->first; }
/* Removes the first n bytes; gives the memory back when nothing is left. */
void queue_drop(pool *p, queue *q, size_t n);
/* Forgets the content. */
void queue_clear(pool *p, queue *q);
