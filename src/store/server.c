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
#include "store/kv_redis.h"
#include "store/server_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

typedef store_connection connection;
typedef struct file file;
typedef struct store store;

struct file {
    file *next;       /* of all */
    file *next_dirty; /* of those with requests */
    unsigned stores;  /* that are in it; 0: it goes when it is closed */
    str path;         /* empty: in memory */
    kv_file *open;
    pending *first, **last;
    ns used;
    uint16_t opening; /* numbers how often it was opened */
    bool failing;     /* its last group failed: said once in the log */
    bool running;     /* its requests are carried out now */
};

/* What a number means: one of the configuration, or of a connection's names. */
struct store {
    store_server *s;
    unsigned users; /* the name, and requests on their way; those of the configuration stay */
    str label;
    file *f;         /* of a key-value store */
    kv_redis *redis; /* or where that is */
    sql_target *db;  /* of a database */
    const str *initial;
    size_t initial_count;
    str folder; /* of the app; empty: it is there */
};

struct store_connection {
    store_server *s;
    channel *c;
    connection *next;
    buf out;       /* short answers of this turn */
    store **names; /* by number; where there is a folder of states */
    size_t names_size;
};

struct store_server {
    loop *l;
    arena a;
    store *stores; /* of the configuration */
    size_t stores_count;
    str state_dir; /* empty: there are those of the configuration only */
    file *files, *dirty;
    unsigned open_count;
    connection *connections;
    unsigned connections_count;
    loop_hook *hook;
    loop_timer idle;
    sql_server *sql;
    void (*on_fewer)(void *user);
    void *user;
};

/* --- files ------------------------------------------------------------------------------------ */

static void file_close(store_server *s, file *f)
{
    s->open_count -= f->open != NULL;
    kv_file_close(f->open);
    f->open = NULL;
}

/* Once nobody needs it. */
static void file_release(store_server *s, file *f)
{
    file **at = &s->files;
    if (f->stores || f->first || f->running)
        return;
    file_close(s, f);
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    free(f);
}

/* Room for one more descriptor: the file that nobody used for the longest time is closed. */
static void file_make_room(store_server *s)
{
    file *oldest = NULL;
    if (s->open_count < STORE_FILES_OPEN_MAX)
        return;
    for (file *f = s->files; f; f = f->next)
        if (f->open && f->path.n && !f->first && (!oldest || f->used < oldest->used))
            oldest = f;
    if (oldest)
        file_close(s, oldest);
}

