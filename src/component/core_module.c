/* See core_module.h. Sections are read in the order of the file; each is a reader of its own that
 * must be used up. Constant expressions are found by walking them (core_code.h), because nothing
 * says how long they are. */
#include "component/core_module.h"

#include "base/limits.h"
#include "component/core_code.h"

typedef struct {
    arena *a;
    core_module *m;
    err *e;
    code_maps all; /* identity over spaces as large as can be: used for skipping only */
    uint32_t recs_cap;
    uint32_t functions; /* entries of the function section */
    uint32_t *function_types;
    bytes names; /* the last name section: read at the end, when functions are counted */
} parse;

static bool array_new(parse *p, uint32_t n, size_t size, void *ret)
{
    void *at = arena_array(p->a, n ? n : 1, size);
    memcpy(ret, &at, sizeof at);
    return at ? true : err_no_memory(p->e);
}

static bytes since(const uint8_t *from, const reader *r)
{
    return (bytes){from, (size_t)(r->at - from)};
}

static bool skip_expr(parse *p, reader *r, bytes *ret)
{
    const uint8_t *from = r->at;
    if (!code_walk(r, &p->all, NULL, NULL, p->e))
        return false;
    *ret = since(from, r);
    return true;
}

static bool skip_valtype(parse *p, reader *r)
{
    return code_walk_valtype(r, &p->all.types, NULL, p->e);
}

static bool skip_limits(parse *p, reader *r)
{
    uint8_t flags;
    uint64_t v;
    uint32_t page;
    if (!reader_u8(r, &flags, p->e) || !reader_u64(r, &v, p->e))
        return false;
    if (flags & 2)
        return reader_fail(r, p->e, ERR_UNSUPPORTED,
                           "the module has a shared memory (threads); ebb runs none");
    if (flags & 1 && !reader_u64(r, &v, p->e))
        return false;
    return flags & 8 ? reader_u32(r, &page, p->e) : true;
}

/* Core specification "Type Section": type section. */
static bool section_types(parse *p, reader *r)
{
    core_module *m = p->m;
    uint32_t n;
    if (!reader_count(r, COMPONENT_ITEMS_MAX, "types", &n, p->e) ||
        !array_new(p, n, sizeof *m->recs, &m->recs))
        return false;
    for (; m->recs_count < n; m->recs_count++) {
        cm_rec *rec = &m->recs[m->recs_count];
        const uint8_t *from = r->at;
        rec->first = m->types_count;
        rec->count = 1;
        rec->is_func = r->at < r->end && *r->at == 0x60;
        if (r->at < r->end && *r->at == 0x4e) {
            reader peek = *r;
            uint8_t form;
            if (!reader_u8(&peek, &form, p->e) ||
                !reader_count(&peek, COMPONENT_ITEMS_MAX, "types", &rec->count, p->e))
                return false;
        }
        if (!code_walk_rectype(r, &p->all.types, NULL, p->e))
            return false;
        rec->raw = since(from, r);
        m->types_count += rec->count;
    }
    return true;
}

/* Core specification "External Types": externtype. */
static bool import_desc(parse *p, reader *r, cm_import *im)
{
    uint8_t kind, b;
    if (!reader_u8(r, &kind, p->e))
        return false;
    if (kind >= CM_KINDS)
        return reader_fail(r, p->e, ERR_UNSUPPORTED, "import of kind %u is not known", kind);
    im->kind = (core_kind)kind;
    switch (im->kind) {
    case CORE_FUNC:
        return reader_u32(r, &im->type, p->e);
    case CORE_TABLE:
        return skip_valtype(p, r) && skip_limits(p, r);
    case CORE_MEMORY:
        return skip_limits(p, r);
    case CORE_GLOBAL:
        return skip_valtype(p, r) && reader_u8(r, &b, p->e);
    case CORE_TAG:
        return reader_u8(r, &b, p->e) && reader_u32(r, &im->type, p->e);
    }
    return false;
}

/* Core specification "Import Section": import section. */
static bool section_imports(parse *p, reader *r)
{
    core_module *m = p->m;
    uint32_t n;
    if (!reader_count(r, COMPONENT_ITEMS_MAX, "imports", &n, p->e) ||
        !array_new(p, n, sizeof *m->imports, &m->imports))
        return false;
    for (; m->imports_count < n; m->imports_count++) {
        cm_import *im = &m->imports[m->imports_count];
        if (!reader_name(r, &im->module, p->e) || !reader_name(r, &im->name, p->e) ||
            !import_desc(p, r, im))
            return false;
        m->imported[im->kind]++;
        m->count[im->kind]++;
    }
    return true;
}

