/* See against.h. Per app and 5-minute step the trace says how many calls and how much CPU. The
 * number of instances an app needs at once is its concurrency, calls/s x seconds a call (Little),
 * rounded up, at least one while it is kept alive; a call is cold when it finds none alive, or when
 * concurrency has grown. Energy is idle power of the machines plus J per CPU-second, as everywhere.
 *
 * Break-even: one app that uses a share u of a server. Always on: idle + u x busy, and the server.
 * ebb: the same work costs code_factor more CPU, but its idle power and embodied carbon are shared
 * in proportion at the utilisation ebb reaches. Solved for u. */
#include "sched/against.h"

#include <math.h>

#define STEP_S 300

const char *host_kind_name(host_kind k)
{
    static const char *const names[] = {"always-on", "container", "microvm", "ebb"};
    return (unsigned)k < HOST_KINDS ? names[k] : "?";
}

against_config against_defaults(void)
{
    const double mb = 1e6;
    return (against_config){
        .host =
            {
                /* A small VM per app: guest kernel and user land; 0.2 % of a CPU of ticks, agents
                 * and monitoring while idle. */
                {INFINITY, 0, 0, 0, 1, 0.002, 256 * mb, 0, 0, 0.25},
                /* AWS kept 10 minutes, Azure 20 (2020); a container starts in about a second. */
                {600, 1.0, 0.5, 100e-6, 1, 0.001, 50 * mb, 0, 0, 0.25},
                /* Firecracker's specification: 125 ms to init, 5 MiB overhead; a guest of 64 MB
                 * besides; a tenth more kept warm. */
                {600, 0.125, 0.1, 100e-6, 1, 0.001, 69 * mb, 0, 0.1, 0.25},
                /* ebb: no instance between calls; 0.2 ms and 5 ms if the artifact is not mapped.
                 * code_factor: Cranelift against native compilers, measured 1.1 to 1.6. */
                {0, 0.005, 0.001, 30e-6, 1.3, 0, 2 * mb, 0.05 * mb, 0, 0},
            },
        .server_cpus = 96,
        .server_memory_bytes = 384e9,
        .server_idle_w = 0.65 * 96,
        .server_busy_w = 2.5,
        .server_embodied_g_per_s = 1215e3 / (4 * 365.0 * 86400),
        .intensity_g_per_kwh = 300,
    };
}

typedef struct {
    double cold, calls; /* so far */
    double alive;       /* instances kept */
    double quiet_s;     /* since the last call */
} kept;

typedef struct {
    double cpus_peak, memory_peak, reserved_peak;
} tally;

static void step(const host_params *h, const population_app *app, uint64_t calls, double cpu_s,
                 kept *k, against_row *row, double *cpus, double *memory, double *reserved)
{
    double busy = calls ? ceil(cpu_s * h->code_factor / STEP_S) : 0;
    double used_cpu = cpu_s * h->code_factor + (double)calls * h->call_cpu_s;
    if (isinf(h->keep_alive_s)) {
        k->alive = fmax(k->alive, fmax(busy, 1));
    } else if (h->keep_alive_s == 0) { /* an instance a call: alive for the call alone */
        k->alive = (double)calls * app->call_cpu_s * h->code_factor / STEP_S;
        if (calls && k->quiet_s > 3600) { /* its artifact was evicted */
            k->cold += 1;
            used_cpu += h->start_cpu_s;
        }
    } else if (calls) {
        /* Gaps inside a step: an app with fewer calls than keep-alives may have gone cold. */
        double expected_gap = STEP_S / (double)calls;
        double starts = fmax(0, busy - k->alive);
        if (k->alive > 0 && expected_gap > h->keep_alive_s)
            starts = fmax(starts, 1);
        k->cold += fmin(starts, (double)calls);
        used_cpu += starts * h->start_cpu_s;
        k->alive = fmax(k->alive, busy);
    }
    k->quiet_s = calls ? 0 : k->quiet_s + STEP_S;
    if (isfinite(h->keep_alive_s) && h->keep_alive_s > 0 && k->quiet_s >= h->keep_alive_s)
        k->alive = 0;
    double alive = k->alive * (1 + h->pool);
    used_cpu += alive * h->idle_cpu * STEP_S;
    row->cpu_s += used_cpu;
    row->instance_s += alive * STEP_S;
    row->calls += calls;
    k->calls += (double)calls;
    *cpus += used_cpu / STEP_S;
    *memory += alive * (app->memory_bytes + h->memory_bytes) + (alive > 0 ? 0 : h->dormant_bytes);
    *reserved += alive * h->cpu_reserved;
}

