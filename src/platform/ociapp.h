/* Apps from registries (spin.md 4.4): what `spin registry push` made of one, fetched into the cache
 * and read. Every part is kept by its SHA-256 (fetch.h), so that a second start only asks what the
 * tag stands for. */
#pragma once

#include "app/app.h"

#include <stdio.h>

/* The app behind a reference: sources and files are absolute paths in the cache. An artifact that
 * is a component alone becomes an app with the route "/...". */
bool ociapp_load(arena *a, str cache_dir, str reference, bool insecure, FILE *progress, app **ret,
                 err *e);
