/* A dense array in the guest's pool with the free list inside the free entries: adding, finding
 * and removing cost the same however many handles there are. */
#include "host/handles.h"

#include "base/limits.h"
#include "base/must.h"

enum { FIRST_CAP = 32 };

void handles_init(handle_table *t, uint32_t live_max)
{
    *t = (handle_table){.live_max = live_max < HOST_HANDLES_MAX ? live_max : HOST_HANDLES_MAX};
}

static bool grow(handle_table *t, pool *p)
{
    uint32_t cap = t->cap ? t->cap * 2 : FIRST_CAP;
    handle *grown = pool_take(p, cap * sizeof *grown);
    if (!grown)
        return false;
    if (t->n)
        memcpy(grown, t->at, t->n * sizeof *grown);
    else
        grown[0] = (handle){.kind = HANDLE_FREE};
    pool_give(p, t->at, t->cap * sizeof *grown);
    t->at = grown;
    t->cap = cap;
    if (t->n == 0)
        t->n = 1;
    return true;
}

bool handles_reserve(handle_table *t, pool *p, uint32_t n)
{
    must(t->n == 0);
    while (n > t->cap)
        if (!grow(t, p))
            return false;
    t->n = n;
    for (uint32_t i = 0; i < n; i++)
        t->at[i] = (handle){.kind = HANDLE_FREE};
    return true;
}

uint32_t handles_add(handle_table *t, pool *p, handle h)
{
    must(h.kind != HANDLE_FREE);
    if (t->live >= t->live_max)
        return 0;
    uint32_t i = t->free_first;
    if (i) {
        t->free_first = t->at[i].next;
    } else {
        if (t->n == t->cap && !grow(t, p))
            return 0;
        i = t->n++;
    }
    t->at[i] = h;
    t->live++;
    return i;
}

handle *handles_get(const handle_table *t, uint32_t index)
{
    if (index >= t->n || t->at[index].kind == HANDLE_FREE)
        return NULL;
    return &t->at[index];
}

void handles_remove(handle_table *t, uint32_t index)
{
    must(handles_get(t, index));
    t->at[index] = (handle){.kind = HANDLE_FREE, .next = t->free_first};
    t->free_first = index;
    t->live--;
}
