/* How workers use the network: what is configured for a node or an app and not for one component.
 * Limits of the HTTP server, name servers, whom outgoing TLS trusts, networks that no rule opens.
 * Read from options and from the runtime configuration file in the supervisor, used by workers. */
#pragma once

#include "app/runtime_config.h"
#include "host/host.h"
#include "http/server.h"

#include <jansson.h>

typedef struct {
    str_list components; /* ids that it holds for */
    host_tls tls;        /* files are absolute */
} network_tls;

typedef struct {
    http_server_config limits; /* zero: the server's default */
    str name_servers;          /* "address:port,..."; empty: the system's */
    bool secure;               /* the server speaks TLS: certificates come with the settings */
    ns stall;                  /* longer turns of a worker's loop are logged; 0: none is */
    network_tls *tls;
    size_t tls_count;
    outbound_blocks blocks;
    host_connections connections; /* a worker's share */
    outbound_blocks trusted;      /* proxies that are believed (http/proxies.h) */
} network_config;

/* As given on a command line. Counts 0: none. */
typedef struct {
    const char *const *limits; /* "NAME=NUMBER"; times in seconds */
    size_t limits_count;
    const char *const *name_servers;
    size_t name_servers_count;
    const char *const *trusted; /* addresses or networks, or lists of them with commas */
    size_t trusted_count;
    const char *stall_ms;            /* NULL: no warnings */
    unsigned workers;                /* that share the connections of guests; 0: one */
    const char *runtime_config_path; /* NULL: none; relative paths in it are relative to it */
} network_options;

/* Everything is in the arena. ERR_INVALID says which option; ERR_UNSUPPORTED names a section of the
 * runtime configuration that nothing here provides. */
bool network_read(arena *a, const network_options *o, network_config *ret, err *e);

/* As a part of a worker's settings (node_config.h). NULL: no memory. */
json_t *network_json(const network_config *c);
bool network_from_json(arena *a, const json_t *j, network_config *ret);

/* The part of a component: entries of tls that hold for it. False: no memory. */
bool network_tls_of(arena *a, const network_config *c, str component, const host_tls **ret,
                    size_t *ret_count);
/* An address of 4 or 16 bytes. */
bool network_is_blocked(const network_config *c, const uint8_t *address, size_t n);
