/* See tenant.h. Rates are token buckets of one second, filled when somebody asks: no timer. The
 * bucket of CPU time may go below zero, by what running calls still use. */
#include "platform/tenant.h"

#include <stdlib.h>

struct tenant {
    table_link link;
    tenants *all;
    uint64_t number;
    unsigned users;
    quota part; /* of this worker; 0: no limit */
    uint64_t running;
    ns filled;       /* when the buckets were */
    double requests; /* that may begin */
    double cpu_ns;   /* that may be used */
};

void tenants_init(tenants *all, unsigned workers)
{
    *all = (tenants){.workers = workers ? workers : 1};
    table_init(&all->by_number, (uint64_t[]){0, 0});
}

void tenants_fini(tenants *all) { table_fini(&all->by_number); }

static tenant *find(const tenants *all, uint64_t number, uint64_t hash)
{
    for (table_link *k = table_first(&all->by_number, hash); k; k = table_next(k)) {
        tenant *t = TABLE_OF(tenant, link, k);
        if (t->number == number)
            return t;
    }
    return NULL;
}

static uint64_t part_of(uint64_t whole, unsigned workers)
{
    return whole ? (whole < workers ? 1 : whole / workers) : 0;
}

static void quota_set(tenant *t, const quota *q)
{
    unsigned workers = t->all->workers;
    t->part = (quota){.concurrency = part_of(q->concurrency, workers),
                      .requests_per_s = part_of(q->requests_per_s, workers),
                      .cpu_percent = part_of(q->cpu_percent, workers)};
    double cpu = (double)t->part.cpu_percent * (double)NS_PER_S / 100;
    if (t->requests > (double)t->part.requests_per_s)
        t->requests = (double)t->part.requests_per_s;
    if (t->cpu_ns > cpu)
        t->cpu_ns = cpu;
}

bool tenant_take(tenants *all, uint64_t number, str text, tenant **ret, err *e)
{
    quota q = {0};
    uint64_t hash = table_hash(&all->by_number, &number, sizeof number);
    if (text.n && !quota_read(text, &q, e))
        return false;
    tenant *t = find(all, number, hash);
    if (!t) {
        t = calloc(1, sizeof *t);
        if (!t || !table_add(&all->by_number, &t->link, hash)) {
            free(t);
            return err_no_memory(e);
        }
        t->all = all;
        t->number = number;
        t->requests = t->cpu_ns = 1e300; /* full */
    }
    quota_set(t, &q);
    t->users++;
    *ret = t;
    return true;
}

void tenant_let(tenant *t)
{
    if (!t || --t->users)
        return;
    table_remove(&t->all->by_number, &t->link);
    free(t);
}

static double filled(double level, double per_s, double seconds)
{
    level += per_s * seconds;
    return level > per_s ? per_s : level;
}

static unsigned seconds_until(double missing, double per_s)
{
    double s = missing / per_s;
    return s < 1 ? 1 : s > 3600 ? 3600 : (unsigned)s + 1;
}

tenant_verdict tenant_ask(tenant *t, ns now, unsigned *ret_after)
{
    *ret_after = 1;
    if (!t)
        return TENANT_OK;
    double seconds = now > t->filled ? (double)(now - t->filled) / (double)NS_PER_S : 0;
    double rate = (double)t->part.requests_per_s;
    double cpu = (double)t->part.cpu_percent * (double)NS_PER_S / 100;
    t->filled = now;
    t->requests = filled(t->requests, rate, seconds);
    t->cpu_ns = filled(t->cpu_ns, cpu, seconds);
    if (t->part.concurrency && t->running >= t->part.concurrency)
        return TENANT_CONCURRENCY;
    if (t->part.cpu_percent && t->cpu_ns < 0) {
        *ret_after = seconds_until(-t->cpu_ns, cpu);
        return TENANT_CPU;
    }
    if (t->part.requests_per_s && t->requests < 1)
        return TENANT_RATE;
    t->requests -= 1;
    return TENANT_OK;
}

void tenant_begun(tenant *t)
{
    if (t)
        t->running++;
}

void tenant_ended(tenant *t)
{
    if (t)
        t->running--;
}

void tenant_used(tenant *t, ns cpu)
{
    if (t)
        t->cpu_ns -= (double)cpu;
}
