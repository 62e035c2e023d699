/* Outgoing requests on libcurl's multi interface and the event loop: what libcurl asks for and
 * tells. What a guest sees of them is in http_client.c.
 *
 *   guest -> out --on_read--> libcurl --on_data--> in -> guest      (pauses where a buffer is full)
 *
 * - Names are never resolved by libcurl (its resolver is a thread that blocks whoever cancels it):
 *   the addresses that loop/names.h found are given with the request (CURLOPT_RESOLVE).
 * - HTTP/2 where TLS agrees on it, and one request at a time on a connection: with several, one
 *   guest that does not read would hold up those of others that share the connection.
 * - Proxies, credentials and files of the environment are never used, redirects are the guest's
 *   business. A request carries no identity but its own, so connections are pooled for the whole
 *   process, by trust (http_tls.c). A pool in which nothing ran for IDLE_NS is closed: nothing
 *   stays open for somebody who does not call. */
#include "host/http_transfer.h"
#include "host/permits.h"

#include "base/limits.h"
#include "http/field.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <stdlib.h>

#define IDLE_NS (30 * NS_PER_S)

static http_client *clients; /* of this process, one loop */

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

/* --- libcurl's callbacks ------------------------------------------------------------------- */

static size_t on_header(char *p, size_t size, size_t count, void *user)
{
    transfer *t = user;
    size_t n = size * count;
    str line = str_trim((str){p, n});
    t->head_bytes += n;
    if (t->head_bytes > HTTP_HEAD_IN_BYTES_MAX) {
        transfer_fail(t, HTTP_RESPONSE_HEADER_SECTION_SIZE, (str){NULL, 0});
        return 0;
    }
    if (!t->head_done && str_starts(line, S("HTTP/"))) {
        buf_clear(&t->head);
        /* With it libcurl would not wait for the trailers; nghttp2 checks the length by itself. */
        if (str_starts(line, S("HTTP/2")))
            curl_easy_setopt(t->easy, CURLOPT_IGNORE_CONTENT_LENGTH, 1L);
        return n;
    }
    if (line.n == 0 && !t->head_done) {
        curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->status);
        if (t->status >= 200) {
            t->head_done = t->changed = true;
            transfer_deadline(t, t->between_bytes, HTTP_CONNECTION_READ_TIMEOUT);
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
    transfer_deadline(t, t->between_bytes, HTTP_CONNECTION_READ_TIMEOUT);
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
        transfer_deadline(t, t->first_byte, HTTP_CONNECTION_READ_TIMEOUT);
    return n;
}

/* Connected, and TLS is through; the request is about to be sent. */
static int on_connected(void *user, char *ip, char *local_ip, int port, int local_port)
{
    transfer *t = user;
    transfer_deadline(t, t->first_byte, HTTP_CONNECTION_READ_TIMEOUT);
    return t->cancelled ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

/* Of the request; libcurl sends them after a chunked body, with HTTP/1.1 only. */
static int on_trailers(struct curl_slist **ret, void *user)
{
    const transfer *t = user;
    const fields *f = t->body ? t->body->trailers : NULL;
    for (uint32_t i = 0; f && i < f->n; i++) {
        buf line;
        buf_init(&line, HTTP_HEAD_IN_BYTES_MAX);
        if (field_is_no_trailer(f->at[i].name))
            continue;
        buf_printf(&line, "%.*s: %.*s", STR(f->at[i].name), STR(f->at[i].value));
        buf_put_u8(&line, 0);
        struct curl_slist *more =
            line.failed ? NULL : curl_slist_append(*ret, (const char *)line.p);
        buf_fini(&line);
        if (!more)
            return CURL_TRAILERFUNC_ABORT;
        *ret = more;
    }
    return CURL_TRAILERFUNC_OK;
}

static CURLcode on_tls(CURL *easy, void *ctx, void *user)
{
    const transfer *t = user;
    return http_tls_apply(t->c->tls, ctx) ? CURLE_OK : CURLE_SSL_CERTPROBLEM;
}

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
    curl_reap(c);
    client_settle(c);
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

/* --- pools of connections ------------------------------------------------------------------ */

static void on_kick(void *user) { http_client_kicked(user); }

void client_kick(http_client *c)
{
    /* Without memory for a timer the transfer stands still until another one kicks. */
    if (!loop_timer_active(&c->kick))
        loop_timer_start(c->l, &c->kick, 0, on_kick, c);
}

static void client_free(http_client *c)
{
    client_transfers_free(c);
    for (http_client **at = &clients; *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    curl_multi_cleanup(c->multi);
    loop_timer_stop(&c->timer);
    loop_timer_stop(&c->kick);
    loop_timer_stop(&c->idle);
    http_tls_free(c->tls);
    free(c);
}

static void on_idle(void *user) { client_free(user); }

void client_rests(http_client *c) { loop_timer_start(c->l, &c->idle, IDLE_NS, on_idle, c); }

void host_outbound_prepare(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    SSL_CTX_free(SSL_CTX_new(TLS_client_method()));
}

static http_client *client_new(struct loop *l, uint64_t owner, const host_tls *tls, err *e)
{
    http_client *c = calloc(1, sizeof *c);
    if (!c || curl_global_init(CURL_GLOBAL_DEFAULT) || !(c->multi = curl_multi_init())) {
        free(c);
        return err_no_memory(e), NULL;
    }
    c->l = l;
    c->owner = owner;
    if (!http_tls_open(tls, &c->tls, e)) {
        curl_multi_cleanup(c->multi);
        free(c);
        return NULL;
    }
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, (long)HTTP_POOLED_MAX);
    c->next = clients;
    clients = c;
    return c;
}

http_client *client_get(const host_component *h, struct loop *l, str host, err *e)
{
    const host_tls *tls = http_tls_find(h, host);
    for (http_client *c = clients; c; c = c->next)
        if (c->l == l && c->owner == h->owner && http_tls_is(c->tls, tls)) {
            loop_timer_stop(&c->idle);
            return c;
        }
    return client_new(l, h->owner, tls, e);
}

void clients_close(struct loop *l)
{
    for (http_client *c = clients, *next; c; c = next) {
        next = c->next;
        if (c->l == l)
            client_free(c);
    }
}

/* --- transfers ----------------------------------------------------------------------------- */

/* Transfers that libcurl is done with. */
void curl_reap(http_client *c)
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
        curl_stop(t);
        t->changed = true;
        if (r == CURLE_OK && t->head_done)
            t->in_end = true;
        else
            transfer_fail(t, r == CURLE_OK ? HTTP_PROTOCOL_ERROR : code_of(r, t->easy),
                          str_from(r == CURLE_OK ? "no response" : curl_easy_strerror(r)));
    }
}

