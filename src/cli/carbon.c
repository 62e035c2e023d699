/* `ebb carbon now|forecast|report|tenant`: what the grid is like, what it will be like, what was
 * used, and what of that a tenant may see.
 * Without files the running node is asked. With them, `now` and `forecast` read any source's
 * format, and `report` prices usage records (one line a call or a sum of calls) with the node's
 * power model and the intensity that came: by the same arithmetic (carbon/bill.h) as the node
 * does. */
#include "cli/carbon.h"

#include "base/clock.h"
#include "base/limits.h"
#include "carbon/bill.h"
#include "carbon/outlook.h"
#include "carbon/source.h"
#include "carbon/when.h"
#include "cli/admin_client.h"
#include "cli/carbon_data.h"
#include "cli/options.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { CARBON_APPS_MAX = 10000 };

/* Places in the table of options of cli_carbon. */
enum {
    O_ADMIN,
    O_INTENSITY,
    O_TABLE,
    O_ZONE,
    O_AT,
    O_JSON,
    O_HOURS,
    O_PUBLISHED,
    O_FROM,
    O_TO,
    O_FORMAT,
    O_APPS,
    O_USE,
    O_NODE,
    O_THREADS,
    O_IDLE_W,
    O_MAX_W,
    O_PUE,
    O_SERVER_KG,
    O_LIFE_YEARS,
    O_CPUS,
    O_COUNT
};

typedef struct {
    const option *rows;
    double hours, threads, idle_w, max_w, pue, server_kg, life_years, cpus;
    int64_t now_s;
} carbon_options;

static bool numbers_read(const options *given, carbon_options *o, err *e)
{
    const option_range ranges[] = {
        {"hours", 1, FORECAST_HOURS_MAX, &o->hours},
        {"threads", 1, 4096, &o->threads},
        {"idle-w", 0, 1e6, &o->idle_w},
        {"max-w", 0, 1e6, &o->max_w},
        {"pue", 1, 5, &o->pue},
        {"server-kg", 0, 1e6, &o->server_kg},
        {"life-years", 0.1, 100, &o->life_years},
        {"cpus", 0.01, 4096, &o->cpus},
    };
    if (!options_numbers(given, ranges, sizeof ranges / sizeof *ranges, e))
        return false;
    const option *at = &o->rows[O_AT];
    o->now_s = (int64_t)(clock_wall() / NS_PER_S);
    return !at->given || when_parse(str_from(at->got), &o->now_s, e);
}

/* --- asking a running node -------------------------------------------------------------------- */

/* Are files given? Then no node is asked. */
static bool works_from_files(const carbon_options *o)
{
    return o->rows[O_USE].given || o->rows[O_INTENSITY].given || o->rows[O_TABLE].given;
}

static bool ask(const carbon_options *o, const char *what, buf *out, err *e)
{
    static const struct {
        int row;
        const char *parameter;
    } passed[] = {
        {O_FROM, "from"}, {O_TO, "to"}, {O_FORMAT, "format"}, {O_HOURS, "hours"}, {O_APPS, "apps"}};
    const option *admin = &o->rows[O_ADMIN];
    _cleanup_(buf_fini) buf path;
    buf_init(&path, 4096);
    buf_printf(&path, "/v1/carbon/%s?", what);
    for (size_t i = 0; i < sizeof passed / sizeof *passed; i++) {
        const option *row = &o->rows[passed[i].row];
        if (!row->given)
            continue;
        buf_printf(&path, "%s=", passed[i].parameter);
        admin_put_value(&path, row->got);
        buf_put_u8(&path, '&');
    }
    buf_put_u8(&path, 0);
    if (path.failed)
        return err_set(e, ERR_LIMIT, "the question is too long");
    return admin_get(admin->given ? admin->got : ADMIN_DEFAULT, (const char *)path.p, out, e);
}

/* --- from files ------------------------------------------------------------------------------- */

typedef struct {
    intensity_series series;
    carbon_data data;
    double yearly; /* NaN: unknown */
} grid;

