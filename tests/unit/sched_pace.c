/* sched/pace: what the keeper starts within a slot, and when it looks again. */
#include "unit.h"

#include "near.h"

#include "sched/pace.h"

#include <math.h>
#include <string.h>

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

/* ---- views made by hand: four slots of 100 s from the tenth on ---- */

static pace_view view(void) { return (pace_view){.slot_s = 100, .first = 10, .slots = 4}; }

static void last_slots(void **state)
{
    static const struct {
        int64_t deadline_s;
        size_t slot;
    } at[] = {{-5, 0},   {0, 0},    {1000, 0}, {1100, 0}, {1199, 0}, {1200, 1},
              {1299, 1}, {1300, 2}, {1399, 2}, {1400, 3}, {1500, 3}, {9999, 3}};
    pace_view v = view();
    for (size_t i = 0; i < sizeof at / sizeof *at; i++)
        assert_int_equal(pace_last_slot(&v, at[i].deadline_s), at[i].slot);
}

static void starts(void **state)
{
    pace_view v = view();
    static const double run[4] = {10, 0, 20, 5}, due[4] = {10, 0, 0, 25};
    memcpy(v.run, run, sizeof run);
    memcpy(v.due, due, sizeof due);
    assert_int_equal(pace_start(&v, 1100, 4), 1000);
    assert_int_equal(pace_start(&v, 1400, 5), 1300);  /* thirty run before it */
    assert_int_equal(pace_start(&v, 1400, 6), 1200);  /* not all of them */
    assert_int_equal(pace_start(&v, 1400, 25), 1200); /* ten do, and those are the first slot's */
    assert_int_equal(pace_start(&v, 1400, 26), 1000);
    assert_int_equal(pace_start(&v, 1300, 11), 1000); /* more than is known of */
    v.slots = 0;
    assert_int_equal(pace_start(&v, 1400, 5), 1000);
}

/* Of work that no plan has: the cleanest slot that has room. */
static void cleanest_slots(void **state)
{
    static const struct {
        double room[4], run[4], intensity[4];
        int64_t deadline_s, start_s;
    } at[] = {
        {{5, 5, 5, 5}, {0}, {40, 30, 20, 10}, 1400, 1300},
        {{5, 5, 5, 5}, {0}, {40, 30, 20, 10}, 1300, 1200},
        {{5, 5, 5, 5}, {0}, {40, 30, 20, 10}, 1000, 1000},
        {{5, 5, 5, 0}, {0}, {40, 30, 20, 10}, 1400, 1200}, /* no room there */
        {{0, 5, 5, 5}, {0}, {10, 30, 20, 40}, 1400, 1200}, /* nor now */
        {{0, 5, 0, 0}, {0}, {10, 90, 20, 40}, 1400, 1100},
        {{5, 5, 5, 5}, {0}, {20, 20, 20, 20}, 1400, 1000}, /* alike: the first */
        {{0, 5, 5, 5}, {0}, {10, 20, 20, 20}, 1400, 1100},
        {{0, 0, 0, 0}, {0}, {40, 30, 20, 10}, 1400, 1000}, /* nowhere */
    };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        pace_view v = view();
        memcpy(v.room, at[i].room, sizeof at[i].room);
        memcpy(v.run, at[i].run, sizeof at[i].run);
        memcpy(v.intensity, at[i].intensity, sizeof at[i].intensity);
        assert_int_equal(pace_start(&v, at[i].deadline_s, 1), at[i].start_s);
    }
    /* A slot is as full as its plan: what runs there before counts. */
    pace_view v = view();
    v.room[0] = v.run[0] = 5;
    v.due[0] = 5;
    v.room[1] = 5;
    assert_int_equal(pace_start(&v, 1400, 0), 1100);
}

static void free_of_a_view(void **state)
{
    static const double room[4] = {5, 5, 5, 5}, due[4] = {2, 0, 9, 1};
    pace_view v = view();
    memcpy(v.room, room, sizeof room);
    memcpy(v.due, due, sizeof due);
    assert_near(pace_free(&v, 1100), 3, 0);
    assert_near(pace_free(&v, 1200), 4, 0);
    assert_near(pace_free(&v, 1300), 4, 0);
    assert_near(pace_free(&v, 1400), 8, 0);
    pace_accept(&v, 1250, 0.5);
    assert_near(v.due[1], 0.5, 0);
    v.due[0] = 50;
    assert_near(pace_free(&v, 1400), 0, 0); /* never less than nothing */
    v.slots = 0;
    assert_true(isinf(pace_free(&v, 1400)));
    pace_accept(&v, 1400, 9);
    assert_near(v.due[3], 1, 0);
}

