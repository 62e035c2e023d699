/* component_link: the plans of small components (tests/component/<name>.wat), our own list of what
 * is valid and what is refused (rules.wast), memory failures, hostile sizes. */
#include "component_kit.h"

#include "component/link.h"
#include "component/reader.h"

static const char *const files[] = {"twice.wasm",  "shim.wasm",     "async.wasm", "donut.wasm",
                                    "relift.wasm", "callback.wasm", "wide.wasm",  "distinct.wasm"};
enum { FILES = sizeof files / sizeof *files };

static buf out;

static link_plan link_file(const char *name)
{
    link_plan plan;
    if (!component_link(&a, file(name), &plan, &e))
        fail_msg("%s: %s", name, e.text);
    return plan;
}

static int reset(void **state)
{
    arena_reset(&a);
    return 0;
}

static void instance_twice_is_two_units(void **state)
{
    link_plan p = link_file("twice.wasm");
    assert_int_equal(p.units_count, 3);
    assert_int_equal(p.resources_count, 2);
    assert_int_equal(p.core_modules_count, 4);
    for (uint32_t i = 0; i < 2; i++) {
        const link_unit *u = &p.units[i];
        assert_int_equal(u->parent, 2);
        assert_int_equal(u->cores_count, 3);
        assert_int_equal(u->canons_count, 2); /* log, lowered twice alike, is one */
        assert_int_equal(u->canons[0].kind, CANON_HOST);
        assert_str(u->canons[0].interface, "test:log/log@1.2.3");
        assert_str(u->canons[0].name, "log");
        assert_int_equal(u->canons[0].options.memory.instance, 0);
        assert_str(u->canons[0].options.memory.name, "memory");
        assert_int_equal(u->canons[0].options.realloc.instance, -1);
        assert_int_equal(u->canons[1].kind, CANON_RESOURCE_NEW);
        assert_int_equal(u->canons[1].resource, i);
        assert_int_equal(u->cores[1].imports_count, 3);
        assert_true(u->cores[1].imports[1].def.is_canon);
        assert_int_equal(u->cores[1].imports[1].def.canon, 0);
        assert_int_equal(u->cores[1].imports[2].kind, CORE_MEMORY);
        assert_int_equal(u->cores[1].imports[2].def.core.instance, 0);
        assert_ptr_equal(u->lifts[0].type->result->resource,
                         p.units[2].canons[i].type->result->resource);
        assert_int_equal(p.resources[i].unit, i);
        assert_int_equal(p.resources[i].dtor.instance, 1);
        assert_str(p.resources[i].dtor.name, "drop");
        assert_str(p.resources[i].type.name, "counter");
        assert_int_equal(u->lifts[0].type->result->resource->index, i);
        assert_int_equal(p.units[2].canons[i].kind, CANON_LIFTED);
        assert_int_equal(p.units[2].canons[i].unit, i);
        assert_int_equal(p.units[2].canons[2 + i].resource, i);
    }
    assert_true(p.units[0].lifts[0].type != p.units[1].lifts[0].type); /* generative */
    assert_int_equal(p.units[2].parent, UINT32_MAX);
    assert_int_equal(p.imports_count, 1);
    assert_int_equal(p.exports_count, 1);
    assert_str(p.exports[0].name, "run");
    assert_int_equal(p.exports[0].unit, 2);
}

static void shims_evaluate_away(void **state)
{
    link_plan p = link_file("shim.wasm");
    assert_int_equal(p.units_count, 1);
    assert_int_equal(p.exports_count, 1);
    assert_str(p.exports[0].interface, "test:http/handler@0.2.0");
    assert_str(p.exports[0].name, "handle");
    assert_int_equal(p.exports[0].unit, 0);
    const link_lift *f = &p.units[0].lifts[p.exports[0].lift];
    assert_str(f->label, "test:http/handler@0.2.0#handle");
    assert_int_equal(f->options.encoding, ENCODING_UTF16);
    assert_str(f->options.post_return.name, "handle-post");
    assert_int_equal(f->signature.params_count, 3);
    assert_true(f->signature.results_spilled);
    assert_str(functype_text(&a, f->type), "func(h: own<fields>, s: string) -> tuple<string, u8>");
    assert_int_equal(p.imports_count, 2);
    assert_str(p.imports[1].interface, "test:http/consts@0.2.0");
    assert_null(p.imports[1].type);
    assert_int_equal(p.resources_count, 1);
    assert_true(p.resources[0].type.imported);
    assert_str(p.resources[0].type.interface, "test:http/types@0.2.0");
    assert_str(p.resources[0].type.name, "fields"); /* not its alias "headers" */
    assert_int_equal(p.units[0].canons[1].kind, CANON_RESOURCE_DROP);
}

