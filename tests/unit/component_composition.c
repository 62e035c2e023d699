/* component/composition: names of dependencies, the file, and what the two small components
 * plug_main and plug_dep become together. */
#include "component_kit.h"

#include "base/limits.h"
#include "component/flatten.h"

#include <stdio.h>

static int reset(void **state)
{
    arena_reset(&a);
    return 0;
}

/* spin.md 1.7; the cases of Spin's own matcher and some more. */
static void names(void **state)
{
    static const struct {
        const char *dependency, *import;
        bool yes;
    } cases[] = {
        {"foo:bar/baz@0.1.0", "foo:bar/baz@0.1.0", true},
        {"foo:bar/baz", "foo:bar/baz@0.1.0", true},
        {"foo:bar/baz", "foo:bar/baz", true},
        {"foo:bar", "foo:bar/baz@0.1.0", true},
        {"foo:bar@0.1.0", "foo:bar/baz@0.1.0", true},
        {"foo-bar", "foo-bar", true},
        {"foo:bar/baz@0.1.0", "foo:bar/baz", false},
        {"foo:bar/baz@0.1.0", "foo:bar/baz@0.1.1", false},
        {"foo:bar/baz", "foo:bar/bub", false},
        {"foo:bar/baz", "foo:bar/bub@0.1.0", false},
        {"foo:bar", "foo:bub/bib", false},
        {"foo:bar@0.1.0", "foo:bar/baz", false},
        {"foo:bar/baz", "foo:bar/baz-bub", false},
        {"foo:bar", "foo-bar", false},
        {"foo-bar", "foo:bar/baz", false},
        {"foo:ba", "foo:bar/baz", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (composition_matches(str_from(cases[i].dependency), str_from(cases[i].import)) !=
            cases[i].yes)
            fail_msg("%s for %s", cases[i].dependency, cases[i].import);
}

static composition_part main_part(void)
{
    return (composition_part){.component = file("plug_main.wasm")};
}

static composition_part dep_part(uint32_t withheld)
{
    return (composition_part){
        .name = S("test:dep/api"), .withheld = withheld, .component = file("plug_dep.wasm")};
}

static void file_round_trip(void **state)
{
    composition_part parts[] = {main_part(), dep_part(COMPOSITION_FILES)}, *read;
    parts[1].export_name = S("x");
    size_t n;
    _cleanup_(buf_fini) buf out;
    buf_init(&out, 1 * MIB);
    assert_true(composition_write(parts, 2, &out, &e));
    bytes b = buf_bytes(&out);
    assert_true(bytes_are_composition(b));
    assert_false(bytes_are_composition(parts[0].component));
    assert_true(composition_read(&a, b, &read, &n, &e));
    assert_int_equal(n, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_true(str_eq(read[i].name, parts[i].name));
        assert_true(str_eq(read[i].export_name, parts[i].export_name));
        assert_int_equal(read[i].withheld, parts[i].withheld);
        assert_int_equal(read[i].component.n, parts[i].component.n);
        assert_memory_equal(read[i].component.p, parts[i].component.p, parts[i].component.n);
    }
    for (size_t i = 0; i < b.n; i++) {
        uint8_t *cut = malloc(i + 1); /* exact, for the address sanitizer */
        memcpy(cut, b.p, i);
        assert_false(composition_read(&a, (bytes){cut, i}, &read, &n, &e));
        assert_int_equal(e.code, ERR_INVALID);
        free(cut);
    }
    buf_put_u8(&out, 0);
    assert_false(composition_read(&a, buf_bytes(&out), &read, &n, &e));
    assert_non_null(strstr(e.text, "after the last part"));
    buf small;
    buf_init(&small, 100);
    assert_false(composition_write(parts, 2, &small, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    buf_fini(&small);
    assert_false(composition_write(parts, COMPOSITION_PARTS_MAX + 1, &out, &e));
}

static const link_unit *unit_named(const link_plan *p, const char *label)
{
    for (uint32_t i = 0; i < p->units_count; i++)
        if (str_eq(p->units[i].label, str_from(label)))
            return &p->units[i];
    fail_msg("no unit '%s'", label);
    return NULL;
}

/* Two units; the host's sink is one resource for both, though they know it by two versions. */
static void linked(void **state)
{
    composition_part parts[] = {main_part(), dep_part(COMPOSITION_FILES | COMPOSITION_VARIABLES)};
    link_plan p;
    if (!composition_link(&a, parts, 2, &p, &e))
        fail_msg("%s", e.text);
    assert_int_equal(p.units_count, 2);
    const link_unit *dep = unit_named(&p, "test:dep/api"), *main = unit_named(&p, "");
    assert_int_equal(dep->withheld, COMPOSITION_FILES | COMPOSITION_VARIABLES);
    assert_int_equal(main->withheld, 0);
    assert_int_equal(main->parent, UINT32_MAX);
    assert_int_equal(dep->parent, UINT32_MAX);
    uint32_t hosts = 0, lifted = 0;
    for (uint32_t i = 0; i < main->canons_count; i++) {
        hosts += main->canons[i].kind == CANON_HOST;
        lifted += main->canons[i].kind == CANON_LIFTED;
        if (main->canons[i].kind == CANON_LIFTED)
            assert_ptr_equal(&p.units[main->canons[i].unit], dep);
    }
    assert_int_equal(hosts, 1);
    assert_int_equal(lifted, 2);
    uint32_t sinks = 0, papers = 0;
    for (uint32_t i = 0; i < p.resources_count; i++) {
        sinks += p.resources[i].type.imported;
        papers += !p.resources[i].type.imported;
    }
    assert_int_equal(sinks, 1);
    assert_int_equal(papers, 1);
    assert_int_equal(p.exports_count, 1);
    assert_str(p.exports[0].name, "run");
    /* open; of the dependency's: write and flush; under the name that came first */
    assert_int_equal(p.imports_count, 3);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(interface_compatible(p.imports[i].interface, S("test:log/log@1.2.3")));
}

/* What is withheld reaches the plan, and survives its bytes. */
static void withheld_in_the_plan(void **state)
{
    composition_part parts[] = {main_part(), dep_part(COMPOSITION_ALL)};
    plan p, again;
    buf *modules;
    _cleanup_(buf_fini) buf out;
    buf_init(&out, 1 * MIB);
    if (!flatten_composition(&a, parts, 2, &p, &modules, &e))
        fail_msg("%s", e.text);
    flatten_free(modules, p.units_count);
    assert_true(plan_encode(&p, &out, &e));
    if (!plan_decode(&a, buf_bytes(&out), &again, &e))
        fail_msg("%s", e.text);
    for (uint32_t i = 0; i < again.units_count; i++)
        assert_int_equal(again.units[i].withheld, again.units[i].label.n ? COMPOSITION_ALL : 0);
}

static void refused(const composition_part *parts, size_t n, const char *says)
{
    link_plan p;
    assert_false(composition_link(&a, parts, n, &p, &e));
    if (!strstr(e.text, says))
        fail_msg("'%s' does not say '%s'", e.text, says);
}

static void refusals(void **state)
{
    composition_part parts[] = {main_part(), dep_part(0), dep_part(0)};
    refused(parts, 3, "satisfied by two dependencies");
    parts[1].name = S("test:other");
    refused(parts, 2, "matches no import of the component, which imports 'test:log/log@1.2.3'");
    parts[1].name = S("test:dep");
    parts[1].export_name = S("test:dep/none");
    refused(parts, 2, "does not export 'test:dep/none'");
    parts[1].export_name = (str){0};
    parts[1].component = file("twice.wasm");
    refused(parts, 2, "it exports 'run'");
    parts[1].component.n = 20;
    refused(parts, 2, "dependency 'test:dep'");
    parts[1].component = (bytes){(const uint8_t *)"\0asm\1\0\0\0", 8};
    refused(parts, 2, "not a component");
    parts[1] = (composition_part){.name = S("test:log"),
                                  .component = file("plug_dep.wasm"),
                                  .export_name = S("test:dep/api@1.0.0")};
    refused(parts, 2, "does not fit the import 'test:log/log@1.2.3'");
}

static void memory_failures(void **state)
{
    composition_part parts[] = {main_part(), dep_part(0)};
    bool done = false;
    for (size_t n = 1; !done; n++) {
        arena scratch;
        link_plan p;
        arena_init(&scratch, 64 * MIB);
        alloc_fail_after(n);
        bool ok = composition_link(&scratch, parts, 2, &p, &e);
        done = alloc_fail_after(0) < n;
        if (ok)
            assert_int_equal(p.units_count, 2);
        else
            assert_int_equal(e.code, ERR_NO_MEMORY);
        assert_true(ok || !done);
        arena_fini(&scratch);
    }
}

/* No byte of a part that is changed does harm. */
static void changed(void **state)
{
    composition_part parts[] = {main_part(), dep_part(0)};
    arena scratch;
    link_plan p;
    arena_init(&scratch, 64 * MIB);
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < parts[k].component.n; i++)
            for (int bit = 0; bit < 8; bit++) {
                uint8_t *at = (uint8_t *)parts[k].component.p + i;
                arena_reset(&scratch);
                *at ^= (uint8_t)(1 << bit);
                composition_link(&scratch, parts, 2, &p, &e);
                *at ^= (uint8_t)(1 << bit);
            }
    assert_true(composition_link(&scratch, parts, 2, &p, &e));
    arena_fini(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(names, reset),
        cmocka_unit_test_setup(file_round_trip, reset),
        cmocka_unit_test_setup(linked, reset),
        cmocka_unit_test_setup(withheld_in_the_plan, reset),
        cmocka_unit_test_setup(refusals, reset),
        cmocka_unit_test_setup(memory_failures, reset),
        cmocka_unit_test_setup(changed, reset),
    };
    arena_init(&a, 512 * MIB);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_fini(&a);
    return failed;
}
