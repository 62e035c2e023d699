/* From guest to host: what stands between an import of the module and a plain C function.
 *
 * Two kinds. A function that never waits gets Wasmtime's unchecked form: the guest's values lie in
 * an array of 16-byte cells, which is what our slots are, so nothing is converted. A function that
 * may wait gets the async form, which converts its values (some 100 ns); it is tried at once, and
 * only if it says HOST_WAIT is the call put aside in a wait_frame:
 *
 *     guest ── async_call ── fn: HOST_WAIT ── wait_frame ── fiber suspended, engine_poll: WAIT
 *     engine_poll ── async_again ── fn: HOST_WAIT ── suspended ...
 *     engine_poll ── async_again ── fn: HOST_DONE ── values back ── guest goes on
 *
 * Frames are a stack, because only a destructor that a host function calls can wait above another
 * wait; Wasmtime's finalizer pops them, also when the fiber is dropped half-way.
 *
 * While the guest runs an allocation or a post-return for us it may not call imports: that is the
 * Canonical ABI's may_leave, and it traps here.
 */
#include "engine/inner.h"

#include <stdio.h>

void slots_to_vals(const core_type *types, uint32_t count, const slot *slots, wasmtime_val_t *vals)
{
    for (uint32_t i = 0; i < count; i++)
        switch (types[i]) {
        case CORE_I32:
            vals[i] = (wasmtime_val_t){.kind = WASMTIME_I32, .of.i32 = slots[i].i32};
            break;
        case CORE_I64:
            vals[i] = (wasmtime_val_t){.kind = WASMTIME_I64, .of.i64 = slots[i].i64};
            break;
        case CORE_F32:
            vals[i] = (wasmtime_val_t){.kind = WASMTIME_F32, .of.f32 = slots[i].f32};
            break;
        case CORE_F64:
            vals[i] = (wasmtime_val_t){.kind = WASMTIME_F64, .of.f64 = slots[i].f64};
            break;
        }
}

void vals_to_slots(const wasmtime_val_t *vals, size_t count, slot *slots)
{
    for (size_t i = 0; i < count; i++)
        switch (vals[i].kind) {
        case WASMTIME_I32:
            slots[i].u64 = (uint32_t)vals[i].of.i32;
            break;
        case WASMTIME_I64:
            slots[i].i64 = vals[i].of.i64;
            break;
        case WASMTIME_F32:
            slots[i].u64 = 0;
            slots[i].f32 = vals[i].of.f32;
            break;
        case WASMTIME_F64:
            slots[i].f64 = vals[i].of.f64;
            break;
        default:
            must(false); /* plan_decode lets no other core type through */
        }
}

/* The trap that ends the guest; what it says is in in->trap_info already. */
static wasm_trap_t *host_trap(engine_instance *in)
{
    if (!in->trap_ready)
        trap_say(in, "a host function failed");
    return wasmtime_trap_new("host", 4);
}

/* Reasons not to call at all. */
static bool host_refuses(engine_instance *in, const link_entry *link)
{
    if (!in->may_leave && !link->im.inside)
        trap_say(in,
                 "cannot leave component instance: '%.*s' '%.*s' was called during an "
                 "allocation or clean-up",
                 STR(link->plan->interface), STR(link->plan->name));
    else if (!link->im.fn)
        trap_say(in, "the guest called '%.*s' of '%.*s', which the host does not offer",
                 STR(link->plan->name), STR(link->plan->interface));
    else
        return in->dropping;
    return true;
}

static wasm_trap_t *plain_call(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *raw,
                               size_t n)
{
    (void)caller;
    (void)n;
    const link_entry *link = env;
    engine_instance *in = link->en->current;
    if (host_refuses(in, link))
        return host_trap(in);
    static_assert(sizeof(slot) == sizeof(wasmtime_val_raw_t), "slots are Wasmtime's raw values");
    slot *slots = (slot *)(void *)raw;
    bool starts = in->op == OP_START && !in->nest;
    host_status status = starts && in->playing     ? record_play(in, link, slots)
                         : starts && in->recording ? record_call(in, link, slots)
                                                   : link->im.fn(link->im.env, in, slots);
    must(status == HOST_DONE || status == HOST_TRAP); /* may_wait was not declared */
    return status == HOST_DONE ? NULL : host_trap(in);
}

static void frame_results(wait_frame *f)
{
    const core_signature *s = &f->link->plan->signature;
    slots_to_vals(s->results, s->results_count, f->slots, f->results);
}