static void outer_component_called_from_inside(void **state)
{
    link_plan p = link_file("donut.wasm");
    assert_int_equal(p.units_count, 2);
    assert_int_equal(p.units[0].parent, 1);
    assert_str(p.units[0].label, "0.0.0");
    assert_int_equal(p.units[0].canons[0].kind, CANON_LIFTED);
    assert_int_equal(p.units[0].canons[0].unit, 1);
    assert_int_equal(p.units[0].canons[0].lift, 0);
    assert_int_equal(p.units[1].canons[0].unit, 0);
    assert_int_equal(p.units[1].cores_count, 2);
    assert_str(p.units[1].lifts[p.exports[0].lift].core.name, "run");
}

static void canonical_functions_as_core_exports(void **state)
{
    link_plan p = link_file("relift.wasm");
    assert_int_equal(p.units[0].cores_count, 2);
    assert_int_equal(p.units[0].lifts_count, 2);
    const link_lift *g = &p.units[0].lifts[0];
    const link_core *c = &p.units[0].cores[g->core.instance];
    assert_true(bytes_are_core_module(c->module));
    assert_true(c->imports[0].def.is_canon);
    assert_str(p.units[0].canons[c->imports[0].def.canon].name, "f");
    assert_int_equal(p.units[0].lifts[1].core.instance, g->core.instance);
    assert_true(p.resources[0].dtor.instance >= 0);
    assert_str(p.resources[0].type.name, "r");
    assert_str(p.exports[2].name, "f-again");
    assert_int_equal(p.exports[2].unit, UINT32_MAX); /* the import, exported again */
}

static void asynchronous_built_ins(void **state)
{
    link_plan p = link_file("async.wasm");
    const link_unit *u = &p.units[0];
    assert_int_equal(u->canons_count, 7);
    assert_true(u->canons[0].options.async && u->canons[0].type->async);
    assert_int_equal(u->canons[0].signature.params_count, 3);
    assert_str(u->canons[1].name, "task.return");
    assert_int_equal(u->canons[1].type->result->kind, TYPE_U32);
    assert_str(u->canons[3].name, "context.set i32 1");
    assert_str(u->canons[4].name, "stream.read");
    assert_int_equal(u->canons[4].element->kind, TYPE_U8);
    assert_int_equal(u->canons[5].signature.results[0], CORE_I64);
    assert_str(u->lifts[0].options.callback.name, "cb");
}

