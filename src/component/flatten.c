/* See flatten.h, and flatten_inner.h for how the work is divided. Here: from link plan to one set
 * of index spaces. Instances are taken in instantiation order, so that whatever an import names is
 * numbered already.
 *
 * Types are written once each. Two recursion groups are the same if their bytes are, with types
 * from outside by their final number and their own relative to the group (core specification 3.1.8
 * "rolling"); a final type without super types is a group of its own.
 *
 * Globals whose value never changes and is known are folded into the code that reads them: the
 * bases and offsets by which dynamic libraries find their place, hundreds in a Python component. */
#include "component/flatten_inner.h"

#include "base/limits.h"

enum { STEPS_MAX = 200000000 };

bool flat_oom(flat *f) { return err_no_memory(f->e); }

bool flat_in_core(flat *f, uint32_t core)
{
    return err_wrap(f->e, "core module at offset 0x%llx",
                    (unsigned long long)f->unit->cores[core].offset);
}

reader flat_reader(const flat_core *c, bytes b) { return (reader){b.p, b.p + b.n, c->m.file.p}; }

bool flat_steps_ok(flat *f)
{
    return f->steps < STEPS_MAX ? true
                                : err_set(f->e, ERR_LIMIT, "too many names or types that collide");
}

/* --- types ------------------------------------------------------------------------------------ */

/* While a group is made canonical, its own types are these, so that equal groups have equal bytes
 * wherever they stand. */
#define TYPE_OWN_BASE (UINT32_C(1) << 31)

bool flat_func_type(flat *f, bytes raw, uint32_t *ret)
{
    const void **at;
    bytes kept = arena_bytes(f->a, raw);
    if (!kept.p ||
        !table_at(f->a, &f->types_seen, (str){(const char *)kept.p, kept.n}, &f->steps, &at))
        return flat_oom(f);
    if (!*at) {
        buf_put(&f->types, raw.p, raw.n);
        f->type_entries++;
        *at = (const void *)(uintptr_t)++f->types_count;
    }
    *ret = (uint32_t)(uintptr_t)*at - 1;
    return flat_steps_ok(f);
}

/* A group of one type is written without the group, a final type without super types as itself. */
static bytes rec_plain(const cm_rec *rec)
{
    bytes raw = rec->raw;
    if (rec->count == 1 && raw.n > 2 && raw.p[0] == 0x4e) /* its count may be a longer LEB128 */
        raw = raw.p[1] == 1 ? (bytes){raw.p + 2, raw.n - 2} : raw;
    if (rec->count == 1 && raw.n > 2 && raw.p[0] == 0x4f && raw.p[1] == 0)
        raw = (bytes){raw.p + 2, raw.n - 2};
    return raw;
}

static bool rec_write(flat *f, flat_core *c, const cm_rec *rec, uint32_t base, buf *out)
{
    for (uint32_t k = 0; k < rec->count; k++)
        c->types[rec->first + k] = base + k;
    /* Types may refer to what came before and to their own group. */
    index_map visible = {c->types, rec->first + rec->count};
    reader r = flat_reader(c, rec_plain(rec));
    return code_walk_rectype(&r, &visible, out, f->e);
}

static bool rec_map(flat *f, flat_core *c, const cm_rec *rec, buf *scratch)
{
    const void **at;
    buf_clear(scratch);
    if (!rec_write(f, c, rec, TYPE_OWN_BASE, scratch))
        return false;
    bytes kept = arena_bytes(f->a, buf_bytes(scratch));
    if (!kept.p ||
        !table_at(f->a, &f->types_seen, (str){(const char *)kept.p, kept.n}, &f->steps, &at))
        return flat_oom(f);
    if (*at) {
        for (uint32_t k = 0; k < rec->count; k++)
            c->types[rec->first + k] = (uint32_t)(uintptr_t)*at - 1 + k;
        return flat_steps_ok(f);
    }
    if (rec->count > COMPONENT_ITEMS_MAX - f->types_count)
        return err_set(f->e, ERR_LIMIT, "more than %d types", COMPONENT_ITEMS_MAX);
    *at = (const void *)(uintptr_t)(f->types_count + 1);
    if (!rec_write(f, c, rec, f->types_count, &f->types))
        return false;
    f->types_count += rec->count;
    f->type_entries++;
    return true;
}

