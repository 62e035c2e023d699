/* See chain.h. A chain is both ends of one request: to the caller what an outgoing transfer is, to
 * the called component an http_exchange, and between them two buffers.
 *
 *     caller --body_sink--> in --exchange_read--> called
 *     caller <--body_source-- out <--exchange_write-- called
 *
 * Either end only fills or empties a buffer and marks the chain; a hook tells the other end, as
 * soon as the callback that all of it happened in is over, or at the end of the turn. So a callback
 * never runs inside a call of its receiver's own (exchange.h), and no guest runs on another one's
 * fiber. One request is answered through the whole chain before the next one begins, by instances
 * whose memory is in the cache. At the end of a turn the hook asks for one more whenever it did
 * something: what it caused may be bytes that the server's own hook has to write.
 *
 * A chain is freed by the hook, once the caller has let go and the called side gave the exchange
 * back; some are kept for the next ones, with the memory that a short request needs. */
#include "host/chain.h"

#include "base/must.h"
#include "http/exchange_impl.h"
#include "http/field.h"

#include <stdlib.h>

typedef struct http_chain chain;

enum { SPARE_MAX = 16, SPARE_BODY_BYTES_MAX = 4096 };

struct http_chain {
    http_exchange x; /* first: the exchange is the chain */
    arena a;         /* the texts of both heads */
    unsigned depth;
    str host; /* that the guest asked for */
    const host_component *from;
    chain *marked_next;
    bool marked;
    /* the caller */
    guest *g; /* NULL: it is gone or has let go */
    chain *guest_next, *guest_prev;
    future_incoming_response *f; /* until it is resolved */
    body_out *body;              /* a reference; NULL: none */
    body_source source;
    loop_timer deadline;
    ns first_byte;
    /* the called */
    bool begun, over; /* over: the exchange was given back */
    /* between them */
    buf in, out;
    bool in_end, in_broken, in_waits;
    bool head_done, out_end, failed;
    http_field *fields, *trailers_out;
    size_t fields_count, trailers_out_count;
    error_info error;
    /* whom to tell */
    bool tell_caller, tell_readable, tell_writable;
};

/* Of this process: it has one loop. */
static struct {
    loop_hook *hook;
    chain *first, **last;
    chain *spare; /* by marked_next */
    unsigned spare_count;
} marks = {.last = &marks.first};

static void mark(chain *c)
{
    if (c->marked)
        return;
    c->marked = true;
    c->marked_next = NULL;
    *marks.last = c;
    marks.last = &c->marked_next;
    loop_hook_soon(marks.hook);
}

static chain *chain_of(const http_exchange *x) { return (chain *)(uintptr_t)x; }

/* --- the caller ------------------------------------------------------------------------------ */

static void caller_leave(chain *c)
{
    guest *g = c->g;
    if (!g)
        return;
    if (c->guest_prev)
        c->guest_prev->guest_next = c->guest_next;
    else
        g->chains = c->guest_next;
    if (c->guest_next)
        c->guest_next->guest_prev = c->guest_prev;
    if (c->body) {
        body_out_close(g, c->body);
        body_out_unref(g, c->body);
    }
    loop_timer_stop(&c->deadline);
    c->body = NULL;
    c->f = NULL;
    c->g = NULL;
    mark(c);
}

static void fail(chain *c, uint32_t code)
{
    if (c->failed || c->out_end)
        return;
    c->failed = true;
    c->error = http_error(code, (str){NULL, 0});
    c->tell_caller = true;
    mark(c);
}

/* The head is there or will never be: the future says so. */
static void resolve(chain *c)
{
    guest *g = c->g;
    future_incoming_response *f = c->f;
    if (!f || (!c->head_done && !c->failed))
        return;
    loop_timer_stop(&c->deadline);
    c->f = NULL;
    f->chain = NULL;
    f->state = FUTURE_READY;
    f->error = c->error;
    if (!c->head_done)
        return;
    incoming_response *r = OBJECT_NEW(g, incoming_response, incoming_response_resource, NULL);
    bool ok = r && (r->headers = fields_new(g, NULL));
    for (size_t i = 0; ok && i < c->fields_count; i++)
        ok = fields_add(g, r->headers, c->fields[i].name, c->fields[i].value);
    if (!ok) {
        object_free(g, (object *)r);
        f->error = http_error(HTTP_INTERNAL_ERROR, S("no memory for the response"));
        caller_leave(c);
        return;
    }
    r->headers->immutable = true;
    r->status = (uint16_t)c->x.status;
    r->body = &c->source;
    f->response = r;
}

