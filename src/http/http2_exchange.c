/* An exchange of HTTP/2, the half that its handler calls, and the framing of its response.
 *
 * The head of a response is held back (`undecided`) until the first body byte, the end or the end
 * of the turn: a response without body then is one frame, and until then it can be taken back and
 * replaced by an error, as in HTTP/1.1.
 *
 * Body bytes wait in `out`, at most HTTP_BUFFER_BYTES, until the client's window takes them; they
 * are copied once, into the connection's output. A body that comes out shorter than announced, or
 * is given up, ends with RST_STREAM and never with END_STREAM.
 */
#include "http/http2_impl.h"

#include "base/must.h"
#include "http/field.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    DISCARD_BYTES_MAX = 256 * 1024, /* of an unread body, before the stream is reset */
    FIELDS_BYTES_MAX = 160 * 1024,  /* handlers may set 128 kB, and lengths are beside them */
    SPARES_MAX = 64,
    SPARE_BYTES_MAX = 256 * 1024,
    FIELDS_MAX = 1024 + 8,
    FRAME_HEAD_BYTES = 9,
};

static http2_exchange *of(const http_exchange *x) { return (http2_exchange *)(uintptr_t)x; }

/* --- making and letting go --- */

http2_exchange *http2_exchange_take(http_server *s)
{
    http2_exchange *x = s->spares2;
    if (x) {
        s->spares2 = x->next_spare;
        s->spares2_count--;
        http1_fields fields = x->fields;
        fields.count = 0;
        buf_clear(&fields.text);
        *x = (http2_exchange){.fields = fields};
    } else {
        x = calloc(1, sizeof *x);
        if (!x)
            return NULL;
    }
    buf_init(&x->in, HTTP_BUFFER_BYTES);
    buf_init(&x->out, 2 * HTTP_BUFFER_BYTES);
    buf_init(&x->head, FIELDS_BYTES_MAX);
    buf_init(&x->tail, FIELDS_BYTES_MAX);
    chain_init(&x->all);
    chain_init(&x->touched);
    x->server = s;
    server_ref(s);
    return x;
}

static void exchange_destroy(http2_exchange *x)
{
    http1_fields_fini(&x->fields);
    free(x);
}

void http2_spares_free(http_server *s)
{
    while (s->spares2) {
        http2_exchange *next = s->spares2->next_spare;
        exchange_destroy(s->spares2);
        s->spares2 = next;
    }
    s->spares2_count = 0;
}

void http2_exchange_give(http2_exchange *x)
{
    http_server *s = x->server;
    chain_remove(&x->touched);
    if (x->c) {
        chain_remove(&x->all);
        x->c->streams_count--;
    }
    server_buf_give(s, &x->in);
    server_buf_give(s, &x->out);
    server_buf_give(s, &x->head);
    server_buf_give(s, &x->tail);
    http1_fields_fini(&x->trailers);
    if (s->freed || s->spares2_count == SPARES_MAX || x->fields.text.cap > SPARE_BYTES_MAX) {
        exchange_destroy(x);
    } else {
        x->next_spare = s->spares2;
        s->spares2 = x;
        s->spares2_count++;
    }
    server_unref(s);
}

/* --- the request's body --- */

static body_state state_now(const http2_exchange *x)
{
    if (x->x.gone)
        return BODY_ABORTED;
    return http2_in_waiting(x) ? BODY_OPEN : x->in_state;
}

static size_t http2_readable(const http_exchange *p, body_state *ret_state)
{
    const http2_exchange *x = of(p);
    *ret_state = state_now(x);
    return p->gone ? 0 : http2_in_waiting(x);
}

static size_t http2_read(http_exchange *p, void *to, size_t n, body_state *ret_state)
{
    http2_exchange *x = of(p);
    size_t left = p->gone ? 0 : http2_in_waiting(x);
    n = n < left ? n : left;
    if (n > 0) {
        memcpy(to, x->in.p + x->in_at, n);
        x->in_at += n;
        if (x->in_at == x->in.n) {
            buf_clear(&x->in);
            x->in_at = 0;
        }
        if (x->id && x->in_state == BODY_OPEN) {
            x->in_since = loop_now(x->server->l);
            nghttp2_session_consume_stream(x->c->ng, x->id, n);
            server_dirty(&x->c->base);
        }
    } else if (!p->gone && x->expect && !p->started && x->id) {
        const nghttp2_nv status = {(uint8_t *)":status", (uint8_t *)"100", 7, 3,
                                   NGHTTP2_NV_FLAG_NONE};
        nghttp2_submit_headers(x->c->ng, NGHTTP2_FLAG_NONE, x->id, NULL, &status, 1, NULL);
        x->expect = false;
        server_dirty(&x->c->base);
    }
    *ret_state = state_now(x);
    return n;
}

