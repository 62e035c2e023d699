/* Calls between component instances that are dropped half-way, and the copying of values by
 * itself. What calls do when they are left alone: tests/component/wast. */
#include "engine_kit.h"

#include "component/abi_copy.h"
#include "host/wast_run.h"
#include "loop/loop.h"

#include <stdlib.h>

static loop *l;
static bytes component;

static int begin(void **state)
{
    err e;
    FILE *f = fopen("tests/component/callback.wasm", "rb");
    uint8_t *p = malloc(65536);
    if (!f || !p || kit_begin(state) || !host_init(&e) || !loop_new(&l, &e))
        return -1;
    component = (bytes){p, fread(p, 1, 65536, f)};
    fclose(f);
    return 0;
}

static int end(void **state)
{
    host_loop_close(l);
    loop_free(l);
    free((void *)(uintptr_t)component.p);
    return kit_end(state);
}

static const engine_limits limits = {.memory_bytes_max = 1 << 20};

static wast_component *component_new(void)
{
    wast_component *c;
    err e;
    if (!wast_component_new(kit_engine, l, kit_dir, component, &c, &e))
        fail_msg("%s", e.text);
    return c;
}

static guest *guest_of_nobody(void)
{
    static const host_component nobody = {.handles_max = 10};
    static const guest_callbacks none = {0};
    guest *g;
    err e;
    assert_true(guest_new(&nobody, l, &none, NULL, &g, &e));
    return g;
}

/* Polls the outermost instance at most `polls` times. The parent is called back by its child, waits
 * there, and computes there. True: it came to its end. */
static bool run_partly(wast_instance *i, engine_instance *in, unsigned polls, unsigned *ret_yields)
{
    while (polls-- > 0) {
        i->woken = false;
        switch (engine_poll(in)) {
        case ENGINE_DONE:
            return true;
        case ENGINE_TRAP:
            fail_msg("%s", engine_instance_trap(in)->text);
            break;
        case ENGINE_YIELD:
            ++*ret_yields;
            break;
        case ENGINE_WAIT:
            while (polls > 0 && !i->woken)
                loop_turn(l, 1000);
        }
    }
    return false;
}

/* CPU time and memory of a guest are those of all its instances. */
static void sums_are_of_all(guest *g, const plan *p)
{
    err e;
    ns cpu = 0;
    size_t memory = 0;
    assert_true(p->units_count > 1);
    for (uint32_t k = 0; k < p->units_count; k++) {
        engine_instance *in = guest_instance(g, k, &e);
        cpu += engine_cpu_ns(in);
        memory += engine_memory_bytes(in);
    }
    assert_true(cpu > 0);
    assert_int_equal(guest_cpu_ns(g), cpu);
    assert_int_equal(guest_memory_bytes(g), memory);
}

static void dropped_anywhere(void **state)
{
    err e = {0};
    wast_component *c = component_new();
    unsigned polls = 0, yields = 0;
    bool done = false;
    for (int i = 0; i < 4; i++)
        sigaction(kit_faults[i], &kit_handlers[i], NULL);
    for (; !done; polls++) {
        wast_instance *i;
        slot slots[1] = {{.u64 = 3000000}};
        assert_int_equal(wast_instance_new(c, &i, &e), WAST_DONE);
        uint32_t unit = c->plan.exports[0].unit;
        assert_true(guest_enter(i->g, unit));
        assert_false(guest_enter(i->g, unit));
        engine_instance *in = guest_instance(i->g, unit, &e);
        if (!engine_instance_ready(in))
            assert_int_equal(kit_run(in), ENGINE_DONE);
        engine_call(in, c->plan.exports[0].lift, slots);
        done = run_partly(i, in, polls, &yields);
        if (done) {
            assert_int_equal(slots[0].u32, 6);
            sums_are_of_all(i->g, &c->plan);
        }
        wast_instance_free(i);
    }
    assert_true(polls > 6); /* it waits six times */
    assert_true(yields > 0);
    wast_component_free(c);
}

