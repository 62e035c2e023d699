/* Inside host/: what the key-value interfaces share. */
#pragma once

#include "host/ask.h"
#include "store/kv_view.h"

/* An open store or bucket. */
typedef struct {
    object o;
    uint16_t store;
} kv_store_object;

/* KV_OPEN_FULL: the instance has STORE_OPEN_MAX open. */
typedef enum { KV_OPENED, KV_OPEN_FULL, KV_OPEN_NO_STORE, KV_OPEN_DENIED } kv_opened;
/* Whether the component may use that label, and its number. */
kv_opened kv_open(const guest *g, str label, uint16_t *ret_store);
/* The drop of a kv_store_object. */
void kv_store_dropped(guest *g, object *o);

/* --- functions that several interfaces have: (store, key...) in slots 0, 1, 2... `other` is the
 * case of their error that carries a text. */
typedef struct {
    uint16_t store;
    uint32_t other;
} kv_self;

/* result<_, error(text)> */
host_status kv_return_failure(host_call *c, place r, uint32_t other, str text);
/* What a key has. */
typedef struct {
    bool has_value;
    bytes value;
    str failure; /* p not NULL: why it could not be looked up */
} kv_found;
/* KV_GET or KV_EXISTS of the key in slots 1, 2: read from the file where the store process lets
 * this worker, else asked for. HOST_DONE: *ret is set and lives until ask_over. */
host_status kv_find(host_call *c, kv_self self, store_kind kind, kv_found *ret);
/* One key in slots 1, 2; with KV_SET the value in 3, 4. Waits for the answer. */
host_status kv_ask_key(host_call *c, kv_self self, store_kind kind, ask_answer *ret);
host_status kv_function_get(host_call *c, kv_self self);    /* -> option<list<u8>> */
host_status kv_function_set(host_call *c, kv_self self);    /* -> _ */
host_status kv_function_delete(host_call *c, kv_self self); /* -> _ */
host_status kv_function_exists(host_call *c, kv_self self); /* -> bool */
/* Asks for all keys, without waiting for it. */
host_status kv_ask_keys(host_call *c, kv_self self, ask_answer *ret);
bool kv_put_keys(host_call *c, place list, store_message *m);
