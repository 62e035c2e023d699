/* Arenas and buffers, to the byte: what is taken, when it grows, what stays where there is no
 * more. */
#include "unit.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/limits.h"

enum { HEADER = 16, FIRST = 4096 };

static arena of(size_t bytes_max)
{
    arena a;
    arena_init(&a, bytes_max);
    assert_int_equal(a.used_bytes, 0);
    assert_int_equal(a.used_bytes_max, bytes_max);
    assert_false(a.level);
    return a;
}

/* --- arenas --- */

static void blocks_double_unless_they_are_level(void **state)
{
    for (int level = 0; level < 2; level++) {
        arena a = of(64 * MIB);
        if (level) {
            arena_init_level(&a, 64 * MIB);
            assert_true(a.level && a.used_bytes_max == 64 * MIB);
        }
        assert_non_null(arena_alloc(&a, 1));
        assert_int_equal(a.used_bytes, FIRST);
        assert_non_null(arena_alloc(&a, FIRST - HEADER - 16)); /* all that is left */
        assert_int_equal(a.used_bytes, FIRST);
        size_t whole = FIRST;
        for (size_t block = FIRST; block < 4 * MIB; block *= 2) {
            size_t next = level ? FIRST : 2 * block < MIB ? 2 * block : MIB;
            assert_non_null(arena_alloc(&a, 1));
            whole += next;
            assert_int_equal(a.used_bytes, whole);
            assert_non_null(arena_alloc(&a, next - HEADER - 16));
            assert_int_equal(a.used_bytes, whole);
        }
        arena_fini(&a);
        assert_true(a.used_bytes == 0 && a.level == level && a.used_bytes_max == 64 * MIB);
        assert_non_null(arena_alloc(&a, 1));
        assert_int_equal(a.used_bytes, FIRST);
        arena_fini(&a);
    }
    arena_fini(NULL);
}

static void a_large_one_has_a_block_of_its_own(void **state)
{
    arena a = of(MIB);
    assert_non_null(arena_alloc(&a, FIRST - HEADER + 1));
    assert_int_equal(a.used_bytes, FIRST + 16);
    arena_fini(&a);
    assert_non_null(arena_alloc(&a, FIRST - HEADER));
    assert_int_equal(a.used_bytes, FIRST);
    arena_fini(&a);
}

static void the_maximum_is_reached_and_not_passed(void **state)
{
    arena a = of(FIRST);
    assert_non_null(arena_alloc(&a, 1));
    assert_int_equal(a.used_bytes, FIRST);
    assert_null(arena_alloc(&a, FIRST - HEADER));
    assert_non_null(arena_alloc(&a, FIRST - HEADER - 16)); /* a failure has cost nothing */
    assert_null(arena_alloc(&a, 1));
    arena_fini(&a);

    a = of(FIRST + HEADER + 800); /* not the 8 kB that it would like */
    assert_non_null(arena_alloc(&a, FIRST - HEADER));
    assert_null(arena_alloc(&a, 801));
    assert_non_null(arena_alloc(&a, 800));
    assert_int_equal(a.used_bytes, a.used_bytes_max);
    arena_fini(&a);

    a = of(HEADER + 31);
    assert_null(arena_alloc(&a, 17));
    assert_non_null(arena_alloc(&a, 16));
    arena_fini(&a);
}

static void sizes_that_cannot_be(void **state)
{
    volatile size_t all = SIZE_MAX; /* compilers warn of what they know */
    size_t most = all;
    arena a = of(most);
    for (int i = 0; i < 2; i++) { /* without and with a block */
        assert_null(arena_alloc(&a, most));
        assert_null(arena_alloc(&a, most - 15));
        assert_null(arena_alloc(&a, most - 16));
        assert_null(arena_alloc(&a, most / 2 + 1));
        assert_null(arena_zalloc(&a, most));
        assert_null(arena_array(&a, most / 2, 3));
        assert_null(arena_grow(&a, NULL, 0, most / 2, 3));
        assert_null(arena_grow(&a, NULL, 0, most - 8, 1));
        assert_null(arena_cstr(&a, (str){"x", most}));
        assert_non_null(arena_alloc(&a, 17));
        assert_int_equal(a.used_bytes, FIRST);
    }
    arena_fini(&a);
}

