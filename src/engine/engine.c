/* One Wasmtime engine with the settings of ebb, the compiler front, and the fingerprint.
 *
 * The settings fall into two groups. Those that shape the code (epoch checks, memory reservation
 * and guard, features, CPU flags) must be the same where a module is compiled and where it runs;
 * engine_settings makes them once for both. Those of the run time (the pool) are for workers only.
 *
 * The fingerprint is a hash of the artifact of an empty module. Wasmtime writes its version, the
 * target, every code-shaping setting and the CPU features it detected into each artifact, and
 * refuses one that differs when it is loaded; so two engines have the same fingerprint exactly
 * when one accepts what the other compiled, and nobody has to keep a list of settings in step.
 *
 * The pool reserves address space, not memory: per slot 4 GiB and guards for each linear memory
 * (so that 32-bit addresses need no bounds check), a stack, a table. Measurements that chose the
 * values are in README.md.
 */
#include "engine/inner.h"

#include "base/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    TABLE_ELEMENTS_MAX = 100000, /* of one table: Python's has 15,000 */
    TABLES_PER_MODULE_MAX = 8,
    MEMORIES_PER_MODULE_MAX = 8,
    CORE_INSTANCE_BYTES_MAX = 1 << 20, /* Python's flattened module needs 210 kB */
    INSTANCES_MAX_MAX = 10000,         /* 4 GiB and guards each: 84 of 128 TiB with two memories */
};

engine_config engine_config_default(void)
{
    return (engine_config){
        .instances_max = 1000,
        .memory_bytes_max = 4 * GIB,
        .wasm_stack_bytes = 1 * MIB,
        .artifact_owner = ENGINE_OWNER_SELF,
        .decommit_batch = 1,
        .populate = true,
        .restoring = {.check_every = 10000, .kept_max = 1000, .kept_bytes_max = 256 * MIB},
    };
}

/* "what\n\nCaused by:\n    why" on one line: "what: why". */
static size_t one_line(const char *text, size_t n, char *out, size_t max)
{
    static const char cause[] = "\n\nCaused by:\n    ";
    size_t len = 0;
    while (n > 0 && text[n - 1] == '\n')
        n--;
    for (size_t i = 0; i < n && len + 2 < max;) {
        if (text[i] != '\n') {
            out[len++] = text[i++];
            continue;
        }
        bool is_cause = n - i >= sizeof cause - 1 && !memcmp(text + i, cause, sizeof cause - 1);
        out[len++] = is_cause ? ':' : ';';
        out[len++] = ' ';
        i += is_cause ? sizeof cause - 1 : 1;
        while (i < n && (text[i] == ' ' || text[i] == '\n'))
            i++;
    }
    return len;
}

bool engine_error(err *e, err_code code, wasmtime_error_t *error)
{
    wasm_name_t text;
    char line[ERR_TEXT_MAX];
    wasmtime_error_message(error, &text);
    err_set(e, code, "%.*s", (int)one_line(text.data, text.size, line, sizeof line), line);
    wasm_byte_vec_delete(&text);
    wasmtime_error_delete(error);
    return false;
}

