/* The directory functions of wasi:filesystem/types: listing, opening, links and changes.
 *
 * A change works on the opened parent of the path and on its last component, which the kernel never
 * follows (fs.h). What open-at and the changes refuse before the kernel is asked: writing where the
 * preopened directory is not writable, absolute targets of links, "..". */
#include "host/fs.h"

#include "base/limits.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

typedef struct {
    object o;
    DIR *dir;
} entry_stream;

static void entry_stream_drop(guest *g, object *o)
{
    closedir(((entry_stream *)o)->dir);
    g->files--;
}

const host_resource directory_entry_stream_resource = {"directory-entry-stream", entry_stream_drop};

static host_status read_directory(host_call *c)
{
    descriptor *d;
    place r;
    fs_code code = FS_OK;
    if (!fs_begin(c, &d, &r))
        return HOST_TRAP;
    if (!d->is_directory || c->g->files >= HOST_FILES_MAX)
        return fs_return(c, r, d->is_directory ? FS_QUOTA : FS_NOT_DIRECTORY);
    int fd = fs_open_beneath(d->f->fd, ".", O_RDONLY | O_DIRECTORY, &code);
    if (fd < 0)
        return fs_return(c, r, code);
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return fs_return(c, r, FS_INSUFFICIENT_MEMORY);
    }
    c->g->files++;
    entry_stream *s = pool_take(&c->g->pool, sizeof *s);
    if (!s) {
        closedir(dir);
        c->g->files--;
        return call_no_memory(c);
    }
    *s = (entry_stream){.o = {.resource = &directory_entry_stream_resource, .bytes = sizeof *s},
                        .dir = dir};
    return fs_return_object(c, r, &s->o);
}

