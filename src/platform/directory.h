/* A worker's side of finding apps: which app a request is for, by the name of its host.
 *
 * Names that were asked for are known until the keeper says FORGET, or the app leaves (active.h);
 * the rest is asked, and requests for one name wait for one answer together.
 *
 * Invariants
 * - Nothing here knows apps that nobody called.
 * - Names are bounded: by app DIRECTORY_NAMES_MAX, nobody's DIRECTORY_NOBODY_MAX, those asked for
 *   by the requests that wait for them (DIRECTORY_WAITING_MAX).
 * - Without a keeper known apps are served on; others wait for the next one, DIRECTORY_WAIT_NS at
 *   most, then they get 503. With a new keeper every name is asked anew, because FORGETs may have
 *   been lost; an app whose settings are the same stays loaded. */
#pragma once

#include "platform/active.h"
#include "platform/directory_message.h"

typedef struct directory directory;

/* The serving is borrowed. */
bool directory_new(loop *l, serving *all, const active_limits *limits, directory **ret, err *e);
/* No request waits any more: after the server has gone. NULL is allowed. */
void directory_free(directory *d);
/* A channel to the keeper; takes fd. Replaces the one there was. */
void directory_connect_take(directory *d, int fd);

/* Answers a request with the app that has its host; 404 if none has. Takes x. */
void directory_begin(directory *d, http_exchange *x);
const active *directory_active(const directory *d);

/* The revision of an app that accepted a deferred call: the one that is served now if it is that,
 * else one that nobody else has. The owner is copied. f is called later, from the loop, or at once:
 * with a hold on s that is now the receiver's, or with NULL and why (ERR_NOT_FOUND: this node does
 * not have it, or not any more). */
void directory_revision(directory *d, const calls_owner *owner,
                        void (*f)(void *user, served *s, const err *e), void *user);

/* The name that is looked up: without port and last dot, in lower case. False: there is none (empty
 * or too long). For its tests. */
bool directory_host(str authority, char ret[DIRECTORY_HOST_BYTES_MAX], size_t *ret_n);
