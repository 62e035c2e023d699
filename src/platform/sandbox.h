/* What a process may ask of the kernel from here on: seccomp allow-lists and landlock, per role.
 * Entered before the first untrusted byte is read; it cannot be left. */
#pragma once

#include "base/err.h"

typedef enum {
    SANDBOX_PURE,    /* read and write open descriptors, memory; nothing else (decode) */
    SANDBOX_COMPILE, /* the same and threads (compile) */
    SANDBOX_WORKER,  /* the same and sockets it has, files below what landlock allows */
} sandbox_kind;

bool sandbox_enter(sandbox_kind kind, err *e);
