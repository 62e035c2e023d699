/* allowed_outbound_hosts: parsing of one rule, matching, and the words of a denial.
 *
 * A rule is parsed once into numbers and a lower-case name; matching compares and never
 * allocates. Where this is stricter than Spin, a manifest error says so: empty port ranges, and
 * names that a URL parser would silently turn into an IPv4 address ("127.1", "0x7f.0.0.1"). When
 * a guest connects to such a name, only "*" lets it through; the address it resolves to is for
 * whoever makes the connection to check. */
#include "app/outbound.h"

#include <arpa/inet.h>
#include <stdlib.h>

static const struct {
    const char *scheme;
    uint16_t port;
} known_ports[] = {{"http", 80},    {"https", 443},  {"postgres", 5432},
                   {"mysql", 3306}, {"redis", 6379}, {"mqtt", 1883}};

uint16_t outbound_default_port(str scheme)
{
    for (size_t i = 0; i < sizeof known_ports / sizeof *known_ports; i++)
        if (str_eq_nocase(scheme, str_from(known_ports[i].scheme)))
            return known_ports[i].port;
    return 0;
}

bool outbound_addr_parse(str text, outbound_addr *ret)
{
    char z[INET6_ADDRSTRLEN];
    outbound_addr addr = {.bits = 32};
    if (text.n >= 2 && text.p[0] == '[' && text.p[text.n - 1] == ']') {
        text = (str){text.p + 1, text.n - 2};
        addr.bits = 128;
    }
    if (!text.n || text.n >= sizeof z || memchr(text.p, 0, text.n))
        return false;
    memcpy(z, text.p, text.n);
    z[text.n] = 0;
    if (addr.bits == 32 && inet_pton(AF_INET, z, addr.at) == 1) {
        *ret = addr;
        return true;
    }
    addr.bits = 128;
    if (inet_pton(AF_INET6, z, addr.at) != 1)
        return false;
    *ret = addr;
    return true;
}

static void addr_mask(outbound_addr *addr, unsigned bits)
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned keep = bits >= 8 ? 8 : bits;
        addr->at[i] = (uint8_t)(addr->at[i] & (uint8_t)(0xff00 >> keep));
        bits -= keep;
    }
}

/* ---- parsing ---- */

static bool scheme_parse(arena *a, str s, outbound_rule *r, err *e)
{
    if (str_eq(s, S("*")))
        return true;
    if (str_starts(s, S("{")))
        return err_set(e, ERR_INVALID, "lists of schemes are not supported; write one entry each");
    char *lower = arena_cstr(a, s);
    if (!lower)
        return err_no_memory(e);
    for (size_t i = 0; i < s.n; i++) {
        lower[i] = (char)(lower[i] | 0x20);
        if (lower[i] < 'a' || lower[i] > 'z')
            return err_set(e, ERR_INVALID, "the scheme '%.*s' may only have letters, or be '*'",
                           STR(s));
    }
    if (!s.n)
        return err_set(e, ERR_INVALID, "the scheme is empty; write one, or '*'");
    r->scheme = (str){lower, s.n};
    return true;
}

static bool port_number(str s, uint32_t max, uint32_t *ret)
{
    uint64_t v;
    if (!str_to_u64(s, max, &v))
        return false;
    *ret = (uint32_t)v;
    return true;
}

static bool port_parse(str s, str scheme, outbound_rule *r, err *e)
{
    if (!s.n) {
        r->port_first = outbound_default_port(scheme);
        r->port_end = r->port_first + 1;
        return r->port_first || err_set(e, ERR_INVALID,
                                        "no port, and scheme '%.*s' has no usual one; add ':*' or "
                                        "a number",
                                        STR(scheme));
    }
    if (str_eq(s, S("*"))) {
        r->port_first = 0;
        r->port_end = 65536;
        return true;
    }
    if (str_starts(s, S("{")))
        return err_set(e, ERR_INVALID, "lists of ports are not supported; write one entry each");
    const char *dots = memmem(s.p, s.n, "..", 2);
    str first = dots ? str_head(s, (size_t)(dots - s.p)) : s;
    if (!port_number(first, 65535, &r->port_first))
        return err_set(e, ERR_INVALID,
                       "port '%.*s' is not a number up to 65535, a range 'a..b' "
                       "or '*'",
                       STR(s));
    r->port_end = r->port_first + 1;
    if (!dots)
        return true;
    if (!port_number(str_skip(s, first.n + 2), 65536, &r->port_end))
        return err_set(e, ERR_INVALID, "port range '%.*s' does not end in a number", STR(s));
    return r->port_first < r->port_end ||
           err_set(e, ERR_INVALID, "port range '%.*s' is empty: the end is not included", STR(s));
}

static bool is_number_label(str label)
{
    if (label.n > 1 && label.p[0] == '0' && (label.p[1] | 0x20) == 'x')
        return true;
    for (size_t i = 0; i < label.n; i++)
        if (label.p[i] < '0' || label.p[i] > '9')
            return false;
    return label.n > 0;
}

