/* See sim.h. One hour of virtual time:
 *
 *   forecast -> plan (slot 0 = this hour) -> 12 steps: reserved work, then deferred work at the
 *   planned rate x S within the room there is -> ledger -> histories learn what the hour was
 *
 * Work of the present hour is accepted step by step and cannot run before its step. Which app the
 * deferred work that ran belongs to is kept per deadline slot, as sums; a fluid model of calls that
 * are short against a step. The queueing of single calls is day.c's matter. */
#include "sched/sim.h"

#include "base/limits.h"
#include "carbon/forecast.h"
#include "sched/flow.h"
#include "sched/load.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
    const sim_config *c;
    sim_policy policy;
    population pop;
    size_t apps, event;
    const bool *deferrable;
    forecast_history history;
    forecast_model *model;
    intensity_series really, told;
    backlog todo;
    load_history reserved_load, arrivals_load;
    util_control util;
    peak *peaks;
    ledger *books;
    ledger_row *rows;
    double *use;                                 /* of this step, per app */
    double **pending;                            /* [deadline slot % PLAN_SLOTS_MAX][app] */
    double *overdue;                             /* per app: its deadline is over */
    double taken[PLAN_SLOTS_MAX], taken_overdue; /* of this hour */
    sim_result r;
} sim;

sim_config sim_config_default(void)
{
    return (sim_config){
        .population =
            {.seed = 1, .apps = 1000, .speedup = 100, .mean_cpus = 4, .cpus_per_app_max = 0.4},
        .xfaas_ratio = 4.3,
        .xfaas_deferrable = 0.6,
        .mean_cpus = 10,
        .cpus = 16,
        .target = PLAN_TARGET,
        .headroom_weight = PLAN_HEADROOM_WEIGHT,
        .price_steps = PLAN_STEPS,
        .slack_hours = 24,
        .power = power_model_specpower(16),
        .embodied_g_per_s = 1215e3 / (4 * 365.0 * 86400) * 16 / 96,
        .ledger = true,
        .peaks = true,
    };
}

const char *sim_policy_name(sim_policy p)
{
    static const char *const names[] = {"now", "yesterday", "profile", "ours", "clairvoyant"};
    return (unsigned)p < SIM_POLICIES ? names[p] : "?";
}

double sim_share_pct(const sim_result *r, const sim_result *clairvoyant)
{
    double best = saving_g(&clairvoyant->saved);
    return best > 0 ? 100 * saving_g(&r->saved) / best : (double)NAN;
}

void sim_shuffle_days(double *hourly, size_t hours, uint64_t seed)
{
    rng r;
    rng_init(&r, seed);
    for (size_t i = hours / 24; i > 1; i--) {
        size_t j = (size_t)(rng_uniform(&r) * (double)i);
        for (size_t h = 0; h < 24; h++) {
            double t = hourly[(i - 1) * 24 + h];
            hourly[(i - 1) * 24 + h] = hourly[j * 24 + h];
            hourly[j * 24 + h] = t;
        }
    }
}

static double intensity_of(const sim *s, int64_t t_s) { return intensity_at(&s->really, t_s); }

static double told_of(const sim *s, int64_t t_s) { return intensity_at(&s->told, t_s); }

/* The last resort where even history has a hole: the hour before, else the world. */
static double or_last(const double *v, size_t k)
{
    return !isnan(v[k]) ? v[k] : k ? v[k - 1] : INTENSITY_WORLD;
}

static void look_ahead(sim *s, int64_t t, double *ret)
{
    double ours[SIM_HORIZON];
    if (s->policy == SIM_OURS || s->policy == SIM_PROFILE) /* no model: the plain profile */
        forecast_make(s->model, &s->history, SIM_HORIZON, ours);
    for (size_t k = 0; k < SIM_HORIZON; k++) {
        int64_t at = t + (int64_t)k * 3600;
        double v = s->policy == SIM_NOW                                ? (double)k
                   : s->policy == SIM_OURS || s->policy == SIM_PROFILE ? ours[k]
                   : s->policy == SIM_CLAIRVOYANT ? intensity_of(s, at)
                                                  : told_of(s, at - (k < 24 ? 1 : 2) * 86400);
        ret[k] = v;
        ret[k] = or_last(ret, k);
    }
}

static void accept(sim *s, size_t app, int64_t accepted_s, double cpu_s)
{
    int64_t deadline = accepted_s - accepted_s % 3600 + (int64_t)s->c->slack_hours * 3600;
    backlog_add(&s->todo, deadline, cpu_s);
    s->pending[(size_t)(deadline / 3600 - 1) % PLAN_SLOTS_MAX][app] += cpu_s;
    s->r.deferrable_cpu_s += cpu_s;
}

