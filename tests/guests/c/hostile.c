/* A guest that does what guests must not, one function a route (tests/guests/README.md): none of it
 * may harm another request. What it can take it takes without end; its host must end it.
 *
 * `hide` and `seek` look for what one request leaves to the next. The secret is a function of a
 * number, made byte by byte where it is written and where it is compared, so that the search itself
 * holds no copy of it. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hostile.h"

#define HTTP(name)  wasi_http_0_2_0_types_##name
#define IO(name)    wasi_io_0_2_0_streams_##name
#define CLOCK(name) wasi_clocks_0_2_0_monotonic_clock_##name
#define POLL(name)  wasi_io_0_2_0_poll_##name

typedef struct {
    HTTP(own_incoming_request_t) in;
    HTTP(own_response_outparam_t) outparam;
    HTTP(own_outgoing_body_t) body;
    HTTP(own_output_stream_t) stream;
    unsigned long long n; /* what follows '?' */
} call;

static void answer_start(call *c, int status)
{
    HTTP(own_outgoing_response_t)
    response = HTTP(constructor_outgoing_response)(HTTP(constructor_fields)());
    HTTP(borrow_outgoing_response_t) borrowed = HTTP(borrow_outgoing_response)(response);
    HTTP(result_own_outgoing_response_error_code_t) result = {.is_err = false};
    HTTP(method_outgoing_response_set_status_code)(borrowed, (uint16_t)status);
    HTTP(method_outgoing_response_body)(borrowed, &c->body);
    result.val.ok = response;
    HTTP(static_response_outparam_set)(c->outparam, &result);
    HTTP(method_outgoing_body_write)(HTTP(borrow_outgoing_body)(c->body), &c->stream);
}

static bool answer_write(call *c, const void *bytes, size_t n)
{
    IO(stream_error_t) error;
    hostile_list_u8_t part = {(uint8_t *)bytes, n};
    return IO(method_output_stream_blocking_write_and_flush)(IO(borrow_output_stream)(c->stream),
                                                             &part, &error);
}

__attribute__((format(printf, 2, 3))) static void answer(call *c, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    HTTP(error_code_t) error;
    answer_start(c, 200);
    answer_write(c, text, (size_t)n);
    IO(output_stream_drop_own)(c->stream);
    HTTP(static_outgoing_body_finish)(c->body, NULL, &error);
}

static void nap(uint64_t ns)
{
    POLL(own_pollable_t) p = CLOCK(subscribe_duration)(ns);
    POLL(method_pollable_block)(POLL(borrow_pollable)(p));
    POLL(pollable_drop_own)(p);
}

/* --- computing, memory, stack -------------------------------------------------------------- */

static void spin(call *c)
{
    for (volatile int i = 0;; i++)
        ;
}

/* A page at a time, each written to; where no more is given it goes on asking. */
static void grow(call *c)
{
    for (;;) {
        size_t page = __builtin_wasm_memory_grow(0, 1);
        if (page != (size_t)-1)
            memset((void *)(page << 16), 0x5a, 65536);
    }
}

/* Nothing of it is in memory, whose own stack would end first: it is the host's that does. */
static volatile int bottom;
static int deeper(int depth)
{
    if (bottom)
        return depth;
    int below = deeper(depth + 1);
    return below + bottom;
}
static void deep(call *c) { answer(c, "%d", deeper(0)); }

/* --- resources ----------------------------------------------------------------------------- */

static void handles(call *c)
{
    for (;;)
        HTTP(constructor_fields)();
}

static void pollables(call *c)
{
    for (;;)
        CLOCK(subscribe_duration)(1000000000000);
}

/* Its allocator, which the host calls to hand over a list, calls the host, for something that may
 * wait. That is forbidden; this request ends, and nothing else. */
static bool allocator_calls_out;

__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_size,
                                                                size_t align, size_t size)
{
    (void)old_size;
    if (allocator_calls_out)
        POLL(method_pollable_block)((POLL(borrow_pollable_t)){1});
    return size ? realloc(old, size) : (void *)align;
}

static void allocator(call *c)
{
    (void)c;
    POLL(own_pollable_t) soon = CLOCK(subscribe_duration)(0);
    POLL(borrow_pollable_t) one[1] = {POLL(borrow_pollable)(soon)};
    POLL(list_borrow_pollable_t) all = {one, 1};
    hostile_list_u32_t ready;
    allocator_calls_out = true;
    POLL(poll)(&all, &ready);
}

static void files(call *c)
{
    int n = 0;
    while (open("/a.txt", O_RDONLY) >= 0)
        n++;
    answer(c, "%d", n);
}

