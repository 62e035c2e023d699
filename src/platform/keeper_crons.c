/* See keeper_crons.h. When a trigger fires next is computed from what it fired last and the present
 * time zone data, never from a timer: whatever the clock does, the sequence is the same. */
#include "platform/keeper_crons.h"

#include "app/cron.h"
#include "base/hex.h"
#include "base/limits.h"
#include "base/log.h"
#include "platform/app_config.h"
#include "platform/calls_message.h"
#include "platform/deferred.h"
#include "platform/keeper_calls.h"
#include "sched/call.h"
#include "store/queue_client.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#define WINDOW_S_MIN 60 /* what a window of nothing is: the call has to run and end */
#define AGAIN_S      5  /* until the next PUT after one that did not work */

typedef struct trigger {
    struct trigger *next;
    keeper_crons *all;
    arena a;
    uint64_t app; /* of the catalogue */
    calls_owner owner;
    app_cron given;
    app_defer defer;
    str component, host, name;
    cron when;
    zone zone;
    int64_t last_s, due_s; /* fired last; what comes after that */
    int64_t skipped_s;     /* what would have fired up to then was skipped, */
    int64_t before_s;      /* from what had fired last on */
    int64_t again_s;       /* not before: the last PUT did not work */
    store_call *putting;   /* NULL: nothing is under way */
    bool gone;             /* of settings that are no more */
} trigger;

struct keeper_crons {
    keeper *k;
    trigger *first;
    bool lacks; /* a trigger that its app has: it could not be read */
};

static void trigger_free(trigger *t)
{
    trigger **at = &t->all->first;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    store_call_free(t->putting);
    arena_fini(&t->a);
    free(t);
}

/* Has the app of this number a trigger of that name? */
static bool is_known(const keeper_crons *c, uint64_t number, str name)
{
    for (const trigger *t = c->first; t; t = t->next)
        if (t->app == number && !t->gone && str_eq(t->name, name))
            return true;
    return false;
}

static void mark(const trigger *t)
{
    err e;
    if (!usage_file_mark(t->all->k->file, t->name, t->last_s, &e))
        log_msg(LOG_WARN, "cron trigger '%.*s': %s", STR(t->name), e.text);
}

static void forget(keeper *k, str name)
{
    err e;
    if (!usage_file_unmark(k->file, name, &e))
        log_msg(LOG_WARN, "cron trigger '%.*s', which has gone: %s", STR(name), e.text);
}

static void fired_at(trigger *t, int64_t last_s)
{
    t->last_s = last_s;
    t->due_s = cron_next(&t->when, &t->zone, last_s);
}

/* --- firing ----------------------------------------------------------------------------------- */

static void on_put(void *user)
{
    trigger *t = user;
    keeper *k = t->all->k;
    queue_accepted accepted;
    err e;
    bool ok = queue_accepted_read(store_call_answer(t->putting), &accepted, &e);
    store_call_free(t->putting);
    t->putting = NULL;
    if (!ok && e.code != ERR_CONFLICT) {
        log_msg(LOG_ERROR, "cron trigger '%.*s' can't be put into the queue, it is tried again: %s",
                STR(t->name), e.text);
        t->again_s = keeper_now_s() + AGAIN_S;
    } else {
        fired_at(t, t->due_s);
        if (!t->gone || is_known(t->all, t->app, t->name))
            mark(t);
    }
    if (t->gone)
        trigger_free(t);
    keeper_calls_look(k->calls);
}

/* One firing of one trigger, however long its name. */
static bool key_make(const trigger *t, char ret[QUEUE_KEY_BYTES_MAX])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    char hex[2 * EVP_MAX_MD_SIZE + 1];
    unsigned n;
    if (!EVP_Digest(t->name.p, t->name.n, digest, &n, EVP_sha256(), NULL))
        return false;
    hex_write((bytes){digest, n}, hex);
    snprintf(ret, QUEUE_KEY_BYTES_MAX, "cron %lld %s", (long long)t->due_s, hex);
    return true;
}

