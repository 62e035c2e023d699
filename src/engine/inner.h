/* What the files of this room share. Nothing outside src/engine includes this: it is the border
 * behind which Wasmtime's types live.
 *
 * Invariants
 * - engine.current is the instance whose fiber runs now, NULL outside engine_poll and
 *   engine_instance_free. Time is booked on it, host functions find it there.
 * - An engine_instance has at most one future; while it has one and is not current, its store is
 *   not touched (Wasmtime's contract: the future borrows the store).
 */
#pragma once

#include "base/must.h"
#include "engine/engine.h"

#include <wasmtime.h>

enum {
    /* Calls nested in host functions (a destructor that drops a resource whose destructor ...). */
    ENGINE_NEST_MAX = 8,
    ENGINE_NEST_TICKS_MAX = 250, /* ticks that one nested call may take: a quarter of a second */
    /* Handles of exports kept per instance; what is beyond is looked up at each use. */
    ENGINE_CACHED = 4,
    ENGINE_SLOTS_MAX = ABI_FLAT_PARAMS_MAX + 1,
    /* Structs of dead instances kept for the next ones. */
    ENGINE_SPARE_MAX = 256,
    ENGINE_KEPT_EACH = 64, /* instances that one module keeps: as many as waited at once */
    ENGINE_PIECES_MAX = 8, /* mappings of a memory whose pages are moved */
    ENGINE_TRAP_TEXT_MAX = 512,
    WASM_PAGE_BYTES = 65536,
    PAGE_BYTES = 4096, /* where the kernel has others, pages_init leaves them alone */
    ENGINE_BACKTRACE_BYTES_MAX = 8192, /* the engine captures 20 frames; names may be long */
};

struct engine {
    wasm_engine_t *wasm;
    engine_config config;
    char fingerprint[64];
    engine_instance *current;
    wasmtime_linker_t *waiting; /* import.c: what a fiber waits in. NULL: it only compiles */
    bool wait_begins;
    ns slice_start; /* when `current` (or its host) began the time not yet booked */
    ns turn_start;  /* when the outermost engine_poll began */
    engine_instance *spare;
    uint32_t spare_count, instances_count, modules_count;
    int pagemap_fd; /* -1: none */
    int self_fd;    /* this process; -1: many ranges can't be populated at once */
    bool pagemap_scans;
    bool restores;    /* instances are restored in place */
    bool faults_tell; /* a page becomes private only by a page fault of this thread */
    bool moves;       /* pages can be moved to another address */
    uint32_t scans_count, moves_count;
    uint32_t kept_count;
    size_t kept_bytes;                     /* private in those */
    uint32_t twins_count, twins_max;       /* they have places of the pool beside those of calls */
    engine_module *kept_first, *kept_last; /* modules that keep instances */
};

/* Pages of a memory, ascending and apart. */
typedef struct {
    uint32_t first, end;
} page_range;

typedef struct {
    page_range *ranges; /* malloced */
    uint32_t count;
} page_set;

typedef struct start_record start_record; /* record.c */
typedef struct recorded_call recorded_call;

/* Pages of memory k that are private. */
typedef struct {
    uint32_t k;
    page_range pages;
    bool zero; /* all of them are in a new instance */
} private_run;

/* One import: what a host function call starts from. */
typedef struct {
    engine *en;
    engine_import im;
    const plan_import *plan;
} link_entry;

struct engine_links {
    wasmtime_linker_t *linker;
    uint32_t refs;
    link_entry at[];
};

struct engine_module {
    engine *en;
    const plan_unit *unit;
    wasmtime_module_t *module;
    wasmtime_instance_pre_t *pre;
    engine_links *links;
    uint32_t instances_count;
    uint32_t made;                    /* instances so far */
    page_set sample, work;            /* pages.c, of memory 0 */
    size_t pieces[ENGINE_PIECES_MAX]; /* likewise: how it is mapped, in bytes, ascending */
    uint32_t pieces_count;
    uint32_t reallocs_checked; /* bit k: r<k> has the type of cabi_realloc; k < 32 */
    /* restore.c */
    engine_restore restore;
    engine_instance *kept[ENGINE_KEPT_EACH]; /* restored; the one unused for longest first */
    uint32_t kept_count;
    engine_instance *twin; /* new and never called: where bytes come from. NULL: none was needed */
    uint32_t twins_gone;   /* before that one */
    wasmtime_val_t *born;  /* values of the twin's g<k> */
    bool after_start;      /* the twin is in the state after the start function */
    bool start_asks;       /* the start function calls host functions */
    start_record *record;  /* of the start function whose state that is */
    engine_module *kept_prev, *kept_next;
    ns given_at;
    uint32_t restored;      /* so many times */
    uint32_t private_usual; /* pages that a first call makes private, mean */
    char difference[160];   /* restoring ended: a restored instance differed from a new one */
};

