/* Certificates by name, and streams with TLS against OpenSSL's client. */
#include "loop_kit.h"
#include "tls_kit.h"

#include "loop/stream.h"
#include "loop/tls_impl.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int index_of(const tls_store *t, const char *host)
{
    const tls_identity *i = tls_store_find(t, str_from(host));
    return i ? (int)(i - t->identities) : -1;
}

static void by_name(void **state)
{
    err e;
    made m[] = {make("first.example", "DNS:a.example, DNS:*.a.example, DNS:WWW.c.example", 9),
                make("only.common.example", NULL, 9), make("x", "DNS:deep.a.example", 9)};
    tls_pair pairs[] = {pair_of(&m[0], &m[0]), pair_of(&m[1], &m[1]), pair_of(&m[2], &m[2])};
    for (int strict = 0; strict < 2; strict++) {
        buf packed;
        tls_store *t;
        buf_init(&packed, 1 << 20);
        assert_true(tls_pairs_pack(pairs, 3, strict, &packed, &e));
        assert_true(tls_store_unpack(buf_bytes(&packed), &t, &e));
        int none = strict ? -1 : 0;
        assert_int_equal(index_of(t, "a.example"), 0);
        assert_int_equal(index_of(t, "A.Example."), 0);
        assert_int_equal(index_of(t, "b.a.example"), 0);
        assert_int_equal(index_of(t, "www.C.example"), 0);
        assert_int_equal(index_of(t, "deep.a.example"), 2); /* exact before wildcard */
        assert_int_equal(index_of(t, "only.common.example"), 1);
        assert_int_equal(index_of(t, "first.example"), none); /* it has other names */
        assert_int_equal(index_of(t, "c.b.a.example"), none); /* a wildcard is one label */
        assert_int_equal(index_of(t, "*.a.example"), none);
        assert_int_equal(index_of(t, ""), none);
        assert_int_equal(index_of(t, "."), none);
        assert_int_equal(index_of(t, ".a.example"), none);
        assert_true(tls_store_covers(t, &t->identities[0], S("q.a.example")));
        assert_int_equal(tls_store_covers(t, &t->identities[1], S("q.a.example")), !strict);
        assert_null(tls_store_warning(t));
        for (size_t cut = 0; cut < packed.n; cut += 97) {
            tls_store *none_made = NULL;
            assert_false(tls_store_unpack((bytes){packed.p, cut}, &none_made, &e));
            assert_null(none_made);
        }
        tls_store_unref(t);
        buf_fini(&packed);
    }
    for (size_t i = 0; i < 3; i++)
        unmake(&m[i]);
}

static void refused(const tls_pair *p, const char *text)
{
    err e;
    tls_store *t = NULL;
    assert_false(tls_store_new(p, 1, false, &t, &e));
    assert_null(t);
    if (!strstr(e.text, text))
        fail_msg("'%s' is not in '%s'", text, e.text);
}

static void broken_files(void **state)
{
    err e;
    made a = make("a", NULL, 9), b = make("b", NULL, 9), old = make("old", NULL, -1);
    tls_pair p = pair_of(&a, &b);
    refused(&p, "k.pem is not the private key of the certificate in c.pem");
    p = pair_of(&a, &a);
    p.certificate = p.key;
    refused(&p, "c.pem: no certificate in it");
    p = pair_of(&a, &a);
    p.key = p.certificate;
    refused(&p, "k.pem: no private key in it");
    p.key = (bytes){0};
    refused(&p, "k.pem: no private key in it");
    char two[8192];
    int n = snprintf(two, sizeof two,
                     "%.*s-----BEGIN CERTIFICATE-----\nAAAA\n"
                     "-----END CERTIFICATE-----\n",
                     (int)a.certificate_n, a.certificate);
    p = pair_of(&a, &a);
    p.certificate = (bytes){(uint8_t *)two, (size_t)n};
    refused(&p, "c.pem: certificate 2 of the chain cannot be read");
    /* A key with a pass phrase. */
    BIO *in = BIO_new_mem_buf(a.key, (int)a.key_n), *out = BIO_new(BIO_s_mem());
    EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
    PEM_write_bio_PKCS8PrivateKey(out, key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL);
    EVP_PKEY_free(key);
    BIO_free(in);
    size_t k;
    char *locked = pem(out, &k);
    p = pair_of(&a, &a);
    p.key = (bytes){(uint8_t *)locked, k};
    refused(&p, "pass phrase");
    free(locked);
    tls_store *t;
    p = pair_of(&old, &old);
    assert_true(tls_store_new(&p, 1, false, &t, &e));
    assert_non_null(strstr(tls_store_warning(t), "c.pem: the certificate has expired"));
    tls_store_unref(t);
    unmake(&a);
    unmake(&b);
    unmake(&old);
}

