/* A deferred call as JSON, the same for its status resource (a worker) and the admin API (the
 * keeper). */
#pragma once

#include "platform/calls_message.h"
#include "platform/deferred.h"
#include "store/queue.h"

/* plan: slots 0 or NULL: none is known. price: NULL, or what the call cost by the grid that really
 * came. full: with result and log. Failures: out->failed. */
void defer_show(buf *out, const queue_call *c, const pace_view *plan, const calls_price *price,
                bool full, int64_t now_s);
