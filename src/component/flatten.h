/* Flattening: all core instances of one unit become one core module (design.md 1).
 * Input is trusted to be a link plan of component_link's, but the core modules in it are any bytes:
 * whatever cannot be handled is refused by name with its section and offset; what comes out is
 * validated by the engine before anything runs. */
#pragma once

#include "component/composition.h"
#include "component/plan.h"

/* Writes the module of units[unit] into *out and describes it in *ret (its types are those of the
 * link plan, its other parts are in the arena). */
bool flatten_unit(arena *a, const link_plan *l, uint32_t unit, buf *out, plan_unit *ret, err *e);

/* The whole way: link, flatten every unit, make the plan. modules[i] is unit i's core module;
 * *ret_modules is an arena array of plan.units_count bufs, to be freed by flatten_free. */
bool flatten_component(arena *a, bytes component, plan *ret, buf **ret_modules, err *e);
/* The same for a component with its dependencies (composition.h). */
bool flatten_composition(arena *a, const composition_part *parts, size_t n, plan *ret,
                         buf **ret_modules, err *e);
void flatten_free(buf *modules, uint32_t count);
