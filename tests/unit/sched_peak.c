/* Peak prediction and the capacity question: cold apps at their limit, no prediction above the sum
 * of limits, promises kept on correlated and uncorrelated months, risk against Monte Carlo. */
#include "unit.h"

#include "near.h"
#include "sched/peak.h"
#include "sched/rng.h"

#define APPS 40
static rng r;
static arena a;

/* Apps with a day and noise; correlated ones share the hour of their peak and some of the noise. */
static void sample(double *use, int t, double correlation, const double *phase)
{
    double common = rng_normal(&r);
    for (int i = 0; i < APPS; i++) {
        double hour = (double)(t % 288) / 12;
        double day = 1 + 0.8 * cos((hour - 14 - (1 - correlation) * phase[i]) * M_PI / 12);
        double noise = sqrt(correlation) * common + sqrt(1 - correlation) * rng_normal(&r);
        use[i] = fmax(0, 0.1 * day * (1 + 0.3 * noise));
    }
}

static peak *month(double correlation, int days, double *ret_top)
{
    peak *p;
    double use[APPS], phase[APPS], top = 0;
    arena_reset(&a);
    assert_true(peak_new(&a, APPS, &p, NULL));
    for (size_t i = 0; i < APPS; i++) {
        peak_app(p, i, 1.0);
        phase[i] = 24 * rng_uniform(&r);
    }
    for (int t = 0; t < days * 288; t++) {
        double sum = 0;
        sample(use, t, correlation, phase);
        for (int i = 0; i < APPS; i++)
            sum += use[i];
        top = fmax(top, sum);
        peak_push(p, use);
    }
    *ret_top = top;
    return p;
}

static void cold_counts_full(void **state)
{
    peak *p;
    double use[APPS] = {0};
    arena_reset(&a);
    assert_true(peak_new(&a, APPS, &p, NULL));
    for (size_t i = 0; i < APPS; i++)
        peak_app(p, i, 0.5);
    for (int m = PEAK_SIGMA; m < PEAK_METHODS; m++)
        assert_near(peak_predict(p, (peak_method)m, 0.999), 20, 1e-9);
    for (int t = 0; t < 2 * PEAK_WARM; t++)
        peak_push(p, use);
    assert_true(peak_predict(p, PEAK_MAX, 0.999) < 1);
    peak_app(p, 3, 0); /* one leaves, one new comes in its place: cold again */
    peak_app(p, 3, 4);
    assert_true(peak_predict(p, PEAK_MAX, 0.999) >= 4);
    assert_near(peak_predict(p, PEAK_LIMIT, 0.999), 39 * 0.5 + 4, 1e-9);
    assert_near(peak_predict(p, PEAK_BORG, 0.999), 0.9 * (39 * 0.5 + 4), 1e-9);
}

static void promises_are_kept(void **state)
{
    rng_init(&r, 3);
    for (int c = 0; c <= 2; c++) {
        double correlation = c * 0.5, top;
        peak *p = month(correlation, 40, &top);
        peak_state s = peak_now(p, 0.999);
        print_message("correlation %.1f: factor %.2f, gain %.2f, violations %.4f of %zu\n",
                      correlation, s.factor, s.gain, s.violations, s.judged);
        assert_true(s.judged > 8000);
        assert_true(s.violations <= 0.001);
        assert_true(s.predicted >= top * 0.98 && s.predicted <= s.limits);
        assert_true(s.factor > (c ? 1.5 : 3)); /* it does oversubscribe */
        /* The machine's own sum knows how correlated the apps are; their percentiles do not. */
        double sigma = peak_predict(p, PEAK_SIGMA, 0.9999);
        assert_true(sigma >= 0.97 * top);
        if (c == 0)
            assert_true(sigma < 0.7 * peak_predict(p, PEAK_RC, 0.9999));
        for (int m = 0; m < PEAK_METHODS; m++)
            assert_true(peak_predict(p, (peak_method)m, 0.9999) <= s.limits + 1e-9);
        assert_true(peak_predict(p, PEAK_SIGMA, 0.9999) >= peak_predict(p, PEAK_SIGMA, 0.99));
        assert_true(peak_predict(p, PEAK_RC, 0.9999) >= peak_predict(p, PEAK_RC, 0.99));
        assert_true(s.gain >= 1);
        peak_pair pair[3];
        size_t pairs = peak_pairs(p, 0.8, pair, 3);
        if (c == 2) { /* everybody with everybody, the largest first */
            assert_true(peak_correlation(p, 0, 1) > 0.8);
            assert_true((double)pairs > APPS * (APPS - 1) / 2 * 0.9);
            assert_true(pair[0].cpus >= pair[1].cpus && pair[1].cpus >= pair[2].cpus);
            assert_true(pair[0].correlation >= 0.8 && pair[0].a != pair[0].b);
        } else if (c == 0) { /* phases by chance: some share an hour */
            assert_true((double)pairs < APPS * (APPS - 1) / 2 * 0.4);
        }
        assert_int_equal(peak_pairs(p, 1.1, NULL, 0), 0);
    }
}

