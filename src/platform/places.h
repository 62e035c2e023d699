/* Places: who may run in this worker, and who waits for it.
 *
 * An owner (a component) takes a place for each of its calls: `size` of the worker's sandboxes, as
 * many as the component has units. What does not fit waits, in a queue of its owner's. Free places
 * go to owners in turn, and within an owner first come first served: so an app whose queue is full
 * never keeps another one's first request waiting longer than one turn.
 *
 * Invariants
 * - live <= live_max, but for one call that needs more than live_max and is alone.
 * - running <= running_max of each owner; queued <= queued_max of each owner and of all together.
 * - An owner is in the list of turns exactly while it has waiters and may run one more itself.
 * Nothing here allocates; a waiter is embedded in what waits. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef struct waiter waiter;
struct waiter {
    waiter *next;
};

typedef struct place_owner place_owner;
struct place_owner {
    uint32_t size;        /* of one place; 0 counts as 1 */
    uint32_t running_max; /* 0: no limit but the worker's */
    uint32_t queued_max;  /* 0: no limit but the worker's */
    uint32_t running, queued;
    waiter *head, *tail;
    place_owner *next; /* in the list of turns */
    bool listed;
};

typedef struct {
    uint32_t live_max, queued_max;
    uint32_t live, queued;
    place_owner *head, *tail; /* turns */
} places;

/* A place right now; false: others are before it, or there is none. */
bool places_take(places *p, place_owner *o);
/* The same for a call that somebody with a place waits for: it comes before all who wait, or else
 * both might wait for ever. False: there is no place. */
bool places_take_first(places *p, place_owner *o);
/* Waits; false: the owner's queue or the worker's is full. */
bool places_wait(places *p, place_owner *o, waiter *w);
/* Gives up waiting. */
void places_leave(places *p, place_owner *o, waiter *w);
/* Gives a place back. */
void places_give(places *p, place_owner *o);
/* The next waiter, with its place taken; NULL: nobody waits or nothing is free. */
waiter *places_next(places *p);
/* Would places_next find somebody? */
bool places_ready(const places *p);
