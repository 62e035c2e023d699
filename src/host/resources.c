/* Resources across component instances. A handle is (type, representation) in the table of one
 * instance; an own moves from table to table, a borrow is a second handle that names the call it
 * was made for, while the handle it was made from counts it as lent and cannot go away.
 *
 *     caller's table              call                  callee's table
 *     own #3, lends 1   <---- lenders: #3      borrows: 1 <---- borrow #1, scope = call
 *
 * Where the callee itself defines the resource, it gets the representation and no handle.
 *
 * A host resource's representation is its object. Objects belong to the guest as a whole, so they
 * move between tables like any other, children or not: only dropping a parent is refused.
 *
 * The destructor of a resource that another instance defines is a call to that instance: compose.c
 * makes it. */
#include "host/resources.h"

#include "base/must.h"
#include "host/call.h"
#include "host/compose.h"

static host_status trap_index(engine_instance *in, uint32_t index)
{
    return engine_trap_set(in, "unknown handle index %u", index);
}

static const char *resource_word(const handle *h)
{
    return handle_is_host(h) ? h->o->resource->name : "a different guest-defined resource";
}

/* The handle at `index`, if it is of that resource; else sets a trap. `host` is NULL for one that
 * a component defines. */
static handle *handle_of(engine_instance *in, const handle_table *t, uint32_t index,
                         uint32_t resource, const host_resource *host)
{
    handle *h = handles_get(t, index);
    if (!h) {
        trap_index(in, index);
        return NULL;
    }
    if (handle_is_host(h) ? h->o->resource != host : host || h->resource != resource) {
        engine_trap_set(in, "handle index %u used with the wrong type, expected %s but found %s",
                        index, host ? host->name : "guest-defined resource", resource_word(h));
        return NULL;
    }
    return h;
}

static host_status trap_full(engine_instance *in, const handle_table *t)
{
    return engine_trap_set(in,
                           "the instance holds more than %u handles; drop some or raise the "
                           "limit",
                           t->live_max);
}

host_status resource_new(void *env, engine_instance *in, slot *slots)
{
    const bound *b = env;
    const guest_unit *u = engine_user(in);
    handle h = {.kind = HANDLE_GUEST_OWN, .resource = b->guest_resource, .rep = slots[0].u32};
    uint32_t i = handles_add(u->handles, &u->g->pool, h);
    if (!i)
        return trap_full(in, u->handles);
    slots[0].u64 = i;
    return HOST_DONE;
}

host_status resource_rep(void *env, engine_instance *in, slot *slots)
{
    const bound *b = env;
    const guest_unit *u = engine_user(in);
    const handle *h = handle_of(in, u->handles, slots[0].u32, b->guest_resource, NULL);
    if (!h)
        return HOST_TRAP;
    slots[0].u64 = h->rep;
    return HOST_DONE;
}

/* An own goes away: its object, or its destructor in the instance that defines it. */
static host_status own_end(const bound *b, engine_instance *in, slot *slots, handle h)
{
    guest_unit *u = engine_user(in);
    const plan_resource *r = &b->plan->resources[b->guest_resource];
    if (handle_is_host(&h)) {
        object_free(u->g, h.o);
        return HOST_DONE;
    }
    if (!r->has_dtor)
        return HOST_DONE;
    if (r->unit == u->index)
        return engine_destroy(in, b->guest_resource, h.rep) ? HOST_DONE : HOST_TRAP;
    return compose_destroy(u, b->plan, b->guest_resource, h.rep, slots);
}

host_status resource_drop(void *env, engine_instance *in, slot *slots)
{
    const bound *b = env;
    guest_unit *u = engine_user(in);
    guest_call *call = compose_find(u, slots);
    if (call) /* its destructor is not done */
        return compose_continue(call);
    uint32_t index = slots[0].u32;
    handle *at = handle_of(in, u->handles, index, b->guest_resource, b->resource);
    if (!at)
        return HOST_TRAP;
    if (at->lends)
        return engine_trap_set(in, "cannot remove owned resource while borrowed");
    if (at->kind == HANDLE_HOST && at->o->children)
        return engine_trap_set(in, "resource has children: drop what was made from this %s first",
                               at->o->resource->name);
    handle h = *at;
    handles_remove(u->handles, index);
    if (handle_is_own(&h))
        return own_end(b, in, slots, h);
    must(h.scope->borrows > 0);
    h.scope->borrows--;
    return HOST_DONE;
}

static bool lend(guest_call *call, guest_unit *from, uint32_t index, handle *h)
{
    uint32_t *grown;
    if (call->lenders_count == call->lenders_cap) {
        uint32_t cap = call->lenders_cap ? call->lenders_cap * 2 : 8;
        if (!(grown = pool_take(&from->g->pool, cap * sizeof *grown)))
            return false;
        if (call->lenders_count)
            memcpy(grown, call->lenders, call->lenders_count * sizeof *grown);
        pool_give(&from->g->pool, call->lenders, call->lenders_cap * sizeof *grown);
        call->lenders = grown;
        call->lenders_cap = cap;
    }
    call->lenders[call->lenders_count++] = index;
    h->lends++;
    return true;
}

/* lift_borrow, lower_borrow. */
static bool borrow_pass(guest_call *call, engine_instance *in, const plan *p, const type *t,
                        guest_unit *from, guest_unit *to, uint32_t index, handle *at,
                        uint32_t *ret_index)
{
    handle h = *at;
    if (!lend(call, from, index, at)) {
        engine_trap_set(in, "no memory for another borrowed handle");
        return false;
    }
    const plan_resource *r = &p->resources[t->resource->index];
    if (!handle_is_host(&h) && !r->imported && r->unit == to->index) {
        *ret_index = h.rep;
        return true;
    }
    h.kind = handle_is_host(&h) ? HANDLE_HOST_BORROW : HANDLE_GUEST_BORROW;
    h.lends = 0;
    h.scope = call;
    if (!(*ret_index = handles_add(to->handles, &to->g->pool, h))) {
        trap_full(in, to->handles);
        return false;
    }
    call->borrows++;
    return true;
}

bool resource_pass(guest_call *call, engine_instance *in, const plan *p,
                   const host_resource *const *host, const type *t, guest_unit *from,
                   guest_unit *to, uint32_t index, uint32_t *ret_index)
{
    uint32_t resource = t->resource->index;
    handle *at = handle_of(in, from->handles, index, resource, host[resource]);
    if (!at)
        return false;
    if (t->kind == TYPE_BORROW)
        return borrow_pass(call, in, p, t, from, to, index, at, ret_index);
    if (at->lends) {
        engine_trap_set(in, "cannot remove owned resource while borrowed");
        return false;
    }
    if (!handle_is_own(at)) {
        engine_trap_set(in, "cannot lift own resource from a borrow");
        return false;
    }
    handle h = *at;
    handles_remove(from->handles, index);
    if (!(*ret_index = handles_add(to->handles, &to->g->pool, h))) {
        if (handle_is_host(&h))
            object_free(to->g, h.o);
        trap_full(in, to->handles);
        return false;
    }
    return true;
}

bool resource_call_ended(guest_call *call)
{
    guest_unit *from = call->caller;
    if (call->borrows)
        return false;
    for (uint32_t i = 0; i < call->lenders_count; i++) {
        handle *h = handles_get(from->handles, call->lenders[i]);
        must(h && h->lends > 0);
        h->lends--;
    }
    pool_give(&from->g->pool, call->lenders, call->lenders_cap * sizeof call->lenders[0]);
    call->lenders = NULL;
    call->lenders_count = call->lenders_cap = 0;
    return true;
}
