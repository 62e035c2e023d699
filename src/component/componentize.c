/* See componentize.h. The component has the shape that wit-component gives it, so that the
 * flattener's proofs apply:
 *
 *     imports of interfaces, merged over all worlds
 *     shim        one thunk per function that needs the memory, through a table
 *     main        gets thunks, and [resource-drop] functions directly
 *     adapter     gets main's memory and cabi_realloc, and thunks of its own
 *     fix-up      puts lowered imports and the adapter's functions into the table, and calls
 *                 _initialize
 *     lifts of main's exports, as instances of the world's export names
 *
 * One difference from wit-component, which no guest can see: interfaces are not merged over
 * versions of a track (the host does that). What main does not use of the adapter is left out
 * (adapt_prune.c). The adapter gets its stack as wit-component's garbage collector arranges it:
 * every function of it that is called from outside first allocates one with main's cabi_realloc,
 * once (adapt.c). */
#include "component/componentize.h"

#include "base/limits.h"
#include "component/adapt.h"
#include "component/componentize_inner.h"
#include "component/type.h"

#include <stdio.h>

/* --- what the modules import ------------------------------------------------------------------ */

static bool name_check(ctz *c, const cm_import *i)
{
    static const str known[] = {
        {"[method]", 8}, {"[static]", 8}, {"[constructor]", 13}, {"[resource-drop]", 15}};
    bool ok = !str_starts(i->name, S("[")) && !str_starts(i->module, S("[")) &&
              !str_starts(i->module, S("cm32p2"));
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        ok |= str_starts(i->name, known[k]) && !str_starts(i->module, S("["));
    return ok || err_set(c->e, ERR_UNSUPPORTED,
                         "the core module imports '%.*s' '%.*s' (a resource of its own, an "
                         "asynchronous function, or another scheme of names), which ebb does not "
                         "make a component of; use 'wasm-tools component new'",
                         STR(i->module), STR(i->name));
}

/* The name by which a world has the interface: exactly this one, else one of its track. */
static str interface_of(const ctz *c, str module)
{
    str found = module;
    for (uint32_t i = 0; i < c->worlds_count; i++)
        for (uint32_t k = 0; k < c->worlds[i].imports.n; k++) {
            str name = c->worlds[i].imports.p[k].name;
            if (str_eq(name, module))
                return name;
            if (interface_compatible(name, module))
                found = name;
        }
    return found;
}

static bool need_add(ctz *c, const core_module *m, const cm_import *i, bool of_adapter)
{
    const cm_rec *rec = core_module_rec(m, i->type);
    uintptr_t *at;
    need n = {.module = i->module, .name = i->name, .of_adapter = of_adapter};
    n.interface = interface_of(c, i->module);
    n.is_preview1 = !of_adapter && str_eq(i->module, S("wasi_snapshot_preview1"));
    n.is_drop = str_starts(i->name, S("[resource-drop]"));
    if (!rec || !rec->is_func)
        return err_set(c->e, ERR_INVALID, "import '%.*s' has no function type", STR(i->name));
    n.type = rec->raw;
    if (!n.is_preview1 && !name_check(c, i))
        return false;
    if (!ctz_number(c, &c->wanted, ctz_key(c, of_adapter ? 'a' : 'm', i->module, i->name), &at))
        return false;
    if (*at) /* imported twice: one of them is enough */
        return true;
    *at = 1;
    if (!ctz_number(c, &c->wanted, ctz_key(c, 'f', n.interface, i->name), &at))
        return false;
    *at = 1;
    n.slot = n.is_drop ? 0 : c->slots++;
    if (c->needs.n == NEEDS_MAX)
        return err_set(c->e, ERR_LIMIT, "the core module imports more than %d functions",
                       NEEDS_MAX);
    return vec_push(c->a, &c->needs, n) || ctz_no_memory(c);
}

