/* Bills: records over several days, sums that are the node's, spans and their ends. */
#include "unit.h"

#include "carbon/bill.h"
#include "carbon/when.h"
#include "store/usage_file.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

#define DAY INT64_C(1700006400) /* a midnight */

static arena a;
static err e;

static int make(void **state)
{
    arena_init(&a, 64 << 20);
    return 0;
}
static int unmake(void **state)
{
    arena_fini(&a);
    return 0;
}

static double g[48];
static intensity_series grid(void)
{
    for (int i = 0; i < 48; i++)
        g[i] = i < 24 ? 100 : 300;
    return (intensity_series){DAY, 3600, 48, g, 48};
}

static carbon_report span(int64_t from, int64_t to)
{
    carbon_report r = {.from_s = from,
                       .to_s = to,
                       .capacity_cpus = 4,
                       .server_kg = 1000,
                       .life_s = 1e8,
                       .power = power_model_specpower(4)};
    return r;
}

static const str names[] = {{"x", 1}, {"y", 1}};

static void sums_are_the_nodes(const carbon_report *r)
{
    double j = r->platform.dynamic_j + r->platform.idle_j + r->other.dynamic_j + r->other.idle_j +
               r->total.idle_unallocated_j;
    double m = r->platform.embodied_g + r->other.embodied_g + r->total.embodied_unallocated_g;
    for (size_t i = 0; i < r->rows_count; i++) {
        j += r->rows[i].sum.dynamic_j + r->rows[i].sum.idle_j;
        m += r->rows[i].sum.embodied_g;
    }
    assert_true(fabs(j - r->total.node_j) <= 1e-9 * r->total.node_j);
    assert_true(fabs(m - r->total.embodied_g) <= 1e-9 * r->total.embodied_g);
}

static void two_days(void **state)
{
    const bill_use uses[] = {
        {DAY + 10, LEDGER_APPS, {.calls = 1, .cpu_ns = 2000000000}},
        {DAY + 3600, LEDGER_PLATFORM, {.cpu_ns = 500000000}},
        {DAY + WHEN_DAY_S + 50, LEDGER_APPS + 1, {.calls = 3, .cpu_ns = 2000000000}},
        {DAY + WHEN_DAY_S + 60, LEDGER_OTHER, {.cpu_ns = 100000000}},
    };
    intensity_series s = grid();
    bill_records b = {uses, 4, NULL, 0, names, 2, &s, (double)NAN};
    carbon_report r = span(DAY, DAY + 2 * WHEN_DAY_S);
    assert_true(bill_make(&a, &b, &r, &e));
    sums_are_the_nodes(&r);
    assert_int_equal(r.rows[0].sum.used.calls, 1);
    assert_int_equal(r.rows[1].sum.used.calls, 3);
    assert_true(fabs(r.rows[0].sum.dynamic_j - 5) < 1e-9); /* 2.5 J a CPU-second */
    assert_true(fabs(r.rows[1].sum.dynamic_j - 5) < 1e-9);
    /* The same work on the second day, at three times the intensity. */
    double first = r.rows[0].sum.operational_g, second = r.rows[1].sum.operational_g;
    assert_true(second > 2.5 * first && second < 3.5 * first);
    assert_int_equal(r.hours_by_quality[INTENSITY_MEASURED], 48);
    assert_true(fabs(r.total.embodied_g - 1e6 / 1e8 * 2 * WHEN_DAY_S) < 1e-6);
}

