/* A database and what of it is open: a base, which is one file with its connections. A base counts
 * commits; connections commit without fsync, and answers wait in `unsynced` until a thread has
 * synced every commit that they may have made or seen. The thread syncs for all that came in the
 * meantime. Another thread writes the log back (sweeps) when it has become long.
 *
 * If an fsync fails, the base is broken: its answers become errors, its connections are closed as
 * their sessions end, and the next request makes another base. */
#include "base/limits.h"
#include "base/log.h"
#include "loop/work.h"
#include "store/sql_impl.h"

#include <stdlib.h>

void sql_target_release(sql_target *d)
{
    if (!d->named || d->names || d->users)
        return;
    sql_target **at = &d->s->named;
    while (*at != d)
        at = &(*at)->next;
    *at = d->next;
    free(d);
}

void sql_target_use(sql_target *d) { d->users++; }

void sql_target_unuse(sql_target *d)
{
    d->users--;
    sql_target_release(d);
}

static const char *place_of(const sql_target *d)
{
    return d->config.path.n ? d->config.path.p : "(memory)";
}

void sql_target_note(sql_target *d, const err *failure)
{
    if (failure && !d->failing)
        log_msg(LOG_ERROR, "SQL database %s: %s", place_of(d), failure->text);
    else if (!failure && d->failing)
        log_msg(LOG_INFO, "SQL database %s works again", place_of(d));
    if (d->failing != (failure != NULL))
        log_flush();
    d->failing = failure != NULL;
}

bool sql_target_connect(const sql_target *d, sql_connection **ret, err *e)
{
    sql_location where = {.path = d->config.path.n ? d->config.path.p : NULL,
                          .name = d->config.label.p,
                          .attach_files = d->config.attach_files};
    return sql_connection_open(&where, ret, e);
}

static void sql_base_close(sql_base *b)
{
    while (b->spare_count)
        sql_connection_close(b->spare[--b->spare_count]);
    sql_connection_close(b->sweeper);
    sql_connection_close(b->keeper);
    b->sweeper = b->keeper = NULL;
}

void sql_base_release(sql_server *s, sql_base *b)
{
    sql_base **at = &s->bases;
    if (b->sessions || b->syncing || b->sweeping || b->db->now == b)
        return;
    sql_base_close(b);
    while (*at != b)
        at = &(*at)->next;
    *at = b->next;
    sql_target_unuse(b->db);
    free(b);
}

void sql_base_retire(sql_server *s, sql_base *b)
{
    if (b->db->now == b)
        b->db->now = NULL;
    sql_base_release(s, b);
}

bool sql_base_open(sql_server *s, sql_target *d, err *e)
{
    sql_base *b = calloc(1, sizeof *b);
    if (!b)
        return err_no_memory(e);
    b->db = d;
    bool ok = sql_target_connect(d, &b->keeper, e);
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
    sql_target_use(d);
    return true;
}

/* In-memory databases stay: closing would empty them. */
void sql_base_idle(void *user)
{
    sql_server *s = user;
    ns now = clock_mono(), next = 0;
    for (sql_base *b = s->bases, *after; b; b = after) {
        after = b->next;
        if (b->sessions || !b->db->config.path.n)
            continue;
        ns due = b->used + STORE_IDLE_NS;
        ns left = due > now ? due - now : b->syncing || b->sweeping ? NS_PER_S : 0;
        if (!left)
            sql_base_retire(s, b);
        else if (!next || left < next)
            next = left;
    }
    if (next)
        loop_timer_start(s->l, &s->idle, next, sql_base_idle, s);
}

/* --- making commits durable ------------------------------------------------------------------- */

static void sync_work(void *user)
{
    sql_base *b = user;
    b->work_ok = sql_connection_sync(b->keeper, &b->failure);
}

static void sql_base_break(sql_base *b, const err *why)
{
    sql_target_note(b->db, why);
    b->broken = true;
    for (pending *p = pending_list_take(&b->unsynced), *next; p; p = next) {
        next = p->next;
        pending_fail(p, "the disk refused to make the database's changes durable; a write may or "
                        "may not have happened");
    }
}

static void sync_done(void *user)
{
    sql_base *b = user;
    sql_server *s = b->db->s;
    s->working--;
    b->syncing = false;
    if (b->work_ok) {
        b->synced = b->syncing_to;
        for (pending *p = pending_list_take(&b->unsynced), *next; p; p = next) {
            next = p->next;
            if (p->seq <= b->synced)
                pending_answer(p);
            else
                pending_list_push(&b->unsynced, p);
        }
    } else {
        sql_base_break(b, &b->failure);
        sql_base_retire(s, b);
        return;
    }
    sql_base_release(s, b);
}

static void sync_start(sql_server *s, sql_base *b)
{
    err e;
    b->syncing = true;
    b->syncing_to = b->committed;
    if (loop_work_start(s->l, sync_work, sync_done, b, &e)) {
        s->working++;
        return;
    }
    b->syncing = false;
    sql_base_break(b, &e);
}

static void sweep_work(void *user)
{
    sql_base *b = user;
    err e;
    sql_connection_checkpoint(b->sweeper, &e); /* it is tried again later where it fails */
}

static void sweep_done(void *user)
{
    sql_base *b = user;
    sql_server *s = b->db->s;
    s->working--;
    b->sweeping = false;
    sql_base_release(s, b);
}

static void sweep_start(sql_server *s, sql_base *b)
{
    err e;
    b->log_pages = 0;
    if (!b->sweeper && !sql_target_connect(b->db, &b->sweeper, &e))
        return;
    if (loop_work_start(s->l, sweep_work, sweep_done, b, &e)) {
        b->sweeping = true;
        s->working++;
    }
}

void sql_base_work(sql_server *s, sql_base *b)
{
    for (unsigned i = 0; b->viewed && i < b->spare_count; i++)
        sql_connection_view_end(b->spare[i]);
    b->viewed = false;
    if (b->unsynced.first && !b->syncing)
        sync_start(s, b);
    if (b->log_pages >= STORE_SQL_LOG_PAGES && !b->sweeping && !b->broken)
        sweep_start(s, b);
}
