/* composition_link: the outermost component of a composition, made as what the check would have
 * made of its bytes: operations and types (def.h).
 *
 *     component k                      for each part: its definition, read and checked alone
 *     import "wasi:io/streams@0.2.0"   what a part wants of the host, unless an earlier part
 *                                      imported that already: then what it wants more is added
 *     instance                         of the dependencies, then of the main component, which gets
 *                                      exports of theirs
 *     export                           whatever the main component exports
 *
 * The only new thing is the union of what parts want of one interface. Parts see different pieces
 * of it (wit-component leaves out what is not used), in other versions of one track, and yet a
 * stream of one must be a stream of the other. So the first part's import is the root's; the
 * resources that a part binds in it are replaced by the root's; and what is not there yet is added
 * to the root's type. Types need no order in memory, so that an interface may come to mention
 * another that is imported after it (eval.c makes the host's resources first).
 *
 * A part is read without a scope around it: it can't reach the other parts by outer aliases. */
#include "component/composition.h"

#include "component/check.h"
#include "component/eval.h"

typedef struct {
    str name;
    sort kind;
    uint32_t index; /* in the root's index space of its sort */
    ctype *type;
    uint32_t op;
} host_import;

/* What part k became. */
typedef struct {
    const composition_part *p;
    const shape *type;
    uint32_t component, instance;
    const shape *exports; /* of the instance */
} part;

typedef struct {
    linker *l;
    scope *root;
    part *parts;
    uint32_t parts_count;
    VEC(host_import) imports;
} composer;

static uint32_t space_count(const scope *s, sort kind)
{
    return kind == SORT_FUNC       ? s->funcs.n
           : kind == SORT_TYPE     ? s->types.n
           : kind == SORT_INSTANCE ? s->instances.n
                                   : s->components.n;
}

/* --- parts ------------------------------------------------------------------------------------ */

static bool part_read(composer *c, part *p)
{
    linker *l = c->l;
    op o = {.kind = OP_COMPONENT};
    entity e = {.kind = SORT_COMPONENT, .type = ctype_new(l, CTYPE_COMPONENT)};
    scope *s = scope_new(l, SCOPE_COMPONENT, NULL);
    l->file = p->p->component;
    l->at = 0;
    reader r = reader_over(l->file);
    if (!s || !e.type)
        return false;
    s->depth = 1;
    if (l->file.n > COMPONENT_BYTES_MAX)
        return err_set(l->e, ERR_LIMIT, "%zu bytes; at most %zu are allowed", l->file.n,
                       (size_t)COMPONENT_BYTES_MAX);
    if (!bytes_are_component(l->file))
        return err_set(l->e, ERR_INVALID, "it is not a component");
    if (!reader_skip(&r, 8, l->e) || !component_read(l, r, s) ||
        !scope_finish(l, s, &e.type->shape))
        return false;
    o.def = s->def;
    p->type = e.type->shape;
    p->component = c->root->components.n;
    return ctype_finish(l, e.type) && scope_add(l, c->root, &e) && scope_op(l, c->root, &o);
}

/* --- what parts want of the host -------------------------------------------------------------- */

static host_import *import_find(composer *c, str name, sort kind)
{
    for (uint32_t i = 0; i < c->imports.n; i++) {
        host_import *h = &c->imports.p[i];
        c->l->work++;
        if (h->kind == kind && (str_eq(h->name, name) || interface_compatible(h->name, name)))
            return h;
    }
    return NULL;
}

/* The resource at a path in a type, or NULL. */
static rsrc *resource_in(linker *l, const ctype *t, const path *at)
{
    for (; at && t && t->kind == CTYPE_INSTANCE; at = at->next) {
        const item *it = item_find(l, &t->shape->exports, at->name);
        t = it && (it->e.kind == SORT_TYPE || it->e.kind == SORT_INSTANCE) ? it->e.type : NULL;
    }
    return !at && t && t->kind == CTYPE_RESOURCE ? t->resource : NULL;
}

/* The resources that a part binds in import `name` become those of `given`; where that has none
 * and `o` is the root's import, new ones of the root. */
static bool resources_map(composer *c, const part *p, str name, const ctype *given, op *o,
                          subst *map)
{
    linker *l = c->l;
    for (uint32_t i = 0; i < p->type->imported.n; i++) {
        const binding *b = &p->type->imported.p[i];
        if (!link_work(l, 1))
            return false;
        if (!str_eq(b->at->name, name))
            continue;
        rsrc *r = given ? resource_in(l, given, b->at->next) : NULL;
        if (!r && o) {
            op_resource *all = arena_grow(l->a, (void *)o->resources, o->resources_count,
                                          o->resources_count + 1, sizeof *all);
            r = rsrc_new(l, c->root, true);
            if (!all || !r)
                return link_oom(l);
            all[o->resources_count++] = (op_resource){scope_slot(c->root, r), b->at->next};
            o->resources = all;
        }
        if (r && !subst_put(l, map, b->r, r))
            return false;
    }
    return subst_again(l, map);
}

