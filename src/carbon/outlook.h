/* The coming hours of a grid: our own forecast from history, with a provider's put over it where
 * there is one, as `ebb carbon forecast`, the keeper and planners show and use it. */
#pragma once

#include "base/buf.h"
#include "carbon/forecast.h"

typedef struct {
    forecast_method method;
    int64_t start_s; /* of the first hour */
    size_t hours;
    double g_per_kwh[FORECAST_HOURS_MAX];
    size_t history_hours, filled_hours, published_hours;
    double fit_error_pct; /* 0: nothing was fitted */
} outlook;

/* From the first `known` hours of an hourly series; published may be NULL. Scratch memory of the
 * fit is freed. With less than a day of history it has only the hours that `published` knows;
 * ERR_INVALID: none. */
bool outlook_make(const intensity_series *history, size_t known, const intensity_series *published,
                  size_t hours, arena *a, outlook *ret, err *e);
/* The Carbon Aware SDK's shape (forecastData), so that its users can read it. */
bool outlook_json(const outlook *o, buf *out);
/* A line an hour, the cleanest one marked. */
bool outlook_text(const outlook *o, buf *out);

/* The grid at one moment: value, quality, kind, basis. */
bool intensity_now_json(int64_t t_s, double g_per_kwh, intensity_quality q, intensity_kind kind,
                        intensity_basis basis, buf *out);
