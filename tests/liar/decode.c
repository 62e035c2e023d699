/* A decode process that somebody has taken over: it writes whatever it likes, which is the upload
 * as it is. With the rest of ebb around it (`ebb-liar`) it shows what such a process can reach. */
#include "platform/role.h"

#include "platform/sandbox.h"
#include "platform/spawn.h"

#include <unistd.h>

static bool lie(err *e)
{
    char part[65536];
    ssize_t n;
    if (!sandbox_enter(SANDBOX_PURE, e))
        return false;
    while ((n = read(3, part, sizeof part)) > 0)
        if (!fd_write_all(4, part, (size_t)n, e))
            return false;
    return n == 0;
}

/* meson.build names it role_liar; main.c takes it for the decode process. */
int role_decode(int argc, char **argv)
{
    err e;
    return lie(&e) ? 0 : role_fail(5, &e);
}
