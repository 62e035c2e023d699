/* Software Carbon Intensity 1.1 (ISO/IEC 21031:2024): SCI = ((E x I) + M) per R.
 * E counts idle energy of what was provisioned; M is embodied carbon by time and share; offsets,
 * certificates and contracts have no place to be entered, on purpose. */
#pragma once

#include "base/err.h"
#include "carbon/intensity.h"

typedef struct {
    double energy_kwh;    /* E: dynamic + idle share, with PUE */
    double operational_g; /* E x I, summed hour by hour */
    double embodied_g;    /* M */
    double units;         /* R: how many functional units this is about */
    const char *unit;     /* what R counts: "request" */
} sci;

double sci_intensity(const sci *s); /* I as it was on average: operational_g / E */
double sci_total_g(const sci *s);
/* Grams per unit; ERR_INVALID where there were no units (the score is then undefined, not 0). */
bool sci_score(const sci *s, double *ret_g, err *e);

/* One call, from the frozen coefficient (visible.h): what a response header may say. */
double sci_call_g(double cpu_s, double j_per_cpu_s, double idle_j_per_cpu_s,
                  double intensity_g_per_kwh, double embodied_g_per_cpu_s);

/* ---- embodied carbon of a server ---- */

/* 48 vendor LCAs collected by Boavizta, manufacturing part: median 1,215 kg, tenth percentile
 * 678, ninetieth 1,693. */
#define SCI_SERVER_KG      1215.0
#define SCI_SERVER_KG_LOW  678.0
#define SCI_SERVER_KG_HIGH 1693.0
#define SCI_SERVER_LIFE_S  (4.0 * 365 * 86400)

/* Cloud Carbon Footprint's composition: 1,000 kg with one CPU and 16 GB, 100 per further CPU,
 * 1.388 per further GB, 50 a hard disk, 100 an SSD, 150 a GPU. */
double sci_server_kg(unsigned cpus, double memory_gb, unsigned hdds, unsigned ssds, unsigned gpus);
double sci_embodied_g_per_s(double server_kg, double life_s);
