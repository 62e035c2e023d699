/* What workers and the keeper say to each other about deferred calls: one message each over a
 * channel of its own. Both ends are the same binary: structures travel as they are.
 *
 *     worker                              keeper
 *       HELLO(holder)            ------>    whose leases go back if the worker dies
 *             <------  PLAN                 what is planned: workers tell clients, and accept by it
 *       CHANGED                  ------>    calls were accepted, cancelled, or wait again
 *             <------  RUN(lease)           lease what this says, and run it
 *       RAN(cpu)                 ------>    calls were accepted, began, or ended
 *       ENDED(app, times, use)   ------>    one was answered: for the sums of what waiting saved
 *       PRICE(ask, use)          ------>    what did that call's energy cost in carbon?
 *             <------  PRICED(ask, ...)
 *       APP(ask, app, revision)  ------>    (directory_message.h: settings of an app by number)
 */
#pragma once

#include "base/str.h"
#include "sched/pace.h"

/* The queue's numbers of the app of `ebb up`, which the catalogue does not know. */
enum { CALLS_ONLY_TENANT = 1, CALLS_ONLY_APP = 1 };

typedef enum {
    CALLS_HELLO = 1,
    CALLS_PLAN,
    CALLS_CHANGED,
    CALLS_RUN,
    CALLS_RAN,
    CALLS_PRICE,
    CALLS_PRICED,
    CALLS_ENDED,
    CALLS_KINDS_END,
} calls_kind;

/* The energy of a call that ended, at the intensity that really came when it ran, and when it was
 * accepted: what running at once would have cost (carbon/saving.h). */
typedef struct {
    int64_t accepted_s, ran_s;
    double energy_j;
    double accepted_g_per_kwh, ran_g_per_kwh; /* NaN: nobody knows, yet */
} calls_price;

typedef struct {
    calls_kind kind;
    uint32_t count; /* RUN: at most so many; RAN: ended */
    uint64_t ask;   /* PRICE, PRICED; HELLO: the holder */
    union {
        struct {
            uint64_t cpu_max_ns;
            int64_t deadline_max_ms;
            uint32_t shortage, urgent; /* urgent: whatever the flow of their app says */
        } run;
        struct {
            double started_cpu_s; /* estimates of calls that began */
            double ended_cpu_s;   /* what calls used that ended */
            double came_cpu_s;    /* estimates of calls that were accepted */
            double came_slack_s;  /* times the seconds that each may wait */
        } ran;
        calls_price price;
        struct {
            uint64_t app, component; /* as in meter_row: app 0 is that of `ebb up` */
            int64_t accepted_s, ran_s;
            double energy_j;
        } ended;
        pace_view plan;
    };
} calls_message;

/* The bytes to send; what a kind does not use at the end is left out. */
bytes calls_message_bytes(const calls_message *m);
/* False: it is damaged. */
bool calls_message_read(bytes b, calls_message *ret);
