/* From the imports of a plan to functions of the engine.
 *
 * Every import gets a `bound`: what the engine passes back as env. A call then costs one indirect
 * call more than the host function itself. What the host does not offer becomes a trap and a
 * sentence; the sentences say what was wanted, what there is, and what to do. */
#include "host/bind.h"

#include "base/limits.h"
#include "base/must.h"
#include "host/call.h"
#include "host/compose.h"
#include "host/resources.h"
#include "host/tables.h"

#include <stdio.h>

typedef struct {
    arena *a;
    const plan *p;
    host_binding *binding;
    host_missing *missing;
    size_t missing_count, missing_cap;
    err *e;
} binder;

/* --- calls --------------------------------------------------------------------------------- */

static host_status call_row(void *env, engine_instance *in, slot *slots)
{
    const bound *b = env;
    const guest_unit *u = engine_user(in);
    guest *g = u->g;
    host_call c = {.g = g, .in = in, .handles = u->handles, .import = b->import, .slots = slots};
    if (g->in_realloc)
        return call_trap(&c, "cannot leave component instance: realloc called an import");
    g->component = u->component;
    host_status s = b->fn(&c);
    if (s != HOST_WAIT)
        g->progress = 0;
    if (g->scratch.blocks)
        arena_reset(&g->scratch);
    return s;
}

/* canon context.get, context.set, backpressure.inc, backpressure.dec: state of the instance. */
static host_status call_context_get(void *env, engine_instance *in, slot *slots)
{
    const guest_unit *u = engine_user(in);
    slots[0].u64 = u->context[((const bound *)env)->number];
    return HOST_DONE;
}

static host_status call_context_set(void *env, engine_instance *in, slot *slots)
{
    guest_unit *u = engine_user(in);
    u->context[((const bound *)env)->number] = slots[0].u32;
    return HOST_DONE;
}

static host_status call_backpressure_inc(void *env, engine_instance *in, slot *slots)
{
    guest_unit *u = engine_user(in);
    if (u->backpressure == UINT16_MAX)
        return engine_trap_set(in, "backpressure counter overflow");
    u->backpressure++;
    return HOST_DONE;
}

static host_status call_backpressure_dec(void *env, engine_instance *in, slot *slots)
{
    guest_unit *u = engine_user(in);
    if (!u->backpressure)
        return engine_trap_set(in, "backpressure counter underflow");
    u->backpressure--;
    return HOST_DONE;
}

/* --- reasons ------------------------------------------------------------------------------- */

/* "a, b, c" of at most 600 bytes. */
static void list_append(buf *b, str s)
{
    if (b->n > 600)
        return;
    if (b->n)
        buf_put_str(b, S(", "));
    buf_put_str(b, s);
}

static str reason_no_interface(arena *a, str interface)
{
    interface_name want = interface_name_parse(interface);
    str package = str_head(want.path, str_rfind(want.path, '/'));
    buf same = {0}, near = {0};
    buf_init(&same, 4096);
    buf_init(&near, 4096);
    uint32_t count;
    const host_parsed *t = host_tables(&count);
    for (uint32_t i = 0; i < count; i++) {
        interface_name have = interface_name_parse(t[i].name);
        if (str_eq(have.path, want.path))
            list_append(&same, t[i].name);
        else if (str_eq(str_head(have.path, str_rfind(have.path, '/')), package))
            list_append(&near, t[i].name);
    }
    str r;
    if (same.n)
        r = arena_printf(a,
                         "another version: ebb offers %.*s and every version of that track, "
                         "pre-releases only exactly; build the component with an SDK for one "
                         "of these",
                         STR(buf_str(&same)));
    else if (near.n)
        r = arena_printf(a, "not offered; of %.*s ebb offers %.*s", STR(package),
                         STR(buf_str(&near)));
    else
        r = S("not offered; compose the component with one that exports it, or remove the import");
    buf_fini(&same);
    buf_fini(&near);
    return r;
}

