/* The durable queue of deferred calls: what a call is there, what may be asked, what is answered.
 * How it travels is in queue_message.h, a worker's or the keeper's side in queue_client.h, what
 * carries it out in queue_engine.h.
 *
 *                  start, or next attempt        LEASE
 *     PUT ─▶ waiting (later) ──────▶ waiting (ready) ──▶ leased ──END──▶ done | failed | dead
 *                 ▲                        ▲               │
 *                 └── RETRY, not yet ──────┴── RETRY, GIVE_BACK, the lease has expired
 *     CANCEL: waiting or leased ──▶ cancelled         REVIVE: failed, dead, cancelled ──▶ waiting
 *     the end of one that is QUEUE_TELLS ──▶ another call, of the trigger QUEUE_TELLING
 *
 * Invariants
 * - What was answered is fsynced. A call that was accepted is there until it has ended and its time
 *   of keeping is over: it is never lost, and it is leased to one holder at a time.
 * - At least once: it is leased again only if its lease expired or was given back, or RETRY was
 *   asked. Each lease has a number (attempt, from 1), which END, RETRY and EXTEND name. If the call
 *   is not leased under it any more, END and RETRY are refused (QUEUE_CONFLICT), and EXTEND says
 * so.
 * - No call is leased before its start, nor before its next attempt. Those that may run are leased
 *   by deadline; where not all can be done in time (shortage), by criticality first.
 * - A call whose lease expires, or that asks for RETRY, after attempts_max attempts is dead.
 * - At rest, what it says (about, request, note, result) is encrypted, under a key of its own;
 *   idempotency keys, and what was asked under them, are kept as keyed hashes. What the queue
 *   decides by (queue_info) is plain.
 * - Nothing here has a timer: expired leases and starts that have come are looked at by LEASE and
 *   BACKLOG; ended calls go by PURGE, and nobody finds them once their time of keeping is over. */
#pragma once

#include "base/err.h"
#include "base/str.h"

/* 128 bits that nobody can guess: who has it may see the call. Texts are 32 hexadecimal digits. */
enum { QUEUE_ID_BYTES = 16, QUEUE_ID_TEXT = 32 };
typedef struct {
    uint8_t bytes[QUEUE_ID_BYTES];
} queue_id;

/* Upper case is accepted. */
bool queue_id_parse(str text, queue_id *ret);
/* With a NUL at the end. */
void queue_id_text(const queue_id *id, char ret[QUEUE_ID_TEXT + 1]);

typedef enum {
    QUEUE_ANY, /* to ask with */
    QUEUE_WAITING,
    QUEUE_LEASED,
    QUEUE_DONE,
    QUEUE_FAILED, /* it ran, and trying again would not help */
    QUEUE_DEAD,   /* it was given up: attempts are used up, or its app has gone */
    QUEUE_CANCELLED,
    QUEUE_STATES,
} queue_state;
/* "waiting", ...; QUEUE_ANY: "any". */
const char *queue_state_name(queue_state s);
/* QUEUE_STATES: there is no such state. */
queue_state queue_state_named(str name);

/* Times are ms since 1970 by the queue's clock: this machine's, or of the database if several nodes
 * share the queue. */

/* What was agreed when the call was accepted. */
typedef struct {
    uint64_t tenant, app, revision; /* whose it is: the platform's business */
    uint32_t attempts_max;          /* 0: no limit */
    uint8_t class, criticality;     /* as call_class and call_criticality of sched/call.h */
    uint8_t trigger;                /* the platform's business, but see QUEUE_TELLS */
    uint8_t unused;
    int64_t start_ms;           /* never before; 0: at once */
    int64_t deadline_ms;        /* end by then */
    int64_t keep_ms;            /* for so long after its end */
    uint64_t cpu_ns;            /* estimate */
    double intensity_g_per_kwh; /* when it was accepted */
} queue_terms;

/* A call whose trigger has this bit is told of: what ends it, whatever that is, makes another call
 * in the same transaction, with the trigger QUEUE_TELLING, the same app, revision and `about`, due
 * at once, whose request is a queue_told. (Not where its app is gone: who would run that?) */
enum { QUEUE_TELLS = 0x80, QUEUE_TELLING = 3, QUEUE_TELLING_ATTEMPTS = 40 };
enum { QUEUE_SECRET_BYTES = 32 };

/* What running it has taken. */
typedef struct {
    uint64_t cpu_ns, wall_ns, energy_nj;
    double intensity_g_per_kwh;
} queue_use;

