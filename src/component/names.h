/* Import and export names (Explainer.md "Import and Export Definitions", `externname`), and labels.
 * Invariants: parsing never allocates; all parts are slices of the name. */
#pragma once

#include "base/arena.h"

typedef enum {
    NAME_LABEL,       /* a-b-c */
    NAME_CONSTRUCTOR, /* [constructor]r */
    NAME_METHOD,      /* [method]r.f */
    NAME_STATIC,      /* [static]r.f */
    NAME_INTERFACE,   /* ns:pkg/iface@1.2.3 */
    NAME_DEPENDENCY,  /* locked-dep=, unlocked-dep=, url=, integrity=: of older specifications */
} name_kind;

typedef struct {
    name_kind kind;
    str resource, function; /* constructor (resource only), method, static */
} extern_name;

/* Why a name is not one, or NULL. `version_suffix` (may be empty) completes the version. */
const char *extern_name_parse(str text, str version_suffix, extern_name *ret);
/* "label" of the grammar: words of one case each, the first beginning with a letter. */
bool label_valid(str s);
bool semver_valid(str s);
/* The form under which names must be unique (Explainer.md "Name Uniqueness", strongly-unique):
 * letters without case, [method] and [static] alike, "[..]l.l" like "l". p is NULL: no memory. */
str extern_name_key(arena *a, str text, const extern_name *n);
/* A label without case. */
str label_key(arena *a, str label);