/* What shapes the code: the same in every process. */
static void engine_settings(wasm_config_t *c, const engine_config *ec)
{
    wasmtime_config_strategy_set(c, WASMTIME_STRATEGY_CRANELIFT);
    wasmtime_config_cranelift_opt_level_set(c, WASMTIME_OPT_LEVEL_SPEED);
    wasmtime_config_parallel_compilation_set(c, ec->compiler_threads);
    wasmtime_config_epoch_interruption_set(c, true);
    wasmtime_config_consume_fuel_set(c, false);
    wasmtime_config_native_unwind_info_set(c, false);
    wasmtime_config_debug_info_set(c, false);
    wasmtime_config_max_wasm_stack_set(c, ec->wasm_stack_bytes);
    /* A guest may be as deep again in an allocation that a host function at its deepest asks for,
     * or in a destructor: Wasmtime measures its stack anew there. A destructor may bring about more
     * such calls; nested_call says from where. */
    wasmtime_config_async_stack_size_set(c, 2 * ec->wasm_stack_bytes + ENGINE_NEST_STACK_BYTES +
                                                ENGINE_HOST_STACK_BYTES);
    wasmtime_config_memory_init_cow_set(c, true);
    wasmtime_config_memory_may_move_set(c, false);
    wasmtime_config_memory_reservation_set(c, 4 * GIB);
    wasmtime_config_memory_guard_size_set(c, 32 * MIB);
    /* Wasm 3.0 without threads. The component model is ours: Wasmtime's stays off. */
    wasmtime_config_wasm_threads_set(c, false);
    wasmtime_config_wasm_multi_value_set(c, true);
    wasmtime_config_wasm_bulk_memory_set(c, true);
    wasmtime_config_wasm_reference_types_set(c, true);
    wasmtime_config_wasm_function_references_set(c, true);
    wasmtime_config_wasm_gc_set(c, true);
    wasmtime_config_wasm_exceptions_set(c, true);
    wasmtime_config_wasm_simd_set(c, true);
    wasmtime_config_wasm_relaxed_simd_set(c, true);
    wasmtime_config_wasm_tail_call_set(c, true);
    wasmtime_config_wasm_multi_memory_set(c, true);
    wasmtime_config_wasm_memory64_set(c, true);
    wasmtime_config_wasm_component_model_async_set(c, false);
    wasmtime_config_wasm_component_model_set(c, false);
    wasmtime_config_concurrency_support_set(c, false);
}

/* One for each module that keeps instances, and one to compare with. */
static uint32_t twins_max(const engine_config *c)
{
    bool restores = c->restoring.mode != ENGINE_RESTORE_NEVER && c->restoring.kept_max;
    return restores ? c->restoring.kept_max + 1 : 0;
}

static void engine_pool(wasm_config_t *c, const engine_config *ec)
{
    uint32_t n = ec->instances_max + twins_max(ec);
    wasmtime_pooling_allocation_config_t *p = wasmtime_pooling_allocation_config_new();
    wasmtime_pooling_allocation_config_total_core_instances_set(p, n);
    wasmtime_pooling_allocation_config_total_stacks_set(p, n);
    /* A module with two memories or tables is rare, one with eight must still be possible. */
    wasmtime_pooling_allocation_config_total_memories_set(p, n + n / 4 + MEMORIES_PER_MODULE_MAX);
    wasmtime_pooling_allocation_config_total_tables_set(p, n + n / 4 + TABLES_PER_MODULE_MAX);
    wasmtime_pooling_allocation_config_total_gc_heaps_set(p, n);
    wasmtime_pooling_allocation_config_max_memories_per_module_set(p, MEMORIES_PER_MODULE_MAX);
    wasmtime_pooling_allocation_config_max_tables_per_module_set(p, TABLES_PER_MODULE_MAX);
    wasmtime_pooling_allocation_config_max_core_instance_size_set(p, CORE_INSTANCE_BYTES_MAX);
    wasmtime_pooling_allocation_config_max_memory_size_set(p, ec->memory_bytes_max);
    wasmtime_pooling_allocation_config_table_elements_set(p, TABLE_ELEMENTS_MAX);
    wasmtime_pooling_allocation_config_table_keep_resident_set(p, 1 * MIB);
    wasmtime_pooling_allocation_config_linear_memory_keep_resident_set(p, 0);
    wasmtime_pooling_allocation_config_max_unused_warm_slots_set(p, n);
    wasmtime_pooling_allocation_config_decommit_batch_size_set(p, ec->decommit_batch);
    wasmtime_pooling_allocation_strategy_set(c, p);
    wasmtime_pooling_allocation_config_delete(p);
}

