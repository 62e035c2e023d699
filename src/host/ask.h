/* Inside host/: host functions that ask the store process and wait. Such a function is called again
 * when the answer is there, and finds it in the guest.
 *
 *     if (!ask_made(c)) { read the arguments; ask_begin; store_call_item...; }
 *     status = ask_await(c, &answer); if (status != HOST_DONE) return status;
 *     put the answer; return ask_over(c, HOST_DONE or HOST_TRAP);
 */
#pragma once

#include "host/call.h"
#include "store/client.h"

/* The request of this call was made before: the function is called again. */
static inline bool ask_made(const host_call *c) { return c->g->progress != 0; }
/* NULL: no memory, or no good place for the result; traps. */
store_call *ask_begin(host_call *c, store_kind kind, uint16_t store);

typedef struct {
    store_message *m; /* NULL: failed */
    str failure;      /* why */
} ask_answer;
/* HOST_DONE: *ret is set and lives until ask_over. */
host_status ask_await(host_call *c, ask_answer *ret);
/* Forgets the request; returns s. */
host_status ask_over(host_call *c, host_status s);
