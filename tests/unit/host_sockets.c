/* wasi:sockets: TCP, UDP and name look-up against sockets of the test's own, and what is denied. */
#include "host_kit.h"

#include "base/limits.h"
#include "host/sockets.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>

#define TCP     "wasi:sockets/tcp"
#define UDP     "wasi:sockets/udp"
#define LOOKUP  "wasi:sockets/ip-name-lookup"
#define STREAMS "wasi:io/streams"
#define M(name) "[method]tcp-socket." name
#define U(name) "[method]udp-socket." name

static uint16_t allowed_port;
static char asked[64]; /* the last question */

static bool allowed(void *user, const outbound_rules *own, str scheme, str host, uint16_t port)
{
    snprintf(asked, sizeof asked, "%.*s://%.*s:%u", STR(scheme), STR(host), port);
    return str_eq(host, S("localhost")) ||
           ((str_eq(host, S("127.0.0.1")) || str_eq(host, S("::1"))) && port == allowed_port) ||
           (str_eq(scheme, S("udp")) && str_eq(host, S("::1")) && port == 0) ||
           (str_eq(scheme, S("udp")) && str_eq(host, S("127.0.0.1")) && port == 0);
}

static uint32_t network;

static void begin(uint16_t port)
{
    allowed_port = port;
    hk.component = (host_component){.handles_max = 600, .outbound_allowed = allowed};
    hk_open();
    hk_call("wasi:sockets/instance-network", "instance-network", 0);
    network = hk_slots[0].u32;
}

static int listener(int kind, uint16_t *ret_port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, kind | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    if (kind == SOCK_STREAM)
        assert_int_equal(listen(fd, 5), 0);
    getsockname(fd, (struct sockaddr *)&a, &n);
    *ret_port = ntohs(a.sin_port);
    return fd;
}

static engine_status run_on(engine_status s)
{
    while (s == ENGINE_WAIT) {
        int before = hk.wakes;
        for (int i = 0; i < 500 && hk.wakes == before; i++)
            loop_turn(hk.l, 20);
        assert_true(hk.wakes > before);
        s = kit_run(hk.in);
    }
    return s;
}

#define call_on(interface, name, ...)                                                              \
    assert_int_equal(run_on(hk_start(hk_find(interface, name), HK_ARGS(__VA_ARGS__))), ENGINE_DONE)

/* result<_, error-code> at 1000 */
static uint32_t code(void) { return hk_u8(1000) ? hk_u8(1001) : (uint32_t)NET_OK; }

static uint32_t new_socket(const char *interface, const char *name, uint32_t family)
{
    hk_call(interface, name, family, 1000);
    assert_int_equal(hk_u8(1000), 0);
    return hk_u32(1004);
}

static uint32_t tcp(void)
{
    return new_socket("wasi:sockets/tcp-create-socket", "create-tcp-socket", 0);
}

/* The 12 slots of an IPv4 address, after what comes first. */
#define V4(port, a, b, c, d) 0, port, a, b, c, d, 0, 0, 0, 0, 0, 0

static uint32_t start_connect(uint32_t s, uint16_t port)
{
    hk_call(TCP, M("start-connect"), s, network, V4(port, 127, 0, 0, 1), 1000);
    return code();
}

static void block_on(const char *interface, const char *subscribe, uint32_t self)
{
    hk_call(interface, subscribe, self);
    uint32_t p = hk_slots[0].u32;
    call_on("wasi:io/poll", "[method]pollable.block", p);
    hk_call("wasi:io/poll", "pollable", p);
}

