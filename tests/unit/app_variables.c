/* app/template and app/variables. */
#include "unit.h"

#include "app/manifest.h"
#include "app/template.h"
#include "app/variables.h"
#include "base/limits.h"

typedef struct {
    arena a;
    app *app;
    app_pairs values;
    err e;
} fixture;

static const char manifest[] =
    "spin_manifest_version = 2\n"
    "[application]\nname = 'v'\n"
    "[variables]\n"
    "host = { default = 'example.com' }\n"
    "key = { required = true, secret = true }\n"
    "empty = { default = '' }\n"
    "[[trigger.http]]\nroute = '/'\ncomponent = 'web'\n"
    "[component.web]\nsource = 'w.wasm'\n"
    "[component.web.variables]\n"
    "url = 'https://{{ host }}/{{key}}'\nplain = 'x'\nnothing = '{{ empty }}'\n";

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    arena_init(&f->a, 64 * MIB);
    manifest_options o = {.file = S("spin.toml")};
    if (!manifest_read(&f->a, str_from(manifest), &o, &f->app, &f->e))
        fail_msg("%s", f->e.text);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    arena_fini(&f->a);
    free(f);
    return 0;
}

static void templates(void **state)
{
    fixture *f = *state;
    template t;
    assert_true(template_parse(&f->a, S("a{b}{{ c }}}}{{d}}"), &t, &f->e));
    assert_int_equal(t.n, 4);
    assert_str(t.parts[0].text, "a{b}");
    assert_false(t.parts[0].is_name);
    assert_str(t.parts[1].text, "c");
    assert_true(t.parts[1].is_name);
    assert_str(t.parts[2].text, "}}");
    assert_str(t.parts[3].text, "d");
    assert_false(t.is_literal);
    assert_true(template_parse(&f->a, S(""), &t, &f->e));
    assert_int_equal(t.n, 0);
    assert_true(t.is_literal);
    assert_false(template_parse(&f->a, S("ab{{ c }"), &t, &f->e));
    assert_string_equal(f->e.text, "'{{' at byte 3 has no closing '}}'");
}

static bool broken_get(void *ctx, arena *a, str name, str *ret_value, err *e)
{
    return err_set(e, ERR_IO, "vault is sealed");
}

static variable_status get(fixture *f, const variable_provider *p, size_t n, str name, str *value)
{
    variable_providers providers = {p, n};
    return variable_get(f->app, &f->app->components[0], providers, name, &f->a, value, &f->e);
}

