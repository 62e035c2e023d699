/* The keeper's books: processes that are known, what workers report, what the machine and the dead
 * have used, each second once. */
#include "unit.h"

#include "base/clock.h"
#include "platform/keeper_book.h"

#include <string.h>
#include <unistd.h>

#define T INT64_C(1800000000)

static const str apps[] = {{"web", 3}, {"batch", 5}};
static usage_file *f;
static book b;
static arena a;
static err e;

static int begin(void **state)
{
    arena_init(&a, 16 << 20);
    if (!usage_file_open(NULL, &f, &e))
        return -1;
    book_init(&b, f, apps, 2);
    return 0;
}

static int end(void **state)
{
    usage_file_close(f);
    arena_fini(&a);
    return 0;
}

/* CPU that is booked to this name since T. */
static uint64_t cpu_of(str name)
{
    bill_records r = {0};
    uint64_t sum = 0;
    assert_true(usage_file_records(f, &a, T - 1000, T + 1000, &r, &e));
    for (size_t i = 0; i < r.uses_count; i++) {
        const bill_use *u = &r.uses[i];
        str is = u->row == LEDGER_PLATFORM ? USAGE_PLATFORM
                 : u->row == LEDGER_OTHER  ? USAGE_OTHER
                                           : r.apps[u->row - LEDGER_APPS];
        sum += str_eq(is, name) ? u->u.cpu_ns : 0;
    }
    return sum;
}

static usage_check check_of(size_t i)
{
    usage_check *all;
    size_t n;
    assert_true(usage_file_checks(f, &a, T - 1000, T + 1000, &all, &n, &e));
    assert_true(i < n);
    return all[i];
}

static meter_row row(uint64_t app, uint64_t component, uint64_t cpu_ns)
{
    return (meter_row){.app = app, .component = component, .u = {.calls = 1, .cpu_ns = cpu_ns}};
}

