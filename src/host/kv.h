/* Inside host/: what the key-value interfaces share. A function asks the store process and waits;
 * it is called again when the answer is there, and finds it in the guest.
 *
 *     if (!kv_asked(c)) { read the arguments; kv_begin; kv_call_item...; }
 *     status = kv_await(c, &answer); if (status != HOST_DONE) return status;
 *     put the answer; return kv_over(c, HOST_DONE or HOST_TRAP);
 */
#pragma once

#include "host/call.h"
#include "store/kv_client.h"

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

/* The request of this call was made before: the function is called again. */
static inline bool kv_asked(const host_call *c) { return c->g->progress != 0; }
/* NULL: no memory, or no good place for the result; traps. */
kv_call *kv_begin(host_call *c, kv_kind kind, uint16_t store);

typedef struct {
    kv_message *m; /* NULL: failed */
    str failure;   /* why */
} kv_answer;
/* HOST_DONE: *ret is set and lives until kv_over. */
host_status kv_await(host_call *c, kv_answer *ret);
/* Forgets the request; returns s. */
host_status kv_over(host_call *c, host_status s);

/* --- functions that several interfaces have: (store, key...) in slots 0, 1, 2... `other` is the
 * case of their error that carries a text. */
typedef struct {
    uint16_t store;
    uint32_t other;
} kv_self;

/* result<_, error(text)> */
host_status kv_return_failure(host_call *c, place r, uint32_t other, str text);
/* One key in slots 1, 2; with KV_SET the value in 3, 4. Waits for the answer. */
host_status kv_ask_key(host_call *c, kv_self self, kv_kind kind, kv_answer *ret);
host_status kv_function_get(host_call *c, kv_self self);    /* -> option<list<u8>> */
host_status kv_function_set(host_call *c, kv_self self);    /* -> _ */
host_status kv_function_delete(host_call *c, kv_self self); /* -> _ */
host_status kv_function_exists(host_call *c, kv_self self); /* -> bool */
/* Asks for all keys, without waiting for it. */
host_status kv_ask_keys(host_call *c, kv_self self, kv_answer *ret);
bool kv_put_keys(host_call *c, place list, kv_message *m);
