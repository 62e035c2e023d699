/* Where apps of tenants may connect to: a tenant writes his own manifest, so what it allows is no
 * rule of the operator's. Closed to all of them, whatever names resolve to: everything that is not
 * globally routable (app/outbound.h), and the addresses of this machine's interfaces as they were
 * when the worker started. What the operator opens is open again.
 * Asked for the address of every connection, after names are resolved. */
#pragma once

#include "app/outbound.h"

typedef struct {
    outbound_blocks closed;
    outbound_net *open; /* of the operator's; before closed */
    size_t open_count;
} egress;

/* allow: networks, "address/bits", with commas between; empty: none. ERR_INVALID. */
bool egress_open(arena *a, str allow, egress *ret, err *e);
/* The same with more open: what the operator allows one tenant. base is borrowed. */
bool egress_more(arena *a, const egress *base, str allow, egress *ret, err *e);
/* An address of 4 or 16 bytes. */
bool egress_is_blocked(const egress *x, const uint8_t *address, size_t n);
