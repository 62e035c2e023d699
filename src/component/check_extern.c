/* Imports, exports and aliases (Binary.md "Import and Export Definitions", "Alias Definitions").
 *
 * These three move items between scopes. An import or export brings a name, which scope.c judges,
 * and a type; an export may be ascribed a type that says less than its own. An alias takes an item
 * out of an instance, out of a core instance, or from an enclosing scope; types that mention
 * resources may not cross the border of a component that way, since each instance of the component
 * outside has resources of its own. Whatever exists at run time also becomes an operation. */
#include "component/check.h"

enum { ATTRIBUTES_MAX = 3 };

/* Binary.md "Import and Export Definitions": attributes of names. */
static bool attribute_read(linker *l, reader *r, attributed_name *n, uint32_t *seen)
{
    uint8_t kind;
    str value;
    if (!reader_u8(r, &kind, l->e) || !reader_name(r, &value, l->e))
        return false;
    if (kind > 2)
        return link_fail(l, ERR_INVALID, "malformed name attribute 0x%02x", kind);
    if (*seen & 1u << kind)
        return link_fail(l, ERR_INVALID, "duplicate name attribute");
    *seen |= 1u << kind;
    if (kind == 0)
        n->implements = value;
    if (kind == 1)
        n->version_suffix = value;
    return true;
}

/* Binary.md "Import and Export Definitions": importname', exportname'. */
bool extern_name_read(linker *l, reader *r, attributed_name *ret)
{
    uint8_t form;
    uint32_t count, seen = 0;
    *ret = (attributed_name){0};
    if (!reader_u8(r, &form, l->e))
        return false;
    if (form > 2)
        return link_fail(l, ERR_INVALID, "malformed name form 0x%02x", form);
    if (!reader_name(r, &ret->name, l->e))
        return false;
    if (form < 2)
        return true;
    if (!reader_count(r, ATTRIBUTES_MAX, "name attributes", &count, l->e))
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!attribute_read(l, r, ret, &seen))
            return false;
    return true;
}

static bool value_unsupported(linker *l)
{
    return link_fail(l, ERR_UNSUPPORTED,
                     "component-level values (the 'values' feature) are not "
                     "supported; remove the value import, export or start");
}

/* Binary.md "Instance Definitions": sort. */
bool sort_read(linker *l, reader *r, sort *ret)
{
    uint8_t byte, core;
    if (!reader_u8(r, &byte, l->e))
        return false;
    switch (byte) {
    case 0x00:
        if (!reader_u8(r, &core, l->e))
            return false;
        if (core != 0x11)
            return link_fail(l, ERR_INVALID, "core sort 0x%02x is not allowed here", core);
        *ret = SORT_MODULE;
        return true;
    case 0x01:
        *ret = SORT_FUNC;
        return true;
    case 0x02:
        return value_unsupported(l);
    case 0x03:
        *ret = SORT_TYPE;
        return true;
    case 0x04:
        *ret = SORT_COMPONENT;
        return true;
    case 0x05:
        *ret = SORT_INSTANCE;
        return true;
    default:
        return link_fail(l, ERR_INVALID, "malformed sort 0x%02x", byte);
    }
}

/* Binary.md "Type Definitions": typebound. */
static bool type_bound_read(linker *l, reader *r, scope *s, entity *ret)
{
    uint8_t bound;
    uint32_t i;
    ctype *t;
    if (!reader_u8(r, &bound, l->e))
        return false;
    if (bound == 0x01) {
        ret->fresh = true;
        ret->type = ctype_new(l, CTYPE_RESOURCE);
        if (!ret->type)
            return false;
        ret->type->open = true;
        ret->type->resource = rsrc_new(l, s, s->kind == SCOPE_COMPONENT);
        return ret->type->resource != NULL;
    }
    if (bound != 0x00)
        return link_fail(l, ERR_INVALID, "malformed type bound 0x%02x", bound);
    if (!reader_u32(r, &i, l->e) || !scope_type(l, s, i, &t))
        return false;
    ret->type = ctype_alias(l, t);
    return ret->type != NULL;
}

/* Binary.md "Type Definitions": externdesc. */
bool extern_type_read(linker *l, reader *r, scope *s, entity *ret)
{
    sort kind;
    uint32_t i, id;
    if (!sort_read(l, r, &kind))
        return false;
    *ret = (entity){.kind = kind};
    if (kind == SORT_TYPE)
        return type_bound_read(l, r, s, ret);
    if (!reader_u32(r, &i, l->e))
        return false;
    switch (kind) {
    case SORT_MODULE:
        if (!scope_core_type(l, s, i, &ret->module, &id))
            return false;
        return ret->module ||
               link_fail(l, ERR_INVALID, "core type index %u is not a module type", i);
    case SORT_FUNC:
        return scope_type_of(l, s, i, CTYPE_FUNC, &ret->type);
    case SORT_COMPONENT:
        return scope_type_of(l, s, i, CTYPE_COMPONENT, &ret->type);
    default:
        return scope_type_of(l, s, i, CTYPE_INSTANCE, &ret->type);
    }
}

