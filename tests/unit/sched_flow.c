/* The controllers: utilisation, back-pressure, slow start; and the load forecast. */
#include "unit.h"

#include "near.h"
#include "sched/flow.h"
#include "sched/load.h"

static void utilisation(void **state)
{
    util_control u;
    util_init(&u, 0.85);
    /* A node whose use is 0.5 + 0.4 S settles at the target from above. */
    for (int i = 0; i < 200; i++)
        util_step(&u, 0.5 + 0.4 * u.s, false);
    assert_near(0.5 + 0.4 * u.s, 0.85, 0.02);
    /* Reserved work takes the node: opportunistic work is gone within a minute... */
    for (int i = 0; i < 6; i++)
        util_step(&u, 1.0, false);
    assert_true(u.s < 0.05);
    /* ...except what is due in this slot; and not on a full node. */
    util_step(&u, 0.97, true);
    assert_near(u.s, 1, 0);
    util_step(&u, 1.0, true);
    assert_true(u.s < 1);
    for (int i = 0; i < 300; i++)
        util_step(&u, 0.99, false);
    for (int i = 0; i < 60; i++) /* and it comes back when the node is free, never above 1 */
        util_step(&u, 0.2, false);
    assert_near(u.s, 1, 0);
}

/* One step of each kind, from the definition in flow.h. */
static void utilisation_steps(void **state)
{
    static const struct {
        double s, target, utilisation;
        bool due;
        double want;
    } step[] = {
        {1, 0.85, 0.9, false, 0.8},        /* 4 x what is too much */
        {1, 0.85, 1, false, 0.5},          /* but half at most */
        {0.5, 0.85, 0.8, false, 0.55},     /* back by what is free */
        {0.5, 0.85, 0.2, false, 0.6},      /* but a tenth at most */
        {0.95, 0.85, 0.2, false, 1},       /* never above 1 */
        {0.003, 0.85, 0.848, false, 0.01}, /* from nothing */
        {0.015, 0.85, 1, false, 0.0075},   /* only where there is room */
        {0.005, 0.5, 0.5, false, 0.005},   {0.01, 0.5, 0.5, false, 0.01},
        {0.5, 0.85, 0.97, true, 1},    /* due */
        {0.5, 0.85, 0.98, true, 0.25}, /* a full node */
        {0.5, 0.85, 0.97, false, 0.26},
    };
    for (size_t i = 0; i < sizeof step / sizeof *step; i++) {
        util_control u = {step[i].s, step[i].target};
        util_step(&u, step[i].utilisation, step[i].due);
        assert_near(u.s, step[i].want, 1e-12);
    }
    util_control u;
    util_init(&u, 0.7);
    assert_near(u.s, 1, 0);
    assert_near(u.target, 0.7, 0);
}

/* What a window's calls make of the limit of the next. */
static void windows(void **state)
{
    static const struct {
        double limit, rate_max;
        uint64_t started, pushed, ended;
        double want;
    } window[] = {
        {100, 1000, 0, 0, 0, 100},
        {200, 1000, 0, 0, 0, 200 / 1.2}, /* unused: forgotten... */
        {110, 1000, 0, 0, 0, 100},       /* ...down to what is free */
        {200, 1000, 159, 0, 159, 200 / 1.2},
        {200, 1000, 160, 0, 160, 240}, /* four fifths used: it grows */
        {50, 1000, 40, 0, 40, 60},     /* by ten up to what is free */
        {95, 1000, 95, 0, 95, 100},
        {100, 1000, 80, 0, 80, 120},
        {100, 1000, 100, 5, 100, 120}, /* a twentieth pushed back is no failure */
        {100, 1000, 100, 6, 100, 50},
        {100, 1000, 0, 1, 1, 50},
        {1.5, 1000, 1, 1, 1, 1},    /* one call always asks */
        {110, 2, 110, 0, 110, 120}, /* the maximum of a window */
    };
    for (size_t i = 0; i < sizeof window / sizeof *window; i++) {
        aimd a = {.rate_max = window[i].rate_max,
                  .limit = window[i].limit,
                  .started = window[i].started,
                  .pushed = window[i].pushed,
                  .ended = window[i].ended,
                  .window_start = NS_PER_S,
                  .filled = NS_PER_S};
        aimd_result(&a, 61 * NS_PER_S - 1, false); /* the last of its window */
        assert_near(a.limit, window[i].limit, 0);
        a.ended = window[i].ended;
        assert_true(aimd_take(&a, 61 * NS_PER_S));
        assert_near(a.limit, window[i].want, 1e-9);
        assert_true(a.window_start == 61 * NS_PER_S);
        assert_true(a.started == 1 && !a.pushed && !a.ended);
    }
    /* After a long silence 64 windows are as good as all. */
    aimd a = {.rate_max = 1e9, .limit = 1e9};
    aimd_result(&a, 1000 * 60 * NS_PER_S, true);
    assert_near(a.limit, 1e9 / pow(1.2, 64), 1e-3);
    assert_true(a.window_start == 60000 * NS_PER_S && a.ended == 1 && a.pushed == 1);
}

