/* A guest's SQL database at a libSQL server (Turso, sqld), instead of a file: statements go there
 * over HTTP (hrana.h), and how durable they are is the server's matter.
 *
 * Invariants
 * - What a guest opened is one stream at the server, with transactions and temporary tables of its
 *   own; statements of a stream run one after the other, those of others beside them.
 * - A stream that was lost (the server's answer did not come, or it forgot the stream) says so to
 *   the next statement; it is never opened anew in the middle, which would drop a transaction
 *   silently.
 * - Neither errors nor the log show the token. */
#pragma once

#include "store/server_impl.h"

typedef struct sql_libsql sql_libsql;

/* Everything is copied. ERR_NO_MEMORY. */
bool sql_libsql_new(loop *l, str label, str url, str token, sql_libsql **ret, err *e);
/* Takes a request of kind SQL_EXECUTE or SQL_CLOSE, whose first item says `ask`. */
void sql_libsql_take(sql_libsql *s, pending *p, const sql_ask *ask);
/* That worker has gone: its streams are closed, what they run is given up. */
void sql_libsql_forget(sql_libsql *s, const store_connection *c);
/* Gives up what runs and waits for its end. NULL is allowed. */
void sql_libsql_free(sql_libsql *s);
