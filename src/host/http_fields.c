/* The resource `fields` of wasi:http/types.
 *
 * Names are kept in lower case, as HTTP/2 demands and as other hosts do; order is kept. A field is
 * one block of pool memory. Views (the headers of a message) borrow the array of their parent and
 * are immutable. Forbidden names are those that frame the message or belong to the connection
 * (spin.md 3.7): a guest that could set them could desynchronise it. */
#include "host/wasi_http.h"

#include "http/exchange.h"

enum { HEADER_INVALID_SYNTAX, HEADER_FORBIDDEN, HEADER_IMMUTABLE, HEADER_OK };

static void field_free(guest *g, http_field *f)
{
    pool_give(&g->pool, (void *)(uintptr_t)f->name.p, f->name.n + f->value.n);
}

static void fields_drop(guest *g, object *o)
{
    fields *f = (fields *)o;
    if (f->borrowed)
        return;
    for (uint32_t i = 0; i < f->n; i++)
        field_free(g, &f->at[i]);
    pool_give(&g->pool, f->at, f->cap * sizeof *f->at);
}

const host_resource fields_resource = {"fields", fields_drop};

fields *fields_new(guest *g, object *parent)
{
    return OBJECT_NEW(g, fields, fields_resource, parent);
}

fields *fields_view(guest *g, const http_field *at, size_t n, object *parent)
{
    fields *f = fields_new(g, parent);
    if (f) {
        f->at = (http_field *)(uintptr_t)at;
        f->n = (uint32_t)n;
        f->immutable = f->borrowed = true;
    }
    return f;
}

static char lower(char ch) { return ch >= 'A' && ch <= 'Z' ? (char)(ch + 32) : ch; }

bool fields_add(guest *g, fields *f, str name, str value)
{
    if (f->n == f->cap) {
        uint32_t cap = f->cap ? f->cap * 2 : 8;
        http_field *grown = pool_take(&g->pool, cap * sizeof *grown);
        if (!grown)
            return false;
        if (f->n)
            memcpy(grown, f->at, f->n * sizeof *grown);
        pool_give(&g->pool, f->at, f->cap * sizeof *grown);
        f->at = grown;
        f->cap = cap;
    }
    char *p = pool_take(&g->pool, name.n + value.n);
    if (!p)
        return false;
    for (size_t i = 0; i < name.n; i++)
        p[i] = lower(name.p[i]);
    if (value.n)
        memcpy(p + name.n, value.p, value.n);
    f->at[f->n++] = (http_field){{p, name.n}, {p + name.n, value.n}};
    f->bytes += (uint32_t)(name.n + value.n);
    return true;
}

str fields_find(const fields *f, str name)
{
    for (uint32_t i = 0; i < f->n; i++)
        if (str_eq(f->at[i].name, name))
            return f->at[i].value;
    return (str){NULL, 0};
}

int64_t fields_content_length(const fields *f)
{
    int64_t length = -1;
    for (uint32_t i = 0; i < f->n; i++) {
        uint64_t v;
        if (!str_eq(f->at[i].name, S("content-length")))
            continue;
        if (!str_to_u64(f->at[i].value, INT64_MAX, &v) || (length >= 0 && length != (int64_t)v))
            return -2;
        length = (int64_t)v;
    }
    return length;
}

/* --- syntax (RFC 9110, 5.1, 5.5, 5.6.2) ---------------------------------------------------- */

/* tchar: "!#$%&'*+-.^_`|~", digits and letters. One bit a character. */
static const uint64_t token_bits[2] = {UINT64_C(0x03ff6cfa00000000), UINT64_C(0x57ffffffc7fffffe)};

bool http_token_is_valid(str s)
{
    for (size_t i = 0; i < s.n; i++) {
        uint8_t ch = (uint8_t)s.p[i];
        if (ch >= 128 || !(token_bits[ch >> 6] >> (ch & 63) & 1))
            return false;
    }
    return s.n > 0 && s.n <= UINT16_MAX;
}

static bool value_is_valid(bytes b)
{
    for (size_t i = 0; i < b.n; i++)
        if ((b.p[i] < 32 && b.p[i] != '\t') || b.p[i] == 127)
            return false;
    return true;
}

static bool name_is_forbidden(str name)
{
    static const str names[] = {
        {"connection", 10},
        {"keep-alive", 10},
        {"proxy-authenticate", 18},
        {"proxy-authorization", 19},
        {"proxy-connection", 16},
        {"transfer-encoding", 17},
        {"upgrade", 7},
        {"host", 4},
        {"http2-settings", 14},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_eq_nocase(name, names[i]))
            return true;
    return false;
}

