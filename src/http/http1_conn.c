/* A connection of HTTP/1.x: bytes in, one exchange at a time, bytes out.
 *
 * The states and their order are drawn in http1_impl.h. A connection that begins with the preface
 * of HTTP/2, or agreed on it under TLS, becomes one of that and is never seen here again.
 *
 * In: bytes are parsed as they come; those of a body are lent to the handler from where they were
 * read, and copied only if it leaves them. What cannot be parsed yet (the request before is not
 * answered, or the handler is behind with the body) goes into `pending`, at most one read of it,
 * and reading stops. While a handler works and has all of its request, reading goes on for a little
 * pipelining, which also is how the loss of the client is noticed.
 *
 * Out: everything is appended to `out` and written at the end of the turn, the responses of a turn
 * in one write; only a full buffer is written at once (http1_exchange.c).
 *
 * A client that closed its side may still read (half-close): the response goes on for
 * half_close_wait, then the handler is stopped, because such a client usually is gone.
 *
 * Draining: what is idle is closed, but a connection that was in use a moment ago has linger_wait
 * for one more request, which is answered with `connection: close`: under load no request is lost.
 *
 * Closing with unread input makes the kernel send RST, which can overtake the response; so after a
 * refusal the connection lingers: FIN, then input is thrown away until the client's FIN.
 */
#include "http/http1_impl.h"

#include "http/field.h"
#include "http/http2_impl.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PIPELINE_BYTES_MAX = 16 * 1024, /* read ahead while a request is answered */
    PENDING_BYTES_MAX = STREAM_READ_BYTES_MAX + PIPELINE_BYTES_MAX,
    LINGER_BYTES_MAX = 1024 * 1024,
    OUT_BYTES_MAX = 2 * HTTP_BUFFER_BYTES + 512 * 1024, /* a head may have 128 kB of fields */
};

/* A connection that was idle for less than this is in use. */
#define BUSY_NS (1 * NS_PER_S)

buf *http1_out(http1_conn *c)
{
    server_buf_take(c->base.server, &c->out);
    server_dirty(&c->base);
    return &c->out;
}

/* --- ends --- */

/* Takes the exchange from the connection; its handler, if it knows it, gets on_closed. */
static void exchange_lose(http1_conn *c)
{
    http1_exchange *x = c->x;
    if (!x)
        return;
    c->x = NULL;
    x->c = NULL;
    x->lent = (bytes){0};
    if (c->state == HTTP1_ANSWER)
        c->base.server->active--;
    if (!x->dispatched) {
        server_exchange_give(x);
        return;
    }
    x->x.gone = true;
    if (x->x.callbacks.on_closed)
        x->x.callbacks.on_closed(x->x.user);
}

static void conn_gone(http1_conn *c)
{
    exchange_lose(c);
    stream_close(c->base.s);
    server_buf_give(c->base.server, &c->out);
    server_buf_give(c->base.server, &c->pending);
    server_conn_gone(&c->base);
    buf_fini(&c->out);
    buf_fini(&c->pending);
    free(c);
}

static http1_conn *of(conn *c) { return (http1_conn *)c; }

static void http1_conn_cut(conn *c) { conn_gone(of(c)); }

void http1_conn_closing(http1_conn *c, bool linger)
{
    c->state = HTTP1_CLOSING;
    c->linger = linger;
    server_buf_give(c->base.server, &c->pending);
    server_dirty(&c->base);
}

void http1_refusal_write(http1_conn *c, unsigned status)
{
    str date = date_text((int64_t)(clock_wall() / NS_PER_S)), reason = status_reason(status);
    buf_printf(http1_out(c),
               "HTTP/1.1 %u %.*s\r\ndate: %.*s\r\ncontent-length: 0\r\n"
               "connection: close\r\n\r\n",
               status, STR(reason), STR(date));
}

static void conn_refuse(http1_conn *c, unsigned status, const char *reason)
{
    bool answered = c->state == HTTP1_DISCARD;
    if (c->state == HTTP1_ANSWER) {
        http1_response_retract(c->x);
        answered = c->x->x.started;
    }
    server_refused(&c->base, answered ? 0 : status, reason);
    exchange_lose(c);
    if (!answered)
        http1_refusal_write(c, status);
    http1_conn_closing(c, true);
}

/* --- in --- */

