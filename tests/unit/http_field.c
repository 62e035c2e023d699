/* http/field.h: every byte of every class, lists, authorities, targets, and the limits. */
#include "unit.h"

#include "http/field.h"

#include <string.h>

static bool in(const char *set, int c) { return c && strchr(set, c); }

static bool alnum(int c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Each byte alone, between others and at both ends. */
static void bytes_of_names_and_values(void **state)
{
    for (int c = 0; c < 256; c++) {
        const char middle[] = {'a', (char)c, 'b'}, first[] = {(char)c, 'a'},
                   last[] = {'a', (char)c};
        bool token = alnum(c) || in("!#$%&'*+-.^_`|~", c), blank = c == ' ' || c == '\t';
        bool value = blank || (c > ' ' && c != 0x7f);
        bool host = alnum(c) || in("!$&'()*+;=-._~%", c);
        assert_int_equal(token_is((str){middle, 3}), token);
        assert_int_equal(token_is((str){first, 2}), token);
        assert_int_equal(token_is((str){last, 2}), token);
        assert_int_equal(field_value_is((str){middle, 3}), value);
        assert_int_equal(field_value_is((str){first, 1}), value && !blank);
        assert_int_equal(field_value_is((str){first, 2}), value && !blank);
        assert_int_equal(field_value_is((str){last, 2}), value && !blank);
        if (c != ':' && c != '[')
            assert_int_equal(authority_is((str){middle, 3}), host);
        const char in_brackets[] = {'[', ':', (char)c, ']'};
        if (c != ']')
            assert_int_equal(authority_is((str){in_brackets, 4}), host || c == ':');
        bool target = c > ' ' && c != 0x7f && c != '#';
        if (c < 0x80) {
            assert_int_equal(target_is((str){middle, 3}), target);
            assert_int_equal(target_is((str){last, 2}), target);
            assert_int_equal(target_is((str){first, 2}), target);
        } else {
            assert_false(target_is((str){middle, 3})); /* no UTF-8 alone */
        }
        assert_int_equal(ascii_lower((char)c), c >= 'A' && c <= 'Z' ? (char)(c + 32) : (char)c);
    }
    assert_false(token_is(S("")) || target_is(S("")) || authority_is(S("")));
    assert_true(field_value_is(S("")) && target_is(S("/\xc3\xa9")) && target_is(S("*")));
}

static void authorities(void **state)
{
    static const struct {
        const char *text, *host; /* host NULL: it is none */
    } rows[] = {
        {"a", "a"},        {"a:", "a"},        {"a:0", "a"},          {"a:65535", "a"},
        {"a:65536", NULL}, {"a:8x", NULL},     {"a:-1", NULL},        {":80", NULL},
        {":", NULL},       {"a:1:2", NULL},    {"u@a", NULL},         {"a,b", NULL},
        {"a b", NULL},     {"[::1]", "[::1]"}, {"[::1]:", "[::1]"},   {"[::1]:80", "[::1]"},
        {"[::1]80", NULL}, {"[::1", NULL},     {"[]", NULL},          {"[1]", NULL},
        {"[12]", "[12]"},  {"[::1]:x", NULL},  {"[::1]:65536", NULL}, {"[v1.a:b]", "[v1.a:b]"},
        {"[a/b]", NULL},   {"x[::1]", NULL},   {"[", NULL},           {"[::1]:80:1", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        str text = str_from(rows[i].text), host = authority_host(text);
        if (authority_is(text) != (rows[i].host != NULL))
            fail_msg("'%s'", rows[i].text);
        if (!str_eq(host, rows[i].host ? str_from(rows[i].host) : text))
            fail_msg("'%s': %.*s", rows[i].text, STR(host));
    }
}

static void same_authorities(void **state)
{
    static const struct {
        const char *a, *b;
        bool same;
    } rows[] = {
        {"a", "a", true},       {"a", "A", true},
        {"a", "b", false},      {"a", "a:80", true},
        {"a:80", "a", true},    {"a:80", "a:80", true},
        {"a", "a:81", false},   {"a:81", "a", false},
        {"a:81", "a:81", true}, {"a:", "a:80", true},
        {"a b", "a b", false},  {"a", "a b", false},
        {"a b", "a", false},    {"[::1]", "[::1]:80", true},
        {"ab", "a", false},     {"a:8", "a:80", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (authority_same(str_from(rows[i].a), str_from(rows[i].b), S("80")) != rows[i].same)
            fail_msg("'%s' '%s'", rows[i].a, rows[i].b);
}

static void names(void **state)
{
    static const char *const hops[] = {"connection",        "keep-alive", "proxy-connection",
                                       "transfer-encoding", "upgrade",    "http2-settings"};
    static const char *const trailers[] = {
        "content-length",   "host",          "trailer",      "te",
        "expect",           "authorization", "cookie",       "set-cookie",
        "content-encoding", "content-type",  "content-range"};
    static const char *const neither[] = {"x",   "hosts", "hos", "connections",
                                          "te1", "x-sum", "via"};
    for (size_t i = 0; i < 6; i++) {
        assert_true(field_is_hop(str_from(hops[i])));
        assert_true(field_is_no_trailer(str_from(hops[i])));
    }
    for (size_t i = 0; i < 11; i++) {
        assert_false(field_is_hop(str_from(trailers[i])));
        assert_true(field_is_no_trailer(str_from(trailers[i])));
    }
    for (size_t i = 0; i < 7; i++)
        assert_false(field_is_hop(str_from(neither[i])) ||
                     field_is_no_trailer(str_from(neither[i])));
    assert_true(field_is_hop(S("Upgrade")) && field_is_no_trailer(S("HOST")));
}

static void lists(void **state)
{
    static const struct {
        const char *list;
        bool has; /* "close" */
    } rows[] = {
        {"close", true},        {"Close", true},   {"a, close", true}, {"close,a", true},
        {"a,\tCLOSE ,b", true}, {"", false},       {"clos", false},    {"closed", false},
        {"a close", false},     {",,close", true}, {"a", false},       {",", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (list_has(str_from(rows[i].list), S("close")) != rows[i].has)
            fail_msg("'%s'", rows[i].list);
    const http_field fields[] = {{S("a"), S("1")}, {S("b"), S("2")}, {S("b"), S("3")}};
    assert_ptr_equal(field_find(fields, 3, S("a")), &fields[0]);
    assert_ptr_equal(field_find(fields, 3, S("b")), &fields[1]);
    assert_null(field_find(fields, 1, S("b")));
    assert_null(field_find(fields, 3, S("c")));
    err e;
    str value = S("as it was");
    assert_false(field_only(fields, 3, S("b"), &value, &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_str(value, "as it was");
    assert_true(field_only(fields, 2, S("b"), &value, &e));
    assert_str(value, "2");
    assert_true(field_only(fields, 3, S("c"), &value, &e) && !value.p);
    assert_true(field_only(NULL, 0, S("c"), &value, &e) && !value.p);
}

/* 128 kB of names and values, and one byte more. */
static void limits(void **state)
{
    enum { ALL = 128 * 1024 };
    err e;
    char *text = malloc(ALL);
    memset(text, 'v', ALL);
    http_field fields[] = {{S("name"), {text, 1000}}, {S("n"), {text, ALL - 1000 - 5}}};
    assert_true(fields_check(fields, 2, &e));
    fields[1].value.n++;
    assert_false(fields_check(fields, 2, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    assert_string_equal(e.text, "fields of 131073 bytes; the limit is 131072");
    assert_true(fields_check(fields, 1, &e) && fields_check(NULL, 0, &e));
    http_field bad[] = {{S("a"), S("b")}, {S("a b"), S("")}};
    assert_false(fields_check(bad, 2, &e));
    assert_int_equal(e.code, ERR_INVALID);
    assert_string_equal(e.text, "a field name of 3 bytes is not a token (RFC 9110 5.6.2)");
    bad[1] = (http_field){S("x-y"), S("b ")};
    assert_false(fields_check(bad, 2, &e));
    assert_string_equal(e.text, "the value of field 'x-y' has control characters or blanks around "
                                "it (RFC 9110 5.5)");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_of_names_and_values),
        cmocka_unit_test(authorities),
        cmocka_unit_test(same_authorities),
        cmocka_unit_test(names),
        cmocka_unit_test(lists),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
