/* `ebb sim`: the planner, forecasts, ledger and peak predictor of the platform in virtual time.
 * Reads options and files, runs the policies one after the other, writes what was asked for. All
 * decisions are sched/'s. */
#include "cli/sim.h"

#include "base/limits.h"
#include "cli/carbon_data.h"
#include "cli/options.h"
#include "cli/trace.h"
#include "sched/sim_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    sim_config c;
    const option *fit, *intensity;
    const char *load, *durations, *policies, *json, *svg, *forecasts, *steps, *against;
    double days, warm, seed, apps, shuffle, shuffle_told, grid, code_factor, slack, call_ms,
        tick_ms;
    bool check, queue;
} sim_options;

static bool numbers_read(const options *given, sim_options *o, err *e)
{
    const option_range ranges[] = {
        {"days", 1, 36500, &o->days},
        {"warm", 0, 3650, &o->warm},
        {"slack", 1, SIM_HORIZON, &o->slack},
        {"target", 0.01, 1, &o->c.target},
        {"headroom", 0, 1000, &o->c.headroom_weight},
        {"apps", 1, 1e6, &o->apps},
        {"seed", 0, 1e15, &o->seed},
        {"correlation", 0, 1, &o->c.population.correlation},
        {"shuffle-days", 0, 1e15, &o->shuffle},
        {"shuffle-history", 0, 1e15, &o->shuffle_told},
        {"grid", 0, 3000, &o->grid},
        {"call-ms", 0.01, 1e6, &o->call_ms},
        {"tick-ms", 0, 1e4, &o->tick_ms},
        {"code-factor", 0.1, 100, &o->code_factor},
        {"mean-cpus", 1e-6, 1e9, &o->c.mean_cpus},
    };
    const option_range cpus = {"cpus", 1e-6, 1e9, &o->c.cpus};
    const char *capacity = options_get(given, "cpus")->got;
    bool unlimited = capacity && strcmp(capacity, "inf") == 0;
    if (!options_numbers(given, ranges, sizeof ranges / sizeof *ranges, e) ||
        (!unlimited && !options_numbers(given, &cpus, 1, e)))
        return false;
    if (unlimited)
        o->c.cpus = INFINITY;
    if (options_get(given, "mean-cpus")->given) {
        o->c.population.mean_cpus = o->c.mean_cpus;
        o->c.population.cpus_per_app_max = o->c.mean_cpus / 10;
    }
    return true;
}

