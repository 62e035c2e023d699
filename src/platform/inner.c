/* See inner.h. What has happened is noted at once and told at the end of the turn, by a hook, so
 * that no callback runs inside a call of its receiver's own (exchange.h). */
#include "platform/inner.h"

#include "base/limits.h"
#include "base/must.h"
#include "http/exchange_impl.h"

#include <stdlib.h>

struct inner {
    http_exchange x; /* first: the exchange is the inner one */
    arena a;
    bytes body;
    size_t body_read;
    buf out, log;
    bool body_cut, log_cut, aborted;
    http_field *fields;
    size_t fields_count;
    bool returned; /* the exchange was given back */
    bool taken, over;
    bool cancelled, told_done, yields;
    ns cpu_ns, wall_ns;
    size_t memory_bytes;
    char id[INNER_ID_BYTES + 1];
    void (*on_done)(void *user);
    void *user;
    inner *next;
    bool marked;
};

/* Of this process: it has one loop. */
static struct {
    loop_hook *hook;
    inner *first, **last;
} marks = {.last = &marks.first};

static void mark(inner *i)
{
    if (i->marked)
        return;
    i->marked = true;
    i->next = NULL;
    *marks.last = i;
    marks.last = &i->next;
}

static inner *of(const http_exchange *x) { return (inner *)(uintptr_t)x; }

static size_t x_readable(const http_exchange *x, body_state *ret_state)
{
    const inner *i = of(x);
    size_t left = i->body.n - i->body_read;
    *ret_state = i->x.gone ? BODY_ABORTED : left ? BODY_OPEN : BODY_END;
    return i->x.gone ? 0 : left;
}

static size_t x_read(http_exchange *x, void *p, size_t n, body_state *ret_state)
{
    inner *i = of(x);
    size_t left = x_readable(x, ret_state);
    n = n < left ? n : left;
    if (n)
        memcpy(p, i->body.p + i->body_read, n);
    i->body_read += n;
    x->bytes_in += n;
    x_readable(x, ret_state);
    return n;
}

static bool x_start(http_exchange *x, const http_field *at, size_t count, err *e)
{
    inner *i = of(x);
    i->fields = ARENA_ARRAY(&i->a, http_field, count + 1);
    if (!i->fields)
        return err_no_memory(e);
    for (size_t k = 0; k < count; k++) {
        http_field f = {arena_str(&i->a, at[k].name), arena_str(&i->a, at[k].value)};
        if (!f.name.p || !f.value.p)
            return err_no_memory(e);
        i->fields[i->fields_count++] = f;
    }
    return true;
}

static size_t x_room(const http_exchange *x) { return HTTP_BUFFER_BYTES; }

static void x_write(http_exchange *x, const void *p, size_t n)
{
    inner *i = of(x);
    size_t room = i->out.max - i->out.n, kept = n < room ? n : room;
    i->body_cut |= kept < n || !buf_put(&i->out, p, kept);
}

static void give_back(inner *i)
{
    i->returned = true;
    exchange_bind(&i->x, NULL, NULL);
    mark(i);
}

static void x_end(http_exchange *x, const http_field *trailers, size_t count)
{
    inner *i = of(x);
    i->aborted = !x->bodiless && x->length >= 0 && x->bytes_out < (uint64_t)x->length;
    give_back(i);
}

static void x_abort(http_exchange *x, unsigned status, const http_field *at, size_t count)
{
    of(x)->aborted = true;
    give_back(of(x));
}

static void x_free(http_exchange *x) { give_back(of(x)); }

static const exchange_ops ops = {x_read,  x_readable, x_start, x_room,
                                 x_write, x_end,      x_abort, x_free};

/* --- telling ---------------------------------------------------------------------------------- */

static void tell(inner *i)
{
    if (i->cancelled && !i->x.gone && !i->returned) {
        i->x.gone = true;
        if (i->x.callbacks.on_closed)
            i->x.callbacks.on_closed(i->x.user);
        else
            i->returned = true; /* nobody had it yet */
    }
    if (i->returned && (i->over || !i->taken) && !i->told_done) {
        i->told_done = true;
        i->on_done(i->user);
    }
}

static bool on_turn_end(void *user)
{
    enum { TOLD_MAX = 256 }; /* then others have their turn */
    unsigned told = 0;
    for (inner *i; (i = marks.first) && told < TOLD_MAX; told++) {
        if (!(marks.first = i->next))
            marks.last = &marks.first;
        i->marked = false;
        tell(i);
    }
    return told > 0;
}

