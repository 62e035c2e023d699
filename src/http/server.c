/* The server around its connections: accepting, limits, deadlines, the end of the turn.
 *
 * Deadlines: each connection waits in one list of `waiting`, in the order of coming. One timer is
 * armed for the earliest deadline of all lists. It is not moved when a connection moves on, only
 * when it fires; so a busy connection costs a few pointers a request and no timer operation. When
 * the last connection goes the timer is stopped.
 *
 * The end of the turn: connections with output, or with input that could not be parsed yet, are in
 * `dirty`; the turn hook gives each its turn, which writes all its responses at once.
 *
 * Spares: requests take their memory from those before, so the steady path allocates nothing.
 */
#include "http/http1_impl.h"
#include "http/http2_impl.h"

#include "base/must.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 10000,
    STREAMS_MAX = 100, /* as RFC 9113 6.5.2 advises, and others do */
    SPARES_MAX = 64,
    SPARE_BYTES_MAX = 256 * 1024, /* a larger buffer is not kept */
    PASSES_PER_TURN = 4,          /* over the dirty list before events are looked for again */
};

static size_t or_default(size_t v, size_t by_default) { return v ? v : by_default; }

static bool turn_end(void *user);

http_server *http_server_new(loop *l, const http_server_config *config,
                             void (*on_request)(void *user, http_exchange *x), void *user)
{
    http_server *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    *s =
        (http_server){.l = l, .config = *config, .on_request = on_request, .user = user, .refs = 1};
    if (!loop_hook_add(l, turn_end, s, &s->hook, NULL)) {
        free(s);
        return NULL;
    }
    http_server_config *c = &s->config;
    c->scheme = c->scheme ? c->scheme : "http";
    c->connections_max = or_default(c->connections_max, CONNECTIONS_MAX);
    c->streams_max = or_default(c->streams_max, STREAMS_MAX);
    c->handshake_wait = or_default(c->handshake_wait, 10 * NS_PER_S);
    c->head_wait = or_default(c->head_wait, 60 * NS_PER_S);
    c->idle_wait = or_default(c->idle_wait, 600 * NS_PER_S);
    c->body_wait = or_default(c->body_wait, 600 * NS_PER_S);
    c->write_wait = or_default(c->write_wait, 600 * NS_PER_S);
    c->half_close_wait = or_default(c->half_close_wait, 5 * NS_PER_S);
    c->linger_wait = or_default(c->linger_wait, 2 * NS_PER_S);
    s->limits = (http1_limits){
        .head_bytes_max = or_default(c->head_bytes_max, HTTP_HEAD_BYTES_MAX),
        .headers_max = or_default(c->headers_max, HTTP_HEADERS_MAX),
        .uri_bytes_max = or_default(c->uri_bytes_max, HTTP_URI_BYTES_MAX),
        .body_bytes_max = c->body_bytes_max ? c->body_bytes_max : UINT64_MAX,
    };
    for (size_t i = 0; i < WAITS; i++)
        chain_init(&s->waiting[i]);
    chain_init(&s->dirty);
    return s;
}

/* --- deadlines --- */

static ns wait_limit(const http_server *s, wait_for wait)
{
    switch (wait) {
    case WAIT_SHAKE:
        return s->config.handshake_wait;
    case WAIT_HEAD:
        return s->config.head_wait;
    case WAIT_IDLE:
        return s->config.idle_wait;
    case WAIT_BODY:
        return s->config.body_wait;
    case WAIT_STREAMS:
        return s->config.body_wait < s->config.write_wait ? s->config.body_wait
                                                          : s->config.write_wait;
    case WAIT_WRITE:
        return s->config.write_wait;
    case WAIT_HALF_CLOSED:
        return s->config.half_close_wait;
    case WAIT_LINGER:
        return s->config.linger_wait;
    default:
        return UINT64_MAX;
    }
}

static void deadlines_run(void *user);

static void timer_need(http_server *s, ns due)
{
    if (loop_timer_active(&s->timer) && s->timer.due <= due)
        return;
    ns now = clock_mono();
    loop_timer_start(s->l, &s->timer, due > now ? due - now : 0, deadlines_run, s);
}

static conn *first_waiting(const http_server *s, size_t wait)
{
    const chain *head = &s->waiting[wait];
    return chain_alone(head) ? NULL : (conn *)head->next; /* `waiting` is its first member */
}

static void deadlines_run(void *user)
{
    http_server *s = user;
    ns now = clock_mono(), next = UINT64_MAX;
    for (size_t w = WAIT_HANDLER + 1; w < WAITS; w++) {
        ns limit = wait_limit(s, (wait_for)w);
        conn *c;
        /* A timeout moves the connection to another list or to the end of this one. */
        while ((c = first_waiting(s, w)) && c->since + limit <= now)
            c->ops->timeout(c);
    }
    for (size_t w = WAIT_HANDLER + 1; w < WAITS; w++) {
        conn *c = first_waiting(s, w);
        ns due = c ? c->since + wait_limit(s, (wait_for)w) : UINT64_MAX;
        next = due < next ? due : next;
    }
    if (next != UINT64_MAX)
        timer_need(s, next);
}

