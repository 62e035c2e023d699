/* See call.h. One function enters a state (call_run after each step); budgets are looked at where
 * control comes back anyway: when a time slice ends, and by one timer while the guest waits. */
#include "platform/call.h"

#include "base/limits.h"
#include "base/log.h"
#include "base/must.h"
#include "platform/call_log.h"
#include "platform/served.h"

#include <stdio.h>
#include <stdlib.h>

typedef enum {
    CALL_QUEUED,
    CALL_STARTING,
    CALL_HANDLING,
    CALL_RETURNING,
    CALL_DRAINING
} call_state;

enum { CALL_ARENA_BYTES_MAX = 1 << 20, CALLS_KEPT_MAX = 256 };
/* Kept instances that nobody needed for so long go. */
#define KEPT_IDLE_NS (5 * NS_PER_S)
/* What calls that yielded may have of one turn, whatever others had. */
#define OTHERS_NS_MAX (8 * NS_PER_MS)

struct call {
    calls *all;
    hosted *h;
    http_exchange *x;
    inner *deferred; /* the request behind x, if no client sent it */
    guest *g;
    engine_instance *in;
    call_state state;
    bool cold, placed;
    bool in_turns;   /* waits for its turn, as what `sliced` says */
    bool sliced;     /* has used up a slice */
    bool answered;   /* its guest had set a response by then */
    turn_app *share; /* whose turns it takes */
    uint64_t ran;    /* the last round of turns in which it was taken from there */
    turn turn;
    bool emptying; /* its memory is given back in pieces, in its turns */
    bool ending;   /* then call_end, with ending_status */
    unsigned ending_status;
    bool over;        /* handle, and its post-return, ended normally */
    bool over_quota;  /* it found no memory because its tenant has used up his */
    bool restored;    /* the instance had served before */
    unsigned status;  /* for the log */
    call *next;       /* in the done list or the free list */
    waiter place;     /* in the queue of its component */
    loop_timer timer; /* while it waits */
    ns begun, moved_at;
    uint64_t moved; /* guest_moved when moved_at was noted */
    ns cpu_ns;      /* used by the guest so far */
    ns booked_ns;   /* by the engine's clock, which also runs while the thread does not */
    size_t memory_bytes;
    size_t memory_booked;         /* of that, told to the tenant */
    uint64_t log_bytes;           /* that the guest wrote */
    uint64_t bytes_in, bytes_out; /* of the bodies */
    http_request head;            /* what the guest sees */
    str method, path, client;     /* for the log; in the arena */
    trace trace;                  /* where there are any */
    slot slots[2];
    char id[CALL_ID_BYTES];
    arena a;
};

static void call_run(call *c);

static str call_id(const call *c) { return (str){c->id, CALL_ID_BYTES}; }

/* --- lists ------------------------------------------------------------------------------------ */

static void list_push(call **head, call **tail, call *c)
{
    c->next = NULL;
    if (*tail)
        (*tail)->next = c;
    else
        *head = c;
    *tail = c;
}

static call *list_pop(call **head, call **tail)
{
    call *c = *head;
    if (c) {
        *head = c->next;
        if (!*head)
            *tail = NULL;
    }
    return c;
}

static turn_kind kind_of(const call *c) { return c->sliced ? TURN_SLICED : TURN_FRESH; }

/* A call that can wait takes turns with others like it; while its tenant has no CPU time left, with
 * his, so that it is parked as they are. */
static turn_app *share_of(const call *c)
{
    tenant *t = c->h->of->tenant;
    if (!inner_yields(c->deferred) || (t && tenant_cpu_wait(t, loop_now(c->all->l))))
        return &c->h->of->turns;
    return &c->all->yielding_app;
}

static void turn_await(call *c)
{
    c->in_turns = true;
    c->share = share_of(c);
    turns_put(&c->all->turns, c->share, kind_of(c), &c->turn);
}

static void turn_give_up(call *c)
{
    if (c->in_turns)
        turns_drop(&c->all->turns, c->share, kind_of(c), &c->turn);
    c->in_turns = false;
}

/* Under `ebb up` all calls are of one owner. */
static bool turn_is_free(const call *c)
{
    if (inner_yields(c->deferred))
        return !turns_wait(&c->all->turns);
    return !c->h->of->tenant || turns_may_run(&c->all->turns, &c->h->of->turns);
}

