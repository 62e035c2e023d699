/* Who bears what nobody in particular caused: idle energy and embodied carbon of a day.
 *
 * A machine is as large as its highest hour needs. So the day's fixed amount is first divided
 * among its periods (hours) by the Shapley value of the game "a set of hours costs what its
 * highest demand costs" (the airport game, which has a closed form: every slice of capacity is
 * shared equally by the periods that need it), then inside each period among apps in proportion to
 * their demand there ("temporal Shapley", Fair-CO2, ISCA 2025). What lies above the highest demand
 * was needed by nobody: it is the line "unallocated", never hidden.
 *
 *      capacity ----------------------  unallocated
 *                        ###            this slice: one hour pays it all
 *                   ##########          this slice: shared by the hours that reach it
 *               ################  ####
 *
 * Properties (tests/unit/carbon_share.c): shares sum to the amount; equal demands pay equal;
 * no demand pays nothing; a CPU-second in a higher hour never costs less than in a lower one, so
 * that moving work out of the peak lowers one's own bill. */
#pragma once

#include <stddef.h>

enum { SHARE_PERIODS_MAX = 96 };

/* Splits `amount` among n periods by demand (>= 0); capacity below the highest demand counts as
 * that demand. Returns the unallocated rest; ret_share[i] >= 0. n <= SHARE_PERIODS_MAX. */
double share_periods(const double *demand, size_t n, double capacity, double amount,
                     double *ret_share);

/* The airport game itself, for any number of players: out[i] of the cost max(need). order is
 * scratch of n entries. Returns the cost. */
double share_airport(const double *need, size_t n, size_t *order, double *ret_share);

/* In proportion to `use`; returns the rest that nobody took (all of it if nothing was used). */
double share_proportional(const double *use, size_t n, double amount, double *ret_share);
