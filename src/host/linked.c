/* Imports of whole components, bound and linked, and who shares them.
 *
 * Two components of one instance can share if their plans say the same of imports and resources.
 * That part of a plan, encoded, is the key; and what is bound is that part, decoded again, so that
 * it lives on its own. Several instances in a component call each other by the plan: each such
 * component has links of its own. */
#include "base/limits.h"
#include "base/must.h"
#include "base/table.h"
#include "host/bind.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct host_linker {
    engine *en;
    bool stubs;
    table shared; /* by key */
};

struct host_linked {
    table_link link;
    host_linker *of;
    uint32_t refs;
    bool is_shared;
    buf key; /* the encoded part of the plan */
    arena a;
    plan own;
    host_binding *binding;
    engine_links **links;
    uint32_t count; /* of units */
};

bool host_linker_new(engine *en, bool stubs, host_linker **ret, err *e)
{
    uint64_t seed[2];
    host_linker *l = calloc(1, sizeof *l);
    if (!l)
        return err_no_memory(e);
    if (getrandom(seed, sizeof seed, 0) != sizeof seed) {
        free(l);
        return err_set_errno(e, "getrandom");
    }
    l->en = en;
    l->stubs = stubs;
    table_init(&l->shared, seed);
    *ret = l;
    return true;
}

void host_linker_free(host_linker *l)
{
    if (!l)
        return;
    table_fini(&l->shared);
    free(l);
}

engine *host_linker_engine(const host_linker *l) { return l->en; }

size_t host_linker_count(const host_linker *l) { return l->shared.count; }

static void linked_free(host_linked *k)
{
    for (uint32_t i = 0; i < k->count; i++)
        engine_links_drop(k->links[i]);
    buf_fini(&k->key);
    arena_fini(&k->a);
    free(k);
}

static bool bind_and_link(host_linked *k, const plan *p, err *e)
{
    const host_missing *missing;
    size_t missing_count;
    if (!host_bind(&k->a, p, &k->binding, k->of->stubs ? &missing : NULL, &missing_count, e))
        return false;
    k->links = ARENA_ARRAY(&k->a, engine_links *, p->units_count + 1);
    if (!k->links)
        return err_no_memory(e);
    for (; k->count < p->units_count; k->count++) {
        const plan_unit *u = &p->units[k->count];
        if (!engine_links_new(k->of->en, u->imports, host_binding_imports(k->binding, k->count),
                              u->imports_count, &k->links[k->count], e))
            return false;
    }
    return true;
}

static bool is_shareable(const plan *p)
{
    if (p->units_count != 1)
        return false;
    for (uint32_t i = 0; i < p->units[0].imports_count; i++)
        if (p->units[0].imports[i].kind == CANON_LIFTED)
            return false;
    return true;
}

static bool key_of(const plan *p, buf *ret, err *e)
{
    const plan_unit *u = &p->units[0];
    plan_unit imports = {.parent = UINT32_MAX,
                         .imports = u->imports,
                         .imports_count = u->imports_count,
                         .memories_count = u->memories_count,
                         .reallocs_count = u->reallocs_count};
    plan part = {.units = &imports,
                 .units_count = 1,
                 .resources = p->resources,
                 .resources_count = p->resources_count};
    buf_init(ret, 64 * MIB);
    return plan_encode(&part, ret, e);
}

static host_linked *shared_find(const host_linker *l, const buf *key, uint64_t hash)
{
    for (table_link *at = table_first(&l->shared, hash); at; at = table_next(at)) {
        host_linked *k = TABLE_OF(host_linked, link, at);
        if (str_eq(buf_str(&k->key), buf_str(key)))
            return k;
    }
    return NULL;
}

static bool share(host_linked *k, uint64_t hash, err *e)
{
    if (!plan_decode(&k->a, buf_bytes(&k->key), &k->own, e) || !bind_and_link(k, &k->own, e))
        return false;
    k->is_shared = table_add(&k->of->shared, &k->link, hash);
    return k->is_shared || err_no_memory(e);
}

bool host_link(host_linker *l, const plan *p, host_linked **ret, err *e)
{
    uint64_t hash = 0;
    _cleanup_(buf_fini) buf key = {0};
    bool shares = is_shareable(p);
    if (shares && !key_of(p, &key, e))
        return false;
    if (shares)
        hash = table_hash(&l->shared, key.p, key.n);
    host_linked *k = shares ? shared_find(l, &key, hash) : NULL;
    if (k) {
        k->refs++;
        *ret = k;
        return true;
    }
    k = calloc(1, sizeof *k);
    if (!k)
        return err_no_memory(e);
    k->of = l;
    k->refs = 1;
    k->key = key;
    key = (buf){0};
    arena_init(&k->a, COMPONENT_ARENA_BYTES_MAX);
    if (!(shares ? share(k, hash, e) : bind_and_link(k, p, e))) {
        linked_free(k);
        return false;
    }
    *ret = k;
    return true;
}

void host_unlink(host_linked *k)
{
    if (!k || --k->refs)
        return;
    if (k->is_shared)
        table_remove(&k->of->shared, &k->link);
    linked_free(k);
}

engine_links *host_linked_links(const host_linked *k, uint32_t unit)
{
    must(unit < k->count);
    return k->links[unit];
}

const host_binding *host_linked_binding(const host_linked *k) { return k->binding; }
