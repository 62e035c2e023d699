/* wasi:sockets/tcp and tcp-create-socket. Connecting is checked against allowed_outbound_hosts;
 * binding is always denied, as Spin does it (spin.md 3.7), so nothing ever listens or accepts.
 *
 *   UNBOUND --start-connect--> CONNECTING --finish-connect--> CONNECTED
 *                                   |                             | shutdown
 *                                   +--failed--> CLOSED <---------+ (both)
 *
 * What a stream has written and the kernel did not take waits in a queue; it is sent when the
 * guest next looks (check-write, flush, a blocking write); the stream takes nothing until then. */
#include "host/reach.h"
#include "host/sockets.h"

#include "base/limits.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

typedef struct {
    object o;
    net_socket *s;
    enum { TCP_UNBOUND, TCP_CONNECTING, TCP_CONNECTED, TCP_CLOSED } state;
    int connect_error; /* of start-connect, told by finish-connect */
} tcp_socket;

static void tcp_drop(guest *g, object *o) { net_socket_unref(g, ((tcp_socket *)o)->s); }

const host_resource tcp_socket_resource = {"tcp-socket", tcp_drop};

static host_status create_tcp_socket(host_call *c)
{
    uint32_t is_v6;
    net_code code;
    place r;
    if (!arg_case(c, 0, 2, &is_v6) || !result_place(c, &r))
        return HOST_TRAP;
    net_socket *s = net_socket_new(c->g, is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM, &code);
    if (!s)
        return return_net(c, r, code);
    tcp_socket *t = OBJECT_NEW(c->g, tcp_socket, tcp_socket_resource, NULL);
    if (!t) {
        net_socket_unref(c->g, s);
        return call_no_memory(c);
    }
    t->s = s;
    return put_handle(c, put_case(c, r, 0), &t->o) ? HOST_DONE : HOST_TRAP;
}

static bool begin(host_call *c, tcp_socket **ret, place *ret_place)
{
    return ARG_BORROW(c, 0, tcp_socket_resource, ret) && result_place(c, ret_place);
}

/* --- binding and listening: never ---------------------------------------------------------- */

static host_status start_bind(host_call *c)
{
    tcp_socket *t;
    object *network;
    net_address a;
    place r;
    if (!begin(c, &t, &r) || !ARG_BORROW(c, 1, network_resource, &network) ||
        !arg_address(c, 2, &a))
        return HOST_TRAP;
    if (a.any.sa_family != t->s->family)
        return return_net(c, r, NET_INVALID_ARGUMENT);
    return return_net(c, r, t->state == TCP_UNBOUND ? NET_ACCESS_DENIED : NET_INVALID_STATE);
}

static host_status finish_nothing(host_call *c)
{
    tcp_socket *t;
    place r;
    return begin(c, &t, &r) ? return_net(c, r, NET_NOT_IN_PROGRESS) : HOST_TRAP;
}

static host_status not_bound(host_call *c)
{
    tcp_socket *t;
    place r;
    return begin(c, &t, &r) ? return_net(c, r, NET_INVALID_STATE) : HOST_TRAP;
}

/* It was taken out of the interface; Spin traps. */
static host_status ipv6_only(host_call *c)
{
    tcp_socket *t;
    place r;
    return begin(c, &t, &r) ? return_net(c, r, NET_NOT_SUPPORTED) : HOST_TRAP;
}

static host_status is_listening(host_call *c)
{
    tcp_socket *t;
    return ARG_BORROW(c, 0, tcp_socket_resource, &t) ? return_u32(c, false) : HOST_TRAP;
}

static host_status set_backlog(host_call *c)
{
    tcp_socket *t;
    place r;
    if (!begin(c, &t, &r))
        return HOST_TRAP;
    if (c->slots[1].u64 == 0)
        return return_net(c, r, NET_INVALID_ARGUMENT);
    return return_net(c, r, t->state == TCP_UNBOUND ? NET_OK : NET_INVALID_STATE);
}

/* --- streams ------------------------------------------------------------------------------- */

enum { READ_BYTES = 16384 };

typedef struct {
    input_stream s;
    net_socket *socket;
    uint8_t *at; /* READ_BYTES of pool memory, NULL until the first read */
    uint32_t first, n;
} tcp_input;

static stream_state net_fail(error_info *ret_error, int number)
{
    *ret_error = (error_info){.domain = ERROR_NETWORK, .code = net_code_of(number)};
    return STREAM_FAILED;
}

