/* One walk over a type, reading from one side and writing to the other (CanonicalABI.md "Loading",
 * "Storing", "Flat Lifting", "Flat Lowering").
 *
 * Core values are bits here: joining the cases of a variant ("join" in "Flattening") then changes
 * nothing but the width, and all of CoerceValueIter is "take the low bits".
 *
 * Lists of numbers, and of records of numbers without padding, are one memcpy: every bit pattern of
 * them is a value. NaNs pass unchanged, which the specification allows.
 *
 * Strings are measured first and allocated once, in their exact size; the specification's way
 * (guess, grow, shrink) leaves the same bytes behind. Words of traps are those of Wasmtime, because
 * the specification's suite asks for them; they differ between two guests and guest and host.
 *
 * Recursion is as deep as the type: COMPONENT_TYPE_DEPTH_MAX. */
#include "component/abi_copy.h"

#include "base/must.h"

#include <stdio.h>

static bool trap(abi_copier *c, const char *text)
{
    snprintf(c->trap, sizeof c->trap, "wasm trap: %s", text);
    return false;
}

static bool work(abi_copier *c, uint64_t n)
{
    c->work += n;
    return c->work <= ABI_COPY_WORK_MAX || trap(c, "a call copies more than the limit of 1 GiB");
}

/* --- places -------------------------------------------------------------------------------- */

/* CanonicalABI.md "Loading": load_int. */
static uint64_t load(const abi_side *s, abi_place p, uint32_t n)
{
    uint64_t v = 0;
    if (!p.flat)
        memcpy(&v, s->base + p.at, n);
    else
        v = n == 8 ? p.flat[p.at] : p.flat[p.at] & ((UINT64_C(1) << 8 * n) - 1);
    return v;
}

/* CanonicalABI.md "Storing": store_int. */
static void store(const abi_side *s, abi_place p, uint32_t n, uint64_t v)
{
    if (p.flat)
        p.flat[p.at] = v;
    else
        memcpy(s->base + p.at, &v, n);
}

static abi_place place_at(abi_place p, uint32_t flat, uint32_t size)
{
    return (abi_place){p.flat, p.at + (p.flat ? flat : size)};
}

bool abi_area(abi_copier *c, const abi_side *side, uint32_t at, uint32_t size, uint32_t align)
{
    if (!abi_is_aligned(at, align))
        return trap(c, "unaligned pointer");
    return abi_in_bounds(side->size, at, size) || trap(c, "pointer out of bounds of memory");
}

/* What the destination's realloc gave for the content of a string or list. */
static bool allocate(abi_copier *c, uint32_t align, uint64_t n, bool is_string, uint32_t *ret)
{
    if (n > UINT32_MAX)
        return trap(c, "a value does not fit into 32-bit memory");
    if (!work(c, n + 16) || !c->realloc(c, align, (uint32_t)n, ret))
        return false;
    if (!abi_is_aligned(*ret, align))
        return trap(c, c->src.is_host ? "realloc return: result not aligned" : "unaligned pointer");
    if (abi_in_bounds(c->dst.size, *ret, n))
        return true;
    return trap(c, c->src.is_host ? "realloc return: beyond end of memory"
                   : is_string    ? "string content out-of-bounds"
                                  : "list content out-of-bounds");
}

/* --- strings ------------------------------------------------------------------------------- */

const char *abi_utf8_problem(const uint8_t *p, size_t n)
{
    if (str_is_utf8((str){(const char *)p, n}))
        return NULL;
    /* Cut in the middle of its last character, and fine before that? */
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        const uint8_t *tail = p + n - back;
        size_t want = tail[0] >= 0xf0 ? 4 : tail[0] >= 0xe0 ? 3 : 2;
        if ((tail[0] & 0xc0) != 0xc0 || want <= back ||
            !str_is_utf8((str){(const char *)p, n - back}))
            continue;
        for (uint8_t fill = 0x80; fill <= 0xa0; fill = (uint8_t)(fill + 0x10)) {
            uint8_t whole[4] = {tail[0], fill, 0x80, 0x80};
            memcpy(whole, tail, back);
            if (str_is_utf8((str){(const char *)whole, want}))
                return "incomplete utf-8 byte sequence";
        }
    }
    return "invalid utf-8 sequence";
}