static bool types_map(flat *f, flat_core *c)
{
    _cleanup_(buf_fini) buf scratch;
    buf_init(&scratch, 64 * MIB);
    for (uint32_t i = 0; i < c->m.recs_count; i++)
        if (!rec_map(f, c, &c->m.recs[i], &scratch))
            return false;
    c->maps.types = (index_map){c->types, c->m.types_count};
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
        f->funcs[f->funcs_count] = (flat_func){.core = index,
                                               .body = i,
                                               .target = FLAT_DROPPED,
                                               .type = c->types[c->m.func_types[imported + i]]};
        c->space[CORE_FUNC][imported + i] = f->unit->canons_count + f->funcs_count++;
    }
}

/* Is that value type (ref null heap) with an abstract heap type? */
static bool is_nullable(bytes raw, uint8_t heap)
{
    return (raw.n == 1 && raw.p[0] == heap) || (raw.n == 2 && raw.p[0] == 0x63 && raw.p[1] == heap);
}

/* Flags, minimum, maximum, page size (core specification 5.3.12); read before, so well-formed. */
static void limits_read(reader *r, uint64_t *ret_min, uint64_t *ret_max, bool *ret_64)
{
    uint8_t flags = 0;
    uint64_t min = 0, max = UINT64_MAX;
    uint32_t page_log2 = 0;
    reader_u8(r, &flags, NULL);
    reader_u64(r, &min, NULL);
    if (flags & 1)
        reader_u64(r, &max, NULL);
    if (flags & 8)
        reader_u32(r, &page_log2, NULL);
    *ret_min = min;
    *ret_max = max;
    *ret_64 = flags & 4;
}

static uint64_t pages_bytes(uint64_t pages, unsigned page_log2)
{
    return pages > UINT64_MAX >> page_log2 ? UINT64_MAX : pages << page_log2;
}

static void define_tables(flat *f, uint32_t index)
{
    flat_core *c = &f->cores[index];
    for (uint32_t i = c->m.imported[CORE_TABLE], k = 0; i < c->m.count[CORE_TABLE]; i++, k++) {
        flat_table t = {.core = index, .def = &c->m.tables[k]};
        reader r = flat_reader(c, t.def->type);
        uint64_t max;
        index_map any = {NULL, UINT32_MAX};
        code_walk_valtype(&r, &any, NULL, NULL);
        bytes element = {t.def->type.p, (size_t)(r.at - t.def->type.p)};
        t.is_plain = is_nullable(element, FLAT_FUNC) && !t.def->init.n;
        limits_read(&r, &t.min, &max, &t.is_64);
        f->tables[f->tables_count] = t;
        c->space[CORE_TABLE][i] = f->tables_count++;
    }
}

static void define_memories(flat *f, uint32_t index)
{
    flat_core *c = &f->cores[index];
    for (uint32_t i = c->m.imported[CORE_MEMORY], k = 0; i < c->m.count[CORE_MEMORY]; i++, k++) {
        flat_memory *m = &f->memories[f->memories_count];
        *m = (flat_memory){.core = index, .limits = c->m.memories[k]};
        reader r = flat_reader(c, m->limits);
        uint64_t min, max;
        limits_read(&r, &min, &max, &m->is_64);
        uint32_t page_log2 = m->limits.p[0] & 8 ? m->limits.p[m->limits.n - 1] & 31 : 16;
        m->bytes_min = pages_bytes(min, page_log2);
        m->bytes_max = pages_bytes(max, page_log2);
        c->space[CORE_MEMORY][i] = f->memories_count++;
    }
}

/* Does a value of that type fit the global's declared type? If not, the engine says so. */
static bool global_fits(const cm_global *g, flat_value v)
{
    bytes content = {g->type.p, g->type.n - 1}; /* without mutability */
    return flat_is_number(v) ? content.n == 1 && content.p[0] == v.type
                             : is_nullable(content, v.type);
}

static void define_others(flat *f, uint32_t index)
{
    flat_core *c = &f->cores[index];
    for (uint32_t i = c->m.imported[CORE_TAG]; i < c->m.count[CORE_TAG]; i++) {
        f->tags[f->tags_count] = c->types[c->m.tag_types[i]];
        c->space[CORE_TAG][i] = f->tags_count++;
    }
    uint32_t whole = c->m.count[CORE_GLOBAL];
    for (uint32_t i = c->m.imported[CORE_GLOBAL], k = 0; i < whole; i++, k++) {
        flat_global *g = &f->globals[f->globals_count];
        *g = (flat_global){.core = index, .def = &c->m.globals[k]};
        /* An initialiser sees the globals before it: of this module only those already numbered. */
        c->m.count[CORE_GLOBAL] = i;
        g->known = flat_const(f, c, g->def->init, &g->value) && global_fits(g->def, g->value);
        c->space[CORE_GLOBAL][i] = f->globals_count++;
    }
    c->m.count[CORE_GLOBAL] = whole;
    c->elem_base = f->elems_count;
    for (uint32_t k = 0; k < c->m.elems_count; k++) {
        f->elems[f->elems_count] = (flat_elem){.core = index, .def = &c->m.elems[k]};
        c->elems[k] = f->elems_count++;
    }
    c->data_base = f->datas_count;
    for (uint32_t k = 0; k < c->m.datas_count; k++) {
        f->datas[f->datas_count] = (flat_data){.core = index, .def = &c->m.datas[k]};
        c->datas[k] = f->datas_count++;
    }
}