/* Of canonical functions that are alike there is one; each part tells two apart. */
static void canonical_functions_are_interned(void **state)
{
    link_plan p = link_file("distinct.wasm");
    const link_unit *u = &p.units[0];
    assert_int_equal(p.units_count, 1);
    assert_int_equal(u->canons_count, 30);
    for (uint32_t i = 0; i < u->canons_count; i++) {
        const link_canon *c = &u->canons[i];
        assert_int_equal(c->kind == CANON_HOST, i < 10);
        assert_int_equal(c->interface.n, i < 10 ? 5 : 0);
        assert_int_equal(c->options.encoding, i == 4   ? ENCODING_UTF16
                                              : i == 5 ? ENCODING_LATIN1_UTF16
                                                       : ENCODING_UTF8);
        assert_int_equal(c->options.async, i == 9 || i == 18 || i == 22);
        bool has_memory = i < 10 || (i >= 16 && i <= 20);
        assert_int_equal(c->options.memory.instance, has_memory || i >= 28 ? 0 : -1);
        assert_int_equal(c->options.realloc.instance, i == 2 || i == 3 ? 0 : -1);
        assert_int_equal(c->element != NULL, i >= 16 && i <= 22);
        assert_int_equal(c->resource, i == 11 || i == 13 || i == 15);
        assert_int_equal(c->options.post_return.instance, -1);
        assert_int_equal(c->options.callback.instance, -1);
    }
    assert_str(u->canons[1].options.memory.name, "m2");
    assert_str(u->canons[3].options.realloc.name, "r2");
    assert_str(u->canons[6].name, "g");
    assert_str(u->canons[7].interface, "a:b/d");
    assert_int_equal(u->canons[17].element->kind, TYPE_U16);
    assert_str(u->canons[19].name, "stream.write");
    assert_int_equal(u->canons[24].type->result->kind, TYPE_U16);
    assert_str(u->canons[29].options.memory.name, "m2");
    /* what each takes and gives, as digits */
    static const char signatures[] = "202020202020202020211111111110103131313121111110100101012121";
    char got[2 * 30 + 1];
    for (uint32_t i = 0; i < u->canons_count; i++)
        snprintf(got + 2 * (size_t)i, 3, "%u%u", u->canons[i].signature.params_count,
                 u->canons[i].signature.results_count);
    assert_string_equal(got, signatures);
}

static void one_rule(str line)
{
    str kind = str_cut(&line, ' '), number = str_cut(&line, ' '), hex = str_cut(&line, ' ');
    bytes b = unhex(hex);
    link_plan plan;
    bool linked = str_eq(kind, S("link"));
    bool ok = linked ? component_link(&a, b, &plan, &e) : component_check(&a, b, &e);
    if (!str_eq(kind, S("refused"))) {
        if (!ok)
            fail_msg("rules.wast:%.*s: refused: %s", STR(number), e.text);
        return;
    }
    if (ok)
        fail_msg("rules.wast:%.*s: accepted; expected: %.*s", STR(number), STR(line));
    if (!memmem(e.text, strlen(e.text), line.p, line.n))
        fail_msg("rules.wast:%.*s: expected: %.*s\ngot: %s", STR(number), STR(line), e.text);
    assert_non_null(strstr(e.text, "offset 0x"));
}

static void rules(void **state)
{
    bytes all = file("rules.txt");
    str rest = {(const char *)all.p, all.n};
    size_t count = 0;
    while (rest.n) {
        one_rule(str_cut(&rest, '\n'));
        count++;
    }
    assert_true(count > 100);
}

/* Every prefix of a component is refused, and no byte of it that is changed does harm. */
static void cut_and_changed(void **state)
{
    static const char *const names[] = {"twice.wasm", "shim.wasm", "async.wasm", "donut.wasm"};
    link_plan plan;
    for (size_t k = 0; k < 4; k++) {
        bytes b = file(names[k]);
        arena scratch;
        arena_init(&scratch, 64 * MIB);
        size_t refused = 0;
        for (size_t i = 0; i < b.n; i++) {
            arena_reset(&scratch);
            uint8_t *cut = malloc(i + 1); /* exact, for the address sanitizer */
            memcpy(cut, b.p, i);
            refused += !component_link(&scratch, (bytes){cut, i}, &plan, &e);
            free(cut);
            for (int bit = 0; bit < 8; bit++) {
                arena_reset(&scratch);
                uint8_t *p = (uint8_t *)b.p;
                p[i] ^= (uint8_t)(1 << bit);
                component_link(&scratch, b, &plan, &e);
                p[i] ^= (uint8_t)(1 << bit);
            }
        }
        assert_true(refused > b.n / 2); /* some prefixes end between sections */
        arena_fini(&scratch);
    }
}

/* Writes b with one of its sections cut, or with a byte too many: of all places where that can be
 * done, in nested components and core modules too, the one numbered *at. Leaves SIZE_MAX in *at if
 * there was such a place. Sections whose content is not looked at are left as they are. */
