/* The bill of a span from records made by hand, the outlook's texts, times and series at their
 * edges: what each figure should be stands beside it. */
#include "unit.h"

#include "near.h"

#include "carbon/bill.h"
#include "carbon/outlook.h"
#include "carbon/when.h"

#include <math.h>
#include <string.h>

#define DAY INT64_C(1640995200) /* 2022-01-01 */

static arena a;
static err e;

static int setup(void **state)
{
    arena_init(&a, 8 << 20);
    return 0;
}

static int teardown(void **state)
{
    arena_fini(&a);
    return 0;
}

static carbon_report report(int64_t from_s, int64_t to_s, power_source source)
{
    return (carbon_report){.from_s = from_s,
                           .to_s = to_s,
                           .power = {10, 5, 4, 1.5, source, 0.35, 0},
                           .capacity_cpus = 4,
                           .server_kg = 1000,
                           .life_s = 1e8};
}

static void power_of_a_time(void **state)
{
    static const bill_power powers[] = {{.from_s = 0}, {.from_s = 100}, {.from_s = 200}};
    bill_records b = {.powers = powers, .powers_count = 3};
    assert_null(bill_power_at(&b, -1));
    assert_ptr_equal(bill_power_at(&b, 0), powers);
    assert_ptr_equal(bill_power_at(&b, 99), powers);
    assert_ptr_equal(bill_power_at(&b, 100), powers + 1);
    assert_ptr_equal(bill_power_at(&b, 199), powers + 1);
    assert_ptr_equal(bill_power_at(&b, 9999), powers + 2);
    b.powers_count = 0;
    assert_null(bill_power_at(&b, 9999));
}

static ledger_usage used(uint64_t calls, double cpu_s)
{
    return (ledger_usage){.calls = calls, .cpu_ns = (uint64_t)(cpu_s * 1e9), .bytes_in = calls};
}

