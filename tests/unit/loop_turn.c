/* Turns, hooks, timers, signals, watches; and that an idle loop sleeps. */
#include "loop_kit.h"

#include "loop/listen.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* --- now --- */

static ns now_seen;

static void note_now(void *user, unsigned events)
{
    char byte;
    now_seen = loop_now(l);
    assert_int_equal(read(*(int *)user, &byte, 1), 1);
}

/* A callback after a sleep sees the time after it: deadlines begin then. */
static void now_is_not_before_the_sleep(void **state)
{
    err e;
    int ends[2];
    loop_watch *w;
    assert_int_equal(pipe(ends), 0);
    assert_true(loop_watch_open(l, ends[0], note_now, &ends[0], &w, &e));
    loop_watch_set(w, LOOP_READABLE);
    loop_turn(l, 0);
    loop_turn(l, 30);
    ns before = clock_mono();
    assert_int_equal(write(ends[1], "x", 1), 1);
    loop_turn(l, 1000);
    assert_true(now_seen >= before);
    assert_true(now_seen <= clock_mono());
    loop_watch_close(w);
    loop_turn(l, 0);
    close(ends[0]);
    close(ends[1]);
}

/* --- timers --- */

enum { MANY = 500 };
static loop_timer timers[MANY];
static ns fired_at[MANY];
static int order[MANY], fired;

static void fire(void *user)
{
    loop_timer *t = user;
    int i = (int)(t - timers);
    fired_at[i] = clock_mono();
    order[fired++] = i;
}

static void timers_in_order(void **state)
{
    ns begun = clock_mono(), after[MANY];
    fired = 0;
    srand(1);
    for (int i = 0; i < MANY; i++) {
        after[i] = (ns)(rand() % 40) * NS_PER_MS;
        assert_true(loop_timer_start(l, &timers[i], after[i], fire, &timers[i]));
        assert_true(loop_timer_active(&timers[i]));
    }
    for (int i = 0; i < MANY; i += 3)
        loop_timer_stop(&timers[i]);
    for (int i = 0; i < MANY; i += 30) /* again */
        assert_true(loop_timer_start(l, &timers[i], after[i], fire, &timers[i]));
    for (int i = 1; i < MANY; i += 3) { /* moved while it runs */
        after[i] = (ns)(rand() % 40) * NS_PER_MS;
        assert_true(loop_timer_start(l, &timers[i], after[i], fire, &timers[i]));
    }
    int expected = 0;
    for (int i = 0; i < MANY; i++)
        expected += i % 3 != 0 || i % 30 == 0;
    while (fired < expected && clock_mono() < begun + 10 * NS_PER_S)
        loop_turn(l, 5);
    loop_turn(l, 50);
    assert_int_equal(fired, expected);
    for (int i = 0; i < fired; i++) {
        assert_true(fired_at[order[i]] >= begun + after[order[i]]); /* never early */
        assert_false(loop_timer_active(&timers[order[i]]));
        if (i > 0)
            assert_true(timers[order[i - 1]].due <= timers[order[i]].due);
    }
}

static loop_timer again;
static int rounds;

static void restart(void *user)
{
    rounds++;
    loop_timer_start(l, &again, 0, restart, NULL);
}

/* A timer of 0 that starts itself does not keep the loop from its other work. */
static void timer_of_zero(void **state)
{
    rounds = 0;
    loop_timer_start(l, &again, 0, restart, NULL);
    for (int i = 0; i < 20; i++) {
        int before = rounds;
        loop_turn(l, 50);
        assert_true(rounds <= before + 2); /* libuv runs timers before and after the poll */
    }
    assert_true(rounds >= 10);
    rounds = 0;
    for (int i = 0; i < 20; i++)
        loop_turn(l, 0);
    assert_true(rounds >= 19); /* nor does it wait for the next millisecond */
    loop_timer_stop(&again);
    loop_turn(l, 0);
    assert_false(loop_timer_active(&again));
}