/* An instance type that may grow. */
static bool own_shape(linker *l, entity *e)
{
    const shape *old = e->type->shape;
    shape *own = ARENA_NEW(l->a, shape);
    ctype *t = ctype_alias(l, e->type);
    if (!own || !t)
        return link_oom(l);
    own->exported = old->exported;
    for (uint32_t i = 0; i < old->exports.items.n; i++)
        if (!item_add(l, &own->exports, old->exports.items.p[i].name, old->exports.items.p[i].e))
            return false;
    t->shape = own;
    e->type = t;
    return ctype_finish(l, t);
}

static bool import_new(composer *c, const part *p, const item *it, subst *map, entity *ret)
{
    linker *l = c->l;
    scope *root = c->root;
    op o = {.kind = OP_IMPORT, .name = it->name, .sort = it->e.kind};
    entity e = it->e;
    if (!resources_map(c, p, it->name, NULL, &o, map) || !subst_entity(l, map, &e) ||
        (e.kind == SORT_INSTANCE && !own_shape(l, &e)))
        return false;
    o.entity = e;
    host_import h = {it->name, e.kind, space_count(root, e.kind), e.type, root->def->ops.n};
    *ret = e;
    return (vec_push(l->a, &c->imports, h) || link_oom(l)) && scope_add(l, root, &e) &&
           scope_op(l, root, &o);
}

/* Adds what this part wants of an interface and no earlier one wanted. */
static bool import_merge(composer *c, const part *p, const item *it, host_import *h, subst *map,
                         entity *ret)
{
    linker *l = c->l;
    op *o = &c->root->def->ops.p[h->op];
    entity e = it->e;
    *ret = (entity){.kind = h->kind, .type = h->type};
    if (!resources_map(c, p, it->name, h->type, h->kind == SORT_INSTANCE ? o : NULL, map) ||
        !subst_entity(l, map, &e))
        return false;
    if (h->kind != SORT_INSTANCE)
        return true;
    shape *own = (shape *)h->type->shape;
    for (uint32_t i = 0; i < e.type->shape->exports.items.n; i++) {
        const item *x = &e.type->shape->exports.items.p[i];
        if (!link_work(l, 1))
            return false;
        if (!item_find(l, &own->exports, x->name) && !item_add(l, &own->exports, x->name, x->e))
            return false;
    }
    return ctype_finish(l, h->type);
}

static bool import_of_host(composer *c, const part *p, const item *it, subst *map, op_arg *arg,
                           entity *ret)
{
    host_import *h = import_find(c, it->name, it->e.kind);
    bool ok = h ? import_merge(c, p, it, h, map, ret) : import_new(c, p, it, map, ret);
    h = import_find(c, it->name, it->e.kind);
    if (ok)
        *arg = (op_arg){it->name, it->e.kind, h->index, it->e.kind == SORT_TYPE ? ret->type : NULL};
    return ok;
}

/* --- what the main component gets of its dependencies ----------------------------------------- */

/* "a, b, c" of names, those of WASI left out. */
static str names_list(linker *l, const item_list *list)
{
    str text = S("nothing");
    bool any = false;
    for (uint32_t i = 0; i < list->items.n && text.n < 300; i++) {
        str name = list->items.p[i].name;
        if (str_starts(name, S("wasi:")))
            continue;
        text = any ? arena_printf(l->a, "%.*s, '%.*s'", STR(text), STR(name))
                   : arena_printf(l->a, "'%.*s'", STR(name));
        any = true;
    }
    return text;
}

/* The dependency that satisfies an import of the main component; NULL: the host. */
static bool dependency_of(composer *c, str import, part **ret)
{
    *ret = NULL;
    for (uint32_t k = 1; k < c->parts_count; k++) {
        part *p = &c->parts[k];
        if (!link_work(c->l, 1))
            return false;
        if (!composition_matches(p->p->name, import))
            continue;
        if (*ret)
            return err_set(c->l->e, ERR_INVALID,
                           "import '%.*s' is satisfied by two dependencies, '%.*s' and '%.*s'; "
                           "name the interface or the version that you mean",
                           STR(import), STR((*ret)->p->name), STR(p->p->name));
        *ret = p;
    }
    return true;
}

/* Every dependency stands for an import. */
static bool dependencies_used(composer *c)
{
    const item_list *imports = &c->parts[0].type->imports;
    for (uint32_t k = 1; k < c->parts_count; k++) {
        bool used = false;
        for (uint32_t i = 0; i < imports->items.n && !used; i++)
            used = composition_matches(c->parts[k].p->name, imports->items.p[i].name);
        if (!used)
            return err_set(c->l->e, ERR_INVALID,
                           "dependency '%.*s' matches no import of the component, which imports "
                           "%.*s; name one of these, or leave the dependency out",
                           STR(c->parts[k].p->name), STR(names_list(c->l, imports)));
    }
    return true;
}

static const item *export_find(linker *l, const part *p, str import)
{
    const item_list *list = &p->exports->exports;
    if (p->p->export_name.n)
        return item_find(l, list, p->p->export_name);
    const item *found = item_find(l, list, import);
    for (uint32_t i = 0; !found && i < list->items.n; i++)
        if (interface_compatible(list->items.p[i].name, import))
            found = &list->items.p[i];
    return found;
}

