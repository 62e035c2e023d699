/* Connections of HTTP/2: how they begin, what ends them (deadlines, draining, the client), and
 * clients that make work for nothing. */
#include "http2_kit.h"

static void at_once(http_exchange *x) { exchange_abort(x, 200, NULL, 0); }

/* --- the beginning --- */

static void preface_in_pieces(void **state)
{
    static const size_t cuts[] = {1, 2, 3, 10, 23, 24, 25};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        buf b;
        kit_open(NULL, at_once);
        client c = greet_open(&b, 1000);
        put_request(&b, 1, true);
        client_send_n(&c, (const char *)b.p, cuts[i]);
        settle_down();
        client_take(&c);
        assert_int_equal(c.n > 0, cuts[i] >= 24);
        client_send_n(&c, (const char *)b.p + cuts[i], b.n - cuts[i]);
        expect_told(&c, 1, OK_EMPTY);
        expect_told(&c, 0,
                    cuts[i] < 24 ? GREETING
                                 : "settings 3=100 4=65536 6=65536 window +16711681 "
                                   "settings ack");
        assert_int_equal(http_server_connections(kit.server), 1);
        buf_fini(&b);
        client_close(&c);
        until(http_server_connections(kit.server) == 0);
        kit_close();
    }
}

/* What only begins like the preface is HTTP/1.1, whole or in pieces. */
static void no_preface(void **state)
{
    static const char *const begins[] = {"P", "PR", "PRI", "PRI / HTTP/1.1"};
    static const char *const rests[] = {"OST / HTTP/1.1\r\nHost: a\r\n\r\n",
                                        "OPFIND / HTTP/1.1\r\nHost: a\r\n\r\n",
                                        "NT / HTTP/1.1\r\nHost: a\r\n\r\n", "\r\nHost: a\r\n\r\n"};
    kit_open(NULL, at_once);
    for (size_t i = 0; i < 4; i++)
        for (int cut = 0; cut < 2; cut++) {
            char whole[100];
            client c = client_open();
            snprintf(whole, sizeof whole, "%s%s", begins[i], cut ? "" : rests[i]);
            client_send(&c, whole);
            settle_down();
            if (cut)
                client_send(&c, rests[i]);
            client_expect(&c, ANSWER_EMPTY);
            client_close(&c);
        }
    kit_close();
}

/* The client's end, or the time of a head, inside of what may become a preface. */
static void half_a_preface(void **state)
{
    http_server_config config = {.head_wait = 50 * NS_PER_MS};
    kit_open(&config, at_once);
    client c = client_open();
    client_send(&c, "PRI * HTTP/2.0\r\n");
    shutdown(c.fd, SHUT_WR);
    until(client_over(&c));
    client_close(&c);
    c = client_open();
    client_send(&c, "PRI * HTTP/2.0\r\n");
    client_expect(&c, REFUSED("408 Request Timeout"));
    assert_string_equal(kit.refused_reason, "the head took too long");
    client_close(&c);
    kit_close();
}

/* --- limits of a connection --- */