/* Core specification "Function Section": function section. */
static bool section_functions(parse *p, reader *r)
{
    uint32_t n;
    if (!reader_count(r, COMPONENT_ITEMS_MAX, "functions", &n, p->e) ||
        !array_new(p, n, sizeof *p->function_types, &p->function_types))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!reader_u32(r, &p->function_types[i], p->e))
            return false;
    p->functions = n;
    p->m->count[CORE_FUNC] += n;
    return true;
}

/* Core specification "Table Section": table section. */
static bool section_tables(parse *p, reader *r)
{
    core_module *m = p->m;
    uint32_t n;
    if (!reader_count(r, COMPONENT_ITEMS_MAX, "tables", &n, p->e) ||
        !array_new(p, n, sizeof *m->tables, &m->tables))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        cm_table *t = &m->tables[i];
        bool has_init = reader_left(r) >= 2 && r->at[0] == 0x40 && r->at[1] == 0;
        if (has_init && !reader_skip(r, 2, p->e))
            return false;
        const uint8_t *from = r->at;
        if (!skip_valtype(p, r) || !skip_limits(p, r))
            return false;
        t->type = since(from, r);
        if (has_init && !skip_expr(p, r, &t->init))
            return false;
    }
    m->count[CORE_TABLE] += n;
    return true;
}

/* Core specification "Memory Section": memory section. */
static bool section_memories(parse *p, reader *r)
{
    core_module *m = p->m;
    uint32_t n;
    if (!reader_count(r, COMPONENT_ITEMS_MAX, "memories", &n, p->e) ||
        !array_new(p, n, sizeof *m->memories, &m->memories))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *from = r->at;
        if (!skip_limits(p, r))
            return false;
        m->memories[i] = since(from, r);
    }
    m->count[CORE_MEMORY] += n;
    return true;
}

/* Core specification "Global Section": global section. */
static bool section_globals(parse *p, reader *r)
{
    core_module *m = p->m;
    uint32_t n;
    if (!reader_count(r, COMPONENT_ITEMS_MAX, "globals", &n, p->e) ||
        !array_new(p, n, sizeof *m->globals, &m->globals))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *from = r->at;
        uint8_t mutability;
        if (!skip_valtype(p, r) || !reader_u8(r, &mutability, p->e))
            return false;
        m->globals[i].type = since(from, r);
        m->globals[i].is_mutable = mutability & 1;
        if (!skip_expr(p, r, &m->globals[i].init))
            return false;
    }
    m->count[CORE_GLOBAL] += n;
    return true;
}

/* Core specification "Tag Section": tag section. */
static bool section_tags(parse *p, reader *r)
{
    uint32_t n, imported = p->m->imported[CORE_TAG];
    uint8_t attribute;
    if (!reader_count(r, COMPONENT_ITEMS_MAX, "tags", &n, p->e) ||
        !array_new(p, imported + n, sizeof *p->m->tag_types, &p->m->tag_types))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!reader_u8(r, &attribute, p->e) || !reader_u32(r, &p->m->tag_types[imported + i], p->e))
            return false;
    p->m->count[CORE_TAG] += n;
    return true;
}

/* Core specification "Export Section": export section. */
static bool section_exports(parse *p, reader *r)
{
    core_module *m = p->m;
    uint32_t n;
    if (!reader_count(r, COMPONENT_ITEMS_MAX, "exports", &n, p->e) ||
        !array_new(p, n, sizeof *m->exports, &m->exports))
        return false;
    for (; m->exports_count < n; m->exports_count++) {
        cm_export *x = &m->exports[m->exports_count];
        uint8_t kind;
        if (!reader_name(r, &x->name, p->e) || !reader_u8(r, &kind, p->e) ||
            !reader_u32(r, &x->index, p->e))
            return false;
        if (kind >= CM_KINDS)
            return reader_fail(r, p->e, ERR_UNSUPPORTED, "export of kind %u is not known", kind);
        x->kind = (core_kind)kind;
    }
    return true;
}

/* The eight forms of an element segment (core specification 5.5.12). */
static bool elem(parse *p, reader *r, cm_elem *x)
{
    uint32_t flags;
    uint8_t kind;
    if (!reader_u32(r, &flags, p->e))
        return false;
    if (flags > 7)
        return reader_fail(r, p->e, ERR_UNSUPPORTED, "element segment of form %u", flags);
    x->mode = !(flags & 1) ? CM_ACTIVE : flags & 2 ? CM_DECLARATIVE : CM_PASSIVE;
    x->is_exprs = flags & 4;
    if (x->mode == CM_ACTIVE) {
        if (flags & 2 && !reader_u32(r, &x->table, p->e))
            return false;
        if (!skip_expr(p, r, &x->offset))
            return false;
    }
    static const uint8_t funcref[] = {0x70};
    x->type = (bytes){funcref, 1};
    if (flags & 3 && x->is_exprs) {
        const uint8_t *from = r->at;
        if (!skip_valtype(p, r))
            return false;
        x->type = since(from, r);
    } else if (flags & 3 && !reader_u8(r, &kind, p->e)) {
        return false;
    }
    if (!reader_count(r, COMPONENT_ITEMS_MAX, "elements", &x->count, p->e))
        return false;
    const uint8_t *from = r->at;
    for (uint32_t i = 0; i < x->count; i++) {
        uint32_t func;
        bytes expr;
        if (x->is_exprs ? !skip_expr(p, r, &expr) : !reader_u32(r, &func, p->e))
            return false;
    }
    x->items = since(from, r);
    return true;
}

