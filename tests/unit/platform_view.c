/* What the keeper answers from usage records: the dashboard's three views, the report, the metrics,
 * the CSV, of a day whose sums are known. The operator sees the node, a tenant its own apps. */
#include "keeper_kit.h"

#include "near.h"

#include <math.h>

#define HOUR INT64_C(3600)

static int64_t one, two; /* apps of acme and of beta */

static int64_t deploy(const char *tenant, const char *name)
{
    char path[100];
    snprintf(path, sizeof path, "/v1/tenants/%s/apps/%s", tenant, name);
    expect(
        200, "PUT", path,
        "{\"app\": {\"spin_lock_version\": 0, \"metadata\": {\"name\": \"x\", \"triggers\": {}}, "
        "\"triggers\": [{\"id\": \"t\", \"trigger_type\": \"http\", \"trigger_config\": "
        "{\"route\": \"/\", \"static_response\": {\"body\": \"hi\"}}}], \"components\": []}}");
    return number_of("id");
}

/* A node of 4 threads that draws 10 W and 10 J a CPU second more, in a building of PUE 1.5. */
static int make(void **state)
{
    err e;
    if (keeper_make(state) || !power_model_set(&k.power, 4, 10, 50, 1.5, &e))
        return -1;
    k.config.grid.threads = 4;
    k.config.grid.yearly_g_per_kwh = 300;
    expect(201, "POST", "/v1/tenants", "{\"name\": \"acme\"}");
    expect(201, "POST", "/v1/tenants", "{\"name\": \"beta\"}");
    one = deploy("acme", "one");
    two = deploy("beta", "two");
    return 0;
}

/* New records for each test. */
static int begin(void **state)
{
    err e;
    usage_file_close(k.file);
    if (!usage_file_open(NULL, &k.file, &e))
        return -1;
    memset(&k.book, 0, sizeof k.book);
    book_init(&k.book, k.file, NULL, 0);
    return 0;
}

static void use(int64_t t_s, const char *app, ledger_usage u)
{
    err e;
    assert_true(usage_file_begin(k.file, &e) &&
                usage_file_add(k.file, t_s, str_from(app), &u, &e) &&
                usage_file_commit(k.file, &e));
}

static const char *part(int64_t app, const char *component)
{
    static char all[4][64];
    static unsigned at;
    char *name = all[at++ % 4];
    snprintf(name, sizeof all[0], "%lld/%s", (long long)app, component);
    return name;
}

#define MS(n) (UINT64_C(1000000) * (n))

/* A member of the answer: "apps.0.calls". */
static const json_t *in(const char *path)
{
    const json_t *v = doc;
    for (str rest = str_from(path); rest.n && v;) {
        str name = str_cut(&rest, '.');
        uint64_t i;
        v = str_to_u64(name, 1000000, &i) ? json_array_get(v, i)
                                          : json_object_getn(v, name.p, name.n);
    }
    if (!v)
        fail_msg("no %s in %s", path, body);
    return v;
}

static double num(const char *path)
{
    if (!json_is_number(in(path)))
        fail_msg("%s is no number in %s", path, body);
    return json_number_value(in(path));
}

static const char *txt(const char *path) { return json_string_value(in(path)); }

/* --- now -------------------------------------------------------------------------------------- */

static void minute(void)
{
    use(now_s - 10, part(one, "a"), (ledger_usage){30, MS(3000), MS(6000), 100, 6000, 5000});
    use(now_s - 60, part(one, "b"), (ledger_usage){30, MS(600), MS(3000), 20, 0, 7000});
    use(now_s - 20, part(two, "a"), (ledger_usage){6, MS(3600), MS(60), 0, 12, 9});
    use(now_s - 30, "999999/a", (ledger_usage){1, MS(1), MS(1), 0, 0, 1});
    use(now_s - 70, part(one, "a"), (ledger_usage){50, MS(9000), MS(1), 0, 1000, 90000});
    use(now_s - 10, "-", (ledger_usage){0, MS(1200), 0, 0, 0, 0});
    use(now_s - 70, "-", (ledger_usage){0, MS(5000), 0, 0, 0, 0});
    use(now_s - 50, "*", (ledger_usage){0, MS(2400), 0, 0, 0, 0});
    use(now_s - 600, part(two, "a"), (ledger_usage){0, MS(10000), 0, 0, 0, 0});
    use(now_s - 610, part(two, "a"), (ledger_usage){999, MS(99999), 0, 0, 0, 0});
    use(now_s, part(two, "a"), (ledger_usage){999, MS(99999), 0, 0, 0, 0}); /* not over yet */
}

