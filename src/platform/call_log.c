/* See call_log.h, and call.h for the answers and lines of requests that need no component. They are
 * apart from calls because they have none: who refuses has an exchange only. */
#include "platform/call_log.h"

#include "base/limits.h"
#include "base/log.h"
#include "platform/call.h"

#include <stdio.h>

void call_id_next(calls *cs, char ret_id[CALL_ID_BYTES])
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    /* A bijection of the counter (multiplication by an odd number), so ids never repeat within a
     * worker's life, and the random prefix keeps workers apart. */
    uint64_t v = cs->id_next++ * UINT64_C(0x9e3779b97f4a7c15), p = cs->id_prefix;
    for (int i = 0; i < 13; i++, v >>= 5)
        ret_id[CALL_ID_BYTES - 1 - i] = digits[v & 31];
    for (int i = 0; i < 3; i++, p >>= 5)
        ret_id[i] = digits[p & 31];
}

void call_log_request(const call_facts *f)
{
    log_line(LOG_INFO, "request");
    log_str("id", f->id);
    if (f->deferred)
        log_str("call", str_from(inner_id(f->deferred)));
    log_str("component", f->component);
    log_str("method", f->method);
    log_str("path", f->path);
    log_u64("status", f->status);
    log_us("us", f->wall);
    log_us("cpu_us", f->cpu);
    log_u64("memory", f->memory_bytes);
    log_str("start", str_from(f->start));
    log_str("client", f->client);
    log_end();
}

/* No sandbox was begun for it. */
static void log_without(const http_exchange *x, str id, str component, unsigned status)
{
    const http_request *r = exchange_request(x);
    call_log_request(&(call_facts){.id = id,
                                   .component = component,
                                   .client = r->peer,
                                   .method = r->method,
                                   .path = target_path(r->target),
                                   .deferred = inner_of(x),
                                   .status = status,
                                   .wall = clock_mono() - r->begun_mono,
                                   .start = "-"});
}

void call_log_without(http_exchange *x, calls *cs, str component, unsigned status)
{
    char id[CALL_ID_BYTES];
    call_id_next(cs, id);
    log_without(x, (str){id, CALL_ID_BYTES}, component, status);
}

void call_refuse_until(http_exchange *x, const char id[CALL_ID_BYTES], unsigned status,
                       unsigned after_s, const char *reason)
{
    char after[16];
    snprintf(after, sizeof after, "%u", after_s);
    str id_text = {id, CALL_ID_BYTES};
    http_field fields[] = {{S("ebb-request-id"), id_text}, {S("retry-after"), str_from(after)}};
    if (reason) {
        log_line(LOG_ERROR, "refused");
        log_str("id", id_text);
        log_str("reason", str_from(reason));
        log_end();
    }
    log_without(x, id_text, S("-"), status);
    exchange_abort(x, status, fields, status == 503 || status == 429 ? 2 : 1);
}

void call_refuse(http_exchange *x, const char id[CALL_ID_BYTES], unsigned status,
                 const char *reason)
{
    call_refuse_until(x, id, status, WORKER_RETRY_AFTER_S, reason);
}
