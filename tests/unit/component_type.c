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
    functype_lower_signature(&f, &s);
    assert_int_equal(s.params_count, 4);
    assert_true(s.results_spilled && !s.params_spilled);
    assert_int_equal(s.params[2], CORE_F64);
    assert_int_equal(s.results_count, 0);
    functype_signature(&f, true, false, false, &s);
    assert_int_equal(s.params_count, 3);
    assert_int_equal(s.results_count, 1);
    assert_int_equal(s.results[0], CORE_I32);
    const type *nine = of((type){.kind = TYPE_LIST, .elem = P(U64), .length_fixed = 9});
    f = (functype){.params = fields(2, "a", nine, "b", nine), .params_count = 2, .result = P(F32)};
    functype_lower_signature(&f, &s);
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

/* Each part of a type, and of a function, tells two apart. */
static void every_part_counts(void **state)
{
    resource_type r = {.interface = S("a:b/c@1.0.0"), .name = S("r")},
                  named = {.interface = S("a:b/c@1.0.0"), .name = S("q")};
    type_field one = {S("a"), P(U8)}, two = {S("a"), P(U16)}, none = {S("a"), NULL};
    const type *pair = of(
        (type){.kind = TYPE_TUPLE, .fields_count = 2, .fields = fields(2, "", P(U8), "", P(U8))});
    const type *all[] = {
        P(U8),
        P(S8),
        P(STRING),
        of((type){.kind = TYPE_RECORD, .fields = &one, .fields_count = 1}),
        of((type){.kind = TYPE_RECORD, .fields = &two, .fields_count = 1}),
        of((type){.kind = TYPE_TUPLE, .fields = &one, .fields_count = 1}),
        of((type){.kind = TYPE_VARIANT, .fields = &one, .fields_count = 1}),
        of((type){.kind = TYPE_VARIANT, .fields = &none, .fields_count = 1}),
        of((type){.kind = TYPE_ENUM, .fields = &none, .fields_count = 1}),
        of((type){.kind = TYPE_LIST, .elem = P(U8)}),
        of((type){.kind = TYPE_LIST, .elem = P(S8)}),
        of((type){.kind = TYPE_LIST, .elem = P(U8), .length_fixed = 2}),
        of((type){.kind = TYPE_LIST, .elem = P(U8), .length_fixed = 3}),
        of((type){.kind = TYPE_LIST, .elem = pair}),
        of((type){.kind = TYPE_LIST, .elem = pair, .is_map = true}),
        of((type){.kind = TYPE_OPTION, .elem = P(U8)}),
        of((type){.kind = TYPE_STREAM, .elem = P(U8)}),
        of((type){.kind = TYPE_STREAM}),
        of((type){.kind = TYPE_FUTURE}),
        of((type){.kind = TYPE_OWN, .resource = &r}),
        of((type){.kind = TYPE_OWN, .resource = &named}),
        of((type){.kind = TYPE_BORROW, .resource = &r}),
        NULL,
    };
    enum { ALL = sizeof all / sizeof *all };
    for (size_t i = 0; i < ALL; i++)
        for (size_t k = 0; k < ALL; k++) {
            type copy = all[i] ? *all[i] : (type){0};
            assert_int_equal(type_equal(all[i] ? &copy : NULL, all[k]), i == k);
        }
    functype f = {.params = &one, .params_count = 1, .result = P(U8)}, g = f;
    assert_true(functype_equal(&f, &f));
    assert_true(functype_equal(&f, &g));
    g.params_count = 0;
    assert_false(functype_equal(&f, &g));
    assert_false(functype_equal(&g, &f));
    g = f;
    g.params = &two;
    assert_false(functype_equal(&f, &g));
    type_field other = {S("b"), P(U8)};
    g.params = &other;
    assert_false(functype_equal(&f, &g));
    g = f;
    g.result = NULL;
    assert_false(functype_equal(&f, &g));
    g.result = P(U16);
    assert_false(functype_equal(&f, &g));
}

