/* See adapt.h. The adapter is linked without a stack: its global __stack_pointer is 0. What
 * wit-component's garbage collector puts in front of every exported function is done here by
 * wrappers, which leave all indices as they are:
 *
 *     (func $stack  (if allocation_state == 0
 *                     (allocation_state = 1; __stack_pointer = cabi_realloc(0, 0, 8, 65536) +
 * 65536; allocation_state = 2))) (func $wrapper (params) (result)  (call $stack) (call $original
 * (params)))
 *
 * State 1 is for cabi_realloc itself: if main's calls the adapter, the adapter must not ask again.
 * Globals are found by their names in the name section. */
#include "component/adapt.h"

#include "base/limits.h"
#include "component/world.h"

enum { STACK_BYTES = 65536, NAME_SUBSECTION_GLOBALS = 7 };

static bool global_by_name(const core_module *m, str wanted, uint32_t *ret, err *e)
{
    reader r = reader_over(m->file), content, names;
    reader_skip(&r, 8, e);
    while (!reader_done(&r)) {
        uint8_t id;
        str name;
        uint32_t n;
        if (!reader_u8(&r, &id, e) || !reader_sized(&r, &content, e))
            return false;
        if (id != 0 || !reader_name(&content, &name, NULL) || !str_eq(name, S("name")))
            continue;
        while (!reader_done(&content)) {
            if (!reader_u8(&content, &id, e) || !reader_sized(&content, &names, e))
                return false;
            if (id != NAME_SUBSECTION_GLOBALS || !reader_u32(&names, &n, e))
                continue;
            for (uint32_t i = 0; i < n; i++) {
                if (!reader_u32(&names, ret, e) || !reader_name(&names, &name, e))
                    return false;
                if (str_eq(name, wanted))
                    return true;
            }
        }
    }
    return err_set(e, ERR_INTERNAL, "the adapter has no global '%.*s'", STR(wanted));
}

static bool realloc_find(const core_module *m, uint32_t *ret, err *e)
{
    uint32_t index = 0;
    for (uint32_t i = 0; i < m->imports_count; i++) {
        const cm_import *x = &m->imports[i];
        if (x->kind == CORE_FUNC && str_eq(x->name, S("cabi_realloc"))) {
            *ret = index;
            return true;
        }
        index += x->kind == CORE_FUNC;
    }
    return err_set(e, ERR_INTERNAL, "the adapter does not import cabi_realloc");
}

static void global_op(buf *b, uint8_t op, uint32_t index)
{
    buf_put_u8(b, op);
    leb_u32(b, index);
}

static void const_op(buf *b, int32_t value)
{
    buf_put_u8(b, 0x41);
    put_s32(b, value);
}

static void body_put(buf *code, buf *body)
{
    leb_u32(code, (uint32_t)body->n);
    buf_put(code, body->p, body->n);
    code->failed |= body->failed;
    buf_fini(body);
}

static void stack_put(buf *code, uint32_t sp, uint32_t state, uint32_t realloc)
{
    buf b;
    buf_init(&b, 4096);
    leb_u32(&b, 0);
    global_op(&b, 0x23, state);
    buf_put(&b, "\x45\x04\x40", 3); /* i32.eqz, if */
    const_op(&b, 1);
    global_op(&b, 0x24, state);
    const_op(&b, 0);
    const_op(&b, 0);
    const_op(&b, 8);
    const_op(&b, STACK_BYTES);
    global_op(&b, 0x10, realloc);
    const_op(&b, STACK_BYTES);
    buf_put_u8(&b, 0x6a);
    global_op(&b, 0x24, sp);
    const_op(&b, 2);
    global_op(&b, 0x24, state);
    buf_put(&b, "\x0b\x0b", 2);
    body_put(code, &b);
}

