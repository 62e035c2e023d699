/* What comes in of wasi:http/types: incoming-request, incoming-response, incoming-body,
 * future-trailers, and the error-code that says why nothing came.
 *
 * A body is read through a body_source, whoever feeds it. Its handle moves: incoming-body has it,
 * its stream is a child and borrows it, and future-trailers takes it over from finish. */
#include "host/wasi_http.h"

#include "host/http_side.h"

/* --- error-code ---------------------------------------------------------------------------- */

static const char *const error_names[HTTP_ERROR_CODES] = {
    "DNS-timeout",
    "DNS-error",
    "destination-not-found",
    "destination-unavailable",
    "destination-IP-prohibited",
    "destination-IP-unroutable",
    "connection-refused",
    "connection-terminated",
    "connection-timeout",
    "connection-read-timeout",
    "connection-write-timeout",
    "connection-limit-reached",
    "TLS-protocol-error",
    "TLS-certificate-error",
    "TLS-alert-received",
    "HTTP-request-denied",
    "HTTP-request-length-required",
    "HTTP-request-body-size",
    "HTTP-request-method-invalid",
    "HTTP-request-URI-invalid",
    "HTTP-request-URI-too-long",
    "HTTP-request-header-section-size",
    "HTTP-request-header-size",
    "HTTP-request-trailer-section-size",
    "HTTP-request-trailer-size",
    "HTTP-response-incomplete",
    "HTTP-response-header-section-size",
    "HTTP-response-header-size",
    "HTTP-response-body-size",
    "HTTP-response-trailer-section-size",
    "HTTP-response-trailer-size",
    "HTTP-response-transfer-coding",
    "HTTP-response-content-coding",
    "HTTP-response-timeout",
    "HTTP-upgrade-failed",
    "HTTP-protocol-error",
    "loop-detected",
    "configuration-error",
    "internal-error",
};

const char *http_error_name(uint32_t code)
{
    return code < HTTP_ERROR_CODES ? error_names[code] : NULL;
}

/* Payloads are options and records of options: the first string gets the text, integers the
 * number. */
static bool put_payload(host_call *c, place p, const error_info *info)
{
    if (!p.type)
        return true;
    if (p.type->kind == TYPE_RECORD) {
        for (uint32_t i = 0; i < p.type->fields_count; i++)
            if (!put_payload(c, place_field(p, i), info))
                return false;
        return true;
    }
    must(p.type->kind == TYPE_OPTION);
    const type *elem = p.type->elem;
    if (elem->kind == TYPE_STRING) {
        if (!info->text.n)
            return put_case(c, p, 0), true;
        return put_string(c, put_case(c, p, 1), info->text);
    }
    if (elem->kind == TYPE_RECORD)
        return put_payload(c, put_case(c, p, 1), info);
    place value = put_case(c, p, info->has_number);
    if (info->has_number)
        put_int(c, value, info->number);
    return true;
}

bool put_http_error(host_call *c, place p, const error_info *info)
{
    return put_payload(c, put_case(c, p, info->code), info);
}

static host_status http_error_code(host_call *c)
{
    error_object *o;
    place r;
    if (!ARG_BORROW(c, 0, error_resource, &o) || !result_place(c, &r))
        return HOST_TRAP;
    if (o->info.domain != ERROR_HTTP) {
        put_case(c, r, 0);
        return HOST_DONE;
    }
    return put_http_error(c, put_case(c, r, 1), &o->info) ? HOST_DONE : HOST_TRAP;
}

/* --- incoming-request ---------------------------------------------------------------------- */

typedef struct {
    object o;
    const http_request *head;
    body_source *body; /* NULL: consumed */
} incoming_request;

static void incoming_request_drop(guest *g, object *o)
{
    incoming_request *r = (incoming_request *)o;
    if (r->body)
        r->body->ops->release(g, r->body);
}

const host_resource incoming_request_resource = {"incoming-request", incoming_request_drop};

object *incoming_request_new(guest *g, const http_request *head, body_source *body)
{
    incoming_request *r = OBJECT_NEW(g, incoming_request, incoming_request_resource, NULL);
    if (r) {
        r->head = head;
        r->body = body;
    }
    return (object *)r;
}

