/* Turns: whose call gets the worker's next slice of CPU time.
 *
 * Calls that used their slice wait here, and so do calls of whoever has had more than his part. The
 * time is shared between tenants by their weight, then between the apps of a tenant alike, then
 * between an app's calls that have used a slice and those that have not begun, and within these
 * calls take turns: fifty calls of one tenant get what one call of another gets.
 *
 * At each level this is start-time fair queueing (Goyal, Vin, Cheng: SIGCOMM 1996): each share has
 * a virtual time, which is what it used divided by its weight; the share with the least goes next;
 * a level's own time is that of the share served last, and whoever was idle begins at it: he has
 * saved nothing up, and owes nothing.
 *
 * A round of the loop is what whoever comes next waits for, so it is kept short: new calls of all
 * tenants together have TURNS_ROUND_NS of it, then only those of tenants who use less than they may
 * go at once; those who wait have as much, in the next round if the new ones had theirs in this
 * one; and while calls of several tenants wait slices are shorter (call.c).
 *
 * Invariants
 * - A share is listed exactly while a call of it waits; but a parked tenant's is not.
 * - Lists are in the order of virtual time; equal ones in the order of arrival.
 * - Who comes after being idle waits for at most one slice of each tenant that came before him at
 *   the same virtual time, however many calls they have.
 * Nothing here allocates or reads a clock; a turn is embedded in what waits. */
#pragma once

#include "base/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TURNS_WEIGHT_USUAL = 100 };

typedef struct turn turn;
struct turn {
    turn *next;
};

typedef struct turn_share turn_share;
struct turn_share {
    turn_share *before, *after;
    uint64_t time; /* virtual */
    bool listed;
};

typedef struct {
    turn_share *first, *last;
    uint64_t time;
} turn_level;

typedef struct {
    turn_share share;
    turn_level apps;
    uint32_t weight; /* 0 counts as TURNS_WEIGHT_USUAL */
    bool parked;
    ns parked_until;
    uint64_t round; /* of `fresh` */
    ns fresh;       /* what its calls had in this round without waiting here */
} turn_tenant;

/* Of an app: calls that used a slice, and others. */
typedef enum { TURN_SLICED, TURN_FRESH } turn_kind;

typedef struct {
    turn_share share;
    turn *first, *last;
} turn_queue;

typedef struct {
    turn_share share;
    turn_tenant *of; /* set before it is used */
    turn_level queues;
    turn_queue queue[2]; /* by kind */
} turn_app;

typedef struct {
    turn_level tenants, parked; /* parked: in no order */
    uint64_t round;
    ns fresh; /* what calls had in this round, of whomever */
} turns;

/* A round of the loop begins. */
void turns_round(turns *t);
/* May a call of it that was not waiting here run at once? Not where it would go before others that
 * wait and had less, nor where its tenant had TURNS_FRESH_NS in this round; nor, when all together
 * had TURNS_ROUND_NS in it, where its tenant uses what he may: then only who uses less is not held
 * up by the others, whose calls wait for their turns. */
bool turns_may_run(const turns *t, const turn_app *a);
/* A call of that kind used so much; whether it was waiting here before or not. */
void turns_charge(turns *t, turn_app *a, turn_kind k, ns used);
/* Waits, behind the other calls of its app and kind. */
void turns_put(turns *t, turn_app *a, turn_kind k, turn *w);
/* Gives up waiting, as what it was put. */
void turns_drop(turns *t, turn_app *a, turn_kind k, turn *w);
static inline bool turns_wait(const turns *t) { return t->tenants.first != NULL; }
/* Do calls of several tenants? */
static inline bool turns_many_wait(const turns *t)
{
    return t->tenants.first && t->tenants.first->after;
}
/* Whose turn it is; NULL: nobody waits, or all who do are parked. */
turn_tenant *turns_tenant(const turns *t);
/* The call whose turn it is; NULL likewise. */
turn *turns_next(const turns *t);
/* The same, which waits no more. */
turn *turns_take(turns *t);

/* The tenant whose turn it would be gets none until then (it has no CPU time left). */
void turns_park(turns *t, turn_tenant *who, ns until);
/* Those whose time has come are back. Returns when the next one's comes; 0: none is parked. */
ns turns_unpark(turns *t, ns now);
