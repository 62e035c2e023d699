/* Savings against running at once; see saving.h for the rule. Sums only: what is added can be added
 * again for a month, and the percentage is of the summed baseline, never a mean of percentages. */
#include "carbon/saving.h"

#include <math.h>

void saving_add_calls(saving *s, const intensity_series *really, uint64_t calls, double energy_j,
                      double delay_s, int64_t accepted_s, int64_t ran_s)
{
    double at_once = intensity_at(really, accepted_s), then = intensity_at(really, ran_s);
    s->calls += calls;
    s->delay_s += delay_s;
    if (isnan(at_once) || isnan(then)) {
        s->calls_unknown += calls;
        s->energy_unknown_j += energy_j;
        return;
    }
    s->energy_j += energy_j;
    s->baseline_g += energy_j / 3.6e6 * at_once;
    s->actual_g += energy_j / 3.6e6 * then;
    s->calls_worse += then > at_once ? calls : 0;
}

void saving_add(saving *s, const intensity_series *really, double energy_j, int64_t accepted_s,
                int64_t ran_s)
{
    saving_add_calls(s, really, 1, energy_j, (double)(ran_s - accepted_s), accepted_s, ran_s);
}

void saving_merge(saving *s, const saving *more)
{
    s->calls += more->calls;
    s->calls_unknown += more->calls_unknown;
    s->calls_worse += more->calls_worse;
    s->energy_j += more->energy_j;
    s->energy_unknown_j += more->energy_unknown_j;
    s->baseline_g += more->baseline_g;
    s->actual_g += more->actual_g;
    s->delay_s += more->delay_s;
}

const char *saving_method(void)
{
    return "for each deferred call that was answered: its dynamic energy (modelled from CPU time) "
           "x (intensity of the hour in which it was accepted - of the hour in which it ran), both "
           "as measured afterwards; calls with an hour that was not measured are counted, not "
           "priced; never subtracted from a bill";
}

double saving_g(const saving *s) { return s->baseline_g - s->actual_g; }

double saving_pct(const saving *s)
{
    return s->baseline_g > 0 ? 100 * saving_g(s) / s->baseline_g : 0;
}