static bool adapter_read(ctz *c, bytes adapter)
{
    core_module whole;
    _cleanup_(buf_fini) buf pruned;
    buf_init(&pruned, COMPONENT_BYTES_MAX);
    if (!core_module_read(c->a, adapter, &whole, c->e) ||
        !adapter_prune(c->a, &whole, &c->main, &pruned, c->e))
        return err_wrap(c->e, "the adapter for WASI preview 1");
    str kept = arena_str(c->a, buf_str(&pruned));
    if (!kept.p)
        return ctz_no_memory(c);
    return core_module_read(c->a, (bytes){(const uint8_t *)kept.p, kept.n}, &c->adapter, c->e);
}

static bool needs_of_main(ctz *c, bytes adapter)
{
    for (uint32_t i = 0; i < c->main.imports_count; i++) {
        const cm_import *x = &c->main.imports[i];
        if (x->kind != CORE_FUNC)
            return err_set(c->e, ERR_UNSUPPORTED,
                           "the core module imports '%.*s' '%.*s', which is no function",
                           STR(x->module), STR(x->name));
        if (!need_add(c, &c->main, x, false))
            return false;
        c->has_adapter |= str_eq(x->module, S("wasi_snapshot_preview1"));
    }
    return !c->has_adapter || adapter_read(c, adapter);
}

static bool needs_of_adapter(ctz *c)
{
    for (uint32_t i = 0; c->has_adapter && i < c->adapter.imports_count; i++) {
        const cm_import *x = &c->adapter.imports[i];
        if (x->kind == CORE_FUNC && !str_eq(x->module, S("__main_module__")) &&
            !need_add(c, &c->adapter, x, true))
            return false;
    }
    for (uint32_t i = 0; i < c->needs.n; i++) {
        const need *n = &c->needs.p[i];
        if (n->is_preview1 && !core_module_export(&c->adapter, n->name))
            return err_set(c->e, ERR_UNSUPPORTED,
                           "the core module imports '%.*s' of WASI preview 1, which the adapter "
                           "does not have",
                           STR(n->name));
    }
    return true;
}

static bool worlds_read(ctz *c, bytes module)
{
    reader r = reader_over(module);
    reader_skip(&r, 8, c->e);
    while (!reader_done(&r)) {
        uint8_t id;
        reader content;
        str name;
        if (!reader_u8(&r, &id, c->e) || !reader_sized(&r, &content, c->e))
            return false;
        if (id != 0 || !reader_name(&content, &name, NULL) ||
            !str_starts(name, S("component-type")))
            continue;
        if (c->worlds_count == WORLDS_MAX)
            return err_set(c->e, ERR_LIMIT, "more than %d component-type sections", WORLDS_MAX);
        bytes section = {content.at, reader_left(&content)};
        if (!world_read(c->a, section, &c->worlds[c->worlds_count], c->e))
            return err_wrap(c->e, "section '%.*s'", STR(name));
        c->worlds_count++;
    }
    return true;
}

/* --- core instances
 * ------------------------------------------------------------------------------- */

enum { MODULE_MAIN, MODULE_SHIM, MODULE_FIXUP, MODULE_ADAPTER };

static bool core_alias(ctz *c, uint8_t sort, uint32_t instance, str name)
{
    buf b;
    ctz_begin(&b);
    buf_put_u8(&b, 0x00);
    buf_put_u8(&b, sort);
    buf_put_u8(&b, 0x01);
    leb_u32(&b, instance);
    put_name(&b, name);
    return ctz_end(c, 6, &b);
}

static bool func_alias(ctz *c, uint32_t instance, str name, uint32_t *ret)
{
    *ret = c->core_funcs++;
    return core_alias(c, 0, instance, name);
}

/* A core instance of exports: functions of one import module of main or the adapter. */
static bool bag_put(ctz *c, str module, bool of_adapter, uint32_t *ret)
{
    buf b, items;
    uint32_t count = 0;
    buf_init(&items, COMPONENT_BYTES_MAX);
    for (uint32_t i = 0; i < c->needs.n; i++) {
        const need *n = &c->needs.p[i];
        if (n->of_adapter != of_adapter || !str_eq(n->module, module))
            continue;
        put_name(&items, n->name);
        buf_put_u8(&items, 0);
        leb_u32(&items, n->core);
        count++;
    }
    ctz_begin(&b);
    buf_put_u8(&b, 0x01);
    leb_u32(&b, count);
    buf_put(&b, items.p, items.n);
    b.failed |= items.failed;
    buf_fini(&items);
    *ret = c->core_instances++;
    return ctz_end(c, 2, &b);
}

