/* Type definitions (Binary.md "Type Definitions").
 *
 * A value type becomes an interned descriptor plus a node that remembers through which nodes it
 * mentions its parts (ctype.h). Component and instance types are scopes of their own, read by the
 * same functions as components. */
#include "component/check.h"

enum { FIELDS_MAX = 10000, PARAMS_MAX = 1000, DECLS_MAX = 1000000 };

/* Binary.md "Type Definitions": primvaltype.
 * 0x7f..0x73 and 0x64, or -1. */
static int primitive_kind(uint8_t byte)
{
    if (byte >= 0x73 && byte <= 0x7f)
        return TYPE_BOOL + (0x7f - byte);
    return byte == 0x64 ? TYPE_ERROR_CONTEXT : -1;
}

/* Binary.md "Type Definitions": valtype. */
bool val_type_read(linker *l, reader *r, const scope *s, const type **ret, ctype **ret_node)
{
    int64_t i;
    ctype *t;
    *ret_node = NULL;
    if (!reader_done(r) && primitive_kind(*r->at) >= 0) {
        *ret = type_primitive((type_kind)primitive_kind(*r->at++));
        return true;
    }
    if (!reader_s33(r, &i, l->e))
        return false;
    if (i < 0)
        return link_fail(l, ERR_INVALID, "malformed value type");
    if (!scope_type_of(l, s, (uint32_t)i, CTYPE_VALUE, &t))
        return false;
    *ret = t->value;
    *ret_node = t;
    return true;
}

/* Binary.md "Type Definitions": <valtype>?. */
static bool optional_val_type(linker *l, reader *r, const scope *s, const type **ret,
                              ctype **ret_node)
{
    uint8_t has;
    *ret = NULL;
    *ret_node = NULL;
    if (!reader_u8(r, &has, l->e))
        return false;
    if (has > 1)
        return link_fail(l, ERR_INVALID, "malformed optional type 0x%02x", has);
    return !has || val_type_read(l, r, s, ret, ret_node);
}

/* Binary.md "Type Definitions": label'. */
static bool label_read(linker *l, reader *r, const char *what, table *keys, str *ret)
{
    const void **at;
    if (!reader_name(r, ret, l->e))
        return false;
    if (!label_valid(*ret))
        return link_fail(l, ERR_INVALID, "%s name '%.*s' is not in kebab case%s", what, STR(*ret),
                         ret->n ? "" : ": name cannot be empty");
    str key = label_key(l->a, *ret);
    if (!key.p)
        return link_oom(l);
    if (!link_table_at(l, keys, key, &at))
        return false;
    if (*at)
        return link_fail(l, ERR_INVALID, "%s name '%.*s' conflicts with previous name", what,
                         STR(*ret));
    *at = keys;
    return true;
}

static bool parts_new(linker *l, ctype *t, uint32_t n)
{
    t->parts_count = n;
    t->parts = ARENA_ARRAY(l->a, ctype *, n);
    return t->parts || link_oom(l);
}

/* Binary.md "Type Definitions": labelvaltype, case.
 * Fields of records, tuples, variants; labels of enums and flags. */
static bool fields_read(linker *l, reader *r, const scope *s, type *proto, ctype *t)
{
    static const char *const names[] = {[TYPE_RECORD] = "record field",
                                        [TYPE_VARIANT] = "variant case",
                                        [TYPE_ENUM] = "enum tag",
                                        [TYPE_FLAGS] = "flag",
                                        [TYPE_TUPLE] = "tuple"};
    uint32_t n;
    uint8_t zero;
    table keys = {0};
    bool has_types = proto->kind != TYPE_ENUM && proto->kind != TYPE_FLAGS;
    if (!reader_count(r, FIELDS_MAX, names[proto->kind], &n, l->e))
        return false;
    type_field *fields = ARENA_ARRAY(l->a, type_field, n);
    if (!fields)
        return link_oom(l);
    if (!parts_new(l, t, has_types ? n : 0))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        if (proto->kind != TYPE_TUPLE &&
            !label_read(l, r, names[proto->kind], &keys, &fields[i].name))
            return false;
        if (proto->kind == TYPE_VARIANT) {
            if (!optional_val_type(l, r, s, &fields[i].type, &t->parts[i]) ||
                !reader_u8(r, &zero, l->e))
                return false;
            if (zero)
                return link_fail(l, ERR_INVALID, "zero byte required after a case");
        } else if (has_types && !val_type_read(l, r, s, &fields[i].type, &t->parts[i])) {
            return false;
        }
    }
    proto->fields = fields;
    proto->fields_count = n;
    return true;
}

