/* Any bytes through the flattener. A component goes the whole way; other input is read as core
 * modules that import from each other: for each a length byte and a name, two bytes of length
 * (little-endian), the module.
 *
 * No crash, bounded memory; and the engine's validator accepts what comes out if it accepts every
 * core module that goes in. For bare modules that is asked of single ones only: nothing has checked
 * the types of imports between several. */
#include "component/core_link.h"
#include "component/flatten.h"

#include "base/limits.h"
#include "base/must.h"

#include <wasmtime.h>

enum { MODULES_MAX = 6 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static wasm_engine_t *engine(void)
{
    static wasm_engine_t *made;
    if (made)
        return made;
    wasm_config_t *c = wasm_config_new();
    wasmtime_config_wasm_gc_set(c, true);
    wasmtime_config_wasm_function_references_set(c, true);
    wasmtime_config_wasm_exceptions_set(c, true);
    wasmtime_config_wasm_memory64_set(c, true);
    wasmtime_config_wasm_multi_memory_set(c, true);
    wasmtime_config_wasm_tail_call_set(c, true);
    wasmtime_config_wasm_wide_arithmetic_set(c, true);
    made = wasm_engine_new_with_config(c);
    return made;
}

static bool is_valid(bytes module)
{
    wasmtime_error_t *error = wasmtime_module_validate(engine(), module.p, module.n);
    if (error)
        wasmtime_error_delete(error);
    return !error;
}

static bool unit_is_valid(const link_unit *u)
{
    for (uint32_t i = 0; i < u->cores_count; i++)
        if (!is_valid(u->cores[i].module))
            return false;
    return true;
}

static void unit_flatten(arena *a, const link_plan *l, uint32_t unit, bool must_be_valid)
{
    _cleanup_(buf_fini) buf out;
    plan_unit u;
    err e = {0};
    buf_init(&out, 256 * MIB);
    if (!flatten_unit(a, l, unit, &out, &u, &e)) {
        must(e.code != ERR_NONE && e.code != ERR_INTERNAL && e.text[0]);
        /* what is valid is flattened or refused by the name of a feature or limit */
        must(!must_be_valid || !unit_is_valid(&l->units[unit]) || e.code != ERR_INVALID);
        return;
    }
    must(u.module_bytes == out.n);
    if (must_be_valid && unit_is_valid(&l->units[unit]))
        must(is_valid(buf_bytes(&out)));
}

static void component_try(arena *a, bytes component)
{
    link_plan l;
    err e = {0};
    if (!component_link(a, component, &l, &e))
        return;
    for (uint32_t i = 0; i < l.units_count; i++)
        unit_flatten(a, &l, i, true);
}

static void modules_try(arena *a, bytes input)
{
    core_source sources[MODULES_MAX];
    uint32_t n = 0;
    link_plan l;
    err e = {0};
    while (input.n > 0 && n < MODULES_MAX) {
        size_t name = input.p[0], length;
        if (input.n < 1 + name + 2)
            break;
        length = (size_t)input.p[1 + name] | (size_t)input.p[2 + name] << 8;
        sources[n].name = (str){(const char *)input.p + 1, name};
        input = (bytes){input.p + 3 + name, input.n - 3 - name};
        length = length > input.n ? input.n : length;
        sources[n++].module = (bytes){input.p, length};
        input = (bytes){input.p + length, input.n - length};
    }
    if (n && core_link(a, sources, n, &l, &e))
        unit_flatten(a, &l, 0, n == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    arena a;
    arena_init(&a, 256 * MIB);
    if (bytes_are_component((bytes){data, size}))
        component_try(&a, (bytes){data, size});
    else
        modules_try(&a, (bytes){data, size});
    arena_fini(&a);
    return 0;
}
