/* What an application stores and where: its key-value stores and SQL databases, from the runtime
 * configuration file, the options of `ebb up`, and Spin's defaults (spin.md 2). */
#pragma once

#include "app/runtime_config.h"
#include "platform/app_config.h"

#include <stdio.h>

typedef struct {
    str app_dir;           /* absolute */
    const char *state_dir; /* --state-dir; NULL: as configured, or .spin in app_dir;
                              "": in memory */
    const runtime_config *config;
    str config_dir;                /* of the configuration file; its paths start there */
    const char *const *key_values; /* --key-value: "k=v" for the store `default` */
    size_t key_values_count;
    const char *const *statements; /* --sqlite: "statement" or "@file[:label]" */
    size_t statements_count;
    bool keeps;     /* the state folder is wanted even where no store needs it */
    FILE *progress; /* NULL: silent */
} state_options;

/* Sets stores and databases of *c: those that used components ask for. Folders and, where --sqlite
 * or --key-value ask for it, files are made. A label that nothing provides is an error. *ret_dir
 * is the state folder, made; empty where nothing is kept, or where it can't be made and no store
 * needs it. */
bool state_make(arena *a, const state_options *o, const app *of, app_config *c, str *ret_dir,
                err *e);