/* --- fields: kept as lengths and bytes until they are submitted --- */

static void field_keep(buf *b, str name, str value)
{
    uint32_t lengths[2] = {(uint32_t)name.n, (uint32_t)value.n};
    if (!buf_reserve(b, sizeof lengths + name.n + value.n))
        return;
    buf_put(b, lengths, sizeof lengths);
    for (size_t i = 0; i < name.n; i++)
        b->p[b->n++] = (uint8_t)ascii_lower(name.p[i]);
    buf_put(b, value.p, value.n);
}

/* Fields as nghttp2 takes them; it copies. One thread: the place is used up at once. */
static nghttp2_nv *fields_listed(const buf *b, size_t *ret_count)
{
    static nghttp2_nv list[FIELDS_MAX];
    size_t n = 0;
    for (size_t at = 0; at < b->n; n++) {
        uint32_t lengths[2];
        must(n < FIELDS_MAX);
        memcpy(lengths, b->p + at, sizeof lengths);
        at += sizeof lengths;
        list[n] = (nghttp2_nv){b->p + at, b->p + at + lengths[0], lengths[0], lengths[1],
                               NGHTTP2_NV_FLAG_NONE};
        at += lengths[0] + lengths[1];
    }
    *ret_count = n;
    return list;
}

static void number_keep(buf *b, str name, uint64_t v)
{
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)v);
    field_keep(b, name, (str){digits, (size_t)n});
}

/* --- the response --- */

static bool http2_start(http_exchange *p, const http_field *fields, size_t count, err *e)
{
    http2_exchange *x = of(p);
    server_buf_take(x->server, &x->head);
    buf_clear(&x->head);
    number_keep(&x->head, S(":status"), p->status);
    for (size_t i = 0; i < count; i++)
        field_keep(&x->head, fields[i].name, fields[i].value);
    if (p->length >= 0 && p->status != 204)
        number_keep(&x->head, S("content-length"), (uint64_t)p->length);
    if (x->head.failed)
        return err_no_memory(e);
    x->undecided = true;
    x->out_since = loop_now(x->server->l);
    http2_touch(x);
    return true;
}

/* Without a body, or with one that comes piece by piece. */
static void head_submit(http2_exchange *x, bool empty)
{
    size_t n;
    const nghttp2_nv *fields = fields_listed(&x->head, &n);
    const nghttp2_data_provider body = {.source.ptr = x, .read_callback = http2_body_next};
    x->undecided = false;
    if (x->id && nghttp2_submit_response(x->c->ng, x->id, fields, n, empty ? NULL : &body) != 0)
        http2_conn_end(x->c, NGHTTP2_INTERNAL_ERROR, "no memory for a response");
    server_buf_give(x->server, &x->head);
}

void http2_head_decide(http2_exchange *x)
{
    if (x->undecided)
        head_submit(x, x->x.bodiless || x->x.length == 0);
}

static size_t http2_room(const http_exchange *p)
{
    http2_exchange *x = of(p);
    size_t waiting = http2_out_waiting(x);
    if (x->full || waiting >= HTTP_BUFFER_BYTES) {
        x->full = true;
        return 0;
    }
    return HTTP_BUFFER_BYTES - waiting;
}

/* There is something to frame now. */
static void body_resume(http2_exchange *x)
{
    if (x->deferred && x->id) {
        x->deferred = false;
        nghttp2_session_resume_data(x->c->ng, x->id);
    }
    http2_touch(x);
}

static void http2_write(http_exchange *p, const void *from, size_t n)
{
    http2_exchange *x = of(p);
    server_buf_take(x->server, &x->out);
    if (x->out_at > 0 && x->out.n + n > 2 * HTTP_BUFFER_BYTES) {
        buf_drop(&x->out, x->out_at);
        x->out_at = 0;
    }
    if (http2_out_waiting(x) == 0)
        x->out_since = loop_now(x->server->l);
    if (!buf_put(&x->out, from, n))
        x->cut = true;
    body_resume(x);
}

/* The handler is done with x, or x with it. */
static void exchange_done(http2_exchange *x)
{
    x->done = true;
    x->dispatched = x->lost = false;
    x->ended = true;
    x->server->active--;
    x->discard_left = DISCARD_BYTES_MAX;
    x->x.callbacks = (exchange_callbacks){0};
    if (x->id && x->in_state == BODY_OPEN && http2_in_waiting(x))
        nghttp2_session_consume_stream(x->c->ng, x->id, http2_in_waiting(x));
    server_buf_give(x->server, &x->in);
    x->in_at = 0;
    if (x->id)
        body_resume(x);
    else
        http2_exchange_give(x);
}

