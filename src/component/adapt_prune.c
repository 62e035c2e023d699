/* The adapter without what main does not use, as wit-component's garbage collector leaves it: a
 * component asks its host only for what its code can reach. From the exports that main imports,
 * direct calls are followed; the adapter has no other (no element of a table, no start function:
 * checked). Functions and imports that were not reached go, and the others get new indices.
 * Globals, memories and types stay as they are. */
#include "component/adapt.h"

#include "base/limits.h"
#include "component/core_code.h"
#include "component/world.h"

typedef struct {
    const core_module *m;
    uint8_t *used;   /* by function */
    uint32_t *queue; /* of used functions */
    uint32_t queued;
} reach;

static void reach_func(void *ctx, uint32_t func)
{
    reach *r = ctx;
    if (func >= r->m->count[CORE_FUNC] || r->used[func])
        return;
    r->used[func] = 1;
    r->queue[r->queued++] = func;
}

static code_maps maps_of(const core_module *m, const uint32_t *funcs)
{
    return (code_maps){.types = {NULL, m->types_count},
                       .funcs = {funcs, m->count[CORE_FUNC]},
                       .tables = {NULL, m->count[CORE_TABLE]},
                       .memories = {NULL, m->count[CORE_MEMORY]},
                       .globals = {NULL, m->count[CORE_GLOBAL]},
                       .datas = {NULL, m->datas_count}};
}

static bool is_wanted(const core_module *main, str export)
{
    if (str_eq(export, S("cabi_import_realloc")))
        return true;
    for (uint32_t i = 0; i < main->imports_count; i++)
        if (str_eq(main->imports[i].name, export) &&
            str_eq(main->imports[i].module, S("wasi_snapshot_preview1")))
            return true;
    return false;
}

static bool reach_all(reach *r, const core_module *main, err *e)
{
    const core_module *m = r->m;
    const code_maps maps = maps_of(m, NULL);
    uint32_t func = 0;
    if (m->elems_count || m->has_start)
        return err_set(e, ERR_INTERNAL, "the adapter has a table or a start function");
    for (uint32_t i = 0; i < m->imports_count; i++) { /* what its stack is made with (adapt.c) */
        if (m->imports[i].kind == CORE_FUNC && str_eq(m->imports[i].name, S("cabi_realloc")))
            reach_func(r, func);
        func += m->imports[i].kind == CORE_FUNC;
    }
    for (uint32_t i = 0; i < m->exports_count; i++)
        if (m->exports[i].kind == CORE_FUNC && is_wanted(main, m->exports[i].name))
            reach_func(r, m->exports[i].index);
    for (uint32_t at = 0; at < r->queued; at++) {
        if (r->queue[at] < m->imported[CORE_FUNC])
            continue;
        code_facts facts = {.on_func = reach_func, .ctx = r};
        reader body = reader_over(m->codes[r->queue[at] - m->imported[CORE_FUNC]]);
        if (!code_walk_body(&body, &maps, NULL, &facts, e))
            return false;
        if (facts.calls_any)
            return err_set(e, ERR_INTERNAL, "the adapter calls through a table");
    }
    return true;
}

/* The import section's entries that stay, from its bytes. */
static bool imports_keep(const reach *r, reader section, buf *out, err *e)
{
    uint32_t n, ignored, func = 0, kept = 0;
    buf items;
    buf_init(&items, COMPONENT_BYTES_MAX);
    bool ok = reader_u32(&section, &n, e);
    for (uint32_t i = 0; ok && i < n; i++) {
        const uint8_t *begin = section.at;
        str name;
        uint8_t kind, flags = 0;
        ok = reader_name(&section, &name, e) && reader_name(&section, &name, e) &&
             reader_u8(&section, &kind, e);
        if (ok && kind == CORE_FUNC)
            ok = reader_u32(&section, &ignored, e);
        else if (ok && kind == CORE_MEMORY)
            ok = reader_u8(&section, &flags, e) && reader_u32(&section, &ignored, e) &&
                 (!(flags & 1) || reader_u32(&section, &ignored, e));
        else if (ok)
            ok = err_set(e, ERR_INTERNAL,
                         "the adapter imports '%.*s', which is no function or "
                         "memory",
                         STR(name));
        if (ok && (kind != CORE_FUNC || r->used[func])) {
            buf_put(&items, begin, (size_t)(section.at - begin));
            kept++;
        }
        func += ok && kind == CORE_FUNC;
    }
    leb_u32(out, kept);
    buf_put(out, items.p, items.n);
    out->failed |= items.failed;
    buf_fini(&items);
    return ok;
}