static uint32_t name_check(str name)
{
    return !http_token_is_valid(name) ? HEADER_INVALID_SYNTAX
           : name_is_forbidden(name)  ? HEADER_FORBIDDEN
                                      : HEADER_OK;
}

static bool name_matches(const http_field *f, str name)
{
    return f->name.n == name.n && str_eq_nocase(f->name, name);
}

static void fields_remove(guest *g, fields *f, str name)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < f->n; i++) {
        if (name_matches(&f->at[i], name)) {
            f->bytes -= (uint32_t)(f->at[i].name.n + f->at[i].value.n);
            field_free(g, &f->at[i]);
        } else {
            f->at[kept++] = f->at[i];
        }
    }
    f->n = kept;
}

/* Adds a checked field; false: a trap was set. */
static bool add_limited(host_call *c, fields *f, str name, bytes value)
{
    if (f->bytes + name.n + value.n > HOST_FIELDS_BYTES_MAX)
        return call_trap(c, "fields take more than %zu bytes", HOST_FIELDS_BYTES_MAX), false;
    if (!fields_add(c->g, f, name, (str){(const char *)value.p, value.n}))
        return call_no_memory(c), false;
    return true;
}

/* --- rows ---------------------------------------------------------------------------------- */

static host_status return_header_error(host_call *c, place r, uint32_t error)
{
    if (error == HEADER_OK)
        put_case(c, r, 0);
    else
        put_case(c, put_case(c, r, 1), error);
    return HOST_DONE;
}

static host_status fields_constructor(host_call *c)
{
    return return_handle(c, (object *)fields_new(c->g, NULL));
}

static uint32_t memory_u32(const host_call *c, uint32_t at)
{
    uint32_t v;
    memcpy(&v, c->memory + at, sizeof v);
    return v;
}

/* One entry of list<tuple<string, list<u8>>>: four words. */
static bool entry_add(host_call *c, fields *f, uint32_t at, uint32_t *ret_error)
{
    str name;
    bytes value;
    if (!call_string(c, memory_u32(c, at), memory_u32(c, at + 4), &name) ||
        !call_bytes(c, memory_u32(c, at + 8), memory_u32(c, at + 12), &value))
        return false;
    *ret_error = name_check(name);
    if (*ret_error == HEADER_OK && !value_is_valid(value))
        *ret_error = HEADER_INVALID_SYNTAX;
    return *ret_error != HEADER_OK || add_limited(c, f, name, value);
}

static host_status fields_from_list(host_call *c)
{
    uint32_t at = c->slots[0].u32, n = c->slots[1].u32, error = HEADER_OK;
    place r;
    if (!call_list(c, at, n, 16, 4) || !result_place(c, &r))
        return HOST_TRAP;
    fields *f = fields_new(c->g, NULL);
    if (!f)
        return call_no_memory(c);
    for (uint32_t i = 0; i < n && error == HEADER_OK; i++)
        if (!entry_add(c, f, at + 16 * i, &error)) {
            object_free(c->g, &f->o);
            return HOST_TRAP;
        }
    if (error != HEADER_OK) {
        object_free(c->g, &f->o);
        return return_header_error(c, r, error);
    }
    return put_handle(c, put_case(c, r, 0), &f->o) ? HOST_DONE : HOST_TRAP;
}

static host_status fields_get(host_call *c)
{
    fields *f;
    str name;
    place r, first;
    uint32_t count = 0, k = 0;
    if (!ARG_BORROW(c, 0, fields_resource, &f) || !arg_string(c, 1, &name) || !result_place(c, &r))
        return HOST_TRAP;
    /* The name is in guest memory, which moves: which fields match is found out first. */
    uint8_t *matches = arena_alloc(&c->g->scratch, f->n + 1);
    if (!matches)
        return call_no_memory(c);
    for (uint32_t i = 0; i < f->n; i++)
        count += matches[i] = name_matches(&f->at[i], name);
    if (!put_list(c, r, count, &first))
        return HOST_TRAP;
    for (uint32_t i = 0; i < f->n; i++) {
        str v = f->at[i].value;
        if (matches[i] &&
            !put_bytes(c, place_element(first, k++), (bytes){(const uint8_t *)v.p, v.n}))
            return HOST_TRAP;
    }
    return HOST_DONE;
}

static host_status fields_has(host_call *c)
{
    fields *f;
    str name;
    bool found = false;
    if (!ARG_BORROW(c, 0, fields_resource, &f) || !arg_string(c, 1, &name))
        return HOST_TRAP;
    for (uint32_t i = 0; i < f->n && !found; i++)
        found = name_matches(&f->at[i], name);
    return return_u32(c, found);
}