static str reason_no_function(arena *a, const host_parsed *t)
{
    buf names;
    buf_init(&names, 4096);
    for (uint32_t i = 0; i < t->funcs_count; i++)
        list_append(&names, str_from(t->rows[i]->name));
    str r = arena_printf(a, "not offered; of this interface ebb offers %.*s", STR(buf_str(&names)));
    buf_fini(&names);
    return r;
}

static str reason_differs(arena *a, const functype *want, const functype *have)
{
    str w = functype_text(a, want), h = functype_text(a, have);
    if (!w.p || !h.p)
        return (str){NULL, 0};
    return arena_printf(a,
                        "its type differs: the component imports %.*s, ebb offers %.*s; build "
                        "the component against a released version of the interface",
                        STR(w), STR(h));
}

/* --- binding ------------------------------------------------------------------------------- */

static bool missing_add(binder *b, str interface, str name, str reason)
{
    if (!reason.p)
        return err_no_memory(b->e);
    if (b->missing_count == b->missing_cap) {
        size_t cap = b->missing_cap ? b->missing_cap * 2 : 8;
        host_missing *grown = arena_grow(b->a, b->missing, b->missing_cap, cap, sizeof *grown);
        if (!grown)
            return err_no_memory(b->e);
        b->missing = grown;
        b->missing_cap = cap;
    }
    b->missing[b->missing_count++] = (host_missing){interface, name, reason};
    return true;
}

/* What every call checks again costs nothing here: a signature that passes pointers needs the
 * options that say where they point. */
static bool options_fit(const plan_import *i)
{
    bool params_pointer = false;
    const type *r = i->type->result;
    for (uint32_t k = 0; k < i->type->params_count; k++)
        params_pointer |= i->type->params[k].type->has_pointer;
    if (r && r->has_pointer && i->options.realloc == PLAN_NONE)
        return false;
    return i->options.memory != PLAN_NONE ||
           !(params_pointer || i->signature.results_spilled || (r && r->has_pointer));
}

static bool bind_host(binder *b, const plan_import *i, bound *ret, engine_import *ret_import)
{
    const host_parsed *t = host_tables_find(i->interface);
    if (!t)
        return missing_add(b, i->interface, i->name, reason_no_interface(b->a, i->interface));
    /* A function that changed its type has a row for each. */
    uint32_t k = 0, named = t->funcs_count;
    for (; k < t->funcs_count; k++) {
        if (!str_eq(i->name, str_from(t->rows[k]->name)))
            continue;
        if (functype_equal(i->type, &t->funcs[k]))
            break;
        named = named < k ? named : k;
    }
    if (k == t->funcs_count && named == k)
        return missing_add(b, i->interface, i->name, reason_no_function(b->a, t));
    if (k == t->funcs_count)
        return missing_add(b, i->interface, i->name,
                           reason_differs(b->a, i->type, &t->funcs[named]));
    if (i->options.async)
        return missing_add(b, i->interface, i->name,
                           S("lowered with the async option, which ebb does not do for this "
                             "interface; use the synchronous bindings"));
    if (!options_fit(i))
        return missing_add(b, i->interface, i->name,
                           S("its canonical options name no memory or no realloc"));
    ret->fn = t->rows[k]->fn;
    *ret_import = (engine_import){.fn = call_row, .env = ret, .may_wait = t->rows[k]->may_wait};
    return true;
}

