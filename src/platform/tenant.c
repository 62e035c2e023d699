/* See tenant.h. Buckets are filled when somebody asks: no timer. That of CPU time may go below
 * zero, by what running calls still use. */
#include "platform/tenant.h"

#include <stddef.h>
#include <stdlib.h>

enum { TENANT_WEIGHT_MAX = 10000, MEMORY_PAGE_BYTES = 65536 };

enum { REQUESTS, CPU, LOG, BUCKETS };

/* Of what a second brings. */
typedef struct {
    double per_s; /* 0: no limit, and nothing is taken from it */
    double level;
    uint64_t seen; /* the total up to which use was taken from it */
} bucket;

static const struct {
    counter total, level;
} bucket_counters[BUCKETS] = {[REQUESTS] = {COUNT_REQUESTS, COUNT_LEVEL_REQUESTS},
                              [CPU] = {COUNT_CPU_NS, COUNT_LEVEL_CPU},
                              [LOG] = {COUNT_LOG_BYTES, COUNT_LEVEL_LOG}};

struct tenant {
    table_link link;
    tenants *all;
    uint64_t number;
    unsigned users;
    quota q; /* 0: no limit */
    turn_tenant turns;
    counters_row *own; /* in the shared area, or `alone` */
    counters_row alone;
    ns filled; /* when the buckets were */
    bucket buckets[BUCKETS];
    bool log_is_full;
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

static uint64_t hash_of(const tenants *all, uint64_t number)
{
    return table_hash(&all->by_number, &number, sizeof number);
}

/* --- counting --------------------------------------------------------------------------------- */

static bool is_alone(const tenant *t) { return t->own == &t->alone; }

static uint64_t others_sum(const tenant *t, counter k)
{
    uint64_t sum = 0;
    for (unsigned i = 0; !is_alone(t) && i < t->all->others_count; i++) {
        const counters_row *r = counters_find(t->all->others[i], t->number);
        if (r)
            sum += count_get(r, k);
    }
    return sum;
}

static uint64_t sum_of(const tenant *t, counter k)
{
    return count_get(t->own, k) + others_sum(t, k);
}

static double seconds_between(ns before, ns now)
{
    return now > before ? (double)(now - before) / (double)NS_PER_S : 0;
}

/* A total is smaller than before where a worker was started anew. */
static void bucket_fill(bucket *b, uint64_t sum, double seconds)
{
    b->level += b->per_s * seconds;
    if (b->level > b->per_s)
        b->level = b->per_s;
    if (sum > b->seen)
        b->level -= (double)(sum - b->seen);
    b->seen = sum;
}

static void fill(tenant *t, ns now)
{
    double seconds = seconds_between(t->filled, now);
    t->filled = now;
    for (int i = 0; i < BUCKETS; i++)
        if (t->buckets[i].per_s > 0)
            bucket_fill(&t->buckets[i], sum_of(t, bucket_counters[i].total), seconds);
}

/* For workers that come to know the tenant later. Where there is no limit there is no debt: one
 * that is set later must not find any. */
static void levels_publish(tenant *t)
{
    for (int i = 0; i < BUCKETS; i++) {
        const bucket *b = &t->buckets[i];
        count_set(t->own, bucket_counters[i].level,
                  (uint64_t)(b->per_s > 0 ? (int64_t)b->level : INT64_MAX));
    }
    count_set(t->own, COUNT_LEVELS_AT, t->filled);
}

static void bucket_use(tenant *t, int which, uint64_t n)
{
    bucket *b = &t->buckets[which];
    count_add(t->own, bucket_counters[which].total, n);
    if (b->per_s <= 0)
        return;
    b->seen += n;
    b->level -= (double)n;
    levels_publish(t);
}

/* As the bucket of another worker that knows the tenant; it is full where nobody does. */
static void bucket_adopt(tenant *t, bucket *b, counter level, ns now)
{
    for (unsigned i = 0; !is_alone(t) && i < t->all->others_count; i++) {
        const counters_row *r = counters_find(t->all->others[i], t->number);
        ns at = r ? count_get(r, COUNT_LEVELS_AT) : 0;
        if (!at || !count_get(r, COUNT_HELD))
            continue;
        double there = (double)(int64_t)count_get(r, level) + b->per_s * seconds_between(at, now);
        if (there < b->level)
            b->level = there;
    }
}

static void buckets_adopt(tenant *t, ns now)
{
    for (int i = 0; i < BUCKETS; i++)
        bucket_adopt(t, &t->buckets[i], bucket_counters[i].level, now);
    t->filled = now;
    levels_publish(t);
}

/* Full where there was no limit before. */
static void bucket_resize(bucket *b, uint64_t sum, double per_s)
{
    if (b->per_s <= 0) {
        b->level = per_s;
        b->seen = sum;
    } else if (b->level > per_s) {
        b->level = per_s;
    }
    b->per_s = per_s;
}

/* --- tenants ---------------------------------------------------------------------------------- */

static uint64_t part_of(const tenant *t, uint64_t whole)
{
    unsigned workers = is_alone(t) ? t->all->workers : 1;
    return whole && whole < workers ? 1 : whole / workers;
}

static void quota_set(tenant *t, const quota *whole)
{
    quota q = *whole;
    q.memory_bytes = part_of(t, q.memory_bytes);
    q.concurrency = part_of(t, q.concurrency);
    q.cpu_percent = part_of(t, q.cpu_percent);
    q.requests_per_s = part_of(t, q.requests_per_s);
    q.connections = part_of(t, q.connections);
    q.log_bytes_per_s = part_of(t, q.log_bytes_per_s);
    t->q = q;
    t->turns.weight = q.cpu_weight < TENANT_WEIGHT_MAX ? (uint32_t)q.cpu_weight : TENANT_WEIGHT_MAX;
    const double per_s[BUCKETS] = {
        [REQUESTS] = (double)q.requests_per_s,
        [CPU] = (double)q.cpu_percent * (double)NS_PER_S / 100,
        [LOG] = (double)q.log_bytes_per_s,
    };
    for (int i = 0; i < BUCKETS; i++)
        bucket_resize(&t->buckets[i], sum_of(t, bucket_counters[i].total), per_s[i]);
    levels_publish(t);
}

static tenant *tenant_new(tenants *all, uint64_t number, uint64_t hash)
{
    tenant *t = calloc(1, sizeof *t);
    if (!t || !table_add(&all->by_number, &t->link, hash)) {
        free(t);
        return NULL;
    }
    t->all = all;
    t->number = number;
    t->own = all->own ? counters_take(all->own, number) : NULL;
    if (!t->own)
        t->own = &t->alone;
    count_set(t->own, COUNT_HELD, 1);
    return t;
}

bool tenant_take(tenants *all, uint64_t number, str text, tenant **ret, err *e)
{
    quota q = {0};
    uint64_t hash = hash_of(all, number);
    if (text.n && !quota_read(text, &q, e))
        return false;
    tenant *t = find(all, number, hash);
    bool is_new = !t;
    if (!t && !(t = tenant_new(all, number, hash)))
        return err_no_memory(e);
    quota_set(t, &q);
    if (is_new)
        buckets_adopt(t, clock_mono());
    t->users++;
    *ret = t;
    return true;
}

void tenant_let(tenant *t)
{
    if (!t || --t->users)
        return;
    count_set(t->own, COUNT_HELD, 0);
    table_remove(&t->all->by_number, &t->link);
    free(t);
}

/* --- requests and CPU time -------------------------------------------------------------------- */

static unsigned seconds_until(double missing, double per_s)
{
    double s = missing / per_s;
    return s < 1 ? 1 : s > 3600 ? 3600 : (unsigned)s + 1;
}

static tenant_verdict over(tenant *t, counter k, tenant_verdict v)
{
    count_add(t->own, k, 1);
    return v;
}

tenant_verdict tenant_ask(tenant *t, ns now, unsigned *ret_after)
{
    *ret_after = 1;
    if (!t)
        return TENANT_OK;
    const quota *q = &t->q;
    const bucket *cpu = &t->buckets[CPU];
    fill(t, now);
    if (q->concurrency && sum_of(t, COUNT_RUNNING) >= q->concurrency)
        return over(t, COUNT_OVER_CONCURRENCY, TENANT_CONCURRENCY);
    if (q->cpu_percent && cpu->level < 0) {
        *ret_after = seconds_until(-cpu->level, cpu->per_s);
        return over(t, COUNT_OVER_CPU, TENANT_CPU);
    }
    if (q->requests_per_s && t->buckets[REQUESTS].level < 1)
        return over(t, COUNT_OVER_RATE, TENANT_RATE);
    bucket_use(t, REQUESTS, 1);
    return TENANT_OK;
}

quota tenant_quota(const tenant *t) { return t->q; }

void tenant_begun(tenant *t)
{
    if (t)
        count_add(t->own, COUNT_RUNNING, 1);
}

void tenant_ended(tenant *t)
{
    if (t)
        count_add(t->own, COUNT_RUNNING, UINT64_MAX);
}

void tenant_used(tenant *t, ns cpu)
{
    if (t)
        bucket_use(t, CPU, cpu);
}

turn_tenant *tenant_turns(tenant *t) { return &t->turns; }

tenant *tenant_of_turns(turn_tenant *w)
{
    return (tenant *)(void *)((char *)w - offsetof(tenant, turns));
}

ns tenant_cpu_wait(tenant *t, ns now)
{
    if (!t->q.cpu_percent)
        return 0;
    const bucket *cpu = &t->buckets[CPU];
    fill(t, now);
    if (cpu->level >= 0)
        return 0;
    return (ns)(-cpu->level / cpu->per_s * (double)NS_PER_S) + NS_PER_MS;
}

/* --- memory ----------------------------------------------------------------------------------- */

bool tenant_memory_has(tenant *t, uint64_t least)
{
    if (!t || !t->q.memory_bytes || sum_of(t, COUNT_MEMORY) + least <= t->q.memory_bytes)
        return true;
    tenant_memory_refused(t);
    return false;
}

uint64_t tenant_memory_grant(tenant *t)
{
    if (!t || !t->q.memory_bytes)
        return UINT64_MAX;
    uint64_t used = sum_of(t, COUNT_MEMORY) + others_sum(t, COUNT_GRANTED);
    uint64_t left = used < t->q.memory_bytes ? t->q.memory_bytes - used : 0;
    left /= is_alone(t) ? 1 : t->all->workers;
    left -= left % MEMORY_PAGE_BYTES;
    count_set(t->own, COUNT_GRANTED, left);
    return left;
}

void tenant_memory_book(tenant *t, uint64_t before, uint64_t now)
{
    if (!t)
        return;
    count_add(t->own, COUNT_MEMORY, now - before);
    count_set(t->own, COUNT_GRANTED, 0);
}

void tenant_memory_refused(tenant *t) { count_add(t->own, COUNT_OVER_MEMORY, 1); }

/* --- logs and connections --------------------------------------------------------------------- */

bool tenant_log(tenant *t, ns now, uint64_t line_bytes, bool *ret_first)
{
    *ret_first = false;
    if (!t)
        return true;
    if (t->q.log_bytes_per_s)
        fill(t, now);
    if (t->q.log_bytes_per_s && t->buckets[LOG].level < (double)line_bytes) {
        *ret_first = !t->log_is_full;
        t->log_is_full = true;
        count_add(t->own, COUNT_OVER_LOG, 1);
        return false;
    }
    t->log_is_full = false;
    bucket_use(t, LOG, line_bytes);
    return true;
}

bool tenants_connection_take(tenants *all, uint64_t number)
{
    tenant *t = find(all, number, hash_of(all, number));
    if (!t)
        return true;
    if (t->q.connections && sum_of(t, COUNT_CONNECTIONS) >= t->q.connections) {
        count_add(t->own, COUNT_OVER_CONNECTIONS, 1);
        return false;
    }
    count_add(t->own, COUNT_CONNECTIONS, 1);
    return true;
}

void tenants_connection_give(tenants *all, uint64_t number)
{
    tenant *t = find(all, number, hash_of(all, number));
    counters_row *r = t ? t->own : all->own ? counters_find(all->own, number) : NULL;
    if (r && count_get(r, COUNT_CONNECTIONS))
        count_add(r, COUNT_CONNECTIONS, UINT64_MAX);
}
