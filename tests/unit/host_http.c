/* wasi:http, the side that answers a request: heads, bodies both ways, the rules of spin.md 3.4. */
#include "host_kit.h"

#include "base/limits.h"
#include "host/http_side.h"

#define T       "wasi:http/types"
#define STREAMS "wasi:io/streams"

static hk_exchange x;
static slot args[2];

static const http_field request_fields[] = {
    {{"host", 4}, {"example.com", 11}}, {{"x-one", 5}, {"1", 1}}, {{"x-one", 5}, {"2", 1}}};

static void begin_with(http_request r)
{
    err e;
    r.fields = request_fields;
    r.fields_count = 3;
    r.authority = S("example.com");
    r.scheme = S("http");
    r.target = S("/path?q=1");
    r.content_length = -1;
    hk_open();
    hkx_init(&x, r);
    assert_true(guest_http_begin(hk.g, &x.x, &x.x.request, args, &e));
    assert_true(args[0].u32 == 1 && args[1].u32 == 2);
}

static void begin(void) { begin_with((http_request){.method = S("GET")}); }

static void end(void)
{
    hk_close();
    hkx_fini(&x);
}

/* A response with the fields added by the caller: returns its handle. */
static uint32_t response(uint32_t headers, uint32_t status)
{
    hk_call(T, "[constructor]outgoing-response", headers);
    uint32_t h = hk_slots[0].u32;
    hk_call(T, "[method]outgoing-response.set-status-code", h, status);
    assert_int_equal(hk_slots[0].u32, 0);
    return h;
}

static uint32_t new_fields(void)
{
    hk_call(T, "[constructor]fields", 0);
    return hk_slots[0].u32;
}

static uint32_t append(uint32_t f, const char *name, const char *value)
{
    uint32_t n = hk_put(2000, name), m = hk_put(3000, value);
    hk_call(T, "[method]fields.append", f, 2000, n, 3000, m, 1000);
    return hk_u8(1000) ? 1u + hk_u8(1001) : 0;
}

static uint32_t ok_handle(const char *name, uint32_t self)
{
    hk_call(T, name, self, 1000);
    assert_int_equal(hk_u8(1000), 0);
    return hk_u32(1004);
}

static void set(uint32_t resp)
{
    hk_call(T, "[static]response-outparam.set", args[1].u32, 0, resp, 0, 0, 0, 0, 0, 0);
}

static void write_body(uint32_t stream, const char *text)
{
    hk_call(STREAMS, "[method]output-stream.blocking-write-and-flush", stream, 2000,
            hk_put(2000, text), 1000);
    assert_int_equal(hk_u8(1000), 0);
}

static uint32_t finish(uint32_t body)
{
    hk_call(T, "[static]outgoing-body.finish", body, 0, 0, 1000);
    return hk_u8(1000);
}

static const http_field *sent(const char *name)
{
    for (size_t i = 0; i < x.fields_count; i++)
        if (str_eq(x.fields[i].name, str_from(name)))
            return &x.fields[i];
    return NULL;
}

static void the_request_is_seen(void **state)
{
    begin();
    hk_call(T, "[method]incoming-request.method", 1, 1000);
    assert_int_equal(hk_u8(1000), 0);
    hk_call(T, "[method]incoming-request.path-with-query", 1, 1000);
    hk_assert_str(1004, "/path?q=1");
    hk_call(T, "[method]incoming-request.authority", 1, 1000);
    hk_assert_str(1004, "example.com");
    hk_call(T, "[method]incoming-request.scheme", 1, 1000);
    assert_int_equal(hk_u8(1000), 1);
    assert_int_equal(hk_u8(1004), 0);
    hk_call(T, "[method]incoming-request.headers", 1);
    uint32_t f = hk_slots[0].u32;
    hk_call(T, "[method]fields.get", f, 2000, hk_put(2000, "X-One"), 1000);
    assert_int_equal(hk_u32(1004), 2);
    hk_assert_str(hk_u32(1000) + 8, "2");
    hk_call(T, "[method]fields.has", f, 2000, hk_put(2000, "none"));
    assert_int_equal(hk_slots[0].u32, 0);
    hk_call(T, "[method]fields.entries", f, 1000);
    assert_int_equal(hk_u32(1004), 3);
    hk_assert_str(hk_u32(1000), "host");
    assert_int_equal(append(f, "a", "b"), 1 + 2); /* immutable */
    hk_call(T, "[method]fields.clone", f);
    uint32_t copy = hk_slots[0].u32;
    assert_int_equal(append(copy, "a", "b"), 0);
    hk_call(T, "[method]fields.delete", copy, 2000, hk_put(2000, "x-one"), 1000);
    hk_call(T, "[method]fields.entries", copy, 1000);
    assert_int_equal(hk_u32(1004), 2);
    hk_trap("resource has children", T, "incoming-request", 1);
    hkx_fini(&x);
    hk_close();
    begin_with((http_request){.method = S("BREW")});
    hk_call(T, "[method]incoming-request.method", 1, 1000);
    assert_int_equal(hk_u8(1000), 9);
    hk_assert_str(1004, "BREW");
    end();
}

