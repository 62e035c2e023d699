/* The engine: the only room that knows Wasmtime. Core modules in, calls out.
 *
 *   compile process                        worker process
 *   engine_compile(module) -> .cwasm       engine_module_open(.cwasm file) -> engine_module
 *                                          engine_instance_new -> _start -> _call ... _free
 *
 * An engine_instance is one store with one instance of one module: a sandbox. Guest code runs on a
 * fiber of its own; engine_poll runs it until it ends, waits, or has used its time slice.
 *
 * Invariants
 * - One engine per process, one thread. At most one operation (start or call) per instance.
 * - Host functions run on the fiber's stack: no SQL, TLS or libcurl there, no deep frames
 *   (ENGINE_HOST_STACK_BYTES is what they have).
 * - A pointer into guest memory is valid until the next guest call or wait: keep (offset, length).
 * - An instance that trapped or was abandoned can only be freed.
 * - While the guest runs engine_realloc or a post-return it may call no import (may_leave of the
 *   Canonical ABI): that traps here, host functions need not check it.
 * - engine_new, in a worker, takes SIGURG, and faults of guest code arrive as SIGSEGV, SIGILL,
 *   SIGFPE, SIGBUS in Wasmtime's handlers: whoever installs handlers for those does it before and
 *   is called for faults that are not the guest's. System calls may return EINTR while a tick is
 *   armed. Make the engine in the process and thread that will use it: timers do not survive fork.
 */
#pragma once

#include "base/clock.h"
#include "component/plan.h"

enum {
    ENGINE_HOST_STACK_BYTES = 512 * 1024,
    ENGINE_NEST_STACK_BYTES = 256 * 1024, /* from the first call that the host makes to the last */
    ENGINE_TICK_NS = 1000000
};
/* The process's own effective user. */
#define ENGINE_OWNER_SELF UINT32_MAX

/* To the state before the start function, unless that asks the host nothing; not at all: each call
 * has a new instance, which gets the pages of the one before if it writes to many; or to the state
 * after it, with all that it read. */
typedef enum { ENGINE_RESTORE_ON, ENGINE_RESTORE_OFF, ENGINE_RESTORE_AFTER_START } engine_restore;
typedef struct engine engine;
typedef struct engine_module engine_module;
typedef struct engine_instance engine_instance;

/* How instances are restored in place; README.md. */
typedef enum {
    ENGINE_RESTORE_AUTO,    /* by PAGEMAP_SCAN, or else by pagemap */
    ENGINE_RESTORE_PAGEMAP, /* as before Linux 6.7: no PAGEMAP_SCAN, nor populating at once */
    ENGINE_RESTORE_NEVER,   /* a new instance for every call, and nothing is used again */
} engine_restore_mode;
enum { ENGINE_SKIP_MEMORY = 1, ENGINE_SKIP_GLOBALS = 2 };

typedef struct {
    engine_restore_mode mode;
    uint32_t check_every;  /* one restore in so many is compared with a new instance; 0: none. 1:
                              all, and every app counts as hot */
    uint32_t skip;         /* ENGINE_SKIP_*, to show that the comparison sees it; for tests only */
    uint32_t kept_max;     /* instances kept at once */
    size_t kept_bytes_max; /* of private memory in those together; 0: no bound */
} engine_restoring;

typedef struct {
    bool compiler;           /* true in the compile process: no pool is made */
    bool compiler_threads;   /* compile with a thread a core; same artifacts, more memory at once */
    uint32_t instances_max;  /* pool slots: instances alive at once */
    size_t memory_bytes_max; /* per linear memory; the pool reserves address space, not memory */
    size_t wasm_stack_bytes; /* per call */
    uint32_t decommit_batch; /* dropped instances whose memory is given back in one go; README */
    bool populate;           /* new instances get their module's usual pages in one go */
    engine_restoring restoring;
    uint32_t artifact_owner; /* user id that artifacts must belong to (root's are fine too) */
} engine_config;

/* Settings that unmodified apps run with. */
engine_config engine_config_default(void);
/* "auto", "pagemap" or "never", and after commas "check=N", "skip=memory", "skip=globals". */
bool engine_restoring_parse(str text, engine_restoring *ret, err *e);
bool engine_new(const engine_config *c, engine **ret, err *e);
/* By PAGEMAP_SCAN, with the usual settings? */
bool engine_restoring_usual(const engine *en);
/* In one line, how instances are restored here, or why they are not. Static. */
const char *engine_restoring_says(const engine *en);
void engine_free(engine *en);
/* Names everything an artifact depends on: engine version, settings, CPU features. Part of the
 * artifact's file name, so that one made by another engine is simply not found. Static. */
str engine_fingerprint(engine *en);

