/* JSON to app: what locked_write.c wrote, and what Spin writes.
 *
 * jansson parses; this file moves the values into the arena. A wrong type is an error that names
 * the member; an unknown member is ignored, because newer writers add some, except where the
 * format says that it must be understood. */
#include "app/hook.h"
#include "app/locked.h"
#include "app/names.h"
#include "app/zone.h"
#include "base/base64.h"
#include "base/hex.h"
#include "base/limits.h"

#include <jansson.h>
#include <stdlib.h>

typedef struct {
    arena *a;
    names component_ids;
    app *out;
    err *e;
} reader;

static bool fail(reader *r, const char *what)
{
    return err_set(r->e, ERR_INVALID, "locked app: %s", what);
}

static bool copy(reader *r, const char *p, size_t n, str *ret)
{
    *ret = arena_str(r->a, (str){p, n});
    return ret->p || err_no_memory(r->e);
}

static bool to_str(reader *r, const json_t *v, const char *name, str *ret)
{
    if (!json_is_string(v))
        return err_set(r->e, ERR_INVALID, "locked app: '%s' must be a string", name);
    return copy(r, json_string_value(v), json_string_length(v), ret);
}

/* NULL if it is absent; null is the same. */
static json_t *member(const json_t *o, const char *name)
{
    json_t *v = json_object_get(o, name);
    return json_is_null(v) ? NULL : v;
}

/* Absent leaves *ret alone. */
static bool get_str(reader *r, const json_t *o, const char *name, str *ret)
{
    const json_t *v = member(o, name);
    return !v || to_str(r, v, name, ret);
}

static bool get_u64(reader *r, const json_t *o, const char *name, uint64_t *ret)
{
    const json_t *v = member(o, name);
    if (!v)
        return true;
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return err_set(r->e, ERR_INVALID, "locked app: '%s' must be a number", name);
    *ret = (uint64_t)json_integer_value(v);
    return true;
}

static bool get_bool(reader *r, const json_t *o, const char *name, bool *ret)
{
    const json_t *v = member(o, name);
    if (v && !json_is_boolean(v))
        return err_set(r->e, ERR_INVALID, "locked app: '%s' must be a boolean", name);
    if (v)
        *ret = json_is_true(v);
    return true;
}

/* NULL if absent; its type is checked. */
static bool get_object(reader *r, const json_t *o, const char *name, json_t **ret)
{
    *ret = member(o, name);
    return !*ret || json_is_object(*ret) ||
           err_set(r->e, ERR_INVALID, "locked app: '%s' must be an object", name);
}

static bool get_array(reader *r, const json_t *o, const char *name, json_t **ret)
{
    *ret = member(o, name);
    return !*ret || json_is_array(*ret) ||
           err_set(r->e, ERR_INVALID, "locked app: '%s' must be an array", name);
}

static bool get_strings(reader *r, const json_t *o, const char *name, str_list *ret)
{
    json_t *list;
    if (!get_array(r, o, name, &list))
        return false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        str s;
        if (!to_str(r, json_array_get(list, i), name, &s))
            return false;
        if (!str_list_add(r->a, ret, s))
            return err_no_memory(r->e);
    }
    return true;
}

static bool get_pairs(reader *r, const json_t *o, const char *name, app_pairs *ret)
{
    json_t *object, *v;
    const char *key;
    if (!get_object(r, o, name, &object))
        return false;
    json_object_foreach(object, key, v)
    {
        str k, value;
        if (!copy(r, key, strlen(key), &k) || !to_str(r, v, name, &value))
            return false;
        if (!app_pairs_add(r->a, ret, k, value))
            return err_no_memory(r->e);
    }
    return true;
}

static bool dump(reader *r, const json_t *v, str *ret)
{
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    if (!text)
        return err_no_memory(r->e);
    bool ok = copy(r, text, strlen(text), ret);
    free(text);
    return ok;
}

/* ---- sources ---- */

