/* TLS between a socket and the owner of a stream: OpenSSL over bytes, never over descriptors.
 *
 * In: what one read brought is `in`, which OpenSSL takes from as it wants it. What the owner's
 * limit leaves over is kept in `held`; then the socket is not read, so at most one read is held.
 * When the limit is raised, a timer of 0 delivers it from the loop.
 *
 * Out: all of it is encrypted at once into `out` and goes to the socket as any write does; memory
 * for it is the loop's, and given back when all was written: an idle connection holds no buffers.
 *
 * A handshake costs 0.2 to 6 ms of computing, by the kind of key. So that a crowd of new clients
 * does not stop those who are connected, a turn of the loop spends HANDSHAKES_NS on them and one
 * more at most; the others are held and tried again a millisecond later.
 */
#include "loop/stream_impl.h"
#include "loop/tls_impl.h"

#include "base/must.h"

#include <openssl/err.h>
#include <stdlib.h>

enum {
    /* Encrypted output that waits: a body buffer, its head, and room for alerts. A client that asks
     * for ever new keys and does not read is cut here. */
    OUT_BYTES_MAX = 2 << 20,
};
#define HANDSHAKES_NS (4 * NS_PER_MS)

struct stream_tls {
    stream *s;
    SSL *ssl;
    tls_choice choice;
    bytes in; /* what OpenSSL may read now */
    buf held; /* what was read and has to wait */
    buf out;
    bool secured, over;
    loop_timer later;
    const char *problem;
};

/* --- the two ends of OpenSSL --- */

static int bio_read(BIO *b, char *to, int n)
{
    stream_tls *t = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    if (t->in.n == 0) {
        BIO_set_retry_read(b);
        return -1;
    }
    size_t k = (size_t)n < t->in.n ? (size_t)n : t->in.n;
    memcpy(to, t->in.p, k);
    t->in = (bytes){t->in.p + k, t->in.n - k};
    return (int)k;
}

static int bio_write(BIO *b, const char *from, int n)
{
    stream_tls *t = BIO_get_data(b);
    buf *spare = &t->s->l->spare_out;
    BIO_clear_retry_flags(b);
    if (!t->out.p && spare->p) {
        t->out = *spare;
        *spare = (buf){0};
    }
    return buf_put(&t->out, from, (size_t)n) ? n : -1;
}

static long bio_control(BIO *b, int command, long number, void *p)
{
    return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method(void)
{
    static BIO_METHOD *m;
    if (!m && (m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "ebb stream"))) {
        BIO_meth_set_read(m, bio_read);
        BIO_meth_set_write(m, bio_write);
        BIO_meth_set_ctrl(m, bio_control);
    }
    return m;
}

bool tls_begin(stream *s, tls_store *store)
{
    stream_tls *t = calloc(1, sizeof *t);
    if (!s->l->plain_buffer)
        s->l->plain_buffer = malloc(STREAM_READ_BYTES_MAX);
    BIO *b = t && s->l->plain_buffer && bio_method() ? BIO_new(bio_method()) : NULL;
    SSL *ssl = b ? SSL_new(store->ctx) : NULL;
    if (!ssl) {
        BIO_free(b);
        free(t);
        return false;
    }
    t->s = s;
    t->ssl = ssl;
    t->choice = (tls_choice){tls_store_ref(store), NULL};
    buf_init(&t->held, STREAM_READ_BYTES_MAX);
    buf_init(&t->out, OUT_BYTES_MAX);
    BIO_set_data(b, t);
    BIO_set_init(b, 1);
    SSL_set_bio(ssl, b, b);
    SSL_set_accept_state(ssl);
    SSL_set_app_data(ssl, &t->choice);
    s->tls = t;
    return true;
}

void tls_end(stream_tls *t)
{
    if (!t)
        return;
    loop_timer_stop(&t->later);
    SSL_free(t->ssl);
    tls_store_unref(t->choice.store);
    buf_fini(&t->held);
    buf_fini(&t->out);
    free(t);
}

/* --- out --- */

size_t tls_waiting(const stream_tls *t) { return t->out.n; }

bool tls_flush(stream *s)
{
    stream_tls *t = s->tls;
    buf *spare = &s->l->spare_out;
    if (s->busy || t->out.n == 0)
        return true;
    if (!stream_put(s, &t->out))
        return false;
    if (t->out.p && !spare->p) {
        buf_clear(&t->out);
        *spare = t->out;
        buf_init(&t->out, OUT_BYTES_MAX);
    } else if (t->out.p) {
        buf_fini(&t->out);
    }
    return true;
}

bool tls_put(stream *s, buf *b)
{
    stream_tls *t = s->tls;
    size_t taken;
    if (b->n == 0)
        return true;
    ERR_clear_error();
    if (t->over || SSL_write_ex(t->ssl, b->p, b->n, &taken) != 1 || taken != b->n)
        return false;
    buf_clear(b);
    return tls_flush(s);
}

