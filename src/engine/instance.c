/* An instance: one store with one instance of one module, driven through its operations.
 *
 *     engine_instance_new ── engine_start ──┐        ┌── engine_call ──┐
 *                                           ▼        ▼                 │
 *                                  engine_poll: INSTANTIATE → START → idle → LIFT → idle ...
 *                                           │ trap                     │ trap
 *                                           └────────► dead ◄──────────┘      engine_instance_free
 *
 * Each step is one Wasmtime future, polled until it is ready. A future suspends for two reasons
 * that look the same from outside; in->waiting, set by import.c just before it suspends, tells them
 * apart.
 *
 * CPU time is wall time on the fiber: the worker has one thread, so what passes between entering
 * and leaving engine_poll is the guest's (or its host functions'). When one guest's host function
 * polls another instance, the outer one's clock stands still meanwhile.
 *
 * Structs are kept and used again: a store costs Wasmtime some allocations each time, we add none.
 *
 * What is deliberately not here: no budget is enforced. Whoever polls looks at engine_cpu_ns after
 * each ENGINE_YIELD and frees what has had enough; dropping a fiber half-way is safe, because
 * Wasmtime resumes it once with an error that unwinds the guest, and `dropping` keeps host
 * functions from starting anything new.
 */
#include "engine/inner.h"

#include <stdlib.h>
#include <sys/mman.h>

static engine_instance *instance_take(engine *en)
{
    engine_instance *in = en->spare;
    if (!in)
        return malloc(sizeof *in);
    en->spare = in->next_spare;
    en->spare_count--;
    return in;
}

static void instance_give(engine *en, engine_instance *in)
{
    if (en->spare_count == ENGINE_SPARE_MAX) {
        free(in);
        return;
    }
    in->next_spare = en->spare;
    en->spare = in;
    en->spare_count++;
}

/* A tick found this guest running: it yields, so that others have their turn, unless its slice has
 * only just begun: ticks come when they come, and a short call that happens to meet one would
 * wait behind longer ones for nothing. Slices take half to one and a half ticks. Only a function
 * that a host function called which may wait (an allocation, a destructor) does not yield: those
 * host functions count on it that nobody runs in between. It may go on for a while and is then
 * stopped. */
static wasmtime_error_t *tick_came(const wasmtime_context_t *ctx, void *data, uint64_t *delta,
                                   wasmtime_update_deadline_kind_t *kind)
{
    (void)ctx;
    engine_instance *in = data;
    *delta = 1;
    bool stuck = in->nest && in->waiting_calls;
    bool early = clock_mono() - in->en->turn_start < tick_every() / 2;
    *kind = stuck || early ? WASMTIME_UPDATE_DEADLINE_CONTINUE : WASMTIME_UPDATE_DEADLINE_YIELD;
    if (!stuck && !early)
        engine_memory_bytes(in); /* while the store is ours */
    if (!stuck || ++in->nest_ticks < ENGINE_NEST_TICKS_MAX)
        return NULL;
    return wasmtime_error_new("an allocation or clean-up function of the guest ran too long");
}

void instance_reset(engine_instance *in)
{
    trap_fini(in);
    in->user = NULL;
    in->op = OP_NONE;
    in->begun = in->waiting = in->trap_ready = in->wasm_trap = in->trap_passed = false;
    in->may_leave = true;
    in->nest = in->nest_ticks = 0;
    in->cpu_ns = 0;
    in->memory_bytes = 0;
    in->was_full = false;
    in->emptied = 0;
    in->seen_known = 0;
    in->whole_now = in->seen_now = 0;
    record_free(in->recording);
    in->recording = NULL;
    in->trap_info = (engine_trap){.text = "", .backtrace = ""};
}