static stream_state tcp_peek(guest *g, input_stream *s, size_t max, size_t *ret_n,
                             error_info *ret_error)
{
    tcp_input *i = (tcp_input *)s;
    if (i->first == i->n) {
        if (!i->at && !(i->at = pool_take(&g->pool, READ_BYTES)))
            return net_fail(ret_error, ENOMEM);
        ssize_t n = recv(i->socket->fd, i->at, READ_BYTES, 0);
        if (n == 0)
            return STREAM_CLOSED;
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return net_fail(ret_error, errno);
        i->first = 0;
        i->n = n < 0 ? 0 : (uint32_t)n;
    }
    size_t have = i->n - i->first;
    *ret_n = have < max ? have : max;
    return STREAM_OPEN;
}

static void tcp_take(guest *g, input_stream *s, void *p, size_t n)
{
    tcp_input *i = (tcp_input *)s;
    if (p)
        memcpy(p, i->at + i->first, n);
    i->first += (uint32_t)n;
}

static void tcp_input_want(guest *g, input_stream *s)
{
    net_socket_want(((tcp_input *)s)->socket, LOOP_READABLE);
}

static void tcp_input_release(guest *g, input_stream *s)
{
    tcp_input *i = (tcp_input *)s;
    pool_give(&g->pool, i->at, READ_BYTES);
    net_socket_unref(g, i->socket);
}

static const input_ops tcp_input_ops = {
    .peek = tcp_peek,
    .take = tcp_take,
    .want = tcp_input_want,
    .release = tcp_input_release,
};

typedef struct {
    output_stream s;
    net_socket *socket;
    queue unsent;
} tcp_output;

/* Sends what waits; false: the connection failed. */
static bool tcp_send_queue(guest *g, tcp_output *o)
{
    while (queue_bytes(&o->unsent)) {
        ssize_t n =
            send(o->socket->fd, queue_front(&o->unsent), queue_bytes(&o->unsent), MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        queue_drop(&g->pool, &o->unsent, (size_t)n);
    }
    return true;
}

static stream_state tcp_closed_or_failed(error_info *ret_error)
{
    return errno == EPIPE ? STREAM_CLOSED : net_fail(ret_error, errno);
}

static stream_state tcp_room(guest *g, output_stream *s, size_t *ret_n, error_info *ret_error)
{
    tcp_output *o = (tcp_output *)s;
    if (!tcp_send_queue(g, o))
        return tcp_closed_or_failed(ret_error);
    *ret_n = queue_bytes(&o->unsent) ? 0 : HOST_WRITE_PERMIT_BYTES;
    return STREAM_OPEN;
}

static stream_state tcp_write(guest *g, output_stream *s, const void *p, size_t n,
                              error_info *ret_error)
{
    tcp_output *o = (tcp_output *)s;
    size_t sent = 0;
    if (p && queue_bytes(&o->unsent) == 0) {
        ssize_t k = send(o->socket->fd, p, n, MSG_NOSIGNAL);
        if (k < 0 && errno != EAGAIN && errno != EINTR)
            return tcp_closed_or_failed(ret_error);
        sent = k < 0 ? 0 : (size_t)k;
    }
    if (sent < n &&
        !queue_put(&g->pool, &o->unsent, p ? (const uint8_t *)p + sent : NULL, n - sent))
        return net_fail(ret_error, ENOMEM);
    return tcp_send_queue(g, o) ? STREAM_OPEN : tcp_closed_or_failed(ret_error);
}

static stream_state tcp_flush(guest *g, output_stream *s, bool *ret_done, error_info *ret_error)
{
    tcp_output *o = (tcp_output *)s;
    if (!tcp_send_queue(g, o))
        return tcp_closed_or_failed(ret_error);
    *ret_done = queue_bytes(&o->unsent) == 0;
    return STREAM_OPEN;
}

static void tcp_output_want(guest *g, output_stream *s)
{
    net_socket_want(((tcp_output *)s)->socket, LOOP_WRITABLE);
}

static void tcp_output_release(guest *g, output_stream *s)
{
    tcp_output *o = (tcp_output *)s;
    tcp_send_queue(g, o);
    queue_clear(&g->pool, &o->unsent);
    net_socket_unref(g, o->socket);
}

static const output_ops tcp_output_ops = {
    .room = tcp_room,
    .write = tcp_write,
    .flush = tcp_flush,
    .want = tcp_output_want,
    .release = tcp_output_release,
};

/* --- connecting ---------------------------------------------------------------------------- */

static net_code connect_check(host_call *c, const tcp_socket *t, const net_address *a)
{
    if (t->state == TCP_CONNECTING)
        return NET_CONCURRENCY_CONFLICT;
    if (t->state != TCP_UNBOUND)
        return NET_INVALID_STATE;
    if (a->any.sa_family != t->s->family || net_address_is_unspecified(a) ||
        net_address_port(a) == 0 ||
        (a->any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a->v6.sin6_addr)))
        return NET_INVALID_ARGUMENT;
    return net_allowed(c->g, "tcp", a) ? NET_OK : NET_ACCESS_DENIED;
}

