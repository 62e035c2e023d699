/* The exchange that a guest answers, through wasi:http/incoming-handler.
 *
 *   NONE --set(ok)--> STREAMING --finish--> DRAINING --all written--> ENDED
 *     |                  |  cut, dropped body, wrong length      |
 *     +--set(err)--> ERROR                                       +--client gone--> CUT
 *
 * The head is sent with the first byte, a flush, the end, or when the guest is left before that
 * (guest_http_left): so a body that turns out empty is answered with content-length 0 instead of an
 * empty chunked body, and head and first bytes leave in one piece. A body that was never asked for
 * is empty.
 *
 * Whose is the exchange: ours from guest_http_begin, except that in NONE and ERROR the caller
 * aborts it after guest_free (host.h). exchange_end and exchange_abort give it back; on_closed
 * takes it away. It is ended only when nobody reads the request body any more. */
#include "host/http_side.h"

#include <stdio.h>

struct http_side {
    http_exchange *x; /* NULL: given back or taken away */
    const http_request *head;
    guest_http_state state;
    unsigned status;
    body_source request;
    uint64_t request_bytes;       /* that it has read */
    bool request_live;            /* the guest holds something that reads the request body */
    bool started;                 /* the head was sent */
    bool returned;                /* guest_http_returned was called */
    uint64_t bytes_in, bytes_out; /* of bodies, once x has gone */
    outgoing_response *response;
    body_out *body; /* a reference; NULL: no body */
    char error[200];
};

static void side_gone(guest *g, http_side *s, guest_http_state state)
{
    s->bytes_in = exchange_bytes_in(s->x);
    s->bytes_out = exchange_bytes_out(s->x);
    s->x = NULL;
    s->state = state;
    if (s->body)
        body_out_close(g, s->body);
}

/* From a callback of the exchange: something changed that somebody may wait for. */
static void side_wake(guest *g, http_side *s, guest_http_state before)
{
    bool over = s->state != before && (s->state == GUEST_HTTP_ENDED || s->state == GUEST_HTTP_CUT);
    if (s->returned && over && g->callbacks && g->callbacks->on_wake)
        g->callbacks->on_wake(g->user);
    else if (!s->returned)
        guest_woken(g);
}

static void side_cut(guest *g, http_side *s)
{
    http_exchange *x = s->x;
    if (!x)
        return;
    side_gone(g, s, GUEST_HTTP_CUT);
    exchange_abort(x, 500, NULL, 0);
}

/* --- the head ------------------------------------------------------------------------------ */

static bool side_start(guest *g, http_side *s, int64_t content_length)
{
    const fields *h = s->response->headers;
    err e;
    if (s->started)
        return true;
    if (exchange_start(s->x, s->response->status, h->at, h->n, content_length, &e)) {
        s->started = true;
        s->status = s->response->status;
        return true;
    }
    /* Nothing was sent: it is still the caller's to answer with an error. */
    s->state = GUEST_HTTP_ERROR;
    snprintf(s->error, sizeof s->error, "HTTP-protocol-error: %.150s", e.text);
    if (s->body)
        body_out_close(g, s->body);
    return false;
}

static void side_head(guest *g, http_side *s)
{
    if (s->state == GUEST_HTTP_STREAMING && !s->started && s->x)
        side_start(g, s, -1);
}

/* --- the body, as its sink ----------------------------------------------------------------- */

static void side_end_if_done(guest *g, http_side *s)
{
    if (s->state != GUEST_HTTP_DRAINING || !s->x)
        return;
    if (s->body && queue_bytes(&s->body->early) > 0)
        return;
    if (s->request_live && !s->returned) {
        body_state state;
        if (exchange_readable(s->x, &state) > 0 || state == BODY_OPEN)
            return; /* the guest may still read the request */
    }
    const fields *t = s->body ? s->body->trailers : NULL;
    http_exchange *x = s->x;
    side_gone(g, s, GUEST_HTTP_ENDED);
    exchange_end(x, t ? t->at : NULL, t ? t->n : 0);
}

static size_t side_room(guest *g, void *user)
{
    http_side *s = user;
    if (!s->x)
        return 0;
    return s->started ? exchange_room(s->x) : HTTP_BUFFER_BYTES;
}

static size_t side_write(guest *g, void *user, const void *p, size_t n)
{
    http_side *s = user;
    bool overrun = false;
    if (!s->x || (!s->started && !side_start(g, s, -1)))
        return 0;
    size_t taken = exchange_write(s->x, p, n, &overrun);
    if (overrun)
        side_cut(g, s);
    return taken;
}

