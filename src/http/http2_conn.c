/* A connection of HTTP/2 (RFC 9113): bytes in to nghttp2, frames out of it, many exchanges at once.
 *
 * A read is given to nghttp2 whole; what it tells of is noted (http2_frames.c) and handlers are
 * called after it. At the end of the turn heads that were held back are decided, and frames are
 * written as long as the socket takes them: bodies wait in their exchange until then, so a slow
 * client costs HTTP_BUFFER_BYTES a stream and one buffer of frames.
 *
 * Deadlines: with requests running the connection is looked at every WAIT_STREAMS; each stream has
 * its own times since its body, or its client's window, last moved. A head that began must end
 * within head_wait, and so must the preface with the first SETTINGS. Without streams it is idle.
 *
 * Draining (RFC 9113 6.8): a first GOAWAY that still allows every stream, and a PING; when the PING
 * comes back the client has seen it, and the last GOAWAY names the last stream that was taken. So
 * no request is lost that was on its way. Then the connection ends with its last stream.
 */
#include "http/http2_impl.h"

#include <stdlib.h>

enum {
    OUT_FULL = HTTP_BUFFER_BYTES + 4 * 1024, /* frames that are written at once */
    OUT_BYTES_MAX = OUT_FULL + 1024 * 1024,  /* a frame more: a head may have 128 kB of fields */
    WRITES_PER_TURN = 4,                     /* then others have their turn */
    QUEUED_MAX = 1000,                       /* frames that wait while a client does not read */
    LINGER_BYTES_MAX = 1024 * 1024,
};

static http2_conn *of(conn *c) { return (http2_conn *)c; }

bool http2_out_full(const http2_conn *c) { return c->out.n >= OUT_FULL; }

void http2_touch(http2_exchange *x)
{
    if (!x->c)
        return;
    if (chain_alone(&x->touched))
        chain_append(&x->c->touched, &x->touched);
    server_dirty(&x->c->base);
}

static http2_exchange *of_all(chain *l)
{
    return (http2_exchange *)((char *)l - offsetof(http2_exchange, all));
}

/* --- ends --- */

/* The handler is told that its client is gone; it lets go at once. */
static void exchange_lose(http2_exchange *x)
{
    x->lost = x->dispatched = false;
    x->server->active--;
    x->x.gone = true;
    if (x->x.callbacks.on_closed)
        x->x.callbacks.on_closed(x->x.user);
}

static void streams_drop(http2_conn *c)
{
    while (!chain_alone(&c->streams)) {
        http2_exchange *x = of_all(c->streams.next);
        chain_remove(&x->all);
        chain_remove(&x->touched);
        if (x->id)
            nghttp2_session_set_stream_user_data(c->ng, x->id, NULL);
        x->id = 0;
        x->c = NULL;
        c->streams_count--;
        if (x->dispatched)
            exchange_lose(x);
        else if (!x->x.gone) /* else it is its handler's, who has been told */
            http2_exchange_give(x);
    }
}

static void conn_gone(http2_conn *c)
{
    streams_drop(c);
    nghttp2_session_del(c->ng);
    stream_close(c->base.s);
    server_buf_give(c->base.server, &c->out);
    server_conn_gone(&c->base);
    free(c);
}

static void http2_conn_cut(conn *base) { conn_gone(of(base)); }

void http2_conn_end(http2_conn *c, uint32_t code, const char *reason)
{
    if (c->state != HTTP2_OPEN)
        return;
    c->state = HTTP2_CLOSING;
    server_refused(&c->base, 0, reason);
    nghttp2_session_terminate_session(c->ng, code);
    server_dirty(&c->base);
}

/* --- telling handlers --- */

static void dispatch(http2_exchange *x)
{
    http_server *s = x->server;
    if (x->c->state != HTTP2_OPEN)
        return; /* it goes with the connection */
    if (x->refuse) {
        http2_refuse(x, x->refuse, x->refuse_reason);
        return;
    }
    x->dispatched = true;
    x->news = false;
    s->active++;
    s->on_request(s->user, &x->x);
}

static void exchange_tell(http2_exchange *x)
{
    if (x->lost) {
        exchange_lose(x);
        return;
    }
    if (x->head_done && !x->dispatched && !x->done) {
        dispatch(x);
        return;
    }
    if (x->dispatched && x->news && x->x.callbacks.on_readable)
        x->x.callbacks.on_readable(x->x.user);
    if (x->dispatched && x->writable && x->x.callbacks.on_writable)
        x->x.callbacks.on_writable(x->x.user);
    x->news = x->writable = false;
}

