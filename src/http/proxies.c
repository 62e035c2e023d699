/* Who sent a request that came through proxies: see proxies.h for the rule. Several fields of a
 * name are one list, in their order (RFC 9110 5.3); it is read from its end, and nothing is copied
 * but the one address that is found. */
#include "http/proxies.h"

#include <stdio.h>

/* "192.0.2.1", "192.0.2.1:443", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:443", any of them in
 * quotes, as some write. */
static bool address_read(str text, outbound_addr *ret, str *ret_text)
{
    text = str_trim(text);
    if (text.n >= 2 && text.p[0] == '"' && text.p[text.n - 1] == '"')
        text = str_head(str_skip(text, 1), text.n - 2);
    size_t colon = str_find(text, ':');
    if (text.n && text.p[0] == '[') {
        size_t end = str_find(text, ']');
        str rest = str_skip(text, end + 1);
        if (end == text.n || (rest.n && rest.p[0] != ':'))
            return false;
        text = str_head(str_skip(text, 1), end - 1);
    } else if (colon < text.n && str_rfind(text, ':') == colon) {
        text = str_head(text, colon); /* one colon: a port */
    }
    *ret_text = text;
    return outbound_addr_parse(text, ret);
}

static bool is_trusted(const outbound_blocks *trusted, const outbound_addr *a)
{
    return outbound_is_blocked(trusted, a); /* a set of networks is a set of networks */
}

/* The last element of a list, which is taken off. */
static str last_cut(str *list)
{
    size_t comma = str_rfind(*list, ',');
    bool alone = comma == list->n;
    str last = alone ? *list : str_skip(*list, comma + 1);
    *list = alone ? (str){0} : str_head(*list, comma);
    return last;
}

proxies_origin proxies_find(const outbound_blocks *trusted, str peer, str scheme,
                            const http_field *fields, size_t count,
                            char place[PROXIES_CLIENT_BYTES_MAX])
{
    proxies_origin o = {peer, scheme};
    outbound_addr at;
    str text;
    if (!address_read(peer, &at, &text) || !is_trusted(trusted, &at))
        return o;
    bool trusting = true, proto_seen = false;
    for (size_t i = count; i-- > 0;) {
        const http_field *f = &fields[i];
        str list = f->value;
        if (!proto_seen && str_eq(f->name, S("x-forwarded-proto"))) {
            str proto = str_trim(last_cut(&list));
            proto_seen = true; /* what the nearest hop says, right or not */
            if (str_eq_nocase(proto, S("https")) || str_eq_nocase(proto, S("http")))
                o.scheme = proto.n == 5 ? S("https") : S("http");
        }
        while (trusting && list.p && str_eq(f->name, S("x-forwarded-for"))) {
            trusting = address_read(last_cut(&list), &at, &text);
            if (!trusting)
                break;
            int n = snprintf(place, PROXIES_CLIENT_BYTES_MAX, at.bits == 32 ? "%.*s:0" : "[%.*s]:0",
                             STR(text));
            o.client = (str){place, n > 0 && n < PROXIES_CLIENT_BYTES_MAX ? (size_t)n : 0};
            trusting = is_trusted(trusted, &at);
        }
    }
    return o;
}
