/* Web hooks: a call of the trigger DEFERRED_HOOK tells somebody that another one has ended. The
 * store makes it when that happens (queue.h, QUEUE_TELLS), so it is as durable, retried and visible
 * as any call; only that running it sends a request instead of asking a component:
 *
 *     POST <hook>       webhook-id: <id of the hook's own call, the same in all attempts>
 *                       webhook-timestamp: <seconds since 1970>
 *                       webhook-signature: v1,<base64 of HMAC-SHA-256(secret, id.timestamp.body)>
 *     {"type": "call.done", "timestamp": ..., "data": {the call, as its status resource shows it}}
 *
 * It goes only where the call's component may connect to (allowed_outbound_hosts, then the
 * operator's egress rules for the address), with its trust and its tenant's count of connections.
 * 2xx: told. 410: never again. All else is tried again.
 *
 * Standard Webhooks 1.0.0, symmetric signatures; the secret is the app's. */
#include "base/base64.h"
#include "base/limits.h"
#include "base/log.h"
#include "carbon/when.h"
#include "platform/defer_show.h"
#include "platform/deferral_impl.h"

#include <openssl/hmac.h>

#define HOOK_TIMEOUT_NS (15 * NS_PER_S)

bool hook_take(run *r, const queue_call *c)
{
    r->packed = arena_bytes(&r->a, c->about);
    if (!r->packed.p || c->request.n != sizeof r->told ||
        !deferred_about_read(r->packed, &r->about))
        return false;
    memcpy(&r->told, c->request.p, sizeof r->told);
    return true;
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

static bool sign(const run *r, const char *id, const char *at, bytes body, buf *out)
{
    uint8_t mac[32];
    unsigned n;
    buf signed_bytes;
    buf_init(&signed_bytes, body.n + 256);
    buf_printf(&signed_bytes, "%s.%s.", id, at);
    buf_put(&signed_bytes, body.p, body.n);
    bool ok = !signed_bytes.failed && HMAC(EVP_sha256(), r->told.secret, QUEUE_SECRET_BYTES,
                                           signed_bytes.p, signed_bytes.n, mac, &n);
    buf_fini(&signed_bytes);
    buf_put_str(out, S("v1,"));
    if (ok)
        base64_encode((bytes){mac, sizeof mac}, out);
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
