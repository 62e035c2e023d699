/* The types and imported interfaces of the component that is being made. Several worlds may know an
 * interface: its instance type is the union of what they say, one world after the other, with the
 * second's indices mapped to the first's wherever both export a type of that name. What an
 * interface takes from others is written before it; functions that no module imports are left out.
 */
#include "component/componentize_inner.h"

#include "base/limits.h"

enum { DEPTH_MAX = 64 };

bool ctz_no_memory(ctz *c) { return err_no_memory(c->e); }

str ctz_key(ctz *c, char sort, str module, str name)
{
    char *p = arena_alloc(c->a, module.n + name.n + 2);
    if (!p)
        return (str){0};
    p[0] = sort;
    memcpy(p + 1, module.p, module.n);
    p[1 + module.n] = 0;
    memcpy(p + 2 + module.n, name.p, name.n);
    return (str){p, module.n + name.n + 2};
}

/* The place of a key, as a number; 0: new. */
bool ctz_number(ctz *c, table *t, str key, uintptr_t **ret)
{
    return (key.p && table_at(c->a, t, key, &c->steps, (const void ***)ret)) || ctz_no_memory(c);
}

/* A section of one item. */
void ctz_begin(buf *b)
{
    buf_init(b, COMPONENT_BYTES_MAX);
    leb_u32(b, 1);
}

bool ctz_end(ctz *c, uint8_t id, buf *b)
{
    put_section(c->out, id, b);
    buf_fini(b);
    return !c->out->failed || ctz_no_memory(c);
}

/* --- types and interfaces --------------------------------------------------------------------- */

/* An export of an imported interface: sort 0x01 func, 0x03 type. */
bool ctz_alias(ctz *c, uint8_t sort, str interface, str name, uint32_t *ret)
{
    uintptr_t *at;
    uint32_t instance;
    if (!ctz_number(c, &c->aliases, ctz_key(c, (char)sort, interface, name), &at))
        return false;
    if (*at) {
        *ret = (uint32_t)*at - 1;
        return true;
    }
    if (!ctz_interface(c, interface, &instance))
        return false;
    buf b;
    ctz_begin(&b);
    buf_put_u8(&b, sort);
    buf_put_u8(&b, 0x00);
    leb_u32(&b, instance);
    put_name(&b, name);
    *ret = sort == 3 ? c->types++ : c->funcs++;
    *at = *ret + 1;
    return ctz_end(c, 6, &b);
}

typedef struct {
    ctz *c;
    world *w;
    uint32_t below; /* indices must be smaller: definitions refer to earlier ones */
} outer;

static bool outer_map(void *ctx, uint32_t index, uint32_t *ret, err *e);

/* The component's index of a world's type, written on first use. */
bool ctz_type(ctz *c, world *w, uint32_t index, uint32_t *ret)
{
    if (index >= w->types.n)
        return err_set(c->e, ERR_INVALID, "the module's world has no type %u", index);
    world_type *t = &w->types.p[index];
    if (t->is_alias)
        return ctz_alias(c, 3, w->imports.p[t->import].name, t->name, ret);
    if (!t->made) {
        if (++c->depth > DEPTH_MAX)
            return err_set(c->e, ERR_LIMIT, "the module's world nests types deeper than %d",
                           DEPTH_MAX);
        outer o = {c, w, index};
        type_map m = {&o, outer_map};
        reader r = reader_over(t->raw);
        buf b;
        ctz_begin(&b);
        if (!type_copy(&r, &m, &b, c->e)) {
            buf_fini(&b);
            return false;
        }
        c->depth--;
        if (!ctz_end(c, 7, &b))
            return false;
        t->made = ++c->types;
    }
    *ret = t->made - 1;
    return true;
}

static bool outer_map(void *ctx, uint32_t index, uint32_t *ret, err *e)
{
    outer *o = ctx;
    if (index >= o->below)
        return err_set(e, ERR_INVALID, "a type of the module's world refers to a later one");
    return ctz_type(o->c, o->w, index, ret);
}

bool locals_map(void *ctx, uint32_t index, uint32_t *ret, err *e)
{
    locals *l = ctx;
    if (index >= l->to.n)
        return err_set(e, ERR_INVALID, "an interface of the module's world has no type %u", index);
    *ret = l->to.p[index];
    return true;
}

/* The instance type that is being merged. */
typedef struct {
    buf body;
    uint32_t count, types;
    table names; /* of exported types, to index + 1 */
    table funcs;
} merged;

