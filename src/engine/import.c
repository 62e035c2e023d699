/* From guest to host: what stands between an import of the module and a plain C function.
 *
 * All get Wasmtime's unchecked form: the guest's values lie in an array of 16-byte cells, which is
 * what our slots are, so nothing is converted. A function that may wait is tried like any other,
 * and only if it says HOST_WAIT is the fiber left, by calling a host function of the async form,
 * the only one that Wasmtime suspends in:
 *
 *     guest ── waiting_call ── fn: HOST_WAIT ── wait ── fiber suspended, engine_poll: WAIT
 *     engine_poll ── back in waiting_call ── fn: HOST_WAIT ── wait ── suspended ...
 *     engine_poll ── back in waiting_call ── fn: HOST_DONE ── guest goes on
 *
 * Not each import that may wait has the async form: a guest that calls one while another is being
 * polled (from an allocation that this one asked for) makes Wasmtime panic, which ends the process;
 * and it takes 0.1 us a call. There is one such function, in a linker of its own, taken into a
 * store when that first waits.
 *
 * While the guest runs an allocation or a post-return for us it may not call imports: that is the
 * Canonical ABI's may_leave, and it traps here.
 */
#include "engine/inner.h"

#include <stdio.h>
#include <stdlib.h>

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

/* Wasmtime polls a continuation once right after the call, and then at each poll of the fiber. */
static bool wait_over(void *env)
{
    engine *en = env;
    bool over = !en->wait_begins;
    en->wait_begins = false;
    return over;
}

static void wait_begin(void *env, wasmtime_caller_t *caller, const wasmtime_val_t *args,
                       size_t args_count, wasmtime_val_t *results, size_t results_count,
                       wasm_trap_t **trap, wasmtime_async_continuation_t *ret)
{
    (void)caller;
    (void)args;
    (void)args_count;
    (void)results;
    (void)results_count;
    (void)trap;
    engine *en = env;
    en->wait_begins = true;
    *ret = (wasmtime_async_continuation_t){.callback = wait_over, .env = en};
}

/* Suspends the fiber until its next poll. False: it is being dropped. */
static bool wait(engine_instance *in)
{
    slot none[1];
    wasm_trap_t *trap = NULL;
    if (!in->wait_known) {
        wasmtime_extern_t item;
        must(wasmtime_linker_get(in->en->waiting, in->ctx, "ebb", 3, "wait", 4, &item));
        in->wait = item.of.func;
        in->wait_known = true;
    }
    engine_memory_bytes(in); /* while the store is ours */
    wasmtime_error_t *error = wasmtime_func_call_unchecked(
        in->ctx, &in->wait, (wasmtime_val_raw_t *)(void *)none, 0, &trap);
    if (trap)
        wasm_trap_delete(trap);
    if (error)
        wasmtime_error_delete(error);
    /* Ticks that came while it waited are not its own. */
    wasmtime_context_set_epoch_deadline(in->ctx, 1);
    return !trap && !error;
}

static wasm_trap_t *waiting_call(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *raw,
                                 size_t n)
{
    (void)caller;
    (void)n;
    const link_entry *link = env;
    engine_instance *in = link->en->current;
    if (host_refuses(in, link))
        return host_trap(in);
    if (in->playing) { /* its record would have failed */
        trap_say(in, "the start function calls a function that may wait, as it did not before");
        return host_trap(in);
    }
    if (in->recording)
        record_fail(in->recording);
    if (in->waiting_calls == ENGINE_NEST_MAX) {
        trap_say(in, "more than %d waiting calls inside each other", ENGINE_NEST_MAX);
        return host_trap(in);
    }
    in->waiting_calls++;
    host_status status;
    do {
        status = link->im.fn(link->im.env, in, (slot *)(void *)raw);
        if (status != HOST_WAIT && status != HOST_YIELD)
            break;
        in->waiting = status == HOST_WAIT;
    } while (!in->dropping && wait(in)); /* a fiber that is dropped can't be left again */
    in->waiting_calls--;
    return status == HOST_DONE ? NULL : host_trap(in);
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

static bool import_define(wasmtime_linker_t *linker, link_entry *link, uint32_t k, err *e)
{
    char name[16];
    size_t n = (size_t)snprintf(name, sizeof name, "%u", k);
    wasm_functype_t *ft = host_functype(&link->plan->signature);
    wasmtime_error_t *error = wasmtime_linker_define_func_unchecked(
        linker, "ebb", 3, name, n, ft, link->im.may_wait ? waiting_call : plain_call, link, NULL);
    wasm_functype_delete(ft);
    return error ? engine_error(e, ERR_INTERNAL, error) : true;
}

bool engine_links_new(engine *en, const plan_import *described, const engine_import *imports,
                      uint32_t count, engine_links **ret, err *e)
{
    engine_links *l = calloc(1, sizeof *l + count * sizeof l->at[0]);
    if (!l)
        return err_no_memory(e);
    l->linker = wasmtime_linker_new(en->wasm);
    l->refs = 1;
    for (uint32_t k = 0; k < count; k++) {
        l->at[k] = (link_entry){.en = en, .im = imports[k], .plan = &described[k]};
        if (!import_define(l->linker, &l->at[k], k, e)) {
            engine_links_drop(l);
            return false;
        }
    }
    *ret = l;
    return true;
}

void engine_links_drop(engine_links *l)
{
    if (!l || --l->refs)
        return;
    wasmtime_linker_delete(l->linker);
    free(l);
}

bool import_init(engine *en, err *e)
{
    static const core_signature none = {0};
    en->waiting = wasmtime_linker_new(en->wasm);
    wasm_functype_t *ft = host_functype(&none);
    wasmtime_error_t *error = wasmtime_linker_define_async_func(en->waiting, "ebb", 3, "wait", 4,
                                                                ft, wait_begin, en, NULL);
    wasm_functype_delete(ft);
    return error ? engine_error(e, ERR_INTERNAL, error) : true;
}

void import_fini(engine *en)
{
    if (en->waiting)
        wasmtime_linker_delete(en->waiting);
}
