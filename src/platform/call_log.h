/* The log line of a request, whoever answered it. */
#pragma once

#include "platform/inner.h"

/* deferred: the request behind it, if no client sent it; start: how its sandbox was begun. */
void call_log_request(str id, const inner *deferred, str component, str client, str method,
                      str path, unsigned status, ns wall, ns cpu, size_t memory, const char *start);
