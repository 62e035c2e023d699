/* component/abi_copy: values from one memory into another. Strings in every pair of encodings, each
 * kind of value in memory and as core values, what lies exactly at an edge, and the words of each
 * trap. The source's memory is a block that ends where its last value does. */
#include "component_kit.h"

#include "component/abi_copy.h"

enum { DST_BYTES = 4096, DST_BEGIN = 64 };

static uint8_t dst[DST_BYTES];

/* What the destination's realloc was asked for. */
static struct {
    uint32_t at, calls, align, size, skew; /* skew: added to what it gives */
    bool traps;
} heap;

static bool heap_realloc(abi_copier *c, uint32_t align, uint32_t size, uint32_t *ret)
{
    heap.calls++;
    heap.align = align;
    heap.size = size;
    heap.at = (heap.at + align - 1) & ~(align - 1);
    *ret = heap.at + heap.skew;
    heap.at += size;
    return !heap.traps;
}

static bool handle(abi_copier *c, const type *t, uint32_t index, uint32_t *ret)
{
    assert_true(t->kind == TYPE_OWN || t->kind == TYPE_BORROW);
    *ret = index + 100;
    return index != 13;
}

static abi_copier copier(const void *src, size_t n)
{
    memset(dst, 0xee, sizeof dst);
    memset(&heap, 0, sizeof heap);
    heap.at = DST_BEGIN;
    return (abi_copier){.src = {(uint8_t *)src, n, ENCODING_UTF8, false},
                        .dst = {dst, DST_BYTES, ENCODING_UTF8, false},
                        .realloc = heap_realloc,
                        .handle = handle};
}

static void trapped(const abi_copier *c, bool ok, const char *says)
{
    if (ok)
        fail_msg("copied; expected: %s", says);
    if (strcmp(c->trap, says) != 0)
        fail_msg("'%s', not '%s'", c->trap, says);
}

static const type *of(type t)
{
    type *copy = ARENA_NEW(&a, type);
    *copy = t;
    assert_true(type_finish(copy, &e));
    return copy;
}

static const type *list_of(const type *t) { return of((type){.kind = TYPE_LIST, .elem = t}); }

static const type_field *fields(size_t n, ...)
{
    type_field *f = ARENA_ARRAY(&a, type_field, n);
    va_list ap;
    va_start(ap, n);
    for (size_t i = 0; i < n; i++)
        f[i] = (type_field){S("x"), va_arg(ap, const type *)};
    va_end(ap);
    return f;
}

#define P(k) type_primitive(TYPE_##k)

/* --- strings ---------------------------------------------------------------------------------- */

typedef struct {
    bytes b;
    uint32_t units;
} text;

/* Text as a side of that encoding has it. */
static text encoded(str s, string_encoding encoding)
{
    size_t n;
    uint8_t *p = arena_alloc(&a, 2 * s.n + 2);
    if (encoding == ENCODING_UTF8)
        return (text){{(const uint8_t *)s.p, s.n}, (uint32_t)s.n};
    if (encoding == ENCODING_LATIN1_UTF16 && abi_utf8_is_latin1(s, &n)) {
        abi_utf8_to_latin1(s, p);
        return (text){{p, n}, (uint32_t)n};
    }
    n = abi_utf8_to_utf16(s, p);
    uint32_t tag = encoding == ENCODING_LATIN1_UTF16 ? ABI_UTF16_TAG : 0;
    return (text){{p, 2 * n}, (uint32_t)n | tag};
}

static bool copy_string(abi_copier *c, uint32_t at, uint32_t units, uint64_t ret[2])
{
    uint64_t from[2] = {at, units};
    return abi_copy(c, P(STRING), (abi_place){from, 0}, (abi_place){ret, 0});
}

