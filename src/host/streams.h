/* Inside host/: errors, pollables and byte streams of wasi:io, as the other interfaces make them.
 *
 * A kind of stream embeds input_stream or output_stream as its first member and gives the
 * operations. None of them blocks: where nothing can be done now, `want` makes sure that
 * guest_woken is called when that changes, and the host function waits. */
#pragma once

#include "host/call.h"

typedef enum { STREAM_OPEN, STREAM_CLOSED, STREAM_FAILED } stream_state;

typedef enum { ERROR_PLAIN, ERROR_HTTP, ERROR_FILESYSTEM, ERROR_NETWORK } error_domain;

/* What is behind a wasi:io error resource. */
typedef struct {
    error_domain domain;
    uint32_t code;   /* case of the domain's own error-code */
    bool has_number; /* HTTP: the payload option<u32> or option<u64> */
    uint64_t number;
    str text; /* HTTP: the payload option<string>; otherwise for people. Static or pool memory */
} error_info;

extern const host_resource error_resource, pollable_resource, input_stream_resource,
    output_stream_resource;

typedef struct {
    object o;
    error_info info;
} error_object;

typedef struct input_stream input_stream;
typedef struct {
    /* How much can be read now, at most max (> 0). OPEN with 0: nothing yet. What was promised
     * stays there until take. */
    stream_state (*peek)(guest *g, input_stream *s, size_t max, size_t *ret_n,
                         error_info *ret_error);
    /* Removes n bytes that peek promised; to p unless NULL. */
    void (*take)(guest *g, input_stream *s, void *p, size_t n);
    void (*want)(guest *g, input_stream *s);    /* NULL: the source wakes by itself */
    void (*release)(guest *g, input_stream *s); /* the stream goes; NULL: nothing to do */
} input_ops;

struct input_stream {
    object o;
    const input_ops *ops;
    bool closed; /* it failed or ended: only STREAM_CLOSED from now on */
};

typedef struct output_stream output_stream;
typedef struct {
    /* How much may be written now. OPEN with 0: nothing yet. */
    stream_state (*room)(guest *g, output_stream *s, size_t *ret_n, error_info *ret_error);
    /* Takes all n <= room bytes; p NULL: zeroes. */
    stream_state (*write)(guest *g, output_stream *s, const void *p, size_t n,
                          error_info *ret_error);
    /* Hands on what is buffered; *ret_done: all is handed on. NULL: nothing is ever buffered. */
    stream_state (*flush)(guest *g, output_stream *s, bool *ret_done, error_info *ret_error);
    void (*want)(guest *g, output_stream *s);    /* NULL: the sink wakes by itself */
    void (*release)(guest *g, output_stream *s); /* the stream goes; NULL: nothing to do */
} output_ops;

struct output_stream {
    object o;
    const output_ops *ops;
    bool closed;
    uint64_t permit; /* what check-write allowed and was not written since */
};

typedef struct pollable pollable;
struct pollable {
    object o;
    /* Is it ready? If not and `want`: see to it that guest_woken is called. */
    bool (*ready)(guest *g, pollable *p, bool want);
    ns when; /* for deadlines */
};

/* A pollable that is a child of `parent` (NULL: of nothing). NULL: no memory. */
pollable *pollable_new(guest *g, bool (*ready)(guest *g, pollable *p, bool want), object *parent);
/* A pollable for that function as the result of a subscribe. */
host_status return_pollable(host_call *c, bool (*ready)(guest *g, pollable *p, bool want),
                            object *parent);
bool input_stream_ready(guest *g, input_stream *s, bool want);
bool output_stream_ready(guest *g, output_stream *s, bool want);
/* Writes result<_, stream-error>'s error case (state is CLOSED or FAILED). */
bool put_stream_error(host_call *c, place result, stream_state state, const error_info *error);
