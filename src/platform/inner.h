/* A request that no client sent: an exchange whose body lies in memory and whose response is
 * collected there. Deferred calls run behind one; to the call, and to the component, it is an
 * exchange like any other.
 *
 * Invariants: on_done is called once, from the loop, when the exchange was given back and the call
 * that had taken it (inner_take) has said inner_over; then, and not before, inner_free. A response
 * longer than what is kept is taken whole and cut: no guest waits for room here. */
#pragma once

#include "base/buf.h"
#include "http/exchange.h"
#include "loop/loop.h"

enum { INNER_ID_BYTES = 32 };

typedef struct inner inner;

typedef struct {
    str method, target, authority, scheme, peer;
    const http_field *fields;
    size_t fields_count;
    bytes body;
    char id[INNER_ID_BYTES + 1]; /* of the deferred call, for its log line */
    size_t result_bytes_max, log_bytes_max;
    bool yields; /* to whatever else the worker has to run */
} inner_request;

typedef struct {
    unsigned status; /* 0: none was sent */
    const http_field *fields;
    size_t fields_count;
    bytes body;
    int64_t length; /* what the head said of the body, or (HEAD, 304) of another one; -1: nothing */
    bool body_cut, log_cut;
    bool aborted; /* the response was given up in its middle */
    str log;      /* lines, each "o" (stdout) or "e" (stderr) before it */
    ns cpu_ns, wall_ns;
    size_t memory_bytes;
    bool ran; /* a component has had it */
} inner_result;

/* Everything given is copied. */
bool inner_new(loop *l, const inner_request *r, void (*on_done)(void *user), void *user,
               inner **ret, err *e);
http_exchange *inner_exchange(inner *i);
/* As if the client had left. */
void inner_cancel(inner *i);
/* Once it is done; borrowed. */
inner_result inner_result_of(const inner *i);
void inner_free(inner *i);
/* After the last one has gone. */
void inner_loop_close(void);

/* For calls (call.c): NULL: the exchange is another's, and NULL is allowed in all of them. */
inner *inner_of(const http_exchange *x);
inner *inner_take(http_exchange *x);
void inner_leave(inner *i); /* the call that took it was refused: there is no inner_over */
const char *inner_id(const inner *i);
bool inner_yields(const inner *i);
void inner_line(inner *i, int stream, str line);
void inner_over(inner *i, ns cpu, ns wall, size_t memory_bytes);
