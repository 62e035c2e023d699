/* The queue of deferred calls, in the store process. The way of a request:
 *
 *     waiting list -> end of the turn: a group: begin, apply..., commit -> answers
 *
 * as key-value's (kv_server.c): while a commit waits for the disk, the next group gathers in the
 * sockets. Where the queue is shared over a network, groups run on a thread, one at a time: a group
 * is the first so many of the waiting list, in which the next one gathers behind it. The thread
 * reads the links within the group and writes answers; the list itself, and who wants an answer,
 * are the loop's. A request that the database refuses does not take its group along: the group is
 * tried again one by one, unless nobody knows what became of its commit.
 *
 * Where others share the queue, whoever asks for news (QUEUE_NEWS) is a listener once its group is
 * over, and answered when the database tells of a change. Nothing polls: between groups the loop
 * watches the connection.
 *
 * The queue is opened by the first request and closed STORE_IDLE_NS after the last one, unless
 * somebody listens. A wall clock that was set while this process lives, be it in such a pause, is
 * followed by the next group: leases keep their length, next attempts do not come later. */
#include "base/limits.h"
#include "base/log.h"
#include "loop/work.h"
#include "store/queue_engine.h"
#include "store/server_impl.h"

#include <openssl/crypto.h>
#include <stdlib.h>

enum { CLOCK_STEP_MS = 1000 }; /* so much, and the wall clock was set */

struct queue_server {
    loop *l;
    str path, url; /* one of them is empty */
    seal_key key;
    queue_engine *open; /* the thread's while working */
    pending_list waiting, listeners;
    bool news;         /* others have changed something since listeners were answered last */
    loop_watch *heard; /* of the connection, while somebody listens and no group runs */
    size_t group_n;    /* of them, the first ones: carried out now; nobody unlinks them meanwhile */
    size_t done_n;     /* of the group: have their answers; the others are of the next one */
    bool working;      /* on a thread */
    bool failed;       /* the group; why */
    err why;
    bool failing;     /* said in the log */
    int64_t clock_ms; /* how far the wall clock is ahead of the monotonic one, as leases have it */
    ns used;
    loop_timer idle;
};

/* --- a group: on the loop's thread, or another ------------------------------------------------ */

static void engine_close(queue_server *s)
{
    queue_engine_free(s->open);
    s->open = NULL;
}

static bool engine_ready(queue_server *s, err *e)
{
    queue_rows *rows;
    if (s->open)
        return true;
    return (s->url.n ? queue_pg_open(s->url.p, &rows, e)
                     : queue_sqlite_open(s->path.p, &rows, e)) &&
           queue_engine_new_take(rows, &s->key, &s->open, e);
}

static bool request_apply(queue_server *s, pending *p, err *e)
{
    store_message m = pending_message(p);
    uint8_t *items = NULL;
    err mine;
    if (p->fd >= 0 && !(items = pending_items_load(p, &m, &mine))) {
        pending_refuse(p, mine.text);
        return true;
    }
    bool ok = queue_apply(s->open, m, &p->answer, e);
    free(items);
    return ok;
}

static int64_t clock_ahead_ms(void)
{
    return (int64_t)(clock_wall() / NS_PER_MS) - (int64_t)(clock_mono() / NS_PER_MS);
}

/* By how much the wall clock was set since leases followed it last; 0: it was not. */
static int64_t clock_step_ms(const queue_server *s)
{
    int64_t step = clock_ahead_ms() - s->clock_ms;
    return step >= CLOCK_STEP_MS || step <= -CLOCK_STEP_MS ? step : 0;
}

/* One transaction of the requests from p on: all n, or as many as answers may be held; *ret_done is
 * how many. False: none of them happened, or *ret_unsure. What failed may be over when the queue is
 * opened again. */
