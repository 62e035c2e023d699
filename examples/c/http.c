/* The names follow the specification, wasi:http/types@0.2.0: an incoming-request is what a client
 * asks of us, an outgoing-request what we ask of another server. An 'own' is ours to drop or to
 * give away, a 'borrow' is lent for one call. */
#include "http.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IO(name)  wasi_io_0_2_0_streams_##name
#define LENGTH(x) (sizeof(x) / sizeof *(x))

enum { WRITE_MAX = 4096 }; /* of one blocking-write-and-flush */

request request_take(HTTP(own_incoming_request_t) in, HTTP(own_response_outparam_t) outparam)
{
    static const char *const methods[] = {"GET",     "HEAD",    "POST",  "PUT",  "DELETE",
                                          "CONNECT", "OPTIONS", "TRACE", "PATCH"};
    HTTP(borrow_incoming_request_t) borrowed = HTTP(borrow_incoming_request)(in);
    HTTP(method_t) method;
    app_string_t target;
    HTTP(method_incoming_request_method)(borrowed, &method);
    if (!HTTP(method_incoming_request_path_with_query)(borrowed, &target))
        app_string_dup(&target, "/");

    char *path = strndup((char *)target.ptr, target.len), *mark = strchr(path, '?');
    if (mark)
        *mark = '\0';
    return (request){
        .method = method.tag < LENGTH(methods)
                      ? methods[method.tag]
                      : strndup((char *)method.val.other.ptr, method.val.other.len),
        .path = path,
        .query = mark ? mark + 1 : "",
        .in = in,
        .outparam = outparam,
    };
}

static reader reader_of(HTTP(own_incoming_body_t) body)
{
    reader r = {.body = body};
    HTTP(method_incoming_body_stream)(HTTP(borrow_incoming_body)(body), &r.stream);
    return r;
}

reader request_body(const request *r)
{
    HTTP(own_incoming_body_t) body;
    HTTP(method_incoming_request_consume)(HTTP(borrow_incoming_request)(r->in), &body);
    return reader_of(body);
}

size_t reader_read(reader *r, uint8_t *buf, size_t size)
{
    IO(stream_error_t) error;
    app_list_u8_t part;
    if (!IO(method_input_stream_blocking_read)(IO(borrow_input_stream)(r->stream), size, &part,
                                               &error))
        return 0;
    size_t n = part.len;
    memcpy(buf, part.ptr, n);
    app_list_u8_free(&part);
    return n;
}

void reader_close(reader *r)
{
    IO(input_stream_drop_own)(r->stream);
    HTTP(incoming_body_drop_own)(r->body);
}

writer request_answer(const request *r, int status, const char *content_type)
{
    HTTP(own_fields_t) headers = HTTP(constructor_fields)();
    HTTP(field_key_t) name;
    HTTP(field_value_t) value = {(uint8_t *)content_type, strlen(content_type)};
    HTTP(header_error_t) error;
    app_string_set(&name, "content-type");
    HTTP(method_fields_append)(HTTP(borrow_fields)(headers), &name, &value, &error);

    HTTP(own_outgoing_response_t) response = HTTP(constructor_outgoing_response)(headers);
    HTTP(borrow_outgoing_response_t) borrowed = HTTP(borrow_outgoing_response)(response);
    writer w;
    HTTP(method_outgoing_response_set_status_code)(borrowed, (uint16_t)status);
    HTTP(method_outgoing_response_body)(borrowed, &w.body);
    HTTP(method_outgoing_body_write)(HTTP(borrow_outgoing_body)(w.body), &w.stream);

    HTTP(result_own_outgoing_response_error_code_t) result = {.is_err = false};
    result.val.ok = response;
    HTTP(static_response_outparam_set)(r->outparam, &result);
    return w;
}

bool writer_write(writer *w, const void *bytes, size_t n)
{
    IO(borrow_output_stream_t) stream = IO(borrow_output_stream)(w->stream);
    for (size_t done = 0; done < n; done += WRITE_MAX) {
        app_list_u8_t part = {(uint8_t *)bytes + done, n - done < WRITE_MAX ? n - done : WRITE_MAX};
        IO(stream_error_t) error;
        if (!IO(method_output_stream_blocking_write_and_flush)(stream, &part, &error))
            return false;
    }
    return true;
}

bool writer_print(writer *w, const char *format, ...)
{
    char *text;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    bool ok = n >= 0 && writer_write(w, text, (size_t)n);
    free(text);
    return ok;
}

void writer_close(writer *w)
{
    HTTP(error_code_t) error;
    IO(output_stream_drop_own)(w->stream);
    HTTP(static_outgoing_body_finish)(w->body, NULL, &error);
}

/* Waits for the answer that a future will hold. */
static bool future_wait(HTTP(own_future_incoming_response_t) future,
                        HTTP(own_incoming_response_t) * ret)
{
    HTTP(borrow_future_incoming_response_t)
    borrowed = HTTP(borrow_future_incoming_response)(future);
    HTTP(own_pollable_t) ready = HTTP(method_future_incoming_response_subscribe)(borrowed);
    wasi_io_0_2_0_poll_method_pollable_block(wasi_io_0_2_0_poll_borrow_pollable(ready));
    wasi_io_0_2_0_poll_pollable_drop_own(ready);

    HTTP(result_result_own_incoming_response_error_code_void_t) found;
    HTTP(method_future_incoming_response_get)(borrowed, &found);
    HTTP(future_incoming_response_drop_own)(future);
    if (found.is_err || found.val.ok.is_err)
        return false;
    *ret = found.val.ok.val.ok;
    return true;
}

int http_get(const char *url, reader *ret_body, const char **ret_problem)
{
    static const char scheme_text[] = "http://";
    if (strncmp(url, scheme_text, sizeof scheme_text - 1) != 0) {
        *ret_problem = "the address does not begin with http://";
        return 0;
    }
    const char *host = url + sizeof scheme_text - 1, *slash = strchr(host, '/');
    app_string_t authority = {(uint8_t *)host, slash ? (size_t)(slash - host) : strlen(host)}, path;
    app_string_set(&path, slash ? slash : "/");
    HTTP(scheme_t) scheme = {.tag = WASI_HTTP_0_2_0_TYPES_SCHEME_HTTP};

    HTTP(own_outgoing_request_t)
    out = HTTP(constructor_outgoing_request)(HTTP(constructor_fields)());
    HTTP(borrow_outgoing_request_t) borrowed = HTTP(borrow_outgoing_request)(out);
    HTTP(own_future_incoming_response_t) future;
    HTTP(own_incoming_response_t) response;
    HTTP(own_incoming_body_t) body;
    HTTP(error_code_t) error;
    HTTP(method_outgoing_request_set_scheme)(borrowed, &scheme);
    HTTP(method_outgoing_request_set_authority)(borrowed, &authority);
    HTTP(method_outgoing_request_set_path_with_query)(borrowed, &path);
    if (!wasi_http_0_2_0_outgoing_handler_handle(out, NULL, &future, &error)) {
        *ret_problem = error.tag == WASI_HTTP_0_2_0_TYPES_ERROR_CODE_HTTP_REQUEST_DENIED
                           ? "allowed_outbound_hosts in spin.toml does not name it"
                           : "the request could not be made";
        return 0;
    }
    if (!future_wait(future, &response)) {
        *ret_problem = "it does not answer";
        return 0;
    }
    HTTP(borrow_incoming_response_t) answer = HTTP(borrow_incoming_response)(response);
    HTTP(method_incoming_response_consume)(answer, &body);
    *ret_body = reader_of(body);
    return HTTP(method_incoming_response_status)(answer);
}
