/* A day on one node call by call: what do reserved calls feel of the opportunistic work that the
 * planner lets in? A discrete-event simulation of cores, a queue of reserved calls, and
 * opportunistic calls that yield to them at the next epoch tick (a guest yields its fiber every
 * tick). The utilisation controller of flow.h sets the pace, every 10 seconds, from a planned rate.
 */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "sched/sim.h"

typedef struct {
    size_t cores;
    double call_cpu_s; /* mean of a reserved call; exponential */
    double tick_s;     /* longest until an opportunistic call yields */
    uint64_t seed;
    const sim_step *steps; /* a day: 288; reserved and deferred CPUs */
    size_t steps_count;
    bool opportunistic; /* false: the same day without them */
    double target;
} day_config;

typedef struct {
    uint64_t calls, waited;
    double p50_s, p99_s, p999_s; /* of reserved calls, arrival to end */
    double utilisation_pct;
    double opportunistic_cpu_s, planned_cpu_s;
} day_result;

bool day_run(const day_config *c, arena *a, day_result *ret, err *e);
