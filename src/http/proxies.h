/* Where a request comes from when trusted proxies stand between: x-forwarded-for and
 * x-forwarded-proto count only as far as every hop that wrote them is trusted. Pure.
 *
 * x-forwarded-for is read from the right, the end that the nearest hop wrote: each address that is
 * itself trusted vouches for the one to its left; the first that is not is the client. What does
 * not parse ends the reading there, and so does the beginning of the list.
 */
#pragma once

#include "app/outbound.h"
#include "http/exchange.h"

enum { PROXIES_CLIENT_BYTES_MAX = 64 };

typedef struct {
    str client; /* "203.0.113.7:0": the port is not known; or the peer itself */
    str scheme; /* "http", "https" */
} proxies_origin;

/* peer: "192.0.2.1:443", "[2001:db8::1]:443", "local" (a UNIX socket: never trusted). What is found
 * in the fields is written to place; otherwise peer and scheme are given back as they are. */
proxies_origin proxies_find(const outbound_blocks *trusted, str peer, str scheme,
                            const http_field *fields, size_t count,
                            char place[PROXIES_CLIENT_BYTES_MAX]);
