/* The ledger: conservation over random days with the model and with measured energy, laziness,
 * the kernel check, and that every rule of share.h survives the whole way. */
#include "unit.h"

#include "near.h"

#include "carbon/ledger.h"
#include "carbon/share.h"

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

/* Every figure of a day and of the next against sums that are kept here, use by use. */
typedef struct {
    double cpu_s[ROWS][24], window[ROWS], peak[ROWS];
    ledger_usage used[ROWS];
    int64_t window_s;
} account;

static void account_window(account *k, int64_t t)
{
    if (t - t % 10 == k->window_s)
        return;
    for (size_t i = 0; i < ROWS; i++) {
        k->peak[i] = fmax(k->peak[i], k->window[i] / 10);
        k->window[i] = 0;
    }
    k->window_s = t - t % 10;
}

static void account_close(account *k, ledger *l, int64_t opened, int64_t end,
                          const double intensity[24])
{
    ledger_row rows[ROWS];
    ledger_day d;
    int64_t day = opened - opened % 86400;
    double hour[24] = {0}, idle[24], embodied[24], idle_g = 0, node_j = 0, operational = 0, top = 0;
    account_window(k, INT64_MAX - 100);
    ledger_day_close(l, end, intensity, rows, &d);
    double idle_j = 24.0 * (double)(end - opened);
    for (int h = 0; h < 24; h++) {
        for (size_t i = 0; i < ROWS; i++)
            hour[h] += k->cpu_s[i][h];
        int64_t from = day + h * 3600, to = from + 3600;
        from = from > opened ? from : opened;
        to = to < end ? to : end;
        if (to > from)
            idle_g += 24.0 * (double)(to - from) / 3.6e6 * intensity[h];
        top = fmax(top, hour[h] / 3600);
        assert_near(ledger_hour_cpus(l, (size_t)h), hour[h] / 3600, 1e-9);
    }
    double idle_left = share_periods(hour, 24, 8 * 3600, idle_j, idle);
    double m = 0.01 * (double)(end - opened),
           m_left = share_periods(hour, 24, 8 * 3600, m, embodied);
    for (size_t i = 0; i < ROWS; i++) {
        double dynamic = 0, dynamic_g = 0, share = 0, m_share = 0;
        for (int h = 0; h < 24; h++) {
            double part = hour[h] > 0 ? k->cpu_s[i][h] / hour[h] : 0, cpu_s, j;
            dynamic += 3 * k->cpu_s[i][h];
            dynamic_g += 3 * k->cpu_s[i][h] / 3.6e6 * intensity[h];
            share += idle[h] * part;
            m_share += embodied[h] * part;
            ledger_hour(l, i, (size_t)h, &cpu_s, &j);
            assert_near(cpu_s, k->cpu_s[i][h], 1e-9);
            assert_near(j, 3 * k->cpu_s[i][h], 1e-6);
        }
        assert_near(rows[i].dynamic_j, dynamic, 1e-6);
        assert_near(rows[i].dynamic_g, dynamic_g, 1e-9);
        assert_near(rows[i].idle_j, share, 1e-6);
        assert_near(rows[i].operational_g, dynamic_g + share * idle_g / idle_j, 1e-9);
        assert_near(rows[i].embodied_g, m_share, 1e-9);
        assert_near(rows[i].peak_cpus, k->peak[i], 1e-12);
        assert_memory_equal(&rows[i].used, &k->used[i], sizeof rows[i].used);
        node_j += dynamic;
        operational += dynamic_g;
    }
    assert_near(d.node_j, node_j + idle_j, 1e-6);
    assert_near(d.operational_g, operational + idle_g, 1e-9);
    assert_near(d.idle_unallocated_j, idle_left, 1e-6);
    assert_near(d.embodied_g, m, 1e-9);
    assert_near(d.embodied_unallocated_g, m_left, 1e-9);
    assert_near(d.operational_unallocated_g, idle_left * idle_g / idle_j, 1e-9);
    assert_near(d.peak_cpus, top, 1e-9);
    assert_near(d.dynamic_lost_j, 0, 0);
    assert_int_equal(d.rows, ROWS);
}

