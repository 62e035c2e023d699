/* Networks that are closed whatever allowed_outbound_hosts say: what keeps a tenant from the
 * machine's own network when it controls the names it connects to.
 *
 * "private" is the complement of IANA's globally reachable address space (registries of special
 * purpose addresses for IPv4 and IPv6, RFC 6890 and its updates), with multicast and reserved
 * space. An IPv6 address that carries an IPv4 address is judged by both. */
#include "app/outbound.h"

static const char *const private_nets[] = {
    "0.0.0.0/8",       /* this network */
    "10.0.0.0/8",      /* private use */
    "100.64.0.0/10",   /* shared address space */
    "127.0.0.0/8",     /* loopback */
    "169.254.0.0/16",  /* link local, cloud metadata */
    "172.16.0.0/12",   /* private use */
    "192.0.0.0/24",    /* protocol assignments */
    "192.0.2.0/24",    /* documentation */
    "192.88.99.0/24",  /* 6to4 relays */
    "192.168.0.0/16",  /* private use */
    "198.18.0.0/15",   /* benchmarks */
    "198.51.100.0/24", /* documentation */
    "203.0.113.0/24",  /* documentation */
    "224.0.0.0/4",     /* multicast */
    "240.0.0.0/4",     /* reserved, broadcast */
    "::/128",          /* unspecified */
    "::1/128",         /* loopback */
    "100::/64",        /* discard */
    "2001:2::/48",     /* benchmarks */
    "2001:10::/28",    /* ORCHID */
    "2001:db8::/32",   /* documentation */
    "3fff::/20",       /* documentation */
    "5f00::/16",       /* segment routing */
    "fc00::/7",        /* unique local */
    "fe80::/10",       /* link local */
    "fec0::/10",       /* site local, deprecated */
    "ff00::/8",        /* multicast */
};

bool outbound_net_has(const outbound_net *net, const outbound_addr *addr)
{
    if (net->addr.bits != addr->bits)
        return false;
    for (unsigned i = 0, bits = net->bits; bits; i++) {
        unsigned keep = bits >= 8 ? 8 : bits;
        uint8_t mask = (uint8_t)(0xff00 >> keep);
        if ((addr->at[i] & mask) != (net->addr.at[i] & mask))
            return false;
        bits -= keep;
    }
    return true;
}

static bool is_private(const outbound_addr *addr)
{
    for (size_t i = 0; i < sizeof private_nets / sizeof *private_nets; i++) {
        outbound_net net;
        if (outbound_net_parse(str_from(private_nets[i]), &net) && outbound_net_has(&net, addr))
            return true;
    }
    return false;
}

/* The IPv4 address in the last 32 bits of ::/96, ::ffff:0:0/96 and 64:ff9b::/96, or in bits 16 to
 * 47 of 2002::/16. */
static bool embedded(const outbound_addr *addr, outbound_addr *ret)
{
    static const char *const forms[] = {"::/96", "::ffff:0:0/96", "64:ff9b::/96"};
    outbound_net net;
    if (addr->bits != 128)
        return false;
    *ret = (outbound_addr){.bits = 32};
    for (size_t i = 0; i < 3; i++)
        if (outbound_net_parse(str_from(forms[i]), &net) && outbound_net_has(&net, addr)) {
            memcpy(ret->at, addr->at + 12, 4);
            return true;
        }
    memcpy(ret->at, addr->at + 2, 4);
    return addr->at[0] == 0x20 && addr->at[1] == 0x02;
}

bool outbound_is_blocked(const outbound_blocks *blocks, const outbound_addr *addr)
{
    outbound_addr inner;
    if (blocks->has_private && is_private(addr))
        return true;
    for (size_t i = 0; i < blocks->n; i++)
        if (outbound_net_has(&blocks->at[i], addr))
            return true;
    return embedded(addr, &inner) && (blocks->n || blocks->has_private) &&
           outbound_is_blocked(blocks, &inner);
}
