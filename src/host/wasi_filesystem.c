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

static void descriptor_drop(guest *g, object *o) { fs_file_unref(g, ((descriptor *)o)->f); }

const host_resource descriptor_resource = {"descriptor", descriptor_drop};

/* Takes over f. */
object *fs_descriptor_new(guest *g, fs_file *f, bool is_directory, bool writable, uint32_t flags)
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

bool fs_begin(host_call *c, descriptor **ret, place *ret_place)
{
    return ARG_BORROW(c, 0, descriptor_resource, ret) && result_place(c, ret_place);
}

/* result<_, error-code> */
host_status fs_return(host_call *c, place r, fs_code code)
{
    if (code == FS_OK)
        put_case(c, r, 0);
    else
        put_case(c, put_case(c, r, 1), code);
    return HOST_DONE;
}

host_status fs_return_errno(host_call *c, place r, int result)
{
    return fs_return(c, r, result < 0 ? fs_code_of(errno) : FS_OK);
}

/* result<resource, error-code>; NULL: not enough memory or files. */
host_status fs_return_object(host_call *c, place r, object *o)
{
    if (!o)
        return fs_return(c, r, FS_INSUFFICIENT_MEMORY);
    return put_handle(c, put_case(c, r, 0), o) ? HOST_DONE : HOST_TRAP;
}

static fs_code file_check(const descriptor *d, uint32_t flag)
{
    if (d->is_directory)
        return FS_IS_DIRECTORY;
    return d->flags & flag ? FS_OK : FS_BAD_DESCRIPTOR;
}

/* The path in slots i, i + 1, relative to d. */
bool fs_arg_path(host_call *c, const descriptor *d, unsigned i, fs_path *ret, fs_code *ret_code)
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
    if (!fs_begin(c, &d, &r))
        return HOST_TRAP;
    fs_code code = file_check(d, FLAG_READ);
    if (code != FS_OK)
        return fs_return(c, r, code);
    return fs_return_object(c, r, fs_input_new(c->g, d->f, c->slots[1].u64));
}

static host_status write_via_stream(host_call *c)
{
    descriptor *d;
    place r;
    if (!fs_begin(c, &d, &r))
        return HOST_TRAP;
    fs_code code = file_check(d, FLAG_WRITE);
    if (code == FS_OK && c->slots[1].u64 > INT64_MAX)
        code = FS_INVALID;
    if (code != FS_OK)
        return fs_return(c, r, code);
    return fs_return_object(c, r, fs_output_new(c->g, d->f, c->slots[1].i64));
}

static host_status append_via_stream(host_call *c)
{
    descriptor *d;
    place r;
    if (!fs_begin(c, &d, &r))
        return HOST_TRAP;
    fs_code code = file_check(d, FLAG_WRITE);
    if (code != FS_OK)
        return fs_return(c, r, code);
    return fs_return_object(c, r, fs_output_new(c->g, d->f, FS_APPEND));
}

/* --- the open file ------------------------------------------------------------------------- */

static host_status advise(host_call *c)
{
    static const int advices[] = {POSIX_FADV_NORMAL,   POSIX_FADV_SEQUENTIAL, POSIX_FADV_RANDOM,
                                  POSIX_FADV_WILLNEED, POSIX_FADV_DONTNEED,   POSIX_FADV_NOREUSE};
    descriptor *d;
    place r;
    uint32_t k;
    if (!fs_begin(c, &d, &r) || !arg_case(c, 3, 6, &k))
        return HOST_TRAP;
    uint64_t offset = c->slots[1].u64, length = c->slots[2].u64;
    if (d->is_directory || offset > INT64_MAX || length > INT64_MAX)
        return fs_return(c, r, d->is_directory ? FS_BAD_DESCRIPTOR : FS_INVALID);
    int n = posix_fadvise(d->f->fd, (off_t)offset, (off_t)length, advices[k]);
    return fs_return(c, r, n ? fs_code_of(n) : FS_OK);
}

static host_status sync_file(host_call *c)
{
    descriptor *d;
    place r;
    return fs_begin(c, &d, &r) ? fs_return(c, r, FS_OK) : HOST_TRAP;
}

static host_status get_flags(host_call *c)
{
    descriptor *d;
    place r;
    if (!fs_begin(c, &d, &r))
        return HOST_TRAP;
    put_int(c, put_case(c, r, 0), d->flags);
    return HOST_DONE;
}