/* Core specification "Element Section": element section. */
static bool section_elems(parse *p, reader *r)
{
    core_module *m = p->m;
    uint32_t n;
    if (!reader_count(r, COMPONENT_ITEMS_MAX, "element segments", &n, p->e) ||
        !array_new(p, n, sizeof *m->elems, &m->elems))
        return false;
    for (; m->elems_count < n; m->elems_count++)
        if (!elem(p, r, &m->elems[m->elems_count]))
            return false;
    return true;
}

/* Core specification "Code Section": code section. */
static bool section_codes(parse *p, reader *r)
{
    core_module *m = p->m;
    uint32_t n;
    if (!reader_count(r, COMPONENT_ITEMS_MAX, "function bodies", &n, p->e) ||
        !array_new(p, n, sizeof *m->codes, &m->codes))
        return false;
    for (; m->codes_count < n; m->codes_count++) {
        reader body;
        if (!reader_sized(r, &body, p->e))
            return false;
        m->codes[m->codes_count] = (bytes){body.at, reader_left(&body)};
    }
    return true;
}

/* Core specification "Data Section": data section. */
static bool section_datas(parse *p, reader *r)
{
    core_module *m = p->m;
    uint32_t n;
    if (!reader_count(r, COMPONENT_ITEMS_MAX, "data segments", &n, p->e) ||
        !array_new(p, n, sizeof *m->datas, &m->datas))
        return false;
    for (; m->datas_count < n; m->datas_count++) {
        cm_data *d = &m->datas[m->datas_count];
        uint32_t flags;
        reader content;
        if (!reader_u32(r, &flags, p->e))
            return false;
        if (flags > 2)
            return reader_fail(r, p->e, ERR_UNSUPPORTED, "data segment of form %u", flags);
        d->mode = flags == 1 ? CM_PASSIVE : CM_ACTIVE;
        if (flags == 2 && !reader_u32(r, &d->memory, p->e))
            return false;
        if (d->mode == CM_ACTIVE && !skip_expr(p, r, &d->offset))
            return false;
        if (!reader_sized(r, &content, p->e))
            return false;
        d->content = (bytes){content.at, reader_left(&content)};
    }
    return true;
}

/* Core specification "Name Section": names of functions. */
static bool function_names(parse *p, reader *sub)
{
    core_module *m = p->m;
    uint32_t n, index;
    if (!m->names && !array_new(p, m->count[CORE_FUNC], sizeof *m->names, &m->names))
        return false;
    if (!reader_count(sub, COMPONENT_ITEMS_MAX, "names", &n, NULL))
        return true;
    for (uint32_t i = 0; i < n; i++) {
        str name;
        if (!reader_u32(sub, &index, NULL) || !reader_name(sub, &name, NULL))
            return true;
        if (index < m->count[CORE_FUNC])
            m->names[index] = name;
    }
    return true;
}

/* The module's and its functions' names. A name section that is malformed names nothing: it is no
 * part of what runs (core specification 7.4.1). */
static bool names(parse *p)
{
    reader r = reader_over(p->names), sub;
    uint8_t id;
    while (!reader_done(&r)) {
        if (!reader_u8(&r, &id, NULL) || !reader_sized(&r, &sub, NULL))
            return true;
        if (id == 0)
            reader_name(&sub, &p->m->name, NULL);
        else if (id == 1 && !function_names(p, &sub))
            return false;
    }
    return true;
}

/* Core specification "Name Section": name section. */
static const char *section_name(uint8_t id)
{
    static const char *const all[] = {"custom", "type",   "import",     "function", "table",
                                      "memory", "global", "export",     "start",    "element",
                                      "code",   "data",   "data count", "tag"};
    return id < sizeof all / sizeof *all ? all[id] : "unknown";
}

