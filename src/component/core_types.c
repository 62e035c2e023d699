/* Core types made canonical (core specification: "Recursive Types", rolled-up equality).
 *
 * A recursion group is read into a string of words in which references to types of the same group
 * are relative and all others are canonical numbers. Equal strings are equal groups: the string is
 * looked up, and a new one gets the next numbers. Of a type only what later checks ask for is
 * kept: the signature of functions and the declared supertype. */
#include "component/module_type.h"

enum { CORE_PARAMS_MAX = 1000, CORE_GROUP_MAX = 1000000, CORE_FIELDS_MAX = 10000 };
enum { RELATIVE = 1 << 28 }; /* in a heap type while its group is read */

typedef VEC(uint32_t) words;

static bool word(linker *l, words *w, uint32_t v) { return vec_push(l->a, w, v) || link_oom(l); }

/* A type index: canonical, or relative within the group [base, base + n). */
static bool type_index(linker *l, reader *r, const core_types *types, uint32_t n, int64_t i,
                       uint32_t *ret)
{
    if (i >= 0 && i < types->n && types->p[i] != CORE_NO_TYPE)
        *ret = types->p[i];
    else if (i >= types->n && i < (int64_t)types->n + n)
        *ret = RELATIVE | (uint32_t)(i - types->n);
    else
        return reader_fail(r, l->e, ERR_INVALID, "unknown type %lld: type index out of bounds",
                           (long long)i);
    return true;
}

/* Core specification "Heap Types": heaptype. */
static bool heap_type(linker *l, reader *r, const core_types *types, uint32_t n, uint32_t *ret)
{
    int64_t i;
    if (!reader_s33(r, &i, l->e))
        return false;
    if (i >= 0)
        return type_index(l, r, types, n, i, ret);
    if (i < -64 || (i & 0x7f) < 0x68 || (i & 0x7f) > 0x75)
        return reader_fail(r, l->e, ERR_INVALID, "malformed heap type");
    *ret = CORE_HEAP_ABSTRACT | (uint32_t)(i & 0x7f);
    return true;
}

/* Core specification "Value Types": valtype. */
static bool val_type(linker *l, reader *r, const core_types *types, uint32_t n, core_val *ret)
{
    uint8_t byte;
    if (!reader_u8(r, &byte, l->e))
        return false;
    if (byte >= 0x7b && byte <= 0x7f) {
        *ret = byte;
        return true;
    }
    if (byte == 0x63 || byte == 0x64) {
        uint32_t heap = 0;
        if (!heap_type(l, r, types, n, &heap))
            return false;
        *ret = CORE_REF | (byte == 0x63 ? CORE_REF_NULL : 0u) | heap;
        return true;
    }
    if (byte >= 0x68 && byte <= 0x75) { /* shorthands: (ref null <heap type>) */
        *ret = CORE_REF | CORE_REF_NULL | CORE_HEAP_ABSTRACT | byte;
        return true;
    }
    r->at--;
    if (byte == 0x65)
        return reader_fail(r, l->e, ERR_UNSUPPORTED, "shared reference types");
    return reader_fail(r, l->e, ERR_INVALID, "malformed value type 0x%02x", byte);
}

typedef struct {
    words w;            /* the group's string */
    VEC(core_def) defs; /* relative */
    VEC(core_val) vals; /* of all defs, in order */
} group;

/* Core specification "Result Types": resulttype. */
static bool val_list(linker *l, reader *r, const core_types *types, uint32_t n, group *g,
                     uint32_t *ret_count)
{
    uint32_t count;
    if (!reader_count(r, CORE_PARAMS_MAX, "parameters or results", &count, l->e) ||
        !word(l, &g->w, count))
        return false;
    for (uint32_t i = 0; i < count; i++) {
        core_val v = 0;
        if (!val_type(l, r, types, n, &v) || !word(l, &g->w, v))
            return false;
        if (!vec_push(l->a, &g->vals, v))
            return link_oom(l);
    }
    *ret_count = count;
    return true;
}

