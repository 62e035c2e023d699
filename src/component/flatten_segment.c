/* Segments. A memory or table is a static image, which the engine maps lazily, only if its active
 * segments are constant and simple; one that is not spoils those after it. So whatever can be known
 * is known here: offsets are folded to constants, and the static segments of a table or memory are
 * played over each other in their original order and written out as what is then there: runs of
 * function indices without nulls, and stretches of bytes, where small gaps are filled with the
 * zeros that are there anyway.
 *
 * Segments of an instance that follows a start function can't all be active, because all active
 * ones run before any start. They may, if the start can't have seen their target: it belongs to a
 * later instance, or no code that the start reaches touches it (flatten_reach.c). The others become
 * passive, and the synthesised function "start" copies them at their turn.
 *
 * A segment that code mentions (table.init, data.drop) but that was active or declared is empty by
 * the time code runs; an empty passive one takes its place. */
#include "component/flatten_inner.h"

#include "base/limits.h"

#include <stdlib.h>

/* Gaps up to the first are always filled: another segment's header takes as much. Larger ones only
 * while there are more stretches than are wanted, for the engine has a limit and each costs it time
 * (Go's linker leaves out every run of zeros: tens of thousands of segments). */
enum { GAP_BYTES_MIN = 16, GAP_BYTES_MAX = 256, STRETCHES_WANTED = 4096 };

/* --- where segments go ------------------------------------------------------------------------ */

bool flat_elem_next(const flat *f, const flat_core *c, const cm_elem *x, reader *r, uint32_t *ret)
{
    uint32_t index;
    if (x->is_exprs) {
        const uint8_t *from = r->at;
        flat_value v;
        if (!code_walk(r, &c->maps, NULL, NULL, NULL) ||
            !flat_const(f, c, (bytes){from, (size_t)(r->at - from)}, &v) ||
            (v.type != FLAT_FUNC && v.type != FLAT_NOFUNC))
            return false;
        *ret = (uint32_t)(v.bits + 1);
        return true;
    }
    if (!reader_u32(r, &index, NULL) || index >= c->m.count[CORE_FUNC])
        return false;
    *ret = c->space[CORE_FUNC][index] + 1;
    return true;
}

static bool items_are_functions(const flat *f, const flat_core *c, const cm_elem *x)
{
    reader r = flat_reader(c, x->items);
    uint32_t func;
    for (uint32_t i = 0; i < x->count; i++)
        if (!flat_elem_next(f, c, x, &r, &func))
            return false;
    return true;
}

/* Of an active segment of core c into a target of core `owner`: is all known of it (simple), and is
 * there a start function before it that may have seen the target without it? */
static flat_place place_active(const flat_core *c, uint32_t owner, int64_t touched_from,
                               bool simple)
{
    bool seen = c->start_before >= (int64_t)owner && c->start_before >= touched_from;
    if (simple && !seen)
        return PLACE_STATIC;
    return c->start_before >= 0 ? PLACE_LATE : PLACE_ACTIVE;
}

static bool offset_fits(const flat_value *offset, bool is_64, uint64_t count, uint64_t size)
{
    uint64_t at = flat_offset(*offset);
    return offset->type == (is_64 ? CORE_I64 : CORE_I32) && at <= size && count <= size - at;
}

static bool elem_place(flat *f, flat_elem *x)
{
    const flat_core *c = &f->cores[x->core];
    if (x->def->mode != CM_ACTIVE) {
        x->place = x->def->mode == CM_PASSIVE ? PLACE_PASSIVE : PLACE_DECLARED;
        return true;
    }
    if (x->def->table >= c->m.count[CORE_TABLE])
        return err_set(f->e, ERR_INVALID, "unknown table %u: an element segment fills it",
                       x->def->table);
    x->target = c->space[CORE_TABLE][x->def->table];
    flat_table *t = &f->tables[x->target];
    x->known = flat_const(f, c, x->def->offset, &x->offset);
    bool simple = t->is_plain && !t->opaque && x->known &&
                  offset_fits(&x->offset, t->is_64, x->def->count, t->min) &&
                  items_are_functions(f, c, x->def);
    x->place = place_active(c, t->core, t->touched_from, simple);
    t->opaque |= x->place != PLACE_STATIC;
    return true;
}