void server_wait(conn *c, wait_for wait, bool refresh)
{
    http_server *s = c->server;
    if (c->wait == wait && !refresh)
        return;
    c->wait = (uint8_t)wait;
    c->since = loop_now(s->l);
    c->left_seen = SIZE_MAX;
    c->forgiven = false;
    chain_remove(&c->waiting);
    chain_append(&s->waiting[wait], &c->waiting);
    if (wait != WAIT_HANDLER)
        timer_need(s, c->since + wait_limit(s, wait));
}

/* --- the end of the turn --- */

void server_dirty(conn *c)
{
    if (chain_alone(&c->dirty))
        chain_append(&c->server->dirty, &c->dirty);
}

static bool turn_end(void *user)
{
    http_server *s = user;
    for (int pass = 0; pass < PASSES_PER_TURN && !chain_alone(&s->dirty); pass++) {
        /* Only those that are in the list now: what they cause belongs to the next pass. */
        chain batch = s->dirty;
        batch.prev->next = batch.next->prev = &batch;
        chain_init(&s->dirty);
        while (!chain_alone(&batch)) {
            chain *first = batch.next;
            chain_remove(first);
            conn *c = (conn *)((char *)first - offsetof(conn, dirty));
            c->ops->turn(c);
        }
    }
    return !chain_alone(&s->dirty);
}

/* --- connections come and go --- */

void http_server_secure(http_server *s, tls_store *certificates)
{
    tls_store *before = s->tls;
    s->tls = certificates ? tls_store_ref(certificates) : NULL;
    tls_store_unref(before);
}

/* In the clear only: to answer under TLS would cost a handshake, which is what there is too much
 * of. */
