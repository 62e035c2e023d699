/* Plans written and read again: equal, byte for byte the second time; damaged ones are refused and
 * never lead outside. */
#include "component_kit.h"

#include "component/flatten.h"

#include "base/limits.h"

static buf encoded;

static int setup(void **state)
{
    arena_fini(&a);
    arena_init(&a, COMPONENT_ARENA_BYTES_MAX);
    buf_fini(&encoded);
    buf_init(&encoded, 64 * MIB);
    e = (err){0};
    return 0;
}

static plan plan_of(const char *name)
{
    plan p;
    buf *modules;
    if (!flatten_component(&a, file(name), &p, &modules, &e))
        fail_msg("%s: %s", name, e.text);
    flatten_free(modules, p.units_count);
    return p;
}

static void assert_same(str x, str y)
{
    assert_int_equal(x.n, y.n);
    assert_memory_equal(x.p, y.p, x.n);
}

/* Also the derived parts, and which resource. Depth is that of the types in these tests. */
static void assert_type(const type *x, const type *y)
{
    assert_int_equal(x != NULL, y != NULL);
    if (!x)
        return;
    assert_int_equal(x->kind, y->kind);
    assert_int_equal(x->length_fixed, y->length_fixed);
    assert_int_equal(x->is_map, y->is_map);
    assert_int_equal(x->size, y->size);
    assert_int_equal(x->align, y->align);
    assert_int_equal(x->flat_count, y->flat_count);
    assert_int_equal(x->payload_at, y->payload_at);
    assert_int_equal(x->has_pointer, y->has_pointer);
    assert_int_equal(x->has_borrow, y->has_borrow);
    assert_int_equal(x->resource != NULL, y->resource != NULL);
    if (x->resource) {
        assert_int_equal(x->resource->index, y->resource->index);
        assert_int_equal(x->resource->imported, y->resource->imported);
        assert_same(x->resource->name, y->resource->name);
    }
    assert_type(x->elem, y->elem);
    assert_int_equal(x->fields_count, y->fields_count);
    for (uint32_t i = 0; i < x->fields_count; i++) {
        assert_same(x->fields[i].name, y->fields[i].name);
        assert_type(x->fields[i].type, y->fields[i].type);
    }
}

static void assert_functype(const functype *x, const functype *y)
{
    assert_int_equal(x != NULL, y != NULL);
    if (!x)
        return;
    assert_int_equal(x->async, y->async);
    assert_type(x->result, y->result);
    assert_int_equal(x->params_count, y->params_count);
    for (uint32_t i = 0; i < x->params_count; i++) {
        assert_same(x->params[i].name, y->params[i].name);
        assert_type(x->params[i].type, y->params[i].type);
    }
}

static void assert_options(const plan_options *x, const plan_options *y)
{
    assert_int_equal(x->encoding, y->encoding);
    assert_int_equal(x->memory, y->memory);
    assert_int_equal(x->realloc, y->realloc);
    assert_int_equal(x->async, y->async);
}

static void assert_signature(const core_signature *x, const core_signature *y)
{
    assert_int_equal(x->params_count, y->params_count);
    assert_int_equal(x->results_count, y->results_count);
    assert_int_equal(x->params_spilled, y->params_spilled);
    assert_int_equal(x->results_spilled, y->results_spilled);
    assert_memory_equal(x->params, y->params, x->params_count * sizeof x->params[0]);
    assert_memory_equal(x->results, y->results, x->results_count * sizeof x->results[0]);
}

static void assert_import(const plan_import *x, const plan_import *y)
{
    assert_int_equal(x->kind, y->kind);
    assert_same(x->interface, y->interface);
    assert_same(x->name, y->name);
    assert_functype(x->type, y->type);
    assert_type(x->element, y->element);
    assert_options(&x->options, &y->options);
    assert_int_equal(x->unit, y->unit);
    assert_int_equal(x->lift, y->lift);
    assert_int_equal(x->resource, y->resource);
    assert_signature(&x->signature, &y->signature);
}

