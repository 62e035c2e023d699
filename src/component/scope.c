/* Index spaces and the rules for what is imported and exported (Binary.md "Import and Export
 * Definitions").
 *
 * scope_extern is the heart. For an instance it first makes the resources of the instance type
 * fresh: an import of an instance type that exports `(type (sub resource))` brings a new abstract
 * resource into the component, each time it is imported. Then it checks that every record, variant,
 * enum, flags and resource that the item mentions has a name by an earlier import (for imports) or
 * import or export (for exports): `import_named` and `export_named` are the sets of nodes that
 * have. Last comes the name itself: syntax, uniqueness, and for methods the resource that they
 * belong to.
 */
#include "component/scope.h"

scope *scope_new(linker *l, scope_kind kind, scope *parent)
{
    scope *s = ARENA_NEW(l->a, scope);
    if (!s) {
        link_oom(l);
        return NULL;
    }
    s->kind = kind;
    s->parent = parent;
    if (kind == SCOPE_COMPONENT) {
        s->def = ARENA_NEW(l->a, def);
        if (!s->def) {
            link_oom(l);
            return NULL;
        }
    }
    return s;
}

/* Explainer.md "Alias Definitions": outer, counted from the inside. */
scope *scope_outer(linker *l, scope *s, uint32_t count)
{
    uint32_t n = count;
    while (s && n--)
        s = s->parent;
    if (!s)
        link_fail(l, ERR_INVALID, "invalid outer alias count of %u", count);
    return s;
}

static bool index_check(linker *l, uint32_t i, uint32_t n, const char *what)
{
    return i < n ||
           link_fail(l, ERR_INVALID, "unknown %s %u: %s index out of bounds", what, i, what);
}

/* Explainer.md "Index Spaces". */
bool scope_type(linker *l, const scope *s, uint32_t i, ctype **ret)
{
    if (!index_check(l, i, s->types.n, "type"))
        return false;
    *ret = s->types.p[i];
    return true;
}

bool scope_type_of(linker *l, const scope *s, uint32_t i, ctype_kind kind, ctype **ret)
{
    static const char *const names[] = {"defined", "function", "resource", "instance", "component"};
    if (!scope_type(l, s, i, ret))
        return false;
    return (*ret)->kind == kind ||
           link_fail(l, ERR_INVALID, "type index %u is not a %s type", i, names[kind]);
}

/* Explainer.md "Index Spaces". */
bool scope_entity(linker *l, const scope *s, sort kind, uint32_t i, entity *ret)
{
    const ctypes *space = kind == SORT_FUNC        ? &s->funcs
                          : kind == SORT_TYPE      ? &s->types
                          : kind == SORT_COMPONENT ? &s->components
                                                   : &s->instances;
    *ret = (entity){.kind = kind};
    if (kind == SORT_MODULE) {
        if (!index_check(l, i, s->modules.n, "module"))
            return false;
        ret->module = s->modules.p[i];
        return true;
    }
    if (!index_check(l, i, space->n, sort_name(kind)))
        return false;
    ret->type = space->p[i];
    return true;
}

/* Explainer.md "Index Spaces". */
bool scope_core(linker *l, const scope *s, core_kind kind, uint32_t i, const core_extern **ret)
{
    if (!index_check(l, i, s->core[kind].n, core_kind_name(kind)))
        return false;
    *ret = &s->core[kind].p[i];
    return true;
}

bool scope_core_type_add(linker *l, scope *s, const module_type *m, uint32_t type_id)
{
    if (s->core_types.n >= COMPONENT_ITEMS_MAX)
        return link_fail(l, ERR_LIMIT, "more than %d core types", COMPONENT_ITEMS_MAX);
    if (m)
        type_id = CORE_NO_TYPE;
    return (vec_push(l->a, &s->core_types, type_id) && vec_push(l->a, &s->module_types, m)) ||
           link_oom(l);
}

bool scope_core_type(linker *l, const scope *s, uint32_t i, const module_type **ret_module,
                     uint32_t *ret_type)
{
    if (!index_check(l, i, s->core_types.n, "type"))
        return false;
    *ret_module = s->module_types.p[i];
    *ret_type = s->core_types.p[i];
    return true;
}

