/* app/toml: what each construct means, where errors point, and what may be reopened. The whole
 * grammar is judged by the toml-test suite (tests/integration), these are the cases that ebb's
 * own users meet. */
#include "unit.h"

#include "app/toml.h"
#include "app/toml_json.h"
#include "base/limits.h"

#include <math.h>
#include <stdio.h>

typedef struct {
    arena a;
    buf out;
    err e;
    toml_table *root;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    arena_init(&f->a, 64 * MIB);
    buf_init(&f->out, 16 * MIB);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    arena_fini(&f->a);
    buf_fini(&f->out);
    free(f);
    return 0;
}

static bool parse(fixture *f, str text) { return toml_parse(&f->a, S("t"), text, &f->root, &f->e); }

static void check_json(fixture *f, str text, const char *json)
{
    buf_clear(&f->out);
    if (!parse(f, text))
        fail_msg("%s", f->e.text);
    toml_value v = {.kind = TOML_TABLE, .table = f->root};
    assert_true(toml_to_json(&v, &f->out, &f->e));
    buf_put_u8(&f->out, 0);
    assert_string_equal((char *)f->out.p, json);
}

static void check_error(fixture *f, str text, const char *message)
{
    if (parse(f, text))
        fail_msg("accepted: %.*s", STR(text));
    assert_string_equal(f->e.text, message);
    assert_int_equal(f->e.code, ERR_INVALID);
}

static void values(void **state)
{
    fixture *f = *state;
    check_json(f, S("a = 1\nb = -17\nc = 0xff\nd = 1_000\ne = 0o17\ng = 0b101"),
               "{\"a\":1,\"b\":-17,\"c\":255,\"d\":1000,\"e\":15,\"g\":5}");
    check_json(f, S("a = true # yes\nb = \"\\u00e9\\t\\\"\"\nc = '\\n'"),
               "{\"a\":true,\"b\":\"\xc3\xa9\\u0009\\\"\",\"c\":\"\\\\n\"}");
    check_json(f, S("a = \"\"\"\n x \\\n   y\"\"\"\"\nb = '''\r\n''z'''"),
               "{\"a\":\" x y\\\"\",\"b\":\"''z\"}");
    check_json(f, S("a = [1, [\"x\",],\n # c\n]\nb = {c.d = 1, \"e f\" = []}"),
               "{\"a\":[1,[\"x\"]],\"b\":{\"c\":{\"d\":1},\"e f\":[]}}");
    check_json(f, S("a = 1.5\nb = 1e3\nc = inf\nd = 2000-02-29\ne = 07:32:00.5"),
               "{\"a\":1.5,\"b\":1000,\"c\":null,\"d\":\"2000-02-29\",\"e\":\"07:32:00.5\"}");
    check_json(f, S("a = 1979-05-27 07:32:00Z\nb = 1979-05-27t00:32:00.999-07:00"),
               "{\"a\":\"1979-05-27T07:32:00Z\",\"b\":\"1979-05-27T00:32:00.999-07:00\"}");
    check_json(f, S("a = -9223372036854775808\nb = 9223372036854775807"),
               "{\"a\":-9223372036854775808,\"b\":9223372036854775807}");
    check_json(f, S("\xef\xbb\xbf"), "{}");
    check_json(f, S(""), "{}");
}

