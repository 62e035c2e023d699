/* The ledger of one node: what each row used in 10-second windows, hours and a day, and what of
 * the node's energy and embodied carbon that makes it responsible for.
 *
 * Rows: row LEDGER_PLATFORM is ebb's own processes, measured like everyone; row LEDGER_OTHER is
 * the machine's CPU outside ebb (0 on a dedicated node); apps follow. Unallocated idle is not a
 * row but a figure of the day.
 *
 * Invariants
 * - Conservation, for every closed day: sum over rows of dynamic + sum of idle shares +
 *   unallocated idle = energy of the node; the same for embodied. Relative error below 1e-9.
 * - Windows close lazily: only ledger_use, ledger_energy and ledger_day_close look at the time,
 *   nothing needs a timer; ten idle hours cost one addition.
 * - Time never goes back. A use dated before the newest one (clocks of several processes differ)
 *   is booked into the present window. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "carbon/power.h"

#define LEDGER_WINDOW_S 10
#define LEDGER_HOURS    24
#define LEDGER_PLATFORM 0
#define LEDGER_OTHER    1
#define LEDGER_APPS     2 /* first app's row */
#define LEDGER_ROWS_MAX (1 << 20)

typedef struct {
    uint64_t calls, cpu_ns, wall_ns, bytes_in, bytes_out, memory_peak_bytes;
} ledger_usage;

typedef struct {
    ledger_usage used;
    double dynamic_j, idle_j; /* with PUE */
    double operational_g;     /* dynamic and idle, hour by hour, at that hour's intensity */
    double embodied_g;
    double peak_cpus; /* highest mean CPUs of a 10-second window */
    double dynamic_g; /* of operational_g, what is dynamic_j's */
} ledger_row;

typedef struct {
    double node_j, idle_unallocated_j, embodied_g, embodied_unallocated_g;
    double operational_g, operational_unallocated_g;
    double dynamic_lost_j; /* measured above idle while no row used any CPU; part of idle */
    double peak_cpus;      /* of the node, highest hour mean */
    size_t rows;
} ledger_day;

/* Sums of calls, bytes, time, energy and grams; of peaks the higher one. */
void ledger_usage_add(ledger_usage *sum, const ledger_usage *u);
void ledger_row_add(ledger_row *sum, const ledger_row *r);

typedef struct ledger ledger;

/* Lives in the arena: about 600 bytes a row. start_s: seconds since 1970; capacity_cpus: what
 * this node could do, the top of share.h's picture. */
bool ledger_new(arena *a, size_t rows, int64_t start_s, const power_model *power,
                double capacity_cpus, double embodied_g_per_s, ledger **ret, err *e);

/* Another power model from now on, of the same source; at a day's beginning. */
void ledger_power_set(ledger *l, const power_model *power);

/* Books one call, or a sum of calls that ended in the same window. */
void ledger_use(ledger *l, size_t row, int64_t now_s, const ledger_usage *u);

/* The node's measured energy since the last such call, ending at now_s. Divided at once: what is
 * above idle power to the rows by their CPU time since then (booked to the hour of the last use, so
 * take a sample at the end of a busy hour); idle to the hours by duration. Only for a ledger whose
 * power source is POWER_RAPL; any other takes the model's energy when a window closes. */
void ledger_energy(ledger *l, int64_t now_s, double joules);

/* Called for each row with any use when a 10-second window closes: what a time series of metrics
 * stores. Windows close when a later use arrives, or the day is closed; empty ones are not told. */
typedef void ledger_window_fn(void *context, size_t row, int64_t start_s, const ledger_usage *u);
void ledger_on_window(ledger *l, ledger_window_fn *f, void *context);

/* One row's hour so far: CPU seconds, and dynamic joules of windows that are closed. */
void ledger_hour(const ledger *l, size_t row, size_t hour, double *ret_cpu_s,
                 double *ret_dynamic_j);

/* Closes the day up to now_s (at most its end) into rows[0..rows). intensity[h] is g/kWh of hour
 * h of this day, the value that really came. May be called earlier in the day for a provisional
 * bill (who bears the idle share is not final before midnight); booking then goes on. */
void ledger_day_close(ledger *l, int64_t now_s, const double intensity[LEDGER_HOURS],
                      ledger_row *ret_rows, ledger_day *ret_day);
/* Starts the day that holds now_s; days without any use in between are lost to the caller, who
 * books them by ledger_day_idle. */
void ledger_day_next(ledger *l, int64_t now_s);
bool ledger_day_over(const ledger *l, int64_t now_s);
/* A day in which nothing ran: all unallocated. */
ledger_day ledger_day_idle(const ledger *l, const double intensity[LEDGER_HOURS]);

/* CPUs used per hour of the open day, for planners and predictors. */
double ledger_hour_cpus(const ledger *l, size_t hour);
/* Last closed 10-second window's CPUs of the node, and its start. */
double ledger_window_cpus(const ledger *l, int64_t *ret_start_s);

/* ---- from a worker's slices to kernel time ---- */

/* A worker times each call's slices with the monotonic clock; the kernel knows what its thread
 * really ran. If the slices sum to more (the thread was preempted inside them), all shrink alike;
 * the rest of the thread's time is the platform's. Returns the platform's part; afterwards
 * sum(slices) + return value == thread_cpu_ns exactly. */
uint64_t meter_scale(uint64_t *slice_ns, size_t n, uint64_t thread_cpu_ns);

/* Of `lost` nanoseconds in which a thread was held up, how many fell into a stretch that took
 * slice_ns by a clock that goes on meanwhile, and not into the rest_ns before it? Taken for one
 * interruption: of the side where alone it can have been, or, where both were long enough, split by
 * how long either really took if it was there. At most slice_ns and `lost`. */
uint64_t meter_lost(uint64_t slice_ns, uint64_t rest_ns, uint64_t lost_ns);

/* Is what was booked within `tolerance` (0.01) of what the kernel accounted? */
bool meter_agrees(uint64_t booked_ns, uint64_t kernel_ns, double tolerance, double *ret_relative);