/* From one o'clock to two o'clock of the next day; that day's power was fitted anew. */
static void two_days(void **state)
{
    double g[26];
    for (int h = 0; h < 26; h++)
        g[h] = 100 + h;
    g[20] = (double)NAN; /* nobody knows: the year's mean */
    intensity_series series = {DAY, 3600, 26, g, 25};
    const int64_t from = DAY + 3600, to = DAY + 86400 + 7200;
    static const str apps[] = {S("one"), S("two")};
    const bill_use uses[] = {
        {from - 1, 2, used(50, 50)},  {from, 2, used(1, 3600)},      {from, 0, used(2, 20)},
        {DAY + 7200, 3, used(4, 30)}, {DAY + 43200, 1, used(0, 40)}, {DAY + 86400, 2, used(8, 100)},
        {to - 1, 3, used(16, 200)},   {to, 3, used(32, 900)},
    };
    static const bill_power powers[] = {
        {.from_s = 0, .idle_w = 99, .busy_w = 99},
        {.from_s = DAY + 86400, .idle_w = 20, .busy_w = 4, .uncertainty = 0.1, .samples = 9}};
    bill_records b = {.uses = uses,
                      .uses_count = 8,
                      .apps = apps,
                      .apps_count = 2,
                      .intensity = &series,
                      .yearly_g_per_kwh = 250,
                      .powers = powers,
                      .powers_count = 2};
    carbon_report r = report(from, to, POWER_MODEL);
    assert_true(bill_make(&a, &b, &r, &e));
    assert_int_equal(r.rows_count, 2);
    assert_true(str_eq(r.rows[0].app, S("one")) && str_eq(r.rows[1].app, S("two")));
    assert_int_equal(r.rows[0].sum.used.calls, 9);
    assert_int_equal(r.rows[0].sum.used.bytes_in, 9);
    assert_int_equal(r.rows[1].sum.used.calls, 20);
    assert_int_equal(r.platform.used.calls, 2);
    assert_int_equal(r.other.used.cpu_ns, UINT64_C(40000000000));
    assert_near(r.rows[0].sum.dynamic_j, (3600 * 5 + 100 * 4) * 1.5, 1e-6);
    assert_near(r.rows[1].sum.dynamic_j, (30 * 5 + 200 * 4) * 1.5, 1e-6);
    assert_near(r.platform.dynamic_j, 20 * 7.5, 1e-9);
    assert_near(r.other.dynamic_j, 40 * 7.5, 1e-9);
    assert_near(r.rows[0].sum.dynamic_g, (3600 * 7.5 * 101 + 100 * 6 * 124) / 3.6e6, 1e-9);
    assert_near(r.rows[0].sum.peak_cpus, 360, 1e-9); /* in a window of ten seconds */
    assert_near(r.total.node_j, (10 * 82800 + 5 * 3690.0 + 20 * 7200 + 4 * 300.0) * 1.5, 1e-6);
    assert_near(r.total.embodied_g, 0.01 * 90000, 1e-9);
    assert_near(r.total.peak_cpus, 3620 / 3600.0, 1e-9);
    assert_int_equal(r.total.rows, 4);
    assert_near(r.total.dynamic_lost_j, 0, 0);
    double operational = 0;
    const double cpu_s[26] = {[1] = 3620, [2] = 30, [12] = 40, [24] = 100, [25] = 200};
    for (int h = 1; h < 26; h++)
        operational += (h < 24 ? 10 * 3600 + 5 * cpu_s[h] : 20 * 3600 + 4 * cpu_s[h]) * 1.5 /
                       3.6e6 * (h == 20 ? 250 : g[h]);
    assert_near(r.total.operational_g, operational, 1e-9);
    /* What rows do not bear is said. */
    const ledger_row *rows[] = {&r.rows[0].sum, &r.rows[1].sum, &r.platform, &r.other};
    double j = r.total.idle_unallocated_j, grams = r.total.operational_unallocated_g,
           m = r.total.embodied_unallocated_g;
    for (int i = 0; i < 4; i++) {
        j += rows[i]->dynamic_j + rows[i]->idle_j;
        grams += rows[i]->operational_g;
        m += rows[i]->embodied_g;
    }
    assert_near(j, r.total.node_j, 1e-6);
    assert_near(grams, r.total.operational_g, 1e-9);
    assert_near(m, r.total.embodied_g, 1e-9);
    assert_int_equal(r.hours_by_quality[INTENSITY_MEASURED], 25);
    assert_int_equal(r.hours_by_quality[INTENSITY_YEARLY], 1);
    assert_near(r.power.idle_w, 20, 0);
    assert_near(r.power.busy_w, 4, 0);
    assert_near(r.power.uncertainty, 0.1, 0);
    assert_int_equal(r.power.samples, 9);
    assert_near(r.power.pue, 1.5, 0);
    assert_int_equal(r.power.source, POWER_MODEL);
    assert_int_equal(r.saved.calls, 0);
}

/* Of measured energy what is above idle goes to whoever ran since the reading before; a use of the
 * same second is of that time. */
static void measured(void **state)
{
    double g = 100;
    intensity_series series = {DAY, 3600, 1, &g, 1};
    static const str apps[] = {S("one"), S("two")};
    const bill_use uses[] = {
        {DAY - 5, 2, used(1, 5)}, {DAY + 10, 2, used(1, 1)}, {DAY + 25, 3, used(1, 2)}};
    const bill_energy energies[] = {
        {DAY - 1, 1e6}, {DAY + 10, 150}, {DAY + 20, 130}, {DAY + 30, 110}, {DAY + 40, 1e6}};
    bill_records b = {uses, 3, energies, 5, apps, 2, &series, 250, NULL, 0, NULL, 0};
    carbon_report r = report(DAY, DAY + 40, POWER_RAPL);
    assert_true(bill_make(&a, &b, &r, &e));
    assert_near(r.rows[0].sum.dynamic_j, 50 * 1.5, 1e-9);
    assert_near(r.rows[1].sum.dynamic_j, 10 * 1.5, 1e-9);
    assert_near(r.total.dynamic_lost_j, 30 * 1.5, 1e-9); /* nobody ran */
    /* The last ten seconds, without a reading, are idle. */
    assert_near(r.total.node_j, (150 + 130 + 110 + 100) * 1.5, 1e-9);
    assert_int_equal(r.rows[0].sum.used.calls, 1);
}

