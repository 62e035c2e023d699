/* See keeper_directory.h. Forgets are numbered; workers answer with the number, in order. A worker
 * that connects later has nothing to forget: it asks all its names anew. So a forget is over when
 * the smallest number that any worker has answered reaches it. */
#include "platform/keeper_directory.h"

#include "base/limits.h"
#include "base/log.h"
#include "loop/channel.h"

#include <stdlib.h>
#include <unistd.h>

#define TELL_AGAIN_NS (100 * NS_PER_MS)

/* A question that is answered later. */
typedef struct later {
    struct later *next;
    uint64_t ask;
    size_t word_n, host_n;
    char text[]; /* the word, then the host */
} later;

typedef struct worker {
    struct worker *next;
    keeper_directory *d;
    channel *c;
    uint64_t forgotten; /* the last number it has answered, or that was when it came */
    later *later;
    bool untold; /* its queue is full: it has to forget all names, once it can be told */
} worker;

typedef struct forget {
    struct forget *next;
    uint64_t number;
    void (*done)(void *user);
    void *user;
} forget;

struct keeper_directory {
    loop *l;
    keeper_directory_find find;
    void (*on_fewer)(void *user);
    void *user;
    worker *workers;
    unsigned count;
    forget *first, **last;
    uint64_t number;
    bool doubt;      /* workers have been told to */
    loop_timer soon; /* calls done from the loop where there is nobody to wait for; tells again */
};

keeper_directory *keeper_directory_new(loop *l, keeper_directory_find find,
                                       void (*on_fewer)(void *user), void *user)
{
    keeper_directory *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    *d = (keeper_directory){.l = l, .find = find, .on_fewer = on_fewer, .user = user};
    d->last = &d->first;
    return d;
}

unsigned keeper_directory_workers(const keeper_directory *d) { return d->count; }

/* --- forgetting ------------------------------------------------------------------------------- */

static void forgets_finish(keeper_directory *d, uint64_t up_to)
{
    while (d->first && d->first->number <= up_to) {
        forget *f = d->first;
        if (!(d->first = f->next))
            d->last = &d->first;
        if (f->done)
            f->done(f->user);
        free(f);
    }
}

