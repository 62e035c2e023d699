/* Every provider's documented shape, and what goes wrong with each: nulls, missing seconds, gaps,
 * doubled points, nonsense, changed clocks. */
#include "unit.h"

#include "near.h"

#include "carbon/source.h"
#include "carbon/when.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

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

static intensity_reading parse(source_format f, const char *text, int64_t now_s)
{
    intensity_reading r;
    source_format guess;
    bytes b = {(const uint8_t *)text, strlen(text)};
    if (!source_parse(f, b, now_s, &a, &r, &e))
        fail_msg("%s", e.text);
    assert_true(source_guess(b, &guess, &e));
    assert_int_equal(guess, f);
    return r;
}

static void refuse(source_format f, const char *text, err_code code)
{
    intensity_reading r;
    assert_false(
        source_parse(f, (bytes){(const uint8_t *)text, strlen(text)}, INT64_MAX, &a, &r, &e));
    assert_int_equal(e.code, code);
}

static void times(void **state)
{
    static const struct {
        const char *text;
        int64_t s;
    } good[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2018-01-20T12:00Z", 1516449600},
        {"2018-01-20 13:00+01:00", 1516449600},
        {"2018-01-20T12:00:00.123456Z", 1516449600},
        {"2018-01-20T11:30:00-0030", 1516449600},
        {"2024-02-29", 1709164800},
        {"2016-12-31T23:59:60Z", 1483228799},
    };
    static const char *const bad[] = {
        "",
        "2018",
        "2018-13-01T00:00Z",
        "2018-02-29T00:00Z",
        "2018-01-20T24:00Z",
        "2018-01-20T12:00Zx",
        "2018-01-20T12",
        "2018-01-20T12:00:00.Z",
        "2100-02-29T00:00Z",
        "1969-12-31T00:00Z",
        "2018-01-20T12:00+1",
        "18-01-20T12:00Z",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t s;
        if (!when_parse(str_from(good[i].text), &s, &e))
            fail_msg("%s", e.text);
        assert_int_equal(s, good[i].s);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t s = 77;
        assert_false(when_parse(str_from(bad[i]), &s, &e));
        assert_int_equal(s, 77);
    }
    buf b;
    buf_init(&b, 100);
    for (int64_t s = 0; s < 4000000000; s += 86400 * 13 + 4321) { /* there and back */
        int64_t again;
        buf_clear(&b);
        when_put(&b, s);
        assert_true(when_parse(buf_str(&b), &again, &e));
        assert_int_equal(again, s);
    }
    buf_fini(&b);
    assert_int_equal(when_weekday(0), 3);
    assert_int_equal(when_weekday(1609459200), 4);
}

