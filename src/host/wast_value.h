/* Component values as `wasm-tools json-from-wast` writes them, and as the Canonical ABI lays them
 * out in a memory of our own: what ebb-wast passes to abi_copy. Numbers are decimal text, floats
 * the decimal text of their bits. */
#pragma once

#include "base/buf.h"
#include "component/type.h"

#include <jansson.h>

/* A memory of the host's: offset 0 is never used. */
typedef struct {
    uint8_t *base;
    size_t size, used;
} wast_memory;

bool wast_memory_init(wast_memory *m);
void wast_memory_fini(wast_memory *m);
/* Zeroed; false if it is full. */
bool wast_alloc(wast_memory *m, uint32_t align, uint64_t n, uint32_t *ret);

/* Writes v, of type t, at `at`, which has room. */
bool wast_store(wast_memory *m, const type *t, const json_t *v, uint32_t at, err *e);
/* Is what lies at `at` the value `want`? Also compares the type's word. */
bool wast_equal(const wast_memory *m, const type *t, const json_t *want, uint32_t at);
/* The value at `at` in the suite's form; handles are null. */
json_t *wast_json(const wast_memory *m, const type *t, uint32_t at);