static void the_last_minute_of_the_node(void **state)
{
    minute();
    expect(200, "GET", "/v1/now", "");
    assert_string_equal(txt("scope"), "node");
    assert_string_equal(txt("node"), "unit");
    assert_string_equal(txt("from"), "2027-01-15T07:50:00Z");
    assert_string_equal(txt("to"), "2027-01-15T08:00:00Z");
    assert_int_equal(num("apps_deployed"), 2);
    assert_int_equal(num("span_s"), 60);
    assert_string_equal(names("apps", "app"), "one two (deleted)"); /* by CPU, then by calls */
    assert_string_equal(txt("apps.0.tenant"), "acme");
    assert_string_equal(txt("apps.1.tenant"), "beta");
    assert_true(json_is_null(in("apps.2.tenant")));
    assert_near(num("apps.0.calls_per_s"), 1, 1e-12);
    assert_near(num("apps.0.mean_ms"), 150, 1e-9);
    assert_near(num("apps.0.cpus"), 0.06, 1e-12);
    assert_int_equal(num("apps.0.memory_peak_bytes"), 7000);
    assert_near(num("calls_per_s"), 67.0 / 60, 1e-9);
    assert_near(num("bytes_in_per_s"), 2, 1e-12);
    assert_near(num("bytes_out_per_s"), 6012 / 60.0, 1e-9);
    assert_near(num("mean_ms"), 9061.0 / 67, 1e-6);
    assert_int_equal(json_array_size(in("series.calls_per_s")), 60);
    assert_near(num("series.calls_per_s.59"), 3, 1e-12);
    assert_near(num("series.calls_per_s.53"), 5, 1e-12);
    assert_near(num("series.calls_per_s.0"), 0, 1e-12);
    assert_near(num("series.bytes_out_per_s.59"), 600, 1e-12);
    assert_near(num("series.cpus.0"), 1, 1e-12);
    assert_near(num("series.cpus.59"), 0.42, 1e-9); /* the platform's, too */
    assert_near(num("series.cpus.55"), 0.24, 1e-9);
    assert_near(num("cpus.apps"), 7.201 / 60, 1e-9);
    assert_near(num("cpus.platform"), 0.02, 1e-12);
    assert_near(num("cpus.other"), 0.04, 1e-12);
    assert_near(num("cpus.capacity"), 4, 0);
    assert_near(num("power.w"), (10 + 10 * (7.201 / 60 + 0.06)) * 1.5, 1e-6);
    assert_near(num("power.idle_w"), 15, 1e-12);
    assert_string_equal(txt("power.source"), "model");
    assert_near(num("g_per_h"), num("power.w") / 1000 * 300, 1e-6);
    assert_near(num("intensity.g_per_kwh"), 300, 0);
    assert_string_equal(txt("intensity.quality"), "yearly");
    assert_int_equal(json_array_size(in("processes")), 0);
    assert_int_equal(num("resident_bytes"), 0);
    /* Where the model was fitted to what was measured, that is what holds. */
    err e;
    bill_power p = {.from_s = now_s - 9 * HOUR,
                    .idle_w = 20,
                    .busy_w = 5,
                    .uncertainty = 0.1,
                    .samples = 40,
                    .j_per_cpu_s = 5};
    assert_true(usage_file_power(k.file, &p, &e));
    k.config.grid.cpus = 2;
    expect(200, "GET", "/v1/now", "");
    k.config.grid.cpus = 0;
    assert_near(num("power.w"), (20 + 5 * (7.201 / 60 + 0.06)) * 1.5, 1e-6);
    assert_near(num("power.uncertainty"), 0.1, 1e-12);
    assert_near(num("cpus.capacity"), 2, 0);
}

