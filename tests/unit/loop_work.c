/* Work on threads: it runs elsewhere, its end comes to the loop, so many at a time. */
#include "loop_kit.h"

#include "loop/work.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

typedef struct {
    pthread_t thread;
    int worked, done;
} job;

static atomic_int inside;
static int gate[2]; /* whoever reads it waits until it is closed */
static int ended;

static void work(void *user)
{
    job *j = user;
    j->thread = pthread_self();
    j->worked++;
}

static void done(void *user)
{
    job *j = user;
    assert_int_equal(j->worked, 1);
    j->done++;
    ended++;
}

static void elsewhere_then_here(void **state)
{
    err e;
    job j = {0};
    ended = 0;
    assert_true(loop_work_start(l, work, done, &j, &e));
    assert_int_equal(j.done, 0); /* never from inside */
    until(j.done == 1);
    assert_false(pthread_equal(j.thread, pthread_self()));
    assert_true(loop_work_start(l, work, done, &(job){0}, &e));
    assert_true(loop_run(l, &e)); /* what works keeps the loop alive */
    assert_int_equal(ended, 2);
}

static void wait_for_release(void *user)
{
    atomic_fetch_add(&inside, 1);
    char byte;
    assert_int_equal(read(gate[0], &byte, 1), 0);
    work(user);
}

static void so_many_at_a_time(void **state)
{
    err e;
    job jobs[WORK_THREADS + 1] = {0};
    ended = 0;
    assert_int_equal(pipe(gate), 0);
    for (int i = 0; i <= WORK_THREADS; i++)
        assert_true(loop_work_start(l, wait_for_release, done, &jobs[i], &e));
    until(atomic_load(&inside) == WORK_THREADS);
    for (int i = 0; i < 20; i++)
        loop_turn(l, 1);
    assert_int_equal(atomic_load(&inside), WORK_THREADS); /* one waits */
    assert_int_equal(ended, 0);
    close(gate[1]);
    until(ended == WORK_THREADS + 1);
    close(gate[0]);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, open_loop, close_loop)
    const struct CMUnitTest tests[] = {T(elsewhere_then_here), T(so_many_at_a_time)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
