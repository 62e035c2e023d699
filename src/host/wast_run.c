/* See wast_run.h. Values of the suite are laid out in a memory of the host's, from where abi_copy
 * lowers them, as if the host were the caller's component instance. */
#include "host/wast_run.h"

#include "base/limits.h"
#include "base/must.h"
#include "component/abi_copy.h"
#include "component/flatten.h"
#include "component/reader.h"
#include "host/compose.h"
#include "host/resources.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const host_component nobody = {.name = {"wast", 4}, .handles_max = 100000};

/* --- components ---------------------------------------------------------------------------- */

static bool module_map(wast_component *c, const char *dir, uint32_t k, bytes module, err *e)
{
    _cleanup_(buf_fini) buf cwasm;
    char path[300];
    buf_init(&cwasm, 512 * MIB);
    if (!engine_compile(c->en, module, &cwasm, e))
        return false;
    snprintf(path, sizeof path, "%s/module.cwasm", dir);
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set_errno(e, "%s", path);
    bool ok = write(fd, cwasm.p, cwasm.n) == (ssize_t)cwasm.n || err_set_errno(e, "%s", path);
    close(fd);
    const plan_unit *u = &c->plan.units[k];
    engine_links *links = NULL;
    ok = ok &&
         engine_links_new(c->en, u->imports, host_binding_imports(c->binding, k), u->imports_count,
                          &links, e) &&
         engine_module_open(c->en, path, u, links, &c->modules[k], e);
    engine_links_drop(links);
    unlink(path);
    return ok;
}

static bool plan_through_bytes(wast_component *c, const plan *made, err *e)
{
    _cleanup_(buf_fini) buf out;
    buf_init(&out, 64 * MIB);
    if (!plan_encode(made, &out, e))
        return false;
    return plan_decode(&c->a, buf_bytes(&out), &c->plan, e);
}

static bool component_make(wast_component *c, const char *dir, const plan *made, const buf *modules,
                           err *e)
{
    if (!plan_through_bytes(c, made, e) ||
        !host_bind(&c->a, &c->plan, &c->binding, &c->missing, &c->missing_count, e))
        return false;
    c->modules = ARENA_ARRAY(&c->a, engine_module *, c->plan.units_count + 1);
    if (!c->modules)
        return err_no_memory(e);
    for (uint32_t k = 0; k < c->plan.units_count; k++)
        if (!module_map(c, dir, k, buf_bytes(&modules[k]), e))
            return false;
    return true;
}

bool wast_component_new(engine *en, struct loop *l, const char *scratch_dir, bytes component,
                        wast_component **ret, err *e)
{
    wast_component *c = calloc(1, sizeof *c);
    _cleanup_(arena_fini) arena scratch;
    plan made;
    buf *modules;
    must(c);
    c->en = en;
    c->l = l;
    arena_init(&c->a, COMPONENT_ARENA_BYTES_MAX);
    arena_init(&scratch, COMPONENT_ARENA_BYTES_MAX);
    bool ok = flatten_component(&scratch, component, &made, &modules, e);
    if (ok) {
        ok = component_make(c, scratch_dir, &made, modules, e);
        flatten_free(modules, made.units_count);
    }
    if (!ok) {
        wast_component_free(c);
        return false;
    }
    *ret = c;
    return true;
}

void wast_component_free(wast_component *c)
{
    if (!c)
        return;
    must(c->instances == 0);
    for (uint32_t k = 0; c->modules && k < c->plan.units_count; k++)
        engine_module_close(c->modules[k]);
    arena_fini(&c->a);
    free(c);
}

/* A component section holds a component, a core module section a core module (Binary.md "Component
 * Definitions"); the component is known to be valid but for its core modules. */
static bool modules_validate(engine *en, bytes b, unsigned depth, err *e)
{
    enum { SECTION_MODULE = 1, SECTION_COMPONENT = 4, PREAMBLE = 8 };
    reader r = reader_over(b);
    bytes body;
    must(depth <= COMPONENT_DEPTH_MAX);
    if (!reader_bytes(&r, PREAMBLE, &body, e))
        return false;
    while (!reader_done(&r)) {
        uint8_t id;
        uint32_t n;
        if (!reader_u8(&r, &id, e) || !reader_u32(&r, &n, e) || !reader_bytes(&r, n, &body, e))
            return false;
        if (id == SECTION_MODULE && !engine_validate(en, body, e))
            return false;
        if (id == SECTION_COMPONENT && !modules_validate(en, body, depth + 1, e))
            return false;
    }
    return true;
}