static bool message_send(worker *w, const directory_message *m, err *e)
{
    _cleanup_(buf_fini) buf out;
    int fd;
    buf_init(&out, APP_LOCKED_BYTES_MAX + 4096);
    if (!directory_message_write(m, &out, &fd, e))
        return false;
    bool ok = channel_send(w->c, buf_bytes(&out), fd, e);
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool tell_again(worker *w)
{
    err e;
    directory_message m = {.kind = w->d->doubt ? DIRECTORY_DOUBT : DIRECTORY_FORGET,
                           .ask = w->d->number};
    w->untold = w->untold && !message_send(w, &m, &e);
    return !w->untold;
}

static void forgets_look(void *user)
{
    keeper_directory *d = user;
    uint64_t least = d->number;
    bool all = true;
    for (worker *w = d->workers; w; w = w->next) {
        all &= tell_again(w);
        least = w->forgotten < least ? w->forgotten : least;
    }
    if (!all)
        loop_timer_start(d->l, &d->soon, TELL_AGAIN_NS, forgets_look, d);
    forgets_finish(d, least);
}

static void worker_close(worker *w)
{
    keeper_directory *d = w->d;
    worker **at = &d->workers;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    d->count--;
    channel_close(w->c);
    for (later *l = w->later, *next; l; l = next) {
        next = l->next;
        free(l);
    }
    free(w);
    forgets_look(d);
    if (d->on_fewer)
        d->on_fewer(d->user);
}

static bool forget_begin(keeper_directory *d, const directory_message *what,
                         void (*done)(void *user), void *user, err *e)
{
    forget *f = malloc(sizeof *f);
    if (!f)
        return err_no_memory(e);
    *f = (forget){.number = ++d->number, .done = done, .user = user};
    *d->last = f;
    d->last = &f->next;
    directory_message m = *what;
    m.kind = d->doubt ? DIRECTORY_DOUBT : DIRECTORY_FORGET;
    m.ask = f->number;
    for (worker *w = d->workers; w; w = w->next)
        w->untold |= !message_send(w, &m, e);
    loop_timer_start(d->l, &d->soon, 0, forgets_look, d);
    return true;
}

bool keeper_directory_forget(keeper_directory *d, uint64_t app, void (*done)(void *user),
                             void *user, err *e)
{
    directory_message m = {.app = app};
    return forget_begin(d, &m, done, user, e);
}

bool keeper_directory_forget_tenant(keeper_directory *d, uint64_t tenant, void (*done)(void *user),
                                    void *user, err *e)
{
    directory_message m = {.tenant = tenant};
    return forget_begin(d, &m, done, user, e);
}

bool keeper_directory_doubt(keeper_directory *d, void (*done)(void *user), void *user, err *e)
{
    directory_message m = {0};
    d->doubt = true;
    return forget_begin(d, &m, done, user, e);
}

/* --- answering -------------------------------------------------------------------------------- */

static bool later_add(worker *w, uint64_t ask, str host, str word)
{
    later *l = malloc(sizeof *l + word.n + host.n);
    if (!l)
        return false;
    *l = (later){w->later, ask, word.n, host.n};
    memcpy(l->text, word.p, word.n);
    memcpy(l->text + word.n, host.p, host.n);
    w->later = l;
    return true;
}

/* is_again: the worker knows already that it is for later. Who asks by number asks again himself.
 */
static void find(worker *w, const directory_message *q, bool is_again)
{
    _cleanup_(arena_fini) arena a;
    directory_message m = {0};
    err e;
    arena_init(&a, 2 * APP_LOCKED_BYTES_MAX);
    if (!w->d->find(w->d->user, q, &a, &m, &e))
        m = (directory_message){.kind = DIRECTORY_FAILED, .settings = str_from(e.text)};
    if (m.kind == DIRECTORY_LATER && q->calls.app) {
        m = (directory_message){.kind = DIRECTORY_FAILED, .settings = S("it is being compiled")};
    } else if (m.kind == DIRECTORY_LATER) {
        if (!later_add(w, q->ask, q->host, m.settings))
            m = (directory_message){.kind = DIRECTORY_FAILED, .settings = S("no memory")};
        else if (is_again)
            return;
    }
    m.ask = q->ask;
    if (!message_send(w, &m, &e))
        log_msg(LOG_ERROR, "a worker's question about an app stays unanswered: %s", e.text);
}

void keeper_directory_again(keeper_directory *d, str word)
{
    for (worker *w = d->workers; w; w = w->next) {
        later *all = w->later;
        w->later = NULL;
        for (later *l = all, *next; l; l = next) {
            next = l->next;
            if (str_eq((str){l->text, l->word_n}, word)) {
                const directory_message q = {.ask = l->ask,
                                             .host = {l->text + l->word_n, l->host_n}};
                find(w, &q, true);
                free(l);
            } else {
                l->next = w->later;
                w->later = l;
            }
        }
    }
}

static void on_message(void *user, bytes message, int fd)
{
    worker *w = user;
    _cleanup_(arena_fini) arena a;
    directory_message m;
    err e;
    arena_init(&a, 64 * KIB);
    if (!directory_message_read(&a, message, fd, &m, &e)) {
        log_msg(LOG_ERROR, "a worker's question about an app: %s", e.text);
        return;
    }
    if (m.kind == DIRECTORY_FIND) {
        find(w, &m, false);
    } else if (m.kind == DIRECTORY_FORGOTTEN && m.ask > w->forgotten && m.ask <= w->d->number) {
        w->forgotten = m.ask;
        forgets_look(w->d);
    }
}

static void on_end(void *user) { worker_close(user); }

void keeper_directory_add_take(keeper_directory *d, int fd)
{
    static const channel_callbacks callbacks = {on_message, on_end};
    err e;
    worker *w = calloc(1, sizeof *w);
    if (!w) {
        close(fd);
        return;
    }
    *w = (worker){.next = d->workers, .d = d, .forgotten = d->number};
    if (!channel_open_take(d->l, fd, &callbacks, w, &w->c, &e)) {
        log_msg(LOG_ERROR, "a worker cannot ask for apps: %s", e.text);
        free(w);
        return;
    }
    d->workers = w;
    d->count++;
}

void keeper_directory_free(keeper_directory *d)
{
    if (!d)
        return;
    d->on_fewer = NULL;
    while (d->workers)
        worker_close(d->workers);
    forgets_finish(d, UINT64_MAX);
    loop_timer_stop(&d->soon);
    free(d);
}
