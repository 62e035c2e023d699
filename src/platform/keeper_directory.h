/* The keeper's side of finding apps (directory_message.h): answers what workers ask, and tells them
 * to forget.
 *
 * Invariant: when a `done` of a forget is called, every worker that was connected then has either
 * said that it forgot or ended: no request that begins later is answered by what was before. */
#pragma once

#include "loop/loop.h"
#include "platform/directory_message.h"

typedef struct keeper_directory keeper_directory;

/* Whose the host is (as it came: lower case, without port), or, without a host, what q->app has as
 * q->revision: *ret is FOUND, NOBODY or FAILED with its texts in the arena. False: the same as
 * FAILED, *e says why. LATER, with a word in its settings: keeper_directory_again with that word
 * asks again. */
typedef bool (*keeper_directory_find)(void *user, const directory_message *q, arena *a,
                                      directory_message *ret, err *e);

/* on_fewer, which may be NULL, is called when a worker has gone. NULL: no memory. */
keeper_directory *keeper_directory_new(loop *l, keeper_directory_find find,
                                       void (*on_fewer)(void *user), void *user);
/* What waits to be forgotten is done. NULL is allowed. */
void keeper_directory_free(keeper_directory *d);
/* A worker's channel. Takes fd. */
void keeper_directory_add_take(keeper_directory *d, int fd);
unsigned keeper_directory_workers(const keeper_directory *d);

/* What was to come later because of `word` is there, or never will be: finds it again. */
void keeper_directory_again(keeper_directory *d, str word);

/* Something of an app has changed and is committed: its settings, its hosts, or it has gone. done
 * is called later, from the loop; NULL: nobody waits. False: no memory, nobody was told. */
bool keeper_directory_forget(keeper_directory *d, uint64_t app, void (*done)(void *user),
                             void *user, err *e);
/* The same for all apps of a tenant (its quota has changed); tenant 0: apps stay, but all names are
 * asked for anew (a host has moved from one app to another, or to one that a wildcard had it). */
bool keeper_directory_forget_tenant(keeper_directory *d, uint64_t tenant, void (*done)(void *user),
                                    void *user, err *e);
/* Another keeper makes the changes from now on: once done is called, every worker asks anew for
 * each request. */
bool keeper_directory_doubt(keeper_directory *d, void (*done)(void *user), void *user, err *e);
