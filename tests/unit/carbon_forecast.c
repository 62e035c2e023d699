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
    };
    arena_init(&scratch, 64 << 20);
    return cmocka_run_group_tests(tests, NULL, teardown);
}