/* Those that are touched now: what they cause belongs to the end of the turn. */
static void tell(http2_conn *c, bool turn_ends)
{
    chain batch = c->touched;
    if (chain_alone(&c->touched))
        return;
    batch.prev->next = batch.next->prev = &batch;
    chain_init(&c->touched);
    while (!chain_alone(&batch)) {
        http2_exchange *x =
            (http2_exchange *)((char *)batch.next - offsetof(http2_exchange, touched));
        chain_remove(&x->touched);
        if (x->undecided && !turn_ends)
            http2_touch(x);
        else if (x->undecided && !x->lost)
            http2_head_decide(x);
        exchange_tell(x);
    }
}

/* --- waiting --- */

static void settle(http2_conn *c)
{
    wait_for wait = WAIT_IDLE;
    bool busy = stream_write_busy(c->base.s);
    size_t read_max = STREAM_READ_BYTES_MAX;
    if (c->state == HTTP2_LINGER)
        wait = WAIT_LINGER;
    else if (c->state == HTTP2_CLOSING)
        wait = WAIT_WRITE;
    else if (c->eof && c->streams_count)
        wait = WAIT_HALF_CLOSED;
    else if (!c->greeted || c->in_head)
        wait = WAIT_HEAD;
    else if (c->streams_count)
        wait = WAIT_STREAMS;
    else if (busy)
        wait = WAIT_WRITE;
    else if (c->draining)
        wait = WAIT_LINGER;
    if (c->state == HTTP2_CLOSING ||
        (busy && nghttp2_session_get_outbound_queue_size(c->ng) > QUEUED_MAX))
        read_max = 0;
    stream_read_limit(c->base.s, read_max);
    server_wait(&c->base, wait, false);
}

/* --- in --- */

static void input_take(http2_conn *c, const uint8_t *p, size_t n)
{
    if (c->state == HTTP2_LINGER) {
        c->linger_left = n < c->linger_left ? c->linger_left - n : 0;
        if (c->linger_left == 0)
            conn_gone(c);
        return;
    }
    if (c->state == HTTP2_OPEN) {
        ssize_t taken = nghttp2_session_mem_recv(c->ng, p, n);
        if (taken == NGHTTP2_ERR_FLOODED)
            http2_conn_end(c, NGHTTP2_ENHANCE_YOUR_CALM, "too many frames to answer");
        else if (taken < 0 && c->state == HTTP2_OPEN)
            http2_conn_end(c, NGHTTP2_PROTOCOL_ERROR, nghttp2_strerror((int)taken));
        tell(c, false);
    }
    server_dirty(&c->base);
    settle(c);
}

static void bytes_came(void *user, const uint8_t *p, size_t n) { input_take(user, p, n); }

static void input_ended(void *user, stream_end end)
{
    http2_conn *c = user;
    c->eof = true;
    if (end == STREAM_RESET || c->streams_count == 0 || c->state != HTTP2_OPEN) {
        conn_gone(c);
        return;
    }
    server_dirty(&c->base);
    settle(c);
}

/* --- out --- */

/* Frames, as many as the socket takes now. false: the connection is lost. */
static bool output_write(http2_conn *c)
{
    bool full = true;
    if (stream_write_busy(c->base.s))
        return true;
    server_buf_take(c->base.server, &c->out);
    for (int writes = 0; full && writes < WRITES_PER_TURN && !stream_write_busy(c->base.s);) {
        const uint8_t *p;
        ssize_t n = 0;
        while (!http2_out_full(c) && (n = nghttp2_session_mem_send(c->ng, &p)) > 0)
            buf_put(&c->out, p, (size_t)n);
        full = http2_out_full(c);
        if (n < 0 || c->out.failed)
            return false;
        if (c->out.n && !stream_write(c->base.s, &c->out))
            return false;
        writes++;
    }
    if (full && !stream_write_busy(c->base.s))
        server_dirty(&c->base);
    if (c->out.n == 0)
        server_buf_give(c->base.server, &c->out);
    return true;
}

static void drained(void *user) { server_dirty(&((http2_conn *)user)->base); }

static bool output_waits(const http2_conn *c)
{
    return stream_write_busy(c->base.s) || c->out.n || nghttp2_session_want_write(c->ng);
}

/* All was written that will be: the client's unread input must not take it away from him. */
static void conn_finish(http2_conn *c)
{
    streams_drop(c);
    if (c->eof || !stream_shutdown_write(c->base.s)) {
        conn_gone(c);
        return;
    }
    c->state = HTTP2_LINGER;
    c->linger_left = LINGER_BYTES_MAX;
    settle(c);
}

