/* The keeper's books: which processes of ebb there are, what each has used by the kernel's account
 * and by ours, and every report entered into the usage records.
 *
 * Invariant: for each process, what was booked so far equals what the kernel accounted to it at the
 * last report; where they differ the check says so, and nothing is repaired. */
#pragma once

#include "platform/meter.h"
#include "store/usage_file.h"

enum { BOOK_PROCESSES_MAX = 128 };

typedef struct {
    int pid; /* 0: a free place */
    char name[32];
    bool reports;                  /* a worker; the others are measured by us */
    bool joined;                   /* it ran before we did: its first report says where we begin */
    uint64_t kernel_ns, booked_ns; /* so far */
} book_process;

typedef struct {
    usage_file *file;
    const str *apps; /* names of the components of `ebb up`; borrowed */
    size_t apps_count;
    book_process all[BOOK_PROCESSES_MAX];
    int64_t sampled_window_s;
    uint64_t machine_ns, ours_ns; /* busy time of the machine, ours, at the last sample */
} book;

void book_init(book *b, usage_file *f, const str *apps, size_t count);
/* known: an earlier keeper has booked what it used until now. False: there is no place for one
 * more.
 */
bool book_process_add(book *b, int pid, const char *role, unsigned index, bool reports, bool known);
/* One message of a worker's report. kernel_ns: what we read of its CPU clock when it came. */
bool book_report(book *b, int pid, const meter_report *r, const meter_row *rows, uint64_t kernel_ns,
                 err *e);
/* A deferred call of a component (as in a meter's row) has ended (usage_file_deferred). */
bool book_deferred(book *b, uint64_t app, uint64_t component, int64_t accepted_s, int64_t ran_s,
                   double energy_j, err *e);
/* Measures the processes that do not report, and the machine (busy CPU time since it started, 0:
 * unknown), into the window. */
bool book_sample(book *b, int64_t window_s, uint64_t machine_ns, err *e);
/* A process ended after cpu_ns in all: what it had not told goes to the platform. */
bool book_died(book *b, int pid, int64_t window_s, uint64_t cpu_ns, uint64_t *ret_untold_ns,
               err *e);