/* --- hooks --- */

static char said[100];
static int more_left;
static loop_hook *second;

static bool hook_a(void *user)
{
    strcat(said, "a");
    return more_left-- > 0;
}

static bool hook_b(void *user)
{
    strcat(said, "b");
    return false;
}

static bool hook_removes_itself(void *user)
{
    strcat(said, "c");
    loop_hook_remove(*(loop_hook **)user);
    return false;
}

static void hooks(void **state)
{
    err e;
    loop_hook *a, *b;
    loop_timer far = {0}; /* something to live for */
    assert_true(loop_timer_start(l, &far, 3600 * NS_PER_S, fire, NULL));
    said[0] = 0;
    assert_true(loop_hook_add(l, hook_a, NULL, &a, &e));
    assert_true(loop_hook_add(l, hook_removes_itself, &second, &second, &e));
    assert_true(loop_hook_add(l, hook_b, NULL, &b, &e));
    more_left = 0;
    loop_turn(l, 0);
    assert_string_equal(said, "acb");
    more_left = 3;
    ns begun = clock_mono();
    for (int i = 0; i < 3; i++)
        loop_turn(l, 2000); /* would sleep, but for hook_a */
    assert_true(clock_mono() - begun < NS_PER_S);
    assert_string_equal(said, "acbababab");
    loop_hook_remove(a);
    loop_turn(l, 0);
    assert_string_equal(said, "acbababab"
                              "b");
    loop_hook_remove(b);
    loop_turn(l, 0);
    loop_timer_stop(&far);
}

/* --- signals and descriptors --- */

static int signalled;

static void on_signal(void *user, int signo) { signalled = signo; }

static void signals(void **state)
{
    err e;
    loop_signal *s;
    assert_true(loop_signal_open(l, SIGUSR1, on_signal, NULL, &s, &e));
    raise(SIGUSR1);
    for (int i = 0; i < 100 && !signalled; i++)
        loop_turn(l, 10);
    assert_int_equal(signalled, SIGUSR1);
    loop_signal_close(s);
    assert_true(loop_run(l, &e)); /* nothing is left: returns */
}

static unsigned watched;

static void on_watch(void *user, unsigned events) { watched |= events; }

static void watches(void **state)
{
    err e;
    int fd[2];
    loop_watch *w;
    assert_int_equal(pipe(fd), 0);
    assert_true(loop_watch_open(l, fd[0], on_watch, NULL, &w, &e));
    assert_int_equal(write(fd[1], "x", 1), 1);
    loop_turn(l, 0);
    assert_int_equal(watched, 0); /* not yet asked for */
    loop_watch_set(w, LOOP_READABLE);
    loop_turn(l, 100);
    assert_int_equal(watched, LOOP_READABLE);
    loop_watch_set(w, 0);
    watched = 0;
    loop_turn(l, 0);
    assert_int_equal(watched, 0);
    loop_watch_close(w);
    close(fd[0]);
    close(fd[1]);
    loop_turn(l, 0);
}

/* --- idle means idle --- */

static long switches_of(pid_t pid)
{
    char path[64], line[256];
    long n = -1, part;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "voluntary_ctxt_switches: %ld", &part) == 1 ||
            sscanf(line, "nonvoluntary_ctxt_switches: %ld", &part) == 1)
            n = (n < 0 ? 0 : n) + part;
    fclose(f);
    return n;
}

static void no_connection(void *user, int fd, str peer) {}

