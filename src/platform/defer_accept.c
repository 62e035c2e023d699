/* Accepting a request that may wait (deferral.h, docs/defer.md): its head is checked, its body read
 * whole, the call put into the queue, and only then comes 202. With `wait=N` it runs at once under
 * a lease of this worker, and its own answer is the answer if that comes in time.
 *
 * A request with an `Idempotency-Key` that would be refused for what it asks (deadline, hook) or
 * for want of room may repeat one that was accepted: the queue is asked for that call first.
 *
 * RFC 7240 (Prefer), draft-ietf-httpapi-idempotency-key-header. */
#include "platform/deferral_impl.h"

#include "app/toml_json.h"
#include "base/limits.h"
#include "base/log.h"
#include "carbon/when.h"
#include "http/field.h"
#include "http/prefer.h"
#include "platform/call.h"
#include "sched/call.h"

#include <math.h>
#include <openssl/evp.h>
#include <stdlib.h>

/* Before anything has run: what the first plan and lease reckon with. */
#define ESTIMATE_UNKNOWN_S 0.05

#define TOO_LONG                                                                                   \
    "the body is longer than a deferred call may have (body_max of defer in tool.ebb); ask "       \
    "without 'Prefer: respond-async'"

typedef struct {
    deferral *d;
    served *s;        /* a hold */
    http_exchange *x; /* NULL: the client has gone */
    arena a;
    hosted *h;
    prefer prefer;
    queue_offer offer;
    deferred_request request;
    deferred_about about;
    buf body;
    buf packed;  /* the request as the queue keeps it: for PUT, and for running it at once */
    err refusal; /* if refused: why it is, unless its key is known */
    bool refused;
    bool too_long;
    bool at_once;       /* it is leased with PUT: no plan is asked for it */
    store_call *asking; /* PUT; then GET, for the answer to a call that was accepted before */
    queue_accepted accepted;
    run *run;    /* that we wait for, */
    bool waited; /* or have waited for */
    bool beginning, over_at_once;
    loop_timer patience;
} acceptance;

static void accept_free(acceptance *c)
{
    loop_timer_stop(&c->patience);
    if (c->run) {
        c->run->waiter = NULL;
        c->run->waiter_user = NULL;
    }
    store_call_free(c->asking);
    served_let(c->s);
    buf_fini(&c->body);
    buf_fini(&c->packed);
    arena_fini(&c->a);
    free(c);
}

static void fail(acceptance *c, unsigned status, unsigned after_s, const char *text)
{
    call_log_without(c->x, c->d->all->calls, c->h->app->id, status);
    exchange_bind(c->x, NULL, NULL);
    defer_refuse(c->x, status, after_s, text);
    accept_free(c);
}

/* Of what it says. ERR_LIMIT: the node has no room by its deadline. */
static void refuse(acceptance *c, const err *e)
{
    if (e->code == ERR_LIMIT)
        fail(c, 503, 60, e->text);
    else if (e->code == ERR_NO_MEMORY)
        fail(c, 503, 2, e->text);
    else
        fail(c, e->code == ERR_TIMEOUT ? 422 : 400, 0, e->text);
}

/* --- what it says ----------------------------------------------------------------------------- */

/* p NULL in *ret: it says nothing. ERR_INVALID: it says it twice. */
static bool field_of(const acceptance *c, str name, str *ret, err *e)
{
    const http_request *r = exchange_request(c->x);
    return field_only(r->fields, r->fields_count, name, ret, e);
}

/* What is said to the platform is not the component's, except the key, by which it can tell a
 * second attempt. */
static bool is_platforms(str name)
{
    return str_eq(name, S("prefer")) || str_eq(name, S("ebb-deadline")) ||
           str_eq(name, S("ebb-hook")) || str_eq(name, S("ebb-call")) ||
           str_eq(name, S("ebb-attempt")) || str_eq(name, S("expect")) ||
           str_eq(name, S("content-length"));
}

