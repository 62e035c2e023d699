/* The keeper's settings as JSON in an anonymous file, like the worker's (node_config.c): tokens of
 * intensity providers are among them. What travels is a table of fields, once for both ways. */
#include "platform/keeper.h"

#include "base/limits.h"
#include "platform/config_json.h"

#include <math.h>
#include <stddef.h>

typedef struct {
    const char *name;
    enum { TEXT, NUMBER, FLAG } kind; /* str; double, NaN is null; bool */
    size_t at;                        /* in the struct */
} field;

#define GRID(kind, name) {#name, kind, offsetof(grid_config, name)}
static const field grid_fields[] = {
    GRID(TEXT, zone),      GRID(TEXT, provider),  GRID(TEXT, file),
    GRID(TEXT, url),       GRID(TEXT, token),     GRID(TEXT, user),
    GRID(TEXT, password),  GRID(TEXT, powercap),  GRID(NUMBER, yearly_g_per_kwh),
    GRID(NUMBER, threads), GRID(NUMBER, idle_w),  GRID(NUMBER, max_w),
    GRID(NUMBER, pue),     GRID(NUMBER, cpus),    GRID(NUMBER, server_kg),
    GRID(FLAG, average),   GRID(FLAG, forecasts), GRID(NUMBER, life_years),
    GRID(NUMBER, slot_s),  GRID(NUMBER, day_s),   {NULL, TEXT, 0},
};

#define SERVE(name) {#name, TEXT, offsetof(keeper_serve, name)}
static const field serve_fields[] = {
    SERVE(scheme),      SERVE(url_port), SERVE(admin_address), SERVE(admin_host),
    SERVE(fingerprint), SERVE(quota),    SERVE(traces_url),    {NULL, TEXT, 0},
};

#define REMOTE(kind, name) {#name, kind, offsetof(grid_remote, name)}
static const field remote_fields[] = {
    REMOTE(TEXT, app),
    REMOTE(TEXT, name),
    REMOTE(TEXT, zone),
    REMOTE(TEXT, unit),
    REMOTE(NUMBER, j_per_unit),
    REMOTE(NUMBER, units_per_call),
    REMOTE(NUMBER, g_per_kwh),
    REMOTE(NUMBER, heat_reused_share),
    {NULL, TEXT, 0},
};

static json_t *fields_json(const field *f, const void *from)
{
    json_t *j = json_object();
    for (; f->name; f++) {
        const void *p = (const char *)from + f->at;
        double d = f->kind == NUMBER ? *(const double *)p : 0;
        json_object_set_new(j, f->name,
                            f->kind == TEXT   ? json_of(*(const str *)p)
                            : f->kind == FLAG ? json_boolean(*(const bool *)p)
                            : isnan(d)        ? json_null()
                                              : json_real(d));
    }
    return j;
}

static void fields_read(arena *a, const field *f, const json_t *j, void *ret)
{
    for (; f->name; f++) {
        const json_t *v = json_object_get(j, f->name);
        void *p = (char *)ret + f->at;
        if (f->kind == TEXT)
            *(str *)p = json_str(a, v);
        else if (f->kind == FLAG)
            *(bool *)p = json_is_true(v);
        else
            *(double *)p = json_is_number(v) ? json_number_value(v) : (double)NAN;
    }
}

bool keeper_config_write(const keeper_config *c, buf *out, err *e)
{
    _cleanup_json_ json_t *j = json_object();
    json_t *grid = fields_json(grid_fields, &c->grid), *remotes = json_array();
    for (size_t i = 0; i < c->grid.remotes_count; i++)
        json_array_append_new(remotes, fields_json(remote_fields, &c->grid.remotes[i]));
    json_object_set_new(grid, "remotes", remotes);
    json_t *serve = fields_json(serve_fields, &c->serve);
    json_object_set_new(serve, "jobs", json_integer(c->serve.jobs));
    json_object_set_new(serve, "revisions_kept", json_integer(c->serve.revisions_kept));
    json_object_set_new(serve, "queue_is_shared", json_boolean(c->serve.queue_is_shared));
    json_object_set_new(j, "serve", serve);
    json_object_set_new(j, "apps", json_of_strs(c->apps, c->apps_count));
    json_object_set_new(j, "grid", grid);
    json_object_set_new(j, "node", json_of(c->node));
    json_object_set_new(j, "usage_path", json_of(c->usage_path));
    json_object_set_new(j, "data_dir", json_of(c->data_dir));
    json_object_set_new(j, "domain", json_of(c->domain));
    json_object_set_new(j, "workers", json_integer(c->workers));
    json_object_set_new(j, "app", json_of(c->app));
    json_object_set_new(j, "log_json", json_boolean(c->log_format == LOG_JSON));
    return json_put(j, out, e);
}

bool keeper_config_read(arena *a, bytes text, keeper_config *ret, err *e)
{
    _cleanup_json_ json_t *j = json_get(text, "the keeper", e);
    if (!j)
        return false;
    keeper_config c = {0};
    const json_t *grid = json_object_get(j, "grid"), *remotes = json_object_get(grid, "remotes");
    c.apps = json_strs(a, json_object_get(j, "apps"), &c.apps_count);
    if (!c.apps)
        return err_no_memory(e);
    fields_read(a, grid_fields, grid, &c.grid);
    for (size_t i = 0; i < json_array_size(remotes) && i < GRID_REMOTES_MAX; i++) {
        fields_read(a, remote_fields, json_array_get(remotes, i), &c.grid.remotes[i]);
        c.grid.remotes_count = i + 1;
    }
    const json_t *serve = json_object_get(j, "serve");
    fields_read(a, serve_fields, serve, &c.serve);
    c.serve.jobs = (uint32_t)json_integer_value(json_object_get(serve, "jobs"));
    c.serve.revisions_kept = (uint32_t)json_integer_value(json_object_get(serve, "revisions_kept"));
    c.serve.queue_is_shared = json_is_true(json_object_get(serve, "queue_is_shared"));
    c.node = json_str(a, json_object_get(j, "node"));
    c.usage_path = json_str(a, json_object_get(j, "usage_path"));
    c.data_dir = json_str(a, json_object_get(j, "data_dir"));
    c.domain = json_str(a, json_object_get(j, "domain"));
    c.workers = (uint32_t)json_integer_value(json_object_get(j, "workers"));
    c.app = json_str(a, json_object_get(j, "app"));
    c.log_format = json_is_true(json_object_get(j, "log_json")) ? LOG_JSON : LOG_TEXT;
    *ret = c;
    return true;
}
