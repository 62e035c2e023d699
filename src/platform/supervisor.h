/* The supervisor: opens the sockets, starts the other processes, starts them again when they die,
 * ends them, and makes room for a new build of itself. It serves no request and wakes up only for
 * signals. If it is killed, workers serve on. */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "platform/certificates.h"
#include "platform/upgrade.h"

#include <stddef.h>

enum { SUPERVISOR_WORKERS_MAX = 64 };

typedef struct {
    str config;                 /* worker_config as JSON; borrowed */
    str store_config;           /* for the store process (app_config.h); empty: nothing is stored */
    str keeper_config;          /* for the keeper (keeper.h) */
    bool directory;             /* workers ask the keeper for apps */
    bool defers;                /* requests may wait: there is a queue of them */
    int admin_listener;         /* for the keeper; -1: nobody can ask it; stays the caller's */
    int admin_tcp;              /* the same, of the admin API's address; -1: none */
    certificates *certificates; /* for workers, read again on SIGHUP; NULL: no TLS. Borrowed */
    const int *listeners;       /* one per worker slot, listening; taken */
    unsigned workers;
    void (*on_ready)(void *user); /* all workers accept connections */
    void *user;
    const upgrade_self *self;   /* for SIGUSR2; NULL: no upgrades */
    str listen, address, admin; /* for the next one, as in handover */
    const handover *before;     /* what the build before us has left; NULL: it is a start */
} supervisor_config;

/* Runs until a signal: SIGHUP reads certificates again, SIGUSR2 executes the binary anew (all
 * processes are replaced, without a failed request), SIGTERM or SIGINT drains (connections
 * finish what they are at), a second one stops at once. Returns the exit status: 0, or 1 if a
 * worker could not be started at all. */
int supervisor_run(const supervisor_config *c, err *e);