static bool bind_resource(binder *b, uint32_t unit, const plan_import *i, bound *ret,
                          engine_import *ret_import)
{
    must(i->resource < b->p->resources_count);
    const plan_resource *r = &b->p->resources[i->resource];
    ret->guest_resource = i->resource;
    ret->resource = b->binding->resources[i->resource];
    /* A destructor in another instance may wait. */
    bool far = !r->imported && r->has_dtor && r->unit != unit;
    if (i->kind == CANON_RESOURCE_DROP) {
        if (r->imported && !ret->resource)
            return missing_add(b, r->interface, r->name, reason_no_interface(b->a, r->interface));
        *ret_import = (engine_import){.fn = resource_drop, .env = ret, .may_wait = far};
        return true;
    }
    if (r->imported)
        return missing_add(b, r->interface, r->name,
                           S("only the host can make or look into its own resources"));
    *ret_import = i->kind == CANON_RESOURCE_NEW
                      ? (engine_import){.fn = resource_new, .env = ret}
                      : (engine_import){.fn = resource_rep, .env = ret, .inside = true};
    return true;
}

/* A call to another component instance of the same plan. The plan is checked as a whole where it
 * is read; that the two sides agree is checked here. */
static bool bind_lifted(binder *b, const plan_import *i, bound *ret, engine_import *ret_import)
{
    const plan_lift *f = &b->p->units[i->unit].lifts[i->lift];
    if (!functype_equal(i->type, f->type))
        return missing_add(b, i->interface, f->label,
                           S("the two sides of a call between its component instances differ"));
    if (i->options.async || f->options.async)
        return missing_add(b, i->interface, f->label,
                           S("an asynchronous call between component instances, which ebb does not "
                             "do yet; build with an SDK that targets WASI 0.2"));
    *ret_import = (engine_import){.fn = compose_call, .env = ret, .may_wait = true};
    return true;
}

static bool bind_builtin(binder *b, const plan_import *i, bound *ret, engine_import *ret_import)
{
    static const struct {
        const char *name;
        engine_host_fn fn;
        uint32_t number;
    } rows[] = {{"context.get i32 0", call_context_get, 0},
                {"context.get i32 1", call_context_get, 1},
                {"context.set i32 0", call_context_set, 0},
                {"context.set i32 1", call_context_set, 1},
                {"backpressure.inc", call_backpressure_inc, 0},
                {"backpressure.dec", call_backpressure_dec, 0}};
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++)
        if (str_eq(i->name, str_from(rows[k].name))) {
            ret->number = rows[k].number;
            *ret_import = (engine_import){.fn = rows[k].fn, .env = ret, .inside = true};
            return true;
        }
    return missing_add(b, i->interface, i->name,
                       S("canonical built-ins of the async ABI are not supported yet; use an "
                         "SDK version that targets WASI 0.2"));
}

static bool bind_import(binder *b, uint32_t unit, const plan_import *i, bound *ret,
                        engine_import *ret_import)
{
    *ret = (bound){.import = i, .plan = b->p, .binding = b->binding};
    switch (i->kind) {
    case CANON_HOST:
        return bind_host(b, i, ret, ret_import);
    case CANON_RESOURCE_NEW:
    case CANON_RESOURCE_REP:
    case CANON_RESOURCE_DROP:
        return bind_resource(b, unit, i, ret, ret_import);
    case CANON_TRAP:
        return true; /* the engine's own trap */
    case CANON_LIFTED:
        return bind_lifted(b, i, ret, ret_import);
    case CANON_BUILTIN:
        return bind_builtin(b, i, ret, ret_import);
    }
    return missing_add(b, i->interface, i->name, S("unknown kind of import"));
}

static bool bind_unit(binder *b, uint32_t u, host_binding *ret)
{
    const plan_unit *unit = &b->p->units[u];
    uint32_t n = unit->imports_count;
    engine_import *imports = ARENA_ARRAY(b->a, engine_import, n ? n : 1);
    bound *bounds = ARENA_ARRAY(b->a, bound, n ? n : 1);
    if (!imports || !bounds)
        return err_no_memory(b->e);
    for (uint32_t i = 0; i < n; i++)
        if (!bind_import(b, u, &unit->imports[i], &bounds[i], &imports[i]))
            return false;
    ret->units[u] = imports;
    return true;
}