/* --- making and ending ------------------------------------------------------------------------ */

static call *call_new(calls *cs)
{
    call *c = cs->free;
    if (c) {
        cs->free = c->next;
        cs->free_count--;
        arena kept = c->a;
        *c = (call){.all = cs, .a = kept};
        return c;
    }
    c = calloc(1, sizeof *c);
    if (c) {
        c->all = cs;
        arena_init(&c->a, CALL_ARENA_BYTES_MAX);
    }
    return c;
}

static void call_recycle(call *c)
{
    calls *cs = c->all;
    served_leave(c->h->of);
    arena_reset(&c->a);
    if (cs->free_count < CALLS_KEPT_MAX) {
        c->next = cs->free;
        cs->free = c;
        cs->free_count++;
    } else {
        arena_fini(&c->a);
        free(c);
    }
}

static void place_give(call *c)
{
    if (c->placed)
        places_give(&c->all->places, &c->h->place);
    c->placed = false;
}

/* Everything but the memory is gone. `status` is what the log will say, at the end of this turn: by
 * then the response's bytes were written. */
static void call_gone(call *c, unsigned status)
{
    place_give(c);
    calls *cs = c->all;
    c->status = status;
    list_push(&cs->done_head, &cs->done_tail, c);
    if (c->state == CALL_QUEUED)
        return;
    c->h->calls--;
    if (--cs->running == 0 && cs->on_empty)
        cs->on_empty(cs->on_empty_user);
}

/* So much passed on behalf of the call; returns what of it was CPU time. */
static ns cpu_charge(call *c, ns passed)
{
    ns used = meter_slice(c->all->meter, c->h->row, passed);
    tenant_used(c->h->of->tenant, used);
    turns_charge(&c->all->turns, c->share, kind_of(c), used);
    return used;
}

/* Books what the guest used since the last time. */
static void cpu_book(call *c)
{
    ns passed = guest_cpu_ns(c->g);
    if (passed > c->booked_ns)
        c->cpu_ns += cpu_charge(c, passed - c->booked_ns);
    c->booked_ns = passed;
}

/* How much the call may grow until memory_book. */
static void memory_allow(call *c)
{
    uint64_t more = tenant_memory_grant(c->h->of->tenant);
    if (more != UINT64_MAX)
        guest_memory_limit(c->g, more);
}

/* What it has now, as long as it runs. */
static void memory_book(call *c, size_t now)
{
    tenant_memory_book(c->h->of->tenant, c->memory_booked, now);
    c->memory_booked = now;
}

static void on_kept_idle(void *user)
{
    calls *cs = user;
    ns now = loop_now(cs->l);
    ns next = engine_kept_expire(host_linker_engine(cs->linker), now, KEPT_IDLE_NS);
    if (next)
        loop_timer_start(cs->l, &cs->kept_timer, next > now ? next - now : 0, on_kept_idle, cs);
}

/* The call is over: its instance is restored for the next one, if that is possible and pays.
 * Handles that it left open are the guest's, which goes as it would with a new instance: the next
 * call has another. */
static void instance_give(call *c)
{
    calls *cs = c->all;
    if (!c->over || c->h->plan.units_count > 1) {
        engine_instance_free(c->in);
        return;
    }
    ns begun = clock_mono();
    engine_given given = engine_instance_give(c->in, loop_now(cs->l));
    cpu_charge(c, clock_mono() - begun); /* restoring is the app's work too */
    if (given == ENGINE_KEPT && !loop_timer_active(&cs->kept_timer))
        loop_timer_start(cs->l, &cs->kept_timer, KEPT_IDLE_NS, on_kept_idle, cs);
    if (given != ENGINE_DIFFERS)
        return;
    log_line(LOG_ERROR, "not-restored");
    log_str("id", call_id(c));
    log_str("component", c->h->app->id);
    log_str("difference", str_from(engine_module_difference(c->h->module)));
    log_str("reason", S("an instance restored after this request differs from a new one; the "
                        "component gets new instances from now on. Please report this"));
    log_end();
}

static void instance_drop(call *c)
{
    if (!c->in)
        return;
    cpu_book(c);
    c->memory_bytes = guest_memory_bytes(c->g);
    memory_book(c, 0);
    instance_give(c);
    guest_attach(c->g, NULL);
    guest_instances_free(c->g);
    c->in = NULL;
    place_give(c);
}