static double xfaas_level(const sim_config *c, int64_t t)
{
    double swing = (c->xfaas_ratio - 1) / (c->xfaas_ratio + 1);
    return c->mean_cpus * (1 + swing * cos(((double)(t % 86400) / 3600 - 14) * M_PI / 12));
}

/* Fills s->use with the reserved CPU-seconds per app of the step, accepts deferrable work. */
static double step_load(sim *s, int64_t t, size_t step, double *ret_received)
{
    const sim_config *c = s->c;
    double reserved = 0, received = 0;
    for (size_t i = 0; i < s->apps; i++)
        s->use[i] = 0;
    if (c->load == SIM_UNIFORM) {
        if (step == 0) {
            accept(s, 0, t, 1);
            received = 1;
            s->r.calls++;
        }
    } else if (c->load == SIM_XFAAS) {
        double all = xfaas_level(c, t) * SIM_STEP_S;
        s->use[0] = all * (1 - c->xfaas_deferrable);
        accept(s, 1, t, all * c->xfaas_deferrable);
        received = all;
    } else if (c->load == SIM_POPULATION) {
        for (size_t i = 0; i < s->apps; i++) {
            uint64_t calls;
            double cpu_s = population_use(&s->pop, i, t, SIM_STEP_S, &calls);
            s->r.calls += calls;
            received += cpu_s;
            if (!s->deferrable[i])
                s->use[i] = cpu_s;
            else if (cpu_s > 0)
                accept(s, i, t, cpu_s);
        }
    } else {
        for (; s->event < c->events_count && c->events[s->event].t_s < t + SIM_STEP_S; s->event++) {
            const sim_event *v = &c->events[s->event];
            if (v->t_s < t || v->app >= s->apps)
                continue;
            s->r.calls += v->calls;
            received += v->cpu_s;
            if (s->deferrable[v->app])
                accept(s, v->app, t, v->cpu_s);
            else
                s->use[v->app] += v->cpu_s;
        }
    }
    for (size_t i = 0; i < s->apps; i++)
        reserved += s->use[i];
    *ret_received = received;
    return reserved;
}

static void book_reserved(sim *s, int64_t t)
{
    for (size_t i = 0; i < s->apps; i++)
        if (s->use[i] > 0) {
            ledger_usage u = {.calls = 1, .cpu_ns = (uint64_t)(s->use[i] * 1e9)};
            ledger_use(s->books, LEDGER_APPS + i, t, &u);
        }
}

/* `ran` CPU-seconds of what `owed` holds per app, in proportion. */
static void book_part(sim *s, double *owed, double ran, int64_t hour_s)
{
    double sum = 0;
    for (size_t i = 0; i < s->apps; i++)
        sum += owed[i];
    double part = sum > 0 ? fmin(ran / sum, 1) : 0;
    for (size_t i = 0; i < s->apps; i++) {
        if (!(owed[i] > 0))
            continue;
        ledger_usage u = {.calls = 1, .cpu_ns = (uint64_t)(owed[i] * part * 1e9)};
        if (s->c->ledger)
            ledger_use(s->books, LEDGER_APPS + i, hour_s + 3599, &u);
        owed[i] -= owed[i] * part;
    }
}

/* What ran of each deadline slot goes to the apps that had work there. Of overdue work the time of
 * acceptance is no longer known: the latest possible. */
static void book_deferred(sim *s, int64_t hour_s)
{
    double j_per_cpu_s = s->c->power.busy_w * s->c->power.pue;
    int64_t slack_s = (int64_t)s->c->slack_hours * 3600;
    if (s->taken_overdue > 0) {
        saving_add(&s->r.saved, &s->really, s->taken_overdue * j_per_cpu_s, hour_s - slack_s,
                   hour_s);
        book_part(s, s->overdue, s->taken_overdue, hour_s);
    }
    for (size_t k = 0; k < PLAN_SLOTS_MAX; k++) {
        if (!(s->taken[k] > 0))
            continue;
        int64_t slot = hour_s / 3600 + (int64_t)k;
        saving_add(&s->r.saved, &s->really, s->taken[k] * j_per_cpu_s, (slot + 1) * 3600 - slack_s,
                   hour_s);
        book_part(s, s->pending[(size_t)slot % PLAN_SLOTS_MAX], s->taken[k], hour_s);
    }
}

