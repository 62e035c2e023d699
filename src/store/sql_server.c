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
#include "base/arena.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/must.h"
#include "loop/work.h"
#include "store/server_impl.h"
#include "store/sql_connection.h"
#include "store/sql_memory.h"

#include <stdio.h>
#include <stdlib.h>

enum { SESSIONS_TABLE = 1024, BUSY_POLL_MS = 10 };

typedef struct base base;

typedef struct {
    pending *first, **last;
} list;

typedef struct sql_target database;

struct sql_target {
    sql_database config;
    sql_server *s;
    base *now; /* NULL: not open */
    bool failing;
    /* Of a named one, which goes when nobody needs it. */
    database *next;
    unsigned names, users; /* users: sessions and bases */
    bool named;
};

/* An open file, or what it was before it was replaced. */
struct base {
    base *next; /* of all */
    database *db;
    sql_connection *keeper;  /* syncs; first opened, last closed */
    sql_connection *sweeper; /* writes the log back; NULL: not needed yet */
    sql_connection *spare[STORE_SQL_SPARE_MAX];
    unsigned spare_count;
    unsigned sessions, running;
    uint64_t committed, synced; /* counts of commits */
    uint64_t syncing_to;
    unsigned log_pages;
    bool syncing, sweeping, broken;
    bool released; /* a lock may have been given back since `busy` was looked at */
    err failure;   /* of a thread's work */
    bool work_ok;
    list threads, busy, unsynced;
    ns used;
    ns looked; /* when the file was seen in its place: once a turn */
};

struct sql_session {
    sql_session *next; /* in its row of the table */
    const store_connection *owner;
    uint64_t id;
    database *db;
    base *b; /* NULL: no connection yet */
    sql_connection *c;
    pending *running;
    bool on_thread, closing;
    atomic_bool cancel;
    sql_outcome outcome; /* of the thread's run */
};

struct sql_server {
    loop *l;
    arena a;
    database *databases;
    size_t databases_count;
    database *named;
    base *bases;
    sql_session *table[SESSIONS_TABLE];
    loop_hook *hook;
    loop_timer idle, poll;
    unsigned working; /* threads' work that will come back */
};

static void list_push(list *l, pending *p)
{
    if (!l->last)
        l->last = &l->first;
    p->next = NULL;
    *l->last = p;
    l->last = &p->next;
}

static pending *list_pop(list *l)
{
    pending *p = l->first;
    if (p && !(l->first = p->next))
        l->last = &l->first;
    return p;
}

/* Takes all. */
static pending *list_take(list *l)
{
    pending *p = l->first;
    l->first = NULL;
    l->last = &l->first;
    return p;
}

static void database_release(database *d)
{
    if (!d->named || d->names || d->users)
        return;
    database **at = &d->s->named;
    while (*at != d)
        at = &(*at)->next;
    *at = d->next;
    free(d);
}

static void database_use(database *d) { d->users++; }

static void database_unuse(database *d)
{
    d->users--;
    database_release(d);
}

/* --- bases ------------------------------------------------------------------------------------ */

static const char *place_of(const database *d)
{
    return d->config.path.n ? d->config.path.p : "(memory)";
}

/* Says in the log that a database fails, and that it works again: once each. */
static void database_note(database *d, const err *failure)
{
    if (failure && !d->failing)
        log_msg(LOG_ERROR, "SQL database %s: %s", place_of(d), failure->text);
    else if (!failure && d->failing)
        log_msg(LOG_INFO, "SQL database %s works again", place_of(d));
    if (d->failing != (failure != NULL))
        log_flush();
    d->failing = failure != NULL;
}

static bool connection_open(const database *d, sql_connection **ret, err *e)
{
    sql_location where = {.path = d->config.path.n ? d->config.path.p : NULL,
                          .name = d->config.label.p,
                          .attach_files = d->config.attach_files};
    return sql_connection_open(&where, ret, e);
}

static void base_close(base *b)
{
    while (b->spare_count)
        sql_connection_close(b->spare[--b->spare_count]);
    sql_connection_close(b->sweeper);
    sql_connection_close(b->keeper);
    b->sweeper = b->keeper = NULL;
}

