/* The simulator on traces so small that every step can be reckoned by hand: a node of two CPUs of
 * which half may be planned (300 of 600 CPU-seconds a step, 3,600 an hour), prices in one step. */
#include "unit.h"

#include "near.h"
#include "sched/sim.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { DAYS = 4 };
#define T0      INT64_C(345600) /* a Monday */
#define HOUR(h) (T0 + (h) * INT64_C(3600))

static arena a;
static err e;
static double grid[DAYS * 24];
static const bool deferrable[3] = {false, true, true};

static sim_config config(const sim_event *events, size_t n, size_t days)
{
    sim_config c = sim_config_default();
    for (size_t h = 0; h < DAYS * 24; h++)
        grid[h] = 100;
    c.load = SIM_TRACE;
    c.events = events;
    c.events_count = n;
    c.trace_apps = 3;
    c.trace_deferrable = deferrable;
    c.intensity = grid;
    c.intensity_hours = days * 24;
    c.intensity_start_s = c.start_s = T0;
    c.hours = days * 24;
    c.cpus = 2;
    c.target = 0.5;
    c.price_steps = 1;
    c.power = (power_model){10, 5, 2, 1.5, POWER_MODEL, 0.35, 0};
    c.embodied_g_per_s = 0.001;
    return c;
}

static sim_result run(const sim_config *c, sim_policy p)
{
    sim_result r;
    arena_reset(&a);
    if (!sim_run(c, p, &a, &r, &e))
        fail_msg("%s", e.text);
    return r;
}

/* Deferred CPUs of an hour's steps. */
static void ran(const sim_result *r, size_t hour, const double want[SIM_STEPS])
{
    for (size_t i = 0; i < SIM_STEPS; i++) {
        double got = r->steps[hour * SIM_STEPS + i].deferred;
        if (!(fabs(got - want[i]) <= 1e-9))
            fail_msg("hour %zu, step %zu: %.12g, not %.12g", hour, i, got, want[i]);
    }
}

/* All that ran is in the hours that were looked at, and in the books of those. */
static void books(const sim_config *c, const sim_result *r, double deferred_cpu_s)
{
    double sum = 0, cpu_s = 0, g = 0;
    for (size_t h = 0; h < c->hours; h++) {
        double used = 0;
        for (size_t i = 0; i < SIM_STEPS; i++) {
            const sim_step *s = &r->steps[h * SIM_STEPS + i];
            used += (s->reserved + s->deferred) * 300;
            sum += s->deferred * 300;
        }
        cpu_s += used;
        g += (10 * 3600 + 5 * used) * 1.5 / 3.6e6 * grid[h];
    }
    assert_near(sum, deferred_cpu_s, 1e-6);
    assert_near(r->cpu_s, cpu_s, 1e-6);
    assert_near(r->node_j, (10 * 3600.0 * (double)c->hours + 5 * cpu_s) * 1.5, 1e-3);
    assert_near(r->operational_g, g, 1e-6);
    assert_near(r->embodied_g, 3.6 * (double)c->hours, 1e-9);
    assert_true(r->conservation < 1e-12);
}

static const double nothing[SIM_STEPS] = {0};

