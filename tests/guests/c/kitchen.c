/* The kitchen in C: every thing a guest may do with a request, one function a route, and every
 * thing it must not do. The routes and their answers are listed in tests/guests/README.md.
 *
 * Files, environment and output go through the C library, so through the preview 1 adapter; HTTP,
 * variables and clocks through the bindings that wit-bindgen makes from kitchen.wit. Memory is
 * freed nowhere but where it would grow with the body: an instance lives for one request.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kitchen.h"

#define HTTP(name) wasi_http_0_2_0_types_##name
#define IO(name)   wasi_io_0_2_0_streams_##name

typedef struct {
    HTTP(own_incoming_request_t) in;
    HTTP(own_response_outparam_t) outparam;
    HTTP(own_fields_t) headers; /* of the response; append before answer_start */
    HTTP(own_outgoing_body_t) body;
    HTTP(own_output_stream_t) stream;
    char *argument; /* what follows '?', or "" */
} call;

static void header(call *c, const char *name, const char *value)
{
    HTTP(field_key_t) key;
    HTTP(header_error_t) error;
    HTTP(field_value_t) bytes = {(uint8_t *)value, strlen(value)};
    kitchen_string_set(&key, name);
    HTTP(method_fields_append)(HTTP(borrow_fields)(c->headers), &key, &bytes, &error);
}

static void answer_start(call *c, int status)
{
    HTTP(own_outgoing_response_t) response = HTTP(constructor_outgoing_response)(c->headers);
    HTTP(borrow_outgoing_response_t) borrowed = HTTP(borrow_outgoing_response)(response);
    HTTP(result_own_outgoing_response_error_code_t) result = {.is_err = false};
    HTTP(method_outgoing_response_set_status_code)(borrowed, (uint16_t)status);
    HTTP(method_outgoing_response_body)(borrowed, &c->body);
    result.val.ok = response;
    HTTP(static_response_outparam_set)(c->outparam, &result);
    HTTP(method_outgoing_body_write)(HTTP(borrow_outgoing_body)(c->body), &c->stream);
}

/* False if the client has gone. One call may carry 4,096 bytes at most. */
static bool answer_write(call *c, const void *bytes, size_t n)
{
    IO(borrow_output_stream_t) stream = IO(borrow_output_stream)(c->stream);
    for (size_t done = 0; done < n; done += 4096) {
        IO(stream_error_t) error;
        kitchen_list_u8_t part = {(uint8_t *)bytes + done, n - done < 4096 ? n - done : 4096};
        if (!IO(method_output_stream_blocking_write_and_flush)(stream, &part, &error))
            return false;
    }
    return true;
}

static void answer_end(call *c)
{
    HTTP(error_code_t) error;
    IO(output_stream_drop_own)(c->stream);
    HTTP(static_outgoing_body_finish)(c->body, NULL, &error);
}

__attribute__((format(printf, 3, 4))) static void answer(call *c, int status, const char *format,
                                                         ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    char length[16];
    snprintf(length, sizeof length, "%d", n);
    header(c, "content-type", "text/plain");
    header(c, "content-length", length);
    answer_start(c, status);
    answer_write(c, text, (size_t)n);
    answer_end(c);
}

/* Calls f with each piece of the request's body; returns the body's length. */
static unsigned long long body_each(call *c, bool (*f)(call *, const void *, size_t))
{
    HTTP(own_incoming_body_t) body;
    HTTP(own_input_stream_t) stream;
    IO(stream_error_t) error;
    kitchen_list_u8_t part;
    unsigned long long n = 0;
    if (!HTTP(method_incoming_request_consume)(HTTP(borrow_incoming_request)(c->in), &body))
        abort();
    if (!HTTP(method_incoming_body_stream)(HTTP(borrow_incoming_body)(body), &stream))
        abort();
    while (IO(method_input_stream_blocking_read)(IO(borrow_input_stream)(stream), 65536, &part,
                                                 &error)) {
        n += part.len;
        bool more = !f || f(c, part.ptr, part.len);
        kitchen_list_u8_free(&part);
        if (!more)
            break;
    }
    IO(input_stream_drop_own)(stream);
    HTTP(incoming_body_drop_own)(body);
    return n;
}

static void hello(call *c)
{
    answer(c, 200, "Hello from C! Your number is %020llu.\n",
           (unsigned long long)wasi_random_0_2_0_random_get_random_u64());
}

