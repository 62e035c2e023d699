/* See store_server.h. The way of a request:
 *
 *     channel -> pending list of its file -> end of the turn: BEGIN, apply..., COMMIT -> answers
 *
 * While a commit waits for the disk, the next requests queue up in the sockets and become the next
 * group: the slower the disk, the larger the groups. Requests and answers above
 * STORE_INLINE_BYTES_MAX are read from and written to anonymous files one at a time, so that memory
 * follows the largest request and STORE_HELD_BYTES_MAX, not their number. */
#include "store/server.h"

#include "base/arena.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/must.h"
#include "loop/channel.h"
#include "store/kv_file.h"
#include "store/server_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

typedef store_connection connection;
typedef struct file file;

struct file {
    str path; /* empty: in memory */
    kv_file *open;
    pending *first, **last;
    ns used;
    uint16_t opening; /* numbers how often it was opened */
    bool failing;     /* its last group failed: said once in the log */
};

struct store_connection {
    store_server *s;
    channel *c;
    connection *next;
    buf out; /* short answers of this turn */
};

struct store_server {
    loop *l;
    arena a;
    struct {
        str label;
        file *f;
        const str *initial;
        size_t initial_count;
    } *stores;
    size_t stores_count;
    file *files;
    size_t files_count;
    connection *connections;
    unsigned connections_count;
    loop_hook *hook;
    loop_timer idle;
    sql_server *sql;
    void (*on_fewer)(void *user);
    void *user;
};

/* --- files ------------------------------------------------------------------------------------ */

static void file_close(file *f)
{
    kv_file_close(f->open);
    f->open = NULL;
}

static bool file_ready(store_server *s, file *f, err *e)
{
    if (f->open && kv_file_moved(f->open))
        file_close(f);
    if (f->open)
        return true;
    f->opening++;
    bool ok = kv_file_open(f->path.n ? f->path.p : NULL, &f->open, e);
    for (size_t i = 0; ok && !f->path.n && i < s->stores_count; i++)
        if (s->stores[i].f == f)
            ok = kv_file_preset(f->open, s->stores[i].label, s->stores[i].initial,
                                s->stores[i].initial_count, e);
    return ok;
}

/* Says in the log that the file fails, and that it works again: once each. */
static void file_note(file *f, const err *failure)
{
    if (failure && !f->failing) {
        log_msg(LOG_ERROR, "key-value file %s: %s", f->path.n ? f->path.p : "(memory)",
                failure->text);
    } else if (!failure && f->failing) {
        log_msg(LOG_INFO, "key-value file %s works again", f->path.n ? f->path.p : "(memory)");
    }
    f->failing = failure != NULL;
}

/* In-memory stores stay: closing would empty them. */
static void on_idle(void *user)
{
    store_server *s = user;
    ns now = clock_mono(), next = 0;
    for (size_t i = 0; i < s->files_count; i++) {
        file *f = &s->files[i];
        if (!f->open || !f->path.n)
            continue;
        if (now - f->used >= STORE_IDLE_NS)
            file_close(f);
        else if (!next || f->used + STORE_IDLE_NS - now < next)
            next = f->used + STORE_IDLE_NS - now;
    }
    if (next)
        loop_timer_start(s->l, &s->idle, next, on_idle, s);
}

/* --- groups ----------------------------------------------------------------------------------- */

void pending_refuse(pending *p, store_kind kind, const char *reason)
{
    store_message m = pending_message(p);
    buf_clear(&p->answer);
    store_message_begin(&p->answer, m.id, kind, m.store);
    store_message_item(&p->answer, str_from(reason), NULL);
    if (!p->answer.failed)
        store_message_end(&p->answer);
}

store_message pending_message(const pending *p)
{
    store_message m;
    err e;
    bool ok = store_message_read((bytes){p->message, p->n}, p->fd >= 0, &m, &e);
    must(ok); /* it was when it arrived */
    return m;
}

uint8_t *pending_items_load(const pending *p, store_message *m, err *e)
{
    size_t n = (size_t)m->items_bytes, got = 0;
    uint8_t *at = malloc(n ? n : 1);
    if (!at) {
        err_no_memory(e);
        return NULL;
    }
    while (got < n) {
        ssize_t r = pread(p->fd, at + got, n - got, (off_t)got);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0)
            break;
        got += (size_t)r;
    }
    if (got < n) {
        err_set(e, ERR_INVALID, "a large request arrived incomplete");
        free(at);
        return NULL;
    }
    m->items = (bytes){at, n};
    return at;
}

