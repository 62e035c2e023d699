/* Symbolic evaluation: the operations of a component definition run once for every instance.
 *
 *     env (a component instance)
 *       index spaces: functions, instances, modules, components, core items   (eval_value.h)
 *       slots: abstract resource of the definition -> actual resource type
 *       unit: made when the instance first instantiates a core module
 *
 * Nothing is checked again: check.c has shown that every index, name and type fits. Components are
 * closures (definition and the instance around it), so outer aliases and components passed as
 * arguments need nothing special. What comes out for a nested component without core code is only
 * its exports, that is, functions of other units: it has evaluated away.
 *
 * The outermost component's imports become functions of the host and resource types of the host. */
#include "component/eval_value.h"

#include "base/must.h"

enum { INSTANCE_DEPTH_MAX = 100, INSTANCES_MAX = 10000 };

bool instance_add_value(eval *v, instance *i, str name, const value *x)
{
    const void **at;
    named_value n = {name, *x};
    if (!link_table_at(v->l, &i->names, name, &at))
        return false;
    if (!vec_push(v->l->a, &i->items, n))
        return link_oom(v->l);
    *at = (void *)(uintptr_t)i->items.n;
    return true;
}

const value *instance_find(eval *v, const instance *i, str name)
{
    uint64_t steps = 1;
    uintptr_t at = (uintptr_t)table_get(&i->names, name, &steps);
    v->l->work += steps;
    return at ? &i->items.p[at - 1].v : NULL;
}

static bool push_value(eval *v, env *e, const value *x)
{
    switch (x->kind) {
    case SORT_MODULE:
        return vec_push(v->l->a, &e->modules, *x) || link_oom(v->l);
    case SORT_FUNC:
        return vec_push(v->l->a, &e->funcs, *x) || link_oom(v->l);
    case SORT_COMPONENT:
        return vec_push(v->l->a, &e->components, *x) || link_oom(v->l);
    case SORT_INSTANCE:
        return vec_push(v->l->a, &e->instances, *x) || link_oom(v->l);
    default:
        return true; /* types have no index space here */
    }
}

/* A value by sort and index; a type by its node. */
static value value_at(const env *e, sort kind, uint32_t index, const ctype *t)
{
    value x = {.kind = kind};
    switch (kind) {
    case SORT_MODULE:
        return e->modules.p[index];
    case SORT_FUNC:
        return e->funcs.p[index];
    case SORT_COMPONENT:
        return e->components.p[index];
    case SORT_INSTANCE:
        return e->instances.p[index];
    default:
        if (t && t->kind == CTYPE_RESOURCE && t->resource->slot < e->def->slots_count)
            x.resource = e->slots[t->resource->slot];
        return x;
    }
}

/* Explainer.md "Type Checking": resource types are generative. */
static resource_type *resource_new(eval *v, const env *owner, core_ref dtor)
{
    resource_type *r = ARENA_NEW(v->l->a, resource_type);
    if (!r || !vec_push(v->l->a, &v->resources, r) ||
        !vec_push(v->l->a, &v->resource_owners, owner) || !vec_push(v->l->a, &v->dtors, dtor)) {
        link_oom(v->l);
        return NULL;
    }
    r->index = v->resources.n - 1;
    return r;
}

/* Finds the resources of an operation in what it made. */
static bool slots_fill(eval *v, env *e, const op *o, const value *made)
{
    for (uint32_t i = 0; i < o->resources_count; i++) {
        const value *x = made;
        for (const path *at = o->resources[i].at; at && x; at = at->next)
            x = x->kind == SORT_INSTANCE ? instance_find(v, x->instance, at->name) : NULL;
        if (!x || x->kind != SORT_TYPE || !x->resource)
            return link_fail(v->l, ERR_INTERNAL, "a resource type got lost");
        e->slots[o->resources[i].slot] = x->resource;
    }
    return link_work(v->l, o->resources_count + 1);
}

/* What the host offers for an import of the outermost component. */
static bool host_value(eval *v, env *e, str interface, str name, const entity *want, value *ret);

/* Explainer.md "Import and Export Definitions": what the host gives. */
static bool host_instance(eval *v, env *e, str interface, const shape *sh, instance **ret)
{
    uint32_t funcs = 0;
    instance *i = ARENA_NEW(v->l->a, instance);
    if (!i)
        return link_oom(v->l);
    for (uint32_t k = 0; k < sh->exports.items.n; k++) {
        const item *it = &sh->exports.items.p[k];
        value x;
        funcs += it->e.kind == SORT_FUNC;
        if (!host_value(v, e, interface, it->name, &it->e, &x) ||
            !instance_add_value(v, i, it->name, &x))
            return false;
    }
    link_name whole = {.interface = interface, .unit = UINT32_MAX, .lift = UINT32_MAX};
    if (funcs == 0 && !vec_push(v->l->a, &v->imports, whole))
        return link_oom(v->l);
    *ret = i;
    return true;
}