static bool may_parse(const http1_conn *c)
{
    switch (c->state) {
    case HTTP1_IDLE:
    case HTTP1_HEADING:
        return !c->broken && http1_out_waiting(c) < HTTP_BUFFER_BYTES;
    case HTTP1_ANSWER:
        return c->x->in_state == BODY_OPEN && http1_in_waiting(c->x) < HTTP_BUFFER_BYTES;
    default:
        return c->state == HTTP1_DISCARD;
    }
}

static void dispatch(http1_conn *c)
{
    http_server *s = c->base.server;
    c->x->dispatched = true;
    s->on_request(s->user, &c->x->x);
}

static void head_take(http1_conn *c)
{
    http1_exchange *x = c->x;
    http1_head *h = &x->head;
    x->x.ops = &http1_ops;
    x->x.request = (http_request){
        .method = h->method,
        .target = h->target,
        .authority = h->authority,
        .scheme =
            stream_is_secure(c->base.s) ? S("https") : str_from(c->base.server->config.scheme),
        .fields = h->fields.items,
        .fields_count = h->fields.count,
        .content_length = h->content_length,
        .has_body = h->has_body,
        .peer = {c->base.peer, c->base.peer_n},
        .begun_mono = clock_mono(),
    };
    server_origin(c->base.server, &x->x);
    x->c = c;
    x->expect = h->expect_continue;
    x->in_state = h->has_body ? BODY_OPEN : BODY_END;
    c->state = HTTP1_ANSWER;
    c->base.server->active++;
    if (stream_is_secure(c->base.s) && !stream_serves(c->base.s, authority_host(h->authority)))
        conn_refuse(c, 421, "the connection's certificate is for other hosts");
}

/* Body bytes are lent to the handler where they were read; what it leaves is kept. */
static bool lent_keep(http1_conn *c)
{
    http1_exchange *x = c->x;
    if (!x || x->lent.n == 0)
        return true;
    if (x->in_at > 0 && x->in.n + x->lent.n > HTTP_BUFFER_BYTES) {
        buf_drop(&x->in, x->in_at);
        x->in_at = 0;
    }
    bytes lent = x->lent;
    x->lent = (bytes){0};
    if (buf_put(&x->in, lent.p, lent.n))
        return true;
    conn_refuse(c, 503, "no memory for a body");
    return false;
}

static void body_take(http1_conn *c, bytes piece)
{
    if (c->state == HTTP1_DISCARD) {
        if (piece.n > c->discard_left)
            http1_conn_closing(c, true);
        else
            c->discard_left -= piece.n;
        return;
    }
    http1_exchange *x = c->x;
    x->expect = false; /* it did not wait */
    x->x.bytes_in += piece.n;
    if (lent_keep(c))
        x->lent = piece;
}

static void body_ended(http1_conn *c)
{
    http1_exchange *x = c->x;
    if (c->state == HTTP1_CLOSING)
        return; /* body_take has given up */
    if (c->state == HTTP1_DISCARD) {
        c->x = NULL;
        c->state = HTTP1_IDLE;
        server_exchange_give(x);
        return;
    }
    x->in_state = BODY_END;
    x->x.trailers = x->head.trailers.items;
    x->x.trailers_count = x->head.trailers.count;
}

/* Bytes that the parser may have now: of a body no more than there is room for. */
static size_t parse_room(const http1_conn *c)
{
    return c->state == HTTP1_ANSWER ? HTTP_BUFFER_BYTES - http1_in_waiting(c->x) : SIZE_MAX;
}

static bool head_begin(http1_conn *c)
{
    c->x = server_exchange_take(c->base.server);
    if (!c->x) {
        conn_refuse(c, 503, "no memory for a request");
        return false;
    }
    http1_parser_next(&c->parser, &c->x->head);
    c->state = HTTP1_HEADING;
    c->head_new = true;
    return true;
}

/* Parses as far as possible; returns how many bytes it took. The handler is called when its request
 * is complete or there is nothing more to parse: then it finds the body that is there already. */
