/* SQL for guests, in the store process: sessions, turns, and one fsync for many commits.
 *
 *     request -> session -> 1 ms on the loop's thread -> done --.
 *                               | longer                        v
 *                               '--> a thread, 10 s at most --> commits durable? -> answer
 *
 * A session is one connection, so a guest has its own transactions and temporary tables, and no
 * statement of another guest ever runs inside them. Connections that nothing stuck to are used
 * again. SQLite has one writer a file: a statement that finds the file locked waits here, not on a
 * thread, and is tried again when a transaction ends.
 *
 * Group commit: connections commit without fsync. A base (an open file) counts commits; before a
 * request is answered, every commit that it may have made or seen has been synced, by a thread that
 * syncs for all that came in the meantime. The slower the disk, the more share one fsync.
 *
 * Nothing is answered that a power cut could take back. If an fsync fails nobody knows what is on
 * disk: the answers become errors, all connections to the file are closed, and the next request
 * opens it anew. */
#include "base/limits.h"
#include "base/must.h"
#include "store/sql_impl.h"
#include "store/sql_libsql.h"
#include "store/sql_memory.h"

#include <stdlib.h>

enum { BUSY_POLL_MS = 10 };

/* Other processes may hold the lock (sqlite3 on the command line), and deadlines pass. */
static void on_poll(void *user)
{
    sql_server *s = user;
    for (sql_base *b = s->bases; b; b = b->next)
        b->released = true;
}

static bool on_turn_end(void *user)
{
    sql_server *s = user;
    bool waits = false;
    for (sql_base *b = s->bases; b; b = b->next) {
        if (b->released && b->busy.first)
            sql_session_retry_busy(s, b);
        sql_session_start_threads(s, b);
        sql_base_work(s, b);
        waits = waits || b->busy.first;
    }
    if (waits && !loop_timer_active(&s->poll))
        loop_timer_start(s->l, &s->poll, BUSY_POLL_MS * NS_PER_MS, on_poll, s);
    return false;
}

/* --- requests --------------------------------------------------------------------------------- */

/* What the first item says beside the statement. */
static bool ask_of(store_message m, sql_ask *ret)
{
    store_item i;
    if (!store_message_next(&m, &i) || i.value.n != sizeof *ret)
        return false;
    memcpy(ret, i.value.p, sizeof *ret);
    return true;
}

static void execute(sql_server *s, pending *p, const sql_ask *ask)
{
    sql_session *x = sql_session_find(s, p->from, ask->session);
    err e;
    const char *problem = NULL;
    if (!x && ask->step)
        problem = "the connection was lost when the store process ended; a transaction in it was "
                  "rolled back. Open another one";
    else if (!x && !(x = sql_session_new(s, p->from, ask->session, p->db)))
        problem = "no memory";
    else if (x->running || x->db != p->db)
        problem = "a damaged request";
    if (problem) {
        pending_fail(p, problem);
        return;
    }
    x->running = p;
    p->session = x;
    if (!x->c && !sql_session_lease(s, x, &e)) {
        sql_target_note(x->db, &e);
        sql_session_refuse(x, p, e.text);
    } else if (x->b->broken) {
        sql_session_refuse(x, p,
                           "the database was closed after an error of its disk; open another "
                           "connection");
    } else {
        sql_session_run(s, x, p);
    }
}

void sql_server_take(sql_server *s, pending *p)
{
    store_message m = pending_message(p);
    sql_ask ask;
    err e;
    if (p->fd >= 0 && !(p->items = pending_items_load(p, &m, &e))) {
        pending_fail(p, e.text);
        return;
    }
    if ((m.kind == SQL_EXECUTE && !p->db) || !ask_of(m, &ask)) {
        pending_fail(p, "a damaged request");
        return;
    }
    if (p->db && p->db->libsql) {
        sql_libsql_take(p->db->libsql, p, &ask);
        return;
    }
    if (m.kind == SQL_EXECUTE) {
        execute(s, p, &ask);
        return;
    }
    sql_session *x = sql_session_find(s, p->from, ask.session);
    if (x)
        sql_session_close(s, x);
    p->from = NULL; /* it has no answer */
    pending_answer(p);
}