/* At once is as soon as the whole node has room. What is of no app, or of no time, is nothing. */
static void at_once(void **state)
{
    static const sim_event events[] = {{T0 - 300, 0, 9, 900},       {T0, 0, 3, 60},
                                       {T0 + 100, 1, 2, 400},       {T0 + 299, 2, 1, 200},
                                       {T0 + 299, 3, 9, 900},       {HOUR(23) + 3300, 0, 1, 600},
                                       {HOUR(23) + 3599, 1, 1, 30}, {HOUR(24), 0, 9, 900}};
    sim_config c = config(events, 8, 1);
    sim_result r = run(&c, SIM_NOW);
    assert_int_equal(r.policy, SIM_NOW);
    assert_int_equal(r.apps, 3);
    assert_int_equal(r.calls, 8);
    assert_near(r.deferrable_cpu_s, 630, 1e-9);
    assert_near(r.left_cpu_s, 30, 1e-9); /* the last step was full */
    assert_near(r.late_cpu_s, 0, 0);
    assert_int_equal(r.steps_count, 288);
    assert_near(r.steps[0].received, 2.2, 1e-12);
    assert_near(r.steps[0].reserved, 0.2, 1e-12);
    ran(&r, 0, (double[SIM_STEPS]){1.8, 0.2});
    for (size_t h = 1; h < 24; h++)
        ran(&r, h, nothing);
    assert_near(r.steps[287].received, 2.1, 1e-12);
    books(&c, &r, 600);
    /* Idle is shared by what the hours needed of the node's 7,200 CPU-seconds, both hours alike up
     * to 600, and one of them for 60 more. */
    assert_near(r.idle_unallocated_j, 15 * 86400 * (1 - 660.0 / 7200), 1e-6);
    assert_int_equal(r.saved.calls, 1);
    assert_near(r.saved.delay_s, 0, 0);
    assert_near(r.saved.baseline_g, 600 * 7.5 / 3.6e6 * 100, 1e-12);
    assert_near(saving_g(&r.saved), 0, 0);
    assert_true(isinf(r.received_ratio) && isinf(r.executed_ratio));
    assert_near(r.peak_cpus, 2, 1e-12);
    assert_near(r.utilisation_pct, 100 * 1260 / (2 * 86400.0), 1e-9);
    assert_near(r.mape_pct, 0, 0);
    assert_true(!r.pairs_count && !r.peaks.judged);
}

/* Hour 5 is the cleanest, and all fits there: half a node's worth a step. */
static void moves_to_the_cleanest(void **state)
{
    static const sim_event events[] = {{T0, 1, 1, 400}, {T0 + 10, 2, 1, 200}};
    sim_config c = config(events, 2, 1);
    grid[5] = 50;
    grid[7] = 60;
    sim_result r = run(&c, SIM_CLAIRVOYANT);
    ran(&r, 5, (double[SIM_STEPS]){1, 1});
    books(&c, &r, 600);
    assert_int_equal(r.saved.calls, 1);
    assert_near(r.saved.delay_s, 5 * 3600, 0);
    assert_near(r.saved.baseline_g, 0.125, 1e-12);
    assert_near(r.saved.actual_g, 0.0625, 1e-12);
    /* Without books there are figures all the same, but none of the node. */
    c.ledger = false;
    r = run(&c, SIM_CLAIRVOYANT);
    assert_near(saving_pct(&r.saved), 50, 1e-9);
    assert_near(r.node_j, 0, 0);
    assert_near(r.cpu_s, 600, 1e-9);
}

/* More than the cleanest hour takes, of which reserved work that nobody foresaw uses a part: what
 * is left goes to the next best. The first day is empty, so that no more is expected. */
static void budget_of_an_hour(void **state)
{
    static const bool other[3] = {true, false, true};
    for (uint32_t swap = 0; swap < 2; swap++) { /* whichever of the apps it is that may wait */
        sim_event events[14] = {{HOUR(24), 1 - swap, 1, 3600}, {HOUR(24), 2, 1, 1800}};
        for (int i = 0; i < 12; i++)
            events[2 + i] = (sim_event){HOUR(29) + 300 * i, swap, 1, 120};
        sim_config c = config(events, 14, 2);
        c.trace_deferrable = swap ? other : deferrable;
        grid[29] = 50;
        grid[31] = 60;
        sim_result r = run(&c, SIM_CLAIRVOYANT);
        ran(&r, 29, (double[SIM_STEPS]){.6, .6, .6, .6, .6, .6, .6, .6, .6, .6, .6, .6});
        ran(&r, 31, (double[SIM_STEPS]){1, 1, 1, 1, 1, 1, 1, 1, 1, 1, .8, 0});
        books(&c, &r, 5400);
        assert_near(r.late_cpu_s + r.left_cpu_s, 0, 1e-9);
        assert_int_equal(r.saved.calls, 2);
        assert_near(r.saved.delay_s, (5 + 7) * 3600, 0);
        assert_near(r.saved.baseline_g, 1.125, 1e-12);
        assert_near(r.saved.actual_g, 0.225 + 0.405, 1e-12);
        assert_near(r.peak_cpus, 1, 1e-12);
    }
}

/* A step in which reserved work takes more than its share halves the pace; it comes back by a
 * tenth a step, from the budget that is left for the steps that are left. */
