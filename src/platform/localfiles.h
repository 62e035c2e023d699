/* What guests of an app in a folder see of the file system: copies of the manifest's `files` in a
 * temporary folder, or (direct mounts) the folders themselves. */
#pragma once

#include "platform/app_config.h"

typedef struct {
    const char *temp_base; /* folder to make the temporary one in; NULL: $TMPDIR or /tmp */
    bool direct;           /* mount, do not copy: only {source, destination} of folders */
    bool listed;           /* c->files is complete, with absolute paths (of the cache) */
    char temp[256];        /* the temporary folder; empty: none was needed */
} localfiles;

/* Fills out->mounts for c (and c->files, when copying). dir is the app's folder, absolute; manifest
 * is for messages; scratch is used during the call only. */
bool localfiles_make(arena *a, arena *scratch, localfiles *l, const char *dir, str manifest,
                     app_component *c, str_list *warnings, config_component *out, err *e);
/* Only fills c->files: which files, where. */
bool localfiles_expand(arena *a, arena *scratch, const char *dir, str manifest, app_component *c,
                       str_list *warnings, err *e);
/* Removes the temporary folder. */
void localfiles_remove(localfiles *l);
