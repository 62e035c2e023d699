/* wasi:sockets@0.2: the network, addresses and errors, and what TCP and UDP share (sockets.h).
 * TCP is in sockets_tcp.c, UDP in sockets_udp.c, look-ups are in sockets_names.c. */
#include "host/permits.h"
#include "host/reach.h"
#include "host/sockets.h"

#include "base/limits.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

const host_resource network_resource = {"network", NULL};

net_code net_code_of(int n)
{
    switch (n) {
    case EACCES:
    case EPERM:
        return NET_ACCESS_DENIED;
    case EOPNOTSUPP:
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
        return NET_NOT_SUPPORTED;
    case EINVAL:
    case EDESTADDRREQ:
        return NET_INVALID_ARGUMENT;
    case ENOMEM:
    case ENOBUFS:
        return NET_OUT_OF_MEMORY;
    case ETIMEDOUT:
        return NET_TIMEOUT;
    case EALREADY:
        return NET_CONCURRENCY_CONFLICT;
    case EAGAIN:
        return NET_WOULD_BLOCK;
    case EISCONN:
    case ENOTCONN:
        return NET_INVALID_STATE;
    case EMFILE:
    case ENFILE:
        return NET_NEW_SOCKET_LIMIT;
    case EADDRNOTAVAIL:
        return NET_ADDRESS_NOT_BINDABLE;
    case EADDRINUSE:
        return NET_ADDRESS_IN_USE;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
    case EHOSTDOWN:
        return NET_REMOTE_UNREACHABLE;
    case ECONNREFUSED:
        return NET_CONNECTION_REFUSED;
    case ECONNRESET:
    case EPIPE:
        return NET_CONNECTION_RESET;
    case ECONNABORTED:
        return NET_CONNECTION_ABORTED;
    case EMSGSIZE:
        return NET_DATAGRAM_TOO_LARGE;
    default:
        return NET_UNKNOWN;
    }
}

/* --- descriptors --------------------------------------------------------------------------- */

/* The process's and the owner's. */
static bool permits_take(uint64_t owner)
{
    if (!permit_take(PERMIT_SOCKET))
        return false;
    if (permit_owner_take(owner))
        return true;
    permit_give(PERMIT_SOCKET);
    return false;
}

static void permits_give(uint64_t owner)
{
    permit_give(PERMIT_SOCKET);
    permit_owner_give(owner);
}

net_socket *net_socket_new(guest *g, int family, int kind, net_code *ret_code)
{
    uint64_t owner = g->component->owner;
    if (g->files >= HOST_FILES_MAX || !permits_take(owner))
        return *ret_code = NET_NEW_SOCKET_LIMIT, NULL;
    int fd = socket(family, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        *ret_code = net_code_of(errno);
        return permits_give(owner), NULL;
    }
    int yes = 1;
    net_socket *s = pool_take(&g->pool, sizeof *s);
    if (!s ||
        (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes) < 0)) {
        close(fd);
        pool_give(&g->pool, s, sizeof *s);
        permits_give(owner);
        return *ret_code = NET_OUT_OF_MEMORY, NULL;
    }
    *s = (net_socket){.refs = 1, .fd = fd, .family = family, .g = g};
    g->files++;
    return s;
}

void net_socket_unref(guest *g, net_socket *s)
{
    if (--s->refs > 0)
        return;
    if (s->watch)
        loop_watch_close(s->watch);
    close(s->fd);
    g->files--;
    permits_give(g->component->owner);
    pool_give(&g->pool, s, sizeof *s);
}

static void on_ready(void *user, unsigned events)
{
    net_socket *s = user;
    s->wanted = 0;
    loop_watch_set(s->watch, 0);
    guest_woken(s->g);
}

void net_socket_want(net_socket *s, unsigned events)
{
    err e;
    if (!s->watch && !loop_watch_open(s->g->l, s->fd, on_ready, s, &s->watch, &e)) {
        guest_wake_by(s->g, clock_mono() + 10 * NS_PER_MS); /* no memory: look again later */
        return;
    }
    s->wanted |= events;
    loop_watch_set(s->watch, s->wanted);
}

bool net_socket_is(const net_socket *s, unsigned events)
{
    short what =
        (short)((events & LOOP_READABLE ? POLLIN : 0) | (events & LOOP_WRITABLE ? POLLOUT : 0));
    struct pollfd p = {.fd = s->fd, .events = what};
    return poll(&p, 1, 0) > 0;
}

/* --- addresses ----------------------------------------------------------------------------- */

socklen_t net_address_bytes(const net_address *a)
{
    return a->any.sa_family == AF_INET ? sizeof a->v4 : sizeof a->v6;
}