/* An export of an instance, in the root's index spaces. */
static bool export_alias(composer *c, uint32_t instance, const item *x, entity *ret,
                         uint32_t *ret_index)
{
    op o = {.kind = OP_ALIAS_EXPORT, .sort = x->e.kind, .index = instance, .name = x->name};
    *ret = x->e;
    ret->fresh = false;
    *ret_index = space_count(c->root, x->e.kind);
    return scope_add(c->l, c->root, ret) && (x->e.kind == SORT_TYPE || scope_op(c->l, c->root, &o));
}

static bool import_of_part(composer *c, const part *main, const part *p, const item *it, subst *map,
                           op_arg *arg, entity *ret)
{
    linker *l = c->l;
    const item *x = export_find(l, p, it->name);
    if (!x) {
        str want = p->p->export_name.n ? p->p->export_name : it->name;
        return err_set(l->e, ERR_INVALID,
                       "dependency '%.*s' does not export '%.*s', which the import '%.*s' needs; "
                       "it exports %.*s",
                       STR(p->p->name), STR(want), STR(it->name),
                       STR(names_list(l, &p->exports->exports)));
    }
    *arg = (op_arg){.name = it->name, .kind = x->e.kind};
    if (!export_alias(c, p->instance, x, ret, &arg->index) ||
        !resources_map(c, main, it->name, ret->type, NULL, map))
        return false;
    arg->type = x->e.kind == SORT_TYPE ? ret->type : NULL;
    entity want = it->e;
    return (subst_entity(l, map, &want) && entity_subtype(l, ret, &want)) ||
           err_wrap(l->e, "dependency '%.*s' does not fit the import '%.*s'", STR(p->p->name),
                    STR(it->name));
}

/* --- instances -------------------------------------------------------------------------------- */

static bool args_find(composer *c, const part *p, subst *map, op_arg *args, item_list *list)
{
    for (uint32_t i = 0; i < p->type->imports.items.n; i++) {
        const item *it = &p->type->imports.items.p[i];
        part *by = NULL;
        entity given;
        if (it->e.kind == SORT_MODULE || it->e.kind == SORT_COMPONENT)
            return err_set(c->l->e, ERR_UNSUPPORTED, "import '%.*s' is a %s", STR(it->name),
                           sort_name(it->e.kind));
        if (p == c->parts && !dependency_of(c, it->name, &by))
            return false;
        bool ok = by ? import_of_part(c, p, by, it, map, &args[i], &given)
                     : import_of_host(c, p, it, map, &args[i], &given);
        if (!ok || !item_add(c->l, list, it->name, given))
            return false;
    }
    return true;
}

static bool part_instantiate(composer *c, part *p)
{
    linker *l = c->l;
    subst map;
    item_list list = {0};
    uint32_t n = p->type->imports.items.n;
    op_arg *args = ARENA_ARRAY(l->a, op_arg, n);
    op o = {.kind = OP_INSTANTIATE,
            .name = p->p->name.n ? p->p->name : S(""),
            .index = p->component,
            .count = p->p->withheld,
            .args = args,
            .args_count = n};
    if (!args)
        return link_oom(l);
    bool ok = subst_begin(l, &map) && args_find(c, p, &map, args, &list);
    subst_end(&map);
    if (!ok)
        return false;
    p->instance = c->root->instances.n;
    if (!instance_instantiate(l, c->root, p->type, &list, &o))
        return false;
    p->exports = c->root->instances.p[p->instance]->shape;
    return true;
}

static bool exports_make(composer *c)
{
    const item_list *list = &c->parts[0].exports->exports;
    for (uint32_t i = 0; i < list->items.n; i++) {
        const item *x = &list->items.p[i];
        op o = {.kind = OP_EXPORT, .name = x->name, .sort = x->e.kind};
        if (!export_alias(c, c->parts[0].instance, x, &o.entity, &o.index) ||
            !scope_op(c->l, c->root, &o) || !scope_add(c->l, c->root, &o.entity))
            return false;
    }
    return true;
}

bool composition_link(arena *a, const composition_part *parts, size_t n, link_plan *ret, err *e)
{
    linker l = {.a = a, .e = e};
    composer c = {.l = &l, .parts_count = (uint32_t)n};
    c.root = scope_new(&l, SCOPE_COMPONENT, NULL);
    c.parts = ARENA_ARRAY(a, part, n);
    if (!c.root || !c.parts)
        return err_no_memory(e);
    for (uint32_t k = 0; k < n; k++) {
        c.parts[k].p = &parts[k];
        if (!part_read(&c, &c.parts[k]))
            return k ? err_wrap(e, "dependency '%.*s'", STR(parts[k].name)) : false;
    }
    if (!dependencies_used(&c))
        return false;
    for (uint32_t k = 1; k < n; k++)
        if (!part_instantiate(&c, &c.parts[k]))
            return err_wrap(e, "dependency '%.*s'", STR(parts[k].name));
    return part_instantiate(&c, &c.parts[0]) && exports_make(&c) &&
           component_eval(&l, c.root->def, ret);
}