/* --- for whoever runs it ---------------------------------------------------------------------- */

static bool request_copy(inner *i, const inner_request *r, err *e)
{
    http_field *fields = ARENA_ARRAY(&i->a, http_field, r->fields_count + 1);
    i->x.request = (http_request){.method = arena_str(&i->a, r->method),
                                  .target = arena_str(&i->a, r->target),
                                  .authority = arena_str(&i->a, r->authority),
                                  .scheme = arena_str(&i->a, r->scheme),
                                  .peer = arena_str(&i->a, r->peer),
                                  .fields = fields,
                                  .fields_count = r->fields_count,
                                  .content_length = r->body.n ? (int64_t)r->body.n : -1,
                                  .has_body = r->body.n > 0,
                                  .begun_mono = clock_mono()};
    const http_request *q = &i->x.request;
    i->body = arena_bytes(&i->a, r->body);
    bool ok = fields && q->method.p && q->target.p && q->authority.p && q->scheme.p && q->peer.p &&
              i->body.p;
    for (size_t k = 0; ok && k < r->fields_count; k++) {
        fields[k] =
            (http_field){arena_str(&i->a, r->fields[k].name), arena_str(&i->a, r->fields[k].value)};
        ok = fields[k].name.p && fields[k].value.p;
    }
    return ok ? true : err_no_memory(e);
}

bool inner_new(loop *l, const inner_request *r, void (*on_done)(void *user), void *user,
               inner **ret, err *e)
{
    if (!marks.hook && !loop_hook_add(l, on_turn_end, NULL, &marks.hook, e))
        return false;
    inner *i = calloc(1, sizeof *i);
    if (!i)
        return err_no_memory(e);
    i->x.ops = &ops;
    i->x.length = -1;
    i->on_done = on_done;
    i->user = user;
    i->yields = r->yields;
    memcpy(i->id, r->id, INNER_ID_BYTES);
    arena_init(&i->a, r->body.n + 16 * HTTP_HEAD_BYTES_MAX);
    buf_init(&i->out, r->result_bytes_max);
    buf_init(&i->log, r->log_bytes_max);
    if (!request_copy(i, r, e)) {
        inner_free(i);
        return false;
    }
    *ret = i;
    return true;
}

http_exchange *inner_exchange(inner *i) { return &i->x; }

void inner_cancel(inner *i)
{
    i->cancelled = true;
    mark(i);
}

inner_result inner_result_of(const inner *i)
{
    return (inner_result){.status = i->x.started ? i->x.status : 0,
                          .fields = i->fields,
                          .fields_count = i->fields_count,
                          .body = buf_bytes(&i->out),
                          .length = i->x.length,
                          .body_cut = i->body_cut,
                          .log_cut = i->log_cut,
                          .aborted = i->aborted,
                          .log = buf_str(&i->log),
                          .cpu_ns = i->cpu_ns,
                          .wall_ns = i->wall_ns,
                          .memory_bytes = i->memory_bytes,
                          .ran = i->taken};
}

void inner_free(inner *i)
{
    if (!i)
        return;
    must(!i->marked);
    buf_fini(&i->out);
    buf_fini(&i->log);
    arena_fini(&i->a);
    free(i);
}

void inner_loop_close(void)
{
    on_turn_end(NULL);
    if (marks.hook)
        loop_hook_remove(marks.hook);
    marks.hook = NULL;
}

/* --- for calls -------------------------------------------------------------------------------- */

inner *inner_of(const http_exchange *x) { return x->ops == &ops ? of(x) : NULL; }

inner *inner_take(http_exchange *x)
{
    inner *i = inner_of(x);
    if (i)
        i->taken = true;
    return i;
}

void inner_leave(inner *i)
{
    if (i)
        i->taken = false;
}

const char *inner_id(const inner *i) { return i->id; }

bool inner_yields(const inner *i) { return i && i->yields; }

void inner_line(inner *i, int stream, str line)
{
    if (!i)
        return;
    if (i->log.n + line.n + 2 > i->log.max) {
        i->log_cut = true;
        return;
    }
    buf_put_u8(&i->log, stream == 1 ? 'o' : 'e');
    buf_put_str(&i->log, line);
    buf_put_u8(&i->log, '\n');
}

void inner_over(inner *i, ns cpu, ns wall, size_t memory_bytes)
{
    if (!i)
        return;
    i->over = true;
    i->cpu_ns = cpu;
    i->wall_ns = wall;
    i->memory_bytes = memory_bytes;
    mark(i);
}