/* Once nobody needs it: no session, no thread, not the database's current one. */
static void base_release(sql_server *s, base *b)
{
    base **at = &s->bases;
    if (b->sessions || b->syncing || b->sweeping || b->db->now == b)
        return;
    base_close(b);
    while (*at != b)
        at = &(*at)->next;
    *at = b->next;
    database_unuse(b->db);
    free(b);
}

/* The database has no current base any more; the next session opens it anew. */
static void base_retire(sql_server *s, base *b)
{
    if (b->db->now == b)
        b->db->now = NULL;
    base_release(s, b);
}

static bool base_open(sql_server *s, database *d, err *e)
{
    base *b = calloc(1, sizeof *b);
    if (!b)
        return err_no_memory(e);
    b->db = d;
    bool ok = connection_open(d, &b->keeper, e);
    for (size_t i = 0; ok && !d->config.path.n && i < d->config.scripts_count; i++)
        ok = sql_connection_script(b->keeper, d->config.scripts[i], e);
    if (!ok) {
        sql_connection_close(b->keeper);
        free(b);
        return false;
    }
    b->next = s->bases;
    s->bases = b;
    d->now = b;
    database_use(d);
    return true;
}

/* A connection for the session. */
static bool session_lease(sql_server *s, sql_session *x, err *e)
{
    database *d = x->db;
    ns turn = loop_now(s->l);
    if (d->now && d->now->looked != turn && sql_connection_moved(d->now->keeper))
        base_retire(s, d->now);
    if (!d->now && !base_open(s, d, e))
        return false;
    base *b = d->now;
    b->looked = turn;
    if (b->spare_count)
        x->c = b->spare[--b->spare_count];
    else if (!connection_open(d, &x->c, e)) {
        base_retire(s, b);
        return false;
    }
    x->b = b;
    b->sessions++;
    return true;
}

static void on_idle(void *user);

static void session_return(sql_server *s, sql_session *x)
{
    base *b = x->b;
    if (!b)
        return;
    if (sql_connection_in_transaction(x->c))
        b->released = true;
    bool again = sql_connection_recycle(x->c) && !b->broken && b->db->now == b &&
                 b->spare_count < STORE_SQL_SPARE_MAX;
    if (again)
        b->spare[b->spare_count++] = x->c;
    else
        sql_connection_close(x->c);
    x->c = NULL;
    x->b = NULL;
    b->sessions--;
    b->used = clock_mono();
    if (!b->sessions && b->db->config.path.n && !loop_timer_active(&s->idle))
        loop_timer_start(s->l, &s->idle, STORE_IDLE_NS, on_idle, s);
    base_release(s, b);
}

/* In-memory databases stay: closing would empty them. */
static void on_idle(void *user)
{
    sql_server *s = user;
    ns now = clock_mono(), next = 0;
    for (base *b = s->bases, *after; b; b = after) {
        after = b->next;
        if (b->sessions || !b->db->config.path.n)
            continue;
        ns due = b->used + STORE_IDLE_NS;
        ns left = due > now ? due - now : b->syncing || b->sweeping ? NS_PER_S : 0;
        if (!left)
            base_retire(s, b);
        else if (!next || left < next)
            next = left;
    }
    if (next)
        loop_timer_start(s->l, &s->idle, next, on_idle, s);
}

/* --- making commits durable ------------------------------------------------------------------- */

static void sync_work(void *user)
{
    base *b = user;
    b->work_ok = sql_connection_sync(b->keeper, &b->failure);
}

static void base_break(base *b, const err *why)
{
    database_note(b->db, why);
    b->broken = true;
    for (pending *p = list_take(&b->unsynced), *next; p; p = next) {
        next = p->next;
        pending_refuse(p, STORE_FAILED,
                       "the disk refused to make the database's changes durable; a write may or "
                       "may not have happened");
        pending_answer(p);
    }
}

static void sync_done(void *user)
{
    base *b = user;
    sql_server *s = b->db->s;
    s->working--;
    b->syncing = false;
    if (b->work_ok) {
        b->synced = b->syncing_to;
        for (pending *p = list_take(&b->unsynced), *next; p; p = next) {
            next = p->next;
            if (p->seq <= b->synced)
                pending_answer(p);
            else
                list_push(&b->unsynced, p);
        }
    } else {
        base_break(b, &b->failure);
        base_retire(s, b);
        return;
    }
    base_release(s, b);
}

