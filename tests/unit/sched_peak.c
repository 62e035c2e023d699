/* Peak prediction and the capacity question: cold apps at their limit, no prediction above the sum
 * of limits, promises kept on correlated and uncorrelated months, risk against Monte Carlo. */
#include "unit.h"

#include "near.h"
#include "sched/peak.h"
#include "sched/rng.h"

#include <string.h>

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

/* ---- one app, by hand ---- */

static peak *one(double limit)
{
    peak *p;
    arena_reset(&a);
    assert_true(peak_new(&a, 1, &p, NULL));
    peak_app(p, 0, limit);
    return p;
}

static void push(peak *p, double use, int n)
{
    for (int i = 0; i < n; i++)
        peak_push(p, &use);
}

/* The top of the bucket of a ratio: buckets are equal in the square root. */
static double top_of(double ratio)
{
    double b = fmin(floor(sqrt(ratio) * 64), 63);
    return (b + 1) * (b + 1) / (64 * 64);
}

static void percentiles(void **state)
{
    static const double ratio[] = {0, 0.0001, 0.25, 0.5, 0.99, 1, 7, -1};
    for (size_t i = 0; i < 8; i++) { /* beyond the limit is the limit, below nothing is nothing */
        peak *p = one(2);
        push(p, 2 * ratio[i], PEAK_WARM - 1);
        assert_near(peak_predict(p, PEAK_RC, 0.99), 2, 0);
        push(p, 2 * ratio[i], 1);
        assert_near(peak_predict(p, PEAK_RC, 0.99), 2 * top_of(fmax(fmin(ratio[i], 1), 0)), 1e-12);
    }
    for (int high = 2; high <= 3; high++) { /* a hundredth of 288 is between them */
        peak *p = one(1);
        push(p, 0.81, high);
        push(p, 0.25, 288 - high);
        assert_near(peak_predict(p, PEAK_RC, 0.99), top_of(high == 2 ? 0.25 : 0.81), 1e-12);
        assert_near(peak_predict(p, PEAK_RC, 0.8), top_of(0.25), 1e-12);
        assert_near(peak_predict(p, PEAK_RC, 0.999), top_of(0.81), 1e-12);
    }
    /* After a week what was counts half: of 20 high samples 10 are left of the 2,016 and ten. */
    peak *p = one(1);
    push(p, 0.81, 20);
    push(p, 0.25, PEAK_HISTORY - 20);
    push(p, 0.25, 92);
    assert_near(peak_predict(p, PEAK_RC, 1 - 9.9 / 1100), top_of(0.81), 1e-12);
    assert_near(peak_predict(p, PEAK_RC, 1 - 10.1 / 1100), top_of(0.25), 1e-12);
}

static void deviations(void **state)
{
    peak *p = one(1);
    push(p, 0.2, 144);
    push(p, 0.4, 143);
    assert_near(peak_predict(p, PEAK_SIGMA, 0.9), 1, 0);
    push(p, 0.4, 1);
    double deviation = sqrt(288 * 0.01 / 287);
    assert_near(peak_predict(p, PEAK_SIGMA, 0.995), 0.3 + 3 * deviation, 1e-6);
    assert_near(peak_predict(p, PEAK_SIGMA, 0.996), 0.3 + 5 * deviation, 1e-6);
    assert_near(peak_predict(p, PEAK_SIGMA, 0.9995), 0.3 + 5 * deviation, 1e-6);
    assert_near(peak_predict(p, PEAK_SIGMA, 0.9999), 0.3 + 6 * deviation, 1e-6);
    assert_near(peak_predict(p, PEAK_LIMIT, 0.9), 1, 0);
    assert_near(peak_predict(p, PEAK_BORG, 0.9), 0.9, 1e-12);
    /* Of more than a week only the last. */
    push(p, 0.4, PEAK_HISTORY - 288);
    push(p, 0.4, 143);
    assert_true(peak_predict(p, PEAK_SIGMA, 0.9) > 0.401);
    push(p, 0.4, 1);
    assert_near(peak_predict(p, PEAK_SIGMA, 0.9), 0.4, 1e-6);
    /* Never more than the limit. */
    p = one(2);
    push(p, 0, 144);
    push(p, 2, 144);
    assert_near(peak_predict(p, PEAK_SIGMA, 0.9999), 2, 1e-9);
    assert_near(peak_predict(p, PEAK_MAX, 0.9999), 2, 1e-9);
}

