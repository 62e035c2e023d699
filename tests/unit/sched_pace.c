/* sched/pace: what the keeper starts within a slot, and when it looks again. */
#include "unit.h"

#include "near.h"

#include "sched/pace.h"
#include <math.h>

enum { SLOT = 3600 };
#define T0 INT64_C(1800000000) /* a multiple of an hour */

static double flat[PACE_SLOTS], none[PACE_SLOTS];

static pace make(double cpus)
{
    pace p;
    for (int i = 0; i < PACE_SLOTS; i++)
        flat[i] = 100;
    pace_init(&p, SLOT, cpus);
    return p;
}

static void replan(pace *p, int64_t now, const pace_work *w, size_t n, const double *intensity)
{
    err e;
    pace_forecast f = {.intensity = intensity, .reserved = none};
    if (!pace_plan(p, now, w, n, &f, &e))
        fail_msg("%s", e.text);
}

/* Nothing waits: nothing wakes up. */
static void idle(void **state)
{
    pace p = make(2);
    replan(&p, T0 + 5, NULL, 0, flat);
    pace_decision d = pace_step(&p, T0 + 5, 0, 0);
    assert_true(d.begin_cpu_s == 0 && d.wake_s == INT64_MAX && !d.urgent_by_s && !d.shortage);
    d = pace_step(&p, T0 + 5, 0, T0 + 99);
    assert_true(d.wake_s == T0 + 99);
}

/* The third hour is the cleanest: until then nobody wakes up; then it begins tick by tick. */
static void clean_hour(void **state)
{
    pace p = make(1);
    double g[PACE_SLOTS];
    pace_work w = {T0 / SLOT + 6, 36, 0};
    for (int i = 0; i < PACE_SLOTS; i++)
        g[i] = i == 3 ? 50 : 400;
    replan(&p, T0 + 1, &w, 1, g);
    pace_decision d = pace_step(&p, T0 + 1, T0 + 6 * SLOT, 0);
    assert_true(d.begin_cpu_s == 0 && d.wake_s == T0 + 3 * SLOT);
    assert_true(pace_start(&p.view, T0 + 6 * SLOT, 1) == T0 + 3 * SLOT);
    for (int i = 0; i < PACE_SLOTS; i++)
        g[i] = i ? 400 : 50;
    w.slot = T0 / SLOT + 6;
    replan(&p, T0 + 3 * SLOT, &w, 1, g);
    d = pace_step(&p, T0 + 3 * SLOT, T0 + 6 * SLOT, 0);
    assert_true(d.begin_cpu_s == (double)INFINITY); /* all of it fits here */
    assert_true(d.all_by_s == T0 + 7 * SLOT);       /* and nothing that is due later */
    assert_true(pace_start(&p.view, T0 + 6 * SLOT, 1) == T0 + 3 * SLOT);
}

/* Whoever has not heard of a call yet says the same of it. */
static void unknown_call(void **state)
{
    pace p = make(1);
    double g[PACE_SLOTS];
    for (int i = 0; i < PACE_SLOTS; i++)
        g[i] = i == 3 ? 50 : 400;
    replan(&p, T0, NULL, 0, g);
    assert_true(pace_start(&p.view, T0 + 6 * SLOT, 1) == T0 + 3 * SLOT);
    pace_accept(&p.view, T0 + 6 * SLOT, 1);
    assert_true(pace_start(&p.view, T0 + 6 * SLOT, 1) == T0 + 3 * SLOT);
}

/* More than the cleanest hour should have: it is spread over the ticks, and what began counts. */
static void ticks(void **state)
{
    pace p = make(1);
    pace_work w = {T0 / SLOT + 3, 3600, 0};
    replan(&p, T0, &w, 1, flat);
    assert_near(p.view.run[0] + p.view.run[1] + p.view.run[2], 3600, 1e-6);
    double begun = 0, want = p.view.run[0];
    assert_true(want > 1000 && want < 1400);
    for (int64_t t = T0; t < T0 + SLOT; t += 10) {
        pace_decision d = pace_step(&p, t, T0 + 3 * SLOT, 0);
        assert_true(d.wake_s == t + 10 || d.wake_s == T0 + SLOT);
        assert_true(d.begin_cpu_s <= want / 300);
        pace_begun(&p, d.begin_cpu_s);
        begun += d.begin_cpu_s;
    }
    assert_near(begun, want, 1e-6);
    /* A busy node: the pace falls. */
    replan(&p, T0 + SLOT, &(pace_work){T0 / SLOT + 3, 2400, 0}, 1, flat);
    double calm = pace_step(&p, T0 + SLOT, T0 + 3 * SLOT, 0).begin_cpu_s;
    for (int i = 1; i < 10; i++)
        pace_utilisation(&p, T0 + SLOT + 10 * i, 1);
    assert_true(pace_step(&p, T0 + SLOT + 100, T0 + 3 * SLOT, 0).begin_cpu_s < calm / 10);
}