static const char *start_of(const call *c)
{
    return c->cold ? "cold" : c->restored ? "restored" : "warm";
}

static void request_note(const call *c, ns wall)
{
    const served *of = c->h->of;
    call_facts f = {.id = call_id(c),
                    .component = c->h->app->id,
                    .client = c->client,
                    .method = c->method,
                    .path = c->path,
                    .deferred = c->deferred,
                    .status = c->status,
                    .wall = wall,
                    .cpu = c->cpu_ns,
                    .memory_bytes = c->memory_bytes,
                    .start = start_of(c)};
    call_log_request(&f);
    if (c->all->traces)
        traces_end(c->all->traces, &c->trace,
                   &(span_facts){&f, of->config.app->name, of->config.id, of->config.tenant});
}

static bool log_turn(void *user)
{
    calls *cs = user;
    ns now = cs->done_head ? clock_mono() : 0;
    for (call *c; (c = list_pop(&cs->done_head, &cs->done_tail));) {
        request_note(c, now - c->begun);
        ledger_usage used = {.calls = 1,
                             .wall_ns = now - c->begun,
                             .bytes_in = c->bytes_in,
                             .bytes_out = c->bytes_out,
                             .memory_peak_bytes = c->memory_bytes};
        meter_call(cs->meter, c->h->row, &used);
        inner_over(c->deferred, c->cpu_ns, now - c->begun, c->memory_bytes);
        call_recycle(c);
    }
    return false;
}

/* Has its sandbox to be emptied before it is freed? What may be restored is left as it is. */
static bool empties(call *c)
{
    size_t now = c->in ? guest_memory_bytes(c->g) : 0;
    if (now <= (c->over ? CALL_KEPT_BYTES : CALL_LARGE_BYTES))
        return false;
    c->over = false;
    loop_timer_stop(&c->timer);
    if (!c->emptying) {
        turn_give_up(c);
        c->emptying = c->sliced = true;
        turn_await(c);
    }
    return true;
}

static void call_finish(call *c, unsigned status)
{
    loop_timer_stop(&c->timer);
    turn_give_up(c);
    instance_drop(c);
    guest_http_state http = c->g ? guest_http(c->g) : GUEST_HTTP_NONE;
    unsigned sent = c->g ? guest_http_status(c->g) : 0;
    if (c->g)
        guest_http_bytes(c->g, &c->bytes_in, &c->bytes_out);
    guest_free(c->g);
    c->g = NULL;
    if (c->x && !sent && http != GUEST_HTTP_ENDED && http != GUEST_HTTP_CUT) {
        http_field fields[] = {{S("ebb-request-id"), call_id(c)}, {S("retry-after"), S("1")}};
        status = c->over_quota ? 503 : status;
        exchange_abort(c->x, status, fields, c->over_quota ? 2 : 1);
        sent = status;
    }
    call_gone(c, sent ? sent : 499); /* 499: the client left before anything was sent */
}

/* Ends the call in any state but CALL_QUEUED. `status` answers if nothing was sent yet. */
static void call_end(call *c, unsigned status)
{
    c->ending_status = status;
    c->ending = empties(c);
    if (!c->ending)
        call_finish(c, status);
}

static void log_failure(const call *c, const char *event, str text, const char *backtrace)
{
    log_line(LOG_ERROR, event);
    log_str("id", call_id(c));
    log_str("component", c->h->app->id);
    log_str("reason", text);
    log_end();
    str frames = str_from(backtrace ? backtrace : "");
    while (frames.n) {
        str frame = str_cut(&frames, '\n');
        if (frame.n) {
            log_line(LOG_ERROR, "frame");
            log_str("id", call_id(c));
            log_str("at", frame);
            log_end();
        }
    }
}

/* --- running ---------------------------------------------------------------------------------- */

