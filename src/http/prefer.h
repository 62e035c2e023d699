/* What a client says about waiting: `Prefer` (RFC 7240), and `Idempotency-Key`. Pure. */
#pragma once

#include "base/err.h"
#include "http/exchange.h"

enum { IDEMPOTENCY_KEY_BYTES_MAX = 255 };

typedef struct {
    bool respond_async; /* 4.1 */
    bool has_wait;      /* 4.3 */
    uint32_t wait_s;
} prefer;

/* All `prefer` fields together; of a preference that is named twice the first counts (2). What is
 * unknown or can't be read is ignored, as it must be. */
prefer prefer_read(const http_field *fields, size_t count);

/* What `Preference-Applied` says (3), a text in place: wait_s is what it was cut to. One of the two
 * was applied at least. */
enum { PREFERENCE_APPLIED_BYTES = 40 };
str preference_applied(bool respond_async, bool waited, uint32_t wait_s,
                       char place[PREFERENCE_APPLIED_BYTES]);

/* The key, in double quotes (a string of RFC 8941) or bare. ERR_INVALID: empty, too long, more than
 * one, or bytes other than visible ASCII. p NULL in *ret: there is none. */
bool idempotency_key_read(const http_field *fields, size_t count, str *ret, err *e);
