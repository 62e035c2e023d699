/* Writing the flattened module, section by section, in the order of the binary format.
 *
 * Segments are what takes thought. A memory or table is only a static image, which the engine maps
 * lazily, if every active segment is constant and simple. So offsets are folded to constants, lists
 * of `ref.func` expressions become lists of indices, null entries split a list (where nothing was
 * there before), and data segments that touch or nearly touch become one. Segments of an instance
 * that follows a start function can't be active, because all active ones run before any start: they
 * become passive, and the synthesised function "start" copies them at their turn.
 *
 * Lengths are written as five-byte LEB128 so that nothing is written twice. */
#include "component/flatten_inner.h"

#include "base/limits.h"

#include <stdio.h>

enum { GAP_MERGED_MAX = 64 };

typedef struct {
    uint32_t core;
    const cm_data *def; /* the first of `count` in a row, in one core */
    uint32_t count;
    bool known, passive;
    uint8_t type;
    int64_t offset;
    uint64_t bytes;
} out_data;

typedef struct {
    uint32_t core;
    const cm_elem *def;
    bool known, passive, as_indices;
    uint8_t type;
    int64_t offset;
    uint32_t first, count; /* part of def's items */
} out_elem;

typedef struct {
    flat *f;
    buf *out;
    plan_unit *unit;
    VEC(out_data) datas;
    VEC(out_elem) elems;
    VEC(uint32_t) memories; /* exported as m<k>: merged numbers */
    VEC(uint32_t) reallocs; /* exported as r<k>: final function numbers */
    uint32_t exports;
    buf export_section;
    uint32_t start_type;
} emitter;

/* --- writing ---------------------------------------------------------------------------------- */

static size_t length_begin(buf *b)
{
    static const uint8_t room[5] = {0};
    buf_put(b, room, 5);
    return b->n;
}

static void length_end(buf *b, size_t begun)
{
    if (b->failed)
        return;
    size_t n = b->n - begun;
    uint8_t *p = b->p + begun - 5;
    for (int i = 0; i < 5; i++, n >>= 7)
        p[i] = (uint8_t)((n & 0x7f) | (i < 4 ? 0x80 : 0));
}

static size_t section_begin(buf *b, uint8_t id)
{
    buf_put_u8(b, id);
    return length_begin(b);
}

static void put_name(buf *b, str s)
{
    leb_u32(b, (uint32_t)s.n);
    buf_put(b, s.p, s.n);
}

static void put_const(buf *b, uint8_t kind, int64_t v)
{
    buf_put_u8(b, kind == CORE_I64 ? 0x42 : 0x41);
    leb_s64(b, v);
}

/* A constant expression; without its end where it goes into a function body. */
static bool put_expr(emitter *m, const flat_core *c, bytes expr, bool with_end)
{
    flat *f = m->f;
    uint8_t kind;
    int64_t v;
    if (flat_const(f, c, expr, &kind, &v)) {
        f->constants_folded += expr.p[0] != 0x41 && expr.p[0] != 0x42;
        put_const(m->out, kind, v);
        if (with_end)
            buf_put_u8(m->out, 0x0b);
        return true;
    }
    reader r = flat_reader(c, expr);
    if (!code_walk(&r, &c->maps, m->out, NULL, f->e))
        return false;
    if (!with_end)
        m->out->n--;
    return true;
}

/* --- segments --------------------------------------------------------------------------------- */

static bool data_joins(const out_data *last, const out_data *next, const cm_data *previous)
{
    if (!last || last->passive || next->passive || !last->known || !next->known ||
        last->core != next->core || last->def->memory != next->def->memory ||
        last->def + last->count != previous + 1)
        return false;
    int64_t end = last->offset + (int64_t)last->bytes;
    return next->offset >= end && next->offset - end <= GAP_MERGED_MAX;
}