static void the_last_minute_of_a_tenant(void **state)
{
    minute();
    expect(200, "GET", "/v1/tenants/acme/now", "");
    assert_string_equal(txt("scope"), "tenant");
    assert_string_equal(names("apps", "app"), "one");
    assert_near(num("apps.0.calls_per_s"), 1, 1e-12);
    assert_near(num("calls_per_s"), 1, 1e-12);
    assert_int_equal(num("apps_deployed"), 1);
    assert_near(num("series.calls_per_s.53"), 5, 1e-12);
    assert_near(num("series.calls_per_s.58"), 0, 0); /* the other's */
    for (const char *const *no =
             (const char *const[]){"cpus", "power", "processes", "g_per_h", "resident_bytes", NULL};
         *no; no++)
        assert_null(json_object_get(doc, *no));
    assert_null(json_object_get(in("apps.0"), "cpus"));
    assert_null(json_object_get(in("series"), "cpus"));
    expect(200, "GET", "/v1/tenants/beta/now", "");
    assert_string_equal(names("apps", "app"), "two");
    begin(NULL);
    expect(200, "GET", "/v1/now", ""); /* nothing was called */
    assert_string_equal(names("apps", "app"), "");
    assert_true(json_is_null(in("mean_ms")));
}

/* Fifty are shown, the busiest; of equal use those that were called more often. */
static void the_busiest_are_shown(void **state)
{
    for (int i = 0; i < 60; i++)
        use(now_s - 10, part(5000 + i, "a"),
            (ledger_usage){(uint64_t)i + 1, MS(i < 30 ? 1 : 2), 0, 0, 0, (uint64_t)i});
    expect(200, "GET", "/v1/now", "");
    assert_int_equal(json_array_size(list("apps")), 50);
    assert_int_equal(num("apps.0.memory_peak_bytes"), 59);
    assert_int_equal(num("apps.1.memory_peak_bytes"), 58);
    assert_int_equal(num("apps.30.memory_peak_bytes"), 29);
    assert_int_equal(num("apps.49.memory_peak_bytes"), 10);
    expect(200, "GET", "/v1/day", "");
    assert_int_equal(json_array_size(in("bill.apps")), 51);
    assert_string_equal(txt("bill.apps.50.app"), "10 others");
    assert_int_equal(num("bill.apps.50.calls"), 55);
    assert_int_equal(num("density.apps_called"), 60);
}

/* --- the day ---------------------------------------------------------------------------------- */

/* The last hour: every five minutes 300 calls and 30 s of CPU time of each app of them, the sixth
 * with 90 s; the platform 15 s. */
static void hour(bool both)
{
    for (int i = 0; i < 12; i++) {
        int64_t t = now_s - HOUR + i * 300;
        ledger_usage u = {300, MS(i == 5 ? 90000 : 30000), MS(60000), 0, 0, 1 << 20};
        use(t, part(one, "a"), u);
        if (both)
            use(t + 10, part(two, "a"), u);
        use(t, "-", (ledger_usage){0, MS(15000), 0, 0, 0, 0});
    }
}

