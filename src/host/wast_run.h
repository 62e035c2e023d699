/* Components compiled, instantiated and called in one process: the machine under ebb-wast. The way
 * of the bytes is that of the product (link, flatten, plan to bytes and back, compile, map, bind);
 * what differs is that imports which the host does not offer are traps, and that exports are called
 * with values of a test suite. */
#pragma once

#include "host/wast_value.h"

#include "host/bind.h"

typedef struct {
    engine *en;
    struct loop *l;
    arena a; /* plan, binding */
    plan plan;
    host_binding *binding;
    engine_module **modules;
    const host_missing *missing;
    size_t missing_count;
    uint32_t instances; /* alive; the component goes when they have gone */
} wast_component;

typedef struct {
    wast_component *of;
    guest *g;
    engine_instance *in;
    handle_table handles; /* what it gave to us */
    bool woken;
    bool dead; /* it trapped */
} wast_instance;

typedef enum { WAST_DONE, WAST_TRAP, WAST_ERROR } wast_status;

/* Guests that wait for something of the host's wait on l. */
bool wast_component_new(engine *en, struct loop *l, const char *scratch_dir, bytes component,
                        wast_component **ret, err *e);
void wast_component_free(wast_component *c);
/* WAST_TRAP: instantiation trapped, *e says how. */
wast_status wast_instance_new(wast_component *c, wast_instance **ret, err *e);
void wast_instance_free(wast_instance *i);
/* Calls an export by its name; the result, if the function has one, is in m at *ret_at. */
wast_status wast_invoke(wast_instance *i, const char *name, const json_t *args, wast_memory *m,
                        const functype **ret_type, uint32_t *ret_at, err *e);

/* Validates every core module in the component, instantiated or not. */
bool wast_modules_validate(engine *en, bytes component, err *e);