/* ---- what a plan is made of ---- */

static void what_a_plan_keeps(void **state)
{
    pace p = make(1);
    double reserved[PACE_SLOTS] = {0}, g[PACE_SLOTS];
    const int64_t first = T0 / SLOT;
    for (int i = 0; i < PACE_SLOTS; i++)
        g[i] = 100 + i;
    reserved[1] = 3500;
    reserved[2] = 1000;
    reserved[3] = 9999;
    pace_forecast f = {.intensity = g, .reserved = reserved};
    pace_work w[] = {
        {first + 30, 10, 1}, {first + 5, 20, 2}, {first, 3, 0.5}, {first + 1, 4, 0.25}};
    err e;
    assert_true(pace_plan(&p, T0 + 900, w, 4, &f, &e));
    assert_int_equal(p.view.slots, 48);
    assert_int_equal(p.view.first, first);
    assert_near(p.ready_cpu_s, 37, 1e-12);
    assert_near(p.due_cpu_s, 7.75, 1e-12);
    assert_near(p.view.due[0], 7.75, 1e-12);
    assert_near(p.view.due[4], 22, 1e-12);
    assert_near(p.view.due[29], 11, 1e-12);
    assert_int_equal(p.due_by_s, (first + 31) * SLOT);
    assert_near(p.unplaced_cpu_s, 0, 0);
    assert_near(p.view.room[0], 3060 * 0.75, 1e-9); /* of what is left of the hour */
    assert_near(p.view.room[1], 0, 0);
    assert_near(p.view.room[2], 2060, 1e-9);
    assert_near(p.view.room[3], 0, 0);
    assert_near(p.view.room[47], 3060, 1e-9);
    for (int i = 0; i < PACE_SLOTS; i++)
        assert_near(p.view.intensity[i], g[i], 0);
    /* Begun in this slot counts until the next one; of the plan, until the next plan. */
    pace_begun(&p, 30);
    p.granted_s = T0 + 950;
    assert_near(p.begun_cpu_s, 30, 0);
    assert_near(p.slot_begun_cpu_s, 30, 0);
    assert_near(p.ready_cpu_s, 7, 1e-12);
    pace_begun(&p, 8);
    assert_near(p.ready_cpu_s, 0, 0);
    assert_true(pace_plan(&p, T0 + 1000, w, 4, &f, &e));
    assert_near(p.begun_cpu_s, 0, 0);
    assert_near(p.slot_begun_cpu_s, 38, 0);
    assert_int_equal(p.granted_s, T0 + 950);
    assert_true(pace_plan(&p, T0 + SLOT, w, 4, &f, &e));
    assert_near(p.slot_begun_cpu_s, 0, 0);
    assert_int_equal(p.granted_s, 0);
    assert_int_equal(p.view.first, first + 1);
}

/* Expected work is placed within its slack, counted from the slot in which it will come. */
static void slack_of_arrivals(void **state)
{
    static const struct {
        int64_t slack_s;
        int comes, cleanest, runs;
    } at[] = {
        {2 * SLOT, 3, 4, 4},    {2 * SLOT, 3, 5, 3},        {1 * SLOT, 3, 4, 3},
        {0, 3, 4, 3},           {2 * SLOT - 1800, 3, 4, 4}, {2 * SLOT - 1801, 3, 4, 3},
        {SLOT, 47, 2, 47},      {2 * SLOT, 47, 2, -1},      {2 * SLOT, 46, 47, 47},
        {48 * SLOT, 0, 47, 47}, {99 * SLOT, 0, 47, 47},
    };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        pace p = make(1);
        double g[PACE_SLOTS], come[PACE_SLOTS] = {0};
        for (int k = 0; k < PACE_SLOTS; k++)
            g[k] = k == at[i].cleanest ? 10 : k == at[i].comes ? 300 : 400;
        come[at[i].comes] = 100;
        pace_forecast f = {g, none, come, at[i].slack_s};
        err e;
        assert_true(pace_plan(&p, T0, NULL, 0, &f, &e));
        for (int k = 0; k < PACE_SLOTS; k++)
            if (fabs(p.view.run[k] - (k == at[i].runs ? 100 : 0)) > 1e-6)
                fail_msg("case %zu: %g in slot %d", i, p.view.run[k], k);
    }
    /* Of this slot's only what is still to come of it. */
    pace p = make(1);
    double come[PACE_SLOTS] = {100};
    pace_forecast f = {flat, none, come, SLOT};
    err e;
    assert_true(pace_plan(&p, T0 + 2700, NULL, 0, &f, &e));
    assert_near(p.view.run[0], 25, 1e-6);
}

