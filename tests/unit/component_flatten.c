/* Flattening of core modules in groups (tests/component/flatten.wast, as flatten.txt) and of
 * components, judged by the structure of what comes out. That it also behaves the same is judged
 * by comparison with the engine (tests/diff). */
#include "component_kit.h"

#include "component/core_link.h"
#include "component/core_module.h"
#include "component/flatten.h"

enum { GROUP_MAX = 8 };

static buf out;
static plan_unit unit;
static core_module flat;

static uint32_t group_read(const char *group, core_source *ret)
{
    bytes all = file("flatten.txt");
    str text = {(const char *)all.p, all.n};
    uint32_t n = 0;
    while (text.n) {
        str line = str_cut(&text, '\n');
        if (!str_eq(str_cut(&line, ' '), str_from(group)))
            continue;
        assert_true(n < GROUP_MAX);
        ret[n].name = str_cut(&line, ' ');
        ret[n++].module = unhex(line);
    }
    assert_true(n > 0);
    return n;
}

static bool group_try(const char *group)
{
    core_source sources[GROUP_MAX];
    link_plan l;
    uint32_t n = group_read(group, sources);
    buf_clear(&out);
    return core_link(&a, sources, n, &l, &e) && flatten_unit(&a, &l, 0, &out, &unit, &e);
}

/* Flattens and takes apart again. */
static void group_flatten(const char *group)
{
    if (!group_try(group))
        fail_msg("%s: %s", group, e.text);
    assert_int_equal(unit.module_bytes, out.n);
    if (!core_module_read(&a, buf_bytes(&out), &flat, &e))
        fail_msg("%s: what came out: %s", group, e.text);
}

static const core_module *module_of(const char *group, const char *instance)
{
    core_source sources[GROUP_MAX];
    uint32_t n = group_read(group, sources);
    for (uint32_t i = 0; i < n; i++)
        if (str_eq(sources[i].name, str_from(instance))) {
            core_module *m = ARENA_NEW(&a, core_module);
            assert_true(core_module_read(&a, sources[i].module, m, &e));
            return m;
        }
    fail_msg("no %s in %s", instance, group);
    return NULL;
}

static const cm_export *export_of(const char *name)
{
    const cm_export *x = core_module_export(&flat, str_from(name));
    if (!x)
        fail_msg("no export %s", name);
    return x;
}

/* The lift of that export, as the function that the flattened module exports. */
static uint32_t lifted(const char *label)
{
    char name[16];
    for (uint32_t i = 0; i < unit.lifts_count; i++)
        if (str_eq(str_skip(unit.lifts[i].label, str_find(unit.lifts[i].label, '#') + 1),
                   str_from(label))) {
            snprintf(name, sizeof name, "f%u", i);
            assert_int_equal(export_of(name)->kind, CORE_FUNC);
            return export_of(name)->index;
        }
    fail_msg("no lift %s", label);
    return 0;
}

static bytes body_of(uint32_t func)
{
    assert_true(func >= flat.imported[CORE_FUNC]);
    return flat.codes[func - flat.imported[CORE_FUNC]];
}

static void assert_body(uint32_t func, const char *want, size_t n)
{
    bytes got = body_of(func);
    assert_int_equal(got.n, n);
    assert_memory_equal(got.p, want, n);
}
#define ASSERT_BODY(func, lit) assert_body((func), (lit), sizeof(lit) - 1)

static bool contains(bytes b, const char *part, size_t n)
{
    return memmem(b.p, b.n, part, n) != NULL;
}
#define CONTAINS(b, lit) contains((b), (lit), sizeof(lit) - 1)

static int setup(void **state)
{
    arena_fini(&a);
    arena_init(&a, COMPONENT_ARENA_BYTES_MAX);
    buf_fini(&out);
    buf_init(&out, 1 * GIB);
    e = (err){0};
    return 0;
}