typedef enum {
    OP_NONE,
    OP_INSTANTIATE,
    OP_START,
    OP_LIFT,
    OP_POST_RETURN,
    OP_REALLOC,
    OP_DESTROY
} engine_op;

/* An operation that is not the current one of its instance. */
typedef struct {
    wasmtime_call_future_t *future;
    engine_op op;
    uint32_t lift, nest, nest_ticks;
    uintptr_t nest_from;
    slot *slots;
    bool may_leave;
    wasmtime_func_t func;
} engine_saved;

struct engine_instance {
    engine *en;
    engine_module *module;
    void *user;
    engine_instance *next_spare;
    wasmtime_store_t *store;
    wasmtime_context_t *ctx;
    wasmtime_instance_t instance;
    wasmtime_call_future_t *future;
    wasm_trap_t *trap;       /* written by the future */
    wasmtime_error_t *error; /* likewise */
    engine_op op;
    uint32_t lift; /* or realloc, or resource */
    slot *slots;   /* of the operation */
    /* An instance that is called back has several operations. Outside of engine_poll the fields
     * above are the outermost; inside, the one of the innermost engine_poll. */
    uint32_t polling;                  /* engine_poll is on the native stack so many times */
    uint32_t outer_count, inner_count; /* how many are put aside */
    bool begun;                        /* a nested one was begun and not polled yet */
    bool started;                      /* instantiated: exports may be looked up */
    bool dead;                         /* trapped: may only be freed */
    bool dropping;                     /* the fiber is being unwound: guest code runs no more */
    bool waiting;                      /* a host function suspended the fiber, not the tick */
    bool
        may_leave; /* false while the guest allocates or cleans up for us (may_leave of the spec) */
    bool trap_ready, wasm_trap;
    bool trap_passed; /* `backtrace` begins with another instance's frames */
    bool sampled;     /* not populated: shows which pages the guest writes itself */
    bool was_full;    /* its memory was as large as it might be then */
    bool is_twin;     /* never called, and in no caller's place */
    bool kept;        /* instantiated for an earlier call and restored */
    bool spent;       /* what is kept is its memory, for the pages; it is never called again */
    bool moved;       /* its pages come from another one */
    uint32_t nest, nest_ticks;
    uintptr_t nest_from;    /* where on the stack the outermost nested call was made */
    uint32_t waiting_calls; /* of may_wait host functions, that have not ended */
    uint32_t memories_known, reallocs_known, sizes_known, lifts_known, posts_known,
        seen_known;               /* bit k < ENGINE_CACHED */
    uint32_t whole_now, seen_now; /* likewise: no guest ran since `whole`, `seen_*` were asked */
    bool start_known, wait_known;
    ns cpu_ns;
    size_t memory_bytes, memory_bytes_max;
    size_t memory_limit; /* now; at most memory_bytes_max */
    size_t emptied;      /* how much of memory 0 engine_instance_empty gave back */
    uint32_t table_elements_max;
    ns kept_at;
    uint32_t twins_gone;        /* kept: its state is that of the twin after so many */
    bool after_start;           /* kept: and that is the one after the start function */
    size_t private_bytes;       /* of its memories, as last restored */
    wasmtime_global_t *globals; /* its g<k>, malloced by the first restore */
    private_run *runs;          /* what the last scan found; malloced */
    uint32_t runs_count, runs_room;
    bool runs_known;
    start_record *recording;        /* its start function is recorded */
    bool playing;                   /* its start function gets recorded answers */
    const recorded_call *play_next; /* the next of them */
    uint64_t faults;                /* of the thread, before that scan */
    char *backtrace;                /* malloced */
    engine_trap trap_info;
    wasmtime_func_t func;
    /* From here on nothing is cleared when the struct is used again. */
    wasmtime_memory_t memories[ENGINE_CACHED];
    /* As last asked: memories never move (memory_may_move is off), and shrink only when restored.
     */
    uint8_t *seen_base[ENGINE_CACHED];
    size_t seen_size[ENGINE_CACHED];
    uint8_t *whole_base[ENGINE_CACHED];
    size_t whole[ENGINE_CACHED];
    wasmtime_global_t sizes[ENGINE_CACHED];
    wasmtime_func_t reallocs[ENGINE_CACHED], lifts[ENGINE_CACHED], posts[ENGINE_CACHED], start,
        wait;
    wasmtime_val_t args[ENGINE_SLOTS_MAX], results[ABI_FLAT_RESULTS_MAX];
    engine_saved outer[ENGINE_NEST_MAX]; /* their fibers stand in host functions below us */
    engine_saved inner[ENGINE_NEST_MAX]; /* suspended; the innermost first */
    char trap_text[ENGINE_TRAP_TEXT_MAX];
};

/* engine.c: takes a Wasmtime error apart into *e and deletes it. Always false. */
bool engine_error(err *e, err_code code, wasmtime_error_t *error);

