/* Secrets of the queue, all derived from one key (seal.h):
 *
 * - ids: a call's id is its row's number and a random nonce, encrypted as one block. So an id needs
 *   no index, says nothing about how many calls there are, and is as hard to guess as the key.
 * - contents: every call has a key of its own, derived from its nonce as AES-GCM-SIV derives keys
 *   (RFC 8452, section 4), so that no key seals more than a call's few values, however many calls
 *   there will be. What was sealed for one call, tenant, app or part does not open as another.
 * - idempotency keys, and digests of what was asked under them: HMAC-SHA-256, cut to 16 bytes, over
 *   app and key, or digest. Without a secret who reads a row could try what was asked.
 * - what tellings of an app are signed with: HMAC-SHA-256 over its number, and how often it was
 *   made anew if it was.
 * - a mark, by which nodes that share a queue see that they have the same key. */
#pragma once

#include "store/queue_rows.h"
#include "store/seal.h"

typedef enum {
    QUEUE_PART_ABOUT,
    QUEUE_PART_REQUEST,
    QUEUE_PART_NOTE,
    QUEUE_PART_RESULT
} queue_part;

typedef struct queue_keys queue_keys;

bool queue_keys_new(const seal_key *root, queue_keys **ret, err *e);
/* NULL is allowed. */
void queue_keys_free(queue_keys *k);

/* A random number that is not 0. */
bool queue_nonce(uint64_t *ret, err *e);
queue_id queue_id_make(queue_keys *k, uint64_t seq, uint64_t nonce);
void queue_id_open(queue_keys *k, const queue_id *id, uint64_t *ret_seq, uint64_t *ret_nonce);
/* Of a part of the row's call (its nonce, tenant and app are set); appended to out. */
bool queue_seal(queue_keys *k, const queue_row *row, queue_part part, bytes plain, buf *out,
                err *e);
/* ERR_DENIED: another key, another place, or damaged. */
bool queue_unseal(queue_keys *k, const queue_row *row, queue_part part, bytes sealed, arena *a,
                  bytes *ret, err *e);
/* rotated: how often it was made anew before. */
bool queue_secret_of(const queue_keys *k, uint64_t app, uint64_t rotated,
                     uint8_t ret[QUEUE_SECRET_BYTES], err *e);
void queue_mark_of(const queue_keys *k, uint8_t ret[QUEUE_HASH_BYTES]);
bool queue_key_hash(queue_keys *k, uint64_t app, str key, uint8_t ret[QUEUE_HASH_BYTES], err *e);
