/* Power of this node as the keeper knows it: its energy counters, and a model fitted to them. What
 * counters say above idle power is dynamic energy; what idle power is, and what a CPU-second costs,
 * the settings only guess, and counters plus the machine's busy time tell.
 *
 * Invariant: the model in force, and what tenants see of it, change at midnight (UTC) only. */
#pragma once

#include "carbon/bill.h"
#include "carbon/visible.h"
#include "platform/rapl.h"

#define POWERCAP "/sys/class/powercap"

typedef struct {
    rapl rapl;
    power_model prior, model; /* of the settings; in force */
    power_fit fit;
    visible_coefficient visible;
    int64_t day_s; /* of the model in force */
    /* the sample that is being taken: minutes in which every reading was whole */
    int64_t since_s;
    uint64_t since_busy_ns;
    double since_j;
    char says[160];
} node_power;

/* root: POWERCAP or another folder of its shape. Without counters there the model stays the prior.
 * last: what the records say was known when the keeper last ran, or NULL. Never fails. */
void node_power_open(node_power *n, const char *root, const power_model *prior,
                     const bill_power *last, int64_t now_s);
void node_power_close(node_power *n);

/* Joules since the last reading; where the counters may have wrapped unseen or were reset, idle
 * power over that time. busy_ns: of all CPUs of the machine since it started; 0: unknown. False:
 * there are no counters, or this is the first reading, or no time has passed. */
bool node_power_read(node_power *n, int64_t now_s, uint64_t busy_ns, double *ret_j);

/* True if a day has begun since the last call: *ret, from that midnight on, is to be recorded. */
bool node_power_day(node_power *n, int64_t now_s, bill_power *ret);

/* Which model is used and how well it fits, for the log. Valid until the next call of anything. */
const char *node_power_says(const node_power *n);