/* Utilisation counts as the mean of a period, which a short slot has a few of. */
static void how_often_utilisation_counts(void **state)
{
    pace p = make(1);
    replan(&p, T0, NULL, 0, flat);
    assert_int_equal(pace_utilisation_s(&p), 10);
    pace_utilisation(&p, T0, 1);
    double once = p.util.s;
    assert_true(once < 1);
    for (int i = 1; i < 10; i++)
        pace_utilisation(&p, T0 + i, 1);
    assert_true(p.util.s == once);
    pace_utilisation(&p, T0 + 10, 1);
    assert_true(p.util.s < once);
    pace_init(&p, 150, 1);
    assert_int_equal(pace_utilisation_s(&p), 10);
    pace_init(&p, 30, 1);
    assert_int_equal(pace_utilisation_s(&p), 2);
    pace_init(&p, 5, 1);
    assert_int_equal(pace_utilisation_s(&p), 1);
}

/* What is due begins, whatever carbon says and however busy the node is. */
static void due(void **state)
{
    pace p = make(1);
    double g[PACE_SLOTS];
    for (int i = 0; i < PACE_SLOTS; i++)
        g[i] = i ? 1 : 1000;
    /* Its last slot is this one. */
    replan(&p, T0, &(pace_work){T0 / SLOT + 1, 360, 0}, 1, g);
    pace_decision d = pace_step(&p, T0, T0 + SLOT, 0);
    assert_true(d.begin_cpu_s == (double)INFINITY);
    /* Its deadline is near. */
    replan(&p, T0, &(pace_work){T0 / SLOT, 1, 0}, 1, g);
    d = pace_step(&p, T0, T0 + 200, 0);
    assert_true(d.urgent_by_s >= T0 + 200);
    /* Urgent work beside work that has time: only the urgent begins. */
    pace_work both[] = {{T0 / SLOT, 1, 0}, {T0 / SLOT + 30, 1, 0}};
    replan(&p, T0, both, 2, g);
    d = pace_step(&p, T0, T0 + 200, 0);
    assert_true(d.urgent_by_s >= T0 + 200 && d.begin_cpu_s == 0 && d.wake_s == T0 + 10);
    /* Far away: nothing is urgent, and the wake-up is when it will be, or the plan says. */
    replan(&p, T0, &(pace_work){T0 / SLOT + 30, 1, 0}, 1, g);
    d = pace_step(&p, T0, T0 + 30 * SLOT, 0);
    assert_true(!d.urgent_by_s && d.begin_cpu_s == 0 && d.wake_s == T0 + SLOT);
}

static void shortage(void **state)
{
    pace p = make(1);
    replan(&p, T0, &(pace_work){T0 / SLOT + 2, 100000, 0}, 1, flat);
    pace_decision d = pace_step(&p, T0, T0 + 2 * SLOT, 0);
    assert_true(d.shortage && d.begin_cpu_s > 0);
    assert_true(pace_free(&p.view, T0 + 2 * SLOT) == 0);
    /* The work of two hours fills them; what is due later has room. */
    assert_near(pace_free(&p.view, T0 + 40 * SLOT), 0.85 * 3600 * 40 - 100000, 1);
}

/* Late in a slot it is not dearer than the next one: where all hours are alike, work begins now. */
static void late_in_a_slot(void **state)
{
    pace p = make(1);
    pace_work w = {T0 / SLOT + 24, 1, 0};
    replan(&p, T0 + 3500, &w, 1, flat);
    assert_true(pace_step(&p, T0 + 3500, T0 + 24 * SLOT, 0).begin_cpu_s == (double)INFINITY);
    /* But it has only what is left of it. */
    w.ready_cpu_s = 48 * 3060;
    replan(&p, T0 + 1800, &w, 1, flat);
    assert_near(p.view.run[0], 0.85 * 1800, 1e-6);
    assert_near(p.view.room[0], 0.85 * 1800, 1e-6);
}

