/* What tenants use on the whole node, counted without locks: each worker has an area of memory in
 * which it alone writes; the other workers and the keeper map it read-only and add up.
 *
 *     area of worker 0        area of worker 1
 *     ┌ tenant 7: 3 running   ┌ tenant 7: 1 running      worker 1 reads both: tenant 7 has 4
 *     └ tenant 9: ...         └ tenant 8: ...
 *
 * Areas are anonymous files that the supervisor makes; they outlive a worker and are emptied when
 * it has died.
 *
 * Invariants
 * - A row is in one of COUNTERS_WAYS places, by the tenant's number. It stays a tenant's until
 *   another one needs the place and all gauges are 0; numbers are given out one after the other, so
 *   that does not happen below COUNTERS_SETS * COUNTERS_WAYS tenants.
 * - Gauges say what is in use now; totals only grow, but start anew with a new worker.
 * - Reading is racy: a sum may miss what another process adds at this moment. */
#pragma once

#include "base/err.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { COUNTERS_SETS = 4096, COUNTERS_WAYS = 8, COUNTERS_AREAS_MAX = 64 };

typedef enum {
    /* gauges */
    COUNT_RUNNING,     /* requests that have begun and not ended */
    COUNT_MEMORY,      /* bytes of linear memories of running sandboxes */
    COUNT_GRANTED,     /* bytes by which one that runs at this moment may grow */
    COUNT_CONNECTIONS, /* outgoing ones in use */
    COUNT_HELD,        /* the worker knows the tenant */
    COUNT_GAUGES,
    /* totals */
    COUNT_REQUESTS = COUNT_GAUGES,
    COUNT_CPU_NS,
    COUNT_LOG_BYTES,
    /* and of what was refused for a quota */
    COUNT_OVER_RATE,
    COUNT_OVER_CPU,
    COUNT_OVER_CONCURRENCY,
    COUNT_OVER_MEMORY,
    COUNT_OVER_CONNECTIONS,
    COUNT_OVER_LOG, /* lines */
    /* what its buckets hold (tenant.c; may be negative), and when that was */
    COUNT_LEVEL_REQUESTS,
    COUNT_LEVEL_CPU,
    COUNT_LEVEL_LOG,
    COUNT_LEVELS_AT,
    COUNTERS = 24, /* whole cache lines */
} counter;

typedef struct {
    _Atomic uint64_t at[COUNTERS];
} counters_row;

typedef struct counters_area counters_area;

/* Makes an area: *ret_fd may be mapped for writing. */
bool counters_make(int *ret_fd, err *e);
/* A descriptor of the same area by which nobody can write. */
bool counters_read_only(int fd, int *ret_fd, err *e);
/* Everything in it is 0: its worker has died. */
void counters_empty(int fd);
/* Maps an area for the life of the process; the descriptor stays the caller's. */
bool counters_map(int fd, bool writing, counters_area **ret, err *e);

/* The row of a tenant, which becomes its if it had none. NULL: all its places are taken. */
counters_row *counters_take(counters_area *own, uint64_t tenant);
/* NULL: it has none. */
counters_row *counters_find(counters_area *a, uint64_t tenant);

static inline uint64_t count_get(const counters_row *r, counter k)
{
    return atomic_load_explicit(&r->at[k], memory_order_relaxed);
}

/* Only in rows of the own area, which has one writer. */
static inline void count_set(counters_row *r, counter k, uint64_t n)
{
    atomic_store_explicit(&r->at[k], n, memory_order_relaxed);
}

static inline void count_add(counters_row *r, counter k, uint64_t n)
{
    count_set(r, k, count_get(r, k) + n);
}
