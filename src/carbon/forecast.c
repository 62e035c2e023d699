/* See forecast.h. Why this and not something grander: a linear model on departures from a running
 * profile is 20,000 multiplications a forecast, is fitted in a third of a second, and keeps 93 %
 * of what a clairvoyant saves where the sun makes the shape and three quarters where the wind
 * does. Hyper-parameters (the penalties and half-lives below) were chosen once for all zones;
 * neighbouring choices differ by less than a point (docs/carbon.md).
 *
 * The penalty of ridge regression grows with the age of a departure: the last hour may speak with
 * its own voice, the shape of the day before only together. Without that, a forecast made when the
 * present is known does not join up with the present.
 *
 * The log keeps errors proportional and forecasts positive. Its mean is biased low by half the
 * error's variance; a planner only compares hours, where that cancels. */
#include "carbon/forecast.h"

#include <math.h>

enum { F = FORECAST_FEATURES, PAIRS = F * (F + 1) / 2, WARM_HOURS = 24 * 14 };

static const double half_life_days[3] = {3, 14, 60};
#define PENALTY        40.0 /* of standardised departures, per unit of target variance */
#define PENALTY_NEWEST 0.02 /* share of it on the newest hour, growing to 1 over some hours */
#define PENALTY_AGE_H  3.0
#define FLOOR_G        1.0 /* Iceland is 28; below this a logarithm exaggerates */

const char *forecast_method_name(forecast_method m)
{
    return m == FORECAST_MODEL ? "regression" : m == FORECAST_PROFILE ? "profile" : "none";
}

void forecast_history_init(forecast_history *h, int64_t first_s)
{
    *h = (forecast_history){.next_s = first_s};
}

static size_t hour_of(int64_t t_s) { return (size_t)(((t_s / 3600) % 24 + 24) % 24); }

static void push_log(forecast_history *h, double x)
{
    size_t o = hour_of(h->next_s);
    bool first_day = h->pushed < 24;
    if (first_day)
        for (size_t i = 0; i < 3; i++)
            h->profile[i][o] = x;
    h->head = (h->head + 23) % 24;
    h->departure[h->head] = x - h->profile[1][o];
    if (!first_day)
        for (size_t i = 0; i < 3; i++) {
            double keep = exp2(-1 / half_life_days[i]);
            h->profile[i][o] = keep * h->profile[i][o] + (1 - keep) * x;
        }
    h->week[h->pushed % 168] = x;
    h->pushed++;
    h->next_s += 3600;
}

void forecast_push(forecast_history *h, double g_per_kwh)
{
    if (g_per_kwh >= 0) {
        push_log(h, log(g_per_kwh > FLOOR_G ? g_per_kwh : FLOOR_G));
        return;
    }
    h->filled++;
    double x = h->pushed >= 24 ? h->profile[1][hour_of(h->next_s)]
               : h->pushed > 0 ? h->week[(h->pushed - 1) % 168]
                               : log(400.0);
    push_log(h, x);
}

/* Inputs for the hour next_s + ahead; ahead < 24, at least a week pushed. */
static void features(const forecast_history *h, size_t ahead, double *x)
{
    int64_t target = h->next_s + (int64_t)ahead * 3600;
    size_t o = hour_of(target), n = 0;
    double base = h->profile[1][o];
    for (size_t i = 0; i < 24; i++)
        x[n++] = h->departure[(h->head + i) % 24];
    x[n++] = h->profile[0][o] - base;
    x[n++] = h->profile[2][o] - base;
    x[n++] = h->week[(h->pushed + ahead - 24) % 168] - base;
    x[n++] = h->week[(h->pushed + ahead) % 168] - base; /* pushed - 168 + ahead */
    double year = (double)target / 86400 / 365.25 * 2 * M_PI;
    x[n++] = sin(year);
    x[n++] = cos(year);
    int64_t day = target / 86400 + 3, day_last = (h->next_s - 3600) / 86400 + 3; /* 0: Monday */
    x[n++] = day % 7 == 5;
    x[n++] = day % 7 == 6;
    x[n++] = day % 7 == 0;
    x[n++] = day_last % 7 == 5;
    x[n++] = day_last % 7 == 6;
    x[n++] = 1;
}

