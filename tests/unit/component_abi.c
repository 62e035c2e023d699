/* Strings of the Canonical ABI in three encodings, and range checks at the edges. */
#include "unit.h"

#include "component/abi.h"

static void utf16_round_trip(void **state)
{
    str s = S("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"); /* a, e acute, euro, an emoji */
    uint8_t units[32];
    char back[32];
    size_t n = 0;
    assert_int_equal(abi_utf8_to_utf16(s, NULL), 5);
    assert_int_equal(abi_utf8_to_utf16(s, units), 5);
    assert_memory_equal(units, "a\0\xe9\0\xac\x20\x3d\xd8\x00\xde", 10);
    assert_true(abi_utf16_to_utf8(units, 5, NULL, &n));
    assert_int_equal(n, s.n);
    assert_true(abi_utf16_to_utf8(units, 5, back, &n));
    assert_memory_equal(back, s.p, s.n);
}

static void unpaired_surrogates_are_refused(void **state)
{
    size_t n;
    assert_false(abi_utf16_to_utf8((const uint8_t *)"\x3d\xd8", 1, NULL, &n));
    assert_false(abi_utf16_to_utf8((const uint8_t *)"\x3d\xd8\x41\x00", 2, NULL, &n));
    assert_false(abi_utf16_to_utf8((const uint8_t *)"\x00\xde", 1, NULL, &n));
}

static void every_scalar_value_round_trips(void **state)
{
    for (uint32_t c = 0; c < 0x110000; c++) {
        uint8_t units[4], again[4];
        char text[4];
        size_t n = 0, count = 1;
        if (c >= 0xd800 && c < 0xe000)
            continue;
        if (c < 0x10000) {
            units[0] = (uint8_t)c, units[1] = (uint8_t)(c >> 8);
        } else {
            uint32_t hi = 0xd800 + ((c - 0x10000) >> 10), lo = 0xdc00 + ((c - 0x10000) & 0x3ff);
            units[0] = (uint8_t)hi, units[1] = (uint8_t)(hi >> 8);
            units[2] = (uint8_t)lo, units[3] = (uint8_t)(lo >> 8);
            count = 2;
        }
        assert_true(abi_utf16_to_utf8(units, count, text, &n));
        assert_true(str_is_utf8((str){text, n}));
        assert_int_equal(abi_utf8_to_utf16((str){text, n}, again), count);
        assert_memory_equal(units, again, count * 2);
    }
}

static void latin1(void **state)
{
    char text[8];
    uint8_t raw[2];
    size_t n;
    assert_int_equal(abi_latin1_to_utf8((const uint8_t *)"a\xff", 2, NULL), 3);
    assert_int_equal(abi_latin1_to_utf8((const uint8_t *)"a\xff", 2, text), 3);
    assert_memory_equal(text, "a\xc3\xbf", 3);
    assert_true(abi_utf8_is_latin1(S("a\xc3\xbf"), &n));
    assert_int_equal(n, 2);
    abi_utf8_to_latin1(S("a\xc3\xbf"), raw);
    assert_memory_equal(raw, "a\xff", 2);
    assert_false(abi_utf8_is_latin1(S("\xc4\x80"), &n));
}

static void spans(void **state)
{
    abi_string s = abi_string_span(ENCODING_UTF8, UINT32_MAX);
    assert_true(s.bytes == UINT32_MAX && s.align == 1 && !s.is_utf16);
    s = abi_string_span(ENCODING_UTF16, UINT32_MAX);
    assert_true(s.bytes == 2 * (uint64_t)UINT32_MAX && s.align == 2 && s.is_utf16);
    s = abi_string_span(ENCODING_LATIN1_UTF16, ABI_UTF16_TAG | 3);
    assert_true(s.bytes == 6 && s.align == 2 && s.is_utf16 && s.units == 3);
    s = abi_string_span(ENCODING_LATIN1_UTF16, 3);
    assert_true(s.bytes == 3 && s.align == 2 && !s.is_utf16);
}

static void bounds(void **state)
{
    assert_true(abi_in_bounds(65536, 65536, 0));
    assert_true(abi_in_bounds(65536, 65535, 1));
    assert_false(abi_in_bounds(65536, 65536, 1));
    assert_false(abi_in_bounds(65536, 65537, 0));
    assert_false(abi_in_bounds(65536, UINT32_MAX, UINT32_MAX));
    assert_false(abi_in_bounds(0, 0, UINT64_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf16_round_trip),
        cmocka_unit_test(unpaired_surrogates_are_refused),
        cmocka_unit_test(every_scalar_value_round_trips),
        cmocka_unit_test(latin1),
        cmocka_unit_test(spans),
        cmocka_unit_test(bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
