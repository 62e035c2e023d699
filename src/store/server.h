/* The store process's side: connections of workers, and what carries out their requests
 * (server_impl.h): key-value files in groups, Redis, SQL, deferred calls.
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
#include "store/seal.h"

/* An application's SQL database. */
typedef struct {
    str label, path;    /* empty path: in memory, in this process */
    bool attach_files;  /* guests may ATTACH files */
    const str *scripts; /* run when a database in memory is made (those in files: by `ebb up`) */
    size_t scripts_count;
    str url, token; /* or at a libSQL server (sql_libsql.h) */
} sql_database;

/* A key-value store: rows named `label` in a file; empty path: in memory, in this process; with a
 * URL: a Redis server (kv_redis.h). */
typedef struct {
    str label, path;
    const str *initial; /* keys and values in turn, set when a store in memory is made */
    size_t initial_count;
    str url;
} kv_store;

/* The queue of deferred calls (queue.h); where path and url are empty there is none. */
typedef struct {
    str path;     /* of its file */
    str url;      /* or of a database of PostgreSQL, which several nodes may share */
    seal_key key; /* what calls say is sealed under it; the same on all nodes that share it */
} store_queue;

/* Messages name stores and databases by their index here, or by numbers that workers gave. */
typedef struct {
    const kv_store *stores;
    size_t stores_count;
    const sql_database *databases;
    size_t databases_count;
    /* Of `ebb serve`, instead of those: a folder below which each app has its own, "<app>/kv.db"
     * and "<app>/sql_<label>.db". What a number means, each worker says (STORE_NAME). */
    str state_dir;
    store_queue queue;
} store_config;

typedef struct store_server store_server;

/* The configuration is copied. */
bool store_server_new(loop *l, const store_config *config, store_server **ret, err *e);
/* A worker's channel. Takes fd, also on failure. */
bool store_server_add_take(store_server *s, int fd, err *e);
/* Connections that are open. `on_fewer` is called when one ends; may be NULL. */
unsigned store_server_connections(const store_server *s);
void store_server_on_fewer(store_server *s, void (*on_fewer)(void *user), void *user);
/* Files that are open (in-memory stores in use count). */
unsigned store_server_files_open(const store_server *s);
/* Carries out what has arrived, answers, closes everything. NULL is allowed. */
void store_server_free(store_server *s);
