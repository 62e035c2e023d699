/* Calls between component instances.
 *
 *     caller's fiber            this file                        callee's fiber
 *     import ──────▶ compose_call: may it be entered?
 *                    MAKE   make the instance, run its start  ──▶ ...
 *                    LOWER  copy the arguments (its realloc)  ──▶ ...
 *                    RUN    engine_call                       ──▶ the lifted function
 *                           copy the result (our realloc)
 *                    POST   engine_post_return                ──▶ ...
 *            ◀────── results in the slots
 *
 * Every arrow to the right is engine_poll of the callee from inside the caller's host function. If
 * the callee waits or has used its time slice, the host function says so to its own engine_poll and
 * is called again later: the guest_call remembers where it was.
 *
 * A call is found again by the address of the caller's slots, which stay where they are until the
 * import returns. Calls are in the guest's pool: a request that is dropped half-way forgets them.
 *
 * Not here: calls that overlap. Both sides of a call are synchronous, so that the calls of a guest
 * form one stack. */
#include "host/compose.h"

#include "base/must.h"
#include "component/abi_copy.h"
#include "host/resources.h"

enum { REALLOC_SLICES_MAX = 250 }; /* as ENGINE_NEST_TICKS_MAX: a quarter of a second */

struct guest_group {
    const plan *plan;
    engine_module *const *modules;
    engine_limits limits;
    size_t memory_bytes_max; /* of limits, as it was given */
    uint32_t entry, started; /* units before `started` have run their start functions */
    guest_unit *units;       /* as plan.units; the entry's is not used */
    handle_table *tables;
};

static guest_unit *unit_at(guest *g, uint32_t k)
{
    return k == g->group->entry ? &g->entry : &g->group->units[k];
}

/* --- who is there -------------------------------------------------------------------------- */

bool guest_compose(guest *g, const host_binding *b, engine_module *const *modules,
                   const engine_limits *l, uint32_t entry, err *e)
{
    uint32_t n = b->plan->units_count;
    must(!g->group && entry < n);
    guest_group *group = pool_take(&g->pool, sizeof *group);
    guest_unit *units = pool_take(&g->pool, n * sizeof *units);
    handle_table *tables = pool_take(&g->pool, n * sizeof *tables);
    if (!group || !units || !tables)
        return err_no_memory(e);
    for (uint32_t k = 0; k < n; k++) {
        handles_init(&tables[k], g->component->handles_max);
        units[k] =
            (guest_unit){.g = g, .handles = &tables[k], .component = g->component, .index = k};
        if (g->component->units)
            units[k].component = g->component->units[k];
    }
    g->entry.component = units[entry].component;
    *group = (guest_group){.plan = b->plan,
                           .modules = modules,
                           .limits = *l,
                           .memory_bytes_max = l->memory_bytes_max,
                           .entry = entry,
                           .units = units,
                           .tables = tables};
    g->group = group;
    g->entry.index = entry;
    return true;
}

void guest_instances_free(guest *g)
{
    guest_group *group = g ? g->group : NULL;
    for (uint32_t k = 0; group && k < group->plan->units_count; k++) {
        engine_instance_free(group->units[k].in);
        group->units[k].in = NULL;
    }
}

void guest_group_free(guest *g)
{
    if (!g->group)
        return;
    guest_instances_free(g);
    for (uint32_t k = 0; k < g->group->plan->units_count; k++)
        guest_handles_drop(g, &g->group->tables[k]);
    g->group = NULL;
}

ns guest_cpu_ns(const guest *g)
{
    ns sum = g->entry.in ? engine_cpu_ns(g->entry.in) : 0;
    for (uint32_t k = 0; g->group && k < g->group->plan->units_count; k++)
        if (g->group->units[k].in)
            sum += engine_cpu_ns(g->group->units[k].in);
    return sum;
}

size_t guest_memory_bytes(const guest *g)
{
    size_t sum = g->entry.in ? engine_memory_bytes(g->entry.in) : 0;
    for (uint32_t k = 0; g->group && k < g->group->plan->units_count; k++)
        if (g->group->units[k].in)
            sum += engine_memory_bytes(g->group->units[k].in);
    return sum;
}

