/* http/prefer: what RFC 7240 gives as examples, and what clients get wrong. */
#include "unit.h"

#include "http/prefer.h"

static prefer read_one(const char *text)
{
    http_field f = {S("prefer"), str_from(text)};
    return prefer_read(&f, 1);
}

static void preferences(void **state)
{
    static const struct {
        const char *text;
        bool async, has_wait;
        uint32_t wait_s;
    } rows[] = {
        {"respond-async", true, false, 0},
        {"respond-async, wait=10", true, true, 10},
        {"wait=10,respond-async", true, true, 10},
        {"Respond-Async , WAIT = 10", true, true, 10},
        {"respond-async; foo=bar", true, false, 0},
        {"respond-async=\"\"", true, false, 0},
        {"respond-async=1", false, false, 0},
        {"wait=\"3\"", false, true, 3},
        {"wait=10, wait=20", false, true, 10},
        {"wait=x, wait=20", false, false, 0},
        {"wait", false, false, 0},
        {"wait=-1", false, false, 0},
        {"wait=99999999999", false, false, 0},
        {"handling=lenient, return=representation", false, false, 0},
        {"foo=\"a, respond-async\"", false, false, 0},
        {"foo=\"a\\\", respond-async\", wait=1", false, true, 1},
        {"foo=\"never closed, respond-async", false, false, 0},
        {"foo; bar=\";\", respond-async", true, false, 0},
        {"", false, false, 0},
        {",,;=,", false, false, 0},
        {"respond-asynchronously", false, false, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        prefer p = read_one(rows[i].text);
        if (p.respond_async != rows[i].async || p.has_wait != rows[i].has_wait ||
            p.wait_s != rows[i].wait_s)
            fail_msg("'%s': %d %d %u", rows[i].text, p.respond_async, p.has_wait, p.wait_s);
    }
    http_field several[] = {{S("prefer"), S("wait=5")},
                            {S("accept"), S("wait=1")},
                            {S("prefer"), S("respond-async, wait=6")}};
    prefer p = prefer_read(several, 3);
    assert_true(p.respond_async && p.has_wait && p.wait_s == 5);
    p = prefer_read(NULL, 0);
    assert_false(p.respond_async || p.has_wait);
}

static void applied(void **state)
{
    char place[PREFERENCE_APPLIED_BYTES];
    assert_str(preference_applied(true, false, 5, place), "respond-async");
    assert_str(preference_applied(false, true, 300, place), "wait=300");
    assert_str(preference_applied(true, true, UINT32_MAX, place), "respond-async, wait=4294967295");
}

static bool key_of(const char *text, str *ret)
{
    http_field f = {S("idempotency-key"), str_from(text)};
    err e;
    return idempotency_key_read(&f, 1, ret, &e);
}

static void keys(void **state)
{
    char text[300];
    str key;
    err e;
    assert_true(key_of("\"8e03978e-40d5\"", &key) && str_eq(key, S("8e03978e-40d5")));
    assert_true(key_of(" abc ", &key) && str_eq(key, S("abc")));
    assert_false(key_of("", &key) || key_of("\"\"", &key) || key_of("a b", &key) ||
                 key_of("a\"b", &key) || key_of("\xc3\xa4", &key));
    memset(text, 'a', sizeof text);
    text[256] = 0;
    assert_false(key_of(text, &key));
    text[255] = 0;
    assert_true(key_of(text, &key) && key.n == 255);
    assert_true(idempotency_key_read(NULL, 0, &key, &e) && !key.p);
    http_field twice[] = {{S("idempotency-key"), S("a")}, {S("idempotency-key"), S("b")}};
    assert_false(idempotency_key_read(twice, 2, &key, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(preferences), cmocka_unit_test(applied),
                                       cmocka_unit_test(keys)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
