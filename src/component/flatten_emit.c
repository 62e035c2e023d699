/* Writing the flattened module, section by section, in the order of the binary format
 * (core specification 5.5). Segments are flatten_segment.c's, names flatten_names.c's.
 *
 * Section lengths are written as five-byte LEB128 so that nothing is written twice; lengths of
 * function bodies as short as they can be, which moves a body only where its length changes width.
 * Bodies are copied straight from their module into the output, indices renumbered on the way. */
#include "component/flatten_inner.h"

#include "base/limits.h"

#include <stdio.h>

typedef struct {
    flat *f;
    buf *out;
    plan_unit *unit;
    uint32_t *memories; /* by number: k + 1 of its export m<k>, or 0 */
    uint32_t *reallocs; /* by final function number: k + 1 of its export r<k>, or 0 */
    uint32_t memories_count, reallocs_count;
    uint32_t exports;
    buf export_section;
    uint32_t start_type, grow_type;
} emitter;

/* --- writing ---------------------------------------------------------------------------------- */

size_t flat_length_begin(buf *b)
{
    static const uint8_t room[5] = {0};
    buf_put(b, room, 5);
    return b->n;
}

void flat_length_end(buf *b, size_t begun)
{
    if (b->failed)
        return;
    size_t n = b->n - begun;
    uint8_t *p = b->p + begun - 5;
    for (int i = 0; i < 5; i++, n >>= 7)
        p[i] = (uint8_t)((n & 0x7f) | (i < 4 ? 0x80 : 0));
}

size_t flat_section_begin(buf *b, uint8_t id)
{
    buf_put_u8(b, id);
    return flat_length_begin(b);
}

void flat_put_name(buf *b, str s)
{
    leb_u32(b, (uint32_t)s.n);
    buf_put(b, s.p, s.n);
}

void flat_put_number(buf *out, flat_value v)
{
    /* the opcodes of constants are in the order of the types: 0x7f i32 is 0x41 */
    code_put_constant(out, (code_constant){(uint8_t)(0x41 + (CORE_I32 - v.type)), v.bits});
}

bool flat_put_expr(flat *f, const flat_core *c, bytes expr, bool with_end, buf *out)
{
    reader r = flat_reader(c, expr);
    if (!code_walk(&r, &c->maps, out, NULL, f->e))
        return false;
    if (!with_end)
        out->n--;
    return true;
}

/* --- sections of types, imports, functions, tables, memories, tags, globals ------------------- */

static void section_types(emitter *m)
{
    size_t at = flat_section_begin(m->out, 1);
    /* Recursion groups count as one entry, so the count is kept beside the types. */
    leb_u32(m->out, m->f->type_entries);
    buf_put(m->out, m->f->types.p, m->f->types.n);
    flat_length_end(m->out, at);
}

static void section_imports(emitter *m)
{
    const flat *f = m->f;
    if (!f->unit->canons_count)
        return;
    size_t at = flat_section_begin(m->out, 2);
    leb_u32(m->out, f->unit->canons_count);
    for (uint32_t i = 0; i < f->unit->canons_count; i++) {
        char digits[12];
        int n = snprintf(digits, sizeof digits, "%u", i);
        flat_put_name(m->out, S("ebb"));
        flat_put_name(m->out, (str){digits, (size_t)n});
        buf_put_u8(m->out, 0);
        leb_u32(m->out, f->canon_types[i]);
    }
    flat_length_end(m->out, at);
}

static void section_functions(emitter *m)
{
    const flat *f = m->f;
    size_t at = flat_section_begin(m->out, 3);
    leb_u32(m->out, flat_funcs_kept(f) + f->has_start + f->sized_count);
    for (uint32_t i = 0; i < f->funcs_count; i++)
        if (f->funcs[i].target == FLAT_DROPPED)
            leb_u32(m->out, f->funcs[i].type);
    if (f->has_start)
        leb_u32(m->out, m->start_type);
    for (uint32_t i = 0; i < f->sized_count; i++)
        leb_u32(m->out, m->grow_type);
    flat_length_end(m->out, at);
}