/* A shortage is what waits and finds no room; what might come is none. */
static void shortage_is_of_what_waits(void **state)
{
    pace p = make(1);
    double come[PACE_SLOTS];
    for (int k = 0; k < PACE_SLOTS; k++)
        come[k] = 20000;
    pace_forecast f = {flat, none, come, SLOT};
    err e;
    assert_true(pace_plan(&p, T0, &(pace_work){T0 / SLOT + 1, 100, 0}, 1, &f, &e));
    assert_near(p.unplaced_cpu_s, 0, 0);
    assert_true(!p.all_now); /* room is kept for what may come */
    assert_true(pace_plan(&p, T0, &(pace_work){T0 / SLOT + 1, 5000, 0}, 1, &f, &e));
    assert_near(p.unplaced_cpu_s, 5000 - 3060, 1e-6);
    assert_true(pace_plan(&p, T0, &(pace_work){T0 / SLOT + 1, 5000, 0}, 1,
                          &(pace_forecast){flat, none, NULL, 0}, &e));
    assert_near(p.unplaced_cpu_s, 5000 - 3060, 1e-6);
    assert_true(p.all_now);
    /* None of it may run yet: nothing to begin. */
    assert_true(pace_plan(&p, T0, &(pace_work){T0 / SLOT + 1, 0, 100}, 1,
                          &(pace_forecast){flat, none, NULL, 0}, &e));
    assert_true(!p.all_now);
}

/* ---- steps of a pace made by hand ---- */

/* An hour in which 360 CPU-seconds are planned of 1,000 that wait, none of them due; more is
 * planned for the third hour from now. */
static pace within(void)
{
    pace p = {.cpus = 2, .util = {1, 0.85}, .ready_cpu_s = 1000};
    p.view = (pace_view){.slot_s = SLOT, .first = T0 / SLOT, .slots = PACE_SLOTS};
    p.view.run[0] = 360;
    p.view.run[3] = 640;
    p.view.due[9] = 1000;
    return p;
}

static void step_is(pace *p, int64_t now_s, int64_t deadline_s, double begin, int64_t wake_s,
                    int64_t urgent_by_s)
{
    pace_decision d = pace_step(p, now_s, deadline_s, 0);
    if (isinf(begin))
        assert_true(isinf(d.begin_cpu_s));
    else
        assert_near(d.begin_cpu_s, begin, 1e-12);
    assert_int_equal(d.wake_s, wake_s);
    assert_int_equal(d.urgent_by_s, urgent_by_s);
}

