/* See sql_libsql.h. libcurl blocks, so a request runs on a thread, LIBSQL_RUNNING_MAX at a time for
 * a database; others wait in a list. A handle of libcurl, which keeps its connection, is lent to
 * each request and given back. What is closed while it runs is cancelled: libcurl asks often. */
#include "store/sql_libsql.h"

#include "base/limits.h"
#include "base/log.h"
#include "loop/work.h"
#include "store/hrana.h"

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { RUNNING_MAX = 4, CONNECT_MS = 5000, TIMEOUT_MS = 15000, ARENA_MAX_FACTOR = 2 };

typedef struct stream stream;

/* What a guest has opened. It is freed when it is closed and nothing of it runs. */
struct stream {
    stream *next; /* of all */
    stream *next_waiting;
    sql_libsql *s;
    const store_connection *owner;
    uint64_t id;
    char *baton, *base_url; /* NULL: none */
    pending *running;       /* NULL while it is being closed at the server */
    bool lost, closing, on_thread, waits;
    atomic_bool cancel;
    /* of the thread */
    CURL *curl;
    bool ok, statement;
    arena a;
    hrana_stream answer;
    err failure;
};

struct sql_libsql {
    loop *l;
    arena a;
    str label, url, header;
    stream *all, *waiting, **waiting_last;
    CURL *spare[RUNNING_MAX];
    unsigned spare_count, running;
    bool failing;
};

static void note(sql_libsql *s, const err *failure)
{
    if (failure && !s->failing)
        log_msg(LOG_ERROR, "SQL database '%.*s' at its libSQL server: %s", STR(s->label),
                failure->text);
    else if (!failure && s->failing)
        log_msg(LOG_INFO, "SQL database '%.*s' at its libSQL server works again", STR(s->label));
    if (s->failing != (failure != NULL))
        log_flush();
    s->failing = failure != NULL;
}

/* --- on a thread ------------------------------------------------------------------------------ */

static size_t on_data(char *p, size_t size, size_t n, void *user)
{
    return buf_put(user, p, size * n) ? n : 0;
}

static int on_progress(void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    return atomic_load(&((stream *)user)->cancel);
}

static void options_set(stream *x, const buf *body, struct curl_slist *headers, str url,
                        buf *answer)
{
    CURL *h = x->curl;
    curl_easy_setopt(h, CURLOPT_URL, url.p);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(h, CURLOPT_POSTFIELDS, (const char *)body->p);
    curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->n);
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h, CURLOPT_PROXY, "");
    curl_easy_setopt(h, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, (long)TIMEOUT_MS);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(h, CURLOPT_XFERINFODATA, x);
}

