/* What providers are asked, and when: URLs and headers, sessions, back-off, clocks that jump. */
#include "unit.h"

#include "carbon/provider.h"

#include <string.h>

static arena a;
static err e;
static const int64_t NOW = 1516449642; /* 2018-01-20T12:00:42Z */

static provider make(provider_config c)
{
    provider p;
    if (!provider_init(&p, &c, &e))
        fail_msg("%s", e.text);
    return p;
}

static provider_request request(const provider *p, provider_what what)
{
    provider_request r;
    assert_true(provider_request_make(p, what, NOW, &a, &r, &e));
    return r;
}

static bytes body(const char *text) { return (bytes){(const uint8_t *)text, strlen(text)}; }

static void urls(void **state)
{
    provider p = make((provider_config){.format = SOURCE_UK});
    assert_str(request(&p, PROVIDER_HISTORY).url,
               "https://api.carbonintensity.org.uk/intensity/2018-01-20T12:00Z/pt24h");
    p = make((provider_config){
        .format = SOURCE_UK, .zone = S("13"), .base_url = S("http://127.0.0.1:8080/")});
    assert_str(request(&p, PROVIDER_FORECAST).url,
               "http://127.0.0.1:8080/regional/intensity/2018-01-20T12:00Z/fw48h/regionid/13");
    p = make((provider_config){
        .format = SOURCE_ELECTRICITY_MAPS, .zone = S("US-CAL-CISO"), .token = S("secret")});
    provider_request r = request(&p, PROVIDER_HISTORY);
    assert_str(r.url,
               "https://api.electricitymaps.com/v3/carbon-intensity/history?zone=US-CAL-CISO");
    assert_str(r.header_name, "auth-token");
    assert_str(r.header_value, "secret");
    p = make((provider_config){
        .format = SOURCE_CARBON_AWARE, .zone = S("eastus"), .base_url = S("http://sdk:5073")});
    assert_str(request(&p, PROVIDER_HISTORY).url,
               "http://sdk:5073/emissions/bylocation?location=eastus&time=2018-01-19T12:00Z&"
               "toTime=2018-01-20T12:00Z");
    assert_str(request(&p, PROVIDER_FORECAST).url,
               "http://sdk:5073/emissions/forecasts/current?location=eastus");
}

static void configurations(void **state)
{
    const provider_config bad[] = {
        {.format = SOURCE_CSV},
        {.format = SOURCE_CARBON_AWARE, .zone = S("x")},
        {.format = SOURCE_ELECTRICITY_MAPS, .zone = S("DE")},
        {.format = SOURCE_ELECTRICITY_MAPS, .token = S("t")},
        {.format = SOURCE_WATTTIME, .zone = S("X"), .user = S("u")},
        {.format = SOURCE_UK, .zone = S("1/../../x")},
        {.format = SOURCE_UK, .base_url = S("file:///etc/passwd")},
        {.format = SOURCE_ELECTRICITY_MAPS, .zone = S("DE"), .token = S("secret\r\nx: y")},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        provider p;
        assert_false(provider_init(&p, &bad[i], &e));
        assert_int_equal(e.code, ERR_INVALID);
        assert_null(strstr(e.text, "secret"));
    }
}

static void sessions(void **state)
{
    provider p = make((provider_config){.format = SOURCE_WATTTIME,
                                        .zone = S("CAISO_NORTH"),
                                        .user = S("ebb"),
                                        .password = S("a b:c")});
    intensity_reading r;
    provider_failed(&p, NOW - 3600, 0, false);
    provider_failed(&p, NOW - 3600, 0, false);
    assert_int_equal(p.failures, 2);
    assert_int_equal(provider_due(&p, NOW), PROVIDER_LOGIN);
    provider_request q = request(&p, PROVIDER_LOGIN);
    assert_str(q.url, "https://api.watttime.org/login");
    assert_str(q.header_value, "Basic ZWJiOmEgYjpj");
    assert_true(
        provider_answer(&p, PROVIDER_LOGIN, NOW, body("{\"token\":\"j.w.t\"}"), &a, &r, &e));
    assert_int_equal(p.failures, 0);
    assert_int_equal(provider_due(&p, NOW), PROVIDER_HISTORY);
    q = request(&p, PROVIDER_HISTORY);
    assert_str(q.header_value, "Bearer j.w.t");
    assert_str(q.url, "https://api.watttime.org/v3/historical?region=CAISO_NORTH&start="
                      "2018-01-19T12:00Z&end=2018-01-20T12:00Z&signal_type=co2_moer");
    assert_int_equal(provider_due(&p, NOW + PROVIDER_SESSION_S), PROVIDER_LOGIN);
    /* The session is thrown away when the server says so, and when the clock is put back. */
    assert_int_equal(provider_due(&p, NOW - 5 * 86400), PROVIDER_LOGIN);
    provider_failed(&p, NOW, 0, true);
    assert_int_equal(provider_due(&p, NOW + PROVIDER_RETRY_S_MIN), PROVIDER_LOGIN);
    assert_false(
        provider_answer(&p, PROVIDER_LOGIN, NOW, body("{\"token\":\"a\\r\\nb\"}"), &a, &r, &e));
    assert_false(provider_answer(&p, PROVIDER_LOGIN, NOW, body("<html>"), &a, &r, &e));
}

