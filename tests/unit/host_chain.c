/* Requests that the app answers itself (host/chain.h): what the called sees, bodies both ways with
 * back-pressure, and every way in which one of the two goes. The called is this test. */
#include "host_client_kit.h"

#include "base/limits.h"

static http_exchange *x; /* the last one that was begun */
static int begun, readable, writable, closed;
static char asked_host[64];
static host_chain answer; /* of chain_target */

static host_chain target(void *user, const outbound_rules *own, str scheme, str host)
{
    assert_string_equal(user, "outbound user");
    assert_null(own);
    return answer;
}

static void begin_one(void *user, http_exchange *made, str host)
{
    assert_string_equal(user, "outbound user");
    snprintf(asked_host, sizeof asked_host, "%.*s", STR(host));
    x = made;
    begun++;
}

static void on_readable(void *user) { readable++; }
static void on_writable(void *user) { writable++; }
static void on_closed(void *user)
{
    closed++;
    exchange_free(x);
    x = NULL;
}

static const exchange_callbacks callbacks = {on_readable, on_writable, on_closed};

static void begin(void)
{
    static char user[] = "outbound user";
    hk.component = (host_component){.handles_max = 1000,
                                    .chain_target = target,
                                    .chain_begin = begin_one,
                                    .outbound_user = user};
    answer = CHAIN_INSIDE;
    x = NULL;
    begun = readable = writable = closed = 0;
    hk_open();
}

static void turn(void)
{
    for (int i = 0; i < 5; i++)
        loop_turn(hk.l, 0);
}

/* Sends it; the called has it and is bound. */
static uint32_t sent(uint32_t q, uint32_t options)
{
    int before = begun;
    uint32_t future = send_with(q, options);
    assert_int_equal(begun, before); /* nothing is called from inside a host function */
    turn();
    assert_int_equal(begun, before + 1);
    exchange_bind(x, &callbacks, NULL);
    return future;
}

static void field_is(size_t i, const char *name, const char *value)
{
    const http_request *r = exchange_request(x);
    assert_true(i < r->fields_count);
    assert_true(str_eq(r->fields[i].name, str_from(name)));
    assert_true(str_eq(r->fields[i].value, str_from(value)));
}

static void heads(void **state)
{
    static const struct {
        const char *authority, *path, *host, *target;
    } rows[] = {
        {"b.spin.internal", "/a?b=c", "b.spin.internal", "/a?b=c"},
        {"b.spin.internal:80", "/", "b.spin.internal", "/"},
        {"b.spin.internal", NULL, "b.spin.internal", "/"},
        {"b.spin.internal", "?x", "b.spin.internal", "/?x"},
    };
    begin();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint32_t future = sent(request_to(0, rows[i].path, rows[i].authority), 0);
        const http_request *r = exchange_request(x);
        body_state s;
        assert_str(r->method, "GET");
        assert_true(str_eq(r->target, str_from(rows[i].target)));
        assert_true(str_eq(r->authority, str_from(rows[i].authority)));
        assert_string_equal(asked_host, rows[i].host);
        assert_str(r->scheme, "http");
        assert_str(r->peer, "0.0.0.0:0");
        assert_int_equal(r->content_length, -1);
        assert_false(r->has_body);
        assert_true(r->begun_mono <= clock_mono() && r->begun_mono + 60 * NS_PER_S > clock_mono());
        assert_int_equal(r->fields_count, 2);
        field_is(0, "host", rows[i].authority);
        field_is(1, "x-test", "1");
        assert_int_equal(host_chain_depth(x), 1);
        assert_int_equal(exchange_read(x, NULL, 0, &s), 0);
        assert_int_equal(s, BODY_END);
        exchange_abort(x, 404, NULL, 0);
        uint32_t response = get(future);
        assert_true(response < 1000);
        hk_call(T, "[method]incoming-response.status", response);
        assert_int_equal(hk_slots[0].u32, 404);
    }
    hk_close();
}

