/* `ebb carbon now|forecast|report`: what the grid is like, what it will be like, and what was used.
 * `now` and `forecast` read files of any source's format. `report` reads usage records (one line a
 * call or a sum of calls) and prices them with the node's power model and the intensity that came:
 * the platform's own ledger arithmetic. A running node serves the same report from its ledger. */
#include "cli/carbon.h"

#include "base/clock.h"
#include "base/limits.h"
#include "carbon/forecast.h"
#include "carbon/report.h"
#include "carbon/source.h"
#include "carbon/when.h"
#include "cli/carbon_data.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
    "ebb carbon now|forecast|report\n\n"
    "  --intensity FILE   CSV or a provider's JSON; may be repeated\n"
    "  --table FILE --zone Z   co2.js's yearly table, used where there is nothing better\n"
    "  --at TIME          instead of the present: 2024-05-01T13:00:00Z\n"
    "forecast: --hours N (24)   --published FILE   a provider's forecast, used where it reaches\n"
    "report: --use FILE   CSV time,app,calls,cpu_s,wall_s,bytes_in,bytes_out,memory_bytes\n"
    "        (app '-' is the platform itself)\n"
    "        --threads N --idle-w N --max-w N --pue N   the node's power (default SPECpower)\n"
    "        --server-kg N --life-years N --cpus N --node NAME\n"
    "        --format json|prometheus|manifest|html (json)\n"
    "--json for now and forecast\n";

enum { CARBON_FILES_MAX = 64, CARBON_APPS_MAX = 10000 };

typedef struct {
    const char *files[CARBON_FILES_MAX], *published, *table, *zone, *at, *use, *format, *node;
    size_t files_count;
    double hours, threads, idle_w, max_w, pue, server_kg, life_years, cpus;
    bool json;
    int64_t now_s;
} carbon_options;

static bool parse(int argc, char **argv, carbon_options *o, err *e)
{
    const struct {
        const char *name;
        const char **to;
    } texts[] = {{"--table", &o->table}, {"--published", &o->published},
                 {"--zone", &o->zone},   {"--at", &o->at},
                 {"--use", &o->use},     {"--format", &o->format},
                 {"--node", &o->node}};
    const struct {
        const char *name;
        double min, max, *to;
    } numbers[] = {
        {"--hours", 1, FORECAST_HOURS_MAX, &o->hours},
        {"--threads", 1, 4096, &o->threads},
        {"--idle-w", 0, 1e6, &o->idle_w},
        {"--max-w", 0, 1e6, &o->max_w},
        {"--pue", 1, 5, &o->pue},
        {"--server-kg", 0, 1e6, &o->server_kg},
        {"--life-years", 0.1, 100, &o->life_years},
        {"--cpus", 0.01, 4096, &o->cpus},
    };
    for (int i = 2; i < argc; i++) {
        const char *v;
        bool taken = strcmp(argv[i], "--json") == 0;
        o->json |= taken;
        for (size_t k = 0; !taken && k < sizeof texts / sizeof *texts; k++)
            if ((taken = option_is(argc, argv, &i, texts[k].name, &v))) {
                if (!v)
                    return err_set(e, ERR_INVALID, "%s needs a value", texts[k].name);
                *texts[k].to = v;
            }
        for (size_t k = 0; !taken && k < sizeof numbers / sizeof *numbers; k++)
            if ((taken = option_is(argc, argv, &i, numbers[k].name, &v)) &&
                !option_number(numbers[k].name, v, numbers[k].min, numbers[k].max, numbers[k].to,
                               e))
                return false;
        if (!taken && option_is(argc, argv, &i, "--intensity", &v) && v &&
            o->files_count < CARBON_FILES_MAX) {
            o->files[o->files_count++] = v;
            taken = true;
        }
        if (!taken)
            return err_set(e, ERR_INVALID,
                           "'%s' is no option of ebb carbon; see ebb carbon "
                           "--help",
                           argv[i]);
    }
    o->now_s = (int64_t)(clock_wall() / NS_PER_S);
    return !o->at || when_parse(str_from(o->at), &o->now_s, e);
}

typedef struct {
    intensity_series series;
    carbon_data data;
    double yearly; /* NaN: unknown */
} grid;

