/* Inside host/: requests of a guest that are answered by its own app, in this process: service
 * chaining (<id>.spin.internal) and `self` (spin.md 1.6, 3.7). No socket, no copy of the app: the
 * called component gets a sandbox of its own, behind an exchange like any other's.
 *
 * Invariants: bodies stream both ways, each bounded by HTTP_BUFFER_BYTES; a chain of calls is at
 * most HOST_CHAIN_DEPTH_MAX long, so a cycle ends; nothing is called from inside a host function.
 */
#pragma once

#include "host/wasi_http.h"
#include "http/exchange.h"

/* Takes over the request; resolves f later. The request is one that chain_target said CHAIN_INSIDE
 * of. */
void chain_send(guest *g, outgoing_request *q, const request_options *options,
                future_incoming_response *f);
/* The guest dropped the future before it was resolved. False: it is no chained one. */
bool chain_drop(guest *g, future_incoming_response *f);
/* All chained requests of the guest end. */
void chain_free_all(guest *g);
/* After the last guest went. */
void chain_loop_close(void);
