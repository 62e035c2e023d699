/* The type of a core module as the component model sees it: what it imports and exports, with
 * types (core spec 5.3, 5.5; Binary.md "core:moduletype"). Bodies, segments and everything else of
 * a module are skipped here: the engine validates them.
 *
 * Core types are canonical: a function type is a number, equal for equal types (recursion groups
 * are compared as a whole, as the core specification does). */
#pragma once

#include "component/link.h"
#include "component/linker.h"

/* A value type: the byte of a number or vector type, or REF bits with a heap type. */
typedef uint32_t core_val;
enum {
    CORE_REF = 1u << 31,
    CORE_REF_NULL = 1u << 30,
    CORE_HEAP_ABSTRACT = 1 << 29, /* then the heap type's byte, else a canonical type */
};
#define CORE_NO_TYPE UINT32_MAX
#define CORE_FUNCREF (CORE_REF | CORE_REF_NULL | CORE_HEAP_ABSTRACT | 0x70)

struct core_def {
    uint8_t kind; /* 0x60 func, 0x5f struct, 0x5e array */
    bool is_open; /* may have subtypes */
    uint32_t super;
    const core_val *params, *results;
    uint32_t params_count, results_count;
};

typedef struct {
    uint64_t min, max;
    bool has_max, shared, is_64;
    uint8_t page_log2; /* memories */
} core_limits;

typedef struct {
    core_kind kind;
    uint32_t func;   /* CORE_FUNC, CORE_TAG: canonical type */
    core_val val;    /* CORE_TABLE: element; CORE_GLOBAL: content */
    bool is_mutable; /* CORE_GLOBAL */
    core_limits limits;
} core_extern;

typedef struct {
    str module, name;
    core_extern type;
} core_import;

typedef struct {
    str name;
    core_extern type;
} core_export;

/* What a core instance offers: a module's exports, or inline ones. */
typedef struct {
    VEC(core_export) items;
    table names; /* -> core_export, once complete */
} core_exports;

typedef struct {
    VEC(core_import) imports; /* in the module's order; a pair of names occurs once */
    table import_names;       /* by "module\0name" key */
    core_exports exports;
} module_type;

typedef VEC(uint32_t) core_types; /* index space: canonical types */

/* Reads the imports and exports of a module (cached by address). */
bool module_type_read(linker *l, bytes module, const module_type **ret);
/* core:externtype of a declaration, with `types` as its type index space. */
bool core_extern_read(linker *l, reader *r, const core_types *types, core_extern *ret);
bool core_val_read(linker *l, reader *r, const core_types *types, core_val *ret);
/* core:rectype or a single type; appends to `types`. */
bool core_rectype_read(linker *l, reader *r, core_types *types);
/* A subtype that follows 0x00 in a component's core type section (Binary.md "core:deftype"). */
bool core_subtype_read(linker *l, reader *r, core_types *types);
/* Canonical type of a plain function. */
bool core_func_intern(linker *l, const core_val *params, uint32_t params_count,
                      const core_val *results, uint32_t results_count, uint32_t *ret);
bool core_signature_intern(linker *l, const core_signature *s, uint32_t *ret);
bool core_func_is(const linker *l, uint32_t func, const core_val *params, uint32_t params_count,
                  const core_val *results, uint32_t results_count);

bool module_import_add(linker *l, module_type *m, str module, str name, core_extern x);
bool core_export_add(linker *l, core_exports *x, str name, core_extern t);
const core_export *core_export_find(linker *l, const core_exports *x, str name);

/* a may be used where b is wanted; fails with the difference. */
bool core_extern_subtype(linker *l, const core_extern *a, const core_extern *b);
bool module_subtype(linker *l, const module_type *a, const module_type *b);
const char *core_kind_name(core_kind kind);
