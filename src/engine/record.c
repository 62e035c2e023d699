/* What a start function asked the host, recorded, and played back to another instance.
 *
 * A module may be restored to the state after its start function (restore.c). What that function
 * read of randomness, clocks and the environment is then part of the state, and no new instance
 * would come to the same one. So the one instance whose state was taken has its host calls
 * recorded, and an instance to compare with is started with the same answers:
 *
 *     recording:  what is private in memory, and globals, before ── host function ── what differs
 *                 after: patches; with the arguments and the results, that is the call
 *     playing:    the same import with the same arguments? ── patches, globals, results; no host
 *                 function runs. Anything else is a trap: the start function is not deterministic
 *
 * An allocation that a host function made in the guest is part of its patches. A record without any
 * call says that the start function asked nothing: its result may be kept for every module.
 *
 * Not recorded, so that such a module is restored to the state before its start function: functions
 * that may wait, and more than RECORD_BYTES_MAX of answers. */
#include "engine/inner.h"

#include "base/arena.h"
#include "base/limits.h"

#include <stdlib.h>

#define RECORD_BYTES_MAX (16 * MIB)

typedef struct patch patch;
struct patch {
    patch *next;
    uint32_t k; /* memory */
    size_t at, n;
    const uint8_t *content;
};

typedef struct changed_global changed_global;
struct changed_global {
    changed_global *next;
    uint32_t k;
    wasmtime_val_t value;
};

struct recorded_call {
    recorded_call *next;
    const link_entry *link;
    size_t *wholes; /* of the memories, after it */
    patch *patches;
    changed_global *globals;
    slot params[ENGINE_SLOTS_MAX], results[ENGINE_SLOTS_MAX];
};

typedef struct saved_page saved_page;
struct saved_page {
    saved_page *next; /* ascending */
    uint32_t k;
    size_t at;
    uint8_t bytes[PAGE_BYTES];
};

struct start_record {
    arena a, scratch; /* scratch: of one call */
    recorded_call *first, **end;
    saved_page *pages, **pages_end; /* before the call */
    wasmtime_val_t *globals;        /* likewise */
    bool failed;
    /* while looking for what a call changed */
    recorded_call *now;
    const uint8_t *base;
    uint32_t k;
};

start_record *record_new(void)
{
    start_record *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    arena_init(&r->a, RECORD_BYTES_MAX);
    arena_init(&r->scratch, 4 * RECORD_BYTES_MAX);
    r->end = &r->first;
    return r;
}

void record_free(start_record *r)
{
    if (!r)
        return;
    arena_fini(&r->a);
    arena_fini(&r->scratch);
    free(r);
}

bool record_is_empty(const start_record *r) { return !r->first && !r->failed; }
bool record_is_whole(const start_record *r) { return !r->failed; }
const recorded_call *record_first(const start_record *r) { return r->first; }
void record_fail(start_record *r) { r->failed = true; }

/* --- recording ------------------------------------------------------------------------------ */

static bool page_save(void *user, size_t offset, size_t n)
{
    start_record *r = user;
    for (size_t at = offset; at < offset + n; at += PAGE_BYTES) {
        saved_page *p = arena_alloc(&r->scratch, sizeof *p);
        if (!p)
            return false;
        p->next = NULL;
        p->k = r->k;
        p->at = at;
        memcpy(p->bytes, r->base + at, PAGE_BYTES);
        *r->pages_end = p;
        r->pages_end = &p->next;
    }
    return true;
}

static bool patch_add(start_record *r, size_t at, size_t n)
{
    patch *p = ARENA_NEW(&r->a, patch);
    uint8_t *content = p ? arena_alloc(&r->a, n) : NULL;
    if (!content)
        return false;
    memcpy(content, r->base + at, n);
    *p = (patch){.next = r->now->patches, .k = r->k, .at = at, .n = n, .content = content};
    r->now->patches = p;
    return true;
}

static bool page_compare(void *user, size_t offset, size_t n)
{
    start_record *r = user;
    for (size_t at = offset; at < offset + n; at += PAGE_BYTES) {
        while (r->pages && (r->pages->k < r->k || (r->pages->k == r->k && r->pages->at < at)))
            r->pages = r->pages->next;
        size_t from = 0, to = PAGE_BYTES;
        const uint8_t *is = r->base + at;
        if (r->pages && r->pages->k == r->k && r->pages->at == at) {
            const uint8_t *was = r->pages->bytes;
            if (!memcmp(is, was, PAGE_BYTES))
                continue;
            while (is[from] == was[from])
                from++;
            while (is[to - 1] == was[to - 1])
                to--;
        }
        if (!patch_add(r, at + from, to - from))
            return false;
    }
    return true;
}

static bool each_memory(engine_instance *in, start_record *r, page_run_fn f)
{
    for (uint32_t k = 0; k < in->module->unit->memories_count; k++) {
        size_t whole;
        r->k = k;
        r->base = instance_memory_whole(in, k, &whole);
        if (!r->base || !pages_private(in->en, r->base, whole, f, r))
            return false;
        if (r->now)
            r->now->wholes[k] = whole;
    }
    return true;
}

