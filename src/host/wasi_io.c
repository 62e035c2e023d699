/* wasi:io@0.2: errors, pollables, streams. The functions here know nothing of sources and sinks:
 * they do what the texts of the interfaces say in terms of the operations of streams.h.
 *
 * Blocking functions are tried again after a wake; what blocking-write-and-flush has written so far
 * is in guest.progress. A permit is what the last check-write said: writing more than that traps,
 * as the interface demands. */
#include "host/streams.h"

#include "base/limits.h"

enum { BLOCKING_WRITE_MAX = 4096 };

const host_resource error_resource = {"error", NULL};
const host_resource pollable_resource = {"pollable", NULL};

/* --- wasi:io/error ------------------------------------------------------------------------- */

static const char *const domain_names[] = {
    [ERROR_PLAIN] = "error",
    [ERROR_HTTP] = "HTTP error",
    [ERROR_FILESYSTEM] = "file system error",
    [ERROR_NETWORK] = "network error",
};

static host_status error_to_debug_string(host_call *c)
{
    error_object *o;
    place r;
    if (!ARG_BORROW(c, 0, error_resource, &o) || !result_place(c, &r))
        return HOST_TRAP;
    const error_info *i = &o->info;
    str text = i->text.n
                   ? i->text
                   : arena_printf(&c->g->scratch, "%s, code %u", domain_names[i->domain], i->code);
    return put_string(c, r, text) ? HOST_DONE : HOST_TRAP;
}

static const host_func error_funcs[] = {
    {"[method]error.to-debug-string", "func(self: borrow<error>) -> string", error_to_debug_string},
    {0},
};

const host_interface wasi_io_error = {
    .name = "wasi:io/error@0.2.0",
    .types = "resource error;",
    .funcs = error_funcs,
    .resources = (const host_resource *const[]){&error_resource, NULL},
};

/* --- wasi:io/poll -------------------------------------------------------------------------- */

pollable *pollable_new(guest *g, bool (*ready)(guest *g, pollable *p, bool want), object *parent)
{
    pollable *p = OBJECT_NEW(g, pollable, pollable_resource, parent);
    if (p)
        p->ready = ready;
    return p;
}

host_status return_pollable(host_call *c, bool (*ready)(guest *g, pollable *p, bool want),
                            object *parent)
{
    return return_handle(c, (object *)pollable_new(c->g, ready, parent));
}

static host_status pollable_ready(host_call *c)
{
    pollable *p;
    if (!ARG_BORROW(c, 0, pollable_resource, &p))
        return HOST_TRAP;
    return return_u32(c, p->ready(c->g, p, false));
}

static host_status pollable_block(host_call *c)
{
    pollable *p;
    if (!ARG_BORROW(c, 0, pollable_resource, &p))
        return HOST_TRAP;
    return p->ready(c->g, p, true) ? HOST_DONE : call_wait(c);
}

/* Which of the n pollables at `at` are ready: their indexes, in scratch memory. */
static bool poll_round(host_call *c, uint32_t at, uint32_t n, uint32_t *ready, uint32_t *ret_count)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t index;
        pollable *p;
        memcpy(&index, c->memory + at + 4 * (size_t)i, sizeof index);
        if (!call_borrow(c, index, &pollable_resource, (object **)(void *)&p))
            return false;
        if (p->ready(c->g, p, true))
            ready[count++] = i;
    }
    *ret_count = count;
    return true;
}

static host_status poll_poll(host_call *c)
{
    uint32_t at = c->slots[0].u32, n = c->slots[1].u32, count;
    place r, first;
    if (n == 0)
        return call_trap(c, "empty poll list");
    if (!call_list(c, at, n, 4, 4) || !result_place(c, &r))
        return HOST_TRAP;
    uint32_t *ready = arena_alloc(&c->g->scratch, n * sizeof *ready);
    if (!ready)
        return call_no_memory(c);
    if (!poll_round(c, at, n, ready, &count))
        return HOST_TRAP;
    if (count == 0)
        return call_wait(c);
    c->g->wake_at = UINT64_MAX; /* deadlines of the others are of no interest now */
    if (!put_list(c, r, count, &first))
        return HOST_TRAP;
    memcpy(c->memory + first.at, ready, count * sizeof *ready);
    return HOST_DONE;
}

