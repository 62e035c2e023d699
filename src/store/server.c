/* See server.h. What arrives on a worker's channel is taken apart, given to whoever carries it out,
 * and answered together with all else of the turn. Requests and answers above
 * STORE_INLINE_BYTES_MAX are read from and written to anonymous files one at a time, so that memory
 * follows the largest request and STORE_HELD_BYTES_MAX, not their number. */
#include "base/limits.h"
#include "base/log.h"
#include "loop/channel.h"
#include "store/kv_redis.h"
#include "store/server_impl.h"

#include <stdlib.h>
#include <unistd.h>

/* False: there is no room for it, and it stays. */
static bool answers_flush(store_connection *c, err *e)
{
    if (c->out.n && !channel_send(c->c, buf_bytes(&c->out), -1, e))
        return false;
    buf_clear(&c->out);
    return true;
}

bool store_connection_answer(store_connection *c, const buf *b, err *e)
{
    int fd;
    bool is_short = b->n <= STORE_INLINE_BYTES_MAX;
    if ((!is_short || c->out.n + b->n > STORE_BUNDLE_BYTES_MAX) && !answers_flush(c, e))
        return false;
    if (is_short)
        return buf_put(&c->out, b->p, b->n) || err_no_memory(e);
    if (!store_items_write((bytes){b->p + STORE_HEAD_BYTES, b->n - STORE_HEAD_BYTES}, &fd, e))
        return false;
    bool ok = channel_send(c->c, (bytes){b->p, STORE_HEAD_BYTES}, fd, e);
    close(fd);
    return ok;
}

static bool on_turn_end(void *user)
{
    store_server *s = user;
    kv_server_run(s->kv);
    queue_server_run(s->queue);
    for (store_connection *c = s->connections; c; c = c->next)
        answers_flush(c, NULL); /* SQL's too: its hook runs before */
    log_flush();
    return false;
}

static void connection_close(store_connection *c)
{
    store_server *s = c->s;
    store_connection **at = &s->connections;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    s->connections_count--;
    kv_server_forget(s->kv, c);
    for (size_t i = 0; i < s->stores_count; i++)
        if (s->stores[i].redis)
            kv_redis_forget(s->stores[i].redis, c);
    sql_server_forget(s->sql, c);
    queue_server_forget(s->queue, c);
    store_names_free(c);
    channel_close(c->c);
    buf_fini(&c->out);
    free(c);
}

static void on_end(void *user)
{
    store_server *s = ((store_connection *)user)->s;
    connection_close(user);
    if (s->on_fewer)
        s->on_fewer(s->user);
}

/* A worker wants to read by itself (kv_view.h). Where that can't be, it goes on asking. */
static void lend(store_connection *c, const store_message *m)
{
    const store *x = store_of(c, m->store);
    store_message items = *m;
    store_item i;
    uint16_t opening = 0;
    _cleanup_(buf_fini) buf b;
    bool named = store_message_next(&items, &i) && i.value.n == 1;
    int fd = named && x && x->kv ? kv_server_lend(x->kv, i.value.p[0], &opening) : -1;
    buf_init(&b, STORE_HEAD_BYTES);
    store_message_begin(&b, m->id, fd >= 0 ? STORE_OK : STORE_FAILED, opening);
    if (b.failed)
        return;
    store_message_end(&b);
    if (fd >= 0 && channel_try_send(c->c, buf_bytes(&b), fd))
        return;
    buf_clear(&b);
    store_message_begin(&b, m->id, STORE_FAILED, opening);
    store_message_end(&b);
    store_connection_answer(c, &b, NULL);
}

