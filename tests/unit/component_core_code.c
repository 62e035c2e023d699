/* component/core_code: every instruction by the shape of its immediates. Each is walked whole, with
 * its indices renumbered, with each index one too large, and cut short anywhere; and what the walk
 * says that code does. */
#include "component_kit.h"

#include "component/core_code.h"

/* In patterns: an index of any space (1, which becomes 101), and one that is written as a signed
 * number. */
#define I "\xaa"
#define H "\xab"

enum { SPACE = 3 };

static const uint32_t hundreds[SPACE] = {100, 101, 102};

static code_maps maps(void)
{
    const index_map m = {hundreds, SPACE};
    return (code_maps){m, m, m, m, m, m, m, m, NULL, NULL, NULL};
}

static buf in, want, got;
static size_t opcode_bytes = 1; /* which are no markers */

/* Replaces markers; the one numbered `marked`, from 0, by an index that is not there. */
static uint32_t fill(const char *pattern, size_t n, uint32_t marked)
{
    uint32_t markers = 0;
    buf_clear(&in);
    buf_clear(&want);
    for (size_t i = 0; i < n; i++) {
        uint8_t b = (uint8_t)pattern[i];
        bool marker = i >= opcode_bytes && (b == 0xaa || b == 0xab);
        buf_put_u8(&in, !marker ? b : markers == marked ? SPACE : 1);
        if (marker)
            buf_put(&want, b == 0xaa ? "\x65" : "\xe5\0", b == 0xaa ? 1 : 2);
        else
            buf_put_u8(&want, b);
        markers += marker;
    }
    buf_put_u8(&in, 0x0b);
    buf_put_u8(&want, 0x0b);
    return markers;
}

static bool walk(bytes b, buf *out, code_facts *facts)
{
    const code_maps m = maps();
    bytes copy = exact(b);
    reader r = reader_over(copy);
    e = (err){0};
    bool ok = code_walk(&r, &m, out, facts, &e) && reader_done(&r);
    free((void *)copy.p);
    return ok;
}

static void whole_and_cut(const char *pattern, size_t n)
{
    uint32_t markers = fill(pattern, n, UINT32_MAX);
    buf_clear(&got);
    if (!walk(buf_bytes(&in), &got, NULL))
        fail_msg("0x%02x 0x%02x: %s", in.p[0], in.p[1], e.text);
    if (got.n != want.n || memcmp(got.p, want.p, want.n) != 0)
        fail_msg("0x%02x 0x%02x is written otherwise", in.p[0], in.p[1]);
    for (size_t i = 0; i < in.n; i++) {
        if (walk((bytes){in.p, i}, NULL, NULL))
            fail_msg("0x%02x 0x%02x: %zu bytes of %zu are taken", in.p[0], in.p[1], i, in.n);
        assert_int_equal(e.code, ERR_INVALID);
    }
    for (uint32_t k = 0; k < markers; k++) {
        fill(pattern, n, k);
        if (walk(buf_bytes(&in), NULL, NULL))
            fail_msg("0x%02x 0x%02x: index %u of it may be anything", in.p[0], in.p[1], k);
        assert_non_null(strstr(e.text, " 3 does not exist"));
    }
}
#define ONE(lit) whole_and_cut((lit), sizeof(lit) - 1)

/* A prefix byte, a number after it, and the rest. */
static void prefixed(uint8_t prefix, uint32_t op, const char *rest, size_t n)
{
    buf b;
    buf_init(&b, 100);
    buf_put_u8(&b, prefix);
    put_leb(&b, op);
    opcode_bytes = b.n;
    buf_put(&b, rest, n);
    whole_and_cut((const char *)b.p, b.n);
    opcode_bytes = 1;
    buf_fini(&b);
}
#define PREFIXED(prefix, op, lit) prefixed((prefix), (op), (lit), sizeof(lit) - 1)

static void unknown(const char *code, size_t n, const char *says)
{
    if (walk((bytes){(const uint8_t *)code, n}, NULL, NULL))
        fail_msg("0x%02x is taken", (uint8_t)code[0]);
    if (!strstr(e.text, says))
        fail_msg("'%s' does not say '%s'", e.text, says);
    assert_int_equal(e.code, ERR_UNSUPPORTED);
}
#define UNKNOWN(lit, says) unknown(lit "\x0b", sizeof(lit), says)

