/* Base 64: the vectors of RFC 4648, section 10, every byte and length, and what is refused. Inputs
 * stand at the end of their memory, so that a sanitizer sees a byte too far. */
#include "unit.h"

#include "base/base64.h"
#include "base/limits.h"

static void *exactly(const void *p, size_t n) { return memcpy(malloc(n ? n : 1), p, n); }

static void both_ways(bytes raw, str text)
{
    arena a;
    buf b;
    bytes back;
    uint8_t *r = exactly(raw.p, raw.n);
    char *t = exactly(text.p, text.n);
    arena_init(&a, 64 * KIB);
    buf_init(&b, text.n);
    assert_true(base64_encode((bytes){r, raw.n}, &b));
    assert_int_equal(b.n, text.n);
    assert_memory_equal(b.p ? (char *)b.p : "", text.p, text.n);
    assert_true(base64_decode(&a, (str){t, text.n}, &back));
    assert_non_null(back.p);
    assert_int_equal(back.n, raw.n);
    assert_memory_equal(back.p, raw.p, raw.n);
    buf_fini(&b);
    arena_fini(&a);
    free(r);
    free(t);
}

static void vectors(void **state)
{
    static const char *const of[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
        {"\xff", "/w=="},
        {"\xff\xff", "//8="},
        {"\xfb\xef\xbe", "++++"},
        {"\xff\xff\xff", "////"},
    };
    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        both_ways((bytes){(const uint8_t *)of[i][0], strlen(of[i][0])}, str_from(of[i][1]));
    both_ways((bytes){(const uint8_t *)"\0\0", 2}, S("AAA="));
    both_ways((bytes){(const uint8_t *)"\0", 1}, S("AA=="));
}

/* All 64 digits in their order are these 48 bytes. */
static void every_digit(void **state)
{
    uint8_t raw[48];
    for (unsigned i = 0; i < 16; i++) {
        unsigned v = (4 * i) << 18 | (4 * i + 1) << 12 | (4 * i + 2) << 6 | (4 * i + 3);
        raw[3 * i] = (uint8_t)(v >> 16);
        raw[3 * i + 1] = (uint8_t)(v >> 8);
        raw[3 * i + 2] = (uint8_t)v;
    }
    both_ways((bytes){raw, 48},
              S("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"));
}

static void what_is_none(void **state)
{
    static const char *const bad[] = {
        "Z",          "Zg",        "Zg=",  "Zm9vZ", "=",        "====", "Z===",
        "=g==",       "Zg=v",      "Z=9v", "=m9v",  "Zg==Zm9v", "Zh==", "Zv==",
        "Zm9=",       "Zm+=",      "Zm 9", "Zm9\n", "-_-_",     "Zm9.", "Zm9v====",
        "\xc3\xa4zz", "Zm9v Zm9v", "@m9v", "Z[9v",  "Zm`v",     "Zm9{", "Zm9:",
    };
    arena a;
    arena_init(&a, 64 * KIB);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        bytes ret = {(const uint8_t *)"x", 1};
        char *t = exactly(bad[i], strlen(bad[i]));
        assert_false(base64_decode(&a, (str){t, strlen(bad[i])}, &ret));
        assert_int_equal(ret.n, 0);
        assert_non_null(ret.p); /* it was not for memory */
        free(t);
    }
    bytes ret;
    assert_false(base64_decode(&a, (str){"Zm9\0", 4}, &ret));
    arena_fini(&a);
}

static void without_room(void **state)
{
    arena a;
    buf b;
    bytes ret = {(const uint8_t *)"x", 1};
    arena_init(&a, 64 * KIB);
    alloc_fail_after(1);
    assert_false(base64_decode(&a, S("Zm9v"), &ret));
    alloc_fail_after(0);
    assert_true(!ret.p && ret.n == 0);
    buf_init(&b, 7);
    assert_false(base64_encode((bytes){(const uint8_t *)"fooba", 5}, &b));
    assert_str(buf_str(&b), "Zm9v");
    buf_fini(&b);
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors),
        cmocka_unit_test(every_digit),
        cmocka_unit_test(what_is_none),
        cmocka_unit_test(without_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
