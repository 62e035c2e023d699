/* See keeper_calls.h.
 *
 *   something changed ─▶ BACKLOG (one at a time, not more often than LOOK_NS) ─▶ pace_plan
 *     ─▶ PLAN to all workers ─▶ pace_step ─▶ RUN to some ─▶ the timer, for what comes next
 *
 * What other nodes change in a queue that is shared, the store process tells (QUEUE_NEWS).
 *
 * Load: keeper_load.h. Grid: published points by slot, else our own
 * forecast by the hour, else flat. */
#include "platform/keeper_calls.h"

#include "base/limits.h"
#include "base/log.h"
#include "carbon/outlook.h"
#include "carbon/when.h"
#include "platform/calls_message.h"
#include "platform/keeper_crons.h"
#include "platform/keeper_load.h"
#include "store/queue_client.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define LOOK_NS       (50 * NS_PER_MS)
#define NEWS_NS       (500 * NS_PER_MS)
#define RETRY_S       5
#define PURGE_EVERY_S 3600
enum { SLOTS_READ_MAX = 4096 };

typedef struct peer {
    struct peer *next;
    keeper_calls *c;
    channel *channel;
    uint64_t holder; /* 0: it has not said yet */
} peer;

struct keeper_calls {
    keeper *k;
    peer *links;
    unsigned workers, turn; /* turn: who is next */
    pace pace;
    double cpus;
    bool planned;
    queue_backlog backlog;
    uint64_t ready; /* calls of the backlog that may run now */
    store_call *asking;
    bool dirty;            /* look again once the answer is there */
    store_call *listening; /* for news of other nodes */
    loop_timer news;       /* then they are looked at */
    loop_timer soon;
    ns looked;
    int timer_fd;
    loop_watch *timer;
    keeper_load load;
    outlook outlook;   /* of outlook_h */
    int64_t outlook_h; /* 0: none yet */
    /* Of the slots from grid_slot on; grid_slot 0: to be read anew. */
    double grid[PACE_SLOTS];
    int64_t grid_slot;
    bool sourced;
    uint64_t worker_cpu_ns;
    ns util_at;
    int64_t purged_s;
    struct errand *errands;
};

/* --- errands: the store is to do something with many calls ------------------------------------ */

typedef struct errand {
    struct errand *next;
    keeper_calls *c;
    store_call *k;
    store_kind kind;     /* QUEUE_GIVE_BACK, QUEUE_PURGE or QUEUE_APP_GONE */
    uint64_t holder;     /* of GIVE_BACK */
    queue_app_gone gone; /* of APP_GONE; gone.from: as far as it has come */
    const char *what;
    bool asked_again;
    loop_timer again;
} errand;

static void on_errand(void *user);
static void errand_failed(errand *x, const err *e);

static void errand_free(errand *x)
{
    loop_timer_stop(&x->again);
    errand **at = &x->c->errands;
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    store_call_free(x->k);
    free(x);
}

static store_call *errand_ask(const errand *x)
{
    store_client *store = x->c->k->store;
    return x->kind == QUEUE_GIVE_BACK ? queue_ask_give_back(store, x->holder)
           : x->kind == QUEUE_PURGE ? queue_ask_purge(store)
                                    : queue_ask_app_gone(store, &x->gone, S("its app was deleted"));
}

static void errand_send(errand *x)
{
    err e;
    err_no_memory(&e);
    x->k = errand_ask(x);
    if (x->k && store_call_send(x->k, on_errand, x, &e))
        return;
    store_call_free(x->k);
    x->k = NULL;
    errand_failed(x, &e);
}

static void on_errand_time(void *user) { errand_send(user); }

/* Nobody else will ask, so it is asked until it works. Only: where nodes share the queue the number
 * of what was deleted comes back with its name, and what is asked late would end calls of the next
 * one; that is asked once more, of the next store process. What is to be purged waits for the next
 * time. */