static void reports_of_a_worker(void **state)
{
    meter_row rows[] = {row(0, 1, 500), row(7, 2, 300)};
    meter_report r = {.window_s = T, .platform_ns = 100, .rows_count = 2, .last = true};
    assert_false(book_report(&b, 10, &r, rows, 900, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_true(book_process_add(&b, 10, "worker", 3, true, false));
    assert_true(book_process_add(&b, 10, "worker", 3, true, false)); /* a new channel of it */
    assert_true(book_report(&b, 10, &r, rows, 900, &e));
    assert_int_equal(cpu_of(S("batch")), 500);
    assert_int_equal(cpu_of(S("7/2")), 300);
    assert_int_equal(cpu_of(S("web")), 0);
    assert_int_equal(cpu_of(USAGE_PLATFORM), 100);
    usage_check c = check_of(0);
    assert_str(c.process, "worker 3");
    assert_int_equal(c.booked_ns, 900);
    assert_int_equal(c.kernel_ns, 900);
    /* In two messages: what the kernel says counts with the last. */
    r = (meter_report){.window_s = T + 10, .platform_ns = 0, .rows_count = 1};
    assert_true(book_report(&b, 10, &r, rows, 1500, &e));
    r.last = true;
    r.platform_ns = 50;
    assert_true(book_report(&b, 10, &r, rows + 1, 1900, &e));
    assert_int_equal(check_of(1).booked_ns, 850);
    assert_int_equal(check_of(1).kernel_ns, 1000);
    /* Nothing of a report that is wrong is booked. */
    rows[1] = row(0, 2, 1);
    r.rows_count = 2;
    assert_false(book_report(&b, 10, &r, rows, 2000, &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_non_null(strstr(e.text, "worker 3 reports component 2 of 2"));
    assert_int_equal(cpu_of(S("batch")), 1000);
    assert_false(book_report(&b, 0, &r, rows, 2000, &e));
}

/* One that an earlier keeper has metered begins with what its first report says. */
static void a_worker_that_was_there_before(void **state)
{
    meter_row rows[] = {row(0, 0, 400)};
    meter_report r = {.window_s = T, .platform_ns = 100, .rows_count = 1, .last = true};
    assert_true(book_process_add(&b, 11, "worker", 0, true, true));
    assert_true(book_report(&b, 11, &r, rows, 1000500, &e));
    assert_int_equal(check_of(0).booked_ns, 500);
    assert_int_equal(check_of(0).kernel_ns, 500);
    r.window_s = T + 10;
    assert_true(book_report(&b, 11, &r, rows, 1001000, &e));
    assert_int_equal(check_of(1).kernel_ns, 500);
    assert_int_equal(cpu_of(S("web")), 800);
}

static volatile unsigned spun;

/* A process that does not report is measured: this one. */
static void processes_that_are_measured(void **state)
{
    for (int known = 0; known < 2; known++) {
        end(state);
        begin(state);
        uint64_t before = clock_process_cpu_of(getpid());
        assert_true(book_process_add(&b, getpid(), "store", 5, false, known));
        while (clock_process_cpu_of(getpid()) < before + 1000000)
            spun++;
        assert_true(book_sample(&b, T, 0, &e));
        uint64_t booked = cpu_of(USAGE_PLATFORM), now = clock_process_cpu_of(getpid());
        assert_true(booked <= now);
        assert_true(known ? booked < now - before + 1000000 && booked >= 500000
                          : booked >= before); /* all that it has used so far, or what is new */
        usage_check c = check_of(0);
        assert_str(c.process, "store");
        assert_int_equal(c.booked_ns, booked);
        assert_int_equal(c.kernel_ns, booked);
        assert_int_equal(b.sampled_window_s, T);
    }
}

static void what_is_not_ours(void **state)
{
    meter_row rows[] = {row(0, 0, 1000)};
    meter_report r = {.window_s = T, .rows_count = 1, .last = true};
    assert_true(book_process_add(&b, 10, "worker", 0, true, false));
    assert_true(book_sample(&b, T, 50000, &e)); /* the first says where we begin */
    assert_int_equal(cpu_of(USAGE_OTHER), 0);
    assert_true(book_report(&b, 10, &r, rows, 1000, &e));
    assert_true(book_sample(&b, T, 53000, &e));
    assert_int_equal(cpu_of(USAGE_OTHER), 2000);
    assert_true(book_report(&b, 10, &r, rows, 6000, &e));
    assert_true(book_sample(&b, T, 54000, &e)); /* ticks are coarse: never less than nothing */
    assert_int_equal(cpu_of(USAGE_OTHER), 2000);
    assert_true(book_sample(&b, T, 0, &e)); /* unknown */
    assert_true(book_sample(&b, T, 90000, &e));
    assert_int_equal(cpu_of(USAGE_OTHER), 2000);
    assert_true(book_sample(&b, T, 90007, &e));
    assert_int_equal(cpu_of(USAGE_OTHER), 2007);
}

/* What a process had not told when it ended is the platform's. */
static void what_the_dead_have_used(void **state)
{
    meter_row rows[] = {row(0, 0, 1000)};
    meter_report r = {.window_s = T, .rows_count = 1, .last = true};
    uint64_t untold;
    assert_true(book_process_add(&b, 10, "worker", 0, true, false));
    assert_true(book_report(&b, 10, &r, rows, 1000, &e));
    assert_true(book_died(&b, 10, T, 1600, &untold, &e));
    assert_int_equal(untold, 600);
    assert_int_equal(cpu_of(USAGE_PLATFORM), 600);
    assert_false(book_report(&b, 10, &r, rows, 2000, &e)); /* it is forgotten */
    assert_true(book_died(&b, 0, T, 40, &untold, &e));     /* never announced */
    assert_int_equal(untold, 40);
    assert_true(book_died(&b, 99, T, 0, &untold, &e));
    assert_int_equal(untold, 0);
    assert_int_equal(cpu_of(USAGE_PLATFORM), 640);
    assert_true(book_process_add(&b, 10, "worker", 1, true, false));
    assert_true(book_report(&b, 10, &r, rows, 1000, &e));
    assert_true(book_died(&b, 10, T, 900, &untold, &e)); /* told more: nothing is taken back */
    assert_int_equal(untold, 0);
}

static void places_are_limited(void **state)
{
    uint64_t untold;
    for (int i = 1; i <= BOOK_PROCESSES_MAX; i++)
        assert_true(book_process_add(&b, i, "worker", (unsigned)i, true, false));
    assert_false(book_process_add(&b, 500, "worker", 0, true, false));
    assert_true(book_process_add(&b, BOOK_PROCESSES_MAX, "worker", 0, true, false));
    assert_true(book_died(&b, 7, T, 0, &untold, &e));
    assert_true(book_process_add(&b, 500, "worker", 0, true, false));
}

static void deferred_calls_of_components(void **state)
{
    bill_records r = {0};
    ledger_usage u = {.calls = 1, .cpu_ns = 1};
    assert_true(usage_file_begin(f, &e));
    assert_true(usage_file_add(f, T, S("batch"), &u, &e) && usage_file_add(f, T, S("3/9"), &u, &e));
    assert_true(book_deferred(&b, 0, 1, T - 7200, T, 5, &e));
    assert_true(book_deferred(&b, 3, 9, T - 7200, T, 7, &e));
    assert_false(book_deferred(&b, 0, 2, T - 7200, T, 5, &e));
    assert_non_null(strstr(e.text, "a deferred call of component 2 of 2"));
    assert_true(usage_file_commit(f, &e));
    assert_true(usage_file_records(f, &a, T - 86400, T + 86400, &r, &e));
    assert_int_equal(r.deferred_count, 2);
    for (size_t i = 0; i < 2; i++) {
        str name = r.apps[r.deferred[i].row - LEDGER_APPS];
        assert_true(str_eq(name, r.deferred[i].energy_j == 5 ? S("batch") : S("3/9")));
    }
}

#define book_test(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        book_test(reports_of_a_worker),          book_test(a_worker_that_was_there_before),
        book_test(processes_that_are_measured),  book_test(what_is_not_ours),
        book_test(what_the_dead_have_used),      book_test(places_are_limited),
        book_test(deferred_calls_of_components),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