/* Tables come before globals: their initialisers can read only what has folded. */
static bool put_table_init(emitter *m, const flat_core *c, bytes init)
{
    static const index_map any = {NULL, UINT32_MAX}, none = {NULL, 0};
    static const code_maps folded = {any, any, any, any, none, any, any, any, NULL};
    size_t at = m->out->n;
    if (!flat_put_expr(m->f, c, init, true, m->out))
        return false;
    reader r = reader_over((bytes){m->out->p + at, m->out->n - at});
    if (!code_walk(&r, &folded, NULL, NULL, NULL))
        return err_set(m->f->e, ERR_UNSUPPORTED,
                       "table section: an initialiser that reads a global "
                       "computed at instantiation is not supported");
    return true;
}

static bool section_tables(emitter *m)
{
    flat *f = m->f;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < f->tables_count; i++)
        kept += !f->tables[i].dropped;
    if (!kept)
        return true;
    size_t at = flat_section_begin(m->out, 4);
    leb_u32(m->out, kept);
    for (uint32_t i = 0; i < f->tables_count; i++) {
        const flat_table *t = &f->tables[i];
        const flat_core *c = &f->cores[t->core];
        if (t->dropped)
            continue;
        if (t->def->init.n)
            buf_put(m->out, "\x40\0", 2);
        reader r = flat_reader(c, t->def->type);
        if (!code_walk_valtype(&r, &c->maps.types, m->out, f->e))
            return flat_in_core(f, t->core);
        buf_put(m->out, r.at, reader_left(&r));
        if (t->def->init.n && !put_table_init(m, c, t->def->init))
            return flat_in_core(f, t->core);
    }
    flat_length_end(m->out, at);
    return true;
}

static void section_memories(emitter *m)
{
    const flat *f = m->f;
    if (!f->memories_count)
        return;
    size_t at = flat_section_begin(m->out, 5);
    leb_u32(m->out, f->memories_count);
    for (uint32_t i = 0; i < f->memories_count; i++) {
        const flat_memory *mem = &f->memories[i];
        buf_put(m->out, mem->limits.p, mem->limits.n);
        if (mem->bytes_min > m->unit->memory_bytes_min)
            m->unit->memory_bytes_min = mem->bytes_min;
        if (mem->bytes_max > m->unit->memory_bytes_max)
            m->unit->memory_bytes_max = mem->bytes_max;
    }
    flat_length_end(m->out, at);
}

static void section_tags(emitter *m)
{
    const flat *f = m->f;
    if (!f->tags_count)
        return;
    size_t at = flat_section_begin(m->out, 13);
    leb_u32(m->out, f->tags_count);
    for (uint32_t i = 0; i < f->tags_count; i++) {
        buf_put_u8(m->out, 0);
        leb_u32(m->out, f->tags[i]);
    }
    flat_length_end(m->out, at);
}

static bool put_global(emitter *m, const flat_global *g)
{
    flat *f = m->f;
    const flat_core *c = &f->cores[g->core];
    reader r = flat_reader(c, g->def->type);
    if (!code_walk_valtype(&r, &c->maps.types, m->out, f->e))
        return flat_in_core(f, g->core);
    buf_put(m->out, r.at, reader_left(&r));
    if (g->known && flat_is_number(g->value)) {
        flat_put_number(m->out, g->value);
        buf_put_u8(m->out, 0x0b);
        return true;
    }
    return flat_put_expr(f, c, g->def->init, true, m->out) ? true : flat_in_core(f, g->core);
}

static bool section_globals(emitter *m)
{
    const flat *f = m->f;
    uint32_t kept = f->sized_count;
    for (uint32_t i = 0; i < f->globals_count; i++)
        kept += !(f->globals[i].final & CODE_CONSTANT);
    if (!kept)
        return true;
    size_t at = flat_section_begin(m->out, 6);
    leb_u32(m->out, kept);
    for (uint32_t i = 0; i < f->globals_count; i++)
        if (!(f->globals[i].final & CODE_CONSTANT) && !put_global(m, &f->globals[i]))
            return false;
    flat_put_size_globals(f, m->out);
    flat_length_end(m->out, at);
    return true;
}

