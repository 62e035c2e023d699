/* What nghttp2 tells of a connection: heads, bodies, the ends of streams; and what is asked of it.
 *
 * Nothing here calls a handler: events are noted in their exchange, which is touched, and told when
 * nghttp2 is not at work.
 *
 * Flow control: a stream's window is HTTP_BUFFER_BYTES and opens as its handler takes the body, so
 * a slow handler stops its own client. The connection's window opens at once, so it does not stop
 * the other streams.
 *
 * Frames that make work and bring nobody anything are nuisance: PING, SETTINGS, PRIORITY,
 * RST_STREAM, WINDOW_UPDATE, empty DATA, CONTINUATION, invalid ones (unknown types cost nothing).
 * Each fills a bucket by what it costs, which empties with time and with each frame of a body that
 * is sent and each response that ends, because honest clients send WINDOW_UPDATE, PING and some
 * RST_STREAM as they take bodies. Over the brim the connection ends with ENHANCE_YOUR_CALM. nghttp2
 * has bounds of its own for most of these, which are wider.
 */
#include "http/http2_impl.h"

#include <stdlib.h>

enum {
    NUISANCE_MAX = 2000,
    NUISANCE_PER_S = 200,   /* that are forgotten */
    NUISANCE_RESET = 10,    /* a handler may have begun for nothing */
    NUISANCE_SETTINGS = 20, /* to be applied and acknowledged */
    NUISANCE_PING = 5,      /* to be answered */
    NUISANCE_INVALID = 10,  /* to be answered and logged */
    NUISANCE_OTHER = 1,
    GAIN = 5, /* of a body frame sent, or a response ended */
    SMALL_BYTES =
        16, /* a DATA frame below it, that ends nothing, is one that costs more than it brings */
    SETTINGS_MAX = 32, /* entries in one frame */
    ACKS_MAX = 500,    /* that wait for a client that does not read */
    CONTINUATIONS_MAX = 8,
    CONNECTION_WINDOW = 16 << 20, /* opens at once: large enough never to matter */
    HEAD_EXCESS = 4, /* times the largest head: then no more is decoded, the connection ends */
};

static http2_exchange *exchange_of(nghttp2_session *ng, int32_t id)
{
    return id ? nghttp2_session_get_stream_user_data(ng, id) : NULL;
}

/* RFC 9113 5.1.1: numbers of streams grow; nghttp2 passes over those that come too late. Told of
 * the last 64, because the head of trailers may come for one that we have closed long ago. */
static bool was_skipped(const http2_conn *c, int32_t id)
{
    int32_t before = (c->stream_last - id) / 2;
    return id % 2 == 1 && id < c->stream_last && before < 64 && !(c->opened >> before & 1);
}

static void stream_opened(http2_conn *c, int32_t id)
{
    int32_t step = (id - c->stream_last) / 2;
    c->opened = (step < 64 ? c->opened << step : 0) | 1;
    c->stream_last = id;
}

/* --- nuisance --- */

static void nuisance(http2_conn *c, uint32_t cost, const char *what)
{
    ns now = loop_now(c->base.server->l);
    uint64_t forgotten = (now - c->nuisance_at) * NUISANCE_PER_S / NS_PER_S;
    if (forgotten) {
        c->nuisance = forgotten < c->nuisance ? c->nuisance - (uint32_t)forgotten : 0;
        c->nuisance_at = now;
    }
    c->nuisance += cost;
    if (c->nuisance > NUISANCE_MAX)
        http2_conn_end(c, NGHTTP2_ENHANCE_YOUR_CALM, what);
}

static void gain(http2_conn *c) { c->nuisance = c->nuisance > GAIN ? c->nuisance - GAIN : 0; }

static int on_begin_frame(nghttp2_session *ng, const nghttp2_frame_hd *h, void *user)
{
    http2_conn *c = user;
    c->in_head &= h->type == NGHTTP2_CONTINUATION;
    switch (h->type) {
    case NGHTTP2_HEADERS:
        if (was_skipped(c, h->stream_id))
            http2_conn_end(c, NGHTTP2_PROTOCOL_ERROR, "a stream's number is too small");
        break;
    case NGHTTP2_DATA:
        if (h->length < SMALL_BYTES && !(h->flags & NGHTTP2_FLAG_END_STREAM))
            nuisance(c, NUISANCE_OTHER, "too many small DATA frames");
        break;
    case NGHTTP2_SETTINGS:
        nuisance(c, NUISANCE_SETTINGS, "too many SETTINGS frames");
        break;
    case NGHTTP2_PING:
        nuisance(c, NUISANCE_PING, "too many PING frames");
        break;
    case NGHTTP2_RST_STREAM:
        nuisance(c, NUISANCE_RESET, "too many streams reset");
        break;
    default:
        nuisance(c, NUISANCE_OTHER, "too many frames that bring nothing");
        break;
    }
    return 0;
}