static bool host_func(eval *v, env *e, str interface, str name, const entity *want, value *ret)
{
    ret->func = (func_value){.interface = interface, .name = name};
    if (!eval_functype(v, e, want->type->func, &ret->func.type))
        return false;
    link_name n = {interface, name, ret->func.type, UINT32_MAX, UINT32_MAX};
    return vec_push(v->l->a, &v->imports, n) || link_oom(v->l);
}

static bool host_value(eval *v, env *e, str interface, str name, const entity *want, value *ret)
{
    str inner;
    *ret = (value){.kind = want->kind};
    if (!link_work(v->l, 1))
        return false;
    switch (want->kind) {
    case SORT_FUNC:
        return host_func(v, e, interface, name, want, ret);
    case SORT_TYPE:
        *ret = value_at(e, SORT_TYPE, 0, want->type);
        return true;
    case SORT_INSTANCE:
        inner = interface.n ? arena_printf(v->l->a, "%.*s/%.*s", STR(interface), STR(name)) : name;
        if (!inner.p)
            return link_oom(v->l);
        return host_instance(v, e, inner, want->type->shape, &ret->instance);
    default:
        return link_fail(v->l, ERR_UNSUPPORTED,
                         "import '%.*s' is a %s: the host offers functions "
                         "and interfaces only; compose the component first",
                         STR(name), sort_name(want->kind));
    }
}

/* The host's resources of an import. All of them are made before any function's type is asked for:
 * in a composition an interface may mention one that is imported later. */
static bool host_resources(eval *v, env *e, const op *o)
{
    for (uint32_t i = 0; i < o->resources_count; i++) {
        const path *at = o->resources[i].at;
        resource_type *r = resource_new(v, NULL, (core_ref){-1, {NULL, 0}});
        if (!r)
            return false;
        r->imported = true;
        r->interface = at ? o->name : S("");
        for (; at && at->next; at = at->next) {
            r->interface = arena_printf(v->l->a, "%.*s/%.*s", STR(r->interface), STR(at->name));
            if (!r->interface.p)
                return link_oom(v->l);
        }
        r->name = at ? at->name : o->name;
        e->slots[o->resources[i].slot] = r;
    }
    return link_work(v->l, o->resources_count);
}

static bool import_host(eval *v, env *e, const op *o)
{
    value x;
    return host_value(v, e, S(""), o->name, &o->entity, &x) && push_value(v, e, &x);
}

static bool import_arg(eval *v, env *e, const op *o)
{
    const value *given = instance_find(v, e->args, o->name);
    if (!given)
        return link_fail(v->l, ERR_INTERNAL, "argument '%.*s' got lost", STR(o->name));
    return push_value(v, e, given) && slots_fill(v, e, o, given);
}

static bool export_value(eval *v, env *e, const op *o)
{
    value x = value_at(e, o->sort, o->index, o->entity.type);
    if (x.resource && !x.resource->name.n)
        x.resource->name = o->name;
    return instance_add_value(v, e->exports, o->name, &x) && push_value(v, e, &x);
}

static bool component_run(eval *v, env *e);

static bool args_make(eval *v, env *e, const op *o, instance **ret)
{
    instance *args = ARENA_NEW(v->l->a, instance);
    if (!args)
        return link_oom(v->l);
    for (uint32_t i = 0; i < o->args_count; i++) {
        const op_arg *arg = &o->args[i];
        value x = value_at(e, arg->kind, arg->index, arg->type);
        if (!instance_add_value(v, args, arg->name, &x))
            return false;
    }
    *ret = args;
    return true;
}

/* Explainer.md "Instance Definitions": instantiate. */
static bool instantiate(eval *v, env *e, const op *o)
{
    linker *l = v->l;
    const value *component = &e->components.p[o->index];
    value made = {.kind = SORT_INSTANCE};
    instance *args;
    env *child = ARENA_NEW(l->a, env);
    if (!child)
        return link_oom(l);
    child->def = component->def;
    child->outer = component->outer;
    child->creator = e;
    child->depth = e->depth + 1;
    if (child->depth >= INSTANCE_DEPTH_MAX)
        return link_fail(l, ERR_LIMIT, "component instances are nested more than %d deep",
                         INSTANCE_DEPTH_MAX);
    child->withheld = e->withheld | o->count;
    child->label = o->name.p ? o->name
                             : arena_printf(l->a, "%.*s%s%u", STR(e->label), e->label.n ? "." : "",
                                            e->instances.n);
    if (!child->label.p)
        return link_oom(l);
    if (!args_make(v, e, o, &args))
        return false;
    child->args = args;
    if (!component_run(v, child))
        return false;
    l->at = o->at;
    made.instance = child->exports;
    return push_value(v, e, &made) && slots_fill(v, e, o, &made);
}