static void imports_become_direct(void **state)
{
    group_flatten("direct");
    assert_int_equal(flat.imports_count, 1);
    assert_str(flat.imports[0].module, "ebb");
    assert_str(flat.imports[0].name, "0");
    assert_int_equal(unit.imports_count, 1);
    assert_int_equal(unit.imports[0].kind, CANON_TRAP);
    assert_int_equal(flat.count[CORE_MEMORY], 2);
    assert_int_equal(flat.count[CORE_TABLE], 1);
    assert_int_equal(flat.count[CORE_GLOBAL], 1);
    assert_int_equal(flat.count[CORE_TAG], 1);
    /* bump, f(x), table slot 1, global, a's byte 16, own byte 0 */
    ASSERT_BODY(lifted("run"),
                "\0\x10\x02\x20\0\x10\x01\x41\x01\x11\x01\0\x23\0\x6a\x41\x10\x2d\0\0"
                "\x6a\x41\0\x28\x42\x01\0\x6a\x0b");
    assert_int_equal(unit.memories_count, 2);
    assert_int_equal(export_of("m0")->index, 0);
    assert_int_equal(export_of("m1")->index, 1);
    assert_int_equal(unit.globals_count, 1);
    assert_int_equal(export_of("g0")->kind, CORE_GLOBAL);
    assert_int_equal(unit.tables_count, 1);
    assert_int_equal(export_of("t0")->kind, CORE_TABLE);
    assert_int_equal(unit.sized_memories, 0);
    assert_int_equal(flat.exports_count, unit.lifts_count + 4);
    assert_false(unit.has_start);
    assert_false(unit.mutates_tables);
    assert_false(unit.passive_segments);
    assert_int_equal(unit.core_modules, 3);
    assert_int_equal(unit.memory_bytes_min, 65536);
}

static void thunks_become_what_they_call(void **state)
{
    group_flatten("shim");
    assert_int_equal(unit.shims_removed, 2);
    assert_int_equal(flat.count[CORE_TABLE], 1); /* main's own */
    assert_int_equal(flat.codes_count, 1);
    ASSERT_BODY(lifted("run"), "\0\x41\x04\x42\x05\x10\0\x41\x06\x42\x07\x10\x01\x6a\x0b");
    assert_int_equal(flat.elems_count, 1);
    assert_int_equal(flat.elems[0].items.p[0], 1); /* the canon, not its thunk */
    assert_str(unit.imports[0].name, "zero");
}

static void thunks_go_where_no_start_can_tell(void **state)
{
    group_flatten("unseen");
    assert_true(unit.has_start);
    assert_int_equal(unit.shims_removed, 1);
    assert_int_equal(flat.count[CORE_TABLE], 0);
    assert_int_equal(flat.datas_count, 1);
    assert_int_equal(flat.datas[0].mode, CM_ACTIVE);
    ASSERT_BODY(export_of("start")->index, "\0\x10\x01\x0b");
}

static void thunks_stay_unless_proved(void **state)
{
    group_flatten("mutated");
    assert_int_equal(unit.shims_removed, 0);
    assert_int_equal(flat.count[CORE_TABLE], 1);
    assert_true(unit.mutates_tables);
    group_flatten("mutated-second");
    assert_int_equal(unit.shims_removed, 0);
    assert_int_equal(flat.count[CORE_TABLE], 2);
    assert_int_equal(flat.elems_count, 1);
    group_flatten("early");
    assert_int_equal(unit.shims_removed, 0);
    assert_true(unit.has_start);
    group_flatten("indirect");
    assert_int_equal(unit.shims_removed, 0);
    group_flatten("bounds");
    assert_int_equal(unit.shims_removed, 0);
    assert_int_equal(flat.count[CORE_TABLE], 1);
    assert_int_equal(flat.elems_count, 2);
    group_flatten("typed");
    assert_int_equal(unit.shims_removed, 0);
    assert_int_equal(flat.codes_count, 1);
}

