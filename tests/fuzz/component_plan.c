/* Any bytes as a plan. What is accepted is written and read again: the same bytes both times. */
#include "component/plan.h"

#include "base/limits.h"
#include "base/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode(const plan *p, buf *out)
{
    err e = {0};
    buf_init(out, 64 * MIB);
    must(plan_encode(p, out, &e));
}

/* Touches everything that a worker would follow. */
static void plan_follow(const plan *p)
{
    uint64_t sum = 0;
    for (uint32_t k = 0; k < p->units_count; k++) {
        const plan_unit *u = &p->units[k];
        for (uint32_t i = 0; i < u->imports_count; i++) {
            const plan_import *im = &u->imports[i];
            must(im->options.memory < (int32_t)u->memories_count);
            must(im->options.realloc < (int32_t)u->reallocs_count);
            must(im->signature.params_count <= ABI_FLAT_PARAMS_MAX + 1);
            must(im->signature.results_count <= ABI_FLAT_RESULTS_MAX);
            if (im->kind == CANON_LIFTED)
                sum += p->units[im->unit].lifts[im->lift].signature.params_count;
            if (im->kind >= CANON_RESOURCE_NEW && im->kind <= CANON_RESOURCE_DROP)
                sum += p->resources[im->resource].unit;
        }
        for (uint32_t i = 0; i < u->lifts_count; i++)
            sum += u->lifts[i].type->params_count;
        must(u->parent == UINT32_MAX || p->units[u->parent].lifts_count <= UINT32_MAX);
    }
    for (uint32_t i = 0; i < p->exports_count; i++)
        if (p->exports[i].unit != UINT32_MAX)
            sum += p->units[p->exports[i].unit].lifts[p->exports[i].lift].label.n;
    must(sum != UINT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    arena a, b;
    plan p, q;
    err e = {0};
    arena_init(&a, 256 * MIB);
    arena_init(&b, 256 * MIB);
    if (plan_decode(&a, (bytes){data, size}, &p, &e)) {
        buf first, second;
        plan_follow(&p);
        encode(&p, &first);
        must(plan_decode(&b, buf_bytes(&first), &q, &e));
        encode(&q, &second);
        must(first.n == second.n && memcmp(first.p, second.p, first.n) == 0);
        buf_fini(&first);
        buf_fini(&second);
    } else {
        must(e.code == ERR_INVALID || e.code == ERR_LIMIT || e.code == ERR_NO_MEMORY);
    }
    arena_fini(&a);
    arena_fini(&b);
    return 0;
}
