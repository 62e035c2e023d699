/* A component and its dependencies (spin.md 1.7) as one file in the cache, <cache>/composed/, named
 * by the digests of its parts and by how they fit together. Nothing is looked into here: the decode
 * process reads it (component/composition.h). */
#pragma once

#include "app/app.h"

typedef struct {
    const app_dependency *dependency; /* NULL: the main component, which is the first part */
    str path;                         /* of its file */
    str digest;                       /* "sha256:..." that it must have; empty: any */
} composed_part;

/* Makes the file if it is not there. *ret is its path. */
bool composed_make(arena *a, str cache_dir, const composed_part *parts, size_t n, str *ret, err *e);