/* The slots of the resources that were imported since `before`. */
static bool import_op(linker *l, scope *s, const attributed_name *name, const entity *e,
                      uint32_t before)
{
    op o = {.kind = OP_IMPORT, .name = name->name, .sort = e->kind, .entity = *e};
    o.resources_count = s->imported.n - before;
    op_resource *list = ARENA_ARRAY(l->a, op_resource, o.resources_count);
    if (!list)
        return link_oom(l);
    for (uint32_t i = 0; i < o.resources_count; i++) {
        binding *b = &s->imported.p[before + i];
        list[i] = (op_resource){scope_slot(s, b->r), b->at->next};
    }
    o.resources = list;
    return scope_op(l, s, &o);
}

/* Binary.md "Import and Export Definitions": import. */
bool import_read(linker *l, reader *r, scope *s)
{
    attributed_name name;
    entity e;
    uint32_t before = s->imported.n;
    if (!extern_name_read(l, r, &name) || !extern_type_read(l, r, s, &e) ||
        !scope_extern(l, s, EXTERN_IMPORT, &name, &e))
        return false;
    return s->kind != SCOPE_COMPONENT || import_op(l, s, &name, &e, before);
}

/* Binary.md "Type Definitions": exportdecl. */
bool export_decl_read(linker *l, reader *r, scope *s)
{
    attributed_name name;
    entity e;
    return extern_name_read(l, r, &name) && extern_type_read(l, r, s, &e) &&
           scope_extern(l, s, EXTERN_EXPORT, &name, &e);
}

/* Binary.md "Import and Export Definitions": export. */
bool export_read(linker *l, reader *r, scope *s)
{
    attributed_name name;
    op o = {.kind = OP_EXPORT};
    entity e, ascribed;
    uint8_t has_type;
    if (!extern_name_read(l, r, &name) || !sort_read(l, r, &o.sort) ||
        !reader_u32(r, &o.index, l->e) || !scope_entity(l, s, o.sort, o.index, &e) ||
        !reader_u8(r, &has_type, l->e))
        return false;
    if (e.kind == SORT_TYPE && !(e.type = ctype_alias(l, e.type)))
        return false;
    if (has_type > 1)
        return link_fail(l, ERR_INVALID, "malformed optional export type");
    if (has_type) {
        if (!extern_type_read(l, r, s, &ascribed))
            return false;
        if (!entity_subtype(l, &e, &ascribed))
            return err_wrap(l->e,
                            "ascribed type of export '%.*s' is not compatible with item's type",
                            STR(name.name));
        e = ascribed;
    }
    o.name = name.name;
    if (!scope_extern(l, s, EXTERN_EXPORT, &name, &e))
        return false;
    o.entity = e;
    return scope_op(l, s, &o);
}

/* Explainer.md "Alias Definitions": export. */
static bool alias_export(linker *l, reader *r, scope *s, sort kind)
{
    op o = {.kind = OP_ALIAS_EXPORT, .sort = kind};
    entity instance;
    if (!reader_u32(r, &o.index, l->e) || !reader_name(r, &o.name, l->e) ||
        !scope_entity(l, s, SORT_INSTANCE, o.index, &instance))
        return false;
    const item *it = item_find(l, &instance.type->shape->exports, o.name);
    if (!it)
        return link_fail(l, ERR_INVALID, "instance %u has no export named '%.*s'", o.index,
                         STR(o.name));
    if (it->e.kind != kind)
        return link_fail(l, ERR_INVALID, "export '%.*s' for instance %u is not a %s", STR(o.name),
                         o.index, sort_name(kind));
    entity e = it->e;
    e.fresh = false;
    return scope_add(l, s, &e) && (kind == SORT_TYPE || scope_op(l, s, &o));
}

