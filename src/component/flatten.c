/* See flatten.h, and flatten_inner.h for how the work is divided. Here: from link plan to one set
 * of index spaces. Instances are taken in instantiation order, so that whatever an import names is
 * numbered already. Function types are written once each; everything else of a type section is
 * copied per instance (the engine finds equal recursion groups by itself). */
#include "component/flatten_inner.h"

#include "base/limits.h"

#include <stdlib.h>

bool flat_oom(flat *f)
{
    return err_no_memory(f->e);
}

bool flat_in_core(flat *f, uint32_t core)
{
    return err_wrap(f->e, "core module at offset 0x%llx",
                    (unsigned long long)f->unit->cores[core].offset);
}

reader flat_reader(const flat_core *c, bytes b)
{
    return (reader){b.p, b.p + b.n, c->m.file.p};
}

/* --- types ------------------------------------------------------------------------------------ */

bool flat_func_type(flat *f, bytes raw, uint32_t *ret)
{
    const void **at;
    bytes kept = arena_bytes(f->a, raw);
    if (!kept.p || !table_at(f->a, &f->types_seen, (str){(const char *)kept.p, kept.n}, &f->steps,
                             &at))
        return flat_oom(f);
    if (!*at) {
        buf_put(&f->types, raw.p, raw.n);
        f->type_entries++;
        *at = (const void *)(uintptr_t)++f->types_count;
    }
    *ret = (uint32_t)(uintptr_t)*at - 1;
    return true;
}

static bool types_map(flat *f, flat_core *c)
{
    _cleanup_(buf_fini) buf one;
    buf_init(&one, 64 * MIB);
    c->maps.types = (index_map){c->types, c->m.types_count};
    for (uint32_t i = 0; i < c->m.recs_count; i++) {
        const cm_rec *rec = &c->m.recs[i];
        for (uint32_t k = 0; k < rec->count; k++)
            c->types[rec->first + k] = f->types_count + k;
        reader r = flat_reader(c, rec->raw);
        buf_clear(&one);
        if (!code_walk_rectype(&r, &c->maps.types, &one, f->e))
            return false;
        if (rec->is_func) {
            if (!flat_func_type(f, buf_bytes(&one), &c->types[rec->first]))
                return false;
        } else {
            buf_put(&f->types, one.p, one.n);
            f->types_count += rec->count;
            f->type_entries++;
        }
    }
    return true;
}

static bool canon_types(flat *f)
{
    f->canon_types = ARENA_ARRAY(f->a, uint32_t, f->unit->canons_count);
    if (!f->canon_types)
        return flat_oom(f);
    for (uint32_t i = 0; i < f->unit->canons_count; i++) {
        const core_signature *s = &f->unit->canons[i].signature;
        uint8_t raw[3 + ABI_FLAT_PARAMS_MAX + 1 + ABI_FLAT_RESULTS_MAX];
        size_t n = 0;
        raw[n++] = 0x60;
        raw[n++] = (uint8_t)s->params_count;
        for (uint32_t k = 0; k < s->params_count; k++)
            raw[n++] = (uint8_t)s->params[k];
        raw[n++] = (uint8_t)s->results_count;
        for (uint32_t k = 0; k < s->results_count; k++)
            raw[n++] = (uint8_t)s->results[k];
        if (!flat_func_type(f, (bytes){raw, n}, &f->canon_types[i]))
            return false;
    }
    return true;
}

/* --- constant expressions --------------------------------------------------------------------- */

enum { CONST_STACK = 16 };

