/* Bills: records over several days, sums that are the node's, spans and their ends. */
#include "unit.h"

#include "carbon/bill.h"
#include "carbon/when.h"
#include "store/usage_file.h"

#include <math.h>

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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
