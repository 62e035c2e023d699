/* See world.h. Follows Binary.md of the component model for component types, instance types and
 * definitions. Nesting is fixed (a world, instance types in it, definitions in those), so nothing
 * here recurses. What a world can hold but nothing emits (core types, nested components, values) is
 * refused by name. */
#include "component/world.h"

#include "base/limits.h"

enum { ITEMS_MAX = 100000 };

void put_s32(buf *b, int32_t v)
{
    for (;;) {
        uint8_t byte = v & 0x7f;
        v >>= 7;
        bool last = (v == 0 && !(byte & 0x40)) || (v == -1 && (byte & 0x40));
        buf_put_u8(b, last ? byte : byte | 0x80);
        if (last)
            return;
    }
}

void put_name(buf *b, str s)
{
    leb_u32(b, (uint32_t)s.n);
    buf_put_str(b, s);
}

void put_section(buf *b, uint8_t id, const buf *content)
{
    buf_put_u8(b, id);
    leb_u32(b, (uint32_t)content->n);
    buf_put(b, content->p, content->n);
    b->failed |= content->failed;
}

/* --- definitions ------------------------------------------------------------------------------ */

typedef struct {
    reader *r;
    const type_map *m;
    buf *out; /* NULL: nothing is written */
    err *e;
} copy;

static bool copy_u8(copy *c, uint8_t *ret)
{
    if (!reader_u8(c->r, ret, c->e))
        return false;
    if (c->out)
        buf_put_u8(c->out, *ret);
    return true;
}

static bool copy_count(copy *c, uint32_t *ret)
{
    if (!reader_count(c->r, ITEMS_MAX, "items of a type", ret, c->e))
        return false;
    if (c->out)
        leb_u32(c->out, *ret);
    return true;
}

static bool copy_name(copy *c)
{
    str name;
    if (!reader_name(c->r, &name, c->e))
        return false;
    if (c->out)
        put_name(c->out, name);
    return true;
}

static bool copy_index(copy *c)
{
    uint32_t index, to;
    if (!reader_u32(c->r, &index, c->e))
        return false;
    if (!c->out)
        return true;
    if (!c->m->map(c->m->ctx, index, &to, c->e))
        return false;
    leb_u32(c->out, to);
    return true;
}

static bool copy_valtype(copy *c)
{
    int64_t v;
    uint32_t to;
    if (!reader_s33(c->r, &v, c->e))
        return false;
    if (!c->out)
        return true;
    if (v < 0) { /* a primitive: one byte, 0x64 to 0x7f */
        buf_put_u8(c->out, (uint8_t)(v & 0x7f));
        return true;
    }
    if (!c->m->map(c->m->ctx, (uint32_t)v, &to, c->e))
        return false;
    put_s32(c->out, (int32_t)to);
    return true;
}

static bool copy_option(copy *c)
{
    uint8_t has;
    return copy_u8(c, &has) && (!has || copy_valtype(c));
}

static bool copy_fields(copy *c, bool named, bool optional)
{
    uint32_t n;
    uint8_t zero;
    if (!copy_count(c, &n))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if ((named && !copy_name(c)) || !(optional ? copy_option(c) : copy_valtype(c)) ||
            (optional && !copy_u8(c, &zero)))
            return false;
    return true;
}

static bool copy_labels(copy *c)
{
    uint32_t n;
    if (!copy_count(c, &n))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!copy_name(c))
            return false;
    return true;
}

static bool copy_func(copy *c)
{
    uint8_t has_none, zero;
    if (!copy_fields(c, true, false) || !copy_u8(c, &has_none))
        return false;
    return has_none ? copy_u8(c, &zero) : copy_valtype(c);
}

static bool refuse(const reader *r, err *e, const char *what)
{
    return reader_fail(r, e, ERR_UNSUPPORTED,
                       "the module's world has %s; make a component of it with 'wasm-tools "
                       "component new'",
                       what);
}

static bool pass_instance(copy *c)
{
    uint32_t n;
    if (c->out)
        return refuse(c->r, c->e, "a nested instance type");
    if (!reader_count(c->r, ITEMS_MAX, "declarations", &n, c->e))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        decl d;
        if (!decl_read(c->r, &d, c->e))
            return false;
    }
    return true;
}

