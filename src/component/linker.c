/* Errors, budget and interning for component_link.
 *
 * Interning makes structural equality a comparison of pointers: a descriptor is looked up by its
 * kind, names and the addresses of its (already interned) parts. Resources are nominal: their
 * address is their identity (Explainer.md "Type Definitions", resource types are generative). */
#include "component/linker.h"

#include <stdio.h>

bool link_fail(linker *l, err_code code, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (char *p = text; *p; p++) /* names in it may be anything: no control characters */
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    l->failed = true;
    return err_set(l->e, code, "offset 0x%llx: %s", (unsigned long long)l->at, text);
}

bool link_oom(linker *l)
{
    l->failed = true;
    return err_no_memory(l->e);
}

bool link_work(linker *l, uint64_t n)
{
    l->work += n;
    return l->work <= LINK_WORK_MAX ||
           link_fail(l, ERR_LIMIT, "checking this component takes more than %d steps",
                     LINK_WORK_MAX);
}

bool link_table_at(linker *l, table *t, str key, const void ***ret)
{
    uint64_t steps = 1;
    if (!table_at(l->a, t, key, &steps, ret))
        return link_oom(l);
    return link_work(l, steps);
}

typedef struct interned interned;
struct interned { /* several descriptors may share a hash */
    interned *next;
    union {
        type t;
        functype f;
    };
};

/* The chain of descriptors with this hash. */
static bool chain_at(linker *l, table *t, uint64_t h, const void ***ret)
{
    uint64_t steps = 1;
    if (!table_at_pointer(l->a, t, (void *)(uintptr_t)h, &steps, ret))
        return link_oom(l);
    return link_work(l, steps);
}

static uint64_t fields_hash(uint64_t h, const type_field *f, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        h = hash_bytes(h, f[i].name.p, f[i].name.n);
        h = hash_u64(h, (uint64_t)(uintptr_t)f[i].type);
    }
    return h;
}

static bool fields_equal(const type_field *a, const type_field *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (a[i].type != b[i].type || !str_eq(a[i].name, b[i].name))
            return false;
    return true;
}

bool type_intern(linker *l, const type *proto, const type **ret)
{
    uint64_t h = hash_u64(proto->kind, (uint64_t)(uintptr_t)proto->elem);
    h = hash_u64(h, (uint64_t)(uintptr_t)proto->resource);
    h = hash_u64(h, (uint64_t)proto->length_fixed << 1 | proto->is_map);
    h = fields_hash(h, proto->fields, proto->fields_count);
    const void **chain;
    if (!link_work(l, proto->fields_count + 1) || !chain_at(l, &l->types, h, &chain))
        return false;
    for (const interned *i = *chain; i; i = i->next) {
        const type *t = &i->t;
        if (!link_work(l, proto->fields_count + 1))
            return false;
        if (t->kind == proto->kind && t->elem == proto->elem && t->resource == proto->resource &&
            t->length_fixed == proto->length_fixed && t->is_map == proto->is_map &&
            t->fields_count == proto->fields_count &&
            fields_equal(t->fields, proto->fields, t->fields_count)) {
            *ret = t;
            return true;
        }
    }
    type t = *proto;
    err why;
    if (!type_finish(&t, &why))
        return link_fail(l, why.code, "%s", why.text);
    interned *i = ARENA_NEW(l->a, interned);
    if (!i)
        return link_oom(l);
    i->t = t;
    i->next = (interned *)*chain;
    *chain = i;
    *ret = &i->t;
    return true;
}

bool functype_intern(linker *l, const functype *proto, const functype **ret)
{
    uint64_t h = hash_u64(proto->async, (uint64_t)(uintptr_t)proto->result);
    h = fields_hash(h, proto->params, proto->params_count);
    const void **chain;
    if (!link_work(l, proto->params_count + 1) || !chain_at(l, &l->functypes, h, &chain))
        return false;
    for (const interned *i = *chain; i; i = i->next) {
        const functype *f = &i->f;
        if (!link_work(l, proto->params_count + 1))
            return false;
        if (f->async == proto->async && f->result == proto->result &&
            f->params_count == proto->params_count &&
            fields_equal(f->params, proto->params, f->params_count)) {
            *ret = f;
            return true;
        }
    }
    interned *i = ARENA_NEW(l->a, interned);
    if (!i)
        return link_oom(l);
    i->f = *proto;
    i->next = (interned *)*chain;
    *chain = i;
    *ret = &i->f;
    return true;
}
