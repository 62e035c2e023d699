/* Outgoing requests of guests. */
#include "host/http_side.h"

/* "host:port" in parts; the port of the scheme where none is given. */
static void authority_split(str authority, bool tls, str *ret_host, uint16_t *ret_port)
{
    uint64_t port = tls ? 443 : 80;
    size_t end = authority.n && authority.p[0] == '[' ? str_find(authority, ']') + 1
                                                      : str_find(authority, ':');
    *ret_host = str_head(authority, end);
    if (end + 1 < authority.n)
        str_to_u64(str_skip(authority, end + 1), UINT16_MAX, &port);
    *ret_port = (uint16_t)port;
}

static void future_fail(guest *g, future_incoming_response *f, error_info info)
{
    f->state = FUTURE_READY;
    f->error = info;
    guest_woken(g);
}

void http_client_send(guest *g, outgoing_request *q, const request_options *options,
                      future_incoming_response *f)
{
    const host_component *h = g->component;
    bool tls = !q->scheme.p || str_eq_nocase(q->scheme, S("https"));
    str host;
    uint16_t port;
    authority_split(q->authority, tls, &host, &port);
    uint32_t code = HTTP_REQUEST_DENIED;
    if (h->outbound_allowed &&
        h->outbound_allowed(h->outbound_user, tls ? S("https") : S("http"), host, port))
        code = HTTP_INTERNAL_ERROR;
    if (q->body)
        body_out_close(g, q->body);
    object_free(g, &q->o);
    future_fail(g, f, http_error(code, (str){NULL, 0}));
}

void http_client_drop(guest *g, future_incoming_response *f)
{
}

void http_client_free(guest *g)
{
}
