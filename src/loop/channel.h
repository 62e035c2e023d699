/* Messages between processes of ebb: whole messages, in order, each with at most one descriptor,
 * over a pair of UNIX sockets (SOCK_SEQPACKET).
 * Invariants: a message arrives whole or not at all; memory is bounded: what the other side has not
 * yet read is queued up to CHANNEL_QUEUE_BYTES_MAX, then channel_send fails.
 */
#pragma once

#include "base/str.h"
#include "loop/loop.h"

enum { CHANNEL_MESSAGE_BYTES_MAX = 64 * 1024, CHANNEL_QUEUE_BYTES_MAX = 4 * 1024 * 1024 };

typedef struct channel channel;

typedef struct {
    /* message is valid during the call; fd is -1 or now the receiver's to close. */
    void (*on_message)(void *user, bytes message, int fd);
    /* The other side is gone; call channel_close. */
    void (*on_end)(void *user);
} channel_callbacks;

/* Two connected descriptors, non-blocking, close-on-exec. */
bool channel_pair(int ret_fds[2], err *e);
/* Takes fd, also on failure. */
bool channel_open_take(loop *l, int fd, const channel_callbacks *callbacks, void *user,
                       channel **ret_channel, err *e);
/* Copies message (1 to CHANNEL_MESSAGE_BYTES_MAX bytes). fd -1: none; otherwise it is sent and
 * stays the caller's. */
bool channel_send(channel *c, bytes message, int fd, err *e);
/* channel_send that keeps no copy, of fd neither: false where the socket is full, or gone. */
bool channel_try_send(channel *c, bytes message, int fd);
/* The other side is gone, though what it sent may not have been read yet. */
bool channel_is_over(const channel *c);
/* NULL is allowed. What is still queued is tried once more, then dropped. */
void channel_close(channel *c);
