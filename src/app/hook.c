/* See hook.h. What it lets through is plain text for a request line and for libcurl: no part of it
 * is decoded, and whether the host is a name or an address is looked at by whoever connects. */
#include "app/hook.h"

#include "base/base64.h"

void hook_secret_put(bytes secret, buf *out)
{
    buf_put_str(out, S("whsec_"));
    base64_encode(secret, out);
}

static bool is_plain(str text)
{
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] <= 0x20 || (unsigned char)text.p[i] >= 0x7f ||
            strchr("\"#<>\\^`{|}", text.p[i]))
            return false;
    return true;
}

/* "host", "host:port", "[address]:port". */
static bool authority_split(str authority, hook_url *ret)
{
    uint64_t port = 0;
    bool brackets = str_starts(authority, S("["));
    size_t end = brackets ? str_find(authority, ']') + 1 : str_find(authority, ':');
    if (end > authority.n || str_find(authority, '@') < authority.n)
        return false;
    str rest = str_skip(authority, end);
    if (rest.n && (rest.p[0] != ':' || !str_to_u64(str_skip(rest, 1), UINT16_MAX, &port) || !port))
        return false;
    ret->authority = authority;
    ret->host = str_head(authority, end);
    ret->port = (uint16_t)port;
    return ret->host.n > 0;
}

bool hook_url_parse(str text, hook_url *ret, err *e)
{
    hook_url u = {0};
    size_t colon = str_find(text, ':');
    str scheme = str_head(text, colon), rest = str_skip(text, colon);
    u.scheme = str_eq_nocase(scheme, S("https"))  ? S("https")
               : str_eq_nocase(scheme, S("http")) ? S("http")
                                                  : (str){0};
    bool ok = text.n <= HOOK_URL_BYTES_MAX && u.scheme.p && str_starts(rest, S("://"));
    if (ok) {
        rest = str_skip(rest, 3);
        size_t slash = str_find(rest, '/'), question = str_find(rest, '?');
        size_t end = slash < question ? slash : question;
        u.target = str_skip(rest, end);
        ok = is_plain(text) && authority_split(str_head(rest, end), &u);
    }
    if (!ok)
        return err_set(e, ERR_INVALID,
                       "'%.*s' is no address of a hook; write it like https://example.com/done",
                       STR(str_head(text, 100)));
    *ret = u;
    return true;
}