static void strings(void **state)
{
    static const str texts[] = {
        {"", 0},
        {"a", 1},
        {"plain text", 10},
        {"caf\xc3\xa9 \xc3\xbf", 8},                    /* up to U+00FF */
        {"\xc4\x80", 2},                                /* U+0100 */
        {"\xdf\xbf\xe0\xa0\x80", 5},                    /* U+07FF, U+0800 */
        {"\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf", 9},    /* about the surrogates; U+FFFF */
        {"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 8},        /* U+10000, U+10FFFF */
        {"a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z", 11}, /* of each length */
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (int from = ENCODING_UTF8; from <= ENCODING_LATIN1_UTF16; from++)
            for (int to = ENCODING_UTF8; to <= ENCODING_LATIN1_UTF16; to++) {
                text in = encoded(texts[i], (string_encoding)from);
                text want = encoded(texts[i], (string_encoding)to);
                bytes src = exact(in.b);
                abi_copier c = copier(src.p, src.n);
                c.src.encoding = (string_encoding)from;
                c.dst.encoding = (string_encoding)to;
                uint64_t ret[2];
                if (!copy_string(&c, 0, in.units, ret))
                    fail_msg("text %zu, %d to %d: %s", i, from, to, c.trap);
                assert_int_equal(ret[0], DST_BEGIN);
                assert_int_equal(ret[1], want.units);
                assert_memory_equal(dst + DST_BEGIN, want.b.p, want.b.n);
                assert_int_equal(dst[DST_BEGIN + want.b.n], 0xee);
                assert_int_equal(heap.calls, 1);
                assert_int_equal(heap.size, want.b.n);
                assert_int_equal(heap.align, to == ENCODING_UTF8 ? 1 : 2);
                free((void *)src.p);
            }
    /* Latin-1 content that a side has as UTF-16 all the same */
    abi_copier c = copier("a\0\xff\0", 4);
    uint64_t ret[2];
    c.src.encoding = c.dst.encoding = ENCODING_LATIN1_UTF16;
    assert_true(copy_string(&c, 0, ABI_UTF16_TAG | 2, ret));
    assert_int_equal(ret[1], 2);
    assert_memory_equal(dst + DST_BEGIN, "a\xff\xee", 3);
}

static void bad_strings(void **state)
{
    static const struct {
        const char *text;
        size_t n;
        string_encoding encoding;
        uint32_t at, units;
        const char *host, *guest; /* NULL: it is copied */
    } cases[] = {
        {"abcd", 4, ENCODING_UTF8, 0, 4, NULL, NULL},
        {"abcd", 4, ENCODING_UTF8, 4, 0, NULL, NULL},
        {"abcd", 4, ENCODING_UTF8, 5, 0, "string pointer/length out of bounds of memory",
         "string content out-of-bounds"},
        {"abcd", 4, ENCODING_UTF8, 1, 4, "string pointer/length out of bounds of memory",
         "string content out-of-bounds"},
        {"abcd", 4, ENCODING_UTF16, 0, 2, NULL, NULL},
        {"abcd", 4, ENCODING_UTF16, 0, 3, "string pointer/length out of bounds of memory",
         "string content out-of-bounds"},
        {"abcd", 4, ENCODING_UTF16, 1, 1, "unaligned pointer", "unaligned pointer"},
        {"abcd", 4, ENCODING_LATIN1_UTF16, 1, 1, "unaligned pointer", "unaligned pointer"},
        {"abcd", 4, ENCODING_UTF8, 0, ABI_STRING_BYTES_MAX,
         "string pointer/length out of bounds of "
         "memory",
         "string content out-of-bounds"},
        {"abcd", 4, ENCODING_UTF8, 0, ABI_STRING_BYTES_MAX + 1, "string is too long",
         "string content out-of-bounds"},
        {"abcd", 4, ENCODING_UTF16, 0, ABI_STRING_BYTES_MAX / 2 + 1, "string is too long",
         "string content out-of-bounds"},
        {"a\xff", 2, ENCODING_UTF8, 0, 2, "invalid utf-8 sequence", "invalid utf-8 sequence"},
        {"a\xc3", 2, ENCODING_UTF8, 0, 2, "incomplete utf-8 byte sequence",
         "incomplete utf-8 byte sequence"},
        {"\0\xd8", 2, ENCODING_UTF16, 0, 1, "invalid utf-16: unpaired surrogate",
         "invalid utf-16: unpaired surrogate"},
        {"\0\xdc", 2, ENCODING_LATIN1_UTF16, 0, ABI_UTF16_TAG | 1,
         "invalid utf-16: unpaired surrogate", "invalid utf-16: unpaired surrogate"},
        {"\xff\xfe", 2, ENCODING_LATIN1_UTF16, 0, 2, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int host = 0; host < 2; host++) {
            bytes src = exact((bytes){(const uint8_t *)cases[i].text, cases[i].n});
            abi_copier c = copier(src.p, src.n);
            uint64_t ret[2];
            char says[100];
            c.src.encoding = cases[i].encoding;
            c.dst.is_host = host;
            bool ok = copy_string(&c, cases[i].at, cases[i].units, ret);
            snprintf(says, sizeof says, "wasm trap: %s",
                     host             ? cases[i].host
                     : cases[i].guest ? cases[i].guest
                                      : "");
            if (cases[i].host)
                trapped(&c, ok, says);
            else if (!ok)
                fail_msg("string %zu: %s", i, c.trap);
            free((void *)src.p);
        }
}

static void problems_of_utf8(void **state)
{
    static const char *const incomplete[] = {
        "\xc2",         "\xdf",     "\xe0\xa0",     "\xe1",       "\xe1\x80",
        "\xed",         "\xed\x9f", "\xef\xbf",     "\xf0",       "\xf0\x90",
        "\xf0\x90\x80", "\xf4",     "\xf4\x8f\xbf", "ok\xe2\x82", "\xc3\xa9\xf0\x9f\x98"};
    static const char *const invalid[] = {
        "\xff",     "\x80", "\xc0",         "\xc1",  "\xe0\x80", "\xed\xa0", "\xf0\x80",
        "\xf4\x90", "\xf5", "\xc3\xa9\x80", "\xc2z", "\xff\xc2", "\xe1\x80z"};
    for (size_t i = 0; i < sizeof incomplete / sizeof *incomplete; i++) {
        bytes b = exact((bytes){(const uint8_t *)incomplete[i], strlen(incomplete[i])});
        const char *problem = abi_utf8_problem(b.p, b.n);
        if (!problem || strcmp(problem, "incomplete utf-8 byte sequence") != 0)
            fail_msg("incomplete %zu: %s", i, problem ? problem : "none");
        free((void *)b.p);
    }
    for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++) {
        bytes b = exact((bytes){(const uint8_t *)invalid[i], strlen(invalid[i])});
        const char *problem = abi_utf8_problem(b.p, b.n);
        if (!problem || strcmp(problem, "invalid utf-8 sequence") != 0)
            fail_msg("invalid %zu: %s", i, problem ? problem : "none");
        free((void *)b.p);
    }
    assert_null(abi_utf8_problem((const uint8_t *)"", 0));
    assert_null(abi_utf8_problem((const uint8_t *)"\xf4\x8f\xbf\xbf", 4));
}

/* What the destination's realloc says is not believed. */
static void allocations(void **state)
{
    static const struct {
        string_encoding encoding;
        uint32_t skew;
        const char *host, *guest;
    } cases[] = {
        {ENCODING_UTF8, DST_BYTES - DST_BEGIN - 4, NULL, NULL},
        {ENCODING_UTF8, DST_BYTES - DST_BEGIN - 3, "realloc return: beyond end of memory",
         "string content out-of-bounds"},
        {ENCODING_UTF16, 1, "realloc return: result not aligned", "unaligned pointer"},
        {ENCODING_UTF16, DST_BYTES - DST_BEGIN - 8, NULL, NULL},
        {ENCODING_UTF16, DST_BYTES - DST_BEGIN - 6, "realloc return: beyond end of memory",
         "string content out-of-bounds"},
    };
    uint64_t ret[2];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int host = 0; host < 2; host++) {
            abi_copier c = copier("text", 4);
            char says[100];
            c.dst.encoding = cases[i].encoding;
            c.src.is_host = host;
            heap.skew = cases[i].skew;
            bool ok = copy_string(&c, 0, 4, ret);
            snprintf(says, sizeof says, "wasm trap: %s",
                     host             ? cases[i].host
                     : cases[i].guest ? cases[i].guest
                                      : "");
            if (cases[i].host)
                trapped(&c, ok, says);
            else
                assert_true(ok);
        }
    abi_copier c = copier("text", 4);
    heap.traps = true;
    assert_false(copy_string(&c, 0, 4, ret));
    assert_int_equal(c.trap[0], 0);
    uint64_t from[2] = {0, 2};
    c = copier("text", 4);
    heap.skew = DST_BYTES;
    trapped(&c, abi_copy(&c, list_of(P(U16)), (abi_place){from, 0}, (abi_place){ret, 0}),
            "wasm trap: list content out-of-bounds");
}

/* --- values ----------------------------------------------------------------------------------- */

/* One value in all four ways: to and from memory, to and from core values. */
static void one_value(const type *t, uint64_t in, uint64_t stored, uint64_t flat)
{
    for (int way = 0; way < 4; way++) {
        uint8_t memory[8];
        uint64_t from[1] = {in}, to[1] = {UINT64_MAX}, got = 0;
        memcpy(memory, &in, sizeof memory);
        bytes src = exact((bytes){memory, t->size});
        abi_copier c = copier(src.p, src.n);
        abi_place a_ = {way & 1 ? from : NULL, 0}, b_ = {way & 2 ? to : NULL, 0};
        if (!abi_copy(&c, t, a_, b_))
            fail_msg("kind %d: %s", (int)t->kind, c.trap);
        if (way & 2) {
            assert_true(to[0] == flat);
        } else {
            memcpy(&got, dst, t->size);
            assert_true(got == stored);
            assert_int_equal(dst[t->size], 0xee);
        }
        free((void *)src.p);
    }
}

static void numbers(void **state)
{
    const uint64_t x = UINT64_C(0xfedcba9876543210), low = UINT64_C(0x123456789abcdef0);
    one_value(P(BOOL), 0, 0, 0);
    one_value(P(BOOL), 1, 1, 1);
    one_value(P(BOOL), 2, 1, 1);
    one_value(P(U8), x | 0xff, 0xff, 0xff);
    one_value(P(S8), 0x80, 0x80, 0xffffff80);
    one_value(P(S8), 0x7f, 0x7f, 0x7f);
    one_value(P(U16), x | 0x8000, 0xb210, 0xb210);
    one_value(P(S16), 0x8000, 0x8000, 0xffff8000);
    one_value(P(S16), 0x7fff, 0x7fff, 0x7fff);
    one_value(P(U32), low, 0x9abcdef0, 0x9abcdef0);
    one_value(P(S32), low, 0x9abcdef0, 0x9abcdef0);
    one_value(P(U64), x, x, x);
    one_value(P(S64), x, x, x);
    one_value(P(F32), low, 0x9abcdef0, 0x9abcdef0);
    one_value(P(F64), x, x, x);
    one_value(P(CHAR), 0x10ffff, 0x10ffff, 0x10ffff);
    one_value(P(CHAR), 0xd7ff, 0xd7ff, 0xd7ff);
    one_value(P(CHAR), 0xe000, 0xe000, 0xe000);
    static const uint32_t flags[] = {1, 7, 8, 9, 16, 17, 31, 32};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        const type *t = of((type){.kind = TYPE_FLAGS,
                                  .fields = ARENA_ARRAY(&a, type_field, flags[i]),
                                  .fields_count = flags[i]});
        uint64_t mask = (UINT64_C(1) << flags[i]) - 1;
        one_value(t, UINT64_MAX, mask, mask);
    }
}

