/* What workers ask the keeper about apps, and what it tells them. One message each over a channel
 * of its own; both ends are the same binary: the machine's byte order, nothing versioned.
 *
 *     worker                              keeper
 *       FIND(ask, host; or calls)  ------>    looks it up in the catalogue
 *             <------  FOUND(ask, app, settings) | NOBODY(ask) | FAILED(ask, why)
 *             <------  LATER(ask)                    one of the others follows: it is being made
 *             <------  FORGET(ask, app or tenant)    something of it has changed
 *             <------  DOUBT(ask)                    another keeper makes the changes from now on
 *       FORGOTTEN(ask)           ------>    new requests resolve anew from here on
 *
 * Texts follow the head, one after the other; together above DIRECTORY_INLINE_BYTES_MAX they are
 * in an anonymous file that is passed beside it. The reader trusts no length. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "platform/calls_owner.h"

enum { DIRECTORY_INLINE_BYTES_MAX = 32 * 1024, DIRECTORY_HOST_BYTES_MAX = 255 };

typedef enum {
    DIRECTORY_FIND = 1,
    DIRECTORY_FORGOTTEN,
    DIRECTORY_FOUND,
    DIRECTORY_NOBODY,
    DIRECTORY_FAILED,
    DIRECTORY_LATER,
    DIRECTORY_FORGET,
    DIRECTORY_DOUBT,
} directory_kind;

typedef struct {
    directory_kind kind;
    uint64_t ask;
    /* FOUND; FORGET: that app, or those of that tenant, or (both 0) whatever names say. */
    uint64_t app, tenant;
    uint32_t revision;
    /* FOUND: whose deferred calls of it are. FIND: of a deferred call; app 0: by host. */
    calls_owner calls;
    str host;     /* FIND */
    str settings; /* FOUND: app_config.h; FAILED: why; LATER: what for */
    str quota;    /* FOUND: of the tenant */
    str egress;   /* FOUND: networks that it may reach besides */
} directory_message;

/* Appends to out (which is empty); *ret_fd is -1 or a file to be passed, then the caller's. */
bool directory_message_write(const directory_message *m, buf *out, int *ret_fd, err *e);
/* Takes fd (-1: none). Texts are in the arena. ERR_INVALID. */
bool directory_message_read(arena *a, bytes message, int fd, directory_message *ret, err *e);