static void tcp_echo(void **state)
{
    uint16_t port;
    int listening = listener(SOCK_STREAM, &port);
    begin(port);
    uint32_t s = tcp();
    hk_call(TCP, M("finish-connect"), s, 1000);
    assert_int_equal(hk_u8(1004), NET_NOT_IN_PROGRESS);
    assert_int_equal(start_connect(s, port), NET_OK);
    char want[64];
    snprintf(want, sizeof want, "tcp://127.0.0.1:%u", port);
    assert_string_equal(asked, want);
    assert_int_equal(start_connect(s, port), NET_CONCURRENCY_CONFLICT);
    block_on(TCP, M("subscribe"), s);
    hk_call(TCP, M("finish-connect"), s, 1000);
    assert_int_equal(hk_u8(1000), 0);
    uint32_t in = hk_u32(1004), out = hk_u32(1008);
    int peer = accept(listening, NULL, NULL);
    hk_call(STREAMS, "[method]output-stream.blocking-write-and-flush", out, 2000,
            hk_put(2000, "So rested he"), 1000);
    assert_int_equal(hk_u8(1000), 0);
    char text[100];
    assert_int_equal(read(peer, text, sizeof text), 12);
    hk_wait(STREAMS, "[method]input-stream.blocking-read", in, 100, 1000);
    assert_int_equal(write(peer, "by the Tumtum tree", 18), 18);
    assert_int_equal(run_on(ENGINE_WAIT), ENGINE_DONE);
    hk_assert_str(1004, "by the Tumtum tree");
    /* addresses */
    hk_call(TCP, M("remote-address"), s, 1000);
    assert_true(hk_u8(1000) == 0 && hk_u8(1004) == 0);
    uint16_t got;
    memcpy(&got, hk_memory() + 1008, 2);
    assert_int_equal(got, port);
    assert_memory_equal(hk_memory() + 1010, "\x7f\0\0\x01", 4);
    hk_call(TCP, M("local-address"), s, 1000);
    assert_int_equal(hk_u8(1000), 0);
    /* A full pipe makes the guest wait; a drained one lets it go on. */
    hk_call(TCP, M("set-send-buffer-size"), s, 4096, 1000);
    int waits = 0;
    size_t drained = 0;
    for (int i = 0; i < 2000 && !waits; i++) {
        engine_status st =
            hk_start(hk_find(STREAMS, "[method]output-stream.blocking-write-zeroes-and-flush"),
                     HK_ARGS(out, 4096, 1000));
        waits += st == ENGINE_WAIT;
    }
    assert_int_equal(waits, 1);
    static char sink[1 << 16];
    for (int i = 0; i < 2000 && hk.wakes < 3; i++) {
        ssize_t n = recv(peer, sink, sizeof sink, MSG_DONTWAIT);
        drained += n > 0 ? (size_t)n : 0;
        loop_turn(hk.l, 1);
        if (kit_run(hk.in) == ENGINE_DONE)
            break;
    }
    assert_true(drained > 4096);
    /* The peer ends: closed. */
    hk_call(TCP, M("shutdown"), s, 1, 1000);
    assert_int_equal(code(), NET_OK);
    hk_call(STREAMS, "[method]output-stream.check-write", out, 1000);
    close(peer);
    call_on(STREAMS, "[method]input-stream.blocking-read", in, 100, 1000);
    assert_int_equal(hk_u8(1000), 1);
    hk_trap("resource has children", TCP, "tcp-socket", s);
    hk_close();
    close(listening);
}

static void tcp_denied(void **state)
{
    uint16_t port;
    int listening = listener(SOCK_STREAM, &port);
    begin(port);
    uint32_t s = tcp();
    assert_int_equal(start_connect(s, (uint16_t)(port + 1)), NET_ACCESS_DENIED);
    hk_call(TCP, M("start-connect"), s, network, V4(port, 127, 0, 0, 2), 1000);
    assert_int_equal(code(), NET_ACCESS_DENIED);
    assert_int_equal(start_connect(s, 0), NET_INVALID_ARGUMENT);
    hk_call(TCP, M("start-connect"), s, network, V4(port, 0, 0, 0, 0), 1000);
    assert_int_equal(code(), NET_INVALID_ARGUMENT);
    hk_call(TCP, M("start-connect"), s, network, 1, port, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1000);
    assert_int_equal(code(), NET_INVALID_ARGUMENT); /* the other family */
    hk_call(TCP, M("start-bind"), s, network, V4(0, 127, 0, 0, 1), 1000);
    assert_int_equal(code(), NET_ACCESS_DENIED);
    hk_call(TCP, M("finish-bind"), s, 1000);
    assert_int_equal(code(), NET_NOT_IN_PROGRESS);
    hk_call(TCP, M("start-listen"), s, 1000);
    assert_int_equal(code(), NET_INVALID_STATE);
    hk_call(TCP, M("finish-listen"), s, 1000);
    assert_int_equal(code(), NET_NOT_IN_PROGRESS);
    hk_call(TCP, M("accept"), s, 1000);
    assert_int_equal(hk_u8(1004), NET_INVALID_STATE);
    hk_call(TCP, M("is-listening"), s);
    assert_int_equal(hk_slots[0].u32, 0);
    hk_call(TCP, M("local-address"), s, 1000);
    assert_int_equal(hk_u8(1004), NET_INVALID_STATE);
    hk_call(TCP, M("remote-address"), s, 1000);
    assert_int_equal(hk_u8(1004), NET_INVALID_STATE);
    hk_call(TCP, M("shutdown"), s, 2, 1000);
    assert_int_equal(code(), NET_INVALID_STATE);
    /* Refused: told by finish-connect. */
    close(listening);
    assert_int_equal(start_connect(s, port), NET_OK);
    block_on(TCP, M("subscribe"), s);
    hk_call(TCP, M("finish-connect"), s, 1000);
    assert_int_equal(hk_u8(1004), NET_CONNECTION_REFUSED);
    assert_int_equal(start_connect(s, port), NET_INVALID_STATE);
    hk_close();
}

