/* What the server and its connections know of each other: the part that connections of all protocol
 * versions share, and the lists they wait in. */
#pragma once

#include "http/exchange_impl.h"
#include "http/http1_parser.h"
#include "http/server.h"
#include "loop/listen.h"
#include "loop/stream.h"

/* Doubly linked, circular through a head. */
typedef struct chain chain;
struct chain {
    chain *prev, *next;
};

static inline void chain_init(chain *l) { l->prev = l->next = l; }

static inline bool chain_alone(const chain *l) { return l->next == l; }

static inline void chain_remove(chain *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    chain_init(l);
}

static inline void chain_append(chain *head, chain *l)
{
    l->prev = head->prev;
    l->next = head;
    head->prev->next = l;
    head->prev = l;
}

/* What a connection waits for. All that wait for the same have the same patience, so each list is
 * in the order of its deadlines, and one timer for the first of all lists is enough. */
typedef enum {
    WAIT_HANDLER, /* no deadline here: the handler's time is platform/'s to limit */
    WAIT_SHAKE,   /* for the end of a TLS handshake */
    WAIT_HEAD,
    WAIT_IDLE,
    WAIT_BODY,
    WAIT_STREAMS, /* HTTP/2: for the next look at its streams */
    WAIT_WRITE,
    WAIT_HALF_CLOSED,
    WAIT_LINGER,
    WAITS
} wait_for;

typedef struct conn conn;

/* What the server asks of a connection. All but drain may free it. */
typedef struct {
    void (*turn)(conn *c);    /* the end of the turn: it was dirty */
    void (*timeout)(conn *c); /* it has waited as long as it may */
    void (*drain)(conn *c);   /* closes it now if it is idle, else after what it answers */
    void (*cut)(conn *c);     /* closes it now; the handlers are told */
} conn_ops;

/* The first member of http1_conn and http2_conn. */
struct conn {
    chain waiting; /* in server->waiting[wait] */
    chain dirty;   /* in server->dirty: has work at the end of the turn */
    http_server *server;
    const conn_ops *ops;
    stream *s;
    ns since;         /* in its waiting list */
    size_t left_seen; /* WAIT_WRITE: stream_unacknowledged at the last deadline */
    bool forgiven;    /* this wait has been begun anew, because we were late ourselves */
    uint8_t wait;     /* wait_for */
    uint8_t peer_n;
    char peer[LISTEN_ADDRESS_MAX];
};

typedef struct http1_exchange http1_exchange;

struct http_server {
    loop *l;
    http_server_config config;
    tls_store *tls; /* NULL: without */
    http1_limits limits;
    void (*on_request)(void *user, http_exchange *x);
    void *user;
    listener **listeners;
    size_t listeners_count;
    loop_hook *hook;
    loop_timer timer;
    chain waiting[WAITS];
    chain dirty;
    size_t connections, active;
    http1_exchange *spares; /* keep their memory, for the next request */
    size_t spares_count;
    struct http2_exchange *spares2;
    size_t spares2_count;
    buf spare_bufs[32];
    size_t spare_bufs_count;
    bool draining, retiring, freed; /* retiring: draining without hurry */
    void (*on_empty)(void *user);
    void *on_empty_user;
    size_t refs; /* the owner's and one for each exchange in use */
};

/* --- server.c, for connections --- */
void server_dirty(conn *c);
void server_wait(conn *c, wait_for wait, bool refresh);
void server_conn_gone(conn *c);
void server_refused(conn *c, unsigned status, const char *reason);
/* A connection that is new, or a successor of one that left. */
void server_conn_begin(http_server *s, conn *c, const conn_ops *ops, stream *opened, str peer);
/* Out of all lists, and counted no more unless another takes its place. */
void server_conn_leave(conn *c);
/* The head of x is complete: who sent it, as far as trusted proxies are believed. */
void server_origin(const http_server *s, http_exchange *x);
/* Each exchange that a handler knows holds a reference. */
void server_ref(http_server *s);
void server_unref(http_server *s);
/* NULL: no memory. */
http1_exchange *server_exchange_take(http_server *s);
void server_exchange_give(http1_exchange *x);
/* Gives *b memory from a spare one, or takes its memory back; both keep b->max. */
void server_buf_take(http_server *s, buf *b);
void server_buf_give(http_server *s, buf *b);
