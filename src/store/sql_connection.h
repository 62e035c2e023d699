/* One connection to an application's SQL database, on which statements of guests run.
 *
 * Invariants
 * - A statement runs under an authorizer (no other file, no extension, no setting of ours), a
 *   progress handler (it ends when its budget does), and a memory account of its own.
 * - Commits are written but not fsynced: whoever answers calls for sql_connection_sync before.
 *   Where the database could not be switched to SQLite's write-ahead log, commits are durable by
 *   themselves.
 * - One thread at a time. Calls may block for as long as the budget says. */
#pragma once

#include "store/message.h"

#include "base/clock.h"

#include <stdatomic.h>

typedef struct sql_connection sql_connection;

typedef struct {
    const char *path;  /* NULL: in memory */
    const char *name;  /* of a database in memory, which all connections to it share */
    bool attach_files; /* a guest may ATTACH files */
} sql_location;

/* The location is borrowed. ERR_IO. */
bool sql_connection_open(const sql_location *where, sql_connection **ret, err *e);
/* Rolls back. NULL is allowed. */
void sql_connection_close(sql_connection *c);

/* For another session: nothing of the last one is left. False: it left something behind, close the
 * connection. */
bool sql_connection_recycle(sql_connection *c);

typedef struct {
    ns deadline;               /* CLOCK_MONOTONIC */
    const atomic_bool *cancel; /* NULL: none */
    bool is_short;             /* on the loop's thread: what cannot be begun again is not begun */
} sql_budget;

typedef enum {
    SQL_DONE,    /* the answer is in `out`, be it a refusal */
    SQL_BUSY,    /* another connection writes: nothing happened, try again */
    SQL_STOPPED, /* the budget is over: nothing happened */
    SQL_STALE,   /* the statement asks for what a recycled connection would answer wrongly */
} sql_outcome;

/* Runs an SQL_EXECUTE message; its answer goes to out (emptied first). Only the first statement of
 * the text is run, as Spin does. */
sql_outcome sql_connection_run(sql_connection *c, store_message m, sql_budget b, buf *out);
/* Runs all statements of a text of ours, with no limits (`--sqlite`). ERR_INVALID, ERR_IO. */
bool sql_connection_script(sql_connection *c, str text, err *e);

/* A commit happened since the last call, and how long the log has become. */
bool sql_connection_committed(sql_connection *c, unsigned *ret_log_pages);
/* At the end of a turn, for a connection that let go: later statements see what was committed by
 * then. Until it a SELECT may see the file as another one did before it. */
void sql_connection_view_end(sql_connection *c);
/* The last answer said that nothing is held (sql_result). */
bool sql_connection_let_go(const sql_connection *c);
bool sql_connection_in_transaction(const sql_connection *c);
/* It has files attached, or is otherwise slow: run it on a thread. */
bool sql_connection_is_heavy(const sql_connection *c);
/* The file was renamed or deleted under us. */
bool sql_connection_moved(const sql_connection *c);
/* fsync of the log: what any connection to this file has committed is durable. Another thread may
 * run statements on other connections meanwhile. */
bool sql_connection_sync(sql_connection *c, err *e);
/* Writes the log back into the file, as far as nobody reads what it holds. */
bool sql_connection_checkpoint(sql_connection *c, err *e);
