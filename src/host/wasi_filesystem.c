/* wasi:filesystem@0.2 over the app's files (fs.h). A component sees the directories that the
 * platform preopened; one that is not writable answers not-permitted to whatever would change it,
 * as other hosts do.
 *
 * Durability is not promised for files that a component writes (they are scratch, gone with the
 * app): sync, sync-data and the integrity flags succeed without waiting for a disk, because nothing
 * in a worker may wait. */
#include "host/fs.h"

#include "base/limits.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

typedef struct {
    object o;
    fs_file *f;
    bool is_directory, writable;
    uint32_t flags; /* descriptor-flags as opened */
} descriptor;

enum { FLAG_READ = 1, FLAG_WRITE = 2, FLAG_MUTATE = 32, FLAGS_ALL = 63 };
enum { OPEN_CREATE = 1, OPEN_DIRECTORY = 2, OPEN_EXCLUSIVE = 4, OPEN_TRUNCATE = 8 };
enum { SYMLINK_FOLLOW = 1 };

static void descriptor_drop(guest *g, object *o)
{
    fs_file_unref(g, ((descriptor *)o)->f);
}

static const host_resource descriptor_resource = {"descriptor", descriptor_drop};

/* Takes over f. */
static object *descriptor_new(guest *g, fs_file *f, bool is_directory, bool writable,
                              uint32_t flags)
{
    descriptor *d = f ? OBJECT_NEW(g, descriptor, descriptor_resource, NULL) : NULL;
    if (d) {
        d->f = f;
        d->is_directory = is_directory;
        d->writable = writable;
        d->flags = flags;
    } else if (f) {
        fs_file_unref(g, f);
    }
    return (object *)d;
}

/* --- what most functions begin and end with ------------------------------------------------ */

static bool begin(host_call *c, descriptor **ret, place *ret_place)
{
    return ARG_BORROW(c, 0, descriptor_resource, ret) && result_place(c, ret_place);
}

/* result<_, error-code> */
static host_status return_code(host_call *c, place r, fs_code code)
{
    if (code == FS_OK)
        put_case(c, r, 0);
    else
        put_case(c, put_case(c, r, 1), code);
    return HOST_DONE;
}

static host_status return_errno(host_call *c, place r, int result)
{
    return return_code(c, r, result < 0 ? fs_code_of(errno) : FS_OK);
}

/* result<resource, error-code>; NULL: not enough memory or files. */
static host_status return_object(host_call *c, place r, object *o)
{
    if (!o)
        return return_code(c, r, FS_INSUFFICIENT_MEMORY);
    return put_handle(c, put_case(c, r, 0), o) ? HOST_DONE : HOST_TRAP;
}

static fs_code file_check(const descriptor *d, uint32_t flag)
{
    if (d->is_directory)
        return FS_IS_DIRECTORY;
    return d->flags & flag ? FS_OK : FS_BAD_DESCRIPTOR;
}

/* The path in slots i, i + 1, relative to d. */
static bool arg_path(host_call *c, const descriptor *d, unsigned i, fs_path *ret,
                     fs_code *ret_code)
{
    str s;
    if (!arg_string(c, i, &s))
        return false;
    *ret_code = d->is_directory ? fs_path_make(s, ret) : FS_NOT_DIRECTORY;
    return true;
}

/* --- streams ------------------------------------------------------------------------------- */

static host_status read_via_stream(host_call *c)
{
    descriptor *d;
    place r;
    if (!begin(c, &d, &r))
        return HOST_TRAP;
    fs_code code = file_check(d, FLAG_READ);
    if (code != FS_OK)
        return return_code(c, r, code);
    return return_object(c, r, fs_input_new(c->g, d->f, c->slots[1].u64));
}

static host_status write_via_stream(host_call *c)
{
    descriptor *d;
    place r;
    if (!begin(c, &d, &r))
        return HOST_TRAP;
    fs_code code = file_check(d, FLAG_WRITE);
    if (code == FS_OK && c->slots[1].u64 > INT64_MAX)
        code = FS_INVALID;
    if (code != FS_OK)
        return return_code(c, r, code);
    return return_object(c, r, fs_output_new(c->g, d->f, c->slots[1].i64));
}