/* handle has returned, normally or not. */
static void call_returned(call *c, bool trapped)
{
    guest_http_returned(c->g, trapped);
    switch (guest_http(c->g)) {
    case GUEST_HTTP_NONE:
        if (!trapped)
            log_failure(c, "failed", S("the handler returned without setting a response"), NULL);
        call_end(c, 500);
        return;
    case GUEST_HTTP_ERROR:
        log_failure(c, "failed", guest_http_error(c->g), NULL);
        call_end(c, 500);
        return;
    case GUEST_HTTP_STREAMING:
    case GUEST_HTTP_DRAINING:
        c->state = CALL_DRAINING; /* the sandbox is over; bytes still flow */
        if (!empties(c))
            instance_drop(c);
        return;
    case GUEST_HTTP_ENDED:
    case GUEST_HTTP_CUT:
        call_end(c, 0);
        return;
    }
}

static void call_trapped(call *c)
{
    const engine_trap *t = engine_instance_trap(c->in);
    if (t->exited && t->exit_status == 0 && guest_http(c->g) != GUEST_HTTP_NONE) {
        call_returned(c, false); /* exit(0) after the response: a normal end */
        return;
    }
    char text[ERR_TEXT_MAX];
    uint64_t may_have = c->h->app->settings.memory_bytes_max;
    c->over_quota =
        c->h->of->tenant && t->out_of_memory && (!may_have || c->memory_booked + 65536 <= may_have);
    if (c->over_quota)
        tenant_memory_refused(c->h->of->tenant);
    if (t->exited)
        snprintf(text, sizeof text, "the guest exited with status %d", t->exit_status);
    else if (c->over_quota)
        snprintf(text, sizeof text, "%s (the tenant's quota of memory)", t->text);
    else
        snprintf(text, sizeof text, "%s", t->text);
    log_failure(c, t->exited ? "exit" : "trap", str_from(text), t->exited ? NULL : t->backtrace);
    if (c->state == CALL_STARTING)
        call_end(c, 500);
    else
        call_returned(c, true);
}

static void call_over_budget(call *c, const char *what, ns limit)
{
    char text[160];
    snprintf(text, sizeof text,
             "the call used up its %s of %.3f s (set in tool.ebb of its component)", what,
             (double)limit / 1e9);
    log_failure(c, "stopped", str_from(text), NULL);
    call_end(c, 504);
}

/* What is left at `now` of a limit that began at `begun`; a call that began in this turn began
 * after the loop's now. */
static ns left_of(ns limit, ns begun, ns now)
{
    ns spent = now > begun ? now - begun : 0;
    return spent < limit ? limit - spent : 0;
}

static void on_timer(void *user)
{
    call *c = user;
    const app_settings *s = &c->h->app->settings;
    ns now = loop_now(c->all->l);
    if (s->wall_time_max_ns && !left_of(s->wall_time_max_ns, c->begun, now))
        call_over_budget(c, "wall time", s->wall_time_max_ns);
    else
        call_over_budget(c, "idle time", s->idle_time_max_ns);
}

/* The guest waits: for how long at most? Waiting for nothing but the clock is idle time that adds
 * up; what moves from outside starts it anew. */
static void timer_arm(call *c)
{
    const app_settings *s = &c->h->app->settings;
    ns now = loop_now(c->all->l), wait = UINT64_MAX;
    if (!c->moved_at || guest_moved(c->g) != c->moved) {
        c->moved = guest_moved(c->g);
        c->moved_at = now;
    }
    if (s->idle_time_max_ns)
        wait = left_of(s->idle_time_max_ns, c->moved_at, now);
    if (s->wall_time_max_ns) {
        ns left = left_of(s->wall_time_max_ns, c->begun, now);
        wait = left < wait ? left : wait;
    }
    if (wait != UINT64_MAX)
        loop_timer_start(c->all->l, &c->timer, wait, on_timer, c);
}

static bool budget_spent(call *c)
{
    const app_settings *s = &c->h->app->settings;
    cpu_book(c);
    if (s->cpu_time_max_ns && c->cpu_ns > s->cpu_time_max_ns) {
        call_over_budget(c, "CPU time", s->cpu_time_max_ns);
        return true;
    }
    if (s->wall_time_max_ns && clock_mono() - c->begun > s->wall_time_max_ns) {
        call_over_budget(c, "wall time", s->wall_time_max_ns);
        return true;
    }
    return false;
}

static void call_failed(call *c, const char *text)
{
    log_failure(c, "failed", str_from(text), NULL);
    call_end(c, 500);
}

/* The start function of a new instance has ended. If the component wants it, and is called often,
 * later instances begin with the state it is in now. */
