/* What is said of a deferred call: class, criticality, deadline. */
#pragma once

#include "base/err.h"
#include "base/str.h"

/* XFaaS (SOSP 2023): reserved work has guaranteed room and starts at once; opportunistic work is
 * cheap and runs when the plan says so. */
typedef enum { CALL_RESERVED, CALL_OPPORTUNISTIC } call_class;
typedef enum { CALL_LOW, CALL_NORMAL, CALL_HIGH } call_criticality;

#define CALL_SLACK_S_MAX (7 * 86400) /* a promise further ahead than forecasts reach is none */

/* `Ebb-Deadline`: whole seconds from now, or a time as RFC 3339. ERR_INVALID: it is neither, in the
 * past, or further ahead than CALL_SLACK_S_MAX. */
bool call_deadline_parse(str text, int64_t now_s, int64_t *ret_s, err *e);