static bool async_ready(void *env)
{
    (void)env;
    return true;
}

static bool async_again(void *env)
{
    wait_frame *f = env;
    engine_instance *in = f->in;
    host_status status;
    if (f->fresh) {
        f->fresh = false; /* it has just been tried */
        status = f->yields ? HOST_YIELD : HOST_WAIT;
    } else {
        status = f->link->im.fn(f->link->im.env, in, f->slots);
    }
    if (status == HOST_WAIT || status == HOST_YIELD) {
        in->waiting = status == HOST_WAIT;
        return false;
    }
    if (status == HOST_DONE)
        frame_results(f);
    else
        *f->trap = host_trap(in);
    /* Ticks that came while it waited are not its own. */
    wasmtime_context_set_epoch_deadline(in->ctx, 1);
    return true;
}

static void frame_pop(void *env)
{
    wait_frame *f = env;
    must(f == &f->in->frames[f->in->frames_count - 1]);
    f->in->frames_count--;
}

static void async_call(void *env, wasmtime_caller_t *caller, const wasmtime_val_t *args,
                       size_t args_count, wasmtime_val_t *results, size_t results_count,
                       wasm_trap_t **trap, wasmtime_async_continuation_t *ret)
{
    (void)caller;
    (void)results_count;
    const link_entry *link = env;
    engine_instance *in = link->en->current;
    *ret = (wasmtime_async_continuation_t){.callback = async_ready};
    if (host_refuses(in, link)) {
        *trap = host_trap(in);
        return;
    }
    if (in->playing) { /* its record would have failed */
        trap_say(in, "the start function calls a function that may wait, as it did not before");
        *trap = host_trap(in);
        return;
    }
    if (in->recording)
        record_fail(in->recording);
    if (in->frames_count == ENGINE_NEST_MAX) {
        trap_say(in, "more than %d waiting calls inside each other", ENGINE_NEST_MAX);
        *trap = host_trap(in);
        return;
    }
    wait_frame *f = &in->frames[in->frames_count++];
    f->in = in;
    f->link = link;
    f->results = results;
    f->trap = trap;
    vals_to_slots(args, args_count, f->slots);
    host_status status = link->im.fn(link->im.env, in, f->slots);
    if (status == HOST_WAIT || status == HOST_YIELD) {
        engine_memory_bytes(in); /* while the store is ours */
        f->fresh = true;
        f->yields = status == HOST_YIELD;
        *ret = (wasmtime_async_continuation_t){async_again, f, frame_pop};
        return;
    }
    in->frames_count--;
    if (status == HOST_DONE)
        frame_results(f);
    else
        *trap = host_trap(in);
}

static wasm_functype_t *host_functype(const core_signature *s)
{
    static const wasm_valkind_t kinds[] = {[CORE_I32 - CORE_F64] = WASM_I32,
                                           [CORE_I64 - CORE_F64] = WASM_I64,
                                           [CORE_F32 - CORE_F64] = WASM_F32,
                                           [CORE_F64 - CORE_F64] = WASM_F64};
    wasm_valtype_t *types[ENGINE_SLOTS_MAX];
    wasm_valtype_vec_t params, results;
    for (uint32_t i = 0; i < s->params_count; i++)
        types[i] = wasm_valtype_new(kinds[s->params[i] - CORE_F64]);
    wasm_valtype_vec_new(&params, s->params_count, types);
    for (uint32_t i = 0; i < s->results_count; i++)
        types[i] = wasm_valtype_new(kinds[s->results[i] - CORE_F64]);
    wasm_valtype_vec_new(&results, s->results_count, types);
    return wasm_functype_new(&params, &results);
}

bool import_define(wasmtime_linker_t *linker, link_entry *link, uint32_t k, err *e)
{
    char name[16];
    size_t n = (size_t)snprintf(name, sizeof name, "%u", k);
    wasm_functype_t *ft = host_functype(&link->plan->signature);
    wasmtime_error_t *error = link->im.may_wait && link->im.fn
                                  ? wasmtime_linker_define_async_func(linker, "ebb", 3, name, n, ft,
                                                                      async_call, link, NULL)
                                  : wasmtime_linker_define_func_unchecked(
                                        linker, "ebb", 3, name, n, ft, plain_call, link, NULL);
    wasm_functype_delete(ft);
    return error ? engine_error(e, ERR_INTERNAL, error) : true;
}
