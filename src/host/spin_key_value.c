/* Key-value as Spin has it: fermyon:spin/key-value@2.0.0 (a resource), and its first version
 * without a number (u32 handles). Which labels a component may open is in its manifest. */
#include "host/kv.h"

#include "base/limits.h"

/* --- version 2 ----------------------------------------------------------------------------- */

enum { V2_STORE_TABLE_FULL, V2_NO_SUCH_STORE, V2_ACCESS_DENIED, V2_OTHER };

static const host_resource store_resource = {"store", kv_store_dropped};

static host_status v2_open(host_call *c)
{
    static const uint32_t cases[] = {[KV_OPEN_FULL] = V2_STORE_TABLE_FULL,
                                     [KV_OPEN_NO_STORE] = V2_NO_SUCH_STORE,
                                     [KV_OPEN_DENIED] = V2_ACCESS_DENIED};
    str label;
    place r;
    uint16_t store;
    if (!arg_string(c, 0, &label) || !result_place(c, &r))
        return HOST_TRAP;
    kv_opened opened = kv_open(c->g, label, &store);
    if (opened != KV_OPENED) {
        put_case(c, put_case(c, r, 1), cases[opened]);
        return HOST_DONE;
    }
    kv_store_object *o = OBJECT_NEW(c->g, kv_store_object, store_resource, NULL);
    if (!o)
        return call_no_memory(c);
    o->store = store;
    c->g->kv_open++;
    return put_handle(c, put_case(c, r, 0), &o->o) ? HOST_DONE : HOST_TRAP;
}

static bool v2_self(host_call *c, kv_self *ret)
{
    kv_store_object *o;
    if (!ARG_BORROW(c, 0, store_resource, &o))
        return false;
    *ret = (kv_self){o->store, V2_OTHER};
    return true;
}

static host_status v2_get(host_call *c)
{
    kv_self self;
    return v2_self(c, &self) ? kv_function_get(c, self) : HOST_TRAP;
}

static host_status v2_set(host_call *c)
{
    kv_self self;
    return v2_self(c, &self) ? kv_function_set(c, self) : HOST_TRAP;
}

static host_status v2_delete(host_call *c)
{
    kv_self self;
    return v2_self(c, &self) ? kv_function_delete(c, self) : HOST_TRAP;
}

static host_status v2_exists(host_call *c)
{
    kv_self self;
    return v2_self(c, &self) ? kv_function_exists(c, self) : HOST_TRAP;
}

/* get-keys of both versions. */
static host_status keys(host_call *c, kv_self self)
{
    ask_answer a;
    place r;
    host_status s = kv_ask_keys(c, self, &a);
    if (s != HOST_DONE)
        return s;
    if (!result_place(c, &r))
        return ask_over(c, HOST_TRAP);
    if (!a.m)
        return kv_return_failure(c, r, self.other, a.failure);
    return ask_over(c, kv_put_keys(c, put_case(c, r, 0), a.m) ? HOST_DONE : HOST_TRAP);
}

static host_status v2_get_keys(host_call *c)
{
    kv_self self;
    return v2_self(c, &self) ? keys(c, self) : HOST_TRAP;
}

static const host_func v2_funcs[] = {
    {"[static]store.open", "func(label: string) -> result<store, error>", v2_open},
    {"[method]store.get",
     "func(self: borrow<store>, key: string) -> result<option<list<u8>>, error>", v2_get, true},
    {"[method]store.set",
     "func(self: borrow<store>, key: string, value: list<u8>) -> result<_, error>", v2_set, true},
    {"[method]store.delete", "func(self: borrow<store>, key: string) -> result<_, error>",
     v2_delete, true},
    {"[method]store.exists", "func(self: borrow<store>, key: string) -> result<bool, error>",
     v2_exists, true},
    {"[method]store.get-keys", "func(self: borrow<store>) -> result<list<string>, error>",
     v2_get_keys, true},
    {0},
};

const host_interface spin_key_value_v2 = {
    .name = "fermyon:spin/key-value@2.0.0",
    .types = "resource store;\n"
             "variant error { store-table-full, no-such-store, access-denied, other(string) }",
    .funcs = v2_funcs,
    .resources = (const host_resource *const[]){&store_resource, NULL},
};

/* --- version 1: handles are places in guest.kv_v1, which holds the store's number + 1 -------- */

enum {
    V1_STORE_TABLE_FULL,
    V1_NO_SUCH_STORE,
    V1_ACCESS_DENIED,
    V1_INVALID_STORE,
    V1_NO_SUCH_KEY,
    V1_IO
};