static bool exports_index(flat *f, flat_core *c)
{
    for (uint32_t i = 0; i < c->m.exports_count; i++) {
        const void **at;
        if (!table_at(f->a, &c->exports, c->m.exports[i].name, &f->steps, &at))
            return flat_oom(f);
        if (*at)
            return err_set(f->e, ERR_INVALID, "duplicate export name '%.*s'",
                           STR(str_head(c->m.exports[i].name, 200)));
        *at = &c->m.exports[i];
    }
    return flat_steps_ok(f);
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
        .constants = NULL, /* set by flat_finalise */
    };
    return ok ? true : flat_oom(f);
}

static bool cores_read(flat *f)
{
    uint32_t total[CM_KINDS] = {0}, elems = 0, datas = 0;
    int64_t last_start = -1;
    f->cores = ARENA_ARRAY(f->a, flat_core, f->cores_count);
    if (!f->cores)
        return flat_oom(f);
    for (uint32_t i = 0; i < f->cores_count; i++) {
        flat_core *c = &f->cores[i];
        c->link = &f->unit->cores[i];
        if (!core_module_read(f->a, c->link->module, &c->m, f->e))
            return flat_in_core(f, i);
        if (!maps_new(f, c) || !exports_index(f, c))
            return flat_in_core(f, i);
        for (int k = 0; k < CM_KINDS; k++)
            total[k] += c->m.count[k] - c->m.imported[k];
        elems += c->m.elems_count;
        datas += c->m.datas_count;
        c->start_before = last_start;
        if (c->m.has_start)
            last_start = i;
        f->module_bytes_before += c->m.file.n;
    }
    f->has_start = last_start >= 0;
    f->funcs = ARENA_ARRAY(f->a, flat_func, total[CORE_FUNC]);
    f->tables = ARENA_ARRAY(f->a, flat_table, total[CORE_TABLE]);
    f->memories = ARENA_ARRAY(f->a, flat_memory, total[CORE_MEMORY]);
    f->globals = ARENA_ARRAY(f->a, flat_global, total[CORE_GLOBAL]);
    f->constants = ARENA_ARRAY(f->a, code_constant, total[CORE_GLOBAL]);
    f->tags = ARENA_ARRAY(f->a, uint32_t, total[CORE_TAG]);
    f->elems = ARENA_ARRAY(f->a, flat_elem, elems);
    f->datas = ARENA_ARRAY(f->a, flat_data, datas);
    bool ok = f->funcs && f->tables && f->memories && f->globals && f->constants && f->tags &&
              f->elems && f->datas;
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
        define_tables(f, i);
        define_memories(f, i);
        define_others(f, i);
    }
    return true;
}

/* --- from merged to final numbers ------------------------------------------------------------- */

uint32_t flat_func_final(const flat *f, uint32_t merged)
{
    uint32_t canons = f->unit->canons_count;
    return merged < canons ? merged : f->funcs[merged - canons].final;
}

uint32_t flat_funcs_kept(const flat *f)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < f->funcs_count; i++)
        n += f->funcs[i].target == FLAT_DROPPED;
    return n;
}

static void funcs_finalise(flat *f)
{
    uint32_t next = f->unit->canons_count;
    for (uint32_t i = 0; i < f->funcs_count; i++)
        if (f->funcs[i].target == FLAT_DROPPED)
            f->funcs[i].final = next++;
    for (uint32_t i = 0; i < f->funcs_count; i++)
        if (f->funcs[i].target != FLAT_DROPPED)
            f->funcs[i].final = flat_func_final(f, f->funcs[i].target);
}

static code_constant constant_of(const flat *f, flat_value v)
{
    if (flat_is_number(v)) /* their opcodes are in the order of the types: 0x7f i32 is 0x41 */
        return (code_constant){(uint8_t)(0x41 + (CORE_I32 - v.type)), v.bits};
    if (v.bits < 0)
        return (code_constant){0xd0, v.type};
    return (code_constant){0xd2, flat_func_final(f, (uint32_t)v.bits)};
}

