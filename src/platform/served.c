/* See served.h. What needs no component is answered here: static responses, the platform's own
 * routes, and 404. */
#include "platform/served.h"

#include "base/limits.h"
#include "base/must.h"
#include "platform/call.h"
#include "platform/deferral.h"
#include "store/client.h"

#include <stdlib.h>

enum { SERVED_BYTES_MAX = 1 << 30, INFO_BYTES_MAX = 1 << 20 };

/* --- an app's life ---------------------------------------------------------------------------- */

/* A name that is joined to a folder: 64 hexadecimal digits and nothing else. */
static bool is_digest(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
            return false;
    return s.n == 64;
}

static bool mounts_locate(served *s, config_component *c, err *e)
{
    app_pair *at = ARENA_ARRAY(&s->a, app_pair, c->mounts.n);
    for (size_t i = 0; at && i < c->mounts.n; i++) {
        if (!is_digest(c->mounts.at[i].value))
            return err_set(e, ERR_INVALID, "its files are not named by a digest");
        at[i].key = c->mounts.at[i].key;
        at[i].value =
            arena_printf(&s->a, "%.*s/%.*s", STR(s->all->files_dir), STR(c->mounts.at[i].value));
        if (!at[i].value.p)
            return err_no_memory(e);
    }
    c->mounts.at = at;
    return at ? true : err_no_memory(e);
}

/* Settings of the catalogue name artifacts and files by digest: where they are is the node's. */
static bool paths_make(served *s, err *e)
{
    const serving *all = s->all;
    size_t count = s->config.app->components_count;
    config_component *at = ARENA_ARRAY(&s->a, config_component, count);
    if (!at)
        return err_no_memory(e);
    for (size_t i = 0; i < count; i++) {
        at[i] = s->config.components[i];
        str digest = at[i].artifact;
        if (digest.n && !is_digest(digest))
            return err_set(e, ERR_INVALID, "its artifact is not named by a digest");
        if (digest.n)
            at[i].artifact = arena_printf(&s->a, "%.*s/%.*s-%.*s-%u", STR(all->artifacts_dir),
                                          STR(digest), STR(all->fingerprint), PLAN_VERSION);
        if (!at[i].artifact.p)
            return err_no_memory(e);
        if (!mounts_locate(s, &at[i], e))
            return false;
    }
    s->config.components = at;
    s->config.log_dir =
        arena_printf(&s->a, "%.*s/%llu", STR(all->logs_dir), (unsigned long long)s->config.id);
    return s->config.log_dir.p ? true : err_no_memory(e);
}

static bool info_make(served *s, err *e)
{
    _cleanup_(buf_fini) buf info;
    buf_init(&info, INFO_BYTES_MAX);
    if (!app_info_write(s->config.app, &info, e))
        return false;
    s->info = arena_str(&s->a, buf_str(&info));
    return s->info.p ? true : err_no_memory(e);
}

static bool components_make(served *s, err *e)
{
    const app *of = s->config.app;
    variable_providers providers;
    s->hosted = ARENA_ARRAY(&s->a, hosted, of->components_count);
    s->store_numbers = ARENA_ARRAY(&s->a, uint32_t, s->config.stores_count);
    s->database_numbers = ARENA_ARRAY(&s->a, uint32_t, s->config.databases_count);
    if (!s->hosted || !s->store_numbers || !s->database_numbers)
        return err_no_memory(e);
    if (!providers_open(&s->a, &s->config.providers, &providers, e))
        return false;
    for (size_t i = 0; i < of->components_count; i++) {
        hosted_init(&s->hosted[i], s, i);
        s->hosted[i].providers = providers;
        if (!meter_row_open(s->all->meter, s->config.id, (uint32_t)i, &s->hosted[i].row, e))
            return false;
        s->hosted_count++;
    }
    for (size_t i = 0; i < of->components_count; i++) {
        guestlog *log = &s->hosted[i].log;
        if (s->config.id)
            guestlog_open_later(&s->all->logs, s->config.log_dir, of->components[i].id, log);
        else if (of->components[i].is_used &&
                 !guestlog_open(s->config.log_dir, of->components[i].id, log, e))
            return false;
    }
    return true;
}