static void start_take(call *c)
{
    hosted *h = c->h;
    if (!engine_start_wanted(c->in))
        return;
    guest_started *s = guest_started_take(c->g);
    if (s && engine_start_take(c->in)) {
        free(h->started);
        h->started = s;
        return;
    }
    free(s);
    engine_module_restore(h->module, ENGINE_RESTORE_ON);
    log_line(LOG_WARN, "not-restored-after-start");
    log_str("id", call_id(c));
    log_str("component", h->app->id);
    log_str("reason",
            S("restore_after_start (tool.ebb) is not possible: the start function waits, or "
              "leaves more open than standard streams and directories, or there was no "
              "memory; it runs for each request"));
    log_end();
}

/* The client left while the guest was at work: nobody waits for it any more. */
static bool over_for_nobody(call *c)
{
    if (guest_http(c->g) != GUEST_HTTP_CUT)
        return false;
    call_end(c, 0);
    return true;
}

static void call_run(call *c)
{
    c->all->others_ran = true;
    for (;;) {
        memory_allow(c);
        engine_status status = c->state == CALL_STARTING ? guest_start(c->g) : engine_poll(c->in);
        if (c->h->of->tenant)
            memory_book(c, guest_memory_bytes(c->g));
        switch (status) {
        case ENGINE_WAIT:
            if (over_for_nobody(c))
                return;
            guest_http_left(c->g);
            cpu_book(c);
            timer_arm(c);
            return;
        case ENGINE_YIELD:
            if (over_for_nobody(c) || budget_spent(c))
                return;
            if (c->answered) /* a slice ago, or more */
                guest_http_left(c->g);
            c->answered = guest_http(c->g) == GUEST_HTTP_STREAMING;
            c->sliced = true;
            turn_await(c);
            return;
        case ENGINE_TRAP:
            call_trapped(c);
            return;
        case ENGINE_DONE:
            break;
        }
        if (c->state == CALL_STARTING) {
            err e;
            start_take(c);
            c->state = CALL_HANDLING;
            if (!guest_http_begin(c->g, c->x, &c->head, c->slots, &e)) {
                call_failed(c, e.text);
                return;
            }
            guest_enter(c->g, c->h->unit);
            engine_call(c->in, c->h->lift, c->slots);
        } else if (c->state == CALL_HANDLING &&
                   c->h->plan.units[c->h->unit].lifts[c->h->lift].has_post_return) {
            c->state = CALL_RETURNING;
            engine_post_return(c->in, c->h->lift, c->slots);
        } else {
            c->over = true;
            call_returned(c, false);
            return;
        }
    }
}

static void on_wake(void *user)
{
    call *c = user;
    if (c->ending)
        return;
    loop_timer_stop(&c->timer);
    guest_http_state http = guest_http(c->g);
    if (http == GUEST_HTTP_CUT || (c->state == CALL_DRAINING && http == GUEST_HTTP_ENDED)) {
        call_end(c, 0);
        return;
    }
    if (c->state == CALL_DRAINING || c->in_turns)
        return;
    if (turn_is_free(c))
        call_run(c);
    else
        turn_await(c);
}

static void on_output(void *user, int stream, str line)
{
    call *c = user;
    uint64_t max = c->h->app->settings.log_bytes_max, before = c->log_bytes;
    c->log_bytes += line.n + 1;
    if (max && before <= max && c->log_bytes > max) {
        log_line(LOG_WARN, "log-full");
        log_str("id", call_id(c));
        log_str("component", c->h->app->id);
        log_str("reason", S("the call wrote more than log_max (tool.ebb) to stdout and stderr; "
                            "the rest is not logged"));
        log_end();
    }
    if (max && c->log_bytes > max)
        return;
    bool first;
    if (!tenant_log(c->h->of->tenant, clock_mono(), line.n + 1, &first)) {
        if (first)
            guestlog_write(&c->h->log, 2,
                           S("ebb: the tenant's quota of log volume (log_bytes_per_s) is used up; "
                             "lines are left out here"));
        return;
    }
    guestlog_write(&c->h->log, stream, line);
    inner_line(c->deferred, stream, line);
    if (c->h->config->follow)
        log_guest(c->h->app->id, stream == 1 ? "out" : "err", call_id(c), line);
}