static void control(void **state)
{
    ONE("");
    ONE("\x00");
    ONE("\x01");
    ONE("\x02\x40\x0b");
    ONE("\x03\x7f\x0b");
    ONE("\x04" H "\x05\x0b");
    ONE("\x02\x63" H "\x0b");
    ONE("\x02\x64" H "\x03\x64\x70\x0b\x0b");
    ONE("\x06\x40\x07" I "\x08" I "\x09\x00\x19\x0b");
    ONE("\x06\x40\x18\x00");
    ONE("\x0a");
    ONE("\x0c\x05");
    ONE("\x0d\x85\x01");
    ONE("\x0e\x02\x00\x01\x02");
    ONE("\x0e\x00\x07");
    ONE("\x0f");
    ONE("\x10" I);
    ONE("\x11" I I);
    ONE("\x12" I);
    ONE("\x13" I I);
    ONE("\x14" I);
    ONE("\x15" I);
    ONE("\x1a");
    ONE("\x1b");
    ONE("\x1c\x01\x7f");
    ONE("\x1c\x02\x63" H "\x64" H);
    ONE("\x1f\x40\x00\x0b");
    ONE("\x1f" H "\x04\x00" I "\x07\x01" I "\x08\x02\x09\x03\x0a\x0b");
    fill("\x1f\x40\x01\x04\x00\x0b", 6, UINT32_MAX);
    assert_false(walk(buf_bytes(&in), NULL, NULL));
    assert_non_null(strstr(e.text, "catch of no known kind 4"));
}

static void variables_and_constants(void **state)
{
    ONE("\x20\x7f");
    ONE("\x21\x80\x01");
    ONE("\x22\x00");
    ONE("\x23" I);
    ONE("\x24" I);
    ONE("\x25" I);
    ONE("\x26" I);
    ONE("\x41\xff\x7e");
    ONE("\x42\x80\x80\x80\x80\x80\x80\x80\x80\x80\x7f");
    ONE("\x43\x01\x02\x03\x04");
    ONE("\x44\x01\x02\x03\x04\x05\x06\x07\x08");
    for (int op = 0x45; op <= 0xc4; op++)
        whole_and_cut((char[]){(char)op}, 1);
    ONE("\xd0\x70");
    ONE("\xd0" H);
    ONE("\xd1");
    ONE("\xd2" I);
    ONE("\xd3");
    ONE("\xd4");
    ONE("\xd5\x01");
    ONE("\xd6\x01");
}