/* A gap may be filled with zeros only where no earlier segment has written. */
static bool gap_is_fresh(const emitter *m, const out_data *last, int64_t to)
{
    int64_t from = last->offset + (int64_t)last->bytes;
    for (uint32_t i = 0; from < to && i + 1 < m->datas.n; i++) {
        const out_data *d = &m->datas.p[i];
        bool same = m->f->cores[d->core].space[CORE_MEMORY][d->def->memory] ==
                    m->f->cores[last->core].space[CORE_MEMORY][last->def->memory];
        if (same && (!d->known || d->passive ||
                     (d->offset < to && d->offset + (int64_t)d->bytes > from)))
            return false;
    }
    return true;
}

static bool datas_plan(emitter *m)
{
    flat *f = m->f;
    for (uint32_t i = 0; i < f->cores_count; i++) {
        flat_core *c = &f->cores[i];
        for (uint32_t k = 0; k < c->m.datas_count; k++) {
            const cm_data *def = &c->m.datas[k];
            if (def->mode == CM_ACTIVE && def->memory >= c->m.count[CORE_MEMORY])
                return err_set(f->e, ERR_INVALID, "data segment %u fills no memory", k);
            out_data d = {.core = i, .def = def, .count = 1, .bytes = def->content.n};
            d.passive = def->mode != CM_ACTIVE || c->late;
            d.known = def->mode == CM_ACTIVE &&
                      flat_const(f, c, def->offset, &d.type, &d.offset) && d.offset >= 0 &&
                      d.offset < INT64_MAX / 2;
            out_data *last = m->datas.n ? &m->datas.p[m->datas.n - 1] : NULL;
            bool joins = k > 0 && data_joins(last, &d, def - 1) &&
                         m->datas.n < 64 /* the search for a fresh gap stays short */
                             ? gap_is_fresh(m, last, d.offset)
                             : k > 0 && data_joins(last, &d, def - 1) &&
                                   d.offset == last->offset + (int64_t)last->bytes;
            if (joins) {
                last->bytes = (uint64_t)(d.offset - last->offset) + d.bytes;
                last->count++;
                f->segments_merged++;
            } else if (!vec_push(f->a, &m->datas, d)) {
                return flat_oom(f);
            }
            c->datas[k] = m->datas.n - 1;
        }
    }
    return true;
}

/* The kinds of the items of an expression list: bit 0 functions, bit 1 nulls, bit 2 others. */
static unsigned elem_kinds(const flat_core *c, const cm_elem *x)
{
    reader r = flat_reader(c, x->items);
    unsigned kinds = 0;
    for (uint32_t i = 0; i < x->count; i++) {
        uint8_t op = r.at < r.end ? *r.at : 0;
        reader at = r;
        uint32_t index;
        bool func = reader_u8(&at, &op, NULL) && op == 0xd2 && reader_u32(&at, &index, NULL) &&
                    reader_u8(&at, &op, NULL) && op == 0x0b;
        kinds |= func ? 1 : *r.at == 0xd0 ? 2 : 4;
        if (!code_walk(&r, &c->maps, NULL, NULL, NULL))
            return 4;
    }
    return kinds;
}

static uint32_t table_of(const emitter *m, const out_elem *x)
{
    return m->f->cores[x->core].space[CORE_TABLE][x->def->table];
}

/* Has an earlier segment written where this one has a null? */
static bool overlaps_earlier(const emitter *m, const out_elem *x)
{
    for (uint32_t i = 0; i < m->elems.n; i++) {
        const out_elem *d = &m->elems.p[i];
        if (d->def->mode != CM_ACTIVE || table_of(m, d) != table_of(m, x))
            continue;
        if (!d->known || d->passive ||
            (d->offset < x->offset + x->count && d->offset + d->count > x->offset))
            return true;
    }
    return false;
}

