/* Outgoing requests of guests: libcurl's multi interface on the event loop.
 *
 * libcurl never runs on a fiber: host functions only change a transfer and start the kick timer;
 * everything that calls libcurl happens in on_kick, on_timeout and on_socket, from the loop. Nor is
 * a guest woken inside libcurl's callbacks (what it wakes may free the guest): a transfer that
 * changed is marked, and settle looks at the marks afterwards.
 *
 *   guest --body_sink--> out (64 kB) --read callback--> libcurl --write callback--> in --> guest
 *
 * Both buffers are bounded: the guest waits for room, libcurl is paused. A transfer belongs to its
 * guest until the guest ends or lets go of everything that reads it; then it is cancelled.
 *
 * Proxies and credentials of the environment are never used, redirects are the guest's business,
 * and connections are pooled for the whole process: a request carries no identity but its own. */
#include "host/http_side.h"
#include "host/sockets.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct http_transfer transfer;

/* One a loop, and one loop a process. */
typedef struct {
    struct loop *l;
    CURLM *multi;
    loop_timer timer, kick;
    transfer *all;
} http_client;

struct http_transfer {
    http_client *c;
    transfer *next, *prev;             /* of all */
    transfer *guest_next, *guest_prev; /* of the guest's */
    guest *g;                          /* NULL: it is gone or has let go */
    future_incoming_response *f;       /* until it is resolved */
    CURL *easy;
    struct curl_slist *headers;
    buf url, target, method;
    bool tls, started, finished, cancelled, changed;
    bool resume; /* libcurl is paused and should look again */
    /* request body */
    body_out *body; /* a reference; NULL: none */
    buf out;
    bool out_finished, out_paused;
    int64_t content_length;
    /* response */
    body_source source; /* what the guest reads */
    bool source_live;
    buf head, tail; /* "name\0value\0" ... of the head and of the trailers */
    size_t head_bytes;
    long status;
    bool head_done, resolved;
    buf in;
    bool in_paused, in_end;
    bool failed;
    error_info error;
    http_field *trailers;
    size_t trailers_count;
    /* timeouts */
    ns first_byte, between_bytes;
    loop_timer deadline;
};

static http_client *client; /* of this process */

enum { HEAD_BYTES_MAX = 128 << 10 };
#define TIMEOUT_DEFAULT_NS (600 * NS_PER_S)

static void on_kick(void *user);

static void kick(transfer *t)
{
    /* Without memory for a timer the transfer stands still until another one kicks. */
    loop_timer *k = &t->c->kick;
    if (!loop_timer_active(k))
        loop_timer_start(t->c->l, k, 0, on_kick, t->c);
}

static void resume(transfer *t)
{
    t->resume = true;
    kick(t);
}

static void transfer_detach(transfer *t);

/* --- resolving ----------------------------------------------------------------------------- */

static void transfer_fail(transfer *t, uint32_t code, str text)
{
    if (t->failed || t->in_end)
        return;
    t->failed = true;
    t->error = http_error(code, text);
    t->changed = true;
}

static uint32_t code_of(CURLcode r, CURL *easy)
{
    long number = 0;
    curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &number);
    switch (r) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return HTTP_DNS_ERROR;
    case CURLE_COULDNT_CONNECT:
        return number == ENETUNREACH || number == EHOSTUNREACH ? HTTP_DESTINATION_UNAVAILABLE
               : number == ETIMEDOUT                           ? HTTP_CONNECTION_TIMEOUT
                                                               : HTTP_CONNECTION_REFUSED;
    case CURLE_OPERATION_TIMEDOUT:
        return HTTP_CONNECTION_TIMEOUT;
    case CURLE_SSL_CONNECT_ERROR:
        return HTTP_TLS_PROTOCOL_ERROR;
    case CURLE_PEER_FAILED_VERIFICATION:
        return HTTP_TLS_CERTIFICATE_ERROR;
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
        return HTTP_CONNECTION_TERMINATED;
    case CURLE_PARTIAL_FILE:
        return HTTP_RESPONSE_INCOMPLETE;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return HTTP_PROTOCOL_ERROR;
    case CURLE_URL_MALFORMAT:
        return HTTP_REQUEST_URI_INVALID;
    default:
        return HTTP_INTERNAL_ERROR;
    }
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
        kick(t);
        return;
    }
    r->headers->immutable = true;
    r->status = (uint16_t)t->status;
    r->body = &t->source;
    t->source_live = true;
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
static void settle(http_client *c)
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
        }
    }
}

