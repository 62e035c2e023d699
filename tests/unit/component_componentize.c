/* component/componentize: what core modules become whose worlds are in them
 * (tests/component/worlds.wast), compared with the component that wasm-tools makes of each; and the
 * modules, worlds and adapters that are refused, each with its words. */
#include "component_kit.h"

#include "component/componentize.h"
#include "component/core_code.h"
#include "component/flatten.h"
#include "component/world.h"

static buf out;

static int setup(void **state)
{
    arena_fini(&a);
    arena_init(&a, COMPONENT_ARENA_BYTES_MAX);
    buf_fini(&out);
    buf_init(&out, 64 * MIB);
    e = (err){0};
    return 0;
}

static bytes world_file(const char *name, const char *kind)
{
    bytes all = file("worlds.txt");
    str text = {(const char *)all.p, all.n};
    while (text.n) {
        str line = str_cut(&text, '\n');
        if (str_eq(str_cut(&line, ' '), str_from(name)) &&
            str_eq(str_cut(&line, ' '), str_from(kind)))
            return unhex(line);
    }
    fail_msg("no %s %s", name, kind);
    return (bytes){0};
}

static bytes core_of(const char *name) { return world_file(name, "core"); }

static bool make(bytes module, bytes adapter)
{
    buf_clear(&out);
    return componentize(&a, module, adapter, &out, &e);
}

static bytes made(bytes module, bytes adapter)
{
    if (!make(module, adapter))
        fail_msg("%s", e.text);
    if (!component_check(&a, buf_bytes(&out), &e))
        fail_msg("what was made: %s", e.text);
    return buf_bytes(&out);
}

static void refused_by(bytes module, bytes adapter, err_code code, const char *says)
{
    e = (err){0};
    if (make(module, adapter))
        fail_msg("taken; expected: %s", says);
    if (!strstr(e.text, says))
        fail_msg("'%s' does not say '%s'", e.text, says);
    assert_int_equal(e.code, code);
}

static void refused(bytes module, err_code code, const char *says)
{
    refused_by(module, adapter_reactor(), code, says);
}

/* --- a component in lines of text ------------------------------------------------------------- */

typedef struct {
    str lines[200];
    uint32_t n;
} listing;

static void add(listing *l, str line)
{
    assert_non_null(line.p);
    assert_true(l->n < 200);
    l->lines[l->n++] = line;
}

static int line_cmp(const void *x, const void *y)
{
    return str_cmp(*(const str *)x, *(const str *)y);
}

/* The host's functions that are reached from a function of the flattened module. */
typedef struct {
    const core_module *m;
    uint8_t seen[1000];
    uint32_t queue[1000], queued;
} reach;

static void reach_func(void *ctx, uint32_t func)
{
    reach *r = ctx;
    assert_true(func < r->m->count[CORE_FUNC] && func < 1000);
    if (!r->seen[func]++)
        r->queue[r->queued++] = func;
}

static str import_text(const plan *p, const plan_import *im)
{
    if (im->kind == CANON_RESOURCE_DROP)
        return arena_printf(&a, "drop of %.*s", STR(p->resources[im->resource].name));
    return arena_printf(&a, "%.*s.%.*s", STR(im->interface), STR(im->name));
}

static void add_calls(listing *l, const plan *p, const core_module *m, const char *export,
                      str label)
{
    const index_map any = {NULL, UINT32_MAX};
    const code_maps maps = {any, any, any, any, any, any, any, any, NULL, NULL, NULL};
    const cm_export *x = core_module_export(m, str_from(export));
    reach r = {.m = m};
    if (!x)
        return;
    reach_func(&r, x->index);
    for (uint32_t i = 0; i < r.queued; i++) {
        uint32_t func = r.queue[i];
        if (func < m->imported[CORE_FUNC]) {
            add(l, arena_printf(&a, "%.*s calls %.*s", STR(label),
                                STR(import_text(p, &p->units[0].imports[func]))));
            continue;
        }
        code_facts facts = {.on_func = reach_func, .ctx = &r};
        reader body = reader_over(m->codes[func - m->imported[CORE_FUNC]]);
        assert_true(code_walk_body(&body, &maps, NULL, &facts, &e));
        assert_false(facts.calls_any); /* no thunk is left */
    }
}

static str func_text(const functype *f) { return f ? functype_text(&a, f) : S("whole"); }

/* What it imports and exports, and which imports each export reaches. */
static void list(bytes component, listing *ret)
{
    link_plan links;
    plan p;
    buf *modules;
    core_module m;
    *ret = (listing){0};
    if (!component_link(&a, component, &links, &e) ||
        !flatten_component(&a, component, &p, &modules, &e))
        fail_msg("%s", e.text);
    assert_int_equal(p.units_count, 1);
    assert_true(core_module_read(&a, buf_bytes(&modules[0]), &m, &e));
    for (uint32_t i = 0; i < links.imports_count; i++) {
        const link_name *x = &links.imports[i];
        add(ret, arena_printf(&a, "import %.*s.%.*s: %.*s", STR(x->interface), STR(x->name),
                              STR(func_text(x->type))));
    }
    for (uint32_t i = 0; i < links.exports_count; i++) {
        const link_name *x = &links.exports[i];
        add(ret, arena_printf(&a, "export %.*s.%.*s: %.*s by %.*s", STR(x->interface), STR(x->name),
                              STR(func_text(x->type)), STR(links.units[0].lifts[x->lift].label)));
    }
    for (uint32_t i = 0; i < links.resources_count; i++)
        add(ret, arena_printf(&a, "resource %.*s.%.*s", STR(links.resources[i].type.interface),
                              STR(links.resources[i].type.name)));
    for (uint32_t i = 0; i < p.units[0].imports_count; i++) {
        const plan_import *im = &p.units[0].imports[i];
        add(ret, arena_printf(&a, "canon %d %.*s", (int)im->kind, STR(import_text(&p, im))));
    }
    for (uint32_t i = 0; i < p.units[0].lifts_count; i++) {
        char name[16];
        str label = p.units[0].lifts[i].label;
        snprintf(name, sizeof name, "f%u", i);
        add_calls(ret, &p, &m, name, label);
        snprintf(name, sizeof name, "p%u", i);
        add_calls(ret, &p, &m, name, arena_printf(&a, "end of %.*s", STR(label)));
        add(ret, arena_printf(&a, "lift %.*s%s", STR(label),
                              p.units[0].lifts[i].has_post_return ? " and an end" : ""));
    }
    add_calls(ret, &p, &m, "start", S("start"));
    if (p.units[0].has_start)
        add(ret, S("a start"));
    flatten_free(modules, p.units_count);
    qsort(ret->lines, ret->n, sizeof *ret->lines, line_cmp);
}

