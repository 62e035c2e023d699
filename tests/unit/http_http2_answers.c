/* Answers and bodies of HTTP/2 in frames: what a client sees of what handlers do. All that a stream
 * got is compared as one text (http2_kit.h). */
#include "http2_kit.h"

/* --- responses --- */

typedef struct {
    unsigned status;
    int64_t length;
    const char *method, *body, *trailer; /* method NULL: POST */
    bool abort;
    const char *told;
} response;

static const response *now;

static void give(http_exchange *x)
{
    err e;
    bool overrun;
    const http_field trailers[] = {{S("x-sum"), str_from(now->trailer ? now->trailer : "")},
                                   {S("Host"), S("h")}};
    if (now->status) {
        assert_true(exchange_start(x, now->status, NULL, 0, now->length, &e));
        exchange_write(x, now->body, strlen(now->body), &overrun);
    }
    if (now->abort)
        exchange_abort(x, 502, trailers, now->trailer ? 1 : 0);
    else
        exchange_end(x, trailers, now->trailer ? 2 : 0);
}

static const response responses[] = {
    {200, -1, NULL, "", NULL, false, OK_EMPTY},
    {200, 0, NULL, "", NULL, false, OK_EMPTY},
    {200, -1, NULL, "hello", NULL, false, "[:status 200, date] (hello) end"},
    {299, 5, NULL, "hello", NULL, false, "[:status 299, date, content-length 5] (hello) end"},
    /* Past the announced length nothing is sent; short of it the stream is reset. */
    {200, 3, NULL, "hello", NULL, false, "[:status 200, date, content-length 3] (hel) end"},
    {200, 6, NULL, "hello", NULL, false, "[:status 200, date, content-length 6] (hello) reset 2"},
    {200, 6, NULL, "", NULL, false, "[:status 200, date, content-length 6] reset 2"},
    /* Without a body whatever is written. */
    {204, -1, NULL, "hello", NULL, false, "[:status 204, date] end"},
    {204, 5, NULL, "hello", NULL, false, "[:status 204, date] end"},
    {304, 5, NULL, "", NULL, false, "[:status 304, date, content-length 5] end"},
    {200, 5, "HEAD", "hello", NULL, false, "[:status 200, date, content-length 5] end"},
    {200, -1, "HEAD", "", NULL, false, "[:status 200, date] end"},
    {200, -1, "HEAD", "", "7", false, "[:status 200, date] end"},
    /* Trailers; what may not be one is left out. */
    {200, -1, NULL, "hello", "7", false, "[:status 200, date] (hello) [x-sum 7] end"},
    {200, -1, NULL, "", "7", false, "[:status 200, date] [x-sum 7] end"},
    {200, 5, NULL, "hello", "7", false,
     "[:status 200, date, content-length 5] (hello) [x-sum 7] end"},
    {200, 6, NULL, "hello", "7", false, "[:status 200, date, content-length 6] (hello) reset 2"},
    /* Not started, or taken back. */
    {0, 0, NULL, "", NULL, false, "[:status 500, date, content-length 0] end"},
    {0, 0, NULL, "", "7", true, "[:status 502, x-sum 7, date, content-length 0] end"},
    {200, 9, NULL, "hello", "7", true, "[:status 502, x-sum 7, date, content-length 0] end"},
    {200, 9, NULL, "hello", "bad\r", true, "[:status 502, date, content-length 0] end"},
};

static void framing(void **state)
{
    buf b, block;
    kit_open(NULL, give);
    client c = greet(&b, 1000);
    buf_init(&block, 1000);
    for (uint32_t i = 0; i < sizeof responses / sizeof *responses; i++) {
        now = &responses[i];
        buf_clear(&block);
        put_field(&block, S(":method"), str_from(now->method ? now->method : "POST"));
        put_field(&block, S(":scheme"), S("http"));
        put_field(&block, S(":path"), S("/"));
        put_field(&block, S(":authority"), S("a"));
        put_block(&b, 2 * i + 1, true, &block);
        send_buf(&c, &b);
        expect_told(&c, 2 * i + 1, now->told);
        assert_int_equal(http_server_active(kit.server), 0);
    }
    expect_told(&c, 0, GREETING);
    assert_int_equal(kit.refused, 0);
    buf_fini(&b);
    buf_fini(&block);
    client_close(&c);
    kit_close();
}

/* The head does not wait for the first byte, but for the end of the turn; a cut body is reset after
 * what was written. */
