/* A connection of HTTP/2 and its exchanges: http2_conn.c (the connection), http2_frames.c (what
 * nghttp2 tells of it), http2_exchange.c (what handlers call), http2_head.c (what a head means). */
#pragma once

#include "http/http1_parser.h"
#include "http/server_impl.h"

#include <nghttp2/nghttp2.h>

typedef struct http2_conn http2_conn;

/* A stream of the connection. It lives until nghttp2 has closed the stream and the handler, if one
 * knows it, has let go. */
typedef struct http2_exchange {
    http_exchange x; /* first: the public pointer is this one */
    http_server *server;
    http2_conn *c; /* NULL when the connection is gone */
    chain all;     /* in c->streams */
    chain touched; /* in c->touched: something is to be told or decided */
    int32_t id;    /* 0: the stream is closed */
    struct http2_exchange *next_spare;
    /* The request. */
    http1_fields fields, trailers; /* while they are read: offsets instead of pointers */
    size_t head_bytes, trailer_bytes;
    str method, target, authority, scheme; /* likewise */
    unsigned refuse;                       /* the status to refuse it with; 0: none yet */
    const char *refuse_reason;
    bool head_done;
    bool dispatched; /* the handler knows it and has not let go */
    bool done;       /* the handler has ended it, or never knew it */
    bool expect;     /* "100 Continue" is to be sent at the first read */
    buf in;          /* of the body, what the handler has not taken: from in_at on */
    size_t in_at;
    body_state in_state;    /* what comes after `in` */
    uint64_t discard_left;  /* done: unread body that is still thrown away */
    ns in_since, out_since; /* when the body, or the client's window, last moved */
    /* What the handler is to be told at the end of the turn. */
    bool news, writable, lost;
    /* The response. */
    buf head;       /* fields that are not submitted yet: names and values with their lengths */
    bool undecided; /* the head is held back: is there a body? */
    bool deferred;  /* nghttp2 waits for exchange_write */
    bool ended;     /* nothing is added to `out` any more */
    bool cut;       /* the body came out short: it ends with RST_STREAM */
    bool full;      /* on_writable is owed */
    buf out;        /* body bytes from out_at on are not framed yet */
    size_t out_at;
    buf tail; /* trailers, as `head` */
} http2_exchange;

struct http2_conn {
    conn base;
    nghttp2_session *ng;
    chain streams, touched;
    size_t streams_count;
    buf out; /* frames for the socket */
    enum { HTTP2_OPEN, HTTP2_CLOSING, HTTP2_LINGER } state;
    bool greeted;  /* the client's first SETTINGS came */
    bool in_head;  /* a header block is not complete */
    bool eof;      /* the client sends no more */
    bool draining; /* the first GOAWAY was sent */
    bool drained;  /* and the last */
    uint64_t linger_left;
    int32_t stream_last; /* the highest number that the client has used */
    uint64_t opened;     /* which of the 64 up to it have been: bit 0 is stream_last */
    /* A bucket for frames that cost us and gain nobody anything: see http2_frames.c. */
    uint32_t nuisance;
    ns nuisance_at;
};

/* --- http2_conn.c --- */
/* Takes the stream of a connection that was begun and left by another protocol: `in` is what came
 * of it already, beginning with the preface. */
void http2_conn_begin_take(http_server *s, stream *opened, str peer, bytes in);
/* The exchange is looked at when this read, or this turn, ends. */
void http2_touch(http2_exchange *x);
/* GOAWAY with this code, then the connection ends. */
void http2_conn_end(http2_conn *c, uint32_t code, const char *reason);
/* Room that the socket has for more frames this turn. */
bool http2_out_full(const http2_conn *c);

/* --- http2_frames.c --- */
/* NULL: no memory. */
nghttp2_session *http2_session_new(http2_conn *c);

/* --- http2_exchange.c --- */
extern const exchange_ops http2_ops;
http2_exchange *http2_exchange_take(http_server *s);
/* Out of all lists; the memory is kept for the next. */
void http2_exchange_give(http2_exchange *x);
void http2_spares_free(http_server *s);
static inline size_t http2_in_waiting(const http2_exchange *x) { return x->in.n - x->in_at; }
static inline size_t http2_out_waiting(const http2_exchange *x) { return x->out.n - x->out_at; }
/* Submits a head that is held back. */
void http2_head_decide(http2_exchange *x);
/* An answer of the server's own, with an empty body. The handler, if there is one, is told. */
void http2_refuse(http2_exchange *x, unsigned status, const char *reason);
/* Frames a piece of the body: called by nghttp2. */
ssize_t http2_body_next(nghttp2_session *ng, int32_t id, uint8_t *to, size_t n, uint32_t *flags,
                        nghttp2_data_source *source, void *user);
int http2_body_send(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t n,
                    nghttp2_data_source *source, void *user);

/* --- http2_head.c --- */
/* One field of a request's head or trailers, in the order of coming. False: no memory. */
bool http2_field_take(http2_exchange *x, bool trailer, str name, str value);
/* Checks a complete head and fills in x->x.request; a refusal is noted in x. */
void http2_head_check(http2_exchange *x);
void http2_trailers_done(http2_exchange *x);
