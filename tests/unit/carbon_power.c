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

static void names_and_zones(void **state)
{
    static const struct {
        str dir, name;
        bool counts;
    } zone[] = {
        {S("intel-rapl:0"), S("package-0"), true},
        {S("intel-rapl:1"), S("package-1"), true},
        {S("intel-rapl:0:2"), S("dram"), true},
        {S("intel-rapl:0"), S("dram2"), false},
        {S("intel-rapl-mmio:0"), S("dram"), false},
        {S("intel-rapl"), S("package-0"), false},
        {S("amd-rapl:0"), S("package-0"), false},
        {S("intel-rapl:0"), S("uncore"), false},
        {S(""), S("package-0"), false},
        {S("intel-rapl:0"), S(""), false},
    };
    for (size_t i = 0; i < sizeof zone / sizeof *zone; i++)
        assert_int_equal(rapl_zone_counts(zone[i].dir, zone[i].name), zone[i].counts);
    assert_string_equal(power_source_name(POWER_MODEL), "model");
    assert_string_equal(power_source_name(POWER_RAPL), "rapl");
    assert_string_equal(power_source_name(POWER_CALIBRATED), "calibrated");
}

static void readings(void **state)
{
    rapl_zone z = {.range_uj = 1000};
    double j = 7;
    err e;
    static const struct {
        uint64_t uj;
        double j; /* -1: it is refused */
    } step[] = {{900, 0},       {900, 0},   {1000, 1e-4}, {0, 0},     {250, 2.5e-4},
                {249, 9.99e-4}, {1001, -1}, {700, 0},     {100, 4e-4}};
    for (size_t i = 0; i < sizeof step / sizeof *step; i++) {
        bool good = rapl_step(&z, step[i].uj, &j, &e);
        assert_int_equal(good, step[i].j >= 0);
        if (good)
            assert_near(j, step[i].j, 1e-15);
        else
            assert_string_equal(e.text, "energy counter 1001 uJ is beyond its range 1000 uJ");
    }
    rapl_zone none = {0};
    assert_false(rapl_step(&none, 0, &j, &e));
    assert_near(rapl_interval_s_max(2000000, 4), 0.25, 1e-12);
    assert_near(rapl_interval_s_max(2000000, 0.5), 2, 1e-12);
    assert_true(isinf(rapl_interval_s_max(2000000, 0)));
}

static void settings(void **state)
{
    static const struct {
        unsigned threads;
        double idle_w, max_w, pue;
        bool good;
    } asked[] = {
        {4, 10, 50, 1.5, true}, {1, 0, 0, 1, true},    {1, 5, 5, 4.99, true},  {0, 1, 2, 1, false},
        {1, -1, 2, 1, false},   {1, 3, 2.9, 1, false}, {1, 1, 2, 0.99, false}, {1, 1, 2, 5, false},
    };
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        power_model m = {.samples = 77};
        err e;
        bool good = power_model_set(&m, asked[i].threads, asked[i].idle_w, asked[i].max_w,
                                    asked[i].pue, &e);
        assert_int_equal(good, asked[i].good);
        if (!good) {
            assert_int_equal(e.code, ERR_INVALID);
            assert_int_equal(m.samples, 77);
            continue;
        }
        assert_near(m.idle_w, asked[i].idle_w, 0);
        assert_near(m.busy_w, (asked[i].max_w - asked[i].idle_w) / asked[i].threads, 1e-12);
        assert_near(m.threads, asked[i].threads, 0);
        assert_near(m.pue, asked[i].pue, 0);
        assert_true(m.source == POWER_MODEL && m.samples == 0 && m.uncertainty == 0.15);
    }
    power_model m = power_model_specpower(8);
    assert_true(m.threads == 8 && m.pue == 1 && m.source == POWER_MODEL && m.uncertainty == 0.35);
    assert_near(m.idle_w, 5.2, 1e-12);
    assert_near(m.busy_w, 2.5, 0);
    m.pue = 2;
    assert_near(power_j(&m, 10, 3), 2 * (52 + 7.5), 1e-12);
}

/* Two kinds of minutes, exactly on a line and beside it: the least squares by hand. */
static void fits(void **state)
{
    power_fit f = {0};
    const power_model prior = {1, 2, 8, 1.25, POWER_RAPL, 0.35, 0};
    power_model m = prior;
    power_fit_add(&f, 59.9, 1, 1);
    power_fit_add(&f, 60, -1, 1);
    power_fit_add(&f, 60, 1, -1);
    assert_int_equal(f.samples, 0);
    for (int i = 0; i < 30; i++) {
        assert_false(power_fit_model(&f, &prior, &m)); /* fewer than thirty, as they fade */
        power_fit_add(&f, 60, i % 2 ? 0 : 100, 60 * 7 + (i % 2 ? 0 : 350));
    }
    assert_near(f.n, (1 - pow(0.999, 30)) / 0.001, 1e-9);
    assert_near(f.tt, 3600 * f.n, 1e-6);
    assert_false(power_fit_model(&f, &prior, &m));
    assert_near(m.idle_w, 1, 0);
    for (int i = 0; i < 2; i++)
        power_fit_add(&f, 60, i % 2 ? 0 : 100, 60 * 7 + (i % 2 ? 0 : 350));
    assert_true(power_fit_model(&f, &prior, &m));
    assert_near(m.idle_w, 7, 1e-9);
    assert_near(m.busy_w, 3.5, 1e-9);
    assert_true(m.source == POWER_CALIBRATED && m.samples == 32 && m.pue == 1.25 && m.threads == 8);
    assert_near(m.uncertainty, 0, 1e-6);
    /* Off the line by a tenth, up and down alike. */
    power_fit g = {0};
    double rest = 0, energy = 0;
    for (int i = 0; i < 64; i++) {
        double cpu_s = i % 4 < 2 ? 0 : 100, joules = 420 + 3.5 * cpu_s, off = i % 2 ? 42 : -42;
        power_fit_add(&g, 60, cpu_s, joules + off);
        rest = 0.999 * rest + off * off;
        energy = 0.999 * energy + (joules + off) * (joules + off);
    }
    assert_true(power_fit_model(&g, &prior, &m));
    assert_near(m.idle_w, 7, 0.01);
    assert_near(m.busy_w, 3.5, 0.01);
    assert_near(m.uncertainty, sqrt(rest / energy), 1e-4);
    /* Not physical: idle below nothing, work that gives energy back. */
    static const double wrong[][2] = {{-1, 3.5}, {7, -0.5}};
    for (int k = 0; k < 2; k++) {
        power_fit w = {0};
        m = prior;
        for (int i = 0; i < 40; i++)
            power_fit_add(&w, 60, i % 2 ? 50 : 100,
                          60 * wrong[k][0] + wrong[k][1] * (i % 2 ? 50 : 100));
        assert_false(power_fit_model(&w, &prior, &m));
        assert_int_equal(m.source, POWER_RAPL);
    }
}

