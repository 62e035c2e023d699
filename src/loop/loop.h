/* The event loop of one process: turns, timers, signals, descriptors. One thread, one loop.
 *
 * A turn is: what became ready is handled, due timers are called, then the turn hooks run, then
 * the process sleeps until something happens. libuv is below and shows nowhere in these headers,
 * so that another engine (io_uring) can take its place.
 *
 * Invariants
 * - An idle loop never wakes up: there is no periodic timer, and a timer only while one is started.
 * - Callbacks are called from loop_run only, never from inside a call into loop/.
 * - After x_close(x) or x_stop(x) returns, no callback of x is called any more; memory that loop/
 *   allocated goes by itself when the engine below has let go of it.
 * - loop_run returns when loop_stop was called or when nothing is left that could call back.
 */
#pragma once

#include "base/clock.h"
#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

typedef struct loop loop;

/* The process ignores SIGPIPE from now on. */
bool loop_new(loop **ret_loop, err *e);
/* Everything opened on it was closed before; pending closes are finished here. NULL is allowed. */
void loop_free(loop *l);
bool loop_run(loop *l, err *e);
/* One turn at most; sleeps at most wait_max_ms (0: not at all). For tests and simulators. */
void loop_turn(loop *l, unsigned wait_max_ms);
/* loop_run returns at the end of this turn. */
void loop_stop(loop *l);
/* f is told, at its end, of every turn that took longer than `than`, waiting not counted: what
 * blocks a loop is seen. Once, before loop_run. Costs two clock reads a turn. */
void loop_watch_turns(loop *l, ns than, void (*f)(void *user, ns took), void *user);
/* Time since loop_new in which the loop did not wait: turns, and what was outside of loop_run. */
ns loop_awake(loop *l);
/* CLOCK_MONOTONIC when it was first asked for in this turn: good for deadlines, one clock read a
 * turn at most. */
ns loop_now(loop *l);

/* --- turn hooks -------------------------------------------------------------------------------
 * Called at the end of every turn, before sleeping, in the order they were added: write responses
 * first, then logs. A hook that has more to do returns true: the loop then looks for events
 * without sleeping and calls it again, so that nobody starves. */
typedef struct loop_hook loop_hook;
bool loop_hook_add(loop *l, bool (*f)(void *user), void *user, loop_hook **ret_hook, err *e);
void loop_hook_remove(loop_hook *h);
/* Calls it also as soon as the stream's callback that runs now is over, if one does: for work that
 * the callback has left and whose memory is still in the cache. What it returns then says nothing;
 * it is called at the end of the turn as always. */
void loop_hook_soon(loop_hook *h);

/* --- timers -----------------------------------------------------------------------------------
 * One-shot, embedded in what they belong to. Zeroed memory is a stopped timer. Millisecond
 * resolution, never early. A started timer keeps its memory in place until stopped or called. */
typedef struct loop_timer loop_timer;
struct loop_timer {
    loop *l;
    ns due;           /* CLOCK_MONOTONIC */
    size_t heap_next; /* place in the heap + 1; 0: stopped */
    void (*f)(void *user);
    void *user;
};
/* (Re)starts; false only if there is no memory for one more timer. */
bool loop_timer_start(loop *l, loop_timer *t, ns after, void (*f)(void *user), void *user);
/* Does nothing if it is stopped. */
void loop_timer_stop(loop_timer *t);
static inline bool loop_timer_active(const loop_timer *t) { return t->heap_next != 0; }

/* --- signals ----------------------------------------------------------------------------------
 * f is called in a turn, not in the signal handler; several arrivals may become one call. Does not
 * keep loop_run from returning. */
typedef struct loop_signal loop_signal;
bool loop_signal_open(loop *l, int signo, void (*f)(void *user, int signo), void *user,
                      loop_signal **ret_signal, err *e);
void loop_signal_close(loop_signal *s);

/* --- descriptors ------------------------------------------------------------------------------
 * Calls f while fd is readable or writable (level-triggered), as asked for by loop_watch_set. The
 * fd stays the caller's; it is closed by the caller, after loop_watch_close. An error or hang-up on
 * it is reported as readable and writable: the next read or write says which. */
enum { LOOP_READABLE = 1, LOOP_WRITABLE = 2 };
typedef struct loop_watch loop_watch;
bool loop_watch_open(loop *l, int fd, void (*f)(void *user, unsigned events), void *user,
                     loop_watch **ret_watch, err *e);
/* events 0: not watched for now. */
void loop_watch_set(loop_watch *w, unsigned events);
void loop_watch_close(loop_watch *w);
