/* See names.h. One c-ares channel serves the process. c-ares cannot cancel one look-up alone, so
 * what nobody waits for any more is left to end by itself; its answer is then there for the next.
 *
 *   query, query --> entry (one a name) --> ares_getaddrinfo --> answer to all queries
 *                                                            \-> kept in the entry for its TTL
 *
 * Look-ups are begun, and kept answers given, by a timer of 0: c-ares may need more stack than a
 * fiber has left, and callbacks must not come from inside names_look_up. */
#include "loop/names.h"

#include "base/limits.h"
#include "base/must.h"

#include <ares.h>
#include <netdb.h>
#include <stdlib.h>

enum { WATCHES_MAX = 64, ADDRESSES_MAX = 64 };
enum { TIMEOUT_MS = 2000, TRIES = 3 }; /* doubled each time: 14 s for one name server */

typedef struct entry entry;

struct names_query {
    names_query *next; /* of the same entry */
    entry *e;
    names_answered *f;
    void *user;
};

struct entry {
    entry *next;
    char *name;
    enum { ENTRY_NEW, ENTRY_ASKED, ENTRY_KNOWN } state;
    names_query *queries;
    ns known_until;
    names_status status;
    net_address *at;
    size_t n;
};

/* One a process. */
static struct {
    bool open;
    loop *l;
    ares_channel channel;
    loop_timer timer, start;
    entry *entries;
    unsigned count, running;
    struct {
        loop_watch *w;
        ares_socket_t fd;
    } watches[WATCHES_MAX];
} names;

/* --- entries --- */

static void entry_free(entry *e)
{
    must(!e->queries);
    for (entry **at = &names.entries; *at; at = &(*at)->next)
        if (*at == e) {
            *at = e->next;
            break;
        }
    names.count--;
    free(e->name);
    free(e->at);
    free(e);
}

/* A query is gone before it is answered: callbacks may look up, or cancel others. */
static void entry_answer(entry *e)
{
    while (e->queries) {
        names_query q = *e->queries;
        free(e->queries);
        e->queries = q.next;
        q.f(q.user, e->status, e->at, e->n);
    }
}

static void entries_expire(void)
{
    ns now = clock_mono();
    for (entry *e = names.entries, *next; e; e = next) {
        next = e->next;
        if (e->state == ENTRY_KNOWN && !e->queries && e->known_until <= now)
            entry_free(e);
    }
}

static entry *entry_find(str name)
{
    for (entry *e = names.entries; e; e = e->next)
        if (str_eq_nocase(str_from(e->name), name))
            return e;
    return NULL;
}

static entry *entry_new(str name)
{
    entry *e = calloc(1, sizeof *e);
    if (!e || !(e->name = strndup(name.p, name.n))) {
        free(e);
        return NULL;
    }
    e->next = names.entries;
    names.entries = e;
    names.count++;
    return e;
}

/* --- c-ares on the loop --- */

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

static bool channel_open(loop *l)
{
    struct ares_options o = {.timeout = TIMEOUT_MS, .tries = TRIES, .sock_state_cb = on_state};
    if (names.open)
        return names.l == l;
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
        return false;
    if (ares_init_options(&names.channel, &o,
                          ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB) !=
        ARES_SUCCESS) {
        ares_library_cleanup();
        return false;
    }
    names.l = l;
    names.open = true;
    return true;
}

bool names_servers(loop *l, str list, err *e)
{
    char text[1024];
    must(!names.entries);
    if (!channel_open(l))
        return err_no_memory(e);
    if (list.n >= sizeof text)
        return err_set(e, ERR_INVALID, "the list of name servers is longer than %zu bytes",
                       sizeof text - 1);
    memcpy(text, list.p, list.n);
    text[list.n] = 0;
    if (ares_set_servers_ports_csv(names.channel, text) != ARES_SUCCESS)
        return err_set(e, ERR_INVALID,
                       "'%.*s' is no list of name servers; write addresses, with ports if need be: "
                       "192.0.2.1:53,[2001:db8::1]:53",
                       STR(list));
    return true;
}