static void spans_begin_and_end_within_a_day(void **state)
{
    const bill_use uses[] = {
        {DAY + 100, LEDGER_APPS, {.calls = 1, .cpu_ns = 1000000000}},
        {DAY + 7200, LEDGER_APPS, {.calls = 1, .cpu_ns = 1000000000}},
        {DAY + 10800, LEDGER_APPS, {.calls = 1, .cpu_ns = 1000000000}},
    };
    intensity_series s = grid();
    bill_records b = {uses, 3, NULL, 0, names, 1, &s, (double)NAN};
    carbon_report r = span(DAY + 3600, DAY + 10800);
    assert_true(bill_make(&a, &b, &r, &e));
    assert_int_equal(r.rows[0].sum.used.calls, 1);
    sums_are_the_nodes(&r);
    assert_true(fabs(r.total.node_j - (4 * 0.65 * 7200 + 2.5)) < 1e-6);
    assert_true(fabs(r.total.embodied_g - 0.01 * 7200) < 1e-9);
    carbon_report none = span(DAY, DAY);
    assert_false(bill_make(&a, &b, &none, &e));
}

static void measured_energy_replaces_the_model(void **state)
{
    const bill_use uses[] = {{DAY + 15, LEDGER_APPS, {.calls = 1, .cpu_ns = 1000000000}}};
    const bill_energy energies[] = {{DAY + 10, 26}, {DAY + 20, 126}};
    intensity_series s = grid();
    bill_records b = {uses, 1, energies, 2, names, 1, &s, (double)NAN};
    carbon_report r = span(DAY, DAY + 21);
    r.power.source = POWER_RAPL;
    r.power.idle_w = 2.6;
    assert_true(bill_make(&a, &b, &r, &e));
    sums_are_the_nodes(&r);
    assert_true(fabs(r.total.node_j - 152 - 2.6) < 1e-6); /* the last second: idle */
    assert_true(fabs(r.rows[0].sum.dynamic_j - 100) < 1e-6);
}

static void forms_have_names(void **state)
{
    carbon_report r = span(DAY, DAY + 1);
    _cleanup_(buf_fini) buf out;
    buf_init(&out, 1 << 20);
    assert_true(report_as(S("manifest"), &r, &out, &e));
    assert_false(report_as(S("pdf"), &r, &out, &e));
    assert_non_null(strstr(e.text, "'pdf'"));
}

static void records_come_back_in_order_and_sum_up(void **state)
{
    usage_file *f;
    bill_records r = {0};
    assert_true(usage_file_open(NULL, &f, &e));
    assert_true(usage_file_begin(f, &e));
    ledger_usage u = {.calls = 1, .cpu_ns = 5, .memory_peak_bytes = 9};
    assert_true(usage_file_add(f, DAY + 20, S("y"), &u, &e));
    assert_true(usage_file_add(f, DAY + 10, S("x"), &u, &e));
    u.memory_peak_bytes = 3;
    assert_true(usage_file_add(f, DAY + 10, S("x"), &u, &e));
    assert_true(usage_file_add(f, DAY + 10, USAGE_PLATFORM, &u, &e));
    assert_true(usage_file_commit(f, &e));
    assert_true(usage_file_records(f, &a, DAY, DAY + 20, &r, &e));
    assert_int_equal(r.apps_count, 1);
    assert_int_equal(r.uses_count, 2);
    assert_true(usage_file_compact(f, DAY + 7200, &e));
    assert_true(usage_file_records(f, &a, DAY, DAY + 3600, &r, &e));
    assert_int_equal(r.apps_count, 2);
    assert_int_equal(r.uses_count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(r.uses[i].t_s, DAY);
        if (r.uses[i].row == LEDGER_APPS) {
            assert_int_equal(r.uses[i].u.calls, 2);
            assert_int_equal(r.uses[i].u.memory_peak_bytes, 9);
        }
    }
    assert_int_equal(usage_file_oldest(f), DAY);
    assert_true(usage_file_begin(f, &e));
    assert_true(usage_file_add(f, DAY, S("z"), &u, &e));
    usage_file_rollback(f);
    assert_true(usage_file_records(f, &a, DAY, DAY + 3600, &r, &e));
    assert_int_equal(r.apps_count, 2);
    usage_file_close(f);
}

