/* wasi:keyvalue@0.2.0-draft2: store, batch, atomics. Batches are all or nothing, a get-many is one
 * moment. Increment and swap happen in the store process, so they are atomic across workers.
 *
 * A cas handle remembers the value it saw, or that there was none: when it was made, and again at
 * each `current`. swap puts the new value only if the key still has that one; a value that was
 * changed and changed back is the same. A swap that failed gives a handle with the value of now. */
#include "host/kv.h"

#include "base/limits.h"

enum { NO_SUCH_STORE, ACCESS_DENIED, OTHER };
enum { CAS_STORE_ERROR, CAS_FAILED };

static const host_resource bucket_resource = {"bucket", kv_store_dropped};

static bool bucket_self(host_call *c, kv_self *ret)
{
    kv_store_object *o;
    if (!ARG_BORROW(c, 0, bucket_resource, &o))
        return false;
    *ret = (kv_self){o->store, OTHER};
    return true;
}

static host_status open_(host_call *c)
{
    str label;
    place r;
    uint16_t store;
    if (!arg_string(c, 0, &label) || !result_place(c, &r))
        return HOST_TRAP;
    kv_opened opened = kv_open(c->g, label, &store);
    if (opened == KV_OPEN_FULL)
        return kv_return_failure(c, r, OTHER, S("256 buckets are open; drop some"));
    if (opened != KV_OPENED) {
        put_case(c, put_case(c, r, 1), opened == KV_OPEN_DENIED ? ACCESS_DENIED : NO_SUCH_STORE);
        return HOST_DONE;
    }
    kv_store_object *o = OBJECT_NEW(c->g, kv_store_object, bucket_resource, NULL);
    if (!o)
        return call_no_memory(c);
    o->store = store;
    c->g->kv_open++;
    return put_handle(c, put_case(c, r, 0), &o->o) ? HOST_DONE : HOST_TRAP;
}

static host_status bucket_get(host_call *c)
{
    kv_self self;
    return bucket_self(c, &self) ? kv_function_get(c, self) : HOST_TRAP;
}

static host_status bucket_set(host_call *c)
{
    kv_self self;
    return bucket_self(c, &self) ? kv_function_set(c, self) : HOST_TRAP;
}

static host_status bucket_delete(host_call *c)
{
    kv_self self;
    return bucket_self(c, &self) ? kv_function_delete(c, self) : HOST_TRAP;
}

static host_status bucket_exists(host_call *c)
{
    kv_self self;
    return bucket_self(c, &self) ? kv_function_exists(c, self) : HOST_TRAP;
}

/* All keys at once, so no cursor is ever given; one that is given is refused, as Spin does. */
static host_status bucket_list_keys(host_call *c)
{
    kv_self self;
    ask_answer a;
    str cursor;
    place r;
    if (!bucket_self(c, &self) || !arg_option_string(c, 1, &cursor) || !result_place(c, &r))
        return HOST_TRAP;
    if (cursor.p)
        return kv_return_failure(c, r, OTHER, S("list-keys: cursor not supported"));
    host_status s = kv_ask_keys(c, self, &a);
    if (s != HOST_DONE)
        return s;
    if (!a.m)
        return kv_return_failure(c, r, OTHER, a.failure);
    place ok = put_case(c, r, 0);
    if (!kv_put_keys(c, place_field(ok, 0), a.m))
        return ask_over(c, HOST_TRAP);
    put_case(c, place_field(ok, 1), 0);
    return ask_over(c, HOST_DONE);
}

