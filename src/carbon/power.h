/* Power of the node: RAPL arithmetic, and a model for where RAPL is not readable.
 * Energy is in joules, power in watts, both `double`: a year of a node is 1e10 J, a call 1e-3 J,
 * and a double holds both to 1e-6 J. Whoever reads /sys is the platform; here is only what the
 * numbers mean. */
#pragma once

#include "base/err.h"
#include "base/str.h"

/* ---- RAPL (Linux powercap) ---- */

/* Which zones add up to the node: sockets ("package-N") and their DRAM. "core" and "uncore" are
 * inside the package; "psys" overlaps it; intel-rapl-mmio repeats it. `dir` is the folder's name
 * ("intel-rapl:0", "intel-rapl:0:2"), `name` the content of its file `name`. */
bool rapl_zone_counts(str dir, str name);

typedef struct {
    uint64_t last_uj, range_uj; /* energy_uj and max_energy_range_uj */
    bool seen;
} rapl_zone;

/* Joules since the last reading of this zone; 0 for the first. The counter wraps at range_uj.
 * ERR_INVALID for a reading beyond its range (the zone then starts anew). */
bool rapl_step(rapl_zone *z, uint64_t energy_uj, double *ret_j, err *e);
/* The longest time between two readings in which a counter of this range can not wrap twice
 * unnoticed, at a power of watts_max: half its period. */
double rapl_interval_s_max(uint64_t range_uj, double watts_max);

/* ---- the model ---- */

typedef enum { POWER_MODEL, POWER_RAPL, POWER_CALIBRATED } power_source;
const char *power_source_name(power_source s); /* "model", "rapl", "calibrated" */

/* Node power = idle_w + busy_w * (CPU-seconds per second), times pue.
 * Invariant: idle_w, busy_w >= 0, pue >= 1. */
typedef struct {
    double idle_w;  /* the whole node, nothing running */
    double busy_w;  /* joules per CPU-second on top */
    double threads; /* hardware threads */
    double pue;     /* of the building; 1 unless set */
    power_source source;
    double uncertainty; /* relative, one sigma: 0.35 for the model, fitted else */
    unsigned samples;   /* that idle_w and busy_w were fitted to; 0: they were not */
} power_model;

/* SPECpower_ssj2008, 530 servers published since 2019, per hardware thread at the wall: 0.65 W
 * idle, 2.5 W more when busy. Tenth to ninetieth percentile of the idle share: 0.15 to 0.36. */
power_model power_model_specpower(unsigned threads);
/* From a configured idle and maximum power of the node. */
bool power_model_set(power_model *m, unsigned threads, double idle_w, double max_w, double pue,
                     err *e);
double power_j(const power_model *m, double seconds, double cpu_s);

/* ---- calibration: E = idle_w*T + busy_w*CPU fitted over long samples ---- */

#define POWER_CALIBRATION_S           60
#define POWER_CALIBRATION_SAMPLES_MIN 30
typedef struct {
    unsigned samples;
    double n, tt, tc, cc, te, ce, ee; /* sums of products; old samples fade */
} power_fit;

/* One measured interval of at least POWER_CALIBRATION_S; shorter ones are ignored (Platypus: a
 * coefficient never follows what happens within a window). */
void power_fit_add(power_fit *f, double seconds, double cpu_s, double joules);
/* A model from the samples; false (and *m untouched) while there are too few of them, or they do
 * not vary enough to tell idle from busy, or the result is not physical. */
bool power_fit_model(const power_fit *f, const power_model *prior, power_model *m);