static void instance_limit(engine_instance *in, uint64_t more)
{
    size_t now = in ? engine_memory_bytes(in) : 0;
    if (in)
        engine_instance_limit(in, more < SIZE_MAX - now ? now + (size_t)more : SIZE_MAX);
}

void guest_memory_limit(guest *g, uint64_t more)
{
    uint32_t units = g->group ? g->group->plan->units_count : 1;
    uint64_t each = more / units;
    instance_limit(g->entry.in, each);
    if (!g->group)
        return;
    for (uint32_t k = 0; k < units; k++)
        instance_limit(g->group->units[k].in, each);
    g->group->limits.memory_bytes_max =
        each < g->group->memory_bytes_max ? (size_t)each : g->group->memory_bytes_max;
}

bool guest_memory_empty(guest *g, size_t n)
{
    bool more = g->entry.in && engine_instance_empty(g->entry.in, n);
    for (uint32_t k = 0; !more && g->group && k < g->group->plan->units_count; k++)
        if (g->group->units[k].in)
            more = engine_instance_empty(g->group->units[k].in, n);
    return more;
}

static bool unit_make(guest_unit *u, err *e)
{
    const guest_group *group = u->g->group;
    if (!engine_instance_new(group->modules[u->index], &group->limits, u, &u->in, e))
        return false;
    engine_start(u->in);
    return true;
}

engine_status guest_start(guest *g)
{
    guest_group *group = g->group;
    err e;
    if (!group)
        return engine_poll(g->entry.in);
    for (; group->started < group->plan->units_count; group->started++) {
        guest_unit *u = unit_at(g, group->started);
        bool needed = u == &g->entry || group->plan->units[u->index].has_start;
        if (!needed || (u->in && engine_instance_ready(u->in)))
            continue;
        if (!u->in && !unit_make(u, &e)) {
            engine_trap_set(g->entry.in, "%s", e.text);
            return ENGINE_TRAP;
        }
        engine_status s = engine_poll(u->in);
        if (s == ENGINE_TRAP && u->in != g->entry.in)
            engine_trap_pass(g->entry.in, u->in);
        if (s != ENGINE_DONE)
            return s;
    }
    return ENGINE_DONE;
}

/* --- may_enter_from, enter_from, leave_to --------------------------------------------------- */

static bool is_inside(const plan *p, uint32_t unit, uint32_t ancestor)
{
    while (unit != UINT32_MAX && unit != ancestor)
        unit = p->units[unit].parent;
    return unit == ancestor;
}

/* Every unit of entering_set becomes entered, or not. caller NULL: the host. False: one is entered
 * already, nothing has changed. */
static bool entering(guest *g, uint32_t callee, const guest_unit *caller, bool enters)
{
    const plan *p = g->group->plan;
    for (uint32_t k = callee; enters && k != UINT32_MAX; k = p->units[k].parent)
        if (!(caller && is_inside(p, caller->index, k)) && unit_at(g, k)->entered)
            return false;
    for (uint32_t k = callee; k != UINT32_MAX; k = p->units[k].parent)
        if (!(caller && is_inside(p, caller->index, k)))
            unit_at(g, k)->entered = enters;
    return true;
}

bool guest_enter(guest *g, uint32_t unit) { return !g->group || entering(g, unit, NULL, true); }

void guest_leave(guest *g, uint32_t unit)
{
    if (g->group)
        entering(g, unit, NULL, false);
}

engine_instance *guest_instance(guest *g, uint32_t unit, err *e)
{
    guest_unit *u = g->group ? unit_at(g, unit) : &g->entry;
    if (!u->in)
        unit_make(u, e);
    return u->in;
}

/* --- copying ------------------------------------------------------------------------------- */

typedef struct {
    guest_call *call;
    guest_unit *from, *to;
    const plan_options *from_options, *to_options;
    uint32_t slices;
} copy_user;

static void side_refresh(abi_side *s, const guest_unit *u, const plan_options *o)
{
    s->base = NULL;
    s->size = 0;
    if (o->memory != PLAN_NONE)
        s->base = engine_memory(u->in, o->memory, &s->size);
}

static void sides_refresh(abi_copier *c)
{
    const copy_user *user = c->user;
    side_refresh(&c->src, user->from, user->from_options);
    side_refresh(&c->dst, user->to, user->to_options);
}

