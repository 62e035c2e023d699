/* Value types and what the Canonical ABI derives from them.
 *
 * Descriptors form a DAG, built bottom-up: type_finish computes everything that the ABI needs of a
 * type from its direct parts (CanonicalABI.md "Despecialization", "Alignment", "Element Size",
 * "Flattening"), so that no later step walks a tree that sharing could make exponentially large:
 *
 *     tuple<a, a> where a = tuple<b, b> where b = ...     100 deep, 2^100 leaves: `nodes` forbids
 * it
 *
 * Only the first 16 core types are kept (`flat`): a function with more passes a pointer instead.
 * Sizes are those of 32-bit memories; the ones of 64-bit memories are kept beside them because
 * validation limits a type by the larger.
 *
 * Versions follow what hosts of the ecosystem do: an interface matches on the same track (same
 * major version; for 0.y the same y), pre-releases and 0.0.z only exactly. */
#include "component/type.h"

#include "base/buf.h"
#include "base/limits.h"
#include "base/must.h"

enum { TYPE_BYTES_MAX = 1 << 28, TYPE_NODES_MAX = 1000000, TYPE_TEXT_MAX = 4000 };

#define PRIMITIVE(k, bytes, core)                                                                  \
    [k] = {.kind = k,                                                                              \
           .size = bytes,                                                                          \
           .align = bytes,                                                                         \
           .size_i64 = bytes,                                                                      \
           .align_i64 = bytes,                                                                     \
           .flat_count = 1,                                                                        \
           .flat = {core},                                                                         \
           .nodes = 1}

const type *type_primitive(type_kind kind)
{
    static const type types[] = {
        PRIMITIVE(TYPE_BOOL, 1, CORE_I32),
        PRIMITIVE(TYPE_S8, 1, CORE_I32),
        PRIMITIVE(TYPE_U8, 1, CORE_I32),
        PRIMITIVE(TYPE_S16, 2, CORE_I32),
        PRIMITIVE(TYPE_U16, 2, CORE_I32),
        PRIMITIVE(TYPE_S32, 4, CORE_I32),
        PRIMITIVE(TYPE_U32, 4, CORE_I32),
        PRIMITIVE(TYPE_S64, 8, CORE_I64),
        PRIMITIVE(TYPE_U64, 8, CORE_I64),
        PRIMITIVE(TYPE_F32, 4, CORE_F32),
        PRIMITIVE(TYPE_F64, 8, CORE_F64),
        PRIMITIVE(TYPE_CHAR, 4, CORE_I32),
        [TYPE_STRING] = {.kind = TYPE_STRING,
                         .size = 8,
                         .align = 4,
                         .size_i64 = 16,
                         .align_i64 = 8,
                         .flat_count = 2,
                         .flat = {CORE_I32, CORE_I32},
                         .nodes = 1,
                         .has_pointer = true},
        PRIMITIVE(TYPE_ERROR_CONTEXT, 4, CORE_I32),
    };
    must((kind >= TYPE_BOOL && kind <= TYPE_STRING) || kind == TYPE_ERROR_CONTEXT);
    return &types[kind];
}

static uint64_t align_to(uint64_t v, uint64_t align) { return (v + align - 1) / align * align; }

static uint32_t max_u32(uint32_t a, uint32_t b) { return a > b ? a : b; }

/* CanonicalABI.md "Flattening": join. */
static core_type core_join(core_type a, core_type b)
{
    if (a == b)
        return a;
    if ((a == CORE_I32 && b == CORE_F32) || (a == CORE_F32 && b == CORE_I32))
        return CORE_I32;
    return CORE_I64;
}

/* Takes over from a part what holds for the whole. */
static bool part_add(type *t, const type *part, err *e)
{
    uint64_t nodes = t->nodes + (uint64_t)part->nodes;
    if (nodes > TYPE_NODES_MAX)
        return err_set(e, ERR_LIMIT, "effective type size exceeds the limit of %d", TYPE_NODES_MAX);
    t->nodes = (uint32_t)nodes;
    t->depth = max_u32(t->depth, part->depth + 1);
    if (t->depth > COMPONENT_TYPE_DEPTH_MAX)
        return err_set(e, ERR_LIMIT, "type nesting is too deep: more than %d",
                       COMPONENT_TYPE_DEPTH_MAX);
    t->has_pointer |= part->has_pointer;
    t->has_resource |= part->has_resource;
    t->has_borrow |= part->has_borrow;
    return true;
}

