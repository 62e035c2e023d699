/* component/type: sizes, alignment, flattening, text, versions. */
#include "unit.h"

#include "component/type.h"

static err e;
static arena a;

static const type *of(type t)
{
    type *copy = ARENA_NEW(&a, type);
    *copy = t;
    assert_true(type_finish(copy, &e));
    return copy;
}

static const type_field *fields(size_t n, ...)
{
    type_field *f = ARENA_ARRAY(&a, type_field, n);
    va_list ap;
    va_start(ap, n);
    for (size_t i = 0; i < n; i++) {
        f[i].name = str_from(va_arg(ap, const char *));
        f[i].type = va_arg(ap, const type *);
    }
    va_end(ap);
    return f;
}

#define P(k) type_primitive(TYPE_##k)

static void record_layout(void **state)
{
    const type *t =
        of((type){.kind = TYPE_RECORD,
                  .fields_count = 4,
                  .fields = fields(4, "a", P(U8), "b", P(U64), "c", P(U16), "d", P(STRING))});
    assert_int_equal(t->align, 8);
    assert_int_equal(t->size, 32);
    assert_int_equal(type_field_offset(t, 0), 0);
    assert_int_equal(type_field_offset(t, 1), 8);
    assert_int_equal(type_field_offset(t, 2), 16);
    assert_int_equal(type_field_offset(t, 3), 20);
    core_type flat[16];
    assert_int_equal(type_flatten(t, flat, 16), 5);
    assert_int_equal(flat[0], CORE_I32);
    assert_int_equal(flat[1], CORE_I64);
    assert_int_equal(flat[4], CORE_I32);
    assert_true(t->has_pointer);
    assert_str(type_text(&a, t), "record { a: u8, b: u64, c: u16, d: string }");
}

static void variant_layout(void **state)
{
    const type *t =
        of((type){.kind = TYPE_VARIANT,
                  .fields_count = 4,
                  .fields = fields(4, "x", P(F32), "y", NULL, "z", P(U32), "w", P(F64))});
    core_type flat[16];
    assert_int_equal(t->size, 16);
    assert_int_equal(t->align, 8);
    assert_int_equal(t->payload_at, 8);
    assert_int_equal(type_flatten(t, flat, 16), 2);
    assert_int_equal(flat[1], CORE_I64); /* f32 joins u32 to i32, and f64 to i64 */
    assert_str(type_text(&a, t), "variant { x(f32), y, z(u32), w(f64) }");
    t = of((type){
        .kind = TYPE_VARIANT, .fields_count = 2, .fields = fields(2, "x", P(F32), "z", P(U32))});
    type_flatten(t, flat, 16);
    assert_int_equal(flat[1], CORE_I32);
    t = of((type){
        .kind = TYPE_VARIANT, .fields_count = 2, .fields = fields(2, "x", P(F64), "z", NULL)});
    type_flatten(t, flat, 16);
    assert_int_equal(flat[1], CORE_F64);
    t = of((type){.kind = TYPE_OPTION, .elem = P(U8)});
    assert_int_equal(t->size, 2);
    t = of((type){.kind = TYPE_RESULT,
                  .fields_count = 2,
                  .fields = fields(2, "ok", NULL, "error", P(STRING))});
    assert_int_equal(t->size, 12);
    assert_str(type_text(&a, t), "result<_, string>");
}

static void discriminants(void **state)
{
    const type_field *f = ARENA_ARRAY(&a, type_field, 65537);
    assert_int_equal(of((type){.kind = TYPE_ENUM, .fields = f, .fields_count = 256})->size, 1);
    assert_int_equal(of((type){.kind = TYPE_ENUM, .fields = f, .fields_count = 257})->size, 2);
    assert_int_equal(of((type){.kind = TYPE_ENUM, .fields = f, .fields_count = 65537})->size, 4);
    assert_int_equal(of((type){.kind = TYPE_FLAGS, .fields = f, .fields_count = 8})->size, 1);
    assert_int_equal(of((type){.kind = TYPE_FLAGS, .fields = f, .fields_count = 9})->size, 2);
    assert_int_equal(of((type){.kind = TYPE_FLAGS, .fields = f, .fields_count = 32})->size, 4);
    type t = {.kind = TYPE_FLAGS, .fields = f, .fields_count = 33};
    assert_false(type_finish(&t, &e));
}