static void pace_falls_and_returns(void **state)
{
    static const sim_event events[] = {{HOUR(24), 1, 1, 9000}, {HOUR(29), 0, 1, 420}};
    sim_config c = config(events, 2, 2);
    double want[SIM_STEPS] = {0}, s = 0.5, left = 3600;
    grid[29] = 50;
    grid[31] = 60;
    grid[33] = 61;
    sim_result r = run(&c, SIM_CLAIRVOYANT);
    for (size_t i = 1; i < SIM_STEPS; i++) {
        double now = fmin(left / (double)(SIM_STEPS - i) * s, 300);
        want[i] = now / 300;
        left -= now;
        s = fmin(s + fmin(0.1, 0.5 - now / 600), 1);
    }
    ran(&r, 29, want);
    assert_true(left > 100);
    books(&c, &r, 9000);
}

/* Work whose last slot this is runs by the whole node if it must; what does not fit even there is
 * late, still runs first, and is billed to the hour in which it ran. */
static void due_and_late(void **state)
{
    static const sim_event due[] = {{HOUR(24), 1, 1, 6000}},
                           late[] = {{HOUR(24), 1, 1, 6000}, {HOUR(24), 2, 1, 3000}};
    sim_config c = config(due, 1, 2);
    c.slack_hours = 1;
    grid[25] = 80;
    sim_result r = run(&c, SIM_CLAIRVOYANT);
    static const double x = 500 / 300.0;
    ran(&r, 24, (double[SIM_STEPS]){x, x, x, x, x, x, x, x, x, x, x, x});
    books(&c, &r, 6000);
    assert_near(r.late_cpu_s, 0, 0);
    c.events = late;
    c.events_count = 2;
    r = run(&c, SIM_CLAIRVOYANT);
    ran(&r, 24, (double[SIM_STEPS]){2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2});
    ran(&r, 25, (double[SIM_STEPS]){1, 1, 1, 1, 1, 1});
    books(&c, &r, 9000);
    assert_near(r.late_cpu_s, 1800, 1e-6);
    assert_near(r.left_cpu_s, 0, 1e-6);
    assert_int_equal(r.saved.calls, 2);
    assert_near(r.saved.delay_s, 3600, 0);
    assert_near(r.saved.baseline_g, 1.875, 1e-9);
    assert_near(r.saved.actual_g, 1.8, 1e-9);
}

/* Where reserved work leaves next to nothing of the node, what is due gets just that. */
static void due_on_a_full_node(void **state)
{
    sim_event events[13] = {{HOUR(24), 1, 1, 600}};
    for (int i = 0; i < 12; i++)
        events[1 + i] = (sim_event){HOUR(24) + 300 * i, 0, 1, 599.5};
    sim_config c = config(events, 13, 2);
    c.slack_hours = 1;
    sim_result r = run(&c, SIM_CLAIRVOYANT);
    static const double x = 0.5 / 300;
    ran(&r, 24, (double[SIM_STEPS]){x, x, x, x, x, x, x, x, x, x, x, x});
    ran(&r, 25, (double[SIM_STEPS]){1, 0.98});
    assert_near(r.late_cpu_s, 594, 1e-9);
    assert_near(r.peak_cpus, 2, 1e-12);
    books(&c, &r, 600);
}

/* What a policy knows: yesterday's hours of the same time; the profile of what it was told; and
 * with nothing at all the world's mean for every hour, which is at once. */
