/* What the head of an HTTP/2 request means (RFC 9113 8.2, 8.3), made equal to one of HTTP/1.1: the
 * same rules for target, host and length, cookies in one field, and `host` where only :authority
 * was given, so that handlers see no difference.
 *
 * nghttp2 has checked the syntax by then: pseudo-fields complete, once and in front, names in lower
 * case, no field of a connection, Content-Length equal to what comes. What it finds is answered
 * with RST_STREAM; what is refused here, with a status. */
#include "http/http2_impl.h"

#include "http/field.h"

#include <stdlib.h>

/* The first refusal holds. Returns false. */
static bool refuse(http2_exchange *x, unsigned status, const char *reason)
{
    if (!x->refuse) {
        x->refuse = status;
        x->refuse_reason = reason;
    }
    return false;
}

/* Until the head is complete, strings are offsets: the text may move. */
static bool text_put(http1_fields *f, str s, str *ret)
{
    size_t at = f->text.n;
    *ret = (str){(const char *)at, s.n};
    return buf_put(&f->text, s.p, s.n);
}

static void text_fix(const http1_fields *f, str *s)
{
    s->p = (const char *)f->text.p + (uintptr_t)s->p;
    if (!f->text.p || s->n == 0)
        s->p = "";
}

/* A place for one more; NULL: no memory. */
static http_field *item_next(http1_fields *f)
{
    if (f->count == f->cap) {
        size_t cap = f->cap ? f->cap * 2 : 16;
        http_field *grown = realloc(f->items, cap * sizeof *grown);
        if (!grown)
            return NULL;
        f->items = grown;
        f->cap = cap;
    }
    return &f->items[f->count];
}

static bool field_put(http1_fields *f, str name, str value)
{
    http_field *to = item_next(f);
    if (!to || !text_put(f, name, &to->name) || !text_put(f, value, &to->value))
        return false;
    f->count++;
    return true;
}

static str *pseudo_of(http2_exchange *x, str name)
{
    return str_eq(name, S(":method"))      ? &x->method
           : str_eq(name, S(":path"))      ? &x->target
           : str_eq(name, S(":authority")) ? &x->authority
           : str_eq(name, S(":scheme"))    ? &x->scheme
                                           : NULL;
}

bool http2_field_take(http2_exchange *x, bool trailer, str name, str value)
{
    const http1_limits *limits = &x->server->limits;
    http1_fields *f = trailer ? &x->trailers : &x->fields;
    size_t *total = trailer ? &x->trailer_bytes : &x->head_bytes;
    *total += name.n + value.n + 4; /* as HTTP/1.1 counts: with ": " and the end of the line */
    if (*total > limits->head_bytes_max || f->count == limits->headers_max) {
        refuse(x, trailer ? 400 : 431, "too many fields, or too large ones");
        return true;
    }
    if (!f->text.max)
        buf_init(&f->text, 2 * limits->head_bytes_max + 1024); /* cookies are joined in it */
    str *pseudo = trailer || name.p[0] != ':' ? NULL : pseudo_of(x, name);
    if (pseudo) {
        if (pseudo == &x->target && value.n > limits->uri_bytes_max)
            refuse(x, 414, "the target is too long");
        return text_put(f, value, pseudo);
    }
    if (!field_value_is(value))
        refuse(x, 400, "the value of a field has bytes that may not be there");
    if (field_is_hop(name) || (trailer && field_is_no_trailer(name)))
        return true;
    return field_put(f, name, value);
}

static void fields_fix(http1_fields *f)
{
    for (size_t i = 0; i < f->count; i++) {
        text_fix(f, &f->items[i].name);
        text_fix(f, &f->items[i].value);
    }
}

/* RFC 9113 8.2.3: crumbs are one field again, joined with "; ". There is room in the text. */
static void cookies_join(http1_fields *f)
{
    size_t first = SIZE_MAX, kept = 0, begin = f->text.n;
    for (size_t i = 0; i < f->count; i++) {
        const http_field *x = &f->items[i];
        bool is_cookie = str_eq(x->name, S("cookie"));
        if (is_cookie) {
            buf_put_str(&f->text, f->text.n > begin ? S("; ") : S(""));
            buf_put_str(&f->text, x->value);
        }
        if (is_cookie && first != SIZE_MAX)
            continue;
        first = is_cookie ? kept : first;
        f->items[kept++] = *x;
    }
    if (kept < f->count)
        f->items[first].value = (str){(char *)f->text.p + begin, f->text.n - begin};
    f->count = kept;
}

