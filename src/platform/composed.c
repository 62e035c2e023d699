/* See composed.h. The file is written beside its place and renamed, so that it is there whole or
 * not at all. Its name is a digest of what it is made of; the artifact made of it is then found by
 * the digest of its bytes, like that of any component. */
#include "platform/composed.h"

#include "base/limits.h"
#include "component/composition.h"
#include "platform/artifact.h"
#include "platform/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reads a part and adds what it is to the recipe. */
static bool part_load(arena *a, const composed_part *p, composition_part *ret, buf *recipe, err *e)
{
    char hex[65];
    const app_dependency *d = p->dependency;
    *ret = (composition_part){0};
    if (d)
        *ret = (composition_part){.name = d->name,
                                  .export_name = d->export_name,
                                  .withheld = APP_INHERIT_ALL & ~d->inherit};
    if (access(p->path.p, F_OK) < 0 && errno == ENOENT)
        return err_set(e, ERR_NOT_FOUND, "%.*s does not exist; build it first ('ebb build')",
                       STR(p->path));
    if (!file_load(a, p->path.p, COMPONENT_BYTES_MAX, &ret->component, e) ||
        !sha256_hex(ret->component, hex, e))
        return false;
    if (p->digest.n && !str_eq(str_skip(p->digest, 7), str_from(hex)))
        return err_set(e, ERR_INVALID, "%.*s is damaged: it no longer has its digest; delete it",
                       STR(p->path));
    return buf_printf(recipe, "%s %.*s %.*s %x\n", hex, STR(ret->name), STR(ret->export_name),
                      ret->withheld) ||
           err_no_memory(e);
}

static bool file_write(arena *a, str path, bytes content, err *e)
{
    str temp = arena_printf(a, "%.*s.%d.tmp", STR(path), (int)getpid());
    if (!temp.p)
        return err_no_memory(e);
    _cleanup_fd_ int fd = open(temp.p, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set_errno(e, "%s", temp.p);
    bool ok = fd_write_all(fd, content.p, content.n, e) &&
              (fsync(fd) == 0 || err_set_errno(e, "%s", temp.p)) &&
              (rename(temp.p, path.p) == 0 || err_set_errno(e, "%s", path.p));
    if (!ok)
        unlink(temp.p);
    return ok;
}

bool composed_make(arena *a, str cache_dir, const composed_part *parts, size_t n, str *ret, err *e)
{
    char hex[65];
    _cleanup_(arena_fini) arena scratch;
    _cleanup_(buf_fini) buf recipe, out;
    arena_init(&scratch, COMPONENT_ARENA_BYTES_MAX);
    buf_init(&recipe, 1 * MIB);
    buf_init(&out, COMPONENT_BYTES_MAX);
    composition_part *all = ARENA_ARRAY(&scratch, composition_part, n);
    if (!all)
        return err_no_memory(e);
    for (size_t i = 0; i < n; i++)
        if (!part_load(&scratch, &parts[i], &all[i], &recipe, e)) {
            const app_dependency *d = parts[i].dependency;
            return d ? err_wrap(e, "dependency '%.*s'", STR(d->name)) : false;
        }
    if (!sha256_hex(buf_bytes(&recipe), hex, e))
        return false;
    str dir = arena_printf(a, "%.*s/composed", STR(cache_dir));
    str path = arena_printf(a, "%.*s/composed/%s", STR(cache_dir), hex);
    if (!dir.p || !path.p)
        return err_no_memory(e);
    if (mkdir(dir.p, 0700) < 0 && errno != EEXIST)
        return err_set_errno(e, "cannot make the folder %s", dir.p);
    *ret = path;
    return access(path.p, R_OK) == 0 ||
           (composition_write(all, n, &out, e) && file_write(a, path, buf_bytes(&out), e));
}
