/* ebb.toml, the settings of a node under `ebb serve`. One table (node_settings.c) says what there
 * is: the reader, its messages and the commented file of the first start are made of it. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"

typedef struct {
    /* [http] */
    str listen;          /* address of the apps */
    str domain;          /* default hosts are <app>-<tenant>.<domain> */
    str public_port;     /* of URLs that are shown; empty: that of `listen` */
    str trusted_proxies; /* networks with commas (http/proxies.h) */
    /* [tls]; relative to ebb.toml */
    str tls_folder, tls_certificate, tls_key;
    /* [admin] */
    str admin_listen; /* empty: only admin.sock */
    str admin_host;   /* another name that browsers may use for it; empty: none */
    /* [node] */
    uint64_t workers;   /* 0: one a core */
    uint64_t instances; /* at once in each worker; 0: the default */
    uint64_t jobs;      /* components compiled at once */
    bool log_json;
    str carbon; /* a file as for `ebb up --carbon`; empty: none; relative to ebb.toml */
    /* [apps] */
    uint64_t revisions_kept;
    uint64_t apps_held, modules_held, bytes_held, idle_s; /* of a worker: active_limits */
    /* [egress] */
    str egress_allow; /* networks that apps may reach: egress.h */
    /* [traces] */
    str traces_url;         /* where an OTLP collector takes them; empty: there are none */
    uint64_t traces_one_in; /* of so many traces that begin here one is sampled */
    /* [queue] */
    str queue_url; /* of a database of PostgreSQL; empty: a file */
    /* [quota]: of a new tenant; 0: no limit */
    uint64_t quota_apps, quota_memory_bytes, quota_concurrency, quota_cpu_percent, quota_cpu_weight,
        quota_requests_per_s, quota_storage_bytes, quota_connections, quota_log_bytes_per_s,
        quota_deferred_calls, quota_deferred_bytes;
} node_settings;

node_settings node_settings_default(void);
/* text of `file`. ERR_INVALID says "file:line:column: ...", with the nearest key that there is. */
bool node_settings_read(arena *a, str file, str text, node_settings *ret, err *e);
/* The commented file: every key with its meaning, its default commented out. */
bool node_settings_template(buf *out);

/* The quota of a tenant as JSON: {"apps": 100, ...}; absent or 0: no limit. Names in order. */
#define QUOTA_NAMES(X)                                                                             \
    X(apps)                                                                                        \
    X(memory_bytes)                                                                                \
    X(concurrency)                                                                                 \
    X(cpu_percent)                                                                                 \
    X(cpu_weight)                                                                                  \
    X(requests_per_s)                                                                              \
    X(storage_bytes) X(connections) X(log_bytes_per_s) X(deferred_calls) X(deferred_bytes)
typedef struct {
#define X(name) uint64_t name;
    QUOTA_NAMES(X)
#undef X
} quota;

bool quota_write(const quota *q, buf *out);
/* Members that are absent stay as they are in *q. ERR_INVALID names an unknown or wrong one. */
bool quota_read(str json, quota *q, err *e);
quota node_settings_quota(const node_settings *s);
