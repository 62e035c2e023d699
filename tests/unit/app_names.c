/* app/names: the set of names, and what counts as a mistyped one. */
#include "unit.h"

#include "app/names.h"

static void set(void **state)
{
    arena a;
    names t = {0};
    arena_init(&a, 1 << 20);
    assert_true(names_get(&t, S("a")) == SIZE_MAX);
    for (size_t i = 0; i < 1000; i++)
        assert_true(names_add(&a, &t, arena_printf(&a, "name-%zu", i), i));
    assert_true(names_add(&a, &t, S("name-7"), 5000)); /* keeps its number */
    assert_int_equal(t.n, 1000);
    assert_int_equal(names_get(&t, S("name-7")), 7);
    assert_int_equal(names_get(&t, S("name-999")), 999);
    assert_true(names_get(&t, S("name-1000")) == SIZE_MAX);
    assert_true(names_get(&t, S("")) == SIZE_MAX);
    assert_true(names_add(&a, &t, (str){0}, 1));
    assert_int_equal(names_get(&t, S("")), 1);
    alloc_fail_after(1);
    names empty = {0};
    assert_false(names_add(&a, &empty, S("x"), 1));
    alloc_fail_after(0);
    arena_fini(&a);
}

static void suggestions(void **state)
{
    static const str known[] = {{"source", 6},
                                {"environment", 11},
                                {"files", 5},
                                {"allowed_outbound_hosts", 22},
                                {"id", 2}};
    static const struct {
        const char *wrong, *meant;
    } cases[] = {{"sorce", "source"},
                 {"soruce", "source"}, /* two swapped letters are one mistake */
                 {"fiels", "files"},
                 {"Source", "source"},
                 {"env", NULL},
                 {"envi", "environment"}, /* the beginning of it */
                 {"allowed-outbound-hosts", "allowed_outbound_hosts"},
                 {"file", "files"},
                 {"zzz", NULL},
                 {"x", NULL},
                 {"", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        str got = names_suggest(str_from(cases[i].wrong), known, 5);
        if (!str_eq(got, str_from(cases[i].meant)))
            fail_msg("'%s': '%.*s'", cases[i].wrong, STR(got));
    }
    char longer[200];
    memset(longer, 's', sizeof longer);
    assert_null(names_suggest((str){longer, sizeof longer}, known, 5).p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(set), cmocka_unit_test(suggestions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