static const host_func store_funcs[] = {
    {"open", "func(identifier: string) -> result<bucket, error>", open_},
    {"[method]bucket.get",
     "func(self: borrow<bucket>, key: string) -> result<option<list<u8>>, error>", bucket_get,
     true},
    {"[method]bucket.set",
     "func(self: borrow<bucket>, key: string, value: list<u8>) -> result<_, error>", bucket_set,
     true},
    {"[method]bucket.delete", "func(self: borrow<bucket>, key: string) -> result<_, error>",
     bucket_delete, true},
    {"[method]bucket.exists", "func(self: borrow<bucket>, key: string) -> result<bool, error>",
     bucket_exists, true},
    {"[method]bucket.list-keys",
     "func(self: borrow<bucket>, cursor: option<string>) -> result<key-response, error>",
     bucket_list_keys, true},
    {0},
};

const host_interface wasi_keyvalue_store = {
    .name = "wasi:keyvalue/store@0.2.0-draft2",
    .types = "variant error { no-such-store, access-denied, other(string) }\n"
             "record key-response { keys: list<string>, cursor: option<string> }\n"
             "resource bucket;",
    .funcs = store_funcs,
    .resources = (const host_resource *const[]){&bucket_resource, NULL},
};

/* --- batch --------------------------------------------------------------------------------- */

static uint32_t memory_u32(const host_call *c, uint32_t at)
{
    uint32_t v;
    memcpy(&v, c->memory + at, sizeof v);
    return v;
}

/* The list in slots 1, 2 of keys, or of keys and values. */
static host_status ask_many(host_call *c, kv_self self, store_kind kind, ask_answer *ret)
{
    uint32_t at = c->slots[1].u32, n = c->slots[2].u32, size = kind == KV_SET ? 16 : 8;
    if (ask_made(c))
        return ask_await(c, ret);
    if (!call_list(c, at, n, size, 4) || !ask_begin(c, kind, self.store))
        return HOST_TRAP;
    for (uint32_t i = 0; i < n; i++, at += size) {
        str key;
        bytes value;
        if (!call_string(c, memory_u32(c, at), memory_u32(c, at + 4), &key) ||
            (kind == KV_SET &&
             !call_bytes(c, memory_u32(c, at + 8), memory_u32(c, at + 12), &value)))
            return ask_over(c, HOST_TRAP);
        store_call_item(c->g->store_call, key, kind == KV_SET ? &value : NULL);
    }
    return ask_await(c, ret);
}

static bool put_pairs(host_call *c, place list, store_message *m)
{
    store_item i;
    place first;
    if (!put_list(c, list, m->count, &first))
        return false;
    for (uint32_t k = 0; store_message_next(m, &i); k++) {
        place pair = place_element(first, k);
        if (!put_string(c, place_field(pair, 0), i.key))
            return false;
        place option = put_case(c, place_field(pair, 1), i.has_value);
        if (i.has_value && !put_bytes(c, option, i.value))
            return false;
    }
    return true;
}

static host_status many(host_call *c, store_kind kind)
{
    kv_self self;
    ask_answer a;
    place r;
    if (!bucket_self(c, &self))
        return HOST_TRAP;
    host_status s = ask_many(c, self, kind, &a);
    if (s != HOST_DONE)
        return s;
    if (!result_place(c, &r))
        return ask_over(c, HOST_TRAP);
    if (!a.m)
        return kv_return_failure(c, r, OTHER, a.failure);
    place ok = put_case(c, r, 0);
    return ask_over(c, kind != KV_GET || put_pairs(c, ok, a.m) ? HOST_DONE : HOST_TRAP);
}

static host_status get_many(host_call *c) { return many(c, KV_GET); }

static host_status set_many(host_call *c) { return many(c, KV_SET); }

static host_status delete_many(host_call *c) { return many(c, KV_DELETE); }

const host_interface wasi_keyvalue_batch = {
    .name = "wasi:keyvalue/batch@0.2.0-draft2",
    .types = "use wasi:keyvalue/store@0.2.0-draft2.{bucket, error};",
    .funcs =
        (const host_func[]){
            {"get-many",
             "func(bucket: borrow<bucket>, keys: list<string>) -> "
             "result<list<tuple<string, option<list<u8>>>>, error>",
             get_many, true},
            {"set-many",
             "func(bucket: borrow<bucket>, key-values: list<tuple<string, list<u8>>>) -> "
             "result<_, error>",
             set_many, true},
            {"delete-many", "func(bucket: borrow<bucket>, keys: list<string>) -> result<_, error>",
             delete_many, true},
            {0},
        },
};