static bool wrapper_put(const core_module *m, buf *code, uint32_t func, uint32_t stack, err *e)
{
    const cm_rec *rec = core_module_rec(m, m->func_types[func]);
    uint32_t params;
    buf b;
    if (!rec || !rec->is_func)
        return err_set(e, ERR_INTERNAL, "a function of the adapter has no type");
    reader r = reader_over(rec->raw);
    if (!reader_skip(&r, 1, e) || !reader_u32(&r, &params, e))
        return false;
    buf_init(&b, 65536);
    leb_u32(&b, 0);
    global_op(&b, 0x10, stack);
    for (uint32_t i = 0; i < params; i++)
        global_op(&b, 0x20, i);
    global_op(&b, 0x10, func);
    buf_put_u8(&b, 0x0b);
    body_put(code, &b);
    return true;
}

/* Sections as they are rewritten: types, functions, exports and code. */
typedef struct {
    buf types, funcs, exports, code;
} rewritten;

static bool rewrite(const core_module *m, rewritten *w, err *e)
{
    uint32_t sp, state, realloc, wrapped = 0, next = m->count[CORE_FUNC];
    if (!global_by_name(m, S("__stack_pointer"), &sp, e) ||
        !global_by_name(m, S("allocation_state"), &state, e) || !realloc_find(m, &realloc, e))
        return false;
    for (uint32_t i = 0; i < m->exports_count; i++)
        wrapped += m->exports[i].kind == CORE_FUNC;
    leb_u32(&w->types, m->recs_count + 1);
    for (uint32_t i = 0; i < m->recs_count; i++)
        buf_put(&w->types, m->recs[i].raw.p, m->recs[i].raw.n);
    buf_put(&w->types, "\x60\0\0", 3);
    leb_u32(&w->funcs, m->codes_count + 1 + wrapped);
    leb_u32(&w->code, m->codes_count + 1 + wrapped);
    for (uint32_t i = 0; i < m->codes_count; i++) {
        leb_u32(&w->funcs, m->func_types[m->imported[CORE_FUNC] + i]);
        leb_u32(&w->code, (uint32_t)m->codes[i].n);
        buf_put(&w->code, m->codes[i].p, m->codes[i].n);
    }
    uint32_t stack = next++;
    leb_u32(&w->funcs, m->types_count);
    stack_put(&w->code, sp, state, realloc);
    leb_u32(&w->exports, wrapped);
    for (uint32_t i = 0; i < m->exports_count; i++) {
        const cm_export *x = &m->exports[i];
        if (x->kind != CORE_FUNC)
            continue;
        leb_u32(&w->funcs, m->func_types[x->index]);
        if (!wrapper_put(m, &w->code, x->index, stack, e))
            return false;
        put_name(&w->exports, x->name);
        buf_put_u8(&w->exports, 0);
        leb_u32(&w->exports, next++);
    }
    return true;
}

bool adapter_prepare(const core_module *m, buf *out, err *e)
{
    rewritten w;
    buf *all[] = {&w.types, &w.funcs, &w.exports, &w.code};
    reader r = reader_over(m->file);
    for (size_t i = 0; i < 4; i++)
        buf_init(all[i], COMPONENT_BYTES_MAX);
    bool ok = rewrite(m, &w, e) && reader_skip(&r, 8, e);
    buf_put(out, m->file.p, 8);
    while (ok && !reader_done(&r)) {
        uint8_t id;
        reader content;
        ok = reader_u8(&r, &id, e) && reader_sized(&r, &content, e);
        const buf *instead = id == 1    ? &w.types
                             : id == 3  ? &w.funcs
                             : id == 7  ? &w.exports
                             : id == 10 ? &w.code
                                        : NULL;
        if (!ok || id == 0) /* names of globals have done their work; those of functions went too */
            continue;
        if (instead) {
            put_section(out, id, instead);
        } else {
            buf_put_u8(out, id);
            leb_u32(out, (uint32_t)reader_left(&content));
            buf_put(out, content.at, reader_left(&content));
        }
    }
    for (size_t i = 0; i < 4; i++)
        buf_fini(all[i]);
    return ok && (!out->failed || err_no_memory(e));
}
