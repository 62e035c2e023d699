/* A component as a worker holds it: nothing but its settings until the first request, then its
 * plan, its bound imports and its mapped code.
 * Invariant: `module` is NULL or everything else is valid; `calls` requests are in it. */
#pragma once

#include "app/outbound.h"
#include "engine/engine.h"
#include "host/host.h"
#include "platform/guestlog.h"
#include "platform/node_config.h"
#include "platform/places.h"

typedef struct {
    const app_component *app;
    const config_component *config;
    struct served *of;            /* the app that it is a part of */
    variable_providers providers; /* where values may change; else none */
    arena a;                      /* plan, host_component: while loaded */
    plan plan;
    host_linked *linked;     /* its imports */
    engine_module *module;   /* of the handler's unit */
    engine_module **modules; /* of each unit */
    uint32_t unit, lift;     /* of the handler */
    host_component host;
    outbound_rules outbound;
    struct host_preopen *preopens;
    guestlog log;
    size_t bytes;           /* that being loaded takes, about */
    guest_started *started; /* state after start, of kept instances in it; NULL: none */
    uint32_t calls;
    place_owner place;     /* of its calls in this worker */
    size_t row;            /* of the meter */
    double deferred_cpu_s; /* what a deferred call of it takes: a running mean; 0: none has run */
} hosted;

/* The index-th component of the app. */
void hosted_init(hosted *h, struct served *of, size_t index);
static inline bool hosted_is_loaded(const hosted *h) { return h->module != NULL; }
/* Where it may send requests, without loading it (host/post.h); in the arena. Rules with variables
 * whose values may change are left out. */
bool hosted_outside(hosted *h, arena *a, host_component *ret, outbound_rules *ret_rules, err *e);
/* Reads the plan, binds the imports, maps the code. Everything is undone where it fails. */
bool hosted_load(hosted *h, host_linker *linker, err *e);
/* Gives all of that back; no call may live. */
void hosted_unload(hosted *h);
