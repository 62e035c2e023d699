/* See queue_seal.h. Ciphers for single blocks are set up once and kept: an id costs 0.1 us. ECB is
 * right here and only here: each block is encrypted under a key that has no other use, and no two
 * blocks are equal. */
#include "store/queue_seal.h"

#include "base/must.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdlib.h>

enum { BLOCK = 16, HMAC_BYTES = 32 };

struct queue_keys {
    EVP_CIPHER_CTX *id_make, *id_open, *derive;
    uint8_t hash[HMAC_BYTES], tell[HMAC_BYTES], mark[HMAC_BYTES];
};

static bool subkey(const seal_key *root, str name, uint8_t ret[HMAC_BYTES])
{
    unsigned n;
    return HMAC(EVP_sha256(), root->bytes, SEAL_KEY_BYTES, (const uint8_t *)name.p, name.n, ret,
                &n) != NULL;
}

static EVP_CIPHER_CTX *block_cipher(const uint8_t key[HMAC_BYTES], bool encrypt)
{
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    if (c && EVP_CipherInit_ex(c, EVP_aes_256_ecb(), NULL, key, NULL, encrypt) &&
        EVP_CIPHER_CTX_set_padding(c, 0))
        return c;
    EVP_CIPHER_CTX_free(c);
    return NULL;
}

bool queue_keys_new(const seal_key *root, queue_keys **ret, err *e)
{
    uint8_t ids[HMAC_BYTES], contents[HMAC_BYTES];
    queue_keys *k = calloc(1, sizeof *k);
    if (!k)
        return err_no_memory(e);
    bool ok = subkey(root, S("ebb queue: ids"), ids) &&
              subkey(root, S("ebb queue: contents"), contents) &&
              subkey(root, S("ebb queue: idempotency keys"), k->hash) &&
              subkey(root, S("ebb queue: tellings"), k->tell) &&
              subkey(root, S("ebb queue: mark"), k->mark) &&
              (k->id_make = block_cipher(ids, true)) && (k->id_open = block_cipher(ids, false)) &&
              (k->derive = block_cipher(contents, true));
    OPENSSL_cleanse(ids, sizeof ids);
    OPENSSL_cleanse(contents, sizeof contents);
    if (!ok) {
        queue_keys_free(k);
        return err_set(e, ERR_INTERNAL, "the queue's keys can't be derived");
    }
    *ret = k;
    return true;
}

void queue_keys_free(queue_keys *k)
{
    if (!k)
        return;
    EVP_CIPHER_CTX_free(k->id_make);
    EVP_CIPHER_CTX_free(k->id_open);
    EVP_CIPHER_CTX_free(k->derive);
    OPENSSL_cleanse(k, sizeof *k);
    free(k);
}

/* Whole blocks, with a cipher that cannot fail once it is set up. */
static void blocks(EVP_CIPHER_CTX *c, const void *from, void *to, int n)
{
    int got = 0;
    bool ok = EVP_CipherUpdate(c, to, &got, from, n) == 1 && got == n;
    must(ok);
}

bool queue_nonce(uint64_t *ret, err *e)
{
    uint64_t n = 0;
    while (!n)
        if (RAND_bytes((uint8_t *)&n, sizeof n) != 1)
            return err_set(e, ERR_INTERNAL, "no random numbers");
    *ret = n;
    return true;
}

queue_id queue_id_make(queue_keys *k, uint64_t seq, uint64_t nonce)
{
    queue_id id;
    blocks(k->id_make, (uint64_t[]){seq, nonce}, id.bytes, BLOCK);
    return id;
}

void queue_id_open(queue_keys *k, const queue_id *id, uint64_t *ret_seq, uint64_t *ret_nonce)
{
    uint64_t both[2];
    blocks(k->id_open, id->bytes, both, BLOCK);
    *ret_seq = both[0];
    *ret_nonce = both[1];
}

/* Four blocks, of which the first halves are the key. */
static seal_key key_of(queue_keys *k, const queue_row *row)
{
    uint64_t in[8], out[8];
    seal_key key;
    for (uint64_t i = 0; i < 4; i++) {
        in[2 * i] = i;
        in[2 * i + 1] = row->nonce;
    }
    blocks(k->derive, in, out, sizeof in);
    for (size_t i = 0; i < 4; i++)
        memcpy(key.bytes + 8 * i, &out[2 * i], 8);
    return key;
}

typedef struct {
    uint64_t tenant, app, part;
} place;

bool queue_seal(queue_keys *k, const queue_row *row, queue_part part, bytes plain, buf *out, err *e)
{
    place at = {row->terms.tenant, row->terms.app, part};
    seal_key key = key_of(k, row);
    return seal_put(&key, (str){(const char *)&at, sizeof at}, plain, out, e);
}

bool queue_unseal(queue_keys *k, const queue_row *row, queue_part part, bytes sealed, arena *a,
                  bytes *ret, err *e)
{
    place at = {row->terms.tenant, row->terms.app, part};
    seal_key key = key_of(k, row);
    str plain;
    if (!seal_open(&key, (str){(const char *)&at, sizeof at}, sealed, a, &plain, e))
        return false;
    *ret = (bytes){(const uint8_t *)plain.p, plain.n};
    return true;
}

bool queue_secret_of(const queue_keys *k, uint64_t app, uint64_t rotated,
                     uint8_t ret[QUEUE_SECRET_BYTES], err *e)
{
    uint64_t of[2] = {app, rotated};
    unsigned n;
    _Static_assert((int)QUEUE_SECRET_BYTES == (int)HMAC_BYTES, "one digest");
    return HMAC(EVP_sha256(), k->tell, HMAC_BYTES, (const uint8_t *)of,
                rotated ? sizeof of : sizeof app, ret, &n)
               ? true
               : err_no_memory(e);
}

void queue_mark_of(const queue_keys *k, uint8_t ret[QUEUE_HASH_BYTES])
{
    memcpy(ret, k->mark, QUEUE_HASH_BYTES);
}

bool queue_key_hash(queue_keys *k, uint64_t app, str key, uint8_t ret[QUEUE_HASH_BYTES], err *e)
{
    uint8_t in[8 + 256], out[HMAC_BYTES];
    unsigned n;
    must(key.n <= 256);
    memcpy(in, &app, 8);
    memcpy(in + 8, key.p, key.n);
    if (!HMAC(EVP_sha256(), k->hash, HMAC_BYTES, in, 8 + key.n, out, &n))
        return err_no_memory(e);
    memcpy(ret, out, QUEUE_HASH_BYTES);
    return true;
}
