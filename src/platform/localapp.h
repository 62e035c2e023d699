/* An application in a folder, made ready to serve: manifest read, files copied, variables resolved,
 * artifacts made. What `ebb up` does before it starts processes. */
#pragma once

#include "app/variables.h"
#include "platform/app_config.h"
#include "platform/localfiles.h"

#include <stdio.h>

/* Where an app is. */
typedef struct {
    str dir;       /* its folder, absolute */
    str manifest;  /* path of the spin.toml as the user wrote it; empty: a bare component */
    str wasm;      /* path of the bare component; empty: a manifest */
    str reference; /* of an app in a registry (ociapp.h); then the other two are empty, and dir is
                      this folder */
} localapp_place;

/* from: a spin.toml, a folder with one, or a .wasm; NULL: this folder. Where there is no such file
 * and it looks like one, a reference to a registry. */
bool localapp_find(arena *a, const char *from, localapp_place *ret, err *e);
/* Reads the manifest, or makes an app around the component. profile: NULL for none.
 * ERR_UNSUPPORTED: it is in a registry. */
bool localapp_read(arena *a, const localapp_place *at, const char *profile, app **ret, err *e);

struct localapp_options;
/* Both, or from a registry: of o, from, from_registry, profile, cache_dir, insecure and progress
 * count. Files of an app in a registry are in x->files already, with absolute paths. */
bool localapp_open(arena *a, const struct localapp_options *o, localapp_place *at, app **ret,
                   err *e);

/* ERR_UNSUPPORTED names what the manifest asks for and ebb does not do; triggers of other types
 * become warnings where there are http triggers as well. */
bool localapp_runs(arena *a, app *x, err *e);

/* What component c gets of its variables, and where it may connect: templates expanded with what
 * the providers say. ask_again: variables are left to be asked for, only their names are set. */
bool localapp_values(arena *a, const app *the_app, variable_providers providers, bool ask_again,
                     const app_component *c, config_component *out, err *e);

typedef struct localapp_options {
    const char *from;       /* as of localapp_find */
    bool from_registry;     /* it is a reference, whatever it looks like */
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
    const char *const *components; /* --component-id: only these are served; none: all */
    size_t components_count;
    bool insecure;        /* certificates of registries are not checked */
    const char *temp_dir; /* where copies of files are put; NULL: $TMPDIR or /tmp */
    bool direct_mounts;   /* folders of `files` are seen as they are, not copied */
    bool allow_transient_write;
    const char *log_dir; /* NULL: logs/ in the state folder; "": no files */
    bool truncate_logs;
    bool silent;               /* what guests print does not go to the terminal ... */
    const char *const *follow; /* ... or only that of these components */
    size_t follow_count;
    uint64_t memory_bytes_max; /* 0: as the manifest says */
    ns request_timeout_ns;     /* 0: as the manifest says */
    bool stub_imports;         /* of node_config.h: imports that ebb does not offer are no error */
    unsigned jobs;             /* artifacts made at a time */
    FILE *progress;            /* NULL: silent */
} localapp_options;

typedef struct {
    app *app;
    app_config config;
    str state_dir; /* absolute; empty: nothing is kept, or it cannot be made */
    localfiles files;
} localapp;

/* Makes sure that the artifact of every used component exists; sources that are not files are
 * fetched. ret_dirs is parallel to x->components. Of o, cache_dir, insecure, jobs and progress
 * count. */
bool localapp_artifacts(arena *a, const localapp_options *o, const localapp_place *at, app *x,
                        str *ret_dirs, err *e);
/* The file of each used component, fetched and put together with its dependencies if need be.
 * ret_paths is parallel to x->components. Of o, cache_dir, insecure and progress count. */
bool localapp_sources(arena *a, const localapp_options *o, const localapp_place *at, const app *x,
                      str *ret_paths, err *e);
/* Everything is in the arena but the temporary folder. Warnings are in app->warnings. */
bool localapp_load(arena *a, const localapp_options *o, localapp *ret, err *e);
/* Removes the temporary folder. */
void localapp_unload(localapp *l);
