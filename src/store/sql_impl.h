/* Shared by the files of the store's SQL: databases, what of them is open (sql_base.c), and what
 * guests have open (sql_session.c). sql_server.c opens with how they work together. */
#pragma once

#include "base/arena.h"
#include "store/server_impl.h"
#include "store/sql_connection.h"

enum { SQL_SESSIONS_TABLE = 1024 };

typedef struct sql_base sql_base;

/* A database: a place in the configuration, or one that was named by its path. */
struct sql_target {
    sql_database config;
    sql_server *s;
    struct sql_libsql *libsql; /* where it is at a server: all else is unused */
    sql_base *now;             /* NULL: not open */
    bool failing;
    /* Of a named one, which goes when nobody needs it. */
    sql_target *next;
    unsigned names, users; /* users: sessions and bases */
    bool named;
};

/* An open file, or what it was before it was replaced. */
struct sql_base {
    sql_base *next; /* of all */
    sql_target *db;
    sql_connection *keeper;  /* syncs; first opened, last closed */
    sql_connection *sweeper; /* writes the log back; NULL: not needed yet */
    sql_connection *spare[STORE_SQL_SPARE_MAX];
    unsigned spare_count;
    unsigned sessions, running;
    uint64_t committed, synced; /* counts of commits */
    uint64_t syncing_to;
    unsigned log_pages;
    bool syncing, sweeping, broken;
    bool viewed;   /* spares may have a view of the file (sql_connection_view_end) */
    bool released; /* a lock may have been given back since `busy` was looked at */
    err failure;   /* of a thread's work */
    bool work_ok;
    pending_list threads, busy, unsynced;
    ns used;
    ns looked; /* when the file was seen in its place: once a turn */
};

struct sql_session {
    sql_session *next; /* in its row of the table */
    const store_connection *owner;
    uint64_t id;
    sql_target *db;
    sql_base *b; /* NULL: no connection yet */
    sql_connection *c;
    pending *running;
    bool on_thread, closing;
    atomic_bool cancel;
    sql_outcome outcome; /* of the thread's run */
};

struct sql_server {
    loop *l;
    arena a;
    sql_target *databases;
    size_t databases_count;
    sql_target *named;
    sql_base *bases;
    sql_session *table[SQL_SESSIONS_TABLE];
    loop_hook *hook;
    loop_timer idle, poll;
    unsigned working; /* threads' work that will come back */
};

/* --- sql_base.c ------------------------------------------------------------------------------- */

/* A named database goes once it has neither names nor users. */
void sql_target_release(sql_target *d);
void sql_target_use(sql_target *d);
void sql_target_unuse(sql_target *d);
/* Says in the log that a database fails, and (NULL) that it works again: once each. */
void sql_target_note(sql_target *d, const err *failure);
/* Another connection to it. ERR_IO. */
bool sql_target_connect(const sql_target *d, sql_connection **ret, err *e);

/* Makes d->now. ERR_IO, ERR_NO_MEMORY. */
bool sql_base_open(sql_server *s, sql_target *d, err *e);
/* Closes it once nobody needs it: no session, no thread, not the database's current one. */
void sql_base_release(sql_server *s, sql_base *b);
/* The database has no current base any more; the next session opens it anew. */
void sql_base_retire(sql_server *s, sql_base *b);
/* A timer's: closes what nobody used for STORE_IDLE_NS. `user` is the sql_server. */
void sql_base_idle(void *user);
/* At the end of a turn: lets go of what selects saw, begins to sync what answers wait for, and to
 * write the log back. */
void sql_base_work(sql_server *s, sql_base *b);

/* --- sql_session.c ---------------------------------------------------------------------------- */

/* NULL: there is none that is open. */
sql_session *sql_session_find(sql_server *s, const store_connection *owner, uint64_t id);
/* NULL: no memory. */
sql_session *sql_session_new(sql_server *s, const store_connection *owner, uint64_t id,
                             sql_target *d);
/* A connection for it (x->c, x->b). ERR_IO, ERR_NO_MEMORY. */
bool sql_session_lease(sql_server *s, sql_session *x, err *e);
/* The guest has let go of it: what it runs is stopped. */
void sql_session_close(sql_server *s, sql_session *x);
/* Runs p, which is x->running, and answers it, now or later. */
void sql_session_run(sql_server *s, sql_session *x, pending *p);
void sql_session_refuse(sql_session *x, pending *p, const char *reason);
/* At the end of a turn: what found the file locked is tried again, what waits for a thread gets
 * one. */
void sql_session_retry_busy(sql_server *s, sql_base *b);
void sql_session_start_threads(sql_server *s, sql_base *b);