bool flat_const(const flat *f, const flat_core *c, bytes expr, uint8_t *ret_type, int64_t *ret)
{
    struct {
        uint8_t type;
        int64_t v;
    } stack[CONST_STACK];
    uint32_t n = 0, index;
    reader r = flat_reader(c, expr);
    for (;;) {
        uint8_t op;
        int32_t i32;
        if (!reader_u8(&r, &op, NULL))
            return false;
        if (op == 0x0b)
            break;
        if (op == 0x6a || op == 0x6b || op == 0x6c || op == 0x7c || op == 0x7d || op == 0x7e) {
            if (n < 2)
                return false;
            uint64_t x = (uint64_t)stack[n - 2].v, y = (uint64_t)stack[n - 1].v;
            uint8_t kind = op >= 0x7c ? op - 0x7c : op - 0x6a;
            uint64_t v = kind == 0 ? x + y : kind == 1 ? x - y : x * y;
            n--;
            stack[n - 1].v = op >= 0x7c ? (int64_t)v : (int32_t)(uint32_t)v;
            continue;
        }
        if (n == CONST_STACK)
            return false;
        if (op == 0x41 && reader_s32(&r, &i32, NULL)) {
            stack[n].type = CORE_I32;
            stack[n++].v = i32;
        } else if (op == 0x42 && reader_s64(&r, &stack[n].v, NULL)) {
            stack[n++].type = CORE_I64;
        } else if (op == 0x23 && reader_u32(&r, &index, NULL) && index < c->m.count[CORE_GLOBAL]) {
            const flat_global *g = &f->globals[c->space[CORE_GLOBAL][index]];
            if (!g->known)
                return false;
            stack[n].type = g->type;
            stack[n++].v = g->value;
        } else {
            return false;
        }
    }
    if (n != 1)
        return false;
    *ret_type = stack[0].type;
    *ret = stack[0].v;
    return true;
}

/* --- index spaces ----------------------------------------------------------------------------- */

bool flat_ref(flat *f, core_ref ref, core_kind kind, uint32_t *ret)
{
    flat_core *c = &f->cores[ref.instance];
    const cm_export *x = table_get(&c->exports, ref.name, &f->steps);
    if (!x || x->kind != kind)
        return err_set(f->e, ERR_INVALID, "core module at offset 0x%llx has no export '%.*s'",
                       (unsigned long long)f->unit->cores[ref.instance].offset, STR(ref.name));
    *ret = c->space[kind][x->index];
    return true;
}

static bool resolve(flat *f, const link_import *im, core_kind kind, uint32_t *ret)
{
    if (!im->def.is_canon)
        return flat_ref(f, im->def.core, kind, ret);
    if (kind != CORE_FUNC)
        return err_set(f->e, ERR_INVALID, "import '%.*s' '%.*s' is no function", STR(im->module),
                       STR(im->name));
    *ret = im->def.canon;
    return true;
}

static bool imports_resolve(flat *f, uint32_t index)
{
    flat_core *c = &f->cores[index];
    uint32_t next[CM_KINDS] = {0};
    if (c->link->imports_count != c->m.imports_count)
        return err_set(f->e, ERR_INTERNAL, "the link plan gives %u imports for %u",
                       c->link->imports_count, c->m.imports_count);
    for (uint32_t i = 0; i < c->m.imports_count; i++) {
        core_kind kind = c->m.imports[i].kind;
        if (!resolve(f, &c->link->imports[i], kind, &c->space[kind][next[kind]++]))
            return false;
    }
    return true;
}

static void define_functions(flat *f, uint32_t index)
{
    flat_core *c = &f->cores[index];
    uint32_t imported = c->m.imported[CORE_FUNC];
    for (uint32_t i = 0; i < c->m.codes_count; i++) {
        f->funcs[f->funcs_count] =
            (flat_func){.core = index, .body = i, .target = FLAT_DROPPED,
                        .type = c->types[c->m.func_types[imported + i]]};
        c->space[CORE_FUNC][imported + i] = f->unit->canons_count + f->funcs_count++;
    }
}

static void define_others(flat *f, uint32_t index)
{
    flat_core *c = &f->cores[index];
    for (uint32_t i = c->m.imported[CORE_TABLE], k = 0; i < c->m.count[CORE_TABLE]; i++, k++) {
        f->tables[f->tables_count] = (flat_table){.core = index, .def = &c->m.tables[k]};
        c->space[CORE_TABLE][i] = f->tables_count++;
    }
    for (uint32_t i = c->m.imported[CORE_MEMORY], k = 0; i < c->m.count[CORE_MEMORY]; i++, k++) {
        f->memories[f->memories_count].core = index;
        f->memories[f->memories_count].limits = c->m.memories[k];
        c->space[CORE_MEMORY][i] = f->memories_count++;
    }
    for (uint32_t i = c->m.imported[CORE_TAG]; i < c->m.count[CORE_TAG]; i++) {
        f->tags[f->tags_count] = c->types[c->m.tag_types[i]];
        c->space[CORE_TAG][i] = f->tags_count++;
    }
    for (uint32_t i = c->m.imported[CORE_GLOBAL], k = 0; i < c->m.count[CORE_GLOBAL]; i++, k++) {
        flat_global *g = &f->globals[f->globals_count];
        *g = (flat_global){.core = index, .def = &c->m.globals[k]};
        /* An initialiser sees the globals before it: of this module only those already numbered. */
        uint32_t whole = c->m.count[CORE_GLOBAL];
        c->m.count[CORE_GLOBAL] = i;
        g->known = !g->def->is_mutable && flat_const(f, c, g->def->init, &g->type, &g->value);
        c->m.count[CORE_GLOBAL] = whole;
        c->space[CORE_GLOBAL][i] = f->globals_count++;
    }
}