static void what_policies_know(void **state)
{
    static const sim_event events[] = {{HOUR(48), 1, 1, 600}};
    static double told[DAYS * 24];
    sim_config c = config(events, 1, 3);
    c.start_s = HOUR(48);
    c.hours = 24;
    c.cpus = INFINITY;
    grid[27] = 50; /* yesterday's third hour; the day before it was the fourth */
    grid[4] = 40;
    grid[53] = 20; /* today's is the fifth */
    static const struct {
        sim_policy p;
        size_t hour;
    } runs[] = {{SIM_YESTERDAY, 3}, {SIM_CLAIRVOYANT, 5}, {SIM_NOW, 0}};
    for (size_t i = 0; i < 3; i++) {
        sim_result r = run(&c, runs[i].p);
        ran(&r, runs[i].hour, (double[SIM_STEPS]){2});
        assert_near(r.cpu_s, 600, 1e-9);
        assert_near(r.utilisation_pct, 0, 0); /* of no capacity */
        assert_near(r.saved.actual_g, 600 * 7.5 / 3.6e6 * grid[48 + runs[i].hour], 1e-12);
    }
    /* The profile of two days alike, and another one that it is told instead. */
    grid[3] = grid[27] = 50;
    grid[4] = 100;
    sim_result r = run(&c, SIM_PROFILE);
    ran(&r, 3, (double[SIM_STEPS]){2});
    for (size_t h = 0; h < DAYS * 24; h++)
        told[h] = h % 24 == 8 ? 30 : 100;
    c.told = told;
    r = run(&c, SIM_OURS);
    ran(&r, 8, (double[SIM_STEPS]){2});
    assert_near(r.saved.actual_g, 600 * 7.5 / 3.6e6 * 100, 1e-12); /* the bill is the grid's */
    r = run(&c, SIM_YESTERDAY);
    ran(&r, 8, (double[SIM_STEPS]){2});
    /* Holes: the hour before says what nobody knows, but never what would be cleaner. */
    c.told = NULL;
    grid[53] = 100;
    for (size_t h = 24; h < 48; h++)
        grid[h] = h == 24 + 6 ? 50 : (double)NAN;
    r = run(&c, SIM_YESTERDAY); /* the world's 472.94 before that, 50 from then on */
    ran(&r, 6, (double[SIM_STEPS]){2});
    for (size_t h = 24; h < 48; h++)
        grid[h] = (double)NAN;
    r = run(&c, SIM_YESTERDAY);
    ran(&r, 0, (double[SIM_STEPS]){2});
}

/* The yardstick: a CPU-second an hour, accepted on the hour. */
static void uniform(void **state)
{
    sim_config c = config(NULL, 0, 1);
    c.load = SIM_UNIFORM;
    c.slack_hours = 6;
    c.cpus = INFINITY;
    grid[5] = 50;
    for (int finite = 0; finite < 2; finite++) {
        sim_result r = run(&c, SIM_CLAIRVOYANT);
        assert_int_equal(r.calls, 24);
        assert_int_equal(r.apps, 1);
        for (size_t h = 0; h < 24; h++) {
            ran(&r, h, (double[SIM_STEPS]){(h < 5 ? 0 : h == 5 ? 6 : 1) / 300.0});
            assert_near(r.steps[h * SIM_STEPS].received, 1 / 300.0, 1e-15);
            assert_near(r.steps[h * SIM_STEPS + 1].received, 0, 0);
        }
        assert_near(r.deferrable_cpu_s, 24, 0);
        c.cpus = 2;
    }
    sim_result r = run(&c, SIM_NOW);
    for (size_t h = 0; h < 24; h++)
        ran(&r, h, (double[SIM_STEPS]){1 / 300.0});
}

/* XFaaS's day is a cosine of the given ratio about its mean, with its peak at 14:00. */
static void xfaas(void **state)
{
    sim_config c = config(NULL, 0, 2);
    c.load = SIM_XFAAS;
    c.cpus = INFINITY;
    c.mean_cpus = 10;
    c.xfaas_ratio = 3;
    c.xfaas_deferrable = 0.25;
    sim_result r = run(&c, SIM_NOW);
    double sum = 0, mean[24] = {0}, top = 0, low = INFINITY;
    for (size_t i = 0; i < r.steps_count; i++) {
        double level = 10 + 5 * cos(((double)(i % 288) / 12 - 14) * M_PI / 12);
        assert_near(r.steps[i].received, level, 1e-9);
        assert_near(r.steps[i].reserved, 0.75 * level, 1e-9);
        assert_near(r.steps[i].deferred, 0.25 * level, 1e-9);
        mean[i / 12 % 24] += level / 24;
        sum += level * 300;
    }
    for (size_t h = 0; h < 24; h++) {
        top = fmax(top, mean[h]);
        low = fmin(low, mean[h]);
    }
    assert_int_equal(r.apps, 2);
    assert_near(r.cpu_s, sum, 1e-3);
    assert_near(r.deferrable_cpu_s, sum / 4, 1e-3);
    assert_near(r.received_ratio, top / low, 1e-9);
    assert_near(r.executed_ratio, top / low, 1e-9);
    assert_near(r.peak_cpus, 15, 1e-9);
    books(&c, &r, sum / 4);
}

