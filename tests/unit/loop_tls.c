/* Certificates by name, and streams with TLS against OpenSSL's client. */
#include "loop_kit.h"
#include "tls_kit.h"

#include "base/arena.h"
#include "loop/stream.h"
#include "loop/tls_impl.h"
#include "loop/uv_loop.h"

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
    buf b;
    buf_init(&b, 10);
    buf_put_u8(&b, 'x');
    assert_false(stream_write(v.s, &b));
    assert_int_equal(b.n, 1);
    buf_fini(&b);
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

/* --- edges of stores --- */

/* Where several have a name, the first one given has it, wherever it stands among their names. */
static void the_first_has_a_name(void **state)
{
    err e;
    made m[4];
    tls_pair pairs[4];
    tls_store *t;
    static const char *const names[] = {"DNS:b.example, DNS:c.example, DNS:*.w.example",
                                        "DNS:c.example, DNS:a.example, DNS:b.example",
                                        "DNS:a.example, DNS:*.w.example, DNS:z.example",
                                        "DNS:z.example, DNS:a.example, DNS:q.w.example"};
    for (int i = 0; i < 4; i++) {
        m[i] = make("x", names[i], 9);
        pairs[i] = pair_of(&m[i], &m[i]);
    }
    assert_true(tls_store_new(pairs, 4, true, &t, &e));
    assert_int_equal(t->names_count, 12);
    assert_int_equal(index_of(t, "a.example"), 1);
    assert_int_equal(index_of(t, "b.example"), 0);
    assert_int_equal(index_of(t, "c.example"), 0);
    assert_int_equal(index_of(t, "z.example"), 2);
    assert_int_equal(index_of(t, "any.w.example"), 0);
    assert_int_equal(index_of(t, "q.w.example"), 3);
    assert_int_equal(index_of(t, "w.example"), -1);
    assert_int_equal(index_of(t, "0.example"), -1); /* before all, and behind them */
    assert_int_equal(index_of(t, "zz.example"), -1);
    assert_int_equal(index_of(t, "bb.example"), -1);
    assert_int_equal(index_of(t, "a.example.."), -1);
    tls_store *same = tls_store_ref(t);
    assert_ptr_equal(same, t);
    tls_store_unref(same);
    assert_int_equal(index_of(t, "a.example"), 1); /* the other holds it */
    tls_store_unref(t);
    tls_store_unref(NULL);
    for (int i = 0; i < 4; i++)
        unmake(&m[i]);
}

/* A name has 255 bytes; what is longer, or has a NUL, is nobody's. */
static void names_at_their_limit(void **state)
{
    err e;
    tls_store *t;
    char san[300] = "DNS:", host[300];
    for (int i = 0; i < 256; i++)
        san[4 + i] = i % 64 == 63 ? '.' : 'a';
    san[4 + 255] = 0;
    made m[] = {make("x", "DNS:first.example", 9), make("x", san, 9)};
    tls_pair pairs[] = {pair_of(&m[0], &m[0]), pair_of(&m[1], &m[1])};
    assert_true(tls_store_new(pairs, 2, true, &t, &e));
    for (int n = 254; n <= 258; n++) {
        memcpy(host, san + 4, 255);
        memset(host + 255, 'a', 10);
        char *exactly = memcpy(malloc((size_t)n), host, (size_t)n);
        const tls_identity *i = tls_store_find(t, (str){exactly, (size_t)n});
        assert_ptr_equal(i, n == 255 ? &t->identities[1] : NULL);
        free(exactly);
    }
    memcpy(host + 255, ".", 2); /* with the dot at its end it is the same */
    assert_int_equal(index_of(t, host), 1);
    assert_null(tls_store_find(t, (str){"first.example\0", 14}));
    assert_null(tls_store_find(t, (str){"first\0example", 13}));
    tls_store_unref(t);
    unmake(&m[0]);
    unmake(&m[1]);
}

/* A certificate for a name with a NUL in it is none for what stands before that. */
static void names_with_a_nul(void **state)
{
    err e;
    made m[2] = {make("x", "DNS:first.example", 9)};
    odd_name = "good.example\0.evil.example";
    odd_name_n = 26;
    m[1] = make("x", NULL, 9);
    odd_name = NULL;
    tls_pair pairs[] = {pair_of(&m[0], &m[0]), pair_of(&m[1], &m[1])};
    tls_store *t;
    assert_true(tls_store_new(pairs, 2, true, &t, &e));
    assert_int_equal(index_of(t, "first.example"), 0);
    assert_int_equal(index_of(t, "good.example"), -1);
    assert_int_equal(t->names_count, 1);
    tls_store_unref(t);
    unmake(&m[0]);
    unmake(&m[1]);
}