static void fields_are_checked(void **state)
{
    begin();
    uint32_t f = new_fields();
    assert_int_equal(append(f, "good", "value"), 0);
    assert_int_equal(append(f, "bad name", "value"), 1);
    assert_int_equal(append(f, "", "value"), 1);
    assert_int_equal(append(f, "name", "a\r\nb: c"), 1);
    assert_int_equal(append(f, "name\n", "a"), 1);
    static const char *forbidden[] = {"Connection",        "keep-alive", "Host",
                                      "transfer-encoding", "upgrade",    "proxy-connection",
                                      "http2-settings"};
    for (size_t i = 0; i < sizeof forbidden / sizeof *forbidden; i++)
        assert_int_equal(append(f, forbidden[i], "x"), 2);
    hk_memory()[3000] = 0;
    hk_call(T, "[method]fields.append", f, 2000, hk_put(2000, "nul"), 3000, 1, 1000);
    assert_int_equal(hk_u8(1001), 0);
    assert_int_equal(hk_u8(1000), 1);
    /* set replaces, delete removes; both check. */
    hk_put_u32(4000, 3000), hk_put_u32(4004, hk_put(3000, "new"));
    hk_call(T, "[method]fields.set", f, 2000, hk_put(2000, "GOOD"), 4000, 1, 1000);
    assert_int_equal(hk_u8(1000), 0);
    hk_call(T, "[method]fields.get", f, 2000, hk_put(2000, "good"), 1000);
    hk_assert_str(hk_u32(1000), "new");
    hk_call(T, "[method]fields.set", f, 2000, hk_put(2000, "host"), 4000, 1, 1000);
    assert_int_equal(hk_u8(1001), 1);
    hk_call(T, "[method]fields.delete", f, 2000, hk_put(2000, "a b"), 1000);
    assert_int_equal(hk_u8(1000), 1);
    /* from-list */
    hk_put_u32(4000, 2000), hk_put_u32(4004, hk_put(2000, "Abc"));
    hk_put_u32(4008, 3000), hk_put_u32(4012, hk_put(3000, "v"));
    hk_call(T, "[static]fields.from-list", 4000, 1, 1000);
    assert_int_equal(hk_u8(1000), 0);
    hk_call(T, "[method]fields.entries", hk_u32(1004), 1000);
    hk_assert_str(hk_u32(1000), "abc");
    hk_put(2000, "A c");
    hk_call(T, "[static]fields.from-list", 4000, 1, 1000);
    assert_int_equal(hk_u8(1000), 1);
    memset(hk_memory() + 10000, 'x', 50000);
    for (int i = 0; i < 2; i++)
        hk_call(T, "[method]fields.append", f, 2000, hk_put(2000, "big"), 10000, 50000, 1000);
    hk_trap("fields take more than", T, "[method]fields.append", f, 2000, 3, 10000, 50000, 1000);
    hkx_fini(&x);
    hk_close();
}

/* Getters of outgoing-response; statuses out of range; informational responses are refused. */
static void responses_are_looked_at(void **state)
{
    begin();
    uint32_t f = new_fields();
    append(f, "x-a", "1");
    uint32_t r = response(f, 404);
    hk_call(T, "[method]outgoing-response.status-code", r);
    assert_int_equal(hk_slots[0].u32, 404);
    static const uint32_t bad[] = {0, 99, 1000, 65535};
    for (int i = 0; i < 4; i++) {
        hk_call(T, "[method]outgoing-response.set-status-code", r, bad[i]);
        assert_int_equal(hk_slots[0].u32, 1);
    }
    hk_call(T, "[method]outgoing-response.headers", r);
    uint32_t view = hk_slots[0].u32;
    hk_call(T, "[method]fields.has", view, 2000, hk_put(2000, "x-a"));
    assert_int_equal(hk_slots[0].u32, 1);
    assert_int_equal(append(view, "x-b", "1"), 1 + 2);
    hk_call(T, "[method]response-outparam.send-informational", args[1].u32, 103, new_fields(),
            1000);
    assert_int_equal(hk_u8(1000), 1);
    assert_int_equal(hk_u8(1008), HTTP_INTERNAL_ERROR);
    hk_trap("resource has children", T, "[static]response-outparam.set", args[1].u32, 0, r, 0, 0, 0,
            0, 0, 0);
    hkx_fini(&x);
    hk_close();
}

/* A refused informational response costs the guest no memory, however often it tries. */
static void informational_responses_take_nothing(void **state)
{
    enum { VALUE_BYTES = 100000 };
    begin();
    memset(hk_memory() + 10000, 'x', VALUE_BYTES);
    for (size_t all = 0; all < 2 * (size_t)HOST_GUEST_BYTES_MAX; all += VALUE_BYTES) {
        uint32_t f = new_fields();
        hk_call(T, "[method]fields.append", f, 2000, hk_put(2000, "big"), 10000, VALUE_BYTES, 1000);
        assert_int_equal(hk_u8(1000), 0);
        hk_call(T, "[method]response-outparam.send-informational", args[1].u32, 103, f, 1000);
        assert_int_equal(hk_u8(1000), 1);
    }
    end();
}