static bool section(parse *p, uint8_t id, reader *r)
{
    str name;
    uint32_t ignored;
    switch (id) {
    case 0:
        if (!reader_name(r, &name, p->e))
            return false;
        if (!str_eq(name, S("name")))
            return true;
        p->names = (bytes){r->at, reader_left(r)};
        return true;
    case 1:
        return section_types(p, r);
    case 2:
        return section_imports(p, r);
    case 3:
        return section_functions(p, r);
    case 4:
        return section_tables(p, r);
    case 5:
        return section_memories(p, r);
    case 6:
        return section_globals(p, r);
    case 7:
        return section_exports(p, r);
    case 8:
        p->m->has_start = true;
        return reader_u32(r, &p->m->start, p->e);
    case 9:
        return section_elems(p, r);
    case 10:
        return section_codes(p, r);
    case 11:
        return section_datas(p, r);
    case 12:
        return reader_u32(r, &ignored, p->e);
    case 13:
        return section_tags(p, r);
    default:
        return reader_fail(r, p->e, ERR_UNSUPPORTED, "section %u is not known", id);
    }
}

/* Types of the whole function space, and of imported tags. */
static bool spaces(parse *p, reader *r)
{
    core_module *m = p->m;
    if (m->codes_count != p->functions)
        return reader_fail(r, p->e, ERR_INVALID, "%u function bodies for %u functions",
                           m->codes_count, p->functions);
    if (!array_new(p, m->count[CORE_FUNC], sizeof *m->func_types, &m->func_types) ||
        (!m->tag_types && !array_new(p, m->count[CORE_TAG], sizeof *m->tag_types, &m->tag_types)))
        return false;
    uint32_t func = 0, tag = 0;
    for (uint32_t i = 0; i < m->imports_count; i++) {
        if (m->imports[i].kind == CORE_FUNC)
            m->func_types[func++] = m->imports[i].type;
        else if (m->imports[i].kind == CORE_TAG)
            m->tag_types[tag++] = m->imports[i].type;
    }
    for (uint32_t i = 0; i < p->functions; i++)
        m->func_types[func++] = p->function_types[i];
    for (uint32_t i = 0; i < m->count[CORE_FUNC]; i++)
        if (m->func_types[i] >= m->types_count)
            return reader_fail(r, p->e, ERR_INVALID, "function %u has no type", i);
    for (uint32_t i = 0; i < m->count[CORE_TAG]; i++)
        if (m->tag_types[i] >= m->types_count)
            return reader_fail(r, p->e, ERR_INVALID, "tag %u has no type", i);
    for (uint32_t i = 0; i < m->exports_count; i++)
        if (m->exports[i].index >= m->count[m->exports[i].kind])
            return reader_fail(r, p->e, ERR_INVALID, "export '%.*s' names nothing",
                               STR(m->exports[i].name));
    if (m->has_start && m->start >= m->count[CORE_FUNC])
        return reader_fail(r, p->e, ERR_INVALID, "the start function does not exist");
    return true;
}

/* Core specification "Modules": module. */
bool core_module_read(arena *a, bytes module, core_module *ret, err *e)
{
    static const uint8_t preamble[] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    index_map any = {NULL, UINT32_MAX};
    parse p = {.a = a, .m = ret, .e = e, .all = {any, any, any, any, any, any, any, any}};
    reader r = reader_over(module);
    *ret = (core_module){.file = module};
    if (module.n < 8 || memcmp(module.p, preamble, 8) != 0)
        return reader_fail(&r, e, ERR_INVALID, "no core module");
    r.at += 8;
    uint8_t id;
    reader body;
    /* Sections but custom ones occur once, in this order. */
    static const uint8_t order[14] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 11, 6};
    uint8_t last = 0;
    while (!reader_done(&r)) {
        if (!reader_u8(&r, &id, e) || !reader_sized(&r, &body, e))
            return false;
        if (id > 0 && id < sizeof order) {
            if (order[id] <= last)
                return reader_fail(&body, e, ERR_INVALID, "the %s section is out of order",
                                   section_name(id));
            last = order[id];
        }
        if (!section(&p, id, &body))
            return err_wrap(e, "%s section", section_name(id));
        if (id != 0 && !reader_done(&body)) {
            reader_fail(&body, e, ERR_INVALID, "bytes follow the last item");
            return err_wrap(e, "%s section", section_name(id));
        }
    }
    return spaces(&p, &r) && names(&p);
}

const cm_rec *core_module_rec(const core_module *m, uint32_t index)
{
    uint32_t low = 0, high = m->recs_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (m->recs[mid].first + m->recs[mid].count <= index)
            low = mid + 1;
        else
            high = mid;
    }
    return low < m->recs_count && m->recs[low].first <= index ? &m->recs[low] : NULL;
}

const cm_export *core_module_export(const core_module *m, str name)
{
    for (uint32_t i = 0; i < m->exports_count; i++)
        if (str_eq(m->exports[i].name, name))
            return &m->exports[i];
    return NULL;
}
