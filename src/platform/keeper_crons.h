/* Calls that the platform makes by itself (tool.ebb.cron): when a schedule fires, one call is put
 * into the queue, with the window as the time that it may wait.
 *
 * Invariants: what was fired last is kept under the trigger's name, and the queue knows each firing
 * by a key, so that neither a crash, nor a clock that is set, nor another node that shares the
 * queue fires one twice; firings that were missed meanwhile are made up for, those of the last
 * CRON_LATE_S. A schedule that is new begins now, and so does one that comes again: of triggers
 * that go nothing is kept. */
#pragma once

#include "app/app.h"
#include "platform/calls_owner.h"
#include "platform/keeper_impl.h"

typedef struct keeper_crons keeper_crons;

enum { CRON_LATE_S = 86400 };

/* NULL: no memory. */
keeper_crons *keeper_crons_new(keeper *k);
/* NULL is allowed. */
void keeper_crons_free(keeper_crons *c);
/* Can all triggers of an app run here? ERR_INVALID says which can't: its schedule is none, or its
 * time zone is unknown. */
bool keeper_crons_check(const app *x, err *e);
/* The app of this number has these settings now (app_config.h): its triggers are those. Empty: it
 * has none. owner: whose its calls are; host: what they are addressed to. NULL is allowed. */
void keeper_crons_set(keeper_crons *c, uint64_t number, const calls_owner *owner, str host,
                      str settings);
/* Of `ebb up`, once its app is known: forgets what triggers fired that it has no more. Without any
 * k->crons is NULL. */
void keeper_crons_sweep(keeper *k);
/* Fires what is due; returns when the next one is: INT64_MAX: never. */
int64_t keeper_crons_look(keeper_crons *c, int64_t now_s);
