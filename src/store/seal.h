/* Secrets at rest: AES-256-GCM (NIST SP 800-38D) under a key that lies in a file of its own.
 *
 *     u8 version (1) | 12 bytes nonce, random | ciphertext | 16 bytes tag
 *
 * `place` is authenticated and not stored: what was sealed for one place (an app's variable) does
 * not open at another. 2^32 values may be sealed under one key before nonces might meet; a node
 * that deploys 1,000 times a second all year stays 10 years below that. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"

enum { SEAL_KEY_BYTES = 32, SEAL_OVERHEAD = 1 + 12 + 16 };

typedef struct {
    uint8_t bytes[SEAL_KEY_BYTES];
} seal_key;

/* Reads the key file; makes it (random, mode 0400, fsynced) if it is missing. ERR_INVALID: it is
 * not a key, or others may read it. */
bool seal_key_load(const char *path, seal_key *ret, err *e);
/* Appends the sealed plain to out. */
bool seal_put(const seal_key *k, str place, bytes plain, buf *out, err *e);
/* ERR_DENIED: another key, another place, or damaged. */
bool seal_open(const seal_key *k, str place, bytes sealed, arena *a, str *ret, err *e);
