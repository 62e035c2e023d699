/* The simulator: the platform's own planner, forecasts, controllers and ledger, driven through
 * days to years of virtual time. It decides nothing itself: what it calls is what the platform
 * calls, so that changing one constant changes both.
 *
 * A run is one policy over one workload. Policies differ in one thing only, the intensities that
 * are handed to the planner:
 *   SIM_NOW          all work at once (the baseline)
 *   SIM_YESTERDAY    tomorrow is like today
 *   SIM_PROFILE      the running mean of each hour of the day
 *   SIM_OURS         forecast.h, history only
 *   SIM_CLAIRVOYANT  what really came (the bound)
 *
 * The forecaster may be fitted on one span (`fit`) and is then frozen; the simulation starts where
 * that span ends or later, and every hour's intensity is handed over when the hour is over. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "carbon/ledger.h"
#include "carbon/saving.h"
#include "sched/peak.h"
#include "sched/plan.h"
#include "sched/population.h"

#define SIM_STEPS   12
#define SIM_STEP_S  300
#define SIM_HORIZON 48

typedef enum { SIM_NOW, SIM_YESTERDAY, SIM_PROFILE, SIM_OURS, SIM_CLAIRVOYANT } sim_policy;
enum { SIM_POLICIES = 5 };
const char *sim_policy_name(sim_policy p); /* "now", "yesterday", "profile", ... */

typedef enum {
    SIM_UNIFORM,    /* 1 deferrable CPU-second accepted at the start of every hour: the yardstick */
    SIM_XFAAS,      /* received load 4.3 x peak to trough, 60 % of compute deferrable */
    SIM_POPULATION, /* population.h */
    SIM_TRACE,      /* given, 5-minute steps */
} sim_load;

typedef struct {
    int64_t t_s; /* start of its 5-minute step */
    uint32_t app;
    uint64_t calls;
    double cpu_s;
} sim_event;

typedef struct {
    sim_load load;
    population_config population;
    const sim_event *events; /* SIM_TRACE, by time */
    size_t events_count, trace_apps;
    const bool *trace_deferrable; /* by app; NULL: none */
    double xfaas_ratio;           /* 4.3 */
    double xfaas_deferrable;      /* 0.6 */
    double mean_cpus;             /* SIM_XFAAS */

    const double *intensity; /* hourly, from start_s - history; NaN where unknown */
    /* What policies are told of the past, in place of it; NULL: the past. The control in which
     * history says nothing has its days in another order here. */
    const double *told;
    size_t intensity_hours;
    int64_t intensity_start_s;
    size_t fit_hours; /* of it, for the fit */
    int64_t start_s;
    size_t hours, warm_hours; /* the first warm_hours do not count in ratios and utilisation */

    double cpus; /* capacity; INFINITY: no limit */
    double target, headroom_weight;
    unsigned price_steps;
    size_t slack_hours;
    power_model power;
    double embodied_g_per_s;
    bool ledger;    /* book every app (slower); off: totals only */
    bool peaks;     /* run the peak predictor */
    buf *forecasts; /* may be NULL: CSV lines `hour,f0,...,f47` of SIM_OURS */
} sim_config;

/* Platform defaults: the same constants that the platform uses. */
sim_config sim_config_default(void);

typedef struct {
    double received, reserved, deferred; /* CPUs, means of a step */
} sim_step;

typedef struct {
    sim_policy policy;
    size_t apps;
    double cpu_s, deferrable_cpu_s, late_cpu_s, left_cpu_s;
    uint64_t calls;
    saving saved;
    double received_ratio, executed_ratio; /* peak to trough of hourly means, median over days */
    double utilisation_pct;                /* of capacity; 0 if that is infinite */
    double peak_cpus;
    double node_j, operational_g, embodied_g;
    double idle_unallocated_j;
    double conservation; /* largest relative gap of a day between rows and node */
    double mape_pct;     /* of the forecast in the fit */
    peak_state peaks;
    peak_pair pairs[5];             /* the largest that are correlated by 0.9 or more */
    size_t pairs_count;             /* how many there are in all */
    double predicted[PEAK_METHODS]; /* CPUs at 99.9 %, at the end */
    sim_step *steps;                /* hours * SIM_STEPS */
    size_t steps_count;
} sim_result;

bool sim_run(const sim_config *c, sim_policy p, arena *a, sim_result *ret, err *e);

/* Shares of the clairvoyant saving, in per cent; NaN where that saves nothing. */
double sim_share_pct(const sim_result *r, const sim_result *clairvoyant);

/* Days in another order, the same within a day. */
void sim_shuffle_days(double *hourly, size_t hours, uint64_t seed);