void tls_goodbye(stream *s)
{
    if (!s->tls->secured || s->tls->over)
        return;
    ERR_clear_error();
    SSL_shutdown(s->tls->ssl);
    ERR_clear_error();
    tls_flush(s);
}

/* --- in --- */

bool tls_holds(const stream_tls *t) { return t->held.n > 0 || SSL_pending(t->ssl) > 0; }

static bool may_deliver(const stream *s)
{
    return !s->closing && !s->ended && !s->tls->over && (!s->tls->secured || s->read_limit > 0);
}

static void failed(stream_tls *t)
{
    t->problem = tls_error_text();
    t->over = true;
    tls_flush(t->s); /* the alert that says why */
    stream_ended(t->s, STREAM_RESET);
}

/* One step of the handshake. False: it waits, or failed. */
static bool shake(stream_tls *t)
{
    loop *l = t->s->l;
    if (l->shook_at != loop_now(l)) {
        l->shook_at = loop_now(l);
        l->shook = 0;
    }
    if (l->shook >= HANDSHAKES_NS)
        return false;
    ns begun = clock_mono();
    ERR_clear_error();
    int r = SSL_do_handshake(t->ssl);
    l->shook += clock_mono() - begun;
    if (r != 1 && SSL_get_error(t->ssl, r) != SSL_ERROR_WANT_READ) {
        failed(t);
        return false;
    }
    if (!tls_flush(t->s)) {
        stream_ended(t->s, STREAM_RESET);
        return false;
    }
    t->secured = r == 1;
    if (t->secured && t->s->callbacks->on_secured)
        t->s->callbacks->on_secured(t->s->user);
    return t->secured;
}

/* As much as the limit allows, in one piece. False: nothing is there, or the end. */
static bool deliver(stream_tls *t)
{
    stream *s = t->s;
    size_t n = 0, k = 0;
    int r = 1;
    ERR_clear_error();
    while (n < s->read_limit &&
           (r = SSL_read_ex(t->ssl, s->l->plain_buffer + n, s->read_limit - n, &k)) == 1)
        n += k;
    int code = r == 1 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, r);
    if (code == SSL_ERROR_ZERO_RETURN || code == SSL_ERROR_WANT_READ)
        ERR_clear_error();
    if (n)
        s->callbacks->on_read(s->user, s->l->plain_buffer, n);
    if (s->closing || s->ended || code == SSL_ERROR_NONE)
        return !s->closing && !s->ended;
    if (!tls_flush(s)) {
        t->over = true;
        stream_ended(s, STREAM_RESET);
    } else if (code == SSL_ERROR_ZERO_RETURN) {
        stream_ended(s, STREAM_EOF);
    } else if (code != SSL_ERROR_WANT_READ) {
        failed(t);
    }
    return false;
}

static void pump(stream_tls *t)
{
    while (may_deliver(t->s) && (t->secured ? deliver(t) : shake(t)))
        ;
}

static void on_later(void *user)
{
    stream_tls *t = user;
    t->in = buf_bytes(&t->held);
    size_t was = t->in.n;
    pump(t);
    size_t left = t->in.n;
    t->in = (bytes){0};
    if (t->s->closing || t->s->ended)
        left = 0;
    if (left == 0)
        buf_fini(&t->held);
    else
        buf_drop(&t->held, was - left);
    tls_wake(t->s);
}

void tls_came(stream *s, const uint8_t *p, size_t n)
{
    stream_tls *t = s->tls;
    t->in = (bytes){p, n};
    pump(t);
    bytes left = t->in;
    t->in = (bytes){0};
    if (s->closing || s->ended)
        return;
    if (left.n && !buf_put(&t->held, left.p, left.n)) {
        t->problem = "no memory for input";
        stream_ended(s, STREAM_RESET);
        return;
    }
    tls_wake(s);
}

void tls_wake(stream *s)
{
    stream_tls *t = s->tls;
    if (s->closing) {
        loop_timer_stop(&t->later);
        return;
    }
    if (t->in.p)
        return; /* inside pump: whoever called it goes on */
    bool wanted = may_deliver(s) && tls_holds(t);
    if (wanted && !loop_timer_active(&t->later))
        loop_timer_start(s->l, &t->later, t->secured ? 0 : NS_PER_MS, on_later, t);
    else if (!wanted)
        loop_timer_stop(&t->later);
    stream_reading_set(s);
}

/* --- what is known --- */

bool stream_is_secure(const stream *s) { return s->tls; }

str stream_protocol(const stream *s)
{
    const unsigned char *p = NULL;
    unsigned n = 0;
    if (s->tls)
        SSL_get0_alpn_selected(s->tls->ssl, &p, &n);
    return (str){p ? (const char *)p : "", n};
}

bool stream_serves(const stream *s, str host)
{
    return !s->tls || tls_store_covers(s->tls->choice.store, s->tls->choice.identity, host);
}

const char *stream_problem(const stream *s)
{
    return s->tls && s->tls->problem ? s->tls->problem : "the connection ended";
}
