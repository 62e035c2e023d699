/* OCI artifacts as Spin makes them of apps (spin.md 4.4): references, manifests, media types. Pure.
 *
 *     manifest ── config: an image configuration; of old pushes the locked app itself
 *              └─ layers: the locked app, one per component and dependency, one per file, or
 *                         archives of files
 *
 * The locked app names its parts by digest ("sha256:..."); files of at most OCI_INLINE_BYTES_MAX
 * bytes are in it (app_file.content). */
#pragma once

#include "app/app.h"

#define OCI_MEDIA_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define OCI_MEDIA_CONFIG   "application/vnd.oci.image.config.v1+json"
#define OCI_MEDIA_LOCKED   "application/vnd.fermyon.spin.application.v1+config"
#define OCI_MEDIA_WASM     "application/vnd.wasm.content.layer.v1+wasm"
#define OCI_MEDIA_PACKAGE  "application/wasm" /* what package tools push */
#define OCI_MEDIA_DATA     "application/vnd.wasm.content.layer.v1+data"
#define OCI_MEDIA_ARCHIVE  "application/vnd.wasm.content.bundle.v1.tar+gzip"

enum { OCI_INLINE_BYTES_MAX = 128, OCI_LAYERS_MAX = 10000, OCI_MANIFEST_BYTES_MAX = 4 << 20 };

/* [registry[:port]/]name[:tag][@sha256:...]; slices of the text, but for what is implied. */
typedef struct {
    str registry;   /* "docker.io" where none is written */
    str repository; /* "library/x" for a bare name of docker.io */
    str tag;    /* "latest" where neither tag nor digest is written; empty with a digest alone */
    str digest; /* empty: none */
    bool has_registry, has_tag;
} oci_reference;

bool oci_reference_parse(arena *a, str text, oci_reference *ret, err *e);
/* Is a text that is no file's name meant as a reference? Spin's guess: it has a tag or a digest, or
 * names a registry. */
bool oci_reference_likely(str text);
/* "sha256:" and 64 lower-case hexadecimal digits. */
bool oci_digest_valid(str s);

typedef struct {
    str media_type, digest;
    uint64_t bytes;
} oci_descriptor;

typedef struct {
    oci_descriptor config;
    oci_descriptor *layers;
    size_t layers_count;
    app_pairs annotations;
} oci_manifest;

/* What is read may be used in paths and URLs: digests are valid. ERR_UNSUPPORTED: an image index.
 */
bool oci_manifest_read(arena *a, bytes json, oci_manifest *ret, err *e);
bool oci_manifest_write(const oci_manifest *m, buf *out, err *e);
/* Where the locked app is; NULL: the artifact is no app. */
const oci_descriptor *oci_manifest_app(const oci_manifest *m);
/* The one layer of an artifact that is a component; NULL: it is none. */
const oci_descriptor *oci_manifest_component(const oci_manifest *m);