static const host_func poll_funcs[] = {
    {"[method]pollable.ready", "func(self: borrow<pollable>) -> bool", pollable_ready},
    {"[method]pollable.block", "func(self: borrow<pollable>)", pollable_block, true},
    {"poll", "func(in: list<borrow<pollable>>) -> list<u32>", poll_poll, true},
    {0},
};

const host_interface wasi_io_poll = {
    .name = "wasi:io/poll@0.2.0",
    .types = "resource pollable;",
    .funcs = poll_funcs,
    .resources = (const host_resource *const[]){&pollable_resource, NULL},
};

/* --- input streams ------------------------------------------------------------------------- */

bool put_stream_error(host_call *c, place result, stream_state state, const error_info *error)
{
    place e = put_case(c, result, 1);
    if (state == STREAM_CLOSED) {
        put_case(c, e, 1);
        return true;
    }
    error_object *o = OBJECT_NEW(c->g, error_object, error_resource, NULL);
    if (o)
        o->info = *error;
    return put_handle(c, put_case(c, e, 0), (object *)o);
}

/* peek, with the end remembered. */
static stream_state input_peek(guest *g, input_stream *s, size_t max, size_t *ret_n,
                               error_info *ret_error)
{
    if (s->closed)
        return STREAM_CLOSED;
    stream_state state = s->ops->peek(g, s, max, ret_n, ret_error);
    if (state != STREAM_OPEN)
        s->closed = true;
    return state;
}

bool input_stream_ready(guest *g, input_stream *s, bool want)
{
    size_t n = 0;
    error_info e;
    if (s->closed || s->ops->peek(g, s, 1, &n, &e) != STREAM_OPEN || n > 0)
        return true;
    if (want && s->ops->want)
        s->ops->want(g, s);
    return false;
}

static size_t read_max(uint64_t len)
{
    return len < HOST_READ_BYTES_MAX ? (size_t)len : HOST_READ_BYTES_MAX;
}

/* The common part of read and skip: how much to take. False: *ret_status is to be returned. */
static bool read_begin(host_call *c, bool blocking, input_stream **ret_s, place *ret_r,
                       size_t *ret_n, host_status *ret_status)
{
    error_info e = {0};
    size_t n = 0, max = read_max(c->slots[1].u64);
    *ret_status = HOST_TRAP;
    if (!ARG_BORROW(c, 0, input_stream_resource, ret_s) || !result_place(c, ret_r))
        return false;
    stream_state state = input_peek(c->g, *ret_s, max ? max : 1, &n, &e);
    if (state != STREAM_OPEN) {
        if (put_stream_error(c, *ret_r, state, &e))
            *ret_status = HOST_DONE;
        return false;
    }
    if (n == 0 && max && blocking) {
        if ((*ret_s)->ops->want)
            (*ret_s)->ops->want(c->g, *ret_s);
        *ret_status = call_wait(c);
        return false;
    }
    *ret_n = n < max ? n : max;
    return true;
}

static host_status stream_read(host_call *c, bool blocking)
{
    input_stream *s;
    host_status status;
    place r, first;
    size_t n;
    if (!read_begin(c, blocking, &s, &r, &n, &status))
        return status;
    if (!put_list(c, put_case(c, r, 0), (uint32_t)n, &first))
        return HOST_TRAP;
    if (n)
        s->ops->take(c->g, s, c->memory + first.at, n);
    return HOST_DONE;
}

static host_status stream_skip(host_call *c, bool blocking)
{
    input_stream *s;
    host_status status;
    place r;
    size_t n;
    if (!read_begin(c, blocking, &s, &r, &n, &status))
        return status;
    if (n)
        s->ops->take(c->g, s, NULL, n);
    put_int(c, put_case(c, r, 0), n);
    return HOST_DONE;
}

