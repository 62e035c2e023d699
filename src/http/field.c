/* Field names and values: which bytes they may hold (RFC 9110 5.5, 5.6.2), and lists of tokens in
 * a value. Pure functions over what the parser or a guest gave; nothing is copied. */
#include "http/field.h"

enum { TOKEN = 1, VALUE = 2, HOST = 4 };
#define FIELDS_BYTES_MAX ((size_t)128 * 1024) /* what guests may set in all */

static const uint8_t class_of[256] = {
    ['\t'] = VALUE,
    [' '] = VALUE,
    ['!'] = TOKEN | VALUE | HOST,
    ['"'] = VALUE,
    ['#'] = TOKEN | VALUE,
    ['$'] = TOKEN | VALUE | HOST,
    ['%'] = TOKEN | VALUE | HOST,
    ['&'] = TOKEN | VALUE | HOST,
    ['\''] = TOKEN | VALUE | HOST,
    ['('] = VALUE | HOST,
    [')'] = VALUE | HOST,
    ['*'] = TOKEN | VALUE | HOST,
    ['+'] = TOKEN | VALUE | HOST,
    [','] = VALUE,
    ['-'] = TOKEN | VALUE | HOST,
    ['.'] = TOKEN | VALUE | HOST,
    ['/'] = VALUE,
    ['0' ... '9'] = TOKEN | VALUE | HOST,
    [':'] = VALUE,
    [';'] = VALUE | HOST,
    ['<'] = VALUE,
    ['='] = VALUE | HOST,
    ['>'] = VALUE,
    ['?'] = VALUE,
    ['@'] = VALUE,
    ['A' ... 'Z'] = TOKEN | VALUE | HOST,
    ['['] = VALUE,
    ['\\'] = VALUE,
    [']'] = VALUE,
    ['^'] = TOKEN | VALUE,
    ['_'] = TOKEN | VALUE | HOST,
    ['`'] = TOKEN | VALUE,
    ['a' ... 'z'] = TOKEN | VALUE | HOST,
    ['{'] = VALUE,
    ['|'] = TOKEN | VALUE,
    ['}'] = VALUE,
    ['~'] = TOKEN | VALUE | HOST,
    [0x80 ... 0xff] = VALUE,
};

static bool all_of(str s, uint8_t class)
{
    for (size_t i = 0; i < s.n; i++)
        if (!(class_of[(uint8_t)s.p[i]] & class))
            return false;
    return true;
}

bool token_is(str s) { return s.n > 0 && all_of(s, TOKEN); }

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

bool field_value_is(str v)
{
    return v.n == 0 || (!is_blank(v.p[0]) && !is_blank(v.p[v.n - 1]) && all_of(v, VALUE));
}

bool fields_check(const http_field *fields, size_t count, err *e)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        const http_field *f = &fields[i];
        if (!token_is(f->name))
            return err_set(e, ERR_INVALID,
                           "a field name of %zu bytes is not a token (RFC 9110 "
                           "5.6.2)",
                           f->name.n);
        if (!field_value_is(f->value))
            return err_set(e, ERR_INVALID,
                           "the value of field '%.*s' has control characters or "
                           "blanks around it (RFC 9110 5.5)",
                           STR(f->name));
        total += f->name.n + f->value.n;
    }
    return total <= FIELDS_BYTES_MAX ||
           err_set(e, ERR_LIMIT, "fields of %zu bytes; the limit is %zu", total, FIELDS_BYTES_MAX);
}

static bool name_in(str name, const str *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (name.n == list[i].n && str_eq_nocase(name, list[i]))
            return true;
    return false;
}

bool field_is_hop(str name)
{
    static const str list[] = {
        {"connection", 10},        {"keep-alive", 10}, {"proxy-connection", 16},
        {"transfer-encoding", 17}, {"upgrade", 7},     {"http2-settings", 14},
    };
    return name_in(name, list, sizeof list / sizeof *list);
}

/* RFC 9110 6.5.1: nothing needed for framing, routing, authentication or content format. */
bool field_is_no_trailer(str name)
{
    static const str list[] = {
        {"content-length", 14},
        {"host", 4},
        {"trailer", 7},
        {"te", 2},
        {"expect", 6},
        {"authorization", 13},
        {"cookie", 6},
        {"set-cookie", 10},
        {"content-encoding", 16},
        {"content-type", 12},
        {"content-range", 13},
    };
    return field_is_hop(name) || name_in(name, list, sizeof list / sizeof *list);
}

bool list_has(str list, str element)
{
    while (list.p) {
        str item = str_trim(str_cut(&list, ','));
        if (item.n == element.n && str_eq_nocase(item, element))
            return true;
    }
    return false;
}

const http_field *field_find(const http_field *fields, size_t count, str name)
{
    for (size_t i = 0; i < count; i++)
        if (str_eq(fields[i].name, name))
            return &fields[i];
    return NULL;
}

bool field_only(const http_field *fields, size_t count, str name, str *ret, err *e)
{
    str value = {0};
    for (size_t i = 0; i < count; i++) {
        if (!str_eq(fields[i].name, name))
            continue;
        if (value.p)
            return err_set(e, ERR_INVALID, "it was sent more than once; send one");
        value = fields[i].value.n ? fields[i].value : S("");
    }
    *ret = value;
    return true;
}

/* Cuts "host:port"; the port is without the colon, empty if there is none. */
static bool authority_split(str s, str *ret_host, str *ret_port)
{
    size_t end;
    if (s.n > 0 && s.p[0] == '[') {
        end = str_find(s, ']');
        if (end == s.n)
            return false;
        for (size_t i = 1; i < end; i++) { /* IPv6 or IPvFuture; its meaning is not ours */
            uint8_t c = (uint8_t)s.p[i];
            if (!(class_of[c] & HOST) && c != ':')
                return false;
        }
        if (end < 3)
            return false;
        end++;
    } else {
        end = str_find(s, ':');
        if (end == 0 || !all_of(str_head(s, end), HOST))
            return false;
    }
    *ret_host = str_head(s, end);
    *ret_port = str_skip(s, end);
    uint64_t port;
    if (ret_port->n == 0)
        return true;
    if (ret_port->p[0] != ':')
        return false;
    *ret_port = str_skip(*ret_port, 1);
    return ret_port->n == 0 || str_to_u64(*ret_port, 65535, &port);
}

bool authority_is(str s)
{
    str host, port;
    return s.n > 0 && authority_split(s, &host, &port);
}

bool target_is(str t)
{
    bool ascii = true;
    for (size_t i = 0; i < t.n; i++) {
        uint8_t c = (uint8_t)t.p[i];
        if (c <= ' ' || c == 0x7f || c == '#')
            return false;
        ascii &= c < 0x80;
    }
    return t.n > 0 && (ascii || str_is_utf8(t));
}

str authority_host(str authority)
{
    str host, port;
    return authority_split(authority, &host, &port) ? host : authority;
}

bool authority_same(str a, str b, str default_port)
{
    str host_a, port_a, host_b, port_b;
    if (!authority_split(a, &host_a, &port_a) || !authority_split(b, &host_b, &port_b))
        return false;
    return str_eq_nocase(host_a, host_b) &&
           str_eq(port_a.n ? port_a : default_port, port_b.n ? port_b : default_port);
}