static size_t input_parse(http1_conn *c, const uint8_t *in, size_t n)
{
    size_t at = 0;
    bool news = false;
    while (at < n && may_parse(c)) {
        if (c->state == HTTP1_IDLE && !head_begin(c))
            break;
        http1_event event;
        size_t room = parse_room(c);
        at += http1_parse(&c->parser, in + at, n - at < room ? n - at : room, &event);
        if (event == HTTP1_HEAD)
            head_take(c);
        else if (event == HTTP1_BODY)
            body_take(c, c->parser.body);
        else if (event == HTTP1_REFUSED)
            conn_refuse(c, c->parser.status, c->parser.reason);
        if ((event == HTTP1_BODY || event == HTTP1_END) && http1_parser_done(&c->parser))
            body_ended(c);
        news |= event == HTTP1_BODY || event == HTTP1_END;
        if (c->state == HTTP1_ANSWER && c->x->in_state == BODY_END && !c->x->dispatched) {
            dispatch(c);
            news = false;
        }
    }
    if (c->state == HTTP1_ANSWER && !c->x->dispatched)
        dispatch(c);
    else if (c->state == HTTP1_ANSWER && news && c->x->x.callbacks.on_readable)
        c->x->x.callbacks.on_readable(c->x->x.user);
    lent_keep(c);
    return at;
}

/* What to read, and what to wait for, in the state that was reached. */
static void settle(http1_conn *c)
{
    size_t read_max = STREAM_READ_BYTES_MAX;
    wait_for wait = WAIT_HANDLER;
    bool progress = c->progress;
    switch (c->state) {
    case HTTP1_IDLE:
    case HTTP1_HEADING:
        read_max = c->pending.n && !c->fresh ? 0 : STREAM_READ_BYTES_MAX;
        wait = c->state == HTTP1_HEADING || (c->fresh && c->pending.n) ? WAIT_HEAD
               : c->lame && !c->base.server->retiring                  ? WAIT_LINGER
                                                                       : WAIT_IDLE;
        progress = c->state == HTTP1_IDLE ? progress : c->head_new; /* a head has its time in all */
        break;
    case HTTP1_ANSWER:
        if (c->x->in_state == BODY_OPEN) {
            read_max = c->pending.n ? 0 : HTTP_BUFFER_BYTES - http1_in_waiting(c->x);
            wait = http1_in_waiting(c->x) ? WAIT_HANDLER : WAIT_BODY;
        } else {
            read_max = c->pending.n < PIPELINE_BYTES_MAX ? PIPELINE_BYTES_MAX - c->pending.n : 0;
            wait = c->eof ? WAIT_HALF_CLOSED : WAIT_HANDLER;
        }
        break;
    case HTTP1_DISCARD:
        wait = WAIT_BODY;
        break;
    case HTTP1_CLOSING:
        read_max = 0;
        break;
    case HTTP1_LINGER:
        wait = WAIT_LINGER;
        progress = false;
        break;
    case HTTP1_SHAKING:
        wait = WAIT_SHAKE;
        progress = false;
        break;
    }
    if (stream_write_busy(c->base.s) && wait != WAIT_HALF_CLOSED && wait != WAIT_SHAKE)
        wait = WAIT_WRITE;
    stream_read_limit(c->base.s, read_max);
    server_wait(&c->base, wait, progress && wait != WAIT_HALF_CLOSED);
    c->progress = c->head_new = false;
}

static void become_http2(http1_conn *c, bytes in)
{
    char peer[sizeof c->base.peer];
    str peer_text = {peer, c->base.peer_n};
    http_server *s = c->base.server;
    stream *opened = c->base.s;
    memcpy(peer, c->base.peer, sizeof peer);
    server_buf_give(s, &c->pending);
    server_conn_leave(&c->base);
    free(c);
    http2_conn_begin_take(s, opened, peer_text, in);
}

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"; /* RFC 9113 3.4 */

/* The first bytes of a connection. True: they were taken, by HTTP/2 or to wait for more of it. */
static bool fresh_take(http1_conn *c, const uint8_t *p, size_t n)
{
    size_t had = c->pending.n, left = sizeof preface - 1 - had;
    bool fits = memcmp(p, preface + had, n < left ? n : left) == 0;
    c->fresh = fits && n < left;
    if (had == 0 && !c->fresh) {
        if (fits)
            become_http2(c, (bytes){p, n});
        return fits;
    }
    if (!buf_put(&c->pending, p, n)) {
        conn_gone(c);
    } else if (fits && !c->fresh) {
        buf whole = c->pending;
        buf_init(&c->pending, 0);
        become_http2(c, buf_bytes(&whole));
        buf_fini(&whole);
    } else {
        server_dirty(&c->base); /* perhaps a method that begins like it */
        settle(c);
    }
    return true;
}

