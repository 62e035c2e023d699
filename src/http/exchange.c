/* Exchanges, the half that does not depend on the protocol version: what a handler gives is checked
 * here before a byte of it is sent, so that no field can smuggle another (RFC 9112 11.1) and no
 * body can be longer than announced.
 *
 * A handler's fields that belong to the connection (transfer-encoding, connection, ...) are
 * dropped: framing is the server's. `content-length` is taken out and given as a number; the
 * protocol writes it back.
 */
#include "http/exchange_impl.h"

#include "base/must.h"
#include "http/field.h"

#include <stdio.h>
#include <time.h>

enum { FIELDS_MAX = 1024 };

const http_request *exchange_request(const http_exchange *x) { return &x->request; }

void exchange_bind(http_exchange *x, const exchange_callbacks *callbacks, void *user)
{
    x->callbacks = callbacks ? *callbacks : (exchange_callbacks){0};
    x->user = user;
}

size_t exchange_read(http_exchange *x, void *p, size_t n, body_state *ret_state)
{
    return x->ops->read(x, p, n, ret_state);
}

size_t exchange_readable(const http_exchange *x, body_state *ret_state)
{
    return x->ops->readable(x, ret_state);
}

const http_field *exchange_trailers(const http_exchange *x, size_t *ret_count)
{
    *ret_count = x->trailers_count;
    return x->trailers;
}

void exchange_varies(http_exchange *x) { x->varies = true; }

/* Copies what may be sent to ret, and the content-length to *length. */
static bool fields_take(const http_field *fields, size_t count, bool varies, http_field *ret,
                        size_t *ret_count, int64_t *length, err *e)
{
    size_t n = 0;
    uint64_t v = 0;
    bool has_length = false, has_date = false;
    if (count > FIELDS_MAX - 1)
        return err_set(e, ERR_LIMIT, "%zu response fields; the limit is %d", count, FIELDS_MAX - 1);
    for (size_t i = 0; i < count; i++) {
        const http_field *f = &fields[i];
        if (f->name.n == 14 && str_eq_nocase(f->name, S("content-length"))) {
            uint64_t was = v;
            if (!str_to_u64(f->value, INT64_MAX, &v) || (has_length && v != was))
                return err_set(e, ERR_INVALID,
                               "the response's content-length '%.*s' is no number "
                               "or differs from another one",
                               STR(f->value));
            has_length = true;
            *length = (int64_t)v;
        } else if (!field_is_hop(f->name)) {
            has_date |= f->name.n == 4 && str_eq_nocase(f->name, S("date"));
            ret[n++] = *f;
        }
    }
    if (!has_date)
        ret[n++] = (http_field){S("date"), date_text((int64_t)(clock_wall() / NS_PER_S))};
    if (varies)
        ret[n++] = (http_field){S("vary"), S("prefer")};
    *ret_count = n;
    return true;
}

bool exchange_start(http_exchange *x, unsigned status, const http_field *fields, size_t count,
                    int64_t content_length, err *e)
{
    static http_field kept[FIELDS_MAX + 1]; /* one thread; used up by ops->start */
    size_t kept_count = 0;
    if (x->gone)
        return err_set(e, ERR_CLOSED, "the client is gone");
    if (x->started)
        return err_set(e, ERR_CONFLICT, "the response was started before");
    if (status < 200 || status > 999)
        return err_set(e, ERR_INVALID, "%u is no status of a final response", status);
    if (!fields_check(fields, count, e) ||
        !fields_take(fields, count, x->varies, kept, &kept_count, &content_length, e))
        return false;
    x->status = status;
    x->length = content_length;
    x->bodiless = status == 204 || status == 304 || str_eq(x->request.method, S("HEAD"));
    if (!x->ops->start(x, kept, kept_count, e))
        return false;
    x->started = true;
    return true;
}

bool exchange_started(const http_exchange *x) { return x->started; }

size_t exchange_room(const http_exchange *x)
{
    return x->gone || !x->started ? 0 : x->ops->room(x);
}

size_t exchange_write(http_exchange *x, const void *p, size_t n, bool *ret_overrun)
{
    *ret_overrun = false;
    size_t room = exchange_room(x);
    if (n == 0 || room == 0)
        return 0;
    if (x->length >= 0) {
        uint64_t left = (uint64_t)x->length - x->bytes_out;
        if (n > left && left == 0) {
            *ret_overrun = true;
            return 0;
        }
        n = n < left ? n : (size_t)left;
    }
    n = n < room ? n : room;
    if (!x->bodiless)
        x->ops->write(x, p, n);
    x->bytes_out += n;
    return n;
}

