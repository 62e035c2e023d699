/* What the keeper answers on its admin socket. Everything is read from the usage records at the
 * moment of the question, after every worker has told what it holds; nothing is kept ready.
 *
 *   GET /v1/carbon/report?from=T&to=T&format=F   json, prometheus, manifest or html; today by
 *                                     default
 *   GET /v1/carbon/now, /v1/carbon/forecast?hours=N
 *   GET /v1/carbon/tenant?apps=A,B&from=T&to=T   what the tenant of these apps may see; today by
 *                                     default
 *   GET /v1/now, /v1/day, /v1/outlook   what the dashboard shows (keeper_view.h); /v1/now?follow=1:
 *                                     again at the end of each 10-second window (keeper_pages.c)
 *   GET /v1/usage?from=T&to=T         CSV, as `ebb carbon report --use` reads it
 *   GET /v1/usage/check?from=T&to=T   JSON: booked and accounted CPU by process and window
 *   GET /metrics                      Prometheus
 *
 * T is RFC 3339. Whoever may open the socket may ask: it belongs to the operator. */
#include "platform/keeper_question.h"

#include "base/hex.h"
#include "base/limits.h"
#include "base/log.h"
#include "carbon/outlook.h"
#include "carbon/tenant.h"
#include "carbon/when.h"
#include "platform/artifact.h"
#include "platform/keeper_view.h"

#include <math.h>
#include <stdlib.h>

enum { HISTORY_DAYS = 400, FORECAST_AHEAD_DAYS = 3 };
/* An answer is computed on the loop, hour by hour. */
enum { SPAN_DAYS_MAX = 3660 };
/* Times of files come in ticks, of up to 2 s (FAT): after that a change shows another time. */
enum { FILE_SETTLED_S = 3 };

/* --- parameters ------------------------------------------------------------------------------- */

/* The value of `name` in a query, percent-decoded. */
static str parameter(arena *a, str target, const char *name)
{
    str query = str_skip(target, str_find(target, '?') + 1);
    while (query.n) {
        str pair = str_cut(&query, '&');
        str value = str_skip(pair, str_find(pair, '=') + 1);
        if (!str_eq(str_head(pair, str_find(pair, '=')), str_from(name)))
            continue;
        char *out = arena_alloc(a, value.n + 1);
        size_t n = 0;
        if (out)
            percent_decode(value, out, &n);
        return (str){out, n};
    }
    return (str){0};
}

/* From midnight, or from when this node began to keep records, to now. */
static void day_so_far(keeper *k, int64_t *ret_from, int64_t *ret_to)
{
    int64_t now = keeper_now_s(), midnight = now - now % WHEN_DAY_S;
    int64_t oldest = usage_file_oldest(k->file);
    *ret_from = oldest > midnight && oldest < now ? oldest : midnight;
    *ret_to = now + 1;
}

static bool span_read(question *q, str target, int64_t *ret_from, int64_t *ret_to, err *e)
{
    str from = parameter(&q->a, target, "from"), to = parameter(&q->a, target, "to");
    day_so_far(q->k, ret_from, ret_to);
    if ((from.n && !when_parse(from, ret_from, e)) || (to.n && !when_parse(to, ret_to, e)))
        return false;
    return *ret_to - *ret_from <= (int64_t)SPAN_DAYS_MAX * WHEN_DAY_S ||
           err_set(e, ERR_LIMIT, "more than %d days: ask for a shorter span", SPAN_DAYS_MAX);
}

/* --- the grid --------------------------------------------------------------------------------- */

static bool file_is_as_it_was(const grid_file *f, const struct stat *is)
{
    const struct stat *was = &f->was;
    return f->known && was->st_dev == is->st_dev && was->st_ino == is->st_ino &&
           was->st_size == is->st_size && was->st_ctim.tv_sec == is->st_ctim.tv_sec &&
           was->st_ctim.tv_nsec == is->st_ctim.tv_nsec;
}

static bool reading_copy(const intensity_reading *r, arena *a, intensity_reading *ret)
{
    intensity_reading copy = *r;
    copy.points = ARENA_ARRAY(a, intensity_point, r->points_count + 1);
    copy.zone = arena_str(a, r->zone);
    if (!copy.points || !copy.zone.p)
        return false;
    memcpy(copy.points, r->points, r->points_count * sizeof *r->points);
    *ret = copy;
    return true;
}

