/* See kv_redis.h. Requests go down one connection in the order they came and replies come back in
 * that order (Redis's pipelining), so the list of what is under way is a queue.
 *
 *     take -> waiting -> (name -> connection -> AUTH, SELECT) -> asked -> reply -> answer
 *
 * A connection that fails, or says nothing for STORE_REDIS_NS, is dropped with all that is under
 * way; the next request opens another one. hiredis knows no loop: what it wants to read and write
 * is passed on to loop_watch. Compare-and-swap is a script, which Redis runs as one step. */
#include "store/kv_redis.h"

#include "base/arena.h"
#include "base/hex.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/must.h"
#include "loop/names.h"
#include "store/kv_file.h"

#include <arpa/inet.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>

enum { REDIS_PORT = 6379 };

static const char swap_script[] =
    "local now = redis.call('GET', KEYS[1])\n"
    "if (ARGV[1] == '1' and now == ARGV[2]) or (ARGV[1] == '0' and not now) then\n"
    "    redis.call('SET', KEYS[1], ARGV[3])\n"
    "    return 1\n"
    "end\n"
    "return {now}";

struct kv_redis {
    loop *l;
    arena a;
    str host, user, password, number;
    uint16_t port;
    char place[280]; /* host and port, for the log */
    names_query *query;
    redisAsyncContext *ac; /* NULL: not connected */
    loop_watch *watch;
    unsigned events;
    pending_list waiting;
    pending_list asked; /* sent */
    unsigned greetings; /* replies to AUTH and SELECT that are to come first */
    loop_timer timer;
    ns heard; /* when the server last gave a sign, or the connection was begun */
    ns used;
    bool failing;
};

/* --- the URL ---------------------------------------------------------------------------------- */

typedef struct {
    str user, password, host, number;
    uint16_t port;
} url_parts;

static bool number_read(str s, uint64_t *ret)
{
    uint64_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9' || n > UINT32_MAX)
            return false;
        n = n * 10 + (uint64_t)(s.p[i] - '0');
    }
    *ret = n;
    return s.n > 0;
}

static bool url_split(str url, url_parts *ret, err *e)
{
    static const char shape[] = "a Redis URL is redis://[[user]:password@]host[:port][/number]";
    *ret = (url_parts){.port = REDIS_PORT};
    if (str_starts(url, S("rediss://")))
        return err_set(e, ERR_UNSUPPORTED, "Redis over TLS (rediss://) is not served");
    if (!str_starts(url, S("redis://")))
        return err_set(e, ERR_INVALID, "%s", shape);
    str rest = str_skip(url, 8);
    size_t at = str_rfind(rest, '@');
    if (at < rest.n) {
        str who = str_head(rest, at);
        rest = str_skip(rest, at + 1);
        ret->user = str_cut(&who, ':');
        ret->password = who;
    }
    size_t slash = str_find(rest, '/');
    ret->number = str_skip(rest, slash < rest.n ? slash + 1 : rest.n);
    rest = str_head(rest, slash);
    size_t colon = str_rfind(rest, ':');
    uint64_t port = REDIS_PORT, number = 0;
    ret->host = str_head(rest, colon);
    if ((colon < rest.n && !number_read(str_skip(rest, colon + 1), &port)) || !port ||
        port > 65535 || !ret->host.n || ret->host.n > 253 ||
        (ret->number.n && !number_read(ret->number, &number)))
        return err_set(e, ERR_INVALID, "%s", shape);
    ret->port = (uint16_t)port;
    return true;
}

bool kv_redis_url_check(str url, err *e)
{
    url_parts parts;
    return url_split(url, &parts, e);
}

/* Percent-decoded copy. */
static str decoded(arena *a, str s)
{
    char *to = arena_alloc(a, s.n + 1);
    size_t n = 0;
    if (to) {
        percent_decode(s, to, &n);
        to[n] = '\0';
    }
    return (str){to, n};
}

