/* Outgoing requests as guests see them: what they ask for, what they get (libcurl: http_curl.c).
 *
 * Host functions only change a transfer and kick its client; everything else happens from the loop.
 * Nor is a guest woken inside libcurl's callbacks (what it wakes may free the guest): a transfer
 * that changed is marked, and client_settle looks at the marks afterwards.
 *
 *   guest --body_sink--> out (64 kB) --libcurl--> server --libcurl--> in (64 kB + a read) --> guest
 *
 * Both buffers are bounded: the guest waits for room, libcurl is paused. A transfer belongs to its
 * guest until the guest ends or lets go of everything that reads it; then it is cancelled.
 *
 *   NEW --name?--> LOOKUP --> RUNNING --> OVER       connect timeout: LOOKUP and connecting
 *    +------------------------^                      first byte, between bytes: afterwards */
#include "host/http_transfer.h"
#include "host/permits.h"
#include "host/reach.h"

#include "host/chain.h"
#include "host/sockets.h"
#include "http/field.h"
#include "http/traceparent.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#define TIMEOUT_DEFAULT_NS (600 * NS_PER_S)

enum { BEGUN_PER_TURN_MAX = 4 };

static void resume(transfer *t)
{
    t->resume = true;
    client_kick(t->c);
}

static void transfer_detach(transfer *t);

/* --- resolving ----------------------------------------------------------------------------- */

void transfer_fail(transfer *t, uint32_t code, str text)
{
    if (t->failed || t->in_end)
        return;
    t->failed = true;
    t->error = http_error(code, text);
    t->changed = true;
}

static bool is_hop_by_hop(str name)
{
    return str_eq_nocase(name, S("connection")) || str_eq_nocase(name, S("keep-alive")) ||
           str_eq_nocase(name, S("transfer-encoding")) || str_eq_nocase(name, S("upgrade")) ||
           str_eq_nocase(name, S("proxy-connection")) ||
           str_eq_nocase(name, S("proxy-authenticate"));
}

/* Fields of t->head into f. */
static bool head_take(guest *g, transfer *t, fields *f)
{
    const char *p = (const char *)t->head.p, *end = p + t->head.n;
    while (p < end) {
        str name = str_from(p), value = str_from(p + name.n + 1);
        p = value.p + value.n + 1;
        if (!is_hop_by_hop(name) && !fields_add(g, f, name, value))
            return false;
    }
    buf_clear(&t->head);
    return true;
}

/* The head is there or will never be: the future says so. */
static void resolve(transfer *t)
{
    guest *g = t->g;
    future_incoming_response *f = t->f;
    if (!f || t->resolved || (!t->head_done && !t->failed))
        return;
    t->resolved = true;
    t->f = NULL;
    f->client = NULL;
    f->state = FUTURE_READY;
    f->error = t->error;
    if (!t->head_done)
        return;
    incoming_response *r = OBJECT_NEW(g, incoming_response, incoming_response_resource, NULL);
    if (r)
        r->headers = fields_new(g, NULL);
    if (!r || !r->headers || !head_take(g, t, r->headers)) {
        object_free(g, (object *)r);
        f->error = http_error(HTTP_INTERNAL_ERROR, S("no memory for the response"));
        transfer_detach(t);
        client_kick(t->c);
        return;
    }
    r->headers->immutable = true;
    r->status = (uint16_t)t->status;
    r->body = &t->source;
    f->response = r;
}

/* The request body moves on, or ends for want of somebody who takes it. */
static void body_settle(guest *g, transfer *t)
{
    body_out *b = t->body;
    if (!b)
        return;
    body_out_pump(g, b);
    if (t->failed || t->in_end)
        body_out_close(g, b);
    else if (b->state == BODY_FINISHED && !t->out_finished && queue_bytes(&b->early) == 0) {
        t->out_finished = true;
        resume(t);
    }
}

/* After libcurl has returned: tells guests what has changed. Waking may free guests, and what they
 * had; the list is walked again from its beginning after each. */
void client_settle(http_client *c)
{
    for (transfer *t = c->all; t;) {
        if (!t->changed) {
            t = t->next;
            continue;
        }
        t->changed = false;
        if (t->g) {
            guest *g = t->g;
            body_settle(g, t);
            resolve(t);
            guest_woken(g);
            t = c->all;
        } else if (t->post) {
            post_settle(t);
            t = c->all;
        }
    }
}

