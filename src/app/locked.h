/* The locked app: an app as JSON, in the shape of Spin's spin.lock, so that it can be handed to
 * another process or stored in a registry. What Spin has no place for is in `metadata.ebb` of the
 * app and of each component; readers of Spin's format ignore it.
 * Invariant: locked_read(locked_write(a, "")) equals a in everything but positions and warnings. */
#pragma once

#include "app/app.h"

/* Appends JSON. Absolute paths of sources and files become "file://" URLs; relative ones do so,
 * too, if base, the absolute directory that they start from, is not empty: then they read back
 * as absolute paths. Else they stay as they are. */
bool locked_write(const app *a, str base, buf *out, err *e);
/* The app borrows nothing from json. Unknown members are ignored, except must_understand and
 * host_requirements, where an unknown one is an ERR_UNSUPPORTED that names it. */
bool locked_read(arena *a, bytes json, app **ret, err *e);
/* The same from jansson's value, where it is a part of something larger. */
struct json_t;
bool locked_read_value(arena *a, const struct json_t *root, app **ret, err *e);
