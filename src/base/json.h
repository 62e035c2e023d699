/* Writing JSON with jansson, in our strings and buffers. Building takes no error: what there was no
 * memory for is NULL, which jansson's setters refuse, and the whole is checked when it is put. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <jansson.h>

static inline void json_free(json_t **j) { json_decref(*j); }
#define _cleanup_json_ __attribute__((cleanup(json_free)))

/* Any bytes that are UTF-8, NUL included; NULL: they are not, or there is no memory. */
json_t *json_of(str s);
/* Appends an object or array to out, compact; it may be NULL, which is no memory. */
bool json_put(const json_t *j, buf *out, err *e);
