/* The keeper as the scheduler of deferred calls: it knows sums, never calls. From the backlog (the
 * store), the grid and the node's load it plans (sched/pace.h), says to workers how much to begin,
 * and tells them the plan.
 *
 * Invariants
 * - It wakes up by one timer, set to the next planned start or whatever else is known to come: none
 *   if nothing waits, or is kept. It is of the wall clock, and a clock that is set is noticed at
 *   once.
 * - Leases of a worker that ends go back at once.
 * - Killed at any time it loses nothing: its successor asks the store. */
#pragma once

#include "platform/keeper_impl.h"
#include "sched/pace.h"
#include "store/queue.h"

typedef struct keeper_calls keeper_calls;
struct calls_price;

/* k->store is there. Before the sandbox is entered. */
bool keeper_calls_new(keeper *k, keeper_calls **ret, err *e);
/* NULL is allowed. */
void keeper_calls_free(keeper_calls *c);
/* A worker's channel; takes fd. */
void keeper_calls_add_take(keeper_calls *c, int fd);
unsigned keeper_calls_workers(const keeper_calls *c);
/* The store has come (again), or calls have changed: look and plan anew, soon. NULL is allowed. */
void keeper_calls_look(keeper_calls *c);
/* There may be another forecast. NULL is allowed. */
void keeper_calls_forecast(keeper_calls *c);
/* An app has gone for good: its calls are dead. number 0: the tenant has gone, and its calls with
 * it. Both as calls_owner.h has them. */
void keeper_calls_app_gone(keeper_calls *c, uint64_t number, uint64_t tenant);

/* The newest plan; slots 0: none. */
const pace_view *keeper_calls_plan(const keeper_calls *c);
queue_backlog keeper_calls_backlog(const keeper_calls *c);
double keeper_calls_unplaced(const keeper_calls *c);
/* What really came of the grid at two moments: NaN: nobody knows. */
void keeper_calls_intensity(keeper *k, int64_t accepted_s, int64_t ran_s, double *ret_accepted,
                            double *ret_ran);
