/* One core module as the flattener needs it (core specification 5.5): index spaces, sections cut
 * into their items, nothing of code decoded. Everything points into the module's bytes.
 *
 * Not a validator: only what is needed to cut and renumber is checked; the engine validates what
 * comes out of flattening. */
#pragma once

#include "component/link.h"
#include "component/reader.h"

enum { CM_KINDS = 5 };

/* One entry of the type section: a single function type, or anything else (recursion groups, GC
 * types) as it stands. */
typedef struct {
    bytes raw;
    uint32_t first, count; /* type indices it defines */
    bool is_func;          /* raw starts with 0x60 */
} cm_rec;

typedef struct {
    str module, name;
    core_kind kind;
    uint32_t type; /* functions and tags */
} cm_import;

typedef struct {
    str name;
    core_kind kind;
    uint32_t index;
} cm_export;

typedef struct {
    bytes type; /* value type and mutability */
    bytes init; /* constant expression, with its end */
    bool is_mutable;
} cm_global;

typedef struct {
    bytes type; /* reference type and limits */
    bytes init; /* n == 0: none */
} cm_table;

typedef enum { CM_ACTIVE, CM_PASSIVE, CM_DECLARATIVE } cm_mode;

typedef struct {
    cm_mode mode;
    uint32_t table;
    bytes offset;  /* constant expression of an active one */
    bool is_exprs; /* items are expressions of `type`; else function indices */
    bytes type;    /* reference type, where is_exprs */
    uint32_t count;
    bytes items;
} cm_elem;

typedef struct {
    cm_mode mode;
    uint32_t memory;
    bytes offset;
    bytes content;
} cm_data;

typedef struct {
    bytes file;
    const char *label; /* for messages */
    cm_rec *recs;
    uint32_t recs_count, types_count;
    cm_import *imports;
    uint32_t imports_count;
    uint32_t imported[CM_KINDS]; /* how many of each kind */
    uint32_t count[CM_KINDS];    /* index spaces, imports included */
    uint32_t *func_types;        /* of every function, imports first */
    uint32_t *tag_types;
    cm_table *tables;   /* defined ones */
    bytes *memories;    /* limits of the defined ones */
    cm_global *globals; /* defined ones */
    cm_export *exports;
    uint32_t exports_count;
    bool has_start;
    uint32_t start;
    cm_elem *elems;
    uint32_t elems_count;
    cm_data *datas;
    uint32_t datas_count;
    bytes *codes; /* bodies, without their sizes */
    uint32_t codes_count;
    str name;   /* of the module, as its name section says; may be empty */
    str *names; /* of every function, or NULL; n == 0: none */
} core_module;

/* Errors carry the offset within the module. */
bool core_module_read(arena *a, bytes module, core_module *ret, err *e);
/* The export, or NULL. Linear; exports are few, or the caller caches. */
const cm_export *core_module_export(const core_module *m, str name);
/* The entry of the type section that defines type index `index`, or NULL. */
const cm_rec *core_module_rec(const core_module *m, uint32_t index);