static host_status append_via_stream(host_call *c)
{
    descriptor *d;
    place r;
    if (!begin(c, &d, &r))
        return HOST_TRAP;
    fs_code code = file_check(d, FLAG_WRITE);
    if (code != FS_OK)
        return return_code(c, r, code);
    return return_object(c, r, fs_output_new(c->g, d->f, FS_APPEND));
}

/* --- the open file ------------------------------------------------------------------------- */

static host_status advise(host_call *c)
{
    static const int advices[] = {POSIX_FADV_NORMAL,   POSIX_FADV_SEQUENTIAL, POSIX_FADV_RANDOM,
                                  POSIX_FADV_WILLNEED, POSIX_FADV_DONTNEED,   POSIX_FADV_NOREUSE};
    descriptor *d;
    place r;
    uint32_t k;
    if (!begin(c, &d, &r) || !arg_case(c, 3, 6, &k))
        return HOST_TRAP;
    uint64_t offset = c->slots[1].u64, length = c->slots[2].u64;
    if (d->is_directory || offset > INT64_MAX || length > INT64_MAX)
        return return_code(c, r, d->is_directory ? FS_BAD_DESCRIPTOR : FS_INVALID);
    int n = posix_fadvise(d->f->fd, (off_t)offset, (off_t)length, advices[k]);
    return return_code(c, r, n ? fs_code_of(n) : FS_OK);
}

static host_status sync_file(host_call *c)
{
    descriptor *d;
    place r;
    return begin(c, &d, &r) ? return_code(c, r, FS_OK) : HOST_TRAP;
}

static host_status get_flags(host_call *c)
{
    descriptor *d;
    place r;
    if (!begin(c, &d, &r))
        return HOST_TRAP;
    put_int(c, put_case(c, r, 0), d->flags);
    return HOST_DONE;
}

/* descriptor-type */
static uint32_t type_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFBLK:
        return 1;
    case S_IFCHR:
        return 2;
    case S_IFDIR:
        return 3;
    case S_IFIFO:
        return 4;
    case S_IFLNK:
        return 5;
    case S_IFREG:
        return 6;
    case S_IFSOCK:
        return 7;
    default:
        return 0;
    }
}

static host_status get_type(host_call *c)
{
    descriptor *d;
    place r;
    struct stat st;
    if (!begin(c, &d, &r))
        return HOST_TRAP;
    if (fstat(d->f->fd, &st) < 0)
        return return_errno(c, r, -1);
    put_case(c, put_case(c, r, 0), type_of(st.st_mode));
    return HOST_DONE;
}

static host_status set_size(host_call *c)
{
    descriptor *d;
    place r;
    if (!begin(c, &d, &r))
        return HOST_TRAP;
    fs_code code = file_check(d, FLAG_WRITE);
    if (code == FS_OK && c->slots[1].u64 > INT64_MAX)
        code = FS_INVALID;
    if (code != FS_OK)
        return return_code(c, r, code);
    return return_errno(c, r, ftruncate(d->f->fd, (off_t)c->slots[1].u64));
}

/* new-timestamp in slots i (case), i + 1 (seconds), i + 2 (nanoseconds). */
static bool arg_timestamp(host_call *c, unsigned i, struct timespec *ret, fs_code *code)
{
    uint32_t k;
    if (!arg_case(c, i, 3, &k))
        return false;
    *ret = (struct timespec){.tv_nsec = k == 0 ? UTIME_OMIT : UTIME_NOW};
    if (k == 2) {
        if (c->slots[i + 1].u64 > INT64_MAX)
            *code = FS_OVERFLOW;
        else if (c->slots[i + 2].u32 >= NS_PER_S)
            *code = FS_INVALID;
        ret->tv_sec = c->slots[i + 1].i64;
        ret->tv_nsec = c->slots[i + 2].u32;
    }
    return true;
}

static host_status set_times(host_call *c)
{
    descriptor *d;
    place r;
    struct timespec t[2];
    fs_code code = FS_OK;
    if (!begin(c, &d, &r) || !arg_timestamp(c, 1, &t[0], &code) ||
        !arg_timestamp(c, 4, &t[1], &code))
        return HOST_TRAP;
    if (!d->writable)
        code = FS_NOT_PERMITTED;
    if (code != FS_OK)
        return return_code(c, r, code);
    return return_errno(c, r, utimensat(d->f->fd, "", t, AT_EMPTY_PATH));
}