bool against_run(const against_config *c, const population_config *pc, size_t hours, arena *a,
                 against_result *ret, err *e)
{
    population p;
    if (!population_new(pc, a, &p, e))
        return false;
    kept *k = ARENA_ARRAY(a, kept, p.n * HOST_KINDS);
    if (!k)
        return err_no_memory(e);
    against_result r = {0};
    tally t[HOST_KINDS] = {{0}};
    for (size_t s = 0; s < hours * 12; s++) {
        double cpus[HOST_KINDS] = {0}, memory[HOST_KINDS] = {0}, reserved[HOST_KINDS] = {0};
        for (size_t i = 0; i < p.n; i++) {
            uint64_t calls;
            int64_t at = 4 * 86400 + (int64_t)s * STEP_S;
            double cpu_s = population_use(&p, i, at, STEP_S, &calls);
            for (size_t h = 0; h < HOST_KINDS; h++)
                step(&c->host[h], &p.app[i], calls, cpu_s, &k[i * HOST_KINDS + h], &r.row[h],
                     &cpus[h], &memory[h], &reserved[h]);
        }
        for (size_t h = 0; h < HOST_KINDS; h++) {
            t[h].cpus_peak = fmax(t[h].cpus_peak, cpus[h]);
            t[h].memory_peak = fmax(t[h].memory_peak, memory[h]);
            t[h].reserved_peak = fmax(t[h].reserved_peak, reserved[h]);
        }
    }
    double seconds = (double)hours * 3600;
    for (size_t h = 0; h < HOST_KINDS; h++) {
        against_row *w = &r.row[h];
        const host_params *x = &c->host[h];
        double need = fmax(t[h].cpus_peak / 0.85, t[h].reserved_peak) / c->server_cpus;
        need = fmax(need, t[h].memory_peak / (0.9 * c->server_memory_bytes));
        w->need = need;
        w->machines = fmax(1, ceil(need));
        w->joules = w->machines * c->server_idle_w * seconds + w->cpu_s * c->server_busy_w;
        w->operational_g = w->joules / 3.6e6 * c->intensity_g_per_kwh;
        w->embodied_g = w->machines * c->server_embodied_g_per_s * seconds;
        w->utilisation_pct = 100 * w->cpu_s / (w->machines * c->server_cpus * seconds);
        double cold = 0, apps = 0;
        for (size_t i = 0; i < p.n; i++) {
            const kept *y = &k[i * HOST_KINDS + h];
            cold += y->cold;
            apps += y->calls > 0;
            w->cold_apps += y->cold > 0.01 * y->calls;
        }
        w->cold_share = w->calls ? cold / (double)w->calls : 0;
        w->cold_apps = apps > 0 ? w->cold_apps / apps : 0;
        w->fleet_g = (w->need * c->server_idle_w * seconds + w->cpu_s * c->server_busy_w) / 3.6e6 *
                         c->intensity_g_per_kwh +
                     w->need * c->server_embodied_g_per_s * seconds;
        w->p99_added_s = x->call_cpu_s + (w->cold_share > 0.01 ? x->start_s : 0);
    }
    /* Grams per second of one server: fixed when on, and per CPU-second. */
    double g_per_j = c->intensity_g_per_kwh / 3.6e6;
    double fixed = c->server_idle_w * g_per_j + c->server_embodied_g_per_s;
    double busy = c->server_busy_w * g_per_j * c->server_cpus;
    double f = c->host[HOST_EBB].code_factor, ebb_u = 0.66; /* what XFaaS holds all day */
    double ebb_slope = f * (busy + fixed / ebb_u);
    r.break_even = ebb_slope > busy ? fixed / (ebb_slope - busy) : INFINITY;
    *ret = r;
    return true;
}
