/* Imports and exports of core modules, from a module's bytes or from a core:moduletype.
 *
 * A module is walked section by section; only types, imports, the types of functions, tables,
 * memories, globals and tags, and exports are read. Code and data, nearly all of its bytes, are
 * stepped over. What is skipped here is validated by the engine; what is read here is checked
 * strictly, because instantiation is checked against it (core specification 5.5, 3.3 "Import
 * Subtyping").
 *
 * The one thing that needs more than a step are globals and tables with initialisers: a constant
 * expression has no length, so const_expr_skip knows the operands of every constant instruction. */
#include "component/module_type.h"

enum { MODULE_ITEMS_MAX = 1000000 };

typedef struct {
    core_types types;
    core_types funcs;          /* the many: their types only */
    VEC(core_extern) space[5]; /* the others, by core_kind */
    module_type *out;
} module_reader;

const char *core_kind_name(core_kind kind)
{
    static const char *const names[] = {"function", "table", "memory", "global", "tag"};
    return (unsigned)kind < 5 ? names[kind] : "item";
}

static bool limits_check(linker *l, const reader *r, bool memory, const core_limits *m)
{
    unsigned bits = (m->is_64 ? 64u : 32u) - (memory ? m->page_log2 : 0u);
    uint64_t max = bits == 64 ? UINT64_MAX : (uint64_t)1 << bits;
    if (m->min > max || (m->has_max && m->max > max))
        return reader_fail(r, l->e, ERR_INVALID, "%s size must be at most %llu",
                           memory ? "memory" : "table", (unsigned long long)max);
    if (m->has_max && m->min > m->max)
        return reader_fail(r, l->e, ERR_INVALID, "size minimum must not be greater than maximum");
    return !m->shared || m->has_max ||
           reader_fail(r, l->e, ERR_INVALID, "a shared memory must have a maximum");
}

/* Core specification "Limits": limits. */
static bool limits_read(linker *l, reader *r, bool memory, core_limits *ret)
{
    uint8_t flags;
    *ret = (core_limits){.page_log2 = 16};
    if (!reader_u8(r, &flags, l->e))
        return false;
    if (flags > (memory ? 15 : 7)) {
        r->at--;
        return reader_fail(r, l->e, ERR_INVALID, "malformed limits flags 0x%02x", flags);
    }
    ret->has_max = flags & 1;
    ret->shared = flags & 2;
    ret->is_64 = flags & 4;
    if (!reader_u64(r, &ret->min, l->e) || (ret->has_max && !reader_u64(r, &ret->max, l->e)))
        return false;
    uint32_t log2 = 16;
    if ((flags & 8) && !reader_u32(r, &log2, l->e))
        return false;
    if (log2 > 16)
        return reader_fail(r, l->e, ERR_INVALID, "invalid custom page size");
    ret->page_log2 = (uint8_t)log2;
    return limits_check(l, r, memory, ret);
}

/* Core specification "Table Types": tabletype. */
static bool table_read(linker *l, reader *r, const core_types *types, core_extern *ret)
{
    ret->kind = CORE_TABLE;
    if (!core_val_read(l, r, types, &ret->val) || !limits_read(l, r, false, &ret->limits))
        return false;
    return (ret->val & CORE_REF) || reader_fail(r, l->e, ERR_INVALID, "a table holds references");
}

/* Core specification "Global Types": globaltype. */
static bool global_read(linker *l, reader *r, const core_types *types, core_extern *ret)
{
    uint8_t flags;
    ret->kind = CORE_GLOBAL;
    if (!core_val_read(l, r, types, &ret->val) || !reader_u8(r, &flags, l->e))
        return false;
    if (flags > 1)
        return reader_fail(r, l->e, flags == 2 || flags == 3 ? ERR_UNSUPPORTED : ERR_INVALID,
                           "malformed mutability 0x%02x", flags);
    ret->is_mutable = flags & 1;
    return true;
}

static bool func_index_read(linker *l, reader *r, const core_types *types, uint32_t *ret)
{
    uint32_t i;
    if (!reader_u32(r, &i, l->e))
        return false;
    if (i >= types->n || l->core_defs.p[types->p[i]].kind != 0x60)
        return reader_fail(r, l->e, ERR_INVALID, "type %u is not a function type", i);
    *ret = types->p[i];
    return true;
}