static void limits(void **state)
{
    type t = {.kind = TYPE_LIST, .elem = P(U64), .length_fixed = 1u << 25};
    assert_false(type_finish(&t, &e));
    assert_non_null(strstr(e.text, "exceeds maximum byte size"));
    t = (type){.kind = TYPE_LIST, .elem = P(STRING), .length_fixed = 1u << 24};
    assert_false(type_finish(&t, &e)); /* fits with 32-bit pointers, not with 64-bit ones */
    const type *deep = P(U8);
    for (int i = 0; i < 100; i++)
        deep = of((type){.kind = TYPE_OPTION, .elem = deep});
    t = (type){.kind = TYPE_OPTION, .elem = deep};
    assert_false(type_finish(&t, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    const type *wide = P(U8); /* doubles as a tree, not in memory */
    for (int i = 0; i < 17; i++)
        wide = of(
            (type){.kind = TYPE_TUPLE, .fields_count = 2, .fields = fields(2, "", wide, "", wide)});
    t = (type){.kind = TYPE_TUPLE, .fields_count = 2, .fields = fields(2, "", wide, "", wide)};
    assert_true(type_finish(&t, &e));
    wide = of(t);
    t = (type){.kind = TYPE_TUPLE, .fields_count = 2, .fields = fields(2, "", wide, "", wide)};
    assert_false(type_finish(&t, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    str text = type_text(&a, wide);
    assert_true(text.n <= 4000 && str_ends(text, S("...")));
}

static void signatures(void **state)
{
    core_signature s;
    functype f = {
        .params = fields(2, "a", P(STRING), "b", P(F64)), .params_count = 2, .result = P(STRING)};
    assert_true(functype_lower_signature(&f, &s, &e));
    assert_int_equal(s.params_count, 4);
    assert_true(s.results_spilled && !s.params_spilled);
    assert_int_equal(s.params[2], CORE_F64);
    assert_int_equal(s.results_count, 0);
    assert_true(functype_lift_signature(&f, &s, &e));
    assert_int_equal(s.params_count, 3);
    assert_int_equal(s.results_count, 1);
    assert_int_equal(s.results[0], CORE_I32);
    const type *nine = of((type){.kind = TYPE_LIST, .elem = P(U64), .length_fixed = 9});
    f = (functype){.params = fields(2, "a", nine, "b", nine), .params_count = 2, .result = P(F32)};
    assert_true(functype_lower_signature(&f, &s, &e));
    assert_true(s.params_spilled);
    assert_int_equal(s.params_count, 1);
    assert_int_equal(s.params[0], CORE_I32);
    assert_int_equal(s.results[0], CORE_F32);
    f = (functype){.params = fields(2, "a", P(STRING), "b", P(U64)),
                   .params_count = 2,
                   .result = P(U8),
                   .async = true};
    functype_signature(&f, false, true, false, &s);
    assert_int_equal(s.params_count, 4); /* three flat and the place of the result */
    assert_true(s.results_spilled);
    assert_int_equal(s.results_count, 1);
    functype_signature(&f, true, true, true, &s);
    assert_int_equal(s.params_count, 3);
    assert_int_equal(s.results_count, 1);
    functype_signature(&f, true, true, false, &s);
    assert_int_equal(s.results_count, 0);
}

static void equality(void **state)
{
    resource_type r1 = {.interface = S("wasi:io/streams@0.2.3"), .name = S("input-stream")};
    resource_type r2 = {.interface = S("wasi:io/streams@0.2.0"), .name = S("input-stream")};
    resource_type r3 = {.interface = S("wasi:io/streams@0.3.0"), .name = S("input-stream")};
    resource_type r4 = {.name = S("r")}, r5 = {.name = S("r")};
    const type *t1 = of((type){.kind = TYPE_OWN, .resource = &r1});
    assert_true(type_equal(t1, of((type){.kind = TYPE_OWN, .resource = &r2})));
    assert_false(type_equal(t1, of((type){.kind = TYPE_OWN, .resource = &r3})));
    assert_false(type_equal(t1, of((type){.kind = TYPE_BORROW, .resource = &r1})));
    assert_false(type_equal(of((type){.kind = TYPE_OWN, .resource = &r4}),
                            of((type){.kind = TYPE_OWN, .resource = &r5})));
    const type *x =
        of((type){.kind = TYPE_RECORD, .fields_count = 1, .fields = fields(1, "a", P(U8))});
    const type *y =
        of((type){.kind = TYPE_RECORD, .fields_count = 1, .fields = fields(1, "a", P(U8))});
    const type *z =
        of((type){.kind = TYPE_RECORD, .fields_count = 1, .fields = fields(1, "b", P(U8))});
    assert_true(type_equal(x, y));
    assert_false(type_equal(x, z));
    functype f = {.params = fields(1, "self", t1), .params_count = 1, .result = x};
    functype g = {.params = fields(1, "self", t1), .params_count = 1, .result = y};
    assert_true(functype_equal(&f, &g));
    assert_str(functype_text(&a, &f), "func(self: own<input-stream>) -> record { a: u8 }");
    g.async = true;
    assert_false(functype_equal(&f, &g));
}

static void versions(void **state)
{
    interface_name n = interface_name_parse(S("wasi:io/streams@0.2.3"));
    assert_str(n.path, "wasi:io/streams");
    assert_str(n.version, "0.2.3");
    assert_int_equal(interface_name_parse(S("a:b/c")).version.n, 0);
    assert_true(interface_compatible(S("a:b/c@0.2.0"), S("a:b/c@0.2.9")));
    assert_true(interface_compatible(S("a:b/c@1.0.0"), S("a:b/c@1.9.9")));
    assert_false(interface_compatible(S("a:b/c@0.2.0"), S("a:b/c@0.3.0")));
    assert_false(interface_compatible(S("a:b/c@1.0.0"), S("a:b/c@2.0.0")));
    assert_false(interface_compatible(S("a:b/c@0.0.1"), S("a:b/c@0.0.2")));
    assert_true(interface_compatible(S("a:b/c@0.0.1"), S("a:b/c@0.0.1")));
    assert_false(interface_compatible(S("a:b/c@0.2.0-rc-2023-11-10"), S("a:b/c@0.2.0")));
    assert_true(
        interface_compatible(S("a:b/c@0.2.0-rc-2023-11-10"), S("a:b/c@0.2.0-rc-2023-11-10")));
    assert_true(interface_compatible(S("wasi:b/c@0.2.0"), S("wasi:b/c@0.2.0-rc-2023-11-10")));
    assert_true(interface_compatible(S("wasi:b/c@0.2.0-rc-2023-11-10"), S("wasi:b/c@0.2.12")));
    assert_false(interface_compatible(S("wasi:b/c@0.2.0-rc-2023-10-18"), S("wasi:b/c@0.2.0")));
    assert_false(interface_compatible(S("a:b/c@0.2.0"), S("a:b/d@0.2.0")));
    assert_false(interface_compatible(S("a:b/c"), S("a:b/c@0.2.0")));
    assert_true(interface_compatible(S("a:b/c"), S("a:b/c")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_layout), cmocka_unit_test(variant_layout),
        cmocka_unit_test(discriminants), cmocka_unit_test(limits),
        cmocka_unit_test(signatures),    cmocka_unit_test(equality),
        cmocka_unit_test(versions),
    };
    arena_init(&a, 64 << 20);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_fini(&a);
    return failed;
}
