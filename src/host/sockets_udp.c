/* wasi:sockets/udp and udp-create-socket. Binding, a fixed remote address and every datagram sent
 * are checked against allowed_outbound_hosts with scheme udp, as Spin does it.
 *
 *   UNBOUND --start-bind--> BINDING --finish-bind--> BOUND --stream(option<address>)--> streams
 *
 * Only the streams of the last call of stream work, and it traps while earlier ones are alive. */
#include "host/reach.h"
#include "host/sockets.h"

#include "base/limits.h"

#include <errno.h>

typedef struct {
    object o;
    net_socket *s;
    enum { UDP_UNBOUND, UDP_BINDING, UDP_BOUND } state;
    bool connected;
} udp_socket;

/* Both directions are alike: a child of the socket. */
typedef struct {
    object o;
    net_socket *s;
    bool connected;
    net_address remote;
    uint64_t permit; /* outgoing: what check-send allowed */
} datagram_stream;

enum { DATAGRAMS_MAX = 64, DATAGRAM_BYTES_MAX = 65536 };

static void udp_drop(guest *g, object *o) { net_socket_unref(g, ((udp_socket *)o)->s); }

static void stream_drop(guest *g, object *o) { net_socket_unref(g, ((datagram_stream *)o)->s); }

const host_resource udp_socket_resource = {"udp-socket", udp_drop};
const host_resource incoming_datagram_stream_resource = {"incoming-datagram-stream", stream_drop};
const host_resource outgoing_datagram_stream_resource = {"outgoing-datagram-stream", stream_drop};

static host_status create_udp_socket(host_call *c)
{
    uint32_t is_v6;
    net_code code;
    place r;
    if (!arg_case(c, 0, 2, &is_v6) || !result_place(c, &r))
        return HOST_TRAP;
    net_socket *s = net_socket_new(c->g, is_v6 ? AF_INET6 : AF_INET, SOCK_DGRAM, &code);
    if (!s)
        return return_net(c, r, code);
    udp_socket *u = OBJECT_NEW(c->g, udp_socket, udp_socket_resource, NULL);
    if (!u) {
        net_socket_unref(c->g, s);
        return call_no_memory(c);
    }
    u->s = s;
    return put_handle(c, put_case(c, r, 0), &u->o) ? HOST_DONE : HOST_TRAP;
}

static bool begin(host_call *c, udp_socket **ret, place *ret_place)
{
    return ARG_BORROW(c, 0, udp_socket_resource, ret) && result_place(c, ret_place);
}

/* It was taken out of the interface; Spin traps. */
static host_status ipv6_only(host_call *c)
{
    udp_socket *u;
    place r;
    return begin(c, &u, &r) ? return_net(c, r, NET_NOT_SUPPORTED) : HOST_TRAP;
}

static host_status start_bind(host_call *c)
{
    udp_socket *u;
    object *network;
    net_address a;
    place r;
    host_status known = reach_known(c);
    if (known != HOST_DONE)
        return known;
    if (!begin(c, &u, &r) || !ARG_BORROW(c, 1, network_resource, &network) ||
        !arg_address(c, 2, &a))
        return HOST_TRAP;
    if (u->state != UDP_UNBOUND)
        return return_net(c, r,
                          u->state == UDP_BINDING ? NET_CONCURRENCY_CONFLICT : NET_INVALID_STATE);
    if (a.any.sa_family != u->s->family)
        return return_net(c, r, NET_INVALID_ARGUMENT);
    if (!net_allowed(c->g, "udp", &a))
        return return_net(c, r, NET_ACCESS_DENIED);
    int n = bind(u->s->fd, &a.any, net_address_bytes(&a));
    if (n == 0)
        u->state = UDP_BINDING;
    return return_net_errno(c, r, n);
}

static host_status finish_bind(host_call *c)
{
    udp_socket *u;
    place r;
    if (!begin(c, &u, &r))
        return HOST_TRAP;
    if (u->state != UDP_BINDING)
        return return_net(c, r, NET_NOT_IN_PROGRESS);
    u->state = UDP_BOUND;
    return return_net(c, r, NET_OK);
}