static host_status read_file(host_call *c)
{
    descriptor *d;
    place r;
    uint64_t length = c->slots[1].u64, offset = c->slots[2].u64;
    size_t max = length < HOST_READ_BYTES_MAX ? (size_t)length : HOST_READ_BYTES_MAX;
    if (!begin(c, &d, &r))
        return HOST_TRAP;
    fs_code code = file_check(d, FLAG_READ);
    if (code == FS_OK && offset > INT64_MAX)
        code = FS_INVALID;
    if (code != FS_OK)
        return return_code(c, r, code);
    uint8_t *p = arena_alloc(&c->g->scratch, max);
    if (!p)
        return call_no_memory(c);
    ssize_t n = pread(d->f->fd, p, max, (off_t)offset);
    if (n < 0)
        return return_errno(c, r, -1);
    place pair = put_case(c, r, 0);
    if (!put_bytes(c, place_field(pair, 0), (bytes){p, (size_t)n}))
        return HOST_TRAP;
    put_int(c, place_field(pair, 1), n == 0 && max > 0);
    return HOST_DONE;
}

static host_status write_file(host_call *c)
{
    descriptor *d;
    place r;
    bytes b;
    uint64_t offset = c->slots[3].u64;
    if (!begin(c, &d, &r) || !arg_bytes(c, 1, &b))
        return HOST_TRAP;
    fs_code code = file_check(d, FLAG_WRITE);
    if (code == FS_OK && offset > INT64_MAX)
        code = FS_INVALID;
    if (code != FS_OK)
        return return_code(c, r, code);
    ssize_t n = pwrite(d->f->fd, b.p, b.n, (off_t)offset);
    if (n < 0)
        return return_errno(c, r, -1);
    put_int(c, put_case(c, r, 0), (uint64_t)n);
    return HOST_DONE;
}

/* --- metadata ------------------------------------------------------------------------------ */

static void put_time(host_call *c, place option, struct timespec t)
{
    if (t.tv_sec < 0) {
        put_case(c, option, 0); /* before 1970: a datetime cannot say it */
        return;
    }
    place p = put_case(c, option, 1);
    put_int(c, place_field(p, 0), (uint64_t)t.tv_sec);
    put_int(c, place_field(p, 1), (uint64_t)t.tv_nsec);
}

static host_status return_stat(host_call *c, place r, const struct stat *st)
{
    place p = put_case(c, r, 0);
    put_case(c, place_field(p, 0), type_of(st->st_mode));
    put_int(c, place_field(p, 1), st->st_nlink);
    put_int(c, place_field(p, 2), (uint64_t)st->st_size);
    put_time(c, place_field(p, 3), st->st_atim);
    put_time(c, place_field(p, 4), st->st_mtim);
    put_time(c, place_field(p, 5), st->st_ctim);
    return HOST_DONE;
}

/* An O_PATH descriptor of the path in slots i, i + 1; -1 with *ret_code. False: trap. */
static bool arg_look_up(host_call *c, const descriptor *d, unsigned flags_slot, int *ret_fd,
                        fs_code *ret_code)
{
    fs_path path;
    uint32_t follow = c->slots[flags_slot].u32 & SYMLINK_FOLLOW;
    *ret_fd = -1;
    if (!arg_path(c, d, flags_slot + 1, &path, ret_code))
        return false;
    if (*ret_code == FS_OK)
        *ret_fd = fs_open_beneath(d->f->fd, path.text, O_PATH | (follow ? 0 : O_NOFOLLOW),
                                  ret_code);
    return true;
}

static host_status stat_self(host_call *c)
{
    descriptor *d;
    place r;
    struct stat st;
    if (!begin(c, &d, &r))
        return HOST_TRAP;
    return fstat(d->f->fd, &st) < 0 ? return_errno(c, r, -1) : return_stat(c, r, &st);
}

/* stat of a path; false: *ret_status is to be returned. */
static bool stat_path(host_call *c, place *ret_r, struct stat *ret, host_status *ret_status)
{
    descriptor *d;
    int fd;
    fs_code code;
    *ret_status = HOST_TRAP;
    if (!begin(c, &d, ret_r) || !arg_look_up(c, d, 1, &fd, &code))
        return false;
    if (fd < 0) {
        *ret_status = return_code(c, *ret_r, code);
        return false;
    }
    int n = fstat(fd, ret);
    if (n < 0)
        *ret_status = return_errno(c, *ret_r, n);
    close(fd);
    return n == 0;
}