static const guest_callbacks guest_cb = {.on_wake = on_wake, .on_output = on_output};

/* The client left before the guest got the exchange. */
static void starting_closed(void *user)
{
    call *c = user;
    exchange_free(c->x);
    c->x = NULL;
    if (!c->ending)
        call_end(c, 0);
}

static void call_start(call *c)
{
    static const exchange_callbacks closed = {.on_closed = starting_closed};
    calls *cs = c->all;
    err e;
    uint64_t memory = c->h->app->settings.memory_bytes_max;
    engine_limits limits = {.memory_bytes_max = memory ? memory : SIZE_MAX,
                            .table_elements_max = 1000000};
    c->state = CALL_STARTING;
    c->placed = true;
    c->h->calls++;
    cs->running++;
    exchange_bind(c->x, &closed, c);
    if (!guest_new(&c->h->host, cs->l, &guest_cb, c, &c->g, &e) ||
        (c->h->plan.units_count > 1 && !guest_compose(c->g, host_linked_binding(c->h->linked),
                                                      c->h->modules, &limits, c->h->unit, &e)) ||
        !engine_instance_new(c->h->module, &limits, c->g, &c->in, &e)) {
        call_failed(c, e.text);
        return;
    }
    c->restored = engine_instance_kept(c->in);
    must(guest_is_new(c->g));
    guest_attach(c->g, c->in);
    if (c->h->started && engine_instance_after_start(c->in) &&
        !guest_started_give(c->g, c->h->started)) {
        call_failed(c, "no memory for the handles that the start function opened");
        return;
    }
    engine_start(c->in);
    call_run(c);
}

/* --- waiting for a place ---------------------------------------------------------------------- */

static void queued_closed(void *user)
{
    call *c = user;
    calls *cs = c->all;
    places_leave(&cs->places, &c->h->place, &c->place);
    exchange_free(c->x);
    call_gone(c, 499);
}

static bool head_make(call *c, const route_match *m, err *e)
{
    const http_request *r = exchange_request(c->x);
    app_pair spin[ROUTE_HEADERS_MAX];
    size_t n = 0;
    route_request rr = {r->scheme, r->authority, r->target, r->peer};
    if (!route_headers(m, &rr, &c->a, spin, &n, e))
        return false;
    traces *ts = c->all->traces;
    http_field *fields = arena_alloc(&c->a, (n + r->fields_count + 1) * sizeof *fields);
    c->method = arena_str(&c->a, r->method);
    c->path = arena_str(&c->a, target_path(r->target));
    c->client = arena_str(&c->a, r->peer);
    if (!fields || !c->method.p || !c->path.p || !c->client.p)
        return err_no_memory(e);
    for (size_t i = 0; i < n; i++)
        fields[i] = (http_field){spin[i].key, spin[i].value};
    if (ts) {
        traces_begin(ts, r, &c->trace);
        fields[n++] = (http_field){S("traceparent"), {c->trace.text, TRACEPARENT_BYTES}};
    }
    for (size_t i = 0; i < r->fields_count; i++)
        if (!str_starts(r->fields[i].name, S("spin-")) &&
            !(ts && traces_replaces(&c->trace, r->fields[i].name)))
            fields[n++] = r->fields[i];
    c->head = *r;
    c->head.fields = fields;
    c->head.fields_count = n;
    return true;
}

/* Is the body longer than the component takes, by its own declaration? */
static bool is_too_large(const hosted *h, const http_exchange *x)
{
    int64_t n = exchange_request(x)->content_length;
    uint64_t max = h->app->settings.request_body_bytes_max;
    return max && n > 0 && (uint64_t)n > max;
}

static void call_refuse_begun(call *c, unsigned status, const char *reason)
{
    inner_leave(c->deferred);
    call_refuse(c->x, c->id, status, reason);
    call_recycle(c);
}

/* Maps the component's code if it is not. It is the app's work too. */
static bool call_load(call *c, err *e)
{
    hosted *h = c->h;
    if (hosted_is_loaded(h))
        return true;
    ns begun = clock_mono();
    bool ok = hosted_load(h, c->all->linker, e);
    c->cold = true;
    cpu_charge(c, clock_mono() - begun);
    return ok;
}

