/* A relay in C: asks what the query names, with the method, body and x-* headers of its own
 * request, and answers with what comes back, both bodies streamed and interleaved.
 *
 *     /...?http://back.spin.internal/echo     by service chaining
 *     /...?http://self.alt/b/echo             the app itself
 *     /...?/b/echo                            the app itself, by a relative URI
 *     /short?...                              no body goes; the answer is read and passed on, one
 *                                             blocking call after the other, as most handlers do
 *     /plain?...                              likewise, and no header goes
 *
 * Answers 502 and the name of the error where the request failed.
 */
#include <stdlib.h>
#include <string.h>

#include "chain.h"

#define HTTP(name) wasi_http_0_2_0_types_##name
#define IO(name)   wasi_io_0_2_0_streams_##name
#define OUT(name)  wasi_http_0_2_0_outgoing_handler_##name

#define POLL(name) wasi_io_0_2_0_poll_##name

typedef struct {
    IO(own_input_stream_t) in;
    IO(own_output_stream_t) out;
    bool open;
    chain_list_u8_t part; /* read, and not yet written from `done` on */
    size_t done;
} pipe;

/* Moves what can be moved without waiting; p->open becomes false at the end. */
static void move(pipe *p)
{
    IO(stream_error_t) e;
    uint64_t room;
    if (!p->part.len) {
        p->open = IO(method_input_stream_read)(IO(borrow_input_stream)(p->in), 16384, &p->part, &e);
        p->done = 0;
        if (!p->open)
            p->part.len = 0;
    }
    if (!p->part.len)
        return;
    IO(borrow_output_stream_t) out = IO(borrow_output_stream)(p->out);
    p->open = IO(method_output_stream_check_write)(out, &room, &e);
    size_t left = p->part.len - p->done;
    chain_list_u8_t some = {p->part.ptr + p->done, left < room ? left : (size_t)room};
    if (!p->open || !some.len)
        return;
    p->open =
        IO(method_output_stream_write)(out, &some, &e) && IO(method_output_stream_flush)(out, &e);
    p->done += some.len;
    if (p->done == p->part.len) {
        free(p->part.ptr);
        p->part.len = 0;
    }
}

/* What it waits for. */
static POLL(own_pollable_t) subscribe(const pipe *p)
{
    return p->part.len ? IO(method_output_stream_subscribe)(IO(borrow_output_stream)(p->out))
                       : IO(method_input_stream_subscribe)(IO(borrow_input_stream)(p->in));
}

static const char *const errors[] = {[2] = "destination-not-found",
                                     [15] = "HTTP-request-denied",
                                     [19] = "HTTP-request-URI-invalid",
                                     [25] = "HTTP-response-incomplete",
                                     [33] = "HTTP-response-timeout",
                                     [36] = "loop-detected",
                                     [38] = "internal-error"};

static IO(own_output_stream_t) respond(HTTP(own_response_outparam_t) to, int status,
                                       HTTP(own_fields_t) fields, HTTP(own_outgoing_body_t) * body)
{
    HTTP(own_outgoing_response_t) r = HTTP(constructor_outgoing_response)(fields);
    HTTP(result_own_outgoing_response_error_code_t) result = {.is_err = false, .val.ok = r};
    IO(own_output_stream_t) stream;
    HTTP(method_outgoing_response_set_status_code)(HTTP(borrow_outgoing_response)(r),
                                                   (uint16_t)status);
    HTTP(method_outgoing_response_body)(HTTP(borrow_outgoing_response)(r), body);
    HTTP(static_response_outparam_set)(to, &result);
    HTTP(method_outgoing_body_write)(HTTP(borrow_outgoing_body)(*body), &stream);
    return stream;
}

static void failed(HTTP(own_response_outparam_t) to, uint32_t code)
{
    HTTP(own_outgoing_body_t) body;
    HTTP(error_code_t) e;
    const char *text = code < 39 && errors[code] ? errors[code] : "another error";
    IO(own_output_stream_t) s = respond(to, 502, HTTP(constructor_fields)(), &body);
    chain_list_u8_t part = {(uint8_t *)text, strlen(text)};
    IO(stream_error_t) se;
    IO(method_output_stream_blocking_write_and_flush)(IO(borrow_output_stream)(s), &part, &se);
    IO(output_stream_drop_own)(s);
    HTTP(static_outgoing_body_finish)(body, NULL, &e);
}