static void bad_numbers(void **state)
{
    static const uint32_t chars[] = {0xd800, 0xdfff, 0x110000, UINT32_MAX};
    uint64_t to[1];
    for (size_t i = 0; i < sizeof chars / sizeof *chars; i++) {
        uint64_t from[1] = {chars[i]};
        abi_copier c = copier("", 0);
        trapped(&c, abi_copy(&c, P(CHAR), (abi_place){from, 0}, (abi_place){to, 0}),
                "wasm trap: invalid `char` bit pattern");
    }
    const type *none[] = {of((type){.kind = TYPE_STREAM}), of((type){.kind = TYPE_FUTURE}),
                          P(ERROR_CONTEXT)};
    for (size_t i = 0; i < 3; i++) {
        uint64_t from[1] = {0};
        abi_copier c = copier("", 0);
        trapped(&c, abi_copy(&c, none[i], (abi_place){from, 0}, (abi_place){to, 0}),
                "wasm trap: streams, futures and error contexts are not supported in this call");
    }
}

static void handles(void **state)
{
    static const resource_type r = {.name = {"r", 1}};
    for (int kind = TYPE_OWN; kind <= TYPE_BORROW; kind++) {
        const type *t = of((type){.kind = (type_kind)kind, .resource = &r});
        uint64_t from[1] = {7}, to[1];
        abi_copier c = copier("", 0);
        assert_true(abi_copy(&c, t, (abi_place){from, 0}, (abi_place){to, 0}));
        assert_int_equal(to[0], 107);
        from[0] = 13;
        assert_false(abi_copy(&c, t, (abi_place){from, 0}, (abi_place){to, 0}));
        assert_int_equal(c.trap[0], 0); /* the table has said why */
        c.handle = NULL;
        trapped(&c, abi_copy(&c, t, (abi_place){from, 0}, (abi_place){to, 0}),
                "wasm trap: handles cannot be passed here");
    }
}