/* `self`, by name or without any, is asked as the app was; others by what the guest says. */
static void self(void **state)
{
    static const struct {
        const char *authority, *seen, *host;
        bool is_called; /* the guest answers a request itself */
    } rows[] = {
        {NULL, "own.test:81", "", true},
        {"self.alt", "own.test:81", "self.alt", true},
        {"c.spin.internal", "c.spin.internal", "c.spin.internal", true},
        {"self.alt", "self.alt", "self.alt", false},
        {NULL, "", "", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        hk_exchange own;
        slot args[2];
        err e;
        begin();
        hkx_init(&own, (http_request){.method = S("GET"),
                                      .target = S("/"),
                                      .authority = S("own.test:81"),
                                      .scheme = S("http"),
                                      .content_length = -1});
        if (rows[i].is_called)
            assert_true(guest_http_begin(hk.g, &own.x, &own.x.request, args, &e));
        assert_int_equal(host_chain_depth(&own.x), 0);
        sent(request_to(0, "/", rows[i].authority), 0);
        assert_true(str_eq(exchange_request(x)->authority, str_from(rows[i].seen)));
        assert_string_equal(asked_host, rows[i].host);
        exchange_abort(x, 404, NULL, 0);
        hk_close();
        turn();
        hkx_fini(&own);
    }
}

/* The whole answer: head, a body in pieces, trailers. */
static void answers(void **state)
{
    static const struct {
        unsigned status;
        int64_t length;
        const char *shown; /* content-length; NULL: none */
    } rows[] = {{201, 10, "10"}, {200, -1, NULL}};
    const http_field given = {S("x-a"), S("b")}, trailer = {S("x-sum"), S("7")};
    begin();
    for (size_t i = 0; i < 2; i++) {
        buf b;
        err e;
        bool overrun;
        buf_init(&b, 1000);
        uint32_t future = sent(request_to(0, "/", "b.spin.internal"), 0);
        assert_true(exchange_start(x, rows[i].status, &given, 1, rows[i].length, &e));
        uint32_t response = get(future); /* before there is a body */
        hk_call(T, "[method]incoming-response.status", response);
        assert_int_equal(hk_slots[0].u32, rows[i].status);
        hk_call(T, "[method]incoming-response.headers", response);
        uint32_t f = hk_slots[0].u32;
        hk_call(T, "[method]fields.get", f, 2000, hk_put(2000, "x-a"), 1000);
        hk_assert_str(hk_u32(1000), "b");
        hk_call(T, "[method]fields.get", f, 2000, hk_put(2000, "content-length"), 1000);
        assert_int_equal(hk_u32(1004), rows[i].shown != NULL);
        if (rows[i].shown)
            hk_assert_str(hk_u32(1000), rows[i].shown);
        hk_call(T, "[method]fields.append", f, 2000, hk_put(2000, "x"), 3000, 0, 1000);
        assert_int_equal(hk_u8(1000), 1); /* immutable */
        hk_call(T, "fields", f);
        assert_int_equal(exchange_write(x, "hello", 5, &overrun), 5);
        turn();
        assert_int_equal(exchange_write(x, "world", 5, &overrun), 5);
        exchange_end(x, &trailer, 1);
        uint32_t trailers = read_all(response, &b);
        assert_str(buf_str(&b), "helloworld");
        hk_call(T, "[method]future-trailers.get", trailers, 1000);
        assert_int_equal(hk_u8(1024), 1);
        hk_call(T, "[method]fields.get", hk_u32(1028), 2000, hk_put(2000, "x-sum"), 1000);
        hk_assert_str(hk_u32(1000), "7");
        hk_call(T, "incoming-response", response);
        buf_fini(&b);
    }
    assert_int_equal(closed, 0);
    hk_close();
}

/* 204 has no length, and numbers of any size are written whole. */
static void lengths(void **state)
{
    static const struct {
        unsigned status;
        int64_t length;
        const char *shown;
    } rows[] = {{204, 5, NULL}, {304, 0, "0"}, {304, INT64_MAX, "9223372036854775807"}};
    err e;
    begin();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint32_t future = sent(request_to(0, "/", "b.spin.internal"), 0);
        assert_true(exchange_start(x, rows[i].status, NULL, 0, rows[i].length, &e));
        exchange_end(x, NULL, 0);
        uint32_t response = get(future);
        hk_call(T, "[method]incoming-response.headers", response);
        hk_call(T, "[method]fields.get", hk_slots[0].u32, 2000, hk_put(2000, "content-length"),
                1000);
        assert_int_equal(hk_u32(1004), rows[i].shown != NULL);
        if (rows[i].shown)
            hk_assert_str(hk_u32(1000), rows[i].shown);
    }
    hk_close();
}

