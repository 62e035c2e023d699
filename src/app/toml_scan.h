/* Shared by toml.c (documents) and toml_scalar.c (strings, numbers, dates): the place in the text
 * and how errors name it. Private to the TOML reader. */
#pragma once

#include "app/toml.h"

typedef struct {
    arena *a;
    str file;
    const char *p, *end;
    const char *line_start;
    uint32_t line;
    /* Columns are counted from where they were last known, so that a long line costs its length
     * once and not once a value. */
    const char *column_at;
    uint32_t column;
    uint32_t depth;
    err *e;
} toml_scan;

/* The position of s->p. */
toml_pos scan_pos(toml_scan *s);
/* "file:line:column: text"; always false. */
bool scan_fail_at(toml_scan *s, toml_pos at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* "expected <what>, found <the character at s->p>" at s->p. */
bool scan_expected(toml_scan *s, const char *what);
/* The byte at p + i, or -1 past the end. */
static inline int scan_peek(const toml_scan *s, size_t i)
{
    return (size_t)(s->end - s->p) > i ? (unsigned char)s->p[i] : -1;
}
/* Steps over LF or CRLF and starts a new line; false if there is none here. */
bool scan_newline(toml_scan *s);
/* True for what may not stand in comments and strings: control bytes but tab. */
bool scan_is_control(int c);

/* A quoted string, one line or several; s->p is at its first quote. */
bool toml_scan_string(toml_scan *s, bool multiline_allowed, str *ret);
/* A number, boolean, date or time; s->p is at its first character. */
bool toml_scan_scalar(toml_scan *s, toml_value *ret);
