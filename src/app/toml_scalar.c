/* The leaves of TOML: strings, booleans, numbers, dates and times (TOML 1.0.0, sections String to
 * Local Time).
 *
 * Strings are copied once into the arena: escapes only ever shrink a text, so the room from the
 * opening to the closing quote is enough. Everything else is first cut out as a word of the
 * characters that such values are made of, then told apart by its shape; so the message for a
 * mistyped value can quote the whole word.
 *
 * strtod() is used for floats after their grammar was checked here; ebb never calls setlocale(),
 * so its decimal point is '.'. */
#include "app/toml_scan.h"

#include "base/hex.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>

/* ---- strings ---- */

static size_t utf8_put(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

static bool scan_unicode(toml_scan *s, size_t digits, char *out, size_t *n)
{
    uint32_t c = 0;
    for (size_t i = 0; i < digits; i++) {
        int d = hex_digit((char)scan_peek(s, 2 + i)); /* past the end there is none */
        if (d < 0)
            return scan_fail_at(s, scan_pos(s), "expected %zu hexadecimal digits after '\\%c'",
                                digits, s->p[1]);
        c = c << 4 | (uint32_t)d;
    }
    if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return scan_fail_at(s, scan_pos(s), "'\\%c%0*X' is not a Unicode scalar value", s->p[1],
                            (int)digits, c);
    *n += utf8_put(out + *n, c);
    s->p += 2 + digits;
    return true;
}

/* A backslash at the end of a line swallows it and all white space up to the next text. */
static bool scan_line_join(toml_scan *s, bool *ret_joined)
{
    const char *p = s->p + 1;
    while (p < s->end && (*p == ' ' || *p == '\t'))
        p++;
    *ret_joined = p < s->end && (*p == '\n' || (*p == '\r' && p + 1 < s->end && p[1] == '\n'));
    if (!*ret_joined)
        return true;
    s->p = p;
    while (scan_newline(s))
        while (scan_peek(s, 0) == ' ' || scan_peek(s, 0) == '\t')
            s->p++;
    return true;
}

static bool scan_escape(toml_scan *s, bool multiline, char *out, size_t *n)
{
    static const char from[] = "btnfr\"\\", to[] = "\b\t\n\f\r\"\\";
    bool joined = false;
    int c = scan_peek(s, 1);
    if (c == 'u' || c == 'U')
        return scan_unicode(s, c == 'u' ? 4 : 8, out, n);
    const char *at = c > 0 ? strchr(from, c) : NULL;
    if (at) {
        out[(*n)++] = to[at - from];
        s->p += 2;
        return true;
    }
    if (multiline && scan_line_join(s, &joined) && joined)
        return true;
    return scan_fail_at(s, scan_pos(s),
                        "unknown escape; write '\\\\' for a backslash, or use a literal string "
                        "in single quotes");
}

/* How many quote characters stand here, at most five: the end of a multi-line string may have two
 * of its own before the closing three. */
static size_t quote_run(const toml_scan *s, char quote)
{
    size_t n = 0;
    while (n < 5 && scan_peek(s, n) == quote)
        n++;
    return n;
}

static size_t string_room(const toml_scan *s, char quote, bool multiline)
{
    /* An upper bound: up to the first quote that can end it. */
    for (const char *p = s->p; p < s->end; p++) {
        if (*p == '\\' && quote == '"')
            p++;
        else if (!multiline && (*p == quote || *p == '\n'))
            return (size_t)(p - s->p);
        else if (multiline && *p == quote && s->end - p >= 3 && p[1] == quote && p[2] == quote)
            return (size_t)(p - s->p) + 2;
    }
    return (size_t)(s->end - s->p);
}

bool toml_scan_string(toml_scan *s, bool multiline_allowed, str *ret)
{
    toml_pos start = scan_pos(s);
    char quote = *s->p;
    bool multiline = scan_peek(s, 1) == quote && scan_peek(s, 2) == quote;
    if (multiline && !multiline_allowed)
        return scan_fail_at(s, start, "a key can't be a multi-line string; use one quote");
    s->p += multiline ? 3 : 1;
    if (multiline)
        scan_newline(s); /* the first one does not count */
    char *out = arena_alloc(s->a, string_room(s, quote, multiline) + 1);
    size_t n = 0;
    if (!out)
        return err_no_memory(s->e);
    for (;;) {
        int c = scan_peek(s, 0);
        if (c < 0 || (!multiline && (c == '\n' || c == '\r')))
            return scan_fail_at(s, start, "this string has no closing %s%c%s",
                                multiline ? "triple " : "", quote, multiline ? "" : " on its line");
        if (c == quote && !multiline) {
            s->p++;
            break;
        }
        size_t run = c == quote ? quote_run(s, quote) : 0;
        if (run >= 3) {
            for (size_t i = 3; i < run; i++)
                out[n++] = quote;
            s->p += run;
            break;
        }
        if (c == '\\' && quote == '"') {
            if (!scan_escape(s, multiline, out, &n))
                return false;
        } else if (c == '\n' || (c == '\r' && scan_peek(s, 1) == '\n')) {
            if (c == '\r')
                out[n++] = '\r';
            out[n++] = '\n';
            scan_newline(s);
        } else if (scan_is_control(c)) {
            return scan_fail_at(s, scan_pos(s), "control character 0x%02X in a string; %s", c,
                                quote == '"' ? "write it as an escape"
                                             : "use double quotes "
                                               "and an escape");
        } else {
            out[n++] = *s->p++;
        }
    }
    out[n] = 0;
    *ret = (str){out, n};
    return true;
}

/* ---- dates and times ---- */

static bool digits_take(str *w, size_t n, uint32_t *ret)
{
    uint32_t v = 0;
    if (w->n < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!isdigit((unsigned char)w->p[i]))
            return false;
        v = v * 10 + (uint32_t)(w->p[i] - '0');
    }
    *w = str_skip(*w, n);
    *ret = v;
    return true;
}

