/* Core modules to components: what `wasm-tools component new` does, for modules that carry their
 * world in `component-type` custom sections (wit-bindgen of 0.5 and later puts them there).
 * Functions of WASI preview 1 are provided by an adapter, a core module that implements them over
 * WASI 0.2 and carries its own world. */
#pragma once

#include "component/core_module.h"

#include "base/buf.h"

/* Writes the component into *out (initialised by the caller). ERR_UNSUPPORTED names what is not
 * done: modules without a world, resources that the guest defines, asynchronous functions. */
bool componentize(arena *a, bytes module, bytes adapter, buf *out, err *e);

/* The adapter for modules without a main function of their own (reactors), as it was embedded when
 * ebb was built; see docs/dependencies.md. */
bytes adapter_reactor(void);
