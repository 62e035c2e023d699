/* Inside host/: all host state of one instance.
 *
 * Invariants
 * - Everything a guest owns is in its pool, in its handle table, or reachable from an object in it;
 *   guest_free drops every handle and then the pool.
 * - At most one host function waits at a time: `waiting` is true from guest_wait until the next
 *   guest_woken, which calls on_wake once.
 * - A host function that waits is called again from its beginning: what it has done so far is in
 *   `progress`, which is 0 in the first call. */
#pragma once

#include "host/handles.h"

#include "loop/loop.h"

typedef struct http_side http_side; /* wasi_http.h: the exchange that this guest answers */

/* A partial line of stdout (0) or stderr (1). */
typedef struct {
    queue partial;
} output_line;

typedef struct lookup lookup;           /* sockets_names.c */
typedef struct guest_call guest_call;   /* compose.h */
typedef struct guest_group guest_group; /* compose.c */

/* One component instance of a guest; the user pointer of its engine_instance. */
typedef struct {
    guest *g;
    engine_instance *in; /* NULL: not made yet */
    handle_table *handles;
    const host_component *component;
    guest_call *call;    /* the call it is making to another one */
    uint32_t index;      /* in the plan's units */
    bool entered;        /* the opposite of may_enter (CanonicalABI.md "Component Instances") */
    uint64_t context[2]; /* context.get and set of the task in it */
    uint32_t backpressure;
} guest_unit;

struct guest {
    guest_unit entry;   /* the one with the handler; first, so that g is a unit's address too */
    guest_group *group; /* NULL: there is only that one */
    const host_component *component; /* of the unit whose host function runs */
    struct loop *l;
    const guest_callbacks *callbacks;
    void *user;
    engine_instance *in;
    pool pool;
    arena scratch;        /* of one host call */
    handle_table handles; /* of the entry */
    uint32_t files;       /* and sockets, outgoing requests: at most HOST_FILES_MAX */

    bool waiting;    /* a host function returned HOST_WAIT and was not woken */
    bool in_realloc; /* the guest's realloc runs: it may not call imports (may_leave) */
    uint64_t progress;
    uint64_t moved; /* guest_moved */
    ns wake_at;     /* earliest deadline anybody waits for in this round, UINT64_MAX: none */
    loop_timer timer;

    output_line output[2];
    http_side *http;                 /* NULL: it answers no exchange */
    struct store_call *store_call;   /* what it asked the store process last */
    uint16_t *kv_v1;                 /* stores open through Spin's first interface */
    uint32_t kv_open;                /* all open stores, at most STORE_OPEN_MAX */
    struct sql_v1 *sql_v1;           /* databases open through Spin's first interface */
    uint32_t sql_open;               /* all open databases, at most STORE_OPEN_MAX */
    struct variable_job *variable;   /* values that a thread looks up for it */
    struct reach *reach;             /* what it may reach, where that may change; NULL: not asked */
    struct http_transfer *transfers; /* outgoing requests that are not over */
    lookup *lookups;                 /* names that were asked for and have no answer */
    uint32_t lookups_count;
    struct http_chain *chains; /* those that the app itself answers */
    unsigned chain_depth;      /* calls of the app around this one */
    guest *next;               /* in the list of spare guests */
};

/* guest_is_new, whatever handles there are. */
bool guest_is_new_but_handles(const guest *g);
/* Drops the objects that the handles of a table own. */
void guest_handles_drop(guest *g, const handle_table *t);
/* sockets_names.c: nobody waits for its names any more. */
void net_lookups_free(guest *g);
/* ask.c: gives up what it asked the store process. */
void guest_ask_free(guest *g);
/* spin_variables.c: lets go of what a thread looks up. */
void guest_variable_free(guest *g);
/* reach.c: lets go of the rules that were made for it. */
void guest_reach_free(guest *g);
/* spin_sqlite.c: closes what is open through the first interface. */
void guest_sql_free(guest *g);
/* compose.c: drops the other component instances and their handles. */
void guest_group_free(guest *g);

/* Objects. NULL: the guest has no memory left. */
object *object_new(guest *g, const host_resource *r, size_t size, object *parent);
/* Releases what it holds and its memory, and leaves its parent. It has no children. */
void object_free(guest *g, object *o);
#define OBJECT_NEW(g, T, r, parent) ((T *)object_new((g), &(r), sizeof(T), (object *)(parent)))

/* Has the current host function called again when guest_woken is called, or when the clock reaches
 * g->wake_at. False: no memory for a timer. */
bool guest_wait(guest *g);
/* Something that a waiting host function may wait for has changed. From the event loop. */
void guest_woken(guest *g);
/* For host functions about to wait: not later than `when` (CLOCK_MONOTONIC). */
static inline void guest_wake_by(guest *g, ns when)
{
    if (when < g->wake_at)
        g->wake_at = when;
}

/* Standard output and error (1, 2): gives whole lines to on_output, keeps the rest. */
void guest_output(guest *g, int stream, const uint8_t *p, size_t n);
/* Random bytes of the operating system, through a buffer that a fork never shares. */
void random_fill(void *p, size_t n);