static bool fail_missing(const binder *b, err *e)
{
    const host_missing *m = &b->missing[0];
    size_t more = b->missing_count - 1;
    char tail[80] = "";
    if (more)
        snprintf(tail, sizeof tail, " (and %zu more; 'ebb inspect' lists them)", more);
    return err_set(e, ERR_UNSUPPORTED, "import %.*s#%.*s: %.*s%s", STR(m->interface), STR(m->name),
                   STR(m->reason), tail);
}

bool host_bind(arena *a, const plan *p, host_binding **ret, const host_missing **ret_missing,
               size_t *ret_missing_count, err *e)
{
    if (!host_init(e))
        return false;
    binder b = {.a = a, .p = p, .e = e};
    host_binding *h = ARENA_NEW(a, host_binding);
    if (!h || !(h->units = ARENA_ARRAY(a, engine_import *, p->units_count ? p->units_count : 1)))
        return err_no_memory(e);
    b.binding = h;
    h->plan = p;
    h->units_count = p->units_count;
    h->resources = ARENA_ARRAY(a, const host_resource *, p->resources_count + 1);
    if (!h->resources)
        return err_no_memory(e);
    for (uint32_t i = 0; i < p->resources_count; i++)
        h->resources[i] = p->resources[i].imported ? host_tables_resource(p->resources[i].interface,
                                                                          p->resources[i].name)
                                                   : NULL;
    for (uint32_t u = 0; u < p->units_count; u++)
        if (!bind_unit(&b, u, h))
            return false;
    if (b.missing_count && !ret_missing)
        return fail_missing(&b, e);
    if (ret_missing) {
        *ret_missing = b.missing;
        *ret_missing_count = b.missing_count;
    }
    *ret = h;
    return true;
}

const engine_import *host_binding_imports(const host_binding *b, uint32_t unit)
{
    must(unit < b->units_count);
    return b->units[unit];
}

/* --- the handler --------------------------------------------------------------------------- */

static const char *handler_newer(str path, str version)
{
    if (str_eq(path, S("wasi:http/handler")))
        return "it exports wasi:http/handler, the asynchronous handler of WASI 0.3, which ebb "
               "does not run yet; build it with an SDK that targets WASI 0.2";
    if (str_eq(path, S("fermyon:spin/inbound-http")))
        return "it exports fermyon:spin/inbound-http, Spin's first interface, which ebb does not "
               "run yet; build it with a current SDK";
    if (str_eq(path, S("wasi:http/incoming-handler")) && str_starts(version, S("0.2.0-rc")))
        return "it exports a pre-release of wasi:http/incoming-handler, which ebb does not run; "
               "build it with an SDK for WASI 0.2.0 or later";
    return NULL;
}

bool host_http_handler(const plan *p, uint32_t *ret_unit, uint32_t *ret_lift, err *e)
{
    const plan_name *found = NULL;
    const char *newer = NULL;
    if (!host_init(e))
        return false;
    for (uint32_t i = 0; i < p->exports_count; i++) {
        const plan_name *x = &p->exports[i];
        interface_name n = interface_name_parse(x->interface);
        if (interface_compatible(S("wasi:http/incoming-handler@0.2.0"), x->interface) &&
            str_eq(x->name, S("handle"))) {
            if (found)
                return err_set(e, ERR_INVALID,
                               "the component exports two HTTP handlers: %.*s and "
                               "%.*s; keep one",
                               STR(found->interface), STR(x->interface));
            found = x;
        } else if (!newer) {
            newer = handler_newer(n.path, n.version);
        }
    }
    if (!found)
        return err_set(e, ERR_UNSUPPORTED,
                       "the component has no HTTP handler that ebb can call: "
                       "%s",
                       newer ? newer : "it must export wasi:http/incoming-handler@0.2");
    if (found->unit == UINT32_MAX || !functype_equal(found->type, host_tables_http_handler()))
        return err_set(e, ERR_INVALID, "%.*s#handle does not have the type of the standard",
                       STR(found->interface));
    *ret_unit = found->unit;
    *ret_lift = found->lift;
    return true;
}