/* --- atomics ------------------------------------------------------------------------------- */

typedef struct {
    object o;
    uint16_t store;
    bool seen_some;
    str key;    /* pool memory, as seen.p */
    bytes seen; /* the value, where there was one */
} cas_object;

static void cas_dropped(guest *g, object *o)
{
    cas_object *cas = (cas_object *)o;
    pool_give(&g->pool, (void *)(uintptr_t)cas->key.p, cas->key.n);
    pool_give(&g->pool, (void *)(uintptr_t)cas->seen.p, cas->seen.n);
}

static const host_resource cas_resource = {"cas", cas_dropped};

/* A copy in pool memory; NULL: none for it. Nothing for n == 0. */
static bool copy_into(guest *g, const void *from, size_t n, void **ret)
{
    *ret = n ? pool_take(&g->pool, n) : NULL;
    if (n && *ret)
        memcpy(*ret, from, n);
    return !n || *ret;
}

static bool cas_see(guest *g, cas_object *cas, const store_item *i)
{
    void *copy;
    if (!copy_into(g, i->value.p, i->value.n, &copy))
        return false;
    pool_give(&g->pool, (void *)(uintptr_t)cas->seen.p, cas->seen.n);
    cas->seen = (bytes){copy, i->value.n};
    cas->seen_some = i->has_value;
    return true;
}

/* NULL: no memory. */
static cas_object *cas_new(guest *g, uint16_t store, str key, const store_item *i)
{
    void *copy;
    cas_object *cas = OBJECT_NEW(g, cas_object, cas_resource, NULL);
    if (!cas)
        return NULL;
    cas->store = store;
    if (copy_into(g, key.p, key.n, &copy)) {
        cas->key = (str){copy, key.n};
        if (cas_see(g, cas, i))
            return cas;
    }
    object_free(g, &cas->o);
    return NULL;
}

static host_status atomics_cas_new(host_call *c)
{
    kv_self self;
    ask_answer a;
    store_item i;
    place r;
    if (!bucket_self(c, &self))
        return HOST_TRAP;
    host_status s = kv_ask_key(c, self, KV_GET, &a);
    if (s != HOST_DONE)
        return s;
    if (!result_place(c, &r))
        return ask_over(c, HOST_TRAP);
    if (!a.m || !store_message_next(a.m, &i))
        return kv_return_failure(c, r, OTHER, a.failure);
    cas_object *cas = cas_new(c->g, self.store, i.key, &i);
    if (!cas)
        return ask_over(c, call_no_memory(c));
    return ask_over(c, put_handle(c, put_case(c, r, 0), &cas->o) ? HOST_DONE : HOST_TRAP);
}

static host_status atomics_cas_current(host_call *c)
{
    cas_object *cas;
    ask_answer a;
    store_item i;
    place r;
    if (!ARG_BORROW(c, 0, cas_resource, &cas))
        return HOST_TRAP;
    if (!ask_made(c)) {
        if (!ask_begin(c, KV_GET, cas->store))
            return HOST_TRAP;
        store_call_item(c->g->store_call, cas->key, NULL);
    }
    host_status s = ask_await(c, &a);
    if (s != HOST_DONE)
        return s;
    if (!result_place(c, &r))
        return ask_over(c, HOST_TRAP);
    if (!a.m || !store_message_next(a.m, &i))
        return kv_return_failure(c, r, OTHER, a.failure);
    if (!cas_see(c->g, cas, &i))
        return ask_over(c, call_no_memory(c));
    place option = put_case(c, put_case(c, r, 0), i.has_value);
    return ask_over(c, !i.has_value || put_bytes(c, option, i.value) ? HOST_DONE : HOST_TRAP);
}