static void assert_unit(const plan_unit *x, const plan_unit *y)
{
    assert_same(x->label, y->label);
    assert_int_equal(x->parent, y->parent);
    assert_int_equal(x->imports_count, y->imports_count);
    for (uint32_t i = 0; i < x->imports_count; i++)
        assert_import(&x->imports[i], &y->imports[i]);
    assert_int_equal(x->lifts_count, y->lifts_count);
    for (uint32_t i = 0; i < x->lifts_count; i++) {
        const plan_lift *f = &x->lifts[i], *g = &y->lifts[i];
        assert_functype(f->type, g->type);
        assert_options(&f->options, &g->options);
        assert_signature(&f->signature, &g->signature);
        assert_int_equal(f->has_post_return, g->has_post_return);
        assert_int_equal(f->has_callback, g->has_callback);
        assert_same(f->label, g->label);
    }
    assert_int_equal(x->memories_count, y->memories_count);
    assert_int_equal(x->reallocs_count, y->reallocs_count);
    assert_int_equal(x->globals_count, y->globals_count);
    assert_int_equal(x->tables_count, y->tables_count);
    assert_int_equal(x->sized_memories, y->sized_memories);
    assert_int_equal(x->has_start, y->has_start);
    assert_int_equal(x->mutates_tables, y->mutates_tables);
    assert_int_equal(x->passive_segments, y->passive_segments);
    assert_int_equal(x->start_segments, y->start_segments);
    assert_int_equal(x->memory_bytes_min, y->memory_bytes_min);
    assert_int_equal(x->memory_bytes_max, y->memory_bytes_max);
    assert_int_equal(x->core_modules, y->core_modules);
    assert_int_equal(x->core_functions, y->core_functions);
    assert_int_equal(x->shims_removed, y->shims_removed);
    assert_int_equal(x->segments_merged, y->segments_merged);
    assert_int_equal(x->constants_folded, y->constants_folded);
    assert_int_equal(x->module_bytes, y->module_bytes);
    assert_int_equal(x->module_bytes_before, y->module_bytes_before);
}

static void assert_names(const plan_name *x, const plan_name *y, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        assert_same(x[i].interface, y[i].interface);
        assert_same(x[i].name, y[i].name);
        assert_functype(x[i].type, y[i].type);
        assert_int_equal(x[i].unit, y[i].unit);
        assert_int_equal(x[i].lift, y[i].lift);
    }
}

static void assert_plan(const plan *x, const plan *y)
{
    assert_int_equal(x->units_count, y->units_count);
    for (uint32_t i = 0; i < x->units_count; i++)
        assert_unit(&x->units[i], &y->units[i]);
    assert_int_equal(x->resources_count, y->resources_count);
    for (uint32_t i = 0; i < x->resources_count; i++) {
        assert_same(x->resources[i].interface, y->resources[i].interface);
        assert_same(x->resources[i].name, y->resources[i].name);
        assert_int_equal(x->resources[i].imported, y->resources[i].imported);
        assert_int_equal(x->resources[i].unit, y->resources[i].unit);
        assert_int_equal(x->resources[i].has_dtor, y->resources[i].has_dtor);
    }
    assert_int_equal(x->imports_count, y->imports_count);
    assert_int_equal(x->exports_count, y->exports_count);
    assert_names(x->imports, y->imports, x->imports_count);
    assert_names(x->exports, y->exports, x->exports_count);
}

static const char *const components[] = {"twice.wasm", "shim.wasm", "donut.wasm", "relift.wasm",
                                         "async.wasm"};
enum { COMPONENTS = sizeof components / sizeof *components };

