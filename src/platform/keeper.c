/* The keeper's settings as JSON in an anonymous file, like the worker's (config.c): tokens of
 * intensity providers are among them. */
#include "platform/keeper.h"

#include "base/limits.h"

#include <jansson.h>
#include <math.h>

#define _cleanup_json_ __attribute__((cleanup(json_free)))
static void json_free(json_t **j) { json_decref(*j); }

/* Every setting of grid_config that travels, once. */
#define TEXTS(X) X(zone) X(provider) X(file) X(url) X(token) X(user) X(password)
#define NUMBERS(X)                                                                                 \
    X(yearly_g_per_kwh) X(threads) X(idle_w) X(max_w) X(pue) X(server_kg) X(life_years) X(cpus)
#define FLAGS(X)          X(average) X(forecasts)
#define REMOTE_TEXTS(X)   X(app) X(name) X(zone) X(unit)
#define REMOTE_NUMBERS(X) X(units_per_call) X(j_per_unit) X(g_per_kwh) X(heat_reused_share)

static json_t *json_of(str s) { return json_stringn(s.n ? s.p : "", s.n); }
static int dump(const char *p, size_t n, void *out) { return buf_put(out, p, n) ? 0 : -1; }

static json_t *remotes_json(const grid_config *g)
{
    json_t *list = json_array();
    for (size_t i = 0; i < g->remotes_count; i++) {
        const grid_remote *b = &g->remotes[i];
        json_t *j = json_object();
#define TEXT(field)   json_object_set_new(j, #field, json_of(b->field));
#define NUMBER(field) json_object_set_new(j, #field, json_real(b->field));
        REMOTE_TEXTS(TEXT)
        REMOTE_NUMBERS(NUMBER)
#undef TEXT
#undef NUMBER
        json_array_append_new(list, j);
    }
    return list;
}

bool keeper_config_write(const keeper_config *c, buf *out, err *e)
{
    _cleanup_json_ json_t *j = json_object();
    json_t *apps = json_array(), *grid = json_object();
    if (!j || !apps || !grid)
        return err_no_memory(e);
    for (size_t i = 0; i < c->apps_count; i++)
        json_array_append_new(apps, json_of(c->apps[i]));
#define TEXT(name) json_object_set_new(grid, #name, json_of(c->grid.name));
#define NUMBER(name)                                                                               \
    json_object_set_new(grid, #name, isnan(c->grid.name) ? json_null() : json_real(c->grid.name));
#define FLAG(name) json_object_set_new(grid, #name, json_boolean(c->grid.name));
    TEXTS(TEXT)
    NUMBERS(NUMBER)
    FLAGS(FLAG)
#undef TEXT
#undef NUMBER
#undef FLAG
    json_object_set_new(grid, "remotes", remotes_json(&c->grid));
    json_object_set_new(j, "apps", apps);
    json_object_set_new(j, "grid", grid);
    json_object_set_new(j, "node", json_of(c->node));
    json_object_set_new(j, "usage_path", json_of(c->usage_path));
    json_object_set_new(j, "data_dir", json_of(c->data_dir));
    json_object_set_new(j, "domain", json_of(c->domain));
    json_object_set_new(j, "log_json", json_boolean(c->log_format == LOG_JSON));
    return json_dump_callback(j, dump, out, JSON_COMPACT) == 0 ? true : err_no_memory(e);
}

static str str_of(arena *a, const json_t *j)
{
    return arena_str(a, (str){json_string_value(j), json_string_length(j)});
}

static void remotes_read(arena *a, const json_t *list, grid_config *g)
{
    size_t n = json_array_size(list);
    g->remotes_count = n < GRID_REMOTES_MAX ? n : GRID_REMOTES_MAX;
    for (size_t i = 0; i < g->remotes_count; i++) {
        const json_t *j = json_array_get(list, i);
        grid_remote *b = &g->remotes[i];
#define TEXT(field)   b->field = str_of(a, json_object_get(j, #field));
#define NUMBER(field) b->field = json_number_value(json_object_get(j, #field));
        REMOTE_TEXTS(TEXT)
        REMOTE_NUMBERS(NUMBER)
#undef TEXT
#undef NUMBER
    }
}

bool keeper_config_read(arena *a, bytes text, keeper_config *ret, err *e)
{
    json_error_t je;
    _cleanup_json_ json_t *j = json_loadb((const char *)text.p, text.n, JSON_ALLOW_NUL, &je);
    if (!j)
        return err_set(e, ERR_INVALID, "settings of the keeper: %s", je.text);
    const json_t *apps = json_object_get(j, "apps"), *grid = json_object_get(j, "grid");
    size_t n = json_array_size(apps);
    str *names = ARENA_ARRAY(a, str, n + 1);
    if (!names)
        return err_no_memory(e);
    keeper_config c = {.apps = names, .apps_count = n};
    for (size_t i = 0; i < n; i++)
        names[i] = str_of(a, json_array_get(apps, i));
    const json_t *v;
#define TEXT(name) c.grid.name = str_of(a, json_object_get(grid, #name));
#define NUMBER(name)                                                                               \
    v = json_object_get(grid, #name);                                                              \
    c.grid.name = json_is_number(v) ? json_number_value(v) : (double)NAN;
#define FLAG(name) c.grid.name = json_is_true(json_object_get(grid, #name));
    TEXTS(TEXT)
    NUMBERS(NUMBER)
    FLAGS(FLAG)
    remotes_read(a, json_object_get(grid, "remotes"), &c.grid);
    c.node = str_of(a, json_object_get(j, "node"));
    c.usage_path = str_of(a, json_object_get(j, "usage_path"));
    c.data_dir = str_of(a, json_object_get(j, "data_dir"));
    c.domain = str_of(a, json_object_get(j, "domain"));
    c.log_format = json_is_true(json_object_get(j, "log_json")) ? LOG_JSON : LOG_TEXT;
    *ret = c;
    return true;
}