static uint8_t noise_at(size_t at) { return (uint8_t)(at * 2654435761u >> 13); }

/* The called writes more than a buffer: it is stopped, and told when there is room again. */
static void answers_wait(void **state)
{
    static uint8_t body[HTTP_BUFFER_BYTES + 10000];
    bool overrun;
    err e;
    begin();
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = noise_at(i);
    uint32_t future = sent(request_to(0, "/", "b.spin.internal"), 0);
    assert_int_equal(exchange_room(x), 0);
    assert_true(exchange_start(x, 200, NULL, 0, -1, &e));
    assert_int_equal(exchange_room(x), HTTP_BUFFER_BYTES);
    assert_int_equal(exchange_write(x, body, sizeof body, &overrun), HTTP_BUFFER_BYTES);
    assert_int_equal(exchange_room(x), 0);
    uint32_t response = get(future);
    uint32_t in_body = ok_handle("[method]incoming-response.consume", response);
    uint32_t in = ok_handle("[method]incoming-body.stream", in_body);
    turn();
    assert_int_equal(writable, 0);
    call_on(STREAMS, "[method]input-stream.blocking-read", in, 6000, 1000);
    assert_int_equal(hk_u8(1000), 0);
    assert_int_equal(hk_str(1004).n, 6000);
    assert_memory_equal(hk_str(1004).p, body, 6000);
    turn();
    assert_int_equal(writable, 1);
    assert_int_equal(exchange_room(x), 6000);
    call_on(STREAMS, "[method]input-stream.blocking-read", in, 6000, 1000);
    turn();
    assert_int_equal(writable, 1); /* it was not full */
    size_t written = HTTP_BUFFER_BYTES, got = 12000;
    assert_true(exchange_write_on(x, body, sizeof body, &written));
    exchange_end(x, NULL, 0);
    for (;;) {
        call_on(STREAMS, "[method]input-stream.blocking-read", in, 65536, 1000);
        if (hk_u8(1000))
            break;
        str piece = hk_str(1004);
        assert_memory_equal(piece.p, body + got, piece.n);
        got += piece.n;
    }
    assert_int_equal(hk_u8(1004), 1); /* closed, not failed */
    assert_int_equal(got, sizeof body);
    hk_close();
}

static uint32_t write_some(uint32_t out, size_t at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hk_memory()[8000 + i] = noise_at(at + i);
    hk_call(STREAMS, "[method]output-stream.check-write", out, 1000);
    assert_int_equal(hk_u8(1000), 0);
    uint64_t may = hk_u64(1008);
    n = n < may ? n : (size_t)may;
    if (n)
        hk_call(STREAMS, "[method]output-stream.write", out, 8000, n, 1000);
    return (uint32_t)n;
}

