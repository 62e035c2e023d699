/* Deferred calls in the admin API: lists, one call, cancel, retry; and the plan of the node. What a
 * call said and was answered is shown to its tenant as on its status resource (defer_show.h). */
#include "platform/keeper_api.h"

#include "app/hook.h"
#include "base/limits.h"
#include "carbon/when.h"
#include "platform/defer_show.h"
#include "platform/keeper_calls.h"
#include "platform/keeper_owner.h"
#include "store/queue_client.h"

#include <openssl/crypto.h>
#include <stdlib.h>

typedef struct {
    store_call *call, *counting;
    queue_id id;
    queue_count count;
    uint64_t tenant; /* as the queue has it; 0: of any */
} asking;

/* NULL: it was answered. */
static asking *asking_new(api_call *c)
{
    asking *q = c->own = ARENA_NEW(&c->a, asking);
    err e;
    if (q && (!c->tenant.id || owner_tenant(c->k, &c->tenant, &q->tenant, &e)))
        return q;
    if (!q)
        err_no_memory(&e);
    api_fail(c, &e);
    return NULL;
}

/* Adds the app's name: what a tenant calls it. */
static void app_put(api_call *c, const queue_call *q)
{
    deferred_about about = {0};
    str name;
    err e;
    if (deferred_about_read(q->about, &about) && about.app.n)
        name = about.app;
    else if (!catalogue_app_name(catalogue_reading(c->k->catalogue), &c->a, q->info.terms.app,
                                 &name, &e))
        name = S("");
    name = str_skip(name, str_find(name, '/') + 1);
    c->out.n--; /* the closing brace */
    buf_printf(&c->out, ",\"app\":\"%.*s\"}", STR(name));
}

static void call_put(api_call *c, const queue_call *q, bool full)
{
    const queue_info *i = &q->info;
    calls_price p = {.accepted_s = i->accepted_ms / 1000,
                     .ran_s = i->begun_ms / 1000,
                     .energy_j = (double)i->use.energy_nj / 1e9};
    bool priced = i->use.energy_nj && i->ended_ms && full;
    if (priced)
        keeper_calls_intensity(c->k, p.accepted_s, p.ran_s, &p.accepted_g_per_kwh,
                               &p.ran_g_per_kwh);
    defer_show(&c->out, q, keeper_calls_plan(c->k->calls), priced ? &p : NULL, full,
               keeper_now_s());
    app_put(c, q);
}

static void fail(api_call *c, const err *e)
{
    if (c->x)
        api_fail(c, e);
    else
        api_is_over(c);
}

/* Sends what was made; k NULL: no memory. */
static void ask(api_call *c, store_call *k, void (*on_done)(void *user))
{
    asking *q = c->own;
    err e;
    q->call = k;
    if (!k || !store_client_connected(c->k->store)) {
        store_call_free(k);
        err_set(&e, ERR_CLOSED, "the store process, which has the calls, is not there");
        api_fail(c, &e);
        return;
    }
    c->busy++;
    if (store_call_send(k, on_done, c, &e))
        return;
    c->busy--;
    store_call_free(k);
    api_fail(c, &e);
}

/* --- one call --------------------------------------------------------------------------------- */

static void on_one(void *user)
{
    api_call *c = user;
    asking *q = c->own;
    queue_call call;
    err e;
    c->busy--;
    bool ok = queue_call_read(store_call_answer(q->call), &call, &e);
    if (ok && c->x)
        call_put(c, &call, true);
    store_call_free(q->call);
    if (c->route->method[0] != 'G')
        keeper_calls_look(c->k->calls);
    if (!ok || !c->x) {
        fail(c, &e);
        return;
    }
    buf_put_u8(&c->out, '\n');
    api_answer(c, 200, S("application/json"));
}

static void one(api_call *c, store_kind kind)
{
    asking *q = asking_new(c);
    if (!q)
        return;
    queue_one ask_for = {.tenant = q->tenant, .with = QUEUE_WITH_RESULT};
    if (!queue_id_parse(c->params[1], &ask_for.id)) {
        api_fail_status(c, 404, "there is no such call (any more)");
        return;
    }
    if (kind == QUEUE_REVIVE) {
        quota most = api_quota(c);
        ask_for.deadline_ms = (keeper_now_s() + APP_DEFER_SLACK_S) * 1000;
        ask_for.calls_max = most.deferred_calls;
        ask_for.bytes_max = most.deferred_bytes;
    }
    ask(c, queue_ask_one(c->k->store, kind, &ask_for), on_one);
}

