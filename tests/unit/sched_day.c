/* A node's day call by call, figure by figure. What they should be was reckoned by a second writing
 * of the same queue (events in a list, a list of waiting calls) in another language. */
#include "unit.h"

#include "near.h"
#include "sched/day.h"

#include <math.h>
#include <string.h>

static arena a;

typedef struct {
    double calls, waited, p50_s, p99_s, p999_s, utilisation_pct, opportunistic_cpu_s, planned_cpu_s;
} figures;

static void is(const day_config *c, figures want)
{
    day_result r;
    err e;
    arena_reset(&a);
    if (!day_run(c, &a, &r, &e))
        fail_msg("%s", e.text);
    const double pairs[][2] = {{(double)r.calls, want.calls},
                               {(double)r.waited, want.waited},
                               {r.p50_s, want.p50_s},
                               {r.p99_s, want.p99_s},
                               {r.p999_s, want.p999_s},
                               {r.utilisation_pct, want.utilisation_pct},
                               {r.opportunistic_cpu_s, want.opportunistic_cpu_s},
                               {r.planned_cpu_s, want.planned_cpu_s}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (!(fabs(pairs[i][0] - pairs[i][1]) <= 1e-9 * pairs[i][1]))
            fail_msg("figure %zu is %.15g, not %.15g", i, pairs[i][0], pairs[i][1]);
}

/* Cores, mean call, tick, seed; received, reserved and deferred CPUs of each step. */
static void busy_and_quiet_steps(void **state)
{
    static const sim_step steps[] = {{0, 1, 0.5}, {0, 2, 1}, {0, 0.5, 0.2}};
    day_config c = {3, 0.25, 0.05, 7, steps, 3, true, 0.8};
    is(&c, (figures){4155, 1555, 0.229044473033159, 1.29283543179939, 1.89814769215225,
                     50.0738619952004, 302.385781316743, 512});
    c.opportunistic = false;
    is(&c, (figures){4161, 1182, 0.226771092827563, 1.30579610700318, 1.88870417129577,
                     38.6072057380288, 0, 0});
}

/* One core is never given away: a reserved call might come. */
static void one_core(void **state)
{
    static const sim_step steps[] = {{0, 0.9, 0.3}};
    day_config c = {1, 0.5, 0.01, 9, steps, 1, true, 0.9};
    is(&c, (figures){554, 477, 2.78687029501368, 10.6077019156447, 11.3182715675061,
                     87.8470452522273, 0, 93});
}

/* More reserved work than cores: a queue that a quiet step empties, and room for what was planned
 * in the meantime. */
static void overload(void **state)
{
    static const sim_step steps[] = {{0, 5, 0.5}, {0, 0.1, 2}};
    day_config c = {4, 1, 0.1, 3, steps, 2, true, 0.5};
    is(&c, (figures){1517, 1491, 37.4657932011618, 66.1555023927384, 67.8260117294757,
                     76.8388781757982, 341.472938778143, 770});
}

/* Calls of a tenth of a microsecond count as one of a microsecond. */
static void shortest(void **state)
{
    static const sim_step steps[] = {{0, 1e-5, 0.5}};
    day_config c = {2, 1e-7, 0.1, 3, steps, 1, true, 0.85};
    is(&c, (figures){29782, 0, 1.00249688278817e-06, 1.00249688278817e-06, 1.00249688278817e-06,
                     25.0004912128506, 150.000000001, 155});
}

static void configurations(void **state)
{
    static const sim_step steps[] = {{0, 0.001, 0}};
    const day_config good = {1, 0.1, 0.01, 1, steps, 1, false, 0.85};
    day_config c = good;
    day_result r = {.calls = 7};
    err e;
    arena_reset(&a);
    c.cores = 512;
    assert_true(day_run(&c, &a, &r, &e));
    r.calls = 7;
    for (int i = 0; i < 4; i++) {
        c = good;
        if (i == 0)
            c.cores = 0;
        else if (i == 1)
            c.cores = 513;
        else if (i == 2)
            c.steps_count = 0;
        else
            c.call_cpu_s = 0;
        assert_false(day_run(&c, &a, &r, &e));
        assert_int_equal(e.code, ERR_INVALID);
        assert_string_equal(e.text, "day: 1 to 512 cores, some steps, a call time");
    }
    for (size_t n = 1; n <= 3; n++) {
        alloc_fail_after(n);
        assert_false(day_run(&good, &a, &r, &e));
        assert_int_equal(e.code, ERR_NO_MEMORY);
    }
    alloc_fail_after(0);
    assert_int_equal(r.calls, 7);
}

static int teardown(void **state)
{
    arena_fini(&a);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(busy_and_quiet_steps),
        cmocka_unit_test(one_core),
        cmocka_unit_test(overload),
        cmocka_unit_test(shortest),
        cmocka_unit_test(configurations),
    };
    arena_init(&a, 16 << 20);
    return cmocka_run_group_tests(tests, NULL, teardown);
}
