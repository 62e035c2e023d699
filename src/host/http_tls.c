/* Whom outgoing TLS connections trust, and who they say they are ([[client_tls]] of the runtime
 * configuration, spin.md 2).
 *
 * The platform's roots are looked up one by one, by the hash of their subject, in the folder that
 * OpenSSL's tools keep (/etc/ssl/certs): a bundle of all of them takes 33 ms to read, which would
 * be a stall of the loop. Where there is no such folder the bundle is read, once. */
#include "host/http_transfer.h"

#include <dirent.h>
#include <openssl/ssl.h>
#include <stdlib.h>

static const char platform_folder[] = "/etc/ssl/certs";
static const char *const platform_bundles[] = {
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
};

struct http_tls {
    X509_STORE *store;
    char *roots, *certificate, *key; /* NULL: none */
    bool platform;
};

/* Are there links such as "002c0b4f.0"? */
static bool folder_is_hashed(void)
{
    bool found = false;
    DIR *d = opendir(platform_folder);
    for (struct dirent *e; d && !found && (e = readdir(d));)
        found = strlen(e->d_name) == 10 && strspn(e->d_name, "0123456789abcdef") == 8 &&
                e->d_name[8] == '.';
    if (d)
        closedir(d);
    return found;
}

static bool platform_load(X509_STORE *s)
{
    if (folder_is_hashed())
        return X509_STORE_load_path(s, platform_folder) == 1;
    for (size_t i = 0; i < sizeof platform_bundles / sizeof *platform_bundles; i++)
        if (X509_STORE_load_file(s, platform_bundles[i]) == 1)
            return true;
    return false; /* a machine without roots: every certificate is refused, and says so */
}

static bool copy(char **ret, str s)
{
    *ret = s.n ? strndup(s.p, s.n) : NULL;
    return !s.n || *ret;
}

bool http_tls_open(const host_tls *settings, http_tls **ret, err *e)
{
    static const host_tls none = {.platform_roots = true};
    const host_tls *h = settings ? settings : &none;
    http_tls *t = calloc(1, sizeof *t);
    if (!t || !copy(&t->roots, h->roots_file) || !copy(&t->certificate, h->certificate_file) ||
        !copy(&t->key, h->key_file) || !(t->store = X509_STORE_new())) {
        http_tls_free(t);
        return err_no_memory(e);
    }
    t->platform = h->platform_roots;
    X509_STORE_set_flags(t->store, X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN);
    if (t->platform)
        platform_load(t->store);
    if (t->roots && X509_STORE_load_file(t->store, t->roots) != 1) {
        err_set(e, ERR_INVALID, "'%s' holds no certificates (ca_roots_file of [[client_tls]])",
                t->roots);
        http_tls_free(t);
        return false;
    }
    *ret = t;
    return true;
}

void http_tls_free(http_tls *t)
{
    if (!t)
        return;
    X509_STORE_free(t->store);
    free(t->roots);
    free(t->certificate);
    free(t->key);
    free(t);
}

static bool same(const char *a, str b) { return str_eq(str_from(a), b); }

bool http_tls_is(const http_tls *t, const host_tls *h)
{
    if (!h)
        return t->platform && !t->roots && !t->certificate && !t->key;
    return t->platform == h->platform_roots && same(t->roots, h->roots_file) &&
           same(t->certificate, h->certificate_file) && same(t->key, h->key_file);
}

bool http_tls_apply(const http_tls *t, SSL_CTX *ctx)
{
    SSL_CTX_set1_cert_store(ctx, t->store);
    return !t->certificate || (SSL_CTX_use_certificate_chain_file(ctx, t->certificate) == 1 &&
                               SSL_CTX_use_PrivateKey_file(ctx, t->key ? t->key : t->certificate,
                                                           SSL_FILETYPE_PEM) == 1);
}

const host_tls *http_tls_find(const host_component *c, str host)
{
    for (size_t i = 0; i < c->tls_count; i++)
        for (size_t k = 0; k < c->tls[i].hosts_count; k++)
            if (str_eq_nocase(c->tls[i].hosts[k], host))
                return &c->tls[i];
    return NULL;
}