bool scope_core_func_add(linker *l, scope *s, uint32_t func)
{
    core_extern x = {.kind = CORE_FUNC, .func = func};
    if (s->core[CORE_FUNC].n >= COMPONENT_ITEMS_MAX)
        return link_fail(l, ERR_LIMIT, "more than %d functions", COMPONENT_ITEMS_MAX);
    return vec_push(l->a, &s->core[CORE_FUNC], x) || link_oom(l);
}

bool scope_add(linker *l, scope *s, const entity *e)
{
    ctypes *space = e->kind == SORT_FUNC        ? &s->funcs
                    : e->kind == SORT_TYPE      ? &s->types
                    : e->kind == SORT_COMPONENT ? &s->components
                                                : &s->instances;
    uint32_t n = e->kind == SORT_MODULE ? s->modules.n : space->n;
    bool few = e->kind != SORT_FUNC && e->kind != SORT_TYPE;
    uint32_t max = few ? COMPONENT_INSTANCES_MAX : COMPONENT_ITEMS_MAX;
    if (n >= max)
        return link_fail(l, ERR_LIMIT, "more than %u %ss in a component", max, sort_name(e->kind));
    if (e->kind == SORT_MODULE)
        return vec_push(l->a, &s->modules, e->module) || link_oom(l);
    return vec_push(l->a, space, e->type) || link_oom(l);
}

bool scope_op(linker *l, scope *s, const op *o)
{
    if (s->kind != SCOPE_COMPONENT)
        return true;
    if (!vec_grow(l->a, &s->def->ops))
        return link_oom(l);
    s->def->ops.p[s->def->ops.n] = *o;
    s->def->ops.p[s->def->ops.n++].at = l->at;
    return true;
}

uint32_t scope_slot(scope *s, rsrc *r)
{
    if (s->def && r->slot == UINT32_MAX)
        r->slot = s->def->slots_count++;
    return r->slot;
}

const path *path_cons(linker *l, str name, const path *next)
{
    path *p = ARENA_NEW(l->a, path);
    if (!p) {
        link_oom(l);
        return NULL;
    }
    *p = (path){name, next};
    return p;
}

static bool bind(linker *l, binding_list *list, rsrc *r, str name, const path *next)
{
    binding b = {r, path_cons(l, name, next)};
    if (!b.at)
        return false;
    return vec_push(l->a, list, b) || link_oom(l);
}

/* Explainer.md "Type Checking": (sub resource) is a fresh type.
 * A new instance of an instance type: its own resources become fresh ones of s. */
static bool instance_freshen(linker *l, scope *s, extern_kind kind, str name, ctype **t)
{
    const shape *old = (*t)->shape;
    if (old->defined.n == 0)
        return true;
    subst map;
    bool ok = subst_begin(l, &map);
    for (uint32_t i = 0; ok && i < old->defined.n; i++) {
        rsrc *r = rsrc_new(l, s, s->kind == SCOPE_COMPONENT);
        ok = r && subst_put(l, &map, old->defined.p[i].r, r);
        if (ok && kind == EXTERN_IMPORT) {
            scope_slot(s, r);
            ok = bind(l, &s->imported, r, name, old->defined.p[i].at);
        } else if (ok) {
            ok = vec_push(l->a, &s->defined, r) || link_oom(l);
        }
    }
    shape open = *old;
    open.defined = (binding_list){0};
    ctype unbound = **t;
    unbound.shape = &open;
    ctype *fresh;
    /* A copy on the stack is substituted: its own resources are no longer bound in it. */
    ok = ok && subst_type(l, &map, &unbound, &fresh);
    subst_end(&map);
    if (!ok)
        return false;
    if (fresh == &unbound) /* nothing mentions them, though they are bound */
        return link_fail(l, ERR_INTERNAL,
                         "an instance type binds a resource that it does not export");
    *t = fresh;
    return true;
}

