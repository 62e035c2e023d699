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

void call_log_request(str id, const inner *deferred, str component, str client, str method,
                      str path, unsigned status, ns wall, ns cpu, size_t memory, const char *start)
{
    log_line(LOG_INFO, "request");
    log_str("id", id);
    if (deferred)
        log_str("call", str_from(inner_id(deferred)));
    log_str("component", component);
    log_str("method", method);
    log_str("path", path);
    log_u64("status", status);
    log_us("us", wall);
    log_us("cpu_us", cpu);
    log_u64("memory", memory);
    log_str("start", str_from(start));
    log_str("client", client);
    log_end();
}

static str path_of(str target) { return str_head(target, str_find(target, '?')); }

void call_log_without(http_exchange *x, calls *cs, str component, unsigned status)
{
    char id[CALL_ID_BYTES];
    const http_request *r = exchange_request(x);
    call_id_next(cs, id);
    call_log_request((str){id, CALL_ID_BYTES}, inner_of(x), component, r->peer, r->method,
                     path_of(r->target), status, clock_mono() - r->begun_mono, 0, 0, "-");
}

void call_refuse_until(http_exchange *x, const char id[CALL_ID_BYTES], unsigned status,
                       unsigned after_s, const char *reason)
{
    char after[16];
    snprintf(after, sizeof after, "%u", after_s);
    const http_request *r = exchange_request(x);
    str id_text = {id, CALL_ID_BYTES};
    http_field fields[] = {{S("ebb-request-id"), id_text}, {S("retry-after"), str_from(after)}};
    if (reason) {
        log_line(LOG_ERROR, "refused");
        log_str("id", id_text);
        log_str("reason", str_from(reason));
        log_end();
    }
    call_log_request(id_text, inner_of(x), S("-"), r->peer, r->method, path_of(r->target), status,
                     clock_mono() - r->begun_mono, 0, 0, "-");
    exchange_abort(x, status, fields, status == 503 || status == 429 ? 2 : 1);
}

void call_refuse(http_exchange *x, const char id[CALL_ID_BYTES], unsigned status,
                 const char *reason)
{
    call_refuse_until(x, id, status, WORKER_RETRY_AFTER_S, reason);
}