/* --- exports ---------------------------------------------------------------------------------- */

static void export_put(emitter *m, char letter, uint32_t k, core_kind kind, uint32_t index)
{
    char name[16];
    int n = snprintf(name, sizeof name, "%c%u", letter, k);
    flat_put_name(&m->export_section, (str){name, (size_t)n});
    buf_put_u8(&m->export_section, (uint8_t)kind);
    leb_u32(&m->export_section, index);
    m->exports++;
}

/* k of the memory or realloc that ref names; it is exported at its first mention. */
static bool option_number(emitter *m, core_ref ref, core_kind kind, int32_t *ret)
{
    uint32_t index;
    *ret = PLAN_NONE;
    if (ref.instance < 0)
        return true;
    if (!flat_ref(m->f, ref, kind, &index))
        return false;
    bool memory = kind == CORE_MEMORY;
    uint32_t *at = memory ? &m->memories[index] : &m->reallocs[index];
    if (!*at) {
        *at = memory ? ++m->memories_count : ++m->reallocs_count;
        export_put(m, memory ? 'm' : 'r', *at - 1, kind, index);
    }
    *ret = (int32_t)*at - 1;
    return true;
}

static bool options_make(emitter *m, const canon_options *from, plan_options *to)
{
    to->encoding = from->encoding;
    to->async = from->async;
    return option_number(m, from->memory, CORE_MEMORY, &to->memory) &&
           option_number(m, from->realloc, CORE_FUNC, &to->realloc);
}

static bool export_func(emitter *m, char letter, uint32_t k, core_ref ref, bool *ret_has)
{
    uint32_t index;
    *ret_has = ref.instance >= 0;
    if (!*ret_has)
        return true;
    if (!flat_ref(m->f, ref, CORE_FUNC, &index))
        return false;
    export_put(m, letter, k, CORE_FUNC, index);
    return true;
}

static bool plan_imports(emitter *m)
{
    const link_unit *u = m->f->unit;
    plan_import *imports = ARENA_ARRAY(m->f->a, plan_import, u->canons_count);
    if (!imports)
        return flat_oom(m->f);
    for (uint32_t i = 0; i < u->canons_count; i++) {
        const link_canon *c = &u->canons[i];
        imports[i] = (plan_import){.kind = c->kind,
                                   .interface = c->interface,
                                   .name = c->name,
                                   .type = c->type,
                                   .element = c->element,
                                   .unit = c->unit,
                                   .lift = c->lift,
                                   .resource = c->resource,
                                   .signature = c->signature};
        if (!options_make(m, &c->options, &imports[i].options))
            return false;
    }
    m->unit->imports = imports;
    m->unit->imports_count = u->canons_count;
    return true;
}

static bool plan_lifts(emitter *m)
{
    const link_unit *u = m->f->unit;
    plan_lift *lifts = ARENA_ARRAY(m->f->a, plan_lift, u->lifts_count);
    if (!lifts)
        return flat_oom(m->f);
    for (uint32_t i = 0; i < u->lifts_count; i++) {
        const link_lift *l = &u->lifts[i];
        bool there;
        lifts[i] = (plan_lift){.type = l->type, .signature = l->signature, .label = l->label};
        if (!options_make(m, &l->options, &lifts[i].options) ||
            !export_func(m, 'f', i, l->core, &there) ||
            !export_func(m, 'p', i, l->options.post_return, &lifts[i].has_post_return) ||
            !export_func(m, 'c', i, l->options.callback, &lifts[i].has_callback))
            return false;
    }
    m->unit->lifts = lifts;
    m->unit->lifts_count = u->lifts_count;
    return true;
}

