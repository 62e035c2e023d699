/* See load.h. Half-lives of about two weeks for the day's and four for the week's shape; an hour of
 * the week that was seen at least twice outweighs the hour of the day. Load needs no more: the
 * utilisation controller (flow.h) corrects within the minute what the forecast misses. */
#include "sched/load.h"

#include <math.h>

void load_init(load_history *l, int64_t first_s) { *l = (load_history){.next_h = first_s / 3600}; }

static double at(const load_history *l, int64_t hour)
{
    size_t w = (size_t)(hour % 168), d = (size_t)(hour % 24);
    if (l->weeks[w] >= 2)
        return l->week[w];
    if (l->days[d])
        return l->day[d];
    double sum = 0, n = 0;
    for (size_t i = 0; i < 24; i++)
        if (l->days[i]) {
            sum += l->day[i];
            n++;
        }
    return n > 0 ? sum / n : 0;
}

static void fold(double *mean, uint32_t *n, double value, double keep)
{
    double k = *n == 0 ? 0 : fmin(keep, (double)*n / ((double)*n + 1));
    *mean = k * *mean + (1 - k) * value;
    ++*n;
}

void load_push(load_history *l, double value)
{
    size_t w = (size_t)(l->next_h % 168), d = (size_t)(l->next_h % 24);
    l->mean_error = 0.99 * l->mean_error + 0.01 * fabs(at(l, l->next_h) - value);
    fold(&l->week[w], &l->weeks[w], value, 0.85);
    fold(&l->day[d], &l->days[d], value, 0.95);
    l->next_h++;
}

void load_forecast(const load_history *l, size_t n, double *ret)
{
    for (size_t k = 0; k < n; k++)
        ret[k] = at(l, l->next_h + (int64_t)k);
}
