/* The wasm binary format's primitive values (core specification, 5.2), read strictly.
 *
 * All LEB128 forms go through one loop: leb() reads up to ceil(bits / 7) bytes and checks that the
 * bits of the last byte beyond the width are zero (unsigned) or copies of the sign. The common case
 * of a single byte returns at once; modules of tens of megabytes are read through here.
 *
 * Nothing here allocates, and nothing knows what the bytes mean. */
#include "component/reader.h"

#include <stdio.h>

bool reader_fail(const reader *r, err *e, err_code code, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set(e, code, "offset 0x%llx: %s", (unsigned long long)reader_offset(r), text);
}

static bool fail_end(const reader *r, err *e)
{
    return reader_fail(r, e, ERR_INVALID, "unexpected end");
}

bool reader_u8(reader *r, uint8_t *ret, err *e)
{
    if (r->at == r->end)
        return fail_end(r, e);
    *ret = *r->at++;
    return true;
}

bool reader_fixed_u32(reader *r, uint32_t *ret, err *e)
{
    if (reader_left(r) < 4)
        return fail_end(r, e);
    *ret = (uint32_t)r->at[0] | (uint32_t)r->at[1] << 8 | (uint32_t)r->at[2] << 16 |
           (uint32_t)r->at[3] << 24;
    r->at += 4;
    return true;
}

/* Core specification "Integers": uN.
 * Any LEB128 of 1..64 bits; a signed result is sign-extended to 64 bits. */
static bool leb(reader *r, unsigned bits, bool is_signed, uint64_t *ret, err *e)
{
    const uint8_t *p = r->at;
    uint64_t v = 0;
    for (unsigned shift = 0; shift < bits; shift += 7) {
        if (p == r->end)
            return fail_end(r, e);
        uint8_t byte = *p++;
        unsigned left = bits - shift;
        if (left < 7) { /* the last byte holds `left` bits, then padding of zeros or signs */
            unsigned pad_at = is_signed ? left - 1 : left;
            uint8_t pad = (uint8_t)((byte & 0x7f) >> pad_at), ones = (uint8_t)(0x7f >> pad_at);
            if (byte & 0x80)
                return reader_fail(r, e, ERR_INVALID, "integer representation too long");
            if (pad != 0 && !(is_signed && pad == ones))
                return reader_fail(r, e, ERR_INVALID, "integer too large");
        }
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            if (is_signed && (byte & 0x40) && shift + 7 < 64)
                v |= ~(uint64_t)0 << (shift + 7);
            r->at = p;
            *ret = v;
            return true;
        }
    }
    return reader_fail(r, e, ERR_INVALID, "integer representation too long");
}

/* Core specification "Integers": u32. */
bool reader_u32(reader *r, uint32_t *ret, err *e)
{
    if (r->at < r->end && *r->at < 0x80) {
        *ret = *r->at++;
        return true;
    }
    uint64_t v;
    if (!leb(r, 32, false, &v, e))
        return false;
    *ret = (uint32_t)v;
    return true;
}

bool reader_u64(reader *r, uint64_t *ret, err *e) { return leb(r, 64, false, ret, e); }

/* Core specification "Integers": sN. */
static bool leb_signed(reader *r, unsigned bits, int64_t *ret, err *e)
{
    uint64_t v;
    if (!leb(r, bits, true, &v, e))
        return false;
    *ret = (int64_t)v;
    return true;
}

bool reader_s32(reader *r, int32_t *ret, err *e)
{
    int64_t v;
    if (!leb_signed(r, 32, &v, e))
        return false;
    *ret = (int32_t)v;
    return true;
}

bool reader_s33(reader *r, int64_t *ret, err *e) { return leb_signed(r, 33, ret, e); }

bool reader_s64(reader *r, int64_t *ret, err *e) { return leb_signed(r, 64, ret, e); }

bool reader_skip(reader *r, size_t n, err *e)
{
    if (reader_left(r) < n)
        return fail_end(r, e);
    r->at += n;
    return true;
}

bool reader_bytes(reader *r, size_t n, bytes *ret, err *e)
{
    const uint8_t *p = r->at;
    if (!reader_skip(r, n, e))
        return false;
    *ret = (bytes){p, n};
    return true;
}

/* Core specification "Names": name. */
bool reader_name(reader *r, str *ret, err *e)
{
    reader begin = *r;
    uint32_t n;
    bytes b;
    if (!reader_u32(r, &n, e))
        return false;
    if (n > READER_NAME_MAX && n <= reader_left(r)) {
        *r = begin;
        return reader_fail(r, e, ERR_LIMIT, "a name of %u bytes; at most %d are allowed", n,
                           READER_NAME_MAX);
    }
    if (!reader_bytes(r, n, &b, e)) {
        *r = begin;
        return false;
    }
    str s = {(const char *)b.p, b.n};
    if (!str_is_utf8(s)) {
        *r = begin;
        return reader_fail(r, e, ERR_INVALID, "malformed UTF-8 encoding");
    }
    *ret = s;
    return true;
}

/* Core specification "Lists": the length of a list. */
bool reader_count(reader *r, uint32_t max, const char *what, uint32_t *ret, err *e)
{
    reader begin = *r;
    uint32_t n;
    if (!reader_u32(r, &n, e))
        return false;
    if (n > reader_left(r)) {
        *r = begin;
        return reader_fail(r, e, ERR_INVALID, "unexpected end: %u %s do not fit", n, what);
    }
    if (n > max) {
        *r = begin;
        return reader_fail(r, e, ERR_LIMIT, "%u %s; at most %u are allowed", n, what, max);
    }
    *ret = n;
    return true;
}

bool reader_slice(reader *r, size_t n, reader *ret, err *e)
{
    const uint8_t *p = r->at;
    if (!reader_skip(r, n, e))
        return false;
    *ret = (reader){p, p + n, r->start};
    return true;
}

/* Core specification: a section's size and content. */
bool reader_sized(reader *r, reader *ret, err *e)
{
    reader begin = *r;
    uint32_t n;
    if (!reader_u32(r, &n, e))
        return false;
    if (!reader_slice(r, n, ret, e)) {
        *r = begin;
        return false;
    }
    return true;
}