static bool request_take(acceptance *c, err *e)
{
    const http_request *r = exchange_request(c->x);
    http_field *fields = ARENA_ARRAY(&c->a, http_field, r->fields_count + 1);
    size_t n = 0;
    for (size_t i = 0; fields && i < r->fields_count; i++)
        if (!is_platforms(r->fields[i].name))
            fields[n++] = r->fields[i];
    c->request = (deferred_request){.method = r->method,
                                    .target = r->target,
                                    .authority = r->authority,
                                    .scheme = r->scheme,
                                    .peer = r->peer,
                                    .fields = fields,
                                    .fields_count = n};
    c->about = (deferred_about){.component = c->h->app->id,
                                .method = r->method,
                                .path = target_path(r->target),
                                .app = c->s->config.calls.name};
    return fields ? true : err_no_memory(e);
}

static bool deadline_take(acceptance *c, int64_t now_s, err *e)
{
    const app_defer *d = &c->h->app->settings.defer;
    int64_t at = now_s + d->slack_s;
    str said;
    if (!field_of(c, S("ebb-deadline"), &said, e) ||
        (said.p && !call_deadline_parse(said, now_s, &at, e)))
        return err_wrap(e, "Ebb-Deadline");
    if (at == now_s)
        return err_set(e, ERR_INVALID,
                       "Ebb-Deadline: that is now; what may wait needs a second at least");
    if (at - now_s > d->slack_s_max)
        return err_set(e, ERR_INVALID,
                       "Ebb-Deadline: this app lets calls wait for %u s at most (slack_max in "
                       "tool.ebb), and %lld s is further",
                       d->slack_s_max, (long long)(at - now_s));
    c->offer.head.terms.deadline_ms = at * 1000;
    return true;
}

/* Who is told: whom the call names, or the app. A call may name only whom its component may reach,
 * because whoever asks it could have the node ask anybody. */
static bool hook_take_up(acceptance *c, err *e)
{
    host_component unused;
    hook_url u;
    str said;
    if (!field_of(c, S("ebb-hook"), &said, e) ||
        (said.p && (!hook_url_parse(said, &u, e) || !hook_allowed(c->h, &u, &c->a, &unused, e))))
        return err_wrap(e, "Ebb-Hook");
    c->about.hook = said.p ? said : c->h->app->settings.defer.hook;
    if (c->about.hook.n)
        c->offer.head.terms.trigger |= QUEUE_TELLS;
    return true;
}

static quota quota_of(const served *s) { return s->tenant ? tenant_quota(s->tenant) : (quota){0}; }

static bool terms_take(acceptance *c, err *e)
{
    const app_defer *d = &c->h->app->settings.defer;
    int64_t now_s = now_ms() / 1000;
    double known = run_estimate(c->h), estimate = known > 0 ? known : ESTIMATE_UNKNOWN_S;
    const pace_view *v = &c->d->view;
    quota q = quota_of(c->s);
    c->offer.head.terms = (queue_terms){.tenant = queue_tenant_of(c->s),
                                        .app = queue_app_of(c->s),
                                        .revision = c->s->config.calls.revision,
                                        .attempts_max = d->attempts_max,
                                        .class = CALL_OPPORTUNISTIC,
                                        .criticality = (uint8_t)d->criticality,
                                        .trigger = DEFERRED_HTTP,
                                        .keep_ms = (int64_t)d->kept_s * 1000,
                                        .cpu_ns = (uint64_t)(estimate * 1e9),
                                        .intensity_g_per_kwh = v->slots ? v->intensity[0] : 0};
    c->offer.head.calls_max = q.deferred_calls;
    c->offer.head.bytes_max = q.deferred_bytes;
    if (!hook_take_up(c, e) || !deadline_take(c, now_s, e))
        return false;
    int64_t slack = c->offer.head.terms.deadline_ms / 1000 - now_s;
    if ((double)slack < known)
        return err_set(
            e, ERR_TIMEOUT,
            "Ebb-Deadline: calls like this one take %.1f s of CPU time, so that it can't "
            "end in %lld s; give it more, or ask without 'Prefer: respond-async'",
            known, (long long)slack);
    c->at_once = c->prefer.has_wait && c->prefer.wait_s && !c->d->draining &&
                 c->d->running < DEFER_RUNNING_MAX + DEFER_WAITING_MAX / 2;
    if (!c->at_once && pace_free(v, c->offer.head.terms.deadline_ms / 1000) < estimate)
        return err_set(e, ERR_LIMIT,
                       "the node has accepted as much work as it can end by then; ask for a later "
                       "deadline, or try again");
    return true;
}

