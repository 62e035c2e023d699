/* The status resource of a deferred call, on the host of its app (deferral.h, docs/defer.md):
 *
 *   GET    /.well-known/ebb/calls/<id>          how it stands, as JSON
 *   GET    /.well-known/ebb/calls/<id>/result   the answer itself, once there is one
 *   DELETE /.well-known/ebb/calls/<id>          cancels it
 *
 * The id is 128 random bits: who has it may ask. It is valid only for the app that accepted the
 * call; under another host it is as unknown as any. */
#include "platform/deferral_impl.h"

#include "base/limits.h"
#include "base/log.h"
#include "platform/call.h"
#include "platform/defer_show.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
    deferral *d;
    served *s;        /* a hold */
    http_exchange *x; /* NULL: the client has gone */
    queue_id id;
    bool wants_result, cancels;
    store_call *asking;
    queue_call call; /* borrowed from asking */
} status;

static void status_free(status *q)
{
    deferral_price_forget(q->d, q);
    store_call_free(q->asking);
    served_let(q->s);
    free(q);
}

static void fail(status *q, unsigned code, const char *text)
{
    exchange_bind(q->x, NULL, NULL);
    call_log_without(q->x, q->d->all->calls, S("(call)"), code);
    defer_refuse(q->x, code, code == 503 ? 1 : 0, text);
    status_free(q);
}

/* Which methods there are it has to say (RFC 9110, 15.5.6). */
static void refuse_method(status *q)
{
    http_field allow = {S("allow"), q->wants_result ? S("GET, HEAD") : S("GET, HEAD, DELETE")};
    call_log_without(q->x, q->d->all->calls, S("(call)"), 405);
    defer_answer(q->x, 405, &allow, 1, S("{\"error\":\"GET shows a call, DELETE cancels it\"}\n"));
    status_free(q);
}

static void on_price(void *user, const calls_price *p)
{
    status *q = user;
    _cleanup_(buf_fini) buf out;
    buf_init(&out, 4 * QUEUE_RESULT_BYTES_MAX);
    defer_show(&out, &q->call, &q->d->view, p, true, now_ms() / 1000);
    buf_put_u8(&out, '\n');
    if (out.failed) {
        fail(q, 503, "the answer is too long, or there is no memory");
        return;
    }
    http_field fields[] = {{S("content-type"), S("application/json")},
                           {S("cache-control"), S("no-store")}};
    exchange_bind(q->x, NULL, NULL);
    call_log_without(q->x, q->d->all->calls, S("(call)"), 200);
    defer_send(q->x, 200, fields, 2, buf_bytes(&out), (int64_t)out.n);
    status_free(q);
}

static void answer_result(status *q)
{
    _cleanup_(arena_fini) arena a;
    deferred_result r;
    arena_init(&a, 4 * MIB);
    if (!q->call.has_result || !deferred_result_read(&a, q->call.result, &r) || !r.status) {
        fail(q, 404, "there is no answer (yet); GET the call without /result to see how it stands");
        return;
    }
    http_field *fields = ARENA_ARRAY(&a, http_field, r.fields_count + 1);
    size_t n = 0;
    for (size_t i = 0; fields && i < r.fields_count; i++)
        if (!str_eq(r.fields[i].name, S("date")))
            fields[n++] = r.fields[i];
    exchange_bind(q->x, NULL, NULL);
    call_log_without(q->x, q->d->all->calls, S("(call)"), r.status);
    if (r.body_cut && fields)
        fields[n++] = (http_field){S("ebb-body-cut"), S("true")};
    defer_send(q->x, fields ? r.status : 503, fields, fields ? n : 0, r.body, (int64_t)r.body.n);
    status_free(q);
}

static void on_got(void *user)
{
    status *q = user;
    err e;
    bool ok = queue_call_read(store_call_answer(q->asking), &q->call, &e);
    const queue_info *i = &q->call.info;
    if (!q->x) {
        status_free(q);
    } else if (!ok && e.code == ERR_CONFLICT) {
        fail(q, 409, "the call has ended already");
    } else if (!ok && e.code == ERR_NOT_FOUND) {
        fail(q, 404, "there is no such call (any more)");
    } else if (!ok) {
        fail(q, 503, "the queue of calls can't be asked now");
    } else if (q->wants_result) {
        answer_result(q);
    } else {
        if (q->cancels) {
            run_cancel(q->d, &q->id);
            deferral_changed(q->d);
        }
        calls_price p = {.accepted_s = i->accepted_ms / 1000,
                         .ran_s = i->begun_ms / 1000,
                         .energy_j = (double)i->use.energy_nj / 1e9};
        if (i->use.energy_nj && i->ended_ms)
            deferral_price(q->d, &p, on_price, q);
        else
            on_price(q, NULL);
    }
}

/* The question to the store goes on, and frees the rest; one to the keeper is forgotten. */
static void on_closed(void *user)
{
    status *q = user;
    exchange_free(q->x);
    q->x = NULL;
    if (store_call_is_done(q->asking))
        status_free(q);
}

void status_begin(deferral *d, served *s, http_exchange *x)
{
    static const exchange_callbacks callbacks = {.on_closed = on_closed};
    const http_request *r = exchange_request(x);
    str path = target_path(r->target);
    str text = str_head(str_skip(path, DEFER_PATH.n), QUEUE_ID_TEXT);
    str rest = str_skip(path, DEFER_PATH.n + QUEUE_ID_TEXT);
    bool gets = str_eq(r->method, S("GET")) || str_eq(r->method, S("HEAD"));
    err e;
    status *q = calloc(1, sizeof *q);
    if (!q) {
        defer_refuse(x, 503, 1, "no memory for another request");
        return;
    }
    *q = (status){.d = d,
                  .s = s,
                  .x = x,
                  .wants_result = str_eq(rest, S("/result")),
                  .cancels = str_eq(r->method, S("DELETE")) && !rest.n};
    served_hold(s);
    if (!queue_id_parse(text, &q->id) || (rest.n && !q->wants_result)) {
        fail(q, 404, "there is no such call (any more)");
        return;
    }
    if (!gets && !q->cancels) {
        refuse_method(q);
        return;
    }
    queue_one one = {.id = q->id,
                     .tenant = queue_tenant_of(s),
                     .app = queue_app_of(s),
                     .with = QUEUE_WITH_RESULT};
    q->asking = queue_ask_one(d->store, q->cancels ? QUEUE_CANCEL : QUEUE_GET, &one);
    if (!q->asking || !store_call_send(q->asking, on_got, q, &e)) {
        fail(q, 503, "the queue of calls can't be asked now");
        return;
    }
    exchange_bind(x, &callbacks, q);
}