static bool char_take(str *w, const char *any_of)
{
    if (!w->n || !strchr(any_of, w->p[0]))
        return false;
    *w = str_skip(*w, 1);
    return true;
}

static bool date_take(str *w, toml_datetime *d)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    uint32_t y, m, day;
    if (!digits_take(w, 4, &y) || !char_take(w, "-") || !digits_take(w, 2, &m) ||
        !char_take(w, "-") || !digits_take(w, 2, &day))
        return false;
    if (m < 1 || m > 12 || day < 1)
        return false;
    bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
    if (day > (uint32_t)days[m - 1] + (m == 2 && leap))
        return false;
    d->year = (uint16_t)y;
    d->month = (uint8_t)m;
    d->day = (uint8_t)day;
    return true;
}

static bool time_take(str *w, toml_datetime *d)
{
    uint32_t h, m, sec;
    if (!digits_take(w, 2, &h) || !char_take(w, ":") || !digits_take(w, 2, &m) ||
        !char_take(w, ":") || !digits_take(w, 2, &sec))
        return false;
    if (h > 23 || m > 59 || sec > 60)
        return false;
    d->hour = (uint8_t)h;
    d->minute = (uint8_t)m;
    d->second = (uint8_t)sec;
    if (!char_take(w, "."))
        return true;
    uint32_t nano = 0, digit;
    size_t n = 0;
    for (; digits_take(w, 1, &digit); n++)
        if (n < 9)
            nano = nano * 10 + digit;
    d->digits = (uint8_t)(n < 9 ? n : 9);
    for (size_t i = d->digits; i < 9; i++)
        nano *= 10;
    d->nanosecond = nano;
    return n > 0;
}

static bool offset_take(str *w, toml_datetime *d)
{
    uint32_t h, m;
    if (char_take(w, "Zz")) {
        d->is_z = true;
        return true;
    }
    bool west = w->n && w->p[0] == '-';
    if (!char_take(w, "+-") || !digits_take(w, 2, &h) || !char_take(w, ":") ||
        !digits_take(w, 2, &m) || h > 23 || m > 59)
        return false;
    int minutes = (int)(h * 60 + m);
    d->offset_minutes = (int16_t)(west ? -minutes : minutes);
    return true;
}

