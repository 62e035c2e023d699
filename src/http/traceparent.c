/* See traceparent.h. The places of the dashes and the lower case are checked, nothing is guessed:
 * what is not right is as if it were not there (section 4.3). */
#include "http/traceparent.h"

static bool hex_read(str text, uint8_t *ret, size_t n)
{
    for (size_t i = 0; i < 2 * n; i++) {
        char c = text.p[i];
        bool is_digit = c >= '0' && c <= '9';
        if (!is_digit && !(c >= 'a' && c <= 'f')) /* upper case is not allowed */
            return false;
        uint8_t v = (uint8_t)(is_digit ? c - '0' : c - 'a' + 10);
        ret[i / 2] = (uint8_t)(i % 2 ? ret[i / 2] << 4 | v : v);
    }
    return true;
}

static void hex_write(const uint8_t *from, size_t n, char *ret)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        ret[2 * i] = digits[from[i] >> 4];
        ret[2 * i + 1] = digits[from[i] & 15];
    }
}

static bool is_zero(const uint8_t *p, size_t n)
{
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++)
        any |= p[i];
    return any == 0;
}

bool traceparent_read(str text, traceparent *ret)
{
    uint8_t version;
    traceparent t;
    if (text.n < TRACEPARENT_BYTES || text.p[2] != '-' || text.p[35] != '-' || text.p[52] != '-' ||
        !hex_read(text, &version, 1) || !hex_read(str_skip(text, 3), t.trace, sizeof t.trace) ||
        !hex_read(str_skip(text, 36), t.span, sizeof t.span) ||
        !hex_read(str_skip(text, 53), &t.flags, 1))
        return false;
    if (version == 0xff || is_zero(t.trace, sizeof t.trace) || is_zero(t.span, sizeof t.span))
        return false;
    if (text.n > TRACEPARENT_BYTES && (version == 0 || text.p[TRACEPARENT_BYTES] != '-'))
        return false;
    *ret = t;
    return true;
}

void traceparent_write(const traceparent *t, char ret[TRACEPARENT_BYTES])
{
    uint8_t flags = t->flags & TRACE_SAMPLED;
    memcpy(ret, "00-", 3);
    hex_write(t->trace, sizeof t->trace, ret + 3);
    ret[35] = '-';
    hex_write(t->span, sizeof t->span, ret + 36);
    ret[52] = '-';
    hex_write(&flags, 1, ret + 53);
}

bool traceparent_find(const http_field *fields, size_t count, traceparent *ret)
{
    const http_field *found = NULL;
    for (size_t i = 0; i < count; i++) {
        if (!str_eq(fields[i].name, S("traceparent")))
            continue;
        if (found)
            return false;
        found = &fields[i];
    }
    return found && traceparent_read(found->value, ret);
}
