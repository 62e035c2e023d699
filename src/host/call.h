/* Inside host/: lifting arguments and lowering results of one host function call (CanonicalABI.md
 * "canon lower", "Loading", "Storing").
 *
 * Functions that return bool return false after setting a trap: the host function then returns
 * HOST_TRAP at once. Guest memory moves and changes in call_alloc and everything that allocates
 * (put_string, put_bytes, put_list, put_handle never): pointers from arg_* are void afterwards.
 *
 * Results are written through places: a type and where in guest memory it goes. The area of the
 * whole result is checked once (result_place); what is inside it needs no further check. */
#pragma once

#include "component/abi.h"
#include "host/guest.h"

#include "base/must.h"

host_status call_trap(host_call *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The guest's host memory is used up. */
host_status call_no_memory(host_call *c);
/* Waits and is called again. Only in functions whose row says may_wait. */
host_status call_wait(host_call *c);

/* Makes c->memory and c->memory_size what they are now. */
bool call_memory(host_call *c);
/* realloc(0, 0, align, n), checked; refreshes c->memory. */
bool call_alloc(host_call *c, uint32_t align, uint64_t n, uint32_t *ret_at);
/* A string or list<u8> at a place in guest memory. Valid until guest memory may move. */
bool call_string(host_call *c, uint32_t at, uint32_t units, str *ret);
bool call_bytes(host_call *c, uint32_t at, uint32_t n, bytes *ret);
/* The elements of a list, checked: afterwards any of them may be read from c->memory. */
bool call_list(host_call *c, uint32_t at, uint32_t n, uint32_t elem_size, uint32_t elem_align);

/* Arguments in slots i, i + 1. */
static inline bool arg_string(host_call *c, unsigned i, str *ret)
{
    return call_string(c, c->slots[i].u32, c->slots[i + 1].u32, ret);
}
static inline bool arg_bytes(host_call *c, unsigned i, bytes *ret)
{
    return call_bytes(c, c->slots[i].u32, c->slots[i + 1].u32, ret);
}
/* option<string> in slots i (case), i + 1, i + 2. p == NULL: none; some("") has a pointer. */
bool arg_option_string(host_call *c, unsigned i, str *ret);
/* A discriminant below n. */
bool arg_case(host_call *c, unsigned i, uint32_t n, uint32_t *ret);

/* The object behind a borrow of that resource. */
bool call_borrow(host_call *c, uint32_t index, const host_resource *r, object **ret);
/* Takes the object out of the table: it is the caller's to free. */
bool call_take(host_call *c, uint32_t index, const host_resource *r, object **ret);
#define ARG_BORROW(c, i, r, ret) call_borrow((c), (c)->slots[i].u32, &(r), (object **)(void *)(ret))
#define ARG_TAKE(c, i, r, ret)   call_take((c), (c)->slots[i].u32, &(r), (object **)(void *)(ret))

/* Gives the object a handle. If the table is full, frees it and traps. */
bool call_handle(host_call *c, object *o, uint32_t *ret_index);
/* The same, as the function's only result. */
host_status return_handle(host_call *c, object *o);

static inline host_status return_u32(host_call *c, uint32_t v)
{
    c->slots[0].u64 = v;
    return HOST_DONE;
}
static inline host_status return_u64(host_call *c, uint64_t v)
{
    c->slots[0].u64 = v;
    return HOST_DONE;
}

typedef struct {
    const type *type;
    uint32_t at;
} place;

/* Where the result goes: the area that the guest gave in the last slot. */
bool result_place(host_call *c, place *ret);

/* An integer, bool, enum, flags or handle of the place's size. */
static inline void put_int(host_call *c, place p, uint64_t v)
{
    must(p.type->size <= sizeof v && !p.type->has_pointer);
    memcpy(c->memory + p.at, &v, p.type->size); /* little-endian, as guest memory */
}
/* Writes the discriminant of a variant-like type, returns the place of its payload (type NULL
 * where there is none). option: 0 none, 1 some. result: 0 ok, 1 error. */
place put_case(host_call *c, place p, uint32_t k);
static inline place place_field(place p, uint32_t i)
{
    return (place){p.type->fields[i].type, p.at + type_field_offset(p.type, i)};
}
bool put_string(host_call *c, place p, str s);
bool put_bytes(host_call *c, place p, bytes b);
/* Allocates n elements and writes pointer and length; *ret_first is element 0, the others follow
 * at steps of its type's size. */
bool put_list(host_call *c, place p, uint32_t n, place *ret_first);
static inline place place_element(place first, uint32_t i)
{
    return (place){first.type, first.at + i * first.type->size};
}
/* Gives o a handle and writes its index. On failure o is freed. */
bool put_handle(host_call *c, place p, object *o);
