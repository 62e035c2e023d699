/* The forecast on synthetic grids: it learns shape and weekend, it beats yesterday and the profile
 * on a grid with memory, it has no advantage on one without, gaps do not hurt it, and it can not
 * see the future (changing the future changes nothing). */
#include "unit.h"

#include "near.h"

#include "carbon/forecast.h"

#include <math.h>
#include <string.h>

enum { DAYS = 200, TRAIN = 120, N = DAYS * 24 };
static double grid[N];
static forecast_model model;
static arena scratch;
static const int64_t START = 1609459200;

static uint64_t seed;
static double noise(void)
{
    double v = 0;
    for (int i = 0; i < 12; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        v += (double)(seed >> 11) / 9007199254740992.0;
    }
    return v - 6;
}

/* Solar shape, weekends 15 % lower, wind that persists over hours (memory) or not at all. */
static void make(double memory)
{
    double wind = 0;
    seed = 11;
    for (int t = 0; t < N; t++) {
        bool weekend = (t / 24 + 4) % 7 >= 5;
        wind = memory * wind + sqrt(1 - memory * memory) * noise();
        grid[t] = (weekend ? 170 : 200) * exp(-0.3 * cos((t % 24 - 1) * M_PI / 12) + 0.25 * wind);
    }
}

static double error_pct(int how)
{
    forecast_history h;
    double out[24], wrong = 0, n = 0;
    forecast_history_init(&h, START);
    for (int t = 0; t < N; t++) {
        if (t >= TRAIN * 24 && t + 24 <= N) {
            forecast_method m = forecast_make(how == 0 ? &model : NULL, &h, 24, out);
            assert_int_equal(m, how == 0 ? FORECAST_MODEL : FORECAST_PROFILE);
            for (int k = 0; k < 24; k++) {
                double f = how == 2 ? grid[t + k - 24] : out[k];
                wrong += fabs(f / grid[t + k] - 1);
                n++;
            }
        }
        forecast_push(&h, grid[t]);
    }
    return 100 * wrong / n;
}

static void fit(void)
{
    err e;
    arena_reset(&scratch);
    if (!forecast_fit(grid, TRAIN * 24, START, &scratch, &model, &e))
        fail_msg("%s", e.text);
}

static void learns(void **state)
{
    make(0.95);
    fit();
    double ours = error_pct(0), profile = error_pct(1), yesterday = error_pct(2);
    print_message("with memory: model %.1f %%, profile %.1f %%, yesterday %.1f %%\n", ours, profile,
                  yesterday);
    assert_true(ours < 0.93 * profile);
    assert_true(ours < 0.85 * yesterday);
}

static void no_memory_no_advantage(void **state)
{
    make(0);
    fit();
    double ours = error_pct(0), profile = error_pct(1);
    print_message("without memory: model %.1f %%, profile %.1f %%\n", ours, profile);
    assert_true(ours > 0.97 * profile); /* only the weekend is left to know */
}

static void blind_to_the_future(void **state)
{
    double first[48], second[48];
    make(0.9);
    fit();
    forecast_history h;
    forecast_history_init(&h, START);
    for (int t = 0; t < N - 100; t++)
        forecast_push(&h, grid[t]);
    assert_int_equal(forecast_make(&model, &h, 48, first), FORECAST_MODEL);
    for (int t = N - 100; t < N; t++)
        grid[t] = 1;
    assert_int_equal(forecast_make(&model, &h, 48, second), FORECAST_MODEL);
    assert_memory_equal(first, second, sizeof first);
    for (int k = 0; k < 48; k++)
        assert_true(first[k] > 50 && first[k] < 800);
}

