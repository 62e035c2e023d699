/* A folder of a test's own, and what is in its small files. */
#pragma once

#include "unit.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

/* Makes it, a new one each time: a name, to which letters are added. */
static inline bool folder_make(const char *name)
{
    snprintf(dir, sizeof dir, "%s-XXXXXX", name);
    return mkdtemp(dir);
}

static inline int remove_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
    return remove(path);
}

/* With all that is in it; 0: it is gone. */
static inline int folder_remove(const char *path)
{
    return nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Good until the next call. */
static inline const char *content(const char *path)
{
    static char text[64 << 10];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    if (fd >= 0)
        close(fd);
    return fd < 0 ? "(there is no such file)" : text;
}