static void shares_of_ticks(void **state)
{
    pace p = within();
    step_is(&p, T0, T0 + 9 * SLOT, 1, T0 + 10, 0); /* a 360th of 360 */
    assert_int_equal(p.granted_s, T0);
    step_is(&p, T0 + 4, T0 + 9 * SLOT, 0, T0 + 10, 0); /* once a tick */
    step_is(&p, T0 + 9, T0 + 9 * SLOT, 0, T0 + 10, 0);
    step_is(&p, T0 + 10, T0 + 9 * SLOT, 360 / 359.0, T0 + 20, 0);
    step_is(&p, T0 + 5, T0 + 9 * SLOT, 1, T0 + 15, 0); /* a clock that went back */
    p = within();
    p.util.s = 0.25;
    step_is(&p, T0 + 1800, T0 + 9 * SLOT, 0.5, T0 + 1810, 0);
    p = within();
    p.begun_cpu_s = 100;
    step_is(&p, T0 + 1800, T0 + 9 * SLOT, 260 / 180.0, T0 + 1810, 0);
    p = within();
    step_is(&p, T0 + 3595, T0 + 9 * SLOT, 360, T0 + 3605, 0); /* the last tick, and beyond */
    p = within();
    step_is(&p, T0 + 3700, T0 + 9 * SLOT, 360, T0 + 3710, 0);
    p = within();
    p.begun_cpu_s = 360; /* the hour has had its share: then the next hour that has one */
    step_is(&p, T0 + 1800, T0 + 9 * SLOT, 0, T0 + 3 * SLOT, 0);
    assert_int_equal(p.granted_s, 0);
    /* What is due goes without the controller, and beyond the plan. */
    p = within();
    p.due_cpu_s = 720;
    p.util.s = 0.25;
    step_is(&p, T0, T0 + 9 * SLOT, 2, T0 + 10, 0);
    p = within();
    p.due_cpu_s = 0.5;
    step_is(&p, T0, T0 + 9 * SLOT, 1, T0 + 10, 0);
    p = within();
    p.view.run[0] = 0;
    p.due_cpu_s = 0.5;
    step_is(&p, T0, T0 + 9 * SLOT, 0.5 / 360, T0 + 10, 0);
    step_is(&p, T0 + 5, T0 + 9 * SLOT, 0, T0 + 10, 0);
    p = within();
    p.view.run[0] = 0.5;
    step_is(&p, T0, T0 + 9 * SLOT, 0.5 / 360, T0 + 10, 0);
}

/* Nothing wakes up for what is not there. */
static void wake_ups(void **state)
{
    pace p = within();
    p.view.run[0] = 0;
    step_is(&p, T0, 0, 0, T0 + 3 * SLOT, 0);
    p.view.run[3] = 0;
    p.view.run[47] = 0.5;
    step_is(&p, T0, 0, 0, T0 + 47 * SLOT, 0);
    p.view.run[47] = 0;
    step_is(&p, T0, 0, 0, INT64_MAX, 0);
    p.view.run[1] = 5;
    p.view.due[9] = 0; /* nothing waits: the plan is of what may come */
    step_is(&p, T0, 0, 0, INT64_MAX, 0);
    p.view.due[47] = 0.5;
    step_is(&p, T0, 0, 0, T0 + SLOT, 0);
    /* When work may run that may not yet: then, or in a second. */
    p.ready_cpu_s = 0;
    assert_int_equal(pace_step(&p, T0 + 50, 0, T0 + 60).wake_s, T0 + 60);
    assert_int_equal(pace_step(&p, T0 + 50, 0, T0 + 50).wake_s, T0 + 51);
    assert_int_equal(pace_step(&p, T0 + 50, 0, T0 + 20).wake_s, T0 + 51);
    assert_int_equal(pace_step(&p, T0 + 50, 0, T0 + 2 * SLOT).wake_s, T0 + SLOT);
    /* Nothing is ready: no deadline is urgent. */
    step_is(&p, T0, T0 + 10, 0, T0 + SLOT, 0);
    p.ready_cpu_s = 0.5;
    p.due_cpu_s = 0;
    step_is(&p, T0, T0 + 10, 0, T0 + 10, T0 + 360);
}

static void urgency(void **state)
{
    pace p = within();
    step_is(&p, T0 + 100, T0 + 460, 0, T0 + 110, T0 + 460); /* a tenth of a slot before it */
    p = within();
    p.begun_cpu_s = 360;
    step_is(&p, T0 + 100, T0 + 461, 0, T0 + 101, 0);
    static const struct {
        int64_t slot_s, urgent_s;
    } least[] = {{30, 5}, {50, 5}, {59, 5}, {60, 6}, {100, 10}};
    for (size_t i = 0; i < 5; i++) {
        p = within();
        p.view.slot_s = least[i].slot_s;
        p.view.first = T0 / least[i].slot_s;
        assert_int_equal(pace_urgent_s(&p.view), least[i].urgent_s);
        assert_int_equal(pace_step(&p, T0, T0 + 1, 0).urgent_by_s, T0 + least[i].urgent_s);
    }
}