static void section_cut(bytes b, size_t *at, buf *to)
{
    bool is_core = bytes_are_core_module(b);
    reader r = reader_over(b), content;
    uint8_t id;
    assert_true(reader_skip(&r, 8, &e));
    buf_put(to, b.p, 8);
    while (!reader_done(&r)) {
        assert_true(reader_u8(&r, &id, &e) && reader_sized(&r, &content, &e));
        bytes inside = {content.at, reader_left(&content)};
        buf s;
        buf_init(&s, MIB);
        if (!is_core && (id == 1 || id == 4)) {
            section_cut(inside, at, &s);
        } else if (*at <= inside.n && id > 0 && (!is_core || id < 8 || id == 13)) {
            buf_put(&s, inside.p, *at);
            if (*at == inside.n)
                buf_put_u8(&s, 0);
            *at = SIZE_MAX;
        } else {
            buf_put(&s, inside.p, inside.n);
            if (*at != SIZE_MAX && id > 0 && (!is_core || id < 8 || id == 13))
                *at -= inside.n + 1;
        }
        put_part(to, id, buf_bytes(&s));
        buf_fini(&s);
    }
}

static size_t cuts_refused(bytes component, const char *name)
{
    for (size_t n = 0;; n++) {
        arena scratch;
        size_t at = n;
        buf_clear(&out);
        section_cut(component, &at, &out);
        if (at != SIZE_MAX)
            return n;
        bytes cut = exact(buf_bytes(&out));
        arena_init(&scratch, 64 * MIB);
        if (component_check(&scratch, cut, &e))
            fail_msg("%s: cut %zu is taken", name, n);
        assert_int_equal(e.code, ERR_INVALID);
        free((void *)cut.p);
        arena_fini(&scratch);
    }
}

/* The components of rules.wast that are valid, one after the other; false: no more. */
static bool next_valid(str *rest, bytes *ret, char *name, size_t size)
{
    while (rest->n) {
        str line = str_cut(rest, '\n'), kind = str_cut(&line, ' ');
        if (str_eq(kind, S("refused")))
            continue;
        str number = str_cut(&line, ' ');
        snprintf(name, size, "rules.wast:%.*s", STR(number));
        *ret = unhex(str_cut(&line, ' '));
        return true;
    }
    return false;
}

static void cut_sections(void **state)
{
    bytes all = file("rules.txt"), b;
    str rest = {(const char *)all.p, all.n};
    char name[40];
    size_t cuts = 0;
    for (size_t i = 0; i < FILES; i++)
        cuts += cuts_refused(file(files[i]), files[i]);
    while (next_valid(&rest, &b, name, sizeof name))
        cuts += cuts_refused(b, name);
    assert_true(cuts > 5000);
}

/* So many items of a section are in so many bytes, and in no other number of them. Nothing follows
 * the section. */
static void lengths_of(bytes component, const char *name)
{
    reader r = reader_over(component), content;
    uint8_t id;
    assert_true(reader_skip(&r, 8, &e));
    while (!reader_done(&r)) {
        const uint8_t *from = r.at;
        assert_true(reader_u8(&r, &id, &e) && reader_sized(&r, &content, &e));
        size_t n = reader_left(&content);
        if (id < 2 || id == 4 || *content.at >= 0x80)
            continue;
        for (uint8_t count = 0; count <= *content.at; count++) {
            size_t taken = 0;
            for (size_t i = 1; i <= n; i++) {
                arena scratch;
                buf_clear(&out);
                buf_put(&out, component.p, (size_t)(from - component.p));
                put_part(&out, id, (bytes){content.at, i});
                out.p[out.n - i] = count;
                bytes cut = exact(buf_bytes(&out));
                arena_init(&scratch, 64 * MIB);
                taken += component_check(&scratch, cut, &e);
                free((void *)cut.p);
                arena_fini(&scratch);
            }
            if (taken > 1)
                fail_msg("%s: %u items of section %u are in %zu lengths", name, count, id, taken);
        }
    }
}

static void counts_and_lengths(void **state)
{
    bytes all = file("rules.txt"), b;
    str rest = {(const char *)all.p, all.n};
    char name[40];
    for (size_t i = 0; i < FILES; i++)
        lengths_of(file(files[i]), files[i]);
    while (next_valid(&rest, &b, name, sizeof name))
        lengths_of(b, name);
}