/* Ratios are the median day's; days that only warm up count in none of the figures. */
static void median_of_days(void **state)
{
    static const double base[3] = {360, 36, 36}, ratio[3] = {2, 9, 4};
    sim_event events[72];
    for (int h = 0; h < 72; h++)
        events[h] = (sim_event){HOUR(h), 0, 1,
                                base[h / 24] * (h % 24 == (h < 48 ? 0 : 23) ? ratio[h / 24] : 1)};
    sim_config c = config(events, 72, 3);
    c.cpus = 8;
    sim_result r = run(&c, SIM_OURS);
    assert_near(r.received_ratio, 4, 1e-9);
    assert_near(r.executed_ratio, 4, 1e-9);
    assert_near(r.peak_cpus, 2.4, 1e-9);
    double busy[3];
    for (int d = 0; d < 3; d++)
        busy[d] = base[d] * (23 + ratio[d]);
    assert_near(r.utilisation_pct, 100 * (busy[0] + busy[1] + busy[2]) / (3 * 86400.0) / 8, 1e-9);
    c.warm_hours = 24;
    r = run(&c, SIM_OURS);
    assert_near(r.received_ratio, 9, 1e-9);
    assert_near(r.executed_ratio, 9, 1e-9);
    assert_near(r.peak_cpus, 36 * 9 / 300.0, 1e-9);
    assert_near(r.utilisation_pct, 100 * (busy[1] + busy[2]) / (2 * 86400.0) / 8, 1e-9);
    assert_near(r.cpu_s, busy[0] + busy[1] + busy[2], 1e-6); /* but in the sums */
}

/* The population's run against the population and the predictor by themselves. */
static void population_and_peaks(void **state)
{
    static double use[40], g[12 * 24];
    arena own;
    population p;
    peak *peaks;
    sim_config c = config(NULL, 0, 1);
    for (size_t h = 0; h < 12 * 24; h++)
        g[h] = 100;
    c.load = SIM_POPULATION;
    c.population = (population_config){
        .seed = 3, .apps = 40, .correlation = 1, .speedup = 100, .mean_cpus = 4};
    c.intensity = g;
    c.intensity_hours = c.hours = 10 * 24;
    c.cpus = INFINITY;
    c.ledger = false;
    sim_result r = run(&c, SIM_NOW);
    arena_init(&own, 4 << 20);
    assert_true(population_new(&c.population, &own, &p, &e));
    assert_true(peak_new(&own, 40, &peaks, &e));
    for (size_t i = 0; i < 40; i++)
        if (!p.app[i].deferrable)
            peak_app(peaks, i, p.app[i].limit_cpus);
    uint64_t calls = 0;
    for (size_t s = 0; s < r.steps_count; s++) {
        double reserved = 0, deferred = 0;
        for (size_t i = 0; i < 40; i++) {
            uint64_t n;
            double cpu_s = population_use(&p, i, T0 + 300 * (int64_t)s, 300, &n);
            calls += n;
            use[i] = p.app[i].deferrable ? 0 : cpu_s / 300;
            reserved += use[i];
            deferred += p.app[i].deferrable ? cpu_s / 300 : 0;
        }
        peak_push(peaks, use);
        assert_near(r.steps[s].received, reserved + deferred, 1e-9);
        assert_near(r.steps[s].reserved, reserved, 1e-9);
        assert_near(r.steps[s].deferred, deferred, 1e-9);
    }
    assert_int_equal(r.calls, calls);
    assert_int_equal(r.apps, 40);
    peak_state want = peak_now(peaks, 0.999);
    assert_true(want.judged > 100);
    assert_memory_equal(&r.peaks, &want, sizeof want);
    for (int m = 0; m < PEAK_METHODS; m++)
        assert_near(r.predicted[m], peak_predict(peaks, (peak_method)m, 0.999), 0);
    peak_pair pairs[5] = {{0}};
    assert_int_equal(r.pairs_count, peak_pairs(peaks, 0.9, pairs, 5));
    assert_true(r.pairs_count > 0);
    assert_memory_equal(r.pairs, pairs, sizeof pairs);
    arena_fini(&own);
    c.peaks = false;
    r = run(&c, SIM_NOW);
    assert_true(!r.peaks.judged && r.predicted[PEAK_LIMIT] == 0);
}

