/* Key-value in a SQLite file of Spin's own shape: the table spin_key_value(store, key, value), so
 * that an app can move from Spin and back with its file.
 *
 * Invariants
 * - Requests run inside a transaction (kv_file_begin ... kv_file_commit); after commit returned
 *   true everything is fsynced (WAL, synchronous=FULL: one fsync of the log a commit).
 * - A request is all or nothing, also inside a transaction of many.
 * - Failures of a request (a key too long, a value that is no number) are its answer, and the
 *   transaction goes on. Failures of the file (full, damaged, unreadable) come back as false: the
 *   caller rolls back, and nothing of the transaction has happened.
 * - Texts of errors do not say where the file is: guests see them.
 * One thread. Calls block: for the store process only. */
#pragma once

#include "store/message.h"

typedef struct kv_file kv_file;

/* Makes the file and its table if they are missing. NULL: in memory. ERR_IO. */
bool kv_file_open(const char *path, kv_file **ret, err *e);
/* Rolls back what was not committed. NULL is allowed. */
void kv_file_close(kv_file *f);
/* The file was renamed or deleted under us: close it and open the path again. */
bool kv_file_moved(kv_file *f);

/* A descriptor of the file, its log or its index (kv_reader.h), for reading; borrowed. Closing one
 * takes away all locks that this process has on its file (POSIX), so they stay open as long as the
 * file, and are sent without a copy. -1: there is none. */
int kv_file_lend(kv_file *f, unsigned part);

bool kv_file_begin(kv_file *f, err *e);
/* False: as after kv_file_rollback. */
bool kv_file_commit(kv_file *f, err *e);
void kv_file_rollback(kv_file *f);

/* Carries out one request on the rows of `store`; its answer, a whole message with the request's
 * id, goes to out (emptied first). A damaged or too long request is answered STORE_FAILED. */
bool kv_file_apply(kv_file *f, str store, store_message request, buf *out, err *e);

/* What is wrong with a key-value request, or NULL. Its first two items go to `first`. */
const char *kv_request_problem(store_message m, store_item first[2]);

/* Sets keys (keys and values in turn) in a transaction of its own. ERR_IO. */
bool kv_file_preset(kv_file *f, str store, const str *pairs, size_t count, err *e);
