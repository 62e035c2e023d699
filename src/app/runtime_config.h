/* The runtime configuration file (`--runtime-config-file`): where stores, databases, variables and
 * connections of an app are provided. The same file as Spin's.
 * Invariants: unknown keys are errors with position and suggestion; all kinds of Spin are told
 * apart here, whether ebb provides them is for whoever opens them to say; labels are unique. */
#pragma once

#include "app/outbound.h"
#include "app/variables.h"

typedef enum {
    STORE_SPIN,  /* SQLite; path empty: in memory */
    STORE_REDIS, /* url */
    STORE_COSMOS,
    STORE_DYNAMO,
} config_store_kind;

typedef struct {
    str label;
    config_store_kind kind;
    str path; /* as written: relative to the configuration file */
    str url;
    app_pairs other; /* fields of cosmos and dynamo, as strings */
    toml_pos pos;
} config_store;

typedef enum { DATABASE_SPIN, DATABASE_LIBSQL } config_database_kind;

typedef struct {
    str label;
    config_database_kind kind;
    str path; /* as written: relative to the working directory; empty: in memory */
    bool allow_attach_file;
    str url, token;
    toml_pos pos;
} config_database;

typedef enum { PROVIDER_ENV, PROVIDER_STATIC, PROVIDER_VAULT, PROVIDER_AZURE } config_provider_kind;

typedef struct {
    config_provider_kind kind;
    str prefix;            /* env: default "SPIN_VARIABLE"; vault: path prefix */
    str dotenv_path;       /* env */
    app_pairs values;      /* static */
    str url, token, mount; /* vault, azure (url) */
    app_pairs other;       /* azure: client_id, ... */
    toml_pos pos;
} config_provider;

typedef struct {
    str_list component_ids, hosts;
    bool ca_use_platform_roots; /* by default only if no other roots are given */
    bool ca_use_webpki_roots;
    str ca_roots_file, client_cert_file, client_private_key_file; /* relative to the file */
    toml_pos pos;
} config_client_tls;

typedef enum { LLM_NONE, LLM_SPIN, LLM_REMOTE_HTTP } config_llm_kind;

/* Counts: UINT64_MAX is "no limit", 0 is "none allowed". */
typedef struct {
    str state_dir, log_dir;
    uint64_t memory_bytes_max; /* max_instance_memory; 0: not set */
    config_store *stores;
    size_t stores_count;
    config_database *databases;
    size_t databases_count;
    config_provider *providers; /* in the order of the file */
    size_t providers_count;
    config_client_tls *client_tls;
    size_t client_tls_count;
    config_llm_kind llm;
    str llm_url, llm_auth_token, llm_api_type;
    outbound_blocks blocks;
    uint64_t socket_connections_max, total_connections_max;
    bool http_connection_pooling; /* as in Spin: on, but off where [outbound_http] omits it */
    uint64_t http_connections_max;
    uint64_t redis_connections_max, pg_connections_max, mysql_connections_max;
    uint64_t mqtt_connections_max, mqtt_payload_bytes_max;
    str_list warnings;
} runtime_config;

/* What holds without a file. */
void runtime_config_default(runtime_config *ret);
/* Borrows nothing from text. `file` is for messages. */
bool runtime_config_read(arena *a, str file, str text, runtime_config *ret, err *e);
