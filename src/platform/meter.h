/* The meter of one worker: what calls used, by component, in the open 10-second window, until it is
 * told to the keeper. It has no timer: a window is closed by the first turn after its end in which
 * the worker is awake anyway, or when the keeper asks.
 *
 * Invariant: for every report, the CPU of all its rows and of the platform's part sum to what the
 * kernel accounted to this process since the last report (carbon/ledger.h, meter_scale). */
#pragma once

#include "carbon/ledger.h"
#include "loop/loop.h"

typedef struct meter meter;

bool meter_new(loop *l, meter **ret, err *e);
/* Tells what is open if somebody listens. NULL is allowed. */
void meter_free(meter *m);
/* A channel to the keeper; takes fd. Replaces the one there was. */
void meter_connect_take(meter *m, int fd);
/* The keeper may send a socket over it, for spans: who takes it. */
void meter_on_socket(meter *m, void (*take)(void *user, int fd), void *user);

/* A row for a component of an app (0: the app of `ebb up`), until it is closed; what was used of it
 * is told all the same. NULL m: a row of nothing. ERR_NO_MEMORY. */
bool meter_row_open(meter *m, uint64_t app, uint32_t component, size_t *ret, err *e);
void meter_row_close(meter *m, size_t row);
/* A slice begins that may be long: one of a guest that used up another before. May be left out;
 * with it the charge is exact however crowded the core is. NULL: nothing is metered. */
void meter_slice_begins(meter *m);
/* A slice just ended, that took so long by the monotonic clock. Returns how much of it the thread
 * ran: less than `cpu` where the core was somebody else's, or a page came from the disk. NULL:
 * nothing is metered, and all of it counts. */
ns meter_slice(meter *m, size_t row, ns cpu);
/* A call ended; its cpu_ns was booked by slices and is not looked at. NULL: likewise. */
void meter_call(meter *m, size_t row, const ledger_usage *u);

/* ---- messages, worker to keeper; whole numbers in the machine's order, both ends are one binary
 * */

enum { METER_ROWS_PER_MESSAGE = 900 };

typedef struct {
    int64_t window_s;     /* start of the 10-second window, seconds since 1970 */
    uint64_t kernel_ns;   /* CPU of this process since it started */
    uint64_t platform_ns; /* of that, since the last report, not spent in calls */
    uint32_t rows_count;
    bool last; /* no more messages of this report */
} meter_report;

typedef struct {
    uint64_t app;
    uint64_t component; /* its index in the app */
    ledger_usage u;
} meter_row;

/* Checks lengths and counts; rows are copied out. ERR_INVALID otherwise. */
bool meter_report_read(bytes message, meter_report *ret, meter_row ret_rows[METER_ROWS_PER_MESSAGE],
                       err *e);