static void constants_fold(void **state)
{
    group_flatten("fold");
    /* what stays: the stack pointer, which code sets */
    assert_int_equal(flat.count[CORE_GLOBAL], 1);
    assert_int_equal(unit.constants_folded, 7);
    assert_int_equal(unit.globals_count, 1);
    ASSERT_BODY(lifted("here"), "\0\x41\x88\x08\x0b");
    assert_true(CONTAINS(body_of(lifted("sum")), "\x42\x7f\xa7\x44\0\0\0\0\0\0\x0a\x40\xaa\x6a\x41"
                                                 "\x80\x20\x6a"));
    assert_int_equal(flat.datas_count, 2);
    assert_memory_equal(flat.datas[0].offset.p, "\x41\x80\x08\x0b", 4);
    assert_memory_equal(flat.datas[1].offset.p, "\x41\xff\x0f\x0b", 4);
    /* 3; 5 and 7, with a null between; the declaration of what replaced the reference */
    assert_int_equal(flat.elems_count, 4);
    assert_int_equal(flat.elems[3].mode, CM_DECLARATIVE);
    for (uint32_t i = 0; i < 3; i++)
        assert_false(flat.elems[i].is_exprs);
    assert_memory_equal(flat.elems[0].offset.p, "\x41\x03\x0b", 3);
    assert_int_equal(flat.elems[0].count, 1);
}

static void images_are_what_remains(void **state)
{
    group_flatten("overlay");
    assert_int_equal(flat.elems_count, 3);
    assert_int_equal(flat.elems[0].count, 2); /* y at 1 and 2, where x was; 3 was nulled */
    assert_memory_equal(flat.elems[0].offset.p, "\x41\x01\x0b", 3);
    assert_memory_equal(flat.elems[0].items.p, "\x01\x01", 2);
    assert_int_equal(flat.elems[1].count, 1); /* y at 4, where x was; y at 8 */
    assert_memory_equal(flat.elems[1].offset.p, "\x41\x04\x0b", 3);
    assert_int_equal(flat.elems[1].items.p[0], 1);
    assert_int_equal(flat.datas_count, 2);
    assert_int_equal(flat.datas[0].content.n, 24);
    assert_memory_equal(flat.datas[0].content.p, "ddddddddddddaabbaa\0\0\0\0cc", 24);
}

static void later_segments_wait_for_starts(void **state)
{
    group_flatten("start");
    assert_true(unit.has_start);
    assert_false(flat.has_start);
    assert_false(unit.passive_segments);
    assert_false(unit.mutates_tables);
    uint32_t passive = 0, active = 0;
    for (uint32_t i = 0; i < flat.datas_count; i++) {
        passive += flat.datas[i].mode == CM_PASSIVE;
        active += flat.datas[i].mode == CM_ACTIVE;
    }
    assert_int_equal(passive, 2); /* "B" and "grown" */
    assert_int_equal(active, 2);  /* "A"; "static" in a memory that the first start can't see */
    assert_int_equal(flat.elems[0].mode, CM_PASSIVE);
    bytes start = body_of(export_of("start")->index);
    /* call a's; the elements, both segments, call b's */
    assert_true(CONTAINS(start, "\0\x10\0\x41\x02\x41\0\x41\x01\xfc\x0c\0\0\xfc\x0d\0"));
    assert_true(CONTAINS(start, "\xfc\x08\x03\0\xfc\x09\x03\x10\x02\x0b"));
}

/* The plan says so if any segment is copied by "start": an instance cannot be restored by it. */
static void copies_by_start_are_told(void **state)
{
    static const struct {
        const char *group;
        bool copies;
        uint32_t segments;
    } groups[] = {
        {"late-elem", true, 1}, {"late-elem-second", true, 2}, {"late-data", true, 1},
        {"start", true, 4},     {"late-data-second", true, 2}, {"unseen", false, 1},
        {"early", true, 1},     {"overlay", false, 2},         {"direct", false, 1},
    };
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        group_flatten(groups[i].group);
        if (unit.start_segments != groups[i].copies)
            fail_msg("%s: %d", groups[i].group, unit.start_segments);
        uint32_t n = groups[i].group[5] == 'e' ? flat.elems_count : flat.datas_count;
        n = strcmp(groups[i].group, "early") == 0 ? flat.elems_count : n;
        assert_int_equal(n, groups[i].segments);
    }
}

static void references_stay_declared(void **state)
{
    group_flatten("refs");
    assert_int_equal(flat.elems_count, 1);
    assert_int_equal(flat.elems[0].mode, CM_DECLARATIVE);
    assert_int_equal(flat.elems[0].count, 2);
    assert_memory_equal(flat.elems[0].items.p, "\0\x01", 2); /* h and f */
}

