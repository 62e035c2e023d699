/* See traces.h. Spans are those of OTLP (opentelemetry-proto 1.x, trace/v1) in its JSON encoding:
 * ids in hexadecimal, 64-bit numbers as strings; names of attributes are those of the semantic
 * conventions for HTTP servers, and `ebb.` ones. The exporter joins them and puts the rest around
 * them. */
#include "platform/traces.h"

#include "base/buf.h"
#include "base/hex.h"
#include "carbon/report.h"
#include "sched/rng.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATH_SHOWN_MAX = 512, NAME_SHOWN_MAX = 128, KIND_SERVER = 2, STATUS_ERROR = 2 };

struct traces {
    int socket; /* -1: nobody takes spans */
    uint32_t one_in, dropped;
    rng random; /* ids need not be secret */
    buf message;
};

bool traces_new(uint32_t one_in, traces **ret, err *e)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        return err_set_errno(e, "getrandom");
    traces *t = calloc(1, sizeof *t);
    if (!t)
        return err_no_memory(e);
    rng_init(&t->random, seed);
    t->socket = -1;
    t->one_in = one_in;
    buf_init(&t->message, SPAN_BYTES_MAX);
    *ret = t;
    return true;
}

void traces_free(traces *t)
{
    if (!t)
        return;
    if (t->socket >= 0)
        close(t->socket);
    buf_fini(&t->message);
    free(t);
}

void traces_connect_take(traces *t, int fd)
{
    if (t->socket >= 0)
        close(t->socket);
    t->socket = fd;
}

static void id_make(traces *t, uint8_t *ret, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t v = rng_next(&t->random) | 1; /* not all zeros */
        memcpy(ret + i, &v, 8);
    }
}

void traces_begin(traces *t, const http_request *r, trace *ret)
{
    trace x = {0};
    x.has_parent = traceparent_find(r->fields, r->fields_count, &x.own);
    if (x.has_parent) {
        memcpy(x.parent, x.own.span, sizeof x.parent);
    } else {
        id_make(t, x.own.trace, sizeof x.own.trace);
        x.own.flags = rng_next(&t->random) % t->one_in ? 0 : TRACE_SAMPLED;
    }
    id_make(t, x.own.span, sizeof x.own.span);
    traceparent_write(&x.own, x.text);
    *ret = x;
}

/* The states of a trace that was not read are not known to be of this one (section 4.3). */
bool traces_replaces(const trace *x, str name)
{
    return str_eq(name, S("traceparent")) || (!x->has_parent && str_eq(name, S("tracestate")));
}

/* Cut where a character of UTF-8 begins. */
static str shown(str s, size_t most)
{
    if (s.n <= most)
        return s;
    while (most && ((uint8_t)s.p[most] & 0xc0) == 0x80)
        most--;
    return str_head(s, most);
}

static void put_text(buf *b, const char *key, str value, size_t most)
{
    buf_printf(b, "{\"key\":\"%s\",\"value\":{\"stringValue\":\"", key);
    put_json_text(b, shown(value, most));
    buf_put_str(b, S("\"}},"));
}

static void put_number(buf *b, const char *key, uint64_t value, const char *after)
{
    buf_printf(b, "{\"key\":\"%s\",\"value\":{\"intValue\":\"%llu\"}}%s", key,
               (unsigned long long)value, after);
}

static void span_put(buf *b, const trace *x, const span_facts *s)
{
    const call_facts *f = s->call;
    ns end = clock_wall();
    buf_printf(b, "{\"traceId\":\"%.32s\",\"spanId\":\"%.16s", x->text + TRACEPARENT_TRACE,
               x->text + TRACEPARENT_SPAN);
    if (x->has_parent) {
        char parent[2 * sizeof x->parent + 1];
        hex_write((bytes){x->parent, sizeof x->parent}, parent);
        buf_printf(b, "\",\"parentSpanId\":\"%s", parent);
    }
    buf_put_str(b, S("\",\"name\":\""));
    put_json_text(b, shown(f->method, NAME_SHOWN_MAX));
    buf_put_str(b, S(" "));
    put_json_text(b, shown(f->component, NAME_SHOWN_MAX));
    buf_printf(b,
               "\",\"kind\":%d,\"startTimeUnixNano\":\"%llu\",\"endTimeUnixNano\":\"%llu\","
               "\"status\":{\"code\":%d},\"attributes\":[",
               KIND_SERVER, (unsigned long long)(end - f->wall), (unsigned long long)end,
               f->status >= 500 ? STATUS_ERROR : 0);
    put_text(b, "http.request.method", f->method, NAME_SHOWN_MAX);
    put_text(b, "url.path", f->path, PATH_SHOWN_MAX);
    put_text(b, "ebb.app", s->app, NAME_SHOWN_MAX);
    put_text(b, "ebb.component", f->component, NAME_SHOWN_MAX);
    put_text(b, "ebb.request.id", f->id, NAME_SHOWN_MAX);
    put_text(b, "ebb.start", str_from(f->start), NAME_SHOWN_MAX);
    put_number(b, "ebb.app.id", s->app_id, ",");
    put_number(b, "ebb.tenant.id", s->tenant_id, ",");
    put_number(b, "ebb.cpu_ns", f->cpu, ",");
    put_number(b, "ebb.memory_bytes", f->memory_bytes, ",");
    put_number(b, "http.response.status_code", f->status, "]}");
}

void traces_end(traces *t, const trace *x, const span_facts *f)
{
    span_head head = {.dropped = t->dropped};
    if (!(x->own.flags & TRACE_SAMPLED))
        return;
    buf_clear(&t->message);
    buf_put(&t->message, &head, sizeof head);
    span_put(&t->message, x, f);
    bool sent = !t->message.failed && t->socket >= 0 &&
                send(t->socket, t->message.p, t->message.n, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
    t->dropped = sent ? 0 : t->dropped + 1;
    if (sent || t->socket < 0 || t->message.failed || errno == EAGAIN || errno == ENOBUFS)
        return;
    close(t->socket); /* the exporter has gone; the next keeper brings another */
    t->socket = -1;
}
