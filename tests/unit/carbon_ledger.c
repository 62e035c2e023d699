/* The ledger: conservation over random days with the model and with measured energy, laziness,
 * the kernel check, and that every rule of share.h survives the whole way. */
#include "unit.h"

#include "near.h"

#include "carbon/ledger.h"

#include <math.h>
#include <string.h>

enum { ROWS = 12 };
static const int64_t DAY = 1640995200; /* 2022-01-01 */
static const power_model power = {20, 2.5, 8, 1.2, POWER_MODEL, 0.35};

static uint64_t seed = 7;
static double uniform(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 11) / 9007199254740992.0;
}

static ledger *make(arena *a, bool measured)
{
    ledger *l;
    power_model p = power;
    p.source = measured ? POWER_RAPL : POWER_MODEL;
    arena_init(a, 1 << 20);
    assert_true(ledger_new(a, ROWS, DAY, &p, 8, 0.01, &l, NULL));
    return l;
}

static void check_sums(const ledger_row *rows, const ledger_day *d)
{
    double j = d->idle_unallocated_j, g = d->embodied_unallocated_g;
    double op = d->operational_unallocated_g;
    for (size_t i = 0; i < ROWS; i++) {
        j += rows[i].dynamic_j + rows[i].idle_j;
        g += rows[i].embodied_g;
        op += rows[i].operational_g;
        if (rows[i].used.cpu_ns == 0)
            assert_true(rows[i].dynamic_j == 0 && rows[i].idle_j == 0 && rows[i].embodied_g == 0);
    }
    assert_near(j, d->node_j, 1e-9 * d->node_j);
    assert_near(g, d->embodied_g, 1e-9 * d->embodied_g);
    assert_near(op, d->operational_g, 1e-9 * d->operational_g);
}

static void conservation(void **state)
{
    double intensity[24];
    for (int round = 0; round < 40; round++) {
        arena a;
        bool measured = round % 2;
        ledger *l = make(&a, measured);
        double cpu_s = 0, energy = 0;
        int64_t t = DAY, sampled = DAY;
        double since = 0;
        for (size_t h = 0; h < 24; h++)
            intensity[h] = 50 + 500 * uniform();
        while ((t += (int64_t)(uniform() * (uniform() < 0.05 ? 9000 : 40))) < DAY + 86400) {
            ledger_usage u = {.calls = 1, .cpu_ns = (uint64_t)(uniform() * 3e9)};
            size_t row = (size_t)(uniform() * (ROWS - 2)); /* the last two never run */
            ledger_use(l, row, t, &u);
            cpu_s += (double)u.cpu_ns / 1e9;
            since += (double)u.cpu_ns / 1e9;
            if (measured && uniform() < 0.2) {
                double j = 21 * (double)(t - sampled) + 3 * since;
                ledger_energy(l, t, j);
                energy += j * power.pue;
                sampled = t;
                since = 0;
            }
        }
        ledger_row rows[ROWS];
        ledger_day d;
        ledger_day_close(l, DAY + 86400, intensity, rows, &d);
        check_sums(rows, &d);
        assert_near(d.embodied_g, 864, 1e-9);
        double want = measured ? energy + power_j(&power, (double)(DAY + 86400 - sampled), since)
                               : power_j(&power, 86400, cpu_s);
        assert_near(d.node_j, want, 1e-6 * want);
        double booked = 0;
        for (size_t i = 0; i < ROWS; i++)
            booked += (double)rows[i].used.cpu_ns / 1e9;
        assert_near(booked, cpu_s, 1e-6);
        arena_fini(&a);
    }
}

