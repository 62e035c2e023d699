/* Evaluation of the core half: core instances, aliases to their exports, canonical definitions.
 *
 * A core definition is an export of one of the unit's core instances, or a canonical definition.
 * Inline core instances are only bags of such and vanish. Canonical definitions that are equal
 * (same function, same resolved options) are one: the flattener makes one import of each.
 *
 * The link plan wants memories, reallocs, lifted functions and destructors to be exports of core
 * instances. The rare component that passes a canonical function there (lifts what it lowered) gets
 * a synthetic core module that imports the function and exports it again. */
#include "component/eval_value.h"

#include "base/buf.h"
#include "base/must.h"

static const core_ref NO_CORE = {-1, {NULL, 0}};

unit *env_unit(eval *v, env *e)
{
    if (!e->unit && !(e->unit = ARENA_NEW(v->l->a, unit)))
        link_oom(v->l);
    if (e->unit)
        e->unit->owner = e;
    return e->unit;
}

static bool def_of(eval *v, const core_instance *c, str name, link_def *ret)
{
    uint64_t steps = 1;
    if (c->index >= 0) {
        *ret = (link_def){.core = {c->index, name}};
        return true;
    }
    const link_def *d = table_get(&c->names, name, &steps);
    if (!d)
        return link_fail(v->l, ERR_INTERNAL, "core export '%.*s' got lost", STR(name));
    *ret = *d;
    return link_work(v->l, steps);
}

static bool core_add(eval *v, unit *u, const link_core *c, core_instance **ret)
{
    core_instance *i = ARENA_NEW(v->l->a, core_instance);
    if (!i)
        return link_oom(v->l);
    i->index = (int32_t)u->cores.n;
    *ret = i;
    return vec_push(v->l->a, &u->cores, *c) || link_oom(v->l);
}

/* Explainer.md "Instance Definitions": core instantiate. */
bool eval_core_instantiate(eval *v, env *e, const op *o)
{
    linker *l = v->l;
    link_core c = {.module = e->modules.p[o->index].module};
    const module_type *m;
    table args = {0};
    core_instance *made;
    unit *u = env_unit(v, e);
    if (!u || !module_type_read(l, c.module, &m))
        return false;
    bool inside = c.module.p >= l->file.p && c.module.p < l->file.p + l->file.n;
    c.offset = inside ? (uint64_t)(c.module.p - l->file.p) : 0; /* else: of another part */
    link_import *imports = ARENA_ARRAY(l->a, link_import, m->imports.n);
    if (!imports)
        return link_oom(l);
    for (uint32_t i = 0; i < o->args_count; i++) {
        const void **at;
        if (!link_table_at(l, &args, o->core_args[i].name, &at))
            return false;
        *at = e->core_instances.p[o->core_args[i].index];
    }
    for (uint32_t i = 0; i < m->imports.n; i++) {
        const core_import *want = &m->imports.p[i];
        uint64_t steps = 1;
        const core_instance *given = table_get(&args, want->module, &steps);
        if (!given)
            return link_fail(l, ERR_INTERNAL, "core argument '%.*s' got lost", STR(want->module));
        imports[i] = (link_import){want->module, want->name, want->type.kind, {0}};
        if (!link_work(l, steps) || !def_of(v, given, want->name, &imports[i].def))
            return false;
    }
    c.imports = imports;
    c.imports_count = m->imports.n;
    return core_add(v, u, &c, &made) && (vec_push(l->a, &e->core_instances, made) || link_oom(l));
}

/* Explainer.md "Instance Definitions": core inline exports. */
bool eval_core_inline(eval *v, env *e, const op *o)
{
    linker *l = v->l;
    core_instance *c = ARENA_NEW(l->a, core_instance);
    link_def *defs = ARENA_ARRAY(l->a, link_def, o->args_count);
    if (!c || !defs)
        return link_oom(l);
    c->index = -1;
    for (uint32_t i = 0; i < o->args_count; i++) {
        const op_core_arg *arg = &o->core_args[i];
        const void **at;
        if (!link_table_at(l, &c->names, arg->name, &at))
            return false;
        defs[i] = e->core[arg->kind].p[arg->index];
        *at = &defs[i];
    }
    return vec_push(l->a, &e->core_instances, c) || link_oom(l);
}

/* Explainer.md "Alias Definitions": core export. */
bool eval_alias_core(eval *v, env *e, const op *o)
{
    link_def d;
    return def_of(v, e->core_instances.p[o->index], o->name, &d) &&
           (vec_push(v->l->a, &e->core[o->core], d) || link_oom(v->l));
}

