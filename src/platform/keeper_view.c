/* See keeper_view.h. Records are read once an answer, summed by app in one pass, and named last:
 * only what is shown is looked up in the catalogue. "How much more fits" asks sched/peak.h's
 * capacity model about an app like the mean of those that were called. */
#include "platform/keeper_view.h"

#include "base/limits.h"
#include "carbon/visible.h"
#include "carbon/when.h"
#include "sched/peak.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    NODE_DIGITS = 15,
    TENANT_DIGITS = 3, /* as visible.h says */
    NOW_S = 60,
    NOW_WINDOWS = 60,
    DAY_STEP_S = PEAK_SAMPLE_S,
    DAY_BINS = WHEN_DAY_S / DAY_STEP_S,
    APPS_SHOWN_MAX = 50,
    ROOM_BINS_MIN = 12, /* an hour: less says nothing about a peak */
};
#define COMPLIANCE 0.999

/* One app: all components of it. */
typedef struct {
    str key; /* how the records begin: "7", or the component of `ebb up` */
    str shown;
    ledger_usage sum;     /* of the span */
    uint64_t open_cpu_ns; /* of the open five minutes */
    double s1, s2;        /* of CPUs over those that are closed, and of their squares */
    ledger_row bill;
} group;

typedef struct {
    const view *v;
    bill_records records;
    group *groups;
    size_t n;
    size_t *of; /* by app of the records; SIZE_MAX: not to be shown */
} grouped;

static str key_of(const keeper *k, str recorded)
{
    return k->catalogue ? str_head(recorded, str_find(recorded, '/')) : recorded;
}

static str shown_to(const view *v, str recorded)
{
    for (size_t i = 0; i < v->mine_n; i++)
        if (str_starts(recorded, v->mine[i].recorded))
            return v->mine[i].shown;
    return (str){0};
}

/* Names are sorted, so the components of an app are neighbours. */
static bool group_records(const view *v, int64_t from_s, int64_t to_s, grouped *ret, err *e)
{
    grouped g = {.v = v};
    if (!usage_file_records(v->k->file, v->a, from_s, to_s, &g.records, e))
        return false;
    g.groups = ARENA_ARRAY(v->a, group, g.records.apps_count + 1);
    g.of = ARENA_ARRAY(v->a, size_t, g.records.apps_count + 1);
    if (!g.groups || !g.of)
        return err_no_memory(e);
    for (size_t i = 0; i < g.records.apps_count; i++) {
        str recorded = g.records.apps[i], key = key_of(v->k, recorded);
        str shown = v->is_tenant ? shown_to(v, recorded) : (str){0};
        g.of[i] = SIZE_MAX;
        if (v->is_tenant && !shown.p)
            continue;
        if (!g.n || !str_eq(g.groups[g.n - 1].key, key))
            g.groups[g.n++] = (group){.key = key, .shown = shown};
        g.of[i] = g.n - 1;
    }
    *ret = g;
    return true;
}

/* NULL: of the platform, of others, or not to be shown. */
static group *group_of(const grouped *g, const bill_use *u)
{
    if (u->row < LEDGER_APPS || g->of[u->row - LEDGER_APPS] == SIZE_MAX)
        return NULL;
    return &g->groups[g->of[u->row - LEDGER_APPS]];
}

static int by_use(const void *a, const void *b)
{
    const ledger_usage *x = &((const group *)a)->sum, *y = &((const group *)b)->sum;
    if (x->cpu_ns != y->cpu_ns)
        return x->cpu_ns < y->cpu_ns ? 1 : -1;
    return x->calls < y->calls ? 1 : x->calls > y->calls ? -1 : 0;
}

/* Which app, and whose. */
static bool group_named(const view *v, const group *g, json_t *into, err *e)
{
    str name = g->shown, tenant = {0};
    uint64_t id;
    if (!name.p && v->k->catalogue && str_to_u64(g->key, UINT64_MAX, &id)) {
        if (!catalogue_app_name(catalogue_reading(v->k->catalogue), v->a, id, &name, e))
            return false;
        size_t slash = str_find(name, '/');
        tenant = str_head(name, slash);
        name = name.n ? str_skip(name, slash + 1) : S("(deleted)");
    } else if (!name.p) {
        name = g->key;
    }
    json_object_set_new(into, "app", json_stringn(name.p, name.n));
    json_object_set_new(into, "tenant", tenant.n ? json_stringn(tenant.p, tenant.n) : json_null());
    return true;
}

