/* Time as integers of nanoseconds. Pure rooms never call these: they take `ns` as an argument. */
#pragma once

#include <stdint.h>

typedef uint64_t ns;

#define NS_PER_US UINT64_C(1000)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

ns clock_mono(void);        /* CLOCK_MONOTONIC */
ns clock_wall(void);        /* CLOCK_REALTIME, since 1970 */
ns clock_thread_cpu(void);  /* CPU time of the calling thread */
ns clock_process_cpu(void); /* of all threads of this process, since it started */
/* Of another process; 0 if it has gone. */
ns clock_process_cpu_of(int pid);
