/* Restoring in place: a hot module keeps some instances, and after each call everything that the
 * call can have changed is put back to what a new instance has. Ten times cheaper than a new one
 * (README.md), and the same to the guest, byte for byte.
 *
 *     call over ── may it be kept? ── put back ── compare with a new one? ── kept ── next call
 *                      │ no              │ no            │ differs             │ idle
 *                      ▼                 ▼               ▼                     ▼
 *                    freed             freed      freed, and the module      freed
 *                                                 is not restored any more
 *
 * What a call can change, and who puts it back:
 * - linear memory: pages that became private (pages.c: found by a scan, or known from the last one,
 *   if there was no page fault since) are copied from the *twin*, a second
 *   instance of the module that is never called. Its untouched pages are those of the artifact and
 *   the kernel's page of zeros, so it costs no memory of its own. Pages that are zero there are
 *   noted as such, and cleared without looking at the twin again.
 * - mutable globals that code sets: the flattener exports them as "g<k>"; their values are the
 *   twin's. A global that holds a reference is not put back: such a module is not restored.
 * - tables, dropped segments: a module with an instruction that changes one is not restored.
 * - the size of a memory: a global too (component/flatten_grow.c), so that the guest may grow its
 *   memory in every call; what was grown is zeroed. An instance that grew by very much is freed,
 *   and one whose guest wrote above the size it had, which would have been a trap in a new one,
 *   takes its module off restoring.
 * - the stack: a fiber belongs to one operation. The epoch's deadline is set at each.
 * - what the host keeps of a call (handles, streams): not here; each call has a new `guest`.
 *
 * The baseline is the state before the start function, which runs for each call: what it reads of
 * clocks and randomness is never frozen. A start function that asks the host nothing always comes
 * to the same state: then, and where the component wants it, the baseline is the state after it.
 * The twin gets it from the first instance that started while the module was hot; record.c says how
 * another one is brought there to compare with.
 *
 * Private pages stay private and are copied again after every later call, so an instance that met
 * many different requests becomes slow; one with more than twice the usual number is freed.
 *
 * A module that is not restored, because it can't be or shall not be, has a new instance for each
 * call, but what is dear about one is the pages of its memory. So the memory of the last instance
 * is put back like that of a restored one, and its pages are moved to the next (kept_pages_take),
 * which is new in all else. What the memory grew by is not: a new one does not have it.
 *
 * Only instances of one module ever meet here: another app, or another revision of the same app,
 * is another module. */
#include "engine/engine_test.h"
#include "engine/inner.h"
#include "engine/lines.h"

#include "base/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
    PRIVATE_SLACK = 16, /* pages: few pages more or less are no reason */
};
#define GROWN_BYTES_MAX (16 * MIB)        /* that a kept instance may have more than a new one */
#define HOT_NS          (100 * NS_PER_MS) /* two calls closer than that: the module is hot */

/* --- settings ------------------------------------------------------------------------------- */

static bool word_parse(str word, engine_restoring *r)
{
    static const struct {
        str word;
        engine_restore_mode mode;
    } modes[] = {{{"auto", 4}, ENGINE_RESTORE_AUTO},
                 {{"pagemap", 7}, ENGINE_RESTORE_PAGEMAP},
                 {{"never", 5}, ENGINE_RESTORE_NEVER}};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (str_eq(word, modes[i].word)) {
            r->mode = modes[i].mode;
            return true;
        }
    if (str_eq(word, S("skip=memory")))
        r->skip |= ENGINE_SKIP_MEMORY;
    else if (str_eq(word, S("skip=globals")))
        r->skip |= ENGINE_SKIP_GLOBALS;
    else if (str_starts(word, S("check=")) && word.n > 6 && word.n <= 15) {
        r->check_every = 0;
        for (size_t i = 6; i < word.n; i++) {
            if (word.p[i] < '0' || word.p[i] > '9')
                return false;
            r->check_every = r->check_every * 10 + (uint32_t)(word.p[i] - '0');
        }
    } else
        return false;
    return true;
}

