/* Traces of a worker: which trace a call is a part of, and its span, which goes to the exporter
 * (`ebb @traces`, traces_role.c) when the call has ended, if it is sampled.
 *
 * - A call of a request that brings a traceparent is a part of that trace, sampled or not as that
 *   says; of the others each begins a trace, and one in so many is sampled.
 * - A span is one message on a socket of the keeper's. Nothing waits for it: what the socket does
 *   not take is dropped and counted, and the next message says how many were.
 * - Where tracing is off there is no `traces`. */
#pragma once

#include "http/traceparent.h"
#include "platform/call_log.h"

enum { SPAN_BYTES_MAX = 4096 };

typedef struct traces traces;

typedef struct {
    traceparent own; /* its span is that of the call */
    uint8_t parent[8];
    bool has_parent;
    char text[TRACEPARENT_BYTES + 1]; /* for the component, and for what it asks */
} trace;

/* What a span tells. */
typedef struct {
    const call_facts *call;
    str app;
    uint64_t app_id, tenant_id; /* numbers of the catalogue */
} span_facts;

/* A message to the exporter: this, then a span of OTLP in JSON. */
typedef struct {
    uint32_t dropped; /* before it, since the last one */
} span_head;

/* one_in: of so many traces that begin here one is sampled; at least 1. */
bool traces_new(uint32_t one_in, traces **ret, err *e);
/* NULL is allowed. */
void traces_free(traces *t);
/* A socket (SOCK_SEQPACKET) to the exporter; takes fd. Replaces the one there was. */
void traces_connect_take(traces *t, int fd);

void traces_begin(traces *t, const http_request *r, trace *ret);
/* Is this field of the request not for the component, because the trace has its own? */
bool traces_replaces(const trace *x, str name);
/* The call has ended now. */
void traces_end(traces *t, const trace *x, const span_facts *f);