static void header_flood(call *c)
{
    HTTP(own_fields_t) f = HTTP(constructor_fields)();
    HTTP(field_key_t) key = {(uint8_t *)"k", 1};
    HTTP(field_value_t) value = {malloc(1000), 1000};
    HTTP(header_error_t) error;
    memset(value.ptr, 'v', value.len);
    for (;;)
        HTTP(method_fields_append)(HTTP(borrow_fields)(f), &key, &value, &error);
}

/* --- bodies -------------------------------------------------------------------------------- */

/* Never reads what is sent, and keeps the sender waiting. */
static void unread(call *c)
{
    for (;;)
        nap(1000000);
}

static void ignore(call *c) { answer(c, "ignored"); }

/* Reads to an end that never comes. */
static void starve(call *c)
{
    HTTP(own_incoming_body_t) body;
    HTTP(own_input_stream_t) stream;
    IO(stream_error_t) error;
    hostile_list_u8_t part;
    HTTP(method_incoming_request_consume)(HTTP(borrow_incoming_request)(c->in), &body);
    HTTP(method_incoming_body_stream)(HTTP(borrow_incoming_body)(body), &stream);
    unsigned long long n = 0;
    while (IO(method_input_stream_blocking_read)(IO(borrow_input_stream)(stream), 65536, &part,
                                                 &error)) {
        n += part.len;
        hostile_list_u8_free(&part);
    }
    answer(c, "%llu %s", n, error.tag == 0 ? "failed" : "closed");
}

/* Begins a body and leaves it there. */
static void unfinished(call *c)
{
    answer_start(c, 200);
    answer_write(c, "0123456789", 10);
    for (;;)
        nap(1000000000000);
}

/* A response that is set and never sent. */
static void unsent(call *c)
{
    answer_start(c, 200);
    spin(c);
}

/* A body without end. */
static void endless(call *c)
{
    static char block[4096];
    answer_start(c, 200);
    while (answer_write(c, block, sizeof block))
        ;
}

/* --- logs and clocks ----------------------------------------------------------------------- */

/* Goes on when its client has all. */
static void late(call *c)
{
    answer(c, "answered");
    nap(300000000);
    puts("and more");
    fflush(stdout);
}

static void logs(call *c)
{
    setvbuf(stdout, NULL, _IOFBF, 65536);
    for (unsigned long long i = 0; i < c->n; i++)
        fputs("a line that says nothing\n", stdout);
    fflush(stdout);
    answer(c, "logged");
}

/* The smallest step that it sees, the greatest common divisor of all, and what clocks say. */
static void clocks(call *c)
{
    uint64_t before = CLOCK(now)(), smallest = UINT64_MAX, common = before;
    for (int i = 0, steps = 0; i < 200000 && steps < 20; i++) {
        uint64_t now = CLOCK(now)();
        if (now == before)
            continue;
        steps++;
        if (now - before < smallest)
            smallest = now - before;
        for (uint64_t b = now; b;) {
            uint64_t rest = common % b;
            common = b;
            b = rest;
        }
        before = now;
    }
    wasi_clocks_0_2_0_wall_clock_datetime_t wall;
    wasi_clocks_0_2_0_wall_clock_now(&wall);
    uint64_t slept = CLOCK(now)();
    nap(3000000);
    slept = CLOCK(now)() - slept;
    answer(c, "%llu %llu %llu %u %llu", (unsigned long long)CLOCK(resolution)(),
           (unsigned long long)smallest, (unsigned long long)common, (unsigned)wall.nanoseconds,
           (unsigned long long)slept);
}

/* --- secrets ------------------------------------------------------------------------------- */

enum { SECRET_BYTES = 24 };

static uint8_t secret_at(unsigned long long n, unsigned i)
{
    unsigned long long x = (n + i) * 0x9e3779b97f4a7c15ULL;
    x ^= x >> 29;
    x *= 0xbf58476d1ce4e5b9ULL;
    return (uint8_t)(x >> 32);
}

static void secret_write(volatile uint8_t *p, unsigned long long n)
{
    for (unsigned i = 0; i < SECRET_BYTES; i++)
        p[i] = secret_at(n, i);
}

static uint8_t in_bss[4096], in_data[64] = "data";
static char hidden[100];
static uint64_t calls_of_this_instance;
static uint64_t __attribute__((address_space(1))) in_global; /* of WebAssembly, not in memory */
static void first(call *c) {}
static void second(call *c) {}
static void (*volatile in_table)(call *) = first;

__attribute__((noinline)) static void on_stack(unsigned long long n)
{
    volatile uint8_t frame[2048];
    for (unsigned at = 0; at + SECRET_BYTES <= sizeof frame; at += 64)
        secret_write(frame + at, n);
}

