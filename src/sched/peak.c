/* See peak.h. An app's history is a decaying histogram of use/limit in 64 buckets that get wider
 * with the square (half of all apps sit below a hundredth of their limit); 24 running
 * means of the day's shape serve the correlation screen. The machine's history is a ring of sums,
 * and so are the statements made in the last weeks and what came of them. */
#include "sched/peak.h"

#include "base/must.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
    double limit, top;         /* top: highest use since it is here */
    double weight;             /* sum of the buckets */
    uint32_t samples, highest; /* highest bucket ever used */
    float bucket[PEAK_BUCKETS];
    float shape[24]; /* running mean of use by hour of day */
} app_history;

struct peak {
    app_history *app;
    size_t apps;
    float ratio[PEAK_HISTORY];                             /* sum of use / sum of limits */
    float said[PEAK_HORIZON * (PEAK_CORRECTION_DAYS + 1)]; /* PEAK_MAX without correction */
    float came[PEAK_HORIZON * (PEAK_CORRECTION_DAYS + 1)];
    float promised[PEAK_HORIZON];
    double limits, correction;
    uint64_t pushed, judged, violated;
};

enum { SAID = PEAK_HORIZON * (PEAK_CORRECTION_DAYS + 1) };

const char *peak_method_name(peak_method m)
{
    static const char *const names[] = {"limit", "borg-default", "n-sigma", "rc-like", "max"};
    return (unsigned)m < PEAK_METHODS ? names[m] : "?";
}

bool peak_new(arena *a, size_t apps, peak **ret, err *e)
{
    peak *p = ARENA_NEW(a, peak);
    app_history *h = ARENA_ARRAY(a, app_history, apps);
    if (!p || !h)
        return err_no_memory(e);
    p->app = h;
    p->apps = apps;
    p->correction = 1;
    *ret = p;
    return true;
}

void peak_app(peak *p, size_t app, double limit)
{
    must(app < p->apps && limit >= 0);
    app_history *h = &p->app[app];
    p->limits += limit - h->limit;
    if (limit == 0)
        *h = (app_history){0};
    h->limit = limit;
}

static size_t bucket_of(double ratio)
{
    size_t b = (size_t)(sqrt(ratio) * PEAK_BUCKETS);
    return b < PEAK_BUCKETS ? b : PEAK_BUCKETS - 1;
}

static double bucket_top(size_t b)
{
    double edge = (double)(b + 1) / PEAK_BUCKETS;
    return edge * edge;
}

/* From above: the percentiles asked for are high, and most buckets up there are empty. */
static double percentile(const app_history *h, double share)
{
    double above = 0, most = (1 - share) * h->weight;
    for (size_t b = h->highest + 1u; b-- > 0;) {
        above += h->bucket[b];
        if (above > most)
            return bucket_top(b);
    }
    return bucket_top(0);
}

/* Deviations on top of the mean. Not the normal's quantiles (2.3, 3.1, 3.7): load has longer tails
 * than that, and the peak of a day is the largest of 288 samples. The paper uses 3 in production
 * and 5 in its simulator. */
static double sigmas(double compliance)
{
    return compliance > 0.9995 ? 6 : compliance > 0.995 ? 5 : 3;
}

static double by_sigma(const peak *p, double compliance)
{
    size_t n = p->pushed < PEAK_HISTORY ? (size_t)p->pushed : PEAK_HISTORY;
    if (n < PEAK_WARM)
        return p->limits;
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) {
        sum += p->ratio[i];
        squares += (double)p->ratio[i] * p->ratio[i];
    }
    double mean = sum / (double)n;
    double variance = fmax(0, (squares - sum * mean) / (double)(n - 1));
    return fmin(1, mean + sigmas(compliance) * sqrt(variance)) * p->limits;
}

static double by_percentile(const peak *p, double compliance)
{
    double sum = 0;
    for (size_t i = 0; i < p->apps; i++) {
        const app_history *h = &p->app[i];
        if (h->limit > 0)
            sum += h->samples < PEAK_WARM ? h->limit : percentile(h, compliance) * h->limit;
    }
    return sum;
}

static double cold_limits(const peak *p)
{
    double sum = 0;
    for (size_t i = 0; i < p->apps; i++)
        if (p->app[i].samples < PEAK_WARM)
            sum += p->app[i].limit;
    return sum;
}

static double raw_max(const peak *p, double compliance)
{
    double cold = cold_limits(p);
    double sigma = by_sigma(p, compliance) * (p->limits > 0 ? 1 - cold / p->limits : 0) + cold;
    return fmax(sigma, by_percentile(p, compliance > 0.99 ? 0.99 : 0.8));
}

double peak_predict(const peak *p, peak_method m, double compliance)
{
    double cold = cold_limits(p), v = p->limits;
    if (m == PEAK_BORG)
        v = 0.9 * p->limits;
    else if (m == PEAK_SIGMA)
        v = by_sigma(p, compliance) * (p->limits > 0 ? 1 - cold / p->limits : 0) + cold;
    else if (m == PEAK_RC)
        v = by_percentile(p, compliance);
    else if (m == PEAK_MAX)
        v = raw_max(p, compliance) * p->correction;
    return fmin(v, p->limits);
}

