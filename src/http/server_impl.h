/* Shared by server.c and http1_conn.c: connections, their exchanges, and the lists they wait in. */
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
    WAIT_HEAD,
    WAIT_IDLE,
    WAIT_BODY,
    WAIT_WRITE,
    WAIT_HALF_CLOSED,
    WAIT_LINGER,
    WAITS
} wait_for;

typedef struct http1_conn http1_conn;

typedef struct http1_exchange {
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
} http1_exchange;

struct http1_conn {
    chain waiting; /* in server->waiting[wait] */
    chain dirty;   /* in server->dirty: has work at the end of the turn */
    http_server *server;
    stream *s;
    ns since;         /* in its waiting list */
    size_t left_seen; /* WAIT_WRITE: stream_unacknowledged at the last deadline */
    uint8_t wait;     /* wait_for */
    uint8_t state;    /* HTTP1_IDLE ... */
    bool eof;         /* the client sends no more */
    bool keep;        /* the connection outlives the response that was started */
    bool broken;      /* writing failed: to be closed at the end of the turn */
    bool linger;      /* input may be unread: end gently */
    bool progress;    /* the client has sent or taken bytes since settle */
    bool head_new;    /* a head has begun since settle */
    http1_parser parser;
    http1_exchange *x;
    buf out;               /* to be written at the end of the turn */
    buf pending;           /* input that is not parsed yet */
    uint64_t discard_left; /* unread body that is still thrown away for keep-alive's sake */
    uint8_t peer_n;
    char peer[LISTEN_ADDRESS_MAX];
};

struct http_server {
    loop *l;
    http_server_config config;
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
    buf spare_bufs[32];
    size_t spare_bufs_count;
    bool draining, freed;
    void (*on_empty)(void *user);
    void *on_empty_user;
    size_t refs; /* the owner's and one for each exchange in use */
};

/* --- server.c, for connections --- */
void server_dirty(http1_conn *c);
void server_wait(http1_conn *c, wait_for wait, bool refresh);
void server_conn_gone(http1_conn *c);
void server_refused(http1_conn *c, unsigned status, const char *reason);
/* NULL: no memory. */
http1_exchange *server_exchange_take(http_server *s);
void server_exchange_give(http1_exchange *x);
/* Gives *b memory from a spare one, or takes its memory back; both keep b->max. */
void server_buf_take(http_server *s, buf *b);
void server_buf_give(http_server *s, buf *b);

/* --- http1_conn.c ---
 *
 *              head begins          head complete            response ended
 *     IDLE ----------------> HEAD ----------------> ANSWER ----------------> IDLE
 *                              |                      |  '--body unread--> DISCARD --> IDLE
 *                              | refused              | refused, cut, or the last response
 *                              v                      v
 *                           CLOSING ----written----> LINGER --client closes--> gone
 */
enum { HTTP1_IDLE, HTTP1_HEADING, HTTP1_ANSWER, HTTP1_DISCARD, HTTP1_CLOSING, HTTP1_LINGER };

bool http1_conn_open_take(http_server *s, int fd, str peer);
void http1_conn_turn(http1_conn *c);
void http1_conn_timeout(http1_conn *c);
/* Closes it now if it is idle, else after the response that is being made. */
void http1_conn_drain(http1_conn *c);
/* Closes it now; the handler is told. */
void http1_conn_cut(http1_conn *c);

/* Output that stops the handler. More than a full body buffer, so that it fits beside its head and
 * both go out in one write. */
enum { HTTP1_OUT_FULL = HTTP_BUFFER_BYTES + 4 * 1024 };
/* Output waits in c->out; whoever gets it here appends and need not do more. */
buf *http1_out(http1_conn *c);
static inline size_t http1_out_waiting(const http1_conn *c)
{
    return c->out.n + (stream_write_busy(c->s) ? stream_write_left(c->s) : 0);
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
