/* What workers and the store process say to each other: one message is one request or one answer,
 * the same shape both ways. Both ends are the same binary: host byte order, nothing versioned.
 *
 *     id u64 | kind u16 | store u16 | count u32 | items_bytes u64 | items...
 *     item: key_n u32, key, value_n u32 (UINT32_MAX: none), value
 *
 * A datagram holds one message or several, one after the other.
 * Items above STORE_INLINE_BYTES_MAX travel in an anonymous file that is passed beside the head.
 * The reader trusts no length: a damaged message is refused, not followed. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum { STORE_HEAD_BYTES = 24 };

/* Requests. Each item names a key; where a value is needed it is the item's. */
typedef enum {
    KV_GET = 1,   /* answer: the same keys, with values where they exist */
    KV_SET,       /* all or none */
    KV_DELETE,    /* all or none; absent keys are no error */
    KV_EXISTS,    /* one key; answer: one item, with an empty value if it exists */
    KV_KEYS,      /* no items; answer: every key of the store */
    KV_INCREMENT, /* one key, value: s64 delta; answer: one item, s64 the new value */
    KV_SWAP,      /* (key, new value), ("", value it must have now or none) */
    KV_LEND,      /* one item ("", u8 part: kv_reader.h); answer: no items, a descriptor of that
                     part, for reading, and for `store` a number of this opening of the file */
    /* For a store process that has a folder of states (server.h): from here on the connection's
     * number `store` means what the one item says, (label, store_naming). No answer. */
    STORE_NAME,
    /* `store` is the number of a database. The first item is (statement, sql_ask); the others are
     * the parameters, each (its kind's letter, value). Answer: see sql_result. */
    SQL_EXECUTE,
    SQL_CLOSE, /* one item ("", sql_ask): forgets the session, stops what it runs. No answer. */
    /* The queue of deferred calls: what each says and is answered is in queue.h and
     * queue_message.h. `store` is 0. */
    QUEUE_PUT,
    QUEUE_LEASE,
    QUEUE_EXTEND,
    QUEUE_END,
    QUEUE_RETRY,
    QUEUE_GIVE_BACK,
    QUEUE_CANCEL,
    QUEUE_REVIVE,
    QUEUE_GET,
    QUEUE_LIST,
    QUEUE_BACKLOG,
    QUEUE_COUNT,
    QUEUE_APP_GONE,
    QUEUE_PURGE,
    QUEUE_SECRET,
    QUEUE_ROTATE,
    QUEUE_NEWS,
    STORE_REQUESTS_END,
    /* Answers. */
    STORE_OK = 100,
    KV_CHANGED,   /* of KV_SWAP: the value was another one; one item: what it is now */
    STORE_FAILED, /* one item, whose key is the reason as text */
    STORE_FULL,   /* of SQL_EXECUTE: the database or its disk is full */
    /* Of QUEUE_...: one item, whose key is the reason as text. */
    QUEUE_ABSENT,
    QUEUE_CONFLICT,
    QUEUE_QUOTA,
    STORE_ANSWERS_END,
} store_kind;

typedef struct {
    uint64_t id;
    uint16_t kind, store;
    uint32_t count;
    uint64_t items_bytes;
    bytes items; /* what is left to read */
} store_message;

typedef struct {
    str key;
    bytes value;
    bool has_value;
} store_item;

/* A session is what a guest has opened: one connection to a database, with its own transactions and
 * temporary tables. Its number is the worker's. `step` counts its statements: a store process that
 * does not know the session although its step is not 0 is not the one that began it. */
typedef struct {
    uint64_t session, step;
} sql_ask;

/* A key-value store or database of an app; app 0: the number means nothing any more. */
typedef struct {
    uint64_t app, is_database;
} store_naming;

/* The answer to SQL_EXECUTE: one item ("", sql_result), then `columns` items (name, none), then
 * rows x columns items (kind's letter, value), row by row. */
typedef struct {
    uint64_t rows;
    int64_t last_insert_rowid;
    uint64_t changes;
    uint64_t columns;
    /* 0: nothing is left of the session (no transaction, no temporary table, no count of changes):
     * the store process has forgotten it, and the next statement may begin it anew. */
    uint64_t held;
} sql_result;

/* Letters of the kinds of values. Integers are s64, reals f64, both in 8 bytes. */
enum { SQL_INTEGER = 'i', SQL_REAL = 'r', SQL_TEXT = 't', SQL_BLOB = 'b', SQL_NULL = 'n' };

/* Begins a message at the end of out (which is empty); items follow. Failures: out->failed. */
void store_message_begin(buf *out, uint64_t id, store_kind kind, uint16_t store);
void store_message_item(buf *out, str key, const bytes *value);
/* Makes the head say what was appended. */
void store_message_end(buf *out);
void store_message_set_id(buf *out, uint64_t id);

/* Reads a head. Items are those in `message` unless `in_file`; then the caller reads items_bytes
 * bytes from the file and sets `items`. ERR_INVALID. */
bool store_message_read(bytes message, bool in_file, store_message *ret, err *e);
/* Short messages of one turn travel together: takes the first one off *rest, to be read in turn.
 * False: there is none, or *rest is damaged (and not empty). */
bool store_message_take(bytes *rest, bytes *ret);
/* The next item, borrowed from the message; false: there is none, or the message is damaged
 * (m->count is then not 0). */
bool store_message_next(store_message *m, store_item *ret);

/* An anonymous file with these bytes; the caller closes it. */
bool store_items_write(bytes items, int *ret_fd, err *e);
