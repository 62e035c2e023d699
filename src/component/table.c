/* See table.h. Arrays double; tables are hash tries: every level looks at two more bits of the
 * hash, so that nothing is ever moved or rehashed and an entry stays where it is.
 *
 * Keys that are pointers are compared as pointers. The hash is FNV-1a with a finishing mix: good
 * for honest names, and for hostile ones the budget of the caller counts the steps. */
#include "component/table.h"

struct table_node {
    table_node *child[4];
    str key; /* n is SIZE_MAX for a pointer, which is then p */
    const void *value;
};

bool vec_grow_(arena *a, void **p, uint32_t n, uint32_t *cap, size_t size)
{
    if (n < *cap)
        return true;
    if (*cap > UINT32_MAX / 2)
        return false;
    uint32_t more = *cap ? *cap * 2 : 4;
    void *grown = arena_grow(a, *p, *cap, more, size);
    if (!grown)
        return false;
    *p = grown;
    *cap = more;
    return true;
}

uint64_t hash_u64(uint64_t seed, uint64_t v)
{
    uint64_t h = (seed ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 29);
}

uint64_t hash_bytes(uint64_t seed, const void *p, size_t n)
{
    const uint8_t *b = p;
    uint64_t h = seed ^ 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ b[i]) * 0x100000001b3u;
    return hash_u64(h, n);
}

static bool key_eq(str a, str b)
{
    if (a.n == SIZE_MAX || b.n == SIZE_MAX)
        return a.n == b.n && a.p == b.p;
    return str_eq(a, b);
}

static bool node_at(arena *a, table *t, str key, uint64_t h, uint64_t *steps, const void ***ret)
{
    table_node **at = &t->root;
    for (; *at; h <<= 2) {
        (*steps)++;
        if (key_eq((*at)->key, key)) {
            *ret = &(*at)->value;
            return true;
        }
        at = &(*at)->child[h >> 62];
    }
    *ret = NULL;
    if (!a)
        return true;
    table_node *node = ARENA_NEW(a, table_node);
    if (!node)
        return false;
    node->key = key;
    *at = node;
    *ret = &node->value;
    return true;
}

bool table_at(arena *a, table *t, str key, uint64_t *steps, const void ***ret)
{
    *steps += key.n / 32; /* long names are read whole, to hash and to compare */
    return node_at(a, t, key, hash_bytes(0, key.p, key.n), steps, ret);
}

bool table_at_pointer(arena *a, table *t, const void *key, uint64_t *steps, const void ***ret)
{
    return node_at(a, t, (str){key, SIZE_MAX}, hash_u64(0, (uint64_t)(uintptr_t)key), steps, ret);
}

const void *table_get(const table *t, str key, uint64_t *steps)
{
    const void **value;
    table copy = *t;
    table_at(NULL, &copy, key, steps, &value);
    return value ? *value : NULL;
}

const void *table_get_pointer(const table *t, const void *key, uint64_t *steps)
{
    const void **value;
    table copy = *t;
    table_at_pointer(NULL, &copy, key, steps, &value);
    return value ? *value : NULL;
}