static bool datetime_parse(str w, toml_value *ret)
{
    toml_datetime d = {0};
    if (w.n > 2 && w.p[2] == ':') {
        ret->kind = TOML_TIME_LOCAL;
        if (!time_take(&w, &d) || w.n)
            return false;
    } else {
        ret->kind = TOML_DATE_LOCAL;
        if (!date_take(&w, &d))
            return false;
        if (w.n) {
            ret->kind = TOML_DATETIME_LOCAL;
            if (!char_take(&w, "Tt ") || !time_take(&w, &d))
                return false;
        }
        if (w.n) {
            ret->kind = TOML_DATETIME;
            if (!offset_take(&w, &d) || w.n)
                return false;
        }
    }
    ret->datetime = d;
    return true;
}

/* ---- numbers ---- */

typedef enum { NUMBER_OK, NUMBER_BAD, NUMBER_RANGE, NUMBER_UNDERSCORE, NUMBER_ZERO } number_status;

/* Copies digits of that base to out without underscores, which may only stand between digits. */
static number_status digits_clean(str *w, int base, char *out, size_t *n)
{
    size_t start = *n;
    bool after_digit = false;
    while (w->n) {
        int d = hex_digit(w->p[0]);
        if (d >= 0 && d < base) {
            out[(*n)++] = w->p[0];
            after_digit = true;
        } else if (w->p[0] == '_') {
            if (!after_digit)
                return NUMBER_UNDERSCORE;
            after_digit = false;
        } else {
            break;
        }
        *w = str_skip(*w, 1);
    }
    if (*n == start)
        return NUMBER_BAD;
    return after_digit ? NUMBER_OK : NUMBER_UNDERSCORE;
}

static number_status integer_parse(const char *digits, size_t n, int base, bool negative,
                                   int64_t *ret)
{
    uint64_t v = 0, limit = negative ? (uint64_t)1 << 63 : INT64_MAX;
    for (size_t i = 0; i < n; i++) {
        uint64_t d = (uint64_t)hex_digit(digits[i]);
        if (v > (limit - d) / (uint64_t)base)
            return NUMBER_RANGE;
        v = v * (uint64_t)base + d;
    }
    *ret = negative ? (int64_t)(0 - v) : (int64_t)v;
    return NUMBER_OK;
}

static number_status prefixed_parse(str w, char *scratch, toml_value *ret)
{
    int base = w.p[1] == 'x' ? 16 : w.p[1] == 'o' ? 8 : 2;
    size_t n = 0;
    w = str_skip(w, 2);
    number_status st = digits_clean(&w, base, scratch, &n);
    if (st != NUMBER_OK)
        return st;
    if (w.n)
        return NUMBER_BAD;
    ret->kind = TOML_INTEGER;
    return integer_parse(scratch, n, base, false, &ret->integer);
}

