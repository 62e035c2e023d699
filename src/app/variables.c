/* Resolution of variables: component template -> app variables -> providers -> default.
 *
 * A name in a component's template is always an app variable, never another component variable,
 * so there is no recursion. The status says which error the guest's interface reports; *e says it
 * to people. */
#include "app/variables.h"

#include "app/manifest.h"
#include "app/template.h"
#include "app/toml_json.h"
#include "base/limits.h"

#include <jansson.h>

bool variable_name_is_valid(str s)
{
    if (!s.n || s.p[0] < 'a' || s.p[0] > 'z' || s.p[s.n - 1] == '_')
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_')
            return false;
        if (c == '_' && s.p[i + 1] == '_')
            return false;
    }
    return true;
}

static variable_status from_providers(variable_providers providers, str name, arena *a, str *ret,
                                      err *e)
{
    *ret = (str){0};
    for (size_t i = 0; i < providers.n; i++) {
        if (!providers.at[i].get(providers.at[i].ctx, a, name, ret, e)) {
            err_wrap(e, "variable '%.*s'", STR(name));
            return VARIABLE_PROVIDER;
        }
        if (ret->p)
            return VARIABLE_OK;
    }
    return VARIABLE_UNDEFINED;
}

variable_status variable_app_get(const app *of, variable_providers providers, str name, arena *a,
                                 str *ret_value, err *e)
{
    str value;
    if (!variable_name_is_valid(name)) {
        err_set(e, ERR_INVALID, "'%.*s' is not a variable name", STR(name));
        return VARIABLE_INVALID_NAME;
    }
    const app_variable *v = app_variable_by_name(of, name);
    if (!v) {
        err_set(e, ERR_NOT_FOUND, "the app has no variable '%.*s'", STR(name));
        return VARIABLE_UNDEFINED;
    }
    variable_status st = from_providers(providers, name, a, &value, e);
    if (st == VARIABLE_UNDEFINED && v->has_default) {
        value = v->value;
        st = VARIABLE_OK;
    }
    if (st == VARIABLE_UNDEFINED)
        err_set(e, ERR_NOT_FOUND, "no provider has a value for '%.*s' and it has no default",
                STR(name));
    if (st == VARIABLE_OK)
        *ret_value = value;
    return st;
}

typedef struct {
    const app *of;
    variable_providers providers;
    arena *a;
    variable_status status;
} expansion;

static bool expansion_lookup(void *ctx, str name, str *ret_value, err *e)
{
    expansion *x = ctx;
    x->status = variable_app_get(x->of, x->providers, name, x->a, ret_value, e);
    return x->status == VARIABLE_OK;
}

variable_status variable_expand(const app *of, variable_providers providers, str text, arena *a,
                                str *ret_value, err *e)
{
    template t;
    expansion x = {of, providers, a, VARIABLE_OTHER};
    if (!template_parse(a, text, &t, e))
        return VARIABLE_OTHER;
    if (t.is_literal) {
        *ret_value = text;
        return VARIABLE_OK;
    }
    buf out;
    buf_init(&out, VARIABLE_VALUE_BYTES_MAX);
    bool ok = template_expand(&t, expansion_lookup, &x, &out, e);
    str value = ok ? arena_str(a, buf_str(&out)) : (str){0};
    buf_fini(&out);
    if (!ok)
        return x.status == VARIABLE_OK ? VARIABLE_OTHER : x.status;
    if (!value.p) {
        err_no_memory(e);
        return VARIABLE_OTHER;
    }
    *ret_value = value;
    return VARIABLE_OK;
}

