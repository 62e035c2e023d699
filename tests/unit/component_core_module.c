/* component/core_module: each section cut into its items; a module that ends anywhere, or says one
 * thing too many, is refused. */
#include "component_kit.h"

#include "component/core_module.h"

static core_module m;

static int setup(void **state)
{
    arena_reset(&a);
    return 0;
}

static bool takes(bytes module)
{
    bytes copy = exact(module);
    e = (err){0};
    bool ok = core_module_read(&a, copy, &m, &e);
    free((void *)copy.p); /* m points into it: only its numbers are of use now */
    return ok;
}

static buf built;

static void begin(void)
{
    buf_clear(&built);
    buf_put(&built, "\0asm\1\0\0\0", 8);
}

static void put(uint8_t id, const char *content, size_t n)
{
    put_part(&built, id, (bytes){(const uint8_t *)content, n});
}
#define PUT(id, lit) put((id), (lit), sizeof(lit) - 1)

static void read_built(void)
{
    if (!core_module_read(&a, buf_bytes(&built), &m, &e))
        fail_msg("%s", e.text);
}

static void refused(err_code code, const char *says)
{
    if (takes(buf_bytes(&built)))
        fail_msg("taken; expected: %s", says);
    if (!strstr(e.text, says))
        fail_msg("'%s' does not say '%s'", e.text, says);
    assert_int_equal(e.code, code);
}

/* A module of one section is refused. */
#define REFUSED(id, lit, code, says)                                                               \
    do {                                                                                           \
        begin();                                                                                   \
        PUT((id), lit);                                                                            \
        refused((code), (says));                                                                   \
    } while (0)

/* --- what is read ----------------------------------------------------------------------------- */

static void assert_bytes(bytes b, const char *want, size_t n)
{
    assert_int_equal(b.n, n);
    assert_memory_equal(b.p, want, n);
}
#define ASSERT_BYTES(b, lit) assert_bytes((b), (lit), sizeof(lit) - 1)

static void types_and_imports(void **state)
{
    begin();
    /* a function, a group of three, a struct, a function that may have subtypes */
    PUT(1, "\4\x60\0\0\x4e\3\x60\0\0\x5f\0\x5e\x7f\0\x5f\0\x50\0\x60\0\0");
    PUT(2, "\6\1a\1f\0\5\1a\1t\1\x70\1\1\2\1a\1m\2\0\1\1a\1g\3\x7e\1\1a\1x\4\0\0\1b\1f\0\1");
    PUT(3, "\1\0");
    PUT(10, "\1\2\0\x0b");
    read_built();
    assert_int_equal(m.recs_count, 4);
    assert_int_equal(m.types_count, 6);
    static const uint32_t first[] = {0, 1, 4, 5}, count[] = {1, 3, 1, 1};
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(m.recs[i].first, first[i]);
        assert_int_equal(m.recs[i].count, count[i]);
        assert_int_equal(m.recs[i].is_func, i == 0);
    }
    ASSERT_BYTES(m.recs[0].raw, "\x60\0\0");
    ASSERT_BYTES(m.recs[1].raw, "\x4e\3\x60\0\0\x5f\0\x5e\x7f\0");
    static const int rec[] = {0, 1, 1, 1, 2, 3};
    for (uint32_t i = 0; i < 6; i++)
        assert_ptr_equal(core_module_rec(&m, i), &m.recs[rec[i]]);
    assert_null(core_module_rec(&m, 6));
    assert_null(core_module_rec(&m, UINT32_MAX));
    assert_int_equal(m.imports_count, 6);
    static const core_kind kinds[] = {CORE_FUNC,   CORE_TABLE, CORE_MEMORY,
                                      CORE_GLOBAL, CORE_TAG,   CORE_FUNC};
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(m.imports[i].kind, kinds[i]);
    assert_str(m.imports[1].module, "a");
    assert_str(m.imports[1].name, "t");
    assert_int_equal(m.imports[0].type, 5);
    assert_int_equal(m.imports[4].type, 0);
    for (int kind = 0; kind < CM_KINDS; kind++) {
        assert_int_equal(m.imported[kind], kind == CORE_FUNC ? 2 : 1);
        assert_int_equal(m.count[kind], kind == CORE_FUNC ? 3 : 1);
    }
    static const uint32_t func_types[] = {5, 1, 0};
    assert_memory_equal(m.func_types, func_types, sizeof func_types);
    assert_int_equal(m.tag_types[0], 0);
}