static void bytes_came(void *user, const uint8_t *p, size_t n)
{
    http1_conn *c = user;
    c->progress = true;
    if (c->fresh && fresh_take(c, p, n))
        return;
    if (c->state == HTTP1_LINGER) {
        c->discard_left = n < c->discard_left ? c->discard_left - n : 0;
        if (c->discard_left == 0)
            conn_gone(c);
        return;
    }
    size_t at = c->pending.n ? 0 : input_parse(c, p, n);
    if (at < n && c->state != HTTP1_CLOSING) {
        server_buf_take(c->base.server, &c->pending);
        if (!buf_put(&c->pending, p + at, n - at))
            conn_refuse(c, 503, "no memory for input");
        if (may_parse(c))
            server_dirty(&c->base);
    }
    settle(c);
}

static void pending_parse(http1_conn *c)
{
    if (c->pending.n == 0 || c->fresh || !may_parse(c))
        return;
    buf taken = c->pending; /* a refusal gives c->pending away */
    buf_init(&c->pending, PENDING_BYTES_MAX);
    size_t at = input_parse(c, taken.p, taken.n);
    if (at < taken.n && c->state != HTTP1_CLOSING) {
        buf_drop(&taken, at);
        c->pending = taken;
        if (may_parse(c))
            server_dirty(&c->base);
    } else {
        server_buf_give(c->base.server, &taken);
    }
}

/* There is nothing left to answer: the client's side is closed, or the server drains. */
static bool over(const http1_conn *c)
{
    if (http1_out_waiting(c))
        return false;
    if (!c->eof)
        return c->base.server->draining && c->state == HTTP1_IDLE && c->pending.n == 0 && !c->lame;
    if (c->state == HTTP1_IDLE || c->state == HTTP1_HEADING)
        return c->pending.n == 0 || (c->state == HTTP1_HEADING && !may_parse(c));
    return c->state == HTTP1_DISCARD || c->state == HTTP1_LINGER;
}

static void input_ended(void *user, stream_end end)
{
    http1_conn *c = user;
    c->eof = true;
    c->fresh = false;
    if (end == STREAM_RESET || c->state == HTTP1_SHAKING || c->state == HTTP1_DISCARD ||
        c->state == HTTP1_LINGER ||
        (c->state == HTTP1_ANSWER && c->x->in_state == BODY_OPEN && c->pending.n == 0) || over(c)) {
        if (c->state == HTTP1_HEADING && http1_parser_begun(&c->parser))
            server_refused(&c->base, 0, "the client closed inside a head");
        if (c->state == HTTP1_SHAKING)
            server_refused(&c->base, 0, stream_problem(c->base.s));
        conn_gone(c);
        return;
    }
    server_dirty(&c->base);
    settle(c);
}

/* --- out --- */

bool http1_output_write(http1_conn *c)
{
    if (c->out.n == 0 || stream_write_busy(c->base.s))
        return !c->broken && !c->out.failed;
    return http1_output_through(c, (bytes){0}, S(""));
}

bool http1_output_through(http1_conn *c, bytes more, str end)
{
    if (c->broken || c->out.failed)
        return false;
    if (!(more.n ? stream_write_through(c->base.s, &c->out, more, end)
                 : stream_write(c->base.s, &c->out)))
        return false;
    if (c->out.n == 0)
        server_buf_give(c->base.server, &c->out);
    return true;
}

static void drained(void *user)
{
    http1_conn *c = user;
    c->progress = true;
    server_dirty(&c->base);
}

/* After CLOSING has written everything. */
static void conn_end(http1_conn *c)
{
    if (!c->linger || c->eof || !stream_shutdown_write(c->base.s)) {
        conn_gone(c);
        return;
    }
    c->state = HTTP1_LINGER;
    c->discard_left = LINGER_BYTES_MAX;
    settle(c);
}

static void http1_conn_turn(conn *base)
{
    http1_conn *c = of(base);
    if (c->x && c->state == HTTP1_ANSWER)
        http1_head_decide(c->x, false);
    if (!http1_output_write(c)) {
        conn_gone(c);
        return;
    }
    if (c->state == HTTP1_CLOSING) {
        if (http1_out_waiting(c) == 0)
            conn_end(c);
        else
            settle(c);
        return;
    }
    http1_exchange *x = c->x;
    if (x && c->state == HTTP1_ANSWER && x->full && http1_out_waiting(c) <= HTTP_BUFFER_BYTES / 2) {
        x->full = false;
        if (x->x.callbacks.on_writable)
            x->x.callbacks.on_writable(x->x.user);
    }
    pending_parse(c);
    if (c->eof && c->state == HTTP1_ANSWER && c->x->in_state == BODY_OPEN && c->pending.n == 0) {
        conn_gone(c); /* the body will not come to its end */
        return;
    }
    if (over(c)) {
        conn_gone(c);
        return;
    }
    settle(c);
}