/* A file:// URL becomes its path; anything else stays. */
static bool path_decode(reader *r, str *s)
{
    if (!str_starts(*s, S("file://")))
        return true;
    str in = str_skip(*s, 7);
    char *out = arena_alloc(r->a, in.n + 1);
    size_t n;
    if (!out)
        return err_no_memory(r->e);
    percent_decode(in, out, &n);
    if (memchr(out, 0, n) || !n || out[0] != '/')
        return fail(r, "a file:// URL must hold an absolute path, without a NUL byte");
    out[n] = 0;
    *s = (str){out, n};
    return true;
}

static bool source_read(reader *r, const json_t *o, app_source *ret)
{
    json_t *v, *ebb;
    str location = {0};
    *ret = (app_source){.kind = APP_SOURCE_PATH};
    if (!get_object(r, o, "source", &v))
        return false;
    if (!v)
        return fail(r, "a component has no 'source'");
    if (member(v, "inline"))
        return err_set(r->e, ERR_UNSUPPORTED,
                       "locked app: a component given inline is not "
                       "supported");
    if (!get_str(r, v, "source", &location) || !get_str(r, v, "digest", &ret->digest) ||
        !get_object(r, v, "ebb", &ebb))
        return false;
    if (ebb) {
        ret->kind = APP_SOURCE_REGISTRY;
        return get_str(r, ebb, "registry", &ret->registry) &&
               get_bool(r, ebb, "is_range", &ret->is_range) &&
               get_str(r, ebb, "package", &ret->package) &&
               get_str(r, ebb, "version", &ret->version);
    }
    if (str_starts(location, S("https://")) || str_starts(location, S("http://"))) {
        ret->kind = APP_SOURCE_URL;
        ret->url = location;
        return true;
    }
    ret->path = location;
    return path_decode(r, &ret->path);
}

static bool targets_read(reader *r, const json_t *o, app_targets *ret)
{
    json_t *list;
    if (!get_array(r, o, "targets", &list))
        return false;
    size_t n = json_array_size(list);
    ret->at = ARENA_ARRAY(r->a, app_target, n);
    if (!ret->at)
        return err_no_memory(r->e);
    for (; ret->n < n; ret->n++) {
        const json_t *v = json_array_get(list, ret->n);
        app_target *t = &ret->at[ret->n];
        if (json_is_object(v) ? !get_str(r, v, "url", &t->url) || !get_str(r, v, "path", &t->path)
                              : !to_str(r, v, "targets", &t->catalogue))
            return false;
    }
    return true;
}

static bool inherit_read(reader *r, const json_t *o, uint32_t *ret)
{
    static const char *const bits[] = {"ai_models", "allowed_outbound_hosts", "environment",
                                       "files",     "key_value_stores",       "sqlite_databases",
                                       "variables"};
    const json_t *v = member(o, "inherit");
    str_list list = {0};
    if (json_is_string(v) && !strcmp(json_string_value(v), "All")) {
        *ret = APP_INHERIT_ALL;
        return true;
    }
    if (v && !json_is_object(v))
        return fail(r, "'inherit' must be \"All\" or {\"Some\": [...]}");
    if (v && !get_strings(r, v, "Some", &list))
        return false;
    for (size_t i = 0; i < list.n; i++) {
        size_t bit = 0;
        while (bit < 7 && !str_eq(list.at[i], str_from(bits[bit])))
            bit++;
        if (bit == 7)
            return err_set(r->e, ERR_UNSUPPORTED, "locked app: '%.*s' can't be inherited",
                           STR(list.at[i]));
        *ret |= 1u << bit;
    }
    return true;
}

static bool dependency_read(reader *r, str name, const json_t *v, app_dependency *d)
{
    *d = (app_dependency){.name = name};
    return source_read(r, v, &d->source) && get_str(r, v, "export", &d->export_name) &&
           inherit_read(r, v, &d->inherit);
}

/* ---- components ---- */

static bool requirements_check(reader *r, const json_t *o)
{
    json_t *all, *v;
    const char *key;
    if (!get_object(r, o, "host_requirements", &all))
        return false;
    json_object_foreach(all, key, v)
    {
        bool optional = json_is_string(v) && !strcmp(json_string_value(v), "optional");
        if (!optional && strcmp(key, "local_service_chaining") && strcmp(key, "middleware"))
            return err_set(r->e, ERR_UNSUPPORTED, "the app needs '%s', which ebb does not have",
                           key);
    }
    return true;
}