static void spaces(void **state)
{
    begin();
    PUT(1, "\2\x60\0\0\x60\1\x7f\0");
    PUT(2, "\1\1a\1x\4\0\1");
    PUT(3, "\2\0\1");
    PUT(4, "\3\x70\0\0\x40\0\x70\1\1\2\xd0\x70\x0b\x6f\4\1");
    PUT(5, "\3\0\1\1\1\2\4\1");
    PUT(13, "\2\0\0\0\1");
    PUT(6, "\2\x7f\1\x41\5\x0b\x7e\0\x42\x7f\x0b");
    PUT(7, "\5\1f\0\1\1t\1\2\1m\2\2\1g\3\1\1x\4\2");
    PUT(8, "\1");
    PUT(12, "\1");
    PUT(10, "\2\2\0\x0b\3\0\1\x0b");
    PUT(11, "\3\0\x41\0\x0b\2hi\1\0\2\1\x41\1\x0b\1!");
    read_built();
    ASSERT_BYTES(m.tables[0].type, "\x70\0\0");
    assert_int_equal(m.tables[0].init.n, 0);
    ASSERT_BYTES(m.tables[1].type, "\x70\1\1\2");
    ASSERT_BYTES(m.tables[1].init, "\xd0\x70\x0b");
    ASSERT_BYTES(m.tables[2].type, "\x6f\4\1");
    ASSERT_BYTES(m.memories[0], "\0\1");
    ASSERT_BYTES(m.memories[1], "\1\1\2");
    ASSERT_BYTES(m.memories[2], "\4\1");
    ASSERT_BYTES(m.globals[0].type, "\x7f\1");
    assert_true(m.globals[0].is_mutable);
    ASSERT_BYTES(m.globals[1].init, "\x42\x7f\x0b");
    assert_false(m.globals[1].is_mutable);
    static const uint32_t tags[] = {1, 0, 1};
    assert_memory_equal(m.tag_types, tags, sizeof tags);
    static const uint32_t counts[] = {2, 3, 3, 2, 3}, exported[] = {1, 2, 2, 1, 2};
    assert_int_equal(m.exports_count, 5);
    for (int kind = 0; kind < CM_KINDS; kind++) {
        assert_int_equal(m.count[kind], counts[kind]);
        assert_int_equal(m.exports[kind].kind, kind);
        assert_int_equal(m.exports[kind].index, exported[kind]);
    }
    assert_ptr_equal(core_module_export(&m, S("g")), &m.exports[3]);
    assert_null(core_module_export(&m, S("h")));
    assert_true(m.has_start);
    assert_int_equal(m.start, 1);
    assert_int_equal(m.codes_count, 2);
    ASSERT_BYTES(m.codes[1], "\0\1\x0b");
    assert_int_equal(m.datas_count, 3);
    static const cm_mode modes[] = {CM_ACTIVE, CM_PASSIVE, CM_ACTIVE};
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(m.datas[i].mode, modes[i]);
        assert_int_equal(m.datas[i].memory, i == 2);
    }
    ASSERT_BYTES(m.datas[0].offset, "\x41\0\x0b");
    ASSERT_BYTES(m.datas[0].content, "hi");
    assert_int_equal(m.datas[1].content.n, 0);
    ASSERT_BYTES(m.datas[2].content, "!");
}

/* The eight forms of an element segment. */
static void elements(void **state)
{
    static const struct {
        cm_mode mode;
        bool is_exprs;
        uint32_t table;
        const char *type, *items;
        size_t items_n;
    } want[] = {
        {CM_ACTIVE, false, 0, "\x70", "\0", 1},
        {CM_PASSIVE, false, 0, "\x70", "\0\1", 2},
        {CM_ACTIVE, false, 1, "\x70", "\1", 1},
        {CM_DECLARATIVE, false, 0, "\x70", "", 0},
        {CM_ACTIVE, true, 0, "\x70", "\xd2\0\x0b", 3},
        {CM_PASSIVE, true, 0, "\x6f", "\xd0\x6f\x0b", 3},
        {CM_ACTIVE, true, 1, "\x6f", "\xd0\x6f\x0b", 3},
        {CM_DECLARATIVE, true, 0, "\x70", "\xd2\1\x0b\xd2\0\x0b", 6},
    };
    begin();
    PUT(9, "\x08"
           "\0\x41\0\x0b\1\0"
           "\1\0\2\0\1"
           "\2\1\x41\1\x0b\0\1\1"
           "\3\0\0"
           "\4\x41\2\x0b\1\xd2\0\x0b"
           "\5\x6f\1\xd0\x6f\x0b"
           "\6\1\x41\3\x0b\x6f\1\xd0\x6f\x0b"
           "\7\x70\2\xd2\1\x0b\xd2\0\x0b");
    read_built();
    assert_int_equal(m.elems_count, 8);
    for (uint32_t i = 0; i < 8; i++) {
        const cm_elem *x = &m.elems[i];
        assert_int_equal(x->mode, want[i].mode);
        assert_int_equal(x->is_exprs, want[i].is_exprs);
        assert_int_equal(x->table, want[i].table);
        assert_bytes(x->type, want[i].type, 1);
        assert_bytes(x->items, want[i].items, want[i].items_n);
        assert_int_equal(x->offset.n, x->mode == CM_ACTIVE ? 3 : 0);
    }
    static const uint32_t counts[] = {1, 2, 1, 0, 1, 1, 1, 2};
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(m.elems[i].count, counts[i]);
}