static void gaps_and_cold_start(void **state)
{
    double out[24];
    err e;
    make(0.95);
    forecast_history h;
    forecast_history_init(&h, START);
    assert_int_equal(forecast_make(NULL, &h, 24, out), FORECAST_NONE);
    assert_true(isnan(out[0]));
    assert_false(forecast_fit(grid, 27 * 24, START, &scratch, &model, &e));
    fit();
    double whole = error_pct(0);
    for (int t = 0; t < N; t++) /* a tenth of all hours, and a whole week */
        if (t % 10 == 3 || (t >= 2000 && t < 2168))
            grid[t] = (double)NAN;
    fit();
    forecast_history_init(&h, START);
    for (int t = 0; t < N; t++)
        forecast_push(&h, grid[t]);
    assert_true(h.filled >= 168);
    forecast_make(&model, &h, 24, out);
    for (int k = 0; k < 24; k++)
        assert_true(isfinite(out[k]) && out[k] > 0);
    make(0.95);
    assert_true(error_pct(0) < 1.15 * whole);
}

static void published_forecasts_win(void **state)
{
    double theirs[4] = {200, 300, (double)NAN, (double)NAN}, ours[5] = {90, 100, 110, 100, 50};
    intensity_series s = {START + 3600, 3600, 4, theirs, 2};
    assert_int_equal(forecast_prefer(&s, START, 5, ours), 2);
    assert_near(ours[1], 200, 0);
    assert_near(ours[2], 300, 0);
    double scale = 500.0 / 210; /* ours are brought to their level */
    assert_near(ours[0], 90 * scale, 1e-9);
    assert_near(ours[4], 50 * scale, 1e-9);
    double part[3] = {0, 0, 50}; /* nothing of ours to compare theirs with: our own level stays */
    assert_int_equal(forecast_prefer(&s, START + 3600, 3, part), 2);
    assert_near(part[0], 200, 0);
    assert_near(part[2], 50, 0);
    double alone[2] = {5, 6};
    assert_int_equal(forecast_prefer(&s, START + 86400, 2, alone), 0);
    assert_near(alone[0], 5, 0);
}

/* ---- the model against a second writing of it: whole arrays instead of running state, and
 * elimination with pivots instead of Cholesky's triangles ---- */

enum { RF = 36, RN = 40 * 24 + 5, RWARM = 14 * 24, RMORE = RN + 24 };
static double ref_g[RN], ref_log[RMORE], ref_off[RMORE], ref_profile[RMORE + 1][3][24],
    ref_w[24][24][RF];
enum { RSTART_H = 7 }; /* the first hour of the history, of its day */
#define RSTART (INT64_C(1609459200) + RSTART_H * 3600)

static size_t ref_hour(size_t t) { return (t + RSTART_H) % 24; }

/* Hour t is over, and its logarithm was x. */
static void ref_push(size_t t, double x)
{
    static const double days[3] = {3, 14, 60};
    size_t o = ref_hour(t);
    memcpy(ref_profile[t + 1], ref_profile[t], sizeof ref_profile[t]);
    ref_log[t] = x;
    ref_off[t] = t < 24 ? 0 : x - ref_profile[t][1][o];
    for (int i = 0; i < 3; i++) {
        double keep = t < 24 ? 0 : pow(0.5, 1 / days[i]);
        ref_profile[t + 1][i][o] = keep * ref_profile[t][i][o] + (1 - keep) * x;
    }
}

static void ref_features(size_t t, size_t k, double *x)
{
    const double (*p)[24] = ref_profile[t];
    size_t o = ref_hour(t + k);
    for (size_t i = 0; i < 24; i++)
        x[i] = ref_off[t - 1 - i];
    x[24] = p[0][o] - p[1][o];
    x[25] = p[2][o] - p[1][o];
    x[26] = ref_log[t + k - 24] - p[1][o];
    x[27] = ref_log[t + k - 168] - p[1][o];
    double days = (double)(RSTART + (int64_t)(t + k) * 3600) / 86400;
    x[28] = sin(2 * M_PI * days / 365.25);
    x[29] = cos(2 * M_PI * days / 365.25);
    int there = ((int)floor(days) + 3) % 7;
    int here = (int)(((RSTART + (int64_t)t * 3600 - 3600) / 86400 + 3) % 7);
    x[30] = there == 5;
    x[31] = there == 6;
    x[32] = there == 0;
    x[33] = here == 5;
    x[34] = here == 6;
    x[35] = 1;
}

