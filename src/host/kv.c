/* See kv.h. Labels are checked here, against what the manifest grants; the store process only knows
 * numbers. Guest memory is read once, when the request is made; answers are host memory until they
 * are copied into the guest, so guest memory may move meanwhile. */
#include "host/kv.h"

#include "base/limits.h"

void guest_kv_free(guest *g)
{
    kv_call_free(g->kv_call);
    g->kv_call = NULL;
}

kv_opened kv_open(const guest *g, str label, uint16_t *ret_store)
{
    const host_component *h = g->component;
    for (size_t i = 0; i < h->key_value_stores_count; i++) {
        const struct host_store *s = &h->key_value_stores[i];
        if (!str_eq(s->label, label))
            continue;
        if (!h->kv || s->store > UINT16_MAX)
            return KV_OPEN_NO_STORE;
        if (g->kv_open >= STORE_OPEN_MAX)
            return KV_OPEN_FULL;
        *ret_store = (uint16_t)s->store;
        return KV_OPENED;
    }
    return KV_OPEN_DENIED;
}

void kv_store_dropped(guest *g, object *o) { g->kv_open--; }

static void on_done(void *user) { guest_woken(user); }

kv_call *kv_begin(host_call *c, kv_kind kind, uint16_t store)
{
    guest *g = c->g;
    place r;
    if (!result_place(c, &r)) /* before anything is written */
        return NULL;
    guest_kv_free(g);
    g->kv_call = kv_call_new(g->component->kv, kind, store);
    if (!g->kv_call)
        call_no_memory(c);
    return g->kv_call;
}

static host_status failed(host_call *c, kv_answer *ret, str text)
{
    bool ok = str_is_utf8(text) && text.n;
    *ret = (kv_answer){NULL, ok ? arena_str(&c->g->scratch, text) : S("the store failed")};
    if (!ret->failure.p)
        return call_no_memory(c);
    return HOST_DONE;
}

/* Asks again after `when` at the latest, where nobody is there to answer. */
static host_status wait_for_store(host_call *c, kv_answer *ret)
{
    guest *g = c->g;
    if (!kv_client_connected(g->component->kv)) {
        ns last = kv_call_sent_at(g->kv_call) + STORE_ABSENT_NS;
        if (clock_mono() >= last)
            return failed(c, ret, S("the store process is not there"));
        guest_wake_by(g, last);
    }
    return call_wait(c);
}

host_status kv_await(host_call *c, kv_answer *ret)
{
    guest *g = c->g;
    kv_item i;
    err e;
    if (!kv_asked(c)) {
        if (!kv_call_send(g->kv_call, on_done, g, &e))
            return failed(c, ret, str_from(e.text));
        g->progress = 1;
    }
    if (!kv_call_is_done(g->kv_call))
        return wait_for_store(c, ret);
    kv_message *m = kv_call_answer(g->kv_call);
    if (m->kind == KV_FAILED)
        return failed(c, ret, kv_message_next(m, &i) ? i.key : S(""));
    *ret = (kv_answer){.m = m};
    return HOST_DONE;
}

host_status kv_over(host_call *c, host_status s)
{
    guest_kv_free(c->g);
    return s;
}

host_status kv_return_failure(host_call *c, place r, uint32_t other, str text)
{
    bool ok = put_string(c, put_case(c, put_case(c, r, 1), other), text);
    return kv_over(c, ok ? HOST_DONE : HOST_TRAP);
}

/* --- shared functions ---------------------------------------------------------------------- */

host_status kv_ask_key(host_call *c, kv_self self, kv_kind kind, kv_answer *ret)
{
    str key;
    bytes value;
    if (!kv_asked(c)) {
        if (!arg_string(c, 1, &key) || (kind == KV_SET && !arg_bytes(c, 3, &value)) ||
            !kv_begin(c, kind, self.store))
            return HOST_TRAP;
        kv_call_item(c->g->kv_call, key, kind == KV_SET ? &value : NULL);
    }
    return kv_await(c, ret);
}

host_status kv_function_get(host_call *c, kv_self self)
{
    kv_answer a;
    kv_item i;
    place r;
    host_status s = kv_ask_key(c, self, KV_GET, &a);
    if (s != HOST_DONE)
        return s;
    if (!result_place(c, &r))
        return kv_over(c, HOST_TRAP);
    if (!a.m || !kv_message_next(a.m, &i))
        return kv_return_failure(c, r, self.other, a.failure);
    place option = put_case(c, put_case(c, r, 0), i.has_value);
    return kv_over(c, !i.has_value || put_bytes(c, option, i.value) ? HOST_DONE : HOST_TRAP);
}

static host_status key_write(host_call *c, kv_self self, kv_kind kind)
{
    kv_answer a;
    place r;
    host_status s = kv_ask_key(c, self, kind, &a);
    if (s != HOST_DONE)
        return s;
    if (!result_place(c, &r))
        return kv_over(c, HOST_TRAP);
    if (!a.m)
        return kv_return_failure(c, r, self.other, a.failure);
    put_case(c, r, 0);
    return kv_over(c, HOST_DONE);
}

host_status kv_function_set(host_call *c, kv_self self) { return key_write(c, self, KV_SET); }

host_status kv_function_delete(host_call *c, kv_self self) { return key_write(c, self, KV_DELETE); }

host_status kv_function_exists(host_call *c, kv_self self)
{
    kv_answer a;
    kv_item i;
    place r;
    host_status s = kv_ask_key(c, self, KV_EXISTS, &a);
    if (s != HOST_DONE)
        return s;
    if (!result_place(c, &r))
        return kv_over(c, HOST_TRAP);
    if (!a.m || !kv_message_next(a.m, &i))
        return kv_return_failure(c, r, self.other, a.failure);
    put_int(c, put_case(c, r, 0), i.has_value);
    return kv_over(c, HOST_DONE);
}

host_status kv_ask_keys(host_call *c, kv_self self, kv_answer *ret)
{
    if (!kv_asked(c) && !kv_begin(c, KV_KEYS, self.store))
        return HOST_TRAP;
    return kv_await(c, ret);
}

bool kv_put_keys(host_call *c, place list, kv_message *m)
{
    kv_item i;
    place first;
    if (!put_list(c, list, m->count, &first))
        return false;
    for (uint32_t k = 0; kv_message_next(m, &i); k++)
        if (!put_string(c, place_element(first, k), i.key))
            return false;
    return true;
}
