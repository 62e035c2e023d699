/* What goes out of wasi:http/types: outgoing-response, outgoing-request, request-options,
 * outgoing-body, response-outparam, future-incoming-response; and wasi:http/outgoing-handler. */
#include "host/http_side.h"

/* --- strings in pool memory ---------------------------------------------------------------- */

str pool_str(pool *p, str s)
{
    char *copy = pool_take(p, s.n ? s.n : 1);
    if (copy && s.n)
        memcpy(copy, s.p, s.n);
    return (str){copy, copy ? s.n : 0};
}

void pool_str_give(pool *p, str s) { pool_give(p, (void *)(uintptr_t)s.p, s.n ? s.n : 1); }

/* --- outgoing bodies ----------------------------------------------------------------------- */

body_out *body_out_new(guest *g, bool is_request, int64_t content_length)
{
    body_out *b = pool_take(&g->pool, sizeof *b);
    if (b)
        *b = (body_out){.refs = 1, .is_request = is_request, .content_length = content_length};
    return b;
}

void body_out_unref(guest *g, body_out *b)
{
    if (!b || --b->refs > 0)
        return;
    queue_clear(&g->pool, &b->early);
    if (b->trailers)
        object_free(g, &b->trailers->o);
    pool_give(&g->pool, b, sizeof *b);
}

void body_out_pump(guest *g, body_out *b)
{
    while (b->sink && !b->closed && queue_bytes(&b->early) > 0) {
        size_t n = b->sink->write(g, b->sink_user, queue_front(&b->early), queue_bytes(&b->early));
        if (n == 0 || b->closed)
            return;
        queue_drop(&g->pool, &b->early, n);
    }
}

void body_out_attach(guest *g, body_out *b, const body_sink *sink, void *user)
{
    b->sink = sink;
    b->sink_user = user;
    body_out_pump(g, b);
    if (b->state == BODY_FINISHED)
        sink->finished(g, user);
    else if (b->state == BODY_BROKEN)
        sink->broken(g, user);
}

void body_out_close(guest *g, body_out *b)
{
    b->closed = true;
    queue_clear(&g->pool, &b->early);
}

static error_info size_error(const body_out *b, uint64_t n)
{
    return (error_info){.domain = ERROR_HTTP,
                        .code = b->is_request ? HTTP_REQUEST_BODY_SIZE : HTTP_RESPONSE_BODY_SIZE,
                        .has_number = true,
                        .number = n};
}

static void body_out_break(guest *g, body_out *b)
{
    if (b->state != BODY_WRITING)
        return;
    b->state = BODY_BROKEN;
    if (b->sink)
        b->sink->broken(g, b->sink_user);
}

typedef struct {
    object o;
    body_out *b;
    bool stream_taken;
} outgoing_body;

typedef struct {
    output_stream s;
    body_out *b; /* a reference of its own */
} body_output;

static stream_state body_room(guest *g, output_stream *s, size_t *ret_n, error_info *ret_error)
{
    body_out *b = ((body_output *)s)->b;
    if (b->closed || b->state == BODY_BROKEN)
        return STREAM_CLOSED;
    if (b->sink) {
        *ret_n = queue_bytes(&b->early) ? 0 : b->sink->room(g, b->sink_user);
        return b->closed ? STREAM_CLOSED : STREAM_OPEN;
    }
    if (queue_bytes(&b->early) < HOST_EARLY_BODY_BYTES_MAX) {
        *ret_n = HOST_EARLY_BODY_BYTES_MAX - queue_bytes(&b->early);
        return STREAM_OPEN;
    }
    *ret_error = http_error(HTTP_INTERNAL_ERROR,
                            S("the body was written before its head was sent, and is longer than "
                              "the buffer for that; call response-outparam.set or "
                              "outgoing-handler.handle first"));
    return STREAM_FAILED;
}