typedef enum { FORM_UTF8, FORM_UTF16, FORM_LATIN1 } string_form;

/* The code point at p[*i], which holds well-formed text up to n; moves *i behind it. Text that is
 * not well-formed any more (the destination's realloc may write where we read) gives any number. */
static uint32_t point_get(string_form form, const uint8_t *p, size_t n, size_t *i)
{
    uint32_t c = p[*i];
    if (form == FORM_LATIN1) {
        *i += 1;
        return c;
    }
    if (form == FORM_UTF16) {
        c |= (uint32_t)p[*i + 1] << 8;
        *i += 2;
        if (c < 0xd800 || c >= 0xdc00 || *i + 2 > n)
            return c;
        uint32_t low = (uint32_t)p[*i] | (uint32_t)p[*i + 1] << 8;
        *i += 2;
        return 0x10000 + ((c - 0xd800) << 10) + ((low - 0xdc00) & 0x3ff);
    }
    uint32_t more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    c = more == 0 ? c : c & (0x3fu >> more);
    for (*i += 1; more > 0 && *i < n; more--, *i += 1)
        c = c << 6 | (p[*i] & 0x3fu);
    return c;
}

static size_t point_bytes(string_form form, uint32_t c)
{
    if (form == FORM_LATIN1)
        return 1;
    if (form == FORM_UTF16)
        return c < 0x10000 ? 2 : 4;
    return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
}

static void point_put(string_form form, uint8_t *p, uint32_t c)
{
    size_t n = point_bytes(form, c);
    if (form == FORM_UTF16) {
        uint32_t high = n == 4 ? 0xd800 + ((c - 0x10000) >> 10) : c;
        uint32_t low = 0xdc00 + ((c - 0x10000) & 0x3ff);
        memcpy(p,
               (uint8_t[]){(uint8_t)high, (uint8_t)(high >> 8), (uint8_t)low, (uint8_t)(low >> 8)},
               n);
        return;
    }
    static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        p[i] = (uint8_t)(0x80 | (c & 0x3f));
    p[0] = (uint8_t)(lead[n] | c);
}

/* Is every code point below 256? */
static bool is_latin1(string_form form, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n;)
        if (point_get(form, p, n, &i) > 0xff)
            return false;
    return true;
}

static uint64_t measure(string_form from, const uint8_t *p, size_t n, string_form to)
{
    uint64_t total = 0;
    if (from == to)
        return n;
    for (size_t i = 0; i < n;)
        total += point_bytes(to, point_get(from, p, n, &i));
    return total;
}

/* CanonicalABI.md "Storing": store_string_copy, store_string_to_utf8,
 * store_utf8_to_utf16, store_string_to_latin1_or_utf16. */
static bool transcode(abi_copier *c, string_form from, uint32_t src, size_t n, string_form to,
                      uint32_t dst, size_t dst_n)
{
    const uint8_t *p = c->src.base + src;
    uint8_t *q = c->dst.base + dst;
    size_t out = 0;
    if (from == to) {
        memmove(q, p, n); /* one memory may be both sides */
        return true;
    }
    for (size_t i = 0; i < n;) {
        uint32_t point = point_get(from, p, n, &i);
        if (point_bytes(to, point) > dst_n - out)
            return trap(c, "a string changed while it was copied");
        point_put(to, q + out, point);
        out += point_bytes(to, point);
    }
    return true;
}

/* CanonicalABI.md "Loading".
 * load_string_from_range: range and encoding. */
static bool string_check(abi_copier *c, uint32_t at, const abi_string *s)
{
    size_t n;
    const char *problem = NULL;
    if (s->bytes > ABI_STRING_BYTES_MAX)
        return trap(c, c->dst.is_host ? "string is too long" : "string content out-of-bounds");
    if (!abi_is_aligned(at, s->align))
        return trap(c, "unaligned pointer");
    if (!abi_in_bounds(c->src.size, at, s->bytes))
        return trap(c, c->dst.is_host ? "string pointer/length out of bounds of memory"
                                      : "string content out-of-bounds");
    if (s->is_utf16)
        problem = abi_utf16_to_utf8(c->src.base + at, s->units, NULL, &n)
                      ? NULL
                      : "invalid utf-16: unpaired surrogate";
    else if (s->encoding == ENCODING_UTF8)
        problem = abi_utf8_problem(c->src.base + at, (size_t)s->bytes);
    return !problem || trap(c, problem);
}