static void errand_failed(errand *x, const err *e)
{
    bool once = x->kind == QUEUE_APP_GONE && x->c->k->config.serve.queue_is_shared;
    if (x->kind == QUEUE_PURGE || (once && x->asked_again)) {
        log_msg(LOG_ERROR, "%s: %s", x->what, e->text);
        errand_free(x);
        return;
    }
    log_msg(LOG_WARN, "%s: %s; it is asked again", x->what, e->text);
    x->asked_again = true;
    if (once)
        errand_send(x);
    else
        loop_timer_start(x->c->k->l, &x->again, RETRY_S * NS_PER_S, on_errand_time, x);
}

/* A sweep takes a bounded number of calls at a time: as long as there is more it is sent again. */
static void on_errand(void *user)
{
    errand *x = user;
    store_message *m = store_call_answer(x->k);
    queue_swept swept = {0};
    err e;
    bool ok = x->kind == QUEUE_GIVE_BACK ? queue_answer_ok(m, &e) : queue_swept_read(m, &swept, &e);
    store_call_free(x->k);
    x->k = NULL;
    if (!ok) {
        errand_failed(x, &e);
        return;
    }
    keeper_calls_look(x->c);
    x->gone.from = swept.next;
    if (swept.next)
        errand_send(x);
    else
        errand_free(x);
}

static void errand_begin(keeper_calls *c, const errand *of)
{
    errand *x = malloc(sizeof *x);
    if (!x) {
        log_msg(LOG_ERROR, "%s: no memory", of->what);
        return;
    }
    *x = *of;
    x->c = c;
    x->next = c->errands;
    c->errands = x;
    errand_send(x);
}

void keeper_calls_app_gone(keeper_calls *c, uint64_t number, uint64_t tenant)
{
    if (c)
        errand_begin(c, &(errand){.kind = QUEUE_APP_GONE,
                                  .gone = {.app = number, .tenant = tenant, .forget = !number},
                                  .what = "deferred calls of a deleted app"});
}

/* --- what is known of grid and load ----------------------------------------------------------- */

static int64_t hour_of(int64_t s) { return s - s % WHEN_HOUR_S; }

static void outlook_look(keeper_calls *c, int64_t now_s)
{
    _cleanup_(arena_fini) arena a;
    int64_t hour = hour_of(now_s);
    err e;
    arena_init(&a, 256 * MIB);
    if (c->outlook_h == hour)
        return;
    c->outlook_h = hour;
    if (!outlook_of(c->k, &a, PACE_SLOTS, &c->outlook, &e))
        c->outlook = (outlook){0};
}

static double outlook_at(const outlook *o, int64_t at_s)
{
    int64_t i = (at_s - o->start_s) / WHEN_HOUR_S;
    return o->hours && at_s >= o->start_s && i < (int64_t)o->hours ? o->g_per_kwh[i] : (double)NAN;
}

/* True: some value is of a source. */
static bool intensities(keeper_calls *c, int64_t now_s, double ret[PACE_SLOTS])
{
    _cleanup_(arena_fini) arena a;
    intensity_series s = {0};
    err e;
    int64_t slot = c->pace.view.slot_s, from = now_s - now_s % slot;
    int32_t step = slot < WHEN_HOUR_S ? (int32_t)slot : WHEN_HOUR_S;
    double sum = 0;
    size_t known = 0;
    arena_init(&a, 64 * MIB);
    outlook_look(c, now_s);
    if (!keeper_intensity(c->k, &a, from - WHEN_HOUR_S, from + (int64_t)PACE_SLOTS * slot + 1, step,
                          true, &s, &e))
        s.n = 0;
    for (size_t k = 0; k < PACE_SLOTS; k++) {
        int64_t at = from + (int64_t)k * slot;
        ret[k] = s.n ? intensity_at(&s, at) : (double)NAN;
        if (isnan(ret[k]))
            ret[k] = outlook_at(&c->outlook, at);
        if (isnan(ret[k]))
            continue;
        sum += ret[k];
        known++;
    }
    double usual = known ? sum / (double)known : c->k->config.grid.yearly_g_per_kwh;
    for (size_t k = 0; k < PACE_SLOTS; k++)
        if (isnan(ret[k]))
            ret[k] = isnan(usual) ? INTENSITY_WORLD : usual;
    return known > 0;
}

