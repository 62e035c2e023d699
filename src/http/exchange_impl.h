/* What an exchange is inside http/: the part that all protocol versions share, and the table of
 * what differs. exchange.c checks arguments and keeps the books; a protocol does the rest. */
#pragma once

#include "http/exchange.h"
#include "http/proxies.h"

typedef struct {
    size_t (*read)(http_exchange *x, void *p, size_t n, body_state *ret_state);
    size_t (*readable)(const http_exchange *x, body_state *ret_state);
    /* Fields are checked, without hop-by-hop fields, content-length and with `date`. */
    bool (*start)(http_exchange *x, const http_field *fields, size_t count, err *e);
    size_t (*room)(const http_exchange *x);
    /* 0 < n <= room, within the content-length. */
    void (*write)(http_exchange *x, const void *p, size_t n);
    void (*end)(http_exchange *x, const http_field *trailers, size_t count);
    void (*abort)(http_exchange *x, unsigned status, const http_field *fields, size_t count);
    void (*free)(http_exchange *x); /* after on_closed */
} exchange_ops;

struct http_exchange {
    const exchange_ops *ops;
    http_request request;
    const http_field *trailers;
    size_t trailers_count;
    exchange_callbacks callbacks;
    void *user;
    uint64_t bytes_in, bytes_out;
    /* The response. */
    unsigned status;
    bool started;
    bool varies;    /* exchange_varies */
    bool bodiless;  /* HEAD, 204, 304: what is written is counted and dropped */
    bool gone;      /* the connection is; calls do nothing */
    int64_t length; /* -1: unknown */
    char client[PROXIES_CLIENT_BYTES_MAX]; /* request.peer, where a trusted proxy named it */
};

/* The reason phrase of RFC 9110 15 or "". */
str status_reason(unsigned status);
/* "Sun, 06 Nov 1994 08:49:37 GMT" for a second since 1970; made anew only when it changes. */
str date_text(int64_t second);
