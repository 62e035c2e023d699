/* Inside host/: what stands behind one import of one unit. */
#pragma once

#include "host/guest.h"
#include "host/host.h"

typedef struct {
    const plan_import *import;
    const plan *plan;
    host_fn fn;
    const host_resource *resource; /* resource.drop of a host resource */
    uint32_t guest_resource;       /* resource.*: index into plan.resources */
    uint32_t number;               /* context.*: which */
    const host_binding *binding;
} bound;

struct host_binding {
    engine_import **units;
    uint32_t units_count;
    const plan *plan;
    const host_resource **resources; /* as plan.resources; NULL: defined by a component */
};
