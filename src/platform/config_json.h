/* Pieces of settings as JSON, shared by the files that write and read them. Absent members read as
 * empty ones: both ends are the same binary. */
#pragma once

#include "app/app.h"
#include "base/json.h"

json_t *json_of_strs(const str *at, size_t n);
json_t *json_of_pairs(const app_pairs *pairs);
/* what: whose settings, for the message. NULL: *e says why. */
json_t *json_get(bytes text, const char *what, err *e);

/* Everything read is in the arena; p is NULL (or the result false) if there was no memory. */
str json_str(arena *a, const json_t *j);
const str *json_strs(arena *a, const json_t *list, size_t *ret_count);
bool json_pairs(arena *a, const json_t *list, app_pairs *ret);
