/* See keeper_question.h: the life of a question, from the request to the last byte of its answer.
 * What is answered is keeper_admin.c's. Whoever may open the socket of `ebb up` may ask: it belongs
 * to the operator. Under `ebb serve` keeper_api.c has looked at who asks before. */
#include "platform/keeper_question.h"

#include "base/limits.h"
#include "carbon/report.h"

#include <stdlib.h>

#define PATIENCE_NS (5 * NS_PER_S)    /* how long a question waits for workers and the grid */
#define AFTER_NS    (200 * NS_PER_MS) /* clocks of several processes: a window is over by then */
#define FOLLOW_NS   (60 * NS_PER_S)
#define ARENA_BYTES_MAX  (1 * GIB)
#define ANSWER_BYTES_MAX (256 * MIB)

static void ask(question *q);

/* --- those that follow ------------------------------------------------------------------------ */

static void window_over(void *user)
{
    keeper *k = user;
    question *q = k->watchers;
    k->watchers = NULL;
    while (q) {
        question *next = q->next;
        ask(q);
        q = next;
    }
}

/* Until the present window is over, and all workers have told of it. */
static void watch(question *q)
{
    keeper *k = q->k;
    q->state = QUESTION_WATCHING;
    q->next = k->watchers;
    k->watchers = q;
    ns window = LEDGER_WINDOW_S * NS_PER_S;
    if (!loop_timer_active(&k->window))
        loop_timer_start(k->l, &k->window, window - clock_wall() % window + AFTER_NS, window_over,
                         k);
}

static void unwatch(question *q)
{
    keeper *k = q->k;
    question **at = &k->watchers;
    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
    if (!k->watchers)
        loop_timer_stop(&k->window);
}

/* --- answering -------------------------------------------------------------------------------- */

static void question_free(question *q)
{
    q->k->followers -= q->counted;
    arena_fini(&q->a);
    arena_fini(&q->kept);
    buf_fini(&q->body);
    free(q);
}

static void on_closed(void *user)
{
    question *q = user;
    exchange_free(q->x);
    q->x = NULL;
    if (q->state == QUESTION_ASKED)
        return;
    if (q->state == QUESTION_WATCHING)
        unwatch(q);
    question_free(q);
}

static void on_writable(void *user)
{
    question *q = user;
    if (q->state != QUESTION_ANSWERING ||
        !exchange_write_on(q->x, q->body.p, q->body.n, &q->written))
        return;
    if (q->follows && clock_mono() < q->until_mono) {
        watch(q);
        return;
    }
    exchange_end(q->x, NULL, 0);
    question_free(q);
}

static void respond(question *q, unsigned status, str media_type, int64_t length)
{
    err e;
    http_field fields[] = {{S("content-type"), media_type},
                           {S("cache-control"), S("no-store")},
                           {S("x-content-type-options"), S("nosniff")}};
    q->state = QUESTION_ANSWERING;
    if (!exchange_started(q->x) && !exchange_start(q->x, status, fields, 3, length, &e)) {
        exchange_abort(q->x, 500, NULL, 0);
        question_free(q);
        return;
    }
    on_writable(q);
}

static void fail(question *q, unsigned status, const char *text)
{
    buf_clear(&q->body);
    q->follows = false;
    if (exchange_started(q->x)) {
        respond(q, status, (str){0}, 0);
        return;
    }
    buf_put_str(&q->body, S("{\"error\":\""));
    put_json_text(&q->body, str_from(text));
    buf_put_str(&q->body, S("\"}\n"));
    respond(q, status, S("application/json"), (int64_t)q->body.n);
}

static void answer(question *q)
{
    str type;
    err e;
    arena_reset(&q->a);
    buf_clear(&q->body);
    q->written = 0;
    if (q->follows)
        buf_put_str(&q->body, S("data: "));
    if (!question_put(q, &type, &e))
        fail(q,
             e.code == ERR_NOT_FOUND                        ? 404
             : e.code == ERR_INVALID || e.code == ERR_LIMIT ? 400
                                                            : 500,
             e.text);
    else if (q->body.failed)
        fail(q, 400, "the answer is too long: ask for a shorter span");
    else if (q->follows && buf_put_str(&q->body, S("\n\n")))
        respond(q, 200, S("text/event-stream"), -1);
    else
        respond(q, 200, type, (int64_t)q->body.n);
}

void keeper_answer_all(keeper *k)
{
    question *q = k->questions;
    k->questions = NULL;
    while (q) {
        question *next = q->next;
        if (q->x)
            answer(q);
        else
            question_free(q);
        q = next;
    }
}

/* --- asking ----------------------------------------------------------------------------------- */

static void out_of_patience(void *user)
{
    keeper *k = user;
    for (worker_link *w = k->workers; w; w = w->next)
        w->asked = false;
    k->grid_asked = false;
    keeper_answer_all(k);
}

static question *question_new(keeper *k, http_exchange *x, str path)
{
    static const exchange_callbacks callbacks = {.on_writable = on_writable,
                                                 .on_closed = on_closed};
    question *q = calloc(1, sizeof *q);
    if (!q) {
        exchange_abort(x, 503, NULL, 0);
        return NULL;
    }
    *q = (question){.k = k, .x = x, .path = path, .until_mono = clock_mono() + FOLLOW_NS};
    q->follows = question_follows(exchange_request(x)->target);
    arena_init(&q->a, ARENA_BYTES_MAX);
    arena_init(&q->kept, ARENA_BYTES_MAX);
    buf_init(&q->body, ANSWER_BYTES_MAX);
    exchange_bind(x, &callbacks, q);
    return q;
}

static void ask(question *q)
{
    keeper *k = q->k;
    q->state = QUESTION_ASKED;
    q->next = k->questions;
    k->questions = q;
    if (keeper_ask_all(k))
        keeper_answer_all(k);
    else if (!loop_timer_active(&k->patience))
        loop_timer_start(k->l, &k->patience, PATIENCE_NS, out_of_patience, k);
}

static void ask_first(question *q)
{
    if (q->follows && q->k->followers >= WATCHERS_MAX) {
        fail(q, 503, "too many look at this node already");
        return;
    }
    q->counted = q->follows;
    q->k->followers += q->counted;
    ask(q);
}

void keeper_on_request(void *user, http_exchange *x)
{
    str method = exchange_request(x)->method;
    question *q = question_new(user, x, (str){0});
    if (!q)
        return;
    if (str_eq(method, S("GET")) || str_eq(method, S("HEAD")))
        ask_first(q);
    else
        fail(q, 405, "only GET: the keeper answers questions");
}

void keeper_ask_tenant(keeper *k, http_exchange *x, str path, const keeper_app *apps, size_t n)
{
    question *q = question_new(k, x, path);
    if (!q)
        return;
    q->apps = ARENA_ARRAY(&q->kept, keeper_app, n + 1);
    for (size_t i = 0; q->apps && i < n; i++)
        q->apps[i] =
            (keeper_app){arena_str(&q->kept, apps[i].recorded), arena_str(&q->kept, apps[i].shown)};
    q->apps_count = n;
    if (q->apps)
        ask_first(q);
    else
        fail(q, 500, "out of memory");
}
