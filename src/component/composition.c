/* The file of a composition, and the names of dependencies.
 *
 *     "\0ebbcomp"  u32 parts  { u32 withheld  name  export  u32 length  bytes } ...
 *
 * Numbers of four bytes are little-endian; names are length (LEB128) and UTF-8. The file is made by
 * whoever has read a manifest, from files that nobody has looked at, and read by the decode
 * process. Why not a component that holds the parts: that would need the types of all imports
 * written out once more, and would say nothing about what a dependency may do. */
#include "component/composition.h"

#include "component/reader.h"

static const uint8_t magic[8] = {0, 'e', 'b', 'b', 'c', 'o', 'm', 'p'};

bool bytes_are_composition(bytes b)
{
    return b.n >= sizeof magic && memcmp(b.p, magic, sizeof magic) == 0;
}

/* "ns:pkg/iface@1.0.0" in parts; interface and version may be empty. */
typedef struct {
    str package, interface, version;
} package_name;

static package_name package_name_parse(str s)
{
    package_name n = {0};
    size_t at = str_find(s, '@');
    n.version = str_skip(s, at + 1);
    str path = str_head(s, at);
    size_t slash = str_find(path, '/');
    n.package = str_head(path, slash);
    n.interface = str_skip(path, slash + 1);
    return n;
}

bool composition_matches(str dependency, str import)
{
    bool is_package = str_find(dependency, ':') < dependency.n;
    if (is_package != (str_find(import, ':') < import.n))
        return false;
    if (!is_package)
        return str_eq(dependency, import);
    package_name d = package_name_parse(dependency), i = package_name_parse(import);
    return str_eq(d.package, i.package) && (!d.interface.n || str_eq(d.interface, i.interface)) &&
           (!d.version.n || str_eq(d.version, i.version));
}

static bool put_u32(buf *out, uint32_t v)
{
    uint8_t b[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
    return buf_put(out, b, sizeof b);
}

static bool put_name(buf *out, str s)
{
    uint32_t n = (uint32_t)s.n;
    for (; n >= 0x80; n >>= 7)
        if (!buf_put_u8(out, (uint8_t)(n | 0x80)))
            return false;
    return buf_put_u8(out, (uint8_t)n) && buf_put(out, s.p, s.n);
}

bool composition_write(const composition_part *parts, size_t n, buf *out, err *e)
{
    if (!n || n > COMPOSITION_PARTS_MAX)
        return err_set(e, ERR_LIMIT, "a component may have %d dependencies",
                       COMPOSITION_PARTS_MAX - 1);
    bool ok = buf_put(out, magic, sizeof magic) && put_u32(out, (uint32_t)n);
    for (size_t i = 0; ok && i < n; i++)
        ok = put_u32(out, parts[i].withheld) && put_name(out, parts[i].name) &&
             put_name(out, parts[i].export_name) && put_u32(out, (uint32_t)parts[i].component.n) &&
             buf_put(out, parts[i].component.p, parts[i].component.n);
    return ok || err_set(e, ERR_LIMIT, "a component and its dependencies have more than %zu bytes",
                         out->max);
}

bool composition_read(arena *a, bytes b, composition_part **ret, size_t *ret_n, err *e)
{
    reader r = reader_over(b);
    uint32_t n, length;
    if (!bytes_are_composition(b) || !reader_skip(&r, sizeof magic, e) ||
        !reader_fixed_u32(&r, &n, e))
        return err_set(e, ERR_INVALID, "this is not a composition");
    if (!n || n > COMPOSITION_PARTS_MAX)
        return reader_fail(&r, e, ERR_INVALID, "%u parts; at most %d are allowed", n,
                           COMPOSITION_PARTS_MAX);
    composition_part *parts = ARENA_ARRAY(a, composition_part, n);
    if (!parts)
        return err_no_memory(e);
    for (uint32_t i = 0; i < n; i++) {
        composition_part *p = &parts[i];
        if (!reader_fixed_u32(&r, &p->withheld, e) || !reader_name(&r, &p->name, e) ||
            !reader_name(&r, &p->export_name, e) || !reader_fixed_u32(&r, &length, e) ||
            !reader_bytes(&r, length, &p->component, e))
            return err_wrap(e, "composition");
        if (p->withheld & ~(uint32_t)COMPOSITION_ALL)
            return reader_fail(&r, e, ERR_INVALID, "unknown capabilities");
    }
    if (!reader_done(&r))
        return reader_fail(&r, e, ERR_INVALID, "unexpected data after the last part");
    *ret = parts;
    *ret_n = n;
    return true;
}