variable_status variable_get(const app *of, const app_component *c, variable_providers providers,
                             str name, arena *a, str *ret_value, err *e)
{
    if (!variable_name_is_valid(name)) {
        err_set(e, ERR_INVALID, "'%.*s' is not a variable name", STR(name));
        return VARIABLE_INVALID_NAME;
    }
    const str *text = app_pairs_get(&c->variables, name);
    if (!text) {
        err_set(e, ERR_NOT_FOUND,
                "no variable '%.*s' for component '%.*s'; add it to "
                "[component.%.*s.variables]",
                STR(name), STR(c->id), STR(c->id));
        return VARIABLE_UNDEFINED;
    }
    return variable_expand(of, providers, *text, a, ret_value, e);
}

bool outbound_expand(const app *of, const app_component *c, variable_providers providers, arena *a,
                     str_list *ret, err *e)
{
    for (size_t i = 0; i < c->allowed_outbound_hosts.n; i++) {
        str host;
        if (variable_expand(of, providers, c->allowed_outbound_hosts.at[i], a, &host, e) !=
            VARIABLE_OK)
            return false;
        bool nothing = !host.n || str_eq(host, S("http://")) || str_eq(host, S("https://"));
        if (!nothing && !str_list_add(a, ret, host))
            return err_no_memory(e);
    }
    return true;
}

bool outbound_has_variables(const app_component *c)
{
    for (size_t i = 0; i < c->allowed_outbound_hosts.n; i++)
        if (memmem(c->allowed_outbound_hosts.at[i].p, c->allowed_outbound_hosts.at[i].n, "{{", 2))
            return true;
    return false;
}

bool variables_check(const app *of, variable_providers providers, arena *scratch, err *e)
{
    str missing = {0};
    size_t count = 0;
    for (size_t i = 0; i < of->variables_count; i++) {
        const app_variable *v = &of->variables[i];
        str value;
        if (!v->required)
            continue;
        variable_status st = from_providers(providers, v->name, scratch, &value, e);
        if (st == VARIABLE_PROVIDER)
            return false;
        if (st == VARIABLE_OK)
            continue;
        missing =
            count++ ? arena_printf(scratch, "%.*s, %.*s", STR(missing), STR(v->name)) : v->name;
        if (!missing.p)
            return err_no_memory(e);
    }
    if (!count)
        return true;
    str first = str_head(missing, str_find(missing, ','));
    return err_set(e, ERR_NOT_FOUND,
                   "no value for the required variable%s %.*s; give %s with "
                   "--variable %.*s=VALUE or SPIN_VARIABLE_... in the environment",
                   count > 1 ? "s" : "", STR(missing), count > 1 ? "each" : "it", STR(first));
}

/* ---- command line ---- */

static bool values_set(arena *a, app_pairs *values, str name, str value, err *e)
{
    if (!variable_name_is_valid(name))
        return err_set(e, ERR_INVALID,
                       "'%.*s' is not a variable name (lower-case letters, digits "
                       "and '_')",
                       STR(name));
    for (size_t i = 0; i < values->n; i++)
        if (str_eq(values->at[i].key, name)) {
            values->at[i].value = value;
            return true;
        }
    return app_pairs_add(a, values, name, value) || err_no_memory(e);
}

static bool values_from_json(arena *a, str path, str text, app_pairs *values, err *e)
{
    json_error_t je;
    json_t *root = json_loadb(text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES, &je);
    if (!root)
        return err_set(e, ERR_INVALID, "%.*s:%d:%d: %s", STR(path), je.line, je.column, je.text);
    bool ok = json_is_object(root) ||
              err_set(e, ERR_INVALID, "%.*s: expected an object of variables", STR(path));
    const char *key;
    json_t *v;
    if (ok)
        json_object_foreach(root, key, v)
        {
            char *dump = json_is_string(v) ? NULL : json_dumps(v, JSON_ENCODE_ANY);
            str value = dump ? str_from(dump) : (str){json_string_value(v), json_string_length(v)};
            bool scalar = json_is_string(v) || json_is_number(v) || json_is_boolean(v);
            str name = arena_str(a, str_from(key)), own = value.p ? arena_str(a, value) : value;
            free(dump);
            if (!scalar)
                ok = err_set(e, ERR_INVALID, "%.*s: '%s' must be a string, a number or a boolean",
                             STR(path), key);
            else if (!name.p || !own.p)
                ok = err_no_memory(e);
            else
                ok = values_set(a, values, name, own, e);
            if (!ok)
                break;
        }
    json_decref(root);
    return ok;
}