/* The request body moves on, or ends for want of somebody who takes it. */
static void body_settle(chain *c)
{
    body_out *b = c->body;
    if (!b)
        return;
    body_out_pump(c->g, b);
    if (c->over)
        body_out_close(c->g, b);
    else if (b->state == BODY_FINISHED && !c->in_end && queue_bytes(&b->early) == 0) {
        c->in_end = c->tell_readable = true;
        mark(c);
    }
}

static size_t sink_room(guest *g, void *user)
{
    const chain *c = user;
    return c->in.n < HTTP_BUFFER_BYTES ? HTTP_BUFFER_BYTES - c->in.n : 0;
}

static size_t sink_write(guest *g, void *user, const void *p, size_t n)
{
    chain *c = user;
    size_t room = sink_room(g, c), k = n < room ? n : room;
    if (k == 0 || !buf_put(&c->in, p, k))
        return 0;
    c->tell_readable = true;
    mark(c);
    return k;
}

static void sink_finished(guest *g, void *user)
{
    chain *c = user;
    c->tell_caller = true; /* body_settle looks at what `early` still holds */
    mark(c);
}

static void sink_broken(guest *g, void *user)
{
    chain *c = user;
    c->in_broken = c->tell_readable = true;
    fail(c, HTTP_REQUEST_BODY_SIZE);
}

static const body_sink sink = {
    .room = sink_room, .write = sink_write, .finished = sink_finished, .broken = sink_broken};

static chain *of_source(body_source *b)
{
    return (chain *)(void *)((char *)b - offsetof(chain, source));
}

static size_t source_readable(guest *g, body_source *b, body_state *ret_state)
{
    chain *c = of_source(b);
    *ret_state = c->out.n     ? BODY_OPEN
                 : c->out_end ? BODY_END
                 : c->failed  ? BODY_ABORTED
                              : BODY_OPEN;
    return c->out.n;
}

static void source_read(guest *g, body_source *b, void *p, size_t n)
{
    chain *c = of_source(b);
    must(n <= c->out.n);
    bool was_full = c->out.n >= HTTP_BUFFER_BYTES;
    if (p)
        memcpy(p, c->out.p, n);
    buf_drop(&c->out, n);
    if (was_full) {
        c->tell_writable = true;
        mark(c);
    }
}

static const http_field *source_trailers(guest *g, body_source *b, size_t *ret_n)
{
    chain *c = of_source(b);
    *ret_n = c->trailers_out_count;
    return c->trailers_out;
}

static error_info source_error(guest *g, body_source *b) { return of_source(b)->error; }

static void source_release(guest *g, body_source *b) { caller_leave(of_source(b)); }

static const body_source_ops source_ops = {.readable = source_readable,
                                           .read = source_read,
                                           .trailers = source_trailers,
                                           .error = source_error,
                                           .release = source_release};

/* --- the called ------------------------------------------------------------------------------ */

static size_t x_readable(const http_exchange *x, body_state *ret_state)
{
    const chain *c = chain_of(x);
    *ret_state = c->in.n                              ? BODY_OPEN
                 : c->in_end || !x->request.has_body  ? BODY_END
                 : c->in_broken || !c->g || c->x.gone ? BODY_ABORTED
                                                      : BODY_OPEN;
    return c->in.n;
}

static size_t x_read(http_exchange *x, void *p, size_t n, body_state *ret_state)
{
    chain *c = chain_of(x);
    n = n < c->in.n ? n : c->in.n;
    if (n) {
        memcpy(p, c->in.p, n);
        buf_drop(&c->in, n);
        x->bytes_in += n;
        c->tell_caller = true;
        mark(c);
    }
    x_readable(x, ret_state);
    return n;
}

static str decimal(arena *a, uint64_t v)
{
    char digits[20], *p = digits + sizeof digits;
    do
        *--p = (char)('0' + v % 10);
    while (v /= 10);
    return arena_str(a, (str){p, (size_t)(digits + sizeof digits - p)});
}

static bool x_start(http_exchange *x, const http_field *at, size_t count, err *e)
{
    chain *c = chain_of(x);
    c->fields = ARENA_ARRAY(&c->a, http_field, count + 1);
    if (!c->fields)
        return err_no_memory(e);
    for (size_t i = 0; i < count; i++)
        c->fields[c->fields_count++] =
            (http_field){arena_str(&c->a, at[i].name), arena_str(&c->a, at[i].value)};
    if (x->length >= 0 && x->status != 204)
        c->fields[c->fields_count++] =
            (http_field){S("content-length"), decimal(&c->a, (uint64_t)x->length)};
    for (size_t i = 0; i < c->fields_count; i++)
        if (!c->fields[i].name.p || !c->fields[i].value.p)
            return err_no_memory(e);
    c->head_done = c->tell_caller = true;
    mark(c);
    return true;
}

