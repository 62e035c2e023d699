/* What a tenant may see of energy. PLATYPUS (Lipp et al., IEEE S&P 2021) recovers keys from power
 * readings, so no raw sample, and nothing that varies with another tenant's load, reaches a tenant:
 *
 *   visible energy = own CPU time (which the tenant could measure itself) x a coefficient
 *
 * where the coefficient was calibrated over at least a day, is frozen while windows are open, and
 * has two significant digits; and figures are aggregated over at least VISIBLE_WINDOW_S and
 * VISIBLE_CALLS_MIN calls, and rounded to three digits. What is withheld is added to the next
 * figure, never lost. Idle and embodied shares depend on others' load and are shown by the day.
 * This lowers the rate of what can leak; nobody has proved a rate to be zero. */
#pragma once

#include "base/err.h"

#include <stdint.h>

enum {
    VISIBLE_WINDOW_S = 60,
    VISIBLE_CALLS_MIN = 100,
    VISIBLE_FREEZE_S = 86400,
};

/* v to `digits` significant decimal digits (1-15), halves to even; 0 and non-finite stay. */
double visible_round(double v, int digits);

/* Joules per CPU-second as tenants see it. Init with the model's busy_w. */
typedef struct {
    double j_per_cpu_s;     /* in force; two digits */
    double energy_j, cpu_s; /* what was measured since it came into force */
    int64_t since_s;
} visible_coefficient;
void visible_coefficient_init(visible_coefficient *c, int64_t now_s, double j_per_cpu_s);
/* Operator's side: the node's dynamic energy and CPU of an interval ending now. A new value comes
 * into force only when VISIBLE_FREEZE_S have passed, and moves at most a tenth at a time. */
void visible_coefficient_add(visible_coefficient *c, int64_t now_s, double dynamic_j, double cpu_s);

typedef struct {
    int64_t from_s;
    uint64_t cpu_ns, calls;
} visible_window;

typedef struct {
    int64_t from_s, to_s;
    uint64_t calls;
    double cpu_s, energy_j; /* rounded */
} visible_figure;

void visible_window_init(visible_window *w, int64_t now_s);
void visible_add(visible_window *w, uint64_t cpu_ns, uint64_t calls);
/* True, and the next window begins, when enough time and calls have come together. */
bool visible_take(visible_window *w, int64_t now_s, const visible_coefficient *c,
                  visible_figure *ret);
