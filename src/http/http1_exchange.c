/* An exchange of HTTP/1.x, the half that its handler calls: takes body bytes out of the
 * connection's input and appends the response to its output. Nothing here calls back.
 *
 * The end of a response head is held back (`undecided`) until the first body byte, the end of the
 * response or the end of the turn: an empty response then has `content-length: 0`, a streamed one
 * is chunked. Until then the response can still be taken back and replaced by an error.
 *
 * A body that comes out shorter than announced, or is given up, is never completed: the connection
 * ends instead, with RST where an ordinary end would look like the whole body (HTTP/1.0).
 */
#include "http/http1_impl.h"

#include "http/field.h"

#include <stdio.h>
#include <string.h>

enum {
    DISCARD_BYTES_MAX = 256 * 1024, /* of an unread body, to keep the connection */
    /* Of output that does not wait for the end of the turn: buffers of other connections would push
     * it out of the processor's cache meanwhile. */
    NOW_BYTES_MIN = 16 * 1024,
};

void http1_head_decide(http1_exchange *x, bool empty)
{
    if (!x->undecided)
        return;
    x->undecided = false;
    x->chunked = !empty;
    buf_put_str(&x->c->out,
                empty ? S("content-length: 0\r\n\r\n") : S("transfer-encoding: chunked\r\n\r\n"));
}

/* While undecided, nothing of the response has left the buffer. */
void http1_response_retract(http1_exchange *x)
{
    if (x->undecided) {
        x->c->out.n = x->start_at;
        x->undecided = false;
        x->x.started = false;
    }
}

static http1_exchange *of(const http_exchange *x) { return (http1_exchange *)(uintptr_t)x; }

static body_state state_now(const http1_exchange *x)
{
    if (x->x.gone)
        return BODY_ABORTED;
    return http1_in_waiting(x) ? BODY_OPEN : x->in_state;
}

static size_t http1_readable(const http_exchange *p, body_state *ret_state)
{
    const http1_exchange *x = of(p);
    *ret_state = state_now(x);
    return p->gone ? 0 : http1_in_waiting(x);
}

/* n bytes that are waiting: first those that were kept, then those just read. */
static void input_take(http1_exchange *x, uint8_t *to, size_t n)
{
    size_t kept = x->in.n - x->in_at, k = n < kept ? n : kept;
    if (k > 0) {
        memcpy(to, x->in.p + x->in_at, k);
        x->in_at += k;
        if (x->in_at == x->in.n) {
            buf_clear(&x->in);
            x->in_at = 0;
        }
    }
    if (n > k) {
        memcpy(to + k, x->lent.p, n - k);
        x->lent = (bytes){x->lent.p + (n - k), x->lent.n - (n - k)};
    }
}

static size_t http1_read(http_exchange *p, void *to, size_t n, body_state *ret_state)
{
    http1_exchange *x = of(p);
    size_t left = p->gone ? 0 : http1_in_waiting(x);
    n = n < left ? n : left;
    if (n > 0) {
        input_take(x, to, n);
        if (x->in_state == BODY_OPEN)
            server_dirty(&x->c->base); /* there is room: reading may go on */
    } else if (!p->gone && x->expect && !p->started) {
        buf_put_str(http1_out(x->c), S("HTTP/1.1 100 Continue\r\n\r\n"));
        x->expect = false;
    }
    *ret_state = state_now(x);
    return n;
}

static void field_write(buf *b, str name, str value)
{
    if (!buf_reserve(b, name.n + value.n + 4))
        return;
    char *at = (char *)b->p + b->n;
    memcpy(at, name.p, name.n);
    at += name.n;
    *at++ = ':';
    *at++ = ' ';
    if (value.n)
        memcpy(at, value.p, value.n);
    at += value.n;
    *at++ = '\r';
    *at = '\n';
    b->n += name.n + value.n + 4;
}

/* "HTTP/1.1 200 OK" and CRLF. */
static void status_write(buf *b, unsigned status)
{
    char line[] = "HTTP/1.1 000 ";
    line[9] = (char)('0' + status / 100);
    line[10] = (char)('0' + status / 10 % 10);
    line[11] = (char)('0' + status % 10);
    buf_put(b, line, sizeof line - 1);
    buf_put_str(b, status_reason(status));
    buf_put_str(b, S("\r\n"));
}

static void length_write(buf *b, int64_t length)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%lld", (long long)length);
    field_write(b, S("content-length"), (str){digits, (size_t)n});
}

static bool http1_start(http_exchange *p, const http_field *fields, size_t count, err *e)
{
    http1_exchange *x = of(p);
    http1_conn *c = x->c;
    buf *b = http1_out(c);
    x->start_at = b->n;
    status_write(b, p->status);
    for (size_t i = 0; i < count; i++)
        field_write(b, fields[i].name, fields[i].value);
    bool unknown = p->length < 0 && !p->bodiless;
    x->until_close = unknown && x->head.is_1_0;
    /* A client that still waits for "100 Continue" may or may not send its body now. */
    c->keep = x->head.keep_alive && !c->base.server->draining && !x->expect && !x->until_close;
    if (!c->keep && !x->head.is_1_0)
        buf_put_str(b, S("connection: close\r\n"));
    if (c->keep && x->head.is_1_0)
        buf_put_str(b, S("connection: keep-alive\r\n"));
    x->undecided = unknown && !x->until_close;
    if (p->length >= 0 && p->status != 204)
        length_write(b, p->length);
    if (!x->undecided)
        buf_put_str(b, S("\r\n"));
    if (!b->failed)
        return true;
    b->n = x->start_at;
    b->failed = false;
    return err_no_memory(e);
}

