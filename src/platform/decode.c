/* The decode process: the only one that parses an upload. It maps the component (fd 3; a core
 * module is made one first), links and flattens it, and writes plan and core modules as frames
 * (fd 4). What it writes is checked by everyone who reads it; it can't write anywhere else. */
#include "platform/role.h"

#include "base/limits.h"
#include "component/componentize.h"
#include "component/flatten.h"
#include "platform/artifact.h"
#include "platform/behind.h"
#include "platform/sandbox.h"
#include "platform/spawn.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

int role_fail(int fd, const err *e)
{
    char text[ERR_TEXT_MAX + 16];
    int n = snprintf(text, sizeof text, "%u %s", (unsigned)e->code, e->text);
    fd_write_all(fd, text, n > 0 && (size_t)n < sizeof text ? (size_t)n : sizeof text - 1, NULL);
    return 1;
}

static bool map_fd(int fd, bytes *ret, err *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_size <= 0)
        return err_set_errno(e, "the component cannot be read");
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return err_set_errno(e, "the component cannot be mapped");
    *ret = (bytes){p, (size_t)st.st_size};
    return true;
}

/* A core module becomes a component first; `made` holds it. */
static bool as_component(arena *a, bytes *component, buf *made, err *e)
{
    buf_init(made, COMPONENT_BYTES_MAX);
    if (!bytes_are_core_module(*component))
        return true;
    if (!componentize(a, *component, adapter_reactor(), made, e))
        return false;
    *component = buf_bytes(made);
    return true;
}

static bool flatten_parts(arena *a, bytes file, buf *made, plan *ret, buf **ret_modules, err *e)
{
    composition_part *parts;
    size_t n;
    if (!composition_read(a, file, &parts, &n, e))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!as_component(a, &parts[i].component, &made[i], e))
            return i ? err_wrap(e, "dependency '%.*s'", STR(parts[i].name)) : false;
    return flatten_composition(a, parts, n, ret, ret_modules, e);
}

static bool decode(err *e)
{
    bytes component;
    plan p;
    buf *modules, made[COMPOSITION_PARTS_MAX] = {0}; /* the plan points into what was made */
    _cleanup_(arena_fini) arena a;
    arena_init(&a, COMPONENT_ARENA_BYTES_MAX);
    bool enforced;
    behind_requests();
    if (!sandbox_confine(SANDBOX_PURE, NULL, 0, &enforced, e) || !map_fd(3, &component, e))
        return false;
    bool ok = bytes_are_composition(component)
                  ? flatten_parts(&a, component, made, &p, &modules, e)
                  : as_component(&a, &component, made, e) &&
                        flatten_component(&a, component, &p, &modules, e);
    if (ok) {
        ok = frames_write(4, &p, modules, e);
        flatten_free(modules, p.units_count);
    }
    for (size_t i = 0; i < COMPOSITION_PARTS_MAX; i++)
        buf_fini(&made[i]);
    return ok;
}

int role_decode(int argc, char **argv)
{
    err e;
    return decode(&e) ? 0 : role_fail(5, &e);
}