static void sync_start(sql_server *s, base *b)
{
    err e;
    b->syncing = true;
    b->syncing_to = b->committed;
    if (loop_work_start(s->l, sync_work, sync_done, b, &e)) {
        s->working++;
        return;
    }
    b->syncing = false;
    base_break(b, &e);
}

static void sweep_work(void *user)
{
    base *b = user;
    err e;
    sql_connection_checkpoint(b->sweeper, &e); /* it is tried again later where it fails */
}

static void sweep_done(void *user)
{
    base *b = user;
    sql_server *s = b->db->s;
    s->working--;
    b->sweeping = false;
    base_release(s, b);
}

static void sweep_start(sql_server *s, base *b)
{
    err e;
    b->log_pages = 0;
    if (!b->sweeper && !connection_open(b->db, &b->sweeper, &e))
        return;
    if (loop_work_start(s->l, sweep_work, sweep_done, b, &e)) {
        b->sweeping = true;
        s->working++;
    }
}

/* --- sessions --------------------------------------------------------------------------------- */

static sql_session **session_row(sql_server *s, const store_connection *owner, uint64_t id)
{
    return &s->table[((uintptr_t)owner / 64 + id) % SESSIONS_TABLE];
}

static sql_session *session_find(sql_server *s, const store_connection *owner, uint64_t id)
{
    for (sql_session *x = *session_row(s, owner, id); x; x = x->next)
        if (x->owner == owner && x->id == id && !x->closing)
            return x;
    return NULL;
}

static sql_session *session_new(sql_server *s, const store_connection *owner, uint64_t id,
                                database *d)
{
    sql_session **row = session_row(s, owner, id);
    sql_session *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    *x = (sql_session){.owner = owner, .id = id, .db = d, .next = *row};
    *row = x;
    database_use(d);
    return x;
}

static void session_free(sql_server *s, sql_session *x)
{
    sql_session **at = session_row(s, x->owner, x->id);
    session_return(s, x);
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    database_unuse(x->db);
    free(x);
}

static void list_remove(list *l, const pending *p)
{
    pending *all = list_take(l), *next;
    for (; all; all = next) {
        next = all->next;
        if (all != p)
            list_push(l, all);
    }
}

/* The guest has let go of it. */
static void session_close(sql_server *s, sql_session *x)
{
    x->closing = true;
    atomic_store(&x->cancel, true);
    if (x->on_thread)
        return;       /* its end frees it */
    if (x->running) { /* it waits for a thread or for the lock */
        pending *p = x->running;
        list_remove(&x->b->threads, p);
        list_remove(&x->b->busy, p);
        pending_refuse(p, STORE_FAILED, "the connection was closed");
        pending_answer(p);
    }
    session_free(s, x);
}

/* --- running ---------------------------------------------------------------------------------- */

/* The answer is there; it goes out when what it tells of is durable. */
static void request_done(sql_server *s, sql_session *x, pending *p)
{
    base *b = x->b;
    unsigned pages;
    x->running = NULL;
    p->session = NULL;
    b->used = clock_mono();
    if (sql_connection_committed(x->c, &pages)) {
        b->committed++;
        b->released = true;
        b->log_pages = pages;
    }
    if (!sql_connection_in_transaction(x->c))
        b->released = true;
    database_note(x->db, NULL);
    p->seq = b->committed;
    bool forget = sql_connection_let_go(x->c) && !b->broken && b->db->now == b;
    if (forget)
        session_free(s, x);
    if (b->broken)
        pending_refuse(p, STORE_FAILED, "the database was closed after an error of its disk");
    if (b->broken || !b->db->config.path.n || p->seq <= b->synced)
        pending_answer(p);
    else
        list_push(&b->unsynced, p);
}

static void request_refuse(sql_session *x, pending *p, const char *reason)
{
    x->running = NULL;
    p->session = NULL;
    pending_refuse(p, STORE_FAILED, reason);
    pending_answer(p);
}

static store_message message_whole(const pending *p)
{
    store_message m = pending_message(p);
    if (p->items)
        m.items = (bytes){p->items, (size_t)m.items_bytes};
    return m;
}