/* Whichever instance the host calls: the sums are of all. */
static void any_may_be_called(void **state)
{
    err e = {0};
    wast_component *c = component_new();
    for (uint32_t entry = 0; entry < c->plan.units_count; entry++) {
        engine_instance *in;
        guest *g;
        g = guest_of_nobody();
        assert_true(guest_compose(g, c->binding, c->modules, &limits, entry, &e));
        assert_true(engine_instance_new(c->modules[entry], &limits, g, &in, &e));
        guest_attach(g, in);
        engine_start(in);
        for (uint32_t k = 0; k < c->plan.units_count; k++)
            assert_int_equal(kit_run(guest_instance(g, k, &e)), ENGINE_DONE);
        sums_are_of_all(g, &c->plan);
        guest_free(g);
        engine_instance_free(in);
    }
    wast_component_free(c);
}

/* Where memory ends while the instances of a component are made ready, nothing is. */
static void no_memory_for_instances(void **state)
{
    err e = {0};
    wast_component *c = component_new();
    guest *g;
    unsigned failed = 0;
    for (bool done = false; !done; failed += !done) {
        g = guest_of_nobody();
        alloc_fail_after(failed + 1);
        done = guest_compose(g, c->binding, c->modules, &limits, 0, &e);
        alloc_fail_after(0);
        assert_true(done == (g->group != NULL));
        assert_true(done || strstr(e.text, "memory"));
        guest_free(g);
    }
    assert_true(failed >= 3);
    wast_component_free(c);
}

/* --- copying ------------------------------------------------------------------------------- */

typedef struct {
    uint8_t bytes[4096];
    uint32_t used;
    uint32_t wrong; /* what realloc returns instead, if not 0 */
    unsigned calls;
} memory;

static bool bump(abi_copier *c, uint32_t align, uint32_t size, uint32_t *ret)
{
    memory *m = c->user;
    m->calls++;
    m->used = (m->used + align - 1) & ~(align - 1);
    *ret = m->wrong ? m->wrong : m->used;
    m->used += size;
    return true;
}

static abi_copier copier(memory *from, string_encoding a, memory *to, string_encoding b)
{
    return (abi_copier){.src = {from->bytes, sizeof from->bytes, a},
                        .dst = {to->bytes, sizeof to->bytes, b},
                        .realloc = bump,
                        .user = to};
}

/* Copies a string of `units` that lies at 64 of `from`; the new units, and where they are. */
static bool string_pass(memory *from, string_encoding a, uint32_t units, memory *to,
                        string_encoding b, uint32_t *ret_at, uint32_t *ret_units, char *text)
{
    uint64_t src[2] = {64, units}, dst[2] = {9, 9};
    abi_copier c = copier(from, a, to, b);
    to->used = 128;
    bool ok = abi_copy(&c, type_primitive(TYPE_STRING), (abi_place){src, 0}, (abi_place){dst, 0});
    strcpy(text, c.trap);
    *ret_at = (uint32_t)dst[0];
    *ret_units = (uint32_t)dst[1];
    return ok;
}

static memory one, two;

