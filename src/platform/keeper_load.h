/* What work the node had by the hour of its day, and so what is to be expected: CPU time of what
 * can't wait, and deferred work that will be accepted (sched/load.h; pace.h plans by it).
 *
 *     usage records, less what of it was deferred ─▶ reserved
 *     what workers say they accepted              ─▶ arrivals
 *
 * An hour is a 24th of the node's day (grid.h, day_s). After a restart the usage records tell what
 * was; of deferred work accepted within the last day only what has run already.
 *
 * Invariants: only hours that are over and whose records are there (LOAD_LAG_S) count; an hour that
 * nobody knows anything of is the mean of those that are known. */
#pragma once

#include "sched/load.h"
#include "sched/pace.h"
#include "store/usage_file.h"

enum { LOAD_DAYS = 7, LOAD_LAG_S = 12, LOAD_HELD = 32 };

typedef struct {
    usage_file *file;
    int64_t hour_s;
    double j_per_cpu_s; /* of the deferred work in the records; set by whoever knows; 0: unknown */
    load_history reserved, arrivals;
    bool is_known;
    int64_t next; /* hours since 1970, of hour_s each, that the histories have come to */
    struct {
        int64_t hour;
        double ran, came;
    } seen[LOAD_HELD];             /* by hour % LOAD_HELD: what workers said */
    double slack_s, slack_error_s; /* running means: how long accepted work may wait */
} keeper_load;

void keeper_load_init(keeper_load *l, usage_file *f, int64_t hour_s);
/* Deferred work of so many CPU-seconds has run, or was accepted and may wait that long. */
void keeper_load_ran(keeper_load *l, int64_t now_s, double cpu_s);
void keeper_load_came(keeper_load *l, int64_t now_s, double cpu_s, double slack_s);
/* CPU-seconds in each of the PACE_SLOTS slots from the present one on. */
void keeper_load_forecast(keeper_load *l, int64_t now_s, int64_t slot_s, double *ret_reserved,
                          double *ret_arrivals);
/* What most of the work that comes may wait at least. */
int64_t keeper_load_slack_s(const keeper_load *l);
