/* A call: one request being answered by one sandbox.
 *
 *     call_new -> QUEUED -> STARTING -> HANDLING -> RETURNING -> DRAINING -> gone
 *                             (instantiate) (handle)  (post-return) (bytes to the client)
 *
 * A call whose tenant had more CPU time than others who wait begins in its turn (platform/turns.h),
 * and so does one that used its time slice go on.
 *
 * It has a place (platform/places.h) from STARTING until its sandbox is over; a client that is slow
 * to take the last bytes keeps none. From every state it can end early: a trap, a spent budget, a
 * client that left. It then frees its instance, answers (500, 504) if nothing was sent yet, writes
 * its line to the log, and is gone. All calls of a worker belong to its `calls`; nothing here
 * blocks. */
#pragma once

#include "app/route.h"
#include "loop/loop.h"
#include "platform/hosted.h"
#include "platform/meter.h"
#include "platform/traces.h"
#include "platform/turns.h"

enum { CALL_ID_BYTES = 16 };

typedef struct call call;

/* The calls of one worker. */
typedef struct calls {
    host_linker *linker; /* borrowed */
    loop *l;
    meter *meter;
    traces *traces;  /* NULL: there are none */
    places places;   /* instances at once, and who waits for one */
    turns turns;     /* who waits for CPU time */
    turn_tenant own; /* the owner of all calls under `ebb up` */
    /* Whose turns calls take that can wait (inner_yields): one share for all, of the least weight,
     * so that they have what others leave, and a hundredth where those leave nothing. */
    turn_tenant yielding;
    turn_app yielding_app;
    loop_timer park_timer; /* while a tenant has no CPU time left */
    call *free;            /* kept memory */
    uint32_t free_count;
    loop_timer kept_timer; /* while the engine keeps instances */
    uint64_t id_prefix, id_next;
    uint32_t running;             /* started and not gone; some have answered already */
    void (*on_empty)(void *user); /* set while it drains */
    void *on_empty_user;
    call *done_head, *done_tail; /* ended in this turn; their log lines follow its writes */
    loop_hook *hook, *log_hook;
    /* Fair turns: when the last slice of those who wait ended, how long it took, and whether other
     * calls have run in this turn of the loop. */
    ns slice_end, slice_ns;
    bool others_ran;
    bool put_off; /* in the last turn, because new calls had enough of it */
} calls;

/* The meter is borrowed. */
void calls_init(calls *cs, loop *l, host_linker *linker, meter *m, uint32_t live_max,
                uint64_t id_seed);
/* Adds the hooks that log ended calls and give time slices. Call it after the server was made, so
 * that its writes come first: what is answered does not wait for somebody's time slice. */
bool calls_hooks_add(calls *cs, err *e);
void calls_fini(calls *cs);
/* Calls on_empty when no guest runs any more, at once if none does: one may still be at work when
 * its client has the whole answer. */
void calls_drain(calls *cs, void (*on_empty)(void *user), void *user);

/* Answers x with the component h, whose route matched as m. Never fails: problems are answered. */
void call_begin(calls *cs, hosted *h, http_exchange *x, const route_match *m);
/* Writes the identifier of the next request (16 lower-case letters and digits). */
void call_id_next(calls *cs, char ret_id[CALL_ID_BYTES]);
/* The log line of a request that needs no component; before its answer ends. */
void call_log_without(http_exchange *x, calls *cs, str component, unsigned status);
/* The platform's own error: an empty body, `ebb-request-id`, for 429 and 503 `retry-after`, a line
 * in the log. Takes x. */
void call_refuse_until(http_exchange *x, const char id[CALL_ID_BYTES], unsigned status,
                       unsigned after_s, const char *reason);
/* The same with WORKER_RETRY_AFTER_S. */
void call_refuse(http_exchange *x, const char id[CALL_ID_BYTES], unsigned status,
                 const char *reason);
