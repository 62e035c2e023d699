/* See power.h. The model is linear in CPU time although real servers are concave (10 % load costs
 * nearly a third of the range, Teads): a linear one is additive, so that the energy of a window is
 * the sum over its calls whatever their order, and its error, some 15 % of the dynamic part at low
 * load, is inside the stated uncertainty. */
#include "carbon/power.h"

#include <math.h>

bool rapl_zone_counts(str dir, str name)
{
    if (str_starts(dir, S("intel-rapl-mmio")) || !str_starts(dir, S("intel-rapl:")))
        return false;
    return str_starts(name, S("package")) || str_eq(name, S("dram"));
}

bool rapl_step(rapl_zone *z, uint64_t energy_uj, double *ret_j, err *e)
{
    if (z->range_uj == 0 || energy_uj > z->range_uj) {
        z->seen = false;
        return err_set(e, ERR_INVALID, "energy counter %llu uJ is beyond its range %llu uJ",
                       (unsigned long long)energy_uj, (unsigned long long)z->range_uj);
    }
    uint64_t delta = 0;
    if (z->seen)
        delta = energy_uj >= z->last_uj ? energy_uj - z->last_uj
                                        : energy_uj + (z->range_uj - z->last_uj);
    z->last_uj = energy_uj;
    z->seen = true;
    *ret_j = (double)delta / 1e6;
    return true;
}

double rapl_interval_s_max(uint64_t range_uj, double watts_max)
{
    return watts_max > 0 ? (double)range_uj / 1e6 / watts_max / 2 : INFINITY;
}

const char *power_source_name(power_source s)
{
    return s == POWER_RAPL ? "rapl" : s == POWER_CALIBRATED ? "calibrated" : "model";
}

power_model power_model_specpower(unsigned threads)
{
    return (power_model){0.65 * threads, 2.5, threads, 1, POWER_MODEL, 0.35, 0};
}

bool power_model_set(power_model *m, unsigned threads, double idle_w, double max_w, double pue,
                     err *e)
{
    if (!threads || !(idle_w >= 0) || !(max_w >= idle_w) || !(pue >= 1 && pue < 5))
        return err_set(e, ERR_INVALID,
                       "power: threads %u, idle %g W, maximum %g W, PUE %g make no sense", threads,
                       idle_w, max_w, pue);
    *m = (power_model){idle_w, (max_w - idle_w) / threads, threads, pue, POWER_MODEL, 0.15, 0};
    return true;
}

double power_j(const power_model *m, double seconds, double cpu_s)
{
    return (m->idle_w * seconds + m->busy_w * cpu_s) * m->pue;
}

void power_fit_add(power_fit *f, double seconds, double cpu_s, double joules)
{
    if (!(seconds >= POWER_CALIBRATION_S) || !(cpu_s >= 0) || !(joules >= 0))
        return;
    const double keep = 0.999; /* half is forgotten after 700 samples: half a day of minutes */
    f->samples++;
    f->n = keep * f->n + 1;
    f->tt = keep * f->tt + seconds * seconds;
    f->tc = keep * f->tc + seconds * cpu_s;
    f->cc = keep * f->cc + cpu_s * cpu_s;
    f->te = keep * f->te + seconds * joules;
    f->ce = keep * f->ce + cpu_s * joules;
    f->ee = keep * f->ee + joules * joules;
}

bool power_fit_model(const power_fit *f, const power_model *prior, power_model *m)
{
    double det = f->tt * f->cc - f->tc * f->tc;
    if (f->n < POWER_CALIBRATION_SAMPLES_MIN || det < 1e-3 * f->tt * f->cc)
        return false;
    double idle = (f->te * f->cc - f->ce * f->tc) / det;
    double busy = (f->ce * f->tt - f->te * f->tc) / det;
    if (!(idle >= 0) || !(busy > 0) || !isfinite(idle) || !isfinite(busy))
        return false;
    double rest = f->ee - idle * f->te - busy * f->ce;
    *m = *prior;
    m->idle_w = idle;
    m->busy_w = busy;
    m->source = POWER_CALIBRATED;
    m->samples = f->samples;
    m->uncertainty = f->ee > 0 ? sqrt(fmax(rest, 0) / f->ee) : prior->uncertainty;
    return true;
}
