/* Memory made equal line by line: every byte counts, and what is equal is not written. */
#include "unit.h"

#include "engine/lines.h"

#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, SIZE = 4 * PAGE };

typedef void copy_fn(uint8_t *to, const uint8_t *from, size_t n);
typedef void clear_fn(uint8_t *to, size_t n);

static copy_fn *const copies[] = {lines_copy, lines_copy_plain, lines_copy_wide};
static clear_fn *const clears[] = {lines_clear, lines_clear_plain, lines_clear_wide};

static uint8_t *to, *from;

static int pages_map(void **state)
{
    to = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    from = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return to == MAP_FAILED || from == MAP_FAILED;
}

static int pages_unmap(void **state) { return munmap(to, SIZE) || munmap(from, SIZE); }

/* Those that run here: the others are what lines_copy and lines_clear do not take either. */
static size_t copies_count(void) { return lines_wide_works() ? 3 : 2; }

static void fill(void)
{
    for (size_t i = 0; i < SIZE; i++)
        from[i] = to[i] = (uint8_t)(i * 7 + i / PAGE);
}

static void each_byte_counts(void **state)
{
    for (size_t k = 0; k < copies_count(); k++) {
        fill();
        for (size_t at = 0; at < PAGE; at++)
            for (unsigned bit = at % 8, twice = 0; twice < 2; twice++, bit = 7 - bit) {
                to[at] ^= (uint8_t)(1u << bit);
                copies[k](to, from, PAGE);
                assert_int_equal(to[at], from[at]);
            }
        assert_memory_equal(to, from, SIZE);
    }
}

static void all_differ(void **state)
{
    for (size_t k = 0; k < copies_count(); k++) {
        fill();
        memset(to, 0, SIZE);
        copies[k](to, from, SIZE);
        assert_memory_equal(to, from, SIZE);
    }
}

/* Nothing before, nothing behind, and nothing for no bytes. */
static void only_what_was_asked_for(void **state)
{
    for (size_t k = 0; k < copies_count(); k++)
        for (size_t n = 0; n <= 3 * LINE_BYTES; n += LINE_BYTES) {
            fill();
            for (size_t i = 0; i < SIZE; i++)
                to[i] = (uint8_t)~to[i];
            copies[k](to + PAGE, from + PAGE, n);
            for (size_t i = 0; i < SIZE; i++) {
                bool is_copied = i >= PAGE && i < PAGE + n;
                assert_int_equal(to[i], is_copied ? from[i] : (uint8_t)~from[i]);
            }
        }
}

static void what_is_equal_is_not_written(void **state)
{
    for (size_t k = 0; k < copies_count(); k++) {
        fill();
        to[0] ^= 1;
        to[SIZE - 1] ^= 1;
        assert_int_equal(mprotect(to + PAGE, 2 * PAGE, PROT_READ), 0);
        copies[k](to, from, SIZE);
        assert_int_equal(mprotect(to + PAGE, 2 * PAGE, PROT_READ | PROT_WRITE), 0);
        assert_memory_equal(to, from, SIZE);
    }
}

static void assert_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_int_equal(p[i], 0);
}

static void each_byte_is_cleared(void **state)
{
    for (size_t k = 0; k < copies_count(); k++) {
        memset(to, 0, SIZE);
        for (size_t at = 0; at < PAGE; at++) {
            to[at] = (uint8_t)(1u << at % 8);
            clears[k](to, PAGE);
            assert_int_equal(to[at], 0);
        }
        fill();
        clears[k](to, SIZE);
        assert_zero(to, SIZE);
    }
}

static void only_that_is_cleared(void **state)
{
    for (size_t k = 0; k < copies_count(); k++)
        for (size_t n = 0; n <= 3 * LINE_BYTES; n += LINE_BYTES) {
            memset(to, 1, SIZE);
            clears[k](to + PAGE, n);
            for (size_t i = 0; i < SIZE; i++)
                assert_int_equal(to[i], i < PAGE || i >= PAGE + n);
        }
}

static void what_is_zero_is_not_written(void **state)
{
    for (size_t k = 0; k < copies_count(); k++) {
        memset(to, 0, SIZE);
        to[0] = to[SIZE - 1] = 1;
        assert_int_equal(mprotect(to + PAGE, 2 * PAGE, PROT_READ), 0);
        clears[k](to, SIZE);
        assert_int_equal(mprotect(to + PAGE, 2 * PAGE, PROT_READ | PROT_WRITE), 0);
        assert_zero(to, SIZE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_byte_counts),
        cmocka_unit_test(all_differ),
        cmocka_unit_test(only_what_was_asked_for),
        cmocka_unit_test(what_is_equal_is_not_written),
        cmocka_unit_test(each_byte_is_cleared),
        cmocka_unit_test(only_that_is_cleared),
        cmocka_unit_test(what_is_zero_is_not_written),
    };
    return cmocka_run_group_tests(tests, pages_map, pages_unmap);
}