static void thread_work(void *user)
{
    pending *p = user;
    sql_session *x = p->session;
    sql_budget budget = {.deadline = clock_mono() + STORE_SQL_TIME_MAX_NS, .cancel = &x->cancel};
    x->outcome = sql_connection_run(x->c, message_whole(p), budget, &p->answer);
}

static void outcome_take(sql_server *s, sql_session *x, pending *p, sql_outcome outcome);

static void thread_done(void *user)
{
    pending *p = user;
    sql_session *x = p->session;
    sql_server *s = x->db->s;
    base *b = x->b;
    s->working--;
    b->running--;
    x->on_thread = false;
    if (x->outcome == SQL_STOPPED && !x->closing) {
        b->released = true;
        request_refuse(x, p, "the statement ran for 10 s, which is the limit, and was stopped");
    } else if (x->closing) {
        request_refuse(x, p, "the connection was closed");
        session_free(s, x);
    } else {
        outcome_take(s, x, p, x->outcome);
    }
}

static void threads_start(sql_server *s, base *b)
{
    while (b->threads.first && b->running < STORE_SQL_RUNNING_MAX) {
        pending *p = list_pop(&b->threads);
        err e;
        if (!loop_work_start(s->l, thread_work, thread_done, p, &e)) {
            request_refuse(p->session, p, e.text);
            continue;
        }
        p->session->on_thread = true;
        b->running++;
        s->working++;
    }
}

/* A recycled connection would give the counts of others: a new one in its place. */
static bool session_renew(sql_session *x, err *e)
{
    sql_connection *c;
    if (!connection_open(x->db, &c, e))
        return false;
    sql_connection_close(x->c);
    x->c = c;
    return true;
}

static void request_run(sql_server *s, sql_session *x, pending *p)
{
    if (sql_connection_is_heavy(x->c)) {
        list_push(&x->b->threads, p);
        return;
    }
    sql_budget budget = {.deadline = clock_mono() + STORE_SQL_SHORT_NS, .is_short = true};
    outcome_take(s, x, p, sql_connection_run(x->c, message_whole(p), budget, &p->answer));
}

static void outcome_take(sql_server *s, sql_session *x, pending *p, sql_outcome outcome)
{
    err e;
    switch (outcome) {
    case SQL_DONE:
        request_done(s, x, p);
        return;
    case SQL_STOPPED:
        list_push(&x->b->threads, p);
        return;
    case SQL_BUSY:
        if (!p->deadline)
            p->deadline = clock_mono() + STORE_SQL_LOCK_NS;
        list_push(&x->b->busy, p);
        return;
    case SQL_STALE:
        if (session_renew(x, &e))
            request_run(s, x, p);
        else
            request_refuse(x, p, e.text);
        return;
    }
}

/* What found the file locked: again, or given up. */
static void busy_retry(sql_server *s, base *b)
{
    ns now = clock_mono();
    b->released = false;
    for (pending *p = list_take(&b->busy), *next; p; p = next) {
        next = p->next;
        if (now >= p->deadline)
            request_refuse(p->session, p, "database is locked");
        else
            request_run(s, p->session, p);
    }
}

/* Other processes may hold the lock (sqlite3 on the command line), and deadlines pass. */
static void on_poll(void *user)
{
    sql_server *s = user;
    for (base *b = s->bases; b; b = b->next)
        b->released = true;
}