/* A line an hour: its start, and what the next 48 are said to be. */
static void forecasts(void **state)
{
    buf b;
    sim_config c = config(NULL, 0, 3);
    buf_init(&b, 1 << 20);
    for (size_t h = 0; h < DAYS * 24; h++)
        grid[h] = 100 + (double)(h % 24);
    c.start_s = HOUR(48);
    c.hours = 24;
    c.forecasts = &b;
    run(&c, SIM_YESTERDAY); /* only ours are wanted */
    assert_int_equal(b.n, 0);
    run(&c, SIM_OURS);
    buf_put_u8(&b, 0);
    char *line = (char *)b.p;
    for (int h = 0; h < 24; h++) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        *end = 0;
        assert_true(strtoll(line, &line, 10) == HOUR(48 + h));
        for (int k = 0; k < 48; k++) {
            assert_int_equal(*line, ',');
            assert_near(strtod(line + 1, &line), 100 + (h + k) % 24, 1e-3);
        }
        assert_true(line == end);
        line = end + 1;
    }
    assert_int_equal(*line, 0);
    buf_fini(&b);
}

typedef struct {
    const char *what;
    int64_t start_s, intensity_start_s;
    size_t hours, warm_hours, slack_hours;
    double target, cpus;
    size_t intensity_hours;
} asked;

static bool ask(const asked *q, err *ret)
{
    sim_config c = config(NULL, 0, 4);
    sim_result r;
    c.start_s = q->start_s;
    c.intensity_start_s = q->intensity_start_s;
    c.hours = q->hours;
    c.warm_hours = q->warm_hours;
    c.slack_hours = q->slack_hours;
    c.target = q->target;
    c.cpus = q->cpus;
    c.intensity_hours = q->intensity_hours;
    arena_reset(&a);
    return sim_run(&c, SIM_NOW, &a, &r, ret);
}

static void configurations(void **state)
{
    static const asked good[] = {
        {"plain", T0, T0, 24, 0, 24, 0.5, 2, 24},
        {"the longest slack", T0, T0, 24, 0, 48, 0.5, 2, 24},
        {"the shortest slack", T0, T0, 24, 0, 1, 0.5, 2, 24},
        {"the whole node", T0, T0, 24, 0, 24, 1, 2, 24},
        {"all but a day to warm up", T0, T0, 48, 24, 24, 1, 2, 48},
        {"no capacity at all", T0, T0, 24, 0, 24, 0.5, INFINITY, 24},
    };
    static const asked bad[] = {
        {"no midnight", T0 + 3600, T0, 24, 0, 24, 0.5, 2, 96},
        {"no full hour", T0, T0 - 60, 24, 0, 24, 0.5, 2, 96},
        {"intensity begins later", T0, T0 + 3600, 24, 0, 24, 0.5, 2, 96},
        {"no whole days", T0, T0, 25, 0, 24, 0.5, 2, 96},
        {"all warm up", T0, T0, 24, 24, 24, 0.5, 2, 96},
        {"no time", T0, T0, 0, 0, 24, 0.5, 2, 96},
        {"no slack", T0, T0, 24, 0, 0, 0.5, 2, 96},
        {"too much slack", T0, T0, 24, 0, 49, 0.5, 2, 96},
        {"no target", T0, T0, 24, 0, 24, 0, 2, 96},
        {"more than all", T0, T0, 24, 0, 24, 1.01, 2, 96},
        {"no CPU", T0, T0, 24, 0, 24, 0.5, 0, 96},
    };
    static const asked ends = {"ends early", T0, T0, 48, 0, 24, 0.5, 2, 47};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!ask(&good[i], &e))
            fail_msg("%s: %s", good[i].what, e.text);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (ask(&bad[i], &e))
            fail_msg("%s was taken", bad[i].what);
        assert_int_equal(e.code, ERR_INVALID);
        assert_string_equal(e.text, "simulation: whole days, a slack of 1 to 48 hours, a target "
                                    "between 0 and 1, and intensity history before the start");
    }
    assert_false(ask(&ends, &e));
    assert_string_equal(e.text, "intensity data ends before the simulation does");
    sim_config c = config(NULL, 0, 1);
    sim_result r;
    c.load = SIM_POPULATION;
    c.population.apps = 0;
    assert_false(sim_run(&c, SIM_NOW, &a, &r, &e));
    assert_non_null(strstr(e.text, "population: "));
    c.load = SIM_TRACE; /* a plan of more price steps than there are */
    c.price_steps = 17;
    assert_false(sim_run(&c, SIM_NOW, &a, &r, &e));
    assert_int_equal(e.code, ERR_LIMIT);
}

