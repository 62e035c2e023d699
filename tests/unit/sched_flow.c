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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utilisation),
        cmocka_unit_test(slow_start),
        cmocka_unit_test(back_pressure),
        cmocka_unit_test(loads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
