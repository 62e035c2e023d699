/* Every fixed limit of ebb, each with its reason. Settings that users change have their default
 * here too. A limit that is hit is an error that names it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

/* component/: Wasmtime's own implementation limits, so that what one accepts the other does. */
#define COMPONENT_BYTES_MAX       (256 * MIB) /* Python components are 38 MB today */
#define COMPONENT_DEPTH_MAX       32          /* nesting of components; wit-component emits 2 */
#define COMPONENT_ITEMS_MAX       1000000     /* per index space, as wasmparser */
#define COMPONENT_INSTANCES_MAX   1000        /* modules, components, instances of one component */
#define COMPONENT_TYPE_DEPTH_MAX  100         /* as the canonical ABI's implementations */
#define COMPONENT_ARENA_BYTES_MAX (1 * GIB)

/* loop/ */
#define NAMES_MAX     1024 /* host names known or asked for; a query takes 2 kB */
#define NAMES_KEPT_NS (60 * UINT64_C(1000000000)) /* and no longer than their time to live */

/* http/: what nginx and Node allow, rounded. */
#define HTTP_HEAD_BYTES_MAX (64 * KIB) /* request line and headers together */
#define HTTP_HEADERS_MAX    100
#define HTTP_URI_BYTES_MAX  (16 * KIB)
#define HTTP_BUFFER_BYTES   (64 * KIB) /* body bytes held per direction and request */

/* app/ */
#define TOML_BYTES_MAX              (4 * MIB) /* a manifest of 1,000 components is 200 kB */
#define TOML_DEPTH_MAX              64    /* of arrays, tables and dotted keys; spin.toml needs 6 */
#define APP_COMPONENTS_MAX          10000 /* in one manifest, as triggers */
#define APP_ARENA_BYTES_MAX         (256 * MIB)
#define APP_FILES_MAX               100000 /* files of one component after globbing */
#define APP_PATH_BYTES_MAX          4096   /* PATH_MAX of Linux */
#define APP_LOCKED_BYTES_MAX        (64 * MIB)
#define ARCHIVE_BYTES_MAX           (1 * GIB) /* of an archive layer of an app, unpacked */
#define VARIABLE_VALUE_BYTES_MAX    (1 * MIB) /* after templates are expanded */
#define OUTBOUND_RULES_BYTES_MAX    (4 * MIB) /* an instance's own, where their variables change */
#define APP_CPU_TIME_MAX_NS         (30 * UINT64_C(1000000000))  /* default CPU time of a call */
#define APP_IDLE_TIME_MAX_NS        (600 * UINT64_C(1000000000)) /* as Spin's outbound timeouts */
#define APP_MEMORY_BYTES_MAX        (1 * GIB) /* default; Python needs 40 MiB, big models more */
#define APP_QUEUE_MAX               256       /* default; a quarter of what a worker lets wait */
#define APP_RESOURCES_MAX           131072    /* default; five of a request's are usual */
#define APP_LOG_BYTES_MAX           (1 * MIB) /* default, of one call */
#define APP_CLOCK_RESOLUTION_MAX_NS (UINT64_C(1000000000)) /* coarser clocks break timers */

/* app/, tool.ebb.defer: defaults, and how far they can be moved */
#define APP_DEFER_SLACK_S        86400       /* a day: every hour of a grid's day can be chosen */
#define APP_DEFER_SLACK_S_MAX    (7 * 86400) /* a promise further ahead than forecasts is none */
#define APP_DEFER_KEPT_S         (7 * 86400)
#define APP_DEFER_KEPT_S_MAX     (90 * 86400)
#define APP_DEFER_ATTEMPTS       5
#define APP_DEFER_ATTEMPTS_MAX   100
#define APP_DEFER_BODY_BYTES     (1 * MIB)
#define APP_DEFER_BODY_BYTES_MAX (16 * MIB) /* it is held in memory, sealed and stored whole */
#define APP_DEFER_RESULT_BYTES   (1 * MIB)
#define APP_CRONS_MAX            64 /* of one component */
#define APP_CRON_WINDOW_S_MAX    86400

