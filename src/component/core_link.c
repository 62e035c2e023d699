/* See core_link.h. One unit; imports are looked up backwards, so that of two sources of one name
 * the later one counts. */
#include "component/core_link.h"

#include "component/core_module.h"
#include "component/table.h"

typedef struct {
    arena *a;
    err *e;
    const core_source *sources;
    core_module *modules;
    uint32_t n;
    VEC(link_canon) canons;
    VEC(link_lift) lifts;
} linking;

static bool numbers_read(reader *r, uint32_t max, core_type *ret, uint32_t *ret_count)
{
    uint32_t n;
    if (!reader_u32(r, &n, NULL) || n > max)
        return false;
    for (*ret_count = 0; *ret_count < n; ++*ret_count) {
        uint8_t b;
        if (!reader_u8(r, &b, NULL) || b < CORE_F64 || b > CORE_I32)
            return false;
        ret[*ret_count] = (core_type)b;
    }
    return true;
}

/* The signature of type `index`; false if it is none of a core_signature's, or stands in a
 * recursion group with others. */
static bool signature_read(const core_module *m, uint32_t index, core_signature *ret)
{
    const cm_rec *rec = core_module_rec(m, index);
    uint8_t form;
    uint32_t n, super;
    if (!rec || rec->count != 1)
        return false;
    reader r = reader_over(rec->raw);
    if (*r.at == 0x4e && (!reader_u8(&r, &form, NULL) || !reader_u32(&r, &n, NULL)))
        return false;
    if (!reader_u8(&r, &form, NULL))
        return false;
    if (form == 0x50 || form == 0x4f) {
        if (!reader_u32(&r, &n, NULL))
            return false;
        for (; n > 0; n--)
            if (!reader_u32(&r, &super, NULL))
                return false;
        if (!reader_u8(&r, &form, NULL))
            return false;
    }
    *ret = (core_signature){0};
    return form == 0x60 &&
           numbers_read(&r, ABI_FLAT_PARAMS_MAX + 1, ret->params, &ret->params_count) &&
           numbers_read(&r, ABI_FLAT_RESULTS_MAX, ret->results, &ret->results_count);
}

static bool canon_find(linking *l, const core_module *m, const cm_import *im, uint32_t *ret)
{
    link_canon c = {.kind = CANON_TRAP, .interface = im->module, .name = im->name};
    c.options.memory.instance = c.options.realloc.instance = -1;
    c.options.post_return.instance = c.options.callback.instance = -1;
    if (im->kind != CORE_FUNC || !signature_read(m, im->type, &c.signature))
        return err_set(l->e, ERR_UNSUPPORTED, "nothing offers the import '%.*s' '%.*s'",
                       STR(im->module), STR(im->name));
    for (*ret = 0; *ret < l->canons.n; ++*ret) {
        const link_canon *have = &l->canons.p[*ret];
        if (str_eq(have->interface, c.interface) && str_eq(have->name, c.name) &&
            memcmp(&have->signature, &c.signature, sizeof c.signature) == 0)
            return true;
    }
    return vec_push(l->a, &l->canons, c) ? true : err_no_memory(l->e);
}

/* Core specification: an import is an export of an earlier instance. */
static bool import_find(linking *l, uint32_t i, const cm_import *im, link_import *ret)
{
    *ret = (link_import){im->module, im->name, im->kind, {.core = {-1, im->name}}};
    for (uint32_t k = i; k-- > 0;) {
        if (!str_eq(l->sources[k].name, im->module))
            continue;
        const cm_export *x = core_module_export(&l->modules[k], im->name);
        if (x && x->kind == im->kind) {
            ret->def.core.instance = (int32_t)k;
            return true;
        }
    }
    ret->def.is_canon = true;
    return canon_find(l, &l->modules[i], im, &ret->def.canon);
}

/* Core specification: instantiation. */
static bool module_link(linking *l, uint32_t i, link_core *ret)
{
    core_module *m = &l->modules[i];
    if (!core_module_read(l->a, l->sources[i].module, m, l->e))
        return err_wrap(l->e, "core module %u", i);
    link_import *imports = ARENA_ARRAY(l->a, link_import, m->imports_count);
    if (!imports)
        return err_no_memory(l->e);
    for (uint32_t k = 0; k < m->imports_count; k++)
        if (!import_find(l, i, &m->imports[k], &imports[k]))
            return err_wrap(l->e, "core module %u", i);
    *ret = (link_core){l->sources[i].module, 0, imports, m->imports_count};
    return true;
}

static const type *number_type(core_type t)
{
    return type_primitive(t == CORE_I32   ? TYPE_U32
                          : t == CORE_I64 ? TYPE_U64
                          : t == CORE_F32 ? TYPE_F32
                                          : TYPE_F64);
}

/* A component function whose core signature is s. */
static const functype *number_functype(arena *a, const core_signature *s)
{
    functype *f = ARENA_NEW(a, functype);
    type_field *params = ARENA_ARRAY(a, type_field, s->params_count);
    if (!f || !params)
        return NULL;
    for (uint32_t i = 0; i < s->params_count; i++)
        params[i] = (type_field){S("p"), number_type(s->params[i])};
    f->params = params;
    f->params_count = s->params_count;
    f->result = s->results_count ? number_type(s->results[0]) : NULL;
    return f;
}

static bool lifts_make(linking *l, uint32_t i)
{
    const core_module *m = &l->modules[i];
    core_ref none = {-1, S("")}, memory = none;
    for (uint32_t k = m->exports_count; k-- > 0;)
        if (m->exports[k].kind == CORE_MEMORY)
            memory = (core_ref){(int32_t)i, m->exports[k].name};
    for (uint32_t k = 0; k < m->exports_count; k++) {
        const cm_export *x = &m->exports[k];
        link_lift lift = {.core = {(int32_t)i, x->name}};
        lift.options = (canon_options){ENCODING_UTF8, memory, none, none, none, false};
        if (x->kind != CORE_FUNC || !signature_read(m, m->func_types[x->index], &lift.signature) ||
            lift.signature.params_count > ABI_FLAT_PARAMS_MAX)
            continue;
        lift.type = number_functype(l->a, &lift.signature);
        lift.label = arena_printf(l->a, "%.*s#%.*s", STR(l->sources[i].name), STR(x->name));
        if (!lift.type || !lift.label.p || !vec_push(l->a, &l->lifts, lift))
            return err_no_memory(l->e);
    }
    return true;
}

bool core_link(arena *a, const core_source *sources, uint32_t n, link_plan *ret, err *e)
{
    linking l = {.a = a, .e = e, .sources = sources, .n = n};
    link_core *cores = ARENA_ARRAY(a, link_core, n);
    link_unit *unit = ARENA_NEW(a, link_unit);
    l.modules = ARENA_ARRAY(a, core_module, n);
    if (!cores || !unit || !l.modules)
        return err_no_memory(e);
    for (uint32_t i = 0; i < n; i++)
        if (!module_link(&l, i, &cores[i]) || !lifts_make(&l, i))
            return false;
    *unit = (link_unit){cores, n, l.canons.p, l.canons.n, l.lifts.p, l.lifts.n, UINT32_MAX, S("")};
    *ret = (link_plan){.units = unit, .units_count = 1, .core_modules_count = n};
    return true;
}
