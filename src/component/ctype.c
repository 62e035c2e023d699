/* Nodes of component-level types: making, walking, substituting.
 *
 * Nodes form a DAG that a hostile component can make exponentially large as a tree: walks mark the
 * nodes that they have seen, substitution remembers the copy of each node, and `nodes` (the size as
 * a tree) has a limit. Both marks are stamps: a new walk takes a new number instead of clearing.
 *
 * Substitution maps resources (and, at instantiation, type nodes that were imported) and copies
 * only what mentions them. The targets are kept in the resources themselves; subst_end puts back
 * what was there, so that substitutions nest. */
#include "component/ctype.h"

enum { CTYPE_NODES_MAX = 1000000 };

const char *sort_name(sort s)
{
    static const char *const names[] = {"module", "func", "type", "component", "instance"};
    return names[s];
}

const char *entity_name(const entity *e)
{
    static const char *const types[] = {"defined type", "func type", "resource", "instance type",
                                        "component type"};
    return e->kind == SORT_TYPE ? types[e->type->kind] : sort_name(e->kind);
}

ctype *ctype_new(linker *l, ctype_kind kind)
{
    ctype *t = ARENA_NEW(l->a, ctype);
    if (!t) {
        link_oom(l);
        return NULL;
    }
    t->kind = kind;
    t->nodes = 1;
    return t;
}

ctype *ctype_alias(linker *l, const ctype *t)
{
    ctype *copy = ctype_new(l, t->kind);
    if (!copy)
        return NULL;
    *copy = *t;
    copy->mark = copy->subst_stamp = 0;
    return copy;
}

rsrc *rsrc_new(linker *l, const scope *owner, bool in_component)
{
    rsrc *r = ARENA_NEW(l->a, rsrc);
    if (!r) {
        link_oom(l);
        return NULL;
    }
    r->owner = owner;
    r->in_component = in_component;
    r->slot = UINT32_MAX;
    return r;
}

static bool part_count(linker *l, ctype *t, const ctype *part)
{
    if (!part)
        return true;
    t->open |= part->open;
    t->nodes += part->nodes;
    if (part->depth + 1 > t->depth)
        t->depth = part->depth + 1;
    if (t->nodes > CTYPE_NODES_MAX)
        return link_fail(l, ERR_LIMIT, "effective type size exceeds the limit of %d",
                         CTYPE_NODES_MAX);
    if (t->depth > COMPONENT_TYPE_DEPTH_MAX)
        return link_fail(l, ERR_LIMIT, "type nesting is too deep: more than %d",
                         COMPONENT_TYPE_DEPTH_MAX);
    return true;
}

static bool items_count(linker *l, ctype *t, const item_list *list)
{
    for (uint32_t i = 0; i < list->items.n; i++)
        if (list->items.p[i].e.kind != SORT_MODULE && !part_count(l, t, list->items.p[i].e.type))
            return false;
    return link_work(l, list->items.n);
}

bool ctype_finish(linker *l, ctype *t)
{
    t->nodes = 1;
    t->depth = 0;
    t->open = t->kind == CTYPE_RESOURCE;
    for (uint32_t i = 0; i < t->parts_count; i++)
        if (!part_count(l, t, t->parts[i]))
            return false;
    return !t->shape ||
           (items_count(l, t, &t->shape->imports) && items_count(l, t, &t->shape->exports));
}

const item *item_find(linker *l, const item_list *list, str name)
{
    uint64_t steps = 1;
    uintptr_t i = (uintptr_t)table_get(&list->names, name, &steps);
    l->work += steps;
    return i ? &list->items.p[i - 1] : NULL;
}

bool item_add(linker *l, item_list *list, str name, entity e)
{
    const void **at;
    item it = {name, e};
    if (!link_table_at(l, &list->names, name, &at))
        return false;
    if (*at)
        return link_fail(l, ERR_INVALID, "name '%.*s' conflicts with previous name '%.*s'",
                         STR(name), STR(name));
    if (!vec_push(l->a, &list->items, it))
        return link_oom(l);
    *at = (void *)(uintptr_t)list->items.n;
    return true;
}

static bool walk(linker *l, ctype *t, uint32_t stamp, bool *ret_free);

