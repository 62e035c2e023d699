/* Host names to addresses, on the loop: no thread, nothing blocks. What the system's resolver would
 * ask (/etc/hosts, the name servers of /etc/resolv.conf) is asked by c-ares.
 *
 * Invariants
 * - One look-up of a name at a time, however many ask for it; answers are kept as long as their
 *   time to live says, at most NAMES_KEPT_NS.
 * - At most NAMES_MAX names are known or asked for.
 * - Callbacks come from the loop only, never from inside names_look_up; after names_cancel none.
 */
#pragma once

#include "base/str.h"
#include "loop/loop.h"

#include <netinet/in.h>

typedef union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} net_address;

typedef enum {
    NAMES_FOUND,
    NAMES_NONE,      /* there is no such name, or it has no address */
    NAMES_TIMEOUT,   /* no name server answered in time */
    NAMES_TEMPORARY, /* name servers failed, or too many names are asked for: may work later */
    NAMES_FAILED,    /* they refuse, or answer nonsense */
    NAMES_NO_MEMORY,
} names_status;

typedef struct names_query names_query;

/* Addresses in the order they should be tried (RFC 6724), with port 0; borrowed for the call. */
typedef void names_answered(void *user, names_status status, const net_address *at, size_t n);

/* name: at most 253 bytes, no NUL. f is called once; the query is gone by then. NULL: no memory, or
 * NAMES_MAX others are asked for already. May be called on a fiber. */
names_query *names_look_up(loop *l, str name, names_answered *f, void *user);
/* NULL is allowed. The look-up itself goes on for whoever asks next. */
void names_cancel(names_query *q);

/* Asks these instead of /etc/resolv.conf's: "192.0.2.1:53,[2001:db8::1]:53". Before the first
 * look-up; ERR_INVALID. */
bool names_servers(loop *l, str list, err *e);
/* Before loop_free; queries that are still open are answered NAMES_TEMPORARY first. */
void names_close(loop *l);
