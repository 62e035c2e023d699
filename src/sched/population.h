/* A synthetic population of serverless apps: seeded, free of anyone's licence, and checked against
 * the published statistics of a large provider ("Serverless in the Wild", USENIX ATC 2020).
 *
 *   calls a day      log-normal(3.69, 4.08), at most 1e8: 45 % of apps see at most one call an
 *                    hour, 81 % at most one a minute, the rest 99.6 % of all calls
 *   execution time   log-normal(-0.38, 2.36) s, divided by `speedup` (WebAssembly of short calls)
 *   arrivals         40 % bursty (on/off), 16 % timers, the rest Poisson
 *   the day          half of the load constant, half with the sun; weekends 20 % lower
 *   trigger          55 % HTTP, the rest queue, event, timer: deferrable
 *   memory           Burr XII (11.652, 0.221, 107.083 MB)
 * Invariant: the same seed and count give the same apps; app i does not depend on the count. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "sched/rng.h"

typedef enum { APP_POISSON, APP_BURSTY, APP_TIMER } app_arrivals;

typedef struct {
    double calls_per_s; /* mean over a week */
    double call_cpu_s;  /* mean */
    double memory_bytes;
    double limit_cpus; /* what it declared, and what is sold */
    double peak_hour;  /* of its day */
    double on_share;   /* bursty: share of time it is on */
    app_arrivals arrivals;
    bool deferrable;
    bool on;            /* state of the bursty */
    double left_s;      /* until it changes */
    int64_t level_hour; /* the hour that level was computed for */
    double level, peak_cos, peak_sin;
    rng random;
} population_app;

typedef struct {
    population_app *app;
    size_t n;
    double hour_cos[24], hour_sin[24];
} population;

typedef struct {
    uint64_t seed;
    size_t apps;
    double correlation;      /* of peak hours */
    double speedup;          /* of execution times; 100 */
    double mean_cpus;        /* > 0: CPU times are scaled so that the population uses this much */
    double cpus_per_app_max; /* an app that would use more is scaled down to it; 0: no such limit */
} population_config;

bool population_new(const population_config *c, arena *a, population *ret, err *e);

/* CPU-seconds of one app in [t_s, t_s + step_s), and how many calls. Advances its state: steps are
 * asked for in order, once each. */
double population_use(population *p, size_t app, int64_t t_s, double step_s, uint64_t *ret_calls);

/* The acceptance checks, in per cent, of what was drawn (before any scaling of CPU times). */
typedef struct {
    double hourly_pct;     /* apps with at most a call an hour; 45 */
    double minutely_pct;   /* at most a call a minute; 81 */
    double top_pct;        /* share of calls by the busiest 18.6 % of apps; 99.6 */
    double deferrable_pct; /* of apps */
} population_check;
population_check population_checked(const population *p, arena *scratch);