static void the_last_day_of_the_node(void **state)
{
    hour(false);
    expect(200, "GET", "/v1/day", "");
    assert_string_equal(txt("from"), "2027-01-15T07:00:00Z"); /* since there are records */
    assert_string_equal(txt("to"), "2027-01-15T08:00:00Z");
    assert_int_equal(json_array_size(in("series.calls_per_s")), 12);
    assert_near(num("series.calls_per_s.11"), 1, 1e-12);
    assert_near(num("series.apps_cpus.0"), 0.1, 1e-12);
    assert_near(num("series.apps_cpus.5"), 0.3, 1e-12);
    assert_near(num("series.platform_cpus.5"), 0.05, 1e-12);
    assert_near(num("series.other_cpus.5"), 0, 0);
    assert_near(num("used.capacity_cpus"), 4, 0);
    assert_near(num("used.mean_cpus"), 2.0 / 12, 1e-9);
    assert_near(num("used.peak_cpus"), 0.35, 1e-9);
    assert_string_equal(txt("used.peak_from"), "2027-01-15T07:25:00Z");
    assert_near(num("used.peak_by_mean"), 2.1, 1e-6);
    /* The bill: energy of the model, priced with the year's mean, to the last joule. */
    assert_string_equal(txt("bill.apps.0.app"), "one");
    assert_int_equal(num("bill.apps.0.calls"), 3600);
    assert_near(num("bill.apps.0.cpu_s"), 420, 1e-6);
    assert_near(num("bill.apps.0.dynamic_j"), 6300, 1e-3);
    assert_near(num("bill.apps.0.dynamic_g"), 6300 / 3.6e6 * 300, 1e-6);
    assert_near(num("bill.platform.dynamic_j"), 2700, 1e-3);
    assert_near(num("bill.node_j"), 63000, 0.1);
    assert_near(num("bill.operational_g"), 63000 / 3.6e6 * 300, 1e-4);
    assert_near(num("bill.apps.0.idle_share_j") + num("bill.platform.idle_share_j") +
                    num("bill.unallocated.idle_share_j"),
                54000, 0.1);
    assert_near(num("bill.apps.0.idle_g") + num("bill.platform.idle_g") +
                    num("bill.unallocated.idle_g"),
                54000 / 3.6e6 * 300, 1e-4);
    assert_near(num("bill.apps.0.embodied_g") + num("bill.platform.embodied_g") +
                    num("bill.unallocated.embodied_g"),
                num("bill.embodied_g"), 1e-6);
    assert_true(num("bill.embodied_g") > 0 && num("bill.apps.0.g_per_call") > 0);
    /* What more fits, by an app like this one. */
    assert_int_equal(num("density.apps_deployed"), 2);
    assert_int_equal(num("density.apps_called"), 1);
    assert_true(num("density.memory_bytes") >= num("density.memory_available_bytes"));
    assert_true(num("density.memory_available_bytes") > 0);
    assert_int_equal(num("density.room.like_apps"), 1);
    assert_near(num("density.room.mean_cpus"), 420 / 3600.0, 1e-9);
    assert_near(num("density.room.deviation_cpus"), sqrt(0.2 / 12 - 420 * 420 / 3600.0 / 3600),
                1e-6);
    assert_near(num("density.room.correlation"), 0, 1e-9);
    assert_near(num("density.room.memory_bytes"), 1 << 20, 0);
    assert_true(num("density.room.fit") <= num("density.room.by_cpu") &&
                num("density.room.fit") <= num("density.room.by_memory"));
    assert_true(num("density.room.by_cpu") > 5 && num("density.room.by_cpu") < 40);
}

/* Two that always come together are as one. */
static void apps_that_come_together(void **state)
{
    hour(true);
    expect(200, "GET", "/v1/day", "");
    assert_int_equal(num("density.room.like_apps"), 2);
    assert_near(num("density.room.correlation"), 1, 1e-6);
    assert_near(num("density.room.mean_cpus"), 420 / 3600.0, 1e-9);
    assert_near(num("series.apps_cpus.5"), 0.6, 1e-9);
    expect(200, "GET", "/v1/tenants/acme/day", "");
    assert_string_equal(txt("scope"), "tenant");
    assert_near(num("series.calls_per_s.3"), 1, 1e-12);
    assert_int_equal(num("apps_deployed"), 1);
    assert_null(json_object_get(in("series"), "apps_cpus"));
    for (const char *const *no = (const char *const[]){"density", "bill", "used", NULL}; *no; no++)
        assert_null(json_object_get(doc, *no));
}