/* get and set of an option; a value of zero is invalid. */
static void option(const char *interface, uint32_t s, const char *get, const char *set, uint64_t v,
                   unsigned size)
{
    hk_call(interface, set, s, v, 1000);
    assert_int_equal(code(), NET_OK);
    hk_call(interface, get, s, 1000);
    assert_int_equal(hk_u8(1000), 0);
    uint64_t got = size == 8 ? hk_u64(1008) : size == 4 ? hk_u32(1004) : hk_u8(1001);
    if (got != v)
        fail_msg("%s: %llu", get, (unsigned long long)got);
    hk_call(interface, set, s, 0, 1000);
    bool any = strcmp(set, M("set-keep-alive-enabled")) == 0;
    assert_int_equal(code(), any ? NET_OK : NET_INVALID_ARGUMENT);
}

static void options(void **state)
{
    begin(1);
    uint32_t s = tcp(), six = new_socket("wasi:sockets/tcp-create-socket", "create-tcp-socket", 1);
    option(TCP, s, M("keep-alive-enabled"), M("set-keep-alive-enabled"), 1, 1);
    option(TCP, s, M("keep-alive-idle-time"), M("set-keep-alive-idle-time"), 7 * NS_PER_S, 8);
    option(TCP, s, M("keep-alive-interval"), M("set-keep-alive-interval"), 8 * NS_PER_S, 8);
    option(TCP, s, M("keep-alive-count"), M("set-keep-alive-count"), 9, 4);
    option(TCP, s, M("hop-limit"), M("set-hop-limit"), 33, 1);
    option(TCP, six, M("hop-limit"), M("set-hop-limit"), 34, 1);
    option(TCP, s, M("receive-buffer-size"), M("set-receive-buffer-size"), 8192, 8);
    option(TCP, s, M("send-buffer-size"), M("set-send-buffer-size"), 8192, 8);
    hk_call(TCP, M("set-listen-backlog-size"), s, 5, 1000);
    assert_int_equal(code(), NET_OK);
    hk_call(TCP, M("set-listen-backlog-size"), s, 0, 1000);
    assert_int_equal(code(), NET_INVALID_ARGUMENT);
    hk_call(TCP, M("address-family"), six);
    assert_int_equal(hk_slots[0].u32, 1);
    hk_call(TCP, M("ipv6-only"), six, 1000);
    assert_int_equal(code(), NET_NOT_SUPPORTED);
    hk_call(TCP, M("set-ipv6-only"), six, 1, 1000);
    assert_int_equal(code(), NET_NOT_SUPPORTED);
    uint32_t u = new_socket("wasi:sockets/udp-create-socket", "create-udp-socket", 0);
    option(UDP, u, U("unicast-hop-limit"), U("set-unicast-hop-limit"), 35, 1);
    option(UDP, u, U("receive-buffer-size"), U("set-receive-buffer-size"), 8192, 8);
    option(UDP, u, U("send-buffer-size"), U("set-send-buffer-size"), 8192, 8);
    hk_call(UDP, U("set-ipv6-only"), u, 1, 1000);
    assert_int_equal(code(), NET_NOT_SUPPORTED);
    hk_call(UDP, U("address-family"), u);
    assert_int_equal(hk_slots[0].u32, 0);
    hk_close();
}