static void texts(void **state)
{
    resource_type r = {.name = S("input-stream")}, anonymous = {0};
    const type *pair = of((type){
        .kind = TYPE_TUPLE, .fields_count = 2, .fields = fields(2, "", P(CHAR), "", P(F64))});
    const struct {
        const type *t;
        const char *text;
    } all[] = {
        {P(BOOL), "bool"},
        {P(S64), "s64"},
        {P(ERROR_CONTEXT), "error-context"},
        {pair, "tuple<char, f64>"},
        {of((type){.kind = TYPE_LIST, .elem = pair}), "list<tuple<char, f64>>"},
        {of((type){.kind = TYPE_LIST, .elem = pair, .is_map = true}), "map<char, f64>"},
        {of((type){.kind = TYPE_LIST, .elem = P(U8), .length_fixed = 7}), "list<u8, 7>"},
        {of((type){.kind = TYPE_OPTION, .elem = P(S16)}), "option<s16>"},
        {of((type){.kind = TYPE_STREAM}), "stream"},
        {of((type){.kind = TYPE_STREAM, .elem = P(U8)}), "stream<u8>"},
        {of((type){.kind = TYPE_FUTURE, .elem = P(F32)}), "future<f32>"},
        {of((type){.kind = TYPE_OWN, .resource = &r}), "own<input-stream>"},
        {of((type){.kind = TYPE_BORROW, .resource = &r}), "borrow<input-stream>"},
        {of((type){.kind = TYPE_OWN, .resource = &anonymous}), "own<_>"},
        {of((type){
             .kind = TYPE_ENUM, .fields_count = 2, .fields = fields(2, "a", NULL, "b", NULL)}),
         "enum { a, b }"},
        {of((type){.kind = TYPE_FLAGS, .fields_count = 1, .fields = fields(1, "a", NULL)}),
         "flags { a }"},
        {of((type){.kind = TYPE_RESULT,
                   .fields_count = 2,
                   .fields = fields(2, "ok", NULL, "error", NULL)}),
         "result"},
        {of((type){.kind = TYPE_RESULT,
                   .fields_count = 2,
                   .fields = fields(2, "ok", P(U8), "error", NULL)}),
         "result<u8>"},
        {of((type){.kind = TYPE_RESULT,
                   .fields_count = 2,
                   .fields = fields(2, "ok", P(U8), "error", P(U32))}),
         "result<u8, u32>"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        str text = type_text(&a, all[i].t);
        assert_int_equal(text.n, strlen(all[i].text));
        assert_memory_equal(text.p, all[i].text, text.n);
    }
    functype f = {.params = fields(2, "a", P(U8), "b", P(STRING)), .params_count = 2};
    assert_str(functype_text(&a, &f), "func(a: u8, b: string)");
    f = (functype){.async = true, .result = P(BOOL)};
    assert_str(functype_text(&a, &f), "async func() -> bool");
}

/* Sizes, alignment and core types of each kind (CanonicalABI.md), as numbers. */
static void layouts(void **state)
{
    resource_type r = {.name = S("r")};
    const type *odd = of((type){.kind = TYPE_RECORD,
                                .fields_count = 3,
                                .fields = fields(3, "a", P(U16), "b", P(U8), "c", P(U8))});
    const struct {
        const type *t;
        uint32_t size, align, flat, payload_at, size_i64, align_i64;
        bool pointer, resource, borrow;
    } all[] = {
        {odd, 4, 2, 3, 0, 4, 2, false, false, false},
        {P(STRING), 8, 4, 2, 0, 16, 8, true, false, false},
        {of((type){.kind = TYPE_LIST, .elem = odd}), 8, 4, 2, 0, 16, 8, true, false, false},
        {of((type){.kind = TYPE_LIST, .elem = odd, .length_fixed = 3}), 12, 2, 9, 0, 12, 2, false,
         false, false},
        {of((type){.kind = TYPE_OPTION, .elem = odd}), 6, 2, 4, 2, 6, 2, false, false, false},
        {of((type){.kind = TYPE_OPTION, .elem = P(STRING)}), 12, 4, 3, 4, 24, 8, true, false,
         false},
        {of((type){.kind = TYPE_RESULT,
                   .fields_count = 2,
                   .fields = fields(2, "ok", P(U64), "error", P(U8))}),
         16, 8, 2, 8, 16, 8, false, false, false},
        {of((type){.kind = TYPE_RESULT,
                   .fields_count = 2,
                   .fields = fields(2, "ok", NULL, "error", NULL)}),
         1, 1, 1, 1, 1, 1, false, false, false},
        {of((type){.kind = TYPE_OWN, .resource = &r}), 4, 4, 1, 0, 4, 4, false, true, false},
        {of((type){.kind = TYPE_BORROW, .resource = &r}), 4, 4, 1, 0, 4, 4, false, true, true},
        {of((type){.kind = TYPE_STREAM, .elem = P(U8)}), 4, 4, 1, 0, 4, 4, false, false, false},
        {of((type){.kind = TYPE_TUPLE,
                   .fields_count = 2,
                   .fields =
                       fields(2, "", P(U8), "", of((type){.kind = TYPE_BORROW, .resource = &r}))}),
         8, 4, 2, 0, 8, 4, false, true, true},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const type *t = all[i].t;
        if (t->size != all[i].size || t->align != all[i].align || t->flat_count != all[i].flat ||
            t->payload_at != all[i].payload_at || t->size_i64 != all[i].size_i64 ||
            t->align_i64 != all[i].align_i64 || t->has_pointer != all[i].pointer ||
            t->has_resource != all[i].resource || t->has_borrow != all[i].borrow)
            fail_msg("%zu: %u %u %u %u %u %u %d%d%d", i, t->size, t->align, t->flat_count,
                     t->payload_at, t->size_i64, t->align_i64, t->has_pointer, t->has_resource,
                     t->has_borrow);
    }
    assert_int_equal(type_field_offset(odd, 1), 2);
    assert_int_equal(type_field_offset(odd, 2), 3);
}

/* Exactly what still goes, and one more. */
static void bounds(void **state)
{
    const struct {
        const type *elem;
        uint32_t most;
    } lists[] = {{P(U8), (1u << 28) - 1}, {P(U64), (1u << 25) - 1}, {P(STRING), (1u << 24) - 1}};
    for (size_t i = 0; i < 3; i++)
        for (uint32_t more = 0; more < 2; more++) {
            type t = {
                .kind = TYPE_LIST, .elem = lists[i].elem, .length_fixed = lists[i].most + more};
            assert_int_equal(type_finish(&t, &e), !more);
        }
    core_signature s;
    type_field p[18];
    for (uint32_t i = 0; i < 18; i++)
        p[i] = (type_field){S("p"), P(F32)};
    for (uint32_t n = 0; n < 18; n++) {
        functype f = {.params = p, .params_count = n};
        for (int lift = 0; lift < 2; lift++)
            for (int async = 0; async < 2; async++) {
                uint32_t most = async && !lift ? 4 : 16;
                functype_signature(&f, lift, async, false, &s);
                assert_int_equal(s.params_spilled, n > most);
                assert_int_equal(s.params_count, n > most ? 1 : n);
                for (uint32_t i = 0; i < s.params_count; i++)
                    assert_int_equal(s.params[i], n > most ? CORE_I32 : CORE_F32);
                assert_false(s.results_spilled);
                assert_int_equal(s.results_count, async && !lift);
            }
    }
    functype f = {.result = P(STRING)};
    functype_signature(&f, false, false, false, &s);
    assert_int_equal(s.params_count, 1);
    assert_int_equal(s.params[0], CORE_I32);
    assert_int_equal(s.results_count, 0);
    f.result = P(F64);
    functype_signature(&f, true, false, false, &s);
    assert_int_equal(s.results_count, 1);
    assert_int_equal(s.results[0], CORE_F64);
    functype_signature(&f, false, true, false, &s);
    assert_int_equal(s.results[0], CORE_I32);
    assert_int_equal(s.params_count, 1);
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
        cmocka_unit_test(record_layout),     cmocka_unit_test(variant_layout),
        cmocka_unit_test(discriminants),     cmocka_unit_test(limits),
        cmocka_unit_test(signatures),        cmocka_unit_test(equality),
        cmocka_unit_test(every_part_counts), cmocka_unit_test(texts),
        cmocka_unit_test(layouts),           cmocka_unit_test(bounds),
        cmocka_unit_test(versions),
    };
    arena_init(&a, 64 << 20);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_fini(&a);
    return failed;
}