static void hello(void **state)
{
    begin();
    uint32_t f = new_fields();
    append(f, "content-type", "text/plain");
    uint32_t r = response(f, 201), body = ok_handle("[method]outgoing-response.body", r);
    uint32_t out = ok_handle("[method]outgoing-body.write", body);
    set(r);
    assert_false(x.x.started); /* the head waits for the first bytes */
    write_body(out, "hello");
    assert_true(x.x.started);
    assert_int_equal(guest_http(hk.g), GUEST_HTTP_STREAMING);
    hk_call(STREAMS, "output-stream", out);
    assert_int_equal(finish(body), 0);
    assert_int_equal(guest_http(hk.g), GUEST_HTTP_ENDED);
    assert_int_equal(guest_http_status(hk.g), 201);
    assert_int_equal(x.ended, 1);
    assert_int_equal(x.x.status, 201);
    assert_int_equal(x.x.length, -1);
    assert_str(buf_str(&x.out), "hello");
    assert_str(sent("content-type")->value, "text/plain");
    guest_http_returned(hk.g, false);
    assert_int_equal(x.aborted, 0);
    end();
}

/* Bytes of bodies are what calls are metered by: both counts stay when the exchange has gone. */
static void bytes_are_counted(void **state)
{
    uint64_t in, out;
    for (int leaves = 0; leaves < 2; leaves++) {
        begin_with((http_request){.method = S("POST"), .has_body = true});
        uint32_t from = ok_handle("[method]incoming-request.consume", 1);
        uint32_t request = ok_handle("[method]incoming-body.stream", from);
        uint32_t r = response(new_fields(), 200);
        uint32_t body = ok_handle("[method]outgoing-response.body", r);
        uint32_t to = ok_handle("[method]outgoing-body.write", body);
        buf_put_str(&x.body, S("1234567"));
        x.state = BODY_END;
        hk_call(STREAMS, "[method]input-stream.blocking-read", request, 100, 1000);
        x.x.bytes_in = 7; /* as servers do */
        set(r);
        write_body(to, "hello");
        guest_http_bytes(hk.g, &in, &out);
        assert_true(in == 7 && out == 5);
        if (leaves) {
            x.x.gone = true;
            x.x.callbacks.on_closed(x.x.user);
        } else {
            hk_call(STREAMS, "output-stream", to);
            assert_int_equal(finish(body), 0);
        }
        assert_int_equal(guest_http(hk.g), leaves ? GUEST_HTTP_CUT : GUEST_HTTP_ENDED);
        x.x.bytes_in = x.x.bytes_out = 0; /* it is no longer ours to look at */
        guest_http_bytes(hk.g, &in, &out);
        assert_true(in == 7 && out == 5);
        end();
    }
}

/* No body(): empty, content-length 0. body() but nothing written: the same. */
static void empty_bodies(void **state)
{
    begin();
    set(response(new_fields(), 200));
    assert_int_equal(guest_http(hk.g), GUEST_HTTP_ENDED);
    assert_int_equal(x.x.length, 0);
    end();
    begin();
    uint32_t r = response(new_fields(), 200), body = ok_handle("[method]outgoing-response.body", r);
    hk_call(T, "[method]outgoing-response.body", r, 1000);
    assert_int_equal(hk_u8(1000), 1); /* once */
    set(r);
    assert_int_equal(finish(body), 0);
    assert_int_equal(x.x.length, 0);
    assert_int_equal(x.ended, 1);
    end();
}

/* Bytes before response-outparam.set wait, are bounded, and never deadlock. */
static void the_body_may_come_first(void **state)
{
    begin();
    uint32_t r = response(new_fields(), 200), body = ok_handle("[method]outgoing-response.body", r);
    uint32_t out = ok_handle("[method]outgoing-body.write", body);
    char text[4097] = {0};
    memset(text, 'a', 4096);
    for (int i = 0; i < 256; i++)
        write_body(out, text);
    hk_call(STREAMS, "[method]output-stream.check-write", out, 1000);
    assert_int_equal(hk_u8(1000), 1); /* fails, does not wait for ever */
    hk_call(STREAMS, "output-stream", out);
    assert_int_equal(finish(body), 0);
    set(r);
    assert_int_equal(guest_http(hk.g), GUEST_HTTP_DRAINING);
    assert_int_equal(x.out.n, 65536);
    guest_http_returned(hk.g, false);
    for (int i = 0; i < 100 && !x.ended; i++) {
        assert_int_equal(hk.wakes, 0);
        x.room = 20000;
        x.x.callbacks.on_writable(x.x.user);
    }
    assert_int_equal(x.ended, 1);
    assert_int_equal(hk.wakes, 1);
    assert_int_equal(guest_http(hk.g), GUEST_HTTP_ENDED);
    assert_int_equal(x.out.n, 256 * 4096);
    end();
}