static void variants(void **state)
{
    const type *t = of((type){
        .kind = TYPE_VARIANT, .fields_count = 3, .fields = fields(3, NULL, P(U8), P(STRING))});
    uint64_t from[3] = {0, 0xaaa, 0xbbb}, to[3];
    abi_copier c = copier("text", 4);
    assert_true(abi_copy(&c, t, (abi_place){from, 0}, (abi_place){to, 0}));
    assert_true(to[0] == 0 && to[1] == 0 && to[2] == 0);
    from[0] = 1;
    assert_true(abi_copy(&c, t, (abi_place){from, 0}, (abi_place){to, 0}));
    assert_true(to[0] == 1 && to[1] == 0xaa && to[2] == 0);
    from[0] = 2, from[1] = 0, from[2] = 4;
    assert_true(abi_copy(&c, t, (abi_place){from, 0}, (abi_place){NULL, 0}));
    assert_memory_equal(dst, "\2\xee\xee\xee\x40\0\0\0\4\0\0\0\xee", 13);
    from[0] = 3;
    trapped(&c, abi_copy(&c, t, (abi_place){from, 0}, (abi_place){to, 0}),
            "wasm trap: invalid variant discriminant");
    const type *option = of((type){.kind = TYPE_OPTION, .elem = P(U16)});
    c = copier("\1\xff\x34\x12", 4);
    assert_true(abi_copy(&c, option, (abi_place){NULL, 0}, (abi_place){to, 0}));
    assert_true(to[0] == 1 && to[1] == 0x1234);
    c = copier("\0\xff\x34\x12", 4);
    assert_true(abi_copy(&c, option, (abi_place){NULL, 0}, (abi_place){to, 0}));
    assert_true(to[0] == 0 && to[1] == 0);
    c = copier("\2\xff\x34\x12", 4);
    trapped(&c, abi_copy(&c, option, (abi_place){NULL, 0}, (abi_place){to, 0}),
            "wasm trap: invalid variant discriminant");
    const type *result =
        of((type){.kind = TYPE_RESULT, .fields_count = 2, .fields = fields(2, P(F64), NULL)});
    from[0] = 0, from[1] = UINT64_C(0x1122334455667788);
    c = copier("", 0);
    assert_true(abi_copy(&c, result, (abi_place){from, 0}, (abi_place){NULL, 8}));
    assert_memory_equal(dst + 8, "\0\xee\xee\xee\xee\xee\xee\xee\x88\x77\x66\x55\x44\x33\x22\x11",
                        16);
    from[0] = 1;
    c = copier("", 0);
    assert_true(abi_copy(&c, result, (abi_place){from, 0}, (abi_place){NULL, 8}));
    assert_memory_equal(dst + 8, "\1\xee\xee\xee\xee\xee\xee\xee\xee", 9);
    from[0] = 2;
    trapped(&c, abi_copy(&c, result, (abi_place){from, 0}, (abi_place){NULL, 8}),
            "wasm trap: invalid variant discriminant");
    /* more than 256 cases: two bytes */
    const type *wide = of(
        (type){.kind = TYPE_ENUM, .fields_count = 257, .fields = ARENA_ARRAY(&a, type_field, 257)});
    c = copier("\0\1", 2);
    assert_true(abi_copy(&c, wide, (abi_place){NULL, 0}, (abi_place){NULL, 0}));
    assert_memory_equal(dst, "\0\1\xee", 3);
    c = copier("\1\1", 2);
    trapped(&c, abi_copy(&c, wide, (abi_place){NULL, 0}, (abi_place){NULL, 0}),
            "wasm trap: invalid variant discriminant");
}

