/* component/names: the grammar of import and export names, what is read out of them, and when two
 * of them clash. component/table: what is put in is found, and nothing else. */
#include "component_kit.h"

#include "component/names.h"
#include "component/table.h"

static int reset(void **state)
{
    arena_reset(&a);
    return 0;
}

/* Exactly as long as the text, for the address sanitizer. */
static str exact_str(const char *s)
{
    bytes b = exact((bytes){(const uint8_t *)s, strlen(s)});
    return (str){(const char *)b.p, b.n};
}

static void labels(void **state)
{
    static const char *const good[] = {"a",   "A",      "z0",          "Z9",    "a-B-1c",
                                       "ab",  "a-0",    "a0-000-3d4a", "A-b-C", "a0-000-3d4a-54FF",
                                       "a-1", "abz-AZ0"};
    static const char *const bad[] = {
        "",    "-",    "-a",      "a-",         "a--b", "0",  "0a", "aB", "a_b", "a.b", "a b",
        "a:b", "A-aB", "a0-3d4A", "a-\xc3\xa9", "a`",   "a{", "a@", "a[", "a/b", "/a",  "1-a"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        str s = exact_str(good[i]);
        if (!label_valid(s))
            fail_msg("'%s' is no label", good[i]);
        free((void *)s.p);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        str s = exact_str(bad[i]);
        if (label_valid(s))
            fail_msg("'%s' is a label", bad[i]);
        free((void *)s.p);
    }
}

static void versions(void **state)
{
    static const char *const good[] = {
        "0.0.0",
        "1.2.3",
        "10.20.30",
        "1.2.3-a",
        "1.2.3-0",
        "1.2.3-a.0",
        "1.2.3-0a",
        "1.2.3-01a",
        "1.2.3-a-b",
        "1.2.3+05",
        "1.2.3-x+y",
        "1.2.3--",
        "1.2.3+a.b",
        "1.2.3-A.Z.a.z",
        "18446744073709551615.0.0",
        "1.2.3+-",
        "1.2.3-alpha.1+build.05",
    };
    static const char *const bad[] = {
        "",           "1",
        "1.2",        "1.2.3.4",
        "1.2.",       ".1.2",
        "01.2.3",     "1.02.3",
        "1.2.03",     "1.2.3-",
        "1.2.3+",     "1.2.3-01",
        "1.2.3-a..b", "1.2.3-a.01",
        "1.2.3-a_",   "1.2.3+a+b",
        "a.b.c",      "1.2.x",
        "-1.2.3",     "1.2.3 ",
        "1..3",       "00.0.0",
        "1.2.3-.a",   "1.2.3+.",
        "1.2.3-a.",   "18446744073709551616.0.0",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        str s = exact_str(good[i]);
        if (!semver_valid(s))
            fail_msg("'%s' is no version", good[i]);
        free((void *)s.p);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        str s = exact_str(bad[i]);
        if (semver_valid(s))
            fail_msg("'%s' is a version", bad[i]);
        free((void *)s.p);
    }
}