/* Core specification "Import Section": importdesc. */
bool core_extern_read(linker *l, reader *r, const core_types *types, core_extern *ret)
{
    uint8_t kind, attribute;
    *ret = (core_extern){0};
    if (!reader_u8(r, &kind, l->e))
        return false;
    ret->kind = (core_kind)kind;
    switch (kind) {
    case CORE_FUNC:
        return func_index_read(l, r, types, &ret->func);
    case CORE_TABLE:
        return table_read(l, r, types, ret);
    case CORE_MEMORY:
        return limits_read(l, r, true, &ret->limits);
    case CORE_GLOBAL:
        return global_read(l, r, types, ret);
    case CORE_TAG:
        if (!reader_u8(r, &attribute, l->e))
            return false;
        if (attribute != 0)
            return reader_fail(r, l->e, ERR_INVALID, "malformed tag attribute");
        return func_index_read(l, r, types, &ret->func);
    default:
        r->at--;
        return reader_fail(r, l->e, ERR_INVALID, "malformed core import or export kind 0x%02x",
                           kind);
    }
}

/* The key of a pair of names. */
static bool import_key(linker *l, str module, str name, str *ret)
{
    *ret = arena_printf(l->a, "%zu:%.*s%.*s", module.n, STR(module), STR(name));
    return ret->p || link_oom(l);
}

bool module_import_add(linker *l, module_type *m, str module, str name, core_extern x)
{
    str key;
    const void **at;
    if (!import_key(l, module, name, &key) || !link_table_at(l, &m->import_names, key, &at))
        return false;
    if (*at)
        return link_fail(l, ERR_INVALID, "duplicate import name '%.*s::%.*s'", STR(module),
                         STR(name));
    core_import item = {module, name, x};
    if (!vec_push(l->a, &m->imports, item))
        return link_oom(l);
    *at = (void *)(uintptr_t)m->imports.n;
    return true;
}

bool core_export_add(linker *l, core_exports *x, str name, core_extern t)
{
    const void **at;
    if (!link_table_at(l, &x->names, name, &at))
        return false;
    if (*at)
        return link_fail(l, ERR_INVALID, "duplicate export name '%.*s'", STR(name));
    core_export item = {name, t};
    if (!vec_push(l->a, &x->items, item))
        return link_oom(l);
    *at = (void *)(uintptr_t)x->items.n;
    return true;
}

const core_export *core_export_find(linker *l, const core_exports *x, str name)
{
    uint64_t steps = 1;
    uintptr_t i = (uintptr_t)table_get(&x->names, name, &steps);
    l->work += steps;
    return i ? &x->items.p[i - 1] : NULL;
}

static bool space_add(linker *l, module_reader *m, reader *r, core_extern x)
{
    if (m->funcs.n >= MODULE_ITEMS_MAX || m->space[x.kind].n >= MODULE_ITEMS_MAX)
        return reader_fail(r, l->e, ERR_LIMIT, "more than %d %ss", MODULE_ITEMS_MAX,
                           core_kind_name(x.kind));
    if (x.kind == CORE_FUNC)
        return vec_push(l->a, &m->funcs, x.func) || link_oom(l);
    return vec_push(l->a, &m->space[x.kind], x) || link_oom(l);
}

/* Core specification: constant instructions of aggregates.
 * Operands of the instructions of a constant expression (core spec 3.3.10, with GC). */
static bool const_gc_skip(linker *l, reader *r)
{
    uint32_t op, i;
    if (!reader_u32(r, &op, l->e))
        return false;
    if (op <= 1 || op == 6 || op == 7) /* struct.new*, array.new* */
        return reader_u32(r, &i, l->e);
    if (op == 8) /* array.new_fixed */
        return reader_u32(r, &i, l->e) && reader_u32(r, &i, l->e);
    if (op == 26 || op == 27 || op == 28) /* any.convert_extern, extern.convert_any, ref.i31 */
        return true;
    return reader_fail(r, l->e, ERR_INVALID, "constant expression required: opcode 0xfb %u", op);
}

/* Core specification: constant expressions. */
static bool const_expr_skip(linker *l, reader *r)
{
    for (;;) {
        uint8_t op;
        uint32_t u;
        int32_t s;
        int64_t d;
        bool ok = true;
        if (!reader_u8(r, &op, l->e))
            return false;
        switch (op) {
        case 0x0b: /* end */
            return true;
        case 0x23: /* global.get */
        case 0xd2: /* ref.func */
            ok = reader_u32(r, &u, l->e);
            break;
        case 0x41:
            ok = reader_s32(r, &s, l->e);
            break;
        case 0x42:
            ok = reader_s64(r, &d, l->e);
            break;
        case 0x43:
            ok = reader_skip(r, 4, l->e);
            break;
        case 0x44:
            ok = reader_skip(r, 8, l->e);
            break;
        case 0x6a: /* i32 and i64 add, sub, mul */
        case 0x6b:
        case 0x6c:
        case 0x7c:
        case 0x7d:
        case 0x7e:
            break;
        case 0xd0: /* ref.null */
            ok = reader_s33(r, &d, l->e);
            break;
        case 0xfb:
            ok = const_gc_skip(l, r);
            break;
        case 0xfd: /* v128.const is 12 */
            ok = reader_u32(r, &u, l->e) && u == 12 && reader_skip(r, 16, l->e);
            if (ok)
                break;
            /* fall through */
        default:
            r->at--;
            return reader_fail(r, l->e, ERR_INVALID, "constant expression required: opcode 0x%02x",
                               op);
        }
        if (!ok)
            return false;
    }
}

