/* The keeper's side of calls_owner.h: how the queue of deferred calls names the tenants, apps and
 * revisions of this node's catalogue, and back. ERR_NO_MEMORY, ERR_IO. */
#pragma once

#include "platform/calls_owner.h"
#include "platform/keeper_impl.h"

bool owner_tenant(const keeper *k, const catalogue_tenant *t, uint64_t *ret, err *e);
/* Without a revision. ret->name is in the arena. */
bool owner_app(const keeper *k, arena *a, str tenant_name, const catalogue_app *x, calls_owner *ret,
               err *e);
/* Of what was found, its revision included. */
bool owner_found(const keeper *k, arena *a, const catalogue_found *f, calls_owner *ret, err *e);
/* The revision that an owner names. ret->app 0: this node does not have it. */
bool owner_find(const keeper *k, const calls_owner *owner, arena *a, catalogue_found *ret, err *e);
