/* A tenant as a worker knows it: what its apps together may use, and what they use.
 *
 * Quotas are the node's: what all workers use is counted in shared areas (counters.h), and each
 * worker holds it against the quota. Rates are token buckets that hold what one second brings;
 * every worker has a bucket of its own, from which it takes what all of them used.
 *
 * What a limit does:
 *   requests_per_s, cpu_percent, concurrency   a new request is refused
 *   cpu_percent                                and running calls wait for their next slice
 *   memory_bytes       a new request is refused; memory.grow fails in running calls
 *   connections        the guest's connection is refused
 *   log_bytes_per_s    lines are not written
 * Each is counted, for its owner to see.
 *
 * Invariants
 * - What runs may grow by its worker's part of what is left and was not granted to somebody else:
 * so memory never exceeds the quota by what runs in several workers at one moment.
 * - Counters without an area (COUNTERS_SETS * COUNTERS_WAYS tenants at once) are the worker's own,
 *   and the quota is then divided by the number of workers. */
#pragma once

#include "base/clock.h"
#include "base/table.h"
#include "platform/counters.h"
#include "platform/node_settings.h"
#include "platform/turns.h"

typedef struct tenant tenant;

typedef struct {
    table by_number;
    unsigned workers;
    counters_area *own; /* NULL: nothing is shared */
    counters_area *others[COUNTERS_AREAS_MAX];
    unsigned others_count;
} tenants;

/* Areas are set by the caller, before the first tenant. */
void tenants_init(tenants *all, unsigned workers);
void tenants_fini(tenants *all);

/* The tenant with that quota (JSON of the catalogue) from here on; let go of it with tenant_let. */
bool tenant_take(tenants *all, uint64_t number, str quota, tenant **ret, err *e);
/* NULL is allowed, here and below. */
void tenant_let(tenant *t);

/* Its quota; what the queue of deferred calls bounds is of the node as a whole. */
quota tenant_quota(const tenant *t);

typedef enum {
    TENANT_OK,
    TENANT_RATE,        /* too many requests a second */
    TENANT_CPU,         /* too much CPU time lately */
    TENANT_CONCURRENCY, /* too many requests at once */
} tenant_verdict;

/* May a request begin now? It is counted if it may. *ret_after: in how many seconds to try again.
 */
tenant_verdict tenant_ask(tenant *t, ns now, unsigned *ret_after);
/* A call of the tenant began, ended, used CPU. */
void tenant_begun(tenant *t);
void tenant_ended(tenant *t);
void tenant_used(tenant *t, ns cpu);

/* Its share of the worker's time (turns.h). */
turn_tenant *tenant_turns(tenant *t);
tenant *tenant_of_turns(turn_tenant *w);
/* How long its calls have to wait until it has CPU time left; 0: it has. */
ns tenant_cpu_wait(tenant *t, ns now);

/* May a sandbox start that has so many bytes from the beginning? */
bool tenant_memory_has(tenant *t, uint64_t least);
/* A call of it is about to run: by how many bytes it may grow until tenant_memory_book; UINT64_MAX:
 * no quota. */
uint64_t tenant_memory_grant(tenant *t);
/* It had so many, and has so many now. */
void tenant_memory_book(tenant *t, uint64_t before, uint64_t now);
/* A guest got no memory because of the quota. */
void tenant_memory_refused(tenant *t);

/* May it log so many bytes now? They are counted if it may. *ret_first: they are the first that may
 * not since it could. */
bool tenant_log(tenant *t, ns now, uint64_t line_bytes, bool *ret_first);

/* An outgoing connection of the tenant of that number; a taken one may be given back when the
 * worker does not know the tenant any more. */
bool tenants_connection_take(tenants *all, uint64_t number);
void tenants_connection_give(tenants *all, uint64_t number);
