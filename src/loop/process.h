/* Child processes.
 * Invariants: a child inherits exactly the descriptors that are named; on_exit is called once, also
 * for a child that was killed; closing the handle does not touch the child.
 */
#pragma once

#include "loop/loop.h"

#include <sys/types.h>

typedef struct {
    const char *file;        /* a path: PATH is not searched */
    const char *const *argv; /* NULL-terminated, argv[0] included */
    const char *const *env;  /* NULL-terminated; NULL: the parent's */
    const char *dir;         /* NULL: the parent's */
    /* fds[i] becomes descriptor i of the child; -1: not open, but for 0 to 2: /dev/null. */
    const int *fds;
    size_t fds_count;
    bool set_ids; /* become uid and gid, without supplementary groups; needs root */
    uid_t uid;
    gid_t gid;
} process_options;

typedef struct process process;

/* status: exit code, or -1 with the signal in signo. */
bool process_spawn(loop *l, const process_options *o,
                   void (*on_exit)(void *user, int status, int signo), void *user,
                   process **ret_process, err *e);
pid_t process_pid(const process *p);
/* false: it is gone already. */
bool process_kill(process *p, int signo);
/* NULL is allowed. */
void process_close(process *p);