/* A slow client holds the guest back, and on_writable lets it go on. */
static void back_pressure(void **state)
{
    begin();
    uint32_t r = response(new_fields(), 200), body = ok_handle("[method]outgoing-response.body", r);
    uint32_t out = ok_handle("[method]outgoing-body.write", body);
    set(r);
    x.room = 3;
    hk_wait(STREAMS, "[method]output-stream.blocking-write-and-flush", out, 2000,
            hk_put(2000, "0123456789"), 1000);
    assert_str(buf_str(&x.out), "012");
    x.room = 4;
    x.x.callbacks.on_writable(x.x.user);
    assert_int_equal(hk.wakes, 1);
    assert_int_equal(kit_run(hk.in), ENGINE_WAIT);
    x.room = 1000;
    x.x.callbacks.on_writable(x.x.user);
    assert_int_equal(kit_run(hk.in), ENGINE_DONE);
    assert_str(buf_str(&x.out), "0123456789");
    hk_call(STREAMS, "[method]output-stream.subscribe", out);
    uint32_t p = hk_slots[0].u32;
    x.room = 0;
    hk_wait("wasi:io/poll", "[method]pollable.block", p);
    x.room = 1;
    x.x.callbacks.on_writable(x.x.user);
    assert_int_equal(kit_run(hk.in), ENGINE_DONE);
    hk_call(STREAMS, "[method]output-stream.check-write", out, 1000);
    assert_int_equal(hk_u64(1008), 1);
    /* The client goes: writes are closed, the guest wakes. */
    x.room = 0;
    hk_wait("wasi:io/poll", "[method]pollable.block", p);
    x.x.gone = true;
    x.x.callbacks.on_closed(x.x.user);
    assert_int_equal(x.freed, 1);
    assert_int_equal(kit_run(hk.in), ENGINE_DONE);
    hk_call(STREAMS, "[method]output-stream.check-write", out, 1000);
    assert_int_equal(hk_u8(1000), 1);
    assert_int_equal(hk_u8(1008), 1);
    assert_int_equal(guest_http(hk.g), GUEST_HTTP_CUT);
    guest_http_returned(hk.g, false);
    assert_int_equal(x.aborted, 0);
    end();
}

/* The sink of a response takes nothing where nobody gets it: its head was refused, or the client
 * has gone. */
static void nothing_is_taken_for_nobody(void **state)
{
    for (int refused = 0; refused < 2; refused++) {
        begin();
        outgoing_response *r =
            OBJECT_NEW(hk.g, outgoing_response, outgoing_response_resource, NULL);
        body_out *b = body_out_new(hk.g, false, -1);
        assert_non_null(r);
        assert_non_null(b);
        r->status = 200;
        r->headers = fields_new(hk.g, NULL);
        r->body = b;
        assert_non_null(r->headers);
        if (refused)
            assert_true(fields_add(hk.g, r->headers, S("a b"), S("c")));
        http_side_respond(hk.g, r);
        assert_int_equal(b->sink->write(hk.g, b->sink_user, "abc", 3), refused ? 0 : 3);
        if (!refused) {
            x.x.gone = true;
            x.x.callbacks.on_closed(x.x.user);
            assert_int_equal(b->sink->room(hk.g, b->sink_user), 0);
            assert_int_equal(b->sink->write(hk.g, b->sink_user, "def", 3), 0);
        }
        assert_int_equal(guest_http(hk.g), refused ? GUEST_HTTP_ERROR : GUEST_HTTP_CUT);
        assert_int_equal(x.out.n, refused ? 0 : 3);
        end();
    }
}

static void a_trap_after_set_cuts(void **state)
{
    begin();
    uint32_t r = response(new_fields(), 200), body = ok_handle("[method]outgoing-response.body", r);
    uint32_t out = ok_handle("[method]outgoing-body.write", body);
    set(r);
    write_body(out, "half");
    guest_http_returned(hk.g, true);
    assert_int_equal(guest_http(hk.g), GUEST_HTTP_CUT);
    assert_int_equal(x.aborted, 1);
    assert_int_equal(x.ended, 0);
    end();
    /* Dropped without finish: the same. */
    begin();
    r = response(new_fields(), 200), body = ok_handle("[method]outgoing-response.body", r);
    set(r);
    hk_call(T, "outgoing-body", body);
    assert_int_equal(x.aborted, 1);
    assert_int_equal(guest_http(hk.g), GUEST_HTTP_CUT);
    end();
    /* Freed before the head was sent: the platform answers. */
    begin();
    r = response(new_fields(), 200), body = ok_handle("[method]outgoing-response.body", r);
    set(r);
    hk_close();
    assert_int_equal(x.x.status, 0);
    assert_int_equal(x.ended + x.aborted, 0);
    assert_null(x.x.callbacks.on_closed);
    hkx_fini(&x);
}

static void no_answer(void **state)
{
    begin();
    guest_http_returned(hk.g, false);
    assert_int_equal(guest_http(hk.g), GUEST_HTTP_NONE);
    end();
    assert_int_equal(x.aborted + x.ended + x.freed, 0);
    assert_null(x.x.callbacks.on_closed);
    begin();
    hk_call(T, "[static]response-outparam.set", args[1].u32, 1, 38, 1, 2000, hk_put(2000, "why"), 0,
            0, 0);
    assert_int_equal(guest_http(hk.g), GUEST_HTTP_ERROR);
    assert_str(guest_http_error(hk.g), "internal-error: why");
    hk_trap("unknown handle", T, "[static]response-outparam.set", args[1].u32, 1, 0, 0, 0, 0, 0, 0,
            0);
    hkx_fini(&x);
    hk_close();
    begin();
    hk_trap("out of bounds", T, "[static]response-outparam.set", args[1].u32, 1, 38, 1, 0xfffffff0,
            100, 0, 0, 0);
    hkx_fini(&x);
    hk_close();
}