/* What the queue knows of a call. */
typedef struct {
    queue_id id;
    queue_terms terms;
    uint32_t state;    /* queue_state */
    uint32_t attempts; /* leases it has had; of a leased one: the number of its lease */
    uint32_t excused;  /* so many of them do not count */
    uint32_t unused;
    int64_t accepted_ms;
    int64_t next_ms;            /* waiting: not before; leased: until; ended: is kept until */
    int64_t begun_ms, ended_ms; /* last lease, end; 0: not yet */
    uint64_t holder;            /* of the lease, or of the last one */
    uint64_t bytes;             /* about and request, as they count against the quota */
    queue_use use;              /* once it has ended */
} queue_info;

typedef struct {
    queue_info info;                    /* of the call that has ended */
    uint8_t secret[QUEUE_SECRET_BYTES]; /* its app's: to sign with, */
    uint8_t before[QUEUE_SECRET_BYTES]; /* and the one before it; all 0: there was none */
} queue_told;
/* Also what builds wrote whose revisions had 32 bits: it may lie in a queue for long. */
bool queue_told_read(bytes b, queue_told *ret);

/* A call in an answer; everything is borrowed from the answer. */
typedef struct {
    queue_info info;
    bytes about;   /* as given to PUT */
    bytes request; /* if it was asked for (QUEUE_WITH_REQUEST), and always by LEASE */
    str note;      /* why it waits again or has ended; empty: nothing was said */
    bytes result;  /* if it was asked for and there is one */
    bool has_request, has_result;
} queue_call;

/* --- requests --------------------------------------------------------------------------------- */

/* QUEUE_PUT: accept a call. Answer: queue_accepted. QUEUE_QUOTA, QUEUE_CONFLICT; QUEUE_ABSENT: no
 * call has this key, and only one that has was asked for. */
typedef struct {
    queue_terms terms;
    /* Quota of the tenant: calls that wait or run, and their bytes, with this one; 0: no limit.
     * With several nodes it may be exceeded by what they accept at one moment. */
    uint64_t calls_max, bytes_max;
    /* Not 0: leased at once to that holder for lease_ms, as its first attempt. */
    uint64_t holder;
    int64_t lease_ms;
    /* 1: nothing is accepted; what an earlier PUT of this key has made is answered. */
    uint32_t only_known;
    uint32_t unused;
    /* What has to be the same if the idempotency key is: a digest of the request. */
    uint8_t same[32];
} queue_offer_head;

typedef struct {
    queue_offer_head head;
    str key;       /* idempotency key, unique per app while the call is kept; empty: none */
    bytes about;   /* a little, shown in lists (component, method, path); QUEUE_ABOUT_BYTES_MAX */
    bytes request; /* all that running it takes; QUEUE_REQUEST_BYTES_MAX */
} queue_offer;

typedef struct {
    queue_id id;
    uint32_t state;   /* queue_state */
    uint32_t existed; /* 1: an earlier PUT of this key has made it */
    uint32_t attempt; /* of the lease, where it was leased at once */
    uint32_t unused;
} queue_accepted;

/* QUEUE_LEASE: the best calls that may run now. Answer: calls, with their requests; fewer than
 * there are where their requests are large (QUEUE_LEASE_BYTES, but at least one). */
typedef struct {
    uint64_t holder; /* not 0; unique per life of a worker, over all nodes */
    int64_t lease_ms;
    uint64_t cpu_max_ns;     /* stop when their estimates reach this sum; 0: no limit */
    int64_t deadline_max_ms; /* only those due by then; 0: no limit */
    uint32_t count;          /* at most; QUEUE_PAGE_MAX */
    uint32_t shortage;       /* 1: by criticality, then deadline */
    queue_id id; /* only this one, which may be before its time; all 0: any. QUEUE_ABSENT,
                    QUEUE_CONFLICT: it does not wait */
} queue_lease;

/* A lease of a call. */
typedef struct {
    queue_id id;
    uint32_t attempt;
    uint32_t unused;
} queue_held;

/* QUEUE_EXTEND: these leases (QUEUE_EXTEND_MAX) last lease_ms from now. Answer: for each whether it
 * is held (a byte). One that is not any more was cancelled, has expired or is another's: stop the
 * work. */
/* QUEUE_END: it has ended. Answer: nothing. QUEUE_ABSENT, QUEUE_CONFLICT. */
typedef struct {
    queue_held held;
    uint32_t state; /* QUEUE_DONE, QUEUE_FAILED or QUEUE_DEAD */
    uint32_t unused;
    queue_use use;
} queue_end; /* with a note and a result (QUEUE_RESULT_BYTES_MAX), each maybe empty */

/* QUEUE_RETRY: it did not work, or not now. Answer: u32 its state: waiting, or dead. QUEUE_ABSENT,
 * QUEUE_CONFLICT. */
