/* What a worker is told when it starts: settings of the node, and under `ebb up` its one app. As
 * JSON in an anonymous file. */
#pragma once

#include "base/log.h"
#include "platform/app_config.h"
#include "platform/network.h"

/* Budgets of one worker for apps (active.h); 0: the default (base/limits.h), bounded by what the
 * process may have of descriptors and mappings. */
typedef struct {
    uint32_t apps_max;
    uint32_t modules_max; /* mapped: each has about three mappings and a descriptor */
    uint64_t bytes_max;   /* of settings, plans and linked imports; instances not counted */
    ns idle;              /* then an app goes though there is room */
} active_limits;

typedef struct {
    log_format log_format;
    bool unmetered; /* what calls use is told to nobody */
    /* For tests alone: a component whose imports the host does not offer is loaded all the same,
     * and traps when it calls one. */
    bool stub_imports;
    bool no_landlock; /* do without, as on a kernel that has none */
    uint32_t instances_max;
    str restoring; /* engine_restoring_parse; empty: as usual */
    network_config network;
    /* Of `ebb serve`: where apps have their artifacts, files and logs (absolute), and how much of
     * them a worker holds. Empty: there is one app, given here. */
    str data_dir;
    active_limits active;
    str egress_allow;       /* networks that apps may reach all the same: egress.h */
    uint32_t traces_one_in; /* traces.h; 0: there are no traces */
    uint32_t workers;       /* of the node, among which quotas are divided */
} node_config;

/* known NULL: none is known from the start. */
bool worker_config_write(const node_config *n, const app_config *known, buf *out, err *e);
/* Everything is in the arena. *ret_app is zero where there is none. */
bool worker_config_read(arena *a, bytes json, node_config *ret, app_config *ret_app, err *e);