static bool put_stream(host_call *c, place p, const host_resource *resource, udp_socket *u,
                       const net_address *remote)
{
    datagram_stream *d = (datagram_stream *)object_new(c->g, resource, sizeof *d, &u->o);
    if (!d)
        return call_no_memory(c), false;
    d->s = u->s;
    d->s->refs++;
    d->connected = remote != NULL;
    if (remote)
        d->remote = *remote;
    return put_handle(c, p, &d->o);
}

static net_code remote_check(host_call *c, const udp_socket *u, const net_address *a)
{
    if (a->any.sa_family != u->s->family || net_address_is_unspecified(a) ||
        net_address_port(a) == 0)
        return NET_INVALID_ARGUMENT;
    return net_allowed(c->g, "udp", a) ? NET_OK : NET_ACCESS_DENIED;
}

static host_status udp_stream(host_call *c)
{
    udp_socket *u;
    uint32_t some;
    net_address a;
    place r;
    if (!begin(c, &u, &r) || !arg_case(c, 1, 2, &some) || (some && !arg_address(c, 2, &a)))
        return HOST_TRAP;
    if (u->o.children)
        return call_trap(c, "the streams of an earlier call of stream are still alive");
    if (u->state != UDP_BOUND)
        return return_net(c, r, NET_INVALID_STATE);
    net_code code = some ? remote_check(c, u, &a) : NET_OK;
    if (code != NET_OK)
        return return_net(c, r, code);
    if (u->connected) {
        struct sockaddr none = {.sa_family = AF_UNSPEC};
        connect(u->s->fd, &none, sizeof none);
        u->connected = false;
    }
    if (some && connect(u->s->fd, &a.any, net_address_bytes(&a)) < 0)
        return return_net_errno(c, r, -1);
    u->connected = some;
    place tuple = put_case(c, r, 0);
    const net_address *remote = some ? &a : NULL;
    return put_stream(c, place_field(tuple, 0), &incoming_datagram_stream_resource, u, remote) &&
                   put_stream(c, place_field(tuple, 1), &outgoing_datagram_stream_resource, u,
                              remote)
               ? HOST_DONE
               : HOST_TRAP;
}

/* --- receiving ----------------------------------------------------------------------------- */

typedef struct {
    uint8_t *at;
    size_t n;
    net_address from;
} datagram;

/* Into scratch memory, at most max; how many came, or -1 with errno. */
static int receive_some(host_call *c, const datagram_stream *d, datagram *at, int max)
{
    int n = 0;
    while (n < max) {
        static uint8_t space[DATAGRAM_BYTES_MAX]; /* copied from at once */
        socklen_t bytes_from = sizeof at[n].from;
        memset(&at[n].from, 0, sizeof at[n].from);
        ssize_t got = recvfrom(d->s->fd, space, sizeof space, 0, &at[n].from.any, &bytes_from);
        if (got < 0)
            return n || errno == EAGAIN || errno == EINTR ? n : -1;
        at[n].n = (size_t)got;
        at[n].at = arena_alloc(&c->g->scratch, at[n].n);
        if (!at[n].at)
            return errno = ENOMEM, -1;
        memcpy(at[n].at, space, at[n].n);
        n++;
    }
    return n;
}

static host_status receive(host_call *c)
{
    datagram_stream *d;
    datagram at[DATAGRAMS_MAX];
    place r, first;
    uint64_t max = c->slots[1].u64;
    if (!ARG_BORROW(c, 0, incoming_datagram_stream_resource, &d) || !result_place(c, &r))
        return HOST_TRAP;
    int n = receive_some(c, d, at, max < DATAGRAMS_MAX ? (int)max : DATAGRAMS_MAX);
    if (n < 0)
        return return_net_errno(c, r, n);
    if (!put_list(c, put_case(c, r, 0), (uint32_t)n, &first))
        return HOST_TRAP;
    for (int i = 0; i < n; i++) {
        place p = place_element(first, (uint32_t)i);
        if (!put_bytes(c, place_field(p, 0), (bytes){at[i].at, at[i].n}))
            return HOST_TRAP;
        put_address(c, place_field(p, 1), &at[i].from);
    }
    return HOST_DONE;
}