static host_status input_read(host_call *c) { return stream_read(c, false); }
static host_status input_blocking_read(host_call *c) { return stream_read(c, true); }
static host_status input_skip(host_call *c) { return stream_skip(c, false); }
static host_status input_blocking_skip(host_call *c) { return stream_skip(c, true); }

static bool input_pollable_ready(guest *g, pollable *p, bool want)
{
    return input_stream_ready(g, (input_stream *)p->o.parent, want);
}

static host_status input_subscribe(host_call *c)
{
    object *s;
    if (!ARG_BORROW(c, 0, input_stream_resource, &s))
        return HOST_TRAP;
    return return_pollable(c, input_pollable_ready, s);
}

/* --- output streams ------------------------------------------------------------------------ */

static stream_state output_room(guest *g, output_stream *s, size_t *ret_n, error_info *ret_error)
{
    *ret_n = 0;
    if (s->closed)
        return STREAM_CLOSED;
    stream_state state = s->ops->room(g, s, ret_n, ret_error);
    if (state != STREAM_OPEN)
        s->closed = true;
    return state;
}

static stream_state output_write(guest *g, output_stream *s, const void *p, size_t n,
                                 error_info *ret_error)
{
    if (s->closed)
        return STREAM_CLOSED;
    stream_state state = s->ops->write(g, s, p, n, ret_error);
    if (state != STREAM_OPEN)
        s->closed = true;
    return state;
}

static stream_state output_flush_now(guest *g, output_stream *s, bool *ret_done,
                                     error_info *ret_error)
{
    *ret_done = true;
    if (s->closed)
        return STREAM_CLOSED;
    stream_state state = s->ops->flush ? s->ops->flush(g, s, ret_done, ret_error) : STREAM_OPEN;
    if (state != STREAM_OPEN)
        s->closed = true;
    return state;
}

bool output_stream_ready(guest *g, output_stream *s, bool want)
{
    size_t n = 0;
    error_info e;
    if (s->closed || s->ops->room(g, s, &n, &e) != STREAM_OPEN || n > 0)
        return true;
    if (want && s->ops->want)
        s->ops->want(g, s);
    return false;
}

static host_status output_want(host_call *c, output_stream *s)
{
    if (s->ops->want)
        s->ops->want(c->g, s);
    return call_wait(c);
}

/* Writes result<_, stream-error> for a state. */
static host_status return_state(host_call *c, place r, stream_state state, const error_info *e)
{
    if (state == STREAM_OPEN)
        put_case(c, r, 0);
    else if (!put_stream_error(c, r, state, e))
        return HOST_TRAP;
    return HOST_DONE;
}

static host_status output_check_write(host_call *c)
{
    output_stream *s;
    place r;
    size_t n;
    error_info e = {0};
    if (!ARG_BORROW(c, 0, output_stream_resource, &s) || !result_place(c, &r))
        return HOST_TRAP;
    stream_state state = output_room(c->g, s, &n, &e);
    if (state != STREAM_OPEN)
        return return_state(c, r, state, &e);
    s->permit = n;
    put_int(c, put_case(c, r, 0), n);
    return HOST_DONE;
}

/* n bytes at p (NULL: zeroes), within the permit. */
static host_status write_permitted(host_call *c, output_stream *s, const void *p, uint64_t n,
                                   place r)
{
    error_info e = {0};
    if (n > s->permit)
        return call_trap(c, "write of %llu bytes exceeds the permit of %llu given by check-write",
                         (unsigned long long)n, (unsigned long long)s->permit);
    s->permit -= n;
    stream_state state =
        n ? output_write(c->g, s, p, (size_t)n, &e) : (s->closed ? STREAM_CLOSED : STREAM_OPEN);
    return return_state(c, r, state, &e);
}

static host_status output_write_bytes(host_call *c)
{
    output_stream *s;
    bytes b;
    place r;
    if (!ARG_BORROW(c, 0, output_stream_resource, &s) || !arg_bytes(c, 1, &b) ||
        !result_place(c, &r))
        return HOST_TRAP;
    return write_permitted(c, s, b.p, b.n, r);
}