static void words_read(const options *given, sim_options *o)
{
    const struct {
        const char *name, **to;
    } texts[] = {{"load", &o->load},       {"durations", &o->durations},
                 {"policy", &o->policies}, {"json", &o->json},
                 {"svg", &o->svg},         {"forecasts", &o->forecasts},
                 {"steps", &o->steps},     {"against", &o->against}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (options_get(given, texts[i].name)->given)
            *texts[i].to = options_get(given, texts[i].name)->got;
    o->fit = options_get(given, "fit");
    o->intensity = options_get(given, "intensity");
    o->check = options_get(given, "check")->given;
    o->queue = options_get(given, "queue")->given;
    o->c.ledger &= !options_get(given, "no-ledger")->given;
    o->c.peaks &= !options_get(given, "no-peaks")->given;
}

/* The fit's days among themselves, the rest among themselves. */
static void shuffle(double *hourly, const carbon_data *all, const carbon_data *fit, double seed)
{
    sim_shuffle_days(hourly, fit->hours, (uint64_t)seed);
    sim_shuffle_days(hourly + fit->hours, all->hours - fit->hours, (uint64_t)seed + 1);
}

/* Without any data: a flat grid of the world's mean, so that only load decides. */
static bool intensity_set(sim_options *o, arena *a, err *e)
{
    sim_config *c = &o->c;
    c->hours = (size_t)o->days * 24;
    c->warm_hours = (size_t)o->warm * 24;
    if (!o->intensity->count) {
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
    carbon_data fit = {0}, all;
    size_t fits = o->fit->count, n = fits + o->intensity->count;
    const char **paths = ARENA_ARRAY(a, const char *, n);
    if (!paths)
        return err_no_memory(e);
    for (size_t i = 0; i < n; i++)
        paths[i] = i < fits ? o->fit->all[i] : o->intensity->all[i - fits];
    if (fits && !carbon_data_read(paths, fits, a, &fit, e))
        return false;
    if (!carbon_data_read(paths, n, a, &all, e))
        return false;
    c->intensity = all.hourly;
    c->intensity_hours = all.hours;
    c->intensity_start_s = all.start_s;
    c->fit_hours = fit.hours;
    int64_t first = fits ? fit.start_s + (int64_t)fit.hours * 3600 : all.start_s + 86400;
    c->start_s = (first + 86399) / 86400 * 86400;
    if (fits && fit.start_s != all.start_s)
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

static bool load_set(sim_options *o, arena *a, err *e)
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

static bool against(sim_options *o, arena *a, err *e)
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

static bool queue(sim_options *o, const sim_result *r, arena *a, day_result ret[2], err *e)
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

static bool policies_run(sim_options *o, arena *a, sim_result *r, size_t *ret_n, buf *forecasts,
                         err *e)
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

static bool check(sim_options *o, arena *a, err *e)
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

static bool run(sim_options *o, arena *a, err *e)
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
    buf_clear(&b);
    if (ok && o->steps)
        ok = (sim_steps(&o->c, &r[n - 1], &b), file_write(o->steps, &b, e));
    if (ok && o->forecasts)
        ok = file_write(o->forecasts, &forecasts, e);
    buf_fini(&b);
    buf_fini(&forecasts);
    return ok;
}

static sim_options defaults(void)
{
    sim_options o = {.c = sim_config_default(),
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
    return o;
}

int cli_sim(int argc, char **argv)
{
    option rows[] = {
        {"load", 0, OPTION_VALUE, "L",
         "apps (1,000 synthetic ones), uniform (one deferrable CPU-second an hour), xfaas (its "
         "day), or a file: CSV time,app,calls,cpu_s,deferrable, or a day of Azure Functions 2019 "
         "(invocations per minute) [apps]"},
        {"durations", 0, OPTION_VALUE, "FILE", "of the same data set; else calls take --call-ms"},
        {"days", 0, OPTION_VALUE, "N", "to simulate [7]"},
        {"warm", 0, OPTION_VALUE, "N", "of them, the first that do not count in ratios [0]"},
        {"intensity", 0, OPTION_REPEAT, "FILE",
         "grid carbon intensity: CSV or a provider's JSON; repeated"},
        {"fit", 0, OPTION_REPEAT, "FILE",
         "history before these, that the forecaster is fitted on; repeated"},
        {"policy", 0, OPTION_VALUE, "P",
         "now, yesterday, profile, ours, clairvoyant, with commas, or all [all]"},
        {"slack", 0, OPTION_VALUE, "H", "hours that deferrable work may wait [24]"},
        {"cpus", 0, OPTION_VALUE, "N", "capacity; inf: unlimited [16]"},
        {"target", 0, OPTION_VALUE, "U", "share of it that deferred work may fill [0.85]"},
        {"headroom", 0, OPTION_VALUE, "W", "weight of load in the price; 0: carbon alone [0.5]"},
        {"apps", 0, OPTION_VALUE, "N", "the synthetic population: how many [1000]"},
        {"seed", 0, OPTION_VALUE, "N", "of it [1]"},
        {"correlation", 0, OPTION_VALUE, "R", "among its apps [0]"},
        {"mean-cpus", 0, OPTION_VALUE, "N", "CPUs that it uses on average"},
        {"check", 0, OPTION_FLAG, NULL, "only print the population's acceptance checks"},
        {"shuffle-history", 0, OPTION_VALUE, "N",
         "the control: the past that policies are told has its days in random order, seed N"},
        {"shuffle-days", 0, OPTION_VALUE, "N", "the grid itself has its days in random order"},
        {"no-ledger", 0, OPTION_FLAG, NULL, "totals only"},
        {"no-peaks", 0, OPTION_FLAG, NULL, "no peak prediction"},
        {"queue", 0, OPTION_FLAG, NULL,
         "call by call, the last day: what the reserved class feels"},
        {"call-ms", 0, OPTION_VALUE, "N", "what its calls take [50]"},
        {"tick-ms", 0, OPTION_VALUE, "N", "within which a running guest yields [1]"},
        {"against", 0, OPTION_VALUE, "LIST",
         "compare hosts: always-on,container,microvm (ebb is always there)"},
        {"grid", 0, OPTION_VALUE, "G", "for that: g/kWh [300]"},
        {"code-factor", 0, OPTION_VALUE, "F", "for that: CPU of WebAssembly against native"},
        {"json", 0, OPTION_VALUE, "FILE", "results; '-' is standard output"},
        {"svg", 0, OPTION_VALUE, "FILE", "a picture"},
        {"forecasts", 0, OPTION_VALUE, "FILE", "what was forecast, hour by hour"},
        {"steps", 0, OPTION_VALUE, "FILE",
         "CSV: what the last policy received and ran, every five minutes, in CPUs"},
        {0},
    };
    options given = {.command = "sim",
                     .summary =
                         "Load and carbon in virtual time, through the platform's own scheduler.",
                     .options = rows};
    sim_options o = defaults();
    err e;
    _cleanup_(arena_fini) arena a;
    arena_init(&a, 8 * GIB);
    if (!options_parse(&a, &given, argc, argv, &e) ||
        (!given.help && !numbers_read(&given, &o, &e)))
        return cli_fail(&e), 2;
    if (given.help)
        return 0;
    words_read(&given, &o);
    return run(&o, &a, &e) ? 0 : cli_fail(&e);
}
