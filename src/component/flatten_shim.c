/* Shims: functions that only jump through a table. wit-component makes them because a lowered
 * import needs the memory of a module that is instantiated later: the shim module exports thunks
 *
 *     (func (param ...) local.get 0 ... local.get n-1  i32.const k  call_indirect $table)
 *
 * and a fix-up module fills the table at the end. Within one module nothing needs that detour. A
 * thunk is replaced by what it calls if this can be proved: nothing but static segments ever writes
 * the table (flatten_inner.h: in bounds, and no start function ran before them that could have
 * called the thunk), the last of them puts a function there, and that function's type is the
 * thunk's own. A table that nothing else looks at goes with its thunks. */
#include "component/flatten_inner.h"

#include "base/limits.h"

/* A thunk's body: no locals; every parameter in order; a constant; call_indirect; end. */
static bool thunk_read(const flat *f, const flat_core *c, bytes body, uint32_t own, flat_func *ret)
{
    reader r = flat_reader(c, body);
    uint8_t op;
    uint32_t v, params, index, through;
    int32_t slot;
    if (!reader_u32(&r, &v, NULL) || v != 0)
        return false;
    const cm_rec *rec = core_module_rec(&c->m, own);
    if (!rec || !rec->is_func)
        return false;
    reader t = flat_reader(c, rec->raw);
    if (!reader_u8(&t, &op, NULL) || !reader_u32(&t, &params, NULL))
        return false;
    for (uint32_t i = 0; i < params; i++)
        if (!reader_u8(&r, &op, NULL) || op != 0x20 || !reader_u32(&r, &v, NULL) || v != i)
            return false;
    if (!reader_u8(&r, &op, NULL) || op != 0x41 || !reader_s32(&r, &slot, NULL) || slot < 0)
        return false;
    if (!reader_u8(&r, &op, NULL) || op != 0x11 || !reader_u32(&r, &index, NULL) ||
        !reader_u32(&r, &through, NULL))
        return false;
    if (index >= c->m.types_count || through >= c->m.count[CORE_TABLE] ||
        c->types[index] != c->types[own])
        return false;
    if (!reader_u8(&r, &op, NULL) || op != 0x0b || !reader_done(&r))
        return false;
    ret->table = c->space[CORE_TABLE][through];
    ret->slot = (uint32_t)slot;
    return true;
}

enum { THUNK_BYTES_MAX = 64 };

static void thunks_find(flat *f)
{
    for (uint32_t i = 0; i < f->funcs_count; i++) {
        flat_func *fn = &f->funcs[i];
        const flat_core *c = &f->cores[fn->core];
        bytes body = c->m.codes[fn->body];
        if (body.n > THUNK_BYTES_MAX)
            continue;
        uint32_t own = c->m.func_types[c->m.imported[CORE_FUNC] + fn->body];
        fn->is_thunk = thunk_read(f, c, body, own, fn);
        if (fn->is_thunk && fn->slot >= f->tables[fn->table].slots_count)
            f->tables[fn->table].slots_count = fn->slot + 1;
    }
}

/* One pass over all code but thunks: what it does to tables and globals, and what it mentions. */
static bool facts_walk(flat *f, code_facts *facts)
{
    for (uint32_t i = 0; i < f->funcs_count; i++) {
        const flat_core *c = &f->cores[f->funcs[i].core];
        if (f->funcs[i].is_thunk)
            continue;
        reader r = flat_reader(c, c->m.codes[f->funcs[i].body]);
        if (!code_walk_body(&r, &c->maps, NULL, facts, f->e)) {
            err_wrap(f->e, "code section: function %u",
                     c->m.imported[CORE_FUNC] + f->funcs[i].body);
            return flat_in_core(f, f->funcs[i].core);
        }
    }
    return true;
}

/* Which globals fold. A function that takes the place of one is referenced by code from then on. */
static void globals_judge(flat *f, const uint8_t *set)
{
    uint32_t canons = f->unit->canons_count;
    for (uint32_t i = 0; i < f->globals_count; i++) {
        flat_global *g = &f->globals[i];
        g->set_by_code = set[i];
        g->folds = g->known && !set[i];
        if (!g->folds || g->value.type != FLAT_FUNC || g->value.bits < 0)
            continue;
        uint32_t func = (uint32_t)g->value.bits;
        if (func < canons)
            f->canons_referenced[func] = 1;
        else
            f->funcs[func - canons].referenced = true;
    }
}