static void engine_fingerprint_make(engine *en)
{
    static const uint8_t empty[] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    buf cwasm;
    buf_init(&cwasm, 1 * MIB);
    must(engine_compile(en, (bytes){empty, sizeof empty}, &cwasm, NULL));
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a: a name, not a seal */
    for (size_t i = 0; i < cwasm.n; i++)
        h = (h ^ cwasm.p[i]) * UINT64_C(0x100000001b3);
    buf_fini(&cwasm);
    snprintf(en->fingerprint, sizeof en->fingerprint, "wasmtime-%s-%016llx", WASMTIME_VERSION,
             (unsigned long long)h);
}

bool engine_new(const engine_config *c, engine **ret, err *e)
{
    if (!c->compiler && (c->instances_max == 0 || c->instances_max > INSTANCES_MAX_MAX))
        return err_set(e, ERR_LIMIT, "instances_max is %u; it may be 1 to %d", c->instances_max,
                       INSTANCES_MAX_MAX);
    if (c->memory_bytes_max > 4 * GIB)
        return err_set(e, ERR_LIMIT, "memory_bytes_max is %zu; it may be %zu", c->memory_bytes_max,
                       4 * GIB);
    if (c->wasm_stack_bytes < 64 * KIB || c->wasm_stack_bytes > 64 * MIB)
        return err_set(e, ERR_LIMIT, "wasm_stack_bytes is %zu; it may be 65536 to 67108864",
                       c->wasm_stack_bytes);
    engine *en = calloc(1, sizeof *en);
    if (!en)
        return err_no_memory(e);
    en->config = *c;
    en->twins_max = twins_max(c);
    if (en->config.artifact_owner == ENGINE_OWNER_SELF)
        en->config.artifact_owner = geteuid();
    wasm_config_t *config = wasm_config_new();
    engine_settings(config, c);
    if (!c->compiler)
        engine_pool(config, c);
    en->wasm = wasm_engine_new_with_config(config);
    if (!c->compiler && (!import_init(en, e) || !tick_init(en, e))) {
        import_fini(en);
        wasm_engine_delete(en->wasm);
        free(en);
        return false;
    }
    pages_init(en);
    restore_init(en);
    *ret = en;
    return true;
}

void engine_free(engine *en)
{
    if (!en)
        return;
    must(en->instances_count == 0 && en->modules_count == 0);
    if (!en->config.compiler)
        tick_fini();
    pages_fini(en);
    import_fini(en);
    while (en->spare) {
        engine_instance *in = en->spare;
        en->spare = in->next_spare;
        free(in);
    }
    wasm_engine_delete(en->wasm);
    free(en);
}

/* Made when it is first asked for: a worker, which must be back quickly after a crash, never does.
 */
str engine_fingerprint(engine *en)
{
    if (!en->fingerprint[0])
        engine_fingerprint_make(en);
    return str_from(en->fingerprint);
}

bool engine_validate(engine *en, bytes module, err *e)
{
    wasmtime_error_t *error = wasmtime_module_validate(en->wasm, module.p, module.n);
    return error ? engine_error(e, ERR_INVALID, error) : true;
}

bool engine_compile(engine *en, bytes module, buf *ret_cwasm, err *e)
{
    wasmtime_module_t *m = NULL;
    wasmtime_error_t *error = wasmtime_module_new(en->wasm, module.p, module.n, &m);
    if (error)
        return engine_error(e, ERR_INVALID, error);
    wasm_byte_vec_t out;
    error = wasmtime_module_serialize(m, &out);
    wasmtime_module_delete(m);
    if (error)
        return engine_error(e, ERR_INTERNAL, error);
    bool ok = buf_put(ret_cwasm, out.data, out.size);
    wasm_byte_vec_delete(&out);
    return ok || err_set(e, ERR_LIMIT, "the compiled module does not fit: %zu bytes allowed",
                         ret_cwasm->max);
}
