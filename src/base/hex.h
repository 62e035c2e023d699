/* Bytes as hexadecimal digits, and percent-encoding (RFC 3986, 2.1). */
#pragma once

#include "base/str.h"

/* The value of a digit, small or capital; -1: it is none. */
int hex_digit(char c);
/* Two small digits a byte into out, which has room for them and a NUL. */
void hex_write(bytes b, char *out);
/* Takes percent-encoding back, into out, which has room for s.n bytes. What is no encoding stays as
 * it is; false: there was such a '%'. */
bool percent_decode(str s, char *out, size_t *ret_n);