static void idle_sleeps(void **state)
{
    err e;
    int fd;
    char address[LISTEN_ADDRESS_MAX];
    listener *li;
    loop_timer used = {0}, far = {0};
    pid_t child = fork();
    if (child == 0) {
        if (!listen_socket(S("127.0.0.1:0"), &fd, address, &e) ||
            !listener_open(l, fd, no_connection, NULL, &li, &e) ||
            !loop_timer_start(l, &far, 3600 * NS_PER_S, fire, &timers[1]) ||
            !loop_timer_start(l, &used, NS_PER_MS, fire, &timers[0]))
            _exit(1);
        loop_run(l, &e);
        _exit(2);
    }
    struct timespec nap = {.tv_nsec = 300 * 1000 * 1000};
    nanosleep(&nap, NULL); /* it has started and its timer has fired */
    long before = switches_of(child);
    nanosleep(&nap, NULL);
    assert_int_equal(switches_of(child), before);
    assert_true(before > 0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

/* --- long turns --- */

static ns longest;
static int long_turns;

static void on_long(void *user, ns took)
{
    long_turns++;
    longest = took > longest ? took : longest;
}

static void block(void *user)
{
    for (ns end = clock_mono() + 60 * NS_PER_MS; clock_mono() < end;)
        ;
}

/* Waiting is not being awake; working is. */
static void waiting_is_not_being_awake(void **state)
{
    loop_timer t = {0};
    ns before = loop_awake(l), wall = clock_mono();
    for (ns end = clock_mono() + 60 * NS_PER_MS; clock_mono() < end;)
        loop_turn(l, 20);
    wall = clock_mono() - wall;
    ns waited = loop_awake(l) - before;
    assert_true(wall >= 60 * NS_PER_MS && waited < wall / 2);
    assert_true(loop_timer_start(l, &t, 0, block, NULL));
    before = loop_awake(l);
    while (loop_timer_active(&t))
        loop_turn(l, 10);
    assert_true(loop_awake(l) - before >= 60 * NS_PER_MS);
}

/* A turn that blocks is told, one that only waits is not. */
static void long_turns_are_told(void **state)
{
    loop_timer t = {0}, waits = {0};
    longest = 0;
    long_turns = 0;
    loop_watch_turns(l, 50 * NS_PER_MS, on_long, NULL);
    loop_timer_start(l, &t, NS_PER_MS, block, NULL);
    for (int i = 0; i < 4 || loop_timer_active(&t); i++)
        loop_turn(l, 1);
    loop_turn(l, 1);
    assert_true(long_turns > 0 && longest >= 60 * NS_PER_MS);
    loop_timer_start(l, &waits, 200 * NS_PER_MS, fire, &timers[0]);
    fired = 0;
    longest = 0;
    while (fired == 0)
        loop_turn(l, 1000);
    loop_turn(l, 1);
    assert_true(longest < 200 * NS_PER_MS);
}

/* --- edges --- */

static int calls;
static loop_timer three[3];

static void stops_the_others(void *user)
{
    calls++;
    for (int i = 0; i < 3; i++)
        loop_timer_stop(&three[i]);
}

/* Whoever is called first stops the others, which are due as well: they are not called. */
static void a_timer_stops_others_that_are_due(void **state)
{
    err e;
    for (int round = 0; round < 2; round++) {
        calls = 0;
        for (int i = 0; i < 3; i++)
            assert_true(loop_timer_start(l, &three[i], 0, stops_the_others, NULL));
        assert_true(loop_run(l, &e)); /* and nothing keeps it */
        assert_int_equal(calls, 1);
    }
}

static void stop_loop(void *user)
{
    calls++;
    loop_stop(l);
}

/* Timers that are far away, and a loop that is told to stop all the same. */
static void far_timers(void **state)
{
    err e;
    loop_timer far = {0}, forever = {0}, near = {0};
    assert_true(loop_timer_start(l, &far, 3600 * NS_PER_S, fire, NULL));
    loop_timer_stop(&far);
    loop_timer_stop(&far); /* of a stopped one nothing */
    assert_true(loop_run(l, &e));
    assert_true(loop_timer_start(l, &forever, UINT64_MAX, fire, NULL));
    assert_true(forever.due == UINT64_MAX);
    assert_true(loop_timer_start(l, &far, 3600 * NS_PER_S, fire, NULL));
    ns before = clock_mono();
    assert_true(loop_timer_start(l, &near, NS_PER_MS, stop_loop, NULL));
    assert_true(near.due >= before + NS_PER_MS && near.due <= clock_mono() + NS_PER_MS);
    calls = 0;
    assert_true(loop_run(l, &e));
    assert_int_equal(calls, 1);
    assert_true(loop_timer_active(&far) && loop_timer_active(&forever));
    assert_false(loop_timer_active(&near));
    loop_timer_stop(&far);
    loop_timer_stop(&forever);
}

static ns seen_now[3];

static void look_at_the_time(void *user)
{
    seen_now[0] = loop_now(l);
    for (seen_now[2] = clock_mono(); clock_mono() < seen_now[2] + NS_PER_MS;)
        ;
    seen_now[1] = loop_now(l);
}

/* In one turn it is one time, however long that takes. */
static void now_stays_in_a_turn(void **state)
{
    loop_timer t = {0};
    assert_true(loop_timer_start(l, &t, 0, look_at_the_time, NULL));
    until(!loop_timer_active(&t));
    assert_true(seen_now[0] == seen_now[1] && seen_now[0] <= seen_now[2]);
    loop_turn(l, 0);
    assert_true(loop_now(l) > seen_now[0]);
}

static bool more_once(void *user)
{
    calls++;
    return calls == 1;
}

/* A loop sleeps again when a hook has no more to do, and turns that only look do not sleep. */
static void sleeping_and_not(void **state)
{
    err e;
    loop_hook *h, *forgotten;
    loop_timer far = {0}; /* something to live for */
    assert_true(loop_timer_start(l, &far, 3600 * NS_PER_S, fire, NULL));
    assert_true(loop_awake(l) < 3600 * NS_PER_S); /* counted from when it was made */
    for (int i = 0; i < 20; i++)
        loop_turn(l, 0);
    calls = 0;
    assert_true(loop_hook_add(l, more_once, NULL, &h, &e));
    assert_true(loop_hook_add(l, hook_b, NULL, &forgotten, &e)); /* goes with the loop */
    said[0] = 0;
    loop_turn(l, 0);
    loop_turn(l, 0);
    assert_int_equal(calls, 2);
    ns before = clock_mono();
    loop_turn(l, 30);
    assert_true(clock_mono() - before >= 25 * NS_PER_MS); /* its milliseconds are rounded */
    loop_hook_remove(h);
    loop_hook_remove(NULL);
    int was = calls;
    loop_turn(l, 0);
    assert_int_equal(calls, was);
    loop_timer_stop(&far);
}

/* --- signals and descriptors that cannot be --- */

static void mistakes(void **state)
{
    err e;
    loop_signal *s = NULL;
    loop_watch *w = NULL;
    assert_false(loop_signal_open(l, 0, on_signal, NULL, &s, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_string_equal(e.text, "cannot watch a signal: invalid argument");
    assert_false(loop_watch_open(l, -1, on_watch, NULL, &w, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_string_equal(e.text, "cannot watch a descriptor: bad file descriptor");
    assert_true(!s && !w);
    loop_signal_close(NULL);
    loop_watch_close(NULL);
    loop_free(NULL);
    loop_turn(l, 0);
}

static void *user_seen;
static unsigned events_seen;

static void note_events(void *user, unsigned events)
{
    calls++;
    user_seen = user;
    events_seen = events;
}

/* What is asked for is told, and no more; an error is told as what was asked for. */
static void events_of_a_descriptor(void **state)
{
    err e;
    int fd[2], mine;
    loop_watch *w;
    char byte;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
    assert_true(loop_watch_open(l, fd[0], note_events, &mine, &w, &e));
    static const unsigned asked_for[] = {LOOP_WRITABLE, LOOP_READABLE,
                                         LOOP_READABLE | LOOP_WRITABLE};
    assert_int_equal(write(fd[1], "x", 1), 1);
    for (int i = 0; i < 3; i++) {
        loop_watch_set(w, asked_for[i]);
        loop_watch_set(w, asked_for[i]); /* the same again */
        calls = 0;
        until(calls > 0);
        assert_int_equal(events_seen, asked_for[i]);
        assert_ptr_equal(user_seen, &mine);
    }
    assert_int_equal(read(fd[0], &byte, 1), 1);
    loop_watch_set(w, LOOP_READABLE);
    loop_turn(l, 0);
    calls = 0;
    loop_turn(l, 5);
    assert_int_equal(calls, 0);
    loop_watch_close(w);
    close(fd[0]);
    close(fd[1]);
    assert_int_equal(pipe(fd), 0);
    assert_true(loop_watch_open(l, fd[1], note_events, &mine, &w, &e));
    close(fd[0]);
    for (int i = 0; i < 2; i++) { /* the second time when it is asked for anew */
        loop_watch_set(w, LOOP_WRITABLE);
        calls = 0;
        until(calls > 0);
        assert_int_equal(calls, 1);
        assert_int_equal(events_seen, LOOP_WRITABLE);
    }
    loop_watch_close(w);
    close(fd[1]);
}

/* A process with no descriptor to spare has no loop, and the reason. */
static void no_descriptor_for_a_loop(void **state)
{
    err e;
    loop *none = NULL;
    struct rlimit was, few;
    getrlimit(RLIMIT_NOFILE, &was);
    few = was;
    few.rlim_cur = 3;
    setrlimit(RLIMIT_NOFILE, &few);
    bool ok = loop_new(&none, &e);
    setrlimit(RLIMIT_NOFILE, &was);
    assert_false(ok);
    assert_null(none);
    assert_int_equal(e.code, ERR_IO);
    assert_string_equal(e.text, "cannot make an event loop: too many open files");
}

static void pipes_that_break_are_no_signal(void **state)
{
    err e;
    loop *another;
    int fd[2];
    signal(SIGPIPE, SIG_DFL);
    assert_true(loop_new(&another, &e));
    assert_int_equal(pipe(fd), 0);
    close(fd[0]);
    assert_int_equal(write(fd[1], "x", 1), -1);
    close(fd[1]);
    loop_free(another);
}

/* What a long turn took is neither the sleep before it nor that of all time. */
static void a_long_turn_after_a_sleep(void **state)
{
    loop_timer t = {0}, far = {0};
    int mine;
    assert_true(loop_timer_start(l, &far, 3600 * NS_PER_S, fire, NULL));
    longest = 0;
    long_turns = 0;
    loop_watch_turns(l, 50 * NS_PER_MS, on_long, &mine);
    loop_turn(l, 0);
    loop_turn(l, 200);
    ns before = clock_mono();
    loop_turn(l, 0); /* the turn that is measured begins in it */
    longest = 0;
    long_turns = 0;
    assert_true(loop_timer_start(l, &t, 0, block, NULL));
    until(!loop_timer_active(&t));
    loop_turn(l, 0);
    loop_turn(l, 0);
    assert_true(long_turns > 0);
    assert_true(longest >= 60 * NS_PER_MS && longest <= clock_mono() - before);
    loop_timer_stop(&far);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, open_loop, close_loop)
    const struct CMUnitTest tests[] = {
        T(now_is_not_before_the_sleep),
        T(timers_in_order),
        T(timer_of_zero),
        T(hooks),
        T(signals),
        T(watches),
        T(idle_sleeps),
        T(waiting_is_not_being_awake),
        T(long_turns_are_told),
        T(a_timer_stops_others_that_are_due),
        T(far_timers),
        T(now_stays_in_a_turn),
        T(sleeping_and_not),
        T(mistakes),
        T(events_of_a_descriptor),
        T(no_descriptor_for_a_loop),
        T(pipes_that_break_are_no_signal),
        T(a_long_turn_after_a_sleep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
