/* Points in time as carbon data writes them: RFC 3339 and its looser relatives, to and from whole
 * seconds since 1970 UTC. Years 1970 to 9999; leap seconds count as the second before. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum { WHEN_HOUR_S = 3600, WHEN_DAY_S = 86400 };

/* Accepts `2018-01-20T12:00Z` (no seconds, as the UK API), fractions, offsets `+01:00`, a space
 * for the T, and a missing zone, which is UTC. The whole of s must match. */
bool when_parse(str s, int64_t *ret_s, err *e);
/* Appends `2018-01-20T12:00:00Z`. */
bool when_put(buf *b, int64_t s);
/* 0 is Monday. */
int when_weekday(int64_t s);