static size_t x_room(const http_exchange *x)
{
    const chain *c = chain_of(x);
    return c->out.n < HTTP_BUFFER_BYTES ? HTTP_BUFFER_BYTES - c->out.n : 0;
}

static void x_write(http_exchange *x, const void *p, size_t n)
{
    chain *c = chain_of(x);
    if (!buf_put(&c->out, p, n))
        fail(c, HTTP_INTERNAL_ERROR);
    c->tell_caller = true;
    mark(c);
}

static void give_back(chain *c)
{
    c->over = c->tell_caller = true;
    exchange_bind(&c->x, NULL, NULL);
    mark(c);
}

static void x_end(http_exchange *x, const http_field *trailers, size_t count)
{
    chain *c = chain_of(x);
    c->trailers_out = ARENA_ARRAY(&c->a, http_field, count + 1);
    for (size_t i = 0; c->trailers_out && i < count; i++)
        c->trailers_out[c->trailers_out_count++] =
            (http_field){arena_str(&c->a, trailers[i].name), arena_str(&c->a, trailers[i].value)};
    if (!x->bodiless && x->length >= 0 && x->bytes_out < (uint64_t)x->length)
        fail(c, HTTP_RESPONSE_INCOMPLETE);
    c->out_end = !c->failed;
    give_back(c);
}

static void x_abort(http_exchange *x, unsigned status, const http_field *at, size_t count)
{
    fail(chain_of(x), HTTP_RESPONSE_INCOMPLETE);
    give_back(chain_of(x));
}

static void x_free(http_exchange *x) { give_back(chain_of(x)); }

static const exchange_ops ops = {x_read,  x_readable, x_start, x_room,
                                 x_write, x_end,      x_abort, x_free};

unsigned host_chain_depth(const http_exchange *x)
{
    return x->ops == &ops ? chain_of(x)->depth : 0;
}

/* --- telling --------------------------------------------------------------------------------- */

static void body_rest(buf *b)
{
    if (b->cap > SPARE_BODY_BYTES_MAX)
        buf_fini(b);
    buf_clear(b);
}

static void chain_destroy(chain *c)
{
    buf_fini(&c->in);
    buf_fini(&c->out);
    arena_fini(&c->a);
    free(c);
}

static void chain_free(chain *c)
{
    arena_reset(&c->a);
    body_rest(&c->in);
    body_rest(&c->out);
    if (marks.spare_count < SPARE_MAX && c->a.used_bytes <= SPARE_BODY_BYTES_MAX) {
        c->marked_next = marks.spare;
        marks.spare = c;
        marks.spare_count++;
        return;
    }
    chain_destroy(c);
}

static chain *chain_take(void)
{
    chain *c = marks.spare;
    if (c) {
        marks.spare = c->marked_next;
        marks.spare_count--;
        *c = (chain){.a = c->a, .in = c->in, .out = c->out};
        return c;
    }
    c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    arena_init(&c->a, HTTP_HEAD_BYTES_MAX * 8);
    buf_init(&c->in, HTTP_BUFFER_BYTES);
    buf_init(&c->out, HTTP_BUFFER_BYTES);
    return c;
}

static void tell_called(chain *c)
{
    exchange_callbacks cb = c->x.callbacks;
    bool readable = c->tell_readable, writable = c->tell_writable;
    c->tell_readable = c->tell_writable = false;
    if (!c->g && !c->x.gone) { /* the caller has gone: as if a client had */
        c->x.gone = true;
        if (cb.on_closed)
            cb.on_closed(c->x.user);
        return;
    }
    if (c->x.gone)
        return;
    if (readable && cb.on_readable)
        cb.on_readable(c->x.user);
    cb = c->x.callbacks;
    if (writable && !c->over && cb.on_writable)
        cb.on_writable(c->x.user);
}

static void tell(chain *c)
{
    if (!c->begun && c->g) {
        c->begun = true;
        c->from->chain_begin(c->from->outbound_user, &c->x, c->host);
    } else if (c->begun && !c->over) {
        tell_called(c);
    }
    if (c->tell_caller && c->g) {
        guest *g = c->g;
        c->tell_caller = false;
        body_settle(c);
        resolve(c);
        guest_woken(g);
    }
    if (!c->g && (c->over || !c->begun) && !c->marked)
        chain_free(c);
}

static bool on_turn_end(void *user)
{
    enum { TOLD_MAX = 256 }; /* then others have their turn */
    unsigned told = 0;
    for (chain *c; (c = marks.first) && told < TOLD_MAX; told++) {
        if (!(marks.first = c->marked_next))
            marks.last = &marks.first;
        c->marked = false;
        tell(c);
    }
    return told > 0;
}