static bool group_run(queue_server *s, pending *p, size_t n, size_t *ret_done, bool *ret_unsure,
                      err *e)
{
    size_t held = 0, done = 0;
    *ret_unsure = false;
    if (!engine_ready(s, e))
        return false;
    int64_t step_ms = clock_step_ms(s);
    bool ok = queue_begin(s->open, 0, e) && (!step_ms || queue_clock_set(s->open, step_ms, e));
    while (ok && done < n && held < STORE_HELD_BYTES_MAX) {
        ok = request_apply(s, p, e);
        held += p->answer.n;
        if (++done < n)
            p = p->next;
    }
    if (ok)
        ok = queue_commit(s->open, ret_unsure, e);
    else
        queue_rollback(s->open);
    if (!ok)
        engine_close(s);
    s->clock_ms += ok ? step_ms : 0;
    *ret_done = done;
    return ok;
}

/* Why n requests from p on failed is their answer. */
static void group_refuse(queue_server *s, pending *p, size_t n, bool unsure)
{
    s->failed = true;
    if (unsure)
        err_wrap(&s->why, "it may or may not have happened");
    for (; n; p = --n ? p->next : NULL)
        pending_refuse(p, s->why.text);
}

/* One by one: what the database refuses is refused, the rest is done. */
static void group_singly(queue_server *s, pending *p, size_t n)
{
    size_t one;
    bool unsure;
    s->failed = false;
    for (; n; p = --n ? p->next : NULL)
        if (!group_run(s, p, 1, &one, &unsure, &s->why))
            group_refuse(s, p, 1, unsure);
}

/* The first done_n of the group get their answers. */
static void group_work(void *user)
{
    queue_server *s = user;
    pending *first = s->waiting.first;
    bool unsure;
    s->failed = !group_run(s, first, s->group_n, &s->done_n, &unsure, &s->why);
    if (!s->failed)
        return;
    s->done_n = s->group_n;
    if (unsure || s->group_n == 1 || !engine_ready(s, &s->why))
        group_refuse(s, first, s->group_n, unsure);
    else
        group_singly(s, first, s->group_n);
}

/* --- on the loop's thread --------------------------------------------------------------------- */

static str name_of(const queue_server *s) { return s->url.n ? S("in PostgreSQL") : s->path; }

/* Says in the log that it fails, and that it works again: once each. */
static void failure_note(queue_server *s)
{
    if (s->failed && !s->failing)
        log_msg(LOG_ERROR, "the queue of deferred calls (%.*s): %s", STR(name_of(s)), s->why.text);
    else if (!s->failed && s->failing)
        log_msg(LOG_INFO, "the queue of deferred calls (%.*s) works again", STR(name_of(s)));
    s->failing = s->failed;
}

static void on_idle(void *user)
{
    queue_server *s = user;
    ns idle = clock_mono() - s->used;
    if (s->listeners.first)
        return;
    if (idle >= STORE_IDLE_NS && !s->working && !s->waiting.first)
        engine_close(s);
    else
        loop_timer_start(s->l, &s->idle,
                         idle < STORE_IDLE_NS ? STORE_IDLE_NS - idle : STORE_IDLE_NS, on_idle, s);
}

static void heard_close(queue_server *s)
{
    loop_watch_close(s->heard);
    s->heard = NULL;
}

/* why NULL: there are news. */
static void listeners_answer(queue_server *s, const char *why)
{
    heard_close(s);
    s->news = false;
    for (pending *p; (p = pending_list_pop(&s->listeners));)
        if (why)
            pending_fail(p, why);
        else
            pending_answer(p);
}

static void listen_on(queue_server *s);

static void on_heard(void *user, unsigned events) { listen_on(user); }