static bool walk_items(linker *l, const item_list *list, uint32_t stamp, bool *ret_free)
{
    for (uint32_t i = 0; i < list->items.n; i++)
        if (list->items.p[i].e.kind != SORT_MODULE &&
            !walk(l, list->items.p[i].e.type, stamp, ret_free))
            return false;
    return true;
}

/* Recursion is as deep as the type: COMPONENT_TYPE_DEPTH_MAX. */
static bool walk(linker *l, ctype *t, uint32_t stamp, bool *ret_free)
{
    if (!t || !t->open || t->mark == stamp)
        return true;
    t->mark = stamp;
    if (!link_work(l, t->parts_count + 1))
        return false;
    if (t->kind == CTYPE_RESOURCE) {
        t->resource->mark = stamp;
        *ret_free |= t->resource->in_component;
    }
    for (uint32_t i = 0; i < t->parts_count; i++)
        if (!walk(l, t->parts[i], stamp, ret_free))
            return false;
    return !t->shape || (walk_items(l, &t->shape->imports, stamp, ret_free) &&
                         walk_items(l, &t->shape->exports, stamp, ret_free));
}

bool ctype_has_free(linker *l, ctype *t, bool *ret)
{
    *ret = false;
    return walk(l, t, ++l->stamp, ret);
}

bool items_mark_resources(linker *l, const item_list *list, uint32_t *ret_stamp)
{
    bool found = false;
    *ret_stamp = ++l->stamp;
    return walk_items(l, list, *ret_stamp, &found);
}

bool subst_begin(linker *l, subst *s)
{
    *s = (subst){.stamp = ++l->stamp};
    s->node_stamp = ++l->stamp;
    return true;
}

bool subst_again(linker *l, subst *s)
{
    s->node_stamp = ++l->stamp;
    return true;
}

bool subst_put(linker *l, subst *s, rsrc *from, rsrc *to)
{
    subst_saved old = {from, from->subst_stamp, from->subst};
    if (!vec_push(l->a, &s->saved, old))
        return link_oom(l);
    from->subst_stamp = s->stamp;
    from->subst = to;
    return true;
}

void subst_rename(subst *s, ctype *from, ctype *to)
{
    s->renames = true;
    from->subst_stamp = s->node_stamp;
    from->subst = to;
}

void subst_end(subst *s)
{
    while (s->saved.n) {
        const subst_saved *old = &s->saved.p[--s->saved.n];
        old->r->subst_stamp = old->stamp;
        old->r->subst = old->old;
    }
}

rsrc *subst_resource(const subst *s, rsrc *r) { return r->subst_stamp == s->stamp ? r->subst : r; }

/* Explainer.md "Type Checking": substitution.
 * The interned descriptor of a value node whose parts were replaced. */
static bool value_rebuild(linker *l, const ctype *old, ctype *t)
{
    type proto = *old->value;
    if (proto.kind == TYPE_OWN || proto.kind == TYPE_BORROW) {
        proto.resource = &t->parts[0]->resource->pub;
        return type_intern(l, &proto, &t->value);
    }
    if (proto.kind == TYPE_LIST && proto.is_map) { /* parts are those of the pair */
        type pair = *proto.elem;
        type_field fields[2] = {pair.fields[0], pair.fields[1]};
        for (int i = 0; i < 2; i++)
            fields[i].type = t->parts[i] ? t->parts[i]->value : fields[i].type;
        pair.fields = fields;
        type_field *keep = ARENA_ARRAY(l->a, type_field, 2);
        if (!keep)
            return link_oom(l);
        memcpy(keep, fields, sizeof fields);
        pair.fields = keep;
        return type_intern(l, &pair, &proto.elem) && type_intern(l, &proto, &t->value);
    }
    if (proto.fields_count == 0) {
        if (t->parts[0])
            proto.elem = t->parts[0]->value;
        return type_intern(l, &proto, &t->value);
    }
    type_field *fields = ARENA_ARRAY(l->a, type_field, proto.fields_count);
    if (!fields)
        return link_oom(l);
    for (uint32_t i = 0; i < proto.fields_count; i++) {
        fields[i] = proto.fields[i];
        if (t->parts[i])
            fields[i].type = t->parts[i]->value;
    }
    proto.fields = fields;
    return type_intern(l, &proto, &t->value);
}