static bool mounts_read(reader *r, const json_t *ebb, app_component *c)
{
    json_t *list;
    if (!get_array(r, ebb, "files", &list))
        return false;
    size_t n = json_array_size(list);
    c->mounts = n ? ARENA_ARRAY(r->a, app_mount, n) : NULL;
    if (n && !c->mounts)
        return err_no_memory(r->e);
    for (; c->mounts_count < n; c->mounts_count++) {
        const json_t *v = json_array_get(list, c->mounts_count);
        app_mount *m = &c->mounts[c->mounts_count];
        m->is_pair = json_is_object(v);
        if (m->is_pair ? !get_str(r, v, "source", &m->source) ||
                             !get_str(r, v, "destination", &m->destination)
                       : !to_str(r, v, "files", &m->source))
            return false;
    }
    return true;
}

/* What a tenant sends as JSON is held to the same limits as what a manifest says. */
static bool get_within(reader *r, const json_t *o, const char *name, uint64_t min, uint64_t max,
                       uint64_t *ret)
{
    uint64_t v = *ret;
    if (!get_u64(r, o, name, &v))
        return false;
    if (v < min || v > max)
        return err_set(r->e, ERR_INVALID, "locked app: '%s' is out of range", name);
    *ret = v;
    return true;
}

static bool get_u32(reader *r, const json_t *o, const char *name, uint32_t min, uint32_t max,
                    uint32_t *ret)
{
    uint64_t v = *ret;
    if (!get_within(r, o, name, min, max, &v))
        return false;
    *ret = (uint32_t)v;
    return true;
}

static bool hook_read(reader *r, const json_t *o, app_defer *d)
{
    hook_url u;
    return get_str(r, o, "hook", &d->hook) && (!d->hook.n || hook_url_parse(d->hook, &u, r->e));
}

static bool defer_read(reader *r, const json_t *ebb, app_defer *d)
{
    json_t *o;
    if (!get_object(r, ebb, "defer", &o))
        return false;
    if (!o)
        return true;
    d->is_on = true;
    if (!get_strings(r, o, "routes", &d->routes) ||
        !get_u32(r, o, "slack_s_max", 1, APP_DEFER_SLACK_S_MAX, &d->slack_s_max))
        return false;
    if (d->slack_s > d->slack_s_max) /* the default */
        d->slack_s = d->slack_s_max;
    return get_u32(r, o, "slack_s", 1, d->slack_s_max, &d->slack_s) &&
           get_u32(r, o, "kept_s", 1, APP_DEFER_KEPT_S_MAX, &d->kept_s) &&
           get_u32(r, o, "attempts_max", 1, APP_DEFER_ATTEMPTS_MAX, &d->attempts_max) &&
           get_u32(r, o, "criticality", APP_DEFER_LOW, APP_DEFER_HIGH, &d->criticality) &&
           get_within(r, o, "body_bytes_max", 1, APP_DEFER_BODY_BYTES_MAX, &d->body_bytes_max) &&
           get_within(r, o, "result_bytes_max", 1, APP_DEFER_BODY_BYTES_MAX,
                      &d->result_bytes_max) &&
           hook_read(r, o, d);
}

static bool crons_read(reader *r, const json_t *ebb, app_settings *s)
{
    json_t *list;
    if (!get_array(r, ebb, "cron", &list))
        return false;
    size_t n = json_array_size(list);
    if (n > APP_CRONS_MAX)
        return fail(r, "'cron' has too many entries");
    app_cron *at = ARENA_ARRAY(r->a, app_cron, n + 1);
    if (!at)
        return err_no_memory(r->e);
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(list, i);
        if (!json_is_object(o))
            return fail(r, "an entry of 'cron' must be an object");
        if (!get_str(r, o, "schedule", &at[i].schedule) || !get_str(r, o, "zone", &at[i].zone) ||
            !get_str(r, o, "method", &at[i].method) || !get_str(r, o, "path", &at[i].path) ||
            !get_u32(r, o, "window_s", 0, APP_CRON_WINDOW_S_MAX, &at[i].window_s))
            return false;
        if (at[i].zone.n && !zone_name_is(at[i].zone)) /* a part of a path */
            return fail(r, "'zone' is no name of a time zone");
    }
    s->crons = at;
    s->crons_count = n;
    return true;
}

