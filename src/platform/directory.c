/* See directory.h. One table of names, each in one of three states:
 *
 *     ASKED --FOUND--> KNOWN (of an app) --FORGET, eviction, a new keeper--> gone
 *       `-----NOBODY--> NOBODY --time, any FORGET--> gone
 *
 * At most DIRECTORY_IN_FLIGHT_MAX questions are with the keeper, so that what it answers fits the
 * channel's queue; others wait here in order, and so do all of them while there is no keeper. */
#include "platform/directory.h"

#include "base/limits.h"
#include "base/must.h"
#include "loop/channel.h"
#include "platform/call.h"

#include <stdlib.h>
#include <sys/random.h>

typedef enum { ASKED, KNOWN, NOBODY } name_state;
typedef struct waiting waiting;
typedef struct name name;

/* A request that waits for an answer. */
struct waiting {
    waiting *next;
    name *of;
    http_exchange *x;
};

struct name {
    table_link link;
    directory *all;
    name_state state;
    bool sent;    /* ASKED: the keeper has the question */
    bool later;   /* ASKED: it has said LATER, and the name is in that list */
    uint64_t ask; /* ASKED */
    ns when;      /* ASKED: since; NOBODY: until */
    name *next;   /* KNOWN: of the same app, the newest first; else in its list, the oldest first */
    served *of;   /* KNOWN */
    waiting *waiting; /* ASKED */
    uint8_t n;
    char host[];
};

typedef struct {
    name *first, **last;
    size_t count;
} name_list;

/* Who wants a revision by its number. */
typedef struct wanted {
    struct wanted *next;
    uint64_t ask;
    calls_owner owner; /* its name is `text` */
    bool sent;
    void (*f)(void *user, served *s, const err *e);
    void *user;
    char text[];
} wanted;

struct directory {
    loop *l;
    serving *all;
    active *apps;
    channel *keeper; /* NULL: there is none now */
    table names;
    name_list asked, later, nobody;
    wanted *wanted; /* the newest first */
    size_t waiting_count, in_flight;
    uint64_t next_ask;
    loop_timer patience;
    bool doubting; /* what is known may be out of date */
};

static void pump(directory *d);

/* --- names ------------------------------------------------------------------------------------ */

static void list_add(name_list *l, name *n)
{
    n->next = NULL;
    *l->last = n;
    l->last = &n->next;
    l->count++;
}

static void list_remove(name_list *l, name *n)
{
    name **at = &l->first;
    while (*at != n)
        at = &(*at)->next;
    if (!(*at = n->next))
        l->last = at;
    l->count--;
}

bool directory_host(str authority, char ret[DIRECTORY_HOST_BYTES_MAX], size_t *ret_n)
{
    size_t colon = str_rfind(authority, ':'), bracket = str_rfind(authority, ']');
    str host = authority;
    if (colon < authority.n && (bracket == authority.n || colon > bracket))
        host = str_head(authority, colon);
    if (host.n > 1 && host.p[host.n - 1] == '.')
        host.n--;
    if (!host.n || host.n > DIRECTORY_HOST_BYTES_MAX)
        return false;
    for (size_t i = 0; i < host.n; i++)
        ret[i] = host.p[i] >= 'A' && host.p[i] <= 'Z' ? (char)(host.p[i] + 32) : host.p[i];
    *ret_n = host.n;
    return true;
}

static name *name_find(const directory *d, str host, uint64_t hash)
{
    for (table_link *k = table_first(&d->names, hash); k; k = table_next(k)) {
        name *n = TABLE_OF(name, link, k);
        if (str_eq((str){n->host, n->n}, host))
            return n;
    }
    return NULL;
}

/* Of no list any more. */
static void name_free(directory *d, name *n)
{
    must(!n->waiting);
    table_remove(&d->names, &n->link);
    free(n);
}

static void nobody_forget(directory *d, bool all)
{
    while (d->nobody.first && (all || d->nobody.first->when <= loop_now(d->l))) {
        name *n = d->nobody.first;
        list_remove(&d->nobody, n);
        name_free(d, n);
    }
}

static void names_forget(directory *d, served *s)
{
    for (name *n = s->names, *next; n; n = next) {
        next = n->next;
        name_free(d, n);
    }
    s->names = NULL;
    s->names_count = 0;
}