/* Core specification "Composite Types": fieldtype. */
static bool field_type(linker *l, reader *r, const core_types *types, uint32_t n, group *g)
{
    uint8_t byte, mut;
    core_val v = 0;
    reader peek = *r;
    if (!reader_u8(&peek, &byte, l->e))
        return false;
    if (byte == 0x78 || byte == 0x77) { /* i8, i16 */
        *r = peek;
        v = byte;
    } else if (!val_type(l, r, types, n, &v)) {
        return false;
    }
    if (!reader_u8(r, &mut, l->e))
        return false;
    if (mut > 1)
        return reader_fail(r, l->e, ERR_INVALID, "malformed mutability");
    return word(l, &g->w, v) && word(l, &g->w, mut);
}

/* Core specification "Composite Types": comptype. */
static bool comp_type(linker *l, reader *r, const core_types *types, uint32_t n, group *g,
                      core_def *d)
{
    uint32_t count;
    uint8_t byte;
    if (!reader_u8(r, &byte, l->e) || !word(l, &g->w, byte))
        return false;
    d->kind = byte;
    switch (byte) {
    case 0x60:
        return val_list(l, r, types, n, g, &d->params_count) &&
               val_list(l, r, types, n, g, &d->results_count);
    case 0x5e:
        return field_type(l, r, types, n, g);
    case 0x5f:
        if (!reader_count(r, CORE_FIELDS_MAX, "fields", &count, l->e) || !word(l, &g->w, count))
            return false;
        for (uint32_t i = 0; i < count; i++)
            if (!field_type(l, r, types, n, g))
                return false;
        return true;
    case 0x65:
        r->at--;
        return reader_fail(r, l->e, ERR_UNSUPPORTED, "shared core types");
    case 0x5d:
        r->at--;
        return reader_fail(r, l->e, ERR_UNSUPPORTED, "stack switching (continuation types)");
    default:
        r->at--;
        return reader_fail(r, l->e, ERR_INVALID, "malformed core type 0x%02x", byte);
    }
}

/* Core specification: a subtype matches its supertype.
 * The rest of matching (parameters, fields) is the engine's. */
static bool super_check(linker *l, const reader *r, const group *g, const core_def *d)
{
    uint32_t i = d->super & ~(uint32_t)RELATIVE;
    bool relative = d->super & RELATIVE;
    if (relative && i >= g->defs.n)
        return reader_fail(r, l->e, ERR_INVALID, "a supertype must come before its subtypes");
    const core_def *super = relative ? &g->defs.p[i] : &l->core_defs.p[i];
    if (!super->is_open)
        return reader_fail(r, l->e, ERR_INVALID, "sub type cannot have a final super type");
    return super->kind == d->kind ||
           reader_fail(r, l->e, ERR_INVALID, "sub type must match super type");
}

/* Core specification "Recursive Types": subtype. */
static bool sub_type(linker *l, reader *r, const core_types *types, uint32_t n, group *g)
{
    core_def d = {.super = CORE_NO_TYPE};
    reader peek = *r;
    uint8_t byte;
    uint32_t supers = 0;
    if (!reader_u8(&peek, &byte, l->e))
        return false;
    d.is_open = byte == 0x50;
    if (byte == 0x50 || byte == 0x4f) {
        *r = peek;
        if (!reader_count(r, 1, "supertypes", &supers, l->e))
            return false;
    }
    if (!word(l, &g->w, d.is_open) || !word(l, &g->w, supers))
        return false;
    if (supers) {
        uint32_t i;
        if (!reader_u32(r, &i, l->e) || !type_index(l, r, types, n, i, &d.super) ||
            !word(l, &g->w, d.super))
            return false;
    }
    if (!comp_type(l, r, types, n, g, &d) || (supers && !super_check(l, r, g, &d)))
        return false;
    return vec_push(l->a, &g->defs, d) || link_oom(l);
}

/* Numbers for a new group. Signatures keep relative references: they are only ever compared with
 * signatures of numbers (core_func_is), types as a whole by their number. */
static bool group_add(linker *l, group *g, uint32_t base)
{
    core_val *v = g->vals.p;
    for (uint32_t i = 0; i < g->defs.n; i++) {
        core_def d = g->defs.p[i];
        d.params = v;
        d.results = v + d.params_count;
        v += d.params_count + d.results_count;
        if (d.super != CORE_NO_TYPE && (d.super & RELATIVE))
            d.super = (d.super & ~(uint32_t)RELATIVE) + base;
        if (!vec_push(l->a, &l->core_defs, d))
            return link_oom(l);
    }
    return true;
}