static bool item_type(linker *l, reader *r, module_reader *m)
{
    return core_rectype_read(l, r, &m->types);
}

/* Core specification "Import Section": import. */
static bool item_import(linker *l, reader *r, module_reader *m)
{
    str module, name;
    core_extern x;
    l->at = reader_offset(r);
    return reader_name(r, &module, l->e) && reader_name(r, &name, l->e) &&
           core_extern_read(l, r, &m->types, &x) && space_add(l, m, r, x) &&
           module_import_add(l, m->out, module, name, x);
}

/* Core specification "Function Section": func. */
static bool item_function(linker *l, reader *r, module_reader *m)
{
    core_extern x = {.kind = CORE_FUNC};
    return func_index_read(l, r, &m->types, &x.func) && space_add(l, m, r, x);
}

/* Core specification "Table Section": table. */
static bool item_table(linker *l, reader *r, module_reader *m)
{
    core_extern x = {0};
    bool initialised = reader_left(r) >= 2 && r->at[0] == 0x40 && r->at[1] == 0x00;
    if (initialised)
        r->at += 2;
    return table_read(l, r, &m->types, &x) && (!initialised || const_expr_skip(l, r)) &&
           space_add(l, m, r, x);
}

/* Core specification "Memory Section": mem. */
static bool item_memory(linker *l, reader *r, module_reader *m)
{
    core_extern x = {.kind = CORE_MEMORY};
    return limits_read(l, r, true, &x.limits) && space_add(l, m, r, x);
}

/* Core specification "Global Section": global. */
static bool item_global(linker *l, reader *r, module_reader *m)
{
    core_extern x = {0};
    return global_read(l, r, &m->types, &x) && const_expr_skip(l, r) && space_add(l, m, r, x);
}

/* Core specification "Tag Section": tag. */
static bool item_tag(linker *l, reader *r, module_reader *m)
{
    core_extern x = {.kind = CORE_TAG};
    uint8_t attribute;
    return reader_u8(r, &attribute, l->e) &&
           (attribute == 0 || reader_fail(r, l->e, ERR_INVALID, "malformed tag attribute")) &&
           func_index_read(l, r, &m->types, &x.func) && space_add(l, m, r, x);
}

/* Core specification "Export Section": export. */
static bool item_export(linker *l, reader *r, module_reader *m)
{
    str name;
    uint8_t kind;
    uint32_t i;
    l->at = reader_offset(r);
    if (!reader_name(r, &name, l->e) || !reader_u8(r, &kind, l->e) || !reader_u32(r, &i, l->e))
        return false;
    if (kind > CORE_TAG)
        return link_fail(l, ERR_INVALID, "malformed export kind 0x%02x", kind);
    core_extern x = {.kind = CORE_FUNC};
    if (i >= (kind == CORE_FUNC ? m->funcs.n : m->space[kind].n))
        return link_fail(l, ERR_INVALID, "unknown %s %u", core_kind_name((core_kind)kind), i);
    if (kind == CORE_FUNC)
        x.func = m->funcs.p[i];
    else
        x = m->space[kind].p[i];
    return core_export_add(l, &m->out->exports, name, x);
}

typedef bool item_fn(linker *l, reader *r, module_reader *m);

static bool section_read(linker *l, reader s, item_fn *item, module_reader *m)
{
    uint32_t n;
    if (!reader_count(&s, MODULE_ITEMS_MAX, "items", &n, l->e))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!link_work(l, 1) || !item(l, &s, m))
            return false;
    return reader_done(&s) || reader_fail(&s, l->e, ERR_INVALID, "section size mismatch");
}

static bool sections_read(linker *l, reader r, module_reader *m)
{
    static const struct {
        item_fn *item;
        const char *name;
    } sections[] = {
        [1] = {item_type, "type"},         [2] = {item_import, "import"},
        [3] = {item_function, "function"}, [4] = {item_table, "table"},
        [5] = {item_memory, "memory"},     [6] = {item_global, "global"},
        [7] = {item_export, "export"},     [13] = {item_tag, "tag"},
    };
    /* By id: the place in the order of core spec 5.5.2; 0 may come anywhere. */
    static const uint8_t order[14] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 11, 6};
    uint8_t last = 0;
    while (!reader_done(&r)) {
        uint8_t id;
        reader s;
        if (!reader_u8(&r, &id, l->e) || !reader_sized(&r, &s, l->e))
            return false;
        if (id > 13)
            return reader_fail(&s, l->e, ERR_INVALID, "malformed section id %u", id);
        if (id && order[id] <= last)
            return reader_fail(&s, l->e, ERR_INVALID, "section out of order");
        last = id ? order[id] : last;
        if (sections[id].item && !section_read(l, s, sections[id].item, m))
            return err_wrap(l->e, "core module, %s section", sections[id].name);
    }
    return true;
}