/* What is free for a deadline is what can be accepted: no less, no more. */
static void free_room(void **state)
{
    pace p = make(1);
    replan(&p, T0, NULL, 0, flat);
    assert_near(pace_free(&p.view, T0 + SLOT), 0.85 * SLOT, 1e-6);
    assert_near(pace_free(&p.view, T0 + 10), 0.85 * SLOT, 1e-6);
    assert_near(pace_free(&p.view, T0 + 2 * SLOT), 2 * 0.85 * SLOT, 1e-6);
    pace_accept(&p.view, T0 + 2 * SLOT, 0.85 * SLOT);
    assert_near(pace_free(&p.view, T0 + SLOT), 0.85 * SLOT, 1e-6);
    pace_accept(&p.view, T0 + SLOT, 0.85 * SLOT);
    assert_near(pace_free(&p.view, T0 + SLOT), 0, 1e-6);
    assert_near(pace_free(&p.view, T0 + 2 * SLOT), 0, 1e-6);
    assert_near(pace_free(&p.view, T0 + 3 * SLOT), 0.85 * SLOT, 1e-6);
}

/* A plan that is made again within a slot gives it what it has not begun yet, not as much again. */
static void again_within_a_slot(void **state)
{
    pace p = make(1);
    pace_work w = {T0 / SLOT + 24, 20000, 0};
    replan(&p, T0, &w, 1, flat);
    double all = p.view.run[0];
    assert_true(all > 800 && all < 1200);
    for (int i = 1; i <= 8; i++) {
        pace_begun(&p, all / 10);
        w.ready_cpu_s -= all / 10;
        replan(&p, T0 + 360 * i, &w, 1, flat);
        assert_near(p.view.run[0] + i * all / 10, all, 256); /* a step of its price */
    }
    replan(&p, T0 + SLOT, &w, 1, flat); /* the next one has all of its own */
    assert_near(p.view.run[0], all, 256);
}

/* Work that is expected is planned for like work that waits: what waits makes room for it. */
static void expected_work(void **state)
{
    pace p = make(1);
    double come[PACE_SLOTS];
    pace_work w = {T0 / SLOT + 24, 5000, 0};
    pace_forecast f = {
        .intensity = flat, .reserved = none, .arrivals = come, .slack_s = 24 * SLOT - 1};
    err e;
    replan(&p, T0, &w, 1, flat);
    double alone = p.view.run[0];
    for (int i = 0; i < PACE_SLOTS; i++)
        come[i] = 1000;
    assert_true(pace_plan(&p, T0, &w, 1, &f, &e));
    assert_true(p.view.run[0] > 1.5 * alone);
    assert_true(pace_step(&p, T0, T0 + 24 * SLOT, 0).begin_cpu_s > 0);
    /* Of the present slot's arrivals only what is left is still expected. */
    assert_true(pace_plan(&p, T0 + 1800, &w, 1, &f, &e));
    assert_true(p.view.run[0] <= 0.85 * 1800);
    /* Nobody wakes up for what has not come, and it is no shortage. */
    assert_true(pace_plan(&p, T0, NULL, 0, &f, &e));
    assert_true(pace_step(&p, T0, 0, 0).wake_s == INT64_MAX);
    for (int i = 0; i < PACE_SLOTS; i++)
        come[i] = 5000;
    assert_true(pace_plan(&p, T0, &w, 1, &f, &e));
    assert_false(pace_step(&p, T0, T0 + 24 * SLOT, 0).shortage);
}

/* A clock that is set: the slot is another one, and everything follows from the present time. */
static void clock_steps(void **state)
{
    pace p = make(1);
    pace_work w = {T0 / SLOT + 3, 3600, 0};
    replan(&p, T0, &w, 1, flat);
    pace_begun(&p, 50);
    replan(&p, T0 + 2 * SLOT, &w, 1, flat); /* forwards */
    assert_true(p.view.first == T0 / SLOT + 2);
    pace_decision d = pace_step(&p, T0 + 2 * SLOT, T0 + 3 * SLOT, 0);
    assert_true(d.begin_cpu_s > 0);         /* due now */
    replan(&p, T0 - 5 * SLOT, &w, 1, flat); /* backwards */
    assert_true(p.view.first == T0 / SLOT - 5);
    d = pace_step(&p, T0 - 5 * SLOT, T0 + 3 * SLOT, 0);
    assert_true(d.wake_s > T0 - 5 * SLOT && d.wake_s <= T0 - 4 * SLOT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle),           cmocka_unit_test(clean_hour),
        cmocka_unit_test(ticks),          cmocka_unit_test(unknown_call),
        cmocka_unit_test(late_in_a_slot), cmocka_unit_test(due),
        cmocka_unit_test(shortage),       cmocka_unit_test(free_room),
        cmocka_unit_test(clock_steps),    cmocka_unit_test(again_within_a_slot),
        cmocka_unit_test(expected_work),  cmocka_unit_test(how_often_utilisation_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
