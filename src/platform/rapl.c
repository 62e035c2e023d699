/* See rapl.h. Descriptors stay open, so that a keeper without privileges can go on reading. Linux,
 * Documentation/power/powercap/powercap.rst. */
#include "platform/rapl.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool text_read(int at, const char *dir, const char *file, char *ret, size_t n)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    int fd = openat(at, path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, ret, n - 1) : -1;
    if (fd >= 0)
        close(fd);
    ret[got > 0 ? got : 0] = 0;
    return got > 0;
}

static void zone_open(rapl *r, int at, const char *dir, double watts_max)
{
    char name[64], range[32], path[512];
    struct stat st;
    if (r->count == RAPL_ZONES_MAX || !text_read(at, dir, "name", name, sizeof name) ||
        !rapl_zone_counts(str_from(dir), str_trim(str_from(name))) ||
        !text_read(at, dir, "max_energy_range_uj", range, sizeof range))
        return;
    snprintf(path, sizeof path, "%s/energy_uj", dir);
    int fd = openat(at, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && (st.st_mode & S_IROTH))
        r->world_readable = true;
    uint64_t range_uj = strtoull(range, NULL, 10);
    double interval = rapl_interval_s_max(range_uj, watts_max);
    if (!r->count || interval < r->interval_s_max)
        r->interval_s_max = interval;
    r->fd[r->count] = fd;
    r->zone[r->count++] = (rapl_zone){.range_uj = range_uj};
}

void rapl_open(rapl *r, const char *root, double watts_max)
{
    *r = (rapl){0};
    DIR *d = opendir(root);
    if (!d)
        return;
    for (struct dirent *entry; (entry = readdir(d));)
        if (entry->d_name[0] != '.')
            zone_open(r, dirfd(d), entry->d_name, watts_max);
    closedir(d);
}

void rapl_close(rapl *r)
{
    for (unsigned i = 0; i < r->count; i++)
        close(r->fd[i]);
    r->count = 0;
}

bool rapl_read(rapl *r, int64_t now_s, double *ret_j)
{
    double sum = 0;
    bool whole = r->count > 0 && r->read_s && (double)(now_s - r->read_s) <= r->interval_s_max;
    for (unsigned i = 0; i < r->count; i++) {
        char text[32];
        double j = 0;
        err e;
        ssize_t n = pread(r->fd[i], text, sizeof text - 1, 0);
        text[n > 0 ? n : 0] = 0;
        if (n <= 0 || !rapl_step(&r->zone[i], strtoull(text, NULL, 10), &j, &e))
            whole = false;
        sum += j;
    }
    r->read_s = now_s;
    if (whole)
        *ret_j = sum;
    return whole;
}