static bool grid_read(const carbon_options *o, arena *a, grid *ret, err *e)
{
    grid g = {.yearly = (double)NAN};
    g.series.step_s = 3600;
    if (o->files_count) {
        if (!carbon_data_read(o->files, o->files_count, a, &g.data, e))
            return false;
        g.series = (intensity_series){g.data.start_s, 3600, g.data.hours, g.data.hourly,
                                      g.data.hours - g.data.gaps};
    }
    if (o->table) {
        bytes text;
        if (!o->zone)
            return err_set(e, ERR_INVALID, "--table needs --zone, as SWE or DE");
        if (!file_read(o->table, 16 * MIB, a, &text, e) ||
            !source_yearly(text, str_from(o->zone), &g.yearly, e))
            return err_wrap(e, "%s", o->table);
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
    if (o->json) {
        buf_put_str(out, S("{\"time\":\""));
        when_put(out, o->now_s);
        buf_printf(out,
                   "\",\"g_per_kwh\":%.10g,\"quality\":\"%s\",\"kind\":\"%s\","
                   "\"basis\":\"%s\"}\n",
                   v, intensity_quality_name(q), intensity_kind_name(g.data.kind),
                   intensity_basis_name(g.data.basis));
        return true;
    }
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
    if (!o->files_count)
        return err_set(e, ERR_INVALID, "a forecast needs history: --intensity FILE");
    size_t n = g.series.n;
    if (o->at) {
        int64_t hours = (o->now_s - g.series.start_s) / 3600;
        n = hours < 0 ? 0 : (size_t)hours < n ? (size_t)hours : n;
    }
    arena scratch;
    arena_init(&scratch, 64 * MIB);
    forecast_model *m = ARENA_NEW(a, forecast_model);
    bool fitted = m && n >= FORECAST_DAYS_MIN * 24 &&
                  forecast_fit(g.series.g_per_kwh, n, g.series.start_s, &scratch, m, e);
    arena_fini(&scratch);
    forecast_history h;
    forecast_history_init(&h, g.series.start_s);
    for (size_t i = 0; i < n; i++)
        forecast_push(&h, g.series.g_per_kwh[i]);
    double v[FORECAST_HOURS_MAX];
    size_t hours = (size_t)o->hours, best = 0;
    forecast_method method = forecast_make(fitted ? m : NULL, &h, hours, v);
    if (method == FORECAST_NONE)
        return err_set(e, ERR_INVALID, "less than a day of history before the forecast");
    size_t taken = 0;
    if (o->published) {
        carbon_data ahead;
        if (!carbon_data_read(&o->published, 1, a, &ahead, e))
            return false;
        intensity_series s = {ahead.start_s, 3600, ahead.hours, ahead.hourly, ahead.hours};
        taken = forecast_prefer(&s, h.next_s, hours, v);
    }
    for (size_t i = 0; i < hours; i++)
        best = v[i] < v[best] ? i : best;
    if (o->json)
        buf_printf(out,
                   "{\"method\":\"%s\",\"history_hours\":%zu,\"filled_hours\":%zu,"
                   "\"fit_error_pct\":%.4g,\"published_hours\":%zu,\"forecastData\":[",
                   forecast_method_name(method), n, h.filled, fitted ? m->mape_pct : 0.0, taken);
    for (size_t i = 0; i < hours; i++) {
        /* The Carbon Aware SDK's shape, so that its users can read it. */
        buf_put_str(out, o->json ? (i ? S(",{\"timestamp\":\"") : S("{\"timestamp\":\"")) : S(""));
        when_put(out, h.next_s + (int64_t)i * 3600);
        if (o->json)
            buf_printf(out, "\",\"duration\":60,\"value\":%.6g}", v[i]);
        else
            buf_printf(out, "  %5.0f g/kWh%s\n", v[i], i == best ? "  cleanest" : "");
    }
    if (o->json)
        buf_put_str(out, S("]}\n"));
    return true;
}

/* ---- report ---- */

typedef struct {
    int64_t t_s;
    size_t row;
    ledger_usage u;
} use_line;

typedef struct {
    use_line *line;
    size_t lines, apps;
    str *app;
} use_file;

static int by_time(const void *a, const void *b)
{
    const use_line *x = a, *y = b;
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

static bool line_parse(str line, use_file *f, use_line *ret)
{
    str cell[8];
    double cpu_s, wall_s = 0;
    use_line u = {0};
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
    use_file f = {ARENA_ARRAY(a, use_line, lines), 0, 0, ARENA_ARRAY(a, str, CARBON_APPS_MAX)};
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

static void row_add(ledger_row *sum, const ledger_row *r)
{
    sum->used.calls += r->used.calls;
    sum->used.cpu_ns += r->used.cpu_ns;
    sum->used.wall_ns += r->used.wall_ns;
    sum->used.bytes_in += r->used.bytes_in;
    sum->used.bytes_out += r->used.bytes_out;
    if (r->used.memory_peak_bytes > sum->used.memory_peak_bytes)
        sum->used.memory_peak_bytes = r->used.memory_peak_bytes;
    sum->dynamic_j += r->dynamic_j;
    sum->idle_j += r->idle_j;
    sum->operational_g += r->operational_g;
    sum->embodied_g += r->embodied_g;
    sum->peak_cpus = fmax(sum->peak_cpus, r->peak_cpus);
}

static void day_add(ledger_day *sum, const ledger_day *d)
{
    sum->node_j += d->node_j;
    sum->idle_unallocated_j += d->idle_unallocated_j;
    sum->embodied_g += d->embodied_g;
    sum->embodied_unallocated_g += d->embodied_unallocated_g;
    sum->operational_g += d->operational_g;
    sum->operational_unallocated_g += d->operational_unallocated_g;
    sum->dynamic_lost_j += d->dynamic_lost_j;
    sum->peak_cpus = fmax(sum->peak_cpus, d->peak_cpus);
    sum->rows = d->rows;
}

/* Whole days, from the first use's to the last's. */
static bool days_run(const use_file *f, const grid *g, ledger *l, ledger_row *rows,
                     report_row *apps, carbon_report *r)
{
    size_t at = 0;
    for (int64_t day = r->from_s; day < r->to_s; day += WHEN_DAY_S) {
        double intensity[LEDGER_HOURS];
        ledger_day d;
        for (int h = 0; h < LEDGER_HOURS; h++) {
            intensity_quality q;
            intensity[h] = intensity_or(&g->series, day + h * 3600, g->yearly, &q);
            r->hours_by_quality[q]++;
        }
        for (; at < f->lines && f->line[at].t_s < day + WHEN_DAY_S; at++)
            ledger_use(l, f->line[at].row, f->line[at].t_s, &f->line[at].u);
        ledger_day_close(l, day + WHEN_DAY_S, intensity, rows, &d);
        day_add(&r->total, &d);
        row_add(&r->platform, &rows[LEDGER_PLATFORM]);
        row_add(&r->other, &rows[LEDGER_OTHER]);
        for (size_t i = 0; i < f->apps; i++)
            row_add(&apps[i].sum, &rows[LEDGER_APPS + i]);
        ledger_day_next(l, day + WHEN_DAY_S);
    }
    return true;
}

static bool report(const carbon_options *o, arena *a, buf *out, err *e)
{
    grid g;
    use_file f = {0};
    ledger *l = NULL;
    if (!o->use)
        return err_set(e, ERR_INVALID, "a report needs --use FILE");
    if (!grid_read(o, a, &g, e) || !use_read(o->use, a, &f, e))
        return false;
    carbon_report r = {.node = str_from(o->node),
                       .source = S("file"),
                       .kind = g.data.kind,
                       .basis = g.data.basis,
                       .server_kg = o->server_kg,
                       .life_s = o->life_years * 365 * 86400};
    r.zone = o->zone ? str_from(o->zone) : g.data.zone;
    r.power = power_model_specpower((unsigned)o->threads);
    r.power.pue = o->pue;
    if (o->max_w > 0 &&
        !power_model_set(&r.power, (unsigned)o->threads, o->idle_w, o->max_w, o->pue, e))
        return false;
    r.capacity_cpus = o->cpus > 0 ? o->cpus : o->threads;
    r.from_s = f.line[0].t_s - f.line[0].t_s % WHEN_DAY_S;
    r.to_s = f.line[f.lines - 1].t_s / WHEN_DAY_S * WHEN_DAY_S + WHEN_DAY_S;
    ledger_row *rows = ARENA_ARRAY(a, ledger_row, LEDGER_APPS + f.apps);
    report_row *apps = ARENA_ARRAY(a, report_row, f.apps + 1);
    if (!rows || !apps)
        return err_no_memory(e);
    if (!ledger_new(a, LEDGER_APPS + f.apps, r.from_s, &r.power, r.capacity_cpus,
                    sci_embodied_g_per_s(r.server_kg, r.life_s), &l, e))
        return false;
    for (size_t i = 0; i < f.apps; i++)
        apps[i].app = f.app[i];
    days_run(&f, &g, l, rows, apps, &r);
    r.rows = apps;
    r.rows_count = f.apps;
    if (strcmp(o->format, "json") == 0)
        report_json(&r, out);
    else if (strcmp(o->format, "prometheus") == 0)
        report_prometheus(&r, out);
    else if (strcmp(o->format, "manifest") == 0)
        report_manifest(&r, out);
    else if (strcmp(o->format, "html") == 0)
        report_html(&r, out);
    else
        return err_set(e, ERR_INVALID, "--format '%s': json, prometheus, manifest or html",
                       o->format);
    return true;
}

int cli_carbon(int argc, char **argv)
{
    carbon_options o = {.format = "json",
                        .node = "node",
                        .hours = 24,
                        .threads = 16,
                        .pue = 1,
                        .server_kg = SCI_SERVER_KG,
                        .life_years = 4};
    const char *what = argc > 1 ? argv[1] : "--help";
    err e;
    for (int i = 1; i < argc || i == 1; i++)
        if (i >= argc || strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(usage, stdout);
            return argc > 1 ? 0 : 2;
        }
    arena a;
    buf out;
    arena_init(&a, 4 * GIB);
    buf_init(&out, 256 * MIB);
    bool ok = parse(argc, argv, &o, &e);
    if (ok)
        ok = strcmp(what, "now") == 0        ? now(&o, &a, &out, &e)
             : strcmp(what, "forecast") == 0 ? forecast(&o, &a, &out, &e)
             : strcmp(what, "report") == 0
                 ? report(&o, &a, &out, &e)
                 : err_set(&e, ERR_INVALID, "'%s': now, forecast or report", what);
    if (ok)
        ok = file_write("-", &out, &e);
    buf_fini(&out);
    arena_fini(&a);
    if (!ok)
        fprintf(stderr, "ebb carbon: %s\n", e.text);
    return ok ? 0 : 1;
}
