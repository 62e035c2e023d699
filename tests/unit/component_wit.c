/* WIT text to descriptors: what is understood, layouts of the Canonical ABI, and errors. */
#include "unit.h"

#include "component/wit.h"

static arena a;
static err e;

static const wit_types *find_io(void *user, str interface)
{
    static wit_types io;
    if (!str_eq(interface, S("wasi:io/error@0.2.0")))
        return NULL;
    if (!io.count)
        assert_true(wit_types_parse(&a, interface, S("resource error; type n = u16;"), NULL, NULL,
                                    &io, &e));
    return &io;
}

static wit_types types_of(const char *text)
{
    wit_types t;
    if (!wit_types_parse(&a, S("t:t/t@0.2.0"), str_from(text), find_io, NULL, &t, &e))
        fail_msg("%s", e.text);
    return t;
}

static functype func_of(const char *types, const char *text)
{
    wit_types t = types_of(types);
    functype f;
    if (!wit_functype_parse(&a, &t, str_from(text), &f, &e))
        fail_msg("%s", e.text);
    return f;
}

static void error_contains(const char *types, const char *func, const char *part)
{
    wit_types t = {0};
    functype f;
    e.text[0] = 0;
    bool ok = wit_types_parse(&a, S("t:t/t@0.2.0"), str_from(types), find_io, NULL, &t, &e) &&
              (!func || wit_functype_parse(&a, &t, str_from(func), &f, &e));
    assert_false(ok);
    if (!strstr(e.text, part))
        fail_msg("'%s' is not in: %s", part, e.text);
}

static void reads_every_kind(void **state)
{
    functype f = func_of("resource pipe; type len = u64;\n"
                         "use wasi:io/error@0.2.0.{error as io-error, n};\n"
                         "enum colour { red, green }\n"
                         "flags bits { one, two, %type }\n"
                         "record pair { left: len, %right: option<colour>, }\n"
                         "variant v { none, some(pair), text(string), }",
                         "func(a: borrow<pipe>, b: pipe, c: v, d: list<u8, 4>, e: n, f: bits,\n"
                         "  g: tuple<f32, char>, h: io-error) -> result<_, v>");
    assert_int_equal(f.params_count, 8);
    assert_int_equal(f.params[0].type->kind, TYPE_BORROW);
    assert_int_equal(f.params[1].type->kind, TYPE_OWN);
    assert_ptr_equal(f.params[0].type->resource, f.params[1].type->resource);
    assert_str(f.params[0].type->resource->interface, "t:t/t@0.2.0");
    const type *v = f.params[2].type;
    assert_int_equal(v->fields_count, 3);
    assert_null(v->fields[0].type);
    assert_str(v->fields[1].type->fields[1].name, "right");
    assert_int_equal(v->size, 24); /* discriminant, 8-aligned pair of 8 + 2 */
    assert_int_equal(v->payload_at, 8);
    assert_int_equal(f.params[3].type->length_fixed, 4);
    assert_int_equal(f.params[3].type->size, 4);
    assert_int_equal(f.params[4].type->kind, TYPE_U16);
    assert_int_equal(f.params[5].type->fields_count, 3);
    assert_str(f.params[5].type->fields[2].name, "type");
    assert_str(f.params[7].type->resource->name, "error");
    assert_str(f.params[7].type->resource->interface, "wasi:io/error@0.2.0");
    assert_null(f.result->fields[0].type);
    assert_ptr_equal(f.result->fields[1].type, v);
}

static void an_alias_of_a_resource_is_that_resource(void **state)
{
    functype f =
        func_of("resource fields; type headers = fields;", "func(a: borrow<headers>) -> headers");
    assert_ptr_equal(f.params[0].type->resource, f.result->resource);
    assert_int_equal(f.result->kind, TYPE_OWN);
}

static void bare_forms(void **state)
{
    functype f = func_of("", "async func() -> result<list<u8>>");
    assert_true(f.async);
    assert_int_equal(f.params_count, 0);
    assert_int_equal(f.result->fields[0].type->kind, TYPE_LIST);
    f = func_of("", "func(s: stream<u8>, f: future) -> result");
    assert_false(f.async);
    assert_null(f.params[1].type->elem);
    assert_int_equal(f.result->size, 1);
    assert_null(func_of("", "func(a: bool,)").result);
}

static void errors_say_where(void **state)
{
    error_contains("type a u8;", NULL, "t:t/t@0.2.0:1:8: expected '=', found 'u8'");
    error_contains("type a = u8;\ntype a = u16;", NULL, "'a' is defined twice");
    error_contains("record r {\n  a: nothing }", NULL, "'nothing' is not defined");
    error_contains("use wasi:io/none@0.2.0.{x};", NULL, "no interface 'wasi:io/none@0.2.0'");
    error_contains("use wasi:io/error@0.2.0.{x};", NULL, "'x' is not defined in wasi:io/error");
    error_contains("", "func(a: borrow<u8>)", "the name of a resource");
    error_contains("", "func(a: list<_>)", "expected a type");
    error_contains("", "func() -> u8 u8", "expected the end");
    error_contains("", "fun()", "expected 'func'");
    error_contains("", "func(a: option<u8)", "expected '>'");
    error_contains("", "func(a: list<u8, 0>)", "length of the list");
}

static void deep_types_are_refused(void **state)
{
    char text[4000] = "func(a: ";
    for (int i = 0; i < 400; i++)
        strcat(text, "option<");
    strcat(text, "u8");
    error_contains("", text, "nested more than");
}

/* Every allocation in turn fails, of parsing and of writing back: an error, and nothing lost. */
static void memory_may_fail_anywhere(void **state)
{
    static const char text[] =
        "use wasi:io/error@0.2.0.{error, n as m}; record r { a: u8, b: m }"
        "variant v { c, d(r), e(list<string>) } flags f { x, y }"
        "enum g { h, i } type k = tuple<v, f, g, option<error>>; resource q;";
    static const char func[] = "func(self: borrow<q>, k: k, r: result<r, error>) -> list<q>";
    wit_types warm; /* what `use` names is parsed once */
    assert_true(wit_types_parse(&a, S("t:t/t@0.2.0"), S(text), find_io, NULL, &warm, &e));
    bool ok = false;
    for (size_t n = 1; !ok; n++) {
        arena inner;
        wit_types t = {.count = 77};
        functype f = {.params_count = 77};
        str out = {0};
        arena_init(&inner, 1 << 20);
        alloc_fail_after(n);
        bool typed = wit_types_parse(&inner, S("t:t/t@0.2.0"), S(text), find_io, NULL, &t, &e);
        bool parsed = typed && wit_functype_parse(&inner, &t, S(func), &f, &e);
        if (parsed)
            out = functype_text(&inner, &f);
        ok = alloc_fail_after(0) < n;
        assert_true(parsed || e.code == ERR_NO_MEMORY);
        assert_true(typed || t.count == 77);
        assert_true(parsed || f.params_count == 77);
        assert_true(!ok || str_starts(out, S("func(self: borrow<q>, k: tuple<")));
        arena_fini(&inner);
        assert_true(n < 10000);
    }
}

int main(void)
{
    arena_init(&a, 1 << 20);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_kind),
        cmocka_unit_test(an_alias_of_a_resource_is_that_resource),
        cmocka_unit_test(bare_forms),
        cmocka_unit_test(errors_say_where),
        cmocka_unit_test(deep_types_are_refused),
        cmocka_unit_test(memory_may_fail_anywhere),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_fini(&a);
    return failed;
}