bool instance_make(engine_module *m, size_t memory_bytes_max, uint32_t table_elements_max,
                   bool is_twin, engine_instance **ret, err *e)
{
    engine *en = m->en;
    if (is_twin ? en->twins_count >= en->twins_max
                : en->instances_count == en->config.instances_max && !kept_evict(en))
        return err_set(e, ERR_LIMIT, "all %u instances are in use", en->config.instances_max);
    engine_instance *in = instance_take(en);
    if (!in)
        return err_no_memory(e);
    memset(in, 0, offsetof(engine_instance, memories));
    in->en = en;
    in->module = m;
    in->may_leave = true;
    in->is_twin = is_twin;
    in->memory_bytes_max = in->memory_limit = memory_bytes_max;
    in->table_elements_max = table_elements_max;
    in->trap_info.text = in->trap_info.backtrace = "";
    in->store = wasmtime_store_new(en->wasm, in, NULL);
    in->ctx = wasmtime_store_context(in->store);
    wasmtime_store_limiter(in->store, (int64_t)memory_bytes_max, (int64_t)table_elements_max, 1, -1,
                           -1);
    wasmtime_store_epoch_deadline_callback(in->store, tick_came, in, NULL);
    if (is_twin)
        en->twins_count++;
    else
        en->instances_count++;
    m->instances_count++;
    *ret = in;
    return true;
}

bool engine_instance_new(engine_module *m, const engine_limits *l, void *user,
                         engine_instance **ret, err *e)
{
    engine *en = m->en;
    size_t memory_max = l->memory_bytes_max < en->config.memory_bytes_max
                            ? l->memory_bytes_max
                            : en->config.memory_bytes_max;
    if (m->unit->memory_bytes_min > memory_max)
        return err_set(e, ERR_LIMIT,
                       "the component needs %llu bytes of memory to start and may have %zu; "
                       "raise its memory limit",
                       (unsigned long long)m->unit->memory_bytes_min, memory_max);
    engine_instance *in = kept_take(m, memory_max, l->table_elements_max);
    if (!in) {
        if (!instance_make(m, memory_max, l->table_elements_max, false, &in, e))
            return false;
        in->sampled = !m->kept_count && pages_sampled(m);
    }
    in->user = user;
    *ret = in;
    return true;
}

void engine_instance_limit(engine_instance *in, size_t memory_bytes)
{
    size_t least = (size_t)in->module->unit->memory_bytes_min;
    if (memory_bytes < least)
        memory_bytes = least;
    if (memory_bytes > in->memory_bytes_max)
        memory_bytes = in->memory_bytes_max;
    if (memory_bytes == in->memory_limit)
        return;
    in->was_full |= in->memory_bytes + WASM_PAGE_BYTES > in->memory_limit;
    in->memory_limit = memory_bytes;
    wasmtime_store_limiter(in->store, (int64_t)memory_bytes, (int64_t)in->table_elements_max, 1, -1,
                           -1);
}

/* Guest code runs no more in it: what it reads of its memory now is nobody's. Only of the first
 * memory: others are an adapter's, and small. */
bool engine_instance_empty(engine_instance *in, size_t piece)
{
    size_t size = in->seen_known & 1 ? in->seen_size[0] : 0, left = size - in->emptied;
    if (in->emptied >= size)
        return false;
    if (piece > left)
        piece = left;
    in->emptied += piece;
    madvise(in->seen_base[0] + size - in->emptied, piece, MADV_DONTNEED);
    return in->emptied < size;
}

static size_t export_name(char name[12], char kind, uint32_t k)
{
    char digits[10];
    size_t n = 0, d = 0;
    name[n++] = kind;
    do {
        digits[d++] = (char)('0' + k % 10);
        k /= 10;
    } while (k > 0);
    while (d > 0)
        name[n++] = digits[--d];
    return n;
}

bool instance_export(engine_instance *in, char kind, uint32_t k, wasmtime_extern_kind_t what,
                     wasmtime_extern_t *ret)
{
    char name[12];
    size_t n = export_name(name, kind, k);
    return wasmtime_instance_export_get(in->ctx, &in->instance, name, n, ret) && ret->kind == what;
}

static const wasmtime_memory_t *instance_memory(engine_instance *in, uint32_t k,
                                                wasmtime_memory_t *scratch)
{
    if (k < ENGINE_CACHED && in->memories_known & 1u << k)
        return &in->memories[k];
    wasmtime_extern_t item;
    if (!instance_export(in, 'm', k, WASMTIME_EXTERN_MEMORY, &item))
        return NULL;
    *scratch = item.of.memory;
    if (k >= ENGINE_CACHED)
        return scratch;
    in->memories[k] = item.of.memory;
    in->memories_known |= 1u << k;
    return &in->memories[k];
}