/* What restoring an instance puts back or compares. */
static void state_export(emitter *m)
{
    const flat *f = m->f;
    plan_unit *u = m->unit;
    for (uint32_t i = 0; i < f->memories_count; i++)
        if (!m->memories[i]) {
            m->memories[i] = ++m->memories_count;
            export_put(m, 'm', m->memories[i] - 1, CORE_MEMORY, i);
        }
    for (uint32_t i = 0; i < f->globals_count; i++)
        if (f->globals[i].def->is_mutable && f->globals[i].set_by_code)
            export_put(m, 'g', u->globals_count++, CORE_GLOBAL, f->globals[i].final);
    for (uint32_t i = 0; i < f->memories_count; i++) {
        uint32_t k = m->memories[i] - 1;
        if (!f->sizes[i])
            continue;
        export_put(m, 'g', u->globals_count++, CORE_GLOBAL, f->sizes[i] - 1);
        export_put(m, 's', k, CORE_GLOBAL, f->sizes[i] - 1);
        u->sized_memories |= k < 32 ? 1u << k : 0;
    }
    for (uint32_t i = 0; i < f->tables_count; i++)
        if (!f->tables[i].dropped)
            export_put(m, 't', u->tables_count++, CORE_TABLE, f->tables[i].final);
}

static bool exports_make(emitter *m)
{
    flat *f = m->f;
    m->memories = ARENA_ARRAY(f->a, uint32_t, f->memories_count);
    m->reallocs = ARENA_ARRAY(f->a, uint32_t, (size_t)f->unit->canons_count + f->funcs_count);
    if (!m->memories || !m->reallocs)
        return flat_oom(f);
    if (!plan_imports(m) || !plan_lifts(m))
        return false;
    for (uint32_t i = 0; i < f->link->resources_count; i++) {
        const link_resource *r = &f->link->resources[i];
        bool there;
        if (!r->type.imported && r->unit == f->unit_index &&
            !export_func(m, 'd', i, r->dtor, &there))
            return false;
    }
    state_export(m);
    m->unit->memories_count = m->memories_count;
    m->unit->reallocs_count = m->reallocs_count;
    if (f->has_start) {
        flat_put_name(&m->export_section, S("start"));
        buf_put_u8(&m->export_section, CORE_FUNC);
        leb_u32(&m->export_section, f->unit->canons_count + flat_funcs_kept(f));
        m->exports++;
    }
    return m->export_section.failed ? flat_oom(f) : true;
}

static void section_exports(emitter *m)
{
    size_t at = flat_section_begin(m->out, 7);
    leb_u32(m->out, m->exports);
    buf_put(m->out, m->export_section.p, m->export_section.n);
    flat_length_end(m->out, at);
}

/* --- code ------------------------------------------------------------------------------------- */

static size_t leb_width(uint32_t v)
{
    size_t n = 1;
    while (v >>= 7)
        n++;
    return n;
}

/* All start functions in order, each after the segments that the original copied before it. */
static bool start_body(emitter *m)
{
    size_t at = flat_length_begin(m->out);
    leb_u32(m->out, 0);
    for (uint32_t i = 0; i < m->f->cores_count; i++) {
        const flat_core *c = &m->f->cores[i];
        if (!flat_put_late(m->f, i, m->out))
            return flat_in_core(m->f, i);
        if (c->m.has_start) {
            buf_put_u8(m->out, 0x10);
            leb_u32(m->out, c->space[CORE_FUNC][c->m.start]);
        }
    }
    buf_put_u8(m->out, 0x0b);
    flat_length_end(m->out, at);
    return true;
}

/* A body with its length in front, in as few bytes as the length of the original took if that
 * still fits. */
