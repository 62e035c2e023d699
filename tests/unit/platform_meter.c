/* A worker's meter and the keeper's books over a real channel: what calls used, as the kernel sees
 * it, and what the check says when a report is lost. */
#include "unit.h"

#include "base/clock.h"
#include "carbon/ledger.h"
#include "loop/channel.h"
#include "platform/keeper_book.h"
#include "platform/meter.h"

#include <sched.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static loop *l;
static meter *m;
static channel *keeper;
static usage_file *file;
static book b;
static bool drop; /* the next report */
static int reports;
static err e;
static const str apps[] = {{"front", 5}, {"back", 4}};

static void on_report(void *user, bytes message, int fd)
{
    static meter_row rows[METER_ROWS_PER_MESSAGE];
    meter_report r;
    assert_true(meter_report_read(message, &r, rows, &e));
    reports += r.last;
    if (!drop)
        assert_true(book_report(&b, getpid(), &r, rows, clock_process_cpu(), &e));
    drop = false;
}
static void on_end(void *user) {}

static int open_all(void **state)
{
    static const channel_callbacks callbacks = {on_report, on_end};
    int fds[2];
    reports = 0;
    if (!loop_new(&l, &e) || !meter_new(l, &m, &e) || !usage_file_open(NULL, &file, &e) ||
        !channel_pair(fds, &e) || !channel_open_take(l, fds[0], &callbacks, NULL, &keeper, &e))
        return -1;
    book_init(&b, file, apps, 2);
    meter_connect_take(m, fds[1]);
    for (uint32_t i = 0; i < 2; i++)
        assert_true(meter_row_open(m, 0, i, &(size_t){0}, &e));
    return !book_process_add(&b, getpid(), "worker", 0, true, true);
}

static int close_all(void **state)
{
    meter_free(m);
    channel_close(keeper);
    usage_file_close(file);
    loop_free(l);
    return 0;
}

/* Asks as the keeper does and waits for the report. */
static void ask(void)
{
    int before = reports;
    assert_true(channel_send(keeper, (bytes){(const uint8_t *)"f", 1}, -1, &e));
    for (int i = 0; i < 100 && reports == before; i++)
        loop_turn(l, 100);
    assert_int_equal(reports, before + 1);
}

static void burn(ns cpu)
{
    ns end = clock_thread_cpu() + cpu;
    while (clock_thread_cpu() < end)
        ;
}

static ledger_usage used(arena *a, const char *app)
{
    bill_records r = {0};
    ledger_usage sum = {0};
    assert_true(usage_file_records(file, a, 0, INT64_MAX, &r, &e));
    for (size_t i = 0; i < r.uses_count; i++) {
        const bill_use *u = &r.uses[i];
        str name = u->row < LEDGER_APPS ? USAGE_PLATFORM : r.apps[u->row - LEDGER_APPS];
        if (!str_eq(name, str_from(app)))
            continue;
        sum.calls += u->u.calls;
        sum.cpu_ns += u->u.cpu_ns;
        sum.bytes_in += u->u.bytes_in;
        sum.memory_peak_bytes = u->u.memory_peak_bytes > sum.memory_peak_bytes
                                    ? u->u.memory_peak_bytes
                                    : sum.memory_peak_bytes;
    }
    return sum;
}

/* One slice of `row` that burns; booked as measured by the monotonic clock, as calls do. */
static void slice(size_t row, ns cpu)
{
    ns begin = clock_mono();
    burn(cpu);
    meter_slice(m, row, clock_mono() - begin);
}

static void sums_are_what_the_kernel_says(void **state)
{
    _cleanup_(arena_fini) arena a;
    arena_init(&a, 1 << 20);
    ask(); /* what was before belongs to the platform */
    uint64_t platform = used(&a, "-").cpu_ns;
    ns before = clock_process_cpu();
    loop_turn(l, 0); /* as a worker's between two slices of long calls */
    slice(0, 30 * NS_PER_MS);
    loop_turn(l, 0);
    slice(1, 10 * NS_PER_MS);
    loop_turn(l, 0);
    slice(0, 10 * NS_PER_MS);
    loop_turn(l, 0);
    burn(20 * NS_PER_MS); /* the platform's own */
    meter_call(m, 0, &(ledger_usage){.calls = 2, .bytes_in = 7, .memory_peak_bytes = 100});
    meter_call(m, 0, &(ledger_usage){.calls = 1, .memory_peak_bytes = 50});
    ask();
    ns after = clock_process_cpu();
    ledger_usage front = used(&a, "front"), back = used(&a, "back");
    platform = used(&a, "-").cpu_ns - platform;
    assert_int_equal(front.calls, 3);
    assert_int_equal(front.bytes_in, 7);
    assert_int_equal(front.memory_peak_bytes, 100);
    assert_true(front.cpu_ns >= 39 * NS_PER_MS && back.cpu_ns >= 9 * NS_PER_MS);
    assert_true(front.cpu_ns >= 3 * back.cpu_ns);
    double off;
    assert_true(meter_agrees(front.cpu_ns + back.cpu_ns + platform, after - before, 0.01, &off));
    assert_true(platform >= 19 * NS_PER_MS);
}

