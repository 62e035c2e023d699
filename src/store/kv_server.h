/* The store process's side of key-value: connections of workers, groups of requests, files.
 *
 * Invariants
 * - One connection (kv_file) per file, however many stores or workers use it.
 * - Requests that arrive in one turn of the loop share one commit (a group); nobody is answered
 *   before the commit that holds its write returned.
 * - A request that the file refuses does not take its group along: the group is rolled back and its
 *   requests are tried one by one.
 * - Files are opened by the first request and closed STORE_IDLE_NS after the last one; then nothing
 *   wakes the process up. A file that failed, or was moved away, is opened anew by the next
 *   request. */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "loop/loop.h"

/* A key-value store: rows named `label` in a file; empty path: in memory, in this process. */
typedef struct {
    str label, path;
} kv_store;

typedef struct kv_server kv_server;

/* The stores are copied; messages name them by their index. */
bool kv_server_new(loop *l, const kv_store *stores, size_t count, kv_server **ret, err *e);
/* A worker's channel. Takes fd, also on failure. */
bool kv_server_add_take(kv_server *s, int fd, err *e);
/* Connections that are open. `on_fewer` is called when one ends; may be NULL. */
unsigned kv_server_connections(const kv_server *s);
void kv_server_on_fewer(kv_server *s, void (*on_fewer)(void *user), void *user);
/* Files that are open (in-memory stores in use count). */
unsigned kv_server_files_open(const kv_server *s);
/* Carries out what has arrived, answers, closes everything. NULL is allowed. */
void kv_server_free(kv_server *s);
