/* The only callers of clock_gettime in ebb: rooms that must be replayable take the time as an
 * argument, and whoever calls them asks here. */
#include "base/clock.h"

#include <time.h>

static ns now(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (ns)t.tv_sec * NS_PER_S + (ns)t.tv_nsec;
}

ns clock_mono(void) { return now(CLOCK_MONOTONIC); }

ns clock_wall(void) { return now(CLOCK_REALTIME); }

ns clock_thread_cpu(void) { return now(CLOCK_THREAD_CPUTIME_ID); }

ns clock_process_cpu(void) { return now(CLOCK_PROCESS_CPUTIME_ID); }

ns clock_process_cpu_of(int pid)
{
    clockid_t id;
    struct timespec t;
    if (clock_getcpuclockid(pid, &id) != 0 || clock_gettime(id, &t) != 0)
        return 0;
    return (ns)t.tv_sec * NS_PER_S + (ns)t.tv_nsec;
}
