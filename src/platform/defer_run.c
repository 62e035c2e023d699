/* Running deferred calls (deferral.h): the keeper says how much, the store hands out which ones.
 *
 *     LEASE ─▶ app found ─▶ flow lets it ─▶ inner request ─▶ call ... ─▶ END | RETRY
 *
 * What an answer means: 2xx and 3xx are done; 4xx has failed, and trying again would not help; 5xx,
 * 408, 425, 429, a trap or no answer at all is tried again after a while that doubles, until the
 * attempts of the call are used up. Per app a controller (sched/flow.h) cuts the rate where answers
 * say that it is too much, and lets it grow slowly: what it holds back is given back to the queue
 * once, until its turn comes, but not for longer than its deadline leaves it. */
#include "platform/deferral_impl.h"

#include "base/limits.h"
#include "base/log.h"
#include "base/must.h"
#include "platform/call.h"

#include <math.h>
#include <stdlib.h>

#define EXTEND_EVERY_NS (DEFER_LEASE_MS / 3 * NS_PER_MS)
#define ESTIMATE_SHARE  0.2 /* of the newest call in a component's running mean */

/* --- flow per app ----------------------------------------------------------------------------- */

struct app_flow {
    struct app_flow *next;
    uint64_t app;
    aimd flow;
    ns used;
    ns window; /* FLOW_FREE_CALLS may begin in it at once, unless its answers were bad */
    unsigned begun;
};

/* A clock in which the day of the node is a day, so that it is one in a rehearsal too. */
static double flow_scale(const deferral *d)
{
    return d->view.hour_s > 0 ? 3600.0 / (double)d->view.hour_s : 1;
}

static ns flow_now(const deferral *d) { return (ns)((double)loop_now(d->l) * flow_scale(d)); }

/* Of an app that was quiet for an hour nothing is remembered. */
static void flows_forget(deferral *d, ns now)
{
    for (app_flow **at = &d->flows, *f; (f = *at);)
        if (now - f->used > 3600 * NS_PER_S) {
            *at = f->next;
            free(f);
        } else {
            at = &f->next;
        }
}

static app_flow *flow_of(deferral *d, uint64_t number)
{
    ns now = flow_now(d);
    for (app_flow *f = d->flows; f; f = f->next)
        if (f->app == number) {
            f->used = now;
            return f;
        }
    flows_forget(d, now);
    app_flow *f = calloc(1, sizeof *f);
    if (f) {
        *f = (app_flow){.next = d->flows, .app = number, .used = now};
        aimd_init(&f->flow, now, 1e6);
        d->flows = f;
    }
    return f;
}

/* Slow start is for many calls: those that are free in a window need no token. */
static bool flow_lets_new(app_flow *f, ns now)
{
    return !aimd_has_line(&f->flow, now) &&
           (aimd_take(&f->flow, now) ||
            (f->flow.limit >= FLOW_FREE_CALLS && f->begun < FLOW_FREE_CALLS));
}

/* waited: it stood in the line, or was given back for another reason. */
static bool flow_lets(deferral *d, app_flow *f, bool waited)
{
    ns now = flow_now(d);
    if (now - f->window >= FLOW_WINDOW_S * NS_PER_S) {
        f->window = now;
        f->begun = 0;
    }
    if (!(waited ? aimd_take_turn(&f->flow, now) : flow_lets_new(f, now)))
        return false;
    f->begun++;
    return true;
}

/* After how long its turn comes. */
static int64_t flow_wait_ms(deferral *d, app_flow *f)
{
    ns now = flow_now(d);
    return (int64_t)((double)(aimd_turn(&f->flow, now) - now) / flow_scale(d) / NS_PER_MS) + 1;
}

/* --- a run's life ----------------------------------------------------------------------------- */

static void extend(void *user);

static void extend_arm(deferral *d)
{
    if (d->runs && !loop_timer_active(&d->extend_timer))
        loop_timer_start(d->l, &d->extend_timer, EXTEND_EVERY_NS, extend, d);
    if (!d->runs)
        loop_timer_stop(&d->extend_timer);
}

static void waiter_tell(run *r, const inner_result *result)
{
    void (*f)(void *, const inner_result *) = r->waiter;
    r->waiter = NULL;
    if (f)
        f(r->waiter_user, result);
}

