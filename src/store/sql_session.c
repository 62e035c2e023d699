/* What a guest has open: a session is one connection, leased from a base, on which its statements
 * run one after the other. A statement begins on the loop's thread; what takes longer than
 * STORE_SQL_SHORT_NS, or may, goes on a thread of its own; what finds the file locked waits in
 * `busy` without a thread. A connection that nothing stuck to goes back to its base's spares. */
#include "base/limits.h"
#include "loop/work.h"
#include "store/sql_impl.h"

#include <stdlib.h>

static sql_session **sql_session_row(sql_server *s, const store_connection *owner, uint64_t id)
{
    return &s->table[((uintptr_t)owner / 64 + id) % SQL_SESSIONS_TABLE];
}

sql_session *sql_session_find(sql_server *s, const store_connection *owner, uint64_t id)
{
    for (sql_session *x = *sql_session_row(s, owner, id); x; x = x->next)
        if (x->owner == owner && x->id == id && !x->closing)
            return x;
    return NULL;
}

sql_session *sql_session_new(sql_server *s, const store_connection *owner, uint64_t id,
                             sql_target *d)
{
    sql_session **row = sql_session_row(s, owner, id);
    sql_session *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    *x = (sql_session){.owner = owner, .id = id, .db = d, .next = *row};
    *row = x;
    sql_target_use(d);
    return x;
}

bool sql_session_lease(sql_server *s, sql_session *x, err *e)
{
    sql_target *d = x->db;
    ns turn = loop_now(s->l);
    if (d->now && d->now->looked != turn && sql_connection_moved(d->now->keeper))
        sql_base_retire(s, d->now);
    if (!d->now && !sql_base_open(s, d, e))
        return false;
    sql_base *b = d->now;
    b->looked = turn;
    if (b->spare_count)
        x->c = b->spare[--b->spare_count];
    else if (!sql_target_connect(d, &x->c, e)) {
        sql_base_retire(s, b);
        return false;
    }
    x->b = b;
    b->sessions++;
    return true;
}

static void sql_session_return(sql_server *s, sql_session *x)
{
    sql_base *b = x->b;
    if (!b)
        return;
    if (sql_connection_in_transaction(x->c))
        b->released = true;
    bool again = sql_connection_recycle(x->c) && !b->broken && b->db->now == b &&
                 b->spare_count < STORE_SQL_SPARE_MAX;
    b->viewed = true;
    if (again)
        b->spare[b->spare_count++] = x->c;
    else
        sql_connection_close(x->c);
    x->c = NULL;
    x->b = NULL;
    b->sessions--;
    b->used = clock_mono();
    if (!b->sessions && b->db->config.path.n && !loop_timer_active(&s->idle))
        loop_timer_start(s->l, &s->idle, STORE_IDLE_NS, sql_base_idle, s);
    sql_base_release(s, b);
}

static void sql_session_free(sql_server *s, sql_session *x)
{
    sql_session **at = sql_session_row(s, x->owner, x->id);
    sql_session_return(s, x);
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    sql_target_unuse(x->db);
    free(x);
}

void sql_session_close(sql_server *s, sql_session *x)
{
    x->closing = true;
    atomic_store(&x->cancel, true);
    if (x->on_thread)
        return;       /* its end frees it */
    if (x->running) { /* it waits for a thread or for the lock */
        pending *p = x->running;
        pending_list_remove(&x->b->threads, p);
        pending_list_remove(&x->b->busy, p);
        pending_fail(p, "the connection was closed");
    }
    sql_session_free(s, x);
}

/* --- running ---------------------------------------------------------------------------------- */

/* The answer is there; it goes out when what it tells of is durable. */
static void sql_session_done(sql_server *s, sql_session *x, pending *p)
{
    sql_base *b = x->b;
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
    sql_target_note(x->db, NULL);
    p->seq = b->committed;
    bool forget = sql_connection_let_go(x->c) && !b->broken && b->db->now == b;
    if (forget)
        sql_session_free(s, x);
    if (b->broken)
        pending_refuse(p, "the database was closed after an error of its disk");
    if (b->broken || !b->db->config.path.n || p->seq <= b->synced)
        pending_answer(p);
    else
        pending_list_push(&b->unsynced, p);
}

void sql_session_refuse(sql_session *x, pending *p, const char *reason)
{
    x->running = NULL;
    p->session = NULL;
    pending_fail(p, reason);
}

static void thread_work(void *user)
{
    pending *p = user;
    sql_session *x = p->session;
    sql_budget budget = {.deadline = clock_mono() + STORE_SQL_TIME_MAX_NS, .cancel = &x->cancel};
    x->outcome = sql_connection_run(x->c, pending_message(p), budget, &p->answer);
}

static void outcome_take(sql_server *s, sql_session *x, pending *p, sql_outcome outcome);

static void thread_done(void *user)
{
    pending *p = user;
    sql_session *x = p->session;
    sql_server *s = x->db->s;
    sql_base *b = x->b;
    s->working--;
    b->running--;
    x->on_thread = false;
    if (x->outcome == SQL_STOPPED && !x->closing) {
        b->released = true;
        sql_session_refuse(x, p, "the statement ran for 10 s, which is the limit, and was stopped");
    } else if (x->closing) {
        sql_session_refuse(x, p, "the connection was closed");
        sql_session_free(s, x);
    } else {
        outcome_take(s, x, p, x->outcome);
    }
}

void sql_session_start_threads(sql_server *s, sql_base *b)
{
    while (b->threads.first && b->running < STORE_SQL_RUNNING_MAX) {
        pending *p = pending_list_pop(&b->threads);
        err e;
        if (!loop_work_start(s->l, thread_work, thread_done, p, &e)) {
            sql_session_refuse(p->session, p, e.text);
            continue;
        }
        p->session->on_thread = true;
        b->running++;
        s->working++;
    }
}

/* A recycled connection would give the counts of others: a new one in its place. */
static bool sql_session_renew(sql_session *x, err *e)
{
    sql_connection *c;
    if (!sql_target_connect(x->db, &c, e))
        return false;
    sql_connection_close(x->c);
    x->c = c;
    return true;
}

void sql_session_run(sql_server *s, sql_session *x, pending *p)
{
    if (sql_connection_is_heavy(x->c)) {
        pending_list_push(&x->b->threads, p);
        return;
    }
    sql_budget budget = {.deadline = clock_mono() + STORE_SQL_SHORT_NS, .is_short = true};
    outcome_take(s, x, p, sql_connection_run(x->c, pending_message(p), budget, &p->answer));
}

static void outcome_take(sql_server *s, sql_session *x, pending *p, sql_outcome outcome)
{
    err e;
    switch (outcome) {
    case SQL_DONE:
        sql_session_done(s, x, p);
        return;
    case SQL_STOPPED:
        pending_list_push(&x->b->threads, p);
        return;
    case SQL_BUSY:
        if (!p->deadline)
            p->deadline = clock_mono() + STORE_SQL_LOCK_NS;
        pending_list_push(&x->b->busy, p);
        return;
    case SQL_STALE:
        if (sql_session_renew(x, &e))
            sql_session_run(s, x, p);
        else
            sql_session_refuse(x, p, e.text);
        return;
    }
}

/* What found the file locked: again, or given up. */
void sql_session_retry_busy(sql_server *s, sql_base *b)
{
    ns now = clock_mono();
    b->released = false;
    for (pending *p = pending_list_take(&b->busy), *next; p; p = next) {
        next = p->next;
        if (now >= p->deadline)
            sql_session_refuse(p->session, p, "database is locked");
        else
            sql_session_run(s, p->session, p);
    }
}
