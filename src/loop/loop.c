/* The loop on libuv 1.44.
 *
 * Handles of libuv live until their close callback, a turn after uv_close; so everything of it is
 * allocated here and freed there, and the objects of loop.h can be closed at any moment.
 *
 * Timers are our own binary heap over one uv_timer: a timer can then be embedded in a connection or
 * a sandbox and forgotten at once, and starting one costs no system call and no allocation. libuv
 * counts a timeout from the time its turn began; after a long turn that is early. So deadlines are
 * absolute here and the alarm is checked against the clock.
 *
 * Hooks run in libuv's prepare phase: after timers and descriptors, just before the poll. A hook
 * with more to do makes the poll not sleep (an idle handle does that), one turn at a time.
 */
#include "loop/uv_loop.h"

#include "base/must.h"
#include "loop/stream.h"

#include <signal.h>
#include <stdlib.h>

struct loop_hook {
    loop *l;
    loop_hook *next;
    bool (*f)(void *user);
    void *user;
    bool removed, soon;
};

bool err_set_uv(err *e, int code, const char *what)
{
    return err_set(e, ERR_IO, "%s: %s", what, uv_strerror(code));
}

/* --- turns --- */

static void alarm_set(loop *l);
static void look_again(uv_idle_t *h) {}

/* The turn that ends here: from the end of the one before, without what the poll has slept. */
static void turn_measure(loop *l)
{
    ns now = clock_mono(), idle = uv_metrics_idle_time(&l->uv);
    ns took = now - l->turn_begun, slept = idle - l->idle_before;
    if (l->turn_begun && took > slept && took - slept > l->turn_max)
        l->on_long_turn(l->on_long_turn_user, took - slept);
    l->turn_begun = now;
    l->idle_before = idle;
}

static void hooks_run(uv_prepare_t *h)
{
    loop *l = h->data;
    bool more = false;
    for (loop_hook **at = &l->hooks; *at;) {
        loop_hook *hook = *at;
        hook->soon = false;
        if (!hook->removed && hook->f(hook->user))
            more = true;
        if (hook->removed) {
            *at = hook->next;
            free(hook);
        } else {
            at = &hook->next;
        }
    }
    if (l->alarm_due) {
        l->alarm_due = false;
        alarm_set(l);
    }
    if (l->on_long_turn)
        turn_measure(l);
    l->now = 0; /* of the next turn: read when somebody asks, after the sleep */
    if (more)
        uv_idle_start(&l->no_sleep, look_again);
    else
        uv_idle_stop(&l->no_sleep);
}

static void timers_run(uv_timer_t *h);

bool loop_new(loop **ret_loop, err *e)
{
    loop *l = calloc(1, sizeof *l);
    if (!l)
        return err_no_memory(e);
    int code = uv_loop_init(&l->uv);
    if (code) {
        free(l);
        return err_set_uv(e, code, "cannot make an event loop");
    }
    uv_loop_configure(&l->uv, UV_METRICS_IDLE_TIME); /* two clock reads a turn */
    l->made = l->now = clock_mono();
    signal(SIGPIPE, SIG_IGN); /* libuv writes without MSG_NOSIGNAL; EPIPE says the same */
    uv_prepare_init(&l->uv, &l->before_sleep);
    uv_idle_init(&l->uv, &l->no_sleep);
    uv_timer_init(&l->uv, &l->alarm);
    l->before_sleep.data = l->no_sleep.data = l->alarm.data = l;
    uv_prepare_start(&l->before_sleep, hooks_run);
    uv_unref((uv_handle_t *)&l->before_sleep);
    *ret_loop = l;
    return true;
}

void loop_free(loop *l)
{
    if (!l)
        return;
    uv_close((uv_handle_t *)&l->before_sleep, NULL);
    uv_close((uv_handle_t *)&l->no_sleep, NULL);
    uv_close((uv_handle_t *)&l->alarm, NULL);
    uv_run(&l->uv, UV_RUN_DEFAULT);   /* the close callbacks */
    must(uv_loop_close(&l->uv) == 0); /* something was left open on it */
    while (l->hooks) {
        loop_hook *next = l->hooks->next;
        free(l->hooks);
        l->hooks = next;
    }
    free(l->timers);
    free(l->read_buffer);
    free(l->plain_buffer);
    buf_fini(&l->spare_out);
    free(l);
}

