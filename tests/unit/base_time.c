/* Clocks, and the calendar against one that counts days one by one. */
#include "unit.h"

#include "base/civil.h"
#include "base/clock.h"

#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void days_that_are_known(void **state)
{
    static const struct {
        int64_t year;
        unsigned month, day;
        int64_t days;
    } cases[] = {
        {1970, 1, 1, 0},       {1970, 1, 2, 1},         {1969, 12, 31, -1},
        {1970, 3, 1, 59},      {1972, 2, 29, 789},      {2000, 2, 29, 11016},
        {2000, 3, 1, 11017},   {2001, 9, 9, 11574},     {2038, 1, 19, 24855},
        {1900, 2, 28, -25509}, {1900, 3, 1, -25508},    {0, 3, 1, -719468},
        {0, 2, 29, -719469},   {1, 1, 1, -719162},      {-1, 12, 31, -719529},
        {-400, 3, 1, -865565}, {9999, 12, 31, 2932896}, {2400, 2, 29, 157113},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t year = 0;
        unsigned month = 0, day = 0;
        assert_int_equal(civil_days(cases[i].year, cases[i].month, cases[i].day), cases[i].days);
        civil_of_days(cases[i].days, &year, &month, &day);
        assert_int_equal(year, cases[i].year);
        assert_int_equal(month, cases[i].month);
        assert_int_equal(day, cases[i].day);
    }
}

/* 800 years and more, over both ends of an era of 400. */
static void every_day_follows_another(void **state)
{
    static const unsigned length[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t at = civil_days(1599, 12, 31);
    assert_int_equal(at, -135141);
    for (int64_t y = 1600; y <= 2401; y++) {
        bool leap = y % 400 == 0 || (y % 4 == 0 && y % 100 != 0);
        assert_int_equal(civil_is_leap(y), leap);
        for (unsigned m = 1; m <= 12; m++) {
            unsigned days = length[m - 1] + (m == 2 && leap);
            assert_int_equal(civil_month_days(y, m), days);
            for (unsigned d = 1; d <= days; d++) {
                int64_t year;
                unsigned month, day;
                at++;
                civil_of_days(at, &year, &month, &day);
                if (civil_days(y, m, d) != at || year != y || month != m || day != d)
                    fail_msg("%d-%u-%u is not day %d", (int)y, m, d, (int)at);
            }
        }
    }
    assert_int_equal(civil_floor(7, 4), 1);
    assert_int_equal(civil_floor(8, 4), 2);
    assert_int_equal(civil_floor(-8, 4), -2);
    assert_int_equal(civil_floor(-7, 4), -2);
}

static ns of_system(clockid_t id)
{
    struct timespec t;
    assert_int_equal(clock_gettime(id, &t), 0);
    return (ns)t.tv_sec * 1000000000 + (ns)t.tv_nsec;
}

static void clocks_are_the_systems(void **state)
{
    static const struct {
        ns (*clock)(void);
        clockid_t id;
    } clocks[] = {{clock_mono, CLOCK_MONOTONIC},
                  {clock_wall, CLOCK_REALTIME},
                  {clock_thread_cpu, CLOCK_THREAD_CPUTIME_ID},
                  {clock_process_cpu, CLOCK_PROCESS_CPUTIME_ID}};
    for (size_t i = 0; i < 4; i++)
        for (int n = 0; n < 1000; n++) { /* whatever the last digits are */
            ns before = of_system(clocks[i].id), now = clocks[i].clock(),
               after = of_system(clocks[i].id);
            assert_true(before <= now && now <= after);
        }
    ns before = clock_process_cpu(), now = clock_process_cpu_of(getpid());
    assert_true(before <= now && now <= clock_process_cpu());
}

static void a_process_that_has_gone_has_no_clock(void **state)
{
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(clock_process_cpu_of(child), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(days_that_are_known),
        cmocka_unit_test(every_day_follows_another),
        cmocka_unit_test(clocks_are_the_systems),
        cmocka_unit_test(a_process_that_has_gone_has_no_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