static void allocations_lie_side_by_side(void **state)
{
    static const size_t takes[][2] = {{0, 0}, {1, 16}, {15, 16}, {16, 16}, {17, 32}, {32, 32}};
    arena a = of(MIB);
    char *at = arena_alloc(&a, 0);
    assert_non_null(at);
    for (size_t i = 0; i < sizeof takes / sizeof *takes; i++) {
        char *p = arena_alloc(&a, takes[i][0]);
        assert_ptr_equal(p, at);
        assert_int_equal((uintptr_t)p % 16, 0);
        at += takes[i][1];
    }
    arena_fini(&a);
}

static void a_reset_keeps_the_newest_block_whole(void **state)
{
    arena a = of(MIB);
    arena_reset(&a); /* of nothing */
    assert_int_equal(a.used_bytes, 0);
    assert_non_null(arena_alloc(&a, FIRST - HEADER));
    char *second = arena_alloc(&a, 100);
    assert_int_equal(a.used_bytes, 3 * FIRST);
    memset(second, 0xff, 100);
    for (int i = 0; i < 2; i++) {
        arena_reset(&a);
        assert_int_equal(a.used_bytes, 2 * FIRST);
        char *again = arena_zalloc(&a, 100);
        assert_ptr_equal(again, second);
        for (int k = 0; k < 100; k++)
            assert_int_equal(again[k], 0);
        memset(again, 0x55, 100);
        assert_non_null(arena_alloc(&a, 2 * FIRST - HEADER - 112));
        assert_int_equal(a.used_bytes, 2 * FIRST);
    }
    assert_non_null(arena_alloc(&a, 1));
    assert_int_equal(a.used_bytes, 6 * FIRST);
    arena_fini(&a);
}

static void arrays_are_zero(void **state)
{
    arena a = of(MIB);
    memset(arena_alloc(&a, 1024), 0xff, 1024);
    arena_reset(&a);
    uint32_t *v = arena_array(&a, 9, sizeof *v);
    for (int i = 0; i < 9; i++)
        assert_int_equal(v[i], 0);
    assert_ptr_equal(arena_alloc(&a, 0), v + 12);
    assert_non_null(arena_array(&a, 0, 8));
    arena_fini(&a);
}

/* The last allocation grows where it is, to the last byte of its block; any other is copied. */
static void growing(void **state)
{
    arena a = of(MIB);
    uint64_t *v = arena_grow(&a, NULL, 0, 3, sizeof *v);
    for (uint64_t i = 0; i < 3; i++)
        v[i] = i + 7;
    alloc_fail_after(0);
    assert_ptr_equal(arena_grow(&a, v, 3, 4, sizeof *v), v); /* within what was rounded up */
    assert_ptr_equal(arena_alloc(&a, 0), v + 4);
    assert_ptr_equal(arena_grow(&a, v, 4, 5, sizeof *v), v);
    assert_ptr_equal(arena_alloc(&a, 0), v + 6);
    size_t most = (FIRST - HEADER) / sizeof *v;
    assert_ptr_equal(arena_grow(&a, v, 5, most, sizeof *v), v);
    assert_int_equal(a.used_bytes, FIRST);
    assert_int_equal(alloc_fail_after(0), 5); /* each asks once */
    uint64_t *w = arena_grow(&a, v, most, most + 1, sizeof *v);
    assert_ptr_not_equal(w, v);
    assert_int_equal(a.used_bytes, 3 * FIRST);
    assert_true(w[0] == 7 && w[1] == 8 && w[2] == 9 && v[2] == 9);
    arena_fini(&a);

    v = arena_grow(&a, NULL, 0, 2, sizeof *v);
    v[0] = 1;
    v[1] = 2;
    assert_non_null(arena_alloc(&a, 1)); /* v is not the last any more */
    w = arena_grow(&a, v, 2, 3, sizeof *v);
    assert_ptr_equal(w, v + 4);
    assert_true(w[0] == 1 && w[1] == 2);
    w[2] = 3;
    assert_ptr_equal(arena_alloc(&a, 0), w + 4);
    uint64_t *fewer = arena_grow(&a, w, 3, 1, sizeof *v); /* a copy, of what there is room for */
    assert_ptr_equal(fewer, w + 4);
    assert_int_equal(fewer[0], 1);
    assert_ptr_equal(arena_alloc(&a, 0), fewer + 2);
    fewer[1] = 77;
    assert_null(arena_grow(&a, fewer, 1, MIB, sizeof *v)); /* past the maximum */
    assert_int_equal(fewer[0], 1);
    arena_fini(&a);
}

