/* The keeper: the process that meters. It gets reports of the workers' meters, measures the other
 * processes of ebb itself, writes the usage records, and answers questions about them on its admin
 * socket. It has no timer; it wakes up when a worker reports or somebody asks. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/log.h"
#include "carbon/power.h"
#include "platform/grid.h"

/* The admin API of `ebb serve`; fingerprint is empty where there is none. */
typedef struct {
    str scheme;        /* in URLs: "http" or "https" */
    str url_port;      /* in URLs: ":3000", or empty */
    str admin_address; /* where the admin API listens; empty: only on its socket */
    str admin_host;    /* another name for it */
    str fingerprint;   /* of the engine, names artifacts */
    str quota;         /* of a new tenant, JSON */
    str traces_url;    /* of a collector; empty: there are no traces */
    uint32_t jobs, revisions_kept;
    bool queue_is_shared; /* deferred calls are those of other nodes too (calls_owner.h) */
} keeper_serve;

typedef struct {
    log_format log_format;
    str node;        /* what reports call this machine */
    str usage_path;  /* of the records; empty: in memory */
    const str *apps; /* names of the components of `ebb up` */
    size_t apps_count;
    grid_config grid;
    uint32_t workers; /* of the node; what deferred work is planned for. 0: nothing is deferred */
    str app;          /* settings of the app of `ebb up` that defers calls (app_config.h) */
    /* Of `ebb serve`: where the catalogue of apps is, and the domain of their default hosts. */
    str data_dir, domain;
    keeper_serve serve;
} keeper_config;

bool keeper_config_write(const keeper_config *c, buf *out, err *e);
/* Everything is in the arena. */
bool keeper_config_read(arena *a, bytes json, keeper_config *ret, err *e);

/* ---- what the supervisor tells it: one message each, over its control socket */

typedef enum {
    KEEPER_WORKER = 1, /* a worker; with the keeper's end of a channel to it */
    KEEPER_DIRECTORY,  /* a worker that asks for apps; with the keeper's end of the channel */
    KEEPER_COUNTERS,   /* the area of a worker's counters (counters.h) */
    KEEPER_CALLS,      /* a worker that runs deferred calls; with the keeper's end of the channel */
    KEEPER_STORE,      /* a channel to the store process, to ask it as a worker would */
    KEEPER_PROCESS,    /* another process of ebb, to be measured */
    KEEPER_LEAVE,      /* a new build takes over: no change begins any more; it answers with a byte
                          when those under way have ended */
    KEEPER_DIED,       /* it has ended, and used so much CPU in all; pid 0: never announced */
} keeper_note_kind;

typedef struct {
    keeper_note_kind kind;
    uint32_t index;
    int32_t pid;
    uint64_t cpu_ns;
    bool known; /* an earlier keeper has metered it: only what is new counts */
    char role[16];
} keeper_note;