/* --- answers ---------------------------------------------------------------------------------- */

static void put_time(buf *out, const char *name, int64_t at_s)
{
    buf_printf(out, ",\"%s\":\"", name);
    when_put(out, at_s);
    buf_put_u8(out, '"');
}

static int64_t planned_s(const pace_view *v, const queue_terms *t)
{
    int64_t at = pace_start(v, t->deadline_ms / 1000, (double)t->cpu_ns / 1e9),
            now = now_ms() / 1000;
    return at > now ? at : now;
}

static uint32_t wait_s(const acceptance *c)
{
    return c->prefer.wait_s < DEFER_WAIT_S_MAX ? c->prefer.wait_s : DEFER_WAIT_S_MAX;
}

static void answer_202(acceptance *c)
{
    _cleanup_(buf_fini) buf out;
    char id[QUEUE_ID_TEXT + 1], location[80], applied[PREFERENCE_APPLIED_BYTES];
    const queue_terms *t = &c->offer.head.terms;
    const pace_view *v = &c->d->view;
    queue_id_text(&c->accepted.id, id);
    snprintf(location, sizeof location, "/.well-known/ebb/calls/%s", id);
    buf_init(&out, 8 * KIB);
    buf_printf(&out, "{\"id\":\"%s\",\"state\":\"%s\"", id,
               queue_state_name((queue_state)c->accepted.state));
    if (!c->accepted.existed)
        put_time(&out, "deadline", t->deadline_ms / 1000);
    if (v->slots && !c->accepted.existed && c->accepted.state == QUEUE_WAITING)
        put_time(&out, "planned_start", planned_s(v, t));
    buf_printf(&out,
               ",\"location\":\"%s\",\"help\":\"%s; GET the location to see how it stands, "
               "GET %s/result for the answer itself, DELETE cancels it\"}\n",
               location,
               c->accepted.existed
                   ? "a call with this Idempotency-Key was accepted before: this is "
                     "that one"
                   : "accepted, and kept through crashes until it has ended",
               location);
    http_field fields[] = {
        {S("location"), str_from(location)},
        {S("preference-applied"), preference_applied(true, c->waited, wait_s(c), applied)},
        {S("retry-after"), S("5")}};
    exchange_bind(c->x, NULL, NULL);
    call_log_without(c->x, c->d->all->calls, c->h->app->id, 202);
    defer_answer(c->x, 202, fields, 3, buf_str(&out));
    accept_free(c);
}

static void on_patience(void *user) { answer_202(user); }

/* The call's own answer, as if it had not been deferred. What it is of is the result's address, not
 * the call's (RFC 9110, 8.7), unless the component says another. */
static void answer_with(acceptance *c, const inner_result *r)
{
    char id[QUEUE_ID_TEXT + 1], location[80], applied[PREFERENCE_APPLIED_BYTES];
    http_field *fields = ARENA_ARRAY(&c->a, http_field, r->fields_count + 2);
    http_exchange *x = c->x;
    size_t n = 0;
    queue_id_text(&c->accepted.id, id);
    snprintf(location, sizeof location, "/.well-known/ebb/calls/%s/result", id);
    for (size_t i = 0; fields && i < r->fields_count; i++)
        if (!str_eq(r->fields[i].name, S("date")))
            fields[n++] = r->fields[i];
    exchange_bind(x, NULL, NULL);
    c->x = NULL;
    if (!fields) {
        exchange_abort(x, 503, NULL, 0);
    } else {
        if (!field_find(fields, n, S("content-location")))
            fields[n++] = (http_field){S("content-location"), str_from(location)};
        fields[n++] = (http_field){S("preference-applied"),
                                   preference_applied(false, true, wait_s(c), applied)};
        defer_send(x, r->status, fields, n, r->body, r->body.n ? (int64_t)r->body.n : r->length);
    }
    accept_free(c);
}