static void check_in(arena *inner, const void *ctx)
{
    const bytes *b = ctx;
    link_plan plan;
    if (!component_check(inner, *b, &e))
        fail_msg("%s", e.text);
    component_link(inner, *b, &plan, &e);
}

static void ends_of_blocks(void **state)
{
    bytes all = file("rules.txt"), b;
    str rest = {(const char *)all.p, all.n};
    char name[40];
    for (size_t i = 0; i < FILES; i++) {
        b = file(files[i]);
        at_block_ends(check_in, &b);
    }
    while (next_valid(&rest, &b, name, sizeof name))
        at_block_ends(check_in, &b);
}

static void memory_failures(void **state)
{
    for (size_t k = 0; k < FILES; k++) {
        bytes b = file(files[k]);
        link_plan whole = link_file(files[k]);
        bool done = false;
        for (size_t n = 1; !done; n++) {
            arena scratch;
            link_plan plan;
            arena_init(&scratch, 64 * MIB);
            alloc_fail_after(n);
            bool ok = component_link(&scratch, b, &plan, &e);
            done = alloc_fail_after(0) < n;
            if (ok) { /* growing in place may fail and fall back to a copy */
                assert_int_equal(plan.units_count, whole.units_count);
                assert_int_equal(plan.resources_count, whole.resources_count);
                assert_int_equal(plan.imports_count, whole.imports_count);
                assert_int_equal(plan.exports_count, whole.exports_count);
                for (uint32_t i = 0; i < plan.units_count; i++) {
                    assert_int_equal(plan.units[i].cores_count, whole.units[i].cores_count);
                    assert_int_equal(plan.units[i].canons_count, whole.units[i].canons_count);
                    assert_int_equal(plan.units[i].lifts_count, whole.units[i].lifts_count);
                }
            } else {
                assert_int_equal(e.code, ERR_NO_MEMORY);
            }
            assert_true(ok || !done);
            arena_fini(&scratch);
        }
    }
}

static void memory_failures_in_checking(void **state)
{
    for (size_t k = 0; k < FILES; k++) {
        bytes b = file(files[k]);
        bool done = false;
        for (size_t n = 1; !done; n++) {
            arena scratch;
            arena_init(&scratch, 64 * MIB);
            alloc_fail_after(n);
            bool ok = component_check(&scratch, b, &e);
            done = alloc_fail_after(0) < n;
            assert_true(ok || (e.code == ERR_NO_MEMORY && !done));
            arena_fini(&scratch);
        }
    }
}

/* Where a rule refuses, running out of memory first says so and nothing else. */
static void memory_failures_before_refusals(void **state)
{
    FILE *f = fopen("tests/component/rules.txt", "r");
    static char line[1 << 16], hex[1 << 16];
    static uint8_t data[1 << 15];
    char kind[20];
    unsigned number, cases = 0;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%19s %u %65535s", kind, &number, hex) != 3 || strcmp(kind, "refused"))
            continue;
        size_t size = strlen(hex) / 2;
        for (size_t i = 0; i < size; i++)
            sscanf(hex + 2 * i, "%2hhx", &data[i]);
        bool done = false;
        for (size_t n = 1; !done; n++) {
            arena scratch;
            link_plan plan;
            arena_init(&scratch, 64 * MIB);
            alloc_fail_after(n);
            assert_false(component_link(&scratch, (bytes){data, size}, &plan, &e));
            done = alloc_fail_after(0) < n;
            assert_true(!done || e.code != ERR_NO_MEMORY);
            arena_fini(&scratch);
        }
        cases++;
    }
    fclose(f);
    assert_true(cases > 40);
}

/* -- hostile sizes: bytes are made here */

static void section(uint8_t id, const buf *content) { put_part(&out, id, buf_bytes(content)); }

static void component_begin(void)
{
    buf_clear(&out);
    buf_put(&out, "\0asm\x0d\0\1\0", 8);
}

