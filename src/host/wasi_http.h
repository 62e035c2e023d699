/* Inside host/: the objects of wasi:http/types and how bodies flow.
 *
 *   request body    exchange or client  -> body_source -> input-stream -> guest
 *   response body   guest -> output-stream -> body_out -> body_sink (exchange or client)
 *
 * Invariants
 * - A body_out may be written before its head is given away (spin.md 3.4): bytes then wait in
 *   `early`, at most HOST_EARLY_BODY_BYTES_MAX, and more is an error, never a wait without end.
 * - Afterwards `early` holds what the sink did not take, at most HTTP_BUFFER_BYTES.
 * - `written` never exceeds a declared content-length: the write fails instead. */
#pragma once

#include "host/streams.h"

#include "base/limits.h"

extern const host_resource fields_resource, incoming_request_resource, outgoing_request_resource,
    request_options_resource, response_outparam_resource, incoming_response_resource,
    incoming_body_resource, future_trailers_resource, outgoing_response_resource,
    outgoing_body_resource, future_incoming_response_resource;

/* The cases of error-code that the host uses itself. */
enum {
    HTTP_DNS_TIMEOUT = 0,
    HTTP_DNS_ERROR = 1,
    HTTP_DESTINATION_NOT_FOUND = 2,
    HTTP_DESTINATION_UNAVAILABLE = 3,
    HTTP_DESTINATION_IP_PROHIBITED = 4,
    HTTP_DESTINATION_IP_UNROUTABLE = 5,
    HTTP_CONNECTION_REFUSED = 6,
    HTTP_CONNECTION_TERMINATED = 7,
    HTTP_CONNECTION_TIMEOUT = 8,
    HTTP_CONNECTION_READ_TIMEOUT = 9,
    HTTP_CONNECTION_WRITE_TIMEOUT = 10,
    HTTP_CONNECTION_LIMIT_REACHED = 11,
    HTTP_TLS_PROTOCOL_ERROR = 12,
    HTTP_TLS_CERTIFICATE_ERROR = 13,
    HTTP_REQUEST_DENIED = 15,
    HTTP_REQUEST_LENGTH_REQUIRED = 16,
    HTTP_REQUEST_BODY_SIZE = 17,
    HTTP_REQUEST_METHOD_INVALID = 18,
    HTTP_REQUEST_URI_INVALID = 19,
    HTTP_RESPONSE_INCOMPLETE = 25,
    HTTP_RESPONSE_HEADER_SECTION_SIZE = 26,
    HTTP_RESPONSE_BODY_SIZE = 28,
    HTTP_RESPONSE_TIMEOUT = 33,
    HTTP_PROTOCOL_ERROR = 35,
    HTTP_LOOP_DETECTED = 36,
    HTTP_CONFIGURATION_ERROR = 37,
    HTTP_INTERNAL_ERROR = 38,
    HTTP_ERROR_CODES = 39,
};

/* "HTTP-request-denied"; NULL past the last. */
const char *http_error_name(uint32_t code);
/* Writes an error-code from an ERROR_HTTP info. */
bool put_http_error(host_call *c, place p, const error_info *info);
static inline error_info http_error(uint32_t code, str text)
{
    return (error_info){.domain = ERROR_HTTP, .code = code, .text = text};
}

/* --- fields -------------------------------------------------------------------------------- */

typedef struct {
    object o;
    http_field *at; /* names in lower case; name and value of one field are one pool block */
    uint32_t n, cap;
    uint32_t bytes; /* of all names and values */
    bool immutable;
    bool borrowed; /* `at` belongs to the parent */
} fields;

/* An immutable view of fields that live at least as long as `parent`. */
fields *fields_view(guest *g, const http_field *at, size_t n, object *parent);
/* An empty one; immutable is for the caller to set. */
fields *fields_new(guest *g, object *parent);
/* Copies a field as it is, without checks; false: no memory. */
bool fields_add(guest *g, fields *f, str name, str value);
/* The value of the first field of that (lower-case) name, or p == NULL. */
str fields_find(const fields *f, str name);
/* The declared content-length; -1: none; -2: not a number, or several that differ. */
int64_t fields_content_length(const fields *f);
bool http_token_is_valid(str s);

/* --- bodies that come in ------------------------------------------------------------------- */