static bool settings_read(reader *r, const json_t *ebb, app_component *c)
{
    uint64_t counts[3] = {0};
    app_settings *s = &c->settings;
    if (!get_bool(r, ebb, "is_used", &c->is_used) ||
        !get_bool(r, ebb, "no_restore", &s->no_restore) ||
        !get_bool(r, ebb, "restore_after_start", &s->restore_after_start) ||
        !get_u64(r, ebb, "memory_bytes_max", &s->memory_bytes_max) ||
        !get_u64(r, ebb, "cpu_time_max_ns", &s->cpu_time_max_ns) ||
        !get_u64(r, ebb, "wall_time_max_ns", &s->wall_time_max_ns) ||
        !get_u64(r, ebb, "idle_time_max_ns", &s->idle_time_max_ns) ||
        !get_u64(r, ebb, "request_body_bytes_max", &s->request_body_bytes_max) ||
        !get_u64(r, ebb, "response_body_bytes_max", &s->response_body_bytes_max) ||
        !get_u64(r, ebb, "log_bytes_max", &s->log_bytes_max) ||
        !get_u64(r, ebb, "clock_resolution_ns", &s->clock_resolution_ns) ||
        !get_u64(r, ebb, "concurrency_max", &counts[0]) ||
        !get_u64(r, ebb, "queue_max", &counts[1]) || !get_u64(r, ebb, "resources_max", &counts[2]))
        return false;
    if (counts[0] > UINT32_MAX || counts[1] > UINT32_MAX || counts[2] > UINT32_MAX)
        return fail(r, "'concurrency_max', 'queue_max' or 'resources_max' is out of range");
    if (s->clock_resolution_ns < 1 || s->clock_resolution_ns > APP_CLOCK_RESOLUTION_MAX_NS)
        return fail(r, "'clock_resolution_ns' is out of range");
    s->concurrency_max = (uint32_t)counts[0];
    s->queue_max = (uint32_t)counts[1];
    s->resources_max = (uint32_t)counts[2];
    return defer_read(r, ebb, &s->defer) && crons_read(r, ebb, s);
}

static bool component_metadata(reader *r, const json_t *o, app_component *c)
{
    json_t *meta, *build, *ebb;
    c->settings = app_settings_default();
    c->is_used = true;
    if (!get_object(r, o, "metadata", &meta))
        return false;
    if (!meta)
        return true;
    if (!get_str(r, meta, "description", &c->description) ||
        !get_strings(r, meta, "allowed_outbound_hosts", &c->allowed_outbound_hosts) ||
        !get_strings(r, meta, "key_value_stores", &c->key_value_stores) ||
        !get_strings(r, meta, "databases", &c->sqlite_databases) ||
        !get_strings(r, meta, "ai_models", &c->ai_models) ||
        !get_object(r, meta, "build", &build) || !get_object(r, meta, "ebb", &ebb))
        return false;
    if (build) {
        const json_t *command = member(build, "command");
        str one;
        if (json_is_string(command)) {
            if (!to_str(r, command, "command", &one))
                return false;
            if (!str_list_add(r->a, &c->build.commands, one))
                return err_no_memory(r->e);
        } else if (!get_strings(r, build, "command", &c->build.commands)) {
            return false;
        }
        if (!get_str(r, build, "workdir", &c->build.workdir) ||
            !get_strings(r, build, "watch", &c->build.watch))
            return false;
    }
    if (!ebb)
        return true;
    c->is_used = false;
    return settings_read(r, ebb, c) && get_strings(r, ebb, "exclude_files", &c->exclude_files) &&
           targets_read(r, ebb, &c->targets) && mounts_read(r, ebb, c);
}

static bool content_read(reader *r, const json_t *o, bytes *ret)
{
    str text = {0};
    if (!get_str(r, o, "inline", &text))
        return false;
    if (!text.p || base64_decode(r->a, text, ret))
        return true;
    return ret->p ? fail(r, "'inline' must be base 64") : err_no_memory(r->e);
}