static void on_ran(void *user, const inner_result *r)
{
    acceptance *c = user;
    c->run = NULL;
    if (c->beginning)
        c->over_at_once = true;
    else if (!r || r->body_cut)
        answer_202(c);
    else
        answer_with(c, r);
}

/* --- the queue -------------------------------------------------------------------------------- */

static void run_and_wait(acceptance *c)
{
    queue_info info = {.id = c->accepted.id,
                       .terms = c->offer.head.terms,
                       .state = QUEUE_LEASED,
                       .attempts = c->accepted.attempt,
                       .accepted_ms = now_ms()};
    c->beginning = true;
    run *r = run_begin_leased(c->d, &info, c->offer.request, c->s, on_ran, c);
    buf_fini(&c->packed);
    c->beginning = false;
    c->run = c->over_at_once ? NULL : r;
    c->waited = c->run != NULL;
    if (!c->x)
        accept_free(c);
    else if (!c->run) /* the lease expires, or it has ended without an answer */
        answer_202(c);
    else
        loop_timer_start(c->d->l, &c->patience, wait_s(c) * NS_PER_S, on_patience, c);
}

static void on_got(void *user)
{
    acceptance *c = user;
    queue_call kept;
    deferred_result r;
    err e;
    if (!c->x) {
        accept_free(c);
    } else if (queue_call_read(store_call_answer(c->asking), &kept, &e) && kept.has_result &&
               deferred_result_read(&c->a, kept.result, &r) && r.status && !r.body_cut) {
        inner_result again = {.status = r.status,
                              .fields = r.fields,
                              .fields_count = r.fields_count,
                              .body = r.body,
                              .length = -1};
        call_log_without(c->x, c->d->all->calls, c->h->app->id, r.status);
        answer_with(c, &again);
    } else {
        answer_202(c);
    }
}

/* The call of the key was accepted before; who would wait gets its answer, if there is one. */
static void answer_again(acceptance *c)
{
    err e;
    queue_one one = {.id = c->accepted.id,
                     .tenant = c->offer.head.terms.tenant,
                     .app = c->offer.head.terms.app,
                     .with = QUEUE_WITH_RESULT};
    bool ended = c->accepted.state == QUEUE_DONE || c->accepted.state == QUEUE_FAILED;
    if (ended && c->prefer.wait_s)
        c->asking = queue_ask_one(c->d->store, QUEUE_GET, &one);
    if (!c->asking || !store_call_send(c->asking, on_got, c, &e))
        answer_202(c);
}

static void on_put(void *user)
{
    acceptance *c = user;
    err e;
    bool ok = queue_accepted_read(store_call_answer(c->asking), &c->accepted, &e);
    store_call_free(c->asking);
    c->asking = NULL;
    if (ok && !c->accepted.existed) {
        const queue_terms *t = &c->offer.head.terms;
        double cpu_s = (double)t->cpu_ns / 1e9;
        pace_accept(&c->d->view, t->deadline_ms / 1000, cpu_s);
        if (c->accepted.state == QUEUE_WAITING)
            deferral_came(c->d, cpu_s, (double)(t->deadline_ms - now_ms()) / 1000);
        deferral_changed(c->d);
    }
    if (ok && c->accepted.state == QUEUE_LEASED && !c->accepted.existed) {
        run_and_wait(c);
    } else if (!c->x) {
        accept_free(c);
    } else if (ok && c->accepted.existed) {
        answer_again(c);
    } else if (ok) {
        answer_202(c);
    } else if (c->refused && e.code == ERR_NOT_FOUND) {
        refuse(c, &c->refusal);
    } else if (e.code == ERR_LIMIT) {
        fail(c, 429, 60, e.text);
    } else if (e.code == ERR_CONFLICT) {
        fail(c, 422, 0, e.text);
    } else {
        log_msg(LOG_ERROR, "a call could not be kept: %s", e.text);
        fail(c, 503, 2,
             "nobody knows whether the call was kept; try again, with an Idempotency-Key so that "
             "it is one call");
    }
}