static bool name_parse(arena *a, str s, str *ret, err *e)
{
    if (!s.n || s.n > 253)
        return err_set(e, ERR_INVALID, "the host is %s", s.n ? "longer than 253 bytes" : "empty");
    char *lower = arena_cstr(a, s);
    if (!lower)
        return err_no_memory(e);
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        if (letter)
            lower[i] = (char)(c | 0x20);
        else if (c >= 0x80)
            return err_set(e, ERR_INVALID, "host '%.*s' is not ASCII; write its 'xn--' form",
                           STR(s));
        else if (!(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.')
            return err_set(e, ERR_INVALID, "'%c' can't be part of a host name",
                           c >= 0x20 && c < 0x7f ? c : '?');
    }
    str rest = s, label = {0};
    while (rest.p) {
        str next = str_cut(&rest, '.');
        if (!next.n && rest.p)
            return err_set(e, ERR_INVALID, "host '%.*s' has an empty part", STR(s));
        if (next.n)
            label = next;
    }
    if (is_number_label(label))
        return err_set(e, ERR_INVALID, "'%.*s' is not a complete IPv4 address", STR(s));
    *ret = (str){lower, s.n};
    return true;
}

/* Bits beyond the network's are ignored, as Spin does. */
bool outbound_net_parse(str s, outbound_net *ret)
{
    uint64_t bits;
    outbound_net net;
    str addr = str_head(s, str_find(s, '/'));
    if (!outbound_addr_parse(addr, &net.addr))
        return false;
    bits = net.addr.bits;
    if (addr.n < s.n &&
        (str_starts(addr, S("[")) || !str_to_u64(str_skip(s, addr.n + 1), net.addr.bits, &bits)))
        return false;
    net.bits = (uint8_t)bits;
    addr_mask(&net.addr, net.bits);
    *ret = net;
    return true;
}

static bool host_parse(arena *a, str s, outbound_rule *r, err *e)
{
    s = str_trim(s);
    r->kind = OUTBOUND_ANY;
    if (str_eq(s, S("*")))
        return true;
    r->kind = OUTBOUND_SELF;
    if (str_eq(s, S("self")) || str_eq(s, S("self.alt")))
        return true;
    if (str_starts(s, S("{")))
        return err_set(e, ERR_INVALID, "lists of hosts are not supported; write one entry each");
    r->kind = OUTBOUND_NET;
    if (outbound_net_parse(s, &r->net))
        return true;
    if (str_ends(s, S("/")))
        s.n--;
    if (str_find(s, '/') < s.n)
        return err_set(e, ERR_INVALID,
                       "a path is not allowed (only a network '10.0.0.0/8' may "
                       "have '/')");
    if (outbound_net_parse(s, &r->net))
        return true;
    r->kind = OUTBOUND_NAME;
    if (str_eq(s, S("*")) || str_eq(s, S("self")) || str_eq(s, S("self.alt"))) {
        r->kind = s.p[0] == '*' ? OUTBOUND_ANY : OUTBOUND_SELF;
        return true;
    }
    if (str_starts(s, S("*."))) {
        str name;
        r->kind = OUTBOUND_SUBDOMAINS;
        if (str_find(str_skip(s, 1), '*') < s.n - 1)
            return err_set(e, ERR_INVALID, "'*' may only stand at the beginning");
        if (!name_parse(a, str_skip(s, 2), &name, e))
            return false;
        r->name = arena_printf(a, ".%.*s", STR(name));
        return r->name.p || err_no_memory(e);
    }
    if (str_find(s, '*') < s.n)
        return err_set(e, ERR_INVALID, "'*' must be the whole host or its first part: '*.%s'",
                       "example.com");
    return name_parse(a, s, &r->name, e);
}

/* Cuts ":port" off; an IPv6 address or network has colons of its own. */
static bool port_cut(str rest, str *host, str *port, err *e)
{
    outbound_net probe;
    size_t colon = str_rfind(rest, ':');
    *host = rest;
    *port = (str){0};
    if (colon == rest.n || outbound_net_parse(str_trim(rest), &probe))
        return true;
    str tail = str_skip(rest, colon + 1);
    if (str_ends(rest, S("]")) || str_ends(rest, S("]/")))
        return true;
    *host = str_head(rest, colon);
    size_t slash = str_find(tail, '/');
    if (slash + 1 < tail.n)
        return err_set(e, ERR_INVALID, "a path is not allowed");
    *port = str_head(tail, slash);
    return true;
}

bool outbound_rule_parse(arena *a, str text, outbound_rule *ret, err *e)
{
    str t = str_trim(text), host, port;
    if (str_eq(t, S("insecure:allow-all")))
        return err_set(e, ERR_INVALID,
                       "'insecure:allow-all' is no longer allowed; '*://*:*' "
                       "allows everything, if that is really meant");
    const char *mark = t.n ? memmem(t.p, t.n, "://", 3) : NULL;
    if (!mark && (!t.n || str_eq(t, S("*")) || str_eq(t, S(":")) || str_eq(t, S("?"))))
        return err_set(e, ERR_INVALID,
                       "'%.*s' must be scheme://host[:port], each may be '*'; "
                       "'*://*:*' allows everything",
                       STR(t));
    if (!mark)
        return err_set(e, ERR_INVALID,
                       "'%.*s' has no scheme; write 'https://%.*s', or '*://' and "
                       "a port for any",
                       STR(t), STR(t));
    str scheme = str_head(t, (size_t)(mark - t.p));
    outbound_rule r = {.text = arena_str(a, text)};
    if (!r.text.p)
        return err_no_memory(e);
    if (!port_cut(str_skip(t, scheme.n + 3), &host, &port, e) || !scheme_parse(a, scheme, &r, e) ||
        !port_parse(port, scheme, &r, e) || !host_parse(a, host, &r, e))
        return err_wrap(e, "'%.*s'", STR(t));
    *ret = r;
    return true;
}

bool outbound_rules_parse(arena *a, const str *texts, const bool *was_template, size_t n,
                          outbound_rules *ret, err *e)
{
    outbound_rules rules = {.at = ARENA_ARRAY(a, outbound_rule, n)};
    if (!rules.at)
        return err_no_memory(e);
    for (size_t i = 0; i < n; i++) {
        bool is_empty =
            !texts[i].n || str_eq(texts[i], S("http://")) || str_eq(texts[i], S("https://"));
        if (was_template && was_template[i] && is_empty)
            continue;
        if (!outbound_rule_parse(a, texts[i], &rules.at[rules.n], e))
            return false;
        rules.n++;
    }
    *ret = rules;
    return true;
}

/* ---- matching ---- */

static bool host_matches(const outbound_rule *r, str host, const outbound_addr *addr)
{
    switch (r->kind) {
    case OUTBOUND_ANY:
        return true;
    case OUTBOUND_SELF:
        return false;
    case OUTBOUND_NAME:
        return !addr && str_eq_nocase(host, r->name);
    case OUTBOUND_SUBDOMAINS:
        return !addr && host.n > r->name.n &&
               str_eq_nocase(str_skip(host, host.n - r->name.n), r->name);
    case OUTBOUND_NET:
        return addr && outbound_net_has(&r->net, addr);
    }
    return false;
}

bool outbound_allows(const outbound_rules *rules, str scheme, str host, uint16_t port)
{
    outbound_addr parsed, *addr = outbound_addr_parse(host, &parsed) ? &parsed : NULL;
    uint32_t actual = port ? port : outbound_default_port(scheme);
    for (size_t i = 0; i < rules->n; i++) {
        const outbound_rule *r = &rules->at[i];
        bool any_port = r->port_end - r->port_first == 65536;
        if (r->scheme.n && !str_eq_nocase(r->scheme, scheme))
            continue;
        if (!any_port && (!actual || actual < r->port_first || actual >= r->port_end))
            continue;
        if (host_matches(r, host, addr))
            return true;
    }
    return false;
}

bool outbound_allows_self(const outbound_rules *rules, str scheme)
{
    for (size_t i = 0; i < rules->n; i++) {
        const outbound_rule *r = &rules->at[i];
        if ((r->kind == OUTBOUND_SELF || r->kind == OUTBOUND_ANY) &&
            (!r->scheme.n || str_eq_nocase(r->scheme, scheme)))
            return true;
    }
    return false;
}

str outbound_chained_component(str host)
{
    static const str suffix = {".spin.internal", 14};
    if (host.n <= suffix.n || !str_eq_nocase(str_skip(host, host.n - suffix.n), suffix))
        return (str){0};
    return str_head(host, host.n - suffix.n);
}

bool outbound_rule_is_chaining(const outbound_rule *r)
{
    if (r->kind == OUTBOUND_SUBDOMAINS)
        return str_eq(r->name, S(".spin.internal"));
    return r->kind == OUTBOUND_NAME && outbound_chained_component(r->name).p;
}

str outbound_denial(arena *a, str component, str scheme, str host, uint16_t port)
{
    outbound_addr addr;
    bool bare_ip6 = outbound_addr_parse(host, &addr) && addr.bits == 128 && host.p[0] != '[';
    char number[8] = "";
    uint32_t actual = port ? port : outbound_default_port(scheme);
    if (actual && actual != outbound_default_port(scheme)) {
        size_t i = sizeof number - 1;
        for (; actual; actual /= 10)
            number[--i] = (char)('0' + actual % 10);
        number[--i] = ':';
        memmove(number, number + i, sizeof number - i);
    }
    return arena_printf(a,
                        "component '%.*s' tried to connect to %.*s://%s%.*s%s%s, which is not "
                        "allowed; to allow it, add \"%.*s://%s%.*s%s%s\" to "
                        "allowed_outbound_hosts of [component.%.*s]",
                        STR(component), STR(scheme), bare_ip6 ? "[" : "", STR(host),
                        bare_ip6 ? "]" : "", number, STR(scheme), bare_ip6 ? "[" : "", STR(host),
                        bare_ip6 ? "]" : "", number, STR(component));
}