static bool grid_read(const carbon_options *o, arena *a, grid *ret, err *e)
{
    grid g = {.yearly = (double)NAN};
    g.series.step_s = 3600;
    const option *files = &o->rows[O_INTENSITY];
    const char *table = o->rows[O_TABLE].got, *zone = o->rows[O_ZONE].got;
    if (files->count) {
        if (!carbon_data_read(files->all, files->count, a, &g.data, e))
            return false;
        g.series = (intensity_series){g.data.start_s, 3600, g.data.hours, g.data.hourly,
                                      g.data.hours - g.data.gaps};
    }
    if (table) {
        bytes text;
        if (!zone)
            return err_set(e, ERR_INVALID, "--table needs --zone, as SWE or DE");
        if (!file_read(table, 16 * MIB, a, &text, e) ||
            !source_yearly(text, str_from(zone), &g.yearly, e))
            return err_wrap(e, "%s", table);
    }
    *ret = g;
    return true;
}

static bool now(const carbon_options *o, arena *a, buf *out, err *e)
{
    grid g;
    intensity_quality q;
    if (!grid_read(o, a, &g, e))
        return false;
    double v = intensity_or(&g.series, o->now_s, g.yearly, &q);
    if (o->rows[O_JSON].given)
        return intensity_now_json(o->now_s, v, q, g.data.kind, g.data.basis, out);
    buf_printf(out, "%.0f g/kWh (%s, %s)\n", v, intensity_quality_name(q),
               intensity_kind_name(g.data.kind));
    return true;
}

/* History up to the hour of --at; without --at, all there is. */
static bool forecast(const carbon_options *o, arena *a, buf *out, err *e)
{
    grid g;
    if (!grid_read(o, a, &g, e))
        return false;
    if (!o->rows[O_INTENSITY].count)
        return err_set(e, ERR_INVALID, "a forecast needs history: --intensity FILE");
    size_t n = g.series.n;
    if (o->rows[O_AT].given) {
        int64_t hours = (o->now_s - g.series.start_s) / 3600;
        n = hours < 0 ? 0 : (size_t)hours < n ? (size_t)hours : n;
    }
    outlook ahead;
    carbon_data said;
    intensity_series published = {0};
    const char *file = o->rows[O_PUBLISHED].got;
    if (file) {
        if (!carbon_data_read(&file, 1, a, &said, e))
            return false;
        published = (intensity_series){said.start_s, 3600, said.hours, said.hourly, said.hours};
    }
    return outlook_make(&g.series, n, file ? &published : NULL, (size_t)o->hours, a, &ahead, e) &&
           (o->rows[O_JSON].given ? outlook_json(&ahead, out) : outlook_text(&ahead, out));
}

/* ---- report ---- */

typedef struct {
    bill_use *line;
    size_t lines, apps;
    str *app;
} use_file;

static int by_time(const void *a, const void *b)
{
    const bill_use *x = a, *y = b;
    return (x->t_s > y->t_s) - (x->t_s < y->t_s);
}

static bool decimal(str s, double *ret)
{
    char text[64] = {0}, *end;
    if (!s.n || s.n >= sizeof text)
        return false;
    memcpy(text, s.p, s.n);
    *ret = strtod(text, &end);
    return !*end && *ret >= 0 && *ret < 1e12;
}

static bool line_parse(str line, use_file *f, bill_use *ret)
{
    str cell[8];
    double cpu_s, wall_s = 0;
    bill_use u = {0};
    for (int i = 0; i < 8; i++)
        cell[i] = str_trim(str_cut(&line, ','));
    if (!when_parse(cell[0], &u.t_s, NULL) || !cell[1].n ||
        !str_to_u64(cell[2], UINT64_MAX, &u.u.calls) || !decimal(cell[3], &cpu_s) ||
        (cell[4].n && !decimal(cell[4], &wall_s)) ||
        (cell[5].n && !str_to_u64(cell[5], UINT64_MAX, &u.u.bytes_in)) ||
        (cell[6].n && !str_to_u64(cell[6], UINT64_MAX, &u.u.bytes_out)) ||
        (cell[7].n && !str_to_u64(cell[7], UINT64_MAX, &u.u.memory_peak_bytes)))
        return false;
    u.u.cpu_ns = (uint64_t)(cpu_s * 1e9);
    u.u.wall_ns = (uint64_t)(wall_s * 1e9);
    u.row = LEDGER_PLATFORM;
    if (!str_eq(cell[1], S("-"))) {
        size_t k = 0;
        while (k < f->apps && !str_eq(f->app[k], cell[1]))
            k++;
        if (k == CARBON_APPS_MAX)
            return false;
        if (k == f->apps)
            f->app[f->apps++] = cell[1];
        u.row = LEDGER_APPS + k;
    }
    *ret = u;
    return true;
}

