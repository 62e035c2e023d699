/* component/plan: what a worker refuses in a plan that it is given, each with its words, and what
 * lies exactly at a bound and is taken. Two units, the inner one called by the outer one. */
#include "unit.h"

#include "component/plan.h"

#include "base/limits.h"

#include <stdio.h>
#include <string.h>

static err e;

static const resource_type own_type = {.name = {"r", 1}, .index = 1};
static type pair, wide;

/* One plan, of which each case changes something. */
static struct {
    plan p;
    plan_unit units[2];
    plan_resource resources[2];
    plan_import imports[4];
    plan_lift lifts[2];
    plan_name exports[2], names[1];
    functype f, g;
    type_field params[20], results[2];
    type t; /* of g's parameter */
} x;

static const type *u32(void) { return type_primitive(TYPE_U32); }
static const type *text(void) { return type_primitive(TYPE_STRING); }

static void make(void)
{
    memset(&x, 0, sizeof x);
    x.t = (type){.kind = TYPE_LIST, .elem = u32()};
    x.params[0] = (type_field){S("p"), u32()};
    x.f = (functype){.params = x.params, .params_count = 1, .result = u32()};
    x.results[0] = (type_field){S("q"), &x.t};
    x.g = (functype){.params = x.results, .params_count = 1};
    x.resources[0] = (plan_resource){
        .interface = S("a:b/c"), .name = S("i"), .imported = true, .unit = UINT32_MAX};
    x.resources[1] = (plan_resource){.name = S("r"), .unit = 0, .has_dtor = true};
    plan_options all = {.encoding = ENCODING_UTF16};
    x.imports[0] = (plan_import){
        .kind = CANON_LIFTED, .type = &x.f, .name = S("inner"), .options = all, .unit = 0};
    x.imports[1] = (plan_import){
        .kind = CANON_HOST, .interface = S("a:b/c"), .name = S("f"), .type = &x.g, .options = all};
    x.imports[2] = (plan_import){.kind = CANON_RESOURCE_DROP, .resource = 1, .options = all};
    x.imports[3] = (plan_import){.kind = CANON_BUILTIN, .name = S("task.return"), .options = all};
    for (int i = 0; i < 2; i++) {
        x.lifts[i] = (plan_lift){.type = &x.f, .options = all, .label = S("l")};
        x.units[i] = (plan_unit){.label = S("u"),
                                 .parent = i ? UINT32_MAX : 1,
                                 .lifts = &x.lifts[i],
                                 .lifts_count = 1,
                                 .memories_count = 1,
                                 .reallocs_count = 1,
                                 .globals_count = 3,
                                 .withheld = i ? 0 : COMPOSITION_FILES};
    }
    x.units[1].imports = x.imports;
    x.units[1].imports_count = 4;
    x.exports[0] = (plan_name){.name = S("e"), .type = &x.f, .unit = 1};
    x.exports[1] = (plan_name){.name = S("again"), .type = &x.f, .unit = UINT32_MAX, .lift = 7};
    x.names[0] = (plan_name){.interface = S("a:b/c"), .name = S("f"), .type = &x.g};
    x.p = (plan){x.units, 2, x.resources, 2, x.names, x.exports, 1, 2};
}

static bool decodes(buf *encoded)
{
    plan q = {.units_count = 77};
    arena inner;
    arena_init(&inner, 64 * MIB);
    e = (err){0};
    bool ok = plan_decode(&inner, buf_bytes(encoded), &q, &e);
    if (ok) { /* nothing was lost */
        assert_int_equal(q.units_count, 2);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(q.units[i].withheld, x.units[i].withheld);
            assert_int_equal(q.units[i].parent, x.units[i].parent);
            assert_int_equal(q.units[i].imports_count, x.units[i].imports_count);
            assert_int_equal(q.units[i].globals_count, x.units[i].globals_count);
        }
        assert_int_equal(q.exports_count, 2);
        assert_int_equal(q.imports_count, 1);
        assert_int_equal(q.exports[1].lift, x.exports[1].lift);
    } else {
        assert_int_equal(q.units_count, 77);
        assert_int_equal(e.code, ERR_INVALID);
    }
    arena_fini(&inner);
    return ok;
}