static host_status atomics_increment(host_call *c)
{
    kv_self self;
    ask_answer a;
    store_item i;
    str key;
    place r;
    if (!bucket_self(c, &self))
        return HOST_TRAP;
    if (!ask_made(c)) {
        uint64_t delta = c->slots[3].u64;
        bytes value = {(const uint8_t *)&delta, sizeof delta};
        if (!arg_string(c, 1, &key) || !ask_begin(c, KV_INCREMENT, self.store))
            return HOST_TRAP;
        store_call_item(c->g->store_call, key, &value);
    }
    host_status s = ask_await(c, &a);
    if (s != HOST_DONE)
        return s;
    if (!result_place(c, &r))
        return ask_over(c, HOST_TRAP);
    if (!a.m || !store_message_next(a.m, &i) || i.value.n != sizeof(uint64_t))
        return kv_return_failure(c, r, OTHER, a.failure);
    uint64_t sum;
    memcpy(&sum, i.value.p, sizeof sum);
    put_int(c, put_case(c, r, 0), sum);
    return ask_over(c, HOST_DONE);
}

/* The handle is the guest's until the answer is there, and is consumed then. */
static host_status swap_end(host_call *c, ask_answer *a)
{
    cas_object *cas, *fresh = NULL;
    store_item i;
    place r;
    if (!result_place(c, &r) || !ARG_TAKE(c, 0, cas_resource, &cas))
        return HOST_TRAP;
    bool changed = a->m && a->m->kind == KV_CHANGED && store_message_next(a->m, &i);
    if (changed)
        fresh = cas_new(c->g, cas->store, cas->key, &i);
    object_free(c->g, &cas->o);
    if (!a->m)
        return put_string(c, put_case(c, put_case(c, put_case(c, r, 1), CAS_STORE_ERROR), OTHER),
                          a->failure)
                   ? HOST_DONE
                   : HOST_TRAP;
    if (changed && !fresh)
        return call_no_memory(c);
    if (changed)
        return put_handle(c, put_case(c, put_case(c, r, 1), CAS_FAILED), &fresh->o) ? HOST_DONE
                                                                                    : HOST_TRAP;
    put_case(c, r, 0);
    return HOST_DONE;
}

static host_status atomics_swap(host_call *c)
{
    cas_object *cas;
    ask_answer a;
    bytes value;
    if (!ARG_BORROW(c, 0, cas_resource, &cas))
        return HOST_TRAP;
    if (!ask_made(c)) {
        if (!arg_bytes(c, 1, &value) || !ask_begin(c, KV_SWAP, cas->store))
            return HOST_TRAP;
        store_call_item(c->g->store_call, cas->key, &value);
        store_call_item(c->g->store_call, (str){0}, cas->seen_some ? &cas->seen : NULL);
    }
    host_status s = ask_await(c, &a);
    return s == HOST_DONE ? ask_over(c, swap_end(c, &a)) : s;
}

const host_interface wasi_keyvalue_atomics = {
    .name = "wasi:keyvalue/atomics@0.2.0-draft2",
    .types = "use wasi:keyvalue/store@0.2.0-draft2.{bucket, error};\n"
             "resource cas;\n"
             "variant cas-error { store-error(error), cas-failed(cas) }",
    .funcs =
        (const host_func[]){
            {"[static]cas.new", "func(bucket: borrow<bucket>, key: string) -> result<cas, error>",
             atomics_cas_new, true},
            {"[method]cas.current", "func(self: borrow<cas>) -> result<option<list<u8>>, error>",
             atomics_cas_current, true},
            {"increment",
             "func(bucket: borrow<bucket>, key: string, delta: s64) -> result<s64, error>",
             atomics_increment, true},
            {"swap", "func(cas: cas, value: list<u8>) -> result<_, cas-error>", atomics_swap, true},
            {0},
        },
    .resources = (const host_resource *const[]){&cas_resource, NULL},
};
