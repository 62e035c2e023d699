/* Syntax of fields and the few names that mean something to the protocol itself (RFC 9110 5.5,
 * 5.6.2, 7.6.1; RFC 3986 3.2.2). Pure. Names are compared in lower case.
 */
#pragma once

#include "http/exchange.h"

/* token: letters, digits and !#$%&'*+-.^_`|~ */
bool token_is(str s);
static inline char ascii_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c; }

/* A name is a token; a value has no CR, LF, NUL or other control but tab, and neither begins nor
 * ends with blanks. */
bool field_value_is(str value);
/* ERR_INVALID, naming the field; also more than 128 kB in all. */
bool fields_check(const http_field *fields, size_t count, err *e);

/* Belongs to one connection, not to the message: connection, keep-alive, proxy-connection,
 * transfer-encoding, upgrade, http2-settings. Any case. */
bool field_is_hop(str name);
/* May not stand in trailers: framing, routing and the fields of field_is_hop. Any case. */
bool field_is_no_trailer(str name);

/* True if the comma-separated list has this element (any case). */
bool list_has(str list, str element);
/* All elements of all fields of this (lower-case) name. */
const http_field *field_find(const http_field *fields, size_t count, str name);
/* Likewise of a name that may be there once; p NULL in *ret: it is not. ERR_INVALID: twice. */
bool field_only(const http_field *fields, size_t count, str name, str *ret, err *e);

/* uri-host [":" port], not empty, without user information; no comma either, though reg-name has
 * it, because two joined Host fields look like that. */
bool authority_is(str s);
/* Bytes that a target may have: visible ASCII without '#', or UTF-8, because guests get strings. */
bool target_is(str t);
/* Without the port. */
str authority_host(str authority);
/* The same host and port: any case; `default_port` ("80") may be there or not. */
bool authority_same(str a, str b, str default_port);