static void resolution(void **state)
{
    fixture *f = *state;
    app_pairs first = {0}, second = {0};
    str v;
    app_pairs_add(&f->a, &first, S("key"), S("k1"));
    app_pairs_add(&f->a, &second, S("key"), S("k2"));
    app_pairs_add(&f->a, &second, S("host"), S(""));
    variable_provider p[] = {variable_provider_static(&first), variable_provider_static(&second)};
    assert_int_equal(get(f, p, 1, S("url"), &v), VARIABLE_OK);
    assert_str(v, "https://example.com/k1");
    assert_int_equal(get(f, p, 2, S("url"), &v), VARIABLE_OK);
    assert_str(v, "https:///k1"); /* a provider's empty value is a value */
    assert_int_equal(get(f, NULL, 0, S("plain"), &v), VARIABLE_OK);
    assert_str(v, "x");
    assert_int_equal(get(f, NULL, 0, S("nothing"), &v), VARIABLE_OK);
    assert_str(v, "");
    assert_int_equal(get(f, NULL, 0, S("url"), &v), VARIABLE_UNDEFINED);
    assert_int_equal(get(f, p, 1, S("key"), &v), VARIABLE_UNDEFINED); /* the app's, not its own */
    assert_non_null(strstr(f->e.text, "[component.web.variables]"));
    static const char *const bad[] = {"Invalid", "a-b", "a!b", "4a", "a__b", "a_", "_a", ""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(get(f, p, 1, str_from(bad[i]), &v), VARIABLE_INVALID_NAME);
    p[0] = (variable_provider){broken_get, NULL};
    assert_int_equal(get(f, p, 1, S("url"), &v), VARIABLE_PROVIDER);
    assert_string_equal(f->e.text, "variable 'host': vault is sealed");
}

/* What is said of an app's variable that has no value, is none, or grows without end. */
static void of_the_app(void **state)
{
    fixture *f = *state;
    app_pairs values = {0};
    variable_provider p = variable_provider_static(&values);
    variable_providers all = {&p, 1};
    str v = S("untouched");
    assert_int_equal(variable_app_get(f->app, all, S("key"), &f->a, &v, &f->e), VARIABLE_UNDEFINED);
    assert_int_equal(f->e.code, ERR_NOT_FOUND);
    assert_string_equal(f->e.text, "no provider has a value for 'key' and it has no default");
    assert_int_equal(variable_app_get(f->app, all, S("other"), &f->a, &v, &f->e),
                     VARIABLE_UNDEFINED);
    assert_string_equal(f->e.text, "the app has no variable 'other'");
    assert_int_equal(variable_app_get(f->app, all, S("A"), &f->a, &v, &f->e),
                     VARIABLE_INVALID_NAME);
    assert_int_equal(f->e.code, ERR_INVALID);
    assert_string_equal(f->e.text, "'A' is not a variable name");
    assert_str(v, "untouched");
    assert_int_equal(variable_app_get(f->app, all, S("host"), &f->a, &v, &f->e), VARIABLE_OK);
    assert_str(v, "example.com");
    assert_int_equal(variable_expand(f->app, all, S("a{{ host }}b"), &f->a, &v, &f->e),
                     VARIABLE_OK);
    assert_str(v, "aexample.comb");
    assert_int_equal(variable_expand(f->app, all, S("a{{ host"), &f->a, &v, &f->e), VARIABLE_OTHER);
    assert_int_equal(variable_expand(f->app, all, S("{{ key }}"), &f->a, &v, &f->e),
                     VARIABLE_UNDEFINED);
    assert_str(v, "aexample.comb");
    /* exactly as long as a value may be, and a byte more */
    for (size_t more = 0; more < 2; more++) {
        char *text = malloc(VARIABLE_VALUE_BYTES_MAX + 1);
        assert_non_null(text);
        memset(text, 'x', VARIABLE_VALUE_BYTES_MAX + 1);
        memcpy(text, "{{host}}", 8); /* 8 bytes become 11 */
        str all_of_it = {text, VARIABLE_VALUE_BYTES_MAX - 3 + more};
        assert_int_equal(variable_expand(f->app, all, all_of_it, &f->a, &v, &f->e),
                         more ? VARIABLE_OTHER : VARIABLE_OK);
        if (more)
            assert_int_equal(f->e.code, ERR_LIMIT);
        else
            assert_int_equal(v.n, VARIABLE_VALUE_BYTES_MAX);
        free(text);
    }
}

static void required(void **state)
{
    fixture *f = *state;
    app_pairs values = {0};
    variable_provider p = variable_provider_static(&values);
    assert_false(variables_check(f->app, (variable_providers){&p, 1}, &f->a, &f->e));
    assert_string_equal(f->e.text, "no value for the required variable key; give it with "
                                   "--variable key=VALUE or SPIN_VARIABLE_... in the environment");
    app_pairs_add(&f->a, &values, S("key"), S("k"));
    assert_true(variables_check(f->app, (variable_providers){&p, 1}, &f->a, &f->e));
}

static str fake_env(void *ctx, const char *name)
{
    return strcmp(name, "SPIN_VARIABLE_KEY") ? (str){0} : S("from env");
}

static void environment(void **state)
{
    fixture *f = *state;
    variable_env env = {S("SPIN_VARIABLE"), fake_env, NULL};
    variable_provider p = variable_provider_env(&env);
    str v;
    assert_int_equal(get(f, &p, 1, S("url"), &v), VARIABLE_OK);
    assert_str(v, "https://example.com/from env");
}

static bool fake_read(void *ctx, arena *a, str path, str *ret, err *e)
{
    if (str_eq(path, S("secret.txt")))
        *ret = S("line\n");
    else if (str_eq(path, S("v.json")))
        *ret = S("{\"a\": \"x\", \"b\": 3, \"c\": true}");
    else if (str_eq(path, S("v.toml")))
        *ret = S("a = 'y'\nd = 1.5\n");
    else if (str_eq(path, S("bad.json")))
        *ret = S("{\"a\": [1]}");
    else if (str_eq(path, S("bad.toml")))
        *ret = S("a = 1\nb = []");
    else
        return err_set(e, ERR_NOT_FOUND, "no file");
    return true;
}

static bool arg(fixture *f, const char *text)
{
    return variable_arg_parse(&f->a, str_from(text), fake_read, NULL, &f->values, &f->e);
}

static void arguments(void **state)
{
    fixture *f = *state;
    assert_true(arg(f, "a=1=2"));
    assert_str(*app_pairs_get(&f->values, S("a")), "1=2");
    assert_true(arg(f, "a=@secret.txt"));
    assert_str(*app_pairs_get(&f->values, S("a")), "line\n");
    assert_true(arg(f, "@v.json"));
    assert_str(*app_pairs_get(&f->values, S("a")), "x");
    assert_str(*app_pairs_get(&f->values, S("b")), "3");
    assert_str(*app_pairs_get(&f->values, S("c")), "true");
    assert_true(arg(f, "@v.toml"));
    assert_str(*app_pairs_get(&f->values, S("a")), "y");
    assert_str(*app_pairs_get(&f->values, S("d")), "1.5");
    assert_true(arg(f, "e="));
    assert_str(*app_pairs_get(&f->values, S("e")), "");
    assert_int_equal(f->values.n, 5);
    assert_false(arg(f, "novalue"));
    assert_non_null(strstr(f->e.text, "expected name=value"));
    assert_false(arg(f, "A=1"));
    assert_false(arg(f, "a=@missing"));
    assert_false(arg(f, "@v.yaml"));
    assert_false(arg(f, "@bad.json"));
    assert_non_null(strstr(f->e.text, "'a' must be a string"));
    assert_false(arg(f, "@bad.toml"));
    assert_non_null(strstr(f->e.text, "bad.toml:2:1: 'b' must be a string"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(templates, setup, teardown),
        cmocka_unit_test_setup_teardown(resolution, setup, teardown),
        cmocka_unit_test_setup_teardown(of_the_app, setup, teardown),
        cmocka_unit_test_setup_teardown(required, setup, teardown),
        cmocka_unit_test_setup_teardown(environment, setup, teardown),
        cmocka_unit_test_setup_teardown(arguments, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
