/* Certificates by name. One SSL_CTX with the rules; certificates are put into each connection when
 * its client has said which name it wants, because a context for each of thousands of names would
 * take 30 kB apiece.
 *
 * Names are those of the certificate (subjectAltName; the common name only where there are none),
 * in lower case, sorted, with wildcards under their own spelling: a look-up is two searches. Where
 * two certificates have the same name, the first one given has it. */
#include "loop/tls_impl.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

enum { NAME_BYTES_MAX = 255, PAIRS_MAX = 100000, PART_BYTES_MAX = 16 << 20 };

typedef struct tls_name {
    char *text; /* owned */
    size_t identity;
} tls_name;

static void lower(char *to, str from)
{
    for (size_t i = 0; i < from.n; i++)
        to[i] = from.p[i] >= 'A' && from.p[i] <= 'Z' ? (char)(from.p[i] | 0x20) : from.p[i];
    to[from.n] = 0;
}

const char *tls_error_text(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *text = code ? ERR_reason_error_string(code) : NULL;
    ERR_clear_error();
    return text ? text : "the connection ended";
}

/* --- look-up --- */

static int name_order(const void *a, const void *b)
{
    const tls_name *x = a, *y = b;
    int order = strcmp(x->text, y->text);
    return order ? order : (x->identity > y->identity) - (x->identity < y->identity);
}

static const tls_name *name_find(const tls_store *t, const char *text)
{
    size_t low = 0, high = t->names_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcmp(t->names[middle].text, text) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < t->names_count && strcmp(t->names[low].text, text) == 0 ? &t->names[low] : NULL;
}

/* "a.example.com" as "*.example.com", in place of its first label. */
static const char *wildcard_of(char *host)
{
    char *dot = strchr(host, '.');
    if (!dot || dot == host)
        return NULL;
    *--dot = '*';
    return dot;
}

/* A name as it comes from a client, perhaps with a dot at the end. False: it is none. */
static bool host_take(str host, char ret[NAME_BYTES_MAX + 2])
{
    if (host.n && host.p[host.n - 1] == '.')
        host.n--;
    if (host.n == 0 || host.n > NAME_BYTES_MAX || memchr(host.p, 0, host.n) || host.p[0] == '*')
        return false;
    lower(ret, host);
    return true;
}

const tls_identity *tls_store_find(const tls_store *t, str host)
{
    char text[NAME_BYTES_MAX + 2];
    const tls_name *found = NULL;
    if (host_take(host, text)) {
        found = name_find(t, text);
        const char *wildcard = found ? NULL : wildcard_of(text);
        found = wildcard ? name_find(t, wildcard) : found;
    }
    if (found)
        return &t->identities[found->identity];
    return t->strict ? NULL : &t->identities[0];
}

bool tls_store_covers(const tls_store *t, const tls_identity *i, str host)
{
    return !t->strict || tls_store_find(t, host) == i;
}

/* --- choosing, inside a handshake --- */