/* CanonicalABI.md "Loading", "Storing".
 * load_string, store_string. */
static bool copy_string(abi_copier *c, uint32_t at, uint32_t units, uint32_t *ret_at,
                        uint32_t *ret_units)
{
    abi_string s = abi_string_span(c->src.encoding, units);
    if (!string_check(c, at, &s) || !work(c, s.bytes))
        return false;
    size_t n = (size_t)s.bytes;
    const uint8_t *p = c->src.base + at;
    string_form from = s.is_utf16                         ? FORM_UTF16
                       : c->src.encoding == ENCODING_UTF8 ? FORM_UTF8
                                                          : FORM_LATIN1;
    string_form to = c->dst.encoding == ENCODING_UTF8 ? FORM_UTF8 : FORM_UTF16;
    bool wide = c->dst.encoding != ENCODING_UTF8;
    if (c->dst.encoding == ENCODING_LATIN1_UTF16 && (from == FORM_LATIN1 || is_latin1(from, p, n)))
        to = FORM_LATIN1;
    uint64_t size = measure(from, p, n, to);
    if (!allocate(c, wide ? 2 : 1, size, true, ret_at) ||
        !transcode(c, from, at, n, to, *ret_at, (size_t)size))
        return false;
    *ret_units = (uint32_t)(to == FORM_UTF16 ? size / 2 : size);
    if (to == FORM_UTF16 && c->dst.encoding == ENCODING_LATIN1_UTF16)
        *ret_units |= ABI_UTF16_TAG;
    return true;
}

/* --- lists --------------------------------------------------------------------------------- */

/* Is every bit pattern of its size one value, and the same one on both sides? */
static bool type_is_plain(const type *t)
{
    uint64_t sum = 0;
    switch (t->kind) {
    case TYPE_S8:
    case TYPE_U8:
    case TYPE_S16:
    case TYPE_U16:
    case TYPE_S32:
    case TYPE_U32:
    case TYPE_S64:
    case TYPE_U64:
    case TYPE_F32:
    case TYPE_F64:
        return true;
    case TYPE_FLAGS:
        return t->fields_count == 8 * t->size;
    case TYPE_RECORD:
    case TYPE_TUPLE:
        for (uint32_t i = 0; i < t->fields_count; i++) {
            if (!type_is_plain(t->fields[i].type))
                return false;
            sum += t->fields[i].type->size;
        }
        return sum == t->size;
    case TYPE_LIST:
        return t->length_fixed && type_is_plain(t->elem);
    default:
        return false;
    }
}

/* CanonicalABI.md "Loading", "Storing": load_list_from_valid_range,
 * store_list_into_valid_range. */
static bool copy_elements(abi_copier *c, const type *elem, uint32_t n, abi_place src, abi_place dst)
{
    if (!src.flat && !dst.flat && type_is_plain(elem)) {
        memmove(c->dst.base + dst.at, c->src.base + src.at, (size_t)n * elem->size);
        return true;
    }
    if (!work(c, (uint64_t)n * 16))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!abi_copy(c, elem, place_at(src, i * elem->flat_count, i * elem->size),
                      place_at(dst, i * elem->flat_count, i * elem->size)))
            return false;
    return true;
}

/* CanonicalABI.md "Loading", "Storing".
 * load_list, store_list. */
static bool copy_list(abi_copier *c, const type *elem, uint32_t at, uint32_t n, uint32_t *ret_at)
{
    uint64_t size = (uint64_t)n * elem->size;
    if (size > ABI_LIST_BYTES_MAX)
        return trap(c, c->dst.is_host ? "list is too long" : "list content out-of-bounds");
    if (!abi_is_aligned(at, elem->align))
        return trap(c, "unaligned pointer");
    if (!abi_in_bounds(c->src.size, at, size))
        return trap(c, c->dst.is_host ? "list pointer/length out of bounds of memory"
                                      : "list content out-of-bounds");
    return allocate(c, elem->align, size, false, ret_at) &&
           copy_elements(c, elem, n, (abi_place){NULL, at}, (abi_place){NULL, *ret_at});
}