static number_status number_parse(str w, char *scratch, toml_value *ret)
{
    size_t n = 0;
    if (w.n > 2 && w.p[0] == '0' && (w.p[1] == 'x' || w.p[1] == 'o' || w.p[1] == 'b'))
        return prefixed_parse(w, scratch, ret);
    bool negative = w.p[0] == '-';
    if (w.p[0] == '+' || w.p[0] == '-')
        w = str_skip(w, 1);
    if (str_eq(w, S("inf")) || str_eq(w, S("nan"))) {
        ret->kind = TOML_FLOAT;
        ret->floating =
            copysign(w.p[0] == 'i' ? (double)INFINITY : (double)NAN, negative ? -1.0 : 1.0);
        return NUMBER_OK;
    }
    if (negative)
        scratch[n++] = '-';
    size_t whole = n;
    number_status st = digits_clean(&w, 10, scratch, &n);
    if (st != NUMBER_OK)
        return st;
    if (n - whole > 1 && scratch[whole] == '0')
        return NUMBER_ZERO;
    if (!w.n) {
        ret->kind = TOML_INTEGER;
        return integer_parse(scratch + whole, n - whole, 10, negative, &ret->integer);
    }
    if (char_take(&w, ".")) {
        scratch[n++] = '.';
        st = digits_clean(&w, 10, scratch, &n);
        if (st != NUMBER_OK)
            return st;
    }
    if (char_take(&w, "eE")) {
        scratch[n++] = 'e';
        if (w.n && (w.p[0] == '+' || w.p[0] == '-')) {
            scratch[n++] = w.p[0];
            w = str_skip(w, 1);
        }
        st = digits_clean(&w, 10, scratch, &n);
        if (st != NUMBER_OK)
            return st;
    }
    if (w.n)
        return NUMBER_BAD;
    scratch[n] = 0;
    ret->kind = TOML_FLOAT;
    ret->floating = strtod(scratch, NULL);
    return NUMBER_OK;
}

/* ---- any of them ---- */

static bool is_word(int c)
{
    return c >= 0 && (isalnum(c) || c == '_' || c == '+' || c == '-' || c == '.' || c == ':');
}

static str word_take(toml_scan *s)
{
    const char *start = s->p;
    while (is_word(scan_peek(s, 0)))
        s->p++;
    /* "1979-05-27 07:32:00": the one value that may hold a space. */
    if (s->p - start == 10 && start[4] == '-' && start[7] == '-' && scan_peek(s, 0) == ' ' &&
        isdigit(scan_peek(s, 1) & 0xff) && scan_peek(s, 1) > 0 && scan_peek(s, 2) > 0 &&
        isdigit(scan_peek(s, 2)) && scan_peek(s, 3) == ':') {
        s->p++;
        while (is_word(scan_peek(s, 0)))
            s->p++;
    }
    return (str){start, (size_t)(s->p - start)};
}

static bool looks_like_date(str w)
{
    return (w.n > 4 && isdigit((unsigned char)w.p[0]) && isdigit((unsigned char)w.p[3]) &&
            w.p[4] == '-') ||
           (w.n > 2 && isdigit((unsigned char)w.p[0]) && w.p[2] == ':');
}

bool toml_scan_scalar(toml_scan *s, toml_value *ret)
{
    toml_pos at = scan_pos(s);
    str w = word_take(s);
    if (!w.n)
        return scan_expected(s, "a value");
    if (str_eq(w, S("true")) || str_eq(w, S("false"))) {
        ret->kind = TOML_BOOL;
        ret->boolean = w.p[0] == 't';
        return true;
    }
    str shown = str_head(w, 60);
    if (looks_like_date(w))
        return datetime_parse(w, ret) ||
               scan_fail_at(s, at, "'%.*s' is not a date or time of RFC 3339", STR(shown));
    bool numeric = isdigit((unsigned char)w.p[0]) || w.p[0] == '+' || w.p[0] == '-' ||
                   w.p[0] == '.' || str_eq(w, S("inf")) || str_eq(w, S("nan"));
    if (!numeric)
        return scan_fail_at(s, at, "expected a value, found '%.*s'; put strings in double quotes",
                            STR(shown));
    char *scratch = arena_alloc(s->a, w.n + 2);
    if (!scratch)
        return err_no_memory(s->e);
    switch (number_parse(w, scratch, ret)) {
    case NUMBER_OK:
        return true;
    case NUMBER_RANGE:
        return scan_fail_at(s, at, "'%.*s' does not fit into 64 bits", STR(shown));
    case NUMBER_UNDERSCORE:
        return scan_fail_at(s, at, "'%.*s': '_' may only stand between two digits", STR(shown));
    case NUMBER_ZERO:
        return scan_fail_at(s, at, "'%.*s': a decimal number can't begin with 0", STR(shown));
    case NUMBER_BAD:
        break;
    }
    return scan_fail_at(s, at, "'%.*s' is not a number; put strings in double quotes", STR(shown));
}
