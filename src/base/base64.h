/* Base 64 (RFC 4648, section 4). */
#pragma once

#include "base/arena.h"
#include "base/buf.h"

/* Strict: padded, no blanks, no unused bits. False: the text is none, or (ret->p NULL) no memory.
 */
bool base64_decode(arena *a, str text, bytes *ret);
bool base64_encode(bytes b, buf *out);