/* Binary.md "Type Definitions": result. */
static bool result_read(linker *l, reader *r, const scope *s, type *proto, ctype *t)
{
    type_field *fields = ARENA_ARRAY(l->a, type_field, 2);
    if (!fields)
        return link_oom(l);
    fields[0].name = S("ok");
    fields[1].name = S("error");
    proto->fields = fields;
    proto->fields_count = 2;
    return parts_new(l, t, 2) && optional_val_type(l, r, s, &fields[0].type, &t->parts[0]) &&
           optional_val_type(l, r, s, &fields[1].type, &t->parts[1]);
}

/* Binary.md "Type Definitions": map. */
static bool map_read(linker *l, reader *r, const scope *s, type *proto, ctype *t)
{
    type pair = {.kind = TYPE_TUPLE, .fields_count = 2, .is_map = true};
    type_field *fields = ARENA_ARRAY(l->a, type_field, 2);
    if (!fields)
        return link_oom(l);
    pair.fields = fields;
    if (!parts_new(l, t, 2) || !val_type_read(l, r, s, &fields[0].type, &t->parts[0]) ||
        !val_type_read(l, r, s, &fields[1].type, &t->parts[1]))
        return false;
    type_kind key = fields[0].type->kind;
    if (key > TYPE_STRING || key == TYPE_F32 || key == TYPE_F64)
        return link_fail(l, ERR_INVALID, "a map's key must be a boolean, integer, char or string");
    proto->kind = TYPE_LIST;
    proto->is_map = true;
    return type_intern(l, &pair, &proto->elem);
}

/* Binary.md "Type Definitions": own, borrow. */
static bool handle_read(linker *l, reader *r, const scope *s, type *proto, ctype *t)
{
    uint32_t i;
    if (!parts_new(l, t, 1) || !reader_u32(r, &i, l->e) ||
        !scope_type_of(l, s, i, CTYPE_RESOURCE, &t->parts[0]))
        return false;
    proto->resource = &t->parts[0]->resource->pub;
    return true;
}

/* Binary.md "Type Definitions": stream, future. */
static bool stream_check(linker *l, const type *proto)
{
    if (proto->elem && proto->elem->has_borrow)
        return link_fail(l, ERR_INVALID, "a stream or future cannot contain a `borrow` type");
    if (proto->kind == TYPE_STREAM && proto->elem && proto->elem->kind == TYPE_CHAR)
        return link_fail(l, ERR_INVALID, "`stream<char>` is not valid at this time");
    return true;
}

/* Binary.md "Type Definitions": defvaltype. */
static bool defined_read(linker *l, reader *r, const scope *s, uint8_t byte, ctype *t)
{
    type proto = {0};
    bool ok;
    if (primitive_kind(byte) >= 0) {
        t->value = type_primitive((type_kind)primitive_kind(byte));
        return true;
    }
    switch (byte) {
    case 0x72:
    case 0x71:
    case 0x6f:
    case 0x6e:
    case 0x6d:
        proto.kind = byte == 0x72   ? TYPE_RECORD
                     : byte == 0x71 ? TYPE_VARIANT
                     : byte == 0x6f ? TYPE_TUPLE
                     : byte == 0x6e ? TYPE_FLAGS
                                    : TYPE_ENUM;
        ok = fields_read(l, r, s, &proto, t);
        break;
    case 0x70:
    case 0x6b:
        proto.kind = byte == 0x70 ? TYPE_LIST : TYPE_OPTION;
        ok = parts_new(l, t, 1) && val_type_read(l, r, s, &proto.elem, &t->parts[0]);
        break;
    case 0x67:
        proto.kind = TYPE_LIST;
        ok = parts_new(l, t, 1) && val_type_read(l, r, s, &proto.elem, &t->parts[0]) &&
             reader_u32(r, &proto.length_fixed, l->e);
        if (ok && proto.length_fixed == 0)
            return link_fail(l, ERR_INVALID,
                             "a fixed-length list must have more than zero elements");
        break;
    case 0x6a:
        proto.kind = TYPE_RESULT;
        ok = result_read(l, r, s, &proto, t);
        break;
    case 0x69:
    case 0x68:
        proto.kind = byte == 0x69 ? TYPE_OWN : TYPE_BORROW;
        ok = handle_read(l, r, s, &proto, t);
        break;
    case 0x66:
    case 0x65:
        proto.kind = byte == 0x66 ? TYPE_STREAM : TYPE_FUTURE;
        ok = parts_new(l, t, 1) && optional_val_type(l, r, s, &proto.elem, &t->parts[0]) &&
             stream_check(l, &proto);
        break;
    case 0x63:
        ok = map_read(l, r, s, &proto, t);
        break;
    default:
        return link_fail(l, ERR_INVALID, "malformed type 0x%02x", byte);
    }
    return ok && type_intern(l, &proto, &t->value);
}

