/* What the supervisor tells a worker, as JSON in an anonymous file: never on a command line and
 * never in the environment, because variables hold secrets. */
#pragma once

#include "app/app.h"
#include "base/log.h"
#include "platform/network.h"
#include "platform/providers.h"
#include "store/server.h"

/* The part of one component that is known only once it was set up. Parallel to app.components. */
typedef struct {
    str artifact;        /* folder; empty: the component is not used */
    app_pairs mounts;    /* guest path, folder (absolute) that the guest sees there */
    app_pairs variables; /* names, and values unless all.providers are asked */
    str_list outbound;   /* allowed_outbound_hosts after expansion */
    bool follow;         /* what it prints goes to the log as well */
} config_component;

typedef struct {
    const app *app;
    const config_component *components;
    log_format log_format;
    bool allow_transient_write;
    bool unmetered; /* what calls use is told to nobody */
    str log_dir;    /* of files with what guests print (guestlog.h); empty: none */
    /* For tests alone: a component whose imports the host does not offer is loaded all the same,
     * and traps when it calls one. */
    bool stub_imports;
    bool no_landlock; /* do without, as on a kernel that has none */
    uint32_t instances_max;
    str restoring; /* engine_restoring_parse; empty: as usual */
    network_config network;
    provider_list providers; /* of variables, where they have to be asked again; else none */
    /* Key-value stores by number; what a component may open is in its part of app. */
    const kv_store *stores;
    size_t stores_count;
    /* SQL databases, in the same way. */
    const sql_database *databases;
    size_t databases_count;
} worker_config;

bool worker_config_write(const worker_config *c, buf *out, err *e);
/* Everything is in the arena. */
bool worker_config_read(arena *a, bytes json, worker_config *ret, err *e);

/* What the store process is told: stores, databases, how to log. No app. */
bool store_config_write(const worker_config *c, buf *out, err *e);
bool store_config_read(arena *a, bytes json, store_config *ret, log_format *ret_format, err *e);