/* The caller writes more than a buffer: it is stopped until the called reads. */
static void bodies_wait(void **state)
{
    static uint8_t got[2 * HTTP_BUFFER_BYTES];
    body_state s;
    size_t at = 0, read = 0;
    begin();
    uint32_t q = request_to(2, "/", "b.spin.internal");
    uint32_t body = ok_handle("[method]outgoing-request.body", q);
    uint32_t out = ok_handle("[method]outgoing-body.write", body);
    uint32_t future = sent(q, 0);
    assert_true(exchange_request(x)->has_body);
    assert_str(exchange_request(x)->method, "POST");
    assert_int_equal(exchange_read(x, got, 10, &s), 0);
    assert_int_equal(s, BODY_OPEN);
    for (uint32_t n; (n = write_some(out, at, 10000)); at += n)
        turn();
    turn();
    assert_true(at >= HTTP_BUFFER_BYTES);
    assert_true(readable > 0);
    assert_int_equal(exchange_readable(x, &s), HTTP_BUFFER_BYTES);
    assert_int_equal(s, BODY_OPEN);
    int told = readable;
    turn();
    assert_int_equal(readable, told); /* once for what came */
    size_t first = exchange_read(x, got, 10000, &s);
    assert_int_equal(first, 10000);
    assert_int_equal(s, BODY_OPEN);
    read = first;
    turn();
    at += write_some(out, at, 5000);
    turn();
    hk_call(STREAMS, "output-stream", out);
    hk_call(T, "[static]outgoing-body.finish", body, 0, 0, 1000);
    assert_int_equal(hk_u8(1000), 0);
    for (int i = 0; i < 100 && s == BODY_OPEN; i++) {
        read += exchange_read(x, got + read, sizeof got - read, &s);
        turn();
    }
    assert_int_equal(s, BODY_END);
    assert_int_equal(read, at);
    assert_int_equal(exchange_bytes_in(x), at);
    for (size_t i = 0; i < read; i++)
        assert_int_equal(got[i], noise_at(i));
    exchange_abort(x, 200, NULL, 0);
    assert_true(get(future) < 1000);
    hk_close();
}

/* Where memory is short only while a request is sent, its guest is told so, or the called gets all
 * that was written of the body before. */
static void memory_is_short(void **state)
{
    enum { WRITTEN = 10000 };
    size_t failures = 0;
    for (bool all = false; !all; failures++) {
        body_state s;
        begin();
        uint32_t q = request_to(2, "/", "b.test");
        uint32_t body = ok_handle("[method]outgoing-request.body", q);
        uint32_t out = ok_handle("[method]outgoing-body.write", body);
        assert_int_equal(write_some(out, 0, WRITTEN), WRITTEN);
        alloc_fail_after(failures + 1);
        engine_status status =
            hk_start(hk_find("wasi:http/outgoing-handler", "handle"), HK_ARGS(q, 0, 0, 1000));
        all = alloc_fail_after(0) <= failures;
        turn();
        if (x) {
            exchange_bind(x, &callbacks, NULL);
            assert_int_equal(exchange_readable(x, &s), WRITTEN);
            assert_int_equal(s, BODY_OPEN);
        } else if (status == ENGINE_TRAP) {
            assert_non_null(strstr(engine_instance_trap(hk.in)->text, "of host memory"));
        } else {
            assert_int_equal(get(hk_u32(1008)), 1000 + HTTP_INTERNAL_ERROR);
        }
        assert_true(x || !all);
        hk_close();
        turn();
        assert_null(x);
    }
    assert_true(failures > 1);
}

/* A body shorter than its length is no body: both ends are told. */
static void bodies_that_break(void **state)
{
    body_state s;
    begin();
    hk_call(T, "[constructor]fields", 0);
    uint32_t f = hk_slots[0].u32;
    hk_call(T, "[method]fields.append", f, 2000, hk_put(2000, "content-length"), 3000,
            hk_put(3000, "10"), 1000);
    hk_call(T, "[constructor]outgoing-request", f);
    uint32_t q = hk_slots[0].u32;
    hk_call(T, "[method]outgoing-request.set-method", q, 2, 0, 0);
    hk_call(T, "[method]outgoing-request.set-authority", q, 1, 2000, hk_put(2000, "b.test"));
    uint32_t body = ok_handle("[method]outgoing-request.body", q);
    uint32_t out = ok_handle("[method]outgoing-body.write", body);
    uint32_t future = sent(q, 0);
    assert_int_equal(exchange_request(x)->content_length, 10);
    assert_int_equal(write_some(out, 0, 4), 4);
    hk_call(STREAMS, "output-stream", out);
    hk_call(T, "[static]outgoing-body.finish", body, 0, 0, 1000);
    assert_int_equal(hk_u8(1000), 1);
    assert_int_equal(get(future), 1000 + HTTP_REQUEST_BODY_SIZE);
    turn();
    if (x) {
        char got[10];
        exchange_read(x, got, sizeof got, &s);
        exchange_readable(x, &s);
        assert_int_equal(s, BODY_ABORTED);
        exchange_abort(x, 500, NULL, 0);
    }
    hk_close();
}

