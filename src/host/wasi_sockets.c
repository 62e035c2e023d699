/* wasi:sockets@0.2: so far the types, so that guests link; making a socket or looking up a name is
 * answered with access-denied, and no socket exists that the other functions could be called on. */
#include "host/streams.h"

enum { ACCESS_DENIED = 1 };

static const host_resource network_resource = {"network", NULL};
static const host_resource resolve_address_stream_resource = {"resolve-address-stream", NULL};
static const host_resource tcp_socket_resource = {"tcp-socket", NULL};
static const host_resource udp_socket_resource = {"udp-socket", NULL};
static const host_resource incoming_datagram_stream_resource = {"incoming-datagram-stream", NULL};
static const host_resource outgoing_datagram_stream_resource = {"outgoing-datagram-stream", NULL};

static host_status instance_network(host_call *c)
{
    return return_handle(c, object_new(c->g, &network_resource, sizeof(object), NULL));
}

static host_status denied(host_call *c)
{
    place r;
    if (!result_place(c, &r))
        return HOST_TRAP;
    put_case(c, put_case(c, r, 1), ACCESS_DENIED);
    return HOST_DONE;
}

static host_status resolve_addresses(host_call *c)
{
    object *network;
    str name;
    if (!ARG_BORROW(c, 0, network_resource, &network) || !arg_string(c, 1, &name))
        return HOST_TRAP;
    return denied(c);
}

/* Methods of sockets: there is no socket, so the handle is wrong. */
static host_status tcp_method(host_call *c)
{
    object *o;
    return ARG_BORROW(c, 0, tcp_socket_resource, &o) ? denied(c) : HOST_TRAP;
}
static host_status udp_method(host_call *c)
{
    object *o;
    return ARG_BORROW(c, 0, udp_socket_resource, &o) ? denied(c) : HOST_TRAP;
}
static host_status in_method(host_call *c)
{
    object *o;
    return ARG_BORROW(c, 0, incoming_datagram_stream_resource, &o) ? denied(c) : HOST_TRAP;
}
static host_status out_method(host_call *c)
{
    object *o;
    return ARG_BORROW(c, 0, outgoing_datagram_stream_resource, &o) ? denied(c) : HOST_TRAP;
}
static host_status resolve_method(host_call *c)
{
    object *o;
    return ARG_BORROW(c, 0, resolve_address_stream_resource, &o) ? denied(c) : HOST_TRAP;
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
    .funcs = (const host_func[]){{"network-error-code",
                                  "func(err: borrow<error>) -> option<error-code>",
                                  network_error_code},
                                 {0}},
    .resources = (const host_resource *const[]){&network_resource, NULL},
};

const host_interface wasi_sockets_instance_network = {
    .name = "wasi:sockets/instance-network@0.2.0",
    .types = "use wasi:sockets/network@0.2.0.{network};",
    .funcs = (const host_func[]){{"instance-network", "func() -> network", instance_network}, {0}},
};

#define SELF "func(self: borrow<tcp-socket>"
#define ADDRESS "ip-socket-address"
#define DONE ") -> result<_, error-code>"

static const host_func tcp_funcs[] = {
    {"[method]tcp-socket.start-bind",
     SELF ", network: borrow<network>, local-address: " ADDRESS DONE, tcp_method},
    {"[method]tcp-socket.finish-bind", SELF DONE, tcp_method},
    {"[method]tcp-socket.start-connect",
     SELF ", network: borrow<network>, remote-address: " ADDRESS DONE, tcp_method},
    {"[method]tcp-socket.finish-connect",
     SELF ") -> result<tuple<input-stream, output-stream>, error-code>", tcp_method},
    {"[method]tcp-socket.start-listen", SELF DONE, tcp_method},
    {"[method]tcp-socket.finish-listen", SELF DONE, tcp_method},
    {"[method]tcp-socket.accept",
     SELF ") -> result<tuple<tcp-socket, input-stream, output-stream>, error-code>", tcp_method},
    {"[method]tcp-socket.local-address", SELF ") -> result<" ADDRESS ", error-code>", tcp_method},
    {"[method]tcp-socket.remote-address", SELF ") -> result<" ADDRESS ", error-code>", tcp_method},
    {"[method]tcp-socket.is-listening", SELF ") -> bool", tcp_method},
    {"[method]tcp-socket.address-family", SELF ") -> ip-address-family", tcp_method},
    {"[method]tcp-socket.set-listen-backlog-size", SELF ", value: u64" DONE, tcp_method},
    {"[method]tcp-socket.keep-alive-enabled", SELF ") -> result<bool, error-code>", tcp_method},
    {"[method]tcp-socket.set-keep-alive-enabled", SELF ", value: bool" DONE, tcp_method},
    {"[method]tcp-socket.keep-alive-idle-time", SELF ") -> result<duration, error-code>",
     tcp_method},
    {"[method]tcp-socket.set-keep-alive-idle-time", SELF ", value: duration" DONE, tcp_method},
    {"[method]tcp-socket.keep-alive-interval", SELF ") -> result<duration, error-code>",
     tcp_method},
    {"[method]tcp-socket.set-keep-alive-interval", SELF ", value: duration" DONE, tcp_method},
    {"[method]tcp-socket.keep-alive-count", SELF ") -> result<u32, error-code>", tcp_method},
    {"[method]tcp-socket.set-keep-alive-count", SELF ", value: u32" DONE, tcp_method},
    {"[method]tcp-socket.hop-limit", SELF ") -> result<u8, error-code>", tcp_method},
    {"[method]tcp-socket.set-hop-limit", SELF ", value: u8" DONE, tcp_method},
    {"[method]tcp-socket.receive-buffer-size", SELF ") -> result<u64, error-code>", tcp_method},
    {"[method]tcp-socket.set-receive-buffer-size", SELF ", value: u64" DONE, tcp_method},
    {"[method]tcp-socket.send-buffer-size", SELF ") -> result<u64, error-code>", tcp_method},
    {"[method]tcp-socket.set-send-buffer-size", SELF ", value: u64" DONE, tcp_method},
    {"[method]tcp-socket.subscribe", SELF ") -> pollable", tcp_method},
    {"[method]tcp-socket.shutdown", SELF ", shutdown-type: shutdown-type" DONE, tcp_method},
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
                                  denied},
                                 {0}},
};