static void pace(void **state)
{
    provider p = make((provider_config){.format = SOURCE_UK, .forecasts = true});
    intensity_reading r;
    const char *good = "{\"data\":[{\"from\":\"2018-01-20T11:30Z\",\"to\":\"2018-01-20T12:00Z\","
                       "\"intensity\":{\"forecast\":266,\"actual\":263}}]}";
    assert_int_equal(provider_due(&p, NOW), PROVIDER_HISTORY);
    assert_true(provider_answer(&p, PROVIDER_HISTORY, NOW, body(good), &a, &r, &e));
    assert_int_equal(r.points_count, 1);
    assert_int_equal(provider_due(&p, NOW), PROVIDER_FORECAST);
    assert_true(provider_answer(&p, PROVIDER_FORECAST, NOW, body(good), &a, &r, &e));
    assert_int_equal(provider_due(&p, NOW), PROVIDER_NOTHING);
    assert_int_equal(provider_wait_s(&p, NOW), 900);
    assert_int_equal(provider_due(&p, NOW + 900), PROVIDER_HISTORY);
    /* Failures: 1, 2, 4 ... minutes, at most an hour; nonsense counts as one. */
    int64_t now = NOW + 900, waits[8];
    for (int i = 0; i < 8; i++) {
        if (i == 2)
            assert_false(provider_answer(&p, PROVIDER_HISTORY, now, body("oops"), &a, &r, &e));
        else
            provider_failed(&p, now, 0, false);
        waits[i] = provider_wait_s(&p, now);
        now += waits[i];
    }
    const int64_t want[8] = {60, 120, 240, 480, 960, 1920, 3600, 3600};
    for (int i = 0; i < 8; i++)
        assert_int_equal(waits[i], want[i]);
    provider_failed(&p, now, 7000, false); /* Retry-After */
    assert_int_equal(provider_wait_s(&p, now), 7000);
    provider_failed(&p, now + 7000, INT64_MAX, false);
    assert_int_equal(provider_wait_s(&p, now + 7000), PROVIDER_WAIT_S_MAX);
    /* The clock is put back by a year: asks at once, not in a year. */
    assert_int_equal(provider_wait_s(&p, now - 365 * 86400), 0);
    assert_true(provider_answer(&p, PROVIDER_HISTORY, now, body(good), &a, &r, &e));
    assert_int_equal(p.failures, 0);
}

static bool takes(provider_config c)
{
    provider p = {.failures = 77};
    bool good = provider_init(&p, &c, &e);
    assert_int_equal(p.failures, good ? 0 : 77);
    assert_true(good || e.code == ERR_INVALID);
    return good;
}

/* What may stand in a zone, a URL and a header: the last character that may, and the next. */
static void characters(void **state)
{
    static const char zone[] = "azAZ09-_.", no_zone[] = "`{@[/:+^, ";
    static const char ascii[] = "!~", no_ascii[] = " \x7f\n\x80";
    for (size_t i = 0; zone[i]; i++)
        assert_true(takes((provider_config){.format = SOURCE_UK, .zone = {zone + i, 1}}));
    for (size_t i = 0; no_zone[i]; i++)
        assert_false(takes((provider_config){.format = SOURCE_UK, .zone = {no_zone + i, 1}}));
    for (size_t i = 0; i < 6; i++) {
        bool good = i < 2;
        str s = {good ? ascii + i : no_ascii + i - 2, 1};
        char url[] = "http://x?";
        url[8] = s.p[0];
        assert_int_equal(takes((provider_config){.format = SOURCE_UK, .token = s}), good);
        assert_int_equal(takes((provider_config){.format = SOURCE_UK, .user = s}), good);
        assert_int_equal(takes((provider_config){.format = SOURCE_UK, .base_url = {url, 9}}), good);
    }
    assert_true(takes((provider_config){.format = SOURCE_UK, .base_url = S("https://x")}));
    assert_false(takes((provider_config){.format = SOURCE_UK, .base_url = S("ftp://x")}));
    assert_non_null(strstr(e.text, "uk: 'ftp://x' is no http or https URL"));
    provider_config watt = {
        .format = SOURCE_WATTTIME, .zone = S("X"), .user = S("u"), .password = S("p")};
    assert_true(takes(watt));
    watt.password.n = 0;
    assert_false(takes(watt));
    assert_string_equal(e.text, "watttime: needs user and password");
    watt.password.n = 1;
    watt.user.n = 0;
    assert_false(takes(watt));
    watt.user.n = 1;
    watt.zone.n = 0;
    assert_false(takes(watt));
    assert_false(takes((provider_config){.format = SOURCE_CARBON_AWARE + 1, .zone = S("x")}));
    assert_string_equal(e.text, "a provider is uk, electricity-maps, watttime or carbon-aware-sdk");
}