static host_status stat_at(host_call *c)
{
    place r;
    struct stat st;
    host_status status;
    return stat_path(c, &r, &st, &status) ? return_stat(c, r, &st) : status;
}

static host_status set_times_at(host_call *c)
{
    descriptor *d;
    place r;
    struct timespec t[2];
    int fd;
    fs_code code = FS_OK, times = FS_OK;
    if (!begin(c, &d, &r) || !arg_timestamp(c, 4, &t[0], &times) ||
        !arg_timestamp(c, 7, &t[1], &times))
        return HOST_TRAP;
    if (!d->writable || times != FS_OK)
        return return_code(c, r, d->writable ? times : FS_NOT_PERMITTED);
    if (!arg_look_up(c, d, 1, &fd, &code))
        return HOST_TRAP;
    if (fd < 0)
        return return_code(c, r, code);
    int n = utimensat(fd, "", t, AT_EMPTY_PATH);
    host_status s = return_errno(c, r, n);
    close(fd);
    return s;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
    h ^= v;
    h *= UINT64_C(0xbf58476d1ce4e5b9);
    return h ^ h >> 29;
}

/* Equal for the same file, different when it changed. */
static host_status return_hash(host_call *c, place r, const struct stat *st)
{
    place p = put_case(c, r, 0);
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t h = i ? UINT64_C(0x9e3779b97f4a7c15) : UINT64_C(0x94d049bb133111eb);
        h = mix(mix(mix(h, st->st_dev), st->st_ino), (uint64_t)st->st_size);
        h = mix(mix(h, (uint64_t)st->st_mtim.tv_sec), (uint64_t)st->st_mtim.tv_nsec);
        put_int(c, place_field(p, i), h);
    }
    return HOST_DONE;
}

static host_status metadata_hash(host_call *c)
{
    descriptor *d;
    place r;
    struct stat st;
    if (!begin(c, &d, &r))
        return HOST_TRAP;
    return fstat(d->f->fd, &st) < 0 ? return_errno(c, r, -1) : return_hash(c, r, &st);
}

static host_status metadata_hash_at(host_call *c)
{
    place r;
    struct stat st;
    host_status status;
    return stat_path(c, &r, &st, &status) ? return_hash(c, r, &st) : status;
}

static host_status is_same_object(host_call *c)
{
    descriptor *a, *b;
    struct stat sa, sb;
    if (!ARG_BORROW(c, 0, descriptor_resource, &a) || !ARG_BORROW(c, 1, descriptor_resource, &b))
        return HOST_TRAP;
    bool same = fstat(a->f->fd, &sa) == 0 && fstat(b->f->fd, &sb) == 0 &&
                sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
    return return_u32(c, same);
}

/* --- directories --------------------------------------------------------------------------- */

typedef struct {
    object o;
    DIR *dir;
} entry_stream;

static void entry_stream_drop(guest *g, object *o)
{
    closedir(((entry_stream *)o)->dir);
    g->files--;
}

static const host_resource entry_stream_resource = {"directory-entry-stream", entry_stream_drop};

static host_status read_directory(host_call *c)
{
    descriptor *d;
    place r;
    fs_code code = FS_OK;
    if (!begin(c, &d, &r))
        return HOST_TRAP;
    if (!d->is_directory || c->g->files >= HOST_FILES_MAX)
        return return_code(c, r, d->is_directory ? FS_QUOTA : FS_NOT_DIRECTORY);
    int fd = fs_open_beneath(d->f->fd, ".", O_RDONLY | O_DIRECTORY, &code);
    if (fd < 0)
        return return_code(c, r, code);
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return return_code(c, r, FS_INSUFFICIENT_MEMORY);
    }
    c->g->files++;
    entry_stream *s = pool_take(&c->g->pool, sizeof *s);
    if (!s) {
        closedir(dir);
        c->g->files--;
        return call_no_memory(c);
    }
    *s = (entry_stream){.o = {.resource = &entry_stream_resource, .bytes = sizeof *s}, .dir = dir};
    return return_object(c, r, &s->o);
}