/* What one (origin, horizon) has seen: the upper triangle of X'X, X'y, and y's moments. */
typedef struct {
    double xx[PAIRS], xy[F];
    double y, yy;
    double n;
} sums;

static void sums_add(sums *s, const double *x, double y)
{
    size_t k = 0;
    for (size_t i = 0; i < F; i++) {
        double xi = x[i];
        for (size_t j = i; j < F; j++)
            s->xx[k++] += xi * x[j];
        s->xy[i] += xi * y;
    }
    s->y += y;
    s->yy += y * y;
    s->n++;
}

/* Cholesky of a symmetric positive matrix, in place (lower), then two triangular solves. The
 * ridge makes every pivot positive; a pivot that is not means overflow, and gives zero weights. */
static void solve(double a[F][F], double *b)
{
    for (size_t j = 0; j < F; j++) {
        for (size_t k = 0; k < j; k++)
            a[j][j] -= a[j][k] * a[j][k];
        if (!(a[j][j] > 0)) {
            for (size_t i = 0; i < F; i++)
                b[i] = 0;
            return;
        }
        a[j][j] = sqrt(a[j][j]);
        for (size_t i = j + 1; i < F; i++) {
            for (size_t k = 0; k < j; k++)
                a[i][j] -= a[i][k] * a[j][k];
            a[i][j] /= a[j][j];
        }
    }
    for (size_t i = 0; i < F; i++) {
        for (size_t k = 0; k < i; k++)
            b[i] -= a[i][k] * b[k];
        b[i] /= a[i][i];
    }
    for (size_t i = F; i-- > 0;) {
        for (size_t k = i + 1; k < F; k++)
            b[i] -= a[k][i] * b[k];
        b[i] /= a[i][i];
    }
}

static void weights(const sums *all, size_t origin, size_t ahead, double *ret_w)
{
    double a[F][F] = {{0}}, b[F] = {0}, n = 0, y = 0, yy = 0;
    for (size_t p = 0; p < 3; p++) {
        const sums *s = &all[((origin + 23 + p) % 24) * FORECAST_HOURS + ahead];
        size_t k = 0;
        for (size_t i = 0; i < F; i++) {
            for (size_t j = i; j < F; j++)
                a[j][i] += s->xx[k++];
            b[i] += s->xy[i];
        }
        n += s->n;
        y += s->y;
        yy += s->yy;
    }
    double variance = n > 0 ? yy / n - (y / n) * (y / n) : 0;
    double lambda = PENALTY * (variance > 1e-9 ? variance : 1e-9);
    for (size_t i = 0; i < F; i++) {
        double share =
            i < 24 ? PENALTY_NEWEST + (1 - PENALTY_NEWEST) * (1 - exp(-(double)i / PENALTY_AGE_H))
                   : 1;
        a[i][i] += i == F - 1 ? 1e-6 : lambda * share;
    }
    solve(a, b);
    for (size_t i = 0; i < F; i++)
        ret_w[i] = b[i];
}

static double predict(const double *w, const double *x)
{
    double v = 0;
    for (size_t i = 0; i < F; i++)
        v += w[i] * x[i];
    return v;
}

