/* wasi:sockets/ip-name-lookup, by c-ares on the event loop: no thread, nothing blocks.
 *
 * A name is looked up only if the component may reach something by that name; addresses written as
 * text need no look-up and are answered at once. One c-ares channel serves the process. A lookup
 * outlives its guest: c-ares cannot cancel one alone, so a guest that goes leaves it behind with
 * its `g` cleared, and the answer frees it.
 *
 * c-ares does not call back inside ares_getaddrinfo of a guest's fiber: the query is started from
 * the loop by a timer. */
#include "host/sockets.h"

#include <ares.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>

typedef struct lookup lookup;
struct lookup {
    guest *g;     /* NULL: it is gone */
    lookup *next; /* to be started */
    char *name;
    bool done;
    net_code code; /* of the failure */
    net_address *at;
    uint32_t n;
};

typedef struct {
    object o;
    lookup *l;
    uint32_t given; /* addresses so far */
} resolve_stream;

enum { WATCHES_MAX = 64, ADDRESSES_MAX = 64 };

/* One a process. */
static struct {
    bool ready;
    struct loop *l;
    ares_channel channel;
    loop_timer timer, start;
    lookup *waiting;
    unsigned running;
    struct {
        loop_watch *w;
        ares_socket_t fd;
    } watches[WATCHES_MAX];
} names;

static void lookup_free(lookup *l)
{
    free(l->name);
    free(l->at);
    free(l);
}

/* --- c-ares on the loop -------------------------------------------------------------------- */

static void timer_set(void);

static void on_timer(void *user)
{
    ares_process_fd(names.channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    timer_set();
}

static void timer_set(void)
{
    struct timeval room, *t;
    if (names.running == 0) {
        loop_timer_stop(&names.timer);
        return;
    }
    t = ares_timeout(names.channel, NULL, &room);
    ns after = t ? (ns)t->tv_sec * NS_PER_S + (ns)t->tv_usec * NS_PER_US : NS_PER_S;
    loop_timer_start(names.l, &names.timer, after, on_timer, NULL);
}

static void on_watch(void *user, unsigned events)
{
    ares_socket_t fd = (ares_socket_t)(intptr_t)user;
    ares_process_fd(names.channel, events & LOOP_READABLE ? fd : ARES_SOCKET_BAD,
                    events & LOOP_WRITABLE ? fd : ARES_SOCKET_BAD);
    timer_set();
}

static void on_state(void *user, ares_socket_t fd, int readable, int writable)
{
    err e;
    size_t i = 0, unused = WATCHES_MAX;
    for (; i < WATCHES_MAX && !(names.watches[i].w && names.watches[i].fd == fd); i++)
        if (!names.watches[i].w && unused == WATCHES_MAX)
            unused = i;
    if (!readable && !writable) {
        if (i < WATCHES_MAX) {
            loop_watch_close(names.watches[i].w);
            names.watches[i].w = NULL;
        }
        return;
    }
    if (i == WATCHES_MAX) {
        i = unused;
        if (i == WATCHES_MAX ||
            !loop_watch_open(names.l, fd, on_watch, (void *)(intptr_t)fd, &names.watches[i].w, &e))
            return; /* c-ares asks again by its own timer */
        names.watches[i].fd = fd;
    }
    loop_watch_set(names.watches[i].w,
                   (readable ? LOOP_READABLE : 0u) | (writable ? LOOP_WRITABLE : 0u));
}

static bool channel_open(struct loop *l)
{
    struct ares_options o = {.timeout = 2000, .tries = 3, .sock_state_cb = on_state};
    if (names.ready)
        return true;
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
        return false;
    if (ares_init_options(&names.channel, &o,
                          ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB) !=
        ARES_SUCCESS) {
        ares_library_cleanup();
        return false;
    }
    names.l = l;
    names.ready = true;
    return true;
}

void names_close(struct loop *l)
{
    if (!names.ready || names.l != l)
        return;
    while (names.waiting) {
        lookup *w = names.waiting;
        names.waiting = w->next;
        lookup_free(w);
    }
    ares_destroy(names.channel);
    ares_library_cleanup();
    loop_timer_stop(&names.timer);
    loop_timer_stop(&names.start);
    names.ready = false;
}

/* --- one lookup ---------------------------------------------------------------------------- */

static net_code code_of(int status)
{
    switch (status) {
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
    case ARES_EBADNAME:
        return NET_NAME_UNRESOLVABLE;
    case ARES_ENOMEM:
        return NET_OUT_OF_MEMORY;
    case ARES_ETIMEOUT:
    case ARES_ECONNREFUSED:
    case ARES_ESERVFAIL:
        return NET_TEMPORARY_RESOLVER_FAILURE;
    default:
        return NET_PERMANENT_RESOLVER_FAILURE;
    }
}

static void on_answer(void *user, int status, int timeouts, struct ares_addrinfo *info)
{
    lookup *l = user;
    names.running--;
    l->done = true;
    l->code = status == ARES_SUCCESS ? NET_OK : code_of(status);
    l->at = info ? calloc(ADDRESSES_MAX, sizeof *l->at) : NULL;
    for (struct ares_addrinfo_node *n = info ? info->nodes : NULL; n && l->at; n = n->ai_next)
        if (l->n < ADDRESSES_MAX && n->ai_addrlen <= sizeof *l->at)
            memcpy(&l->at[l->n++], n->ai_addr, n->ai_addrlen);
    if (info)
        ares_freeaddrinfo(info);
    if (l->g)
        guest_woken(l->g);
    else
        lookup_free(l);
}

static void on_start(void *user)
{
    struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    while (names.waiting) {
        lookup *l = names.waiting;
        names.waiting = l->next;
        if (!l->g) {
            lookup_free(l);
            continue;
        }
        names.running++;
        ares_getaddrinfo(names.channel, l->name, NULL, &hints, on_answer, l);
    }
    timer_set();
}

static bool lookup_begin(guest *g, lookup *l)
{
    if (!channel_open(g->l) || !loop_timer_start(g->l, &names.start, 0, on_start, NULL))
        return false;
    l->next = names.waiting;
    names.waiting = l;
    return true;
}

/* --- the interface ------------------------------------------------------------------------- */

static bool is_waiting(const lookup *l)
{
    for (const lookup *w = names.waiting; w; w = w->next)
        if (w == l)
            return true;
    return false;
}

static void resolve_drop(guest *g, object *o)
{
    lookup *l = ((resolve_stream *)o)->l;
    if (l->done && !is_waiting(l))
        lookup_free(l);
    else
        l->g = NULL;
}

const host_resource resolve_address_stream_resource = {"resolve-address-stream", resolve_drop};

static bool is_name(str s)
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
    const host_component *h = g->component;
    for (size_t i = 0; h->outbound_allowed && i < sizeof ways / sizeof *ways; i++)
        if (h->outbound_allowed(h->outbound_user, str_from(ways[i].scheme), name, ways[i].port))
            return true;
    return false;
}