static bool exports_index(flat *f, flat_core *c)
{
    for (uint32_t i = 0; i < c->m.exports_count; i++) {
        const void **at;
        if (!table_at(f->a, &c->exports, c->m.exports[i].name, &f->steps, &at))
            return flat_oom(f);
        *at = &c->m.exports[i];
    }
    return true;
}

static bool maps_new(flat *f, flat_core *c)
{
    c->types = ARENA_ARRAY(f->a, uint32_t, c->m.types_count);
    c->elems = ARENA_ARRAY(f->a, uint32_t, c->m.elems_count);
    c->datas = ARENA_ARRAY(f->a, uint32_t, c->m.datas_count);
    bool ok = c->types && c->elems && c->datas;
    for (int k = 0; k < CM_KINDS; k++)
        ok &= (c->space[k] = ARENA_ARRAY(f->a, uint32_t, c->m.count[k])) != NULL;
    c->maps = (code_maps){
        .types = {c->types, c->m.types_count},
        .funcs = {c->space[CORE_FUNC], c->m.count[CORE_FUNC]},
        .tables = {c->space[CORE_TABLE], c->m.count[CORE_TABLE]},
        .memories = {c->space[CORE_MEMORY], c->m.count[CORE_MEMORY]},
        .globals = {c->space[CORE_GLOBAL], c->m.count[CORE_GLOBAL]},
        .tags = {c->space[CORE_TAG], c->m.count[CORE_TAG]},
        .elems = {c->elems, c->m.elems_count},
        .datas = {c->datas, c->m.datas_count},
    };
    return ok ? true : flat_oom(f);
}

static bool cores_read(flat *f)
{
    uint32_t total[CM_KINDS] = {0};
    f->cores = ARENA_ARRAY(f->a, flat_core, f->cores_count);
    if (!f->cores)
        return flat_oom(f);
    for (uint32_t i = 0; i < f->cores_count; i++) {
        flat_core *c = &f->cores[i];
        c->link = &f->unit->cores[i];
        if (!core_module_read(f->a, c->link->module, &c->m, f->e))
            return flat_in_core(f, i);
        if (!maps_new(f, c) || !exports_index(f, c))
            return false;
        for (int k = 0; k < CM_KINDS; k++)
            total[k] += c->m.count[k] - c->m.imported[k];
        c->late = f->has_start;
        f->has_start |= c->m.has_start;
        f->module_bytes_before += c->m.file.n;
    }
    f->funcs = ARENA_ARRAY(f->a, flat_func, total[CORE_FUNC]);
    f->tables = ARENA_ARRAY(f->a, flat_table, total[CORE_TABLE]);
    f->memories = arena_array(f->a, total[CORE_MEMORY], sizeof *f->memories);
    f->globals = ARENA_ARRAY(f->a, flat_global, total[CORE_GLOBAL]);
    f->tags = ARENA_ARRAY(f->a, uint32_t, total[CORE_TAG]);
    bool ok = f->funcs && f->tables && f->memories && f->globals && f->tags;
    return ok ? true : flat_oom(f);
}

static bool cores_number(flat *f)
{
    if (!canon_types(f))
        return false;
    for (uint32_t i = 0; i < f->cores_count; i++) {
        if (!types_map(f, &f->cores[i]))
            return flat_in_core(f, i);
        if (!imports_resolve(f, i))
            return flat_in_core(f, i);
        define_functions(f, i);
        define_others(f, i);
    }
    return true;
}

