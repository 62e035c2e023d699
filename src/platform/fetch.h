/* Component sources that are not files: by URL and digest, and from package registries. What is
 * fetched is kept by its SHA-256 in <cache>/sources/, and what a package's version was in
 * <cache>/packages/; both are asked before the network is.
 *
 * The network is touched by a short-lived process only (`ebb @fetch`), which may read what looking
 * up names and checking certificates takes and write to the one file it is given. */
#pragma once

#include "app/oci.h"

#include <stdio.h>

/* Makes sure that a URL or REGISTRY source is in the cache; *ret is the file's path and *ret_digest
 * its "sha256:<hex>". `label` (the component's id) is for messages; insecure: certificates are not
 * checked (--insecure). Progress goes to `progress` (may be NULL). */
bool fetch_source(arena *a, str cache_dir, str label, const app_source *s, bool insecure,
                  FILE *progress, str *ret, str *ret_digest, err *e);
/* The body behind a URL, at most bytes_max, not cached. */
bool fetch_text(arena *a, str url, size_t bytes_max, bool insecure, bytes *ret, err *e);

/* The manifest behind a reference, and its own digest; never from the cache. */
bool fetch_manifest(arena *a, const oci_reference *from, bool insecure, bytes *ret, str *ret_digest,
                    err *e);
/* A blob of that repository, as a file in the cache: fetched if it is not there. */
bool fetch_blob(arena *a, str cache_dir, const oci_reference *from, str digest, bool insecure,
                FILE *progress, str *ret_path, err *e);
/* Is content of that digest in the cache? */
bool fetch_kept(arena *a, str cache_dir, str digest, str *ret_path);
/* Keeps content there. */
bool fetch_keep(arena *a, str cache_dir, bytes content, str *ret_path, err *e);