/* The x-* headers. */
static HTTP(own_fields_t) headers_of(HTTP(borrow_incoming_request_t) in)
{
    HTTP(own_headers_t) all = HTTP(method_incoming_request_headers)(in);
    HTTP(own_fields_t) kept = HTTP(constructor_fields)();
    wasi_http_0_2_0_types_list_tuple2_field_key_field_value_t list;
    HTTP(header_error_t) e;
    HTTP(method_fields_entries)(HTTP(borrow_fields)(all), &list);
    for (size_t i = 0; i < list.len; i++)
        if (!strncmp((char *)list.ptr[i].f0.ptr, "x-", 2))
            HTTP(method_fields_append)(HTTP(borrow_fields)(kept), &list.ptr[i].f0, &list.ptr[i].f1,
                                       &e);
    return kept;
}

/* "scheme://authority/path" or "/path". */
static HTTP(own_outgoing_request_t)
    request_make(HTTP(borrow_incoming_request_t) in, HTTP(own_fields_t) headers, char *url)
{
    HTTP(own_outgoing_request_t) q = HTTP(constructor_outgoing_request)(headers);
    HTTP(borrow_outgoing_request_t) b = HTTP(borrow_outgoing_request)(q);
    HTTP(method_t) method;
    HTTP(method_incoming_request_method)(in, &method);
    HTTP(method_outgoing_request_set_method)(b, &method);
    char *path = url, *at = strstr(url, "://");
    if (at) {
        HTTP(scheme_t) scheme = {.tag = strncmp(url, "https", 5) ? 0 : 1};
        path = strchr(at + 3, '/');
        chain_string_t authority = {(uint8_t *)at + 3,
                                    path ? (size_t)(path - at - 3) : strlen(at + 3)};
        HTTP(method_outgoing_request_set_scheme)(b, &scheme);
        HTTP(method_outgoing_request_set_authority)(b, &authority);
    }
    if (path) {
        chain_string_t text = {(uint8_t *)path, strlen(path)};
        HTTP(method_outgoing_request_set_path_with_query)(b, &text);
    }
    return q;
}

/* Sends it and waits. False: it has failed, which is answered. */
static bool response_of(HTTP(own_outgoing_request_t) q, HTTP(own_response_outparam_t) to,
                        HTTP(own_incoming_response_t) * ret)
{
    OUT(own_future_incoming_response_t) future;
    HTTP(option_result_result_own_incoming_response_error_code_void_t) o;
    HTTP(error_code_t) error;
    if (!OUT(handle)(q, NULL, &future, &error)) {
        failed(to, error.tag);
        return false;
    }
    HTTP(borrow_future_incoming_response_t)
    f = HTTP(borrow_future_incoming_response)(
        (HTTP(own_future_incoming_response_t)){future.__handle});
    POLL(own_pollable_t) wait = HTTP(method_future_incoming_response_subscribe)(f);
    POLL(method_pollable_block)(POLL(borrow_pollable)(wait));
    POLL(pollable_drop_own)(wait);
    HTTP(method_future_incoming_response_get)(f, &o.val);
    if (o.val.val.ok.is_err)
        failed(to, o.val.val.ok.val.err.tag);
    else
        *ret = o.val.val.ok.val.ok;
    return !o.val.val.ok.is_err;
}

/* again: once more, with the headers of the first response. */
static void relay_short(HTTP(borrow_incoming_request_t) in, HTTP(own_response_outparam_t) to,
                        HTTP(own_fields_t) headers, char *url, bool again)
{
    HTTP(own_incoming_response_t) first;
    HTTP(own_incoming_body_t) got;
    HTTP(own_outgoing_body_t) body;
    HTTP(error_code_t) error;
    IO(own_input_stream_t) from;
    IO(stream_error_t) se;
    chain_list_u8_t part;
    if (!response_of(request_make(in, headers, url), to, &first))
        return;
    HTTP(borrow_incoming_response_t) response = HTTP(borrow_incoming_response)(first);
    if (again) {
        HTTP(own_headers_t) theirs = HTTP(method_incoming_response_headers)(response);
        if (!response_of(request_make(in, theirs, url), to, &first))
            return;
        response = HTTP(borrow_incoming_response)(first);
    }
    HTTP(method_incoming_response_consume)(response, &got);
    HTTP(method_incoming_body_stream)(HTTP(borrow_incoming_body)(got), &from);
    IO(own_output_stream_t)
    s = respond(to, HTTP(method_incoming_response_status)(response), HTTP(constructor_fields)(),
                &body);
    while (IO(method_input_stream_blocking_read)(IO(borrow_input_stream)(from), 4096, &part, &se)) {
        IO(method_output_stream_blocking_write_and_flush)(IO(borrow_output_stream)(s), &part, &se);
        free(part.ptr);
    }
    IO(output_stream_drop_own)(s);
    HTTP(static_outgoing_body_finish)(body, NULL, &error);
}

