/* Instances, core and component-level (Binary.md "Instance Definitions").
 *
 * Instantiating a component is where abstract resources meet actual ones: the arguments must
 * satisfy the imports, the resources that the component defines become fresh ones of the scope that
 * instantiates it, and the exports are rewritten to both (Binary.md: "the actual type supplied is
 * immediately substituted for all uses of the import"). */
#include "component/check.h"

enum { ARGS_MAX = 100000 };

/* Binary.md "Instance Definitions": core:instantiatearg. */
static bool core_args_read(linker *l, reader *r, bool inline_exports, op *o)
{
    if (!reader_count(r, ARGS_MAX, "arguments", &o->args_count, l->e))
        return false;
    op_core_arg *args = ARENA_ARRAY(l->a, op_core_arg, o->args_count);
    if (!args)
        return link_oom(l);
    for (uint32_t i = 0; i < o->args_count; i++) {
        uint8_t kind;
        if (!reader_name(r, &args[i].name, l->e) || !reader_u8(r, &kind, l->e) ||
            !reader_u32(r, &args[i].index, l->e))
            return false;
        if (inline_exports ? kind > CORE_TAG : kind != 0x12)
            return link_fail(l, ERR_INVALID, "core sort 0x%02x is not allowed here", kind);
        args[i].kind = (core_kind)kind;
    }
    o->core_args = args;
    return true;
}

static bool core_instance_add(linker *l, scope *s, const core_exports *x)
{
    if (s->core_instances.n + s->instances.n >= COMPONENT_INSTANCES_MAX)
        return link_fail(l, ERR_LIMIT, "more than %d instances", COMPONENT_INSTANCES_MAX);
    return vec_push(l->a, &s->core_instances, x) || link_oom(l);
}

/* Binary.md "Instance Definitions": core:inlineexport. */
static bool core_inline(linker *l, reader *r, scope *s)
{
    op o = {.kind = OP_CORE_INLINE};
    core_exports *x = ARENA_NEW(l->a, core_exports);
    if (!x)
        return link_oom(l);
    if (!core_args_read(l, r, true, &o))
        return false;
    for (uint32_t i = 0; i < o.args_count; i++) {
        const core_extern *e;
        if (!scope_core(l, s, o.core_args[i].kind, o.core_args[i].index, &e) ||
            !core_export_add(l, x, o.core_args[i].name, *e))
            return false;
    }
    return core_instance_add(l, s, x) && scope_op(l, s, &o);
}

/* Explainer.md "Instance Definitions": every import of the module has its argument. */
static bool core_imports_check(linker *l, const module_type *m, const table *args)
{
    for (uint32_t i = 0; i < m->imports.n; i++) {
        const core_import *want = &m->imports.p[i];
        uint64_t steps = 1;
        const core_exports *given = table_get(args, want->module, &steps);
        if (!given)
            return link_fail(l, ERR_INVALID, "missing module instantiation argument named '%.*s'",
                             STR(want->module));
        const core_export *x = core_export_find(l, given, want->name);
        if (!x)
            return link_fail(l, ERR_INVALID,
                             "module instantiation argument '%.*s' does not export "
                             "an item named '%.*s'",
                             STR(want->module), STR(want->name));
        if (!link_work(l, steps) || !core_extern_subtype(l, &x->type, &want->type))
            return err_wrap(l->e,
                            "type mismatch for export '%.*s' of module instantiation argument "
                            "'%.*s'",
                            STR(want->name), STR(want->module));
    }
    return true;
}

/* Binary.md "Instance Definitions": core:instance. */
bool core_instance_read(linker *l, reader *r, scope *s)
{
    op o = {.kind = OP_CORE_INSTANTIATE};
    table args = {0};
    entity m;
    uint8_t form;
    if (!reader_u8(r, &form, l->e))
        return false;
    if (form == 0x01)
        return core_inline(l, r, s);
    if (form != 0x00)
        return link_fail(l, ERR_INVALID, "malformed core instance 0x%02x", form);
    if (!reader_u32(r, &o.index, l->e) || !scope_entity(l, s, SORT_MODULE, o.index, &m) ||
        !core_args_read(l, r, false, &o))
        return false;
    for (uint32_t i = 0; i < o.args_count; i++) {
        const op_core_arg *arg = &o.core_args[i];
        const void **at;
        if (arg->index >= s->core_instances.n)
            return link_fail(l, ERR_INVALID,
                             "unknown core instance %u: core instance index out of "
                             "bounds",
                             arg->index);
        if (!link_table_at(l, &args, arg->name, &at))
            return false;
        if (*at)
            return link_fail(l, ERR_INVALID, "duplicate module instantiation argument named '%.*s'",
                             STR(arg->name));
        *at = s->core_instances.p[arg->index];
    }
    return core_imports_check(l, m.module, &args) && core_instance_add(l, s, &m.module->exports) &&
           scope_op(l, s, &o);
}

/* Binary.md "Instance Definitions": instantiatearg.
 * (with "name" (sort index)) or (export "name" (sort index)). */
static bool arg_read(linker *l, reader *r, scope *s, op_arg *arg, entity *ret)
{
    if (!sort_read(l, r, &arg->kind) || !reader_u32(r, &arg->index, l->e) ||
        !scope_entity(l, s, arg->kind, arg->index, ret))
        return false;
    arg->type = arg->kind == SORT_TYPE ? ret->type : NULL;
    return true;
}