/* To the sink as far as it takes bytes; the rest waits in `early`. */
static bool body_pass(guest *g, body_out *b, const uint8_t *p, size_t n)
{
    size_t taken = 0;
    if (b->sink && queue_bytes(&b->early) == 0) {
        static const uint8_t zeroes[4096];
        while (taken < n && !b->closed) {
            size_t want = n - taken;
            if (!p && want > sizeof zeroes)
                want = sizeof zeroes;
            size_t k = b->sink->write(g, b->sink_user, p ? p + taken : zeroes, want);
            if (k == 0)
                break;
            taken += k;
        }
    }
    return b->closed || taken == n ||
           queue_put(&g->pool, &b->early, p ? p + taken : NULL, n - taken);
}

static stream_state body_write(guest *g, output_stream *s, const void *p, size_t n,
                               error_info *ret_error)
{
    body_out *b = ((body_output *)s)->b;
    if (b->closed || b->state == BODY_BROKEN)
        return STREAM_CLOSED;
    uint64_t max = b->is_request ? 0 : g->component->response_body_bytes_max;
    if ((b->content_length >= 0 && b->written + n > (uint64_t)b->content_length) ||
        (max && b->written + n > max)) {
        *ret_error = size_error(b, b->written + n);
        body_out_break(g, b);
        return STREAM_FAILED;
    }
    b->written += n;
    g->moved += n;
    if (!body_pass(g, b, p, n)) {
        *ret_error = http_error(HTTP_INTERNAL_ERROR, S("no memory for the body"));
        return STREAM_FAILED;
    }
    return b->closed ? STREAM_CLOSED : STREAM_OPEN;
}

static stream_state body_flush(guest *g, output_stream *s, bool *ret_done, error_info *ret_error)
{
    body_out *b = ((body_output *)s)->b;
    if (b->closed || b->state == BODY_BROKEN)
        return STREAM_CLOSED;
    if (b->sink) {
        body_out_pump(g, b);
        if (b->sink->flush)
            b->sink->flush(g, b->sink_user);
        *ret_done = queue_bytes(&b->early) == 0;
    }
    return STREAM_OPEN;
}

static void body_output_release(guest *g, output_stream *s)
{
    body_out_unref(g, ((body_output *)s)->b);
}

static const output_ops body_output_ops = {
    .room = body_room,
    .write = body_write,
    .flush = body_flush,
    .release = body_output_release,
};

/* Dropped without finish: the body is incomplete. */
static void outgoing_body_drop(guest *g, object *o)
{
    outgoing_body *h = (outgoing_body *)o;
    if (!h->b)
        return;
    if (!g->pool.closing)
        body_out_break(g, h->b);
    body_out_unref(g, h->b);
}

const host_resource outgoing_body_resource = {"outgoing-body", outgoing_body_drop};

static host_status outgoing_body_write(host_call *c)
{
    outgoing_body *h;
    place r;
    if (!ARG_BORROW(c, 0, outgoing_body_resource, &h) || !result_place(c, &r))
        return HOST_TRAP;
    if (h->stream_taken) {
        put_case(c, r, 1);
        return HOST_DONE;
    }
    body_output *s = OBJECT_NEW(c->g, body_output, output_stream_resource, h);
    if (!s)
        return call_no_memory(c);
    s->s.ops = &body_output_ops;
    s->b = h->b;
    h->b->refs++;
    h->stream_taken = true;
    return put_handle(c, put_case(c, r, 0), &s->s.o) ? HOST_DONE : HOST_TRAP;
}