/* What the last hour should have run and did not. */
static void overdue_collect(sim *s, int64_t hour_s)
{
    double *last = s->pending[(size_t)(hour_s / 3600 - 1) % PLAN_SLOTS_MAX];
    for (size_t i = 0; i < s->apps; i++) {
        s->overdue[i] += last[i];
        last[i] = 0;
    }
}

static void run_deferred(sim *s, double work, double *ret_done)
{
    double by_slot[PLAN_SLOTS_MAX];
    double before = s->todo.late;
    *ret_done = backlog_take(&s->todo, work, by_slot);
    s->taken_overdue += before - s->todo.late;
    for (size_t k = 0; k < PLAN_SLOTS_MAX; k++)
        s->taken[k] += by_slot[k];
}

static bool plan_hour(sim *s, int64_t t, work_plan *ret, bool *ret_all_now, err *e)
{
    const sim_config *c = s->c;
    double intensity[SIM_HORIZON], reserved[SIM_HORIZON], arrivals[SIM_HORIZON];
    plan_demand d[PLAN_DEMANDS_MAX];
    look_ahead(s, t, intensity);
    load_forecast(&s->reserved_load, SIM_HORIZON, reserved);
    load_forecast(&s->arrivals_load, SIM_HORIZON, arrivals);
    plan_input in = {.slots = SIM_HORIZON,
                     .intensity = intensity,
                     .reserved = reserved,
                     .capacity = c->cpus * 3600,
                     .target = c->target,
                     .headroom_weight = c->headroom_weight,
                     .steps = c->price_steps};
    if (s->policy == SIM_NOW) {
        in.headroom_weight = 0;
        in.target = 1;
    }
    size_t n =
        backlog_demands(&s->todo, isinf(c->cpus) ? NULL : arrivals, c->slack_hours, SIM_HORIZON, d);
    /* What this hour will still accept; the yardstick's work is accepted on the hour. */
    if (c->load != SIM_UNIFORM && arrivals[0] > 0)
        d[n++] = (plan_demand){0, (uint32_t)c->slack_hours - 1, arrivals[0]};
    double here = backlog_sum(&s->todo) + (c->load == SIM_UNIFORM ? 0 : arrivals[0]);
    if (!plan_make(&in, d, n, ret, e))
        return false;
    *ret_all_now = ret->run[0] >= here * (1 - 1e-9);
    return true;
}

static bool hour(sim *s, int64_t t, size_t index, err *e)
{
    const sim_config *c = s->c;
    double reserved_hour = 0, arrivals_before = s->r.deferrable_cpu_s, done_hour = 0;
    double received, step_cap = c->cpus * SIM_STEP_S;
    work_plan p;
    bool all_now = false;
    double late = s->todo.late;
    backlog_advance(&s->todo, t);
    s->r.late_cpu_s += s->todo.late - late; /* what has become late */
    overdue_collect(s, t);
    s->taken_overdue = 0;
    for (size_t k = 0; k < PLAN_SLOTS_MAX; k++)
        s->taken[k] = 0;
    for (size_t step = 0; step < SIM_STEPS; step++) {
        int64_t at = t + (int64_t)step * SIM_STEP_S;
        double reserved = step_load(s, at, step, &received), done;
        if (step == 0 && !plan_hour(s, t, &p, &all_now, e))
            return false;
        double due = s->todo.late + s->todo.due[0];
        double left = p.run[0] - done_hour, steps_left = (double)(SIM_STEPS - step);
        double want = all_now ? backlog_sum(&s->todo) : fmax(left, 0) / steps_left * s->util.s;
        want = fmax(want, due / steps_left);
        double room = fmax(0, step_cap * (s->policy == SIM_NOW ? 1 : c->target) - reserved);
        if (due / steps_left > room) /* in need, up to the whole node */
            room = fmin(due / steps_left, fmax(0, step_cap - reserved));
        run_deferred(s, fmin(want, room), &done);
        done_hour += done;
        reserved_hour += reserved;
        if (isfinite(c->cpus))
            util_step(&s->util, (reserved + done) / step_cap, due > 0);
        else
            s->util.s = 1;
        if (c->ledger)
            book_reserved(s, at);
        if (s->peaks) {
            for (size_t i = 0; i < s->apps; i++)
                s->use[i] /= SIM_STEP_S;
            peak_push(s->peaks, s->use);
        }
        s->r.steps[index * SIM_STEPS + step] =
            (sim_step){received / SIM_STEP_S, reserved / SIM_STEP_S, done / SIM_STEP_S};
        s->r.cpu_s += reserved + done;
    }
    book_deferred(s, t);
    load_push(&s->reserved_load, reserved_hour);
    load_push(&s->arrivals_load, s->r.deferrable_cpu_s - arrivals_before);
    forecast_push(&s->history, told_of(s, t));
    return true;
}