typedef struct {
    buf b;
    uint32_t count;
} args;

static void arg_put(args *x, str name, uint32_t instance)
{
    put_name(&x->b, name);
    buf_put_u8(&x->b, 0x12);
    leb_u32(&x->b, instance);
    x->count++;
}

static bool bags_put(ctz *c, bool of_adapter, args *x)
{
    for (uint32_t i = 0; i < c->needs.n; i++) {
        const need *n = &c->needs.p[i];
        bool first = n->of_adapter == of_adapter;
        for (uint32_t k = 0; k < i && first; k++)
            first =
                c->needs.p[k].of_adapter != of_adapter || !str_eq(c->needs.p[k].module, n->module);
        uint32_t instance;
        if (!first)
            continue;
        if (!bag_put(c, n->module, of_adapter, &instance))
            return false;
        arg_put(x, n->module, instance);
    }
    return true;
}

static bool instantiate(ctz *c, uint32_t module, args *x, uint32_t *ret)
{
    buf b;
    ctz_begin(&b);
    buf_put_u8(&b, 0x00);
    leb_u32(&b, module);
    leb_u32(&b, x->count);
    buf_put(&b, x->b.p, x->b.n);
    b.failed |= x->b.failed;
    buf_fini(&x->b);
    *ret = c->core_instances++;
    return ctz_end(c, 2, &b);
}

/* One item named `name` of a sort, as a core instance. */
static bool bag_of_one(ctz *c, str name, uint8_t sort, uint32_t index, uint32_t *ret)
{
    buf b;
    ctz_begin(&b);
    buf_put_u8(&b, 0x01);
    leb_u32(&b, 1);
    put_name(&b, name);
    buf_put_u8(&b, sort);
    leb_u32(&b, index);
    *ret = c->core_instances++;
    return ctz_end(c, 2, &b);
}

/* --- canonical functions ---------------------------------------------------------------------- */

typedef struct {
    bool has_memory, has_realloc;
    uint32_t realloc;
} canon;

static void options_put(buf *b, const canon *o, bool has_post, uint32_t post)
{
    leb_u32(b, 1U + o->has_memory + (o->has_memory && o->has_realloc) + has_post);
    buf_put_u8(b, 0x00);
    if (o->has_memory)
        buf_put(b, "\3\0", 2);
    if (o->has_memory && o->has_realloc) {
        buf_put_u8(b, 0x04);
        leb_u32(b, o->realloc);
    }
    if (has_post) {
        buf_put_u8(b, 0x05);
        leb_u32(b, post);
    }
}

static bool drop_put(ctz *c, need *n)
{
    uint32_t of;
    if (!ctz_alias(c, 3, n->interface, str_skip(n->name, 15), &of))
        return false;
    buf b;
    ctz_begin(&b);
    buf_put_u8(&b, 0x03);
    leb_u32(&b, of);
    n->core = c->core_funcs++;
    return ctz_end(c, 8, &b);
}

/* A function of the world itself, not of an interface. */
static bool root_func(ctz *c, str name, uint32_t *ret)
{
    uintptr_t *at;
    if (!ctz_number(c, &c->aliases, ctz_key(c, 'r', S("$root"), name), &at))
        return false;
    if (*at) {
        *ret = (uint32_t)*at - 1;
        return true;
    }
    for (uint32_t i = 0; i < c->worlds_count; i++)
        for (uint32_t k = 0; k < c->worlds[i].imports.n; k++) {
            const world_item *item = &c->worlds[i].imports.p[k];
            uint32_t of;
            if (item->kind != WORLD_FUNC || !str_eq(item->name, name))
                continue;
            if (!ctz_type(c, &c->worlds[i], item->type, &of))
                return false;
            buf b;
            ctz_begin(&b);
            buf_put_u8(&b, 0x00);
            put_name(&b, name);
            buf_put_u8(&b, 0x01);
            leb_u32(&b, of);
            *ret = c->funcs++;
            *at = *ret + 1;
            return ctz_end(c, 10, &b);
        }
    return err_set(c->e, ERR_INVALID, "the module imports '%.*s', which its world does not have",
                   STR(name));
}