/* --- streams --- */

typedef struct {
    stream *s;
    bool secured, ended, drained;
    stream_end end;
    size_t limit; /* after each read */
    buf got;
} served;

static void on_read(void *user, const uint8_t *p, size_t n)
{
    served *v = user;
    assert_true(v->secured);
    assert_true(buf_put(&v->got, p, n));
    stream_read_limit(v->s, v->limit);
}

static void on_end(void *user, stream_end end)
{
    served *v = user;
    v->ended = true;
    v->end = end;
}

static void on_drained(void *user) { ((served *)user)->drained = true; }
static void on_secured(void *user) { ((served *)user)->secured = true; }
static const stream_callbacks callbacks = {on_read, on_end, on_drained, on_secured};

typedef struct {
    int fd;
    SSL_CTX *ctx;
    SSL *ssl;
} client;

static client dial(served *v, tls_store *t, const char *host, const char *alpn, int version)
{
    int pair[2];
    err e;
    client c;
    *v = (served){.limit = STREAM_READ_BYTES_MAX};
    buf_init(&v->got, 64 << 20);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    assert_true(stream_open_tls_take(l, pair[0], t, &callbacks, v, &v->s, &e));
    c.fd = pair[1];
    c.ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(c.ctx, version);
    SSL_CTX_set_min_proto_version(c.ctx, version < TLS1_2_VERSION ? version : TLS1_2_VERSION);
    if (version < TLS1_2_VERSION)
        SSL_CTX_set_cipher_list(c.ctx, "ALL:@SECLEVEL=0");
    c.ssl = SSL_new(c.ctx);
    SSL_set_fd(c.ssl, c.fd);
    if (host)
        SSL_set_tlsext_host_name(c.ssl, host);
    if (alpn)
        SSL_set_alpn_protos(c.ssl, (const unsigned char *)alpn, (unsigned)strlen(alpn));
    return c;
}

/* The client's handshake is over, well or not. */
static bool shaken(client *c, bool *ret_ok)
{
    int r = SSL_connect(c->ssl), code = SSL_get_error(c->ssl, r);
    *ret_ok = r == 1;
    return r == 1 || code != SSL_ERROR_WANT_READ;
}

static void hang_up(client *c, served *v)
{
    SSL_free(c->ssl);
    SSL_CTX_free(c->ctx);
    close(c->fd);
    stream_close(v->s);
    buf_fini(&v->got);
    ERR_clear_error();
    loop_turn(l, 0);
}

static tls_store *store_of(bool strict, made *m)
{
    err e;
    tls_store *t;
    tls_pair p = pair_of(m, m);
    assert_true(tls_store_new(&p, 1, strict, &t, &e));
    return t;
}

/* A megabyte each way, in the pieces that limits make of it; then the end. */
static void both_ways(void **state)
{
    made m = make("h.example", "DNS:h.example", 9);
    tls_store *t = store_of(true, &m);
    static uint8_t data[1 << 20], back[1 << 20];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 31 >> 3);
    const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    const size_t limits[] = {STREAM_READ_BYTES_MAX, 1000};
    for (size_t round = 0; round < 4; round++) {
        served v;
        bool ok;
        client c = dial(&v, t, "H.example", "\x02h2\x08http/1.1", versions[round % 2]);
        until(shaken(&c, &ok));
        assert_true(ok);
        until(v.secured);
        assert_true(str_eq(stream_protocol(v.s), S("h2")));
        assert_true(stream_is_secure(v.s) && stream_serves(v.s, S("h.example")));
        assert_false(stream_serves(v.s, S("g.example")));
        v.limit = limits[round / 2];
        stream_read_limit(v.s, v.limit);
        size_t sent = 0, n;
        until((sent == sizeof data ||
               (SSL_write_ex(c.ssl, data + sent,
                             sizeof data - sent < 50000 ? sizeof data - sent : 50000, &n) == 1 &&
                (sent += n))) &&
              v.got.n == sizeof data);
        assert_memory_equal(v.got.p, data, sizeof data);
        buf out;
        buf_init(&out, 4 << 20);
        assert_true(stream_write_through(v.s, &out, (bytes){data, sizeof data}, S("")));
        size_t got = 0;
        until(got == sizeof back || (SSL_read_ex(c.ssl, back + got, sizeof back - got, &n) == 1 &&
                                     (got += n) && got == sizeof back));
        assert_memory_equal(back, data, sizeof data);
        until(!stream_write_busy(v.s));
        SSL_shutdown(c.ssl);
        until(v.ended);
        assert_int_equal(v.end, STREAM_EOF);
        buf_fini(&out);
        hang_up(&c, &v);
    }
    tls_store_unref(t);
    unmake(&m);
}

