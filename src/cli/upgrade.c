/* `ebb upgrade`: tells the node of a data folder to replace all its processes by the build that is
 * installed now, and waits for what it says. Settings and certificates are read anew on the way.
 * Who to tell is who listens on admin.sock; the outcome is a file beside it
 * (platform/upgrade.h), so a node that can't answer can still say why. */
#include "cli/commands.h"
#include "cli/options.h"

#include "base/clock.h"
#include "loop/listen.h"
#include "platform/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_S = 90, LOOK_MS = 50, OUTCOME_BYTES_MAX = 1024 };

static bool supervisor_find(str data, pid_t *ret, err *e)
{
    char path[PATH_MAX];
    struct ucred of;
    socklen_t n = sizeof of;
    snprintf(path, sizeof path, "%.*s/admin.sock", STR(data));
    _cleanup_fd_ int fd = connect_local(path, e);
    if (fd < 0)
        return err_wrap(e, "no node runs here");
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &of, &n) < 0 || of.pid <= 0)
        return err_set_errno(e, "%s", path);
    *ret = of.pid;
    return true;
}

/* False: there is none yet. */
static bool outcome_read(const char *path, char text[OUTCOME_BYTES_MAX])
{
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, OUTCOME_BYTES_MAX - 1);
    if (n <= 0)
        return false;
    text[n] = 0;
    text[strcspn(text, "\n")] = 0;
    return true;
}

static bool upgrade(arena *a, const options *o, err *e)
{
    str data;
    pid_t pid;
    char path[PATH_MAX], text[OUTCOME_BYTES_MAX];
    if (!cli_data_of(a, o, &data, e) || !supervisor_find(data, &pid, e))
        return false;
    snprintf(path, sizeof path, "%.*s/upgrade.txt", STR(data));
    if (unlink(path) < 0 && errno != ENOENT)
        return err_set_errno(e, "%s", path);
    if (kill(pid, SIGUSR2) < 0)
        return err_set_errno(e, "process %d can't be told", (int)pid);
    for (ns end = clock_mono() + PATIENCE_S * NS_PER_S; clock_mono() < end;) {
        struct timespec look = {0, LOOK_MS * NS_PER_MS};
        if (outcome_read(path, text)) {
            if (!str_starts(str_from(text), S("ok ")))
                return err_set(e, ERR_INVALID, "the node serves on as it is: %s",
                               text + strcspn(text, " "));
            printf("%s serves; requests that had begun before end in the processes before\n",
                   text + 3);
            return true;
        }
        nanosleep(&look, NULL);
    }
    return err_set(e, ERR_TIMEOUT, "process %d has not said how it went; its log may", (int)pid);
}

int cli_upgrade(int argc, char **argv)
{
    option rows[] = {DATA_OPTION, {0}};
    options o = {.command = "upgrade",
                 .options = rows,
                 .summary =
                     "Replaces all processes of a node by the build that is installed now; no "
                     "request fails."};
    err e;
    _cleanup_(arena_fini) arena a;
    arena_init(&a, 1 << 20);
    if (!options_parse(&a, &o, argc, argv, &e))
        return cli_fail(&e), 2;
    if (o.help)
        return 0;
    return upgrade(&a, &o, &e) ? 0 : cli_fail(&e);
}