/* descriptor-type */
uint32_t fs_type_of(mode_t mode)
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
    if (!fs_begin(c, &d, &r))
        return HOST_TRAP;
    if (fstat(d->f->fd, &st) < 0)
        return fs_return_errno(c, r, -1);
    put_case(c, put_case(c, r, 0), fs_type_of(st.st_mode));
    return HOST_DONE;
}

static host_status set_size(host_call *c)
{
    descriptor *d;
    place r;
    if (!fs_begin(c, &d, &r))
        return HOST_TRAP;
    fs_code code = file_check(d, FLAG_WRITE);
    if (code == FS_OK && c->slots[1].u64 > INT64_MAX)
        code = FS_INVALID;
    if (code != FS_OK)
        return fs_return(c, r, code);
    return fs_return_errno(c, r, ftruncate(d->f->fd, (off_t)c->slots[1].u64));
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
    if (!fs_begin(c, &d, &r) || !arg_timestamp(c, 1, &t[0], &code) ||
        !arg_timestamp(c, 4, &t[1], &code))
        return HOST_TRAP;
    if (!d->writable)
        code = FS_NOT_PERMITTED;
    if (code != FS_OK)
        return fs_return(c, r, code);
    return fs_return_errno(c, r, utimensat(d->f->fd, "", t, AT_EMPTY_PATH));
}

static host_status read_file(host_call *c)
{
    descriptor *d;
    place r;
    uint64_t length = c->slots[1].u64, offset = c->slots[2].u64;
    size_t max = length < HOST_READ_BYTES_MAX ? (size_t)length : HOST_READ_BYTES_MAX;
    if (!fs_begin(c, &d, &r))
        return HOST_TRAP;
    fs_code code = file_check(d, FLAG_READ);
    if (code == FS_OK && offset > INT64_MAX)
        code = FS_INVALID;
    if (code != FS_OK)
        return fs_return(c, r, code);
    uint8_t *p = arena_alloc(&c->g->scratch, max);
    if (!p)
        return call_no_memory(c);
    ssize_t n = pread(d->f->fd, p, max, (off_t)offset);
    if (n < 0)
        return fs_return_errno(c, r, -1);
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
    if (!fs_begin(c, &d, &r) || !arg_bytes(c, 1, &b))
        return HOST_TRAP;
    fs_code code = file_check(d, FLAG_WRITE);
    if (code == FS_OK && offset > INT64_MAX)
        code = FS_INVALID;
    if (code != FS_OK)
        return fs_return(c, r, code);
    ssize_t n = pwrite(d->f->fd, b.p, b.n, (off_t)offset);
    if (n < 0)
        return fs_return_errno(c, r, -1);
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
    put_case(c, place_field(p, 0), fs_type_of(st->st_mode));
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
    if (!fs_arg_path(c, d, flags_slot + 1, &path, ret_code))
        return false;
    if (*ret_code == FS_OK)
        *ret_fd =
            fs_open_beneath(d->f->fd, path.text, O_PATH | (follow ? 0 : O_NOFOLLOW), ret_code);
    return true;
}

static host_status stat_self(host_call *c)
{
    descriptor *d;
    place r;
    struct stat st;
    if (!fs_begin(c, &d, &r))
        return HOST_TRAP;
    return fstat(d->f->fd, &st) < 0 ? fs_return_errno(c, r, -1) : return_stat(c, r, &st);
}