static bool lower_put(ctz *c, const need *n, const canon *o, uint32_t *ret)
{
    uint32_t func;
    if (!(str_eq(n->module, S("$root")) ? root_func(c, n->name, &func)
                                        : ctz_alias(c, 1, n->interface, n->name, &func)))
        return false;
    buf b;
    ctz_begin(&b);
    buf_put_u8(&b, 0x01);
    buf_put_u8(&b, 0x00);
    leb_u32(&b, func);
    options_put(&b, o, false, 0);
    *ret = c->core_funcs++;
    return ctz_end(c, 8, &b);
}

/* --- exports ---------------------------------------------------------------------------------- */

/* Lifts main's core function `core` with a component function type. */
static bool lift_put(ctz *c, uint32_t main, const canon *o, str core, uint32_t of, uint32_t *ret)
{
    uint32_t func, post_func = 0;
    str post = arena_printf(c->a, "cabi_post_%.*s", STR(core));
    if (!post.p)
        return ctz_no_memory(c);
    if (!core_module_export(&c->main, core))
        return err_set(c->e, ERR_INVALID, "the core module lacks '%.*s', which its world exports",
                       STR(core));
    bool has_post = core_module_export(&c->main, post) != NULL;
    if (!func_alias(c, main, core, &func) || (has_post && !func_alias(c, main, post, &post_func)))
        return false;
    buf b;
    ctz_begin(&b);
    buf_put(&b, "\0\0", 2);
    leb_u32(&b, func);
    options_put(&b, o, has_post, post_func);
    leb_u32(&b, of);
    *ret = c->funcs++;
    return ctz_end(c, 8, &b);
}

static bool export_put(ctz *c, str name, uint8_t sort, uint32_t index)
{
    buf b;
    ctz_begin(&b);
    buf_put_u8(&b, 0x00);
    put_name(&b, name);
    buf_put_u8(&b, sort);
    leb_u32(&b, index);
    buf_put_u8(&b, 0x00);
    *(sort == 5 ? &c->instances : &c->funcs) += 1;
    return ctz_end(c, 11, &b);
}

/* One declaration of an exported interface: types at the component's level, functions lifted. */
static bool export_decl(ctz *c, world *w, str interface, uint32_t main, const canon *o, decl *d,
                        locals *l, args *bag)
{
    uint32_t to, func;
    type_map map = {l, locals_map};
    if (d->kind == DECL_ALIAS_OUTER)
        return ctz_type(c, w, d->index, &to) && (vec_push(c->a, &l->to, to) || ctz_no_memory(c));
    if (d->kind == DECL_TYPE) {
        buf b;
        ctz_begin(&b);
        if (!type_copy(&d->type, &map, &b, c->e)) {
            buf_fini(&b);
            return false;
        }
        return ctz_end(c, 7, &b) && (vec_push(c->a, &l->to, c->types++) || ctz_no_memory(c));
    }
    if (d->is_resource)
        return err_set(c->e, ERR_UNSUPPORTED,
                       "the core module exports the resource '%.*s', which ebb does not make a "
                       "component of; use 'wasm-tools component new'",
                       STR(d->name));
    if (!locals_map(l, d->index, &to, c->e))
        return false;
    bool is_func = d->of == WORLD_FUNC;
    str core = arena_printf(c->a, "%.*s#%.*s", STR(interface), STR(d->name));
    if (!core.p || (!is_func && !vec_push(c->a, &l->to, to)))
        return ctz_no_memory(c);
    if (is_func && !lift_put(c, main, o, core, to, &func))
        return false;
    buf_put_u8(&bag->b, 0x00);
    put_name(&bag->b, d->name);
    buf_put_u8(&bag->b, (uint8_t)d->of);
    leb_u32(&bag->b, is_func ? func : to);
    bag->count++;
    return true;
}