static bool facts_gather(flat *f)
{
    uint32_t canons = f->unit->canons_count;
    code_facts facts = {
        .tables = ARENA_ARRAY(f->a, uint8_t, f->tables_count),
        .globals = ARENA_ARRAY(f->a, uint8_t, f->globals_count),
        .funcs = ARENA_ARRAY(f->a, uint8_t, (size_t)canons + f->funcs_count),
        .elems = ARENA_ARRAY(f->a, uint8_t, f->elems_count),
        .datas = ARENA_ARRAY(f->a, uint8_t, f->datas_count),
        .grown = ARENA_ARRAY(f->a, uint8_t, f->memories_count),
    };
    if (!facts.tables || !facts.globals || !facts.funcs || !facts.elems || !facts.datas ||
        !facts.grown)
        return flat_oom(f);
    if (!facts_walk(f, &facts))
        return false;
    for (uint32_t i = 0; i < f->tables_count; i++)
        f->tables[i].facts = facts.tables[i];
    for (uint32_t i = 0; i < f->memories_count; i++)
        f->memories[i].grows = facts.grown[i];
    for (uint32_t i = 0; i < f->elems_count; i++)
        f->elems[i].mentioned = facts.elems[i];
    for (uint32_t i = 0; i < f->datas_count; i++)
        f->datas[i].mentioned = facts.datas[i];
    for (uint32_t i = 0; i < f->funcs_count; i++)
        f->funcs[i].referenced = facts.funcs[canons + i];
    f->canons_referenced = facts.funcs;
    globals_judge(f, facts.globals);
    f->segments_used = facts.segments;
    f->mutates_tables = facts.mutates_tables;
    return true;
}

static bool is_provable(const flat_table *t)
{
    return t->is_plain && !t->opaque && !(t->facts & TABLE_MUTATED);
}

/* What static segments put into the slots that thunks use. */
static bool tables_play(flat *f)
{
    for (uint32_t i = 0; i < f->tables_count; i++) {
        flat_table *t = &f->tables[i];
        if (!t->slots_count || t->slots_count > COMPONENT_ITEMS_MAX || !is_provable(t))
            continue;
        t->slots = ARENA_ARRAY(f->a, uint32_t, t->slots_count);
        if (!t->slots)
            return flat_oom(f);
    }
    for (uint32_t i = 0; i < f->elems_count; i++) {
        const flat_elem *x = &f->elems[i];
        if (x->place != PLACE_STATIC || !f->tables[x->target].slots)
            continue;
        flat_table *t = &f->tables[x->target];
        const flat_core *c = &f->cores[x->core];
        reader r = flat_reader(c, x->def->items);
        for (uint64_t k = 0, slot = flat_offset(x->offset); k < x->def->count; k++, slot++) {
            uint32_t func;
            if (!flat_elem_next(f, c, x->def, &r, &func))
                return err_set(f->e, ERR_INTERNAL, "a static segment changed its mind");
            if (slot < t->slots_count)
                t->slots[slot] = func;
        }
    }
    return true;
}

static uint32_t func_type(const flat *f, uint32_t merged)
{
    uint32_t canons = f->unit->canons_count;
    return merged < canons ? f->canon_types[merged] : f->funcs[merged - canons].type;
}

/* What the thunk at merged index i calls, through further thunks. */
static void thunk_resolve(flat *f, flat_func *fn)
{
    const flat_func *at = fn;
    uint32_t canons = f->unit->canons_count;
    for (uint32_t steps = 0; steps < 16; steps++) {
        const flat_table *t = &f->tables[at->table];
        if (!t->slots || !t->slots[at->slot])
            return;
        uint32_t target = t->slots[at->slot] - 1;
        if (func_type(f, target) != fn->type)
            return;
        if (target < canons || !f->funcs[target - canons].is_thunk) {
            fn->target = target;
            f->shims_removed++;
            return;
        }
        at = &f->funcs[target - canons];
    }
}

bool flat_shims(flat *f)
{
    thunks_find(f);
    if (!facts_gather(f) || !tables_play(f))
        return false;
    for (uint32_t i = 0; i < f->funcs_count; i++)
        if (f->funcs[i].is_thunk)
            thunk_resolve(f, &f->funcs[i]);
    for (uint32_t i = 0; i < f->tables_count; i++)
        f->tables[i].dropped = f->tables[i].slots && !f->tables[i].facts;
    /* A thunk that stays needs its table. */
    for (uint32_t i = 0; i < f->funcs_count; i++)
        if (f->funcs[i].is_thunk && f->funcs[i].target == FLAT_DROPPED) {
            f->tables[f->funcs[i].table].facts |= TABLE_CALLED;
            f->tables[f->funcs[i].table].dropped = false;
        }
    return true;
}
