/* Carbon intensity of a grid over time, in g CO2e/kWh.
 * A *reading* is what a source said: points in any order, with gaps, some of them forecasts. A
 * *series* is a reading on a regular grid, oldest first, where NaN means "nobody said".
 * Invariants of a series: g_per_kwh[i] covers [start_s + i*step_s, start_s + (i+1)*step_s); every
 * value is NaN or within [0, INTENSITY_MAX]; start_s is a multiple of step_s.
 * Average and marginal intensity are different quantities; the kind travels with the numbers into
 * every report (SCI 1.1, "Carbon intensity": either may be used, which one must be said). */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

/* The dirtiest grids are near 1,500; the yearly table has 1,476. Beyond: nonsense. */
#define INTENSITY_MAX 3000.0
/* A point's reach is never stretched over more than this, whatever the source's step. */
#define INTENSITY_SPAN_S_MAX 7200
/* A hundred years of hours, or ten of 5-minute points. */
#define INTENSITY_POINTS_MAX 1100000u

typedef enum { INTENSITY_AVERAGE, INTENSITY_MARGINAL } intensity_kind;
typedef enum { INTENSITY_BASIS_UNKNOWN, INTENSITY_LIFECYCLE, INTENSITY_DIRECT } intensity_basis;

typedef struct {
    int64_t from_s;
    int32_t span_s; /* 0: the source did not say; the reading's usual step is used */
    double g_per_kwh;
    bool forecast;  /* published before the fact */
    bool estimated; /* measured late, modelled for now */
} intensity_point;

typedef struct {
    intensity_point *points;
    size_t points_count;
    size_t rejected; /* nulls, negatives, NaN, beyond INTENSITY_MAX, unreadable times */
    intensity_kind kind;
    intensity_basis basis;
    str zone; /* as the source names it; empty if it does not */
} intensity_reading;

typedef struct {
    int64_t start_s;
    int32_t step_s;
    size_t n;
    double *g_per_kwh;
    size_t known; /* values that are not NaN */
} intensity_series;

const char *intensity_kind_name(intensity_kind k);   /* "average", "marginal" */
const char *intensity_basis_name(intensity_basis b); /* "unknown", "lifecycle", "direct" */

/* The most frequent distance between neighbouring points, 3600 if there are fewer than two. */
int32_t intensity_step(const intensity_reading *r);

/* Time-weighted means of a reading in steps of step_s (a divisor or a multiple of an hour).
 * Points may be unsorted (they are sorted in place) and doubled: of two for the same moment a
 * measurement beats a forecast, else the later in the input wins. `forecasts` says whether points
 * that are forecasts take part. A step less than half covered is NaN. Gaps stay gaps. */
bool intensity_series_from(intensity_reading *r, int32_t step_s, bool forecasts, arena *a,
                           intensity_series *ret, err *e);

/* NaN outside the series. */
double intensity_at(const intensity_series *s, int64_t t_s);

/* What filled a value that is used in a computation; the worse, the later. */
typedef enum {
    INTENSITY_MEASURED,
    INTENSITY_FORECAST, /* a source's forecast, or our own */
    INTENSITY_FILLED,   /* the same hour of an earlier day */
    INTENSITY_YEARLY,   /* the zone's yearly mean */
    INTENSITY_ASSUMED,  /* the world's mean: nothing is known of the zone */
} intensity_quality;
const char *intensity_quality_name(intensity_quality q);

/* The stated fall-back, in this order: the series at t; the newest known value of the same time
 * of day within the seven days before; the yearly mean (NaN: unknown); the world's. */
double intensity_or(const intensity_series *s, int64_t t_s, double yearly, intensity_quality *ret);

/* Ember's world mean for 2024 as in co2.js 0.19.0; the last resort, always labelled ASSUMED. */
#define INTENSITY_WORLD 472.94
