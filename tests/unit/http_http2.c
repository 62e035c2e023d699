/* Exchanges of HTTP/2 as handlers see them: responses that are taken back, bodies and
 * back-pressure, clients that go. What clients see of the protocol is in
 * tests/integration/test_http2.py. */
#include "http2_kit.h"

/* --- handlers --- */

/* Starts a response, writes some, and takes it back: what was not sent is as if it never was. */
static void take_back(http_exchange *x)
{
    err e;
    bool overrun;
    assert_true(exchange_start(x, 200, NULL, 0, -1, &e));
    assert_int_equal(exchange_write(x, "never", 5, &overrun), 5);
    exchange_abort(x, 500, NULL, 0);
}

static void retracted(void **state)
{
    buf b;
    frame f;
    kit_open(NULL, take_back);
    client c = greet(&b, 1000);
    put_request(&b, 1, true);
    send_buf(&c, &b);
    until(got_frame(&c, F_HEADERS, 1, 0, &f));
    assert_int_equal(f.p[0], 0x8e); /* :status 500 of the static table */
    assert_true(f.flags & END_STREAM);
    assert_int_equal(body_bytes(&c, 1), 0);
    assert_int_equal(http_server_active(kit.server), 0);
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

/* A response without body is one frame, with its length; fields are in lower case. */
static void one_frame(http_exchange *x)
{
    static const http_field f = {{"X-Upper", 7}, {"Case", 4}};
    err e;
    assert_str(exchange_request(x)->method, "POST");
    assert_str(exchange_request(x)->authority, "a");
    assert_str(exchange_request(x)->target, "/");
    assert_int_equal(exchange_request(x)->fields_count, 1);
    assert_str(exchange_request(x)->fields[0].name, "host");
    assert_true(exchange_start(x, 200, &f, 1, -1, &e));
    exchange_end(x, NULL, 0);
}

static void empty(void **state)
{
    buf b;
    frame f;
    kit_open(NULL, one_frame);
    client c = greet(&b, 1000);
    put_request(&b, 1, true);
    send_buf(&c, &b);
    until(got_frame(&c, F_HEADERS, 1, 0, &f));
    assert_true(f.flags & END_STREAM);
    assert_int_equal(f.p[0], 0x88);
    assert_false(got_frame(&c, F_DATA, 1, 0, &f));
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

/* The client's window stops the handler at HTTP_BUFFER_BYTES, and opens it again. */
static void back_pressure(void **state)
{
    static char piece[HTTP_BUFFER_BYTES];
    buf b;
    frame f;
    err e;
    bool overrun;
    kit_open(NULL, keep);
    client c = greet(&b, 100);
    put_request(&b, 1, true);
    send_buf(&c, &b);
    until(kit.x);
    assert_true(exchange_start(kit.x, 200, NULL, 0, -1, &e));
    size_t wrote = exchange_write(kit.x, piece, sizeof piece, &overrun);
    assert_int_equal(wrote, HTTP_BUFFER_BYTES);
    until(body_bytes(&c, 1) == 100);
    wrote += exchange_write(kit.x, piece, sizeof piece, &overrun);
    assert_int_equal(wrote, HTTP_BUFFER_BYTES + 100);
    assert_int_equal(exchange_room(kit.x), 0);
    settle_down();
    assert_int_equal(kit.writable, 0);
    assert_int_equal(body_bytes(&c, 1), 100);
    put_number(&b, F_WINDOW, 1, 60000);
    send_buf(&c, &b);
    until(kit.writable == 1);
    until(body_bytes(&c, 1) == 60100);
    assert_true(exchange_room(kit.x) > 0);
    exchange_end(kit.x, NULL, 0);
    put_number(&b, F_WINDOW, 1, 60000);
    put_number(&b, F_WINDOW, 0, 60000);
    send_buf(&c, &b);
    until(body_bytes(&c, 1) == wrote);
    until(got_frame(&c, F_DATA, 1, 0, &f));
    assert_int_equal(http_server_active(kit.server), 0);
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

/* The client may send HTTP_BUFFER_BYTES of a body that nobody reads; more when it is read. */
static void request_body(void **state)
{
    static char piece[16384], got[HTTP_BUFFER_BYTES];
    buf b;
    frame f;
    err e;
    body_state s;
    kit_open(NULL, keep);
    client c = greet(&b, 1000);
    put_request(&b, 1, false);
    for (int i = 0; i < 4; i++)
        put_frame(&b, F_DATA, 0, 1, piece, sizeof piece);
    send_buf(&c, &b);
    until(kit.x && exchange_readable(kit.x, &s) == HTTP_BUFFER_BYTES);
    settle_down();
    assert_false(got_frame(&c, F_WINDOW, 1, 0, &f));
    assert_int_equal(exchange_read(kit.x, got, 40000, &s), 40000);
    until(got_frame(&c, F_WINDOW, 1, 0, &f));
    assert_int_equal(f.p[2] << 8 | f.p[3], 40000);
    assert_int_equal(exchange_read(kit.x, got, sizeof got, &s), HTTP_BUFFER_BYTES - 40000);
    assert_int_equal(s, BODY_OPEN);
    unsigned told = kit.readable;
    put_frame(&b, F_DATA, END_STREAM, 1, "end", 3);
    send_buf(&c, &b);
    until(kit.readable > told);
    assert_int_equal(exchange_read(kit.x, got, sizeof got, &s), 3);
    assert_int_equal(exchange_read(kit.x, got, sizeof got, &s), 0);
    assert_int_equal(s, BODY_END);
    assert_int_equal(exchange_bytes_in(kit.x), HTTP_BUFFER_BYTES + 3);
    assert_true(exchange_start(kit.x, 204, NULL, 0, -1, &e));
    exchange_end(kit.x, NULL, 0);
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

/* A stream that is reset, a connection that is lost, a server that is freed: the handler is told.
 */
static void closings(void **state)
{
    for (int how = 0; how < 3; how++) {
        buf b;
        kit_open(NULL, keep);
        client c = greet(&b, 1000);
        put_request(&b, 1, false);
        send_buf(&c, &b);
        until(kit.x);
        assert_int_equal(http_server_active(kit.server), 1);
        if (how == 0) {
            put_number(&b, F_RST, 1, 8);
            send_buf(&c, &b);
        } else if (how == 1) {
            client_close(&c);
        }
        if (how < 2) {
            until(kit.closed == 1);
            assert_int_equal(http_server_active(kit.server), 0);
            assert_int_equal(http_server_connections(kit.server), how == 0);
        }
        buf_fini(&b);
        kit_close();
        assert_int_equal(kit.closed, 1);
        if (how != 1)
            client_close(&c);
    }
}

/* A handler that ends what its client has reset in the same turn. */
static void ended_and_reset(void **state)
{
    buf b;
    err e;
    kit_open(NULL, keep);
    client c = greet(&b, 0);
    put_request(&b, 1, true);
    send_buf(&c, &b);
    until(kit.x);
    assert_true(exchange_start(kit.x, 200, NULL, 0, 5, &e));
    bool overrun;
    assert_int_equal(exchange_write(kit.x, "hello", 5, &overrun), 5);
    settle_down();
    exchange_end(kit.x, NULL, 0);
    assert_int_equal(http_server_active(kit.server), 0);
    put_number(&b, F_RST, 1, 8);
    put_request(&b, 3, true);
    kit.x = NULL;
    send_buf(&c, &b);
    until(kit.x);
    assert_int_equal(kit.closed, 0);
    exchange_abort(kit.x, 503, NULL, 0);
    frame f;
    until(got_frame(&c, F_HEADERS, 3, 0, &f));
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

static void patient(http_exchange *x)
{
    err e;
    if (exchange_start(x, 200, NULL, 0, -1, &e))
        exchange_end(x, NULL, 0);
    else
        exchange_abort(x, 503, NULL, 0);
}

/* With no memory at one place after the other: an answer or the end, never a crash or a leak. */
static void without_memory(void **state)
{
    for (size_t at = 1; at < 40; at++) {
        buf b;
        frame f;
        kit_open(NULL, patient);
        client c = greet(&b, 1000);
        put_request(&b, 1, true);
        client_take(&c);
        alloc_fail_after(at);
        send_buf(&c, &b);
        until(client_over(&c) || got_frame(&c, F_HEADERS, 1, 0, &f) ||
              got_frame(&c, F_RST, 1, 0, &f) || got_frame(&c, F_GOAWAY, 0, 0, &f));
        alloc_fail_after(0);
        buf_fini(&b);
        client_close(&c);
        kit_close();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(retracted),      cmocka_unit_test(empty),
        cmocka_unit_test(back_pressure),  cmocka_unit_test(request_body),
        cmocka_unit_test(closings),       cmocka_unit_test(ended_and_reset),
        cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
