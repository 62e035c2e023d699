/* What a worker has to know of one app to serve it. `ebb up` makes one from a folder; `ebb serve`
 * keeps one per revision in the catalogue, as JSON, and workers get it when a request for the app
 * comes. It holds values of variables, which may be secrets: never on a command line, never in the
 * environment. */
#pragma once

#include "app/app.h"
#include "platform/calls_owner.h"
#include "platform/providers.h"
#include "store/server.h"

/* The part of one component that is known only once it was set up. Parallel to app.components. */
typedef struct {
    str artifact;        /* folder; empty: the component is not used. Under `ebb serve` the digest
                            of the component, 64 hexadecimal digits */
    app_pairs mounts;    /* guest path, folder that the guest sees there: absolute, or below the
                            node's files_dir */
    app_pairs variables; /* names, and values unless providers are asked */
    str_list outbound;   /* allowed_outbound_hosts after expansion */
    bool follow;         /* what it prints goes to the log as well */
} config_component;

typedef struct {
    /* Numbers of the catalogue; 0: the app of `ebb up`. Not in the JSON: who finds it adds them. */
    uint64_t id, tenant, revision;
    calls_owner calls; /* likewise */
    const app *app;
    const config_component *components;
    bool allow_transient_write;
    str log_dir;             /* of files with what guests print (guestlog.h); empty: none */
    provider_list providers; /* of variables, where they have to be asked again; else none */
    /* Key-value stores by number; what a component may open is in its part of app. */
    const kv_store *stores;
    size_t stores_count;
    /* SQL databases, in the same way. */
    const sql_database *databases;
    size_t databases_count;
} app_config;

bool app_config_write(const app_config *c, buf *out, err *e);
/* Everything is in the arena. */
bool app_config_read(arena *a, bytes json, app_config *ret, err *e);

/* What the store process is told: stores, databases, the queue of deferred calls with its key, how
 * to log. No app. state_dir: of `ebb serve`, instead of those of an app; empty: none. queue: NULL
 * or without a path: none. */
bool store_config_write(const app_config *c, str state_dir, const store_queue *queue, bool log_json,
                        buf *out, err *e);
bool store_config_read(arena *a, bytes json, store_config *ret, bool *ret_log_json, err *e);
