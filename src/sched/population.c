/* See population.h. Each app has its own generator, seeded by its number, so that a longer list
 * starts with the shorter one and apps can be simulated in any order. Bursty apps are on for a
 * tenth to a half of the time, in spells of minutes to hours, which gives inter-arrival times a
 * coefficient of variation above 1 as the study found for 40 % of apps. */
#include "sched/population.h"

#include <math.h>
#include <stdlib.h>

#define CALLS_MU    3.69
#define CALLS_SIGMA 4.08
#define CALLS_MAX   1e8
#define EXEC_MU     (-0.38)
#define EXEC_SIGMA  2.36
#define WEEKEND     0.8
/* Mean of the day's and week's factors: 0.5 + 0.5 * 1, times 5/7 + 2/7 * WEEKEND. */
#define WEEK_MEAN ((5 + 2 * WEEKEND) / 7)

static double burr(double u) { return 107.083 * pow(pow(1 - u, -1 / 0.221) - 1, 1 / 11.652); }

static void draw(population_app *a, const population_config *c, uint64_t number)
{
    rng *r = &a->random;
    rng_init(r, c->seed * 0x9e3779b97f4a7c15u + number);
    double calls = fmin(rng_lognormal(r, CALLS_MU, CALLS_SIGMA), CALLS_MAX);
    double u = rng_uniform(r), kind = rng_uniform(r), trigger = rng_uniform(r);
    a->calls_per_s = calls / 86400;
    a->call_cpu_s = fmin(rng_lognormal(r, EXEC_MU, EXEC_SIGMA), 600) / c->speedup;
    a->memory_bytes = fmin(burr(u), 4096) * 1e6;
    a->arrivals = kind < 0.4 ? APP_BURSTY : kind < 0.56 ? APP_TIMER : APP_POISSON;
    a->deferrable = a->arrivals == APP_TIMER || trigger > 0.65;
    a->peak_hour = fmod(14 + 24 * (1 - c->correlation) * (rng_uniform(r) - 0.5), 24);
    a->on_share = 0.1 + 0.4 * rng_uniform(r);
    a->left_s = 600 + 7200 * rng_uniform(r);
    a->on = rng_uniform(r) < a->on_share;
    a->level_hour = -1;
    a->peak_cos = cos(a->peak_hour * M_PI / 12);
    a->peak_sin = sin(a->peak_hour * M_PI / 12);
}

bool population_new(const population_config *c, arena *a, population *ret, err *e)
{
    if (!c->apps || c->apps > 1000000 || !(c->speedup > 0) || !(c->correlation >= 0) ||
        c->correlation > 1)
        return err_set(e, ERR_INVALID,
                       "population: 1 to 1000000 apps, a positive speed-up and a "
                       "correlation between 0 and 1");
    population p = {.app = ARENA_ARRAY(a, population_app, c->apps), .n = c->apps};
    if (!p.app)
        return err_no_memory(e);
    double sum = 0;
    for (int h = 0; h < 24; h++) { /* the middle of the hour */
        p.hour_cos[h] = cos((h + 0.5) * M_PI / 12);
        p.hour_sin[h] = sin((h + 0.5) * M_PI / 12);
    }
    for (size_t i = 0; i < p.n; i++) {
        population_app *x = &p.app[i];
        draw(x, c, i);
        if (c->cpus_per_app_max > 0 && x->calls_per_s * x->call_cpu_s > c->cpus_per_app_max)
            x->call_cpu_s = c->cpus_per_app_max / x->calls_per_s;
        sum += x->calls_per_s * x->call_cpu_s;
    }
    for (size_t i = 0; i < p.n; i++) {
        population_app *x = &p.app[i];
        if (c->mean_cpus > 0)
            x->call_cpu_s *= c->mean_cpus / sum;
        /* People declare for the peak they can imagine: ten times the mean, at least a tenth of a
         * CPU. A call needs one whole CPU while it runs, however short. */
        x->limit_cpus = fmax(0.1, 10 * x->calls_per_s * x->call_cpu_s);
    }
    *ret = p;
    return true;
}

/* Once an hour: a year of a thousand apps has a hundred million steps. */
static void level_set(const population *p, population_app *a, int64_t t_s)
{
    size_t hour = (size_t)(t_s % 86400 / 3600);
    double sun = 1 + p->hour_cos[hour] * a->peak_cos + p->hour_sin[hour] * a->peak_sin;
    bool weekend = (t_s / 86400 + 3) % 7 >= 5;
    a->level = (0.5 + 0.5 * sun) * (weekend ? WEEKEND : 1) / WEEK_MEAN;
    a->level_hour = t_s / 3600;
}

/* Poisson. Most apps are nearly always silent, and 1 - exp(-mean) < mean: one comparison settles
 * that without an exponential. */
static uint64_t calls_drawn(rng *r, double mean)
{
    if (mean >= 1)
        return rng_poisson(r, mean);
    double u = rng_uniform(r);
    if (u >= mean)
        return 0;
    double none = exp(-mean);
    return u >= 1 - none ? 0 : rng_poisson_some(r, mean, none);
}

/* How much of the step a bursty app is on; moves its state along. */
static double on_time(population_app *a, double step_s)
{
    double on = 0;
    if (!a->on && a->left_s > step_s) {
        a->left_s -= step_s;
        return 0;
    }
    while (step_s > 0) {
        double part = fmin(a->left_s, step_s);
        if (a->on)
            on += part;
        a->left_s -= part;
        step_s -= part;
        if (a->left_s <= 0) {
            a->on = !a->on;
            double mean = a->on ? 3600 : 3600 * (1 - a->on_share) / a->on_share;
            a->left_s = 1 + mean * rng_exponential(&a->random);
        }
    }
    return on / a->on_share;
}

double population_use(population *p, size_t app, int64_t t_s, double step_s, uint64_t *ret_calls)
{
    population_app *a = &p->app[app];
    uint64_t calls;
    if (a->arrivals == APP_TIMER) {
        double from = (double)t_s * a->calls_per_s;
        calls = (uint64_t)(floor(from + step_s * a->calls_per_s) - floor(from));
    } else {
        if (a->level_hour != t_s / 3600)
            level_set(p, a, t_s);
        double seconds = a->arrivals == APP_BURSTY ? on_time(a, step_s) : step_s;
        calls = calls_drawn(&a->random, a->calls_per_s * seconds * a->level);
    }
    *ret_calls = calls;
    if (!calls)
        return 0;
    /* A call's time varies by its own log-normal of deviation 0.5; the sum's spread is a normal's.
     */
    double spread = 1 + 0.53 / sqrt((double)calls) * rng_normal(&a->random);
    return (double)calls * a->call_cpu_s * fmax(spread, 0.2);
}

static int down(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

population_check population_checked(const population *p, arena *scratch)
{
    population_check c = {0};
    double *rate = ARENA_ARRAY(scratch, double, p->n), sum = 0, top = 0;
    if (!rate)
        return c;
    for (size_t i = 0; i < p->n; i++) {
        rate[i] = p->app[i].calls_per_s;
        sum += rate[i];
        c.hourly_pct += rate[i] <= 1.0 / 3600;
        c.minutely_pct += rate[i] <= 1.0 / 60;
        c.deferrable_pct += p->app[i].deferrable;
    }
    qsort(rate, p->n, sizeof *rate, down);
    for (size_t i = 0; i < (size_t)(0.186 * (double)p->n); i++)
        top += rate[i];
    double per = 100 / (double)p->n;
    c.hourly_pct *= per;
    c.minutely_pct *= per;
    c.deferrable_pct *= per;
    c.top_pct = 100 * top / sum;
    return c;
}
