/* Inside host/: sockets of a guest (wasi:sockets).
 *
 * Every descriptor is non-blocking; system calls are made at once, on the fiber. Who must wait
 * watches the descriptor in the loop. What may be reached is asked of the component's
 * allowed_outbound_hosts with scheme tcp or udp and the address as host, as Spin does; listening is
 * never allowed. */
#pragma once

#include "host/streams.h"
#include "loop/names.h"

#include <sys/socket.h>

/* wasi:sockets/network error-code */
typedef enum {
    NET_UNKNOWN,
    NET_ACCESS_DENIED,
    NET_NOT_SUPPORTED,
    NET_INVALID_ARGUMENT,
    NET_OUT_OF_MEMORY,
    NET_TIMEOUT,
    NET_CONCURRENCY_CONFLICT,
    NET_NOT_IN_PROGRESS,
    NET_WOULD_BLOCK,
    NET_INVALID_STATE,
    NET_NEW_SOCKET_LIMIT,
    NET_ADDRESS_NOT_BINDABLE,
    NET_ADDRESS_IN_USE,
    NET_REMOTE_UNREACHABLE,
    NET_CONNECTION_REFUSED,
    NET_CONNECTION_RESET,
    NET_CONNECTION_ABORTED,
    NET_DATAGRAM_TOO_LARGE,
    NET_NAME_UNRESOLVABLE,
    NET_TEMPORARY_RESOLVER_FAILURE,
    NET_PERMANENT_RESOLVER_FAILURE,
    NET_OK, /* no error-code */
} net_code;

net_code net_code_of(int error_number);

extern const host_resource network_resource, tcp_socket_resource, udp_socket_resource,
    incoming_datagram_stream_resource, outgoing_datagram_stream_resource,
    resolve_address_stream_resource;

/* A descriptor, shared by a socket and its streams. */
typedef struct {
    unsigned refs;
    int fd;
    int family;
    guest *g;
    loop_watch *watch; /* NULL until somebody waits */
    unsigned wanted;   /* LOOP_READABLE, LOOP_WRITABLE */
} net_socket;

/* NULL with *ret_code. */
net_socket *net_socket_new(guest *g, int family, int kind, net_code *ret_code);
void net_socket_unref(guest *g, net_socket *s);
/* guest_woken is called when one of these is true of the descriptor. */
void net_socket_want(net_socket *s, unsigned events);
/* Is it, now? */
bool net_socket_is(const net_socket *s, unsigned events);

/* ip-socket-address in slots from i on. */
bool arg_address(host_call *c, unsigned i, net_address *ret);
void put_address(host_call *c, place p, const net_address *a);
socklen_t net_address_bytes(const net_address *a);
uint16_t net_address_port(const net_address *a);
bool net_address_is_unspecified(const net_address *a);
bool net_address_equal(const net_address *a, const net_address *b);
/* May the component reach (or bind) it? */
bool net_allowed(const guest *g, const char *scheme, const net_address *a);

/* Is it in a network that no rule opens ([outbound_networking] block_networks)? */
bool net_blocked(const host_component *h, const net_address *a);

/* result<_, error-code> */
host_status return_net(host_call *c, place r, net_code code);
host_status return_net_errno(host_call *c, place r, int result);

/* Options that TCP and UDP share: self in slot 0, a value in slot 1. */
host_status net_get_hop_limit(host_call *c, net_socket *s);
host_status net_set_hop_limit(host_call *c, net_socket *s);
host_status net_get_buffer(host_call *c, net_socket *s, int option);
host_status net_set_buffer(host_call *c, net_socket *s, int option);
host_status net_local_address(host_call *c, net_socket *s);
host_status net_remote_address(host_call *c, net_socket *s);

/* A host name: letters, digits, "-", "." and "_", at most 253. */
bool net_name_is(str s);