/* Explainer.md "External Visibility of Types". */
static bool named_has(linker *l, const table *set, const ctype *t)
{
    uint64_t steps = 1;
    const void *found = table_get_pointer(set, t, &steps);
    l->work += steps;
    return found != NULL;
}

static bool named_add(linker *l, table *set, const ctype *t)
{
    const void **at;
    uint64_t steps = 1;
    if (!table_at_pointer(l->a, set, t, &steps, &at))
        return link_oom(l);
    *at = t;
    return link_work(l, steps);
}

/* Are all parts of t, or t itself where it must have a name, in the set? */
static bool value_named(linker *l, const table *set, const ctype *t);

static bool parts_named(linker *l, const table *set, const ctype *t)
{
    if (!link_work(l, t->parts_count + 1))
        return false;
    for (uint32_t i = 0; i < t->parts_count; i++)
        if (t->parts[i] && !value_named(l, set, t->parts[i]))
            return false;
    return true;
}

/* Explainer.md "External Visibility of Types". */
static bool value_named(linker *l, const table *set, const ctype *t)
{
    if (t->kind == CTYPE_RESOURCE)
        return named_has(l, set, t);
    switch (t->value->kind) {
    case TYPE_RECORD:
    case TYPE_VARIANT:
    case TYPE_ENUM:
    case TYPE_FLAGS:
        return named_has(l, set, t);
    default:
        return parts_named(l, set, t);
    }
}

/* Explainer.md "External Visibility of Types". */
static bool type_named(linker *l, const table *set, const ctype *t)
{
    if (t->kind == CTYPE_VALUE || t->kind == CTYPE_FUNC)
        return parts_named(l, set, t);
    if (t->kind != CTYPE_INSTANCE)
        return true;
    for (uint32_t i = 0; i < t->shape->exports.items.n; i++) {
        const entity *e = &t->shape->exports.items.p[i].e;
        if (e->kind != SORT_MODULE && e->kind != SORT_COMPONENT && !type_named(l, set, e->type))
            return false;
    }
    return true;
}

/* Explainer.md "External Visibility of Types".
 * Checks that e mentions only named types, and gives names to the types that it exports. */
static bool entity_named(linker *l, scope *s, extern_kind kind, const entity *e)
{
    table *set = kind == EXTERN_IMPORT ? &s->import_named : &s->export_named;
    if (!link_work(l, 1))
        return false;
    switch (e->kind) {
    case SORT_TYPE:
        if (!type_named(l, set, e->type))
            return false;
        return (kind != EXTERN_IMPORT || named_add(l, &s->import_named, e->type)) &&
               named_add(l, &s->export_named, e->type);
    case SORT_INSTANCE:
        for (uint32_t i = 0; i < e->type->shape->exports.items.n; i++)
            if (!entity_named(l, s, kind, &e->type->shape->exports.items.p[i].e))
                return false;
        return true;
    case SORT_FUNC:
        return type_named(l, set, e->type);
    default:
        return true;
    }
}

/* The resource that a constructor or method belongs to, as the type says. */
static const ctype *resource_of(const ctype *t, type_kind handle)
{
    if (t && t->kind == CTYPE_VALUE && handle == TYPE_OWN && t->value->kind == TYPE_RESULT)
        t = t->parts[0];
    return t && t->kind == CTYPE_VALUE && t->value->kind == handle ? t->parts[0] : NULL;
}

/* Explainer.md "Import and Export Definitions": what [constructor], [method] and [static]
 * name. */
