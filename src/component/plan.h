/* The plan: what the run time must know about a flattened component, beside its core modules.
 * Written by the decode process, read by workers. A worker does not trust the writer: plan_decode
 * checks every index, length and type again, so that no plan, whatever its bytes, leads to a wild
 * access; and core modules are validated by the engine when they are compiled.
 *
 * Names in a unit's flattened core module:
 *   import "ebb" "<k>"     function: imports[k]
 *   export "m<k>"          memory k of the canonical options; then those that no option names
 *   export "r<k>"          realloc k
 *   export "f<k>"          the core function of lifts[k]
 *   export "p<k>"          post-return of lifts[k], "c<k>" its callback, where it has one
 *   export "d<k>"          destructor of plan.resources[k], where this unit defines it with one
 *   export "start"         all start functions in order; call it once after instantiation
 *   export "s<k>"          the size of memory k in pages, where the guest's own memory.size is that
 *                          global; it is one of g<k>, too
 *   export "g<k>"          mutable globals that code sets (for restoring an instance)
 *   export "t<k>"          tables (for comparing a restored instance with a new one)
 */
#pragma once

#include "base/buf.h"
#include "component/composition.h"

enum { PLAN_VERSION = 3, PLAN_NONE = -1 };

typedef struct {
    string_encoding encoding;
    int32_t memory, realloc; /* k of "m<k>" and "r<k>", or PLAN_NONE */
    bool async;
} plan_options;

typedef struct {
    canon_kind kind;
    str interface, name;
    const functype *type;
    const type *element;
    plan_options options;
    uint32_t unit, lift;
    uint32_t resource;
    core_signature signature;
} plan_import;

typedef struct {
    const functype *type;
    plan_options options;
    bool has_post_return, has_callback;
    core_signature signature;
    str label;
} plan_lift;

typedef struct {
    str label;       /* the path of the component instance, for messages; empty for the outermost */
    uint32_t parent; /* as in link_unit: a later unit, or UINT32_MAX */
    uint32_t
        withheld; /* COMPOSITION_*: capabilities of the app's component that it does not have */
    const plan_import *imports;
    uint32_t imports_count;
    const plan_lift *lifts;
    uint32_t lifts_count;
    uint32_t memories_count, reallocs_count, globals_count, tables_count;
    uint32_t sized_memories; /* bit k < 32: "s<k>" is there */
    bool has_start;
    /* May an instance be restored in place? (instances.md): */
    bool mutates_tables;   /* table.set, grow, fill, copy, init outside of start */
    bool passive_segments; /* memory.init or data.drop, table.init or elem.drop at run time */
    bool start_segments;   /* the same, in "start": it can run only once */
    uint64_t memory_bytes_min, memory_bytes_max; /* of the largest memory; max as declared */
    /* What flattening did, for inspect. */
    uint32_t core_modules, core_functions, shims_removed, segments_merged, constants_folded;
    uint64_t module_bytes, module_bytes_before;
} plan_unit;

typedef struct {
    str interface, name;
    bool imported;
    uint32_t unit; /* that defines it; UINT32_MAX if imported or defined without code */
    bool has_dtor;
} plan_resource;

typedef struct {
    str interface, name;
    const functype *type;
    uint32_t unit, lift; /* exports only; unit is UINT32_MAX for an import that is re-exported */
} plan_name;

typedef struct {
    const plan_unit *units;
    uint32_t units_count;
    const plan_resource *resources; /* type->resource->index points here */
    uint32_t resources_count;
    const plan_name *imports, *exports;
    uint32_t imports_count, exports_count;
} plan;

/* Appends the binary form (versioned, little-endian, position-independent). */
bool plan_encode(const plan *p, buf *out, err *e);
/* Everything in *ret is in the arena; nothing points into `encoded`. */
bool plan_decode(arena *a, bytes encoded, plan *ret, err *e);