uint16_t net_address_port(const net_address *a)
{
    return ntohs(a->any.sa_family == AF_INET ? a->v4.sin_port : a->v6.sin6_port);
}

bool net_address_is_unspecified(const net_address *a)
{
    return a->any.sa_family == AF_INET ? a->v4.sin_addr.s_addr == INADDR_ANY
                                       : IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr);
}

bool net_address_equal(const net_address *a, const net_address *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_INET)
        return a->v4.sin_port == b->v4.sin_port && a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
    return a->v6.sin6_port == b->v6.sin6_port &&
           memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof a->v6.sin6_addr) == 0;
}

bool arg_address(host_call *c, unsigned i, net_address *ret)
{
    uint32_t is_v6;
    const slot *s = &c->slots[i + 1];
    if (!arg_case(c, i, 2, &is_v6))
        return false;
    memset(ret, 0, sizeof *ret);
    if (!is_v6) {
        uint8_t a[4];
        for (unsigned k = 0; k < 4; k++)
            a[k] = (uint8_t)s[1 + k].u32;
        ret->v4.sin_family = AF_INET;
        ret->v4.sin_port = htons((uint16_t)s[0].u32);
        memcpy(&ret->v4.sin_addr, a, sizeof a);
        return true;
    }
    ret->v6.sin6_family = AF_INET6;
    ret->v6.sin6_port = htons((uint16_t)s[0].u32);
    ret->v6.sin6_flowinfo = htonl(s[1].u32);
    for (unsigned k = 0; k < 8; k++)
        ret->v6.sin6_addr.s6_addr16[k] = htons((uint16_t)s[2 + k].u32);
    ret->v6.sin6_scope_id = s[10].u32;
    return true;
}

void put_address(host_call *c, place p, const net_address *a)
{
    bool v6 = a->any.sa_family == AF_INET6;
    place r = put_case(c, p, v6);
    put_int(c, place_field(r, 0), net_address_port(a));
    if (!v6) {
        for (uint32_t k = 0; k < 4; k++)
            put_int(c, place_field(place_field(r, 1), k), ((const uint8_t *)&a->v4.sin_addr)[k]);
        return;
    }
    put_int(c, place_field(r, 1), ntohl(a->v6.sin6_flowinfo));
    for (uint32_t k = 0; k < 8; k++)
        put_int(c, place_field(place_field(r, 2), k), ntohs(a->v6.sin6_addr.s6_addr16[k]));
    put_int(c, place_field(r, 3), a->v6.sin6_scope_id);
}

bool net_blocked(const host_component *h, const net_address *a)
{
    bool v6 = a->any.sa_family == AF_INET6;
    const uint8_t *at =
        v6 ? a->v6.sin6_addr.s6_addr : (const uint8_t *)(const void *)&a->v4.sin_addr;
    return h->address_blocked && h->address_blocked(h->outbound_user, at, v6 ? 16 : 4);
}

bool net_allowed(const guest *g, const char *scheme, const net_address *a)
{
    char text[INET6_ADDRSTRLEN];
    const void *at = a->any.sa_family == AF_INET ? (const void *)&a->v4.sin_addr
                                                 : (const void *)&a->v6.sin6_addr;
    if (!inet_ntop(a->any.sa_family, at, text, sizeof text))
        return false;
    if (reach_allowed(g, str_from(scheme), str_from(text), net_address_port(a)))
        return !net_blocked(g->component, a);
    reach_denied(g, str_from(scheme), str_from(text), net_address_port(a));
    return false;
}

/* --- results and options ------------------------------------------------------------------- */

host_status return_net(host_call *c, place r, net_code code)
{
    if (code == NET_OK)
        put_case(c, r, 0);
    else
        put_case(c, put_case(c, r, 1), code);
    return HOST_DONE;
}

host_status return_net_errno(host_call *c, place r, int result)
{
    return return_net(c, r, result < 0 ? net_code_of(errno) : NET_OK);
}

host_status net_get_hop_limit(host_call *c, net_socket *s)
{
    bool v6 = s->family == AF_INET6;
    int v = 0;
    socklen_t n = sizeof v;
    place r;
    if (!result_place(c, &r))
        return HOST_TRAP;
    if (getsockopt(s->fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_UNICAST_HOPS : IP_TTL, &v, &n) <
        0)
        return return_net_errno(c, r, -1);
    put_int(c, put_case(c, r, 0), (uint64_t)v);
    return HOST_DONE;
}