static host_status start_connect(host_call *c)
{
    tcp_socket *t;
    object *network;
    net_address a;
    place r;
    host_status known = reach_known(c);
    if (known != HOST_DONE)
        return known;
    if (!begin(c, &t, &r) || !ARG_BORROW(c, 1, network_resource, &network) ||
        !arg_address(c, 2, &a))
        return HOST_TRAP;
    net_code code = connect_check(c, t, &a);
    if (code != NET_OK)
        return return_net(c, r, code);
    t->state = TCP_CONNECTING;
    t->connect_error = 0;
    if (connect(t->s->fd, &a.any, net_address_bytes(&a)) < 0 && errno != EINPROGRESS)
        t->connect_error = errno;
    return return_net(c, r, NET_OK);
}

/* The streams of a connected socket, as its children, into tuple fields i and i + 1. */
static bool put_streams(host_call *c, place tuple, tcp_socket *t)
{
    tcp_input *in = OBJECT_NEW(c->g, tcp_input, input_stream_resource, t);
    if (!in)
        return call_no_memory(c), false;
    in->s.ops = &tcp_input_ops;
    in->socket = t->s;
    t->s->refs++;
    if (!put_handle(c, place_field(tuple, 0), &in->s.o))
        return false;
    tcp_output *out = OBJECT_NEW(c->g, tcp_output, output_stream_resource, t);
    if (!out)
        return call_no_memory(c), false;
    out->s.ops = &tcp_output_ops;
    out->socket = t->s;
    t->s->refs++;
    return put_handle(c, place_field(tuple, 1), &out->s.o);
}

static host_status finish_connect(host_call *c)
{
    tcp_socket *t;
    place r;
    if (!begin(c, &t, &r))
        return HOST_TRAP;
    if (t->state != TCP_CONNECTING)
        return return_net(c, r, NET_NOT_IN_PROGRESS);
    int number = t->connect_error;
    socklen_t n = sizeof number;
    if (!number) {
        if (!net_socket_is(t->s, LOOP_WRITABLE))
            return return_net(c, r, NET_WOULD_BLOCK);
        if (getsockopt(t->s->fd, SOL_SOCKET, SO_ERROR, &number, &n) < 0)
            number = errno;
    }
    if (number) {
        t->state = TCP_CLOSED;
        return return_net(c, r, net_code_of(number));
    }
    t->state = TCP_CONNECTED;
    return put_streams(c, put_case(c, r, 0), t) ? HOST_DONE : HOST_TRAP;
}

static bool tcp_ready(guest *g, pollable *p, bool want)
{
    tcp_socket *t = (tcp_socket *)p->o.parent;
    if (t->state != TCP_CONNECTING || t->connect_error || net_socket_is(t->s, LOOP_WRITABLE))
        return true;
    if (want)
        net_socket_want(t->s, LOOP_WRITABLE);
    return false;
}

static host_status tcp_subscribe(host_call *c)
{
    object *t;
    if (!ARG_BORROW(c, 0, tcp_socket_resource, &t))
        return HOST_TRAP;
    return return_pollable(c, tcp_ready, t);
}

static host_status tcp_shutdown(host_call *c)
{
    static const int ways[] = {SHUT_RD, SHUT_WR, SHUT_RDWR};
    tcp_socket *t;
    uint32_t k;
    place r;
    if (!begin(c, &t, &r) || !arg_case(c, 1, 3, &k))
        return HOST_TRAP;
    if (t->state != TCP_CONNECTED)
        return return_net(c, r, NET_INVALID_STATE);
    return return_net_errno(c, r, shutdown(t->s->fd, ways[k]));
}

/* --- addresses and options ----------------------------------------------------------------- */

static host_status local_address(host_call *c)
{
    tcp_socket *t;
    if (!ARG_BORROW(c, 0, tcp_socket_resource, &t))
        return HOST_TRAP;
    return t->state == TCP_UNBOUND ? not_bound(c) : net_local_address(c, t->s);
}

