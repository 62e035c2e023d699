/* The compile process: reads one core module (a part of fd 3), lets the engine validate and compile
 * it, writes the artifact (fd 4). It never sees the upload, and its output is what workers run. */
#include "platform/role.h"

#include "base/limits.h"
#include "engine/engine.h"
#include "platform/behind.h"
#include "platform/sandbox.h"
#include "platform/spawn.h"

#include <sys/mman.h>
#include <sys/stat.h>

static bool module_map(int argc, char **argv, bytes *ret, err *e)
{
    struct stat st;
    uint64_t offset, length;
    if (argc != 3 || !str_to_u64(str_from(argv[1]), INT64_MAX, &offset) ||
        !str_to_u64(str_from(argv[2]), INT64_MAX, &length))
        return err_set(e, ERR_INTERNAL, "compile: bad arguments");
    if (fstat(3, &st) < 0)
        return err_set_errno(e, "the core module cannot be read");
    uint64_t size = (uint64_t)st.st_size;
    if (offset > size || length > size - offset)
        return err_set(e, ERR_INVALID, "the core module lies outside of its frames");
    uint8_t *p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, 3, 0);
    if (p == MAP_FAILED)
        return err_set_errno(e, "the core module cannot be mapped");
    *ret = (bytes){p + offset, length};
    return true;
}

static bool compile(int argc, char **argv, err *e)
{
    bytes module;
    engine *en = NULL;
    engine_config config = engine_config_default();
    config.compiler = true;
    _cleanup_(buf_fini) buf out;
    buf_init(&out, 4 * GIB);
    behind_requests();
    bool enforced, ok = module_map(argc, argv, &module, e) && engine_new(&config, &en, e) &&
                        sandbox_confine(SANDBOX_COMPILE, NULL, 0, &enforced, e) &&
                        engine_compile(en, module, &out, e) && fd_write_all(4, out.p, out.n, e);
    if (en)
        engine_free(en);
    return ok;
}

int role_compile(int argc, char **argv)
{
    err e;
    return compile(argc, argv, &e) ? 0 : role_fail(5, &e);
}