/* An answer looks at the file up to four times, and the file changes seldom: it is parsed when it
 * has changed, or may have since. What is given is a copy, because the next look may find another
 * file. */
static bool grid_file_read(keeper *k, arena *a, intensity_reading *ret, err *e)
{
    _cleanup_(arena_fini) arena scratch;
    grid_file *f = &k->grid_file;
    struct stat is;
    bytes text;
    source_format format;
    intensity_reading r = {0};
    arena_init(&scratch, 1 * GIB);
    const char *path = arena_cstr(&scratch, k->config.grid.file);
    if (!path)
        return err_no_memory(e);
    bool is_there = stat(path, &is) == 0; /* before it is read: a change after this shows */
    if (is_there && file_is_as_it_was(f, &is))
        return reading_copy(&f->reading, a, ret) || err_no_memory(e);
    if (!file_load(&scratch, path, SOURCE_BYTES_MAX, &text, e) || !source_guess(text, &format, e) ||
        !source_parse(format, text, INT64_MAX, &scratch, &r, e))
        return false;
    arena_fini(&f->a);
    arena_init(&f->a, 256 * MIB);
    f->known = is_there && keeper_now_s() - is.st_ctim.tv_sec > FILE_SETTLED_S &&
               reading_copy(&r, &f->a, &f->reading);
    if (f->known)
        f->was = is;
    return reading_copy(&r, a, ret) || err_no_memory(e);
}

/* What is known of [from_s, to_s), by steps: from the file of the settings, or from the records. */
static bool grid_view_by(keeper *k, arena *a, int64_t from_s, int64_t to_s, int32_t step_s,
                         bool forecasts, grid_view *ret, err *e)
{
    const grid_config *g = &k->config.grid;
    grid_view v = {.series.step_s = step_s, .source = g->provider.n ? g->provider : S("none")};
    if (str_eq(g->provider, S("file"))) {
        if (!grid_file_read(k, a, &v.reading, e))
            return err_wrap(e, "carbon intensity from %.*s", STR(g->file));
    } else if (!usage_file_points(k->file, a, from_s, to_s, forecasts, &v.reading, e)) {
        return false;
    } else if (k->grid) {
        v.reading.kind = keeper_grid_kind(k->grid);
        v.reading.basis = keeper_grid_basis(k->grid);
    }
    if (v.reading.points_count &&
        !intensity_series_from(&v.reading, step_s, forecasts, a, &v.series, e))
        return false;
    v.zone = g->zone.n ? g->zone : v.reading.zone;
    *ret = v;
    return true;
}

bool grid_view_make(keeper *k, arena *a, int64_t from_s, int64_t to_s, bool forecasts,
                    grid_view *ret, err *e)
{
    return grid_view_by(k, a, from_s, to_s, WHEN_HOUR_S, forecasts, ret, e);
}

bool keeper_intensity(keeper *k, arena *a, int64_t from_s, int64_t to_s, int32_t step_s,
                      bool forecasts, intensity_series *ret, err *e)
{
    grid_view v;
    if (!grid_view_by(k, a, from_s, to_s, step_s, forecasts, &v, e))
        return false;
    *ret = v.series;
    return true;
}

bool grid_now(keeper *k, arena *a, grid_moment *ret, err *e)
{
    grid_view g;
    grid_moment now = {.t_s = keeper_now_s()};
    if (!grid_view_make(k, a, now.t_s - 8 * WHEN_DAY_S, now.t_s + WHEN_DAY_S, true, &g, e))
        return false;
    now.g_per_kwh = intensity_or(&g.series, now.t_s, k->config.grid.yearly_g_per_kwh, &now.quality);
    now.kind = g.reading.kind;
    now.basis = g.reading.basis;
    *ret = now;
    return true;
}

static bool carbon_now(question *q, str target, err *e)
{
    grid_moment now;
    return grid_now(q->k, &q->a, &now, e) &&
           intensity_now_json(now.t_s, now.g_per_kwh, now.quality, now.kind, now.basis, &q->body);
}