/* Looking up the name has used some of it. */
static long connect_ms_left(const transfer *t)
{
    ns spent = clock_mono() - t->begun, left = spent < t->connect ? t->connect - spent : 0;
    return left > NS_PER_MS ? (long)(left / NS_PER_MS) : 1;
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
    curl_easy_setopt(h, CURLOPT_RESOLVE, t->addresses);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, connect_ms_left(t));
    curl_easy_setopt(h, CURLOPT_PREREQFUNCTION, on_connected);
    curl_easy_setopt(h, CURLOPT_PREREQDATA, t);
    curl_easy_setopt(h, CURLOPT_CAINFO, NULL);
    curl_easy_setopt(h, CURLOPT_CAPATH, NULL);
    curl_easy_setopt(h, CURLOPT_SSL_CTX_FUNCTION, on_tls);
    curl_easy_setopt(h, CURLOPT_SSL_CTX_DATA, t);
    curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    if (!permit_pooling()) {
        curl_easy_setopt(h, CURLOPT_FRESH_CONNECT, 1L);
        curl_easy_setopt(h, CURLOPT_FORBID_REUSE, 1L);
    }
    curl_easy_setopt(h, CURLOPT_BUFFERSIZE, 16384L);
    curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(h, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, t);
    bool upload = t->out.n || (t->body && !t->out_finished);
    if (head && !upload)
        curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
    if (upload) {
        curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(h, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(h, CURLOPT_READDATA, t);
        curl_easy_setopt(h, CURLOPT_TRAILERFUNCTION, on_trailers);
        curl_easy_setopt(h, CURLOPT_TRAILERDATA, t);
        curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE, (curl_off_t)t->content_length);
    } else if (!bodiless) {
        curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE, 0L);
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, "");
    }
    curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, (char *)t->method.p);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, t->headers);
}

bool curl_start(transfer *t)
{
    transfer_options(t);
    /* libcurl's own clock runs now, and tells apart what it was doing; ours begins again in
     * on_connected. */
    loop_timer_stop(&t->deadline);
    if (curl_multi_add_handle(t->c->multi, t->easy) != CURLM_OK)
        return false;
    t->state = TRANSFER_RUNNING;
    return true;
}

void curl_stop(transfer *t)
{
    if (t->state == TRANSFER_RUNNING)
        curl_multi_remove_handle(t->c->multi, t->easy);
    t->state = TRANSFER_OVER;
    transfer_permit_return(t);
}

void curl_resume(transfer *t)
{
    t->in_paused = t->out_paused = false;
    curl_easy_pause(t->easy, CURLPAUSE_CONT);
    if (t->head_done && !t->in_paused)
        transfer_deadline(t, t->between_bytes, HTTP_CONNECTION_READ_TIMEOUT);
}
