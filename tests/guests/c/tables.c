/* A guest that changes a table at run time, which C alone does not: apart from c-hostile, because
 * such a component is never restored in place. `grow` takes elements without end; `add?N` takes N;
 * both and any other route answer how many there are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tables.h"

#define HTTP(name) wasi_http_0_2_0_types_##name
#define IO(name)   wasi_io_0_2_0_streams_##name

static __externref_t table[0];

static void add(int n) { __builtin_wasm_table_grow(table, __builtin_wasm_ref_null_extern(), n); }

static void answer(HTTP(own_response_outparam_t) outparam, unsigned size)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%u elements", size);
    HTTP(own_outgoing_response_t)
    response = HTTP(constructor_outgoing_response)(HTTP(constructor_fields)());
    HTTP(result_own_outgoing_response_error_code_t) result = {.is_err = false};
    HTTP(own_outgoing_body_t) body;
    IO(own_output_stream_t) stream;
    IO(stream_error_t) failed;
    HTTP(error_code_t) error;
    HTTP(method_outgoing_response_body)(HTTP(borrow_outgoing_response)(response), &body);
    result.val.ok = response;
    HTTP(static_response_outparam_set)(outparam, &result);
    HTTP(method_outgoing_body_write)(HTTP(borrow_outgoing_body)(body), &stream);
    tables_list_u8_t bytes = {(uint8_t *)text, (size_t)n};
    IO(method_output_stream_blocking_write_and_flush)(IO(borrow_output_stream)(stream), &bytes,
                                                      &failed);
    IO(output_stream_drop_own)(stream);
    HTTP(static_outgoing_body_finish)(body, NULL, &error);
}

void exports_wasi_http_0_2_0_incoming_handler_handle(HTTP(own_incoming_request_t) in,
                                                     HTTP(own_response_outparam_t) outparam)
{
    tables_string_t path = {0};
    HTTP(method_incoming_request_path_with_query)(HTTP(borrow_incoming_request)(in), &path);
    char *text = strndup((char *)path.ptr, path.len), *number = strstr(text, "/add?");
    while (strstr(text, "/grow"))
        add(1000);
    if (number)
        add(atoi(number + 5));
    answer(outparam, (unsigned)__builtin_wasm_table_size(table));
}
