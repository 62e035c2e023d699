/* See deferral.h. Here is what holds the parts together: the channel to the keeper, and what is
 * told it at the end of a turn. */
#include "platform/deferral_impl.h"

#include "app/toml_json.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/must.h"
#include "http/prefer.h"
#include "platform/call.h"

#include <math.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

/* --- the keeper ------------------------------------------------------------------------------- */

void deferral_say(deferral *d, const calls_message *m)
{
    err e;
    if (d->keeper && !channel_send(d->keeper, calls_message_bytes(m), -1, &e))
        log_msg(LOG_WARN, "the keeper is not told of deferred calls: %s", e.text);
}

void deferral_changed(deferral *d) { d->changed = true; }

void deferral_told(deferral *d, double started_cpu_s, double ended_cpu_s, uint32_t ended)
{
    d->ran.kind = CALLS_RAN;
    d->ran.count += ended;
    d->ran.ran.started_cpu_s += started_cpu_s;
    d->ran.ran.ended_cpu_s += ended_cpu_s;
}

void deferral_came(deferral *d, double cpu_s, double slack_s)
{
    deferral_told(d, 0, 0, 0);
    d->ran.ran.came_cpu_s += cpu_s;
    d->ran.ran.came_slack_s += cpu_s * slack_s;
}

static bool on_turn_end(void *user)
{
    deferral *d = user;
    if (d->ran.kind)
        deferral_say(d, &d->ran);
    if (d->changed)
        deferral_say(d, &(calls_message){.kind = CALLS_CHANGED});
    d->changed = false;
    d->ran = (calls_message){0};
    return false;
}

static void priced(deferral *d, uint64_t ask, const calls_price *p)
{
    for (price_ask **at = &d->prices, *q; (q = *at); at = &q->next)
        if (q->ask == ask) {
            *at = q->next;
            q->f(q->user, p);
            free(q);
            return;
        }
}

void deferral_price(deferral *d, const calls_price *p, void (*f)(void *user, const calls_price *p),
                    void *user)
{
    price_ask *q = d->keeper ? malloc(sizeof *q) : NULL;
    if (!q) {
        f(user, NULL);
        return;
    }
    *q = (price_ask){.next = d->prices, .ask = ++d->next_ask, .f = f, .user = user};
    d->prices = q;
    deferral_say(d, &(calls_message){.kind = CALLS_PRICE, .ask = q->ask, .price = *p});
}

void deferral_price_forget(deferral *d, void *user)
{
    for (price_ask **at = &d->prices, *q; (q = *at);)
        if (q->user == user) {
            *at = q->next;
            free(q);
        } else {
            at = &q->next;
        }
}

static void on_message(void *user, bytes message, int fd)
{
    deferral *d = user;
    calls_message m;
    if (fd >= 0)
        close(fd);
    if (!calls_message_read(message, &m)) {
        log_msg(LOG_ERROR, "the keeper's message about deferred calls is damaged");
        return;
    }
    if (m.kind == CALLS_PLAN)
        d->view = m.plan;
    else if (m.kind == CALLS_RUN)
        run_lease(d, &m);
    else if (m.kind == CALLS_PRICED)
        priced(d, m.ask, &m.price);
}

static void on_end(void *user)
{
    deferral *d = user;
    channel_close(d->keeper);
    d->keeper = NULL;
    while (d->prices)
        priced(d, d->prices->ask, NULL);
}

void deferral_connect_take(deferral *d, int fd)
{
    static const channel_callbacks callbacks = {on_message, on_end};
    err e;
    if (d->keeper)
        on_end(d);
    if (!channel_open_take(d->l, fd, &callbacks, d, &d->keeper, &e)) {
        d->keeper = NULL;
        log_msg(LOG_ERROR, "no channel to the keeper for deferred calls: %s", e.text);
        return;
    }
    deferral_say(d, &(calls_message){.kind = CALLS_HELLO, .ask = d->holder});
}

/* --- answers ---------------------------------------------------------------------------------- */

typedef struct {
    http_exchange *x;
    buf body;
    size_t written;
} sending;

static void sending_free(sending *s)
{
    buf_fini(&s->body);
    free(s);
}

static void on_sent_closed(void *user)
{
    sending *s = user;
    exchange_free(s->x);
    sending_free(s);
}

static void on_room(void *user)
{
    sending *s = user;
    bool overrun;
    size_t n;
    while (s->written < s->body.n &&
           (n = exchange_write(s->x, s->body.p + s->written, s->body.n - s->written, &overrun)) > 0)
        s->written += n;
    if (s->written < s->body.n)
        return;
    exchange_bind(s->x, NULL, NULL);
    exchange_end(s->x, NULL, 0);
    sending_free(s);
}