static void uk(void **state)
{
    intensity_reading r = parse(
        SOURCE_UK,
        "{\"data\":[{\"from\":\"2018-01-20T12:00Z\",\"to\":\"2018-01-20T12:30Z\",\"intensity\":"
        "{\"forecast\":266,\"actual\":263,\"index\":\"moderate\"}},"
        "{\"from\":\"2018-01-20T12:30Z\",\"to\":\"2018-01-20T13:00Z\",\"intensity\":"
        "{\"forecast\":250,\"actual\":null,\"index\":\"moderate\"}},"
        "{\"from\":\"2018-01-20T13:00Z\",\"to\":\"2018-01-20T13:30Z\",\"intensity\":"
        "{\"forecast\":null,\"actual\":null}},"
        "{\"from\":\"soon\",\"to\":null,\"intensity\":{\"forecast\":1}},7,null]}",
        1516451400);
    assert_int_equal(r.points_count, 2);
    assert_int_equal(r.rejected, 4);
    assert_near(r.points[0].g_per_kwh, 263, 0);
    assert_false(r.points[0].forecast);
    assert_true(r.points[1].forecast);
    assert_int_equal(r.points[1].span_s, 1800);
    assert_int_equal(r.basis, INTENSITY_DIRECT);
    r = parse(SOURCE_UK,
              "{\"data\":{\"regionid\":3,\"shortname\":\"North West England\",\"data\":[{\"from\":"
              "\"2018-01-20T12:00Z\",\"to\":\"2018-01-20T12:30Z\",\"intensity\":{\"forecast\":26,"
              "\"index\":\"very low\"},\"generationmix\":[]}]}}",
              INT64_MAX);
    assert_int_equal(r.points_count, 1);
    assert_str(r.zone, "North West England");
    r = parse(SOURCE_UK,
              "{\"data\":[{\"from\":\"2018-01-20T12:00Z\",\"to\":\"2018-01-20T14:00Z\","
              "\"intensity\":{\"actual\":1}},{\"from\":\"2018-01-20T14:00Z\",\"to\":\"2018-01-"
              "20T16:01Z\","
              "\"intensity\":{\"actual\":1}}]}",
              INT64_MAX);
    assert_int_equal(r.points[0].span_s, INTENSITY_SPAN_S_MAX); /* no further than that */
    assert_int_equal(r.points[1].span_s, 0);
    /* A measurement a day ahead of our clock: one of the two clocks is wrong; it is left out. */
    refuse(SOURCE_UK, "{\"error\":{\"code\":\"400 Bad Request\"}}", ERR_INVALID);
    intensity_reading future;
    const char *text = "{\"data\":[{\"from\":\"2018-01-21T12:00Z\",\"to\":\"2018-01-21T12:30Z\","
                       "\"intensity\":{\"forecast\":266,\"actual\":263}}]}";
    assert_false(source_parse(SOURCE_UK, (bytes){(const uint8_t *)text, strlen(text)}, 1516449600,
                              &a, &future, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
}

static void electricity_maps(void **state)
{
    intensity_reading r =
        parse(SOURCE_ELECTRICITY_MAPS,
              "{\"zone\":\"DE\",\"carbonIntensity\":302,\"datetime\":\"2018-04-25T18:07:00.350Z\","
              "\"updatedAt\":\"2018-04-25T18:07:01.000Z\",\"emissionFactorType\":\"lifecycle\","
              "\"isEstimated\":true,\"estimationMethod\":\"TIME_SLICER_AVERAGE\"}",
              INT64_MAX);
    assert_int_equal(r.points_count, 1);
    assert_true(r.points[0].estimated);
    assert_str(r.zone, "DE");
    r = parse(SOURCE_ELECTRICITY_MAPS,
              "{\"zone\":\"DE\",\"history\":[{\"carbonIntensity\":302,\"datetime\":"
              "\"2018-04-25T18:00:00Z\"},{\"carbonIntensity\":null,\"datetime\":"
              "\"2018-04-25T19:00:00Z\"},{\"carbonIntensity\":-4,\"datetime\":"
              "\"2018-04-25T20:00:00Z\"},{\"carbonIntensity\":1e9,\"datetime\":"
              "\"2018-04-25T21:00:00Z\"}],\"forecast\":[{\"carbonIntensity\":290,\"datetime\":"
              "\"2018-04-25T22:00:00Z\"}]}",
              INT64_MAX);
    assert_int_equal(r.points_count, 2);
    assert_int_equal(r.rejected, 3);
    assert_true(r.points[1].forecast);
    refuse(SOURCE_ELECTRICITY_MAPS, "{\"status\":\"error\"}", ERR_INVALID);
    refuse(SOURCE_ELECTRICITY_MAPS, "{\"zone\":\"DE\",\"history\":[]}", ERR_NOT_FOUND);
}

static void watttime(void **state)
{
    intensity_reading r = parse(
        SOURCE_WATTTIME,
        "{\"data\":[{\"point_time\":\"2022-07-15T00:00:00+00:00\",\"value\":870},"
        "{\"point_time\":\"2022-07-15T00:05:00+00:00\",\"value\":\"870\"}],\"meta\":"
        "{\"region\":\"CAISO_NORTH\",\"signal_type\":\"co2_moer\",\"units\":\"lbs_co2_per_mwh\"}}",
        1657843200);
    assert_near(r.points[0].g_per_kwh, 394.625, 0.001);
    assert_true(r.points[1].forecast);
    assert_int_equal(r.kind, INTENSITY_MARGINAL);
    assert_str(r.zone, "CAISO_NORTH");
    source_format f = SOURCE_UK;
    assert_false(source_format_parse(S("coal"), &f, &e));
    assert_non_null(strstr(e.text, "'coal' is no intensity format"));
    assert_int_equal(f, SOURCE_UK);
    refuse(SOURCE_WATTTIME, "{\"data\":[],\"meta\":{\"units\":\"percentile\"}}", ERR_UNSUPPORTED);
}

static void carbon_aware(void **state)
{
    intensity_reading r = parse(SOURCE_CARBON_AWARE,
                                "[{\"location\":\"eastus\",\"time\":\"2022-06-01T00:03:30+00:00\","
                                "\"rating\":359.2}]",
                                INT64_MAX);
    assert_near(r.points[0].g_per_kwh, 359.2, 0);
    r = parse(SOURCE_CARBON_AWARE,
              "{\"Emissions\":[{\"Location\":\"eastus\",\"Time\":\"2022-06-01T00:00:00\","
              "\"Rating\":1,\"Duration\":\"01:00:00\"}]}",
              INT64_MAX);
    assert_int_equal(r.points_count, 1);
    r = parse(SOURCE_CARBON_AWARE,
              "[{\"generatedAt\":\"2022-06-01T00:00:00Z\",\"optimalDataPoint\":[],\"forecastData\":"
              "[{\"location\":\"PJM\",\"timestamp\":\"2022-06-01T14:40:00+00:00\",\"duration\":5,"
              "\"value\":546.5}]}]",
              INT64_MAX);
    assert_true(r.points[0].forecast);
    assert_int_equal(r.points[0].span_s, 300);
    r = parse(SOURCE_CARBON_AWARE,
              "{\"location\":\"eastus\",\"startTime\":\"2022-06-01T14:00:00Z\",\"endTime\":"
              "\"2022-06-01T14:30:00Z\",\"carbonIntensity\":345.4}",
              INT64_MAX);
    assert_int_equal(r.points[0].span_s, 1800);
}

static void csv(void **state)
{
    intensity_reading r = parse(SOURCE_CSV,
                                "\xef\xbb\xbftime,g_per_kwh\r\n2021-01-01T00:00:00Z,143.06\r\n\r\n"
                                "2021-01-01T01:00:00Z,\n2021-01-01T02:00:00Z,abc\nwhat,5\n"
                                "2021-01-01T03:00:00Z,139.96",
                                INT64_MAX);
    assert_int_equal(r.points_count, 2);
    assert_int_equal(r.rejected, 3);
    r = parse(SOURCE_CSV,
              "Datetime (UTC),Country,Zone Name,Zone Id,Carbon Intensity gCO\u2082eq/kWh (direct),"
              "Carbon Intensity gCO\u2082eq/kWh (LCA),Low Carbon Percentage,Renewable Percentage,"
              "Data Source,Data Estimated,Data Estimation Method\n2022-01-01 00:00:00,Spain,"
              "\"Spain, all\",ES,120.1,175.54,70,60,entsoe.eu,true,X\n",
              INT64_MAX);
    assert_near(r.points[0].g_per_kwh, 175.54, 0);
    assert_int_equal(r.basis, INTENSITY_LIFECYCLE);
    assert_str(r.zone, "ES");
    assert_true(r.points[0].estimated);
    r = parse(SOURCE_CSV, "zone,time,g_per_kwh\nES,2021-01-01T00:00:00Z,7\n", INT64_MAX);
    assert_near(r.points[0].g_per_kwh, 7, 0);
    assert_str(r.zone, "ES");
    r = parse(SOURCE_CSV, "2021-01-01T00:00:00Z,1\n", INT64_MAX); /* no header */
    assert_int_equal(r.points_count, 1);
    refuse(SOURCE_CSV, "a,b\n1,2\n", ERR_INVALID);
    refuse(SOURCE_CSV, "time,g_per_kwh\n", ERR_NOT_FOUND);
}

static void nonsense(void **state)
{
    static const char *const bad[] = {"", "{", "[1,2", "null", "{\"a\":1,\"a\":2}", "\"x\"", "[]"};
    for (size_t f = SOURCE_UK; f <= SOURCE_CARBON_AWARE; f++)
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            intensity_reading r = {.rejected = 99};
            assert_false(source_parse((source_format)f,
                                      (bytes){(const uint8_t *)bad[i], strlen(bad[i])}, INT64_MAX,
                                      &a, &r, &e));
            assert_int_equal(r.rejected, 99); /* outputs untouched on failure */
        }
}

static void too_large(void **state)
{
    intensity_reading r;
    char *text = malloc(SOURCE_JSON_BYTES_MAX + 1);
    assert_non_null(text);
    memset(text, ' ', SOURCE_JSON_BYTES_MAX + 1);
    bytes b = {(const uint8_t *)text, SOURCE_JSON_BYTES_MAX + 1};
    assert_false(source_parse(SOURCE_UK, b, INT64_MAX, &a, &r, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    free(text);
}

static void yearly(void **state)
{
    bytes js = {
        (const uint8_t *)"const data = { \"SWE\": 35.89, \"ALB\": \"0\", \"POL\": \"828\" };"
                         "\nvar x = { data };\nexport { data };\n",
        0};
    js.n = strlen((const char *)js.p);
    double g = 0;
    assert_true(source_yearly(js, S("SWE"), &g, &e));
    assert_near(g, 35.89, 0);
    assert_true(source_yearly(js, S("POL"), &g, &e));
    assert_near(g, 828, 0);
    assert_false(source_yearly(js, S("ALB"), &g, &e));
    assert_false(source_yearly(js, S("XXX"), &g, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    bytes maps = {(const uint8_t *)"{\"AE\":{\"zone\":{\"zoneName\":\"x\"},\"carbonIntensity\":"
                                   "{\"value\":348,\"unit\":\"gCO2eq/kWh\"}}}",
                  0};
    maps.n = strlen((const char *)maps.p);
    assert_true(source_yearly(maps, S("AE"), &g, &e));
    assert_near(g, 348, 0);
    static const char escaped[] = "const data = {\"CI\":{\"zone\":{\"zoneName\":\"C\\xF4te\\\\x\"},"
                                  "\"carbonIntensity\":{\"value\":410}}}; export default { data };";
    assert_true(
        source_yearly((bytes){(const uint8_t *)escaped, sizeof escaped - 1}, S("CI"), &g, &e));
    assert_near(g, 410, 0);
}

static void series(void **state)
{
    /* Unsorted half hours with a double (the measurement wins), a gap, and a forecast. */
    intensity_point p[] = {
        {7200, 1800, 300, false, false}, {3600, 1800, 100, false, false},
        {5400, 1800, 200, true, false},  {5400, 1800, 250, false, false},
        {14400, 1800, 50, false, false}, {16200, 1800, 70, true, false},
    };
    intensity_reading r = {p, 6, 0, INTENSITY_AVERAGE, INTENSITY_BASIS_UNKNOWN, {0}};
    intensity_series s;
    assert_true(intensity_series_from(&r, 3600, false, &a, &s, &e));
    assert_int_equal(s.start_s, 3600);
    assert_near(intensity_at(&s, 3600), 175, 1e-9);
    assert_near(intensity_at(&s, 7200), 300, 1e-9); /* half covered */
    assert_true(isnan(intensity_at(&s, 10800)));
    assert_near(intensity_at(&s, 14400), 50, 1e-9);
    assert_true(isnan(intensity_at(&s, 0)));
    assert_true(isnan(intensity_at(&s, 1 << 30)));
    assert_true(intensity_series_from(&r, 3600, true, &a, &s, &e));
    assert_near(intensity_at(&s, 14400), 60, 1e-9);
    intensity_quality q;
    assert_near(intensity_or(&s, 3600 + 86400, 400, &q), 175, 1e-9);
    assert_int_equal(q, INTENSITY_FILLED);
    assert_near(intensity_or(&s, 3600 + 7 * 86400, 400, &q), 175, 1e-9);
    assert_near(intensity_or(&s, 3600 + 8 * 86400, 400, &q), 400, 0);
    assert_near(intensity_or(&s, 30 * 86400, 400, &q), 400, 0);
    assert_int_equal(q, INTENSITY_YEARLY);
    assert_near(intensity_or(NULL, 5, (double)NAN, &q), INTENSITY_WORLD, 0);
    assert_int_equal(q, INTENSITY_ASSUMED);
    assert_false(intensity_series_from(&r, 7000, true, &a, &s, &e));
    p[0].from_s = (int64_t)1 << 50;
    assert_false(intensity_series_from(&r, 300, true, &a, &s, &e));
    assert_int_equal(e.code, ERR_LIMIT);
}

/* Points at the edges of what is believed: from nothing to the most, and from clocks that differ.
 */
static void believed_points(void **state)
{
    static const struct {
        const char *g;
        int64_t ahead_s; /* of our clock */
        bool taken, forecast;
    } at[] = {{"0", 0, true, false},     {"3000", 0, true, false}, {"3000.1", 0, false, false},
              {"-0.1", 0, false, false}, {"nan", 0, false, false}, {"1x", 0, false, false},
              {"", 0, false, false},     {"7", 1, true, true},     {"7", 999999, true, true}};
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        char text[200];
        intensity_reading r;
        snprintf(text, sizeof text, "time,value\n1970-01-02T00:00:00Z,%s\n1970-01-01,5\n", at[i].g);
        assert_true(source_parse(SOURCE_CSV, (bytes){(const uint8_t *)text, strlen(text)},
                                 86400 - at[i].ahead_s, &a, &r, &e));
        assert_int_equal(r.points_count, 1 + at[i].taken);
        assert_int_equal(r.rejected, !at[i].taken);
        if (at[i].taken)
            assert_int_equal(r.points[0].forecast, at[i].forecast);
    }
    /* A measurement from ahead: clocks may differ by so much. */
    const char *one =
        "{\"zone\":\"X\",\"carbonIntensity\":5,\"datetime\":\"1970-01-02T00:00:00Z\"}";
    for (int64_t over = 0; over <= 1; over++) {
        intensity_reading r;
        assert_int_equal(source_parse(SOURCE_ELECTRICITY_MAPS,
                                      (bytes){(const uint8_t *)one, strlen(one)},
                                      86400 - SOURCE_SKEW_S_MAX - over, &a, &r, &e),
                         !over);
    }
    assert_string_equal(e.text, "electricity-maps: no usable point (1 rejected)");
}

static void csv_headers(void **state)
{
    static const struct {
        const char *text;
        double g;
        intensity_kind kind;
        intensity_basis basis;
        const char *zone;
    } at[] = {
        {"from,to,gCO2\n1970-01-01,x,5\n", 5, INTENSITY_AVERAGE, INTENSITY_BASIS_UNKNOWN, ""},
        {"Value,DATE\n5,1970-01-01\n", 5, INTENSITY_AVERAGE, INTENSITY_BASIS_UNKNOWN, ""},
        {"time,marginal intensity\n1970-01-01,5\n", 5, INTENSITY_MARGINAL, INTENSITY_BASIS_UNKNOWN,
         ""},
        {"time,intensity (direct),zone\n1970-01-01,5,DE\n", 5, INTENSITY_AVERAGE, INTENSITY_DIRECT,
         "DE"},
        {"time,intensity life-cycle,intensity (direct)\n1970-01-01,5,6\n", 5, INTENSITY_AVERAGE,
         INTENSITY_LIFECYCLE, ""},
        {"time,intensity,intensity b\n1970-01-01,5,6\n", 5, INTENSITY_AVERAGE,
         INTENSITY_BASIS_UNKNOWN, ""},
        {"time,time,value\n1970-01-01,x,5\n", 5, INTENSITY_AVERAGE, INTENSITY_BASIS_UNKNOWN, ""},
        {"# a comment\n\n\"time\",\"value\",\"zone id\"\n\"1970-01-01\",\"5\",\"a,b\"\n", 5,
         INTENSITY_AVERAGE, INTENSITY_BASIS_UNKNOWN, "a,b"},
        {"1970-01-01 , 5 \n# 6\n", 5, INTENSITY_AVERAGE, INTENSITY_BASIS_UNKNOWN, ""},
    };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        intensity_reading r;
        if (!source_parse(SOURCE_CSV, (bytes){(const uint8_t *)at[i].text, strlen(at[i].text)},
                          INT64_MAX, &a, &r, &e))
            fail_msg("case %zu: %s", i, e.text);
        assert_int_equal(r.points_count, 1);
        assert_near(r.points[0].g_per_kwh, at[i].g, 0);
        assert_int_equal(r.points[0].from_s, 0);
        assert_int_equal(r.kind, at[i].kind);
        assert_int_equal(r.basis, at[i].basis);
        assert_int_equal(r.zone.n, strlen(at[i].zone));
        assert_memory_equal(r.zone.p ? r.zone.p : "", at[i].zone, r.zone.n);
    }
    static const char *const bad[] = {"time,x\n1970-01-01,5\n", "x,value\n1970-01-01,5\n"};
    for (size_t i = 0; i < 2; i++) {
        refuse(SOURCE_CSV, bad[i], ERR_INVALID);
        assert_string_equal(e.text, "CSV line 1 names no time or no intensity column; write "
                                    "'time,g_per_kwh'");
    }
    refuse(SOURCE_CSV, "zone,time,value\nDE,1970-01-01\nDE\n", ERR_NOT_FOUND); /* short rows */
    assert_string_equal(e.text, "csv: no usable point (2 rejected)");
    /* Only the first line may be a header; of more columns than are looked at the first count. */
    intensity_reading r = parse(SOURCE_CSV, "1970-01-01,1\ntime,value\n", INT64_MAX);
    assert_true(r.points_count == 1 && r.rejected == 1);
    char wide[400] = "1970-01-01,5";
    for (int i = 0; i < 60; i++)
        strcat(wide, ",9");
    r = parse(SOURCE_CSV, wide, INT64_MAX);
    assert_near(r.points[0].g_per_kwh, 5, 0);
    /* A number of 63 characters is the longest that is read. */
    for (size_t n = 63; n <= 64; n++) {
        char text[120];
        snprintf(text, sizeof text, "1970-01-02,1\n1970-01-01,%0*d\n", (int)n, 5);
        r = parse(SOURCE_CSV, text, INT64_MAX);
        assert_int_equal(r.points_count, n == 63 ? 2 : 1);
    }
}

/* Fields that some versions lack, or name otherwise. */
static void other_names(void **state)
{
    intensity_reading r =
        parse(SOURCE_ELECTRICITY_MAPS,
              "{\"zone\":\"DE\",\"data\":[{\"value\":\"12.5\",\"date\":\"1970-01-01\","
              "\"emissionFactorType\":\"direct\"},{\"value\":1,\"datetime\":\"soon\"}]}",
              INT64_MAX);
    assert_true(r.points_count == 1 && r.rejected == 1 && !r.points[0].forecast);
    assert_near(r.points[0].g_per_kwh, 12.5, 0);
    assert_int_equal(r.basis, INTENSITY_DIRECT);
    r = parse(SOURCE_ELECTRICITY_MAPS,
              "{\"zone\":\"DE\",\"carbonIntensity\":5,\"datetime\":\"1970-01-01\"}", INT64_MAX);
    assert_int_equal(r.basis, INTENSITY_LIFECYCLE);
    r = parse(SOURCE_WATTTIME,
              "{\"data\":[{\"point_time\":\"1970-01-01\",\"value\":1000},{\"value\":1},"
              "{\"point_time\":\"1970-01-02\",\"value\":\"\"}],"
              "\"meta\":{\"signal_type\":\"co2_aoer\"}}",
              0);
    assert_true(r.points_count == 1 && r.rejected == 2 && !r.points[0].forecast);
    assert_near(r.points[0].g_per_kwh, 453.59237, 1e-9);
    assert_int_equal(r.kind, INTENSITY_AVERAGE);
    assert_int_equal(r.basis, INTENSITY_DIRECT);
    assert_int_equal(r.zone.n, 0);
    static const struct {
        const char *json;
        int32_t span_s;
    } spans[] = {
        {"\"duration\":120", 7200},
        {"\"duration\":121", 0},
        {"\"duration\":0", 0},
        {"\"duration\":-5", 0},
        {"\"duration\":0.5", 30},
        {"\"duration\":5,\"endTime\":\"1970-01-01T02:00Z\"", 7200},
        {"\"duration\":5,\"endTime\":\"1970-01-01T02:01Z\"", 300},
        {"\"duration\":5,\"endTime\":\"1970-01-01T00:00Z\"", 300},
        {"\"endTime\":\"1970-01-01T00:00:01Z\"", 1},
    };
    for (size_t i = 0; i < sizeof spans / sizeof *spans; i++) {
        char text[200];
        snprintf(text, sizeof text,
                 "{\"forecastData\":[{\"timestamp\":\"1970-01-01\",\"value\":3,%s}]}",
                 spans[i].json);
        r = parse(SOURCE_CARBON_AWARE, text, INT64_MAX);
        assert_int_equal(r.points[0].span_s, spans[i].span_s);
        assert_true(r.points[0].forecast);
    }
    r = parse(SOURCE_CARBON_AWARE,
              "[{\"time\":\"1970-01-01\",\"rating\":1,\"value\":2,\"location\":\"a\","
              "\"forecastData\":[{\"startTime\":\"1970-01-02\",\"carbonIntensity\":3,\"location\":"
              "\"b\"},{\"value\":1}]},{\"time\":\"1970-01-03\",\"rating\":4}]",
              INT64_MAX);
    assert_true(r.points_count == 2 && r.rejected == 1); /* of the first only its forecast */
    assert_near(r.points[0].g_per_kwh, 3, 0);
    assert_near(r.points[1].g_per_kwh, 4, 0);
    assert_true(r.points[0].forecast && !r.points[1].forecast);
    assert_str(r.zone, "b");
    static const struct {
        const char *to;
        int32_t span_s;
    } uks[] = {{"1970-01-01T00:00Z", 0}, {"1970-01-01T02:00Z", 7200}, {"1970-01-01T02:01Z", 0}};
    for (size_t i = 0; i < 3; i++) {
        char text[200];
        snprintf(
            text, sizeof text,
            "{\"data\":[{\"from\":\"1970-01-01\",\"to\":\"%s\",\"intensity\":{\"actual\":0}}]}",
            uks[i].to);
        r = parse(SOURCE_UK, text, INT64_MAX);
        assert_int_equal(r.points[0].span_s, uks[i].span_s);
    }
    /* Lists within lists: two levels, and of several names the first. */
    r = parse(SOURCE_UK,
              "{\"data\":[{\"shortname\":\"A\",\"data\":[{\"from\":\"1970-01-01\",\"intensity\":{"
              "\"actual\":1}}]},{\"shortname\":\"B\",\"data\":[{\"data\":[{\"from\":\"1970-01-02\","
              "\"intensity\":{\"actual\":2}}]}]}]}",
              INT64_MAX);
    assert_int_equal(r.points_count, 2);
    assert_str(r.zone, "A");
}

static void guesses(void **state)
{
    static const struct {
        const char *text;
        int format; /* -1: none */
    } at[] = {
        {" \t\r\n[]", SOURCE_CARBON_AWARE},
        {"\xef\xbb\xbf{\"meta\":{}}", -1}, /* JSON begins with no mark */
        {"{\"data\":[{\"point_time\":1}]}", SOURCE_WATTTIME},
        {"{\"Emissions\":[]}", SOURCE_CARBON_AWARE},
        {"{\"forecastData\":[]}", SOURCE_CARBON_AWARE},
        {"{\"startTime\":1}", SOURCE_CARBON_AWARE},
        {"{\"zone\":1,\"data\":[]}", SOURCE_ELECTRICITY_MAPS},
        {"{\"data\":[]}", SOURCE_UK},
        {"x", SOURCE_CSV},
        {"{\"x\":1}", -1},
        {"{", -1},
        {"", -1},
        {" \n", -1},
    };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        source_format f = 77;
        bool good = source_guess((bytes){(const uint8_t *)at[i].text, strlen(at[i].text)}, &f, &e);
        assert_int_equal(good, at[i].format >= 0);
        assert_int_equal(f, good ? at[i].format : 77);
    }
    assert_string_equal(e.text, "intensity data is empty");
    static const char *const names[] = {"csv", "uk", "electricity-maps", "watttime",
                                        "carbon-aware-sdk"};
    for (int i = 0; i < 5; i++) {
        source_format f;
        assert_string_equal(source_format_name((source_format)i), names[i]);
        assert_true(source_format_parse(str_from(names[i]), &f, &e));
        assert_int_equal(f, i);
    }
    assert_string_equal(source_format_name((source_format)5), "unknown");
}

static void yearly_edges(void **state)
{
    static const struct {
        const char *text;
        double g; /* 0: none */
    } at[] = {
        {"{\"DE\":3000}", 3000},
        {"{\"DE\":3000.5}", 0},
        {"{\"DE\":0}", 0},
        {"{\"DE\":\"5\"}", 5},
        {"{\"DE\":\"5x\"}", 0},
        {"{\"DE\":{\"carbonIntensity\":7}}", 7},
        {"{\"DE\":{\"carbonIntensity\":{\"value\":8}}}", 8},
        {"{\"DE\":{}}", 0},
        {"{\"DEU\":5}", 0},
        {"{\"data\":{\"DE\":9}}", 9},
        {"{\"data\":1,\"DE\":9}", 9},
        {"x = {\"DE\":9} ...", 9},
        {"{\"a\":\"\\\\xDE\",\"DE\":9}", 9},
        {"{\"a\":\"\\xDE\\xDF\",\"DE\":9}", 9},
        {"no object", 0},
        {"{", 0},
    };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        double g = 77;
        bool good = source_yearly((bytes){(const uint8_t *)at[i].text, strlen(at[i].text)}, S("DE"),
                                  &g, &e);
        if (good != (at[i].g > 0) || fabs(g - (good ? at[i].g : 77)) > 0)
            fail_msg("%s: %g", at[i].text, g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times),
        cmocka_unit_test(uk),
        cmocka_unit_test(electricity_maps),
        cmocka_unit_test(watttime),
        cmocka_unit_test(carbon_aware),
        cmocka_unit_test(csv),
        cmocka_unit_test(nonsense),
        cmocka_unit_test(yearly),
        cmocka_unit_test(too_large),
        cmocka_unit_test(series),
        cmocka_unit_test(believed_points),
        cmocka_unit_test(csv_headers),
        cmocka_unit_test(other_names),
        cmocka_unit_test(guesses),
        cmocka_unit_test(yearly_edges),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