/* Pushes the runs of functions between the nulls. */
static bool elem_split(emitter *m, out_elem x)
{
    const flat_core *c = &m->f->cores[x.core];
    reader r = flat_reader(c, x.def->items);
    int64_t base = x.offset;
    uint32_t run = 0;
    for (uint32_t i = 0; i <= x.def->count; i++) {
        bool null = i == x.def->count || *r.at == 0xd0;
        if (i < x.def->count && !code_walk(&r, &c->maps, NULL, NULL, m->f->e))
            return false;
        if (!null) {
            run++;
            continue;
        }
        out_elem part = x;
        part.as_indices = true;
        part.first = i - run;
        part.count = run;
        part.offset = base + part.first;
        if (run && !vec_push(m->f->a, &m->elems, part))
            return flat_oom(m->f);
        run = 0;
    }
    return true;
}

static bool elem_plan(emitter *m, uint32_t core, uint32_t k)
{
    flat *f = m->f;
    flat_core *c = &f->cores[core];
    const cm_elem *def = &c->m.elems[k];
    c->elems[k] = m->elems.n;
    if (def->mode == CM_ACTIVE && c->space[CORE_TABLE][def->table] == FLAT_DROPPED)
        return true;
    out_elem x = {.core = core, .def = def, .count = def->count};
    x.passive = def->mode == CM_PASSIVE || (def->mode == CM_ACTIVE && c->late);
    x.known = def->mode == CM_ACTIVE && flat_const(f, c, def->offset, &x.type, &x.offset);
    bool funcref = def->type.n == 1 && def->type.p[0] == 0x70;
    unsigned kinds = def->is_exprs ? elem_kinds(c, def) : 1;
    x.as_indices = !def->is_exprs || (funcref && kinds == 1);
    if (def->is_exprs && funcref && kinds == 3 && x.known && !x.passive &&
        def->mode == CM_ACTIVE && !overlaps_earlier(m, &x))
        return elem_split(m, x);
    return vec_push(f->a, &m->elems, x) ? true : flat_oom(f);
}

static bool elems_plan(emitter *m)
{
    for (uint32_t i = 0; i < m->f->cores_count; i++)
        for (uint32_t k = 0; k < m->f->cores[i].m.elems_count; k++)
            if (!elem_plan(m, i, k))
                return flat_in_core(m->f, i);
    return true;
}

static bool put_offset(emitter *m, const flat_core *c, bool known, uint8_t kind, int64_t v,
                       bytes expr)
{
    if (!known)
        return put_expr(m, c, expr, true);
    m->f->constants_folded += expr.p[0] != 0x41 && expr.p[0] != 0x42;
    put_const(m->out, kind, v);
    buf_put_u8(m->out, 0x0b);
    return true;
}

static bool put_elem_items(emitter *m, const out_elem *x)
{
    const flat_core *c = &m->f->cores[x->core];
    reader r = flat_reader(c, x->def->items);
    uint32_t end = x->first + x->count;
    leb_u32(m->out, x->count);
    for (uint32_t i = 0; i < end; i++) {
        uint32_t index;
        uint8_t op;
        if (!x->as_indices) {
            if (!code_walk(&r, &c->maps, m->out, NULL, m->f->e))
                return false;
            continue;
        }
        if (x->def->is_exprs && i < x->first) {
            if (!code_walk(&r, &c->maps, NULL, NULL, m->f->e))
                return false;
            continue;
        }
        if (x->def->is_exprs && !reader_u8(&r, &op, m->f->e))
            return false;
        if (!reader_u32(&r, &index, m->f->e))
            return false;
        if (index >= c->m.count[CORE_FUNC])
            return reader_fail(&r, m->f->e, ERR_INVALID, "function %u does not exist", index);
        leb_u32(m->out, c->space[CORE_FUNC][index]);
        if (x->def->is_exprs && !reader_u8(&r, &op, m->f->e))
            return false;
    }
    return true;
}

