/* Work that would block, on the threads of the process: a statement of SQL, an fsync. */
#pragma once

#include "loop/loop.h"

/* Calls work(user) on another thread, then done(user) in a turn of the loop. It cannot be called
 * back: whoever frees the loop first waits for every done. At most WORK_THREADS run at a time, the
 * others wait in order. */
bool loop_work_start(loop *l, void (*work)(void *user), void (*done)(void *user), void *user,
                     err *e);

enum { WORK_THREADS = 8 };
