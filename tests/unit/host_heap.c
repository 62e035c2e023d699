/* Host calls of wasi:http/types allocate nothing on the heap: what a request and its answer take is
 * in the guest's pool, which the request before has left warm. malloc, calloc and realloc of
 * everything that is linked statically are counted (meson.build passes --wrap). */
#include "host_kit.h"

#include <stdlib.h>

#define T       "wasi:http/types"
#define STREAMS "wasi:io/streams"

static size_t heap_calls;
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

void *__wrap_malloc(size_t n)
{
    heap_calls++;
    return __real_malloc(n);
}
void *__wrap_calloc(size_t n, size_t size)
{
    heap_calls++;
    return __real_calloc(n, size);
}
void *__wrap_realloc(void *p, size_t n)
{
    heap_calls++;
    return __real_realloc(p, n);
}

static bool counting;
static size_t calls;

/* As hk_call; while counting, it must leave the heap alone. */
#define call(name, ...)                                                                            \
    do {                                                                                           \
        size_t before_ = heap_calls;                                                               \
        hk_call(T, name, __VA_ARGS__);                                                             \
        calls++;                                                                                   \
        if (counting && heap_calls != before_)                                                     \
            fail_msg("%s: %zu heap allocations", name, heap_calls - before_);                      \
    } while (0)

static const http_field request_fields[] = {
    {{"host", 4}, {"example.com", 11}}, {{"accept", 6}, {"*/*", 3}}, {{"x-one", 5}, {"1", 1}}};

static uint32_t ok_handle(const char *name, uint32_t self)
{
    call(name, self, 1000);
    assert_int_equal(hk_u8(1000), 0);
    return hk_u32(1004);
}

static void request_read(uint32_t request)
{
    call("[method]incoming-request.method", request, 1000);
    call("[method]incoming-request.path-with-query", request, 1000);
    hk_assert_str(1004, "/path?q=1");
    call("[method]incoming-request.authority", request, 1000);
    call("[method]incoming-request.scheme", request, 1000);
    call("[method]incoming-request.headers", request);
    uint32_t f = hk_slots[0].u32;
    call("[method]fields.get", f, 2000, hk_put(2000, "accept"), 1000);
    assert_int_equal(hk_u32(1004), 1);
    call("[method]fields.has", f, 2000, hk_put(2000, "none"));
    call("[method]fields.entries", f, 1000);
    assert_int_equal(hk_u32(1004), 3);
    call("fields", f);
    uint32_t body = ok_handle("[method]incoming-request.consume", request);
    uint32_t stream = ok_handle("[method]incoming-body.stream", body);
    hk_call(STREAMS, "input-stream", stream);
    call("incoming-body", body);
    call("incoming-request", request);
}

static void response_made(uint32_t outparam)
{
    call("[constructor]fields", 0);
    uint32_t f = hk_slots[0].u32;
    for (int i = 0; i < 5; i++) {
        uint32_t name = hk_put(2000, "content-type"), value = hk_put(3000, "text/plain");
        call("[method]fields.append", f, 2000, name, 3000, value, 1000);
        assert_int_equal(hk_u8(1000), 0);
    }
    call("[method]fields.clone", f);
    call("fields", hk_slots[0].u32);
    call("[constructor]outgoing-response", f);
    uint32_t response = hk_slots[0].u32;
    call("[method]outgoing-response.set-status-code", response, 201);
    call("[method]outgoing-response.status-code", response);
    assert_int_equal(hk_slots[0].u32, 201);
    uint32_t body = ok_handle("[method]outgoing-response.body", response);
    uint32_t stream = ok_handle("[method]outgoing-body.write", body);
    call("[static]response-outparam.set", outparam, 0, response, 0, 0, 0, 0, 0, 0);
    hk_call(STREAMS, "output-stream", stream);
    call("[static]outgoing-body.finish", body, 0, 0, 1000);
    assert_int_equal(hk_u8(1000), 0);
}

static void one_request(void)
{
    hk_exchange x;
    slot args[2];
    err e;
    hk_open();
    hkx_init(&x, (http_request){.method = S("GET"),
                                .fields = request_fields,
                                .fields_count = 3,
                                .authority = S("example.com"),
                                .scheme = S("http"),
                                .target = S("/path?q=1"),
                                .content_length = -1});
    assert_true(guest_http_begin(hk.g, &x.x, &x.x.request, args, &e));
    request_read(args[0].u32);
    response_made(args[1].u32);
    assert_int_equal(x.x.status, 201);
    hk_close();
    hkx_fini(&x);
}

static void a_request_allocates_nothing(void **state)
{
    one_request(); /* fills the pool of the guest that the next request takes */
    size_t warm = heap_calls;
    calls = 0;
    counting = true;
    for (int i = 0; i < 3; i++)
        one_request();
    assert_true(calls > 60);
    assert_true(warm > 0); /* the counter counts */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_request_allocates_nothing)};
    return cmocka_run_group_tests(tests, hk_begin, hk_end);
}