static bool put_body(emitter *m, const flat_func *fn)
{
    flat *f = m->f;
    const flat_core *c = &f->cores[fn->core];
    bytes body = c->m.codes[fn->body];
    reader r = flat_reader(c, body);
    size_t hole = m->out->n, width = leb_width((uint32_t)body.n);
    buf_put(m->out, "\0\0\0\0", width);
    if (!code_walk_body(&r, &c->maps, m->out, NULL, f->e)) {
        err_wrap(f->e, "code section: function %u", c->m.imported[CORE_FUNC] + fn->body);
        return flat_in_core(f, fn->core);
    }
    if (m->out->failed)
        return true; /* the caller looks at it */
    size_t n = m->out->n - hole - width, now = leb_width((uint32_t)n);
    if (now != width) {
        if (now > width && !buf_reserve(m->out, now - width))
            return true;
        memmove(m->out->p + hole + now, m->out->p + hole + width, n);
    }
    m->out->n = hole;
    leb_u64(m->out, n);
    m->out->n = hole + now + n;
    return true;
}

static bool section_code(emitter *m)
{
    flat *f = m->f;
    uint32_t kept = flat_funcs_kept(f);
    if (!kept && !f->has_start)
        return true;
    size_t at = flat_section_begin(m->out, 10);
    leb_u32(m->out, kept + f->has_start + f->sized_count);
    for (uint32_t i = 0; i < f->funcs_count; i++)
        if (f->funcs[i].target == FLAT_DROPPED && !put_body(m, &f->funcs[i]))
            return false;
    if (f->has_start && !start_body(m))
        return false;
    flat_put_grow_bodies(f, m->out);
    flat_length_end(m->out, at);
    return true;
}

/* --- all of it -------------------------------------------------------------------------------- */

static void unit_fill(emitter *m)
{
    const flat *f = m->f;
    plan_unit *u = m->unit;
    u->label = f->unit->label;
    u->parent = f->unit->parent;
    u->withheld = f->unit->withheld;
    u->has_start = f->has_start;
    u->mutates_tables = f->mutates_tables;
    u->passive_segments = f->segments_used;
    for (uint32_t i = 0; i < f->elems_count; i++)
        u->start_segments |= f->elems[i].place == PLACE_LATE;
    for (uint32_t i = 0; i < f->datas_count; i++)
        u->start_segments |= f->datas[i].place == PLACE_LATE;
    u->core_modules = f->cores_count;
    u->core_functions = flat_funcs_kept(f);
    u->shims_removed = f->shims_removed;
    u->segments_merged = f->segments_merged;
    u->constants_folded = f->constants_folded;
    u->module_bytes = m->out->n;
    u->module_bytes_before = f->module_bytes_before;
}

static bool sections(emitter *m)
{
    static const uint8_t preamble[] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    flat *f = m->f;
    if (f->has_start && !flat_func_type(f, (bytes){(const uint8_t *)"\x60\0\0", 3}, &m->start_type))
        return false;
    if (f->sized_count &&
        !flat_func_type(f, (bytes){(const uint8_t *)"\x60\x01\x7f\x01\x7f", 5}, &m->grow_type))
        return false;
    if (!exports_make(m))
        return false;
    buf_reserve(m->out, f->module_bytes_before + 64 * KIB);
    buf_put(m->out, preamble, sizeof preamble);
    section_types(m);
    section_imports(m);
    section_functions(m);
    if (!section_tables(m))
        return false;
    section_memories(m);
    section_tags(m);
    if (!section_globals(m))
        return false;
    section_exports(m);
    if (!flat_put_elems(f, m->out))
        return false;
    if (f->datas_final) {
        size_t at = flat_section_begin(m->out, 12);
        leb_u32(m->out, f->datas_final);
        flat_length_end(m->out, at);
    }
    if (!section_code(m) || !flat_put_datas(f, m->out) || !flat_put_names(f, m->out))
        return false;
    return m->out->failed || f->types.failed ? flat_oom(f) : true;
}

bool flat_emit(flat *f, buf *out, plan_unit *ret)
{
    *ret = (plan_unit){0};
    emitter m = {.f = f, .out = out, .unit = ret};
    buf_init(&m.export_section, 64 * MIB);
    bool ok = sections(&m);
    buf_fini(&m.export_section);
    if (ok)
        unit_fill(&m);
    return ok;
}