/* Between groups: looks for news, which libpq keeps until then. */
static void listen_on(queue_server *s)
{
    bool news = false;
    err e;
    if (s->open && !queue_news(s->open, &news, &e)) {
        heard_close(s);
        engine_close(s);
        listeners_answer(s, e.text);
    }
    s->news |= news;
    if (!s->listeners.first)
        heard_close(s);
    else if (!s->open)
        listeners_answer(s, "the queue's database could not be asked");
    else if (s->news)
        listeners_answer(s, NULL);
    else if (!s->heard &&
             !loop_watch_open(s->l, queue_news_fd(s->open), on_heard, s, &s->heard, &e))
        listeners_answer(s, e.text);
    if (s->heard)
        loop_watch_set(s->heard, LOOP_READABLE);
    if (s->open && !s->listeners.first && !loop_timer_active(&s->idle))
        loop_timer_start(s->l, &s->idle, STORE_IDLE_NS, on_idle, s);
}

static bool will_listen(const pending *p)
{
    store_message m;
    err e;
    return p->from && pending_message(p).kind == QUEUE_NEWS &&
           store_message_read(buf_bytes(&p->answer), false, &m, &e) && m.kind == STORE_OK;
}

static void group_answer(queue_server *s)
{
    failure_note(s);
    for (; s->done_n; s->done_n--) {
        pending *p = pending_list_pop(&s->waiting);
        if (will_listen(p))
            pending_list_push(&s->listeners, p);
        else
            pending_answer(p);
    }
    s->used = clock_mono();
    listen_on(s);
}

/* The first of those that wait, as many as one commit may hold. */
static void group_gather(queue_server *s)
{
    s->group_n = 0;
    for (const pending *p = s->waiting.first; p && s->group_n < STORE_GROUP_MAX; p = p->next)
        s->group_n++;
}

static void group_done(void *user)
{
    queue_server *s = user;
    s->working = false;
    group_answer(s);
}

void queue_server_run(queue_server *s)
{
    while (s && s->waiting.first && !s->working) {
        group_gather(s);
        heard_close(s);
        s->working = s->url.n && loop_work_start(s->l, group_work, group_done, s, NULL);
        if (!s->working) {
            group_work(s);
            group_answer(s);
        }
    }
}

void queue_server_take(queue_server *s, pending *p)
{
    if (s) {
        pending_list_push(&s->waiting, p);
        return;
    }
    pending_fail(p, "this node has no queue of deferred calls");
}

void queue_server_forget(queue_server *s, const store_connection *c)
{
    if (!s)
        return;
    for (pending *p = s->waiting.first; p; p = p->next)
        if (p->from == c)
            p->from = NULL;
    for (pending *p = pending_list_take(&s->listeners), *next; p; p = next) {
        next = p->next;
        if (p->from == c)
            p->from = NULL;
        if (p->from)
            pending_list_push(&s->listeners, p);
        else
            pending_answer(p);
    }
    if (!s->working)
        listen_on(s);
}

bool queue_server_is_open(const queue_server *s) { return s && !s->working && s->open; }

bool queue_server_new(loop *l, const store_queue *config, queue_server **ret, err *e)
{
    queue_server *s = calloc(1, sizeof *s + config->path.n + config->url.n + 2);
    if (!s)
        return err_no_memory(e);
    char *path = (char *)(s + 1), *url = path + config->path.n + 1;
    memcpy(path, config->path.n ? config->path.p : "", config->path.n);
    memcpy(url, config->url.n ? config->url.p : "", config->url.n);
    *s = (queue_server){.l = l,
                        .path = {path, config->path.n},
                        .url = {url, config->url.n},
                        .key = config->key,
                        .clock_ms = clock_ahead_ms()};
    *ret = s;
    return true;
}

void queue_server_free(queue_server *s)
{
    if (!s)
        return;
    do {
        queue_server_run(s);
        while (s->working)
            loop_turn(s->l, 100);
    } while (s->waiting.first);
    listeners_answer(s, "the store process stops");
    loop_timer_stop(&s->idle);
    engine_close(s);
    OPENSSL_cleanse(&s->key, sizeof s->key);
    free(s);
}
