/* What the files of a worker's deferral share: defer_accept.c, defer_run.c, defer_status.c,
 * deferral.c. Private. */
#pragma once

#include "app/hook.h"
#include "host/post.h"
#include "loop/channel.h"
#include "platform/calls_message.h"
#include "platform/deferral.h"
#include "platform/deferred.h"
#include "platform/inner.h"
#include "sched/flow.h"
#include "store/queue_client.h"

#define DEFER_PATH S("/.well-known/ebb/calls/")

/* A call that runs here. */
typedef struct run {
    struct run *next;
    deferral *d;
    arena a;
    queue_info info;
    deferred_request request; /* in the arena */
    served *app;              /* a hold; NULL: not found yet */
    hosted *component;        /* NULL: the route leads nowhere */
    inner *inner;             /* NULL: not begun, or over */
    /* Of a hook, instead of request and inner (defer_hook.c). */
    queue_told told;
    bytes packed;           /* the about as the queue keeps it, */
    deferred_about about;   /* and read */
    host_component outside; /* what post borrows */
    host_post *post;
    ns posted;          /* when it was begun; 0: not yet */
    store_call *asking; /* END or RETRY */
    bool asked_again;   /* the store process died with it, or failed */
    double estimate_cpu_s;
    /* Of an END that counts for what waiting saved. */
    bool saves;
    int64_t ran_s;
    double energy_j;
    bool urgent; /* it is due: it takes turns like any other call */
    bool shared; /* other nodes may have what this one lacks */
    bool lost;   /* the lease is another's: nothing is said to the store any more */
    /* Whoever waits for it to end (`wait=N`); called once, with what came, or with NULL: it has not
     * ended well, or not here. */
    void (*waiter)(void *user, const inner_result *r);
    void *waiter_user;
} run;

/* A client's question to the keeper about what a call has cost. */
typedef struct price_ask {
    struct price_ask *next;
    uint64_t ask;
    void (*f)(void *user, const calls_price *p); /* p NULL: nobody knows */
    void *user;
} price_ask;

typedef struct app_flow app_flow;
typedef struct hook_app hook_app;

struct deferral {
    loop *l;
    serving *all;
    store_client *store;
    directory *directory; /* NULL: there is the one app only */
    served *only;
    channel *keeper; /* NULL: there is none now */
    uint64_t holder;
    pace_view view; /* slots 0: nothing has been planned yet */
    run *runs;
    unsigned running;
    bool draining;
    void (*on_empty)(void *user); /* set while it drains */
    void *on_empty_user;
    store_call *extending, *leasing;
    bool leasing_urgent; /* what is leased is due: flow does not hold it back */
    queue_held extended[DEFER_RUNNING_MAX + DEFER_WAITING_MAX]; /* what is asked for */
    size_t extended_n;
    calls_message lease_next; /* a RUN that came while one is asked for; kind 0: none */
    loop_timer extend_timer;
    price_ask *prices;
    uint64_t next_ask;
    loop_hook *hook;
    /* To be told at the end of the turn. */
    bool changed;
    calls_message ran;
    app_flow *flows;
    hook_app *hook_apps;
};

static inline int64_t now_ms(void) { return (int64_t)(clock_wall() / NS_PER_MS); }

static inline uint64_t queue_app_of(const served *s)
{
    return s->config.id ? s->config.calls.app : CALLS_ONLY_APP;
}
static inline uint64_t queue_tenant_of(const served *s)
{
    return s->config.id ? s->config.calls.tenant : CALLS_ONLY_TENANT;
}

/* deferral.c */
void deferral_changed(deferral *d);
/* f is called later, or at once where there is no keeper. */
void deferral_price(deferral *d, const calls_price *p, void (*f)(void *user, const calls_price *p),
                    void *user);
void deferral_price_forget(deferral *d, void *user);
/* Tells the keeper, if there is one. */
void deferral_say(deferral *d, const calls_message *m);
void deferral_told(deferral *d, double started_cpu_s, double ended_cpu_s, uint32_t ended);
/* Likewise: a call was accepted. */
void deferral_came(deferral *d, double cpu_s, double slack_s);

/* defer_run.c */
void run_lease(deferral *d, const calls_message *m);
/* Runs a call that PUT has leased to us. s is held anew. NULL: no memory; the lease will expire.
 * f is called once, maybe at once, with NULL where there is no answer of the call. */
run *run_begin_leased(deferral *d, const queue_info *info, bytes request, served *s,
                      void (*f)(void *user, const inner_result *r), void *user);
/* What a call of this component takes, by those that ran here; 0: none has. */
double run_estimate(const hosted *h);
void runs_free(deferral *d);
void run_cancel(deferral *d, const queue_id *id);

/* What came of it; the run ends with that. result NULL: there was none. */
void run_end(run *r, queue_state state, const inner_result *result, const char *note);
/* It waits for its next attempt. */
void run_retry(run *r, const inner_result *result, const char *why);
/* Not tried: it waits again as if it had not been leased. */
void run_give_back(run *r, int64_t after_ms, const char *why);
/* It is over here; whatever the store was to be told, it was, or the lease will expire. */
void run_free(run *r);
/* No attempt is left after this one. */
bool run_is_last(const run *r);

/* defer_hook.c */
/* A call of DEFERRED_HOOK that was leased: false: what was kept of it can't be read. */
bool hook_take(run *r, const queue_call *c);
/* Has its app, and its tenant, a place for it? false: it may be tried again after so long. */
bool hook_may_begin(const run *r, int64_t *ret_after_ms);
/* Its app is there. */
void hook_begin(run *r);
void hook_apps_free(deferral *d);
/* May the component tell that address? ERR_DENIED. ret: with whose trust and limits. */
bool hook_allowed(hosted *h, const hook_url *u, arena *a, host_component *ret, err *e);

/* defer_accept.c */
void accept_begin(deferral *d, served *s, http_exchange *x, const route_match *m);

/* defer_status.c */
void status_begin(deferral *d, served *s, http_exchange *x);

/* Answers with a body of any length, copied; takes x. length: what is said of it, which for an
 * answer without a body (to HEAD, 304) is that of another one; -1: nothing. */
void defer_send(http_exchange *x, unsigned status, const http_field *fields, size_t n, bytes body,
                int64_t length);
/* Answers with JSON; takes x. */
void defer_answer(http_exchange *x, unsigned status, const http_field *fields, size_t n, str body);
/* {"error": text}. */
void defer_refuse(http_exchange *x, unsigned status, unsigned retry_after_s, const char *text);
