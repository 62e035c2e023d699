/* A library to preload (LD_PRELOAD) that makes the disk slow, full or read-only, or remembers what
 * of it a power cut would leave. Not part of the product: for tests, ./dev soak and ./dev bench.
 *
 *     IO_SHIM_SLOW_US=5000   every fsync and fdatasync of a file takes that much longer
 *     IO_SHIM_DURABLE=.durable
 *         each fsync of a file in a folder that has a folder of this name copies the file there, as
 *         <inode>; each fsync of such a folder writes the names in it, with their inodes, to
 *         "names". What is not there, a power cut would not leave: soak/durability.py puts the
 *         folder back to that.
 *
 *     IO_SHIM_FAILING=/path/of/a/file
 *         while that name with ".28" after it (or the number of EROFS or EIO) exists, what writes
 *         at a place in a file (SQLite does, logs do not) fails with that error; with EROFS files
 *         cannot be opened for writing either
 *
 * A copy is written under another name and renamed before the fsync returns, so a process that is
 * killed meanwhile has told nobody that its fsync was done. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
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

/* --- a disk that refuses ---------------------------------------------------------------------- */

/* 0: nothing fails now. */
static int failing(void)
{
    const char *name = getenv("IO_SHIM_FAILING");
    static const int numbers[] = {ENOSPC, EROFS, EIO};
    char path[PATH_MAX];
    for (int i = 0; name && i < 3; i++) {
        snprintf(path, sizeof path, "%s.%d", name, numbers[i]);
        if (access(path, F_OK) == 0)
            return numbers[i];
    }
    return 0;
}

static ssize_t refused(int number)
{
    errno = number;
    return -1;
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at)
{
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    int number = failing();
    if (!real)
        real = (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    return number ? refused(number) : real(fd, p, n, at);
}

int ftruncate64(int fd, off64_t n)
{
    static int (*real)(int, off64_t);
    int number = failing();
    if (!real)
        real = (int (*)(int, off64_t))dlsym(RTLD_NEXT, "ftruncate64");
    return number ? (int)refused(number) : real(fd, n);
}

int open64(const char *path, int flags, ...)
{
    static int (*real)(const char *, int, ...);
    va_list rest;
    va_start(rest, flags);
    int mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, int) : 0;
    va_end(rest);
    if (!real)
        real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && failing() == EROFS)
        return (int)refused(EROFS);
    return real(path, flags, mode);
}
