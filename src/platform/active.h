/* The apps that a worker holds, found by their number, the most recently used first. What an app
 * that nobody calls costs is decided here: after a time nothing, and before that no more than the
 * budgets allow for all of them together.
 *
 * Invariants
 * - Past a budget the least recently used apps go, a few at the end of each turn; an app with a
 *   running call never does, so a budget may be exceeded by what runs, up to twice apps_max.
 * - An app is in the list with one hold; when it leaves, its calls end on it undisturbed.
 * - One timer, while any app is there, not more often than every ACTIVE_LOOK_NS. */
#pragma once

#include "base/table.h"
#include "loop/loop.h"
#include "platform/served.h"

typedef struct active active;

/* on_drop is told of an app that leaves, while it is still whole. */
bool active_new(loop *l, serving *all, const active_limits *limits,
                void (*on_drop)(void *user, served *s), void *user, active **ret, err *e);
/* Lets go of all. NULL is allowed. */
void active_free(active *a);
const active_limits *active_limits_of(const active *a);
size_t active_count(const active *a);

/* NULL: it is not there. */
served *active_find(const active *a, uint64_t id);
/* Takes the hold, also on failure. ERR_LIMIT: as many apps as may be have calls running. */
bool active_add_take(active *a, served *s, err *e);
/* The most recently used; then `older` each. */
served *active_newest(const active *a);
/* A request for it has come. */
void active_use(active *a, served *s);
void active_drop(active *a, served *s);
/* Those of a tenant. */
void active_drop_tenant(active *a, uint64_t number);