void keeper_calls_intensity(keeper *k, int64_t accepted_s, int64_t ran_s, double *ret_accepted,
                            double *ret_ran)
{
    _cleanup_(arena_fini) arena a;
    intensity_series s = {0};
    err e;
    int64_t slot = grid_slot_s(&k->config.grid);
    int64_t from = accepted_s < ran_s ? accepted_s : ran_s,
            to = accepted_s < ran_s ? ran_s : accepted_s;
    int32_t step = slot < WHEN_HOUR_S ? (int32_t)slot : WHEN_HOUR_S;
    arena_init(&a, 64 * MIB);
    *ret_accepted = *ret_ran = (double)NAN;
    if (!keeper_intensity(k, &a, hour_of(from) - WHEN_HOUR_S, to + 2 * WHEN_HOUR_S, step, false, &s,
                          &e) ||
        !s.n)
        return;
    *ret_accepted = intensity_at(&s, accepted_s);
    *ret_ran = intensity_at(&s, ran_s);
}

/* CPU of the workers since the last time, as a share of what they could have used. */
static void utilisation_look(keeper_calls *c, int64_t now_s)
{
    uint64_t cpu = 0;
    ns now = loop_now(c->k->l);
    unsigned n = 0;
    for (worker_link *w = c->k->workers; w; w = w->next, n++)
        cpu += clock_process_cpu_of(w->pid);
    double spent = cpu > c->worker_cpu_ns ? (double)(cpu - c->worker_cpu_ns) : 0;
    double could = (double)(now - c->util_at) * n;
    bool is_time = now - c->util_at >= (ns)pace_utilisation_s(&c->pace) * NS_PER_S;
    if (c->util_at && could > 0 && is_time)
        pace_utilisation(&c->pace, now_s, spent / could);
    if (!c->util_at || is_time) {
        c->util_at = now;
        c->worker_cpu_ns = cpu;
    }
}

/* --- telling workers -------------------------------------------------------------------------- */

static void say(peer *l, const calls_message *m)
{
    err e;
    if (!channel_send(l->channel, calls_message_bytes(m), -1, &e))
        log_msg(LOG_WARN, "a worker is not told of deferred calls: %s", e.text);
}

static void plan_tell(keeper_calls *c)
{
    calls_message m = {.kind = CALLS_PLAN, .plan = c->pace.view};
    for (peer *l = c->links; l; l = l->next)
        say(l, &m);
}

static peer *peer_next(keeper_calls *c)
{
    unsigned n = c->workers ? c->turn++ % c->workers : 0;
    peer *l = c->links;
    while (l && n--)
        l = l->next;
    return l ? l : c->links;
}

/* A little goes to one worker, in turn; a lot is divided. */
static void run_tell(keeper_calls *c, const pace_decision *d)
{
    calls_message m = {.kind = CALLS_RUN, .count = DEFER_RUNNING_MAX};
    m.run.shortage = d->shortage;
    if (d->urgent_by_s) {
        m.run.urgent = true;
        m.run.deadline_max_ms = d->urgent_by_s * 1000;
        for (peer *l = c->links; l; l = l->next)
            say(l, &m);
        m.run.urgent = false;
    }
    if (d->begin_cpu_s <= 0)
        return;
    bool all = isinf(d->begin_cpu_s), divided = all || d->begin_cpu_s > c->workers;
    double part = divided ? d->begin_cpu_s / c->workers : d->begin_cpu_s;
    m.run.cpu_max_ns = all ? 0 : (uint64_t)(part * 1e9) + 1;
    m.run.deadline_max_ms = all ? d->all_by_s * 1000 : 0;
    /* Nobody takes, and holds back for what it knows of an app, what others could begin. */
    if (all && c->ready / c->workers < m.count)
        m.count = (uint32_t)(c->ready / c->workers) + 1;
    for (peer *l = c->links; divided && l; l = l->next)
        say(l, &m);
    if (!divided)
        say(peer_next(c), &m);
}