static host_status outgoing_body_finish(host_call *c)
{
    outgoing_body *h;
    fields *trailers = NULL;
    uint32_t some;
    place r;
    if (!ARG_TAKE(c, 0, outgoing_body_resource, &h))
        return HOST_TRAP;
    body_out *b = h->b;
    h->b = NULL;
    object_free(c->g, &h->o);
    if (!arg_case(c, 1, 2, &some) || (some && !ARG_TAKE(c, 2, fields_resource, &trailers)) ||
        !result_place(c, &r)) {
        if (trailers)
            object_free(c->g, &trailers->o);
        body_out_break(c->g, b);
        body_out_unref(c->g, b);
        return HOST_TRAP;
    }
    error_info info = size_error(b, b->written);
    bool short_body = b->content_length >= 0 && b->written != (uint64_t)b->content_length &&
                      !(b->length_is_free && b->written == 0);
    if (short_body || b->state != BODY_WRITING) {
        if (trailers)
            object_free(c->g, &trailers->o);
        body_out_break(c->g, b);
        body_out_unref(c->g, b);
        return put_http_error(c, put_case(c, r, 1), &info) ? HOST_DONE : HOST_TRAP;
    }
    b->trailers = trailers;
    b->state = BODY_FINISHED;
    if (b->sink)
        b->sink->finished(c->g, b->sink_user);
    body_out_unref(c->g, b);
    put_case(c, r, 0);
    return HOST_DONE;
}

/* body(): the body, once. */
static host_status take_body(host_call *c, bool *taken, body_out **body, const fields *headers,
                             bool is_request)
{
    place r;
    if (!result_place(c, &r))
        return HOST_TRAP;
    if (*taken) {
        put_case(c, r, 1);
        return HOST_DONE;
    }
    int64_t length = fields_content_length(headers);
    outgoing_body *h = OBJECT_NEW(c->g, outgoing_body, outgoing_body_resource, NULL);
    body_out *b = h ? body_out_new(c->g, is_request, length < 0 ? -1 : length) : NULL;
    if (!b) {
        object_free(c->g, (object *)h);
        return call_no_memory(c);
    }
    h->b = b;
    b->refs++;
    *body = b;
    *taken = true;
    return put_handle(c, put_case(c, r, 0), &h->o) ? HOST_DONE : HOST_TRAP;
}

/* --- outgoing-response --------------------------------------------------------------------- */

static void outgoing_response_drop(guest *g, object *o)
{
    outgoing_response *p = (outgoing_response *)o;
    if (p->headers)
        object_free(g, &p->headers->o);
    body_out_unref(g, p->body);
}

const host_resource outgoing_response_resource = {"outgoing-response", outgoing_response_drop};

static host_status outgoing_response_constructor(host_call *c)
{
    fields *headers;
    if (!ARG_TAKE(c, 0, fields_resource, &headers))
        return HOST_TRAP;
    outgoing_response *p = OBJECT_NEW(c->g, outgoing_response, outgoing_response_resource, NULL);
    if (!p) {
        object_free(c->g, &headers->o);
        return call_no_memory(c);
    }
    p->headers = headers;
    p->status = 200;
    return return_handle(c, &p->o);
}

static host_status outgoing_response_status(host_call *c)
{
    outgoing_response *p;
    return ARG_BORROW(c, 0, outgoing_response_resource, &p) ? return_u32(c, p->status) : HOST_TRAP;
}

static host_status outgoing_response_set_status(host_call *c)
{
    outgoing_response *p;
    uint32_t status = c->slots[1].u32 & 0xffff;
    if (!ARG_BORROW(c, 0, outgoing_response_resource, &p))
        return HOST_TRAP;
    if (status < 100 || status > 999)
        return return_u32(c, 1);
    p->status = (uint16_t)status;
    return return_u32(c, 0);
}

static host_status outgoing_response_headers(host_call *c)
{
    outgoing_response *p;
    if (!ARG_BORROW(c, 0, outgoing_response_resource, &p))
        return HOST_TRAP;
    return return_handle(c, (object *)fields_view(c->g, p->headers->at, p->headers->n, &p->o));
}

static host_status outgoing_response_body(host_call *c)
{
    outgoing_response *p;
    if (!ARG_BORROW(c, 0, outgoing_response_resource, &p))
        return HOST_TRAP;
    return take_body(c, &p->body_taken, &p->body, p->headers, false);
}

