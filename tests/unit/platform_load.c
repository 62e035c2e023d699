/* What work a node expects: usage records less what was deferred, and what workers accepted. */
#include "unit.h"

#include "near.h"

#include "platform/keeper_load.h"

enum { HOUR = 150, DAY = 24 * HOUR };
#define T0 INT64_C(1800000000) /* a multiple of an hour */

static usage_file *f;
static err e;

static int make(void **state) { return usage_file_open(NULL, &f, &e) ? 0 : -1; }
static int unmake(void **state)
{
    usage_file_close(f);
    return 0;
}

static void use(int64_t from_s, int64_t to_s, double cpus)
{
    assert_true(usage_file_begin(f, &e));
    for (int64_t t = from_s; t < to_s; t += 10) {
        ledger_usage u = {.calls = 1, .cpu_ns = (uint64_t)(cpus * 10 * 1e9)};
        assert_true(usage_file_add(f, t, S("1/0"), &u, &e));
        assert_true(usage_file_add(f, t, USAGE_PLATFORM, &u, &e));
    }
    assert_true(usage_file_commit(f, &e));
}

/* A day of 24 hours of 150 s: busy in its second half, in which half of the work was deferred. */
static void a_day_repeats(void **state)
{
    keeper_load l;
    double reserved[PACE_SLOTS], arrivals[PACE_SLOTS];
    keeper_load_init(&l, f, HOUR);
    use(T0 - HOUR, T0, 0.1); /* the hour that the records begin in does not count */
    for (int h = 0; h < 24; h++) {
        int64_t t = T0 + h * HOUR;
        use(t, t + HOUR, h < 12 ? 0.2 : 0.6);
        keeper_load_came(&l, t + 20, h < 12 ? 15 : 60, DAY);
        if (h >= 12)
            keeper_load_ran(&l, t + 20, 0.3 * HOUR);
        /* An hour counts when its last window was reported. */
        keeper_load_forecast(&l, t + HOUR + LOAD_LAG_S, HOUR, reserved, arrivals);
    }
    int64_t now = T0 + DAY + LOAD_LAG_S;
    for (int k = 0; k < PACE_SLOTS; k++) {
        int h = k % 24;
        assert_near(reserved[k], (h < 12 ? 0.2 : 0.3) * HOUR, 0.1);
        assert_near(arrivals[k], h < 12 ? 15 : 60, 0.1);
    }
    /* Slots shorter than an hour have their part of it. */
    keeper_load_forecast(&l, now, 50, reserved, arrivals);
    for (int k = 0; k < PACE_SLOTS; k++)
        assert_near(arrivals[k], (k / 3 < 12 ? 15 : 60) / 3.0, 0.1);
    /* All may wait a day. */
    assert_in_range(keeper_load_slack_s(&l), DAY - 1, DAY);
    for (int i = 0; i < 500; i++)
        keeper_load_came(&l, now, 1, i % 2 ? 100 : 200);
    assert_in_range(keeper_load_slack_s(&l), 20, 100);
}

/* After a restart, in real hours: the records of deferred calls say what ran and when it came. */
static void records_remember(void **state)
{
    keeper_load l;
    double reserved[PACE_SLOTS], arrivals[PACE_SLOTS];
    const int64_t t = T0 / 3600 * 3600, joules = 2;
    use(t - 7200, t, 0.5);
    assert_true(usage_file_begin(f, &e));
    assert_true(usage_file_deferred(f, S("1/0"), t - 3000, t - 100, 900 * joules, &e));
    assert_true(usage_file_commit(f, &e));
    keeper_load_init(&l, f, 3600);
    l.j_per_cpu_s = joules;
    keeper_load_forecast(&l, t + 600, 3600, reserved, arrivals);
    assert_near(reserved[23], 1800 - 900, 1); /* that hour of the day */
    assert_near(arrivals[23], 900, 1);
}

/* The hour in which a node begins is no hour without work. */
static void the_first_hour_does_not_count(void **state)
{
    keeper_load l;
    double reserved[PACE_SLOTS], arrivals[PACE_SLOTS];
    keeper_load_init(&l, f, HOUR);
    keeper_load_forecast(&l, T0 - 2, HOUR, reserved, arrivals);
    keeper_load_forecast(&l, T0 + 2, HOUR, reserved, arrivals);
    keeper_load_came(&l, T0 + 20, 60, DAY);
    keeper_load_forecast(&l, T0 + HOUR + LOAD_LAG_S, HOUR, reserved, arrivals);
    assert_near(arrivals[0], 60, 1e-9);
}

/* A clock that is set back or far ahead: what is told is of that time. */
static void the_clock_is_set(void **state)
{
    keeper_load l;
    double reserved[PACE_SLOTS], arrivals[PACE_SLOTS];
    keeper_load_init(&l, f, HOUR);
    use(T0, T0 + 4 * HOUR, 0.4);
    keeper_load_forecast(&l, T0 + 4 * HOUR + LOAD_LAG_S, HOUR, reserved, arrivals);
    assert_near(reserved[0], 0.4 * HOUR, 0.1);
    keeper_load_forecast(&l, T0 - 100 * HOUR, HOUR, reserved, arrivals);
    for (int k = 0; k < PACE_SLOTS; k++)
        assert_true(reserved[k] == 0 && arrivals[k] == 0);
    keeper_load_forecast(&l, T0 + 20000 * (int64_t)HOUR, HOUR, reserved, arrivals);
    assert_true(reserved[0] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_day_repeats, make, unmake),
        cmocka_unit_test_setup_teardown(records_remember, make, unmake),
        cmocka_unit_test_setup_teardown(the_first_hour_does_not_count, make, unmake),
        cmocka_unit_test_setup_teardown(the_clock_is_set, make, unmake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