/* --- the timer -------------------------------------------------------------------------------- */

static void timer_set(keeper_calls *c, int64_t at_s)
{
    struct itimerspec t = {.it_value = {.tv_sec = at_s == INT64_MAX ? 0 : at_s}};
    /* Not armed it tells nobody that the clock was set; then nothing depends on it either. */
    timerfd_settime(c->timer_fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &t, NULL);
}

static void on_timer(void *user, unsigned events)
{
    keeper_calls *c = user;
    uint64_t times;
    if (read(c->timer_fd, &times, sizeof times) < 0 && errno == EAGAIN)
        return;
    keeper_calls_look(c); /* it is time, or (ECANCELED) the clock was set */
}

static int64_t earlier(int64_t a, int64_t ms)
{
    int64_t s = (ms + 999) / 1000;
    return ms && s < a ? s : a;
}

/* --- looking ---------------------------------------------------------------------------------- */

static void purge(keeper_calls *c, int64_t now_s)
{
    if (now_s - c->purged_s < PURGE_EVERY_S && now_s >= c->purged_s)
        return;
    c->purged_s = now_s;
    errand_begin(
        c, &(errand){.kind = QUEUE_PURGE, .what = "deferred calls whose time of keeping is over"});
}

static bool plan(keeper_calls *c, int64_t now_s, const uint8_t *slots, size_t n, err *e)
{
    static pace_work work[SLOTS_READ_MAX];
    double reserved[PACE_SLOTS], arrivals[PACE_SLOTS];
    if (n > SLOTS_READ_MAX)
        n = SLOTS_READ_MAX;
    c->ready = 0;
    for (size_t i = 0; i < n; i++) {
        queue_slot s = queue_slot_at(slots, i);
        c->ready += s.ready_count;
        work[i] = (pace_work){s.slot, (double)s.ready_cpu_ns / 1e9, (double)s.later_cpu_ns / 1e9};
    }
    int64_t slot = now_s / c->pace.view.slot_s;
    if (c->grid_slot != slot)
        c->sourced = intensities(c, now_s, c->grid);
    c->grid_slot = slot;
    c->pace.view.sourced = c->sourced;
    c->pace.view.j_per_cpu_s = c->load.j_per_cpu_s = c->k->power.busy_w * c->k->power.pue;
    keeper_load_forecast(&c->load, now_s, c->pace.view.slot_s, reserved, arrivals);
    pace_forecast f = {c->grid, reserved, arrivals, keeper_load_slack_s(&c->load)};
    return pace_plan(&c->pace, now_s, work, n, &f, e);
}

static void on_news_time(void *user) { keeper_calls_look(user); }

/* Not at once: another node that is busy has news all the time. */
static void on_news(void *user)
{
    keeper_calls *c = user;
    store_message *m = store_call_answer(c->listening);
    err e;
    bool ok = queue_answer_ok(m, &e);
    store_call_free(c->listening);
    c->listening = NULL;
    if (!ok)
        log_msg(LOG_WARN, "other nodes' deferred calls are not heard of now: %s", e.text);
    loop_timer_start(c->k->l, &c->news, ok ? NEWS_NS : RETRY_S * NS_PER_S, on_news_time, c);
}

static void news_listen(keeper_calls *c)
{
    err e;
    err_no_memory(&e);
    c->listening = queue_ask_news(c->k->store);
    if (c->listening && store_call_send(c->listening, on_news, c, &e))
        return;
    store_call_free(c->listening);
    c->listening = NULL;
    log_msg(LOG_WARN, "other nodes' deferred calls are not heard of now: %s", e.text);
}