/* The called gives up: before the head, after it, or short of what it announced. */
static void answers_that_break(void **state)
{
    err e;
    bool overrun;
    begin();
    uint32_t future = sent(request_to(0, "/", "b.test"), 0);
    const http_field bad = {S("a b"), S("c")}; /* abort cannot even start an answer with it */
    exchange_abort(x, 500, &bad, 1);
    assert_int_equal(get(future), 1000 + HTTP_RESPONSE_INCOMPLETE);
    for (int how = 0; how < 2; how++) {
        future = sent(request_to(0, "/", "b.test"), 0);
        assert_true(exchange_start(x, 200, NULL, 0, 10, &e));
        assert_int_equal(exchange_write(x, "hello", 5, &overrun), 5);
        if (how)
            exchange_end(x, NULL, 0);
        else
            exchange_abort(x, 500, NULL, 0);
        uint32_t response = get(future);
        assert_true(response < 1000);
        uint32_t body = ok_handle("[method]incoming-response.consume", response);
        uint32_t in = ok_handle("[method]incoming-body.stream", body);
        call_on(STREAMS, "[method]input-stream.blocking-read", in, 100, 1000);
        assert_int_equal(hk_u8(1000), 0);
        assert_str(hk_str(1004), "hello");
        call_on(STREAMS, "[method]input-stream.blocking-read", in, 100, 1000);
        assert_int_equal(hk_u8(1000), 1);
        assert_int_equal(hk_u8(1004), 0); /* failed, not closed */
    }
    hk_close();
}

/* The caller goes: with its future, with its guest, or before the called was begun. */
static void callers_that_go(void **state)
{
    begin();
    uint32_t future = sent(request_to(0, "/", "b.test"), 0);
    assert_int_equal(closed, 0);
    hk_call(T, "future-incoming-response", future);
    turn();
    assert_int_equal(closed, 1);
    /* Three at once, of which the middle one goes first. */
    uint32_t futures[3];
    http_exchange *all[3];
    for (int i = 0; i < 3; i++) {
        futures[i] = sent(request_to(0, "/", "b.test"), 0);
        all[i] = x;
    }
    x = all[1];
    hk_call(T, "future-incoming-response", futures[1]);
    turn();
    assert_int_equal(closed, 2);
    exchange_abort(all[0], 200, NULL, 0);
    assert_true(get(futures[0]) < 1000);
    x = all[2];
    hk_close();
    turn();
    assert_int_equal(closed, 3);
    begin();
    future = send_with(request_to(0, "/", "b.test"), 0);
    hk_call(T, "future-incoming-response", future);
    turn();
    assert_int_equal(begun, 0);
    hk_close();
}

static void deadlines(void **state)
{
    begin();
    hk_call(T, "[constructor]request-options", 0);
    uint32_t o = hk_slots[0].u32;
    hk_call(T, "[method]request-options.set-first-byte-timeout", o, 1, 50 * NS_PER_MS);
    ns before = clock_mono();
    assert_int_equal(get(sent(request_to(0, "/", "b.test"), o)), 1000 + HTTP_RESPONSE_TIMEOUT);
    assert_true(clock_mono() - before >= 49 * NS_PER_MS);
    turn();
    assert_int_equal(closed, 1);
    hk_close();
}