/* --- transfers ----------------------------------------------------------------------------- */

static void transfer_detach(transfer *t)
{
    guest *g = t->g;
    if (!g)
        return;
    if (t->guest_prev)
        t->guest_prev->guest_next = t->guest_next;
    else
        g->transfers = t->guest_next;
    if (t->guest_next)
        t->guest_next->guest_prev = t->guest_prev;
    if (t->body) {
        body_out_close(g, t->body);
        body_out_unref(g, t->body);
    }
    t->body = NULL;
    t->g = NULL;
    t->f = NULL;
    t->cancelled = true;
    g->files--;
}

/* --- permits -------------------------------------------------------------------------------- */

static transfer *line_first, *line_last; /* of this process, one loop */

static void permits_grant(void)
{
    while (line_first && permit_take(PERMIT_HTTP)) {
        transfer *t = line_first;
        line_first = t->line_next;
        if (!line_first)
            line_last = NULL;
        t->waits = false;
        t->permitted = true;
        client_kick(t->c);
    }
}

/* True: it may begin. Else it is kicked when its turn has come. */
static bool permit_ask(transfer *t)
{
    if (t->permitted || t->waits)
        return t->permitted;
    if (!line_first && permit_take(PERMIT_HTTP)) {
        t->permitted = true;
        return true;
    }
    permit_on_free(permits_grant);
    t->waits = true;
    t->line_next = NULL;
    if (line_last)
        line_last->line_next = t;
    else
        line_first = t;
    line_last = t;
    return false;
}

/* Its request is over, or it no longer wants to begin. */
void transfer_permit_return(transfer *t)
{
    if (t->waits) {
        transfer **at = &line_first, *before = NULL;
        while (*at != t) {
            before = *at;
            at = &before->line_next;
        }
        *at = t->line_next;
        if (line_last == t)
            line_last = before;
        t->waits = false;
    }
    if (t->permitted) {
        t->permitted = false;
        permit_give(PERMIT_HTTP);
    }
    if (t->owned) {
        t->owned = false;
        permit_owner_give(t->owner);
    }
}

/* Not inside libcurl. */
static void transfer_free(transfer *t)
{
    http_client *c = t->c;
    transfer_permit_return(t);
    names_cancel(t->query);
    curl_stop(t);
    if (t->easy)
        curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->headers);
    curl_slist_free_all(t->addresses);
    loop_timer_stop(&t->deadline);
    if (t->prev)
        t->prev->next = t->next;
    else
        c->all = t->next;
    if (t->next)
        t->next->prev = t->prev;
    else
        c->last = t->prev;
    buf_fini(&t->url);
    buf_fini(&t->target);
    buf_fini(&t->method);
    buf_fini(&t->out);
    buf_fini(&t->head);
    buf_fini(&t->tail);
    buf_fini(&t->in);
    free(t->trailers);
    free(t);
    if (!c->all)
        client_rests(c);
}

void client_transfers_free(http_client *c)
{
    while (c->all) {
        must(!c->all->g);
        transfer_free(c->all);
    }
}

static void on_deadline(void *user)
{
    transfer *t = user;
    http_client *c = t->c;
    transfer_fail(t, t->deadline_code, (str){NULL, 0});
    t->cancelled = true;
    client_kick(c);
    client_settle(c);
}

void transfer_deadline(transfer *t, ns after, uint32_t code)
{
    t->deadline_code = code;
    if (!loop_timer_start(t->c->l, &t->deadline, after, on_deadline, t))
        t->cancelled = true;
}

/* --- where to ------------------------------------------------------------------------------- */

static uint32_t code_of_names(names_status s)
{
    switch (s) {
    case NAMES_TIMEOUT:
        return HTTP_DNS_TIMEOUT;
    case NAMES_NO_MEMORY:
        return HTTP_INTERNAL_ERROR;
    default:
        return HTTP_DNS_ERROR;
    }
}

static void transfer_start(transfer *t)
{
    if (!curl_start(t)) {
        t->state = TRANSFER_OVER;
        transfer_fail(t, HTTP_INTERNAL_ERROR, S("no memory for a transfer"));
    }
}

