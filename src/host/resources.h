/* Inside host/: handles between component instances (CanonicalABI.md "Resource State", "canon
 * resource.new", "resource.drop", "resource.rep"). */
#pragma once

#include "host/bind.h"

/* The canonical functions, as the engine calls them; env is a `bound`. */
host_status resource_new(void *env, engine_instance *in, slot *slots);
host_status resource_rep(void *env, engine_instance *in, slot *slots);
host_status resource_drop(void *env, engine_instance *in, slot *slots);

/* lift_own or lift_borrow out of one instance's table, lower_own or lower_borrow into the other's.
 * Borrows are booked on the call. False: a trap was set on `in`. */
bool resource_pass(guest_call *call, engine_instance *in, const plan *p,
                   const host_resource *const *host, const type *t, guest_unit *from,
                   guest_unit *to, uint32_t index, uint32_t *ret_index);
/* The call returned: gives back what was lent to it. False: the callee still holds a borrow. */
bool resource_call_ended(guest_call *call);
