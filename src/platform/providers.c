/* See providers.h. Vault's answer is {"data": {"data": {"value": "..."}}}; 404 means that it does
 * not know the name. Its token is in no text that is made here. */
#include "platform/providers.h"

#include "base/buf.h"
#include "base/limits.h"
#include "platform/artifact.h"

#include <curl/curl.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

enum { DOTENV_BYTES_MAX = 1 << 20, ANSWER_BYTES_MAX = 1 << 20 };
#define VAULT_TIMEOUT_MS 10000L

/* --- environment and .env --------------------------------------------------------------------- */

/* "KEY=value", "export KEY='value'"; blank lines and those that begin with # mean nothing. */
static bool dotenv_read(arena *a, str text, app_pairs *ret, err *e)
{
    while (text.n) {
        str line = str_trim(str_cut(&text, '\n'));
        if (!line.n || line.p[0] == '#')
            continue;
        if (str_starts(line, S("export ")))
            line = str_trim(str_skip(line, 7));
        str value = line, key = str_trim(str_cut(&value, '='));
        value = str_trim(value);
        if (value.n >= 2 && (value.p[0] == '"' || value.p[0] == '\'') &&
            value.p[value.n - 1] == value.p[0])
            value = str_skip(str_head(value, value.n - 1), 1);
        key = arena_str(a, key);
        value = arena_str(a, value);
        if (!key.p || !value.p || (key.n && !app_pairs_add(a, ret, key, value)))
            return err_no_memory(e);
    }
    return true;
}

static bool dotenv_load(arena *a, str path, bool must_exist, app_pairs *ret, err *e)
{
    bytes text;
    char *z = arena_cstr(a, path);
    if (!z)
        return err_no_memory(e);
    if (!must_exist && access(z, R_OK) < 0)
        return true;
    return file_load(a, z, DOTENV_BYTES_MAX, &text, e) &&
           dotenv_read(a, (str){(const char *)text.p, text.n}, ret, e);
}

static str from_environment(void *file, const char *name)
{
    const char *value = getenv(name);
    const str *in_file = value ? NULL : app_pairs_get(file, str_from(name));
    return value ? str_from(value) : in_file ? *in_file : (str){0};
}

static bool environment_take(arena *a, const app *of, str prefix, const app_pairs *file,
                             provider *ret, err *e)
{
    variable_env env = {prefix, from_environment, (void *)(uintptr_t)file};
    variable_provider p = variable_provider_env(&env);
    *ret = (provider){0};
    for (size_t i = 0; i < of->variables_count; i++) {
        str value;
        if (!p.get(p.ctx, a, of->variables[i].name, &value, e))
            return false;
        if (value.p && !app_pairs_add(a, &ret->values, of->variables[i].name, value))
            return err_no_memory(e);
    }
    return true;
}

/* --- the list --------------------------------------------------------------------------------- */

static bool configured_take(arena *a, const app *of, const config_provider *c, provider *ret,
                            err *e)
{
    app_pairs file = {0};
    switch (c->kind) {
    case PROVIDER_ENV:
        return (!c->dotenv_path.n || dotenv_load(a, c->dotenv_path, true, &file, e)) &&
               environment_take(a, of, c->prefix, &file, ret, e);
    case PROVIDER_STATIC:
        *ret = (provider){.values = c->values};
        return true;
    case PROVIDER_VAULT:
        *ret = (provider){.is_vault = true,
                          .url = c->url,
                          .token = c->token,
                          .mount = c->mount,
                          .prefix = c->prefix};
        return true;
    case PROVIDER_AZURE:
        break;
    }
    return err_set(e, ERR_UNSUPPORTED,
                   "[[variables_provider]] of type \"azure_key_vault\": ebb has env, static and "
                   "vault");
}

bool providers_make(arena *a, const app *of, const app_pairs *given, const runtime_config *c,
                    provider_list *ret, err *e)
{
    app_pairs file = {0};
    size_t n = 0;
    provider *at = ARENA_ARRAY(a, provider, c->providers_count + 2);
    if (!at)
        return err_no_memory(e);
    ret->ask_again = false;
    at[n++] = (provider){.values = *given};
    for (size_t i = 0; i < c->providers_count; i++) {
        if (!configured_take(a, of, &c->providers[i], &at[n], e))
            return false;
        ret->ask_again = ret->ask_again || at[n].is_vault;
        n++;
    }
    if (!dotenv_load(a, S(".env"), false, &file, e) ||
        !environment_take(a, of, S("SPIN_VARIABLE"), &file, &at[n], e))
        return false;
    ret->at = at;
    ret->n = n + 1;
    return true;
}

/* --- Vault ------------------------------------------------------------------------------------ */

static size_t on_data(char *p, size_t size, size_t n, void *user)
{
    return buf_put(user, p, size * n) ? n : 0;
}

static bool value_take(arena *a, const buf *answer, str *ret, err *e)
{
    json_error_t je;
    json_t *root = json_loadb((const char *)answer->p, answer->n, 0, &je);
    const json_t *data = json_object_get(json_object_get(root, "data"), "data"),
                 *value = json_object_get(data, "value");
    bool ok = json_is_string(value) ||
              err_set(e, ERR_INVALID, "Vault's answer has no text in its field 'value'");
    if (ok) {
        *ret = arena_str(a, (str){json_string_value(value), json_string_length(value)});
        ok = ret->p || err_no_memory(e);
    }
    json_decref(root);
    return ok;
}

static bool vault_perform(arena *a, CURL *h, struct curl_slist *headers, str url, str *ret, err *e)
{
    long status = 0;
    _cleanup_(buf_fini) buf answer;
    buf_init(&answer, ANSWER_BYTES_MAX);
    curl_easy_setopt(h, CURLOPT_URL, url.p);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h, CURLOPT_PROXY, "");
    curl_easy_setopt(h, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, VAULT_TIMEOUT_MS);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, &answer);
    CURLcode r = curl_easy_perform(h);
    curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
    if (r != CURLE_OK)
        return err_set(e, ERR_IO, "Vault cannot be asked: %s", curl_easy_strerror(r));
    if (status == 404)
        return true;
    if (status != 200)
        return err_set(e, ERR_IO, "Vault answered with status %ld", status);
    return value_take(a, &answer, ret, e);
}

static bool vault_get(void *ctx, arena *a, str name, str *ret_value, err *e)
{
    const provider *p = ctx;
    str url = p->url;
    while (url.n && url.p[url.n - 1] == '/')
        url.n--;
    *ret_value = (str){0};
    str full = arena_printf(a, "%.*s/v1/%.*s/data/%.*s%s%.*s", STR(url), STR(p->mount),
                            STR(p->prefix), p->prefix.n ? "/" : "", STR(name));
    str token = arena_printf(a, "X-Vault-Token: %.*s", STR(p->token));
    if (!full.p || !token.p)
        return err_no_memory(e);
    CURL *h = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, token.p);
    bool ok = h && headers ? vault_perform(a, h, headers, full, ret_value, e) : err_no_memory(e);
    curl_slist_free_all(headers);
    curl_easy_cleanup(h);
    return ok;
}

bool providers_open(arena *a, const provider_list *list, variable_providers *ret, err *e)
{
    variable_provider *at = ARENA_ARRAY(a, variable_provider, list->n + 1);
    if (!at)
        return err_no_memory(e);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    for (size_t i = 0; i < list->n; i++)
        at[i] = list->at[i].is_vault
                    ? (variable_provider){vault_get, (void *)(uintptr_t)&list->at[i]}
                    : variable_provider_static(&list->at[i].values);
    *ret = (variable_providers){at, list->n};
    return true;
}