static void side_flush(guest *g, void *user) { side_head(g, user); }

static void side_finished(guest *g, void *user)
{
    http_side *s = user;
    bool empty = !s->body || (s->body->written == 0 && !s->body->trailers);
    if (!s->x || s->state != GUEST_HTTP_STREAMING)
        return;
    if (!side_start(g, s, empty ? 0 : -1))
        return;
    s->state = GUEST_HTTP_DRAINING;
    if (s->body)
        body_out_pump(g, s->body);
    side_end_if_done(g, s);
}

static void side_broken(guest *g, void *user)
{
    http_side *s = user;
    if (s->state != GUEST_HTTP_STREAMING)
        return;
    side_head(g, s);
    if (s->state == GUEST_HTTP_STREAMING)
        side_cut(g, s);
}

static const body_sink side_sink = {
    .room = side_room,
    .write = side_write,
    .flush = side_flush,
    .finished = side_finished,
    .broken = side_broken,
};

static bool status_has_no_body(const http_side *s)
{
    return s->response->status == 204 || s->response->status == 304 ||
           str_eq(s->head->method, S("HEAD"));
}

void http_side_respond(guest *g, outgoing_response *p)
{
    http_side *s = g->http;
    if (!s || s->state != GUEST_HTTP_NONE || !s->x) {
        if (p->body)
            body_out_close(g, p->body);
        object_free(g, &p->o);
        return;
    }
    s->response = p;
    s->state = GUEST_HTTP_STREAMING;
    if (fields_content_length(p->headers) == -2) {
        s->state = GUEST_HTTP_ERROR;
        snprintf(s->error, sizeof s->error, "HTTP-protocol-error: invalid content-length");
        if (p->body)
            body_out_close(g, p->body);
        return;
    }
    s->body = p->body;
    p->body = NULL;
    if (!s->body) {
        side_finished(g, s);
        return;
    }
    s->body->length_is_free = status_has_no_body(s);
    body_out_attach(g, s->body, &side_sink, s);
}

void http_side_fail(guest *g, uint32_t code, str text)
{
    http_side *s = g->http;
    if (!s || s->state != GUEST_HTTP_NONE || !s->x)
        return;
    s->state = GUEST_HTTP_ERROR;
    snprintf(s->error, sizeof s->error, "%s%s%.*s", http_error_name(code), text.n ? ": " : "",
             STR(str_head(text, 150)));
}

/* --- the request body ---------------------------------------------------------------------- */

static http_side *side_of(body_source *b)
{
    return (http_side *)(void *)((char *)b - offsetof(http_side, request));
}

static size_t request_readable(guest *g, body_source *b, body_state *ret_state)
{
    http_side *s = side_of(b);
    if (!s->x) {
        *ret_state = s->head->has_body ? BODY_ABORTED : BODY_END;
        return 0;
    }
    size_t n = exchange_readable(s->x, ret_state);
    if (!n && *ret_state == BODY_OPEN) /* reading, if only in vain, asks for "100 Continue" */
        exchange_read(s->x, NULL, 0, ret_state);
    uint64_t max = g->component->request_body_bytes_max;
    if (!max || s->request_bytes + n <= max)
        return n;
    n = (size_t)(max - s->request_bytes);
    *ret_state = n ? BODY_OPEN : BODY_ABORTED;
    return n;
}

static void request_read(guest *g, body_source *b, void *p, size_t n)
{
    http_side *s = side_of(b);
    body_state state;
    char unread[4096];
    while (n) {
        size_t want = p || n < sizeof unread ? n : sizeof unread;
        size_t got = exchange_read(s->x, p ? p : unread, want, &state);
        must(got > 0 && got <= want); /* it was readable */
        n -= got;
        s->request_bytes += got;
        if (p)
            p = (char *)p + got;
    }
}

static const http_field *request_trailers(guest *g, body_source *b, size_t *ret_n)
{
    http_side *s = side_of(b);
    *ret_n = 0;
    return s->x ? exchange_trailers(s->x, ret_n) : NULL;
}