static uint32_t entry_type(const entry_stream *s, const struct dirent *d)
{
    struct stat st;
    if (d->d_type != DT_UNKNOWN)
        return fs_type_of(DTTOIF(d->d_type));
    if (fstatat(dirfd(s->dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    return fs_type_of(st.st_mode);
}

static host_status read_directory_entry(host_call *c)
{
    entry_stream *s;
    place r;
    struct dirent *d;
    if (!ARG_BORROW(c, 0, directory_entry_stream_resource, &s) || !result_place(c, &r))
        return HOST_TRAP;
    do {
        errno = 0;
        d = readdir(s->dir);
    } while (d && (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0));
    if (!d && errno)
        return fs_return_errno(c, r, -1);
    if (d && !str_is_utf8(str_from(d->d_name)))
        return fs_return(c, r, FS_ILLEGAL_BYTE_SEQUENCE);
    place option = put_case(c, r, 0);
    if (!d) {
        put_case(c, option, 0);
        return HOST_DONE;
    }
    place entry = put_case(c, option, 1);
    put_case(c, place_field(entry, 0), entry_type(s, d));
    return put_string(c, place_field(entry, 1), str_from(d->d_name)) ? HOST_DONE : HOST_TRAP;
}

static int open_flags(uint32_t path_flags, uint32_t how, uint32_t flags)
{
    int f = O_NONBLOCK | O_NOCTTY;
    f |= flags & FLAG_WRITE ? (flags & FLAG_READ ? O_RDWR : O_WRONLY) : O_RDONLY;
    f |= path_flags & SYMLINK_FOLLOW ? 0 : O_NOFOLLOW;
    f |= how & OPEN_CREATE ? O_CREAT : 0;
    f |= how & OPEN_DIRECTORY ? O_DIRECTORY : 0;
    f |= how & OPEN_EXCLUSIVE ? O_EXCL : 0;
    f |= how & OPEN_TRUNCATE ? O_TRUNC : 0;
    return f;
}

/* What open-at refuses before the kernel is asked. */
static fs_code open_check(const host_call *c, const descriptor *d, uint32_t how, uint32_t flags)
{
    if (!d->writable && ((how & (OPEN_CREATE | OPEN_TRUNCATE)) || (flags & FLAG_WRITE)))
        return FS_NOT_PERMITTED;
    if ((how & OPEN_DIRECTORY) && (how & (OPEN_CREATE | OPEN_EXCLUSIVE | OPEN_TRUNCATE)))
        return FS_INVALID;
    if ((how & OPEN_TRUNCATE) && !(flags & FLAG_WRITE))
        return FS_INVALID;
    return c->g->files < HOST_FILES_MAX ? FS_OK : FS_QUOTA;
}

static host_status open_at(host_call *c)
{
    descriptor *d;
    place r;
    fs_path path;
    fs_code code;
    struct stat st;
    uint32_t path_flags = c->slots[1].u32, how = c->slots[4].u32;
    uint32_t flags = c->slots[5].u32 & FLAGS_ALL;
    if (!fs_begin(c, &d, &r) || !fs_arg_path(c, d, 2, &path, &code))
        return HOST_TRAP;
    if (code == FS_OK)
        code = open_check(c, d, how, flags);
    if (code != FS_OK)
        return fs_return(c, r, code);
    int fd = fs_open_beneath(d->f->fd, path.text, open_flags(path_flags, how, flags), &code);
    if (fd < 0)
        return fs_return(c, r, code);
    if (fstat(fd, &st) < 0) {
        code = fs_code_of(errno);
        close(fd);
        return fs_return(c, r, code);
    }
    fs_file *f = fs_file_new(c->g, fd, false);
    if (!d->writable)
        flags &= ~(uint32_t)FLAG_MUTATE;
    return fs_return_object(c, r,
                            fs_descriptor_new(c->g, f, S_ISDIR(st.st_mode), d->writable, flags));
}

static host_status readlink_at(host_call *c)
{
    descriptor *d;
    place r;
    fs_path path;
    fs_code code;
    char target[4096];
    if (!fs_begin(c, &d, &r) || !fs_arg_path(c, d, 1, &path, &code))
        return HOST_TRAP;
    int fd = code == FS_OK ? fs_open_beneath(d->f->fd, path.text, O_PATH | O_NOFOLLOW, &code) : -1;
    if (fd < 0)
        return fs_return(c, r, code);
    ssize_t n = readlinkat(fd, "", target, sizeof target);
    int number = n < 0 && errno == ENOENT ? EINVAL : errno; /* ENOENT: it is no link */
    close(fd);
    if (n < 0)
        return fs_return(c, r, fs_code_of(number));
    str s = {target, (size_t)n};
    if (n > 0 && target[0] == '/')
        return fs_return(c, r, FS_NOT_PERMITTED); /* would tell about the machine */
    if (!str_is_utf8(s))
        return fs_return(c, r, FS_ILLEGAL_BYTE_SEQUENCE);
    return put_string(c, put_case(c, r, 0), s) ? HOST_DONE : HOST_TRAP;
}

/* Opens the parent of the path in slots i, i + 1 for a change. False: trap. */
static bool arg_parent(host_call *c, const descriptor *d, unsigned i, fs_path *path, fs_parent *ret,
                       fs_code *ret_code)
{
    *ret = (fs_parent){.fd = -1};
    if (!fs_arg_path(c, d, i, path, ret_code))
        return false;
    if (*ret_code == FS_OK && !d->writable)
        *ret_code = FS_NOT_PERMITTED;
    if (*ret_code == FS_OK)
        *ret_code = fs_parent_open(d->f->fd, path, ret);
    return true;
}

/* A change of one directory entry named in slots 1 and 2. */
static host_status change(host_call *c, int (*f)(int fd, const char *base))
{
    descriptor *d;
    place r;
    fs_path path;
    fs_parent parent;
    fs_code code;
    if (!fs_begin(c, &d, &r) || !arg_parent(c, d, 1, &path, &parent, &code))
        return HOST_TRAP;
    if (code != FS_OK)
        return fs_return(c, r, code);
    host_status s = fs_return_errno(c, r, f(parent.fd, parent.base));
    fs_parent_close(&parent);
    return s;
}

static int make_directory(int fd, const char *base) { return mkdirat(fd, base, 0777); }
static int remove_directory(int fd, const char *base) { return unlinkat(fd, base, AT_REMOVEDIR); }
static int unlink_file(int fd, const char *base) { return unlinkat(fd, base, 0); }

static host_status create_directory_at(host_call *c) { return change(c, make_directory); }
static host_status remove_directory_at(host_call *c) { return change(c, remove_directory); }
static host_status unlink_file_at(host_call *c) { return change(c, unlink_file); }

/* rename and link: from slots i, i + 1 of d to slots i + 3, i + 4 of the descriptor in i + 2. */
static host_status change_two(host_call *c, unsigned i,
                              int (*f)(int, const char *, int, const char *))
{
    descriptor *d, *to;
    place r;
    fs_path old_path, new_path;
    fs_parent from, into;
    fs_code code;
    if (!fs_begin(c, &d, &r) || !ARG_BORROW(c, i + 2, descriptor_resource, &to) ||
        !arg_parent(c, d, i, &old_path, &from, &code))
        return HOST_TRAP;
    if (code != FS_OK)
        return fs_return(c, r, code);
    if (!arg_parent(c, to, i + 3, &new_path, &into, &code)) {
        fs_parent_close(&from);
        return HOST_TRAP;
    }
    host_status s = code != FS_OK
                        ? fs_return(c, r, code)
                        : fs_return_errno(c, r, f(from.fd, from.base, into.fd, into.base));
    fs_parent_close(&from);
    fs_parent_close(&into);
    return s;
}

static int hard_link(int from, const char *old, int to, const char *new)
{
    size_t n = strlen(old);
    if (n && old[n - 1] == '/')
        return errno = ENOTDIR, -1; /* would follow a link */
    return linkat(from, old, to, new, 0);
}

static host_status link_at(host_call *c)
{
    descriptor *d;
    place r;
    if (!fs_begin(c, &d, &r))
        return HOST_TRAP;
    if (c->slots[1].u32 & SYMLINK_FOLLOW)
        return fs_return(c, r, FS_INVALID);
    return change_two(c, 2, hard_link);
}

static host_status rename_at(host_call *c) { return change_two(c, 1, renameat); }

static host_status symlink_at(host_call *c)
{
    descriptor *d;
    place r;
    fs_path target, path;
    fs_parent parent;
    fs_code code;
    if (!fs_begin(c, &d, &r) || !fs_arg_path(c, d, 1, &target, &code))
        return HOST_TRAP;
    if (code != FS_OK)
        return fs_return(c, r, code);
    if (!arg_parent(c, d, 3, &path, &parent, &code))
        return HOST_TRAP;
    if (code != FS_OK)
        return fs_return(c, r, code);
    host_status s = fs_return_errno(c, r, symlinkat(target.text, parent.fd, parent.base));
    fs_parent_close(&parent);
    return s;
}

#define SELF "func(self: borrow<descriptor>"
#define DONE " -> result<_, error-code>"

const host_func fs_directory_funcs[] = {
    {"[method]descriptor.read-directory", SELF ") -> result<directory-entry-stream, error-code>",
     read_directory},
    {"[method]descriptor.create-directory-at", SELF ", path: string)" DONE, create_directory_at},
    {"[method]descriptor.link-at",
     SELF ", old-path-flags: path-flags, old-path: string, new-descriptor: borrow<descriptor>, "
          "new-path: string)" DONE,
     link_at},
    {"[method]descriptor.open-at",
     SELF ", path-flags: path-flags, path: string, open-flags: open-flags, "
          "%flags: descriptor-flags) -> result<descriptor, error-code>",
     open_at},
    {"[method]descriptor.readlink-at", SELF ", path: string) -> result<string, error-code>",
     readlink_at},
    {"[method]descriptor.remove-directory-at", SELF ", path: string)" DONE, remove_directory_at},
    {"[method]descriptor.rename-at",
     SELF ", old-path: string, new-descriptor: borrow<descriptor>, new-path: string)" DONE,
     rename_at},
    {"[method]descriptor.symlink-at", SELF ", old-path: string, new-path: string)" DONE,
     symlink_at},
    {"[method]descriptor.unlink-file-at", SELF ", path: string)" DONE, unlink_file_at},
    {"[method]directory-entry-stream.read-directory-entry",
     "func(self: borrow<directory-entry-stream>) -> result<option<directory-entry>, error-code>",
     read_directory_entry},
    {0},
};
