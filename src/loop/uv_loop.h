/* Shared by the files of loop/ only: what a loop is on libuv. */
#pragma once

#include "base/buf.h"
#include "loop/loop.h"

#include <uv.h>

struct loop {
    uv_loop_t uv;
    uv_prepare_t before_sleep; /* runs the turn hooks */
    uv_idle_t no_sleep;        /* active while a hook has more to do */
    uv_timer_t alarm;          /* due at the earliest of `timers` */
    ns made, now;              /* now: of this turn; 0: nobody has asked yet */
    bool in_timers, alarm_due;
    bool soon; /* a hook is to be called before the end of the turn */
    /* loop_watch_turns */
    ns turn_max, turn_begun, idle_before;
    void (*on_long_turn)(void *user, ns took);
    void *on_long_turn_user;
    loop_hook *hooks;    /* in the order of calling */
    loop_timer **timers; /* binary heap by `due` */
    size_t timers_count, timers_cap;
    uint8_t *read_buffer; /* STREAM_READ_BYTES_MAX, shared by all streams */
    /* For streams with TLS: what was decrypted, memory for what is encrypted, and how long
     * handshakes took in the turn that began at `shook_at`. */
    uint8_t *plain_buffer;
    buf spare_out;
    ns shook_at, shook;
};

/* A callback of a stream is over. */
void loop_soon(loop *l);

/* "<what>: <libuv's text>", ERR_IO. */
bool err_set_uv(err *e, int code, const char *what);