static bool file_ready(store_server *s, file *f, err *e)
{
    if (f->open && kv_file_moved(f->open))
        file_close(s, f);
    if (f->open)
        return true;
    f->opening++;
    file_make_room(s);
    bool ok = kv_file_open(f->path.n ? f->path.p : NULL, &f->open, e);
    s->open_count += f->open != NULL;
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
    for (file *f = s->files; f; f = f->next) {
        if (!f->open || !f->path.n)
            continue;
        if (now - f->used >= STORE_IDLE_NS)
            file_close(s, f);
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
static bool pending_apply(file *f, pending *p, err *e)
{
    store_message m = pending_message(p);
    uint8_t *items = NULL;
    err mine;
    if (p->fd >= 0 && !(items = pending_items_load(p, &m, &mine))) {
        pending_refuse(p, STORE_FAILED, mine.text);
        return true;
    }
    bool ok = kv_file_apply(f->open, p->of->label, m, &p->answer, e);
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
        ok = pending_apply(f, p, e);
        held += p->answer.n;
    }
    if (ok)
        ok = kv_file_commit(f->open, e);
    else
        kv_file_rollback(f->open);
    if (!ok)
        file_close(s, f); /* what is wrong with it may be over when it is opened again */
    *ret_next = p;
    return ok;
}

/* Of the configuration's the last user never goes. */
static void store_unuse(store *x)
{
    if (!x || --x->users)
        return;
    if (x->f) {
        x->f->stores--;
        file_release(x->s, x->f);
    }
    sql_server_let(x->db);
    free(x);
}

static void pending_free(pending *p)
{
    store_unuse(p->of);
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
    while (s->dirty) {
        file *f = s->dirty;
        s->dirty = f->next_dirty;
        f->running = true;
        file_run(s, f);
        f->running = false;
        file_release(s, f);
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
    for (file *f = s->dirty; f; f = f->next_dirty)
        for (pending *p = f->first; p; p = p->next)
            if (p->from == c)
                p->from = NULL;
    for (size_t i = 0; i < s->stores_count; i++)
        if (s->stores[i].redis)
            kv_redis_forget(s->stores[i].redis, c);
    sql_server_forget(s->sql, c);
    for (size_t i = 0; i < c->names_size; i++)
        store_unuse(c->names[i]);
    free(c->names);
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

/* --- names ------------------------------------------------------------------------------------ */

/* What a number of this connection means; NULL: nothing. */
static store *store_of(const connection *c, uint16_t number)
{
    const store_server *s = c->s;
    if (!s->state_dir.n)
        return number < s->stores_count ? &s->stores[number] : NULL;
    return number < c->names_size ? c->names[number] : NULL;
}

static bool names_grow(connection *c, uint16_t number)
{
    size_t size = c->names_size ? c->names_size : 64;
    while (size <= number)
        size *= 2;
    if (size == c->names_size)
        return true;
    store **grown = realloc(c->names, size * sizeof(store *));
    if (!grown)
        return false;
    memset(grown + c->names_size, 0, (size - c->names_size) * sizeof(store *));
    c->names = grown;
    c->names_size = size;
    return true;
}

/* A label as a part of a file's name: itself where it is plain, else its bytes in hexadecimal. */
static bool label_write(str label, char *to, size_t size)
{
    bool plain = label.n > 0;
    size_t at = (size_t)snprintf(to, size, "sql_");
    for (size_t i = 0; i < label.n; i++)
        plain &= (label.p[i] >= 'a' && label.p[i] <= 'z') ||
                 (label.p[i] >= '0' && label.p[i] <= '9') || label.p[i] == '-';
    if (label.n > STORE_LABEL_BYTES_MAX)
        return false;
    if (plain)
        return at + (size_t)snprintf(to + at, size - at, "%.*s.db", STR(label)) < size;
    at = (size_t)snprintf(to, size, "sqlx_");
    for (size_t i = 0; i < label.n; i++)
        at += (size_t)snprintf(to + at, size - at, "%02x", (unsigned char)label.p[i]);
    return at + (size_t)snprintf(to + at, size - at, ".db") < size;
}

static file *file_named(store_server *s, str path)
{
    file *f = s->files;
    while (f && !str_eq(f->path, path))
        f = f->next;
    if (!f && (f = calloc(1, sizeof *f + path.n + 1))) {
        char *at = (char *)(f + 1);
        memcpy(at, path.p, path.n);
        f->path = (str){at, path.n};
        f->last = &f->first;
        f->next = s->files;
        s->files = f;
    }
    return f;
}

static store *store_make(store_server *s, const store_naming *n, str label)
{
    char path[4096], name[4 * STORE_LABEL_BYTES_MAX];
    if (!label_write(label, name, sizeof name))
        return NULL;
    int folder =
        snprintf(path, sizeof path, "%.*s/%llu", STR(s->state_dir), (unsigned long long)n->app);
    if (folder < 0 || (size_t)folder + sizeof name >= sizeof path)
        return NULL;
    size_t whole = (size_t)folder + (size_t)snprintf(path + folder, sizeof path - (size_t)folder,
                                                     "/%s", n->is_database ? name : "kv.db");
    store *x = calloc(1, sizeof *x + label.n + 1 + (size_t)folder + 1);
    if (!x)
        return NULL;
    char *at = (char *)(x + 1);
    memcpy(at, label.p, label.n);
    memcpy(at + label.n + 1, path, (size_t)folder);
    *x = (store){
        .s = s, .users = 1, .label = {at, label.n}, .folder = {at + label.n + 1, (size_t)folder}};
    str file_path = {path, whole};
    if (n->is_database)
        x->db = sql_server_named(s->sql, file_path, x->label);
    else if ((x->f = file_named(s, file_path)))
        x->f->stores++;
    if (x->db || x->f)
        return x;
    free(x);
    return NULL;
}

/* False: it is no naming. One for which there is no memory, or whose label is too long, means
 * nothing: its requests are refused. */
static bool name_take(connection *c, store_message m)
{
    store_naming n;
    store_item i;
    if (!c->s->state_dir.n || !store_message_next(&m, &i) || i.value.n != sizeof n ||
        !names_grow(c, m.store))
        return false;
    memcpy(&n, i.value.p, sizeof n);
    store_unuse(c->names[m.store]);
    c->names[m.store] = n.app ? store_make(c->s, &n, i.key) : NULL;
    return true;
}

/* The folder of an app is made by the first request that may write; its entry is durable before
 * anything in it is. What fails shows when the file is opened. */
static void folder_make(store *x)
{
    if (x->folder.n && mkdirat(AT_FDCWD, x->folder.p, 0700) == 0) {
        int fd = open(x->s->state_dir.p, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0) {
            fsync(fd);
            close(fd);
        }
    }
    x->folder.n = 0;
}

/* --- requests --------------------------------------------------------------------------------- */

/* A worker wants to read by itself (kv_view.h). Where that can't be, it goes on asking. */
static void lend(connection *c, const store_message *m)
{
    static const file none;
    const store *x = store_of(c, m->store);
    const file *f = x && x->f ? x->f : &none;
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

static pending *pending_new(connection *c, bytes message, int fd)
{
    pending *p = malloc(sizeof *p + message.n);
    if (!p)
        return NULL;
    *p = (pending){.from = c, .fd = fd, .n = message.n};
    memcpy(p->message, message.p, message.n);
    buf_init(&p->answer, STORE_MESSAGE_BYTES_MAX + STORE_HEAD_BYTES);
    return p;
}

static void pending_queue(store_server *s, pending *p, store *x)
{
    file *f = x->f;
    if (!f->first) {
        f->next_dirty = s->dirty;
        s->dirty = f;
    }
    p->of = x;
    x->users++;
    *f->last = p;
    f->last = &p->next;
}

/* Takes fd. False: it is no request, or memory is short. */
static bool request_take(connection *c, bytes message, int fd)
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
        return name_take(c, m);
    if (!ok || alone || !(p = pending_new(c, message, fd))) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    store *x = store_of(c, m.store);
    if (x)
        folder_make(x);
    if (m.kind >= SQL_EXECUTE) {
        p->db = s->state_dir.n ? (x ? x->db : NULL) : sql_server_at(s->sql, m.store);
        sql_server_take(s->sql, p);
    } else if (x && x->f) {
        pending_queue(s, p, x);
    } else if (x && x->redis && p->fd >= 0 && !(p->items = pending_items_load(p, &m, &e))) {
        pending_refuse(p, STORE_FAILED, e.text);
        pending_answer(p);
    } else if (x && x->redis) {
        kv_redis_take(x->redis, p);
    } else {
        pending_refuse(p, STORE_FAILED, "there is no such store");
        pending_answer(p);
    }
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

/* Stores in memory have a file each, others share it by its path. */
static file *file_of(store_server *s, str path)
{
    if (path.n)
        return file_named(s, path);
    file *f = calloc(1, sizeof *f);
    if (f) {
        f->last = &f->first;
        f->next = s->files;
        s->files = f;
    }
    return f;
}

static void places_free(store_server *s)
{
    for (size_t i = 0; i < s->stores_count; i++)
        kv_redis_free(s->stores[i].redis);
    while (s->files) {
        file *f = s->files;
        s->files = f->next;
        file_close(s, f);
        free(f);
    }
}

static bool stores_make(store_server *s, const store_config *config, err *e)
{
    size_t count = config->stores_count;
    s->stores = ARENA_ARRAY(&s->a, store, count + 1);
    for (size_t i = 0; s->stores && i < count; i++) {
        const kv_store *from = &config->stores[i];
        store *x = &s->stores[i];
        *x = (store){.s = s,
                     .users = 1,
                     .label = arena_str(&s->a, from->label),
                     .initial = strs_copy(&s->a, from->initial, from->initial_count),
                     .initial_count = from->initial_count};
        s->stores_count++;
        if (!x->label.p || !x->initial || (!from->url.n && !(x->f = file_of(s, from->path))))
            return err_no_memory(e);
        if (from->url.n && !kv_redis_new(s->l, from->url, &x->redis, e))
            return false;
        if (x->f)
            x->f->stores++;
    }
    s->state_dir = arena_str(&s->a, config->state_dir);
    return (s->stores && s->state_dir.p) || err_no_memory(e);
}

bool store_server_new(loop *l, const store_config *config, store_server **ret, err *e)
{
    store_server *s = calloc(1, sizeof *s);
    if (!s)
        return err_no_memory(e);
    s->l = l;
    arena_init(&s->a, 64 * MIB);
    if (!stores_make(s, config, e) ||
        !sql_server_new(l, config->databases, config->databases_count, &s->sql, e) ||
        !loop_hook_add(l, on_turn_end, s, &s->hook, e)) {
        sql_server_free(s->sql);
        places_free(s);
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
    unsigned n = s->open_count + sql_server_files_open(s->sql);
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
    places_free(s);
    sql_server_free(s->sql);
    loop_timer_stop(&s->idle);
    loop_hook_remove(s->hook);
    arena_fini(&s->a);
    free(s);
}
