/* Hash tables of things that embed their link: nothing is copied, adding one allocates only when
 * the table grows. Keys are the caller's: it hashes them, walks what has that hash and compares.
 * The hash is keyed (SipHash-1-3 with a seed of the table), so that whoever chooses keys cannot
 * choose collisions.
 * Invariant: a link is in one table at most, and stays in place while it is there. */
#pragma once

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct table_link table_link;
struct table_link {
    table_link *next;
    uint64_t hash;
};

typedef struct {
    table_link **at;
    size_t size, count; /* size: 0 or a power of two */
    uint64_t seed[2];
} table;

/* No memory is taken until something is added. */
void table_init(table *t, const uint64_t seed[2]);
/* Forgets everything; the links are the caller's. */
void table_fini(table *t);
uint64_t table_hash(const table *t, const void *key, size_t n);
/* The first that has this hash, and the next; NULL: none. */
table_link *table_first(const table *t, uint64_t hash);
table_link *table_next(const table_link *at);
/* False: no memory; nothing has changed. */
bool table_add(table *t, table_link *link, uint64_t hash);
void table_remove(table *t, table_link *link);

/* The thing that a link is in. */
#define TABLE_OF(T, member, link) ((T *)(void *)((char *)(link) - offsetof(T, member)))
