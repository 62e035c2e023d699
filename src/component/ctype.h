/* Component-level types while a component is checked: value types, functions, resources,
 * instances and components as nodes with an identity (Explainer.md "Type Definitions", "Type
 * Checking"). Private to component_link.
 *
 * Two notions of sameness:
 *   - structural: node->value, ->func (interned) and ->resource are equal pointers;
 *   - nominal: the node itself. An export or import of a type makes a new node; functions may only
 *     mention records, variants, enums, flags and resources through nodes that were exported or
 *     imported (Binary.md: "all resource types transitively used ... are introduced by ...").
 *
 * Types of instances and components bind resources (type variables): `imported` and `defined` list
 * them with the path of names at which they are found. Instantiation substitutes them.
 */
#pragma once

#include "component/module_type.h"

typedef struct ctype ctype;
typedef struct shape shape;
typedef struct scope scope;

/* An abstract resource type. */
typedef struct rsrc rsrc;
struct rsrc {
    resource_type pub;  /* what value types point to; first, so that pointers convert */
    bool in_component;  /* belongs to a component (not bound by a type) */
    bool is_local;      /* defined here with a representation: resource.new and rep are allowed */
    const scope *owner; /* the component it belongs to */
    uint32_t slot;      /* its place among the resources of that component, if it has one */
    uint32_t mark;      /* of the last walk that found it free */
    uint32_t subst_stamp;
    rsrc *subst;
};

/* Names from the outside in, at which a resource is found. */
typedef struct path path;
struct path {
    str name;
    const path *next;
};

typedef enum { SORT_MODULE, SORT_FUNC, SORT_TYPE, SORT_COMPONENT, SORT_INSTANCE } sort;

typedef struct {
    sort kind;
    const module_type *module; /* SORT_MODULE */
    ctype *type; /* of the function, component, instance; or the type itself (the new node) */
    bool fresh;  /* SORT_TYPE: (sub resource), introduced here */
} entity;

typedef struct {
    str name;
    entity e;
} item;

typedef struct {
    VEC(item) items;
    table names; /* -> index + 1 */
} item_list;

typedef struct {
    rsrc *r;
    const path *at;
} binding;
typedef VEC(binding) binding_list;

/* What an instance or component type lists. */
struct shape {
    item_list imports, exports; /* instances: no imports */
    binding_list imported, defined;
    binding_list exported; /* every resource exported explicitly, whoever defines it */
};

typedef enum {
    CTYPE_VALUE,
    CTYPE_FUNC,
    CTYPE_RESOURCE,
    CTYPE_INSTANCE,
    CTYPE_COMPONENT
} ctype_kind;

struct ctype {
    ctype_kind kind;
    bool open; /* resources occur in it */
    uint32_t nodes, depth;
    const type *value;
    const functype *func;
    rsrc *resource;
    const shape *shape;
    ctype **parts; /* VALUE: fields or element or the resource, NULL where primitive or none;
                      FUNC: parameters, then the result */
    uint32_t parts_count;
    uint32_t mark; /* of the last walk */
    uint32_t subst_stamp;
    ctype *subst;
};

ctype *ctype_new(linker *l, ctype_kind kind);
/* A new node of the same type: what an import or export of a type makes. */
ctype *ctype_alias(linker *l, const ctype *t);
rsrc *rsrc_new(linker *l, const scope *owner, bool in_component);
/* Adds up `nodes` and `depth` of t from its parts or shape, within the limits. */
bool ctype_finish(linker *l, ctype *t);

const item *item_find(linker *l, const item_list *list, str name);
bool item_add(linker *l, item_list *list, str name, entity e);
const char *sort_name(sort s);
/* As sort_name, but says what sort of type. */
const char *entity_name(const entity *e);

/* Does t mention a resource that belongs to a component, that is, is it not closed? */
bool ctype_has_free(linker *l, ctype *t, bool *ret);
/* Starts a walk and marks the resources that occur in the entities of a list. */
bool items_mark_resources(linker *l, const item_list *list, uint32_t *ret_stamp);

/* A substitution of resources: begin, put pairs, apply, end (which restores what was there). */
typedef struct {
    rsrc *r;
    uint32_t stamp;
    rsrc *old;
} subst_saved;
typedef struct {
    uint32_t stamp, node_stamp;
    bool renames; /* type nodes are renamed as well: visit closed types too */
    VEC(subst_saved) saved;
} subst;

bool subst_begin(linker *l, subst *s);
bool subst_put(linker *l, subst *s, rsrc *from, rsrc *to);
void subst_rename(subst *s, ctype *from, ctype *to);
void subst_end(subst *s);
/* Forgets which nodes were copied so far, keeps the resources. */
bool subst_again(linker *l, subst *s);
bool subst_type(linker *l, const subst *s, ctype *t, ctype **ret);
bool subst_entity(linker *l, const subst *s, entity *e);
rsrc *subst_resource(const subst *s, rsrc *r);

/* a may be used where b is wanted. Errors say why not. */
bool entity_subtype(linker *l, const entity *a, const entity *b);
/* Do the items of `have` satisfy the imports (or, if not `imports`, the exports) of `want`?
 * *s (begun here, to be ended by the caller in any case) maps the resources of `want` to those of
 * `have`. */
bool items_satisfy(linker *l, const item_list *have, const shape *want, bool imports, subst *s);
/* After items_satisfy: imported type nodes become the nodes that were given. */
bool items_rename(linker *l, const item_list *have, const item_list *want, subst *s);
