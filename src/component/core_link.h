/* A link plan for bare core modules, instantiated in the order given: for tests of the flattener
 * and for tools. Module i satisfies imports of later ones whose module name is sources[i].name.
 * Functions that no source offers become canons of kind CANON_TRAP, in order of first mention,
 * named as they are imported; other unknown imports are an error.
 *
 * Every exported function becomes a lift, labelled "<source>#<export>", if its signature has only
 * number types, at most 16 parameters and one result (its component type: u32 for i32 and so on).
 * Its memory is the first that its module exports, if any. */
#pragma once

#include "component/link.h"

typedef struct {
    str name;
    bytes module;
} core_source;

bool core_link(arena *a, const core_source *sources, uint32_t n, link_plan *ret, err *e);
