/* See when.h. Civil dates from day numbers by the usual arithmetic of eras of 400 years (146,097
 * days), so that neither the process's time zone nor libc's tables take part: pure, and the same
 * on every machine. */
#include "carbon/when.h"

#include <ctype.h>

int64_t when_days(int64_t year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t in_era = year - era * 400;
    int64_t in_year = (153 * ((int64_t)month + (month > 2 ? -3 : 9)) + 2) / 5 + (int64_t)day - 1;
    return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719468;
}

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

int when_weekday(int64_t s)
{
    int64_t day = floor_div(s, WHEN_DAY_S);
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
    static const unsigned char days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    unsigned y, mo, d, h = 0, mi = 0, sec = 0;
    size_t at = 0;
    int64_t zone = 0;
    if (!digits(s, &at, 4, 9999, &y) || y < 1970 || !skip(s, &at, "-") ||
        !digits(s, &at, 2, 12, &mo) || mo < 1 || !skip(s, &at, "-") ||
        !digits(s, &at, 2, days[mo - 1], &d) || d < 1)
        return false;
    bool leap = y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    if (mo == 2 && d == 29 && !leap)
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
    *ret_s = when_days(y, mo, d) * WHEN_DAY_S + (int64_t)(h * 3600 + mi * 60 + sec) - zone;
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
    int64_t days = floor_div(s, WHEN_DAY_S), in_day = s - days * WHEN_DAY_S;
    int64_t z = days + 719468, era = floor_div(z, 146097), doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    int64_t d = doy - (153 * mp + 2) / 5 + 1, m = mp < 10 ? mp + 3 : mp - 9;
    int64_t y = yoe + era * 400 + (m <= 2);
    return buf_printf(b, "%04d-%02d-%02dT%02d:%02d:%02dZ", (int)y, (int)m, (int)d,
                      (int)(in_day / 3600), (int)(in_day / 60 % 60), (int)(in_day % 60));
}