/* A name section names what it can; one that is malformed is no reason to refuse the module. */
static void names(void **state)
{
    static const struct {
        const char *section;
        size_t n;
        const char *module, *zero, *one;
    } cases[] = {
#define NAMES(lit, module, zero, one) {lit, sizeof(lit) - 1, module, zero, one}
        NAMES("\4name", "", NULL, NULL),
        NAMES("\4name\0\2\1m", "m", NULL, NULL),
        NAMES("\4name\0\2\1m\1\7\2\0\1a\1\1b", "m", "a", "b"),
        NAMES("\4name\1\7\2\1\1b\0\1a", "", "a", "b"),
        NAMES("\4name\1\4\1\1\1b", "", "", "b"),
        NAMES("\4name\1\7\2\2\1x\0\1a", "", "a", ""), /* there is no function 2 */
        NAMES("\4name\1\6\2\0\1a\1\5", "", "a", ""),
        NAMES("\4name\1\1\5", "", "", ""),
        NAMES("\4name\1\4\1\0\1a\0\x09", "", "a", ""),
        NAMES("\4name\0\1\5\1\4\1\1\1b", "", "", "b"),
        NAMES("\4name\2\1\0\1\4\1\1\1b", "", "", "b"),
        NAMES("\4nama\1\4\1\1\1b", "", NULL, NULL),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin();
        PUT(1, "\1\x60\0\0");
        PUT(3, "\2\0\0");
        PUT(10, "\2\2\0\x0b\2\0\x0b");
        put(0, cases[i].section, cases[i].n);
        bytes copy = exact(buf_bytes(&built));
        if (!core_module_read(&a, copy, &m, &e))
            fail_msg("%zu: %s", i, e.text);
        assert_true(str_eq(m.name, str_from(cases[i].module)));
        assert_int_equal(m.names != NULL, cases[i].zero != NULL);
        if (m.names) {
            assert_true(str_eq(m.names[0], str_from(cases[i].zero)));
            assert_true(str_eq(m.names[1], str_from(cases[i].one)));
        }
        free((void *)copy.p);
    }
}

/* --- what is refused -------------------------------------------------------------------------- */

static void no_modules(void **state)
{
    assert_false(takes((bytes){0}));
    assert_non_null(strstr(e.text, "no core module"));
    assert_false(takes((bytes){(const uint8_t *)"\0asm\1\0\0", 7}));
    assert_false(takes((bytes){(const uint8_t *)"\0asm\x0d\0\1\0", 8}));
    assert_true(takes((bytes){(const uint8_t *)"\0asm\1\0\0\0", 8}));
    assert_false(takes((bytes){(const uint8_t *)"\0asm\1\0\0\0\0", 9}));
    assert_false(takes((bytes){(const uint8_t *)"\0asm\1\0\0\0\0\1", 10}));
}