static bool files_read(reader *r, const json_t *o, app_component *c)
{
    json_t *list;
    if (!get_array(r, o, "files", &list))
        return false;
    size_t n = json_array_size(list);
    if (n > APP_FILES_MAX)
        return fail(r, "too many files");
    c->files.at = n ? ARENA_ARRAY(r->a, app_file, n) : NULL;
    if (n && !c->files.at)
        return err_no_memory(r->e);
    for (; c->files.n < n; c->files.n++) {
        const json_t *v = json_array_get(list, c->files.n);
        app_file *f = &c->files.at[c->files.n];
        if (!get_str(r, v, "source", &f->host_path) || !get_str(r, v, "path", &f->guest_path) ||
            !get_str(r, v, "digest", &f->digest) || !content_read(r, v, &f->content) ||
            !path_decode(r, &f->host_path))
            return false;
        bool has_content = f->host_path.n || f->digest.n || f->content.p;
        if (!has_content || !f->guest_path.n)
            return fail(r, "a file needs 'path', and one of 'source', 'digest' and 'inline'");
    }
    return true;
}

static bool dependencies_read(reader *r, const json_t *o, app_component *c)
{
    json_t *all, *v;
    const char *key;
    if (!get_object(r, o, "dependencies", &all))
        return false;
    size_t n = json_object_size(all);
    c->dependencies.at = n ? ARENA_ARRAY(r->a, app_dependency, n) : NULL;
    if (n && !c->dependencies.at)
        return err_no_memory(r->e);
    json_object_foreach(all, key, v)
    {
        str name;
        if (!copy(r, key, strlen(key), &name) ||
            !dependency_read(r, name, v, &c->dependencies.at[c->dependencies.n++]))
            return false;
    }
    return true;
}

static bool manifest_read_component(reader *r, const json_t *o, app_component *c, size_t index)
{
    if (!json_is_object(o) || !get_str(r, o, "id", &c->id) || !c->id.n)
        return fail(r, "a component without 'id'");
    if (names_get(&r->component_ids, c->id) != SIZE_MAX)
        return err_set(r->e, ERR_INVALID, "locked app: two components '%.*s'", STR(c->id));
    if (!names_add(r->a, &r->component_ids, c->id, index))
        return err_no_memory(r->e);
    return (requirements_check(r, o) && component_metadata(r, o, c) &&
            source_read(r, o, &c->source) && get_pairs(r, o, "env", &c->environment) &&
            files_read(r, o, c) && get_pairs(r, o, "config", &c->variables) &&
            dependencies_read(r, o, c)) ||
           err_wrap(r->e, "component '%.*s'", STR(c->id));
}

/* ---- triggers ---- */

static bool http_read(reader *r, const json_t *config, app_trigger *t)
{
    json_t *executor, *response;
    str type = {0};
    uint64_t status = 200;
    const json_t *route = member(config, "route");
    if (json_is_object(route)) {
        if (!get_bool(r, route, "private", &t->is_private))
            return false;
        if (!t->is_private)
            return fail(r, "a route is a pattern or {\"private\": true}");
    } else if (!get_str(r, config, "route", &t->route)) {
        return false;
    }
    if (!get_object(r, config, "executor", &executor) ||
        !get_object(r, config, "static_response", &response) ||
        (executor && !get_str(r, executor, "type", &type)))
        return false;
    if (str_eq(type, S("wagi"))) {
        t->executor = APP_EXECUTOR_WAGI;
        t->wagi_argv = S("${SCRIPT_NAME} ${ARGS}");
        t->wagi_entrypoint = S("_start");
        if (!get_str(r, executor, "argv", &t->wagi_argv) ||
            !get_str(r, executor, "entrypoint", &t->wagi_entrypoint))
            return false;
    } else if (type.n && !str_eq(type, S("http")) && !str_eq(type, S("spin"))) {
        return err_set(r->e, ERR_UNSUPPORTED, "locked app: executor '%.*s'", STR(type));
    }
    t->is_static = response;
    if (!response)
        return true;
    if (!get_u64(r, response, "status_code", &status) || status < 200 || status > 599)
        return fail(r, "'status_code' must be 200 to 599");
    t->static_response.status = (uint16_t)status;
    return get_pairs(r, response, "headers", &t->static_response.headers) &&
           get_str(r, response, "body", &t->static_response.body);
}

