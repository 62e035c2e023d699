/* Inside host/: how many connections all guests of this process may have open at a time
 * ([outbound_http] and [outbound_networking] of the runtime configuration). HTTP requests wait for
 * their turn, first come first served; sockets are refused.
 * Invariant: a holder gives back exactly what it took. */
#pragma once

#include "host/host.h"

typedef enum { PERMIT_HTTP, PERMIT_SOCKET } permit_kind;

/* False: as many are open as may be. */
bool permit_take(permit_kind k);
void permit_give(permit_kind k);
/* May there be any at all? */
bool permit_possible(permit_kind k);
/* Called when one was given back. */
void permit_on_free(void (*on_free)(void));
/* The same for the owner of a component (host_connections_owned). */
bool permit_owner_take(uint64_t owner);
void permit_owner_give(uint64_t owner);
/* Is a connection of HTTP to be used again? */
bool permit_pooling(void);