bool put_method(host_call *c, place p, str method)
{
    static const str names[] = {{"GET", 3},     {"HEAD", 4},   {"POST", 4},
                                {"PUT", 3},     {"DELETE", 6}, {"CONNECT", 7},
                                {"OPTIONS", 7}, {"TRACE", 5},  {"PATCH", 5}};
    enum { OTHER = sizeof names / sizeof *names };
    for (uint32_t i = 0; i < OTHER; i++)
        if (str_eq(method, names[i])) {
            put_case(c, p, i);
            return true;
        }
    return put_string(c, put_case(c, p, OTHER), method);
}

bool put_option_string(host_call *c, place p, str s)
{
    if (!s.p || !str_is_utf8(s))
        return put_case(c, p, 0), true;
    return put_string(c, put_case(c, p, 1), s);
}

bool put_option_scheme(host_call *c, place p, str s)
{
    if (!s.p || !str_is_utf8(s))
        return put_case(c, p, 0), true;
    place scheme = put_case(c, p, 1);
    if (str_eq_nocase(s, S("http")))
        return put_case(c, scheme, 0), true;
    if (str_eq_nocase(s, S("https")))
        return put_case(c, scheme, 1), true;
    return put_string(c, put_case(c, scheme, 2), s);
}

static bool request_begin(host_call *c, incoming_request **ret, place *ret_place)
{
    return ARG_BORROW(c, 0, incoming_request_resource, ret) && result_place(c, ret_place);
}

static host_status incoming_request_method(host_call *c)
{
    incoming_request *q;
    place r;
    return request_begin(c, &q, &r) && put_method(c, r, q->head->method) ? HOST_DONE : HOST_TRAP;
}

static host_status incoming_request_path(host_call *c)
{
    incoming_request *q;
    place r;
    return request_begin(c, &q, &r) && put_option_string(c, r, q->head->target) ? HOST_DONE
                                                                                : HOST_TRAP;
}

static host_status incoming_request_scheme(host_call *c)
{
    incoming_request *q;
    place r;
    return request_begin(c, &q, &r) && put_option_scheme(c, r, q->head->scheme) ? HOST_DONE
                                                                                : HOST_TRAP;
}

static host_status incoming_request_authority(host_call *c)
{
    incoming_request *q;
    place r;
    return request_begin(c, &q, &r) && put_option_string(c, r, q->head->authority) ? HOST_DONE
                                                                                   : HOST_TRAP;
}

static host_status incoming_request_headers(host_call *c)
{
    incoming_request *q;
    if (!ARG_BORROW(c, 0, incoming_request_resource, &q))
        return HOST_TRAP;
    return return_handle(
        c, (object *)fields_view(c->g, q->head->fields, q->head->fields_count, &q->o));
}

/* result<incoming-body>: the body, once. */
static host_status consume(host_call *c, body_source **body)
{
    place r;
    if (!result_place(c, &r))
        return HOST_TRAP;
    if (!*body) {
        put_case(c, r, 1);
        return HOST_DONE;
    }
    object *o = incoming_body_new(c->g, *body);
    if (!o)
        return call_no_memory(c);
    *body = NULL;
    return put_handle(c, put_case(c, r, 0), o) ? HOST_DONE : HOST_TRAP;
}

static host_status incoming_request_consume(host_call *c)
{
    incoming_request *q;
    return ARG_BORROW(c, 0, incoming_request_resource, &q) ? consume(c, &q->body) : HOST_TRAP;
}

/* --- incoming-response --------------------------------------------------------------------- */

static void incoming_response_drop(guest *g, object *o)
{
    incoming_response *r = (incoming_response *)o;
    if (r->headers)
        object_free(g, &r->headers->o);
    if (r->body)
        r->body->ops->release(g, r->body);
}

const host_resource incoming_response_resource = {"incoming-response", incoming_response_drop};

static host_status incoming_response_status(host_call *c)
{
    incoming_response *p;
    return ARG_BORROW(c, 0, incoming_response_resource, &p) ? return_u32(c, p->status) : HOST_TRAP;
}