/* Less than an hour says nothing of a peak; a five minutes that has begun nothing of its use. */
static void a_node_that_has_just_begun(void **state)
{
    use(now_s - 320, part(one, "a"), (ledger_usage){3, MS(30000), 0, 0, 0, 0});
    use(now_s - 20, part(one, "a"), (ledger_usage){2, MS(10000), 0, 0, 0, 0});
    expect(200, "GET", "/v1/day", "");
    assert_int_equal(json_array_size(in("series.calls_per_s")), 2);
    assert_near(num("series.apps_cpus.0"), 0.1, 1e-12);
    assert_near(num("series.apps_cpus.1"), 0.5, 1e-12); /* of its 20 s */
    assert_near(num("series.calls_per_s.1"), 0.1, 1e-12);
    assert_near(num("used.mean_cpus"), 0.1, 1e-12);
    assert_near(num("used.peak_cpus"), 0.1, 1e-12);
    assert_true(json_is_null(in("density.room")));
    begin(NULL);
    expect(200, "GET", "/v1/day", ""); /* no records at all: a day of nothing */
    assert_int_equal(json_array_size(in("series.calls_per_s")), 287);
    assert_string_equal(txt("from"), "2027-01-14T08:05:00Z");
    assert_true(json_is_null(in("used.peak_by_mean")));
    begin(NULL);
    use(now_s, part(one, "a"), (ledger_usage){3, MS(30000), 0, 0, 0, 0});
    expect(200, "GET", "/v1/day", ""); /* a window is the least */
    assert_int_equal(json_array_size(in("series.calls_per_s")), 1);
    assert_string_equal(txt("to"), "2027-01-15T08:00:10Z");
    assert_near(num("used.peak_cpus"), 3, 1e-9);
}

static void measured(int64_t t_s, double g_per_kwh, bool forecast)
{
    err e;
    intensity_point p = {
        .from_s = t_s, .span_s = 3600, .g_per_kwh = g_per_kwh, .forecast = forecast};
    intensity_reading r = {.points = &p, .points_count = 1};
    assert_true(usage_file_intensity(k.file, &r, &e));
}

/* Work that came in a dirty hour and ran in a clean one. */
static void what_deferring_saved(void **state)
{
    err e;
    hour(true);
    measured(now_s - 2 * HOUR, 400, false);
    measured(now_s - HOUR, 100, false);
    assert_true(usage_file_begin(k.file, &e));
    for (int i = 0; i < 3; i++)
        assert_true(usage_file_deferred(k.file, str_from(part(one, "a")), now_s - 2 * HOUR,
                                        now_s - HOUR + 60, 3.6e6, &e));
    assert_true(usage_file_deferred(k.file, str_from(part(two, "a")), now_s - 9 * HOUR,
                                    now_s - HOUR + 60, 1000, &e));
    assert_true(usage_file_commit(k.file, &e));
    expect(200, "GET", "/v1/day", "");
    assert_int_equal(num("saving.calls"), 4);
    assert_int_equal(num("saving.calls_unknown"), 1);
    assert_near(num("saving.baseline_g"), 1200, 1e-6);
    assert_near(num("saving.actual_g"), 300, 1e-6);
    assert_near(num("saving.saved_g"), 900, 1e-6);
    expect(200, "GET", "/v1/tenants/acme/day", "");
    assert_int_equal(num("saving.calls"), 3);
    assert_near(num("saving.saved_g"), 900, 1e-6);
    expect(200, "GET", "/v1/tenants/beta/day", "");
    assert_int_equal(num("saving.calls"), 1);
    assert_near(num("saving.saved_g"), 0, 0);
}

/* --- the grid --------------------------------------------------------------------------------- */

