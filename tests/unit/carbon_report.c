/* The four forms of the report: well-formed, complete, and safe with hostile names. */
#include "unit.h"

#include "near.h"

#include "carbon/report.h"

#include <jansson.h>
#include <string.h>

static carbon_report sample(report_row *rows)
{
    rows[0] = (report_row){.app = S("shop</td><script>\"\\\n")};
    rows[0].sum =
        (ledger_row){{1000, 5000000000u, 9000000000u, 10, 20, 4096}, 12.5, 7.5, 0.5, 0.25, 0.1};
    rows[0].saved = (saving){10, 1, 2, 3.6e6, 0, 5, 3, 36000};
    rows[1] = (report_row){.app = S("idle")};
    static const report_remote gpu = {S("shop"), S("llm"), S("FR"), 1000, S("token"), 2, 50, 0.4};
    carbon_report r = {.from_s = 1640995200,
                       .to_s = 1641081600,
                       .node = S("n1"),
                       .zone = S("ES"),
                       .source = S("csv"),
                       .basis = INTENSITY_LIFECYCLE,
                       .power = power_model_specpower(8),
                       .server_kg = SCI_SERVER_KG,
                       .life_s = SCI_SERVER_LIFE_S,
                       .capacity_cpus = 8,
                       .rows = rows,
                       .rows_count = 2,
                       .remotes = &gpu,
                       .remotes_count = 1};
    r.hours_by_quality[INTENSITY_MEASURED] = 23;
    r.hours_by_quality[INTENSITY_FILLED] = 1;
    r.total = (ledger_day){.node_j = 100,
                           .idle_unallocated_j = 80,
                           .embodied_g = 2,
                           .embodied_unallocated_g = 1.75,
                           .operational_g = 3,
                           .operational_unallocated_g = 2.5,
                           .rows = 2};
    return r;
}

static void json(void **state)
{
    report_row rows[2];
    carbon_report r = sample(rows);
    buf b;
    json_error_t je;
    buf_init(&b, 1 << 16);
    assert_true(report_json(&r, &b));
    json_t *j = json_loadb((const char *)b.p, b.n, JSON_REJECT_DUPLICATES, &je);
    if (!j)
        fail_msg("%s at %d", je.text, je.position);
    json_t *app = json_array_get(json_object_get(j, "apps"), 0);
    assert_string_equal(json_string_value(json_object_get(app, "app")), "shop</td><script>\"\\\n");
    json_t *s = json_object_get(app, "sci");
    assert_near(json_number_value(json_object_get(s, "g_per_unit")), 0.75 / 1000, 1e-12);
    assert_near(json_number_value(json_object_get(s, "E_kwh")), 20 / 3.6e6, 1e-15);
    assert_near(json_number_value(json_object_get(s, "M_g")), 0.25, 0);
    /* Undefined is null, not zero: nobody called "idle". */
    json_t *idle = json_object_get(json_array_get(json_object_get(j, "apps"), 1), "sci");
    assert_true(json_is_null(json_object_get(idle, "g_per_unit")));
    assert_non_null(json_object_get(j, "boundary"));
    assert_non_null(json_object_get(j, "method"));
    json_t *remote = json_array_get(json_object_get(j, "remote"), 0);
    assert_near(json_number_value(json_object_get(remote, "declared_j")), 2000, 0);
    json_decref(j);
    buf_fini(&b);
    buf small;
    buf_init(&small, 100);
    assert_false(report_json(&r, &small));
    buf_fini(&small);
}

static bool contains(const buf *b, const char *what)
{
    return memmem(b->p, b->n, what, strlen(what)) != NULL;
}

static void others(void **state)
{
    report_row rows[2];
    carbon_report r = sample(rows);
    buf b;
    buf_init(&b, 1 << 16);
    assert_true(report_prometheus(&r, &b));
    assert_true(contains(&b, "ebb_calls_total{app=\"shop</td><script>\\\"\\\\\\n\"} 1000\n"));
    assert_true(contains(&b, "units=\"gCO2e per kWh\"} 108000\n"));
    assert_true(b.p[b.n - 1] == '\n');
    buf_clear(&b);
    r.node = S("rack <7>");
    assert_true(report_html(&r, &b));
    assert_true(contains(&b, "rack &lt;7&gt;"));
    assert_false(contains(&b, "<script>"));
    assert_true(contains(&b, "shop&lt;/td&gt;&lt;script&gt;&quot;"));
    assert_true(contains(&b, "Boundary") && contains(&b, "Method"));
    assert_false(contains(&b, "http://") || contains(&b, "https://"));
    buf_clear(&b);
    assert_true(report_manifest(&r, &b));
    assert_true(contains(&b, "initialize:") && contains(&b, "functional-unit: requests"));
    assert_true(contains(&b, "\"shop</td><script>\\\"\\\\\\u000a\":"));
    assert_true(contains(&b, "timestamp: \"2022-01-01T00:00:00Z\"\n          duration: 86400\n"));
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(json), cmocka_unit_test(others)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
