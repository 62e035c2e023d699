/* The shim and the fix-up module (componentize.c draws how they are used). Both know every slot's
 * core type; the shim's thunks call through its table, and the fix-up's element segment fills it.
 */
#include "component/componentize_inner.h"

#include "base/limits.h"

#include <stdio.h>

static bool types_put(ctz *c, buf *m, uint32_t extra)
{
    buf b;
    buf_init(&b, COMPONENT_BYTES_MAX);
    leb_u32(&b, c->slots + extra);
    for (uint32_t i = 0; i < c->needs.n; i++)
        if (!c->needs.p[i].is_drop)
            buf_put(&b, c->needs.p[i].type.p, c->needs.p[i].type.n);
    if (extra)
        buf_put(&b, "\x60\0\0", 3);
    put_section(m, 1, &b);
    buf_fini(&b);
    return !m->failed || ctz_no_memory(c);
}

void ctz_slot_name(buf *b, uint32_t slot)
{
    char digits[16];
    int n = snprintf(digits, sizeof digits, "%u", slot);
    put_name(b, (str){digits, (size_t)n});
}

static bool params_of(bytes of, uint32_t *ret)
{
    reader r = reader_over(of);
    return reader_skip(&r, 1, NULL) && reader_u32(&r, ret, NULL);
}

static void thunk_put(buf *code, uint32_t params, uint32_t slot)
{
    buf b;
    buf_init(&b, 1 << 20);
    leb_u32(&b, 0);
    for (uint32_t p = 0; p < params; p++) {
        buf_put_u8(&b, 0x20);
        leb_u32(&b, p);
    }
    buf_put_u8(&b, 0x41);
    put_s32(&b, (int32_t)slot);
    buf_put_u8(&b, 0x11);
    leb_u32(&b, slot);
    leb_u32(&b, 0);
    buf_put_u8(&b, 0x0b);
    leb_u32(code, (uint32_t)b.n);
    buf_put(code, b.p, b.n);
    code->failed |= b.failed;
    buf_fini(&b);
}

/* The parts of a small module as it grows: one buffer a section. */
typedef struct {
    buf a, b, c, d;
} parts;

static void parts_init(parts *p)
{
    buf *all[] = {&p->a, &p->b, &p->c, &p->d};
    for (size_t i = 0; i < 4; i++)
        buf_init(all[i], COMPONENT_BYTES_MAX);
}

static void parts_fini(parts *p)
{
    buf *all[] = {&p->a, &p->b, &p->c, &p->d};
    for (size_t i = 0; i < 4; i++)
        buf_fini(all[i]);
}

bool ctz_module(ctz *c, buf *m)
{
    buf_put_u8(c->out, 1);
    leb_u32(c->out, (uint32_t)m->n);
    buf_put(c->out, m->p, m->n);
    bool ok = !m->failed && !c->out->failed;
    buf_fini(m);
    return ok || ctz_no_memory(c);
}

static void module_begin(buf *m)
{
    buf_init(m, COMPONENT_BYTES_MAX);
    buf_put(m, "\0asm\1\0\0\0", 8);
}

bool ctz_shim(ctz *c)
{
    buf m;
    parts p;
    module_begin(&m);
    parts_init(&p); /* a: functions, b: table, c: exports, d: code */
    leb_u32(&p.a, c->slots);
    leb_u32(&p.c, c->slots + 1);
    leb_u32(&p.d, c->slots);
    for (uint32_t i = 0; i < c->needs.n; i++) {
        const need *n = &c->needs.p[i];
        uint32_t params = 0;
        if (n->is_drop)
            continue;
        params_of(n->type, &params);
        leb_u32(&p.a, n->slot);
        ctz_slot_name(&p.c, n->slot);
        buf_put_u8(&p.c, 0);
        leb_u32(&p.c, n->slot);
        thunk_put(&p.d, params, n->slot);
    }
    buf_put(&p.b, "\1\x70\1", 3);
    leb_u32(&p.b, c->slots);
    leb_u32(&p.b, c->slots);
    put_name(&p.c, S("$imports"));
    buf_put(&p.c, "\1\0", 2);
    bool ok = types_put(c, &m, 0);
    put_section(&m, 3, &p.a);
    put_section(&m, 4, &p.b);
    put_section(&m, 7, &p.c);
    put_section(&m, 10, &p.d);
    parts_fini(&p);
    return ctz_module(c, &m) && ok;
}

bool ctz_has_initialize(const ctz *c)
{
    const cm_export *x = core_module_export(&c->main, S("_initialize"));
    return x && x->kind == CORE_FUNC;
}

bool ctz_fixup(ctz *c)
{
    buf m;
    parts p;
    bool init = ctz_has_initialize(c);
    module_begin(&m);
    parts_init(&p); /* a: imports, b: start, c: elements */
    leb_u32(&p.a, c->slots + 1 + init);
    leb_u32(&p.c, 1);
    buf_put(&p.c, "\0\x41\0\x0b", 4);
    leb_u32(&p.c, c->slots);
    for (uint32_t i = 0; i < c->needs.n; i++) {
        const need *n = &c->needs.p[i];
        if (n->is_drop)
            continue;
        put_name(&p.a, S(""));
        ctz_slot_name(&p.a, n->slot);
        buf_put_u8(&p.a, 0);
        leb_u32(&p.a, n->slot);
        leb_u32(&p.c, n->slot);
    }
    if (init) {
        put_name(&p.a, S(""));
        put_name(&p.a, S("init"));
        buf_put_u8(&p.a, 0);
        leb_u32(&p.a, c->slots);
        leb_u32(&p.b, c->slots);
    }
    put_name(&p.a, S(""));
    put_name(&p.a, S("$imports"));
    buf_put(&p.a, "\1\x70\1", 3);
    leb_u32(&p.a, c->slots);
    leb_u32(&p.a, c->slots);
    bool ok = types_put(c, &m, init);
    put_section(&m, 2, &p.a);
    if (init)
        put_section(&m, 8, &p.b);
    put_section(&m, 9, &p.c);
    parts_fini(&p);
    return ctz_module(c, &m) && ok;
}