static void the_grid(void **state)
{
    measured(now_s - HOUR, 200, false);
    measured(now_s - 24 * HOUR, 150, false);
    measured(now_s - 25 * HOUR, 700, false);
    measured(now_s, 250, false);
    measured(now_s + HOUR, 111, true);
    k.config.grid.zone = S("GB");
    expect(200, "GET", "/v1/outlook", "");
    assert_string_equal(txt("time"), "2027-01-15T08:00:00Z");
    assert_string_equal(txt("zone"), "GB");
    assert_string_equal(txt("source"), "none");
    assert_int_equal(json_array_size(in("measured")), 24);
    assert_string_equal(txt("measured.0.from"), "2027-01-14T08:00:00Z");
    assert_near(num("measured.0.g_per_kwh"), 150, 0);
    assert_string_equal(txt("measured.23.from"), "2027-01-15T07:00:00Z");
    assert_near(num("measured.23.g_per_kwh"), 200, 0);
    assert_true(json_is_null(in("measured.5.g_per_kwh")));
    assert_near(num("intensity.g_per_kwh"), 250, 0);
    assert_string_equal(txt("intensity.kind"), "average");
    assert_string_equal(txt("forecast.hours.1.from"), "2027-01-15T09:00:00Z");
    assert_near(num("forecast.hours.1.g_per_kwh"), 111, 0);
    expect(200, "GET", "/v1/tenants/acme/outlook", "");
    assert_near(num("intensity.g_per_kwh"), 250, 0);
    k.config.grid.zone = (str){0};
    expect(200, "GET", "/v1/carbon/now", "");
    assert_non_null(strstr(body, "250"));
    expect(200, "GET", "/v1/carbon/forecast?hours=2", "");
    assert_non_null(strstr(body, "111"));
    refused(400, "hours: a number from 1 to", "GET", "/v1/carbon/forecast?hours=0", "");
    refused(400, "hours: a number from 1 to", "GET", "/v1/carbon/forecast?hours=x", "");
    refused(400, "hours: a number from 1 to", "GET", "/v1/carbon/forecast?hours=100000", "");
    begin(NULL);
    expect(200, "GET", "/v1/outlook", ""); /* nothing is known */
    assert_int_equal(json_array_size(in("forecast.hours")), 0);
    assert_true(json_is_null(in("forecast.method")));
    assert_near(num("intensity.g_per_kwh"), 300, 0);
}

/* A file is read again when it has changed. */
static void the_grid_from_a_file(void **state)
{
    char path[200];
    snprintf(path, sizeof path, "%s", path_of("grid.csv"));
    k.config.grid.provider = S("file");
    k.config.grid.file = str_from(path);
    refused(404, "carbon intensity from ", "GET", "/v1/carbon/now", "");
    for (int g = 50; g <= 60; g += 10) {
        FILE *f = fopen(path, "w");
        fprintf(f, "time,g_per_kwh\n2027-01-15T07:00:00Z,%d\n2027-01-15T08:00:00Z,%d\n", g, g + 1);
        fclose(f);
        for (int again = 0; again < 3; again++) {
            char wanted_g[16];
            snprintf(wanted_g, sizeof wanted_g, "%d", g + 1);
            expect(200, "GET", "/v1/carbon/now", "");
            if (!strstr(body, wanted_g))
                fail_msg("%s is not in %s", wanted_g, body);
        }
        expect(200, "GET", "/v1/outlook", "");
        assert_string_equal(txt("source"), "file");
        assert_near(num("measured.23.g_per_kwh"), g, 0);
        remove(path);
    }
    FILE *f = fopen(path, "w");
    fputs("neither this nor that", f);
    fclose(f);
    assert_int_not_equal(ask("GET", "/v1/carbon/now", ""), 200);
    k.config.grid.provider = k.config.grid.file = (str){0};
}

/* --- reports, metrics, records ---------------------------------------------------------------- */

static bool type_is(const char *type)
{
    char line[100];
    snprintf(line, sizeof line, "content-type: %s\r\n", type);
    return strstr(answer, line) != NULL;
}

static void forms_of_a_report(void **state)
{
    hour(true);
    expect(200, "GET", "/v1/carbon/report", "");
    assert_true(type_is("application/json"));
    assert_int_equal(json_array_size(list("apps")), 2);
    assert_near(num("platform.cpu_s"), 180, 1e-6);
    expect(200, "GET", "/v1/carbon/report?format=prometheus", "");
    assert_true(type_is("text/plain; version=0.0.4"));
    expect(200, "GET", "/v1/carbon/report?format=manifest", "");
    assert_true(type_is("application/yaml"));
    expect(200, "GET", "/v1/carbon/report?format=html", "");
    assert_true(type_is("text/html; charset=utf-8"));
    expect(400, "GET", "/v1/carbon/report?format=pdf", "");
    /* A part of the hour: the first two of its five minutes. */
    expect(200, "GET", "/v1/carbon/report?from=2027-01-15T07:00:00Z&to=2027-01-15T07%3A10%3A00Z",
           "");
    assert_near(num("platform.cpu_s"), 30, 1e-6);
    refused(400, "noon", "GET", "/v1/carbon/report?from=noon", "");
    refused(400, "noon", "GET", "/v1/carbon/report?to=noon", "");
    expect(200, "GET", "/v1/carbon/report?from=2017-01-15T00:00:00Z&to=2027-01-15T00:00:00Z", "");
    refused(400, "more than 3660 days", "GET",
            "/v1/carbon/report?from=2017-01-01T00:00:00Z&to=2027-01-15T00:00:00Z", "");
    refused(400, "more than 3660 days", "GET",
            "/v1/usage?from=2017-01-01T00:00:00Z&to=2027-01-15T00:00:00Z", "");
    expect(200, "GET", "/metrics", "");
    assert_true(type_is("text/plain; version=0.0.4"));
    assert_non_null(strstr(body, part(one, "a")));
}