/* A body longer or shorter than its content-length never desynchronises the connection. */
static void content_length_holds(void **state)
{
    begin();
    uint32_t f = new_fields();
    append(f, "content-length", "5");
    uint32_t r = response(f, 200), body = ok_handle("[method]outgoing-response.body", r);
    uint32_t out = ok_handle("[method]outgoing-body.write", body);
    set(r);
    write_body(out, "1234");
    assert_int_equal(x.x.length, 5);
    hk_call(STREAMS, "[method]output-stream.blocking-write-and-flush", out, 2000,
            hk_put(2000, "56"), 1000);
    assert_int_equal(hk_u8(1000), 1);
    assert_int_equal(hk_u8(1004), 0);
    hk_call(T, "http-error-code", hk_u32(1008), 1000);
    assert_int_equal(hk_u8(1000), 1);
    assert_int_equal(hk_u8(1008), HTTP_RESPONSE_BODY_SIZE);
    assert_int_equal(hk_u64(1024), 6);
    assert_int_equal(x.aborted, 1);
    assert_str(buf_str(&x.out), "1234");
    end();
    begin();
    f = new_fields();
    append(f, "content-length", "5");
    r = response(f, 200), body = ok_handle("[method]outgoing-response.body", r);
    out = ok_handle("[method]outgoing-body.write", body);
    set(r);
    write_body(out, "1234");
    hk_call(STREAMS, "output-stream", out);
    assert_int_equal(finish(body), 1);
    assert_int_equal(hk_u8(1008), HTTP_RESPONSE_BODY_SIZE);
    assert_int_equal(x.aborted, 1);
    end();
    begin();
    f = new_fields();
    append(f, "content-length", "5");
    append(f, "content-length", "6");
    set(response(f, 200));
    assert_int_equal(guest_http(hk.g), GUEST_HTTP_ERROR);
    end();
    begin_with((http_request){.method = S("HEAD")});
    f = new_fields();
    append(f, "content-length", "5");
    r = response(f, 200), body = ok_handle("[method]outgoing-response.body", r);
    set(r);
    assert_int_equal(finish(body), 0);
    assert_int_equal(x.ended, 1);
    assert_int_equal(x.x.length, 5);
    end();
}

static void request_bodies_stream(void **state)
{
    begin_with((http_request){.method = S("POST"), .has_body = true});
    uint32_t body = ok_handle("[method]incoming-request.consume", 1);
    hk_call(T, "[method]incoming-request.consume", 1, 1000);
    assert_int_equal(hk_u8(1000), 1);
    uint32_t in = ok_handle("[method]incoming-body.stream", body);
    hk_call(T, "[method]incoming-body.stream", body, 1000);
    assert_int_equal(hk_u8(1000), 1);
    hk_call(STREAMS, "[method]input-stream.read", in, 100, 1000);
    assert_int_equal(hk_u8(1000), 0);
    assert_int_equal(hk_u32(1008), 0);
    assert_true(x.reads > 0); /* in vain, but a client that waits for "100 Continue" gets it */
    hk_wait(STREAMS, "[method]input-stream.blocking-read", in, 4, 1000);
    buf_put_str(&x.body, S("abcdef"));
    x.x.callbacks.on_readable(x.x.user);
    assert_int_equal(hk.wakes, 1);
    assert_int_equal(kit_run(hk.in), ENGINE_DONE);
    hk_assert_str(1004, "abcd");
    hk_call(STREAMS, "[method]input-stream.skip", in, 1, 1000);
    assert_int_equal(hk_u64(1008), 1);
    hk_call(STREAMS, "[method]input-stream.blocking-read", in, 100, 1000);
    hk_assert_str(1004, "f");
    x.state = BODY_END;
    http_field trailer = {S("x-end"), S("yes")};
    x.x.trailers = &trailer;
    x.x.trailers_count = 1;
    hk_call(STREAMS, "[method]input-stream.blocking-read", in, 100, 1000);
    assert_int_equal(hk_u8(1000), 1);
    assert_int_equal(hk_u8(1004), 1);
    hk_call(STREAMS, "input-stream", in);
    hk_call(T, "[static]incoming-body.finish", body);
    uint32_t future = hk_slots[0].u32;
    hk_call(T, "[method]future-trailers.subscribe", future);
    uint32_t p = hk_slots[0].u32;
    hk_call("wasi:io/poll", "[method]pollable.block", p);
    hk_call("wasi:io/poll", "pollable", p);
    hk_call(T, "[method]future-trailers.get", future, 1000);
    assert_int_equal(hk_u8(1000), 1);
    assert_int_equal(hk_u8(1008), 0);
    assert_int_equal(hk_u8(1016), 0);
    assert_int_equal(hk_u8(1024), 1);
    uint32_t trailers = hk_u32(1028);
    hk_call(T, "[method]fields.get", trailers, 2000, hk_put(2000, "x-end"), 1000);
    hk_assert_str(hk_u32(1000), "yes");
    hk_call(T, "fields", trailers);
    hk_call(T, "[method]future-trailers.get", future, 1000);
    assert_int_equal(hk_u8(1008), 1); /* once */
    hk_call(T, "future-trailers", future);
    end();
}