static void points_and_energies_are_kept(void **state)
{
    usage_file *f;
    intensity_reading got = {0};
    bill_records r = {0};
    intensity_point points[] = {{DAY, 1800, 100, false, false},
                                {DAY, 1800, 90, true, false},
                                {DAY + 1800, 1800, 80, true, true}};
    intensity_reading reading = {.points = points, .points_count = 3};
    assert_true(usage_file_open(NULL, &f, &e));
    assert_true(usage_file_intensity(f, &reading, &e) && usage_file_intensity(f, &reading, &e));
    assert_true(usage_file_points(f, &a, DAY, DAY + 3600, false, &got, &e));
    assert_int_equal(got.points_count, 1);
    assert_true(usage_file_points(f, &a, DAY, DAY + 3600, true, &got, &e));
    assert_int_equal(got.points_count, 3);
    assert_true(usage_file_energy(f, DAY + 5, 2.5, &e));
    assert_true(usage_file_records(f, &a, DAY, DAY + 10, &r, &e));
    assert_true(r.energies_count == 1 && r.energies[0].joules == 2.5);
    usage_file_close(f);
    assert_false(usage_file_open("/nowhere/x.db", &f, &e));
    assert_non_null(strstr(e.text, "/nowhere/x.db"));
}

/* Two calls from a dirty hour to a clean one, one the other way, one from an unknown hour. */
static void waiting_is_priced_by_what_really_came(void **state)
{
    usage_file *f;
    double hours[3] = {300, 100, 200};
    intensity_series really = {DAY, 3600, 3, hours, 3};
    ledger_usage u = {.calls = 4, .cpu_ns = 1000000000};
    bill_records r = {.intensity = &really, .yearly_g_per_kwh = 100};
    carbon_report report = span(DAY, DAY + 3 * 3600);
    assert_true(usage_file_open(NULL, &f, &e));
    assert_true(usage_file_add(f, DAY + 3600, S("7/0"), &u, &e));
    assert_true(usage_file_deferred(f, S("7/0"), DAY + 10, DAY + 3610, 1.8e6, &e));
    assert_true(usage_file_deferred(f, S("7/0"), DAY + 20, DAY + 3800, 1.8e6, &e));
    assert_true(usage_file_deferred(f, S("7/0"), DAY + 3700, DAY + 7300, 3.6e6, &e));
    assert_true(usage_file_deferred(f, S("7/0"), DAY - 3600, DAY + 5, 3.6e6, &e));
    assert_true(usage_file_deferred(f, S("gone"), DAY + 20, DAY + 3800, 3.6e6, &e));
    assert_true(usage_file_records(f, &a, DAY, DAY + 3 * 3600, &r, &e));
    assert_true(bill_make(&a, &r, &report, &e));
    const saving *s = &report.rows[0].saved;
    assert_true(s->calls == 4 && s->calls_unknown == 1 && s->calls_worse == 1);
    assert_true(s->baseline_g == 300 + 100 && s->actual_g == 100 + 200);
    assert_true(s->delay_s == 3600 + 3780 + 3600 + 3605);
    assert_true(report.saved.calls == 4 && saving_g(&report.saved) == 100);
    usage_file_close(f);
}

/* --- records at their edges ------------------------------------------------------------------- */

static usage_file *opened(void)
{
    usage_file *f;
    if (!usage_file_open(NULL, &f, &e))
        fail_msg("%s", e.text);
    return f;
}

static void use(usage_file *f, int64_t window_s, str app, uint64_t cpu_ns)
{
    ledger_usage u = {.calls = 1, .cpu_ns = cpu_ns};
    if (!usage_file_add(f, window_s, app, &u, &e))
        fail_msg("%s", e.text);
}