/* A scrape stays small: 499 rows of apps, and one that sums the rest. */
static void metrics_are_bounded(void **state)
{
    err e;
    assert_true(usage_file_begin(k.file, &e));
    for (int i = 0; i < METRICS_APPS_MAX + 10; i++) {
        char name[32];
        snprintf(name, sizeof name, "%d/a", 1000 + i);
        ledger_usage u = {.calls = 1, .cpu_ns = MS((uint64_t)(i + 1))};
        assert_true(usage_file_add(k.file, now_s - 10, str_from(name), &u, &e));
    }
    assert_true(usage_file_commit(k.file, &e));
    expect(200, "GET", "/metrics", "");
    assert_non_null(strstr(body, "app=\"(others)\""));
    assert_null(strstr(body, "app=\"1000/a\""));
    assert_null(strstr(body, "app=\"1010/a\""));
    assert_non_null(strstr(body, "app=\"1011/a\""));
    assert_non_null(strstr(body, "app=\"1509/a\""));
    size_t n = 0;
    for (const char *at = body; (at = strstr(at, "ebb_calls_total{")); at++)
        n++;
    assert_int_equal(n, METRICS_APPS_MAX + 2); /* and the platform, and others */
}

static void records_as_they_are(void **state)
{
    err e;
    use(now_s - 20, part(one, "a"), (ledger_usage){3, MS(1500), MS(2500), 7, 8, 9});
    use(now_s - 10, "-", (ledger_usage){0, MS(1), 0, 0, 0, 0});
    use(now_s - 10, "*", (ledger_usage){0, MS(2), 0, 0, 0, 0});
    expect(200, "GET", "/v1/usage", "");
    assert_true(type_is("text/csv"));
    char wanted_text[400];
    snprintf(wanted_text, sizeof wanted_text,
             "time,app,calls,cpu_s,wall_s,bytes_in,bytes_out,memory_bytes\n"
             "2027-01-15T07:59:40Z,%s,3,1.500000000,2.500000000,7,8,9\n",
             part(one, "a"));
    assert_memory_equal(body, wanted_text, strlen(wanted_text));
    assert_non_null(strstr(body, "2027-01-15T07:59:50Z,*,0,0.002000000,0.000000000,0,0,0\n"));
    assert_non_null(strstr(body, "2027-01-15T07:59:50Z,-,0,0.001000000,0.000000000,0,0,0\n"));
    expect(200, "GET", "/v1/usage/check", "");
    assert_string_equal(body, "[]\n");
    assert_true(usage_file_begin(k.file, &e) &&
                usage_file_check(k.file, now_s - 20, S("worker \"0\""), MS(1000), MS(1009), &e) &&
                usage_file_check(k.file, now_s - 10, S("store"), MS(1000), MS(1011), &e) &&
                usage_file_commit(k.file, &e));
    expect(200, "GET", "/v1/usage/check", "");
    assert_int_equal(json_array_size(doc), 2);
    assert_string_equal(txt("0.window"), "2027-01-15T07:59:40Z");
    assert_string_equal(txt("0.process"), "worker \"0\"");
    assert_near(num("0.booked_ns"), 1e9, 0);
    assert_near(num("0.kernel_ns"), 1.009e9, 0);
    assert_true(json_is_true(in("0.agrees")) && json_is_false(in("1.agrees")));
    expect(200, "GET", "/v1/usage?from=2027-01-15T07:59:50Z", "");
    assert_null(strstr(body, "07:59:40Z"));
}