bool engine_restoring_parse(str text, engine_restoring *ret, err *e)
{
    engine_restoring r = *ret;
    while (text.n) {
        str word = str_cut(&text, ',');
        if (!word_parse(word, &r))
            return err_set(e, ERR_INVALID,
                           "'%.*s' is no way to restore instances: write auto, pagemap or never, "
                           "and check=N",
                           STR(str_head(word, 40)));
    }
    *ret = r;
    return true;
}

void restore_init(engine *en)
{
    engine_restore_mode mode = en->config.restoring.mode;
    if (mode == ENGINE_RESTORE_PAGEMAP) {
        en->pagemap_scans = false;
        pages_one_by_one(en);
    }
    en->restores = mode != ENGINE_RESTORE_NEVER && en->pagemap_fd >= 0;
}

void engine_restoring_set(engine *en, const engine_restoring *r)
{
    en->config.restoring = *r;
    pages_fini(en);
    pages_init(en);
    restore_init(en);
}

bool engine_restoring_usual(const engine *en) { return en->restores && en->pagemap_scans; }

const char *engine_restoring_says(const engine *en)
{
    if (en->config.restoring.mode == ENGINE_RESTORE_NEVER)
        return "instances: a new one for every request, as set";
    if (!en->restores)
        return "instances: a new one for every request, because /proc/self/pagemap can't be read";
    if (!en->pagemap_scans)
        return "instances: restored in place by reading pagemap, slower than PAGEMAP_SCAN of "
               "Linux 6.7";
    return "instances: restored in place by PAGEMAP_SCAN";
}

void engine_module_restore(engine_module *m, engine_restore r) { m->restore = r; }

/* --- modules -------------------------------------------------------------------------------- */

static void modules_link(engine *en, engine_module *m)
{
    m->kept_prev = en->kept_last;
    m->kept_next = NULL;
    if (en->kept_last)
        en->kept_last->kept_next = m;
    else
        en->kept_first = m;
    en->kept_last = m;
}

static void modules_unlink(engine *en, engine_module *m)
{
    if (m->kept_prev)
        m->kept_prev->kept_next = m->kept_next;
    else
        en->kept_first = m->kept_next;
    if (m->kept_next)
        m->kept_next->kept_prev = m->kept_prev;
    else
        en->kept_last = m->kept_prev;
}

static bool module_restores(const engine_module *m)
{
    const plan_unit *u = m->unit;
    return m->en->restores && m->restore != ENGINE_RESTORE_OFF && !m->difference[0] &&
           !u->mutates_tables && !u->passive_segments && !(u->has_start && u->start_segments);
}

/* Do its new instances get the pages of earlier ones? */
static bool module_moves(const engine_module *m)
{
    return m->en->restores && m->restore != ENGINE_RESTORE_AFTER_START && !m->after_start &&
           !m->difference[0] && !module_restores(m) && pages_worth_moving(m);
}

/* --- the twin ------------------------------------------------------------------------------- */

static bool twin_instantiate(engine_instance *in)
{
    in->op = OP_INSTANTIATE;
    in->future = wasmtime_instance_pre_instantiate_async(in->module->pre, in->ctx, &in->instance,
                                                         &in->trap, &in->error);
    while (!wasmtime_call_future_poll(in->future))
        ;
    wasmtime_call_future_delete(in->future);
    in->future = NULL;
    in->op = OP_NONE;
    in->started = !in->trap && !in->error;
    if (in->trap)
        wasm_trap_delete(in->trap);
    if (in->error)
        wasmtime_error_delete(in->error);
    in->trap = NULL;
    in->error = NULL;
    return in->started;
}