static bool data_place(flat *f, flat_data *d)
{
    const flat_core *c = &f->cores[d->core];
    if (d->def->mode != CM_ACTIVE) {
        d->place = PLACE_PASSIVE;
        return true;
    }
    if (d->def->memory >= c->m.count[CORE_MEMORY])
        return err_set(f->e, ERR_INVALID, "unknown memory %u: a data segment fills it",
                       d->def->memory);
    d->target = c->space[CORE_MEMORY][d->def->memory];
    flat_memory *m = &f->memories[d->target];
    d->known = flat_const(f, c, d->def->offset, &d->offset);
    bool simple = !m->opaque && d->known &&
                  offset_fits(&d->offset, m->is_64, d->def->content.n, m->bytes_min);
    d->place = place_active(c, m->core, m->touched_from, simple);
    m->opaque |= d->place != PLACE_STATIC;
    return true;
}

bool flat_segments_place(flat *f)
{
    for (uint32_t i = 0; i < f->elems_count; i++)
        if (!elem_place(f, &f->elems[i]))
            return flat_in_core(f, f->elems[i].core);
    for (uint32_t i = 0; i < f->datas_count; i++)
        if (!data_place(f, &f->datas[i]))
            return flat_in_core(f, f->datas[i].core);
    return true;
}

/* --- images of tables ------------------------------------------------------------------------- */

static int elem_cmp(const void *a, const void *b)
{
    const flat_elem *x = *(const flat_elem *const *)a, *y = *(const flat_elem *const *)b;
    if (x->target != y->target)
        return x->target < y->target ? -1 : 1;
    uint64_t at = flat_offset(x->offset), bt = flat_offset(y->offset);
    if (at != bt)
        return at < bt ? -1 : 1;
    return x < y ? -1 : 1; /* the order of the array is the original order */
}

static int elem_order_cmp(const void *a, const void *b)
{
    return *(const flat_elem *const *)a < *(const flat_elem *const *)b ? -1 : 1;
}

/* Plays all[0..n), which overlap or touch, and pushes the runs between nulls. */
static bool runs_push(flat *f, const flat_elem **all, uint32_t n, uint64_t from, uint64_t to)
{
    uint32_t *funcs = ARENA_ARRAY(f->a, uint32_t, to - from);
    if (!funcs)
        return flat_oom(f);
    qsort(all, n, sizeof *all, elem_order_cmp);
    for (uint32_t i = 0; i < n; i++) {
        const flat_core *c = &f->cores[all[i]->core];
        reader r = flat_reader(c, all[i]->def->items);
        uint64_t at = flat_offset(all[i]->offset) - from;
        for (uint32_t k = 0; k < all[i]->def->count; k++)
            if (!flat_elem_next(f, c, all[i]->def, &r, &funcs[at + k]))
                return err_set(f->e, ERR_INTERNAL, "a static segment changed its mind");
    }
    for (uint64_t i = 0, run = 0; i <= to - from; i++) {
        if (i < to - from && funcs[i]) {
            funcs[i]--; /* from function + 1 to function */
            run++;
            continue;
        }
        flat_run r = {all[0]->target, from + i - run, funcs + i - run, (uint32_t)run};
        if (run && !vec_push(f->a, &f->runs, r))
            return flat_oom(f);
        run = 0;
    }
    return true;
}

static bool tables_image(flat *f)
{
    const flat_elem **all = ARENA_ARRAY(f->a, const flat_elem *, f->elems_count);
    uint32_t n = 0;
    if (!all)
        return flat_oom(f);
    for (uint32_t i = 0; i < f->elems_count; i++) {
        const flat_elem *x = &f->elems[i];
        if (x->place == PLACE_STATIC && !f->tables[x->target].dropped && x->def->count)
            all[n++] = x;
    }
    if (n)
        qsort(all, n, sizeof *all, elem_cmp);
    for (uint32_t i = 0, next; i < n; i = next) {
        uint64_t from = flat_offset(all[i]->offset), to = from + all[i]->def->count;
        for (next = i + 1; next < n && all[next]->target == all[i]->target &&
                           flat_offset(all[next]->offset) <= to;
             next++) {
            uint64_t end = flat_offset(all[next]->offset) + all[next]->def->count;
            to = end > to ? end : to;
        }
        if (!runs_push(f, all + i, next - i, from, to))
            return false;
    }
    return true;
}