static void http2_end(http_exchange *p, const http_field *trailers, size_t count)
{
    http2_exchange *x = of(p);
    for (size_t i = 0; i < count && !p->bodiless; i++)
        if (!field_is_no_trailer(trailers[i].name))
            field_keep(&x->tail, trailers[i].name, trailers[i].value);
    x->cut |= !p->bodiless && p->length >= 0 && p->bytes_out < (uint64_t)p->length;
    if (x->undecided && x->out.n == 0 && x->tail.n == 0 && !x->cut) {
        if (p->length < 0 && !p->bodiless)
            number_keep(&x->head, S("content-length"), 0);
        head_submit(x, true);
    }
    exchange_done(x);
}

static void http2_abort(http_exchange *p, unsigned status, const http_field *fields, size_t count)
{
    http2_exchange *x = of(p);
    err e;
    if (x->undecided) { /* nothing of it was sent */
        x->undecided = p->started = false;
        p->bytes_out = 0;
        x->cut = false;
        buf_clear(&x->out);
        x->out_at = 0;
    }
    if (!p->started && (exchange_start(p, status, fields, count, 0, &e) ||
                        exchange_start(p, status, NULL, 0, 0, &e))) {
        http2_end(p, NULL, 0);
        return;
    }
    x->cut = true; /* what is in `out` goes first, as in HTTP/1.1 */
    if (!p->started && x->id)
        nghttp2_submit_rst_stream(x->c->ng, NGHTTP2_FLAG_NONE, x->id, NGHTTP2_INTERNAL_ERROR);
    exchange_done(x);
}

/* An answer without a handler. */
static void refusal_answer(http2_exchange *x)
{
    x->x.gone = false;
    x->server->active++; /* as a handler's */
    http2_abort(&x->x, x->refuse, NULL, 0);
}

void http2_refuse(http2_exchange *x, unsigned status, const char *reason)
{
    bool sent = x->x.started && !x->undecided;
    x->refuse = status;
    server_refused(&x->c->base, sent ? 0 : status, reason);
    if (x->dispatched) { /* first its handler has to let go: http2_free */
        x->lost = true;
        http2_touch(x);
    } else {
        refusal_answer(x);
    }
}

static void http2_free(http_exchange *p)
{
    http2_exchange *x = of(p);
    if (x->refuse && x->id && x->c)
        refusal_answer(x);
    else
        http2_exchange_give(x);
}

/* --- framing --- */

ssize_t http2_body_next(nghttp2_session *ng, int32_t id, uint8_t *to, size_t n, uint32_t *flags,
                        nghttp2_data_source *source, void *user)
{
    http2_exchange *x = source->ptr;
    size_t waiting = http2_out_waiting(x);
    if (waiting == 0 && x->cut)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* RST_STREAM */
    if (waiting == 0 && !x->ended) {
        x->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    n = n < waiting ? n : waiting;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n == waiting && x->ended && !x->cut) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (x->tail.n) {
            size_t count;
            const nghttp2_nv *fields = fields_listed(&x->tail, &count);
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            nghttp2_submit_trailer(ng, id, fields, count);
        }
    }
    return (ssize_t)n;
}

int http2_body_send(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t n,
                    nghttp2_data_source *source, void *user)
{
    http2_conn *c = user;
    http2_exchange *x = source->ptr;
    if (http2_out_full(c))
        return NGHTTP2_ERR_WOULDBLOCK;
    buf_put(&c->out, head, FRAME_HEAD_BYTES);
    if (n)
        buf_put(&c->out, x->out.p + x->out_at, n);
    x->out_at += n;
    x->out_since = loop_now(x->server->l);
    if (x->out_at == x->out.n) {
        buf_clear(&x->out);
        x->out_at = 0;
        if (x->ended)
            server_buf_give(x->server, &x->out);
    }
    if (x->full && http2_out_waiting(x) <= HTTP_BUFFER_BYTES / 2) {
        x->full = false;
        x->writable = true;
        http2_touch(x);
    }
    return c->out.failed ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

const exchange_ops http2_ops = {
    .read = http2_read,
    .readable = http2_readable,
    .start = http2_start,
    .room = http2_room,
    .write = http2_write,
    .end = http2_end,
    .abort = http2_abort,
    .free = http2_free,
};