static void names_forget_all(directory *d)
{
    nobody_forget(d, true);
    for (served *s = active_newest(d->apps); s; s = s->older)
        names_forget(d, s);
}

static void on_drop(void *user, served *s) { names_forget(user, s); }

/* A wildcard can have any number of names: the oldest goes. */
static void name_become_known(directory *d, name *n, served *s)
{
    name **at = &s->names;
    while (s->names_count >= DIRECTORY_NAMES_MAX) {
        while ((*at)->next)
            at = &(*at)->next;
        name_free(d, *at);
        *at = NULL;
        s->names_count--;
    }
    n->state = KNOWN;
    n->of = s;
    n->next = s->names;
    s->names = n;
    s->names_count++;
}

/* --- requests that wait ----------------------------------------------------------------------- */

static void refuse(directory *d, http_exchange *x, unsigned status, const char *reason)
{
    char id[CALL_ID_BYTES];
    call_id_next(d->all->calls, id);
    call_refuse(x, id, status, reason);
}

static void on_closed(void *user)
{
    waiting *w = user;
    waiting **at = &w->of->waiting;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    exchange_free(w->x);
    w->of->all->waiting_count--;
    free(w);
}

static void wait_for(directory *d, name *n, http_exchange *x)
{
    static const exchange_callbacks closed = {.on_closed = on_closed};
    waiting *w = d->waiting_count < DIRECTORY_WAITING_MAX ? malloc(sizeof *w) : NULL;
    if (!w) {
        refuse(d, x, 503, "too many requests wait to learn which app they are for");
        return;
    }
    *w = (waiting){n->waiting, n, x};
    n->waiting = w;
    d->waiting_count++;
    exchange_bind(x, &closed, w);
}

/* The oldest first. */
static waiting *waiting_take(directory *d, name *n)
{
    waiting *oldest = NULL;
    for (waiting *w = n->waiting, *next; w; w = next) {
        next = w->next;
        w->next = oldest;
        oldest = w;
        d->waiting_count--;
        exchange_bind(w->x, NULL, NULL);
    }
    n->waiting = NULL;
    return oldest;
}

static void waiting_begin(waiting *w, served *s)
{
    for (waiting *next; w; w = next) {
        next = w->next;
        served_begin(s, w->x);
        free(w);
    }
}

static void waiting_refuse(directory *d, waiting *w, unsigned status, const char *reason)
{
    for (waiting *next; w; w = next) {
        next = w->next;
        refuse(d, w->x, status, reason);
        free(w);
    }
}

/* --- questions -------------------------------------------------------------------------------- */

static bool message_send(const directory *d, const directory_message *m)
{
    _cleanup_(buf_fini) buf out;
    int fd;
    err e;
    buf_init(&out, CHANNEL_MESSAGE_BYTES_MAX);
    return directory_message_write(m, &out, &fd, &e) &&
           channel_send(d->keeper, buf_bytes(&out), -1, &e);
}

/* Sends what waits, as far as it may. A channel whose other side has gone says so by reading. */
static void pump(directory *d)
{
    for (name *n = d->asked.first; n && d->keeper && d->in_flight < DIRECTORY_IN_FLIGHT_MAX;
         n = n->next) {
        if (n->sent)
            continue;
        directory_message m = {.kind = DIRECTORY_FIND, .ask = n->ask, .host = {n->host, n->n}};
        if (!message_send(d, &m))
            return;
        n->sent = true;
        d->in_flight++;
    }
    for (wanted *w = d->wanted; w && d->keeper; w = w->next) {
        directory_message m = {.kind = DIRECTORY_FIND, .ask = w->ask, .calls = w->owner};
        w->sent = w->sent || message_send(d, &m);
    }
}

/* No longer asked for; the name is in no list. */
static void asked_end(directory *d, name *n)
{
    list_remove(n->later ? &d->later : &d->asked, n);
    d->in_flight -= n->sent;
    n->sent = n->later = false;
}

/* The answer takes longer: it is not one of those that are with the keeper any more. */
static void asked_postpone(directory *d, name *n)
{
    asked_end(d, n);
    n->later = true;
    n->when = loop_now(d->l);
    list_add(&d->later, n);
}