static void tokens(void **state)
{
    static const struct {
        double rate_max, limit, tokens;
    } made[] = {{1000, 100, 100 / 60.0}, {0.5, 30, 1}, {0.01, 0.6, 0.6}};
    for (size_t i = 0; i < 3; i++) {
        aimd a;
        aimd_init(&a, 5, made[i].rate_max);
        assert_near(a.rate_max, made[i].rate_max, 0);
        assert_near(a.limit, made[i].limit, 1e-12);
        assert_near(a.tokens, made[i].tokens, 1e-12);
        assert_true(a.window_start == 5 && a.filled == 5 && !a.started && !a.pushed && !a.ended);
    }
    aimd a;
    aimd_init(&a, 0, 0.5); /* 30 a window: one every two seconds, and no more in store */
    assert_true(aimd_take(&a, 0));
    assert_near(a.tokens, 0, 0);
    assert_false(aimd_take(&a, 1));
    assert_near(a.tokens, 5e-10, 1e-20);
    assert_false(aimd_take(&a, 2 * NS_PER_S - 100));
    assert_true(aimd_take(&a, 2 * NS_PER_S + 100));
    assert_false(aimd_take(&a, NS_PER_S)); /* time never goes back */
    assert_true(a.filled == 2 * NS_PER_S + 100);
    assert_true(aimd_take(&a, 30 * NS_PER_S));
    assert_false(aimd_take(&a, 30 * NS_PER_S));
    assert_int_equal(a.started, 3);
    aimd_init(&a, 0, 1000); /* 100 a window: a second's worth in store */
    assert_true(aimd_take(&a, 20 * NS_PER_S));
    assert_near(a.tokens, 100 / 60.0 - 1, 1e-12);
}

static double offered(aimd *a, ns *now, double rate, int seconds, bool failing)
{
    int done = 0;
    for (int i = 0; i < seconds * 100; i++) {
        *now += NS_PER_S / 100;
        for (double k = 0; k < rate / 100; k++)
            if (aimd_take(a, *now)) {
                done++;
                aimd_result(a, *now, failing);
            }
    }
    return (double)done / seconds;
}

static void slow_start(void **state)
{
    aimd a;
    ns now = 5 * NS_PER_S;
    aimd_init(&a, now, 1000);
    double first = offered(&a, &now, 500, 60, false);
    assert_true(first <= FLOW_FREE_CALLS / 60.0 + 0.2);
    double before = first;
    for (int minute = 0; minute < 10; minute++) { /* at most a fifth a minute */
        double rate = offered(&a, &now, 500, 60, false);
        assert_true(rate <= before * FLOW_GROWTH + 0.3);
        before = rate;
    }
    assert_true(before > 4 * first);
    for (int minute = 0; minute < 40; minute++)
        before = offered(&a, &now, 2000, 60, false);
    assert_true(before <= 1000.5); /* the maximum holds */
}

static void back_pressure(void **state)
{
    aimd a;
    ns now = 0;
    aimd_init(&a, now, 1000);
    for (int minute = 0; minute < 30; minute++)
        offered(&a, &now, 200, 60, false);
    double high = offered(&a, &now, 200, 60, false);
    assert_true(high > 100);
    offered(&a, &now, 200, 60, true);
    double half = offered(&a, &now, 200, 60, true);
    assert_true(half <= high * FLOW_CUT * FLOW_GROWTH + 0.2); /* it was growing when cut */
    for (int minute = 0; minute < 20; minute++)
        offered(&a, &now, 200, 60, true);
    double low = offered(&a, &now, 200, 60, true);
    assert_true(low > 0 && low < 0.1); /* one call a minute still asks whether it lives */
    for (int minute = 0; minute < 60; minute++)
        low = offered(&a, &now, 200, 60, false);
    assert_true(low > 100);
}