/* Nobody is here: nothing is promised, nothing divided by nothing. */
static void nobody(void **state)
{
    peak *p = one(0);
    push(p, 0.5, 600);
    for (int m = 0; m < PEAK_METHODS; m++)
        assert_near(peak_predict(p, (peak_method)m, 0.999), 0, 0);
    peak_state s = peak_now(p, 0.999);
    assert_true(s.limits == 0 && s.predicted == 0 && s.factor == 1 && s.gain == 1 &&
                s.violations == 0 && s.judged == 0);
    assert_true(isnan(peak_correlation(p, 0, 0)));
    peak *none = NULL;
    err e;
    for (size_t n = 1; n <= 2; n++) {
        alloc_fail_after(n);
        assert_false(peak_new(&a, 3, &none, &e));
        assert_int_equal(e.code, ERR_NO_MEMORY);
        assert_null(none);
    }
    alloc_fail_after(0);
}

/* ---- everything against a history that forgets nothing ---- */

enum { REF_APPS = 4, REF_SAMPLES = 31 * 288, ARRIVES = 1000 };
static float ref_use[REF_SAMPLES][REF_APPS], ref_ratio[REF_SAMPLES], ref_sum[REF_SAMPLES],
    ref_said[REF_SAMPLES], ref_promised[REF_SAMPLES], ref_came[REF_SAMPLES];
static const double ref_limit[REF_APPS] = {1, 2, 4, 0.5};

static double ref_limits(int now) { return now >= ARRIVES ? 7.5 : 7; }

/* Samples of an app so far; the last one came later. */
static int ref_samples(int i, int now) { return i == 3 ? now - ARRIVES + 1 : now + 1; }

static double ref_percentile(int i, int now, double share)
{
    double bucket[64] = {0}, weight = 0, above = 0;
    int first = i == 3 ? ARRIVES : 0, n = ref_samples(i, now);
    for (int k = 1; k <= n; k++) {
        double w = ldexp(1, (k - 1) / PEAK_HISTORY - n / PEAK_HISTORY);
        bucket[(int)fmin(sqrt(ref_use[first + k - 1][i] / ref_limit[i]) * 64, 63)] += w;
        weight += w;
    }
    for (int b = 63; b >= 0; b--)
        if ((above += bucket[b]) > (1 - share) * weight)
            return (b + 1) * (b + 1) / 4096.0 * ref_limit[i];
    return 0;
}

/* PEAK_MAX without what was learnt, after the sample of `now`. */
static double ref_raw(int now, double compliance, double *ret_sigma)
{
    int n = now + 1 < PEAK_HISTORY ? now + 1 : PEAK_HISTORY;
    double sum = 0, squares = 0, cold = 0, limits = ref_limits(now), sigma = limits, each = 0;
    for (int k = now - n + 1; k <= now; k++)
        sum += ref_ratio[k];
    for (int k = now - n + 1; k <= now; k++)
        squares += (ref_ratio[k] - sum / n) * (ref_ratio[k] - sum / n);
    if (n >= PEAK_WARM)
        sigma = fmin(1, sum / n + (compliance > 0.9995  ? 6
                                   : compliance > 0.995 ? 5
                                                        : 3) *
                                      sqrt(squares / (n - 1))) *
                limits;
    for (int i = 0; i < REF_APPS; i++)
        if (i < 3 || now >= ARRIVES) {
            bool warm = ref_samples(i, now) >= PEAK_WARM;
            cold += warm ? 0 : ref_limit[i];
            each += warm ? ref_percentile(i, now, compliance > 0.99 ? 0.99 : 0.8) : ref_limit[i];
        }
    *ret_sigma = sigma * (1 - cold / limits) + cold;
    return fmax(*ret_sigma, each);
}

