/* Component-model value types as descriptors, and what the Canonical ABI derives from them
 * (CanonicalABI.md: "Alignment", "Element Size", "Flattening").
 *
 * Invariants: a descriptor is immutable once made; it lives in the arena it was made in; it is a
 * finite tree (depth at most COMPONENT_TYPE_DEPTH_MAX) whose shared parts may be shared; size,
 * align and flat_count are filled in by whoever makes it (type_finish). Names are kept as written.
 */
#pragma once

#include "base/arena.h"

typedef enum {
    TYPE_BOOL,
    TYPE_S8,
    TYPE_U8,
    TYPE_S16,
    TYPE_U16,
    TYPE_S32,
    TYPE_U32,
    TYPE_S64,
    TYPE_U64,
    TYPE_F32,
    TYPE_F64,
    TYPE_CHAR,
    TYPE_STRING,
    TYPE_LIST,    /* elem; length_fixed where it is a fixed-size list */
    TYPE_RECORD,  /* fields */
    TYPE_TUPLE,   /* fields without names */
    TYPE_VARIANT, /* fields; type NULL for a case without payload */
    TYPE_ENUM,    /* fields, all without type */
    TYPE_OPTION,  /* elem */
    TYPE_RESULT,  /* fields[0] "ok", fields[1] "error"; type NULL where there is none */
    TYPE_FLAGS,   /* fields, all without type; at most 32 */
    TYPE_OWN,     /* resource */
    TYPE_BORROW,  /* resource */
    TYPE_STREAM,  /* elem or NULL */
    TYPE_FUTURE,  /* elem or NULL */
    TYPE_ERROR_CONTEXT,
} type_kind;

typedef enum { CORE_I32 = 0x7f, CORE_I64 = 0x7e, CORE_F32 = 0x7d, CORE_F64 = 0x7c } core_type;

enum {
    ABI_FLAT_PARAMS_MAX = 16, /* MAX_FLAT_PARAMS */
    ABI_FLAT_RESULTS_MAX = 1, /* MAX_FLAT_RESULTS */
    ABI_FLAT_ASYNC_PARAMS_MAX = 4,
};

typedef struct type type;

/* A resource type. Two mentions are the same type if and only if the pointers are equal within one
 * component; between a component and the host they match by interface (version track) and name. */
typedef struct {
    str interface;  /* "wasi:io/streams@0.2.0"; empty: imported plainly or defined by a component */
    str name;       /* "input-stream"; empty if anonymous */
    bool imported;  /* the host defines it */
    uint32_t index; /* in link_plan.resources; the host's own descriptors: as the host likes */
} resource_type;

typedef struct {
    str name;
    const type *type; /* NULL: a case without payload */
} type_field;

struct type {
    type_kind kind;
    const type_field *fields;
    uint32_t fields_count;
    const type *elem;
    uint32_t length_fixed; /* TYPE_LIST: 0 is the ordinary list */
    bool is_map;           /* TYPE_LIST that was written map<k, v>, and its element, a 2-tuple */
    const resource_type *resource;
    /* derived, by type_finish */
    uint32_t size, align; /* elem_size and alignment in linear memory, bytes */
    uint32_t flat_count;  /* number of core values; may exceed the ABI's limits */
    uint32_t payload_at;  /* variants, options, results: offset of the payload */
    uint32_t depth;
    uint32_t nodes;    /* of the tree, shared parts counted as often as they occur */
    bool has_pointer;  /* a string or a list is somewhere in it: lifting or lowering needs memory */
    bool has_resource; /* own or borrow of any resource is somewhere in it */
    bool has_borrow;
    uint32_t size_i64, align_i64; /* as size and align, were memory 64-bit (limit of validation) */
    uint8_t flat[16];             /* the first 16 of its core types (core_type) */
};

typedef struct {
    const type_field *params; /* every one has a type */
    uint32_t params_count;
    const type *result; /* NULL: none. The stable format knows one result, unnamed. */
    bool async;
} functype;

/* The core signature of a functype, for canon lower or canon lift (flatten_functype). */
typedef struct {
    core_type params[ABI_FLAT_PARAMS_MAX + 1];
    uint32_t params_count;
    core_type results[ABI_FLAT_RESULTS_MAX];
    uint32_t results_count;
    bool params_spilled; /* one pointer instead of the parameters */
    bool
        results_spilled; /* lower: a return pointer is the last parameter; lift: a pointer result */
} core_signature;

/* The descriptor of a primitive kind (BOOL..STRING, ERROR_CONTEXT); static. */
const type *type_primitive(type_kind kind);
/* Fills in the derived fields of t from its finished parts, in time linear in its direct parts.
 * ERR_LIMIT: too deep or too many nodes. ERR_INVALID: 2^28 bytes or more ("Element Size"), no case,
 * more than 32 flags. */
bool type_finish(type *t, err *e);
/* Writes t's core types into ret[0..flat_count), at most max (<= ABI_FLAT_PARAMS_MAX) of them;
 * returns flat_count. */
uint32_t type_flatten(const type *t, core_type *ret, uint32_t max);
/* All forms of flatten_functype: the `async` option, and for lift its `callback`. */
void functype_signature(const functype *f, bool is_lift, bool async, bool callback,
                        core_signature *ret);
/* Of a lower without options. */
void functype_lower_signature(const functype *f, core_signature *ret);

/* Offset of field i of a record or tuple. */
uint32_t type_field_offset(const type *t, uint32_t i);
/* Bytes of the discriminant of a variant-like type: 1, 2 or 4. */
uint32_t type_discriminant_size(const type *t);

/* Structural equality, names of fields and cases included. Resources: same pointer, or same name
 * with interfaces of the same version track (interface_compatible). Within one link plan types are
 * shared: equal types are the same pointer, so that a table of pointers stays small. */
bool type_equal(const type *a, const type *b);
bool functype_equal(const functype *a, const functype *b);
/* As WIT text: "func(self: borrow<pollable>) -> bool". For messages and inspect: a very long text
 * is cut and ends in "...". p is NULL if there was no memory. */
str type_text(arena *a, const type *t);
str functype_text(arena *a, const functype *f);

/* "ns:pkg/iface@1.2.3" in parts; version is empty where none is given. */
typedef struct {
    str path;    /* "wasi:io/streams" */
    str version; /* "0.2.3" */
} interface_name;
interface_name interface_name_parse(str text);
/* spin.md 3.2: same path, and same version or same track (0.2.x; 1.x; never 0.0.x; pre-releases
 * only exactly, but for 0.2.0-rc-2023-11-10 of wasi:*, which counts as 0.2.0). */
bool interface_compatible(str have, str want);
