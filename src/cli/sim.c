/* `ebb sim`: the planner, forecasts, ledger and peak predictor of the platform in virtual time.
 * Reads options and files, runs the policies one after the other, writes what was asked for. All
 * decisions are sched/'s. */
#include "cli/sim.h"

#include "base/limits.h"
#include "cli/carbon_data.h"
#include "cli/trace.h"
#include "sched/sim_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
    "ebb sim: load and carbon in virtual time, through the platform's own scheduler\n\n"
    "  --load apps|uniform|xfaas|FILE   1,000 synthetic apps (default), one deferrable CPU-second\n"
    "                     an hour, XFaaS's day, or a trace: CSV time,app,calls,cpu_s,deferrable, "
    "or\n"
    "                     a day of Azure Functions 2019 (invocations per minute), its calls of\n"
    "                     --call-ms N, or --durations FILE of the same data set\n"
    "  --days N           to simulate (default 7), of which --warm N do not count in ratios\n"
    "  --intensity FILE   grid carbon intensity (CSV or a provider's JSON); may be repeated\n"
    "  --fit FILE         history that the forecaster is fitted on, before the others; repeated\n"
    "  --policy P         all (default), now, yesterday, profile, ours, clairvoyant; with commas\n"
    "  --slack H          hours that deferrable work may wait (24)\n"
    "  --cpus N|inf       capacity (16)\n"
    "  --target U         share of capacity that deferred work may fill (0.85)\n"
    "  --headroom W       weight of load in the planner's price (0.5); 0: carbon alone\n"
    "  --apps N --seed N --correlation R --mean-cpus N   the synthetic population\n"
    "  --check            only print the population's acceptance checks\n"
    "  --shuffle-history N   the control: what policies are told of the past has its days in "
    "random\n"
    "                     order (seed N), the grid does not\n"
    "  --shuffle-days N   the grid itself has its days in random order\n"
    "  --no-ledger --no-peaks   totals only\n"
    "  --queue            call by call, the last day: what the reserved class feels; its calls "
    "take\n"
    "                     --call-ms N (50), a running guest yields within --tick-ms N (1)\n"
    "  --against LIST     compare hosts: always-on,container,microvm (ebb is always there)\n"
    "  --grid G --code-factor F   for --against: g/kWh, CPU of WebAssembly against native\n"
    "  --json FILE --svg FILE --forecasts FILE   '-' is standard output\n";

enum { FILES_MAX = 64 };

typedef struct {
    sim_config c;
    const char *fit[FILES_MAX], *intensity[FILES_MAX];
    size_t fit_count, intensity_count;
    const char *load, *durations, *policies, *json, *svg, *forecasts, *against;
    double days, warm, seed, apps, shuffle, shuffle_told, grid, code_factor, slack, call_ms,
        tick_ms;
    bool check, queue;
} options;

static bool parse_flag(options *o, const char *arg)
{
    if (strcmp(arg, "--check") == 0)
        o->check = true;
    else if (strcmp(arg, "--queue") == 0)
        o->queue = true;
    else if (strcmp(arg, "--no-ledger") == 0)
        o->c.ledger = false;
    else if (strcmp(arg, "--no-peaks") == 0)
        o->c.peaks = false;
    else
        return false;
    return true;
}