void run_free(run *r)
{
    deferral *d = r->d;
    waiter_tell(r, NULL);
    run **at = &d->runs;
    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    d->running--;
    store_call_free(r->asking);
    inner_free(r->inner);
    host_post_free(r->post);
    served_let(r->app);
    arena_fini(&r->a);
    free(r);
    extend_arm(d);
    if (!d->runs && d->on_empty)
        d->on_empty(d->on_empty_user);
}

/* What its waiting saved or cost, the keeper sums (usage_file.h). */
static void saved_tell(const run *r)
{
    calls_message m = {.kind = CALLS_ENDED};
    m.ended.app = r->app->config.id;
    m.ended.component = (uint64_t)(r->component - r->app->hosted);
    m.ended.accepted_s = r->info.accepted_ms / 1000;
    m.ended.ran_s = r->ran_s;
    m.ended.energy_j = r->energy_j;
    deferral_say(r->d, &m);
}

/* What may or may not have happened is asked once more: if it had, that is refused, and nothing is
 * counted. While ebb stops no other store process comes. */
static void on_told(void *user)
{
    run *r = user;
    deferral *d = r->d;
    err e;
    bool ok = queue_answer_ok(store_call_answer(r->asking), &e);
    bool may_ask = !d->draining || store_client_connected(d->store);
    if (!ok && e.code == ERR_IO && !r->asked_again && may_ask) {
        r->asked_again = true;
        store_call_send_again(r->asking);
        return;
    }
    if (ok && r->saves) {
        saved_tell(r);
    } else if (!ok && e.code != ERR_CONFLICT && e.code != ERR_NOT_FOUND) {
        log_line(LOG_WARN, "deferred-untold");
        log_str("call", str_from(r->inner ? inner_id(r->inner) : "?"));
        log_str("reason", str_from(e.text));
        log_end();
    }
    deferral_changed(d);
    run_free(r);
}

static void tell(run *r, store_call *k)
{
    err e;
    r->asking = k;
    if (k)
        store_call_keep(k);
    if (k && store_call_send(k, on_told, r, &e))
        return;
    log_msg(LOG_ERROR, "what a deferred call came to can't be kept, it will run again: %s",
            k ? e.text : "no memory");
    run_free(r);
}

static queue_held held_of(const run *r)
{
    return (queue_held){.id = r->info.id, .attempt = r->info.attempts};
}

static queue_use use_of(const run *r, const inner_result *result)
{
    const pace_view *v = &r->d->view;
    double cpu_s = result ? (double)result->cpu_ns / 1e9 : 0;
    return (queue_use){.cpu_ns = result ? result->cpu_ns : 0,
                       .wall_ns = result ? result->wall_ns : 0,
                       .energy_nj = (uint64_t)(cpu_s * v->j_per_cpu_s * 1e9),
                       .intensity_g_per_kwh = v->slots ? v->intensity[0] : 0};
}

void run_give_back(run *r, int64_t after_ms, const char *why)
{
    queue_retry q = {.held = held_of(r), .at_ms = now_ms() + after_ms, .counts = 0};
    tell(r, queue_ask_retry(r->d->store, &q, str_from(why)));
}

/* This node has not its revision: the store leaves it to others. */
static void run_leave(run *r)
{
    queue_retry q = {.held = held_of(r), .at_ms = now_ms(), .lacks = 1};
    tell(r, queue_ask_retry(r->d->store, &q,
                            S("a node that shares the queue has not the app's revision that "
                              "accepted it")));
}

void run_retry(run *r, const inner_result *result, const char *why)
{
    /* 1, 2, 4, ... seconds, at most ten minutes, and a tenth at random so that not all come at
     * once; but before the deadline, if that is still ahead. */
    uint32_t n = r->info.attempts - r->info.excused;
    n -= n > 0;
    int64_t wait = n < 10 ? INT64_C(1000) << n : DEFER_RETRY_MS_MAX, now = now_ms();
    wait = wait < DEFER_RETRY_MS_MAX ? wait : DEFER_RETRY_MS_MAX;
    wait += (int64_t)(r->info.id.bytes[0] % 11) * wait / 100;
    int64_t last = r->info.terms.deadline_ms - (int64_t)(r->estimate_cpu_s * 1000);
    if (now < last && now + wait > last)
        wait = last - now;
    queue_retry q = {
        .held = held_of(r), .at_ms = now + wait, .counts = 1, .use = use_of(r, result)};
    tell(r, queue_ask_retry(r->d->store, &q, str_from(why)));
}