/* The common name counts where no DNS name is; addresses are none. */
static void common_names(void **state)
{
    err e;
    made m[] = {make("address.example", "IP:127.0.0.1", 9),
                make("other.example", "email:a@b.example, DNS:real.example", 9)};
    tls_pair pairs[] = {pair_of(&m[0], &m[0]), pair_of(&m[1], &m[1])};
    tls_store *t;
    assert_true(tls_store_new(pairs, 2, true, &t, &e));
    assert_int_equal(index_of(t, "address.example"), 0);
    assert_int_equal(index_of(t, "real.example"), 1);
    assert_int_equal(index_of(t, "other.example"), -1);
    assert_int_equal(index_of(t, "127.0.0.1"), -1);
    assert_int_equal(index_of(t, "a@b.example"), -1);
    tls_store_unref(t);
    unmake(&m[0]);
    unmake(&m[1]);
}

/* What is packed is read to its last byte; what is cut, or says too much, is not. */
static void packing_at_its_limits(void **state)
{
    err e;
    made m = make("x", "DNS:x.example", 9);
    tls_pair p = pair_of(&m, &m);
    buf packed, small;
    tls_store *t = NULL;
    buf_init(&packed, 1 << 20);
    assert_true(tls_pairs_pack(&p, 1, true, &packed, &e));
    for (size_t cut = 0; cut < packed.n; cut += cut < 40 || cut + 20 > packed.n ? 1 : 13) {
        uint8_t *exactly = memcpy(malloc(cut ? cut : 1), packed.p, cut);
        assert_false(tls_store_unpack((bytes){exactly, cut}, &t, &e));
        assert_int_equal(e.code, ERR_INTERNAL);
        assert_string_equal(e.text, cut < 8 ? "certificates: not what was packed, or no memory"
                                            : "certificates: not what was packed");
        free(exactly);
    }
    uint32_t *head = (uint32_t *)(void *)packed.p;
    head[1] = 0;
    assert_false(tls_store_unpack(buf_bytes(&packed), &t, &e));
    assert_string_equal(e.text, "TLS without a certificate");
    assert_int_equal(e.code, ERR_INVALID);
    head[1] = 100001;
    assert_false(tls_store_unpack(buf_bytes(&packed), &t, &e));
    assert_string_equal(e.text, "certificates: not what was packed, or no memory");
    head[1] = 100000;
    assert_false(tls_store_unpack(buf_bytes(&packed), &t, &e));
    assert_string_equal(e.text, "certificates: not what was packed");
    head[1] = 1;
    assert_true(tls_store_unpack(buf_bytes(&packed), &t, &e));
    assert_true(t->strict && t->identities_count == 1);
    tls_store_unref(t);
    buf_init(&small, packed.n - 1);
    assert_false(tls_pairs_pack(&p, 1, true, &small, &e));
    assert_int_equal(e.code, ERR_NO_MEMORY);
    buf_fini(&small);
    buf_init(&small, packed.n);
    assert_true(tls_pairs_pack(&p, 1, true, &small, &e));
    assert_int_equal(small.n, packed.n);
    buf_fini(&small);
    buf_fini(&packed);
    unmake(&m);
}

/* The first certificate that clients will refuse is named, and why. */
static void warnings(void **state)
{
    err e;
    made m[] = {make("fine", NULL, 9), make("later", NULL, 9), make("old", NULL, -1)};
    tls_pair pairs[] = {pair_of(&m[0], &m[0]), pair_of(&m[1], &m[1]), pair_of(&m[2], &m[2])};
    tls_store *t;
    assert_true(tls_store_new(pairs, 1, false, &t, &e));
    assert_null(tls_store_warning(t));
    tls_store_unref(t);
    pairs[2].certificate_path = S("old.pem");
    assert_true(tls_store_new(pairs, 3, false, &t, &e));
    assert_string_equal(tls_store_warning(t),
                        "old.pem: the certificate has expired; clients will refuse it");
    tls_store_unref(t);
    pairs[1].certificate_path = S("older.pem");
    pairs[1].certificate = pairs[2].certificate;
    pairs[1].key = pairs[2].key;
    assert_true(tls_store_new(pairs, 3, false, &t, &e));
    assert_memory_equal(tls_store_warning(t), "older.pem: ", 11);
    tls_store_unref(t);
    for (int i = 0; i < 3; i++)
        unmake(&m[i]);
    begins_days = 1;
    made early = make("early", NULL, 9);
    begins_days = -30;
    tls_pair p = pair_of(&early, &early);
    assert_true(tls_store_new(&p, 1, false, &t, &e));
    assert_string_equal(tls_store_warning(t),
                        "c.pem: the certificate is not yet valid; clients will refuse it");
    tls_store_unref(t);
    unmake(&early);
}

