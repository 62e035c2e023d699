/* Forecast of grid intensity from nothing but its own history, hourly, a day ahead.
 *
 * The model: x is the natural logarithm of intensity. For every hour of the day three running
 * means over days are kept (half-lives 3, 14 and 60 days); the 14-day one is the *profile*. What
 * is predicted is the departure from the profile, by ridge regression, one set of weights for
 * each pair of origin hour (0-23) and horizon (0-23 hours), from FORECAST_FEATURES inputs:
 * the departures of the last 24 hours, the other two means, the same hour yesterday and a week
 * ago, weekday and season. Weights are pooled over three neighbouring origin hours.
 *
 * Invariants: a `forecast_history` only ever sees hours in order through forecast_push, so a
 * forecast can not know the future; fit and use compute their inputs by the same function. The
 * hour whose value was pushed last is known; the first forecast hour is the one after it. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "carbon/intensity.h"

enum {
    FORECAST_HOURS = 24,
    FORECAST_HOURS_MAX = 48, /* the second day feeds on the first day's forecast */
    FORECAST_FEATURES = 36,
    FORECAST_DAYS_MIN = 28, /* of history; with less, forecasts are the plain profile */
};

typedef struct {
    int64_t next_s; /* start of the hour that is expected next; UTC, a multiple of 3600 */
    size_t pushed;
    double profile[3][24]; /* by hour of day, log */
    double week[168];      /* log values of the last week, by hour of week (pushed order) */
    double departure[24];  /* of the last 24 hours from the 14-day profile, newest first at head */
    size_t head;
    size_t filled; /* hours for which no value was known */
} forecast_history;

typedef struct {
    double w[24][FORECAST_HOURS][FORECAST_FEATURES];
    size_t days;     /* of training */
    double mape_pct; /* mean absolute error over the training hours, all horizons, % */
} forecast_model;

typedef enum { FORECAST_MODEL, FORECAST_PROFILE, FORECAST_NONE } forecast_method;
const char *forecast_method_name(forecast_method m); /* "regression", "profile", "none" */

/* first_s: start of the first hour that will be pushed. */
void forecast_history_init(forecast_history *h, int64_t first_s);
/* The value of the hour next_s, NaN if nobody knows it (the profile stands in, and is counted). */
void forecast_push(forecast_history *h, double g_per_kwh);

/* Trains on n consecutive hours from first_s; NaN are gaps. About 0.3 s and 8 MB of the arena
 * (give a scratch arena) for a year. ERR_INVALID with fewer than FORECAST_DAYS_MIN days. */
bool forecast_fit(const double *g_per_kwh, size_t n, int64_t first_s, arena *scratch,
                  forecast_model *ret, err *e);

/* The next `hours` (at most FORECAST_HOURS_MAX) hours, from h->next_s, in g/kWh. A NULL model,
 * or less than two weeks of history, gives the profile; less than a day gives NaN. */
forecast_method forecast_make(const forecast_model *m, const forecast_history *h, size_t hours,
                              double *ret_g_per_kwh);

/* Puts a provider's own forecast over ours where it has one (published knows the weather). Hours
 * that it does not reach keep ours, scaled so that the two agree on average where they overlap: a
 * planner compares hours, and two levels would look like a step in the grid. Returns how many were
 * taken. */
size_t forecast_prefer(const intensity_series *published, int64_t from_s, size_t hours,
                       double *g_per_kwh);
