/* HTTP as a C program likes it: text in, text out, over the bindings that wit-bindgen generates
 * from app.wit. Text that it hands out is never freed: an instance serves one request, and its
 * memory goes with it. */
#pragma once

#include "app.h"

#define HTTP(name) wasi_http_0_2_0_types_##name

typedef struct {
    HTTP(own_incoming_body_t) body;
    HTTP(own_input_stream_t) stream;
} reader;

typedef struct {
    HTTP(own_outgoing_body_t) body;
    HTTP(own_output_stream_t) stream;
} writer;

typedef struct {
    const char *method; /* "GET" */
    const char *path;   /* "/count" */
    const char *query;  /* "to=3"; "" if there is none */
    HTTP(own_incoming_request_t) in;
    HTTP(own_response_outparam_t) outparam;
} request;

/* Takes what the host hands to the exported function. */
request request_take(HTTP(own_incoming_request_t) in, HTTP(own_response_outparam_t) outparam);

/* The request's body; ask once. */
reader request_body(const request *r);

/* Waits for some bytes and puts them into buf; 0 at the end, or when the client has gone. */
size_t reader_read(reader *r, uint8_t *buf, size_t size);
void reader_close(reader *r);

/* Sends the head of the answer. Close the writer, or the client sees the answer cut. */
writer request_answer(const request *r, int status, const char *content_type);

/* Returns when the host has taken the bytes; false if the client has gone. */
bool writer_write(writer *w, const void *bytes, size_t n);
bool writer_print(writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
void writer_close(writer *w);

/* Gets a "http://host/path" from another server: its status and body, or 0 and the reason. */
int http_get(const char *url, reader *ret_body, const char **ret_problem);