/* --- libcurl's callbacks ------------------------------------------------------------------- */

static void deadline_start(transfer *t, ns after);

static size_t on_header(char *p, size_t size, size_t count, void *user)
{
    transfer *t = user;
    size_t n = size * count;
    str line = str_trim((str){p, n});
    t->head_bytes += n;
    if (t->head_bytes > HEAD_BYTES_MAX) {
        transfer_fail(t, HTTP_RESPONSE_HEADER_SECTION_SIZE, (str){NULL, 0});
        return 0;
    }
    if (!t->head_done && str_starts(line, S("HTTP/"))) {
        buf_clear(&t->head);
        return n;
    }
    if (line.n == 0 && !t->head_done) {
        curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->status);
        if (t->status >= 200) {
            t->head_done = t->changed = true;
            deadline_start(t, t->between_bytes);
        }
        return n;
    }
    size_t colon = str_find(line, ':');
    if (colon == line.n || memchr(line.p, 0, line.n))
        return n;
    buf *b = t->head_done ? &t->tail : &t->head;
    buf_put_str(b, str_head(line, colon));
    buf_put_u8(b, 0);
    buf_put_str(b, str_trim(str_skip(line, colon + 1)));
    buf_put_u8(b, 0);
    return b->failed ? 0 : n;
}

static size_t on_data(char *p, size_t size, size_t count, void *user)
{
    transfer *t = user;
    size_t n = size * count;
    if (t->cancelled)
        return 0;
    if (t->in.n > 0 && t->in.n + n > HTTP_BUFFER_BYTES) {
        t->in_paused = true;
        loop_timer_stop(&t->deadline);
        return CURL_WRITEFUNC_PAUSE;
    }
    if (!buf_put(&t->in, p, n))
        return 0;
    t->changed = true;
    deadline_start(t, t->between_bytes);
    return n;
}

static size_t on_read(char *p, size_t size, size_t count, void *user)
{
    transfer *t = user;
    size_t n = size * count;
    if (t->cancelled)
        return CURL_READFUNC_ABORT;
    if (t->out.n == 0) {
        if (t->out_finished)
            return 0;
        t->out_paused = true;
        return CURL_READFUNC_PAUSE;
    }
    n = n < t->out.n ? n : t->out.n;
    memcpy(p, t->out.p, n);
    buf_drop(&t->out, n);
    t->changed = true;
    if (!t->head_done)
        deadline_start(t, t->first_byte);
    return n;
}

static void client_reap(http_client *c);

static void on_socket_ready(void *user, unsigned events);

typedef struct {
    http_client *c;
    curl_socket_t fd;
    loop_watch *w;
} client_socket;

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *socket_user)
{
    http_client *c = user;
    client_socket *s = socket_user;
    err e;
    if (what == CURL_POLL_REMOVE) {
        if (s) {
            loop_watch_close(s->w);
            free(s);
            curl_multi_assign(c->multi, fd, NULL);
        }
        return 0;
    }
    if (!s) {
        s = calloc(1, sizeof *s);
        if (!s)
            return -1;
        *s = (client_socket){.c = c, .fd = fd};
        if (!loop_watch_open(c->l, fd, on_socket_ready, s, &s->w, &e)) {
            free(s);
            return -1;
        }
        curl_multi_assign(c->multi, fd, s);
    }
    loop_watch_set(s->w, (what & CURL_POLL_IN ? LOOP_READABLE : 0u) |
                             (what & CURL_POLL_OUT ? LOOP_WRITABLE : 0u));
    return 0;
}

static void client_action(http_client *c, curl_socket_t fd, int events)
{
    int running;
    curl_multi_socket_action(c->multi, fd, events, &running);
    client_reap(c);
    settle(c);
}

static void on_socket_ready(void *user, unsigned events)
{
    client_socket *s = user;
    int what = (events & LOOP_READABLE ? CURL_CSELECT_IN : 0) |
               (events & LOOP_WRITABLE ? CURL_CSELECT_OUT : 0);
    client_action(s->c, s->fd, what);
}

static void on_timeout(void *user) { client_action(user, CURL_SOCKET_TIMEOUT, 0); }