/* CanonicalABI.md "Flattening". */
static void flat_append(type *t, const type *part)
{
    for (uint32_t i = 0; i < part->flat_count && i < ABI_FLAT_PARAMS_MAX; i++)
        if (t->flat_count + i < ABI_FLAT_PARAMS_MAX)
            t->flat[t->flat_count + i] = part->flat[i];
    t->flat_count += part->flat_count;
}

/* CanonicalABI.md "Element Size": the maximum.
 * The pair that a map despecializes to is no type of its own: only the map is limited. */
static bool size_check(const type *t, uint64_t size, err *e)
{
    return size < TYPE_BYTES_MAX || t->is_map ||
           err_set(e, ERR_INVALID,
                   "type exceeds maximum byte size: %llu bytes, less than %d allowed",
                   (unsigned long long)size, TYPE_BYTES_MAX);
}

/* CanonicalABI.md "Alignment", "Element Size": record.
 * elem_size_record, alignment_record, flatten_record */
static bool finish_record(type *t, err *e)
{
    uint64_t size = 0, size_i64 = 0;
    t->align = t->align_i64 = 1;
    for (uint32_t i = 0; i < t->fields_count; i++) {
        const type *f = t->fields[i].type;
        if (!part_add(t, f, e))
            return false;
        size = align_to(size, f->align) + f->size;
        size_i64 = align_to(size_i64, f->align_i64) + f->size_i64;
        if (!size_check(t, size_i64, e))
            return false;
        t->align = max_u32(t->align, f->align);
        t->align_i64 = max_u32(t->align_i64, f->align_i64);
        flat_append(t, f);
    }
    t->size = (uint32_t)align_to(size, t->align);
    size_i64 = align_to(size_i64, t->align_i64);
    t->size_i64 = (uint32_t)size_i64;
    return size_check(t, size_i64, e);
}

/* CanonicalABI.md "Alignment": discriminant_type. */
static uint32_t discriminant_size(uint32_t cases)
{
    return cases <= 1u << 8 ? 1 : cases <= 1u << 16 ? 2 : 4;
}

uint32_t type_discriminant_size(const type *t)
{
    switch (t->kind) {
    case TYPE_OPTION:
    case TYPE_RESULT:
        return 1;
    case TYPE_VARIANT:
    case TYPE_ENUM:
        return discriminant_size(t->fields_count);
    default:
        return 0;
    }
}

typedef struct {
    uint32_t align, size, align_i64, size_i64;
} payload;

static bool case_add(type *t, payload *p, const type *c, err *e)
{
    if (!c)
        return true;
    if (!part_add(t, c, e))
        return false;
    p->align = max_u32(p->align, c->align);
    p->size = max_u32(p->size, c->size);
    p->align_i64 = max_u32(p->align_i64, c->align_i64);
    p->size_i64 = max_u32(p->size_i64, c->size_i64);
    for (uint32_t i = 0; i < c->flat_count && i + 1 < ABI_FLAT_PARAMS_MAX; i++)
        t->flat[i + 1] = t->flat[i + 1]
                             ? (uint8_t)core_join((core_type)t->flat[i + 1], (core_type)c->flat[i])
                             : c->flat[i];
    t->flat_count = max_u32(t->flat_count, c->flat_count + 1);
    return true;
}

/* CanonicalABI.md "Alignment", "Element Size", "Flattening": variant.
 * elem_size_variant, alignment_variant, flatten_variant; `elem` is the payload of an option */
static bool finish_variant(type *t, err *e)
{
    uint32_t tag = type_discriminant_size(t);
    payload p = {1, 0, 1, 0};
    t->flat_count = 1;
    t->flat[0] = CORE_I32;
    for (uint32_t i = 0; i < t->fields_count; i++)
        if (!case_add(t, &p, t->fields[i].type, e))
            return false;
    if (!case_add(t, &p, t->elem, e))
        return false;
    t->payload_at = (uint32_t)align_to(tag, p.align);
    t->align = max_u32(tag, p.align);
    t->align_i64 = max_u32(tag, p.align_i64);
    uint64_t size_i64 = align_to(align_to(tag, p.align_i64) + p.size_i64, t->align_i64);
    if (!size_check(t, size_i64, e))
        return false;
    t->size = (uint32_t)align_to((uint64_t)t->payload_at + p.size, t->align);
    t->size_i64 = (uint32_t)size_i64;
    return true;
}