static json_t *time_json(int64_t t_s)
{
    _cleanup_(buf_fini) buf b;
    buf_init(&b, 64);
    when_put(&b, t_s);
    return json_stringn((const char *)b.p, b.n);
}

static json_t *number(double v) { return isfinite(v) ? json_real(v) : json_null(); }

static int dump(const char *p, size_t n, void *out) { return buf_put(out, p, n) ? 0 : -1; }

static bool finish(const view *v, json_t *j, err *e)
{
    bool ok = j && json_dump_callback(j, dump, v->out, JSON_COMPACT | JSON_REAL_PRECISION(10)) == 0;
    json_decref(j);
    return ok || err_set(e, ERR_LIMIT, "the answer is too long");
}

static double mean_ms(const ledger_usage *u)
{
    return u->calls ? (double)u->wall_ns / 1e6 / (double)u->calls : (double)NAN;
}

static void put_common(const view *v, json_t *j, int64_t from_s, int64_t to_s)
{
    json_object_set_new(j, "scope", json_string(v->is_tenant ? "tenant" : "node"));
    json_object_set_new(j, "node", json_stringn(v->k->config.node.p, v->k->config.node.n));
    json_object_set_new(j, "from", time_json(from_s));
    json_object_set_new(j, "to", time_json(to_s));
}

static bool apps_deployed(const view *v, uint64_t *ret, err *e)
{
    *ret = v->is_tenant ? v->mine_n : v->k->config.apps_count;
    return v->is_tenant || !v->k->catalogue ||
           catalogue_apps_count(catalogue_reading(v->k->catalogue), 0, ret, e);
}

/* --- now -------------------------------------------------------------------------------------- */

typedef struct {
    ledger_usage apps, platform, other; /* of the last minute */
    double calls[NOW_WINDOWS], bytes[NOW_WINDOWS], cpus[NOW_WINDOWS];
} recent;

static void recent_sum(const grouped *g, int64_t from_s, recent *r)
{
    for (size_t i = 0; i < g->records.uses_count; i++) {
        const bill_use *u = &g->records.uses[i];
        size_t at = (size_t)(u->t_s - from_s) / LEDGER_WINDOW_S;
        bool last = at >= NOW_WINDOWS - NOW_S / LEDGER_WINDOW_S;
        group *app = group_of(g, u);
        r->cpus[at] += (double)u->u.cpu_ns / 1e9 / LEDGER_WINDOW_S;
        if (app) {
            r->calls[at] += (double)u->u.calls / LEDGER_WINDOW_S;
            r->bytes[at] += (double)u->u.bytes_out / LEDGER_WINDOW_S;
        }
        if (last && app) {
            ledger_usage_add(&app->sum, &u->u);
            ledger_usage_add(&r->apps, &u->u);
        } else if (last && u->row < LEDGER_APPS) {
            ledger_usage_add(u->row == LEDGER_PLATFORM ? &r->platform : &r->other, &u->u);
        }
    }
}

static json_t *numbers_json(const double *all, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, number(all[i]));
    return list;
}

/* What was called in the last minute, the busiest first. */
static json_t *called_json(grouped *g, err *e)
{
    json_t *list = json_array();
    qsort(g->groups, g->n, sizeof *g->groups, by_use);
    for (size_t i = 0, shown = 0; i < g->n && shown < APPS_SHOWN_MAX; i++) {
        const ledger_usage *u = &g->groups[i].sum;
        if (!u->calls && !u->cpu_ns)
            continue;
        json_t *x =
            json_pack("{s:f,s:o,s:I}", "calls_per_s", (double)u->calls / NOW_S, "mean_ms",
                      number(mean_ms(u)), "memory_peak_bytes", (json_int_t)u->memory_peak_bytes);
        if (!g->v->is_tenant)
            json_object_set_new(x, "cpus", json_real((double)u->cpu_ns / 1e9 / NOW_S));
        json_array_append_new(list, x);
        if (!group_named(g->v, &g->groups[i], x, e))
            return json_decref(list), NULL;
        shown++;
    }
    return list;
}

