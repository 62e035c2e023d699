/* Messages over SOCK_SEQPACKET: the kernel keeps their borders and their order, and a descriptor
 * travels beside its bytes (SCM_RIGHTS). Sending is sendmsg at once; only where the socket is full
 * a message is copied into a queue and the descriptor duplicated, until the socket is writable. */
#include "loop/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MESSAGES_PER_TURN = 32 };

typedef struct queued {
    struct queued *next;
    size_t n;
    int fd;
    uint8_t p[];
} queued;

struct channel {
    int fd;
    const channel_callbacks *callbacks;
    void *user;
    loop_watch *watch;
    queued *first, **last;
    size_t queued_bytes;
    bool receiving, closed; /* on_message may close the channel */
};

bool channel_pair(int ret_fds[2], err *e)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ret_fds) != 0)
        return err_set_errno(e, "cannot make a channel");
    return true;
}

/* 1: sent, 0: the socket is full, -1: the other side is gone or errno says what else. */
static int message_send(int fd, const uint8_t *p, size_t n, int passed)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec whole = {(void *)(uintptr_t)p, n};
    struct msghdr m = {.msg_iov = &whole, .msg_iovlen = 1};
    if (passed >= 0) {
        m.msg_control = &control;
        m.msg_controllen = sizeof control;
        control.head = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.head), &passed, sizeof passed);
    }
    for (;;) {
        if (sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            return 1;
        if (errno == EAGAIN || errno == ENOBUFS)
            return 0;
        if (errno != EINTR)
            return -1;
    }
}

static void queue_drop_first(channel *c)
{
    queued *q = c->first;
    c->first = q->next;
    if (!c->first)
        c->last = &c->first;
    c->queued_bytes -= q->n;
    if (q->fd >= 0)
        close(q->fd);
    free(q);
}

static void queue_send(channel *c)
{
    while (c->first && message_send(c->fd, c->first->p, c->first->n, c->first->fd) != 0)
        queue_drop_first(c); /* sent, or never will be: reading tells of the end */
    loop_watch_set(c->watch, c->first ? LOOP_READABLE | LOOP_WRITABLE : LOOP_READABLE);
}

/* Descriptor of a message or -1. */
static int passed_fd(struct msghdr *m)
{
    int fd = -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            memcpy(&fd, CMSG_DATA(c), sizeof fd);
    return fd;
}

static void receive_some(channel *c)
{
    static uint8_t space[CHANNEL_MESSAGE_BYTES_MAX]; /* one thread, one message at a time */
    for (int i = 0; i < MESSAGES_PER_TURN && !c->closed; i++) {
        union {
            struct cmsghdr head;
            char space[CMSG_SPACE(sizeof(int))];
        } control;
        struct iovec whole = {space, sizeof space};
        struct msghdr m = {.msg_iov = &whole,
                           .msg_iovlen = 1,
                           .msg_control = &control,
                           .msg_controllen = sizeof control};
        ssize_t n = recvmsg(c->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            loop_watch_set(c->watch, 0);
            c->callbacks->on_end(c->user);
            return;
        }
        c->callbacks->on_message(c->user, (bytes){space, (size_t)n}, passed_fd(&m));
    }
}

static void channel_ready(void *user, unsigned events)
{
    channel *c = user;
    if (c->first)
        queue_send(c);
    c->receiving = true;
    if (events & LOOP_READABLE)
        receive_some(c);
    c->receiving = false;
    if (c->closed)
        free(c);
}

bool channel_open_take(loop *l, int fd, const channel_callbacks *callbacks, void *user,
                       channel **ret_channel, err *e)
{
    channel *c = calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return err_no_memory(e);
    }
    *c = (channel){.fd = fd, .callbacks = callbacks, .user = user, .last = &c->first};
    if (!loop_watch_open(l, fd, channel_ready, c, &c->watch, e)) {
        close(fd);
        free(c);
        return false;
    }
    loop_watch_set(c->watch, LOOP_READABLE);
    *ret_channel = c;
    return true;
}

bool channel_send(channel *c, bytes message, int fd, err *e)
{
    if (message.n == 0 || message.n > CHANNEL_MESSAGE_BYTES_MAX)
        return err_set(e, ERR_LIMIT, "a message has 1 to %d bytes, not %zu",
                       CHANNEL_MESSAGE_BYTES_MAX, message.n);
    if (!c->first) {
        int sent = message_send(c->fd, message.p, message.n, fd);
        if (sent < 0)
            return err_set_errno(e, "cannot send a message");
        if (sent > 0)
            return true;
    }
    if (message.n > CHANNEL_QUEUE_BYTES_MAX - c->queued_bytes)
        return err_set(e, ERR_LIMIT, "the other process does not read its messages");
    queued *q = malloc(sizeof *q + message.n);
    if (!q)
        return err_no_memory(e);
    *q = (queued){.n = message.n, .fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0)};
    if (fd >= 0 && q->fd < 0) {
        free(q);
        return err_set_errno(e, "cannot keep a descriptor to send it");
    }
    memcpy(q->p, message.p, message.n);
    *c->last = q;
    c->last = &q->next;
    c->queued_bytes += q->n;
    loop_watch_set(c->watch, LOOP_READABLE | LOOP_WRITABLE);
    return true;
}

bool channel_try_send(channel *c, bytes message, int fd)
{
    return !c->first && message_send(c->fd, message.p, message.n, fd) == 1;
}

bool channel_is_over(const channel *c)
{
    struct pollfd p = {.fd = c->fd};
    return poll(&p, 1, 0) == 1;
}

void channel_close(channel *c)
{
    if (!c)
        return;
    queue_send(c);
    while (c->first)
        queue_drop_first(c);
    loop_watch_close(c->watch);
    close(c->fd);
    c->closed = true;
    if (!c->receiving)
        free(c);
}
