/* See localfiles.h. Files are looked at only through openat2 with RESOLVE_BENEATH: no link and no
 * ".." leads out of the app's folder. They are copied (as Spin does), so that editing a file while
 * the app runs changes nothing under a running request; with direct mounts guests see the folders
 * themselves. */
#include "platform/localfiles.h"

#include "app/files.h"
#include "base/limits.h"
#include "platform/sandbox.h"
#include "platform/spawn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- the file system, as app/ wants it -------------------------------------------------------- */

static int open_beneath(int root, const char *path, uint64_t flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof how);
}

static bool path_z(str path, char out[PATH_MAX], err *e)
{
    if (path.n >= PATH_MAX)
        return err_set(e, ERR_LIMIT, "the path is too long: %.100s...", path.p);
    if (path.n)
        memcpy(out, path.p, path.n);
    out[path.n] = 0;
    return true;
}

static files_type type_of(mode_t mode)
{
    return S_ISREG(mode) ? FILES_FILE : S_ISDIR(mode) ? FILES_DIR : FILES_OTHER;
}

static bool fs_stat(void *ctx, str path, files_type *ret, err *e)
{
    char z[PATH_MAX];
    struct stat st;
    if (!path_z(path, z, e))
        return false;
    _cleanup_fd_ int fd = open_beneath(*(int *)ctx, z, O_PATH);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) {
        *ret = FILES_ABSENT;
        return true;
    }
    if (fd < 0 && errno == EXDEV)
        return err_set(e, ERR_DENIED, "%s leads outside of the app's folder", z);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set_errno(e, "%s", z);
    *ret = type_of(st.st_mode);
    return true;
}

static bool fs_list(void *ctx, arena *a, str path, files_entry **ret, size_t *ret_count, err *e)
{
    char z[PATH_MAX];
    if (!path_z(path, z, e))
        return false;
    int fd = open_beneath(*(int *)ctx, z, O_RDONLY | O_DIRECTORY);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        fd_close(&fd);
        return err_set_errno(e, "%s", z);
    }
    files_entry *all = NULL;
    size_t n = 0, room = 0;
    bool ok = true;
    for (struct dirent *item; ok && (item = readdir(d));) {
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
            continue;
        if (n == room) {
            size_t more = room ? room * 2 : 64;
            all = arena_grow(a, all, room, more, sizeof *all);
            room = more;
        }
        struct stat st;
        bool is_link =
            fstatat(fd, item->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
        bool there = fstatat(fd, item->d_name, &st, 0) == 0;
        ok = all != NULL;
        if (ok)
            all[n] = (files_entry){.name = arena_str(a, str_from(item->d_name)),
                                   .type = there ? type_of(st.st_mode) : FILES_OTHER,
                                   .is_link = is_link};
        ok = ok && all[n++].name.p;
    }
    closedir(d);
    if (!ok)
        return err_no_memory(e);
    *ret = all;
    *ret_count = n;
    return true;
}

/* --- copying ---------------------------------------------------------------------------------- */

static bool copy_bytes(int from, int to, err *e)
{
    char block[64 * 1024];
    for (;;) {
        ssize_t n = read(from, block, sizeof block);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(e, "reading");
        if (n == 0)
            return true;
        if (!fd_write_all(to, block, (size_t)n, e))
            return false;
    }
}

static bool copy_file(int root, const char *assets, const app_file *f, err *e)
{
    char from[PATH_MAX], to[PATH_MAX];
    if (!path_z(f->host_path, from, e))
        return false;
    int n = snprintf(to, sizeof to, "%s%.*s", assets, STR(f->guest_path));
    if (n < 0 || (size_t)n >= sizeof to)
        return err_set(e, ERR_LIMIT, "the path is too long: %.*s", STR(f->guest_path));
    for (char *at = to + strlen(assets) + 1; (at = strchr(at, '/')); at++) {
        *at = 0;
        if (mkdir(to, 0700) < 0 && errno != EEXIST)
            return err_set_errno(e, "%s", to);
        *at = '/';
    }
    _cleanup_fd_ int in = open_beneath(root, from + strspn(from, "/"), O_RDONLY);
    if (in < 0)
        return err_set_errno(e, "%s", from);
    _cleanup_fd_ int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (out < 0)
        return err_set_errno(e, "%s", to);
    return copy_bytes(in, out, e) ? true : err_wrap(e, "copying %s", from);
}

static bool temp_make(localfiles *l, err *e)
{
    const char *base = l->temp_base ? l->temp_base : getenv("TMPDIR");
    if (l->temp[0])
        return true;
    if (l->temp_base && mkdir(l->temp_base, 0700) < 0 && errno != EEXIST)
        return err_set_errno(e, "--temp %s", l->temp_base);
    char *full = realpath(base && *base ? base : "/tmp", NULL);
    if (!full)
        return err_set_errno(e, "the folder for temporary files, %s", base);
    int n = snprintf(l->temp, sizeof l->temp, "%s/ebb-XXXXXX", full);
    free(full);
    bool fits = n > 0 && (size_t)n < sizeof l->temp;
    if (!fits || !mkdtemp(l->temp)) {
        l->temp[0] = 0;
        return fits ? err_set_errno(e, "cannot make a temporary folder (--temp gives its place)")
                    : err_set(e, ERR_LIMIT, "the path of the temporary folder is too long");
    }
    return true;
}

