/* A cursor over untrusted bytes: the primitive values of the wasm binary format (core
 * spec 5.1-5.2), shared by the component decoder and the core module parser. Invariants: at <= end;
 * nothing is read outside [at, end); nothing is copied: names and slices point into the bytes and
 * live as long as they do. LEB128 is strict: at most ceil(bits / 7) bytes and no set bits beyond
 * the width. A failed read describes itself with the absolute offset
 * ("offset 0x1f: ..."), ERR_INVALID, and leaves the cursor where the value began. */
#pragma once

#include "base/err.h"
#include "base/str.h"

enum {
    READER_NAME_MAX = 100000
}; /* as every engine: long names cost wherever they are looked up */

typedef struct {
    const uint8_t *at, *end;
    const uint8_t *start; /* of the whole file: offsets in messages count from here */
} reader;

static inline reader reader_over(bytes b) { return (reader){b.p, b.p + b.n, b.p}; }

static inline size_t reader_left(const reader *r) { return (size_t)(r->end - r->at); }

static inline bool reader_done(const reader *r) { return r->at == r->end; }

/* Offset of the next byte in the whole file. */
static inline uint64_t reader_offset(const reader *r) { return (uint64_t)(r->at - r->start); }

bool reader_u8(reader *r, uint8_t *ret, err *e);
/* 4 bytes, little-endian. */
bool reader_fixed_u32(reader *r, uint32_t *ret, err *e);
bool reader_u32(reader *r, uint32_t *ret, err *e);
bool reader_u64(reader *r, uint64_t *ret, err *e);
bool reader_s32(reader *r, int32_t *ret, err *e);
/* The 33-bit signed form of block types and component type references. */
bool reader_s33(reader *r, int64_t *ret, err *e);
bool reader_s64(reader *r, int64_t *ret, err *e);
bool reader_skip(reader *r, size_t n, err *e);
bool reader_bytes(reader *r, size_t n, bytes *ret, err *e);
/* Length (at most READER_NAME_MAX), then UTF-8 (checked). */
bool reader_name(reader *r, str *ret, err *e);
/* An element count: at most max, and at most as many as bytes are left (each takes at least one),
 * so that an array of that size may be allocated. `what` names the elements in messages. */
bool reader_count(reader *r, uint32_t max, const char *what, uint32_t *ret, err *e);
/* The next n bytes as a reader of their own, which r skips. */
bool reader_slice(reader *r, size_t n, reader *ret, err *e);
/* A u32 size and that many bytes as a reader of their own. */
bool reader_sized(reader *r, reader *ret, err *e);

/* err_set with "offset 0x..: " of the cursor in front. */
bool reader_fail(const reader *r, err *e, err_code code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