bool exchange_write_on(http_exchange *x, const void *p, size_t n, size_t *written)
{
    bool overrun;
    while (*written < n) {
        size_t taken = exchange_write(x, (const uint8_t *)p + *written, n - *written, &overrun);
        if (!taken)
            return false;
        *written += taken;
    }
    return true;
}

void exchange_end(http_exchange *x, const http_field *trailers, size_t count)
{
    if (x->gone)
        x->ops->free(x);
    else if (!x->started)
        x->ops->abort(x, 500, NULL, 0);
    else
        x->ops->end(x, trailers, fields_check(trailers, count, NULL) ? count : 0);
}

void exchange_abort(http_exchange *x, unsigned status, const http_field *fields, size_t count)
{
    err e;
    if (x->gone) {
        x->ops->free(x);
        return;
    }
    if (!x->started && exchange_start(x, status, fields, count, 0, &e)) {
        x->ops->end(x, NULL, 0);
        return;
    }
    x->ops->abort(x, status, fields, count);
}

void exchange_free(http_exchange *x)
{
    must(x->gone);
    x->ops->free(x);
}

uint64_t exchange_bytes_out(const http_exchange *x) { return x->bytes_out; }

uint64_t exchange_bytes_in(const http_exchange *x) { return x->bytes_in; }

str status_reason(unsigned status)
{
    static const struct {
        unsigned status;
        str reason;
    } list[] = {
        {200, {"OK", 2}},
        {201, {"Created", 7}},
        {202, {"Accepted", 8}},
        {203, {"Non-Authoritative Information", 29}},
        {204, {"No Content", 10}},
        {205, {"Reset Content", 13}},
        {206, {"Partial Content", 15}},
        {300, {"Multiple Choices", 16}},
        {301, {"Moved Permanently", 17}},
        {302, {"Found", 5}},
        {303, {"See Other", 9}},
        {304, {"Not Modified", 12}},
        {307, {"Temporary Redirect", 18}},
        {308, {"Permanent Redirect", 18}},
        {400, {"Bad Request", 11}},
        {401, {"Unauthorized", 12}},
        {402, {"Payment Required", 16}},
        {403, {"Forbidden", 9}},
        {404, {"Not Found", 9}},
        {405, {"Method Not Allowed", 18}},
        {406, {"Not Acceptable", 14}},
        {407, {"Proxy Authentication Required", 29}},
        {408, {"Request Timeout", 15}},
        {409, {"Conflict", 8}},
        {410, {"Gone", 4}},
        {411, {"Length Required", 15}},
        {412, {"Precondition Failed", 19}},
        {413, {"Content Too Large", 17}},
        {414, {"URI Too Long", 12}},
        {415, {"Unsupported Media Type", 22}},
        {416, {"Range Not Satisfiable", 21}},
        {417, {"Expectation Failed", 18}},
        {418, {"I'm a teapot", 12}},
        {421, {"Misdirected Request", 19}},
        {422, {"Unprocessable Content", 21}},
        {425, {"Too Early", 9}},
        {426, {"Upgrade Required", 16}},
        {428, {"Precondition Required", 21}},
        {429, {"Too Many Requests", 17}},
        {431, {"Request Header Fields Too Large", 31}},
        {500, {"Internal Server Error", 21}},
        {501, {"Not Implemented", 15}},
        {502, {"Bad Gateway", 11}},
        {503, {"Service Unavailable", 19}},
        {504, {"Gateway Timeout", 15}},
        {505, {"HTTP Version Not Supported", 26}},
        {507, {"Insufficient Storage", 20}},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (list[i].status == status)
            return list[i].reason;
    return S("");
}

str date_text(int64_t second)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    static int64_t made_for = -1;
    static char text[40];
    static int n;
    if (second != made_for) {
        struct tm t;
        time_t at = (time_t)second;
        gmtime_r(&at, &t);
        n = snprintf(text, sizeof text, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
                     days + t.tm_wday * 3, t.tm_mday, months + t.tm_mon * 3, t.tm_year + 1900,
                     t.tm_hour, t.tm_min, t.tm_sec);
        made_for = second;
    }
    return (str){text, (size_t)n};
}
