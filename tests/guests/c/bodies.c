/* The guest of the bench for bodies: POST echoes what it gets, GET /stream answers 1 MiB without
 * saying how much it will be, GET /fetch?HOST:PORT gets "/" from there and passes status and body
 * on. Bytes move in parts of 16 kB as the interface means it: ask how much may be written, write
 * that much, wait if it is nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "bodies.h"

#define HTTP(name) wasi_http_0_2_0_types_##name
#define IO(name)   wasi_io_0_2_0_streams_##name
#define POLL(name) wasi_io_0_2_0_poll_##name

enum { STREAM_BYTES = 1 << 20, PART_BYTES = 1 << 14 };

typedef struct {
    HTTP(own_outgoing_body_t) body;
    HTTP(own_output_stream_t) stream;
} answer;

static answer answer_start(HTTP(own_response_outparam_t) outparam, uint16_t status)
{
    answer a;
    HTTP(own_outgoing_response_t)
    response = HTTP(constructor_outgoing_response)(HTTP(constructor_fields)());
    HTTP(borrow_outgoing_response_t) borrowed = HTTP(borrow_outgoing_response)(response);
    HTTP(result_own_outgoing_response_error_code_t) result = {.is_err = false};
    HTTP(method_outgoing_response_set_status_code)(borrowed, status);
    HTTP(method_outgoing_response_body)(borrowed, &a.body);
    result.val.ok = response;
    HTTP(static_response_outparam_set)(outparam, &result);
    HTTP(method_outgoing_body_write)(HTTP(borrow_outgoing_body)(a.body), &a.stream);
    return a;
}

static void answer_write(answer *a, uint8_t *bytes, size_t n)
{
    IO(borrow_output_stream_t) stream = IO(borrow_output_stream)(a->stream);
    while (n > 0) {
        IO(stream_error_t) error;
        uint64_t room;
        if (!IO(method_output_stream_check_write)(stream, &room, &error))
            abort();
        if (room == 0) {
            POLL(own_pollable_t) ready = IO(method_output_stream_subscribe)(stream);
            POLL(method_pollable_block)(POLL(borrow_pollable)(ready));
            POLL(pollable_drop_own)(ready);
            continue;
        }
        bodies_list_u8_t part = {bytes, room < n ? (size_t)room : n};
        if (!IO(method_output_stream_write)(stream, &part, &error))
            abort();
        bytes += part.len;
        n -= part.len;
    }
}

static void answer_end(answer *a)
{
    HTTP(error_code_t) error;
    IO(stream_error_t) stream_error;
    IO(method_output_stream_blocking_flush)(IO(borrow_output_stream)(a->stream), &stream_error);
    IO(output_stream_drop_own)(a->stream);
    HTTP(static_outgoing_body_finish)(a->body, NULL, &error);
}

/* All of `in` to the answer. */
static void pass(answer *a, HTTP(own_incoming_body_t) in)
{
    HTTP(own_input_stream_t) stream;
    IO(stream_error_t) error;
    bodies_list_u8_t part;
    if (!HTTP(method_incoming_body_stream)(HTTP(borrow_incoming_body)(in), &stream))
        abort();
    while (IO(method_input_stream_blocking_read)(IO(borrow_input_stream)(stream), PART_BYTES, &part,
                                                 &error)) {
        answer_write(a, part.ptr, part.len);
        bodies_list_u8_free(&part);
    }
    IO(input_stream_drop_own)(stream);
    HTTP(incoming_body_drop_own)(in);
}

static void echo(HTTP(own_incoming_request_t) request, HTTP(own_response_outparam_t) outparam)
{
    HTTP(own_incoming_body_t) in;
    if (!HTTP(method_incoming_request_consume)(HTTP(borrow_incoming_request)(request), &in))
        abort();
    answer a = answer_start(outparam, 200);
    pass(&a, in);
    answer_end(&a);
}

static void stream(HTTP(own_response_outparam_t) outparam)
{
    static uint8_t part[PART_BYTES];
    memset(part, 'e', sizeof part);
    answer a = answer_start(outparam, 200);
    for (int done = 0; done < STREAM_BYTES; done += PART_BYTES)
        answer_write(&a, part, PART_BYTES);
    answer_end(&a);
}

static HTTP(own_incoming_response_t) get(const char *authority)
{
    HTTP(own_outgoing_request_t)
    request = HTTP(constructor_outgoing_request)(HTTP(constructor_fields)());
    HTTP(borrow_outgoing_request_t) borrowed = HTTP(borrow_outgoing_request)(request);
    HTTP(scheme_t) scheme = {.tag = WASI_HTTP_0_2_0_TYPES_SCHEME_HTTP};
    bodies_string_t to, path;
    wasi_http_0_2_0_outgoing_handler_own_future_incoming_response_t future;
    wasi_http_0_2_0_outgoing_handler_error_code_t refused;
    HTTP(result_result_own_incoming_response_error_code_void_t) outcome;
    bodies_string_set(&to, authority);
    bodies_string_set(&path, "/");
    HTTP(method_outgoing_request_set_scheme)(borrowed, &scheme);
    HTTP(method_outgoing_request_set_authority)(borrowed, &to);
    HTTP(method_outgoing_request_set_path_with_query)(borrowed, &path);
    if (!wasi_http_0_2_0_outgoing_handler_handle(request, NULL, &future, &refused))
        abort();
    POLL(own_pollable_t)
    ready = HTTP(method_future_incoming_response_subscribe)(
        HTTP(borrow_future_incoming_response)(future));
    POLL(method_pollable_block)(POLL(borrow_pollable)(ready));
    POLL(pollable_drop_own)(ready);
    if (!HTTP(method_future_incoming_response_get)(HTTP(borrow_future_incoming_response)(future),
                                                   &outcome) ||
        outcome.is_err || outcome.val.ok.is_err)
        abort();
    HTTP(future_incoming_response_drop_own)(future);
    return outcome.val.ok.val.ok;
}

static void fetch(const char *authority, HTTP(own_response_outparam_t) outparam)
{
    HTTP(own_incoming_response_t) response = get(authority);
    HTTP(borrow_incoming_response_t) borrowed = HTTP(borrow_incoming_response)(response);
    HTTP(own_incoming_body_t) in;
    if (!HTTP(method_incoming_response_consume)(borrowed, &in))
        abort();
    answer a = answer_start(outparam, HTTP(method_incoming_response_status)(borrowed));
    pass(&a, in);
    HTTP(incoming_response_drop_own)(response);
    answer_end(&a);
}

void exports_wasi_http_0_2_0_incoming_handler_handle(HTTP(own_incoming_request_t) request,
                                                     HTTP(own_response_outparam_t) outparam)
{
    bodies_string_t target;
    HTTP(method_t) method;
    HTTP(borrow_incoming_request_t) borrowed = HTTP(borrow_incoming_request)(request);
    HTTP(method_incoming_request_method)(borrowed, &method);
    if (method.tag == WASI_HTTP_0_2_0_TYPES_METHOD_POST) {
        echo(request, outparam);
        return;
    }
    if (!HTTP(method_incoming_request_path_with_query)(borrowed, &target))
        abort();
    char *text = strndup((char *)target.ptr, target.len), *query = strchr(text, '?');
    if (query)
        fetch(query + 1, outparam);
    else
        stream(outparam);
}
