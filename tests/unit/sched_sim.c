/* The simulator: the population's acceptance checks, conservation through it, the order of the
 * policies, determinism, XFaaS's day, and that the planner's constants are the simulator's. */
#include "unit.h"

#include "near.h"
#include "sched/against.h"
#include "sched/day.h"
#include "sched/sim.h"

#include <string.h>

static arena a;
static err e;
enum { FIT = 90, DAYS = 30, HOURS = (FIT + DAYS + 3) * 24 };
static double grid[HOURS];

static void make_grid(void)
{
    rng r;
    double wind = 0;
    rng_init(&r, 4);
    for (int t = 0; t < HOURS; t++) {
        wind = 0.97 * wind + sqrt(1 - 0.97 * 0.97) * rng_normal(&r);
        grid[t] = 250 * exp(0.25 * cos((t % 24 - 20) * M_PI / 12) + 0.3 * wind);
    }
}

static sim_config config(sim_load load)
{
    sim_config c = sim_config_default();
    make_grid();
    c.load = load;
    c.intensity = grid;
    c.intensity_hours = HOURS;
    c.intensity_start_s = 1640995200;
    c.fit_hours = FIT * 24;
    c.start_s = c.intensity_start_s + FIT * 86400;
    c.hours = DAYS * 24;
    c.population.apps = 120;
    return c;
}

static sim_result run(const sim_config *c, sim_policy p)
{
    sim_result r;
    if (!sim_run(c, p, &a, &r, &e))
        fail_msg("%s", e.text);
    return r;
}

static int setup(void **state)
{
    arena_reset(&a);
    return 0;
}

static void acceptance(void **state)
{
    population_config pc = {.seed = 12, .apps = 20000, .speedup = 100};
    population p;
    assert_true(population_new(&pc, &a, &p, &e));
    population_check k = population_checked(&p, &a);
    assert_near(k.hourly_pct, 45, 1.5);
    assert_near(k.minutely_pct, 81, 1.5);
    assert_near(k.top_pct, 99.7, 0.3);
    assert_near(k.deferrable_pct, 45, 2);
    int below_second = 0, below_minute = 0, bursty = 0, timers = 0;
    for (size_t i = 0; i < p.n; i++) {
        below_second += p.app[i].call_cpu_s * 100 < 1;
        below_minute += p.app[i].call_cpu_s * 100 < 60;
        bursty += p.app[i].arrivals == APP_BURSTY;
        timers += p.app[i].arrivals == APP_TIMER;
    }
    assert_near(below_second / 200.0, 56, 2); /* log-normal(-0.38, 2.36): 50 % is the median 0.68 */
    assert_near(below_minute / 200.0, 97, 1.5);
    assert_near(bursty / 200.0, 40, 1.5);
    assert_near(timers / 200.0, 16, 1.5);
    /* What is drawn is what comes: calls of a week against the declared means. */
    double want = 0, got = 0;
    for (size_t i = 0; i < 300; i++) {
        if (p.app[i].calls_per_s > 1)
            continue;
        want += p.app[i].calls_per_s * 7 * 86400;
        for (int t = 0; t < 7 * 288; t++) {
            uint64_t calls;
            population_use(&p, i, 4 * 86400 + t * 300, 300, &calls);
            got += (double)calls;
        }
    }
    assert_near(got / want, 1, 0.1);
    /* Bursty apps are off for whole spans; the others of that rate never are. */
    for (size_t i = 0, seen = 0; seen < 40; i++) {
        population_app *x = &p.app[i];
        if (x->calls_per_s < 20 || x->calls_per_s > 1000)
            continue;
        seen++;
        int quiet = 0;
        for (int t = 0; t < 2000; t++) {
            uint64_t calls;
            population_use(&p, i, 20 * 86400 + t * 10, 10, &calls);
            quiet += calls == 0;
        }
        if (x->arrivals == APP_BURSTY)
            assert_true(quiet > 20);
        else
            assert_int_equal(quiet, 0);
    }
    population_app few[10] = {0};
    for (int i = 0; i < 10; i++)
        few[i].calls_per_s = i + 1;
    population ten = {.app = few, .n = 10};
    k = population_checked(&ten, &a);
    assert_near(k.top_pct, 1000 / 55.0, 1e-9); /* the busiest one of 55 calls a second */
    population again;
    pc.apps = 10; /* the shorter list is the start of the longer */
    assert_true(population_new(&pc, &a, &again, &e));
    assert_near(again.app[9].calls_per_s, p.app[9].calls_per_s, 0);
}