static void note(kv_redis *r, const char *reason)
{
    if (reason && !r->failing)
        log_msg(LOG_ERROR, "key-value store in Redis at %s: %s", r->place, reason);
    else if (!reason && r->failing)
        log_msg(LOG_INFO, "key-value store in Redis at %s works again", r->place);
    if (r->failing != (reason != NULL))
        log_flush();
    r->failing = reason != NULL;
}

/* --- the connection --------------------------------------------------------------------------- */

static void fail_all(pending_list *l, const char *reason)
{
    for (pending *p; (p = pending_list_pop(l));)
        pending_fail(p, reason);
}

/* hiredis lets go: by itself, or in redisAsyncFree. */
static void ev_cleanup(void *user)
{
    kv_redis *r = user;
    if (r->watch)
        loop_watch_close(r->watch);
    r->watch = NULL;
    r->ac = NULL;
}

/* All that is under way fails. */
static void drop(kv_redis *r, const char *reason)
{
    char text[256];
    redisAsyncContext *ac = r->ac;
    names_cancel(r->query);
    r->query = NULL;
    r->greetings = 0;
    snprintf(text, sizeof text, "%s; a write may or may not have happened", reason);
    note(r, reason);
    fail_all(&r->asked, text);
    fail_all(&r->waiting, reason);
    if (ac) {
        ev_cleanup(r);
        ac->ev.data = NULL;
        ac->ev.cleanup = NULL;
        ac->data = NULL; /* replies that are still called back have nobody */
        redisAsyncFree(ac);
    }
}

static void ev_set(kv_redis *r, unsigned add, unsigned remove)
{
    if (!r)
        return; /* let go of */
    r->events = (r->events | add) & ~remove;
    if (r->watch)
        loop_watch_set(r->watch, r->events);
}

static void ev_add_read(void *user) { ev_set(user, LOOP_READABLE, 0); }
static void ev_del_read(void *user) { ev_set(user, 0, LOOP_READABLE); }
static void ev_add_write(void *user) { ev_set(user, LOOP_WRITABLE, 0); }
static void ev_del_write(void *user) { ev_set(user, 0, LOOP_WRITABLE); }

static void on_ready(void *user, unsigned events)
{
    kv_redis *r = user;
    r->heard = loop_now(r->l);
    if (r->ac && events & LOOP_WRITABLE && r->events & LOOP_WRITABLE)
        redisAsyncHandleWrite(r->ac);
    if (r->ac && events & LOOP_READABLE && r->events & LOOP_READABLE)
        redisAsyncHandleRead(r->ac);
}

static void on_disconnect(const redisAsyncContext *ac, int status)
{
    kv_redis *r = ac->data;
    if (!r)
        return;
    char text[160];
    snprintf(text, sizeof text, "the Redis server closed the connection%s%s",
             status == REDIS_OK ? "" : ": ", status == REDIS_OK ? "" : ac->errstr);
    ev_cleanup(r);
    drop(r, text);
}

static void on_connect(const redisAsyncContext *ac, int status)
{
    kv_redis *r = ac->data;
    if (!r || status == REDIS_OK)
        return;
    char text[160];
    snprintf(text, sizeof text, "cannot connect to the Redis server: %s", ac->errstr);
    ev_cleanup(r); /* hiredis frees the context */
    drop(r, text);
}

/* --- requests --------------------------------------------------------------------------------- */

static bool answer_items(buf *out, const redisReply *reply, store_message m)
{
    store_item i;
    bool keys = m.kind == KV_KEYS;
    if (reply->type != REDIS_REPLY_ARRAY || (!keys && reply->elements != m.count))
        return false;
    for (size_t k = 0; k < reply->elements; k++) {
        const redisReply *x = reply->element[k];
        bytes value = {(const uint8_t *)x->str, x->len};
        if (keys && str_is_utf8((str){x->str, x->len}))
            store_message_item(out, (str){x->str, x->len}, NULL);
        else if (!keys && store_message_next(&m, &i))
            store_message_item(out, i.key, x->type == REDIS_REPLY_STRING ? &value : NULL);
    }
    return true;
}

