/* The keeper's records: what each app used by 10-second window, what the kernel accounted to each
 * process, joules measured, carbon intensity read. One SQLite file, one writer (the keeper).
 *
 * Invariants
 * - Everything put between usage_file_begin and usage_file_commit is there whole or not at all.
 * - Records of the last USAGE_FINE_DAYS days are by window; of older ones usage_file_compact sums
 *   what apps used to hours and drops the checks of processes. Nothing else is thrown away.
 * - An app's name is its row: "-" is the platform, "*" the machine's CPU outside of ebb. */
#pragma once

#include "carbon/bill.h"
#include "carbon/intensity.h"

enum { USAGE_FINE_DAYS = 2, USAGE_APPS_MAX = 100000 };
#define USAGE_PLATFORM S("-")
#define USAGE_OTHER    S("*")

typedef struct usage_file usage_file;

/* path NULL: in memory, gone when closed. Made if it is missing. */
bool usage_file_open(const char *path, usage_file **ret, err *e);
/* NULL is allowed. */
void usage_file_close(usage_file *f);

bool usage_file_begin(usage_file *f, err *e);
bool usage_file_commit(usage_file *f, err *e);
void usage_file_rollback(usage_file *f);

/* Adds to what the app used in the window. */
bool usage_file_add(usage_file *f, int64_t window_s, str app, const ledger_usage *u, err *e);
/* The check of one process and window: what was booked, and what the kernel says. */
bool usage_file_check(usage_file *f, int64_t window_s, str process, uint64_t booked_ns,
                      uint64_t kernel_ns, err *e);
bool usage_file_energy(usage_file *f, int64_t t_s, double joules, err *e);
/* What is known of the node's power from a midnight on; replaces what was said of it before. */
bool usage_file_power(usage_file *f, const bill_power *p, err *e);
/* The newest of them; false: there is none. */
bool usage_file_power_last(usage_file *f, bill_power *ret);
/* Points of a reading; one for the same moment replaces another of the same kind (forecast or
 * not). */
bool usage_file_intensity(usage_file *f, const intensity_reading *r, err *e);
/* A deferred call of the app has ended, whose dynamic energy that is: kept as sums by the hours in
 * which it was accepted and ran (carbon/saving.h prices them when asked). */
bool usage_file_deferred(usage_file *f, str app, int64_t accepted_s, int64_t ran_s, double energy_j,
                         err *e);
/* Sums windows that began before the hour of `before_s` to hours, and drops their checks. */
bool usage_file_compact(usage_file *f, int64_t before_s, err *e);

/* The records of [from_s, to_s), oldest first, with names in the order of their rows; energies too,
 * and the powers that hold in the span.
 * intensity and yearly_g_per_kwh stay the caller's. Everything is in the arena. */
bool usage_file_records(usage_file *f, arena *a, int64_t from_s, int64_t to_s, bill_records *ret,
                        err *e);
/* Points in [from_s, to_s). */
bool usage_file_points(usage_file *f, arena *a, int64_t from_s, int64_t to_s, bool forecasts,
                       intensity_reading *ret, err *e);
/* CPU-seconds of all apps in each of n steps from from_s on. A window counts as where it began. */
bool usage_file_loads(usage_file *f, int64_t from_s, size_t n, int64_t step_s, double *ret, err *e);
/* Joules of deferred calls that ran in that time, in each of n hours from from_s (a full hour) on:
 * by when they ran, and by when they were accepted. */
bool usage_file_later(usage_file *f, int64_t from_s, size_t n, double *ret_ran, double *ret_came,
                      err *e);
/* A moment kept under a name (cron triggers: the last that was fired); 0: none is. */
bool usage_file_mark(usage_file *f, str name, int64_t t_s, err *e);
int64_t usage_file_marked(usage_file *f, str name);
bool usage_file_unmark(usage_file *f, str name, err *e);
/* The names under which there are any, in order. */
bool usage_file_marks(usage_file *f, arena *a, str **ret, size_t *ret_n, err *e);
/* The oldest record's time; 0 if there is none. */
int64_t usage_file_oldest(usage_file *f);

typedef struct {
    int64_t window_s;
    str process;
    uint64_t booked_ns, kernel_ns;
} usage_check;
bool usage_file_checks(usage_file *f, arena *a, int64_t from_s, int64_t to_s, usage_check **ret,
                       size_t *ret_count, err *e);