typedef struct {
    queue_held held;
    int64_t at_ms;   /* not before */
    uint32_t counts; /* 0: this attempt does not count (nothing was tried) */
    /* 1: nor can it be tried on this node, which has not its revision. Other nodes that share the
     * queue may have it: this one is given no call of that revision for QUEUE_LACK_MS. A call that
     * came to this QUEUE_LACK_DEAD_MS after its deadline is dead. */
    uint32_t lacks;
    queue_use use; /* added to what earlier attempts took */
} queue_retry;     /* with a note */

/* QUEUE_GIVE_BACK: everything this holder has leased waits again (its attempts count): the worker
 * has died. Answer: u64 how many. */

/* QUEUE_CANCEL, QUEUE_REVIVE, QUEUE_GET: one call. Answer: the call as it is then. QUEUE_ABSENT: no
 * call has this id, or it is another tenant's or app's. QUEUE_CONFLICT: it has ended (CANCEL); it
 * has not, or is done (REVIVE). QUEUE_QUOTA: REVIVE. */
typedef struct {
    queue_id id;
    uint64_t tenant, app; /* 0: of any */
    uint32_t with;        /* QUEUE_WITH_... */
    uint32_t unused;
    int64_t deadline_ms;           /* REVIVE: the new one. Attempts are counted anew. */
    uint64_t calls_max, bytes_max; /* REVIVE: as of PUT */
} queue_one;
enum { QUEUE_WITH_REQUEST = 1, QUEUE_WITH_RESULT = 2 };

/* QUEUE_LIST: the newest first. Answer: the id to go on after (all 0: that was all), then calls. A
 * page may be short, even empty, though there are more: what one request looks at is bounded. */
typedef struct {
    uint64_t tenant, app; /* 0: of any */
    uint32_t state;       /* QUEUE_ANY: of any */
    uint32_t count;       /* at most; QUEUE_PAGE_MAX */
    queue_id after;       /* all 0: from the newest on */
} queue_list;

/* QUEUE_BACKLOG: sums of what waits, by deadline; the calls themselves are not read. Answer:
 * queue_backlog, then slots in order, those without work left out. */
typedef struct {
    /* A multiple of QUEUE_GRAIN_MS, and of a minute for deadlines that were more than two hours
     * away when the call was accepted; else they count up to that much early. */
    int64_t slot_ms;
} queue_backlog_ask;

typedef struct {
    int64_t now_ms;
    /* When something happens by itself; 0: nothing will. */
    int64_t next_start_ms;    /* the earliest start or next attempt of those that may not run yet,
                               * or when this node is to look again for a revision it lacks */
    int64_t next_expiry_ms;   /* of a lease */
    int64_t next_deadline_ms; /* of those that may run */
    int64_t next_over_ms;     /* an ended call's time of keeping */
    uint64_t waiting, leased;
} queue_backlog;

typedef struct {
    int64_t slot; /* deadlines from slot * slot_ms on, before (slot + 1) * slot_ms */
    uint64_t ready_count, ready_cpu_ns; /* may run now */
    uint64_t later_count, later_cpu_ns; /* may not yet: start, or next attempt */
} queue_slot;
enum { QUEUE_GRAIN_MS = 5000 };

/* QUEUE_NEWS: nothing. Answered, with nothing, once others have changed calls since the last one
 * was answered. STORE_FAILED: nobody will tell; QUEUE_ABSENT: the rows are this node's alone. */

/* QUEUE_COUNT: how many calls there are of a tenant (u64; 0: of all). Answer: queue_count. */
typedef struct {
    uint64_t calls[QUEUE_STATES]; /* by state; QUEUE_ANY: all */
    uint64_t bytes;               /* of those that wait or run */
} queue_count;

/* QUEUE_SECRET: what tellings of that app (u64) are signed with; derived from the queue's key, and
 * the same until QUEUE_ROTATE makes the next one. Tellings are signed with the one before too, so
 * that who checks has until the next time to change his. Answer of both: QUEUE_SECRET_BYTES. */

/* QUEUE_APP_GONE: what waits or runs of an app is dead, with that note; forget 1: everything of it
 * is deleted instead. A bounded number at a time: ask again with next as `from`, until it is 0. */
typedef struct {
    uint64_t tenant, app; /* app 0: all of the tenant's */
    uint64_t forget;
    uint64_t from; /* 0 at first */
} queue_app_gone;  /* with a note */

/* QUEUE_PURGE: deletes ended calls whose time is over, and their idempotency keys. Again while next
 * is not 0. Answer of both: queue_swept. */
typedef struct {
    uint64_t calls; /* that have died or were deleted */
    uint64_t next;
} queue_swept;
