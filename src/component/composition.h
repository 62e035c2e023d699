/* A composition: a component and the components that satisfy some of its imports (spin.md 1.7), as
 * parts, as one file, and linked to one plan.
 *
 * What `wac plug` does with a component that holds both, this does without writing one: the checked
 * definition of such an outermost component is put together in memory (composition_scope.c), and
 * everything after it is as for any component. Each part is an instance of its own, with a store,
 * a memory and handles of its own.
 *
 *        the host
 *     ┌─────┴──────┐ imports of the same track ("wasi:io/streams@0.2.*") are one
 *  dependency    main ──▶ exports of the whole
 *     └──────────▶ its exports satisfy imports of main
 *
 * Invariants: parts[0] is the main component, the others are dependencies in the manifest's order.
 * A dependency is instantiated once for each entry of the manifest. */
#pragma once

#include "component/link.h"

#include "base/buf.h"

enum { COMPOSITION_PARTS_MAX = 64 };

/* What a dependency does not share with the component that uses it; the bits of `withheld`. */
enum {
    COMPOSITION_AI_MODELS = 1 << 0,
    COMPOSITION_OUTBOUND_HOSTS = 1 << 1,
    COMPOSITION_ENVIRONMENT = 1 << 2,
    COMPOSITION_FILES = 1 << 3,
    COMPOSITION_KEY_VALUE_STORES = 1 << 4,
    COMPOSITION_SQLITE_DATABASES = 1 << 5,
    COMPOSITION_VARIABLES = 1 << 6,
    COMPOSITION_ALL = (1 << 7) - 1,
};

typedef struct {
    str name;        /* of the dependency: "my-dep", "ns:pkg", "ns:pkg/iface@1.0.0"; main: empty */
    str export_name; /* which export satisfies the import; empty: that of the import's name */
    uint32_t withheld; /* COMPOSITION_* */
    bytes component;
} composition_part;

/* Does the name of a dependency stand for that import? (spin.md 1.7) */
bool composition_matches(str dependency, str import);
/* Appends the file of a composition: names, bits and the parts' bytes, whole. */
bool composition_write(const composition_part *parts, size_t n, buf *out, err *e);
bool bytes_are_composition(bytes b);
/* The parts point into b. ERR_INVALID with the offset. */
bool composition_read(arena *a, bytes b, composition_part **ret, size_t *ret_n, err *e);
/* As component_link. Errors name the dependency and say what would fit. */
bool composition_link(arena *a, const composition_part *parts, size_t n, link_plan *ret, err *e);
