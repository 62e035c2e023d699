/* Who shares links: what plans say the same of, to the letter, and nothing else; and for how long.
 * That what is shared works, all integration tests show: apps are linked so. */
#include "engine_kit.h"

#include "base/arena.h"
#include "host/host.h"
#include "host/tables.h"

enum { IMPORTS = 3, RESOURCES = 2 };

typedef struct {
    plan p;
    plan_unit units[2];
    plan_import imports[IMPORTS];
    plan_resource resources[RESOURCES];
} made;

static host_linker *linker;

static int begin(void **state)
{
    err e = {0};
    if (kit_begin(state) < 0)
        return -1;
    assert_true(host_init(&e));
    return 0;
}

static int each(void **state)
{
    err e = {0};
    assert_true(host_linker_new(kit_engine, false, &linker, &e));
    assert_ptr_equal(host_linker_engine(linker), kit_engine);
    return 0;
}

static int each_end(void **state)
{
    assert_int_equal(host_linker_count(linker), 0);
    host_linker_free(linker);
    return 0;
}

static plan_import func_of(const char *interface, const char *name)
{
    const host_parsed *t = host_tables_find(str_from(interface));
    uint32_t k = 0;
    while (strcmp(t->rows[k]->name, name) != 0)
        k++;
    plan_import i = {.kind = CANON_HOST,
                     .interface = str_from(interface),
                     .name = str_from(name),
                     .type = &t->funcs[k],
                     .options = {.memory = 0, .realloc = 0}};
    functype_lower_signature(i.type, &i.signature);
    return i;
}

/* Random numbers, an environment, and a resource to drop. */
static void make(made *m)
{
    *m = (made){
        .imports = {func_of("wasi:random/random@0.2.0", "get-random-bytes"),
                    func_of("wasi:cli/environment@0.2.0", "get-environment"),
                    {.kind = CANON_RESOURCE_DROP,
                     .resource = 0,
                     .interface = S("wasi:io/streams@0.2.0"),
                     .name = S("input-stream"),
                     .options = {.memory = PLAN_NONE, .realloc = PLAN_NONE},
                     .signature = {.params = {CORE_I32}, .params_count = 1}}},
        .resources = {{S("wasi:io/streams@0.2.0"), S("input-stream"), true, UINT32_MAX, false},
                      {S(""), S("own"), false, 0, false}},
    };
    m->units[0] = (plan_unit){.parent = UINT32_MAX,
                              .imports = m->imports,
                              .imports_count = IMPORTS,
                              .memories_count = 2,
                              .reallocs_count = 2};
    m->p = (plan){.units = m->units,
                  .units_count = 1,
                  .resources = m->resources,
                  .resources_count = RESOURCES};
}

static host_linked *link_it(const made *m)
{
    err e = {0};
    host_linked *k = NULL;
    if (!host_link(linker, &m->p, &k, &e))
        fail_msg("%s", e.text);
    return k;
}

/* What a module is beside its imports is nobody's business. */
static void the_same_imports_are_shared(void **state)
{
    made a, b;
    make(&a);
    make(&b);
    b.units[0].label = S("another");
    b.units[0].globals_count = 7;
    b.units[0].has_start = b.units[0].passive_segments = true;
    b.units[0].memory_bytes_min = 1 << 20;
    host_linked *x = link_it(&a), *y = link_it(&b);
    assert_ptr_equal(x, y);
    assert_int_equal(host_linker_count(linker), 1);
    assert_non_null(host_linked_links(x, 0));
    host_unlink(x);
    assert_ptr_equal(link_it(&a), y); /* one is enough to keep it */
    host_unlink(y);
    host_unlink(y);
    host_unlink(NULL);
}

/* It is used when the plan that it was made from is long gone. */
static void nothing_is_borrowed(void **state)
{
    made *a = malloc(sizeof *a), b;
    char *name = strdup("get-random-bytes");
    make(a);
    a->imports[0].name = str_from(name);
    host_linked *x = link_it(a);
    memset(name, 'x', strlen(name));
    free(name);
    memset(a, 0xff, sizeof *a);
    free(a);
    make(&b);
    host_linked *y = link_it(&b);
    assert_ptr_equal(x, y);
    host_unlink(x);
    host_unlink(y);
}