/* A new instance like `in`, which nobody will call. NULL: there is no place for one. */
static engine_instance *twin_new(const engine_instance *in)
{
    engine_instance *twin;
    if (!instance_make(in->module, in->memory_bytes_max, in->table_elements_max, true, &twin, NULL))
        return NULL;
    wasmtime_context_set_epoch_deadline(twin->ctx, 1);
    if (twin_instantiate(twin))
        return twin;
    instance_delete(twin);
    return NULL;
}

static bool global_find(engine_instance *in, uint32_t k, wasmtime_global_t *ret)
{
    wasmtime_extern_t item;
    if (!instance_export(in, 'g', k, WASMTIME_EXTERN_GLOBAL, &item))
        return false;
    *ret = item.of.global;
    return true;
}

/* References in globals would have to be kept alive, and are nowhere else put back. */
static bool born_read(engine_module *m)
{
    uint32_t n = m->unit->globals_count;
    m->born = malloc((n + 1) * sizeof *m->born);
    for (uint32_t k = 0; m->born && k < n; k++) {
        wasmtime_global_t g;
        if (!global_find(m->twin, k, &g))
            return false;
        wasmtime_global_get(m->twin->ctx, &g, &m->born[k]);
        if (!val_is_number(&m->born[k])) {
            wasmtime_val_unroot(&m->born[k]);
            return false;
        }
    }
    return m->born;
}

static void twin_drop(engine_module *m)
{
    if (m->twin)
        instance_delete(m->twin);
    free(m->born);
    record_free(m->record);
    m->twin = NULL;
    m->born = NULL;
    m->record = NULL;
    m->after_start = false;
    m->twins_gone++;
}

static bool twin_have(engine_instance *in)
{
    engine_module *m = in->module;
    if (m->twin)
        return true;
    m->twin = twin_new(in);
    if (!m->twin)
        return false;
    if (!module_restores(m) || born_read(m))
        return true;
    twin_drop(m);
    m->restore = ENGINE_RESTORE_OFF;
    return false;
}

static bool differs(engine_module *m, const char *fmt, uint32_t k, uint64_t at)
{
    snprintf(m->difference, sizeof m->difference, fmt, k, (unsigned long long)at);
    return false;
}

/* --- the state after the start function ------------------------------------------------------ */

static bool is_hot(const engine_module *m, ns now)
{
    return m->en->config.restoring.check_every == 1 || (m->given_at && now - m->given_at < HOT_NS);
}

static bool run_note(engine_instance *in, uint32_t k, size_t offset, size_t n, bool zero)
{
    if (in->runs_count == in->runs_room) {
        uint32_t room = in->runs_room ? 2 * in->runs_room : 16;
        private_run *grown = realloc(in->runs, room * sizeof *grown);
        if (!grown)
            return false;
        in->runs = grown;
        in->runs_room = room;
    }
    page_range pages = {(uint32_t)(offset / PAGE_BYTES), (uint32_t)((offset + n) / PAGE_BYTES)};
    in->runs[in->runs_count++] = (private_run){k, pages, zero};
    return true;
}

typedef struct {
    engine_instance *twin;
    const uint8_t *from;
    uint8_t *to;
    uint32_t k;
} transfer;

static bool transfer_run(void *user, size_t offset, size_t n)
{
    transfer *t = user;
    memcpy(t->to + offset, t->from + offset, n);
    return run_note(t->twin, t->k, offset, n, false);
}

/* Gives the twin, which is new, the state of `in`, which ran its start function. What is private in
 * the twin is noted: the first restore of an instance whose own start function wrote other pages
 * copies all of it. */