/* [outbound_networking] max_socket_connections, max_total_connections. */
static void as_many_as_may_be(void **state)
{
    static const host_connections limits[] = {{9, 1, 9, false}, {9, 9, 1, false}};
    for (int i = 0; i < 2; i++) {
        begin(1);
        host_connections_limit(&limits[i]);
        uint32_t s = tcp();
        hk_call("wasi:sockets/udp-create-socket", "create-udp-socket", 0, 1000);
        assert_true(hk_u8(1000) == 1 && hk_u8(1004) == NET_NEW_SOCKET_LIMIT);
        hk_call(TCP, "tcp-socket", s);
        tcp();
        hk_close();
    }
    host_connections_limit(&(host_connections){UINT64_MAX, UINT64_MAX, UINT64_MAX, false});
}

/* What the kernel refuses is told; and sockets are bounded. */
static void the_kernel_refuses(void **state)
{
    static const char *const getters[] = {M("keep-alive-enabled"),  M("keep-alive-idle-time"),
                                          M("keep-alive-interval"), M("keep-alive-count"),
                                          M("hop-limit"),           M("receive-buffer-size"),
                                          M("send-buffer-size"),    U("unicast-hop-limit"),
                                          U("receive-buffer-size"), U("send-buffer-size")};
    begin(1);
    int fd = dup(0);
    close(fd); /* the number that comes next */
    uint32_t s = tcp(), u = new_socket("wasi:sockets/udp-create-socket", "create-udp-socket", 0);
    int nothing = open("/dev/null", O_RDONLY);
    assert_true(dup2(nothing, fd) == fd && dup2(nothing, fd + 1) == fd + 1);
    for (size_t i = 0; i < sizeof getters / sizeof *getters; i++) {
        hk_call(i < 7 ? TCP : UDP, getters[i], i < 7 ? s : u, 1000);
        assert_int_equal(hk_u8(1000), 1);
    }
    hk_call(TCP, M("set-keep-alive-enabled"), s, 1, 1000);
    assert_int_equal(code(), NET_UNKNOWN);
    uint32_t files = hk.g->files;
    hk.g->files = HOST_FILES_MAX;
    hk_call("wasi:sockets/tcp-create-socket", "create-tcp-socket", 0, 1000);
    assert_true(hk_u8(1000) == 1 && hk_u8(1004) == NET_NEW_SOCKET_LIMIT);
    hk_call("wasi:sockets/udp-create-socket", "create-udp-socket", 0, 1000);
    assert_true(hk_u8(1000) == 1 && hk_u8(1004) == NET_NEW_SOCKET_LIMIT);
    hk.g->files = files;
    close(nothing);
    hk_close();
}

/* One outgoing-datagram at 4000: data at 2000, remote address 127.0.0.1:port if there is one. */
static void datagram_at(const char *text, uint16_t port)
{
    memset(hk_memory() + 4000, 0, 64);
    hk_put_u32(4000, 2000);
    hk_put_u32(4004, hk_put(2000, text));
    if (!port)
        return;
    hk_memory()[4008] = 1;
    memcpy(hk_memory() + 4016, &port, 2);
    memcpy(hk_memory() + 4018, "\x7f\0\0\x01", 4);
}

/* The same, to [::1]:port. */
static void datagram_to_ipv6(const char *text, uint16_t port)
{
    datagram_at(text, port);
    hk_memory()[4012] = 1;
    memset(hk_memory() + 4016, 0, 28);
    memcpy(hk_memory() + 4016, &port, 2);
    memcpy(hk_memory() + 4038, &(uint16_t){1}, 2);
}

