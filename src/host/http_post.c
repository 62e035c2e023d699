/* See post.h: a transfer (http_transfer.h) that no guest has. Its body is there as a whole, and as
 * soon as the head of the answer has come it is over. */
#include "host/http_transfer.h"
#include "host/permits.h"
#include "host/post.h"

#include "base/limits.h"

#include <stdlib.h>

struct host_post {
    transfer *t;   /* NULL: over */
    uint32_t code; /* it could not even begin; then t is NULL, and soon tells */
    loop_timer soon;
    void (*on_done)(void *user, const host_post_result *r);
    void *user;
};

static const char *reason_of(uint32_t code)
{
    switch (code) {
    case HTTP_DNS_TIMEOUT:
    case HTTP_DNS_ERROR:
        return "its name could not be resolved";
    case HTTP_DESTINATION_IP_PROHIBITED:
        return "its address is closed to apps on this node";
    case HTTP_DESTINATION_UNAVAILABLE:
    case HTTP_CONNECTION_REFUSED:
        return "no connection could be made";
    case HTTP_CONNECTION_TIMEOUT:
    case HTTP_CONNECTION_READ_TIMEOUT:
        return "it did not answer in time";
    case HTTP_TLS_PROTOCOL_ERROR:
    case HTTP_TLS_CERTIFICATE_ERROR:
        return "TLS failed, or its certificate is not trusted";
    case HTTP_REQUEST_URI_INVALID:
        return "its host is neither a name nor an address";
    default:
        return "the connection failed before there was an answer";
    }
}

static void tell(host_post *p, unsigned status, uint32_t code)
{
    host_post_result r = {.status = status,
                          .prohibited = !status && code == HTTP_DESTINATION_IP_PROHIBITED,
                          .why = status ? "" : reason_of(code)};
    p->on_done(p->user, &r);
}

/* The transfer goes on its own way to its end. */
static void let_go(host_post *p)
{
    transfer *t = p->t;
    p->t = NULL;
    if (t) {
        t->post = NULL;
        t->cancelled = true;
        client_kick(t->c);
    }
}

void post_settle(transfer *t)
{
    host_post *p = t->post;
    buf_clear(&t->in);
    if (!t->head_done && !t->failed)
        return;
    unsigned status = t->head_done ? (unsigned)t->status : 0;
    uint32_t code = t->error.code;
    let_go(p);
    tell(p, status, code);
}

static void on_soon(void *user)
{
    host_post *p = user;
    tell(p, 0, p->code);
}

static transfer *transfer_make(const host_component *h, struct loop *l, const host_post_request *q,
                               uint32_t *ret_code, err *e)
{
    fields f = {.at = (http_field *)(uintptr_t)q->fields, .n = (uint32_t)q->fields_count};
    outgoing_request request = {.headers = &f,
                                .method = S("POST"),
                                .scheme = q->scheme,
                                .authority = q->authority,
                                .path = q->target};
    request_options o = {.timeouts = {q->timeout, q->timeout, q->timeout}};
    transfer *t = transfer_new(h, l, &request, &o, ret_code, e);
    if (!t)
        return NULL;
    t->content_length = (int64_t)q->body.n;
    t->out_finished = true;
    t->owner = h->owner;
    t->owned = true;
    if (!buf_put(&t->out, q->body.p, q->body.n))
        transfer_fail(t, HTTP_INTERNAL_ERROR, S("no memory for a transfer"));
    return t;
}

bool host_post_begin(const host_component *h, struct loop *l, const host_post_request *q,
                     void (*on_done)(void *user, const host_post_result *r), void *user,
                     host_post **ret, err *e)
{
    if (!permit_possible(PERMIT_HTTP) || !permit_owner_take(h->owner))
        return err_set(e, ERR_LIMIT, "too many connections are open");
    host_post *p = calloc(1, sizeof *p);
    if (!p) {
        permit_owner_give(h->owner);
        return err_no_memory(e);
    }
    *p = (host_post){.on_done = on_done, .user = user};
    p->t = transfer_make(h, l, q, &p->code, e);
    if (p->t) {
        p->t->post = p;
        client_kick(p->t->c);
    } else {
        permit_owner_give(h->owner);
        if (!loop_timer_start(l, &p->soon, 0, on_soon, p)) {
            free(p);
            return err_no_memory(e);
        }
    }
    *ret = p;
    return true;
}

void host_post_free(host_post *p)
{
    if (!p)
        return;
    let_go(p);
    loop_timer_stop(&p->soon);
    free(p);
}