/* 0.2.0-rc-2023-11-10: no result around the result. */
static void trailers_of_the_candidate(void **state)
{
    static const char get[] = "[method]future-trailers.get#2";
    begin_with((http_request){.method = S("POST"), .has_body = true});
    uint32_t body = ok_handle("[method]incoming-request.consume", 1);
    hk_call(T, "[static]incoming-body.finish", body);
    uint32_t future = hk_slots[0].u32;
    hk_call(T, get, future, 1000);
    assert_int_equal(hk_u8(1000), 0);
    http_field trailer = {S("x-end"), S("yes")};
    x.x.trailers = &trailer;
    x.x.trailers_count = 1;
    x.state = BODY_END;
    hk_call(T, get, future, 1000);
    assert_int_equal(hk_u8(1000), 1);
    assert_int_equal(hk_u8(1008), 0);
    assert_int_equal(hk_u8(1016), 1);
    hk_call(T, "[method]fields.get", hk_u32(1020), 2000, hk_put(2000, "x-end"), 1000);
    hk_assert_str(hk_u32(1000), "yes");
    hk_trap("taken before", T, get, future, 1000);
    end();
    begin_with((http_request){.method = S("POST"), .has_body = true});
    body = ok_handle("[method]incoming-request.consume", 1);
    hk_call(T, "[static]incoming-body.finish", body);
    x.state = BODY_ABORTED;
    hk_call(T, get, hk_slots[0].u32, 1000);
    assert_int_equal(hk_u8(1008), 1);
    assert_int_equal(hk_u8(1016), HTTP_CONNECTION_TERMINATED);
    end();
}

/* tool.ebb request_body_max: so much is read, then the stream fails; a byte less is no matter. */
static void a_request_body_has_a_limit(void **state)
{
    hk.component.request_body_bytes_max = 5;
    for (int longer = 0; longer < 2; longer++) {
        begin_with((http_request){.method = S("POST"), .has_body = true});
        uint32_t body = ok_handle("[method]incoming-request.consume", 1);
        uint32_t in = ok_handle("[method]incoming-body.stream", body);
        buf_put_str(&x.body, longer ? S("abcdef") : S("abcde"));
        x.state = BODY_END;
        hk_call(STREAMS, "[method]input-stream.blocking-read", in, 3, 1000);
        hk_assert_str(1004, "abc");
        hk_call(STREAMS, "[method]input-stream.blocking-read", in, 100, 1000);
        hk_assert_str(1004, "de");
        hk_call(STREAMS, "[method]input-stream.blocking-read", in, 100, 1000);
        assert_int_equal(hk_u8(1000), 1);
        assert_int_equal(hk_u8(1004), longer ? 0 : 1); /* failed, or closed */
        if (longer) {
            hk_call(T, "http-error-code", hk_u32(1008), 1000);
            assert_int_equal(hk_u8(1000), 1);
            assert_int_equal(hk_u8(1008), HTTP_REQUEST_BODY_SIZE);
            assert_int_equal(hk_u64(1024), 5);
        }
        end();
    }
    hk.component.request_body_bytes_max = 0;
}

/* response_body_max: the write beyond it fails and the response is cut. */
static void a_response_body_has_a_limit(void **state)
{
    hk.component.response_body_bytes_max = 5;
    begin();
    uint32_t r = response(new_fields(), 200);
    uint32_t body = ok_handle("[method]outgoing-response.body", r);
    uint32_t out = ok_handle("[method]outgoing-body.write", body);
    set(r);
    uint64_t moved = guest_moved(hk.g);
    write_body(out, "12345");
    assert_true(guest_moved(hk.g) == moved + 5);
    hk_call(STREAMS, "[method]output-stream.blocking-write-and-flush", out, 2000, hk_put(2000, "6"),
            1000);
    assert_int_equal(hk_u8(1000), 1);
    hk_call(T, "http-error-code", hk_u32(1008), 1000);
    assert_int_equal(hk_u8(1008), HTTP_RESPONSE_BODY_SIZE);
    assert_int_equal(x.aborted, 1);
    assert_str(buf_str(&x.out), "12345");
    end();
    hk.component.response_body_bytes_max = 0;
}

/* The rest of an unread body is dropped for its trailers; an abort is told. */
static void unread_and_aborted_bodies(void **state)
{
    begin_with((http_request){.method = S("POST"), .has_body = true});
    uint32_t body = ok_handle("[method]incoming-request.consume", 1);
    buf_put_str(&x.body, S("unread"));
    hk_call(T, "[static]incoming-body.finish", body);
    uint32_t future = hk_slots[0].u32;
    hk_call(T, "[method]future-trailers.get", future, 1000);
    assert_int_equal(hk_u8(1000), 0);
    assert_int_equal(x.body.n, 0);
    x.state = BODY_ABORTED;
    hk_call(T, "[method]future-trailers.get", future, 1000);
    assert_int_equal(hk_u8(1000), 1);
    assert_int_equal(hk_u8(1016), 1);
    assert_int_equal(hk_u8(1024), HTTP_CONNECTION_TERMINATED);
    end();
    begin_with((http_request){.method = S("POST"), .has_body = true});
    body = ok_handle("[method]incoming-request.consume", 1);
    uint32_t in = ok_handle("[method]incoming-body.stream", body);
    x.state = BODY_ABORTED;
    hk_call(STREAMS, "[method]input-stream.blocking-read", in, 100, 1000);
    assert_int_equal(hk_u8(1000), 1);
    assert_int_equal(hk_u8(1004), 0);
    hk_call("wasi:io/error", "[method]error.to-debug-string", hk_u32(1008), 1000);
    assert_true(hk_u32(1004) > 0);
    hk_call(STREAMS, "[method]input-stream.blocking-read", in, 100, 1000);
    assert_int_equal(hk_u8(1004), 1); /* closed from now on */
    end();
}