static void echo(call *c)
{
    HTTP(own_headers_t)
    headers = HTTP(method_incoming_request_headers)(HTTP(borrow_incoming_request)(c->in));
    HTTP(list_field_value_t) values;
    HTTP(field_key_t) name;
    HTTP(header_error_t) error;
    kitchen_string_set(&name, "content-type");
    HTTP(method_fields_get)(HTTP(borrow_fields)(headers), &name, &values);
    if (values.len > 0)
        HTTP(method_fields_append)(HTTP(borrow_fields)(c->headers), &name, &values.ptr[0], &error);
    HTTP(fields_drop_own)(headers);
    answer_start(c, 200);
    body_each(c, answer_write);
    answer_end(c);
}

static void drain(call *c) { answer(c, 200, "%llu", body_each(c, NULL)); }

static void env(call *c)
{
    const char *value = getenv(c->argument);
    answer(c, value ? 200 : 404, "%s", value ? value : "no such variable");
}

static void variable(call *c)
{
    static const char *const cases[] = {"invalid-name", "undefined", "provider", "other"};
    kitchen_string_t name, value;
    fermyon_spin_2_0_0_variables_error_t error;
    kitchen_string_set(&name, c->argument);
    if (fermyon_spin_2_0_0_variables_get(&name, &value, &error))
        answer(c, 200, "%.*s", (int)value.len, (char *)value.ptr);
    else
        answer(c, 404, "%s", cases[error.tag]);
}

static void file(call *c)
{
    char part[4096];
    FILE *f = fopen(c->argument, "rb");
    if (!f) {
        answer(c, 404, "%m");
        return;
    }
    answer_start(c, 200);
    for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;)
        answer_write(c, part, n);
    answer_end(c);
}

static void print(call *c)
{
    printf("out: %s\n", c->argument);
    fprintf(stderr, "err: %s\n", c->argument);
    fflush(stdout);
    answer(c, 200, "logged");
}

static void stream(call *c)
{
    answer_start(c, 200);
    for (int i = 0, n = atoi(c->argument); i < n; i++) {
        char line[32];
        if (!answer_write(c, line, (size_t)snprintf(line, sizeof line, "chunk %d\n", i)))
            break;
    }
    answer_end(c);
}

static void status(call *c)
{
    header(c, "x-kitchen", "yes");
    header(c, "set-cookie", "a=1");
    header(c, "set-cookie", "b=2");
    answer(c, atoi(c->argument), "status %s", c->argument);
}

static void json_string(FILE *f, const void *bytes, size_t n)
{
    fputc('"', f);
    for (const uint8_t *p = bytes, *end = p + n; p < end; p++)
        fprintf(f, *p < 0x20 || *p == '"' || *p == '\\' ? "\\u%04x" : "%c", *p);
    fputc('"', f);
}

static const char *const methods[] = {"GET",     "HEAD",    "POST",  "PUT",  "DELETE",
                                      "CONNECT", "OPTIONS", "TRACE", "PATCH"};

static void request(call *c)
{
    static const char *const schemes[] = {"http", "https"};
    HTTP(borrow_incoming_request_t) in = HTTP(borrow_incoming_request)(c->in);
    HTTP(method_t) method;
    HTTP(scheme_t) scheme;
    HTTP(list_tuple2_field_key_field_value_t) headers;
    kitchen_string_t path = {0}, authority = {0};
    char *text = NULL;
    size_t n;

    HTTP(method_incoming_request_method)(in, &method);
    HTTP(method_incoming_request_path_with_query)(in, &path);
    HTTP(method_incoming_request_authority)(in, &authority);
    bool has_scheme = HTTP(method_incoming_request_scheme)(in, &scheme);
    HTTP(own_headers_t) fields = HTTP(method_incoming_request_headers)(in);
    HTTP(method_fields_entries)(HTTP(borrow_fields)(fields), &headers);

    FILE *f = open_memstream(&text, &n);
    fputs("{\"method\": ", f);
    if (method.tag < sizeof methods / sizeof *methods)
        json_string(f, methods[method.tag], strlen(methods[method.tag]));
    else
        json_string(f, method.val.other.ptr, method.val.other.len);
    fputs(", \"path\": ", f);
    json_string(f, path.ptr, path.len);
    fputs(", \"authority\": ", f);
    json_string(f, authority.ptr, authority.len);
    fprintf(f, ", \"scheme\": \"%s\", \"headers\": [",
            has_scheme && scheme.tag < 2 ? schemes[scheme.tag] : "");
    for (size_t i = 0; i < headers.len; i++) {
        fputs(i ? ", [" : "[", f);
        json_string(f, headers.ptr[i].f0.ptr, headers.ptr[i].f0.len);
        fputs(", ", f);
        json_string(f, headers.ptr[i].f1.ptr, headers.ptr[i].f1.len);
        fputc(']', f);
    }
    fputs("]}\n", f);
    fclose(f);
    answer(c, 200, "%s", text);
}