static bool answer_swap(buf *out, const redisReply *reply, const store_message *m)
{
    if (reply->type == REDIS_REPLY_INTEGER)
        return true;
    if (reply->type != REDIS_REPLY_ARRAY)
        return false;
    const redisReply *now = reply->elements ? reply->element[0] : NULL;
    bytes value = {(const uint8_t *)(now ? now->str : NULL), now ? now->len : 0};
    buf_clear(out);
    store_message_begin(out, m->id, KV_CHANGED, m->store);
    store_message_item(out, (str){0}, now && now->type == REDIS_REPLY_STRING ? &value : NULL);
    return true;
}

/* False: it is not what was asked for. */
static bool answer_put(buf *out, const redisReply *reply, const store_message *m)
{
    static const bytes nothing = {0};
    int64_t sum = reply->integer;
    bytes value = {(const uint8_t *)&sum, sizeof sum};
    switch (m->kind) {
    case KV_GET:
    case KV_KEYS:
        return answer_items(out, reply, *m);
    case KV_EXISTS:
        store_message_item(out, (str){0}, reply->integer ? &nothing : NULL);
        return reply->type == REDIS_REPLY_INTEGER;
    case KV_INCREMENT:
        store_message_item(out, (str){0}, &value);
        return reply->type == REDIS_REPLY_INTEGER;
    case KV_SWAP:
        return answer_swap(out, reply, m);
    default:
        return true;
    }
}

static void answer(pending *p, const redisReply *reply)
{
    store_message m = pending_message(p);
    buf_clear(&p->answer);
    store_message_begin(&p->answer, m.id, STORE_OK, m.store);
    if (reply->type == REDIS_REPLY_ERROR)
        pending_refuse(p, reply->str);
    else if (!answer_put(&p->answer, reply, &m))
        pending_refuse(p, "the Redis server gave an answer of another kind");
    else if (p->answer.failed)
        pending_refuse(p, "the result exceeds the limit of 134217728 bytes");
    else
        store_message_end(&p->answer);
    pending_answer(p);
}

/* NULL: the connection is over, which on_disconnect says too. */
static void on_reply(redisAsyncContext *ac, void *given, void *user)
{
    kv_redis *r = ac->data;
    const redisReply *reply = given;
    if (!r || !reply)
        return;
    if (r->greetings) {
        r->greetings--;
        if (reply->type == REDIS_REPLY_ERROR)
            drop(r, reply->str);
        return;
    }
    pending *p = pending_list_pop(&r->asked);
    must(p);
    note(r, NULL);
    answer(p, reply);
}

typedef struct {
    arena a;
    const char **at;
    size_t *n;
    int count;
} words;

static void word(words *w, const void *p, size_t n)
{
    w->at[w->count] = n ? p : "";
    w->n[w->count++] = n;
}

/* The command of a request; its texts are borrowed. */
static void words_of(words *w, store_message m, char number[24])
{
    static const char *const names[] = {
        [KV_GET] = "MGET",  [KV_SET] = "MSET",  [KV_DELETE] = "DEL",       [KV_EXISTS] = "EXISTS",
        [KV_KEYS] = "KEYS", [KV_SWAP] = "EVAL", [KV_INCREMENT] = "INCRBY",
    };
    store_item i = {0}, want = {0};
    int64_t delta;
    word(w, names[m.kind], strlen(names[m.kind]));
    switch (m.kind) {
    case KV_KEYS:
        word(w, "*", 1);
        return;
    case KV_INCREMENT:
        store_message_next(&m, &i);
        memcpy(&delta, i.value.p, sizeof delta);
        word(w, i.key.p, i.key.n);
        word(w, number, (size_t)snprintf(number, 24, "%lld", (long long)delta));
        return;
    case KV_SWAP:
        store_message_next(&m, &i);
        store_message_next(&m, &want);
        word(w, swap_script, sizeof swap_script - 1);
        word(w, "1", 1);
        word(w, i.key.p, i.key.n);
        word(w, want.has_value ? "1" : "0", 1);
        word(w, want.value.p, want.value.n);
        word(w, i.value.p, i.value.n);
        return;
    default:
        while (store_message_next(&m, &i)) {
            word(w, i.key.p, i.key.n);
            if (m.kind == KV_SET)
                word(w, i.value.p, i.value.n);
        }
    }
}