/* The response is finished while the guest still reads the request: it may go on. */
static void reading_after_the_answer(void **state)
{
    begin_with((http_request){.method = S("POST"), .has_body = true});
    uint32_t body = ok_handle("[method]incoming-request.consume", 1);
    uint32_t in = ok_handle("[method]incoming-body.stream", body);
    set(response(new_fields(), 200));
    assert_int_equal(guest_http(hk.g), GUEST_HTTP_DRAINING);
    buf_put_str(&x.body, S("late"));
    hk_call(STREAMS, "[method]input-stream.blocking-read", in, 100, 1000);
    hk_assert_str(1004, "late");
    assert_int_equal(x.ended, 0);
    guest_http_returned(hk.g, false);
    assert_int_equal(x.ended, 1);
    assert_int_equal(guest_http(hk.g), GUEST_HTTP_ENDED);
    end();
}

static void trailers_go_out(void **state)
{
    begin();
    uint32_t r = response(new_fields(), 200), body = ok_handle("[method]outgoing-response.body", r);
    uint32_t t = new_fields();
    append(t, "x-sum", "42");
    set(r);
    hk_call(T, "[static]outgoing-body.finish", body, 1, t, 1000);
    assert_int_equal(hk_u8(1000), 0);
    assert_int_equal(x.trailers_out_count, 1);
    assert_str(x.trailers_out[0].name, "x-sum");
    assert_int_equal(x.x.length, -1);
    end();
}

static void echo_by_splice(void **state)
{
    begin_with((http_request){.method = S("POST"), .has_body = true});
    uint32_t in_body = ok_handle("[method]incoming-request.consume", 1);
    uint32_t in = ok_handle("[method]incoming-body.stream", in_body);
    uint32_t r = response(new_fields(), 200), body = ok_handle("[method]outgoing-response.body", r);
    uint32_t out = ok_handle("[method]outgoing-body.write", body);
    set(r);
    buf_put_str(&x.body, S("echo me"));
    hk_call(STREAMS, "[method]output-stream.splice", out, in, 4, 1000);
    assert_int_equal(hk_u64(1008), 4);
    x.room = 2;
    hk_call(STREAMS, "[method]output-stream.blocking-splice", out, in, 100, 1000);
    assert_int_equal(hk_u64(1008), 2);
    hk_wait(STREAMS, "[method]output-stream.blocking-splice", out, in, 100, 1000);
    x.room = 100;
    x.x.callbacks.on_writable(x.x.user);
    assert_int_equal(kit_run(hk.in), ENGINE_DONE);
    assert_str(buf_str(&x.out), "echo me");
    end();
}

/* HTTP/1.0 need not name a host. */
static void no_authority(void **state)
{
    err e;
    hk_open();
    hkx_init(&x, (http_request){.method = S("GET"), .target = S("/"), .scheme = S("http")});
    assert_true(guest_http_begin(hk.g, &x.x, &x.x.request, args, &e));
    hk_call(T, "[method]incoming-request.authority", 1, 1000);
    assert_int_equal(hk_u8(1000), 0);
    end();
}

