/* The only figures of energy that tenants see; see visible.h for why. The coefficient is the one
 * thing here that other tenants' behaviour can move, so it moves by whole days, by a tenth at most,
 * in two digits, and not at all within two per cent. */
#include "carbon/visible.h"

#include <math.h>
#include <stdlib.h>

double visible_round(double v, int digits)
{
    if (v == 0 || !isfinite(v) || digits < 1 || digits > 15)
        return v;
    int places = digits - 1 - (int)floor(log10(fabs(v)));
    if (places > 300 || places < -300)
        return v;
    /* A power of ten above 1 is exact in a double far longer than one below: divide by those. */
    double scale = pow(10, abs(places));
    return places >= 0 ? nearbyint(v * scale) / scale : nearbyint(v / scale) * scale;
}

void visible_coefficient_init(visible_coefficient *c, int64_t now_s, double j_per_cpu_s)
{
    *c = (visible_coefficient){.j_per_cpu_s = visible_round(j_per_cpu_s, 2), .since_s = now_s};
}

void visible_coefficient_add(visible_coefficient *c, int64_t now_s, double dynamic_j, double cpu_s)
{
    c->energy_j += dynamic_j;
    c->cpu_s += cpu_s;
    if (now_s - c->since_s < VISIBLE_FREEZE_S)
        return;
    if (c->cpu_s > 0) {
        double next = c->energy_j / c->cpu_s, now = c->j_per_cpu_s;
        next = fmin(fmax(next, now * 0.9), now * 1.1);
        /* Hysteresis: near a rounding edge the last digit must not flicker. */
        if (fabs(next - now) > 0.02 * now)
            c->j_per_cpu_s = visible_round(next, 2);
    }
    c->energy_j = c->cpu_s = 0;
    c->since_s = now_s;
}

void visible_window_init(visible_window *w, int64_t now_s)
{
    *w = (visible_window){.from_s = now_s};
}

void visible_add(visible_window *w, uint64_t cpu_ns, uint64_t calls)
{
    w->cpu_ns += cpu_ns;
    w->calls += calls;
}

bool visible_take(visible_window *w, int64_t now_s, const visible_coefficient *c,
                  visible_figure *ret)
{
    if (now_s - w->from_s < VISIBLE_WINDOW_S || w->calls < VISIBLE_CALLS_MIN)
        return false;
    double cpu_s = (double)w->cpu_ns / 1e9;
    *ret = (visible_figure){w->from_s, now_s, w->calls, visible_round(cpu_s, 3),
                            visible_round(cpu_s * c->j_per_cpu_s, 3)};
    visible_window_init(w, now_s);
    return true;
}
