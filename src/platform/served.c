/* See served.h. What needs no component is answered here: static responses, the platform's own
 * routes, and 404. */
#include "platform/served.h"

#include "base/limits.h"
#include "base/must.h"
#include "platform/call.h"

#include <stdlib.h>

enum { SERVED_BYTES_MAX = 1 << 30, INFO_BYTES_MAX = 1 << 20 };

/* --- an app's life ---------------------------------------------------------------------------- */

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
    if (!s->hosted)
        return err_no_memory(e);
    if (!providers_open(&s->a, &s->config.providers, &providers, e))
        return false;
    for (size_t i = 0; i < of->components_count; i++) {
        hosted_init(&s->hosted[i], s, i);
        s->hosted[i].providers = providers;
    }
    for (size_t i = 0; i < of->components_count; i++)
        if (of->components[i].is_used &&
            !guestlog_open(s->config.log_dir, of->components[i].id, &s->hosted[i].log, e))
            return false;
    return true;
}

static void served_free(served *s)
{
    for (size_t i = 0; s->hosted && i < s->config.app->components_count; i++) {
        hosted_unload(&s->hosted[i]);
        guestlog_close(&s->hosted[i].log);
    }
    arena a = s->a;
    arena_fini(&a);
}

bool served_new_take(const serving *all, arena *a, const app_config *c, served **ret, err *e)
{
    served *s = ARENA_NEW(a, served);
    if (!s) {
        arena_fini(a);
        return err_no_memory(e);
    }
    *s = (served){.all = all, .config = *c, .a = *a, .holders = 1};
    arena_init(a, 0);
    if (!components_make(s, e) || !route_table_build(&s->a, c->app, &s->routes, e) ||
        !info_make(s, e)) {
        served_free(s);
        return false;
    }
    *ret = s;
    return true;
}

void served_hold(served *s) { s->holders++; }

void served_let(served *s)
{
    if (s && --s->holders == 0)
        served_free(s);
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

static void answer_static(http_exchange *x, const app_static_response *s)
{
    http_field fields[HTTP_HEADERS_MAX];
    size_t n = 0;
    for (; n < s->headers.n && n < HTTP_HEADERS_MAX; n++)
        fields[n] = (http_field){s->headers.at[n].key, s->headers.at[n].value};
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

static str path_of(const http_request *r) { return str_head(r->target, str_find(r->target, '?')); }

void served_begin(served *s, http_exchange *x)
{
    static const http_field text = {{"content-type", 12}, {"text/plain", 10}};
    static const http_field json = {{"content-type", 12}, {"application/json", 16}};
    char id[CALL_ID_BYTES];
    route_match m;
    route_find(s->routes, path_of(exchange_request(x)), &m);
    switch (m.kind) {
    case ROUTE_TRIGGER:
        if (m.trigger->is_static)
            answer_static(x, &m.trigger->static_response);
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

void served_begin_inside(served *s, http_exchange *x, str id)
{
    const app *a = s->config.app;
    route_match m;
    for (size_t i = 0; id.p && i < a->triggers_count; i++) {
        const app_trigger *t = &a->triggers[i];
        if (t->kind != APP_TRIGGER_HTTP || t->component == APP_NONE ||
            !str_eq(a->components[t->component].id, id))
            continue;
        route_synthetic(t, path_of(exchange_request(x)), &m);
        call_begin(s->all->calls, &s->hosted[t->component], x, &m);
        return;
    }
    served_begin(s, x);
}
