/* W3C Trace Context (Recommendation of 2021-11-23), the field traceparent: which trace a request is
 * a part of. Pure.
 *
 *     00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
 *     version  trace id (16 bytes)         span id (8)     flags: 1 is "sampled" */
#pragma once

#include "http/exchange.h"

enum { TRACEPARENT_BYTES = 55, TRACE_SAMPLED = 1 };
/* Where its parts begin. */
enum { TRACEPARENT_TRACE = 3, TRACEPARENT_SPAN = 36, TRACEPARENT_FLAGS = 53 };

typedef struct {
    uint8_t trace[16], span[8]; /* neither is all zeros */
    uint8_t flags;
} traceparent;

/* Section 3.2.2 and 4.3: a version that is not known is read as far as it is like version 00. */
bool traceparent_read(str text, traceparent *ret);
/* In version 00, with no other flag than "sampled"; and a NUL. */
void traceparent_write(const traceparent *t, char ret[TRACEPARENT_BYTES + 1]);
/* The one that a request has; false: none, one that is not right, or several. */
bool traceparent_find(const http_field *fields, size_t count, traceparent *ret);