void exports_wasi_http_0_2_0_incoming_handler_handle(HTTP(own_incoming_request_t) own,
                                                     HTTP(own_response_outparam_t) to)
{
    HTTP(borrow_incoming_request_t) in = HTTP(borrow_incoming_request)(own);
    chain_string_t raw = {0};
    HTTP(own_incoming_body_t) got, answer;
    HTTP(own_outgoing_body_t) body, relayed;
    HTTP(error_code_t) error;
    OUT(own_future_incoming_response_t) future;
    HTTP(result_result_own_incoming_response_error_code_void_t) r;
    pipe up = {.open = true}, down = {0};
    HTTP(method_incoming_request_path_with_query)(in, &raw);
    char *path = strndup((char *)raw.ptr, raw.len), *url = strchr(path, '?') + 1;
    if (!strncmp(path, "/plain?", 7)) {
        relay_short(in, to, HTTP(constructor_fields)(), url, false);
        return;
    }
    if (!strncmp(path, "/short?", 7) || !strncmp(path, "/again?", 7)) {
        relay_short(in, to, headers_of(in), url, path[1] == 'a');
        return;
    }
    HTTP(own_outgoing_request_t) q = request_make(in, headers_of(in), url);
    HTTP(method_outgoing_request_body)(HTTP(borrow_outgoing_request)(q), &body);
    HTTP(method_outgoing_body_write)(HTTP(borrow_outgoing_body)(body), &up.out);
    HTTP(method_incoming_request_consume)(in, &got);
    HTTP(method_incoming_body_stream)(HTTP(borrow_incoming_body)(got), &up.in);
    if (!OUT(handle)(q, NULL, &future, &error)) {
        failed(to, error.tag);
        return;
    }
    HTTP(borrow_future_incoming_response_t)
    f = HTTP(borrow_future_incoming_response)(
        (HTTP(own_future_incoming_response_t)){future.__handle});
    while (up.open || down.open || !down.in.__handle) {
        POLL(own_pollable_t) own[2];
        POLL(borrow_pollable_t) borrowed[2];
        size_t n = 0;
        if (up.open)
            own[n++] = subscribe(&up);
        if (!down.in.__handle)
            own[n++] = HTTP(method_future_incoming_response_subscribe)(f);
        else if (down.open)
            own[n++] = subscribe(&down);
        for (size_t i = 0; i < n; i++)
            borrowed[i] = POLL(borrow_pollable)(own[i]);
        POLL(list_borrow_pollable_t) list = {borrowed, n};
        chain_list_u32_t ready;
        POLL(poll)(&list, &ready);
        free(ready.ptr);
        for (size_t i = 0; i < n; i++)
            POLL(pollable_drop_own)(own[i]);
        if (up.open) {
            move(&up);
            if (!up.open) {
                IO(output_stream_drop_own)(up.out);
                HTTP(static_outgoing_body_finish)(body, NULL, &error);
            }
        }
        if (down.open) {
            move(&down);
            if (!down.open) {
                IO(output_stream_drop_own)(down.out);
                HTTP(static_outgoing_body_finish)(relayed, NULL, &error);
            }
        }
        HTTP(option_result_result_own_incoming_response_error_code_void_t) o;
        if (down.in.__handle || !HTTP(method_future_incoming_response_get)(f, &o.val))
            continue;
        r = o.val;
        if (r.val.ok.is_err) {
            failed(to, r.val.ok.val.err.tag);
            return;
        }
        HTTP(borrow_incoming_response_t)
        response = HTTP(borrow_incoming_response)(r.val.ok.val.ok);
        HTTP(own_headers_t) headers = HTTP(method_incoming_response_headers)(response);
        HTTP(method_incoming_response_consume)(response, &answer);
        HTTP(method_incoming_body_stream)(HTTP(borrow_incoming_body)(answer), &down.in);
        down.out = respond(to, HTTP(method_incoming_response_status)(response),
                           HTTP(method_fields_clone)(HTTP(borrow_fields)(headers)), &relayed);
        down.open = true;
    }
}