static host_status remote_address(host_call *c)
{
    tcp_socket *t;
    return ARG_BORROW(c, 0, tcp_socket_resource, &t) ? net_remote_address(c, t->s) : HOST_TRAP;
}

static host_status address_family(host_call *c)
{
    tcp_socket *t;
    if (!ARG_BORROW(c, 0, tcp_socket_resource, &t))
        return HOST_TRAP;
    return return_u32(c, t->s->family == AF_INET6);
}

static host_status get_option(host_call *c, int level, int option, uint64_t unit)
{
    tcp_socket *t;
    place r;
    int v = 0;
    socklen_t n = sizeof v;
    if (!begin(c, &t, &r))
        return HOST_TRAP;
    if (getsockopt(t->s->fd, level, option, &v, &n) < 0)
        return return_net_errno(c, r, -1);
    place p = put_case(c, r, 0);
    put_int(c, p, p.type->kind == TYPE_BOOL ? (uint64_t)(v != 0) : (uint64_t)v * unit);
    return HOST_DONE;
}

/* v in units, rounded up, within what Linux takes; 0 is no valid value. */
static host_status set_option(host_call *c, int option, uint64_t v, uint64_t unit, int max)
{
    tcp_socket *t;
    place r;
    if (!begin(c, &t, &r))
        return HOST_TRAP;
    if (v == 0)
        return return_net(c, r, NET_INVALID_ARGUMENT);
    uint64_t units = v / unit + (v % unit != 0);
    int n = units < (uint64_t)max ? (int)units : max;
    return return_net_errno(c, r, setsockopt(t->s->fd, IPPROTO_TCP, option, &n, sizeof n));
}

static host_status get_keep_alive(host_call *c)
{
    return get_option(c, SOL_SOCKET, SO_KEEPALIVE, 1);
}

static host_status set_keep_alive(host_call *c)
{
    tcp_socket *t;
    place r;
    int on = c->slots[1].u32 != 0;
    if (!begin(c, &t, &r))
        return HOST_TRAP;
    return return_net_errno(c, r, setsockopt(t->s->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on));
}

static host_status get_idle(host_call *c)
{
    return get_option(c, IPPROTO_TCP, TCP_KEEPIDLE, NS_PER_S);
}
static host_status set_idle(host_call *c)
{
    return set_option(c, TCP_KEEPIDLE, c->slots[1].u64, NS_PER_S, 32767);
}
static host_status get_interval(host_call *c)
{
    return get_option(c, IPPROTO_TCP, TCP_KEEPINTVL, NS_PER_S);
}
static host_status set_interval(host_call *c)
{
    return set_option(c, TCP_KEEPINTVL, c->slots[1].u64, NS_PER_S, 32767);
}
static host_status get_count(host_call *c) { return get_option(c, IPPROTO_TCP, TCP_KEEPCNT, 1); }
static host_status set_count(host_call *c)
{
    return set_option(c, TCP_KEEPCNT, c->slots[1].u32, 1, 127);
}

#define WITH_SOCKET(name, call)                                                                    \
    static host_status name(host_call *c)                                                          \
    {                                                                                              \
        tcp_socket *t;                                                                             \
        return ARG_BORROW(c, 0, tcp_socket_resource, &t) ? call : HOST_TRAP;                       \
    }
WITH_SOCKET(get_hop_limit, net_get_hop_limit(c, t->s))
WITH_SOCKET(set_hop_limit, net_set_hop_limit(c, t->s))
WITH_SOCKET(get_receive_buffer, net_get_buffer(c, t->s, SO_RCVBUF))
WITH_SOCKET(set_receive_buffer, net_set_buffer(c, t->s, SO_RCVBUF))
WITH_SOCKET(get_send_buffer, net_get_buffer(c, t->s, SO_SNDBUF))
WITH_SOCKET(set_send_buffer, net_set_buffer(c, t->s, SO_SNDBUF))

#define SELF    "func(self: borrow<tcp-socket>"
#define ADDRESS "ip-socket-address"
#define DONE    ") -> result<_, error-code>"