static bool incoming_ready(guest *g, pollable *p, bool want)
{
    datagram_stream *d = (datagram_stream *)p->o.parent;
    if (net_socket_is(d->s, LOOP_READABLE))
        return true;
    if (want)
        net_socket_want(d->s, LOOP_READABLE);
    return false;
}

static host_status incoming_subscribe(host_call *c)
{
    object *d;
    if (!ARG_BORROW(c, 0, incoming_datagram_stream_resource, &d))
        return HOST_TRAP;
    return return_pollable(c, incoming_ready, d);
}

/* --- sending ------------------------------------------------------------------------------- */

static host_status check_send(host_call *c)
{
    datagram_stream *d;
    place r;
    if (!ARG_BORROW(c, 0, outgoing_datagram_stream_resource, &d) || !result_place(c, &r))
        return HOST_TRAP;
    d->permit = net_socket_is(d->s, LOOP_WRITABLE) ? DATAGRAMS_MAX : 0;
    put_int(c, put_case(c, r, 0), d->permit);
    return HOST_DONE;
}

static uint64_t memory_int(const host_call *c, place p)
{
    uint64_t v = 0;
    memcpy(&v, c->memory + p.at, p.type->size);
    return v;
}

/* option<ip-socket-address> in memory that was checked; *ret_some: there is one. */
static bool memory_address(host_call *c, place p, net_address *ret, bool *ret_some)
{
    uint8_t some = c->memory[p.at];
    place v = {p.type->elem, p.at + p.type->payload_at};
    memset(ret, 0, sizeof *ret);
    if (some > 1)
        return call_trap(c, "unexpected discriminant: %u", some), false;
    *ret_some = some;
    if (!some)
        return true;
    uint8_t is_v6 = c->memory[v.at];
    if (is_v6 > 1)
        return call_trap(c, "unexpected discriminant: %u", is_v6), false;
    place a = {v.type->fields[is_v6].type, v.at + v.type->payload_at};
    uint16_t port = htons((uint16_t)memory_int(c, place_field(a, 0)));
    place parts = place_field(a, is_v6 ? 2 : 1);
    if (!is_v6) {
        ret->v4.sin_family = AF_INET;
        ret->v4.sin_port = port;
        memcpy(&ret->v4.sin_addr, c->memory + parts.at, 4);
        return true;
    }
    ret->v6.sin6_family = AF_INET6;
    ret->v6.sin6_port = port;
    ret->v6.sin6_flowinfo = htonl((uint32_t)memory_int(c, place_field(a, 1)));
    ret->v6.sin6_scope_id = (uint32_t)memory_int(c, place_field(a, 3));
    for (uint32_t k = 0; k < 8; k++)
        ret->v6.sin6_addr.s6_addr16[k] = htons((uint16_t)memory_int(c, place_field(parts, k)));
    return true;
}

/* One datagram; NET_OK if it was sent. False: trap. */
static bool send_one(host_call *c, const datagram_stream *d, place p, net_code *ret_code)
{
    uint32_t span[2];
    bytes b;
    net_address to;
    bool some;
    memcpy(span, c->memory + place_field(p, 0).at, sizeof span);
    if (!call_bytes(c, span[0], span[1], &b) || !memory_address(c, place_field(p, 1), &to, &some))
        return false;
    *ret_code = NET_OK;
    if (d->connected) {
        if (some && !net_address_equal(&to, &d->remote))
            *ret_code = NET_INVALID_ARGUMENT;
        some = false;
    } else if (!some || to.any.sa_family != d->s->family || net_address_is_unspecified(&to) ||
               net_address_port(&to) == 0) {
        *ret_code = NET_INVALID_ARGUMENT;
    } else if (!net_allowed(c->g, "udp", &to)) {
        *ret_code = NET_ACCESS_DENIED;
    }
    if (*ret_code == NET_OK && sendto(d->s->fd, b.p, b.n, MSG_NOSIGNAL, some ? &to.any : NULL,
                                      some ? net_address_bytes(&to) : 0) < 0)
        *ret_code = net_code_of(errno);
    return true;
}

