/* What the supervisor tells a worker, as JSON in an anonymous file: never on a command line and
 * never in the environment, because variables hold secrets. */
#pragma once

#include "app/app.h"
#include "base/log.h"
#include "platform/network.h"
#include "store/kv_server.h"

/* The part of one component that is known only once it was set up. Parallel to app.components. */
typedef struct {
    str artifact;        /* folder; empty: the component is not used */
    str assets;          /* folder that the guest sees as "/"; empty: it has no files */
    app_pairs variables; /* names and resolved values */
    str_list outbound;   /* allowed_outbound_hosts after expansion */
} config_component;

typedef struct {
    const app *app;
    const config_component *components;
    log_format log_format;
    bool allow_transient_write;
    uint32_t instances_max;
    network_config network;
    /* Key-value stores by number; what a component may open is in its part of app. */
    const kv_store *stores;
    size_t stores_count;
} worker_config;

bool worker_config_write(const worker_config *c, buf *out, err *e);
/* Everything is in the arena. */
bool worker_config_read(arena *a, bytes json, worker_config *ret, err *e);

/* What the store process is told: the stores and how to log. No secrets, no app. */
bool store_config_write(const worker_config *c, buf *out, err *e);
bool store_config_read(arena *a, bytes json, kv_store **ret_stores, size_t *ret_count,
                       log_format *ret_format, err *e);