static int on_invalid_frame(nghttp2_session *ng, const nghttp2_frame *f, int code, void *user)
{
    http2_conn *c = user;
    server_refused(&c->base, 0, nghttp2_strerror(code));
    nuisance(c, NUISANCE_INVALID, "too many invalid frames");
    return 0;
}

/* --- heads --- */

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *f, void *user)
{
    http2_conn *c = user;
    c->in_head = true;
    if (f->hd.type != NGHTTP2_HEADERS || f->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    stream_opened(c, f->hd.stream_id);
    /* All connections together have no more requests than HTTP/1.1 could have. */
    bool room = c->base.server->active < c->base.server->config.connections_max;
    http2_exchange *x = room ? http2_exchange_take(c->base.server) : NULL;
    if (!x) {
        nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, f->hd.stream_id, NGHTTP2_REFUSED_STREAM);
        return 0;
    }
    x->c = c;
    x->id = f->hd.stream_id;
    x->x.ops = &http2_ops;
    chain_append(&c->streams, &x->all);
    c->streams_count++;
    nghttp2_session_set_stream_user_data(ng, x->id, x);
    return 0;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *f, const uint8_t *name,
                     size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *user)
{
    http2_conn *c = user;
    http2_exchange *x = exchange_of(ng, f->hd.stream_id);
    if (!x || f->hd.type != NGHTTP2_HEADERS)
        return 0;
    bool trailer = f->headers.cat != NGHTTP2_HCAT_REQUEST;
    if (!http2_field_take(x, trailer, (str){(const char *)name, name_n},
                          (str){(const char *)value, value_n}))
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (x->head_bytes + x->trailer_bytes > HEAD_EXCESS * c->base.server->limits.head_bytes_max)
        http2_conn_end(c, NGHTTP2_ENHANCE_YOUR_CALM, "a head many times too large");
    return 0;
}

static int on_invalid_header(nghttp2_session *ng, const nghttp2_frame *f, const uint8_t *name,
                             size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags,
                             void *user)
{
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* PROTOCOL_ERROR, not passed over */
}

static void body_over(http2_exchange *x)
{
    x->in_state = BODY_END;
    x->news = true;
    http2_touch(x);
}

static void head_over(http2_exchange *x, const nghttp2_frame *f)
{
    bool ends = f->hd.flags & NGHTTP2_FLAG_END_STREAM;
    x->in_since = x->out_since = loop_now(x->server->l);
    if (f->headers.cat == NGHTTP2_HCAT_REQUEST) {
        x->in_state = ends ? BODY_END : BODY_OPEN;
        http2_head_check(x);
        http2_touch(x);
    } else if (ends) {
        http2_trailers_done(x);
        body_over(x);
        if (x->refuse &&
            x->dispatched) /* what came before was good, and is answered by a handler */
            http2_refuse(x, x->refuse, x->refuse_reason);
    }
}

/* --- bodies and ends --- */

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
                   void *user)
{
    http2_conn *c = user;
    http2_exchange *x = exchange_of(ng, id);
    nghttp2_session_consume_connection(ng, n);
    if (!x)
        return 0;
    x->in_since = loop_now(c->base.server->l);
    if (x->done) {
        if (n > x->discard_left) /* RFC 9113 8.1: the answer stands without the rest */
            return nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
        x->discard_left -= n;
        nghttp2_session_consume_stream(ng, id, n);
        return 0;
    }
    x->expect = false; /* it did not wait */
    x->x.bytes_in += n;
    x->news = true;
    http2_touch(x);
    server_buf_take(c->base.server, &x->in);
    if (x->in_at > 0 && x->in.n + n > HTTP_BUFFER_BYTES) {
        buf_drop(&x->in, x->in_at);
        x->in_at = 0;
    }
    if (x->x.bytes_in > c->base.server->limits.body_bytes_max)
        http2_refuse(x, 413, "the body is too large");
    else if (!buf_put(&x->in, p, n))
        http2_refuse(x, 503, "no memory for a body");
    return 0;
}