/* Nobody is there: the next receive says so, and so does a send that cannot be made. */
static void udp_errors(void **state)
{
    uint16_t port;
    begin(0);
    uint32_t u = new_socket("wasi:sockets/udp-create-socket", "create-udp-socket", 0);
    int peer = listener(SOCK_DGRAM, &port);
    allowed_port = port;
    hk_call(UDP, U("start-bind"), u, network, V4(0, 127, 0, 0, 1), 1000);
    hk_call(UDP, U("finish-bind"), u, 1000);
    hk_call(UDP, U("stream"), u, 1, V4(port, 127, 0, 0, 1), 1000);
    assert_int_equal(hk_u8(1000), 0);
    uint32_t in = hk_u32(1004), out = hk_u32(1008);
    close(peer);
    hk_call(UDP, "[method]outgoing-datagram-stream.check-send", out, 1000);
    assert_int_equal(hk_u8(1000), 0);
    datagram_at("ping", 0);
    hk_call(UDP, "[method]outgoing-datagram-stream.send", out, 4000, 1, 1000);
    block_on(UDP, "[method]incoming-datagram-stream.subscribe", in);
    hk_call(UDP, "[method]incoming-datagram-stream.receive", in, 10, 1000);
    assert_true(hk_u8(1000) == 1 && hk_u8(1004) == NET_CONNECTION_REFUSED);
    hk_close();
}

static void udp_both_ways(void **state)
{
    uint16_t port;
    int peer = listener(SOCK_DGRAM, &port);
    begin(port);
    uint32_t u = new_socket("wasi:sockets/udp-create-socket", "create-udp-socket", 0);
    hk_call(UDP, U("local-address"), u, 1000);
    assert_int_equal(hk_u8(1004), NET_INVALID_STATE);
    hk_call(UDP, U("stream"), u, 0, V4(0, 0, 0, 0, 0), 1000);
    assert_int_equal(hk_u8(1004), NET_INVALID_STATE);
    hk_call(UDP, U("start-bind"), u, network, V4(0, 127, 0, 0, 9), 1000);
    assert_int_equal(code(), NET_ACCESS_DENIED);
    hk_call(UDP, U("finish-bind"), u, 1000);
    assert_int_equal(code(), NET_NOT_IN_PROGRESS);
    hk_call(UDP, U("start-bind"), u, network, V4(0, 127, 0, 0, 1), 1000);
    assert_int_equal(code(), NET_OK);
    block_on(UDP, U("subscribe"), u);
    hk_call(UDP, U("finish-bind"), u, 1000);
    assert_int_equal(code(), NET_OK);
    hk_call(UDP, U("local-address"), u, 1000);
    assert_int_equal(hk_u8(1000), 0);
    hk_call(UDP, U("remote-address"), u, 1000);
    assert_int_equal(hk_u8(1004), NET_INVALID_STATE);
    hk_call(UDP, U("stream"), u, 1, V4((uint64_t)port + 1, 127, 0, 0, 1), 1000);
    assert_int_equal(hk_u8(1004), NET_ACCESS_DENIED);
    hk_call(UDP, U("stream"), u, 0, V4(0, 0, 0, 0, 0), 1000);
    assert_int_equal(hk_u8(1000), 0);
    uint32_t in = hk_u32(1004), out = hk_u32(1008);
    block_on(UDP, "[method]outgoing-datagram-stream.subscribe", out);
    hk_call(UDP, "[method]outgoing-datagram-stream.check-send", out, 1000);
    assert_true(hk_u64(1008) > 0);
    datagram_at("ping", port);
    hk_call(UDP, "[method]outgoing-datagram-stream.send", out, 4000, 1, 1000);
    assert_int_equal(hk_u8(1000), 0);
    assert_int_equal(hk_u64(1008), 1);
    datagram_at("ping", (uint16_t)(port + 1));
    hk_call(UDP, "[method]outgoing-datagram-stream.send", out, 4000, 1, 1000);
    assert_true(hk_u8(1000) == 1 && hk_u8(1008) == NET_ACCESS_DENIED);
    datagram_at("ping", 0);
    hk_call(UDP, "[method]outgoing-datagram-stream.send", out, 4000, 1, 1000);
    assert_int_equal(hk_u8(1008), NET_INVALID_ARGUMENT);
    datagram_to_ipv6("ping", port); /* a socket of IPv4 has no way there */
    hk_call(UDP, "[method]outgoing-datagram-stream.send", out, 4000, 1, 1000);
    assert_true(hk_u8(1000) == 1 && hk_u8(1008) == NET_INVALID_ARGUMENT);
    char text[100];
    struct sockaddr_in from;
    socklen_t n = sizeof from;
    assert_int_equal(recvfrom(peer, text, sizeof text, 0, (struct sockaddr *)&from, &n), 4);
    hk_call(UDP, "[method]incoming-datagram-stream.receive", in, 10, 1000);
    assert_true(hk_u8(1000) == 0 && hk_u32(1008) == 0);
    assert_int_equal(sendto(peer, "pong!", 5, 0, (struct sockaddr *)&from, n), 5);
    block_on(UDP, "[method]incoming-datagram-stream.subscribe", in);
    hk_call(UDP, "[method]incoming-datagram-stream.receive", in, 10, 1000);
    assert_int_equal(hk_u32(1008), 1);
    hk_assert_str(hk_u32(1004), "pong!");
    uint16_t got;
    memcpy(&got, hk_memory() + hk_u32(1004) + 12, 2);
    assert_int_equal(got, port);
    /* A fixed remote address. */
    hk_call(UDP, "incoming-datagram-stream", in);
    hk_call(UDP, "outgoing-datagram-stream", out);
    hk_call(UDP, U("stream"), u, 1, V4(port, 127, 0, 0, 1), 1000);
    out = hk_u32(1008);
    hk_call(UDP, U("remote-address"), u, 1000);
    assert_int_equal(hk_u8(1000), 0);
    hk_call(UDP, "[method]outgoing-datagram-stream.check-send", out, 1000);
    datagram_at("fixed", 0);
    hk_call(UDP, "[method]outgoing-datagram-stream.send", out, 4000, 1, 1000);
    assert_int_equal(hk_u64(1008), 1);
    assert_int_equal(recv(peer, text, sizeof text, 0), 5);
    hk_call(UDP, "[method]outgoing-datagram-stream.check-send", out, 1000);
    datagram_at("again", port); /* said once more */
    hk_call(UDP, "[method]outgoing-datagram-stream.send", out, 4000, 1, 1000);
    assert_true(hk_u8(1000) == 0 && hk_u64(1008) == 1);
    assert_int_equal(recv(peer, text, sizeof text, 0), 5);
    hk_call(UDP, "[method]outgoing-datagram-stream.check-send", out, 1000);
    datagram_at("other", (uint16_t)(port + 1));
    hk_call(UDP, "[method]outgoing-datagram-stream.send", out, 4000, 1, 1000);
    assert_true(hk_u8(1000) == 1 && hk_u8(1008) == NET_INVALID_ARGUMENT);
    hk_trap("still alive", UDP, U("stream"), u, 0, V4(0, 0, 0, 0, 0), 1000);
    hk_close();
    close(peer);
}

