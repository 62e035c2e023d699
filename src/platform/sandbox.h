/* What a process may ask of the kernel from here on: seccomp allow-lists, and landlock for files.
 * Entered before the first untrusted byte is read; it cannot be left. Works without root. */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <stddef.h>

typedef enum {
    SANDBOX_PURE,    /* read and write open descriptors, memory; nothing else (decode) */
    SANDBOX_COMPILE, /* the same and threads (compile) */
    SANDBOX_WORKER,  /* the same and sockets, timers, files that landlock allows */
    SANDBOX_STORE,   /* the same and what SQLite asks of files */
} sandbox_kind;

/* seccomp: another system call ends a decode or compile process; in a worker it answers EPERM, so
 * that a refused call does not take other requests down. */
bool sandbox_enter(sandbox_kind kind, err *e);

/* A folder (NUL-terminated, absolute) below which files may be used from now on. */
typedef struct {
    str path;
    bool writable;
} sandbox_path;

/* landlock: every other path is out of reach, for this thread and those it starts. Paths that do
 * not exist are passed over. *ret_enforced is false where the kernel has no landlock: say so once.
 */
bool sandbox_files(const sandbox_path *paths, size_t count, bool *ret_enforced, err *e);
