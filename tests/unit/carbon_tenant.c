/* The tenant's view: the same whatever the neighbours do and whenever one asks; windows of enough
 * time and calls; what depends on the neighbours only by the day, when it is over. */
#include "unit.h"

#include "near.h"

#include "carbon/tenant.h"
#include "carbon/when.h"

#include <jansson.h>
#include <math.h>

#define DAY INT64_C(1700006400) /* a midnight */

enum { USES_MAX = 20000 };

static arena a;
static err e;
static bill_use uses[USES_MAX];
static size_t uses_count;
static bill_energy energies[2000];
static size_t energies_count;
static bill_power power;
static const str names[] = {{"mine", 4}, {"other", 5}};
static const str shown[] = {{"my \"app\"", 8}, {0}}; /* a blank stays as it is */
static double g[72];

static int make(void **state)
{
    arena_init(&a, 256 << 20);
    uses_count = energies_count = 0;
    power = (bill_power){0};
    for (int i = 0; i < 72; i++)
        g[i] = 100;
    return 0;
}
static int unmake(void **state)
{
    arena_fini(&a);
    return 0;
}

static void use(int64_t t_s, size_t app, double cpu_s, uint64_t calls)
{
    uses[uses_count++] =
        (bill_use){t_s, LEDGER_APPS + app, {.calls = calls, .cpu_ns = (uint64_t)(cpu_s * 1e9)}};
    assert_true(uses_count < USES_MAX);
}

static const char *view(int64_t from, int64_t to)
{
    static buf out;
    static intensity_series grid;
    grid = (intensity_series){DAY, 3600, 72, g, 72};
    bill_records b = {.uses = uses,
                      .uses_count = uses_count,
                      .energies = energies,
                      .energies_count = energies_count,
                      .powers = power.from_s ? &power : NULL,
                      .powers_count = power.from_s ? 1 : 0,
                      .apps = names,
                      .apps_count = 2,
                      .intensity = &grid,
                      .yearly_g_per_kwh = (double)NAN};
    carbon_report node = {
        .capacity_cpus = 4, .server_kg = 1000, .life_s = 1e8, .power = power_model_specpower(4)};
    if (energies_count)
        node.power.source = POWER_RAPL;
    buf_fini(&out);
    buf_init(&out, 1 << 24);
    assert_true(tenant_json(&a, &b, shown, &node, from, to, &out, &e));
    buf_put_u8(&out, 0);
    return (const char *)out.p;
}

/* Ten seconds at a time for two hours; the neighbour's load is on and off, with its energy. */
static void load(double neighbour)
{
    for (int i = 0; i < 720; i++) {
        int64_t t = DAY + 3600 + 10 * i;
        use(t, 0, 1 + (i % 7) / 10.0, 30);
        if (neighbour > 0 && i % 50 < 25)
            use(t, 1, neighbour, 1000);
        energies[energies_count++] = (bill_energy){t + 9, 30 + 20 * neighbour * (i % 50 < 25)};
    }
}

static void neighbours_change_no_byte(void **state)
{
    char *alone = NULL;
    for (int i = 0; i < 3; i++) {
        uses_count = energies_count = 0;
        load(i * 15.0);
        const char *said = view(DAY, DAY + 86400 - 60);
        if (i == 0)
            alone = strdup(said);
        assert_string_equal(said, alone);
    }
    assert_non_null(strstr(alone, "\"calls\":180,"));
    assert_non_null(strstr(alone, "{\"app\":\"my \\\"app\\\"\",\"windows\""));
    assert_null(strstr(alone, "other"));
    free(alone);
}

static size_t windows(json_t *j, json_t **ret)
{
    *ret = json_object_get(json_array_get(json_object_get(j, "apps"), 0), "windows");
    return json_array_size(*ret);
}

static double number(json_t *list, size_t i, const char *name)
{
    return json_number_value(json_object_get(json_array_get(list, i), name));
}

static void windows_are_the_same_whenever_asked(void **state)
{
    json_t *list, *later, *j, *k;
    load(0);
    j = json_loads(view(DAY, DAY + 3600 + 1800), 0, NULL);
    size_t n = windows(j, &list);
    assert_int_equal(n, 30);
    for (int more = 0; more < 200; more += 7) {
        k = json_loads(view(DAY, DAY + 3600 + 1800 + more), 0, NULL);
        assert_true(windows(k, &later) >= n);
        for (size_t i = 0; i < n; i++)
            assert_true(json_equal(json_array_get(list, i), json_array_get(later, i)));
        json_decref(k);
    }
    k = json_loads(view(DAY + 3600 + 605, DAY + 3600 + 1800), 0, NULL); /* from amid a window */
    assert_int_equal(windows(k, &later), 19);
    assert_true(json_equal(json_array_get(list, 11), json_array_get(later, 0)));
    json_decref(k);
    json_decref(j);
}