static void every_figure(void **state)
{
    arena a;
    ledger *l;
    static account k;
    double intensity[24];
    int64_t opened = DAY + 5000; /* a node that started at half past one */
    for (size_t h = 0; h < 24; h++)
        intensity[h] = 100 + 10 * (double)h;
    arena_init(&a, 1 << 20);
    assert_true(ledger_new(&a, ROWS, opened, &power, 8, 0.01, &l, NULL));
    for (int day = 0; day < 2; day++) {
        int64_t end = day ? DAY + 86400 + 40000 : DAY + 86400;
        memset(&k, 0, sizeof k);
        k.window_s = opened - opened % 10;
        for (int64_t t = opened; t < end; t += uniform() < 0.02 ? 3000 : (int64_t)(uniform() * 9)) {
            size_t row = (size_t)(uniform() * (ROWS - 2));
            ledger_usage u = {.calls = 1 + (uint64_t)(uniform() * 3),
                              .cpu_ns = uniform() < 0.1 ? 0 : (uint64_t)(uniform() * 3e9),
                              .wall_ns = (uint64_t)(uniform() * 9e9),
                              .bytes_in = 5,
                              .bytes_out = 7,
                              .memory_peak_bytes = (uint64_t)(uniform() * 1e6)};
            account_window(&k, t);
            int64_t said = uniform() < 0.1 ? t - 7 : t; /* a clock that is late */
            ledger_use(l, row, t, &(ledger_usage){0});
            ledger_use(l, row, said, &u);
            k.cpu_s[row][(t - t / 86400 * 86400) / 3600] += (double)u.cpu_ns / 1e9;
            k.window[row] += (double)u.cpu_ns / 1e9;
            k.used[row].calls += u.calls;
            k.used[row].cpu_ns += u.cpu_ns;
            k.used[row].wall_ns += u.wall_ns;
            k.used[row].bytes_in += 5;
            k.used[row].bytes_out += 7;
            if (u.memory_peak_bytes > k.used[row].memory_peak_bytes)
                k.used[row].memory_peak_bytes = u.memory_peak_bytes;
        }
        account_close(&k, l, opened, end, intensity);
        assert_false(ledger_day_over(l, DAY + (day + 1) * 86400 - 1));
        assert_true(ledger_day_over(l, DAY + (day + 1) * 86400));
        opened = DAY + 86400;
        ledger_day_next(l, opened + 100);
    }
    arena_fini(&a);
}

/* A day is asked for beyond its end: it ends there. */
static void no_later_than_midnight(void **state)
{
    arena a;
    ledger *l = make(&a, false);
    double intensity[24];
    ledger_row rows[ROWS];
    ledger_day d;
    for (size_t h = 0; h < 24; h++)
        intensity[h] = h == 23 ? 1000 : 100;
    ledger_day_close(l, DAY + 99999, intensity, rows, &d);
    assert_near(d.node_j, 24 * 86400, 1e-6);
    assert_near(d.embodied_g, 864, 1e-9);
    assert_near(d.operational_g, 24 * 3600 / 3.6e6 * (23 * 100 + 1000), 1e-9);
    ledger_day idle = ledger_day_idle(l, intensity);
    assert_near(idle.node_j, 24 * 86400, 1e-6);
    assert_near(idle.idle_unallocated_j, 24 * 86400, 1e-6);
    assert_near(idle.embodied_g, 864, 1e-9);
    assert_near(idle.embodied_unallocated_g, 864, 1e-9);
    assert_near(idle.operational_unallocated_g, d.operational_g, 1e-9);
    assert_int_equal(idle.rows, ROWS);
    assert_near(ledger_hour_cpus(l, 24), 0, 0);
    arena_fini(&a);
}

/* Windows are of ten seconds from round ones on, and each is told once, with what is in it. */
static void window_by_window(void **state)
{
    arena a;
    ledger *l = make(&a, false);
    int64_t start;
    assert_near(ledger_window_cpus(l, &start), 0, 0);
    assert_int_equal(start, DAY);
    ledger_usage u = {.calls = 1, .cpu_ns = 1000000000};
    ledger_use(l, 2, DAY + 3, &u);
    ledger_use(l, 3, DAY + 9, &u);
    assert_near(ledger_window_cpus(l, &start), 0, 0); /* it is open */
    ledger_use(l, 2, DAY + 10, &u);
    assert_near(ledger_window_cpus(l, &start), 0.2, 1e-12);
    assert_int_equal(start, DAY);
    ledger_use(l, 2, DAY + 19, &u);
    ledger_use(l, 2, DAY + 57, &u);
    assert_near(ledger_window_cpus(l, &start), 0.2, 1e-12);
    assert_int_equal(start, DAY + 10);
    ledger_use(l, 2, DAY + 60, &u);
    assert_near(ledger_window_cpus(l, &start), 0.1, 1e-12);
    assert_int_equal(start, DAY + 50);
    ledger_day_next(l, DAY + 86400 + 55);
    ledger_use(l, 2, DAY + 86400 + 3, &u);
    ledger_use(l, 2, DAY + 86400 + 10, &u);
    assert_near(ledger_window_cpus(l, &start), 0.1, 1e-12);
    assert_int_equal(start, DAY + 86400);
    arena_fini(&a);
}

