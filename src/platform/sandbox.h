/* What a process may ask of the kernel from here on: seccomp allow-lists, and landlock for files.
 * Entered before the first untrusted byte is read; it cannot be left. Works without root. */
#pragma once

#include "base/err.h"
#include "base/str.h"

#include <stddef.h>
#include <sys/types.h>

typedef enum {
    SANDBOX_PURE,    /* read and write open descriptors, memory; nothing else (decode) */
    SANDBOX_COMPILE, /* the same and threads (compile) */
    SANDBOX_WORKER,  /* as pure, and sockets, timers, files that landlock allows; no threads */
    SANDBOX_ASKING,  /* a worker that asks providers of variables, in threads */
    SANDBOX_STORE,   /* the same and threads (one a statement), and what SQLite asks of files */
    SANDBOX_FETCH,   /* the same: libcurl looks names up in a thread */
} sandbox_kind;

/* Who processes run as that were started by root: the account 'ebb', or nobody. False: this process
 * is not root's, and all of them stay who they are. */
bool sandbox_user(uid_t *ret_uid, gid_t *ret_gid);
/* Becomes that user, without groups and capabilities. Descriptors stay. No root: does nothing. */
bool sandbox_drop(err *e);

/* seccomp: another system call ends a decode or compile process; in a worker it answers EPERM, so
 * that a refused call does not take other requests down. */
bool sandbox_enter(sandbox_kind kind, err *e);

/* A folder (NUL-terminated, absolute) below which files may be used from now on. */
typedef struct {
    str path;
    bool writable;
} sandbox_path;

/* What looking up names and checking certificates reads. No secrets: private keys that a
 * distribution keeps below /etc/ssl are not among them. */
enum { SANDBOX_NETWORK_PATHS = 13 };
extern const sandbox_path sandbox_network[SANDBOX_NETWORK_PATHS];

/* landlock: every other path is out of reach, for this thread and those it starts. Paths that do
 * not exist are passed over. *ret_enforced is false where the kernel has no landlock. */
bool sandbox_files(const sandbox_path *paths, size_t count, bool *ret_enforced, err *e);
/* Has this kernel landlock? Where it has not, say so once. */
bool sandbox_has_files(void);

/* All of it: sandbox_drop, sandbox_files, sandbox_enter. */
bool sandbox_confine(sandbox_kind kind, const sandbox_path *paths, size_t count, bool *ret_enforced,
                     err *e);
/* The same for a process that only asks servers (SANDBOX_FETCH): it may read what looking up names
 * and checking certificates takes. */
bool sandbox_confine_client(err *e);