/* Setters of outgoing-request refuse what is no URI part; nothing is allowed out. */
static void outgoing_requests(void **state)
{
    static const struct {
        const char *authority;
        bool valid;
    } cases[] = {{"example.com", true},
                 {"example.com:80", true},
                 {"[::1]:8080", true},
                 {"[::1]", true},
                 {"", false},
                 {"a b", false},
                 {"user@example.com", false},
                 {"a:99999", false},
                 {"a:b", false},
                 {"a/b", false},
                 {"::1", false},
                 {"[::1]x", false}};
    begin();
    hk_call(T, "[constructor]outgoing-request", new_fields());
    uint32_t q = hk_slots[0].u32;
    static const char *const unset[] = {"[method]outgoing-request.authority",
                                        "[method]outgoing-request.path-with-query",
                                        "[method]outgoing-request.scheme"};
    for (size_t i = 0; i < 3; i++) {
        hk_call(T, unset[i], q, 1000);
        assert_int_equal(hk_u8(1000), 0);
    }
    hk_call(T, "[method]outgoing-request.set-scheme", q, 1, 2, 2000, hk_put(2000, "1bad"));
    assert_int_equal(hk_slots[0].u32, 1);
    uint32_t body = ok_handle("[method]outgoing-request.body", q);
    hk_call(T, "[method]outgoing-request.body", q, 1000);
    assert_int_equal(hk_u8(1000), 1);
    ok_handle("[method]outgoing-body.write", body);
    hk_call(T, "[method]outgoing-body.write", body, 1000);
    assert_int_equal(hk_u8(1000), 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hk_call(T, "[method]outgoing-request.set-authority", q, 1, 2000,
                hk_put(2000, cases[i].authority));
        if (hk_slots[0].u32 == cases[i].valid)
            fail_msg("%s", cases[i].authority);
    }
    hk_call(T, "[method]outgoing-request.authority", q, 1000);
    hk_assert_str(1004, "[::1]");
    hk_call(T, "[method]outgoing-request.set-authority", q, 1, 2000,
            hk_put(2000, "localhost:1234"));
    hk_call(T, "[method]outgoing-request.set-path-with-query", q, 1, 2000, hk_put(2000, "/a b"));
    assert_int_equal(hk_slots[0].u32, 1);
    hk_call(T, "[method]outgoing-request.set-path-with-query", q, 1, 2000, hk_put(2000, "/a?b=c"));
    assert_int_equal(hk_slots[0].u32, 0);
    hk_call(T, "[method]outgoing-request.set-method", q, 9, 2000, hk_put(2000, "B AD"));
    assert_int_equal(hk_slots[0].u32, 1);
    hk_call(T, "[method]outgoing-request.set-method", q, 2, 0, 0);
    hk_call(T, "[method]outgoing-request.method", q, 1000);
    assert_int_equal(hk_u8(1000), 2);
    hk_call(T, "[method]outgoing-request.set-scheme", q, 1, 0, 0, 0);
    hk_call(T, "[method]outgoing-request.scheme", q, 1000);
    assert_int_equal(hk_u8(1000), 1);
    assert_int_equal(hk_u8(1004), 0);
    hk_call(T, "[method]outgoing-request.path-with-query", q, 1000);
    hk_assert_str(1004, "/a?b=c");
    hk_call(T, "[method]outgoing-request.headers", q);
    uint32_t view = hk_slots[0].u32;
    assert_int_equal(append(view, "a", "b"), 1 + 2);
    hk_call(T, "fields", view);
    hk_call(T, "[constructor]request-options", 0);
    uint32_t o = hk_slots[0].u32;
    static const char *const timeouts[][2] = {
        {"[method]request-options.first-byte-timeout",
         "[method]request-options.set-first-byte-timeout"},
        {"[method]request-options.between-bytes-timeout",
         "[method]request-options.set-between-bytes-timeout"}};
    for (int i = 0; i < 2; i++) {
        hk_call(T, timeouts[i][0], o, 1000);
        assert_int_equal(hk_u8(1000), 0);
        hk_call(T, timeouts[i][1], o, 1, 70 + (uint64_t)i);
        assert_int_equal(hk_slots[0].u32, 0);
        hk_call(T, timeouts[i][0], o, 1000);
        assert_true(hk_u8(1000) == 1 && hk_u64(1008) == 70u + (unsigned)i);
    }
    hk_call(T, "[method]request-options.connect-timeout", o, 1000);
    assert_int_equal(hk_u8(1000), 0);
    hk_call(T, "[method]request-options.set-connect-timeout", o, 1, 5);
    hk_call(T, "[method]request-options.connect-timeout", o, 1000);
    assert_true(hk_u8(1000) == 1 && hk_u64(1008) == 5);
    hk_call("wasi:http/outgoing-handler", "handle", q, 1, o, 1000);
    assert_int_equal(hk_u8(1000), 0);
    uint32_t future = hk_u32(1008);
    hk_call(T, "[method]future-incoming-response.get", future, 1000);
    assert_int_equal(hk_u8(1000), 1);
    assert_int_equal(hk_u8(1008), 0);
    assert_int_equal(hk_u8(1016), 1);
    assert_int_equal(hk_u8(1024), HTTP_REQUEST_DENIED);
    hk_call(T, "[method]future-incoming-response.get", future, 1000);
    assert_int_equal(hk_u8(1008), 1);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_request_is_seen),
        cmocka_unit_test(fields_are_checked),
        cmocka_unit_test(responses_are_looked_at),
        cmocka_unit_test(informational_responses_take_nothing),
        cmocka_unit_test(hello),
        cmocka_unit_test(bytes_are_counted),
        cmocka_unit_test(empty_bodies),
        cmocka_unit_test(the_body_may_come_first),
        cmocka_unit_test(back_pressure),
        cmocka_unit_test(nothing_is_taken_for_nobody),
        cmocka_unit_test(a_trap_after_set_cuts),
        cmocka_unit_test(no_answer),
        cmocka_unit_test(content_length_holds),
        cmocka_unit_test(request_bodies_stream),
        cmocka_unit_test(unread_and_aborted_bodies),
        cmocka_unit_test(trailers_of_the_candidate),
        cmocka_unit_test(a_request_body_has_a_limit),
        cmocka_unit_test(a_response_body_has_a_limit),
        cmocka_unit_test(reading_after_the_answer),
        cmocka_unit_test(trailers_go_out),
        cmocka_unit_test(echo_by_splice),
        cmocka_unit_test(outgoing_requests),
        cmocka_unit_test(no_authority),
    };
    return cmocka_run_group_tests(tests, hk_begin, hk_end);
}
