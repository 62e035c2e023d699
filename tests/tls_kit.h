/* Certificates that tests make for themselves. */
#pragma once

#include "unit.h"

#include "loop/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>

typedef struct {
    char *certificate, *key;
    size_t certificate_n, key_n;
} made;

static inline char *pem(BIO *b, size_t *ret_n)
{
    char *p;
    *ret_n = (size_t)BIO_get_mem_data(b, &p);
    char *copy = malloc(*ret_n + 1);
    memcpy(copy, p, *ret_n);
    BIO_free(b);
    return copy;
}

static long begins_days = -30; /* from now on, of what is made next */

/* A DNS name of that many bytes, which may have a NUL, instead of `names`. */
static const char *odd_name;
static size_t odd_name_n;

static inline void odd_name_add(X509 *x)
{
    GENERAL_NAMES *all = sk_GENERAL_NAME_new_null();
    GENERAL_NAME *g = GENERAL_NAME_new();
    ASN1_IA5STRING *s = ASN1_IA5STRING_new();
    ASN1_STRING_set(s, odd_name, (int)odd_name_n);
    GENERAL_NAME_set0_value(g, GEN_DNS, s);
    sk_GENERAL_NAME_push(all, g);
    X509_add1_ext_i2d(x, NID_subject_alt_name, all, 0, 0);
    GENERAL_NAMES_free(all);
}

/* names: "DNS:a.example,DNS:*.b.example"; NULL: only the common name. days: from now on. */
static inline made make(const char *common, const char *names, long days)
{
    made m;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), 86400 * begins_days);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400 * days);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)common, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    if (names) {
        X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
        X509_add_ext(x, ext, -1);
        X509_EXTENSION_free(ext);
    }
    if (odd_name)
        odd_name_add(x);
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    BIO *a = BIO_new(BIO_s_mem()), *b = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(a, x);
    PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL);
    m.certificate = pem(a, &m.certificate_n);
    m.key = pem(b, &m.key_n);
    X509_free(x);
    EVP_PKEY_free(key);
    return m;
}

static inline tls_pair pair_of(const made *certificate, const made *key)
{
    return (tls_pair){S("c.pem"),
                      S("k.pem"),
                      {(uint8_t *)certificate->certificate, certificate->certificate_n},
                      {(uint8_t *)key->key, key->key_n}};
}

static inline void unmake(made *m)
{
    free(m->certificate);
    free(m->key);
}
