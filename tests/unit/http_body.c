/* Bodies both ways: streaming, back-pressure, bounded memory, 100-continue, trailers, what is left
 * unread. */
#include "http_kit.h"

/* --- an echo that streams --- */

typedef struct {
    http_exchange *x;
    char piece[7000];
    size_t n, at, held_max;
} echo;

static void echo_closed(void *user)
{
    echo *s = user;
    kit.closed++;
    exchange_free(s->x);
    free(s);
}

static void echo_pump(void *user)
{
    echo *s = user;
    body_state state;
    bool overrun;
    for (;;) {
        if (s->at < s->n) {
            size_t n = exchange_write(s->x, s->piece + s->at, s->n - s->at, &overrun);
            assert_false(overrun);
            if (n == 0)
                return;
            s->at += n;
            continue;
        }
        size_t held = exchange_readable(s->x, &state);
        s->held_max = held > s->held_max ? held : s->held_max;
        assert_true(held <= HTTP_BUFFER_BYTES);
        s->at = 0;
        s->n = exchange_read(s->x, s->piece, sizeof s->piece, &state);
        if (s->n == 0 && state == BODY_OPEN)
            return;
        if (s->n == 0) {
            size_t count;
            assert_int_equal(state, BODY_END);
            const http_field *trailers = exchange_trailers(s->x, &count);
            exchange_end(s->x, trailers, count);
            free(s);
            return;
        }
    }
}

static void echo_begin(http_exchange *x)
{
    static const exchange_callbacks callbacks = {echo_pump, echo_pump, echo_closed};
    err e;
    echo *s = calloc(1, sizeof *s);
    s->x = x;
    exchange_bind(x, &callbacks, s);
    assert_true(exchange_start(x, 200, NULL, 0, exchange_request(x)->content_length, &e));
    echo_pump(s);
}

static char *noise(size_t n)
{
    char *p = malloc(n + 1);
    uint32_t v = 1;
    for (size_t i = 0; i < n; i++)
        p[i] = (char)((v = v * 1664525 + 1013904223) >> 24);
    p[n] = 0;
    return p;
}

/* Sends p while taking what comes back. */
static void exchange_all(client *c, const char *p, size_t n, size_t back_min)
{
    ns end = clock_mono() + PATIENCE;
    while (n > 0 || c->n < back_min) {
        ssize_t k = n > 0 ? send(c->fd, p, n, MSG_NOSIGNAL) : 0;
        if (k > 0) {
            p += k;
            n -= (size_t)k;
        }
        loop_turn(kit.l, k > 0 ? 0 : 1);
        client_take(c);
        assert_true(clock_mono() < end);
    }
}

