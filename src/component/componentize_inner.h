/* Shared by componentize*.c; private. componentize_interface.c writes types and imports,
 * componentize_shim.c the two small modules, componentize.c everything else. */
#pragma once

#include "component/componentize.h"
#include "component/world.h"

enum { NEEDS_MAX = 10000 };

/* An imported function of main or of the adapter. */
typedef struct {
    str module, name;
    str interface;   /* the world's import that `module` means: of the same version track */
    bytes type;      /* 0x60 ... */
    bool of_adapter; /* who imports it */
    bool is_preview1;
    bool is_drop;
    uint32_t slot; /* in the shim's table; of those that are no drops */
    uint32_t core; /* core function that the importer gets */
} need;

typedef struct {
    arena *a;
    buf *out;
    err *e;
    world worlds[WORLDS_MAX];
    uint32_t worlds_count, main_worlds;
    core_module main, adapter;
    bool has_adapter;
    VEC(need) needs;
    uint32_t slots;
    table wanted;     /* "module\0name" of functions that are imported */
    table interfaces; /* name to index + 1 */
    table aliases;    /* "sort module\0name" to index + 1 */
    table exported;   /* names of the component's exports */
    uint32_t types, instances, funcs, core_funcs, core_instances;
    unsigned depth;
    uint64_t steps;
} ctz;

bool ctz_no_memory(ctz *c);
/* `sort` and two names as one key of a table. p is NULL without memory. */
str ctz_key(ctz *c, char sort, str module, str name);
/* The place of a key, as a number; 0: new. */
bool ctz_number(ctz *c, table *t, str key, uintptr_t **ret);
/* A section of one item: begin, append to *b, end. */
void ctz_begin(buf *b);
bool ctz_end(ctz *c, uint8_t id, buf *b);

/* The component's index of an export of an imported interface: sort 0x01 func, 0x03 type. */
bool ctz_alias(ctz *c, uint8_t sort, str interface, str name, uint32_t *ret);
/* The component's index of a world's type, written on first use. */
bool ctz_type(ctz *c, world *w, uint32_t index, uint32_t *ret);
/* The component's instance of an imported interface, merged over all worlds on first use. */
bool ctz_interface(ctz *c, str name, uint32_t *ret);

/* Indices of one world's instance type, to those of what is being written. */
typedef struct {
    VEC(uint32_t) to;
} locals;
bool locals_map(void *ctx, uint32_t index, uint32_t *ret, err *e);

/* A module of *m's bytes, which are freed. */
bool ctz_module(ctz *c, buf *m);
/* "0", "1", ...: what shim and fix-up call the function of a slot. */
void ctz_slot_name(buf *b, uint32_t slot);
bool ctz_has_initialize(const ctz *c);
bool ctz_shim(ctz *c);
bool ctz_fixup(ctz *c);