static void mentioned_segments_stay(void **state)
{
    group_flatten("mentioned");
    assert_true(unit.passive_segments);
    assert_true(unit.mutates_tables);
    assert_int_equal(flat.datas_count, 3); /* the image, an empty one, the passive one */
    assert_int_equal(flat.datas[1].mode, CM_PASSIVE);
    assert_int_equal(flat.datas[1].content.n, 0);
    assert_int_equal(flat.datas[2].content.n, 7);
    assert_true(CONTAINS(body_of(lifted("init")), "\xfc\x08\x02\0"));
    assert_true(CONTAINS(body_of(lifted("init-active")), "\xfc\x08\x01\0"));
    assert_int_equal(flat.elems_count, 4); /* the image, two empty ones, the passive one */
    assert_int_equal(flat.elems[0].mode, CM_ACTIVE);
    assert_int_equal(flat.elems[1].count, 0);
    assert_int_equal(flat.elems[2].count, 2);
    assert_int_equal(flat.elems[3].count, 0);
}

static void equal_types_are_one(void **state)
{
    group_flatten("types");
    /* i32; the pair; self; func of self; open; child; h */
    assert_int_equal(flat.types_count, 8);
    assert_int_equal(flat.recs_count, 7);
    uint32_t g = lifted("g");
    assert_int_equal(flat.func_types[g], flat.func_types[0]);
}

static str name_of(uint32_t func)
{
    assert_non_null(flat.names);
    return flat.names[func];
}

static void names_collide(void **state)
{
    group_flatten("names");
    assert_str(name_of(0), "malloc");
    assert_str(name_of(1), "only_here");
    assert_str(name_of(2), "names/app.malloc");
    assert_str(name_of(3), "exported-name");
    group_flatten("start");
    assert_str(name_of(export_of("start")->index), "start (of all core modules)");
    group_flatten("direct");
    assert_str(name_of(0), "host#log");
}

static void every_index_is_renumbered(void **state)
{
    group_flatten("insns");
    const core_module *want = module_of("insns-expected", "all");
    assert_int_equal(flat.codes_count, want->codes_count);
    for (uint32_t i = 0; i < want->codes_count; i++) {
        if (flat.codes[i].n != want->codes[i].n ||
            memcmp(flat.codes[i].p, want->codes[i].p, want->codes[i].n) != 0)
            fail_msg("function %u differs", i);
    }
    assert_int_equal(flat.types_count, want->types_count);
    for (uint32_t i = 0; i < want->recs_count; i++) {
        assert_int_equal(flat.recs[i].raw.n, want->recs[i].raw.n);
        assert_memory_equal(flat.recs[i].raw.p, want->recs[i].raw.p, want->recs[i].raw.n);
    }
    assert_true(unit.mutates_tables);
    assert_true(unit.passive_segments);
    /* The memory that grows has its size in a global; the other one keeps its instructions. */
    assert_int_equal(unit.memories_count, 2);
    assert_int_equal(unit.sized_memories & (unit.sized_memories - 1), 0);
    assert_true(unit.sized_memories);
    assert_int_equal(export_of(unit.sized_memories == 1 ? "s0" : "s1")->kind, CORE_GLOBAL);
    assert_str(name_of(flat.codes_count - 1), "memory.grow");
}

static void table_initialisers_read_constants(void **state)
{
    group_flatten("tableinit");
    assert_int_equal(flat.count[CORE_GLOBAL], 0);
    assert_memory_equal(flat.tables[0].init.p, "\xd2\0\x0b", 3);
    assert_memory_equal(flat.tables[1].init.p, "\xd0\x6f\x0b", 3);
    assert_false(group_try("tablelate"));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(e.text, "table section: an initialiser"));
}

static void features_are_refused_by_name(void **state)
{
    assert_false(group_try("threads"));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(e.text, "shared memory (threads)"));
    assert_non_null(strstr(e.text, "offset 0x"));
    assert_false(group_try("conts"));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(e.text, "type section: offset 0x"));
    assert_non_null(strstr(e.text, "stack switching"));
    assert_false(group_try("atomics"));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(e.text, "atomic instructions (threads)"));
    assert_non_null(strstr(e.text, "function 0"));
}

