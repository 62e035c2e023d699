/* What a dashboard shows, as JSON: how it is now, how the last day was, what comes. Made anew from
 * the usage records at each question, like everything the keeper answers; nothing is kept ready but
 * the forecast, for some minutes. docs/dashboard.md says what each member means.
 *
 * A tenant is shown calls, bytes and wall time of its own apps, which it could count itself, and
 * nothing of the node, of power, or of CPU by the second (carbon/visible.h says why). */
#pragma once

#include "platform/keeper_impl.h"

#include <jansson.h>

typedef struct {
    keeper *k;
    arena *a;
    bool is_tenant;
    const keeper_app *mine; /* of a tenant */
    size_t mine_n;
    buf *out;
} view;

/* The last minute, and the last ten of them by 10-second windows that are over. */
bool view_now(const view *v, err *e);
/* The last 24 hours, or since this node began to keep records, by five minutes: traffic, use of the
 * CPUs, the bill of each app, how much is here and how much more fits. */
bool view_day(const view *v, err *e);
/* The grid: the last day as measured, and the forecast. */
bool view_outlook(const view *v, err *e);

/* keeper_admin.c: the grid in [from_s, to_s), hourly, and what reports call it. */
typedef struct {
    intensity_reading reading;
    intensity_series series;
    str zone, source;
} grid_view;
bool grid_view_make(keeper *k, arena *a, int64_t from_s, int64_t to_s, bool forecasts,
                    grid_view *ret, err *e);
/* The grid at this moment; where nothing is known of it, what stands for it (intensity_or). */
typedef struct {
    int64_t t_s;
    double g_per_kwh;
    intensity_quality quality;
    intensity_kind kind;
    intensity_basis basis;
} grid_moment;
bool grid_now(keeper *k, arena *a, grid_moment *ret, err *e);
/* What the node could do. */
double node_cpus(const keeper *k);
/* The report of [from_s, to_s) from the usage records of that span, to which it puts what prices
 * them. */
bool report_make(keeper *k, arena *a, int64_t from_s, int64_t to_s, bill_records *records,
                 carbon_report *ret, err *e);

/* keeper_node.c: the processes of the node, with CPU time and memory. *ret_bytes: resident in all.
 */
json_t *processes_json(const book *b, uint64_t *ret_bytes);
/* That sum alone. */
uint64_t processes_bytes(const book *b);