/* Deadlines come before what can be read in a turn. If this process had no CPU for that long, what
 * came meanwhile lies unread: it is not the client that is late. Once for each wait. */
static bool we_are_late(http1_conn *c)
{
    wait_for w = (wait_for)c->base.wait;
    if ((w != WAIT_HEAD && w != WAIT_IDLE && w != WAIT_BODY) || c->base.forgiven ||
        !stream_unread(c->base.s))
        return false;
    server_wait(&c->base, w, true);
    c->base.since = clock_mono(); /* the turn's time is that of before */
    c->base.forgiven = true;
    return true;
}

static void http1_conn_timeout(conn *base)
{
    http1_conn *c = of(base);
    size_t left;
    if (we_are_late(c))
        return;
    switch ((wait_for)c->base.wait) {
    case WAIT_SHAKE:
        server_refused(base, 0, "the TLS handshake took too long");
        break;
    case WAIT_HEAD:
        conn_refuse(c, 408, "the head took too long");
        settle(c);
        return;
    case WAIT_BODY:
        if (c->state == HTTP1_ANSWER) {
            conn_refuse(c, 408, "the body took too long");
            settle(c);
            return;
        }
        break;
    case WAIT_WRITE:
        /* Slow or stuck? The first time nobody knows, so stuck takes between one and two waits. */
        left = stream_unacknowledged(c->base.s);
        if (left < c->base.left_seen) {
            server_wait(&c->base, WAIT_WRITE, true);
            c->base.left_seen = left;
            return;
        }
        stream_reset_on_close(c->base.s);
        break;
    default:
        break;
    }
    conn_gone(c);
}

static void http1_conn_drain(conn *base)
{
    http1_conn *c = of(base);
    bool idle = c->state == HTTP1_IDLE || c->state == HTTP1_SHAKING;
    bool retiring = base->server->retiring;
    if (c->lame && (retiring || base->wait == WAIT_LINGER))
        return;
    /* A client that has just had its answer may have sent its next request, which would be lost. */
    if ((retiring && idle) ||
        (c->state == HTTP1_IDLE && loop_now(base->server->l) - base->since < BUSY_NS)) {
        c->lame = true;
        if (c->state == HTTP1_IDLE)
            server_dirty(base);
        return;
    }
    if (idle && c->pending.n == 0 && http1_out_waiting(c) == 0)
        conn_gone(c);
    else
        server_dirty(&c->base);
}

/* --- beginning --- */

static void secured(void *user)
{
    http1_conn *c = user;
    c->state = HTTP1_IDLE;
    c->progress = true;
    c->fresh = !str_eq(stream_protocol(c->base.s), S("http/1.1"));
    if (str_eq(stream_protocol(c->base.s), S("h2")))
        become_http2(c, (bytes){0});
    else
        settle(c);
}

bool http1_conn_open_take(http_server *s, int fd, str peer)
{
    static const stream_callbacks callbacks = {bytes_came, input_ended, drained, secured};
    static const conn_ops ops = {http1_conn_turn, http1_conn_timeout, http1_conn_drain,
                                 http1_conn_cut};
    stream *opened;
    http1_conn *c = calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return false;
    }
    if (!(s->tls ? stream_open_tls_take(s->l, fd, s->tls, &callbacks, c, &opened, NULL)
                 : stream_open_take(s->l, fd, &callbacks, c, &opened, NULL))) {
        free(c);
        return false;
    }
    server_conn_begin(s, &c->base, &ops, opened, peer);
    c->state = s->tls ? HTTP1_SHAKING : HTTP1_IDLE;
    c->fresh = !s->tls;
    http1_parser_init(&c->parser, &s->limits);
    buf_init(&c->out, OUT_BYTES_MAX);
    buf_init(&c->pending, PENDING_BYTES_MAX);
    settle(c); /* wait is WAIT_HANDLER by zeroing: this moves it into a list */
    return true;
}
