/* Inside host/: one outgoing request, shared by http_client.c (what a guest sees of it),
 * http_curl.c (libcurl) and http_tls.c (whom to trust).
 *
 * Invariants
 * - libcurl is called from the loop only, never on a fiber and never from inside its own callbacks.
 * - A transfer is LOOKUP, RUNNING or OVER; only while it is RUNNING libcurl knows it.
 * - `deadline` is the only clock of a transfer besides libcurl's connect timeout. */
#pragma once

#include "host/http_side.h"
#include "loop/names.h"

#include <curl/curl.h>
#include <openssl/types.h>

typedef struct http_transfer transfer;
typedef struct http_client http_client;
typedef struct http_tls http_tls;

/* libcurl's multi handle with its pool of connections: one for each owner and way to trust servers,
 * so that a connection is used again only by those who would have made the same. */
struct http_client {
    http_client *next;
    struct loop *l;
    CURLM *multi;
    uint64_t owner; /* host_component */
    http_tls *tls;
    loop_timer timer, kick, idle;
    transfer *all, *last; /* the oldest first: it is begun first */
};

struct http_transfer {
    http_client *c;
    transfer *next, *prev;             /* of `all` */
    transfer *guest_next, *guest_prev; /* of the guest's */
    guest *g;                          /* NULL: it is gone or has let go */
    const host_component *component;   /* whose rules hold; while g, or post, is there */
    struct host_post *post;            /* whose it is instead of a guest's; NULL: over, or none */
    future_incoming_response *f;       /* until it is resolved */
    enum { TRANSFER_NEW, TRANSFER_LOOKUP, TRANSFER_RUNNING, TRANSFER_OVER } state;
    CURL *easy;
    struct curl_slist *headers, *addresses;
    buf url, target, method;
    char host[256]; /* as libcurl knows it: in lower case, without brackets */
    uint16_t port;
    bool tls, cancelled, changed;
    bool permitted; /* it holds a permit (permits.h) */
    bool owned;     /* and one of its owner's */
    uint64_t owner;
    bool waits; /* it is in the line for one */
    transfer *line_next;
    bool resume;        /* libcurl is paused and should look again */
    names_query *query; /* LOOKUP */
    /* request body */
    body_out *body; /* a reference; NULL: none */
    buf out;
    bool held; /* not begun before its guest waits, or there is more of its body */
    bool out_finished, out_paused;
    int64_t content_length;
    /* response */
    body_source source; /* what the guest reads */
    buf head, tail;     /* "name\0value\0" ... of the head and of the trailers */
    size_t head_bytes;
    long status;
    bool head_done, resolved;
    buf in;
    bool in_paused, in_end;
    bool failed;
    error_info error;
    http_field *trailers;
    size_t trailers_count;
    /* timeouts */
    ns connect, first_byte, between_bytes;
    ns begun;
    uint32_t deadline_code; /* what it means when `deadline` passes */
    loop_timer deadline;
};

enum { HTTP_HEAD_IN_BYTES_MAX = 128 << 10 };

/* --- http_client.c ------------------------------------------------------------------------- */

/* The first failure counts; nothing after the end of the response. */
void transfer_fail(transfer *t, uint32_t code, str text);
/* Fails with this code unless it is started again or stopped before. */
void transfer_deadline(transfer *t, ns after, uint32_t code);
/* Its connection is free for another one. */
void transfer_permit_return(transfer *t);
/* After libcurl has returned: tells guests what has changed. */
void client_settle(http_client *c);
/* A new one, not yet begun (client_kick does that), of nobody; NULL: *ret_code says why. */
transfer *transfer_new(const host_component *h, struct loop *l, const outgoing_request *q,
                       const request_options *o, uint32_t *ret_code, err *e);
/* http_post.c: tells whoever posted, if there is something to tell. */
void post_settle(transfer *t);
/* Those that no guest has any more, at the end of the loop. */
void client_transfers_free(http_client *c);

/* --- http_curl.c --------------------------------------------------------------------------- */

/* The client for a component's trust in `host`; NULL: *e says why. */
http_client *client_get(const host_component *h, struct loop *l, str host, err *e);
/* Something is left to be done from the loop: http_client_kicked is called. */
void client_kick(http_client *c);
void http_client_kicked(http_client *c);
/* The last transfer is gone: pooled connections are closed after a while. */
void client_rests(http_client *c);
/* Gives the transfer to libcurl; addresses, where the host is a name. False: no memory. */
bool curl_start(transfer *t);
void curl_stop(transfer *t);
void curl_resume(transfer *t);
/* Looks for transfers that libcurl is done with. */
void curl_reap(http_client *c);
/* Closes all pools of that loop; no transfer is left. */
void clients_close(struct loop *l);

/* --- http_tls.c ---------------------------------------------------------------------------- */

/* What a component trusts when it talks to that host, shared by all with the same settings. NULL
 * settings: the platform's roots. */
bool http_tls_open(const host_tls *settings, http_tls **ret, err *e);
void http_tls_free(http_tls *t);
bool http_tls_is(const http_tls *t, const host_tls *settings);
/* Gives a connection the roots and the certificate. False: the files cannot be read. */
bool http_tls_apply(const http_tls *t, SSL_CTX *ctx);
/* The settings of a component for a host, or NULL. */
const host_tls *http_tls_find(const host_component *c, str host);
