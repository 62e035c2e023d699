/* Any bytes through component_link: no crash, bounded memory, and a plan whose every index is good.
 * The corpus is our own components and the cases of tests/component/rules.wast. */
#include "component/composition.h"

#include "base/limits.h"
#include "base/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void core_ref_check(const link_unit *u, const core_ref *r)
{
    must(r->instance >= -1 && r->instance < (int32_t)u->cores_count);
}

static void options_check(const link_unit *u, const canon_options *o)
{
    core_ref_check(u, &o->memory);
    core_ref_check(u, &o->realloc);
    core_ref_check(u, &o->post_return);
    core_ref_check(u, &o->callback);
    must(o->encoding <= ENCODING_LATIN1_UTF16);
}

static void type_check(const link_plan *p, const type *t)
{
    if (!t)
        return;
    must(t->depth <= COMPONENT_TYPE_DEPTH_MAX && t->size <= 1u << 29 && t->align >= 1);
    if (t->resource)
        must(t->resource->index < p->resources_count);
    type_check(p, t->elem);
    for (uint32_t i = 0; i < t->fields_count && i < 100; i++)
        type_check(p, t->fields[i].type);
}

static void functype_check(const link_plan *p, const functype *f)
{
    for (uint32_t i = 0; i < f->params_count; i++)
        if (f->params[i].type->nodes < 10000)
            type_check(p, f->params[i].type);
    if (f->result && f->result->nodes < 10000)
        type_check(p, f->result);
}

static void canon_check(const link_plan *p, const link_unit *u, const link_canon *c)
{
    options_check(u, &c->options);
    if (c->kind == CANON_HOST || c->kind == CANON_LIFTED)
        functype_check(p, c->type);
    if (c->kind == CANON_LIFTED)
        must(c->unit < p->units_count && c->lift < p->units[c->unit].lifts_count);
    if (c->kind >= CANON_RESOURCE_NEW && c->kind <= CANON_RESOURCE_DROP)
        must(c->resource < p->resources_count);
    must(c->signature.params_count <= ABI_FLAT_PARAMS_MAX + 1 && c->signature.results_count <= 1);
}

/* What `ebb inspect` and messages do with a type. */
static void text_check(arena *a, const functype *f)
{
    str text = functype_text(a, f);
    must(!text.p || text.n > 0);
    must(functype_equal(f, f));
}

static void unit_check(const link_plan *p, const link_unit *u)
{
    must(u->parent == UINT32_MAX || u->parent < p->units_count);
    for (uint32_t i = 0; i < u->cores_count; i++)
        for (uint32_t k = 0; k < u->cores[i].imports_count; k++) {
            const link_def *d = &u->cores[i].imports[k].def;
            if (d->is_canon)
                must(d->canon < u->canons_count);
            else /* only earlier instances */
                must(d->core.instance >= 0 && d->core.instance < (int32_t)i);
        }
    for (uint32_t i = 0; i < u->canons_count; i++)
        canon_check(p, u, &u->canons[i]);
    for (uint32_t i = 0; i < u->lifts_count; i++) {
        options_check(u, &u->lifts[i].options);
        functype_check(p, u->lifts[i].type);
        must(u->lifts[i].core.instance >= 0);
        core_ref_check(u, &u->lifts[i].core);
    }
}

/* A composition is linked as one, anything else as a component. */
static bool link(arena *a, bytes b, link_plan *ret, err *e)
{
    composition_part *parts;
    size_t n;
    if (!bytes_are_composition(b))
        return component_link(a, b, ret, e);
    return composition_read(a, b, &parts, &n, e) && composition_link(a, parts, n, ret, e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    arena a;
    link_plan p;
    err e = {0};
    arena_init(&a, 256 * MIB);
    if (link(&a, (bytes){data, size}, &p, &e)) {
        for (uint32_t i = 0; i < p.units_count; i++) {
            unit_check(&p, &p.units[i]);
            for (uint32_t k = 0; k < p.units[i].lifts_count && k < 20; k++)
                text_check(&a, p.units[i].lifts[k].type);
        }
        for (uint32_t i = 0; i < p.exports_count; i++)
            must(p.exports[i].unit == UINT32_MAX ||
                 (p.exports[i].unit < p.units_count &&
                  p.exports[i].lift < p.units[p.exports[i].unit].lifts_count));
        for (uint32_t i = 0; i < p.resources_count; i++)
            must(p.resources[i].type.imported || p.resources[i].unit == UINT32_MAX ||
                 p.resources[i].unit < p.units_count);
    } else {
        must(e.code != ERR_NONE && e.code != ERR_INTERNAL && e.text[0]);
    }
    arena_fini(&a);
    return 0;
}
