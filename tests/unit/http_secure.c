/* Servers with TLS: the protocol that ALPN decides on, hosts that a certificate is not for, and
 * handshakes that do not come to their end. */
#include "http2_kit.h"
#include "tls_kit.h"

static made first, second;
static tls_store *store;

static int store_open(void **state)
{
    err e;
    first = make("a.test", "DNS:a.test", 9);
    second = make("b.test", "DNS:b.test", 9);
    const tls_pair pairs[] = {pair_of(&first, &first), pair_of(&second, &second)};
    return tls_store_new(pairs, 2, true, &store, &e) ? 0 : -1;
}

static int store_close(void **state)
{
    tls_store_unref(store);
    unmake(&first);
    unmake(&second);
    return 0;
}

static void secure_open(const http_server_config *config, void (*handler)(http_exchange *x))
{
    kit_open(config, handler);
    http_server_secure(kit.server, store);
}

/* A client below which is TLS: what it got is in `plain`. */
typedef struct {
    SSL_CTX *ctx;
    SSL *ssl;
    client raw, plain;
} secured;

static secured dial(const char *alpn)
{
    secured c = {.ctx = SSL_CTX_new(TLS_client_method()), .raw = client_open(), .plain.fd = -1};
    c.ssl = SSL_new(c.ctx);
    SSL_set_fd(c.ssl, c.raw.fd);
    SSL_set_tlsext_host_name(c.ssl, "a.test");
    if (alpn)
        SSL_set_alpn_protos(c.ssl, (const unsigned char *)alpn, (unsigned)strlen(alpn));
    until(SSL_connect(c.ssl) == 1);
    return c;
}

static void hang_up(secured *c)
{
    SSL_free(c->ssl);
    SSL_CTX_free(c->ctx);
    client_close(&c->raw);
    free(c->plain.got);
    ERR_clear_error();
}

static void put(secured *c, const void *p, size_t n)
{
    size_t k;
    assert_int_equal(SSL_write_ex(c->ssl, p, n, &k), 1);
    assert_int_equal(k, n);
}

static void say(secured *c, const char *text) { put(c, text, strlen(text)); }

static bool has(secured *c, const char *text)
{
    char got[4096];
    size_t n;
    client *p = &c->plain;
    while (SSL_read_ex(c->ssl, got, sizeof got, &n) == 1) {
        p->got = realloc(p->got, p->n + n + 1);
        memcpy(p->got + p->n, got, n);
        p->n += n;
        p->got[p->n] = 0;
    }
    return p->got && memmem(p->got, p->n, text, strlen(text));
}

/* A head on stream 1 has come. */
static bool answered(secured *c, frame *f)
{
    has(c, "");
    for (*f = (frame){0}; frame_next(&c->plain, f);)
        if (f->kind == F_HEADERS && f->id == 1)
            return true;
    return false;
}

static char scheme[10];

static void answer(http_exchange *x)
{
    const http_request *r = exchange_request(x);
    snprintf(scheme, sizeof scheme, "%.*s", STR(r->scheme));
    assert_str(r->authority, "a.test");
    exchange_abort(x, 200, NULL, 0);
}

/* "h2" alone is HTTP/2; "http/1.1" alone is HTTP/1.1, even where a preface comes; without ALPN the
 * first bytes decide, as in the clear. */