static bool fields_concrete(eval *v, env *e, const type_field *f, uint32_t n,
                            const type_field **ret)
{
    type_field *copy = ARENA_ARRAY(v->l->a, type_field, n);
    if (!copy)
        return link_oom(v->l);
    for (uint32_t i = 0; i < n; i++) {
        copy[i] = f[i];
        if (f[i].type && !eval_type(v, e, f[i].type, &copy[i].type))
            return false;
    }
    *ret = copy;
    return true;
}

/* Recursion: as deep as the type. */
bool eval_type(eval *v, env *e, const type *t, const type **ret)
{
    linker *l = v->l;
    type proto = *t;
    const void **at;
    uint64_t steps = 1;
    *ret = t;
    if (!t->has_resource)
        return true;
    if (!table_at_pointer(l->a, &e->types, t, &steps, &at))
        return link_oom(l);
    if (*at) {
        *ret = *at;
        return link_work(l, steps);
    }
    if (t->resource) {
        const rsrc *r = (const rsrc *)t->resource;
        if (r->slot >= e->def->slots_count || !e->slots[r->slot])
            return link_fail(l, ERR_INTERNAL, "a resource type got lost");
        proto.resource = e->slots[r->slot];
    }
    if ((t->elem && !eval_type(v, e, t->elem, &proto.elem)) ||
        (t->fields_count && !fields_concrete(v, e, t->fields, t->fields_count, &proto.fields)) ||
        !type_intern(l, &proto, ret))
        return false;
    *at = *ret;
    return link_work(l, steps);
}

bool eval_functype(eval *v, env *e, const functype *f, const functype **ret)
{
    functype proto = *f;
    bool open = f->result && f->result->has_resource;
    for (uint32_t i = 0; i < f->params_count; i++)
        open |= f->params[i].type->has_resource;
    *ret = f;
    if (!open)
        return link_work(v->l, f->params_count + 1);
    return fields_concrete(v, e, f->params, f->params_count, &proto.params) &&
           (!f->result || eval_type(v, e, f->result, &proto.result)) &&
           functype_intern(v->l, &proto, ret);
}

/* (module (type <signature>) (import "" "f" (func (type 0))) (export "f" (func 0))) */
static bool wrapper_bytes(linker *l, const core_signature *s, bytes *ret)
{
    buf b;
    buf_init(&b, 256);
    buf_put(&b, "\0asm\1\0\0\0", 8);
    buf_put_u8(&b, 1);
    buf_put_u8(&b, (uint8_t)(4 + s->params_count + s->results_count));
    buf_put(&b, "\1\x60", 2);
    buf_put_u8(&b, (uint8_t)s->params_count);
    for (uint32_t i = 0; i < s->params_count; i++)
        buf_put_u8(&b, (uint8_t)s->params[i]);
    buf_put_u8(&b, (uint8_t)s->results_count);
    for (uint32_t i = 0; i < s->results_count; i++)
        buf_put_u8(&b, (uint8_t)s->results[i]);
    buf_put(&b, "\2\6\1\0\1f\0\0", 8);
    buf_put(&b, "\7\5\1\1f\0\0", 7);
    *ret = b.failed ? (bytes){NULL, 0} : arena_bytes(l->a, buf_bytes(&b));
    buf_fini(&b);
    return ret->p || link_oom(l);
}

bool eval_core_export(eval *v, env *e, const link_def *d, core_ref *ret)
{
    linker *l = v->l;
    const void **at;
    core_instance *made;
    link_core c = {.imports_count = 1};
    uint64_t steps = 1;
    unit *u = env_unit(v, e);
    if (!u)
        return false;
    if (!d->is_canon) {
        *ret = d->core;
        return true;
    }
    if (!table_at_pointer(l->a, &u->wrapped, (void *)(uintptr_t)(d->canon + 1), &steps, &at))
        return link_oom(l);
    if (!*at) {
        link_import *i = ARENA_NEW(l->a, link_import);
        if (!i)
            return link_oom(l);
        *i = (link_import){S(""), S("f"), CORE_FUNC, *d};
        c.imports = i;
        if (!wrapper_bytes(l, &u->canons.p[d->canon].signature, &c.module) ||
            !core_add(v, u, &c, &made))
            return false;
        *at = made;
    }
    *ret = (core_ref){((const core_instance *)*at)->index, S("f")};
    return link_work(l, steps);
}

static bool option_ref(eval *v, env *e, core_kind kind, uint32_t i, core_ref *ret)
{
    *ret = NO_CORE;
    return i == UINT32_MAX || eval_core_export(v, e, &e->core[kind].p[i], ret);
}

