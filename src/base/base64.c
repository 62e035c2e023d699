/* Four characters for three bytes, '=' for what is missing at the end. By the digit, not by a
 * table: what is small enough to be in a locked app has 128 bytes. */
#include "base/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int value_of(char c)
{
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

bool base64_decode(arena *a, str text, bytes *ret)
{
    uint8_t *out = arena_alloc(a, text.n / 4 * 3 + 1);
    size_t n = 0;
    *ret = (bytes){out, 0};
    if (!out || text.n % 4)
        return false;
    for (size_t i = 0; i < text.n; i += 4) {
        bool last = i + 4 == text.n;
        int pad = last && text.p[i + 3] == '=' ? 1 + (text.p[i + 2] == '=') : 0;
        uint32_t v = 0;
        for (int k = 0; k < 4; k++) {
            int d = k >= 4 - pad ? 0 : value_of(text.p[i + (size_t)k]);
            if (d < 0)
                return false;
            v = v << 6 | (uint32_t)d;
        }
        if (pad && v & ((1u << (8 * pad)) - 1))
            return false;
        for (int k = 0; k < 3 - pad; k++)
            out[n++] = (uint8_t)(v >> (16 - 8 * k));
    }
    ret->n = n;
    return true;
}

bool base64_encode(bytes b, buf *out)
{
    for (size_t i = 0; i < b.n; i += 3) {
        size_t left = b.n - i;
        uint32_t v = (uint32_t)b.p[i] << 16 | (left > 1 ? (uint32_t)b.p[i + 1] << 8 : 0) |
                     (left > 2 ? b.p[i + 2] : 0);
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63], left > 1 ? digits[v >> 6 & 63] : '=',
                        left > 2 ? digits[v & 63] : '='};
        if (!buf_put(out, four, sizeof four))
            return false;
    }
    return true;
}