/* --- look-ups --- */

static names_status status_of(int status)
{
    switch (status) {
    case ARES_SUCCESS:
        return NAMES_FOUND;
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
    case ARES_EBADNAME:
        return NAMES_NONE;
    case ARES_ENOMEM:
        return NAMES_NO_MEMORY;
    case ARES_ETIMEOUT:
        return NAMES_TIMEOUT;
    case ARES_ECONNREFUSED:
    case ARES_ESERVFAIL:
    case ARES_ECANCELLED:
    case ARES_EDESTRUCTION:
        return NAMES_TEMPORARY;
    default:
        return NAMES_FAILED;
    }
}

static void on_answer(void *user, int status, int timeouts, struct ares_addrinfo *info)
{
    entry *e = user;
    ns keep = NAMES_KEPT_NS;
    names.running--;
    e->status = status_of(status);
    e->state = ENTRY_KNOWN;
    e->at = info ? calloc(ADDRESSES_MAX, sizeof *e->at) : NULL;
    for (struct ares_addrinfo_node *n = info ? info->nodes : NULL; n && e->at; n = n->ai_next)
        if (e->n < ADDRESSES_MAX && n->ai_addrlen <= sizeof *e->at) {
            memcpy(&e->at[e->n++], n->ai_addr, n->ai_addrlen);
            ns ttl = (ns)(n->ai_ttl > 0 ? n->ai_ttl : 1) * NS_PER_S;
            keep = ttl < keep ? ttl : keep;
        }
    if (info)
        ares_freeaddrinfo(info);
    if (e->status == NAMES_FOUND && e->n == 0)
        e->status = NAMES_NONE;
    e->known_until = e->status == NAMES_FOUND ? clock_mono() + keep : 0;
    entry_answer(e);
}

static void on_start(void *user)
{
    struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    for (entry *e = names.entries; e;) {
        if (e->state == ENTRY_NEW) {
            e->state = ENTRY_ASKED;
            names.running++;
            ares_getaddrinfo(names.channel, e->name, NULL, &hints, on_answer, e);
            e = names.entries; /* callbacks may have changed the list */
        } else if (e->state == ENTRY_KNOWN && e->queries) {
            entry_answer(e);
            e = names.entries;
        } else {
            e = e->next;
        }
    }
    timer_set();
}

/* Room for one more name: what is only kept goes first. */
static bool entries_make_room(void)
{
    for (entry *e = names.entries; e && names.count >= NAMES_MAX; e = e->next)
        if (e->state == ENTRY_KNOWN && !e->queries) {
            entry_free(e);
            break;
        }
    return names.count < NAMES_MAX;
}

names_query *names_look_up(loop *l, str name, names_answered *f, void *user)
{
    if (!channel_open(l) || !loop_timer_start(l, &names.start, 0, on_start, NULL))
        return NULL;
    entries_expire();
    names_query *q = calloc(1, sizeof *q);
    entry *e = entry_find(name);
    if (q && !e && entries_make_room())
        e = entry_new(name);
    if (!q || !e) {
        free(q);
        return NULL;
    }
    *q = (names_query){.next = e->queries, .e = e, .f = f, .user = user};
    e->queries = q;
    return q;
}

void names_cancel(names_query *q)
{
    if (!q)
        return;
    names_query **at = &q->e->queries;
    while (*at != q) {
        must(*at);
        at = &(*at)->next;
    }
    *at = q->next;
    free(q);
}

void names_close(loop *l)
{
    if (!names.open || names.l != l)
        return;
    ares_destroy(names.channel); /* answers what is open */
    ares_library_cleanup();
    while (names.entries) {
        entry *e = names.entries;
        e->status = e->state == ENTRY_NEW ? NAMES_TEMPORARY : e->status;
        entry_answer(e);
        entry_free(e);
    }
    loop_timer_stop(&names.timer);
    loop_timer_stop(&names.start);
    names.open = false;
}
