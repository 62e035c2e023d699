/* wasi:http/types@0.2 as one interface (its functions are in http_*.c), the future of a response,
 * and wasi:http/outgoing-handler. */
#include "host/chain.h"
#include "host/http_side.h"
#include "host/reach.h"

/* --- future-incoming-response -------------------------------------------------------------- */

static void future_drop(guest *g, object *o)
{
    future_incoming_response *f = (future_incoming_response *)o;
    if (!chain_drop(g, f))
        http_client_drop(g, f);
    if (f->response)
        object_free(g, &f->response->o);
}

const host_resource future_incoming_response_resource = {"future-incoming-response", future_drop};

static bool future_ready(guest *g, pollable *p, bool want)
{
    return ((future_incoming_response *)p->o.parent)->state != FUTURE_PENDING;
}

static host_status future_subscribe(host_call *c)
{
    object *f;
    if (!ARG_BORROW(c, 0, future_incoming_response_resource, &f))
        return HOST_TRAP;
    return return_pollable(c, future_ready, f);
}

/* option<result<result<incoming-response, error-code>>> */
static host_status future_get(host_call *c)
{
    future_incoming_response *f;
    place r;
    if (!ARG_BORROW(c, 0, future_incoming_response_resource, &f) || !result_place(c, &r))
        return HOST_TRAP;
    if (f->state == FUTURE_PENDING) {
        put_case(c, r, 0);
        return HOST_DONE;
    }
    place once = put_case(c, r, 1);
    if (f->state == FUTURE_TAKEN) {
        put_case(c, once, 1);
        return HOST_DONE;
    }
    place inner = put_case(c, once, 0);
    f->state = FUTURE_TAKEN;
    if (!f->response)
        return put_http_error(c, put_case(c, inner, 1), &f->error) ? HOST_DONE : HOST_TRAP;
    object *response = &f->response->o;
    f->response = NULL;
    return put_handle(c, put_case(c, inner, 0), response) ? HOST_DONE : HOST_TRAP;
}

/* --- outgoing-handler ---------------------------------------------------------------------- */

/* Is the request complete enough to be sent? Else *ret_code says why not. */
static bool request_is_sendable(const host_component *h, const outgoing_request *q,
                                uint32_t *ret_code)
{
    if (q->scheme.p && !str_eq_nocase(q->scheme, S("http")) &&
        !str_eq_nocase(q->scheme, S("https")))
        return *ret_code = HTTP_PROTOCOL_ERROR, false;
    if (!q->authority.n && !h->chain_target) /* without it: the app itself */
        return *ret_code = HTTP_REQUEST_URI_INVALID, false;
    if (fields_content_length(q->headers) == -2)
        return *ret_code = HTTP_PROTOCOL_ERROR, false;
    return true;
}

static host_status outgoing_handle(host_call *c)
{
    guest *g = c->g;
    outgoing_request *q;
    request_options *options = NULL;
    uint32_t some, code;
    place r;
    host_status known = reach_known(c);
    if (known != HOST_DONE)
        return known;
    if (!ARG_TAKE(c, 0, outgoing_request_resource, &q))
        return HOST_TRAP;
    if (!arg_case(c, 1, 2, &some) ||
        (some && !ARG_TAKE(c, 2, request_options_resource, &options)) || !result_place(c, &r)) {
        object_free(g, (object *)options);
        object_free(g, &q->o);
        return HOST_TRAP;
    }
    if (!request_is_sendable(g->component, q, &code)) {
        object_free(g, (object *)options);
        object_free(g, &q->o);
        error_info info = http_error(code, (str){NULL, 0});
        return put_http_error(c, put_case(c, r, 1), &info) ? HOST_DONE : HOST_TRAP;
    }
    future_incoming_response *f =
        OBJECT_NEW(g, future_incoming_response, future_incoming_response_resource, NULL);
    if (f)
        http_client_send(g, q, options, f);
    else
        object_free(g, &q->o);
    object_free(g, (object *)options);
    return put_handle(c, put_case(c, r, 0), (object *)f) ? HOST_DONE : HOST_TRAP;
}

static const host_func outgoing_handler_funcs[] = {
    {"handle",
     "func(request: outgoing-request, options: option<request-options>) -> "
     "result<future-incoming-response, error-code>",
     outgoing_handle, true},
    {0},
};

/* --- the interfaces ------------------------------------------------------------------------ */

static host_status send_informational(host_call *c)
{
    object *param;
    fields *headers;
    place r;
    if (!ARG_BORROW(c, 0, response_outparam_resource, &param) ||
        !ARG_TAKE(c, 2, fields_resource, &headers))
        return HOST_TRAP;
    object_free(c->g, &headers->o);
    if (!result_place(c, &r))
        return HOST_TRAP;
    error_info info =
        http_error(HTTP_INTERNAL_ERROR, S("ebb sends no informational responses of guests"));
    return put_http_error(c, put_case(c, r, 1), &info) ? HOST_DONE : HOST_TRAP;
}