static void fire(trigger *t)
{
    keeper *k = t->all->k;
    const pace_view *v = keeper_calls_plan(k->calls);
    buf about, request;
    err e;
    int64_t window = t->given.window_s > WINDOW_S_MIN ? t->given.window_s : WINDOW_S_MIN;
    int64_t at = t->due_s;
    deferred_about a = {.component = t->component,
                        .method = t->given.method,
                        .path = t->given.path,
                        .schedule = t->given.schedule,
                        .hook = t->defer.hook,
                        .app = t->owner.name};
    deferred_request r = {.component = t->component,
                          .method = t->given.method,
                          .target = t->given.path,
                          .authority = t->host,
                          .scheme = S("http"),
                          .peer = S("0.0.0.0:0")};
    queue_offer q = {
        .head.terms = {.tenant = t->owner.tenant,
                       .app = t->owner.app,
                       .revision = t->owner.revision,
                       .attempts_max = t->defer.attempts_max,
                       .class = CALL_OPPORTUNISTIC,
                       .criticality = (uint8_t)t->defer.criticality,
                       .trigger = t->defer.hook.n ? DEFERRED_CRON | QUEUE_TELLS : DEFERRED_CRON,
                       .start_ms = at * 1000,
                       .deadline_ms = (at + window) * 1000,
                       .keep_ms = (int64_t)t->defer.kept_s * 1000,
                       .cpu_ns = NS_PER_S / 20,
                       .intensity_g_per_kwh = v->slots ? v->intensity[0] : 0}};
    char key[QUEUE_KEY_BYTES_MAX];
    buf_init(&about, QUEUE_ABOUT_BYTES_MAX);
    buf_init(&request, QUEUE_REQUEST_BYTES_MAX);
    bool ok = key_make(t, key) && deferred_about_write(&a, &about) &&
              deferred_request_write(&r, &request);
    q.key = str_from(key);
    q.about = buf_bytes(&about);
    q.request = buf_bytes(&request);
    t->putting = ok ? queue_ask_put(k->store, &q) : NULL;
    if (t->putting && !store_call_send(t->putting, on_put, t, &e)) {
        store_call_free(t->putting);
        t->putting = NULL;
    }
    if (!t->putting)
        log_msg(LOG_ERROR, "no memory for cron trigger '%.*s'; it is tried again", STR(t->name));
    buf_fini(&about);
    buf_fini(&request);
}

/* Not made up for: what is older than CRON_LATE_S. */
static void skip_old(trigger *t, int64_t now_s)
{
    int64_t first = now_s - CRON_LATE_S;
    if (t->last_s >= first || t->due_s > first)
        return;
    log_msg(LOG_WARN,
            "cron trigger '%.*s' was not fired while ebb did not run; what is older than "
            "a day is not made up for",
            STR(t->name));
    t->before_s = t->last_s;
    t->skipped_s = first;
    fired_at(t, first);
}

/* It was the clock, which had been set too far ahead: what was skipped is still to come. What fired
 * meanwhile is known to the queue. */
static void unskip(trigger *t, int64_t now_s)
{
    if (now_s >= t->skipped_s)
        return;
    fired_at(t, t->before_s);
    t->skipped_s = 0;
    mark(t);
}

int64_t keeper_crons_look(keeper_crons *c, int64_t now_s)
{
    int64_t wake = INT64_MAX;
    for (trigger *t = c ? c->first : NULL; t; t = t->next) {
        if (t->putting || t->gone)
            continue;
        unskip(t, now_s);
        skip_old(t, now_s);
        int64_t next = t->due_s;
        bool may = t->again_s <= now_s || t->again_s > now_s + AGAIN_S;
        if (next <= now_s && may && store_client_connected(c->k->store))
            fire(t);
        else if (next <= now_s)
            next = now_s + 1;
        if (!t->putting && next < wake)
            wake = next;
    }
    return wake;
}

/* --- which there are -------------------------------------------------------------------------- */

static bool zone_load(arena *a, str name, zone *ret, err *e)
{
    static uint8_t data[ZONE_BYTES_MAX];
    char path[128];
    if (!name.n || str_eq(name, S("UTC"))) {
        *ret = zone_utc();
        return true;
    }
    snprintf(path, sizeof path, ZONE_DIR "/%.*s", STR(name));
    FILE *f = fopen(path, "rbe");
    if (!f)
        return err_set_errno(e, path);
    size_t n = fread(data, 1, sizeof data, f);
    fclose(f);
    return zone_parse(a, (bytes){data, n}, ret, e) || err_wrap(e, "%s", path);
}

static bool cron_check(const app_cron *c, err *e)
{
    _cleanup_(arena_fini) arena a;
    cron when;
    zone there;
    err why;
    arena_init(&a, 4 * MIB);
    if (!cron_parse(c->schedule, &when, e))
        return false;
    return zone_load(&a, c->zone, &there, &why) ||
           err_set(e, ERR_INVALID,
                   "this node has no time zone '%.*s'; write it like 'Europe/Berlin', or leave it "
                   "away for UTC",
                   STR(c->zone));
}

bool keeper_crons_check(const app *x, err *e)
{
    for (size_t i = 0; i < x->components_count; i++) {
        const app_component *of = &x->components[i];
        for (size_t n = 0; n < of->settings.crons_count; n++)
            if (!cron_check(&of->settings.crons[n], e))
                return err_wrap(e, "cron of component '%.*s'", STR(str_head(of->id, 100)));
    }
    return true;
}

