/* Transcoding between UTF-8 and what guests use. Every function either measures (dst NULL) or
 * writes; callers measure first, so that what they ask the guest to allocate is exact and is never
 * shrunk afterwards. Sources in guest memory are read bytewise: they have no host alignment. */
#include "component/abi.h"

/* CanonicalABI.md "Loading": load_string_from_range. */
abi_string abi_string_span(string_encoding encoding, uint32_t tagged_units)
{
    abi_string s = {.encoding = encoding, .units = tagged_units};
    if (encoding == ENCODING_LATIN1_UTF16) {
        s.is_utf16 = (tagged_units & ABI_UTF16_TAG) != 0;
        s.units = tagged_units & ~ABI_UTF16_TAG;
        s.align = 2;
    } else {
        s.is_utf16 = encoding == ENCODING_UTF16;
        s.align = s.is_utf16 ? 2 : 1;
    }
    s.bytes = s.is_utf16 ? (uint64_t)s.units * 2 : s.units;
    return s;
}

static uint32_t unit_at(const uint8_t *src, size_t i)
{
    return (uint32_t)src[2 * i] | (uint32_t)src[2 * i + 1] << 8;
}

/* Writes c (a scalar value) if dst is not NULL; returns its length. */
static size_t utf8_put(char *dst, uint32_t c)
{
    uint8_t b[4];
    size_t n;
    if (c < 0x80) {
        b[0] = (uint8_t)c;
        n = 1;
    } else if (c < 0x800) {
        b[0] = (uint8_t)(0xc0 | c >> 6);
        b[1] = (uint8_t)(0x80 | (c & 0x3f));
        n = 2;
    } else if (c < 0x10000) {
        b[0] = (uint8_t)(0xe0 | c >> 12);
        b[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        b[2] = (uint8_t)(0x80 | (c & 0x3f));
        n = 3;
    } else {
        b[0] = (uint8_t)(0xf0 | c >> 18);
        b[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
        b[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        b[3] = (uint8_t)(0x80 | (c & 0x3f));
        n = 4;
    }
    if (dst)
        memcpy(dst, b, n);
    return n;
}

/* The scalar value at s.p[*i], which is well-formed; moves *i behind it. */
static uint32_t utf8_get(str s, size_t *i)
{
    const uint8_t *p = (const uint8_t *)s.p + *i;
    if (p[0] < 0x80) {
        *i += 1;
        return p[0];
    }
    if (p[0] < 0xe0) {
        *i += 2;
        return (uint32_t)(p[0] & 0x1f) << 6 | (p[1] & 0x3fu);
    }
    if (p[0] < 0xf0) {
        *i += 3;
        return (uint32_t)(p[0] & 0xf) << 12 | (uint32_t)(p[1] & 0x3f) << 6 | (p[2] & 0x3fu);
    }
    *i += 4;
    return (uint32_t)(p[0] & 7) << 18 | (uint32_t)(p[1] & 0x3f) << 12 |
           (uint32_t)(p[2] & 0x3f) << 6 | (p[3] & 0x3fu);
}

/* CanonicalABI.md "Storing": store_utf16_to_utf8. */
bool abi_utf16_to_utf8(const uint8_t *src, size_t units, char *dst, size_t *ret_n)
{
    size_t n = 0;
    for (size_t i = 0; i < units; i++) {
        uint32_t c = unit_at(src, i);
        if (c >= 0xd800 && c < 0xe000) {
            if (c >= 0xdc00 || i + 1 >= units)
                return false;
            uint32_t low = unit_at(src, ++i);
            if (low < 0xdc00 || low >= 0xe000)
                return false;
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        }
        n += utf8_put(dst ? dst + n : NULL, c);
    }
    *ret_n = n;
    return true;
}

/* CanonicalABI.md "Storing": store_latin1_to_utf8. */
size_t abi_latin1_to_utf8(const uint8_t *src, size_t n, char *dst)
{
    size_t out = 0;
    for (size_t i = 0; i < n; i++)
        out += utf8_put(dst ? dst + out : NULL, src[i]);
    return out;
}

static void unit_put(uint8_t *dst, size_t i, uint32_t unit)
{
    dst[2 * i] = (uint8_t)unit;
    dst[2 * i + 1] = (uint8_t)(unit >> 8);
}

/* CanonicalABI.md "Storing": store_utf8_to_utf16. */
size_t abi_utf8_to_utf16(str s, uint8_t *dst)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n;) {
        uint32_t c = utf8_get(s, &i);
        if (c < 0x10000) {
            if (dst)
                unit_put(dst, n, c);
            n++;
        } else {
            if (dst) {
                unit_put(dst, n, 0xd800 + ((c - 0x10000) >> 10));
                unit_put(dst, n + 1, 0xdc00 + ((c - 0x10000) & 0x3ff));
            }
            n += 2;
        }
    }
    return n;
}

bool abi_utf8_is_latin1(str s, size_t *ret_n)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; n++)
        if (utf8_get(s, &i) > 0xff)
            return false;
    *ret_n = n;
    return true;
}

/* CanonicalABI.md "Storing": store_string_to_latin1_or_utf16. */
void abi_utf8_to_latin1(str s, uint8_t *dst)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n;)
        dst[n++] = (uint8_t)utf8_get(s, &i);
}
