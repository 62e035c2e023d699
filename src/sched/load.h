/* Forecast of load from its own history: running means per hour of the week, so that the planner
 * knows how much room reserved work will leave and how much deferred work is still to come.
 * Invariant: a forecast uses only hours that were pushed. Units are the caller's (CPU-seconds). */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct {
    double week[168], day[24]; /* running means by hour of week and of day */
    uint32_t weeks[168], days[24];
    double mean_error; /* running mean of |forecast - came|, for margins */
    int64_t next_h;    /* hours since 1970 */
} load_history;

void load_init(load_history *l, int64_t first_s);
void load_push(load_history *l, double value);
/* The next n hours. Before the first day is over: the mean of what was seen. */
void load_forecast(const load_history *l, size_t n, double *ret);