/* The callee's realloc, on a fiber of its own; the caller's is the running fiber. */
static bool realloc_callee(copy_user *user, uint32_t align, uint32_t size, uint32_t *ret)
{
    engine_instance *in = user->to->in, *caller = user->call->caller->in;
    slot slots[4] = {{.u64 = 0}, {.u64 = 0}, {.u64 = align}, {.u64 = size}};
    engine_call_realloc(in, user->to_options->realloc, slots);
    engine_status s;
    while ((s = engine_poll(in)) == ENGINE_YIELD)
        if (++user->slices == REALLOC_SLICES_MAX) {
            engine_trap_set(caller, "an allocation function of the guest ran too long");
            return false;
        }
    if (s != ENGINE_DONE) {
        engine_trap_pass(caller, in);
        return false;
    }
    *ret = slots[0].u32;
    return true;
}

static bool copy_realloc(abi_copier *c, uint32_t align, uint32_t size, uint32_t *ret)
{
    copy_user *user = c->user;
    guest_unit *to = user->to;
    must(user->to_options->realloc != PLAN_NONE); /* options_suffice of plan.c */
    bool ok = to == user->call->caller
                  ? engine_realloc(to->in, user->to_options->realloc, align, size, ret)
                  : realloc_callee(user, align, size, ret);
    if (ok)
        sides_refresh(c);
    return ok;
}

static bool copy_handle(abi_copier *c, const type *t, uint32_t index, uint32_t *ret)
{
    copy_user *user = c->user;
    guest_call *call = user->call;
    return resource_pass(call, call->caller->in, call->b->plan, call->b->binding->resources, t,
                         user->from, user->to, index, ret);
}

static abi_copier copier_make(copy_user *user)
{
    abi_copier c = {.src = {.encoding = user->from_options->encoding},
                    .dst = {.encoding = user->to_options->encoding},
                    .realloc = copy_realloc,
                    .handle = copy_handle,
                    .user = user};
    sides_refresh(&c);
    return c;
}

static host_status copy_failed(const guest_call *call, const abi_copier *c)
{
    if (c->trap[0])
        engine_trap_set(call->caller->in, "%s", c->trap);
    return HOST_TRAP; /* whoever else failed has said why */
}

static const plan_lift *lift_of(const guest_call *call)
{
    const plan_import *i = call->b->import;
    return &call->b->plan->units[i->unit].lifts[i->lift];
}

static host_status copy_params(guest_call *call)
{
    const plan_import *i = call->b->import;
    const plan_lift *f = lift_of(call);
    uint64_t src[ABI_FLAT_PARAMS_MAX + 1], dst[ABI_FLAT_PARAMS_MAX + 1];
    copy_user user = {call, call->caller, call->callee, &i->options, &f->options, 0};
    abi_copier c = copier_make(&user);
    for (uint32_t k = 0; k < i->signature.params_count; k++) {
        core_type t = i->signature.params[k];
        src[k] =
            t == CORE_I32 || t == CORE_F32 ? call->caller_slots[k].u32 : call->caller_slots[k].u64;
    }
    if (!abi_copy_params(&c, f->type, src, i->signature.params_spilled, dst,
                         f->signature.params_spilled))
        return copy_failed(call, &c);
    for (uint32_t k = 0; k < f->signature.params_count; k++)
        call->slots[k].u64 = dst[k];
    return HOST_DONE;
}

static host_status copy_result(guest_call *call)
{
    const plan_import *i = call->b->import;
    const plan_lift *f = lift_of(call);
    uint64_t src = call->slots[0].u64, dst = 0;
    copy_user user = {call, call->callee, call->caller, &f->options, &i->options, 0};
    abi_copier c = copier_make(&user);
    if (!f->type->result)
        return HOST_DONE;
    /* A flat result is one core value. */
    must(f->signature.results_spilled || f->type->result->flat_count == 1);
    if (i->signature.results_spilled)
        dst = call->caller_slots[i->signature.params_count - 1].u32;
    if (!abi_copy_result(&c, f->type, &src, f->signature.results_spilled, &dst,
                         i->signature.results_spilled))
        return copy_failed(call, &c);
    if (!i->signature.results_spilled)
        call->caller_slots[0].u64 = dst;
    return HOST_DONE;
}

/* --- the call ------------------------------------------------------------------------------ */