static void count(call *c)
{
    static int calls;
    answer(c, 200, "%d", ++calls);
}

static void sleep_(call *c)
{
    wasi_io_0_2_0_poll_own_pollable_t pollable =
        wasi_clocks_0_2_0_monotonic_clock_subscribe_duration(strtoull(c->argument, NULL, 10) *
                                                             1000000);
    wasi_io_0_2_0_poll_method_pollable_block(wasi_io_0_2_0_poll_borrow_pollable(pollable));
    wasi_io_0_2_0_poll_pollable_drop_own(pollable);
    answer(c, 200, "slept");
}

/* Steps that no compiler takes out: always the same work. */
static unsigned steps(unsigned long n)
{
    volatile unsigned x = 1;
    while (n--)
        x = x * 1664525 + 1013904223;
    return x;
}

static void burn(call *c) { answer(c, 200, "%u", steps(strtoul(c->argument, NULL, 10) * 1000)); }

static uint64_t stretch_ns(void)
{
    uint64_t begin = wasi_clocks_0_2_0_monotonic_clock_now();
    steps(10000);
    return wasi_clocks_0_2_0_monotonic_clock_now() - begin;
}

/* Computes until it has had so many microseconds of a processor, however quick that is just now. A
 * stretch that takes far longer than the ones before was interrupted, and counts as one of them. */
static void work(call *c)
{
    uint64_t want = strtoull(c->argument, NULL, 10) * 1000, first = stretch_ns();
    uint64_t second = stretch_ns(), usual = first < second ? first : second, had = 2 * usual;
    while (had < want) {
        uint64_t took = stretch_ns(), counts = took < 3 * usual ? took : usual;
        usual = (15 * usual + counts) / 16;
        had += counts;
    }
    answer(c, 200, "%llu", (unsigned long long)had);
}

/* ---- what must be survived */

static void trap(call *c) { __builtin_trap(); }
static void exit_(call *c) { exit(atoi(c->argument)); }

static void spin(call *c)
{
    for (volatile int i = 0;; i++)
        ;
}

__attribute__((noinline)) static int deeper(volatile int depth)
{
    volatile char frame[256];
    frame[depth & 255] = (char)depth;
    return depth < 0 ? 0 : deeper(depth + 1) + frame[depth & 255];
}
static void overflow(call *c) { answer(c, 200, "%d", deeper(0)); }

static void bomb(call *c)
{
    size_t begin = __builtin_wasm_memory_size(0), step = 1024;
    while (step > 0)
        if (__builtin_wasm_memory_grow(0, step) == (size_t)-1)
            step /= 2;
    for (size_t page = begin; page < __builtin_wasm_memory_size(0); page++)
        *(volatile char *)(page << 16) = 1;
    __builtin_trap();
}

static void silent(call *c) {}

static void half(call *c)
{
    header(c, "content-length", "100");
    answer_start(c, 200);
    answer_write(c, "0123456789", 10);
    __builtin_trap();
}

static const struct {
    const char *name;
    void (*serve)(call *);
} routes[] = {
    {"hello", hello},   {"echo", echo},         {"drain", drain},       {"env", env},
    {"file", file},     {"log", print},         {"variable", variable}, {"stream", stream},
    {"status", status}, {"count", count},       {"request", request},   {"sleep", sleep_},
    {"burn", burn},     {"work", work},         {"trap", trap},         {"exit", exit_},
    {"spin", spin},     {"overflow", overflow}, {"bomb", bomb},         {"silent", silent},
    {"half", half},
};

void exports_wasi_http_0_2_0_incoming_handler_handle(HTTP(own_incoming_request_t) in,
                                                     HTTP(own_response_outparam_t) outparam)
{
    call c = {.in = in, .outparam = outparam, .headers = HTTP(constructor_fields)()};
    kitchen_string_t raw = {0};
    HTTP(method_incoming_request_path_with_query)(HTTP(borrow_incoming_request)(in), &raw);
    char *path = strndup((char *)raw.ptr, raw.len), *query = strchr(path, '?');
    if (query)
        *query++ = '\0';
    c.argument = query ? query : "";
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (strcmp(routes[i].name, name) == 0) {
            routes[i].serve(&c);
            return;
        }
    answer(&c, 404, "no route '%s'", name);
}