static bool middleware_read(reader *r, const json_t *o, app_trigger *t)
{
    json_t *roles, *list;
    if (!get_object(r, o, "trigger_dependencies", &roles) ||
        (roles && !get_array(r, roles, "middleware", &list)))
        return false;
    size_t n = roles ? json_array_size(list) : 0;
    t->middleware.at = n ? ARENA_ARRAY(r->a, app_dependency, n) : NULL;
    if (n && !t->middleware.at)
        return err_no_memory(r->e);
    for (; t->middleware.n < n; t->middleware.n++)
        if (!dependency_read(r, (str){0}, json_array_get(list, t->middleware.n),
                             &t->middleware.at[t->middleware.n]))
            return false;
    return true;
}

static bool trigger_fields(reader *r, json_t *config, app_trigger *t)
{
    if (str_eq(t->type, S("http"))) {
        t->kind = APP_TRIGGER_HTTP;
        return http_read(r, config, t);
    }
    if (str_eq(t->type, S("redis"))) {
        t->kind = APP_TRIGGER_REDIS;
        for (size_t i = 0; i < r->out->trigger_defaults_count; i++)
            if (str_eq(r->out->trigger_defaults[i].type, t->type))
                t->address = r->out->trigger_defaults[i].address;
        return get_str(r, config, "channel", &t->channel) &&
               get_str(r, config, "address", &t->address);
    }
    t->kind = APP_TRIGGER_OTHER;
    json_object_del(config, "component");
    return dump(r, config, &t->config_json);
}

static bool trigger_read(reader *r, const json_t *o, app_trigger *t)
{
    json_t *config;
    str component = {0};
    t->component = APP_NONE;
    if (!json_is_object(o) || !get_str(r, o, "id", &t->id) ||
        !get_str(r, o, "trigger_type", &t->type) || !get_object(r, o, "trigger_config", &config) ||
        !t->id.n || !t->type.n || !config)
        return fail(r, "a trigger needs 'id', 'trigger_type' and 'trigger_config'");
    if (member(config, "component")) {
        if (!get_str(r, config, "component", &component))
            return false;
        size_t index = names_get(&r->component_ids, component);
        if (index == SIZE_MAX)
            return err_set(r->e, ERR_INVALID,
                           "locked app: trigger '%.*s' names the component "
                           "'%.*s', which is not there",
                           STR(t->id), STR(component));
        t->component = (int)index;
    }
    if (!trigger_fields(r, config, t) || !middleware_read(r, o, t))
        return err_wrap(r->e, "trigger '%.*s'", STR(t->id));
    if (t->kind == APP_TRIGGER_HTTP && (t->component == APP_NONE) != t->is_static)
        return fail(r, "an http trigger has either a component or a static response");
    return true;
}

/* ---- the app ---- */

static bool metadata_read(reader *r, const json_t *root)
{
    json_t *meta, *ebb, *triggers, *v;
    const char *key;
    app *out = r->out;
    if (!get_object(r, root, "metadata", &meta))
        return false;
    if (!meta)
        return fail(r, "no 'metadata'");
    if (!get_str(r, meta, "name", &out->name) || !get_str(r, meta, "version", &out->version) ||
        !get_str(r, meta, "description", &out->description) ||
        !get_strings(r, meta, "authors", &out->authors) ||
        !get_str(r, meta, "origin", &out->origin) || !get_str(r, meta, "profile", &out->profile) ||
        !get_object(r, meta, "ebb", &ebb) || !get_object(r, meta, "triggers", &triggers))
        return false;
    size_t n = json_object_size(triggers);
    out->trigger_defaults = n ? ARENA_ARRAY(r->a, app_trigger_defaults, n) : NULL;
    if (n && !out->trigger_defaults)
        return err_no_memory(r->e);
    json_object_foreach(triggers, key, v)
    {
        app_trigger_defaults *d = &out->trigger_defaults[out->trigger_defaults_count++];
        if (!copy(r, key, strlen(key), &d->type) || !dump(r, v, &d->config_json) ||
            (!strcmp(key, "redis") && !get_str(r, v, "address", &d->address)))
            return false;
    }
    return !ebb || (get_str(r, ebb, "oci_image_digest", &out->oci_image_digest) &&
                    targets_read(r, ebb, &out->targets));
}