static void more_urls(void **state)
{
    provider p = make((provider_config){.format = SOURCE_UK, .zone = S("7")});
    assert_str(request(&p, PROVIDER_HISTORY).url,
               "https://api.carbonintensity.org.uk/regional/intensity/2018-01-20T12:00Z/pt24h/"
               "regionid/7");
    assert_int_equal(request(&p, PROVIDER_HISTORY).header_name.n, 0);
    p = make((provider_config){.format = SOURCE_UK, .base_url = S("http://x//")});
    assert_str(request(&p, PROVIDER_FORECAST).url, "http://x/intensity/2018-01-20T12:00Z/fw48h");
    p = make(
        (provider_config){.format = SOURCE_ELECTRICITY_MAPS, .zone = S("DE"), .token = S("t")});
    assert_str(request(&p, PROVIDER_FORECAST).url,
               "https://api.electricitymaps.com/v3/carbon-intensity/forecast?zone=DE");
    static const struct {
        str password, header;
    } login[] = {{S("p"), S("Basic dTpw")},
                 {S("pq"), S("Basic dTpwcQ==")},
                 {S("pqr"), S("Basic dTpwcXI=")},
                 {S("\xff\xfe\xfd?"), S("Basic dTr//v0/")}};
    for (size_t i = 0; i < 4; i++) {
        p = make((provider_config){.format = SOURCE_WATTTIME,
                                   .zone = S("Z"),
                                   .user = S("u"),
                                   .password = login[i].password,
                                   .average = i % 2});
        provider_request r = request(&p, PROVIDER_LOGIN);
        assert_str(r.url, "https://api.watttime.org/login");
        assert_str(r.header_name, "authorization");
        assert_true(str_eq(r.header_value, login[i].header));
        assert_true(str_eq(request(&p, PROVIDER_FORECAST).url,
                           i % 2 ? S("https://api.watttime.org/v3/forecast?region=Z&signal_type="
                                     "co2_aoer&horizon_hours=48")
                                 : S("https://api.watttime.org/v3/forecast?region=Z&signal_type="
                                     "co2_moer&horizon_hours=48")));
    }
    provider_request r;
    for (size_t n = 1; n <= 4; n++) { /* URL, name and password, their code, the header */
        alloc_fail_after(n);
        assert_false(provider_request_make(&p, PROVIDER_LOGIN, NOW, &a, &r, &e));
        assert_int_equal(e.code, ERR_NO_MEMORY);
    }
    alloc_fail_after(0);
}

static void tokens(void **state)
{
    provider p = make((provider_config){
        .format = SOURCE_WATTTIME, .zone = S("Z"), .user = S("u"), .password = S("p")});
    intensity_reading r = {.rejected = 7};
    static const char *const bad[] = {"{}", "{\"token\":7}", "{\"token\":\"\"}",
                                      "{\"token\":\"a b\"}", "[]"};
    for (size_t i = 0; i < 5; i++) {
        strcpy(p.session, "old");
        assert_false(provider_answer(&p, PROVIDER_LOGIN, NOW, body(bad[i]), &a, &r, &e));
        assert_string_equal(e.text, "WattTime: the login's answer holds no token");
        assert_int_equal(p.failures, i + 1);
        assert_int_equal(p.session[0], 0);
        assert_int_equal(r.rejected, 7);
    }
    static char text[5000];
    for (size_t n = sizeof p.session - 1; n <= sizeof p.session; n++) { /* the longest, and more */
        strcpy(text, "{\"token\":\"");
        memset(text + 10, 'x', n);
        strcpy(text + 10 + n, "\"}");
        bool fits = n < sizeof p.session;
        assert_int_equal(provider_answer(&p, PROVIDER_LOGIN, NOW, body(text), &a, &r, &e), fits);
        assert_int_equal(strlen(p.session), fits ? n : 0);
        if (fits) {
            assert_int_equal(r.rejected, 0);
            assert_int_equal(p.failures, 0);
            assert_int_equal(p.session_until_s, NOW + PROVIDER_SESSION_S);
        }
    }
    strcpy(p.session, "x");
    p.session_until_s = NOW + PROVIDER_SESSION_S;
    p.history_s = NOW;
    assert_int_equal(provider_due(&p, NOW - 1), PROVIDER_NOTHING);
    assert_int_equal(provider_due(&p, NOW), PROVIDER_HISTORY);
    assert_int_equal(provider_due(&p, NOW + PROVIDER_SESSION_S - 1), PROVIDER_HISTORY);
    assert_int_equal(provider_due(&p, NOW + PROVIDER_SESSION_S), PROVIDER_LOGIN);
    p.session_until_s++; /* longer than sessions are: of a clock that was ahead */
    assert_int_equal(provider_due(&p, NOW), PROVIDER_LOGIN);
    p.session_until_s--;
    p.session[0] = 0;
    assert_int_equal(provider_due(&p, NOW), PROVIDER_LOGIN);
}