static void savings(void **state)
{
    double g[3] = {300, 100, 200};
    intensity_series series = {DAY, 3600, 3, g, 3};
    static const str apps[] = {S("one"), S("two")};
    const int64_t from = DAY + 1800, to = DAY + 7200;
    const bill_deferred deferred[] = {
        {DAY + 3600, DAY, 2, 1, 3.6e6, 10},
        {DAY + 7199, DAY, 3, 2, 7.2e6, 20},
        {DAY, DAY + 3600, 3, 4, 3.6e6, 40}, /* the hour in which the span begins */
        {DAY - 1, DAY, 2, 100, 9e9, 1},
        {to, DAY, 2, 100, 9e9, 1},
        {DAY + 3600, DAY, LEDGER_OTHER, 100, 9, 1},
    };
    bill_records b = {.apps = apps,
                      .apps_count = 2,
                      .intensity = &series,
                      .yearly_g_per_kwh = 250,
                      .deferred = deferred,
                      .deferred_count = 6};
    carbon_report r = report(from, to, POWER_MODEL);
    assert_true(bill_make(&a, &b, &r, &e));
    assert_int_equal(r.saved.calls, 7);
    assert_int_equal(r.saved.calls_worse, 4);
    assert_near(r.saved.delay_s, 70, 0);
    assert_near(saving_g(&r.saved), 200 + 400 - (-200 + 400), 1e-9);
    assert_int_equal(r.rows[0].saved.calls, 1);
    assert_near(saving_g(&r.rows[0].saved), 200, 1e-9);
    assert_int_equal(r.rows[1].saved.calls, 6);
    assert_near(saving_g(&r.rows[1].saved), 200, 1e-9);
    assert_near(r.rows[1].saved.delay_s, 60, 0);
    b.intensity = NULL; /* nothing was measured: nothing is said, and the bill is the year's */
    r = report(from, to, POWER_MODEL);
    assert_true(bill_make(&a, &b, &r, &e));
    assert_int_equal(r.saved.calls, 0);
    assert_int_equal(r.hours_by_quality[INTENSITY_YEARLY], 2);
    assert_near(r.total.operational_g, 15 * 5400 / 3.6e6 * 250, 1e-9);
}