/* What its sandbox has from the beginning. */
static uint64_t memory_least(const hosted *h)
{
    uint64_t sum = 0;
    for (uint32_t k = 0; k < h->plan.units_count; k++)
        sum += h->plan.units[k].memory_bytes_min;
    return sum;
}

/* Its turn has come: it starts, waits for a place, or is refused. */
static void call_admit(call *c)
{
    static const exchange_callbacks closed = {.on_closed = queued_closed};
    calls *cs = c->all;
    hosted *h = c->h;
    bool chained = host_chain_depth(c->x) > 0;
    err e;
    if (!call_load(c, &e)) {
        call_refuse_begun(c, 500, e.text);
    } else if (!tenant_memory_has(h->of->tenant, memory_least(h))) {
        call_refuse_begun(c, 503, "the tenant's quota of memory is used up");
    } else if (chained ? places_take_first(&cs->places, &h->place)
                       : places_take(&cs->places, &h->place)) {
        call_start(c);
    } else if (chained) {
        call_refuse_begun(
            c, 503,
            "a component of the app was asked by another one, and there is no sandbox left "
            "(concurrency_max in tool.ebb, or the worker's own)");
    } else if (places_wait(&cs->places, &h->place, &c->place)) {
        exchange_bind(c->x, &closed, c);
    } else {
        call_refuse_begun(
            c, 503,
            "too many requests wait for a sandbox already (queue_max and concurrency_max "
            "in tool.ebb of the component, or the worker's own)");
    }
}

/* The client left before its turn came. */
static void awaiting_closed(void *user)
{
    call *c = user;
    turn_give_up(c);
    exchange_free(c->x);
    call_gone(c, 499);
}

void call_begin(calls *cs, hosted *h, http_exchange *x, const route_match *m)
{
    static const exchange_callbacks closed = {.on_closed = awaiting_closed};
    err e;
    char id[CALL_ID_BYTES];
    call_id_next(cs, id);
    if (is_too_large(h, x)) {
        call_refuse(x, id, 413, "the body is longer than request_body_max (tool.ebb)");
        return;
    }
    call *c = call_new(cs);
    if (!c) {
        call_refuse(x, id, 503, "no memory for another request");
        return;
    }
    c->h = h;
    c->share = &h->of->turns;
    served_enter(h->of);
    c->x = x;
    c->begun = exchange_request(x)->begun_mono;
    memcpy(c->id, id, sizeof id);
    if (!head_make(c, m, &e)) {
        call_refuse_begun(c, 500, e.text);
        return;
    }
    c->deferred = inner_take(x);
    c->share = share_of(c);
    if (turn_is_free(c)) {
        call_admit(c);
    } else {
        exchange_bind(x, &closed, c);
        turn_await(c);
    }
}

/* --- fair turns ------------------------------------------------------------------------------- */

/* Under `ebb up` nobody's calls wait because of what his others had. */
static bool are_of_one(const calls *cs) { return turns_tenant(&cs->turns) == &cs->own; }

/* While others have something to do, what the ready list had is followed by as much time for
 * them, however short each of their calls is. A turn in which nobody ran says that they have not.
 * Between tenants new calls that had their part of a turn put slices off to the next one: so a turn
 * has either, and whoever comes meanwhile waits for one of them. */
static bool is_turn_of_others(calls *cs)
{
    bool owed = cs->others_ran && clock_mono() - cs->slice_end < cs->slice_ns;
    cs->others_ran = false;
    cs->put_off = !owed && !cs->put_off && !are_of_one(cs) && cs->turns.fresh >= TURNS_ROUND_NS;
    return owed || cs->put_off;
}

static call *call_of_turn(turn *t) { return (call *)(void *)((char *)t - offsetof(call, turn)); }

static void on_unpark(void *user)
{
    calls *cs = user;
    ns now = loop_now(cs->l), next = turns_unpark(&cs->turns, now);
    if (next)
        loop_timer_start(cs->l, &cs->park_timer, next - now, on_unpark, cs);
}

/* Tenants that have no CPU time left get none until they do. */
static void tenants_park(calls *cs, ns now)
{
    turn_tenant *w;
    ns wait;
    bool parked = false;
    while ((w = turns_tenant(&cs->turns)) && w != &cs->own && w != &cs->yielding &&
           (wait = tenant_cpu_wait(tenant_of_turns(w), now))) {
        turns_park(&cs->turns, w, now + wait);
        parked = true;
    }
    if (parked)
        on_unpark(cs);
}