/* The same text in every encoding, into every encoding and back. */
static void strings(void **state)
{
    static const char *const texts[] = {
        "", "plain", "h\u00f6\u00e4\u00ff", "\u2603\u3042", "a\U0001f370b", "\u00e9\u2603"};
    static const struct {
        string_encoding encoding;
        const char *bytes[6];
        uint32_t n[6], units[6];
    } forms[] = {
        {ENCODING_UTF8,
         {"", "plain", "h\xc3\xb6\xc3\xa4\xc3\xbf", "\xe2\x98\x83\xe3\x81\x82",
          "a\xf0\x9f\x8d\xb0"
          "b",
          "\xc3\xa9\xe2\x98\x83"},
         {0, 5, 7, 6, 6, 5},
         {0, 5, 7, 6, 6, 5}},
        {ENCODING_UTF16,
         {"", "p\0l\0a\0i\0n\0", "h\0\xf6\0\xe4\0\xff\0", "\x03\x26\x42\x30",
          "a\0\x3c\xd8\x70\xdf"
          "b\0",
          "\xe9\0\x03\x26"},
         {0, 10, 8, 4, 8, 4},
         {0, 5, 4, 2, 4, 2}},
        {ENCODING_LATIN1_UTF16,
         {"", "plain", "h\xf6\xe4\xff", "\x03\x26\x42\x30",
          "a\0\x3c\xd8\x70\xdf"
          "b\0",
          "\xe9\0\x03\x26"},
         {0, 5, 4, 4, 8, 4},
         {0, 5, 4, 2 | ABI_UTF16_TAG, 4 | ABI_UTF16_TAG, 2 | ABI_UTF16_TAG}},
    };
    char text[ABI_COPY_TEXT_MAX];
    uint32_t at, units;
    for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++)
        for (int a = 0; a < 3; a++)
            for (int b = 0; b < 3; b++) {
                memset(&one, 0, sizeof one);
                memset(&two, 0xee, sizeof two);
                two.wrong = 0;
                memcpy(one.bytes + 64, forms[a].bytes[t], forms[a].n[t]);
                two.calls = 0;
                if (!string_pass(&one, forms[a].encoding, forms[a].units[t], &two,
                                 forms[b].encoding, &at, &units, text))
                    fail_msg("%s: %s", texts[t], text);
                assert_int_equal(two.calls, 1);
                assert_int_equal(units, forms[b].units[t]);
                assert_int_equal(two.used - at, forms[b].n[t]);
                assert_memory_equal(two.bytes + at, forms[b].bytes[t], forms[b].n[t]);
                assert_int_equal(two.bytes[at + forms[b].n[t]], 0xee);
            }
    /* UTF-16 that was not needed becomes Latin-1. */
    memcpy(one.bytes + 64, "x\0\xff\0", 4);
    assert_true(string_pass(&one, ENCODING_LATIN1_UTF16, 2 | ABI_UTF16_TAG, &two,
                            ENCODING_LATIN1_UTF16, &at, &units, text));
    assert_int_equal(units, 2);
    assert_memory_equal(two.bytes + at, "x\xff", 2);
}

