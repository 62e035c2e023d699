/* A module: an artifact mapped from its file.
 *
 * An artifact is native code, so opening one is an act of trust, and the trust is in who can write
 * the file: it must be a plain file of the artifact owner (or root) that nobody else may write.
 * Beside that only what guards against accidents is checked: it is an ELF file whose section table
 * ends where the file ends (a cut file is found before it is mapped), and Wasmtime refuses what
 * another version or other settings compiled. Full digests are checked when artifacts are written
 * and by the scrubber, not here: hashing would cost more than everything else on this path.
 *
 * The file is checked by descriptor and then opened again by name: its directory belongs to the
 * same owner, so whoever could swap the file in between could also have written it.
 */
#include "engine/inner.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static bool artifact_check_fd(const engine *en, int fd, const char *path, err *e)
{
    struct stat st;
    if (fstat(fd, &st))
        return err_set_errno(e, "%s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_DENIED, "%s: not a plain file", path);
    if (st.st_uid != en->config.artifact_owner && st.st_uid != 0)
        return err_set(e, ERR_DENIED, "%s: belongs to user %u; artifacts must belong to user %u",
                       path, (unsigned)st.st_uid, en->config.artifact_owner);
    if (st.st_mode & (S_IWGRP | S_IWOTH))
        return err_set(e, ERR_DENIED,
                       "%s: others may write it (mode %03o); artifacts are native code", path,
                       (unsigned)st.st_mode & 0777);
    Elf64_Ehdr h;
    ssize_t n = pread(fd, &h, sizeof h, 0);
    if (n < 0)
        return err_set_errno(e, "%s", path);
    uint64_t size = (uint64_t)st.st_size, end;
    if ((size_t)n < sizeof h || memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 ||
        h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_shentsize != sizeof(Elf64_Shdr))
        return err_set(e, ERR_INVALID, "%s: not a compiled module", path);
    if (__builtin_add_overflow(h.e_shoff, (uint64_t)h.e_shnum * h.e_shentsize, &end) || end != size)
        return err_set(e, ERR_INVALID, "%s: damaged: its header speaks of %llu bytes, it has %llu",
                       path, (unsigned long long)end, (unsigned long long)size);
    return true;
}

static bool artifact_check(const engine *en, const char *path, err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        if (errno == ENOENT)
            return err_set(e, ERR_NOT_FOUND, "%s: no such artifact", path);
        return err_set_errno(e, "%s", path);
    }
    bool ok = artifact_check_fd(en, fd, path, e);
    close(fd);
    return ok;
}

bool engine_module_open(engine *en, const char *path, const plan_unit *unit, engine_links *links,
                        engine_module **ret, err *e)
{
    if (!artifact_check(en, path, e))
        return false;
    engine_module *m = calloc(1, sizeof *m);
    if (!m)
        return err_no_memory(e);
    m->en = en;
    m->unit = unit;
    wasmtime_error_t *error = wasmtime_module_deserialize_file(en->wasm, path, &m->module);
    if (error) {
        free(m);
        engine_error(e, ERR_INVALID, error);
        return err_wrap(e, "%s", path);
    }
    error = wasmtime_linker_instantiate_pre(links->linker, m->module, &m->pre);
    if (error) {
        wasmtime_module_delete(m->module);
        free(m);
        engine_error(e, ERR_INVALID, error);
        return err_wrap(e, "%s", path);
    }
    m->links = links;
    links->refs++;
    en->modules_count++;
    *ret = m;
    return true;
}

void engine_module_close(engine_module *m)
{
    if (!m)
        return;
    kept_module_fini(m);
    must(m->instances_count == 0);
    m->en->modules_count--;
    wasmtime_instance_pre_delete(m->pre);
    wasmtime_module_delete(m->module);
    engine_links_drop(m->links);
    pages_module_fini(m);
    free(m);
}
