/* Lifting and lowering for host functions. Every number here that comes from the guest is checked
 * before use; texts of traps are those that Wasmtime uses, so that what people find about them on
 * the web helps. */
#include "host/call.h"

#include "base/limits.h"

#include <stdio.h>

host_status call_trap(host_call *c, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    str name = c->import->name, interface = c->import->interface;
    return engine_trap_set(c->in, "%s (in %.*s#%.*s)", text, STR(interface), STR(name));
}

host_status call_no_memory(host_call *c)
{
    return call_trap(c, "the instance's resources take more than %zu MiB of host memory",
                     HOST_GUEST_BYTES_MAX / MIB);
}

host_status call_wait(host_call *c) { return guest_wait(c->g) ? HOST_WAIT : call_no_memory(c); }

bool call_memory(host_call *c)
{
    if (c->import->options.memory == PLAN_NONE)
        return call_trap(c, "the canonical options name no memory"), false;
    c->memory = engine_memory(c->in, c->import->options.memory, &c->memory_size);
    return true;
}

/* Some size that the memory had in this call will do: in_bounds asks again before it says no. */
static inline bool memory_known(host_call *c)
{
    if (c->memory)
        return true;
    if (c->import->options.memory == PLAN_NONE)
        return call_memory(c);
    c->memory = engine_memory_seen(c->in, c->import->options.memory, &c->memory_size);
    return true;
}

static inline bool in_bounds(host_call *c, uint32_t at, uint64_t n)
{
    return abi_in_bounds(c->memory_size, at, n) ||
           (call_memory(c) && abi_in_bounds(c->memory_size, at, n));
}

bool call_alloc(host_call *c, uint32_t align, uint64_t n, uint32_t *ret_at)
{
    uint32_t at;
    if (c->import->options.realloc == PLAN_NONE)
        return call_trap(c, "the canonical options name no realloc"), false;
    if (n > UINT32_MAX)
        return call_trap(c, "a result of %llu bytes does not fit into 32-bit memory",
                         (unsigned long long)n),
               false;
    c->g->in_realloc = true;
    bool ok = engine_realloc(c->in, c->import->options.realloc, align, (uint32_t)n, &at);
    c->g->in_realloc = false;
    if (!ok || !memory_known(c))
        return false;
    if (!abi_is_aligned(at, align))
        return call_trap(c, "realloc return: result not aligned"), false;
    if (!in_bounds(c, at, n))
        return call_trap(c, "realloc return: beyond end of memory"), false;
    *ret_at = at;
    return true;
}

static bool string_transcode(host_call *c, const uint8_t *src, const abi_string *s, str *ret)
{
    size_t n;
    if (!s->is_utf16)
        n = abi_latin1_to_utf8(src, s->units, NULL);
    else if (!abi_utf16_to_utf8(src, s->units, NULL, &n))
        return call_trap(c, "invalid utf-16: unpaired surrogate"), false;
    char *p = arena_alloc(&c->g->scratch, n);
    if (!p)
        return call_no_memory(c), false;
    if (!s->is_utf16)
        abi_latin1_to_utf8(src, s->units, p);
    else
        abi_utf16_to_utf8(src, s->units, p, &n);
    *ret = (str){p, n};
    return true;
}

bool call_string(host_call *c, uint32_t at, uint32_t units, str *ret)
{
    if (!memory_known(c))
        return false;
    abi_string s = abi_string_span(c->import->options.encoding, units);
    if (s.bytes > ABI_STRING_BYTES_MAX)
        return call_trap(c, "string is too long: %llu bytes", (unsigned long long)s.bytes), false;
    if (!abi_is_aligned(at, s.align))
        return call_trap(c, "string pointer not aligned to %u", s.align), false;
    if (!in_bounds(c, at, s.bytes))
        return call_trap(c, "string pointer/length out of bounds of memory"), false;
    const uint8_t *p = c->memory + at;
    if (s.encoding != ENCODING_UTF8)
        return string_transcode(c, p, &s, ret);
    str text = {(const char *)p, (size_t)s.bytes};
    if (!str_is_utf8(text))
        return call_trap(c, "invalid utf-8 sequence in a string"), false;
    *ret = text;
    return true;
}

bool call_list(host_call *c, uint32_t at, uint32_t n, uint32_t elem_size, uint32_t elem_align)
{
    uint64_t total = (uint64_t)n * elem_size;
    if (!memory_known(c))
        return false;
    if (total > ABI_LIST_BYTES_MAX)
        return call_trap(c, "list is too long: %llu bytes", (unsigned long long)total), false;
    if (!abi_is_aligned(at, elem_align))
        return call_trap(c, "list pointer is not aligned"), false;
    if (!in_bounds(c, at, total))
        return call_trap(c, "list pointer/length out of bounds of memory"), false;
    return true;
}

bool call_bytes(host_call *c, uint32_t at, uint32_t n, bytes *ret)
{
    if (!call_list(c, at, n, 1, 1))
        return false;
    *ret = (bytes){c->memory + at, n};
    return true;
}

bool arg_case(host_call *c, unsigned i, uint32_t n, uint32_t *ret)
{
    uint32_t k = c->slots[i].u32;
    if (k >= n)
        return call_trap(c, "unexpected discriminant: %u", k), false;
    *ret = k;
    return true;
}

bool arg_option_string(host_call *c, unsigned i, str *ret)
{
    uint32_t some;
    *ret = (str){NULL, 0};
    if (!arg_case(c, i, 2, &some))
        return false;
    return !some || arg_string(c, i + 1, ret);
}