static lookup *lookup_new(guest *g, str name)
{
    lookup *l = calloc(1, sizeof *l);
    if (!l || !(l->name = strndup(name.p, name.n))) {
        free(l);
        return NULL;
    }
    l->g = g;
    l->code = NET_OK;
    return l;
}

static host_status resolve_addresses(host_call *c)
{
    object *network;
    str name;
    net_address a;
    char text[64];
    place r;
    if (!ARG_BORROW(c, 0, network_resource, &network) || !arg_string(c, 1, &name) ||
        !result_place(c, &r))
        return HOST_TRAP;
    memcpy(text, name.p, name.n < sizeof text ? name.n : 0);
    text[name.n < sizeof text ? name.n : 0] = 0;
    bool is_literal = name.n < sizeof text && strlen(text) == name.n && literal(text, &a);
    if (!is_literal && !is_name(name))
        return return_net(c, r, NET_INVALID_ARGUMENT);
    if (!is_literal && !name_allowed(c->g, name))
        return return_net(c, r, NET_ACCESS_DENIED);
    lookup *l = lookup_new(c->g, name);
    resolve_stream *s =
        l ? OBJECT_NEW(c->g, resolve_stream, resolve_address_stream_resource, NULL) : NULL;
    if (!s) {
        if (l)
            lookup_free(l);
        return call_no_memory(c);
    }
    s->l = l;
    l->done = true;
    if (is_literal && (l->at = calloc(1, sizeof *l->at))) {
        l->at[0] = a;
        l->n = 1;
    } else if (!is_literal && lookup_begin(c->g, l)) {
        l->done = false;
    } else {
        l->code = NET_OUT_OF_MEMORY;
    }
    return put_handle(c, put_case(c, r, 0), &s->o) ? HOST_DONE : HOST_TRAP;
}

static host_status resolve_next_address(host_call *c)
{
    resolve_stream *s;
    place r;
    if (!ARG_BORROW(c, 0, resolve_address_stream_resource, &s) || !result_place(c, &r))
        return HOST_TRAP;
    const lookup *l = s->l;
    if (!l->done)
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
    return ((resolve_stream *)p->o.parent)->l->done;
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
     resolve_addresses},
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
