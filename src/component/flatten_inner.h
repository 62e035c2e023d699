/* What the parts of the flattener share; private to component/flatten*.c.
 *
 *     flatten.c          reads the modules, resolves imports, numbers everything
 *     flatten_const.c    the values of constant expressions
 *     flatten_reach.c    finds what start functions can have seen of memories and tables
 *     flatten_segment.c  decides which segments are static, which are copied by "start"
 *     flatten_shim.c     finds thunks through tables and what they really call
 *     flatten_grow.c     memories whose size a global holds
 *     flatten_emit.c     writes the module; flatten_names.c its name section
 *
 * Two numberings. *Merged*: every item of every core instance, in order; imports resolve to merged
 * numbers of earlier instances. *Final*: merged without what is dropped (thunks and their tables,
 * constant globals, segments that became part of others). The maps of a core hold merged numbers
 * until flat_finalise turns them into final ones; what is asked of constants is asked before. */
#pragma once

#include "component/core_code.h"
#include "component/core_module.h"
#include "component/flatten.h"
#include "component/table.h"

enum { FLAT_DROPPED = UINT32_MAX };

typedef struct {
    core_module m;
    uint32_t *types, *space[CM_KINDS], *elems, *datas; /* maps, by the module's own index */
    code_maps maps;                                    /* the same, as core_code wants them */
    int64_t start_before;          /* the last earlier core with a start function, or -1 */
    uint32_t elem_base, data_base; /* merged number of its first segments */
    table exports;                 /* name -> cm_export */
    const link_core *link;
} flat_core;

/* A merged function that is no import. */
typedef struct {
    uint32_t core, body; /* cores[core].m.codes[body] */
    uint32_t type;       /* final type number */
    bool is_thunk;
    bool referenced;      /* by ref.func in code: it must be declared */
    uint32_t table, slot; /* thunks: where they jump, merged */
    uint32_t target;      /* merged function that replaces it, or FLAT_DROPPED: none */
    uint32_t final;
} flat_func;

typedef struct {
    uint32_t core;
    const cm_table *def;
    uint64_t min;
    bool is_64;
    bool is_plain;        /* funcref, null at first */
    bool opaque;          /* an active segment is not static */
    int64_t touched_from; /* the first start function (core) that may touch it; INT64_MAX: none */
    uint8_t facts;        /* TABLE_* of code other than thunks that are replaced */
    bool dropped;
    uint32_t *slots; /* merged function + 1 by slot, where thunks use it */
    uint32_t slots_count;
    uint32_t final;
} flat_table;

typedef struct {
    uint32_t core;
    bytes limits;
    uint64_t bytes_min, bytes_max; /* UINT64_MAX: none declared */
    bool is_64;
    bool opaque;          /* an active segment is not static */
    int64_t touched_from; /* the first start function (core) that may read or write it */
    bool grows;           /* by an instruction of its own */
} flat_memory;

/* A constant that can be known. Its type is a core_type, or the byte of an abstract heap type:
 * then it is null (-1), or of 0x70 "func" also a merged function. */
enum { FLAT_FUNC = 0x70, FLAT_NOFUNC = 0x73 };
typedef struct {
    uint8_t type;
    int64_t bits; /* i32: sign-extended */
} flat_value;

static inline bool flat_is_number(flat_value v) { return v.type >= CORE_F64; }

typedef struct {
    uint32_t core;
    const cm_global *def;
    bool known; /* it begins with `value` */
    flat_value value;
    bool set_by_code;
    bool folds;     /* known and never set: who reads it gets the constant */
    uint32_t final; /* CODE_CONSTANT | merged number: folded away */
} flat_global;

/* What becomes of a segment. An active one is *static* if its offset is a known constant in bounds,
 * no start function can have seen its target before, and nothing but static ones came before it:
 * then it is part of the initial image of its table or memory, whatever else is there. */
typedef enum {
    PLACE_STATIC,
    PLACE_ACTIVE, /* stays as it is */
    PLACE_LATE,   /* passive, copied by the synthesised start function at its turn */
    PLACE_PASSIVE,
    PLACE_DECLARED,
} flat_place;

typedef struct {
    uint32_t core;
    const cm_elem *def;
    flat_place place;
    uint32_t target; /* merged table */
    bool known;      /* the offset is `offset` */
    flat_value offset;
    bool mentioned; /* by code */
    uint32_t final;
} flat_elem;

typedef struct {
    uint32_t core;
    const cm_data *def;
    flat_place place;
    uint32_t target; /* merged memory */
    bool known;
    flat_value offset;
    bool mentioned;
    uint32_t final;
} flat_data;

