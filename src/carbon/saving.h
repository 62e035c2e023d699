/* What deferring saved, against running at once, by one method: the same energy at the intensity
 * that really came in either hour (SCI 1.1, "Comparing with a baseline"). Never against a
 * forecast, never with an average standing in for one side only: a call whose two hours are not
 * both measured is counted, with its energy, as unknown. Savings may be negative and are reported
 * as they are. */
#pragma once

#include "carbon/intensity.h"

typedef struct {
    uint64_t calls, calls_unknown, calls_worse; /* worse: running at once had been cleaner */
    double energy_j, energy_unknown_j;
    double baseline_g, actual_g;
    double delay_s; /* sum; the price paid */
} saving;

/* energy_j: dynamic energy of the work; only that moves with it. */
void saving_add(saving *s, const intensity_series *really, double energy_j, int64_t accepted_s,
                int64_t ran_s);
/* Of `calls` calls that were accepted in one hour and ran in one hour: sums of their energy and of
 * how long they waited. */
void saving_add_calls(saving *s, const intensity_series *really, uint64_t calls, double energy_j,
                      double delay_s, int64_t accepted_s, int64_t ran_s);
/* Adds a sum to another. */
void saving_merge(saving *s, const saving *more);
/* How it is reckoned, a sentence for whoever reads the figures. */
const char *saving_method(void);
double saving_g(const saving *s);
double saving_pct(const saving *s); /* of the baseline; 0 without one */