static void on_backlog(void *user)
{
    keeper_calls *c = user;
    store_call *k = c->asking;
    const uint8_t *slots;
    size_t n;
    err e;
    int64_t now_s = keeper_now_s();
    c->asking = NULL;
    bool ok = queue_backlog_read(store_call_answer(k), &c->backlog, &slots, &n, &e) &&
              plan(c, now_s, slots, n, &e);
    store_call_free(k);
    if (!ok) {
        log_msg(LOG_WARN, "deferred calls can't be planned now: %s", e.text);
        timer_set(c, now_s + RETRY_S);
        return;
    }
    c->planned = true;
    utilisation_look(c, now_s);
    pace_decision d = pace_step(&c->pace, now_s, (c->backlog.next_deadline_ms + 999) / 1000,
                                (c->backlog.next_start_ms + 999) / 1000);
    plan_tell(c);
    if (c->links)
        run_tell(c, &d);
    if (c->backlog.leased)
        d.wake_s = earlier(d.wake_s, c->backlog.next_expiry_ms);
    purge(c, now_s);
    int64_t over_ms = c->backlog.next_over_ms, may_ms = (c->purged_s + PURGE_EVERY_S) * 1000;
    if (over_ms)
        d.wake_s = earlier(d.wake_s, over_ms > may_ms ? over_ms : may_ms);
    int64_t cron = keeper_crons_look(c->k->crons, now_s);
    d.wake_s = cron < d.wake_s ? cron : d.wake_s;
    if (c->k->config.serve.queue_is_shared && !c->listening && !loop_timer_active(&c->news))
        news_listen(c);
    timer_set(c, d.wake_s > now_s ? d.wake_s : now_s + 1);
    if (c->dirty)
        keeper_calls_look(c);
}

static void look(void *user)
{
    keeper_calls *c = user;
    err e;
    if (c->asking || !store_client_connected(c->k->store))
        return;
    c->dirty = false;
    c->looked = loop_now(c->k->l);
    c->k->grid_asked |= keeper_grid_ask(c->k->grid, keeper_now_s());
    c->asking = queue_ask_backlog(c->k->store, c->pace.view.slot_s * 1000);
    if (c->asking && store_call_send(c->asking, on_backlog, c, &e))
        return;
    store_call_free(c->asking);
    c->asking = NULL;
    log_msg(LOG_ERROR, "no memory to plan deferred calls");
}

void keeper_calls_look(keeper_calls *c)
{
    if (!c)
        return;
    c->dirty = true;
    if (c->asking || loop_timer_active(&c->soon))
        return;
    ns now = loop_now(c->k->l), next = c->looked + LOOK_NS;
    loop_timer_start(c->k->l, &c->soon, next > now ? next - now : 0, look, c);
}

/* --- workers ---------------------------------------------------------------------------------- */

static void ran(keeper_calls *c, const calls_message *m)
{
    pace_begun(&c->pace, m->ran.started_cpu_s);
    if (m->ran.ended_cpu_s > 0)
        keeper_load_ran(&c->load, keeper_now_s(), m->ran.ended_cpu_s);
    if (m->ran.came_cpu_s > 0)
        keeper_load_came(&c->load, keeper_now_s(), m->ran.came_cpu_s,
                         m->ran.came_slack_s / m->ran.came_cpu_s);
}