/* A memory other than 0 is named behind the alignment, of which bit 6 says so. */
static void memories(void **state)
{
    static const uint32_t there[] = {0, 2, 1}, back[] = {1, 0, 2};
    ONE("\x3f" I);
    ONE("\x40" I);
    for (int op = 0x28; op <= 0x3e; op++) {
        char named[] = {(char)op, 0x42, (char)0xaa, (char)0x84, 0x01};
        whole_and_cut(named, sizeof named);
    }
    static const struct {
        const uint32_t *map;
        const char *in, *out;
        size_t in_n, out_n;
    } cases[] = {
        {there, "\x28\x02\x04\x0b", "\x28\x02\x04\x0b", 4, 4},
        {there, "\x28\x42\x01\x04\x0b", "\x28\x42\x02\x04\x0b", 5, 5},
        {there, "\x28\x42\x00\x04\x0b", "\x28\x42\x00\x04\x0b", 5, 5},
        {back, "\x28\x02\x04\x0b", "\x28\x42\x01\x04\x0b", 4, 5},
        {back, "\x28\x42\x01\x04\x0b", "\x28\x02\x04\x0b", 5, 4},
        {back, "\x28\x42\x02\x04\x0b", "\x28\x42\x02\x04\x0b", 5, 5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        code_maps m = maps();
        m.memories = (index_map){cases[i].map, SPACE};
        reader r = reader_over((bytes){(const uint8_t *)cases[i].in, cases[i].in_n});
        buf_clear(&got);
        assert_true(code_walk(&r, &m, &got, NULL, &e));
        assert_int_equal(got.n, cases[i].out_n);
        assert_memory_equal(got.p, cases[i].out, got.n);
    }
}

/* A memory whose size a global holds: reading it, and growing it by a call. */
static void sizes(void **state)
{
    static const uint32_t size[] = {0, 8}, grow[] = {0, 9};
    code_maps m = maps();
    m.memories = (index_map){NULL, 2};
    m.sizes = size;
    m.grows = grow;
    reader r = reader_over((bytes){(const uint8_t *)"\x3f\x01\x40\x01\x3f\x00\x40\x00\x0b", 9});
    uint8_t grown[2] = {0};
    code_facts facts = {.grown = grown};
    buf_clear(&got);
    assert_true(code_walk(&r, &m, &got, &facts, &e));
    assert_int_equal(got.n, 9);
    assert_memory_equal(got.p, "\x23\x07\x10\x08\x3f\x00\x40\x00\x0b", 9);
    assert_true(grown[0] && grown[1]);
}

static void with_prefixes(void **state)
{
    static const uint8_t one_type[] = {0, 1, 6, 7, 11, 12, 13, 14, 16};
    for (size_t i = 0; i < sizeof one_type; i++)
        PREFIXED(0xfb, one_type[i], I);
    static const uint8_t type_and_number[] = {2, 3, 4, 5, 8};
    for (size_t i = 0; i < sizeof type_and_number; i++)
        PREFIXED(0xfb, type_and_number[i], I "\x87\x01");
    static const uint8_t two[] = {9, 10, 17, 18, 19};
    for (size_t i = 0; i < sizeof two; i++)
        PREFIXED(0xfb, two[i], I I);
    for (uint32_t op = 20; op <= 23; op++)
        PREFIXED(0xfb, op, H);
    for (uint32_t op = 24; op <= 25; op++)
        PREFIXED(0xfb, op, "\x01\x05" H H);
    PREFIXED(0xfb, 15, "");
    for (uint32_t op = 26; op <= 30; op++)
        PREFIXED(0xfb, op, "");
    for (uint32_t op = 0; op <= 22; op++)
        switch (op) {
        case 8:
        case 10:
        case 12:
        case 14:
            PREFIXED(0xfc, op, I I);
            break;
        case 9:
        case 11:
        case 13:
        case 15:
        case 16:
        case 17:
            PREFIXED(0xfc, op, I);
            break;
        case 18:
            break;
        default:
            PREFIXED(0xfc, op, "");
        }
    for (uint32_t op = 0; op <= 0x113; op++)
        if (op <= 11 || op == 92 || op == 93)
            PREFIXED(0xfd, op, "\x40" I "\x04");
        else if (op <= 13)
            PREFIXED(0xfd, op, "0123456789abcdef");
        else if (op >= 84 && op <= 91)
            PREFIXED(0xfd, op, "\x40" I "\x04\x07");
        else if (op >= 21 && op <= 34)
            PREFIXED(0xfd, op, "\x07");
        else
            PREFIXED(0xfd, op, "");
}

static void unknown_ones(void **state)
{
    static const uint8_t bytes_[] = {0x16, 0x17, 0x1d, 0x1e, 0x27, 0xc5,
                                     0xcf, 0xd7, 0xdf, 0xe7, 0xfa, 0xff};
    for (size_t i = 0; i < sizeof bytes_; i++)
        unknown((char[]){(char)bytes_[i], 0x0b}, 2, "is not known");
    for (int op = 0xe0; op <= 0xe6; op++)
        unknown((char[]){(char)op, 0x0b}, 2, "stack switching");
    UNKNOWN("\xfb\x1f", "instruction 0xfb 31 is not known");
    UNKNOWN("\xfc\x12", "instruction 0xfc 18 is not known");
    UNKNOWN("\xfc\x17", "instruction 0xfc 23 is not known");
    UNKNOWN("\xfd\x94\x02", "instruction 0xfd 276 is not known");
    UNKNOWN("\xfe\x03\x00", "atomic instructions (threads)");
}

/* --- facts ------------------------------------------------------------------------------------ */

static uint32_t called[8], calls;

static void note(void *ctx, uint32_t func)
{
    assert_ptr_equal(ctx, &calls);
    called[calls++] = func;
}

/* What code says of the things numbered 101, as digits: table, global, function, element and data
 * segment, memory that grows, memory that is used; then the three flags. */
static void facts_are(const char *code, size_t n, const char *digits, uint32_t on_func)
{
    uint8_t table[110] = {0}, global[110] = {0}, func[110] = {0}, elem[110] = {0}, data[110] = {0},
            grown[110] = {0}, memory[110] = {0};
    code_facts f = {table,  global, func,   elem,  data,  grown,
                    memory, note,   &calls, false, false, false};
    char said[40];
    fill(code, n, UINT32_MAX);
    calls = 0;
    assert_true(walk(buf_bytes(&in), NULL, &f));
    snprintf(said, sizeof said, "%d%d%d%d%d%d%d%d%d%d", table[101], global[101], func[101],
             elem[101], data[101], grown[101], memory[101], f.calls_any, f.segments,
             f.mutates_tables);
    if (strcmp(said, digits) != 0)
        fail_msg("0x%02x 0x%02x: %s where %s is expected", in.p[0], in.p[1], said, digits);
    assert_int_equal(calls, on_func);
    if (calls)
        assert_int_equal(called[0], 101);
    /* without a place to note it */
    code_facts none = {0};
    assert_true(walk(buf_bytes(&in), NULL, &none));
    assert_int_equal(none.calls_any, f.calls_any);
    assert_int_equal(none.segments, f.segments);
    assert_int_equal(none.mutates_tables, f.mutates_tables);
}
#define FACTS(lit, digits, on_func) facts_are(lit, sizeof(lit) - 1, digits, on_func)

static void facts(void **state)
{
    FACTS("", "0000000000", 0);
    FACTS("\x10" I, "0000000000", 1);
    FACTS("\x12" I, "0000000000", 1);
    FACTS("\xd2" I, "0010000000", 1);
    FACTS("\x11" I I, "1000000100", 0);
    FACTS("\x13" I I, "1000000100", 0);
    FACTS("\x14" I, "0000000100", 0);
    FACTS("\x15" I, "0000000100", 0);
    FACTS("\x23" I, "0000000000", 0);
    FACTS("\x24" I, "0100000000", 0);
    FACTS("\x25" I, "4000000000", 0);
    FACTS("\x26" I, "2000000001", 0);
    FACTS("\x28\x42" I "\x00", "0000001000", 0);
    FACTS("\x36\x42" I "\x00", "0000001000", 0);
    FACTS("\x3f" I, "0000000000", 0);
    FACTS("\x40" I, "0000010000", 0);
    FACTS("\xfc\x08" I I, "0000101010", 0);
    FACTS("\xfc\x09" I, "0000100010", 0);
    FACTS("\xfc\x0a" I I, "0000001000", 0);
    FACTS("\xfc\x0b" I, "0000001000", 0);
    FACTS("\xfc\x0c" I I, "2001000011", 0);
    FACTS("\xfc\x0d" I, "0001000010", 0);
    FACTS("\xfc\x0e" I I, "6000000001", 0);
    FACTS("\xfc\x0f" I, "2000000001", 0);
    FACTS("\xfc\x10" I, "4000000000", 0);
    FACTS("\xfc\x11" I, "2000000001", 0);
    FACTS("\xfb\x09" I I, "0000100010", 0);
    FACTS("\xfb\x0a" I I, "0001000010", 0);
    FACTS("\xfb\x12" I I, "0000100010", 0);
    FACTS("\xfb\x13" I I, "0001000010", 0);
    FACTS("\xfd\x00\x40" I "\x00", "0000001000", 0);
}

/* --- constants and numbers -------------------------------------------------------------------- */

/* A global that folds: whoever reads it gets its value. */
static void constants(void **state)
{
    static const struct {
        code_constant c;
        const char *code;
        size_t n;
    } cases[] = {
        {{0x41, 0}, "\x41\0", 2},
        {{0x41, -1}, "\x41\x7f", 2},
        {{0x41, 64}, "\x41\xc0\0", 3},
        {{0x42, INT64_MIN}, "\x42\x80\x80\x80\x80\x80\x80\x80\x80\x80\x7f", 11},
        {{0x43, 0x01020304}, "\x43\x04\x03\x02\x01", 5},
        {{0x44, 0x0102030405060708}, "\x44\x08\x07\x06\x05\x04\x03\x02\x01", 9},
        {{0xd0, 0x70}, "\xd0\x70", 2},
        {{0xd2, 200}, "\xd2\xc8\x01", 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const uint32_t map[] = {0, CODE_CONSTANT | 1, 7};
        const code_constant all[] = {{0x41, 5}, cases[i].c};
        code_maps m = maps();
        m.globals = (index_map){map, 3};
        m.constants = all;
        reader r = reader_over((bytes){(const uint8_t *)"\x23\x00\x23\x01\x23\x02\x0b", 7});
        buf_clear(&got);
        assert_true(code_walk(&r, &m, &got, NULL, &e));
        assert_int_equal(got.n, 2 + cases[i].n + 3);
        assert_memory_equal(got.p, "\x23\0", 2);
        assert_memory_equal(got.p + 2, cases[i].code, cases[i].n);
        assert_memory_equal(got.p + 2 + cases[i].n, "\x23\x07\x0b", 3);
    }
}

/* As short as can be, and read back as what they were. */
static void leb128(void **state)
{
    for (int bit = 0; bit < 64; bit++)
        for (int64_t less = -1; less <= 1; less++) {
            uint64_t v = ((uint64_t)1 << bit) + (uint64_t)less, back;
            int64_t s;
            reader r;
            size_t n = 1;
            for (uint64_t rest = v >> 7; rest; rest >>= 7)
                n++;
            buf_clear(&got);
            leb_u64(&got, v);
            assert_int_equal(got.n, n);
            r = reader_over(buf_bytes(&got));
            assert_true(reader_u64(&r, &back, &e) && reader_done(&r) && back == v);
            for (int sign = 0; sign < 2; sign++) {
                int64_t w = sign ? (int64_t)(0 - v) : (int64_t)v;
                for (n = 1; n < 10 && (w >> (7 * n - 1) != 0 && w >> (7 * n - 1) != -1);)
                    n++;
                buf_clear(&got);
                leb_s64(&got, w);
                assert_int_equal(got.n, n);
                r = reader_over(buf_bytes(&got));
                assert_true(reader_s64(&r, &s, &e) && reader_done(&r) && s == w);
            }
        }
    buf_clear(&got);
    leb_u32(&got, UINT32_MAX);
    assert_int_equal(got.n, 5);
}

/* --- bodies and types ------------------------------------------------------------------------- */

static bool body(const char *code, size_t n)
{
    const code_maps m = maps();
    bytes copy = exact((bytes){(const uint8_t *)code, n});
    reader r = reader_over(copy);
    buf_clear(&got);
    bool ok = code_walk_body(&r, &m, &got, NULL, &e);
    free((void *)copy.p);
    return ok;
}
#define BODY(lit) body((lit), sizeof(lit) - 1)

static void bodies(void **state)
{
    assert_true(BODY("\0\x0b"));
    assert_memory_equal(got.p, "\0\x0b", 2);
    assert_true(BODY("\2\x05\x7f\x80\x01\x63\x01\x10\x02\x0b"));
    assert_int_equal(got.n, 11);
    assert_memory_equal(got.p, "\2\x05\x7f\x80\x01\x63\xe5\0\x10\x66\x0b", 11);
    assert_false(BODY("\1\x01\x63\x03\x0b"));
    assert_non_null(strstr(e.text, "type 3 does not exist"));
    assert_false(BODY("\0\x0b\x0b"));
    assert_non_null(strstr(e.text, "bytes follow the end of a function body"));
    for (size_t i = 0; i < 10; i++)
        assert_false(body("\2\x05\x7f\x80\x01\x63\x01\x10\x02\x0b", i));
}

static bool rectype(const char *code, size_t n)
{
    const code_maps m = maps();
    bytes copy = exact((bytes){(const uint8_t *)code, n});
    reader r = reader_over(copy);
    buf_clear(&got);
    e = (err){0};
    bool ok = code_walk_rectype(&r, &m.types, &got, &e) && reader_done(&r);
    free((void *)copy.p);
    return ok;
}

static void types(void **state)
{
    static const struct {
        const char *code;
        size_t n;
    } cases[] = {
#define TYPE(lit) {lit, sizeof(lit) - 1}
        TYPE("\x60\0\0"),
        TYPE("\x60\2\x7f\x63" H "\1\x64" H),
        TYPE("\x5f\0"),
        TYPE("\x5f\2\x7f\0\x63" H "\1"),
        TYPE("\x5e\x78\1"),
        TYPE("\x5e\x63" H "\0"),
        TYPE("\x50\0\x60\0\0"),
        TYPE("\x50\1" I "\x5f\0"),
        TYPE("\x4f\1" I "\x5e\x7f\0"),
        TYPE("\x4e\2\x60\1\x63" H "\0\x50\1" I "\x5f\1\x63" H "\0"),
        TYPE("\x4e\0"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t markers = fill(cases[i].code, cases[i].n, UINT32_MAX);
        size_t n = in.n - 1; /* no end */
        if (!rectype((const char *)in.p, n))
            fail_msg("type %zu: %s", i, e.text);
        assert_int_equal(got.n, want.n - 1);
        assert_memory_equal(got.p, want.p, got.n);
        for (size_t k = 0; k < n; k++)
            if (rectype((const char *)in.p, k))
                fail_msg("type %zu: %zu bytes of %zu are taken", i, k, n);
        for (uint32_t k = 0; k < markers; k++) {
            fill(cases[i].code, cases[i].n, k);
            assert_false(rectype((const char *)in.p, n));
            assert_non_null(strstr(e.text, "type 3 does not exist"));
        }
    }
    assert_false(rectype("\x50\2\1\1\x60\0\0", 7));
    assert_int_equal(e.code, ERR_LIMIT);
    assert_false(rectype("\x5d\1", 2));
    assert_non_null(strstr(e.text, "stack switching"));
    assert_false(rectype("\x4c\1\x60\0\0", 5));
    assert_non_null(strstr(e.text, "custom descriptors"));
    assert_false(rectype("\x4d\1\x60\0\0", 5));
    assert_non_null(strstr(e.text, "custom descriptors"));
    assert_false(rectype("\x61\0\0", 3));
    assert_non_null(strstr(e.text, "type form 0x61 is not known"));
    const index_map three = {hundreds, SPACE};
    reader r = reader_over((bytes){(const uint8_t *)"\x63\2\x7f", 3});
    buf_clear(&got);
    assert_true(code_walk_valtype(&r, &three, &got, &e) && code_walk_valtype(&r, &three, &got, &e));
    assert_memory_equal(got.p, "\x63\xe6\0\x7f", 4);
    assert_false(code_walk_valtype(&r, &three, &got, &e));
}

/* What does not fit into the output is an error. */
static void no_room(void **state)
{
    const code_maps m = maps();
    for (size_t max = 0; max <= 4; max++) {
        buf small;
        buf_init(&small, max);
        reader r = reader_over((bytes){(const uint8_t *)"\x10\1\x01\x0b", 4});
        assert_int_equal(code_walk(&r, &m, &small, NULL, &e), max == 4);
        assert_true(max == 4 || e.code == ERR_NO_MEMORY);
        buf_fini(&small);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(control),       cmocka_unit_test(variables_and_constants),
        cmocka_unit_test(memories),      cmocka_unit_test(sizes),
        cmocka_unit_test(with_prefixes), cmocka_unit_test(unknown_ones),
        cmocka_unit_test(facts),         cmocka_unit_test(constants),
        cmocka_unit_test(leb128),        cmocka_unit_test(bodies),
        cmocka_unit_test(types),         cmocka_unit_test(no_room),
    };
    buf_init(&in, MIB);
    buf_init(&want, MIB);
    buf_init(&got, MIB);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    buf_fini(&in);
    buf_fini(&want);
    buf_fini(&got);
    arena_fini(&a);
    return failed;
}
