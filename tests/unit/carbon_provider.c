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

static int teardown(void **state)
{
    arena_fini(&a);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls),
        cmocka_unit_test(configurations),
        cmocka_unit_test(sessions),
        cmocka_unit_test(pace),
    };
    arena_init(&a, 1 << 20);
    return cmocka_run_group_tests(tests, NULL, teardown);
}
