/* Subtyping of component-level types (Explainer.md "Type Checking").
 *
 * Values and functions are compared for equality, as every implementation does today; instances may
 * export more than is wanted; components may import less and export more; modules likewise.
 * Resources are equal or not. What makes it work with abstract resources is items_satisfy: the
 * resources that the wanted signature binds are found in what is offered, by their path of names,
 * and substituted before anything is compared:
 *
 *     want: (import "r" (type R (sub resource))) (import "f" (func (param "x" (own R))))
 *     have: "r" = file, "f" = func(x: own<file>)        R := file, then compare each item */
#include "component/ctype.h"

/* Explainer.md "Type Checking": functions. */
static bool func_subtype(linker *l, const functype *a, const functype *b)
{
    if (a == b)
        return true;
    str ta = functype_text(l->a, a), tb = functype_text(l->a, b);
    return link_fail(l, ERR_INVALID, "expected %.*s, found %.*s", STR(str_head(tb, 300)),
                     STR(str_head(ta, 300)));
}

/* Explainer.md "Type Checking": value types are the same or not. */
static bool value_subtype(linker *l, const type *a, const type *b)
{
    if (a == b)
        return true;
    str ta = type_text(l->a, a), tb = type_text(l->a, b);
    return link_fail(l, ERR_INVALID, "expected %.*s, found %.*s", STR(str_head(tb, 300)),
                     STR(str_head(ta, 300)));
}

/* Explainer.md "Type Checking": instances. */
static bool instance_subtype(linker *l, const shape *a, const shape *b)
{
    if (a == b)
        return true;
    for (uint32_t i = 0; i < b->exports.items.n; i++) {
        const item *want = &b->exports.items.p[i];
        const item *have = item_find(l, &a->exports, want->name);
        if (!have)
            return link_fail(l, ERR_INVALID, "missing expected export '%.*s'", STR(want->name));
        if (!link_work(l, 1) || !entity_subtype(l, &have->e, &want->e))
            return err_wrap(l->e, "type mismatch in instance export '%.*s'", STR(want->name));
    }
    return true;
}

/* Explainer.md "Type Checking": components.
 * Given the imports of b, a must be instantiable, and then export what b exports. */
static bool component_subtype(linker *l, const shape *a, const shape *b)
{
    if (a == b)
        return true;
    subst imports, exports;
    item_list have = a->exports;
    bool ok = items_satisfy(l, &b->imports, a, true, &imports) && subst_again(l, &imports);
    have.items.p = ok ? arena_grow(l->a, NULL, 0, a->exports.items.n, sizeof(item)) : NULL;
    if (ok && !have.items.p)
        ok = link_oom(l);
    for (uint32_t i = 0; ok && i < a->exports.items.n; i++) {
        have.items.p[i] = a->exports.items.p[i];
        ok = subst_entity(l, &imports, &have.items.p[i].e);
    }
    subst_end(&imports);
    if (!ok)
        return false;
    ok = items_satisfy(l, &have, b, false, &exports);
    subst_end(&exports);
    return ok;
}

static bool ctype_subtype(linker *l, const ctype *a, const ctype *b)
{
    if (a == b)
        return true;
    if (a->kind != b->kind) {
        entity ea = {.kind = SORT_TYPE, .type = (ctype *)a},
               eb = {.kind = SORT_TYPE, .type = (ctype *)b};
        return link_fail(l, ERR_INVALID, "expected %s, found %s", entity_name(&eb),
                         entity_name(&ea));
    }
    switch (a->kind) {
    case CTYPE_VALUE:
        return value_subtype(l, a->value, b->value);
    case CTYPE_FUNC:
        return func_subtype(l, a->func, b->func);
    case CTYPE_RESOURCE:
        return a->resource == b->resource ||
               link_fail(l, ERR_INVALID, "resource types are not the same");
    case CTYPE_INSTANCE:
        return instance_subtype(l, a->shape, b->shape);
    default:
        return component_subtype(l, a->shape, b->shape);
    }
}

/* Explainer.md "Type Checking". */
bool entity_subtype(linker *l, const entity *a, const entity *b)
{
    if (a->kind != b->kind)
        return link_fail(l, ERR_INVALID, "expected %s, found %s", entity_name(b), entity_name(a));
    if (!link_work(l, 1))
        return false;
    if (a->kind == SORT_MODULE)
        return module_subtype(l, a->module, b->module);
    return ctype_subtype(l, a->type, b->type);
}

/* The resource at the end of a path of names, or NULL: the comparison will say what is wrong. */
static rsrc *resource_at(linker *l, const item_list *have, const path *at)
{
    const item *it = item_find(l, have, at->name);
    for (at = at->next; at && it; at = at->next)
        it = it->e.kind == SORT_INSTANCE ? item_find(l, &it->e.type->shape->exports, at->name)
                                         : NULL;
    bool found = it && it->e.kind == SORT_TYPE && it->e.type->kind == CTYPE_RESOURCE;
    return found ? it->e.type->resource : NULL;
}

bool items_satisfy(linker *l, const item_list *have, const shape *want, bool imports, subst *s)
{
    const item_list *list = imports ? &want->imports : &want->exports;
    const binding_list *bound = imports ? &want->imported : &want->defined;
    const char *what = imports ? "import" : "export";
    if (!subst_begin(l, s))
        return false;
    for (uint32_t i = 0; i < bound->n; i++) {
        rsrc *r = resource_at(l, have, bound->p[i].at);
        if (!link_work(l, 1) || (r && !subst_put(l, s, bound->p[i].r, r)))
            return false;
    }
    for (uint32_t i = 0; i < list->items.n; i++) {
        item wanted = list->items.p[i];
        const item *given = item_find(l, have, wanted.name);
        if (!given)
            return link_fail(l, ERR_INVALID, "missing %s named '%.*s'", what, STR(wanted.name));
        if (!subst_entity(l, s, &wanted.e) || !entity_subtype(l, &given->e, &wanted.e))
            return err_wrap(l->e, "type mismatch for %s '%.*s'", what, STR(wanted.name));
    }
    return true;
}

static bool rename_entity(linker *l, const entity *have, const entity *want, subst *s)
{
    if (!link_work(l, 1))
        return false;
    if (want->kind == SORT_TYPE && want->type != have->type)
        subst_rename(s, want->type, have->type);
    if (want->kind == SORT_INSTANCE && want->type != have->type)
        return items_rename(l, &have->type->shape->exports, &want->type->shape->exports, s);
    return true;
}

bool items_rename(linker *l, const item_list *have, const item_list *want, subst *s)
{
    for (uint32_t i = 0; i < want->items.n; i++) {
        const item *given = item_find(l, have, want->items.p[i].name);
        if (given && !rename_entity(l, &given->e, &want->items.p[i].e, s))
            return false;
    }
    return true;
}