typedef struct body_source body_source;
typedef struct {
    size_t (*readable)(guest *g, body_source *b, body_state *ret_state);
    /* Reads n <= readable bytes; p NULL: drops them. */
    void (*read)(guest *g, body_source *b, void *p, size_t n);
    /* After BODY_END. */
    const http_field *(*trailers)(guest *g, body_source *b, size_t *ret_n);
    /* After BODY_ABORTED. */
    error_info (*error)(guest *g, body_source *b);
    /* The guest will not read any more. */
    void (*release)(guest *g, body_source *b);
} body_source_ops;
struct body_source {
    const body_source_ops *ops;
};

/* incoming-request.consume and incoming-response.consume: the only handle to the body. */
object *incoming_body_new(guest *g, body_source *b);

/* --- bodies that go out -------------------------------------------------------------------- */

typedef struct body_out body_out;
typedef struct {
    size_t (*room)(guest *g, void *user);
    /* Takes at most n bytes, returns how many. */
    size_t (*write)(guest *g, void *user, const void *p, size_t n);
    void (*flush)(guest *g, void *user);
    /* The guest finished the body; or it gave it up. */
    void (*finished)(guest *g, void *user);
    void (*broken)(guest *g, void *user);
} body_sink;

struct body_out {
    unsigned refs;
    enum { BODY_WRITING, BODY_FINISHED, BODY_BROKEN } state;
    bool is_request;
    bool closed;            /* nobody takes bytes any more */
    bool length_is_free;    /* HEAD, 204, 304: the declared length is not that of the body */
    int64_t content_length; /* -1: none declared */
    uint64_t written;
    queue early;
    fields *trailers;      /* owned; NULL: none */
    const body_sink *sink; /* NULL: the head was not given away yet */
    void *sink_user;
};

body_out *body_out_new(guest *g, bool is_request, int64_t content_length);
void body_out_unref(guest *g, body_out *b);
/* The sink takes bytes from now on. */
void body_out_attach(guest *g, body_out *b, const body_sink *sink, void *user);
/* Gives the sink what waits in `early`. */
void body_out_pump(guest *g, body_out *b);
/* The sink is gone. */
void body_out_close(guest *g, body_out *b);

/* --- messages ------------------------------------------------------------------------------ */

typedef struct {
    object o;
    fields *headers; /* owned */
    uint16_t status;
    bool body_taken;
    body_out *body; /* NULL until body() */
} outgoing_response;

typedef struct {
    object o;
    fields *headers;                     /* owned */
    str method, path, scheme, authority; /* pool copies; p == NULL: none (method: "GET") */
    bool body_taken;
    body_out *body;
} outgoing_request;

/* A timeout of request-options; UINT64_MAX: none. */
typedef struct {
    object o;
    ns timeouts[3]; /* connect, first byte, between bytes */
} request_options;

typedef struct {
    object o;
    uint16_t status;
    fields *headers;   /* owned */
    body_source *body; /* NULL: consumed */
} incoming_response;

typedef struct {
    object o;
    enum { FUTURE_PENDING, FUTURE_READY, FUTURE_TAKEN } state;
    error_info error;
    incoming_response *response; /* READY: owned; NULL: the error */
    void *client;                /* the transfer, PENDING and while the response lives */
    struct http_chain *chain;    /* or the chained call, PENDING */
} future_incoming_response;

/* Copies into pool memory; p == NULL without memory. Empty strings have a pointer. */
str pool_str(pool *p, str s);
void pool_str_give(pool *p, str s);

/* --- the exchange that the guest answers --------------------------------------------------- */

void http_side_free(guest *g);
/* The authority that the guest's own request named; p == NULL: none. */
str guest_http_authority(const guest *g);
/* Its fields, as the guest sees them; NULL: it has none. */
const http_field *guest_http_fields(const guest *g, size_t *ret_count);

/* --- outgoing requests --------------------------------------------------------------------- */

/* Takes over the request (with its body and headers); resolves `f` now or later. */
void http_client_send(guest *g, outgoing_request *r, const request_options *options,
                      future_incoming_response *f);
/* The guest dropped the future. */
void http_client_drop(guest *g, future_incoming_response *f);
/* All transfers of the guest end. */
void http_client_free(guest *g);
/* Requests that waited for what becomes of their body go out. */
void http_client_guest_waits(guest *g);

/* Rows of wasi:http/types, by file. Each ends with a row without name. */
extern const host_func http_fields_funcs[], http_incoming_funcs[], http_outgoing_funcs[];