/* Two apps that do the same at the same times pay the same. */
static void symmetry(void **state)
{
    arena a;
    ledger *l = make(&a, false);
    double intensity[24];
    for (size_t h = 0; h < 24; h++)
        intensity[h] = 100 + (double)h;
    for (int64_t t = DAY; t < DAY + 86400; t += 600) {
        ledger_usage u = {.calls = 2, .cpu_ns = 400000000, .wall_ns = 1};
        ledger_usage noise = {.calls = 1, .cpu_ns = (uint64_t)(1e9 * uniform())};
        ledger_use(l, 3, t, &u);
        ledger_use(l, 5, t, &noise);
        ledger_use(l, 4, t, &u);
    }
    ledger_row rows[ROWS];
    ledger_day d;
    ledger_day_close(l, DAY + 86400, intensity, rows, &d);
    check_sums(rows, &d);
    assert_near(rows[3].dynamic_j, rows[4].dynamic_j, 1e-9);
    assert_near(rows[3].idle_j, rows[4].idle_j, 1e-9);
    assert_near(rows[3].embodied_g, rows[4].embodied_g, 1e-12);
    assert_near(rows[3].peak_cpus, 0.04, 1e-12);
    arena_fini(&a);
}

/* A day nobody uses is the idle day; a call at noon does not need a tick before. */
static void idle_is_lazy(void **state)
{
    arena a;
    ledger *l = make(&a, false);
    double intensity[24];
    for (size_t h = 0; h < 24; h++)
        intensity[h] = h == 5 ? 1000 : 100;
    ledger_row rows[ROWS];
    ledger_day d, idle = ledger_day_idle(l, intensity);
    ledger_day_close(l, DAY + 86400, intensity, rows, &d);
    assert_near(d.node_j, 20 * 1.2 * 86400, 1e-6);
    assert_near(d.idle_unallocated_j, d.node_j, 1e-6);
    assert_near(d.operational_g, idle.operational_g, 1e-9);
    assert_near(d.operational_g, 24.0 * 3600 / 3.6e6 * (23 * 100 + 1000), 1e-9);
    ledger_day_next(l, DAY + 86400);
    ledger_usage u = {.calls = 1, .cpu_ns = 1000000000};
    assert_false(ledger_day_over(l, DAY + 86400 + 43200));
    ledger_use(l, 2, DAY + 86400 + 43200, &u);
    ledger_day_close(l, DAY + 86400 + 50000, intensity, rows, &d);
    check_sums(rows, &d);
    assert_near(rows[2].dynamic_j, 3.0, 1e-9);
    assert_near(d.node_j, 24.0 * 50000 + 3.0, 1e-6);
    assert_true(ledger_day_over(l, DAY + 2 * 86400));
    arena_fini(&a);
}

typedef struct {
    ledger_usage sum;
    int64_t last_s;
    int windows;
} sink;

static void window_seen(void *context, size_t row, int64_t start_s, const ledger_usage *u)
{
    sink *s = context;
    assert_true(row == 2 || row == 3);
    assert_true(start_s >= s->last_s && start_s % LEDGER_WINDOW_S == 0);
    s->last_s = start_s;
    s->windows++;
    s->sum.calls += u->calls;
    s->sum.cpu_ns += u->cpu_ns;
    s->sum.bytes_in += u->bytes_in;
}

/* Windows add up to the day, and a provisional bill in between changes nothing. */
static void windows_and_snapshots(void **state)
{
    arena a[2];
    double intensity[24];
    ledger_row rows[2][ROWS];
    ledger_day d[2];
    sink s = {.last_s = DAY};
    for (size_t h = 0; h < 24; h++)
        intensity[h] = 200 + (double)h;
    for (int with = 0; with < 2; with++) {
        ledger *l = make(&a[with], false);
        if (with)
            ledger_on_window(l, window_seen, &s);
        for (int i = 0; i < 3000; i++) {
            ledger_usage u = {.calls = 1, .cpu_ns = 1000000, .bytes_in = 7};
            ledger_use(l, 2 + (size_t)(i % 2), DAY + i * 4, &u);
            if (with && i % 500 == 0) {
                ledger_day_close(l, DAY + i * 4, intensity, rows[1], &d[1]);
                check_sums(rows[1], &d[1]);
            }
        }
        double cpu_s, j;
        ledger_hour(l, 2, 1, &cpu_s, &j);
        assert_near(cpu_s, 0.45, 1e-9);
        ledger_day_close(l, DAY + 86400, intensity, rows[with], &d[with]);
        ledger_hour(l, 2, 1, &cpu_s, &j);
        assert_near(j, 0.45 * 2.5 * 1.2, 1e-9);
        check_sums(rows[with], &d[with]);
    }
    assert_near(d[0].node_j, d[1].node_j, 1e-6);
    for (size_t i = 0; i < ROWS; i++) {
        assert_near(rows[0][i].dynamic_j, rows[1][i].dynamic_j, 1e-9);
        assert_near(rows[0][i].idle_j, rows[1][i].idle_j, 1e-9);
    }
    assert_int_equal(s.sum.calls, 3000);
    assert_int_equal(s.sum.cpu_ns, 3000000000u);
    assert_int_equal(s.sum.bytes_in, 21000);
    assert_true(s.windows >= 2400 && s.windows <= 2412);
    arena_fini(&a[0]);
    arena_fini(&a[1]);
}

