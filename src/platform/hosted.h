/* A component as a worker holds it: nothing but its settings until the first request, then its
 * plan, its bound imports and its mapped code.
 * Invariant: `module` is NULL or everything else is valid; `calls` requests are in it. */
#pragma once

#include "app/outbound.h"
#include "engine/engine.h"
#include "host/host.h"
#include "platform/config.h"
#include "platform/guestlog.h"
#include "platform/places.h"

typedef struct {
    const app_component *app;
    const config_component *config;
    bool transient_write;
    const worker_config *all; /* its stores */
    /* Answers what the component asks of its own app; may be NULL. */
    void (*chain)(void *user, http_exchange *x, str component);
    void *chain_user;
    variable_providers providers; /* where values may change; else none */
    struct store_client *store;   /* the worker's; NULL: no component asks for a store */
    arena a;                      /* plan, binding, host_component: while loaded */
    plan plan;
    host_binding *binding;
    engine_module *module;   /* of the handler's unit */
    engine_module **modules; /* of each unit */
    uint32_t unit, lift;     /* of the handler */
    host_component host;
    outbound_rules outbound;
    struct host_preopen *preopens;
    guestlog log; /* opened before the worker is fenced in, kept while it lives */
    uint32_t calls;
    place_owner place; /* of its calls in this worker */
    size_t row;        /* of the meter: the component's index in the app */
} hosted;

void hosted_init(hosted *h, const app_component *component, const config_component *config,
                 const worker_config *all, struct store_client *store, size_t row);
static inline bool hosted_is_loaded(const hosted *h) { return h->module != NULL; }
/* Reads the plan, binds the imports, maps the code. Everything is undone where it fails. */
bool hosted_load(hosted *h, engine *en, err *e);
/* Gives all of that back; no call may live. */
void hosted_unload(hosted *h);