/* What the guest takes for the size of memory k (component/flatten_grow.c): never more than
 * `whole`. */
static size_t instance_memory_size(engine_instance *in, uint32_t k, size_t whole)
{
    wasmtime_global_t *g, scratch;
    wasmtime_extern_t item;
    wasmtime_val_t v;
    if (k >= 32 || !(in->module->unit->sized_memories & 1u << k))
        return whole;
    g = k < ENGINE_CACHED ? &in->sizes[k] : &scratch;
    if (k >= ENGINE_CACHED || !(in->sizes_known & 1u << k)) {
        if (!instance_export(in, 's', k, WASMTIME_EXTERN_GLOBAL, &item))
            return 0;
        *g = item.of.global;
        in->sizes_known |= k < ENGINE_CACHED ? 1u << k : 0;
    }
    wasmtime_global_get(in->ctx, g, &v);
    size_t size = v.kind == WASMTIME_I32 ? (size_t)(uint32_t)v.of.i32 * WASM_PAGE_BYTES : 0;
    return size < whole ? size : whole;
}

uint8_t *instance_memory_whole(engine_instance *in, uint32_t k, size_t *ret_size)
{
    if (k < ENGINE_CACHED && in->whole_now & 1u << k) {
        *ret_size = in->whole[k];
        return in->whole_base[k];
    }
    wasmtime_memory_t scratch;
    const wasmtime_memory_t *m = instance_memory(in, k, &scratch);
    uint8_t *base = m ? wasmtime_memory_data(in->ctx, m) : NULL;
    *ret_size = m ? wasmtime_memory_data_size(in->ctx, m) : 0;
    if (k < ENGINE_CACHED && !in->polling) {
        in->whole_base[k] = base;
        in->whole[k] = *ret_size;
        in->whole_now |= 1u << k;
    }
    return base;
}

/* The memory that nearly all guests have only one of; NULL if it is not exported. */
static uint8_t *instance_memory0(engine_instance *in, size_t *ret_size)
{
    return in->module->unit->memories_count > 0 ? engine_memory(in, 0, ret_size) : NULL;
}

/* Time of a slice belongs to whoever is current; entering and leaving one books it. */
static engine_instance *slice_enter(engine_instance *in)
{
    engine *en = in->en;
    engine_instance *outer = en->current;
    ns now = clock_mono();
    if (outer)
        outer->cpu_ns += now - en->slice_start;
    else
        en->turn_start = now;
    en->slice_start = now;
    en->current = in;
    return outer;
}

static void slice_leave(engine_instance *in, engine_instance *outer)
{
    engine *en = in->en;
    ns now = clock_mono();
    in->cpu_ns += now - en->slice_start;
    en->slice_start = now;
    en->current = outer;
}

void instance_delete(engine_instance *in)
{
    wasmtime_store_delete(in->store);
    trap_fini(in);
    free(in->globals);
    free(in->runs);
    record_free(in->recording);
    in->module->instances_count--;
    if (in->is_twin)
        in->en->twins_count--;
    else
        in->en->instances_count--;
    instance_give(in->en, in);
}

void instance_sample(engine_instance *in)
{
    size_t size = 0;
    const uint8_t *base = instance_memory0(in, &size);
    pages_sample(in->module, base, size);
}

void engine_instance_free(engine_instance *in)
{
    if (!in)
        return;
    engine *en = in->en;
    must(en->current != in); /* not from its own host function */
    if (in->sampled && in->started && !in->future && !in->dead)
        instance_sample(in);
    must(in->polling == 0);
    if (in->future) {
        engine_instance *outer = slice_enter(in);
        in->dropping = true;
        for (uint32_t i = 0; i < in->inner_count; i++)
            wasmtime_call_future_delete(in->inner[i].future);
        wasmtime_call_future_delete(in->future);
        slice_leave(in, outer);
        must(in->waiting_calls == 0);
        if (in->trap)
            wasm_trap_delete(in->trap);
        if (in->error)
            wasmtime_error_delete(in->error);
    }
    instance_delete(in);
}