/* The turns of a line: as far apart as the limit wants, which grows from window to window. */
static void turns(void **state)
{
    aimd a;
    ns second = NS_PER_S, from = 7 * second;
    aimd_init(&a, from, 1000);
    assert_false(aimd_has_line(&a, from));
    for (int i = 1; i <= 100; i++)
        assert_near((double)(aimd_turn(&a, from) - from), i * 0.6e9, 100);
    for (int i = 1; i <= 120; i++)
        assert_near((double)(aimd_turn(&a, from) - from), 60e9 + i * 0.5e9, 1000);
    assert_true(aimd_has_line(&a, from + 119 * second) && !aimd_has_line(&a, from + 120 * second));
    /* Once it is over the next line begins at the present time. */
    assert_near((double)aimd_turn(&a, from + 130 * second), 137e9 + 0.6e9, 100);
    /* Up to what is free the limit grows by ten. */
    a = (aimd){.rate_max = 1000, .limit = 1, .window_start = from, .filled = from};
    assert_true(aimd_turn(&a, from) == from + 60 * second);
    for (int i = 1; i <= 11; i++)
        assert_near((double)(aimd_turn(&a, from) - from), 60e9 + i * 60e9 / 11, 1000);
    a.turn = from + 120 * second;
    assert_near((double)(aimd_turn(&a, from) - from), 120e9 + 60e9 / 21, 1000);
    /* The maximum holds, be it less than one a window. */
    aimd_init(&a, 0, 0.01);
    assert_near((double)aimd_turn(&a, 0), 100e9, 100);
    assert_near((double)aimd_turn(&a, 0), 200e9, 100);
    assert_true(aimd_take_turn(&a, 0) && !aimd_take_turn(&a, 0));
    /* A cut holds for turns that are given from then on. */
    aimd_init(&a, 0, 1000);
    for (int i = 0; i < 150; i++)
        aimd_turn(&a, 0);
    aimd_result(&a, second, true);
    ns last = a.turn;
    assert_near((double)(aimd_turn(&a, 60 * second) - last), 60e9 / 50, 100);
    assert_near((double)(aimd_turn(&a, 60 * second) - last), 120e9 / 50, 100);
}

enum { CROWD = 5000 };

typedef struct {
    ns due[CROWD]; /* 0: it has not been looked at; UINT64_MAX: it has begun */
    long looks;
    int begun;
} crowd;

/* A minute of a worker that looks each second at all calls that may begin. */
static int crowd_minute(crowd *c, aimd *a, ns *now, bool failing)
{
    int before = c->begun;
    for (int s = 0; s < 60; s++) {
        *now += NS_PER_S;
        for (int i = 0; i < CROWD; i++) {
            if (c->due[i] > *now)
                continue;
            c->looks++;
            bool lets =
                c->due[i] ? aimd_take_turn(a, *now) : !aimd_has_line(a, *now) && aimd_take(a, *now);
            if (lets) {
                aimd_result(a, *now, failing);
                c->due[i] = UINT64_MAX;
                c->begun++;
            } else {
                c->due[i] = aimd_turn(a, *now);
            }
        }
    }
    return c->begun - before;
}

/* Each call of a crowd is looked at once, and again when its turn comes: then it begins. */
static void a_line_moves_as_the_limit_grows(void **state)
{
    static crowd c;
    aimd a;
    ns now = 0;
    c = (crowd){0};
    aimd_init(&a, now, 1000);
    int last = crowd_minute(&c, &a, &now, false), minutes = 1;
    assert_true(last >= 95 && last <= FLOW_FREE_CALLS + 1);
    for (; c.begun < CROWD && minutes < 30; minutes++) {
        int n = crowd_minute(&c, &a, &now, false);
        assert_true(n <= last * FLOW_GROWTH + 3);
        assert_true(n >= last * FLOW_GROWTH - 3 || c.begun == CROWD);
        last = n;
    }
    assert_int_equal(minutes, 14); /* 100 (1.2^13.2 - 1) / 0.2 */
    assert_true(c.looks <= 2 * CROWD);
}