bool type_copy(reader *r, const type_map *m, buf *out, err *e)
{
    copy c = {r, m, out, e};
    uint8_t kind;
    if (reader_left(r) && *r->at == 0x42) {
        reader_u8(r, &kind, e);
        return pass_instance(&c);
    }
    if (!copy_u8(&c, &kind))
        return false;
    switch (kind) {
    case 0x40:
        return copy_func(&c);
    case 0x72:
        return copy_fields(&c, true, false);
    case 0x71:
        return copy_fields(&c, true, true);
    case 0x6f:
        return copy_fields(&c, false, false);
    case 0x70:
    case 0x6b:
        return copy_valtype(&c);
    case 0x6e:
    case 0x6d:
        return copy_labels(&c);
    case 0x6a:
        return copy_option(&c) && copy_option(&c);
    case 0x69:
    case 0x68:
        return copy_index(&c);
    case 0x43:
    case 0x65:
    case 0x66:
        return refuse(r, e, "asynchronous functions, streams or futures");
    case 0x3f:
        return refuse(r, e, "a resource that the guest defines");
    case 0x41:
        return refuse(r, e, "a nested component type");
    default:
        return (kind >= 0x73 && kind <= 0x7f) ||
               refuse(r, e, "a kind of type that ebb cannot copy");
    }
}

/* --- declarations ----------------------------------------------------------------------------- */

static bool extern_name(reader *r, str *ret, err *e)
{
    uint8_t kind;
    if (!reader_u8(r, &kind, e))
        return false;
    return kind <= 1 ? reader_name(r, ret, e) : refuse(r, e, "a name with a version suffix");
}

/* func, type bound or instance. */
static bool extern_desc(reader *r, world_kind *ret_kind, uint32_t *ret_type, bool *ret_resource,
                        err *e)
{
    uint8_t kind, bound;
    *ret_type = 0;
    *ret_resource = false;
    if (!reader_u8(r, &kind, e))
        return false;
    *ret_kind = (world_kind)kind;
    switch (kind) {
    case WORLD_FUNC:
    case WORLD_INSTANCE:
        return reader_u32(r, ret_type, e);
    case WORLD_TYPE:
        if (!reader_u8(r, &bound, e))
            return false;
        *ret_resource = bound == 1;
        return bound == 1 || (bound == 0 && reader_u32(r, ret_type, e)) ||
               refuse(r, e, "an unknown type bound");
    default:
        return refuse(r, e, "an import or export that is no function, type or interface");
    }
}

bool decls_open(bytes raw, reader *ret, uint32_t *ret_count, err *e)
{
    uint8_t kind;
    *ret = reader_over(raw);
    return reader_u8(ret, &kind, e) &&
           (kind == 0x42 || refuse(ret, e, "an interface whose type is no instance type")) &&
           reader_count(ret, ITEMS_MAX, "declarations", ret_count, e);
}

bool decl_read(reader *r, decl *ret, err *e)
{
    uint8_t kind, sort, target;
    uint32_t depth;
    *ret = (decl){0};
    if (!reader_u8(r, &kind, e))
        return false;
    switch (kind) {
    case 0x01:
        ret->kind = DECL_TYPE;
        if (reader_left(r) && *r->at == 0x42)
            return refuse(r, e, "a nested instance type");
        ret->type = *r;
        return type_copy(r, NULL, NULL, e);
    case 0x02:
        ret->kind = DECL_ALIAS_OUTER;
        if (!reader_u8(r, &sort, e) || !reader_u8(r, &target, e))
            return false;
        if (sort != 3 || target != 2)
            return refuse(r, e, "an alias in an interface that is not of an outer type");
        return reader_u32(r, &depth, e) && reader_u32(r, &ret->index, e) &&
               (depth == 1 || refuse(r, e, "an alias of a type further out"));
    case 0x04:
        ret->kind = DECL_EXPORT;
        return extern_name(r, &ret->name, e) &&
               extern_desc(r, &ret->of, &ret->index, &ret->is_resource, e) &&
               (ret->of != WORLD_INSTANCE || refuse(r, e, "an instance in an interface"));
    default:
        return refuse(r, e, "an unknown declaration in an interface");
    }
}