/* Somebody else wants the same core all the time. Between long slices of one app there are many
 * short ones of another; each is charged with what its thread really ran. */
static void a_crowded_core_changes_no_charge(void **state)
{
    _cleanup_(arena_fini) arena a;
    cpu_set_t before, one;
    arena_init(&a, 1 << 20);
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    CPU_ZERO(&one);
    CPU_SET((unsigned)sched_getcpu(), &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    pid_t hog = fork();
    while (hog == 0)
        ;
    ask();
    ns front = 0, back = 0, wall = clock_mono();
    for (int i = 0; i < 100; i++) {
        ns begin = clock_thread_cpu();
        for (int k = 0; k < 50; k++)
            slice(1, 20 * NS_PER_US);
        ns middle = clock_thread_cpu();
        slice(0, NS_PER_MS);
        front += clock_thread_cpu() - middle;
        back += middle - begin;
        loop_turn(l, 0);
    }
    wall = clock_mono() - wall;
    ask();
    kill(hog, SIGKILL);
    waitpid(hog, NULL, 0);
    sched_setaffinity(0, sizeof before, &before);
    double front_off, back_off;
    bool ok = meter_agrees(used(&a, "front").cpu_ns, front, 0.05, &front_off) &
              meter_agrees(used(&a, "back").cpu_ns, back, 0.05, &back_off);
    print_message("of %.0f ms %.0f were ours; charges are off by %+.2f %% and %+.2f %%\n",
                  (double)wall / 1e6, (double)(front + back) / 1e6, 100 * front_off,
                  100 * back_off);
    assert_true(wall > (front + back) * 5 / 4); /* else nothing was tried */
    assert_true(ok);
}

static void slices_longer_than_the_kernel_says_shrink(void **state)
{
    _cleanup_(arena_fini) arena a;
    arena_init(&a, 1 << 20);
    ask();
    slice(0, 5 * NS_PER_MS);
    meter_slice(m, 1, 10 * NS_PER_S); /* as if it had been preempted for ten seconds */
    ask();
    assert_true(used(&a, "front").cpu_ns + used(&a, "back").cpu_ns < NS_PER_S);
}

static bool all_agree(arena *a)
{
    usage_check *checks;
    size_t n;
    double off;
    bool agree = true;
    assert_true(usage_file_checks(file, a, 0, INT64_MAX, &checks, &n, &e));
    assert_true(n > 0);
    for (size_t i = 0; i < n; i++)
        agree &= meter_agrees(checks[i].booked_ns, checks[i].kernel_ns, 0.01, &off);
    return agree;
}

static void a_lost_report_is_seen(void **state)
{
    _cleanup_(arena_fini) arena a;
    arena_init(&a, 1 << 20);
    ask();
    slice(0, 50 * NS_PER_MS);
    ask();
    assert_true(all_agree(&a));
    slice(0, 50 * NS_PER_MS);
    drop = true;
    ask();
    slice(0, 50 * NS_PER_MS);
    ask();
    assert_false(all_agree(&a));
}

static void what_cannot_be_told_is_told_later(void **state)
{
    static const channel_callbacks callbacks = {on_report, on_end};
    _cleanup_(arena_fini) arena a;
    int fds[2];
    arena_init(&a, 1 << 20);
    ask();
    channel_close(keeper);
    slice(1, 20 * NS_PER_MS);
    loop_turn(l, 0);
    assert_true(channel_pair(fds, &e));
    assert_true(channel_open_take(l, fds[0], &callbacks, NULL, &keeper, &e));
    meter_connect_take(m, fds[1]);
    ask();
    /* All of it, but for what the kernel gave others beside the slice in the same turn. */
    assert_true(used(&a, "back").cpu_ns >= 10 * NS_PER_MS);
    assert_true(all_agree(&a));
}

/* Apps come and go: the row of one that went is told, and then another's. */
static void rows_of_apps_that_went_are_told(void **state)
{
    _cleanup_(arena_fini) arena a;
    size_t rows[40], next;
    arena_init(&a, 1 << 20);
    for (uint32_t i = 0; i < 40; i++) {
        assert_true(meter_row_open(m, 100 + i, 1, &rows[i], &e));
        meter_call(m, rows[i], &(ledger_usage){.calls = i + 1});
    }
    meter_row_close(m, rows[7]);
    assert_true(meter_row_open(m, 500, 0, &next, &e));
    assert_int_not_equal(next, rows[7]); /* not told yet */
    ask();
    assert_int_equal(used(&a, "107/1").calls, 8);
    assert_int_equal(used(&a, "139/1").calls, 40);
    assert_true(meter_row_open(m, 600, 0, &next, &e));
    assert_int_equal(next, rows[7]);
    meter_call(m, next, &(ledger_usage){.calls = 3});
    meter_row_close(m, rows[8]); /* nothing used: free at once */
    assert_true(meter_row_open(m, 700, 0, &next, &e));
    assert_int_equal(next, rows[8]);
    ask();
    assert_int_equal(used(&a, "600/0").calls, 3);
    assert_int_equal(used(&a, "107/1").calls, 8);
    assert_true(meter_row_open(NULL, 1, 0, &next, &e));
    meter_row_close(NULL, next);
}

static void foreign_reports_are_refused(void **state)
{
    meter_report r = {.rows_count = 1, .last = true};
    meter_row row = {.component = 2}, got[METER_ROWS_PER_MESSAGE];
    struct {
        meter_report head;
        meter_row row;
    } text = {r, row};
    assert_false(book_report(&b, getpid(), &r, &row, 0, &e));
    assert_non_null(strstr(e.text, "component 2 of 2"));
    assert_false(book_report(&b, 1, &r, &row, 0, &e));
    assert_false(meter_report_read((bytes){(uint8_t *)&text, sizeof text - 1}, &r, got, &e));
    assert_false(meter_report_read((bytes){(uint8_t *)&text, 3}, &r, got, &e));
    text.head.rows_count = UINT32_MAX;
    assert_false(meter_report_read((bytes){(uint8_t *)&text, sizeof text}, &r, got, &e));
    text.head.rows_count = 1;
    assert_true(meter_report_read((bytes){(uint8_t *)&text, sizeof text}, &r, got, &e));
    assert_int_equal(got[0].component, 2);
}

static void the_dead_and_the_silent_are_the_platforms(void **state)
{
    _cleanup_(arena_fini) arena a;
    uint64_t untold;
    arena_init(&a, 1 << 20);
    pid_t child = fork();
    if (child == 0) {
        burn(30 * NS_PER_MS);
        pause();
    }
    assert_true(book_process_add(&b, child, "store", 0, false, false));
    for (int i = 0; i < 1000 && clock_process_cpu_of(child) < 30 * NS_PER_MS; i++)
        usleep(1000);
    assert_true(book_sample(&b, 100, 0, &e));
    uint64_t measured = used(&a, "-").cpu_ns;
    assert_true(measured >= 30 * NS_PER_MS);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_true(book_died(&b, child, 110, measured + 5, &untold, &e));
    assert_int_equal(untold, 5);
    assert_int_equal(used(&a, "-").cpu_ns, measured + 5);
    assert_true(book_died(&b, 0, 110, 7, &untold, &e)); /* one that was never announced */
    assert_int_equal(untold, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sums_are_what_the_kernel_says, open_all, close_all),
        cmocka_unit_test_setup_teardown(a_crowded_core_changes_no_charge, open_all, close_all),
        cmocka_unit_test_setup_teardown(slices_longer_than_the_kernel_says_shrink, open_all,
                                        close_all),
        cmocka_unit_test_setup_teardown(a_lost_report_is_seen, open_all, close_all),
        cmocka_unit_test_setup_teardown(what_cannot_be_told_is_told_later, open_all, close_all),
        cmocka_unit_test_setup_teardown(rows_of_apps_that_went_are_told, open_all, close_all),
        cmocka_unit_test_setup_teardown(foreign_reports_are_refused, open_all, close_all),
        cmocka_unit_test_setup_teardown(the_dead_and_the_silent_are_the_platforms, open_all,
                                        close_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
