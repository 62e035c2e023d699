/* A server and its clients in one process and one loop, over real sockets on the loopback.
 * Nothing sleeps: the loop turns until what a test waits for has come, at most PATIENCE. */
#pragma once

#include "unit.h"

#include "http/server.h"
#include "loop/listen.h"
#include "loop/loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE (10 * NS_PER_S)

typedef struct {
    loop *l;
    http_server *server;
    int listen_fd;
    uint16_t port;
    /* The latest request, if its handler keeps it. */
    http_exchange *x;
    unsigned requests, readable, writable, closed, refused, empty;
    unsigned refused_status;
    char refused_reason[128];
    void (*handler)(http_exchange *x);
} http_kit;

static http_kit kit;

typedef struct {
    int fd;
    char *got; /* NUL-terminated */
    size_t n, cap;
    bool eof, reset;
} client;

static void kit_on_request(void *user, http_exchange *x)
{
    kit.requests++;
    kit.handler(x);
}

static void kit_on_refused(void *user, str peer, unsigned status, const char *reason)
{
    kit.refused++;
    kit.refused_status = status;
    snprintf(kit.refused_reason, sizeof kit.refused_reason, "%s", reason);
}

static void kit_readable(void *user) { kit.readable++; }

static void kit_writable(void *user) { kit.writable++; }

static void kit_closed(void *user)
{
    kit.closed++;
    exchange_free(kit.x);
    kit.x = NULL;
}

static const exchange_callbacks kit_callbacks = {kit_readable, kit_writable, kit_closed};

/* A handler that leaves everything to the test. */
static inline void keep(http_exchange *x)
{
    assert_null(kit.x);
    kit.x = x;
    exchange_bind(x, &kit_callbacks, NULL);
}

static void kit_open(const http_server_config *config, void (*handler)(http_exchange *x))
{
    err e;
    char address[LISTEN_ADDRESS_MAX];
    http_server_config c = config ? *config : (http_server_config){0};
    c.on_refused = kit_on_refused;
    kit = (http_kit){.handler = handler};
    assert_true(loop_new(&kit.l, &e));
    assert_true(listen_socket(S("127.0.0.1:0"), &kit.listen_fd, address, &e));
    kit.port = (uint16_t)atoi(strrchr(address, ':') + 1);
    kit.server = http_server_new(kit.l, &c, kit_on_request, NULL);
    assert_non_null(kit.server);
    assert_true(http_server_listen(kit.server, kit.listen_fd, &e));
}

static void kit_close(void)
{
    http_server_free(kit.server);
    close(kit.listen_fd);
    loop_free(kit.l);
}

/* Turns the loop until cond holds. */
#define until(cond)                                                                                \
    do {                                                                                           \
        for (ns end_ = clock_mono() + PATIENCE; !(cond);) {                                        \
            if (clock_mono() > end_)                                                               \
                fail_msg("waited in vain for: %s", #cond);                                         \
            loop_turn(kit.l, 2);                                                                   \
        }                                                                                          \
    } while (0)
/* Turns it as long as it has something to do at once. */
static inline void settle_down(void)
{
    for (int i = 0; i < 20; i++)
        loop_turn(kit.l, 0);
}

/* Turns it for this long. */
static inline void let_pass(ns span)
{
    for (ns end = clock_mono() + span; clock_mono() < end;)
        loop_turn(kit.l, 5);
}

static client client_open(void)
{
    client c = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(kit.port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(c.fd, (struct sockaddr *)&a, sizeof a), 0);
    fcntl(c.fd, F_SETFL, O_NONBLOCK);
    int on = 1;
    setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return c;
}

static void client_close(client *c)
{
    close(c->fd);
    free(c->got);
    *c = (client){.fd = -1};
}

static void client_send_n(client *c, const char *p, size_t n)
{
    ns end = clock_mono() + PATIENCE;
    while (n > 0) {
        ssize_t k = send(c->fd, p, n, MSG_NOSIGNAL);
        if (k > 0) {
            p += k;
            n -= (size_t)k;
        } else {
            assert_int_equal(errno, EAGAIN);
        }
        loop_turn(kit.l, 0);
        assert_true(clock_mono() < end);
    }
}

static inline void client_send(client *c, const char *text)
{
    client_send_n(c, text, strlen(text));
}

/* Takes what has come. */
static void client_take(client *c)
{
    for (;;) {
        if (c->cap - c->n < 65536) {
            c->cap = c->cap ? c->cap * 2 : 131072;
            c->got = realloc(c->got, c->cap);
        }
        ssize_t k = recv(c->fd, c->got + c->n, c->cap - c->n - 1, 0);
        if (k > 0)
            c->n += (size_t)k;
        c->got[c->n] = 0;
        if (k == 0)
            c->eof = true;
        if (k < 0 && errno == ECONNRESET)
            c->reset = true;
        if (k <= 0)
            return;
    }
}

static inline bool client_has(client *c, const char *text)
{
    client_take(c);
    return c->got && strstr(c->got, text);
}

static inline bool client_over(client *c)
{
    client_take(c);
    return c->eof || c->reset;
}

/* Everything got so far must be exactly this ("date: *" stands for a date); then forgets it. */
static inline void client_expect(client *c, const char *text)
{
    size_t dates = 0;
    for (const char *at = text; (at = strstr(at, "date: *")); at++)
        dates++;
    size_t want = strlen(text) + dates * (29 - 1);
    until((client_take(c), c->n >= want || c->eof || c->reset));
    settle_down();
    client_take(c);
    const char *got = c->got;
    for (const char *at = text; *at; at++, got++) {
        if (*at == '*' && at - text > 6 && memcmp(at - 6, "date: ", 6) == 0) {
            unsigned day, hour, minute, second, year;
            char weekday[4], month[4];
            assert_int_equal(sscanf(got, "%3s, %2u %3s %4u %2u:%2u:%2u GMT", weekday, &day, month,
                                    &year, &hour, &minute, &second),
                             7);
            got += 28;
        } else if (*at != *got) {
            fail_msg("expected, from here: %.80s\ngot: %.200s\nin: %.400s", at, got, c->got);
        }
    }
    if (*got)
        fail_msg("more than expected: %.200s", got);
    c->n = 0;
    c->got[0] = 0;
}

#define GET          "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define ANSWER_HEAD  "HTTP/1.1 200 OK\r\ndate: *\r\n"
#define ANSWER_EMPTY ANSWER_HEAD "content-length: 0\r\n\r\n"
#define REFUSED(status_and_reason)                                                                 \
    "HTTP/1.1 " status_and_reason "\r\ndate: *\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
