/* The tables parse, rows are unique, and binding a made-up plan explains what does not fit. */
#include "unit.h"

#include "host/host.h"
#include "host/tables.h"

/* The engine, as far as linking asks for it: nothing here calls a guest. */
static arena a;
static err e;

static void tables_parse(void **state)
{
    uint32_t count = 0;
    if (!host_init(&e))
        fail_msg("%s", e.text);
    assert_true(host_init(&e));
    const host_parsed *t = host_tables(&count);
    assert_true(count > 30);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < t[i].funcs_count; k++)
            for (uint32_t j = 0; j < k; j++) /* one name twice: two types */
                assert_false(!strcmp(t[i].rows[k]->name, t[i].rows[j]->name) &&
                             functype_equal(&t[i].funcs[k], &t[i].funcs[j]));
}

static void versions_of_a_track_are_one(void **state)
{
    assert_non_null(host_tables_find(S("wasi:io/streams@0.2.3")));
    assert_ptr_equal(host_tables_find(S("wasi:io/streams@0.2.12")),
                     host_tables_find(S("wasi:io/streams@0.2.0")));
    assert_null(host_tables_find(S("wasi:io/streams@0.3.0")));
    assert_ptr_equal(host_tables_find(S("wasi:io/streams@0.2.0-rc-2023-11-10")),
                     host_tables_find(S("wasi:io/streams@0.2.0")));
    assert_null(host_tables_find(S("wasi:io/streams@0.2.0-rc-2023-10-18")));
    assert_non_null(host_tables_find(S("fermyon:spin/config")));
    assert_non_null(host_tables_resource(S("wasi:io/streams@0.2.6"), S("input-stream")));
    assert_null(host_tables_resource(S("wasi:io/streams@0.2.6"), S("error")));
}

/* A resource is listed for every `resource` statement. */
static void every_resource_is_listed(void **state)
{
    uint32_t count;
    const host_parsed *t = host_tables(&count);
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < t[i].types.count; k++) {
            const wit_name *n = &t[i].types.names[k];
            if (n->resource && str_eq(n->resource->interface, t[i].name))
                assert_non_null(host_tables_resource(t[i].name, n->resource->name));
        }
}

static functype func_of(str interface, const char *text)
{
    functype f;
    if (!wit_functype_parse(&a, &host_tables_find(interface)->types, str_from(text), &f, &e))
        fail_msg("%s", e.text);
    return f;
}

static host_missing missing_of(plan_import i, const functype *f)
{
    plan_unit unit = {.imports = &i, .imports_count = 1};
    plan p = {.units = &unit, .units_count = 1};
    host_binding *b;
    const host_missing *m = NULL;
    size_t n = 0;
    i.kind = CANON_HOST;
    i.type = f;
    i.options = (plan_options){.memory = 0, .realloc = 0};
    functype_lower_signature(f, &i.signature);
    if (!host_bind(&a, &p, &b, &m, &n, &e))
        fail_msg("%s", e.text);
    assert_int_equal(host_bind(&a, &p, &b, NULL, NULL, &e), n == 0);
    assert_non_null(host_binding_imports(b, 0));
    return n ? m[0] : (host_missing){0};
}

static void contains(str s, const char *part)
{
    if (!s.p || !memmem(s.p, s.n, part, strlen(part)))
        fail_msg("'%s' is not in: %.*s", part, STR(s));
}

static void binding_explains(void **state)
{
    functype exit_f = func_of(S("wasi:cli/exit@0.2.0"), "func(status: result)");
    functype other = func_of(S("wasi:cli/exit@0.2.0"), "func(status: u8)");
    host_missing m = missing_of(
        (plan_import){.interface = S("wasi:cli/exit@0.2.9"), .name = S("exit")}, &exit_f);
    assert_int_equal(m.reason.n, 0);
    m = missing_of((plan_import){.interface = S("wasi:cli/exit@0.2.9"), .name = S("exit")}, &other);
    contains(m.reason, "func(status: u8)");
    contains(m.reason, "func(status: result)");
    m = missing_of((plan_import){.interface = S("wasi:cli/exit@0.2.9"), .name = S("leave")},
                   &other);
    contains(m.reason, "exit, exit-with-code");
    m = missing_of((plan_import){.interface = S("wasi:cli/exit@0.3.0"), .name = S("exit")},
                   &exit_f);
    contains(m.reason, "another version");
    m = missing_of((plan_import){.interface = S("wasi:cli/nothing@0.2.0"), .name = S("x")},
                   &exit_f);
    contains(m.reason, "of wasi:cli ebb offers wasi:cli/environment@0.2.0");
    m = missing_of((plan_import){.interface = S("a:b/c"), .name = S("x")}, &exit_f);
    contains(m.reason, "not offered");
}

static void the_handler_is_found(void **state)
{
    functype f = func_of(S("wasi:http/types@0.2.0"),
                         "func(request: incoming-request, response-out: response-outparam)");
    functype g = func_of(S("wasi:http/types@0.2.0"), "func(request: incoming-request)");
    plan_name x[] = {
        {.interface = S("wasi:http/incoming-handler@0.2.3"),
         .name = S("handle"),
         .type = &f,
         .unit = 3,
         .lift = 7},
        {.interface = S("wasi:http/incoming-handler@0.2.0"), .name = S("handle"), .type = &f}};
    plan p = {.exports = x, .exports_count = 1};
    uint32_t unit = 0, lift = 0;
    assert_true(host_http_handler(&p, &unit, &lift, &e));
    assert_true(unit == 3 && lift == 7);
    p.exports_count = 2;
    assert_false(host_http_handler(&p, &unit, &lift, &e));
    assert_int_equal(e.code, ERR_INVALID);
    p.exports_count = 0;
    assert_false(host_http_handler(&p, &unit, &lift, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    p.exports_count = 1;
    x[0].type = &g;
    assert_false(host_http_handler(&p, &unit, &lift, &e));
    x[0].interface = S("wasi:http/handler@0.3.0");
    assert_false(host_http_handler(&p, &unit, &lift, &e));
    contains(str_from(e.text), "WASI 0.3");
}

int main(void)
{
    arena_init(&a, 1 << 20);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_parse),
        cmocka_unit_test(versions_of_a_track_are_one),
        cmocka_unit_test(every_resource_is_listed),
        cmocka_unit_test(binding_explains),
        cmocka_unit_test(the_handler_is_found),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_fini(&a);
    return failed;
}
