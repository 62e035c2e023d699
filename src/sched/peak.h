/* How much of what was promised will be used at once: peak prediction for oversubscription, after
 * "Take it to the limit" (Bashir et al., EuroSys 2021).
 *
 * Every PEAK_SAMPLE_S each app's CPU use arrives together with the others'; a prediction answers
 * "what is the highest sum over the next day of the apps that are here now?".
 * - PEAK_LIMIT: the sum of limits; no oversubscription.
 * - PEAK_BORG: 0.9 of it (borg-default).
 * - PEAK_SIGMA: mean + n deviations of the machine's sum over its history, so that correlated apps,
 *   which act as one, are seen as one. n by compliance.
 * - PEAK_RC: each app's percentile, summed (Resource Central).
 * - PEAK_MAX: the larger of the last two, times a correction learnt from how past predictions fared
 *   (the largest ratio of what came to what was said, over PEAK_CORRECTION_DAYS).
 *
 * Invariants: a cold app (fewer than PEAK_WARM samples) counts with its full limit; no prediction
 * exceeds the sum of limits; memory is never predicted, only added (linear memory does not shrink).
 * Compliance is a promise per class: 0.99, 0.999 or 0.9999 of samples are not above the
 * prediction. */
#pragma once

#include "base/arena.h"
#include "base/err.h"

#define PEAK_SAMPLE_S 300
#define PEAK_WARM     288       /* a day: an app's night says nothing about its noon */
#define PEAK_HISTORY  (7 * 288) /* a week of the machine's sums, so that Monday knows of Monday */
#define PEAK_HORIZON  288       /* a day */
#define PEAK_CORRECTION_DAYS 28
#define PEAK_BUCKETS         64

typedef enum { PEAK_LIMIT, PEAK_BORG, PEAK_SIGMA, PEAK_RC, PEAK_MAX } peak_method;
enum { PEAK_METHODS = 5 };
const char *peak_method_name(peak_method m);

typedef struct peak peak;

/* apps: most there can be; about 300 bytes each from the arena. */
bool peak_new(arena *a, size_t apps, peak **ret, err *e);
/* An app arrives, changes its limit (CPUs), or leaves (0; its history is then forgotten). */
void peak_app(peak *p, size_t app, double limit);
/* One sample of all apps; use[i] of absent apps is ignored, above its limit counts as the limit. */
void peak_push(peak *p, const double *use);
/* CPUs. compliance: 0.99 ... 0.9999. */
double peak_predict(const peak *p, peak_method m, double compliance);

/* What the operator watches. All over what was pushed since the apps are there. */
typedef struct {
    double limits, predicted; /* CPUs, PEAK_MAX */
    double factor;            /* limits / predicted: the oversubscription */
    double gain;              /* sum of the apps' own peaks / peak of the sum */
    double violations;        /* share of samples above what had been predicted for them */
    size_t judged;            /* samples that have been compared */
} peak_state;
peak_state peak_now(const peak *p, double compliance);

/* Correlation of two apps' use over whole days' shape: a quick screen by hourly means of the last
 * week, kept per app. NaN if either is constant. */
double peak_correlation(const peak *p, size_t app_a, size_t app_b);

/* The warm pairs whose correlation is at least `least`, the largest by common use first: tenants
 * that come together count as one. Returns how many there are; ret holds the first `room`. Looks at
 * the 1,000 largest apps at most. */
typedef struct {
    size_t a, b;
    double correlation, cpus; /* the smaller app's mean */
} peak_pair;
size_t peak_pairs(const peak *p, double least, peak_pair *ret, size_t room);

/* ---- the capacity question ---- */

typedef struct {
    double cpus, memory_bytes;        /* of the node */
    double used_mean, used_deviation; /* CPUs of what is there */
    double memory_used_bytes;
} capacity_node;

typedef struct {
    double mean, deviation;  /* CPUs of one such app, over samples */
    double limit;            /* CPUs */
    double memory_bytes;     /* its limit; never compressed */
    double correlation;      /* between two such apps, 0..1 */
    double correlation_node; /* with what is there already */
} capacity_app;

typedef struct {
    uint64_t by_cpu, by_memory, fit; /* fit: the smaller */
    double risk;                     /* that a sample exceeds the node's CPUs with `fit` of them */
    double factor;                   /* limits sold / CPUs, of these apps */
} capacity_answer;

/* How many more apps of this kind fit, so that at most 1 - compliance of samples exceed the node.
 */
bool capacity_ask(const capacity_node *n, const capacity_app *a, double compliance,
                  capacity_answer *ret, err *e);
/* The risk with k of them: the tail of a gamma distribution (Pearson III) with the mean, variance
 * and skewness that the sum has if each app's use is gamma-distributed. Sums of few bursty apps
 * lean far more than the normal; for on/off apps this errs on the safe side. */
double capacity_risk(const capacity_node *n, const capacity_app *a, double k);
