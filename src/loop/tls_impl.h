/* What streams need of a certificate store; for loop/ only, as everything that knows OpenSSL. */
#pragma once

#include "loop/tls.h"

#include <openssl/ssl.h>

typedef struct {
    X509 *certificate;
    EVP_PKEY *key;
    STACK_OF(X509) * chain;
} tls_identity;

struct tls_store {
    size_t refs;
    bool strict;
    SSL_CTX *ctx;
    tls_identity *identities;
    size_t identities_count;
    struct tls_name *names; /* sorted */
    size_t names_count;
    char warning[256];
};

/* Whom connections get, by the name they ask for; NULL: nobody has it. */
const tls_identity *tls_store_find(const tls_store *t, str host);
/* Does the certificate cover this host? Always, in a store that is not strict. */
bool tls_store_covers(const tls_store *t, const tls_identity *i, str host);
/* "file: text of OpenSSL's newest error"; clears the queue. */
const char *tls_error_text(void);
/* Where the chosen identity is noted: the app data of an SSL is this. */
typedef struct {
    tls_store *store;
    const tls_identity *identity;
} tls_choice;