/* What the node draws: by its model, with what all of the machine's CPUs did. */
static void power_put(const grouped *g, const recent *r, double g_per_kwh, json_t *j)
{
    keeper *k = g->v->k;
    power_model m = k->power;
    const bill_power *p = bill_power_at(&g->records, keeper_now_s());
    if (p && p->samples) {
        m.idle_w = p->idle_w;
        m.busy_w = p->busy_w;
        m.uncertainty = p->uncertainty;
    }
    double apps = (double)r->apps.cpu_ns / 1e9 / NOW_S;
    double platform = (double)r->platform.cpu_ns / 1e9 / NOW_S;
    double other = (double)r->other.cpu_ns / 1e9 / NOW_S;
    double watts = (m.idle_w + m.busy_w * (apps + platform + other)) * m.pue;
    json_object_set_new(j, "cpus",
                        json_pack("{s:f,s:f,s:f,s:f}", "apps", apps, "platform", platform, "other",
                                  other, "capacity", node_cpus(k)));
    json_object_set_new(j, "power",
                        json_pack("{s:f,s:f,s:s,s:f}", "w", watts, "idle_w", m.idle_w * m.pue,
                                  "source", power_source_name(m.source), "uncertainty",
                                  m.uncertainty));
    json_object_set_new(j, "g_per_h", json_real(watts / 1000 * g_per_kwh));
}

static bool intensity_put(const view *v, json_t *j, double *ret_g_per_kwh, err *e)
{
    grid_moment now;
    if (!grid_now(v->k, v->a, &now, e))
        return false;
    *ret_g_per_kwh = now.g_per_kwh;
    json_object_set_new(j, "intensity",
                        json_pack("{s:f,s:s,s:s}", "g_per_kwh", now.g_per_kwh, "quality",
                                  intensity_quality_name(now.quality), "kind",
                                  intensity_kind_name(now.kind)));
    return true;
}

bool view_now(const view *v, err *e)
{
    int64_t to = keeper_now_s() / LEDGER_WINDOW_S * LEDGER_WINDOW_S;
    int64_t from = to - NOW_WINDOWS * LEDGER_WINDOW_S;
    recent *r = ARENA_NEW(v->a, recent);
    grouped g;
    uint64_t deployed;
    double g_per_kwh;
    if (!r)
        return err_no_memory(e);
    if (!group_records(v, from, to, &g, e) || !apps_deployed(v, &deployed, e))
        return false;
    recent_sum(&g, from, r);
    json_t *apps = called_json(&g, e);
    json_t *j =
        apps ? json_pack("{s:o,s:I,s:i,s:f,s:f,s:f,s:o}", "apps", apps, "apps_deployed",
                         (json_int_t)deployed, "span_s", NOW_S, "calls_per_s",
                         (double)r->apps.calls / NOW_S, "bytes_in_per_s",
                         (double)r->apps.bytes_in / NOW_S, "bytes_out_per_s",
                         (double)r->apps.bytes_out / NOW_S, "mean_ms", number(mean_ms(&r->apps)))
             : NULL;
    if (!j || !intensity_put(v, j, &g_per_kwh, e))
        return json_decref(j), false;
    put_common(v, j, from, to);
    json_t *series = json_pack("{s:i,s:o,s:o}", "step_s", LEDGER_WINDOW_S, "calls_per_s",
                               numbers_json(r->calls, NOW_WINDOWS), "bytes_out_per_s",
                               numbers_json(r->bytes, NOW_WINDOWS));
    json_object_set_new(j, "series", series);
    if (!v->is_tenant) {
        uint64_t resident;
        json_object_set_new(series, "cpus", numbers_json(r->cpus, NOW_WINDOWS));
        json_object_set_new(j, "processes", processes_json(&v->k->book, &resident));
        json_object_set_new(j, "resident_bytes", json_integer((json_int_t)resident));
        power_put(&g, r, g_per_kwh, j);
    }
    return finish(v, j, e);
}

