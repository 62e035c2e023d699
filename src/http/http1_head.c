/* The rules of a head that need all of it: which host is meant (RFC 9112 3.2), how long the body is
 * (RFC 9112 6.3), whether the connection stays (RFC 9112 9.3).
 *
 * llhttp checks some of this itself; all of it is checked again here, so that no rule depends on
 * the engine's flags. The principle is that of RFC 9112 11.2: a request that two parsers could cut
 * differently is refused, even where the specification would let a server repair it:
 * - Content-Length twice is refused even if the values are equal, and so is a list;
 * - Transfer-Encoding is exactly "chunked", in HTTP/1.1, once; other codings get 501;
 * - the authority of an absolute target and Host must name the same host and port.
 */
#include "http/http1_head.h"

#include "http/field.h"

typedef struct {
    const http_field *host, *length, *coding;
    unsigned hosts, lengths, codings;
    bool close, keep_alive, upgrade;
    str upgrade_to;
} head_facts;

static bool facts_gather(http1_parser *p, head_facts *f)
{
    http1_fields *all = &p->head->fields;
    size_t kept = 0;
    for (size_t i = 0; i < all->count; i++) {
        const http_field *x = &all->items[i];
        switch (x->name.n) {
        case 4:
            if (str_eq(x->name, S("host"))) {
                f->host = &all->items[kept];
                f->hosts++;
            }
            break;
        case 6:
            if (str_eq(x->name, S("expect"))) {
                if (!str_eq_nocase(x->value, S("100-continue")))
                    return http1_refuse(p, 417, "an expectation other than 100-continue");
                p->head->expect_continue = true;
            }
            break;
        case 7:
            if (str_eq(x->name, S("upgrade")))
                f->upgrade_to = x->value;
            break;
        case 10:
            if (str_eq(x->name, S("connection"))) {
                f->close |= list_has(x->value, S("close"));
                f->keep_alive |= list_has(x->value, S("keep-alive"));
                f->upgrade |= list_has(x->value, S("upgrade"));
            }
            break;
        case 14:
            if (str_eq(x->name, S("content-length"))) {
                f->length = &all->items[kept];
                f->lengths++;
            }
            break;
        case 17:
            if (str_eq(x->name, S("transfer-encoding"))) {
                p->head->chunked = str_eq_nocase(x->value, S("chunked"));
                f->codings++;
            }
            break;
        default:
            break;
        }
        if (!field_is_hop(x->name))
            all->items[kept++] = *x;
    }
    all->count = kept;
    return true;
}

static bool framing_check(http1_parser *p, const head_facts *f)
{
    http1_head *h = p->head;
    uint64_t length = 0;
    if (f->lengths > 1)
        return http1_refuse(p, 400, "Content-Length twice");
    if (f->lengths && !str_to_u64(f->length->value, INT64_MAX, &length))
        return http1_refuse(p, 400, "Content-Length is no number");
    if (f->codings && f->lengths)
        return http1_refuse(p, 400, "Content-Length and Transfer-Encoding");
    if (f->codings && h->is_1_0)
        return http1_refuse(p, 400, "Transfer-Encoding in HTTP/1.0");
    if (f->codings > 1)
        return http1_refuse(p, 400, "Transfer-Encoding twice");
    if (f->codings && !h->chunked)
        return http1_refuse(p, 501, "a transfer coding other than chunked");
    if (length > p->limits->body_bytes_max)
        return http1_refuse(p, 413, "the body is too large");
    h->content_length = f->lengths ? (int64_t)length : -1;
    h->has_body = h->chunked || length > 0;
    h->expect_continue &= h->has_body && !h->is_1_0; /* RFC 9110 10.1.1: 1.0 is ignored */
    h->keep_alive = !f->close && (!h->is_1_0 || f->keep_alive);
    return true;
}

/* "http://host:port/path?query" becomes its path and sets the authority. An empty path is "/";
 * "http://host?query" needs one put in front, for which the byte before the query is used. */
static bool absolute_form(http1_parser *p, const head_facts *f)
{
    http1_head *h = p->head;
    size_t scheme_n = str_starts(h->target, S("http://")) ? 7 : 8;
    str rest = str_skip(h->target, scheme_n);
    size_t end = 0;
    while (end < rest.n && rest.p[end] != '/' && rest.p[end] != '?')
        end++;
    str authority = str_head(rest, end), path = str_skip(rest, end);
    if (!authority_is(authority))
        return http1_refuse(p, 400, "the authority of the target is malformed");
    if (f->hosts && !authority_same(authority, f->host->value, scheme_n == 7 ? S("80") : S("443")))
        return http1_refuse(p, 400, "the target and Host name different hosts");
    if (path.n == 0 || path.p[0] == '?') {
        /* Move the authority to the left, over the scheme, to make room for '/'. */
        char *to = (char *)(uintptr_t)h->target.p;
        memmove(to, authority.p, authority.n);
        authority.p = to;
        if (path.n == 0) {
            path = S("/");
        } else {
            path = (str){path.p - 1, path.n + 1};
            *(char *)(uintptr_t)path.p = '/';
        }
    }
    h->target = path;
    h->authority = authority;
    return true;
}

static bool starts_nocase(str s, str prefix)
{
    return s.n >= prefix.n && str_eq_nocase(str_head(s, prefix.n), prefix);
}

static bool target_check(http1_parser *p, const head_facts *f)
{
    http1_head *h = p->head;
    if (!target_is(h->target))
        return http1_refuse(p, 400, "the target has bytes that may not be there");
    if (f->hosts > 1)
        return http1_refuse(p, 400, "Host twice");
    if (!f->hosts && !h->is_1_0)
        return http1_refuse(p, 400, "no Host");
    if (f->hosts && !authority_is(f->host->value))
        return http1_refuse(p, 400, "Host is malformed");
    if (str_eq(h->method, S("CONNECT")))
        return http1_refuse(p, 501, "CONNECT is not served");
    h->authority = f->hosts ? f->host->value : S("");
    if (h->target.p[0] == '/')
        return true;
    if (str_eq(h->target, S("*")))
        return str_eq(h->method, S("OPTIONS")) ||
               http1_refuse(p, 400, "'*' is a target for OPTIONS only");
    if (starts_nocase(h->target, S("http://")) || starts_nocase(h->target, S("https://"))) {
        char *scheme = (char *)(uintptr_t)h->target.p;
        for (size_t i = 0; i < 5; i++)
            scheme[i] = ascii_lower(scheme[i]);
        return absolute_form(p, f);
    }
    return http1_refuse(p, 400, "the target is neither a path nor an http URI");
}

bool http1_head_check(http1_parser *p)
{
    head_facts f = {0};
    if (!facts_gather(p, &f) || !framing_check(p, &f) || !target_check(p, &f))
        return false;
    /* h2c is an offer that may be passed over; whoever wants another protocol should be told. */
    if (!p->head->is_1_0 && f.upgrade && f.upgrade_to.n && !list_has(f.upgrade_to, S("h2c")))
        return http1_refuse(p, 501, "Upgrade to another protocol is not served");
    return true;
}
