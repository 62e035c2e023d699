/* See cron.h. Days are walked one by one, minutes of a day by their bits: a year is 365 steps, and
 * the rarest schedule that ever fires (29 February on a given weekday) is found within 40 years. */
#include "app/cron.h"
#include "base/civil.h"

enum { DAYS_MAX = 41 * 366, MINUTES = 1440 };

typedef struct {
    const char *name;
    unsigned min, max;
    const char *words; /* three letters each; the first is `min` */
} field;

static const field fields[] = {
    {"minute", 0, 59, NULL},
    {"hour", 0, 23, NULL},
    {"day of the month", 1, 31, NULL},
    {"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"},
    {"day of the week", 0, 7, "sunmontuewedthufrisat"},
};

static bool fail(const field *f, str text, err *e)
{
    return err_set(e, ERR_INVALID,
                   "'%.*s' is no %s: write *, a number from %u to %u, a range 1-5, a step */2 or a "
                   "list of those with commas",
                   STR(str_head(text, 40)), f->name, f->min, f->max);
}

static bool number(const field *f, str s, unsigned *ret)
{
    uint64_t v;
    if (f->words && s.n == 3)
        for (unsigned i = 0; f->words[i * 3]; i++)
            if (str_eq_nocase(s, (str){f->words + (size_t)i * 3, 3})) {
                *ret = f->min + i;
                return true;
            }
    if (!str_to_u64(s, f->max, &v) || v < f->min)
        return false;
    *ret = (unsigned)v;
    return true;
}

/* One element of a list. */
static bool element(const field *f, str s, uint64_t *bits)
{
    str step_text = s, range = str_cut(&step_text, '/');
    unsigned from = f->min, to = f->max == 7 ? 6 : f->max, step = 1;
    uint64_t v;
    if (step_text.p) {
        if (!str_to_u64(step_text, f->max, &v) || !v)
            return false;
        step = (unsigned)v;
    }
    if (!str_eq(range, S("*"))) {
        str last = range, head = str_cut(&last, '-');
        if (!number(f, head, &from))
            return false;
        if (last.p && !number(f, last, &to))
            return false;
        if (!last.p && !step_text.p)
            to = from;
        if (to < from)
            return false;
    }
    for (unsigned i = from; i <= to; i += step)
        *bits |= UINT64_C(1) << i;
    return true;
}

static bool field_read(const field *f, str s, uint64_t *ret, err *e)
{
    str whole = s;
    *ret = 0;
    if (!s.n)
        return fail(f, whole, e);
    while (s.p) {
        str one = str_cut(&s, ',');
        if (!element(f, one, ret))
            return fail(f, whole, e);
    }
    return true;
}

static str macro(str text)
{
    static const struct {
        str name, means;
    } all[] = {
        {{"@hourly", 7}, {"0 * * * *", 9}}, {{"@daily", 6}, {"0 0 * * *", 9}},
        {{"@weekly", 7}, {"0 0 * * 0", 9}}, {{"@monthly", 8}, {"0 0 1 * *", 9}},
        {{"@yearly", 7}, {"0 0 1 1 *", 9}},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (str_eq(text, all[i].name))
            return all[i].means;
    return text;
}

bool cron_parse(str text, cron *ret, err *e)
{
    str part[5], rest = macro(str_trim(text));
    uint64_t bits[5];
    size_t n = 0;
    for (; rest.n && n < 5; n++) {
        part[n] = str_cut(&rest, ' ');
        rest = str_trim(rest);
    }
    if (n < 5 || rest.n)
        return err_set(e, ERR_INVALID,
                       "'%.*s' is no schedule: it has five fields (minute hour day month weekday, "
                       "\"30 2 * * *\" is 2:30 each day), or is @hourly, @daily, @weekly, @monthly "
                       "or @yearly",
                       STR(str_head(text, 60)));
    for (size_t i = 0; i < 5; i++)
        if (!field_read(&fields[i], part[i], &bits[i], e))
            return false;
    *ret = (cron){.minutes = bits[0],
                  .hours = (uint32_t)bits[1],
                  .days = (uint32_t)bits[2],
                  .months = (uint32_t)bits[3],
                  .weekdays = (uint8_t)((bits[4] & 127) | (bits[4] >> 7 & 1)),
                  .any_day = part[2].p[0] == '*',
                  .any_weekday = part[4].p[0] == '*',
                  .every_hour = str_eq(part[1], S("*"))};
    return true;
}

static bool day_fits(const cron *c, int64_t days)
{
    int64_t year;
    unsigned month, day, weekday = (unsigned)(((days + 4) % 7 + 7) % 7);
    civil_of_days(days, &year, &month, &day);
    if (!(c->months >> month & 1))
        return false;
    bool by_day = c->days >> day & 1, by_weekday = c->weekdays >> weekday & 1;
    return c->any_day || c->any_weekday ? by_day && by_weekday : by_day || by_weekday;
}

/* The first minute of the day from `minute` on; MINUTES: none. */
static unsigned minute_next(const cron *c, unsigned minute)
{
    for (unsigned h = minute / 60, m = minute % 60; h < 24; h++, m = 0) {
        uint64_t rest = c->minutes >> m;
        if ((c->hours >> h & 1) && rest)
            return h * 60 + m + (unsigned)__builtin_ctzll(rest);
    }
    return MINUTES;
}

/* The first firing local time after local_s. */
static int64_t local_next(const cron *c, int64_t local_s)
{
    int64_t day = civil_floor(local_s, CIVIL_DAY_S);
    unsigned from = (unsigned)((local_s - day * CIVIL_DAY_S) / 60) + 1;
    for (int i = 0; i < DAYS_MAX; i++, day++, from = 0) {
        unsigned minute = day_fits(c, day) ? minute_next(c, from) : MINUTES;
        if (minute < MINUTES)
            return day * CIVIL_DAY_S + (int64_t)minute * 60;
    }
    return INT64_MAX;
}

/* By real time: segments of one offset, one after the other. */
static int64_t every_hour_next(const cron *c, const zone *z, int64_t after_s)
{
    int64_t from = after_s, until;
    for (int i = 0; i < 4 * 41; i++, from = until - 1) {
        /* What held at after_s; of later segments, from their first second on. */
        int32_t offset = zone_offset(z, i ? from + 1 : from, &until);
        int64_t local = local_next(c, from + offset);
        if (local == INT64_MAX)
            return local;
        if (local - offset < until)
            return local - offset;
    }
    return INT64_MAX;
}

int64_t cron_next(const cron *c, const zone *z, int64_t after_s)
{
    int64_t until;
    if (c->every_hour)
        return every_hour_next(c, z, after_s);
    int64_t local = after_s + zone_offset(z, after_s, &until);
    for (int i = 0; i < 4 * MINUTES; i++) {
        local = local_next(c, local);
        if (local == INT64_MAX)
            return local;
        int64_t at = zone_from_local(z, local);
        if (at > after_s)
            return at; /* else it is the second time that clocks show it */
    }
    return INT64_MAX;
}