static host_status incoming_response_headers(host_call *c)
{
    incoming_response *p;
    if (!ARG_BORROW(c, 0, incoming_response_resource, &p))
        return HOST_TRAP;
    return return_handle(c, (object *)fields_view(c->g, p->headers->at, p->headers->n, &p->o));
}

static host_status incoming_response_consume(host_call *c)
{
    incoming_response *p;
    return ARG_BORROW(c, 0, incoming_response_resource, &p) ? consume(c, &p->body) : HOST_TRAP;
}

/* --- incoming-body and its stream ---------------------------------------------------------- */

typedef struct {
    object o;
    body_source *source; /* NULL: given to future-trailers */
    bool stream_taken;
} incoming_body;

typedef struct {
    input_stream s;
    body_source *source; /* of the parent, which outlives the stream */
} body_stream;

static void incoming_body_drop(guest *g, object *o)
{
    incoming_body *b = (incoming_body *)o;
    if (b->source)
        b->source->ops->release(g, b->source);
}

const host_resource incoming_body_resource = {"incoming-body", incoming_body_drop};

object *incoming_body_new(guest *g, body_source *source)
{
    incoming_body *b = OBJECT_NEW(g, incoming_body, incoming_body_resource, NULL);
    if (b)
        b->source = source;
    return (object *)b;
}

static stream_state body_stream_peek(guest *g, input_stream *s, size_t max, size_t *ret_n,
                                     error_info *ret_error)
{
    body_source *b = ((body_stream *)s)->source;
    body_state state;
    size_t n = b->ops->readable(g, b, &state);
    *ret_n = n < max ? n : max;
    if (n > 0 || state == BODY_OPEN)
        return STREAM_OPEN;
    if (state == BODY_END)
        return STREAM_CLOSED;
    *ret_error = b->ops->error(g, b);
    return STREAM_FAILED;
}

static void body_stream_take(guest *g, input_stream *s, void *p, size_t n)
{
    body_source *b = ((body_stream *)s)->source;
    b->ops->read(g, b, p, n);
}

static const input_ops body_stream_ops = {.peek = body_stream_peek, .take = body_stream_take};

static host_status incoming_body_stream(host_call *c)
{
    incoming_body *b;
    place r;
    if (!ARG_BORROW(c, 0, incoming_body_resource, &b) || !result_place(c, &r))
        return HOST_TRAP;
    if (b->stream_taken) {
        put_case(c, r, 1);
        return HOST_DONE;
    }
    body_stream *s = OBJECT_NEW(c->g, body_stream, input_stream_resource, b);
    if (!s)
        return call_no_memory(c);
    s->s.ops = &body_stream_ops;
    s->source = b->source;
    b->stream_taken = true;
    return put_handle(c, put_case(c, r, 0), &s->s.o) ? HOST_DONE : HOST_TRAP;
}

/* --- future-trailers ----------------------------------------------------------------------- */

typedef struct {
    object o;
    body_source *source;
    bool taken;
} future_trailers;

static void future_trailers_drop(guest *g, object *o)
{
    future_trailers *f = (future_trailers *)o;
    if (f->source)
        f->source->ops->release(g, f->source);
}

const host_resource future_trailers_resource = {"future-trailers", future_trailers_drop};

static host_status incoming_body_finish(host_call *c)
{
    incoming_body *b;
    if (!ARG_TAKE(c, 0, incoming_body_resource, &b))
        return HOST_TRAP;
    future_trailers *f = OBJECT_NEW(c->g, future_trailers, future_trailers_resource, NULL);
    if (f) {
        f->source = b->source;
        b->source = NULL;
    }
    object_free(c->g, &b->o);
    return return_handle(c, (object *)f);
}

/* Nobody reads the rest of the body any more: it is dropped, so that the trailers can come. */
static body_state trailers_state(guest *g, future_trailers *f)
{
    body_state state;
    size_t n;
    while ((n = f->source->ops->readable(g, f->source, &state)) > 0)
        f->source->ops->read(g, f->source, NULL, n);
    return state;
}

static bool trailers_ready(guest *g, pollable *p, bool want)
{
    future_trailers *f = (future_trailers *)p->o.parent;
    return f->taken || trailers_state(g, f) != BODY_OPEN;
}

