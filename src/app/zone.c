/* See zone.h. The second, 64-bit block of a TZif file is read where there is one. Leap seconds are
 * not: the system's clock does not count them. */
#include "app/zone.h"
#include "base/civil.h"

#define TIME_MAX (INT64_C(1) << 60) /* the Big Bang, by which some files begin, is -2^59 */

typedef struct {
    const uint8_t *p;
    size_t n;
    bool failed;
} cursor;

static uint64_t take(cursor *c, size_t n)
{
    uint64_t v = 0;
    if (c->n < n) {
        c->failed = true;
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        v = v << 8 | c->p[i];
    c->p += n;
    c->n -= n;
    return v;
}

static bytes take_bytes(cursor *c, uint64_t n)
{
    bytes b = {c->p, (size_t)n};
    if (c->n < n) {
        c->failed = true;
        return (bytes){0};
    }
    c->p += n;
    c->n -= (size_t)n;
    return b;
}

typedef struct {
    uint8_t version;
    uint32_t isut, isstd, leap, times, types, chars;
} tzif_head;

static bool head_take(cursor *c, tzif_head *h)
{
    bytes magic = take_bytes(c, 4);
    if (c->failed || memcmp(magic.p, "TZif", 4))
        return false;
    h->version = (uint8_t)take(c, 1);
    take_bytes(c, 15);
    h->isut = (uint32_t)take(c, 4);
    h->isstd = (uint32_t)take(c, 4);
    h->leap = (uint32_t)take(c, 4);
    h->times = (uint32_t)take(c, 4);
    h->types = (uint32_t)take(c, 4);
    h->chars = (uint32_t)take(c, 4);
    return !c->failed && h->types > 0 && h->types <= 256 && h->times <= ZONE_BYTES_MAX;
}

static void block_skip(cursor *c, const tzif_head *h, size_t width)
{
    uint64_t n = (uint64_t)h->times * (width + 1) + (uint64_t)h->types * 6 + h->chars +
                 (uint64_t)h->leap * (width + 4) + h->isstd + h->isut;
    take_bytes(c, n);
}

/* --- the footer: "CET-1CEST,M3.5.0,M10.5.0/3" (POSIX 8.3, RFC 9636 3.3.1) -------------------
 */

static char first(str s) { return s.n ? s.p[0] : 0; }

static bool number_take(str *s, int32_t max, int32_t *ret)
{
    int32_t v = 0;
    size_t i = 0;
    for (; i < s->n && i < 4 && s->p[i] >= '0' && s->p[i] <= '9'; i++)
        v = v * 10 + (s->p[i] - '0');
    *s = str_skip(*s, i);
    *ret = v;
    return i > 0 && v <= max;
}

/* [+-]hh[:mm[:ss]] */
static bool time_take(str *s, int32_t hours_max, int32_t *ret)
{
    int32_t part[3] = {0}, sign = first(*s) == '-' ? -1 : 1;
    if (first(*s) == '-' || first(*s) == '+')
        *s = str_skip(*s, 1);
    for (int i = 0; i < 3; i++) {
        if (!number_take(s, i ? 59 : hours_max, &part[i]))
            return false;
        if (first(*s) != ':')
            break;
        *s = str_skip(*s, 1);
    }
    *ret = sign * (part[0] * 3600 + part[1] * 60 + part[2]);
    return true;
}

static bool name_take(str *s)
{
    size_t i = 0;
    if (first(*s) == '<') {
        i = str_find(*s, '>');
        if (i == s->n)
            return false;
        *s = str_skip(*s, i + 1);
        return true;
    }
    while (i < s->n && ((s->p[i] | 0x20) >= 'a' && (s->p[i] | 0x20) <= 'z'))
        i++;
    *s = str_skip(*s, i);
    return i >= 3;
}

static bool change_take(str *s, zone_change *c)
{
    *c = (zone_change){.kind = 'N', .time_s = 2 * 3600};
    if (first(*s) != ',')
        return false;
    *s = str_skip(*s, 1);
    if (first(*s) == 'M') {
        *s = str_skip(*s, 1);
        c->kind = 'M';
        if (!number_take(s, 12, &c->month) || !c->month || first(*s) != '.')
            return false;
        *s = str_skip(*s, 1);
        if (!number_take(s, 5, &c->week) || !c->week || first(*s) != '.')
            return false;
        *s = str_skip(*s, 1);
        if (!number_take(s, 6, &c->day))
            return false;
    } else {
        if (first(*s) == 'J') {
            *s = str_skip(*s, 1);
            c->kind = 'J';
        }
        if (!number_take(s, 365, &c->day) || (c->kind == 'J' && !c->day))
            return false;
    }
    if (first(*s) != '/')
        return true;
    *s = str_skip(*s, 1);
    return time_take(s, 167, &c->time_s);
}

static bool rule_parse(str s, zone_rule *ret)
{
    zone_rule r = {.known = true};
    int32_t west;
    if (!name_take(&s) || !time_take(&s, 24, &west))
        return false;
    r.std_s = -west;
    if (s.n) {
        r.has_dst = true;
        r.dst_s = r.std_s + 3600;
        if (!name_take(&s))
            return false;
        if (first(s) != ',') {
            if (!time_take(&s, 24, &west))
                return false;
            r.dst_s = -west;
        }
        if (!change_take(&s, &r.begins) || !change_take(&s, &r.ends))
            return false;
    }
    *ret = r;
    return s.n == 0;
}

/* The local midnight of its day in this year, plus its time: local seconds. */
static int64_t change_local(const zone_change *c, int64_t year)
{
    int64_t day = civil_days(year, 1, 1);
    if (c->kind == 'M') {
        int64_t start = civil_days(year, (unsigned)c->month, 1);
        int64_t weekday = ((start + 4) % 7 + 7) % 7; /* 1970-01-01 was a Thursday; 0 is Sunday */
        day = start + (c->day - weekday + 7) % 7 + (int64_t)(c->week - 1) * 7;
        while (day >= start + civil_month_days(year, (unsigned)c->month))
            day -= 7;
    } else if (c->kind == 'J') {
        day += c->day - 1 + (civil_is_leap(year) && c->day >= 60);
    } else {
        day += c->day;
    }
    return day * CIVIL_DAY_S + c->time_s;
}

static int32_t rule_offset(const zone_rule *r, int64_t at_s, int64_t *ret_until_s)
{
    int32_t offset = r->std_s;
    int64_t since = INT64_MIN, year;
    unsigned month, day;
    *ret_until_s = INT64_MAX;
    if (!r->has_dst)
        return offset;
    civil_of_days(civil_floor(at_s + r->std_s, CIVIL_DAY_S), &year, &month, &day);
    for (int64_t y = year - 1; y <= year + 1; y++)
        for (int ends = 0; ends < 2; ends++) {
            int64_t t = ends ? change_local(&r->ends, y) - r->dst_s
                             : change_local(&r->begins, y) - r->std_s;
            /* Of two at the same moment (daylight saving for ever) the beginning holds. */
            if (t <= at_s && (t > since || (t == since && !ends))) {
                since = t;
                offset = ends ? r->std_s : r->dst_s;
            } else if (t > at_s && t < *ret_until_s) {
                *ret_until_s = t;
            }
        }
    return offset;
}

/* --- the file ----------------------------------------------------------------------------------
 */

static bool block_take(cursor *c, const tzif_head *h, size_t width, arena *a, zone *z, err *e)
{
    int64_t *at = ARENA_ARRAY(a, int64_t, h->times + 1);
    int32_t *offset = ARENA_ARRAY(a, int32_t, h->times + 1);
    int32_t types[256];
    int64_t before = INT64_MIN;
    if (!at || !offset)
        return err_no_memory(e);
    for (uint32_t i = 0; i < h->times; i++) {
        uint64_t v = take(c, width);
        at[i] = width == 8 ? (int64_t)v : (int64_t)(int32_t)(uint32_t)v;
        if (!c->failed && ((i && at[i] <= before) || at[i] < -TIME_MAX || at[i] > TIME_MAX))
            return err_set(e, ERR_INVALID, "its transitions are not in order, or beyond all time");
        before = at[i];
    }
    bytes index = take_bytes(c, h->times);
    for (uint32_t i = 0; i < h->types; i++) {
        types[i] = (int32_t)(uint32_t)take(c, 4);
        take_bytes(c, 2);
        if (types[i] < -ZONE_OFFSET_MAX || types[i] > ZONE_OFFSET_MAX)
            return err_set(e, ERR_INVALID, "an offset of more than %d hours",
                           ZONE_OFFSET_MAX / 3600);
    }
    for (uint32_t i = 0; !c->failed && i < h->times; i++) {
        if (index.p[i] >= h->types)
            return err_set(e, ERR_INVALID, "a transition to no type");
        offset[i] = types[index.p[i]];
    }
    if (c->failed)
        return err_set(e, ERR_INVALID, "it ends too early");
    z->at_s = at;
    z->offset_s = offset;
    z->n = h->times;
    z->first_s = types[0];
    take_bytes(c, (uint64_t)h->chars + (uint64_t)h->leap * (width + 4) + h->isstd + h->isut);
    return true;
}

bool zone_parse(arena *a, bytes tzif, zone *ret, err *e)
{
    cursor c = {tzif.p, tzif.n, false};
    tzif_head h;
    zone z = {0};
    if (tzif.n > ZONE_BYTES_MAX)
        return err_set(e, ERR_LIMIT, "longer than %d bytes", ZONE_BYTES_MAX);
    if (!head_take(&c, &h))
        return err_set(e, ERR_INVALID, "it is no TZif file");
    if (h.version < '2') {
        if (!block_take(&c, &h, 4, a, &z, e))
            return false;
        *ret = z;
        return true;
    }
    block_skip(&c, &h, 4);
    if (!head_take(&c, &h))
        return err_set(e, ERR_INVALID, "its second part is damaged");
    if (!block_take(&c, &h, 8, a, &z, e))
        return false;
    str footer = {(const char *)c.p, c.n};
    if (footer.n >= 2 && footer.p[0] == '\n') {
        footer = str_skip(footer, 1);
        footer = str_head(footer, str_find(footer, '\n'));
        if (footer.n && !rule_parse(footer, &z.rule))
            return err_set(e, ERR_INVALID, "its rule '%.*s' can't be read",
                           STR(str_head(footer, 80)));
    }
    *ret = z;
    return true;
}

zone zone_utc(void) { return (zone){0}; }

bool zone_name_is(str s)
{
    bool start = true;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool alnum = ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c >= '0' && c <= '9');
        if (c == '/' ? start : !alnum && (start || (c != '_' && c != '-' && c != '+')))
            return false;
        start = c == '/';
    }
    return s.n > 0 && s.n <= 64 && !start;
}

int32_t zone_offset(const zone *z, int64_t at_s, int64_t *ret_until_s)
{
    size_t lo = 0, hi = z->n; /* the first transition after at_s */
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (z->at_s[mid] <= at_s)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == z->n && z->rule.known)
        return rule_offset(&z->rule, at_s, ret_until_s);
    *ret_until_s = lo < z->n ? z->at_s[lo] : INT64_MAX;
    return lo ? z->offset_s[lo - 1] : z->first_s;
}

int64_t zone_from_local(const zone *z, int64_t local_s)
{
    int64_t from = local_s - 2 * (int64_t)ZONE_OFFSET_MAX, until;
    for (;; from = until) {
        int64_t at = local_s - zone_offset(z, from, &until);
        if (at < from)
            return from;
        if (at < until)
            return at;
    }
}
