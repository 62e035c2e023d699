/* Artifacts: what is made of a component once, by processes that are trusted with little, and
 * then mapped by any number of workers.
 *
 *   app.wasm --[decode process]--> plan + core modules --[compile process]--> plan + n.cwasm
 *
 * They live in <cache>/artifacts/<sha-256 of the component>-<fingerprint of the engine>-<version of
 * the plan>/, a folder that is written beside its place, fsynced and renamed, so that it is there
 * whole or not at all.
 * The decode process sees the upload and may only write frames; the compile process sees only a
 * core module, which the engine validates, and never the upload. */
#pragma once

#include "base/arena.h"
#include "base/clock.h"
#include "base/str.h"
#include "component/plan.h"

#include <stdio.h>

enum { ARTIFACT_PATH_MAX = 4096 };

/* The cache folder: `override` if it is not NULL, else $XDG_CACHE_HOME/ebb, $HOME/.cache/ebb.
 * Made if it is missing (0700). */
bool artifact_cache_dir(arena *a, const char *override, str *ret, err *e);

typedef struct {
    str label;  /* for messages: the component's id; empty: they name none */
    str source; /* path of the .wasm file */
    /* Is it to be made, by what it imports and exports? It is not in the cache if not. NULL: yes.
     */
    bool (*accepts)(arena *a, const plan *p, err *e);
    /* results */
    str dir;    /* the artifact's folder */
    str digest; /* 64 hexadecimal digits */
    uint64_t source_bytes;
    bool made; /* false: it was in the cache */
    ns decode_ns, compile_ns;
} artifact;

/* Makes sure that every artifact exists; the same digest is made once. Up to `jobs` are made at a
 * time. Progress goes to `progress` (may be NULL) where it takes longer than a moment. The first
 * error ends it; what was finished stays in the cache. */
bool artifact_ensure_all(arena *a, str cache_dir, str fingerprint, artifact *items, size_t count,
                         unsigned jobs, FILE *progress, err *e);

/* "<dir>/plan" decoded and checked. */
bool artifact_plan(arena *a, str dir, plan *ret, err *e);
/* How long it took to make. */
bool artifact_times(str dir, ns *ret_decode, ns *ret_compile, err *e);
/* "<dir>/<unit>.cwasm", NUL-terminated. */
str artifact_module_path(arena *a, str dir, uint32_t unit);

/* Frames between decode, supervisor and compile: see artifact.c. */
bool frames_write(int fd, const plan *p, const buf *modules, err *e);

/* SHA-256 (FIPS 180-4) as 64 small digits and a NUL. */
bool sha256_hex(bytes b, char ret[65], err *e);
/* Reads a whole file; ERR_LIMIT beyond max bytes. */
bool file_load(arena *a, const char *path, size_t bytes_max, bytes *ret, err *e);
