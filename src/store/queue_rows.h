/* Where the queue's rows are: the few things that queue_engine.c asks of a database. SQLite
 * (queue_sqlite.c) and PostgreSQL (queue_pg.c) are two of one kind, so that what a call may do is
 * written once.
 *
 *     call     one row a call, narrow: what the queue decides by
 *     body     its about and request, sealed          (never changed)
 *     outcome  its note and result, sealed            (when there is something to say)
 *     tally    sums: calls and bytes by tenant and phase, calls and CPU time by deadline
 *
 * Each call has one phase and one moment (at_ms) at which that phase is looked at, so one index
 * over (phase, at_ms) finds what may be leased, what has to be woken, what has expired and what may
 * go.
 *
 * Everything happens between begin and commit. A function that fails returns false: the transaction
 * is over, roll it back. One thread at a time. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "store/queue.h"

typedef enum {
    PHASE_LATER, /* at: start or next attempt */
    PHASE_READY, /* and one more for each criticality; at: deadline */
    PHASE_READY_LAST = PHASE_READY + 2,
    PHASE_LEASED, /* at: the lease's end */
    PHASE_DONE,   /* from here on, at: until when it is kept */
    PHASE_FAILED,
    PHASE_DEAD,
    PHASE_CANCELLED,
    PHASES,
} queue_phase;

enum { QUEUE_HASH_BYTES = 16 };

typedef struct {
    uint64_t seq, nonce; /* together, and in secret, its id */
    uint32_t phase, attempts;
    uint32_t excused; /* of the attempts: do not count */
    int64_t at_ms;
    queue_terms terms;
    int64_t accepted_ms, begun_ms, ended_ms;
    uint64_t holder, bytes;
    queue_use use;
    uint8_t key[QUEUE_HASH_BYTES];  /* of the idempotency key; all 0: none */
    uint8_t same[QUEUE_HASH_BYTES]; /* of what has to be the same under that key; else all 0 */
} queue_row;

/* The columns of call after seq, in order; both databases bind and read rows by this table. */
typedef enum { FIELD_U64, FIELD_U32, FIELD_U8, FIELD_F64, FIELD_HASH } queue_field_kind;
typedef struct {
    const char *name;
    uint16_t offset;
    uint8_t kind;
    bool changes; /* written by `put` */
} queue_field;
enum { QUEUE_FIELDS = 28 };
extern const queue_field queue_fields[QUEUE_FIELDS];
/* Integers of any width, and the bits of FIELD_F64. */
int64_t queue_field_get(const queue_field *f, const queue_row *row);
void queue_field_set(const queue_field *f, queue_row *row, int64_t value);
/* Of FIELD_HASH: 16 bytes; p NULL: it is none. */
bytes queue_field_hash(const queue_field *f, const queue_row *row);
/* A statement's text, and a NUL: "%c" in it becomes the columns, "%p" their places from 1 on, "%a"
 * assignments of what changes to places from 2 on; a place is that mark and its number. */
void queue_statement_write(buf *out, const char *text, char mark);

/* What is counted: by phase, of a tenant (n calls, v bytes); by deadline (n calls, v ns of CPU);
 * how often an app's secret was made anew (n). */
enum { TALLY_READY = PHASES, TALLY_LATER, TALLY_ROTATED };
typedef struct {
    uint32_t kind;
    int64_t key; /* tenant, deadline / QUEUE_GRAIN_MS, or app */
    int64_t n, v;
} queue_tally;

typedef struct {
    bytes about, request; /* request.p NULL: was not asked for */
} queue_body;

typedef struct queue_rows queue_rows;