static bool has(const listing *l, const char *line)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (str_eq(l->lines[i], str_from(line)))
            return true;
    return false;
}

static void assert_listing(const listing *x, const listing *y)
{
    for (uint32_t i = 0; i < x->n && i < y->n; i++)
        if (!str_eq(x->lines[i], y->lines[i]))
            fail_msg("'%.*s' where '%.*s' is expected", STR(x->lines[i]), STR(y->lines[i]));
    assert_int_equal(x->n, y->n);
}

static void as_wasm_tools_makes_them(void **state)
{
    static const char *const worlds[] = {"full", "bare", "named"};
    for (size_t i = 0; i < sizeof worlds / sizeof *worlds; i++) {
        listing ours, theirs;
        list(made(core_of(worlds[i]), adapter_reactor()), &ours);
        list(world_file(worlds[i], "made"), &theirs);
        assert_listing(&ours, &theirs);
        assert_true(ours.n >= 2);
    }
}

/* Memory and realloc of main, wherever it has them; the end of a call where it exports one. */
static void options(void **state)
{
    link_plan p;
    assert_true(component_link(&a, made(core_of("full"), adapter_reactor()), &p, &e));
    const link_unit *u = &p.units[0];
    assert_int_equal(u->canons_count, 9);
    for (uint32_t i = 0; i < u->canons_count; i++)
        if (u->canons[i].kind == CANON_HOST) {
            assert_int_equal(u->canons[i].options.encoding, ENCODING_UTF8);
            assert_str(u->canons[i].options.memory.name, "memory");
            assert_str(u->canons[i].options.realloc.name, "cabi_realloc");
        }
    assert_int_equal(u->lifts_count, 3);
    for (uint32_t i = 0; i < u->lifts_count; i++) {
        bool has_end = str_ends(u->lifts[i].core.name, S("#run"));
        assert_int_equal(u->lifts[i].options.post_return.instance >= 0, has_end);
        assert_str(u->lifts[i].options.memory.name, "memory");
        assert_str(u->lifts[i].options.realloc.name, "cabi_realloc");
    }
    assert_true(component_link(&a, made(core_of("bare"), adapter_reactor()), &p, &e));
    assert_int_equal(p.units[0].lifts[0].options.memory.instance, -1);
    assert_int_equal(p.units[0].lifts[0].options.realloc.instance, -1);
}

/* --- several worlds --------------------------------------------------------------------------- */

/* The custom section of a module that holds its world, with its header. */
static bytes world_section(bytes module)
{
    reader r = reader_over(module), content;
    str name;
    uint8_t id;
    assert_true(reader_skip(&r, 8, &e));
    while (!reader_done(&r)) {
        const uint8_t *from = r.at;
        assert_true(reader_u8(&r, &id, &e) && reader_sized(&r, &content, &e));
        if (id == 0 && reader_name(&content, &name, &e) && str_starts(name, S("component-type")))
            return (bytes){from, (size_t)(r.at - from)};
    }
    fail_msg("no world");
    return (bytes){0};
}

static bytes with_world(bytes module, bytes section)
{
    uint8_t *p = arena_alloc(&a, module.n + section.n);
    memcpy(p, module.p, module.n);
    memcpy(p + module.n, section.p, section.n);
    return (bytes){p, module.n + section.n};
}

static void worlds_are_merged(void **state)
{
    listing one, two;
    bytes full = core_of("full");
    list(made(full, adapter_reactor()), &one);
    list(made(with_world(full, world_section(core_of("bare"))), adapter_reactor()), &two);
    assert_listing(&two, &one);
    list(made(with_world(full, world_section(full)), adapter_reactor()), &two);
    assert_listing(&two, &one);
    list(made(with_world(full, world_section(core_of("old"))), adapter_reactor()), &two);
    assert_listing(&two, &one);
    refused(with_world(full, world_section(core_of("named"))), ERR_INVALID,
            "the core module lacks 'pick', which its world exports");
    /* as many as there may be, and one more */
    bytes many = core_of("bare");
    for (int i = 1; i < WORLDS_MAX; i++)
        many = with_world(many, world_section(core_of("bare")));
    made(many, adapter_reactor());
    refused(with_world(many, world_section(many)), ERR_LIMIT,
            "more than 64 component-type sections");
}

/* --- the adapter ------------------------------------------------------------------------------ */

static void adapter_for_preview_1(void **state)
{
    listing l;
    list(made(core_of("old"), adapter_reactor()), &l);
    assert_true(has(&l, "go calls t:t/log@1.2.0.[constructor]sink"));
    bool random = false, stream = false, other = false;
    for (uint32_t i = 0; i < l.n; i++)
        if (str_starts(l.lines[i], S("go calls wasi:"))) {
            random |= str_starts(l.lines[i], S("go calls wasi:random/random@"));
            stream |= str_starts(l.lines[i], S("go calls wasi:io/streams@"));
            other |= str_starts(l.lines[i], S("go calls wasi:clocks/"));
        }
    assert_true(random && stream && !other);
}

