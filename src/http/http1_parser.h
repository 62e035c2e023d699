/* Reads HTTP/1.1 and 1.0 requests from bytes, however they are cut (RFC 9112). Pure: no clock, no
 * sockets.
 *
 * Invariants
 * - One request at a time: the caller asks for the next with http1_parser_next. No byte after a
 *   request is looked at before that.
 * - Whatever the cuts, the same bytes give the same heads, bodies and refusals.
 * - What may be understood in two ways is refused, never repaired.
 * - Memory: the head, at most head_bytes_max, and trailers, as much again. Bodies are not kept.
 */
#pragma once

#include "base/buf.h"
#include "http/exchange.h"

#include <llhttp.h>

typedef struct {
    size_t head_bytes_max;   /* request line and fields: 431 */
    size_t headers_max;      /* 431 */
    size_t uri_bytes_max;    /* 414 */
    uint64_t body_bytes_max; /* 413; UINT64_MAX: no limit */
} http1_limits;

/* Fields and the text they point into. Zeroed memory is an empty one. */
typedef struct {
    buf text;
    http_field *items; /* while they are read: offsets into text instead of pointers */
    size_t count, cap;
} http1_fields;

void http1_fields_fini(http1_fields *f);

/* What a head says. Strings point into fields.text, which is the caller's and may be used again for
 * the next request. */
typedef struct {
    http1_fields fields; /* lower-case names, without hop-by-hop fields */
    http1_fields trailers;
    str method, target, authority;
    int64_t content_length; /* -1: none given */
    bool has_body;
    bool chunked;
    bool is_1_0;
    bool keep_alive; /* the client wants it and the version allows it */
    bool expect_continue;
} http1_head;

void http1_head_fini(http1_head *h);

typedef enum {
    HTTP1_NEED,    /* all bytes were taken, more are needed */
    HTTP1_HEAD,    /* the head is complete */
    HTTP1_BODY,    /* `body` is the next piece of the body, in the bytes given */
    HTTP1_END,     /* a chunked body is complete; trailers are there */
    HTTP1_REFUSED, /* answer with `status` and close; `reason` says why, for a log */
} http1_event;

typedef struct {
    llhttp_t llhttp;
    const http1_limits *limits;
    http1_head *head;
    enum { P_START, P_LINE, P_FIELDS, P_LENGTH, P_CHUNKS, P_DONE, P_REFUSED } state;
    http1_event event; /* what a callback of llhttp has seen */
    bytes body;
    size_t head_bytes;                /* of the request line and fields so far */
    uint64_t body_bytes;              /* of the body so far, without chunk framing */
    uint64_t chunk_bytes;             /* of chunk framing and trailers so far */
    size_t name_at, name_n, value_at; /* the field that is being read */
    unsigned status;
    const char *reason;
} http1_parser;

/* limits must outlive the parser. Nothing to free. */
void http1_parser_init(http1_parser *p, const http1_limits *limits);
/* The next request goes into *head, which stays the caller's and is emptied first. */
void http1_parser_next(http1_parser *p, http1_head *head);
/* Takes bytes up to the next event and returns how many. Not once the request is complete. */
size_t http1_parse(http1_parser *p, const uint8_t *in, size_t n, http1_event *ret_event);
/* The request is complete: after a head without body, the last piece of a body, or HTTP1_END. */
static inline bool http1_parser_done(const http1_parser *p) { return p->state == P_DONE; }
/* A byte of the request has been taken. */
static inline bool http1_parser_begun(const http1_parser *p)
{
    return p->state != P_START || p->head_bytes > 0;
}
