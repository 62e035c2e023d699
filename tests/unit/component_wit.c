/* WIT text to descriptors: what is understood, layouts of the Canonical ABI, and errors. */
#include "component_kit.h"

#include "component/wit.h"

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

/* Text that ends early is refused, unless a definition ends there: at the places that are marked
 * with a bar. */
static void text_ends_anywhere(void **state)
{
    static const char marked[] =
        "use wasi:io/error@0.2.0.{error as e2, n};|resource r;|type t = list<u8, 3>;|type same = "
        "r;|"
        "record rec { a: option<t>, b: result<_, string> }|variant v { c, d(rec), }|"
        "flags f { x, %type }|enum en { g }|type u = tuple<own<r>, future, stream<u8>>;|";
    char plain[sizeof marked];
    bool ends[sizeof marked] = {false};
    size_t n = 0;
    ends[0] = true;
    for (size_t i = 0; marked[i]; i++)
        if (marked[i] == '|')
            ends[n] = true;
        else
            plain[n++] = marked[i];
    for (size_t i = 0; i <= n; i++) {
        wit_types t = {.count = 77};
        bytes b = exact((bytes){(const uint8_t *)plain, i});
        str text = {(const char *)b.p, i};
        bool ok = wit_types_parse(&a, S("t:t/t@0.2.0"), text, find_io, NULL, &t, &e);
        if (ok != ends[i])
            fail_msg("'%.*s': %s", STR(text), ok ? "taken" : e.text);
        assert_true(ok || (t.count == 77 && e.code == ERR_INVALID));
        free((void *)b.p);
    }
    static const char *const funcs[] = {
        "func(a: u8, b-c: option<list<u8, 4>>, d: tuple<u8, bool>, )|-> list<string>",
        "func(r: borrow<q>, s: own<q>, t: q, u: result<_, u8>)|-> u8",
        "async func()|-> option<u8>",
        "func()|-> tuple<list<u8>>",
        "func()|-> stream",
    };
    wit_types q = types_of("resource q;");
    for (size_t k = 0; k < sizeof funcs / sizeof *funcs; k++) {
        size_t end = (size_t)(strchr(funcs[k], '|') - funcs[k]);
        n = strlen(funcs[k]);
        for (size_t i = 0; i <= n; i++) {
            functype f = {.params_count = 77};
            char copy[100];
            memcpy(copy, funcs[k], i);
            if (i > end)
                copy[end] = ' ';
            bytes b = exact((bytes){(const uint8_t *)copy, i});
            str text = {(const char *)b.p, i};
            bool ok = wit_functype_parse(&a, &q, text, &f, &e);
            bool want = i == n || i == end || i == end + 1;
            if (ok != want)
                fail_msg("'%.*s': %s", STR(text), ok ? "taken" : e.text);
            assert_true(ok || (f.params_count == 77 && e.code == ERR_INVALID));
            free((void *)b.p);
        }
    }
}