static void extern_names(void **state)
{
    static const struct {
        const char *text, *suffix;
        name_kind kind;
        const char *why, *resource, *function; /* why NULL: it is a name */
    } cases[] = {
        {"a-b", "", NAME_LABEL, NULL, NULL, NULL},
        {"a_b", "", NAME_LABEL, "not in kebab-case", NULL, NULL},
        {"", "", NAME_LABEL, "not in kebab-case", NULL, NULL},
        {"[foo]a", "", NAME_LABEL, "not in kebab-case", NULL, NULL},
        {"[constructor]a-b", "", NAME_CONSTRUCTOR, NULL, "a-b", NULL},
        {"[constructor]", "", NAME_CONSTRUCTOR, "the resource is not in kebab-case", "", NULL},
        {"[constructor]a.b", "", NAME_CONSTRUCTOR, "the resource is not in kebab-case", "a.b",
         NULL},
        {"[method]a-b.c", "", NAME_METHOD, NULL, "a-b", "c"},
        {"[static]a.B-c", "", NAME_STATIC, NULL, "a", "B-c"},
        {"[method]a", "", NAME_METHOD, "expected 'resource.function' in kebab-case", "a", NULL},
        {"[method]a.", "", NAME_METHOD, "expected 'resource.function' in kebab-case", "a", ""},
        {"[method].a", "", NAME_METHOD, "expected 'resource.function' in kebab-case", "", "a"},
        {"[method]a.b.c", "", NAME_METHOD, "expected 'resource.function' in kebab-case", "a",
         "b.c"},
        {"[static]a.b_", "", NAME_STATIC, "expected 'resource.function' in kebab-case", "a", "b_"},
        {"[static]a_.b", "", NAME_STATIC, "expected 'resource.function' in kebab-case", "a_", "b"},
        {"url=<x>", "", NAME_DEPENDENCY, NULL, NULL, NULL},
        {"integrity=<x>", "", NAME_DEPENDENCY, NULL, NULL, NULL},
        {"locked-dep=<a:b>", "", NAME_DEPENDENCY, NULL, NULL, NULL},
        {"unlocked-dep=<a:b>", "", NAME_DEPENDENCY, NULL, NULL, NULL},
        {"a:b/c", "", NAME_INTERFACE, NULL, NULL, NULL},
        {"a-b:c-d/E-f", "", NAME_INTERFACE, NULL, NULL, NULL},
        {"a:b/c@1.2.3", "", NAME_INTERFACE, NULL, NULL, NULL},
        {"a:b/c@1", ".2.3", NAME_INTERFACE, NULL, NULL, NULL},
        {"a:b/c@1.2.3", "-x", NAME_INTERFACE, NULL, NULL, NULL},
        {"a:b/c@", "1.2.3", NAME_INTERFACE, NULL, NULL, NULL},
        {"a:b", "", NAME_INTERFACE, "expected '/' after the package name", NULL, NULL},
        {"a:b@1.0.0", "", NAME_INTERFACE, "expected '/' after the package name", NULL, NULL},
        {"a:b/", "", NAME_INTERFACE, "the interface is not in kebab-case", NULL, NULL},
        {"a:b/c/d", "", NAME_INTERFACE, "trailing characters", NULL, NULL},
        {"a:b/c_", "", NAME_INTERFACE, "trailing characters", NULL, NULL},
        {":b/c", "", NAME_INTERFACE, "a package name is 'namespace:name' in lower-case kebab-case",
         NULL, NULL},
        {"a:/c", "", NAME_INTERFACE, "a package name is 'namespace:name' in lower-case kebab-case",
         NULL, NULL},
        {"A:b/c", "", NAME_INTERFACE, "a package name is 'namespace:name' in lower-case kebab-case",
         NULL, NULL},
        {"a:B/c", "", NAME_INTERFACE, "a package name is 'namespace:name' in lower-case kebab-case",
         NULL, NULL},
        {"a/b:c", "", NAME_INTERFACE, "a package name is 'namespace:name' in lower-case kebab-case",
         NULL, NULL},
        {"a:b/c@1", "", NAME_INTERFACE, "the version is not a semantic version", NULL, NULL},
        {"a:b/c@", "", NAME_INTERFACE, "the version is not a semantic version", NULL, NULL},
        {"a:b/c@1", ".2", NAME_INTERFACE, "the version is not a semantic version", NULL, NULL},
        {"a:b/c", "1.2.3", NAME_INTERFACE, "a version suffix needs a version", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        extern_name n;
        str s = exact_str(cases[i].text), suffix = exact_str(cases[i].suffix);
        const char *why = extern_name_parse(s, suffix, &n);
        if (!why != !cases[i].why || (why && strcmp(why, cases[i].why) != 0))
            fail_msg("'%s': %s", cases[i].text, why ? why : "taken");
        assert_int_equal(n.kind, cases[i].kind);
        if (cases[i].resource)
            assert_true(str_eq(n.resource, str_from(cases[i].resource)));
        if (cases[i].function)
            assert_true(str_eq(n.function, str_from(cases[i].function)));
        free((void *)s.p);
        free((void *)suffix.p);
    }
    /* a version of 256 bytes, and one more */
    char text[300] = "a:b/c@1.0.0-", suffix[2] = "x";
    extern_name n;
    for (size_t i = strlen(text); i < 6 + 255; i++)
        text[i] = 'x';
    assert_null(extern_name_parse(str_from(text), str_from(suffix), &n));
    text[6 + 255] = 'x';
    assert_string_equal(extern_name_parse(str_from(text), str_from(suffix), &n),
                        "the version is too long");
    assert_null(extern_name_parse(str_from(text), S(""), &n));
}

static str key_of(const char *text)
{
    extern_name n;
    assert_null(extern_name_parse(str_from(text), S(""), &n));
    str key = extern_name_key(&a, str_from(text), &n);
    assert_non_null(key.p);
    return key;
}

static void clashes(void **state)
{
    static const struct {
        const char *one, *other;
        bool clash;
    } cases[] = {
        {"a-b", "A-B", true},
        {"a-b", "a-B", true},
        {"a-b", "a-c", false},
        {"[constructor]a", "[constructor]A", true},
        {"[constructor]a", "a", false},
        {"[method]a.b", "[static]a.b", true},
        {"[method]a.b", "[method]A.B", true},
        {"[method]a.b", "[method]b.a", false},
        {"[method]a.a", "a", true},
        {"[static]a.A", "a", true},
        {"[method]a.b", "a", false},
        {"a:b/c", "a:b/C", true},
        {"a:b/c@1.0.0", "a:b/C@1.0.0", true},
        {"a:b/c@1.0.0", "a:b/c@2.0.0", false},
        {"a:b/c@1.0.0-x", "a:b/c@1.0.0-X", false},
        {"a:b/c", "a:b/c@1.0.0", false},
        {"url=<x>", "url=<X>", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (str_eq(key_of(cases[i].one), key_of(cases[i].other)) != cases[i].clash)
            fail_msg("'%s' and '%s'", cases[i].one, cases[i].other);
    assert_str(key_of("[static]a.A"), "a");
    assert_str(key_of("A-z-Z"), "a-z-z");
    static const char *const names[] = {"a", "[method]a.b", "[method]a.a", "a:b/c", "a:b/c@1.0.0"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        for (size_t n = 1;; n++) {
            extern_name parsed;
            assert_null(extern_name_parse(str_from(names[i]), S(""), &parsed));
            alloc_fail_after(n);
            str key = extern_name_key(&a, str_from(names[i]), &parsed);
            if (alloc_fail_after(0) < n)
                break;
            assert_null(key.p);
        }
}

/* Names and pointers side by side, many of them, and names that differ in little. */
static void tables(void **state)
{
    enum { MANY = 2000 };
    table names = {0}, pointers = {0};
    uint64_t steps = 0;
    const void **at;
    static char keys[MANY][16];
    for (int i = 0; i < MANY; i++) {
        snprintf(keys[i], sizeof keys[i], "%d", i);
        assert_null(table_get(&names, str_from(keys[i]), &steps));
        assert_true(table_at(&a, &names, str_from(keys[i]), &steps, &at));
        assert_null(*at);
        *at = keys[i];
        assert_null(table_get_pointer(&pointers, keys[i], &steps));
        assert_true(table_at_pointer(&a, &pointers, keys[i], &steps, &at));
        assert_null(*at);
        *at = &keys[i][1];
    }
    for (int i = 0; i < MANY; i++) {
        str copy = exact_str(keys[i]);
        assert_ptr_equal(table_get(&names, copy, &steps), keys[i]);
        assert_true(table_at(&a, &names, copy, &steps, &at));
        assert_ptr_equal(*at, keys[i]);
        assert_ptr_equal(table_get_pointer(&pointers, keys[i], &steps), &keys[i][1]);
        assert_null(table_get_pointer(&pointers, copy.p, &steps));
        assert_null(table_get_pointer(&names, keys[i], &steps));
        free((void *)copy.p);
    }
    assert_true(steps > MANY && steps < MANY * 200);
    assert_null(table_get(&names, S(""), &steps));
    /* an empty name is a name; a zero byte is part of one */
    assert_true(table_at(&a, &names, S(""), &steps, &at));
    *at = keys;
    assert_ptr_equal(table_get(&names, S(""), &steps), keys);
    assert_null(table_get(&names, (str){"1\0", 2}, &steps));
    /* a step for each 32 bytes of a name, and at least one for each node */
    char whole[320];
    memset(whole, 'x', sizeof whole);
    table none = {0};
    steps = 0;
    assert_null(table_get(&none, (str){whole, sizeof whole}, &steps));
    assert_int_equal(steps, 10);
    table one = {0};
    assert_true(table_at(&a, &one, S("x"), &steps, &at));
    *at = keys;
    steps = 0;
    table_get(&one, S("x"), &steps);
    assert_int_equal(steps, 1);
    alloc_fail_after(1);
    assert_false(table_at(&a, &one, S("y"), &steps, &at));
    alloc_fail_after(0);
    assert_null(table_get(&one, S("y"), &steps));
}

static void vectors(void **state)
{
    VEC(uint32_t) v = {0};
    for (uint32_t i = 0; i < 1000; i++)
        assert_true(vec_push(&a, &v, i));
    assert_int_equal(v.n, 1000);
    assert_int_equal(v.cap, 1024);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(v.p[i], i);
    while (v.n < v.cap)
        assert_true(vec_push(&a, &v, 7));
    const uint32_t *before = v.p;
    alloc_fail_after(1);
    bool grown = vec_push(&a, &v, 8);
    alloc_fail_after(0);
    assert_true(grown || (v.n == 1024 && v.p == before));
    VEC(uint32_t) full = {.n = UINT32_MAX, .cap = UINT32_MAX};
    assert_false(vec_push(&a, &full, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(labels, reset),       cmocka_unit_test_setup(versions, reset),
        cmocka_unit_test_setup(extern_names, reset), cmocka_unit_test_setup(clashes, reset),
        cmocka_unit_test_setup(tables, reset),       cmocka_unit_test_setup(vectors, reset),
    };
    arena_init(&a, 64 * MIB);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_fini(&a);
    return failed;
}