static bool twin_become(engine_instance *twin, engine_instance *in)
{
    transfer t = {.twin = twin};
    for (uint32_t k = 0; k < in->module->unit->memories_count; k++) {
        size_t whole, size;
        t.k = k;
        t.from = instance_memory_whole(in, k, &whole);
        if (!instance_memory_grow_to(twin, k, whole))
            return false;
        t.to = instance_memory_whole(twin, k, &size);
        if (size != whole || !pages_private(in->en, t.from, whole, transfer_run, &t))
            return false;
    }
    for (uint32_t k = 0; k < in->module->unit->globals_count; k++) {
        wasmtime_global_t a, b;
        wasmtime_val_t v;
        if (!global_find(in, k, &a) || !global_find(twin, k, &b))
            return false;
        wasmtime_global_get(in->ctx, &a, &v);
        if (!val_is_number(&v)) {
            wasmtime_val_unroot(&v);
            return false;
        }
        must(!wasmtime_global_set(twin->ctx, &b, &v));
    }
    return true;
}

static bool state_take(engine_instance *in)
{
    engine_module *m = in->module;
    m->twin = twin_new(in);
    if (!m->twin)
        return false;
    if (!twin_become(m->twin, in) || !born_read(m)) {
        twin_drop(m);
        return false;
    }
    m->after_start = true;
    m->record = in->recording;
    in->recording = NULL;
    modules_link(m->en, m);
    return true;
}

void start_recorded(engine_instance *in)
{
    engine_module *m = in->module;
    if (record_is_empty(in->recording)) {
        if (!m->twin)
            state_take(in);
    } else {
        m->start_asks = true;
        if (m->restore == ENGINE_RESTORE_AFTER_START)
            return; /* the caller decides */
    }
    record_free(in->recording);
    in->recording = NULL;
}

bool start_record_wanted(const engine_module *m)
{
    bool may = m->restore == ENGINE_RESTORE_AFTER_START || !m->start_asks;
    return m->unit->has_start && may && !m->twin && module_restores(m) && is_hot(m, clock_mono());
}

bool engine_start_wanted(const engine_instance *in) { return in->recording && !in->module->twin; }

bool engine_start_take(engine_instance *in)
{
    bool ok = record_is_whole(in->recording) && !in->module->twin && state_take(in);
    record_free(in->recording);
    in->recording = NULL;
    return ok;
}

bool engine_instance_after_start(const engine_instance *in) { return in->kept && in->after_start; }

/* --- putting back --------------------------------------------------------------------------- */

typedef struct {
    engine_instance *in;
    uint32_t k; /* the memory */
    uint8_t *to;
    const uint8_t *from;
    size_t born; /* bytes behind `from`: what lies above is zero in a new memory */
    size_t size; /* as the guest saw it */
    size_t pages;
    bool skip;
    bool beyond; /* the guest wrote above its memory's size */
} copy;

static bool is_zero(const uint8_t *p, size_t n)
{
    return n == 0 || (p[0] == 0 && !memcmp(p, p + 1, n - 1));
}

static void copy_run(copy *c, size_t offset, size_t n, bool zero)
{
    size_t end = offset + n, seen = offset > c->size ? offset : c->size;
    c->pages += n / PAGE_BYTES;
    if (end > seen && !is_zero(c->to + seen, end - seen))
        c->beyond = true;
    if (c->skip)
        return;
    if (zero)
        lines_clear(c->to + offset, n);
    else
        lines_copy(c->to + offset, c->from + offset, n);
}

static bool page_born_zero(const copy *c, size_t at)
{
    return at >= c->born || is_zero(c->from + at, PAGE_BYTES);
}

/* One that the scan found: it is noted for the next time, apart where it is zero and where not. */
static bool scanned_run(void *user, size_t offset, size_t n)
{
    copy *c = user;
    for (size_t at = offset, end = offset + n; at < end;) {
        bool zero = page_born_zero(c, at);
        size_t to = at + PAGE_BYTES;
        while (to < end && page_born_zero(c, to) == zero)
            to += PAGE_BYTES;
        if (!run_note(c->in, c->k, at, to - at, zero))
            return false;
        copy_run(c, at, to - at, zero);
        at = to;
    }
    return true;
}