static bool section_elems(emitter *m)
{
    if (!m->elems.n)
        return true;
    size_t at = section_begin(m->out, 9);
    leb_u32(m->out, m->elems.n);
    for (uint32_t i = 0; i < m->elems.n; i++) {
        const out_elem *x = &m->elems.p[i];
        const flat_core *c = &m->f->cores[x->core];
        bool declarative = x->def->mode == CM_DECLARATIVE;
        bool active = !declarative && !x->passive;
        uint32_t dest = active ? table_of(m, x) : 0;
        bool plain = x->as_indices || (x->def->type.n == 1 && x->def->type.p[0] == 0x70);
        bool is_short = active && dest == 0 && plain;
        leb_u32(m->out, (declarative ? 3u : x->passive ? 1u : is_short ? 0u : 2u) |
                            (x->as_indices ? 0u : 4u));
        if (active && !is_short)
            leb_u32(m->out, dest);
        if (active && !put_offset(m, c, x->known, x->type, x->offset, x->def->offset))
            return flat_in_core(m->f, x->core);
        if (!is_short && x->as_indices) {
            buf_put_u8(m->out, 0);
        } else if (!is_short) {
            reader r = flat_reader(c, x->def->type);
            if (!code_walk_valtype(&r, &c->maps.types, m->out, m->f->e))
                return flat_in_core(m->f, x->core);
        }
        if (!put_elem_items(m, x))
            return flat_in_core(m->f, x->core);
    }
    length_end(m->out, at);
    return true;
}

static void put_data_content(emitter *m, const out_data *d)
{
    const flat *f = m->f;
    int64_t at = d->offset;
    leb_u64(m->out, d->bytes);
    for (uint32_t k = 0; k < d->count; k++) {
        const cm_data *def = d->def + k;
        uint8_t kind;
        int64_t offset = at;
        if (d->count > 1)
            flat_const(f, &f->cores[d->core], def->offset, &kind, &offset);
        for (; at < offset; at++)
            buf_put_u8(m->out, 0);
        buf_put(m->out, def->content.p, def->content.n);
        at += (int64_t)def->content.n;
    }
}

static bool section_datas(emitter *m)
{
    if (!m->datas.n)
        return true;
    size_t at = section_begin(m->out, 11);
    leb_u32(m->out, m->datas.n);
    for (uint32_t i = 0; i < m->datas.n; i++) {
        const out_data *d = &m->datas.p[i];
        const flat_core *c = &m->f->cores[d->core];
        uint32_t memory = d->passive ? 0 : c->space[CORE_MEMORY][d->def->memory];
        leb_u32(m->out, d->passive ? 1 : memory ? 2 : 0);
        if (memory)
            leb_u32(m->out, memory);
        if (!d->passive && !put_offset(m, c, d->known, d->type, d->offset, d->def->offset))
            return flat_in_core(m->f, d->core);
        put_data_content(m, d);
    }
    length_end(m->out, at);
    return true;
}

/* --- sections of types, imports, functions, tables, memories, tags, globals ------------------- */

static void section_types(emitter *m)
{
    size_t at = section_begin(m->out, 1);
    /* Recursion groups count as one entry, so the count is kept beside the types. */
    leb_u32(m->out, m->f->type_entries);
    buf_put(m->out, m->f->types.p, m->f->types.n);
    length_end(m->out, at);
}

static void section_imports(emitter *m)
{
    const flat *f = m->f;
    if (!f->unit->canons_count)
        return;
    size_t at = section_begin(m->out, 2);
    leb_u32(m->out, f->unit->canons_count);
    for (uint32_t i = 0; i < f->unit->canons_count; i++) {
        char digits[12];
        int n = snprintf(digits, sizeof digits, "%u", i);
        put_name(m->out, S("ebb"));
        put_name(m->out, (str){digits, (size_t)n});
        buf_put_u8(m->out, 0);
        leb_u32(m->out, f->canon_types[i]);
    }
    length_end(m->out, at);
}

static uint32_t funcs_kept(const flat *f)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < f->funcs_count; i++)
        n += f->funcs[i].target == FLAT_DROPPED;
    return n;
}

