/* The four ways of hosting, figure by figure. What they should be was reckoned by a second writing
 * of against.h's model (and of the population that it runs) in another language. */
#include "unit.h"

#include "near.h"
#include "sched/against.h"

static arena a;

typedef struct {
    double cpu_s, instance_s, joules, operational_g, embodied_g, need, fleet_g, machines, cold_apps,
        cold_share, p99_added_s, utilisation_pct, calls;
} want_row;

static const struct {
    want_row row[HOST_KINDS];
    double break_even;
} want[] = {
    {{
         {352128.901783887, 2937600, 6271682.25445972, 522.640187871643, 832.191780821918,
          0.0885416666666667, 186.823835131917, 1, 0, 0, 0, 4.24538124257194, 338751},
         {347456.576883904, 1048500, 6260001.44220976, 521.666786850813, 832.191780821918,
          0.0524343215408968, 139.579890252015, 1, 0.846153846153846, 0.000711437014208076, 0.0001,
          4.18905016497762, 338751},
         {347465.026883907, 1153350, 6260022.56720977, 521.668547267481, 832.191780821918,
          0.0524175731748838, 139.560188110262, 1, 0.846153846153846, 0.000711437014208076, 0.0001,
          4.18915204094217, 338751},
         {450140.046849078, 450099.027592271, 6516710.1171227, 543.059176426891, 832.191780821918,
          0.0678978165325776, 180.788312292813, 1, 0.653846153846154, 0.00021254549802067, 3e-05,
          5.4270356728525, 338751},
     },
     0.42118886198904},
    {{
         {1253895.65132783, 6516900, 31841686.9539835, 884.491304277319, 2808, 64.7823783452303,
          3680.47858893403, 65, 0, 0, 0, 11.1636008843289, 47560},
         {1506284.78159341, 1683000, 38646854.3447802, 1073.52373179945, 3412.8, 78.3637932299627,
          4451.20511809339, 79, 0.625, 0.0156854499579479, 1.001, 11.0340833157042, 47560},
         {1243163.47132784, 2141100, 76305490.4139835, 2119.59695594399, 7257.6, 168,
          9377.19695594399, 168, 0.75, 0.0137510513036165, 0.127, 4.28228157837247, 47560},
         {3971755.01758657, 2979102.42986177, 183419265.05276, 5094.97958479888, 17150.4,
          396.731840943746, 22230.5772048936, 397, 0.375, 0.000189234650967199, 0.01,
          5.78959531204312, 47560},
     },
     0.303843074459568},
    {{
         {22.5770159018764, 10800, 224696.442539755, 18.7247035449796, 34.6746575342466, 0.0078125,
          0.421849306965859, 1, 0, 0, 0, 0.00653270136049665, 91},
         {5.0861159018764, 3600, 224652.715289755, 18.7210596074796, 34.6746575342466,
          0.00260416666666667, 0.140108194808325, 1, 1, 0.010989010989011, 1.0001,
          0.00147167705494109, 91},
         {5.0461159018764, 3960, 224652.615289755, 18.7210512741462, 34.6746575342466,
          0.00286458333333333, 0.154004720207868, 1, 1, 0.010989010989011, 0.1251,
          0.00146010298086701, 91},
         {1.27285067243932, 1.23966231849851, 224643.182126681, 18.7202651772234, 34.6746575342466,
          6.31787672438702e-06, 0.000602518087467091, 1, 0, 0, 3e-05, 0.000368301699201193, 91},
     },
     0.42118886198904},
};

static void is(const against_result *r, size_t k)
{
    for (size_t h = 0; h < HOST_KINDS; h++) {
        const against_row *got = &r->row[h];
        const double pairs[][2] = {{got->cpu_s, want[k].row[h].cpu_s},
                                   {got->instance_s, want[k].row[h].instance_s},
                                   {got->joules, want[k].row[h].joules},
                                   {got->operational_g, want[k].row[h].operational_g},
                                   {got->embodied_g, want[k].row[h].embodied_g},
                                   {got->need, want[k].row[h].need},
                                   {got->fleet_g, want[k].row[h].fleet_g},
                                   {got->machines, want[k].row[h].machines},
                                   {got->cold_apps, want[k].row[h].cold_apps},
                                   {got->cold_share, want[k].row[h].cold_share},
                                   {got->p99_added_s, want[k].row[h].p99_added_s},
                                   {got->utilisation_pct, want[k].row[h].utilisation_pct},
                                   {(double)got->calls, want[k].row[h].calls}};
        for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
            if (!(fabs(pairs[i][0] - pairs[i][1]) <= 1e-9 * pairs[i][1]))
                fail_msg("case %zu, %s: figure %zu is %.15g, not %.15g", k,
                         host_kind_name((host_kind)h), i, pairs[i][0], pairs[i][1]);
    }
    assert_near(r->break_even, want[k].break_even, 1e-9);
}

