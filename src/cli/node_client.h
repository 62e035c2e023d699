/* Talking to a node under `ebb serve`: who we are logged in as, and requests of its admin API. */
#pragma once

#include "base/buf.h"
#include "cli/options.h"

#include <jansson.h>

typedef struct {
    str url;    /* "http://127.0.0.1:3001", or the path of an admin.sock */
    str token;  /* empty: only by a socket */
    str tenant; /* whose apps are meant */
} node_login;

/* The rows that every command about a node has; a table begins with them. */
#define NODE_OPTIONS                                                                               \
    {"node",    0, OPTION_VALUE, "URL", "the node's admin address or socket [as logged in]",       \
     "EBB_NODE"},                                                                                  \
        {"token", 0, OPTION_VALUE, "TOKEN", "[as logged in]", "EBB_TOKEN"},                        \
        {"tenant", 0, OPTION_VALUE, "NAME", "[as logged in]", "EBB_TENANT"},                       \
        {"json", 0, OPTION_FLAG, NULL, "print the node's answer as it is"}

/* From the options, the environment, and what `ebb login` has kept. ERR_NOT_FOUND: nowhere. */
bool node_login_find(arena *a, const options *o, node_login *ret, err *e);
/* Keeps it in ~/.config/ebb/login.json (0600); *ret_path says where. */
bool node_login_keep(arena *a, const node_login *l, str *ret_path, err *e);

typedef struct node_client node_client;

bool node_client_new(const node_login *l, node_client **ret, err *e);
/* NULL is allowed. */
void node_client_free(node_client *c);

/* One request. body NULL: none; it is sent as JSON. The answer of 2xx is parsed into *ret (the
 * caller's; may be NULL). ERR_NOT_FOUND: 404, ERR_DENIED: 401 and 403, ERR_CONFLICT: 409,
 * ERR_LIMIT: 429, ERR_INVALID: else, with the node's own words; ERR_IO: nobody answers. */
bool node_ask(node_client *c, const char *method, str path, const json_t *body, json_t **ret,
              err *e);
/* Sends a file's content as the body of a PUT. */
bool node_put(node_client *c, str path, bytes content, err *e);
bool node_send(node_client *c, str path, const char *file, uint64_t bytes_n, err *e);
/* Calls f with every piece of the answer as it comes; f returns false to stop. */
bool node_follow(node_client *c, str path, bool (*f)(void *user, str piece), void *user, err *e);

/* s percent-encoded for a path. p is NULL without memory. */
str node_segment(arena *a, str s);
/* Prints j as JSON with a line's end, and lets it go. */
void node_print_take(json_t *j);
str node_str(const json_t *j, const char *name);
/* What others have written, without what a terminal would obey: control characters but tabs, and
 * C1. */
str node_plain(arena *a, str s);
/* "2026-11-28 15:04", or "never". */
const char *node_time(int64_t t_s, char place[32]);

/* A command about a node: parses, finds the login, calls run, prints what went wrong. rows begins
 * with NODE_OPTIONS. */
typedef struct {
    arena a;
    options o;
    node_login login;
    node_client *client;
    bool json;
} node_command;
int node_command_run(int argc, char **argv, options *o, bool (*run)(node_command *c, err *e));
/* "/v1/tenants/<tenant>" and what comes after it. */
str node_path(node_command *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The n-th positional; ERR_INVALID says what is missing. */
bool node_positional(const node_command *c, size_t n, const char *what, str *ret, err *e);