static bool export_interface(ctz *c, world *w, const world_item *x, uint32_t main, const canon *o)
{
    reader r;
    uint32_t n;
    locals l = {0};
    args bag = {0};
    if (x->type >= w->types.n || w->types.p[x->type].is_alias)
        return err_set(c->e, ERR_INVALID, "export '%.*s' has no type", STR(x->name));
    if (!decls_open(w->types.p[x->type].raw, &r, &n, c->e))
        return false;
    buf_init(&bag.b, COMPONENT_BYTES_MAX);
    bool ok = true;
    for (uint32_t i = 0; ok && i < n; i++) {
        decl d;
        ok = decl_read(&r, &d, c->e) && export_decl(c, w, x->name, main, o, &d, &l, &bag);
    }
    buf b;
    ctz_begin(&b);
    buf_put_u8(&b, 0x01);
    leb_u32(&b, bag.count);
    buf_put(&b, bag.b.p, bag.b.n);
    b.failed |= bag.b.failed;
    buf_fini(&bag.b);
    return ctz_end(c, 5, &b) && ok && export_put(c, x->name, 5, c->instances++);
}

static bool exports_put(ctz *c, uint32_t main, const canon *o)
{
    for (uint32_t i = 0; i < c->main_worlds; i++)
        for (uint32_t k = 0; k < c->worlds[i].exports.n; k++) {
            const world_item *x = &c->worlds[i].exports.p[k];
            uintptr_t *at;
            uint32_t of, func;
            if (!ctz_number(c, &c->exported, x->name, &at))
                return false;
            if (*at)
                continue;
            *at = 1;
            if (x->kind == WORLD_INSTANCE) {
                if (!export_interface(c, &c->worlds[i], x, main, o))
                    return false;
            } else if (!ctz_type(c, &c->worlds[i], x->type, &of) ||
                       !lift_put(c, main, o, x->name, of, &func) ||
                       !export_put(c, x->name, 1, func)) {
                return false;
            }
        }
    return true;
}

/* --- all of it -------------------------------------------------------------------------------- */

/* Interfaces first, then what main gets: drops, and thunks of the shim (instance 0). */
static bool imports_put(ctz *c)
{
    for (uint32_t i = 0; i < c->needs.n; i++) {
        need *n = &c->needs.p[i];
        uint32_t ignored;
        if (n->is_preview1 || str_eq(n->module, S("$root")))
            continue;
        if (!ctz_interface(c, n->interface, &ignored) || (n->is_drop && !drop_put(c, n)))
            return false;
    }
    for (uint32_t i = 0; i < c->needs.n; i++) {
        need *n = &c->needs.p[i];
        char digits[16];
        int k = snprintf(digits, sizeof digits, "%u", n->slot);
        if (!n->is_drop && !func_alias(c, 0, (str){digits, (size_t)k}, &n->core))
            return false;
    }
    return true;
}

static bool adapter_put(ctz *c, uint32_t main, bool has_realloc, uint32_t realloc, uint32_t *ret)
{
    args x = {0};
    uint32_t memory, functions;
    if (!has_realloc)
        return err_set(c->e, ERR_UNSUPPORTED,
                       "the core module uses WASI preview 1 but exports no cabi_realloc");
    buf_init(&x.b, COMPONENT_BYTES_MAX);
    if (!bag_of_one(c, S("memory"), 2, 0, &memory) ||
        !bag_of_one(c, S("cabi_realloc"), 0, realloc, &functions) || !bags_put(c, true, &x)) {
        buf_fini(&x.b);
        return false;
    }
    arg_put(&x, S("env"), memory);
    arg_put(&x, S("__main_module__"), functions);
    return instantiate(c, MODULE_ADAPTER, &x, ret);
}

