/* The values of symbolic evaluation: what index spaces of an instance hold (private to eval*.c). */
#pragma once

#include "component/eval.h"

typedef struct unit unit;
typedef struct env env;
typedef struct instance instance;

/* A component-level function: the host's, or lifted by a unit. */
typedef struct {
    str interface, name;  /* the host's */
    const functype *type; /* concrete */
    unit *unit;           /* NULL: the host's */
    uint32_t lift;
} func_value;

typedef struct {
    sort kind;
    func_value func;
    bytes module;
    const def *def; /* component: its definition and the instance around it */
    env *outer;
    instance *instance;
    resource_type *resource; /* type: NULL if it is no resource */
} value;

typedef struct {
    str name;
    value v;
} named_value;

struct instance {
    VEC(named_value) items;
    table names; /* -> index + 1 */
};

/* A core instance: one of the unit's, or a bag of definitions. */
typedef struct {
    int32_t index; /* -1: inline */
    table names;   /* inline: -> link_def */
} core_instance;

/* A unit in the making. */
struct unit {
    env *owner;
    uint32_t index;
    VEC(link_core) cores;
    VEC(link_canon) canons;
    VEC(unit *) targets; /* of CANON_LIFTED canons, by canon */
    table canon_keys;    /* -> index + 1 */
    VEC(link_lift) lifts;
    table wrapped; /* canon -> core instance that re-exports it */
};

/* One component instance. */
struct env {
    const def *def;
    env *outer;   /* around the definition: what outer aliases mean */
    env *creator; /* the instance that instantiates it; NULL for the outermost */
    uint32_t depth;
    str label;
    uint32_t withheld; /* as in link_unit */
    unit *unit;        /* NULL as long as it has no core code */
    VEC(link_def) core[5];
    VEC(core_instance *) core_instances;
    VEC(value) modules, funcs, components, instances;
    resource_type **slots;
    const instance *args;
    instance *exports;
    table types; /* abstract -> concrete descriptors */
};

typedef struct {
    linker *l;
    VEC(unit *) units; /* finished */
    VEC(resource_type *) resources;
    VEC(const env *) resource_owners;
    VEC(core_ref) dtors;
    VEC(link_name) imports, exports;
    uint32_t instances;
    bool is_located; /* the error says in which instance */
} eval;

/* eval_core.c */
/* The unit of an instance, made when first asked for. */
unit *env_unit(eval *v, env *e);
bool eval_core_instantiate(eval *v, env *e, const op *o);
bool eval_core_inline(eval *v, env *e, const op *o);
bool eval_alias_core(eval *v, env *e, const op *o);
bool eval_canon(eval *v, env *e, const op *o);
/* A core function as an export of a core instance of the unit: canonical definitions get a tiny
 * module that re-exports them. */
bool eval_core_export(eval *v, env *e, const link_def *d, core_ref *ret);
/* Types with the actual resources of an instance. */
bool eval_functype(eval *v, env *e, const functype *f, const functype **ret);
bool eval_type(eval *v, env *e, const type *t, const type **ret);

bool instance_add_value(eval *v, instance *i, str name, const value *item);
const value *instance_find(eval *v, const instance *i, str name);