static bool copy_span(abi_copier *c, const type *t, abi_place src, abi_place dst)
{
    uint32_t at = (uint32_t)load(&c->src, src, 4);
    uint32_t n = (uint32_t)load(&c->src, place_at(src, 1, 4), 4);
    bool ok =
        t->kind == TYPE_STRING ? copy_string(c, at, n, &at, &n) : copy_list(c, t->elem, at, n, &at);
    if (!ok)
        return false;
    store(&c->dst, dst, 4, at);
    store(&c->dst, place_at(dst, 1, 4), 4, n);
    return true;
}

/* --- the walk ------------------------------------------------------------------------------ */

static uint32_t align_to(uint32_t at, uint32_t align) { return (at + align - 1) & ~(align - 1); }

/* CanonicalABI.md "Loading", "Storing": load_record, store_record. */
static bool copy_fields(abi_copier *c, const type_field *fields, uint32_t n, abi_place src,
                        abi_place dst)
{
    uint32_t flat = 0, at = 0;
    for (uint32_t i = 0; i < n; i++) {
        const type *t = fields[i].type;
        at = align_to(at, t->align);
        if (!abi_copy(c, t, place_at(src, flat, at), place_at(dst, flat, at)))
            return false;
        flat += t->flat_count;
        at += t->size;
    }
    return true;
}

static const type *case_payload(const type *t, uint32_t k)
{
    if (t->kind == TYPE_OPTION)
        return k ? t->elem : NULL;
    return t->fields[k].type;
}

/* CanonicalABI.md "Loading", "Storing": load_variant, store_variant; lift_flat_variant,
 * lower_flat_variant. */
static bool copy_variant(abi_copier *c, const type *t, abi_place src, abi_place dst)
{
    uint32_t size = type_discriminant_size(t);
    uint32_t k = (uint32_t)load(&c->src, src, src.flat ? 4 : size);
    if (k >= (t->kind == TYPE_OPTION ? 2 : t->fields_count))
        return trap(c, "invalid variant discriminant");
    const type *payload = case_payload(t, k);
    if (dst.flat) /* what the case leaves unused is zero */
        memset(&dst.flat[dst.at], 0, t->flat_count * sizeof dst.flat[0]);
    store(&c->dst, dst, size, k);
    return !payload ||
           abi_copy(c, payload, place_at(src, 1, t->payload_at), place_at(dst, 1, t->payload_at));
}

/* CanonicalABI.md "Flat Lowering": lower_flat_signed.
 * A signed number of n bytes as a core value. */
static uint64_t sign_extend(uint64_t v, uint32_t n)
{
    uint64_t sign = UINT64_C(1) << (8 * n - 1);
    return ((v ^ sign) - sign) & (n == 8 ? UINT64_MAX : UINT32_MAX);
}

/* CanonicalABI.md "Loading": convert_i32_to_char. */
static bool copy_char(abi_copier *c, abi_place src, abi_place dst)
{
    uint32_t v = (uint32_t)load(&c->src, src, 4);
    if (v >= 0x110000 || (v >= 0xd800 && v < 0xe000))
        return trap(c, "invalid `char` bit pattern");
    store(&c->dst, dst, 4, v);
    return true;
}

/* CanonicalABI.md "Loading", "Storing": lift_own, lift_borrow, lower_own, lower_borrow. */
static bool copy_handle(abi_copier *c, const type *t, abi_place src, abi_place dst)
{
    uint32_t index;
    if (!c->handle)
        return trap(c, "handles cannot be passed here");
    if (!c->handle(c, t, (uint32_t)load(&c->src, src, 4), &index))
        return false;
    store(&c->dst, dst, 4, index);
    return true;
}

/* CanonicalABI.md "Loading", "Storing", "Flat Lifting", "Flat Lowering": load, store,
 * lift_flat, lower_flat. */
