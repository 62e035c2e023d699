/* See kv.h. Labels are checked here, against what the manifest grants; the store process only knows
 * numbers. */
#include "host/kv.h"

#include "base/limits.h"

kv_opened kv_open(const guest *g, str label, uint16_t *ret_store)
{
    const host_component *h = g->component;
    for (size_t i = 0; i < h->key_value_stores_count; i++) {
        const struct host_store *s = &h->key_value_stores[i];
        if (!str_eq(s->label, label))
            continue;
        if (!h->store || s->store > UINT16_MAX)
            return KV_OPEN_NO_STORE;
        if (g->kv_open >= STORE_OPEN_MAX)
            return KV_OPEN_FULL;
        *ret_store = (uint16_t)s->store;
        return KV_OPENED;
    }
    return KV_OPEN_DENIED;
}

void kv_store_dropped(guest *g, object *o) { g->kv_open--; }

host_status kv_return_failure(host_call *c, place r, uint32_t other, str text)
{
    bool ok = put_string(c, put_case(c, put_case(c, r, 1), other), text);
    return ask_over(c, ok ? HOST_DONE : HOST_TRAP);
}

/* --- shared functions ---------------------------------------------------------------------- */

static const struct host_store *store_of(const guest *g, uint16_t store)
{
    const host_component *h = g->component;
    for (size_t i = 0; i < h->key_value_stores_count; i++)
        if (h->key_value_stores[i].store == store)
            return &h->key_value_stores[i];
    return NULL;
}

/* False: it was not seen, and the store process is to be asked. */
static bool seen(host_call *c, const struct host_store *s, str key, kv_found *ret)
{
    bytes value;
    kv_read r = kv_view_get(s->view, s->label, key, &value);
    if (r == KV_READ_ASK)
        return false;
    *ret = (kv_found){.has_value = r == KV_READ_VALUE};
    if (ret->has_value) /* SQLite's until kv_view_done */
        ret->value = arena_bytes(&c->g->scratch, value);
    kv_view_done(s->view);
    return !ret->has_value || !value.n || ret->value.p;
}

host_status kv_ask_key(host_call *c, kv_self self, store_kind kind, ask_answer *ret)
{
    str key;
    bytes value;
    if (!ask_made(c)) {
        if (!arg_string(c, 1, &key) || (kind == KV_SET && !arg_bytes(c, 3, &value)) ||
            !ask_begin(c, kind, self.store))
            return HOST_TRAP;
        store_call_item(c->g->store_call, key, kind == KV_SET ? &value : NULL);
    }
    return ask_await(c, ret);
}

host_status kv_find(host_call *c, kv_self self, store_kind kind, kv_found *ret)
{
    const struct host_store *of = store_of(c->g, self.store);
    ask_answer a;
    store_item i;
    str key;
    if (!ask_made(c) && of && of->view) {
        if (!arg_string(c, 1, &key))
            return HOST_TRAP;
        if (seen(c, of, key, ret))
            return HOST_DONE;
    }
    host_status s = kv_ask_key(c, self, kind, &a);
    if (s != HOST_DONE)
        return s;
    if (a.m && of)
        kv_view_answered(of->view);
    if (!a.m || !store_message_next(a.m, &i))
        *ret = (kv_found){.failure = a.m ? S("the store failed") : a.failure};
    else
        *ret = (kv_found){.has_value = i.has_value, .value = i.value};
    return HOST_DONE;
}

host_status kv_function_get(host_call *c, kv_self self)
{
    kv_found f;
    place r;
    host_status s = kv_find(c, self, KV_GET, &f);
    if (s != HOST_DONE)
        return s;
    if (!result_place(c, &r))
        return ask_over(c, HOST_TRAP);
    if (f.failure.p)
        return kv_return_failure(c, r, self.other, f.failure);
    place option = put_case(c, put_case(c, r, 0), f.has_value);
    return ask_over(c, !f.has_value || put_bytes(c, option, f.value) ? HOST_DONE : HOST_TRAP);
}

static host_status key_write(host_call *c, kv_self self, store_kind kind)
{
    ask_answer a;
    place r;
    host_status s = kv_ask_key(c, self, kind, &a);
    if (s != HOST_DONE)
        return s;
    if (!result_place(c, &r))
        return ask_over(c, HOST_TRAP);
    if (!a.m)
        return kv_return_failure(c, r, self.other, a.failure);
    put_case(c, r, 0);
    return ask_over(c, HOST_DONE);
}

host_status kv_function_set(host_call *c, kv_self self) { return key_write(c, self, KV_SET); }

host_status kv_function_delete(host_call *c, kv_self self) { return key_write(c, self, KV_DELETE); }

host_status kv_function_exists(host_call *c, kv_self self)
{
    kv_found f;
    place r;
    host_status s = kv_find(c, self, KV_EXISTS, &f);
    if (s != HOST_DONE)
        return s;
    if (!result_place(c, &r))
        return ask_over(c, HOST_TRAP);
    if (f.failure.p)
        return kv_return_failure(c, r, self.other, f.failure);
    put_int(c, put_case(c, r, 0), f.has_value);
    return ask_over(c, HOST_DONE);
}

host_status kv_ask_keys(host_call *c, kv_self self, ask_answer *ret)
{
    if (!ask_made(c) && !ask_begin(c, KV_KEYS, self.store))
        return HOST_TRAP;
    return ask_await(c, ret);
}

bool kv_put_keys(host_call *c, place list, store_message *m)
{
    store_item i;
    place first;
    if (!put_list(c, list, m->count, &first))
        return false;
    for (uint32_t k = 0; store_message_next(m, &i); k++)
        if (!put_string(c, place_element(first, k), i.key))
            return false;
    return true;
}
