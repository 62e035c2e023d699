/* wasi:sockets/ip-name-lookup, by loop/names.h: no thread, nothing blocks.
 *
 * A name is looked up only if the component may reach something by that name; addresses written as
 * text need no look-up and are answered at once. A guest has at most LOOKUPS_MAX open: a stream
 * that is dropped before its answer counts until then, or a guest could ask for any number. */
#include "host/reach.h"
#include "host/sockets.h"

#include <arpa/inet.h>
#include <stdlib.h>

enum { LOOKUPS_MAX = 64 };

struct lookup {
    guest *g;
    lookup *next, *prev; /* of the guest's that have no answer yet */
    names_query *query;  /* NULL: answered */
    bool dropped;        /* the stream is gone */
    net_code code;       /* of the failure */
    net_address *at;
    size_t n;
};

typedef struct {
    object o;
    lookup *l;
    size_t given; /* addresses so far */
} resolve_stream;

/* --- one lookup ---------------------------------------------------------------------------- */

static void lookup_free(lookup *l)
{
    free(l->at);
    free(l);
}

static void lookup_unlink(lookup *l)
{
    if (l->prev)
        l->prev->next = l->next;
    else
        l->g->lookups = l->next;
    if (l->next)
        l->next->prev = l->prev;
    l->g->lookups_count--;
    l->query = NULL;
}

static net_code code_of(names_status s)
{
    switch (s) {
    case NAMES_FOUND:
        return NET_OK;
    case NAMES_NONE:
        return NET_NAME_UNRESOLVABLE;
    case NAMES_TIMEOUT:
    case NAMES_TEMPORARY:
        return NET_TEMPORARY_RESOLVER_FAILURE;
    case NAMES_FAILED:
        return NET_PERMANENT_RESOLVER_FAILURE;
    case NAMES_NO_MEMORY:
        break;
    }
    return NET_OUT_OF_MEMORY;
}

/* Blocked networks are not told: what cannot be reached has no address. */
static void addresses_take(lookup *l, const net_address *at, size_t n)
{
    l->at = calloc(n ? n : 1, sizeof *l->at);
    for (size_t i = 0; i < n && l->at; i++)
        if (!net_blocked(l->g->component, &at[i]))
            l->at[l->n++] = at[i];
    if (!l->at)
        l->code = NET_OUT_OF_MEMORY;
    else if (l->code == NET_OK && l->n == 0)
        l->code = NET_NAME_UNRESOLVABLE;
}

static void on_answer(void *user, names_status status, const net_address *at, size_t n)
{
    lookup *l = user;
    lookup_unlink(l);
    if (l->dropped) {
        lookup_free(l);
        return;
    }
    l->code = code_of(status);
    addresses_take(l, at, n);
    guest_woken(l->g);
}

static lookup *lookup_new(guest *g)
{
    lookup *l = calloc(1, sizeof *l);
    if (l)
        *l = (lookup){.g = g, .code = NET_OK};
    return l;
}

static bool lookup_begin(lookup *l, str name)
{
    guest *g = l->g;
    l->query = names_look_up(g->l, name, on_answer, l);
    if (!l->query)
        return false;
    l->next = g->lookups;
    if (l->next)
        l->next->prev = l;
    g->lookups = l;
    g->lookups_count++;
    return true;
}

void net_lookups_free(guest *g)
{
    while (g->lookups) {
        lookup *l = g->lookups;
        names_cancel(l->query);
        lookup_unlink(l);
        lookup_free(l);
    }
}

/* --- the interface ------------------------------------------------------------------------- */

static void resolve_drop(guest *g, object *o)
{
    lookup *l = ((resolve_stream *)o)->l;
    if (l->query)
        l->dropped = true;
    else
        lookup_free(l);
}

const host_resource resolve_address_stream_resource = {"resolve-address-stream", resolve_drop};

bool net_name_is(str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char ch = s.p[i];
        bool ok = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') ||
                  (ch >= '0' && ch <= '9') || ch == '-' || ch == '.' || ch == '_';
        if (!ok)
            return false;
    }
    return s.n > 0 && s.n <= 253;
}