/* Each number comes back in its place. */
static void each_number_of_a_window(void **state)
{
    usage_file *f = opened();
    bill_records r = {0};
    ledger_usage u = {.calls = 1,
                      .cpu_ns = 20,
                      .wall_ns = 300,
                      .bytes_in = 4000,
                      .bytes_out = 50000,
                      .memory_peak_bytes = 600000};
    assert_true(usage_file_add(f, DAY, S("m"), &u, &e) && usage_file_add(f, DAY, S("m"), &u, &e));
    use(f, DAY, S("a"), 1);
    use(f, DAY, S("z"), 1);
    use(f, DAY, USAGE_OTHER, 1);
    assert_true(usage_file_records(f, &a, DAY, DAY + 1, &r, &e));
    assert_true(r.apps_count == 3 && r.uses_count == 4);
    assert_str(r.apps[0], "a");
    assert_str(r.apps[1], "m");
    assert_str(r.apps[2], "z");
    for (size_t i = 0, rows = 0; i < 4; i++) {
        static const size_t want = 1u << LEDGER_OTHER | 7u << LEDGER_APPS;
        rows |= (size_t)1 << r.uses[i].row;
        assert_true(i < 3 || rows == want);
        if (r.uses[i].row != LEDGER_APPS + 1)
            continue;
        const ledger_usage *got = &r.uses[i].u;
        assert_true(got->calls == 2 && got->cpu_ns == 40 && got->wall_ns == 600);
        assert_true(got->bytes_in == 8000 && got->bytes_out == 100000);
        assert_int_equal(got->memory_peak_bytes, 600000);
    }
    assert_true(usage_file_records(f, &a, DAY + 1, DAY + 10, &r, &e));
    assert_true(r.apps_count == 0 && r.uses_count == 0);
    usage_file_close(f);
}

static void moments_under_names(void **state)
{
    usage_file *f = opened();
    assert_int_equal(usage_file_marked(f, S("x")), 0);
    assert_true(usage_file_mark(f, S("x"), 7, &e) && usage_file_mark(f, S("y"), 8, &e));
    assert_true(usage_file_mark(f, S(""), 9, &e) && usage_file_mark(f, S("x"), 5, &e));
    assert_int_equal(usage_file_marked(f, S("x")), 5);
    assert_int_equal(usage_file_marked(f, S("y")), 8);
    assert_int_equal(usage_file_marked(f, S("")), 9);
    assert_int_equal(usage_file_marked(f, S("xy")), 0);
    str *all = NULL;
    size_t n = 0;
    for (size_t i = 1; i <= 4; i++) { /* the list, and each name */
        alloc_fail_after(i);
        assert_false(usage_file_marks(f, &a, &all, &n, &e));
        alloc_fail_after(0);
        assert_true(e.code == ERR_NO_MEMORY && !all && !n);
    }
    assert_true(usage_file_unmark(f, S("xy"), &e) && usage_file_unmark(f, S("x"), &e));
    assert_int_equal(usage_file_marked(f, S("x")), 0);
    assert_true(usage_file_marks(f, &a, &all, &n, &e) && n == 2);
    assert_str(all[0], "");
    assert_str(all[1], "y");
    assert_true(usage_file_unmark(f, S(""), &e) && usage_file_unmark(f, S("y"), &e));
    assert_true(usage_file_marks(f, &a, &all, &n, &e) && n == 0);
    assert_int_equal(usage_file_oldest(f), 0);
    use(f, DAY + 10, S("a"), 1);
    use(f, DAY, S("a"), 1);
    assert_int_equal(usage_file_oldest(f), DAY);
    usage_file_close(f);
}