bool outlook_of(keeper *k, arena *a, size_t hours, outlook *ret, err *e)
{
    grid_view history, published;
    int64_t now = keeper_now_s(), hour = now - now % WHEN_HOUR_S;
    if (!grid_view_make(k, a, hour - (int64_t)HISTORY_DAYS * WHEN_DAY_S, hour, false, &history,
                        e) ||
        !grid_view_make(k, a, hour, hour + FORECAST_AHEAD_DAYS * WHEN_DAY_S, true, &published, e))
        return false;
    int64_t known = (hour - history.series.start_s) / WHEN_HOUR_S;
    size_t n = known < 0 ? 0 : (size_t)known < history.series.n ? (size_t)known : history.series.n;
    return outlook_make(&history.series, n, published.series.n ? &published.series : NULL, hours, a,
                        ret, e);
}

static bool carbon_forecast(question *q, str target, err *e)
{
    outlook o;
    uint64_t hours = FORECAST_HOURS;
    str asked = parameter(&q->a, target, "hours");
    if (asked.n && (!str_to_u64(asked, FORECAST_HOURS_MAX, &hours) || !hours))
        return err_set(e, ERR_INVALID, "hours: a number from 1 to %d", FORECAST_HOURS_MAX);
    return outlook_of(q->k, &q->a, (size_t)hours, &o, e) && outlook_json(&o, &q->body);
}

/* --- what was used ---------------------------------------------------------------------------- */

/* What apps used elsewhere, by what its operator declares of a call. */
static bool remotes_add(keeper *k, arena *a, carbon_report *r, err *e)
{
    const grid_config *g = &k->config.grid;
    report_remote *all = ARENA_ARRAY(a, report_remote, g->remotes_count + 1);
    if (!all)
        return err_no_memory(e);
    for (size_t i = 0; i < g->remotes_count; i++) {
        const grid_remote *b = &g->remotes[i];
        all[i] = (report_remote){.app = b->app,
                                 .name = b->name,
                                 .zone = b->zone,
                                 .unit = b->unit,
                                 .j_per_unit = b->j_per_unit,
                                 .intensity_g_per_kwh = b->g_per_kwh,
                                 .heat_reused_share = b->heat_reused_share};
        for (size_t row = 0; row < r->rows_count; row++)
            if (str_eq(r->rows[row].app, b->app))
                all[i].units = b->units_per_call * (double)r->rows[row].sum.used.calls;
    }
    r->remotes = all;
    r->remotes_count = g->remotes_count;
    return true;
}

double node_cpus(const keeper *k)
{
    return k->config.grid.cpus > 0 ? k->config.grid.cpus : k->config.grid.threads;
}

/* Puts to records of [from_s, to_s) what prices them, and says what a report says of the node. */
static bool records_price(keeper *k, arena *a, int64_t from_s, int64_t to_s, bill_records *records,
                          carbon_report *ret_node, err *e)
{
    const grid_config *g = &k->config.grid;
    grid_view *grid = ARENA_NEW(a, grid_view);
    if (!grid)
        return err_no_memory(e);
    if (!grid_view_make(k, a, from_s - 8 * WHEN_DAY_S, to_s, false, grid, e))
        return false;
    records->intensity = &grid->series;
    records->yearly_g_per_kwh = g->yearly_g_per_kwh;
    *ret_node = (carbon_report){.from_s = from_s,
                                .to_s = to_s,
                                .node = k->config.node,
                                .zone = grid->zone,
                                .source = grid->source,
                                .kind = grid->reading.kind,
                                .basis = grid->reading.basis,
                                .power = k->power,
                                .server_kg = g->server_kg,
                                .life_s = g->life_years * 365 * WHEN_DAY_S,
                                .capacity_cpus = node_cpus(k)};
    return true;
}

bool report_make(keeper *k, arena *a, int64_t from_s, int64_t to_s, bill_records *records,
                 carbon_report *ret, err *e)
{
    return records_price(k, a, from_s, to_s, records, ret, e) && bill_make(a, records, ret, e) &&
           remotes_add(k, a, ret, e);
}

static bool report_of(question *q, int64_t from_s, int64_t to_s, carbon_report *ret, err *e)
{
    bill_records records = {0};
    return usage_file_records(q->k->file, &q->a, from_s, to_s, &records, e) &&
           report_make(q->k, &q->a, from_s, to_s, &records, ret, e);
}

/* What the tenant calls it; p NULL: it is not his. */
static str shown_as(arena *a, str recorded, const keeper_app *apps, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        str name = apps[i].recorded;
        bool all = name.n && name.p[name.n - 1] == '/';
        if (str_eq(recorded, name))
            return apps[i].shown;
        if (all && str_starts(recorded, name))
            return arena_printf(a, "%.*s/%.*s", STR(apps[i].shown),
                                STR(str_skip(recorded, name.n)));
    }
    return (str){0};
}