static void answer_503(const http_server *s, int fd)
{
    static const char text[] = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n"
                               "connection: close\r\n\r\n";
    if (!s->tls && send(fd, text, sizeof text - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
        /* It would not have read it. */
    }
    shutdown(fd, SHUT_WR);
    close(fd);
}

void http_server_adopt_take(http_server *s, int fd, str peer)
{
    if (s->connections >= s->config.connections_max && first_waiting(s, WAIT_IDLE))
        first_waiting(s, WAIT_IDLE)->ops->cut(first_waiting(s, WAIT_IDLE));
    if (s->draining || s->connections >= s->config.connections_max) {
        answer_503(s, fd);
        if (s->config.on_refused)
            s->config.on_refused(s->user, peer, 503, "too many connections");
        return;
    }
    if (!http1_conn_open_take(s, fd, peer) && s->config.on_refused)
        s->config.on_refused(s->user, peer, 0, "no memory for a connection");
}

static void accepted(void *user, int fd, str peer) { http_server_adopt_take(user, fd, peer); }

bool http_server_listen(http_server *s, int fd, err *e)
{
    listener **grown = realloc(s->listeners, (s->listeners_count + 1) * sizeof *grown);
    if (!grown)
        return err_no_memory(e);
    s->listeners = grown;
    if (!listener_open(s->l, fd, accepted, s, &s->listeners[s->listeners_count], e))
        return false;
    s->listeners_count++;
    return true;
}

static void drained(void *user)
{
    http_server *s = user;
    void (*f)(void *) = s->on_empty;
    s->on_empty = NULL;
    if (f)
        f(s->on_empty_user); /* may free s */
}

/* By a timer of 0: on_empty is called from the loop, and maybe nothing else would wake it. */
static void drained_check(http_server *s)
{
    if (s->draining && s->connections == 0 && s->on_empty)
        loop_timer_start(s->l, &s->timer, 0, drained, s);
}

void server_conn_begin(http_server *s, conn *c, const conn_ops *ops, stream *opened, str peer)
{
    c->server = s;
    c->ops = ops;
    c->s = opened;
    chain_init(&c->waiting);
    chain_init(&c->dirty);
    c->peer_n = (uint8_t)(peer.n < sizeof c->peer ? peer.n : sizeof c->peer);
    memcpy(c->peer, peer.p, c->peer_n);
    s->connections++;
}

void server_conn_leave(conn *c)
{
    chain_remove(&c->waiting);
    chain_remove(&c->dirty);
    c->server->connections--;
}

void server_conn_gone(conn *c)
{
    http_server *s = c->server;
    server_conn_leave(c);
    if (s->connections == 0)
        loop_timer_stop(&s->timer);
    drained_check(s);
}

void server_refused(conn *c, unsigned status, const char *reason)
{
    http_server *s = c->server;
    if (s->config.on_refused)
        s->config.on_refused(s->user, (str){c->peer, c->peer_n}, status, reason);
}

size_t http_server_connections(const http_server *s) { return s->connections; }

size_t http_server_active(const http_server *s) { return s->active; }

/* --- spares --- */

void server_origin(const http_server *s, http_exchange *x)
{
    http_request *r = &x->request;
    if (!s->config.trusted || (!s->config.trusted->n && !s->config.trusted->has_private))
        return;
    proxies_origin o =
        proxies_find(s->config.trusted, r->peer, r->scheme, r->fields, r->fields_count, x->client);
    r->peer = o.client;
    r->scheme = o.scheme;
}

void server_ref(http_server *s) { s->refs++; }

void server_unref(http_server *s)
{
    if (--s->refs == 0)
        free(s);
}

http1_exchange *server_exchange_take(http_server *s)
{
    http1_exchange *x = s->spares;
    if (x) {
        s->spares = x->next_spare;
        s->spares_count--;
        http1_head head = x->head;
        buf in = x->in;
        *x = (http1_exchange){.head = head, .in = in};
    } else {
        x = calloc(1, sizeof *x);
        if (!x)
            return NULL;
        buf_init(&x->in, HTTP_BUFFER_BYTES);
    }
    x->server = s;
    server_ref(s);
    return x;
}

static void exchange_destroy(http1_exchange *x)
{
    http1_head_fini(&x->head);
    buf_fini(&x->in);
    free(x);
}

void server_exchange_give(http1_exchange *x)
{
    http_server *s = x->server;
    buf_clear(&x->in);
    if (s->freed || s->spares_count == SPARES_MAX || x->head.fields.text.cap > SPARE_BYTES_MAX) {
        exchange_destroy(x);
    } else {
        x->next_spare = s->spares;
        s->spares = x;
        s->spares_count++;
    }
    server_unref(s);
}

void server_buf_take(http_server *s, buf *b)
{
    if (b->p || s->spare_bufs_count == 0)
        return;
    buf spare = s->spare_bufs[--s->spare_bufs_count];
    b->p = spare.p;
    b->cap = spare.cap;
}

void server_buf_give(http_server *s, buf *b)
{
    if (!b->p)
        return;
    if (s->spare_bufs_count < sizeof s->spare_bufs / sizeof *s->spare_bufs && !s->freed &&
        b->cap <= SPARE_BYTES_MAX) {
        s->spare_bufs[s->spare_bufs_count++] = *b;
        buf_init(b, b->max);
    } else {
        buf_fini(b);
    }
}

/* --- the end --- */

static void listeners_close(http_server *s)
{
    for (size_t i = 0; i < s->listeners_count; i++)
        listener_close(s->listeners[i]);
    s->listeners_count = 0;
}

/* Each connection once: those that stay are set aside in `seen`. */
static void for_each(http_server *s, bool cut)
{
    for (size_t w = 0; w < WAITS; w++) {
        chain seen;
        chain_init(&seen);
        while (!chain_alone(&s->waiting[w])) {
            chain *first = s->waiting[w].next;
            chain_remove(first);
            chain_append(&seen, first);
            conn *c = (conn *)first;
            (cut ? c->ops->cut : c->ops->drain)(c);
        }
        while (!chain_alone(&seen)) {
            chain *first = seen.next;
            chain_remove(first);
            chain_append(&s->waiting[w], first);
        }
    }
}

static void leave(http_server *s, bool retiring, void (*on_empty)(void *user), void *user)
{
    s->draining = true;
    s->retiring = retiring;
    s->on_empty = on_empty;
    s->on_empty_user = user;
    listeners_close(s);
    for_each(s, false);
    drained_check(s);
}

void http_server_drain(http_server *s, void (*on_empty)(void *user), void *user)
{
    leave(s, false, on_empty, user);
}

void http_server_retire(http_server *s, void (*on_empty)(void *user), void *user)
{
    leave(s, true, on_empty, user);
}

void http_server_free(http_server *s)
{
    if (!s)
        return;
    s->on_empty = NULL;
    s->freed = true;
    listeners_close(s);
    for_each(s, true);
    must(s->connections == 0);
    loop_timer_stop(&s->timer);
    loop_hook_remove(s->hook);
    while (s->spares) {
        http1_exchange *next = s->spares->next_spare;
        exchange_destroy(s->spares);
        s->spares = next;
    }
    http2_spares_free(s);
    while (s->spare_bufs_count)
        buf_fini(&s->spare_bufs[--s->spare_bufs_count]);
    free(s->listeners);
    tls_store_unref(s->tls);
    s->tls = NULL;
    server_unref(s);
}
