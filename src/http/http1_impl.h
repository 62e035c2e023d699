/* A connection of HTTP/1.x and its exchange: http1_conn.c and http1_exchange.c. */
#pragma once

#include "http/http1_parser.h"
#include "http/server_impl.h"

typedef struct http1_conn http1_conn;

struct http1_exchange {
    http_exchange x; /* first: the public pointer is this one */
    http_server *server;
    http1_conn *c; /* NULL when the connection is gone */
    struct http1_exchange *next_spare;
    http1_head head;
    buf in; /* of the request body, what the handler has not taken: from in_at on */
    size_t in_at;
    bytes lent;          /* what comes after it: in the bytes being parsed, valid until they are */
    body_state in_state; /* what comes after `in` */
    bool dispatched;     /* the handler knows it */
    bool expect;         /* "100 Continue" is to be sent at the first read */
    bool undecided;      /* the end of the head is held back: empty or chunked? */
    bool chunked;
    bool until_close;
    bool full;       /* on_writable is owed */
    bool is_long;    /* its body is more than one buffer */
    size_t start_at; /* while undecided: where the response begins in the output */
};

struct http1_conn {
    conn base;
    uint8_t state; /* HTTP1_IDLE ... */
    bool eof;      /* the client sends no more */
    bool keep;     /* the connection outlives the response that was started */
    bool broken;   /* writing failed: to be closed at the end of the turn */
    bool linger;   /* input may be unread: end gently */
    bool progress; /* the client has sent or taken bytes since settle */
    bool head_new; /* a head has begun since settle */
    bool lame;     /* the server drains: one more request may come, and is the last */
    bool fresh;    /* HTTP/2 may begin: nothing came yet but, in `pending`, a part of its preface */
    http1_parser parser;
    http1_exchange *x;
    buf out;               /* to be written at the end of the turn */
    buf pending;           /* input that is not parsed yet */
    uint64_t discard_left; /* unread body that is still thrown away for keep-alive's sake */
};

/* --- http1_conn.c ---
 *
 *              head begins          head complete            response ended
 *     IDLE ----------------> HEAD ----------------> ANSWER ----------------> IDLE
 *                              |                      |  '--body unread--> DISCARD --> IDLE
 *                              | refused              | refused, cut, or the last response
 *                              v                      v
 *                           CLOSING ----written----> LINGER --client closes--> gone
 */
enum {
    HTTP1_IDLE,
    HTTP1_HEADING,
    HTTP1_ANSWER,
    HTTP1_DISCARD,
    HTTP1_CLOSING,
    HTTP1_LINGER,
    HTTP1_SHAKING, /* before IDLE, with TLS */
};

/* Takes fd, and the server's certificates if it has any. */
bool http1_conn_open_take(http_server *s, int fd, str peer);

/* Output that stops the handler. More than a full body buffer, so that it fits beside its head and
 * both go out in one write. */
enum { HTTP1_OUT_FULL = HTTP_BUFFER_BYTES + 4 * 1024 };
/* Output waits in c->out; whoever gets it here appends and need not do more. */
buf *http1_out(http1_conn *c);
static inline size_t http1_out_waiting(const http1_conn *c)
{
    return c->out.n + (stream_write_busy(c->base.s) ? stream_write_left(c->base.s) : 0);
}
/* Writes what the socket takes. false: the connection is lost. */
bool http1_output_write(http1_conn *c);
/* The same with further bytes, of which only what the socket does not take is copied. */
bool http1_output_through(http1_conn *c, bytes more, str end);
/* No more is parsed; what is in the output is written, then the connection ends. */
void http1_conn_closing(http1_conn *c, bool linger);
/* A response of the server's own: an empty body, and the end. */
void http1_refusal_write(http1_conn *c, unsigned status);

/* --- http1_exchange.c --- */
extern const exchange_ops http1_ops;
/* Of the request body, read and not yet taken by the handler. */
static inline size_t http1_in_waiting(const http1_exchange *x)
{
    return x->in.n - x->in_at + x->lent.n;
}
/* Ends the held back head: with content-length 0, or chunked. Does nothing if it is not. */
void http1_head_decide(http1_exchange *x, bool empty);
/* Takes back a response whose head is still held back. */
void http1_response_retract(http1_exchange *x);