static uint32_t globals_finalise(flat *f)
{
    uint32_t next = 0;
    for (uint32_t i = 0; i < f->globals_count; i++) {
        flat_global *g = &f->globals[i];
        if (g->folds) {
            f->constants[i] = constant_of(f, g->value);
            f->constants_folded++;
        }
        g->final = g->folds ? CODE_CONSTANT | i : next++;
    }
    return next;
}

static bool finalise(flat *f)
{
    uint32_t next = 0;
    funcs_finalise(f);
    if (!flat_sizes_number(f, globals_finalise(f),
                           f->unit->canons_count + flat_funcs_kept(f) + f->has_start))
        return false;
    for (uint32_t i = 0; i < f->tables_count; i++)
        f->tables[i].final = f->tables[i].dropped ? FLAT_DROPPED : next++;
    for (uint32_t i = 0; i < f->cores_count; i++) {
        flat_core *c = &f->cores[i];
        c->maps.constants = f->constants;
        c->maps.sizes = f->sizes;
        c->maps.grows = f->grows;
        for (uint32_t k = 0; k < c->m.count[CORE_FUNC]; k++)
            c->space[CORE_FUNC][k] = flat_func_final(f, c->space[CORE_FUNC][k]);
        for (uint32_t k = 0; k < c->m.count[CORE_TABLE]; k++)
            c->space[CORE_TABLE][k] = f->tables[c->space[CORE_TABLE][k]].final;
        for (uint32_t k = 0; k < c->m.count[CORE_GLOBAL]; k++)
            c->space[CORE_GLOBAL][k] = f->globals[c->space[CORE_GLOBAL][k]].final;
        for (uint32_t k = 0; k < c->m.elems_count; k++)
            c->elems[k] = f->elems[c->elems[k]].final;
        for (uint32_t k = 0; k < c->m.datas_count; k++)
            c->datas[k] = f->datas[c->datas[k]].final;
    }
    return true;
}

bool flatten_unit(arena *a, const link_plan *l, uint32_t unit, buf *out, plan_unit *ret, err *e)
{
    flat f = {.a = a,
              .e = e,
              .link = l,
              .unit = &l->units[unit],
              .unit_index = unit,
              .cores_count = l->units[unit].cores_count};
    buf_init(&f.types, 256 * MIB);
    bool ok = cores_read(&f) && cores_number(&f) && flat_reach(&f) && flat_segments_place(&f) &&
              flat_shims(&f) && flat_segments_plan(&f);
    ok = ok && finalise(&f) && flat_emit(&f, out, ret);
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
        names[i] =
            (plan_name){from[i].interface, from[i].name, from[i].type, from[i].unit, from[i].lift};
    return names;
}

static bool flatten_all(arena *a, const link_plan *l, plan *ret, buf **ret_modules, err *e)
{
    plan p = {0};
    plan_unit *units = ARENA_ARRAY(a, plan_unit, l->units_count);
    buf *modules = ARENA_ARRAY(a, buf, l->units_count);
    p.imports = names_copy(a, l->imports, l->imports_count);
    p.exports = names_copy(a, l->exports, l->exports_count);
    if (!units || !modules || !p.imports || !p.exports)
        return err_no_memory(e);
    if (!resources_copy(a, l, &p, e))
        return false;
    for (uint32_t i = 0; i < l->units_count; i++) {
        buf_init(&modules[i], 1 * GIB);
        if (!flatten_unit(a, l, i, &modules[i], &units[i], e)) {
            flatten_free(modules, i + 1);
            return false;
        }
    }
    p.units = units;
    p.units_count = l->units_count;
    p.imports_count = l->imports_count;
    p.exports_count = l->exports_count;
    *ret = p;
    *ret_modules = modules;
    return true;
}

bool flatten_component(arena *a, bytes component, plan *ret, buf **ret_modules, err *e)
{
    link_plan l;
    return component_link(a, component, &l, e) && flatten_all(a, &l, ret, ret_modules, e);
}

bool flatten_composition(arena *a, const composition_part *parts, size_t n, plan *ret,
                         buf **ret_modules, err *e)
{
    link_plan l;
    return composition_link(a, parts, n, &l, e) && flatten_all(a, &l, ret, ret_modules, e);
}

void flatten_free(buf *modules, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        buf_fini(&modules[i]);
}