static void loads_by_steps(void **state)
{
    usage_file *f = opened();
    double got[4];
    use(f, DAY - 10, S("a"), 1000000000);
    use(f, DAY, S("a"), 2000000000);
    use(f, DAY + 50, S("a"), 500000000);
    use(f, DAY + 50, S("b"), 250000000);
    use(f, DAY + 50, USAGE_PLATFORM, 9000000000);
    use(f, DAY + 50, USAGE_OTHER, 9000000000);
    use(f, DAY + 60, S("b"), 4000000000);
    use(f, DAY + 179, S("b"), 8000000000);
    use(f, DAY + 180, S("b"), 16000000000);
    got[3] = 77;
    assert_true(usage_file_loads(f, DAY, 3, 60, got, &e));
    assert_true(got[0] == 2.75 && got[1] == 4 && got[2] == 8 && got[3] == 77);
    assert_true(usage_file_loads(f, DAY + 10000, 3, 60, got, &e));
    assert_true(got[0] == 0 && got[1] == 0 && got[2] == 0);
    usage_file_close(f);
}

/* By the hour in which they ran, and by that in which they came, where that is one of these. */
static void deferred_energy_by_hours(void **state)
{
    usage_file *f = opened();
    double ran[3], came[3];
    assert_true(usage_file_deferred(f, S("a"), DAY + 10, DAY + 20, 1, &e));
    assert_true(usage_file_deferred(f, S("a"), DAY + 10, DAY + 3600, 2, &e));
    assert_true(usage_file_deferred(f, S("b"), DAY + 3599, DAY + 3601, 4, &e));
    assert_true(usage_file_deferred(f, S("b"), DAY - 1, DAY + 7200, 8, &e));
    assert_true(usage_file_deferred(f, S("b"), DAY - 7200, DAY - 1, 16, &e));
    assert_true(usage_file_deferred(f, S("b"), DAY + 7200, DAY + 10799, 32, &e));
    assert_true(usage_file_deferred(f, S("b"), DAY + 7200, DAY + 10800, 64, &e));
    assert_true(usage_file_later(f, DAY, 3, ran, came, &e));
    assert_true(ran[0] == 1 && ran[1] == 6 && ran[2] == 40);
    assert_true(came[0] == 7 && came[1] == 0 && came[2] == 32);
    bill_records r = {0};
    use(f, DAY + 3600, S("a"), 1);
    assert_true(usage_file_records(f, &a, DAY + 3700, DAY + 7200, &r, &e));
    assert_int_equal(r.deferred_count, 0); /* nobody is known by name */
    assert_true(usage_file_records(f, &a, DAY + 3600, DAY + 7200, &r, &e));
    assert_int_equal(r.deferred_count, 1); /* of `b` there is no row */
    const bill_deferred *d = &r.deferred[0];
    assert_true(d->row == LEDGER_APPS && d->calls == 1 && d->energy_j == 2);
    assert_true(d->ran_s == DAY + 3600 && d->accepted_s == DAY && d->delay_s == 3590);
    usage_file_close(f);
}

static void checks_of_processes(void **state)
{
    usage_file *f = opened();
    usage_check *all;
    size_t n;
    assert_true(usage_file_check(f, DAY + 10, S("worker 1"), 5, 6, &e));
    assert_true(usage_file_check(f, DAY + 10, S("worker 0"), 1, 2, &e));
    assert_true(usage_file_check(f, DAY + 10, S("worker 0"), 10, 20, &e)); /* added */
    assert_true(usage_file_check(f, DAY, S("worker 1"), 7, 8, &e));
    assert_true(usage_file_check(f, DAY + 20, S("worker 1"), 9, 9, &e));
    assert_true(usage_file_checks(f, &a, DAY, DAY + 20, &all, &n, &e));
    assert_int_equal(n, 3);
    assert_true(all[0].window_s == DAY && all[0].booked_ns == 7 && all[0].kernel_ns == 8);
    assert_str(all[1].process, "worker 0");
    assert_true(all[1].window_s == DAY + 10 && all[1].booked_ns == 11 && all[1].kernel_ns == 22);
    assert_str(all[2].process, "worker 1");
    for (size_t k = 1; k <= 4; k++) { /* the list, and three names */
        alloc_fail_after(k);
        assert_false(usage_file_checks(f, &a, DAY, DAY + 20, &all, &n, &e));
        assert_int_equal(e.code, ERR_NO_MEMORY);
    }
    alloc_fail_after(0);
    /* They go with the fine records of their hour. */
    assert_true(usage_file_compact(f, DAY + 3599, &e));
    assert_true(usage_file_checks(f, &a, DAY, DAY + 20, &all, &n, &e) && n == 3);
    assert_true(usage_file_compact(f, DAY + 3600, &e));
    assert_true(usage_file_checks(f, &a, DAY, DAY + 30, &all, &n, &e) && n == 0);
    usage_file_close(f);
}

