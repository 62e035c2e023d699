/* Arenas: memory freed by lifetime, not by object.
 * Invariants: what is allocated stays where it is until arena_fini or arena_reset; an arena never
 * holds more than its maximum, given when it is made; a failed allocation returns NULL and leaves
 * the arena usable. Nothing is zeroed behind the caller's back except by arena_zalloc/ARENA_NEW.
 * An arena belongs to one thread. */
#pragma once

#include "base/err.h"
#include "base/str.h"

typedef struct arena_block arena_block;

typedef struct {
    arena_block *blocks; /* newest first */
    char *at, *end;      /* free part of the newest block */
    size_t used_bytes;   /* of all blocks, headers included */
    size_t used_bytes_max;
    bool level; /* blocks do not become larger: for what is kept in large numbers */
} arena;

/* No memory is taken until the first allocation. */
void arena_init(arena *a, size_t bytes_max);
/* Wastes less than a small block at its end, and takes longer to grow large. */
void arena_init_level(arena *a, size_t bytes_max);
/* Frees everything; the arena may be used again. NULL is allowed. */
void arena_fini(arena *a);
/* Forgets everything but keeps the newest block, so that a request arena allocates once. */
void arena_reset(arena *a);

/* Uninitialised, aligned for any type; size 0 gives a valid pointer. NULL: no memory or maximum. */
void *arena_alloc(arena *a, size_t size) __attribute__((malloc, alloc_size(2)));
void *arena_zalloc(arena *a, size_t size) __attribute__((malloc, alloc_size(2)));
/* count * size with the overflow checked; zeroed. */
void *arena_array(arena *a, size_t count, size_t size);
/* A larger copy of old (count_old elements); the old one stays as garbage until the arena goes,
 * unless it was the last allocation, which then grows in place. */
void *arena_grow(arena *a, void *old, size_t count_old, size_t count_new, size_t size);

#define ARENA_NEW(a, T)          ((T *)arena_zalloc((a), sizeof(T)))
#define ARENA_ARRAY(a, T, count) ((T *)arena_array((a), (count), sizeof(T)))
/* Of a list of n elements that has room for `room` (both 0 and the list NULL at first): makes room
 * for one more. False: no memory, and the list is NULL. */
#define ARENA_ROOM(a, list, n, room)                                                               \
    ((n) < (room) ||                                                                               \
     ((list) = arena_grow((a), (list), (room), (room) ? (room) * 2 : 16, sizeof *(list)),          \
      (room) = (room) ? (room) * 2 : 16, (list) != NULL))

/* Copies; NUL-terminated as well (the NUL is not counted). p is NULL if there was no memory. */
str arena_str(arena *a, str s);
char *arena_cstr(arena *a, str s);
bytes arena_bytes(arena *a, bytes b);
str arena_printf(arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* `_cleanup_(arena_fini) arena a;` frees on every way out. */
#define _cleanup_(f) __attribute__((cleanup(f)))

/* For tests: the n-th allocation from now on, counted over every arena and buf of the process,
 * fails once (0: none fails). Returns how many allocations there were since the last call. */
size_t alloc_fail_after(size_t n);
/* Used by base/ itself before each allocation. */
bool alloc_may(void);