/* --- the day ---------------------------------------------------------------------------------- */

typedef struct {
    int64_t from_s, to_s;
    size_t n; /* bins; the last may be open */
    double calls[DAY_BINS + 1], apps[DAY_BINS + 1], platform[DAY_BINS + 1], other[DAY_BINS + 1];
    size_t closed; /* bins that have been added to the groups' s1 and s2 */
} day;

static double share_of(const day *d, size_t at)
{
    int64_t begin = d->from_s + (int64_t)at * DAY_STEP_S, end = begin + DAY_STEP_S;
    return (double)((end < d->to_s ? end : d->to_s) - begin);
}

static void bins_close(grouped *g, day *d, size_t until)
{
    for (; d->closed < until; d->closed++)
        for (size_t i = 0; i < g->n && g->groups; i++) {
            group *x = &g->groups[i];
            double cpus = (double)x->open_cpu_ns / 1e9 / share_of(d, d->closed);
            x->s1 += cpus;
            x->s2 += cpus * cpus;
            x->open_cpu_ns = 0;
        }
}

static void day_sum(grouped *g, day *d)
{
    for (size_t i = 0; i < g->records.uses_count; i++) {
        const bill_use *u = &g->records.uses[i];
        size_t at = (size_t)(u->t_s - d->from_s) / DAY_STEP_S;
        group *app = group_of(g, u);
        double cpus = (double)u->u.cpu_ns / 1e9 / share_of(d, at);
        bins_close(g, d, at);
        if (app) {
            d->calls[at] += (double)u->u.calls / share_of(d, at);
            d->apps[at] += cpus;
            ledger_usage_add(&app->sum, &u->u);
            app->open_cpu_ns += u->u.cpu_ns;
        } else if (u->row < LEDGER_APPS) {
            *(u->row == LEDGER_PLATFORM ? &d->platform[at] : &d->other[at]) += cpus;
        }
    }
    bins_close(g, d, d->n);
}

static json_t *series_json(const view *v, const day *d)
{
    json_t *s =
        json_pack("{s:i,s:o}", "step_s", DAY_STEP_S, "calls_per_s", numbers_json(d->calls, d->n));
    if (!v->is_tenant) {
        json_object_set_new(s, "apps_cpus", numbers_json(d->apps, d->n));
        json_object_set_new(s, "platform_cpus", numbers_json(d->platform, d->n));
        json_object_set_new(s, "other_cpus", numbers_json(d->other, d->n));
    }
    return s;
}

/* All CPUs of the machine, by five minutes: what sizes it, and what it is used for. */
typedef struct {
    double mean, deviation, peak;
    size_t peak_at;
} use;

/* Five minutes of which less than one is over say nothing yet, unless there are no others. */
static use used_of(const day *d)
{
    use u = {0};
    double s1 = 0, s2 = 0;
    size_t bins = d->n > 1 && share_of(d, d->n - 1) < NOW_S ? d->n - 1 : d->n;
    for (size_t i = 0; i < bins; i++) {
        double x = d->apps[i] + d->platform[i] + d->other[i];
        s1 += x;
        s2 += x * x;
        if (x > u.peak) {
            u.peak = x;
            u.peak_at = i;
        }
    }
    double n = (double)bins;
    u.mean = s1 / n;
    u.deviation = sqrt(fmax(0, s2 / n - s1 / n * (s1 / n)));
    return u;
}

static json_t *used_json(const keeper *k, const day *d, const use *u)
{
    return json_pack("{s:f,s:f,s:f,s:o,s:o}", "capacity_cpus", node_cpus(k), "mean_cpus", u->mean,
                     "peak_cpus", u->peak, "peak_from",
                     time_json(d->from_s + (int64_t)u->peak_at * DAY_STEP_S), "peak_by_mean",
                     number(u->mean > 0 ? u->peak / u->mean : (double)NAN));
}

