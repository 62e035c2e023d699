/* The unpack process: inflates an archive layer of an app (fd 3) and writes the content of each
 * file in it (fd 4) as
 *
 *     u64 length, bytes
 *
 * What files are called does not leave it; whoever reads them knows them by their digest. */
#include "platform/role.h"

#include "app/archive.h"
#include "base/limits.h"
#include "platform/sandbox.h"
#include "platform/spawn.h"

#include <sys/mman.h>
#include <sys/stat.h>

static bool file_write(void *user, bytes content, err *e)
{
    uint64_t n = content.n;
    return fd_write_all(4, &n, sizeof n, e) && fd_write_all(4, content.p, content.n, e);
}

static bool unpack(err *e)
{
    struct stat st;
    bool enforced;
    _cleanup_(buf_fini) buf tar;
    buf_init(&tar, ARCHIVE_BYTES_MAX);
    if (!sandbox_confine(SANDBOX_PURE, NULL, 0, &enforced, e))
        return false;
    if (fstat(3, &st) < 0 || st.st_size <= 0)
        return err_set_errno(e, "the archive cannot be read");
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, 3, 0);
    if (p == MAP_FAILED)
        return err_set_errno(e, "the archive cannot be mapped");
    return archive_inflate((bytes){p, (size_t)st.st_size}, &tar, e) &&
           archive_files(buf_bytes(&tar), file_write, NULL, e);
}

int role_unpack(int argc, char **argv)
{
    err e;
    return unpack(&e) ? 0 : role_fail(5, &e);
}
