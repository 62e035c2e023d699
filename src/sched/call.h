/* A deferred call as the scheduler sees it: class, criticality, deadline.
 * Invariants: accepted_s <= start_s <= deadline_s. A call never starts before start_s. */
#pragma once

#include "base/err.h"
#include "base/str.h"

/* XFaaS (SOSP 2023): reserved work has guaranteed room and starts at once; opportunistic work is
 * cheap and runs when the plan says so. */
typedef enum { CALL_RESERVED, CALL_OPPORTUNISTIC } call_class;
typedef enum { CALL_LOW, CALL_NORMAL, CALL_HIGH } call_criticality;

#define CALL_SLACK_S_MAX     (7 * 86400) /* a promise further ahead than forecasts reach is none */
#define CALL_SLACK_S_DEFAULT 86400

typedef struct {
    uint64_t id;
    call_class class;
    call_criticality criticality;
    int64_t accepted_s, start_s, deadline_s;
    double cpu_s; /* estimate: the route's running mean */
} deferred_call;

/* `Ebb-Deadline`: whole seconds from now, or a time as RFC 3339. ERR_INVALID: it is neither, in the
 * past, or further ahead than CALL_SLACK_S_MAX. */
bool call_deadline_parse(str text, int64_t now_s, int64_t *ret_s, err *e);

/* Which of two runs first. While the plan places everything: earliest deadline first, which makes
 * "nothing late while capacity allows" true. When it does not (`shortage`): criticality decides
 * what is late, then the deadline. Ties by age, then id: a total order. */
int call_cmp(const deferred_call *a, const deferred_call *b, bool shortage);

/* May it start now? Due in this slot, or budget left, and never before its start. */
bool call_may_start(const deferred_call *c, int64_t now_s, int64_t slot_end_s, double budget_cpu_s);
