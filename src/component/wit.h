/* WIT text of types and functions to descriptors (WIT.md "Types" and "Interfaces"), so that the
 * host can write its interfaces as text and compare them with what a component imports.
 *
 * Understood: `type`, `record`, `variant`, `enum`, `flags`, `resource NAME;` (methods stand in
 * functions of their own, by their component-level name) and
 * `use ns:pkg/iface@1.2.3.{a, b as c};`. A name must be defined before it is used; a resource's
 * bare name means own<name>. Comments and attributes are not part of this language.
 *
 * Invariant: everything in the results is in the arena or static; names point into the text, which
 * must outlive them (in the host they are literals). */
#pragma once

#include "component/type.h"

typedef struct {
    str name;
    const type *type;              /* NULL for a resource */
    const resource_type *resource; /* NULL for any other type */
} wit_name;

/* The named types of one interface, those it uses included. */
typedef struct {
    str interface; /* "wasi:io/streams@0.2.0" */
    const wit_name *names;
    uint32_t count;
} wit_types;

/* Finds the types of another interface, for `use`; NULL if there is none. */
typedef const wit_types *wit_find(void *user, str interface);

/* ERR_INVALID names the interface, the line and column of the text and what was expected. */
bool wit_types_parse(arena *a, str interface, str text, wit_find *find, void *user, wit_types *ret,
                     err *e);
/* "func(a: t, b: u) -> v" or "async func(...)"; same errors. */
bool wit_functype_parse(arena *a, const wit_types *types, str text, functype *ret, err *e);
/* By name, or NULL. */
const wit_name *wit_types_get(const wit_types *types, str name);