static host_status future_trailers_subscribe(host_call *c)
{
    object *f;
    if (!ARG_BORROW(c, 0, future_trailers_resource, &f))
        return HOST_TRAP;
    return return_pollable(c, trailers_ready, f);
}

/* option<result<result<option<trailers>, error-code>>>; in the candidate of 2023 without the outer
 * result, which only says that they were taken before. */
static host_status trailers_get(host_call *c, bool is_candidate)
{
    future_trailers *f;
    place r;
    if (!ARG_BORROW(c, 0, future_trailers_resource, &f) || !result_place(c, &r))
        return HOST_TRAP;
    body_state state = f->taken ? BODY_END : trailers_state(c->g, f);
    if (!f->taken && state == BODY_OPEN) {
        put_case(c, r, 0);
        return HOST_DONE;
    }
    if (f->taken && is_candidate)
        return call_trap(c, "the trailers were taken before");
    place once = put_case(c, r, 1);
    if (f->taken) {
        put_case(c, once, 1);
        return HOST_DONE;
    }
    f->taken = true;
    place inner = is_candidate ? once : put_case(c, once, 0);
    if (state == BODY_ABORTED) {
        error_info info = f->source->ops->error(c->g, f->source);
        return put_http_error(c, put_case(c, inner, 1), &info) ? HOST_DONE : HOST_TRAP;
    }
    size_t n = 0;
    const http_field *at = f->source->ops->trailers(c->g, f->source, &n);
    place option = put_case(c, inner, 0);
    if (n == 0) {
        put_case(c, option, 0);
        return HOST_DONE;
    }
    fields *t = fields_new(c->g, &f->o);
    for (size_t i = 0; t && i < n; i++)
        if (!fields_add(c->g, t, at[i].name, at[i].value)) {
            object_free(c->g, &t->o);
            t = NULL;
        }
    if (t)
        t->immutable = true;
    return put_handle(c, put_case(c, option, 1), (object *)t) ? HOST_DONE : HOST_TRAP;
}

static host_status future_trailers_get(host_call *c) { return trailers_get(c, false); }

static host_status future_trailers_get_2023(host_call *c) { return trailers_get(c, true); }

#define REQUEST  "func(self: borrow<incoming-request>) -> "
#define RESPONSE "func(self: borrow<incoming-response>) -> "

const host_func http_incoming_funcs[] = {
    {"http-error-code", "func(err: borrow<io-error>) -> option<error-code>", http_error_code},
    {"[method]incoming-request.method", REQUEST "method", incoming_request_method},
    {"[method]incoming-request.path-with-query", REQUEST "option<string>", incoming_request_path},
    {"[method]incoming-request.scheme", REQUEST "option<scheme>", incoming_request_scheme},
    {"[method]incoming-request.authority", REQUEST "option<string>", incoming_request_authority},
    {"[method]incoming-request.headers", REQUEST "headers", incoming_request_headers},
    {"[method]incoming-request.consume", REQUEST "result<incoming-body>", incoming_request_consume},
    {"[method]incoming-response.status", RESPONSE "status-code", incoming_response_status},
    {"[method]incoming-response.headers", RESPONSE "headers", incoming_response_headers},
    {"[method]incoming-response.consume", RESPONSE "result<incoming-body>",
     incoming_response_consume},
    {"[method]incoming-body.stream", "func(self: borrow<incoming-body>) -> result<input-stream>",
     incoming_body_stream},
    {"[static]incoming-body.finish", "func(this: incoming-body) -> future-trailers",
     incoming_body_finish},
    {"[method]future-trailers.subscribe", "func(self: borrow<future-trailers>) -> pollable",
     future_trailers_subscribe},
    {"[method]future-trailers.get",
     "func(self: borrow<future-trailers>) -> "
     "option<result<result<option<trailers>, error-code>>>",
     future_trailers_get},
    {"[method]future-trailers.get", /* 0.2.0-rc-2023-11-10 */
     "func(self: borrow<future-trailers>) -> option<result<option<trailers>, error-code>>",
     future_trailers_get_2023},
    {0},
};