static void section_functions(emitter *m)
{
    const flat *f = m->f;
    size_t at = section_begin(m->out, 3);
    leb_u32(m->out, funcs_kept(f) + f->has_start);
    for (uint32_t i = 0; i < f->funcs_count; i++)
        if (f->funcs[i].target == FLAT_DROPPED)
            leb_u32(m->out, f->funcs[i].type);
    if (f->has_start)
        leb_u32(m->out, m->start_type);
    length_end(m->out, at);
}

static bool section_tables(emitter *m)
{
    flat *f = m->f;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < f->tables_count; i++)
        kept += !f->tables[i].dropped;
    if (!kept)
        return true;
    size_t at = section_begin(m->out, 4);
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
        if (t->def->init.n && !put_expr(m, c, t->def->init, true))
            return flat_in_core(f, t->core);
    }
    length_end(m->out, at);
    return true;
}

/* Sizes of the largest memory, in bytes, for the plan. */
static void memory_note(emitter *m, bytes limits)
{
    reader r = reader_over(limits);
    uint8_t flags = 0;
    uint64_t min = 0, max = UINT64_MAX;
    uint32_t page_log2 = 16;
    if (!reader_u8(&r, &flags, NULL) || !reader_u64(&r, &min, NULL) ||
        (flags & 1 && !reader_u64(&r, &max, NULL)) ||
        (flags & 8 && !reader_u32(&r, &page_log2, NULL)) || page_log2 > 16)
        return;
    uint64_t limit = UINT64_MAX >> page_log2;
    min = min > limit ? UINT64_MAX : min << page_log2;
    max = max > limit ? UINT64_MAX : max << page_log2;
    if (min > m->unit->memory_bytes_min)
        m->unit->memory_bytes_min = min;
    if (max > m->unit->memory_bytes_max)
        m->unit->memory_bytes_max = max;
}

static void section_memories(emitter *m)
{
    const flat *f = m->f;
    if (!f->memories_count)
        return;
    size_t at = section_begin(m->out, 5);
    leb_u32(m->out, f->memories_count);
    for (uint32_t i = 0; i < f->memories_count; i++) {
        buf_put(m->out, f->memories[i].limits.p, f->memories[i].limits.n);
        memory_note(m, f->memories[i].limits);
    }
    length_end(m->out, at);
}

static void section_tags(emitter *m)
{
    const flat *f = m->f;
    if (!f->tags_count)
        return;
    size_t at = section_begin(m->out, 13);
    leb_u32(m->out, f->tags_count);
    for (uint32_t i = 0; i < f->tags_count; i++) {
        buf_put_u8(m->out, 0);
        leb_u32(m->out, f->tags[i]);
    }
    length_end(m->out, at);
}

static bool section_globals(emitter *m)
{
    flat *f = m->f;
    if (!f->globals_count)
        return true;
    size_t at = section_begin(m->out, 6);
    leb_u32(m->out, f->globals_count);
    for (uint32_t i = 0; i < f->globals_count; i++) {
        const flat_global *g = &f->globals[i];
        const flat_core *c = &f->cores[g->core];
        reader r = flat_reader(c, g->def->type);
        if (!code_walk_valtype(&r, &c->maps.types, m->out, f->e))
            return flat_in_core(f, g->core);
        buf_put(m->out, r.at, reader_left(&r));
        if (!put_expr(m, c, g->def->init, true))
            return flat_in_core(f, g->core);
    }
    length_end(m->out, at);
    return true;
}

/* --- exports ---------------------------------------------------------------------------------- */

