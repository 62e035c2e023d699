/* An HTTP server on one loop: accepts connections, makes exchanges (http/exchange.h) of them.
 * HTTP/1.1 and 1.0 (RFC 9110, RFC 9112), and HTTP/2 (RFC 9113) by ALPN or prior knowledge.
 * Ambiguous framing is refused with 400 and the connection closed; it is never repaired.
 *
 * Invariants
 * - HTTP/1: the requests of a connection are answered one after the other in their order; the next
 *   begins when the answer of the one before has ended. HTTP/2: at most streams_max at once.
 * - Responses carry what the handler gave, `date`, and framing fields; nothing else.
 * - Memory of a connection is bounded: the limits below, HTTP_BUFFER_BYTES each way, and one read.
 *   An idle connection holds no buffers.
 * - With no connection open no timer runs.
 */
#pragma once

#include "app/outbound.h"
#include "base/limits.h"
#include "http/exchange.h"
#include "loop/loop.h"
#include "loop/tls.h"

typedef struct http_server http_server;

/* Zero means the default, in brackets. */
typedef struct {
    const char *scheme;     /* ["http"] of requests in the clear */
    size_t connections_max; /* [10000] past it the longest idle one goes, or it gets 503 */
    size_t streams_max;     /* [100] HTTP/2: requests at once on a connection; others are refused */
    size_t head_bytes_max;  /* [HTTP_HEAD_BYTES_MAX] 431 */
    size_t headers_max;     /* [HTTP_HEADERS_MAX] 431 */
    size_t uri_bytes_max;   /* [HTTP_URI_BYTES_MAX] 414 */
    uint64_t body_bytes_max; /* [no limit] 413 */
    ns handshake_wait;  /* [10 s] from the connection to the end of its TLS handshake: closed */
    ns head_wait;       /* [60 s] from the first byte of a head to its last: 408 */
    ns idle_wait;       /* [600 s] without a request on an open connection: closed */
    ns body_wait;       /* [600 s] without a byte of a body that is waited for: 408 */
    ns write_wait;      /* [600 s] without the client taking a byte: reset */
    ns half_close_wait; /* [5 s] the client has closed its side: the handler is stopped */
    ns linger_wait;     /* [2 s] unread input is thrown away before a refused one is closed */
    /* Proxies that are believed what they say of a request's client (http/proxies.h). NULL: none;
     * must outlive the server. */
    const outbound_blocks *trusted;
    /* Told of each request that was answered without a handler (status 400 ... 505) or closed
     * without an answer (status 0): for the log. May be NULL. */
    void (*on_refused)(void *user, str peer, unsigned status, const char *reason);
} http_server_config;

/* NULL: no memory. The handler owns nothing: see http/exchange.h. on_request may answer at once. */
http_server *http_server_new(loop *l, const http_server_config *config,
                             void (*on_request)(void *user, http_exchange *x), void *user);
/* Connections that come from now on speak TLS with these certificates; those that are open keep
 * theirs. NULL: they speak in the clear. A reference is held. */
void http_server_secure(http_server *s, tls_store *certificates);
/* Accepts from a listening socket; fd stays the caller's and open until drain or free. */
bool http_server_listen(http_server *s, int fd, err *e);
/* Serves a connection that was accepted elsewhere. Takes fd. */
void http_server_adopt_take(http_server *s, int fd, str peer);
/* Stops accepting, closes idle connections (those in use a second ago have linger_wait for one more
 * request; HTTP/2: after GOAWAY), lets the others finish what they answer (with
 * `connection: close`). on_empty is called from the loop, once, when none is left. */
void http_server_drain(http_server *s, void (*on_empty)(void *user), void *user);
/* As http_server_drain, without hurry, for a server whose place another one has taken: idle HTTP/1
 * connections stay as long as they would have, for one more request, whose answer has
 * `connection: close`. http_server_drain may follow. */
void http_server_retire(http_server *s, void (*on_empty)(void *user), void *user);
/* Cuts what is left: handlers get on_closed before this returns, and must call exchange_free at
 * once or before the loop runs again. Not from inside a callback of the server. NULL is allowed. */
void http_server_free(http_server *s);

size_t http_server_connections(const http_server *s);
/* Connections in which a request is being answered. */
size_t http_server_active(const http_server *s);