static void what_fails_fails_once(void **state)
{
    arena a = of(MIB);
    alloc_fail_after(2);
    assert_non_null(arena_alloc(&a, 1));
    assert_null(arena_alloc(&a, 1));
    assert_non_null(arena_alloc(&a, 1));
    assert_int_equal(alloc_fail_after(1), 3);
    char *p = arena_alloc(&a, 1);
    assert_null(p);
    p = arena_alloc(&a, 16);
    alloc_fail_after(1);
    assert_non_null(arena_grow(&a, p, 16, 32, 1)); /* not in place, then */
    str failed[3];
    for (int i = 0; i < 3; i++) {
        alloc_fail_after(1);
        failed[i] = i == 0 ? arena_str(&a, S("abc"))
                    : i == 1
                        ? arena_printf(&a, "%d", 1)
                        : (str){(const char *)arena_bytes(&a, (bytes){(uint8_t *)"x", 1}).p, 0};
        assert_null(failed[i].p);
        assert_int_equal(failed[i].n, 0);
    }
    alloc_fail_after(1);
    assert_int_equal(arena_bytes(&a, (bytes){(uint8_t *)"x", 1}).n, 0);
    alloc_fail_after(0);
    assert_non_null(arena_alloc(&a, 1));
    arena_fini(&a);
}

static void copies_end_with_a_nul(void **state)
{
    arena a = of(MIB);
    for (int i = 0; i < 2; i++) { /* the second time over what is not zero */
        char of_16[16] = "0123456789abcdef";
        str s = arena_str(&a, (str){of_16, 16});
        assert_memory_equal(s.p, "0123456789abcdef", 17);
        assert_int_equal(s.n, 16);
        assert_ptr_equal(arena_alloc(&a, 0), s.p + 32);
        assert_string_equal(arena_cstr(&a, (str){NULL, 0}), "");
        bytes b = arena_bytes(&a, (bytes){(const uint8_t *)"\0\1", 2});
        assert_memory_equal(b.p, "\0\1", 3);
        assert_int_equal(b.n, 2);
        s = arena_printf(&a, "%s-%d", "0123456789abc", 42);
        assert_str(s, "0123456789abc-42");
        assert_int_equal(s.p[s.n], 0);
        assert_ptr_equal(arena_alloc(&a, 0), s.p + 32);
        arena_reset(&a);
        memset(arena_alloc(&a, 2048), 0xff, 2048);
        arena_reset(&a);
    }
    arena_fini(&a);
}

/* --- buffers --- */

static void a_buffer_doubles_up_to_its_maximum(void **state)
{
    static const struct {
        size_t max, puts, cap;
    } cases[] = {{1000, 1, 64},    {1000, 64, 64},   {1000, 65, 128},   {1000, 128, 128},
                 {1000, 129, 256}, {1000, 512, 512}, {1000, 513, 1000}, {1000, 1000, 1000},
                 {128, 65, 128},   {100, 65, 100},   {64, 64, 64},      {10, 1, 10},
                 {10, 10, 10}};
    static const char zeros[1000];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf b;
        buf_init(&b, cases[i].max);
        assert_null(b.p);
        assert_true(buf_put(&b, zeros, cases[i].puts));
        assert_int_equal(b.cap, cases[i].cap);
        assert_int_equal(b.n, cases[i].puts);
        size_t left = cases[i].max - b.n;
        assert_false(b.failed);
        assert_false(buf_put(&b, zeros, left + 1));
        assert_true(b.failed);
        assert_int_equal(b.n, cases[i].puts);
        assert_false(buf_put(&b, zeros, SIZE_MAX));
        assert_true(buf_put(&b, zeros, left));
        assert_int_equal(b.n, b.max);
        assert_true(buf_put(&b, NULL, 0));
        assert_false(buf_put_u8(&b, 1));
        uint8_t *p = b.p;
        buf_clear(&b);
        assert_true(b.n == 0 && !b.failed && b.p == p && b.cap == b.max);
        buf_fini(&b);
        assert_true(!b.p && b.n == 0 && b.cap == 0 && b.max == cases[i].max);
        buf_fini(&b);
    }
    buf_fini(NULL);
}