/* Whichever allocation fails, the run says so; nothing is half done. */
static void no_memory(void **state)
{
    sim_config c = config(NULL, 0, 1);
    sim_result r = {.calls = 77};
    c.load = SIM_POPULATION;
    c.population.apps = 3;
    size_t failed = 0;
    for (;; failed++) {
        arena_reset(&a);
        alloc_fail_after(failed + 1);
        bool good = sim_run(&c, SIM_NOW, &a, &r, &e);
        alloc_fail_after(0);
        if (good)
            break;
        assert_int_equal(e.code, ERR_NO_MEMORY);
        assert_int_equal(r.calls, 77);
    }
    assert_true(failed > PLAN_SLOTS_MAX + 10);
}

static void shares_and_order(void **state)
{
    sim_result best = {.saved = {.baseline_g = 100, .actual_g = 60}},
               other = {.saved = {.baseline_g = 100, .actual_g = 90}};
    assert_near(sim_share_pct(&other, &best), 25, 1e-12);
    best.saved.actual_g = 100; /* nothing to have a share of */
    assert_true(isnan(sim_share_pct(&other, &best)));
    /* Fisher and Yates, from the last day on; hours stay in their day, and a part of a day last. */
    static const int order[6] = {2, 5, 1, 0, 3, 4};
    double h[6 * 24 + 5];
    for (size_t i = 0; i < 6 * 24 + 5; i++)
        h[i] = (double)i;
    sim_shuffle_days(h, 6 * 24 + 5, 3);
    for (int d = 0; d < 6; d++)
        for (int i = 0; i < 24; i++)
            assert_near(h[d * 24 + i], order[d] * 24 + i, 0);
    for (int i = 0; i < 5; i++)
        assert_near(h[144 + i], 144 + i, 0);
}

static void defaults(void **state)
{
    sim_config c = sim_config_default();
    assert_true(c.cpus == 16 && c.slack_hours == 24 && c.ledger && c.peaks);
    assert_near(c.xfaas_ratio, 4.3, 0);
    assert_near(c.xfaas_deferrable, 0.6, 0);
    assert_near(c.mean_cpus, 10, 0);
    assert_near(c.population.mean_cpus, 4, 0);
    assert_near(c.population.cpus_per_app_max, 0.4, 0);
    assert_true(c.population.apps == 1000 && c.population.seed == 1 && c.population.speedup == 100);
    assert_near(c.target, PLAN_TARGET, 0);
    assert_near(c.headroom_weight, PLAN_HEADROOM_WEIGHT, 0);
    assert_int_equal(c.price_steps, PLAN_STEPS);
    /* A sixth of a server of 1,215 kg over four years. */
    assert_near(c.embodied_g_per_s, 1215e3 / 6 / (4 * 365 * 86400.0), 1e-9);
    assert_near(c.power.idle_w, 0.65 * 16, 1e-12);
}

static int teardown(void **state)
{
    arena_fini(&a);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_once),
        cmocka_unit_test(moves_to_the_cleanest),
        cmocka_unit_test(budget_of_an_hour),
        cmocka_unit_test(pace_falls_and_returns),
        cmocka_unit_test(due_and_late),
        cmocka_unit_test(due_on_a_full_node),
        cmocka_unit_test(what_policies_know),
        cmocka_unit_test(uniform),
        cmocka_unit_test(xfaas),
        cmocka_unit_test(median_of_days),
        cmocka_unit_test(population_and_peaks),
        cmocka_unit_test(forecasts),
        cmocka_unit_test(configurations),
        cmocka_unit_test(no_memory),
        cmocka_unit_test(shares_and_order),
        cmocka_unit_test(defaults),
    };
    arena_init(&a, 64 << 20);
    return cmocka_run_group_tests(tests, NULL, teardown);
}