static void settings_say_the_limits(void **state)
{
    buf b;
    http_server_config config = {.streams_max = 2, .head_bytes_max = 1000};
    kit_open(&config, keep);
    client c = greet(&b, 1000);
    expect_told(&c, 0, "settings 3=2 4=65536 6=1000 settings ack window +16711681");
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

/* All connections together run no more requests than there may be connections. */
static void requests_of_all(void **state)
{
    buf b;
    http_server_config config = {.connections_max = 1};
    kit_open(&config, keep);
    client c = greet(&b, 1000);
    put_request(&b, 1, true);
    send_buf(&c, &b);
    until(kit.x);
    put_request(&b, 3, true);
    send_buf(&c, &b);
    expect_told(&c, 3, "reset 7");
    exchange_abort(kit.x, 200, NULL, 0);
    kit.x = NULL;
    put_request(&b, 5, true);
    send_buf(&c, &b);
    until(kit.x);
    exchange_abort(kit.x, 200, NULL, 0);
    kit.x = NULL;
    expect_told(&c, 5, OK_EMPTY);
    assert_int_equal(kit.requests, 2);
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

/* Numbers of streams grow; trailers may come for one that is older. */
static void numbers_of_streams(void **state)
{
    static const struct {
        uint32_t ids[3];
        const char *told;
    } rows[] = {
        {{1, 5, 3}, " goaway 5 1"},      {{3, 5, 1}, " goaway 5 1"},       {{1, 3, 5}, ""},
        {{1, 201, 75}, " goaway 201 1"}, {{131, 129, 0}, " goaway 131 1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buf b;
        char expected[200];
        kit_open(NULL, at_once);
        client c = greet(&b, 1000);
        for (size_t k = 0; k < 3 && rows[i].ids[k]; k++)
            put_request(&b, rows[i].ids[k], true);
        send_buf(&c, &b);
        snprintf(expected, sizeof expected, GREETING "%s", rows[i].told);
        expect_told(&c, 0, expected);
        if (rows[i].told[0])
            assert_string_equal(kit.refused_reason, "a stream's number is too small");
        else
            expect_told(&c, 5, OK_EMPTY);
        buf_fini(&b);
        client_close(&c);
        kit_close();
    }
    buf b;
    kit_open(NULL, at_once);
    client c = greet(&b, 1000);
    put_request(&b, 1, false); /* answered without its body */
    put_request(&b, 3, true);
    send_buf(&c, &b);
    expect_told(&c, 3, OK_EMPTY);
    static const uint8_t trailer[] = {0, 1, 'a', 1, 'b'};
    put_frame(&b, F_HEADERS, END_HEADERS | END_STREAM, 1, trailer, sizeof trailer);
    put_request(&b, 5, true);
    send_buf(&c, &b);
    expect_told(&c, 5, OK_EMPTY);
    expect_told(&c, 0, GREETING);
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

/* --- deadlines --- */

#define WAIT (60 * NS_PER_MS)

static void idle_ends(void **state)
{
    buf b;
    http_server_config config = {.idle_wait = WAIT};
    kit_open(&config, at_once);
    client c = greet_open(&b, 1000); /* all at once: what a busy machine delays is not idle */
    put_request(&b, 1, true);
    send_buf(&c, &b);
    expect_told(&c, 1, OK_EMPTY);
    until(client_over(&c));
    expect_told(&c, 0, GREETING " goaway 1 0");
    assert_true(c.eof && !c.reset);
    assert_int_equal(kit.refused, 0);
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

/* The first SETTINGS, and each head, have their time. */
static void heads_take_too_long(void **state)
{
    http_server_config config = {.head_wait = WAIT, .linger_wait = WAIT};
    for (int how = 0; how < 2; how++) {
        buf b;
        kit_open(&config, keep);
        client c = greet_open(&b, 1000);
        if (how == 0)
            b.n = sizeof PREFACE - 1;
        send_buf(&c, &b);
        if (how == 1) {
            until(strstr(told(&c, 0), "settings ack"));
            let_pass(2 * WAIT); /* greeted: idle, which has all its time */
            put_frame(&b, F_HEADERS, 0, 1, post_head, sizeof post_head);
            send_buf(&c, &b);
        }
        until(strstr(told(&c, 0), "goaway"));
        expect_told(&c, 0,
                    how ? GREETING " goaway 1 11"
                        : "settings 3=100 4=65536 6=65536 window +16711681 goaway 0 11");
        assert_string_equal(kit.refused_reason, "a head, or the first SETTINGS, took too long");
        assert_int_equal(kit.refused_status, 0);
        until(http_server_connections(kit.server) == 0); /* though the client stays */
        buf_fini(&b);
        client_close(&c);
        kit_close();
    }
}

static void bodies_take_too_long(void **state)
{
    buf b;
    body_state s;
    char got[10];
    http_server_config config = {.body_wait = WAIT};
    kit_open(&config, keep);
    client c = greet(&b, 1000);
    put_request(&b, 1, false);
    put_frame(&b, F_DATA, 0, 1, "he", 2);
    send_buf(&c, &b);
    until(kit.x);
    let_pass(4 * WAIT); /* it is the handler that is late */
    assert_non_null(kit.x);
    assert_int_equal(exchange_read(kit.x, got, sizeof got, &s), 2);
    expect_told(&c, 1, "[:status 408, date, content-length 0] end");
    assert_int_equal(kit.closed, 1);
    assert_string_equal(kit.refused_reason, "the body took too long");
    /* A body that nobody reads is not waited for either, but the answer stands. */
    put_request(&b, 3, false);
    send_buf(&c, &b);
    until(kit.x);
    exchange_abort(kit.x, 200, NULL, 0);
    kit.x = NULL;
    expect_told(&c, 3, OK_EMPTY " reset 0");
    /* A handler with all of its request has all the time it wants. */
    put_request(&b, 5, true);
    send_buf(&c, &b);
    until(kit.x);
    let_pass(4 * WAIT);
    exchange_abort(kit.x, 200, NULL, 0);
    kit.x = NULL;
    expect_told(&c, 5, OK_EMPTY);
    assert_int_equal(kit.refused, 1);
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

static void response(void)
{
    err e;
    bool overrun;
    until(kit.x);
    assert_true(exchange_start(kit.x, 200, NULL, 0, -1, &e));
    assert_int_equal(exchange_write(kit.x, "hello", 5, &overrun), 5);
}

/* A client whose window stays closed loses its stream, and the others go on. */
static void windows_stay_closed(void **state)
{
    buf b;
    http_server_config config = {.write_wait = 5 * WAIT};
    kit_open(&config, keep);
    client c = greet(&b, 2);
    put_request(&b, 1, true);
    send_buf(&c, &b);
    response();
    expect_told(&c, 1, "[:status 200, date] (he) reset 8");
    assert_int_equal(kit.closed, 1);
    assert_string_equal(kit.refused_reason, "the client does not take the body");
    assert_int_equal(kit.refused_status, 0);
    put_request(&b, 3, true);
    put_number(&b, F_WINDOW, 3, 4);
    send_buf(&c, &b);
    response();
    expect_told(&c, 3, "[:status 200, date] (hello)");
    let_pass(8 * WAIT); /* nothing waits for the client */
    exchange_end(kit.x, NULL, 0);
    kit.x = NULL;
    expect_told(&c, 3, "[:status 200, date] (hello) end");
    assert_int_equal(kit.closed, 1);
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

/* A client that leaves its socket full is let go, with a reset. */
static void sockets_stay_full(void **state)
{
    static char piece[HTTP_BUFFER_BYTES];
    buf b;
    err e;
    bool overrun;
    http_server_config config = {.write_wait = WAIT};
    kit_open(&config, keep);
    client c = greet(&b, 1 << 30);
    put_number(&b, F_WINDOW, 0, 1 << 30);
    put_request(&b, 1, true);
    send_buf(&c, &b);
    until(kit.x);
    assert_true(exchange_start(kit.x, 200, NULL, 0, -1, &e));
    for (ns end = clock_mono() + PATIENCE; kit.x && clock_mono() < end; loop_turn(kit.l, 5))
        exchange_write(kit.x, piece, sizeof piece, &overrun);
    assert_int_equal(kit.closed, 1);
    assert_int_equal(http_server_connections(kit.server), 0);
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

/* --- the client's end, and ours --- */

static void half_closed(void **state)
{
    buf b;
    http_server_config config = {.half_close_wait = 5 * WAIT};
    kit_open(&config, keep);
    client c = greet(&b, 1000);
    put_request(&b, 1, true);
    send_buf(&c, &b);
    shutdown(c.fd, SHUT_WR);
    until(kit.x);
    settle_down();
    exchange_abort(kit.x, 200, NULL, 0);
    kit.x = NULL;
    until(client_over(&c));
    expect_told(&c, 1, OK_EMPTY);
    client_close(&c);
    buf_fini(&b);
    assert_int_equal(kit.closed, 0);
    /* Not answered in time. */
    c = greet(&b, 1000);
    put_request(&b, 1, true);
    send_buf(&c, &b);
    shutdown(c.fd, SHUT_WR);
    until(kit.closed == 1);
    until(client_over(&c));
    expect_told(&c, 1, "");
    client_close(&c);
    buf_fini(&b);
    /* Nothing is asked. */
    c = greet(&b, 1000);
    send_buf(&c, &b);
    assert_int_equal(http_server_connections(kit.server), 1);
    shutdown(c.fd, SHUT_WR);
    until(http_server_connections(kit.server) == 0);
    client_close(&c);
    buf_fini(&b);
    kit_close();
}

/* After an error what the client still sends is thrown away, so that it can read the GOAWAY: a
 * megabyte, or linger_wait. */
static void lingers(void **state)
{
    for (int how = 0; how < 2; how++) {
        buf b;
        http_server_config config = {.linger_wait = how ? 60 * NS_PER_S : WAIT};
        kit_open(&config, at_once);
        client c = greet(&b, 1000);
        put_data(&b, 1, 5, false); /* of a stream that is not */
        send_buf(&c, &b);
        until(client_over(&c));
        assert_true(c.eof && !c.reset);
        expect_told(&c, 0, GREETING " goaway 0 1");
        assert_int_equal(kit.refused, 0);
        if (how == 1) {
            put_data(&b, 1, 1000 * 1000, false);
            send_buf(&c, &b);
            settle_down();
            assert_int_equal(http_server_connections(kit.server), 1);
            char *more = calloc(1, 100 * 1000);
            for (ns end = clock_mono() + PATIENCE;
                 http_server_connections(kit.server) && clock_mono() < end; loop_turn(kit.l, 1))
                if (send(c.fd, more, 100 * 1000, MSG_NOSIGNAL) < 0)
                    assert_true(errno == EAGAIN || errno == EPIPE || errno == ECONNRESET);
            free(more);
        }
        until(http_server_connections(kit.server) == 0);
        buf_fini(&b);
        client_close(&c);
        kit_close();
    }
}

static void on_empty(void *user) { kit.empty++; }

/* RFC 9113 6.8: a GOAWAY that allows all, and when its PING comes back the last one. */
static void drains(void **state)
{
    buf b, of_idle;
    static const uint8_t zeros[8];
    kit_open(NULL, keep);
    client c = greet(&b, 1000), idle = greet(&of_idle, 1000);
    put_request(&b, 1, true);
    send_buf(&c, &b);
    until(kit.x);
    http_exchange *first = kit.x;
    kit.x = NULL;
    http_server_drain(kit.server, on_empty, NULL);
    expect_told(&c, 0, GREETING " goaway " LAST_ID " 0 ping ");
    expect_told(&idle, 0, GREETING " goaway " LAST_ID " 0 ping ");
    put_request(&b, 3, true); /* was on its way */
    put_frame(&b, F_PING, 0, 0, NAME, 8);
    send_buf(&c, &b);
    until(kit.x);
    expect_told(&c, 0, GREETING " goaway " LAST_ID " 0 ping  ping ack " NAME);
    put_frame(&b, F_PING, ACK, 0, zeros, 8);
    send_buf(&c, &b);
    expect_told(&c, 0, GREETING " goaway " LAST_ID " 0 ping  ping ack " NAME " goaway 3 0");
    put_request(&b, 5, true); /* is not taken any more */
    send_buf(&c, &b);
    settle_down();
    exchange_abort(first, 200, NULL, 0);
    expect_told(&c, 1, OK_EMPTY);
    assert_false(client_over(&c));
    exchange_abort(kit.x, 200, NULL, 0);
    kit.x = NULL;
    until(client_over(&c));
    expect_told(&c, 3, OK_EMPTY);
    expect_told(&c, 5, "");
    assert_int_equal(kit.empty, 0);
    put_frame(&of_idle, F_PING, ACK, 0, zeros, 8);
    send_buf(&idle, &of_idle);
    until(client_over(&idle));
    until(kit.empty == 1);
    assert_int_equal(kit.requests, 2);
    buf_fini(&b);
    buf_fini(&of_idle);
    client_close(&c);
    client_close(&idle);
    kit_close();
}

/* A client that does not say that it saw the first GOAWAY is not waited for longer than
 * linger_wait. */
static void drains_without_a_word(void **state)
{
    buf b;
    http_server_config config = {.linger_wait = WAIT};
    kit_open(&config, keep);
    client c = greet(&b, 1000);
    send_buf(&c, &b);
    http_server_drain(kit.server, on_empty, NULL);
    until(client_over(&c));
    expect_told(&c, 0, GREETING " goaway " LAST_ID " 0 ping  goaway 0 0");
    until(kit.empty == 1);
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

/* --- work for nothing --- */

enum { BRIM = 2000, SETTINGS_COST = 20, PING_COST = 5, PER_S = 200 };

static void put_many(buf *b, int kind, uint32_t id, size_t n, size_t count)
{
    static const uint8_t p[8] = {0, 0, 0, 1, 0, 0, 0, 0};
    for (size_t i = 0; i < count; i++)
        put_frame(b, kind, 0, id, p, n);
}

/* To the brim nothing happens; past it the connection ends and says why. All of it is sent at once,
 * and two seconds' worth more than the brim, of what is forgotten with time. */
static void floods(void **state)
{
    static const struct {
        int kind;
        uint32_t id;
        size_t n, cost;
        const char *reason;
    } rows[] = {
        {F_SETTINGS, 0, 0, 20, "too many SETTINGS frames"},
        {F_PING, 0, 8, 5, "too many PING frames"},
        {F_PRIORITY, 3, 5, 1, "too many frames that bring nothing"},
        {F_WINDOW, 0, 4, 1, "too many frames that bring nothing"},
        {F_DATA, 1, 0, 1, "too many small DATA frames"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int over = 0; over < 2; over++) {
            buf b;
            kit_open(NULL, keep);
            client c = greet_open(&b, 1000); /* SETTINGS: 20 */
            put_request(&b, 1, false);
            size_t sum = BRIM - SETTINGS_COST + (over ? 2 * PER_S : 0);
            put_many(&b, rows[i].kind, rows[i].id, rows[i].n, sum / rows[i].cost);
            send_buf(&c, &b);
            if (over) {
                until(strstr(told(&c, 0), "goaway 1 11"));
                assert_string_equal(kit.refused_reason, rows[i].reason);
                until(client_over(&c));
                assert_int_equal(kit.requests, 0); /* what came with it is not begun */
            } else {
                settle_down();
                assert_null(strstr(told(&c, 0), "goaway"));
                assert_int_equal(kit.refused, 0);
                assert_int_equal(kit.closed, 0);
            }
            buf_fini(&b);
            client_close(&c);
            kit_close();
        }
}

/* DATA of 16 bytes, or that ends its body, is honest. */
static void small_but_honest(void **state)
{
    buf b;
    kit_open(NULL, keep);
    client c = greet(&b, 1000);
    put_request(&b, 1, false);
    for (int i = 0; i < 2500; i++)
        put_data(&b, 1, 16, false);
    send_buf(&c, &b);
    until(kit.x);
    settle_down();
    assert_null(strstr(told(&c, 0), "goaway"));
    assert_int_equal(exchange_bytes_in(kit.x), 40000);
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

/* Time, and what is served, make room again: 20 a tenth of a second, 5 an answer. */
static void floods_are_forgotten(void **state)
{
    buf b;
    kit_open(NULL, at_once);
    client c = greet_open(&b, 1000);
    put_many(&b, F_PING, 0, 8, (BRIM - SETTINGS_COST) / PING_COST - 1);
    put_request(&b, 1, true);
    send_buf(&c, &b);
    expect_told(&c, 1, OK_EMPTY);
    put_many(&b, F_PING, 0, 8, 2);
    send_buf(&c, &b);
    settle_down();
    assert_null(strstr(told(&c, 0), "goaway"));
    let_pass(110 * NS_PER_MS);
    put_many(&b, F_PING, 0, 8, 4);
    send_buf(&c, &b);
    settle_down();
    assert_null(strstr(told(&c, 0), "goaway"));
    /* But not all at once. */
    put_many(&b, F_PING, 0, 8, (BRIM / 2 + 2 * PER_S) / PING_COST);
    send_buf(&c, &b);
    until(strstr(told(&c, 0), "goaway 1 11"));
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

/* Streams that are begun and reset cost ten each; RST_STREAM is what is counted. */
static void rapid_resets(void **state)
{
    buf b;
    kit_open(NULL, at_once);
    client c = greet_open(&b, 1000);
    uint32_t id = 1;
    for (size_t sum = SETTINGS_COST; sum <= BRIM + 2 * PER_S; sum += 10, id += 2) {
        put_request(&b, id, true);
        put_number(&b, F_RST, id, CANCEL);
    }
    send_buf(&c, &b);
    until(client_over(&c) || strstr(told(&c, 0), "goaway"));
    assert_int_equal(http_server_active(kit.server), 0);
    assert_true(kit.refused >= 1);
    buf_fini(&b);
    client_close(&c);
    kit_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(preface_in_pieces),
        cmocka_unit_test(no_preface),
        cmocka_unit_test(half_a_preface),
        cmocka_unit_test(settings_say_the_limits),
        cmocka_unit_test(requests_of_all),
        cmocka_unit_test(numbers_of_streams),
        cmocka_unit_test(idle_ends),
        cmocka_unit_test(heads_take_too_long),
        cmocka_unit_test(bodies_take_too_long),
        cmocka_unit_test(windows_stay_closed),
        cmocka_unit_test(sockets_stay_full),
        cmocka_unit_test(half_closed),
        cmocka_unit_test(lingers),
        cmocka_unit_test(drains),
        cmocka_unit_test(drains_without_a_word),
        cmocka_unit_test(floods),
        cmocka_unit_test(small_but_honest),
        cmocka_unit_test(floods_are_forgotten),
        cmocka_unit_test(rapid_resets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
