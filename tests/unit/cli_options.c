/* cli/options: parsing, errors that teach, suggestions. */
#include "unit.h"

#include "cli/options.h"

#include <stdio.h>
#include <string.h>

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

/* What ends options, stands alone, or belongs to another command. */
static void positionals(void **state)
{
    arena a;
    options o;
    err e;
    arena_init(&a, 1 << 16);
    const char *dashes[] = {"-", "--", "--json", "-l", NULL};
    assert_true(parse(&a, &o, dashes, &e));
    assert_int_equal(o.positionals_count, 3);
    assert_string_equal(o.positionals[0], "-");
    assert_string_equal(o.positionals[1], "--json");
    assert_string_equal(o.positionals[2], "-l");
    assert_false(options_get(&o, "json")->given);
    const char *eight[] = {"1", "2", "3", "4", "5", "6", "7", "8", NULL, NULL};
    assert_true(parse(&a, &o, eight, &e));
    assert_int_equal(o.positionals_count, 8);
    eight[8] = "9";
    assert_false(parse(&a, &o, eight, &e));
    assert_string_equal(e.text, "too many arguments");
    const char *after[] = {"--", "1", "2", "3", "4", "5", "6", "7", "8", NULL, NULL};
    assert_true(parse(&a, &o, after, &e));
    assert_int_equal(o.positionals_count, 8);
    after[9] = "9";
    assert_false(parse(&a, &o, after, &e));
    assert_null(options_get(&o, "none"));
    options none = {.command = "up", .options = rows()};
    char *argv[] = {(char *)"up", (char *)"x"};
    assert_true(options_parse(&a, &none, 1, argv, &e));
    assert_false(options_parse(&a, &none, 2, argv, &e));
    assert_string_equal(e.text, "unexpected argument 'x'");
    arena_fini(&a);
}

static void rest_of_another(void **state)
{
    static const struct {
        const char *args[6];
        int rest_count;
        const char *rest; /* the first of it */
        bool json;
    } cases[] = {
        {{"--json", "x", "--listen", ":1"}, 0, NULL, true},
        {{"--json", "--unknown", "--json"}, 2, "--unknown", true},
        {{"--unknown=1", "--json"}, 2, "--unknown=1", false},
        {{"-z", "--json"}, 2, "-z", false},
        {{"-l", "--unknown", "--json"}, 0, NULL, true},
        {{"--", "--json"}, 1, "--json", false},
        {{"--json", "--"}, 0, NULL, true},
        {{"--listen=:1", "-e", "A", "-q"}, 1, "-q", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        arena a;
        err e;
        char *argv[8] = {(char *)"up"};
        int argc = 1;
        for (; argc < 7 && cases[i].args[argc - 1]; argc++)
            argv[argc] = (char *)cases[i].args[argc - 1];
        options o = {
            .command = "up", .positional = "[PATH]", .options = rows(), .takes_rest = true};
        arena_init(&a, 1 << 16);
        assert_true(options_parse(&a, &o, argc, argv, &e));
        assert_int_equal(o.rest_count, cases[i].rest_count);
        assert_int_equal(options_get(&o, "json")->given, cases[i].json);
        if (cases[i].rest)
            assert_string_equal(o.rest[0], cases[i].rest);
        arena_fini(&a);
    }
}

static void flags_of_the_environment(void **state)
{
    static const struct {
        const char *value;
        bool given;
    } cases[] = {{"1", true},   {"true", true}, {"", false},  {"0", false}, {"false", false},
                 {"No", false}, {"OFF", false}, {"00", true}, {"x", true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        arena a;
        err e;
        option table[] = {{"flag", 'f', OPTION_FLAG, NULL, "a flag", "EBB_TEST_FLAG", "banner"},
                          {"value", 0, OPTION_VALUE, "N", "a value", "EBB_TEST_FLAG"},
                          {0}};
        options o = {.command = "up", .options = table};
        char *argv[] = {(char *)"up", (char *)"--banner"};
        arena_init(&a, 1 << 16);
        setenv("EBB_TEST_FLAG", cases[i].value, 1);
        assert_true(options_parse(&a, &o, 1, argv, &e));
        assert_int_equal(table[0].given, cases[i].given);
        assert_int_equal(table[1].given, cases[i].value[0] != 0);
        unsetenv("EBB_TEST_FLAG");
        table[0].given = false;
        assert_true(options_parse(&a, &o, 2, argv, &e)); /* by its other name */
        assert_true(table[0].given);
        arena_fini(&a);
    }
}

static void numbers(void **state)
{
    static const struct {
        const char *given;
        bool ok;
    } cases[] = {{"1", true},    {"5", true},   {"2.5", true}, {"0.999", false}, {"5.001", false},
                 {"nan", false}, {"2x", false}, {"", false},   {"x", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        arena a;
        options o;
        err e;
        double v = -7, w = -7;
        char listen[32];
        const option_range ranges[] = {{"env", 0, 1, &w}, {"listen", 1, 5, &v}};
        snprintf(listen, sizeof listen, "--listen=%s", cases[i].given);
        const char *args[] = {listen, NULL};
        arena_init(&a, 1 << 16);
        assert_true(parse(&a, &o, args, &e));
        assert_int_equal(options_numbers(&o, ranges, 2, &e), cases[i].ok);
        assert_true(w == -7); /* it was not given */
        if (cases[i].ok)
            assert_true(v == strtod(cases[i].given, NULL));
        else
            assert_non_null(strstr(e.text, "--listen needs a number from 1 to 5, not '"));
        arena_fini(&a);
    }
}

static void suggestions(void **state)
{
    static const char *const edges[] = {"abcdef", "abcxyz", NULL};
    assert_string_equal(did_you_mean("abcdef", edges), "abcdef");
    assert_string_equal(did_you_mean("abcdxx", edges), "abcdef");
    assert_string_equal(did_you_mean("bcdef", edges), "abcdef");
    assert_string_equal(did_you_mean("aabcdef", edges), "abcdef");
    assert_string_equal(did_you_mean("abxxxf", edges), "abcdef"); /* 3 of 6: under 4 */
    assert_null(did_you_mean("ghijkl", edges));
    assert_null(
        did_you_mean("abcdefghijklmnopqrstuvwxyzabcdefgh", edges)); /* too long to compare */
    static const char *const letters[] = {"a", "bc", NULL};
    assert_string_equal(did_you_mean("b", letters), "a"); /* the first of equals */
    assert_string_equal(did_you_mean("", letters), "a");
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
        cmocka_unit_test(positionals),
        cmocka_unit_test(rest_of_another),
        cmocka_unit_test(flags_of_the_environment),
        cmocka_unit_test(numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
