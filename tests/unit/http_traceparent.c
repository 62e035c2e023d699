/* http/traceparent.h against W3C Trace Context. */
#include "unit.h"

#include "http/traceparent.h"

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define SPAN  "b7ad6b7169203331"

static bool reads(const char *text)
{
    traceparent t;
    return traceparent_read(str_from(text), &t);
}

static void version_00(void **state)
{
    traceparent t;
    char text[TRACEPARENT_BYTES + 1];
    assert_true(traceparent_read(S("00-" TRACE "-" SPAN "-01"), &t));
    assert_int_equal(t.trace[0], 0x0a);
    assert_int_equal(t.trace[15], 0x9c);
    assert_int_equal(t.span[7], 0x31);
    assert_int_equal(t.flags, TRACE_SAMPLED);
    traceparent_write(&t, text);
    assert_memory_equal(text, "00-" TRACE "-" SPAN "-01", sizeof text);
    t.flags = 0xfe;
    traceparent_write(&t, text);
    assert_memory_equal(text, "00-" TRACE "-" SPAN "-00", sizeof text);
}

static void what_is_not_right(void **state)
{
    assert_false(reads(""));
    assert_false(reads("00-" TRACE "-" SPAN "-0"));
    assert_false(reads("00-" TRACE "-" SPAN "-01-"));
    assert_false(reads("00-" TRACE "-" SPAN "-0g"));
    assert_false(reads("00_" TRACE "-" SPAN "-01"));
    assert_false(reads("00-" TRACE "_" SPAN "-01"));
    assert_false(reads("00-" TRACE "-" SPAN "_01"));
    assert_false(reads("00-0AF7651916cd43dd8448eb211c80319c-" SPAN "-01"));
    assert_false(reads("00-00000000000000000000000000000000-" SPAN "-01"));
    assert_false(reads("00-" TRACE "-0000000000000000-01"));
    assert_false(reads("ff-" TRACE "-" SPAN "-01"));
}

static void later_versions(void **state)
{
    assert_true(reads("01-" TRACE "-" SPAN "-01"));
    assert_true(reads("cc-" TRACE "-" SPAN "-01-what-comes-next"));
    assert_false(reads("cc-" TRACE "-" SPAN "-01.what-comes-next"));
}

static void one_of_a_request(void **state)
{
    traceparent t;
    const http_field fields[] = {{S("accept"), S("00-" TRACE "-" SPAN "-01")},
                                 {S("traceparent"), S("00-" TRACE "-" SPAN "-01")},
                                 {S("traceparent"), S("00-" TRACE "-" SPAN "-01")}};
    assert_false(traceparent_find(fields, 1, &t));
    assert_true(traceparent_find(fields, 2, &t));
    assert_false(traceparent_find(fields, 3, &t));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_00),
        cmocka_unit_test(what_is_not_right),
        cmocka_unit_test(later_versions),
        cmocka_unit_test(one_of_a_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
