/* For tests and benchmarks only: what they need of Wasmtime without including it. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "engine/engine.h"

/* WebAssembly text to a core module. ERR_INVALID with line and column. */
bool engine_wat2wasm(str wat, buf *ret_module, err *e);
/* Ticks that this process has got so far. */
uint64_t engine_ticks(void);
/* How often a memory was looked through for private pages so far. */
uint32_t engine_scans(const engine *en);
/* How often the pages of one instance were moved to a new one so far. */
uint32_t engine_moves(const engine *en);
/* Does it populate all of a working set in one system call (Linux 6.13)? */
bool engine_populates_at_once(const engine *en);
/* Changes how instances are restored from now on. */
void engine_restoring_set(engine *en, const engine_restoring *r);
