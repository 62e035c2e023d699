/* Who gives the values of an app's variables (spin.md 2): the command line, then the providers of
 * the runtime configuration in their order, then the environment and the file .env.
 *
 * What cannot change while the app runs is read once, at start: then a provider is a list of
 * values. Vault is asked each time. */
#pragma once

#include "app/runtime_config.h"

typedef struct {
    bool is_vault;
    app_pairs values;              /* of the app's variables */
    str url, token, mount, prefix; /* Vault, KV version 2 */
} provider;

typedef struct {
    const provider *at;
    size_t n;
    bool ask_again; /* one of them is Vault: values may change */
} provider_list;

/* Reads environment and files. ERR_UNSUPPORTED for a kind that ebb does not have. */
bool providers_make(arena *a, const app *of, const app_pairs *given, const runtime_config *c,
                    provider_list *ret, err *e);
/* The same for variables.h; borrows the list. Vault blocks, 10 s at most a value; any thread. */
bool providers_open(arena *a, const provider_list *list, variable_providers *ret, err *e);
