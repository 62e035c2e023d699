/* What a tenant sees must not move with a neighbour. Ten thousand windows of virtual time: tenant A
 * toggles its load, tenant B's visible figures are correlated with it. A control shows that the
 * measure would notice: with an unfrozen coefficient, taken from the node's energy of the same
 * window, the correlation is plain. */
#include "unit.h"

#include "near.h"

#include "carbon/power.h"
#include "carbon/visible.h"

#include <math.h>

static uint64_t seed;
static double uniform(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 11) / 9007199254740992.0;
}

typedef struct {
    double n, x, y, xx, yy, xy;
} moments;

static void moments_add(moments *m, double x, double y)
{
    m->n++;
    m->x += x;
    m->y += y;
    m->xx += x * x;
    m->yy += y * y;
    m->xy += x * y;
}

static double correlation(const moments *m)
{
    double c = m->xy - m->x * m->y / m->n;
    double vx = m->xx - m->x * m->x / m->n, vy = m->yy - m->y * m->y / m->n;
    return vx > 0 && vy > 1e-12 * m->yy ? c / sqrt(vx * vy) : 0;
}

/* Correlation between A's CPU and B's visible J per CPU-second (and J). sign: does A's load come
 * with more or with less power per CPU second (shared caches, or frequency falling)? */
static void run(uint64_t s, double sign, bool frozen, double *ret_ratio, double *ret_energy)
{
    visible_coefficient c;
    visible_window w;
    visible_figure f;
    moments ratio = {0}, energy = {0};
    int64_t t = 0;
    seed = s;
    visible_coefficient_init(&c, t, 2.5);
    visible_window_init(&w, t);
    double a_level = 0;
    for (int i = 0; i < 10000; i++) {
        t += VISIBLE_WINDOW_S;
        if (uniform() < 0.3)
            a_level = uniform() < 0.5 ? 0 : 400;
        double a_cpu = a_level * (0.9 + 0.2 * uniform()), b_cpu = 20 + 10 * uniform();
        double j = (2.5 + sign * 0.5 * a_level / 400) * (a_cpu + b_cpu);
        visible_coefficient_add(&c, t, j, a_cpu + b_cpu);
        visible_add(&w, (uint64_t)(b_cpu * 1e9), 150);
        if (!visible_take(&w, t, &c, &f))
            fail_msg("a window of enough time and calls was withheld");
        if (!frozen)
            f.energy_j = f.cpu_s * j / (a_cpu + b_cpu);
        moments_add(&ratio, a_cpu, f.energy_j / f.cpu_s);
        moments_add(&energy, a_cpu, f.energy_j);
    }
    *ret_ratio = correlation(&ratio);
    *ret_energy = correlation(&energy);
}

static void neighbours_stay_apart(void **state)
{
    for (int sign = -1; sign <= 1; sign += 2)
        for (uint64_t s = 1; s <= 5; s++) {
            double ratio, energy;
            run(s, sign, true, &ratio, &energy);
            print_message("sign %+d seed %d: J/CPU-s %+.4f, J %+.4f\n", sign, (int)s, ratio,
                          energy);
            assert_true(fabs(ratio) < 0.05);
            assert_true(fabs(energy) < 0.05);
            run(s, sign, false, &ratio, &energy);
            assert_true(ratio * sign > 0.5); /* the control */
        }
}

static void rounding(void **state)
{
    assert_near(visible_round(1234.5678, 3), 1230, 0);
    assert_near(visible_round(0.00012349, 3), 0.000123, 1e-18);
    assert_near(visible_round(-9.996, 3), -10.0, 0);
    assert_near(visible_round(0, 3), 0, 0);
    assert_near(visible_round(2.449, 2), 2.4, 0);
    assert_near(visible_round(1234.5, 1), 1000, 0);
    assert_near(visible_round(1234.5, 0), 1234.5, 0); /* no such number of digits */
    assert_near(visible_round(0.1 + 0.2, 15), 0.3, 0);
    assert_near(visible_round(1 / 3.0, 16), 1 / 3.0, 0);
}