bool forecast_fit(const double *g_per_kwh, size_t n, int64_t first_s, arena *scratch,
                  forecast_model *ret, err *e)
{
    if (n < FORECAST_DAYS_MIN * 24)
        return err_set(e, ERR_INVALID, "%zu hours of history; a fit needs %d days", n,
                       FORECAST_DAYS_MIN);
    sums *all = ARENA_ARRAY(scratch, sums, 24 * FORECAST_HOURS);
    if (!all)
        return err_no_memory(e);
    forecast_history h;
    double x[F];
    forecast_history_init(&h, first_s);
    for (size_t t = 0; t < n; t++) {
        for (size_t k = 0; t >= WARM_HOURS && k < FORECAST_HOURS && t + k < n; k++) {
            if (!(g_per_kwh[t + k] >= 0))
                continue;
            double g = g_per_kwh[t + k] > FLOOR_G ? g_per_kwh[t + k] : FLOOR_G;
            features(&h, k, x);
            sums_add(&all[hour_of(h.next_s) * FORECAST_HOURS + k], x,
                     log(g) - h.profile[1][hour_of(h.next_s + (int64_t)k * 3600)]);
        }
        forecast_push(&h, g_per_kwh[t]);
    }
    for (size_t o = 0; o < 24; o++)
        for (size_t k = 0; k < FORECAST_HOURS; k++)
            weights(all, o, k, ret->w[o][k]);
    ret->days = n / 24;
    double wrong = 0, count = 0, out[FORECAST_HOURS];
    forecast_history_init(&h, first_s);
    for (size_t t = 0; t < n; t++) {
        if (t >= WARM_HOURS && t % 7 == 0) { /* every 7th hour meets every hour of day */
            forecast_make(ret, &h, FORECAST_HOURS, out);
            for (size_t k = 0; k < FORECAST_HOURS && t + k < n; k++)
                if (g_per_kwh[t + k] > 0) {
                    wrong += fabs(out[k] / g_per_kwh[t + k] - 1);
                    count++;
                }
        }
        forecast_push(&h, g_per_kwh[t]);
    }
    ret->mape_pct = count > 0 ? 100 * wrong / count : 0;
    return true;
}

forecast_method forecast_make(const forecast_model *m, const forecast_history *h, size_t hours,
                              double *ret_g_per_kwh)
{
    if (hours > FORECAST_HOURS_MAX)
        hours = FORECAST_HOURS_MAX;
    if (h->pushed < 24) {
        for (size_t k = 0; k < hours; k++)
            ret_g_per_kwh[k] = (double)NAN;
        return FORECAST_NONE;
    }
    size_t first = hours < FORECAST_HOURS ? hours : FORECAST_HOURS;
    bool fitted = m && h->pushed >= WARM_HOURS;
    double x[F], day[FORECAST_HOURS];
    size_t o = hour_of(h->next_s);
    for (size_t k = 0; k < first; k++) {
        day[k] = h->profile[1][(o + k) % 24];
        if (fitted) {
            features(h, k, x);
            day[k] += predict(m->w[o][k], x);
        }
        ret_g_per_kwh[k] = exp(day[k]);
    }
    if (hours > FORECAST_HOURS) {
        forecast_history next = *h;
        for (size_t k = 0; k < FORECAST_HOURS; k++)
            push_log(&next, day[k]);
        for (size_t k = 0; k + FORECAST_HOURS < hours; k++) {
            double v = next.profile[1][(o + k) % 24];
            if (fitted) {
                features(&next, k, x);
                v += predict(m->w[o][k], x);
            }
            ret_g_per_kwh[k + FORECAST_HOURS] = exp(v);
        }
    }
    return fitted ? FORECAST_MODEL : FORECAST_PROFILE;
}

size_t forecast_prefer(const intensity_series *published, int64_t from_s, size_t hours,
                       double *g_per_kwh)
{
    double theirs = 0, ours = 0;
    size_t taken = 0;
    for (size_t k = 0; k < hours; k++) {
        double v = intensity_at(published, from_s + (int64_t)k * 3600);
        if (isnan(v))
            continue;
        taken++;
        if (g_per_kwh[k] > 0) { /* NaN where we had no forecast */
            theirs += v;
            ours += g_per_kwh[k];
        }
    }
    double scale = ours > 0 && theirs > 0 ? theirs / ours : 1;
    for (size_t k = 0; taken && k < hours; k++) {
        double v = intensity_at(published, from_s + (int64_t)k * 3600);
        g_per_kwh[k] = isnan(v) ? g_per_kwh[k] * scale : v;
    }
    return taken;
}