/* "+host:port:address,address": for libcurl's own table of names, until it forgets. */
static bool addresses_write(transfer *t, const net_address *at, size_t n, size_t *ret_count)
{
    char text[INET6_ADDRSTRLEN];
    buf line;
    size_t count = 0;
    buf_init(&line, 8192);
    buf_printf(&line, "+%s:%u:", t->host, t->port);
    for (size_t i = 0; i < n; i++) {
        bool v6 = at[i].any.sa_family == AF_INET6;
        const void *from =
            v6 ? (const void *)&at[i].v6.sin6_addr : (const void *)&at[i].v4.sin_addr;
        if (!net_blocked(t->component, &at[i]) &&
            inet_ntop(at[i].any.sa_family, from, text, sizeof text))
            buf_printf(&line, v6 ? "%s[%s]" : "%s%s", count++ ? "," : "", text);
    }
    buf_put_u8(&line, 0);
    if (!line.failed)
        t->addresses = curl_slist_append(NULL, (const char *)line.p);
    buf_fini(&line);
    *ret_count = count;
    return t->addresses != NULL;
}

static void on_addresses(void *user, names_status status, const net_address *at, size_t n)
{
    transfer *t = user;
    http_client *c = t->c;
    size_t count = 0;
    t->query = NULL;
    if (t->cancelled) /* and kicked already */
        return;
    if (status != NAMES_FOUND) {
        t->state = TRANSFER_OVER;
        transfer_fail(t, code_of_names(status), S("the name was not found"));
    } else if (!addresses_write(t, at, n, &count)) {
        t->state = TRANSFER_OVER;
        transfer_fail(t, HTTP_INTERNAL_ERROR, S("no memory for a transfer"));
    } else if (count == 0) {
        t->state = TRANSFER_OVER;
        transfer_fail(t, HTTP_DESTINATION_IP_PROHIBITED, (str){NULL, 0});
    } else {
        transfer_start(t);
    }
    if (t->state == TRANSFER_OVER)
        loop_timer_stop(&t->deadline);
    client_settle(c);
}

/* An address as text: an IPv6 one has lost its brackets. */
static bool host_address(const char *host, net_address *ret)
{
    *ret = (net_address){.any.sa_family = AF_INET};
    if (inet_pton(AF_INET, host, &ret->v4.sin_addr) == 1)
        return true;
    ret->any.sa_family = AF_INET6;
    return inet_pton(AF_INET6, host, &ret->v6.sin6_addr) == 1;
}

static void transfer_begin(transfer *t)
{
    net_address a;
    if (host_address(t->host, &a)) {
        transfer_start(t);
        return;
    }
    t->state = TRANSFER_LOOKUP;
    t->query = names_look_up(t->c->l, str_from(t->host), on_addresses, t);
    if (t->query) {
        transfer_deadline(t, t->connect, HTTP_DNS_TIMEOUT);
        return;
    }
    t->state = TRANSFER_OVER;
    transfer_fail(t, HTTP_DNS_ERROR, S("too many names are looked up"));
}

/* A GET or HEAD whose guest was interrupted before it wrote to the body, or ended it: as it is, an
 * empty chunked body would go out, which RFC 9110 (9.3.1) lets servers refuse. */
static bool may_have_no_body(const transfer *t)
{
    str method = str_head(buf_str(&t->method), t->method.n - 1);
    return t->g && !t->g->waiting && t->body && !t->out_finished && !t->out.n &&
           t->content_length < 0 && (str_eq(method, S("GET")) || str_eq(method, S("HEAD")));
}

void http_client_guest_waits(guest *g)
{
    for (transfer *t = g->transfers; t; t = t->guest_next)
        if (t->held)
            client_kick(t->c);
}

/* The loop's side of everything that host functions asked for. Many that begin at once are spread
 * over turns: each costs libcurl and OpenSSL up to a millisecond. */
void http_client_kicked(http_client *c)
{
    int begun = 0;
    for (transfer *t = c->all, *next; t; t = next) {
        next = t->next;
        if (t->cancelled || (!t->g && !t->post && t->state == TRANSFER_OVER)) {
            if (!t->g) {
                transfer_free(t);
                continue;
            }
            curl_stop(t); /* a timeout: the guest may still look at what came */
            names_cancel(t->query);
            t->query = NULL;
        } else if (t->state == TRANSFER_NEW && begun == BEGUN_PER_TURN_MAX) {
            client_kick(c);
        } else if (t->state == TRANSFER_NEW) {
            t->held = may_have_no_body(t);
            if (t->held || !permit_ask(t))
                continue;
            begun++;
            transfer_begin(t);
        } else if (t->resume && t->state == TRANSFER_RUNNING) {
            curl_resume(t);
        }
        t->resume = false;
    }
    curl_reap(c);
    client_settle(c);
}