/* --- images of memories ----------------------------------------------------------------------- */

static int data_cmp(const void *a, const void *b)
{
    const flat_data *x = *(const flat_data *const *)a, *y = *(const flat_data *const *)b;
    if (x->target != y->target)
        return x->target < y->target ? -1 : 1;
    uint64_t at = flat_offset(x->offset), bt = flat_offset(y->offset);
    if (at != bt)
        return at < bt ? -1 : 1;
    return x < y ? -1 : 1;
}

static int data_order_cmp(const void *a, const void *b)
{
    return *(const flat_data *const *)a < *(const flat_data *const *)b ? -1 : 1;
}

/* The end of the stretch that begins at all[i], as an index and as an offset. */
static uint32_t stretch_end(const flat_data **all, uint32_t i, uint32_t n, uint64_t gap,
                            uint64_t *ret_to, bool *ret_overlap)
{
    uint64_t to = flat_offset(all[i]->offset) + all[i]->def->content.n;
    uint32_t next = i + 1;
    *ret_overlap = false;
    for (; next < n && all[next]->target == all[i]->target; next++) {
        uint64_t at = flat_offset(all[next]->offset), end = at + all[next]->def->content.n;
        if (at > to && at - to > gap)
            break;
        *ret_overlap |= at < to;
        to = end > to ? end : to;
    }
    *ret_to = to;
    return next;
}

static uint64_t gap_choose(const flat_data **all, uint32_t n)
{
    uint64_t gap = GAP_BYTES_MIN, to;
    for (; gap < GAP_BYTES_MAX; gap *= 2) {
        uint32_t stretches = 0;
        bool overlap;
        for (uint32_t i = 0; i < n; i = stretch_end(all, i, n, gap, &to, &overlap))
            stretches++;
        if (stretches <= STRETCHES_WANTED)
            break;
    }
    return gap;
}

static bool memories_image(flat *f)
{
    const flat_data **all = ARENA_ARRAY(f->a, const flat_data *, f->datas_count);
    uint32_t n = 0;
    if (!all)
        return flat_oom(f);
    for (uint32_t i = 0; i < f->datas_count; i++)
        if (f->datas[i].place == PLACE_STATIC && f->datas[i].def->content.n)
            all[n++] = &f->datas[i];
    if (n)
        qsort(all, n, sizeof *all, data_cmp);
    f->image = all;
    uint64_t gap = gap_choose(all, n);
    for (uint32_t i = 0, next; i < n; i = next) {
        uint64_t from = flat_offset(all[i]->offset), to;
        bool overlap;
        next = stretch_end(all, i, n, gap, &to, &overlap);
        if (to - from > UINT32_MAX)
            return err_set(f->e, ERR_LIMIT, "more than 4 GiB of data in a row");
        flat_cluster cluster = {all[i]->target, i, next - i, from, to - from};
        if (overlap)
            qsort(all + i, next - i, sizeof *all, data_order_cmp);
        if (!vec_push(f->a, &f->clusters, cluster))
            return flat_oom(f);
        f->segments_merged += next - i - 1;
    }
    return true;
}

/* --- numbers ---------------------------------------------------------------------------------- */

static bool is_declared(const flat *f, uint32_t merged)
{
    uint32_t canons = f->unit->canons_count;
    return merged < canons ? f->canons_referenced[merged] : f->funcs[merged - canons].referenced;
}

static uint32_t declared_count(const flat *f)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < f->unit->canons_count + f->funcs_count; i++)
        n += is_declared(f, i);
    return n;
}

/* Is a segment written by itself? Static ones are part of an image, passive and declared ones that
 * code does not mention are of no use. */
static bool is_kept(flat_place place, bool mentioned)
{
    return place == PLACE_ACTIVE || place == PLACE_LATE || mentioned;
}

/* Its content is gone before code can mention it. */
static bool is_emptied(flat_place place)
{
    return place == PLACE_STATIC || place == PLACE_DECLARED;
}