static bool tenant_put(question *q, const keeper_app *apps, size_t n, int64_t from_s, int64_t to_s,
                       err *e)
{
    bill_records records = {0};
    carbon_report node;
    int64_t now = keeper_now_s(); /* what is not over would look different when it is */
    to_s = to_s < now ? to_s : now;
    int64_t begin_s = from_s - from_s % WHEN_DAY_S;
    if (!usage_file_records(q->k->file, &q->a, begin_s, to_s, &records, e) ||
        !records_price(q->k, &q->a, begin_s, to_s, &records, &node, e))
        return false;
    str *shown = ARENA_ARRAY(&q->a, str, records.apps_count + 1);
    if (!shown)
        return err_no_memory(e);
    for (size_t i = 0; i < records.apps_count; i++)
        shown[i] = shown_as(&q->a, records.apps[i], apps, n);
    return tenant_json(&q->a, &records, shown, &node, from_s, to_s, &q->body, e);
}

static bool carbon_tenant(question *q, str target, err *e)
{
    int64_t from, to;
    str list = parameter(&q->a, target, "apps");
    keeper_app *apps = q->apps;
    size_t n = q->apps_count;
    if (!apps && !list.n)
        return err_set(e, ERR_INVALID, "apps: the names of the tenant's apps, with commas");
    if (!span_read(q, target, &from, &to, e))
        return false;
    for (; !q->apps && list.n; n++) {
        apps = arena_grow(&q->a, apps, n, n + 1, sizeof *apps);
        if (!apps)
            return err_no_memory(e);
        apps[n].recorded = apps[n].shown = str_cut(&list, ',');
    }
    if (!parameter(&q->a, target, "from").n)
        from -= from % WHEN_DAY_S;
    return tenant_put(q, apps, n, from, to, e);
}

static bool carbon_report_put(question *q, str target, err *e)
{
    carbon_report r;
    int64_t from, to;
    str format = parameter(&q->a, target, "format");
    return span_read(q, target, &from, &to, e) && report_of(q, from, to, &r, e) &&
           report_as(format.n ? format : S("json"), &r, &q->body, e);
}