/* Explainer.md "Alias Definitions": core export. */
static bool alias_core(linker *l, reader *r, scope *s, uint8_t core_sort)
{
    op o = {.kind = OP_ALIAS_CORE, .core = (core_kind)core_sort};
    if (core_sort > CORE_TAG)
        return link_fail(l, ERR_INVALID, "core sort 0x%02x cannot be aliased", core_sort);
    if (!reader_u32(r, &o.index, l->e) || !reader_name(r, &o.name, l->e))
        return false;
    if (o.index >= s->core_instances.n)
        return link_fail(l, ERR_INVALID,
                         "unknown core instance %u: core instance index out of "
                         "bounds",
                         o.index);
    const core_export *x = core_export_find(l, s->core_instances.p[o.index], o.name);
    if (!x)
        return link_fail(l, ERR_INVALID, "core instance %u has no export named '%.*s'", o.index,
                         STR(o.name));
    if (x->type.kind != o.core)
        return link_fail(l, ERR_INVALID, "export '%.*s' for core instance %u is not a %s",
                         STR(o.name), o.index, core_kind_name(o.core));
    if (s->core[o.core].n >= COMPONENT_ITEMS_MAX)
        return link_fail(l, ERR_LIMIT, "more than %d %ss", COMPONENT_ITEMS_MAX,
                         core_kind_name(o.core));
    if (!vec_push(l->a, &s->core[o.core], x->type))
        return link_oom(l);
    return scope_op(l, s, &o);
}

static bool outer_type(linker *l, scope *s, scope *target, uint32_t index)
{
    entity e;
    bool crosses = false, is_open;
    if (!scope_entity(l, target, SORT_TYPE, index, &e))
        return false;
    for (scope *at = s; at != target; at = at->parent)
        crosses |= at->kind == SCOPE_COMPONENT;
    if (crosses) {
        if (!ctype_has_free(l, e.type, &is_open))
            return false;
        if (is_open)
            return link_fail(l, ERR_INVALID,
                             "cannot alias outer type which transitively refers to "
                             "resources not defined in the current component");
    }
    return scope_add(l, s, &e);
}

/* Explainer.md "Alias Definitions": outer. */
static bool alias_outer(linker *l, reader *r, scope *s, uint8_t byte, uint8_t core_sort)
{
    op o = {.kind = OP_ALIAS_OUTER};
    entity e;
    if (!reader_u32(r, &o.count, l->e) || !reader_u32(r, &o.index, l->e))
        return false;
    scope *target = scope_outer(l, s, o.count);
    if (!target)
        return false;
    if (byte == 0x03)
        return outer_type(l, s, target, o.index);
    if (byte == 0x00 && core_sort == 0x10) {
        const module_type *m;
        uint32_t id;
        return scope_core_type(l, target, o.index, &m, &id) && scope_core_type_add(l, s, m, id);
    }
    if (byte != 0x04 && !(byte == 0x00 && core_sort == 0x11))
        return link_fail(l, ERR_INVALID, "sort 0x%02x cannot be aliased from an outer scope", byte);
    o.sort = byte == 0x04 ? SORT_COMPONENT : SORT_MODULE;
    return scope_entity(l, target, o.sort, o.index, &e) && scope_add(l, s, &e) &&
           scope_op(l, s, &o);
}

/* Binary.md "Alias Definitions": alias. */
bool alias_read(linker *l, reader *r, scope *s)
{
    uint8_t byte, core_sort = 0xff, target;
    bool in_type = s->kind != SCOPE_COMPONENT;
    if (!reader_u8(r, &byte, l->e) || (byte == 0 && !reader_u8(r, &core_sort, l->e)) ||
        !reader_u8(r, &target, l->e))
        return false;
    bool allowed = !in_type || (target == 0 && (byte == 0x03 || byte == 0x05)) ||
                   (target == 2 && (byte == 0x03 || (byte == 0 && core_sort == 0x10)));
    if (!allowed)
        return link_fail(l, ERR_INVALID,
                         "aliases in a component or instance type may only refer to "
                         "types or instances");
    static const sort sorts[] = {SORT_MODULE, SORT_FUNC,      SORT_TYPE,
                                 SORT_TYPE,   SORT_COMPONENT, SORT_INSTANCE};
    switch (target) {
    case 0x00:
        if (byte == 0x02)
            return value_unsupported(l);
        if (byte > 0x05 || (byte == 0 && core_sort != 0x11))
            return link_fail(l, ERR_INVALID, "malformed alias sort 0x%02x", byte);
        return alias_export(l, r, s, sorts[byte]);
    case 0x01:
        if (byte != 0)
            return link_fail(l, ERR_INVALID, "malformed alias sort 0x%02x", byte);
        return alias_core(l, r, s, core_sort);
    case 0x02:
        return alias_outer(l, r, s, byte, core_sort);
    default:
        return link_fail(l, ERR_INVALID, "malformed alias target 0x%02x", target);
    }
}
