/* See config_json.h. Lists are arrays, and so is each pair: keys and values of an app may hold any
 * bytes that are UTF-8, NUL included. */
#include "platform/config_json.h"

json_t *json_of_strs(const str *at, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_of(at[i]));
    return list;
}

json_t *json_of_pairs(const app_pairs *pairs)
{
    json_t *list = json_array();
    for (size_t i = 0; i < pairs->n; i++) {
        json_t *pair = json_array();
        json_array_append_new(pair, json_of(pairs->at[i].key));
        json_array_append_new(pair, json_of(pairs->at[i].value));
        json_array_append_new(list, pair);
    }
    return list;
}

json_t *json_get(bytes text, const char *what, err *e)
{
    json_error_t je;
    json_t *j = json_loadb((const char *)text.p, text.n, JSON_ALLOW_NUL, &je);
    if (!j)
        err_set(e, ERR_INTERNAL, "settings of %s: %s", what, je.text);
    return j;
}

str json_str(arena *a, const json_t *j)
{
    return arena_str(a, (str){json_string_value(j), json_string_length(j)});
}

const str *json_strs(arena *a, const json_t *list, size_t *ret_count)
{
    size_t n = json_array_size(list);
    str *at = ARENA_ARRAY(a, str, n);
    for (size_t i = 0; at && i < n; i++)
        if (!(at[i] = json_str(a, json_array_get(list, i))).p)
            return NULL;
    *ret_count = n;
    return at;
}

bool json_pairs(arena *a, const json_t *list, app_pairs *ret)
{
    size_t n = json_array_size(list);
    *ret = (app_pairs){ARENA_ARRAY(a, app_pair, n), n};
    for (size_t i = 0; ret->at && i < n; i++) {
        const json_t *pair = json_array_get(list, i);
        ret->at[i].key = json_str(a, json_array_get(pair, 0));
        ret->at[i].value = json_str(a, json_array_get(pair, 1));
        if (!ret->at[i].key.p || !ret->at[i].value.p)
            return false;
    }
    return ret->at != NULL;
}