static int on_timer(CURLM *multi, long ms, void *user)
{
    http_client *c = user;
    if (ms < 0)
        loop_timer_stop(&c->timer);
    else if (!loop_timer_start(c->l, &c->timer, (ns)ms * NS_PER_MS, on_timeout, c))
        return -1;
    return 0;
}

static bool client_get(struct loop *l)
{
    if (client)
        return true;
    http_client *c = calloc(1, sizeof *c);
    if (!c)
        return false;
    c->l = l;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) || !(c->multi = curl_multi_init())) {
        free(c);
        return false;
    }
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    client = c;
    return true;
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
}

/* Not inside libcurl. */
static void transfer_free(transfer *t)
{
    http_client *c = t->c;
    if (t->started)
        curl_multi_remove_handle(c->multi, t->easy);
    if (t->easy)
        curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->headers);
    loop_timer_stop(&t->deadline);
    if (t->prev)
        t->prev->next = t->next;
    else
        c->all = t->next;
    if (t->next)
        t->next->prev = t->prev;
    buf_fini(&t->url);
    buf_fini(&t->target);
    buf_fini(&t->method);
    buf_fini(&t->out);
    buf_fini(&t->head);
    buf_fini(&t->tail);
    buf_fini(&t->in);
    free(t->trailers);
    free(t);
}

static void on_deadline(void *user)
{
    transfer *t = user;
    transfer_fail(t, t->head_done ? HTTP_CONNECTION_READ_TIMEOUT : HTTP_RESPONSE_TIMEOUT,
                  (str){NULL, 0});
    t->cancelled = true;
    settle(t->c);
    kick(t);
}

static void deadline_start(transfer *t, ns after)
{
    if (!loop_timer_start(t->c->l, &t->deadline, after, on_deadline, t))
        t->cancelled = true;
}

/* Transfers that libcurl is done with. */
static void client_reap(http_client *c)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(c->multi, &left))) {
        transfer *t = NULL;
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode r = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        loop_timer_stop(&t->deadline);
        t->finished = t->changed = true;
        if (r == CURLE_OK && t->head_done)
            t->in_end = true;
        else
            transfer_fail(t, r == CURLE_OK ? HTTP_PROTOCOL_ERROR : code_of(r, t->easy),
                          str_from(r == CURLE_OK ? "no response" : curl_easy_strerror(r)));
    }
}

static void transfer_options(transfer *t)
{
    CURL *h = t->easy;
    str method = str_head(buf_str(&t->method), t->method.n - 1);
    bool head = str_eq(method, S("HEAD"));
    bool bodiless = head || str_eq(method, S("GET")) || str_eq(method, S("CONNECT"));
    curl_easy_setopt(h, CURLOPT_PRIVATE, t);
    curl_easy_setopt(h, CURLOPT_URL, (char *)t->url.p);
    curl_easy_setopt(h, CURLOPT_REQUEST_TARGET, (char *)t->target.p);
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h, CURLOPT_PROXY, "");
    curl_easy_setopt(h, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(h, CURLOPT_BUFFERSIZE, 16384L);
    curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(h, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, t);
    bool upload = t->body && !(t->out_finished && t->out.n == 0);
    if (head && !upload)
        curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
    if (upload) {
        curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(h, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(h, CURLOPT_READDATA, t);
        curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE, (curl_off_t)t->content_length);
    } else if (!bodiless) {
        curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE, 0L);
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, "");
    }
    curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, (char *)t->method.p);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, t->headers);
}