/* Takes fd. False: it is no request, or memory is short. */
static bool request_take(store_connection *c, bytes message, int fd)
{
    store_server *s = c->s;
    store_message m;
    pending *p;
    err e;
    bool ok = store_message_read(message, fd >= 0, &m, &e) && m.kind < STORE_REQUESTS_END;
    bool alone = ok && (m.kind == KV_LEND || m.kind == STORE_NAME);
    if (alone && fd < 0 && m.kind == KV_LEND)
        return lend(c, &m), true;
    if (alone && fd < 0)
        return store_name_take(c, m);
    if (!ok || alone || !(p = pending_new(c, message, fd))) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    store *x = m.kind < QUEUE_PUT ? store_of(c, m.store) : NULL;
    if (x)
        store_folder_make(x);
    if (m.kind >= QUEUE_PUT) {
        queue_server_take(s->queue, p);
    } else if (m.kind >= SQL_EXECUTE) {
        p->db = s->state_dir.n ? (x ? x->db : NULL) : sql_server_at(s->sql, m.store);
        sql_server_take(s->sql, p);
    } else if (x && x->kv) {
        p->of = x;
        x->users++;
        kv_server_take(p);
    } else if (x && x->redis && p->fd >= 0 && !(p->items = pending_items_load(p, &m, &e))) {
        pending_fail(p, e.text);
    } else if (x && x->redis) {
        kv_redis_take(x->redis, p);
    } else {
        pending_fail(p, "there is no such store");
    }
    return true;
}

/* A worker that breaks the protocol is broken: its connection goes, and with it its requests.
 *
 * What a worker asked for that is dead by now is not begun: whoever noticed, and asked another one
 * for a newer write, may have its answer already, and an older write must not follow it. Requests
 * that were taken while the worker lived come before all that were sent after its death. */
static void on_message(void *user, bytes message, int fd)
{
    store_connection *c = user;
    bytes one;
    bool ok = true;
    if (channel_is_over(c->c)) {
        if (fd >= 0)
            close(fd);
        return; /* its end is read next */
    }
    if (fd >= 0) {
        ok = request_take(c, message, fd);
    } else {
        while (ok && store_message_take(&message, &one))
            ok = request_take(c, one, -1);
        ok = ok && message.n == 0;
    }
    if (ok)
        return;
    log_msg(LOG_ERROR, "a worker's connection to the store is closed: it sent what is no request, "
                       "or memory is short");
    on_end(c);
}

bool store_server_add_take(store_server *s, int fd, err *e)
{
    static const channel_callbacks callbacks = {on_message, on_end};
    store_connection *c = calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return err_no_memory(e);
    }
    c->s = s;
    buf_init(&c->out, STORE_BUNDLE_BYTES_MAX);
    if (!channel_open_take(s->l, fd, &callbacks, c, &c->c, e)) {
        free(c);
        return false;
    }
    c->next = s->connections;
    s->connections = c;
    s->connections_count++;
    return true;
}

bool store_server_new(loop *l, const store_config *config, store_server **ret, err *e)
{
    store_server *s = calloc(1, sizeof *s);
    if (!s)
        return err_no_memory(e);
    s->l = l;
    arena_init(&s->a, 64 * MIB);
    if (!kv_server_new(l, &s->kv, e) || !stores_make(s, config, e) ||
        !sql_server_new(l, config->databases, config->databases_count, &s->sql, e) ||
        (config->queue.path.n + config->queue.url.n &&
         !queue_server_new(l, &config->queue, &s->queue, e)) ||
        !loop_hook_add(l, on_turn_end, s, &s->hook, e)) {
        queue_server_free(s->queue);
        sql_server_free(s->sql);
        stores_free(s);
        kv_server_free(s->kv);
        arena_fini(&s->a);
        free(s);
        return false;
    }
    *ret = s;
    return true;
}

unsigned store_server_connections(const store_server *s) { return s->connections_count; }

void store_server_on_fewer(store_server *s, void (*on_fewer)(void *user), void *user)
{
    s->on_fewer = on_fewer;
    s->user = user;
}

unsigned store_server_files_open(const store_server *s)
{
    unsigned n = kv_server_files_open(s->kv) + sql_server_files_open(s->sql) +
                 queue_server_is_open(s->queue);
    for (size_t i = 0; i < s->stores_count; i++)
        n += s->stores[i].redis && kv_redis_is_open(s->stores[i].redis);
    return n;
}

void store_server_free(store_server *s)
{
    if (!s)
        return;
    on_turn_end(s);
    while (s->connections)
        connection_close(s->connections);
    loop_hook_remove(s->hook); /* closing databases of a libSQL server turns the loop */
    stores_free(s);
    kv_server_free(s->kv);
    sql_server_free(s->sql);
    queue_server_free(s->queue);
    arena_fini(&s->a);
    free(s);
}