static void tables(void **state)
{
    fixture *f = *state;
    check_json(f, S("[a.b]\nx=1\n[a]\ny=2\n[[l]]\nz=1\n[[l]]\n[l.m]\nz=2"),
               "{\"a\":{\"b\":{\"x\":1},\"y\":2},\"l\":[{\"z\":1},{\"m\":{\"z\":2}}]}");
    check_json(f, S("a.b.c = 1\na.b.d = 2\n[e]\nf.g = 1\n[e.f.h]\ni = 1"),
               "{\"a\":{\"b\":{\"c\":1,\"d\":2}},\"e\":{\"f\":{\"g\":1,\"h\":{\"i\":1}}}}");
    check_error(f, S("[a]\n[a]"), "t:2:2: 'a' is already defined in line 1");
    check_error(f, S("a = 1\na = 2"), "t:2:1: 'a' is already defined in line 1");
    check_error(f, S("a = {b = 1}\n[a.c]"),
                "t:2:2: 'a' is an inline table (line 1) and can't be extended");
    check_error(f, S("a = {b = 1}\na.c = 1"),
                "t:2:1: the table 'a' was defined in line 1 and "
                "can't be extended by a dotted key");
    check_error(f, S("[a]\nb.c = 1\n[a.b]"), "t:3:4: 'b' is already defined in line 2");
    check_error(f, S("a = []\n[[a]]"), "t:2:3: 'a' is an array (line 1), not an array of tables");
    check_error(f, S("a = 1\n[a.b]"), "t:2:2: 'a' is an integer (line 1), not a table");
}

static void positions(void **state)
{
    fixture *f = *state;
    assert_true(parse(f, S("# x\n[a]\n  \"\xc3\xa9\" = 1\nk = [ 1,\n  'z' ]\nv = { w = 2 }")));
    toml_table *a = toml_get(f->root, S("a"))->value.table;
    toml_entry *e = toml_get(a, S("\xc3\xa9"));
    assert_int_equal(e->pos.line, 3);
    assert_int_equal(e->pos.column, 3);
    assert_int_equal(e->value.pos.column, 9); /* characters, not bytes */
    e = toml_get(a, S("k"));
    assert_int_equal(e->value.array.at[1].pos.line, 5);
    assert_int_equal(e->value.array.at[1].pos.column, 3);
    e = toml_get(toml_get(a, S("v"))->value.table, S("w"));
    assert_int_equal(e->pos.line, 6);
    assert_int_equal(e->pos.column, 7);
    assert_null(toml_get(a, S("nope")));
}

static void errors(void **state)
{
    fixture *f = *state;
    check_error(f, S("a"), "t:1:2: expected '=' after the key, found the end of the file");
    check_error(f, S("a = \nb = 1"), "t:1:5: expected a value, found the end of the line");
    check_error(f, S("a = yes"),
                "t:1:5: expected a value, found 'yes'; put strings in double quotes");
    check_error(f, S("x = 1 y = 2"),
                "t:1:7: expected the end of the line after the value, found 'y'");
    check_error(f, S("a = \"x"), "t:1:5: this string has no closing \" on its line");
    check_error(f, S("a = [1 2]"),
                "t:1:8: expected ',' or ']' after an element of the array, found '2'");
    check_error(f, S("a = 01"), "t:1:5: '01': a decimal number can't begin with 0");
    check_error(f, S("a = 1__0"), "t:1:5: '1__0': '_' may only stand between two digits");
    check_error(f, S("a = 9223372036854775808"),
                "t:1:5: '9223372036854775808' does not fit into 64 bits");
    check_error(f, S("a = 2021-02-29"), "t:1:5: '2021-02-29' is not a date or time of RFC 3339");
    check_error(f, S("a = \"\\x\""),
                "t:1:6: unknown escape; write '\\\\' for a backslash, or use a "
                "literal string in single quotes");
    check_error(f, S("a = 1\nb = \"\xff\""), "t:2:6: not UTF-8; save the file as UTF-8");
    check_error(f, S("a = 1\r"),
                "t:1:6: expected the end of the line after the value, found the end of the line");
    check_error(f, S("a = '\x01'"),
                "t:1:6: control character 0x01 in a string; use double quotes and an escape");
}

static void limits(void **state)
{
    fixture *f = *state;
    char deep[400];
    memset(deep, '[', sizeof deep);
    deep[0] = 'a';
    deep[1] = '=';
    assert_false(parse(f, (str){deep, sizeof deep}));
    assert_int_equal(f->e.code, ERR_LIMIT);
    /* Dotted keys nest as well: a.a.a... = {a.a.a... = {...}} must not pile up. */
    buf_clear(&f->out);
    for (int i = 0; i < 40; i++)
        buf_put_str(&f->out, i ? S("{a.a.a=") : S("a.a.a="));
    assert_false(parse(f, buf_str(&f->out)));
    assert_int_equal(f->e.code, ERR_LIMIT);
}