static void indices(void **state)
{
    begin();
    PUT(1, "\1\x60\0\0");
    PUT(3, "\1\0");
    refused(ERR_INVALID, "0 function bodies for 1 functions");
    begin();
    PUT(10, "\1\2\0\x0b");
    refused(ERR_INVALID, "1 function bodies for 0 functions");
    begin();
    PUT(1, "\1\x60\0\0");
    PUT(3, "\1\1");
    PUT(10, "\1\2\0\x0b");
    refused(ERR_INVALID, "function 0 has no type");
    REFUSED(2, "\1\0\0\0\0", ERR_INVALID, "function 0 has no type");
    REFUSED(2, "\1\0\0\4\0\0", ERR_INVALID, "tag 0 has no type");
    REFUSED(13, "\1\0\0", ERR_INVALID, "tag 0 has no type");
    static const char *const one[] = {"", "\1\x70\0\0", "\1\0\0", "\1\x7f\0\x41\0\x0b"};
    static const size_t sizes[] = {0, 4, 3, 6};
    for (int kind = 0; kind < CM_KINDS; kind++)
        for (int index = 0; index < 2; index++) {
            begin();
            PUT(1, "\1\x60\0\0");
            if (kind == CORE_FUNC)
                PUT(3, "\1\0");
            else if (kind < CORE_TAG)
                put((uint8_t)(kind + 3), one[kind], sizes[kind]);
            else
                PUT(13, "\1\0\0");
            char export[] = {1, 1, 'x', (char)kind, (char)index};
            put(7, export, sizeof export);
            if (kind == CORE_FUNC)
                PUT(10, "\1\2\0\x0b");
            if (index)
                refused(ERR_INVALID, "export 'x' names nothing");
            else
                assert_true(takes(buf_bytes(&built)));
        }
    REFUSED(8, "\0", ERR_INVALID, "the start function does not exist");
}

static void forms(void **state)
{
    REFUSED(2, "\1\0\0\5\0", ERR_UNSUPPORTED, "import of kind 5 is not known");
    REFUSED(7, "\1\0\5\0", ERR_UNSUPPORTED, "export of kind 5 is not known");
    REFUSED(9, "\1\x08\0", ERR_UNSUPPORTED, "element segment of form 8");
    REFUSED(11, "\1\3\0", ERR_UNSUPPORTED, "data segment of form 3");
    REFUSED(14, "\0", ERR_UNSUPPORTED, "section 14 is not known");
    REFUSED(0, "\1\xff", ERR_INVALID, "custom section");
    REFUSED(5, "\1\3\1\1", ERR_UNSUPPORTED, "memory section: offset 0xd: the module has a shared");
    REFUSED(5, "\1\2\1", ERR_UNSUPPORTED, "shared memory (threads)");
    REFUSED(2, "\1\0\0\2\3\1\1", ERR_UNSUPPORTED, "shared memory (threads)");
    begin();
    PUT(5, "\3\x08\1\0\x09\1\2\x10\5\xff\xff\xff\xff\xff\xff\xff\xff\xff\1\1");
    assert_true(takes(buf_bytes(&built))); /* pages of other sizes, 64-bit */
}

static void order(void **state)
{
    static const uint8_t ids[] = {1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11};
    enum { IDS = sizeof ids };
    for (size_t i = 0; i < IDS; i++)
        for (size_t k = 0; k < IDS; k++) {
            begin();
            put(ids[i], "\0", 1);
            PUT(0, "\1x");
            put(ids[k], "\0", 1);
            bool ok = takes(buf_bytes(&built));
            bool out_of_order = strstr(e.text, "section is out of order") != NULL;
            assert_int_equal(out_of_order, k <= i);
            assert_true(!ok || k > i);
        }
}

/* As many items as there may be of a kind are not refused for their number, one more is. */
static void counts(void **state)
{
    static const uint8_t ids[] = {1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 13};
    uint8_t *zeros = calloc(1, COMPONENT_ITEMS_MAX + 10);
    assert_non_null(zeros);
    for (size_t i = 0; i < sizeof ids; i++)
        for (uint32_t more = 0; more < 2; more++) {
            buf s;
            buf_init(&s, 2 * COMPONENT_ITEMS_MAX);
            put_leb(&s, COMPONENT_ITEMS_MAX + more);
            buf_put(&s, zeros, COMPONENT_ITEMS_MAX + more);
            begin();
            put_part(&built, ids[i], buf_bytes(&s));
            buf_fini(&s);
            assert_false(takes(buf_bytes(&built)));
            assert_int_equal(e.code == ERR_LIMIT, more);
            arena_reset(&a);
        }
    free(zeros);
}

