/* What tests of components share: an arena, an error, the files of tests/component, and bytes that
 * are made by hand. */
#pragma once

#include "unit.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/limits.h"

#include <stdio.h>

static arena a;
static __attribute__((unused)) err e;

static inline bytes file(const char *name)
{
    char path[200];
    snprintf(path, sizeof path, "tests/component/%s", name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    size_t n = (size_t)ftell(f);
    rewind(f);
    uint8_t *p = arena_alloc(&a, n);
    assert_int_equal(fread(p, 1, n, f), n);
    fclose(f);
    return (bytes){p, n};
}

static inline unsigned hex_digit(char c) { return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10); }

static inline bytes unhex(str s)
{
    uint8_t *p = arena_alloc(&a, s.n / 2);
    for (size_t i = 0; i < s.n / 2; i++)
        p[i] = (uint8_t)(hex_digit(s.p[2 * i]) << 4 | hex_digit(s.p[2 * i + 1]));
    return (bytes){p, s.n / 2};
}

static inline void put_leb(buf *b, uint32_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_put_u8(b, (uint8_t)(v | 0x80));
    buf_put_u8(b, (uint8_t)v);
}

/* Id, size and content of a section. */
static inline void put_part(buf *b, uint8_t id, bytes content)
{
    buf_put_u8(b, id);
    put_leb(b, (uint32_t)content.n);
    buf_put(b, content.p, content.n);
}

/* A block that ends where the bytes do, for the address sanitizer; the caller frees it. */
static inline bytes exact(bytes b)
{
    uint8_t *p = malloc(b.n ? b.n : 1);
    assert_non_null(p);
    if (b.n)
        memcpy(p, b.p, b.n);
    return (bytes){p, b.n};
}

/* Runs f in arenas of small blocks, each time a little further in: everything that it allocates is
 * once the last of its block, and a sanitizer sees who goes past it. */
static inline void at_block_ends(void (*f)(arena *inner, const void *ctx), const void *ctx)
{
    for (size_t pad = 0; pad < 4096; pad += 16) {
        arena inner;
        arena_init_level(&inner, 64 * MIB);
        assert_non_null(arena_alloc(&inner, pad));
        f(&inner, ctx);
        arena_fini(&inner);
    }
}