static void all_at_once(void **state)
{
    pace p = within();
    p.all_now = true;
    p.due_by_s = T0 + 77;
    p.util.s = 0.5;
    pace_decision d = pace_step(&p, T0, T0 + 9 * SLOT, 0);
    assert_true(isinf(d.begin_cpu_s) && d.all_by_s == T0 + 77 && d.wake_s == T0 + 3 * SLOT);
    d = pace_step(&p, T0, T0 + 100, 0);
    assert_true(isinf(d.begin_cpu_s) && d.urgent_by_s == T0 + 360);
    p.util.s = 0.49; /* not on a busy node */
    d = pace_step(&p, T0, T0 + 9 * SLOT, 0);
    assert_near(d.begin_cpu_s, 0.49, 1e-12);
    assert_int_equal(d.all_by_s, 0);
    assert_false(d.shortage);
    p.unplaced_cpu_s = 0.5;
    assert_true(pace_step(&p, T0, T0 + 9 * SLOT, 0).shortage);
}

/* A tick is a 360th of the slot, a second at least. */
static void tick_lengths(void **state)
{
    static const struct {
        int64_t slot_s, tick_s;
    } at[] = {{3600, 10}, {720, 2}, {360, 1}, {359, 1}, {100, 1}};
    for (size_t i = 0; i < 5; i++) {
        pace p = within();
        p.view.slot_s = at[i].slot_s;
        p.view.first = T0 / at[i].slot_s;
        int64_t begin = p.view.first * at[i].slot_s;
        pace_decision d = pace_step(&p, begin, begin + 9000, 0);
        assert_int_equal(d.wake_s, begin + at[i].tick_s);
        assert_near(d.begin_cpu_s, 360 / ceil((double)at[i].slot_s / (double)at[i].tick_s), 1e-12);
    }
    static const struct {
        int64_t slot_s, period_s;
    } periods[] = {{1, 1}, {12, 1}, {23, 1}, {24, 2}, {119, 9}, {120, 10}, {132, 10}, {3600, 10}};
    for (size_t i = 0; i < 8; i++) {
        pace p;
        pace_init(&p, periods[i].slot_s, 3);
        assert_int_equal(pace_utilisation_s(&p), periods[i].period_s);
        assert_near(p.cpus, 3, 0);
        assert_near(p.util.target, 0.85, 0);
    }
}

static void utilisation_and_clocks(void **state)
{
    pace p = within();
    pace_utilisation(&p, T0, 1);
    assert_near(p.util.s, 0.5, 0);
    assert_int_equal(p.util_at_s, T0);
    pace_utilisation(&p, T0 + 9, 1);
    assert_near(p.util.s, 0.5, 0);
    pace_utilisation(&p, T0 - 1, 1); /* a clock that went back */
    assert_near(p.util.s, 0.25, 0);
    pace_utilisation(&p, T0 + 9, 1);
    assert_near(p.util.s, 0.125, 0);
    p.due_cpu_s = 0.5; /* what is due takes no part in it */
    pace_utilisation(&p, T0 + 19, 0.9);
    assert_near(p.util.s, 1, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle),
        cmocka_unit_test(clean_hour),
        cmocka_unit_test(ticks),
        cmocka_unit_test(unknown_call),
        cmocka_unit_test(late_in_a_slot),
        cmocka_unit_test(due),
        cmocka_unit_test(shortage),
        cmocka_unit_test(free_room),
        cmocka_unit_test(clock_steps),
        cmocka_unit_test(again_within_a_slot),
        cmocka_unit_test(expected_work),
        cmocka_unit_test(how_often_utilisation_counts),
        cmocka_unit_test(last_slots),
        cmocka_unit_test(starts),
        cmocka_unit_test(cleanest_slots),
        cmocka_unit_test(free_of_a_view),
        cmocka_unit_test(what_a_plan_keeps),
        cmocka_unit_test(slack_of_arrivals),
        cmocka_unit_test(shortage_is_of_what_waits),
        cmocka_unit_test(shares_of_ticks),
        cmocka_unit_test(wake_ups),
        cmocka_unit_test(urgency),
        cmocka_unit_test(all_at_once),
        cmocka_unit_test(tick_lengths),
        cmocka_unit_test(utilisation_and_clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