/* Types that are exponential as trees: each level mentions the one below twice. */
static void doubling_types(void **state)
{
    buf types;
    link_plan plan;
    buf_init(&types, MIB);
    component_begin();
    buf_put(&types, "\x1a\x6f\x01\x7d", 4); /* 26 types; type 0: tuple<u8> */
    for (uint8_t i = 0; i < 25; i++) {
        uint8_t pair[4] = {0x6f, 2, i, i};
        buf_put(&types, pair, 4);
    }
    section(7, &types);
    assert_false(component_link(&a, buf_bytes(&out), &plan, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    assert_non_null(strstr(e.text, "type section: offset 0x"));
    /* the same with instance types */
    component_begin();
    buf_clear(&types);
    buf_put(&types, "\x1a\x42\x00", 3); /* (instance) */
    for (uint8_t i = 0; i < 25; i++) {
        /* (instance (alias outer 1 i) (export "a" (instance 0)) (export "b" (instance 0))) */
        uint8_t decl[] = {0x42, 3, 2, 3, 2, 1, i, 4, 0, 1, 'a', 5, 0, 4, 0, 1, 'b', 5, 0};
        buf_put(&types, decl, sizeof decl);
    }
    section(7, &types);
    assert_false(component_link(&a, buf_bytes(&out), &plan, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    buf_fini(&types);
}

/* An interface of 4,000 functions, exported 8,000 times as a type that is equal but not the same.
 */
static void too_much_to_compare(void **state)
{
    enum { FUNCS = 4000, EXPORTS = 8000 };
    buf s;
    buf_init(&s, 16 * MIB);
    component_begin();
    put_leb(&s, 2);
    for (int t = 0; t < 2; t++) {
        buf_put_u8(&s, 0x42);
        put_leb(&s, FUNCS + 1);
        buf_put(&s, "\1\x40\0\1\0", 5); /* (type (func)) */
        for (int i = 0; i < FUNCS; i++)
            buf_put(&s, "\4\0\5", 3), buf_printf(&s, "f%04d", i), buf_put(&s, "\1\0", 2);
    }
    section(7, &s);
    buf_clear(&s);
    buf_put(&s, "\1\0\1i\5\0", 6); /* (import "i" (instance (type 0))) */
    section(10, &s);
    buf_clear(&s);
    put_leb(&s, EXPORTS);
    for (int i = 0; i < EXPORTS; i++) /* (export "e0000" (instance 0) (instance (type 1))) */
        buf_put(&s, "\0\5", 2), buf_printf(&s, "e%04d", i), buf_put(&s, "\5\0\1\5\1", 5);
    section(11, &s);
    assert_false(out.failed || s.failed);
    assert_false(component_check(&a, buf_bytes(&out), &e));
    assert_int_equal(e.code, ERR_LIMIT);
    assert_non_null(strstr(e.text, "steps"));
    buf_fini(&s);
}

/* Components that each instantiate the one before twice: 2^n instances. */
static void doubling_instances(void **state)
{
    link_plan plan;
    buf inner, s;
    buf_init(&inner, MIB);
    buf_init(&s, MIB);
    component_begin();
    buf_put(&inner, "\0asm\x0d\0\1\0", 8);
    section(4, &inner);
    for (uint8_t i = 0; i < 30; i++) {
        buf_clear(&inner);
        buf_put(&inner, "\0asm\x0d\0\1\0", 8);
        uint8_t alias[] = {6, 5, 1, 4, 2, 1, i, 5, 7, 2, 0, 0, 0, 0, 0, 0};
        buf_put(&inner, alias, sizeof alias);
        section(4, &inner);
    }
    buf_put(&s, "\1\0\x1e\0", 4); /* instantiate component 30 */
    section(5, &s);
    assert_false(component_link(&a, buf_bytes(&out), &plan, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    assert_non_null(strstr(e.text, "instance section: offset 0x"));
    assert_non_null(strstr(e.text, "more than 10000 component instances"));
    buf_fini(&inner);
    buf_fini(&s);
}

/* A component of n sections, or items of one section, of a kind; its last one too many if it is
 * more than the limit. */
static void limit_is(uint8_t id, const char *item, size_t size, bool sections, uint32_t most,
                     const char *says)
{
    for (uint32_t more = 0; more < 2; more++) {
        arena scratch;
        buf s;
        buf_init(&s, 16 * MIB);
        component_begin();
        if (id == 5) { /* a component to be instantiated */
            buf_put(&s, "\0asm\x0d\0\1\0", 8);
            section(4, &s);
            buf_clear(&s);
        } else if (id == 2) {
            buf_put(&s, "\0asm\1\0\0\0", 8);
            section(1, &s);
            buf_clear(&s);
        } else if (id == 8) { /* a resource to be dropped */
            buf_put(&s, "\1\x3f\x7f\0", 4);
            section(7, &s);
            buf_clear(&s);
        }
        if (!sections)
            put_leb(&s, most + more);
        for (uint32_t i = 0; i < most + more; i++) {
            buf_put(&s, item, size);
            if (sections) {
                section(id, &s);
                buf_clear(&s);
            }
        }
        if (!sections)
            section(id, &s);
        buf_fini(&s);
        assert_false(out.failed);
        arena_init(&scratch, COMPONENT_ARENA_BYTES_MAX);
        bool ok = component_check(&scratch, buf_bytes(&out), &e);
        if (ok == more)
            fail_msg("section %u, %u of it: %s", id, most + more, ok ? "taken" : e.text);
        if (more && (e.code != ERR_LIMIT || !strstr(e.text, says)))
            fail_msg("'%s' does not say '%s'", e.text, says);
        arena_fini(&scratch);
    }
}
#define LIMIT_IS(id, lit, sections, most, says)                                                    \
    limit_is((id), (lit), sizeof(lit) - 1, (sections), (most), (says))

static void numbers_of_things(void **state)
{
    LIMIT_IS(1, "\0asm\1\0\0\0", true, COMPONENT_INSTANCES_MAX, "more than 1000 modules");
    LIMIT_IS(4, "\0asm\x0d\0\1\0", true, COMPONENT_INSTANCES_MAX, "more than 1000 components");
    LIMIT_IS(5, "\1\0", false, COMPONENT_INSTANCES_MAX, "more than 1000 instances");
    LIMIT_IS(5, "\0\0\0", false, COMPONENT_INSTANCES_MAX, "more than 1000 instances");
    LIMIT_IS(2, "\1\0", false, COMPONENT_INSTANCES_MAX, "more than 1000 instances");
    LIMIT_IS(2, "\0\0\0", false, COMPONENT_INSTANCES_MAX, "more than 1000 instances");
    LIMIT_IS(7, "\x7d", false, COMPONENT_ITEMS_MAX, "1000001 items; at most 1000000 are allowed");
    LIMIT_IS(3, "\x50\0", false, COMPONENT_ITEMS_MAX, "at most 1000000 are allowed");
}

/* Of one type: its fields, parameters, flags. */
static void numbers_of_parts(void **state)
{
    static const struct {
        uint8_t kind;
        uint32_t most;
    } kinds[] = {{0x72, 10000}, {0x71, 10000}, {0x6d, 10000}, {0x6e, 32}, {0x40, 1000}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (uint32_t more = 0; more < 2; more++) {
            buf s;
            buf_init(&s, MIB);
            buf_put_u8(&s, 1);
            buf_put_u8(&s, kinds[k].kind);
            put_leb(&s, kinds[k].most + more);
            for (uint32_t i = 0; i < kinds[k].most + more; i++) {
                buf_put_u8(&s, 6);
                buf_printf(&s, "a%05u", i);
                if (kinds[k].kind == 0x72 || kinds[k].kind == 0x40)
                    buf_put_u8(&s, 0x7f);
                else if (kinds[k].kind == 0x71)
                    buf_put(&s, "\0\0", 2);
            }
            if (kinds[k].kind == 0x40)
                buf_put(&s, "\1\0", 2);
            component_begin();
            section(7, &s);
            buf_fini(&s);
            if (component_check(&a, buf_bytes(&out), &e) == more)
                fail_msg("0x%02x, %u: %s", kinds[k].kind, kinds[k].most + more, e.text);
        }
}

static void deep_nesting(void **state)
{
    link_plan plan;
    buf inner;
    buf_init(&inner, MIB);
    for (int depth = 30; depth <= 40; depth += 10) {
        buf_clear(&inner);
        buf_put(&inner, "\0asm\x0d\0\1\0", 8);
        for (int i = 0; i < depth; i++) {
            component_begin();
            section(4, &inner);
            buf_clear(&inner);
            buf_put(&inner, out.p, out.n);
        }
        bool ok = component_link(&a, buf_bytes(&inner), &plan, &e);
        assert_int_equal(ok, depth == 30);
    }
    assert_int_equal(e.code, ERR_LIMIT);
    /* types in types: 5,000 levels of (component (type (component ... */
    buf_clear(&inner);
    buf_put_u8(&inner, 1);
    for (int i = 0; i < 5000; i++)
        buf_put(&inner, "\x41\x01\x01", 3);
    buf_put(&inner, "\x41\x00", 2);
    component_begin();
    section(7, &inner);
    assert_false(component_link(&a, buf_bytes(&out), &plan, &e));
    assert_int_equal(e.code, ERR_LIMIT);
    buf_fini(&inner);
}

/* What names do to messages and to the budget. */
static void hostile_names(void **state)
{
    buf s;
    buf_init(&s, 16 * MIB);
    component_begin();
    buf_put(&s, "\1\x40\0\1\0", 5);
    section(7, &s);
    buf_clear(&s);
    buf_put(&s, "\1\0\4\x1b[2J\1\0", 9);
    section(10, &s);
    assert_false(component_check(&a, buf_bytes(&out), &e));
    assert_non_null(strstr(e.text, "'?[2J'"));
    component_begin();
    buf_clear(&s);
    put_leb(&s, 100001);
    for (int i = 0; i < 100001; i++)
        buf_put_u8(&s, 'a');
    section(0, &s);
    assert_false(component_check(&a, buf_bytes(&out), &e));
    assert_int_equal(e.code, ERR_LIMIT);
    buf_fini(&s);
}

static void not_components(void **state)
{
    link_plan plan;
    assert_false(component_link(&a, (bytes){NULL, 0}, &plan, &e));
    assert_false(component_link(&a, (bytes){(const uint8_t *)"\0asm\1\0\0\0", 8}, &plan, &e));
    assert_non_null(strstr(e.text, "core module"));
    assert_true(bytes_are_component((bytes){(const uint8_t *)"\0asm\x0d\0\1\0", 8}));
    assert_false(bytes_are_component((bytes){(const uint8_t *)"\0asm\x0d\0\1", 7}));
    /* what the outermost component may not import */
    component_begin();
    buf s;
    buf_init(&s, 100);
    buf_put(&s, "\1\x41\0", 3); /* type 0: (component) */
    section(7, &s);
    buf_clear(&s);
    buf_put(&s, "\1\0\1c\4\0", 6); /* (import "c" (component (type 0))) */
    section(10, &s);
    assert_true(component_check(&a, buf_bytes(&out), &e));
    assert_false(component_link(&a, buf_bytes(&out), &plan, &e));
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    buf_fini(&s);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, reset)
    const struct CMUnitTest tests[] = {
        T(instance_twice_is_two_units),
        T(shims_evaluate_away),
        T(outer_component_called_from_inside),
        T(canonical_functions_as_core_exports),
        T(asynchronous_built_ins),
        T(canonical_functions_are_interned),
        T(rules),
        T(cut_and_changed),
        T(cut_sections),
        T(counts_and_lengths),
        T(ends_of_blocks),
        T(memory_failures),
        T(memory_failures_in_checking),
        T(memory_failures_before_refusals),
        T(doubling_types),
        T(too_much_to_compare),
        T(doubling_instances),
        T(numbers_of_things),
        T(numbers_of_parts),
        T(deep_nesting),
        T(hostile_names),
        T(not_components),
    };
    arena_init(&a, COMPONENT_ARENA_BYTES_MAX);
    buf_init(&out, 16 * MIB);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    buf_fini(&out);
    arena_fini(&a);
    return failed;
}