void *engine_user(const engine_instance *in) { return in->user; }

static engine_saved operation_get(const engine_instance *in)
{
    return (engine_saved){in->future,    in->op,    in->lift,      in->nest, in->nest_ticks,
                          in->nest_from, in->slots, in->may_leave, in->func};
}

static void operation_put(engine_instance *in, const engine_saved *s)
{
    in->future = s->future;
    in->op = s->op;
    in->lift = s->lift;
    in->nest = s->nest;
    in->nest_ticks = s->nest_ticks;
    in->nest_from = s->nest_from;
    in->slots = s->slots;
    in->may_leave = s->may_leave;
    in->func = s->func;
}

/* The current operation's fiber stands in a host function below us: another one takes its place.
 * Each that is put aside stands in a waiting call, so there is room. */
static void operation_nest(engine_instance *in, const engine_saved *s)
{
    must(in->polling > 0 && in->outer_count < ENGINE_NEST_MAX);
    in->outer[in->outer_count++] = operation_get(in);
    operation_put(in, s);
}

/* Back to the one below; if the nested one is not over, it waits for its next poll. */
static void operation_unnest(engine_instance *in)
{
    if (in->op != OP_NONE) {
        must(in->inner_count < ENGINE_NEST_MAX);
        in->inner[in->inner_count++] = operation_get(in);
    }
    operation_put(in, &in->outer[--in->outer_count]);
}

static void operation_begin(engine_instance *in, engine_op op, uint32_t lift, slot *slots)
{
    must(!in->dead && !in->begun);
    if (in->polling > 0) {
        operation_nest(in, &(engine_saved){.may_leave = true});
        in->begun = true;
    }
    must(in->op == OP_NONE);
    in->trap_ready = in->wasm_trap = false; /* said, but not meant, in an operation before */
    in->op = op;
    in->lift = lift;
    in->slots = slots;
}

void engine_start(engine_instance *in)
{
    must(!in->started || in->kept);
    if (!in->kept && start_record_wanted(in->module))
        in->recording = record_new();
    operation_begin(in, OP_INSTANTIATE, 0, NULL);
}

void engine_call(engine_instance *in, uint32_t lift, slot *slots)
{
    must(in->started && lift < in->module->unit->lifts_count);
    operation_begin(in, OP_LIFT, lift, slots);
}

void engine_post_return(engine_instance *in, uint32_t lift, slot *slots)
{
    must(in->started && lift < in->module->unit->lifts_count);
    operation_begin(in, OP_POST_RETURN, lift, slots);
}

void engine_call_realloc(engine_instance *in, int32_t k, slot *slots)
{
    must(in->started && k >= 0 && (uint32_t)k < in->module->unit->reallocs_count);
    operation_begin(in, OP_REALLOC, (uint32_t)k, slots);
}

void engine_call_destroy(engine_instance *in, uint32_t resource, slot *slots)
{
    must(in->started);
    operation_begin(in, OP_DESTROY, resource, slots);
}

bool engine_instance_ready(const engine_instance *in)
{
    return in->started && in->op != OP_START && !in->dead;
}

static const wasmtime_func_t *instance_realloc(engine_instance *in, uint32_t k,
                                               wasmtime_func_t *scratch);

/* "f<k>" or "p<k>", kept for the next call. */
static bool lift_find(engine_instance *in, char kind, wasmtime_func_t *kept, uint32_t *known,
                      wasmtime_func_t *ret)
{
    uint32_t k = in->lift;
    wasmtime_extern_t item;
    if (k < ENGINE_CACHED && *known & 1u << k) {
        *ret = kept[k];
        return true;
    }
    if (!instance_export(in, kind, k, WASMTIME_EXTERN_FUNC, &item))
        return false;
    *ret = item.of.func;
    if (k < ENGINE_CACHED) {
        kept[k] = item.of.func;
        *known |= 1u << k;
    }
    return true;
}