void defer_send(http_exchange *x, unsigned status, const http_field *fields, size_t n, bytes body,
                int64_t length)
{
    static const exchange_callbacks callbacks = {.on_writable = on_room,
                                                 .on_closed = on_sent_closed};
    err e;
    sending *s = calloc(1, sizeof *s);
    bool ok = s != NULL;
    if (ok) {
        buf_init(&s->body, body.n);
        ok = (!body.n || buf_put(&s->body, body.p, body.n)) &&
             exchange_start(x, status, fields, n, length, &e);
    }
    if (!ok) {
        if (s)
            sending_free(s);
        exchange_abort(x, 503, NULL, 0);
        return;
    }
    s->x = x;
    exchange_bind(x, &callbacks, s);
    on_room(s);
}

void defer_answer(http_exchange *x, unsigned status, const http_field *given, size_t n, str body)
{
    http_field fields[16] = {{S("content-type"), S("application/json")},
                             {S("cache-control"), S("no-store")}};
    err e;
    bool overrun;
    must(n + 2 <= sizeof fields / sizeof *fields);
    for (size_t i = 0; i < n; i++)
        fields[2 + i] = given[i];
    if (!exchange_start(x, status, fields, n + 2, (int64_t)body.n, &e)) {
        exchange_abort(x, 500, NULL, 0);
        return;
    }
    exchange_write(x, body.p, body.n, &overrun);
    exchange_end(x, NULL, 0);
}

void defer_refuse(http_exchange *x, unsigned status, unsigned retry_after_s, const char *text)
{
    _cleanup_(buf_fini) buf out;
    char after[16];
    snprintf(after, sizeof after, "%u", retry_after_s);
    http_field field = {S("retry-after"), str_from(after)};
    buf_init(&out, 8 * KIB);
    buf_put_str(&out, S("{\"error\":"));
    json_put_string(&out, str_from(text));
    buf_put_str(&out, S("}\n"));
    defer_answer(x, status, &field, retry_after_s ? 1 : 0, buf_str(&out));
}

/* --- requests --------------------------------------------------------------------------------- */

static bool route_defers(const app_defer *d, const app_trigger *t)
{
    if (!d->is_on)
        return false;
    for (size_t i = 0; i < d->routes.n; i++)
        if (str_eq(d->routes.at[i], t->route))
            return true;
    return d->routes.n == 0;
}

bool deferral_begin(served *s, http_exchange *x, const route_match *m)
{
    deferral *d = s->all->defer;
    const http_request *r = exchange_request(x);
    if (!d || host_chain_depth(x) || inner_of(x))
        return false;
    if (str_starts(r->target, DEFER_PATH)) {
        status_begin(d, s, x);
        return true;
    }
    if (m->kind != ROUTE_TRIGGER || m->trigger->is_static || m->trigger->component == APP_NONE)
        return false;
    const app_component *c = &s->config.app->components[m->trigger->component];
    if (!route_defers(&c->settings.defer, m->trigger))
        return false;
    exchange_varies(x);
    if (!prefer_read(r->fields, r->fields_count).respond_async)
        return false;
    accept_begin(d, s, x, m);
    return true;
}

/* --- life ------------------------------------------------------------------------------------- */

bool deferral_new(loop *l, serving *all, store_client *store, directory *dir, served *only,
                  deferral **ret, err *e)
{
    deferral *d = calloc(1, sizeof *d);
    if (!d)
        return err_no_memory(e);
    *d = (deferral){.l = l, .all = all, .store = store, .directory = dir, .only = only};
    if (getrandom(&d->holder, sizeof d->holder, 0) != sizeof d->holder) {
        free(d);
        return err_set_errno(e, "getrandom");
    }
    d->holder |= 1; /* 0 is nobody */
    if (!loop_hook_add(l, on_turn_end, d, &d->hook, e)) {
        free(d);
        return false;
    }
    *ret = d;
    return true;
}

void deferral_stop(deferral *d) { d->draining = true; }

void deferral_drain(deferral *d, void (*f)(void *user), void *user)
{
    d->draining = true;
    d->on_empty = f;
    d->on_empty_user = user;
    if (!d->runs)
        f(user);
}

void deferral_free(deferral *d)
{
    if (!d)
        return;
    runs_free(d);
    if (d->keeper)
        on_end(d);
    loop_timer_stop(&d->extend_timer);
    loop_hook_remove(d->hook);
    inner_loop_close();
    free(d);
}