static void against_all_of_history(void **state)
{
    peak *p;
    double correction = 1, tops[REF_APPS] = {0}, sigma;
    size_t judged = 0, violated = 0;
    arena_reset(&a);
    rng_init(&r, 8);
    assert_true(peak_new(&a, REF_APPS, &p, NULL));
    for (size_t i = 0; i < 3; i++)
        peak_app(p, i, ref_limit[i]);
    for (int t = 0; t < REF_SAMPLES; t++) {
        double use[REF_APPS], sum = 0;
        if (t == ARRIVES)
            peak_app(p, 3, ref_limit[3]);
        for (int i = 0; i < REF_APPS; i++) {
            double day = 1 + 0.7 * cos((t % 288 / 12.0 - 3 * i) * M_PI / 12);
            use[i] = ref_limit[i] * fmax(0.02, 0.12 * day * (1 + 0.3 * rng_normal(&r)));
            if (t % 2000 > 1990) /* now and then everybody comes, more each time */
                use[i] = ref_limit[i] * (0.3 + 0.1 * t / 2000);
            ref_use[t][i] = (float)use[i];
            use[i] = ref_use[t][i];
            if (i == 3 && t < ARRIVES)
                continue;
            sum += use[i];
            tops[i] = fmax(tops[i], use[i]);
        }
        peak_push(p, use);
        ref_ratio[t] = (float)(sum / ref_limits(t));
        ref_sum[t] = (float)sum;
        for (int k = t > 288 ? t - 288 : 0; k < t; k++)
            ref_came[k] = fmaxf(ref_came[k], ref_sum[t]);
        if (t > 8 * 288) {
            judged++;
            violated += ref_came[t - 288] > ref_promised[t - 288] * (1 + 1e-6);
        }
        if (t % 12 == 0) {
            if (t + 1 > 288) {
                correction = 1;
                for (int k = t - 288; k >= 0 && t - k < 29 * 288; k -= 12)
                    correction = fmax(correction, ref_came[k] / ref_said[k]);
            }
            ref_said[t] = (float)ref_raw(t, 0.999, &sigma);
            ref_promised[t] = (float)fmin(ref_said[t] * correction, ref_limits(t));
        } else {
            ref_said[t] = ref_said[t - 1];
            ref_promised[t] = ref_promised[t - 1];
        }
        if (t % 397 && t < REF_SAMPLES - 1)
            continue;
        for (double c = 0.99; c < 1; c += 0.0098) {
            double raw = ref_raw(t, c, &sigma);
            assert_near(peak_predict(p, PEAK_SIGMA, c), sigma, 1e-4);
            assert_near(peak_predict(p, PEAK_MAX, c), fmin(raw * correction, ref_limits(t)), 1e-4);
        }
        peak_state s = peak_now(p, 0.999);
        double top = 0;
        for (int k = t < PEAK_HISTORY ? 0 : t - PEAK_HISTORY + 1; k <= t; k++)
            top = fmax(top, ref_ratio[k] * ref_limits(t));
        assert_int_equal(s.judged, judged);
        assert_near(s.violations, judged ? (double)violated / (double)judged : 0, 1e-9);
        assert_near(s.limits, ref_limits(t), 1e-9);
        assert_near(s.gain, (tops[0] + tops[1] + tops[2] + tops[3]) / top, 1e-4);
        assert_near(s.factor, s.limits / s.predicted, 1e-12);
        assert_near(s.predicted, peak_predict(p, PEAK_MAX, 0.999), 0);
    }
    assert_true(violated > 100 && correction > 1.01);
}

/* ---- who comes together ---- */

static void correlations(void **state)
{
    enum { N = 6 };
    peak *p;
    arena_reset(&a);
    assert_true(peak_new(&a, N, &p, NULL));
    for (size_t i = 0; i < N; i++)
        peak_app(p, i, 100);
    /* By the hour: sizes 1, 2, 3, one against them, one constant, one that is still cold. */
    for (int t = 0; t < 288; t++) {
        double h = t / 12;
        double use[N] = {h, 2 * h, 3 * h, 23 - h, 5, 0};
        if (t == 1)
            peak_app(p, 5, 0);
        if (t == 2)
            peak_app(p, 5, 100);
        use[5] = 9 * h;
        peak_push(p, use);
    }
    assert_near(peak_correlation(p, 0, 1), 1, 1e-6);
    assert_near(peak_correlation(p, 0, 3), -1, 1e-6);
    assert_true(isnan(peak_correlation(p, 0, 4)) && isnan(peak_correlation(p, 4, 0)));
    /* An hour's mean after twelve samples of a fiftieth each; over the day 11.5 h. */
    double seen = (1 - pow(0.98, 12)) * 11.5;
    peak_pair got[4];
    memset(got, 0, sizeof got);
    assert_int_equal(peak_pairs(p, 0.9, got, 4), 3);
    assert_true(got[0].a == 2 && got[0].b == 1 && got[1].a == 2 && got[1].b == 0 && got[2].a == 1 &&
                got[2].b == 0);
    assert_near(got[0].cpus, 2 * seen, 1e-4);
    assert_near(got[1].cpus, seen, 1e-4);
    assert_near(got[0].correlation, 1, 1e-6);
    assert_true(got[3].cpus == 0);
    for (size_t room = 0; room < 3; room++) { /* as many as there is room for, the largest */
        memset(got, 0, sizeof got);
        assert_int_equal(peak_pairs(p, 0.9, got, room), 3);
        for (size_t i = 0; i < 4; i++)
            assert_true((got[i].cpus > 0) == (i < room));
        assert_true(!room || (got[0].a == 2 && got[0].b == 1));
    }
    assert_int_equal(peak_pairs(p, -2, got, 0), 6); /* all that are known and not constant */
}