static host_status send_datagrams(host_call *c)
{
    datagram_stream *d;
    place r;
    uint32_t at = c->slots[1].u32, n = c->slots[2].u32, sent = 0;
    const type *elem = c->import->type->params[1].type->elem;
    net_code code = NET_OK;
    if (!ARG_BORROW(c, 0, outgoing_datagram_stream_resource, &d) || !result_place(c, &r) ||
        !call_list(c, at, n, elem->size, elem->align))
        return HOST_TRAP;
    if (n > d->permit)
        return call_trap(c, "send of %u datagrams exceeds the permit of %llu given by check-send",
                         n, (unsigned long long)d->permit);
    d->permit -= n;
    for (; sent < n; sent++) {
        if (!send_one(c, d, (place){elem, at + sent * elem->size}, &code))
            return HOST_TRAP;
        if (code != NET_OK)
            break;
    }
    /* An error is told only if nothing was sent before it; "later" is none. */
    if (sent == 0 && code != NET_OK && code != NET_WOULD_BLOCK)
        return return_net(c, r, code);
    put_int(c, put_case(c, r, 0), sent);
    return HOST_DONE;
}

static bool outgoing_ready(guest *g, pollable *p, bool want)
{
    datagram_stream *d = (datagram_stream *)p->o.parent;
    if (net_socket_is(d->s, LOOP_WRITABLE))
        return true;
    if (want)
        net_socket_want(d->s, LOOP_WRITABLE);
    return false;
}

static host_status outgoing_subscribe(host_call *c)
{
    object *d;
    if (!ARG_BORROW(c, 0, outgoing_datagram_stream_resource, &d))
        return HOST_TRAP;
    return return_pollable(c, outgoing_ready, d);
}

/* --- the socket ---------------------------------------------------------------------------- */

static bool udp_ready(guest *g, pollable *p, bool want)
{
    return true; /* binding is done at once */
}

static host_status udp_subscribe(host_call *c)
{
    object *u;
    if (!ARG_BORROW(c, 0, udp_socket_resource, &u))
        return HOST_TRAP;
    return return_pollable(c, udp_ready, u);
}

static host_status local_address(host_call *c)
{
    udp_socket *u;
    place r;
    if (!begin(c, &u, &r))
        return HOST_TRAP;
    return u->state == UDP_UNBOUND ? return_net(c, r, NET_INVALID_STATE)
                                   : net_local_address(c, u->s);
}

static host_status address_family(host_call *c)
{
    udp_socket *u;
    if (!ARG_BORROW(c, 0, udp_socket_resource, &u))
        return HOST_TRAP;
    return return_u32(c, u->s->family == AF_INET6);
}

#define WITH_SOCKET(name, call)                                                                    \
    static host_status name(host_call *c)                                                          \
    {                                                                                              \
        udp_socket *u;                                                                             \
        return ARG_BORROW(c, 0, udp_socket_resource, &u) ? call : HOST_TRAP;                       \
    }
WITH_SOCKET(remote_address, net_remote_address(c, u->s))
WITH_SOCKET(get_hop_limit, net_get_hop_limit(c, u->s))
WITH_SOCKET(set_hop_limit, net_set_hop_limit(c, u->s))
WITH_SOCKET(get_receive_buffer, net_get_buffer(c, u->s, SO_RCVBUF))
WITH_SOCKET(set_receive_buffer, net_set_buffer(c, u->s, SO_RCVBUF))
WITH_SOCKET(get_send_buffer, net_get_buffer(c, u->s, SO_SNDBUF))
WITH_SOCKET(set_send_buffer, net_set_buffer(c, u->s, SO_SNDBUF))

#define SELF    "func(self: borrow<udp-socket>"
#define ADDRESS "ip-socket-address"
#define DONE    ") -> result<_, error-code>"