/* --- response-outparam --------------------------------------------------------------------- */

const host_resource response_outparam_resource = {"response-outparam", NULL};

object *response_outparam_new(guest *g)
{
    return object_new(g, &response_outparam_resource, sizeof(object), NULL);
}

/* Checks a flat value at slot i as lifting would: discriminants and strings. The first string is
 * returned. Resources and lists do not occur. */
static bool check_flat(host_call *c, const type *t, unsigned i, str *ret_text)
{
    const type *payload = NULL;
    uint32_t k, n = t->kind == TYPE_OPTION ? 2 : t->fields_count;
    str s;
    switch (t->kind) {
    case TYPE_STRING:
        if (!arg_string(c, i, &s))
            return false;
        if (!ret_text->p)
            *ret_text = s;
        return true;
    case TYPE_RECORD:
        for (uint32_t f = 0; f < t->fields_count; f++) {
            if (!check_flat(c, t->fields[f].type, i, ret_text))
                return false;
            i += t->fields[f].type->flat_count;
        }
        return true;
    case TYPE_OPTION:
    case TYPE_VARIANT:
        if (!arg_case(c, i, n, &k))
            return false;
        payload = t->kind == TYPE_VARIANT ? t->fields[k].type : k ? t->elem : NULL;
        return !payload || check_flat(c, payload, i + 1, ret_text);
    default:
        return true;
    }
}

static host_status response_outparam_set(host_call *c)
{
    object *param;
    outgoing_response *p;
    uint32_t is_error;
    if (!ARG_TAKE(c, 0, response_outparam_resource, &param))
        return HOST_TRAP;
    object_free(c->g, param);
    if (!arg_case(c, 1, 2, &is_error))
        return HOST_TRAP;
    if (is_error) {
        str text = {NULL, 0};
        if (!check_flat(c, c->import->type->params[1].type->fields[1].type, 2, &text))
            return HOST_TRAP;
        http_side_fail(c->g, c->slots[2].u32, text);
        return HOST_DONE;
    }
    if (!ARG_TAKE(c, 2, outgoing_response_resource, &p))
        return HOST_TRAP;
    http_side_respond(c->g, p);
    return HOST_DONE;
}

/* --- outgoing-request ---------------------------------------------------------------------- */

static void outgoing_request_drop(guest *g, object *o)
{
    outgoing_request *q = (outgoing_request *)o;
    if (q->headers)
        object_free(g, &q->headers->o);
    body_out_unref(g, q->body);
    pool_str_give(&g->pool, q->method);
    pool_str_give(&g->pool, q->path);
    pool_str_give(&g->pool, q->scheme);
    pool_str_give(&g->pool, q->authority);
}

const host_resource outgoing_request_resource = {"outgoing-request", outgoing_request_drop};

static host_status outgoing_request_constructor(host_call *c)
{
    fields *headers;
    if (!ARG_TAKE(c, 0, fields_resource, &headers))
        return HOST_TRAP;
    outgoing_request *q = OBJECT_NEW(c->g, outgoing_request, outgoing_request_resource, NULL);
    if (!q || !(q->method = pool_str(&c->g->pool, S("GET"))).p) {
        object_free(c->g, (object *)q);
        object_free(c->g, &headers->o);
        return call_no_memory(c);
    }
    q->headers = headers;
    return return_handle(c, &q->o);
}

static host_status outgoing_request_body(host_call *c)
{
    outgoing_request *q;
    if (!ARG_BORROW(c, 0, outgoing_request_resource, &q))
        return HOST_TRAP;
    return take_body(c, &q->body_taken, &q->body, q->headers, true);
}

static host_status outgoing_request_headers(host_call *c)
{
    outgoing_request *q;
    if (!ARG_BORROW(c, 0, outgoing_request_resource, &q))
        return HOST_TRAP;
    return return_handle(c, (object *)fields_view(c->g, q->headers->at, q->headers->n, &q->o));
}