static void a_reserve_takes_room_and_adds_nothing(void **state)
{
    buf b;
    buf_init(&b, 100);
    assert_true(buf_reserve(&b, 0));
    assert_null(b.p);
    assert_true(buf_reserve(&b, 64));
    assert_true(b.n == 0 && b.cap == 64);
    uint8_t *p = b.p;
    assert_true(buf_put_str(&b, S("abc")) && buf_reserve(&b, 61));
    assert_ptr_equal(b.p, p);
    assert_int_equal(b.cap, 64);
    assert_true(buf_reserve(&b, 62));
    assert_int_equal(b.cap, 100);
    assert_memory_equal(b.p, "abc", 3);
    assert_false(buf_reserve(&b, 98));
    assert_true(b.failed && b.cap == 100);
    buf_fini(&b);
    alloc_fail_after(1);
    assert_false(buf_reserve(&b, 1));
    assert_true(b.failed && !b.p);
    assert_true(buf_put_u8(&b, 'x'));
    assert_int_equal(b.p[0], 'x');
    alloc_fail_after(1);
    assert_false(buf_reserve(&b, 64));
    alloc_fail_after(0);
    assert_true(b.n == 1 && b.cap == 64 && b.p[0] == 'x');
    buf_fini(&b);
}

/* With its NUL, which is not counted, a text must fit. */
static void printing(void **state)
{
    buf b;
    buf_init(&b, 6);
    assert_true(buf_printf(&b, "%s", "ab"));
    assert_true(buf_printf(&b, "%d", 345));
    assert_str(buf_str(&b), "ab345");
    assert_int_equal(b.p[5], 0);
    assert_false(b.failed);
    assert_true(buf_printf(&b, "%s", ""));
    assert_false(buf_printf(&b, "%d", 6));
    assert_true(b.failed);
    assert_str(buf_str(&b), "ab345");
    assert_int_equal(buf_bytes(&b).n, 5);
    buf_fini(&b);
}

static void dropping(void **state)
{
    buf b;
    buf_init(&b, 100);
    buf_drop(&b, 0);
    buf_drop(&b, 1);
    assert_int_equal(b.n, 0);
    buf_put_str(&b, S("abcdef"));
    buf_drop(&b, 0);
    assert_str(buf_str(&b), "abcdef");
    buf_drop(&b, 2);
    assert_str(buf_str(&b), "cdef");
    buf_drop(&b, 3);
    assert_str(buf_str(&b), "f");
    buf_drop(&b, 1);
    assert_int_equal(b.n, 0);
    buf_put_str(&b, S("gh"));
    buf_drop(&b, 3);
    assert_int_equal(b.n, 0);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_double_unless_they_are_level),
        cmocka_unit_test(a_large_one_has_a_block_of_its_own),
        cmocka_unit_test(the_maximum_is_reached_and_not_passed),
        cmocka_unit_test(sizes_that_cannot_be),
        cmocka_unit_test(allocations_lie_side_by_side),
        cmocka_unit_test(a_reset_keeps_the_newest_block_whole),
        cmocka_unit_test(arrays_are_zero),
        cmocka_unit_test(growing),
        cmocka_unit_test(what_fails_fails_once),
        cmocka_unit_test(copies_end_with_a_nul),
        cmocka_unit_test(a_buffer_doubles_up_to_its_maximum),
        cmocka_unit_test(a_reserve_takes_room_and_adds_nothing),
        cmocka_unit_test(printing),
        cmocka_unit_test(dropping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