static bool group_intern(linker *l, group *g, core_types *types)
{
    const void **at;
    if (!link_table_at(l, &l->core_groups, (str){(const char *)g->w.p, g->w.n * sizeof *g->w.p},
                       &at))
        return false;
    uint32_t base = *at ? (uint32_t)(uintptr_t)*at - 1 : l->core_defs.n;
    if (!*at && (base + g->defs.n > CORE_GROUP_MAX || !group_add(l, g, base)))
        return base + g->defs.n > CORE_GROUP_MAX
                   ? link_fail(l, ERR_LIMIT, "more than %d core types", CORE_GROUP_MAX)
                   : false;
    *at = (void *)(uintptr_t)(base + 1);
    for (uint32_t i = 0; types && i < g->defs.n; i++)
        if (!vec_push(l->a, types, base + i))
            return link_oom(l);
    return link_work(l, g->w.n);
}

/* Core specification "Recursive Types": subtype. */
bool core_subtype_read(linker *l, reader *r, core_types *types)
{
    group g = {0};
    return word(l, &g.w, 1) && sub_type(l, r, types, 1, &g) && group_intern(l, &g, types);
}

/* Core specification "Recursive Types": rectype. */
bool core_rectype_read(linker *l, reader *r, core_types *types)
{
    reader peek = *r;
    group g = {0};
    uint8_t byte;
    uint32_t n = 1;
    if (!reader_u8(&peek, &byte, l->e))
        return false;
    if (byte == 0x4e) {
        *r = peek;
        if (!reader_count(r, CORE_GROUP_MAX, "types in a recursion group", &n, l->e))
            return false;
    }
    if (!word(l, &g.w, n))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!sub_type(l, r, types, n, &g))
            return false;
    return group_intern(l, &g, types);
}

bool core_func_intern(linker *l, const core_val *params, uint32_t params_count,
                      const core_val *results, uint32_t results_count, uint32_t *ret)
{
    group g = {0};
    core_types types = {0};
    core_def d = {.kind = 0x60,
                  .super = CORE_NO_TYPE,
                  .params_count = params_count,
                  .results_count = results_count};
    bool ok = word(l, &g.w, 1) && word(l, &g.w, 0) && word(l, &g.w, 0) && word(l, &g.w, 0x60) &&
              word(l, &g.w, params_count);
    for (uint32_t i = 0; ok && i < params_count; i++)
        ok = word(l, &g.w, params[i]) && (vec_push(l->a, &g.vals, params[i]) || link_oom(l));
    ok = ok && word(l, &g.w, results_count);
    for (uint32_t i = 0; ok && i < results_count; i++)
        ok = word(l, &g.w, results[i]) && (vec_push(l->a, &g.vals, results[i]) || link_oom(l));
    if (!ok)
        return false;
    if (!vec_push(l->a, &g.defs, d))
        return link_oom(l);
    if (!group_intern(l, &g, &types))
        return false;
    *ret = types.p[0];
    return true;
}

bool core_signature_intern(linker *l, const core_signature *s, uint32_t *ret)
{
    core_val params[ABI_FLAT_PARAMS_MAX + 1], results[ABI_FLAT_RESULTS_MAX];
    for (uint32_t i = 0; i < s->params_count; i++)
        params[i] = s->params[i];
    for (uint32_t i = 0; i < s->results_count; i++)
        results[i] = s->results[i];
    return core_func_intern(l, params, s->params_count, results, s->results_count, ret);
}

bool core_func_is(const linker *l, uint32_t func, const core_val *params, uint32_t params_count,
                  const core_val *results, uint32_t results_count)
{
    const core_def *d = &l->core_defs.p[func];
    return d->kind == 0x60 && d->params_count == params_count &&
           d->results_count == results_count &&
           (params_count == 0 || !memcmp(d->params, params, params_count * sizeof *params)) &&
           (results_count == 0 || !memcmp(d->results, results, results_count * sizeof *results));
}

bool core_val_read(linker *l, reader *r, const core_types *types, core_val *ret)
{
    return val_type(l, r, types, 0, ret);
}