static void hide_everywhere(call *c)
{
    calls_of_this_instance++;
    in_table = second;
    in_global = c->n;
    secret_write(in_bss + 100, c->n);
    secret_write(in_data + 8, c->n);
    for (int i = 0; i < 20; i++)
        secret_write(malloc(5000), c->n);
    on_stack(c->n);
    /* The last page of a memory that grew, and resources that stay open. */
    size_t page = __builtin_wasm_memory_grow(0, 3);
    if (page != (size_t)-1)
        secret_write((uint8_t *)(page << 16) + 100000, c->n);
    HTTP(own_fields_t) f = HTTP(constructor_fields)();
    HTTP(field_key_t) key = {(uint8_t *)"secret", 6};
    HTTP(field_value_t) value = {malloc(SECRET_BYTES), SECRET_BYTES};
    HTTP(header_error_t) error;
    for (unsigned i = 0; i < SECRET_BYTES; i++)
        value.ptr[i] = (uint8_t)('a' + secret_at(c->n, i) % 26);
    HTTP(method_fields_append)(HTTP(borrow_fields)(f), &key, &value, &error);
    char name[64];
    snprintf(name, sizeof name, "/secret-%llu", c->n);
    int file = open(name, O_CREAT | O_RDWR, 0600);
    if (file >= 0)
        write(file, in_bss + 100, SECRET_BYTES);
    snprintf(hidden, sizeof hidden, "hidden in %zu pages, fields %d, file %s",
             __builtin_wasm_memory_size(0), f.__handle, file >= 0 ? "written" : "refused");
}

static void hide(call *c)
{
    hide_everywhere(c);
    answer(c, "%s", hidden);
}

static void hide_and_spin(call *c)
{
    hide_everywhere(c);
    spin(c);
}
static void hide_and_deep(call *c)
{
    hide_everywhere(c);
    deep(c);
}
static void hide_and_handles(call *c)
{
    hide_everywhere(c);
    handles(c);
}

/* Every byte there is; how many copies of the secret, and what else says that this instance was
 * used before. */
static void seek(call *c)
{
    size_t end = __builtin_wasm_memory_size(0) << 16, found = 0;
    /* From 1: address 0 is memory like any other here, but not for the C compiler. */
    for (volatile const uint8_t *p = (uint8_t *)1; (size_t)p + SECRET_BYTES <= end; p++) {
        unsigned i = 0;
        while (i < SECRET_BYTES && p[i] == secret_at(c->n, i))
            i++;
        found += i == SECRET_BYTES;
    }
    HTTP(own_fields_t) f = HTTP(constructor_fields)();
    char name[64];
    snprintf(name, sizeof name, "/secret-%llu", c->n);
    answer(c, "found %zu, calls %llu, table %d, global %d, pages %zu, fields %d, file %d", found,
           (unsigned long long)calls_of_this_instance, in_table != first, in_global != 0,
           __builtin_wasm_memory_size(0), f.__handle, open(name, O_RDONLY) >= 0);
}

/* Does the search find what is there? Hides and seeks in one request. */
static void both(call *c)
{
    secret_write(in_bss + 100, c->n);
    calls_of_this_instance++;
    in_table = second;
    in_global = c->n;
    seek(c);
}

static const struct {
    const char *name;
    void (*serve)(call *);
} routes[] = {
    {"spin", spin},
    {"grow", grow},
    {"deep", deep},
    {"handles", handles},
    {"pollables", pollables},
    {"allocator", allocator},
    {"files", files},
    {"headers", header_flood},
    {"unread", unread},
    {"ignore", ignore},
    {"starve", starve},
    {"unfinished", unfinished},
    {"unsent", unsent},
    {"endless", endless},
    {"late", late},
    {"logs", logs},
    {"clocks", clocks},
    {"hide", hide},
    {"seek", seek},
    {"hide-and-spin", hide_and_spin},
    {"hide-and-deep", hide_and_deep},
    {"hide-and-handles", hide_and_handles},
    {"both", both},
};

void exports_wasi_http_0_2_0_incoming_handler_handle(HTTP(own_incoming_request_t) in,
                                                     HTTP(own_response_outparam_t) outparam)
{
    call c = {.in = in, .outparam = outparam};
    hostile_string_t raw = {0};
    HTTP(method_incoming_request_path_with_query)(HTTP(borrow_incoming_request)(in), &raw);
    char *path = strndup((char *)raw.ptr, raw.len), *query = strchr(path, '?');
    if (query) {
        *query++ = '\0';
        c.n = strtoull(query, NULL, 10);
    }
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (strcmp(routes[i].name, name) == 0) {
            routes[i].serve(&c);
            return;
        }
    answer(&c, "no route");
}