/* --- the request body ---------------------------------------------------------------------- */

static size_t out_room(guest *g, void *user)
{
    const transfer *t = user;
    return t->out.n < HTTP_BUFFER_BYTES ? HTTP_BUFFER_BYTES - t->out.n : 0;
}

static size_t out_write(guest *g, void *user, const void *p, size_t n)
{
    transfer *t = user;
    size_t room = out_room(g, t), k = n < room ? n : room;
    if (k == 0 || !buf_put(&t->out, p, k))
        return 0;
    resume(t);
    return k;
}

static void out_done(guest *g, void *user)
{
    transfer *t = user;
    /* What `early` still holds follows through body_out_pump; then this is asked again. */
    t->out_finished = queue_bytes(&t->body->early) == 0;
    resume(t);
}

static void out_broken(guest *g, void *user)
{
    transfer *t = user;
    transfer_fail(t, HTTP_REQUEST_BODY_SIZE, (str){NULL, 0});
    t->cancelled = true;
    resume(t);
}

static const body_sink out_sink = {
    .room = out_room,
    .write = out_write,
    .finished = out_done,
    .broken = out_broken,
};

/* --- the response body --------------------------------------------------------------------- */

static transfer *transfer_of(body_source *b)
{
    return (transfer *)(void *)((char *)b - offsetof(transfer, source));
}

static size_t in_readable(guest *g, body_source *b, body_state *ret_state)
{
    transfer *t = transfer_of(b);
    *ret_state = t->in.n ? BODY_OPEN : t->failed ? BODY_ABORTED : t->in_end ? BODY_END : BODY_OPEN;
    return t->in.n;
}

static void in_read(guest *g, body_source *b, void *p, size_t n)
{
    transfer *t = transfer_of(b);
    must(n <= t->in.n);
    if (p)
        memcpy(p, t->in.p, n);
    buf_drop(&t->in, n);
    if (t->in_paused && t->in.n < HTTP_BUFFER_BYTES / 2)
        resume(t);
}

static const http_field *in_trailers(guest *g, body_source *b, size_t *ret_n)
{
    transfer *t = transfer_of(b);
    const char *p = (const char *)t->tail.p, *end = p + t->tail.n;
    *ret_n = 0;
    free(t->trailers);
    t->trailers = t->tail.n ? calloc(t->tail.n / 2 + 1, sizeof *t->trailers) : NULL;
    while (t->trailers && p < end) {
        str name = str_from(p), value = str_from(p + name.n + 1);
        p = value.p + value.n + 1;
        t->trailers[(*ret_n)++] = (http_field){name, value};
    }
    return t->trailers;
}

static error_info in_error(guest *g, body_source *b) { return transfer_of(b)->error; }

static void in_release(guest *g, body_source *b)
{
    transfer *t = transfer_of(b);
    transfer_detach(t);
    client_kick(t->c);
}

static const body_source_ops in_ops = {
    .readable = in_readable,
    .read = in_read,
    .trailers = in_trailers,
    .error = in_error,
    .release = in_release,
};

/* --- for the host -------------------------------------------------------------------------- */

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

static bool header_add(transfer *t, str name, str value)
{
    buf line;
    buf_init(&line, HTTP_HEAD_IN_BYTES_MAX);
    buf_put_str(&line, name);
    buf_put_str(&line, value.n ? S(": ") : S(";"));
    buf_put_str(&line, value);
    buf_put_u8(&line, 0);
    struct curl_slist *more =
        line.failed ? NULL : curl_slist_append(t->headers, (const char *)line.p);
    buf_fini(&line);
    if (more)
        t->headers = more;
    return more != NULL;
}