/* --- the bill --------------------------------------------------------------------------------- */

static json_t *bill_row_json(const ledger_row *r)
{
    sci s = report_sci(r);
    double score = (double)NAN;
    sci_score(&s, &score, NULL);
    return json_pack("{s:I,s:f,s:f,s:f,s:f,s:f,s:f,s:o}", "calls", (json_int_t)r->used.calls,
                     "cpu_s", (double)r->used.cpu_ns / 1e9, "dynamic_j", r->dynamic_j,
                     "idle_share_j", r->idle_j, "dynamic_g", r->dynamic_g, "idle_g",
                     r->operational_g - r->dynamic_g, "embodied_g", r->embodied_g, "g_per_call",
                     number(score));
}

static bool bill_apps_json(grouped *g, json_t *list, err *e)
{
    ledger_row others = {0};
    qsort(g->groups, g->n, sizeof *g->groups, by_use);
    for (size_t i = 0; i < g->n; i++) {
        if (i >= APPS_SHOWN_MAX) {
            ledger_row_add(&others, &g->groups[i].bill);
            continue;
        }
        json_t *x = bill_row_json(&g->groups[i].bill);
        json_array_append_new(list, x);
        if (!group_named(g->v, &g->groups[i], x, e))
            return false;
    }
    if (g->n > APPS_SHOWN_MAX) {
        json_t *x = bill_row_json(&others);
        json_object_set_new(x, "app", json_sprintf("%zu others", g->n - APPS_SHOWN_MAX));
        json_object_set_new(x, "tenant", json_null());
        json_array_append_new(list, x);
    }
    return true;
}

/* Grams to so many digits. */
static json_t *saving_json(const saving *s, int digits)
{
    return json_pack(
        "{s:I,s:I,s:I,s:f,s:f,s:f,s:o,s:s}", "calls", (json_int_t)s->calls, "calls_unknown",
        (json_int_t)s->calls_unknown, "calls_worse", (json_int_t)s->calls_worse, "baseline_g",
        visible_round(s->baseline_g, digits), "actual_g", visible_round(s->actual_g, digits),
        "saved_g", visible_round(saving_g(s), digits), "mean_delay_s",
        number(s->calls ? s->delay_s / (double)s->calls : (double)NAN), "method", saving_method());
}

static json_t *bill_json(grouped *g, const carbon_report *r, err *e)
{
    for (size_t i = 0; i < r->rows_count; i++)
        if (i < g->records.apps_count && g->of[i] != SIZE_MAX)
            ledger_row_add(&g->groups[g->of[i]].bill, &r->rows[i].sum);
    ledger_row idle = {.idle_j = r->total.idle_unallocated_j,
                       .operational_g = r->total.operational_unallocated_g,
                       .embodied_g = r->total.embodied_unallocated_g};
    json_t *apps = json_array();
    if (!bill_apps_json(g, apps, e))
        return json_decref(apps), NULL;
    return json_pack("{s:o,s:o,s:o,s:o,s:f,s:f,s:f,s:s,s:s}", "apps", apps, "platform",
                     bill_row_json(&r->platform), "other", bill_row_json(&r->other), "unallocated",
                     bill_row_json(&idle), "node_j", r->total.node_j, "operational_g",
                     r->total.operational_g, "embodied_g", r->total.embodied_g, "boundary",
                     report_boundary(), "method", report_method());
}

/* --- how much is here, how much more fits ----------------------------------------------------- */

static bool memory_read(double *ret_total, double *ret_available)
{
    char line[128];
    unsigned long long kib;
    double total = 0, available = 0;
    FILE *f = fopen("/proc/meminfo", "re");
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "MemTotal: %llu", &kib) == 1)
            total = (double)kib * 1024;
        if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
            available = (double)kib * 1024;
    }
    if (f)
        fclose(f);
    *ret_total = total;
    *ret_available = available;
    return total > 0;
}

/* The mean of the apps that were called, and how much they come together: the variance of their sum
 * beyond the sum of their variances, as a share of what it would be if they were one. */
