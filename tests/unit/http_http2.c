/* Exchanges of HTTP/2 as handlers see them: responses that are taken back, bodies and
 * back-pressure, clients that go. What clients see of the protocol is in
 * tests/integration/test_http2.py. */
#include "http_kit.h"

enum { F_DATA, F_HEADERS, F_RST = 3, F_SETTINGS, F_GOAWAY = 7, F_WINDOW };
enum { ACK = 1, END_STREAM = 1, END_HEADERS = 4 };

/* --- frames --- */

static void put_frame(buf *b, int kind, int flags, uint32_t id, const void *p, size_t n)
{
    const uint8_t head[] = {(uint8_t)(n >> 16),  (uint8_t)(n >> 8),  (uint8_t)n,
                            (uint8_t)kind,       (uint8_t)flags,     (uint8_t)(id >> 24),
                            (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};
    buf_put(b, head, sizeof head);
    buf_put(b, p, n);
}

static void put_number(buf *b, int kind, uint32_t id, uint32_t v)
{
    const uint8_t p[] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    put_frame(b, kind, 0, id, p, sizeof p);
}

/* :method POST, :scheme http, :path /, :authority a */
static const uint8_t post_head[] = {0x83, 0x86, 0x84, 0x01, 0x01, 'a'};

static void put_request(buf *b, uint32_t id, bool ends)
{
    put_frame(b, F_HEADERS, END_HEADERS | (ends ? END_STREAM : 0), id, post_head, sizeof post_head);
}

static void send_buf(client *c, buf *b)
{
    client_send_n(c, (const char *)b->p, b->n);
    buf_clear(b);
}

typedef struct {
    size_t at;
    int kind, flags;
    uint32_t id;
    const uint8_t *p;
    size_t n;
} frame;

/* The next frame of what came; false: not whole yet. */
static bool frame_next(client *c, frame *f)
{
    const uint8_t *p = (const uint8_t *)c->got + f->at;
    size_t n = c->got && c->n - f->at >= 9 ? (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2] : 0;
    if (!c->got || c->n - f->at < 9 + n)
        return false;
    *f = (frame){
        f->at + 9 + n, p[3],
        p[4],          (uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8],
        p + 9,         n};
    return true;
}

/* The n-th frame (from 0) of that kind and stream. */
static bool got_frame(client *c, int kind, uint32_t id, unsigned which, frame *ret)
{
    client_take(c);
    for (*ret = (frame){0}; frame_next(c, ret);)
        if (ret->kind == kind && ret->id == id && which-- == 0)
            return true;
    return false;
}

/* A connection; window: for bodies of the server. */
static client greet(buf *b, uint16_t window)
{
    client c = client_open();
    const uint8_t setting[] = {0, 4, 0, 0, (uint8_t)(window >> 8), (uint8_t)window};
    buf_init(b, 1 << 20);
    buf_put_str(b, S("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    put_frame(b, F_SETTINGS, 0, 0, setting, sizeof setting);
    send_buf(&c, b);
    frame f;
    until(got_frame(&c, F_SETTINGS, 0, 0, &f));
    put_frame(b, F_SETTINGS, ACK, 0, NULL, 0); /* with what is sent next */
    return c;
}

static size_t body_bytes(client *c, uint32_t id)
{
    size_t sum = 0;
    client_take(c);
    for (frame f = {0}; frame_next(c, &f);)
        sum += f.kind == F_DATA && f.id == id ? f.n : 0;
    return sum;
}

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