static bool parse(int argc, char **argv, options *o, err *e)
{
    const char *v;
    const struct {
        const char *name;
        const char **to;
    } texts[] = {{"--load", &o->load},       {"--durations", &o->durations},
                 {"--policy", &o->policies}, {"--json", &o->json},
                 {"--svg", &o->svg},         {"--forecasts", &o->forecasts},
                 {"--against", &o->against}};
    const struct {
        const char *name;
        double min, max, *to;
    } numbers[] = {
        {"--days", 1, 36500, &o->days},
        {"--warm", 0, 3650, &o->warm},
        {"--slack", 1, SIM_HORIZON, &o->slack},
        {"--target", 0.01, 1, &o->c.target},
        {"--headroom", 0, 1000, &o->c.headroom_weight},
        {"--apps", 1, 1e6, &o->apps},
        {"--seed", 0, 1e15, &o->seed},
        {"--correlation", 0, 1, &o->c.population.correlation},
        {"--shuffle-days", 0, 1e15, &o->shuffle},
        {"--shuffle-history", 0, 1e15, &o->shuffle_told},
        {"--grid", 0, 3000, &o->grid},
        {"--call-ms", 0.01, 1e6, &o->call_ms},
        {"--tick-ms", 0, 1e4, &o->tick_ms},
        {"--code-factor", 0.1, 100, &o->code_factor},
    };
    for (int i = 1; i < argc; i++) {
        bool taken = parse_flag(o, argv[i]);
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
        if (taken)
            continue;
        if (option_is(argc, argv, &i, "--cpus", &v)) {
            if (v && strcmp(v, "inf") == 0)
                o->c.cpus = INFINITY;
            else if (!option_number("--cpus", v, 1e-6, 1e9, &o->c.cpus, e))
                return false;
        } else if (option_is(argc, argv, &i, "--mean-cpus", &v)) {
            if (!option_number("--mean-cpus", v, 1e-6, 1e9, &o->c.mean_cpus, e))
                return false;
            o->c.population.mean_cpus = o->c.mean_cpus;
            o->c.population.cpus_per_app_max = o->c.mean_cpus / 10;
        } else if (option_is(argc, argv, &i, "--intensity", &v) && v &&
                   o->intensity_count < FILES_MAX) {
            o->intensity[o->intensity_count++] = v;
        } else if (option_is(argc, argv, &i, "--fit", &v) && v && o->fit_count < FILES_MAX) {
            o->fit[o->fit_count++] = v;
        } else {
            return err_set(e, ERR_INVALID, "'%s' is no option of ebb sim; see ebb sim --help",
                           argv[i]);
        }
    }
    return true;
}

/* The fit's days among themselves, the rest among themselves. */
static void shuffle(double *hourly, const carbon_data *all, const carbon_data *fit, double seed)
{
    sim_shuffle_days(hourly, fit->hours, (uint64_t)seed);
    sim_shuffle_days(hourly + fit->hours, all->hours - fit->hours, (uint64_t)seed + 1);
}

/* Without any data: a flat grid of the world's mean, so that only load decides. */
static bool intensity_set(options *o, arena *a, err *e)
{
    sim_config *c = &o->c;
    c->hours = (size_t)o->days * 24;
    c->warm_hours = (size_t)o->warm * 24;
    if (!o->intensity_count) {
        c->intensity_start_s = 1704067200; /* 2024-01-01, a Monday */
        c->start_s = c->intensity_start_s + 86400;
        c->intensity_hours = c->hours + 24 + SIM_HORIZON;
        double *flat = ARENA_ARRAY(a, double, c->intensity_hours);
        if (!flat)
            return err_no_memory(e);
        for (size_t i = 0; i < c->intensity_hours; i++)
            flat[i] = INTENSITY_WORLD;
        c->intensity = flat;
        return true;
    }
    const char *paths[2 * FILES_MAX];
    carbon_data fit = {0}, all;
    for (size_t i = 0; i < o->fit_count; i++)
        paths[i] = o->fit[i];
    for (size_t i = 0; i < o->intensity_count; i++)
        paths[o->fit_count + i] = o->intensity[i];
    if (o->fit_count && !carbon_data_read(paths, o->fit_count, a, &fit, e))
        return false;
    if (!carbon_data_read(paths, o->fit_count + o->intensity_count, a, &all, e))
        return false;
    c->intensity = all.hourly;
    c->intensity_hours = all.hours;
    c->intensity_start_s = all.start_s;
    c->fit_hours = fit.hours;
    int64_t first = o->fit_count ? fit.start_s + (int64_t)fit.hours * 3600 : all.start_s + 86400;
    c->start_s = (first + 86399) / 86400 * 86400;
    if (o->fit_count && fit.start_s != all.start_s)
        return err_set(e, ERR_INVALID, "the --fit files must lie before the --intensity files");
    if (o->shuffle > 0)
        shuffle(all.hourly, &all, &fit, o->shuffle);
    if (o->shuffle_told > 0) {
        double *told = ARENA_ARRAY(a, double, all.hours);
        if (!told)
            return err_no_memory(e);
        memcpy(told, all.hourly, all.hours * sizeof *told);
        shuffle(told, &all, &fit, o->shuffle_told);
        c->told = told;
    }
    int64_t end = all.start_s + (int64_t)all.hours * 3600;
    if (c->start_s + (int64_t)c->hours * 3600 > end) {
        if (end - c->start_s < 86400)
            return err_set(e, ERR_INVALID, "no whole day of intensity data is left to simulate");
        c->hours = (size_t)((end - c->start_s) / 86400) * 24;
    }
    return true;
}