static host_status v1_open(host_call *c)
{
    static const uint32_t cases[] = {[KV_OPEN_FULL] = V1_STORE_TABLE_FULL,
                                     [KV_OPEN_NO_STORE] = V1_NO_SUCH_STORE,
                                     [KV_OPEN_DENIED] = V1_ACCESS_DENIED};
    guest *g = c->g;
    str label;
    place r;
    uint16_t store;
    uint32_t i = 0;
    if (!arg_string(c, 0, &label) || !result_place(c, &r))
        return HOST_TRAP;
    kv_opened opened = kv_open(g, label, &store);
    if (opened != KV_OPENED) {
        put_case(c, put_case(c, r, 1), cases[opened]);
        return HOST_DONE;
    }
    if (!g->kv_v1) {
        if (!(g->kv_v1 = pool_take(&g->pool, STORE_OPEN_MAX * sizeof *g->kv_v1)))
            return call_no_memory(c);
        memset(g->kv_v1, 0, STORE_OPEN_MAX * sizeof *g->kv_v1);
    }
    while (g->kv_v1[i]) /* kv_open says that there is room */
        i++;
    g->kv_v1[i] = (uint16_t)(store + 1);
    g->kv_open++;
    put_int(c, put_case(c, r, 0), i);
    return HOST_DONE;
}

/* HOST_DONE: *ret is the store; otherwise the function's own answer is given. */
static bool v1_self(host_call *c, kv_self *ret, host_status *ret_status)
{
    uint32_t i = c->slots[0].u32;
    place r;
    if (c->g->kv_v1 && i < STORE_OPEN_MAX && c->g->kv_v1[i]) {
        *ret = (kv_self){(uint16_t)(c->g->kv_v1[i] - 1), V1_IO};
        return true;
    }
    *ret_status = HOST_TRAP;
    if (result_place(c, &r)) {
        put_case(c, put_case(c, r, 1), V1_INVALID_STORE);
        *ret_status = HOST_DONE;
    }
    return false;
}

static host_status v1_get(host_call *c)
{
    kv_self self;
    kv_found f;
    place r;
    host_status s;
    if (!v1_self(c, &self, &s) || (s = kv_find(c, self, KV_GET, &f)) != HOST_DONE)
        return s;
    if (!result_place(c, &r))
        return ask_over(c, HOST_TRAP);
    if (f.failure.p)
        return kv_return_failure(c, r, V1_IO, f.failure);
    if (!f.has_value) {
        put_case(c, put_case(c, r, 1), V1_NO_SUCH_KEY);
        return ask_over(c, HOST_DONE);
    }
    return ask_over(c, put_bytes(c, put_case(c, r, 0), f.value) ? HOST_DONE : HOST_TRAP);
}

static host_status v1_set(host_call *c)
{
    kv_self self;
    host_status s;
    return v1_self(c, &self, &s) ? kv_function_set(c, self) : s;
}

static host_status v1_delete(host_call *c)
{
    kv_self self;
    host_status s;
    return v1_self(c, &self, &s) ? kv_function_delete(c, self) : s;
}

static host_status v1_exists(host_call *c)
{
    kv_self self;
    host_status s;
    return v1_self(c, &self, &s) ? kv_function_exists(c, self) : s;
}

static host_status v1_get_keys(host_call *c)
{
    kv_self self;
    host_status s;
    return v1_self(c, &self, &s) ? keys(c, self) : s;
}

static host_status v1_close(host_call *c)
{
    uint32_t i = c->slots[0].u32;
    if (c->g->kv_v1 && i < STORE_OPEN_MAX && c->g->kv_v1[i]) {
        c->g->kv_v1[i] = 0;
        c->g->kv_open--;
    }
    return HOST_DONE;
}

static const host_func v1_funcs[] = {
    {"open", "func(name: string) -> result<store, error>", v1_open},
    {"get", "func(store: store, key: string) -> result<list<u8>, error>", v1_get, true},
    {"set", "func(store: store, key: string, value: list<u8>) -> result<_, error>", v1_set, true},
    {"delete", "func(store: store, key: string) -> result<_, error>", v1_delete, true},
    {"exists", "func(store: store, key: string) -> result<bool, error>", v1_exists, true},
    {"get-keys", "func(store: store) -> result<list<string>, error>", v1_get_keys, true},
    {"close", "func(store: store)", v1_close},
    {0},
};

const host_interface spin_key_value_v1 = {
    .name = "fermyon:spin/key-value",
    .types = "type store = u32;\n"
             "variant error {\n"
             "    store-table-full, no-such-store, access-denied, invalid-store, no-such-key,\n"
             "    io(string)\n"
             "}",
    .funcs = v1_funcs,
};
