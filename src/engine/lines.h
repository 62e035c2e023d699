/* Memory made equal to other memory where it differs: what restoring spends most of its time on. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LINE_BYTES = 64 };

/* Makes n bytes at `to` those at `from`; both and n are multiples of LINE_BYTES. Only lines that
 * differ are written: what is only read does not have to be written back to memory, and stays
 * shared with whoever else has it in a cache. */
void lines_copy(uint8_t *to, const uint8_t *from, size_t n);

/* Makes them zero, likewise. */
void lines_clear(uint8_t *to, size_t n);

/* The same, with vectors of 32 bytes (AVX2) or without; the ones above take what the processor has.
 */
bool lines_wide_works(void);
void lines_copy_wide(uint8_t *to, const uint8_t *from, size_t n);
void lines_copy_plain(uint8_t *to, const uint8_t *from, size_t n);
void lines_clear_wide(uint8_t *to, size_t n);
void lines_clear_plain(uint8_t *to, size_t n);