static size_t typical_app(const grouped *g, const day *d, capacity_app *ret)
{
    double n = (double)d->n, mean = 0, variance = 0, deviation = 0, memory = 0, s1 = 0, s2 = 0;
    size_t apps = 0;
    for (size_t i = 0; i < g->n; i++) {
        const group *x = &g->groups[i];
        if (!x->sum.calls)
            continue;
        double v = fmax(0, x->s2 / n - x->s1 / n * (x->s1 / n));
        mean += x->s1 / n;
        variance += v;
        deviation += sqrt(v);
        memory += (double)x->sum.memory_peak_bytes;
        apps++;
    }
    for (size_t i = 0; i < d->n; i++) {
        s1 += d->apps[i];
        s2 += d->apps[i] * d->apps[i];
    }
    double together = deviation * deviation - variance;
    double excess = s2 / n - s1 / n * (s1 / n) - variance;
    double correlation = together > 0 ? fmin(1, fmax(0, excess / together)) : 0;
    *ret = (capacity_app){.correlation = correlation, .correlation_node = correlation};
    if (apps) {
        ret->mean = mean / (double)apps;
        ret->deviation = sqrt(variance / (double)apps);
        ret->memory_bytes = memory / (double)apps;
    }
    return apps;
}

/* null: too little is known. */
static json_t *room_json(const grouped *g, const day *d, const use *u, double total,
                         double available)
{
    capacity_app app;
    capacity_answer fits;
    err ignored;
    size_t apps = typical_app(g, d, &app);
    capacity_node node = {.cpus = node_cpus(g->v->k),
                          .used_mean = u->mean,
                          .used_deviation = u->deviation,
                          .memory_bytes = total,
                          .memory_used_bytes = total - available};
    app.limit = fmax(node.cpus, app.mean);
    if (!apps || d->n < ROOM_BINS_MIN || !capacity_ask(&node, &app, COMPLIANCE, &fits, &ignored))
        return json_null();
    return json_pack("{s:I,s:f,s:f,s:f,s:f,s:I,s:I,s:I,s:f}", "like_apps", (json_int_t)apps,
                     "mean_cpus", app.mean, "deviation_cpus", app.deviation, "correlation",
                     app.correlation, "memory_bytes", app.memory_bytes, "by_cpu",
                     (json_int_t)fits.by_cpu, "by_memory", (json_int_t)fits.by_memory, "fit",
                     (json_int_t)fits.fit, "compliance", COMPLIANCE);
}

static json_t *density_json(const grouped *g, const day *d, const use *u, uint64_t deployed)
{
    double total, available;
    size_t called = 0;
    for (size_t i = 0; i < g->n; i++)
        called += g->groups[i].sum.calls > 0;
    memory_read(&total, &available);
    return json_pack("{s:I,s:I,s:I,s:f,s:f,s:o}", "apps_deployed", (json_int_t)deployed,
                     "apps_called", (json_int_t)called, "resident_bytes",
                     (json_int_t)processes_bytes(&g->v->k->book), "memory_bytes", total,
                     "memory_available_bytes", available, "room",
                     room_json(g, d, u, total, available));
}

static bool node_put(grouped *g, const day *d, uint64_t deployed, json_t *j, err *e)
{
    carbon_report r;
    use u = used_of(d);
    if (!report_make(g->v->k, g->v->a, d->from_s, d->to_s, &g->records, &r, e))
        return false;
    /* before the bill, which sorts the groups: records know them by their place */
    json_object_set_new(j, "density", density_json(g, d, &u, deployed));
    json_t *bill = bill_json(g, &r, e);
    if (!bill)
        return false;
    json_object_set_new(j, "bill", bill);
    json_object_set_new(j, "used", used_json(g->v->k, d, &u));
    json_object_set_new(j, "saving", saving_json(&r.saved, NODE_DIGITS));
    return true;
}

