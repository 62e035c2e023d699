/* The supervisor: opens the sockets, starts the other processes, starts them again when they die,
 * and ends them. It serves no request and wakes up only for signals. If it is killed, workers
 * serve on. */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "platform/certificates.h"

#include <stddef.h>

enum { SUPERVISOR_WORKERS_MAX = 64 };

typedef struct {
    str config;                 /* worker_config as JSON; borrowed */
    str store_config;           /* for the store process (app_config.h); empty: nothing is stored */
    str keeper_config;          /* for the keeper (keeper.h) */
    bool directory;             /* workers ask the keeper for apps */
    int admin_listener;         /* for the keeper; -1: nobody can ask it; stays the caller's */
    int admin_tcp;              /* the same, of the admin API's address; -1: none */
    certificates *certificates; /* for workers, read again on SIGHUP; NULL: no TLS. Borrowed */
    const int *listeners;       /* one per worker slot, listening; taken */
    unsigned workers;
    void (*on_ready)(void *user); /* all workers accept connections */
    void *user;
} supervisor_config;

/* Runs until a signal: SIGHUP reads certificates again, SIGTERM or SIGINT drains (connections
 * finish what they are at), a second one stops at once. Returns the exit status: 0, or 1 if a
 * worker could not be started at all. */
int supervisor_run(const supervisor_config *c, err *e);
