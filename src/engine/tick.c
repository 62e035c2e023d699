/* The tick: what makes a running guest yield.
 *
 * A POSIX timer on CLOCK_MONOTONIC sends SIGURG to the worker's thread every ENGINE_TICK_NS (or
 * engine_tick_every); the handler increments the engine's epoch, and guest code, which compares it
 * with its deadline at loop heads and function entries, suspends its fiber. The handler does
 * nothing else, except that it stops the timer when it finds nothing running: so an idle process
 * gets one more signal after its last guest and is then never woken.
 *
 *     engine_poll ── tick_enter: running++, arm if not armed ── guest ── tick_leave: running--
 *     SIGURG      ── running ? increment epoch : disarm
 *
 * Both sides run on one thread (SIGEV_THREAD_ID), so volatile is all the ordering they need.
 * `running` is set before `armed` is read: a signal between the two finds something running and
 * leaves the timer alone; one before finds nothing, disarms, and tick_enter arms again.
 *
 * Why SIGURG: ignored by default, so that a late signal after engine_free harms nobody (Go uses
 * it for the same purpose). Why a signal and not a thread: one wake-up less a tick, and no second
 * thread that would make every munmap an inter-processor interrupt. SA_RESTART hides it from read
 * and write; poll, epoll and sleep may return EINTR while a guest's tick is still armed.
 *
 * timer_settime is async-signal-safe (POSIX, System Interfaces 2.4.3), so is
 * wasmtime_engine_increment_epoch by its documentation.
 */
#include "engine/engine_test.h"
#include "engine/inner.h"

#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

enum { TICK_SIGNAL = SIGURG };

/* A signal handler has no argument of ours: the one global of this room. */
static struct {
    wasm_engine_t *wasm;
    timer_t timer;
    struct sigaction before;
    volatile sig_atomic_t armed, running;
    volatile uint64_t ticks;
    uint64_t every_ns;
} tick = {.every_ns = ENGINE_TICK_NS};

static void tick_set(uint64_t interval_ns)
{
    struct timespec t = {.tv_sec = (time_t)(interval_ns / NS_PER_S),
                         .tv_nsec = (long)(interval_ns % NS_PER_S)};
    struct itimerspec spec = {.it_value = t, .it_interval = t};
    timer_settime(tick.timer, 0, &spec, NULL);
}

static void on_tick(int sig)
{
    int saved = errno;
    tick.ticks++;
    if (tick.running > 0) {
        wasmtime_engine_increment_epoch(tick.wasm);
    } else {
        tick.armed = 0;
        tick_set(0);
    }
    errno = saved;
}

bool tick_init(engine *en, err *e)
{
    if (tick.wasm)
        return err_set(e, ERR_CONFLICT, "this process has an engine already");
    struct sigaction act = {.sa_handler = on_tick, .sa_flags = SA_RESTART | SA_ONSTACK};
    sigfillset(&act.sa_mask);
    /* A fault in guest code is a signal too and must get through even in here. */
    sigdelset(&act.sa_mask, SIGSEGV);
    sigdelset(&act.sa_mask, SIGBUS);
    sigdelset(&act.sa_mask, SIGILL);
    sigdelset(&act.sa_mask, SIGFPE);
    struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = TICK_SIGNAL};
    ev.sigev_notify_thread_id = gettid();
    if (timer_create(CLOCK_MONOTONIC, &ev, &tick.timer))
        return err_set_errno(e, "timer_create for the engine's tick");
    if (sigaction(TICK_SIGNAL, &act, &tick.before)) {
        err_set_errno(e, "sigaction for the engine's tick");
        timer_delete(tick.timer);
        return false;
    }
    tick.wasm = en->wasm;
    tick.armed = tick.running = 0;
    return true;
}

void tick_fini(void)
{
    if (!tick.wasm)
        return;
    timer_delete(tick.timer);
    sigaction(TICK_SIGNAL, &tick.before, NULL);
    tick.wasm = NULL;
}

void tick_enter(void)
{
    tick.running = tick.running + 1;
    if (!tick.armed) {
        tick.armed = 1;
        tick_set(tick.every_ns);
    }
}

void engine_tick_every(ns interval)
{
    if (tick.every_ns == interval)
        return;
    tick.every_ns = interval;
    if (tick.armed) /* if the tick that finds nothing running comes in between, so does the next */
        tick_set(interval);
}

ns tick_every(void) { return tick.every_ns; }

void tick_leave(void) { tick.running = tick.running - 1; }

uint64_t engine_ticks(void) { return tick.ticks; }
