/* component/reader: LEB128, names, slices, offsets in messages. */
#include "unit.h"

#include "component/reader.h"

static err e;

static reader over(const char *p, size_t n) { return reader_over((bytes){(const uint8_t *)p, n}); }

#define R(lit) over(lit, sizeof(lit) - 1)

static void unsigned_leb(void **state)
{
    uint32_t v;
    uint64_t w;
    reader r = R("\x00\x7f\x80\x01\xff\xff\xff\xff\x0f\x80\x00");
    assert_true(reader_u32(&r, &v, &e));
    assert_int_equal(v, 0);
    assert_true(reader_u32(&r, &v, &e));
    assert_int_equal(v, 0x7f);
    assert_true(reader_u32(&r, &v, &e));
    assert_int_equal(v, 128);
    assert_true(reader_u32(&r, &v, &e));
    assert_true(v == UINT32_MAX);
    assert_true(reader_u32(&r, &v, &e)); /* padding within five bytes is allowed */
    assert_int_equal(v, 0);
    assert_true(reader_done(&r));
    assert_false(reader_u32(&r, &v, &e));
    assert_string_equal(e.text, "offset 0xb: unexpected end");
    r = R("\xff\xff\xff\xff\x1f");
    assert_false(reader_u32(&r, &v, &e));
    assert_non_null(strstr(e.text, "integer too large"));
    assert_int_equal(reader_offset(&r), 0);
    r = R("\x80\x80\x80\x80\x80\x00");
    assert_false(reader_u32(&r, &v, &e));
    assert_non_null(strstr(e.text, "integer representation too long"));
    r = R("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
    assert_true(reader_u64(&r, &w, &e));
    assert_true(w == UINT64_MAX);
    r = R("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02");
    assert_false(reader_u64(&r, &w, &e));
}

static void signed_leb(void **state)
{
    int32_t v;
    int64_t w;
    reader r = R("\x7f\x40\x3f\x80\x80\x80\x80\x78\xff\xff\xff\xff\x07");
    assert_true(reader_s32(&r, &v, &e));
    assert_int_equal(v, -1);
    assert_true(reader_s32(&r, &v, &e));
    assert_int_equal(v, -64);
    assert_true(reader_s32(&r, &v, &e));
    assert_int_equal(v, 63);
    assert_true(reader_s32(&r, &v, &e));
    assert_true(v == INT32_MIN);
    assert_true(reader_s32(&r, &v, &e));
    assert_true(v == INT32_MAX);
    r = R("\xff\xff\xff\xff\x0f"); /* 32 bits, but not a sign extension */
    assert_false(reader_s32(&r, &v, &e));
    r = R("\xff\xff\xff\xff\x0f");
    assert_true(reader_s33(&r, &w, &e));
    assert_true(w == 0xffffffff);
    r = R("\x80\x80\x80\x80\x70");
    assert_true(reader_s33(&r, &w, &e));
    assert_true(w == -((int64_t)1 << 32));
    r = R("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x7f");
    assert_true(reader_s64(&r, &w, &e));
    assert_true(w == INT64_MIN);
    r = R("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x7e");
    assert_false(reader_s64(&r, &w, &e));
}

static void names(void **state)
{
    str s;
    reader r = R("\x03\x61\xc3\xa9\x02\xff\xfe\x7f");
    assert_true(reader_name(&r, &s, &e));
    assert_str(s, "a\xc3\xa9");
    assert_false(reader_name(&r, &s, &e));
    assert_string_equal(e.text, "offset 0x4: malformed UTF-8 encoding");
    assert_int_equal(reader_offset(&r), 4);
    r = R("\x7f");
    assert_false(reader_name(&r, &s, &e));
    assert_int_equal(reader_offset(&r), 0);
}

static void slices(void **state)
{
    reader r = R("\x02\xaa\xbb\x05\x01"), inner;
    uint32_t n, v;
    uint8_t byte;
    assert_true(reader_sized(&r, &inner, &e));
    assert_int_equal(reader_left(&inner), 2);
    assert_true(reader_u8(&inner, &byte, &e));
    assert_int_equal(byte, 0xaa);
    assert_int_equal(reader_offset(&inner), 2);
    assert_false(reader_fixed_u32(&inner, &v, &e));
    assert_false(reader_count(&r, 100, "things", &n, &e));
    assert_non_null(strstr(e.text, "5 things do not fit"));
    r = R("\x02\x00\x00");
    assert_false(reader_count(&r, 1, "things", &n, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    assert_true(reader_count(&r, 2, "things", &n, &e));
    assert_int_equal(n, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unsigned_leb),
        cmocka_unit_test(signed_leb),
        cmocka_unit_test(names),
        cmocka_unit_test(slices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
