/* What the queue keeps of a deferred call (queue.h: about, request, result): texts and bytes behind
 * each other, read back by the same binary or a later one. Pure.
 *
 *     u8 version, then fields; a text is u32 length and bytes
 */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "http/exchange.h"
#include "store/queue.h"

/* queue_terms.trigger; the first two maybe with QUEUE_TELLS. */
enum { DEFERRED_HTTP = 1, DEFERRED_CRON = 2, DEFERRED_HOOK = QUEUE_TELLING };

/* What lists show. */
typedef struct {
    str component, method, path; /* path without query */
    str schedule;                /* of a cron trigger; else empty */
    str hook;                    /* who is told of its end (app/hook.h); empty: nobody */
    str app;                     /* calls_owner.name */
} deferred_about;

/* All that running it takes. */
typedef struct {
    str component; /* asked whatever its route; empty: by the path */
    str method, target, authority, scheme, peer;
    const http_field *fields;
    size_t fields_count;
    bytes body;
} deferred_request;

typedef struct {
    unsigned status; /* 0: there was no answer */
    bool body_cut, log_cut;
    const http_field *fields;
    size_t fields_count;
    bytes body;
    str log; /* lines, each 'o' or 'e' before it */
} deferred_result;

bool deferred_about_write(const deferred_about *d, buf *out);
bool deferred_about_read(bytes b, deferred_about *ret);
bool deferred_request_write(const deferred_request *d, buf *out);
/* Texts are borrowed from b, the list of fields is in the arena. False: damaged, or no memory. */
bool deferred_request_read(arena *a, bytes b, deferred_request *ret);
bool deferred_result_write(const deferred_result *d, buf *out);
bool deferred_result_read(arena *a, bytes b, deferred_result *ret);