/* The 12 slots of ::1 as an IPv6 address. */
#define V6(port) 1, port, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0

static void udp_of_ipv6(void **state)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    socklen_t n = sizeof a;
    char text[100];
    int peer = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (bind(peer, (struct sockaddr *)&a, n) < 0) {
        close(peer);
        skip(); /* this machine has none */
    }
    assert_int_equal(getsockname(peer, (struct sockaddr *)&a, &n), 0);
    uint16_t port = ntohs(a.sin6_port), got;
    begin(port);
    uint32_t u = new_socket("wasi:sockets/udp-create-socket", "create-udp-socket", 1);
    hk_call(UDP, U("start-bind"), u, network, V6(0), 1000);
    assert_int_equal(code(), NET_OK);
    hk_call(UDP, U("finish-bind"), u, 1000);
    assert_int_equal(code(), NET_OK);
    hk_call(UDP, U("stream"), u, 0, V6(0), 1000);
    assert_int_equal(hk_u8(1000), 0);
    uint32_t in = hk_u32(1004), out = hk_u32(1008);
    hk_call(UDP, "[method]outgoing-datagram-stream.check-send", out, 1000);
    memset(hk_memory() + 4000, 0, 64);
    hk_put_u32(4000, 2000);
    hk_put_u32(4004, hk_put(2000, "six"));
    hk_memory()[4008] = hk_memory()[4012] = 1;
    memcpy(hk_memory() + 4016, &port, 2);
    hk_memory()[4024 + 14] = 1; /* the last of eight numbers */
    hk_call(UDP, "[method]outgoing-datagram-stream.send", out, 4000, 1, 1000);
    assert_true(hk_u8(1000) == 0 && hk_u64(1008) == 1);
    n = sizeof a;
    assert_int_equal(recvfrom(peer, text, sizeof text, 0, (struct sockaddr *)&a, &n), 3);
    assert_memory_equal(text, "six", 3);
    assert_int_equal(sendto(peer, "back", 4, 0, (struct sockaddr *)&a, n), 4);
    block_on(UDP, "[method]incoming-datagram-stream.subscribe", in);
    hk_call(UDP, "[method]incoming-datagram-stream.receive", in, 10, 1000);
    assert_int_equal(hk_u32(1008), 1);
    hk_assert_str(hk_u32(1004), "back");
    assert_int_equal(hk_memory()[hk_u32(1004) + 8], 1);
    memcpy(&got, hk_memory() + hk_u32(1004) + 12, 2);
    assert_int_equal(got, port);
    hk_call(UDP, U("local-address"), u, 1000);
    assert_true(hk_u8(1000) == 0 && hk_u8(1004) == 1);
    memcpy(&got, hk_memory() + 1008, 2);
    assert_int_equal(got, ntohs(a.sin6_port));
    hk_close();
    close(peer);
}

