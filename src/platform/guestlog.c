/* See guestlog.h. One writev per line to a descriptor with O_APPEND: the kernel keeps lines of
 * different workers apart. It goes to the page cache, so a worker's loop does not wait for a disk.
 */
#include "platform/guestlog.h"

#include "base/limits.h"
#include "platform/spawn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { LOG_LOOK_BYTES = 64 * 1024 };

static bool make_dirs(char *path, err *e)
{
    for (char *at = path + 1;; at++) {
        if (*at && *at != '/')
            continue;
        char was = *at;
        *at = 0;
        if (mkdir(path, 0700) < 0 && errno != EEXIST)
            return err_set_errno(e, "cannot make the folder %s", path);
        *at = was;
        if (!was)
            return true;
    }
}

static void empty_all(const char *dir)
{
    DIR *d = opendir(dir);
    if (!d)
        return;
    for (struct dirent *item; (item = readdir(d));) {
        str name = str_from(item->d_name);
        if (str_ends(name, S("_stdout.txt")) || str_ends(name, S("_stderr.txt"))) {
            _cleanup_fd_ int fd =
                openat(dirfd(d), item->d_name, O_WRONLY | O_TRUNC | O_NOFOLLOW | O_CLOEXEC);
        }
    }
    closedir(d);
}

bool guestlog_dir_make(arena *a, str dir, bool truncate, str *ret, err *e)
{
    char *path = arena_cstr(a, dir);
    if (!path)
        return err_no_memory(e);
    if (!make_dirs(path, e))
        return false;
    char *full = realpath(path, NULL);
    if (!full)
        return err_set_errno(e, "%s", path);
    *ret = arena_str(a, str_from(full));
    bool writable = access(full, W_OK) == 0;
    free(full);
    if (!ret->p)
        return err_no_memory(e);
    if (!writable)
        return err_set_errno(e, "%s cannot be written to", path);
    if (truncate)
        empty_all(ret->p);
    return true;
}

static bool file_open(str dir, str component, const char *stream, int *ret, err *e)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%.*s/%.*s_%s.txt", STR(dir), STR(component), stream);
    if (n < 0 || (size_t)n >= sizeof path)
        return err_set(e, ERR_LIMIT, "the path of the log folder is too long");
    *ret = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return *ret >= 0 ? true : err_set_errno(e, "%s", path);
}

bool guestlog_open(str dir, str component, guestlog *ret, err *e)
{
    guestlog l = {.out = -1, .err = -1};
    *ret = l;
    if (!dir.n)
        return true;
    if (!file_open(dir, component, "stdout", &l.out, e))
        return false;
    if (!file_open(dir, component, "stderr", &l.err, e)) {
        guestlog_close(&l);
        return false;
    }
    *ret = l;
    return true;
}

void guestlog_open_later(guestlogs *all, str dir, str component, guestlog *ret)
{
    *ret = (guestlog){.out = -1, .err = -1, .all = all, .dir = dir, .component = component};
}

static bool is_listed(const guestlog *l) { return l->all && (l->out >= 0 || l->err >= 0); }

static void unlist(guestlog *l)
{
    *(l->newer ? &l->newer->older : &l->all->newest) = l->older;
    *(l->older ? &l->older->newer : &l->all->oldest) = l->newer;
    l->all->open--;
}

static void list(guestlog *l)
{
    guestlogs *all = l->all;
    l->older = all->newest;
    l->newer = NULL;
    *(all->newest ? &all->newest->newer : &all->oldest) = l;
    all->newest = l;
    all->open++;
}

void guestlog_close(guestlog *l)
{
    if (is_listed(l))
        unlist(l);
    fd_close(&l->out);
    fd_close(&l->err);
}

/* The file for a line, where it is opened by its first. What fails is tried again by the next. */
static void ready(guestlog *l, int stream)
{
    char dir[PATH_MAX];
    err e;
    int *fd = stream == 1 ? &l->out : &l->err;
    if (l->all->newest == l && *fd >= 0)
        return;
    if (is_listed(l)) {
        unlist(l);
        list(l);
    }
    if (*fd >= 0)
        return;
    bool was_listed = is_listed(l);
    int n = snprintf(dir, sizeof dir, "%.*s", STR(l->dir));
    if (n < 0 || (size_t)n >= sizeof dir || (mkdirat(AT_FDCWD, dir, 0700) < 0 && errno != EEXIST) ||
        !file_open(l->dir, l->component, stream == 1 ? "stdout" : "stderr", fd, &e))
        return;
    if (!was_listed)
        list(l);
    while (l->all->open > l->all->open_max && l->all->oldest != l)
        guestlog_close(l->all->oldest);
}

/* A file that has grown to LOG_TURN_BYTES becomes "<name>.1", and the next line begins a new one.
 * Another worker may have done so: then our descriptor is of the older file, and we open anew. Only
 * whose descriptor still has the name renames it. */
static void turn(guestlog *l, int stream)
{
    char path[PATH_MAX], older[PATH_MAX + 2];
    struct stat ours, named;
    int *fd = stream == 1 ? &l->out : &l->err;
    l->written = 0;
    int n = snprintf(path, sizeof path, "%.*s/%.*s_%s.txt", STR(l->dir), STR(l->component),
                     stream == 1 ? "stdout" : "stderr");
    if (*fd < 0 || n < 0 || (size_t)n >= sizeof path || fstat(*fd, &ours) < 0)
        return;
    bool same = stat(path, &named) == 0 && named.st_ino == ours.st_ino;
    if (same && (uint64_t)ours.st_size < LOG_TURN_BYTES)
        return;
    snprintf(older, sizeof older, "%s.1", path);
    if (same && renameat(AT_FDCWD, path, AT_FDCWD, older) < 0)
        return;
    guestlog_close(l);
}

void guestlog_write(guestlog *l, int stream, str line)
{
    l->written += line.n + 1;
    if (l->all && l->written >= LOG_LOOK_BYTES) {
        turn(l, 1);
        turn(l, 2);
    }
    if (l->all)
        ready(l, stream);
    int fd = stream == 1 ? l->out : l->err;
    if (fd < 0)
        return;
    struct iovec parts[] = {{(void *)(line.n ? line.p : ""), line.n}, {"\n", 1}};
    ssize_t n = writev(fd, parts, 2);
    (void)n; /* a full disk must not stop a request */
}