static bool global_value(engine_instance *in, uint32_t k, wasmtime_val_t *ret)
{
    wasmtime_extern_t item;
    if (!instance_export(in, 'g', k, WASMTIME_EXTERN_GLOBAL, &item))
        return false;
    wasmtime_global_get(in->ctx, &item.of.global, ret);
    if (val_is_number(ret))
        return true;
    wasmtime_val_unroot(ret);
    return false;
}

static bool before_call(engine_instance *in, start_record *r)
{
    uint32_t n = in->module->unit->globals_count;
    arena_reset(&r->scratch);
    r->pages = NULL;
    r->pages_end = &r->pages;
    r->now = NULL;
    r->globals = ARENA_ARRAY(&r->scratch, wasmtime_val_t, n + 1);
    for (uint32_t k = 0; r->globals && k < n; k++)
        if (!global_value(in, k, &r->globals[k]))
            return false;
    return r->globals && each_memory(in, r, page_save);
}

static bool after_call(engine_instance *in, start_record *r)
{
    for (uint32_t k = 0; k < in->module->unit->globals_count; k++) {
        wasmtime_val_t v;
        if (!global_value(in, k, &v))
            return false;
        if (val_same(&v, &r->globals[k]))
            continue;
        changed_global *g = ARENA_NEW(&r->a, changed_global);
        if (!g)
            return false;
        *g = (changed_global){.next = r->now->globals, .k = k, .value = v};
        r->now->globals = g;
    }
    return each_memory(in, r, page_compare);
}

static recorded_call *call_new(engine_instance *in, start_record *r, const link_entry *link)
{
    recorded_call *c = ARENA_NEW(&r->a, recorded_call);
    if (!c)
        return NULL;
    *c = (recorded_call){.link = link};
    c->wholes = ARENA_ARRAY(&r->a, size_t, in->module->unit->memories_count + 1);
    return c->wholes ? c : NULL;
}

static void slots_copy(slot *to, const slot *from, uint32_t n)
{
    if (n)
        memcpy(to, from, n * sizeof *to);
}

host_status record_call(engine_instance *in, const link_entry *link, slot *slots)
{
    start_record *r = in->recording;
    const core_signature *s = &link->plan->signature;
    recorded_call *c = r->failed || !before_call(in, r) ? NULL : call_new(in, r, link);
    if (c)
        slots_copy(c->params, slots, s->params_count);
    host_status status = link->im.fn(link->im.env, in, slots);
    r->now = c;
    if (!c || status != HOST_DONE || !after_call(in, r)) {
        r->failed = true;
        return status;
    }
    slots_copy(c->results, slots, s->results_count);
    *r->end = c;
    r->end = &c->next;
    return status;
}

/* --- playing -------------------------------------------------------------------------------- */

static bool params_same(const core_signature *s, const slot *a, const slot *b)
{
    for (uint32_t i = 0; i < s->params_count; i++) {
        bool is_short = s->params[i] == CORE_I32 || s->params[i] == CORE_F32;
        if (is_short ? a[i].u32 != b[i].u32 : a[i].u64 != b[i].u64)
            return false;
    }
    return true;
}

bool instance_memory_grow_to(engine_instance *in, uint32_t k, size_t size)
{
    wasmtime_extern_t item;
    uint64_t before;
    if (!instance_export(in, 'm', k, WASMTIME_EXTERN_MEMORY, &item))
        return false;
    size_t now = wasmtime_memory_data_size(in->ctx, &item.of.memory);
    if (now >= size)
        return true;
    in->whole_now = in->seen_now = 0;
    wasmtime_error_t *error =
        wasmtime_memory_grow(in->ctx, &item.of.memory, (size - now) / WASM_PAGE_BYTES, &before);
    if (error)
        wasmtime_error_delete(error);
    return !error;
}

static bool answer(engine_instance *in, const recorded_call *c)
{
    for (uint32_t k = 0; k < in->module->unit->memories_count; k++)
        if (!instance_memory_grow_to(in, k, c->wholes[k]))
            return false;
    for (const patch *p = c->patches; p; p = p->next) {
        size_t whole;
        uint8_t *base = instance_memory_whole(in, p->k, &whole);
        must(p->at + p->n <= whole);
        memcpy(base + p->at, p->content, p->n);
    }
    for (const changed_global *g = c->globals; g; g = g->next) {
        wasmtime_extern_t item;
        if (!instance_export(in, 'g', g->k, WASMTIME_EXTERN_GLOBAL, &item))
            return false;
        must(!wasmtime_global_set(in->ctx, &item.of.global, &g->value));
    }
    return true;
}

host_status record_play(engine_instance *in, const link_entry *link, slot *slots)
{
    const recorded_call *c = in->play_next;
    const core_signature *s = &link->plan->signature;
    if (!c || c->link != link || !params_same(s, c->params, slots) || !answer(in, c)) {
        trap_say(in,
                 "the start function asked '%.*s' '%.*s', which it did not when it was recorded",
                 STR(link->plan->interface), STR(link->plan->name));
        return HOST_TRAP;
    }
    slots_copy(slots, c->results, s->results_count);
    in->play_next = c->next;
    return HOST_DONE;
}