/* A module that mentions what is not there, in each place, must be refused and not be read wild. */
static void wild_indices_are_refused(void **state)
{
    static const char *const groups[] = {"direct", "shim",  "fold",      "overlay", "start",
                                         "refs",   "types", "mentioned", "insns"};
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
        core_source sources[GROUP_MAX];
        uint32_t n = group_read(groups[g], sources), refused = 0;
        bytes last = sources[n - 1].module;
        uint8_t *copy = malloc(last.n); /* so that a sanitizer sees its end */
        for (size_t i = 8; i < last.n; i++) {
            arena inner;
            link_plan l;
            memcpy(copy, last.p, last.n);
            copy[i] = 0x7f;
            arena_init(&inner, 64 * MIB);
            buf_clear(&out);
            sources[n - 1].module = (bytes){copy, last.n};
            if (!core_link(&inner, sources, n, &l, &e) ||
                !flatten_unit(&inner, &l, 0, &out, &unit, &e)) {
                refused++;
                assert_true(e.code != ERR_INTERNAL && e.code != ERR_NO_MEMORY && e.text[0]);
            }
            arena_fini(&inner);
        }
        free(copy);
        assert_true(refused > 0);
    }
}

/* --- components ------------------------------------------------------------------------------- */

static void component_becomes_units(void **state)
{
    plan p;
    buf *modules;
    if (!flatten_component(&a, file("twice.wasm"), &p, &modules, &e))
        fail_msg("%s", e.text);
    assert_int_equal(p.units_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(core_module_read(&a, buf_bytes(&modules[i]), &flat, &e));
        assert_int_equal(flat.imports_count, p.units[i].imports_count);
    }
    flatten_free(modules, p.units_count);
}

static const char *const components[] = {"twice.wasm",    "shim.wasm",  "donut.wasm", "relift.wasm",
                                         "callback.wasm", "async.wasm", "wide.wasm"};
enum { COMPONENTS = sizeof components / sizeof *components };

/* What the plan promises, and nothing else, is exported. */
static void assert_exports(const plan *p, uint32_t k)
{
    static const char letters[] = "fpcdmrgts";
    const plan_unit *u = &p->units[k];
    const uint32_t most[] = {u->lifts_count,     u->lifts_count,    u->lifts_count,
                             p->resources_count, u->memories_count, u->reallocs_count,
                             u->globals_count,   u->tables_count,   u->memories_count};
    uint32_t found = u->has_start;
    for (size_t c = 0; letters[c]; c++)
        for (uint32_t i = 0; i < most[c]; i++) {
            char name[16];
            snprintf(name, sizeof name, "%c%u", letters[c], i);
            const cm_export *x = core_module_export(&flat, str_from(name));
            const plan_resource *r = &p->resources[i];
            bool want = letters[c] == 'p'   ? u->lifts[i].has_post_return
                        : letters[c] == 'c' ? u->lifts[i].has_callback
                        : letters[c] == 'd' ? !r->imported && r->unit == k && r->has_dtor
                        : letters[c] == 's' ? u->sized_memories >> i & 1
                                            : true;
            if (want != !!x)
                fail_msg("unit %u: %s is %s", k, name, x ? "there" : "not there");
            assert_true(!x || x->kind == (c < 4 || letters[c] == 'r' ? CORE_FUNC
                                          : letters[c] == 'm'        ? CORE_MEMORY
                                          : letters[c] == 't'        ? CORE_TABLE
                                                                     : CORE_GLOBAL));
            found += want;
        }
    assert_int_equal(core_module_export(&flat, S("start")) != NULL, u->has_start);
    assert_int_equal(flat.exports_count, found);
    assert_int_equal(flat.imports_count, u->imports_count);
}

static void plans_and_exports_agree(void **state)
{
    for (size_t i = 0; i < COMPONENTS; i++) {
        plan p;
        buf *modules;
        if (!flatten_component(&a, file(components[i]), &p, &modules, &e))
            fail_msg("%s: %s", components[i], e.text);
        for (uint32_t k = 0; k < p.units_count; k++) {
            assert_true(core_module_read(&a, buf_bytes(&modules[k]), &flat, &e));
            assert_exports(&p, k);
        }
        flatten_free(modules, p.units_count);
    }
}

