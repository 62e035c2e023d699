/* See lines.h. 133 scattered pages that are all the same, as of a JavaScript hello: 17 us with
 * vectors of 16 bytes, 13.4 with 32, and with 64 no less: it is the way from the cache then. */
#include "engine/lines.h"

#include "base/must.h"

typedef uint64_t half __attribute__((vector_size(16)));
typedef struct {
    half at[4];
} line;
typedef long long wide __attribute__((vector_size(32)));
typedef struct {
    wide at[2];
} wide_line;

static void check(const uint8_t *to, const uint8_t *from, size_t n)
{
    must(((uintptr_t)to | (uintptr_t)from | n) % LINE_BYTES == 0);
}

void lines_copy_plain(uint8_t *to, const uint8_t *from, size_t n)
{
    check(to, from, n);
    line *a = (line *)(void *)to;
    const line *b = (const line *)(const void *)from;
    for (const line *end = b + n / sizeof *b; b < end; a++, b++) {
        half d = (a->at[0] ^ b->at[0]) | (a->at[1] ^ b->at[1]) | (a->at[2] ^ b->at[2]) |
                 (a->at[3] ^ b->at[3]);
        if (d[0] | d[1])
            *a = *b;
    }
}

void lines_clear_plain(uint8_t *to, size_t n)
{
    check(to, to, n);
    line *a = (line *)(void *)to;
    for (const line *end = a + n / sizeof *a; a < end; a++) {
        half d = a->at[0] | a->at[1] | a->at[2] | a->at[3];
        if (d[0] | d[1])
            *a = (line){0};
    }
}

#ifdef __x86_64__
bool lines_wide_works(void) { return __builtin_cpu_supports("avx2"); }

__attribute__((target("avx2"))) void lines_copy_wide(uint8_t *to, const uint8_t *from, size_t n)
{
    check(to, from, n);
    wide_line *a = (wide_line *)(void *)to;
    const wide_line *b = (const wide_line *)(const void *)from;
    for (const wide_line *end = b + n / sizeof *b; b < end; a++, b++) {
        wide d = (a->at[0] ^ b->at[0]) | (a->at[1] ^ b->at[1]);
        if (!__builtin_ia32_ptestz256(d, d))
            *a = *b;
    }
}

__attribute__((target("avx2"))) void lines_clear_wide(uint8_t *to, size_t n)
{
    check(to, to, n);
    wide_line *a = (wide_line *)(void *)to;
    for (const wide_line *end = a + n / sizeof *a; a < end; a++) {
        wide d = a->at[0] | a->at[1];
        if (!__builtin_ia32_ptestz256(d, d))
            *a = (wide_line){0};
    }
}
#else
bool lines_wide_works(void) { return false; }

void lines_copy_wide(uint8_t *to, const uint8_t *from, size_t n) { lines_copy_plain(to, from, n); }
void lines_clear_wide(uint8_t *to, size_t n) { lines_clear_plain(to, n); }
#endif

void lines_copy(uint8_t *to, const uint8_t *from, size_t n)
{
    (lines_wide_works() ? lines_copy_wide : lines_copy_plain)(to, from, n);
}

void lines_clear(uint8_t *to, size_t n)
{
    (lines_wide_works() ? lines_clear_wide : lines_clear_plain)(to, n);
}