static bool load_set(options *o, arena *a, err *e)
{
    sim_config *c = &o->c;
    c->slack_hours = (size_t)o->slack;
    c->population.seed = (uint64_t)o->seed;
    c->population.apps = (size_t)o->apps;
    c->load = strcmp(o->load, "apps") == 0      ? SIM_POPULATION
              : strcmp(o->load, "uniform") == 0 ? SIM_UNIFORM
              : strcmp(o->load, "xfaas") == 0   ? SIM_XFAAS
                                                : SIM_TRACE;
    if (c->load == SIM_TRACE) {
        trace t;
        if (!trace_read(o->load, o->durations, o->call_ms / 1000, a, &t, e))
            return false;
        trace_shift(&t, c->start_s); /* its first day is the first that is simulated */
        c->events = t.events;
        c->events_count = t.events_count;
        c->trace_apps = t.apps;
        c->trace_deferrable = t.deferrable;
    }
    if (isfinite(c->cpus))
        c->power = power_model_specpower((unsigned)ceil(c->cpus));
    return true;
}

static bool against(options *o, arena *a, err *e)
{
    against_config c = against_defaults();
    against_result r;
    unsigned hosts = 1u << HOST_EBB;
    str list = str_from(o->against);
    while (list.n) {
        str name = str_cut(&list, ',');
        unsigned before = hosts;
        for (unsigned h = 0; h < HOST_KINDS; h++)
            if (str_eq(name, str_from(host_kind_name((host_kind)h))))
                hosts |= 1u << h;
        if (before == hosts && !str_eq(name, S("ebb")))
            return err_set(e, ERR_INVALID,
                           "--against knows always-on, container and microvm, "
                           "not '%.*s'",
                           STR(name));
    }
    c.intensity_g_per_kwh = o->grid;
    c.host[HOST_EBB].code_factor = o->code_factor;
    o->c.population.seed = (uint64_t)o->seed;
    o->c.population.apps = (size_t)o->apps;
    if (!against_run(&c, &o->c.population, (size_t)o->days * 24, a, &r, e))
        return false;
    buf b;
    buf_init(&b, 1 * MIB);
    if (!o->json || strcmp(o->json, "-") != 0) {
        against_table(&c, &r, hosts, &b);
        file_write("-", &b, e);
    }
    bool ok = true;
    if (o->json) {
        buf_clear(&b);
        against_json(&c, &r, hosts, &b);
        ok = file_write(o->json, &b, e);
    }
    buf_fini(&b);
    return ok;
}

static bool queue(options *o, const sim_result *r, arena *a, day_result ret[2], err *e)
{
    if (!isfinite(o->c.cpus))
        return err_set(e, ERR_INVALID, "--queue needs a capacity");
    day_config d = {.cores = (size_t)ceil(o->c.cpus),
                    .call_cpu_s = o->call_ms / 1000,
                    .tick_s = o->tick_ms / 1000,
                    .seed = (uint64_t)o->seed,
                    .steps_count = 288,
                    .target = o->c.target,
                    .steps = r->steps + (r->steps_count - 288)};
    if (!day_run(&d, a, &ret[0], e))
        return false;
    d.opportunistic = true;
    return day_run(&d, a, &ret[1], e);
}