static void server_kinds(void **state)
{
    assert_near(sci_server_kg(0, 16, 0, 0, 0), 1000, 0);
    assert_near(sci_server_kg(1, 15, 0, 0, 0), 1000, 0);
    assert_near(sci_server_kg(3, 16, 1, 0, 0), 1250, 0);
    assert_near(sci_server_kg(1, 16, 2, 3, 4), 1000 + 100 + 300 + 600, 0);
    assert_near(sci_server_kg(1, 16 + 384, 0, 0, 0), 1533, 1e-9);
    assert_near(sci_embodied_g_per_s(1000, 0), 0, 0);
    assert_near(sci_embodied_g_per_s(1000, 0.5), 2e6, 0);
    assert_near(sci_call_g(2, 3, 4, 3.6e6, 5), 14 + 10, 1e-9);
    sci s = {0.5, 100, 25, 0.5, "token"};
    double g = 7;
    err e;
    assert_true(sci_score(&s, &g, &e));
    assert_near(g, 250, 1e-9);
    assert_near(sci_intensity(&s), 200, 1e-9);
    assert_near(sci_total_g(&s), 125, 0);
    s.units = 0;
    g = 7;
    assert_false(sci_score(&s, &g, &e));
    assert_near(g, 7, 0);
    assert_string_equal(e.text, "no token was served, so grams per token are undefined");
    s.energy_kwh = 0;
    assert_near(sci_intensity(&s), 0, 0);
}

static void saving_by_hand(void **state)
{
    double g[4] = {300, 100, 100, (double)NAN};
    intensity_series series = {0, 3600, 4, g, 3};
    saving s = {0};
    assert_near(saving_pct(&s), 0, 0);
    saving_add_calls(&s, &series, 5, 7.2e6, 60, 0, 3600);
    assert_true(s.calls == 5 && s.calls_unknown == 0 && s.calls_worse == 0);
    assert_near(s.energy_j, 7.2e6, 0);
    assert_near(s.baseline_g, 600, 1e-9);
    assert_near(s.actual_g, 200, 1e-9);
    assert_near(s.delay_s, 60, 0);
    assert_near(saving_g(&s), 400, 1e-9);
    assert_near(saving_pct(&s), 100 * 400 / 600.0, 1e-9);
    saving_add_calls(&s, &series, 3, 3.6e6, 10, 3600, 7200); /* alike is not worse */
    assert_int_equal(s.calls_worse, 0);
    saving_add_calls(&s, &series, 2, 3.6e6, 10, 3600, 0);
    assert_int_equal(s.calls_worse, 2);
    saving_add_calls(&s, &series, 4, 1e6, 1, 10800, 0); /* either hour is missing */
    saving_add_calls(&s, &series, 6, 2e6, 1, 0, 10800);
    assert_true(s.calls == 20 && s.calls_unknown == 10 && s.calls_worse == 2);
    assert_near(s.energy_unknown_j, 3e6, 0);
    assert_near(s.energy_j, 14.4e6, 0);
    assert_near(s.delay_s, 82, 0);
    saving one = {0};
    saving_add(&one, &series, 3.6e6, 600, 4200);
    assert_true(one.calls == 1 && one.delay_s == 3600);
    assert_near(saving_g(&one), 200, 1e-9);
    saving_merge(&one, &s);
    assert_true(one.calls == 21 && one.calls_unknown == 10 && one.calls_worse == 2);
    assert_near(one.energy_j, 18e6, 0);
    assert_near(one.energy_unknown_j, 3e6, 0);
    assert_near(one.baseline_g, 300 + s.baseline_g, 1e-9);
    assert_near(one.actual_g, 100 + s.actual_g, 1e-9);
    assert_near(one.delay_s, 3682, 0);
    assert_true(saving_method()[0] != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zones),           cmocka_unit_test(wrap),
        cmocka_unit_test(model),           cmocka_unit_test(calibration),
        cmocka_unit_test(score),           cmocka_unit_test(savings),
        cmocka_unit_test(names_and_zones), cmocka_unit_test(readings),
        cmocka_unit_test(settings),        cmocka_unit_test(fits),
        cmocka_unit_test(server_kinds),    cmocka_unit_test(saving_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