static bool start_find(engine_instance *in, wasmtime_func_t *ret)
{
    wasmtime_extern_t item;
    if (!in->start_known) {
        if (!wasmtime_instance_export_get(in->ctx, &in->instance, "start", 5, &item) ||
            item.kind != WASMTIME_EXTERN_FUNC)
            return false;
        in->start = item.of.func;
        in->start_known = true;
    }
    *ret = in->start;
    return true;
}

/* Finds the function of the current operation and starts it on a fiber. */
static bool future_call(engine_instance *in)
{
    static const core_type words[4] = {CORE_I32, CORE_I32, CORE_I32, CORE_I32};
    const plan_lift *lifts = in->module->unit->lifts;
    const core_signature *s;
    const wasmtime_func_t *func;
    uint32_t args = 0, results = 0;
    wasmtime_extern_t item = {0};
    bool found = false;
    switch (in->op) {
    case OP_START:
        found = start_find(in, &in->func);
        break;
    case OP_LIFT:
        s = &lifts[in->lift].signature;
        found = lift_find(in, 'f', in->lifts, &in->lifts_known, &in->func);
        args = s->params_count;
        results = s->results_count;
        slots_to_vals(s->params, args, in->slots, in->args);
        break;
    case OP_POST_RETURN:
        s = &lifts[in->lift].signature;
        found = lift_find(in, 'p', in->posts, &in->posts_known, &in->func);
        args = s->results_count; /* post-return takes what the function returned */
        slots_to_vals(s->results, args, in->slots, in->args);
        in->may_leave = false;
        break;
    case OP_REALLOC:
        func = instance_realloc(in, in->lift, &item.of.func);
        found = func != NULL;
        if (found)
            in->func = *func;
        args = 4;
        results = 1;
        slots_to_vals(words, args, in->slots, in->args);
        in->may_leave = false;
        break;
    case OP_DESTROY:
        found = instance_export(in, 'd', in->lift, WASMTIME_EXTERN_FUNC, &item);
        in->func = item.of.func;
        args = 1;
        slots_to_vals(words, args, in->slots, in->args);
        break;
    case OP_NONE:
    case OP_INSTANTIATE:
        must(false);
    }
    if (!found) {
        trap_say(in, "the compiled module lacks an export that its plan names; deploy it again");
        in->dead = true;
        return false;
    }
    in->future = wasmtime_func_call_async(in->ctx, &in->func, in->args, args, in->results, results,
                                          &in->trap, &in->error);
    return true;
}

static bool future_begin(engine_instance *in)
{
    wasmtime_context_set_epoch_deadline(in->ctx, 1);
    if (in->op != OP_INSTANTIATE)
        return future_call(in);
    in->future = wasmtime_instance_pre_instantiate_async(in->module->pre, in->ctx, &in->instance,
                                                         &in->trap, &in->error);
    return true;
}

/* Instantiated: true if a start function comes next. */
static bool start_next(engine_instance *in)
{
    in->op = in->module->unit->has_start && !engine_instance_after_start(in) ? OP_START : OP_NONE;
    return in->op == OP_START;
}

/* The future is ready: true if the operation goes on with another one. */
static bool future_end(engine_instance *in)
{
    wasmtime_call_future_delete(in->future);
    in->future = NULL;
    if (in->trap || in->error) {
        trap_take(in, in->trap, in->error);
        in->trap = NULL;
        in->error = NULL;
        in->dead = true;
        return false;
    }
    if (in->op == OP_INSTANTIATE) {
        in->started = true;
        if (!in->sampled && !kept_pages_take(in) && in->module->work.count > 0) {
            size_t size = 0;
            uint8_t *base = instance_memory0(in, &size);
            pages_populate(in->module, base, size);
        }
        return start_next(in);
    }
    if (in->op == OP_START && in->recording)
        start_recorded(in);
    if (in->op == OP_LIFT) {
        const core_signature *s = &in->module->unit->lifts[in->lift].signature;
        vals_to_slots(in->results, s->results_count, in->slots);
    } else if (in->op == OP_REALLOC) {
        vals_to_slots(in->results, 1, in->slots);
    }
    in->may_leave = true;
    in->op = OP_NONE;
    return false;
}