/* One piece of what `empties` began. */
static void empty_more(call *c)
{
    ns begun = clock_mono();
    bool more = guest_memory_empty(c->g, CALL_PIECE_BYTES);
    cpu_charge(c, clock_mono() - begun);
    if (more) {
        turn_await(c);
        return;
    }
    c->emptying = false;
    if (c->ending) {
        c->ending = false;
        call_finish(c, c->ending_status);
    } else {
        instance_drop(c);
    }
}

static void turn_begin(call *c)
{
    c->in_turns = false;
    c->ran = c->all->turns.round;
    if (c->emptying) {
        empty_more(c);
        return;
    }
    if (c->state == CALL_QUEUED) {
        exchange_bind(c->x, NULL, NULL);
        call_admit(c);
    } else {
        call_run(c);
    }
}

/* Slices for calls that wait for their turn, until they had as much time as others before them:
 * with only one slice a turn, under load, a call that yielded once would wait behind fifty fresh
 * ones. A call that is alone there gets one, and so does each of the others. Between tenants it is
 * TURNS_ROUND_NS, whatever others had, because those wait when they had more (turns_may_run). */
static void slices_run(calls *cs)
{
    ns begun = clock_mono(), others = begun - cs->slice_end;
    ns most = are_of_one(cs) ? OTHERS_NS_MAX : TURNS_ROUND_NS;
    bool ran = false;
    if (others > most)
        others = most;
    if (others < TURNS_ROUND_NS)
        others = TURNS_ROUND_NS;
    for (cs->slice_end = begun; !ran || cs->slice_end - begun < others;
         cs->slice_end = clock_mono()) {
        tenants_park(cs, cs->slice_end);
        turn *next = turns_next(&cs->turns);
        if (!next || call_of_turn(next)->ran == cs->turns.round)
            break;
        meter_slice_begins(cs->meter);
        turn_begin(call_of_turn(turns_take(&cs->turns)));
        ran = true;
    }
    cs->slice_ns = cs->slice_end - begun;
    cs->others_ran = false;
}

/* Time slices of guests that yielded, and one call that waited for a place, per turn of the loop:
 * events of others come in between. What they answer is written in the next turn, which follows at
 * once. */
static bool ready_turn(void *user)
{
    calls *cs = user;
    bool runs = turns_wait(&cs->turns) && !is_turn_of_others(cs);
    if (runs)
        slices_run(cs);
    waiter *w = places_next(&cs->places);
    if (w)
        call_start((call *)(void *)((char *)w - offsetof(call, place)));
    turns_round(&cs->turns);
    engine_tick_every(turns_many_wait(&cs->turns) ? TURNS_SLICE_NS : ENGINE_TICK_NS);
    return runs || w || turns_wait(&cs->turns) || places_ready(&cs->places);
}

void calls_init(calls *cs, loop *l, host_linker *linker, meter *m, uint32_t live_max,
                uint64_t id_seed)
{
    *cs = (calls){.linker = linker,
                  .l = l,
                  .meter = m,
                  .places = {.live_max = live_max, .queued_max = WORKER_QUEUE_MAX},
                  .turns = {.round = 1},
                  .yielding = {.weight = 1},
                  .yielding_app = {.of = &cs->yielding},
                  .id_prefix = id_seed & 32767,
                  .id_next = id_seed >> 15};
}

void calls_fini(calls *cs)
{
    log_turn(cs);
    loop_timer_stop(&cs->kept_timer);
    loop_timer_stop(&cs->park_timer);
    while (cs->free) {
        call *c = cs->free;
        cs->free = c->next;
        arena_fini(&c->a);
        free(c);
    }
    loop_hook_remove(cs->hook);
    loop_hook_remove(cs->log_hook);
}

void calls_drain(calls *cs, void (*on_empty)(void *user), void *user)
{
    cs->on_empty = on_empty;
    cs->on_empty_user = user;
    if (cs->running == 0)
        on_empty(user);
}

bool calls_hooks_add(calls *cs, err *e)
{
    return loop_hook_add(cs->l, log_turn, cs, &cs->log_hook, e) &&
           loop_hook_add(cs->l, ready_turn, cs, &cs->hook, e);
}