static void send_one(kv_redis *r, pending *p)
{
    store_message m = pending_message(p);
    words w = {0};
    char number[24];
    size_t most = 8 + 2 * (size_t)m.count;
    arena_init(&w.a, STORE_MESSAGE_BYTES_MAX);
    w.at = arena_array(&w.a, most, sizeof *w.at);
    w.n = ARENA_ARRAY(&w.a, size_t, most);
    bool ok = w.at && w.n && m.count < INT32_MAX / 2;
    if (ok) {
        words_of(&w, m, number);
        ok = redisAsyncCommandArgv(r->ac, on_reply, NULL, w.count, w.at, w.n) == REDIS_OK;
    }
    arena_fini(&w.a);
    if (ok)
        pending_list_push(&r->asked, p);
    else
        pending_fail(p, "no memory for the request, or the connection is over");
}

static void send_waiting(kv_redis *r)
{
    for (pending *p; r->ac && (p = pending_list_pop(&r->waiting));)
        send_one(r, p);
}

static void greet(kv_redis *r)
{
    const char *auth[] = {"AUTH", r->user.p, r->password.p}, *number[] = {"SELECT", r->number.p};
    size_t auth_n[] = {4, r->user.n, r->password.n}, number_n[] = {6, r->number.n};
    if (!r->user.n) {
        auth[1] = auth[2];
        auth_n[1] = auth_n[2];
    }
    if (r->password.n) {
        r->greetings++;
        redisAsyncCommandArgv(r->ac, on_reply, NULL, r->user.n ? 3 : 2, auth, auth_n);
    }
    if (r->number.n) {
        r->greetings++;
        redisAsyncCommandArgv(r->ac, on_reply, NULL, 2, number, number_n);
    }
}

static void connect_to(kv_redis *r, const net_address *to)
{
    char ip[INET6_ADDRSTRLEN];
    err e;
    const void *raw = to->any.sa_family == AF_INET6 ? (const void *)&to->v6.sin6_addr
                                                    : (const void *)&to->v4.sin_addr;
    inet_ntop(to->any.sa_family, raw, ip, sizeof ip);
    redisAsyncContext *ac = redisAsyncConnect(ip, r->port);
    if (!ac || ac->err || !loop_watch_open(r->l, ac->c.fd, on_ready, r, &r->watch, &e)) {
        char text[160];
        snprintf(text, sizeof text, "cannot connect to the Redis server: %s",
                 ac && ac->err ? ac->errstr : "no memory");
        if (ac)
            redisAsyncFree(ac);
        drop(r, text);
        return;
    }
    r->ac = ac;
    r->events = 0;
    ac->data = r;
    ac->ev.data = r;
    ac->ev.addRead = ev_add_read;
    ac->ev.delRead = ev_del_read;
    ac->ev.addWrite = ev_add_write;
    ac->ev.delWrite = ev_del_write;
    ac->ev.cleanup = ev_cleanup;
    redisAsyncSetConnectCallback(ac, on_connect);
    redisAsyncSetDisconnectCallback(ac, on_disconnect);
    greet(r);
    send_waiting(r);
}

static void on_name(void *user, names_status status, const net_address *at, size_t n)
{
    kv_redis *r = user;
    r->query = NULL;
    if (status == NAMES_FOUND && n)
        connect_to(r, &at[0]);
    else
        drop(r, "the name of the Redis server has no address");
}