static host_status output_write_zeroes(host_call *c)
{
    output_stream *s;
    place r;
    if (!ARG_BORROW(c, 0, output_stream_resource, &s) || !result_place(c, &r))
        return HOST_TRAP;
    return write_permitted(c, s, NULL, c->slots[1].u64, r);
}

static host_status write_and_flush(host_call *c, output_stream *s, const uint8_t *p, size_t n,
                                   place r)
{
    guest *g = c->g;
    error_info e = {0};
    stream_state state = STREAM_OPEN;
    while (g->progress < n) {
        size_t room, left = n - (size_t)g->progress;
        state = output_room(g, s, &room, &e);
        if (state != STREAM_OPEN)
            return return_state(c, r, state, &e);
        if (room == 0)
            return output_want(c, s);
        size_t k = room < left ? room : left;
        state = output_write(g, s, p ? p + g->progress : NULL, k, &e);
        if (state != STREAM_OPEN)
            return return_state(c, r, state, &e);
        g->progress += k;
    }
    bool done;
    state = output_flush_now(g, s, &done, &e);
    if (state == STREAM_OPEN && !done)
        return output_want(c, s);
    s->permit = 0;
    return return_state(c, r, state, &e);
}

static host_status output_blocking_write_and_flush(host_call *c)
{
    output_stream *s;
    bytes b;
    place r;
    if (!ARG_BORROW(c, 0, output_stream_resource, &s) || !arg_bytes(c, 1, &b) ||
        !result_place(c, &r))
        return HOST_TRAP;
    if (b.n > BLOCKING_WRITE_MAX)
        return call_trap(c, "Buffer too large for blocking-write-and-flush (expected at most %d)",
                         BLOCKING_WRITE_MAX);
    return write_and_flush(c, s, b.p, b.n, r);
}

static host_status output_blocking_write_zeroes_and_flush(host_call *c)
{
    output_stream *s;
    place r;
    uint64_t n = c->slots[1].u64;
    if (!ARG_BORROW(c, 0, output_stream_resource, &s) || !result_place(c, &r))
        return HOST_TRAP;
    if (n > BLOCKING_WRITE_MAX)
        return call_trap(c,
                         "Buffer too large for blocking-write-zeroes-and-flush (expected at "
                         "most %d)",
                         BLOCKING_WRITE_MAX);
    return write_and_flush(c, s, NULL, (size_t)n, r);
}

static host_status output_flush(host_call *c)
{
    output_stream *s;
    place r;
    bool done;
    error_info e = {0};
    if (!ARG_BORROW(c, 0, output_stream_resource, &s) || !result_place(c, &r))
        return HOST_TRAP;
    s->permit = 0;
    return return_state(c, r, output_flush_now(c->g, s, &done, &e), &e);
}

static host_status output_blocking_flush(host_call *c)
{
    output_stream *s;
    place r;
    if (!ARG_BORROW(c, 0, output_stream_resource, &s) || !result_place(c, &r))
        return HOST_TRAP;
    return write_and_flush(c, s, NULL, 0, r);
}

static bool output_pollable_ready(guest *g, pollable *p, bool want)
{
    return output_stream_ready(g, (output_stream *)p->o.parent, want);
}

static host_status output_subscribe(host_call *c)
{
    object *s;
    if (!ARG_BORROW(c, 0, output_stream_resource, &s))
        return HOST_TRAP;
    return return_pollable(c, output_pollable_ready, s);
}

/* --- splice -------------------------------------------------------------------------------- */