static bool exchange(stream *x, const buf *body, buf *answer)
{
    long status = 0;
    str base = x->base_url ? str_from(x->base_url) : x->s->url;
    while (base.n && base.p[base.n - 1] == '/')
        base.n--;
    str url = arena_printf(&x->a, "%.*s/v2/pipeline", STR(base));
    struct curl_slist *headers = curl_slist_append(NULL, x->s->header.p), *both = NULL;
    if (url.p && headers)
        both = curl_slist_append(headers, "Content-Type: application/json");
    if (!both) {
        curl_slist_free_all(headers);
        return err_no_memory(&x->failure);
    }
    options_set(x, body, both, url, answer);
    CURLcode r = curl_easy_perform(x->curl);
    curl_easy_getinfo(x->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_reset(x->curl);
    curl_slist_free_all(both);
    if (r == CURLE_WRITE_ERROR)
        return err_set(&x->failure, ERR_LIMIT, "the result exceeds the limit of %zu bytes",
                       STORE_MESSAGE_BYTES_MAX);
    if (r != CURLE_OK)
        return err_set(&x->failure, ERR_IO, "the libSQL server cannot be asked: %s",
                       curl_easy_strerror(r));
    if (status == 401 || status == 403)
        return err_set(&x->failure, ERR_IO, "the libSQL server refuses the token (status %ld)",
                       status);
    return status == 200 ||
           err_set(&x->failure, ERR_IO, "the libSQL server answered with status %ld", status);
}

static void work(void *user)
{
    stream *x = user;
    str baton = x->baton ? str_from(x->baton) : S("");
    _cleanup_(buf_fini) buf body, answer;
    buf_init(&body, STORE_MESSAGE_BYTES_MAX * ARENA_MAX_FACTOR);
    buf_init(&answer, STORE_MESSAGE_BYTES_MAX * ARENA_MAX_FACTOR);
    if (!x->running) {
        x->ok = hrana_close(baton, &body, &x->failure) && exchange(x, &body, &answer);
        return;
    }
    store_message m = pending_message(x->running);
    x->ok = hrana_execute(m, baton, &body, &x->failure);
    x->statement = !x->ok; /* nothing was sent: the statement is at fault, not the stream */
    x->ok =
        x->ok && exchange(x, &body, &answer) &&
        hrana_answer(buf_bytes(&answer), m, &x->running->answer, &x->a, &x->answer, &x->failure);
}

/* --- streams ---------------------------------------------------------------------------------- */

static void stream_free(stream *x)
{
    stream **at = &x->s->all;
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    free(x->baton);
    free(x->base_url);
    arena_fini(&x->a);
    free(x);
}

static bool replace(char **to, str s)
{
    char *copy = s.n ? strndup(s.p, s.n) : NULL;
    free(*to);
    *to = copy;
    return copy || !s.n;
}

static void done(void *user);

static void start(stream *x)
{
    sql_libsql *s = x->s;
    x->curl = s->spare_count ? s->spare[--s->spare_count] : curl_easy_init();
    x->statement = false;
    if (x->curl && loop_work_start(s->l, work, done, x, &x->failure)) {
        x->on_thread = true;
        s->running++;
        return;
    }
    curl_easy_cleanup(x->curl);
    if (x->running)
        pending_fail(x->running, "no memory");
    x->running = NULL;
    if (x->closing)
        stream_free(x);
}

static void begin(stream *x)
{
    sql_libsql *s = x->s;
    if (s->running < RUNNING_MAX) {
        start(x);
        return;
    }
    x->waits = true;
    x->next_waiting = NULL;
    *s->waiting_last = x;
    s->waiting_last = &x->next_waiting;
}

static void waiting_remove(stream *x)
{
    stream **at = &x->s->waiting;
    while (*at != x)
        at = &(*at)->next_waiting;
    if (!(*at = x->next_waiting))
        x->s->waiting_last = at;
    x->waits = false;
}

/* The guest let go of it. */
static void stream_close(stream *x)
{
    x->closing = true;
    if (x->on_thread) {
        atomic_store(&x->cancel, true);
        return; /* `done` goes on */
    }
    if (x->waits)
        waiting_remove(x);
    if (x->running)
        pending_fail(x->running, "the connection was closed");
    x->running = NULL;
    if (x->baton)
        begin(x);
    else
        stream_free(x);
}

static void finish(stream *x)
{
    pending *p = x->running;
    x->running = NULL;
    if (x->ok)
        x->ok = replace(&x->baton, x->answer.baton) &&
                (!x->answer.base_url.n || replace(&x->base_url, x->answer.base_url));
    if (x->ok || x->statement)
        note(x->s, NULL);
    else if (!x->closing)
        note(x->s, &x->failure);
    x->lost = x->lost || (!x->ok && !x->statement) || (x->ok && !x->baton);
    if (x->lost)
        replace(&x->baton, S(""));
    if (x->ok)
        pending_answer(p);
    else
        pending_fail(p, x->failure.text);
}

static void done(void *user)
{
    stream *x = user;
    sql_libsql *s = x->s;
    bool was_close = !x->running;
    x->on_thread = false;
    s->running--;
    s->spare[s->spare_count++] = x->curl;
    if (!was_close)
        finish(x);
    arena_reset(&x->a);
    if (x->closing && !was_close && x->baton) {
        atomic_store(&x->cancel, false);
        begin(x);
    } else if (x->closing) {
        stream_free(x);
    }
    while (s->waiting && s->running < RUNNING_MAX) {
        stream *next = s->waiting;
        waiting_remove(next);
        start(next);
    }
}

static stream *stream_new(sql_libsql *s, const store_connection *owner, uint64_t id)
{
    stream *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    *x = (stream){.next = s->all, .s = s, .owner = owner, .id = id};
    arena_init(&x->a, STORE_MESSAGE_BYTES_MAX * ARENA_MAX_FACTOR);
    s->all = x;
    return x;
}

/* --- the database ----------------------------------------------------------------------------- */

static void execute(sql_libsql *s, stream *x, pending *p, const sql_ask *ask)
{
    const char *problem = NULL;
    if ((!x && ask->step) || (x && x->lost))
        problem = "the connection was lost; a transaction in it was rolled back. Open another one";
    else if (x && x->running)
        problem = "a damaged request";
    else if (!x && !(x = stream_new(s, p->from, ask->session)))
        problem = "no memory";
    if (problem) {
        pending_fail(p, problem);
        return;
    }
    x->running = p;
    begin(x);
}

void sql_libsql_take(sql_libsql *s, pending *p, const sql_ask *ask)
{
    stream *x = s->all;
    while (x && (x->owner != p->from || x->id != ask->session || x->closing))
        x = x->next;
    if (pending_message(p).kind == SQL_EXECUTE) {
        execute(s, x, p, ask);
        return;
    }
    p->from = NULL; /* a close has no answer */
    pending_answer(p);
    if (x)
        stream_close(x);
}

void sql_libsql_forget(sql_libsql *s, const store_connection *c)
{
    for (stream *x = s->all, *next; x; x = next) {
        next = x->next;
        if (x->owner != c)
            continue;
        if (x->running)
            x->running->from = NULL;
        x->owner = NULL;
        if (!x->closing)
            stream_close(x);
    }
}

bool sql_libsql_new(loop *l, str label, str url, str token, sql_libsql **ret, err *e)
{
    sql_libsql *s = calloc(1, sizeof *s);
    if (!s)
        return err_no_memory(e);
    s->l = l;
    s->waiting_last = &s->waiting;
    arena_init(&s->a, 64 * KIB);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    s->label = arena_str(&s->a, label);
    s->url = arena_str(&s->a, url);
    s->header = token.n ? arena_printf(&s->a, "Authorization: Bearer %.*s", STR(token))
                        : arena_str(&s->a, S("Accept: application/json"));
    *ret = s;
    if (s->label.p && s->url.p && s->header.p)
        return true;
    sql_libsql_free(s);
    return err_no_memory(e);
}

void sql_libsql_free(sql_libsql *s)
{
    if (!s)
        return;
    for (stream *x = s->all, *next; x; x = next) {
        next = x->next;
        if (!x->closing)
            stream_close(x);
    }
    for (stream *x = s->all; x; x = x->next)
        atomic_store(&x->cancel, true);
    while (s->running)
        loop_turn(s->l, 100);
    while (s->all)
        stream_free(s->all);
    while (s->spare_count)
        curl_easy_cleanup(s->spare[--s->spare_count]);
    arena_fini(&s->a);
    free(s);
}
