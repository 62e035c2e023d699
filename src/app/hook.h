/* The address of a web hook: who is told that a deferred call has ended (docs/defer.md).
 *
 *     ("http" | "https") "://" host [":" port] ["/" path] ["?" query]          RFC 9110, 4.2
 *
 * No user, no fragment, no character outside printable ASCII. Pure. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

enum { HOOK_URL_BYTES_MAX = 2048 };

/* Borrowed from the text. */
typedef struct {
    str scheme; /* in lower case */
    str authority, host;
    uint16_t port; /* 0: the scheme's own */
    str target;    /* may be empty, or begin with '?' */
} hook_url;

/* What tellings are signed with, as Standard Webhooks writes it: "whsec_" and base64. */
void hook_secret_put(bytes secret, buf *out);

/* ERR_INVALID says what it should look like. */
bool hook_url_parse(str text, hook_url *ret, err *e);
