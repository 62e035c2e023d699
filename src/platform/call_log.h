/* The log line of a request, whoever answered it. */
#pragma once

#include "platform/inner.h"

typedef struct {
    str id, component, client, method, path;
    const inner *deferred; /* the request behind it, if no client sent it */
    unsigned status;
    ns wall, cpu;
    size_t memory_bytes;
    const char *start; /* how its sandbox was begun */
} call_facts;

void call_log_request(const call_facts *f);