/* --- what a client is shown --- */

static void shown(tls_store *t, const char *host, const char *common, int chain)
{
    served v;
    bool ok;
    char name[64] = "";
    client c = dial(&v, t, host, NULL, TLS1_3_VERSION);
    until(shaken(&c, &ok));
    assert_true(ok);
    until(v.secured);
    X509 *x = SSL_get1_peer_certificate(c.ssl);
    X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, name, sizeof name);
    assert_string_equal(name, common);
    X509_free(x);
    assert_int_equal(sk_X509_num(SSL_get_peer_cert_chain(c.ssl)), chain);
    hang_up(&c, &v);
}

static void each_name_has_its_certificate(void **state)
{
    err e;
    made m[] = {make("one", "DNS:one.example", 9), make("two", "DNS:two.example", 9)};
    char both[8192];
    int n = snprintf(both, sizeof both, "%.*s%.*s", (int)m[1].certificate_n, m[1].certificate,
                     (int)m[0].certificate_n, m[0].certificate);
    tls_pair pairs[] = {pair_of(&m[0], &m[0]), pair_of(&m[1], &m[1])};
    pairs[1].certificate = (bytes){(uint8_t *)both, (size_t)n}; /* with a chain */
    tls_store *t;
    assert_true(tls_store_new(pairs, 2, false, &t, &e));
    shown(t, "one.example", "one", 1);
    shown(t, "two.example", "two", 2);
    shown(t, "three.example", "one", 1);
    shown(t, NULL, "one", 1);
    tls_store_unref(t);
    unmake(&m[0]);
    unmake(&m[1]);
}

static void protocols_in_our_order(void **state)
{
    static const char *const cases[][2] = {{"\x08http/1.1\x02h2", "h2"},
                                           {"\x08http/1.1", "http/1.1"},
                                           {"\x04spdy\x08http/1.1", "http/1.1"},
                                           {"\x02h2", "h2"},
                                           {NULL, ""}};
    made m = make("h.example", "DNS:h.example", 9);
    tls_store *t = store_of(false, &m);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        served v;
        bool ok;
        client c = dial(&v, t, "h.example", cases[i][0], TLS1_3_VERSION);
        until(shaken(&c, &ok));
        assert_true(ok);
        until(v.secured);
        assert_true(str_eq(stream_protocol(v.s), str_from(cases[i][1])));
        assert_true(stream_serves(v.s, S("any.example"))); /* it is not strict */
        assert_string_equal(stream_problem(v.s), "the connection ended");
        hang_up(&c, &v);
    }
    tls_store_unref(t);
    unmake(&m);
}

/* Suites without forward secrecy or authenticated encryption are not spoken. */
static void old_suites_are_refused(void **state)
{
    static const struct {
        const char *suite;
        bool ok;
    } cases[] = {{"ECDHE-ECDSA-AES128-GCM-SHA256", true},
                 {"ECDHE-ECDSA-CHACHA20-POLY1305", true},
                 {"ECDHE-ECDSA-AES128-SHA", false},
                 {"ECDHE-ECDSA-AES256-SHA384", false}};
    made m = make("h.example", "DNS:h.example", 9);
    tls_store *t = store_of(false, &m);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        served v;
        bool ok;
        client c = dial(&v, t, "h.example", NULL, TLS1_2_VERSION);
        assert_int_equal(SSL_set_cipher_list(c.ssl, cases[i].suite), 1);
        until(shaken(&c, &ok));
        assert_int_equal(ok, cases[i].ok);
        until(cases[i].ok ? v.secured : v.ended);
        hang_up(&c, &v);
    }
    tls_store_unref(t);
    unmake(&m);
}

/* --- how connections end --- */

/* A client is told of the end, unless the connection is reset; after its own end it may be written
 * to. */
