/* See day.h. Reserved calls are events (arrival, end); opportunistic work is a level: how many
 * cores it holds. It takes free cores up to its pace, and gives one back within a tick when a
 * reserved call finds none free. Latencies go to a logarithmic histogram (0.5 % wide), so a day of
 * millions of calls needs no memory for them. */
#include "sched/day.h"

#include "sched/flow.h"

#include <math.h>

enum { BINS = 5000, CORES_MAX = 512, QUEUE_MAX = 1 << 16 };
#define BIN_FIRST 1e-6
#define BIN_STEP  1.005

typedef struct {
    const day_config *c;
    rng random, pace;
    util_control util;
    double end[CORES_MAX]; /* when the core's reserved call ends; INFINITY: none */
    size_t busy, opportunistic;
    double *queue; /* arrival times */
    size_t head, queued;
    double now, held_s, busy_s, period_busy_s, credit;
    uint64_t *bins;
    day_result r;
} day;

static void record(day *d, double seconds)
{
    double b = log(fmax(seconds, BIN_FIRST) / BIN_FIRST) / log(BIN_STEP);
    d->bins[b < BINS - 1 ? (size_t)b : BINS - 1]++;
    d->r.calls++;
}

static double percentile(const day *d, double share)
{
    uint64_t seen = 0;
    for (size_t b = 0; b < BINS; b++) {
        seen += d->bins[b];
        if ((double)seen >= share * (double)d->r.calls)
            return BIN_FIRST * pow(BIN_STEP, (double)b + 0.5);
    }
    return 0;
}

/* Books core time up to t. */
static void pass(day *d, double t)
{
    double dt = t - d->now;
    d->held_s += dt * (double)d->opportunistic;
    d->busy_s += dt * (double)d->busy;
    d->period_busy_s += dt * (double)(d->busy + d->opportunistic);
    d->credit -= dt * (double)d->opportunistic;
    d->now = t;
}

static void serve(day *d, double arrived, double from)
{
    for (size_t i = 0; i < d->c->cores; i++)
        if (isinf(d->end[i])) {
            double service = d->c->call_cpu_s * rng_exponential(&d->random);
            d->end[i] = from + service;
            d->busy++;
            record(d, d->end[i] - arrived);
            return;
        }
}

static void arrive(day *d)
{
    size_t free_cores = d->c->cores - d->busy - d->opportunistic;
    if (free_cores > 0) {
        serve(d, d->now, d->now);
    } else if (d->opportunistic > 0) { /* its core yields within a tick */
        d->opportunistic--;
        d->r.waited++;
        serve(d, d->now, d->now + d->c->tick_s * rng_uniform(&d->pace));
    } else if (d->queued < QUEUE_MAX) {
        d->queue[(d->head + d->queued++) % QUEUE_MAX] = d->now;
        d->r.waited++;
    }
}

static void finish(day *d, size_t core)
{
    d->end[core] = INFINITY;
    d->busy--;
    if (d->queued) {
        double arrived = d->queue[d->head];
        d->head = (d->head + 1) % QUEUE_MAX;
        d->queued--;
        serve(d, arrived, d->now);
    }
}

/* Opportunistic work takes what cores are free, as long as it has credit. */
static void fill(day *d)
{
    size_t free_cores = d->c->cores - d->busy - d->opportunistic;
    /* One core stays free for the next reserved call while there is any choice. */
    while (free_cores > 1 && d->credit > 0 &&
           (double)(d->opportunistic + 1) * 0.05 <= d->credit + 0.05) {
        d->opportunistic++;
        free_cores--;
    }
    if (d->credit <= 0)
        d->opportunistic = 0;
}

bool day_run(const day_config *c, arena *a, day_result *ret, err *e)
{
    if (!c->cores || c->cores > CORES_MAX || !c->steps_count || !(c->call_cpu_s > 0))
        return err_set(e, ERR_INVALID, "day: 1 to %d cores, some steps, a call time", CORES_MAX);
    day *d = ARENA_NEW(a, day);
    if (!d || !(d->queue = ARENA_ARRAY(a, double, QUEUE_MAX)) ||
        !(d->bins = ARENA_ARRAY(a, uint64_t, BINS)))
        return err_no_memory(e);
    d->c = c;
    rng_init(&d->random, c->seed);
    rng_init(&d->pace, c->seed + 1);
    util_init(&d->util, c->target);
    for (size_t i = 0; i < c->cores; i++)
        d->end[i] = INFINITY;
    double length = (double)c->steps_count * SIM_STEP_S, next_arrival = 0, next_period = 0;
    while (d->now < length) {
        size_t first = 0;
        for (size_t i = 1; i < c->cores; i++)
            if (d->end[i] < d->end[first])
                first = i;
        double t = fmin(fmin(next_arrival, next_period), d->end[first]);
        /* Credit runs out between events too. */
        if (d->opportunistic && d->credit > 0)
            t = fmin(t, d->now + d->credit / (double)d->opportunistic + 1e-9);
        pass(d, fmax(t, d->now));
        const sim_step *s =
            &c->steps[(size_t)fmin(d->now / SIM_STEP_S, (double)c->steps_count - 1)];
        if (t == next_arrival) {
            arrive(d);
            next_arrival = t + c->call_cpu_s / s->reserved * rng_exponential(&d->random);
        } else if (t == d->end[first]) {
            finish(d, first);
        } else if (t == next_period) {
            double use = d->period_busy_s / FLOW_UTIL_PERIOD_S / (double)c->cores;
            if (next_period > 0)
                util_step(&d->util, use, false);
            d->period_busy_s = 0;
            double grant = c->opportunistic ? s->deferred * FLOW_UTIL_PERIOD_S : 0;
            d->r.planned_cpu_s += grant;
            d->credit = fmin(d->credit + grant * d->util.s, 6 * grant + 1);
            next_period += FLOW_UTIL_PERIOD_S;
        }
        fill(d);
    }
    d->r.p50_s = percentile(d, 0.5);
    d->r.p99_s = percentile(d, 0.99);
    d->r.p999_s = percentile(d, 0.999);
    d->r.opportunistic_cpu_s = d->held_s;
    d->r.utilisation_pct = 100 * (d->held_s + d->busy_s) / (length * (double)c->cores);
    *ret = d->r;
    return true;
}