/* An address as text: one answer at once. */
static bool literal(const char *text, net_address *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->any.sa_family = AF_INET;
    if (inet_pton(AF_INET, text, &ret->v4.sin_addr) == 1)
        return true;
    ret->any.sa_family = AF_INET6;
    return inet_pton(AF_INET6, text, &ret->v6.sin6_addr) == 1;
}

/* May anything be reached by that name? Ports are the grammar's business: the usual are asked. */
static bool name_allowed(const guest *g, str name)
{
    static const struct {
        const char *scheme;
        uint16_t port;
    } ways[] = {{"tcp", 0}, {"udp", 0}, {"tcp", 80}, {"tcp", 443}, {"http", 80}, {"https", 443}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        if (reach_allowed(g, str_from(ways[i].scheme), name, ways[i].port))
            return true;
    return false;
}

static host_status resolve_addresses(host_call *c)
{
    object *network;
    str name;
    net_address a;
    char text[64];
    place r;
    host_status known = reach_known(c);
    if (known != HOST_DONE)
        return known;
    if (!ARG_BORROW(c, 0, network_resource, &network) || !arg_string(c, 1, &name) ||
        !result_place(c, &r))
        return HOST_TRAP;
    memcpy(text, name.p, name.n < sizeof text ? name.n : 0);
    text[name.n < sizeof text ? name.n : 0] = 0;
    bool is_literal = name.n < sizeof text && strlen(text) == name.n && literal(text, &a);
    if (!is_literal && !net_name_is(name))
        return return_net(c, r, NET_INVALID_ARGUMENT);
    if (!is_literal && !name_allowed(c->g, name))
        return return_net(c, r, NET_ACCESS_DENIED);
    if (!is_literal && c->g->lookups_count >= LOOKUPS_MAX)
        return return_net(c, r, NET_TEMPORARY_RESOLVER_FAILURE);
    lookup *l = lookup_new(c->g);
    resolve_stream *s =
        l ? OBJECT_NEW(c->g, resolve_stream, resolve_address_stream_resource, NULL) : NULL;
    if (!s) {
        free(l);
        return call_no_memory(c);
    }
    s->l = l;
    if (is_literal)
        addresses_take(l, &a, 1);
    else if (!lookup_begin(l, name))
        l->code = NET_TEMPORARY_RESOLVER_FAILURE;
    return put_handle(c, put_case(c, r, 0), &s->o) ? HOST_DONE : HOST_TRAP;
}

static host_status resolve_next_address(host_call *c)
{
    resolve_stream *s;
    place r;
    if (!ARG_BORROW(c, 0, resolve_address_stream_resource, &s) || !result_place(c, &r))
        return HOST_TRAP;
    const lookup *l = s->l;
    if (l->query)
        return return_net(c, r, NET_WOULD_BLOCK);
    if (l->code != NET_OK)
        return return_net(c, r, l->code);
    place option = put_case(c, r, 0);
    if (s->given == l->n) {
        put_case(c, option, 0);
        return HOST_DONE;
    }
    const net_address *a = &l->at[s->given++];
    bool v6 = a->any.sa_family == AF_INET6;
    place p = put_case(c, put_case(c, option, 1), v6);
    for (uint32_t k = 0; k < (v6 ? 8u : 4u); k++)
        put_int(c, place_field(p, k),
                v6 ? ntohs(a->v6.sin6_addr.s6_addr16[k]) : ((const uint8_t *)&a->v4.sin_addr)[k]);
    return HOST_DONE;
}

static bool resolve_ready(guest *g, pollable *p, bool want)
{
    return !((resolve_stream *)p->o.parent)->l->query;
}

static host_status resolve_subscribe(host_call *c)
{
    object *s;
    if (!ARG_BORROW(c, 0, resolve_address_stream_resource, &s))
        return HOST_TRAP;
    return return_pollable(c, resolve_ready, s);
}

static const host_func lookup_funcs[] = {
    {"resolve-addresses",
     "func(network: borrow<network>, name: string) -> result<resolve-address-stream, error-code>",
     resolve_addresses, true},
    {"[method]resolve-address-stream.resolve-next-address",
     "func(self: borrow<resolve-address-stream>) -> result<option<ip-address>, error-code>",
     resolve_next_address},
    {"[method]resolve-address-stream.subscribe",
     "func(self: borrow<resolve-address-stream>) -> pollable", resolve_subscribe},
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
