/* Pieces of the Canonical ABI that work on bytes of a linear memory: range checks and strings in
 * the three encodings (CanonicalABI.md "Loading", "Storing"). Pure: memory is a base and a size.
 *
 * The host keeps strings as UTF-8. A guest whose encoding is UTF-8 is read without a copy. */
#pragma once

#include "component/link.h"

enum {
    ABI_STRING_BYTES_MAX = (1 << 28) - 1, /* MAX_STRING_BYTE_LENGTH */
    ABI_LIST_BYTES_MAX = (1 << 28) - 1,   /* MAX_LIST_BYTE_LENGTH */
};

/* The tag of latin1+utf16: the units are UTF-16. */
#define ABI_UTF16_TAG (UINT32_C(1) << 31)

/* True if n bytes at `at` are inside a memory of that size. */
static inline bool abi_in_bounds(size_t memory_size, uint32_t at, uint64_t n)
{
    return n <= memory_size && at <= memory_size - n;
}

static inline bool abi_is_aligned(uint32_t at, uint32_t align) { return (at & (align - 1)) == 0; }

/* What a string pointer and its (tagged) number of code units mean. */
typedef struct {
    string_encoding encoding; /* never LATIN1_UTF16 for UTF-16 content: see is_utf16 */
    bool is_utf16;
    uint32_t units;
    uint64_t bytes;
    uint32_t align;
} abi_string;
abi_string abi_string_span(string_encoding encoding, uint32_t tagged_units);

/* UTF-8 of n little-endian UTF-16 units. *ret_n is its length; false for unpaired surrogates.
 * dst NULL: only measures. dst holds 3 * units bytes in the worst case. */
bool abi_utf16_to_utf8(const uint8_t *src, size_t units, char *dst, size_t *ret_n);
/* Never fails; returns the length, at most 2 * n. dst NULL: only measures. */
size_t abi_latin1_to_utf8(const uint8_t *src, size_t n, char *dst);
/* Of well-formed UTF-8; returns the number of units, at most s.n. dst NULL: only measures. */
size_t abi_utf8_to_utf16(str s, uint8_t *dst);
/* True if every code point is below 256; *ret_n is then the number of Latin-1 bytes. */
bool abi_utf8_is_latin1(str s, size_t *ret_n);
/* Of UTF-8 for which abi_utf8_is_latin1 holds. */
void abi_utf8_to_latin1(str s, uint8_t *dst);