/* Work at the peak hour costs more than the same work at night, and moving it lowers the bill. */
static double idle_bill(int hour_of_mine)
{
    arena a;
    ledger *l = make(&a, false);
    double intensity[24];
    for (size_t h = 0; h < 24; h++)
        intensity[h] = 100;
    for (int h = 0; h < 24; h++) {
        ledger_usage others = {.calls = 1, .cpu_ns = (uint64_t)(h == 12 ? 9e12 : 2e12)};
        ledger_usage mine = {.calls = 1, .cpu_ns = 500000000000u};
        ledger_use(l, 2, DAY + h * 3600, &others);
        if (h == hour_of_mine)
            ledger_use(l, 3, DAY + h * 3600, &mine);
    }
    ledger_row rows[ROWS];
    ledger_day d;
    ledger_day_close(l, DAY + 86400, intensity, rows, &d);
    check_sums(rows, &d);
    arena_fini(&a);
    return rows[3].idle_j + rows[3].embodied_g;
}

static void deferring_pays(void **state) { assert_true(idle_bill(3) < 0.5 * idle_bill(12)); }

/* One interruption, where it can have been. */
static void lost_time(void **state)
{
    assert_int_equal(meter_lost(1000, 100, 0), 0);
    assert_int_equal(meter_lost(1000, 0, 300), 300);
    assert_int_equal(meter_lost(4000, 200, 3000), 3000); /* the rest is too short for it */
    assert_int_equal(meter_lost(1000, 3200, 3000), 0);   /* the slice is */
    assert_int_equal(meter_lost(3500, 3500, 3000), 1500);
    assert_int_equal(meter_lost(4000, 3500, 3000), 2000); /* 1000 really against 500 */
    assert_int_equal(meter_lost(3000, 3000, 3000), 1500);
    assert_int_equal(meter_lost(100, 100, 150), 75);
    assert_int_equal(meter_lost(100, 50, 200), 100);
    assert_int_equal(meter_lost(0, 0, 7), 0);
    for (uint64_t slice = 0; slice < 60; slice += 3)
        for (uint64_t rest = 0; rest < 60; rest += 5)
            for (uint64_t lost = 0; lost <= slice + rest; lost++) {
                uint64_t here = meter_lost(slice, rest, lost);
                assert_true(here <= slice && here <= lost);
                assert_true(lost - here <= rest + 1); /* the other side bears what is left */
            }
}

static void kernel_time(void **state)
{
    uint64_t slice[3] = {100, 200, 300};
    assert_int_equal(meter_scale(slice, 3, 1000), 400);
    assert_int_equal(slice[2], 300);
    uint64_t over = meter_scale(slice, 3, 301);
    assert_int_equal(slice[0] + slice[1] + slice[2] + over, 301);
    assert_int_equal(slice[1], 100);
    double off;
    assert_true(meter_agrees(995, 1000, 0.01, &off));
    /* A dropped sample (here one slice of 30 ms in a second) is seen. */
    assert_false(meter_agrees(970000000, 1000000000, 0.01, &off));
    assert_near(off, -0.03, 1e-12);
    assert_false(meter_agrees(5, 0, 0.01, &off));
    assert_true(meter_agrees(0, 0, 0.01, &off));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conservation),
        cmocka_unit_test(symmetry),
        cmocka_unit_test(idle_is_lazy),
        cmocka_unit_test(deferring_pays),
        cmocka_unit_test(lost_time),
        cmocka_unit_test(kernel_time),
        cmocka_unit_test(windows_and_snapshots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