static handle *handle_find(host_call *c, uint32_t index, const host_resource *r)
{
    handle *h = handles_get(c->handles, index);
    if (!h) {
        call_trap(c, "unknown handle index %u", index);
        return NULL;
    }
    if (!handle_is_host(h) || h->o->resource != r) {
        call_trap(c, "handle index %u used with the wrong type, expected %s", index, r->name);
        return NULL;
    }
    return h;
}

bool call_borrow(host_call *c, uint32_t index, const host_resource *r, object **ret)
{
    handle *h = handle_find(c, index, r);
    if (!h)
        return false;
    *ret = h->o;
    return true;
}

bool call_take(host_call *c, uint32_t index, const host_resource *r, object **ret)
{
    handle *h = handle_find(c, index, r);
    if (!h)
        return false;
    if (h->lends)
        return call_trap(c, "cannot remove owned resource while borrowed"), false;
    if (!handle_is_own(h))
        return call_trap(c, "cannot lift own resource from a borrow"), false;
    if (h->o->children)
        return call_trap(c, "resource has children: drop what was made from this %s first",
                         r->name),
               false;
    *ret = h->o;
    handles_remove(c->handles, index);
    return true;
}

bool call_handle(host_call *c, object *o, uint32_t *ret_index)
{
    if (!o)
        return call_no_memory(c), false;
    uint32_t i = handles_add(c->handles, &c->g->pool, (handle){.kind = HANDLE_HOST, .o = o});
    if (!i) {
        object_free(c->g, o);
        return call_trap(c, "the instance holds more than %u handles; drop some or raise the limit",
                         c->handles->live_max),
               false;
    }
    *ret_index = i;
    return true;
}

host_status return_handle(host_call *c, object *o)
{
    uint32_t i;
    return call_handle(c, o, &i) ? return_u32(c, i) : HOST_TRAP;
}

bool result_place(host_call *c, place *ret)
{
    const core_signature *s = &c->import->signature;
    const type *t = c->import->type->result;
    must(s->results_spilled && s->params_count > 0);
    uint32_t at = c->slots[s->params_count - 1].u32;
    if (!memory_known(c))
        return false;
    if (!abi_is_aligned(at, t->align))
        return call_trap(c, "pointer not aligned"), false;
    if (!in_bounds(c, at, t->size))
        return call_trap(c, "pointer out of bounds of memory"), false;
    *ret = (place){t, at};
    return true;
}

place put_case(host_call *c, place p, uint32_t k)
{
    const type *t = p.type, *payload = NULL;
    switch (t->kind) {
    case TYPE_OPTION:
        must(k < 2);
        payload = k ? t->elem : NULL;
        break;
    case TYPE_RESULT:
    case TYPE_VARIANT:
    case TYPE_ENUM:
        must(k < t->fields_count);
        payload = t->fields[k].type;
        break;
    default:
        must(!"no variant");
    }
    memcpy(c->memory + p.at, &k, type_discriminant_size(t));
    return (place){payload, p.at + t->payload_at};
}

static void put_span(host_call *c, place p, uint32_t at, uint32_t n)
{
    uint32_t pair[2] = {at, n};
    memcpy(c->memory + p.at, pair, sizeof pair);
}

bool put_bytes(host_call *c, place p, bytes b)
{
    uint32_t at;
    must(p.type->kind == TYPE_LIST && p.type->elem->size == 1);
    if (!call_alloc(c, 1, b.n, &at))
        return false;
    if (b.n)
        memcpy(c->memory + at, b.p, b.n);
    put_span(c, p, at, (uint32_t)b.n);
    return true;
}

/* store_string_to_latin1_or_utf16, store_utf8_to_utf16; with the exact size at once. */
static bool put_wide(host_call *c, place p, str s)
{
    bool latin1 = c->import->options.encoding == ENCODING_LATIN1_UTF16;
    size_t units;
    uint32_t at;
    if (latin1 && abi_utf8_is_latin1(s, &units)) {
        if (!call_alloc(c, 2, units, &at))
            return false;
        abi_utf8_to_latin1(s, c->memory + at);
        put_span(c, p, at, (uint32_t)units);
        return true;
    }
    units = abi_utf8_to_utf16(s, NULL);
    if (!call_alloc(c, 2, (uint64_t)units * 2, &at))
        return false;
    abi_utf8_to_utf16(s, c->memory + at);
    put_span(c, p, at, (uint32_t)units | (latin1 ? ABI_UTF16_TAG : 0));
    return true;
}

bool put_string(host_call *c, place p, str s)
{
    uint32_t at;
    must(p.type->kind == TYPE_STRING);
    if (c->import->options.encoding != ENCODING_UTF8)
        return put_wide(c, p, s);
    if (!call_alloc(c, 1, s.n, &at))
        return false;
    if (s.n)
        memcpy(c->memory + at, s.p, s.n);
    put_span(c, p, at, (uint32_t)s.n);
    return true;
}

bool put_list(host_call *c, place p, uint32_t n, place *ret_first)
{
    const type *elem = p.type->elem;
    uint32_t at;
    must(p.type->kind == TYPE_LIST && elem && !p.type->length_fixed);
    if (!call_alloc(c, elem->align, (uint64_t)n * elem->size, &at))
        return false;
    put_span(c, p, at, n);
    *ret_first = (place){elem, at};
    return true;
}

bool put_handle(host_call *c, place p, object *o)
{
    uint32_t i;
    must(p.type->kind == TYPE_OWN);
    if (!call_handle(c, o, &i))
        return false;
    put_int(c, p, i);
    return true;
}
