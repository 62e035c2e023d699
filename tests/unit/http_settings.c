/* A server's settings where none are given, its deadlines, and what it keeps for the next request:
 * the part of http/server.c that shows only over hours or in memory. */
#include "unit.h"

#include "http/http2_impl.h"
#include "http_kit.h"

static void nothing(http_exchange *x) { exchange_abort(x, 200, NULL, 0); }

static void defaults(void **state)
{
    kit_open(NULL, nothing);
    const http_server_config *c = &kit.server->config;
    assert_string_equal(c->scheme, "http");
    assert_int_equal(c->connections_max, 10000);
    assert_int_equal(c->streams_max, 100);
    assert_int_equal(c->handshake_wait, 10 * NS_PER_S);
    assert_int_equal(c->head_wait, 60 * NS_PER_S);
    assert_int_equal(c->idle_wait, 600 * NS_PER_S);
    assert_int_equal(c->body_wait, 600 * NS_PER_S);
    assert_int_equal(c->write_wait, 600 * NS_PER_S);
    assert_int_equal(c->half_close_wait, 5 * NS_PER_S);
    assert_int_equal(c->linger_wait, 2 * NS_PER_S);
    const http1_limits *l = &kit.server->limits;
    assert_int_equal(l->head_bytes_max, 64 * KIB);
    assert_int_equal(l->headers_max, 100);
    assert_int_equal(l->uri_bytes_max, 16 * KIB);
    assert_true(l->body_bytes_max == UINT64_MAX);
    kit_close();
}

static void given(void **state)
{
    const http_server_config config = {.scheme = "https",
                                       .connections_max = 1,
                                       .streams_max = 2,
                                       .head_bytes_max = 3,
                                       .headers_max = 4,
                                       .uri_bytes_max = 5,
                                       .body_bytes_max = 6,
                                       .handshake_wait = 7,
                                       .head_wait = 8,
                                       .idle_wait = 9,
                                       .body_wait = 10,
                                       .write_wait = 11,
                                       .half_close_wait = 12,
                                       .linger_wait = 13};
    kit_open(&config, nothing);
    const http_server_config *c = &kit.server->config;
    const http1_limits *l = &kit.server->limits;
    assert_string_equal(c->scheme, "https");
    assert_int_equal(c->connections_max, 1);
    assert_int_equal(c->streams_max, 2);
    assert_int_equal(l->head_bytes_max, 3);
    assert_int_equal(l->headers_max, 4);
    assert_int_equal(l->uri_bytes_max, 5);
    assert_int_equal(l->body_bytes_max, 6);
    assert_int_equal(c->handshake_wait, 7);
    assert_int_equal(c->head_wait, 8);
    assert_int_equal(c->idle_wait, 9);
    assert_int_equal(c->body_wait, 10);
    assert_int_equal(c->write_wait, 11);
    assert_int_equal(c->half_close_wait, 12);
    assert_int_equal(c->linger_wait, 13);
    kit_close();
}

/* One timer: for the first deadline of all, and none once nobody is there (an idle server never
 * wakes up). */
static void the_timer(void **state)
{
    const http_server_config config = {.idle_wait = 500 * NS_PER_S, .head_wait = 50 * NS_PER_S};
    kit_open(&config, keep);
    http_server *s = kit.server;
    assert_false(loop_timer_active(&s->timer));
    ns before = clock_mono();
    client a = client_open(), b = client_open();
    until(http_server_connections(s) == 2);
    assert_true(loop_timer_active(&s->timer));
    /* The loop's time may be that of the turn's begin. */
    assert_true(s->timer.due > before + 499 * NS_PER_S);
    assert_true(s->timer.due <= clock_mono() + 500 * NS_PER_S);
    client_send(&b, "GET / HT");
    until(s->timer.due <= clock_mono() + 50 * NS_PER_S);
    client_send(&b, "TP/1.1\r\nHost: a\r\n\r\n");
    until(kit.x);
    assert_true(loop_timer_active(&s->timer)); /* not moved until it fires */
    exchange_abort(kit.x, 200, NULL, 0);
    kit.x = NULL;
    client_expect(&b, ANSWER_EMPTY);
    client_close(&b);
    until(http_server_connections(s) == 1);
    assert_true(loop_timer_active(&s->timer));
    client_close(&a);
    until(http_server_connections(s) == 0);
    assert_false(loop_timer_active(&s->timer));
    kit_close();
}

