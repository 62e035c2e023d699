/* allowed_outbound_hosts: where a component may connect to.
 *
 *     scheme "://" host [":" port] ["/"]
 *     scheme = "*" | letters
 *     host   = "*" | "*." domain | "self" | "self.alt" | name | IPv4 | "[" IPv6 "]" | IPv4 or
 *              IPv6 "/" bits
 *     port   = "*" | number | number ".." number (the second not included) | nothing: the
 *              scheme's own
 *
 * Names are compared without regard to case. "*." matches any depth below, never the domain
 * itself. Nothing is resolved: a name never matches a network, nor an address a name. */
#pragma once

#include "base/arena.h"

typedef enum {
    OUTBOUND_ANY,
    OUTBOUND_SUBDOMAINS, /* name is ".example.com" */
    OUTBOUND_SELF,
    OUTBOUND_NAME,
    OUTBOUND_NET, /* an address is a network of 32 or 128 bits */
} outbound_host_kind;

typedef struct {
    uint8_t at[16]; /* network order; an IPv4 address uses the first four bytes */
    uint8_t bits;   /* 32 or 128 */
} outbound_addr;

typedef struct {
    outbound_addr addr; /* bits beyond the network's are 0 */
    uint8_t bits;
} outbound_net;

typedef struct {
    str scheme; /* empty: any */
    outbound_host_kind kind;
    str name; /* lower case */
    outbound_net net;
    uint32_t port_first, port_end; /* [first, end); any: 0, 65536 */
    str text;                      /* as written */
} outbound_rule;

typedef struct {
    outbound_rule *at;
    size_t n;
} outbound_rules;

/* One entry without templates left in it. */
bool outbound_rule_parse(arena *a, str text, outbound_rule *ret, err *e);
/* A whole list, after expansion: entries that expanded to nothing ("", "http://", "https://") are
 * skipped if was_template[i] (NULL: none was). */
bool outbound_rules_parse(arena *a, const str *texts, const bool *was_template, size_t n,
                          outbound_rules *ret, err *e);

/* A connection about to be made. host is as in a URL: a name, an IPv4 address, or an IPv6 address
 * with or without brackets. port 0: the scheme's own. */
bool outbound_allows(const outbound_rules *rules, str scheme, str host, uint16_t port);
/* Requests to the app itself: a relative URI, or the authority "self.alt". */
bool outbound_allows_self(const outbound_rules *rules, str scheme);
/* 80 for http and so on; 0: unknown. */
uint16_t outbound_default_port(str scheme);
/* "<id>.spin.internal": the id, else p == NULL. */
str outbound_chained_component(str host);
/* True if the rule is about <id>.spin.internal or *.spin.internal. */
bool outbound_rule_is_chaining(const outbound_rule *rule);
/* IPv4 dotted quad, or IPv6 with or without brackets. */
bool outbound_addr_parse(str text, outbound_addr *ret);

/* ---- networks that no rule opens ([outbound_networking] block_networks) ---- */

typedef struct {
    outbound_net *at;
    size_t n;
    bool has_private; /* "private": everything that is not globally routable */
} outbound_blocks;

/* An address, or a network "address/bits". */
bool outbound_net_parse(str text, outbound_net *ret);
bool outbound_net_has(const outbound_net *net, const outbound_addr *addr);
/* To be asked for the address of every connection about to be made, after names are resolved: the
 * answer also holds for the IPv4 address inside an IPv6 one (::ffff:10.0.0.1, ::10.0.0.1,
 * 64:ff9b::10.0.0.1). */
bool outbound_is_blocked(const outbound_blocks *blocks, const outbound_addr *addr);

/* What to print in the terminal when a component was refused. */
str outbound_denial(arena *a, str component, str scheme, str host, uint16_t port);
