/* The binary form of a plan. Little-endian, no alignment; lengths come before what they count.
 *
 *     "ebbp" | version u32 | resources | types | units | imports | exports
 *     string:    length u32, bytes
 *     type:      kind u8, fields (name, type + 1), elem + 1, fixed length, map u8, resource + 1
 *                a type mentions only types before it, so that what is read is a finite tree
 *     functype:  params (name, type), result + 1, async u8
 *
 * Core signatures, sizes and offsets are not stored but derived again from the types: there is one
 * truth. The reader checks every index against what it has read, that an option which a type needs
 * (a memory for strings, a realloc for lists that are handed to the guest) is there, and that
 * nothing follows. */
#include "component/plan.h"

#include "base/limits.h"
#include "component/reader.h"
#include "component/table.h"

enum { PLAN_MAGIC = 0x70626265, PLAN_TYPES_MAX = 100000 };

/* --- writing ---------------------------------------------------------------------------------- */

typedef struct {
    buf *out;
    arena a;
    table seen; /* type -> uintptr_t index + 1 */
    VEC(const type *) types;
    bool failed;
} writer;

static void put_u32(writer *w, uint32_t v)
{
    uint8_t b[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
    buf_put(w->out, b, 4);
}

static void put_u64(writer *w, uint64_t v)
{
    put_u32(w, (uint32_t)v);
    put_u32(w, (uint32_t)(v >> 32));
}

static void put_str(writer *w, str s)
{
    put_u32(w, (uint32_t)s.n);
    buf_put(w->out, s.p, s.n);
}

/* Numbers t and what it is made of, parts first. Depth is bounded by COMPONENT_TYPE_DEPTH_MAX. */
static void collect(writer *w, const type *t)
{
    uint64_t steps = 0;
    if (!t || w->failed || table_get_pointer(&w->seen, t, &steps))
        return;
    for (uint32_t i = 0; i < t->fields_count; i++)
        collect(w, t->fields[i].type);
    collect(w, t->elem);
    const void **at;
    if (!table_at_pointer(&w->a, &w->seen, t, &steps, &at) || !vec_push(&w->a, &w->types, t)) {
        w->failed = true;
        return;
    }
    *at = (const void *)(uintptr_t)w->types.n;
}

static void collect_func(writer *w, const functype *f)
{
    if (!f)
        return;
    for (uint32_t i = 0; i < f->params_count; i++)
        collect(w, f->params[i].type);
    collect(w, f->result);
}

static uint32_t number(writer *w, const type *t)
{
    uint64_t steps = 0;
    return t ? (uint32_t)(uintptr_t)table_get_pointer(&w->seen, t, &steps) : 0;
}

static void put_type(writer *w, const type *t)
{
    buf_put_u8(w->out, (uint8_t)t->kind);
    put_u32(w, t->fields_count);
    for (uint32_t i = 0; i < t->fields_count; i++) {
        put_str(w, t->fields[i].name);
        put_u32(w, number(w, t->fields[i].type));
    }
    put_u32(w, number(w, t->elem));
    put_u32(w, t->length_fixed);
    buf_put_u8(w->out, t->is_map);
    put_u32(w, t->resource ? t->resource->index + 1 : 0);
}

static void put_func(writer *w, const functype *f)
{
    buf_put_u8(w->out, f != NULL);
    if (!f)
        return;
    put_u32(w, f->params_count);
    for (uint32_t i = 0; i < f->params_count; i++) {
        put_str(w, f->params[i].name);
        put_u32(w, number(w, f->params[i].type));
    }
    put_u32(w, number(w, f->result));
    buf_put_u8(w->out, f->async);
}

static void put_options(writer *w, const plan_options *o)
{
    buf_put_u8(w->out, (uint8_t)o->encoding);
    put_u32(w, (uint32_t)o->memory + 1);
    put_u32(w, (uint32_t)o->realloc + 1);
    buf_put_u8(w->out, o->async);
}

static void put_signature(writer *w, const core_signature *s)
{
    put_u32(w, s->params_count);
    for (uint32_t i = 0; i < s->params_count; i++)
        buf_put_u8(w->out, (uint8_t)s->params[i]);
    put_u32(w, s->results_count);
    for (uint32_t i = 0; i < s->results_count; i++)
        buf_put_u8(w->out, (uint8_t)s->results[i]);
}

static void put_import(writer *w, const plan_import *im)
{
    buf_put_u8(w->out, (uint8_t)im->kind);
    put_str(w, im->interface);
    put_str(w, im->name);
    put_func(w, im->type);
    put_u32(w, number(w, im->element));
    put_options(w, &im->options);
    put_u32(w, im->unit);
    put_u32(w, im->lift);
    put_u32(w, im->resource);
    put_signature(w, &im->signature);
}

static void put_lift(writer *w, const plan_lift *l)
{
    put_func(w, l->type);
    put_options(w, &l->options);
    buf_put_u8(w->out, (uint8_t)(l->has_post_return | l->has_callback << 1));
    put_signature(w, &l->signature);
    put_str(w, l->label);
}

static void put_unit(writer *w, const plan_unit *u)
{
    put_str(w, u->label);
    put_u32(w, u->parent);
    put_u32(w, u->imports_count);
    for (uint32_t i = 0; i < u->imports_count; i++)
        put_import(w, &u->imports[i]);
    put_u32(w, u->lifts_count);
    for (uint32_t i = 0; i < u->lifts_count; i++)
        put_lift(w, &u->lifts[i]);
    put_u32(w, u->memories_count);
    put_u32(w, u->reallocs_count);
    put_u32(w, u->globals_count);
    put_u32(w, u->tables_count);
    put_u32(w, u->sized_memories);
    buf_put_u8(w->out, (uint8_t)(u->has_start | u->mutates_tables << 1 | u->passive_segments << 2 |
                                 u->start_segments << 3 | (u->withheld != 0) << 4));
    if (u->withheld)
        buf_put_u8(w->out, (uint8_t)u->withheld);
    put_u64(w, u->memory_bytes_min);
    put_u64(w, u->memory_bytes_max);
    put_u32(w, u->core_modules);
    put_u32(w, u->core_functions);
    put_u32(w, u->shims_removed);
    put_u32(w, u->segments_merged);
    put_u32(w, u->constants_folded);
    put_u64(w, u->module_bytes);
    put_u64(w, u->module_bytes_before);
}

static void put_name(writer *w, const plan_name *n)
{
    put_str(w, n->interface);
    put_str(w, n->name);
    put_func(w, n->type);
    put_u32(w, n->unit);
    put_u32(w, n->lift);
}

static void collect_all(writer *w, const plan *p)
{
    for (uint32_t k = 0; k < p->units_count; k++) {
        for (uint32_t i = 0; i < p->units[k].imports_count; i++) {
            collect_func(w, p->units[k].imports[i].type);
            collect(w, p->units[k].imports[i].element);
        }
        for (uint32_t i = 0; i < p->units[k].lifts_count; i++)
            collect_func(w, p->units[k].lifts[i].type);
    }
    for (uint32_t i = 0; i < p->imports_count; i++)
        collect_func(w, p->imports[i].type);
    for (uint32_t i = 0; i < p->exports_count; i++)
        collect_func(w, p->exports[i].type);
}

bool plan_encode(const plan *p, buf *out, err *e)
{
    writer w = {.out = out};
    arena_init(&w.a, 64 * MIB);
    collect_all(&w, p);
    put_u32(&w, PLAN_MAGIC);
    put_u32(&w, PLAN_VERSION);
    put_u32(&w, p->resources_count);
    for (uint32_t i = 0; i < p->resources_count; i++) {
        const plan_resource *r = &p->resources[i];
        put_str(&w, r->interface);
        put_str(&w, r->name);
        buf_put_u8(out, (uint8_t)(r->imported | r->has_dtor << 1));
        put_u32(&w, r->unit);
    }
    put_u32(&w, w.types.n);
    for (uint32_t i = 0; i < w.types.n && !w.failed; i++)
        put_type(&w, w.types.p[i]);
    put_u32(&w, p->units_count);
    for (uint32_t i = 0; i < p->units_count; i++)
        put_unit(&w, &p->units[i]);
    put_u32(&w, p->imports_count);
    for (uint32_t i = 0; i < p->imports_count; i++)
        put_name(&w, &p->imports[i]);
    put_u32(&w, p->exports_count);
    for (uint32_t i = 0; i < p->exports_count; i++)
        put_name(&w, &p->exports[i]);
    bool ok = !w.failed && !out->failed;
    arena_fini(&w.a);
    return ok ? true : err_no_memory(e);
}

/* --- reading ---------------------------------------------------------------------------------- */

typedef struct {
    arena *a;
    reader r;
    err *e;
    plan *p;
    const resource_type *resources;
    const type **types;
    uint32_t types_count;
} loader;

static bool bad(loader *l, const char *what)
{
    return reader_fail(&l->r, l->e, ERR_INVALID, "plan: %s", what);
}

static bool get_u32(loader *l, uint32_t *ret) { return reader_fixed_u32(&l->r, ret, l->e); }

static bool get_u64(loader *l, uint64_t *ret)
{
    uint32_t low, high;
    if (!get_u32(l, &low) || !get_u32(l, &high))
        return false;
    *ret = (uint64_t)high << 32 | low;
    return true;
}

/* A count of items that take at least min bytes each. */
static bool get_count(loader *l, uint32_t max, size_t min, uint32_t *ret)
{
    uint32_t n;
    if (!get_u32(l, &n))
        return false;
    if (n > max || n > reader_left(&l->r) / min)
        return bad(l, "a count is too large");
    *ret = n;
    return true;
}

static bool get_str(loader *l, str *ret)
{
    uint32_t n;
    bytes b;
    if (!get_u32(l, &n) || !reader_bytes(&l->r, n, &b, l->e))
        return false;
    if (!str_is_utf8((str){(const char *)b.p, b.n}))
        return bad(l, "a name is not UTF-8");
    *ret = arena_str(l->a, (str){(const char *)b.p, b.n});
    return ret->p ? true : err_no_memory(l->e);
}

static bool get_flag(loader *l, uint8_t max, uint8_t *ret)
{
    if (!reader_u8(&l->r, ret, l->e))
        return false;
    return *ret <= max ? true : bad(l, "a flag is out of range");
}

/* A type by number + 1; 0 is NULL where that is allowed. */
static bool get_type_ref(loader *l, bool optional, const type **ret)
{
    uint32_t n;
    if (!get_u32(l, &n))
        return false;
    if (n > l->types_count || (!n && !optional))
        return bad(l, "a type is out of range");
    *ret = n ? l->types[n - 1] : NULL;
    return true;
}

/* Do the parts fit the kind? */
static bool type_shape_ok(const type *t)
{
    bool all_typed = true, none_typed = true;
    for (uint32_t i = 0; i < t->fields_count; i++) {
        all_typed &= t->fields[i].type != NULL;
        none_typed &= t->fields[i].type == NULL;
    }
    bool has_resource = t->kind == TYPE_OWN || t->kind == TYPE_BORROW;
    if ((t->resource != NULL) != has_resource || (t->length_fixed && t->kind != TYPE_LIST))
        return false;
    bool is_pair = t->kind == TYPE_TUPLE && t->fields_count == 2;
    bool is_pairs = t->kind == TYPE_LIST && t->elem && t->elem->kind == TYPE_TUPLE &&
                    t->elem->fields_count == 2;
    if (t->is_map && !is_pair && !is_pairs)
        return false;
    switch (t->kind) {
    case TYPE_RECORD:
    case TYPE_TUPLE:
        return t->fields_count > 0 && all_typed && !t->elem;
    case TYPE_VARIANT:
        return t->fields_count > 0 && !t->elem;
    case TYPE_ENUM:
        return t->fields_count > 0 && none_typed && !t->elem;
    case TYPE_FLAGS:
        return t->fields_count > 0 && t->fields_count <= 32 && none_typed && !t->elem;
    case TYPE_RESULT:
        return t->fields_count == 2 && !t->elem;
    case TYPE_LIST:
    case TYPE_OPTION:
        return t->fields_count == 0 && t->elem;
    case TYPE_STREAM:
    case TYPE_FUTURE:
        return t->fields_count == 0;
    default:
        return t->fields_count == 0 && !t->elem && t->kind <= TYPE_ERROR_CONTEXT;
    }
}

static bool get_type(loader *l, const type **ret)
{
    uint8_t kind, map;
    uint32_t n, resource;
    type *t = ARENA_NEW(l->a, type);
    if (!t)
        return err_no_memory(l->e);
    if (!reader_u8(&l->r, &kind, l->e) || !get_count(l, PLAN_TYPES_MAX, 8, &n))
        return false;
    t->kind = (type_kind)kind;
    type_field *fields = ARENA_ARRAY(l->a, type_field, n);
    if (!fields)
        return err_no_memory(l->e);
    for (uint32_t i = 0; i < n; i++)
        if (!get_str(l, &fields[i].name) || !get_type_ref(l, true, &fields[i].type))
            return false;
    t->fields = fields;
    t->fields_count = n;
    if (!get_type_ref(l, true, &t->elem) || !get_u32(l, &t->length_fixed) ||
        !get_flag(l, 1, &map) || !get_u32(l, &resource))
        return false;
    t->is_map = map;
    if (resource > l->p->resources_count)
        return bad(l, "a resource is out of range");
    t->resource = resource ? &l->resources[resource - 1] : NULL;
    if (!type_shape_ok(t))
        return bad(l, "a type has parts that do not fit it");
    *ret = t;
    return type_finish(t, l->e);
}

static bool get_types(loader *l)
{
    uint32_t n;
    if (!get_count(l, PLAN_TYPES_MAX, 17, &n))
        return false;
    l->types = ARENA_ARRAY(l->a, const type *, n);
    if (!l->types)
        return err_no_memory(l->e);
    for (; l->types_count < n; l->types_count++)
        if (!get_type(l, &l->types[l->types_count]))
            return false;
    return true;
}

static bool get_func(loader *l, const functype **ret)
{
    uint8_t there, async;
    uint32_t n;
    *ret = NULL;
    if (!get_flag(l, 1, &there))
        return false;
    if (!there)
        return true;
    functype *f = ARENA_NEW(l->a, functype);
    if (!f)
        return err_no_memory(l->e);
    if (!get_count(l, 1000, 8, &n))
        return false;
    type_field *params = ARENA_ARRAY(l->a, type_field, n);
    if (!params)
        return err_no_memory(l->e);
    for (uint32_t i = 0; i < n; i++)
        if (!get_str(l, &params[i].name) || !get_type_ref(l, false, &params[i].type))
            return false;
    f->params = params;
    f->params_count = n;
    if (!get_type_ref(l, true, &f->result) || !get_flag(l, 1, &async))
        return false;
    f->async = async;
    *ret = f;
    return true;
}

static bool get_options(loader *l, plan_options *o)
{
    uint8_t encoding, async;
    uint32_t memory, realloc;
    if (!get_flag(l, ENCODING_LATIN1_UTF16, &encoding) || !get_u32(l, &memory) ||
        !get_u32(l, &realloc) || !get_flag(l, 1, &async))
        return false;
    if (memory > INT32_MAX || realloc > INT32_MAX)
        return bad(l, "an option is out of range");
    *o =
        (plan_options){(string_encoding)encoding, (int32_t)memory - 1, (int32_t)realloc - 1, async};
    return true;
}

static bool get_core_types(loader *l, uint32_t max, core_type *ret, uint32_t *ret_count)
{
    if (!get_u32(l, ret_count))
        return false;
    if (*ret_count > max)
        return bad(l, "a signature is too long");
    for (uint32_t i = 0; i < *ret_count; i++) {
        uint8_t b;
        if (!reader_u8(&l->r, &b, l->e))
            return false;
        if (b < CORE_F64 || b > CORE_I32)
            return bad(l, "a signature holds no core type");
        ret[i] = (core_type)b;
    }
    return true;
}

static bool get_signature(loader *l, core_signature *s)
{
    *s = (core_signature){0};
    return get_core_types(l, ABI_FLAT_PARAMS_MAX + 1, s->params, &s->params_count) &&
           get_core_types(l, ABI_FLAT_RESULTS_MAX, s->results, &s->results_count);
}

/* The options that the Canonical ABI's validation asks for ("canon lift/lower" in Binary.md). */
static bool options_suffice(loader *l, const functype *f, const core_signature *s,
                            const plan_options *o, bool lower)
{
    bool params = false, result = f->result && f->result->has_pointer;
    for (uint32_t i = 0; i < f->params_count; i++)
        params |= f->params[i].type->has_pointer;
    bool memory = params || result || s->params_spilled || s->results_spilled;
    bool realloc = lower ? result : params || s->params_spilled;
    if (memory && o->memory == PLAN_NONE)
        return bad(l, "a function needs a memory and has none");
    if (realloc && o->realloc == PLAN_NONE)
        return bad(l, "a function needs a realloc and has none");
    return true;
}

static bool import_derive(loader *l, plan_import *im)
{
    static const core_signature one_to_one = {
        .params = {CORE_I32}, .params_count = 1, .results = {CORE_I32}, .results_count = 1};
    static const core_signature one_to_none = {.params = {CORE_I32}, .params_count = 1};
    switch (im->kind) {
    case CANON_HOST:
    case CANON_LIFTED:
        if (!im->type)
            return bad(l, "a function has no type");
        functype_signature(im->type, false, im->options.async, false, &im->signature);
        return options_suffice(l, im->type, &im->signature, &im->options, true);
    case CANON_RESOURCE_NEW:
    case CANON_RESOURCE_REP:
    case CANON_RESOURCE_DROP:
        if (im->resource >= l->p->resources_count)
            return bad(l, "a resource is out of range");
        im->signature = im->kind == CANON_RESOURCE_DROP ? one_to_none : one_to_one;
        return true;
    case CANON_BUILTIN:
    case CANON_TRAP:
        return true;
    }
    return bad(l, "an import is of no known kind");
}

static bool get_import(loader *l, plan_import *im)
{
    uint8_t kind;
    if (!get_flag(l, CANON_TRAP, &kind) || !get_str(l, &im->interface) || !get_str(l, &im->name) ||
        !get_func(l, &im->type) || !get_type_ref(l, true, &im->element) ||
        !get_options(l, &im->options) || !get_u32(l, &im->unit) || !get_u32(l, &im->lift) ||
        !get_u32(l, &im->resource) || !get_signature(l, &im->signature))
        return false;
    im->kind = (canon_kind)kind;
    return import_derive(l, im);
}

static bool get_lift(loader *l, plan_lift *f)
{
    uint8_t flags;
    if (!get_func(l, &f->type) || !get_options(l, &f->options) || !get_flag(l, 3, &flags) ||
        !get_signature(l, &f->signature) || !get_str(l, &f->label))
        return false;
    if (!f->type)
        return bad(l, "a lifted function has no type");
    f->has_post_return = flags & 1;
    f->has_callback = flags >> 1 & 1;
    functype_signature(f->type, true, f->options.async, f->has_callback, &f->signature);
    return options_suffice(l, f->type, &f->signature, &f->options, false);
}

static bool options_in_range(loader *l, const plan_unit *u, const plan_options *o)
{
    bool ok = o->memory < (int32_t)u->memories_count && o->realloc < (int32_t)u->reallocs_count;
    return ok ? true : bad(l, "an option is out of range");
}

static bool get_unit(loader *l, plan_unit *u)
{
    uint32_t n;
    uint8_t flags, withheld = 0;
    if (!get_str(l, &u->label) || !get_u32(l, &u->parent) ||
        !get_count(l, COMPONENT_ITEMS_MAX, 40, &n))
        return false;
    plan_import *imports = ARENA_ARRAY(l->a, plan_import, n);
    if (!imports)
        return err_no_memory(l->e);
    u->imports = imports;
    for (; u->imports_count < n; u->imports_count++)
        if (!get_import(l, &imports[u->imports_count]))
            return false;
    if (!get_count(l, COMPONENT_ITEMS_MAX, 24, &n))
        return false;
    plan_lift *lifts = ARENA_ARRAY(l->a, plan_lift, n);
    if (!lifts)
        return err_no_memory(l->e);
    u->lifts = lifts;
    for (; u->lifts_count < n; u->lifts_count++)
        if (!get_lift(l, &lifts[u->lifts_count]))
            return false;
    if (!get_u32(l, &u->memories_count) || !get_u32(l, &u->reallocs_count) ||
        !get_u32(l, &u->globals_count) || !get_u32(l, &u->tables_count) ||
        !get_u32(l, &u->sized_memories) || !get_flag(l, 31, &flags) ||
        (flags >> 4 && !get_flag(l, COMPOSITION_ALL, &withheld)) ||
        !get_u64(l, &u->memory_bytes_min) || !get_u64(l, &u->memory_bytes_max) ||
        !get_u32(l, &u->core_modules) || !get_u32(l, &u->core_functions) ||
        !get_u32(l, &u->shims_removed) || !get_u32(l, &u->segments_merged) ||
        !get_u32(l, &u->constants_folded) || !get_u64(l, &u->module_bytes) ||
        !get_u64(l, &u->module_bytes_before))
        return false;
    if (u->memories_count > COMPONENT_ITEMS_MAX || u->reallocs_count > COMPONENT_ITEMS_MAX ||
        u->globals_count > COMPONENT_ITEMS_MAX || u->tables_count > COMPONENT_ITEMS_MAX)
        return bad(l, "a count is too large");
    u->withheld = withheld;
    u->has_start = flags & 1;
    u->mutates_tables = flags >> 1 & 1;
    u->passive_segments = flags >> 2 & 1;
    u->start_segments = flags >> 3 & 1;
    for (uint32_t i = 0; i < u->imports_count; i++)
        if (!options_in_range(l, u, &imports[i].options))
            return false;
    for (uint32_t i = 0; i < u->lifts_count; i++)
        if (!options_in_range(l, u, &lifts[i].options))
            return false;
    return true;
}

static bool get_names(loader *l, const plan_name **ret, uint32_t *ret_count)
{
    uint32_t n;
    if (!get_count(l, COMPONENT_ITEMS_MAX, 17, &n))
        return false;
    plan_name *names = ARENA_ARRAY(l->a, plan_name, n);
    if (!names)
        return err_no_memory(l->e);
    for (uint32_t i = 0; i < n; i++)
        if (!get_str(l, &names[i].interface) || !get_str(l, &names[i].name) ||
            !get_func(l, &names[i].type) || !get_u32(l, &names[i].unit) ||
            !get_u32(l, &names[i].lift))
            return false;
    *ret = names;
    *ret_count = n;
    return true;
}

static bool get_resources(loader *l)
{
    uint32_t n;
    if (!get_count(l, COMPONENT_ITEMS_MAX, 13, &n))
        return false;
    plan_resource *all = ARENA_ARRAY(l->a, plan_resource, n);
    resource_type *types = ARENA_ARRAY(l->a, resource_type, n);
    if (!all || !types)
        return err_no_memory(l->e);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t flags;
        if (!get_str(l, &all[i].interface) || !get_str(l, &all[i].name) ||
            !get_flag(l, 3, &flags) || !get_u32(l, &all[i].unit))
            return false;
        all[i].imported = flags & 1;
        all[i].has_dtor = flags >> 1 & 1;
        types[i] = (resource_type){all[i].interface, all[i].name, all[i].imported, i};
    }
    l->p->resources = all;
    l->p->resources_count = n;
    l->resources = types;
    return true;
}