static bool func_rebuild(linker *l, const ctype *old, ctype *t)
{
    functype proto = *old->func;
    type_field *params = ARENA_ARRAY(l->a, type_field, proto.params_count);
    if (!params)
        return link_oom(l);
    for (uint32_t i = 0; i < proto.params_count; i++) {
        params[i] = proto.params[i];
        if (t->parts[i])
            params[i].type = t->parts[i]->value;
    }
    proto.params = params;
    if (t->parts[proto.params_count])
        proto.result = t->parts[proto.params_count]->value;
    return functype_intern(l, &proto, &t->func);
}

static bool items_subst(linker *l, const subst *s, const item_list *list, item_list *ret,
                        bool *changed)
{
    *ret = *list;
    ret->items.p = arena_grow(l->a, NULL, 0, list->items.n, sizeof(item));
    ret->items.cap = list->items.n;
    if (!ret->items.p)
        return link_oom(l);
    for (uint32_t i = 0; i < list->items.n; i++) {
        ret->items.p[i] = list->items.p[i];
        if (!subst_entity(l, s, &ret->items.p[i].e))
            return false;
        *changed |= ret->items.p[i].e.type != list->items.p[i].e.type;
    }
    return link_work(l, list->items.n);
}

static bool shape_subst(linker *l, const subst *s, const shape *old, const shape **ret)
{
    bool changed = false;
    shape *copy = ARENA_NEW(l->a, shape);
    if (!copy)
        return link_oom(l);
    *copy = *old;
    if (!items_subst(l, s, &old->imports, &copy->imports, &changed) ||
        !items_subst(l, s, &old->exports, &copy->exports, &changed))
        return false;
    copy->exported = (binding_list){0};
    for (uint32_t i = 0; i < old->exported.n; i++) {
        binding b = {subst_resource(s, old->exported.p[i].r), old->exported.p[i].at};
        changed |= b.r != old->exported.p[i].r;
        if (!vec_push(l->a, &copy->exported, b))
            return link_oom(l);
    }
    *ret = changed ? copy : old;
    return link_work(l, old->exported.n + 1);
}

static bool copy_parts(linker *l, const subst *s, const ctype *old, ctype *t, bool *changed)
{
    t->parts = ARENA_ARRAY(l->a, ctype *, old->parts_count);
    if (!t->parts)
        return link_oom(l);
    for (uint32_t i = 0; i < old->parts_count; i++) {
        if (old->parts[i] && !subst_type(l, s, old->parts[i], &t->parts[i]))
            return false;
        *changed |= t->parts[i] != old->parts[i];
    }
    return link_work(l, old->parts_count + 1);
}

/* Explainer.md "Type Checking": substitution.
 * Recursion is as deep as the type. */
bool subst_type(linker *l, const subst *s, ctype *t, ctype **ret)
{
    *ret = t;
    if (t->subst_stamp == s->node_stamp) {
        *ret = t->subst;
        return link_work(l, 1);
    }
    if (!t->open && !s->renames)
        return true;
    bool changed = false;
    ctype *copy = ctype_alias(l, t);
    if (!copy || !copy_parts(l, s, t, copy, &changed))
        return false;
    if (t->kind == CTYPE_RESOURCE) {
        copy->resource = subst_resource(s, t->resource);
        changed = copy->resource != t->resource;
    } else if (t->kind == CTYPE_VALUE && changed) {
        if (!value_rebuild(l, t, copy))
            return false;
    } else if (t->kind == CTYPE_FUNC && changed) {
        if (!func_rebuild(l, t, copy))
            return false;
    } else if (t->shape) {
        if (!shape_subst(l, s, t->shape, &copy->shape))
            return false;
        changed = copy->shape != t->shape;
    }
    t->subst_stamp = s->node_stamp;
    t->subst = changed ? copy : t;
    *ret = t->subst;
    return !changed || ctype_finish(l, copy);
}

bool subst_entity(linker *l, const subst *s, entity *e)
{
    return e->kind == SORT_MODULE || subst_type(l, s, e->type, &e->type);
}
