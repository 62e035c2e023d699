/* A link plan for bare core modules, instantiated in the order given: for tests of the flattener
 * and for tools. Module i satisfies imports of later ones whose module name is sources[i].name.
 * Functions that no source offers become canons of kind CANON_TRAP, in order of first mention,
 * named as they are imported; other unknown imports are an error.
 *
 * Every function that the last module exports becomes a lift (label: its name) if its signature
 * has only number types and fits a core_signature; the last module's first exported memory is the
 * memory of every lift. */
#pragma once

#include "component/link.h"

typedef struct {
    str name;
    bytes module;
} core_source;

bool core_link(arena *a, const core_source *sources, uint32_t n, link_plan *ret, err *e);
