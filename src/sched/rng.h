/* A seeded generator for the simulator: xoshiro256** started by splitmix64. The same seed gives
 * the same year on every machine. Never for secrets. */
#pragma once

#include <stdint.h>

typedef struct {
    uint64_t s[4];
    double spare; /* of the pair that rng_normal makes; NaN: none */
} rng;

void rng_init(rng *r, uint64_t seed);
uint64_t rng_next(rng *r);
double rng_uniform(rng *r); /* [0, 1) */
double rng_normal(rng *r);  /* mean 0, deviation 1 */
double rng_lognormal(rng *r, double mu, double sigma);
double rng_exponential(rng *r); /* mean 1 */
/* Exact below a mean of 30, else the rounded normal approximation. */
uint64_t rng_poisson(rng *r, double mean);
/* The same, given that it is not 0; none = exp(-mean). */
uint64_t rng_poisson_some(rng *r, double mean, double none);