/* As many parameters as there can be: sixteen and the place of the result. */
static void wide_signatures(void **state)
{
    plan p;
    buf *modules;
    if (!flatten_component(&a, file("wide.wasm"), &p, &modules, &e))
        fail_msg("%s", e.text);
    assert_int_equal(p.units_count, 1);
    assert_true(core_module_read(&a, buf_bytes(&modules[0]), &flat, &e));
    assert_int_equal(p.units[0].imports_count, 2);
    const cm_rec *wide = core_module_rec(&flat, flat.imports[0].type);
    assert_int_equal(wide->raw.n, 20);
    assert_memory_equal(wide->raw.p,
                        "\x60\x11\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f"
                        "\x7e\x7c\x7f\0",
                        20);
    const cm_rec *spilled = core_module_rec(&flat, flat.imports[1].type);
    assert_int_equal(spilled->raw.n, 5);
    assert_memory_equal(spilled->raw.p, "\x60\2\x7f\x7f\0", 5);
    assert_str(functype_text(&a, p.imports[1].type),
               "func(a: tuple<u32, u32, u32, u32, u32, u32, u32, u32>, b: string, "
               "c: tuple<u8, u8, u8, u8, u8, u8, u8>) -> map<string, u8>");
    assert_int_equal(p.units[0].imports[1].options.encoding, ENCODING_UTF16);
    flatten_free(modules, p.units_count);
}

/* --- failures --------------------------------------------------------------------------------- */

/* A plan and its modules as one stretch of bytes, which two runs can be compared by. */
static bytes flattened(const plan *p, const buf *modules)
{
    buf b;
    buf_init(&b, 64 * MIB);
    assert_true(plan_encode(p, &b, &e));
    for (uint32_t i = 0; i < p->units_count; i++)
        buf_put(&b, modules[i].p, modules[i].n);
    assert_false(b.failed);
    bytes all = arena_bytes(&a, buf_bytes(&b));
    buf_fini(&b);
    return all;
}

static void assert_same(bytes x, bytes y)
{
    assert_int_equal(x.n, y.n);
    assert_memory_equal(x.p, y.p, x.n);
}

typedef struct {
    bytes component;
    core_source sources[GROUP_MAX];
    uint32_t n; /* of the sources */
    bytes want;
} run;

/* Flattens what r says, a component or a group, and counts its allocations. */
static bool run_once(arena *inner, const run *r, bytes *ret, size_t *ret_allocations)
{
    if (!r->n) {
        plan p = {.units_count = 77};
        buf *modules = NULL;
        bool ok = flatten_component(inner, r->component, &p, &modules, &e);
        *ret_allocations = alloc_fail_after(0);
        if (ok) {
            *ret = flattened(&p, modules);
            flatten_free(modules, p.units_count);
        } else {
            assert_int_equal(p.units_count, 77);
            assert_null(modules);
        }
        return ok;
    }
    link_plan l;
    buf fresh;
    plan_unit made;
    buf_init(&fresh, 64 * MIB);
    bool ok =
        core_link(inner, r->sources, r->n, &l, &e) && flatten_unit(inner, &l, 0, &fresh, &made, &e);
    *ret_allocations = alloc_fail_after(0);
    if (ok)
        *ret = flattened(&(plan){.units = &made, .units_count = 1}, &fresh);
    buf_fini(&fresh);
    return ok;
}

static run run_of_component(const char *name)
{
    run r = {.component = file(name)};
    size_t ignored;
    assert_true(run_once(&a, &r, &r.want, &ignored));
    return r;
}

static run run_of_group(const char *name)
{
    run r = {0};
    r.n = group_read(name, r.sources);
    size_t ignored;
    assert_true(run_once(&a, &r, &r.want, &ignored));
    return r;
}

static const char *const groups[] = {
    "direct", "shim",  "fold",  "overlay",   "start",  "mutated-second", "refs",     "mentioned",
    "types",  "names", "insns", "tableinit", "unseen", "late-data",      "late-elem"};
enum { GROUPS = sizeof groups / sizeof *groups };

/* Every allocation in turn fails: an error, no leak, no crash, and the outputs untouched; or what
 * comes out is the same all the same. */