static void ref_solve(double a[RF][RF + 1], double *ret)
{
    for (size_t c = 0; c < RF; c++) {
        size_t best = c;
        for (size_t i = c; i < RF; i++)
            if (fabs(a[i][c]) > fabs(a[best][c]))
                best = i;
        for (size_t j = 0; j <= RF; j++) {
            double v = a[c][j];
            a[c][j] = a[best][j];
            a[best][j] = v;
        }
        for (size_t i = 0; i < RF; i++)
            for (size_t j = RF + 1; i != c && j-- > c;)
                a[i][j] -= a[c][j] * a[i][c] / a[c][c];
    }
    for (size_t i = 0; i < RF; i++)
        ret[i] = a[i][RF] / a[i][i];
}

static void ref_fit(size_t origin, size_t k)
{
    double a[RF][RF + 1] = {{0}}, x[RF], n = 0, sum = 0, squares = 0;
    for (size_t t = RWARM; t + k < RN; t++) {
        size_t apart = (ref_hour(t) + 24 - origin) % 24;
        if ((apart > 1 && apart < 23) || isnan(ref_g[t + k]))
            continue;
        ref_features(t, k, x);
        double y = ref_log[t + k] - ref_profile[t][1][ref_hour(t + k)];
        for (size_t i = 0; i < RF; i++) {
            for (size_t j = 0; j < RF; j++)
                a[i][j] += x[i] * x[j];
            a[i][RF] += x[i] * y;
        }
        n++;
        sum += y;
        squares += y * y;
    }
    double variance = squares / n - sum / n * sum / n;
    for (size_t i = 0; i < RF - 1; i++)
        a[i][i] += 40 * variance * (i < 24 ? 1 - 0.98 * exp(-(double)i / 3) : 1);
    a[RF - 1][RF - 1] += 1e-6;
    ref_solve(a, ref_w[origin][k]);
}

static double ref_predict(size_t t, size_t k, size_t origin, bool fitted)
{
    double x[RF], v = ref_profile[t][1][ref_hour(t + k)];
    if (!fitted)
        return v;
    ref_features(t, k, x);
    for (size_t i = 0; i < RF; i++)
        v += ref_w[origin][k][i] * x[i];
    return v;
}

static void ref_compare(const forecast_model *m, const forecast_history *h, size_t t)
{
    double got[48];
    assert_int_equal(forecast_make(m, h, 48, got), m ? FORECAST_MODEL : FORECAST_PROFILE);
    for (size_t k = 0; k < 24; k++)
        assert_near(got[k], exp(ref_predict(t, k, ref_hour(t), m)), 1e-4);
    static double logs[24], offs[24], profiles[24][3][24]; /* what comes is put back after */
    size_t keep = t + 24 < RMORE ? 24 : RMORE - t;
    memcpy(logs, ref_log + t, keep * sizeof *logs);
    memcpy(offs, ref_off + t, keep * sizeof *offs);
    memcpy(profiles, ref_profile + t + 1, keep * sizeof *profiles);
    double day[24];
    for (size_t k = 0; k < 24; k++)
        day[k] = ref_predict(t, k, ref_hour(t), m);
    for (size_t k = 0; k < 24; k++)
        ref_push(t + k, day[k]);
    for (size_t k = 0; k < 24; k++)
        assert_near(got[24 + k], exp(ref_predict(t + 24, k, ref_hour(t), m)), 1e-4);
    memcpy(ref_log + t, logs, keep * sizeof *logs);
    memcpy(ref_off + t, offs, keep * sizeof *offs);
    memcpy(ref_profile + t + 1, profiles, keep * sizeof *profiles);
}