/* host/ */
#define HOST_GUEST_BYTES_MAX  (64 * MIB) /* host memory that one instance's objects may take */
#define HOST_HANDLES_MAX      (((size_t)1 << 28) - 1) /* Table.MAX_LENGTH of the Canonical ABI */
#define HOST_FIELDS_BYTES_MAX (128 * KIB)    /* names and values of one wasi:http fields; Spin's */
#define HOST_EARLY_BODY_BYTES_MAX (1 * MIB)  /* body written before its head is sent */
#define HOST_READ_BYTES_MAX       (64 * KIB) /* most that one read of a stream returns */
#define HOST_RANDOM_BYTES_MAX     (16 * MIB) /* of one get-random-bytes */
#define HTTP_POOLED_MAX           256        /* idle outgoing connections of a worker */
#define HOST_FILES_MAX            512        /* files, sockets, requests of one instance */
#define HOST_LINE_BYTES_MAX       (64 * KIB) /* of stdout and stderr, where no other is set */
#define HOST_WRITE_PERMIT_BYTES   (64 * KIB) /* check-write of files and of standard output */

/* platform/ */
#define WORKER_QUEUE_MAX     1024 /* calls that wait in one worker, of all components */
#define WORKER_RETRY_AFTER_S 1    /* seconds, where a queue is full */

#define CALL_LARGE_BYTES (32 * MIB)  /* memory of one is given back in pieces: 5 ms at once */
#define CALL_KEPT_BYTES  (128 * MIB) /* above, also where it might be restored */
#define CALL_PIECE_BYTES (4 * MIB)

#define TURNS_FRESH_NS (UINT64_C(500000))  /* of a tenant, then its new calls wait for others */
#define TURNS_AHEAD_NS (UINT64_C(2000000)) /* of one with least, then a tenant's new calls wait */
#define TURNS_SLICE_NS (UINT64_C(500000))  /* while calls of several tenants wait; else a tick's */
#define TURNS_ROUND_NS (UINT64_C(500000))  /* of calls that wait, then events of others are seen */

#define ACTIVE_APPS_MAX    10000       /* default: apps that one worker holds at once */
#define ACTIVE_MODULES_MAX 10000       /* default: mapped modules of one worker */
#define ACTIVE_BYTES_MAX   (512 * MIB) /* default: of their settings, plans and linked imports */
#define ACTIVE_IDLE_NS     (300 * UINT64_C(1000000000)) /* default: then an unused app goes */
#define ACTIVE_LOOK_NS     (30 * UINT64_C(1000000000))  /* not more often are apps looked at */
#define ACTIVE_LOGS_MAX    256 /* log files that one worker has open for apps that come and go */
#define ACTIVE_MAPPINGS_PER_MODULE 5 /* three of the module, two of an instance that is kept */
#define HOSTED_MODULE_BYTES        (16 * KIB) /* on Wasmtime's heap, about; for the budget */

#define DIRECTORY_NAMES_MAX     64   /* hosts that one worker remembers of an app: wildcards */
#define DIRECTORY_NOBODY_MAX    1024 /* hosts that it remembers as nobody's */
#define DIRECTORY_NOBODY_NS     (5 * UINT64_C(1000000000))
#define DIRECTORY_WAITING_MAX   1024 /* requests that wait to learn their app */
#define DIRECTORY_IN_FLIGHT_MAX 64   /* questions: 64 answers of 32 KiB fit a channel's queue */
#define DIRECTORY_WAIT_NS       (10 * UINT64_C(1000000000)) /* for a new keeper, at most */
#define DIRECTORY_LATER_NS      (60 * UINT64_C(1000000000)) /* for code to be compiled, at most */

#define HOST_CHAIN_DEPTH_MAX 16 /* calls of the app around a call: a cycle ends */

#define DEFER_RUNNING_MAX  64    /* deferred calls that one worker runs at once */
#define DEFER_WAITING_MAX  1024  /* calls whose clients wait for them (`wait=N`) in one worker */
#define DEFER_WAIT_S_MAX   300   /* longer a client does not wait, whatever N says */
#define DEFER_LEASE_MS     60000 /* a lease, extended thrice in that time: what a crash may cost */
#define DEFER_RETRY_MS_MAX 600000
/* Of DEFER_RUNNING_MAX, hooks of one app, of one of a receiver that is slow, and of one tenant: so
 * that whoever is told by none of them does not wait for those who do not answer. */
#define HOOKS_APP_MAX    16
#define HOOKS_SLOW_MAX   4
#define HOOKS_TENANT_MAX 32

#define WATCHERS_MAX     64         /* that follow /v1/now: an answer each, every ten seconds */
#define METRICS_APPS_MAX 500        /* rows of a scrape: 3,000 series, 250 kB */
#define LOG_TURN_BYTES   (10 * MIB) /* of an app's log file under `ebb serve`; one older is kept */

