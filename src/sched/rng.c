/* xoshiro256** by Blackman and Vigna, started by splitmix64 as they recommend; normal deviates by
 * Box and Muller in pairs. Own code, so that a seed means the same on every libc. */
#include "sched/rng.h"

#include <math.h>

static uint64_t rotl(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

void rng_init(rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        r->s[i] = z ^ (z >> 31);
    }
    r->spare = (double)NAN;
}

uint64_t rng_next(rng *r)
{
    uint64_t *s = r->s, out = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return out;
}

double rng_uniform(rng *r) { return (double)(rng_next(r) >> 11) / 9007199254740992.0; }

double rng_normal(rng *r)
{
    double v = r->spare;
    if (!isnan(v)) {
        r->spare = (double)NAN;
        return v;
    }
    double u = sqrt(-2 * log(1 - rng_uniform(r))), angle = 2 * M_PI * rng_uniform(r);
    r->spare = u * sin(angle);
    return u * cos(angle);
}

double rng_lognormal(rng *r, double mu, double sigma) { return exp(mu + sigma * rng_normal(r)); }

double rng_exponential(rng *r) { return -log(1 - rng_uniform(r)); }

/* Inversion from u in [0, 1), counting from k = 0 whose probability is p. */
static uint64_t invert(double mean, double p, double u)
{
    double sum = p;
    uint64_t k = 0;
    while (u >= sum && k < 200) {
        k++;
        p *= mean / (double)k;
        sum += p;
    }
    return k;
}

static uint64_t rounded_normal(rng *r, double mean)
{
    double v = nearbyint(mean + sqrt(mean) * rng_normal(r));
    return v > 0 ? (uint64_t)v : 0;
}

uint64_t rng_poisson(rng *r, double mean)
{
    if (!(mean > 0))
        return 0;
    return mean > 30 ? rounded_normal(r, mean) : invert(mean, exp(-mean), rng_uniform(r));
}

uint64_t rng_poisson_some(rng *r, double mean, double none)
{
    if (mean > 30)
        return rounded_normal(r, mean);
    return invert(mean, none, none + (1 - none) * rng_uniform(r));
}