static void piece_by_piece(void **state)
{
    buf b;
    err e;
    bool overrun;
    kit_open(NULL, keep);
    client c = greet(&b, 1000);
    put_request(&b, 1, true);
    send_buf(&c, &b);
    until(kit.x);
    assert_int_equal(exchange_room(kit.x), 0);
    assert_true(exchange_start(kit.x, 200, NULL, 0, -1, &e));
    assert_int_equal(exchange_room(kit.x), HTTP_BUFFER_BYTES);
    expect_told(&c, 1, "[:status 200, date]");
    assert_int_equal(exchange_write(kit.x, "hel", 3, &overrun), 3);
    expect_told(&c, 1, "[:status 200, date] (hel)");
    assert_int_equal(exchange_write(kit.x, "lo", 2, &overrun), 2);
    exchange_abort(kit.x, 500, NULL, 0);
    kit.x = NULL;
    expect_told(&c, 1, "[:status 200, date] (hello) reset 2");
    assert_int_equal(http_server_active(kit.server), 0);
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

/* --- bodies --- */

static char noise_at(size_t at) { return (char)(at * 2654435761u >> 13); }

/* Three megabytes each way on two streams at once, in odd pieces: nothing is lost or mixed up. */
static void long_bodies(void **state)
{
    enum { BYTES = 3 * 1024 * 1024, PIECE = 7001 };
    static char piece[PIECE];
    buf b;
    err e;
    bool overrun;
    kit_open(NULL, keep);
    client c = greet(&b, 1 << 30);
    put_number(&b, F_WINDOW, 0, 1 << 30);
    http_exchange *x[2];
    size_t sent[2] = {0}, got[2] = {0};
    for (uint32_t i = 0; i < 2; i++) {
        put_request(&b, 2 * i + 1, true);
        send_buf(&c, &b);
        until(kit.x);
        x[i] = kit.x;
        kit.x = NULL;
        assert_true(exchange_start(x[i], 200, NULL, 0, BYTES, &e));
    }
    for (ns end = clock_mono() + PATIENCE; sent[0] < BYTES || sent[1] < BYTES;) {
        for (size_t i = 0; i < 2; i++) {
            size_t n = BYTES - sent[i] < PIECE ? BYTES - sent[i] : PIECE;
            for (size_t k = 0; k < n; k++)
                piece[k] = noise_at(sent[i] + k + i);
            sent[i] += exchange_write(x[i], piece, n, &overrun);
            assert_false(overrun);
        }
        loop_turn(kit.l, 0);
        client_take(&c);
        assert_true(clock_mono() < end);
    }
    exchange_end(x[0], NULL, 0);
    exchange_end(x[1], NULL, 0);
    until(body_bytes(&c, 1) == BYTES && body_bytes(&c, 3) == BYTES);
    for (frame f = {0}; frame_next(&c, &f);) {
        size_t i = f.id / 2;
        for (size_t k = 0; f.kind == F_DATA && k < f.n; k++)
            assert_int_equal((char)f.p[k], noise_at(got[i]++ + i));
        assert_true(f.kind != F_DATA || f.n <= 16384);
    }
    const char *all = "[:status 200, date, content-length 3145728] (3145728 bytes) end";
    expect_told(&c, 1, all);
    expect_told(&c, 3, all);
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

/* What is read in pieces and what is kept is joined in order, and the window opens by what was
 * read. */
static void body_in_order(void **state)
{
    static char sent[HTTP_BUFFER_BYTES], got[HTTP_BUFFER_BYTES];
    buf b;
    body_state s;
    size_t at = 0;
    kit_open(NULL, keep);
    client c = greet(&b, 1000);
    put_request(&b, 1, false);
    for (int round = 0; round < 3; round++) {
        /* 25,536 bytes are left unread each time but the first. */
        size_t n = round ? 40000 : sizeof sent, left = n;
        for (size_t k = 0; k < n; k++)
            sent[k] = noise_at(at + k);
        at += n;
        for (; left; left -= left < 16000 ? left : 16000)
            put_frame(&b, F_DATA, 0, 1, sent + n - left, left < 16000 ? left : 16000);
        send_buf(&c, &b);
        until(kit.x && exchange_readable(kit.x, &s) == HTTP_BUFFER_BYTES);
        assert_int_equal(s, BODY_OPEN);
        assert_int_equal(exchange_bytes_in(kit.x), at);
        assert_int_equal(exchange_read(kit.x, got, 40000, &s), 40000);
        for (size_t k = 0; k < 40000; k++)
            assert_int_equal(got[k], noise_at(at - HTTP_BUFFER_BYTES + k));
        assert_int_equal(exchange_readable(kit.x, &s), HTTP_BUFFER_BYTES - 40000);
        assert_int_equal(s, BODY_OPEN);
        until(strstr(told(&c, 1), "window +40000"));
    }
    expect_told(&c, 1, "window +40000 window +40000 window +40000");
    put_frame(&b, F_DATA, END_STREAM, 1, "", 0);
    unsigned told_before = kit.readable;
    send_buf(&c, &b);
    until(kit.readable > told_before);
    assert_int_equal(exchange_read(kit.x, got, sizeof got, &s), HTTP_BUFFER_BYTES - 40000);
    assert_int_equal(s, BODY_END);
    exchange_abort(kit.x, 200, NULL, 0);
    kit.x = NULL;
    expect_told(&c, 1, "window +40000 window +40000 window +40000 " OK_EMPTY);
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

/* What comes after the answer is thrown away, 256 KiB of it; then the stream is reset without
 * taking the answer back. */
static void unread(void **state)
{
    buf b;
    char expected[400] = OK_EMPTY;
    kit_open(NULL, keep);
    client c = greet(&b, 1000);
    put_request(&b, 1, false);
    put_data(&b, 1, 16384, false);
    send_buf(&c, &b);
    until(kit.x);
    exchange_abort(kit.x, 200, NULL, 0);
    kit.x = NULL;
    expect_told(&c, 1, OK_EMPTY);
    put_data(&b, 1, 16384, false); /* the first of what is counted */
    for (int i = 0; i < 8; i++) {
        send_buf(&c, &b);
        strcat(expected, " window +32768");
        expect_told(&c, 1, expected);
        put_data(&b, 1, i < 7 ? 32768 : 16384, false);
    }
    send_buf(&c, &b);
    expect_told(&c, 1, expected); /* 256 KiB, and not one byte more */
    put_data(&b, 1, 1, false);
    send_buf(&c, &b);
    strcat(expected, " reset 0");
    expect_told(&c, 1, expected);
    expect_told(&c, 0, GREETING);
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

/* At the limit it is taken, beyond it the handler is told and the answer is 413. */
static void too_large(void **state)
{
    buf b;
    body_state s;
    char got[100];
    http_server_config config = {.body_bytes_max = 50};
    kit_open(&config, keep);
    client c = greet(&b, 1000);
    put_request(&b, 1, false);
    put_data(&b, 1, 50, true);
    send_buf(&c, &b);
    until(kit.x && exchange_readable(kit.x, &s) == 50);
    assert_int_equal(exchange_read(kit.x, got, sizeof got, &s), 50);
    assert_int_equal(s, BODY_END);
    exchange_abort(kit.x, 200, NULL, 0);
    kit.x = NULL;
    expect_told(&c, 1, OK_EMPTY);
    put_request(&b, 3, false);
    put_data(&b, 3, 50, false);
    send_buf(&c, &b);
    until(kit.x);
    assert_int_equal(kit.closed, 0);
    put_data(&b, 3, 1, true);
    send_buf(&c, &b);
    expect_told(&c, 3, "[:status 413, date, content-length 0] end");
    assert_int_equal(kit.closed, 1);
    assert_int_equal(kit.refused_status, 413);
    assert_string_equal(kit.refused_reason, "the body is too large");
    /* The response has begun: nothing to say any more, it is cut. */
    err e;
    bool overrun;
    put_request(&b, 5, false);
    send_buf(&c, &b);
    until(kit.x);
    assert_true(exchange_start(kit.x, 200, NULL, 0, -1, &e));
    exchange_write(kit.x, "hel", 3, &overrun);
    expect_told(&c, 5, "[:status 200, date] (hel)");
    put_data(&b, 5, 51, true);
    send_buf(&c, &b);
    expect_told(&c, 5, "[:status 200, date] (hel) reset 2");
    assert_int_equal(kit.closed, 2);
    assert_int_equal(kit.refused_status, 0);
    assert_int_equal(http_server_active(kit.server), 0);
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

static void expecting(buf *b, uint32_t id, bool ends)
{
    buf block;
    buf_init(&block, 1000);
    buf_put(&block, post_head, sizeof post_head);
    put_field(&block, S("expect"), S("100-continue"));
    put_block(b, id, ends, &block);
    buf_fini(&block);
}

static void continues(void **state)
{
    buf b;
    body_state s;
    char got[10];
    kit_open(NULL, keep);
    client c = greet(&b, 1000);
    expecting(&b, 1, false);
    send_buf(&c, &b);
    until(kit.x);
    expect_told(&c, 1, ""); /* not before somebody wants the body */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(exchange_read(kit.x, got, sizeof got, &s), 0);
        assert_int_equal(s, BODY_OPEN);
        expect_told(&c, 1, "[:status 100]"); /* once */
    }
    put_frame(&b, F_DATA, END_STREAM, 1, "body", 4);
    send_buf(&c, &b);
    until(kit.readable);
    assert_int_equal(exchange_read(kit.x, got, sizeof got, &s), 4);
    exchange_abort(kit.x, 200, NULL, 0);
    kit.x = NULL;
    expect_told(&c, 1, "[:status 100] " OK_EMPTY);
    /* One that did not wait, one without a body, and one that is answered are not told. */
    for (uint32_t id = 3; id <= 7; id += 2) {
        err e;
        expecting(&b, id, id == 5);
        if (id == 3)
            put_frame(&b, F_DATA, 0, 3, "bo", 2);
        send_buf(&c, &b);
        until(kit.x);
        if (id == 3)
            assert_int_equal(exchange_read(kit.x, got, sizeof got, &s), 2);
        if (id == 7)
            assert_true(exchange_start(kit.x, 200, NULL, 0, 0, &e));
        assert_int_equal(exchange_read(kit.x, got, sizeof got, &s), 0);
        exchange_abort(kit.x, 200, NULL, 0);
        kit.x = NULL;
        expect_told(&c, id, OK_EMPTY);
    }
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(framing),     cmocka_unit_test(piece_by_piece),
        cmocka_unit_test(long_bodies), cmocka_unit_test(body_in_order),
        cmocka_unit_test(unread),      cmocka_unit_test(too_large),
        cmocka_unit_test(continues),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