/* The loop's side of everything that host functions asked for. */
static void on_kick(void *user)
{
    http_client *c = user;
    for (transfer *t = c->all, *next; t; t = next) {
        next = t->next;
        if (t->cancelled || (!t->g && t->finished)) {
            if (t->g) { /* a timeout: the guest may still look at what came */
                if (t->started)
                    curl_multi_remove_handle(c->multi, t->easy);
                t->started = false;
                t->finished = true;
                continue;
            }
            transfer_free(t);
            continue;
        }
        if (!t->started && !t->finished) {
            t->started = true;
            transfer_options(t);
            deadline_start(t, t->first_byte);
            if (curl_multi_add_handle(c->multi, t->easy) != CURLM_OK) {
                t->started = false;
                t->finished = true;
                transfer_fail(t, HTTP_INTERNAL_ERROR, (str){NULL, 0});
            }
        } else if (t->resume && !t->finished) {
            t->in_paused = t->out_paused = false;
            curl_easy_pause(t->easy, CURLPAUSE_CONT);
            if (t->head_done && !t->in_paused)
                deadline_start(t, t->between_bytes);
        }
        t->resume = false;
    }
    client_reap(c);
    settle(c);
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
    t->source_live = false;
    transfer_detach(t);
    kick(t);
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
    buf_init(&line, HEAD_BYTES_MAX);
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

static transfer *transfer_new(guest *g, const outgoing_request *q, const request_options *o)
{
    transfer *t = client_get(g->l) ? calloc(1, sizeof *t) : NULL;
    if (!t)
        return NULL;
    t->c = client;
    t->source.ops = &in_ops;
    buf_init(&t->url, HTTP_URI_BYTES_MAX + 64);
    buf_init(&t->target, HTTP_URI_BYTES_MAX + 64);
    buf_init(&t->method, UINT16_MAX + 1);
    buf_init(&t->out, HTTP_BUFFER_BYTES);
    buf_init(&t->head, HEAD_BYTES_MAX);
    buf_init(&t->tail, HEAD_BYTES_MAX);
    buf_init(&t->in, HTTP_BUFFER_BYTES + 65536);
    t->tls = !q->scheme.p || str_eq_nocase(q->scheme, S("https"));
    t->content_length = fields_content_length(q->headers);
    t->first_byte = timeout_of(o, 1);
    t->between_bytes = timeout_of(o, 2);
    buf_printf(&t->url, "%s://%.*s/", t->tls ? "https" : "http", STR(q->authority));
    buf_put_u8(&t->url, 0);
    if (!q->path.n || q->path.p[0] == '?')
        buf_put_u8(&t->target, '/');
    buf_put_str(&t->target, q->path);
    buf_put_u8(&t->target, 0);
    buf_put_str(&t->method, q->method);
    buf_put_u8(&t->method, 0);
    if (t->c->all)
        t->c->all->prev = t;
    t->next = t->c->all;
    t->c->all = t;
    t->easy = curl_easy_init();
    ns connect_ms = timeout_of(o, 0) / NS_PER_MS;
    if (!t->easy || t->url.failed || t->target.failed || t->method.failed || !headers_make(t, q)) {
        transfer_free(t);
        return NULL;
    }
    curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(connect_ms ? connect_ms : 1));
    return t;
}

static void future_fail(guest *g, outgoing_request *q, future_incoming_response *f, uint32_t code)
{
    if (q->body)
        body_out_close(g, q->body);
    object_free(g, &q->o);
    f->state = FUTURE_READY;
    f->error = http_error(code, (str){NULL, 0});
}

void http_client_send(guest *g, outgoing_request *q, const request_options *options,
                      future_incoming_response *f)
{
    const host_component *h = g->component;
    bool tls = !q->scheme.p || str_eq_nocase(q->scheme, S("https"));
    str host;
    uint16_t port;
    authority_split(q->authority, tls, &host, &port);
    if (!h->outbound_allowed ||
        !h->outbound_allowed(h->outbound_user, tls ? S("https") : S("http"), host, port)) {
        future_fail(g, q, f, HTTP_REQUEST_DENIED);
        return;
    }
    transfer *t = transfer_new(g, q, options);
    if (!t) {
        future_fail(g, q, f, HTTP_INTERNAL_ERROR);
        return;
    }
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
    kick(t);
}

void http_client_drop(guest *g, future_incoming_response *f)
{
    transfer *t = f->client;
    if (!t)
        return;
    f->client = NULL;
    transfer_detach(t);
    kick(t);
}

void http_client_free(guest *g)
{
    while (g->transfers) {
        transfer *t = g->transfers;
        transfer_detach(t);
        kick(t);
    }
}

void host_loop_close(struct loop *l)
{
    http_client *c = client;
    names_close(l);
    if (!c || c->l != l)
        return;
    while (c->all) {
        must(!c->all->g);
        transfer_free(c->all);
    }
    curl_multi_cleanup(c->multi);
    loop_timer_stop(&c->timer);
    loop_timer_stop(&c->kick);
    free(c);
    client = NULL;
}