static void on_message(void *user, bytes message, int fd)
{
    peer *l = user;
    keeper_calls *c = l->c;
    calls_message m;
    err e;
    if (fd >= 0)
        close(fd);
    if (!calls_message_read(message, &m)) {
        log_msg(LOG_ERROR, "a worker's message about deferred calls is damaged");
        return;
    }
    switch (m.kind) {
    case CALLS_HELLO:
        l->holder = m.ask;
        keeper_calls_look(c);
        return;
    case CALLS_RAN:
        ran(c, &m);
        return;
    case CALLS_ENDED:
        if (!book_deferred(&c->k->book, m.ended.app, m.ended.component, m.ended.accepted_s,
                           m.ended.ran_s, m.ended.energy_j, &e))
            log_msg(LOG_WARN, "what waiting saved is not summed: %s", e.text);
        return;
    case CALLS_CHANGED:
        keeper_calls_look(c);
        return;
    case CALLS_PRICE:
        keeper_calls_intensity(c->k, m.price.accepted_s, m.price.ran_s, &m.price.accepted_g_per_kwh,
                               &m.price.ran_g_per_kwh);
        m.kind = CALLS_PRICED;
        say(l, &m);
        return;
    case CALLS_PLAN:
    case CALLS_RUN:
    case CALLS_PRICED:
    case CALLS_KINDS_END:
        return;
    }
}

static void on_end(void *user)
{
    peer *l = user;
    keeper_calls *c = l->c;
    peer **at = &c->links;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    c->workers--;
    if (l->holder && store_client_connected(c->k->store))
        errand_begin(c, &(errand){.kind = QUEUE_GIVE_BACK,
                                  .holder = l->holder,
                                  .what = "calls that a worker had leased when it ended"});
    channel_close(l->channel);
    free(l);
    keeper_stop_if_unused(c->k);
}

void keeper_calls_add_take(keeper_calls *c, int fd)
{
    static const channel_callbacks callbacks = {on_message, on_end};
    err e;
    peer *l = calloc(1, sizeof *l);
    if (!l) {
        close(fd);
        return;
    }
    *l = (peer){.next = c->links, .c = c};
    if (!channel_open_take(c->k->l, fd, &callbacks, l, &l->channel, &e)) {
        log_msg(LOG_ERROR, "a worker runs no deferred calls: %s", e.text);
        free(l);
        return;
    }
    c->links = l;
    c->workers++;
    if (c->planned)
        plan_tell(c);
}

void keeper_calls_forecast(keeper_calls *c)
{
    if (c)
        c->grid_slot = c->outlook_h = 0;
    keeper_calls_look(c);
}

unsigned keeper_calls_workers(const keeper_calls *c) { return c->workers; }
const pace_view *keeper_calls_plan(const keeper_calls *c) { return &c->pace.view; }
queue_backlog keeper_calls_backlog(const keeper_calls *c) { return c->backlog; }
double keeper_calls_unplaced(const keeper_calls *c) { return c->pace.unplaced_cpu_s; }

/* --- life ------------------------------------------------------------------------------------- */

bool keeper_calls_new(keeper *k, keeper_calls **ret, err *e)
{
    keeper_calls *c = calloc(1, sizeof *c);
    if (!c)
        return err_no_memory(e);
    const grid_config *g = &k->config.grid;
    double cpus = k->config.workers > 0 ? k->config.workers : 1;
    c->k = k;
    if (g->threads > 0 && g->threads < cpus)
        cpus = g->threads;
    pace_init(&c->pace, grid_slot_s(g), cpus);
    c->pace.view.hour_s = grid_hour_s(g);
    keeper_load_init(&c->load, k->file, grid_hour_s(g));
    c->timer_fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (c->timer_fd < 0) {
        free(c);
        return err_set_errno(e, "timerfd");
    }
    if (!loop_watch_open(k->l, c->timer_fd, on_timer, c, &c->timer, e)) {
        close(c->timer_fd);
        free(c);
        return false;
    }
    loop_watch_set(c->timer, LOOP_READABLE);
    *ret = c;
    return true;
}

void keeper_calls_free(keeper_calls *c)
{
    if (!c)
        return;
    while (c->links) {
        peer *l = c->links;
        c->links = l->next;
        channel_close(l->channel);
        free(l);
    }
    while (c->errands)
        errand_free(c->errands);
    store_call_free(c->asking);
    store_call_free(c->listening);
    loop_timer_stop(&c->soon);
    loop_timer_stop(&c->news);
    loop_watch_close(c->timer);
    close(c->timer_fd);
    free(c);
}
