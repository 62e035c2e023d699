/* Growable arrays and name tables in an arena, for the linker.
 * Invariants: a vec's items are [0, n); p may move when an item is added (the old memory stays as
 * garbage in the arena, at most as much again). A table maps names or pointers to non-NULL
 * pointers, never forgets one, and costs one arena node per entry. */
#pragma once

#include "base/arena.h"

#define VEC(T)                                                                                     \
    struct {                                                                                       \
        T *p;                                                                                      \
        uint32_t n, cap;                                                                           \
    }

/* Room for one more; false if there is no memory. Then: v.p[v.n++] = item. */
#define vec_grow(a, v)       vec_grow_((a), (void **)&(v)->p, (v)->n, &(v)->cap, sizeof *(v)->p)
#define vec_push(a, v, item) (vec_grow((a), (v)) && ((v)->p[(v)->n++] = (item), true))
bool vec_grow_(arena *a, void **p, uint32_t n, uint32_t *cap, size_t size);

/* A hash trie with four branches a level. Hostile names can make it a list; every step is counted
 * in `steps`, so that the caller's budget of work bounds what they cost. */
typedef struct table_node table_node;
typedef struct {
    table_node *root;
} table;

/* The place of `key`: *ret points to its value, NULL if it is new (the caller sets it). With a NULL
 * arena nothing is added: *ret is NULL where the key is not there. False: no memory. */
bool table_at(arena *a, table *t, str key, uint64_t *steps, const void ***ret);
bool table_at_pointer(arena *a, table *t, const void *key, uint64_t *steps, const void ***ret);
/* The value of `key` or NULL. */
const void *table_get(const table *t, str key, uint64_t *steps);
const void *table_get_pointer(const table *t, const void *key, uint64_t *steps);

uint64_t hash_bytes(uint64_t seed, const void *p, size_t n);
uint64_t hash_u64(uint64_t seed, uint64_t v);