static const host_func future_funcs[] = {
    {"[method]future-incoming-response.subscribe",
     "func(self: borrow<future-incoming-response>) -> pollable", future_subscribe},
    {"[method]future-incoming-response.get",
     "func(self: borrow<future-incoming-response>) -> "
     "option<result<result<incoming-response, error-code>>>",
     future_get},
    {"[method]response-outparam.send-informational",
     "func(self: borrow<response-outparam>, status: u16, headers: headers) -> "
     "result<_, error-code>",
     send_informational},
    {0},
};

const host_func *const http_types_funcs[] = {http_fields_funcs, http_incoming_funcs,
                                             http_outgoing_funcs, future_funcs, NULL};

static const char http_types[] =
    "use wasi:clocks/monotonic-clock@0.2.0.{duration};\n"
    "use wasi:io/streams@0.2.0.{input-stream, output-stream};\n"
    "use wasi:io/error@0.2.0.{error as io-error};\n"
    "use wasi:io/poll@0.2.0.{pollable};\n"
    "variant method { get, head, post, put, delete, connect, options, trace, patch,\n"
    "    other(string) }\n"
    "variant scheme { HTTP, HTTPS, other(string) }\n"
    "record DNS-error-payload { rcode: option<string>, info-code: option<u16> }\n"
    "record TLS-alert-received-payload { alert-id: option<u8>, alert-message: option<string> }\n"
    "record field-size-payload { field-name: option<string>, field-size: option<u32> }\n"
    "variant error-code {\n"
    "    DNS-timeout, DNS-error(DNS-error-payload), destination-not-found,\n"
    "    destination-unavailable, destination-IP-prohibited, destination-IP-unroutable,\n"
    "    connection-refused, connection-terminated, connection-timeout,\n"
    "    connection-read-timeout, connection-write-timeout, connection-limit-reached,\n"
    "    TLS-protocol-error, TLS-certificate-error,\n"
    "    TLS-alert-received(TLS-alert-received-payload), HTTP-request-denied,\n"
    "    HTTP-request-length-required, HTTP-request-body-size(option<u64>),\n"
    "    HTTP-request-method-invalid, HTTP-request-URI-invalid, HTTP-request-URI-too-long,\n"
    "    HTTP-request-header-section-size(option<u32>),\n"
    "    HTTP-request-header-size(option<field-size-payload>),\n"
    "    HTTP-request-trailer-section-size(option<u32>),\n"
    "    HTTP-request-trailer-size(field-size-payload), HTTP-response-incomplete,\n"
    "    HTTP-response-header-section-size(option<u32>),\n"
    "    HTTP-response-header-size(field-size-payload), HTTP-response-body-size(option<u64>),\n"
    "    HTTP-response-trailer-section-size(option<u32>),\n"
    "    HTTP-response-trailer-size(field-size-payload),\n"
    "    HTTP-response-transfer-coding(option<string>),\n"
    "    HTTP-response-content-coding(option<string>), HTTP-response-timeout,\n"
    "    HTTP-upgrade-failed, HTTP-protocol-error, loop-detected, configuration-error,\n"
    "    internal-error(option<string>)\n"
    "}\n"
    "variant header-error { invalid-syntax, forbidden, immutable }\n"
    "type field-key = string;\n"
    "type field-name = field-key;\n"
    "type field-value = list<u8>;\n"
    "resource fields;\n"
    "type headers = fields;\n"
    "type trailers = fields;\n"
    "resource incoming-request;\n"
    "resource outgoing-request;\n"
    "resource request-options;\n"
    "resource response-outparam;\n"
    "type status-code = u16;\n"
    "resource incoming-response;\n"
    "resource incoming-body;\n"
    "resource future-trailers;\n"
    "resource outgoing-response;\n"
    "resource outgoing-body;\n"
    "resource future-incoming-response;\n";

const host_interface wasi_http_types = {
    .name = "wasi:http/types@0.2.0",
    .types = http_types,
    .groups = http_types_funcs,
    .resources =
        (const host_resource *const[]){
            &fields_resource, &incoming_request_resource, &outgoing_request_resource,
            &request_options_resource, &response_outparam_resource, &incoming_response_resource,
            &incoming_body_resource, &future_trailers_resource, &outgoing_response_resource,
            &outgoing_body_resource, &future_incoming_response_resource, NULL},
};

const host_interface wasi_http_outgoing_handler = {
    .name = "wasi:http/outgoing-handler@0.2.0",
    .types = "use wasi:http/types@0.2.0.{outgoing-request, request-options,\n"
             "    future-incoming-response, error-code};",
    .funcs = outgoing_handler_funcs,
};