static void alpn_decides(void **state)
{
    static const struct {
        const char *alpn;
        int http2; /* sends a preface; 2: which is refused */
    } rows[] = {{"\x02h2\x08http/1.1", 1}, {"\x02h2", 1}, {"\x08http/1.1", 0},
                {"\x08http/1.1", 2},       {NULL, 0},     {NULL, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buf b, block;
        secure_open(NULL, answer);
        secured c = dial(rows[i].alpn);
        scheme[0] = 0;
        buf_init(&b, 1000);
        buf_init(&block, 1000);
        if (rows[i].http2) {
            buf_put_str(&b, S(PREFACE));
            put_frame(&b, F_SETTINGS, 0, 0, NULL, 0);
            put_field(&block, S(":method"), S("GET"));
            put_field(&block, S(":scheme"), S("https"));
            put_field(&block, S(":path"), S("/"));
            put_field(&block, S(":authority"), S("a.test"));
            put_block(&b, 1, true, &block);
        } else {
            buf_put_str(&b, S("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        }
        put(&c, b.p, b.n);
        if (rows[i].http2 == 1) {
            frame f;
            until(answered(&c, &f));
            assert_int_equal(f.p[0], 0x88); /* :status 200 of the static table */
        } else {
            until(has(&c, rows[i].http2 ? "HTTP/1.1 505 " : "HTTP/1.1 200 OK\r\n"));
        }
        assert_string_equal(scheme, rows[i].http2 == 2 ? "" : "https");
        assert_int_equal(kit.requests, rows[i].http2 != 2);
        buf_fini(&b);
        buf_fini(&block);
        hang_up(&c);
        until(http_server_connections(kit.server) == 0);
        kit_close();
    }
}

/* The certificate shown is for a.test; what is another certificate's is asked for elsewhere. */
static void misdirected(void **state)
{
    secure_open(NULL, answer);
    secured c = dial(NULL);
    say(&c, "GET / HTTP/1.1\r\nHost: b.test\r\n\r\n");
    until(has(&c, "HTTP/1.1 421 Misdirected Request\r\n"));
    assert_string_equal(kit.refused_reason, "the connection's certificate is for other hosts");
    assert_int_equal(kit.refused_status, 421);
    assert_int_equal(kit.requests, 0);
    assert_int_equal(http_server_active(kit.server), 0);
    hang_up(&c);
    buf b, block;
    buf_init(&b, 1000);
    buf_init(&block, 1000);
    c = dial("\x02h2");
    buf_put_str(&b, S(PREFACE));
    put_frame(&b, F_SETTINGS, 0, 0, NULL, 0);
    put_field(&block, S(":method"), S("GET"));
    put_field(&block, S(":scheme"), S("https"));
    put_field(&block, S(":path"), S("/"));
    put_field(&block, S(":authority"), S("b.test"));
    put_block(&b, 1, true, &block);
    kit.refused = 0;
    put(&c, b.p, b.n);
    until(kit.refused == 1);
    assert_int_equal(kit.refused_status, 421);
    assert_string_equal(kit.refused_reason, "the connection's certificate is for other hosts");
    assert_int_equal(kit.requests, 0);
    buf_fini(&b);
    buf_fini(&block);
    hang_up(&c);
    kit_close();
}

static void handshakes_that_end(void **state)
{
    http_server_config config = {.handshake_wait = 60 * NS_PER_MS};
    secure_open(&config, answer);
    client c = client_open();
    until(client_over(&c));
    assert_string_equal(kit.refused_reason, "the TLS handshake took too long");
    assert_int_equal(kit.refused_status, 0);
    assert_int_equal(kit.refused, 1);
    client_close(&c);
    c = client_open();
    client_send(&c, "GET / HTTP/1.1\r\n\r\n"); /* no handshake at all */
    until(kit.refused == 2);
    assert_true(kit.refused_reason[0] && !strstr(kit.refused_reason, "too long"));
    until(http_server_connections(kit.server) == 0);
    client_close(&c);
    /* One that waits for its handshake is closed at once by a drain. */
    c = client_open();
    until(http_server_connections(kit.server) == 1);
    http_server_drain(kit.server, NULL, NULL);
    assert_int_equal(http_server_connections(kit.server), 0);
    client_close(&c);
    kit_close();
}

/* Too many: under TLS without a word, which would cost a handshake; and in the clear again after
 * the certificates are taken away. */
static void too_many(void **state)
{
    http_server_config config = {.connections_max = 1};
    secure_open(&config, answer);
    client a = client_open(), b = client_open();
    until(kit.refused == 1);
    assert_int_equal(kit.refused_status, 503);
    assert_string_equal(kit.refused_reason, "too many connections");
    until(client_over(&b));
    assert_int_equal(b.n, 0);
    client_close(&a);
    client_close(&b);
    until(http_server_connections(kit.server) == 0);
    http_server_secure(kit.server, NULL);
    a = client_open();
    client_send(&a, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    client_expect(&a, ANSWER_EMPTY);
    assert_string_equal(scheme, "http");
    client_close(&a);
    kit_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alpn_decides),
        cmocka_unit_test(misdirected),
        cmocka_unit_test(handshakes_that_end),
        cmocka_unit_test(too_many),
    };
    return cmocka_run_group_tests(tests, store_open, store_close);
}