/* Of the thousand largest only, wherever they stand; the largest pairs first though met last. */
static void many_pairs(void **state)
{
    enum { N = 1003 };
    static double use[N];
    peak *p;
    arena_reset(&a);
    assert_true(peak_new(&a, N, &p, NULL));
    for (size_t i = 0; i < N; i++)
        peak_app(p, i, 1e5);
    for (int t = 0; t < 288; t++) {
        for (size_t i = 0; i < N; i++)
            use[i] = (i == N - 1 ? 0.5 : (double)(i + 1)) * (1 + t / 12);
        peak_push(p, use);
    }
    peak_pair got[3];
    assert_int_equal(peak_pairs(p, 0.99, got, 3), 1000 * 999 / 2);
    assert_true(got[0].a == 1001 && got[0].b == 1000 && got[1].a == 1001 && got[1].b == 999);
    assert_true(got[2].a == 1000 && got[2].b == 999); /* met after many smaller ones */
}

/* ---- risks with a closed form ---- */

/* The tail of a sum of n exponentials of mean 1. */
static double erlang(int n, double x)
{
    double term = 1, sum = 0;
    for (int i = 0; i < n; i++) {
        sum += term;
        term *= x / (i + 1);
    }
    return exp(-x) * sum;
}

static void exact_risks(void **state)
{
    for (double m = 0.25; m < 2; m *= 2)
        for (int k = 1; k <= 6; k++)
            for (double x = 0.1; x < 30; x *= 1.5) {
                capacity_app app = {m, m, 100, 0, 0, 0};
                capacity_node node = {x * m, 1, 0, 0, 0};
                assert_near(capacity_risk(&node, &app, k), erlang(k, x), 1e-10);
                node.used_mean = node.used_deviation = m; /* one more, that is here already */
                assert_near(capacity_risk(&node, &app, k), erlang(k + 1, x), 1e-10);
                assert_near(capacity_risk(&node, &app, 0), erlang(1, x), 1e-10);
            }
    /* Correlated: the variance grows, the lean stays that of the parts. Two exponentials: shape 2,
     * a deviation of 2 instead of its root. */
    for (double x = 0.5; x < 10; x += 0.5) {
        capacity_app app = {1, 1, 100, 0, 1, 0};
        capacity_node node = {x, 1, 0, 0, 0};
        assert_near(capacity_risk(&node, &app, 2), erlang(2, (x - 2) / sqrt(2) + 2), 1e-9);
        app.correlation = 0; /* the same by what is there: 1 + 1 + 2 */
        app.correlation_node = 1;
        node.used_mean = node.used_deviation = 1;
        assert_near(capacity_risk(&node, &app, 1), erlang(2, (x - 2) / sqrt(2) + 2), 1e-9);
    }
    /* Against each other they never use less than so much. */
    assert_near(
        capacity_risk(&(capacity_node){0.1, 1, 0, 0, 0}, &(capacity_app){1, 1, 100, 0, -0.3, 0}, 2),
        1, 0);
    /* No lean: the normal's tail, nearly. */
    capacity_app even = {0, 0.1, 1, 0, 0, 0};
    capacity_node node = {1.2, 1, 1, 0, 0};
    assert_near(capacity_risk(&node, &even, 1), erfc(2 / sqrt(2)) / 2, 2e-3);
    node.cpus = 0.8;
    assert_near(capacity_risk(&node, &even, 1), 1 - erfc(2 / sqrt(2)) / 2, 2e-3);
    /* Nothing varies: above or not. */
    capacity_app still = {0.25, 0, 1, 0, 0, 0};
    node = (capacity_node){1, 1, 0, 0, 0};
    assert_near(capacity_risk(&node, &still, 4), 0, 0);
    assert_near(capacity_risk(&node, &still, 5), 1, 0);
    still.mean = 0;
    still.deviation = 1;
    assert_near(capacity_risk(&node, &still, 5), 0, 0);
}

