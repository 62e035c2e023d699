/* Connections and responses: framing, order, keep-alive, limits, deadlines, draining. */
#include "http_kit.h"

static void answer(http_exchange *x, const char *body)
{
    err e;
    bool overrun;
    size_t n = strlen(body);
    assert_true(exchange_start(x, 200, NULL, 0, (int64_t)n, &e));
    assert_int_equal(exchange_write(x, body, n, &overrun), n);
    exchange_end(x, NULL, 0);
}

static void hello(http_exchange *x) { answer(x, "hello"); }

/* Answers with the request's target. */
static void name_target(http_exchange *x)
{
    char target[100];
    str t = exchange_request(x)->target;
    snprintf(target, sizeof target, "%.*s", STR(t));
    answer(x, target);
}

static void simple(void **state)
{
    kit_open(NULL, hello);
    client c = client_open();
    client_send(&c, GET);
    client_expect(&c, ANSWER_HEAD "content-length: 5\r\n\r\nhello");
    client_send(&c, GET);
    client_expect(&c, ANSWER_HEAD "content-length: 5\r\n\r\nhello");
    client_send(&c, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    client_expect(&c, ANSWER_HEAD "connection: close\r\ncontent-length: 5\r\n\r\nhello");
    until(client_over(&c));
    assert_true(c.eof);
    assert_int_equal(http_server_connections(kit.server), 0);
    client_close(&c);
    kit_close();
}

static void request_seen(http_exchange *x)
{
    const http_request *r = exchange_request(x);
    body_state state;
    assert_str(r->method, "GET");
    assert_str(r->target, "/a?b");
    assert_str(r->authority, "h:1");
    assert_str(r->scheme, "http");
    assert_int_equal(r->fields_count, 2);
    assert_str(r->fields[1].name, "x-y");
    assert_str(r->fields[1].value, "Z");
    assert_true(!r->has_body && r->content_length == -1);
    assert_true(str_starts(r->peer, S("127.0.0.1:")));
    assert_true(r->begun_mono <= clock_mono() && r->begun_mono + PATIENCE > clock_mono());
    assert_int_equal(exchange_read(x, NULL, 0, &state), 0);
    assert_int_equal(state, BODY_END);
    hello(x);
}

static void request(void **state)
{
    kit_open(NULL, request_seen);
    client c = client_open();
    client_send(&c, "GET /a?b HTTP/1.1\r\nHost: h:1\r\nX-Y: Z\r\n\r\n");
    until(client_has(&c, "hello"));
    client_close(&c);
    kit_close();
}

static void http_1_0(void **state)
{
    kit_open(NULL, hello);
    client c = client_open();
    client_send(&c, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    client_expect(&c, ANSWER_HEAD "connection: keep-alive\r\ncontent-length: 5\r\n\r\nhello");
    client_send(&c, "GET / HTTP/1.0\r\n\r\n");
    client_expect(&c, ANSWER_HEAD "content-length: 5\r\n\r\nhello");
    until(client_over(&c));
    client_close(&c);
    kit_close();
}

/* 300 requests in a few packets; all answers, in order. */
static void pipelined(void **state)
{
    kit_open(NULL, name_target);
    client c = client_open();
    char text[300 * 50], expected[100];
    size_t n = 0;
    for (int i = 0; i < 300; i++)
        n += (size_t)sprintf(text + n, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i);
    client_send(&c, text);
    until(client_has(&c, "/299"));
    assert_int_equal(kit.requests, 300);
    char *at = c.got;
    for (int i = 0; i < 300; i++) {
        snprintf(expected, sizeof expected, "\r\n\r\n/%d", i);
        at = strstr(at, expected);
        assert_non_null(at);
    }
    client_close(&c);
    kit_close();
}

/* The next request begins only when the answer of the one before has ended. */
static void one_at_a_time(void **state)
{
    kit_open(NULL, keep);
    client c = client_open();
    client_send(&c, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    until(kit.x);
    client_send(&c, "GET /3 HTTP/1.1\r\nHost: a\r\n\r\n");
    settle_down();
    for (unsigned i = 1; i <= 3; i++) {
        until(kit.x);
        assert_int_equal(kit.requests, i);
        assert_int_equal(http_server_active(kit.server), 1);
        http_exchange *x = kit.x;
        kit.x = NULL;
        name_target(x);
        assert_int_equal(kit.requests, i); /* not from inside our own call */
    }
    until(client_has(&c, "/3"));
    assert_int_equal(http_server_active(kit.server), 0);
    client_close(&c);
    kit_close();
}

/* A client that pipelines without end and does not wait is slowed down, not stored. */
static void pipelined_bounded(void **state)
{
    kit_open(NULL, keep);
    client c = client_open();
    size_t sent = 0;
    client_send(&c, GET);
    until(kit.x);
    for (int idle = 0; idle < 50;) {
        ssize_t k = send(c.fd, GET GET GET GET, 4 * (sizeof GET - 1), MSG_NOSIGNAL);
        idle = k > 0 ? 0 : idle + 1;
        sent += k > 0 ? (size_t)k : 0;
        loop_turn(kit.l, 0);
        assert_true(sent < 64 * MIB); /* of the kernel's buffers */
    }
    assert_int_equal(kit.requests, 1);
    assert_int_equal(kit.refused, 0);
    assert_non_null(kit.x);
    client_close(&c);
    /* Nothing is read meanwhile, so the loss is found with one of the next answers. */
    while (http_server_connections(kit.server)) {
        until(kit.x || http_server_connections(kit.server) == 0);
        http_exchange *x = kit.x;
        kit.x = NULL;
        if (x)
            hello(x);
        assert_true(kit.requests < 1000);
    }
    kit_close();
}

/* --- framing of responses --- */

static http_field fields_given[4];
static size_t fields_given_count;
static unsigned status_given;
static int64_t length_given;
static const char *body_given;
static bool started;
static err start_error;

static void give(http_exchange *x)
{
    bool overrun;
    started = exchange_start(x, status_given, fields_given, fields_given_count, length_given,
                             &start_error);
    if (started && body_given[0])
        exchange_write(x, body_given, strlen(body_given), &overrun);
    exchange_end(x, NULL, 0);
}

static void given(const char *request_text, unsigned status, int64_t length, const char *body,
                  const char *expected)
{
    client c = client_open();
    status_given = status;
    length_given = length;
    body_given = body;
    client_send(&c, request_text);
    client_expect(&c, expected);
    client_close(&c);
}

static void framing(void **state)
{
    kit_open(NULL, give);
    const char *head_request = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    given(GET, 200, -1, "", ANSWER_EMPTY);
    given(GET, 200, 0, "", ANSWER_EMPTY);
    given(GET, 200, -1, "hello",
          ANSWER_HEAD "transfer-encoding: chunked\r\n\r\n"
                      "5\r\nhello\r\n0\r\n\r\n");
    given("GET / HTTP/1.0\r\n\r\n", 200, -1, "hello", ANSWER_HEAD "\r\nhello");
    given(GET, 204, -1, "hello", "HTTP/1.1 204 No Content\r\ndate: *\r\n\r\n");
    given(GET, 204, 5, "hello", "HTTP/1.1 204 No Content\r\ndate: *\r\n\r\n");
    given(GET, 304, 5, "", "HTTP/1.1 304 Not Modified\r\ndate: *\r\ncontent-length: 5\r\n\r\n");
    given(head_request, 200, 5, "hello", ANSWER_HEAD "content-length: 5\r\n\r\n");
    given(head_request, 200, -1, "hello", ANSWER_HEAD "\r\n");
    given(GET, 299, 0, "", "HTTP/1.1 299 \r\ndate: *\r\ncontent-length: 0\r\n\r\n");
    /* Past the announced length nothing is sent; the connection goes on. */
    client c = client_open();
    status_given = 200;
    length_given = 3;
    body_given = "hello";
    client_send(&c, GET GET);
    client_expect(&c, ANSWER_HEAD "content-length: 3\r\n\r\nhel" ANSWER_HEAD
                                  "content-length: 3\r\n\r\nhel");
    /* Short of it the connection ends, so that nobody takes the next response for the rest. */
    length_given = 6;
    client_send(&c, GET GET);
    client_expect(&c, ANSWER_HEAD "content-length: 6\r\n\r\nhello");
    until(client_over(&c));
    client_close(&c);
    kit_close();
}

static void overrun_told(http_exchange *x)
{
    err e;
    bool overrun;
    assert_true(exchange_start(x, 200, NULL, 0, 3, &e));
    assert_int_equal(exchange_write(x, "hello", 5, &overrun), 3);
    assert_false(overrun);
    assert_int_equal(exchange_write(x, "lo", 2, &overrun), 0);
    assert_true(overrun);
    assert_true(exchange_bytes_out(x) == 3);
    exchange_end(x, NULL, 0);
}

static void overrun(void **state)
{
    kit_open(NULL, overrun_told);
    client c = client_open();
    client_send(&c, GET);
    client_expect(&c, ANSWER_HEAD "content-length: 3\r\n\r\nhel");
    client_close(&c);
    kit_close();
}

static void one_field(const char *name, size_t name_n, const char *value, size_t value_n)
{
    fields_given[0] = (http_field){{name, name_n}, {value, value_n}};
    fields_given_count = 1;
}

/* A field that could end the head or begin another message is refused before a byte is sent. */
static void fields_refused(void **state)
{
    static const struct {
        const char *name, *value;
        size_t name_n, value_n;
    } bad[] = {
        {"", "v", 0, 1},
        {"a b", "v", 3, 1},
        {"a:", "v", 2, 1},
        {"a\r\nb", "v", 4, 1},
        {"a\0b", "v", 3, 1},
        {"\xc3\xa9", "v", 2, 1},
        {"a", "b\r\nc: d", 1, 7},
        {"a", "b\nc", 1, 3},
        {"a", "b\rc", 1, 3},
        {"a", "b\0c", 1, 3},
        {"a", " b", 1, 2},
        {"a", "b\t", 1, 2},
        {"a", "b\x7f", 1, 2},
        {"content-length", "x", 14, 1},
        {"Content-Length", "-1", 14, 2},
        {"content-length", "", 14, 0},
    };
    kit_open(NULL, give);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        one_field(bad[i].name, bad[i].name_n, bad[i].value, bad[i].value_n);
        given(GET, 200, -1, "x",
              "HTTP/1.1 500 Internal Server Error\r\ndate: *\r\n"
              "content-length: 0\r\n\r\n");
        assert_false(started);
        assert_int_equal(start_error.code, ERR_INVALID);
    }
    fields_given[0] = fields_given[1] = (http_field){S("content-length"), S("5")};
    fields_given[1].value = S("6");
    fields_given_count = 2;
    given(GET, 200, -1, "x",
          "HTTP/1.1 500 Internal Server Error\r\ndate: *\r\n"
          "content-length: 0\r\n\r\n");
    fields_given_count = 0;
    given(GET, 100, -1, "x",
          "HTTP/1.1 500 Internal Server Error\r\ndate: *\r\n"
          "content-length: 0\r\n\r\n");
    kit_close();
}

static void fields_kept(void **state)
{
    kit_open(NULL, give);
    fields_given[0] = (http_field){S("X-Empty"), S("")};
    fields_given[1] = (http_field){S("Transfer-Encoding"), S("gzip")};
    fields_given[2] = (http_field){S("Connection"), S("close")};
    fields_given[3] = (http_field){S("Content-Length"), S("5")};
    fields_given_count = 4;
    given(GET, 200, 77, "hello",
          "HTTP/1.1 200 OK\r\nX-Empty: \r\ndate: *\r\n"
          "content-length: 5\r\n\r\nhello");
    fields_given[0] = (http_field){S("Date"), S("x")};
    fields_given_count = 1;
    given(GET, 200, 0, "", "HTTP/1.1 200 OK\r\nDate: x\r\ncontent-length: 0\r\n\r\n");
    fields_given_count = 0;
    kit_close();
}

static void aborts(void **state)
{
    err e;
    bool over;
    http_field id = {S("ebb-request-id"), S("7")};
    kit_open(NULL, keep);
    client c = client_open();
    client_send(&c, GET);
    until(kit.x);
    exchange_abort(kit.x, 504, &id, 1);
    kit.x = NULL;
    client_expect(&c, "HTTP/1.1 504 Gateway Timeout\r\nebb-request-id: 7\r\ndate: *\r\n"
                      "content-length: 0\r\n\r\n");
    /* Started, but nothing has left: it can still become an error. */
    client_send(&c, GET);
    until(kit.x);
    assert_true(exchange_start(kit.x, 200, &id, 1, -1, &e));
    exchange_abort(kit.x, 500, &id, 1);
    kit.x = NULL;
    client_expect(&c, "HTTP/1.1 500 Internal Server Error\r\nebb-request-id: 7\r\ndate: *\r\n"
                      "content-length: 0\r\n\r\n");
    /* In the middle of a body: cut, without the last chunk. */
    client_send(&c, GET GET);
    until(kit.x);
    assert_true(exchange_start(kit.x, 200, NULL, 0, -1, &e));
    assert_int_equal(exchange_write(kit.x, "hello", 5, &over), 5);
    exchange_abort(kit.x, 500, &id, 1);
    kit.x = NULL;
    client_expect(&c, ANSWER_HEAD "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
    until(client_over(&c));
    assert_int_equal(kit.requests, 3); /* the pipelined one was not begun */
    client_close(&c);
    /* HTTP/1.0 until close: only a reset tells that it is not the whole. */
    c = client_open();
    client_send(&c, "GET / HTTP/1.0\r\n\r\n");
    until(kit.x);
    assert_true(exchange_start(kit.x, 200, NULL, 0, -1, &e));
    assert_int_equal(exchange_write(kit.x, "hello", 5, &over), 5);
    until(client_has(&c, "hello"));
    exchange_abort(kit.x, 500, NULL, 0);
    kit.x = NULL;
    until(client_over(&c));
    assert_true(c.reset);
    client_close(&c);
    kit_close();
}

/* --- refusals --- */

static void refusals(void **state)
{
    kit_open(NULL, hello);
    client c = client_open();
    client_send(&c, GET "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n" GET);
    client_expect(&c, ANSWER_HEAD "content-length: 5\r\n\r\nhello" REFUSED("400 Bad Request"));
    until(client_over(&c));
    assert_int_equal(kit.requests, 1);
    assert_int_equal(kit.refused_status, 400);
    client_close(&c);
    until(http_server_connections(kit.server) == 0);
    /* The answer arrives although the client is still sending: no reset overtakes it. */
    c = client_open();
    client_send(&c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked"
                    "\r\n\r\n");
    char *megabyte = calloc(1, 900 * 1000);
    client_send_n(&c, megabyte, 900 * 1000);
    free(megabyte);
    client_expect(&c, REFUSED("400 Bad Request"));
    assert_true(c.eof && !c.reset);
    client_close(&c);
    until(http_server_connections(kit.server) == 0);
    kit_close();
}

/* The handler has begun, the response has not: 400, and the handler is told. */
static void refused_in_body(void **state)
{
    err e;
    kit_open(NULL, keep);
    const char *head = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client c = client_open();
    client_send(&c, head);
    until(kit.x);
    client_send(&c, "5\r\nhelloX");
    client_expect(&c, REFUSED("400 Bad Request"));
    assert_int_equal(kit.closed, 1);
    client_close(&c);
    /* It has: cut. */
    c = client_open();
    client_send(&c, head);
    until(kit.x);
    assert_true(exchange_start(kit.x, 200, NULL, 0, 10, &e));
    client_send(&c, "5\r\nhelloX");
    client_expect(&c, ANSWER_HEAD "content-length: 10\r\n\r\n");
    until(client_over(&c));
    assert_int_equal(kit.closed, 2);
    client_close(&c);
    kit_close();
}

/* --- the client goes --- */

static void client_resets(void **state)
{
    kit_open(NULL, keep);
    client c = client_open();
    client_send(&c, GET);
    until(kit.x);
    struct linger at_once = {.l_onoff = 1};
    setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    client_close(&c);
    until(kit.closed == 1);
    assert_int_equal(http_server_connections(kit.server), 0);
    assert_int_equal(http_server_active(kit.server), 0);
    kit_close();
}

static void client_half_closes(void **state)
{
    http_server_config config = {.half_close_wait = 50 * NS_PER_MS};
    kit_open(&config, keep);
    /* The answer is there in time. */
    client c = client_open();
    client_send(&c, GET GET);
    shutdown(c.fd, SHUT_WR);
    for (int i = 0; i < 2; i++) {
        until(kit.x);
        settle_down();
        http_exchange *x = kit.x;
        kit.x = NULL;
        hello(x);
    }
    client_expect(&c, ANSWER_HEAD "content-length: 5\r\n\r\nhello" ANSWER_HEAD
                                  "content-length: 5\r\n\r\nhello");
    until(client_over(&c));
    assert_true(c.eof);
    client_close(&c);
    /* It is not: the handler is stopped. */
    c = client_open();
    client_send(&c, GET);
    shutdown(c.fd, SHUT_WR);
    until(kit.x);
    until(kit.closed == 1);
    client_close(&c);
    /* In the middle of a body there is nothing to wait for. */
    c = client_open();
    client_send(&c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello");
    shutdown(c.fd, SHUT_WR);
    until(kit.closed == 2);
    client_close(&c);
    kit_close();
}

/* exchange_end after the client has gone is a quiet exchange_free. */
static void end_without_client(void **state)
{
    err e;
    bool over;
    static const exchange_callbacks none = {0};
    kit_open(NULL, keep);
    client c = client_open();
    client_send(&c, GET);
    until(kit.x);
    exchange_bind(kit.x, &none, NULL);
    struct linger at_once = {.l_onoff = 1};
    setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    client_close(&c);
    until(http_server_connections(kit.server) == 0);
    assert_false(exchange_start(kit.x, 200, NULL, 0, 0, &e));
    assert_int_equal(exchange_write(kit.x, "x", 1, &over), 0);
    exchange_end(kit.x, NULL, 0);
    kit.x = NULL;
    kit_close();
}

/* --- deadlines and limits --- */

static void deadlines(void **state)
{
    ns wait = 40 * NS_PER_MS;
    http_server_config config = {
        .head_wait = wait, .idle_wait = wait, .body_wait = wait, .linger_wait = wait};
    kit_open(&config, keep);
    client c = client_open();
    until(client_over(&c)); /* idle */
    assert_int_equal(c.n, 0);
    client_close(&c);

    c = client_open();
    client_send(&c, "GET / HT");
    unsigned refused_before = kit.refused;
    for (int i = 0; i < 200 && kit.refused == refused_before; i++) {
        send(c.fd, "X", 1, MSG_NOSIGNAL); /* bytes do not prolong a head */
        let_pass(5 * NS_PER_MS);
    }
    assert_int_equal(kit.refused, refused_before + 1);
    until(client_has(&c, "HTTP/1.1 408 "));
    client_close(&c);

    c = client_open();
    client_send(&c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhello");
    until(kit.x);
    char body[10];
    body_state body_is;
    assert_int_equal(exchange_read(kit.x, body, 9, &body_is), 5);
    client_expect(&c, REFUSED("408 Request Timeout"));
    assert_int_equal(kit.closed, 1);
    client_close(&c);
    until(http_server_connections(kit.server) == 0);

    /* A handler that works has all the time it wants. */
    c = client_open();
    client_send(&c, GET);
    until(kit.x);
    let_pass(3 * wait);
    assert_non_null(kit.x);
    hello(kit.x);
    kit.x = NULL;
    client_expect(&c, ANSWER_HEAD "content-length: 5\r\n\r\nhello");
    client_close(&c);
    kit_close();
}

static void stall(ns span)
{
    for (ns end = clock_mono() + span; clock_mono() < end;)
        ;
}

/* Sent, and then the server has no CPU for a while: client_send would let it read. */
static void send_and_stall(const client *c, const char *text, ns span)
{
    assert_int_equal(send(c->fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    stall(span);
}

/* What came in time is read, however late we are ourselves; but a deadline moves only once. */
static void late_is_not_idle(void **state)
{
    ns wait = 100 * NS_PER_MS;
    http_server_config config = {.head_wait = wait, .idle_wait = wait, .body_wait = wait};
    kit_open(&config, keep);
    client c = client_open();
    until(http_server_connections(kit.server) == 1);
    send_and_stall(&c, "GET / HTTP/1.1\r\n", 2 * wait);
    settle_down();
    client_take(&c);
    assert_false(c.eof || c.reset || c.n);
    send_and_stall(&c, "Host: a\r\n\r\n", 2 * wait); /* now it is the head's time that passes */
    until(kit.x);
    hello(kit.x);
    kit.x = NULL;
    client_expect(&c, ANSWER_HEAD "content-length: 5\r\n\r\nhello");
    client_close(&c);

    c = client_open();
    client_send(&c, "GET / HT");
    unsigned before = kit.refused, rounds = 0;
    for (; rounds < 20 && kit.refused == before; rounds++) { /* there is always something unread */
        send_and_stall(&c, "X", 2 * wait);
        loop_turn(kit.l, 0);
    }
    assert_int_equal(kit.refused, before + 1);
    assert_true(rounds <= 3);
    client_close(&c);
    kit_close();
}

/* Each request gives an idle connection its whole time again. */
static void busy_is_not_idle(void **state)
{
    http_server_config config = {.idle_wait = 300 * NS_PER_MS};
    kit_open(&config, hello);
    client c = client_open();
    for (ns end = clock_mono() + 900 * NS_PER_MS; clock_mono() < end;) {
        client_send(&c, GET);
        let_pass(30 * NS_PER_MS);
        client_take(&c);
        assert_false(c.eof);
    }
    until(client_over(&c));
    client_close(&c);
    kit_close();
}

static void too_many(void **state)
{
    http_server_config config = {.connections_max = 2};
    kit_open(&config, keep);
    client busy = client_open();
    client_send(&busy, GET);
    until(kit.x);
    http_exchange *first = kit.x;
    kit.x = NULL;
    client idle = client_open();
    until(http_server_connections(kit.server) == 2);
    client third = client_open(); /* takes the idle one's place */
    client_send(&third, GET);
    until(kit.x);
    until(client_over(&idle));
    client fourth = client_open(); /* nobody is idle */
    until(client_has(&fourth, "HTTP/1.1 503 "));
    until(client_over(&fourth));
    assert_int_equal(http_server_connections(kit.server), 2);
    hello(first);
    hello(kit.x);
    kit.x = NULL;
    until(client_has(&busy, "hello"));
    until(client_has(&third, "hello"));
    client_close(&busy);
    client_close(&idle);
    client_close(&third);
    client_close(&fourth);
    kit_close();
}

/* --- the end --- */

static void on_empty(void *user) { kit.empty++; }

static void drains(void **state)
{
    kit_open(NULL, keep);
    client idle = client_open(), busy = client_open();
    client_send(&busy, GET GET);
    until(kit.x && http_server_connections(kit.server) == 2);
    http_server_drain(kit.server, on_empty, NULL);
    until(client_over(&idle));
    assert_int_equal(kit.empty, 0);
    http_exchange *x = kit.x;
    kit.x = NULL;
    hello(x);
    client_expect(&busy, ANSWER_HEAD "connection: close\r\ncontent-length: 5\r\n\r\nhello");
    until(client_over(&busy));
    client_close(&idle);
    client_close(&busy);
    until(kit.empty == 1);
    settle_down();
    assert_int_equal(kit.empty, 1);
    assert_int_equal(kit.requests, 1);
    kit_close();
}

/* A connection in use a moment ago may send one more request; nobody waits longer than linger_wait.
 */
static void drains_after_one_more(void **state)
{
    http_server_config config = {.linger_wait = 300 * NS_PER_MS};
    kit_open(&config, hello);
    client one = client_open(), silent = client_open();
    client_send(&one, GET);
    client_expect(&one, ANSWER_HEAD "content-length: 5\r\n\r\nhello");
    until(http_server_connections(kit.server) == 2);
    http_server_drain(kit.server, on_empty, NULL);
    settle_down();
    assert_false(client_over(&one));
    client_send(&one, GET);
    client_expect(&one, ANSWER_HEAD "connection: close\r\ncontent-length: 5\r\n\r\nhello");
    until(client_over(&one));
    assert_false(one.reset);
    until(client_over(&silent));
    until(kit.empty == 1);
    client_close(&one);
    client_close(&silent);
    kit_close();
}

/* Without hurry: an idle connection stays for one more request, past linger_wait; then a drain ends
 * what is still idle. */
static void retires(void **state)
{
    http_server_config config = {.linger_wait = 1 * NS_PER_MS};
    kit_open(&config, hello);
    client one = client_open(), silent = client_open();
    until(http_server_connections(kit.server) == 2);
    http_server_retire(kit.server, on_empty, NULL);
    for (int i = 0; i < 3; i++)
        settle_down();
    assert_false(client_over(&one));
    assert_false(client_over(&silent));
    client_send(&one, GET);
    client_expect(&one, ANSWER_HEAD "connection: close\r\ncontent-length: 5\r\n\r\nhello");
    until(client_over(&one));
    assert_false(client_over(&silent));
    assert_int_equal(kit.empty, 0);
    http_server_drain(kit.server, on_empty, NULL);
    until(client_over(&silent));
    until(kit.empty == 1);
    client_close(&one);
    client_close(&silent);
    kit_close();
}

/* With nothing else on the loop, loop_run calls on_empty and comes back. */
static void drains_nothing(void **state)
{
    err e;
    kit_open(NULL, keep);
    settle_down();
    http_server_drain(kit.server, on_empty, NULL);
    assert_int_equal(kit.empty, 0);
    assert_true(loop_run(kit.l, &e));
    assert_int_equal(kit.empty, 1);
    kit_close();
}

static void closed_later(void *user)
{
    kit.closed++; /* exchange_free comes after the server has gone */
}

static void freed_while_busy(void **state)
{
    static const exchange_callbacks callbacks = {.on_closed = closed_later};
    kit_open(NULL, keep);
    client c = client_open(), d = client_open();
    client_send(&c, GET);
    until(kit.x);
    exchange_bind(kit.x, &callbacks, NULL);
    client_send(&d, "PUT / HTTP/1.1\r\nHo");
    settle_down();
    http_server_free(kit.server);
    assert_int_equal(kit.closed, 1);
    exchange_free(kit.x);
    close(kit.listen_fd);
    loop_free(kit.l);
    client_close(&c);
    client_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(simple),
        cmocka_unit_test(request),
        cmocka_unit_test(http_1_0),
        cmocka_unit_test(pipelined),
        cmocka_unit_test(one_at_a_time),
        cmocka_unit_test(pipelined_bounded),
        cmocka_unit_test(framing),
        cmocka_unit_test(overrun),
        cmocka_unit_test(fields_refused),
        cmocka_unit_test(fields_kept),
        cmocka_unit_test(aborts),
        cmocka_unit_test(refusals),
        cmocka_unit_test(refused_in_body),
        cmocka_unit_test(client_resets),
        cmocka_unit_test(client_half_closes),
        cmocka_unit_test(end_without_client),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(too_many),
        cmocka_unit_test(drains),
        cmocka_unit_test(drains_after_one_more),
        cmocka_unit_test(retires),
        cmocka_unit_test(drains_nothing),
        cmocka_unit_test(freed_while_busy),
        cmocka_unit_test(busy_is_not_idle),
        cmocka_unit_test(late_is_not_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