static void memory_may_fail_anywhere(const run *r)
{
    bool done = false;
    for (size_t n = 1; !done; n++) {
        arena inner;
        bytes got;
        size_t allocations;
        arena_init(&inner, COMPONENT_ARENA_BYTES_MAX);
        alloc_fail_after(n);
        bool ok = run_once(&inner, r, &got, &allocations);
        done = allocations < n;
        if (ok)
            assert_same(got, r->want);
        else
            assert_int_equal(e.code, ERR_NO_MEMORY);
        assert_true(ok || !done);
        assert_true(!done || n > 20);
        arena_fini(&inner);
    }
}

static void memory_fails_in_components(void **state)
{
    for (size_t i = 0; i < COMPONENTS; i++) {
        run r = run_of_component(components[i]);
        memory_may_fail_anywhere(&r);
    }
}

static void memory_fails_in_groups(void **state)
{
    for (size_t g = 0; g < GROUPS; g++) {
        run r = run_of_group(groups[g]);
        memory_may_fail_anywhere(&r);
    }
}

static void in_one_arena(arena *inner, const void *ctx)
{
    const run *r = ctx;
    bytes got;
    size_t ignored;
    if (!run_once(inner, r, &got, &ignored))
        fail_msg("%s", e.text);
    assert_same(got, r->want);
}

static void ends_of_blocks(void **state)
{
    for (size_t i = 0; i < COMPONENTS; i++) {
        run r = run_of_component(components[i]);
        at_block_ends(in_one_arena, &r);
    }
    for (size_t g = 0; g < GROUPS; g++) {
        run r = run_of_group(groups[g]);
        at_block_ends(in_one_arena, &r);
    }
}

static bool fits(const run *r, size_t bytes_max)
{
    arena inner;
    bytes got;
    size_t ignored;
    arena_init_level(&inner, bytes_max);
    bool ok = run_once(&inner, r, &got, &ignored);
    if (ok)
        assert_same(got, r->want);
    else
        assert_int_equal(e.code, ERR_NO_MEMORY);
    arena_fini(&inner);
    return ok;
}

/* In the smallest arena that does, the last allocations have blocks that are no larger than they
 * are; a smaller one is an error. */
static void smallest_arenas(void **state)
{
    for (size_t i = 0; i < COMPONENTS; i++) {
        run r = run_of_component(components[i]);
        size_t low = 0, high = 16 * MIB;
        assert_true(fits(&r, high));
        while (high - low > 16) {
            size_t middle = (low + high) / 32 * 16;
            *(fits(&r, middle) ? &high : &low) = middle;
        }
        assert_false(fits(&r, low));
        assert_true(fits(&r, high));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(imports_become_direct, setup),
        cmocka_unit_test_setup(thunks_become_what_they_call, setup),
        cmocka_unit_test_setup(thunks_go_where_no_start_can_tell, setup),
        cmocka_unit_test_setup(thunks_stay_unless_proved, setup),
        cmocka_unit_test_setup(constants_fold, setup),
        cmocka_unit_test_setup(images_are_what_remains, setup),
        cmocka_unit_test_setup(later_segments_wait_for_starts, setup),
        cmocka_unit_test_setup(copies_by_start_are_told, setup),
        cmocka_unit_test_setup(references_stay_declared, setup),
        cmocka_unit_test_setup(mentioned_segments_stay, setup),
        cmocka_unit_test_setup(equal_types_are_one, setup),
        cmocka_unit_test_setup(names_collide, setup),
        cmocka_unit_test_setup(every_index_is_renumbered, setup),
        cmocka_unit_test_setup(table_initialisers_read_constants, setup),
        cmocka_unit_test_setup(features_are_refused_by_name, setup),
        cmocka_unit_test_setup(wild_indices_are_refused, setup),
        cmocka_unit_test_setup(component_becomes_units, setup),
        cmocka_unit_test_setup(plans_and_exports_agree, setup),
        cmocka_unit_test_setup(wide_signatures, setup),
        cmocka_unit_test_setup(memory_fails_in_components, setup),
        cmocka_unit_test_setup(memory_fails_in_groups, setup),
        cmocka_unit_test_setup(ends_of_blocks, setup),
        cmocka_unit_test_setup(smallest_arenas, setup),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_fini(&a);
    buf_fini(&out);
    return failed;
}