bool wast_modules_validate(engine *en, bytes component, err *e)
{
    return modules_validate(en, component, 0, e);
}

/* --- instances ----------------------------------------------------------------------------- */

static const engine_limits limits = {.memory_bytes_max = SIZE_MAX, .table_elements_max = 1000000};

void wast_instance_free(wast_instance *i)
{
    if (!i)
        return;
    engine_instance_free(i->in);
    guest_free(i->g);
    i->of->instances--;
    free(i);
}

static void on_wake(void *user) { ((wast_instance *)user)->woken = true; }

static const guest_callbacks callbacks = {.on_wake = on_wake};

/* in NULL: the start functions of all instances, in order. */
static engine_status run(wast_instance *i, engine_instance *in)
{
    for (;;) {
        i->woken = false;
        engine_status s = in ? engine_poll(in) : guest_start(i->g);
        if (s == ENGINE_DONE || s == ENGINE_TRAP)
            return s;
        while (s == ENGINE_WAIT && !i->woken)
            loop_turn(i->of->l, 1000);
    }
}

static wast_status instance_died(wast_instance *i, const engine_instance *in, err *e)
{
    i->dead = true;
    err_set(e, ERR_INVALID, "%s", engine_instance_trap(in)->text);
    return WAST_TRAP;
}

static bool instance_make(wast_instance *i, err *e)
{
    wast_component *c = i->of;
    if (!guest_new(&nobody, c->l, &callbacks, i, &i->g, e))
        return false;
    if (!c->plan.units_count)
        return true;
    if (!guest_compose(i->g, c->binding, c->modules, &limits, 0, e) ||
        !engine_instance_new(c->modules[0], &limits, i->g, &i->in, e))
        return false;
    handles_init(&i->handles, 1000);
    guest_attach(i->g, i->in);
    engine_start(i->in);
    return true;
}

wast_status wast_instance_new(wast_component *c, wast_instance **ret, err *e)
{
    wast_instance *i = calloc(1, sizeof *i);
    must(i);
    i->of = c;
    c->instances++;
    if (!instance_make(i, e)) {
        wast_instance_free(i);
        return WAST_ERROR;
    }
    *ret = i;
    if (!i->in || run(i, NULL) == ENGINE_DONE)
        return WAST_DONE;
    return instance_died(i, i->in, e);
}

/* --- calls --------------------------------------------------------------------------------- */

typedef struct {
    wast_memory *m;
    engine_instance *in;
    const plan_options *options;
    wast_instance *of;
} host_copy;

static void guest_side(abi_side *s, const host_copy *h)
{
    s->base = NULL;
    s->size = 0;
    s->encoding = h->options->encoding;
    if (h->options->memory != PLAN_NONE)
        s->base = engine_memory(h->in, h->options->memory, &s->size);
}

static abi_side host_side(const wast_memory *m)
{
    return (abi_side){m->base, m->size, ENCODING_UTF8, .is_host = true};
}

static bool realloc_guest(abi_copier *c, uint32_t align, uint32_t size, uint32_t *ret)
{
    const host_copy *h = c->user;
    slot slots[4] = {{.u64 = 0}, {.u64 = 0}, {.u64 = align}, {.u64 = size}};
    engine_call_realloc(h->in, h->options->realloc, slots);
    if (run(h->of, h->in) != ENGINE_DONE)
        return false;
    *ret = slots[0].u32;
    guest_side(&c->dst, h);
    return true;
}

static bool realloc_host(abi_copier *c, uint32_t align, uint32_t size, uint32_t *ret)
{
    const host_copy *h = c->user;
    return wast_alloc(h->m, align, size, ret);
}

/* An own in a result: out of the instance's table into one of ours. */
static bool handle_host(abi_copier *c, const type *t, uint32_t index, uint32_t *ret)
{
    const host_copy *h = c->user;
    guest_unit *from = engine_user(h->in);
    const wast_component *of = h->of->of;
    guest_unit to = {.g = from->g, .handles = &h->of->handles, .index = UINT32_MAX};
    guest_call given = {.caller = from};
    return resource_pass(&given, h->in, &of->plan, of->binding->resources, t, from, &to, index,
                         ret);
}