void run_end(run *r, queue_state state, const inner_result *result, const char *note)
{
    _cleanup_(buf_fini) buf out;
    queue_end q = {.held = held_of(r), .state = state, .use = use_of(r, result)};
    buf_init(&out, QUEUE_RESULT_BYTES_MAX);
    deferred_result kept = {0};
    if (result)
        kept = (deferred_result){.status = result->status,
                                 .body_cut = result->body_cut,
                                 .log_cut = result->log_cut,
                                 .fields = result->fields,
                                 .fields_count = result->fields_count,
                                 .body = result->body,
                                 .log = result->log};
    if (result && !deferred_result_write(&kept, &out)) { /* no memory for all of it */
        buf_clear(&out);
        kept.body = (bytes){0};
        kept.body_cut = true;
        deferred_result_write(&kept, &out);
    }
    r->saves = (state == QUEUE_DONE || state == QUEUE_FAILED) && result && result->ran &&
               r->component && r->app;
    if (r->saves) {
        r->ran_s = (now_ms() - (int64_t)(result->wall_ns / NS_PER_MS)) / 1000;
        r->energy_j = (double)q.use.energy_nj / 1e9;
    }
    tell(r, queue_ask_end(r->d->store, &q, str_from(note), buf_bytes(&out)));
}

bool run_is_last(const run *r)
{
    const queue_info *i = &r->info;
    return i->terms.attempts_max && i->attempts - i->excused >= i->terms.attempts_max;
}

static bool is_pushed_back(unsigned status)
{
    return status == 0 || status == 408 || status == 425 || status == 429 || status >= 500;
}

double run_estimate(const hosted *h) { return h->deferred_cpu_s; }

static void estimate_learn(hosted *h, double cpu_s)
{
    h->deferred_cpu_s = h->deferred_cpu_s > 0
                            ? h->deferred_cpu_s + ESTIMATE_SHARE * (cpu_s - h->deferred_cpu_s)
                            : cpu_s;
}

static void on_done(void *user)
{
    run *r = user;
    deferral *d = r->d;
    inner_result result = inner_result_of(r->inner);
    double cpu_s = (double)result.cpu_ns / 1e9;
    bool bad = result.aborted || is_pushed_back(result.status);
    char why[100];
    deferral_told(d, 0, cpu_s, 1);
    if (r->lost) { /* it ended where we stopped it: that says nothing of the others */
        run_free(r);
        return;
    }
    if (result.ran && r->component)
        estimate_learn(r->component, cpu_s);
    app_flow *f = flow_of(d, r->info.terms.app);
    if (f)
        aimd_result(&f->flow, flow_now(d), bad);
    waiter_tell(r, bad ? NULL : &result);
    if (result.aborted && result.status < 500)
        snprintf(why, sizeof why, "attempt %u gave up in the middle of its answer",
                 r->info.attempts);
    else
        snprintf(why, sizeof why, "attempt %u was answered with status %u", r->info.attempts,
                 result.status);
    if (bad && !run_is_last(r))
        run_retry(r, &result, why);
    else if (bad)
        run_end(r, QUEUE_DEAD, &result, why);
    else
        run_end(r, result.status >= 400 ? QUEUE_FAILED : QUEUE_DONE, &result, "");
}

/* --- beginning -------------------------------------------------------------------------------- */

/* What the guest sees: the request as it came, without what was said to the platform, and the
 * call's identity, so that it can tell a second attempt. */
static bool request_make(run *r, inner_request *ret)
{
    const deferred_request *q = &r->request;
    http_field *fields = ARENA_ARRAY(&r->a, http_field, q->fields_count + 2);
    if (!fields)
        return false;
    memcpy(fields, q->fields, q->fields_count * sizeof *fields);
    *ret = (inner_request){.method = q->method,
                           .target = q->target,
                           .authority = q->authority,
                           .scheme = q->scheme,
                           .peer = q->peer,
                           .fields = fields,
                           .fields_count = q->fields_count + 2,
                           .body = q->body,
                           .result_bytes_max = APP_DEFER_RESULT_BYTES,
                           .yields = !r->urgent && !r->waiter,
                           .log_bytes_max = 64 * KIB};
    queue_id_text(&r->info.id, ret->id);
    fields[q->fields_count] =
        (http_field){S("ebb-call"), arena_str(&r->a, (str){ret->id, QUEUE_ID_TEXT})};
    fields[q->fields_count + 1] =
        (http_field){S("ebb-attempt"), arena_printf(&r->a, "%u", r->info.attempts)};
    return fields[q->fields_count].value.p && fields[q->fields_count + 1].value.p;
}