/* store/ */
#define STORE_KEY_BYTES_MAX       (64 * KIB)  /* of a key-value key; SQLite indexes it whole */
#define STORE_MESSAGE_BYTES_MAX   (128 * MIB) /* keys and values of one request or answer; Spin's */
#define STORE_INLINE_BYTES_MAX    (16 * KIB)  /* of a message in its datagram; more: a memfd */
#define STORE_BUNDLE_BYTES_MAX    (60 * KIB)  /* of the messages of a turn in one datagram */
#define STORE_IN_FLIGHT_MAX       200 /* requests of a worker: 200 x 16 KiB fit a channel's queue */
#define STORE_HELD_BYTES_MAX      (64 * MIB) /* answers that wait for one commit, about */
#define STORE_GROUP_MAX           1024       /* requests that share one commit */
#define STORE_OPEN_MAX            256        /* stores that one instance has open; Spin's */
#define STORE_IDLE_NS             (10 * UINT64_C(1000000000)) /* then an unused file is closed */
#define STORE_LEASE_NS            (3 * UINT64_C(1000000000))  /* a worker reads without asking */
#define STORE_LEASE_KEPT_NS       (2 * UINT64_C(1000000000))  /* with it, less than STORE_IDLE_NS */
#define STORE_READ_BYTES_MAX      (64 * KIB) /* of a value that a worker reads itself */
#define STORE_REDIS_NS            (5 * UINT64_C(1000000000))  /* without a sign of the server */
#define STORE_ABSENT_NS           (10 * UINT64_C(1000000000)) /* wait for a new store process */
#define STORE_FILES_OPEN_MAX      2000      /* key-value files at once; three descriptors each */
#define STORE_LABEL_BYTES_MAX     100       /* of a store or database of ebb serve; a file's name */
#define STORE_SQL_TEXT_BYTES_MAX  (1 << 20) /* of a statement; SQLite's default */
#define STORE_SQL_VALUE_BYTES_MAX (128 << 20)  /* of a text or blob in SQL; as a whole result */
#define STORE_SQL_PATTERN_BYTES_MAX 1000       /* of LIKE and GLOB, whose cost is its square */
#define STORE_SQL_TRIGGER_DEPTH_MAX 100        /* of triggers that fire triggers: C stack */
#define STORE_SQL_MEMORY_BYTES_MAX  (64 * MIB) /* that SQLite takes for one connection */
#define STORE_SQL_TIME_MAX_NS       (10 * UINT64_C(1000000000)) /* of one statement */
#define STORE_SQL_SHORT_NS          (1 * UINT64_C(1000000))     /* then it moves to a thread */
#define STORE_SQL_LOCK_NS           (5 * UINT64_C(1000000000))  /* wait for a writer; Spin's */
#define STORE_SQL_RUNNING_MAX       4          /* statements of one database on threads, of 8 */
#define STORE_SQL_LOG_PAGES         1000       /* then the log is written back; SQLite's default */
#define STORE_SQL_SPARE_MAX         64         /* connections of a database kept open for reuse */
#define QUEUE_KEY_BYTES_MAX         255        /* of an idempotency key */
#define QUEUE_ABOUT_BYTES_MAX       (16 * KIB) /* of what lists show of a deferred call */
/* Of a deferred call: the longest body, and 256 KiB for a head (of a result at most 128 KiB and
 * 1023 fields) and a log (64 KiB). */
#define QUEUE_REQUEST_BYTES_MAX (APP_DEFER_BODY_BYTES_MAX + 256 * KIB)
#define QUEUE_RESULT_BYTES_MAX  (APP_DEFER_BODY_BYTES_MAX + 256 * KIB)
#define QUEUE_NOTE_BYTES_MAX    (4 * KIB) /* why it ended */
#define QUEUE_PAGE_MAX          1000      /* calls of one lease or list */
#define QUEUE_LACK_MS           60000     /* for so long a node leaves to others what it lacks */
#define QUEUE_LACK_DEAD_MS      86400000  /* this late no node will come to run it */
/* Leases of one extension: all of a worker. */
#define QUEUE_EXTEND_MAX      (DEFER_RUNNING_MAX + DEFER_WAITING_MAX)
#define QUEUE_LEASE_BYTES     (4 * MIB) /* of the requests of one lease, about */
#define QUEUE_CRITICALITY_MAX 2
#define QUEUE_CPU_NS_MAX      (UINT64_C(1) << 50) /* 13 days: sums of a million fit u64 */
#define CATALOGUE_AUDIT_MAX   1000000 /* events that are kept: 100 MB; a year of 2,700 a day */