/* Measured energy: idle by time to its hours, the rest to who ran, of that the hour of the last. */
static void measured_by_hand(void **state)
{
    arena a;
    ledger *l = make(&a, true); /* 20 W idle, PUE 1.2 */
    double intensity[24] = {100, 200, 400}, cpu_s, j;
    ledger_row rows[ROWS];
    ledger_day d;
    ledger_usage u = {.calls = 1, .cpu_ns = 1000000000}, three = {.calls = 1, .cpu_ns = 3000000000};
    ledger_use(l, 2, DAY + 100, &u);
    ledger_use(l, 3, DAY + 3500, &three);
    ledger_energy(l, DAY + 5400, 20 * 5400 + 80);
    ledger_hour(l, 2, 0, &cpu_s, &j);
    assert_near(j, 20 * 1.2, 1e-9);
    ledger_hour(l, 3, 0, &cpu_s, &j);
    assert_near(j, 60 * 1.2, 1e-9);
    ledger_energy(l, DAY + 5400, 7);     /* again, in no time: lost, as nobody ran */
    ledger_energy(l, DAY + 7200, 18000); /* half of what idle should be */
    ledger_use(l, 2, DAY + 7200, &u);
    ledger_energy(l, DAY + 7000, 50); /* a reading that is late counts now */
    ledger_energy(l, DAY + 9000, 36000 + 30);
    ledger_day_close(l, DAY + 10800, intensity, rows, &d); /* half an hour without a reading */
    assert_near(rows[2].dynamic_j, (20 + 50) * 1.2, 1e-9);
    assert_near(rows[3].dynamic_j, 60 * 1.2, 1e-9);
    assert_near(d.dynamic_lost_j, (7 + 30) * 1.2, 1e-9);
    double idle0 = 20 * 3600 * 1.2, idle1 = (20 * 1800 + 18000) * 1.2,
           idle2 = (36000 + 30 + 36000) * 1.2;
    assert_near(d.node_j, idle0 + idle1 + idle2 + (80 + 50) * 1.2, 1e-6);
    assert_near(d.operational_g,
                (idle0 * 100 + idle1 * 200 + idle2 * 400 + 96 * 100 + 60 * 400) / 3.6e6, 1e-9);
    arena_fini(&a);
}

static void sums(void **state)
{
    ledger_usage u = {1, 2, 3, 4, 5, 60}, v = {10, 20, 30, 40, 50, 6};
    ledger_usage_add(&u, &v);
    assert_true(u.calls == 11 && u.cpu_ns == 22 && u.wall_ns == 33 && u.bytes_in == 44 &&
                u.bytes_out == 55 && u.memory_peak_bytes == 60);
    v.memory_peak_bytes = 61;
    ledger_usage_add(&u, &v);
    assert_int_equal(u.memory_peak_bytes, 61);
    ledger_row r = {{1, 2, 3, 4, 5, 6}, 1, 2, 3, 4, 5, 6}, s = r;
    s.peak_cpus = 4;
    ledger_row_add(&r, &s);
    assert_true(r.used.calls == 2 && r.dynamic_j == 2 && r.idle_j == 4 && r.operational_g == 6 &&
                r.embodied_g == 8 && r.peak_cpus == 5 && r.dynamic_g == 12);
    s.peak_cpus = 9;
    ledger_row_add(&r, &s);
    assert_near(r.peak_cpus, 9, 0);
}

static void made_or_not(void **state)
{
    arena a;
    ledger *l = NULL;
    err e;
    arena_init(&a, 1 << 20);
    static const size_t bad[] = {0, 1, LEDGER_ROWS_MAX + 1};
    for (size_t i = 0; i < 3; i++) {
        assert_false(ledger_new(&a, bad[i], DAY, &power, 8, 0, &l, &e));
        assert_int_equal(e.code, ERR_LIMIT);
        assert_string_equal(e.text, "a ledger has 2 to 1048576 rows");
    }
    assert_false(ledger_new(&a, LEDGER_ROWS_MAX, DAY, &power, 8, 0, &l, &e));
    assert_int_equal(e.code, ERR_NO_MEMORY);
    for (size_t n = 1; n <= 4; n++) {
        alloc_fail_after(n);
        assert_false(ledger_new(&a, 2, DAY, &power, 8, 0, &l, &e));
        assert_int_equal(e.code, ERR_NO_MEMORY);
    }
    alloc_fail_after(0);
    assert_null(l);
    assert_true(ledger_new(&a, 2, DAY, &power, 8, 0, &l, &e));
    arena_fini(&a);
}

static void kernel_time_at_its_edges(void **state)
{
    uint64_t slice[3] = {100, 200, 300}, odd[3] = {1, 1, 1};
    double off = 7;
    assert_int_equal(meter_scale(slice, 3, 600), 0);
    assert_true(slice[0] == 100 && slice[1] == 200 && slice[2] == 300);
    assert_int_equal(meter_scale(slice, 0, 5), 5);
    assert_int_equal(meter_scale(slice, 3, 599), 2);
    assert_true(slice[0] == 99 && slice[1] == 199 && slice[2] == 299);
    assert_int_equal(meter_scale(odd, 3, 2), 2); /* rounded away */
    assert_true(meter_agrees(1250, 1000, 0.25, &off));
    assert_near(off, 0.25, 0);
    assert_true(meter_agrees(750, 1000, 0.25, &off));
    assert_false(meter_agrees(1251, 1000, 0.25, &off));
    assert_false(meter_agrees(1, 0, 1e9, &off));
    assert_true(isinf(off));
    assert_true(meter_agrees(0, 0, 0, &off));
    assert_near(off, 0, 0);
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
        cmocka_unit_test(every_figure),
        cmocka_unit_test(no_later_than_midnight),
        cmocka_unit_test(window_by_window),
        cmocka_unit_test(measured_by_hand),
        cmocka_unit_test(sums),
        cmocka_unit_test(made_or_not),
        cmocka_unit_test(kernel_time_at_its_edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