bool flat_segments_plan(flat *f)
{
    if (!tables_image(f) || !memories_image(f))
        return false;
    f->elems_final = f->runs.n;
    for (uint32_t i = 0; i < f->elems_count; i++) {
        flat_elem *x = &f->elems[i];
        x->final = is_kept(x->place, x->mentioned) ? f->elems_final++ : FLAT_DROPPED;
    }
    f->elems_final += declared_count(f) > 0;
    f->datas_final = f->clusters.n;
    for (uint32_t i = 0; i < f->datas_count; i++) {
        flat_data *d = &f->datas[i];
        d->final = is_kept(d->place, d->mentioned) ? f->datas_final++ : FLAT_DROPPED;
    }
    return true;
}

/* --- writing ---------------------------------------------------------------------------------- */

static bool put_offset(flat *f, const flat_core *c, bool known, flat_value v, bytes expr, buf *out)
{
    if (!known || !flat_is_number(v))
        return flat_put_expr(f, c, expr, true, out);
    flat_put_number(out, v);
    buf_put_u8(out, 0x0b);
    return true;
}

static void put_run(flat *f, const flat_run *run, buf *out)
{
    const flat_table *t = &f->tables[run->table];
    leb_u32(out, t->final ? 2 : 0);
    if (t->final)
        leb_u32(out, t->final);
    flat_put_number(out,
                    (flat_value){t->is_64 ? CORE_I64 : CORE_I32,
                                 t->is_64 ? (int64_t)run->offset : (int32_t)(uint32_t)run->offset});
    buf_put_u8(out, 0x0b);
    if (t->final)
        buf_put_u8(out, 0); /* elemkind: functions */
    leb_u32(out, run->count);
    for (uint32_t i = 0; i < run->count; i++)
        leb_u32(out, flat_func_final(f, run->funcs[i]));
}

static bool put_items(flat *f, const flat_elem *x, buf *out)
{
    const flat_core *c = &f->cores[x->core];
    reader r = flat_reader(c, x->def->items);
    leb_u32(out, x->def->count);
    for (uint32_t i = 0; i < x->def->count; i++) {
        uint32_t index;
        if (x->def->is_exprs) {
            if (!code_walk(&r, &c->maps, out, NULL, f->e))
                return false;
            continue;
        }
        if (!reader_u32(&r, &index, f->e))
            return false;
        if (index >= c->m.count[CORE_FUNC])
            return reader_fail(&r, f->e, ERR_INVALID, "function %u does not exist", index);
        leb_u32(out, c->space[CORE_FUNC][index]);
    }
    return true;
}

/* Flags (core specification 5.5.12): 1 not active, 2 explicit table, 4 expressions. */
static bool put_elem(flat *f, const flat_elem *x, buf *out)
{
    const flat_core *c = &f->cores[x->core];
    bool active = x->place == PLACE_ACTIVE;
    leb_u32(out, (active ? 2u : 1u) | (x->def->is_exprs ? 4u : 0u));
    if (active) {
        leb_u32(out, f->tables[x->target].final);
        if (!put_offset(f, c, x->known, x->offset, x->def->offset, out))
            return false;
    }
    if (x->def->is_exprs) {
        reader r = flat_reader(c, x->def->type);
        if (!code_walk_valtype(&r, &c->maps.types, out, f->e))
            return false;
    } else {
        buf_put_u8(out, 0);
    }
    if (!is_emptied(x->place))
        return put_items(f, x, out);
    leb_u32(out, 0);
    return true;
}

bool flat_put_elems(flat *f, buf *out)
{
    if (!f->elems_final)
        return true;
    size_t at = flat_section_begin(out, 9);
    leb_u32(out, f->elems_final);
    for (uint32_t i = 0; i < f->runs.n; i++)
        put_run(f, &f->runs.p[i], out);
    for (uint32_t i = 0; i < f->elems_count; i++)
        if (f->elems[i].final != FLAT_DROPPED && !put_elem(f, &f->elems[i], out))
            return flat_in_core(f, f->elems[i].core);
    uint32_t declared = declared_count(f);
    if (declared) {
        leb_u32(out, 3);
        buf_put_u8(out, 0);
        leb_u32(out, declared);
        for (uint32_t i = 0; i < f->unit->canons_count + f->funcs_count; i++)
            if (is_declared(f, i))
                leb_u32(out, flat_func_final(f, i));
    }
    flat_length_end(out, at);
    return true;
}