/* With limit 0 nothing is delivered and no more than one read is held; then all of it is. */
static void paused(void **state)
{
    made m = make("h.example", "DNS:h.example", 9);
    tls_store *t = store_of(false, &m);
    served v;
    bool ok;
    client c = dial(&v, t, NULL, NULL, TLS1_3_VERSION);
    until(shaken(&c, &ok));
    until(v.secured);
    assert_true(str_eq(stream_protocol(v.s), S("")));
    v.limit = 0;
    char text[5000];
    memset(text, 'x', sizeof text);
    for (int i = 0; i < 10; i++)
        assert_int_equal(SSL_write(c.ssl, text, sizeof text), sizeof text);
    stream_read_limit(v.s, 10); /* then 0 again, by on_read */
    until(v.got.n == 10);
    for (int i = 0; i < 10; i++)
        loop_turn(l, 1);
    assert_int_equal(v.got.n, 10);
    v.limit = STREAM_READ_BYTES_MAX;
    stream_read_limit(v.s, v.limit);
    assert_int_equal(v.got.n, 10); /* not from inside the call */
    until(v.got.n == 50000);
    hang_up(&c, &v);
    tls_store_unref(t);
    unmake(&m);
}

static void refused_handshake(tls_store *t, const char *host, const char *alpn, int version,
                              const char *why)
{
    served v;
    bool ok = true;
    client c = dial(&v, t, host, alpn, version);
    until(shaken(&c, &ok));
    assert_false(ok);
    until(v.ended);
    assert_false(v.secured);
    assert_int_equal(v.end, STREAM_RESET);
    if (!strstr(stream_problem(v.s), why))
        fail_msg("'%s' is not in '%s'", why, stream_problem(v.s));
    hang_up(&c, &v);
}

static void refusals(void **state)
{
    made m = make("h.example", "DNS:h.example", 9);
    tls_store *strict = store_of(true, &m);
    refused_handshake(strict, "other.example", NULL, TLS1_3_VERSION, "");
    refused_handshake(strict, NULL, NULL, TLS1_3_VERSION, "");
    refused_handshake(strict, "h.example", "\x04spdy", TLS1_3_VERSION, "application protocol");
    refused_handshake(strict, "h.example", NULL, TLS1_1_VERSION, "protocol");
    /* What is no TLS at all. */
    served v;
    client c = dial(&v, strict, NULL, NULL, TLS1_3_VERSION);
    assert_int_equal(write(c.fd, "GET / HTTP/1.1\r\n\r\n", 18), 18);
    until(v.ended);
    assert_non_null(strstr(stream_problem(v.s), "http request"));
    hang_up(&c, &v);
    tls_store_unref(strict);
    unmake(&m);
}

/* No session is resumed: nothing of one connection opens another. */
static void no_resumption(void **state)
{
    made m = make("h.example", "DNS:h.example", 9);
    tls_store *t = store_of(true, &m);
    const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    for (int i = 0; i < 2; i++) {
        served v;
        bool ok;
        client c = dial(&v, t, "h.example", NULL, versions[i]);
        until(shaken(&c, &ok));
        until(v.secured);
        char byte;
        buf out;
        buf_init(&out, 10);
        buf_put_u8(&out, 'y');
        assert_true(stream_write(v.s, &out));
        until(SSL_read(c.ssl, &byte, 1) == 1);
        SSL_SESSION *kept = SSL_get1_session(c.ssl);
        hang_up(&c, &v);
        c = dial(&v, t, "h.example", NULL, versions[i]);
        SSL_set_session(c.ssl, kept);
        until(shaken(&c, &ok));
        assert_true(ok);
        assert_int_equal(SSL_session_reused(c.ssl), 0);
        SSL_SESSION_free(kept);
        buf_fini(&out);
        until(v.secured);
        hang_up(&c, &v);
    }
    tls_store_unref(t);
    unmake(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_name), cmocka_unit_test(broken_files), cmocka_unit_test(both_ways),
        cmocka_unit_test(paused),  cmocka_unit_test(refusals),     cmocka_unit_test(no_resumption),
    };
    return cmocka_run_group_tests(tests, open_loop, close_loop);
}