static void day_close(sim *s, int64_t end_s)
{
    double intensity[LEDGER_HOURS];
    for (int h = 0; h < LEDGER_HOURS; h++) {
        intensity_quality q;
        intensity[h] = intensity_or(&s->really, end_s - 86400 + h * 3600, (double)NAN, &q);
    }
    ledger_day d;
    ledger_day_close(s->books, end_s, intensity, s->rows, &d);
    double sum = d.idle_unallocated_j;
    for (size_t i = 0; i < d.rows; i++)
        sum += s->rows[i].dynamic_j + s->rows[i].idle_j;
    double gap = d.node_j > 0 ? fabs(sum / d.node_j - 1) : 0;
    s->r.conservation = fmax(s->r.conservation, gap);
    s->r.node_j += d.node_j;
    s->r.operational_g += d.operational_g;
    s->r.embodied_g += d.embodied_g;
    s->r.idle_unallocated_j += d.idle_unallocated_j;
    ledger_day_next(s->books, end_s);
}

static int up(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool summarise(sim *s, arena *a, err *e)
{
    size_t warm = s->c->warm_hours / 24, days = s->c->hours / 24 - warm;
    double *got = ARENA_ARRAY(a, double, days + 1), *ran = ARENA_ARRAY(a, double, days + 1);
    double all = 0;
    if (!got || !ran)
        return err_no_memory(e);
    for (size_t d = 0; d < days; d++) {
        double top[2] = {0}, low[2] = {INFINITY, INFINITY};
        for (size_t h = 0; h < 24; h++) {
            double sum[2] = {0};
            for (size_t k = 0; k < SIM_STEPS; k++) {
                const sim_step *x = &s->r.steps[((d + warm) * 24 + h) * SIM_STEPS + k];
                sum[0] += x->received / SIM_STEPS;
                sum[1] += (x->reserved + x->deferred) / SIM_STEPS;
            }
            for (size_t i = 0; i < 2; i++) {
                top[i] = fmax(top[i], sum[i]);
                low[i] = fmin(low[i], sum[i]);
            }
        }
        got[d] = low[0] > 0 ? top[0] / low[0] : INFINITY;
        ran[d] = low[1] > 0 ? top[1] / low[1] : INFINITY;
    }
    for (size_t i = warm * 24 * SIM_STEPS; i < s->r.steps_count; i++) {
        double cpus = s->r.steps[i].reserved + s->r.steps[i].deferred;
        s->r.peak_cpus = fmax(s->r.peak_cpus, cpus);
        all += cpus;
    }
    if (days) {
        qsort(got, days, sizeof *got, up);
        qsort(ran, days, sizeof *ran, up);
        s->r.received_ratio = got[days / 2];
        s->r.executed_ratio = ran[days / 2];
    }
    if (isfinite(s->c->cpus) && days)
        s->r.utilisation_pct = 100 * all / (double)(days * 24 * SIM_STEPS) / s->c->cpus;
    s->r.left_cpu_s = backlog_sum(&s->todo);
    if (!s->peaks)
        return true;
    s->r.peaks = peak_now(s->peaks, 0.999);
    s->r.pairs_count = peak_pairs(s->peaks, 0.9, s->r.pairs, 5);
    for (int m = 0; m < PEAK_METHODS; m++)
        s->r.predicted[m] = peak_predict(s->peaks, (peak_method)m, 0.999);
    return true;
}

static bool forecaster(sim *s, arena *a, err *e)
{
    const sim_config *c = s->c;
    forecast_history_init(&s->history, c->intensity_start_s);
    if (s->policy == SIM_OURS && c->fit_hours >= FORECAST_DAYS_MIN * 24) {
        arena scratch;
        arena_init(&scratch, 64 * MIB);
        s->model = ARENA_NEW(a, forecast_model);
        bool ok = s->model ? forecast_fit(s->told.g_per_kwh, c->fit_hours, c->intensity_start_s,
                                          &scratch, s->model, e)
                           : err_no_memory(e);
        arena_fini(&scratch);
        if (!ok)
            return false;
        s->r.mape_pct = s->model->mape_pct;
    }
    for (int64_t t = c->intensity_start_s; t < c->start_s; t += 3600)
        forecast_push(&s->history, told_of(s, t));
    return true;
}

static bool start(sim *s, arena *a, err *e)
{
    const sim_config *c = s->c;
    if (c->start_s % 86400 || c->intensity_start_s % 3600 || c->start_s < c->intensity_start_s ||
        c->hours % 24 || c->hours <= c->warm_hours || c->slack_hours < 1 ||
        c->slack_hours > SIM_HORIZON || !(c->target > 0 && c->target <= 1) || !(c->cpus > 0))
        return err_set(e, ERR_INVALID,
                       "simulation: whole days, a slack of 1 to %d hours, a target "
                       "between 0 and 1, and intensity history before the start",
                       SIM_HORIZON);
    if (c->intensity_start_s + (int64_t)c->intensity_hours * 3600 <
        c->start_s + (int64_t)c->hours * 3600)
        return err_set(e, ERR_INVALID, "intensity data ends before the simulation does");
    s->really = (intensity_series){c->intensity_start_s, 3600, c->intensity_hours,
                                   (double *)(uintptr_t)c->intensity, c->intensity_hours};
    s->told = s->really;
    if (c->told)
        s->told.g_per_kwh = (double *)(uintptr_t)c->told;
    s->apps = c->load == SIM_XFAAS ? 2 : 1;
    static const bool both[2] = {false, true};
    s->deferrable = both;
    if (c->load == SIM_POPULATION) {
        if (!population_new(&c->population, a, &s->pop, e))
            return false;
        s->apps = s->pop.n;
        bool *d = ARENA_ARRAY(a, bool, s->apps);
        if (!d)
            return err_no_memory(e);
        for (size_t i = 0; i < s->apps; i++)
            d[i] = s->pop.app[i].deferrable;
        s->deferrable = d;
    } else if (c->load == SIM_TRACE) {
        s->apps = c->trace_apps;
        s->deferrable = c->trace_deferrable;
    }
    s->r.apps = s->apps;
    s->use = ARENA_ARRAY(a, double, s->apps);
    s->overdue = ARENA_ARRAY(a, double, s->apps);
    s->pending = ARENA_ARRAY(a, double *, PLAN_SLOTS_MAX);
    s->r.steps_count = c->hours * SIM_STEPS;
    s->r.steps = ARENA_ARRAY(a, sim_step, s->r.steps_count);
    s->rows = ARENA_ARRAY(a, ledger_row, s->apps + LEDGER_APPS);
    if (!s->use || !s->overdue || !s->pending || !s->r.steps || !s->rows)
        return err_no_memory(e);
    for (size_t k = 0; k < PLAN_SLOTS_MAX; k++)
        if (!(s->pending[k] = ARENA_ARRAY(a, double, s->apps)))
            return err_no_memory(e);
    if (c->peaks && c->load == SIM_POPULATION) {
        if (!peak_new(a, s->apps, &s->peaks, e))
            return false;
        /* Room is promised to what can not wait; deferrable work takes what is left. */
        for (size_t i = 0; i < s->apps; i++)
            if (!s->deferrable[i])
                peak_app(s->peaks, i, s->pop.app[i].limit_cpus);
    }
    double top = isfinite(c->cpus) ? c->cpus : 1;
    if (c->ledger && !ledger_new(a, s->apps + LEDGER_APPS, c->start_s, &c->power, top,
                                 c->embodied_g_per_s, &s->books, e))
        return false;
    backlog_init(&s->todo, c->start_s, 3600);
    load_init(&s->reserved_load, c->start_s);
    load_init(&s->arrivals_load, c->start_s);
    util_init(&s->util, c->target);
    return forecaster(s, a, e);
}

static void forecasts_put(sim *s, int64_t t)
{
    double v[SIM_HORIZON];
    look_ahead(s, t, v);
    buf_printf(s->c->forecasts, "%lld", (long long)t);
    for (size_t k = 0; k < SIM_HORIZON; k++)
        buf_printf(s->c->forecasts, ",%.6g", v[k]);
    buf_put_u8(s->c->forecasts, '\n');
}

bool sim_run(const sim_config *c, sim_policy p, arena *a, sim_result *ret, err *e)
{
    sim *s = ARENA_NEW(a, sim);
    if (!s)
        return err_no_memory(e);
    s->c = c;
    s->policy = s->r.policy = p;
    if (!start(s, a, e))
        return false;
    for (size_t i = 0; i < c->hours; i++) {
        int64_t t = c->start_s + (int64_t)i * 3600;
        if (c->forecasts && p == SIM_OURS)
            forecasts_put(s, t);
        if (!hour(s, t, i, e))
            return false;
        if (c->ledger && (i + 1) % 24 == 0)
            day_close(s, t + 3600);
    }
    if (!summarise(s, a, e))
        return false;
    *ret = s->r;
    return true;
}
