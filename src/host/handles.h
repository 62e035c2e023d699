/* The handle table of one component instance (CanonicalABI.md "Table State", "Resource State"):
 * one index space for handles of every kind, of resources that the host defines and of those that
 * the component defines itself.
 *
 * Invariants: index 0 is never given out; a free index is reused last in, first out, as the
 * specification has it; a table never holds more than its maximum.
 *
 * An object is what a handle to a host resource stands for. Parents and children follow the texts
 * of WASI: a child (the stream of a body) counts in its parent, and a parent with children can
 * neither be dropped nor given away: that traps. */
#pragma once

#include "host/host.h"
#include "host/pool.h"

typedef struct object object;

/* A resource type that the host defines; its address is its identity. */
struct host_resource {
    const char *name; /* "input-stream" */
    /* The handle was dropped, or the guest ends. Releases what the object holds, not the object
     * itself, and never follows `parent`. NULL: nothing to release. */
    void (*drop)(guest *g, object *o);
};

/* Every object starts with this. */
struct object {
    const host_resource *resource;
    object *parent;
    uint32_t children;
    uint32_t bytes; /* of the whole object, for object_free */
};

/* HANDLE_HOST owns its object; a borrow was lent to one call by another component instance. */
typedef enum {
    HANDLE_FREE,
    HANDLE_HOST,
    HANDLE_HOST_BORROW,
    HANDLE_GUEST_OWN,
    HANDLE_GUEST_BORROW
} handle_kind;

struct guest_call;

typedef struct {
    handle_kind kind;
    uint32_t next;     /* HANDLE_FREE: the next free index, 0 ends */
    uint32_t lends;    /* live borrows of this handle; while > 0 it cannot be dropped or moved */
    uint32_t resource; /* HANDLE_GUEST_*: index into plan.resources */
    uint32_t rep;      /* HANDLE_GUEST_*: the representation */
    object *o;         /* HANDLE_HOST: owned by the handle */
    struct guest_call *scope; /* HANDLE_*_BORROW: the call it was lent to */
} handle;

static inline bool handle_is_host(const handle *h)
{
    return h->kind == HANDLE_HOST || h->kind == HANDLE_HOST_BORROW;
}
static inline bool handle_is_own(const handle *h)
{
    return h->kind == HANDLE_HOST || h->kind == HANDLE_GUEST_OWN;
}

typedef struct handle_table {
    handle *at; /* pool memory; at[0] is never used */
    uint32_t n, cap;
    uint32_t free_first, live, live_max;
} handle_table;

void handles_init(handle_table *t, uint32_t live_max);
/* Of an empty table: makes it n entries long, which the caller fills. False: no memory. */
bool handles_reserve(handle_table *t, pool *p, uint32_t n);
/* The new index; 0: no memory or the maximum. */
uint32_t handles_add(handle_table *t, pool *p, handle h);
/* NULL if nothing is at index. Valid until the next handles_add. */
handle *handles_get(const handle_table *t, uint32_t index);
/* Frees the index, which must be in use. */
void handles_remove(handle_table *t, uint32_t index);