/* Refuses those of a list that have waited so long. */
static void patience_of(directory *d, name_list *l, ns most, const char *reason)
{
    ns now = loop_now(d->l);
    while (l->first && now - l->first->when >= most) {
        name *n = l->first;
        waiting *w = waiting_take(d, n);
        asked_end(d, n);
        name_free(d, n);
        waiting_refuse(d, w, 503, reason);
    }
}

static void on_patience(void *user);

/* For whoever will have waited long enough first. A list's first is its oldest. */
static void patience_arm(directory *d)
{
    ns now = loop_now(d->l), first = UINT64_MAX;
    if (d->asked.first)
        first = d->asked.first->when + DIRECTORY_WAIT_NS;
    if (d->later.first && d->later.first->when + DIRECTORY_LATER_NS < first)
        first = d->later.first->when + DIRECTORY_LATER_NS;
    if (first < UINT64_MAX)
        loop_timer_start(d->l, &d->patience, first > now ? first - now : 0, on_patience, d);
}

static void on_patience(void *user)
{
    directory *d = user;
    patience_of(d, &d->asked, DIRECTORY_WAIT_NS, "the keeper, which knows the apps, is not there");
    patience_of(d, &d->later, DIRECTORY_LATER_NS,
                "the app is still being compiled for this version of ebb");
    patience_arm(d);
}

static void ask(directory *d, str host, uint64_t hash, http_exchange *x)
{
    name *n = calloc(1, sizeof *n + host.n);
    if (!n || !table_add(&d->names, &n->link, hash)) {
        free(n);
        refuse(d, x, 503, "no memory for another request");
        return;
    }
    n->all = d;
    n->ask = ++d->next_ask;
    n->when = loop_now(d->l);
    n->n = (uint8_t)host.n;
    memcpy(n->host, host.p, host.n);
    list_add(&d->asked, n);
    if (d->asked.first == n || !loop_timer_active(&d->patience))
        patience_arm(d);
    wait_for(d, n, x);
    pump(d);
}

void directory_begin(directory *d, http_exchange *x)
{
    char place[DIRECTORY_HOST_BYTES_MAX];
    str host = {.p = place};
    if (!directory_host(exchange_request(x)->authority, place, &host.n)) {
        refuse(d, x, 404, NULL);
        return;
    }
    uint64_t hash = table_hash(&d->names, host.p, host.n);
    if (d->doubting && d->keeper)
        names_forget_all(d);
    name *n = name_find(d, host, hash);
    if (n && n->state == NOBODY && n->when <= loop_now(d->l)) {
        nobody_forget(d, false);
        n = NULL;
    }
    if (!n) {
        ask(d, host, hash, x);
    } else if (n->state == ASKED) {
        wait_for(d, n, x);
    } else if (n->state == NOBODY) {
        refuse(d, x, 404, NULL);
    } else {
        active_use(d->apps, n->of);
        served_begin(n->of, x);
    }
}

/* --- answers ---------------------------------------------------------------------------------- */

/* What the settings were made of: an app whose settings have not changed stays as it is. */
static uint64_t settings_hash(const directory *d, const directory_message *m)
{
    uint64_t parts[] = {m->revision, m->tenant, table_hash(&d->names, m->settings.p, m->settings.n),
                        table_hash(&d->names, m->quota.p, m->quota.n),
                        table_hash(&d->names, m->egress.p, m->egress.n)};
    return table_hash(&d->names, parts, sizeof parts);
}

/* alone: in no list, its hold is the caller's. */
static served *app_make(directory *d, const directory_message *m, bool alone, err *e)
{
    arena a;
    app_config c;
    served *s;
    arena_init_level(&a, APP_ARENA_BYTES_MAX);
    if (!app_config_read(&a, (bytes){(const uint8_t *)m->settings.p, m->settings.n}, &c, e)) {
        arena_fini(&a);
        return NULL;
    }
    if (c.providers.ask_again) {
        arena_fini(&a);
        err_set(e, ERR_UNSUPPORTED, "its variables come from Vault, which is for 'ebb up' only");
        return NULL;
    }
    c.id = m->app;
    c.tenant = m->tenant;
    c.revision = m->revision;
    c.calls = m->calls;
    c.calls.name = arena_str(&a, m->calls.name);
    if (!served_new_take(d->all, &a, &c, m->quota, m->egress, &s, e))
        return NULL;
    return alone || active_add_take(d->apps, s, e) ? s : NULL;
}

