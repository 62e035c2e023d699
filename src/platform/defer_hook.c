/* Web hooks: a call of the trigger DEFERRED_HOOK tells somebody that another one has ended. The
 * store makes it when that happens (queue.h, QUEUE_TELLS), so it is as durable, retried and visible
 * as any call; only that running it sends a request instead of asking a component:
 *
 *     POST <hook>       webhook-id: <id of the hook's own call, the same in all attempts>
 *                       webhook-timestamp: <seconds since 1970>
 *                       webhook-signature: v1,<base64 of HMAC-SHA-256(secret, id.timestamp.body)>,
 *                           and after a space the same of the secret before
 *     {"type": "call.done", "timestamp": ..., "data": {the call, as its status resource shows it}}
 *
 * It goes only where the call's component may connect to (allowed_outbound_hosts, then the
 * operator's egress rules for the address), with its trust and its tenant's count of connections.
 * 2xx: told. 410: never again. All else is tried again.
 *
 * While it is under way it has one of the places of the calls that a worker runs. How many of them
 * an app's hooks may have follows from how long they take: HOOKS_APP_MAX, or HOOKS_SLOW_MAX when
 * the last one, or one under way, took HOOK_SLOW_NS. The others wait in the queue, the longer the
 * more they are.
 *
 * Standard Webhooks 1.0.0, symmetric signatures; the secret is the app's. */
#include "base/base64.h"
#include "base/limits.h"
#include "base/log.h"
#include "carbon/when.h"
#include "platform/defer_show.h"
#include "platform/deferral_impl.h"

#include <openssl/hmac.h>
#include <stdlib.h>

#define HOOK_TIMEOUT_NS (15 * NS_PER_S)
#define HOOK_SLOW_NS    (2 * NS_PER_S)
#define HOOK_AGAIN_MS   200 /* at least, before one that found no place is tried again */
#define HOOK_KEPT_NS    (3600 * NS_PER_S)

bool hook_take(run *r, const queue_call *c)
{
    r->packed = arena_bytes(&r->a, c->about);
    return r->packed.p && deferred_about_read(r->packed, &r->about) &&
           queue_told_read(c->request, &r->told);
}

bool hook_allowed(hosted *h, const hook_url *u, arena *a, host_component *ret, err *e)
{
    outbound_rules rules;
    if (!hosted_outside(h, a, ret, &rules, e))
        return false;
    return outbound_allows(&rules, u->scheme, u->host, u->port) ||
           err_set(e, ERR_DENIED,
                   "allowed_outbound_hosts of component '%.*s' do not have the hook's host, "
                   "%.*s://%.*s",
                   STR(str_head(h->app->id, 100)), STR(u->scheme),
                   STR(str_head(u->authority, 100)));
}

/* --- places ----------------------------------------------------------------------------------- */

/* How an app's receivers were lately. */
struct hook_app {
    struct hook_app *next;
    uint64_t app;
    ns used;
    ns took;         /* the last one */
    int64_t next_ms; /* when the last of those that found no place is tried again */
};

/* What was not used for HOOK_KEPT_NS is forgotten. NULL: no memory. */
static hook_app *hook_app_of(deferral *d, uint64_t number)
{
    ns now = loop_now(d->l);
    hook_app *found = NULL;
    for (hook_app **at = &d->hook_apps, *a; (a = *at);) {
        if (a->app == number) {
            found = a;
        } else if (now - a->used > HOOK_KEPT_NS) {
            *at = a->next;
            free(a);
            continue;
        }
        at = &a->next;
    }
    if (!found && (found = calloc(1, sizeof *found))) {
        *found = (hook_app){.next = d->hook_apps, .app = number};
        d->hook_apps = found;
    }
    if (found)
        found->used = now;
    return found;
}

void hook_apps_free(deferral *d)
{
    while (d->hook_apps) {
        hook_app *next = d->hook_apps->next;
        free(d->hook_apps);
        d->hook_apps = next;
    }
}

bool hook_may_begin(const run *r, int64_t *ret_after_ms)
{
    const deferral *d = r->d;
    const queue_terms *mine = &r->info.terms;
    unsigned of_app = 0, of_tenant = 0;
    int64_t now = now_ms();
    hook_app *a = hook_app_of(r->d, mine->app);
    ns took = a ? a->took : 0, at = loop_now(d->l);
    for (const run *x = d->runs; x; x = x->next) {
        if (x == r || x->info.terms.trigger != DEFERRED_HOOK || x->asking)
            continue;
        of_tenant += x->info.terms.tenant == mine->tenant;
        if (x->info.terms.app != mine->app)
            continue;
        of_app++;
        if (x->posted && at - x->posted > took)
            took = at - x->posted;
    }
    unsigned most = took < HOOK_SLOW_NS ? HOOKS_APP_MAX : HOOKS_SLOW_MAX;
    if (of_app < most && of_tenant < HOOKS_TENANT_MAX)
        return true;
    int64_t next = a && a->next_ms > now ? a->next_ms : now + HOOK_AGAIN_MS;
    next += (int64_t)(took / NS_PER_MS) / most + 1;
    if (next > now + DEFER_RETRY_MS_MAX)
        next = now + DEFER_RETRY_MS_MAX;
    if (a)
        a->next_ms = next;
    *ret_after_ms = next - now;
    return false;
}

static void hook_learn(const run *r)
{
    hook_app *a = hook_app_of(r->d, r->info.terms.app);
    if (!a)
        return;
    a->took = loop_now(r->d->l) - r->posted;
    if (a->took < HOOK_SLOW_NS)
        a->next_ms = 0;
}

/* --- what is sent ----------------------------------------------------------------------------- */

