/* A time zone: which offset from UTC holds when. Read from TZif (RFC 9636), as the system's tzdata
 * has it; times after its last transition follow the POSIX rule in its footer. Pure: the bytes are
 * the caller's.
 *
 * Invariants: offsets are whole seconds within ZONE_OFFSET_MAX of UTC; segments of equal offset
 * cover all time without gap, so walking them from any moment meets every change. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

#define ZONE_DIR        "/usr/share/zoneinfo"
#define ZONE_OFFSET_MAX (26 * 3600)
#define ZONE_BYTES_MAX  (256 * 1024) /* the largest of tzdata has 4 kB */

/* When daylight saving begins or ends, by the local time before it. */
typedef struct {
    char kind;                /* 'M' month.week.day, 'J' day 1-365 without 29 February, 'N' 0-365 */
    int32_t month, week, day; /* day of the week with M (0 is Sunday) */
    int32_t time_s;           /* seconds after midnight, -167 to 167 hours */
} zone_change;

typedef struct {
    bool known, has_dst;
    int32_t std_s, dst_s; /* east of UTC */
    zone_change begins, ends;
} zone_rule;

typedef struct {
    const int64_t *at_s; /* ascending: from then on offset_s[i] holds */
    const int32_t *offset_s;
    size_t n;
    int32_t first_s; /* before the first */
    zone_rule rule;  /* after the last */
} zone;

/* Offset 0 for all time. */
zone zone_utc(void);
/* "Europe/Berlin", "UTC": what may name a file below ZONE_DIR and nothing else. */
bool zone_name_is(str name);
/* A TZif file, version 1 to 4; arrays are in the arena. ERR_INVALID. */
bool zone_parse(arena *a, bytes tzif, zone *ret, err *e);

/* The offset in force at `at_s`, and until when (INT64_MAX: for ever). */
int32_t zone_offset(const zone *z, int64_t at_s, int64_t *ret_until_s);
/* When clocks first show local_s (seconds since 1970 as if it were UTC). A time that they skip is
 * when they skip it. */
int64_t zone_from_local(const zone *z, int64_t local_s);