bool loop_run(loop *l, err *e)
{
    int code = uv_run(&l->uv, UV_RUN_DEFAULT);
    return code >= 0 || err_set_uv(e, code, "the event loop failed");
}

static void no_op(void *user) {}

void loop_turn(loop *l, unsigned wait_max_ms)
{
    loop_timer limit = {0};
    if (wait_max_ms && !loop_timer_start(l, &limit, wait_max_ms * NS_PER_MS, no_op, NULL))
        return;
    uv_run(&l->uv, wait_max_ms ? UV_RUN_ONCE : UV_RUN_NOWAIT);
    loop_timer_stop(&limit);
}

void loop_stop(loop *l) { uv_stop(&l->uv); }

void loop_watch_turns(loop *l, ns than, void (*f)(void *user, ns took), void *user)
{
    l->turn_max = than;
    l->on_long_turn = f;
    l->on_long_turn_user = user;
}

ns loop_now(loop *l)
{
    if (!l->now)
        l->now = clock_mono();
    return l->now;
}

ns loop_awake(loop *l) { return clock_mono() - l->made - uv_metrics_idle_time(&l->uv); }

/* --- hooks --- */

bool loop_hook_add(loop *l, bool (*f)(void *user), void *user, loop_hook **ret_hook, err *e)
{
    loop_hook *h = malloc(sizeof *h);
    if (!h)
        return err_no_memory(e);
    *h = (loop_hook){.l = l, .f = f, .user = user};
    loop_hook **at = &l->hooks;
    while (*at)
        at = &(*at)->next;
    *at = h;
    *ret_hook = h;
    return true;
}

/* Freed by the next hooks_run: it may be the one that is running. */
void loop_hook_remove(loop_hook *h)
{
    if (h)
        h->removed = true;
}

void loop_hook_soon(loop_hook *h) { h->l->soon = h->soon = true; }

void loop_soon(loop *l)
{
    if (!l->soon)
        return;
    l->soon = false;
    for (loop_hook *h = l->hooks; h; h = h->next) {
        if (!h->soon || h->removed)
            continue;
        h->soon = false;
        h->f(h->user);
    }
}

/* --- timers: a binary heap, the earliest at 0 --- */

static void heap_put(loop *l, size_t at, loop_timer *t)
{
    l->timers[at] = t;
    t->heap_next = at + 1;
}

static void heap_up(loop *l, size_t at, loop_timer *t)
{
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (l->timers[parent]->due <= t->due)
            break;
        heap_put(l, at, l->timers[parent]);
        at = parent;
    }
    heap_put(l, at, t);
}

static void heap_down(loop *l, size_t at, loop_timer *t)
{
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= l->timers_count)
            break;
        if (child + 1 < l->timers_count && l->timers[child + 1]->due < l->timers[child]->due)
            child++;
        if (t->due <= l->timers[child]->due)
            break;
        heap_put(l, at, l->timers[child]);
        at = child;
    }
    heap_put(l, at, t);
}

static void heap_remove(loop *l, loop_timer *t)
{
    size_t at = t->heap_next - 1;
    must(at < l->timers_count && l->timers[at] == t);
    loop_timer *last = l->timers[--l->timers_count];
    t->heap_next = 0;
    if (last == t)
        return;
    if (at > 0 && l->timers[(at - 1) / 2]->due > last->due)
        heap_up(l, at, last);
    else
        heap_down(l, at, last);
}

/* Arms libuv's timer for the earliest of ours, rounded up to its milliseconds. */
static void alarm_set(loop *l)
{
    if (l->timers_count == 0) {
        uv_timer_stop(&l->alarm);
        return;
    }
    uv_update_time(&l->uv);
    ns now = clock_mono(), due = l->timers[0]->due;
    uint64_t wait_ms = due <= now ? 0 : (due - now + NS_PER_MS - 1) / NS_PER_MS;
    if (wait_ms == 0 && l->in_timers) { /* libuv would call us before it looks at descriptors */
        wait_ms = 1;
        l->alarm_due = true; /* hooks_run sets it to 0, which is then for the next turn */
    }
    uv_timer_start(&l->alarm, timers_run, wait_ms, 0);
}

static void timers_run(uv_timer_t *h)
{
    loop *l = h->data;
    l->now = clock_mono();
    l->in_timers = true;
    /* Those that callbacks start now wait for the next round, even with 0. */
    for (size_t n = l->timers_count; n > 0 && l->timers_count > 0; n--) {
        loop_timer *t = l->timers[0];
        if (t->due > l->now)
            break;
        heap_remove(l, t);
        t->f(t->user);
    }
    alarm_set(l);
    l->in_timers = false;
}