/* Each word and sign at a place where another is expected. */
static void tokens_in_wrong_places(void **state)
{
    static const struct {
        const char *types, *func, *says;
    } cases[] = {
        {"u8", NULL, "expected a definition, found 'u8'"},
        {"type = u8;", NULL, "expected a name, found '='"},
        {"type 5 = u8;", NULL, "expected a name, found '5'"},
        {"type a = 5;", NULL, "expected a name, found '5'"},
        {"type a = u8,", NULL, "expected ';', found ','"},
        {"resource;", NULL, "expected a name, found ';'"},
        {"resource r", NULL, "expected ';', found ''"},
        {"record r { a u8 }", NULL, "expected ':', found 'u8'"},
        {"record r { a: u8; }", NULL, "expected '}', found ';'"},
        {"record r { a: u8 b: u8 }", NULL, "expected '}', found 'b'"},
        {"record { a: u8 }", NULL, "expected a name, found '{'"},
        {"record r a: u8", NULL, "expected '{', found 'a'"},
        {"record r { 1: u8 }", NULL, "expected a name, found '1'"},
        {"record r { }", NULL, "at least one field"},
        {"variant v { a(u8 }", NULL, "expected ')', found '}'"},
        {"variant v { a() }", NULL, "expected a name, found ')'"},
        {"enum e { a(u8) }", NULL, "expected '}', found '('"},
        {"flags f { a: u8 }", NULL, "expected '}', found ':'"},
        {"use wasi:io/error@0.2.0.{error}", NULL, "expected ';', found ''"},
        {"use wasi:io/error@0.2.0.{error as};", NULL, "expected a name, found '}'"},
        {"use wasi:io/error@0.2.0.{error n};", NULL, "expected '}', found 'n'"},
        {"use wasi:io/error@0.2.0.{5};", NULL, "expected a name, found '5'"},
        {"use wasi:io/error@0.2.0.{error, error};", NULL, "'error' is defined twice"},
        {"resource r; resource r;", NULL, "'r' is defined twice"},
        {"enum r { a } record r { b: u8 }", NULL, "'r' is defined twice"},
        {"", "func", "expected '(', found ''"},
        {"", "func(5: u8)", "expected a name, found '5'"},
        {"", "func(a u8)", "expected ':', found 'u8'"},
        {"", "func(a: u8", "expected ')', found ''"},
        {"", "func(a: u8 b: u8)", "expected ')', found 'b'"},
        {"", "func() ->", "expected a name, found ''"},
        {"", "func() - u8", "expected the end, found '-'"},
        {"", "async", "expected 'func', found ''"},
        {"", "func(a: own)", "expected '<', found ')'"},
        {"", "func(a: own<none>)", "expected the name of a resource, found 'none'"},
        {"resource q;", "func(a: own<q)", "expected '>', found ')'"},
        {"", "func(a: list)", "expected '<', found ')'"},
        {"", "func(a: option<u8, 3>)", "expected '>', found ','"},
        {"", "func(a: list<u8, u8>)", "expected the length of the list, found 'u8'"},
        {"", "func(a: list<u8, 4294967296>)", "expected the length of the list"},
        {"", "func(a: option<_>)", "expected a type"},
        {"", "func(a: result<u8, string, u8>)", "expected '>', found ','"},
        {"", "func(a: result<>)", "expected a name, found '>'"},
        {"", "func(a: tuple)", "expected '<', found ')'"},
        {"", "func(a: tuple<u8,>)", "expected a name, found '>'"},
        {"", "func(a: tuple<u8 u8>)", "expected '>', found 'u8'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        error_contains(cases[i].types, cases[i].func, cases[i].says);
}

/* As deep as types may be, and one deeper. */
static void depth(void **state)
{
    for (int more = 0; more < 2; more++) {
        buf b;
        functype f;
        wit_types none = types_of("");
        buf_init(&b, MIB);
        buf_printf(&b, "func(a: ");
        for (int i = 0; i < COMPONENT_TYPE_DEPTH_MAX - 1 + more; i++)
            buf_printf(&b, "option<");
        buf_printf(&b, "u8");
        for (int i = 0; i < COMPONENT_TYPE_DEPTH_MAX - 1 + more; i++)
            buf_printf(&b, ">");
        buf_printf(&b, ", b: u8)");
        bool ok = wit_functype_parse(&a, &none, buf_str(&b), &f, &e);
        if (ok == more)
            fail_msg("%d: %s", more, ok ? "taken" : e.text);
        assert_true(ok || e.code == ERR_LIMIT);
        buf_fini(&b);
    }
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
    arena_init(&a, 16 << 20);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_kind),
        cmocka_unit_test(an_alias_of_a_resource_is_that_resource),
        cmocka_unit_test(bare_forms),
        cmocka_unit_test(errors_say_where),
        cmocka_unit_test(text_ends_anywhere),
        cmocka_unit_test(tokens_in_wrong_places),
        cmocka_unit_test(depth),
        cmocka_unit_test(deep_types_are_refused),
        cmocka_unit_test(memory_may_fail_anywhere),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_fini(&a);
    return failed;
}
