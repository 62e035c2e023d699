/* See table.h. Chains in a power-of-two number of buckets, doubled when there are more links than
 * buckets; a table never shrinks, because what it indexes is bounded elsewhere. SipHash-1-3:
 * Aumasson and Bernstein, "SipHash: a fast short-input PRF"; one and three rounds are what Rust and
 * Ruby use for their tables. */
#include "base/table.h"

#include "base/arena.h"
#include "base/must.h"

#include <stdlib.h>
#include <string.h>

enum { BUCKETS_MIN = 16 };

void table_init(table *t, const uint64_t seed[2]) { *t = (table){.seed = {seed[0], seed[1]}}; }

void table_fini(table *t)
{
    free(t->at);
    table_init(t, t->seed);
}

static uint64_t rotated(uint64_t v, int by) { return v << by | v >> (64 - by); }

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotated(v[1], 13) ^ v[0];
    v[0] = rotated(v[0], 32);
    v[2] += v[3];
    v[3] = rotated(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotated(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotated(v[1], 17) ^ v[2];
    v[2] = rotated(v[2], 32);
}

uint64_t table_hash(const table *t, const void *key, size_t n)
{
    uint64_t v[4] = {
        t->seed[0] ^ UINT64_C(0x736f6d6570736575), t->seed[1] ^ UINT64_C(0x646f72616e646f6d),
        t->seed[0] ^ UINT64_C(0x6c7967656e657261), t->seed[1] ^ UINT64_C(0x7465646279746573)};
    const uint8_t *p = key;
    uint64_t word, last = (uint64_t)n << 56;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&word, p, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    for (size_t i = 0; i < n; i++)
        last |= (uint64_t)p[i] << (8 * i);
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static table_link *from(table_link *at, uint64_t hash)
{
    while (at && at->hash != hash)
        at = at->next;
    return at;
}

table_link *table_first(const table *t, uint64_t hash)
{
    return t->size ? from(t->at[hash & (t->size - 1)], hash) : NULL;
}

table_link *table_next(const table_link *at) { return from(at->next, at->hash); }

static bool grow(table *t)
{
    size_t size = t->size ? 2 * t->size : BUCKETS_MIN;
    table_link **at = alloc_may() ? calloc(size, sizeof *at) : NULL;
    if (!at)
        return false;
    for (size_t i = 0; i < t->size; i++)
        for (table_link *l = t->at[i], *next; l; l = next) {
            next = l->next;
            l->next = at[l->hash & (size - 1)];
            at[l->hash & (size - 1)] = l;
        }
    free(t->at);
    t->at = at;
    t->size = size;
    return true;
}

bool table_add(table *t, table_link *link, uint64_t hash)
{
    if (t->count >= t->size && !grow(t))
        return false;
    table_link **bucket = &t->at[hash & (t->size - 1)];
    *link = (table_link){*bucket, hash};
    *bucket = link;
    t->count++;
    return true;
}

void table_remove(table *t, table_link *link)
{
    table_link **at = &t->at[link->hash & (t->size - 1)];
    while (*at && *at != link)
        at = &(*at)->next;
    must(*at);
    *at = link->next;
    link->next = NULL;
    t->count--;
}
