/* Descriptors, paths and streams of files; errors of the kernel as those of WASI.
 *
 * Reads and writes of regular files are done at once: they are the app's own few files and nearly
 * always in the page cache. Special files are opened with O_NONBLOCK, so that none can hold up the
 * loop. */
#include "host/fs.h"

#include "base/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

fs_code fs_code_of(int n)
{
    static const struct {
        int number;
        fs_code code;
    } codes[] = {
        {EACCES, FS_ACCESS},
        {EAGAIN, FS_WOULD_BLOCK},
        {EALREADY, FS_ALREADY},
        {EBADF, FS_BAD_DESCRIPTOR},
        {EBUSY, FS_BUSY},
        {EDEADLK, FS_DEADLOCK},
        {EDQUOT, FS_QUOTA},
        {EEXIST, FS_EXIST},
        {EFBIG, FS_FILE_TOO_LARGE},
        {EILSEQ, FS_ILLEGAL_BYTE_SEQUENCE},
        {EINPROGRESS, FS_IN_PROGRESS},
        {EINTR, FS_INTERRUPTED},
        {EINVAL, FS_INVALID},
        {EIO, FS_IO},
        {EISDIR, FS_IS_DIRECTORY},
        {ELOOP, FS_LOOP},
        {EMLINK, FS_TOO_MANY_LINKS},
        {EMSGSIZE, FS_MESSAGE_SIZE},
        {ENAMETOOLONG, FS_NAME_TOO_LONG},
        {ENODEV, FS_NO_DEVICE},
        {ENOENT, FS_NO_ENTRY},
        {ENOLCK, FS_NO_LOCK},
        {ENOMEM, FS_INSUFFICIENT_MEMORY},
        {ENOSPC, FS_INSUFFICIENT_SPACE},
        {ENOTDIR, FS_NOT_DIRECTORY},
        {ENOTEMPTY, FS_NOT_EMPTY},
        {ENOTRECOVERABLE, FS_NOT_RECOVERABLE},
        {EOPNOTSUPP, FS_UNSUPPORTED},
        {ENOSYS, FS_UNSUPPORTED},
        {ENOTTY, FS_NO_TTY},
        {ENXIO, FS_NO_SUCH_DEVICE},
        {EOVERFLOW, FS_OVERFLOW},
        {EPERM, FS_NOT_PERMITTED},
        {EPIPE, FS_PIPE},
        {EROFS, FS_READ_ONLY},
        {ESPIPE, FS_INVALID_SEEK},
        {ETXTBSY, FS_TEXT_FILE_BUSY},
        {EXDEV, FS_CROSS_DEVICE},
        {EMFILE, FS_QUOTA},
        {ENFILE, FS_QUOTA},
    };
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].number == n)
            return codes[i].code;
    return FS_IO;
}

/* --- descriptors --------------------------------------------------------------------------- */

fs_file *fs_file_new(guest *g, int fd, bool borrowed)
{
    fs_file *f = g->files < HOST_FILES_MAX ? pool_take(&g->pool, sizeof *f) : NULL;
    if (!f) {
        if (!borrowed)
            close(fd);
        return NULL;
    }
    *f = (fs_file){.refs = 1, .fd = fd, .borrowed = borrowed};
    g->files++;
    return f;
}

void fs_file_unref(guest *g, fs_file *f)
{
    if (--f->refs > 0)
        return;
    if (!f->borrowed)
        close(f->fd);
    g->files--;
    pool_give(&g->pool, f, sizeof *f);
}

/* --- paths --------------------------------------------------------------------------------- */

fs_code fs_path_make(str path, fs_path *ret)
{
    if (path.n == 0)
        return FS_NO_ENTRY;
    if (path.n >= sizeof ret->text)
        return FS_NAME_TOO_LONG;
    if (memchr(path.p, 0, path.n))
        return FS_INVALID;
    if (path.p[0] == '/')
        return FS_NOT_PERMITTED; /* absolute: leads outside */
    memcpy(ret->text, path.p, path.n);
    ret->text[path.n] = 0;
    return FS_OK;
}

int fs_open_beneath(int dir_fd, const char *path, int flags, fs_code *ret_code)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)flags | O_CLOEXEC,
        .mode = flags & O_CREAT ? 0666 : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    long fd = -1;
    /* EAGAIN: something was renamed meanwhile, and the kernel could not be sure. */
    for (int i = 0; i < 16; i++) {
        fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof how);
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
            break;
    }
    if (fd < 0)
        *ret_code = errno == EXDEV ? FS_NOT_PERMITTED : fs_code_of(errno);
    return (int)fd;
}

