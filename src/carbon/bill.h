/* From what was used to a report: usage records and energy readings are booked into a ledger day by
 * day and priced with the intensity that really came. The same code makes the bill of a running
 * node, of a file of records, and of a year long past: a report is always made anew from records.
 */
#pragma once

#include "base/arena.h"
#include "carbon/report.h"

/* What a row used in a span that began at t_s: one call, or a sum of calls. */
typedef struct {
    int64_t t_s;
    size_t row; /* LEDGER_PLATFORM, LEDGER_OTHER, or LEDGER_APPS + index of the app */
    ledger_usage u;
} bill_use;

/* The node's measured energy since the record before. Only with a RAPL power model. */
typedef struct {
    int64_t t_s;
    double joules;
} bill_energy;

/* What was known of the node's power from a midnight on: fitted to what RAPL said before. */
typedef struct {
    int64_t from_s;
    double idle_w, busy_w, uncertainty;
    unsigned samples;   /* of a minute or more that the fit is from; 0: not fitted, the setting's */
    double j_per_cpu_s; /* as tenants see it (visible.h) */
} bill_power;

/* Deferred calls of one app that were accepted in one hour and ended in another. */
typedef struct {
    int64_t ran_s, accepted_s;
    size_t row; /* as of bill_use */
    uint64_t calls;
    double energy_j, delay_s; /* sums; dynamic energy */
} bill_deferred;

typedef struct {
    const bill_use *uses; /* oldest first */
    size_t uses_count;
    const bill_energy *energies; /* oldest first */
    size_t energies_count;
    const str *apps; /* names of the rows from LEDGER_APPS on */
    size_t apps_count;
    const intensity_series *intensity;
    double yearly_g_per_kwh;  /* NaN: unknown */
    const bill_power *powers; /* oldest first; before the first, the report's own holds */
    size_t powers_count;
    const bill_deferred *deferred; /* in any order */
    size_t deferred_count;
} bill_records;

/* What holds at t_s; NULL: the report's own power. */
const bill_power *bill_power_at(const bill_records *b, int64_t t_s);

/* Fills rows, sums and totals of *r for [from_s, to_s), which the caller has set together with
 * power, capacity_cpus, server_kg and life_s. Days are UTC; a span that ends within a day gives a
 * provisional bill for it. r->power becomes what holds at the end of the span.
 * Records outside the span are passed over. Everything is in the arena.
 * ERR_LIMIT: more apps than a ledger has rows; ERR_INVALID: the span is empty. */
bool bill_make(arena *a, const bill_records *b, carbon_report *r, err *e);