static bool outgoing_begin(host_call *c, outgoing_request **ret, place *ret_place)
{
    return ARG_BORROW(c, 0, outgoing_request_resource, ret) && result_place(c, ret_place);
}

static host_status outgoing_request_method(host_call *c)
{
    outgoing_request *q;
    place r;
    return outgoing_begin(c, &q, &r) && put_method(c, r, q->method) ? HOST_DONE : HOST_TRAP;
}

static host_status outgoing_request_path(host_call *c)
{
    outgoing_request *q;
    place r;
    return outgoing_begin(c, &q, &r) && put_option_string(c, r, q->path) ? HOST_DONE : HOST_TRAP;
}

static host_status outgoing_request_scheme(host_call *c)
{
    outgoing_request *q;
    place r;
    return outgoing_begin(c, &q, &r) && put_option_scheme(c, r, q->scheme) ? HOST_DONE : HOST_TRAP;
}

static host_status outgoing_request_authority(host_call *c)
{
    outgoing_request *q;
    place r;
    return outgoing_begin(c, &q, &r) && put_option_string(c, r, q->authority) ? HOST_DONE
                                                                              : HOST_TRAP;
}

/* Replaces *field by a copy of s (p NULL: by none); answers a result without payloads. */
static host_status replace(host_call *c, str *field, str s, bool valid)
{
    str copy = {NULL, 0};
    if (!valid)
        return return_u32(c, 1);
    if (s.p && !(copy = pool_str(&c->g->pool, s)).p)
        return call_no_memory(c);
    pool_str_give(&c->g->pool, *field);
    *field = copy;
    return return_u32(c, 0);
}

static host_status outgoing_request_set_method(host_call *c)
{
    static const str names[] = {{"GET", 3},     {"HEAD", 4},   {"POST", 4},
                                {"PUT", 3},     {"DELETE", 6}, {"CONNECT", 7},
                                {"OPTIONS", 7}, {"TRACE", 5},  {"PATCH", 5}};
    enum { OTHER = sizeof names / sizeof *names };
    outgoing_request *q;
    uint32_t k;
    str s;
    if (!ARG_BORROW(c, 0, outgoing_request_resource, &q) || !arg_case(c, 1, OTHER + 1, &k))
        return HOST_TRAP;
    if (k < OTHER)
        return replace(c, &q->method, names[k], true);
    return arg_string(c, 2, &s) ? replace(c, &q->method, s, http_token_is_valid(s)) : HOST_TRAP;
}

/* Visible ASCII and UTF-8 without blanks, and nothing that ends a request line or a URL part. */
static bool uri_text_is_valid(str s, const char *excluded)
{
    for (size_t i = 0; i < s.n; i++) {
        uint8_t ch = (uint8_t)s.p[i];
        if (ch <= ' ' || ch == 127 || strchr(excluded, ch))
            return false;
    }
    return s.n <= HTTP_URI_BYTES_MAX;
}

static host_status outgoing_request_set_path(host_call *c)
{
    outgoing_request *q;
    str s;
    if (!ARG_BORROW(c, 0, outgoing_request_resource, &q) || !arg_option_string(c, 1, &s))
        return HOST_TRAP;
    bool valid = !s.p || (uri_text_is_valid(s, "#<>\"\\^`{|}") &&
                          (s.n == 0 || s.p[0] == '/' || s.p[0] == '?' || str_eq(s, S("*"))));
    return replace(c, &q->path, s, valid);
}

static bool scheme_is_valid(str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char ch = s.p[i];
        bool letter = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
        if (!letter && (i == 0 || !((ch >= '0' && ch <= '9') || strchr("+-.", ch))))
            return false;
    }
    return s.n > 0 && s.n <= 64;
}