bool abi_copy(abi_copier *c, const type *t, abi_place src, abi_place dst)
{
    uint64_t v;
    switch (t->kind) {
    case TYPE_BOOL:
        v = load(&c->src, src, src.flat ? 4 : 1);
        store(&c->dst, dst, 1, v != 0);
        return true;
    case TYPE_S8:
    case TYPE_S16:
    case TYPE_S32:
    case TYPE_S64:
        store(&c->dst, dst, t->size, sign_extend(load(&c->src, src, t->size), t->size));
        return true;
    case TYPE_U8:
    case TYPE_U16:
    case TYPE_U32:
    case TYPE_U64:
    case TYPE_F32:
    case TYPE_F64:
        store(&c->dst, dst, t->size, load(&c->src, src, t->size));
        return true;
    case TYPE_FLAGS:
        v = load(&c->src, src, t->size);
        store(&c->dst, dst, t->size, v & ((UINT64_C(1) << t->fields_count) - 1));
        return true;
    case TYPE_CHAR:
        return copy_char(c, src, dst);
    case TYPE_STRING:
        return copy_span(c, t, src, dst);
    case TYPE_LIST:
        return t->length_fixed ? copy_elements(c, t->elem, t->length_fixed, src, dst)
                               : copy_span(c, t, src, dst);
    case TYPE_RECORD:
    case TYPE_TUPLE:
        return copy_fields(c, t->fields, t->fields_count, src, dst);
    case TYPE_VARIANT:
    case TYPE_ENUM:
    case TYPE_OPTION:
    case TYPE_RESULT:
        return copy_variant(c, t, src, dst);
    case TYPE_OWN:
    case TYPE_BORROW:
        return copy_handle(c, t, src, dst);
    case TYPE_STREAM:
    case TYPE_FUTURE:
    case TYPE_ERROR_CONTEXT:
        break;
    }
    return trap(c, "streams, futures and error contexts are not supported in this call");
}

/* CanonicalABI.md "Lifting and Lowering Values": the parameters as a tuple. */
void abi_params_layout(const functype *f, uint32_t *ret_size, uint32_t *ret_align)
{
    uint32_t at = 0, align = 1;
    for (uint32_t i = 0; i < f->params_count; i++) {
        const type *t = f->params[i].type;
        at = align_to(at, t->align) + t->size;
        align = t->align > align ? t->align : align;
    }
    *ret_size = align_to(at, align);
    *ret_align = align;
}

/* CanonicalABI.md "Lifting and Lowering Values": lift_flat_values, lower_flat_values. */
bool abi_copy_params(abi_copier *c, const functype *f, uint64_t *src, bool src_spilled,
                     uint64_t *dst, bool dst_spilled)
{
    abi_place from = {src, 0}, to = {dst, 0};
    uint32_t size, align, at;
    abi_params_layout(f, &size, &align);
    if (src_spilled) {
        from = (abi_place){NULL, (uint32_t)src[0]};
        if (!abi_area(c, &c->src, from.at, size, align))
            return false;
    }
    if (dst_spilled) {
        if (!work(c, size) || !c->realloc(c, align, size, &at) ||
            !abi_area(c, &c->dst, at, size, align))
            return false;
        to = (abi_place){NULL, at};
        dst[0] = at;
    }
    return copy_fields(c, f->params, f->params_count, from, to);
}

/* CanonicalABI.md "Lifting and Lowering Values": lift_flat_values, lower_flat_values of
 * the result. */
bool abi_copy_result(abi_copier *c, const functype *f, uint64_t *src, bool src_spilled,
                     uint64_t *dst, bool dst_spilled)
{
    const type *t = f->result;
    abi_place from = {src, 0}, to = {dst, 0};
    if (!t)
        return true;
    if (src_spilled) {
        from = (abi_place){NULL, (uint32_t)src[0]};
        if (!abi_area(c, &c->src, from.at, t->size, t->align))
            return false;
    }
    if (dst_spilled) {
        to = (abi_place){NULL, (uint32_t)dst[0]};
        if (!abi_area(c, &c->dst, to.at, t->size, t->align))
            return false;
    }
    return abi_copy(c, t, from, to);
}