/* Core specification: a module, as far as its type goes. */
bool module_type_read(linker *l, bytes module, const module_type **ret)
{
    const void **at;
    uint64_t steps = 1;
    if (!table_at_pointer(l->a, &l->modules, module.p, &steps, &at))
        return link_oom(l);
    if (!*at) {
        module_reader m = {.out = ARENA_NEW(l->a, module_type)};
        if (!m.out)
            return link_oom(l);
        reader r = {module.p + 8, module.p + module.n, l->file.p};
        if (!sections_read(l, r, &m))
            return false;
        *at = m.out;
    }
    *ret = *at;
    return link_work(l, steps);
}

/* Core specification: limits match. */
static bool limits_subtype(const core_limits *a, const core_limits *b)
{
    return a->min >= b->min && (!b->has_max || (a->has_max && a->max <= b->max));
}

/* Core specification: function types match. */
static bool func_subtype(const linker *l, uint32_t a, uint32_t b)
{
    while (a != b && l->core_defs.p[a].super != CORE_NO_TYPE)
        a = l->core_defs.p[a].super;
    return a == b;
}

static const char *extern_difference(const linker *l, const core_extern *a, const core_extern *b)
{
    if (a->kind != b->kind)
        return "another kind of item is expected";
    switch (a->kind) {
    case CORE_FUNC:
        return func_subtype(l, a->func, b->func) ? NULL : "function types differ";
    case CORE_TAG:
        return a->func == b->func ? NULL : "tag types differ";
    case CORE_TABLE:
        if (a->val != b->val)
            return "table element types differ";
        if (a->limits.shared != b->limits.shared || a->limits.is_64 != b->limits.is_64)
            return "table index types differ";
        return limits_subtype(&a->limits, &b->limits) ? NULL : "mismatch in table limits";
    case CORE_MEMORY:
        if (a->limits.shared != b->limits.shared)
            return "mismatch in the shared flag for memories";
        if (a->limits.is_64 != b->limits.is_64)
            return "mismatch in index type used for memories";
        if (a->limits.page_log2 != b->limits.page_log2)
            return "mismatch in page size for memories";
        return limits_subtype(&a->limits, &b->limits) ? NULL : "mismatch in memory limits";
    default:
        if (a->is_mutable != b->is_mutable)
            return "global types differ in mutability";
        return a->val == b->val ? NULL : "global types differ";
    }
}

/* Core specification: external types match. */
bool core_extern_subtype(linker *l, const core_extern *a, const core_extern *b)
{
    const char *why = extern_difference(l, a, b);
    if (why)
        return link_fail(l, ERR_INVALID, "%s (expected a %s, found a %s)", why,
                         core_kind_name(b->kind), core_kind_name(a->kind));
    return link_work(l, 1);
}

/* Exports may be more, imports may be fewer (Explainer.md "Type Checking"). */
bool module_subtype(linker *l, const module_type *a, const module_type *b)
{
    if (a == b)
        return true;
    for (uint32_t i = 0; i < a->imports.n; i++) {
        const core_import *want = &a->imports.p[i];
        str key;
        uint64_t steps = 1;
        if (!import_key(l, want->module, want->name, &key))
            return false;
        uintptr_t at = (uintptr_t)table_get(&b->import_names, key, &steps);
        if (!at)
            return link_fail(l, ERR_INVALID, "missing expected import '%.*s::%.*s'",
                             STR(want->module), STR(want->name));
        if (!link_work(l, steps) ||
            !core_extern_subtype(l, &b->imports.p[at - 1].type, &want->type))
            return err_wrap(l->e, "import '%.*s::%.*s'", STR(want->module), STR(want->name));
    }
    for (uint32_t i = 0; i < b->exports.items.n; i++) {
        const core_export *want = &b->exports.items.p[i];
        const core_export *have = core_export_find(l, &a->exports, want->name);
        if (!have)
            return link_fail(l, ERR_INVALID, "missing expected export '%.*s'", STR(want->name));
        if (!core_extern_subtype(l, &have->type, &want->type))
            return err_wrap(l->e, "export '%.*s'", STR(want->name));
    }
    return true;
}