/* What a guest may not do with datagrams ends it. */
static void udp_traps(void **state)
{
    uint16_t port;
    int peer = listener(SOCK_DGRAM, &port);
    for (int how = 0; how < 4; how++) {
        begin(port);
        uint32_t u = new_socket("wasi:sockets/udp-create-socket", "create-udp-socket", 0);
        hk_call(UDP, U("start-bind"), u, network, V4(0, 127, 0, 0, 1), 1000);
        hk_call(UDP, U("finish-bind"), u, 1000);
        hk_call(UDP, U("stream"), u, 0, V4(0, 0, 0, 0, 0), 1000);
        uint32_t out = hk_u32(1008);
        datagram_at("ping", port);
        if (how == 0) {
            hk_trap("exceeds the permit", UDP, "[method]outgoing-datagram-stream.send", out, 4000,
                    1, 1000);
            hk_close();
            continue;
        }
        hk_call(UDP, "[method]outgoing-datagram-stream.check-send", out, 1000);
        if (how == 1)
            hk_put_u32(4000, 0xfffffff0);
        else if (how == 2)
            hk_memory()[4008] = 2;
        else
            hk_memory()[4012] = 2;
        hk_trap(how == 1 ? "out of bounds" : "discriminant", UDP,
                "[method]outgoing-datagram-stream.send", out, 4000, 1, 1000);
        hk_close();
    }
    close(peer);
}

static uint32_t resolve(const char *name)
{
    hk_call(LOOKUP, "resolve-addresses", network, 2000, hk_put(2000, name), 1000);
    return hk_u8(1000) ? 10000u + hk_u8(1004) : hk_u32(1004);
}

static void names_are_looked_up(void **state)
{
    const char *next = "[method]resolve-address-stream.resolve-next-address";
    const char *subscribe = "[method]resolve-address-stream.subscribe";
    begin(1);
    assert_int_equal(resolve("example.com"), 10000 + NET_ACCESS_DENIED);
    assert_int_equal(resolve("a b"), 10000 + NET_INVALID_ARGUMENT);
    assert_int_equal(resolve(""), 10000 + NET_INVALID_ARGUMENT);
    uint32_t s = resolve("192.0.2.7");
    hk_call(LOOKUP, next, s, 1000);
    assert_true(hk_u8(1000) == 0 && hk_u8(1002) == 1 && hk_u8(1004) == 0);
    assert_memory_equal(hk_memory() + 1006, "\xc0\0\x02\x07", 4);
    hk_call(LOOKUP, next, s, 1000);
    assert_int_equal(hk_u8(1002), 0);
    s = resolve("2001:db8::9");
    hk_call(LOOKUP, next, s, 1000);
    assert_int_equal(hk_u8(1004), 1);
    /* localhost is in every hosts file. */
    s = resolve("localhost");
    hk_call(LOOKUP, next, s, 1000);
    assert_true(hk_u8(1000) == 1 && hk_u8(1002) == NET_WOULD_BLOCK);
    block_on(LOOKUP, subscribe, s);
    hk_call(LOOKUP, next, s, 1000);
    assert_true(hk_u8(1000) == 0 && hk_u8(1002) == 1);
    hk_call(LOOKUP, "resolve-address-stream", s);
    /* Dropped before the answer, and with the guest. */
    s = resolve("localhost");
    hk_call(LOOKUP, "resolve-address-stream", s);
    resolve("localhost");
    hk_close();
    for (int i = 0; i < 20; i++)
        loop_turn(hk.l, 1);
}

