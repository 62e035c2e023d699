/* CSV for source.h. The header decides by words, not by position, so that our own two-column
 * files, Electricity Maps' eleven-column yearly ones and the data sets of the literature all read
 * the same way. A field may be quoted; a doubled quote inside one is kept as it is, since no
 * number or time has any. */
#include "carbon/source.h"
#include "carbon/source_point.h"
#include "carbon/when.h"

#include <math.h>
#include <stdlib.h>

enum { CSV_COLUMNS_MAX = 32 };

bool point_add(point_list *l, intensity_point p, err *e)
{
    bool from_the_future = !p.forecast && l->now_s < INT64_MAX - SOURCE_SKEW_S_MAX &&
                           p.from_s > l->now_s + SOURCE_SKEW_S_MAX;
    if (!(p.g_per_kwh >= 0 && p.g_per_kwh <= INTENSITY_MAX) || from_the_future) {
        l->reading.rejected++;
        return true;
    }
    size_t n = l->reading.points_count;
    if (n == INTENSITY_POINTS_MAX)
        return err_set(e, ERR_LIMIT, "more than %u intensity points", INTENSITY_POINTS_MAX);
    if (n == l->room) {
        size_t room = l->room ? l->room * 2 : 64;
        intensity_point *q =
            arena_grow(l->arena, l->reading.points, n, room, sizeof *l->reading.points);
        if (!q)
            return err_no_memory(e);
        l->reading.points = q;
        l->room = room;
    }
    l->reading.points[l->reading.points_count++] = p;
    return true;
}

static size_t columns(str line, str *ret)
{
    size_t n = 0;
    while (n < CSV_COLUMNS_MAX) {
        str cell;
        if (line.n && line.p[0] == '"') {
            str rest = str_skip(line, 1);
            cell = str_cut(&rest, '"');
            str_cut(&rest, ',');
            line = rest;
        } else {
            cell = str_cut(&line, ',');
        }
        ret[n++] = str_trim(cell);
        if (!line.p)
            break;
    }
    return n;
}

static bool has(str s, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= s.n; i++)
        if (str_eq_nocase((str){s.p + i, n}, (str){word, n}))
            return true;
    return false;
}

typedef struct {
    size_t time, value, zone, estimated; /* SIZE_MAX: no such column */
} csv_columns;

static csv_columns header(const str *cell, size_t n, intensity_reading *r)
{
    csv_columns c = {SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX};
    int best = 0;
    for (size_t i = 0; i < n; i++) {
        if (c.time == SIZE_MAX &&
            (has(cell[i], "time") || has(cell[i], "date") || str_eq_nocase(cell[i], S("from"))))
            c.time = i;
        if (str_eq_nocase(cell[i], S("zone id")) || str_eq_nocase(cell[i], S("zone")))
            c.zone = i;
        if (str_eq_nocase(cell[i], S("data estimated")))
            c.estimated = i;
        int rank = !(has(cell[i], "intensity") || has(cell[i], "g_per_kwh") ||
                     has(cell[i], "gco2") || str_eq_nocase(cell[i], S("value")))
                       ? 0
                   : has(cell[i], "lca") || has(cell[i], "life") ? 2
                                                                 : 1;
        if (rank > best) {
            best = rank;
            c.value = i;
            r->basis = rank == 2                  ? INTENSITY_LIFECYCLE
                       : has(cell[i], "(direct)") ? INTENSITY_DIRECT
                                                  : INTENSITY_BASIS_UNKNOWN;
            r->kind = has(cell[i], "marginal") ? INTENSITY_MARGINAL : INTENSITY_AVERAGE;
        }
    }
    return c;
}

static double number(str s)
{
    char z[64], *end;
    if (!s.n || s.n >= sizeof z)
        return (double)NAN;
    memcpy(z, s.p, s.n);
    z[s.n] = 0;
    double v = strtod(z, &end);
    return *end ? (double)NAN : v;
}

static bool row(point_list *l, const csv_columns *c, const str *cell, size_t n, err *e)
{
    intensity_point p = {0};
    if (c->time >= n || c->value >= n || !when_parse(cell[c->time], &p.from_s, NULL)) {
        l->reading.rejected++;
        return true;
    }
    p.g_per_kwh = number(cell[c->value]);
    p.forecast = p.from_s > l->now_s;
    p.estimated = c->estimated < n && str_eq_nocase(cell[c->estimated], S("true"));
    if (c->zone < n && !l->reading.zone.n) {
        l->reading.zone = arena_str(l->arena, cell[c->zone]);
        if (!l->reading.zone.p)
            return err_no_memory(e);
    }
    return point_add(l, p, e);
}

bool source_csv(point_list *l, bytes text, err *e)
{
    str rest = {(const char *)text.p, text.n}, cell[CSV_COLUMNS_MAX];
    csv_columns c = {0, 1, SIZE_MAX, SIZE_MAX};
    if (str_starts(rest, S("\xef\xbb\xbf")))
        rest = str_skip(rest, 3);
    for (bool first = true; rest.n;) {
        str line = str_trim(str_cut(&rest, '\n'));
        if (!line.n || line.p[0] == '#')
            continue;
        size_t n = columns(line, cell);
        int64_t t;
        if (first && !when_parse(cell[0], &t, NULL)) {
            c = header(cell, n, &l->reading);
            if (c.time == SIZE_MAX || c.value == SIZE_MAX)
                return err_set(e, ERR_INVALID,
                               "CSV line 1 names no time or no intensity column; write "
                               "'time,g_per_kwh'");
        } else if (!row(l, &c, cell, n, e)) {
            return false;
        }
        first = false;
    }
    return true;
}