/* False: the file failed. */
static bool pending_apply(store_server *s, file *f, pending *p, err *e)
{
    store_message m = pending_message(p);
    uint8_t *items = NULL;
    err mine;
    if (p->fd >= 0 && !(items = pending_items_load(p, &m, &mine))) {
        pending_refuse(p, STORE_FAILED, mine.text);
        return true;
    }
    bool ok = kv_file_apply(f->open, s->stores[m.store].label, m, &p->answer, e);
    free(items);
    return ok;
}

/* One transaction of the requests from `p` up to `end`, or as many as memory allows; *ret_next is
 * the first that was left. False: none of them happened. */
static bool group_run(store_server *s, file *f, pending *p, pending *end, pending **ret_next,
                      err *e)
{
    size_t held = 0, n = 0;
    if (!file_ready(s, f, e))
        return false;
    bool ok = kv_file_begin(f->open, e);
    for (; ok && p != end && n < STORE_GROUP_MAX && held < STORE_HELD_BYTES_MAX; p = p->next, n++) {
        ok = pending_apply(s, f, p, e);
        held += p->answer.n;
    }
    if (ok)
        ok = kv_file_commit(f->open, e);
    else
        kv_file_rollback(f->open);
    if (!ok)
        file_close(f); /* what is wrong with it may be over when it is opened again */
    *ret_next = p;
    return ok;
}

static void pending_free(pending *p)
{
    buf_fini(&p->answer);
    if (p->fd >= 0)
        close(p->fd);
    free(p->items);
    free(p);
}

/* False: there is no room for it, and it stays. */
static bool answers_flush(connection *c, err *e)
{
    if (c->out.n && !channel_send(c->c, buf_bytes(&c->out), -1, e))
        return false;
    buf_clear(&c->out);
    return true;
}

static bool answer_send(connection *c, const buf *b, err *e)
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

/* A large answer for which there is no room becomes a refusal. One that cannot be sent at all is
 * for a worker that has gone: its channel says so too. */
void pending_answer(pending *p)
{
    err e;
    if (p->from && !answer_send(p->from, &p->answer, &e)) {
        pending_refuse(p, STORE_FAILED, e.text);
        answer_send(p->from, &p->answer, NULL);
    }
    pending_free(p);
}

/* One by one, after their group failed: what the file refuses is refused, the rest is done. */
static void group_singly(store_server *s, file *f, pending *p, pending *end)
{
    for (; p != end; p = p->next) {
        pending *next;
        err e;
        if (group_run(s, f, p, p->next, &next, &e)) {
            file_note(f, NULL);
            continue;
        }
        pending_refuse(p, STORE_FAILED, e.text);
        file_note(f, &e);
    }
}

static void file_run(store_server *s, file *f)
{
    while (f->first) {
        pending *begin = f->first, *end = NULL;
        err e;
        if (group_run(s, f, begin, NULL, &end, &e)) {
            file_note(f, NULL);
        } else if (!f->open && !begin->next) {
            end = NULL;
            pending_refuse(begin, STORE_FAILED, e.text);
            file_note(f, &e);
        } else {
            end = NULL;
            group_singly(s, f, begin, end);
        }
        f->first = end;
        while (begin != end) {
            pending *next = begin->next;
            pending_answer(begin);
            begin = next;
        }
    }
    f->last = &f->first;
    f->used = clock_mono();
}

static bool on_turn_end(void *user)
{
    store_server *s = user;
    bool worked = false;
    for (size_t i = 0; i < s->files_count; i++)
        if (s->files[i].first) {
            file_run(s, &s->files[i]);
            worked = true;
        }
    if (worked && !loop_timer_active(&s->idle))
        loop_timer_start(s->l, &s->idle, STORE_IDLE_NS, on_idle, s);
    for (connection *c = s->connections; c; c = c->next)
        answers_flush(c, NULL); /* SQL's too: its hook runs before */
    if (worked)
        log_flush();
    return false;
}

/* --- connections ------------------------------------------------------------------------------ */

static void connection_close(connection *c)
{
    store_server *s = c->s;
    connection **at = &s->connections;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    s->connections_count--;
    for (size_t i = 0; i < s->files_count; i++)
        for (pending *p = s->files[i].first; p; p = p->next)
            if (p->from == c)
                p->from = NULL;
    sql_server_forget(s->sql, c);
    channel_close(c->c);
    buf_fini(&c->out);
    free(c);
}

static void on_end(void *user)
{
    store_server *s = ((connection *)user)->s;
    connection_close(user);
    if (s->on_fewer)
        s->on_fewer(s->user);
}