static bool cancel_audit(api_call *c, catalogue_db *db, err *e)
{
    return api_audit(c, db, "cancel call", c->params[1], e);
}
static bool retry_audit(api_call *c, catalogue_db *db, err *e)
{
    return api_audit(c, db, "retry call", c->params[1], e);
}
static void cancel_now(api_call *c) { one(c, QUEUE_CANCEL); }
static void retry_now(api_call *c) { one(c, QUEUE_REVIVE); }

void api_call_show(api_call *c) { one(c, QUEUE_GET); }
void api_call_cancel(api_call *c) { api_submit(c, cancel_audit, cancel_now); }
void api_call_retry(api_call *c) { api_submit(c, retry_audit, retry_now); }

/* --- what hooks are signed with --------------------------------------------------------------- */

static void on_secret(void *user)
{
    api_call *c = user;
    asking *q = c->own;
    uint8_t secret[QUEUE_SECRET_BYTES];
    err e;
    c->busy--;
    bool ok = queue_secret_read(store_call_answer(q->call), secret, &e);
    store_call_free(q->call);
    if (!ok || !c->x) {
        fail(c, &e);
        return;
    }
    buf_put_str(&c->out, S("{\"secret\":\""));
    hook_secret_put((bytes){secret, sizeof secret}, &c->out);
    buf_put_str(&c->out, S("\"}\n"));
    OPENSSL_cleanse(secret, sizeof secret);
    api_answer(c, 200, S("application/json"));
}

static void secret_ask(api_call *c, bool anew)
{
    catalogue_app found = {0};
    calls_owner owner;
    err e;
    if (!asking_new(c))
        return;
    if (!catalogue_app_find(catalogue_reading(c->k->catalogue), &c->a, c->tenant.id, c->params[1],
                            &found, &e))
        api_fail(c, &e);
    else if (!found.id)
        api_fail_status(c, 404, "the tenant has no such app");
    else if (!owner_app(c->k, &c->a, c->tenant.name, &found, &owner, &e))
        api_fail(c, &e);
    else
        ask(c, queue_ask_secret(c->k->store, owner.app, anew), on_secret);
}

static bool rotate_audit(api_call *c, catalogue_db *db, err *e)
{
    return api_audit(c, db, "new hook secret", c->params[1], e);
}
static void rotate_now(api_call *c) { secret_ask(c, true); }

void api_hook_secret(api_call *c) { secret_ask(c, false); }
void api_hook_rotate(api_call *c) { api_submit(c, rotate_audit, rotate_now); }

/* --- lists ------------------------------------------------------------------------------------ */

static void counts_put(buf *out, const queue_count *n)
{
    buf_put_str(out, S("\"counts\":{"));
    for (int s = QUEUE_WAITING; s < QUEUE_STATES; s++)
        buf_printf(out, "%s\"%s\":%llu", s == QUEUE_WAITING ? "" : ",",
                   queue_state_name((queue_state)s), (unsigned long long)n->calls[s]);
    buf_printf(out, "},\"bytes\":%llu", (unsigned long long)n->bytes);
}

static void on_list(void *user)
{
    api_call *c = user;
    asking *q = c->own;
    store_message *m = store_call_answer(q->call);
    queue_call call;
    queue_id after;
    err e;
    c->busy--;
    bool ok = queue_page_read(m, &after, &e);
    buf_put_str(&c->out, S("{\"calls\":["));
    for (size_t n = 0; ok && c->x && queue_call_next(m, &call); n++) {
        buf_put_str(&c->out, n ? S(",\n") : S("\n"));
        call_put(c, &call, false);
    }
    store_call_free(q->call);
    if (!ok || !c->x) {
        buf_clear(&c->out);
        fail(c, &e);
        return;
    }
    char id[QUEUE_ID_TEXT + 1];
    queue_id_text(&after, id);
    bool more = strspn(id, "0") < QUEUE_ID_TEXT;
    buf_printf(&c->out, "],\"next\":%s%s%s,", more ? "\"" : "", more ? id : "null",
               more ? "\"" : "");
    counts_put(&c->out, &q->count);
    buf_put_str(&c->out, S("}\n"));
    api_answer(c, 200, S("application/json"));
}