static void network_errors(void **state)
{
    uint16_t port;
    int listening = listener(SOCK_STREAM, &port);
    begin(port);
    uint32_t s = tcp();
    start_connect(s, port);
    block_on(TCP, M("subscribe"), s);
    hk_call(TCP, M("finish-connect"), s, 1000);
    uint32_t in = hk_u32(1004), out = hk_u32(1008);
    int peer = accept(listening, NULL, NULL);
    struct linger l = {1, 0};
    setsockopt(peer, SOL_SOCKET, SO_LINGER, &l, sizeof l);
    close(peer);
    call_on(STREAMS, "[method]input-stream.blocking-read", in, 100, 1000);
    assert_true(hk_u8(1000) == 1 && hk_u8(1004) == 0);
    uint32_t e = hk_u32(1008);
    hk_call("wasi:sockets/network", "network-error-code", e, 1000);
    assert_true(hk_u8(1000) == 1 && hk_u8(1001) == NET_CONNECTION_RESET);
    hk_call("wasi:filesystem/types", "filesystem-error-code", e, 1000);
    assert_int_equal(hk_u8(1000), 0);
    /* The other direction is over as well, whatever is asked of it. */
    call_on(STREAMS, "[method]output-stream.blocking-write-zeroes-and-flush", out, 4, 1000);
    assert_int_equal(hk_u8(1000), 1);
    hk_call(STREAMS, "[method]output-stream.write", out, 2000, 0, 1000);
    assert_true(hk_u8(1000) == 1 && hk_u8(1004) == 1);
    hk_call(STREAMS, "[method]output-stream.write-zeroes", out, 0, 1000);
    assert_true(hk_u8(1000) == 1 && hk_u8(1004) == 1);
    hk_call(STREAMS, "[method]output-stream.flush", out, 1000);
    assert_true(hk_u8(1000) == 1 && hk_u8(1004) == 1);
    hk_call(STREAMS, "[method]output-stream.blocking-flush", out, 1000);
    assert_true(hk_u8(1000) == 1 && hk_u8(1004) == 1);
    hk_close();
    close(listening);
}

/* Letters, digits and what joins them; nothing that lies beside those in ASCII. */
static void names_have_few_characters(void **state)
{
    static const char *good[] = {"a", "z", "A", "Z", "0", "9", "A.z-0_9.Example"};
    static const char *bad[] = {"", "`", "{", "@", "[", "/", ":", "a b", "a\n", "a,b", "\xc3\xa4"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!net_name_is(str_from(good[i])))
            fail_msg("'%s' is no name", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (net_name_is(str_from(bad[i])))
            fail_msg("'%s' is a name", bad[i]);
    char longest[254];
    memset(longest, 'x', sizeof longest);
    assert_true(net_name_is((str){longest, 253}));
    assert_false(net_name_is((str){longest, 254}));
}

static int end_all(void **state)
{
    host_loop_close(hk.l);
    return hk_end(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tcp_echo),
        cmocka_unit_test(tcp_denied),
        cmocka_unit_test(options),
        cmocka_unit_test(as_many_as_may_be),
        cmocka_unit_test(the_kernel_refuses),
        cmocka_unit_test(udp_errors),
        cmocka_unit_test(udp_both_ways),
        cmocka_unit_test(udp_of_ipv6),
        cmocka_unit_test(udp_traps),
        cmocka_unit_test(names_are_looked_up),
        cmocka_unit_test(names_have_few_characters),
        cmocka_unit_test(network_errors),
    };
    return cmocka_run_group_tests(tests, hk_begin, end_all);
}