/* text NULL: it is taken. */
static void expect(const char *what, const char *want)
{
    buf encoded;
    buf_init(&encoded, 64 * MIB);
    if (!plan_encode(&x.p, &encoded, &e))
        fail_msg("%s: %s", what, e.text);
    bool ok = decodes(&encoded);
    buf_fini(&encoded);
    if (ok != !want || (want && !strstr(e.text, want)))
        fail_msg("%s: %s", what, ok ? "taken" : e.text);
}

/* Changes one thing in the plan above, and says what comes of it. */
#define CASE(change, want)                                                                         \
    do {                                                                                           \
        make();                                                                                    \
        change;                                                                                    \
        expect(#change, want);                                                                     \
    } while (0)

static void references(void **state)
{
    static const char parent[] = "plan: the parent of a component instance is out of range",
                      call[] = "plan: a call between component instances is out of range",
                      export[] = "plan: an export is out of range",
                      owner[] = "plan: a resource belongs to no unit",
                      resource[] = "plan: a resource is out of range";
    CASE((void)0, NULL);
    CASE(x.units[0].parent = UINT32_MAX, NULL);
    CASE(x.units[0].parent = 0, parent);
    CASE(x.units[0].parent = 2, parent);
    CASE(x.units[1].parent = 1, parent);
    CASE(x.units[1].parent = 0, parent);
    CASE(x.imports[0].unit = 1, NULL);
    CASE(x.imports[0].unit = 2, call);
    CASE(x.imports[0].lift = 1, call);
    CASE((x.imports[1].unit = 9, x.imports[1].lift = 9), NULL); /* the host's */
    CASE(x.exports[0].unit = 0, NULL);
    CASE(x.exports[0].unit = 2, export);
    CASE(x.exports[0].lift = 1, export);
    CASE((x.names[0].unit = 9, x.names[0].lift = 9), NULL); /* of no import */
    CASE(x.resources[1].unit = 1, NULL);
    CASE(x.resources[1].unit = 2, owner);
    CASE(x.resources[1].unit = UINT32_MAX, NULL);
    CASE(x.resources[0].unit = 2, NULL);
    CASE(x.imports[2].resource = 0, NULL);
    CASE(x.imports[2].resource = 2, resource);
    CASE((x.imports[2].kind = CANON_RESOURCE_NEW, x.imports[2].resource = 2), resource);
    CASE((x.imports[2].kind = CANON_RESOURCE_REP, x.imports[2].resource = 2), resource);
    CASE(x.imports[3].resource = 2, NULL);
}

static void options(void **state)
{
    static const char range[] = "plan: an option is out of range",
                      memory[] = "plan: a function needs a memory and has none",
                      realloc_[] = "plan: a function needs a realloc and has none";
    CASE(x.imports[0].options.memory = 1, range);
    CASE(x.imports[0].options.realloc = 1, range);
    CASE(x.imports[3].options.realloc = 1, range);
    CASE(x.lifts[0].options.memory = 1, range);
    CASE(x.lifts[1].options.realloc = 1, range);
    CASE(x.lifts[1].options.realloc = INT32_MAX, range);
    CASE(x.units[1].reallocs_count = 0, range);
    CASE(x.units[0].memories_count = 0, range);
    /* numbers are in no memory */
    CASE((x.imports[0].options.memory = PLAN_NONE, x.imports[0].options.realloc = PLAN_NONE), NULL);
    CASE((x.lifts[0].options.memory = PLAN_NONE, x.lifts[0].options.realloc = PLAN_NONE), NULL);
    /* the guest passes a list: a memory; it gets one: a realloc, too */
    CASE(x.imports[1].options.realloc = PLAN_NONE, NULL);
    CASE(x.imports[1].options.memory = PLAN_NONE, memory);
    CASE((x.g.result = text(), x.imports[1].options.realloc = PLAN_NONE), realloc_);
    CASE((x.f.result = text(), x.lifts[0].options.realloc = x.lifts[1].options.realloc = PLAN_NONE),
         NULL);
    CASE((x.f.result = text(), x.lifts[0].options.memory = PLAN_NONE), memory);
    CASE((x.params[0].type = text(), x.lifts[0].options.realloc = PLAN_NONE), realloc_);
    CASE((x.params[0].type = text(), x.lifts[1].options.memory = PLAN_NONE), memory);
    CASE((x.params[1] = (type_field){S("t"), text()}, x.f.params_count = 2,
          x.lifts[1].options.realloc = PLAN_NONE),
         realloc_);
    /* sixteen numbers fit, one more goes by memory */
    for (uint32_t n = 16; n <= 17; n++) {
        for (int lift = 0; lift < 2; lift++) {
            make();
            for (uint32_t i = 0; i < n; i++)
                x.params[i] = (type_field){S("n"), u32()};
            x.f.params_count = n;
            plan_options *o = lift ? &x.lifts[1].options : &x.imports[0].options;
            o->realloc = PLAN_NONE;
            expect("parameters without realloc", lift && n == 17 ? realloc_ : NULL);
            o->memory = PLAN_NONE;
            expect("parameters without memory", n == 17 ? memory : NULL);
        }
    }
    /* and so do two results */
    for (int lift = 0; lift < 2; lift++) {
        make();
        x.f.result = &pair;
        plan_options *o = lift ? &x.lifts[1].options : &x.imports[0].options;
        o->realloc = PLAN_NONE;
        expect("results without realloc", NULL);
        o->memory = PLAN_NONE;
        expect("results without memory", memory);
    }
}

static void functions(void **state)
{
    CASE(x.imports[1].type = NULL, "plan: a function has no type");
    CASE(x.imports[0].type = NULL, "plan: a function has no type");
    CASE(x.imports[3].type = NULL, NULL);
    CASE(x.lifts[1].type = NULL, "plan: a lifted function has no type");
    CASE(x.params[0].type = NULL, "plan: a type is out of range");
    CASE(x.f.result = NULL, NULL);
    CASE(x.imports[3].kind = CANON_TRAP, NULL);
    CASE(x.imports[3].kind = (canon_kind)(CANON_TRAP + 1), "plan: a flag is out of range");
    CASE(x.lifts[1].has_post_return = true, NULL);
    CASE(x.lifts[1].has_callback = true, NULL);
    CASE(x.imports[0].options.encoding = ENCODING_LATIN1_UTF16, NULL);
    CASE(x.imports[0].options.encoding = (string_encoding)(ENCODING_LATIN1_UTF16 + 1),
         "plan: a flag is out of range");
    CASE(x.units[0].withheld = COMPOSITION_ALL, NULL);
    CASE(x.units[0].withheld = COMPOSITION_ALL + 1, "plan: a flag is out of range");
    CASE(x.exports[0].name = ((str){"\xff", 1}), "plan: a name is not UTF-8");
    /* the signature of a built-in is taken as it stands */
    CASE((x.imports[3].signature.params_count = 17,
          memset(x.imports[3].signature.params, 0, sizeof x.imports[3].signature.params)),
         "plan: a signature holds no core type");
    for (int t = 0x7b; t <= 0x80; t++) {
        const char *want = t == 0x7b || t == 0x80 ? "plan: a signature holds no core type" : NULL;
        make();
        x.imports[3].signature.params_count = 1;
        x.imports[3].signature.params[0] = (core_type)t;
        expect("a parameter", want);
        make();
        x.imports[3].signature.results_count = 1;
        x.imports[3].signature.results[0] = (core_type)t;
        expect("a result", want);
    }
    for (uint32_t n = 16; n <= 17; n++) {
        make();
        x.imports[3].signature.params_count = n;
        for (uint32_t i = 0; i < n; i++)
            x.imports[3].signature.params[i] = CORE_I64;
        expect("parameters", NULL);
    }
}

static void counts(void **state)
{
    static const char count[] = "plan: a count is too large";
    CASE(x.units[0].memories_count = COMPONENT_ITEMS_MAX, NULL);
    CASE(x.units[0].memories_count = COMPONENT_ITEMS_MAX + 1, count);
    CASE(x.units[0].reallocs_count = COMPONENT_ITEMS_MAX, NULL);
    CASE(x.units[0].reallocs_count = COMPONENT_ITEMS_MAX + 1, count);
    CASE(x.units[0].globals_count = COMPONENT_ITEMS_MAX, NULL);
    CASE(x.units[0].globals_count = COMPONENT_ITEMS_MAX + 1, count);
    CASE(x.units[0].tables_count = COMPONENT_ITEMS_MAX, NULL);
    CASE(x.units[0].tables_count = COMPONENT_ITEMS_MAX + 1, count);
}

/* Which parts a type of each kind may have. */
static void shapes(void **state)
{
    static const type_field none[] = {{{"a", 1}, NULL}, {{"b", 1}, NULL}, {{"c", 1}, NULL}};
    static type_field some[33];
    static const char shape[] = "plan: a type has parts that do not fit it";
    const type *n = u32();
    some[0] = (type_field){S("a"), n};
    some[1] = (type_field){S("b"), n};
    some[2] = (type_field){S("c"), n};
    type_field mixed[] = {{S("a"), n}, {S("b"), NULL}};
    const struct {
        type t;
        bool good;
    } cases[] = {
        {{.kind = TYPE_RECORD, .fields = some, .fields_count = 1}, true},
        {{.kind = TYPE_RECORD}, false},
        {{.kind = TYPE_RECORD, .fields = mixed, .fields_count = 2}, false},
        {{.kind = TYPE_RECORD, .fields = some, .fields_count = 1, .elem = n}, false},
        {{.kind = TYPE_TUPLE, .fields = some, .fields_count = 3}, true},
        {{.kind = TYPE_TUPLE}, false},
        {{.kind = TYPE_TUPLE, .fields = none, .fields_count = 2}, false},
        {{.kind = TYPE_TUPLE, .fields = some, .fields_count = 2, .elem = n}, false},
        {{.kind = TYPE_VARIANT, .fields = mixed, .fields_count = 2}, true},
        {{.kind = TYPE_VARIANT}, false},
        {{.kind = TYPE_VARIANT, .fields = mixed, .fields_count = 2, .elem = n}, false},
        {{.kind = TYPE_ENUM, .fields = none, .fields_count = 1}, true},
        {{.kind = TYPE_ENUM}, false},
        {{.kind = TYPE_ENUM, .fields = mixed, .fields_count = 2}, false},
        {{.kind = TYPE_ENUM, .fields = none, .fields_count = 1, .elem = n}, false},
        {{.kind = TYPE_FLAGS, .fields = none, .fields_count = 1}, true},
        {{.kind = TYPE_FLAGS}, false},
        {{.kind = TYPE_FLAGS, .fields = mixed, .fields_count = 2}, false},
        {{.kind = TYPE_FLAGS, .fields = none, .fields_count = 1, .elem = n}, false},
        {{.kind = TYPE_RESULT, .fields = mixed, .fields_count = 2}, true},
        {{.kind = TYPE_RESULT, .fields = some, .fields_count = 1}, false},
        {{.kind = TYPE_RESULT, .fields = some, .fields_count = 3}, false},
        {{.kind = TYPE_RESULT, .fields = some, .fields_count = 2, .elem = n}, false},
        {{.kind = TYPE_LIST, .elem = n, .length_fixed = 1}, true},
        {{.kind = TYPE_LIST}, false},
        {{.kind = TYPE_LIST, .elem = n, .fields = some, .fields_count = 1}, false},
        {{.kind = TYPE_OPTION, .elem = n}, true},
        {{.kind = TYPE_OPTION}, false},
        {{.kind = TYPE_OPTION, .elem = n, .fields = some, .fields_count = 1}, false},
        {{.kind = TYPE_OPTION, .elem = n, .length_fixed = 1}, false},
        {{.kind = TYPE_STREAM}, true},
        {{.kind = TYPE_STREAM, .elem = n}, true},
        {{.kind = TYPE_STREAM, .fields = some, .fields_count = 1}, false},
        {{.kind = TYPE_FUTURE, .elem = n}, true},
        {{.kind = TYPE_FUTURE, .fields = none, .fields_count = 1}, false},
        {{.kind = TYPE_OWN, .resource = &own_type}, true},
        {{.kind = TYPE_BORROW, .resource = &own_type}, true},
        {{.kind = TYPE_OWN}, false},
        {{.kind = TYPE_BORROW}, false},
        {{.kind = TYPE_OWN, .resource = &own_type, .elem = n}, false},
        {{.kind = TYPE_U8}, true},
        {{.kind = TYPE_U8, .resource = &own_type}, false},
        {{.kind = TYPE_U8, .elem = n}, false},
        {{.kind = TYPE_STRING, .fields = none, .fields_count = 1}, false},
        {{.kind = TYPE_ERROR_CONTEXT}, true},
        {{.kind = (type_kind)(TYPE_ERROR_CONTEXT + 1)}, false},
        {{.kind = TYPE_TUPLE, .fields = some, .fields_count = 2, .is_map = true}, true},
        {{.kind = TYPE_TUPLE, .fields = some, .fields_count = 3, .is_map = true}, false},
        {{.kind = TYPE_RECORD, .fields = some, .fields_count = 2, .is_map = true}, false},
        {{.kind = TYPE_LIST, .elem = &pair, .is_map = true}, true},
        {{.kind = TYPE_LIST, .elem = &wide, .is_map = true}, false},
        {{.kind = TYPE_LIST, .elem = n, .is_map = true}, false},
        {{.kind = TYPE_LIST, .is_map = true}, false},
        {{.kind = TYPE_OPTION, .elem = &pair, .is_map = true}, false},
        {{.kind = TYPE_OWN, .resource = &(resource_type){.index = 2}}, false}, /* there are two */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char what[40];
        make();
        x.t = cases[i].t;
        bool far = x.t.resource && x.t.resource->index > 1;
        snprintf(what, sizeof what, "type %zu", i);
        expect(what, cases[i].good ? NULL : far ? "plan: a resource is out of range" : shape);
    }
    for (uint32_t n_flags = 32; n_flags <= 33; n_flags++) {
        make();
        for (uint32_t i = 0; i < n_flags; i++)
            some[i] = (type_field){S("x"), NULL};
        x.t = (type){.kind = TYPE_FLAGS, .fields = some, .fields_count = n_flags};
        expect("flags", n_flags == 33 ? shape : NULL);
    }
}

static void frame(void **state)
{
    buf encoded;
    make();
    buf_init(&encoded, 64 * MIB);
    assert_true(plan_encode(&x.p, &encoded, &e));
    assert_true(decodes(&encoded));
    assert_memory_equal(encoded.p, "ebbp\3\0\0\0\2\0\0\0", 12);
    for (size_t i = 0; i < 8; i++) {
        encoded.p[i] ^= 1;
        assert_false(decodes(&encoded));
        assert_non_null(strstr(e.text, "plan: not a plan of this version"));
        encoded.p[i] ^= 1;
    }
    assert_true(buf_put_u8(&encoded, 0));
    assert_false(decodes(&encoded));
    assert_non_null(strstr(e.text, "plan: bytes follow the plan"));
    encoded.n--;
    for (int i = 0; i < 3; i++) { /* more resources than bytes to hold them; 100,000 are too many */
        static const uint8_t many[3][4] = {
            {0xff, 0xff, 0xff, 0xff}, {0xff, 0, 0, 0}, {0, 0, 0x10, 0}};
        memcpy(encoded.p + 8, many[i], 4);
        assert_false(decodes(&encoded));
        assert_non_null(strstr(e.text, "plan: a count is too large"));
    }
    buf_fini(&encoded);
}

static int begin(void **state)
{
    static type_field two[2], three[3];
    for (int i = 0; i < 3; i++)
        three[i] = (type_field){S("n"), u32()};
    two[0] = two[1] = three[0];
    pair = (type){.kind = TYPE_TUPLE, .fields = two, .fields_count = 2};
    wide = (type){.kind = TYPE_TUPLE, .fields = three, .fields_count = 3};
    return type_finish(&pair, &e) && type_finish(&wide, &e) ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(references), cmocka_unit_test(options), cmocka_unit_test(functions),
        cmocka_unit_test(counts),     cmocka_unit_test(shapes),  cmocka_unit_test(frame),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