static void capacity_limits(void **state)
{
    static const struct {
        capacity_node n;
        capacity_app a;
        double compliance;
        bool good;
    } asked[] = {
        {{2, 10, 0, 0, 0}, {0.1, 0.1, 1, 1, 0, 0}, 0.9, true},
        {{2, 10, 0, 0, 0}, {0.1, 0.1, 1, 1, 1, 1}, 0.5, true},
        {{2, 10, 0, 0, 0}, {0.1, 0.1, 1, 1, 0, -1}, 0.9, true},
        {{2, 10, 0, 0, 0}, {1, 0.1, 1, 1, 0, 0}, 0.9, true},
        {{2, 10, 0, 0, 0}, {0.1, 0.1, 1, 1, 0, 0}, 0.49, false},
        {{2, 10, 0, 0, 0}, {0.1, 0.1, 1, 1, 0, 0}, 1, false},
        {{2, 10, 0, 0, 0}, {-0.1, 0.1, 1, 1, 0, 0}, 0.9, false},
        {{2, 10, 0, 0, 0}, {0.1, -0.1, 1, 1, 0, 0}, 0.9, false},
        {{2, 10, 0, 0, 0}, {0.1, 0.1, 0.09, 1, 0, 0}, 0.9, false},
        {{2, 10, 0, 0, 0}, {0.1, 0.1, 1, -1, 0, 0}, 0.9, false},
        {{0, 10, 0, 0, 0}, {0.1, 0.1, 1, 1, 0, 0}, 0.9, false},
        {{2, -1, 0, 0, 0}, {0.1, 0.1, 1, 1, 0, 0}, 0.9, false},
        {{2, 10, 0, 0, 0}, {0.1, 0.1, 1, 1, 1.01, 0}, 0.9, false},
        {{2, 10, 0, 0, 0}, {0.1, 0.1, 1, 1, -1.01, 0}, 0.9, false},
        {{2, 10, 0, 0, 0}, {0.1, 0.1, 1, 1, 0, 1.01}, 0.9, false},
    };
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        capacity_answer got = {.fit = 77};
        err e;
        if (capacity_ask(&asked[i].n, &asked[i].a, asked[i].compliance, &got, &e) != asked[i].good)
            fail_msg("case %zu", i);
        if (asked[i].good)
            continue;
        assert_int_equal(e.code, ERR_INVALID);
        assert_int_equal(got.fit, 77);
        if (asked[i].compliance == 0.9)
            assert_string_equal(e.text, "capacity: an app needs 0 <= mean <= limit, 0 <= deviation "
                                        "and correlations within -1 and 1");
        else
            assert_non_null(strstr(e.text, "is not between 0.5 and 1"));
    }
    /* By the CPU exactly, where nothing varies; by memory what is spare. */
    capacity_app app = {0.125, 0, 0.5, 3, 0, 0};
    capacity_node node = {2, 30, 0, 0, 0};
    capacity_answer got;
    err e;
    assert_true(capacity_ask(&node, &app, 0.99, &got, &e));
    assert_int_equal(got.by_cpu, 16);
    assert_int_equal(got.by_memory, 10);
    assert_int_equal(got.fit, 10);
    assert_near(got.risk, 0, 0);
    assert_near(got.factor, 10 * 0.5 / 2, 1e-12);
    node.memory_used_bytes = 7; /* seven and two thirds */
    node.used_mean = 1.5;
    assert_true(capacity_ask(&node, &app, 0.99, &got, &e));
    assert_true(got.by_cpu == 4 && got.by_memory == 7 && got.fit == 4);
    node.used_mean = 1.9;
    assert_true(capacity_ask(&node, &app, 0.99, &got, &e));
    assert_true(got.by_cpu == 0 && got.fit == 0 && got.factor == 0);
    node.memory_used_bytes = 30;
    assert_true(capacity_ask(&node, &app, 0.99, &got, &e));
    assert_int_equal(got.by_memory, 0);
    node.memory_used_bytes = 31;
    assert_true(capacity_ask(&node, &app, 0.99, &got, &e));
    assert_int_equal(got.by_memory, 0);
    /* An app that takes nothing: the ends of the search. */
    app = (capacity_app){0, 0, 1, 0, 0, 0};
    assert_true(capacity_ask(&node, &app, 0.99, &got, &e));
    assert_true(got.by_cpu == (UINT64_C(1) << 40) - 1 && got.by_memory == UINT64_C(1) << 40);
    assert_true(got.fit == got.by_cpu);
}

static int teardown(void **state)
{
    arena_fini(&a);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cold_counts_full),
        cmocka_unit_test(promises_are_kept),
        cmocka_unit_test(capacity),
        cmocka_unit_test(broken_promises_are_counted),
        cmocka_unit_test(risk_is_right),
        cmocka_unit_test(percentiles),
        cmocka_unit_test(deviations),
        cmocka_unit_test(nobody),
        cmocka_unit_test(against_all_of_history),
        cmocka_unit_test(correlations),
        cmocka_unit_test(many_pairs),
        cmocka_unit_test(exact_risks),
        cmocka_unit_test(capacity_limits),
    };
    arena_init(&a, 8 << 20);
    return cmocka_run_group_tests(tests, NULL, teardown);
}
