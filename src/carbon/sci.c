/* The score of SCI 1.1 and the embodied carbon of a server; see sci.h. Nothing here subtracts:
 * there is no parameter by which an offset or a certificate could enter. */
#include "carbon/sci.h"

double sci_intensity(const sci *s)
{
    return s->energy_kwh > 0 ? s->operational_g / s->energy_kwh : 0;
}

double sci_total_g(const sci *s) { return s->operational_g + s->embodied_g; }

bool sci_score(const sci *s, double *ret_g, err *e)
{
    if (!(s->units > 0))
        return err_set(e, ERR_INVALID, "no %s was served, so grams per %s are undefined", s->unit,
                       s->unit);
    *ret_g = sci_total_g(s) / s->units;
    return true;
}

double sci_call_g(double cpu_s, double j_per_cpu_s, double idle_j_per_cpu_s,
                  double intensity_g_per_kwh, double embodied_g_per_cpu_s)
{
    double kwh = cpu_s * (j_per_cpu_s + idle_j_per_cpu_s) / 3.6e6;
    return kwh * intensity_g_per_kwh + cpu_s * embodied_g_per_cpu_s;
}

double sci_server_kg(unsigned cpus, double memory_gb, unsigned hdds, unsigned ssds, unsigned gpus)
{
    double kg = 1000 + 50.0 * hdds + 100.0 * ssds + 150.0 * gpus;
    if (cpus > 1)
        kg += 100.0 * (cpus - 1);
    if (memory_gb > 16)
        kg += (memory_gb - 16) * 533 / 384;
    return kg;
}

double sci_embodied_g_per_s(double server_kg, double life_s)
{
    return life_s > 0 ? server_kg * 1000 / life_s : 0;
}