/* And the count can rise: when everybody comes at once, which no history announced, it does; and
 * afterwards the prediction has learnt. */
static void broken_promises_are_counted(void **state)
{
    double top, use[APPS];
    rng_init(&r, 4);
    peak *p = month(0, 12, &top);
    assert_near(peak_now(p, 0.999).violations, 0, 0);
    for (int t = 0; t < 12; t++) {
        for (int i = 0; i < APPS; i++)
            use[i] = 0.9;
        peak_push(p, use);
    }
    for (int i = 0; i < APPS; i++)
        use[i] = 0.05;
    for (int t = 0; t < 600; t++)
        peak_push(p, use);
    peak_state s = peak_now(p, 0.999);
    assert_true(s.violations * (double)s.judged >= 280);
    assert_true(s.predicted >= 0.9 * APPS);
}

static void capacity(void **state)
{
    /* 1,000 apps active 5 % of the time (a whole CPU each) at 99.99 %: carbon.md 5 has 1.54 x the
     * mean from the binomial. */
    capacity_app app = {0.05, sqrt(0.05 * 0.95), 1, 128e6, 0, 0};
    capacity_node node = {77, 64e9, 0, 0, 0};
    capacity_answer ans;
    err e;
    assert_true(capacity_ask(&node, &app, 0.9999, &ans, &e));
    print_message("by CPU: %d\n", (int)ans.by_cpu);
    assert_true(ans.by_cpu > 850 && ans.by_cpu < 1030); /* gamma errs on the safe side */
    assert_int_equal(ans.by_memory, 500);
    assert_int_equal(ans.fit, 500);
    assert_true(ans.risk <= 1e-4);
    /* One more would break the promise. */
    assert_true(capacity_risk(&node, &app, (double)ans.by_cpu) <= 1e-4);
    assert_true(capacity_risk(&node, &app, (double)ans.by_cpu + 1) > 1e-4);
    /* Correlated apps fit less; full correlation means each at its own peak together. */
    uint64_t before = ans.by_cpu;
    app.correlation = 0.2;
    assert_true(capacity_ask(&node, &app, 0.9999, &ans, &e));
    assert_true(ans.by_cpu < before / 3);
    node.memory_bytes = 0;
    assert_true(capacity_ask(&node, &app, 0.9999, &ans, &e));
    assert_int_equal(ans.by_memory, 0);
    node.memory_bytes = -1;
    assert_false(capacity_ask(&node, &app, 0.9999, &ans, &e));
    node.memory_bytes = 1;
    assert_false(capacity_ask(&node, &app, 1.5, &ans, &e));
    app.limit = 0.01;
    assert_false(capacity_ask(&node, &app, 0.99, &ans, &e));
}

/* The predicted risk against counting, for sums of exponential uses. */
static void risk_is_right(void **state)
{
    rng_init(&r, 17);
    for (int k = 5; k <= 40; k += 35) {
        capacity_app app = {0.2, 0.2, 4, 0, 0, 0};
        capacity_node node = {0, 1, 1, 0.1, 0};
        for (double over = 1.2; over < 2; over += 0.3) {
            node.cpus = (1 + 0.2 * k) * over;
            int above = 0, rounds = 100000;
            for (int i = 0; i < rounds; i++) {
                double sum = 1 + 0.1 * rng_normal(&r);
                for (int j = 0; j < k; j++)
                    sum += 0.2 * rng_exponential(&r);
                above += sum > node.cpus;
            }
            double want = (double)above / rounds, got = capacity_risk(&node, &app, k);
            if (want > 1e-3)
                assert_true(got > 0.5 * want && got < 2 * want);
        }
    }
}

static int teardown(void **state)
{
    arena_fini(&a);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cold_counts_full), cmocka_unit_test(promises_are_kept),
        cmocka_unit_test(capacity),         cmocka_unit_test(broken_promises_are_counted),
        cmocka_unit_test(risk_is_right),
    };
    arena_init(&a, 8 << 20);
    return cmocka_run_group_tests(tests, NULL, teardown);
}