static void ends(void **state)
{
    made m = make("h.example", "DNS:h.example", 9);
    tls_store *t = store_of(false, &m);
    enum { CLOSED, SHUT, RESET, CLIENT_FIRST, CUT };
    for (int how = CLOSED; how <= CUT; how++) {
        served v;
        bool ok;
        char byte;
        buf b;
        client c = dial(&v, t, "h.example", NULL, TLS1_3_VERSION);
        until(shaken(&c, &ok));
        until(v.secured);
        buf_init(&b, 100);
        if (how == CLIENT_FIRST) {
            SSL_shutdown(c.ssl);
            stream_read_limit(v.s, 100);
            until(v.ended);
            assert_int_equal(v.end, STREAM_EOF);
            buf_put_u8(&b, 'y');
            assert_true(stream_write(v.s, &b));
            until(SSL_read(c.ssl, &byte, 1) == 1);
        } else if (how == CUT) {
            shutdown(c.fd, SHUT_RDWR);
            until(v.ended);
            assert_string_equal(stream_problem(v.s), "the connection ended");
        }
        if (how == RESET)
            stream_reset_on_close(v.s);
        if (how == SHUT)
            assert_true(stream_shutdown_write(v.s));
        else
            stream_close(v.s);
        for (int i = 0; i < 3; i++)
            loop_turn(l, 1);
        if (how != CLIENT_FIRST && how != CUT) {
            int r = SSL_read(c.ssl, &byte, 1);
            assert_int_equal(SSL_get_error(c.ssl, r) == SSL_ERROR_ZERO_RETURN, how != RESET);
        }
        if (how == SHUT) {
            hang_up(&c, &v);
        } else {
            SSL_free(c.ssl);
            SSL_CTX_free(c.ctx);
            close(c.fd);
            buf_fini(&v.got);
            ERR_clear_error();
            loop_turn(l, 0);
        }
        buf_fini(&b);
    }
    tls_store_unref(t);
    unmake(&m);
}

/* More clients at once than one turn shakes hands with: each gets its turn. */
static void a_crowd(void **state)
{
    enum { N = 40 };
    static served v[N];
    static client c[N];
    made m = make("h.example", "DNS:h.example", 9);
    tls_store *t = store_of(false, &m);
    size_t shaken_n = 0;
    bool over[N] = {0}, ok;
    for (int i = 0; i < N; i++)
        c[i] = dial(&v[i], t, "h.example", NULL, TLS1_3_VERSION);
    for (ns end = clock_mono() + PATIENCE_S * NS_PER_S; shaken_n < N;) {
        assert_true(clock_mono() < end);
        for (int i = 0; i < N; i++)
            if (!over[i] && shaken(&c[i], &ok)) {
                assert_true(ok);
                over[i] = true;
                shaken_n++;
            }
        loop_turn(l, 1);
    }
    for (int i = 0; i < N; i++) {
        until(v[i].secured);
        assert_true(SSL_write(c[i].ssl, "hello", 5) == 5);
        stream_read_limit(v[i].s, 100);
    }
    for (int i = 0; i < N; i++) {
        until(v[i].got.n == 5);
        hang_up(&c[i], &v[i]);
    }
    tls_store_unref(t);
    unmake(&m);
}

/* Who goes before the handshake is over is told nothing; junk after it ends the connection. */
static void before_and_after_the_handshake(void **state)
{
    made m = make("h.example", "DNS:h.example", 9);
    tls_store *t = store_of(false, &m);
    served v;
    bool ok;
    char byte;
    client c = dial(&v, t, "h.example", NULL, TLS1_3_VERSION);
    stream_close(v.s);
    loop_turn(l, 0);
    assert_int_equal(read(c.fd, &byte, 1), 0);
    SSL_free(c.ssl);
    SSL_CTX_free(c.ctx);
    close(c.fd);

    c = dial(&v, t, "h.example", NULL, TLS1_3_VERSION);
    until(shaken(&c, &ok));
    until(v.secured);
    assert_int_equal(SSL_write(c.ssl, "hello", 5), 5);
    stream_read_limit(v.s, 100);
    until(v.got.n == 5);
    assert_int_equal(write(c.fd, "GET / HTTP/1.1\r\n\r\n", 18), 18);
    until(v.ended);
    assert_int_equal(v.end, STREAM_RESET);
    assert_string_not_equal(stream_problem(v.s), "the connection ended");
    int r = SSL_read(c.ssl, &byte, 1); /* an alert says so */
    assert_int_equal(SSL_get_error(c.ssl, r), SSL_ERROR_SSL);
    for (int i = 0; i < 3; i++)
        loop_turn(l, 1);
    assert_int_equal(v.got.n, 5);
    hang_up(&c, &v);
    tls_store_unref(t);
    unmake(&m);
}

