/* The floor of the bench: the smallest HTTP server in C that gives the answer all others give.
 *
 * One thread, epoll, no sandbox, no router, no log. A request is whatever ends in an empty line;
 * its method, path and headers are not looked at. What is the same in all answers is formatted
 * once; the number is drawn for each request from a generator seeded by the kernel. It shows what
 * the kernel and the client leave to be had on this machine: every other server is a part of it.
 *
 * usage: floor PORT
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 4096, REQUEST_BYTES_MAX = 8192 };

static char inputs[CONNECTIONS_MAX][REQUEST_BYTES_MAX];
static size_t input_bytes[CONNECTIONS_MAX];

static char answer[] = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 51\r\n\r\n"
                       "Hello from F! Your number is 00000000000000000000.\n";

static uint64_t number_next(void)
{
    static uint64_t state;
    if (state == 0 && getrandom(&state, sizeof state, 0) != sizeof state)
        exit(1);
    uint64_t z = state += 0x9e3779b97f4a7c15; /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static void answer_write(int fd)
{
    char *digits = answer + sizeof answer - 3;
    uint64_t n = number_next();
    for (int i = 0; i < 20; i++, n /= 10)
        *--digits = (char)('0' + n % 10);
    if (write(fd, answer, sizeof answer - 1) != sizeof answer - 1)
        shutdown(fd, SHUT_RDWR); /* a client that does not read 120 bytes is not ours */
}

/* False when the connection is over. */
static int input_serve(int fd)
{
    char *input = inputs[fd];
    ssize_t n = read(fd, input + input_bytes[fd], REQUEST_BYTES_MAX - input_bytes[fd]);
    if (n <= 0)
        return 0;
    size_t end = input_bytes[fd] + (size_t)n, begin = 0;
    for (char *p; (p = memmem(input + begin, end - begin, "\r\n\r\n", 4));) {
        begin = (size_t)(p - input) + 4;
        answer_write(fd);
    }
    memmove(input, input + begin, end - begin);
    input_bytes[fd] = end - begin;
    return input_bytes[fd] < REQUEST_BYTES_MAX;
}

int main(int argc, char **argv)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event events[64], event = {.events = EPOLLIN};
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0), loop = epoll_create1(0);
    at.sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 0));
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(listener, 511) != 0) {
        perror("floor");
        return 1;
    }
    event.data.fd = listener;
    epoll_ctl(loop, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int n = epoll_wait(loop, events, 64, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd != listener) {
                if (!input_serve(fd))
                    close(fd);
                continue;
            }
            int client = accept(listener, NULL, NULL);
            if (client < 0)
                continue;
            if (client >= CONNECTIONS_MAX) {
                close(client);
                continue;
            }
            setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
            input_bytes[client] = 0;
            event.data.fd = client;
            epoll_ctl(loop, EPOLL_CTL_ADD, client, &event);
        }
    }
}
