/* The adapter module, made fit for one instance: private to componentize*.c. */
#pragma once

#include "component/core_module.h"

#include "base/buf.h"

/* The adapter without what `main` does not use of it. */
bool adapter_prune(arena *a, const core_module *m, const core_module *main, buf *out, err *e);
/* Writes the adapter into *out with a stack that is allocated on first use. */
bool adapter_prepare(const core_module *m, buf *out, err *e);