static hosted *component_of(served *s, const deferred_request *q)
{
    route_match m;
    if (q->component.n)
        return served_component(s, q->component);
    route_find(s->routes, target_path(q->target), &m);
    bool fits = m.kind == ROUTE_TRIGGER && !m.trigger->is_static && m.trigger->component >= 0;
    return fits ? &s->hosted[m.trigger->component] : NULL;
}

/* The app is there: the request begins. */
static void begin(run *r)
{
    deferral *d = r->d;
    served *s = r->app;
    inner_request q;
    err e;
    if (r->lost) { /* while its app was looked for */
        run_free(r);
        return;
    }
    if (r->info.terms.trigger == DEFERRED_HOOK) {
        hook_begin(r);
        return;
    }
    r->component = component_of(s, &r->request);
    if (!r->component) {
        run_end(r, QUEUE_DEAD, NULL, "the app's revision has no component for it");
        return;
    }
    if (!request_make(r, &q)) {
        run_give_back(r, 1000, "no memory to run it");
        return;
    }
    q.result_bytes_max = r->component->app->settings.defer.result_bytes_max;
    r->estimate_cpu_s = (double)r->info.terms.cpu_ns / 1e9;
    if (!inner_new(d->l, &q, on_done, r, &r->inner, &e)) {
        run_give_back(r, 1000, e.text);
        return;
    }
    deferral_told(d, r->estimate_cpu_s, 0, 0);
    served_run(s, inner_exchange(r->inner), r->request.component);
}

static void on_app(void *user, served *s, const err *e)
{
    run *r = user;
    r->app = s;
    if (s)
        begin(r);
    else if (e->code == ERR_NOT_FOUND && r->shared)
        run_leave(r);
    else if (e->code == ERR_NOT_FOUND)
        run_end(r, QUEUE_DEAD, NULL, e->text);
    else
        run_give_back(r, 2000, e->text);
}

static run *run_new(deferral *d, const queue_info *info, bytes request)
{
    run *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    arena_init(&r->a, request.n * 2 + 2 * MIB);
    r->d = d;
    r->info = *info;
    r->next = d->runs;
    d->runs = r;
    d->running++;
    extend_arm(d);
    return r;
}

static bool request_take(run *r, bytes request)
{
    bytes own = arena_bytes(&r->a, request);
    return own.p && deferred_request_read(&r->a, own, &r->request);
}

run *run_begin_leased(deferral *d, const queue_info *info, bytes request, served *s,
                      void (*f)(void *user, const inner_result *r), void *user)
{
    run *r = run_new(d, info, request);
    if (!r)
        return NULL;
    served_hold(s);
    r->app = s;
    r->waiter = f;
    r->waiter_user = user;
    if (request_take(r, request))
        begin(r);
    else
        run_end(r, QUEUE_DEAD, NULL, "what was kept of it can't be read");
    return r;
}

/* Until it is urgent. */
static int64_t time_left_ms(const run *r)
{
    const queue_terms *t = &r->info.terms;
    return t->deadline_ms - (int64_t)(t->cpu_ns / NS_PER_MS) - pace_urgent_s(&r->d->view) * 1000 -
           now_ms();
}

static void run_begin(deferral *d, const queue_call *c, bool urgent)
{
    run *r = run_new(d, &c->info, c->request);
    if (!r) {
        log_msg(LOG_ERROR, "no memory to run a deferred call; its lease will expire");
        return;
    }
    r->urgent = urgent;
    bool hook = c->info.terms.trigger == DEFERRED_HOOK;
    if (!(hook ? hook_take(r, c) : request_take(r, c->request))) {
        run_end(r, QUEUE_DEAD, NULL, "what was kept of it can't be read");
        return;
    }
    int64_t after_ms;
    if (hook && !hook_may_begin(r, &after_ms)) {
        run_give_back(r, after_ms, "others of its app, or tenant, are being told");
        return;
    }
    app_flow *f = hook || urgent ? NULL : flow_of(d, c->info.terms.app);
    if (f && !flow_lets(d, f, c->info.excused > 0)) {
        int64_t left = time_left_ms(r);
        if (left > 0) {
            after_ms = flow_wait_ms(d, f);
            run_give_back(r, after_ms < left ? after_ms : left,
                          "its app's rate is held back for a while");
            return;
        }
        r->urgent = true;
    }
    if (d->only) {
        served_hold(d->only);
        on_app(r, d->only, NULL);
    } else {
        const queue_terms *t = &c->info.terms;
        deferred_about about = {0};
        deferred_about_read(c->about, &about);
        r->shared = about.app.n > 0;
        directory_revision(d->directory, &(calls_owner){t->tenant, t->app, t->revision, about.app},
                           on_app, r);
    }
}