/* Where workers are not root, the copies are theirs. */
static int give_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
    uid_t uid;
    gid_t gid;
    return sandbox_user(&uid, &gid) ? lchown(path, uid, gid) : 0;
}

static bool files_copy(arena *a, localfiles *l, int root, const app_component *c,
                       config_component *out, err *e)
{
    if (!c->mounts_count && !c->files.n)
        return true;
    if (!temp_make(l, e))
        return false;
    str assets = arena_printf(a, "%s/%.*s", l->temp, STR(c->id));
    if (!assets.p || !app_pairs_add(a, &out->mounts, S("/"), assets))
        return err_no_memory(e);
    if (mkdir(assets.p, 0700) < 0)
        return err_set_errno(e, "%s", assets.p);
    for (size_t i = 0; i < c->files.n; i++)
        if (!copy_file(root, assets.p, &c->files.at[i], e))
            return false;
    return nftw(l->temp, give_one, 16, FTW_DEPTH | FTW_PHYS) == 0 ||
           err_set_errno(e, "the copied files in %s can't be given to the workers", l->temp);
}

/* --- direct mounts ---------------------------------------------------------------------------- */

/* The host's path of an open folder. */
static bool path_of_fd(arena *a, int fd, str *ret, err *e)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path);
    if (n <= 0 || (size_t)n >= sizeof path)
        return err_set_errno(e, "a mounted folder");
    *ret = arena_str(a, (str){path, (size_t)n});
    return ret->p ? true : err_no_memory(e);
}

static bool mount_direct(arena *a, int root, const app_component *c, const app_mount *m,
                         config_component *out, err *e)
{
    char source[PATH_MAX];
    str path, inside;
    if (!m->is_pair)
        return err_set(e, ERR_INVALID,
                       "component '%.*s': the pattern \"%.*s\" in 'files' cannot be mounted with "
                       "--direct-mounts; write { source = \"...\", destination = \"/...\" }",
                       STR(c->id), STR(m->source));
    if (!path_z(m->source, source, e))
        return false;
    _cleanup_fd_ int fd = open_beneath(root, source, O_PATH);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set_errno(e, "component '%.*s': %s", STR(c->id), source);
    if (!S_ISDIR(st.st_mode))
        return err_set(e, ERR_INVALID,
                       "component '%.*s': --direct-mounts mounts folders only, and %s is not one",
                       STR(c->id), source);
    inside = m->destination;
    while (inside.n > 1 && inside.p[inside.n - 1] == '/')
        inside.n--;
    inside = str_starts(inside, S("/")) ? inside : arena_printf(a, "/%.*s", STR(inside));
    return path_of_fd(a, fd, &path, e) &&
           (app_pairs_add(a, &out->mounts, inside, path) || err_no_memory(e));
}

static bool mounts_direct(arena *a, int root, const app_component *c, config_component *out, err *e)
{
    if (c->exclude_files.n)
        return err_set(e, ERR_INVALID,
                       "component '%.*s' has 'exclude_files', which --direct-mounts cannot honour; "
                       "leave one of them out",
                       STR(c->id));
    for (size_t i = 0; i < c->mounts_count; i++)
        if (!mount_direct(a, root, c, &c->mounts[i], out, e))
            return false;
    return true;
}

/* --- all of it -------------------------------------------------------------------------------- */

bool localfiles_make(arena *a, arena *scratch, localfiles *l, const char *dir, str manifest,
                     app_component *c, str_list *warnings, config_component *out, err *e)
{
    _cleanup_fd_ int root = open(l->listed ? "/" : dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return err_set_errno(e, "%s", dir);
    if (l->listed)
        return files_copy(a, l, root, c, out, e);
    if (l->direct)
        return mounts_direct(a, root, c, out, e);
    files_fs fs = {&root, fs_stat, fs_list};
    return files_expand(a, scratch, &fs, manifest, c, warnings, e) &&
           files_copy(a, l, root, c, out, e);
}

bool localfiles_expand(arena *a, arena *scratch, const char *dir, str manifest, app_component *c,
                       str_list *warnings, err *e)
{
    _cleanup_fd_ int root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return err_set_errno(e, "%s", dir);
    files_fs fs = {&root, fs_stat, fs_list};
    return files_expand(a, scratch, &fs, manifest, c, warnings, e);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *f)
{
    return remove(path);
}

void localfiles_remove(localfiles *l)
{
    if (l->temp[0])
        nftw(l->temp, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    l->temp[0] = 0;
}