static bool values_from_toml(arena *a, str path, str text, app_pairs *values, err *e)
{
    toml_table *root;
    buf out;
    if (!toml_parse(a, path, text, &root, e))
        return false;
    buf_init(&out, VARIABLE_VALUE_BYTES_MAX);
    bool ok = true;
    for (const toml_entry *x = root->first; ok && x; x = x->next) {
        str value = x->value.string;
        if (x->value.kind == TOML_ARRAY || x->value.kind == TOML_TABLE)
            ok = err_set(e, ERR_INVALID,
                         "%.*s:%u:%u: '%.*s' must be a string, a number or a "
                         "boolean",
                         STR(path), x->pos.line, x->pos.column, STR(x->key));
        if (ok && x->value.kind != TOML_STRING) {
            buf_clear(&out);
            ok = toml_to_json(&x->value, &out, e);
            value = ok ? arena_str(a, buf_str(&out)) : (str){0};
            if (ok && !value.p)
                ok = err_no_memory(e);
        }
        ok = ok && values_set(a, values, x->key, value, e);
    }
    buf_fini(&out);
    return ok;
}

bool variable_arg_parse(arena *a, str arg, variable_read_file *read_file, void *ctx,
                        app_pairs *values, err *e)
{
    str text;
    if (str_starts(arg, S("@"))) {
        str path = str_skip(arg, 1);
        bool is_json = str_ends(path, S(".json"));
        if (!is_json && !str_ends(path, S(".toml")))
            return err_set(e, ERR_INVALID,
                           "--variable %.*s: the file must end in .json or .toml; "
                           "for one value from a file write name=%.*s",
                           STR(arg), STR(arg));
        return read_file(ctx, a, path, &text, e) &&
               (is_json ? values_from_json : values_from_toml)(a, path, text, values, e);
    }
    size_t eq = str_find(arg, '=');
    if (eq == arg.n)
        return err_set(e, ERR_INVALID,
                       "--variable %.*s: expected name=value, name=@file or "
                       "@file.json",
                       STR(arg));
    str name = arena_str(a, str_head(arg, eq)), value = str_skip(arg, eq + 1);
    if (str_starts(value, S("@"))) {
        if (!read_file(ctx, a, str_skip(value, 1), &text, e))
            return false;
        value = text;
    }
    value = arena_str(a, value);
    if (!name.p || !value.p)
        return err_no_memory(e);
    return values_set(a, values, name, value, e) || err_wrap(e, "--variable");
}

/* ---- providers ---- */

static bool static_get(void *ctx, arena *a, str name, str *ret_value, err *e)
{
    const str *v = app_pairs_get(ctx, name);
    *ret_value = !v ? (str){0} : v->p ? *v : S("");
    return true;
}

variable_provider variable_provider_static(const app_pairs *values)
{
    return (variable_provider){static_get, (void *)(uintptr_t)values};
}

static bool env_get(void *ctx, arena *a, str name, str *ret_value, err *e)
{
    variable_env *env = ctx;
    str key = arena_printf(a, "%.*s_%.*s", STR(env->prefix), STR(name));
    if (!key.p)
        return err_no_memory(e);
    char *z = arena_cstr(a, key);
    if (!z)
        return err_no_memory(e);
    for (size_t i = env->prefix.n; i < key.n; i++)
        if (z[i] >= 'a' && z[i] <= 'z')
            z[i] = (char)(z[i] - 32);
    *ret_value = env->get_env(env->ctx, z);
    return true;
}

variable_provider variable_provider_env(variable_env *env)
{
    return (variable_provider){env_get, env};
}
