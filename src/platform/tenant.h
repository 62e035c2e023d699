/* A tenant as a worker knows it: what its apps together may use here, and what they use.
 *
 * Quotas are the node's, and a worker enforces its part of them: the quota divided by the number of
 * workers, at least 1. So the node as a whole never gives more; it gives less where a tenant's
 * connections are not spread over the workers.
 *
 * Invariants: requests that began are never ended for a quota; CPU that was used above it has to be
 * made up for before the next request begins. */
#pragma once

#include "base/clock.h"
#include "base/table.h"
#include "platform/node_settings.h"

typedef struct tenant tenant;

typedef struct {
    table by_number;
    unsigned workers;
} tenants;

void tenants_init(tenants *all, unsigned workers);
void tenants_fini(tenants *all);

/* The tenant with that quota (JSON of the catalogue) from here on; let go of it with tenant_let. */
bool tenant_take(tenants *all, uint64_t number, str quota, tenant **ret, err *e);
/* NULL is allowed. */
void tenant_let(tenant *t);

typedef enum {
    TENANT_OK,
    TENANT_RATE,        /* too many requests a second */
    TENANT_CPU,         /* too much CPU time lately */
    TENANT_CONCURRENCY, /* too many requests at once */
} tenant_verdict;

/* May a request begin now? It is counted if it may. *ret_after: in how many seconds to try again.
 * NULL: always. */
tenant_verdict tenant_ask(tenant *t, ns now, unsigned *ret_after);
/* A call of the tenant began, ended, used CPU. NULL is allowed. */
void tenant_begun(tenant *t);
void tenant_ended(tenant *t);
void tenant_used(tenant *t, ns cpu);
