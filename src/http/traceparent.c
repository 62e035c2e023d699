/* See traceparent.h. The places of the dashes and the lower case are checked, nothing is guessed:
 * what is not right is as if it were not there (section 4.3). */
#include "http/traceparent.h"

#include "base/hex.h"

static bool hex_read(str text, uint8_t *ret, size_t n)
{
    for (size_t i = 0; i < 2 * n; i++) {
        char c = text.p[i];
        int v = hex_digit(c);
        if (v < 0 || (c >= 'A' && c <= 'F')) /* capitals are not allowed */
            return false;
        ret[i / 2] = (uint8_t)(i % 2 ? ret[i / 2] << 4 | v : v);
    }
    return true;
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
    if (text.n < TRACEPARENT_BYTES || text.p[TRACEPARENT_TRACE - 1] != '-' ||
        text.p[TRACEPARENT_SPAN - 1] != '-' || text.p[TRACEPARENT_FLAGS - 1] != '-' ||
        !hex_read(text, &version, 1) ||
        !hex_read(str_skip(text, TRACEPARENT_TRACE), t.trace, sizeof t.trace) ||
        !hex_read(str_skip(text, TRACEPARENT_SPAN), t.span, sizeof t.span) ||
        !hex_read(str_skip(text, TRACEPARENT_FLAGS), &t.flags, 1))
        return false;
    if (version == 0xff || is_zero(t.trace, sizeof t.trace) || is_zero(t.span, sizeof t.span))
        return false;
    if (text.n > TRACEPARENT_BYTES && (version == 0 || text.p[TRACEPARENT_BYTES] != '-'))
        return false;
    *ret = t;
    return true;
}

void traceparent_write(const traceparent *t, char ret[TRACEPARENT_BYTES + 1])
{
    uint8_t flags = t->flags & TRACE_SAMPLED;
    memcpy(ret, "00-", 3);
    hex_write((bytes){t->trace, sizeof t->trace}, ret + TRACEPARENT_TRACE);
    ret[TRACEPARENT_SPAN - 1] = '-';
    hex_write((bytes){t->span, sizeof t->span}, ret + TRACEPARENT_SPAN);
    ret[TRACEPARENT_FLAGS - 1] = '-';
    hex_write((bytes){&flags, 1}, ret + TRACEPARENT_FLAGS);
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
