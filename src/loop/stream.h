/* A connected byte stream (TCP or UNIX socket, pipe) with back-pressure both ways.
 *
 * Invariants
 * - Reading delivers into one buffer that all streams of the loop share: the bytes are valid during
 *   on_read only. stream_read_limit bounds the next read, 0 pauses reading.
 * - stream_write tries to write at once. What the socket did not take is kept by the stream, at
 *   most one such rest at a time: while stream_write_busy, give no more; on_drained says when.
 * - Errors are reported once, by on_end from the loop or as the result of stream_write; after
 *   either the owner calls stream_close.
 * - With TLS (loop/tls.h) all this holds for what is inside; on_secured comes before the first
 *   on_read, and nothing is read before the handshake is done. Handshakes of one turn of the loop
 *   take a few milliseconds at most together; the others wait for the next.
 * - stream_close gives up what was not written. No callback comes after it.
 */
#pragma once

#include "base/buf.h"
#include "loop/loop.h"
#include "loop/tls.h"

/* Of one read at most; the size of the buffer that the streams of a loop share. Room for a body of
 * 64 kB with its head. */
enum { STREAM_READ_BYTES_MAX = 80 * 1024 };

typedef enum {
    STREAM_EOF,   /* the peer sends no more; writing may still work */
    STREAM_RESET, /* the connection is gone, both ways */
} stream_end;

typedef struct {
    void (*on_read)(void *user, const uint8_t *p, size_t n);
    void (*on_end)(void *user, stream_end end);
    void (*on_drained)(void *user);
    void (*on_secured)(void *user); /* TLS only; the handshake is done. May be NULL */
} stream_callbacks;

typedef struct stream stream;

/* Takes fd (a connected stream socket or a pipe), also on failure. Nothing is read before
 * stream_read_limit. *callbacks must outlive the stream. */
bool stream_open_take(loop *l, int fd, const stream_callbacks *callbacks, void *user,
                      stream **ret_stream, err *e);
/* The same with TLS, as the server; a reference to the store is held. The handshake begins at once:
 * until on_secured, stream_read_limit only notes its number. */
bool stream_open_tls_take(loop *l, int fd, tls_store *store, const stream_callbacks *callbacks,
                          void *user, stream **ret_stream, err *e);
/* Another owner gets what comes from now on. Allowed inside a callback. */
void stream_rebind(stream *s, const stream_callbacks *callbacks, void *user);
bool stream_is_secure(const stream *s);
/* The protocol that ALPN agreed on: "h2", "http/1.1" or "". */
str stream_protocol(const stream *s);
/* May this host be asked for here? No, if the certificate shown was chosen for other hosts: with
 * several certificates a connection is good for the names of its own alone. */
bool stream_serves(const stream *s, str host);
/* Why a handshake failed or a secure stream ended; for a log. Valid until the next call. */
const char *stream_problem(const stream *s);
/* Bytes that one read may deliver from now on; 0 pauses. Cheap, but going to 0 and back costs a
 * system call. */
void stream_read_limit(stream *s, size_t n);
/* Writes what it can of b. All of it: b is cleared. A part: the stream takes b's memory together
 * with the rest and b becomes empty; stream_write_busy is then true until on_drained.
 * false: the connection is gone; b is as it was. */
bool stream_write(stream *s, buf *b);
/* Writes b, then `more`, then `end`, without a copy of what the socket takes at once; what it does
 * not take of `more` and `end` is appended to b first, whose maximum must leave room for it. For
 * large pieces of memory that will not stay. Otherwise like stream_write; false also when there is
 * no memory for the rest. */
bool stream_write_through(stream *s, buf *b, bytes more, str end);
bool stream_write_busy(const stream *s);
/* Bytes of the rest that are not yet written. */
size_t stream_write_left(const stream *s);
/* The same and what the kernel holds because the peer has not acknowledged it: falls as the peer
 * reads. A system call. */
size_t stream_unacknowledged(const stream *s);
/* Has the kernel something that came and was not read yet? A system call. */
bool stream_unread(const stream *s);
/* No more will be written (TCP FIN). Not while stream_write_busy. */
bool stream_shutdown_write(stream *s);
/* The next stream_close resets the connection (TCP RST) instead of ending it. */
void stream_reset_on_close(stream *s);
/* NULL is allowed. */
void stream_close(stream *s);