/* Under `ebb up` the store process knows them by their place in the app. */
bool served_store(served *s, size_t index, bool is_database, uint32_t *ret, err *e)
{
    const app_config *c = &s->config;
    uint32_t *at = &(is_database ? s->database_numbers : s->store_numbers)[index];
    str label = is_database ? c->databases[index].label : c->stores[index].label;
    uint16_t number;
    if (!c->id) {
        *ret = (uint32_t)index;
        return true;
    }
    if (!*at) {
        if (!store_client_name(s->all->store, c->id, label, is_database, &number, e))
            return false;
        *at = number + 1u;
    }
    *ret = *at - 1;
    return true;
}

static void stores_unname(served *s, const uint32_t *numbers, size_t count)
{
    for (size_t i = 0; numbers && i < count; i++)
        if (numbers[i])
            store_client_unname(s->all->store, (uint16_t)(numbers[i] - 1));
}

static void served_free(served *s)
{
    for (size_t i = 0; i < s->hosted_count; i++) {
        meter_row_close(s->all->meter, s->hosted[i].row);
        hosted_unload(&s->hosted[i]);
        guestlog_close(&s->hosted[i].log);
    }
    stores_unname(s, s->store_numbers, s->config.stores_count);
    stores_unname(s, s->database_numbers, s->config.databases_count);
    tenant_let(s->tenant);
    s->all->bytes -= s->bytes;
    arena a = s->a;
    arena_fini(&a);
}

bool served_new_take(serving *all, arena *a, const app_config *c, str limits, str allow,
                     served **ret, err *e)
{
    served *s = ARENA_NEW(a, served);
    if (!s) {
        arena_fini(a);
        return err_no_memory(e);
    }
    *s = (served){.all = all, .config = *c, .a = *a, .holders = 1};
    arena_init(a, 0);
    if ((c->id && !tenant_take(&all->tenants, c->tenant, limits, &s->tenant, e)) ||
        (c->id && !egress_more(&s->a, &all->egress, allow, &s->egress, e)) ||
        (c->id && !paths_make(s, e)) || !components_make(s, e) ||
        !route_table_build(&s->a, c->app, &s->routes, e) || !info_make(s, e)) {
        served_free(s);
        return false;
    }
    s->turns.of = s->tenant ? tenant_turns(s->tenant) : &all->calls->own;
    s->bytes = s->a.used_bytes;
    all->bytes += s->bytes;
    *ret = s;
    return true;
}

void served_hold(served *s) { s->holders++; }

void served_let(served *s)
{
    if (s && --s->holders == 0)
        served_free(s);
}

void served_enter(served *s)
{
    served_hold(s);
    tenant_begun(s->tenant);
}

void served_leave(served *s)
{
    tenant_ended(s->tenant);
    served_let(s);
}

/* --- requests --------------------------------------------------------------------------------- */

static void answer(http_exchange *x, unsigned status, const http_field *fields, size_t count,
                   str body)
{
    err e;
    bool overrun;
    if (!exchange_start(x, status, fields, count, (int64_t)body.n, &e)) {
        exchange_abort(x, 500, NULL, 0);
        return;
    }
    exchange_write(x, body.p, body.n, &overrun);
    exchange_end(x, NULL, 0);
}

static void answer_static(served *v, http_exchange *x, const app_static_response *s)
{
    http_field fields[HTTP_HEADERS_MAX];
    size_t n = 0;
    for (; n < s->headers.n && n < HTTP_HEADERS_MAX; n++)
        fields[n] = (http_field){s->headers.at[n].key, s->headers.at[n].value};
    call_log_without(x, v->all->calls, S("(static)"), s->status);
    answer(x, s->status, fields, n, s->body);
}