static void policies_in_order(void **state)
{
    sim_config c = config(SIM_UNIFORM);
    c.cpus = INFINITY;
    sim_result now = run(&c, SIM_NOW), yesterday = run(&c, SIM_YESTERDAY);
    sim_result ours = run(&c, SIM_OURS), best = run(&c, SIM_CLAIRVOYANT);
    assert_near(saving_g(&now.saved), 0, 1e-9);
    assert_near(now.saved.delay_s, 0, 0);
    double share = sim_share_pct(&ours, &best);
    print_message("yesterday %.1f, ours %.1f %% of %.1f %%\n", sim_share_pct(&yesterday, &best),
                  share, saving_pct(&best.saved));
    assert_true(share > sim_share_pct(&yesterday, &best) + 3);
    assert_true(share < 100);
    assert_true(ours.mape_pct > 1 && ours.mape_pct < 50);
    assert_near(yesterday.mape_pct, 0, 0); /* fits nothing */
    assert_near(ours.late_cpu_s, 0, 1e-9);
    assert_near(ours.deferrable_cpu_s, DAYS * 24, 1e-6);
    assert_near(ours.cpu_s + ours.left_cpu_s, ours.deferrable_cpu_s, 1e-6);
    /* The bound, computed here from nothing but the grid. */
    double bound = 0, all = 0;
    size_t first = FIT * 24;
    for (size_t t = first; t + 24 <= first + DAYS * 24; t++) {
        double low = INFINITY;
        for (size_t k = 0; k < 24; k++)
            low = fmin(low, grid[t + k]);
        bound += grid[t] - low;
        all += grid[t];
    }
    assert_near(saving_pct(&best.saved), 100 * bound / all, 0.7); /* the last day is still open */
}

/* The grid turns dirty in the very hour in which the plan wants to run, and nothing announced it.
 * Up to and including that hour, whose intensity is not known before it is over, nothing may
 * differ; a day later everything does. */
static void future_is_unknown(void **state)
{
    sim_config c = config(SIM_UNIFORM);
    c.cpus = INFINITY;
    c.hours = 20 * 24;
    sim_result first = run(&c, SIM_OURS);
    size_t change = 10 * 24;
    while (first.steps[change * SIM_STEPS].deferred * 3600 < 100) /* most of a day's work */
        change++;
    for (size_t t = FIT * 24 + change; t < HOURS; t++)
        grid[t] *= 8;
    sim_result second = run(&c, SIM_OURS);
    size_t same = (change + 1) * SIM_STEPS;
    assert_memory_equal(first.steps, second.steps, same * sizeof *first.steps);
    assert_true(memcmp(first.steps, second.steps, first.steps_count * sizeof *first.steps) != 0);
    sim_result seer = run(&c, SIM_CLAIRVOYANT);
    assert_near(seer.steps[change * SIM_STEPS].deferred, 0, 0);
}

static void books_balance(void **state)
{
    sim_config c = config(SIM_POPULATION);
    sim_result r = run(&c, SIM_OURS), again;
    assert_true(r.conservation < 1e-9);
    assert_near(r.node_j, power_j(&c.power, DAYS * 86400, r.cpu_s), 1e-4 * r.node_j);
    assert_near(r.late_cpu_s, 0, 1e-9);
    double sum = 0;
    for (size_t i = 0; i < r.steps_count; i++) {
        sum += r.steps[i].reserved + r.steps[i].deferred;
        assert_true(r.steps[i].reserved + r.steps[i].deferred <= c.cpus * (1 + 1e-9) ||
                    r.steps[i].deferred == 0);
    }
    assert_near(sum * SIM_STEP_S, r.cpu_s, 1e-6 * r.cpu_s);
    assert_true(r.peaks.violations <= 0.001 && r.peaks.judged > 5000);
    again = run(&c, SIM_OURS);
    assert_memory_equal(r.steps, again.steps, r.steps_count * sizeof *r.steps);
    c.population.seed = 2;
    again = run(&c, SIM_OURS);
    assert_true(memcmp(r.steps, again.steps, r.steps_count * sizeof *r.steps) != 0);
}