/* A worker wants to read by itself (kv_view.h). Where that can't be, it goes on asking. */
static void lend(const store_server *s, connection *c, const store_message *m)
{
    const file *f = s->stores[m->store].f;
    store_message items = *m;
    store_item i;
    _cleanup_(buf_fini) buf b;
    bool named = store_message_next(&items, &i) && i.value.n == 1;
    int fd = named && f->open ? kv_file_lend(f->open, i.value.p[0]) : -1;
    buf_init(&b, STORE_HEAD_BYTES);
    store_message_begin(&b, m->id, fd >= 0 ? STORE_OK : STORE_FAILED, f->opening);
    if (b.failed)
        return;
    store_message_end(&b);
    if (fd >= 0 && channel_try_send(c->c, buf_bytes(&b), fd))
        return;
    buf_clear(&b);
    store_message_begin(&b, m->id, STORE_FAILED, f->opening);
    store_message_end(&b);
    answer_send(c, &b, NULL);
}

/* Takes fd. False: it is no request, or memory is short. */
static bool request_take(connection *c, bytes message, int fd)
{
    store_server *s = c->s;
    store_message m;
    pending *p;
    err e;
    if (!store_message_read(message, fd >= 0, &m, &e) || m.kind >= STORE_REQUESTS_END ||
        (m.kind < SQL_EXECUTE && m.store >= s->stores_count) || (m.kind == KV_LEND && fd >= 0) ||
        (m.kind != KV_LEND && !(p = malloc(sizeof *p + message.n)))) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    if (m.kind == KV_LEND) {
        lend(s, c, &m);
        return true;
    }
    *p = (pending){.from = c, .fd = fd, .n = message.n};
    memcpy(p->message, message.p, message.n);
    buf_init(&p->answer, STORE_MESSAGE_BYTES_MAX + STORE_HEAD_BYTES);
    if (m.kind >= SQL_EXECUTE) {
        sql_server_take(s->sql, p);
        return true;
    }
    file *f = s->stores[m.store].f;
    *f->last = p;
    f->last = &p->next;
    return true;
}

/* A worker that breaks the protocol is broken: its connection goes, and with it its requests. */
static void on_message(void *user, bytes message, int fd)
{
    connection *c = user;
    bytes one;
    bool ok = true;
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
    connection *c = calloc(1, sizeof *c);
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

/* --- the server ------------------------------------------------------------------------------- */

/* NULL: no memory. */
static const str *strs_copy(arena *a, const str *from, size_t n)
{
    str *to = ARENA_ARRAY(a, str, n + 1);
    for (size_t i = 0; to && i < n; i++)
        if (!(to[i] = arena_str(a, from[i])).p)
            return NULL;
    return to;
}

static file *file_of(store_server *s, str path)
{
    for (size_t i = 0; i < s->files_count && path.n; i++)
        if (str_eq(s->files[i].path, path))
            return &s->files[i];
    file *f = &s->files[s->files_count++];
    *f = (file){.path = arena_str(&s->a, path)};
    f->last = &f->first;
    return f;
}

bool store_server_new(loop *l, const store_config *config, store_server **ret, err *e)
{
    const kv_store *stores = config->stores;
    size_t count = config->stores_count;
    store_server *s = calloc(1, sizeof *s);
    if (!s)
        return err_no_memory(e);
    s->l = l;
    arena_init(&s->a, 64 * MIB);
    s->stores = arena_array(&s->a, count + 1, sizeof *s->stores);
    s->files = ARENA_ARRAY(&s->a, file, count + 1);
    bool ok = s->stores && s->files;
    for (size_t i = 0; ok && i < count; i++) {
        s->stores[i].label = arena_str(&s->a, stores[i].label);
        s->stores[i].f = file_of(s, stores[i].path);
        s->stores[i].initial = strs_copy(&s->a, stores[i].initial, stores[i].initial_count);
        s->stores[i].initial_count = stores[i].initial_count;
        ok = s->stores[i].initial && s->stores[i].label.p && s->stores[i].f->path.p;
    }
    s->stores_count = count;
    if (!ok)
        err_no_memory(e);
    if (!ok || !sql_server_new(l, config->databases, config->databases_count, &s->sql, e) ||
        !loop_hook_add(l, on_turn_end, s, &s->hook, e)) {
        sql_server_free(s->sql);
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
    unsigned n = 0;
    for (size_t i = 0; i < s->files_count; i++)
        n += s->files[i].open != NULL;
    return n + sql_server_files_open(s->sql);
}

void store_server_free(store_server *s)
{
    if (!s)
        return;
    on_turn_end(s);
    while (s->connections)
        connection_close(s->connections);
    for (size_t i = 0; i < s->files_count; i++)
        file_close(&s->files[i]);
    sql_server_free(s->sql);
    loop_timer_stop(&s->idle);
    loop_hook_remove(s->hook);
    arena_fini(&s->a);
    free(s);
}
