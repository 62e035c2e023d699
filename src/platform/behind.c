/* See behind.h. A nice value says how much of a busy core a process gets, not for how long at once:
 * that is a tick of the kernel, 4 ms where it has 250 a second, in which a worker on the same core
 * answers nobody. So a timer interrupts such a process, and the handler gives the core up.
 *
 * Who yields goes behind by a whole slice of its own, however little of it was used; so its slices
 * are made as short as what it runs at once (Linux 6.12), or it would get less than its nice value
 * says. */
#include "platform/behind.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

enum { AT_ONCE_US = 500 };

/* linux/sched/types.h, which does not go together with sched.h. */
typedef struct {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
} scheduling;

/* Once: what runs out while it does not run counts for nothing. */
static void timer_start(void)
{
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, AT_ONCE_US}}, NULL);
}

static void give_way(int signo)
{
    int before = errno;
    sched_yield();
    timer_start();
    errno = before;
}

void behind_requests(void)
{
    int nice = getpriority(PRIO_PROCESS, 0);
    if (nice <= 0)
        return;
    scheduling short_slices = {.size = sizeof short_slices,
                               .policy = SCHED_OTHER,
                               .nice = nice,
                               .runtime = AT_ONCE_US * 1000};
    struct sigaction act = {.sa_handler = give_way, .sa_flags = SA_RESTART};
    syscall(SYS_sched_setattr, 0, &short_slices, 0);
    if (sigaction(SIGALRM, &act, NULL) == 0)
        timer_start();
}
