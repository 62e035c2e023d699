/* What the keeper knows of its node's power and of the grid it draws from: settings, as a TOML file
 * (`ebb up --carbon FILE`; docs/carbon.md has a commented one). */
#pragma once

#include "base/arena.h"
#include "carbon/power.h"
#include "carbon/source.h"

enum { GRID_REMOTES_MAX = 64 };

/* A back-end elsewhere (a GPU, a database), as its operator declares it: so many units a call of
 * the app. Reported beside the app's own figures, never in them and never subtracted. */
typedef struct {
    str app, name, zone, unit;
    double units_per_call, j_per_unit, g_per_kwh, heat_reused_share;
} grid_remote;

typedef struct {
    str zone;     /* as reports name it */
    str provider; /* "file", a name of carbon/source.h, or empty: none */
    str file;     /* of "file": any format of carbon/source.h */
    str url;      /* another base URL than the provider's own */
    str token, user, password;
    bool average, forecasts; /* carbon/provider.h */
    double yearly_g_per_kwh; /* NaN: unknown */
    double threads;          /* hardware threads of the node */
    double idle_w, max_w;    /* 0: the model of carbon/power.h */
    double pue, server_kg, life_years;
    double cpus;   /* what this node could do; 0: its threads */
    double slot_s; /* deferred work is planned by slots this long; 0: a 24th of day_s */
    double day_s;  /* load repeats by it: 86400, less to rehearse a day in an hour; 0: 86400 */
    str powercap;  /* the folder of its energy counters; empty: the kernel's */
    grid_remote remotes[GRID_REMOTES_MAX];
    size_t remotes_count;
} grid_config;

/* What holds where nothing is said: no provider, the SPECpower model, this machine's threads. */
grid_config grid_config_default(void);
/* Reads a file; relative paths in it are relative to its folder. Unknown keys are refused by name.
 * Tokens and passwords may be given as `token_file`, `password_file`. ERR_INVALID says where. */
bool grid_config_load(arena *a, const char *path, grid_config *ret, err *e);
/* A 24th of the day, and a slot of the plan, in seconds. */
int64_t grid_hour_s(const grid_config *g);
int64_t grid_slot_s(const grid_config *g);
/* The node's power model. */
bool grid_power(const grid_config *g, power_model *ret, err *e);
