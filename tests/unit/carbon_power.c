/* RAPL's wrap-around and zones, the model, and its calibration. */
#include "unit.h"

#include "near.h"

#include "carbon/power.h"
#include "carbon/saving.h"
#include "carbon/sci.h"

#include <math.h>

static void zones(void **state)
{
    assert_true(rapl_zone_counts(S("intel-rapl:0"), S("package-0")));
    assert_true(rapl_zone_counts(S("intel-rapl:0:2"), S("dram")));
    assert_false(rapl_zone_counts(S("intel-rapl:0:0"), S("core")));
    assert_false(rapl_zone_counts(S("intel-rapl:1"), S("psys")));
    assert_false(rapl_zone_counts(S("intel-rapl-mmio:0"), S("package-0")));
}

static void wrap(void **state)
{
    rapl_zone z = {.range_uj = 65532610987};
    double j, sum = 0;
    err e;
    uint64_t at = 65532000000;
    assert_true(rapl_step(&z, at, &j, &e));
    assert_near(j, 0, 0);
    for (int i = 0; i < 1000; i++) { /* 1000 x 5 kJ: wraps 76 times */
        at = (at + 5000000000) % z.range_uj;
        assert_true(rapl_step(&z, at, &j, &e));
        sum += j;
    }
    assert_near(sum, 5e6, 1e-3);
    assert_false(rapl_step(&z, z.range_uj + 1, &j, &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_true(rapl_step(&z, 5, &j, &e)); /* starts anew: no leap */
    assert_near(j, 0, 0);
    assert_near(rapl_interval_s_max(65532610987, 300), 109.2, 0.1);
}

static void model(void **state)
{
    power_model m = power_model_specpower(96), set;
    err e;
    /* SPECpower since 2019: 0.64 W idle, 3.15 W busy a thread. */
    assert_near(power_j(&m, 1, 0) / 96, 0.64, 0.02);
    assert_near(power_j(&m, 1, 96) / 96, 3.15, 0.02);
    assert_true(power_model_set(&set, 4, 10, 50, 1.5, &e));
    assert_near(power_j(&set, 2, 4), 1.5 * (20 + 40), 1e-12);
    assert_false(power_model_set(&set, 4, 60, 50, 1, &e));
    assert_false(power_model_set(&set, 4, 10, 50, 0.9, &e));
    assert_false(power_model_set(&set, 0, 10, 50, 1, &e));
}

static void calibration(void **state)
{
    power_fit f = {0};
    power_model prior = power_model_specpower(8), m = prior;
    uint64_t seed = 3;
    for (int i = 0; i < 40; i++) {
        seed = seed * 6364136223846793005u + 1;
        double cpu = (double)(seed >> 40) / (1 << 24) * 8 * 60;
        power_fit_add(&f, 60, cpu, 60 * 7.0 + 3.5 * cpu + (i % 2 ? 5 : -5));
        power_fit_add(&f, 1, 1, 1e9); /* too short: ignored */
    }
    assert_true(power_fit_model(&f, &prior, &m));
    assert_near(m.idle_w, 7, 0.1);
    assert_near(m.busy_w, 3.5, 0.02);
    assert_int_equal(m.source, POWER_CALIBRATED);
    assert_true(m.uncertainty < 0.02);
    power_fit flat = {0};
    for (int i = 0; i < 40; i++)
        power_fit_add(&flat, 60, 100, 1000); /* can not tell idle from busy */
    assert_false(power_fit_model(&flat, &prior, &m));
}

static void score(void **state)
{
    /* The specification's example: 1000 kg over 4 years, one hour: about 28 g. */
    assert_near(sci_embodied_g_per_s(1000, SCI_SERVER_LIFE_S) * 3600, 28.5, 0.1);
    assert_near(sci_server_kg(2, 400, 0, 2, 0), 1000 + 100 + 533 + 200, 1e-9);
    sci s = {2, 600, 300, 1000, "request"};
    double g;
    err e;
    assert_true(sci_score(&s, &g, &e));
    assert_near(g, 0.9, 1e-12);
    assert_near(sci_intensity(&s), 300, 1e-12);
    s.units = 0;
    assert_false(sci_score(&s, &g, &e));
    /* carbon.md 2.3: 1 ms at U = 30 %, I = 300, PUE 1.2 is 0.46 ug operational. */
    assert_near(sci_call_g(0.001, 2.51 * 1.2, 0.64 / 0.3 * 1.2, 300, 0), 0.464e-6, 2e-9);
}

static void savings(void **state)
{
    double g[3] = {300, 100, (double)NAN};
    intensity_series s = {0, 3600, 3, g, 2};
    saving v = {0};
    saving_add(&v, &s, 3.6e6, 100, 3700); /* 300 -> 100 */
    saving_add(&v, &s, 3.6e6, 3700, 100); /* the wrong way */
    saving_add(&v, &s, 3.6e6, 100, 7300); /* unknown */
    assert_int_equal(v.calls, 3);
    assert_int_equal(v.calls_unknown, 1);
    assert_int_equal(v.calls_worse, 1);
    assert_near(saving_g(&v), 0, 1e-9);
    assert_near(v.baseline_g, 400, 1e-9);
    assert_near(v.energy_unknown_j, 3.6e6, 0);
    saving both = v;
    saving_merge(&both, &v);
    assert_true(both.calls == 6 && both.calls_unknown == 2 && both.calls_worse == 2);
    assert_near(both.baseline_g, 800, 1e-9);
    assert_near(both.actual_g, 2 * v.actual_g, 1e-9);
    assert_near(both.energy_j + both.energy_unknown_j, 6 * 3.6e6, 0);
    assert_near(both.delay_s, 2 * v.delay_s, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zones),       cmocka_unit_test(wrap),  cmocka_unit_test(model),
        cmocka_unit_test(calibration), cmocka_unit_test(score), cmocka_unit_test(savings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
