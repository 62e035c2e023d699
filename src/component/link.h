/* From the bytes of a component to its link plan: decode every section, check types, and evaluate
 * instantiation symbolically (Binary.md, Explainer.md, CanonicalABI.md "canon lift/lower").
 *
 * The result knows nothing of the component's own index spaces any more. It is a list of *units*:
 * a unit is one component instance that holds core code, and becomes one core module (flatten.h),
 * one store. Components without core code (the shims that wit-component wraps around exports)
 * evaluate away. Everything a core instance imports is resolved, through any number of aliases,
 * re-exports and inline instances, to a core export of an earlier core instance of the same unit
 * or to a canonical definition.
 *
 *     component bytes --component_link--> link_plan --flatten_unit--> core module + plan_unit
 *
 * Everything is in the caller's arena and points into the caller's bytes: both must outlive it.
 */
#pragma once

#include "component/type.h"

typedef enum {
    CORE_FUNC = 0,
    CORE_TABLE = 1,
    CORE_MEMORY = 2,
    CORE_GLOBAL = 3,
    CORE_TAG = 4
} core_kind;

/* The export `name` of core instance `instance` of the unit; instance is -1 for "none". */
typedef struct {
    int32_t instance;
    str name;
} core_ref;

typedef enum { ENCODING_UTF8, ENCODING_UTF16, ENCODING_LATIN1_UTF16 } string_encoding;

typedef struct {
    string_encoding encoding;
    core_ref memory, realloc, post_return, callback; /* instance -1: absent */
    bool async;
} canon_options;

typedef enum {
    CANON_HOST,   /* lower of a function that the component imports */
    CANON_LIFTED, /* lower of a function that a unit of this component lifts */
    CANON_RESOURCE_NEW,
    CANON_RESOURCE_REP,
    CANON_RESOURCE_DROP,
    CANON_BUILTIN, /* any other canonical built-in, named in `name` ("task.return", ...) */
    CANON_TRAP,    /* lower of a function that always traps here (reason in `name`) */
} canon_kind;

/* A core function made by a canonical definition; identical ones within a unit are one. */
typedef struct {
    canon_kind kind;
    str interface; /* CANON_HOST: "wasi:io/streams@0.2.0", empty for a plain function import */
    str name;      /* CANON_HOST: "[method]input-stream.read"; CANON_BUILTIN: the built-in with its
                      immediates as text: "task.return", "context.get i32 0",
                      "waitable-set.wait cancellable"; `async` is in the options */
    const functype *type;     /* CANON_HOST, CANON_LIFTED; task.return: its parameter as a result */
    const type *element;      /* stream and future built-ins: the element type, or NULL */
    canon_options options;    /* HOST, LIFTED, some built-ins */
    uint32_t unit, lift;      /* CANON_LIFTED: units[unit].lifts[lift] */
    uint32_t resource;        /* RESOURCE_*: index into link_plan.resources */
    core_signature signature; /* what the core module sees */
} link_canon;

typedef struct {
    bool is_canon;
    core_ref core;  /* is_canon false */
    uint32_t canon; /* is_canon true: index into the unit's canons */
} link_def;

typedef struct {
    str module, name; /* as the importing core module names it */
    core_kind kind;
    link_def def;
} link_import;

/* One instantiation of one core module, in the unit's instantiation order. */
typedef struct {
    bytes module;               /* the embedded core module: a slice of the component's bytes */
    uint64_t offset;            /* of that slice, for messages */
    const link_import *imports; /* one per import of the module, in its order */
    uint32_t imports_count;
} link_core;

/* A function of the unit that canon lift makes callable. */
typedef struct {
    core_ref core;
    const functype *type;
    canon_options options;
    core_signature signature;
    str label; /* for messages: "wasi:http/incoming-handler@0.2.0#handle" */
} link_lift;

typedef struct {
    const link_core *cores;
    uint32_t cores_count;
    const link_canon *canons;
    uint32_t canons_count;
    const link_lift *lifts;
    uint32_t lifts_count;
    /* The unit of the nearest enclosing component instance that has one, or UINT32_MAX: a call from
     * inside never finds its ancestors closed (CanonicalABI.md "may_enter_from"). */
    uint32_t parent;
    str label; /* the path of the component instance, for messages; empty for the outermost */
    uint32_t withheld; /* capabilities that it does not have (composition.h) */
} link_unit;

typedef struct {
    resource_type type;
    uint32_t unit; /* the unit that defines it; UINT32_MAX if imported or defined without code */
    core_ref dtor; /* of that unit; instance -1: none */
} link_resource;

/* What the component imports or exports, by name, for worlds and messages. */
typedef struct {
    str interface; /* "wasi:cli/environment@0.2.0"; empty: a plain function */
    str name;      /* function name, or empty for an interface as a whole */
    const functype *type;
    uint32_t unit, lift; /* exports: where it is lifted (UINT32_MAX: it is an import re-exported) */
} link_name;

typedef struct {
    const link_unit *units; /* in the order in which their instantiation ends: inner ones before the
                               outer one, which may hand its own lifts to them before that */
    uint32_t units_count;
    const link_resource *resources;
    uint32_t resources_count;
    const link_name *imports; /* every function of every imported interface, used or not */
    uint32_t imports_count;
    const link_name *exports; /* every exported function */
    uint32_t exports_count;
    uint32_t core_modules_count; /* embedded core modules, for inspect */
} link_plan;

/* Errors name section, byte offset and reason: ERR_INVALID for malformed or ill-typed components,
 * ERR_UNSUPPORTED (with the feature's name) for what ebb does not do, ERR_LIMIT, ERR_NO_MEMORY.
 * Recursion is bounded by COMPONENT_DEPTH_MAX and COMPONENT_TYPE_DEPTH_MAX. */
bool component_link(arena *a, bytes component, link_plan *ret, err *e);
/* The first half alone: is it a valid component? Also says yes to what cannot be run by itself,
 * such as a component that imports a module. The arena is scratch. */
bool component_check(arena *a, bytes component, err *e);

/* True if the bytes start with the preamble of a component / of a core module (Binary.md). */
bool bytes_are_component(bytes b);
bool bytes_are_core_module(bytes b);
