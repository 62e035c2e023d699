/* Growable byte buffer with a maximum.
 * Invariants: n <= cap <= max; bytes [0, n) are the content; p may move on every append; a failed
 * append changes nothing but sets `failed`, so that many appends may be checked once at the end. */
#pragma once

#include "base/str.h"

typedef struct {
    uint8_t *p;
    size_t n, cap, max;
    bool failed; /* an append did not fit or found no memory */
} buf;

/* No memory is taken until the first append. */
void buf_init(buf *b, size_t max);
/* Frees; the buffer may be used again. NULL is allowed. */
void buf_fini(buf *b);
/* Forgets the content, keeps the memory, clears `failed`. */
void buf_clear(buf *b);
/* Makes room for n more bytes; false (and `failed`) if the maximum or memory does not allow it. */
bool buf_reserve(buf *b, size_t n);
bool buf_put(buf *b, const void *p, size_t n);
bool buf_put_str(buf *b, str s);
bool buf_put_u8(buf *b, uint8_t v);
bool buf_printf(buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Removes the first n bytes (at most all). */
void buf_drop(buf *b, size_t n);

static inline bytes buf_bytes(const buf *b) { return (bytes){b->p, b->n}; }

static inline str buf_str(const buf *b) { return (str){(const char *)b->p, b->n}; }