static bool body_write(const run *r, buf *out)
{
    queue_call c = {.info = r->told.info, .about = r->packed};
    buf data;
    char id[QUEUE_ID_TEXT + 1];
    buf_init(&data, HTTP_BUFFER_BYTES);
    queue_id_text(&c.info.id, id);
    buf_printf(out, "{\"type\":\"call.%s\",\"timestamp\":\"",
               queue_state_name((queue_state)c.info.state));
    when_put(out, c.info.ended_ms / 1000);
    defer_show(&data, &c, NULL, NULL, false, now_ms() / 1000);
    bool ok = !data.failed;
    /* Without its closing brace. */
    buf_printf(out, "\",\"data\":%.*s,\"location\":\"/.well-known/ebb/calls/%s\"}}",
               ok ? (int)data.n - 1 : 0, (const char *)data.p, id);
    buf_fini(&data);
    return ok && !out->failed;
}

/* With the secret, and with the one before it if there was one. */
static bool sign(const run *r, const char *id, const char *at, bytes body, buf *out)
{
    static const uint8_t none[QUEUE_SECRET_BYTES];
    const uint8_t *secrets[] = {r->told.secret, r->told.before};
    uint8_t mac[32];
    unsigned n;
    buf signed_bytes;
    buf_init(&signed_bytes, body.n + 256);
    buf_printf(&signed_bytes, "%s.%s.", id, at);
    buf_put(&signed_bytes, body.p, body.n);
    bool ok = !signed_bytes.failed;
    for (size_t i = 0; ok && i < 2; i++) {
        if (memcmp(secrets[i], none, sizeof none) == 0)
            continue;
        ok = HMAC(EVP_sha256(), secrets[i], QUEUE_SECRET_BYTES, signed_bytes.p, signed_bytes.n, mac,
                  &n) != NULL;
        buf_put_str(out, i ? S(" v1,") : S("v1,"));
        if (ok)
            base64_encode((bytes){mac, sizeof mac}, out);
    }
    buf_fini(&signed_bytes);
    return ok && !out->failed;
}

/* --- what comes of it ------------------------------------------------------------------------- */

static void hook_log(const run *r, const host_post_result *x)
{
    char id[QUEUE_ID_TEXT + 1], told[QUEUE_ID_TEXT + 1];
    queue_id_text(&r->info.id, id);
    queue_id_text(&r->told.info.id, told);
    log_line(LOG_INFO, "hook");
    log_str("call", str_from(id));
    log_str("of", str_from(told));
    log_u64("attempt", r->info.attempts);
    log_u64("status", x->status);
    if (!x->status)
        log_str("reason", str_from(x->why));
    log_end();
}

static void on_posted(void *user, const host_post_result *x)
{
    run *r = user;
    inner_result result = {.status = x->status};
    char why[160];
    hook_log(r, x);
    hook_learn(r);
    deferral_told(r->d, 0, 0, 1);
    if (r->lost) {
        run_free(r);
        return;
    }
    if (x->status)
        snprintf(why, sizeof why, "attempt %u to tell it was answered with status %u",
                 r->info.attempts, x->status);
    else
        snprintf(why, sizeof why, "attempt %u to tell it failed: %s", r->info.attempts, x->why);
    if (x->status >= 200 && x->status < 300)
        run_end(r, QUEUE_DONE, &result, "");
    else if (x->status == 410)
        run_end(r, QUEUE_FAILED, &result, "who was told answered 410: not any more");
    else if (x->prohibited || run_is_last(r))
        run_end(r, QUEUE_DEAD, x->status ? &result : NULL, why);
    else
        run_retry(r, NULL, why);
}

static bool post(run *r, const hook_url *u, err *e)
{
    char id[QUEUE_ID_TEXT + 1], at[24], length[24];
    buf body, signature;
    buf_init(&body, HTTP_BUFFER_BYTES);
    buf_init(&signature, 256);
    queue_id_text(&r->info.id, id);
    snprintf(at, sizeof at, "%lld", (long long)(now_ms() / 1000));
    bool ok = body_write(r, &body) && sign(r, id, at, buf_bytes(&body), &signature);
    snprintf(length, sizeof length, "%zu", body.n);
    http_field fields[] = {{S("content-type"), S("application/json")},
                           {S("content-length"), str_from(length)},
                           {S("user-agent"), S("ebb")},
                           {S("webhook-id"), str_from(id)},
                           {S("webhook-timestamp"), str_from(at)},
                           {S("webhook-signature"), buf_str(&signature)}};
    host_post_request q = {.scheme = u->scheme,
                           .authority = u->authority,
                           .target = u->target,
                           .fields = fields,
                           .fields_count = sizeof fields / sizeof *fields,
                           .body = buf_bytes(&body),
                           .timeout = HOOK_TIMEOUT_NS};
    r->posted = loop_now(r->d->l);
    ok = ok ? host_post_begin(&r->outside, r->d->l, &q, on_posted, r, &r->post, e)
            : err_no_memory(e);
    buf_fini(&body);
    buf_fini(&signature);
    return ok;
}

static void give_up(run *r, const char *why)
{
    hook_log(r, &(host_post_result){.why = why});
    run_end(r, QUEUE_DEAD, NULL, why);
}

void hook_begin(run *r)
{
    hosted *h = served_component(r->app, r->about.component);
    hook_url u;
    err e;
    if (!h)
        give_up(r, "the app's revision has no such component any more");
    else if (!hook_url_parse(r->about.hook, &u, &e) || !hook_allowed(h, &u, &r->a, &r->outside, &e))
        give_up(r, e.text);
    else if (!post(r, &u, &e))
        run_give_back(r, 1000, e.text);
    else
        deferral_told(r->d, (double)r->info.terms.cpu_ns / 1e9, 0, 0);
}