/* Binary.md "Type Definitions": functype. */
static bool func_read(linker *l, reader *r, const scope *s, bool async, ctype *t)
{
    functype proto = {.async = async};
    table keys = {0};
    uint8_t form;
    if (!reader_count(r, PARAMS_MAX, "parameters", &proto.params_count, l->e))
        return false;
    type_field *params = ARENA_ARRAY(l->a, type_field, proto.params_count);
    if (!params)
        return link_oom(l);
    if (!parts_new(l, t, proto.params_count + 1))
        return false;
    for (uint32_t i = 0; i < proto.params_count; i++)
        if (!label_read(l, r, "function parameter", &keys, &params[i].name) ||
            !val_type_read(l, r, s, &params[i].type, &t->parts[i]))
            return false;
    proto.params = params;
    if (!reader_u8(r, &form, l->e))
        return false;
    if (form == 0x00) {
        if (!val_type_read(l, r, s, &proto.result, &t->parts[proto.params_count]))
            return false;
        if (proto.result->has_borrow)
            return link_fail(l, ERR_INVALID, "function result cannot contain a `borrow` type");
    } else {
        uint8_t none;
        if (form != 0x01 || !reader_u8(r, &none, l->e) || none != 0)
            return link_fail(l, ERR_INVALID, "malformed function results");
    }
    return functype_intern(l, &proto, &t->func);
}

/* Binary.md "Type Definitions": resourcetype. */
static bool resource_read(linker *l, reader *r, scope *s, ctype *t)
{
    static const core_val i32 = CORE_I32;
    uint8_t rep, has_dtor;
    op o = {.kind = OP_RESOURCE, .index = UINT32_MAX};
    if (s->kind != SCOPE_COMPONENT)
        return link_fail(l, ERR_INVALID,
                         "resources can only be defined within a concrete component");
    if (!reader_u8(r, &rep, l->e) || !reader_u8(r, &has_dtor, l->e))
        return false;
    if (rep == CORE_I64)
        return link_fail(l, ERR_UNSUPPORTED,
                         "resources with `i64` need 64-bit memories (memory64), "
                         "which are not supported");
    if (rep != CORE_I32)
        return link_fail(l, ERR_INVALID, "resources can only be represented by `i32`");
    if (has_dtor > 1)
        return link_fail(l, ERR_INVALID, "malformed resource destructor");
    if (has_dtor) {
        const core_extern *f;
        if (!reader_u32(r, &o.index, l->e) || !scope_core(l, s, CORE_FUNC, o.index, &f))
            return false;
        if (!core_func_is(l, f->func, &i32, 1, NULL, 0))
            return link_fail(l, ERR_INVALID,
                             "core function %u has wrong signature for a destructor", o.index);
    }
    t->resource = rsrc_new(l, s, true);
    if (!t->resource)
        return false;
    t->resource->is_local = true;
    o.count = scope_slot(s, t->resource);
    if (!vec_push(l->a, &s->defined, t->resource))
        return link_oom(l);
    return scope_op(l, s, &o);
}

/* Binary.md "Type Definitions": componentdecl, instancedecl. */
static bool decl_read(linker *l, reader *r, scope *s)
{
    uint8_t kind;
    l->at = reader_offset(r);
    if (!reader_u8(r, &kind, l->e))
        return false;
    switch (kind) {
    case 0x00:
        return core_type_read(l, r, s);
    case 0x01:
        return type_read(l, r, s);
    case 0x02:
        return alias_read(l, r, s);
    case 0x03:
        if (s->kind == SCOPE_COMPONENT_TYPE)
            return import_read(l, r, s);
        break;
    case 0x04:
        return export_decl_read(l, r, s);
    }
    return link_fail(l, ERR_INVALID, "malformed declaration 0x%02x", kind);
}

/* Binary.md "Type Definitions": componenttype, instancetype.
 * Component and instance types. Recursion: at most COMPONENT_TYPE_DEPTH_MAX. */
static bool scope_type_read(linker *l, reader *r, scope *parent, ctype *t)
{
    uint32_t n;
    bool ok = true;
    scope *s = scope_new(l, t->kind == CTYPE_COMPONENT ? SCOPE_COMPONENT_TYPE : SCOPE_INSTANCE_TYPE,
                         parent);
    if (!s || !reader_count(r, DECLS_MAX, "declarations", &n, l->e))
        return false;
    if (l->depth >= COMPONENT_TYPE_DEPTH_MAX)
        return link_fail(l, ERR_LIMIT, "type nesting is too deep: more than %d",
                         COMPONENT_TYPE_DEPTH_MAX);
    l->depth++;
    for (uint32_t i = 0; ok && i < n; i++)
        ok = link_work(l, 1) && decl_read(l, r, s);
    l->depth--;
    return ok && scope_finish(l, s, &t->shape);
}

