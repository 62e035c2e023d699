/* A request that the platform sends in the name of a component (web hooks of deferred calls): with
 * its owner's pool and count of connections and its trust (host_component), and to no address that
 * is blocked for it, after names are resolved. Whether the component may reach the host at all,
 * the caller asks before. Redirects are not followed, and of the answer only the status is looked
 * at.
 *
 * Invariants: on_done is called once, from the loop and never inside host_post_begin, unless the
 * post was freed before. The component is borrowed until then. */
#pragma once

#include "host/host.h"

typedef struct host_post host_post;

typedef struct {
    str scheme, authority, target; /* as in a URL */
    const http_field *fields;      /* names in lower case; with content-length */
    size_t fields_count;
    bytes body; /* at most HTTP_BUFFER_BYTES */
    ns timeout; /* of each: connecting, and waiting for the answer */
} host_post_request;

typedef struct {
    unsigned status; /* 0: there was no answer */
    bool prohibited; /* its address is blocked: trying again would not help */
    const char *why; /* of status 0; static */
} host_post_result;

/* POST; everything given but the component is copied. ERR_LIMIT: too many connections, for now. */
bool host_post_begin(const host_component *h, struct loop *l, const host_post_request *q,
                     void (*on_done)(void *user, const host_post_result *r), void *user,
                     host_post **ret, err *e);
/* Gives it up if it is not over. NULL is allowed. */
void host_post_free(host_post *p);