/* A cycle of calls ends. */
static void depth(void **state)
{
    begin();
    hk.g->chain_depth = HOST_CHAIN_DEPTH_MAX - 1;
    uint32_t future = sent(request_to(0, "/", "b.test"), 0);
    assert_int_equal(host_chain_depth(x), HOST_CHAIN_DEPTH_MAX);
    exchange_abort(x, 200, NULL, 0);
    assert_true(get(future) < 1000);
    hk.g->chain_depth = HOST_CHAIN_DEPTH_MAX;
    assert_int_equal(get(send_with(request_to(0, "/", "b.test"), 0)), 1000 + HTTP_LOOP_DETECTED);
    turn();
    assert_int_equal(begun, 1);
    hk_close();
}

/* Who is not there, or may not be asked. */
static void targets(void **state)
{
    begin();
    answer = CHAIN_DENIED;
    assert_int_equal(get(send_with(request_to(0, "/", "b.test"), 0)), 1000 + HTTP_REQUEST_DENIED);
    answer = CHAIN_NOWHERE;
    assert_int_equal(get(send_with(request_to(0, "/", "b.test"), 0)),
                     1000 + HTTP_DESTINATION_NOT_FOUND);
    assert_int_equal(begun, 0);
    hk_close();
}

/* More at once than are kept, again and again: none is mixed up with another. */
static void many(void **state)
{
    enum { AT_ONCE = 40 };
    begin();
    for (int round = 0; round < 3; round++) {
        uint32_t futures[AT_ONCE];
        http_exchange *all[AT_ONCE];
        for (int i = 0; i < AT_ONCE; i++) {
            char path[20];
            snprintf(path, sizeof path, "/%d", i);
            futures[i] = sent(request_to(0, path, "b.test"), 0);
            all[i] = x;
        }
        for (int i = 0; i < AT_ONCE; i++) {
            err e;
            bool overrun;
            char body[20];
            str path = exchange_request(all[i])->target;
            int n = snprintf(body, sizeof body, "%d %.*s", round, STR(path));
            assert_true(exchange_start(all[i], 200, NULL, 0, n, &e));
            assert_int_equal(exchange_write(all[i], body, (size_t)n, &overrun), n);
            exchange_end(all[i], NULL, 0);
        }
        for (int i = AT_ONCE; i-- > 0;) {
            char body[20];
            buf b;
            buf_init(&b, 1000);
            snprintf(body, sizeof body, "%d /%d", round, i);
            uint32_t response = get(futures[i]);
            uint32_t trailers = read_all(response, &b);
            assert_true(str_eq(buf_str(&b), str_from(body)));
            hk_call(T, "future-trailers", trailers);
            hk_call(T, "incoming-response", response);
            hk_call(T, "future-incoming-response", futures[i]);
            buf_fini(&b);
        }
    }
    assert_int_equal(closed, 0);
    hk_close();
}

static loop_timer awake; /* a loop with nothing to wait for does not turn */

static void on_awake(void *user) {}

static int begin_all(void **state)
{
    if (hk_begin(state) < 0)
        return -1;
    return loop_timer_start(hk.l, &awake, 3600 * NS_PER_S, on_awake, NULL) ? 0 : -1;
}

static int end_all(void **state)
{
    loop_timer_stop(&awake);
    host_loop_close(hk.l);
    return hk_end(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads),
        cmocka_unit_test(self),
        cmocka_unit_test(answers),
        cmocka_unit_test(lengths),
        cmocka_unit_test(answers_wait),
        cmocka_unit_test(bodies_wait),
        cmocka_unit_test(memory_is_short),
        cmocka_unit_test(bodies_that_break),
        cmocka_unit_test(answers_that_break),
        cmocka_unit_test(callers_that_go),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(depth),
        cmocka_unit_test(targets),
        cmocka_unit_test(many),
    };
    return cmocka_run_group_tests(tests, begin_all, end_all);
}
