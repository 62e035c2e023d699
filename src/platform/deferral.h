/* A worker's part of deferral: accepts requests that may wait, runs calls that the keeper says are
 * to run, and shows them to whoever has their address.
 *
 *     request with Prefer: respond-async ─▶ accept ─PUT─▶ store ─▶ 202
 *     keeper ─RUN─▶ run ─LEASE─▶ store ─▶ inner request ─▶ call ─▶ END or RETRY ─▶ store
 *     GET /.well-known/ebb/calls/<id> ─▶ status ─GET─▶ store; what it cost ─▶ keeper
 *
 * Invariants
 * - 202 is sent only after the store has said that the call is durable.
 * - A call runs here only under a lease of this worker (deferral.holder), which is extended while
 *   it runs; what the lease says no more is ended. At most DEFER_RUNNING_MAX run at once.
 * - No timer runs unless calls do, or clients wait (`wait=N`).
 * - What a client may learn of a call it learns only under a host of the call's app. */
#pragma once

#include "platform/directory.h"

typedef struct deferral deferral;
struct store_client;

/* The serving and the store are borrowed. only: the app of `ebb up`, or NULL. */
bool deferral_new(loop *l, serving *all, struct store_client *store, directory *d, served *only,
                  deferral **ret, err *e);
/* No exchange is left, and no call runs. NULL is allowed. */
void deferral_free(deferral *d);
/* A channel to the keeper; takes fd. Replaces the one there was. */
void deferral_connect_take(deferral *d, int fd);
/* No call is leased any more. */
void deferral_stop(deferral *d);
/* The same, and f is called when those that run have ended and the store knows it; at
 * once if none runs. */
void deferral_drain(deferral *d, void (*f)(void *user), void *user);

/* Is it a request for this: the status of a call, or one that may wait? Then it is answered (x is
 * taken). */
bool deferral_begin(served *s, http_exchange *x, const route_match *m);
