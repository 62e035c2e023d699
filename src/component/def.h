/* A component definition after checking: the operations that instantiating it performs, in order
 * (Explainer.md "Component Definitions"). Private to component_link: check.c writes it, eval.c runs
 * it once per instance. Every operation that defines something appends to the index space of its
 * sort; types have none here, since only resources exist at run time.
 *
 * Resources that a definition can name are numbered: `slots` of an instance hold the actual ones.
 */
#pragma once

#include "component/ctype.h"

typedef struct def def;

typedef enum {
    OP_IMPORT,           /* name, entity, resources */
    OP_EXPORT,           /* name, sort, index (or entity.type) */
    OP_CORE_MODULE,      /* module */
    OP_CORE_INSTANTIATE, /* index of the module, core_args */
    OP_CORE_INLINE,      /* core_args */
    OP_COMPONENT,        /* def */
    OP_INSTANTIATE,  /* index of the component, args, resources; in a composition: name, a label,
                        and count, what is withheld */
    OP_INLINE,       /* args */
    OP_ALIAS_EXPORT, /* sort, index of the instance, name */
    OP_ALIAS_CORE,   /* core_kind, index of the core instance, name */
    OP_ALIAS_OUTER,  /* sort, count, index */
    OP_RESOURCE,     /* slot, index of the destructor or UINT32_MAX */
    OP_CANON,        /* canon */
} op_kind;

typedef struct {
    str name;
    sort kind;
    uint32_t index;
    ctype *type; /* SORT_TYPE */
} op_arg;

typedef struct {
    str name;
    core_kind kind; /* inline exports */
    uint32_t index; /* of the item, or of the core instance that is the argument */
} op_core_arg;

/* Resource `slot` is found at `at` in what the operation defines. */
typedef struct {
    uint32_t slot;
    const path *at;
} op_resource;

typedef enum {
    OPC_LIFT,
    OPC_LOWER,
    OPC_RESOURCE_NEW,
    OPC_RESOURCE_REP,
    OPC_RESOURCE_DROP,
    OPC_BUILTIN
} op_canon_kind;

typedef struct {
    op_canon_kind kind;
    str name;      /* built-ins, immediates included */
    uint32_t func; /* lift: core function; lower: function */
    string_encoding encoding;
    bool async;
    uint32_t memory, realloc, post_return, callback; /* UINT32_MAX: absent */
    uint32_t table;                                  /* thread.new-indirect */
    const functype *type;                            /* abstract */
    const type *element;
    const rsrc *resource;
    core_signature signature;
} op_canon;

typedef struct {
    op_kind kind;
    uint64_t at; /* offset, for messages */
    str name;
    sort sort;
    core_kind core;
    uint32_t index, count;
    entity entity;
    bytes module;
    const def *def;
    const op_arg *args;
    const op_core_arg *core_args;
    uint32_t args_count;
    const op_resource *resources;
    uint32_t resources_count;
    const op_canon *canon;
} op;

struct def {
    VEC(op) ops;
    uint32_t slots_count;
    const shape *shape; /* its component type */
};