static bool known_runs(copy *c, const engine_instance *whose)
{
    for (uint32_t i = 0; i < whose->runs_count; i++) {
        page_range r = whose->runs[i].pages;
        if (whose->runs[i].k == c->k)
            copy_run(c, (size_t)r.first * PAGE_BYTES, (size_t)(r.end - r.first) * PAGE_BYTES,
                     whose->runs[i].zero);
    }
    return true;
}

/* Did no page become private since they were noted? If one may have, they are forgotten, for those
 * that a scan finds now. */
static bool runs_stand(engine_instance *in)
{
    uint64_t faults = pages_faults();
    if (in->runs_known && in->faults == faults)
        return true;
    in->runs_count = 0;
    in->runs_known = in->en->faults_tell;
    in->faults = faults;
    return false;
}

static bool memories_restore(engine_instance *in, size_t *ret_pages)
{
    engine_module *m = in->module;
    copy c = {.in = in, .skip = in->en->config.restoring.skip & ENGINE_SKIP_MEMORY};
    bool known = runs_stand(in);
    for (uint32_t k = 0; k < m->unit->memories_count; k++) {
        size_t whole;
        c.k = k;
        engine_memory(in, (int32_t)k, &c.size);
        c.to = instance_memory_whole(in, k, &whole);
        c.from = instance_memory_whole(m->twin, k, &c.born);
        bool sized = k < 32 && m->unit->sized_memories & 1u << k;
        if (whole < c.born || whole > c.born + (sized ? GROWN_BYTES_MAX : 0) ||
            !(known ? known_runs(&c, in) : pages_private(in->en, c.to, whole, scanned_run, &c)))
            return false;
        if (m->after_start && !in->kept)
            known_runs(&c, m->twin);
    }
    *ret_pages = c.pages;
    return !c.beyond || differs(m, "the guest wrote above the end of its memory (%u, %llu)", 0, 0);
}

static bool globals_restore(engine_instance *in)
{
    const engine_module *m = in->module;
    uint32_t n = m->unit->globals_count;
    if (in->en->config.restoring.skip & ENGINE_SKIP_GLOBALS)
        return true;
    if (!in->globals) {
        in->globals = malloc((n + 1) * sizeof *in->globals);
        for (uint32_t k = 0; in->globals && k < n; k++)
            must(global_find(in, k, &in->globals[k])); /* the twin has it */
    }
    for (uint32_t k = 0; in->globals && k < n; k++)
        must(!wasmtime_global_set(in->ctx, &in->globals[k], &m->born[k]));
    return in->globals;
}

/* Twice the usual? The usual is what first calls of new instances make private. */
static bool is_swollen(engine_instance *in, size_t pages)
{
    engine_module *m = in->module;
    if (!in->kept && !in->moved)
        m->private_usual =
            m->private_usual ? (m->private_usual * 7 + (uint32_t)pages) / 8 : (uint32_t)pages;
    return pages > 2 * (size_t)m->private_usual + PRIVATE_SLACK;
}

static bool fits_in(engine_instance *in, size_t pages)
{
    size_t max = in->en->config.restoring.kept_bytes_max;
    in->private_bytes = pages * PAGE_BYTES;
    return !max || in->en->kept_bytes + in->private_bytes <= max;
}

/* Of the first memory, for its pages: others are an adapter's, and small. */
static bool pages_restore(engine_instance *in, size_t *ret_pages)
{
    copy c = {.in = in, .skip = in->en->config.restoring.skip & ENGINE_SKIP_MEMORY};
    size_t whole;
    c.to = instance_memory_whole(in, 0, &whole);
    c.from = instance_memory_whole(in->module->twin, 0, &c.born);
    c.size = c.born;
    if (whole < c.born ||
        !(runs_stand(in) ? known_runs(&c, in)
                         : pages_private(in->en, c.to, c.born, scanned_run, &c)) ||
        (whole > c.born && madvise(c.to + c.born, whole - c.born, MADV_DONTNEED)))
        return false;
    *ret_pages = c.pages;
    return true;
}