static const host_func udp_funcs[] = {
    {"[method]udp-socket.start-bind",
     SELF ", network: borrow<network>, local-address: " ADDRESS DONE, start_bind, true},
    {"[method]udp-socket.finish-bind", SELF DONE, finish_bind},
    {"[method]udp-socket.stream",
     SELF ", remote-address: option<" ADDRESS ">) -> "
          "result<tuple<incoming-datagram-stream, outgoing-datagram-stream>, error-code>",
     udp_stream},
    {"[method]udp-socket.local-address", SELF ") -> result<" ADDRESS ", error-code>",
     local_address},
    {"[method]udp-socket.remote-address", SELF ") -> result<" ADDRESS ", error-code>",
     remote_address},
    {"[method]udp-socket.address-family", SELF ") -> ip-address-family", address_family},
    {"[method]udp-socket.unicast-hop-limit", SELF ") -> result<u8, error-code>", get_hop_limit},
    {"[method]udp-socket.set-unicast-hop-limit", SELF ", value: u8" DONE, set_hop_limit},
    {"[method]udp-socket.receive-buffer-size", SELF ") -> result<u64, error-code>",
     get_receive_buffer},
    {"[method]udp-socket.set-receive-buffer-size", SELF ", value: u64" DONE, set_receive_buffer},
    {"[method]udp-socket.send-buffer-size", SELF ") -> result<u64, error-code>", get_send_buffer},
    {"[method]udp-socket.set-send-buffer-size", SELF ", value: u64" DONE, set_send_buffer},
    {"[method]udp-socket.subscribe", SELF ") -> pollable", udp_subscribe},
    {"[method]incoming-datagram-stream.receive",
     "func(self: borrow<incoming-datagram-stream>, max-results: u64) -> "
     "result<list<incoming-datagram>, error-code>",
     receive},
    {"[method]incoming-datagram-stream.subscribe",
     "func(self: borrow<incoming-datagram-stream>) -> pollable", incoming_subscribe},
    {"[method]outgoing-datagram-stream.check-send",
     "func(self: borrow<outgoing-datagram-stream>) -> result<u64, error-code>", check_send},
    {"[method]outgoing-datagram-stream.send",
     "func(self: borrow<outgoing-datagram-stream>, datagrams: list<outgoing-datagram>) -> "
     "result<u64, error-code>",
     send_datagrams},
    {"[method]outgoing-datagram-stream.subscribe",
     "func(self: borrow<outgoing-datagram-stream>) -> pollable", outgoing_subscribe},
    /* 0.2.0-rc-2023-11-10 */
    {"[method]udp-socket.ipv6-only", SELF ") -> result<bool, error-code>", ipv6_only},
    {"[method]udp-socket.set-ipv6-only", SELF ", value: bool" DONE, ipv6_only},
    {0},
};

const host_interface wasi_sockets_udp = {
    .name = "wasi:sockets/udp@0.2.0",
    .types = "use wasi:io/poll@0.2.0.{pollable};\n"
             "use wasi:sockets/network@0.2.0.{network, error-code, ip-socket-address,\n"
             "    ip-address-family};\n"
             "record incoming-datagram { data: list<u8>, remote-address: ip-socket-address }\n"
             "record outgoing-datagram { data: list<u8>,\n"
             "    remote-address: option<ip-socket-address> }\n"
             "resource udp-socket;\n"
             "resource incoming-datagram-stream;\n"
             "resource outgoing-datagram-stream;",
    .funcs = udp_funcs,
    .resources =
        (const host_resource *const[]){&udp_socket_resource, &incoming_datagram_stream_resource,
                                       &outgoing_datagram_stream_resource, NULL},
};

const host_interface wasi_sockets_udp_create = {
    .name = "wasi:sockets/udp-create-socket@0.2.0",
    .types = "use wasi:sockets/network@0.2.0.{network, error-code, ip-address-family};\n"
             "use wasi:sockets/udp@0.2.0.{udp-socket};",
    .funcs = (const host_func[]){{"create-udp-socket",
                                  "func(address-family: ip-address-family) -> "
                                  "result<udp-socket, error-code>",
                                  create_udp_socket},
                                 {0}},
};