static int by_cpu(const void *a, const void *b)
{
    uint64_t x = ((const report_row *)a)->sum.used.cpu_ns,
             y = ((const report_row *)b)->sum.used.cpu_ns;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* However many apps there are, a scrape has METRICS_APPS_MAX of them: those that used most, and one
 * row that sums the others. */
static bool rows_bound(arena *a, carbon_report *r, err *e)
{
    size_t n = r->rows_count;
    if (n <= METRICS_APPS_MAX)
        return true;
    report_row *rows = ARENA_ARRAY(a, report_row, n);
    if (!rows)
        return err_no_memory(e);
    memcpy(rows, r->rows, n * sizeof *rows);
    qsort(rows, n, sizeof *rows, by_cpu);
    report_row *others = &rows[METRICS_APPS_MAX - 1];
    others->app = S("(others)");
    for (size_t i = METRICS_APPS_MAX; i < n; i++)
        ledger_row_add(&others->sum, &rows[i].sum);
    r->rows = rows;
    r->rows_count = METRICS_APPS_MAX;
    return true;
}

static bool metrics_put(question *q, str target, err *e)
{
    carbon_report r;
    int64_t from, to;
    day_so_far(q->k, &from, &to);
    return report_of(q, from, to, &r, e) && rows_bound(&q->a, &r, e) &&
           report_prometheus(&r, &q->body);
}

static bool usage_put(question *q, str target, err *e)
{
    int64_t from, to;
    bill_records r = {0};
    if (!span_read(q, target, &from, &to, e) ||
        !usage_file_records(q->k->file, &q->a, from, to, &r, e))
        return false;
    buf_put_str(&q->body, S("time,app,calls,cpu_s,wall_s,bytes_in,bytes_out,memory_bytes\n"));
    for (size_t i = 0; i < r.uses_count; i++) {
        const bill_use *u = &r.uses[i];
        str app = u->row == LEDGER_PLATFORM ? USAGE_PLATFORM
                  : u->row == LEDGER_OTHER  ? USAGE_OTHER
                                            : r.apps[u->row - LEDGER_APPS];
        when_put(&q->body, u->t_s);
        buf_printf(&q->body, ",%.*s,%llu,%.9f,%.9f,%llu,%llu,%llu\n", STR(app),
                   (unsigned long long)u->u.calls, (double)u->u.cpu_ns / 1e9,
                   (double)u->u.wall_ns / 1e9, (unsigned long long)u->u.bytes_in,
                   (unsigned long long)u->u.bytes_out, (unsigned long long)u->u.memory_peak_bytes);
    }
    return true;
}

static bool check_put(question *q, str target, err *e)
{
    int64_t from, to;
    usage_check *all;
    size_t n;
    if (!span_read(q, target, &from, &to, e) ||
        !usage_file_checks(q->k->file, &q->a, from, to, &all, &n, e))
        return false;
    buf_put_str(&q->body, S("["));
    for (size_t i = 0; i < n; i++) {
        double off;
        bool agrees = meter_agrees(all[i].booked_ns, all[i].kernel_ns, 0.01, &off);
        buf_put_str(&q->body, i ? S(",\n{\"window\":\"") : S("{\"window\":\""));
        when_put(&q->body, all[i].window_s);
        buf_put_str(&q->body, S("\",\"process\":\""));
        put_json_text(&q->body, all[i].process);
        buf_printf(&q->body, "\",\"booked_ns\":%llu,\"kernel_ns\":%llu,\"agrees\":%s}",
                   (unsigned long long)all[i].booked_ns, (unsigned long long)all[i].kernel_ns,
                   agrees ? "true" : "false");
    }
    return buf_put_str(&q->body, S("]\n"));
}

static bool health_put(question *q, str target, err *e) { return buf_put_str(&q->body, S("OK\n")); }

static view view_of(question *q)
{
    return (view){.k = q->k,
                  .a = &q->a,
                  .is_tenant = q->apps != NULL,
                  .mine = q->apps,
                  .mine_n = q->apps_count,
                  .out = &q->body};
}

static bool now_put(question *q, str target, err *e)
{
    view v = view_of(q);
    return view_now(&v, e);
}

static bool day_put(question *q, str target, err *e)
{
    view v = view_of(q);
    return view_day(&v, e);
}

static bool outlook_put(question *q, str target, err *e)
{
    view v = view_of(q);
    return view_outlook(&v, e);
}

static str report_type(str target, arena *a)
{
    str format = parameter(a, target, "format");
    return str_eq(format, S("html"))         ? S("text/html; charset=utf-8")
           : str_eq(format, S("prometheus")) ? S("text/plain; version=0.0.4")
           : str_eq(format, S("manifest"))   ? S("application/yaml")
                                             : S("application/json");
}

static const struct {
    const char *path;
    bool (*put)(question *q, str target, err *e);
    const char *type; /* NULL: by the format that is asked for */
} routes[] = {
    {"/healthz", health_put, "text/plain"},
    {"/metrics", metrics_put, "text/plain; version=0.0.4"},
    {"/v1/carbon/now", carbon_now, "application/json"},
    {"/v1/carbon/forecast", carbon_forecast, "application/json"},
    {"/v1/carbon/report", carbon_report_put, NULL},
    {"/v1/carbon/tenant", carbon_tenant, "application/json"},
    {"/v1/now", now_put, "application/json"},
    {"/v1/day", day_put, "application/json"},
    {"/v1/outlook", outlook_put, "application/json"},
    {"/v1/usage", usage_put, "text/csv"},
    {"/v1/usage/check", check_put, "application/json"},
};

bool question_follows(str target)
{
    str path = target_path(target);
    return str_ends(path, S("/now")) && !str_ends(path, S("/carbon/now")) &&
           str_ends(target, S("?follow=1"));
}

bool question_put(question *q, str *ret_type, err *e)
{
    str target = exchange_request(q->x)->target;
    str path = q->path.n ? q->path : target_path(target);
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (str_eq(path, str_from(routes[i].path))) {
            *ret_type = routes[i].type ? str_from(routes[i].type) : report_type(target, &q->a);
            return routes[i].put(q, target, e);
        }
    return err_set(e, ERR_NOT_FOUND,
                   "no such resource; there are /v1/carbon/{report,now,forecast,tenant}, /v1/now, "
                   "/v1/day, /v1/outlook, /v1/usage, /v1/usage/check, /metrics and /healthz");
}