void sql_server_forget(sql_server *s, const store_connection *c)
{
    for (size_t i = 0; i < s->databases_count; i++)
        if (s->databases[i].libsql)
            sql_libsql_forget(s->databases[i].libsql, c);
    for (sql_base *b = s->bases; b; b = b->next)
        for (pending *p = b->unsynced.first; p; p = p->next)
            if (p->from == c)
                p->from = NULL;
    for (int i = 0; i < SQL_SESSIONS_TABLE; i++)
        for (sql_session *x = s->table[i], *next; x; x = next) {
            next = x->next;
            if (x->owner != c)
                continue;
            if (x->running)
                x->running->from = NULL;
            if (!x->closing)
                sql_session_close(s, x);
        }
}

/* --- the server ------------------------------------------------------------------------------- */

static bool database_init(sql_server *s, sql_target *d, const sql_database *from, err *e)
{
    str *scripts = ARENA_ARRAY(&s->a, str, from->scripts_count + 1);
    *d = (sql_target){.config = *from, .s = s};
    d->config.label = arena_str(&s->a, from->label);
    d->config.path = arena_str(&s->a, from->path);
    d->config.url = d->config.token = (str){0};
    d->config.scripts = scripts;
    for (size_t k = 0; scripts && k < from->scripts_count; k++)
        scripts[k] = arena_str(&s->a, from->scripts[k]);
    if (!scripts || !d->config.label.p || !d->config.path.p)
        return err_no_memory(e);
    return !from->url.n || sql_libsql_new(s->l, from->label, from->url, from->token, &d->libsql, e);
}

static void databases_fini(sql_server *s)
{
    for (size_t i = 0; i < s->databases_count; i++)
        sql_libsql_free(s->databases[i].libsql);
    s->databases_count = 0;
}

bool sql_server_new(loop *l, const sql_database *at, size_t count, sql_server **ret, err *e)
{
    sql_server *s = calloc(1, sizeof *s);
    if (!s || !sql_memory_init(e)) {
        free(s);
        return err_no_memory(e);
    }
    s->l = l;
    arena_init(&s->a, 64 * MIB);
    s->databases = ARENA_ARRAY(&s->a, sql_target, count + 1);
    bool ok = s->databases || err_no_memory(e);
    for (size_t i = 0; ok && i < count; i++) {
        ok = database_init(s, &s->databases[i], &at[i], e);
        s->databases_count += ok;
    }
    if (!ok || !loop_hook_add(l, on_turn_end, s, &s->hook, e)) {
        databases_fini(s);
        arena_fini(&s->a);
        free(s);
        return false;
    }
    *ret = s;
    return true;
}

sql_target *sql_server_at(sql_server *s, size_t index)
{
    return index < s->databases_count ? &s->databases[index] : NULL;
}

sql_target *sql_server_named(sql_server *s, str path, str label)
{
    sql_target *d = s->named;
    while (d && !str_eq(d->config.path, path))
        d = d->next;
    if (!d) {
        d = calloc(1, sizeof *d + path.n + 1 + label.n + 1);
        if (!d)
            return NULL;
        char *at = (char *)(d + 1);
        memcpy(at, path.p, path.n);
        memcpy(at + path.n + 1, label.p, label.n);
        *d = (sql_target){.s = s,
                          .next = s->named,
                          .named = true,
                          .config = {.path = {at, path.n}, .label = {at + path.n + 1, label.n}}};
        s->named = d;
    }
    d->names++;
    return d;
}

void sql_server_let(sql_target *t)
{
    if (!t)
        return;
    t->names--;
    sql_target_release(t);
}

unsigned sql_server_files_open(const sql_server *s)
{
    unsigned n = 0;
    for (const sql_base *b = s->bases; b; b = b->next)
        n++;
    return n;
}

void sql_server_free(sql_server *s)
{
    if (!s)
        return;
    for (int i = 0; i < SQL_SESSIONS_TABLE; i++)
        for (sql_session *x = s->table[i], *next; x; x = next) {
            next = x->next;
            if (!x->closing)
                sql_session_close(s, x);
        }
    databases_fini(s);
    while (s->working)
        loop_turn(s->l, 100);
    for (sql_base *b = s->bases, *next; b; b = next) {
        next = b->next;
        sql_base_retire(s, b);
    }
    must(!s->bases);
    loop_timer_stop(&s->idle);
    loop_timer_stop(&s->poll);
    loop_hook_remove(s->hook);
    arena_fini(&s->a);
    free(s);
}
