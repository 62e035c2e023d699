/* See hex.h. Digits are told by ranges of ASCII, in which letters follow each other; no locale is
 * asked, and no byte is looked at beyond the length. */
#include "base/hex.h"

int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

void hex_write(bytes b, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < b.n; i++) {
        *out++ = digits[b.p[i] >> 4];
        *out++ = digits[b.p[i] & 15];
    }
    *out = '\0';
}

bool percent_decode(str s, char *out, size_t *ret_n)
{
    bool ok = true;
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        int high = s.p[i] == '%' && i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1,
            low = high >= 0 ? hex_digit(s.p[i + 2]) : -1;
        ok = ok && (s.p[i] != '%' || low >= 0);
        out[n++] = low >= 0 ? (char)(high << 4 | low) : s.p[i];
        i += low >= 0 ? 2 : 0;
    }
    *ret_n = n;
    return ok;
}