static void plans_survive(void **state)
{
    for (size_t i = 0; i < COMPONENTS; i++) {
        _cleanup_(buf_fini) buf again;
        plan p = plan_of(components[i]), q;
        buf_init(&again, 64 * MIB);
        buf_clear(&encoded);
        assert_true(plan_encode(&p, &encoded, &e));
        /* nothing may point into what was read */
        uint8_t *copy = malloc(encoded.n);
        memcpy(copy, encoded.p, encoded.n);
        if (!plan_decode(&a, (bytes){copy, encoded.n}, &q, &e))
            fail_msg("%s: %s", components[i], e.text);
        memset(copy, 0xa5, encoded.n);
        free(copy);
        assert_plan(&p, &q);
        assert_true(plan_encode(&q, &again, &e));
        assert_int_equal(again.n, encoded.n);
        assert_memory_equal(again.p, encoded.p, encoded.n);
    }
}

/* A type of every kind, as the parameter of an import and the result of a lift. */
static void every_type_survives(void **state)
{
    static const resource_type r = {.name = {"r", 1}, .imported = true, .index = 0};
    type all[16] = {0};
    const type *u8 = type_primitive(TYPE_U8), *text = type_primitive(TYPE_STRING);
    type_field named[] = {{S("a"), u8}, {S("b"), text}}, plain[] = {{S(""), text}, {S(""), u8}};
    type_field cases[] = {{S("none"), NULL}, {S("some"), text}}, labels[] = {{S("x"), NULL}};
    type_field ends[] = {{S("ok"), u8}, {S("error"), NULL}};
    type protos[] = {
        {.kind = TYPE_RECORD, .fields = named, .fields_count = 2},
        {.kind = TYPE_TUPLE, .fields = plain, .fields_count = 2, .is_map = true},
        {.kind = TYPE_VARIANT, .fields = cases, .fields_count = 2},
        {.kind = TYPE_ENUM, .fields = labels, .fields_count = 1},
        {.kind = TYPE_FLAGS, .fields = labels, .fields_count = 1},
        {.kind = TYPE_RESULT, .fields = ends, .fields_count = 2},
        {.kind = TYPE_OPTION, .elem = text},
        {.kind = TYPE_LIST, .elem = u8},
        {.kind = TYPE_LIST, .elem = u8, .length_fixed = 3},
        {.kind = TYPE_LIST, .elem = &all[1], .is_map = true},
        {.kind = TYPE_OWN, .resource = &r},
        {.kind = TYPE_BORROW, .resource = &r},
        {.kind = TYPE_STREAM, .elem = u8},
        {.kind = TYPE_FUTURE},
        {.kind = TYPE_ERROR_CONTEXT},
    };
    type_field params[COMPONENTS + 20];
    uint32_t n = 0;
    for (size_t i = 0; i < sizeof protos / sizeof *protos; i++) {
        all[i] = protos[i];
        assert_true(type_finish(&all[i], &e));
        params[n++] = (type_field){S("p"), &all[i]};
    }
    functype f = {.params = params, .params_count = n, .result = &all[0]};
    plan_import import = {.kind = CANON_HOST,
                          .interface = S("i"),
                          .name = S("f"),
                          .type = &f,
                          .options = {.memory = 0, .realloc = 0}};
    functype_signature(&f, false, false, false, &import.signature);
    plan_lift lift = {.type = &f, .options = {.memory = 0, .realloc = 0}, .label = S("l")};
    functype_signature(&f, true, false, false, &lift.signature);
    plan_unit unit = {.label = S("0"),
                      .parent = UINT32_MAX,
                      .imports = &import,
                      .imports_count = 1,
                      .lifts = &lift,
                      .lifts_count = 1,
                      .memories_count = 1,
                      .tables_count = 2,
                      .sized_memories = 1,
                      .start_segments = true,
                      .reallocs_count = 1};
    plan_resource resource = {.name = S("r"), .imported = true, .unit = UINT32_MAX};
    plan p = {.units = &unit, .units_count = 1, .resources = &resource, .resources_count = 1}, q;
    assert_true(plan_encode(&p, &encoded, &e));
    if (!plan_decode(&a, buf_bytes(&encoded), &q, &e))
        fail_msg("%s", e.text);
    assert_plan(&p, &q);
    /* without the memory that its strings need */
    import.options.memory = PLAN_NONE;
    buf_clear(&encoded);
    assert_true(plan_encode(&p, &encoded, &e));
    assert_false(plan_decode(&a, buf_bytes(&encoded), &q, &e));
    assert_non_null(strstr(e.text, "memory"));
}