/* --- leasing ---------------------------------------------------------------------------------- */

static void on_leased(void *user)
{
    deferral *d = user;
    store_call *k = d->leasing;
    store_message *m = store_call_answer(k);
    queue_call c;
    err e;
    d->leasing = NULL;
    unsigned n = 0;
    if (!queue_answer_ok(m, &e))
        log_msg(LOG_WARN, "no deferred calls to run: %s", e.text);
    else
        for (; queue_call_next(m, &c); n++)
            run_begin(d, &c, d->leasing_urgent);
    store_call_free(k);
    if (d->lease_next.kind) {
        calls_message next = d->lease_next;
        d->lease_next.kind = 0;
        run_lease(d, &next);
    }
    deferral_changed(d); /* what is leased waits no more */
}

void run_lease(deferral *d, const calls_message *m)
{
    err e;
    if (d->leasing) {
        d->lease_next = *m;
        return;
    }
    uint32_t room = d->running < DEFER_RUNNING_MAX ? DEFER_RUNNING_MAX - d->running : 0;
    queue_lease q = {.holder = d->holder,
                     .lease_ms = DEFER_LEASE_MS,
                     .cpu_max_ns = m->run.cpu_max_ns,
                     .deadline_max_ms = m->run.deadline_max_ms,
                     .count = m->count < room ? m->count : room,
                     .shortage = m->run.shortage};
    if (!q.count || d->draining)
        return;
    store_call *k = queue_ask_lease(d->store, &q);
    d->leasing = k;
    d->leasing_urgent = m->run.urgent;
    if (k && store_call_send(k, on_leased, d, &e))
        return;
    d->leasing = NULL;
    log_msg(LOG_ERROR, "deferred calls can't be asked for: %s", k ? e.text : "no memory");
    store_call_free(k);
}

/* --- leases last while calls run -------------------------------------------------------------- */

/* What is not ours any more (cancelled, or given to another because we were too slow) ends. */
static void lose(run *r)
{
    r->lost = true;
    if (r->inner)
        inner_cancel(r->inner);
}

static void on_extended(void *user)
{
    deferral *d = user;
    store_call *k = d->extending;
    const uint8_t *is_held;
    err e;
    d->extending = NULL;
    if (queue_extend_read(store_call_answer(k), d->extended_n, &is_held, &e))
        for (size_t i = 0; i < d->extended_n; i++)
            for (run *r = d->runs; r && !is_held[i]; r = r->next)
                if (memcmp(&r->info.id, &d->extended[i].id, sizeof r->info.id) == 0 &&
                    r->info.attempts == d->extended[i].attempt && !r->asking)
                    lose(r);
    store_call_free(k);
}

static void extend(void *user)
{
    deferral *d = user;
    err e;
    extend_arm(d);
    if (d->extending)
        return;
    d->extended_n = 0;
    for (run *r = d->runs; r && d->extended_n < DEFER_RUNNING_MAX + DEFER_WAITING_MAX; r = r->next)
        if (!r->asking && !r->lost)
            d->extended[d->extended_n++] = held_of(r);
    if (!d->extended_n)
        return;
    d->extending = queue_ask_extend(d->store, DEFER_LEASE_MS, d->extended, d->extended_n);
    if (d->extending && store_call_send(d->extending, on_extended, d, &e))
        return;
    store_call_free(d->extending);
    d->extending = NULL;
}

void run_cancel(deferral *d, const queue_id *id)
{
    for (run *r = d->runs; r; r = r->next)
        if (memcmp(&r->info.id, id, sizeof *id) == 0 && !r->asking)
            lose(r);
}

void runs_free(deferral *d)
{
    d->on_empty = NULL;
    store_call_free(d->leasing);
    store_call_free(d->extending);
    d->leasing = d->extending = NULL;
    while (d->runs)
        run_free(d->runs);
    hook_apps_free(d);
    while (d->flows) {
        app_flow *f = d->flows;
        d->flows = f->next;
        free(f);
    }
}