static void strings_refused(void **state)
{
    static const struct {
        string_encoding encoding;
        uint32_t at, units;
        const char bytes[8], *text;
    } cases[] = {
        {ENCODING_UTF8, 64, 1, "\xff", "invalid utf-8"},
        {ENCODING_UTF8, 64, 3, "a\xe2\x98", "incomplete utf-8 byte sequence"},
        {ENCODING_UTF8, 64, 1, "\xf0", "incomplete utf-8 byte sequence"},
        {ENCODING_UTF8, 64, 2, "\xe0\x80", "invalid utf-8"},
        {ENCODING_UTF8, 64, 3, "\xed\xa0\x80", "invalid utf-8"},
        {ENCODING_UTF8, 4096, 1, "", "string content out-of-bounds"},
        {ENCODING_UTF8, 4000, 97, "", "string content out-of-bounds"},
        {ENCODING_UTF8, 0, UINT32_MAX, "", "string content out-of-bounds"},
        {ENCODING_UTF16, 65, 1, "", "unaligned pointer"},
        {ENCODING_UTF16, 64, 1, "\x00\xd8", "unpaired surrogate"},
        {ENCODING_UTF16, 64, 2, "\x00\xdc\x00\xd8", "unpaired surrogate"},
        {ENCODING_UTF16, 64, UINT32_MAX, "", "string content out-of-bounds"},
        {ENCODING_LATIN1_UTF16, 65, 0, "", "unaligned pointer"},
        {ENCODING_LATIN1_UTF16, 64, 1 | ABI_UTF16_TAG, "\x00\xd8", "unpaired surrogate"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int b = 0; b < 3; b++) {
            uint64_t src[2] = {cases[i].at, cases[i].units}, dst[2];
            memset(&one, 0, sizeof one);
            memset(&two, 0, sizeof two);
            memcpy(one.bytes + 64, cases[i].bytes, 4);
            abi_copier c = copier(&one, cases[i].encoding, &two, (string_encoding)b);
            assert_false(abi_copy(&c, type_primitive(TYPE_STRING), (abi_place){src, 0},
                                  (abi_place){dst, 0}));
            if (!strstr(c.trap, cases[i].text))
                fail_msg("%zu: %s", i, c.trap);
            assert_int_equal(two.calls, 0);
        }
}

/* Records with padding: what is no part of the value stays where it is; bools and flags become
 * what they mean. */
static void padding(void **state)
{
    err e;
    const type_field names[3] = {{S("a")}, {S("b")}, {S("c")}};
    type set = {.kind = TYPE_FLAGS, .fields = names, .fields_count = 3};
    assert_true(type_finish(&set, &e));
    const type_field fields[3] = {
        {S("x"), type_primitive(TYPE_BOOL)}, {S("y"), type_primitive(TYPE_U32)}, {S("z"), &set}};
    type record = {.kind = TYPE_RECORD, .fields = fields, .fields_count = 3};
    assert_true(type_finish(&record, &e));
    type list = {.kind = TYPE_LIST, .elem = &record};
    assert_true(type_finish(&list, &e));
    memset(&one, 0x5a, sizeof one);
    memset(&two, 0, sizeof two);
    two.used = 256;
    uint64_t src[2] = {64, 2}, dst[2];
    abi_copier c = copier(&one, ENCODING_UTF8, &two, ENCODING_UTF8);
    assert_true(abi_copy(&c, &list, (abi_place){src, 0}, (abi_place){dst, 0}));
    static const uint8_t want[12] = {1, 0, 0, 0, 0x5a, 0x5a, 0x5a, 0x5a, 2, 0, 0, 0};
    assert_memory_equal(two.bytes + dst[0], want, 12);
    assert_memory_equal(two.bytes + dst[0] + 12, want, 12);
    assert_int_equal(dst[1], 2);
}

static void reallocs_refused(void **state)
{
    err e;
    type list = {.kind = TYPE_LIST, .elem = type_primitive(TYPE_U32)};
    assert_true(type_finish(&list, &e));
    const struct {
        uint32_t at;
        const char *text;
    } cases[] = {{2, "unaligned pointer"},
                 {4096, "list content out-of-bounds"},
                 {4092, "list content out-of-bounds"},
                 {UINT32_MAX - 3, "list content"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t src[2] = {64, 2}, dst[2];
        memset(&two, 0, sizeof two);
        two.wrong = cases[i].at;
        abi_copier c = copier(&one, ENCODING_UTF8, &two, ENCODING_UTF8);
        assert_false(abi_copy(&c, &list, (abi_place){src, 0}, (abi_place){dst, 0}));
        if (!strstr(c.trap, cases[i].text))
            fail_msg("%zu: %s", i, c.trap);
    }
}

/* A list that names the same bytes over and over is stopped. */
static void work_is_bounded(void **state)
{
    err e;
    type inner = {.kind = TYPE_LIST, .elem = type_primitive(TYPE_U8)};
    assert_true(type_finish(&inner, &e));
    type outer = {.kind = TYPE_LIST, .elem = &inner};
    assert_true(type_finish(&outer, &e));
    const uint32_t n = 1 << 20;
    memory *to = calloc(1, sizeof *to);
    uint8_t *big = calloc(n, 8);
    assert_true(to && big);
    for (uint32_t i = 0; i < n; i++) { /* each is all of the memory */
        uint32_t span[2] = {0, 4096};
        memcpy(big + 8 * i, span, 8);
    }
    uint64_t src[2] = {0, n - 16}, dst[2];
    abi_copier c = copier(to, ENCODING_UTF8, to, ENCODING_UTF8);
    c.src = c.dst = (abi_side){big, (size_t)n * 8, ENCODING_UTF8};
    to->wrong = 8; /* a realloc that always gives the same place */
    to->calls = 0;
    assert_false(abi_copy(&c, &outer, (abi_place){src, 0}, (abi_place){dst, 0}));
    assert_string_equal(c.trap, "wasm trap: a call copies more than the limit of 1 GiB");
    to->wrong = 0;
    free(big);
    free(to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dropped_anywhere),  cmocka_unit_test(no_memory_for_instances),
        cmocka_unit_test(any_may_be_called), cmocka_unit_test(strings),
        cmocka_unit_test(strings_refused),   cmocka_unit_test(padding),
        cmocka_unit_test(reallocs_refused),  cmocka_unit_test(work_is_bounded),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
