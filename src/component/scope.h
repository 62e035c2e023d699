/* A scope: a component, component type or instance type while it is being read, with its index
 * spaces (Binary.md "Alias Definitions": these three are what `outer` counts). */
#pragma once

#include "component/def.h"
#include "component/names.h"

typedef enum { SCOPE_COMPONENT, SCOPE_COMPONENT_TYPE, SCOPE_INSTANCE_TYPE } scope_kind;

typedef VEC(ctype *) ctypes;

struct scope {
    scope_kind kind;
    scope *parent;
    uint32_t depth; /* of component nesting */
    /* index spaces */
    core_types core_types; /* canonical types; CORE_NO_TYPE where it is a module type: */
    VEC(const module_type *) module_types; /* beside them; NULL where it is none */
    VEC(core_extern) core[5];              /* by core_kind */
    VEC(const module_type *) modules;
    VEC(const core_exports *) core_instances;
    ctypes types, funcs, components, instances;
    /* names */
    item_list imports, exports;
    table import_keys, export_keys;           /* strongly-unique forms */
    table import_named, export_named;         /* type nodes that imports, exports may mention */
    table import_resources, export_resources; /* resource node -> its name (str *) */
    table import_resource_names, export_resource_names;
    /* resources */
    binding_list imported, exported;
    VEC(rsrc *) defined;
    uint8_t context_type; /* of context.get and .set so far: 0 or CORE_I32, ... */
    def *def;             /* SCOPE_COMPONENT: what is written */
};

typedef struct {
    str name, version_suffix, implements;
} attributed_name;

typedef enum { EXTERN_IMPORT, EXTERN_EXPORT } extern_kind;

scope *scope_new(linker *l, scope_kind kind, scope *parent);
/* Outer scope `count` levels up; 0 is s itself. NULL (with an error) if there is none. */
scope *scope_outer(linker *l, scope *s, uint32_t count);

/* Index spaces; false with an error. */
bool scope_type(linker *l, const scope *s, uint32_t i, ctype **ret);
bool scope_type_of(linker *l, const scope *s, uint32_t i, ctype_kind kind, ctype **ret);
bool scope_entity(linker *l, const scope *s, sort kind, uint32_t i, entity *ret);
bool scope_core(linker *l, const scope *s, core_kind kind, uint32_t i, const core_extern **ret);
/* A core type: a module type, or (NULL) a canonical type. */
bool scope_core_type_add(linker *l, scope *s, const module_type *m, uint32_t type_id);
bool scope_core_type(linker *l, const scope *s, uint32_t i, const module_type **ret_module,
                     uint32_t *ret_type);
bool scope_core_func_add(linker *l, scope *s, uint32_t type);
/* Appends to the index space of its sort. */
bool scope_add(linker *l, scope *s, const entity *e);
bool scope_op(linker *l, scope *s, const op *o);

/* Adds an import or export declaration or definition: freshens the resources of instances, checks
 * name, uniqueness and that all types are named, appends to the index space. e is updated to what
 * was added. */
bool scope_extern(linker *l, scope *s, extern_kind kind, const attributed_name *name, entity *e);
/* Checks a name against what it names (resources of `s`, or none for inline exports). */
bool extern_name_check(linker *l, const scope *s, extern_kind kind, const attributed_name *name,
                       const entity *e, table *keys);
/* A slot for a resource of component scope s. */
uint32_t scope_slot(scope *s, rsrc *r);
/* The type of the finished scope. */
bool scope_finish(linker *l, scope *s, const shape **ret);
/* Prepends a name to a path. */
const path *path_cons(linker *l, str name, const path *next);