static size_t depth(const toml_entry *x)
{
    size_t l = x ? depth(x->left) : 0, r = x ? depth(x->right) : 0;
    return x ? 1 + (l > r ? l : r) : 0;
}

/* Keys in order are the worst case of a tree that is not kept balanced. */
static void many_keys(void **state)
{
    fixture *f = *state;
    buf_clear(&f->out);
    for (int i = 0; i < 20000; i++)
        buf_printf(&f->out, "k%05d=%d\n", i, i);
    assert_true(parse(f, buf_str(&f->out)));
    assert_int_equal(f->root->n, 20000);
    assert_in_range(depth(f->root->tree), 14, 30);
    for (int i = 0; i < 20000; i += 997) {
        char key[16];
        snprintf(key, sizeof key, "k%05d", i);
        assert_int_equal(toml_get(f->root, str_from(key))->value.integer, i);
    }
}

static void no_memory(void **state)
{
    fixture *f = *state;
    str text = S("a = \"x\"\n[b]\nc.d = [1, 'y', {e = 2000-01-01}]\n[[g.h]]\ni = 1.5");
    alloc_fail_after(0);
    assert_true(parse(f, text));
    size_t total = alloc_fail_after(0);
    assert_true(total > 10);
    for (size_t i = 1; i <= total; i++) {
        alloc_fail_after(i);
        assert_false(parse(f, text));
        assert_int_equal(f->e.code, ERR_NO_MEMORY);
    }
    alloc_fail_after(0);
}

/* Each length of UTF-8 at its ends, by escapes of both kinds; and what is no character. */
static void escapes(void **state)
{
    static const struct {
        const char *escape, *utf8; /* NULL: refused */
    } cases[] = {
        {"\\u007F", "\x7f"},
        {"\\u0080", "\xc2\x80"},
        {"\\u07FF", "\xdf\xbf"},
        {"\\u0800", "\xe0\xa0\x80"},
        {"\\u20ac", "\xe2\x82\xac"},
        {"\\uD7FF", "\xed\x9f\xbf"},
        {"\\uE000", "\xee\x80\x80"},
        {"\\uFFFF", "\xef\xbf\xbf"},
        {"\\U00010000", "\xf0\x90\x80\x80"},
        {"\\U0010FfFf", "\xf4\x8f\xbf\xbf"},
        {"\\uD800", NULL},
        {"\\uDFFF", NULL},
        {"\\U00110000", NULL},
        {"\\U80000041", NULL},
        {"\\uG041", NULL},
        {"\\u004G", NULL},
        {"\\u041", NULL},
        {"\\U0000041", NULL},
        {"\\u/041", NULL},
        {"\\u:041", NULL},
        {"\\u@041", NULL},
        {"\\u`041", NULL},
    };
    fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[64];
        snprintf(text, sizeof text, "a = \"%s\"", cases[i].escape);
        bool ok = parse(f, str_from(text));
        if (ok != (cases[i].utf8 != NULL))
            fail_msg("%s: %s", text, ok ? "accepted" : f->e.text);
        if (!ok)
            continue;
        const toml_entry *a = toml_get(f->root, S("a"));
        assert_non_null(a);
        assert_int_equal(a->value.string.n, strlen(cases[i].utf8));
        assert_memory_equal(a->value.string.p, cases[i].utf8, strlen(cases[i].utf8));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(values, setup, teardown),
        cmocka_unit_test_setup_teardown(tables, setup, teardown),
        cmocka_unit_test_setup_teardown(positions, setup, teardown),
        cmocka_unit_test_setup_teardown(errors, setup, teardown),
        cmocka_unit_test_setup_teardown(limits, setup, teardown),
        cmocka_unit_test_setup_teardown(many_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(no_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(escapes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