static void xfaas_day(void **state)
{
    sim_config c = config(SIM_XFAAS);
    c.cpus = 12.5;
    c.hours = 8 * 24;
    c.warm_hours = 24;
    for (int t = 0; t < HOURS; t++)
        grid[t] = 300;
    sim_result r = run(&c, SIM_OURS);
    print_message("received %.2f, executed %.2f, utilisation %.1f %%\n", r.received_ratio,
                  r.executed_ratio, r.utilisation_pct);
    assert_near(r.received_ratio, 4.3, 0.1);
    assert_true(r.executed_ratio <= 1.2);
    assert_true(r.utilisation_pct >= 75);
    assert_near(r.late_cpu_s, 0, 1e-9);
    day_config d = {13, 0.05, 0.001, 1, r.steps + r.steps_count - 288, 288, false, c.target};
    day_result alone, with;
    assert_true(day_run(&d, &a, &alone, &e));
    d.opportunistic = true;
    assert_true(day_run(&d, &a, &with, &e));
    print_message("p99 %.1f ms alone, %.1f ms with; %.1f %% busy\n", alone.p99_s * 1000,
                  with.p99_s * 1000, with.utilisation_pct);
    assert_true(with.p99_s <= 1.02 * alone.p99_s);
    assert_true(alone.p50_s > 0.02 && alone.p99_s > 2 * alone.p50_s);
    assert_true(alone.p999_s > alone.p99_s);
    assert_true(with.opportunistic_cpu_s > 0.95 * with.planned_cpu_s);
    assert_true(with.utilisation_pct > alone.utilisation_pct + 20);
}

/* A node that is too small: work is late, says so, is not lost, and is billed all the same. */
static void shortage(void **state)
{
    sim_config c = config(SIM_XFAAS);
    c.cpus = 9; /* of 10 that come on average */
    c.hours = 10 * 24;
    sim_result r = run(&c, SIM_OURS);
    assert_true(r.late_cpu_s > 0.01 * r.deferrable_cpu_s);
    double received = 0;
    for (size_t i = 0; i < r.steps_count; i++)
        received += r.steps[i].received * SIM_STEP_S;
    assert_near(r.cpu_s + r.left_cpu_s, received, 1e-6 * received);
    assert_near(r.node_j, power_j(&c.power, 10 * 86400, r.cpu_s), 1e-6 * r.node_j);
    assert_true(r.conservation < 1e-9);
}

static void hosts_compared(void **state)
{
    against_config c = against_defaults();
    population_config pc = {
        .seed = 1, .apps = 200, .speedup = 100, .mean_cpus = 4, .cpus_per_app_max = 0.4};
    against_result r;
    assert_true(against_run(&c, &pc, 24, &a, &r, &e));
    for (int h = 1; h < HOST_KINDS; h++)
        assert_true(r.row[h].calls == r.row[0].calls && r.row[0].calls > 0);
    assert_true(r.row[HOST_EBB].instance_s < r.row[HOST_CONTAINER].instance_s);
    assert_true(r.row[HOST_CONTAINER].instance_s < r.row[HOST_ALWAYS_ON].instance_s);
    assert_true(r.break_even > 0.1 && r.break_even < 1);
    c.host[HOST_EBB].code_factor = 0.5; /* were wasm twice as fast as native, never */
    assert_true(against_run(&c, &pc, 24, &a, &r, &e));
    double faster = r.break_even;
    c.host[HOST_EBB].code_factor = 3;
    assert_true(against_run(&c, &pc, 24, &a, &r, &e));
    assert_true(r.break_even < faster);
}

static int teardown(void **state)
{
    arena_fini(&a);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(acceptance, setup),
        cmocka_unit_test_setup(policies_in_order, setup),
        cmocka_unit_test_setup(future_is_unknown, setup),
        cmocka_unit_test_setup(books_balance, setup),
        cmocka_unit_test_setup(xfaas_day, setup),
        cmocka_unit_test_setup(shortage, setup),
        cmocka_unit_test_setup(hosts_compared, setup),
    };
    arena_init(&a, 512 << 20);
    return cmocka_run_group_tests(tests, NULL, teardown);
}