/* Module `index` of a component. */
static core_module module_at(bytes component, uint32_t index)
{
    reader r = reader_over(component), content;
    core_module m;
    uint8_t id;
    assert_true(reader_skip(&r, 8, &e));
    for (;;) {
        assert_true(reader_u8(&r, &id, &e) && reader_sized(&r, &content, &e));
        if (id == 1 && index-- == 0)
            break;
    }
    assert_true(core_module_read(&a, (bytes){content.at, reader_left(&content)}, &m, &e));
    return m;
}

static void assert_code(const core_module *m, uint32_t func, const char *want, size_t n)
{
    bytes got = m->codes[func - m->imported[CORE_FUNC]];
    assert_int_equal(got.n, n);
    assert_memory_equal(got.p, want, n);
}
#define ASSERT_CODE(m, func, lit) assert_code((m), (func), (lit), sizeof(lit) - 1)

/* What main does not use is gone, and whatever it calls has a stack first. */
static void adapter_is_cut_and_gets_a_stack(void **state)
{
    listing l;
    bytes c = made(core_of("old"), core_of("old/adapter"));
    list(c, &l);
    assert_true(has(&l, "import t:t/log@1.2.0.flush: func(s: own<sink>)"));
    assert_true(has(&l, "go calls t:t/log@1.2.0.flush"));
    for (uint32_t i = 0; i < l.n; i++)
        assert_false(str_starts(l.lines[i], S("canon 4"))); /* the drop */
    core_module m = module_at(c, 3);
    assert_int_equal(m.imports_count, 3);
    assert_str(m.imports[0].name, "memory");
    assert_str(m.imports[1].name, "cabi_realloc");
    assert_str(m.imports[2].name, "flush");
    assert_int_equal(m.exports_count, 3);
    assert_null(core_module_export(&m, S("fd_read")));
    assert_int_equal(m.codes_count, 8);
    /* functions 2 to 5 are its own, 6 makes the stack, then comes what is exported */
    assert_int_equal(core_module_export(&m, S("cabi_import_realloc"))->index, 7);
    assert_int_equal(core_module_export(&m, S("fd_write"))->index, 8);
    assert_int_equal(core_module_export(&m, S("random_get"))->index, 9);
    ASSERT_CODE(&m, 3, "\0\x20\0\x10\x01\x0b");
    ASSERT_CODE(&m, 4, "\0\x20\0\x10\x03\x41\0\x0b");
    ASSERT_CODE(&m, 6,
                "\0\x23\x01\x45\x04\x40\x41\x01\x24\x01"
                "\x41\0\x41\0\x41\x08\x41\x80\x80\x04\x10\0\x41\x80\x80\x04\x6a\x24\0"
                "\x41\x02\x24\x01\x0b\x0b");
    ASSERT_CODE(&m, 8, "\0\x10\x06\x20\0\x20\x01\x20\x02\x20\x03\x10\x04\x0b");
    ASSERT_CODE(&m, 9, "\0\x10\x06\x20\0\x20\x01\x10\x05\x0b");
    assert_int_equal(m.func_types[7], m.func_types[2]);
    assert_int_equal(m.func_types[8], m.func_types[4]);
    assert_int_equal(m.func_types[9], m.func_types[5]);
    assert_int_equal(core_module_rec(&m, m.func_types[6])->raw.n, 3); /* no parameter, no result */
}

