/* Certificates of a server, and which of them a client gets: by the name that it asks for (SNI, RFC
 * 6066 3), exact names before wildcards ("*.example.com" is one label, RFC 9525 6.3).
 *
 * Invariants
 * - TLS 1.2 and 1.3 only, forward secret suites with authenticated encryption; no renegotiation,
 *   no compression, no session tickets and no session cache: each connection stands for itself,
 *   so nothing of one name's connections can be resumed under another's.
 * - ALPN (RFC 7301): h2, then http/1.1; a client that offers neither is refused, one that offers
 *   nothing speaks HTTP/1.1.
 * - A store never changes. New certificates are a new store; streams hold the one they began with.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

typedef struct tls_store tls_store;

/* A certificate with its chain (PEM, the server's own first) and its private key (PEM). */
typedef struct {
    str certificate_path, key_path; /* for messages */
    bytes certificate, key;
} tls_pair;

/* Copies what it needs. strict: a client that asks for a name which no certificate has, or for
 * none, is refused (alert unrecognized_name); otherwise it gets the first. Errors name the file. */
bool tls_store_new(const tls_pair *pairs, size_t count, bool strict, tls_store **ret, err *e);
tls_store *tls_store_ref(tls_store *t);
/* NULL is allowed. */
void tls_store_unref(tls_store *t);
/* A certificate that is expired or not yet valid, as text; NULL: none is. Made at tls_store_new. */
const char *tls_store_warning(const tls_store *t);

/* Several pairs as bytes, to hand them to another process; they hold keys. */
bool tls_pairs_pack(const tls_pair *pairs, size_t count, bool strict, buf *out, err *e);
/* A store of what tls_pairs_pack wrote. */
bool tls_store_unpack(bytes packed, tls_store **ret, err *e);