static void memory_differs(made *m) { m->imports[0].options.memory = 1; }
static void realloc_differs(made *m) { m->imports[1].options.realloc = 1; }
static void encoding_differs(made *m) { m->imports[0].options.encoding = ENCODING_UTF16; }
static void name_differs(made *m)
{
    m->imports[0] = func_of("wasi:random/random@0.2.0", "get-random-u64");
}
static void version_differs(made *m) { m->imports[1].interface = S("wasi:cli/environment@0.2.3"); }
static void kind_differs(made *m) { m->imports[1].kind = CANON_TRAP; }
static void order_differs(made *m)
{
    plan_import first = m->imports[0];
    m->imports[0] = m->imports[1];
    m->imports[1] = first;
}
static void one_less(made *m) { m->units[0].imports_count--; }
static void other_resource(made *m)
{
    m->resources[0].name = m->imports[2].name = S("output-stream");
}
static void resource_is_its_own(made *m)
{
    m->resources[1].has_dtor = true; /* what a drop of it then calls */
}
static void other_number(made *m)
{
    plan_resource first = m->resources[0];
    m->resources[0] = m->resources[1];
    m->resources[1] = first;
    m->imports[2].resource = 1;
}

static void others_are_not(void **state)
{
    static void (*const differ[])(made *) = {memory_differs, realloc_differs,    encoding_differs,
                                             name_differs,   version_differs,    kind_differs,
                                             order_differs,  one_less,           other_resource,
                                             other_number,   resource_is_its_own};
    enum { N = sizeof differ / sizeof *differ };
    host_linked *all[N + 1];
    made m;
    make(&m);
    all[N] = link_it(&m);
    for (size_t i = 0; i < N; i++) {
        make(&m);
        differ[i](&m);
        all[i] = link_it(&m);
        for (size_t k = 0; k < i; k++)
            if (all[i] == all[k])
                fail_msg("%zu and %zu are shared", i, k);
        if (all[i] == all[N])
            fail_msg("%zu is shared", i);
        host_linked *again = link_it(&m);
        assert_ptr_equal(again, all[i]);
        host_unlink(again);
    }
    for (size_t i = 0; i <= N; i++)
        host_unlink(all[i]);
}

/* Instances in one component call each other by its plan. */
static void composed_ones_are_their_own(void **state)
{
    made m;
    make(&m);
    m.units[1] = m.units[0];
    m.units[0].parent = 1;
    m.p.units_count = 2;
    host_linked *x = link_it(&m), *y = link_it(&m);
    assert_ptr_not_equal(x, y);
    assert_int_equal(host_linker_count(linker), 0);
    assert_ptr_not_equal(host_linked_binding(x), host_linked_binding(y));
    assert_ptr_not_equal(host_linked_links(x, 0), host_linked_links(x, 1));
    host_unlink(x);
    host_unlink(y);
}

static void what_is_missing_is_said(void **state)
{
    made m;
    err e = {0};
    host_linked *k = NULL;
    make(&m);
    m.imports[1].name = S("get-nothing");
    for (int i = 0; i < 2; i++) { /* nothing is left of the first try */
        assert_false(host_link(linker, &m.p, &k, &e));
        assert_int_equal(e.code, ERR_UNSUPPORTED);
        assert_non_null(strstr(e.text, "get-nothing"));
    }
    host_linker *stubs;
    assert_true(host_linker_new(kit_engine, true, &stubs, &e));
    assert_true(host_link(stubs, &m.p, &k, &e));
    host_unlink(k);
    host_linker_free(stubs);
    host_linker_free(NULL);
}

/* Each allocation of the first link fails once, that of the table as well. */
static void no_memory(void **state)
{
    made m;
    err e = {0};
    host_linked *k = NULL;
    make(&m);
    alloc_fail_after(0);
    host_unlink(link_it(&m));
    size_t total = alloc_fail_after(0);
    assert_true(total > 3);
    for (size_t i = 1; i <= total; i++) {
        host_linker *fresh;
        assert_true(host_linker_new(kit_engine, false, &fresh, &e));
        alloc_fail_after(i);
        bool ok = host_link(fresh, &m.p, &k, &e);
        alloc_fail_after(0);
        if (ok)
            fail_msg("it works without allocation %zu of %zu", i, total);
        assert_int_equal(host_linker_count(fresh), 0);
        host_linker_free(fresh);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_same_imports_are_shared, each, each_end),
        cmocka_unit_test_setup_teardown(nothing_is_borrowed, each, each_end),
        cmocka_unit_test_setup_teardown(others_are_not, each, each_end),
        cmocka_unit_test_setup_teardown(composed_ones_are_their_own, each, each_end),
        cmocka_unit_test_setup_teardown(what_is_missing_is_said, each, each_end),
        cmocka_unit_test_setup_teardown(no_memory, each, each_end),
    };
    return cmocka_run_group_tests(tests, begin, kit_end);
}