/* Its own calls' CPU time times what all are priced with; nothing of the neighbours is in it. */
static bool tenant_put(const grouped *g, const day *d, json_t *j, err *e)
{
    carbon_report r;
    saving mine = {0};
    bill_records records = g->records;
    if (!report_make(g->v->k, g->v->a, d->from_s, d->to_s, &records, &r, e))
        return false;
    for (size_t i = 0; i < r.rows_count && i < g->records.apps_count; i++)
        if (g->of[i] != SIZE_MAX)
            saving_merge(&mine, &r.rows[i].saved);
    json_object_set_new(j, "saving", saving_json(&mine, TENANT_DIGITS));
    return true;
}

/* From a whole five minutes of at most a day ago on, not before the first record, to the end of the
 * last 10-second window: for as long as that is the last, the answer stays the same. */
static void day_span(const keeper *k, day *d)
{
    int64_t now = keeper_now_s(), oldest = usage_file_oldest(k->file);
    d->to_s = now - now % LEDGER_WINDOW_S;
    d->from_s = now - WHEN_DAY_S + DAY_STEP_S;
    d->from_s -= d->from_s % DAY_STEP_S;
    if (oldest > d->from_s && oldest <= now)
        d->from_s = oldest;
    if (d->to_s <= d->from_s)
        d->to_s = d->from_s + LEDGER_WINDOW_S;
    d->n = (size_t)((d->to_s - d->from_s + DAY_STEP_S - 1) / DAY_STEP_S);
}

bool view_day(const view *v, err *e)
{
    day *d = ARENA_NEW(v->a, day);
    grouped g;
    uint64_t deployed;
    if (!d)
        return err_no_memory(e);
    day_span(v->k, d);
    if (!group_records(v, d->from_s, d->to_s, &g, e) || !apps_deployed(v, &deployed, e))
        return false;
    day_sum(&g, d);
    json_t *j =
        json_pack("{s:o,s:I}", "series", series_json(v, d), "apps_deployed", (json_int_t)deployed);
    put_common(v, j, d->from_s, d->to_s);
    if (!(v->is_tenant ? tenant_put(&g, d, j, e) : node_put(&g, d, deployed, j, e)))
        return json_decref(j), false;
    return finish(v, j, e);
}

/* --- what comes ------------------------------------------------------------------------------- */

static json_t *hours_json(int64_t start_s, const double *g_per_kwh, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:o,s:o}", "from",
                                              time_json(start_s + (int64_t)i * WHEN_HOUR_S),
                                              "g_per_kwh", number(g_per_kwh[i])));
    return list;
}

static json_t *forecast_json(const view *v)
{
    outlook *o = ARENA_NEW(v->a, outlook);
    err why;
    if (!o || !outlook_of(v->k, v->a, FORECAST_HOURS_MAX, o, &why))
        return json_pack("{s:n,s:[]}", "method", "hours");
    return json_pack("{s:s,s:f,s:i,s:i,s:o}", "method", forecast_method_name(o->method),
                     "fit_error_pct", o->fit_error_pct, "published_hours", (int)o->published_hours,
                     "history_hours", (int)o->history_hours, "hours",
                     hours_json(o->start_s, o->g_per_kwh, o->hours));
}

bool view_outlook(const view *v, err *e)
{
    grid_view g;
    double ignored;
    int64_t now = keeper_now_s(), hour = now - now % WHEN_HOUR_S;
    if (!grid_view_make(v->k, v->a, hour - WHEN_DAY_S, hour + WHEN_HOUR_S, false, &g, e))
        return false;
    double past[24];
    for (int64_t i = 0; i < 24; i++)
        past[i] = intensity_at(&g.series, hour - WHEN_DAY_S + i * WHEN_HOUR_S);
    json_t *j = json_pack("{s:o,s:s%,s:s%,s:s,s:s,s:o,s:o}", "time", time_json(now), "zone",
                          g.zone.n ? g.zone.p : "", g.zone.n, "source", g.source.p, g.source.n,
                          "kind", intensity_kind_name(g.reading.kind), "basis",
                          intensity_basis_name(g.reading.basis), "measured",
                          hours_json(hour - WHEN_DAY_S, past, 24), "forecast", forecast_json(v));
    if (!j || !intensity_put(v, j, &ignored, e))
        return json_decref(j), false;
    return finish(v, j, e);
}