static host_status splice(host_call *c, bool blocking)
{
    output_stream *to;
    input_stream *from;
    place r;
    error_info e = {0};
    size_t room, n = 0;
    if (!ARG_BORROW(c, 0, output_stream_resource, &to) ||
        !ARG_BORROW(c, 1, input_stream_resource, &from) || !result_place(c, &r))
        return HOST_TRAP;
    size_t len = read_max(c->slots[2].u64);
    stream_state state = output_room(c->g, to, &room, &e);
    if (state != STREAM_OPEN)
        return return_state(c, r, state, &e);
    if (room == 0 && blocking && len)
        return output_want(c, to);
    size_t max = room < len ? room : len;
    state = input_peek(c->g, from, max ? max : 1, &n, &e);
    if (state != STREAM_OPEN)
        return return_state(c, r, state, &e);
    if (n == 0 && blocking && max) {
        if (from->ops->want)
            from->ops->want(c->g, from);
        return call_wait(c);
    }
    n = n < max ? n : max;
    if (n) {
        void *p = arena_alloc(&c->g->scratch, n);
        if (!p)
            return call_no_memory(c);
        from->ops->take(c->g, from, p, n);
        state = output_write(c->g, to, p, n, &e);
        if (state != STREAM_OPEN)
            return return_state(c, r, state, &e);
        to->permit = 0;
    }
    put_int(c, put_case(c, r, 0), n);
    return HOST_DONE;
}

static host_status output_splice(host_call *c) { return splice(c, false); }
static host_status output_blocking_splice(host_call *c) { return splice(c, true); }

#define IN   "func(self: borrow<input-stream>, len: u64) -> "
#define OUT  "func(self: borrow<output-stream>"
#define DONE " -> result<_, stream-error>"

static const host_func streams_funcs[] = {
    {"[method]input-stream.read", IN "result<list<u8>, stream-error>", input_read},
    {"[method]input-stream.blocking-read", IN "result<list<u8>, stream-error>", input_blocking_read,
     true},
    {"[method]input-stream.skip", IN "result<u64, stream-error>", input_skip},
    {"[method]input-stream.blocking-skip", IN "result<u64, stream-error>", input_blocking_skip,
     true},
    {"[method]input-stream.subscribe", "func(self: borrow<input-stream>) -> pollable",
     input_subscribe},
    {"[method]output-stream.check-write", OUT ") -> result<u64, stream-error>", output_check_write},
    {"[method]output-stream.write", OUT ", contents: list<u8>)" DONE, output_write_bytes},
    {"[method]output-stream.blocking-write-and-flush", OUT ", contents: list<u8>)" DONE,
     output_blocking_write_and_flush, true},
    {"[method]output-stream.flush", OUT ")" DONE, output_flush},
    {"[method]output-stream.blocking-flush", OUT ")" DONE, output_blocking_flush, true},
    {"[method]output-stream.subscribe", OUT ") -> pollable", output_subscribe},
    {"[method]output-stream.write-zeroes", OUT ", len: u64)" DONE, output_write_zeroes},
    {"[method]output-stream.blocking-write-zeroes-and-flush", OUT ", len: u64)" DONE,
     output_blocking_write_zeroes_and_flush, true},
    {"[method]output-stream.splice",
     OUT ", src: borrow<input-stream>, len: u64) -> result<u64, stream-error>", output_splice},
    {"[method]output-stream.blocking-splice",
     OUT ", src: borrow<input-stream>, len: u64) -> result<u64, stream-error>",
     output_blocking_splice, true},
    {0},
};

static void input_drop(guest *g, object *o)
{
    input_stream *s = (input_stream *)o;
    if (s->ops->release)
        s->ops->release(g, s);
}

static void output_drop(guest *g, object *o)
{
    output_stream *s = (output_stream *)o;
    if (s->ops->release)
        s->ops->release(g, s);
}

const host_resource input_stream_resource = {"input-stream", input_drop};
const host_resource output_stream_resource = {"output-stream", output_drop};

const host_interface wasi_io_streams = {
    .name = "wasi:io/streams@0.2.0",
    .types = "use wasi:io/error@0.2.0.{error};\n"
             "use wasi:io/poll@0.2.0.{pollable};\n"
             "variant stream-error { last-operation-failed(error), closed }\n"
             "resource input-stream;\n"
             "resource output-stream;",
    .funcs = streams_funcs,
    .resources =
        (const host_resource *const[]){&input_stream_resource, &output_stream_resource, NULL},
};
