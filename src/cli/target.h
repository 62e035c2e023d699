/* Deployment targets: would the built components run there? (spin.md 1.3, `targets`) */
#pragma once

#include "platform/localapp.h"

/* Compares the components of x that http triggers use (and, if n > 0, that `ids` names) with their
 * targets: what a component imports must be offered by one of the target's worlds for http, and
 * its handler must be the one that this world exports. cache_dir: NULL for the default. Errors name
 * every component, target and interface that does not fit. */
bool targets_check(arena *a, const localapp_place *at, app *x, const char *const *ids, size_t n,
                   const char *cache_dir, err *e);