static void empty_spans(void **state)
{
    bill_records b = {.yearly_g_per_kwh = (double)NAN};
    carbon_report r = report(DAY, DAY, POWER_MODEL);
    assert_false(bill_make(&a, &b, &r, &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_string_equal(e.text, "the report's span is empty: it must end after it begins");
    r.to_s = DAY + 1;
    for (size_t n = 1; n <= 6; n++) {
        alloc_fail_after(n);
        assert_false(bill_make(&a, &b, &r, &e));
        assert_int_equal(e.code, ERR_NO_MEMORY);
    }
    alloc_fail_after(0);
    assert_true(bill_make(&a, &b, &r, &e));
    assert_int_equal(r.hours_by_quality[INTENSITY_ASSUMED], 1);
    assert_near(r.total.node_j, 15, 1e-12);
}

/* ---- the outlook ---- */

static void outlooks(void **state)
{
    double g[48], soon[3] = {50, 60, (double)NAN};
    intensity_series history = {DAY, 3600, 48, g, 48}, published = {DAY + 172800, 3600, 3, soon, 2};
    outlook o = {.hours = 99};
    buf b;
    for (int h = 0; h < 48; h++)
        g[h] = h % 24 == 1 ? 80 : h % 24 == 2 ? 70 : 100;
    g[30] = (double)NAN;
    assert_true(outlook_make(&history, 48, NULL, 4, &a, &o, &e));
    assert_int_equal(o.method, FORECAST_PROFILE);
    assert_true(o.start_s == DAY + 172800 && o.hours == 4 && o.history_hours == 48 &&
                o.filled_hours == 1 && o.published_hours == 0 && o.fit_error_pct == 0);
    buf_init(&b, 4096);
    assert_true(outlook_json(&o, &b));
    assert_str(
        buf_str(&b),
        "{\"method\":\"profile\",\"history_hours\":48,\"filled_hours\":1,\"fit_error_pct\":0,"
        "\"published_hours\":0,\"forecastData\":["
        "{\"timestamp\":\"2022-01-03T00:00:00Z\",\"duration\":60,\"value\":100},"
        "{\"timestamp\":\"2022-01-03T01:00:00Z\",\"duration\":60,\"value\":80},"
        "{\"timestamp\":\"2022-01-03T02:00:00Z\",\"duration\":60,\"value\":70},"
        "{\"timestamp\":\"2022-01-03T03:00:00Z\",\"duration\":60,\"value\":100}]}\n");
    buf_clear(&b);
    assert_true(outlook_text(&o, &b));
    assert_str(buf_str(&b), "2022-01-03T00:00:00Z    100 g/kWh\n2022-01-03T01:00:00Z     80 g/kWh\n"
                            "2022-01-03T02:00:00Z     70 g/kWh  cleanest\n"
                            "2022-01-03T03:00:00Z    100 g/kWh\n");
    buf_clear(&b);
    for (size_t i = 0; i < 4; i++) /* alike: the first */
        o.g_per_kwh[i] = 5;
    o.hours = 2;
    assert_true(outlook_text(&o, &b));
    assert_str(buf_str(&b), "2022-01-03T00:00:00Z      5 g/kWh  cleanest\n"
                            "2022-01-03T01:00:00Z      5 g/kWh\n");
    buf_clear(&b);
    assert_true(
        intensity_now_json(DAY, 123.5, INTENSITY_FILLED, INTENSITY_MARGINAL, INTENSITY_DIRECT, &b));
    assert_str(buf_str(&b), "{\"time\":\"2022-01-01T00:00:00Z\",\"g_per_kwh\":123.5,\"quality\":"
                            "\"filled\",\"kind\":\"marginal\",\"basis\":\"direct\"}\n");
    buf_fini(&b);
    buf_init(&b, 30);
    assert_false(outlook_json(&o, &b));
    buf_clear(&b);
    assert_false(outlook_text(&o, &b));
    buf_clear(&b);
    assert_false(intensity_now_json(DAY, 1, 0, 0, 0, &b));
    buf_fini(&b);
    /* A provider's figures, and as far as they go where there is no history. */
    assert_true(outlook_make(&history, 48, &published, 4, &a, &o, &e));
    assert_int_equal(o.published_hours, 2);
    assert_near(o.g_per_kwh[0], 50, 0);
    assert_near(o.g_per_kwh[2], 70 * 110 / 180.0, 1e-9);
    published.start_s = DAY + 23 * 3600;
    assert_true(outlook_make(&history, 23, &published, 4, &a, &o, &e));
    assert_int_equal(o.method, FORECAST_NONE);
    assert_int_equal(o.hours, 2);
    published.start_s += 3600; /* it knows, but not what comes next */
    o.hours = 99;
    assert_false(outlook_make(&history, 23, &published, 4, &a, &o, &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_string_equal(e.text, "less than a day of history before the forecast");
    assert_false(outlook_make(&history, 23, NULL, 4, &a, &o, &e));
    assert_int_equal(o.hours, 99);
}

/* From four weeks on it is fitted. */
static void fitted_outlook(void **state)
{
    static double g[28 * 24];
    intensity_series history = {DAY, 3600, 28 * 24, g, 28 * 24};
    outlook o;
    for (int h = 0; h < 28 * 24; h++)
        g[h] = 200 + 50 * sin(h * M_PI / 12) + h * 7 % 13;
    assert_true(outlook_make(&history, 28 * 24 - 1, NULL, 24, &a, &o, &e));
    assert_int_equal(o.method, FORECAST_PROFILE);
    assert_near(o.fit_error_pct, 0, 0);
    assert_true(outlook_make(&history, 28 * 24, NULL, 24, &a, &o, &e));
    assert_int_equal(o.method, FORECAST_MODEL);
    assert_true(o.fit_error_pct > 0.1 && o.fit_error_pct < 5);
    for (int h = 0; h < 24; h++)
        assert_near(o.g_per_kwh[h], 206 + 50 * sin(h * M_PI / 12), 15);
}

/* ---- times ---- */

static void times_at_their_edges(void **state)
{
    static const struct {
        str text;
        int64_t s; /* -1: no time */
    } at[] = {
        {S("1970-01-01"), 0},
        {S("1970-01-01t00:01:02z"), 62},
        {S("1970-01-01 23:59"), 86340},
        {S("1970-01-01T23:59:59,5Z"), 86399},
        {S("1970-01-01T23:59:60Z"), 86399},
        {S("1970-01-31"), 30 * 86400},
        {S("1970-12-31"), 364 * 86400},
        {S("1970-01-03T00:00+23:59"), 86400 + 60},
        {S("1970-01-01T00:00-23:59"), 86340},
        {S("1970-01-01T02:00+01"), 3600},
        {S("1970-01-01T02:30+0130"), 3600},
        {S("9999-12-31T23:59:59Z"), 253402300799},
        {S("1970-01-01T"), -1},
        {S("1970-01-01T00"), -1},
        {S("1970-01-01T00:"), -1},
        {S("1970-01-01T24:00"), -1},
        {S("1970-01-01T00:60"), -1},
        {S("1970-01-01T00:00:"), -1},
        {S("1970-01-01T00:00:61"), -1},
        {S("1970-01-01T00:00:1"), -1},
        {S("1970-01-01T00:00:00."), -1},
        {S("1970-01-01T00:00:00.5.5"), -1},
        {S("1970-01-01T00:00+24:00"), -1},
        {S("1970-01-01T00:00+23:60"), -1},
        {S("1970-01-01T00:00+1"), -1},
        {S("1970-01-01T00:00+"), -1},
        {S("1970-01-01T00:00+01:3"), -1},
        {S("1970-01-01T00:00+01:30x"), -1},
        {S("1970-01-01T00:00 Z"), -1},
        {S("1970-01-01T00:00ZZ"), -1},
        {S("1970-01-01x"), -1},
        {S("1970-00-01"), -1},
        {S("1970-13-01"), -1},
        {S("1970-01-00"), -1},
        {S("1970-01-32"), -1},
        {S("1970-04-31"), -1},
        {S("1971-02-29"), -1},
        {S("1969-12-31"), -1},
        {S("1970-1-01"), -1},
        {S("1970/01/01"), -1},
        {S("1970-01/01"), -1},
        {S("1970-01"), -1},
        {S("197a-01-01"), -1},
        {S("1970-01-01T00:00\0"), -1},
        {S("1970-01-01\0"
           "00:00"),
         -1},
    };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        int64_t s = 77;
        bool good = when_parse(at[i].text, &s, &e);
        if (good != (at[i].s >= 0) || s != (good ? at[i].s : 77))
            fail_msg("%.*s: %lld", STR(at[i].text), (long long)s);
        if (!good)
            assert_int_equal(e.code, ERR_INVALID);
    }
    char longer[80];
    memset(longer, 'x', sizeof longer);
    int64_t s;
    assert_false(when_parse((str){longer, 64}, &s, &e));
    assert_int_equal(strlen(e.text),
                     64 + strlen("'' is not a time; write it as 2024-05-01T13:00:00Z"));
    assert_false(when_parse((str){longer, 65}, &s, &e));
    assert_int_equal(strlen(e.text),
                     64 + strlen("'' is not a time; write it as 2024-05-01T13:00:00Z"));
    static const struct {
        int64_t s;
        int day;
        const char *text;
    } put[] = {
        {0, 3, "1970-01-01T00:00:00Z"},          {-1, 2, "1969-12-31T23:59:59Z"},
        {86399, 3, "1970-01-01T23:59:59Z"},      {86400, 4, "1970-01-02T00:00:00Z"},
        {4 * 86400, 0, "1970-01-05T00:00:00Z"},  {-3 * 86400, 0, "1969-12-29T00:00:00Z"},
        {-4 * 86400, 6, "1969-12-28T00:00:00Z"}, {951782400 + 3661, 1, "2000-02-29T01:01:01Z"}};
    for (size_t i = 0; i < sizeof put / sizeof *put; i++) {
        buf b;
        buf_init(&b, 21);
        assert_true(when_put(&b, put[i].s));
        buf_put_u8(&b, 0);
        assert_string_equal((char *)b.p, put[i].text);
        assert_int_equal(when_weekday(put[i].s), put[i].day);
        buf_fini(&b);
    }
}

/* ---- series ---- */

static intensity_series made(intensity_point *p, size_t n, int32_t step_s, bool forecasts)
{
    intensity_reading r = {.points = p, .points_count = n};
    intensity_series s;
    if (!intensity_series_from(&r, step_s, forecasts, &a, &s, &e))
        fail_msg("%s", e.text);
    return s;
}

static void series(void **state)
{
    /* Half an hour of one value, half of another; an hour of which a half is known, and one of
     * which less is; then one that its neighbour cuts short. */
    intensity_point p[] = {{0, 1800, 100, false, false},     {1800, 1800, 300, false, false},
                           {3600, 1800, 50, false, false},   {7200, 1799, 70, false, false},
                           {10800, 99999, 80, false, false}, {13500, 900, 20, false, false}};
    intensity_series s = made(p, 6, 3600, false);
    assert_int_equal(s.start_s, 0);
    assert_int_equal(s.step_s, 3600);
    assert_int_equal(s.n, 4);
    assert_int_equal(s.known, 3);
    assert_near(s.g_per_kwh[0], 200, 1e-12);
    assert_near(s.g_per_kwh[1], 50, 0);
    assert_true(isnan(s.g_per_kwh[2]));
    assert_near(s.g_per_kwh[3], (80 * 2700 + 20 * 900) / 3600.0, 1e-12);
    assert_true(isnan(intensity_at(&s, -1)) && isnan(intensity_at(&s, 14400)));
    assert_true(isnan(intensity_at(NULL, 0)));
    assert_near(intensity_at(&s, 0), 200, 1e-12);
    assert_near(intensity_at(&s, 7199), 50, 0);
    assert_near(intensity_at(&s, 14399), 65, 1e-12);
    /* A span that nobody gave is the usual distance; two hours at most, over the steps it covers.
     */
    intensity_point q[] = {{-900, 0, 10, false, false},
                           {0, 0, 20, false, false},
                           {900, 0, 30, false, false},
                           {7200, 9999, 40, false, false}};
    s = made(q, 4, 900, false);
    assert_int_equal(s.start_s, -900);
    assert_int_equal(s.n, 17);
    assert_int_equal(s.known, 3 + 8);
    assert_near(s.g_per_kwh[2], 30, 0);
    assert_true(isnan(s.g_per_kwh[3]));
    assert_near(s.g_per_kwh[16], 40, 0);
    /* A measurement beats a forecast, whichever was said later; of two alike the later said. */
    intensity_point d[] = {{3600, 3600, 1, false, false}, {0, 3600, 2, true, false},
                           {0, 3600, 3, false, false},    {0, 3600, 4, true, false},
                           {3600, 3600, 5, false, false}, {7200, 3600, 6, true, false},
                           {7200, 3600, 7, true, false},  {1800, 600, 9, true, false}};
    intensity_point again[8];
    memcpy(again, d, sizeof d);
    s = made(d, 8, 3600, true);
    assert_int_equal(s.n, 3);
    assert_near(s.g_per_kwh[0], (1800 * 3 + 600 * 9) / 2400.0, 1e-12);
    assert_near(s.g_per_kwh[1], 5, 0);
    assert_near(s.g_per_kwh[2], 7, 0);
    s = made(again, 8, 3600, false); /* without forecasts nothing cuts the measurement short */
    assert_int_equal(s.n, 2);
    assert_near(s.g_per_kwh[0], 3, 0);
    assert_near(s.g_per_kwh[1], 5, 0);
}

static void series_refused(void **state)
{
    intensity_point p[] = {{0, 3600, 100, true, false},
                           {INT64_C(1100002) * 300, 300, 1, false, false}};
    intensity_reading r = {.points = p, .points_count = 1, .rejected = 3};
    intensity_series s = {.n = 77};
    static const int32_t bad[] = {0, -3600, 7000, 5400}, good[] = {1, 300, 3600, 7200, 86400};
    for (size_t i = 0; i < 4; i++) {
        assert_false(intensity_series_from(&r, bad[i], true, &a, &s, &e));
        assert_int_equal(e.code, ERR_INVALID);
    }
    for (size_t i = 0; i < 5; i++)
        assert_true(intensity_series_from(&r, good[i], true, &a, &s, &e));
    assert_false(intensity_series_from(&r, 3600, false, &a, &s, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_string_equal(e.text, "no usable intensity among 1 points (3 rejected)");
    r.points_count = 2;
    assert_false(intensity_series_from(&r, 300, true, &a, &s, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    assert_string_equal(e.text, "intensity data spans more than 1100000 steps of 300 s");
    r.points_count = 1;
    for (size_t n = 1; n <= 2; n++) {
        alloc_fail_after(n);
        assert_false(intensity_series_from(&r, 3600, true, &a, &s, &e));
        assert_int_equal(e.code, ERR_NO_MEMORY);
    }
    alloc_fail_after(0);
}

static void usual_steps(void **state)
{
    static const struct {
        int64_t at[5];
        size_t n;
        int32_t step_s;
    } of[] = {{{0}, 0, 3600},
              {{0}, 1, 3600},
              {{0, 300}, 2, 300},
              {{0, 600, 900, 1200, 1800}, 5, 300},
              {{0, 900, 1800, 3600}, 4, 900},
              {{0, 1800, 5400}, 3, 3600}, /* alike: the hour */
              {{0, 7200, 14400}, 3, 7200},
              {{0, 7, 14}, 3, 3600}};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        intensity_point p[5] = {{0}};
        for (size_t k = 0; k < 5; k++)
            p[k].from_s = of[i].at[k];
        intensity_reading r = {.points = p, .points_count = of[i].n};
        assert_int_equal(intensity_step(&r), of[i].step_s);
    }
}

/* The newest of the seven days before, the year, the world. */
static void fall_backs(void **state)
{
    double g[9 * 24];
    intensity_series s = {DAY, 3600, 9 * 24, g, 1};
    intensity_quality q;
    for (size_t h = 0; h < 9 * 24; h++)
        g[h] = (double)NAN;
    const int64_t now = DAY + 8 * 86400 + 5 * 3600;
    g[5] = 8; /* eight days ago is too long */
    assert_near(intensity_or(&s, now, 250, &q), 250, 0);
    assert_int_equal(q, INTENSITY_YEARLY);
    assert_near(intensity_or(&s, now, (double)NAN, &q), INTENSITY_WORLD, 0);
    assert_int_equal(q, INTENSITY_ASSUMED);
    g[24 + 5] = 7;
    assert_near(intensity_or(&s, now, 250, &q), 7, 0);
    assert_int_equal(q, INTENSITY_FILLED);
    g[7 * 24 + 5] = 1;
    assert_near(intensity_or(&s, now, 250, &q), 1, 0);
    g[8 * 24 + 5] = 0.5;
    assert_near(intensity_or(&s, now, 250, &q), 0.5, 0);
    assert_int_equal(q, INTENSITY_MEASURED);
    static const char *const names[] = {"measured", "forecast", "filled",
                                        "yearly",   "assumed",  "assumed"};
    for (int i = 0; i < 6; i++)
        assert_string_equal(intensity_quality_name((intensity_quality)i), names[i]);
    assert_string_equal(intensity_kind_name(INTENSITY_AVERAGE), "average");
    assert_string_equal(intensity_kind_name(INTENSITY_MARGINAL), "marginal");
    assert_string_equal(intensity_basis_name(INTENSITY_BASIS_UNKNOWN), "unknown");
    assert_string_equal(intensity_basis_name(INTENSITY_LIFECYCLE), "lifecycle");
    assert_string_equal(intensity_basis_name(INTENSITY_DIRECT), "direct");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(power_of_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(two_days, setup, teardown),
        cmocka_unit_test_setup_teardown(measured, setup, teardown),
        cmocka_unit_test_setup_teardown(savings, setup, teardown),
        cmocka_unit_test_setup_teardown(empty_spans, setup, teardown),
        cmocka_unit_test_setup_teardown(outlooks, setup, teardown),
        cmocka_unit_test_setup_teardown(fitted_outlook, setup, teardown),
        cmocka_unit_test_setup_teardown(times_at_their_edges, setup, teardown),
        cmocka_unit_test_setup_teardown(series, setup, teardown),
        cmocka_unit_test_setup_teardown(series_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(usual_steps, setup, teardown),
        cmocka_unit_test_setup_teardown(fall_backs, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