/* CanonicalABI.md "Alignment", "Element Size": list. */
static bool finish_list(type *t, err *e)
{
    if (!part_add(t, t->elem, e))
        return false;
    if (!t->length_fixed) {
        t->size = 8;
        t->align = 4;
        t->size_i64 = 16;
        t->align_i64 = 8;
        t->flat_count = 2;
        t->flat[0] = t->flat[1] = CORE_I32;
        t->has_pointer = true;
        return true;
    }
    uint64_t size_i64 = (uint64_t)t->length_fixed * t->elem->size_i64;
    if (!size_check(t, size_i64, e))
        return false;
    t->size = t->length_fixed * t->elem->size;
    t->align = t->elem->align;
    t->size_i64 = (uint32_t)size_i64;
    t->align_i64 = t->elem->align_i64;
    for (uint32_t i = 0; i < t->length_fixed && t->flat_count < ABI_FLAT_PARAMS_MAX; i++)
        flat_append(t, t->elem);
    t->flat_count = t->length_fixed * t->elem->flat_count; /* <= size: no overflow */
    return true;
}

/* CanonicalABI.md "Alignment", "Element Size": flags. */
static bool finish_flags(type *t, err *e)
{
    if (t->fields_count == 0 || t->fields_count > 32)
        return err_set(e, ERR_INVALID, "flags must have 1 to 32 labels, not %u", t->fields_count);
    t->size = t->fields_count <= 8 ? 1 : t->fields_count <= 16 ? 2 : 4;
    t->align = t->align_i64 = t->size_i64 = t->size;
    t->flat_count = 1;
    t->flat[0] = CORE_I32;
    return true;
}

static bool finish_handle(type *t, err *e)
{
    t->size = t->align = t->size_i64 = t->align_i64 = 4;
    t->flat_count = 1;
    t->flat[0] = CORE_I32;
    t->has_resource |= t->resource != NULL;
    t->has_borrow |= t->kind == TYPE_BORROW;
    if (!t->elem) /* own, borrow, or a stream or future of nothing */
        return true;
    if (!part_add(t, t->elem, e))
        return false;
    t->has_pointer = false; /* the elements do not travel with the handle */
    return true;
}

bool type_finish(type *t, err *e)
{
    t->nodes = 1;
    t->depth = t->flat_count = 0;
    memset(t->flat, 0, sizeof t->flat);
    switch (t->kind) {
    case TYPE_RECORD:
    case TYPE_TUPLE:
        if (t->fields_count == 0)
            return err_set(e, ERR_INVALID, "a record or tuple must have at least one field");
        return finish_record(t, e);
    case TYPE_VARIANT:
    case TYPE_ENUM:
        if (t->fields_count == 0)
            return err_set(e, ERR_INVALID, "a variant or enum must have at least one case");
        return finish_variant(t, e);
    case TYPE_OPTION:
    case TYPE_RESULT:
        return finish_variant(t, e);
    case TYPE_LIST:
        return finish_list(t, e);
    case TYPE_FLAGS:
        return finish_flags(t, e);
    case TYPE_OWN:
    case TYPE_BORROW:
    case TYPE_STREAM:
    case TYPE_FUTURE:
        return finish_handle(t, e);
    default:
        *t = *type_primitive(t->kind);
        return true;
    }
}

/* CanonicalABI.md "Flattening": flatten_type. */
uint32_t type_flatten(const type *t, core_type *ret, uint32_t max)
{
    must(max <= ABI_FLAT_PARAMS_MAX);
    for (uint32_t i = 0; i < t->flat_count && i < max; i++)
        ret[i] = (core_type)t->flat[i];
    return t->flat_count;
}

/* CanonicalABI.md "Loading": load_record. */
uint32_t type_field_offset(const type *t, uint32_t i)
{
    uint64_t at = 0;
    must(i < t->fields_count);
    for (uint32_t k = 0; k < i; k++)
        at = align_to(at, t->fields[k].type->align) + t->fields[k].type->size;
    return (uint32_t)align_to(at, t->fields[i].type->align);
}

/* CanonicalABI.md "Flattening": flatten_functype. An async lower passes at most 4 parameters flat
 * and any result through memory; an async lift hands its result to task.return. */