static bool headers_make(transfer *t, const outgoing_request *q)
{
    static const char *const none[] = {"Expect:", "Accept:", "User-Agent:", "Content-Type:"};
    const fields *f = q->headers;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        str name = {none[i], strlen(none[i]) - 1};
        bool given = false;
        for (uint32_t k = 0; k < f->n; k++)
            given |= str_eq_nocase(f->at[k].name, name);
        struct curl_slist *more = given ? t->headers : curl_slist_append(t->headers, none[i]);
        if (!more && !given)
            return false;
        t->headers = more;
    }
    for (uint32_t k = 0; k < f->n; k++)
        if (!str_eq(f->at[k].name, S("content-length")) &&
            !header_add(t, f->at[k].name, f->at[k].value))
            return false;
    return true;
}

static ns timeout_of(const request_options *o, int which)
{
    ns t = o ? o->timeouts[which] : UINT64_MAX;
    return t < TIMEOUT_DEFAULT_NS ? t : TIMEOUT_DEFAULT_NS;
}

/* Copies a host as libcurl will know it; false: no address and no name. A last label that is a
 * number would be an address to libcurl, and a name to everybody else. */
static bool host_write(char ret[256], str host)
{
    net_address a;
    size_t n = 0;
    if (host.n && host.p[0] == '[')
        host = (str){host.p + 1, host.n - 2};
    if (host.n == 0 || host.n > 253)
        return false;
    for (; n < host.n; n++)
        ret[n] = ascii_lower(host.p[n]);
    ret[n] = 0;
    if (host_address(ret, &a))
        return true;
    str rest = {ret, n};
    if (rest.p[rest.n - 1] == '.')
        rest.n--;
    size_t dot = str_rfind(rest, '.');
    str last = dot < rest.n ? str_skip(rest, dot + 1) : rest;
    return net_name_is(host) && last.n && (last.p[0] < '0' || last.p[0] > '9');
}

static void transfer_init(transfer *t, const outgoing_request *q, const request_options *o)
{
    buf_init(&t->url, HTTP_URI_BYTES_MAX + 64);
    buf_init(&t->target, HTTP_URI_BYTES_MAX + 64);
    buf_init(&t->method, UINT16_MAX + 1);
    buf_init(&t->out, HTTP_BUFFER_BYTES);
    buf_init(&t->head, HTTP_HEAD_IN_BYTES_MAX);
    buf_init(&t->tail, HTTP_HEAD_IN_BYTES_MAX);
    buf_init(&t->in, HTTP_BUFFER_BYTES + 65536);
    t->source.ops = &in_ops;
    t->content_length = fields_content_length(q->headers);
    t->connect = timeout_of(o, 0);
    t->first_byte = timeout_of(o, 1);
    t->between_bytes = timeout_of(o, 2);
    t->begun = clock_mono();
    buf_printf(&t->url, "%s://%.*s/", t->tls ? "https" : "http", STR(q->authority));
    buf_put_u8(&t->url, 0);
    if (!q->path.n || q->path.p[0] == '?')
        buf_put_u8(&t->target, '/');
    buf_put_str(&t->target, q->path);
    buf_put_u8(&t->target, 0);
    buf_put_str(&t->method, q->method);
    buf_put_u8(&t->method, 0);
}

transfer *transfer_new(const host_component *h, struct loop *l, const outgoing_request *q,
                       const request_options *o, uint32_t *ret_code, err *e)
{
    str host;
    uint16_t port;
    bool tls = !q->scheme.p || str_eq_nocase(q->scheme, S("https"));
    authority_split(q->authority, tls, &host, &port);
    *ret_code = HTTP_INTERNAL_ERROR;
    transfer *t = calloc(1, sizeof *t);
    if (!t)
        return err_no_memory(e), NULL;
    t->tls = tls;
    t->port = port;
    t->component = h;
    net_address a;
    if (!host_write(t->host, host)) {
        *ret_code = HTTP_REQUEST_URI_INVALID;
    } else if (host_address(t->host, &a) && net_blocked(h, &a)) {
        *ret_code = HTTP_DESTINATION_IP_PROHIBITED;
    } else if ((t->c = client_get(h, l, str_from(t->host), e))) {
        t->prev = t->c->last;
        if (t->prev)
            t->prev->next = t;
        else
            t->c->all = t;
        t->c->last = t;
        transfer_init(t, q, o);
        t->easy = curl_easy_init();
        if (t->easy && !t->url.failed && !t->target.failed && !t->method.failed &&
            headers_make(t, q))
            return t;
        err_no_memory(e);
        transfer_free(t);
        return NULL;
    } else {
        *ret_code = HTTP_CONFIGURATION_ERROR;
    }
    free(t);
    return NULL;
}