/* Two requests under one key are the same if this is. */
static bool same_make(acceptance *c)
{
    const deferred_request *q = &c->request;
    str parts[] = {q->method, q->target, {(const char *)q->body.p, q->body.n}};
    EVP_MD_CTX *h = EVP_MD_CTX_new();
    bool ok = h && EVP_DigestInit_ex(h, EVP_sha256(), NULL);
    for (size_t i = 0; ok && i < 3; i++) {
        uint64_t n = parts[i].n;
        ok = EVP_DigestUpdate(h, &n, sizeof n) && EVP_DigestUpdate(h, parts[i].p, parts[i].n);
    }
    ok = ok && EVP_DigestFinal_ex(h, c->offer.head.same, NULL);
    EVP_MD_CTX_free(h);
    return ok;
}

static void put(acceptance *c)
{
    buf about;
    err e;
    c->request.body = buf_bytes(&c->body);
    buf_init(&about, QUEUE_ABOUT_BYTES_MAX);
    bool ok = same_make(c) && (c->refused || (deferred_about_write(&c->about, &about) &&
                                              deferred_request_write(&c->request, &c->packed)));
    c->offer.head.only_known = c->refused;
    buf_fini(&c->body);
    c->offer.about = buf_bytes(&about);
    c->offer.request = buf_bytes(&c->packed);
    if (c->at_once && !c->d->draining) {
        c->offer.head.holder = c->d->holder;
        c->offer.head.lease_ms = DEFER_LEASE_MS;
    }
    c->asking = ok ? queue_ask_put(c->d->store, &c->offer) : NULL;
    buf_fini(&about);
    if (!c->offer.head.holder)
        buf_fini(&c->packed);
    if (!c->asking || !store_call_send(c->asking, on_put, c, &e))
        fail(c, 503, 2, "the call could not be kept; it was not accepted, try again");
}

/* --- the body --------------------------------------------------------------------------------- */

static void body_read(acceptance *c)
{
    static uint8_t block[64 * 1024];
    body_state state;
    size_t n;
    while ((n = exchange_read(c->x, block, sizeof block, &state)) > 0)
        c->too_long |= !buf_put(&c->body, block, n);
    if (c->too_long)
        fail(c, 413, 0, TOO_LONG);
    else if (state == BODY_END)
        put(c);
    else if (state == BODY_ABORTED)
        fail(c, 400, 0, "the body was cut");
}

static void on_readable(void *user)
{
    acceptance *c = user;
    if (!c->asking && !c->run && c->x)
        body_read(c);
}

/* Nobody hears the 202: the call is accepted all the same if it was on its way. */
static void on_closed(void *user)
{
    acceptance *c = user;
    exchange_free(c->x);
    c->x = NULL;
    if (!c->asking)
        accept_free(c);
}

void accept_begin(deferral *d, served *s, http_exchange *x, const route_match *m)
{
    static const exchange_callbacks callbacks = {.on_readable = on_readable,
                                                 .on_closed = on_closed};
    err e;
    acceptance *c = calloc(1, sizeof *c);
    if (!c) {
        defer_refuse(x, 503, 2, "no memory for another request");
        return;
    }
    const http_request *r = exchange_request(x);
    *c = (acceptance){.d = d,
                      .s = s,
                      .x = x,
                      .h = &s->hosted[m->trigger->component],
                      .prefer = prefer_read(r->fields, r->fields_count)};
    served_hold(s);
    uint64_t max = c->h->app->settings.defer.body_bytes_max;
    arena_init(&c->a, 8 * MIB);
    buf_init(&c->body, max);
    buf_init(&c->packed, QUEUE_REQUEST_BYTES_MAX);
    if (!request_take(c, &e) ||
        !idempotency_key_read(r->fields, r->fields_count, &c->offer.key, &e)) {
        refuse(c, &e);
        return;
    }
    c->refused = !terms_take(c, &c->refusal);
    if (c->refused && !c->offer.key.n) {
        refuse(c, &c->refusal);
    } else if (r->content_length > (int64_t)max) {
        fail(c, 413, 0, TOO_LONG);
    } else {
        exchange_bind(x, &callbacks, c);
        body_read(c);
    }
}
