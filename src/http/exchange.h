/* One request and its response, as seen by whoever answers it (host/, platform/), whatever the
 * protocol version below. The HTTP server makes exchanges and owns them; the handler borrows one
 * from `on_request` until it has called exchange_end or exchange_abort, or `on_closed` was called.
 *
 * Invariants
 * - Head fields (method, target, authority, headers) are valid for the life of the exchange.
 *   Header names are lower-case; hop-by-hop and framing fields (connection, keep-alive,
 *   transfer-encoding, upgrade, ...) are removed; values have no CR, LF, NUL.
 * - Memory is bounded in both directions by HTTP_BUFFER_BYTES: reading from the socket stops while
 *   that much of the request body is not taken; exchange_room says how much may be written.
 * - Callbacks never run inside a call of the handler's own: they come from the event loop.
 * - After on_closed no other callback comes, and the only legal call is exchange_free.
 */
#pragma once

#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"

typedef struct http_exchange http_exchange;

typedef struct {
    str name, value;
} http_field;

typedef struct {
    str method;    /* as sent: "GET" */
    str target;    /* origin-form path and query: "/a?b=c"; "*" only for OPTIONS */
    str authority; /* of Host or of the absolute-form: "example.com:80" */
    str scheme;    /* "http" or "https" */
    const http_field *fields;
    size_t fields_count;
    int64_t content_length; /* -1: none was given (no body, or chunked) */
    bool has_body;          /* false: exchange_read is at the end at once */
    str peer;               /* "127.0.0.1:4321", "[::1]:4321" */
    ns begun_mono;          /* when the last byte of the head was read */
} http_request;

/* Without its query. */
static inline str target_path(str target) { return str_head(target, str_find(target, '?')); }

typedef enum {
    BODY_OPEN,    /* more may come */
    BODY_END,     /* everything was read; trailers are there */
    BODY_ABORTED, /* the client went away or broke the framing */
} body_state;

typedef struct {
    /* Some bytes, the end or the abort of the request body can be read now. */
    void (*on_readable)(void *user);
    /* exchange_room went from 0 to more. */
    void (*on_writable)(void *user);
    /* The connection is gone before exchange_end: stop working, call exchange_free. */
    void (*on_closed)(void *user);
} exchange_callbacks;

const http_request *exchange_request(const http_exchange *x);
/* Sets who is called (copied). May be called again; NULL: nobody, and so is a NULL member. */
void exchange_bind(http_exchange *x, const exchange_callbacks *callbacks, void *user);

/* Copies at most n bytes of the request body into p, returns how many. 0 with BODY_OPEN: wait for
 * on_readable. Sends "100 Continue" at the first call where the client asked for it. */
size_t exchange_read(http_exchange *x, void *p, size_t n, body_state *ret_state);
/* Bytes that exchange_read would give now without waiting. */
size_t exchange_readable(const http_exchange *x, body_state *ret_state);
/* Valid after BODY_END. */
const http_field *exchange_trailers(const http_exchange *x, size_t *ret_count);

/* Whatever answers it says that it depends on `Prefer` (RFC 7240, 2), so that no cache gives it to
 * who prefers otherwise. Before the response starts. */
void exchange_varies(http_exchange *x);
/* Starts the response. Fields are copied. content_length -1: chunked (HTTP/1.1) or until close
 * (1.0); a `content-length` among the fields wins. Statuses 100 to 199 are refused; 204, 304 and
 * answers to HEAD have no body whatever is written later. `date` is added if missing, `vary` after
 * exchange_varies, and nothing else. ERR_INVALID for names or values that are no field syntax
 * (RFC 9110 5.5, 5.6.2). */
bool exchange_start(http_exchange *x, unsigned status, const http_field *fields, size_t count,
                    int64_t content_length, err *e);
bool exchange_started(const http_exchange *x);
/* How many bytes exchange_write takes now; 0: wait for on_writable. */
size_t exchange_room(const http_exchange *x);
/* Takes at most n bytes, returns how many were taken (bounded by exchange_room). Bytes past the
 * declared content-length are refused: returns 0 and sets *ret_overrun. */
size_t exchange_write(http_exchange *x, const void *p, size_t n, bool *ret_overrun);
/* Goes on writing the n bytes at p, of which *written are: as many as there is room for, and moves
 * *written. True: all are written. False: go on at the next on_writable. */
bool exchange_write_on(http_exchange *x, const void *p, size_t n, size_t *written);
/* Ends the response and gives the exchange back: x is invalid afterwards. A body shorter than its
 * content-length closes the connection; it is never padded. Trailers only when chunked. */
void exchange_end(http_exchange *x, const http_field *trailers, size_t count);
/* Gives up: a started response is cut (connection closed or stream reset), one not started is
 * answered with `status`, an empty body and the fields given. x is invalid afterwards. */
void exchange_abort(http_exchange *x, unsigned status, const http_field *fields, size_t count);
/* After on_closed only. */
void exchange_free(http_exchange *x);
/* Response body bytes handed to the connection so far, request body bytes read so far. */
uint64_t exchange_bytes_out(const http_exchange *x);
uint64_t exchange_bytes_in(const http_exchange *x);