/* Where all are pushed back, few begin, and the others are not looked at all the time. */
static void a_line_heeds_a_cut(void **state)
{
    static crowd c;
    aimd a;
    ns now = 0;
    c = (crowd){0};
    aimd_init(&a, now, 1000);
    for (int minute = 0; minute < 5; minute++)
        crowd_minute(&c, &a, &now, false);
    double limit = a.limit;
    for (int minute = 0; minute < 12; minute++) {
        int n = crowd_minute(&c, &a, &now, true);
        assert_true(n <= 1.1 * limit + 3); /* its last look is of the next window */
        limit = fmax(1, a.limit);
    }
    assert_true(limit < 2);
    long looks = c.looks;
    int begun = c.begun;
    for (int minute = 0; minute < 60; minute++)
        crowd_minute(&c, &a, &now, true);
    assert_in_range(c.begun - begun, 50, 61);
    assert_true(c.looks - looks < 10 * CROWD);
    begun = c.begun; /* and it comes back */
    for (int minute = 0; minute < 20; minute++)
        crowd_minute(&c, &a, &now, false);
    assert_true(c.begun - begun > 1000);
}

static void loads(void **state)
{
    load_history l;
    double out[48];
    load_init(&l, 0); /* Thursday 00:00 */
    load_forecast(&l, 48, out);
    assert_near(out[0], 0, 0);
    for (int h = 0; h < 24 * 7 * 6; h++) {
        bool weekend = (h / 24 + 3) % 7 >= 5;
        load_push(&l, (weekend ? 10 : 20) + h % 24);
    }
    load_forecast(&l, 48, out); /* Thursday and Friday */
    for (int h = 0; h < 48; h++)
        assert_near(out[h], 20 + h % 24, 0.01);
    assert_true(l.mean_error < 0.5);
}

/* Value by value: the mean of what was seen, then the hour of the day, then that of the week. */
static void load_values(void **state)
{
    load_history l;
    double out[200];
    load_init(&l, 100 * 3600 + 1800);
    assert_int_equal(l.next_h, 100);
    load_push(&l, 10); /* hour 100: the 4th of its day, the 100th of the week */
    assert_near(l.mean_error, 0.1, 1e-12);
    assert_near(l.day[4], 10, 0);
    assert_near(l.week[100], 10, 0);
    load_push(&l, 20);
    assert_near(l.mean_error, 0.99 * 0.1 + 0.01 * 10, 1e-12);
    assert_int_equal(l.next_h, 102);
    load_forecast(&l, 24, out);
    assert_near(out[0], 15, 1e-12);
    assert_near(out[21], 15, 1e-12);
    assert_near(out[22], 10, 1e-12);
    assert_near(out[23], 20, 1e-12);
    /* The same hour of many days: a mean of all, then the last weigh a twentieth. */
    for (size_t n = 1; n < 25; n++) {
        load_history d = {.next_h = 0};
        for (size_t k = 0; k <= n; k++) {
            d.next_h = (int64_t)(24 * k);
            load_push(&d, k < n ? 0 : 100);
        }
        assert_near(d.day[0], 100 * fmax(0.05, 1.0 / (double)(n + 1)), 1e-9);
        assert_int_equal(d.days[0], n + 1);
    }
    for (size_t n = 1; n < 12; n++) {
        load_history w = {.next_h = 0};
        for (size_t k = 0; k <= n; k++) {
            w.next_h = (int64_t)(168 * k);
            load_push(&w, k < n ? 0 : 100);
        }
        assert_near(w.week[0], 100 * fmax(0.15, 1.0 / (double)(n + 1)), 1e-9);
    }
    /* Once seen, an hour of the week does not speak yet; twice, it does. */
    load_history w = {.next_h = 0};
    load_push(&w, 50);
    w.next_h = 24;
    load_push(&w, 100);
    w.next_h = 168;
    load_forecast(&w, 1, out);
    assert_near(out[0], 75, 1e-12); /* of days */
    load_push(&w, 60);
    w.next_h = 336;
    load_forecast(&w, 1, out);
    assert_near(out[0], 55, 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utilisation),
        cmocka_unit_test(slow_start),
        cmocka_unit_test(back_pressure),
        cmocka_unit_test(loads),
        cmocka_unit_test(utilisation_steps),
        cmocka_unit_test(windows),
        cmocka_unit_test(tokens),
        cmocka_unit_test(load_values),
        cmocka_unit_test(turns),
        cmocka_unit_test(a_line_moves_as_the_limit_grows),
        cmocka_unit_test(a_line_heeds_a_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