static void withheld_not_lost(void **state)
{
    visible_coefficient c;
    visible_window w;
    visible_figure f;
    visible_coefficient_init(&c, 0, 2.0);
    visible_window_init(&w, 0);
    visible_add(&w, 1000000000, 200);
    assert_false(visible_take(&w, 59, &c, &f)); /* too soon */
    assert_true(visible_take(&w, 60, &c, &f));
    assert_near(f.energy_j, 2, 0);
    visible_add(&w, 1000000000, 99);
    assert_false(visible_take(&w, 120, &c, &f)); /* too few */
    visible_add(&w, 500000000, 1);
    assert_true(visible_take(&w, 180, &c, &f));
    assert_near(f.energy_j, 3, 0);
    assert_int_equal(f.from_s, 60);
}

static void coefficient_is_frozen(void **state)
{
    visible_coefficient c;
    visible_coefficient_init(&c, 0, 2.0);
    for (int t = 60; t < VISIBLE_FREEZE_S; t += 60) {
        visible_coefficient_add(&c, t, 1000, 100);
        assert_near(c.j_per_cpu_s, 2.0, 0);
    }
    visible_coefficient_add(&c, VISIBLE_FREEZE_S, 1000, 100);
    assert_near(c.j_per_cpu_s, 2.2, 1e-12); /* at most a tenth a day */
}

/* From a day on, and only then; by a tenth at most; not at all within two per cent. */
static void a_day_later(void **state)
{
    static const struct {
        double energy_j, cpu_s, want;
    } day[] = {{206, 100, 2.1}, {203, 100, 2},   {197, 100, 2}, {194, 100, 1.9},
               {100, 100, 1.8}, {900, 100, 2.2}, {900, 0, 2}};
    for (size_t i = 0; i < sizeof day / sizeof *day; i++) {
        visible_coefficient c;
        visible_coefficient_init(&c, 1000, 2.04);
        assert_near(c.j_per_cpu_s, 2, 0);
        assert_int_equal(c.since_s, 1000);
        visible_coefficient_add(&c, 1000 + VISIBLE_FREEZE_S - 1, day[i].energy_j / 2,
                                day[i].cpu_s / 2);
        assert_near(c.j_per_cpu_s, 2, 0);
        assert_near(c.energy_j, day[i].energy_j / 2, 0);
        assert_near(c.cpu_s, day[i].cpu_s / 2, 0);
        visible_coefficient_add(&c, 1000 + VISIBLE_FREEZE_S, day[i].energy_j / 2, day[i].cpu_s / 2);
        assert_near(c.j_per_cpu_s, day[i].want, 1e-12);
        assert_true(c.energy_j == 0 && c.cpu_s == 0 && c.since_s == 1000 + VISIBLE_FREEZE_S);
    }
}

static void figures(void **state)
{
    visible_coefficient c;
    visible_window w;
    visible_figure f = {.calls = 77};
    visible_coefficient_init(&c, 0, 2.5);
    visible_window_init(&w, 100);
    visible_add(&w, 1234567890, 99);
    assert_false(visible_take(&w, 160, &c, &f));
    visible_add(&w, 0, 1);
    assert_false(visible_take(&w, 159, &c, &f));
    assert_int_equal(f.calls, 77);
    assert_true(visible_take(&w, 160, &c, &f));
    assert_true(f.from_s == 100 && f.to_s == 160 && f.calls == 100);
    assert_near(f.cpu_s, 1.23, 1e-12);
    assert_near(f.energy_j, 3.09, 1e-12);
    assert_true(w.from_s == 160 && w.cpu_ns == 0 && w.calls == 0);
    assert_near(visible_round(99.96, 3), 100, 0);
    assert_near(visible_round(0.999, 1), 1, 0);
    assert_near(visible_round(1.25, 2), 1.2, 0); /* to even */
    assert_near(visible_round(12345, 2), 12000, 0);
    assert_near(visible_round(1e-302, 2), 1e-302, 0); /* too small for a power of ten */
    assert_true(isinf(visible_round((double)INFINITY, 2)));
    assert_near(visible_round(123.456, -1), 123.456, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_stay_apart), cmocka_unit_test(rounding),
        cmocka_unit_test(withheld_not_lost),     cmocka_unit_test(coefficient_is_frozen),
        cmocka_unit_test(a_day_later),           cmocka_unit_test(figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
