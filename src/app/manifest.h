/* spin.toml to app: version 2, and version 1 by conversion.
 * Follows spin.md's sections 1.1 to 1.8 of Spin's manifest: unknown fields are errors, except
 * under `tool` (where only tool.ebb is read) and in triggers of other types.
 * Every error is "file:line:column: what is wrong; what to do", with the nearest known name where
 * a name was mistyped. */
#pragma once

#include "app/app.h"

typedef struct {
    str file;    /* for messages: "spin.toml" */
    str profile; /* overrides of [component.*.profile.<name>] to apply; empty: none */
} manifest_options;

/* The app borrows nothing from text. Warnings (deprecated fields, duplicate routes, suspicious
 * patterns) are in app.warnings. Templates, host grammars, routes, digests and references between
 * parts are checked here; the file system is not looked at. */
bool manifest_read(arena *a, str text, const manifest_options *options, app **ret, err *e);