/* stat of a path; false: *ret_status is to be returned. */
static bool stat_path(host_call *c, place *ret_r, struct stat *ret, host_status *ret_status)
{
    descriptor *d;
    int fd;
    fs_code code;
    *ret_status = HOST_TRAP;
    if (!fs_begin(c, &d, ret_r) || !arg_look_up(c, d, 1, &fd, &code))
        return false;
    if (fd < 0) {
        *ret_status = fs_return(c, *ret_r, code);
        return false;
    }
    int n = fstat(fd, ret);
    if (n < 0)
        *ret_status = fs_return_errno(c, *ret_r, n);
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
    if (!fs_begin(c, &d, &r) || !arg_timestamp(c, 4, &t[0], &times) ||
        !arg_timestamp(c, 7, &t[1], &times))
        return HOST_TRAP;
    if (!d->writable || times != FS_OK)
        return fs_return(c, r, d->writable ? times : FS_NOT_PERMITTED);
    if (!arg_look_up(c, d, 1, &fd, &code))
        return HOST_TRAP;
    if (fd < 0)
        return fs_return(c, r, code);
    int n = utimensat(fd, "", t, AT_EMPTY_PATH);
    host_status s = fs_return_errno(c, r, n);
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
    if (!fs_begin(c, &d, &r))
        return HOST_TRAP;
    return fstat(d->f->fd, &st) < 0 ? fs_return_errno(c, r, -1) : return_hash(c, r, &st);
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
    bool same = fstat(a->f->fd, &sa) == 0 && fstat(b->f->fd, &sb) == 0 && sa.st_dev == sb.st_dev &&
                sa.st_ino == sb.st_ino;
    return return_u32(c, same);
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
#define NEW_TIMES                                                                                  \
    "data-access-timestamp: new-timestamp, data-modification-timestamp: new-timestamp)"

static const host_func types_funcs[] = {
    {"[method]descriptor.read-via-stream",
     SELF ", offset: filesize) -> result<input-stream, error-code>", read_via_stream},
    {"[method]descriptor.write-via-stream",
     SELF ", offset: filesize) -> result<output-stream, error-code>", write_via_stream},
    {"[method]descriptor.append-via-stream", SELF ") -> result<output-stream, error-code>",
     append_via_stream},
    {"[method]descriptor.advise", SELF ", offset: filesize, length: filesize, advice: advice)" DONE,
     advise},
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
    {"[method]descriptor.sync", SELF ")" DONE, sync_file},
    {"[method]descriptor.stat", SELF ") -> result<descriptor-stat, error-code>", stat_self},
    {"[method]descriptor.stat-at",
     SELF ", path-flags: path-flags, path: string) -> result<descriptor-stat, error-code>",
     stat_at},
    {"[method]descriptor.set-times-at",
     SELF ", path-flags: path-flags, path: string, " NEW_TIMES DONE, set_times_at},
    {"[method]descriptor.is-same-object", SELF ", other: borrow<descriptor>) -> bool",
     is_same_object},
    {"[method]descriptor.metadata-hash", SELF ") -> result<metadata-hash-value, error-code>",
     metadata_hash},
    {"[method]descriptor.metadata-hash-at",
     SELF ", path-flags: path-flags, path: string) -> result<metadata-hash-value, error-code>",
     metadata_hash_at},
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
    .groups = (const host_func *const[]){fs_directory_funcs, NULL},
    .resources = (const host_resource *const[]){&descriptor_resource,
                                                &directory_entry_stream_resource, NULL},
};

/* --- preopens ------------------------------------------------------------------------------ */

object *fs_preopen_new(guest *g, uint32_t k)
{
    const struct host_preopen *p = &g->component->preopens[k];
    return fs_descriptor_new(g, fs_file_new(g, p->dir_fd, true), true, p->writable,
                             FLAG_READ | (p->writable ? FLAG_MUTATE : 0u));
}

bool fs_preopen_is(const guest *g, const object *o, uint32_t *ret_k)
{
    const descriptor *d = (const descriptor *)(const void *)o;
    if (o->resource != &descriptor_resource || !d->f->borrowed || d->f->refs != 1)
        return false;
    for (uint32_t k = 0; k < g->component->preopens_count; k++)
        if (g->component->preopens[k].dir_fd == d->f->fd) {
            *ret_k = k;
            return true;
        }
    return false;
}

static host_status get_directories(host_call *c)
{
    const host_component *h = c->g->component;
    place r, first;
    if (!result_place(c, &r) || !put_list(c, r, (uint32_t)h->preopens_count, &first))
        return HOST_TRAP;
    for (uint32_t i = 0; i < h->preopens_count; i++) {
        place pair = place_element(first, i);
        if (!put_handle(c, place_field(pair, 0), fs_preopen_new(c->g, i)) ||
            !put_string(c, place_field(pair, 1), h->preopens[i].guest_path))
            return HOST_TRAP;
    }
    return HOST_DONE;
}

const host_interface wasi_filesystem_preopens = {
    .name = "wasi:filesystem/preopens@0.2.0",
    .types = "use wasi:filesystem/types@0.2.0.{descriptor};",
    .funcs =
        (const host_func[]){
            {"get-directories", "func() -> list<tuple<descriptor, string>>", get_directories}, {0}},
};
