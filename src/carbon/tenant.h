/* What a tenant is told of its apps: visible.h's figures over a span, made anew from the usage
 * records as every report is.
 *
 * Invariants
 * - Windows of figures begin at midnight (UTC) or where the one before ended, and end at the first
 *   full minute at which enough time and calls have come together. So they are the same whenever
 *   one asks, and whatever span one asks for: no difference of two answers is finer than a window.
 * - Nothing of a window depends on another app's records, nor on energy measured that day.
 * - What a day's last window withheld, and the shares of idle energy and embodied carbon, which do
 *   depend on the neighbours, are in the day's line; that is there when the day is over. */
#pragma once

#include "carbon/bill.h"

enum { TENANT_DAYS_MAX = 62 };

/* JSON of [from_s, to_s). b: the records of all apps from the midnight before from_s to to_s;
 * shown: by index of an app in b, what the tenant calls it, p NULL if it is not his; node: what
 * bill_make wants set (its span is not looked at). ERR_LIMIT: more than TENANT_DAYS_MAX days;
 * ERR_INVALID: the span is empty. */
bool tenant_json(arena *a, const bill_records *b, const str *shown, const carbon_report *node,
                 int64_t from_s, int64_t to_s, buf *out, err *e);