static void echo_length(void **state)
{
    size_t n = 3 * MIB + 17;
    char *body = noise(n), head[100];
    kit_open(NULL, echo_begin);
    client c = client_open();
    snprintf(head, sizeof head, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n", n);
    for (int i = 0; i < 2; i++) { /* on one connection */
        client_send(&c, head);
        exchange_all(&c, body, n, n + 80);
        until((client_take(&c), c.got && strstr(c.got, "\r\n\r\n") &&
                                    c.n >= (size_t)(strstr(c.got, "\r\n\r\n") + 4 - c.got) + n));
        char *got = strstr(c.got, "\r\n\r\n") + 4;
        assert_int_equal(c.n - (size_t)(got - c.got), n);
        assert_memory_equal(got, body, n);
        c.n = 0;
    }
    free(body);
    client_close(&c);
    kit_close();
}

/* Removes chunk framing in place; returns the length, sets *ret_rest to what comes after. */
static size_t dechunk(char *p, char **ret_rest)
{
    char *to = p;
    const char *begin = p;
    for (;;) {
        char *end;
        size_t n = strtoul(p, &end, 16);
        assert_true(end > p && end[0] == '\r' && end[1] == '\n');
        p = end + 2;
        memmove(to, p, n);
        to += n;
        p += n;
        if (n == 0)
            break;
        assert_true(p[0] == '\r' && p[1] == '\n');
        p += 2;
    }
    *ret_rest = p;
    return (size_t)(to - begin);
}

static void echo_chunked(void **state)
{
    size_t n = MIB, sent_n = 0;
    char *body = noise(n), *sent = malloc(3 * n), *rest;
    for (size_t at = 0, k = 1; at < n; at += k, k = k * 3 % 9973 + 1) {
        k = k < n - at ? k : n - at;
        sent_n += (size_t)sprintf(sent + sent_n, "%zx\r\n", k);
        memcpy(sent + sent_n, body + at, k);
        sent_n += k;
        memcpy(sent + sent_n, "\r\n", 2);
        sent_n += 2;
    }
    sent_n += (size_t)sprintf(sent + sent_n, "0\r\nX-Sum: 7\r\n\r\n");
    kit_open(NULL, echo_begin);
    client c = client_open();
    client_send(&c, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    exchange_all(&c, sent, sent_n, n);
    const char *last = "0\r\nx-sum: 7\r\n\r\n";
    until((client_take(&c), c.n > 20 && strcmp(c.got + c.n - strlen(last), last) == 0));
    char *got = strstr(c.got, "\r\n\r\n") + 4;
    assert_non_null(strstr(c.got, "transfer-encoding: chunked"));
    assert_int_equal(dechunk(got, &rest), n);
    assert_memory_equal(got, body, n);
    assert_string_equal(rest, "x-sum: 7\r\n\r\n");
    free(body);
    free(sent);
    client_close(&c);
    kit_close();
}

static void echo_client_lost(void **state)
{
    kit_open(NULL, echo_begin);
    client c = client_open();
    client_send(&c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nhello");
    until(client_has(&c, "hello"));
    client_close(&c);
    until(kit.closed == 1);
    kit_close();
}

/* --- back-pressure --- */

static size_t send_until_stuck(client *c, const char *p, size_t n)
{
    size_t sent = 0;
    for (int stuck = 0; stuck < 50 && sent < n;) {
        ssize_t k = send(c->fd, p + sent, n - sent, MSG_NOSIGNAL);
        stuck = k > 0 ? 0 : stuck + 1;
        sent += k > 0 ? (size_t)k : 0;
        loop_turn(kit.l, 0);
    }
    return sent;
}

static void upload_waits(void **state)
{
    size_t n = 32 * MIB, got = 0;
    char *body = noise(n), piece[10000];
    body_state body_is;
    kit_open(NULL, keep);
    client c = client_open();
    int small = 64 * 1024;
    setsockopt(c.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    char head[100];
    snprintf(head, sizeof head, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n", n);
    client_send(&c, head);
    size_t sent = send_until_stuck(&c, body, n);
    assert_true(sent < n); /* the rest stays with the client */
    assert_true(exchange_readable(kit.x, &body_is) <= HTTP_BUFFER_BYTES);
    assert_int_equal(exchange_readable(kit.x, &body_is), exchange_bytes_in(kit.x));
    assert_int_equal(body_is, BODY_OPEN);
    do {
        size_t k = exchange_read(kit.x, piece, sizeof piece, &body_is);
        assert_memory_equal(piece, body + got, k);
        got += k;
        if (sent < n) {
            ssize_t more = send(c.fd, body + sent, n - sent, MSG_NOSIGNAL);
            sent += more > 0 ? (size_t)more : 0;
        }
        if (k == 0)
            loop_turn(kit.l, 1);
        assert_true(exchange_readable(kit.x, &body_is) <= HTTP_BUFFER_BYTES);
    } while (body_is == BODY_OPEN);
    assert_int_equal(got, n);
    assert_true(exchange_bytes_in(kit.x) == n);
    exchange_abort(kit.x, 200, NULL, 0);
    kit.x = NULL;
    client_expect(&c, ANSWER_EMPTY);
    free(body);
    client_close(&c);
    kit_close();
}

static void download_waits(void **state)
{
    err e;
    bool overrun;
    size_t n = 32 * MIB, given = 0;
    char *body = noise(n);
    kit_open(NULL, keep);
    client c = client_open();
    client_send(&c, GET);
    until(kit.x);
    assert_true(exchange_start(kit.x, 200, NULL, 0, (int64_t)n, &e));
    for (int stuck = 0; stuck < 50;) {
        size_t k = exchange_write(kit.x, body + given, n - given, &overrun);
        assert_true(k <= HTTP_BUFFER_BYTES);
        stuck = k ? 0 : stuck + 1;
        given += k;
        loop_turn(kit.l, 0);
    }
    assert_true(given < n);
    assert_int_equal(exchange_room(kit.x), 0);
    unsigned told = kit.writable;
    size_t at_client = 0;
    while (given < n) {
        until((client_take(&c), kit.writable > told));
        told = kit.writable;
        assert_true(exchange_room(kit.x) > 0);
        bool all = exchange_write_on(kit.x, body, n, &given);
        assert_true(all == (given == n) && (all || exchange_room(kit.x) == 0));
    }
    exchange_end(kit.x, NULL, 0);
    kit.x = NULL;
    until((client_take(&c), c.n > n));
    at_client = (size_t)(strstr(c.got, "\r\n\r\n") + 4 - c.got);
    until((client_take(&c), c.n >= n + at_client));
    assert_memory_equal(c.got + at_client, body, n);
    free(body);
    client_close(&c);
    kit_close();
}

/* A client that takes nothing is let go; one that takes a little is not. */
static void download_stuck(void **state)
{
    err e;
    bool overrun;
    http_server_config config = {.write_wait = 100 * NS_PER_MS};
    char *body = noise(HTTP_BUFFER_BYTES);
    kit_open(&config, keep);
    client c = client_open();
    client_send(&c, GET);
    until(kit.x);
    assert_true(exchange_start(kit.x, 200, NULL, 0, -1, &e));
    ns slow_end = clock_mono() + 15 * config.write_wait;
    char little[20000];
    while (kit.x && clock_mono() < slow_end) {
        while (exchange_write(kit.x, body, HTTP_BUFFER_BYTES, &overrun) > 0)
            ;
        let_pass(5 * NS_PER_MS);
        if (recv(c.fd, little, sizeof little, 0) < 0)
            assert_int_equal(errno, EAGAIN);
    }
    assert_non_null(kit.x);
    while (kit.x) {
        exchange_write(kit.x, body, HTTP_BUFFER_BYTES, &overrun);
        loop_turn(kit.l, 5);
    }
    assert_int_equal(kit.closed, 1);
    assert_int_equal(http_server_connections(kit.server), 0);
    free(body);
    client_close(&c);
    kit_close();
}

/* --- 100-continue --- */

#define EXPECTING "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"

static void continues(void **state)
{
    char piece[10];
    body_state body_is;
    kit_open(NULL, keep);
    client c = client_open();
    client_send(&c, EXPECTING);
    until(kit.x);
    settle_down();
    client_take(&c);
    assert_int_equal(c.n, 0); /* not before somebody wants the body */
    assert_int_equal(exchange_read(kit.x, piece, 5, &body_is), 0);
    assert_int_equal(body_is, BODY_OPEN);
    assert_int_equal(exchange_read(kit.x, piece, 5, &body_is), 0);
    client_expect(&c, "HTTP/1.1 100 Continue\r\n\r\n"); /* once */
    client_send(&c, "hello");
    until(kit.readable);
    assert_int_equal(exchange_read(kit.x, piece, 10, &body_is), 5);
    assert_int_equal(body_is, BODY_END);
    exchange_abort(kit.x, 200, NULL, 0);
    kit.x = NULL;
    client_expect(&c, ANSWER_EMPTY);

    /* A client that did not wait is not told. */
    client_send(&c, EXPECTING "hello");
    until(kit.x);
    assert_int_equal(exchange_read(kit.x, piece, 10, &body_is), 5);
    exchange_abort(kit.x, 200, NULL, 0);
    kit.x = NULL;
    client_expect(&c, ANSWER_EMPTY);

    /* Answered without the body: nobody knows whether it will come, so the connection ends. */
    client_send(&c, EXPECTING);
    until(kit.x);
    exchange_abort(kit.x, 200, NULL, 0);
    kit.x = NULL;
    client_expect(&c, ANSWER_HEAD "connection: close\r\ncontent-length: 0\r\n\r\n");
    until(client_over(&c));
    client_close(&c);
    kit_close();
}

/* --- unread bodies --- */

static void unread(void **state)
{
    kit_open(NULL, keep);
    client c = client_open();
    client_send(&c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    until(kit.x);
    exchange_abort(kit.x, 200, NULL, 0);
    kit.x = NULL;
    char *body = calloc(1, 100000);
    client_send_n(&c, body, 100000);
    client_expect(&c, ANSWER_EMPTY);
    client_send(&c, GET); /* the connection goes on behind the body */
    until(kit.x);
    assert_str(exchange_request(kit.x)->method, "GET");
    exchange_abort(kit.x, 200, NULL, 0);
    kit.x = NULL;
    client_expect(&c, ANSWER_EMPTY);
    free(body);

    /* Bad framing in what is thrown away: no second answer, the end. */
    client_send(&c, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    until(kit.x);
    exchange_abort(kit.x, 200, NULL, 0);
    kit.x = NULL;
    client_expect(&c, ANSWER_EMPTY);
    client_send(&c, "X\r\n" GET);
    until(client_over(&c));
    assert_int_equal(c.n, 0);
    assert_int_equal(kit.requests, 3);
    client_close(&c);

    /* Too much of it: not worth a connection. */
    c = client_open();
    client_send(&c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
    until(kit.x);
    exchange_abort(kit.x, 200, NULL, 0);
    kit.x = NULL;
    body = calloc(1, 10 * MIB);
    size_t sent = send_until_stuck(&c, body, 10 * MIB);
    assert_true(sent < 10 * MIB);
    free(body);
    until(client_over(&c));
    assert_non_null(strstr(c.got, "HTTP/1.1 200 OK\r\n"));
    client_close(&c);
    until(http_server_connections(kit.server) == 0);
    kit_close();
}

static void too_large(void **state)
{
    http_server_config config = {.body_bytes_max = 10};
    kit_open(&config, keep);
    client c = client_open();
    client_send(&c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n");
    client_expect(&c, REFUSED("413 Content Too Large"));
    assert_int_equal(kit.requests, 0);
    client_close(&c);
    c = client_open();
    client_send(&c, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "5\r\nhello\r\n");
    until(kit.x);
    client_send(&c, "6\r\nworld!\r\n");
    client_expect(&c, REFUSED("413 Content Too Large"));
    assert_int_equal(kit.closed, 1);
    client_close(&c);
    kit_close();
}

/* A small body is there when the handler is called: no second turn for it. */
static void body_at_once(http_exchange *x)
{
    char piece[10];
    body_state body_is;
    assert_int_equal(exchange_read(x, piece, 10, &body_is), 5);
    assert_int_equal(body_is, BODY_END);
    assert_memory_equal(piece, "hello", 5);
    exchange_abort(x, 200, NULL, 0);
}

static void at_once(void **state)
{
    kit_open(NULL, body_at_once);
    client c = client_open();
    client_send(&c, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    client_expect(&c, ANSWER_EMPTY);
    client_send(&c, "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n");
    client_expect(&c, ANSWER_EMPTY);
    client_close(&c);
    kit_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echo_length),      cmocka_unit_test(echo_chunked),
        cmocka_unit_test(echo_client_lost), cmocka_unit_test(upload_waits),
        cmocka_unit_test(download_waits),   cmocka_unit_test(download_stuck),
        cmocka_unit_test(continues),        cmocka_unit_test(unread),
        cmocka_unit_test(too_large),        cmocka_unit_test(at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