/* Explainer.md "Instance Definitions": inline exports. */
static bool instance_inline(eval *v, env *e, const op *o)
{
    value made = {.kind = SORT_INSTANCE};
    return args_make(v, e, o, &made.instance) && push_value(v, e, &made);
}

/* Explainer.md "Alias Definitions": export. */
static bool alias_export(eval *v, env *e, const op *o)
{
    const value *found = instance_find(v, e->instances.p[o->index].instance, o->name);
    if (!found)
        return link_fail(v->l, ERR_INTERNAL, "export '%.*s' got lost", STR(o->name));
    value copy = *found;
    return push_value(v, e, &copy);
}

/* Explainer.md "Alias Definitions": outer. */
static bool alias_outer(eval *v, env *e, const op *o)
{
    const env *at = e;
    for (uint32_t i = 0; i < o->count && at; i++)
        at = at->outer;
    must(at);
    value copy = value_at(at, o->sort, o->index, NULL);
    return push_value(v, e, &copy);
}

/* Explainer.md "Definition types": resource. */
static bool resource_define(eval *v, env *e, const op *o)
{
    core_ref dtor = {-1, {NULL, 0}};
    if (o->index != UINT32_MAX && !eval_core_export(v, e, &e->core[CORE_FUNC].p[o->index], &dtor))
        return false;
    e->slots[o->count] = resource_new(v, e, dtor);
    return e->slots[o->count] != NULL;
}

static bool op_run(eval *v, env *e, const op *o)
{
    value made = {0};
    v->l->at = o->at;
    switch (o->kind) {
    case OP_IMPORT:
        return e->creator ? import_arg(v, e, o) : import_host(v, e, o);
    case OP_EXPORT:
        return export_value(v, e, o);
    case OP_CORE_MODULE:
        made = (value){.kind = SORT_MODULE, .module = o->module};
        return push_value(v, e, &made);
    case OP_COMPONENT:
        made = (value){.kind = SORT_COMPONENT, .def = o->def, .outer = e};
        return push_value(v, e, &made);
    case OP_CORE_INSTANTIATE:
        return eval_core_instantiate(v, e, o);
    case OP_CORE_INLINE:
        return eval_core_inline(v, e, o);
    case OP_INSTANTIATE:
        return instantiate(v, e, o);
    case OP_INLINE:
        return instance_inline(v, e, o);
    case OP_ALIAS_EXPORT:
        return alias_export(v, e, o);
    case OP_ALIAS_CORE:
        return eval_alias_core(v, e, o);
    case OP_ALIAS_OUTER:
        return alias_outer(v, e, o);
    case OP_RESOURCE:
        return resource_define(v, e, o);
    case OP_CANON:
        return eval_canon(v, e, o);
    }
    return false;
}

/* An error gets its place once, in the innermost instance. */
static bool op_failed(eval *v, const env *e, const op *o)
{
    static const char *const sections[] = {
        [OP_IMPORT] = "import",
        [OP_EXPORT] = "export",
        [OP_CORE_MODULE] = "core module",
        [OP_CORE_INSTANTIATE] = "core instance",
        [OP_CORE_INLINE] = "core instance",
        [OP_COMPONENT] = "component",
        [OP_INSTANTIATE] = "instance",
        [OP_INLINE] = "instance",
        [OP_ALIAS_EXPORT] = "alias",
        [OP_ALIAS_CORE] = "alias",
        [OP_ALIAS_OUTER] = "alias",
        [OP_RESOURCE] = "type",
        [OP_CANON] = "canonical function",
    };
    if (v->is_located)
        return false;
    v->is_located = true;
    err_wrap(v->l->e, "%s section", sections[o->kind]);
    return e->label.n ? err_wrap(v->l->e, "component instance %.*s", STR(e->label)) : false;
}

/* Explainer.md "Component Definitions": definitions run in order.
 * Recursion: at most INSTANCE_DEPTH_MAX. */
static bool component_run(eval *v, env *e)
{
    linker *l = v->l;
    if (++v->instances > INSTANCES_MAX)
        return link_fail(l, ERR_LIMIT, "more than %d component instances", INSTANCES_MAX);
    e->exports = ARENA_NEW(l->a, instance);
    e->slots = ARENA_ARRAY(l->a, resource_type *, e->def->slots_count);
    if (!e->exports || !e->slots)
        return link_oom(l);
    for (uint32_t i = 0; !e->creator && i < e->def->ops.n; i++)
        if (e->def->ops.p[i].kind == OP_IMPORT && !host_resources(v, e, &e->def->ops.p[i]))
            return op_failed(v, e, &e->def->ops.p[i]);
    for (uint32_t i = 0; i < e->def->ops.n; i++)
        if (!link_work(l, 1) || !op_run(v, e, &e->def->ops.p[i]))
            return op_failed(v, e, &e->def->ops.p[i]);
    unit *u = e->unit;
    if (!u || (u->cores.n == 0 && u->lifts.n == 0))
        return true;
    u->index = v->units.n;
    return vec_push(l->a, &v->units, u) || link_oom(l);
}

