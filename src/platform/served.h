/* An app as a worker holds it: its settings, routes and components. Requests come in here, from
 * outside or from the app's own components, and become calls.
 *
 * Invariants
 * - Whoever may use it later holds it (a call from its beginning to its line in the log); it goes
 *   when nobody does and its list has let go of it.
 * - Everything of it but loaded components is in one arena. */
#pragma once

#include "app/route.h"
#include "base/table.h"
#include "platform/egress.h"
#include "platform/hosted.h"
#include "platform/tenant.h"

typedef struct served served;
struct calls;

/* What all apps of a worker share. */
typedef struct serving {
    const node_config *node;
    str fingerprint; /* of the engine: a part of where artifacts are */
    struct calls *calls;
    struct meter *meter;        /* NULL: nothing is metered */
    struct store_client *store; /* NULL: no app asks for a store */
    struct deferral *defer;     /* NULL: nothing may wait here */
    /* Where apps that come and go have their artifacts, files and logs; empty under `ebb up`. */
    str artifacts_dir, files_dir, logs_dir;
    guestlogs logs;
    egress egress; /* of all apps that come and go */
    tenants tenants;
    /* What is loaded now. */
    uint32_t modules;
    uint64_t bytes;
} serving;

struct served {
    serving *all;
    tenant *tenant; /* NULL: the app of `ebb up` */
    turn_app turns; /* of its calls */
    egress egress;  /* with what is open to its tenant */
    arena a;
    app_config config;
    route_table *routes;
    hosted *hosted; /* parallel to config.app->components */
    size_t hosted_count;
    /* Numbers of its stores and databases with the store process, + 1; 0: not asked for yet. */
    uint32_t *store_numbers, *database_numbers;
    str info;     /* body of /.well-known/spin/info */
    size_t bytes; /* of the arena, counted in all */
    uint32_t holders;
    bool hinted; /* root_hint was given */
    /* Of those that come and go (active.h, directory.h). */
    table_link by_number;
    served *newer, *older;
    ns used;
    uint64_t settings_hash;
    struct name *names;
    uint32_t names_count;
};

/* Takes the arena, in which *c is; one holder: the caller. limits: the quota of the tenant; allow:
 * networks that it may reach besides (egress.h). */
bool served_new_take(serving *all, arena *a, const app_config *c, str limits, str allow,
                     served **ret, err *e);
void served_hold(served *s);
/* A call of it begins and ends: hold and let, counted for the tenant. */
void served_enter(served *s);
void served_leave(served *s);
/* NULL is allowed. The last one frees it; no component of it may be running then. */
void served_let(served *s);

/* The number of the index-th store or database of the app with the store process; it holds as long
 * as the app. */
bool served_store(served *s, size_t index, bool is_database, uint32_t *ret, err *e);

/* The component `id` of the app; NULL: it has none of this name. */
hosted *served_component(served *s, str id);
/* Answers a request from outside. */
void served_begin(served *s, http_exchange *x);
/* Answers a deferred request of the app itself: by the component `id`, whatever its route, or
 * (n 0) by its path. */
void served_run(served *s, http_exchange *x, str id);
/* Answers a request of a component to its own app: the component `id`, whatever its route, or
 * (without p) as if the request had come from outside. */
void served_begin_inside(served *s, http_exchange *x, str id);