/* import.c */
bool import_init(engine *en, err *e); /* in a worker */
void import_fini(engine *en);
/* slot <-> val, by the core types of a signature. */
void slots_to_vals(const core_type *types, uint32_t count, const slot *slots, wasmtime_val_t *vals);
void vals_to_slots(const wasmtime_val_t *vals, size_t count, slot *slots);

/* record.c */
start_record *record_new(void); /* NULL: no memory */
void record_free(start_record *r);
bool record_is_empty(const start_record *r); /* whole, and no host function was called */
bool record_is_whole(const start_record *r);
void record_fail(start_record *r);
const recorded_call *record_first(const start_record *r);
host_status record_call(engine_instance *in, const link_entry *link, slot *slots);
host_status record_play(engine_instance *in, const link_entry *link, slot *slots);
/* Grows memory k if it has fewer bytes. */
bool instance_memory_grow_to(engine_instance *in, uint32_t k, size_t size);
/* No reference. */
static inline bool val_is_number(const wasmtime_val_t *v) { return v->kind <= WASMTIME_V128; }
/* Of two numbers. */
static inline bool val_same(const wasmtime_val_t *a, const wasmtime_val_t *b)
{
    bool is_short = a->kind == WASMTIME_I32 || a->kind == WASMTIME_F32;
    size_t n = a->kind == WASMTIME_V128 ? 16 : is_short ? 4 : 8;
    return a->kind == b->kind && !memcmp(&a->of, &b->of, n);
}

/* instance.c: the export "<kind><k>"; false if there is none of that kind. */
bool instance_export(engine_instance *in, char kind, uint32_t k, wasmtime_extern_kind_t what,
                     wasmtime_extern_t *ret);

/* engine_instance_new without looking for a kept one. A twin has a place of its own. */
bool instance_make(engine_module *m, size_t memory_bytes_max, uint32_t table_elements_max,
                   bool is_twin, engine_instance **ret, err *e);
/* Bytes that memory k really has: engine_memory says what the guest may see. 0: no such memory. */
uint8_t *instance_memory_whole(engine_instance *in, uint32_t k, size_t *ret_size);
/* Frees what every instance has. */
void instance_delete(engine_instance *in);
/* Notes the pages that it made private; nothing runs in it. */
void instance_sample(engine_instance *in);
/* Runs "start" to its end, in an instance that has not been called. False: it trapped or waits. */
bool instance_run_start(engine_instance *in);
/* Forgets everything of the last call; the next operation is engine_start. */
void instance_reset(engine_instance *in);

/* restore.c */
void restore_init(engine *en); /* after pages_init */
/* Should the start function of the next new instance be recorded? */
bool start_record_wanted(const engine_module *m);
/* A recorded start function has ended. */
void start_recorded(engine_instance *in);
/* NULL: none is kept that has these limits. */
engine_instance *kept_take(engine_module *m, size_t memory_bytes_max, uint32_t table_elements_max);
/* Gives `in`, which is new, the pages of one that was kept for them. False: there is none. */
bool kept_pages_take(engine_instance *in);
/* Makes room for a new instance. False: none is kept. */
bool kept_evict(engine *en);
void kept_module_fini(engine_module *m);

/* trap.c: fills in->trap_info from whichever is not NULL and deletes them. What was said first
 * (by a host function, or by a nested call) stays. */
void trap_take(engine_instance *in, wasm_trap_t *trap, wasmtime_error_t *error);
void trap_say(engine_instance *in, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Adds to a wasm trap that a memory of this size was full. */
void trap_memory_full(engine_instance *in, size_t size);
void trap_fini(engine_instance *in);

/* pages.c. Sampled instances are not populated, and sampled when they go. */
void pages_init(engine *en);
void pages_fini(engine *en);
void pages_one_by_one(engine *en); /* as where process_madvise can't populate */
void pages_module_fini(engine_module *m);
bool pages_sampled(engine_module *m); /* should the next instance be one? Counts it */
void pages_sample(engine_module *m, const uint8_t *base, size_t size);
void pages_populate(engine_module *m, uint8_t *base, size_t size);
/* Can pages be moved here, and does a new instance make enough of them private that it pays? */
bool pages_worth_moving(const engine_module *m);
/* Moves the pages of `from`, n bytes of a memory of m, to the same place `to` of another one, page
 * tables and all. Where the untouched pages of the two are the same, any part of it may be done:
 * false, if not all was. */
bool pages_move(engine_module *m, uint8_t *from, uint8_t *to, size_t n);
/* Calls f for each run of private pages in [base, base + size), ascending; false: it can't be told,
 * or f said false. */
typedef bool (*page_run_fn)(void *user, size_t offset, size_t n);
bool pages_private(engine *en, const uint8_t *base, size_t size, page_run_fn f, void *user);
/* How many page faults this thread had so far. As long as the number stays, no page became private
 * (engine.faults_tell). */
uint64_t pages_faults(void);

/* tick.c */
bool tick_init(engine *en, err *e);
void tick_fini(void);
void tick_enter(void);
void tick_leave(void);
ns tick_every(void);