host_status net_set_hop_limit(host_call *c, net_socket *s)
{
    bool v6 = s->family == AF_INET6;
    int v = c->slots[1].u32 & 0xff;
    place r;
    if (!result_place(c, &r))
        return HOST_TRAP;
    if (v == 0)
        return return_net(c, r, NET_INVALID_ARGUMENT);
    return return_net_errno(c, r,
                            setsockopt(s->fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP,
                                       v6 ? IPV6_UNICAST_HOPS : IP_TTL, &v, sizeof v));
}

/* Linux doubles what is set and tells the double. */
host_status net_get_buffer(host_call *c, net_socket *s, int option)
{
    int v = 0;
    socklen_t n = sizeof v;
    place r;
    if (!result_place(c, &r))
        return HOST_TRAP;
    if (getsockopt(s->fd, SOL_SOCKET, option, &v, &n) < 0)
        return return_net_errno(c, r, -1);
    put_int(c, put_case(c, r, 0), (uint64_t)(v / 2));
    return HOST_DONE;
}

host_status net_set_buffer(host_call *c, net_socket *s, int option)
{
    uint64_t want = c->slots[1].u64;
    place r;
    if (!result_place(c, &r))
        return HOST_TRAP;
    if (want == 0)
        return return_net(c, r, NET_INVALID_ARGUMENT);
    int v = want < INT32_MAX / 2 ? (int)want : INT32_MAX / 2;
    return return_net_errno(c, r, setsockopt(s->fd, SOL_SOCKET, option, &v, sizeof v));
}

static host_status return_address(host_call *c, int result, const net_address *a)
{
    place r;
    int number = errno;
    if (!result_place(c, &r))
        return HOST_TRAP;
    if (result < 0)
        return return_net(c, r, net_code_of(number));
    put_address(c, put_case(c, r, 0), a);
    return HOST_DONE;
}

host_status net_local_address(host_call *c, net_socket *s)
{
    net_address a = {0};
    socklen_t n = sizeof a;
    return return_address(c, getsockname(s->fd, &a.any, &n), &a);
}

host_status net_remote_address(host_call *c, net_socket *s)
{
    net_address a = {0};
    socklen_t n = sizeof a;
    return return_address(c, getpeername(s->fd, &a.any, &n), &a);
}

/* --- network ------------------------------------------------------------------------------- */

static host_status instance_network(host_call *c)
{
    return return_handle(c, object_new(c->g, &network_resource, sizeof(object), NULL));
}

static host_status network_error_code(host_call *c)
{
    error_object *o;
    place r;
    if (!ARG_BORROW(c, 0, error_resource, &o) || !result_place(c, &r))
        return HOST_TRAP;
    bool some = o->info.domain == ERROR_NETWORK;
    place p = put_case(c, r, some);
    if (some)
        put_case(c, p, o->info.code);
    return HOST_DONE;
}

const host_interface wasi_sockets_network = {
    .name = "wasi:sockets/network@0.2.0",
    .types = "use wasi:io/error@0.2.0.{error};\n"
             "resource network;\n"
             "enum error-code { unknown, access-denied, not-supported, invalid-argument,\n"
             "    out-of-memory, timeout, concurrency-conflict, not-in-progress, would-block,\n"
             "    invalid-state, new-socket-limit, address-not-bindable, address-in-use,\n"
             "    remote-unreachable, connection-refused, connection-reset, connection-aborted,\n"
             "    datagram-too-large, name-unresolvable, temporary-resolver-failure,\n"
             "    permanent-resolver-failure }\n"
             "enum ip-address-family { ipv4, ipv6 }\n"
             "type ipv4-address = tuple<u8, u8, u8, u8>;\n"
             "type ipv6-address = tuple<u16, u16, u16, u16, u16, u16, u16, u16>;\n"
             "variant ip-address { ipv4(ipv4-address), ipv6(ipv6-address) }\n"
             "record ipv4-socket-address { port: u16, address: ipv4-address }\n"
             "record ipv6-socket-address { port: u16, flow-info: u32, address: ipv6-address,\n"
             "    scope-id: u32 }\n"
             "variant ip-socket-address { ipv4(ipv4-socket-address), ipv6(ipv6-socket-address) }\n",
    .funcs =
        (const host_func[]){{"network-error-code", "func(err: borrow<error>) -> option<error-code>",
                             network_error_code},
                            {0}},
    .resources = (const host_resource *const[]){&network_resource, NULL},
};

const host_interface wasi_sockets_instance_network = {
    .name = "wasi:sockets/instance-network@0.2.0",
    .types = "use wasi:sockets/network@0.2.0.{network};",
    .funcs = (const host_func[]){{"instance-network", "func() -> network", instance_network}, {0}},
};