static void http2_conn_turn(conn *base)
{
    http2_conn *c = of(base);
    if (c->state == HTTP2_LINGER)
        return;
    tell(c, true);
    if (!output_write(c)) {
        conn_gone(c);
        return;
    }
    bool over = (c->drained && c->streams_count == 0) ||
                (!nghttp2_session_want_read(c->ng) && !nghttp2_session_want_write(c->ng));
    if (over && c->state == HTTP2_OPEN)
        c->state = HTTP2_CLOSING;
    if (c->eof && c->streams_count == 0 && !output_waits(c)) {
        conn_gone(c);
        return;
    }
    if (c->state == HTTP2_CLOSING && !output_waits(c)) {
        conn_finish(c);
        return;
    }
    settle(c);
}

/* --- deadlines --- */

static void stream_check(http2_exchange *x, ns now)
{
    const http_server_config *config = &x->server->config;
    if (!x->id || x->lost)
        return;
    bool starved = x->in_state == BODY_OPEN && http2_in_waiting(x) == 0;
    if (http2_out_waiting(x) && now - x->out_since >= config->write_wait) {
        server_refused(&x->c->base, 0, "the client does not take the body");
        nghttp2_submit_rst_stream(x->c->ng, NGHTTP2_FLAG_NONE, x->id, NGHTTP2_CANCEL);
    } else if (starved && x->done && now - x->in_since >= config->body_wait) {
        nghttp2_submit_rst_stream(x->c->ng, NGHTTP2_FLAG_NONE, x->id, NGHTTP2_NO_ERROR);
    } else if (starved && !x->done && now - x->in_since >= config->body_wait) {
        http2_refuse(x, 408, "the body took too long");
    }
}

/* The socket itself is stuck: nothing was acknowledged since the last look. */
static bool is_stuck(http2_conn *c)
{
    if (!stream_write_busy(c->base.s))
        return false;
    size_t left = stream_unacknowledged(c->base.s), before = c->base.left_seen;
    server_wait(&c->base, c->base.wait, true);
    c->base.left_seen = left;
    return left >= before;
}

static void http2_conn_timeout(conn *base)
{
    http2_conn *c = of(base);
    ns now = loop_now(base->server->l);
    switch ((wait_for)base->wait) {
    case WAIT_STREAMS:
    case WAIT_WRITE:
        if (is_stuck(c)) {
            stream_reset_on_close(base->s);
            break;
        }
        for (chain *at = c->streams.next, *next; at != &c->streams; at = next) {
            next = at->next;
            stream_check(of_all(at), now);
        }
        if (!stream_write_busy(base->s))
            server_wait(base, base->wait, true);
        server_dirty(base);
        return;
    case WAIT_HEAD:
        http2_conn_end(c, NGHTTP2_ENHANCE_YOUR_CALM,
                       "a head, or the first SETTINGS, took too long");
        server_wait(base, WAIT_WRITE, true);
        return;
    case WAIT_IDLE:
    case WAIT_LINGER: /* for the PING to come back */
        if (c->state != HTTP2_OPEN)
            break;
        nghttp2_session_terminate_session(c->ng, NGHTTP2_NO_ERROR);
        c->state = HTTP2_CLOSING;
        server_wait(base, WAIT_WRITE, true);
        server_dirty(base);
        return;
    default:
        break;
    }
    conn_gone(c);
}

static void http2_conn_drain(conn *base)
{
    http2_conn *c = of(base);
    if (c->draining || c->state != HTTP2_OPEN)
        return;
    c->draining = true;
    nghttp2_submit_shutdown_notice(c->ng);
    server_dirty(base);
}

/* --- beginning --- */

void http2_conn_begin_take(http_server *s, stream *opened, str peer, bytes in)
{
    static const stream_callbacks callbacks = {bytes_came, input_ended, drained, NULL};
    static const conn_ops ops = {http2_conn_turn, http2_conn_timeout, http2_conn_drain,
                                 http2_conn_cut};
    http2_conn *c = calloc(1, sizeof *c);
    if (c) {
        chain_init(&c->streams);
        chain_init(&c->touched);
        buf_init(&c->out, OUT_BYTES_MAX);
        server_conn_begin(s, &c->base, &ops, opened, peer);
        c->ng = http2_session_new(c);
        if (c->ng) {
            stream_rebind(opened, &callbacks, c);
            if (s->draining)
                http2_conn_drain(&c->base);
            input_take(c, in.p, in.n);
            return;
        }
        server_conn_leave(&c->base);
        free(c);
    }
    stream_close(opened);
    if (s->config.on_refused)
        s->config.on_refused(s->user, peer, 0, "no memory for a connection");
}
