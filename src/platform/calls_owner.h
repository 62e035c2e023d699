/* Whose a deferred call is, in the queue's numbers (queue_terms).
 *
 * A queue in a file has the numbers of this node's catalogue. Where nodes share a queue each has a
 * catalogue of its own, so numbers are made of what is the same on all of them, under the key that
 * they share: the tenant's name, its name and the app's, and of a revision what was deployed
 * (keeper_owner.c). `name` says then which app it is; a call has it with it (deferred.h). */
#pragma once

#include "base/str.h"

typedef struct {
    uint64_t tenant, app, revision;
    str name; /* "<tenant>/<app>"; empty: the numbers are this node's */
} calls_owner;

/* Numbers that were made of names begin here, where no catalogue's are. */
#define CALLS_OWNER_SHARED_MIN (UINT64_C(1) << 62)