/* CanonicalABI.md "Canonical ABI Options". */
static bool options_of(eval *v, env *e, const op_canon *c, canon_options *ret)
{
    ret->encoding = c->encoding;
    ret->async = c->async;
    return option_ref(v, e, CORE_MEMORY, c->memory, &ret->memory) &&
           option_ref(v, e, CORE_FUNC, c->realloc, &ret->realloc) &&
           option_ref(v, e, CORE_FUNC, c->post_return, &ret->post_return) &&
           option_ref(v, e, CORE_FUNC, c->callback, &ret->callback);
}

static bool key_ref(buf *b, const core_ref *r)
{
    return buf_printf(b, "%d:%zu:", r->instance, r->name.n) && buf_put_str(b, r->name);
}

/* Adds a canonical definition to the unit unless an equal one is there. */
static bool canon_intern(eval *v, env *e, const link_canon *c, unit *target, uint32_t *ret)
{
    linker *l = v->l;
    unit *u = env_unit(v, e);
    const void **at;
    buf b;
    if (!u)
        return false;
    buf_init(&b, MIB);
    buf_printf(&b, "%d %d %d %p %p %p %u %u ", (int)c->kind, (int)c->options.encoding,
               c->options.async, (const void *)c->type, (const void *)c->element, (void *)target,
               c->lift, c->resource);
    key_ref(&b, &c->options.memory);
    key_ref(&b, &c->options.realloc);
    buf_printf(&b, "%zu:", c->interface.n);
    buf_put_str(&b, c->interface);
    buf_put_str(&b, c->name);
    str key = b.failed ? (str){NULL, 0} : arena_str(l->a, buf_str(&b));
    buf_fini(&b);
    if (!key.p)
        return link_oom(l);
    if (!link_table_at(l, &u->canon_keys, key, &at))
        return false;
    if (!*at) {
        if (!vec_push(l->a, &u->canons, *c) || !vec_push(l->a, &u->targets, target))
            return link_oom(l);
        *at = (void *)(uintptr_t)u->canons.n;
    }
    *ret = (uint32_t)(uintptr_t)*at - 1;
    return link_work(l, key.n / 64 + 1);
}

/* CanonicalABI.md "`canon lift`". */
static bool lift(eval *v, env *e, const op_canon *c)
{
    linker *l = v->l;
    link_lift lifted = {.signature = c->signature};
    value f = {.kind = SORT_FUNC};
    unit *u = env_unit(v, e);
    if (!u || !eval_core_export(v, e, &e->core[CORE_FUNC].p[c->func], &lifted.core) ||
        !options_of(v, e, c, &lifted.options) || !eval_functype(v, e, c->type, &lifted.type))
        return false;
    lifted.label = lifted.core.name;
    f.func = (func_value){.type = lifted.type, .unit = u, .lift = u->lifts.n};
    if (!vec_push(l->a, &u->lifts, lifted) || !vec_push(l->a, &e->funcs, f))
        return link_oom(l);
    return true;
}

/* CanonicalABI.md "Canonical Definitions". */
bool eval_canon(eval *v, env *e, const op *o)
{
    static const canon_kind kinds[] = {[OPC_RESOURCE_NEW] = CANON_RESOURCE_NEW,
                                       [OPC_RESOURCE_REP] = CANON_RESOURCE_REP,
                                       [OPC_RESOURCE_DROP] = CANON_RESOURCE_DROP,
                                       [OPC_BUILTIN] = CANON_BUILTIN};
    const op_canon *c = o->canon;
    link_canon made = {.signature = c->signature};
    link_def d = {.is_canon = true, .core = NO_CORE};
    unit *target = NULL;
    if (c->kind == OPC_LIFT)
        return lift(v, e, c);
    if (!options_of(v, e, c, &made.options) ||
        (c->type && !eval_functype(v, e, c->type, &made.type)) ||
        (c->element && !eval_type(v, e, c->element, &made.element)))
        return false;
    if (c->kind == OPC_LOWER) {
        const func_value *f = &e->funcs.p[c->func].func;
        target = f->unit;
        made.kind = target ? CANON_LIFTED : CANON_HOST;
        made.interface = f->interface;
        made.name = f->name;
        made.lift = f->lift;
    } else {
        made.kind = kinds[c->kind];
        made.name = c->name;
        if (str_eq(c->name, S("thread.new-indirect")))
            return link_fail(v->l, ERR_UNSUPPORTED,
                             "canonical built-in `%.*s` (threads) is not "
                             "supported",
                             STR(c->name));
        if (c->resource)
            made.resource = e->slots[c->resource->slot]->index;
    }
    return canon_intern(v, e, &made, target, &d.canon) &&
           (vec_push(v->l->a, &e->core[CORE_FUNC], d) || link_oom(v->l));
}
