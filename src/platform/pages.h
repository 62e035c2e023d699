/* Pages that the keeper serves beside its API. They are made by a room above this one (ui/), which
 * gives them to the process before it becomes the keeper; without them there are none. */
#pragma once

#include "base/str.h"

typedef struct {
    const char *path; /* "/", "/ui/dashboard.js" */
    const char *type;
    const char *tag;    /* an ETag, with its quotes */
    const char *styles; /* hashes of those that stand in it: "'sha256-...'"; "": none */
    const unsigned char *bytes;
    size_t n;
} page;

/* Borrowed for the life of the process. */
void pages_set(const page *all, size_t n);
/* path without its query; NULL: there is no such page. */
const page *page_find(str path);