static void too_few_calls_wait(void **state)
{
    json_t *list;
    use(DAY + 30, 0, 0.5, 60);
    use(DAY + 300, 0, 0.25, 39);
    use(DAY + 400, 0, 1, 1);
    use(DAY + 86390, 0, 2, 3);
    json_t *j = json_loads(view(DAY, DAY + 2 * 86400), 0, NULL);
    assert_int_equal(windows(j, &list), 1);
    assert_int_equal(number(list, 0, "calls"), 100);
    assert_near(number(list, 0, "cpu_s"), 1.75, 1e-9);
    assert_near(number(list, 0, "energy_j"), 4.38, 1e-9); /* 1.75 x 2.5, three digits */
    json_t *days = json_object_get(j, "days"); /* what was withheld is in the day's line */
    assert_int_equal(json_array_size(days), 1);
    assert_int_equal(number(days, 0, "calls"), 103);
    assert_near(number(days, 0, "cpu_s"), 3.75, 1e-9);
    assert_true(number(days, 0, "idle_share_j") > 0 && number(days, 0, "embodied_g") > 0);
    double joules = number(days, 0, "energy_j") + number(days, 0, "idle_share_j");
    assert_near(number(days, 0, "operational_g"), joules / 3.6e6 * 100,
                0.006 * joules / 3.6e6 * 100);
    json_decref(j);
}

static void a_day_is_told_when_it_is_over(void **state)
{
    use(DAY + 30, 0, 0.5, 1000);
    assert_null(strstr(view(DAY, DAY + 86399), "\"day\""));
    assert_non_null(strstr(view(DAY, DAY + 86400), "\"day\""));
}

static void the_coefficient_of_the_day_holds(void **state)
{
    power = (bill_power){.from_s = DAY + 86400, .idle_w = 1, .busy_w = 9, .j_per_cpu_s = 2.7};
    use(DAY + 30, 0, 1, 100);
    use(DAY + 86400 + 30, 0, 1, 100);
    json_t *list, *j = json_loads(view(DAY, DAY + 2 * 86400), 0, NULL);
    assert_int_equal(windows(j, &list), 2);
    assert_near(number(list, 0, "energy_j"), 2.5, 1e-9);
    assert_near(number(list, 1, "energy_j"), 2.7, 1e-9);
    json_decref(j);
    j = json_loads(view(DAY, DAY + 86400), 0, NULL); /* ends as the next begins */
    assert_near(json_number_value(json_object_get(j, "j_per_cpu_s")), 2.5, 0);
    json_decref(j);
    j = json_loads(view(DAY, DAY + 86401), 0, NULL);
    assert_near(json_number_value(json_object_get(j, "j_per_cpu_s")), 2.7, 0);
    json_decref(j);
}

/* The bill of an app over several days, to the gram: its joules at the grid's intensity. */
static void a_bill_is_its_days(void **state)
{
    use(DAY + 30, 0, 100, 7);
    use(DAY + 90000, 0, 300, 5);
    intensity_series grid = {DAY, 3600, 72, g, 72};
    bill_records b = {.uses = uses,
                      .uses_count = uses_count,
                      .apps = names,
                      .apps_count = 2,
                      .intensity = &grid,
                      .yearly_g_per_kwh = (double)NAN};
    carbon_report r = {.from_s = DAY,
                       .to_s = DAY + 2 * 86400,
                       .capacity_cpus = 4,
                       .server_kg = 1000,
                       .life_s = 1e8,
                       .power = power_model_specpower(4)};
    assert_true(bill_make(&a, &b, &r, &e));
    const ledger_row *sum = &r.rows[0].sum;
    assert_int_equal(sum->used.calls, 12);
    assert_near(sum->dynamic_j, 1000, 1e-6);
    assert_near(sum->operational_g, (sum->dynamic_j + sum->idle_j) / 3.6e6 * 100, 1e-9);
    assert_near(r.total.operational_g, r.total.node_j / 3.6e6 * 100, 1e-9);
}

static void spans(void **state)
{
    bill_records b = {0};
    carbon_report node = {0};
    buf out;
    buf_init(&out, 1000);
    assert_false(tenant_json(&a, &b, shown, &node, 5, 5, &out, &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_false(tenant_json(&a, &b, shown, &node, 0, 63 * 86400, &out, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(neighbours_change_no_byte, make, unmake),
        cmocka_unit_test_setup_teardown(windows_are_the_same_whenever_asked, make, unmake),
        cmocka_unit_test_setup_teardown(too_few_calls_wait, make, unmake),
        cmocka_unit_test_setup_teardown(a_day_is_told_when_it_is_over, make, unmake),
        cmocka_unit_test_setup_teardown(the_coefficient_of_the_day_holds, make, unmake),
        cmocka_unit_test_setup_teardown(a_bill_is_its_days, make, unmake),
        cmocka_unit_test_setup_teardown(spans, make, unmake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