/* What a tenant may see, by the names that it gave. */
static void what_a_tenant_may_see(void **state)
{
    hour(true);
    use(now_s - 90, part(one, "b"), (ledger_usage){200, MS(100), 0, 0, 0, 0});
    expect(200, "GET", "/v1/tenants/acme/carbon", "");
    assert_string_equal(names("apps", "app"), "one/a one/b");
    assert_near(num("j_per_cpu_s"), 10 * 1.5, 6);
    char path[200];
    snprintf(path, sizeof path, "/v1/carbon/tenant?apps=none,%lld/b", (long long)one);
    expect(200, "GET", path, "");
    assert_string_equal(names("apps", "app"), part(one, "b"));
    refused(400, "apps: the names of the tenant's apps", "GET", "/v1/carbon/tenant", "");
    refused(400, "noon", "GET", "/v1/tenants/acme/carbon?from=noon", "");
    expect(200, "GET", "/v1/tenants/acme/carbon?from=2027-01-14T00:00:00Z&to=2027-02-01T00:00:00Z",
           "");
    assert_string_equal(txt("to"), "2027-01-15T08:00:00Z"); /* what is not over is not told */
}

/* --- those that follow ------------------------------------------------------------------------ */

static void a_view_is_followed_until_the_client_leaves(void **state)
{
    static api_door door = {&k, true};
    static const char request[] = "GET /v1/now?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    http_server_config config = {.half_close_wait = NS_PER_MS};
    loop_watch *watch;
    int pair[2];
    size_t got = 0;
    err e;
    minute();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    http_server *s = http_server_new(k.l, &config, api_on_request, &door);
    http_server_adopt_take(s, pair[0], S("192.0.2.1:7"));
    assert_int_equal(send(pair[1], request, sizeof request - 1, 0), sizeof request - 1);
    assert_true(loop_watch_open(k.l, pair[1], on_answer, NULL, &watch, &e));
    loop_watch_set(watch, LOOP_READABLE);
    memset(answer, 0, sizeof answer);
    for (int turn = 0; turn < TURNS_MAX && !strstr(answer, "}\n\n"); turn++) {
        loop_turn(k.l, TURN_MS);
        ssize_t n = recv(pair[1], answer + got, sizeof answer - 1 - got, MSG_DONTWAIT);
        got += n > 0 ? (size_t)n : 0;
    }
    assert_true(type_is("text/event-stream"));
    assert_non_null(strstr(answer, "data: {"));
    assert_int_equal(k.followers, 1);
    assert_non_null(k.watchers);
    assert_true(loop_timer_active(&k.window));
    k.followers = WATCHERS_MAX; /* so many may */
    refused(503, "too many look at this node already", "GET", "/v1/now?follow=1", "");
    expect(200, "GET", "/v1/now", "");
    k.followers = 1;
    loop_watch_close(watch);
    close(pair[1]);
    for (int turn = 0; turn < TURNS_MAX && http_server_connections(s); turn++)
        loop_turn(k.l, TURN_MS);
    loop_turn(k.l, 0);
    assert_int_equal(k.followers, 0);
    assert_null(k.watchers);
    assert_false(loop_timer_active(&k.window)); /* with nobody there is none */
    http_server_free(s);
}

#define view_test(f) cmocka_unit_test_setup(f, begin)

int main(void)
{
    const struct CMUnitTest tests[] = {
        view_test(the_last_minute_of_the_node),
        view_test(the_last_minute_of_a_tenant),
        view_test(the_busiest_are_shown),
        view_test(the_last_day_of_the_node),
        view_test(apps_that_come_together),
        view_test(a_node_that_has_just_begun),
        view_test(what_deferring_saved),
        view_test(the_grid),
        view_test(the_grid_from_a_file),
        view_test(forms_of_a_report),
        view_test(metrics_are_bounded),
        view_test(records_as_they_are),
        view_test(what_a_tenant_may_see),
        view_test(a_view_is_followed_until_the_client_leaves),
    };
    return cmocka_run_group_tests(tests, make, keeper_end);
}