static bool codes_keep(const reach *r, const uint32_t *to, buf *out, uint32_t kept, err *e)
{
    const core_module *m = r->m;
    const code_maps maps = maps_of(m, to);
    bool ok = true;
    leb_u32(out, kept);
    for (uint32_t i = 0; ok && i < m->codes_count; i++) {
        if (!r->used[m->imported[CORE_FUNC] + i])
            continue;
        buf body;
        buf_init(&body, COMPONENT_BYTES_MAX);
        reader from = reader_over(m->codes[i]);
        ok = code_walk_body(&from, &maps, &body, NULL, e);
        leb_u32(out, (uint32_t)body.n);
        buf_put(out, body.p, body.n);
        out->failed |= body.failed;
        buf_fini(&body);
    }
    return ok;
}

/* The content of a section, written anew; others are copied. */
static bool section_keep(const reach *r, const uint32_t *to, uint8_t id, reader content, buf *out,
                         err *e)
{
    const core_module *m = r->m;
    uint32_t kept = 0, imported = m->imported[CORE_FUNC];
    for (uint32_t i = 0; i < m->codes_count; i++)
        kept += r->used[imported + i];
    if (id == 2)
        return imports_keep(r, content, out, e);
    if (id == 10)
        return codes_keep(r, to, out, kept, e);
    if (id == 3) {
        leb_u32(out, kept);
        for (uint32_t i = 0; i < m->codes_count; i++)
            if (r->used[imported + i])
                leb_u32(out, m->func_types[imported + i]);
    } else if (id == 7) {
        uint32_t count = 0;
        for (uint32_t i = 0; i < m->exports_count; i++)
            count += m->exports[i].kind == CORE_FUNC && r->used[m->exports[i].index];
        leb_u32(out, count);
        for (uint32_t i = 0; i < m->exports_count; i++) {
            const cm_export *x = &m->exports[i];
            if (x->kind != CORE_FUNC || !r->used[x->index])
                continue;
            put_name(out, x->name);
            buf_put_u8(out, CORE_FUNC);
            leb_u32(out, to[x->index]);
        }
    } else {
        buf_put(out, content.at, reader_left(&content));
    }
    return true;
}

static bool sections_keep(const reach *r, const uint32_t *to, buf *out, err *e)
{
    reader all = reader_over(r->m->file);
    bool ok = reader_skip(&all, 8, e);
    buf_put(out, r->m->file.p, 8);
    while (ok && !reader_done(&all)) {
        uint8_t id;
        reader content;
        buf section;
        buf_init(&section, COMPONENT_BYTES_MAX);
        ok = reader_u8(&all, &id, e) && reader_sized(&all, &content, e) &&
             section_keep(r, to, id, content, &section, e);
        if (ok)
            put_section(out, id, &section);
        buf_fini(&section);
    }
    return ok && (!out->failed || err_no_memory(e));
}

bool adapter_prune(arena *a, const core_module *m, const core_module *main, buf *out, err *e)
{
    uint32_t n = m->count[CORE_FUNC], next = 0;
    reach r = {
        .m = m, .used = ARENA_ARRAY(a, uint8_t, n + 1), .queue = ARENA_ARRAY(a, uint32_t, n + 1)};
    uint32_t *to = ARENA_ARRAY(a, uint32_t, n + 1);
    if (!r.used || !r.queue || !to)
        return err_no_memory(e);
    if (!reach_all(&r, main, e))
        return false;
    for (uint32_t i = 0; i < n; i++)
        to[i] = r.used[i] ? next++ : UINT32_MAX;
    return sections_keep(&r, to, out, e);
}
