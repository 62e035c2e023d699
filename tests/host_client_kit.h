/* Outgoing requests of the guest of host_kit.h, step by step. */
#pragma once

#include "host_kit.h"

#define T       "wasi:http/types"
#define STREAMS "wasi:io/streams"

/* Turns the loop until the guest is woken, then runs it on. */
static inline engine_status run_on(engine_status s)
{
    while (s == ENGINE_WAIT) {
        int before = hk.wakes;
        for (int i = 0; i < 1000 && hk.wakes == before; i++)
            loop_turn(hk.l, 20);
        assert_true(hk.wakes > before);
        s = kit_run(hk.in);
    }
    return s;
}

#define call_on(interface, name, ...)                                                              \
    assert_int_equal(run_on(hk_start(hk_find(interface, name), HK_ARGS(__VA_ARGS__))), ENGINE_DONE)

/* authority NULL: none. */
static inline uint32_t request_to(uint32_t method, const char *path, const char *authority)
{
    hk_call(T, "[constructor]fields", 0);
    uint32_t f = hk_slots[0].u32;
    uint32_t n = hk_put(2000, "x-test"), m = hk_put(3000, "1");
    hk_call(T, "[method]fields.append", f, 2000, n, 3000, m, 1000);
    hk_call(T, "[constructor]outgoing-request", f);
    uint32_t q = hk_slots[0].u32;
    hk_call(T, "[method]outgoing-request.set-method", q, method, 0, 0);
    hk_call(T, "[method]outgoing-request.set-scheme", q, 1, 0, 0, 0);
    if (authority)
        hk_call(T, "[method]outgoing-request.set-authority", q, 1, 2000, hk_put(2000, authority));
    if (path)
        hk_call(T, "[method]outgoing-request.set-path-with-query", q, 1, 2000, hk_put(2000, path));
    assert_int_equal(hk_slots[0].u32, 0);
    return q;
}

static inline uint32_t ok_handle(const char *name, uint32_t self)
{
    hk_call(T, name, self, 1000);
    assert_int_equal(hk_u8(1000), 0);
    return hk_u32(1004);
}

static inline uint32_t send_with(uint32_t q, uint32_t options)
{
    hk_call("wasi:http/outgoing-handler", "handle", q, options != 0, options, 1000);
    assert_int_equal(hk_u8(1000), 0);
    return hk_u32(1008);
}

/* Waits for the future; the response, or 1000 + error-code. */
static inline uint32_t get(uint32_t future)
{
    hk_call(T, "[method]future-incoming-response.subscribe", future);
    uint32_t p = hk_slots[0].u32;
    call_on("wasi:io/poll", "[method]pollable.block", p);
    hk_call("wasi:io/poll", "pollable", p);
    hk_call(T, "[method]future-incoming-response.get", future, 1000);
    assert_int_equal(hk_u8(1000), 1);
    assert_int_equal(hk_u8(1008), 0);
    return hk_u8(1016) ? 1000u + hk_u8(1024) : hk_u32(1024);
}

/* The rest of a body; its trailers' handle. */
static inline uint32_t read_all(uint32_t response, buf *ret)
{
    uint32_t body = ok_handle("[method]incoming-response.consume", response);
    uint32_t in = ok_handle("[method]incoming-body.stream", body);
    for (;;) {
        call_on(STREAMS, "[method]input-stream.blocking-read", in, 10000, 1000);
        if (hk_u8(1000))
            break;
        assert_true(buf_put_str(ret, hk_str(1004)));
    }
    assert_int_equal(hk_u8(1004), 1);
    hk_call(STREAMS, "input-stream", in);
    hk_call(T, "[static]incoming-body.finish", body);
    return hk_slots[0].u32;
}
