/* What SQLite allocates, charged to the connection on whose behalf it runs, so that a guest's
 * statement that wants too much fails by itself and nobody else notices.
 *
 * Invariants: a block belongs to the account that was current when it was made, until it is freed,
 * on whatever thread; an account never holds more than its maximum; it lives until it was given up
 * and its last block is gone. Without a current account memory is not limited. */
#pragma once

#include "base/err.h"

#include <stddef.h>

typedef struct sql_account sql_account;

/* Makes SQLite ask here. Before the first use of SQLite in the process; idempotent. */
bool sql_memory_init(err *e);
/* NULL: no memory. */
sql_account *sql_account_new(size_t bytes_max);
/* Its blocks may outlive it. NULL is allowed. */
void sql_account_give_up(sql_account *a);
/* The account of this thread from now on; returns the one before. NULL: none. */
sql_account *sql_account_use(sql_account *a);
size_t sql_account_bytes(const sql_account *a);
