/* What the parts of the flattener share; private to component/flatten*.c.
 *
 *     flatten.c        reads the modules, resolves imports, numbers everything   (flat_make)
 *     flatten_shim.c   finds thunks through tables and what they really call     (flat_shims)
 *     flatten_emit.c   writes the module                                         (flat_emit)
 *
 * Two numberings. *Merged*: every item of every core instance, in order; imports resolve to merged
 * numbers of earlier instances. *Final*: merged without what is dropped (thunks, their tables).
 * The maps of a core hold merged numbers until flat_finalise turns them into final ones. */
#pragma once

#include "component/core_code.h"
#include "component/core_module.h"
#include "component/flatten.h"
#include "component/table.h"

enum { FLAT_DROPPED = UINT32_MAX };

typedef struct {
    core_module m;
    uint32_t *types, *space[CM_KINDS], *elems, *datas; /* maps, by the module's own index */
    code_maps maps;  /* the same, as core_code wants them */
    bool late;       /* an earlier core instance has a start function: segments are copied later */
    table exports;   /* name -> cm_export */
    const link_core *link;
} flat_core;

/* A merged function that is no import. */
typedef struct {
    uint32_t core, body; /* cores[core].m.codes[body] */
    uint32_t type;       /* final type number */
    bool is_thunk;
    uint32_t table, slot; /* thunks: where they jump, merged */
    uint32_t target;      /* merged function that replaces it, or FLAT_DROPPED: none */
    uint32_t final;
} flat_func;

typedef struct {
    uint32_t core;
    const cm_table *def;
    uint8_t facts; /* TABLE_* of code other than thunks */
    bool dropped, opaque; /* opaque: an active segment has an unknown offset */
    uint32_t *slots;      /* merged function + 1 by slot, where thunks use it */
    uint32_t slots_count;
    uint32_t final;
} flat_table;

typedef struct {
    uint32_t core;
    const cm_global *def;
    bool known; /* immutable, with a constant value */
    uint8_t type;
    int64_t value;
    bool set_by_code;
} flat_global;

typedef struct {
    arena *a;
    err *e;
    const link_plan *link;
    const link_unit *unit;
    uint32_t unit_index;
    flat_core *cores;
    uint32_t cores_count;
    buf types; /* entries of the type section */
    uint32_t types_count, type_entries; /* a recursion group is one entry */
    table types_seen; /* bytes of a function type -> number + 1 */
    uint32_t *canon_types;
    flat_func *funcs; /* merged number minus canons_count */
    uint32_t funcs_count;
    flat_table *tables;
    uint32_t tables_count;
    struct flat_memory {
        uint32_t core;
        bytes limits;
    } *memories;
    uint32_t memories_count;
    flat_global *globals;
    uint32_t globals_count;
    uint32_t *tags; /* final types */
    uint32_t tags_count;
    bool segments_used, mutates_tables, has_start;
    uint32_t shims_removed, segments_merged, constants_folded;
    uint64_t module_bytes_before;
    uint64_t steps;
} flat;

bool flat_oom(flat *f);
/* "core module 3: " in front of the message. */
bool flat_in_core(flat *f, uint32_t core);
reader flat_reader(const flat_core *c, bytes b);
/* The value of a constant expression, if it can be known now. Never fails. */
bool flat_const(const flat *f, const flat_core *c, bytes expr, uint8_t *ret_type, int64_t *ret);
/* Number of a function type given by its encoding. */
bool flat_func_type(flat *f, bytes raw, uint32_t *ret);
/* Merged (before flat_finalise) or final (after) number of a core export. */
bool flat_ref(flat *f, core_ref ref, core_kind kind, uint32_t *ret);

bool flat_shims(flat *f);
bool flat_emit(flat *f, buf *out, plan_unit *ret);