typedef struct {
    /* Sets *now_ms, unless it is set: to the clock that all users of these rows share. */
    bool (*begin)(queue_rows *r, int64_t *now_ms, err *e);
    /* False: as after rollback; *ret_unsure: nobody knows whether it happened. */
    bool (*commit)(queue_rows *r, bool *ret_unsure, err *e);
    void (*rollback)(queue_rows *r);
    /* Writes a new row and its body; sets row->seq. If another has the key: *ret_exists, and
     * nothing is written. */
    bool (*add)(queue_rows *r, queue_row *row, const queue_body *body, bool *ret_exists, err *e);
    /* *ret_found; for_change: nobody else changes it before this transaction has ended. */
    bool (*get)(queue_rows *r, uint64_t seq, bool for_change, queue_row *ret, bool *ret_found,
                err *e);
    bool (*find)(queue_rows *r, const uint8_t key[QUEUE_HASH_BYTES], queue_row *ret,
                 bool *ret_found, err *e);
    /* Writes what may change. */
    bool (*put)(queue_rows *r, const queue_row *row, err *e);
    /* With body and outcome. */
    bool (*remove)(queue_rows *r, uint64_t seq, err *e);
    /* Up to `max` rows of the phase with at_ms <= at_max_ms, the earliest first, for change; those
     * that somebody else is changing are left out. holder not 0: only its. Else without calls of
     * the revisions that this node lacks. */
    bool (*take)(queue_rows *r, queue_phase phase, int64_t at_max_ms, uint64_t holder, size_t max,
                 queue_row *ret, size_t *ret_n, err *e);
    /* From now on these revisions are lacked, instead of those before. NULL: the rows are this
     * node's alone. */
    bool (*lack)(queue_rows *r, const uint64_t *revisions, size_t n, err *e);
    /* Rows that are shared belong to nodes with one key, of which this is the mark: the first who
     * comes says which. ERR_DENIED: it is another. NULL: as above. */
    bool (*claim)(queue_rows *r, const uint8_t mark[QUEUE_HASH_BYTES], err *e);
    /* Adds by_ms to at_ms of all rows of the phase that were leased once; those of PHASE_LATER get
     * no later by it, and not earlier than their start. NULL: the clock of these rows is nobody's
     * to set. */
    bool (*shift)(queue_rows *r, queue_phase phase, int64_t by_ms, err *e);
    /* The earliest at_ms of the phase; 0: it has no rows. */
    bool (*first)(queue_rows *r, queue_phase phase, int64_t *ret_at_ms, err *e);
    /* Looks at up to `looks` rows below seq `before`, the newest first, and returns those (at most
     * max) of the tenant, the app (0: any) and the phases. *ret_next: look on below it; 0: those
     * were all. */
    bool (*scan)(queue_rows *r, const queue_list *q, queue_phase from, queue_phase to,
                 uint64_t before, size_t looks, queue_row *ret, size_t *ret_n, uint64_t *ret_next,
                 err *e);
    /* Borrowed until the next call of a function. */
    bool (*body)(queue_rows *r, uint64_t seq, bool with_request, queue_body *ret, err *e);
    /* Sealed; n 0: there is none. */
    bool (*outcome)(queue_rows *r, uint64_t seq, bool with_result, bytes *ret_note,
                    bytes *ret_result, err *e);
    bool (*outcome_set)(queue_rows *r, uint64_t seq, bytes note, bytes result, err *e);
    /* Adds n and v to a sum. Those of a transaction come in order. */
    bool (*tally_add)(queue_rows *r, const queue_tally *t, err *e);
    /* Sums from kind to kind (inclusive), of that key if it is not NULL, in the order of keys: each
     * is told once. */
    bool (*tally_each)(queue_rows *r, unsigned from, unsigned to, const int64_t *key,
                       void (*each)(void *user, const queue_tally *t), void *user, err *e);
    /* Between transactions, now and then. */
    bool (*tidy)(queue_rows *r, err *e);
    /* Readable when there may be news of what others have changed: then ask `news`. NULL: the rows
     * are this node's alone. */
    int (*news_fd)(queue_rows *r);
    /* *ret_news: others have changed calls since it was asked last. Between transactions. False:
     * nothing is heard any more, open the rows again. NULL: as above. */
    bool (*news)(queue_rows *r, bool *ret_news, err *e);
    /* NULL is allowed. Rolls back. */
    void (*close)(queue_rows *r);
} queue_rows_ops;

/* Each kind of rows begins with it. */
struct queue_rows {
    const queue_rows_ops *ops;
};

/* A file, made if it is missing; NULL: in memory. ERR_IO; ERR_UNSUPPORTED: made by a newer ebb. */
bool queue_sqlite_open(const char *path, queue_rows **ret, err *e);
/* A database of PostgreSQL, by its URL (or "key=value ..."); its tables, ebb_..., are made if they
 * are missing. ERR_INVALID: the URL is malformed; ERR_IO. Errors show no password. */
bool queue_pg_open(const char *url, queue_rows **ret, err *e);
