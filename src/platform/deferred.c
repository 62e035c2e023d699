/* See deferred.h. Lengths are of this machine's byte order, as all that ebb keeps for itself. What
 * is read was written by us, but may be damaged: no length is trusted. */
#include "platform/deferred.h"

#include "base/limits.h"

enum { VERSION = 1 };

static void put_u32(buf *out, uint32_t v) { buf_put(out, &v, sizeof v); }

static void put_text(buf *out, str s)
{
    put_u32(out, (uint32_t)s.n);
    buf_put_str(out, s);
}

static void put_fields(buf *out, const http_field *at, size_t n)
{
    put_u32(out, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        put_text(out, at[i].name);
        put_text(out, at[i].value);
    }
}

typedef struct {
    bytes left;
    bool failed;
} cursor;

static bytes take(cursor *c, size_t n)
{
    bytes b = {c->left.p, n};
    if (c->failed || n > c->left.n) {
        c->failed = true;
        return (bytes){0};
    }
    c->left.p += n;
    c->left.n -= n;
    return b;
}

static uint32_t take_u32(cursor *c)
{
    uint32_t v = 0;
    bytes b = take(c, sizeof v);
    if (b.p)
        memcpy(&v, b.p, sizeof v);
    return v;
}

static str take_text(cursor *c)
{
    bytes b = take(c, take_u32(c));
    return (str){(const char *)b.p, b.n};
}

static const http_field *take_fields(cursor *c, arena *a, size_t *ret_n)
{
    uint32_t n = take_u32(c);
    *ret_n = 0;
    if (c->failed || n > c->left.n / 8) { /* each has two lengths at least */
        c->failed = true;
        return NULL;
    }
    http_field *at = ARENA_ARRAY(a, http_field, (size_t)n + 1);
    for (uint32_t i = 0; at && i < n; i++) {
        at[i].name = take_text(c);
        at[i].value = take_text(c);
    }
    c->failed |= !at;
    *ret_n = n;
    return at;
}

static bool begins(cursor *c)
{
    bytes version = take(c, 1);
    return version.p && version.p[0] == VERSION;
}

static bool ends(const cursor *c) { return !c->failed && !c->left.n; }

bool deferred_about_write(const deferred_about *d, buf *out)
{
    buf_put_u8(out, VERSION);
    put_text(out, d->component);
    put_text(out, d->method);
    put_text(out, str_head(d->path, QUEUE_ABOUT_BYTES_MAX / 4));
    put_text(out, d->schedule);
    if (d->hook.n || d->app.n)
        put_text(out, d->hook);
    if (d->app.n)
        put_text(out, d->app);
    return !out->failed;
}

bool deferred_about_read(bytes b, deferred_about *ret)
{
    cursor c = {b, false};
    if (!begins(&c))
        return false;
    *ret = (deferred_about){.component = take_text(&c)};
    ret->method = take_text(&c);
    ret->path = take_text(&c);
    ret->schedule = take_text(&c);
    if (c.left.n)
        ret->hook = take_text(&c);
    if (c.left.n)
        ret->app = take_text(&c);
    return ends(&c);
}

bool deferred_request_write(const deferred_request *d, buf *out)
{
    buf_put_u8(out, VERSION);
    put_text(out, d->component);
    put_text(out, d->method);
    put_text(out, d->target);
    put_text(out, d->authority);
    put_text(out, d->scheme);
    put_text(out, d->peer);
    put_fields(out, d->fields, d->fields_count);
    put_text(out, (str){(const char *)d->body.p, d->body.n});
    return !out->failed;
}

bool deferred_request_read(arena *a, bytes b, deferred_request *ret)
{
    cursor c = {b, false};
    if (!begins(&c))
        return false;
    *ret = (deferred_request){.component = take_text(&c)};
    ret->method = take_text(&c);
    ret->target = take_text(&c);
    ret->authority = take_text(&c);
    ret->scheme = take_text(&c);
    ret->peer = take_text(&c);
    ret->fields = take_fields(&c, a, &ret->fields_count);
    str body = take_text(&c);
    ret->body = (bytes){(const uint8_t *)body.p, body.n};
    return ends(&c);
}

bool deferred_result_write(const deferred_result *d, buf *out)
{
    buf_put_u8(out, VERSION);
    put_u32(out, d->status);
    buf_put_u8(out, (uint8_t)(d->body_cut | d->log_cut << 1));
    put_fields(out, d->fields, d->fields_count);
    put_text(out, (str){(const char *)d->body.p, d->body.n});
    put_text(out, d->log);
    return !out->failed;
}

bool deferred_result_read(arena *a, bytes b, deferred_result *ret)
{
    cursor c = {b, false};
    if (!begins(&c))
        return false;
    *ret = (deferred_result){.status = take_u32(&c)};
    bytes flags = take(&c, 1);
    ret->body_cut = flags.p && (flags.p[0] & 1);
    ret->log_cut = flags.p && (flags.p[0] & 2);
    ret->fields = take_fields(&c, a, &ret->fields_count);
    str body = take_text(&c);
    ret->body = (bytes){(const uint8_t *)body.p, body.n};
    ret->log = take_text(&c);
    return ends(&c);
}
