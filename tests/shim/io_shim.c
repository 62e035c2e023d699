/* A library to preload (LD_PRELOAD) that makes the disk slow, or remembers what of it a power cut
 * would leave. Not part of the product: for ./dev soak and ./dev bench.
 *
 *     IO_SHIM_SLOW_US=5000   every fsync and fdatasync of a file takes that much longer
 *     IO_SHIM_DURABLE=.durable
 *         each fsync of a file in a folder that has a folder of this name copies the file there, as
 *         <inode>; each fsync of such a folder writes the names in it, with their inodes, to
 *         "names". What is not there, a power cut would not leave: soak/durability.py puts the
 *         folder back to that.
 *
 * A copy is written under another name and renamed before the fsync returns, so a process that is
 * killed meanwhile has told nobody that its fsync was done. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* The folder where durable copies go, of a file or folder; -1: it has none. */
static int durable_open(int fd, int is_dir)
{
    const char *name = getenv("IO_SHIM_DURABLE");
    char link[64], path[PATH_MAX];
    if (!name)
        return -1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 64);
    if (n <= 0)
        return -1;
    path[n] = 0;
    char *end = is_dir ? path + n : strrchr(path, '/');
    if (!end)
        return -1;
    snprintf(end, 64, "/%s", name);
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int file_copy(int fd, int out)
{
    char block[65536];
    off_t at = 0;
    for (;;) {
        ssize_t n = pread(fd, block, sizeof block, at);
        if (n <= 0)
            return (int)n;
        for (ssize_t done = 0; done < n;) {
            ssize_t w = write(out, block + done, (size_t)(n - done));
            if (w < 0)
                return -1;
            done += w;
        }
        at += n;
    }
}

static int names_write(int fd, int out)
{
    int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = again < 0 ? NULL : fdopendir(again);
    if (!d)
        return -1;
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.')
            dprintf(out, "%s %llu\n", e->d_name, (unsigned long long)e->d_ino);
    closedir(d);
    return 0;
}

static int remember(int fd)
{
    struct stat st;
    char temporary[64], name[64];
    if (fstat(fd, &st) < 0 || !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)))
        return 0;
    int is_dir = S_ISDIR(st.st_mode), to = durable_open(fd, is_dir);
    if (to < 0)
        return 0;
    snprintf(name, sizeof name, is_dir ? "names" : "%llu", (unsigned long long)st.st_ino);
    snprintf(temporary, sizeof temporary, "new-%d", getpid());
    pthread_mutex_lock(&lock);
    int out = openat(to, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), r = -1;
    if (out >= 0) {
        r = is_dir ? names_write(fd, out) : file_copy(fd, out);
        close(out);
    }
    if (r == 0)
        r = renameat(to, temporary, to, name);
    pthread_mutex_unlock(&lock);
    close(to);
    if (r < 0)
        errno = EIO; /* what cannot be remembered was not made durable */
    return r;
}

static int synced(int fd, int (*real)(int))
{
    const char *slow = getenv("IO_SHIM_SLOW_US");
    int r = real(fd);
    if (r == 0 && slow) {
        long us = strtol(slow, NULL, 10);
        struct timespec t = {us / 1000000, us % 1000000 * 1000};
        while (nanosleep(&t, &t) < 0 && errno == EINTR)
            ;
    }
    return r == 0 ? remember(fd) : r;
}

int fsync(int fd)
{
    static int (*real)(int);
    if (!real)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return synced(fd, real);
}

int fdatasync(int fd)
{
    static int (*real)(int);
    if (!real)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return synced(fd, real);
}