static against_result run(const against_config *c, const population_config *p, size_t hours)
{
    against_result r;
    err e;
    arena_reset(&a);
    if (!against_run(c, p, hours, &a, &r, &e))
        fail_msg("%s", e.text);
    return r;
}

/* A day of thirty apps, as `ebb sim --against` compares them. */
static void by_default(void **state)
{
    against_config c = against_defaults();
    population_config p = {
        .seed = 3, .apps = 30, .speedup = 100, .mean_cpus = 4, .cpus_per_app_max = 0.4};
    against_result r = run(&c, &p, 24);
    is(&r, 0);
}

/* A small server, so that each resource is the one that runs out for one of the hosts; keep-alives
 * of a step and of less; pools, reservations and dormant memory where the defaults have none. */
static void everything_costs(void **state)
{
    const double mb = 1e6;
    against_config c = {
        .host = {{INFINITY, 0, 0, 0, 1, 0.002, 256 * mb, 0, 0, 0.25},
                 {300, 1.0, 0.5, 1e-3, 1.2, 0.01, 50 * mb, 1 * mb, 0, 0.25},
                 {200, 0.125, 0.1, 2e-3, 1, 0.001, 69 * mb, 2 * mb, 0.5, 2},
                 {0, 0.005, 0.5, 0.01, 2, 0.5, 2 * mb, 40 * mb, 0.2, 3}},
        .server_cpus = 4,
        .server_memory_bytes = 4e9,
        .server_idle_w = 10,
        .server_busy_w = 3,
        .server_embodied_g_per_s = 0.001,
        .intensity_g_per_kwh = 100,
    };
    population_config p = {.seed = 8,
                           .apps = 12,
                           .correlation = 0.5,
                           .speedup = 100,
                           .mean_cpus = 40,
                           .cpus_per_app_max = 20};
    against_result r = run(&c, &p, 12);
    is(&r, 1);
    c.host[HOST_EBB].code_factor = 0.1; /* then nothing else is ever better */
    r = run(&c, &p, 1);
    assert_true(isinf(r.break_even) && r.break_even > 0);
}

/* An hour in which most apps are silent: they are no cold apps, and need no share of a server. */
static void a_quiet_hour(void **state)
{
    against_config c = against_defaults();
    population_config p = {.seed = 5, .apps = 3, .speedup = 100};
    against_result r = run(&c, &p, 1);
    is(&r, 2);
    r = run(&c, &p, 0); /* no time at all */
    for (size_t h = 0; h < HOST_KINDS; h++) {
        assert_near(r.row[h].cold_share, 0, 0);
        assert_near(r.row[h].cold_apps, 0, 0);
        assert_near(r.row[h].machines, 1, 0);
        assert_int_equal(r.row[h].calls, 0);
    }
}

static void mistakes(void **state)
{
    against_config c = against_defaults();
    population_config p = {.apps = 0, .speedup = 100};
    against_result r = {.break_even = 7};
    err e;
    arena_reset(&a);
    assert_false(against_run(&c, &p, 1, &a, &r, &e));
    assert_int_equal(e.code, ERR_INVALID);
    p.apps = 2;
    for (size_t n = 1; n <= 2; n++) { /* neither the apps nor what is kept of them */
        alloc_fail_after(n);
        assert_false(against_run(&c, &p, 1, &a, &r, &e));
        assert_int_equal(e.code, ERR_NO_MEMORY);
    }
    alloc_fail_after(0);
    assert_near(r.break_even, 7, 0);
}

static int teardown(void **state)
{
    arena_fini(&a);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_default),
        cmocka_unit_test(everything_costs),
        cmocka_unit_test(a_quiet_hour),
        cmocka_unit_test(mistakes),
    };
    arena_init(&a, 4 << 20);
    return cmocka_run_group_tests(tests, NULL, teardown);
}
