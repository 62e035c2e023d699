/* The name section (core specification, appendix "Custom Sections"): function names only, those
 * that backtraces show. Imports are named by what they are to the component; a function without a
 * name gets that of its export; a name that an earlier core instance has used is given the core
 * module's own name in front ("libc.so.malloc"), or its number where the module has none or is
 * instantiated twice ("core3.malloc"). */
#include "component/flatten_inner.h"

#include <stdio.h>

typedef struct {
    flat *f;
    buf *out;
    table seen;  /* name -> its first core's number + 1 */
    str *labels; /* of each core, for names that collide */
} naming;

static bool labels_make(naming *n)
{
    flat *f = n->f;
    table taken = {0};
    n->labels = ARENA_ARRAY(f->a, str, f->cores_count);
    if (!n->labels)
        return flat_oom(f);
    for (uint32_t i = 0; i < f->cores_count; i++) {
        str name = f->cores[i].m.name;
        const void **at = NULL;
        if (name.n && !table_at(f->a, &taken, name, &f->steps, &at))
            return flat_oom(f);
        if (name.n && !*at) {
            *at = name.p;
            n->labels[i] = name;
            continue;
        }
        n->labels[i] = arena_printf(f->a, "core%u", i);
        if (!n->labels[i].p)
            return flat_oom(f);
    }
    return true;
}

/* Names for functions that have none, from exports. */
static bool exports_name(naming *n, flat_core *c)
{
    flat *f = n->f;
    if (!c->m.names)
        c->m.names = ARENA_ARRAY(f->a, str, c->m.count[CORE_FUNC]);
    if (!c->m.names)
        return flat_oom(f);
    for (uint32_t i = 0; i < c->m.exports_count; i++) {
        const cm_export *x = &c->m.exports[i];
        if (x->kind == CORE_FUNC && !c->m.names[x->index].n)
            c->m.names[x->index] = x->name;
    }
    return true;
}

static void put_canon_name(naming *n, uint32_t i)
{
    const link_canon *c = &n->f->unit->canons[i];
    leb_u32(n->out, i);
    leb_u32(n->out, (uint32_t)(c->interface.n + (c->interface.n > 0) + c->name.n));
    buf_put(n->out, c->interface.p, c->interface.n);
    if (c->interface.n)
        buf_put_u8(n->out, '#');
    buf_put(n->out, c->name.p, c->name.n);
}

static bool put_func_name(naming *n, const flat_func *fn, str name)
{
    flat *f = n->f;
    const void **at;
    if (!table_at(f->a, &n->seen, name, &f->steps, &at))
        return flat_oom(f);
    uintptr_t own = (uintptr_t)fn->core + 1;
    if (!*at)
        *at = (const void *)own;
    leb_u32(n->out, fn->final);
    if (*at == (const void *)own) {
        flat_put_name(n->out, name);
        return flat_steps_ok(f);
    }
    str label = n->labels[fn->core];
    leb_u32(n->out, (uint32_t)(label.n + 1 + name.n));
    buf_put_str(n->out, label);
    buf_put_u8(n->out, '.');
    buf_put_str(n->out, name);
    return flat_steps_ok(f);
}

static str func_name(const flat *f, const flat_func *fn)
{
    const core_module *m = &f->cores[fn->core].m;
    return fn->target == FLAT_DROPPED ? m->names[m->imported[CORE_FUNC] + fn->body] : (str){0};
}

static bool put_functions(naming *n)
{
    const flat *f = n->f;
    uint32_t count = f->unit->canons_count + f->has_start + f->sized_count;
    for (uint32_t i = 0; i < f->funcs_count; i++)
        count += func_name(f, &f->funcs[i]).n > 0;
    leb_u32(n->out, count);
    for (uint32_t i = 0; i < f->unit->canons_count; i++)
        put_canon_name(n, i);
    for (uint32_t i = 0; i < f->funcs_count; i++) {
        str name = func_name(f, &f->funcs[i]);
        if (name.n && !put_func_name(n, &f->funcs[i], name))
            return false;
    }
    if (f->has_start) {
        leb_u32(n->out, f->unit->canons_count + flat_funcs_kept(f));
        flat_put_name(n->out, S("start (of all core modules)"));
    }
    flat_put_grow_names(f, n->out);
    return true;
}

bool flat_put_names(flat *f, buf *out)
{
    naming n = {.f = f, .out = out};
    if (!labels_make(&n))
        return false;
    for (uint32_t i = 0; i < f->cores_count; i++)
        if (!exports_name(&n, &f->cores[i]))
            return false;
    size_t at = flat_section_begin(out, 0);
    flat_put_name(out, S("name"));
    buf_put_u8(out, 1);
    size_t sub = flat_length_begin(out);
    if (!put_functions(&n))
        return false;
    flat_length_end(out, sub);
    flat_length_end(out, at);
    return true;
}
