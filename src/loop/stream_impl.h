/* What a stream is inside loop/: stream.c, and stream_tls.c for those with TLS. */
#pragma once

#include "loop/stream.h"
#include "loop/uv_loop.h"

typedef struct stream_tls stream_tls;

struct stream {
    union {
        uv_handle_t handle;
        uv_stream_t any;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } uv;
    const stream_callbacks *callbacks;
    void *user;
    loop *l;
    size_t read_limit;
    bool reading, ended, closing, reset;
    bool busy;
    uv_write_t write;
    buf rest; /* what `write` is writing */
    uv_shutdown_t shutdown;
    stream_tls *tls; /* NULL: none */
};

/* --- stream.c --- */
/* Writes what it can of b, as stream_write without TLS. */
bool stream_put(stream *s, buf *b);
/* Reading goes on, or stops, as limit and what is held say. */
void stream_reading_set(stream *s);
/* Nothing more comes: tells the owner. */
void stream_ended(stream *s, stream_end end);

/* --- stream_tls.c --- */
bool tls_begin(stream *s, tls_store *store);
void tls_end(stream_tls *t);
/* Bytes from the socket. */
void tls_came(stream *s, const uint8_t *p, size_t n);
/* Something is held that was read and not delivered: the socket has to wait. */
bool tls_holds(const stream_tls *t);
/* The limit was raised. */
void tls_wake(stream *s);
/* Takes all of b. */
bool tls_put(stream *s, buf *b);
/* The socket has room again; true if nothing waits any more. */
bool tls_flush(stream *s);
size_t tls_waiting(const stream_tls *t);
/* Says goodbye (close_notify). */
void tls_goodbye(stream *s);