static engine_status operation_run(engine_instance *in)
{
    do {
        if (!in->future && !future_begin(in))
            break;
        in->waiting = false;
        if (!wasmtime_call_future_poll(in->future))
            return in->waiting ? ENGINE_WAIT : ENGINE_YIELD;
    } while (future_end(in));
    return in->dead ? ENGINE_TRAP : ENGINE_DONE;
}

/* A guest whose memory cannot grow by one page more mostly says no more than "unreachable". */
static void instance_memory_full(engine_instance *in)
{
    for (uint32_t k = 0; in->started && k < in->module->unit->memories_count; k++) {
        size_t size = 0;
        engine_memory(in, (int32_t)k, &size);
        if (size > 0 && (in->was_full || size + WASM_PAGE_BYTES > in->memory_limit))
            trap_memory_full(in, size);
    }
}

engine_status engine_poll(engine_instance *in)
{
    if (in->polling > 0 && !in->begun) { /* goes on with a nested operation that was suspended */
        must(in->inner_count > 0);
        operation_nest(in, &in->inner[--in->inner_count]);
    }
    must(in->op != OP_NONE && !in->dead);
    in->whole_now = in->seen_now = 0;
    if (in->op == OP_INSTANTIATE && in->kept && !start_next(in)) {
        in->begun = false; /* nothing runs: it takes no time of anybody */
        return ENGINE_DONE;
    }
    engine_instance *outer = slice_enter(in);
    in->begun = false;
    in->polling++;
    tick_enter();
    engine_status status = operation_run(in);
    tick_leave();
    in->polling--;
    slice_leave(in, outer);
    if (status == ENGINE_TRAP) {
        in->op = OP_NONE;
        instance_memory_full(in);
    }
    if (in->polling > 0)
        operation_unnest(in);
    return status;
}

bool instance_run_start(engine_instance *in)
{
    engine_status status;
    operation_begin(in, OP_START, 0, NULL);
    while ((status = engine_poll(in)) == ENGINE_YIELD)
        ;
    return status == ENGINE_DONE;
}

uint8_t *engine_memory(engine_instance *in, int32_t k, size_t *ret_size)
{
    must(k >= 0 && (uint32_t)k < in->module->unit->memories_count);
    if (!in->started) { /* nothing to see yet: every offset is out of bounds */
        *ret_size = 0;
        return NULL;
    }
    if (k < ENGINE_CACHED && in->seen_now & 1u << k) {
        *ret_size = in->seen_size[k];
        return in->seen_base[k];
    }
    size_t whole;
    uint8_t *base = instance_memory_whole(in, (uint32_t)k, &whole);
    *ret_size = instance_memory_size(in, (uint32_t)k, whole);
    if (k < ENGINE_CACHED) {
        in->seen_base[k] = base;
        in->seen_size[k] = *ret_size;
        in->seen_known |= 1u << k;
        in->seen_now |= in->polling ? 0 : 1u << k;
    }
    return base;
}

uint8_t *engine_memory_seen(engine_instance *in, int32_t k, size_t *ret_size)
{
    if (k < 0 || k >= ENGINE_CACHED || !(in->seen_known & 1u << k))
        return engine_memory(in, k, ret_size);
    *ret_size = in->seen_size[k];
    return in->seen_base[k];
}

/* Calls a guest function of ours-to-know type from a host function. Each such call may use as much
 * stack as Wasmtime lets a guest have, counted from here; the fiber has that much twice. So one
 * that is made inside another begins at most ENGINE_NEST_STACK_BYTES below it. */
static bool nested_call(engine_instance *in, const wasmtime_func_t *func, slot *slots, size_t n)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    if (in->nest == ENGINE_NEST_MAX) {
        trap_say(in, "more than %d calls between guest and host inside each other",
                 ENGINE_NEST_MAX);
        return false;
    }
    if (in->nest && in->nest_from - here > ENGINE_NEST_STACK_BYTES) {
        trap_say(in,
                 "call stack exhausted: %d bytes of it are for destructors and allocations that "
                 "begin inside each other",
                 ENGINE_NEST_STACK_BYTES);
        return false;
    }
    if (!in->nest++) {
        in->nest_ticks = 0;
        in->nest_from = here;
    }
    wasm_trap_t *trap = NULL;
    wasmtime_error_t *error =
        wasmtime_func_call_unchecked(in->ctx, func, (wasmtime_val_raw_t *)(void *)slots, n, &trap);
    in->nest--;
    if (!trap && !error)
        return true;
    trap_take(in, trap, error);
    return false;
}