static const host_func tcp_funcs[] = {
    {"[method]tcp-socket.start-bind",
     SELF ", network: borrow<network>, local-address: " ADDRESS DONE, start_bind},
    {"[method]tcp-socket.finish-bind", SELF DONE, finish_nothing},
    {"[method]tcp-socket.start-connect",
     SELF ", network: borrow<network>, remote-address: " ADDRESS DONE, start_connect, true},
    {"[method]tcp-socket.finish-connect",
     SELF ") -> result<tuple<input-stream, output-stream>, error-code>", finish_connect},
    {"[method]tcp-socket.start-listen", SELF DONE, not_bound},
    {"[method]tcp-socket.finish-listen", SELF DONE, finish_nothing},
    {"[method]tcp-socket.accept",
     SELF ") -> result<tuple<tcp-socket, input-stream, output-stream>, error-code>", not_bound},
    {"[method]tcp-socket.local-address", SELF ") -> result<" ADDRESS ", error-code>",
     local_address},
    {"[method]tcp-socket.remote-address", SELF ") -> result<" ADDRESS ", error-code>",
     remote_address},
    {"[method]tcp-socket.is-listening", SELF ") -> bool", is_listening},
    {"[method]tcp-socket.address-family", SELF ") -> ip-address-family", address_family},
    {"[method]tcp-socket.set-listen-backlog-size", SELF ", value: u64" DONE, set_backlog},
    {"[method]tcp-socket.keep-alive-enabled", SELF ") -> result<bool, error-code>", get_keep_alive},
    {"[method]tcp-socket.set-keep-alive-enabled", SELF ", value: bool" DONE, set_keep_alive},
    {"[method]tcp-socket.keep-alive-idle-time", SELF ") -> result<duration, error-code>", get_idle},
    {"[method]tcp-socket.set-keep-alive-idle-time", SELF ", value: duration" DONE, set_idle},
    {"[method]tcp-socket.keep-alive-interval", SELF ") -> result<duration, error-code>",
     get_interval},
    {"[method]tcp-socket.set-keep-alive-interval", SELF ", value: duration" DONE, set_interval},
    {"[method]tcp-socket.keep-alive-count", SELF ") -> result<u32, error-code>", get_count},
    {"[method]tcp-socket.set-keep-alive-count", SELF ", value: u32" DONE, set_count},
    {"[method]tcp-socket.hop-limit", SELF ") -> result<u8, error-code>", get_hop_limit},
    {"[method]tcp-socket.set-hop-limit", SELF ", value: u8" DONE, set_hop_limit},
    {"[method]tcp-socket.receive-buffer-size", SELF ") -> result<u64, error-code>",
     get_receive_buffer},
    {"[method]tcp-socket.set-receive-buffer-size", SELF ", value: u64" DONE, set_receive_buffer},
    {"[method]tcp-socket.send-buffer-size", SELF ") -> result<u64, error-code>", get_send_buffer},
    {"[method]tcp-socket.set-send-buffer-size", SELF ", value: u64" DONE, set_send_buffer},
    {"[method]tcp-socket.subscribe", SELF ") -> pollable", tcp_subscribe},
    {"[method]tcp-socket.shutdown", SELF ", shutdown-type: shutdown-type" DONE, tcp_shutdown},
    /* 0.2.0-rc-2023-11-10 */
    {"[method]tcp-socket.ipv6-only", SELF ") -> result<bool, error-code>", ipv6_only},
    {"[method]tcp-socket.set-ipv6-only", SELF ", value: bool" DONE, ipv6_only},
    {0},
};

const host_interface wasi_sockets_tcp = {
    .name = "wasi:sockets/tcp@0.2.0",
    .types = "use wasi:io/streams@0.2.0.{input-stream, output-stream};\n"
             "use wasi:io/poll@0.2.0.{pollable};\n"
             "use wasi:clocks/monotonic-clock@0.2.0.{duration};\n"
             "use wasi:sockets/network@0.2.0.{network, error-code, ip-socket-address,\n"
             "    ip-address-family};\n"
             "enum shutdown-type { receive, send, both }\n"
             "resource tcp-socket;",
    .funcs = tcp_funcs,
    .resources = (const host_resource *const[]){&tcp_socket_resource, NULL},
};

const host_interface wasi_sockets_tcp_create = {
    .name = "wasi:sockets/tcp-create-socket@0.2.0",
    .types = "use wasi:sockets/network@0.2.0.{network, error-code, ip-address-family};\n"
             "use wasi:sockets/tcp@0.2.0.{tcp-socket};",
    .funcs = (const host_func[]){{"create-tcp-socket",
                                  "func(address-family: ip-address-family) -> "
                                  "result<tcp-socket, error-code>",
                                  create_tcp_socket},
                                 {0}},
};
