/* From a plan to starts: how much deferred work may begin now, and when to look again. What the
 * keeper does within a slot is decided here, from sums and the time alone (README.md, "How the
 * platform uses it"). Pure.
 *
 *     backlog by deadline, forecasts --pace_plan--> plan --pace_step--> begin so much now, wake
 * then
 *
 * Invariants
 * - Work is never begun before the plan wants it, except what is due: the last slot that it can run
 *   in is this one, or its deadline is near.
 * - wake_s is the next planned start or later event that the caller named, never earlier: while
 *   nothing is planned nothing wakes up. While work waits for its turn within a slot it is the next
 *   tick (slot / PACE_TICKS).
 * - Time may jump: every function takes the present time, and a slot that is not the last one
 *   begins anew. */
#pragma once

#include "sched/flow.h"
#include "sched/plan.h"

#include <stdbool.h>

enum { PACE_SLOTS = 48, PACE_TICKS = 360 /* 10 s of an hour: FLOW_UTIL_PERIOD_S */ };

/* What of a plan others need to know: when would a call run, and could one more be accepted? */
typedef struct {
    int64_t slot_s;               /* length of a slot */
    int64_t first;                /* slots since 1970 of index 0 */
    uint32_t slots;               /* 0: there is no plan */
    uint32_t sourced;             /* 1: intensities are of a carbon source; else flat */
    double run[PACE_SLOTS];       /* CPU-seconds planned */
    double due[PACE_SLOTS];       /* CPU-seconds that wait, by their last slot */
    double room[PACE_SLOTS];      /* CPU-seconds that deferred work may take */
    double intensity[PACE_SLOTS]; /* g/kWh */
    double j_per_cpu_s;
    int64_t hour_s; /* a 24th of the day that load repeats by: 3600, less in a rehearsal */
} pace_view;

/* The last slot in which work with that deadline can run: the last that ends by then, but never
 * before the first. As an index into a view. */
size_t pace_last_slot(const pace_view *v, int64_t deadline_s);
/* When work with that deadline, which is in `due` and the last of those due by then, will begin by
 * the plan: the start of a slot; of the first one: at once, or within it. */
int64_t pace_start(const pace_view *v, int64_t deadline_s, double cpu_s);
/* So long before its deadline work begins at once, however little of the plan is known. */
int64_t pace_urgent_s(const pace_view *v);
/* How much more work with that deadline fits, whatever else has been accepted (CPU-seconds). */
double pace_free(const pace_view *v, int64_t deadline_s);
/* One more call was accepted since the plan was made. */
void pace_accept(pace_view *v, int64_t deadline_s, double cpu_s);

/* What waits, of one deadline slot (queue.h). */
typedef struct {
    int64_t slot; /* deadlines from slot * slot_s on, before (slot + 1) * slot_s */
    double ready_cpu_s, later_cpu_s;
} pace_work;

typedef struct {
    double cpus;
    util_control util;
    int64_t util_at_s;
    pace_view view;
    int64_t granted_s;       /* the last tick's share was given then */
    double begun_cpu_s;      /* since the plan was made */
    double slot_begun_cpu_s; /* in this slot */
    double ready_cpu_s, due_cpu_s, unplaced_cpu_s;
    bool all_now;
    int64_t due_by_s; /* no deadline of what the plan knows is later */
} pace;

/* What of the coming PACE_SLOTS is known or forecast. */
typedef struct {
    const double *intensity; /* g/kWh */
    const double *reserved;  /* CPU-seconds that other work will take */
    const double *arrivals;  /* CPU-seconds of deferred work that will be accepted; NULL: none */
    int64_t slack_s;         /* how long those may wait: a low percentile */
} pace_forecast;

void pace_init(pace *p, int64_t slot_s, double cpus);
/* `sourced`, j_per_cpu_s and hour_s of the view are passed on. */
bool pace_plan(pace *p, int64_t now_s, const pace_work *w, size_t n, const pace_forecast *f,
               err *e);
/* The mean over so long is what the controller wants to be told (flow.h). */
int64_t pace_utilisation_s(const pace *p);
/* Utilisation of the node (0 to 1) since the last time; counts at most once in such a time. */
void pace_utilisation(pace *p, int64_t now_s, double utilisation);

typedef struct {
    double begin_cpu_s;  /* begin about so much (estimates) now; INFINITY: all that may run... */
    int64_t all_by_s;    /* ...and is due by then: what came later may have time */
    int64_t urgent_by_s; /* besides, whatever is due by then; 0: nothing */
    bool shortage;       /* not all can be in time: criticality first */
    int64_t wake_s;      /* then look again; INT64_MAX: nothing will happen by itself */
} pace_decision;
/* next_deadline_s: the earliest deadline of what may run now; next_start_s: when work that may not
 * run yet may; 0: there is none. */
pace_decision pace_step(pace *p, int64_t now_s, int64_t next_deadline_s, int64_t next_start_s);
/* So much was begun. */
void pace_begun(pace *p, double cpu_s);