static host_status outgoing_request_set_scheme(host_call *c)
{
    outgoing_request *q;
    uint32_t some, k;
    str s = {NULL, 0};
    if (!ARG_BORROW(c, 0, outgoing_request_resource, &q) || !arg_case(c, 1, 2, &some))
        return HOST_TRAP;
    if (!some)
        return replace(c, &q->scheme, s, true);
    if (!arg_case(c, 2, 3, &k) || (k == 2 && !arg_string(c, 3, &s)))
        return HOST_TRAP;
    if (k < 2)
        s = k ? S("https") : S("http");
    return replace(c, &q->scheme, s, scheme_is_valid(s));
}

/* host [":" port], no user information: nothing of it may name another host than it seems to. */
static bool authority_is_valid(str s)
{
    uint64_t port;
    size_t at = str_rfind(s, ':');
    if (s.n == 0 || !uri_text_is_valid(s, "/?#@<>\"\\^`{|}%"))
        return false;
    if (s.p[0] == '[') {
        size_t end = str_find(s, ']');
        if (end == s.n || (end + 1 < s.n && s.p[end + 1] != ':'))
            return false;
        at = end + 1;
    } else if (at != str_find(s, ':') || at == 0) {
        return false;
    }
    return at >= s.n || at + 1 == s.n || str_to_u64(str_skip(s, at + 1), 65535, &port);
}

static host_status outgoing_request_set_authority(host_call *c)
{
    outgoing_request *q;
    str s;
    if (!ARG_BORROW(c, 0, outgoing_request_resource, &q) || !arg_option_string(c, 1, &s))
        return HOST_TRAP;
    return replace(c, &q->authority, s, !s.p || authority_is_valid(s));
}

/* --- request-options ----------------------------------------------------------------------- */

const host_resource request_options_resource = {"request-options", NULL};

static host_status request_options_constructor(host_call *c)
{
    request_options *o = OBJECT_NEW(c->g, request_options, request_options_resource, NULL);
    if (o)
        for (int i = 0; i < 3; i++)
            o->timeouts[i] = UINT64_MAX;
    return return_handle(c, (object *)o);
}

static host_status get_timeout(host_call *c, int which)
{
    request_options *o;
    place r;
    if (!ARG_BORROW(c, 0, request_options_resource, &o) || !result_place(c, &r))
        return HOST_TRAP;
    bool some = o->timeouts[which] != UINT64_MAX;
    place value = put_case(c, r, some);
    if (some)
        put_int(c, value, o->timeouts[which]);
    return HOST_DONE;
}

static host_status set_timeout(host_call *c, int which)
{
    request_options *o;
    uint32_t some;
    if (!ARG_BORROW(c, 0, request_options_resource, &o) || !arg_case(c, 1, 2, &some))
        return HOST_TRAP;
    uint64_t v = c->slots[2].u64;
    o->timeouts[which] = some ? (v == UINT64_MAX ? v - 1 : v) : UINT64_MAX;
    return return_u32(c, 0);
}

static host_status get_connect_timeout(host_call *c) { return get_timeout(c, 0); }
static host_status set_connect_timeout(host_call *c) { return set_timeout(c, 0); }
static host_status get_first_byte_timeout(host_call *c) { return get_timeout(c, 1); }
static host_status set_first_byte_timeout(host_call *c) { return set_timeout(c, 1); }
static host_status get_between_bytes_timeout(host_call *c) { return get_timeout(c, 2); }
static host_status set_between_bytes_timeout(host_call *c) { return set_timeout(c, 2); }

#define RESPONSE "func(self: borrow<outgoing-response>"
#define REQUEST  "func(self: borrow<outgoing-request>"
#define OPTIONS  "func(self: borrow<request-options>"