/* --- lists ------------------------------------------------------------------------------------ */

/* What lies between the parts of an element stays where it is. */
static void lists(void **state)
{
    const type *padded =
        of((type){.kind = TYPE_RECORD, .fields_count = 2, .fields = fields(2, P(U8), P(U16))});
    const type *plain =
        of((type){.kind = TYPE_TUPLE, .fields_count = 2, .fields = fields(2, P(S16), P(U16))});
    const type *pairs = of((type){.kind = TYPE_LIST, .elem = padded, .length_fixed = 2});
    const type *triple = of((type){.kind = TYPE_LIST, .elem = P(U8), .length_fixed = 3});
    const type *full =
        of((type){.kind = TYPE_FLAGS, .fields_count = 8, .fields = ARENA_ARRAY(&a, type_field, 8)});
    const type *part =
        of((type){.kind = TYPE_FLAGS, .fields_count = 7, .fields = ARENA_ARRAY(&a, type_field, 7)});
    const struct {
        const type *elem;
        const char *in, *out;
        size_t size;
        uint32_t n;
    } cases[] = {
        {P(U8), "abc", "abc", 3, 3},
        {P(U32), "abcdefgh", "abcdefgh", 8, 2},
        {P(F64), "\x7f\xf0\0\0\0\0\1\0", "\x7f\xf0\0\0\0\0\1\0", 8, 1},
        {P(BOOL), "\0\1\2", "\0\1\1", 3, 3},
        {padded, "\1\2\3\4\5\6\7\x08", "\1\xee\3\4\5\xee\7\x08", 8, 2},
        {plain, "\1\2\3\4", "\1\2\3\4", 4, 1},
        {pairs, "\1\2\3\4\5\6\7\x08", "\1\xee\3\4\5\xee\7\x08", 8, 1},
        {triple, "abcdef", "abcdef", 6, 2},
        {full, "\xff\x80", "\xff\x80", 2, 2},
        {part, "\xff\x80", "\x7f\0", 2, 2},
        {P(CHAR), "a\0\0\0", "a\0\0\0", 4, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bytes src = exact((bytes){(const uint8_t *)cases[i].in, cases[i].size});
        uint64_t from[2] = {0, cases[i].n}, to[2];
        abi_copier c = copier(src.p, src.n);
        if (!abi_copy(&c, list_of(cases[i].elem), (abi_place){from, 0}, (abi_place){to, 0}))
            fail_msg("list %zu: %s", i, c.trap);
        assert_int_equal(to[0], DST_BEGIN);
        assert_int_equal(to[1], cases[i].n);
        assert_memory_equal(dst + DST_BEGIN, cases[i].out, cases[i].size);
        assert_int_equal(dst[DST_BEGIN + cases[i].size], 0xee);
        assert_int_equal(heap.size, cases[i].size);
        assert_int_equal(heap.align, cases[i].elem->align);
        from[1]++;
        c = copier(src.p, src.n);
        trapped(&c, abi_copy(&c, list_of(cases[i].elem), (abi_place){from, 0}, (abi_place){to, 0}),
                "wasm trap: list content out-of-bounds");
        free((void *)src.p);
    }
    /* lists in memory, of strings */
    static const char in[] = "\x08\0\0\0\2\0\0\0\x18\0\0\0\2\0\0\0\x1a\0\0\0\1\0\0\0abz";
    bytes src = exact((bytes){(const uint8_t *)in, sizeof in - 1});
    abi_copier c = copier(src.p, src.n);
    assert_true(abi_copy(&c, list_of(P(STRING)), (abi_place){NULL, 0}, (abi_place){NULL, 0}));
    assert_memory_equal(dst, "\x40\0\0\0\2\0\0\0\xee", 9);
    assert_memory_equal(dst + 64, "\x50\0\0\0\2\0\0\0\x52\0\0\0\1\0\0\0abz\xee", 20);
    free((void *)src.p);
}

static void bad_lists(void **state)
{
    const type *t = list_of(P(U16));
    uint64_t to[2];
    static const struct {
        uint32_t at, n;
        const char *host, *guest;
    } cases[] = {
        {1, 1, "wasm trap: unaligned pointer", "wasm trap: unaligned pointer"},
        {2, 2, "wasm trap: list pointer/length out of bounds of memory",
         "wasm trap: list content out-of-bounds"},
        {6, 0, "wasm trap: list pointer/length out of bounds of memory",
         "wasm trap: list content out-of-bounds"},
        {0, ABI_LIST_BYTES_MAX / 2, "wasm trap: list pointer/length out of bounds of memory",
         "wasm trap: list content out-of-bounds"},
        {0, ABI_LIST_BYTES_MAX / 2 + 1, "wasm trap: list is too long",
         "wasm trap: list content out-of-bounds"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int host = 0; host < 2; host++) {
            uint64_t from[2] = {cases[i].at, cases[i].n};
            abi_copier c = copier("abcd", 4);
            c.dst.is_host = host;
            trapped(&c, abi_copy(&c, t, (abi_place){from, 0}, (abi_place){to, 0}),
                    host ? cases[i].host : cases[i].guest);
        }
    /* an element that is none */
    uint64_t from[2] = {0, 2};
    abi_copier c = copier("a\0\0\0\0\xd8\0\0", 8);
    trapped(&c, abi_copy(&c, list_of(P(CHAR)), (abi_place){from, 0}, (abi_place){to, 0}),
            "wasm trap: invalid `char` bit pattern");
}

/* Exactly as much work as is allowed, and one more. */
static void work_is_bounded(void **state)
{
    static const char over[] = "wasm trap: a call copies more than the limit of 1 GiB";
    const struct {
        const type *t;
        uint32_t n, work; /* read or looked at, and written with 16 for each allocation */
    } cases[] = {
        {P(STRING), 4, 4 + 4 + 16},
        {list_of(P(U8)), 4, 4 + 16},
        {list_of(P(BOOL)), 4, 4 + 16 + 4 * 16},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (uint32_t more = 0; more < 2; more++) {
            uint64_t from[2] = {0, cases[i].n}, to[2];
            abi_copier c = copier("abcd", 4);
            c.work = ABI_COPY_WORK_MAX - cases[i].work + more;
            bool ok = abi_copy(&c, cases[i].t, (abi_place){from, 0}, (abi_place){to, 0});
            if (more)
                trapped(&c, ok, over);
            else
                assert_true(ok && c.work == ABI_COPY_WORK_MAX);
        }
}

/* --- calls ------------------------------------------------------------------------------------ */

static void calls(void **state)
{
    type_field params[] = {{S("a"), P(U8)}, {S("b"), P(U32)}, {S("c"), P(U16)}};
    functype f = {.params = params, .params_count = 3, .result = P(U32)};
    uint32_t size, align;
    abi_params_layout(&f, &size, &align);
    assert_int_equal(size, 12);
    assert_int_equal(align, 4);
    static const char in[] = "xxxx\x07\0\0\0\1\2\3\4\5\6\0\0";
    for (int way = 0; way < 4; way++) {
        bool src_spilled = way & 1, dst_spilled = way & 2;
        bytes src = exact((bytes){(const uint8_t *)in, 16});
        uint64_t flat[3] = {7, 0x04030201, 0x0605}, to[3] = {9, 9, 9}, pointer[1] = {4};
        abi_copier c = copier(src.p, src.n);
        assert_true(
            abi_copy_params(&c, &f, src_spilled ? pointer : flat, src_spilled, to, dst_spilled));
        if (dst_spilled) {
            assert_true(to[0] == DST_BEGIN && to[1] == 9);
            assert_memory_equal(dst + DST_BEGIN, "\7\xee\xee\xee\1\2\3\4\5\6\xee", 11);
            assert_int_equal(heap.size, 12);
            assert_int_equal(heap.align, 4);
            assert_int_equal(c.work, 12);
        } else {
            assert_true(to[0] == 7 && to[1] == 0x04030201 && to[2] == 0x0605);
            assert_int_equal(heap.calls, 0);
        }
        free((void *)src.p);
    }
    static const struct {
        uint32_t at;
        const char *says;
    } areas[] = {{8, "wasm trap: pointer out of bounds of memory"},
                 {6, "wasm trap: unaligned pointer"}};
    for (size_t i = 0; i < 2; i++) {
        uint64_t pointer[1] = {areas[i].at}, to[3], flat[3] = {1, 2, 3};
        abi_copier c = copier(in, 16);
        trapped(&c, abi_copy_params(&c, &f, pointer, true, to, false), areas[i].says);
        c = copier(in, 16);
        heap.skew = areas[i].at == 6 ? 2 : DST_BYTES - DST_BEGIN - 8;
        trapped(&c, abi_copy_params(&c, &f, flat, false, to, true), areas[i].says);
        pointer[0] = areas[i].at == 8 ? 16 : 6;
        c = copier(in, 16);
        trapped(&c, abi_copy_result(&c, &f, pointer, true, to, false), areas[i].says);
        c = copier(in, 16);
        pointer[0] = areas[i].at == 8 ? DST_BYTES : 6;
        trapped(&c, abi_copy_result(&c, &f, flat, false, pointer, true), areas[i].says);
    }
    uint64_t to[3], flat[3] = {1, 2, 3}, last[1] = {12}, place[1] = {DST_BYTES - 4};
    abi_copier c = copier(in, 16);
    heap.traps = true;
    assert_false(abi_copy_params(&c, &f, flat, false, to, true));
    c = copier(in, 16);
    c.work = ABI_COPY_WORK_MAX - 11;
    assert_false(abi_copy_params(&c, &f, flat, false, to, true));
    c = copier(in, 16);
    assert_true(abi_copy_result(&c, &f, last, true, place, true));
    assert_memory_equal(dst + DST_BYTES - 4, "\5\6\0\0", 4);
    assert_true(abi_copy_result(&c, &f, last, true, to, false));
    assert_int_equal(to[0], 0x0605);
    assert_true(abi_copy_result(&c, &f, flat, false, to, false));
    assert_int_equal(to[0], 1);
    f.result = NULL;
    assert_true(abi_copy_result(&c, &f, NULL, false, NULL, false));
    /* a value that is none, behind one that is */
    params[1].type = P(CHAR);
    flat[1] = 0xd800;
    trapped(&c, abi_copy_params(&c, &f, flat, false, to, false),
            "wasm trap: invalid `char` bit pattern");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings),
        cmocka_unit_test(bad_strings),
        cmocka_unit_test(problems_of_utf8),
        cmocka_unit_test(allocations),
        cmocka_unit_test(numbers),
        cmocka_unit_test(bad_numbers),
        cmocka_unit_test(handles),
        cmocka_unit_test(variants),
        cmocka_unit_test(lists),
        cmocka_unit_test(bad_lists),
        cmocka_unit_test(work_is_bounded),
        cmocka_unit_test(calls),
    };
    arena_init(&a, 64 * MIB);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_fini(&a);
    return failed;
}