/* Requests that end leave their memory to the next, up to a number, and none that is large. */
static void spares(void **state)
{
    enum { AT_ONCE = 70, KEPT = 64 };
    client clients[AT_ONCE];
    http_exchange *x[AT_ONCE];
    kit_open(NULL, keep);
    http_server *s = kit.server;
    for (int i = 0; i < AT_ONCE; i++) {
        clients[i] = client_open();
        client_send(&clients[i], GET);
        until(kit.x);
        x[i] = kit.x;
        kit.x = NULL;
        assert_int_equal(s->spares_count, 0);
    }
    assert_int_equal(http_server_active(s), AT_ONCE);
    assert_int_equal(s->refs, AT_ONCE + 1);
    for (int i = 0; i < AT_ONCE; i++)
        exchange_abort(x[i], 200, NULL, 0);
    assert_int_equal(s->spares_count, KEPT);
    assert_int_equal(s->refs, 1);
    for (int i = 0; i < AT_ONCE; i++)
        client_expect(&clients[i], ANSWER_EMPTY);
    size_t bufs = s->spare_bufs_count;
    assert_int_equal(bufs, sizeof s->spare_bufs / sizeof *s->spare_bufs);
    client_send(&clients[0], GET);
    until(kit.x);
    assert_int_equal(s->spares_count, KEPT - 1);
    assert_ptr_equal(kit.x, x[KEPT - 1]); /* the last one that was given */
    exchange_abort(kit.x, 200, NULL, 0);
    kit.x = NULL;
    assert_int_equal(s->spares_count, KEPT);
    assert_int_equal(s->spare_bufs_count, bufs - 1); /* it holds the answer */
    client_expect(&clients[0], ANSWER_EMPTY);
    assert_int_equal(s->spare_bufs_count, bufs);
    for (int i = 0; i < AT_ONCE; i++)
        client_close(&clients[i]);
    until(http_server_connections(s) == 0);
    kit_close();
}

static void bufs_are_lent(void **state)
{
    buf b, large;
    kit_open(NULL, nothing);
    http_server *s = kit.server;
    buf_init(&b, 1000);
    server_buf_take(s, &b);
    assert_null(b.p); /* there is none yet */
    server_buf_give(s, &b);
    assert_int_equal(s->spare_bufs_count, 0);
    buf_put_str(&b, S("hello"));
    const uint8_t *p = b.p;
    server_buf_give(s, &b);
    assert_int_equal(s->spare_bufs_count, 1);
    assert_null(b.p);
    assert_int_equal(b.max, 1000);
    server_buf_take(s, &b);
    assert_int_equal(s->spare_bufs_count, 0);
    assert_ptr_equal(b.p, p);
    assert_int_equal(b.n, 0);
    assert_true(b.cap >= 5 && b.max == 1000);
    server_buf_take(s, &b); /* has one */
    assert_ptr_equal(b.p, p);
    server_buf_give(s, &b);
    buf_init(&large, 1 << 20);
    buf_reserve(&large, 256 * KIB + 1);
    assert_true(large.cap > 256 * KIB);
    server_buf_give(s, &large);
    assert_null(large.p);
    assert_int_equal(s->spare_bufs_count, 1);
    kit_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults), cmocka_unit_test(given),         cmocka_unit_test(the_timer),
        cmocka_unit_test(spares),   cmocka_unit_test(bufs_are_lent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