static void on_deadline(void *user)
{
    chain *c = user;
    guest *g = c->g;
    fail(c, HTTP_RESPONSE_TIMEOUT);
    resolve(c);
    caller_leave(c);
    guest_woken(g);
}

/* --- for the host ---------------------------------------------------------------------------- */

static bool request_make(chain *c, const outgoing_request *q, str authority)
{
    const fields *f = q->headers;
    http_field *at = ARENA_ARRAY(&c->a, http_field, f->n + 1);
    bool rooted = q->path.n && q->path.p[0] == '/';
    http_request *r = &c->x.request;
    *r = (http_request){
        .method = arena_str(&c->a, q->method),
        .target = rooted ? arena_str(&c->a, q->path) : arena_printf(&c->a, "/%.*s", STR(q->path)),
        .authority = arena_str(&c->a, authority),
        .scheme = S("http"),
        .fields = at,
        .content_length = c->body ? fields_content_length(f) : -1,
        .has_body = c->body != NULL,
        .peer = S("0.0.0.0:0"),
        .begun_mono = clock_mono(),
    };
    if (!at || !r->method.p || !r->target.p || !r->authority.p)
        return false;
    at[r->fields_count++] = (http_field){S("host"), r->authority};
    for (uint32_t i = 0; i < f->n; i++) {
        if (field_is_hop(f->at[i].name) || str_eq(f->at[i].name, S("host")))
            continue;
        http_field *to = &at[r->fields_count++];
        *to = (http_field){arena_str(&c->a, f->at[i].name), arena_str(&c->a, f->at[i].value)};
        if (!to->name.p || !to->value.p)
            return false;
    }
    return true;
}

static chain *chain_new(guest *g, outgoing_request *q)
{
    err e;
    if (!marks.hook && !loop_hook_add(g->l, on_turn_end, NULL, &marks.hook, &e))
        return NULL;
    chain *c = chain_take();
    if (!c)
        return NULL;
    c->x.ops = &ops;
    c->x.length = -1;
    c->source.ops = &source_ops;
    c->from = g->component;
    c->depth = g->chain_depth + 1;
    c->body = q->body;
    /* `self` is asked as the app was asked itself. */
    str own = guest_http_authority(g);
    bool is_self = !q->authority.n || str_eq(q->authority, S("self.alt"));
    c->host = arena_str(&c->a, str_head(q->authority, str_find(q->authority, ':')));
    if (!c->host.p || !request_make(c, q, is_self && own.n ? own : q->authority)) {
        c->body = NULL;
        chain_free(c);
        return NULL;
    }
    return c;
}

static void refuse(guest *g, outgoing_request *q, future_incoming_response *f, uint32_t code)
{
    if (q->body)
        body_out_close(g, q->body);
    object_free(g, &q->o);
    f->state = FUTURE_READY;
    f->error = http_error(code, (str){NULL, 0});
}

void chain_send(guest *g, outgoing_request *q, const request_options *options,
                future_incoming_response *f)
{
    if (g->chain_depth >= HOST_CHAIN_DEPTH_MAX) {
        refuse(g, q, f, HTTP_LOOP_DETECTED);
        return;
    }
    chain *c = chain_new(g, q);
    if (!c) {
        refuse(g, q, f, HTTP_INTERNAL_ERROR);
        return;
    }
    c->g = g;
    c->f = f;
    f->chain = c;
    if (g->chains)
        g->chains->guest_prev = c;
    c->guest_next = g->chains;
    g->chains = c;
    q->body = NULL;
    object_free(g, &q->o);
    if (c->body) {
        body_out_attach(g, c->body, &sink, c);
        c->tell_caller = true;
    }
    if (options && options->timeouts[1] != UINT64_MAX)
        loop_timer_start(g->l, &c->deadline, options->timeouts[1], on_deadline, c);
    mark(c);
}

bool chain_drop(guest *g, future_incoming_response *f)
{
    chain *c = f->chain;
    if (!c)
        return false;
    f->chain = NULL;
    caller_leave(c);
    return true;
}

void chain_free_all(guest *g)
{
    while (g->chains)
        caller_leave(g->chains);
}

void chain_loop_close(void)
{
    on_turn_end(NULL);
    if (marks.hook)
        loop_hook_remove(marks.hook);
    marks.hook = NULL;
    for (chain *c; (c = marks.spare);) {
        marks.spare = c->marked_next;
        chain_destroy(c);
    }
    marks.spare_count = 0;
}
