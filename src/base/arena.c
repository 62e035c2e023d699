/* Chained blocks, each at least twice as large as the one before (4 kB to 1 MB); a large request
 * gets a block of its own. The header of a block is its own bookkeeping:
 *
 *     +------+------+---------------------------+
 *     | next | size | data ...            free  |
 *     +------+------+---------------------------+
 */
#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { BLOCK_BYTES_MIN = 4096, BLOCK_BYTES_MAX = 1 << 20, ALIGN = 16 };

struct arena_block {
    arena_block *next;
    size_t bytes;
};

_Static_assert(sizeof(arena_block) % ALIGN == 0, "blocks keep the alignment");

static size_t fail_at, count;

size_t alloc_fail_after(size_t n)
{
    size_t seen = count;
    count = 0;
    fail_at = n;
    return seen;
}

bool alloc_may(void) { return ++count != fail_at; }

void arena_init(arena *a, size_t bytes_max) { *a = (arena){.used_bytes_max = bytes_max}; }

void arena_init_level(arena *a, size_t bytes_max)
{
    *a = (arena){.used_bytes_max = bytes_max, .level = true};
}

static void free_chain(arena_block *b)
{
    while (b) {
        arena_block *next = b->next;
        free(b);
        b = next;
    }
}

void arena_fini(arena *a)
{
    if (!a)
        return;
    free_chain(a->blocks);
    *a = (arena){.used_bytes_max = a->used_bytes_max, .level = a->level};
}

void arena_reset(arena *a)
{
    arena_block *newest = a->blocks;
    if (!newest)
        return;
    free_chain(newest->next);
    newest->next = NULL;
    a->used_bytes = newest->bytes;
    a->at = (char *)(newest + 1);
    a->end = (char *)newest + newest->bytes;
}

static bool block_add(arena *a, size_t size)
{
    size_t want = a->blocks && !a->level ? a->blocks->bytes * 2 : BLOCK_BYTES_MIN;
    if (want > BLOCK_BYTES_MAX)
        want = BLOCK_BYTES_MAX;
    if (size > SIZE_MAX / 2)
        return false;
    if (want < size + sizeof(arena_block))
        want = size + sizeof(arena_block);
    size_t left = a->used_bytes_max - a->used_bytes;
    if (want > left)
        want = size + sizeof(arena_block); /* near the maximum: no more than is needed */
    if (want > left)
        return false;
    arena_block *b = malloc(want);
    if (!b)
        return false;
    b->next = a->blocks;
    b->bytes = want;
    a->blocks = b;
    a->used_bytes += want;
    a->at = (char *)(b + 1);
    a->end = (char *)b + want;
    return true;
}

void *arena_alloc(arena *a, size_t size)
{
    if (!alloc_may() || size > SIZE_MAX - ALIGN)
        return NULL;
    size = (size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (!a->at || (size_t)(a->end - a->at) < size)
        if (!block_add(a, size))
            return NULL;
    void *p = a->at;
    a->at += size;
    return p;
}

void *arena_zalloc(arena *a, size_t size)
{
    void *p = arena_alloc(a, size);
    return p ? memset(p, 0, size) : NULL;
}

void *arena_array(arena *a, size_t n, size_t size)
{
    size_t total;
    return __builtin_mul_overflow(n, size, &total) ? NULL : arena_zalloc(a, total);
}

void *arena_grow(arena *a, void *old, size_t count_old, size_t count_new, size_t size)
{
    size_t total, total_old = count_old * size;
    if (__builtin_mul_overflow(count_new, size, &total) || total > SIZE_MAX - ALIGN)
        return NULL;
    size_t held = (total_old + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    size_t need = (total + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (old && need >= held && (char *)old + held == a->at &&
        (size_t)(a->end - a->at) >= need - held && alloc_may()) {
        a->at += need - held;
        return old;
    }
    void *p = arena_alloc(a, total);
    if (p && total_old)
        memcpy(p, old, total_old < total ? total_old : total);
    return p;
}

char *arena_cstr(arena *a, str s)
{
    char *p = s.n < SIZE_MAX ? arena_alloc(a, s.n + 1) : NULL;
    if (!p)
        return NULL;
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = 0;
    return p;
}

str arena_str(arena *a, str s)
{
    char *p = arena_cstr(a, s);
    return (str){p, p ? s.n : 0};
}

bytes arena_bytes(arena *a, bytes b)
{
    char *p = arena_cstr(a, (str){(const char *)b.p, b.n});
    return (bytes){(const uint8_t *)p, p ? b.n : 0};
}

str arena_printf(arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (p)
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return (str){p, p ? (size_t)n : 0};
}