static int choose_certificate(SSL *ssl, int *alert, void *user)
{
    tls_choice *choice = SSL_get_app_data(ssl);
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    const tls_identity *i = tls_store_find(choice->store, str_from(name));
    if (!i) {
        *alert = SSL_AD_UNRECOGNIZED_NAME;
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    SSL_certs_clear(ssl);
    if (SSL_use_cert_and_key(ssl, i->certificate, i->key, i->chain, 1) != 1) {
        *alert = SSL_AD_INTERNAL_ERROR;
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    choice->identity = i;
    return SSL_TLSEXT_ERR_OK;
}

static int choose_protocol(SSL *ssl, const unsigned char **ret, unsigned char *ret_n,
                           const unsigned char *in, unsigned n, void *user)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    unsigned char *found;
    if (SSL_select_next_proto(&found, ret_n, ours, sizeof ours - 1, in, n) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *ret = found;
    return SSL_TLSEXT_ERR_OK;
}

static bool context_make(tls_store *t, err *e)
{
    t->ctx = SSL_CTX_new(TLS_server_method());
    if (!t->ctx)
        return err_set(e, ERR_INTERNAL, "TLS: %s", tls_error_text());
    SSL_CTX_set_options(t->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
                                    SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF |
                                    SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(t->ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(t->ctx, 0);
    SSL_CTX_set_tlsext_servername_callback(t->ctx, choose_certificate);
    SSL_CTX_set_alpn_select_cb(t->ctx, choose_protocol, NULL);
    return (SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION) == 1 &&
            SSL_CTX_set_cipher_list(t->ctx, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1) ||
           err_set(e, ERR_INTERNAL, "TLS: %s", tls_error_text());
}

/* --- reading files --- */

/* A key with a pass phrase is refused, not asked for. */
static int no_pass_phrase(char *p, int n, int writing, void *user)
{
    *(bool *)user = true;
    return -1;
}

static bool key_read(const tls_pair *p, EVP_PKEY **ret, err *e)
{
    bool encrypted = false;
    BIO *b = BIO_new_mem_buf(p->key.p, (int)p->key.n);
    EVP_PKEY *key = b ? PEM_read_bio_PrivateKey(b, NULL, no_pass_phrase, &encrypted) : NULL;
    BIO_free(b);
    ERR_clear_error();
    *ret = key;
    if (encrypted)
        return err_set(e, ERR_UNSUPPORTED,
                       "%.*s: the private key is protected by a pass phrase; give one without "
                       "(openssl pkey -in FILE -out FILE)",
                       STR(p->key_path));
    return key ? true
               : err_set(e, ERR_INVALID,
                         "%.*s: no private key in it; a PEM file with 'BEGIN PRIVATE KEY' is "
                         "expected",
                         STR(p->key_path));
}

static bool certificates_read(const tls_pair *p, tls_identity *ret, err *e)
{
    BIO *b = BIO_new_mem_buf(p->certificate.p, (int)p->certificate.n);
    if (!b || !(ret->chain = sk_X509_new_null())) {
        BIO_free(b);
        return err_no_memory(e);
    }
    for (X509 *x; (x = PEM_read_bio_X509(b, NULL, NULL, NULL));) {
        if (!ret->certificate)
            ret->certificate = x;
        else if (!sk_X509_push(ret->chain, x))
            X509_free(x);
    }
    BIO_free(b);
    /* Anything but the end of the file is a certificate that cannot be read. */
    bool broken = ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE;
    ERR_clear_error();
    if (!ret->certificate)
        return err_set(e, ERR_INVALID,
                       "%.*s: no certificate in it; a PEM file with 'BEGIN CERTIFICATE' is "
                       "expected",
                       STR(p->certificate_path));
    return !broken || err_set(e, ERR_INVALID, "%.*s: certificate %d of the chain cannot be read",
                              STR(p->certificate_path), sk_X509_num(ret->chain) + 2);
}

static void date_check(tls_store *t, const tls_pair *p, const X509 *x)
{
    bool late = X509_cmp_current_time(X509_get0_notAfter(x)) < 0,
         early = X509_cmp_current_time(X509_get0_notBefore(x)) > 0;
    if ((late || early) && !t->warning[0])
        snprintf(t->warning, sizeof t->warning, "%.*s: the certificate %s; clients will refuse it",
                 STR(p->certificate_path), late ? "has expired" : "is not yet valid");
}

static bool identity_read(tls_store *t, const tls_pair *p, tls_identity *ret, err *e)
{
    if (!certificates_read(p, ret, e) || !key_read(p, &ret->key, e))
        return false;
    if (X509_check_private_key(ret->certificate, ret->key) != 1) {
        ERR_clear_error();
        return err_set(e, ERR_INVALID, "%.*s is not the private key of the certificate in %.*s",
                       STR(p->key_path), STR(p->certificate_path));
    }
    /* What the security level forbids (short keys, MD5) is found now, not in a handshake. */
    SSL *tried = SSL_new(t->ctx);
    bool usable = tried && SSL_use_cert_and_key(tried, ret->certificate, ret->key, ret->chain, 1);
    SSL_free(tried);
    if (!usable)
        return err_set(e, ERR_INVALID, "%.*s cannot be used: %s", STR(p->certificate_path),
                       tls_error_text());
    date_check(t, p, ret->certificate);
    return true;
}

static bool name_add(tls_store *t, const unsigned char *text, int n, size_t identity)
{
    tls_name *grown = realloc(t->names, (t->names_count + 1) * sizeof *grown);
    if (!grown)
        return false;
    t->names = grown;
    if (n <= 0 || n > NAME_BYTES_MAX || memchr(text, 0, (size_t)n))
        return true; /* nobody can ask for it */
    char *copy = malloc((size_t)n + 1);
    if (!copy)
        return false;
    lower(copy, (str){(const char *)text, (size_t)n});
    t->names[t->names_count++] = (tls_name){copy, identity};
    return true;
}

static bool names_read(tls_store *t, X509 *x, size_t identity)
{
    bool ok = true, any = false;
    GENERAL_NAMES *all = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; ok && i < sk_GENERAL_NAME_num(all); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);
        if (g->type != GEN_DNS)
            continue;
        any = true;
        ok = name_add(t, ASN1_STRING_get0_data(g->d.dNSName), ASN1_STRING_length(g->d.dNSName),
                      identity);
    }
    GENERAL_NAMES_free(all);
    int at = any ? -1 : X509_NAME_get_index_by_NID(X509_get_subject_name(x), NID_commonName, -1);
    if (ok && at >= 0) {
        const ASN1_STRING *s =
            X509_NAME_ENTRY_get_data(X509_NAME_get_entry(X509_get_subject_name(x), at));
        ok = name_add(t, ASN1_STRING_get0_data(s), ASN1_STRING_length(s), identity);
    }
    return ok;
}

/* --- making --- */

bool tls_store_new(const tls_pair *pairs, size_t count, bool strict, tls_store **ret, err *e)
{
    if (count == 0)
        return err_set(e, ERR_INVALID, "TLS without a certificate");
    tls_store *t = calloc(1, sizeof *t);
    if (!t)
        return err_no_memory(e);
    t->refs = 1;
    t->strict = strict;
    t->identities = calloc(count, sizeof *t->identities);
    bool ok = t->identities ? context_make(t, e) : err_no_memory(e);
    for (size_t i = 0; ok && i < count; i++) {
        t->identities_count = i + 1;
        ok = identity_read(t, &pairs[i], &t->identities[i], e) &&
             (names_read(t, t->identities[i].certificate, i) || err_no_memory(e));
    }
    if (!ok) {
        tls_store_unref(t);
        return false;
    }
    if (t->names_count)
        qsort(t->names, t->names_count, sizeof *t->names, name_order);
    *ret = t;
    return true;
}

tls_store *tls_store_ref(tls_store *t)
{
    t->refs++;
    return t;
}

void tls_store_unref(tls_store *t)
{
    if (!t || --t->refs > 0)
        return;
    SSL_CTX_free(t->ctx);
    for (size_t i = 0; i < t->identities_count; i++) {
        X509_free(t->identities[i].certificate);
        EVP_PKEY_free(t->identities[i].key);
        sk_X509_pop_free(t->identities[i].chain, X509_free);
    }
    for (size_t i = 0; i < t->names_count; i++)
        free(t->names[i].text);
    free(t->names);
    free(t->identities);
    free(t);
}

const char *tls_store_warning(const tls_store *t) { return t->warning[0] ? t->warning : NULL; }

/* --- between processes: strict, count, and four parts a pair with their lengths --- */

static void part_put(buf *out, const void *p, size_t n)
{
    uint32_t length = (uint32_t)n;
    buf_put(out, &length, sizeof length);
    buf_put(out, p, n);
}

bool tls_pairs_pack(const tls_pair *pairs, size_t count, bool strict, buf *out, err *e)
{
    uint32_t head[2] = {strict, (uint32_t)count};
    buf_put(out, head, sizeof head);
    for (size_t i = 0; i < count; i++) {
        const tls_pair *p = &pairs[i];
        part_put(out, p->certificate_path.p, p->certificate_path.n);
        part_put(out, p->key_path.p, p->key_path.n);
        part_put(out, p->certificate.p, p->certificate.n);
        part_put(out, p->key.p, p->key.n);
    }
    return !out->failed || err_no_memory(e);
}

static bool part_take(bytes *in, bytes *ret)
{
    uint32_t n;
    if (in->n < sizeof n)
        return false;
    memcpy(&n, in->p, sizeof n);
    *in = (bytes){in->p + sizeof n, in->n - sizeof n};
    if (n > in->n || n > PART_BYTES_MAX)
        return false;
    *ret = (bytes){in->p, n};
    *in = (bytes){in->p + n, in->n - n};
    return true;
}

bool tls_store_unpack(bytes in, tls_store **ret, err *e)
{
    uint32_t head[2] = {0};
    bool ok = in.n >= sizeof head;
    if (ok)
        memcpy(head, in.p, sizeof head);
    tls_pair *pairs = ok && head[1] <= PAIRS_MAX ? calloc(head[1] + 1, sizeof *pairs) : NULL;
    if (!pairs)
        return err_set(e, ERR_INTERNAL, "certificates: not what was packed, or no memory");
    in = (bytes){in.p + sizeof head, in.n - sizeof head};
    for (size_t i = 0; ok && i < head[1]; i++) {
        bytes paths[2] = {0};
        ok = part_take(&in, &paths[0]) && part_take(&in, &paths[1]) &&
             part_take(&in, &pairs[i].certificate) && part_take(&in, &pairs[i].key);
        pairs[i].certificate_path = (str){(const char *)paths[0].p, paths[0].n};
        pairs[i].key_path = (str){(const char *)paths[1].p, paths[1].n};
    }
    ok = ok ? tls_store_new(pairs, head[1], head[0], ret, e)
            : err_set(e, ERR_INTERNAL, "certificates: not what was packed");
    free(pairs);
    return ok;
}