static bool list_read(api_call *c, queue_list *l, err *e)
{
    str state = api_query(c, "state"), after = api_query(c, "after"), n = api_query(c, "limit"),
        name = api_query(c, "app");
    uint64_t count = 100;
    catalogue_app found = {0};
    calls_owner owner = {0};
    *l = (queue_list){.tenant = ((const asking *)c->own)->tenant};
    l->state = state.n ? queue_state_named(state) : QUEUE_ANY;
    if (l->state == QUEUE_STATES)
        return err_set(e, ERR_INVALID, "state: waiting, leased, done, failed, dead or cancelled");
    if (n.n && (!str_to_u64(n, QUEUE_PAGE_MAX, &count) || !count))
        return err_set(e, ERR_INVALID, "limit: a number from 1 to %d", QUEUE_PAGE_MAX);
    if (after.n && !queue_id_parse(after, &l->after))
        return err_set(e, ERR_INVALID, "after: what `next` of the page before said");
    if (name.n && !catalogue_app_find(catalogue_reading(c->k->catalogue), &c->a, c->tenant.id, name,
                                      &found, e))
        return false;
    if (name.n && !found.id)
        return err_set(e, ERR_NOT_FOUND, "the tenant has no app '%.*s'", STR(str_head(name, 100)));
    if (found.id && !owner_app(c->k, &c->a, c->tenant.name, &found, &owner, e))
        return false;
    l->app = owner.app;
    l->count = (uint32_t)count;
    return true;
}

static void on_counted(void *user)
{
    api_call *c = user;
    asking *q = c->own;
    queue_list l;
    err e;
    c->busy--;
    bool ok = queue_count_read(store_call_answer(q->call), &q->count, &e);
    store_call_free(q->call);
    if (!ok || !c->x || !list_read(c, &l, &e))
        fail(c, &e);
    else
        ask(c, queue_ask_list(c->k->store, &l), on_list);
}

void api_calls(api_call *c)
{
    queue_list l;
    err e;
    asking *q = asking_new(c);
    if (!q)
        return;
    if (!list_read(c, &l, &e)) {
        api_fail(c, &e);
        return;
    }
    ask(c, queue_ask_count(c->k->store, q->tenant), on_counted);
}

/* --- the plan of the node --------------------------------------------------------------------- */

static void put_time(buf *out, const char *name, int64_t s)
{
    buf_printf(out, "\"%s\":\"", name);
    when_put(out, s);
    buf_put_u8(out, '"');
}

static void plan_put(api_call *c, const queue_count *n)
{
    const pace_view *v = keeper_calls_plan(c->k->calls);
    queue_backlog b = keeper_calls_backlog(c->k->calls);
    double waiting = 0, next = -1;
    buf_printf(&c->out, "{\"slot_s\":%lld,\"slots\":[", (long long)v->slot_s);
    for (uint32_t k = 0; k < v->slots; k++) {
        buf_put_str(&c->out, k ? S(",{") : S("{"));
        put_time(&c->out, "from", (v->first + k) * v->slot_s);
        buf_printf(&c->out, ",\"cpu_s\":%.6g,\"room_cpu_s\":%.6g,\"g_per_kwh\":%.6g}", v->run[k],
                   v->room[k], v->intensity[k]);
        waiting += v->due[k];
        if (next < 0 && v->run[k] > 0)
            next = (double)((v->first + k) * v->slot_s);
    }
    buf_printf(&c->out,
               "],\"sourced\":%s,\"unplaced_cpu_s\":%.6g,\"waiting\":{\"calls\":%llu,\"cpu_s\":"
               "%.6g},\"running\":%llu,",
               v->sourced ? "true" : "false", keeper_calls_unplaced(c->k->calls),
               (unsigned long long)b.waiting, waiting, (unsigned long long)b.leased);
    if (next < 0 || !(waiting > 0)) /* what is planned is only expected */
        buf_put_str(&c->out, S("\"next_start\":null"));
    else
        put_time(&c->out, "next_start", (int64_t)next);
    buf_put_u8(&c->out, ',');
    counts_put(&c->out, n);
    buf_put_str(&c->out, S("}\n"));
}

static void on_plan(void *user)
{
    api_call *c = user;
    asking *q = c->own;
    err e;
    c->busy--;
    bool ok = queue_count_read(store_call_answer(q->call), &q->count, &e);
    store_call_free(q->call);
    if (!ok || !c->x) {
        fail(c, &e);
        return;
    }
    plan_put(c, &q->count);
    api_answer(c, 200, S("application/json"));
}

void api_calls_plan(api_call *c)
{
    if (asking_new(c))
        ask(c, queue_ask_count(c->k->store, 0), on_plan);
}