/* Explainer.md "Import and Export Definitions": export.
 * Names of what the outermost component exports; resources get theirs too. */
static bool exports_list(eval *v, str interface, const instance *i, uint32_t depth)
{
    linker *l = v->l;
    if (depth > COMPONENT_TYPE_DEPTH_MAX)
        return link_fail(l, ERR_LIMIT, "exported instances are nested too deep");
    for (uint32_t k = 0; k < i->items.n; k++) {
        const named_value *n = &i->items.p[k];
        if (!link_work(l, 1))
            return false;
        if (n->v.kind == SORT_FUNC) {
            const func_value *f = &n->v.func;
            link_name x = {interface, n->name, f->type, f->unit ? f->unit->index : UINT32_MAX,
                           f->unit ? f->lift : UINT32_MAX};
            if (!vec_push(l->a, &v->exports, x))
                return link_oom(l);
            if (f->unit && interface.n) {
                str label = arena_printf(l->a, "%.*s#%.*s", STR(interface), STR(n->name));
                if (!label.p)
                    return link_oom(l);
                f->unit->lifts.p[f->lift].label = label;
            } else if (f->unit) {
                f->unit->lifts.p[f->lift].label = n->name;
            }
        } else if (n->v.kind == SORT_TYPE && n->v.resource && !n->v.resource->imported &&
                   !n->v.resource->interface.n) {
            n->v.resource->interface = interface;
            n->v.resource->name = n->name;
        } else if (n->v.kind == SORT_INSTANCE) {
            str inner = interface.n ? arena_printf(l->a, "%.*s/%.*s", STR(interface), STR(n->name))
                                    : n->name;
            if (!inner.p)
                return link_oom(l);
            if (!exports_list(v, inner, n->v.instance, depth + 1))
                return false;
        }
    }
    return true;
}

static uint32_t parent_of(const unit *u)
{
    for (const env *e = u->owner->creator; e; e = e->creator)
        if (e->unit && (e->unit->cores.n || e->unit->lifts.n))
            return e->unit->index;
    return UINT32_MAX;
}

static bool units_finish(eval *v, link_plan *ret)
{
    link_unit *units = ARENA_ARRAY(v->l->a, link_unit, v->units.n);
    if (!units)
        return link_oom(v->l);
    for (uint32_t i = 0; i < v->units.n; i++) {
        unit *u = v->units.p[i];
        for (uint32_t k = 0; k < u->canons.n; k++)
            if (u->targets.p[k])
                u->canons.p[k].unit = u->targets.p[k]->index;
        units[i] =
            (link_unit){u->cores.p, u->cores.n,   u->canons.p,     u->canons.n,       u->lifts.p,
                        u->lifts.n, parent_of(u), u->owner->label, u->owner->withheld};
    }
    ret->units = units;
    ret->units_count = v->units.n;
    return true;
}

static bool resources_finish(eval *v, link_plan *ret)
{
    link_resource *resources = ARENA_ARRAY(v->l->a, link_resource, v->resources.n);
    if (!resources)
        return link_oom(v->l);
    for (uint32_t i = 0; i < v->resources.n; i++) {
        const env *owner = v->resource_owners.p[i];
        bool has_unit = owner && owner->unit && (owner->unit->cores.n || owner->unit->lifts.n);
        resources[i] = (link_resource){*v->resources.p[i],
                                       has_unit ? owner->unit->index : UINT32_MAX, v->dtors.p[i]};
    }
    ret->resources = resources;
    ret->resources_count = v->resources.n;
    return true;
}

bool component_eval(linker *l, const def *root, link_plan *ret)
{
    eval v = {.l = l};
    env *e = ARENA_NEW(l->a, env);
    if (!e)
        return link_oom(l);
    e->def = root;
    e->label = S("");
    link_plan plan = {.core_modules_count = l->core_modules_count};
    if (!component_run(&v, e) || !exports_list(&v, S(""), e->exports, 0) ||
        !units_finish(&v, &plan) || !resources_finish(&v, &plan))
        return false;
    plan.imports = v.imports.p;
    plan.imports_count = v.imports.n;
    plan.exports = v.exports.p;
    plan.exports_count = v.exports.n;
    *ret = plan;
    return true;
}
