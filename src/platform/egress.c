/* See egress.h. Interfaces are read before the worker is confined, which later may ask the kernel
 * for none. */
#include "platform/egress.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>

static bool own_add(arena *a, outbound_blocks *b, const struct sockaddr *at)
{
    bool v6 = at->sa_family == AF_INET6;
    outbound_net net = {.bits = v6 ? 128 : 32, .addr.bits = v6 ? 128 : 32};
    const void *from =
        v6 ? (const void *)&((const struct sockaddr_in6 *)(const void *)at)->sin6_addr
           : (const void *)&((const struct sockaddr_in *)(const void *)at)->sin_addr;
    memcpy(net.addr.at, from, v6 ? 16 : 4);
    outbound_net *grown = arena_grow(a, b->at, b->n, b->n + 1, sizeof net);
    if (!grown)
        return false;
    grown[b->n++] = net;
    b->at = grown;
    return true;
}

static bool own_addresses(arena *a, outbound_blocks *b, err *e)
{
    struct ifaddrs *all;
    bool ok = true;
    if (getifaddrs(&all) < 0)
        return err_set_errno(e, "the addresses of this machine");
    for (struct ifaddrs *i = all; ok && i; i = i->ifa_next)
        if (i->ifa_addr &&
            (i->ifa_addr->sa_family == AF_INET || i->ifa_addr->sa_family == AF_INET6))
            ok = own_add(a, b, i->ifa_addr);
    freeifaddrs(all);
    return ok || err_no_memory(e);
}

static bool allowed_add(arena *a, egress *x, str text, err *e)
{
    outbound_net *grown = arena_grow(a, x->open, x->open_count, x->open_count + 1, sizeof *grown);
    if (!grown)
        return err_no_memory(e);
    x->open = grown;
    if (!outbound_net_parse(text, &grown[x->open_count]))
        return err_set(e, ERR_INVALID,
                       "'%.*s' is no network that apps may reach; write it like 10.1.0.0/16",
                       STR(text));
    x->open_count++;
    return true;
}

static bool allowed_read(arena *a, egress *x, str allow, err *e)
{
    while (allow.n) {
        str text = str_cut(&allow, ',');
        while (text.n && text.p[0] == ' ')
            text = str_skip(text, 1);
        while (text.n && text.p[text.n - 1] == ' ')
            text.n--;
        if (text.n && !allowed_add(a, x, text, e))
            return false;
    }
    return true;
}

bool egress_open(arena *a, str allow, egress *ret, err *e)
{
    egress x = {.closed.has_private = true};
    if (!own_addresses(a, &x.closed, e) || !allowed_read(a, &x, allow, e))
        return false;
    *ret = x;
    return true;
}

bool egress_more(arena *a, const egress *base, str allow, egress *ret, err *e)
{
    egress x = *base; /* the base's array is in another arena, so growing it copies it */
    if (!allowed_read(a, &x, allow, e))
        return false;
    *ret = x;
    return true;
}

bool egress_is_blocked(const egress *x, const uint8_t *address, size_t n)
{
    outbound_addr at = {.bits = (uint8_t)(n * 8)};
    memcpy(at.at, address, n);
    for (size_t i = 0; i < x->open_count; i++)
        if (outbound_net_has(&x->open[i], &at))
            return false;
    return outbound_is_blocked(&x->closed, &at);
}
