/* What to ask which intensity provider, and when. Pure: requests as text, times as arguments; the
 * platform does the HTTP, with its time-outs, and hands back what came.
 *
 *     provider_due(p, now) -> PROVIDER_LOGIN, _HISTORY, _FORECAST or _NOTHING
 *     provider_request_make(...) -> URL and one header;  GET
 *     provider_answer(p, what, now, body, ...) -> points    or   provider_failed(p, now,
 * retry_after)
 *
 * Invariants: never more than one request due at a time; after a failure the distance doubles, from
 * a minute to an hour, and Retry-After is obeyed up to a day; a clock that jumps back makes nothing
 * due for longer than the longest distance. Secrets (token, password) appear in the request's
 * header only, never in an error text or a URL. */
#pragma once

#include "base/buf.h"
#include "carbon/source.h"

#define PROVIDER_RETRY_S_MIN 60
#define PROVIDER_RETRY_S_MAX 3600
#define PROVIDER_WAIT_S_MAX  86400
/* A bit less than half an hour: WattTime's sessions end after 30 minutes. */
#define PROVIDER_SESSION_S 1740

typedef struct {
    source_format format; /* not SOURCE_CSV: a file is read, not asked for */
    str base_url;         /* empty: the provider's own; for the Carbon Aware SDK it is required */
    str zone;             /* Electricity Maps zone, WattTime region, SDK location; UK: region id, or
                             empty for the whole country */
    str token;            /* Electricity Maps */
    str user, password;   /* WattTime */
    bool average;         /* WattTime: co2_aoer instead of co2_moer */
    bool forecasts;       /* the account may ask for forecasts */
} provider_config;

typedef enum {
    PROVIDER_NOTHING,
    PROVIDER_LOGIN,
    PROVIDER_HISTORY, /* the last day, the present included */
    PROVIDER_FORECAST,
} provider_what;

typedef struct {
    provider_config config;        /* strings are the caller's and outlive it */
    int64_t history_s, forecast_s; /* when to ask next */
    int64_t session_until_s;
    unsigned failures;  /* in a row */
    char session[4096]; /* WattTime's JWT */
} provider;

typedef struct {
    str url;
    str header_name, header_value; /* empty: none */
} provider_request;

/* ERR_INVALID names what the configuration lacks. */
bool provider_init(provider *p, const provider_config *c, err *e);
provider_what provider_due(const provider *p, int64_t now_s);
/* Seconds until something is due; 0 now. For the caller's timer. */
int64_t provider_wait_s(const provider *p, int64_t now_s);
bool provider_request_make(const provider *p, provider_what what, int64_t now_s, arena *a,
                           provider_request *ret, err *e);
/* A body that came with status 200. For a login *ret is empty. An answer that cannot be read is a
 * failure as well: the caller need not call provider_failed. */
bool provider_answer(provider *p, provider_what what, int64_t now_s, bytes body, arena *a,
                     intensity_reading *ret, err *e);
/* No answer, a time-out, a status that is not 200. retry_after_s: 0 if the server gave none.
 * unauthorised (401, 403): the session is over. */
void provider_failed(provider *p, int64_t now_s, int64_t retry_after_s, bool unauthorised);
