/* cli/options: parsing, errors that teach, suggestions. */
#include "unit.h"

#include "cli/options.h"

static option *rows(void)
{
    static option table[5];
    const option fresh[] = {
        {"listen", 'l', OPTION_VALUE, "ADDR", "where", "EBB_TEST_LISTEN"},
        {"env", 'e', OPTION_REPEAT, "K=V", "environment"},
        {"json", 0, OPTION_FLAG, NULL, "json"},
        {0},
    };
    memcpy(table, fresh, sizeof fresh);
    return table;
}

static bool parse(arena *a, options *o, const char *const *args, err *e)
{
    char *argv[16] = {"up"};
    int argc = 1;
    for (; args[argc - 1]; argc++)
        argv[argc] = (char *)args[argc - 1];
    *o = (options){.command = "up", .positional = "[PATH]", .options = rows()};
    return options_parse(a, o, argc, argv, e);
}

static void values(void **state)
{
    arena a;
    options o;
    err e;
    arena_init(&a, 1 << 16);
    const char *args[] = {"--listen=:1", "-e", "A=1", "-eB=2", "--json", "dir", NULL};
    assert_true(parse(&a, &o, args, &e));
    assert_string_equal(options_get(&o, "listen")->got, ":1");
    assert_int_equal(options_get(&o, "env")->count, 2);
    assert_string_equal(options_get(&o, "env")->all[0], "A=1");
    assert_string_equal(options_get(&o, "env")->all[1], "B=2");
    assert_true(options_get(&o, "json")->given);
    assert_int_equal(o.positionals_count, 1);
    assert_string_equal(o.positionals[0], "dir");
    arena_fini(&a);
}

static void environment(void **state)
{
    arena a;
    options o;
    err e;
    arena_init(&a, 1 << 16);
    const char *none[] = {NULL}, *given[] = {"--listen", ":2", NULL};
    setenv("EBB_TEST_LISTEN", ":9", 1);
    assert_true(parse(&a, &o, none, &e));
    assert_string_equal(options_get(&o, "listen")->got, ":9");
    assert_true(parse(&a, &o, given, &e));
    assert_string_equal(options_get(&o, "listen")->got, ":2");
    unsetenv("EBB_TEST_LISTEN");
    arena_fini(&a);
}

static void refused(void **state)
{
    static const struct {
        const char *args[3];
        const char *says;
    } cases[] = {
        {{"--lisen", ":1"}, "did you mean '--listen'"},
        {{"--zzzzzzz"}, "'ebb up --help' lists the options"},
        {{"--listen"}, "--listen needs a value: --listen ADDR"},
        {{"--json=1"}, "--json takes no value"},
        {{"-x"}, "unknown option '-x'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        arena a;
        options o;
        err e;
        arena_init(&a, 1 << 16);
        assert_false(parse(&a, &o, cases[i].args, &e));
        assert_non_null(strstr(e.text, cases[i].says));
        arena_fini(&a);
    }
}

static void suggestions(void **state)
{
    static const char *const words[] = {"up", "inspect", "deploy", NULL};
    assert_string_equal(did_you_mean("inspct", words), "inspect");
    assert_string_equal(did_you_mean("deplyo", words), "deploy");
    assert_null(did_you_mean("completely-else", words));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),
        cmocka_unit_test(environment),
        cmocka_unit_test(refused),
        cmocka_unit_test(suggestions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