/* Hours that are whole become one record an app; the hour of the moment stays as it is. */
static void hours_become_one(void **state)
{
    usage_file *f = opened();
    bill_records r = {0};
    ledger_usage u = {.calls = 1, .cpu_ns = 2, .wall_ns = 3, .bytes_in = 4, .bytes_out = 5};
    for (int i = 0; i < 4; i++) {
        u.memory_peak_bytes = (uint64_t)(10 - i);
        assert_true(usage_file_add(f, DAY + 1800 * i + 100, S("a"), &u, &e));
        assert_true(usage_file_add(f, DAY + 1800 * i + 100, USAGE_PLATFORM, &u, &e));
    }
    for (int again = 0; again < 2; again++) { /* the second time nothing is left to do */
        assert_true(usage_file_compact(f, DAY + 3600 + 1800, &e));
        assert_true(usage_file_records(f, &a, DAY, DAY + WHEN_DAY_S, &r, &e));
        assert_true(r.uses_count == 6 && r.apps_count == 1);
        for (size_t i = 0; i < 6; i++) {
            const ledger_usage *got = &r.uses[i].u;
            bool is_hour = r.uses[i].t_s == DAY;
            assert_true(is_hour || r.uses[i].t_s == DAY + 3700 || r.uses[i].t_s == DAY + 5500);
            assert_true(is_hour == (i < 2));
            unsigned times = is_hour ? 2 : 1;
            assert_true(got->calls == times && got->cpu_ns == 2 * times);
            assert_true(got->wall_ns == 3 * times && got->bytes_in == 4 * times);
            assert_true(got->bytes_out == 5 * times);
            assert_int_equal(got->memory_peak_bytes, is_hour ? 10 : i < 4 ? 8 : 7);
        }
    }
    assert_true(usage_file_begin(f, &e)); /* none inside another transaction */
    assert_false(usage_file_compact(f, DAY + WHEN_DAY_S, &e));
    usage_file_rollback(f);
    assert_true(usage_file_records(f, &a, DAY, DAY + WHEN_DAY_S, &r, &e) && r.uses_count == 6);
    usage_file_close(f);
}

static void power_and_energy(void **state)
{
    usage_file *f = opened();
    bill_records r = {0};
    bill_power last = {.samples = 77};
    const bill_power powers[] = {{.from_s = DAY + 20, .idle_w = 1, .busy_w = 2, .samples = 3},
                                 {.from_s = DAY,
                                  .idle_w = 10,
                                  .busy_w = 20,
                                  .uncertainty = 0.5,
                                  .samples = 30,
                                  .j_per_cpu_s = 40},
                                 {.from_s = DAY + 20, .idle_w = 5, .busy_w = 6, .samples = 7}};
    assert_false(usage_file_power_last(f, &last));
    assert_int_equal(last.samples, 77);
    for (int i = 0; i < 3; i++)
        assert_true(usage_file_power(f, &powers[i], &e));
    assert_true(usage_file_power_last(f, &last));
    assert_true(last.from_s == DAY + 20 && last.idle_w == 5 && last.samples == 7);
    for (int i = 0; i < 4; i++)
        assert_true(usage_file_energy(f, DAY + 10 * (3 - i), 3 - i, &e));
    assert_true(usage_file_records(f, &a, DAY + 10, DAY + 20, &r, &e));
    assert_true(r.powers_count == 1 && r.powers[0].from_s == DAY && r.powers[0].idle_w == 10);
    assert_true(r.powers[0].busy_w == 20 && r.powers[0].uncertainty == 0.5);
    assert_true(r.powers[0].samples == 30 && r.powers[0].j_per_cpu_s == 40);
    assert_true(r.energies_count == 1 && r.energies[0].t_s == DAY + 10);
    assert_true(usage_file_records(f, &a, DAY, DAY + 21, &r, &e));
    assert_true(r.powers_count == 2 && r.powers[1].idle_w == 5);
    assert_true(r.energies_count == 3 && r.energies[2].joules == 2 && r.energies[0].joules == 0);
    usage_file_close(f);
}