/* Each section of each of our modules ends at each place, with and without what follows it. */
static void cut_sections(void **state)
{
    bytes all = file("flatten.txt");
    all = exact(all); /* the arena is reset below */
    str text = {(const char *)all.p, all.n};
    while (text.n) {
        str line = str_cut(&text, '\n');
        str_cut(&line, ' ');
        str label = str_cut(&line, ' ');
        arena_reset(&a);
        bytes module = unhex(line);
        if (!takes(module)) { /* refused as it is */
            assert_int_equal(e.code, ERR_UNSUPPORTED);
            continue;
        }
        reader r = reader_over(module), content;
        uint8_t id;
        assert_true(reader_skip(&r, 8, &e));
        while (!reader_done(&r)) {
            const uint8_t *from = r.at;
            assert_true(reader_u8(&r, &id, &e) && reader_sized(&r, &content, &e));
            size_t n = reader_left(&content);
            for (size_t i = 0; id && i <= n; i++)
                for (int rest = 0; rest < 2; rest++) {
                    buf s;
                    buf_init(&s, MIB);
                    buf_put(&s, content.at, i);
                    if (i == n)
                        buf_put_u8(&s, 0); /* a byte too many */
                    buf_clear(&built);
                    buf_put(&built, module.p, (size_t)(from - module.p));
                    put_part(&built, id, buf_bytes(&s));
                    buf_fini(&s);
                    if (rest)
                        buf_put(&built, r.at, reader_left(&r));
                    if (takes(buf_bytes(&built)))
                        fail_msg("%.*s: %zu bytes of %zu of section %u are taken", STR(label), i, n,
                                 id);
                    assert_int_equal(e.code, ERR_INVALID);
                }
        }
    }
    free((void *)all.p);
}

/* So many items of a section are in so many bytes, and in no other number of them. */
static void counts_and_lengths(void **state)
{
    bytes all = file("flatten.txt");
    all = exact(all); /* the arena is reset below */
    str text = {(const char *)all.p, all.n};
    while (text.n) {
        str line = str_cut(&text, '\n');
        str_cut(&line, ' ');
        str label = str_cut(&line, ' ');
        arena_reset(&a);
        bytes module = unhex(line);
        reader r = reader_over(module), content;
        uint8_t id;
        assert_true(reader_skip(&r, 8, &e));
        while (!reader_done(&r)) {
            const uint8_t *from = r.at;
            assert_true(reader_u8(&r, &id, &e) && reader_sized(&r, &content, &e));
            size_t n = reader_left(&content);
            if (id == 0 || id == 8 || id == 12 || *content.at >= 0x80)
                continue;
            for (uint8_t count = 0; count <= *content.at; count++) {
                size_t taken = 0;
                for (size_t i = 1; i <= n; i++) {
                    buf_clear(&built);
                    buf_put(&built, module.p, (size_t)(from - module.p));
                    put_part(&built, id, (bytes){content.at, i});
                    built.p[built.n - i] = count;
                    taken += takes(buf_bytes(&built));
                }
                if (taken > 1)
                    fail_msg("%.*s: %u items of section %u are in %zu lengths", STR(label), count,
                             id, taken);
            }
        }
    }
    free((void *)all.p);
}

static void memory_may_fail_anywhere(void **state)
{
    begin();
    PUT(1, "\2\x60\0\0\x60\1\x7f\0");
    PUT(2, "\1\1a\1x\4\0\1");
    PUT(3, "\2\0\1");
    PUT(4, "\1\x70\0\0");
    PUT(5, "\1\0\1");
    PUT(13, "\1\0\0");
    PUT(6, "\1\x7f\1\x41\5\x0b");
    PUT(7, "\1\1f\0\1");
    PUT(9, "\1\1\0\2\0\1");
    PUT(10, "\2\2\0\x0b\3\0\1\x0b");
    PUT(11, "\1\1\0");
    PUT(0, "\4name\1\7\2\0\1a\1\1b");
    for (size_t n = 1, done = 0; !done; n++) {
        alloc_fail_after(n);
        bool ok = core_module_read(&a, buf_bytes(&built), &m, &e);
        done = alloc_fail_after(0) < n;
        assert_int_equal(ok, done);
        assert_true(ok || e.code == ERR_NO_MEMORY);
        assert_true(ok || n < 100);
    }
    assert_str(m.names[1], "b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(types_and_imports, setup),
        cmocka_unit_test_setup(spaces, setup),
        cmocka_unit_test_setup(elements, setup),
        cmocka_unit_test_setup(names, setup),
        cmocka_unit_test_setup(no_modules, setup),
        cmocka_unit_test_setup(indices, setup),
        cmocka_unit_test_setup(forms, setup),
        cmocka_unit_test_setup(order, setup),
        cmocka_unit_test_setup(counts, setup),
        cmocka_unit_test_setup(cut_sections, setup),
        cmocka_unit_test_setup(counts_and_lengths, setup),
        cmocka_unit_test_setup(memory_may_fail_anywhere, setup),
    };
    arena_init(&a, COMPONENT_ARENA_BYTES_MAX);
    buf_init(&built, 16 * MIB);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    buf_fini(&built);
    arena_fini(&a);
    return failed;
}