/* --- from merged to final numbers ------------------------------------------------------------- */

static uint32_t func_final(const flat *f, uint32_t merged)
{
    uint32_t canons = f->unit->canons_count;
    return merged < canons ? merged : f->funcs[merged - canons].final;
}

static void finalise(flat *f)
{
    uint32_t next = f->unit->canons_count;
    for (uint32_t i = 0; i < f->funcs_count; i++)
        if (f->funcs[i].target == FLAT_DROPPED)
            f->funcs[i].final = next++;
    for (uint32_t i = 0; i < f->funcs_count; i++)
        if (f->funcs[i].target != FLAT_DROPPED)
            f->funcs[i].final = func_final(f, f->funcs[i].target);
    next = 0;
    for (uint32_t i = 0; i < f->tables_count; i++)
        f->tables[i].final = f->tables[i].dropped ? FLAT_DROPPED : next++;
    for (uint32_t i = 0; i < f->cores_count; i++) {
        flat_core *c = &f->cores[i];
        for (uint32_t k = 0; k < c->m.count[CORE_FUNC]; k++)
            c->space[CORE_FUNC][k] = func_final(f, c->space[CORE_FUNC][k]);
        for (uint32_t k = 0; k < c->m.count[CORE_TABLE]; k++)
            c->space[CORE_TABLE][k] = f->tables[c->space[CORE_TABLE][k]].final;
    }
}

bool flatten_unit(arena *a, const link_plan *l, uint32_t unit, buf *out, plan_unit *ret, err *e)
{
    flat f = {.a = a, .e = e, .link = l, .unit = &l->units[unit], .unit_index = unit,
              .cores_count = l->units[unit].cores_count};
    buf_init(&f.types, 256 * MIB);
    bool ok = cores_read(&f) && cores_number(&f) && flat_shims(&f);
    if (ok) {
        finalise(&f);
        ok = flat_emit(&f, out, ret);
    }
    buf_fini(&f.types);
    if (!ok && l->units[unit].label.n)
        err_wrap(e, "component instance '%.*s'", STR(l->units[unit].label));
    return ok;
}

/* --- the whole way ---------------------------------------------------------------------------- */

static bool resources_copy(arena *a, const link_plan *l, plan *ret, err *e)
{
    plan_resource *all = ARENA_ARRAY(a, plan_resource, l->resources_count);
    if (!all)
        return err_no_memory(e);
    for (uint32_t i = 0; i < l->resources_count; i++) {
        const link_resource *r = &l->resources[i];
        all[i] = (plan_resource){r->type.interface, r->type.name, r->type.imported, r->unit,
                                 r->dtor.instance >= 0};
    }
    ret->resources = all;
    ret->resources_count = l->resources_count;
    return true;
}

static const plan_name *names_copy(arena *a, const link_name *from, uint32_t n)
{
    plan_name *names = ARENA_ARRAY(a, plan_name, n);
    for (uint32_t i = 0; names && i < n; i++)
        names[i] = (plan_name){from[i].interface, from[i].name, from[i].type, from[i].unit,
                               from[i].lift};
    return names;
}

bool flatten_component(arena *a, bytes component, plan *ret, buf **ret_modules, err *e)
{
    link_plan l;
    plan p = {0};
    if (!component_link(a, component, &l, e))
        return false;
    plan_unit *units = ARENA_ARRAY(a, plan_unit, l.units_count);
    buf *modules = ARENA_ARRAY(a, buf, l.units_count);
    p.imports = names_copy(a, l.imports, l.imports_count);
    p.exports = names_copy(a, l.exports, l.exports_count);
    if (!units || !modules || !p.imports || !p.exports)
        return err_no_memory(e);
    if (!resources_copy(a, &l, &p, e))
        return false;
    for (uint32_t i = 0; i < l.units_count; i++) {
        buf_init(&modules[i], 1 * GIB);
        if (!flatten_unit(a, &l, i, &modules[i], &units[i], e)) {
            flatten_free(modules, i + 1);
            return false;
        }
    }
    p.units = units;
    p.units_count = l.units_count;
    p.imports_count = l.imports_count;
    p.exports_count = l.exports_count;
    *ret = p;
    *ret_modules = modules;
    return true;
}

void flatten_free(buf *modules, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        buf_fini(&modules[i]);
}