static void put_cluster(flat *f, const flat_cluster *k, buf *out)
{
    bool is_64 = f->memories[k->memory].is_64;
    leb_u32(out, k->memory ? 2 : 0);
    if (k->memory)
        leb_u32(out, k->memory);
    flat_put_number(out, (flat_value){is_64 ? CORE_I64 : CORE_I32,
                                      is_64 ? (int64_t)k->offset : (int32_t)(uint32_t)k->offset});
    buf_put_u8(out, 0x0b);
    leb_u64(out, k->bytes);
    if (!buf_reserve(out, k->bytes))
        return;
    if (k->count > 1)
        memset(out->p + out->n, 0, k->bytes);
    for (uint32_t i = k->first; i < k->first + k->count; i++) {
        bytes content = f->image[i]->def->content;
        memcpy(out->p + out->n + (flat_offset(f->image[i]->offset) - k->offset), content.p,
               content.n);
    }
    out->n += k->bytes;
}

static bool put_data(flat *f, const flat_data *d, buf *out)
{
    bool active = d->place == PLACE_ACTIVE;
    bytes content = is_emptied(d->place) ? (bytes){0} : d->def->content;
    leb_u32(out, active ? 2 : 1);
    if (active) {
        leb_u32(out, d->target);
        if (!put_offset(f, &f->cores[d->core], d->known, d->offset, d->def->offset, out))
            return flat_in_core(f, d->core);
    }
    leb_u64(out, content.n);
    buf_put(out, content.p, content.n);
    return true;
}

bool flat_put_datas(flat *f, buf *out)
{
    if (!f->datas_final)
        return true;
    size_t at = flat_section_begin(out, 11);
    leb_u32(out, f->datas_final);
    for (uint32_t i = 0; i < f->clusters.n; i++)
        put_cluster(f, &f->clusters.p[i], out);
    for (uint32_t i = 0; i < f->datas_count; i++)
        if (f->datas[i].final != FLAT_DROPPED && !put_data(f, &f->datas[i], out))
            return false;
    flat_length_end(out, at);
    return true;
}

/* --- copies by the start function ------------------------------------------------------------- */

static bool put_destination(flat *f, const flat_core *c, bool known, flat_value v, bytes expr,
                            uint64_t count, buf *out)
{
    if (known && flat_is_number(v))
        flat_put_number(out, v);
    else if (!flat_put_expr(f, c, expr, false, out))
        return false;
    flat_put_number(out, (flat_value){CORE_I32, 0});
    flat_put_number(out, (flat_value){CORE_I32, (int32_t)(uint32_t)count});
    return true;
}

bool flat_put_late(flat *f, uint32_t core, buf *out)
{
    const flat_core *c = &f->cores[core];
    for (uint32_t i = c->elem_base; i < c->elem_base + c->m.elems_count; i++) {
        const flat_elem *x = &f->elems[i];
        if (x->place != PLACE_LATE)
            continue;
        if (!put_destination(f, c, x->known, x->offset, x->def->offset, x->def->count, out))
            return false;
        buf_put(out, "\xfc\x0c", 2); /* table.init */
        leb_u32(out, x->final);
        leb_u32(out, f->tables[x->target].final);
        buf_put(out, "\xfc\x0d", 2); /* elem.drop */
        leb_u32(out, x->final);
    }
    for (uint32_t i = c->data_base; i < c->data_base + c->m.datas_count; i++) {
        const flat_data *d = &f->datas[i];
        if (d->place != PLACE_LATE)
            continue;
        if (!put_destination(f, c, d->known, d->offset, d->def->offset, d->def->content.n, out))
            return false;
        buf_put(out, "\xfc\x08", 2); /* memory.init */
        leb_u32(out, d->final);
        leb_u32(out, d->target);
        buf_put(out, "\xfc\x09", 2); /* data.drop */
        leb_u32(out, d->final);
    }
    return true;
}
