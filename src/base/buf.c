/* Growable buffers; buf.h has the invariants. Growth doubles, from 64 bytes up to the maximum given
 * at buf_init, so that appending n bytes costs a few reallocations and never more than the maximum.
 * Every allocation asks alloc_may first, so that tests can make each one fail. */
#include "base/buf.h"

#include "base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_init(buf *b, size_t max) { *b = (buf){.max = max}; }

void buf_fini(buf *b)
{
    if (!b)
        return;
    free(b->p);
    buf_init(b, b->max);
}

void buf_clear(buf *b)
{
    b->n = 0;
    b->failed = false;
}

bool buf_reserve(buf *b, size_t n)
{
    if (b->cap - b->n >= n)
        return true;
    if (n > b->max || b->n > b->max - n) {
        b->failed = true;
        return false;
    }
    size_t cap = b->cap ? b->cap : b->max < 64 ? b->max : 64;
    while (cap < b->n + n)
        cap = cap > b->max / 2 ? b->max : cap * 2;
    uint8_t *p = alloc_may() ? realloc(b->p, cap) : NULL;
    if (!p) {
        b->failed = true;
        return false;
    }
    b->p = p;
    b->cap = cap;
    return true;
}

bool buf_put(buf *b, const void *p, size_t n)
{
    if (!buf_reserve(b, n))
        return false;
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    return true;
}

bool buf_put_str(buf *b, str s) { return buf_put(b, s.p, s.n); }

bool buf_put_u8(buf *b, uint8_t v) { return buf_put(b, &v, 1); }

bool buf_printf(buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    bool ok = n >= 0 && buf_reserve(b, (size_t)n + 1);
    if (ok) {
        vsnprintf((char *)b->p + b->n, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    }
    va_end(again);
    return ok;
}

void buf_drop(buf *b, size_t n)
{
    if (n > b->n)
        n = b->n;
    b->n -= n;
    if (b->n && n)
        memmove(b->p, b->p + n, b->n);
}