static void second_writing(void **state)
{
    forecast_history h;
    double wrong = 0, count = 0;
    size_t holes = 0;
    err e;
    seed = 21;
    for (size_t t = 0; t < RN; t++)
        ref_g[t] = (t / 24 % 7 < 2 ? 150 : 200) *
                   exp(0.3 * sin((double)ref_hour(t) * M_PI / 12) + 0.2 * noise());
    static const size_t hole[] = {0, 5, 6, 400, 401, 700, 900};
    for (size_t i = 0; i < 7; i++)
        ref_g[hole[i]] = (double)NAN;
    ref_g[500] = 0.25; /* counts as one gram */
    ref_g[501] = 0;
    for (size_t t = 0; t < RN; t++) {
        bool known = !isnan(ref_g[t]);
        holes += !known;
        ref_push(t, known     ? log(fmax(ref_g[t], 1))
                    : t >= 24 ? ref_profile[t][1][ref_hour(t)]
                    : t       ? ref_log[t - 1]
                              : log(400));
    }
    for (size_t o = 0; o < 24; o++)
        for (size_t k = 0; k < 24; k++)
            ref_fit(o, k);
    arena_reset(&scratch);
    if (!forecast_fit(ref_g, RN, RSTART, &scratch, &model, &e))
        fail_msg("%s", e.text);
    assert_int_equal(model.days, 40);
    forecast_history_init(&h, RSTART);
    for (size_t t = 0; t <= RN; t++) {
        if (t == 24 || t == 25 || t == RWARM - 1) /* not enough for the model: the profile */
            for (int with = 0; with < 2; with++) {
                double got[48];
                assert_int_equal(forecast_make(with ? &model : NULL, &h, 99, got),
                                 FORECAST_PROFILE);
                for (size_t k = 0; k < 48; k++)
                    assert_near(log(got[k]), log(got[k % 24]), 1e-12);
                for (size_t k = 0; k < 24; k++)
                    assert_near(log(got[k]), ref_profile[t][1][ref_hour(t + k)], 1e-12);
            }
        if (t >= RWARM && (t == RWARM || t == RN || t % 97 == 0))
            ref_compare(&model, &h, t);
        for (size_t k = 0; t >= RWARM && t % 7 == 0 && k < 24 && t + k < RN; k++)
            if (ref_g[t + k] > 0) {
                wrong += fabs(exp(ref_predict(t, k, ref_hour(t), true)) / ref_g[t + k] - 1);
                count++;
            }
        if (t < RN)
            forecast_push(&h, ref_g[t]);
    }
    assert_int_equal(h.filled, holes);
    assert_int_equal(h.pushed, RN);
    assert_true(h.next_s == RSTART + RN * INT64_C(3600));
    assert_near(model.mape_pct, 100 * wrong / count, 1e-6);
    /* A few hours only; and none before a day is over. */
    double few[3] = {7, 7, 7};
    forecast_make(&model, &h, 2, few);
    assert_near(few[1], exp(ref_predict(RN, 1, ref_hour(RN), true)), 1e-4);
    assert_near(few[2], 7, 0);
    forecast_history_init(&h, RSTART);
    for (int t = 0; t < 23; t++)
        forecast_push(&h, 100);
    assert_int_equal(forecast_make(&model, &h, 2, few), FORECAST_NONE);
    assert_true(isnan(few[0]) && isnan(few[1]) && few[2] == 7);
}

static void refused_fits(void **state)
{
    err e;
    arena_reset(&scratch);
    make(0.5);
    assert_false(forecast_fit(grid, 28 * 24 - 1, START, &scratch, &model, &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_string_equal(e.text, "671 hours of history; a fit needs 28 days");
    assert_true(forecast_fit(grid, 28 * 24, START, &scratch, &model, &e));
    alloc_fail_after(1);
    assert_false(forecast_fit(grid, 28 * 24, START, &scratch, &model, &e));
    alloc_fail_after(0);
    assert_int_equal(e.code, ERR_NO_MEMORY);
    assert_string_equal(forecast_method_name(FORECAST_MODEL), "regression");
    assert_string_equal(forecast_method_name(FORECAST_PROFILE), "profile");
    assert_string_equal(forecast_method_name(FORECAST_NONE), "none");
}

static int teardown(void **state)
{
    arena_fini(&scratch);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learns),
        cmocka_unit_test(published_forecasts_win),
        cmocka_unit_test(no_memory_no_advantage),
        cmocka_unit_test(blind_to_the_future),
        cmocka_unit_test(gaps_and_cold_start),
        cmocka_unit_test(second_writing),
        cmocka_unit_test(refused_fits),
    };
    arena_init(&scratch, 64 << 20);
    return cmocka_run_group_tests(tests, NULL, teardown);
}