static bool restore(engine_instance *in)
{
    size_t pages = 0;
    bool all = module_restores(in->module);
    return twin_have(in) && (all ? memories_restore : pages_restore)(in, &pages) &&
           !is_swollen(in, pages) && fits_in(in, pages) && (!all || globals_restore(in));
}

/* --- comparing ------------------------------------------------------------------------------ */

static bool bytes_same(engine_module *m, uint32_t k, const uint8_t *a, const uint8_t *b, size_t n)
{
    size_t at = 0;
    if (!memcmp(a, b, n))
        return true;
    while (a[at] == b[at])
        at++;
    return differs(m, "memory %u differs from byte %llu on", k, at);
}

/* What is moved. */
static bool pages_same(engine_instance *in, engine_instance *twin)
{
    size_t whole, born;
    const uint8_t *a = instance_memory_whole(in, 0, &whole);
    const uint8_t *b = instance_memory_whole(twin, 0, &born);
    return bytes_same(in->module, 0, a, b, born);
}

static bool memories_same(engine_instance *in, engine_instance *twin)
{
    for (uint32_t k = 0; k < in->module->unit->memories_count; k++) {
        size_t size, born;
        const uint8_t *a = engine_memory(in, (int32_t)k, &size);
        const uint8_t *b = engine_memory(twin, (int32_t)k, &born);
        if (size != born)
            return differs(in->module, "memory %u has %llu bytes", k, size);
        size_t whole;
        a = instance_memory_whole(in, k, &whole);
        if (!is_zero(a + size, whole - size))
            return differs(in->module, "memory %u is not zero above byte %llu", k, size);
        if (!bytes_same(in->module, k, a, b, size))
            return false;
    }
    return true;
}

static bool globals_same(engine_instance *in, engine_instance *twin)
{
    for (uint32_t k = 0; k < in->module->unit->globals_count; k++) {
        wasmtime_global_t a, b;
        wasmtime_val_t x = {0}, y = {0};
        if (!global_find(in, k, &a) || !global_find(twin, k, &b))
            return differs(in->module, "global %u is not exported (%llu)", k, 0);
        wasmtime_global_get(in->ctx, &a, &x);
        wasmtime_global_get(twin->ctx, &b, &y);
        bool is_short = x.kind == WASMTIME_I32 || x.kind == WASMTIME_F32;
        if (!val_same(&x, &y))
            return differs(in->module, "global %u has the value 0x%llx", k,
                           is_short ? (uint32_t)x.of.i32 : (uint64_t)x.of.i64);
    }
    return true;
}

/* Where a function stands in its own instance: the same for the twin if the distance is. */
static bool tables_same(engine_instance *in, engine_instance *twin)
{
    engine_module *m = in->module;
    ptrdiff_t distance = 0;
    bool known = false;
    for (uint32_t k = 0; k < m->unit->tables_count; k++) {
        wasmtime_extern_t a, b;
        if (!instance_export(in, 't', k, WASMTIME_EXTERN_TABLE, &a) ||
            !instance_export(twin, 't', k, WASMTIME_EXTERN_TABLE, &b))
            return differs(m, "table %u is not exported (%llu)", k, 0);
        uint64_t size = wasmtime_table_size(in->ctx, &a.of.table);
        if (size != wasmtime_table_size(twin->ctx, &b.of.table))
            return differs(m, "table %u has %llu elements", k, size);
        for (uint64_t i = 0; i < size; i++) {
            wasmtime_val_t x, y;
            if (!wasmtime_table_get(in->ctx, &a.of.table, i, &x) ||
                !wasmtime_table_get(twin->ctx, &b.of.table, i, &y))
                return differs(m, "table %u has no element %llu", k, i);
            bool same = x.kind == y.kind;
            if (same && x.kind == WASMTIME_FUNCREF) {
                bool null = wasmtime_funcref_is_null(&x.of.funcref);
                same = null == wasmtime_funcref_is_null(&y.of.funcref);
                if (same && !null) {
                    const char *p = wasmtime_func_to_raw(in->ctx, &x.of.funcref);
                    const char *q = wasmtime_func_to_raw(twin->ctx, &y.of.funcref);
                    same = !known || p - q == distance;
                    distance = p - q;
                    known = true;
                }
            }
            wasmtime_val_unroot(&x);
            wasmtime_val_unroot(&y);
            if (!same)
                return differs(m, "table %u differs at element %llu", k, i);
        }
    }
    return true;
}