static bool merge_export(ctz *c, str interface, merged *m, locals *l, const decl *d)
{
    uintptr_t *at;
    uint32_t to;
    bool is_func = d->of == WORLD_FUNC;
    if (is_func) {
        str key = ctz_key(c, 'f', interface, d->name);
        if (!key.p)
            return ctz_no_memory(c);
        if (!table_get(&c->wanted, key, &c->steps))
            return true; /* nobody imports it */
    }
    if (!ctz_number(c, is_func ? &m->funcs : &m->names, d->name, &at))
        return false;
    if (!*at) {
        if (!d->is_resource && !locals_map(l, d->index, &to, c->e))
            return false;
        buf_put_u8(&m->body, 0x04);
        buf_put_u8(&m->body, 0x00);
        put_name(&m->body, d->name);
        buf_put_u8(&m->body, (uint8_t)d->of);
        if (!is_func)
            buf_put_u8(&m->body, d->is_resource);
        if (!d->is_resource)
            leb_u32(&m->body, to);
        m->count++;
        *at = is_func ? 1 : ++m->types;
    }
    return is_func || vec_push(c->a, &l->to, (uint32_t)*at - 1) || ctz_no_memory(c);
}

static bool merge_world(ctz *c, world *w, const world_item *item, merged *m)
{
    reader r;
    uint32_t n;
    locals l = {0};
    type_map map = {&l, locals_map};
    if (item->type >= w->types.n || w->types.p[item->type].is_alias)
        return err_set(c->e, ERR_INVALID, "import '%.*s' has no type", STR(item->name));
    if (!decls_open(w->types.p[item->type].raw, &r, &n, c->e))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        decl d;
        uint32_t to;
        if (!decl_read(&r, &d, c->e))
            return false;
        if (d.kind == DECL_EXPORT) {
            if (!merge_export(c, item->name, m, &l, &d))
                return false;
            continue;
        }
        if (d.kind == DECL_ALIAS_OUTER) {
            if (!ctz_type(c, w, d.index, &to))
                return false;
            buf_put_u8(&m->body, 0x02);
            buf_put_u8(&m->body, 0x03);
            buf_put_u8(&m->body, 0x02);
            leb_u32(&m->body, 1);
            leb_u32(&m->body, to);
        } else {
            buf_put_u8(&m->body, 0x01);
            if (!type_copy(&d.type, &map, &m->body, c->e))
                return false;
        }
        m->count++;
        if (!vec_push(c->a, &l.to, m->types++))
            return ctz_no_memory(c);
    }
    return true;
}

static bool merge_all(ctz *c, str name, merged *m)
{
    bool found = false;
    for (uint32_t i = 0; i < c->worlds_count; i++)
        for (uint32_t k = 0; k < c->worlds[i].imports.n; k++) {
            const world_item *item = &c->worlds[i].imports.p[k];
            if (item->kind != WORLD_INSTANCE || !str_eq(item->name, name))
                continue;
            found = true;
            if (!merge_world(c, &c->worlds[i], item, m))
                return false;
        }
    return found ||
           err_set(c->e, ERR_INVALID,
                   "the module imports from '%.*s', which its world does not have", STR(name));
}

bool ctz_interface(ctz *c, str name, uint32_t *ret)
{
    uintptr_t *at;
    if (!ctz_number(c, &c->interfaces, name, &at))
        return false;
    if (*at) {
        *ret = (uint32_t)*at - 1;
        return true;
    }
    if (++c->depth > DEPTH_MAX)
        return err_set(c->e, ERR_LIMIT, "interfaces depend on each other deeper than %d",
                       DEPTH_MAX);
    merged m = {0};
    buf_init(&m.body, COMPONENT_BYTES_MAX);
    bool ok = merge_all(c, name, &m);
    c->depth--;
    buf b;
    ctz_begin(&b);
    buf_put_u8(&b, 0x42);
    leb_u32(&b, m.count);
    buf_put(&b, m.body.p, m.body.n);
    b.failed |= m.body.failed;
    buf_fini(&m.body);
    if (!ctz_end(c, 7, &b) || !ok)
        return false;
    ctz_begin(&b);
    buf_put_u8(&b, 0x00);
    put_name(&b, name);
    buf_put_u8(&b, 0x05);
    leb_u32(&b, c->types++);
    *ret = c->instances++;
    *at = *ret + 1;
    return ctz_end(c, 10, &b);
}
