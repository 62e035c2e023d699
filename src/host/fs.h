/* Inside host/: files of a guest.
 *
 * Every path of a guest is resolved by the kernel beneath the descriptor it is relative to
 * (openat2, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS): no "..", link or race leads outside. What
 * changes a directory works on an opened parent and a single last component. */
#pragma once

#include "host/streams.h"

#include <sys/stat.h>

/* wasi:filesystem/types error-code */
typedef enum {
    FS_ACCESS,
    FS_WOULD_BLOCK,
    FS_ALREADY,
    FS_BAD_DESCRIPTOR,
    FS_BUSY,
    FS_DEADLOCK,
    FS_QUOTA,
    FS_EXIST,
    FS_FILE_TOO_LARGE,
    FS_ILLEGAL_BYTE_SEQUENCE,
    FS_IN_PROGRESS,
    FS_INTERRUPTED,
    FS_INVALID,
    FS_IO,
    FS_IS_DIRECTORY,
    FS_LOOP,
    FS_TOO_MANY_LINKS,
    FS_MESSAGE_SIZE,
    FS_NAME_TOO_LONG,
    FS_NO_DEVICE,
    FS_NO_ENTRY,
    FS_NO_LOCK,
    FS_INSUFFICIENT_MEMORY,
    FS_INSUFFICIENT_SPACE,
    FS_NOT_DIRECTORY,
    FS_NOT_EMPTY,
    FS_NOT_RECOVERABLE,
    FS_UNSUPPORTED,
    FS_NO_TTY,
    FS_NO_SUCH_DEVICE,
    FS_OVERFLOW,
    FS_NOT_PERMITTED,
    FS_PIPE,
    FS_READ_ONLY,
    FS_INVALID_SEEK,
    FS_TEXT_FILE_BUSY,
    FS_CROSS_DEVICE,
    FS_OK, /* no error-code */
} fs_code;

fs_code fs_code_of(int error_number);

/* An open descriptor, shared by a WASI descriptor and its streams. */
typedef struct {
    unsigned refs;
    int fd;
    bool borrowed; /* a preopened directory: the platform's to close */
} fs_file;

/* Takes over fd (closes it on failure). NULL: no memory or too many files. */
fs_file *fs_file_new(guest *g, int fd, bool borrowed);
void fs_file_unref(guest *g, fs_file *f);

/* A guest's path as the kernel wants it. */
typedef struct {
    char text[4096];
} fs_path;
fs_code fs_path_make(str path, fs_path *ret);
/* openat2 beneath dir_fd; -1 with *ret_code. */
int fs_open_beneath(int dir_fd, const char *path, int flags, fs_code *ret_code);
/* The directory that holds the last component of a path, and that component. */
typedef struct {
    int fd; /* to be closed by fs_parent_close */
    bool is_dir_fd;
    const char *base; /* in the path */
} fs_parent;
fs_code fs_parent_open(int dir_fd, fs_path *path, fs_parent *ret);
void fs_parent_close(fs_parent *p);

/* Streams of a file, NULL without memory. */
object *fs_input_new(guest *g, fs_file *f, uint64_t offset);
enum { FS_APPEND = -1 };
object *fs_output_new(guest *g, fs_file *f, int64_t offset);

/* --- descriptors --------------------------------------------------------------------------- */

typedef struct {
    object o;
    fs_file *f;
    bool is_directory, writable;
    uint32_t flags; /* descriptor-flags as opened */
} descriptor;

enum { FLAG_READ = 1, FLAG_WRITE = 2, FLAG_MUTATE = 32, FLAGS_ALL = 63 };
enum { OPEN_CREATE = 1, OPEN_DIRECTORY = 2, OPEN_EXCLUSIVE = 4, OPEN_TRUNCATE = 8 };
enum { SYMLINK_FOLLOW = 1 };

extern const host_resource descriptor_resource, directory_entry_stream_resource;

/* Takes over f; NULL without memory (and for f == NULL). */
object *fs_descriptor_new(guest *g, fs_file *f, bool is_directory, bool writable, uint32_t flags);
/* The k-th preopened directory of the component; NULL without memory. */
object *fs_preopen_new(guest *g, uint32_t k);
/* Is o one, open nowhere else? */
bool fs_preopen_is(const guest *g, const object *o, uint32_t *ret_k);
/* Self in slot 0, and where the result goes. */
bool fs_begin(host_call *c, descriptor **ret, place *ret_place);
/* result<_, error-code> */
host_status fs_return(host_call *c, place r, fs_code code);
host_status fs_return_errno(host_call *c, place r, int result);
/* result<resource, error-code>; NULL: not enough memory or files. */
host_status fs_return_object(host_call *c, place r, object *o);
/* The path in slots i, i + 1, relative to d. False: trap. */
bool fs_arg_path(host_call *c, const descriptor *d, unsigned i, fs_path *ret, fs_code *ret_code);
/* descriptor-type */
uint32_t fs_type_of(mode_t mode);

extern const host_func fs_directory_funcs[];
