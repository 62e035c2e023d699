/* See when.h. Neither the process's time zone nor libc's tables take part (base/civil.h): pure, and
 * the same on every machine. */
#include "carbon/when.h"

#include "base/civil.h"

#include <ctype.h>

int when_weekday(int64_t s)
{
    int64_t day = civil_floor(s, WHEN_DAY_S);
    return (int)(((day + 3) % 7 + 7) % 7);
}

/* Exactly n digits at *at. */
static bool digits(str s, size_t *at, size_t n, unsigned max, unsigned *ret)
{
    unsigned v = 0;
    if (s.n - *at < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        unsigned c = (unsigned char)s.p[*at + i];
        if (!isdigit((int)c))
            return false;
        v = v * 10 + (c - '0');
    }
    *at += n;
    *ret = v;
    return v <= max;
}

static bool skip(str s, size_t *at, const char *any)
{
    if (*at >= s.n || !s.p[*at] || !strchr(any, s.p[*at]))
        return false;
    ++*at;
    return true;
}

static bool zone_parse(str s, size_t *at, int64_t *ret_s)
{
    unsigned h, m = 0;
    *ret_s = 0;
    if (*at == s.n || skip(s, at, "Zz"))
        return true;
    int64_t sign = s.p[*at] == '-' ? -1 : 1;
    if (!skip(s, at, "+-") || !digits(s, at, 2, 23, &h))
        return false;
    skip(s, at, ":");
    if (*at < s.n && !digits(s, at, 2, 59, &m))
        return false;
    *ret_s = sign * (int64_t)(h * 3600 + m * 60);
    return true;
}

static bool civil_parse(str s, int64_t *ret_s)
{
    unsigned y, mo, d, h = 0, mi = 0, sec = 0;
    size_t at = 0;
    int64_t zone = 0;
    if (!digits(s, &at, 4, 9999, &y) || y < 1970 || !skip(s, &at, "-") ||
        !digits(s, &at, 2, 12, &mo) || mo < 1 || !skip(s, &at, "-") ||
        !digits(s, &at, 2, civil_month_days(y, mo), &d) || d < 1)
        return false;
    if (at < s.n) {
        if (!skip(s, &at, "Tt ") || !digits(s, &at, 2, 23, &h) || !skip(s, &at, ":") ||
            !digits(s, &at, 2, 59, &mi))
            return false;
        if (skip(s, &at, ":")) {
            if (!digits(s, &at, 2, 60, &sec))
                return false;
            if (sec == 60)
                sec = 59;
            if (skip(s, &at, ".,")) {
                size_t from = at;
                while (at < s.n && isdigit((unsigned char)s.p[at]))
                    at++;
                if (at == from)
                    return false;
            }
        }
        if (!zone_parse(s, &at, &zone) || at != s.n)
            return false;
    }
    *ret_s = civil_days(y, mo, d) * WHEN_DAY_S + (int64_t)(h * 3600 + mi * 60 + sec) - zone;
    return true;
}

bool when_parse(str s, int64_t *ret_s, err *e)
{
    int64_t v;
    if (!civil_parse(s, &v))
        return err_set(e, ERR_INVALID, "'%.*s' is not a time; write it as 2024-05-01T13:00:00Z",
                       (int)(s.n < 64 ? s.n : 64), s.p);
    *ret_s = v;
    return true;
}

bool when_put(buf *b, int64_t s)
{
    int64_t days = civil_floor(s, WHEN_DAY_S), in_day = s - days * WHEN_DAY_S, y;
    unsigned m, d;
    civil_of_days(days, &y, &m, &d);
    return buf_printf(b, "%04d-%02u-%02uT%02d:%02d:%02dZ", (int)y, m, d, (int)(in_day / 3600),
                      (int)(in_day / 60 % 60), (int)(in_day % 60));
}
