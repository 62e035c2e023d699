/* See intensity.h. Sources differ in step (5, 15, 30, 60 minutes), in order and in care; all of
 * that ends here: the rest of the room sees a regular grid with NaN where nobody knew. A value is
 * never invented in a series; filling is a separate, labelled act (intensity_or). */
#include "carbon/intensity.h"

#include <math.h>
#include <stdlib.h>

const char *intensity_kind_name(intensity_kind k)
{
    return k == INTENSITY_MARGINAL ? "marginal" : "average";
}

const char *intensity_basis_name(intensity_basis b)
{
    return b == INTENSITY_LIFECYCLE ? "lifecycle" : b == INTENSITY_DIRECT ? "direct" : "unknown";
}

const char *intensity_quality_name(intensity_quality q)
{
    static const char *const names[] = {"measured", "forecast", "filled", "yearly", "assumed"};
    return (unsigned)q < sizeof names / sizeof *names ? names[q] : "assumed";
}

/* qsort is not stable, and "the later in the input wins" needs it to be: each record carries the
 * place it had. */
typedef struct {
    intensity_point point;
    size_t place;
} placed;

static int placed_cmp(const void *a, const void *b)
{
    const placed *x = a, *y = b;
    if (x->point.from_s != y->point.from_s)
        return x->point.from_s < y->point.from_s ? -1 : 1;
    if (x->point.forecast != y->point.forecast)
        return x->point.forecast ? -1 : 1; /* the measurement last: it wins */
    return x->place < y->place ? -1 : 1;
}

static bool reading_sort(intensity_reading *r, arena *a, err *e)
{
    bool sorted = true;
    for (size_t i = 1; i < r->points_count && sorted; i++)
        sorted = r->points[i - 1].from_s < r->points[i].from_s;
    if (sorted)
        return true;
    placed *p = ARENA_ARRAY(a, placed, r->points_count);
    if (!p)
        return err_no_memory(e);
    for (size_t i = 0; i < r->points_count; i++)
        p[i] = (placed){r->points[i], i};
    qsort(p, r->points_count, sizeof *p, placed_cmp);
    size_t n = 0;
    for (size_t i = 0; i < r->points_count; i++) {
        if (n && r->points[n - 1].from_s == p[i].point.from_s)
            n--;
        r->points[n++] = p[i].point;
    }
    r->points_count = n;
    return true;
}

int32_t intensity_step(const intensity_reading *r)
{
    static const int32_t steps[] = {300, 600, 900, 1800, 3600, 7200};
    size_t votes[sizeof steps / sizeof *steps] = {0}, best = 4;
    for (size_t i = 1; i < r->points_count; i++)
        for (size_t k = 0; k < sizeof steps / sizeof *steps; k++)
            votes[k] += r->points[i].from_s - r->points[i - 1].from_s == steps[k];
    for (size_t k = 0; k < sizeof steps / sizeof *steps; k++)
        if (votes[k] > votes[best])
            best = k;
    return steps[best];
}

static int64_t floor_to(int64_t t, int64_t step) { return t - ((t % step) + step) % step; }

bool intensity_series_from(intensity_reading *r, int32_t step_s, bool forecasts, arena *a,
                           intensity_series *ret, err *e)
{
    if (step_s <= 0 || (3600 % step_s != 0 && step_s % 3600 != 0))
        return err_set(e, ERR_INVALID, "a step of %d s does not fit into hours", (int)step_s);
    if (!reading_sort(r, a, e))
        return false;
    int32_t usual = intensity_step(r);
    int64_t from = INT64_MAX, to = INT64_MIN;
    for (size_t i = 0; i < r->points_count; i++) {
        const intensity_point *p = &r->points[i];
        if (p->forecast && !forecasts)
            continue;
        from = p->from_s < from ? p->from_s : from;
        to = p->from_s + INTENSITY_SPAN_S_MAX > to ? p->from_s + INTENSITY_SPAN_S_MAX : to;
    }
    if (from == INT64_MAX)
        return err_set(e, ERR_NOT_FOUND, "no usable intensity among %zu points (%zu rejected)",
                       r->points_count, r->rejected);
    from = floor_to(from, step_s);
    if ((to - from) / step_s > (int64_t)INTENSITY_POINTS_MAX)
        return err_set(e, ERR_LIMIT, "intensity data spans more than %u steps of %d s",
                       INTENSITY_POINTS_MAX, (int)step_s);
    size_t n = (size_t)((to - from + step_s - 1) / step_s);
    double *sum = ARENA_ARRAY(a, double, n), *weight = ARENA_ARRAY(a, double, n);
    if (!sum || !weight)
        return err_no_memory(e);
    for (size_t i = 0; i < r->points_count; i++) {
        const intensity_point *p = &r->points[i];
        if (p->forecast && !forecasts)
            continue;
        int64_t span = p->span_s > 0 ? p->span_s : usual;
        if (span > INTENSITY_SPAN_S_MAX)
            span = INTENSITY_SPAN_S_MAX;
        /* Points do not overlap: one ends where the next begins. */
        for (size_t j = i + 1; j < r->points_count; j++)
            if (forecasts || !r->points[j].forecast) {
                if (r->points[j].from_s < p->from_s + span)
                    span = r->points[j].from_s - p->from_s;
                break;
            }
        for (int64_t t = p->from_s; t < p->from_s + span;) {
            int64_t next = floor_to(t, step_s) + step_s;
            int64_t end = next < p->from_s + span ? next : p->from_s + span;
            size_t k = (size_t)((t - from) / step_s);
            sum[k] += p->g_per_kwh * (double)(end - t);
            weight[k] += (double)(end - t);
            t = end;
        }
    }
    intensity_series s = {from, step_s, 0, sum, 0};
    for (size_t k = 0; k < n; k++) {
        bool known = weight[k] * 2 >= step_s;
        sum[k] = known ? sum[k] / weight[k] : (double)NAN;
        if (known) {
            s.n = k + 1;
            s.known++;
        }
    }
    *ret = s;
    return true;
}

double intensity_at(const intensity_series *s, int64_t t_s)
{
    if (!s || t_s < s->start_s)
        return (double)NAN;
    uint64_t k = (uint64_t)(t_s - s->start_s) / (uint64_t)s->step_s;
    return k < s->n ? s->g_per_kwh[k] : (double)NAN;
}

double intensity_or(const intensity_series *s, int64_t t_s, double yearly, intensity_quality *ret)
{
    double v = intensity_at(s, t_s);
    *ret = INTENSITY_MEASURED;
    for (int day = 1; day <= 7 && isnan(v); day++) {
        v = intensity_at(s, t_s - day * (int64_t)86400);
        *ret = INTENSITY_FILLED;
    }
    if (!isnan(v))
        return v;
    *ret = isnan(yearly) ? INTENSITY_ASSUMED : INTENSITY_YEARLY;
    return isnan(yearly) ? INTENSITY_WORLD : yearly;
}