bool loop_timer_start(loop *l, loop_timer *t, ns after, void (*f)(void *user), void *user)
{
    loop_timer_stop(t);
    if (l->timers_count == l->timers_cap) {
        size_t cap = l->timers_cap ? l->timers_cap * 2 : 64;
        loop_timer **grown = realloc(l->timers, cap * sizeof *grown);
        if (!grown)
            return false;
        l->timers = grown;
        l->timers_cap = cap;
    }
    ns now = clock_mono();
    *t = (loop_timer){
        .l = l, .due = after > UINT64_MAX - now ? UINT64_MAX : now + after, .f = f, .user = user};
    heap_up(l, l->timers_count++, t);
    if (l->timers[0] == t)
        alarm_set(l);
    return true;
}

/* The alarm stays as it was unless no timer is left: one wake-up too many is cheaper than arming
 * it anew at each stop. */
void loop_timer_stop(loop_timer *t)
{
    if (!t->heap_next)
        return;
    loop *l = t->l;
    heap_remove(l, t);
    if (l->timers_count == 0)
        alarm_set(l);
}

/* --- signals --- */

struct loop_signal {
    uv_signal_t uv;
    void (*f)(void *user, int signo);
    void *user;
};

static void handle_free(uv_handle_t *h) { free(h->data); }

static void signal_came(uv_signal_t *h, int signo)
{
    loop_signal *s = h->data;
    s->f(s->user, signo);
}

bool loop_signal_open(loop *l, int signo, void (*f)(void *user, int signo), void *user,
                      loop_signal **ret_signal, err *e)
{
    loop_signal *s = calloc(1, sizeof *s);
    if (!s)
        return err_no_memory(e);
    s->f = f;
    s->user = user;
    int code = uv_signal_init(&l->uv, &s->uv);
    if (code) {
        free(s);
        return err_set_uv(e, code, "cannot watch signals");
    }
    s->uv.data = s;
    code = uv_signal_start(&s->uv, signal_came, signo);
    if (code) {
        uv_close((uv_handle_t *)&s->uv, handle_free);
        return err_set_uv(e, code, "cannot watch a signal");
    }
    uv_unref((uv_handle_t *)&s->uv);
    *ret_signal = s;
    return true;
}

void loop_signal_close(loop_signal *s)
{
    if (s)
        uv_close((uv_handle_t *)&s->uv, handle_free);
}

/* --- descriptors --- */

struct loop_watch {
    uv_poll_t uv;
    void (*f)(void *user, unsigned events);
    void *user;
    unsigned events;
};

static void watch_came(uv_poll_t *h, int status, int events)
{
    loop_watch *w = h->data;
    if (status < 0) { /* POLLERR: libuv has stopped watching; whoever reads gets the errno */
        unsigned was = w->events;
        w->events = 0;
        w->f(w->user, was);
        return;
    }
    w->f(w->user,
         (events & UV_READABLE ? LOOP_READABLE : 0u) | (events & UV_WRITABLE ? LOOP_WRITABLE : 0u));
}

bool loop_watch_open(loop *l, int fd, void (*f)(void *user, unsigned events), void *user,
                     loop_watch **ret_watch, err *e)
{
    loop_watch *w = calloc(1, sizeof *w);
    if (!w)
        return err_no_memory(e);
    w->f = f;
    w->user = user;
    int code = uv_poll_init(&l->uv, &w->uv, fd);
    if (code) {
        free(w);
        return err_set_uv(e, code, "cannot watch a descriptor");
    }
    w->uv.data = w;
    *ret_watch = w;
    return true;
}

void loop_watch_set(loop_watch *w, unsigned events)
{
    if (events == w->events)
        return;
    w->events = events;
    if (events == 0) {
        uv_poll_stop(&w->uv);
        return;
    }
    uv_poll_start(&w->uv,
                  (events & LOOP_READABLE ? UV_READABLE : 0) |
                      (events & LOOP_WRITABLE ? UV_WRITABLE : 0),
                  watch_came);
}

void loop_watch_close(loop_watch *w)
{
    if (w)
        uv_close((uv_handle_t *)&w->uv, handle_free);
}