static bool inline_bindings(linker *l, shape *sh, str name, const entity *e)
{
    if (e->kind == SORT_TYPE && e->type->kind == CTYPE_RESOURCE) {
        binding b = {e->type->resource, path_cons(l, name, NULL)};
        if (!b.at)
            return false;
        return vec_push(l->a, &sh->exported, b) || link_oom(l);
    }
    if (e->kind != SORT_INSTANCE)
        return true;
    const binding_list *list = &e->type->shape->exported;
    for (uint32_t i = 0; i < list->n; i++) {
        binding b = {list->p[i].r, path_cons(l, name, list->p[i].at)};
        if (!b.at || !link_work(l, 1))
            return false;
        if (!vec_push(l->a, &sh->exported, b))
            return link_oom(l);
    }
    return true;
}

static bool instance_add(linker *l, scope *s, const shape *sh, const op *o)
{
    entity e = {.kind = SORT_INSTANCE, .type = ctype_new(l, CTYPE_INSTANCE)};
    if (!e.type)
        return false;
    e.type->shape = sh;
    if (s->core_instances.n + s->instances.n >= COMPONENT_INSTANCES_MAX)
        return link_fail(l, ERR_LIMIT, "more than %d instances", COMPONENT_INSTANCES_MAX);
    return ctype_finish(l, e.type) && scope_add(l, s, &e) && scope_op(l, s, o);
}

/* Binary.md "Instance Definitions": inlineexport. */
static bool instance_inline(linker *l, reader *r, scope *s)
{
    op o = {.kind = OP_INLINE};
    shape *sh = ARENA_NEW(l->a, shape);
    table keys = {0};
    if (!reader_count(r, ARGS_MAX, "exports", &o.args_count, l->e))
        return false;
    op_arg *args = ARENA_ARRAY(l->a, op_arg, o.args_count);
    if (!sh || !args)
        return link_oom(l);
    for (uint32_t i = 0; i < o.args_count; i++) {
        attributed_name name;
        entity e;
        if (!extern_name_read(l, r, &name) || !arg_read(l, r, s, &args[i], &e) ||
            !inline_bindings(l, sh, name.name, &e) ||
            !extern_name_check(l, NULL, EXTERN_EXPORT, &name, &e, &keys) ||
            !item_add(l, &sh->exports, name.name, e))
            return false;
        args[i].name = name.name;
    }
    o.args = args;
    return instance_add(l, s, sh, &o);
}

/* The resources that the component defines are fresh in s. */
static bool define_resources(linker *l, scope *s, const shape *component, subst *map, op *o)
{
    op_resource *list = ARENA_ARRAY(l->a, op_resource, component->defined.n);
    if (!list)
        return link_oom(l);
    for (uint32_t i = 0; i < component->defined.n; i++) {
        const binding *b = &component->defined.p[i];
        rsrc *r = rsrc_new(l, s, true);
        if (!r || !subst_put(l, map, b->r, r))
            return false;
        list[i] = (op_resource){scope_slot(s, r), b->at};
        if (!vec_push(l->a, &s->defined, r))
            return link_oom(l);
    }
    o->resources = list;
    o->resources_count = component->defined.n;
    return true;
}

static bool exports_rewrite(linker *l, const shape *component, const subst *map, shape *sh)
{
    sh->exports = component->exports;
    sh->exports.items.p = arena_grow(l->a, NULL, 0, component->exports.items.n, sizeof(item));
    if (!sh->exports.items.p)
        return link_oom(l);
    for (uint32_t i = 0; i < component->exports.items.n; i++) {
        item *it = &sh->exports.items.p[i];
        *it = component->exports.items.p[i];
        it->e.fresh = false;
        if (!subst_entity(l, map, &it->e))
            return false;
    }
    for (uint32_t i = 0; i < component->exported.n; i++) {
        binding b = component->exported.p[i];
        b.r = subst_resource(map, b.r);
        if (!vec_push(l->a, &sh->exported, b))
            return link_oom(l);
    }
    return true;
}

/* Explainer.md "Instance Definitions", "Type Checking": instantiation substitutes resources. */
bool instance_instantiate(linker *l, scope *s, const shape *component, const item_list *args, op *o)
{
    subst map;
    shape *sh = ARENA_NEW(l->a, shape);
    if (!sh)
        return link_oom(l);
    bool ok = items_satisfy(l, args, component, true, &map) && subst_again(l, &map) &&
              define_resources(l, s, component, &map, o) &&
              items_rename(l, args, &component->imports, &map) &&
              exports_rewrite(l, component, &map, sh);
    subst_end(&map);
    return ok && instance_add(l, s, sh, o);
}

/* Binary.md "Instance Definitions": instance. */
bool instance_read(linker *l, reader *r, scope *s)
{
    op o = {.kind = OP_INSTANTIATE};
    item_list list = {0};
    entity component;
    uint8_t form;
    if (!reader_u8(r, &form, l->e))
        return false;
    if (form == 0x01)
        return instance_inline(l, r, s);
    if (form != 0x00)
        return link_fail(l, ERR_INVALID, "malformed instance 0x%02x", form);
    if (!reader_u32(r, &o.index, l->e) ||
        !scope_entity(l, s, SORT_COMPONENT, o.index, &component) ||
        !reader_count(r, ARGS_MAX, "arguments", &o.args_count, l->e))
        return false;
    op_arg *args = ARENA_ARRAY(l->a, op_arg, o.args_count);
    if (!args)
        return link_oom(l);
    for (uint32_t i = 0; i < o.args_count; i++) {
        entity e;
        if (!reader_name(r, &args[i].name, l->e) || !arg_read(l, r, s, &args[i], &e))
            return false;
        if (!item_add(l, &list, args[i].name, e))
            return err_wrap(l->e, "instantiation argument");
    }
    o.args = args;
    return instance_instantiate(l, s, component.type->shape, &list, &o);
}
