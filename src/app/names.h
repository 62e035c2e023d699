/* A set of names with a number each: for checking uniqueness and finding by name while an app of
 * thousands of components is read. Lives in an arena, borrows the names. */
#pragma once

#include "base/arena.h"

typedef struct {
    str name;
    size_t value;
} name_slot;

typedef struct {
    name_slot *slots; /* open addressing, at most half full; an unused one has a NULL name */
    size_t n, cap;
} names;

/* False without memory. An existing name keeps its number. */
bool names_add(arena *a, names *t, str name, size_t value);
/* The number of that name, or SIZE_MAX. */
size_t names_get(const names *t, str name);
/* Of candidates, the one nearest to s by edits (insert, delete, replace, swap), if it is near
 * enough to be what was meant; else p == NULL. */
str names_suggest(str s, const str *candidates, size_t n);