/* --- the world -------------------------------------------------------------------------------- */

static bool world_alias(arena *a, reader *r, world *w, err *e)
{
    uint8_t sort, target;
    uint32_t instance;
    world_type t = {.is_alias = true};
    if (!reader_u8(r, &sort, e) || !reader_u8(r, &target, e))
        return false;
    if (sort != 3 || target != 0)
        return refuse(r, e, "an alias that is not of a type of an import");
    if (!reader_u32(r, &instance, e) || !reader_name(r, &t.name, e))
        return false;
    if (instance >= w->instances.n || w->instances.p[instance] == UINT32_MAX)
        return reader_fail(r, e, ERR_INVALID, "an alias of an import that is not there");
    t.import = w->instances.p[instance];
    return vec_push(a, &w->types, t) || err_no_memory(e);
}

static bool world_item_read(arena *a, reader *r, world *w, bool import, err *e)
{
    world_item item;
    bool resource;
    if (!extern_name(r, &item.name, e) || !extern_desc(r, &item.kind, &item.type, &resource, e))
        return false;
    if (resource)
        return refuse(r, e, "a resource outside of an interface");
    if (item.kind == WORLD_INSTANCE &&
        !vec_push(a, &w->instances, import ? w->imports.n : UINT32_MAX))
        return err_no_memory(e);
    if (item.kind == WORLD_TYPE) { /* a name for a type: the same type again */
        if (item.type >= w->types.n)
            return reader_fail(r, e, ERR_INVALID, "a type that is not there");
        world_type t = w->types.p[item.type];
        return vec_push(a, &w->types, t) || err_no_memory(e);
    }
    bool ok = import ? vec_push(a, &w->imports, item) : vec_push(a, &w->exports, item);
    return ok || err_no_memory(e);
}

static bool world_decl(arena *a, reader *r, world *w, err *e)
{
    uint8_t kind;
    if (!reader_u8(r, &kind, e))
        return false;
    switch (kind) {
    case 0x01: {
        const uint8_t *begin = r->at;
        if (!type_copy(r, NULL, NULL, e))
            return false;
        world_type t = {.raw = {begin, (size_t)(r->at - begin)}};
        return vec_push(a, &w->types, t) || err_no_memory(e);
    }
    case 0x02:
        return world_alias(a, r, w, e);
    case 0x03:
    case 0x04:
        return world_item_read(a, r, w, kind == 0x03, e);
    default:
        return refuse(r, e, "a core type");
    }
}

/* The type section of the encoding holds (component (type (component <the world>)) (export ..)). */
static bool world_enter(reader *r, uint32_t *ret_count, err *e)
{
    uint8_t kind;
    uint32_t n;
    if (!reader_u32(r, &n, e) || !reader_u8(r, &kind, e) || n != 1 || kind != 0x41)
        return refuse(r, e, "an encoding that ebb does not know");
    if (!reader_u32(r, &n, e) || !reader_u8(r, &kind, e) || n != 2 || kind != 0x01)
        return refuse(r, e, "an encoding that ebb does not know");
    if (!reader_u8(r, &kind, e) || kind != 0x41)
        return refuse(r, e, "an encoding that ebb does not know");
    return reader_count(r, ITEMS_MAX, "declarations of the world", ret_count, e);
}

bool world_read(arena *a, bytes section, world *ret, err *e)
{
    static const uint8_t preamble[8] = {0, 'a', 's', 'm', 0x0d, 0, 1, 0};
    reader r = reader_over(section);
    *ret = (world){0};
    if (section.n < 8 || memcmp(section.p, preamble, 8) != 0)
        return reader_fail(&r, e, ERR_INVALID, "the component-type section is no component");
    reader_skip(&r, 8, e);
    while (!reader_done(&r)) {
        uint8_t id;
        uint32_t n;
        reader content;
        if (!reader_u8(&r, &id, e) || !reader_sized(&r, &content, e))
            return false;
        if (id != 7)
            continue;
        if (!world_enter(&content, &n, e))
            return false;
        for (uint32_t i = 0; i < n; i++)
            if (!world_decl(a, &content, ret, e))
                return false;
        return true;
    }
    return reader_fail(&r, e, ERR_INVALID, "the component-type section holds no world");
}