static void points_of_a_span(void **state)
{
    usage_file *f = opened();
    intensity_reading got = {0};
    intensity_point points[] = {{DAY, 1800, 100, false, false},
                                {DAY + 1800, 900, 80, true, true},
                                {DAY + 3600, 1800, 60, false, true}};
    intensity_reading reading = {.points = points, .points_count = 3};
    assert_true(usage_file_intensity(f, &reading, &e));
    points[0].g_per_kwh = 50; /* read again */
    reading.points_count = 1;
    assert_true(usage_file_intensity(f, &reading, &e));
    assert_true(usage_file_points(f, &a, DAY, DAY + 3600, true, &got, &e));
    assert_int_equal(got.points_count, 2);
    const intensity_point *p = got.points;
    assert_true(p[0].from_s == DAY && p[0].span_s == 1800 && p[0].g_per_kwh == 50);
    assert_true(!p[0].forecast && !p[0].estimated);
    assert_true(p[1].from_s == DAY + 1800 && p[1].span_s == 900 && p[1].g_per_kwh == 80);
    assert_true(p[1].forecast && p[1].estimated);
    assert_true(usage_file_points(f, &a, DAY + 1, DAY + 3601, false, &got, &e));
    assert_int_equal(got.points_count, 1);
    assert_true(got.points[0].from_s == DAY + 3600 && got.points[0].estimated);
    alloc_fail_after(1);
    assert_false(usage_file_points(f, &a, DAY, DAY + 3600, true, &got, &e));
    alloc_fail_after(0);
    assert_int_equal(e.code, ERR_NO_MEMORY);
    usage_file_close(f);
}

static void records_without_memory(void **state)
{
    usage_file *f = opened();
    bill_records r = {0};
    use(f, DAY, S("a"), 1);
    use(f, DAY, S("b"), 1);
    assert_true(usage_file_energy(f, DAY, 1, &e));
    assert_true(usage_file_power(f, &(bill_power){.from_s = DAY - 1}, &e));
    assert_true(usage_file_deferred(f, S("a"), DAY, DAY, 1, &e));
    size_t failures = 0;
    for (;; failures++) { /* names, uses, energies, powers, deferred calls */
        alloc_fail_after(failures + 1);
        bool ok = usage_file_records(f, &a, DAY, DAY + 10, &r, &e);
        alloc_fail_after(0);
        if (ok)
            break;
        assert_int_equal(e.code, ERR_NO_MEMORY);
    }
    assert_int_equal(failures, 3 + 1 + 1 + 1 + 1);
    assert_true(r.uses_count == 2 && r.deferred_count == 1);
    usage_file_close(f);
}