static bool trigger_fill(trigger *t, const app_component *from, const app_cron *of_app, str host,
                         err *e)
{
    t->component = arena_str(&t->a, from->id);
    t->owner.name = arena_str(&t->a, t->owner.name);
    t->host = arena_str(&t->a, host);
    t->given = (app_cron){.schedule = arena_str(&t->a, of_app->schedule),
                          .zone = arena_str(&t->a, of_app->zone),
                          .method = arena_str(&t->a, of_app->method),
                          .path = arena_str(&t->a, of_app->path),
                          .window_s = of_app->window_s};
    t->defer = from->settings.defer;
    t->defer.hook = arena_str(&t->a, from->settings.defer.hook);
    t->name = arena_printf(&t->a, "%llu %.*s %.*s %.*s %.*s %.*s", (unsigned long long)t->owner.app,
                           STR(from->id), STR(of_app->schedule), STR(of_app->zone),
                           STR(of_app->method), STR(of_app->path));
    if (!t->component.p || !t->host.p || !t->given.schedule.p || !t->given.zone.p ||
        !t->given.method.p || !t->given.path.p || !t->name.p || !t->owner.name.p ||
        !t->defer.hook.p)
        return err_no_memory(e);
    return cron_parse(t->given.schedule, &t->when, e) &&
           zone_load(&t->a, t->given.zone, &t->zone, e);
}

static bool trigger_add(keeper_crons *c, const trigger *of, const app_component *from,
                        const app_cron *of_app, str host)
{
    err e;
    trigger *t = calloc(1, sizeof *t);
    if (!t) {
        log_msg(LOG_ERROR, "no memory for a cron trigger");
        return false;
    }
    *t = *of;
    t->all = c;
    t->next = c->first;
    c->first = t;
    arena_init(&t->a, 4 * MIB);
    if (!trigger_fill(t, from, of_app, host, &e)) {
        log_msg(LOG_ERROR, "a cron trigger of component '%.*s' will not run: %s", STR(from->id),
                e.text);
        trigger_free(t);
        return false;
    }
    int64_t marked = usage_file_marked(c->k->file, t->name);
    fired_at(t, marked ? marked : keeper_now_s());
    if (!marked)
        mark(t);
    return true;
}

/* True: those are all that the app has. */
static bool triggers_add(keeper_crons *c, uint64_t number, const calls_owner *owner, str host,
                         str settings)
{
    _cleanup_(arena_fini) arena a;
    app_config config;
    err e;
    bool all = true;
    arena_init(&a, APP_ARENA_BYTES_MAX);
    if (!settings.n || !memmem(settings.p, settings.n, "\"cron\":[", 8))
        return true;
    if (!app_config_read(&a, (bytes){(const uint8_t *)settings.p, settings.n}, &config, &e)) {
        log_msg(LOG_ERROR, "cron triggers of app %llu: %s", (unsigned long long)number, e.text);
        return false;
    }
    const trigger of = {.app = number, .owner = *owner};
    for (size_t i = 0; i < config.app->components_count; i++) {
        const app_component *x = &config.app->components[i];
        for (size_t n = 0; n < x->settings.crons_count; n++)
            all &= trigger_add(c, &of, x, &x->settings.crons[n], host);
    }
    return all;
}

void keeper_crons_set(keeper_crons *c, uint64_t number, const calls_owner *owner, str host,
                      str settings)
{
    if (!c)
        return;
    for (trigger *t = c->first; t; t = t->next)
        t->gone |= t->app == number;
    bool all = triggers_add(c, number, owner, host, settings);
    c->lacks |= !all;
    for (trigger *t = c->first, *next; t; t = next) {
        next = t->next;
        if (t->app != number || !t->gone)
            continue;
        if (all && !is_known(c, number, t->name))
            forget(c->k, t->name);
        if (!t->putting)
            trigger_free(t);
    }
    keeper_calls_look(c->k->calls);
}

void keeper_crons_sweep(keeper *k)
{
    _cleanup_(arena_fini) arena a;
    const keeper_crons *c = k->crons;
    str *names;
    size_t n;
    err e;
    arena_init(&a, 16 * MIB);
    if (c && c->lacks)
        return;
    if (!usage_file_marks(k->file, &a, &names, &n, &e)) {
        log_msg(LOG_WARN, "cron triggers that have gone: %s", e.text);
        return;
    }
    for (size_t i = 0; i < n; i++)
        if (!c || !is_known(c, CALLS_ONLY_APP, names[i]))
            forget(k, names[i]);
}

keeper_crons *keeper_crons_new(keeper *k)
{
    keeper_crons *c = calloc(1, sizeof *c);
    if (c)
        c->k = k;
    return c;
}

void keeper_crons_free(keeper_crons *c)
{
    if (!c)
        return;
    while (c->first)
        trigger_free(c->first);
    free(c);
}
