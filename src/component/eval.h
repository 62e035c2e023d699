/* Symbolic evaluation of a checked component to a link plan (private to component_link). */
#pragma once

#include "component/def.h"

bool component_eval(linker *l, const def *root, link_plan *ret);