static host_status fields_set(host_call *c)
{
    fields *f;
    str name;
    place r;
    uint32_t at = c->slots[3].u32, n = c->slots[4].u32;
    if (!ARG_BORROW(c, 0, fields_resource, &f) || !arg_string(c, 1, &name) ||
        !call_list(c, at, n, 8, 4) || !result_place(c, &r))
        return HOST_TRAP;
    uint32_t error = f->immutable ? HEADER_IMMUTABLE : name_check(name);
    for (uint32_t i = 0; i < n; i++) {
        bytes value;
        if (!call_bytes(c, memory_u32(c, at + 8 * i), memory_u32(c, at + 8 * i + 4), &value))
            return HOST_TRAP;
        if (error == HEADER_OK && !value_is_valid(value))
            error = HEADER_INVALID_SYNTAX;
    }
    if (error != HEADER_OK)
        return return_header_error(c, r, error);
    fields_remove(c->g, f, name);
    for (uint32_t i = 0; i < n; i++) {
        bytes value = {c->memory + memory_u32(c, at + 8 * i), memory_u32(c, at + 8 * i + 4)};
        if (!add_limited(c, f, name, value))
            return HOST_TRAP;
    }
    return return_header_error(c, r, HEADER_OK);
}

static host_status fields_delete(host_call *c)
{
    fields *f;
    str name;
    place r;
    if (!ARG_BORROW(c, 0, fields_resource, &f) || !arg_string(c, 1, &name) || !result_place(c, &r))
        return HOST_TRAP;
    uint32_t error = f->immutable ? HEADER_IMMUTABLE : name_check(name);
    if (error == HEADER_OK)
        fields_remove(c->g, f, name);
    return return_header_error(c, r, error);
}

static host_status fields_append(host_call *c)
{
    fields *f;
    str name;
    bytes value;
    place r;
    if (!ARG_BORROW(c, 0, fields_resource, &f) || !arg_string(c, 1, &name) ||
        !arg_bytes(c, 3, &value) || !result_place(c, &r))
        return HOST_TRAP;
    uint32_t error = f->immutable ? HEADER_IMMUTABLE : name_check(name);
    if (error == HEADER_OK && !value_is_valid(value))
        error = HEADER_INVALID_SYNTAX;
    if (error == HEADER_OK && !add_limited(c, f, name, value))
        return HOST_TRAP;
    return return_header_error(c, r, error);
}

static host_status fields_entries(host_call *c)
{
    fields *f;
    place r, first;
    if (!ARG_BORROW(c, 0, fields_resource, &f) || !result_place(c, &r) ||
        !put_list(c, r, f->n, &first))
        return HOST_TRAP;
    for (uint32_t i = 0; i < f->n; i++) {
        place pair = place_element(first, i);
        str v = f->at[i].value;
        if (!put_string(c, place_field(pair, 0), f->at[i].name) ||
            !put_bytes(c, place_field(pair, 1), (bytes){(const uint8_t *)v.p, v.n}))
            return HOST_TRAP;
    }
    return HOST_DONE;
}

static host_status fields_clone(host_call *c)
{
    fields *f;
    if (!ARG_BORROW(c, 0, fields_resource, &f))
        return HOST_TRAP;
    fields *copy = fields_new(c->g, NULL);
    if (!copy)
        return call_no_memory(c);
    for (uint32_t i = 0; i < f->n; i++)
        if (!fields_add(c->g, copy, f->at[i].name, f->at[i].value)) {
            object_free(c->g, &copy->o);
            return call_no_memory(c);
        }
    return return_handle(c, &copy->o);
}

#define SELF "func(self: borrow<fields>"

const host_func http_fields_funcs[] = {
    {"[constructor]fields", "func() -> fields", fields_constructor},
    {"[static]fields.from-list",
     "func(entries: list<tuple<field-name, field-value>>) -> result<fields, header-error>",
     fields_from_list},
    {"[method]fields.get", SELF ", name: field-name) -> list<field-value>", fields_get},
    {"[method]fields.has", SELF ", name: field-name) -> bool", fields_has},
    {"[method]fields.set",
     SELF ", name: field-name, value: list<field-value>) -> result<_, header-error>", fields_set},
    {"[method]fields.delete", SELF ", name: field-name) -> result<_, header-error>", fields_delete},
    {"[method]fields.append",
     SELF ", name: field-name, value: field-value) -> result<_, header-error>", fields_append},
    {"[method]fields.entries", SELF ") -> list<tuple<field-name, field-value>>", fields_entries},
    {"[method]fields.clone", SELF ") -> fields", fields_clone},
    {0},
};
