/* Listening and accepting.
 *
 * Accepting is ours, not uv_listen's: accept4 gives the peer's address with the connection, and a
 * listener can pause. When the process runs out of descriptors the queue stays readable, so without
 * a pause the loop would spin; a short one-shot timer ends it.
 */
#include "loop/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    BACKLOG = 4096,       /* the kernel cuts it to net.core.somaxconn */
    ACCEPT_PER_TURN = 64, /* then those who are connected get their turn */
};
#define ACCEPT_PAUSE (50 * NS_PER_MS)

typedef union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage storage;
} address;

struct listener {
    loop *l;
    int fd;
    void (*f)(void *user, int fd, str peer);
    void *user;
    loop_watch *watch;
    loop_timer pause;
    bool accepting, closed; /* f may close the listener */
};

/* "1.2.3.4:5", "[::1]:5"; an IPv4 peer of an IPv6 socket is shown as IPv4. */
static str address_text(const address *a, char text[LISTEN_ADDRESS_MAX])
{
    char ip[INET6_ADDRSTRLEN];
    int n = 0;
    if (a->any.sa_family == AF_INET) {
        const uint8_t *q = (const uint8_t *)&a->v4.sin_addr;
        n = snprintf(text, LISTEN_ADDRESS_MAX, "%u.%u.%u.%u:%u", q[0], q[1], q[2], q[3],
                     ntohs(a->v4.sin_port));
    } else if (a->any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a->v6.sin6_addr)) {
        const uint8_t *q = a->v6.sin6_addr.s6_addr + 12;
        n = snprintf(text, LISTEN_ADDRESS_MAX, "%u.%u.%u.%u:%u", q[0], q[1], q[2], q[3],
                     ntohs(a->v6.sin6_port));
    } else if (a->any.sa_family == AF_INET6 &&
               inet_ntop(AF_INET6, &a->v6.sin6_addr, ip, sizeof ip)) {
        n = snprintf(text, LISTEN_ADDRESS_MAX, "[%s]:%u", ip, ntohs(a->v6.sin6_port));
    } else { /* a UNIX socket has no address worth a name */
        n = snprintf(text, LISTEN_ADDRESS_MAX, "local");
    }
    return (str){text, n > 0 ? (size_t)n : 0};
}

static bool address_parse(str text, address *ret, socklen_t *ret_n, err *e)
{
    size_t colon = str_rfind(text, ':');
    uint64_t port;
    char host[INET6_ADDRSTRLEN];
    if (colon == text.n || !str_to_u64(str_skip(text, colon + 1), 65535, &port))
        return err_set(e, ERR_INVALID,
                       "'%.*s' is no address to listen on; write IP:PORT, such as "
                       "127.0.0.1:3000 or [::1]:3000",
                       STR(text));
    str name = str_head(text, colon);
    if (str_eq(name, S("localhost")))
        name = S("127.0.0.1");
    else if (name.n == 0)
        name = S("[::]");
    bool is_v6 = name.n >= 2 && name.p[0] == '[' && name.p[name.n - 1] == ']';
    if (is_v6)
        name = (str){name.p + 1, name.n - 2};
    *ret = (address){0};
    if (name.n < sizeof host) {
        memcpy(host, name.p, name.n);
        host[name.n] = 0;
        if (is_v6 && inet_pton(AF_INET6, host, &ret->v6.sin6_addr) == 1) {
            ret->v6.sin6_family = AF_INET6;
            ret->v6.sin6_port = htons((uint16_t)port);
            *ret_n = sizeof ret->v6;
            return true;
        }
        if (!is_v6 && inet_pton(AF_INET, host, &ret->v4.sin_addr) == 1) {
            ret->v4.sin_family = AF_INET;
            ret->v4.sin_port = htons((uint16_t)port);
            *ret_n = sizeof ret->v4;
            return true;
        }
    }
    return err_set(e, ERR_INVALID,
                   "'%.*s' is no IP address; names are not looked up, write "
                   "127.0.0.1:3000 or [::1]:3000",
                   STR(text));
}

bool listen_is_free(str text, err *e)
{
    address a;
    socklen_t n = 0;
    int on = 1;
    if (!address_parse(text, &a, &n, e))
        return false;
    int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_set_errno(e, "cannot make a socket for %.*s", STR(text));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    bool ok = bind(fd, &a.any, n) == 0;
    if (!ok && errno == EADDRINUSE)
        err_set(e, ERR_CONFLICT, "%.*s is in use by another process", STR(text));
    else if (!ok)
        err_set_errno(e, "cannot listen on %.*s", STR(text));
    close(fd);
    return ok;
}

