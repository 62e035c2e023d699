/* Strings and bytes as {pointer, length}: never owned, never NUL-terminated by contract.
 * Whoever made the storage (an arena, a buf, a literal, the request) says how long it lives. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    const char *p;
    size_t n;
} str;

typedef struct {
    const uint8_t *p;
    size_t n;
} bytes;

/* A str of a string literal. */
#define S(lit) ((str){(lit), sizeof(lit) - 1})
/* The two arguments of "%.*s". */
#define STR(s) (int)(s).n, (s).p

static inline str str_from(const char *z) { return (str){z, z ? strlen(z) : 0}; }

static inline bool str_eq(str a, str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* Orders as memcmp does, the shorter first where one is a prefix of the other. */
int str_cmp(str a, str b);
/* ASCII case is ignored; other bytes compare as they are. */
bool str_eq_nocase(str a, str b);
bool str_starts(str s, str prefix);
bool str_ends(str s, str suffix);
/* Index of the first such byte, or s.n. */
size_t str_find(str s, char c);
/* Index of the last such byte, or s.n. */
size_t str_rfind(str s, char c);
/* s without its first n bytes (all of them if there are fewer). */
str str_skip(str s, size_t n);
/* At most the first n bytes. */
str str_head(str s, size_t n);
/* Without leading and trailing ASCII space, tab, CR and LF. */
str str_trim(str s);
/* Cuts *s at the first c: returns what was before it and leaves the rest, without c, in *s.
 * Where c does not occur, returns all and leaves *s empty with a NULL pointer. */
str str_cut(str *s, char c);
/* Decimal digits only, the whole of s, at most max. */
bool str_to_u64(str s, uint64_t max, uint64_t *ret);
/* Well-formed UTF-8 (Unicode 15, table 3-7: no surrogates, no overlong forms). */
bool str_is_utf8(str s);