/* Binary.md "Type Definitions": deftype. */
bool type_read(linker *l, reader *r, scope *s)
{
    uint8_t byte;
    bool ok;
    if (!reader_u8(r, &byte, l->e))
        return false;
    ctype_kind kind = byte == 0x3f                   ? CTYPE_RESOURCE
                      : byte == 0x40 || byte == 0x43 ? CTYPE_FUNC
                      : byte == 0x41                 ? CTYPE_COMPONENT
                      : byte == 0x42                 ? CTYPE_INSTANCE
                                                     : CTYPE_VALUE;
    entity e = {.kind = SORT_TYPE, .type = ctype_new(l, kind)};
    if (!e.type)
        return false;
    switch (kind) {
    case CTYPE_RESOURCE:
        ok = resource_read(l, r, s, e.type);
        break;
    case CTYPE_FUNC:
        ok = func_read(l, r, s, byte == 0x43, e.type);
        break;
    case CTYPE_VALUE:
        ok = defined_read(l, r, s, byte, e.type);
        break;
    default:
        ok = scope_type_read(l, r, s, e.type);
    }
    return ok && ctype_finish(l, e.type) && scope_add(l, s, &e);
}

/* Binary.md "Type Definitions": core:alias.
 * A type's alias inside a module type: 0x10 0x01 count index; 0 is the module type itself. */
static bool module_alias(linker *l, reader *r, scope *s, core_types *types)
{
    uint8_t core_sort, target;
    uint32_t count, i;
    if (!reader_u8(r, &core_sort, l->e) || !reader_u8(r, &target, l->e) ||
        !reader_u32(r, &count, l->e) || !reader_u32(r, &i, l->e))
        return false;
    if (core_sort != 0x10 || target != 0x01)
        return link_fail(l, ERR_INVALID, "malformed alias in a module type");
    const module_type *m = NULL;
    uint32_t id = 0;
    if (count == 0) {
        if (i >= types->n)
            return link_fail(l, ERR_INVALID, "unknown type %u: type index out of bounds", i);
        id = types->p[i];
    } else {
        const scope *outer = scope_outer(l, s, count - 1);
        if (!outer || !scope_core_type(l, outer, i, &m, &id))
            return false;
    }
    if (m)
        return link_fail(l, ERR_INVALID, "a module type cannot alias a module type");
    return vec_push(l->a, types, id) || link_oom(l);
}

/* Binary.md "Type Definitions": core:moduledecl. */
static bool module_decl(linker *l, reader *r, scope *s, core_types *types, module_type *m)
{
    uint8_t kind;
    str module, name;
    core_extern x;
    l->at = reader_offset(r);
    if (!reader_u8(r, &kind, l->e))
        return false;
    switch (kind) {
    case 0x00:
        return reader_name(r, &module, l->e) && reader_name(r, &name, l->e) &&
               core_extern_read(l, r, types, &x) && module_import_add(l, m, module, name, x);
    case 0x01:
        return core_rectype_read(l, r, types);
    case 0x02:
        return module_alias(l, r, s, types);
    case 0x03:
        return reader_name(r, &name, l->e) && core_extern_read(l, r, types, &x) &&
               core_export_add(l, &m->exports, name, x);
    default:
        return link_fail(l, ERR_INVALID, "malformed module type declaration 0x%02x", kind);
    }
}

/* Binary.md "Type Definitions": core:moduletype. */
static bool module_type_decls(linker *l, reader *r, scope *s)
{
    core_types types = {0};
    module_type *m = ARENA_NEW(l->a, module_type);
    uint32_t n;
    if (!m)
        return link_oom(l);
    if (!reader_count(r, DECLS_MAX, "declarations", &n, l->e))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!link_work(l, 1) || !module_decl(l, r, s, &types, m))
            return false;
    return scope_core_type_add(l, s, m, CORE_NO_TYPE);
}

/* Binary.md "Type Definitions": core:type.
 * core:deftype: a module type (0x50), a non-final subtype (0x00 0x50) or a recursion group. */
bool core_type_read(linker *l, reader *r, scope *s)
{
    if (reader_left(r) >= 1 && r->at[0] == 0x50) {
        r->at++;
        return module_type_decls(l, r, s);
    }
    bool sub = reader_left(r) >= 2 && r->at[0] == 0x00 && r->at[1] == 0x50;
    if (sub)
        r->at++;
    if (!(sub ? core_subtype_read(l, r, &s->core_types) : core_rectype_read(l, r, &s->core_types)))
        return false;
    while (s->module_types.n < s->core_types.n)
        if (!vec_push(l->a, &s->module_types, NULL))
            return link_oom(l);
    return s->core_types.n <= COMPONENT_ITEMS_MAX ||
           link_fail(l, ERR_LIMIT, "more than %d core types", COMPONENT_ITEMS_MAX);
}