/* What the file refuses is a failure of each function, with SQLite's words. */
static void a_table_that_is_missing(void **state)
{
    static const char *const tables[] = {"usage",     "process",  "energy", "power",
                                         "intensity", "deferred", "mark"};
    char dir[] = "/tmp/ebb-usage-XXXXXX", path[64], text[128];
    usage_file *f;
    sqlite3 *db;
    double loads[1];
    intensity_point point = {DAY, 60, 1, false, false};
    intensity_reading reading = {.points = &point, .points_count = 1};
    bill_records r = {0};
    ledger_usage u = {0};
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/usage.db", dir);
    assert_true(usage_file_open(path, &f, &e));
    use(f, DAY, S("a"), 1);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        snprintf(text, sizeof text, "DROP TABLE %s", tables[i]);
        assert_int_equal(sqlite3_exec(db, text, 0, 0, 0), SQLITE_OK);
    }
    sqlite3_close(db);
    assert_false(usage_file_add(f, DAY, S("a"), &u, &e));
    assert_int_equal(e.code, ERR_IO);
    assert_memory_equal(e.text, "the usage records: no such table: usage", 39);
    assert_false(usage_file_check(f, DAY, S("a"), 1, 1, &e));
    assert_false(usage_file_energy(f, DAY, 1, &e));
    assert_false(usage_file_power(f, &(bill_power){0}, &e));
    assert_false(usage_file_power_last(f, &(bill_power){0}));
    assert_false(usage_file_intensity(f, &reading, &e));
    assert_false(usage_file_deferred(f, S("a"), DAY, DAY, 1, &e));
    assert_false(usage_file_compact(f, DAY, &e));
    assert_true(usage_file_begin(f, &e)); /* nothing is left open by that */
    usage_file_rollback(f);
    assert_false(usage_file_records(f, &a, DAY, DAY + 1, &r, &e));
    assert_false(usage_file_loads(f, DAY, 1, 60, loads, &e));
    assert_false(usage_file_later(f, DAY, 1, loads, loads, &e));
    assert_false(usage_file_mark(f, S("a"), 1, &e));
    assert_int_equal(usage_file_marked(f, S("a")), 0);
    str *all;
    size_t n;
    assert_false(usage_file_unmark(f, S("a"), &e));
    assert_false(usage_file_marks(f, &a, &all, &n, &e));
    assert_int_equal(usage_file_oldest(f), 0);
    usage_file_close(f);
    usage_file_close(NULL);
    assert_int_equal(unlink(path), 0);
    FILE *t = fopen(path, "w");
    for (int i = 0; i < 100; i++)
        fputs("this is no database, as anybody can see\n", t);
    fclose(t);
    assert_false(usage_file_open(path, &f, &e));
    snprintf(text, sizeof text, "%s: the usage records: file is not a database", path);
    assert_memory_equal(e.text, text, strlen(text));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_days, make, unmake),
        cmocka_unit_test_setup_teardown(spans_begin_and_end_within_a_day, make, unmake),
        cmocka_unit_test_setup_teardown(measured_energy_replaces_the_model, make, unmake),
        cmocka_unit_test_setup_teardown(forms_have_names, make, unmake),
        cmocka_unit_test_setup_teardown(records_come_back_in_order_and_sum_up, make, unmake),
        cmocka_unit_test_setup_teardown(points_and_energies_are_kept, make, unmake),
        cmocka_unit_test_setup_teardown(waiting_is_priced_by_what_really_came, make, unmake),
        cmocka_unit_test_setup_teardown(each_number_of_a_window, make, unmake),
        cmocka_unit_test_setup_teardown(moments_under_names, make, unmake),
        cmocka_unit_test_setup_teardown(loads_by_steps, make, unmake),
        cmocka_unit_test_setup_teardown(deferred_energy_by_hours, make, unmake),
        cmocka_unit_test_setup_teardown(checks_of_processes, make, unmake),
        cmocka_unit_test_setup_teardown(hours_become_one, make, unmake),
        cmocka_unit_test_setup_teardown(power_and_energy, make, unmake),
        cmocka_unit_test_setup_teardown(points_of_a_span, make, unmake),
        cmocka_unit_test_setup_teardown(records_without_memory, make, unmake),
        cmocka_unit_test_setup_teardown(a_table_that_is_missing, make, unmake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