static uint32_t entry_type(const entry_stream *s, const struct dirent *d)
{
    struct stat st;
    if (d->d_type != DT_UNKNOWN)
        return type_of(DTTOIF(d->d_type));
    if (fstatat(dirfd(s->dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    return type_of(st.st_mode);
}

static host_status read_directory_entry(host_call *c)
{
    entry_stream *s;
    place r;
    struct dirent *d;
    if (!ARG_BORROW(c, 0, entry_stream_resource, &s) || !result_place(c, &r))
        return HOST_TRAP;
    do {
        errno = 0;
        d = readdir(s->dir);
    } while (d && (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0));
    if (!d && errno)
        return return_errno(c, r, -1);
    if (d && !str_is_utf8(str_from(d->d_name)))
        return return_code(c, r, FS_ILLEGAL_BYTE_SEQUENCE);
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
    if (!begin(c, &d, &r) || !arg_path(c, d, 2, &path, &code))
        return HOST_TRAP;
    if (code == FS_OK)
        code = open_check(c, d, how, flags);
    if (code != FS_OK)
        return return_code(c, r, code);
    int fd = fs_open_beneath(d->f->fd, path.text, open_flags(path_flags, how, flags), &code);
    if (fd < 0)
        return return_code(c, r, code);
    if (fstat(fd, &st) < 0) {
        code = fs_code_of(errno);
        close(fd);
        return return_code(c, r, code);
    }
    fs_file *f = fs_file_new(c->g, fd, false);
    if (!d->writable)
        flags &= ~(uint32_t)FLAG_MUTATE;
    return return_object(c, r, descriptor_new(c->g, f, S_ISDIR(st.st_mode), d->writable, flags));
}

static host_status readlink_at(host_call *c)
{
    descriptor *d;
    place r;
    fs_path path;
    fs_code code;
    char target[4096];
    if (!begin(c, &d, &r) || !arg_path(c, d, 1, &path, &code))
        return HOST_TRAP;
    int fd = code == FS_OK ? fs_open_beneath(d->f->fd, path.text, O_PATH | O_NOFOLLOW, &code) : -1;
    if (fd < 0)
        return return_code(c, r, code);
    ssize_t n = readlinkat(fd, "", target, sizeof target);
    int number = n < 0 && errno == ENOENT ? EINVAL : errno; /* ENOENT: it is no link */
    close(fd);
    if (n < 0)
        return return_code(c, r, fs_code_of(number));
    str s = {target, (size_t)n};
    if (n > 0 && target[0] == '/')
        return return_code(c, r, FS_NOT_PERMITTED); /* would tell about the machine */
    if (!str_is_utf8(s))
        return return_code(c, r, FS_ILLEGAL_BYTE_SEQUENCE);
    return put_string(c, put_case(c, r, 0), s) ? HOST_DONE : HOST_TRAP;
}

/* Opens the parent of the path in slots i, i + 1 for a change. False: trap. */
static bool arg_parent(host_call *c, const descriptor *d, unsigned i, fs_path *path,
                       fs_parent *ret, fs_code *ret_code)
{
    *ret = (fs_parent){.fd = -1};
    if (!arg_path(c, d, i, path, ret_code))
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
    if (!begin(c, &d, &r) || !arg_parent(c, d, 1, &path, &parent, &code))
        return HOST_TRAP;
    if (code != FS_OK)
        return return_code(c, r, code);
    host_status s = return_errno(c, r, f(parent.fd, parent.base));
    fs_parent_close(&parent);
    return s;
}

static int make_directory(int fd, const char *base)
{
    return mkdirat(fd, base, 0777);
}
static int remove_directory(int fd, const char *base)
{
    return unlinkat(fd, base, AT_REMOVEDIR);
}
static int unlink_file(int fd, const char *base)
{
    return unlinkat(fd, base, 0);
}

static host_status create_directory_at(host_call *c)
{
    return change(c, make_directory);
}
static host_status remove_directory_at(host_call *c)
{
    return change(c, remove_directory);
}
static host_status unlink_file_at(host_call *c)
{
    return change(c, unlink_file);
}

/* rename and link: from slots i, i + 1 of d to slots i + 3, i + 4 of the descriptor in i + 2. */
static host_status change_two(host_call *c, unsigned i, int (*f)(int, const char *, int, const char *))
{
    descriptor *d, *to;
    place r;
    fs_path old_path, new_path;
    fs_parent from, into;
    fs_code code;
    if (!begin(c, &d, &r) || !ARG_BORROW(c, i + 2, descriptor_resource, &to) ||
        !arg_parent(c, d, i, &old_path, &from, &code))
        return HOST_TRAP;
    if (code != FS_OK)
        return return_code(c, r, code);
    if (!arg_parent(c, to, i + 3, &new_path, &into, &code)) {
        fs_parent_close(&from);
        return HOST_TRAP;
    }
    host_status s = code != FS_OK ? return_code(c, r, code)
                                  : return_errno(c, r, f(from.fd, from.base, into.fd, into.base));
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
    if (!begin(c, &d, &r))
        return HOST_TRAP;
    if (c->slots[1].u32 & SYMLINK_FOLLOW)
        return return_code(c, r, FS_INVALID);
    return change_two(c, 2, hard_link);
}

static host_status rename_at(host_call *c)
{
    return change_two(c, 1, renameat);
}

static host_status symlink_at(host_call *c)
{
    descriptor *d;
    place r;
    fs_path target, path;
    fs_parent parent;
    fs_code code;
    if (!begin(c, &d, &r) || !arg_path(c, d, 1, &target, &code))
        return HOST_TRAP;
    if (code != FS_OK)
        return return_code(c, r, code);
    if (!arg_parent(c, d, 3, &path, &parent, &code))
        return HOST_TRAP;
    if (code != FS_OK)
        return return_code(c, r, code);
    host_status s = return_errno(c, r, symlinkat(target.text, parent.fd, parent.base));
    fs_parent_close(&parent);
    return s;
}

static host_status filesystem_error_code(host_call *c)
{
    error_object *o;
    place r;
    if (!ARG_BORROW(c, 0, error_resource, &o) || !result_place(c, &r))
        return HOST_TRAP;
    bool some = o->info.domain == ERROR_FILESYSTEM;
    place p = put_case(c, r, some);
    if (some)
        put_case(c, p, o->info.code);
    return HOST_DONE;
}

#define SELF "func(self: borrow<descriptor>"
#define DONE " -> result<_, error-code>"
#define NEW_TIMES \
    "data-access-timestamp: new-timestamp, data-modification-timestamp: new-timestamp)"

static const host_func types_funcs[] = {
    {"[method]descriptor.read-via-stream",
     SELF ", offset: filesize) -> result<input-stream, error-code>", read_via_stream},
    {"[method]descriptor.write-via-stream",
     SELF ", offset: filesize) -> result<output-stream, error-code>", write_via_stream},
    {"[method]descriptor.append-via-stream", SELF ") -> result<output-stream, error-code>",
     append_via_stream},
    {"[method]descriptor.advise",
     SELF ", offset: filesize, length: filesize, advice: advice)" DONE, advise},
    {"[method]descriptor.sync-data", SELF ")" DONE, sync_file},
    {"[method]descriptor.get-flags", SELF ") -> result<descriptor-flags, error-code>", get_flags},
    {"[method]descriptor.get-type", SELF ") -> result<descriptor-type, error-code>", get_type},
    {"[method]descriptor.set-size", SELF ", size: filesize)" DONE, set_size},
    {"[method]descriptor.set-times", SELF ", " NEW_TIMES DONE, set_times},
    {"[method]descriptor.read",
     SELF ", length: filesize, offset: filesize) -> result<tuple<list<u8>, bool>, error-code>",
     read_file},
    {"[method]descriptor.write",
     SELF ", buffer: list<u8>, offset: filesize) -> result<filesize, error-code>", write_file},
    {"[method]descriptor.read-directory",
     SELF ") -> result<directory-entry-stream, error-code>", read_directory},
    {"[method]descriptor.sync", SELF ")" DONE, sync_file},
    {"[method]descriptor.create-directory-at", SELF ", path: string)" DONE, create_directory_at},
    {"[method]descriptor.stat", SELF ") -> result<descriptor-stat, error-code>", stat_self},
    {"[method]descriptor.stat-at",
     SELF ", path-flags: path-flags, path: string) -> result<descriptor-stat, error-code>",
     stat_at},
    {"[method]descriptor.set-times-at",
     SELF ", path-flags: path-flags, path: string, " NEW_TIMES DONE, set_times_at},
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
    {"[method]descriptor.is-same-object", SELF ", other: borrow<descriptor>) -> bool",
     is_same_object},
    {"[method]descriptor.metadata-hash", SELF ") -> result<metadata-hash-value, error-code>",
     metadata_hash},
    {"[method]descriptor.metadata-hash-at",
     SELF ", path-flags: path-flags, path: string) -> result<metadata-hash-value, error-code>",
     metadata_hash_at},
    {"[method]directory-entry-stream.read-directory-entry",
     "func(self: borrow<directory-entry-stream>) -> result<option<directory-entry>, error-code>",
     read_directory_entry},
    {"filesystem-error-code", "func(err: borrow<error>) -> option<error-code>",
     filesystem_error_code},
    {0},
};

const host_interface wasi_filesystem_types = {
    .name = "wasi:filesystem/types@0.2.0",
    .types =
        "use wasi:io/streams@0.2.0.{input-stream, output-stream, error};\n"
        "use wasi:clocks/wall-clock@0.2.0.{datetime};\n"
        "type filesize = u64;\n"
        "enum descriptor-type { unknown, block-device, character-device, directory, fifo,\n"
        "    symbolic-link, regular-file, socket }\n"
        "flags descriptor-flags { read, write, file-integrity-sync, data-integrity-sync,\n"
        "    requested-write-sync, mutate-directory }\n"
        "type link-count = u64;\n"
        "record descriptor-stat { %type: descriptor-type, link-count: link-count,\n"
        "    size: filesize, data-access-timestamp: option<datetime>,\n"
        "    data-modification-timestamp: option<datetime>,\n"
        "    status-change-timestamp: option<datetime> }\n"
        "flags path-flags { symlink-follow }\n"
        "flags open-flags { create, directory, exclusive, truncate }\n"
        "variant new-timestamp { no-change, now, timestamp(datetime) }\n"
        "record directory-entry { %type: descriptor-type, name: string }\n"
        "enum error-code { access, would-block, already, bad-descriptor, busy, deadlock, quota,\n"
        "    exist, file-too-large, illegal-byte-sequence, in-progress, interrupted, invalid, io,\n"
        "    is-directory, loop, too-many-links, message-size, name-too-long, no-device,\n"
        "    no-entry, no-lock, insufficient-memory, insufficient-space, not-directory,\n"
        "    not-empty, not-recoverable, unsupported, no-tty, no-such-device, overflow,\n"
        "    not-permitted, pipe, read-only, invalid-seek, text-file-busy, cross-device }\n"
        "enum advice { normal, sequential, random, will-need, dont-need, no-reuse }\n"
        "record metadata-hash-value { lower: u64, upper: u64 }\n"
        "resource descriptor;\n"
        "resource directory-entry-stream;\n",
    .funcs = types_funcs,
    .resources =
        (const host_resource *const[]){&descriptor_resource, &entry_stream_resource, NULL},
};

/* --- preopens ------------------------------------------------------------------------------ */

static host_status get_directories(host_call *c)
{
    const host_component *h = c->g->component;
    place r, first;
    if (!result_place(c, &r) || !put_list(c, r, (uint32_t)h->preopens_count, &first))
        return HOST_TRAP;
    for (uint32_t i = 0; i < h->preopens_count; i++) {
        place pair = place_element(first, i);
        bool writable = h->preopens[i].writable;
        fs_file *f = fs_file_new(c->g, h->preopens[i].dir_fd, true);
        object *d = descriptor_new(c->g, f, true, writable,
                                   FLAG_READ | (writable ? FLAG_MUTATE : 0u));
        if (!put_handle(c, place_field(pair, 0), d) ||
            !put_string(c, place_field(pair, 1), h->preopens[i].guest_path))
            return HOST_TRAP;
    }
    return HOST_DONE;
}

const host_interface wasi_filesystem_preopens = {
    .name = "wasi:filesystem/preopens@0.2.0",
    .types = "use wasi:filesystem/types@0.2.0.{descriptor};",
    .funcs = (const host_func[]){{"get-directories", "func() -> list<tuple<descriptor, string>>",
                                  get_directories},
                                 {0}},
};