static bool lift_ok(const plan *p, uint32_t unit, uint32_t lift)
{
    return unit < p->units_count && lift < p->units[unit].lifts_count;
}

/* What one part says of another: calls between units, exports, parents, owners of resources. An
 * inner unit comes before the outer one and may call it. */
static bool references_ok(loader *l)
{
    const plan *p = l->p;
    for (uint32_t k = 0; k < p->units_count; k++) {
        const plan_unit *u = &p->units[k];
        if (u->parent != UINT32_MAX && (u->parent <= k || u->parent >= p->units_count))
            return bad(l, "the parent of a component instance is out of range");
        for (uint32_t i = 0; i < u->imports_count; i++) {
            const plan_import *im = &u->imports[i];
            if (im->kind == CANON_LIFTED && !lift_ok(p, im->unit, im->lift))
                return bad(l, "a call between component instances is out of range");
        }
    }
    for (uint32_t i = 0; i < p->exports_count; i++) {
        const plan_name *x = &p->exports[i];
        if (x->unit != UINT32_MAX && !lift_ok(p, x->unit, x->lift))
            return bad(l, "an export is out of range");
    }
    for (uint32_t i = 0; i < p->resources_count; i++)
        if (p->resources[i].unit != UINT32_MAX && !p->resources[i].imported &&
            p->resources[i].unit >= p->units_count)
            return bad(l, "a resource belongs to no unit");
    return true;
}

bool plan_decode(arena *a, bytes encoded, plan *ret, err *e)
{
    plan p = {0};
    loader l = {.a = a, .r = reader_over(encoded), .e = e, .p = &p};
    uint32_t magic, version, n;
    if (!get_u32(&l, &magic) || !get_u32(&l, &version))
        return false;
    if (magic != PLAN_MAGIC || version != PLAN_VERSION)
        return bad(&l, "not a plan of this version");
    if (!get_resources(&l) || !get_types(&l) || !get_count(&l, COMPONENT_INSTANCES_MAX, 60, &n))
        return false;
    plan_unit *units = ARENA_ARRAY(a, plan_unit, n);
    if (!units)
        return err_no_memory(e);
    p.units = units;
    for (; p.units_count < n; p.units_count++)
        if (!get_unit(&l, &units[p.units_count]))
            return false;
    if (!get_names(&l, &p.imports, &p.imports_count) ||
        !get_names(&l, &p.exports, &p.exports_count))
        return false;
    if (!reader_done(&l.r))
        return bad(&l, "bytes follow the plan");
    if (!references_ok(&l))
        return false;
    *ret = p;
    return true;
}