static const plan_name *export_find(const wast_component *c, const char *name)
{
    for (uint32_t k = 0; k < c->plan.exports_count; k++)
        if (!c->plan.exports[k].interface.n && str_eq(c->plan.exports[k].name, str_from(name)))
            return &c->plan.exports[k];
    return NULL;
}

static wast_status copy_failed(wast_instance *i, engine_instance *in, const abi_copier *c, err *e)
{
    if (!c->trap[0])
        return instance_died(i, in, e);
    i->dead = true;
    err_set(e, ERR_INVALID, "%s", c->trap);
    return WAST_TRAP;
}

static bool args_store(wast_memory *m, const functype *f, const json_t *args, uint64_t *ret_at,
                       err *e)
{
    uint32_t size, align, at, offset = 0;
    abi_params_layout(f, &size, &align);
    if (json_array_size(args) != f->params_count || !wast_alloc(m, align, size, &at))
        return err_set(e, ERR_INVALID, "the suite passes %zu arguments to a function of %u",
                       json_array_size(args), f->params_count);
    for (uint32_t k = 0; k < f->params_count; k++) {
        const type *t = f->params[k].type;
        offset = (offset + t->align - 1) & ~(t->align - 1);
        if (!wast_store(m, t, json_array_get(args, k), at + offset, e))
            return false;
        offset += t->size;
    }
    *ret_at = at;
    return true;
}

/* canon lift from the host's side: arguments, call, result, post-return. */
static wast_status call(wast_instance *i, engine_instance *in, const plan_name *x,
                        const json_t *args, wast_memory *m, uint32_t *ret_at, err *e)
{
    const plan_lift *f = &i->of->plan.units[x->unit].lifts[x->lift];
    host_copy h = {m, in, &f->options, i};
    abi_copier c = {.src = host_side(m), .realloc = realloc_guest, .user = &h};
    uint64_t src[ABI_FLAT_PARAMS_MAX + 1], dst[ABI_FLAT_PARAMS_MAX + 1];
    slot slots[ABI_FLAT_PARAMS_MAX + 1];
    guest_side(&c.dst, &h);
    if (!args_store(m, f->type, args, src, e))
        return WAST_ERROR;
    if (!abi_copy_params(&c, f->type, src, true, dst, f->signature.params_spilled))
        return copy_failed(i, in, &c, e);
    for (uint32_t k = 0; k < f->signature.params_count; k++)
        slots[k].u64 = dst[k];
    engine_call(in, x->lift, slots);
    if (run(i, in) != ENGINE_DONE)
        return instance_died(i, in, e);
    if (f->type->result) {
        c = (abi_copier){
            .dst = host_side(m), .realloc = realloc_host, .handle = handle_host, .user = &h};
        guest_side(&c.src, &h);
        src[0] = slots[0].u64;
        if (!wast_alloc(m, f->type->result->align, f->type->result->size, ret_at))
            return err_no_memory(e), WAST_ERROR;
        dst[0] = *ret_at;
        if (!abi_copy_result(&c, f->type, src, f->signature.results_spilled, dst, true))
            return copy_failed(i, in, &c, e);
    }
    if (f->has_post_return) {
        engine_post_return(in, x->lift, slots);
        if (run(i, in) != ENGINE_DONE)
            return instance_died(i, in, e);
    }
    return WAST_DONE;
}

wast_status wast_invoke(wast_instance *i, const char *name, const json_t *args, wast_memory *m,
                        const functype **ret_type, uint32_t *ret_at, err *e)
{
    const plan_name *x = export_find(i->of, name);
    if (!x || x->unit == UINT32_MAX)
        return err_set(e, ERR_NOT_FOUND, "no function '%s' is exported", name), WAST_ERROR;
    const plan_lift *f = &i->of->plan.units[x->unit].lifts[x->lift];
    *ret_type = f->type;
    if (f->options.async)
        return err_set(e, ERR_UNSUPPORTED, "an asynchronous function"), WAST_ERROR;
    if (i->dead || !guest_enter(i->g, x->unit)) {
        err_set(e, ERR_INVALID, "wasm trap: cannot enter component instance");
        return WAST_TRAP;
    }
    engine_instance *in = guest_instance(i->g, x->unit, e);
    if (!in)
        return WAST_ERROR;
    if (!engine_instance_ready(in) && run(i, in) != ENGINE_DONE)
        return instance_died(i, in, e);
    wast_status s = call(i, in, x, args, m, ret_at, e);
    guest_leave(i->g, x->unit);
    return s;
}