void functype_signature(const functype *f, bool is_lift, bool async, bool callback,
                        core_signature *ret)
{
    uint32_t params_max = async && !is_lift ? ABI_FLAT_ASYNC_PARAMS_MAX : ABI_FLAT_PARAMS_MAX;
    uint64_t count = 0;
    *ret = (core_signature){0};
    for (uint32_t i = 0; i < f->params_count; i++) {
        const type *t = f->params[i].type;
        for (uint32_t k = 0; k < t->flat_count && count + k < params_max; k++)
            ret->params[count + k] = (core_type)t->flat[k];
        count += t->flat_count;
    }
    ret->params_spilled = count > params_max;
    if (ret->params_spilled)
        ret->params[0] = CORE_I32;
    ret->params_count = ret->params_spilled ? 1 : (uint32_t)count;

    uint32_t flat = f->result ? f->result->flat_count : 0;
    if (async) {
        ret->results_spilled = !is_lift && flat > 0;
        ret->results_count = !is_lift || callback;
        ret->results[0] = CORE_I32;
    } else {
        ret->results_spilled = flat > ABI_FLAT_RESULTS_MAX;
        ret->results_count = ret->results_spilled ? is_lift : flat;
        ret->results[0] = flat == 1 ? (core_type)f->result->flat[0] : CORE_I32;
    }
    if (ret->results_spilled && !is_lift)
        ret->params[ret->params_count++] = CORE_I32;
}

void functype_lower_signature(const functype *f, core_signature *ret)
{
    functype_signature(f, false, false, false, ret);
}

static bool resource_equal(const resource_type *a, const resource_type *b)
{
    if (a == b || !a || !b)
        return a == b;
    return a->interface.n > 0 && str_eq(a->name, b->name) &&
           interface_compatible(a->interface, b->interface);
}

/* Bounded by COMPONENT_TYPE_DEPTH_MAX and TYPE_NODES_MAX. */
bool type_equal(const type *a, const type *b)
{
    if (a == b || !a || !b)
        return a == b;
    if (a->kind != b->kind || a->fields_count != b->fields_count ||
        a->length_fixed != b->length_fixed || a->is_map != b->is_map || a->nodes != b->nodes)
        return false;
    for (uint32_t i = 0; i < a->fields_count; i++)
        if (!str_eq(a->fields[i].name, b->fields[i].name) ||
            !type_equal(a->fields[i].type, b->fields[i].type))
            return false;
    return type_equal(a->elem, b->elem) && resource_equal(a->resource, b->resource);
}

bool functype_equal(const functype *a, const functype *b)
{
    if (a == b)
        return true;
    if (a->params_count != b->params_count || a->async != b->async)
        return false;
    for (uint32_t i = 0; i < a->params_count; i++)
        if (!str_eq(a->params[i].name, b->params[i].name) ||
            !type_equal(a->params[i].type, b->params[i].type))
            return false;
    return type_equal(a->result, b->result);
}

static void text_type(buf *b, const type *t);

/* " { a: u32, b }" for records, "<a, b>" for tuples. */
static void text_fields(buf *b, const type *t, const char *open, const char *close)
{
    buf_put_str(b, str_from(open));
    for (uint32_t i = 0; i < t->fields_count && !b->failed; i++) {
        const type_field *f = &t->fields[i];
        if (i)
            buf_put_str(b, S(", "));
        buf_put_str(b, f->name);
        if (!f->type)
            continue;
        buf_put_str(b, t->kind == TYPE_RECORD ? S(": ") : t->kind == TYPE_TUPLE ? S("") : S("("));
        text_type(b, f->type);
        buf_put_str(b, t->kind == TYPE_VARIANT ? S(")") : S(""));
    }
    buf_put_str(b, str_from(close));
}

static void text_result(buf *b, const type *t)
{
    const type *ok = t->fields[0].type, *error = t->fields[1].type;
    buf_put_str(b, S("result"));
    if (!ok && !error)
        return;
    buf_put_str(b, S("<"));
    if (ok)
        text_type(b, ok);
    else
        buf_put_str(b, S("_"));
    if (error) {
        buf_put_str(b, S(", "));
        text_type(b, error);
    }
    buf_put_str(b, S(">"));
}

static void text_elem(buf *b, const type *t, const char *name)
{
    buf_put_str(b, str_from(name));
    if (!t->elem)
        return;
    buf_put_str(b, S("<"));
    text_type(b, t->elem);
    if (t->length_fixed)
        buf_printf(b, ", %u", t->length_fixed);
    buf_put_str(b, S(">"));
}