static void adapters_that_are_none(void **state)
{
    static const struct {
        const char *name, *says;
    } cases[] = {
        {"bare/table", "adapter for WASI preview 1: the adapter has a table or a start function"},
        {"bare/start", "the adapter has a table or a start function"},
        {"bare/indirect", "the adapter calls through a table"},
        {"bare/global", "the adapter imports 'g', which is no function or memory"},
        {"bare/stack", "the adapter has no global '__stack_pointer'"},
        {"bare/state", "the adapter has no global 'allocation_state'"},
        {"bare/realloc", "the adapter does not import cabi_realloc"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused_by(core_of("old"), core_of(cases[i].name), ERR_INTERNAL, cases[i].says);
    refused_by(core_of("old"), core_of("bare/function"), ERR_UNSUPPORTED,
               "imports 'random_get' of WASI preview 1, which the adapter does not have");
    refused_by(core_of("old"), (bytes){0}, ERR_INVALID, "the adapter for WASI preview 1");
    made(core_of("full"), (bytes){0}); /* it is not asked for */
}

/* Every byte of an adapter may be another. */
static void adapters_that_are_damaged(void **state)
{
    bytes main = core_of("old"), b = core_of("old/adapter");
    for (size_t i = 0; i < b.n; i++) {
        arena inner;
        arena_init(&inner, 64 * MIB);
        bytes cut = exact((bytes){b.p, i});
        buf_clear(&out);
        if (componentize(&inner, main, cut, &out, &e))
            component_check(&inner, buf_bytes(&out), &e);
        free((void *)cut.p);
        bytes copy = exact(b);
        ((uint8_t *)copy.p)[i] = 0x7f;
        buf_clear(&out);
        if (componentize(&inner, main, copy, &out, &e))
            component_check(&inner, buf_bytes(&out), &e);
        free((void *)copy.p);
        arena_fini(&inner);
    }
}

/* --- modules that are refused ----------------------------------------------------------------- */

/* A core module of a world that imports one function, or something of another kind, and exports a
 * function (i32) -> (i32). `desc` is what follows the names of the import. */
typedef struct {
    const char *module, *name, *desc, *exports, *world;
    size_t desc_n;
} guest;

static void put_text(buf *b, const char *s)
{
    put_leb(b, (uint32_t)strlen(s));
    buf_put(b, s, strlen(s));
}

static bytes guest_make(const guest *g)
{
    buf m, s;
    buf_init(&m, MIB);
    buf_init(&s, MIB);
    buf_put(&m, "\0asm\1\0\0\0", 8);
    static const char types[] = "\6\x60\1\x7f\1\x7f" /* 0: (i32) -> (i32) */
                                "\x60\0\0"           /* 1: () -> () */
                                "\x60\1\x7f\0"       /* 2: (i32) -> () */
                                "\x5f\0"             /* 3: a struct */
                                "\x60\2\x7f\x7f\0"   /* 4: (i32 i32) -> () */
                                "\x60\2\x7f\x7c";    /* 5: (i32 f64) -> () */
    put_part(&m, 1, (bytes){(const uint8_t *)types, sizeof types});
    buf_put_u8(&s, 1);
    put_text(&s, g->module);
    put_text(&s, g->name);
    buf_put(&s, g->desc, g->desc_n);
    put_part(&m, 2, buf_bytes(&s));
    put_part(&m, 3, (bytes){(const uint8_t *)"\1\0", 2});
    buf_clear(&s);
    buf_put_u8(&s, 1);
    put_text(&s, g->exports);
    buf_put(&s, g->desc[0] ? "\0\0" : "\0\1", 2);
    put_part(&m, 7, buf_bytes(&s));
    put_part(&m, 10, (bytes){(const uint8_t *)"\1\4\0\x20\0\x0b", 6});
    bytes section = world_section(core_of(g->world));
    buf_put(&m, section.p, section.n);
    bytes all = arena_bytes(&a, buf_bytes(&m));
    buf_fini(&m);
    buf_fini(&s);
    return all;
}

static bytes importing(const char *module, const char *name)
{
    return guest_make(&(guest){module, name, "\0\2", "go", "old", 2});
}

static void imports(void **state)
{
    static const char *const schemes[][2] = {
        {"[export]t:t/api@1.2.0", "[resource-new]sink"},
        {"[export]t:t/api@1.2.0", "[method]sink.write"},
        {"[export]$root", "[task-return]go"},
        {"t:t/log@1.2.0", "[resource-rep]sink"},
        {"t:t/log@1.2.0", "[async-lower]flush"},
        {"cm32p2|t:t/log@1", "flush"},
        {"$root", "[context-get-0]"},
    };
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        refused(importing(schemes[i][0], schemes[i][1]), ERR_UNSUPPORTED,
                "another scheme of names");
    made(importing("t:t/log@1.2.0", "flush"), adapter_reactor());
    made(importing("t:t/log@1.2.0", "[resource-drop]sink"), adapter_reactor());
    refused(importing("t:t/none@1.2.0", "flush"), ERR_INVALID,
            "the module imports from 't:t/none@1.2.0', which its world does not have");
    refused(importing("$root", "flush"), ERR_INVALID,
            "the module imports 'flush', which its world does not have");
    refused(importing("wasi_snapshot_preview1", "none"), ERR_UNSUPPORTED,
            "the core module imports 'none' of WASI preview 1, which the adapter does not have");
    refused(importing("wasi_snapshot_preview1", "proc_exit"), ERR_UNSUPPORTED,
            "the core module uses WASI preview 1 but exports no cabi_realloc");
    refused(guest_make(&(guest){"t:t/log@1.2.0", "flush", "\2\0\1", "go", "old", 3}),
            ERR_UNSUPPORTED, "imports 't:t/log@1.2.0' 'flush', which is no function");
    refused(guest_make(&(guest){"t:t/log@1.2.0", "flush", "\0\3", "go", "old", 2}), ERR_INVALID,
            "import 'flush' has no function type");
    refused(guest_make(&(guest){"t:t/log@1.2.0", "flush", "\0\2", "gone", "old", 2}), ERR_INVALID,
            "the core module lacks 'go', which its world exports");
    refused(guest_make(&(guest){"t:t/log@1.2.0", "flush", "\0\2", "go", "full", 2}), ERR_INVALID,
            "the core module lacks 't:t/api@1.2.0#run', which its world exports");
    /* what the interface does not have is for the ordinary checks to say */
    assert_true(make(importing("t:t/log@1.2.0", "none"), adapter_reactor()));
    assert_false(component_check(&a, buf_bytes(&out), &e));
    assert_non_null(strstr(e.text, "no export named 'none'"));
}

/* A module may know another version of its track than its world has. */
static void versions_of_a_track(void **state)
{
    link_plan p;
    assert_true(
        component_link(&a, made(importing("t:t/log@1.0.9", "flush"), adapter_reactor()), &p, &e));
    assert_int_equal(p.imports_count, 1);
    assert_str(p.imports[0].interface, "t:t/log@1.2.0");
    refused(importing("t:t/log@2.2.0", "flush"), ERR_INVALID, "imports from 't:t/log@2.2.0'");
}

static void no_modules(void **state)
{
    bytes full = core_of("full");
    refused((bytes){0}, ERR_UNSUPPORTED, "without a component-type section");
    refused((bytes){full.p, 8}, ERR_UNSUPPORTED, "without a component-type section");
    refused(with_world((bytes){(const uint8_t *)"\0asm\2\0\0\0", 8}, world_section(full)),
            ERR_INVALID, "no core module");
    for (size_t i = 8; i < full.n; i++) {
        bytes cut = exact((bytes){full.p, i});
        assert_false(make(cut, adapter_reactor()));
        assert_true(e.code == ERR_INVALID || e.code == ERR_UNSUPPORTED);
        free((void *)cut.p);
    }
}

/* --- worlds, byte by byte --------------------------------------------------------------------- */

/* A module with a world of n declarations, that exports "go" of no parameters. */
static bytes world_of(uint32_t n, const char *decls, size_t size)
{
    buf types, section, m;
    buf_init(&types, MIB);
    buf_init(&section, MIB);
    buf_init(&m, MIB);
    buf_put(&types, "\1\x41\2\1\x41", 5);
    put_leb(&types, n);
    buf_put(&types, decls, size);
    put_text(&section, "component-type:test");
    buf_put(&section, "\0asm\x0d\0\1\0", 8);
    put_part(&section, 0, (bytes){(const uint8_t *)"\1x", 2});
    put_part(&section, 7, buf_bytes(&types));
    buf_put(&m, "\0asm\1\0\0\0", 8);
    put_part(&m, 1, (bytes){(const uint8_t *)"\1\x60\0\0", 4});
    put_part(&m, 3, (bytes){(const uint8_t *)"\1\0", 2});
    put_part(&m, 7, (bytes){(const uint8_t *)"\1\2go\0\0", 6});
    put_part(&m, 10, (bytes){(const uint8_t *)"\1\2\0\x0b", 4});
    put_part(&m, 0, buf_bytes(&section));
    bytes all = arena_bytes(&a, buf_bytes(&m));
    buf_fini(&types);
    buf_fini(&section);
    buf_fini(&m);
    return all;
}
#define WORLD(n, lit) world_of((n), (lit), sizeof(lit) - 1)

/* The same, with any content of the custom section. */
static bytes holding(const char *content, size_t size)
{
    buf s;
    buf_init(&s, MIB);
    put_text(&s, "component-type");
    buf_put(&s, content, size);
    buf m;
    buf_init(&m, MIB);
    buf_put(&m, "\0asm\1\0\0\0", 8);
    put_part(&m, 0, buf_bytes(&s));
    bytes all = arena_bytes(&a, buf_bytes(&m));
    buf_fini(&s);
    buf_fini(&m);
    return all;
}
#define HOLDING(lit) holding((lit), sizeof(lit) - 1)

#define FUNC         "\1\x40\0\1\0" /* a type: func() */
#define BYTE         "\1\x7d"       /* a type: u8 */
#define GO           "\4\0\2go\1"   /* an export of a function, whose type follows */
#define EXPORT       "\4\0\1i\5\0"  /* an export of an instance of type 0 */
#define IMPORT(desc) "\3\0\1i" desc /* an import named i */
#define INSTANCE     "\1\x42"       /* a type: an instance, of so many declarations */

static void sections_of_worlds(void **state)
{
    static const char encoding[] = "an encoding that ebb does not know";
    made(WORLD(2, FUNC GO "\0"), adapter_reactor());
    refused(HOLDING(""), ERR_INVALID, "the component-type section is no component");
    refused(HOLDING("\0asm\x0d\0\1"), ERR_INVALID, "the component-type section is no component");
    refused(HOLDING("\0asm\1\0\0\0"), ERR_INVALID, "the component-type section is no component");
    refused(HOLDING("\0asm\x0d\0\1\0"), ERR_INVALID, "the component-type section holds no world");
    refused(HOLDING("\0asm\x0d\0\1\0\0\2\1x"), ERR_INVALID, "holds no world");
    refused(HOLDING("\0asm\x0d\0\1\0\7"), ERR_INVALID, "unexpected end");
    refused(HOLDING("\0asm\x0d\0\1\0\7\6\2\x41\2\1\x41\0"), ERR_UNSUPPORTED, encoding);
    refused(HOLDING("\0asm\x0d\0\1\0\7\6\1\x42\2\1\x41\0"), ERR_UNSUPPORTED, encoding);
    refused(HOLDING("\0asm\x0d\0\1\0\7\6\1\x41\1\1\x41\0"), ERR_UNSUPPORTED, encoding);
    refused(HOLDING("\0asm\x0d\0\1\0\7\6\1\x41\2\2\x41\0"), ERR_UNSUPPORTED, encoding);
    refused(HOLDING("\0asm\x0d\0\1\0\7\6\1\x41\2\1\x42\0"), ERR_UNSUPPORTED, encoding);
    refused(HOLDING("\0asm\x0d\0\1\0\7\6\1\x41\2\1\x41\1"), ERR_INVALID,
            "1 declarations of the world do not fit");
}

static void declarations(void **state)
{
    static const struct {
        const char *decls, *says;
        uint32_t n, size;
        err_code code;
    } cases[] = {
#define CASE(n, decls, code, says) {decls, says, n, sizeof(decls) - 1, code}
#define NO(decls, says)            CASE(1, decls, ERR_UNSUPPORTED, says)
        NO("\0\x60", "a core type"),
        NO("\5\0", "a core type"),
        NO("\2\5\0\0\1x", "an alias that is not of a type of an import"),
        NO("\2\3\1\0\1x", "an alias that is not of a type of an import"),
        CASE(1, "\2\3\0\0\1x", ERR_INVALID, "an alias of an import that is not there"),
        CASE(3, INSTANCE "\0" EXPORT "\2\3\0\0\1x", ERR_INVALID,
             "an alias of an import that is not there"), /* it is an export */
        NO("\3\2\1i\1\0", "a name with a version suffix"),
        NO(IMPORT("\4\0"), "an import or export that is no function, type or interface"),
        NO(IMPORT("\2\x7d"), "an import or export that is no function, type or interface"),
        NO(IMPORT("\3\2"), "an unknown type bound"),
        NO(IMPORT("\3\1"), "a resource outside of an interface"),
        CASE(1, IMPORT("\3\0\0"), ERR_INVALID, "a type that is not there"),
        NO("\1\x3f\x7f\0", "a resource that the guest defines"),
        NO("\1\x43\0\1\0", "asynchronous functions, streams or futures"),
        NO("\1\x66\0", "asynchronous functions, streams or futures"),
        NO("\1\x65\0", "asynchronous functions, streams or futures"),
        NO("\1\x41\0", "a nested component type"),
        NO("\1\x60\0", "a kind of type that ebb cannot copy"),
        NO("\1\x63\0\0", "a kind of type that ebb cannot copy"),
        NO(INSTANCE "\1\0\x60", "an unknown declaration in an interface"),
        NO(INSTANCE "\1\3\0", "an unknown declaration in an interface"),
        NO(INSTANCE "\1\1\x42\0", "a nested instance type"),
        NO(INSTANCE "\1\2\5\2\1\0", "an alias in an interface that is not of an outer type"),
        NO(INSTANCE "\1\2\3\1\1\0", "an alias in an interface that is not of an outer type"),
        NO(INSTANCE "\1\2\3\2\2\0", "an alias of a type further out"),
        NO(INSTANCE "\1\2\3\2\0\0", "an alias of a type further out"),
        NO(INSTANCE "\1\4\0\1x\5\0", "an instance in an interface"),
        NO(INSTANCE "\1\4\0\1x\2\0", "an import or export that is no function"),
        CASE(2, BYTE GO "\5", ERR_INVALID, "the module's world has no type 5"),
        CASE(1, GO "\0", ERR_INVALID, "the module's world has no type 0"),
        CASE(3, "\1\x70\1" BYTE GO "\0", ERR_INVALID,
             "a type of the module's world refers to a later one"),
        CASE(2, "\1\x70\0" GO "\0", ERR_INVALID, "refers to a later one"),
        CASE(1, EXPORT, ERR_INVALID, "export 'i' has no type"),
        CASE(2, BYTE EXPORT, ERR_UNSUPPORTED, "whose type is no instance type"),
        CASE(2, INSTANCE "\1\4\0\2go\1\0" EXPORT, ERR_INVALID,
             "an interface of the module's world has no type 0"),
        CASE(2, INSTANCE "\1\4\0\1r\3\1" EXPORT, ERR_UNSUPPORTED,
             "the core module exports the resource 'r'"),
        CASE(2, INSTANCE "\1\2\3\2\1\4" EXPORT, ERR_INVALID, "the module's world has no type 4"),
        CASE(2, INSTANCE "\2\1\x70\0\4\0\1t\3\0\0" EXPORT, ERR_INVALID,
             "an interface of the module's world has no type 0"),
        CASE(2, INSTANCE "\2" FUNC "\4\0\2go\1\0" EXPORT, ERR_INVALID,
             "the core module lacks 'i#go', which its world exports"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(world_of(cases[i].n, cases[i].decls, cases[i].size), cases[i].code, cases[i].says);
}

/* Of an imported interface, which is looked at when something of it is needed. */
static void declarations_of_imports(void **state)
{
    static const struct {
        const char *decls, *says;
        uint32_t n, size;
        err_code code;
    } cases[] = {
        CASE(1, IMPORT("\5\0"), ERR_INVALID, "import 'i' has no type"),
        CASE(2, "\1\x7d" IMPORT("\5\0"), ERR_UNSUPPORTED, "whose type is no instance type"),
        CASE(4, INSTANCE "\1\4\0\1t\3\1\3\0\1j\5\0\2\3\0\0\1t" IMPORT("\5\1"), ERR_INVALID,
             "import 'i' has no type"), /* but an alias */
        CASE(2, INSTANCE "\1\4\0\1f\1\0" IMPORT("\5\0"), ERR_INVALID,
             "an interface of the module's world has no type 0"),
        CASE(2, INSTANCE "\1\4\0\1t\3\0\0" IMPORT("\5\0"), ERR_INVALID,
             "an interface of the module's world has no type 0"),
        CASE(2, INSTANCE "\1\1\x70\0" IMPORT("\5\0"), ERR_INVALID,
             "an interface of the module's world has no type 0"),
        CASE(2, INSTANCE "\1\2\3\2\1\4" IMPORT("\5\0"), ERR_INVALID,
             "the module's world has no type 4"),
        CASE(1, IMPORT("\1\0"), ERR_INVALID, "the module imports from 'i'"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bytes section = world_section(world_of(cases[i].n, cases[i].decls, cases[i].size));
        bytes main = importing("i", "f");
        refused(with_world(main, section), cases[i].code, cases[i].says);
    }
    bytes root = world_section(WORLD(1, IMPORT("\1\3")));
    refused(with_world(importing("$root", "i"), root), ERR_INVALID,
            "the module's world has no type 3");
}

/* Each kind of type is passed on as it is. */
static void kinds_of_types(void **state)
{
    static const struct {
        const char *type, *text, *core; /* what a core function of one parameter imports */
        size_t n;
    } cases[] = {
#define KIND(bytes, text, core) {bytes "\4\0\1n\3\0\0", text, core, sizeof(bytes) + 6}
        KIND("\1\x7f", "bool", "\0\2"),
        KIND("\1\x73", "string", "\0\4"),
        KIND("\1\x72\2\1a\x7d\1b\x75", "record { a: u8, b: f64 }", "\0\5"),
        KIND("\1\x71\2\1a\0\0\1b\1\x79\0", "variant { a, b(u32) }", "\0\4"),
        KIND("\1\x6f\2\x7d\x75", "tuple<u8, f64>", "\0\5"),
        KIND("\1\x6e\2\1a\1b", "flags { a, b }", "\0\2"),
        KIND("\1\x6d\1\1a", "enum { a }", "\0\2"),
        KIND("\1\x70\x7d", "list<u8>", "\0\4"),
        KIND("\1\x6b\x74", "option<char>", "\0\4"),
        KIND("\1\x6a\1\x7d\1\x79", "result<u8, u32>", "\0\4"),
        KIND("\1\x6a\0\0", "result", "\0\2"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf w;
        link_plan p;
        buf_init(&w, MIB);
        /* an instance of the type, its name, func(x: the named one), and f of that */
        buf_put(&w, INSTANCE "\4", 3);
        buf_put(&w, cases[i].type, cases[i].n);
        buf_put(&w,
                "\1\x40\1\1x\1\1\0"
                "\4\0\1f\1\2" IMPORT("\5\0"),
                20);
        bytes section = world_section(world_of(2, (const char *)w.p, w.n));
        buf_fini(&w);
        bytes module = guest_make(&(guest){"i", "f", cases[i].core, "go", "old", 2});
        module = with_world(module, section);
        if (!make(module, adapter_reactor()))
            fail_msg("%s: %s", cases[i].text, e.text);
        /* the module has no memory, so that what needs one cannot be lowered */
        bool linked = component_link(&a, buf_bytes(&out), &p, &e);
        if (strstr(cases[i].text, "string") || strstr(cases[i].text, "list")) {
            assert_false(linked);
            assert_non_null(strstr(e.text, "`memory` is required"));
            continue;
        }
        if (!linked)
            fail_msg("%s: %s", cases[i].text, e.text);
        str want = arena_printf(&a, "func(x: %s)", cases[i].text);
        str got = functype_text(&a, p.imports[0].type);
        if (!str_eq(got, want))
            fail_msg("'%.*s' for '%.*s'", STR(got), STR(want));
    }
}

/* A world whose function takes an option of an option of ... of u8. */
static bytes nested(uint32_t options)
{
    buf w;
    buf_init(&w, MIB);
    buf_put(&w, "\1\x7d", 2);
    for (uint8_t i = 0; i < options; i++) {
        uint8_t option[] = {1, 0x6b, i};
        buf_put(&w, option, 3);
    }
    uint8_t rest[] = {1, 0x40, 1, 1,   'x', (uint8_t)options,      1, 0,
                      3, 0,    1, 'i', 1,   (uint8_t)(options + 1)};
    buf_put(&w, rest, sizeof rest);
    bytes section = world_section(world_of(options + 3, (const char *)w.p, w.n));
    buf_fini(&w);
    return with_world(importing("$root", "i"), section);
}

/* Interfaces that each take a type from the one before. */
static bytes chained(uint32_t interfaces)
{
    buf w;
    buf_init(&w, MIB);
    buf_put(&w, INSTANCE "\1\4\0\1t\3\1", 9);
    for (uint32_t i = 0; i < interfaces; i++) {
        uint8_t import[] = {3, 0, 2, 'i', (uint8_t)(' ' + i), 5};
        buf_put(&w, import, sizeof import);
        put_leb(&w, 2 * i);
        buf_put(&w, "\2\3\0", 3); /* its type t */
        put_leb(&w, i);
        buf_put(&w, "\1t" INSTANCE "\2\2\3\2\1", 9);
        put_leb(&w, 2 * i + 1);
        buf_put(&w, "\4\0\1t\3\0\0", 7);
    }
    bytes section = world_section(world_of(1 + 3 * interfaces, (const char *)w.p, w.n));
    buf_fini(&w);
    char last[3] = {'i', (char)(' ' + (int)interfaces - 1), 0};
    return with_world(importing(last, "[resource-drop]t"), section);
}

static void depths(void **state)
{
    assert_true(make(nested(62), adapter_reactor()));
    refused(nested(63), ERR_LIMIT, "the module's world nests types deeper than 64");
    assert_true(make(chained(64), adapter_reactor()));
    refused(chained(65), ERR_LIMIT, "interfaces depend on each other deeper than 64");
}

/* The last declaration of a world is cut at each place. */
static void last_declarations(void **state)
{
    static const struct {
        const char *before, *last;
        uint32_t n, before_n, last_n;
    } cases[] = {
#define LAST(n, before, last) {before, last, n, sizeof(before) - 1, sizeof(last) - 1}
        LAST(1, "", BYTE),
        LAST(1, "", "\1\x40\1\1x\x7d\0\x73"),
        LAST(1, "", "\1\x40\0\1\0"),
        LAST(1, "", "\1\x72\2\1a\x7d\1b\x73"),
        LAST(1, "", "\1\x71\2\1a\0\0\1b\1\x79\0"),
        LAST(1, "", "\1\x6f\2\x7d\x75"),
        LAST(1, "", "\1\x6e\2\1a\1b"),
        LAST(1, "", "\1\x6d\1\1a"),
        LAST(1, "", "\1\x70\x7d"),
        LAST(1, "", "\1\x6b\x74"),
        LAST(1, "", "\1\x6a\1\x7d\1\x79"),
        LAST(1, "", "\1\x6a\0\0"),
        LAST(1, "", "\1\x69\x80\1"),
        LAST(1, "", "\1\x68\0"),
        LAST(1, "", INSTANCE "\0"),
        LAST(1, "", INSTANCE "\1\1\x70\x7d"),
        LAST(1, "", INSTANCE "\1\2\3\2\1\0"),
        LAST(1, "", INSTANCE "\1\4\0\1r\3\1"),
        LAST(1, "", INSTANCE "\1\4\1\1r\3\0\0"),
        LAST(1, "", INSTANCE "\1\4\0\1r\1\0"),
        LAST(2, BYTE, IMPORT("\3\0\0")),
        LAST(2, BYTE, "\4\0\1t\3\0\0"),
        LAST(2, FUNC, IMPORT("\1\x80\0")),
        LAST(2, FUNC, GO "\0"),
        LAST(2, INSTANCE "\0", IMPORT("\5\0")),
        LAST(3, INSTANCE "\1\4\0\1t\3\1" IMPORT("\5\0"), "\2\3\0\0\1t"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf w;
        buf_init(&w, MIB);
        buf_put(&w, cases[i].before, cases[i].before_n);
        buf_put(&w, cases[i].last, cases[i].last_n);
        for (uint32_t k = 0; k <= cases[i].last_n; k++) {
            bytes module = world_of(cases[i].n, (const char *)w.p, cases[i].before_n + k);
            bool ok = make(module, adapter_reactor());
            if (ok != (k == cases[i].last_n))
                fail_msg("world %zu, %u bytes: %s", i, k, ok ? "taken" : e.text);
            assert_true(ok || e.code == ERR_INVALID || e.code == ERR_UNSUPPORTED);
        }
        buf_fini(&w);
    }
}

/* --- damage and failures ---------------------------------------------------------------------- */

/* A world that is cut anywhere is refused; bytes that follow it are not looked at. */
static void cut_worlds(void **state)
{
    static const char *const worlds[] = {"full", "named"};
    for (size_t k = 0; k < sizeof worlds / sizeof *worlds; k++) {
        bytes main = core_of(worlds[k]), custom = world_section(main);
        bytes without = {main.p, (size_t)(custom.p - main.p)};
        reader r = reader_over(custom), content, inner;
        uint8_t id;
        str name;
        assert_true(reader_u8(&r, &id, &e) && reader_sized(&r, &content, &e) &&
                    reader_name(&content, &name, &e) && reader_skip(&content, 8, &e));
        do
            assert_true(reader_u8(&content, &id, &e) && reader_sized(&content, &inner, &e));
        while (id != 7);
        size_t taken = 0, n = reader_left(&inner);
        for (size_t i = 0; i <= n; i++) {
            buf s, m;
            buf_init(&s, MIB);
            buf_init(&m, MIB);
            put_text(&s, "component-type");
            buf_put(&s, "\0asm\x0d\0\1\0", 8);
            put_part(&s, 7, (bytes){inner.at, i});
            buf_put(&m, without.p, without.n);
            put_part(&m, 0, buf_bytes(&s));
            bytes cut = exact(buf_bytes(&m));
            bool ok = make(cut, adapter_reactor());
            assert_true(ok || e.code == ERR_INVALID || e.code == ERR_UNSUPPORTED);
            assert_true(ok || !taken);
            taken += ok;
            free((void *)cut.p);
            buf_fini(&s);
            buf_fini(&m);
        }
        assert_true(taken > 0 && taken < 40); /* the name of the world follows it */
    }
}

static void changed_bytes(void **state)
{
    static const char *const worlds[] = {"full", "named"};
    for (size_t k = 0; k < sizeof worlds / sizeof *worlds; k++) {
        bytes b = core_of(worlds[k]);
        for (size_t i = 8; i < b.n; i++)
            for (int bit = 0; bit < 8; bit += 3) {
                arena inner;
                arena_init(&inner, 64 * MIB);
                bytes copy = exact(b);
                ((uint8_t *)copy.p)[i] ^= (uint8_t)(1 << bit);
                buf_clear(&out);
                if (componentize(&inner, copy, (bytes){0}, &out, &e))
                    component_check(&inner, buf_bytes(&out), &e);
                else
                    assert_true(e.code != ERR_INTERNAL && e.text[0]);
                free((void *)copy.p);
                arena_fini(&inner);
            }
    }
}

/* Every allocation in turn fails: an error, or the same component all the same. */
static void memory_may_fail_anywhere(void **state)
{
    static const char *const worlds[] = {"full", "named", "old"};
    for (size_t k = 0; k < sizeof worlds / sizeof *worlds; k++) {
        bytes main = core_of(worlds[k]), adapter = core_of("old/adapter");
        bytes whole = arena_bytes(&a, made(main, adapter));
        bool done = false;
        for (size_t n = 1; !done; n++) {
            arena inner;
            buf b;
            arena_init(&inner, 64 * MIB);
            buf_init(&b, MIB);
            alloc_fail_after(n);
            bool ok = componentize(&inner, main, adapter, &b, &e);
            done = alloc_fail_after(0) < n;
            assert_true(ok || (e.code == ERR_NO_MEMORY && !done));
            if (ok) {
                assert_int_equal(b.n, whole.n);
                assert_memory_equal(b.p, whole.p, b.n);
            }
            buf_fini(&b);
            arena_fini(&inner);
        }
    }
}

static void in_one_arena(arena *inner, const void *ctx)
{
    const bytes *parts = ctx;
    buf b;
    buf_init(&b, MIB);
    assert_true(componentize(inner, parts[0], parts[1], &b, &e));
    assert_int_equal(b.n, parts[2].n);
    assert_memory_equal(b.p, parts[2].p, b.n);
    buf_fini(&b);
}

static void ends_of_blocks(void **state)
{
    static const char *const worlds[] = {"full", "named", "old"};
    for (size_t k = 0; k < sizeof worlds / sizeof *worlds; k++) {
        bytes parts[3] = {core_of(worlds[k]), core_of("old/adapter")};
        parts[2] = arena_bytes(&a, made(parts[0], parts[1]));
        at_block_ends(in_one_arena, parts);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(as_wasm_tools_makes_them, setup),
        cmocka_unit_test_setup(options, setup),
        cmocka_unit_test_setup(worlds_are_merged, setup),
        cmocka_unit_test_setup(adapter_for_preview_1, setup),
        cmocka_unit_test_setup(adapter_is_cut_and_gets_a_stack, setup),
        cmocka_unit_test_setup(adapters_that_are_none, setup),
        cmocka_unit_test_setup(adapters_that_are_damaged, setup),
        cmocka_unit_test_setup(imports, setup),
        cmocka_unit_test_setup(versions_of_a_track, setup),
        cmocka_unit_test_setup(no_modules, setup),
        cmocka_unit_test_setup(sections_of_worlds, setup),
        cmocka_unit_test_setup(declarations, setup),
        cmocka_unit_test_setup(declarations_of_imports, setup),
        cmocka_unit_test_setup(kinds_of_types, setup),
        cmocka_unit_test_setup(depths, setup),
        cmocka_unit_test_setup(last_declarations, setup),
        cmocka_unit_test_setup(cut_worlds, setup),
        cmocka_unit_test_setup(changed_bytes, setup),
        cmocka_unit_test_setup(memory_may_fail_anywhere, setup),
        cmocka_unit_test_setup(ends_of_blocks, setup),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_fini(&a);
    buf_fini(&out);
    return failed;
}
