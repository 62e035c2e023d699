/* Several component instances of one app in one request: who they are, and the calls between them
 * (CanonicalABI.md "canon lower" of a function that "canon lift" made; "Component Instances").
 *
 * Invariants
 * - Each instance has a store, a memory and a table of handles of its own; nothing but checked
 *   copies passes between them.
 * - An instance is made when it is first called, or before the first call from outside where it has
 *   a start function, in the plan's order.
 * - A call that waits makes its caller wait: fibers stand below each other, and engine_poll of the
 *   outermost goes down to the innermost.
 * - Whatever traps takes all instances of the guest with it. */
#pragma once

#include "host/bind.h"

typedef enum { CALL_MAKE, CALL_LOWER, CALL_RUN, CALL_POST } guest_call_state;

/* One call from one component instance to another, from its first moment to its return. */
struct guest_call {
    guest_call *below; /* the call that the caller was making when it was called back */
    guest_unit *caller, *callee;
    const slot *key; /* the caller's slots: tells a repeated call from a new one */
    slot *caller_slots;
    const bound *b; /* NULL: a destructor */
    guest_call_state state;
    uint32_t resource; /* of the destructor */
    uint32_t borrows;  /* live handles in the callee that were lent to this call */
    uint32_t *lenders; /* indices in the caller's table; pool memory */
    uint32_t lenders_count, lenders_cap;
    uint64_t context[2]; /* the callee's, put aside */
    slot slots[ABI_FLAT_PARAMS_MAX + 1];
};

/* CANON_LIFTED, as the engine calls it; env is a `bound`. */
host_status compose_call(void *env, engine_instance *in, slot *slots);
/* Runs the destructor of a resource in the instance that defines it; slots are the caller's, for
 * telling repeated calls. */
host_status compose_destroy(guest_unit *caller, const plan *p, uint32_t resource, uint32_t rep,
                            slot *slots);
/* The call that the import with these slots has begun, or NULL. */
guest_call *compose_find(const guest_unit *caller, const slot *slots);
/* Goes on with a call that said HOST_WAIT or HOST_YIELD. */
host_status compose_continue(guest_call *call);