static bool use_read(const char *path, arena *a, use_file *ret, err *e)
{
    bytes text;
    if (!file_read(path, 1 * GIB, a, &text, e))
        return false;
    str rest = {(const char *)text.p, text.n};
    size_t lines = 1, number = 0;
    for (size_t i = 0; i < text.n; i++)
        lines += text.p[i] == '\n';
    use_file f = {ARENA_ARRAY(a, bill_use, lines), 0, 0, ARENA_ARRAY(a, str, CARBON_APPS_MAX)};
    if (!f.line || !f.app)
        return err_no_memory(e);
    while (rest.n) {
        str line = str_trim(str_cut(&rest, '\n'));
        number++;
        if (!line.n || line.p[0] == '#' || (number == 1 && str_starts(line, S("time"))))
            continue;
        if (!line_parse(line, &f, &f.line[f.lines]))
            return err_set(e, ERR_INVALID,
                           "%s:%zu: not time,app,calls,cpu_s[,wall_s,bytes_in,bytes_out,memory]",
                           path, number);
        f.lines++;
    }
    if (!f.lines)
        return err_set(e, ERR_INVALID, "%s: no usage", path);
    qsort(f.line, f.lines, sizeof *f.line, by_time);
    *ret = f;
    return true;
}

static bool report(const carbon_options *o, arena *a, buf *out, err *e)
{
    grid g;
    use_file f = {0};
    const char *use = o->rows[O_USE].got, *zone = o->rows[O_ZONE].got;
    const char *node = o->rows[O_NODE].got, *format = o->rows[O_FORMAT].got;
    if (!use)
        return err_set(e, ERR_INVALID, "a report from files needs --use FILE");
    if (!grid_read(o, a, &g, e) || !use_read(use, a, &f, e))
        return false;
    carbon_report r = {.node = str_from(node ? node : "node"),
                       .source = S("file"),
                       .kind = g.data.kind,
                       .basis = g.data.basis,
                       .server_kg = o->server_kg,
                       .life_s = o->life_years * 365 * 86400};
    r.zone = zone ? str_from(zone) : g.data.zone;
    r.power = power_model_specpower((unsigned)o->threads);
    r.power.pue = o->pue;
    if (o->max_w > 0 &&
        !power_model_set(&r.power, (unsigned)o->threads, o->idle_w, o->max_w, o->pue, e))
        return false;
    r.capacity_cpus = o->cpus > 0 ? o->cpus : o->threads;
    r.from_s = f.line[0].t_s - f.line[0].t_s % WHEN_DAY_S;
    r.to_s = f.line[f.lines - 1].t_s / WHEN_DAY_S * WHEN_DAY_S + WHEN_DAY_S;
    bill_records records = {.uses = f.line,
                            .uses_count = f.lines,
                            .apps = f.app,
                            .apps_count = f.apps,
                            .intensity = &g.series,
                            .yearly_g_per_kwh = g.yearly};
    return bill_make(a, &records, &r, e) &&
           report_as(str_from(format ? format : "json"), &r, out, e);
}

static bool tenant(const carbon_options *o, arena *a, buf *out, err *e)
{
    return err_set(e, ERR_INVALID,
                   "tenant: only a running node is asked; leave out --use, "
                   "--intensity and --table");
}