static const char *member_check(const scope *s, extern_kind kind, const extern_name *n,
                                const entity *e, uint64_t *steps)
{
    const table *nodes = !s                      ? NULL
                         : kind == EXTERN_IMPORT ? &s->import_resources
                                                 : &s->export_resources;
    const table *names = !s                      ? NULL
                         : kind == EXTERN_IMPORT ? &s->import_resource_names
                                                 : &s->export_resource_names;
    const ctype *r;
    if (e->kind != SORT_FUNC)
        return "it is not a func";
    const functype *f = e->type->func;
    if (n->kind == NAME_STATIC)
        return names && table_get(names, n->resource, steps)
                   ? NULL
                   : "static resource name is not known in this context";
    if (n->kind == NAME_CONSTRUCTOR) {
        if (f->async)
            return "constructor function cannot be async";
        if (!f->result)
            return "function should return one value";
        r = resource_of(e->type->parts[f->params_count], TYPE_OWN);
        if (!r)
            return "function should return `(own $T)` or `(result (own $T))`";
    } else {
        if (f->params_count == 0)
            return "function should have at least one argument";
        if (!str_eq(f->params[0].name, S("self")))
            return "function should have a first argument called `self`";
        r = resource_of(e->type->parts[0], TYPE_BORROW);
        if (!r)
            return "function should take a first argument of `(borrow $T)`";
    }
    const str *name = nodes ? table_get_pointer(nodes, r, steps) : NULL;
    if (!name)
        return "resource used in function does not have a name in this context";
    return str_eq(*name, n->resource) ? NULL : "function does not match expected resource name";
}

/* Explainer.md "Name Uniqueness". */
bool extern_name_check(linker *l, const scope *s, extern_kind kind, const attributed_name *name,
                       const entity *e, table *keys)
{
    const char *what = kind == EXTERN_IMPORT ? "import" : "export";
    extern_name n, other;
    const void **at;
    uint64_t steps = 1;
    const char *why = extern_name_parse(name->name, name->version_suffix, &n);
    if (why)
        return link_fail(l, ERR_INVALID, "%s name '%.*s' is not a valid extern name: %s", what,
                         STR(name->name), why);
    if (n.kind == NAME_DEPENDENCY)
        return link_fail(l, ERR_UNSUPPORTED,
                         "%s '%.*s' is a dependency to be fetched (locked-dep, "
                         "unlocked-dep, url, integrity), which is not supported; bundle it first",
                         what, STR(name->name));
    if (name->implements.p) {
        if (n.kind != NAME_LABEL || e->kind != SORT_INSTANCE)
            return link_fail(l, ERR_INVALID, "'implements' needs an instance with a plain name");
        if (extern_name_parse(name->implements, (str){0}, &other) || other.kind != NAME_INTERFACE)
            return link_fail(l, ERR_INVALID, "'implements' needs an interface name");
    }
    if (name->version_suffix.p && e->kind != SORT_INSTANCE)
        return link_fail(l, ERR_INVALID, "only instances can have a version suffix");
    why = n.kind >= NAME_CONSTRUCTOR && n.kind <= NAME_STATIC ? member_check(s, kind, &n, e, &steps)
                                                              : NULL;
    if (!link_work(l, steps))
        return false;
    if (why)
        return link_fail(l, ERR_INVALID, "%s name '%.*s' is not valid: %s", what, STR(name->name),
                         why);
    str key = extern_name_key(l->a, name->name, &n);
    if (!key.p)
        return link_oom(l);
    if (!link_table_at(l, keys, key, &at))
        return false;
    if (*at)
        return link_fail(l, ERR_INVALID, "%s name '%.*s' conflicts with previous name '%.*s'", what,
                         STR(name->name), STR(*(const str *)*at));
    str *keep = ARENA_NEW(l->a, str);
    if (!keep)
        return link_oom(l);
    *keep = name->name;
    *at = keep;
    return true;
}

/* A type export or import: resources get their name for methods. */
static bool resource_name(linker *l, scope *s, extern_kind kind, str name, const entity *e)
{
    table *nodes = kind == EXTERN_IMPORT ? &s->import_resources : &s->export_resources;
    table *names = kind == EXTERN_IMPORT ? &s->import_resource_names : &s->export_resource_names;
    const void **at;
    uint64_t steps = 1;
    str *keep = ARENA_NEW(l->a, str);
    if (!keep)
        return link_oom(l);
    *keep = name;
    if (!table_at_pointer(l->a, nodes, e->type, &steps, &at))
        return link_oom(l);
    *at = keep;
    if (!link_work(l, steps) || !link_table_at(l, names, name, &at))
        return false;
    *at = keep;
    return true;
}