static bool variables_read(reader *r, const json_t *root)
{
    json_t *all, *v;
    const char *key;
    if (!get_object(r, root, "variables", &all))
        return false;
    size_t n = json_object_size(all);
    r->out->variables = n ? ARENA_ARRAY(r->a, app_variable, n) : NULL;
    if (n && !r->out->variables)
        return err_no_memory(r->e);
    json_object_foreach(all, key, v)
    {
        app_variable *x = &r->out->variables[r->out->variables_count++];
        if (!copy(r, key, strlen(key), &x->name) || !get_str(r, v, "default", &x->value) ||
            !get_str(r, v, "description", &x->description) || !get_bool(r, v, "secret", &x->secret))
            return false;
        x->has_default = x->value.p;
        x->required = !x->has_default;
    }
    return true;
}

static bool must_understand_check(reader *r, const json_t *root)
{
    str_list all = {0};
    uint64_t version = 0;
    if (!get_u64(r, root, "spin_lock_version", &version) ||
        !get_strings(r, root, "must_understand", &all))
        return false;
    if (version > 1)
        return err_set(r->e, ERR_UNSUPPORTED, "locked app: version %llu is newer than 1",
                       (unsigned long long)version);
    for (size_t i = 0; i < all.n; i++)
        if (!str_eq(all.at[i], S("host_requirements")) &&
            !str_eq(all.at[i], S("component_host_requirements")))
            return err_set(r->e, ERR_UNSUPPORTED, "the app needs '%.*s', which ebb does not have",
                           STR(all.at[i]));
    return requirements_check(r, root);
}

static bool app_read(reader *r, const json_t *root)
{
    json_t *triggers, *components;
    app *out = r->out;
    if (!json_is_object(root))
        return fail(r, "not an object");
    if (!must_understand_check(r, root) || !metadata_read(r, root) || !variables_read(r, root) ||
        !get_array(r, root, "triggers", &triggers) ||
        !get_array(r, root, "components", &components))
        return false;
    size_t components_count = json_array_size(components);
    size_t triggers_count = json_array_size(triggers);
    if (components_count > APP_COMPONENTS_MAX || triggers_count > APP_COMPONENTS_MAX)
        return fail(r, "too many components or triggers");
    out->components = ARENA_ARRAY(r->a, app_component, components_count);
    out->triggers = ARENA_ARRAY(r->a, app_trigger, triggers_count);
    if (!out->components || !out->triggers)
        return err_no_memory(r->e);
    for (; out->components_count < components_count; out->components_count++) {
        size_t i = out->components_count;
        if (!manifest_read_component(r, json_array_get(components, i), &out->components[i], i))
            return false;
    }
    for (; out->triggers_count < triggers_count; out->triggers_count++) {
        size_t i = out->triggers_count;
        if (!trigger_read(r, json_array_get(triggers, i), &out->triggers[i]))
            return false;
    }
    return true;
}

bool locked_read_value(arena *a, const json_t *root, app **ret, err *e)
{
    reader r = {.a = a, .out = ARENA_NEW(a, app), .e = e};
    bool ok = r.out ? app_read(&r, root) : err_no_memory(e);
    if (ok)
        *ret = r.out;
    return ok;
}

bool locked_read(arena *a, bytes json, app **ret, err *e)
{
    json_error_t je;
    if (json.n > APP_LOCKED_BYTES_MAX)
        return err_set(e, ERR_LIMIT, "locked app larger than %zu bytes",
                       (size_t)APP_LOCKED_BYTES_MAX);
    json_t *root = json_loadb(json.p ? (const char *)json.p : "", json.n,
                              JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &je);
    if (!root)
        return err_set(e, ERR_INVALID, "locked app:%d:%d: %s", je.line, je.column, je.text);
    bool ok = locked_read_value(a, root, ret, e);
    json_decref(root);
    return ok;
}
