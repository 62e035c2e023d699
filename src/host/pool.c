/* Sizes are rounded up to powers of two; a block that is given back goes to the list of its size
 * and its first word becomes the link. Large blocks (bodies that grow, long lists of fields) are
 * malloc's own, in a list, so that pool_reset finds them. */
#include "host/pool.h"

#include "base/limits.h"
#include "base/must.h"

#include <stdlib.h>

struct pool_free_block {
    pool_free_block *next;
};

struct pool_large {
    pool_large *next, *prev;
    size_t bytes;
    size_t unused; /* keeps what follows aligned for any type */
};

enum { KEPT_BYTES_MAX = 256 << 10 };

_Static_assert(POOL_CLASS_BYTES_MIN << (POOL_CLASSES - 1) == POOL_CLASS_BYTES_MAX,
               "the last class is the largest");
_Static_assert(sizeof(pool_large) % 16 == 0, "large blocks keep the alignment");

static unsigned class_of(size_t n)
{
    if (n <= POOL_CLASS_BYTES_MIN)
        return 0;
    return (unsigned)(64 - __builtin_clzll(n - 1)) - 5;
}

void pool_init(pool *p, size_t bytes_max)
{
    *p = (pool){.bytes_max = bytes_max};
    arena_init(&p->blocks, bytes_max);
}

static void large_free_all(pool *p)
{
    while (p->large) {
        pool_large *l = p->large;
        p->large = l->next;
        free(l);
    }
    p->large_bytes = 0;
    p->blocks.used_bytes_max = p->bytes_max;
}

void pool_fini(pool *p)
{
    large_free_all(p);
    arena_fini(&p->blocks);
}

void pool_reset(pool *p)
{
    large_free_all(p);
    memset(p->free, 0, sizeof p->free);
    arena_reset(&p->blocks);
    if (p->blocks.used_bytes > KEPT_BYTES_MAX)
        arena_fini(&p->blocks);
    p->closing = false;
}

static void *large_take(pool *p, size_t n)
{
    size_t left = p->bytes_max - p->blocks.used_bytes;
    if (n > SIZE_MAX / 2 || left < p->large_bytes || n + sizeof(pool_large) > left - p->large_bytes)
        return NULL;
    pool_large *l = alloc_may() ? malloc(sizeof *l + n) : NULL;
    if (!l)
        return NULL;
    *l = (pool_large){.next = p->large, .bytes = sizeof *l + n};
    if (l->next)
        l->next->prev = l;
    p->large = l;
    p->large_bytes += l->bytes;
    p->blocks.used_bytes_max = p->bytes_max - p->large_bytes;
    return l + 1;
}

void *pool_take(pool *p, size_t n)
{
    if (n > POOL_CLASS_BYTES_MAX)
        return large_take(p, n);
    unsigned k = class_of(n);
    pool_free_block *b = p->free[k];
    if (b) {
        p->free[k] = b->next;
        return b;
    }
    return arena_alloc(&p->blocks, (size_t)POOL_CLASS_BYTES_MIN << k);
}

void pool_give(pool *p, void *block, size_t n)
{
    if (!block || p->closing)
        return;
    if (n > POOL_CLASS_BYTES_MAX) {
        pool_large *l = (pool_large *)block - 1;
        must(l->bytes == sizeof *l + n);
        if (l->prev)
            l->prev->next = l->next;
        else
            p->large = l->next;
        if (l->next)
            l->next->prev = l->prev;
        p->large_bytes -= l->bytes;
        p->blocks.used_bytes_max = p->bytes_max - p->large_bytes;
        free(l);
        return;
    }
    unsigned k = class_of(n);
    pool_free_block *b = block;
    b->next = p->free[k];
    p->free[k] = b;
}

bool queue_put(pool *p, queue *q, const void *from, size_t n)
{
    if (q->cap - q->n < n) {
        size_t held = queue_bytes(q), cap = q->cap ? q->cap : 512;
        while (cap < held + n)
            cap *= 2;
        if (cap > q->cap || q->first < held) {
            uint8_t *grown = pool_take(p, cap);
            if (!grown)
                return false;
            if (held)
                memcpy(grown, queue_front(q), held);
            pool_give(p, q->at, q->cap);
            q->at = grown;
            q->cap = cap;
        } else {
            memcpy(q->at, queue_front(q), held);
        }
        q->first = 0;
        q->n = held;
    }
    if (n && from)
        memcpy(q->at + q->n, from, n);
    else if (n)
        memset(q->at + q->n, 0, n);
    q->n += n;
    return true;
}

void queue_drop(pool *p, queue *q, size_t n)
{
    must(n <= queue_bytes(q));
    q->first += n;
    if (q->first == q->n)
        queue_clear(p, q);
}

void queue_clear(pool *p, queue *q)
{
    pool_give(p, q->at, q->cap);
    *q = (queue){0};
}