int cli_carbon(int argc, char **argv)
{
    option rows[O_COUNT + 1] = {
        [O_ADMIN] = {"admin", 0, OPTION_VALUE, "ADDR",
                     "the running node to ask [" ADMIN_DEFAULT "]"},
        [O_INTENSITY] = {"intensity", 0, OPTION_REPEAT, "FILE",
                         "ask no node: CSV, or a provider's JSON"},
        [O_TABLE] = {"table", 0, OPTION_VALUE, "FILE",
                     "co2.js's yearly table, used where there is nothing better"},
        [O_ZONE] = {"zone", 0, OPTION_VALUE, "Z", "the zone in that table, as SWE or DE"},
        [O_AT] = {"at", 0, OPTION_VALUE, "TIME", "instead of the present: 2024-05-01T13:00:00Z"},
        [O_JSON] = {"json", 0, OPTION_FLAG, NULL, "now, forecast: as JSON"},
        [O_HOURS] = {"hours", 0, OPTION_VALUE, "N", "forecast: how many hours [24]"},
        [O_PUBLISHED] = {"published", 0, OPTION_VALUE, "FILE",
                         "forecast: a provider's, used where it reaches"},
        [O_FROM] = {"from", 0, OPTION_VALUE, "TIME", "report: its beginning [midnight, UTC]"},
        [O_TO] = {"to", 0, OPTION_VALUE, "TIME", "report: its end [now]"},
        [O_FORMAT] = {"format", 0, OPTION_VALUE, "F",
                      "report: json, prometheus, manifest or html [json]"},
        [O_APPS] = {"apps", 0, OPTION_VALUE, "A,B",
                    "tenant: what the tenant of these apps may see, figures frozen and rounded"},
        [O_USE] = {"use", 0, OPTION_VALUE, "FILE",
                   "report, ask no node: CSV time,app,calls,cpu_s,wall_s,bytes_in,bytes_out,memory;"
                   " app '-' is the platform itself"},
        [O_NODE] = {"node", 0, OPTION_VALUE, "NAME", "with --use: what the node is called [node]"},
        [O_THREADS] = {"threads", 0, OPTION_VALUE, "N", "with --use: hardware threads [16]"},
        [O_IDLE_W] = {"idle-w", 0, OPTION_VALUE, "W", "with --use: idle power [SPECpower]"},
        [O_MAX_W] = {"max-w", 0, OPTION_VALUE, "W", "with --use: full power [SPECpower]"},
        [O_PUE] = {"pue", 0, OPTION_VALUE, "N", "with --use: of the building [1]"},
        [O_SERVER_KG] = {"server-kg", 0, OPTION_VALUE, "KG", "with --use: embodied carbon [1215]"},
        [O_LIFE_YEARS] = {"life-years", 0, OPTION_VALUE, "N", "with --use: the server's life [4]"},
        [O_CPUS] = {"cpus", 0, OPTION_VALUE, "N", "with --use: capacity in CPUs [threads]"},
        {0},
    };
    options table = {.command = "carbon",
                     .positional = "now|forecast|report|tenant",
                     .options = rows,
                     .summary = "The carbon intensity of the grid, and the bill of every app. Asks "
                                "the node that runs in this folder, or works from files."};
    carbon_options o = {.rows = rows,
                        .hours = 24,
                        .threads = 16,
                        .pue = 1,
                        .server_kg = SCI_SERVER_KG,
                        .life_years = 4};
    static const struct {
        const char *name;
        bool (*run)(const carbon_options *o, arena *a, buf *out, err *e);
    } commands[] = {{"now", now}, {"forecast", forecast}, {"report", report}, {"tenant", tenant}};
    err e;
    _cleanup_(arena_fini) arena a;
    _cleanup_(buf_fini) buf out;
    arena_init(&a, 4 * GIB);
    buf_init(&out, 256 * MIB);
    if (!options_parse(&a, &table, argc, argv, &e) || !numbers_read(&table, &o, &e))
        return cli_fail(&e), 2;
    if (table.help)
        return 0;
    const char *what = table.positionals_count ? table.positionals[0] : "";
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(what, commands[i].name) == 0)
            return (works_from_files(&o) ? commands[i].run(&o, &a, &out, &e)
                                         : ask(&o, what, &out, &e)) &&
                           file_write("-", &out, &e)
                       ? 0
                       : cli_fail(&e);
    err_set(&e, ERR_INVALID, "ebb carbon '%s': write now, forecast, report or tenant", what);
    return cli_fail(&e), 2;
}
