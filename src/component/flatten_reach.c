/* What can start functions see? A segment that follows a start function in the original order may
 * still be part of the initial image if the start can't tell the difference: wit-component's
 * adapter has a start that only grows the memory, and the table of its thunks is filled after it.
 *
 * The answer is an over-approximation by reachability: from each start function through direct
 * calls and references. Whatever calls through a table or a reference, or calls a host function
 * that may come back into the guest, may see everything. Host functions see the memory of their
 * canonical options and call their realloc. Starts are taken in order, and what one reaches counts
 * for all later ones, so that no body is walked twice. */
#include "component/flatten_inner.h"

typedef struct {
    flat *f;
    uint8_t *visited;      /* by merged function */
    VEC(uint32_t) waiting; /* merged functions */
    uint8_t *tables, *memories;
    bool everything, no_memory;
} reach;

static void reach_func(void *ctx, uint32_t func)
{
    reach *r = ctx;
    if (r->visited[func])
        return;
    r->visited[func] = 1;
    r->no_memory |= !vec_push(r->f->a, &r->waiting, func);
}

static bool reach_canon(reach *r, const link_canon *c)
{
    uint32_t index;
    if (c->kind == CANON_RESOURCE_NEW || c->kind == CANON_RESOURCE_REP || c->kind == CANON_TRAP)
        return true;
    if (c->kind != CANON_HOST) {
        r->everything = true;
        return true;
    }
    if (c->options.memory.instance >= 0) {
        if (!flat_ref(r->f, c->options.memory, CORE_MEMORY, &index))
            return false;
        r->memories[index] = 1;
    }
    if (c->options.realloc.instance >= 0) {
        if (!flat_ref(r->f, c->options.realloc, CORE_FUNC, &index))
            return false;
        reach_func(r, index);
    }
    return true;
}

static bool reach_body(reach *r, uint32_t func)
{
    flat *f = r->f;
    const flat_func *fn = &f->funcs[func - f->unit->canons_count];
    const flat_core *c = &f->cores[fn->core];
    code_facts facts = {
        .tables = r->tables, .memories = r->memories, .on_func = reach_func, .ctx = r};
    reader body = flat_reader(c, c->m.codes[fn->body]);
    if (!code_walk_body(&body, &c->maps, NULL, &facts, f->e)) {
        err_wrap(f->e, "code section: function %u", c->m.imported[CORE_FUNC] + fn->body);
        return flat_in_core(f, fn->core);
    }
    r->everything |= facts.calls_any;
    return r->no_memory ? flat_oom(f) : true;
}

/* Everything that the start function of core `start` adds to what earlier ones reach. */
static bool reach_start(reach *r, uint32_t start)
{
    flat *f = r->f;
    const flat_core *c = &f->cores[start];
    reach_func(r, c->space[CORE_FUNC][c->m.start]);
    while (r->waiting.n && !r->everything) {
        uint32_t func = r->waiting.p[--r->waiting.n];
        uint32_t canons = f->unit->canons_count;
        if (func < canons ? !reach_canon(r, &f->unit->canons[func]) : !reach_body(r, func))
            return false;
    }
    for (uint32_t i = 0; i < f->tables_count; i++)
        if ((r->everything || r->tables[i]) && f->tables[i].touched_from == INT64_MAX)
            f->tables[i].touched_from = start;
    for (uint32_t i = 0; i < f->memories_count; i++)
        if ((r->everything || r->memories[i]) && f->memories[i].touched_from == INT64_MAX)
            f->memories[i].touched_from = start;
    return r->no_memory ? flat_oom(f) : true;
}

bool flat_reach(flat *f)
{
    reach r = {.f = f};
    for (uint32_t i = 0; i < f->tables_count; i++)
        f->tables[i].touched_from = INT64_MAX;
    for (uint32_t i = 0; i < f->memories_count; i++)
        f->memories[i].touched_from = INT64_MAX;
    if (!f->has_start)
        return true;
    r.visited = ARENA_ARRAY(f->a, uint8_t, (size_t)f->unit->canons_count + f->funcs_count);
    r.tables = ARENA_ARRAY(f->a, uint8_t, f->tables_count);
    r.memories = ARENA_ARRAY(f->a, uint8_t, f->memories_count);
    if (!r.visited || !r.tables || !r.memories)
        return flat_oom(f);
    for (uint32_t i = 0; i < f->cores_count && !r.everything; i++)
        if (f->cores[i].m.has_start && !reach_start(&r, i))
            return false;
    return true;
}
