/* platform/behind: who comes behind requests is interrupted again and again; nobody else is. */
#include "platform/behind.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static bool is_interrupted(void)
{
    struct itimerval left;
    return getitimer(ITIMER_REAL, &left) == 0 && (left.it_value.tv_sec || left.it_value.tv_usec);
}

/* In a process of its own: 0, or which of these did not hold. */
static int lives_as(int nice)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (setpriority(PRIO_PROCESS, 0, nice) != 0)
            _exit(1);
        behind_requests();
        if (is_interrupted() != (nice > 0))
            _exit(2);
        for (ns begun = clock_mono(); clock_mono() - begun < 20 * NS_PER_MS;)
            continue;
        if (is_interrupted() != (nice > 0)) /* now by a timer that the handler has started */
            _exit(3);
        if (getpriority(PRIO_PROCESS, 0) != nice)
            _exit(4);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void the_core_is_given_up(void **state) { assert_int_equal(lives_as(15), 0); }

static void but_not_by_others(void **state) { assert_int_equal(lives_as(0), 0); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_core_is_given_up),
        cmocka_unit_test(but_not_by_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