static void future_fail(guest *g, outgoing_request *q, future_incoming_response *f, uint32_t code)
{
    if (q->body)
        body_out_close(g, q->body);
    object_free(g, &q->o);
    f->state = FUTURE_READY;
    f->error = http_error(code, (str){NULL, 0});
}

/* Fields that were another object's become the request's own. */
static bool headers_own(guest *g, outgoing_request *q)
{
    fields *was = q->headers, *own = was->borrowed ? fields_new(g, NULL) : was;
    for (uint32_t i = 0; own && own != was && i < was->n; i++)
        if (!fields_add(g, own, was->at[i].name, was->at[i].value)) {
            object_free(g, &own->o);
            return false;
        }
    if (!own)
        return false;
    if (own != was)
        object_free(g, &was->o);
    q->headers = own;
    return true;
}

/* The guest's own request is a part of a trace: so is what it causes, unless it says of which.
 * False: no memory. */
static bool trace_continue(guest *g, outgoing_request *q)
{
    size_t n;
    const http_field *of = guest_http_fields(g, &n);
    traceparent parent;
    bool states = !fields_find(q->headers, S("tracestate")).p;
    if (fields_find(q->headers, S("traceparent")).p || !traceparent_find(of, n, &parent))
        return true;
    if (!headers_own(g, q))
        return false;
    for (size_t i = 0; i < n; i++)
        if ((str_eq(of[i].name, S("traceparent")) ||
             (states && str_eq(of[i].name, S("tracestate")))) &&
            !fields_add(g, q->headers, of[i].name, of[i].value))
            return false;
    return true;
}

void http_client_send(guest *g, outgoing_request *q, const request_options *options,
                      future_incoming_response *f)
{
    bool tls = !q->scheme.p || str_eq_nocase(q->scheme, S("https"));
    str host;
    uint16_t port;
    uint32_t code;
    err e;
    if (!trace_continue(g, q)) {
        future_fail(g, q, f, HTTP_INTERNAL_ERROR);
        return;
    }
    authority_split(q->authority, tls, &host, &port);
    str scheme = tls ? S("https") : S("http");
    switch (reach_chain(g, scheme, host)) {
    case CHAIN_INSIDE:
        chain_send(g, q, options, f);
        return;
    case CHAIN_DENIED:
        reach_denied(g, scheme, host.n ? host : S("self"), port);
        future_fail(g, q, f, HTTP_REQUEST_DENIED);
        return;
    case CHAIN_NOWHERE:
        future_fail(g, q, f, HTTP_DESTINATION_NOT_FOUND);
        return;
    case CHAIN_OUTSIDE:
        break;
    }
    if (!reach_allowed(g, scheme, host, port)) {
        reach_denied(g, scheme, host, port);
        future_fail(g, q, f, HTTP_REQUEST_DENIED);
        return;
    }
    uint64_t owner = g->component->owner;
    if (g->files >= HOST_FILES_MAX || !permit_possible(PERMIT_HTTP) || !permit_owner_take(owner)) {
        future_fail(g, q, f, HTTP_CONNECTION_LIMIT_REACHED);
        return;
    }
    transfer *t = transfer_new(g->component, g->l, q, options, &code, &e);
    if (!t) {
        permit_owner_give(owner);
        future_fail(g, q, f, code);
        return;
    }
    t->owner = owner;
    t->owned = true;
    g->files++; /* its connection */
    t->g = g;
    t->f = f;
    f->client = t;
    if (g->transfers)
        g->transfers->guest_prev = t;
    t->guest_next = g->transfers;
    g->transfers = t;
    t->body = q->body;
    q->body = NULL;
    object_free(g, &q->o);
    if (t->body)
        body_out_attach(g, t->body, &out_sink, t);
    client_kick(t->c);
}

void http_client_drop(guest *g, future_incoming_response *f)
{
    transfer *t = f->client;
    if (!t)
        return;
    f->client = NULL;
    transfer_detach(t);
    client_kick(t->c);
}

void http_client_free(guest *g)
{
    while (g->transfers) {
        transfer *t = g->transfers;
        transfer_detach(t);
        client_kick(t->c);
    }
}

void host_loop_close(struct loop *l)
{
    names_close(l);
    clients_close(l);
    chain_loop_close();
}