static bool policies_run(options *o, arena *a, sim_result *r, size_t *ret_n, buf *forecasts, err *e)
{
    *ret_n = 0;
    for (int p = 0; p < SIM_POLICIES; p++) {
        str list = str_from(o->policies);
        bool wanted = str_eq(list, S("all"));
        while (list.n && !wanted)
            wanted = str_eq(str_cut(&list, ','), str_from(sim_policy_name((sim_policy)p)));
        if (!wanted)
            continue;
        o->c.forecasts = o->forecasts ? forecasts : NULL;
        if (!sim_run(&o->c, (sim_policy)p, a, &r[*ret_n], e))
            return false;
        ++*ret_n;
    }
    return *ret_n ? true
                  : err_set(e, ERR_INVALID,
                            "--policy '%s': none of now, yesterday, "
                            "profile, ours, clairvoyant, all",
                            o->policies);
}

static bool check(options *o, arena *a, err *e)
{
    population p;
    o->c.population.seed = (uint64_t)o->seed;
    o->c.population.apps = (size_t)o->apps;
    if (!population_new(&o->c.population, a, &p, e))
        return false;
    population_check k = population_checked(&p, a);
    printf("{\"apps\":%zu,\"at_most_hourly_pct\":%.2f,\"at_most_minutely_pct\":%.2f,"
           "\"busiest_18.6_pct_have_calls_pct\":%.2f,\"deferrable_pct\":%.2f}\n",
           p.n, k.hourly_pct, k.minutely_pct, k.top_pct, k.deferrable_pct);
    return true;
}

static bool run(options *o, arena *a, err *e)
{
    if (o->check)
        return check(o, a, e);
    if (o->against)
        return against(o, a, e);
    sim_result r[SIM_POLICIES];
    day_result days[2];
    size_t n;
    buf b, forecasts;
    if (!intensity_set(o, a, e) || !load_set(o, a, e))
        return false;
    buf_init(&b, 64 * MIB);
    buf_init(&forecasts, 256 * MIB);
    bool ok = policies_run(o, a, r, &n, &forecasts, e);
    if (ok && o->queue)
        ok = queue(o, &r[n > 1 && r[n - 1].policy == SIM_CLAIRVOYANT ? n - 2 : n - 1], a, days, e);
    if (ok && (!o->json || strcmp(o->json, "-") != 0)) {
        sim_table(&o->c, r, n, &b);
        if (o->queue)
            buf_printf(&b, "reserved class: p99 %.4g ms alone, %.4g ms beside opportunistic work\n",
                       1000 * days[0].p99_s, 1000 * days[1].p99_s);
        ok = file_write("-", &b, e);
    }
    buf_clear(&b);
    if (ok && o->json)
        ok = (sim_json(&o->c, r, n, o->queue ? days : NULL, &b), file_write(o->json, &b, e));
    buf_clear(&b);
    if (ok && o->svg) {
        size_t k = 0;
        for (size_t i = 0; i < n; i++)
            k = r[i].policy == SIM_OURS ? i : k;
        ok = (sim_svg(&o->c, &r[k], 7 * 24, &b), file_write(o->svg, &b, e));
    }
    if (ok && o->forecasts)
        ok = file_write(o->forecasts, &forecasts, e);
    buf_fini(&b);
    buf_fini(&forecasts);
    return ok;
}

int cli_sim(int argc, char **argv)
{
    options o = {.c = sim_config_default(),
                 .load = "apps",
                 .policies = "all",
                 .days = 7,
                 .seed = 1,
                 .apps = 1000,
                 .grid = 300,
                 .slack = 24,
                 .call_ms = 50,
                 .tick_ms = 1};
    o.code_factor = against_defaults().host[HOST_EBB].code_factor;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(usage, stdout);
            return 0;
        }
    arena a;
    arena_init(&a, 8 * GIB);
    err e;
    bool ok = parse(argc, argv, &o, &e) && run(&o, &a, &e);
    arena_fini(&a);
    if (!ok)
        fprintf(stderr, "ebb sim: %s\n", e.text);
    return ok ? 0 : 1;
}
