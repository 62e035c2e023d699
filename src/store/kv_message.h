/* What workers and the store process say to each other about key-value: one message is one request
 * or one answer, the same shape both ways. Both ends are the same binary: host byte order, nothing
 * versioned.
 *
 *     id u64 | kind u16 | store u16 | count u32 | items_bytes u64 | items...
 *     item: key_n u32, key, value_n u32 (UINT32_MAX: none), value
 *
 * Items above STORE_INLINE_BYTES_MAX travel in an anonymous file that is passed beside the head.
 * The reader trusts no length: a damaged message is refused, not followed. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum { KV_HEAD_BYTES = 24 };

/* Requests. Each item names a key; where a value is needed it is the item's. */
typedef enum {
    KV_GET = 1,   /* answer: the same keys, with values where they exist */
    KV_SET,       /* all or none */
    KV_DELETE,    /* all or none; absent keys are no error */
    KV_EXISTS,    /* one key; answer: one item, with an empty value if it exists */
    KV_KEYS,      /* no items; answer: every key of the store */
    KV_INCREMENT, /* one key, value: s64 delta; answer: one item, s64 the new value */
    KV_SWAP,      /* (key, new value), ("", value it must have now or none) */
    KV_REQUESTS_END,
    /* Answers. */
    KV_OK = 100,
    KV_CHANGED, /* of KV_SWAP: the value was another one; one item: what it is now */
    KV_FAILED,  /* one item, whose key is the reason as text */
    KV_ANSWERS_END,
} kv_kind;

typedef struct {
    uint64_t id;
    uint16_t kind, store;
    uint32_t count;
    uint64_t items_bytes;
    bytes items; /* what is left to read */
} kv_message;

typedef struct {
    str key;
    bytes value;
    bool has_value;
} kv_item;

/* Begins a message at the end of out (which is empty); items follow. Failures: out->failed. */
void kv_message_begin(buf *out, uint64_t id, kv_kind kind, uint16_t store);
void kv_message_item(buf *out, str key, const bytes *value);
/* Makes the head say what was appended. */
void kv_message_end(buf *out);
void kv_message_set_id(buf *out, uint64_t id);

/* Reads a head. Items are those in `message` unless `in_file`; then the caller reads items_bytes
 * bytes from the file and sets `items`. ERR_INVALID. */
bool kv_message_read(bytes message, bool in_file, kv_message *ret, err *e);
/* The next item, borrowed from the message; false: there is none, or the message is damaged
 * (m->count is then not 0). */
bool kv_message_next(kv_message *m, kv_item *ret);

/* An anonymous file with these bytes; the caller closes it. */
bool kv_items_write(bytes items, int *ret_fd, err *e);