/* The app of an answer. NULL: *e says why there is none. */
static served *app_of(directory *d, const directory_message *m, err *e)
{
    uint64_t hash = settings_hash(d, m);
    served *s = active_find(d->apps, m->app);
    if (s && s->settings_hash == hash)
        return s;
    if (s)
        active_drop(d->apps, s);
    if ((s = app_make(d, m, false, e)))
        s->settings_hash = hash;
    return s;
}

static void on_found(directory *d, name *n, waiting *w, const directory_message *m)
{
    err e;
    served *s = app_of(d, m, &e);
    if (!s) {
        name_free(d, n);
        log_msg(LOG_ERROR, "app %llu cannot be served: %s", (unsigned long long)m->app, e.text);
        waiting_refuse(d, w, e.code == ERR_LIMIT || e.code == ERR_NO_MEMORY ? 503 : 500, e.text);
        return;
    }
    name_become_known(d, n, s);
    active_use(d->apps, s);
    waiting_begin(w, s);
}

static void on_nobody(directory *d, name *n, waiting *w)
{
    n->state = NOBODY;
    n->when = loop_now(d->l) + DIRECTORY_NOBODY_NS;
    list_add(&d->nobody, n);
    if (d->nobody.count > DIRECTORY_NOBODY_MAX) {
        name *oldest = d->nobody.first;
        list_remove(&d->nobody, oldest);
        name_free(d, oldest);
    }
    waiting_refuse(d, w, 404, NULL);
}

/* --- revisions by number ---------------------------------------------------------------------- */

static void wanted_answer(directory *d, wanted *w, const directory_message *m)
{
    wanted **at = &d->wanted;
    served *s = NULL;
    err e;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    if (m->kind == DIRECTORY_FOUND)
        s = app_make(d, m, true, &e);
    else if (m->kind == DIRECTORY_NOBODY)
        err_set(&e, ERR_NOT_FOUND, "the app's revision that accepted it is not there any more");
    else
        err_set(&e, ERR_CLOSED, "%.*s", STR(str_head(m->settings, 200)));
    w->f(w->user, s, s ? NULL : &e);
    free(w);
}

/* Apps that were used last come first. */
static served *held_of(const directory *d, uint64_t number)
{
    if (number < CALLS_OWNER_SHARED_MIN)
        return active_find(d->apps, number);
    served *s = active_newest(d->apps);
    while (s && s->config.calls.app != number)
        s = s->older;
    return s;
}

void directory_revision(directory *d, const calls_owner *owner,
                        void (*f)(void *user, served *s, const err *e), void *user)
{
    err e;
    served *s = held_of(d, owner->app);
    if (s && s->config.calls.revision == owner->revision) {
        served_hold(s);
        active_use(d->apps, s);
        f(user, s, NULL);
        return;
    }
    wanted *w = malloc(sizeof *w + owner->name.n);
    if (!w) {
        err_set(&e, ERR_NO_MEMORY, "no memory to ask for an app");
        f(user, NULL, &e);
        return;
    }
    *w = (wanted){.next = d->wanted, .ask = ++d->next_ask, .owner = *owner, .f = f, .user = user};
    if (owner->name.n)
        memcpy(w->text, owner->name.p, owner->name.n);
    w->owner.name.p = w->text;
    d->wanted = w;
    pump(d);
}