/* Every slot's function, for the fix-up: lowered, or the adapter's. */
static bool slots_fill(ctz *c, uint32_t main, uint32_t adapter, const canon *of_main,
                       const canon *of_adapter)
{
    args x = {0};
    buf bag, b;
    uint32_t core, instance, count = 0;
    bool ok = true;
    buf_init(&bag, COMPONENT_BYTES_MAX);
    for (uint32_t i = 0; ok && i < c->needs.n; i++) {
        const need *n = &c->needs.p[i];
        if (n->is_drop)
            continue;
        ok = n->is_preview1 ? func_alias(c, adapter, n->name, &core)
                            : lower_put(c, n, n->of_adapter ? of_adapter : of_main, &core);
        ctz_slot_name(&bag, n->slot);
        buf_put_u8(&bag, 0);
        leb_u32(&bag, core);
        count++;
    }
    if (ok && ctz_has_initialize(c)) {
        ok = func_alias(c, main, S("_initialize"), &core);
        put_name(&bag, S("init"));
        buf_put_u8(&bag, 0);
        leb_u32(&bag, core);
        count++;
    }
    ok = ok && core_alias(c, 1, 0, S("$imports"));
    put_name(&bag, S("$imports"));
    buf_put(&bag, "\1\0", 2);
    ctz_begin(&b);
    buf_put_u8(&b, 0x01);
    leb_u32(&b, count + 1);
    buf_put(&b, bag.p, bag.n);
    b.failed |= bag.failed;
    buf_fini(&bag);
    instance = c->core_instances++;
    if (!ctz_end(c, 2, &b) || !ok)
        return false;
    buf_init(&x.b, 1 << 16);
    arg_put(&x, S(""), instance);
    return instantiate(c, MODULE_FIXUP, &x, &instance);
}

static bool instances_put(ctz *c)
{
    args x = {0};
    uint32_t shim, main, adapter = 0;
    canon of_main = {0}, of_adapter = {0};
    buf_init(&x.b, COMPONENT_BYTES_MAX);
    if (!instantiate(c, MODULE_SHIM, &x, &shim) || !imports_put(c))
        return false;
    args y = {0};
    buf_init(&y.b, COMPONENT_BYTES_MAX);
    if (!bags_put(c, false, &y)) {
        buf_fini(&y.b);
        return false;
    }
    if (!instantiate(c, MODULE_MAIN, &y, &main))
        return false;
    const cm_export *memory = core_module_export(&c->main, S("memory"));
    of_main.has_memory = memory && memory->kind == CORE_MEMORY;
    of_main.has_realloc = core_module_export(&c->main, S("cabi_realloc")) != NULL;
    if ((of_main.has_memory && !core_alias(c, 2, main, S("memory"))) ||
        (of_main.has_realloc && !func_alias(c, main, S("cabi_realloc"), &of_main.realloc)))
        return false;
    if (c->has_adapter) {
        of_adapter = (canon){of_main.has_memory, true, 0};
        if (!adapter_put(c, main, of_main.has_realloc, of_main.realloc, &adapter) ||
            !func_alias(c, adapter, S("cabi_import_realloc"), &of_adapter.realloc))
            return false;
    }
    return slots_fill(c, main, adapter, &of_main, &of_adapter) && exports_put(c, main, &of_main);
}

static bool modules_put(ctz *c, bytes module)
{
    buf m;
    buf_init(&m, COMPONENT_BYTES_MAX);
    buf_put(&m, module.p, module.n);
    if (!ctz_module(c, &m) || !ctz_shim(c) || !ctz_fixup(c))
        return false;
    if (!c->has_adapter)
        return true;
    buf_init(&m, COMPONENT_BYTES_MAX);
    if (!adapter_prepare(&c->adapter, &m, c->e)) {
        buf_fini(&m);
        return false;
    }
    return ctz_module(c, &m);
}

bool componentize(arena *a, bytes module, bytes adapter, buf *out, err *e)
{
    ctz *c = ARENA_NEW(a, ctz);
    if (!c)
        return err_no_memory(e);
    c->a = a;
    c->out = out;
    c->e = e;
    if (!worlds_read(c, module))
        return false;
    c->main_worlds = c->worlds_count;
    if (!c->worlds_count)
        return err_set(e, ERR_UNSUPPORTED,
                       "this is a core module without a component-type section, so nothing says "
                       "what it is; build it for wasm32-wasip2 or with wit-bindgen (modules with "
                       "_start, as for Wagi, and those of wit-bindgen 0.2 are not run)");
    if (!core_module_read(a, module, &c->main, e) || !needs_of_main(c, adapter) ||
        (c->has_adapter && !worlds_read(c, adapter)) || !needs_of_adapter(c))
        return false;
    buf_put(out, "\0asm\x0d\0\1\0", 8);
    return modules_put(c, module) && instances_put(c);
}