/* What is waiting is as much as a handler may leave: to the socket with it, now. */
static void output_push(http1_exchange *x)
{
    http1_conn *c = x->c;
    if (!stream_write_busy(c->base.s) && !http1_output_write(c))
        c->broken = true; /* found at the end of the turn; we are inside a call of the handler's */
    x->full = c->broken || http1_out_waiting(c) >= HTTP_BUFFER_BYTES;
    x->is_long = true;
}

static size_t http1_room(const http_exchange *p)
{
    http1_exchange *x = of(p);
    if (!x->full && http1_out_waiting(x->c) >= HTTP_BUFFER_BYTES)
        output_push(x);
    size_t waiting = http1_out_waiting(x->c);
    if (x->full || waiting >= HTTP1_OUT_FULL)
        return 0;
    size_t room = HTTP1_OUT_FULL - waiting;
    return room < HTTP_BUFFER_BYTES ? room : HTTP_BUFFER_BYTES;
}

/* Hexadecimal and CRLF (RFC 9112 7.1). */
static void chunk_size_write(buf *b, size_t n)
{
    char line[20] = {[18] = '\r', [19] = '\n'};
    size_t at = 18;
    do
        line[--at] = "0123456789abcdef"[n % 16];
    while (n /= 16);
    buf_put(b, line + at, sizeof line - at);
}

/* A body of at most one buffer is collected and leaves with its head and its end in one write. Of a
 * longer one small pieces are collected, and the one that makes a full buffer of them is written
 * with them from where it lies. */
static void http1_write(http_exchange *p, const void *from, size_t n)
{
    http1_exchange *x = of(p);
    http1_conn *c = x->c;
    buf *b = http1_out(c);
    http1_head_decide(x, false);
    if (x->chunked)
        chunk_size_write(b, n);
    str end = x->chunked ? S("\r\n") : S("");
    size_t most = x->is_long ? HTTP_BUFFER_BYTES : HTTP1_OUT_FULL;
    if (stream_write_busy(c->base.s) || http1_out_waiting(c) + n + end.n < most) {
        buf_put(b, from, n);
        buf_put_str(b, end);
    } else if (!http1_output_through(c, (bytes){from, n}, end)) {
        c->broken = true;
    }
    if (stream_write_busy(c->base.s) || c->broken)
        output_push(x);
}

/* The handler is done with x. */
static void exchange_done(http1_exchange *x)
{
    http1_conn *c = x->c;
    bool unread = x->in_state == BODY_OPEN;
    /* The head went out before the server was to go: retiring, it takes one more request. */
    c->lame |= c->keep && c->base.server->retiring;
    c->keep &= !c->base.server->draining || c->lame;
    c->base.server->active--;
    server_dirty(&c->base);
    if (unread && c->keep) {
        x->dispatched = false; /* ours again: the parser goes on with this body */
        x->lent = (bytes){0};
        c->state = HTTP1_DISCARD;
        c->discard_left = DISCARD_BYTES_MAX;
        return;
    }
    c->state = HTTP1_IDLE;
    c->x = NULL;
    server_exchange_give(x);
    if (!c->keep)
        http1_conn_closing(c, unread || c->pending.n > 0);
}

static void http1_end(http_exchange *p, const http_field *trailers, size_t count)
{
    http1_exchange *x = of(p);
    http1_conn *c = x->c;
    http1_head_decide(x, true);
    if (x->chunked) {
        buf *b = http1_out(c);
        buf_put_str(b, S("0\r\n"));
        for (size_t i = 0; i < count; i++)
            if (!field_is_no_trailer(trailers[i].name))
                field_write(b, trailers[i].name, trailers[i].value);
        buf_put_str(b, S("\r\n"));
    }
    if (!p->bodiless && p->length >= 0 && p->bytes_out < (uint64_t)p->length)
        c->keep = false; /* short: the end of the connection is the only way to say so */
    if (http1_out_waiting(c) >= NOW_BYTES_MIN)
        output_push(x);
    exchange_done(x);
}

static void http1_abort(http_exchange *p, unsigned status, const http_field *fields, size_t count)
{
    http1_exchange *x = of(p);
    http1_conn *c = x->c;
    http1_response_retract(x);
    if (!p->started) {
        err e;
        if (exchange_start(p, status, fields, count, 0, &e)) {
            http1_end(p, NULL, 0);
            return;
        }
        http1_refusal_write(c, status);
    } else if (x->until_close) {
        stream_reset_on_close(c->base.s); /* an ordinary end would look like the whole body */
    }
    c->keep = false;
    exchange_done(x);
}

static void http1_free(http_exchange *p) { server_exchange_give(of(p)); }

const exchange_ops http1_ops = {
    .read = http1_read,
    .readable = http1_readable,
    .start = http1_start,
    .room = http1_room,
    .write = http1_write,
    .end = http1_end,
    .abort = http1_abort,
    .free = http1_free,
};
