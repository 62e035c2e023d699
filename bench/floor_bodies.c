/* The floor of the bench for bodies: like floor.c, with the answers of tests/guests/c/bodies.c.
 *
 * One thread, epoll, no sandbox, no router, no log. POST is answered with its own body, anything
 * else with 1 MiB; both chunked, because the guest does not say how long they will be. A body is
 * read whole before it is sent back. What the socket does not take waits for EPOLLOUT.
 *
 * usage: floor_bodies PORT
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 1024, INPUT_BYTES_MAX = 80 * 1024, PART_BYTES = 65536, STREAM_PARTS = 16 };

typedef struct {
    char *input;
    size_t bytes;      /* in input */
    int parts;         /* still to be written */
    size_t part_bytes; /* of each part */
    const char *part;
    size_t written; /* of the piece that is being written: see piece */
    int waits;      /* for EPOLLOUT */
    int begun;      /* the head was put into the first piece */
} client;

static client clients[CONNECTIONS_MAX];
static char megabyte_part[PART_BYTES];
static const char head[] = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
static const char end[] = "\r\n0\r\n\r\n";
static int loop;

/* Writes what it can. 0: all is written; 1: the socket is full; -1: the connection is gone. */
static int output_write(int fd, client *c)
{
    while (c->parts > 0) {
        char before[80];
        int n = snprintf(before, sizeof before, "%s%zx\r\n", c->begun ? "" : head, c->part_bytes);
        size_t after = c->parts == 1 ? sizeof end - 1 : 2, skip = c->written;
        struct iovec v[3] = {{before, (size_t)n},
                             {(char *)(uintptr_t)c->part, c->part_bytes},
                             {(char *)(uintptr_t)end, after}};
        size_t whole = v[0].iov_len + v[1].iov_len + v[2].iov_len;
        for (int i = 0; i < 3; i++) {
            size_t cut = skip < v[i].iov_len ? skip : v[i].iov_len;
            v[i].iov_base = (char *)v[i].iov_base + cut;
            v[i].iov_len -= cut;
            skip -= cut;
        }
        ssize_t wrote = writev(fd, v, 3);
        if (wrote < 0)
            return errno == EAGAIN ? 1 : -1;
        c->written += (size_t)wrote;
        if (c->written < whole)
            continue;
        c->written = 0;
        c->begun = 1;
        c->parts--;
    }
    return 0;
}

static void answer_begin(client *c, const char *part, size_t part_bytes, int parts)
{
    c->part = part;
    c->part_bytes = part_bytes;
    c->parts = parts;
    c->begun = 0;
    c->written = 0;
}

/* A whole request in the input? Then the answer begins. */
static int request_take(client *c)
{
    char *blank = memmem(c->input, c->bytes, "\r\n\r\n", 4);
    if (!blank)
        return 0;
    size_t head_bytes = (size_t)(blank - c->input) + 4, body_bytes = 0;
    char *length = memmem(c->input, head_bytes, "Content-Length: ", 16);
    if (length)
        body_bytes = strtoul(length + 16, NULL, 10);
    if (c->bytes < head_bytes + body_bytes)
        return 0;
    if (c->input[0] == 'P')
        answer_begin(c, c->input + head_bytes, body_bytes, 1);
    else
        answer_begin(c, megabyte_part, sizeof megabyte_part, STREAM_PARTS);
    c->bytes = 0; /* clients of the bench do not pipeline; the bytes stay until they are sent */
    return 1;
}

static void events_want(int fd, client *c, int out)
{
    struct epoll_event event = {.events = out ? EPOLLOUT : EPOLLIN, .data.fd = fd};
    if (c->waits != out)
        epoll_ctl(loop, EPOLL_CTL_MOD, fd, &event);
    c->waits = out;
}

/* False when the connection is over. */
static int client_serve(int fd, client *c)
{
    if (!c->parts) {
        ssize_t n = read(fd, c->input + c->bytes, INPUT_BYTES_MAX - c->bytes);
        if (n <= 0)
            return 0;
        c->bytes += (size_t)n;
        if (!request_take(c))
            return c->bytes < INPUT_BYTES_MAX;
    }
    int state = output_write(fd, c);
    if (state >= 0)
        events_want(fd, c, state);
    return state >= 0;
}

static void client_add(int listener)
{
    int yes = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0)
        return;
    client *c = &clients[fd % CONNECTIONS_MAX];
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    char *input = c->input ? c->input : malloc(INPUT_BYTES_MAX);
    *c = (client){.input = input};
    epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
}

int main(int argc, char **argv)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event events[64], event = {.events = EPOLLIN};
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    loop = epoll_create1(0);
    signal(SIGPIPE, SIG_IGN);
    memset(megabyte_part, 'e', sizeof megabyte_part);
    at.sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 0));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 511) != 0) {
        perror("floor_bodies");
        return 1;
    }
    event.data.fd = listener;
    epoll_ctl(loop, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = epoll_wait(loop, events, 64, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                client_add(listener);
            else if (!client_serve(fd, &clients[fd % CONNECTIONS_MAX]))
                close(fd);
        }
    }
}