static void connection_begin(kv_redis *r)
{
    net_address a = {0};
    char host[256];
    snprintf(host, sizeof host, "%.*s", STR(r->host));
    r->heard = loop_now(r->l);
    if (inet_pton(AF_INET, host, &a.v4.sin_addr) == 1)
        a.any.sa_family = AF_INET;
    else if (inet_pton(AF_INET6, host, &a.v6.sin6_addr) == 1)
        a.any.sa_family = AF_INET6;
    if (a.any.sa_family)
        connect_to(r, &a);
    else if (!(r->query = names_look_up(r->l, r->host, on_name, r)))
        drop(r, "too many names are looked up");
}

/* --- time ------------------------------------------------------------------------------------- */

static void on_time(void *user)
{
    kv_redis *r = user;
    ns now = clock_mono();
    bool busy = r->asked.first || r->waiting.first;
    ns due = busy ? r->heard + STORE_REDIS_NS : r->used + STORE_IDLE_NS;
    if (now < due) {
        loop_timer_start(r->l, &r->timer, due - now, on_time, r);
    } else if (busy) {
        drop(r, "the Redis server does not answer");
    } else if (r->ac) {
        redisAsyncContext *ac = r->ac;
        ev_cleanup(r);
        ac->ev.data = NULL;
        ac->ev.cleanup = NULL;
        ac->data = NULL;
        redisAsyncFree(ac);
    }
    log_flush();
}

/* Nothing to do: answered without asking. */
static bool is_empty(const store_message *m)
{
    return !m->count && (m->kind == KV_GET || m->kind == KV_SET || m->kind == KV_DELETE);
}

void kv_redis_take(kv_redis *r, pending *p)
{
    store_message m = pending_message(p);
    store_item first[2] = {0};
    const char *problem = kv_request_problem(m, first);
    if (problem || is_empty(&m)) {
        store_message_begin(&p->answer, m.id, STORE_OK, m.store);
        if (problem)
            pending_refuse(p, problem);
        else
            store_message_end(&p->answer);
        pending_answer(p);
        return;
    }
    if (!r->asked.first && !r->waiting.first)
        r->heard = loop_now(r->l);
    r->used = loop_now(r->l);
    pending_list_push(&r->waiting, p);
    loop_timer_start(r->l, &r->timer, STORE_REDIS_NS, on_time, r);
    if (!r->ac && !r->query)
        connection_begin(r);
    else if (r->ac)
        send_waiting(r);
}

void kv_redis_forget(kv_redis *r, const store_connection *c)
{
    pending *const lists[] = {r->waiting.first, r->asked.first};
    for (int i = 0; i < 2; i++)
        for (pending *p = lists[i]; p; p = p->next)
            if (p->from == c)
                p->from = NULL;
}

bool kv_redis_is_open(const kv_redis *r) { return r->ac != NULL; }

bool kv_redis_new(loop *l, str url, kv_redis **ret, err *e)
{
    url_parts parts;
    if (!url_split(url, &parts, e))
        return false;
    kv_redis *r = calloc(1, sizeof *r);
    if (!r)
        return err_no_memory(e);
    r->l = l;
    arena_init(&r->a, 1 * MIB);
    r->host = arena_str(&r->a, parts.host);
    r->user = decoded(&r->a, parts.user);
    r->password = decoded(&r->a, parts.password);
    r->number = arena_str(&r->a, parts.number);
    r->port = parts.port;
    snprintf(r->place, sizeof r->place, "%.*s:%u", STR(parts.host), parts.port);
    if (!r->host.p || !r->user.p || !r->password.p || !r->number.p) {
        kv_redis_free(r);
        return err_no_memory(e);
    }
    *ret = r;
    return true;
}

void kv_redis_free(kv_redis *r)
{
    if (!r)
        return;
    if (r->ac || r->query || r->waiting.first || r->asked.first) {
        r->failing = true; /* nothing to say */
        drop(r, "the store process ends");
    }
    loop_timer_stop(&r->timer);
    arena_fini(&r->a);
    free(r);
}
