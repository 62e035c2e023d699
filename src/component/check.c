/* One component, section by section (Binary.md "Component Definitions").
 *
 * Sections may come in any order and any number; each item is checked against what came before it.
 * Nested components are read by the same function, one level deeper. What is read of a component is
 * written down as operations (def.h), so that instantiating it later needs no checks. */
#include "component/check.h"

/* Binary.md "Component Definitions": preamble. */
static bool preamble_read(linker *l, reader *r, bool component)
{
    static const uint8_t magic[4] = {0, 'a', 's', 'm'};
    uint32_t version;
    bytes b;
    if (!reader_bytes(r, 4, &b, l->e))
        return false;
    if (memcmp(b.p, magic, 4) != 0) {
        r->at -= 4;
        return reader_fail(r, l->e, ERR_INVALID, "magic header not detected: this is not wasm");
    }
    if (!reader_fixed_u32(r, &version, l->e))
        return false;
    if (version == (component ? 0x1000du : 1u))
        return true;
    r->at -= 4;
    if (component && version == 1)
        return reader_fail(r, l->e, ERR_INVALID, "this is a core module, not a component");
    if (version >> 16 == 1)
        return reader_fail(r, l->e, component ? ERR_UNSUPPORTED : ERR_INVALID,
                           component ? "unsupported component version 0x%x"
                                     : "unknown binary version: a component (version 0x%x) where a "
                                       "core module is expected",
                           version & 0xffff);
    return reader_fail(r, l->e, ERR_INVALID, "unknown binary version 0x%x", version);
}

/* Binary.md "Component Definitions": core module section. */
static bool module_read(linker *l, reader *r, scope *s)
{
    op o = {.kind = OP_CORE_MODULE};
    entity e = {.kind = SORT_MODULE};
    l->at = reader_offset(r);
    o.module = (bytes){r->at, reader_left(r)};
    if (!preamble_read(l, r, false) || !module_type_read(l, o.module, &e.module))
        return false;
    l->core_modules_count++;
    r->at = r->end;
    return scope_add(l, s, &e) && scope_op(l, s, &o);
}

/* Binary.md "Component Definitions": component section.
 * Recursion: at most COMPONENT_DEPTH_MAX. */
static bool nested_read(linker *l, reader *r, scope *parent)
{
    op o = {.kind = OP_COMPONENT};
    entity e = {.kind = SORT_COMPONENT, .type = ctype_new(l, CTYPE_COMPONENT)};
    uint64_t at = l->at;
    scope *s = scope_new(l, SCOPE_COMPONENT, parent);
    if (!s || !e.type)
        return false;
    s->depth = parent->depth + 1;
    if (s->depth >= COMPONENT_DEPTH_MAX)
        return link_fail(l, ERR_LIMIT, "components are nested more than %d deep",
                         COMPONENT_DEPTH_MAX);
    if (!preamble_read(l, r, true) || !component_read(l, *r, s) ||
        !scope_finish(l, s, &e.type->shape))
        return false;
    r->at = r->end;
    l->at = at;
    o.def = s->def;
    return ctype_finish(l, e.type) && scope_add(l, parent, &e) && scope_op(l, parent, &o);
}

/* Binary.md "Component Definitions": core custom section. */
static bool custom_read(linker *l, reader *r, scope *s)
{
    str name;
    if (!reader_name(r, &name, l->e))
        return false;
    r->at = r->end;
    return true;
}

/* Binary.md "Start Definitions". */
static bool start_read(linker *l, reader *r, scope *s)
{
    return link_fail(l, ERR_UNSUPPORTED,
                     "component start functions (the 'values' feature) are not "
                     "supported");
}

/* Binary.md "Value Definitions". */
static bool value_read(linker *l, reader *r, scope *s)
{
    return link_fail(l, ERR_UNSUPPORTED,
                     "value definitions (the 'values' feature) are not "
                     "supported");
}

typedef bool read_fn(linker *l, reader *r, scope *s);

static const struct {
    const char *name;
    read_fn *item;
    bool whole; /* not a vector of items */
} sections[] = {
    {"custom", custom_read, true},
    {"core module", module_read, true},
    {"core instance", core_instance_read, false},
    {"core type", core_type_read, false},
    {"component", nested_read, true},
    {"instance", instance_read, false},
    {"alias", alias_read, false},
    {"type", type_read, false},
    {"canonical function", canon_read, false},
    {"start", start_read, true},
    {"import", import_read, false},
    {"export", export_read, false},
    {"value", value_read, true},
};

/* Binary.md "Component Definitions": section. */
static bool section_read(linker *l, uint8_t id, reader *r, scope *s)
{
    uint32_t n;
    l->at = reader_offset(r);
    if (sections[id].whole)
        return sections[id].item(l, r, s);
    if (!reader_count(r, COMPONENT_ITEMS_MAX, "items", &n, l->e))
        return false;
    for (uint32_t i = 0; i < n; i++) {
        l->at = reader_offset(r);
        if (!link_work(l, 1) || !sections[id].item(l, r, s))
            return false;
    }
    return true;
}

/* Binary.md "Component Definitions": component. */
bool component_read(linker *l, reader r, scope *s)
{
    while (!reader_done(&r)) {
        uint8_t id;
        reader section;
        if (!reader_u8(&r, &id, l->e))
            return false;
        if (id >= sizeof sections / sizeof *sections) {
            r.at--;
            return reader_fail(&r, l->e, ERR_INVALID, "malformed section id %u", id);
        }
        if (!reader_sized(&r, &section, l->e) || !section_read(l, id, &section, s))
            return err_wrap(l->e, "%s section", sections[id].name);
        if (!reader_done(&section)) {
            reader_fail(&section, l->e, ERR_INVALID,
                        "section size mismatch: unexpected data at "
                        "the end");
            return err_wrap(l->e, "%s section", sections[id].name);
        }
    }
    return true;
}
