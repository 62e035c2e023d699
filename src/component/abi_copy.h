/* Values from one linear memory straight into another: the lifting of one side of a call and the
 * lowering of the other in one step, without a form in between (CanonicalABI.md "Lifting and
 * Lowering Values"). Pure: a side is a base and a size, and what belongs to a component instance
 * (its realloc, its table of handles) is reached through two functions.
 *
 * Invariants
 * - Nothing that the source says is believed: pointers, lengths, discriminants, characters and
 *   encodings are checked before use, also pointers that the destination's realloc returns.
 * - Memory may move in every `realloc`, and only there; places are offsets, never pointers.
 * - The work of one copy is bounded (ABI_COPY_WORK_MAX): lists may name the same bytes many times.
 * - Padding is never copied: bytes of one instance that are no part of a value stay in it.
 *
 * A side may also be the host itself: its memory then holds values in the Canonical ABI's layout,
 * strings as UTF-8. */
#pragma once

#include "component/abi.h"
#include "component/type.h"

enum {
    ABI_COPY_TEXT_MAX = 200,
    /* Bytes written, and 16 for each element that needs a look: about a quarter of a second, which
     * is also what a nested guest call may take. The copy runs between two ticks and can't yield.
     */
    ABI_COPY_WORK_MAX = 1 << 30,
};

typedef struct {
    uint8_t *base;
    size_t size;
    string_encoding encoding;
    bool is_host; /* for the words of traps only */
} abi_side;

typedef struct abi_copier abi_copier;
struct abi_copier {
    abi_side src, dst;
    /* realloc(0, 0, align, size) of the destination; brings base and size of both sides up to date.
     * The result is checked here. False: it trapped. */
    bool (*realloc)(abi_copier *c, uint32_t align, uint32_t size, uint32_t *ret);
    /* Lifts an own or borrow out of the source's table and lowers it into the destination's.
     * False: it trapped. NULL: there are no handles. */
    bool (*handle)(abi_copier *c, const type *t, uint32_t index, uint32_t *ret);
    void *user;
    uint64_t work;
    char trap[ABI_COPY_TEXT_MAX]; /* why a copy failed; empty if one of the functions said so */
};

/* Where a value is: in memory at `at`, or in the core values flat[at], flat[at + 1], ...; these are
 * held as bits: 32-bit ones zero-extended, floats as their bits. */
typedef struct {
    uint64_t *flat; /* NULL: memory */
    uint32_t at;
} abi_place;

/* Copies one value of type t. Areas of memory must have been checked (abi_area). */
bool abi_copy(abi_copier *c, const type *t, abi_place src, abi_place dst);
/* True if `at` is aligned for, and has room for, size bytes of that side; else c->trap says not. */
bool abi_area(abi_copier *c, const abi_side *side, uint32_t at, uint32_t size, uint32_t align);

/* The parameters of f. `src` are the caller's core values, in memory behind src[0] if src_spilled;
 * `dst` become the callee's, behind a pointer from realloc if dst_spilled. */
bool abi_copy_params(abi_copier *c, const functype *f, uint64_t *src, bool src_spilled,
                     uint64_t *dst, bool dst_spilled);
/* The result of f, if it has one. src[0] is a pointer if src_spilled; if dst_spilled, dst[0] says
 * where the result goes. */
bool abi_copy_result(abi_copier *c, const functype *f, uint64_t *src, bool src_spilled,
                     uint64_t *dst, bool dst_spilled);

/* Size and alignment of the parameters as a tuple. */
void abi_params_layout(const functype *f, uint32_t *ret_size, uint32_t *ret_align);
/* "invalid utf-8 ..." or "incomplete utf-8 ..."; NULL if p is UTF-8. */
const char *abi_utf8_problem(const uint8_t *p, size_t n);