static void call_end(guest_call *call)
{
    guest *g = call->caller->g;
    memcpy(call->callee->context, call->context, sizeof call->context);
    entering(g, call->callee->index, call->caller, false);
    call->caller->call = call->below;
    pool_give(&g->pool, call, sizeof *call);
}

static host_status call_begun(guest_call *call)
{
    if (!call->b) {
        engine_call_destroy(call->callee->in, call->resource, call->slots);
        return HOST_DONE;
    }
    host_status s = copy_params(call);
    if (s == HOST_DONE)
        engine_call(call->callee->in, call->b->import->lift, call->slots);
    return s;
}

/* The function has returned: task.return, then post-return if there is one. */
static host_status call_returned(guest_call *call)
{
    host_status s = call->b ? copy_result(call) : HOST_DONE;
    if (s != HOST_DONE)
        return s;
    if (!resource_call_ended(call))
        return engine_trap_set(call->caller->in,
                               "borrow handles still remain at the end of the call");
    if (call->b && lift_of(call)->has_post_return) {
        engine_post_return(call->callee->in, call->b->import->lift, call->slots);
        call->state = CALL_POST;
    } else {
        call_end(call);
    }
    return HOST_DONE;
}

host_status compose_continue(guest_call *call)
{
    guest_unit *caller = call->caller;
    host_status s = HOST_DONE;
    while (s == HOST_DONE) {
        if (call->state == CALL_LOWER) {
            call->state = CALL_RUN;
            s = call_begun(call);
            continue;
        }
        engine_status status = engine_poll(call->callee->in);
        if (status == ENGINE_TRAP)
            return engine_trap_pass(caller->in, call->callee->in);
        if (status != ENGINE_DONE)
            return status == ENGINE_WAIT ? HOST_WAIT : HOST_YIELD;
        if (call->state == CALL_MAKE) {
            call->state = CALL_LOWER;
        } else if (call->state == CALL_RUN) {
            s = call_returned(call);
            if (s == HOST_DONE && caller->call != call)
                return HOST_DONE;
        } else {
            call_end(call);
            return HOST_DONE;
        }
    }
    return s;
}

static host_status call_new(guest_unit *caller, uint32_t callee_index, slot *slots,
                            guest_call **ret)
{
    guest *g = caller->g;
    err e;
    must(g->group);
    guest_unit *callee = unit_at(g, callee_index);
    if (callee->in && !engine_instance_ready(callee->in))
        return engine_trap_set(caller->in, "wasm trap: cannot enter component instance: it is not "
                                           "instantiated yet");
    guest_call *call = pool_take(&g->pool, sizeof *call);
    if (!call)
        return engine_trap_set(caller->in, "no memory for a call between component instances");
    *call = (guest_call){.below = caller->call,
                         .caller = caller,
                         .callee = callee,
                         .key = slots,
                         .caller_slots = slots,
                         .state = callee->in ? CALL_LOWER : CALL_MAKE};
    if (!callee->in && !unit_make(callee, &e))
        return engine_trap_set(caller->in, "%s", e.text);
    if (!entering(g, callee_index, caller, true))
        return engine_trap_set(caller->in, "wasm trap: cannot enter component instance");
    memcpy(call->context, callee->context, sizeof call->context);
    memset(callee->context, 0, sizeof callee->context);
    caller->call = call;
    *ret = call;
    return HOST_DONE;
}

guest_call *compose_find(const guest_unit *caller, const slot *slots)
{
    guest_call *call = caller->call;
    while (call && call->key != slots)
        call = call->below;
    return call;
}

host_status compose_call(void *env, engine_instance *in, slot *slots)
{
    const bound *b = env;
    guest_unit *u = engine_user(in);
    guest_call *call = compose_find(u, slots);
    if (!call) {
        host_status s = call_new(u, b->import->unit, slots, &call);
        if (s != HOST_DONE)
            return s;
        call->b = b;
    }
    return compose_continue(call);
}

host_status compose_destroy(guest_unit *caller, const plan *p, uint32_t resource, uint32_t rep,
                            slot *slots)
{
    guest_call *call;
    host_status s = call_new(caller, p->resources[resource].unit, slots, &call);
    if (s != HOST_DONE)
        return s;
    call->resource = resource;
    call->slots[0].u64 = rep;
    return compose_continue(call);
}