static error_info request_error(guest *g, body_source *b)
{
    const http_side *s = side_of(b);
    body_state state;
    uint64_t max = g->component->request_body_bytes_max;
    if (s->x && max && s->request_bytes == max && exchange_readable(s->x, &state))
        return (error_info){.domain = ERROR_HTTP,
                            .code = HTTP_REQUEST_BODY_SIZE,
                            .has_number = true,
                            .number = max};
    return http_error(HTTP_CONNECTION_TERMINATED, (str){NULL, 0});
}

static void request_release(guest *g, body_source *b)
{
    http_side *s = side_of(b);
    s->request_live = false;
    if (!g->pool.closing)
        side_end_if_done(g, s);
}

static const body_source_ops request_ops = {
    .readable = request_readable,
    .read = request_read,
    .trailers = request_trailers,
    .error = request_error,
    .release = request_release,
};

/* --- callbacks of the exchange ------------------------------------------------------------- */

static void on_readable(void *user)
{
    guest *g = user;
    side_wake(g, g->http, g->http->state);
}

static void on_writable(void *user)
{
    guest *g = user;
    http_side *s = g->http;
    guest_http_state before = s->state;
    if (s->body)
        body_out_pump(g, s->body);
    side_end_if_done(g, s);
    side_wake(g, s, before);
}

static void on_closed(void *user)
{
    guest *g = user;
    http_side *s = g->http;
    http_exchange *x = s->x;
    guest_http_state before = s->state;
    side_gone(g, s, GUEST_HTTP_CUT);
    exchange_free(x);
    side_wake(g, s, before);
}

static const exchange_callbacks callbacks = {on_readable, on_writable, on_closed};

/* --- for the platform ---------------------------------------------------------------------- */

str guest_http_authority(const guest *g) { return g->http ? g->http->head->authority : (str){0}; }

const http_field *guest_http_fields(const guest *g, size_t *ret_count)
{
    *ret_count = g->http ? g->http->head->fields_count : 0;
    return g->http ? g->http->head->fields : NULL;
}

bool guest_http_begin(guest *g, http_exchange *x, const http_request *head, slot slots[2], err *e)
{
    http_side *s = pool_take(&g->pool, sizeof *s);
    if (!s)
        return err_no_memory(e);
    *s = (http_side){
        .x = x, .head = head, .request = {&request_ops}, .request_live = head->has_body};
    object *request = incoming_request_new(g, head, &s->request);
    object *param = response_outparam_new(g);
    if (!request || !param)
        return err_no_memory(e);
    g->http = s;
    g->chain_depth = host_chain_depth(x);
    uint32_t a = handles_add(&g->handles, &g->pool, (handle){.kind = HANDLE_HOST, .o = request});
    uint32_t b = handles_add(&g->handles, &g->pool, (handle){.kind = HANDLE_HOST, .o = param});
    if (!a || !b)
        return err_set(e, ERR_LIMIT, "the component may hold %u handles; a request needs two",
                       g->handles.live_max);
    slots[0].u64 = a;
    slots[1].u64 = b;
    exchange_bind(x, &callbacks, g);
    return true;
}

guest_http_state guest_http(const guest *g) { return g->http ? g->http->state : GUEST_HTTP_NONE; }

void guest_http_bytes(const guest *g, uint64_t *ret_in, uint64_t *ret_out)
{
    const http_side *s = g->http;
    *ret_in = !s ? 0 : s->x ? exchange_bytes_in(s->x) : s->bytes_in;
    *ret_out = !s ? 0 : s->x ? exchange_bytes_out(s->x) : s->bytes_out;
}

void guest_http_left(guest *g)
{
    if (g->http)
        side_head(g, g->http);
}

unsigned guest_http_status(const guest *g) { return g->http ? g->http->status : 0; }

str guest_http_error(const guest *g) { return g->http ? str_from(g->http->error) : S(""); }

void guest_http_returned(guest *g, bool trapped)
{
    http_side *s = g->http;
    if (!s || s->returned)
        return;
    s->returned = true;
    if (s->state == GUEST_HTTP_STREAMING) {
        side_head(g, s);
        if (s->state == GUEST_HTTP_STREAMING)
            side_cut(g, s);
    }
    side_end_if_done(g, s);
}

void http_side_free(guest *g)
{
    http_side *s = g->http;
    if (!s)
        return;
    if (s->x && s->started) {
        side_cut(g, s);
    } else if (s->x) { /* also a response that was set and not sent yet */
        if (s->body)
            body_out_close(g, s->body);
        exchange_bind(s->x, &(exchange_callbacks){0}, NULL);
    }
    g->http = NULL;
}