#undef SELF
#define SELF "func(self: borrow<udp-socket>"

static const host_func udp_funcs[] = {
    {"[method]udp-socket.start-bind",
     SELF ", network: borrow<network>, local-address: " ADDRESS DONE, udp_method},
    {"[method]udp-socket.finish-bind", SELF DONE, udp_method},
    {"[method]udp-socket.stream",
     SELF ", remote-address: option<" ADDRESS ">) -> "
          "result<tuple<incoming-datagram-stream, outgoing-datagram-stream>, error-code>",
     udp_method},
    {"[method]udp-socket.local-address", SELF ") -> result<" ADDRESS ", error-code>", udp_method},
    {"[method]udp-socket.remote-address", SELF ") -> result<" ADDRESS ", error-code>", udp_method},
    {"[method]udp-socket.address-family", SELF ") -> ip-address-family", udp_method},
    {"[method]udp-socket.unicast-hop-limit", SELF ") -> result<u8, error-code>", udp_method},
    {"[method]udp-socket.set-unicast-hop-limit", SELF ", value: u8" DONE, udp_method},
    {"[method]udp-socket.receive-buffer-size", SELF ") -> result<u64, error-code>", udp_method},
    {"[method]udp-socket.set-receive-buffer-size", SELF ", value: u64" DONE, udp_method},
    {"[method]udp-socket.send-buffer-size", SELF ") -> result<u64, error-code>", udp_method},
    {"[method]udp-socket.set-send-buffer-size", SELF ", value: u64" DONE, udp_method},
    {"[method]udp-socket.subscribe", SELF ") -> pollable", udp_method},
    {"[method]incoming-datagram-stream.receive",
     "func(self: borrow<incoming-datagram-stream>, max-results: u64) -> "
     "result<list<incoming-datagram>, error-code>",
     in_method},
    {"[method]incoming-datagram-stream.subscribe",
     "func(self: borrow<incoming-datagram-stream>) -> pollable", in_method},
    {"[method]outgoing-datagram-stream.check-send",
     "func(self: borrow<outgoing-datagram-stream>) -> result<u64, error-code>", out_method},
    {"[method]outgoing-datagram-stream.send",
     "func(self: borrow<outgoing-datagram-stream>, datagrams: list<outgoing-datagram>) -> "
     "result<u64, error-code>",
     out_method},
    {"[method]outgoing-datagram-stream.subscribe",
     "func(self: borrow<outgoing-datagram-stream>) -> pollable", out_method},
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
    .resources = (const host_resource *const[]){&udp_socket_resource,
                                                &incoming_datagram_stream_resource,
                                                &outgoing_datagram_stream_resource, NULL},
};

const host_interface wasi_sockets_udp_create = {
    .name = "wasi:sockets/udp-create-socket@0.2.0",
    .types = "use wasi:sockets/network@0.2.0.{network, error-code, ip-address-family};\n"
             "use wasi:sockets/udp@0.2.0.{udp-socket};",
    .funcs = (const host_func[]){{"create-udp-socket",
                                  "func(address-family: ip-address-family) -> "
                                  "result<udp-socket, error-code>",
                                  denied},
                                 {0}},
};

static const host_func lookup_funcs[] = {
    {"resolve-addresses",
     "func(network: borrow<network>, name: string) -> result<resolve-address-stream, error-code>",
     resolve_addresses},
    {"[method]resolve-address-stream.resolve-next-address",
     "func(self: borrow<resolve-address-stream>) -> result<option<ip-address>, error-code>",
     resolve_method},
    {"[method]resolve-address-stream.subscribe",
     "func(self: borrow<resolve-address-stream>) -> pollable", resolve_method},
    {0},
};

const host_interface wasi_sockets_ip_name_lookup = {
    .name = "wasi:sockets/ip-name-lookup@0.2.0",
    .types = "use wasi:io/poll@0.2.0.{pollable};\n"
             "use wasi:sockets/network@0.2.0.{network, error-code, ip-address};\n"
             "resource resolve-address-stream;",
    .funcs = lookup_funcs,
    .resources = (const host_resource *const[]){&resolve_address_stream_resource, NULL},
};