/* What the engine itself keeps of a call. */
static bool host_state_same(engine_instance *in, const engine_instance *twin)
{
    bool same = !in->user && !in->future && in->op == twin->op && !in->begun && !in->waiting &&
                in->may_leave && !in->trap_ready && !in->wasm_trap && !in->waiting_calls &&
                !in->outer_count && !in->inner_count && !in->nest && !in->cpu_ns &&
                !in->backtrace && !in->polling;
    return same || differs(in->module, "the engine's own state differs (%u, %llu)", 0, 0);
}

/* A new instance as the restored one should be. */
static bool twin_start(engine_instance *twin)
{
    engine_module *m = twin->module;
    if (!m->after_start)
        return true;
    twin->playing = true;
    twin->play_next = record_first(m->record);
    bool ok = instance_run_start(twin) && !twin->play_next;
    twin->playing = false;
    twin->cpu_ns = 0;
    return ok || differs(m, "the start function, asked again, does not the same (%u, %llu)", 0, 0);
}

static bool check(engine_instance *in)
{
    engine_instance *twin = twin_new(in);
    if (!twin)
        return true; /* no place for one now */
    bool same = in->spent ? pages_same(in, twin)
                          : twin_start(twin) && memories_same(in, twin) && globals_same(in, twin) &&
                                tables_same(in, twin) && host_state_same(in, twin);
    instance_delete(twin);
    return same;
}

/* --- keeping -------------------------------------------------------------------------------- */

/* A module is in the list while it has a twin or keeps instances. */
static void twin_have_linked(engine_module *m, bool had)
{
    if (!had && m->twin)
        modules_link(m->en, m);
}

static void kept_push(engine_instance *in)
{
    in->module->kept[in->module->kept_count++] = in;
    in->en->kept_count++;
    in->en->kept_bytes += in->private_bytes;
}

/* Out of the counts; the caller takes it out of its module's list. */
static void kept_leaves(engine_instance *in)
{
    in->module->kept_count--;
    in->en->kept_count--;
    in->en->kept_bytes -= in->private_bytes;
}

static void kept_free_first(engine_module *m)
{
    engine_instance *in = m->kept[0];
    kept_leaves(in);
    memmove(m->kept, m->kept + 1, m->kept_count * sizeof m->kept[0]);
    instance_delete(in);
}

static void kept_free_all(engine_module *m)
{
    while (m->kept_count)
        kept_free_first(m);
    if (m->twin) {
        modules_unlink(m->en, m);
        twin_drop(m);
    }
}

void kept_module_fini(engine_module *m) { kept_free_all(m); }

engine_instance *kept_take(engine_module *m, size_t memory_bytes_max, uint32_t table_elements_max)
{
    if (!m->kept_count)
        return NULL;
    engine_instance *in = m->kept[m->kept_count - 1];
    if (in->spent || in->memory_bytes_max != memory_bytes_max ||
        in->table_elements_max != table_elements_max)
        return NULL;
    kept_leaves(in);
    return in;
}