/* The unchecked call trusts its caller with the type; the plan comes from a process that does not
 * deserve that trust. */
static bool func_is(engine_instance *in, const wasmtime_func_t *func, size_t params, size_t results)
{
    wasm_functype_t *ft = wasmtime_func_type(in->ctx, func);
    const wasm_valtype_vec_t *p = wasm_functype_params(ft), *r = wasm_functype_results(ft);
    bool ok = p->size == params && r->size == results;
    for (size_t i = 0; ok && i < params; i++)
        ok = wasm_valtype_kind(p->data[i]) == WASM_I32;
    for (size_t i = 0; ok && i < results; i++)
        ok = wasm_valtype_kind(r->data[i]) == WASM_I32;
    wasm_functype_delete(ft);
    return ok;
}

static const wasmtime_func_t *instance_realloc(engine_instance *in, uint32_t k,
                                               wasmtime_func_t *scratch)
{
    if (k < ENGINE_CACHED && in->reallocs_known & 1u << k)
        return &in->reallocs[k];
    wasmtime_extern_t item;
    if (!instance_export(in, 'r', k, WASMTIME_EXTERN_FUNC, &item))
        return NULL;
    bool checked = k < 32 && in->module->reallocs_checked & 1u << k;
    if (!checked && !func_is(in, &item.of.func, 4, 1))
        return NULL;
    if (k < 32)
        in->module->reallocs_checked |= 1u << k;
    *scratch = item.of.func;
    if (k >= ENGINE_CACHED)
        return scratch;
    in->reallocs[k] = item.of.func;
    in->reallocs_known |= 1u << k;
    return &in->reallocs[k];
}

/* May host code call the guest now? */
static bool may_enter(engine_instance *in)
{
    must(in->en->current == in);
    if (in->dropping)
        return false;
    if (in->started)
        return true;
    trap_say(in, "a host function needs the guest before it is instantiated");
    return false;
}

bool engine_realloc(engine_instance *in, int32_t k, uint32_t align, uint32_t size, uint32_t *ret)
{
    must(k >= 0 && (uint32_t)k < in->module->unit->reallocs_count);
    if (!may_enter(in))
        return false;
    wasmtime_func_t scratch;
    const wasmtime_func_t *func = instance_realloc(in, (uint32_t)k, &scratch);
    if (!func) {
        trap_say(in, "the compiled module has no realloc %d of the right type", k);
        return false;
    }
    slot slots[4] = {{.u64 = 0}, {.u64 = 0}, {.u64 = align}, {.u64 = size}};
    in->may_leave = false;
    bool ok = nested_call(in, func, slots, 4);
    in->may_leave = true;
    if (ok)
        *ret = slots[0].u32;
    return ok;
}

bool engine_destroy(engine_instance *in, uint32_t resource, uint32_t representation)
{
    if (!may_enter(in))
        return false;
    wasmtime_extern_t item;
    if (!instance_export(in, 'd', resource, WASMTIME_EXTERN_FUNC, &item) ||
        !func_is(in, &item.of.func, 1, 0)) {
        trap_say(in, "the compiled module has no destructor %u of the right type", resource);
        return false;
    }
    slot slots[1] = {{.u64 = representation}};
    return nested_call(in, &item.of.func, slots, 1);
}

ns engine_cpu_ns(const engine_instance *in)
{
    const engine *en = in->en;
    return in->cpu_ns + (en->current == in ? clock_mono() - en->slice_start : 0);
}

size_t engine_memory_bytes(engine_instance *in)
{
    if (!in->started || (in->future && in->en->current != in))
        return in->memory_bytes; /* suspended: the store is the future's */
    size_t sum = 0;
    for (uint32_t k = 0; k < in->module->unit->memories_count; k++) {
        size_t size;
        engine_memory(in, (int32_t)k, &size);
        sum += size;
    }
    return in->memory_bytes = sum;
}
