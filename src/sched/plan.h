/* When deferred work runs: the planner.
 *
 * Time is cut into slots; slot 0 is the present one. Deferred work is fungible CPU-seconds with a
 * first and a last slot (calls are short against a slot). Each slot has room (capacity times the
 * utilisation target, less what reserved work is forecast to take) and a price: forecast carbon
 * intensity x (1 + weight x load^2), the second factor so that work does not pile up on the
 * greenest hour and raise the peak. Prices rise in steps as a slot fills.
 *
 * The amounts of slot-time that can be matched to work form a polymatroid, so taking the cheapest
 * step first, as much of it as can still be matched, is not a heuristic: it is the optimum of the
 * linear programme with these prices (tests/unit/sched_plan.c checks it against brute force,
 * bench/carbon.py against an LP solver), and it places as much work as any plan could.
 *
 * Invariants of a plan: 0 <= run[k] <= room[k]; nothing runs before its first slot or after its
 * last; sum(run) + unplaced == sum(work); unplaced > 0 only if no plan could place it all. */
#pragma once

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

enum { PLAN_SLOTS_MAX = 96, PLAN_STEPS_MAX = 16, PLAN_DEMANDS_MAX = 512, PLAN_PLACES_MAX = 4 };

/* Defaults of the platform and of the simulator alike. */
#define PLAN_HEADROOM_WEIGHT 0.5 /* a full node is worth half as much carbon again */
#define PLAN_STEPS           12
#define PLAN_TARGET          0.85 /* of capacity; the rest absorbs what forecasts miss */

typedef struct {
    uint32_t first, last; /* slots, inclusive; last >= slots counts as slots - 1 */
    double work;          /* CPU-seconds */
} plan_demand;

typedef struct {
    size_t slots;
    const double *intensity; /* per slot; any unit, >= 0 */
    const double *reserved;  /* forecast CPU-seconds per slot */
    double capacity;         /* CPU-seconds per slot; INFINITY is allowed */
    double target;           /* share of capacity that may be used */
    double headroom_weight;  /* 0: carbon alone */
    unsigned steps;          /* price steps per slot, 1 to PLAN_STEPS_MAX */
} plan_input;

typedef struct {
    double run[PLAN_SLOTS_MAX]; /* CPU-seconds of deferred work per slot */
    double unplaced;            /* what no plan can finish in time */
} work_plan;

/* Demands are sorted in place by last slot. ERR_LIMIT beyond the maxima above. */
bool plan_make(const plan_input *in, plan_demand *d, size_t n, work_plan *ret, err *e);

/* The same over several places: nodes in other zones that would take the work. in[z] describes
 * place z (the same number of slots everywhere); ret_run[z] what runs there and when. What moving
 * work costs belongs into the intensity of the place it moves to: (J on the wire / J of work) x
 * g/kWh. Still the optimum: places are only more steps to choose from. */
bool plan_make_places(const plan_input *in, size_t places, plan_demand *d, size_t n,
                      double (*ret_run)[PLAN_SLOTS_MAX], double *ret_unplaced, err *e);

/* ---- work that was accepted and has not run, by the slot of its deadline ---- */

typedef struct {
    int64_t slot_s;             /* length of a slot */
    int64_t now;                /* slot number of "now", slots since 1970 */
    double due[PLAN_SLOTS_MAX]; /* work whose last slot is now + i */
    double late;                /* its last slot has gone by */
} backlog;

void backlog_init(backlog *b, int64_t now_s, int64_t slot_s);
/* Moves "now"; work whose last slot is over becomes late (and still counts first). */
void backlog_advance(backlog *b, int64_t now_s);
/* deadline_s: when the work must have ended; its last slot is the last that ends by then, but
 * never before the present one. */
void backlog_add(backlog *b, int64_t deadline_s, double work);
/* Takes up to `work`, earliest deadline first; returns what there was. ret_by_slot (may be NULL)
 * gets what was taken of each due[i]; late work is in the return value only. */
double backlog_take(backlog *b, double work, double *ret_by_slot);
double backlog_sum(const backlog *b);
/* The backlog as demands, with expected arrivals (per slot, each with `slack` slots; NULL: none),
 * so that the plan keeps room for what is still to come. Give a short slack, a low percentile of
 * what callers grant: too long a one makes plans wait until urgent work finds no room. Room for
 * PLAN_DEMANDS_MAX. */
size_t backlog_demands(const backlog *b, const double *arrivals, size_t slack, size_t slots,
                       plan_demand *ret);