static void text_type(buf *b, const type *t)
{
    static const char *const names[] = {
        [TYPE_BOOL] = "bool",     [TYPE_S8] = "s8",
        [TYPE_U8] = "u8",         [TYPE_S16] = "s16",
        [TYPE_U16] = "u16",       [TYPE_S32] = "s32",
        [TYPE_U32] = "u32",       [TYPE_S64] = "s64",
        [TYPE_U64] = "u64",       [TYPE_F32] = "f32",
        [TYPE_F64] = "f64",       [TYPE_CHAR] = "char",
        [TYPE_STRING] = "string", [TYPE_ERROR_CONTEXT] = "error-context",
        [TYPE_OPTION] = "option", [TYPE_STREAM] = "stream",
        [TYPE_FUTURE] = "future", [TYPE_LIST] = "list",
    };
    if (b->failed)
        return;
    switch (t->kind) {
    case TYPE_RECORD:
        return text_fields(b, t, "record { ", " }");
    case TYPE_VARIANT:
        return text_fields(b, t, "variant { ", " }");
    case TYPE_ENUM:
        return text_fields(b, t, "enum { ", " }");
    case TYPE_FLAGS:
        return text_fields(b, t, "flags { ", " }");
    case TYPE_TUPLE:
        return text_fields(b, t, "tuple<", ">");
    case TYPE_RESULT:
        return text_result(b, t);
    case TYPE_OWN:
    case TYPE_BORROW:
        buf_put_str(b, t->kind == TYPE_OWN ? S("own<") : S("borrow<"));
        buf_put_str(b, t->resource->name.n ? t->resource->name : S("_"));
        buf_put_str(b, S(">"));
        return;
    case TYPE_LIST:
        if (t->is_map)
            return text_fields(b, t->elem, "map<", ">");
        return text_elem(b, t, "list");
    default:
        return text_elem(b, t, names[t->kind]);
    }
}

static str text_take(arena *a, buf *b)
{
    if (b->failed && b->cap >= 3) {
        b->n = b->n < b->cap - 3 ? b->n : b->cap - 3;
        memcpy(b->p + b->n, "...", 3);
        b->n += 3;
    }
    str s = arena_str(a, buf_str(b));
    buf_fini(b);
    return s;
}

str type_text(arena *a, const type *t)
{
    buf b;
    buf_init(&b, TYPE_TEXT_MAX);
    text_type(&b, t);
    return text_take(a, &b);
}

str functype_text(arena *a, const functype *f)
{
    buf b;
    buf_init(&b, TYPE_TEXT_MAX);
    buf_put_str(&b, f->async ? S("async func(") : S("func("));
    for (uint32_t i = 0; i < f->params_count && !b.failed; i++) {
        if (i)
            buf_put_str(&b, S(", "));
        buf_put_str(&b, f->params[i].name);
        buf_put_str(&b, S(": "));
        text_type(&b, f->params[i].type);
    }
    buf_put_str(&b, S(")"));
    if (f->result) {
        buf_put_str(&b, S(" -> "));
        text_type(&b, f->result);
    }
    return text_take(a, &b);
}

interface_name interface_name_parse(str text)
{
    size_t at = str_find(text, '@');
    return (interface_name){str_head(text, at), str_skip(text, at + 1)};
}

/* True for "major.minor.patch" without a pre-release; build metadata is ignored. */
static bool version_parse(str v, uint64_t ret[3])
{
    str rest = str_head(v, str_find(v, '+'));
    for (int i = 0; i < 3; i++)
        if (!str_to_u64(str_cut(&rest, '.'), UINT32_MAX, &ret[i]) || (i < 2) != (rest.p != NULL))
            return false;
    return true;
}

/* WASI's last candidate of 2023 is in the track of what became of it: nearly all of it is the same,
 * and types are compared function by function. */
static interface_name released(interface_name n)
{
    if (str_starts(n.path, S("wasi:")) && str_eq(n.version, S("0.2.0-rc-2023-11-10")))
        n.version = S("0.2.0");
    return n;
}

bool interface_compatible(str have, str want)
{
    interface_name h = released(interface_name_parse(have)),
                   w = released(interface_name_parse(want));
    uint64_t hv[3], wv[3];
    if (!str_eq(h.path, w.path))
        return false;
    if (str_eq(h.version, w.version))
        return true;
    if (!version_parse(h.version, hv) || !version_parse(w.version, wv) || hv[0] != wv[0])
        return false;
    return hv[0] > 0 || (hv[1] == wv[1] && hv[1] > 0);
}