/* Once, and only if "/" leads nowhere: most likely somebody tries the address that was printed. */
static void root_hint(served *s)
{
    route_match m;
    if (s->hinted)
        return;
    s->hinted = true;
    route_find(s->routes, S("/"), &m);
    if (m.kind == ROUTE_NONE)
        log_msg(LOG_WARN, "a request got 404, and the app has no route for '/'; 'Available Routes' "
                          "at the start lists those it has");
}

/* Chained requests are not asked for: a call that was let in may finish its work. */
static bool is_refused(served *s, http_exchange *x)
{
    static const char *const reasons[] = {
        [TENANT_RATE] = "the tenant's quota of requests a second is used up",
        [TENANT_CPU] = "the tenant's quota of CPU time is used up",
        [TENANT_CONCURRENCY] = "the tenant's quota of requests at once is used up",
    };
    unsigned after;
    char id[CALL_ID_BYTES];
    if (!s->tenant || host_chain_depth(x))
        return false;
    tenant_verdict v = tenant_ask(s->tenant, clock_mono(), &after);
    if (v == TENANT_OK)
        return false;
    call_id_next(s->all->calls, id);
    call_refuse_until(x, id, v == TENANT_CONCURRENCY ? 503 : 429, after, reasons[v]);
    return true;
}

void served_begin(served *s, http_exchange *x)
{
    if (is_refused(s, x))
        return;
    static const http_field text = {{"content-type", 12}, {"text/plain", 10}};
    static const http_field json = {{"content-type", 12}, {"application/json", 16}};
    char id[CALL_ID_BYTES];
    route_match m;
    route_find(s->routes, target_path(exchange_request(x)->target), &m);
    if (deferral_begin(s, x, &m))
        return;
    switch (m.kind) {
    case ROUTE_TRIGGER:
        if (m.trigger->is_static)
            answer_static(s, x, &m.trigger->static_response);
        else
            call_begin(s->all->calls, &s->hosted[m.trigger->component], x, &m);
        return;
    case ROUTE_HEALTH:
        answer(x, 200, &text, 1, S("OK"));
        return;
    case ROUTE_INFO:
        answer(x, 200, &json, 1, s->info);
        return;
    case ROUTE_NONE:
        root_hint(s);
        __attribute__((fallthrough));
    case ROUTE_RESERVED:
        call_id_next(s->all->calls, id);
        call_refuse(x, id, 404, NULL);
        return;
    }
}

hosted *served_component(served *s, str id)
{
    const app_component *c = app_component_by_id(s->config.app, id);
    return c ? &s->hosted[c - s->config.app->components] : NULL;
}

void served_run(served *s, http_exchange *x, str id)
{
    char call_id[CALL_ID_BYTES];
    route_match m;
    hosted *h = id.n ? served_component(s, id) : NULL;
    if (h) {
        int i = (int)(h - s->hosted);
        const app_trigger whatever = {.kind = APP_TRIGGER_HTTP, .component = i};
        const app_trigger *t = app_trigger_of_component(s->config.app, i);
        route_synthetic(t ? t : &whatever, target_path(exchange_request(x)->target), &m);
        call_begin(s->all->calls, h, x, &m);
        return;
    }
    route_find(s->routes, target_path(exchange_request(x)->target), &m);
    if (!id.n && m.kind == ROUTE_TRIGGER && !m.trigger->is_static) {
        call_begin(s->all->calls, &s->hosted[m.trigger->component], x, &m);
        return;
    }
    call_id_next(s->all->calls, call_id);
    call_refuse(x, call_id, 404, NULL);
}

void served_begin_inside(served *s, http_exchange *x, str id)
{
    const app *a = s->config.app;
    route_match m;
    for (size_t i = 0; id.p && i < a->triggers_count; i++) {
        const app_trigger *t = &a->triggers[i];
        if (t->kind != APP_TRIGGER_HTTP || t->component == APP_NONE ||
            !str_eq(a->components[t->component].id, id))
            continue;
        route_synthetic(t, target_path(exchange_request(x)->target), &m);
        call_begin(s->all->calls, &s->hosted[t->component], x, &m);
        return;
    }
    served_begin(s, x);
}