/* Functions (merged) that static segments put in a row into a table. */
typedef struct {
    uint32_t table;
    uint64_t offset;
    const uint32_t *funcs;
    uint32_t count;
} flat_run;

/* Static data segments that touch, overlap or nearly touch: image[first..first + count). */
typedef struct {
    uint32_t memory, first, count;
    uint64_t offset, bytes;
} flat_cluster;

typedef struct {
    arena *a;
    err *e;
    const link_plan *link;
    const link_unit *unit;
    uint32_t unit_index;
    flat_core *cores;
    uint32_t cores_count;
    buf types;                          /* entries of the type section */
    uint32_t types_count, type_entries; /* a recursion group is one entry */
    table types_seen; /* canonical bytes of a type or group -> its first number + 1 */
    uint32_t *canon_types;
    flat_func *funcs; /* merged number minus canons_count */
    uint32_t funcs_count;
    uint8_t *canons_referenced; /* by ref.func in code */
    flat_table *tables;
    uint32_t tables_count;
    flat_memory *memories;
    uint32_t memories_count;
    flat_global *globals;
    code_constant *constants; /* by merged global */
    uint32_t globals_count;
    uint32_t *sizes, *grows; /* flatten_grow.c; by memory, final number + 1, or 0 */
    uint32_t sized_count;
    uint32_t *tags; /* final types */
    uint32_t tags_count;
    flat_elem *elems;
    uint32_t elems_count;
    flat_data *datas;
    uint32_t datas_count;
    VEC(flat_run) runs;
    const flat_data **image; /* static data segments by memory, then offset; clusters by order */
    VEC(flat_cluster) clusters;
    uint32_t elems_final, datas_final; /* segments written */
    bool segments_used, mutates_tables, has_start;
    uint32_t shims_removed, segments_merged, constants_folded;
    uint64_t module_bytes_before;
    uint64_t steps;
} flat;

bool flat_oom(flat *f);
/* "core module at offset 0x...: " in front of the message. */
bool flat_in_core(flat *f, uint32_t core);
/* ERR_LIMIT if name and type tables took too many steps: hostile collisions. */
bool flat_steps_ok(flat *f);
reader flat_reader(const flat_core *c, bytes b);
/* The value of a constant expression, if it can be known. Never fails. Before flat_finalise. */
bool flat_const(const flat *f, const flat_core *c, bytes expr, flat_value *ret);
/* An offset as the unsigned number that it is. */
uint64_t flat_offset(flat_value v);
/* Number of a function type given by its encoding. */
bool flat_func_type(flat *f, bytes raw, uint32_t *ret);
/* Merged (before flat_finalise) or final (after) number of a core export. */
bool flat_ref(flat *f, core_ref ref, core_kind kind, uint32_t *ret);
/* Final number of a merged function; after flat_finalise. */
uint32_t flat_func_final(const flat *f, uint32_t merged);
/* Functions that are written, imports not counted. */
uint32_t flat_funcs_kept(const flat *f);

/* Sets touched_from of every memory and table. */
bool flat_reach(flat *f);

/* flatten_segment.c, in the order of use. Place: merged numbering, before thunks are looked for.
 * Plan: when the facts about code are known. */
bool flat_segments_place(flat *f);
/* The next item of a segment as merged function + 1, 0 for null; false if it is neither. */
bool flat_elem_next(const flat *f, const flat_core *c, const cm_elem *x, reader *r, uint32_t *ret);
bool flat_segments_plan(flat *f);
bool flat_put_elems(flat *f, buf *out);
bool flat_put_datas(flat *f, buf *out);
/* Instructions that copy the late segments of one core instance. */
bool flat_put_late(flat *f, uint32_t core, buf *out);

bool flat_shims(flat *f);

/* flatten_grow.c. Number: after all other globals and functions have theirs. */
bool flat_sizes_number(flat *f, uint32_t globals_next, uint32_t funcs_next);
void flat_put_size_globals(const flat *f, buf *out);
void flat_put_grow_bodies(const flat *f, buf *out);
void flat_put_grow_names(const flat *f, buf *out);
bool flat_emit(flat *f, buf *out, plan_unit *ret);
bool flat_put_names(flat *f, buf *out);

/* flatten_emit.c: a length of five bytes that is filled in when the part ends, and what else the
 * other writers need. */
size_t flat_length_begin(buf *b);
void flat_length_end(buf *b, size_t begun);
size_t flat_section_begin(buf *b, uint8_t id);
void flat_put_name(buf *b, str s);
/* A constant expression with other numbers; without its end where it goes into a function body. */
bool flat_put_expr(flat *f, const flat_core *c, bytes expr, bool with_end, buf *out);
/* The instruction that makes v, of a number type. */
void flat_put_number(buf *out, flat_value v);
