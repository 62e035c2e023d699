/* When a schedule fires next: five fields in local time, "minute hour day month weekday", or
 * @hourly, @daily, @weekly, @monthly, @yearly. Pure.
 *
 * - A field is *, a number, a range a-b, each with an optional step /n, or a list of those with
 *   commas. Months and weekdays also by their first three letters; 0 and 7 are Sunday.
 * - If both day and weekday are restricted, either is enough (as in cron everywhere).
 * - Daylight saving: a time that clocks skip fires when they skip it, a time that they show twice
 *   fires at the first. A schedule of every hour (hour field `*`) follows real time instead: it
 *   skips what is skipped and fires in both hours.
 *
 * Invariants: cron_next(t) > t; every firing time is found from any moment before it (so whoever
 * remembers the last one neither fires twice nor loses any, whatever the clock does). */
#pragma once

#include "app/zone.h"

typedef struct {
    uint64_t minutes;
    uint32_t hours, days, months; /* bit 0: hour 0; day 0 (never); month 0 (never) */
    uint8_t weekdays;             /* bit 0: Sunday */
    bool any_day, any_weekday;    /* `*` was written */
    bool every_hour;
} cron;

/* ERR_INVALID says which field, and what it can be. */
bool cron_parse(str text, cron *ret, err *e);
/* The first firing time after `after_s`; INT64_MAX: never (30 February). */
int64_t cron_next(const cron *c, const zone *z, int64_t after_s);