/* Validates one core module. ERR_INVALID carries the validator's message. */
bool engine_validate(engine *en, bytes module, err *e);
/* Validates and compiles one core module. ERR_INVALID carries the validator's message. */
bool engine_compile(engine *en, bytes module, buf *ret_cwasm, err *e);

/* A value at the boundary; what the guest passes and gets. */
typedef union {
    int32_t i32;
    uint32_t u32;
    int64_t i64;
    uint64_t u64;
    float f32;
    double f64;
    uint64_t v128[2];
} slot;

typedef enum {
    HOST_DONE,  /* results are in the slots */
    HOST_TRAP,  /* engine_trap_set was called */
    HOST_WAIT,  /* call me again after engine_wake: only where may_wait was declared */
    HOST_YIELD, /* as HOST_WAIT, but only for others to have their turn: engine_poll says YIELD */
} host_status;

/* A host function of a module. Arguments come in `slots`, results go there; of a 32-bit argument
 * only .i32, .u32 and .f32 are defined. A function that returned HOST_WAIT or HOST_YIELD is called
 * again, with the same `slots` and env, at each later engine_poll, until it returns something else:
 * it must be written so that it may be tried again. */
typedef host_status (*engine_host_fn)(void *env, engine_instance *in, slot *slots);

typedef struct {
    engine_host_fn fn; /* NULL: calling it traps, naming the import */
    void *env;         /* borrowed; outlives the module */
    bool may_wait;     /* may say HOST_WAIT and HOST_YIELD */
    bool inside;       /* does not leave the instance: allocations and post-return may call it */
} engine_import;

/* Imports, linked for one module or for many that have the same. */
typedef struct engine_links engine_links;

/* Import "ebb" "<k>" is imports[k], which described[k] is in the plan. Both are borrowed and must
 * outlive all modules that are opened with them. */
bool engine_links_new(engine *en, const plan_import *described, const engine_import *imports,
                      uint32_t count, engine_links **ret, err *e);
/* They go when their last module does. NULL is allowed. */
void engine_links_drop(engine_links *l);

/* Maps an artifact and links it. The file is checked (owner, length, header, fingerprint) but its
 * code is trusted: only the compile process writes there. The plan unit is borrowed and must
 * outlive the module. */
bool engine_module_open(engine *en, const char *path, const plan_unit *unit, engine_links *links,
                        engine_module **ret, err *e);
/* Instances must be gone. NULL is allowed. */
void engine_module_close(engine_module *m);

typedef struct {
    size_t memory_bytes_max; /* per linear memory; growth beyond it answers -1 to the guest */
    uint32_t table_elements_max;
} engine_limits;

/* ERR_LIMIT: the module needs more memory than `l` allows, or all instances_max are in use. */
bool engine_instance_new(engine_module *m, const engine_limits *l, void *user,
                         engine_instance **ret, err *e);
/* At any time, also in the middle of a call (the fiber is dropped), but not from a host function of
 * its own. A host function that is inside engine_realloc or engine_destroy then sees it return
 * false and still runs to its end: what its env and user point to must outlive this call. NULL is
 * allowed. */
void engine_instance_free(engine_instance *in);
void *engine_user(const engine_instance *in);
/* Gives back up to `bytes` of what its memories hold, the last first, so that freeing it does not
 * take long at once: a gigabyte takes a tenth of a second. It can only be freed afterwards. False:
 * nothing is left. */
bool engine_instance_empty(engine_instance *in, size_t bytes);
/* From now on each of its memories may have so many bytes: never less than they began with, nor
 * more than it was made with. While it is not being polled, or from a host function of its own. */
void engine_instance_limit(engine_instance *in, size_t memory_bytes);

/* --- restoring in place -----------------------------------------------------------------------
 * An instance whose call ended well may be given back instead of freed: if its module is called
 * often, everything that the call can have changed is put back to what a new instance has, and the
 * next engine_instance_new of the same module gets it. It behaves like a new one, engine_start
 * included. What can't be restored, or isn't worth it, is freed, but maybe for the pages of its
 * memory: they are put back, and the next new one gets them (ENGINE_KEPT, too). */
typedef enum { ENGINE_FREED, ENGINE_KEPT, ENGINE_DIFFERS } engine_given;
/* ENGINE_DIFFERS: the check found that it is not like a new one; it was freed, the module is not
 * restored any more, and engine_module_difference says what it was. */
engine_given engine_instance_give(engine_instance *in, ns now);
const char *engine_module_difference(const engine_module *m);
/* Was it restored? For the log. */
bool engine_instance_kept(const engine_instance *in);
/* The component's setting; before its first instance, or from after to before the start function
 * instead of engine_start_take. */