/* What is known of the pages goes with them. */
static void runs_pass(engine_instance *from, engine_instance *to)
{
    to->runs = from->runs;
    to->runs_count = from->runs_count;
    to->runs_room = from->runs_room;
    to->runs_known = from->runs_known;
    to->faults = from->faults;
    from->runs = NULL;
}

bool kept_pages_take(engine_instance *in)
{
    engine_module *m = in->module;
    engine_instance *from = m->kept_count ? m->kept[m->kept_count - 1] : NULL;
    size_t born, whole;
    if (!from || !from->spent || !module_moves(m))
        return false;
    kept_leaves(from);
    uint8_t *to = instance_memory_whole(in, 0, &born);
    uint8_t *pages = instance_memory_whole(from, 0, &whole);
    must(born <= whole); /* pages_restore */
    in->moved = pages_move(m, pages, to, born);
    if (in->moved)
        runs_pass(from, in);
    instance_delete(from);
    return in->moved;
}

bool kept_evict(engine *en)
{
    for (engine_module *m = en->kept_first; m; m = m->kept_next)
        if (m->kept_count) {
            kept_free_first(m);
            return true;
        }
    return false;
}

static bool may_keep(const engine_instance *in, ns now)
{
    const engine_module *m = in->module;
    const engine_restoring *r = &in->en->config.restoring;
    bool over = in->started && !in->future && !in->dead && in->op == OP_NONE && !in->polling &&
                !in->waiting_calls && !in->inner_count && !in->outer_count;
    bool have_state = m->restore != ENGINE_RESTORE_AFTER_START || m->after_start;
    /* A call that lasts may find its twin gone, and another one with another state. */
    bool same_twin = !in->kept || in->twins_gone == m->twins_gone;
    return over && is_hot(m, now) && have_state && same_twin &&
           (module_restores(m) || module_moves(m)) && m->kept_count < ENGINE_KEPT_EACH &&
           in->en->kept_count < r->kept_max;
}

engine_given engine_instance_give(engine_instance *in, ns now)
{
    engine_module *m = in->module;
    engine *en = in->en;
    uint32_t every = en->config.restoring.check_every;
    bool could = may_keep(in, now), keep = could, had = m->twin;
    m->given_at = now;
    engine_instance_limit(in, in->memory_bytes_max);
    if (keep && in->sampled) {
        instance_sample(in);
        in->sampled = false;
    }
    keep = keep && restore(in);
    twin_have_linked(m, had);
    if (!keep) {
        engine_instance_free(in);
        if (could && m->difference[0])
            kept_free_all(m);
        return could && m->difference[0] ? ENGINE_DIFFERS : ENGINE_FREED;
    }
    in->spent = !module_restores(m);
    instance_reset(in);
    if (every && m->restored++ % every == 0) {
        bool same = check(in);
        if (!same || every > 1) { /* it read all pages, which every later scan would walk over */
            instance_delete(in);
            if (same)
                return ENGINE_FREED;
            kept_free_all(m);
            return ENGINE_DIFFERS;
        }
    }
    in->kept = true;
    in->kept_at = now;
    in->twins_gone = m->twins_gone;
    in->after_start = m->after_start;
    kept_push(in);
    return ENGINE_KEPT;
}

const char *engine_module_difference(const engine_module *m) { return m->difference; }

bool engine_instance_kept(const engine_instance *in) { return in->kept; }

ns engine_kept_expire(engine *en, ns now, ns idle)
{
    ns next = 0;
    for (engine_module *m = en->kept_first, *after; m; m = after) {
        after = m->kept_next;
        while (m->kept_count && now - m->kept[0]->kept_at >= idle)
            kept_free_first(m);
        if (!m->kept_count && now - m->given_at >= idle) {
            kept_free_all(m);
            continue;
        }
        ns due = (m->kept_count ? m->kept[0]->kept_at : m->given_at) + idle;
        if (!next || due < next)
            next = due;
    }
    return next;
}

uint32_t engine_kept_count(const engine *en) { return en->kept_count; }