/* What was said a day ago for the day that is now over, against the highest sum that came. */
static void judge(peak *p)
{
    double most = 1;
    size_t n = p->pushed < SAID ? (size_t)p->pushed : SAID;
    if (n <= PEAK_HORIZON)
        return;
    for (uint64_t age = PEAK_HORIZON; age < n; age += 12) { /* hourly: said changes slowly */
        uint64_t at = p->pushed - 1 - age;
        double top = p->came[at % SAID];
        if (p->said[at % SAID] > 0)
            most = fmax(most, top / p->said[at % SAID]);
    }
    p->correction = most;
}

void peak_push(peak *p, const double *use)
{
    double sum = 0;
    size_t hour = (size_t)(p->pushed * PEAK_SAMPLE_S / 3600 % 24);
    for (size_t i = 0; i < p->apps; i++) {
        app_history *h = &p->app[i];
        if (!(h->limit > 0))
            continue;
        double u = use[i] < h->limit ? use[i] : h->limit;
        u = u > 0 ? u : 0;
        sum += u;
        size_t bucket = bucket_of(u / h->limit);
        h->bucket[bucket] += 1;
        h->weight += 1;
        if (bucket > h->highest)
            h->highest = (uint32_t)bucket;
        h->shape[hour] += (float)(u - (double)h->shape[hour]) * 0.02f;
        if (++h->samples % PEAK_HISTORY == 0) { /* a week ago counts half */
            for (size_t b = 0; b < PEAK_BUCKETS; b++)
                h->bucket[b] *= 0.5f;
            h->weight *= 0.5;
        }
        if (u > h->top)
            h->top = u;
    }
    p->ratio[p->pushed % PEAK_HISTORY] = (float)(p->limits > 0 ? sum / p->limits : 0);
    /* The day behind every open statement grows with this sample. */
    size_t open = p->pushed < PEAK_HORIZON ? (size_t)p->pushed : PEAK_HORIZON;
    for (size_t age = 1; age <= open; age++) {
        float *c = &p->came[(p->pushed - age) % SAID];
        if (*c < (float)sum)
            *c = (float)sum;
    }
    if (p->pushed > 8 * PEAK_HORIZON) { /* a day-old promise is due: did the day keep it? */
        double promised = p->promised[p->pushed % PEAK_HORIZON];
        double top = p->came[(p->pushed - PEAK_HORIZON) % SAID];
        p->judged++;
        p->violated += top > promised * (1 + 1e-6);
    }
    size_t at = (size_t)(p->pushed % SAID), kept = (size_t)(p->pushed % PEAK_HORIZON);
    bool on_the_hour = p->pushed % 12 == 0;
    p->pushed++;
    p->came[at] = 0;
    if (!on_the_hour) { /* what was said at the hour holds for the hour */
        p->said[at] = p->said[(at + SAID - 1) % SAID];
        p->promised[kept] = p->promised[(kept + PEAK_HORIZON - 1) % PEAK_HORIZON];
        return;
    }
    judge(p);
    p->said[at] = (float)raw_max(p, 0.999);
    p->promised[kept] = (float)fmin((double)p->said[at] * p->correction, p->limits);
}

peak_state peak_now(const peak *p, double compliance)
{
    double own = 0, top = 0;
    size_t n = p->pushed < PEAK_HISTORY ? (size_t)p->pushed : PEAK_HISTORY;
    for (size_t i = 0; i < p->apps; i++)
        own += p->app[i].top;
    for (size_t i = 0; i < n; i++)
        top = fmax(top, (double)p->ratio[i] * p->limits);
    peak_state s = {.limits = p->limits,
                    .predicted = peak_predict(p, PEAK_MAX, compliance),
                    .judged = (size_t)p->judged};
    s.factor = s.predicted > 0 ? s.limits / s.predicted : 1;
    s.gain = top > 0 ? own / top : 1;
    s.violations = p->judged ? (double)p->violated / (double)p->judged : 0;
    return s;
}

double peak_correlation(const peak *p, size_t app_a, size_t app_b)
{
    must(app_a < p->apps && app_b < p->apps);
    const float *x = p->app[app_a].shape, *y = p->app[app_b].shape;
    double sx = 0, sy = 0, xx = 0, yy = 0, xy = 0;
    for (size_t h = 0; h < 24; h++) {
        sx += x[h];
        sy += y[h];
        xx += (double)x[h] * x[h];
        yy += (double)y[h] * y[h];
        xy += (double)x[h] * y[h];
    }
    double vx = xx - sx * sx / 24, vy = yy - sy * sy / 24;
    return vx > 0 && vy > 0 ? (xy - sx * sy / 24) / sqrt(vx * vy) : (double)NAN;
}

static double mean_use(const app_history *h)
{
    double sum = 0;
    for (size_t i = 0; i < 24; i++)
        sum += h->shape[i];
    return sum / 24;
}