static bool socket_prepare(int fd, const address *a, socklen_t n, bool both_families)
{
    int on = 1, only = both_families ? 0 : 1;
    return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
           setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0 &&
           /* Inherited by what is accepted. */
           setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0 &&
           (a->any.sa_family != AF_INET6 ||
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) == 0) &&
           bind(fd, &a->any, n) == 0 && listen(fd, BACKLOG) == 0;
}

bool listen_socket(str text, int *ret_fd, char ret_address[LISTEN_ADDRESS_MAX], err *e)
{
    address a;
    socklen_t n = 0;
    if (!address_parse(text, &a, &n, e))
        return false;
    int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set_errno(e, "cannot make a socket for %.*s", STR(text));
    bool both = str_starts(text, S(":")) || str_starts(text, S("[::]:"));
    n = a.any.sa_family == AF_INET ? sizeof a.v4 : sizeof a.v6;
    if (!socket_prepare(fd, &a, n, both) || getsockname(fd, &a.any, &n) != 0) {
        err_set_errno(e, "cannot listen on %.*s", STR(text));
        close(fd);
        return false;
    }
    address_text(&a, ret_address);
    *ret_fd = fd;
    return true;
}

/* Long paths do not fit a socket's address: its folder is named by descriptor instead. */
static bool local_address(const char *path, int *ret_dir, struct sockaddr_un *ret, err *e)
{
    const char *slash = strrchr(path, '/');
    char dir[PATH_MAX] = ".";
    if (slash)
        snprintf(dir, sizeof dir, "%.*s/", (int)(slash - path), path);
    *ret_dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*ret_dir < 0)
        return err_set_errno(e, "%s", dir);
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(ret->sun_path, sizeof ret->sun_path, "/proc/self/fd/%d/%.60s", *ret_dir,
             slash ? slash + 1 : path);
    return true;
}

int connect_local(const char *path, err *e)
{
    struct sockaddr_un a;
    int dir = -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && local_address(path, &dir, &a, e);
    if (ok && connect(fd, (struct sockaddr *)&a, sizeof a) != 0)
        ok = err_set_errno(e, "%s", path);
    if (dir >= 0)
        close(dir);
    if (!ok && fd >= 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

bool listen_local(const char *path, int *ret_fd, err *e)
{
    struct sockaddr_un a;
    int dir = -1, other = connect_local(path, e);
    if (other >= 0) {
        close(other);
        return err_set(e, ERR_CONFLICT, "%s is in use by another process", path);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool ok = fd >= 0 && local_address(path, &dir, &a, e);
    if (ok) {
        mode_t before = umask(0177);
        unlink(path);
        ok = bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, BACKLOG) == 0;
        if (!ok)
            err_set_errno(e, "cannot listen on %s", path);
        umask(before);
    }
    if (dir >= 0)
        close(dir);
    if (!ok) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    *ret_fd = fd;
    return true;
}

static void accept_again(void *user)
{
    listener *li = user;
    loop_watch_set(li->watch, LOOP_READABLE);
}

static void accept_some(listener *li)
{
    for (int i = 0; i < ACCEPT_PER_TURN && !li->closed; i++) {
        address a;
        socklen_t n = sizeof a;
        int fd = accept4(li->fd, &a.any, &n, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            char text[LISTEN_ADDRESS_MAX];
            li->f(li->user, fd, address_text(&a, text));
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            if (loop_timer_start(li->l, &li->pause, ACCEPT_PAUSE, accept_again, li))
                loop_watch_set(li->watch, 0);
            return;
        } else if (errno != ECONNABORTED && errno != EINTR) {
            return; /* EAGAIN: that was all; others concern one connection that is gone */
        }
    }
}

static void accept_ready(void *user, unsigned events)
{
    listener *li = user;
    li->accepting = true;
    accept_some(li);
    li->accepting = false;
    if (li->closed)
        free(li);
}

bool listener_open(loop *l, int fd, void (*f)(void *user, int fd, str peer), void *user,
                   listener **ret_listener, err *e)
{
    listener *li = calloc(1, sizeof *li);
    if (!li)
        return err_no_memory(e);
    *li = (listener){.l = l, .fd = fd, .f = f, .user = user};
    if (!loop_watch_open(l, fd, accept_ready, li, &li->watch, e)) {
        free(li);
        return false;
    }
    loop_watch_set(li->watch, LOOP_READABLE);
    *ret_listener = li;
    return true;
}

void listener_close(listener *li)
{
    if (!li)
        return;
    loop_watch_close(li->watch);
    loop_timer_stop(&li->pause);
    li->closed = true;
    if (!li->accepting)
        free(li);
}
