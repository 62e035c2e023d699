/* An application in a folder, made ready to serve: manifest read, files copied, variables resolved,
 * artifacts made. What `ebb up` does before it starts processes. */
#pragma once

#include "app/variables.h"
#include "platform/config.h"

#include <stdio.h>

typedef struct {
    const char *from;       /* spin.toml, a folder with one, or a .wasm; NULL: this folder */
    const char *profile;    /* NULL: none */
    const char *cache_dir;  /* NULL: the default */
    const char *const *env; /* "K=V" for every component */
    size_t env_count;
    const char *const *variables; /* --variable arguments */
    size_t variables_count;
    const char *runtime_config_file; /* NULL: none */
    const char *const *key_values;   /* --key-value arguments */
    size_t key_values_count;
    const char *const *statements; /* --sqlite arguments */
    size_t statements_count;
    const char *state_dir; /* NULL: .spin beside the manifest; "": keep nothing, in memory */
    bool allow_transient_write;
    uint64_t memory_bytes_max; /* 0: as the manifest says */
    unsigned jobs;             /* artifacts made at a time */
    FILE *progress;            /* NULL: silent */
} localapp_options;

typedef struct {
    app *app;
    worker_config config;
    char temp[256]; /* folder of the copied files; empty: none */
} localapp;

/* Everything is in the arena but the temporary folder. Warnings are in app->warnings. */
bool localapp_load(arena *a, const localapp_options *o, localapp *ret, err *e);
/* Removes the temporary folder. */
void localapp_unload(localapp *l);
