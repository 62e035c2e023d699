/* HTTP routing: from the path of a request to the trigger that answers it.
 *
 * Patterns: "/literal", "/:name" (one segment, or up to a '.' that the pattern has next:
 * "/:file.txt", "/:name.:ext"), and a trailing "/..." or "/ *" (any rest, also none).
 * A leading '/' is added and trailing ones do not matter, in patterns as in paths; several slashes
 * in a row count as one. Nothing is percent-decoded.
 * Precedence, segment by segment from the left: literal, then parameter, then wildcard; the order
 * of the manifest never matters. Where two triggers have the same pattern (parameter names aside)
 * the last one wins and the other is reported.
 * "/.well-known/spin/" belongs to the platform.
 *
 * A table is immutable and lives in the arena it was built in. Matching allocates nothing and
 * takes time by the length of the path and the logarithm of the number of routes, as long as
 * literals and parameters do not overlap at many levels at once (then, at worst, by the number of
 * routes). */
#pragma once

#include "app/app.h"

enum {
    ROUTE_SEGMENTS_MAX = 64, /* in one pattern */
    ROUTE_PARAMS_MAX = 32,   /* in one pattern */
    ROUTE_HEADERS_MAX = 7 + ROUTE_PARAMS_MAX,
};

typedef struct route_table route_table;

/* The http triggers of the app that have a public route. */
bool route_table_build(arena *a, const app *of, route_table **ret, err *e);

/* Triggers that never answer because a later one has the same pattern. */
typedef struct {
    const app_trigger *shadowed, *by;
} route_duplicate;
const route_duplicate *route_duplicates(const route_table *t, size_t *ret_count);

typedef enum {
    ROUTE_NONE,     /* 404 */
    ROUTE_TRIGGER,  /* trigger says which component or static response */
    ROUTE_HEALTH,   /* /.well-known/spin/health: 200 "OK" */
    ROUTE_INFO,     /* /.well-known/spin/info: app_info_write */
    ROUTE_RESERVED, /* anything else there: 404 */
} route_kind;

typedef struct {
    route_kind kind;
    const app_trigger *trigger;     /* ROUTE_TRIGGER only, as all that follows */
    str route;                      /* the pattern, with leading '/', without trailing one */
    str raw_route;                  /* the pattern as in the manifest */
    str params[ROUTE_PARAMS_MAX];   /* names, from the table */
    str captures[ROUTE_PARAMS_MAX]; /* values, from path */
    size_t captures_count;
    bool is_wildcard;
    str rest;             /* what the wildcard captured, without slashes around it; from path */
    bool path_is_slashed; /* path ended in '/' */
} route_match;

/* path: from the request target, without query. ret borrows from the table and from path. */
void route_find(const route_table *t, str path, route_match *ret);
/* As if the trigger's component had the route "/..." (service chaining, private routes). */
void route_synthetic(const app_trigger *trigger, str path, route_match *ret);

/* What a pattern is worth knowing about before it is in a table: true if it is well-formed. */
bool route_check(str pattern, err *e);

typedef struct {
    str scheme;      /* "http" or "https" */
    str authority;   /* the Host header */
    str target;      /* path and query as received */
    str client_addr; /* "ip:port", "[ip6]:port" */
} route_request;

/* The spin-* request headers of a match, in lower case, each exactly once (the caller removes the
 * client's own). ret has room for ROUTE_HEADERS_MAX; what is not borrowed is in a. */
bool route_headers(const route_match *m, const route_request *r, arena *a,
                   app_pair ret[ROUTE_HEADERS_MAX], size_t *ret_count, err *e);