void engine_module_restore(engine_module *m, engine_restore r);
/* The instance has run its start function, and nothing else yet. Shall its state be the one after
 * start that all later instances of the module begin with? Only ENGINE_RESTORE_AFTER_START asks. */
bool engine_start_wanted(const engine_instance *in);
/* Makes it so. Host state belongs to the caller. False: it can't be done, because the start
 * function called functions that may wait or got too many bytes, or there is no place now. */
bool engine_start_take(engine_instance *in);
/* A kept instance whose start function will not run again, because it is in the state after it. */
bool engine_instance_after_start(const engine_instance *in);
/* Frees kept instances unused since `idle` ago. When to call it again; 0: none is left. */
ns engine_kept_expire(engine *en, ns now, ns idle);
uint32_t engine_kept_count(const engine *en);

typedef enum {
    ENGINE_DONE,  /* the operation ended; results are in the slots given to it */
    ENGINE_WAIT,  /* a host function waits: poll again after it was woken */
    ENGINE_YIELD, /* the time slice is over: poll again when others had their turn */
    ENGINE_TRAP,  /* engine_trap says why */
} engine_status;

/* Begin an operation; engine_poll then drives it. `slots` must stay where they are until it ends;
 * they hold the arguments, then the results. A post-return takes the results of its lift.
 *
 * From a host function of another instance these work too, and engine_poll runs this instance on a
 * fiber of its own below that host function's. They even work for an instance that is in the middle
 * of an operation, as long as its fiber stands in a host function below us (a component instance
 * that wraps another is called back by it): the new operation is driven to its end, or the instance
 * freed, before the older one goes on. */
void engine_start(engine_instance *in);                            /* instantiate, run "start" */
void engine_call(engine_instance *in, uint32_t lift, slot *slots); /* "f<lift>" */
void engine_post_return(engine_instance *in, uint32_t lift, slot *slots); /* "p<lift>" */
/* "r<k>" with four slots; the result in the first. It may call no import. */
void engine_call_realloc(engine_instance *in, int32_t k, slot *slots);
/* "d<resource>" with the representation. */
void engine_call_destroy(engine_instance *in, uint32_t resource, slot *slots);
engine_status engine_poll(engine_instance *in);
/* Instantiated, and its start function, if any, has run. */
bool engine_instance_ready(const engine_instance *in);

/* From host functions, on the fiber. `k` is the canonical options' index, PLAN_NONE never. */
/* Base and size of memory k now. */
uint8_t *engine_memory(engine_instance *in, int32_t k, size_t *ret_size);
/* The same, cheaper: the size may be one that it had earlier in this call, never more than now. */
uint8_t *engine_memory_seen(engine_instance *in, int32_t k, size_t *ret_size);
/* realloc(0, 0, align, size) of realloc k; checks nothing about the result but that the call did
 * not trap. False: it trapped, return HOST_TRAP at once. */
bool engine_realloc(engine_instance *in, int32_t k, uint32_t align, uint32_t size, uint32_t *ret);
/* Runs "d<resource>" with the representation. False: it trapped, return HOST_TRAP. */
bool engine_destroy(engine_instance *in, uint32_t resource, uint32_t representation);
/* Makes the next HOST_TRAP say this. Always returns HOST_TRAP. */
host_status engine_trap_set(engine_instance *in, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Makes the next HOST_TRAP of `in` say what ended `from`, frames included. Returns HOST_TRAP. */
host_status engine_trap_pass(engine_instance *in, const engine_instance *from);
/* proc_exit and wasi:cli/exit: ends the operation as ENGINE_TRAP with exited set. */
host_status engine_exit_set(engine_instance *in, int status);

typedef struct {
    bool exited; /* the guest asked to end */
    int exit_status;
    bool out_of_stack;
    bool out_of_memory; /* it trapped when a memory could not grow by a page more */
    const char *text; /* "wasm trap: out of bounds memory access"; valid until the instance goes */
    /* "0: 0x1e4 - function", one frame a line, at most 20 innermost, "" if there is none. Names are
     * the guest's: they may hold any bytes but NUL. */
    const char *backtrace;
} engine_trap;
const engine_trap *engine_instance_trap(const engine_instance *in);

/* What it used so far. */
ns engine_cpu_ns(const engine_instance *in); /* on the fiber, host functions included */
/* Linear memories as grown; while a call is suspended, as they were when it was. */
size_t engine_memory_bytes(engine_instance *in);

/* Ticks make running guests yield every ENGINE_TICK_NS. They are armed by engine_poll and disarm
 * themselves after a tick that found nothing running: an idle process is never woken. */
/* Or so often from now on: slices of many are the longer wait of whoever comes next, but each costs
 * some 20 us of loop and cold caches. */
void engine_tick_every(ns interval);