static bool extern_resources(linker *l, scope *s, extern_kind kind, str name, entity *e)
{
    if (e->kind == SORT_INSTANCE) {
        if (!instance_freshen(l, s, kind, name, &e->type))
            return false;
        const binding_list *list = &e->type->shape->exported;
        for (uint32_t i = 0; kind == EXTERN_EXPORT && i < list->n; i++)
            if (!link_work(l, 1) || !bind(l, &s->exported, list->p[i].r, name, list->p[i].at))
                return false;
        return true;
    }
    if (e->kind != SORT_TYPE || e->type->kind != CTYPE_RESOURCE)
        return true;
    rsrc *r = e->type->resource;
    if (kind == EXTERN_IMPORT)
        return !e->fresh || bind(l, &s->imported, r, name, NULL);
    if (e->fresh && !vec_push(l->a, &s->defined, r))
        return link_oom(l);
    return bind(l, &s->exported, r, name, NULL);
}

/* Explainer.md "Import and Export Definitions". */
bool scope_extern(linker *l, scope *s, extern_kind kind, const attributed_name *name, entity *e)
{
    item_list *items = kind == EXTERN_IMPORT ? &s->imports : &s->exports;
    if (items->items.n >= COMPONENT_ITEMS_MAX)
        return link_fail(l, ERR_LIMIT, "more than %d names", COMPONENT_ITEMS_MAX);
    if (!extern_resources(l, s, kind, name->name, e) || !scope_add(l, s, e))
        return false;
    bool is_resource = e->kind == SORT_TYPE && e->type->kind == CTYPE_RESOURCE;
    if (is_resource && !resource_name(l, s, kind, name->name, e))
        return false;
    if (s->kind != SCOPE_INSTANCE_TYPE && !entity_named(l, s, kind, e)) {
        if (l->failed)
            return false;
        return link_fail(l, ERR_INVALID,
                         "%s not valid to be used as %s: '%.*s' mentions a type "
                         "that is not %s",
                         entity_name(e), kind == EXTERN_IMPORT ? "import" : "export",
                         STR(name->name), kind == EXTERN_IMPORT ? "imported" : "exported");
    }
    return extern_name_check(l, s, kind, name, e,
                             kind == EXTERN_IMPORT ? &s->import_keys : &s->export_keys) &&
           item_add(l, items, name->name, *e);
}

/* Of the resources defined here, those that the exports mention; each must be exported. */
static bool finish_defined(linker *l, scope *s, shape *sh)
{
    uint32_t stamp;
    if (!items_mark_resources(l, &s->imports, &stamp))
        return false;
    for (uint32_t i = 0; i < s->defined.n; i++)
        if (s->defined.p[i]->mark == stamp)
            return link_fail(l, ERR_INVALID, "local resource type found in imports");
    if (!items_mark_resources(l, &s->exports, &stamp))
        return false;
    table where = {0};
    for (uint32_t i = 0; i < s->exported.n; i++) {
        const void **at;
        uint64_t steps = 1;
        if (!table_at_pointer(l->a, &where, s->exported.p[i].r, &steps, &at))
            return link_oom(l);
        if (!*at) /* its first name: later ones are aliases */
            *at = s->exported.p[i].at;
        if (!link_work(l, steps))
            return false;
    }
    for (uint32_t i = 0; i < s->defined.n; i++) {
        binding b = {s->defined.p[i], NULL};
        uint64_t steps = 1;
        if (b.r->mark != stamp)
            continue;
        b.at = table_get_pointer(&where, b.r, &steps);
        if (!b.at)
            return link_fail(l, ERR_INVALID,
                             "local resource type found in export but not exported itself");
        if (!link_work(l, steps))
            return false;
        if (!vec_push(l->a, &sh->defined, b))
            return link_oom(l);
    }
    return true;
}

bool scope_finish(linker *l, scope *s, const shape **ret)
{
    shape *sh = ARENA_NEW(l->a, shape);
    if (!sh)
        return link_oom(l);
    sh->imports = s->imports;
    sh->exports = s->exports;
    sh->imported = s->imported;
    sh->exported = s->exported;
    if (!finish_defined(l, s, sh))
        return false;
    if (s->def)
        s->def->shape = sh;
    *ret = sh;
    return true;
}