static void when_to_ask(void **state)
{
    provider p = make((provider_config){.format = SOURCE_UK, .forecasts = true});
    p.history_s = NOW + 100;
    p.forecast_s = NOW + 50;
    assert_int_equal(provider_due(&p, NOW), PROVIDER_NOTHING);
    assert_int_equal(provider_wait_s(&p, NOW), 50);
    assert_int_equal(provider_due(&p, NOW + 49), PROVIDER_NOTHING);
    assert_int_equal(provider_due(&p, NOW + 50), PROVIDER_FORECAST);
    assert_int_equal(provider_due(&p, NOW + 100), PROVIDER_HISTORY);
    assert_int_equal(provider_wait_s(&p, NOW + 100), 0);
    p.config.forecasts = false;
    assert_int_equal(provider_due(&p, NOW + 50), PROVIDER_NOTHING);
    assert_int_equal(provider_wait_s(&p, NOW + 50), 50);
    /* A day ahead is waited for; more was set by another clock. */
    p.history_s = NOW + PROVIDER_WAIT_S_MAX;
    assert_int_equal(provider_wait_s(&p, NOW), PROVIDER_WAIT_S_MAX);
    assert_int_equal(provider_due(&p, NOW - 1), PROVIDER_HISTORY);
    /* Failures put off both, but never what waits longer already. */
    p = make((provider_config){.format = SOURCE_UK, .forecasts = true});
    p.forecast_s = NOW + 500;
    provider_failed(&p, NOW, 0, false);
    assert_true(p.history_s == NOW + 60 && p.forecast_s == NOW + 500 && p.failures == 1);
    provider_failed(&p, NOW, 120, false); /* as long as it would be anyway */
    assert_true(p.history_s == NOW + 120 && p.forecast_s == NOW + 500);
    provider_failed(&p, NOW, 241, false);
    assert_true(p.history_s == NOW + 241);
    p.forecast_s = NOW + 2 * PROVIDER_WAIT_S_MAX;
    p.history_s = NOW + PROVIDER_WAIT_S_MAX + 1;
    provider_failed(&p, NOW, 0, false);
    assert_true(p.history_s == NOW + 480 && p.forecast_s == NOW + 480);
    /* Forecasts are of hours that are still to come. */
    intensity_reading r;
    const char *text = "{\"data\":[{\"from\":\"2018-01-20T12:00Z\",\"intensity\":{\"actual\":1}},"
                       "{\"from\":\"2018-01-20T12:01Z\",\"intensity\":{\"actual\":2}}]}";
    assert_true(provider_answer(&p, PROVIDER_FORECAST, NOW, body(text), &a, &r, &e));
    assert_true(r.points_count == 2 && !r.points[0].forecast && r.points[1].forecast);
    assert_true(p.forecast_s == NOW + 3600 && p.history_s == NOW + 480 && p.failures == 0);
    p.failures = 3;
    assert_true(provider_answer(&p, PROVIDER_HISTORY, NOW, body(text), &a, &r, &e));
    assert_true(r.points_count == 2 && !r.points[1].forecast);
    assert_true(p.forecast_s == NOW + 3600 && p.history_s == NOW + 900 && p.failures == 0);
    assert_false(provider_answer(&p, PROVIDER_FORECAST, NOW, body("{}"), &a, &r, &e));
    assert_true(p.failures == 1 && p.forecast_s == NOW + 3600);
}

static int teardown(void **state)
{
    arena_fini(&a);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls),   cmocka_unit_test(configurations), cmocka_unit_test(sessions),
        cmocka_unit_test(pace),   cmocka_unit_test(characters),     cmocka_unit_test(more_urls),
        cmocka_unit_test(tokens), cmocka_unit_test(when_to_ask),
    };
    arena_init(&a, 1 << 20);
    return cmocka_run_group_tests(tests, NULL, teardown);
}