fs_code fs_parent_open(int dir_fd, fs_path *path, fs_parent *ret)
{
    size_t n = strlen(path->text), end = n;
    while (end > 1 && path->text[end - 1] == '/')
        end--;
    size_t base = end;
    while (base > 0 && path->text[base - 1] != '/')
        base--;
    str last = {path->text + base, end - base};
    if (str_eq(last, S("..")))
        return FS_NOT_PERMITTED;
    if (str_eq(last, S(".")))
        return FS_INVALID;
    *ret = (fs_parent){.fd = dir_fd, .is_dir_fd = true, .base = path->text + base};
    if (base == 0)
        return FS_OK;
    fs_code code = FS_OK;
    path->text[base - 1] = 0;
    ret->is_dir_fd = false;
    ret->fd = fs_open_beneath(dir_fd, path->text, O_PATH | O_DIRECTORY, &code);
    return ret->fd < 0 ? code : FS_OK;
}

void fs_parent_close(fs_parent *p)
{
    if (!p->is_dir_fd && p->fd >= 0)
        close(p->fd);
}

/* --- streams ------------------------------------------------------------------------------- */

typedef struct {
    input_stream s;
    fs_file *f;
    uint64_t offset;
    const uint8_t *read; /* what peek read, in the scratch memory of this host call */
} fs_input;

static stream_state fs_fail(error_info *ret_error, int number)
{
    *ret_error = (error_info){.domain = ERROR_FILESYSTEM, .code = fs_code_of(number)};
    return STREAM_FAILED;
}

static stream_state fs_peek(guest *g, input_stream *s, size_t max, size_t *ret_n,
                            error_info *ret_error)
{
    fs_input *i = (fs_input *)s;
    uint8_t *p = arena_alloc(&g->scratch, max);
    if (!p)
        return fs_fail(ret_error, ENOMEM);
    if (i->offset > INT64_MAX)
        return STREAM_CLOSED;
    ssize_t n = pread(i->f->fd, p, max, (off_t)i->offset);
    if (n < 0)
        return fs_fail(ret_error, errno);
    i->read = p;
    *ret_n = (size_t)n;
    return n ? STREAM_OPEN : STREAM_CLOSED;
}

static void fs_take(guest *g, input_stream *s, void *p, size_t n)
{
    fs_input *i = (fs_input *)s;
    if (p)
        memcpy(p, i->read, n);
    i->offset += n;
}

static void fs_input_release(guest *g, input_stream *s) { fs_file_unref(g, ((fs_input *)s)->f); }

static const input_ops fs_input_ops = {
    .peek = fs_peek,
    .take = fs_take,
    .release = fs_input_release,
};

object *fs_input_new(guest *g, fs_file *f, uint64_t offset)
{
    fs_input *i = OBJECT_NEW(g, fs_input, input_stream_resource, NULL);
    if (i) {
        i->s.ops = &fs_input_ops;
        i->f = f;
        i->offset = offset;
        f->refs++;
    }
    return (object *)i;
}

typedef struct {
    output_stream s;
    fs_file *f;
    int64_t offset; /* FS_APPEND: always at the end */
} fs_output;

static stream_state fs_room(guest *g, output_stream *s, size_t *ret_n, error_info *ret_error)
{
    *ret_n = HOST_WRITE_PERMIT_BYTES;
    return STREAM_OPEN;
}

static stream_state fs_write(guest *g, output_stream *s, const void *p, size_t n,
                             error_info *ret_error)
{
    static const uint8_t zeroes[4096];
    fs_output *o = (fs_output *)s;
    const uint8_t *at = p;
    while (n) {
        size_t want = at || n < sizeof zeroes ? n : sizeof zeroes;
        struct iovec v = {(void *)(uintptr_t)(at ? at : zeroes), want};
        bool append = o->offset == FS_APPEND;
        ssize_t k = pwritev2(o->f->fd, &v, 1, append ? -1 : o->offset, append ? RWF_APPEND : 0);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0)
            return fs_fail(ret_error, errno);
        n -= (size_t)k;
        at = at ? at + k : NULL;
        if (!append)
            o->offset += k;
    }
    return STREAM_OPEN;
}

static void fs_output_release(guest *g, output_stream *s) { fs_file_unref(g, ((fs_output *)s)->f); }

static const output_ops fs_output_ops = {
    .room = fs_room,
    .write = fs_write,
    .release = fs_output_release,
};

object *fs_output_new(guest *g, fs_file *f, int64_t offset)
{
    fs_output *o = OBJECT_NEW(g, fs_output, output_stream_resource, NULL);
    if (o) {
        o->s.ops = &fs_output_ops;
        o->f = f;
        o->offset = offset;
        f->refs++;
    }
    return (object *)o;
}