static int on_frame(nghttp2_session *ng, const nghttp2_frame *f, void *user)
{
    http2_conn *c = user;
    http2_exchange *x = exchange_of(ng, f->hd.stream_id);
    switch (f->hd.type) {
    case NGHTTP2_HEADERS:
        c->in_head = false;
        if (x)
            head_over(x, f);
        break;
    case NGHTTP2_DATA:
        if (x && f->hd.flags & NGHTTP2_FLAG_END_STREAM)
            body_over(x);
        break;
    case NGHTTP2_SETTINGS:
        c->greeted = true;
        break;
    case NGHTTP2_PING:
        /* The client has read the first GOAWAY; what it sent before has come. */
        if (f->hd.flags & NGHTTP2_FLAG_ACK && c->draining && !c->drained) {
            c->drained = true;
            nghttp2_submit_goaway(ng, NGHTTP2_FLAG_NONE,
                                  nghttp2_session_get_last_proc_stream_id(ng), NGHTTP2_NO_ERROR,
                                  NULL, 0);
        }
        break;
    default:
        break;
    }
    return 0;
}

static int on_frame_sent(nghttp2_session *ng, const nghttp2_frame *f, void *user)
{
    http2_conn *c = user;
    http2_exchange *x = exchange_of(ng, f->hd.stream_id);
    bool response = f->hd.type == NGHTTP2_DATA || f->hd.type == NGHTTP2_HEADERS;
    if (f->hd.type == NGHTTP2_DATA)
        gain(c);
    if (f->hd.type == NGHTTP2_GOAWAY && c->draining && !c->drained)
        nghttp2_submit_ping(ng, NGHTTP2_FLAG_NONE, NULL);
    if (x && response && f->hd.flags & NGHTTP2_FLAG_END_STREAM)
        gain(c);
    return 0;
}

static int on_stream_close(nghttp2_session *ng, int32_t id, uint32_t code, void *user)
{
    http2_exchange *x = exchange_of(ng, id);
    if (!x)
        return 0;
    x->id = 0;
    if (x->dispatched) {
        x->lost = true;
        http2_touch(x);
    } else if (!x->x.gone) { /* else its handler was told, and lets go */
        http2_exchange_give(x);
    }
    return 0;
}

/* --- a session --- */

static nghttp2_session_callbacks *callbacks_made(void)
{
    static nghttp2_session_callbacks *k;
    if (k || nghttp2_session_callbacks_new(&k) != 0)
        return k;
    nghttp2_session_callbacks_set_on_begin_frame_callback(k, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(k, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(k, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(k, on_invalid_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(k, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(k, on_frame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(k, on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(k, on_frame_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(k, on_stream_close);
    nghttp2_session_callbacks_set_send_data_callback(k, http2_body_send);
    return k;
}

static nghttp2_option *options_made(void)
{
    static nghttp2_option *o;
    if (o || nghttp2_option_new(&o) != 0)
        return o;
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_max_outbound_ack(o, ACKS_MAX);
    nghttp2_option_set_max_settings(o, SETTINGS_MAX);
    nghttp2_option_set_max_continuations(o, CONTINUATIONS_MAX);
    nghttp2_option_set_stream_reset_rate_limit(o, NUISANCE_MAX / NUISANCE_RESET,
                                               NUISANCE_PER_S / NUISANCE_RESET);
    return o;
}

nghttp2_session *http2_session_new(http2_conn *c)
{
    const http_server *s = c->base.server;
    nghttp2_session *ng = NULL;
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, (uint32_t)s->config.streams_max},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (uint32_t)HTTP_BUFFER_BYTES},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)s->limits.head_bytes_max},
    };
    if (!callbacks_made() || !options_made() ||
        nghttp2_session_server_new2(&ng, callbacks_made(), c, options_made()) != 0)
        return NULL;
    if (nghttp2_submit_settings(ng, NGHTTP2_FLAG_NONE, settings,
                                sizeof settings / sizeof *settings) == 0 &&
        nghttp2_session_set_local_window_size(ng, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW) == 0)
        return ng;
    nghttp2_session_del(ng);
    return NULL;
}