const host_func http_outgoing_funcs[] = {
    {"[constructor]outgoing-response", "func(headers: headers) -> outgoing-response",
     outgoing_response_constructor},
    {"[method]outgoing-response.status-code", RESPONSE ") -> status-code",
     outgoing_response_status},
    {"[method]outgoing-response.set-status-code", RESPONSE ", status-code: status-code) -> result",
     outgoing_response_set_status},
    {"[method]outgoing-response.headers", RESPONSE ") -> headers", outgoing_response_headers},
    {"[method]outgoing-response.body", RESPONSE ") -> result<outgoing-body>",
     outgoing_response_body},
    {"[static]response-outparam.set",
     "func(param: response-outparam, response: result<outgoing-response, error-code>)",
     response_outparam_set},
    {"[method]outgoing-body.write", "func(self: borrow<outgoing-body>) -> result<output-stream>",
     outgoing_body_write},
    {"[static]outgoing-body.finish",
     "func(this: outgoing-body, trailers: option<trailers>) -> result<_, error-code>",
     outgoing_body_finish},
    {"[constructor]outgoing-request", "func(headers: headers) -> outgoing-request",
     outgoing_request_constructor},
    {"[method]outgoing-request.body", REQUEST ") -> result<outgoing-body>", outgoing_request_body},
    {"[method]outgoing-request.method", REQUEST ") -> method", outgoing_request_method},
    {"[method]outgoing-request.set-method", REQUEST ", method: method) -> result",
     outgoing_request_set_method},
    {"[method]outgoing-request.path-with-query", REQUEST ") -> option<string>",
     outgoing_request_path},
    {"[method]outgoing-request.set-path-with-query",
     REQUEST ", path-with-query: option<string>) -> result", outgoing_request_set_path},
    {"[method]outgoing-request.scheme", REQUEST ") -> option<scheme>", outgoing_request_scheme},
    {"[method]outgoing-request.set-scheme", REQUEST ", scheme: option<scheme>) -> result",
     outgoing_request_set_scheme},
    {"[method]outgoing-request.authority", REQUEST ") -> option<string>",
     outgoing_request_authority},
    {"[method]outgoing-request.set-authority", REQUEST ", authority: option<string>) -> result",
     outgoing_request_set_authority},
    {"[method]outgoing-request.headers", REQUEST ") -> headers", outgoing_request_headers},
    {"[constructor]request-options", "func() -> request-options", request_options_constructor},
    {"[method]request-options.connect-timeout", OPTIONS ") -> option<duration>",
     get_connect_timeout},
    {"[method]request-options.set-connect-timeout",
     OPTIONS ", duration: option<duration>) -> result", set_connect_timeout},
    {"[method]request-options.first-byte-timeout", OPTIONS ") -> option<duration>",
     get_first_byte_timeout},
    {"[method]request-options.set-first-byte-timeout",
     OPTIONS ", duration: option<duration>) -> result", set_first_byte_timeout},
    {"[method]request-options.between-bytes-timeout", OPTIONS ") -> option<duration>",
     get_between_bytes_timeout},
    {"[method]request-options.set-between-bytes-timeout",
     OPTIONS ", duration: option<duration>) -> result", set_between_bytes_timeout},
    /* 0.2.0-rc-2023-11-10: other names, the same nanoseconds, as in Spin */
    {"[method]request-options.connect-timeout-ms", OPTIONS ") -> option<duration>",
     get_connect_timeout},
    {"[method]request-options.set-connect-timeout-ms", OPTIONS ", ms: option<duration>) -> result",
     set_connect_timeout},
    {"[method]request-options.first-byte-timeout-ms", OPTIONS ") -> option<duration>",
     get_first_byte_timeout},
    {"[method]request-options.set-first-byte-timeout-ms",
     OPTIONS ", ms: option<duration>) -> result", set_first_byte_timeout},
    {"[method]request-options.between-bytes-timeout-ms", OPTIONS ") -> option<duration>",
     get_between_bytes_timeout},
    {"[method]request-options.set-between-bytes-timeout-ms",
     OPTIONS ", ms: option<duration>) -> result", set_between_bytes_timeout},
    {0},
};