static void export_put(emitter *m, char letter, uint32_t k, core_kind kind, uint32_t index)
{
    char name[16];
    int n = snprintf(name, sizeof name, "%c%u", letter, k);
    put_name(&m->export_section, (str){name, (size_t)n});
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
    uint32_t n = memory ? m->memories.n : m->reallocs.n;
    const uint32_t *all = memory ? m->memories.p : m->reallocs.p;
    for (uint32_t i = 0; i < n; i++)
        if (all[i] == index) {
            *ret = (int32_t)i;
            return true;
        }
    bool ok = memory ? vec_push(m->f->a, &m->memories, index)
                     : vec_push(m->f->a, &m->reallocs, index);
    if (!ok)
        return flat_oom(m->f);
    export_put(m, memory ? 'm' : 'r', n, kind, index);
    *ret = (int32_t)n;
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
        imports[i] = (plan_import){.kind = c->kind, .interface = c->interface, .name = c->name,
                                   .type = c->type, .element = c->element, .unit = c->unit,
                                   .lift = c->lift, .resource = c->resource,
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

static bool exports_make(emitter *m)
{
    flat *f = m->f;
    if (!plan_imports(m) || !plan_lifts(m))
        return false;
    for (uint32_t i = 0; i < f->link->resources_count; i++) {
        const link_resource *r = &f->link->resources[i];
        bool there;
        if (!r->type.imported && r->unit == f->unit_index && !export_func(m, 'd', i, r->dtor, &there))
            return false;
    }
    uint32_t k = 0;
    for (uint32_t i = 0; i < f->globals_count; i++)
        if (f->globals[i].def->is_mutable && f->globals[i].set_by_code)
            export_put(m, 'g', k++, CORE_GLOBAL, i);
    m->unit->globals_count = k;
    m->unit->memories_count = m->memories.n;
    m->unit->reallocs_count = m->reallocs.n;
    if (f->has_start) {
        put_name(&m->export_section, S("start"));
        buf_put_u8(&m->export_section, CORE_FUNC);
        leb_u32(&m->export_section, f->unit->canons_count + funcs_kept(f));
        m->exports++;
    }
    return m->export_section.failed ? flat_oom(f) : true;
}

static void section_exports(emitter *m)
{
    size_t at = section_begin(m->out, 7);
    leb_u32(m->out, m->exports);
    buf_put(m->out, m->export_section.p, m->export_section.n);
    length_end(m->out, at);
}

/* --- code ------------------------------------------------------------------------------------- */

/* table.init and elem.drop, memory.init and data.drop, for one late instance. */
static bool start_segments(emitter *m, uint32_t core)
{
    const flat_core *c = &m->f->cores[core];
    for (uint32_t i = 0; i < m->elems.n; i++) {
        const out_elem *x = &m->elems.p[i];
        if (x->core != core || x->def->mode != CM_ACTIVE)
            continue;
        if (!put_expr(m, c, x->def->offset, false))
            return false;
        put_const(m->out, CORE_I32, 0);
        put_const(m->out, CORE_I32, (int32_t)x->count);
        buf_put(m->out, "\xfc\x0c", 2);
        leb_u32(m->out, i);
        leb_u32(m->out, table_of(m, x));
        buf_put(m->out, "\xfc\x0d", 2);
        leb_u32(m->out, i);
    }
    for (uint32_t i = 0; i < m->datas.n; i++) {
        const out_data *d = &m->datas.p[i];
        if (d->core != core || d->def->mode != CM_ACTIVE)
            continue;
        if (!put_expr(m, c, d->def->offset, false))
            return false;
        put_const(m->out, CORE_I32, 0);
        put_const(m->out, CORE_I32, (int32_t)d->bytes);
        buf_put(m->out, "\xfc\x08", 2);
        leb_u32(m->out, i);
        leb_u32(m->out, c->space[CORE_MEMORY][d->def->memory]);
        buf_put(m->out, "\xfc\x09", 2);
        leb_u32(m->out, i);
    }
    return true;
}

static bool start_body(emitter *m)
{
    size_t at = length_begin(m->out);
    leb_u32(m->out, 0);
    for (uint32_t i = 0; i < m->f->cores_count; i++) {
        const flat_core *c = &m->f->cores[i];
        if (c->late && !start_segments(m, i))
            return flat_in_core(m->f, i);
        if (c->m.has_start) {
            buf_put_u8(m->out, 0x10);
            leb_u32(m->out, c->space[CORE_FUNC][c->m.start]);
        }
    }
    buf_put_u8(m->out, 0x0b);
    length_end(m->out, at);
    return true;
}

static bool section_code(emitter *m)
{
    flat *f = m->f;
    size_t at = section_begin(m->out, 10);
    leb_u32(m->out, funcs_kept(f) + f->has_start);
    for (uint32_t i = 0; i < f->funcs_count; i++) {
        const flat_func *fn = &f->funcs[i];
        const flat_core *c = &f->cores[fn->core];
        if (fn->target != FLAT_DROPPED)
            continue;
        size_t body = length_begin(m->out);
        reader r = flat_reader(c, c->m.codes[fn->body]);
        if (!code_walk_body(&r, &c->maps, m->out, NULL, f->e)) {
            err_wrap(f->e, "function %u", c->m.imported[CORE_FUNC] + fn->body);
            return flat_in_core(f, fn->core);
        }
        length_end(m->out, body);
    }
    if (f->has_start && !start_body(m))
        return false;
    length_end(m->out, at);
    return true;
}

/* --- names ------------------------------------------------------------------------------------ */

/* Function names (core specification, appendix "Custom Sections"): imports by what they are to the
 * component, others as their own module named them. */
static void section_names(emitter *m)
{
    const flat *f = m->f;
    size_t at = section_begin(m->out, 0);
    put_name(m->out, S("name"));
    buf_put_u8(m->out, 1);
    size_t sub = length_begin(m->out);
    uint32_t count = f->unit->canons_count;
    for (uint32_t i = 0; i < f->funcs_count; i++) {
        const core_module *c = &f->cores[f->funcs[i].core].m;
        uint32_t own = c->imported[CORE_FUNC] + f->funcs[i].body;
        count += f->funcs[i].target == FLAT_DROPPED && c->names && c->names[own].n;
    }
    leb_u32(m->out, count + f->has_start);
    for (uint32_t i = 0; i < f->unit->canons_count; i++) {
        const link_canon *c = &f->unit->canons[i];
        leb_u32(m->out, i);
        leb_u32(m->out, (uint32_t)(c->interface.n + (c->interface.n > 0) + c->name.n));
        buf_put(m->out, c->interface.p, c->interface.n);
        if (c->interface.n)
            buf_put_u8(m->out, '#');
        buf_put(m->out, c->name.p, c->name.n);
    }
    for (uint32_t i = 0; i < f->funcs_count; i++) {
        const core_module *c = &f->cores[f->funcs[i].core].m;
        uint32_t own = c->imported[CORE_FUNC] + f->funcs[i].body;
        if (f->funcs[i].target != FLAT_DROPPED || !c->names || !c->names[own].n)
            continue;
        leb_u32(m->out, f->funcs[i].final);
        put_name(m->out, c->names[own]);
    }
    if (f->has_start) {
        leb_u32(m->out, f->unit->canons_count + funcs_kept(f));
        put_name(m->out, S("start (of all core modules)"));
    }
    length_end(m->out, sub);
    length_end(m->out, at);
}

/* --- all of it -------------------------------------------------------------------------------- */

static void unit_fill(emitter *m)
{
    const flat *f = m->f;
    plan_unit *u = m->unit;
    u->has_start = f->has_start;
    u->mutates_tables = f->mutates_tables;
    u->passive_segments = f->segments_used;
    u->core_modules = f->cores_count;
    u->core_functions = funcs_kept(f);
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
    if (f->has_start &&
        !flat_func_type(f, (bytes){(const uint8_t *)"\x60\0\0", 3}, &m->start_type))
        return false;
    if (!datas_plan(m) || !elems_plan(m) || !exports_make(m))
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
    if (!section_elems(m))
        return false;
    if (m->datas.n) {
        size_t at = section_begin(m->out, 12);
        leb_u32(m->out, m->datas.n);
        length_end(m->out, at);
    }
    if (!section_code(m) || !section_datas(m))
        return false;
    section_names(m);
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