static void on_answer(directory *d, const directory_message *m)
{
    name *n = d->asked.first;
    for (wanted *w = d->wanted; w; w = w->next)
        if (w->ask == m->ask) {
            wanted_answer(d, w, m);
            return;
        }
    while (n && n->ask != m->ask)
        n = n->next;
    for (n = n ? n : d->later.first; n && n->ask != m->ask;)
        n = n->next;
    if (!n)
        return; /* nobody waited so long */
    if (m->kind == DIRECTORY_LATER) {
        if (!n->later)
            asked_postpone(d, n);
        pump(d);
        return;
    }
    waiting *w = waiting_take(d, n);
    asked_end(d, n);
    if (m->kind == DIRECTORY_FOUND) {
        on_found(d, n, w, m);
    } else if (m->kind == DIRECTORY_NOBODY) {
        on_nobody(d, n, w);
    } else {
        name_free(d, n);
        log_msg(LOG_ERROR, "an app cannot be looked up: %.*s", STR(m->settings));
        waiting_refuse(d, w, 503, "the catalogue of apps cannot be read");
    }
    pump(d);
}

static void on_forget(directory *d, const directory_message *m)
{
    served *s = m->app ? active_find(d->apps, m->app) : NULL;
    nobody_forget(d, true);
    if (s)
        active_drop(d->apps, s);
    if (!m->app && m->tenant)
        active_drop_tenant(d->apps, m->tenant);
    if (!m->app && !m->tenant)
        names_forget_all(d);
    directory_message done = {.kind = DIRECTORY_FORGOTTEN, .ask = m->ask};
    message_send(d, &done);
}

static void on_message(void *user, bytes message, int fd)
{
    directory *d = user;
    _cleanup_(arena_fini) arena a;
    directory_message m;
    err e;
    arena_init(&a, 2 * APP_LOCKED_BYTES_MAX);
    if (!directory_message_read(&a, message, fd, &m, &e)) {
        log_msg(LOG_ERROR, "the keeper's answer is lost: %s", e.text);
        return;
    }
    if (m.kind == DIRECTORY_DOUBT)
        d->doubting = true;
    if (m.kind == DIRECTORY_FORGET || m.kind == DIRECTORY_DOUBT)
        on_forget(d, &m);
    else if (m.kind != DIRECTORY_FIND && m.kind != DIRECTORY_FORGOTTEN)
        on_answer(d, &m);
}

/* --- the keeper ------------------------------------------------------------------------------- */

static void on_end(void *user)
{
    directory *d = user;
    channel_close(d->keeper);
    d->keeper = NULL;
    d->in_flight = 0;
    for (name *n = d->asked.first; n; n = n->next)
        n->sent = false;
    while (d->later.first) { /* the next keeper is asked again */
        name *n = d->later.first;
        asked_end(d, n);
        n->when = loop_now(d->l);
        list_add(&d->asked, n);
    }
    patience_arm(d);
    for (wanted *w = d->wanted; w; w = w->next)
        w->sent = false;
}

void directory_connect_take(directory *d, int fd)
{
    static const channel_callbacks callbacks = {on_message, on_end};
    err e;
    if (d->keeper)
        on_end(d);
    d->doubting = false;
    names_forget_all(d);
    if (!channel_open_take(d->l, fd, &callbacks, d, &d->keeper, &e)) {
        d->keeper = NULL;
        log_msg(LOG_ERROR, "no channel to the keeper: %s", e.text);
        return;
    }
    pump(d);
}

bool directory_new(loop *l, serving *all, const active_limits *limits, directory **ret, err *e)
{
    uint64_t seed[2];
    if (getrandom(seed, sizeof seed, 0) != sizeof seed)
        return err_set_errno(e, "getrandom");
    directory *d = calloc(1, sizeof *d);
    if (!d)
        return err_no_memory(e);
    *d = (directory){.l = l, .all = all};
    d->asked.last = &d->asked.first;
    d->later.last = &d->later.first;
    d->nobody.last = &d->nobody.first;
    table_init(&d->names, seed);
    if (!active_new(l, all, limits, on_drop, d, &d->apps, e)) {
        free(d);
        return false;
    }
    *ret = d;
    return true;
}

void directory_free(directory *d)
{
    if (!d)
        return;
    if (d->keeper)
        on_end(d);
    active_free(d->apps);
    nobody_forget(d, true);
    while (d->asked.first) {
        name *n = d->asked.first;
        asked_end(d, n);
        name_free(d, n);
    }
    for (wanted *w; (w = d->wanted);) {
        d->wanted = w->next;
        free(w);
    }
    loop_timer_stop(&d->patience);
    table_fini(&d->names);
    free(d);
}

const active *directory_active(const directory *d) { return d->apps; }