static bool host_check(http2_exchange *x, const http_field *host, size_t hosts)
{
    str authority = x->authority;
    if (hosts > 1)
        return refuse(x, 400, "Host twice");
    if (!authority.n && !hosts)
        return refuse(x, 400, "neither :authority nor Host");
    if (hosts && authority.n &&
        !authority_same(authority, host->value, str_eq(x->scheme, S("https")) ? S("443") : S("80")))
        return refuse(x, 400, ":authority and Host name different hosts");
    x->authority = authority.n ? authority : host->value;
    if (!authority_is(x->authority))
        return refuse(x, 400, "the authority is malformed");
    if (!stream_serves(x->c->base.s, authority_host(x->authority)))
        return refuse(x, 421, "the connection's certificate is for other hosts");
    if (hosts)
        return true;
    http_field *added = item_next(&x->fields);
    if (!added)
        return refuse(x, 503, "no memory");
    *added = (http_field){S("host"), x->authority};
    x->fields.count++;
    return true;
}

static bool target_check(http2_exchange *x)
{
    if (!token_is(x->method))
        return refuse(x, 400, "the method is no token");
    if (str_eq(x->method, S("CONNECT")))
        return refuse(x, 501, "CONNECT is not served");
    if (!str_eq(x->scheme, S("http")) && !str_eq(x->scheme, S("https")))
        return refuse(x, 400, "the scheme is neither http nor https");
    if (!target_is(x->target))
        return refuse(x, 400, "the target has bytes that may not be there");
    if (x->target.p[0] == '/')
        return true;
    return (str_eq(x->target, S("*")) && str_eq(x->method, S("OPTIONS"))) ||
           refuse(x, 400, "the target is no path");
}

/* The fields that mean something to us. */
static bool facts_check(http2_exchange *x, int64_t *ret_length)
{
    const http_field *host = NULL;
    size_t hosts = 0;
    uint64_t length = 0;
    *ret_length = -1;
    for (size_t i = 0; i < x->fields.count; i++) {
        const http_field *f = &x->fields.items[i];
        if (str_eq(f->name, S("host"))) {
            host = f;
            hosts++;
        } else if (str_eq(f->name, S("expect"))) {
            if (!str_eq_nocase(f->value, S("100-continue")))
                return refuse(x, 417, "an expectation other than 100-continue");
            x->expect = x->in_state == BODY_OPEN;
        } else if (str_eq(f->name, S("content-length"))) {
            if (*ret_length >= 0 || !str_to_u64(f->value, INT64_MAX, &length))
                return refuse(x, 400, "Content-Length is no number, or there twice");
            if (length > x->server->limits.body_bytes_max)
                return refuse(x, 413, "the body is too large");
            *ret_length = (int64_t)length;
        }
    }
    return target_check(x) && host_check(x, host, hosts);
}

void http2_head_check(http2_exchange *x)
{
    http1_fields *f = &x->fields;
    int64_t length = -1;
    x->head_done = true;
    if (!buf_reserve(&f->text, x->head_bytes)) /* for joined cookies */
        refuse(x, 503, "no memory");
    fields_fix(f);
    text_fix(f, &x->method);
    text_fix(f, &x->target);
    text_fix(f, &x->authority);
    text_fix(f, &x->scheme);
    if (!x->refuse) {
        cookies_join(f);
        facts_check(x, &length);
    }
    x->x.request = (http_request){
        .method = x->method,
        .target = x->target,
        .authority = x->authority,
        .scheme = stream_is_secure(x->c->base.s) ? S("https") : str_from(x->server->config.scheme),
        .fields = f->items,
        .fields_count = f->count,
        .content_length = length,
        .has_body = x->in_state == BODY_OPEN,
        .peer = {x->c->base.peer, x->c->base.peer_n},
        .begun_mono = clock_mono(),
    };
    server_origin(x->server, &x->x);
}

void http2_trailers_done(http2_exchange *x)
{
    fields_fix(&x->trailers);
    x->x.trailers = x->trailers.items;
    x->x.trailers_count = x->trailers.count;
}
