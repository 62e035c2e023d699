/* See keeper_load.h. A load_history (sched/load.h) counts in real hours; here hour n of the node's
 * day stands for its hour n, whatever its length. */
#include "platform/keeper_load.h"

#include "base/log.h"
#include "carbon/when.h"

#include <math.h>

enum { HOURS_MAX = LOAD_DAYS * 24 };
#define SLACK_SHARE 0.05 /* of the newest in the running means */

void keeper_load_init(keeper_load *l, usage_file *f, int64_t hour_s)
{
    *l = (keeper_load){.file = f, .hour_s = hour_s};
}

static size_t seen_at(keeper_load *l, int64_t now_s)
{
    int64_t hour = now_s / l->hour_s;
    size_t i = (size_t)(hour % LOAD_HELD);
    if (l->seen[i].hour != hour) {
        l->seen[i].hour = hour;
        l->seen[i].ran = l->seen[i].came = 0;
    }
    return i;
}

void keeper_load_ran(keeper_load *l, int64_t now_s, double cpu_s)
{
    l->seen[seen_at(l, now_s)].ran += cpu_s;
}

void keeper_load_came(keeper_load *l, int64_t now_s, double cpu_s, double slack_s)
{
    l->seen[seen_at(l, now_s)].came += cpu_s;
    if (l->slack_s <= 0)
        l->slack_s = slack_s;
    double off = slack_s - l->slack_s;
    l->slack_s += SLACK_SHARE * off;
    l->slack_error_s += SLACK_SHARE * (fabs(off) - l->slack_error_s);
}

int64_t keeper_load_slack_s(const keeper_load *l)
{
    return (int64_t)fmax(l->slack_s - 2 * l->slack_error_s, 0);
}

/* The histories begin with the first whole hour of the records, or from now on; LOAD_DAYS back at
 * most. Of the hour in which a node began nothing is known. */
static void begin(keeper_load *l, int64_t now_s, int64_t end)
{
    int64_t oldest = usage_file_oldest(l->file);
    l->next = (oldest && oldest < now_s ? oldest : now_s) / l->hour_s + 1;
    if (l->next < end - HOURS_MAX)
        l->next = end - HOURS_MAX;
    load_init(&l->reserved, l->next * WHEN_HOUR_S);
    load_init(&l->arrivals, l->next * WHEN_HOUR_S);
    l->is_known = true;
}

/* Hours up to `end` that are over. */
static bool push(keeper_load *l, int64_t end, err *e)
{
    double per_j = l->j_per_cpu_s > 0 ? 1 / l->j_per_cpu_s : 0;
    static double used[HOURS_MAX], ran[HOURS_MAX], came[HOURS_MAX];
    size_t n = (size_t)(end - l->next);
    memset(ran, 0, sizeof ran);
    memset(came, 0, sizeof came);
    if (!usage_file_loads(l->file, l->next * l->hour_s, n, l->hour_s, used, e) ||
        (l->hour_s == WHEN_HOUR_S && l->j_per_cpu_s > 0 &&
         !usage_file_later(l->file, l->next * l->hour_s, n, ran, came, e)))
        return false;
    for (size_t i = 0; i < n; i++, l->next++) {
        size_t k = (size_t)(l->next % LOAD_HELD);
        bool is_seen = l->seen[k].hour == l->next;
        double later = fmax(ran[i] * per_j, is_seen ? l->seen[k].ran : 0);
        load_push(&l->reserved, fmax(used[i] - later, 0));
        load_push(&l->arrivals, fmax(came[i] * per_j, is_seen ? l->seen[k].came : 0));
    }
    return true;
}

static void look(keeper_load *l, int64_t now_s)
{
    int64_t end = (now_s - LOAD_LAG_S) / l->hour_s;
    err e;
    /* The clock was set, by more than an hour: everything is read anew. */
    if (!l->is_known || end < l->next - 2 || end > l->next + HOURS_MAX)
        begin(l, now_s, end);
    if (end > l->next && !push(l, end, &e))
        log_msg(LOG_WARN, "the load of past hours: %s", e.text);
}

static void by_slot(const keeper_load *l, const load_history *h, int64_t from_s, int64_t slot_s,
                    double *ret)
{
    double hours[PACE_SLOTS + 2];
    load_forecast(h, PACE_SLOTS + 2, hours);
    for (size_t k = 0; k < PACE_SLOTS; k++) {
        int64_t i = (from_s + (int64_t)k * slot_s) / l->hour_s - l->next;
        double v = hours[i < 0 ? 0 : i < PACE_SLOTS + 2 ? i : PACE_SLOTS + 1];
        ret[k] = v > 0 ? v * (double)slot_s / (double)l->hour_s : 0;
    }
}

void keeper_load_forecast(keeper_load *l, int64_t now_s, int64_t slot_s, double *ret_reserved,
                          double *ret_arrivals)
{
    int64_t from_s = now_s - now_s % slot_s;
    look(l, now_s);
    by_slot(l, &l->reserved, from_s, slot_s, ret_reserved);
    by_slot(l, &l->arrivals, from_s, slot_s, ret_arrivals);
}