/* Keeps ret sorted by cpus, largest first. */
static void pair_keep(peak_pair *ret, size_t *n, size_t room, peak_pair x)
{
    size_t i = *n < room ? (*n)++ : room;
    if (i == room && (room == 0 || ret[room - 1].cpus >= x.cpus))
        return;
    i = i == room ? room - 1 : i;
    for (; i > 0 && ret[i - 1].cpus < x.cpus; i--)
        ret[i] = ret[i - 1];
    ret[i] = x;
}

size_t peak_pairs(const peak *p, double least, peak_pair *ret, size_t room)
{
    enum { LARGEST = 1000 };
    uint32_t app[LARGEST];
    double use[LARGEST];
    size_t n = 0, kept = 0, found = 0;
    for (size_t i = 0; i < p->apps; i++) { /* insertion into the largest so far */
        double u = p->app[i].samples >= PEAK_WARM ? mean_use(&p->app[i]) : 0;
        if (!(u > 0) || (n == LARGEST && u <= use[n - 1]))
            continue;
        size_t at = n < LARGEST ? n++ : LARGEST - 1;
        for (; at > 0 && use[at - 1] < u; at--) {
            use[at] = use[at - 1];
            app[at] = app[at - 1];
        }
        use[at] = u;
        app[at] = (uint32_t)i;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++) {
            double c = peak_correlation(p, app[i], app[j]);
            if (!(c >= least))
                continue;
            found++;
            pair_keep(ret, &kept, room, (peak_pair){app[i], app[j], c, use[j]});
        }
    return found;
}

/* Upper tail of the gamma distribution with shape k at x (scale 1): 1 - P(k, x), by the series
 * below the mean and Lentz's continued fraction above (Numerical analysis' standard pair). */
static double gamma_tail(double k, double x)
{
    if (!(x > 0))
        return 1;
    double front = exp(k * log(x) - x - lgamma(k));
    if (x < k + 1) {
        double term = 1 / k, sum = term;
        for (int i = 1; i < 10000 && term > sum * 1e-15; i++) {
            term *= x / (k + i);
            sum += term;
        }
        return fmax(0, 1 - front * sum);
    }
    double b = x + 1 - k, c = 1e300, d = 1 / b, h = d;
    for (int i = 1; i < 10000; i++) {
        double a = -i * (i - k);
        b += 2;
        d = a * d + b;
        d = 1 / (fabs(d) < 1e-300 ? 1e-300 : d);
        c = b + a / c;
        c = fabs(c) < 1e-300 ? 1e-300 : c;
        h *= d * c;
        if (fabs(d * c - 1) < 1e-14)
            break;
    }
    return front * h;
}

double capacity_risk(const capacity_node *n, const capacity_app *a, double k)
{
    double s = a->deviation, mean = n->used_mean + k * a->mean, apart, variance, third = 0;
    if (k < 1)
        s = 0;
    apart = n->used_deviation * n->used_deviation + k * s * s;
    variance = apart + k * (k - 1) * a->correlation * s * s +
               2 * k * a->correlation_node * s * n->used_deviation;
    if (!(variance > 0) || !(mean > 0))
        return mean > n->cpus;
    if (a->mean > 0)
        third += k * 2 * pow(s, 4) / a->mean;
    if (n->used_mean > 0)
        third += 2 * pow(n->used_deviation, 4) / n->used_mean;
    double skew = fmax(third / pow(apart, 1.5), 0.01), deviation = sqrt(variance);
    double shape = 4 / (skew * skew), zero = mean - 2 * deviation / skew;
    return gamma_tail(shape, (n->cpus - zero) / (deviation * skew / 2));
}

bool capacity_ask(const capacity_node *n, const capacity_app *a, double compliance,
                  capacity_answer *ret, err *e)
{
    if (!(compliance >= 0.5 && compliance < 1))
        return err_set(e, ERR_INVALID, "compliance %g is not between 0.5 and 1", compliance);
    if (!(a->mean >= 0) || !(a->deviation >= 0) || !(a->limit >= a->mean) ||
        !(a->memory_bytes >= 0) || !(n->cpus > 0) || !(n->memory_bytes >= 0) ||
        !(fabs(a->correlation) <= 1) || !(fabs(a->correlation_node) <= 1))
        return err_set(e, ERR_INVALID,
                       "capacity: an app needs 0 <= mean <= limit, 0 <= deviation "
                       "and correlations within -1 and 1");
    const uint64_t most = UINT64_C(1) << 40;
    uint64_t high = 1;
    while (high < most && capacity_risk(n, a, (double)high) <= 1 - compliance)
        high *= 2;
    uint64_t low = high / 2; /* holds, or is 0 */
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (capacity_risk(n, a, (double)middle) <= 1 - compliance)
            low = middle;
        else
            high = middle;
    }
    capacity_answer r = {.by_cpu = low, .by_memory = most};
    double spare = n->memory_bytes - n->memory_used_bytes;
    if (a->memory_bytes > 0)
        r.by_memory = spare > 0 ? (uint64_t)(spare / a->memory_bytes) : 0;
    r.fit = r.by_cpu < r.by_memory ? r.by_cpu : r.by_memory;
    r.risk = capacity_risk(n, a, (double)r.fit);
    r.factor = (double)r.fit * a->limit / n->cpus;
    *ret = r;
    return true;
}
