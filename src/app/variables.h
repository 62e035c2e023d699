/* Variables: what `variables.get` gives a component.
 * A component sees only the names in its own [component.x.variables]; each is a template over the
 * app's variables; each of those is asked of the providers in order, then its default is taken.
 * Nothing is cached here: values may change between two calls. */
#pragma once

#include "app/app.h"

/* Asks a source of values. True with ret_value->p == NULL: this provider does not know the name.
 * False: the provider failed (that ends the resolution). The value is allocated in a. */
typedef struct {
    bool (*get)(void *ctx, arena *a, str name, str *ret_value, err *e);
    void *ctx;
} variable_provider;

typedef struct {
    const variable_provider *at;
    size_t n;
} variable_providers;

typedef enum {
    VARIABLE_OK,
    VARIABLE_INVALID_NAME, /* not an identifier at all */
    VARIABLE_UNDEFINED,    /* not in this component, or no provider and no default has it */
    VARIABLE_PROVIDER,     /* a provider failed */
    VARIABLE_OTHER,        /* out of memory, a limit */
} variable_status;

/* The value of an app variable, in a. */
variable_status variable_app_get(const app *of, variable_providers providers, str name, arena *a,
                                 str *ret_value, err *e);
/* What the guest's `get` gives: the expanded template of that component variable. */
variable_status variable_get(const app *of, const app_component *c, variable_providers providers,
                             str name, arena *a, str *ret_value, err *e);
/* Expands any template over the app's variables (allowed_outbound_hosts, redis addresses). */
variable_status variable_expand(const app *of, variable_providers providers, str text, arena *a,
                                str *ret_value, err *e);
/* allowed_outbound_hosts with the values of now, appended to *ret: what became "", "http://" or
 * "https://" is left out, so that a host can be optional. */
bool outbound_expand(const app *of, const app_component *c, variable_providers providers, arena *a,
                     str_list *ret, err *e);
bool outbound_has_variables(const app_component *c);
/* True if every required variable that a used component needs has a value; the error names all
 * that are missing and how to give them. */
bool variables_check(const app *of, variable_providers providers, arena *scratch, err *e);
/* The rule for names that a guest asks for. */
bool variable_name_is_valid(str name);

/* Values given on the command line. read_file gives the content of a file named after '@'. */
typedef bool variable_read_file(void *ctx, arena *a, str path, str *ret, err *e);
/* One --variable argument: "name=value", "name=@file", "@file.json" or "@file.toml" (a flat
 * object of strings, numbers and booleans). Later arguments replace earlier ones. */
bool variable_arg_parse(arena *a, str arg, variable_read_file *read_file, void *ctx,
                        app_pairs *values, err *e);
/* A provider over such values (they are borrowed). */
variable_provider variable_provider_static(const app_pairs *values);

/* A provider over environment variables: asks get_env for prefix + "_" + upper-case name
 * ("SPIN_VARIABLE_API_KEY"). get_env returns a borrowed value, or p == NULL. */
typedef struct {
    str prefix;
    str (*get_env)(void *ctx, const char *name);
    void *ctx;
} variable_env;
variable_provider variable_provider_env(variable_env *env);
