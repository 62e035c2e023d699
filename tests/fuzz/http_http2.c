/* A client's bytes against a whole server: sockets, the choice of the protocol, nghttp2, our
 * callbacks, exchanges, deadlines. The first byte of the input says how the handler behaves and
 * whether the preface is put in front and the server drains at the end; the rest is sent in pieces
 * that begin at each 0xff, and after each the server has its turn. What must hold: no crash, and
 * nothing is left when the client is gone. */
#include "base/must.h"
#include "http/server.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ECHO, AT_ONCE, NEVER, SHORT, ABORT, LATE };

static loop *l;
static unsigned manner, live;

typedef struct {
    http_exchange *x;
    bool ended;
} answer;

static void closed(void *user)
{
    answer *a = user;
    exchange_free(a->x);
    free(a);
    live--;
}

static void give(answer *a)
{
    static const http_field trailer = {{"x-t", 3}, {"v", 1}};
    exchange_end(a->x, &trailer, 1);
    free(a);
    live--;
}

/* Passes on what there is; ends when all was. */
static void pump(void *user)
{
    answer *a = user;
    char piece[4096];
    body_state state;
    bool overrun;
    size_t room;
    while ((room = exchange_room(a->x)) > 0) {
        size_t n = exchange_read(a->x, piece, room < sizeof piece ? room : sizeof piece, &state);
        if (n == 0 && state == BODY_OPEN)
            return;
        if (n == 0) {
            give(a);
            return;
        }
        must(exchange_write(a->x, piece, n, &overrun) == n);
    }
}

static void on_request(void *user, http_exchange *x)
{
    static const exchange_callbacks callbacks = {pump, pump, closed}, deaf = {NULL, NULL, closed};
    static const http_field field = {{"X-Kind", 6}, {"fuzz", 4}};
    const http_request *r = exchange_request(x);
    err e;
    bool overrun;
    must(r->method.n > 0 && r->target.n > 0 && str_is_utf8(r->target));
    if (manner == ABORT) {
        exchange_abort(x, 404, &field, 1);
        return;
    }
    answer *a = malloc(sizeof *a);
    must(a != NULL);
    *a = (answer){.x = x};
    live++;
    exchange_bind(x, manner == ECHO ? &callbacks : &deaf, a);
    if (manner == NEVER)
        return;
    must(exchange_start(x, 200, &field, 1, manner == SHORT ? 100 : -1, &e));
    if (manner == ECHO || manner == LATE) {
        if (manner == ECHO)
            pump(a);
        return;
    }
    exchange_write(x, "answer", 6, &overrun);
    give(a);
}

static void take(int fd)
{
    char got[65536];
    while (recv(fd, got, sizeof got, MSG_DONTWAIT) > 0)
        ;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    const http_server_config config = {
        .head_bytes_max = 4000, .headers_max = 20, .streams_max = 10, .body_bytes_max = 1 << 20};
    int pair[2];
    err e;
    if (size < 2 || size > 65536)
        return 0;
    if (!l)
        must(loop_new(&l, &e));
    manner = data[0] % 6;
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    http_server *s = http_server_new(l, &config, on_request, NULL);
    must(s != NULL);
    http_server_adopt_take(s, pair[0], S("peer"));
    if (data[0] & 128)
        must(send(pair[1], preface, sizeof preface - 1, MSG_NOSIGNAL) > 0);
    for (size_t at = 1, n; at < size; at += n) {
        const uint8_t *cut = memchr(data + at, 0xff, size - at);
        n = cut && cut > data + at ? (size_t)(cut - data) - at : size - at;
        if (send(pair[1], data + at, n, MSG_NOSIGNAL) < 0)
            break;
        for (int i = 0; i < 4; i++)
            loop_turn(l, 0);
        take(pair[1]);
    }
    if (data[0] & 64)
        http_server_drain(s, NULL, NULL);
    for (int i = 0; i < 4; i++)
        loop_turn(l, 0);
    close(pair[1]);
    for (int i = 0; i < 4; i++)
        loop_turn(l, 0);
    http_server_free(s);
    loop_turn(l, 0);
    must(live == 0);
    return 0;
}