/* Every index of an accepted plan is in range. */
static void assert_indices(const plan *p)
{
    for (uint32_t k = 0; k < p->units_count; k++) {
        const plan_unit *u = &p->units[k];
        assert_true(u->parent == UINT32_MAX || u->parent < p->units_count);
        for (uint32_t i = 0; i < u->imports_count; i++) {
            const plan_import *im = &u->imports[i];
            assert_true(im->options.memory < (int32_t)u->memories_count);
            assert_true(im->options.realloc < (int32_t)u->reallocs_count);
            assert_true(im->kind != CANON_LIFTED ||
                        (im->unit < p->units_count && im->lift < p->units[im->unit].lifts_count));
            assert_true(im->kind < CANON_RESOURCE_NEW || im->kind > CANON_RESOURCE_DROP ||
                        im->resource < p->resources_count);
            assert_true(im->kind > CANON_LIFTED || im->type);
        }
        for (uint32_t i = 0; i < u->lifts_count; i++)
            assert_true(u->lifts[i].type &&
                        u->lifts[i].options.memory < (int32_t)u->memories_count);
    }
    for (uint32_t i = 0; i < p->exports_count; i++)
        assert_true(p->exports[i].unit == UINT32_MAX ||
                    p->exports[i].lift < p->units[p->exports[i].unit].lifts_count);
}

static void damaged_plans_are_safe(void **state)
{
    static const uint8_t damage[] = {0, 1, 0x7f, 0x80, 0xff};
    size_t refused = 0;
    for (size_t c = 0; c < COMPONENTS; c++) {
        plan p = plan_of(components[c]), q;
        buf_clear(&encoded);
        assert_true(plan_encode(&p, &encoded, &e));
        for (size_t i = 0; i < encoded.n; i++) {
            arena inner;
            uint8_t *copy = malloc(i + 1); /* cut short, where a sanitizer sees the end */
            memcpy(copy, encoded.p, i);
            arena_init(&inner, 64 * MIB);
            assert_false(plan_decode(&inner, (bytes){copy, i}, &q, &e));
            free(copy);
            for (size_t d = 0; d < sizeof damage; d++) {
                uint8_t was = encoded.p[i];
                encoded.p[i] = damage[d];
                arena_reset(&inner);
                if (plan_decode(&inner, buf_bytes(&encoded), &q, &e))
                    assert_indices(&q);
                else
                    refused++;
                encoded.p[i] = was;
            }
            arena_fini(&inner);
        }
    }
    assert_true(refused > 1000);
}

static void memory_may_fail_anywhere(void **state)
{
    plan p = plan_of("twice.wasm"), q;
    assert_true(plan_encode(&p, &encoded, &e));
    bool ok = false;
    for (size_t n = 1; !ok; n++) {
        _cleanup_(buf_fini) buf again;
        arena inner;
        arena_init(&inner, 64 * MIB);
        buf_init(&again, 64 * MIB);
        q = (plan){.units_count = 77};
        alloc_fail_after(n);
        bool decoded = plan_decode(&inner, buf_bytes(&encoded), &q, &e);
        ok = decoded && plan_encode(&q, &again, &e);
        alloc_fail_after(0);
        assert_true(ok || e.code == ERR_NO_MEMORY);
        assert_true(decoded || q.units_count == 77);
        arena_fini(&inner);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(plans_survive, setup),
        cmocka_unit_test_setup(every_type_survives, setup),
        cmocka_unit_test_setup(damaged_plans_are_safe, setup),
        cmocka_unit_test_setup(memory_may_fail_anywhere, setup),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_fini(&a);
    buf_fini(&encoded);
    return failed;
}
