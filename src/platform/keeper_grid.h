/* The keeper's way to a carbon intensity provider: what carbon/provider.h says is due is asked by a
 * process of its own (`ebb @grid`), which has the network and nothing else; the points that come
 * are kept in the usage records. Nothing is asked by a timer: only when there is something to
 * price, or somebody wants to know. */
#pragma once

#include "loop/loop.h"
#include "platform/grid.h"
#include "store/usage_file.h"

typedef struct keeper_grid keeper_grid;

/* NULL in *ret where the settings name no provider on the network. Starts the process, so call it
 * before the sandbox is entered. on_idle is called whenever nothing is asked any more. */
bool keeper_grid_new(loop *l, const grid_config *g, usage_file *f, void (*on_idle)(void *user),
                     void *user, keeper_grid **ret, err *e);
/* NULL is allowed. */
void keeper_grid_free(keeper_grid *g);
/* Asks for what is due. True: an answer is under way, on_idle will be called. NULL: false. */
bool keeper_grid_ask(keeper_grid *g, int64_t now_s);
/* What kind of intensity the provider gives, as its newest answer said. */
intensity_kind keeper_grid_kind(const keeper_grid *g);
intensity_basis keeper_grid_basis(const keeper_grid *g);