static bool on_turn_end(void *user)
{
    sql_server *s = user;
    bool waits = false;
    for (base *b = s->bases; b; b = b->next) {
        if (b->released && b->busy.first)
            busy_retry(s, b);
        threads_start(s, b);
        if (b->unsynced.first && !b->syncing)
            sync_start(s, b);
        if (b->log_pages >= STORE_SQL_LOG_PAGES && !b->sweeping && !b->broken)
            sweep_start(s, b);
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
    sql_session *x = session_find(s, p->from, ask->session);
    err e;
    const char *problem = NULL;
    if (!x && ask->step)
        problem = "the connection was lost when the store process ended; a transaction in it was "
                  "rolled back. Open another one";
    else if (!x && !(x = session_new(s, p->from, ask->session, p->db)))
        problem = "no memory";
    else if (x->running || x->db != p->db)
        problem = "a damaged request";
    if (problem) {
        pending_refuse(p, STORE_FAILED, problem);
        pending_answer(p);
        return;
    }
    x->running = p;
    p->session = x;
    if (!x->c && !session_lease(s, x, &e)) {
        database_note(x->db, &e);
        request_refuse(x, p, e.text);
    } else if (x->b->broken) {
        request_refuse(x, p,
                       "the database was closed after an error of its disk; open another "
                       "connection");
    } else {
        request_run(s, x, p);
    }
}

void sql_server_take(sql_server *s, pending *p)
{
    store_message m = pending_message(p);
    sql_ask ask;
    err e;
    if (p->fd >= 0 && !(p->items = pending_items_load(p, &m, &e))) {
        pending_refuse(p, STORE_FAILED, e.text);
        pending_answer(p);
        return;
    }
    if ((m.kind == SQL_EXECUTE && !p->db) || !ask_of(message_whole(p), &ask)) {
        pending_refuse(p, STORE_FAILED, "a damaged request");
        pending_answer(p);
        return;
    }
    if (m.kind == SQL_EXECUTE) {
        execute(s, p, &ask);
        return;
    }
    sql_session *x = session_find(s, p->from, ask.session);
    if (x)
        session_close(s, x);
    p->from = NULL; /* it has no answer */
    pending_answer(p);
}

void sql_server_forget(sql_server *s, const store_connection *c)
{
    for (base *b = s->bases; b; b = b->next)
        for (pending *p = b->unsynced.first; p; p = p->next)
            if (p->from == c)
                p->from = NULL;
    for (int i = 0; i < SESSIONS_TABLE; i++)
        for (sql_session *x = s->table[i], *next; x; x = next) {
            next = x->next;
            if (x->owner != c)
                continue;
            if (x->running)
                x->running->from = NULL;
            if (!x->closing)
                session_close(s, x);
        }
}

/* --- the server ------------------------------------------------------------------------------- */

bool sql_server_new(loop *l, const sql_database *at, size_t count, sql_server **ret, err *e)
{
    sql_server *s = calloc(1, sizeof *s);
    if (!s || !sql_memory_init(e)) {
        free(s);
        return err_no_memory(e);
    }
    s->l = l;
    arena_init(&s->a, 64 * MIB);
    s->databases = ARENA_ARRAY(&s->a, database, count + 1);
    bool ok = s->databases != NULL;
    for (size_t i = 0; ok && i < count; i++) {
        database *d = &s->databases[i];
        str *scripts = ARENA_ARRAY(&s->a, str, at[i].scripts_count + 1);
        *d = (database){.config = at[i], .s = s};
        d->config.label = arena_str(&s->a, at[i].label);
        d->config.path = arena_str(&s->a, at[i].path);
        d->config.scripts = scripts;
        for (size_t k = 0; scripts && k < at[i].scripts_count; k++)
            scripts[k] = arena_str(&s->a, at[i].scripts[k]);
        ok = scripts && d->config.label.p && d->config.path.p;
    }
    s->databases_count = count;
    if (!ok)
        err_no_memory(e);
    if (!ok || !loop_hook_add(l, on_turn_end, s, &s->hook, e)) {
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
    database *d = s->named;
    while (d && !str_eq(d->config.path, path))
        d = d->next;
    if (!d) {
        d = calloc(1, sizeof *d + path.n + 1 + label.n + 1);
        if (!d)
            return NULL;
        char *at = (char *)(d + 1);
        memcpy(at, path.p, path.n);
        memcpy(at + path.n + 1, label.p, label.n);
        *d = (database){.s = s,
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
    database_release(t);
}

unsigned sql_server_files_open(const sql_server *s)
{
    unsigned n = 0;
    for (const base *b = s->bases; b; b = b->next)
        n++;
    return n;
}

void sql_server_free(sql_server *s)
{
    if (!s)
        return;
    for (int i = 0; i < SESSIONS_TABLE; i++)
        for (sql_session *x = s->table[i], *next; x; x = next) {
            next = x->next;
            if (!x->closing)
                session_close(s, x);
        }
    while (s->working)
        loop_turn(s->l, 100);
    for (base *b = s->bases, *next; b; b = next) {
        next = b->next;
        base_retire(s, b);
    }
    must(!s->bases);
    loop_timer_stop(&s->idle);
    loop_timer_stop(&s->poll);
    loop_hook_remove(s->hook);
    arena_fini(&s->a);
    free(s);
}
