/* Traces of calls from CSV files, for `ebb sim`.
 *
 *   our own    time,app,calls,cpu_s,deferrable     RFC 3339; deferrable is 1 or 0
 *   Azure      HashOwner,HashApp,HashFunction,Trigger,1,...,1440: calls a minute of one day, the
 *              shape of the public "Azure Functions 2019" data set. CPU per call is the Average
 * (ms) of a durations file of the same day, or a constant. Queue, event, timer, storage and
 *              orchestration triggers count as deferrable. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "sched/sim.h"

typedef struct {
    sim_event *events; /* by time */
    size_t events_count, apps;
    bool *deferrable; /* by app */
} trace;

/* durations: a path or NULL; call_cpu_s where it has no figure. Everything lives in the arena. */
bool trace_read(const char *path, const char *durations, double call_cpu_s, arena *a, trace *ret,
                err *e);
/* Moves the trace in time so that its first day begins at start_s. */
void trace_shift(trace *t, int64_t start_s);