/* More than may wait is refused; what is written in many pieces arrives in order. */
static void writing_much(void **state)
{
    made m = make("h.example", "DNS:h.example", 9);
    tls_store *t = store_of(false, &m);
    served v;
    bool ok;
    buf b;
    client c = dial(&v, t, "h.example", NULL, TLS1_3_VERSION);
    until(shaken(&c, &ok));
    until(v.secured);
    buf_init(&b, 4 << 20);
    assert_true(stream_write(v.s, &b)); /* nothing is no record */
    size_t got = 0, n;
    static uint8_t back[4096];
    assert_int_equal(SSL_read_ex(c.ssl, back, 1, &n), 0);
    for (int i = 0; i < 300; i++) {
        for (int k = 0; k < 1000; k++)
            buf_put_u8(&b, (uint8_t)i);
        if (stream_write_busy(v.s)) {
            v.drained = false;
            assert_true(stream_write_left(v.s) > 0);
            until(v.drained || (SSL_read_ex(c.ssl, back, 1000, &n) == 1 &&
                                back[0] == got / 1000 % 256 && (got += n) && false));
        }
        assert_true(stream_write(v.s, &b));
        assert_int_equal(b.n, 0);
    }
    until(got == 300000 || (SSL_read_ex(c.ssl, back, 1000, &n) == 1 &&
                            back[0] == got / 1000 % 256 && (got += n) == 300000));
    until(!stream_write_busy(v.s));
    assert_int_equal(stream_write_left(v.s), 0);
    buf_reserve(&b, 3 << 20);
    memset(b.p, 'x', b.n = 3 << 20);
    assert_false(stream_write(v.s, &b));
    buf_fini(&b);
    hang_up(&c, &v);
    tls_store_unref(t);
    unmake(&m);
}

/* Memory for what is encrypted is the loop's between writes: one piece, however many use it. */
static void memory_between_writes(void **state)
{
    made m = make("h.example", "DNS:h.example", 9);
    tls_store *t = store_of(false, &m);
    served v[2];
    client c[2];
    bool ok;
    char byte;
    buf b;
    buf_init(&b, 100000);
    for (int i = 0; i < 2; i++) {
        c[i] = dial(&v[i], t, "h.example", NULL, TLS1_3_VERSION);
        until(shaken(&c[i], &ok));
        until(v[i].secured);
    }
    const uint8_t *spare = l->spare_out.p;
    assert_non_null(spare);
    for (int round = 0; round < 4; round++) {
        buf_put_u8(&b, 'y');
        assert_true(stream_write(v[round % 2].s, &b));
        assert_ptr_equal(l->spare_out.p, spare);
        assert_int_equal(l->spare_out.n, 0);
        until(SSL_read(c[round % 2].ssl, &byte, 1) == 1);
    }
    for (int i = 0; i < 2; i++)
        hang_up(&c[i], &v[i]);
    buf_fini(&b);
    tls_store_unref(t);
    unmake(&m);
}

/* What was read and has to wait needs a place. */
static void no_memory_for_what_waits(void **state)
{
    made m = make("h.example", "DNS:h.example", 9);
    tls_store *t = store_of(false, &m);
    served v;
    bool ok;
    client c = dial(&v, t, "h.example", NULL, TLS1_3_VERSION);
    until(shaken(&c, &ok));
    until(v.secured);
    buf_reserve(&v.got, 1000);
    v.limit = 0;
    stream_read_limit(v.s, 10);
    assert_int_equal(SSL_write(c.ssl, "one record", 10), 10);
    assert_int_equal(SSL_write(c.ssl, "and another", 11), 11);
    alloc_fail_after(1);
    until(v.ended);
    alloc_fail_after(0);
    assert_int_equal(v.end, STREAM_RESET);
    assert_string_equal(stream_problem(v.s), "no memory for input");
    assert_int_equal(v.got.n, 10);
    hang_up(&c, &v);
    tls_store_unref(t);
    unmake(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_name),
        cmocka_unit_test(broken_files),
        cmocka_unit_test(both_ways),
        cmocka_unit_test(paused),
        cmocka_unit_test(refusals),
        cmocka_unit_test(no_resumption),
        cmocka_unit_test(the_first_has_a_name),
        cmocka_unit_test(names_at_their_limit),
        cmocka_unit_test(common_names),
        cmocka_unit_test(packing_at_its_limits),
        cmocka_unit_test(warnings),
        cmocka_unit_test(each_name_has_its_certificate),
        cmocka_unit_test(protocols_in_our_order),
        cmocka_unit_test(old_suites_are_refused),
        cmocka_unit_test(ends),
        cmocka_unit_test(a_crowd),
        cmocka_unit_test(before_and_after_the_handshake),
        cmocka_unit_test(writing_much),
        cmocka_unit_test(names_with_a_nul),
        cmocka_unit_test(memory_between_writes),
        cmocka_unit_test(no_memory_for_what_waits),
    };
    return cmocka_run_group_tests(tests, open_loop, close_loop);
}
